"""The command line's listings: what there is, without importing anything, and mistakes as one line each."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import seqkit
from seqkit.cli import VERBS, doctor, main
from seqkit.errors import Interrupted
from tests.helpers.third_party import install

GOOD = "# A good one.\n# Two lines.\n\n# no more\ntasks: {splice: {k: 4}}\nencoder: {use: lstm, hidden: 8}\n"
BAD = "seed: -1\ntasks: {splice: {k: 0}}\nencoder: {use: lstn}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, on sys.path here and in child processes, without plugin settings."""
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS", "SEQKIT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="seqkit")


class TestMain:
    def test_help_is_short_and_names_every_verb(self) -> None:
        for flag in ("-h", "--help"):
            result = call(flag)
            assert result.exit_code == 0
            for verb, about in VERBS.items():
                assert verb in result.stdout
                assert about in " ".join(result.stdout.split())

    @pytest.mark.parametrize("verb", list(VERBS))
    def test_every_verb_exists_and_has_help(self, verb: str) -> None:
        command = importlib.import_module(f"seqkit.cli.{verb.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        result = call(verb, "-h")
        assert result.exit_code == 0
        assert f"seqkit {verb}" in result.stdout

    def test_version(self) -> None:
        assert call("--version").stdout == f"seqkit, version {seqkit.__version__}\n"

    def test_an_unknown_verb(self) -> None:
        result = call("recipe", "check", "x")
        assert result.exit_code == 2
        assert "no verb is called 'recipe'; did you mean 'recipes'" in result.stderr
        assert "available: run, data, evaluate" in call("qqq").stderr
        assert call("--nothing").exit_code == 2

    def test_a_users_mistake_is_a_line_and_with_debug_a_traceback(self, site: Path) -> None:
        result = call("recipes", "check", "nosuch")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("there is no recipe file 'nosuch'; ")
        assert "Traceback" not in result.stderr
        assert isinstance(call("--debug", "recipes", "check", "nosuch").exception, seqkit.UsageError)

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            (KeyboardInterrupt(), 130, "interrupted"),
            (Interrupted("saved at step 3", 143), 143, "saved at step 3"),
            (seqkit.RunError("no space"), 1, "no space"),
            (seqkit.MissingExtra("this", "text"), 2, 'this needs an extra: pip install "seqkit[text]"'),
        ],
    )
    def test_exit_codes(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str) -> None:
        def fail(kind: str | None = None) -> None:
            raise error

        monkeypatch.setattr("seqkit.cli.plugin_tables.list_rows", fail)
        result = call("tasks")
        assert (result.exit_code, result.stdout, result.stderr) == (code, "", message + "\n")

    def test_a_bug_of_seqkit_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(kind: str | None = None) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("seqkit.cli.plugin_tables.list_rows", fail)
        assert isinstance(call("tasks").exception, ZeroDivisionError)

    def test_without_plugins(self, site: Path) -> None:
        install(site)
        assert "splice" in call("tasks").stdout
        assert "splice" not in call("--no-plugins", "tasks").stdout
        assert "SEQKIT_PLUGINS" not in os.environ


