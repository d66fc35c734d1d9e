"""`plugins new`: its result can be installed, passes its own tests and linters, and trains; bad names are refused."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from packaging.specifiers import SpecifierSet

from seqkit import __version__, public_api
from seqkit.cli import main
from seqkit.errors import UsageError
from seqkit.plugin_tools import scaffold
from tests.helpers.third_party import install

ROOT = Path(__file__).parents[2]
NAMES = {"task": "doodles", "encoder": "my-own-encoder", "head": "x2"}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="seqkit")


def pip(*arguments: str, python: str = sys.executable) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One distribution of each kind, written and installed as users do, into a folder `site`."""
    folder = tmp_path_factory.mktemp("made")
    for kind, name in NAMES.items():
        result = call("plugins", "new", name, "--kind", kind, "--out", str(folder / kind))
        assert result.exit_code == 0, result.output
    pip("--target", str(folder / "site"), *(str(folder / kind) for kind in NAMES))
    sys.path.insert(0, str(folder / "site"))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder / "site"))


def run(folder: Path, *command: str, python: str = sys.executable, path: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": path, "RUFF_NO_CACHE": "true", "SEQKIT_CACHE": str(folder / "cache")}
    result = subprocess.run(
        [python, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


class TestWritten:
    def test_every_value_is_filled_in_and_only_the_public_api_is_used(self) -> None:
        for kind, name in NAMES.items():
            files = scaffold.render(name, kind)  # type: ignore[arg-type]
            for path, text in files.items():
                assert "{{" not in text.replace("{use: {", ""), path
                assert not text or text.endswith("\n"), path
                if path.endswith(".py"):
                    assert not list(public_api.private_imports(text))
            module = files[f"src/seqkit_{name.replace('-', '_')}/__init__.py"]
            assert 35 <= len(module.split("\n")) <= 62
            project = tomllib.loads(files["pyproject.toml"])["project"]
            assert list(project["entry-points"]) == [f"seqkit.{kind}s"]
            assert project["dependencies"][0] == f"seqkit{scaffold.supported()}"
            assert project["name"] == f"seqkit-{name}"

    def test_every_template_is_in_the_wheel(self) -> None:
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["seqkit"]
        for path in (ROOT / "seqkit/templates").rglob("*"):
            relative = path.relative_to(ROOT / "seqkit").as_posix()
            # A glob of setuptools does not match files in subfolders.
            assert path.is_dir() or any(
                fnmatch(relative, glob) and relative.count("/") == glob.count("/") for glob in settings
            ), relative

    @pytest.mark.parametrize(
        ("version", "releases"), [("0.1.0", ">=0.1,<0.2"), ("0.9.3", ">=0.9,<0.10"), ("1.4.2rc1", ">=1.4,<2")]
    )
    def test_the_compatible_releases(self, version: str, releases: str) -> None:
        assert scaffold.supported(version) == releases
        assert SpecifierSet(scaffold.supported()).contains(__version__, prereleases=True)


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("Mood", "lower-case letters, digits and single hyphens; 'mood' would work"),
            ("my_mood", "'my-mood' would work"),
            ("a--b", "'a-b' would work"),
            ("-mood", "'mood' would work"),
            ("../../etc", "'etc' would work"),
            ("7th", "'7th' cannot be a plugin's name"),
            ("é", "'é' cannot be a plugin's name"),
            ("", "'' cannot be a plugin's name"),
            ("seqkit-mood", "the prefix seqkit- is added to the distribution's name automatically: give 'mood'"),
            ("seqkit", "the prefix seqkit- is added to the distribution's name automatically"),
            ("a" * 41, "has 41 characters; at most 40 are allowed"),
            ("class", "'class' is a keyword or builtin of Python"),
            ("print", "'print' is a keyword or builtin of Python"),
            ("annotations", "'annotations' is a keyword or builtin of Python"),
            ("sentiment", "already has a task 'sentiment'"),
            ("genome", "already has a task 'genome'"),
        ],
    )
    def test_a_name_that_would_not_work(self, tmp_path: Path, name: str, message: str) -> None:
        result = call("plugins", "new", "--out", str(tmp_path / "x"), "--", name)
        assert result.exit_code == 2
        assert message in result.stderr
        assert not (tmp_path / "x").exists()

    def test_a_module_that_exists_already(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="the installed module 'seqkit_names' would hide this one"):
            scaffold.new("names", "encoder", tmp_path / "x")

    def test_a_name_of_a_third_party_plugin(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        install(tmp_path)
        with pytest.raises(UsageError, match=r"vendor 1.2 already has a task 'splice'"):
            scaffold.new("splice", "task", tmp_path / "x")

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "README.md").write_text("kept")
        (tmp_path / "file").write_text("kept")
        for name in ("full", "file", "file/below"):
            result = call("plugins", "new", "mood", "--out", str(tmp_path / name))
            assert result.exit_code == 2, name
            assert str(tmp_path / name) in result.stderr
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["README.md", "file", "full"]

    def test_an_unknown_kind(self) -> None:
        assert (
            "'layer' is not one of 'task', 'encoder', 'head'" in call("plugins", "new", "x", "--kind", "layer").stderr
        )


def test_the_folder_is_called_after_the_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = json.loads(call("plugins", "new", "mood", "--json").stdout)
    assert facts["folder"] == "seqkit-mood"
    assert (
        sorted(path.relative_to("seqkit-mood").as_posix() for path in Path("seqkit-mood").rglob("*") if path.is_file())
        == facts["files"]
    )
    assert "cd seqkit-dark-mood\n" in call("plugins", "new", "dark-mood").stdout
    odd = "a folder; with 'signs'"
    (command,) = re.findall("^  cd (.*)$", call("plugins", "new", "odd-mood", "--out", odd).stdout, re.MULTILINE)
    assert shlex.split(command) == [odd], "a command that can be copied into a shell"


class TestGenerated:
    def test_lint(self, made: Path) -> None:
        for kind in NAMES:
            run(made / kind, "ruff", "check", ".")
            run(made / kind, "ruff", "format", "--check", ".")

    def test_its_own_tests(self, made: Path) -> None:
        output = run(made, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *NAMES, path=str(made / "site"))
        passed = re.search(r"^(\d+) passed", output, re.MULTILINE)
        assert passed is not None
        assert int(passed[1]) >= 18
        assert "skipped" not in output

    @pytest.mark.parametrize("kind", list(NAMES))
    def test_its_recipe(self, made: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(made / kind)
        monkeypatch.setenv("SEQKIT_CACHE", str(made / "cache"))
        short = ["--set", "train.steps=3", "--set", "train.histograms=false", "--out", "run", "--quiet"]
        if kind == "head":
            short += ["--set", "tasks.sentiment.sizes=[40, 20, 20]"]
        result = call("run", f"{NAMES[kind]}.yaml", *short)
        assert result.exit_code == 0, result.output
        assert "expected at" in result.stdout
        used = {entry["distribution"] for entry in json.loads(Path("run/plugins.json").read_text())}
        assert f"seqkit-{NAMES[kind]}" in used


@pytest.mark.slow
def test_from_an_empty_folder_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """As a third party does it, with seqkit as a wheel: new, install, lint, types, tests, and the whole recipe."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
            str(ROOT),
        ],
        check=True,
    )
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin/python")
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "parent.pth").write_text(sysconfig.get_path("purelib"))
    pip(str(next(tmp_path.glob("*.whl"))), python=python)
    for kind, name in NAMES.items():
        run(tmp_path, "seqkit", "plugins", "new", name, "--kind", kind, python=python)
        folder = tmp_path / f"seqkit-{name}"
        pip(str(folder), python=python)
        run(folder, "ruff", "check", ".", python=python)
        run(folder, "ruff", "format", "--check", ".", python=python)
        run(folder, "mypy", python=python)
        run(folder, "pytest", "-q", "-W", "error", python=python)
        run(folder, "seqkit", "plugins", "check", name, python=python)
        assert "1 ok" in run(folder, "seqkit", "plugins", "doctor", name, python=python)
        output = run(folder, "seqkit", "run", f"{name}.yaml", "--quiet", python=python)
        assert ": met" in output
        assert "NOT MET" not in output
