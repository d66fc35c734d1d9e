"""One short run for all tests here, whose classes and texts try to break out of a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit.cli import main

HOSTILE = ("<script>fetch('http://evil.example/')</script>", '"><img src=x onerror=alert(1)>|[a](javascript:alert(1))')
"""Names of classes."""

RIGHT_TO_LEFT = "\u202etxet desrever\u202c"

RECIPE = """
seed: 3
tasks:
  mood: {{use: sentiment, folder: {folder}, header: true, head: {{use: classify, pool: max}}}}
encoder: {{use: gru, dim: 8, hidden: 8}}
train: {{epochs: 2, batch: 16, optimizer: {{use: adamw, lr: 0.02}}}}
expect: {{mood/test/accuracy: {{at_least: 0.999}}, mood/dev/accuracy: {{at_most: 1}}}}
"""


def write_data(folder: Path) -> Path:
    """Tables of texts that are easy to tell apart, most of them."""
    folder.mkdir()
    for split, count in {"train": 120, "dev": 40, "test": 60}.items():
        rows = ["text\tlabel"]
        for number in range(count):
            kind = number % 2
            words = ["good", "<b>bad</b>"][kind if number % 7 else 1 - kind]
            rows.append(f"{split} {RIGHT_TO_LEFT} {words} {'word ' * (number % 9)}{number}\t{HOSTILE[kind]}")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a hostile classifier."""
    base = tmp_path_factory.mktemp("trained")
    data = write_data(base / "data")
    (base / "hostile.yaml").write_text(RECIPE.format(folder=data), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(base / "cache"))
        result = CliRunner().invoke(main, ["run", str(base / "hostile.yaml"), "--quiet", "--out", str(base / "run")])
    assert result.exit_code == 0, result.output
    return base / "run"
