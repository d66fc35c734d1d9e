"""The public doors: one list, kept by the modules, the type stubs, the import contract and the pages."""

from __future__ import annotations

import ast
import configparser
import importlib
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

import seqkit
from seqkit import public_api
from seqkit.public_api import DEPRECATED, PUBLIC_NAMES, Deprecated, DoorWarning
from tests.helpers.third_party import TASK, install

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("door", list(PUBLIC_NAMES))
def test_a_door_has_exactly_the_names_of_the_list(door: str) -> None:
    module = importlib.import_module(door)
    assert sorted(module.__all__) == sorted(PUBLIC_NAMES[door])
    for name in PUBLIC_NAMES[door]:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Trainer'"):
        module.Trainer  # noqa: B018


def test_type_checkers_see_the_names_that_are_imported_on_first_use() -> None:
    tree = ast.parse(Path(seqkit.__file__).read_text(encoding="utf-8"))
    seen = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in public_api.HOME_MODULES
        for alias in node.names
    }
    assert seen == {(room, name) for room, names in public_api.HOME_MODULES.items() for name in names}


def test_the_import_contract_lets_through_the_doors_only() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    contract = config["importlinter:contract:public-api"]
    assert contract["forbidden_modules"].split() == ["seqkit"]
    let_through = [line for line in contract["ignore_imports"].split("\n") if line]
    assert let_through == [f"** -> {door}" for door in PUBLIC_NAMES]
    named = set(config["importlinter"]["root_packages"].split()) - {"seqkit"}
    assert set(contract["source_modules"].split()) == named
    assert named == {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}


def test_the_plugins_that_come_with_seqkit_use_the_doors_only() -> None:
    found = [
        (path.name, each)
        for path in sorted((ROOT / "plugins").rglob("*.py"))
        for each in public_api.private_imports(path.read_text(encoding="utf-8"))
    ]
    assert not found


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "seqkit/__init__.py"])
def test_the_pages_name_every_door(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not [door for door in PUBLIC_NAMES if f"`{door}`" not in text and door != "seqkit"]


def test_the_list_costs_nothing() -> None:
    script = (
        "import sys, seqkit.public_api\nprint(sorted(n for n in sys.modules if n.split('.')[0] in ('seqkit', 'torch')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['seqkit', 'seqkit._version', 'seqkit.public_api']\n"


class TestDeprecation:
    def test_none_is_overdue_and_each_is_warned_of_for_two_releases(self) -> None:
        def number(version: str) -> tuple[int, int]:
            major, minor = version.split(".")[:2]
            return int(major), int(minor)

        now = number(seqkit.__version__)
        for each in DEPRECATED:
            assert each.name not in PUBLIC_NAMES[each.door], f"{each} is in DOORS still"
            assert number(each.since) <= now < number(each.until), f"{each} is overdue: take it out"
            assert (
                number(each.until) >= (number(each.since)[0], number(each.since)[1] + 2) or number(each.until)[1] == 0
            )

    @pytest.mark.parametrize("door", list(PUBLIC_NAMES))
    def test_a_name_that_is_to_go_works_and_warns_where_it_is_used(
        self, door: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = Deprecated(door, "Bygone", "seqkit.types:Task", "seqkit.Task", "0.1", "0.3")
        monkeypatch.setattr(public_api, "DEPRECATED", (old,))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            value = importlib.import_module(door).Bygone
        assert value is seqkit.Task
        assert str(told[0].message) == f"{door}.Bygone will be gone from seqkit 0.3; use seqkit.Task"
        assert told[0].category is DoorWarning
        assert told[0].filename == __file__
        assert not list(public_api.private_imports(f"from {door} import Bygone"))

    def test_the_command_line_shows_it(self, tmp_path: Path) -> None:
        module = install(tmp_path, code="from seqkit import Bygone\n" + textwrap.dedent(TASK))
        (tmp_path / "r.yaml").write_text("tasks: {splice: {}}\nencoder: lstm\n")
        script = (
            "import sys\nfrom seqkit import public_api\nfrom seqkit.cli import main\n"
            "old = public_api.Deprecated('seqkit', 'Bygone', 'seqkit.types:Task', 'seqkit.Task', '0.1', '0.3')\n"
            "public_api.DEPRECATED = (old,)\n"
            "main(['recipes', 'check', 'r.yaml'])"
        )
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout == "r.yaml: ok: splice (classify) on lstm\n"
        assert f"{module}.py:1: DoorWarning: seqkit.Bygone will be gone from seqkit 0.3; use seqkit.Task" in done.stderr

    def test_an_option_that_is_to_go_warns_its_caller(self) -> None:
        def factory() -> None:
            public_api.warn("the option 'old' of mine", "'new'", until="0.3")

        with pytest.warns(
            DoorWarning, match="the option 'old' of mine will be gone from seqkit 0.3; use 'new'"
        ) as told:
            factory()
        assert told[0].filename == __file__


class TestTrespasses:
    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("import seqkit\nimport seqkit.readers as r\nfrom seqkit import Task, readers", []),
            ("from seqkit.testing import TaskConformance\nfrom seqkit.heads import *", []),
            ("import seqkitten\nfrom seqkit_mine import x\nfrom . import seqkit\nfrom .seqkit import a", []),
            ("x = 1\nimport seqkit.registry.registry, os", [(2, "seqkit.registry.registry")]),
            ("from seqkit import registry, Task", [(1, "seqkit.registry")]),
            ("def late():\n    from seqkit.types import Task", [(2, "seqkit.types.Task")]),
            ("from seqkit.readers import _fail", [(1, "seqkit.readers._fail")]),
            ("from seqkit.heads.pooling import Pooling", [(1, "seqkit.heads.pooling.Pooling")]),
        ],
    )
    def test_what_is_behind_the_doors_is_named_with_its_line(self, code: str, found: list[tuple[int, str]]) -> None:
        assert [tuple(each) for each in public_api.private_imports(code)] == found
