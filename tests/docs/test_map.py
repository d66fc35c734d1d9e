"""The map of packages in docs/design.md is drawn from the imports."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.scripts import load_script

make_map = load_script("make_map")


def test_every_package_is_in_a_layer_and_says_what_it_holds() -> None:
    in_layers = {name for names in make_map.layers() for name in names}
    packages = {make_map.package_of(name) for name in make_map.modules()} - {"plugins", "seqkit", "__main__"}
    assert packages == in_layers
    table = make_map.table(make_map.modules())
    assert all(f"| `{name}/` |" in table or f"| `{name}.py` |" in table for name in packages)


def test_every_form_of_import_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import seqkit.errors\nimport os\nfrom seqkit import types\nfrom seqkit.io.atomic import replace_file\n"
        "def late():\n    from seqkit.heads import tag\n"
    )
    known = dict.fromkeys(("seqkit", "seqkit.errors", "seqkit.types", "seqkit.io.atomic", "seqkit.heads"), path)
    assert list(make_map.imports(path, known)) == [
        "seqkit.errors",
        "seqkit.types",
        "seqkit.io.atomic",
        "seqkit.heads",
    ]


def test_arrows_that_others_imply_are_left_out() -> None:
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert make_map.reduced(graph) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}
