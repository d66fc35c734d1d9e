"""The Markdown pages of the repository, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
}
"""{path: text}"""


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of one language; "" is a block that names none."""
    pattern = r"^```(\w*)\n(.*?)^```$"
    return [block for name, block in re.findall(pattern, text, re.DOTALL | re.MULTILINE) if name == language]


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table whose first line starts with `header`, without its first two lines."""
    lines = text[text.index(header) :].partition("\n\n")[0].split("\n")[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith("|")]
