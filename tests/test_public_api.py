"""The public API: modules, type stubs, import contract and pages agree with its one list."""

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


@pytest.mark.parametrize("public", list(PUBLIC_NAMES))
def test_a_public_module_has_exactly_the_names_of_the_list(public: str) -> None:
    module = importlib.import_module(public)
    assert sorted(module.__all__) == sorted(PUBLIC_NAMES[public])
    for name in PUBLIC_NAMES[public]:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Trainer'"):
        module.Trainer  # noqa: B018


def test_type_checkers_see_the_names_that_are_imported_on_first_use() -> None:
    tree = ast.parse(Path(seqkit.__file__).read_text(encoding="utf-8"))
    stubs = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in public_api.HOME_MODULES
        for alias in node.names
    }
    assert stubs == {(module, name) for module, names in public_api.HOME_MODULES.items() for name in names}


def test_the_import_contract_allows_the_public_modules_only() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    contract = config["importlinter:contract:public-api"]
    assert contract["forbidden_modules"].split() == ["seqkit"]
    allowed = [line for line in contract["ignore_imports"].split("\n") if line]
    assert allowed == [f"** -> {module}" for module in PUBLIC_NAMES]
    plugins = set(config["importlinter"]["root_packages"].split()) - {"seqkit"}
    assert set(contract["source_modules"].split()) == plugins
    assert plugins == {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}


def test_bundled_plugins_use_the_public_api_only() -> None:
    private = [
        (path.name, name)
        for path in sorted((ROOT / "plugins").rglob("*.py"))
        for name in public_api.private_imports(path.read_text(encoding="utf-8"))
    ]
    assert not private


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "seqkit/__init__.py"])
def test_the_pages_name_every_public_module(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not [module for module in PUBLIC_NAMES if f"`{module}`" not in text and module != "seqkit"]


def test_the_list_imports_nothing_else() -> None:
    script = (
        "import sys, seqkit.public_api\nprint(sorted(n for n in sys.modules if n.split('.')[0] in ('seqkit', 'torch')))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "['seqkit', 'seqkit._version', 'seqkit.public_api']\n"


class TestDeprecation:
    def test_no_name_is_overdue_and_each_warns_for_two_releases(self) -> None:
        def number(version: str) -> tuple[int, int]:
            major, minor = version.split(".")[:2]
            return int(major), int(minor)

        now = number(seqkit.__version__)
        for entry in DEPRECATED:
            assert entry.name not in PUBLIC_NAMES[entry.module], f"{entry} is still in PUBLIC_NAMES"
            since, until = number(entry.since), number(entry.until)
            assert since <= now < until, f"{entry} is overdue: remove it"
            assert until >= (since[0], since[1] + 2) or until[1] == 0

    @pytest.mark.parametrize("module", list(PUBLIC_NAMES))
    def test_a_deprecated_name_works_and_warns_where_it_is_used(
        self, module: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = Deprecated(module, "Bygone", "seqkit.types:Task", "seqkit.Task", "0.1", "0.3")
        monkeypatch.setattr(public_api, "DEPRECATED", (old,))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = importlib.import_module(module).Bygone
        assert value is seqkit.Task
        assert str(caught[0].message) == f"{module}.Bygone will be removed in seqkit 0.3; use seqkit.Task"
        assert caught[0].category is DoorWarning
        assert caught[0].filename == __file__
        assert not list(public_api.private_imports(f"from {module} import Bygone"))

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
        result = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert result.stdout == "r.yaml: ok: splice (classify) on lstm\n"
        warning = f"{module}.py:1: DoorWarning: seqkit.Bygone will be removed in seqkit 0.3; use seqkit.Task"
        assert warning in result.stderr

    def test_a_deprecated_option_warns_its_caller(self) -> None:
        def factory() -> None:
            public_api.warn("the option 'old' of mine", "'new'", until="0.3")

        message = "the option 'old' of mine will be removed in seqkit 0.3; use 'new'"
        with pytest.warns(DoorWarning, match=message) as caught:
            factory()
        assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("code", "private"),
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
def test_private_imports_are_found_with_their_lines(code: str, private: list[tuple[int, str]]) -> None:
    assert [tuple(use) for use in public_api.private_imports(code)] == private
