"""Pages that are made from the code say what the code says now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from seqkit.public_api import PUBLIC_NAMES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(maker: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert maker.main(check=True) == 0, capsys.readouterr().out


def test_every_public_name_is_there_with_something_said_of_it(maker: ModuleType) -> None:
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    for door, names in PUBLIC_NAMES.items():
        for name in names:
            if name == "__version__":
                continue
            _, found, section = page.partition(f"### {door}.{name}\n\n```python\n")
            assert found, f"{door}.{name}"
            said = section.partition("```\n")[2].partition("\n### ")[0].strip()
            assert said, f"{door}.{name} has no docstring"


def test_docstrings_become_lists_and_blocks(maker: ModuleType) -> None:
    docstring = (
        "What it does.\n\n    an example\n      of two lines\n\nMore.\n\nArgs:\n    one: this,\n        and that.\n"
        "    two: else.\n\nReturns:\n    A thing.\n\nThe end."
    )
    assert maker.prose(docstring) == (
        "What it does.\n\n```\nan example\n  of two lines\n```\n\nMore.\n\n*Options and arguments*\n\n- `one`: this,\n"
        "  and that.\n- `two`: else.\n\n*Returns*\n\nA thing.\n\nThe end.\n"
    )
    assert list(maker.split("a: dict[str, int] = {}, b: str = ',', *, c: int")) == [
        "a: dict[str, int] = {}",
        "b: str = ','",
        "*",
        "c: int",
    ]