class TestListings:
    def test_tasks(self, site: Path) -> None:
        install(site, code="raise RuntimeError('imported')")
        install(site, distribution="late", requires="seqkit>=99", entries={"seqkit.tasks": {"late": "x"}})
        result = call("tasks")
        assert result.exit_code == 0
        lines = {line.split()[0]: line for line in result.stdout.split("\n") if line}
        assert {"charlm", "sentiment", "splice", "late"} <= set(lines)
        assert lines["splice"].split() == ["splice", "vendor", "1.2"]
        assert lines["late"].endswith("needs seqkit>=99")
        rows = json.loads(call("tasks", "--json").stdout)
        assert {row["name"]: row["distribution"] for row in rows}["splice"] == "vendor"
        assert {row["kind"] for row in rows} == {"tasks"}

    def test_plugins_list_says_which_names_need_more_words(self, site: Path) -> None:
        install(site, distribution="aa")
        install(site, distribution="zz")
        rows = json.loads(call("plugins", "list", "--json").stdout)
        notes = {row["note"] for row in rows if row["name"] == "splice"}
        assert notes == {"not the only one: write aa:splice", "not the only one: write zz:splice"}
        assert {row["kind"] for row in rows} == {"tasks", "encoders", "heads"}
        assert "seqkit.encoders:lstm" in call("plugins", "list").stdout

    def test_recipes_list(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (site / "mine.yaml").write_text(GOOD)
        monkeypatch.setattr("seqkit.recipe.bundled.find_files", lambda: {"mine": site / "mine.yaml"})
        assert call("recipes", "list").stdout == "mine  A good one.\n"
        (row,) = json.loads(call("recipes", "list", "--json").stdout)
        assert row == {"name": "mine", "about": ["A good one.", "Two lines."], "file": str(site / "mine.yaml")}

    def test_recipes_show(self, site: Path) -> None:
        install(site)
        (site / "r.yaml").write_text(GOOD)
        assert call("recipes", "show", "r.yaml").stdout == GOOD
        shown = call("recipes", "show", "r.yaml", "--resolved", "--set", "seed=9").stdout
        assert "seed: 9\n" in shown
        assert "    k: 4\n" in shown
        assert call("recipes", "show", "r.yaml", "--set", "seed=9").exit_code == 2

    def test_recipes_check(self, site: Path) -> None:
        install(site)
        (site / "good.yaml").write_text(GOOD)
        (site / "bad.yaml").write_text(BAD)
        result = call("recipes", "check", "good.yaml")
        assert (result.exit_code, result.stdout) == (0, "good.yaml: ok: splice (classify) on lstm\n")
        facts = json.loads(call("recipes", "check", "good.yaml", "--json", "--set", "seed=4").stdout)
        assert (facts["ok"], facts["seed"], facts["problems"]) == (True, 4, [])
        result = call("recipes", "check", "bad.yaml", "--set", "train.epochs=0")
        assert (result.exit_code, result.stdout) == (2, "")
        assert [line.split(": ")[0] for line in result.stderr.strip().split("\n")] == [
            "bad.yaml:1:7",
            "bad.yaml:2:21",
            "bad.yaml:3:16",
            "--set train.epochs=0",
        ]
        result = call("recipes", "check", "bad.yaml", "--json")
        facts = json.loads(result.stdout)
        assert (result.exit_code, facts["ok"], len(facts["problems"])) == (2, False, 3)
        assert facts["problems"][0] == {"where": "bad.yaml:1:7", "what": "seed: must be at least 0, got -1", "hint": ""}

    def test_recipes_schema(self, site: Path) -> None:
        install(site)
        schema = json.loads(call("recipes", "schema").stdout)
        assert "splice" in schema["properties"]["tasks"]["properties"]


class TestLazy:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["tasks", "--json"],
            ["plugins", "list"],
            ["recipes", "list"],
            ["recipes", "check", "r.yaml"],
            ["recipes", "show", "r.yaml", "--resolved"],
            ["recipes", "schema"],
        ],
    )
    def test_no_torch(self, site: Path, arguments: list[str]) -> None:
        install(site)
        (site / "r.yaml").write_text(GOOD)
        script = (
            "import sys\nfrom seqkit.cli import main\n"
            "try:\n    main(sys.argv[1:], prog_name='seqkit')\n"
            "except SystemExit as error:\n    assert error.code == 0, error.code\n"
            "heavy = ('torch', 'sklearn', 'tensorboard', 'rich', 'urllib.request')\n"
            "print([name for name in heavy if name in sys.modules])"
        )
        result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert result.stdout.strip().split("\n")[-1] == "[]", result.stderr

    @pytest.mark.parametrize("arguments", [["tasks"], ["plugins", "list"], ["recipes", "list"]])
    def test_no_plugin(self, site: Path, arguments: list[str]) -> None:
        install(site, code="import os\nos.abort()")
        result = subprocess.run(
            [sys.executable, "-m", "seqkit", *arguments], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr

    def test_importing_the_public_api_is_cheap(self) -> None:
        script = (
            "import sys, seqkit, seqkit.recipe, seqkit.registry.registry, seqkit.settings\n"
            "import seqkit.encoders, seqkit.heads\n"
            "seqkit.Task, seqkit.Tokens, seqkit.DataError, seqkit.Count\n"
            "print('torch' in sys.modules)"
        )
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert result.stdout == "False\n"

    def test_help_imports_little_more_than_click(self) -> None:
        """What it takes is in the benchmarks, group startup; this is what it is made of."""
        script = (
            "import sys\nfrom seqkit.cli import main\n"
            "try:\n    main(['--help'], prog_name='seqkit')\nexcept SystemExit:\n    pass\n"
            "heavy = {'numpy', 'pydantic', 'ruamel', 'safetensors', 'sklearn', 'torch', 'rich', 'importlib.metadata',\n"
            "         'ctypes', 'json'}\n"
            "print(sorted(heavy & set(sys.modules)))"
        )
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert result.stdout.strip().split("\n")[-1] == "[]"


class TestPublicApi:
    def test_every_public_name_exists(self) -> None:
        for name in seqkit.__all__:
            assert getattr(seqkit, name) is not None
            assert name in dir(seqkit)

    def test_unknown_names(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
            seqkit.Trainer  # noqa: B018

    def test_python_dash_m_is_the_same_program(self) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "seqkit", "--version"], capture_output=True, text=True, check=True
        )
        assert result.stdout == call("--version").stdout


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho FASTA\n")
    path.chmod(0o755)
    return path


