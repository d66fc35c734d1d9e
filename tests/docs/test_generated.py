"""Pages that are made from the code say what the code says now."""

from __future__ import annotations

import pytest

from seqkit.public_api import PUBLIC_NAMES
from tests.helpers.scripts import DOCS, load_script

make_reference = load_script("make_reference")


@pytest.mark.parametrize(
    "script", ["make_reference", "make_map", "make_results", "make_gpu", "make_promises", "make_ablation"]
)
def test_the_generated_pages_are_up_to_date(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_script(script).main(check=True) == 0, capsys.readouterr().out


def test_every_public_name_is_there_with_a_description() -> None:
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    for module, names in PUBLIC_NAMES.items():
        for name in names:
            if name == "__version__":
                continue
            _, heading, section = page.partition(f"### {module}.{name}\n\n```python\n")
            assert heading, f"{module}.{name}"
            description = section.partition("```\n")[2].partition("\n##")[0].strip()
            assert description, f"{module}.{name} has no docstring"


def test_docstrings_become_lists_and_blocks() -> None:
    nested = "Args:\n    one: this or\n        None: nothing; and\n        two: no bullet.\n    three: else."
    assert make_reference.markdown(nested).split("\n\n", 1)[1] == (
        "- `one`: this or\n  None: nothing; and\n  two: no bullet.\n- `three`: else.\n"
    )
    docstring = (
        "What it does.\n\n    an example\n      of two lines\n\nMore.\n\nArgs:\n    one: this,\n        and that.\n"
        "    two: else.\n\nReturns:\n    A thing.\n\nThe end."
    )
    assert make_reference.markdown(docstring) == (
        "What it does.\n\n```\nan example\n  of two lines\n```\n\nMore.\n\n*Options and arguments*\n\n- `one`: this,\n"
        "  and that.\n- `two`: else.\n\n*Returns*\n\nA thing.\n\nThe end.\n"
    )
    assert list(make_reference.split("a: dict[str, int] = {}, b: str = ',', *, c: int")) == [
        "a: dict[str, int] = {}",
        "b: str = ','",
        "*",
        "c: int",
    ]