class TestDoctor:
    def results(self, issues: Iterable[doctor.InstallationIssue]) -> dict[str, tuple[str, str]]:
        return {issue.about: (issue.level, issue.message) for issue in issues}

    def test_a_foreign_program_is_named_with_this_one(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        foreign, script = program(site / "bin" / "seqkit"), program(site / "own" / "seqkit")
        monkeypatch.setattr("sysconfig.get_path", lambda name: str(site / "own"))
        monkeypatch.setenv("PATH", f"{site / 'bin'}:{site / 'own'}:{os.environ['PATH']}")
        ((level, message),) = self.results(doctor.check_program()).values()
        assert level == "bad"
        assert str(foreign) in message
        assert str(script) in message
        assert "-m seqkit" in message
        monkeypatch.setenv("PATH", f"{site / 'own'}:{site / 'bin'}")
        assert self.results(doctor.check_program()) == {"program": ("ok", str(script))}
        (site / "link").mkdir()
        (site / "link" / "seqkit").symlink_to(script)
        monkeypatch.setenv("PATH", str(site / "link"))
        assert self.results(doctor.check_program())["program"][0] == "ok"
        monkeypatch.setenv("PATH", str(site))
        monkeypatch.setattr(sys, "executable", "/a folder/python")
        assert self.results(doctor.check_program())["program"] == (
            "note",
            "no seqkit is on PATH; use '/a folder/python' -m seqkit",
        )

    def test_plugins_are_imported_in_other_processes(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(site, distribution="fine", code="def task(): ...", requires="seqkit<9")
        install(
            site, distribution="absent", code="import nothing_of_this_name", entries={"seqkit.tasks": {"a": "task"}}
        )
        install(site, distribution="leave", code="import os\nos._exit(0)", entries={"seqkit.tasks": {"b": "task"}})
        from seqkit.registry import registry

        plugins = [plugin for plugin in registry.installed("tasks") if plugin.distribution != "seqkit"]
        monkeypatch.setattr(registry, "installed", lambda kind=None: plugins)
        results = self.results(doctor.check_plugins(patience=5))
        assert results["tasks fine:splice"][0] == "ok"
        assert results["tasks absent:a"][0] == "note"  # something is missing, nothing is broken
        assert "install what brings the module 'nothing_of_this_name'" in results["tasks absent:a"][1]
        assert results["tasks leave:b"][0] == "bad"
        assert "its import ends the process with exit code 0" in results["tasks leave:b"][1]

    def test_folders(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEQKIT_CACHE", str(site / "a" / "b"))
        results = self.results(doctor.check_folders())
        assert results["SEQKIT_DATA"][0] == "note"
        assert results["cache"][0] == "ok"
        assert not (site / "a").exists()
        (site / "file").write_text("")
        monkeypatch.setenv("SEQKIT_DATA", str(site / "file"))
        monkeypatch.setenv("SEQKIT_CACHE", str(site / "file" / "x"))
        results = self.results(doctor.check_folders())
        assert [level for level, _ in results.values()] == ["bad", "bad"]
        monkeypatch.setenv("SEQKIT_DATA", str(site))
        assert self.results(doctor.check_folders())["SEQKIT_DATA"] == ("ok", str(site))

    def test_extras_are_installed_or_the_command_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "_is_installed", lambda name: name != "soundfile")
        monkeypatch.setattr("importlib.metadata.version", lambda name: "9")
        results = self.results(doctor.check_extras())
        extras = ("text", "speech", "genome", "arrow", "export", "remote", "notebook", "serve", "sweep")
        assert set(results) == {f"extra {name}" for name in extras}
        assert results["extra speech"] == ("note", 'not installed (soundfile): pip install "seqkit[speech]"')
        assert results["extra text"] == ("ok", "sentencepiece 9, sacrebleu 9")

    def test_installed_metadata_of_other_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.0")
        results = self.results(doctor.check_versions())
        assert results["seqkit"][0] == "bad"
        assert "the installed metadata say 0.0.0; install it again" in results["seqkit"][1]

    @pytest.mark.parametrize(("level", "code"), [("ok", 0), ("note", 0), ("bad", 1)])
    def test_exits_with_1_if_something_is_bad(self, monkeypatch: pytest.MonkeyPatch, level: str, code: int) -> None:
        def fake_check(*issues: doctor.InstallationIssue) -> Callable[[], list[doctor.InstallationIssue]]:
            return lambda: list(issues)

        for name in ("check_versions", "check_torch", "check_extras", "check_plugins", "check_program"):
            monkeypatch.setattr(doctor, name, fake_check())
        issue = doctor.InstallationIssue("x", level, "y")  # type: ignore[arg-type]
        monkeypatch.setattr(doctor, "check_folders", fake_check(issue))
        result = call("doctor")
        assert (result.exit_code, result.stdout) == (code, f"{level:<4}  x: y\n")
        result = call("doctor", "--json")
        assert (result.exit_code, json.loads(result.stdout)) == (code, [{"about": "x", "state": level, "said": "y"}])

    def test_torch(self) -> None:
        results = self.results(doctor.check_torch())
        assert results["torch"][0] == "ok"
        assert "threads" in results["torch"][1]
        assert results["gpu"][0] in ("ok", "note")
