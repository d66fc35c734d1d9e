"""The command line's listings: what there is, told without importing it, and mistakes as one line each."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
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
                assert about in result.stdout

    @pytest.mark.parametrize("verb", list(VERBS))
    def test_every_verb_is_there_and_has_help(self, verb: str) -> None:
        command = importlib.import_module(f"seqkit.cli.{verb.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        result = call(verb, "-h")
        assert result.exit_code == 0
        assert f"seqkit {verb}" in result.stdout

    def test_version(self) -> None:
        assert call("--version").stdout == f"seqkit, version {seqkit.__version__}\n"

    def test_a_verb_that_is_none(self) -> None:
        result = call("recipe", "check", "x")
        assert result.exit_code == 2
        assert "no verb is called 'recipe'; did you mean 'recipes'" in result.stderr
        assert "available: run, evaluate" in call("qqq").stderr
        assert call("--nothing").exit_code == 2

    def test_a_users_mistake_is_a_line_and_with_debug_a_traceback(self, site: Path) -> None:
        result = call("recipes", "check", "nosuch")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("there is no recipe file 'nosuch'; ")
        assert "Traceback" not in result.stderr
        assert isinstance(call("--debug", "recipes", "check", "nosuch").exception, seqkit.UsageError)

    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (KeyboardInterrupt(), 130, "interrupted"),
            (Interrupted("saved at step 3", 143), 143, "saved at step 3"),
            (seqkit.RunError("no space"), 1, "no space"),
            (seqkit.MissingExtra("this", "text"), 2, 'this needs an extra: pip install "seqkit[text]"'),
        ],
    )
    def test_exit_codes(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
        def fail(kind: str | None = None) -> None:
            raise error

        monkeypatch.setattr("seqkit.cli.plugins.rows_of", fail)
        result = call("tasks")
        assert (result.exit_code, result.stdout, result.stderr) == (code, "", said + "\n")

    def test_a_mistake_of_seqkits_own_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(kind: str | None = None) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("seqkit.cli.plugins.rows_of", fail)
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
        said = json.loads(call("recipes", "check", "good.yaml", "--json", "--set", "seed=4").stdout)
        assert (said["ok"], said["seed"], said["problems"]) == (True, 4, [])
        result = call("recipes", "check", "bad.yaml", "--set", "train.epochs=0")
        assert (result.exit_code, result.stdout) == (2, "")
        assert [line.split(": ")[0] for line in result.stderr.strip().split("\n")] == [
            "bad.yaml:1:7",
            "bad.yaml:2:21",
            "bad.yaml:3:16",
            "--set train.epochs=0",
        ]
        result = call("recipes", "check", "bad.yaml", "--json")
        said = json.loads(result.stdout)
        assert (result.exit_code, said["ok"], len(said["problems"])) == (2, False, 3)
        assert said["problems"][0] == {"where": "bad.yaml:1:7", "what": "seed: must be at least 0, got -1", "hint": ""}

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
            "except SystemExit as done:\n    assert done.code == 0, done.code\n"
            "print([name for name in ('torch', 'sklearn', 'tensorboard', 'rich') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert done.stdout.strip().split("\n")[-1] == "[]", done.stderr

    @pytest.mark.parametrize("arguments", [["tasks"], ["plugins", "list"], ["recipes", "list"]])
    def test_no_plugin(self, site: Path, arguments: list[str]) -> None:
        install(site, code="import os\nos.abort()")
        done = subprocess.run([sys.executable, "-m", "seqkit", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_importing_the_doors_costs_nothing(self) -> None:
        script = (
            "import sys, seqkit, seqkit.recipe, seqkit.registry.registry, seqkit.settings\n"
            "import seqkit.encoders, seqkit.heads\n"
            "seqkit.Task, seqkit.Tokens, seqkit.DataError, seqkit.Count\n"
            "print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    def test_help_imports_little_more_than_click(self) -> None:
        """What it takes is in the benchmarks, group startup; this is what it is made of."""
        script = (
            "import sys\nfrom seqkit.cli import main\n"
            "try:\n    main(['--help'], prog_name='seqkit')\nexcept SystemExit:\n    pass\n"
            "heavy = {'numpy', 'pydantic', 'ruamel', 'safetensors', 'sklearn', 'torch', 'rich', 'importlib.metadata'}\n"
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip().split("\n")[-1] == "[]"


class TestDoors:
    def test_every_public_name_is_there(self) -> None:
        for name in seqkit.__all__:
            assert getattr(seqkit, name) is not None
            assert name in dir(seqkit)

    def test_what_is_not_there(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
            seqkit.Trainer  # noqa: B018

    def test_python_dash_m_is_the_same_program(self) -> None:
        done = subprocess.run([sys.executable, "-m", "seqkit", "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == call("--version").stdout


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho FASTA\n")
    path.chmod(0o755)
    return path


class TestDoctor:
    def states(self, findings: object) -> dict[str, tuple[str, str]]:
        return {each.about: (each.state, each.said) for each in findings}  # type: ignore[attr-defined]

    def test_a_foreign_program_is_named_with_this_one(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        foreign, own = program(site / "bin" / "seqkit"), program(site / "own" / "seqkit")
        monkeypatch.setattr("sysconfig.get_path", lambda name: str(site / "own"))
        monkeypatch.setenv("PATH", f"{site / 'bin'}:{site / 'own'}:{os.environ['PATH']}")
        ((state, said),) = self.states(doctor.program()).values()
        assert state == "bad"
        assert str(foreign) in said
        assert str(own) in said
        assert "-m seqkit" in said
        monkeypatch.setenv("PATH", f"{site / 'own'}:{site / 'bin'}")
        assert self.states(doctor.program()) == {"program": ("ok", str(own))}
        (site / "link").mkdir()
        (site / "link" / "seqkit").symlink_to(own)
        monkeypatch.setenv("PATH", str(site / "link"))
        assert self.states(doctor.program())["program"][0] == "ok"
        monkeypatch.setenv("PATH", str(site))
        assert self.states(doctor.program())["program"][0] == "note"

    def test_plugins_are_imported_where_they_can_do_no_harm(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(site, distribution="fine", code="def task(): ...", requires="seqkit<9")
        install(
            site, distribution="absent", code="import nothing_of_this_name", entries={"seqkit.tasks": {"a": "task"}}
        )
        install(site, distribution="leave", code="import os\nos._exit(0)", entries={"seqkit.tasks": {"b": "task"}})
        from seqkit.registry import registry

        plugins = [plugin for plugin in registry.installed("tasks") if plugin.distribution != "seqkit"]
        monkeypatch.setattr(registry, "installed", lambda kind=None: plugins)
        found = self.states(doctor.plugins(patience=5))
        assert found["tasks fine:splice"][0] == "ok"
        assert found["tasks absent:a"][0] == "note"  # something is missing, nothing is broken
        assert "install what brings the module 'nothing_of_this_name'" in found["tasks absent:a"][1]
        assert found["tasks leave:b"][0] == "bad"
        assert "its import ends the process with exit code 0" in found["tasks leave:b"][1]

    def test_folders(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEQKIT_CACHE", str(site / "a" / "b"))
        found = self.states(doctor.folders())
        assert found["SEQKIT_DATA"][0] == "note"
        assert found["cache"][0] == "ok"
        assert not (site / "a").exists()
        (site / "file").write_text("")
        monkeypatch.setenv("SEQKIT_DATA", str(site / "file"))
        monkeypatch.setenv("SEQKIT_CACHE", str(site / "file" / "x"))
        found = self.states(doctor.folders())
        assert [state for state, _ in found.values()] == ["bad", "bad"]
        monkeypatch.setenv("SEQKIT_DATA", str(site))
        assert self.states(doctor.folders())["SEQKIT_DATA"] == ("ok", str(site))

    def test_extras_are_there_or_the_command_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "_has", lambda name: name != "soundfile")
        monkeypatch.setattr("importlib.metadata.version", lambda name: "9")
        found = self.states(doctor.extras())
        assert set(found) == {"extra text", "extra speech", "extra genome"}
        assert found["extra speech"] == ("note", 'not there (soundfile): pip install "seqkit[speech]"')
        assert found["extra text"] == ("ok", "sentencepiece 9, sacrebleu 9")

    def test_an_installation_that_does_not_tell_of_this_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.0")
        found = self.states(doctor.versions())
        assert found["seqkit"][0] == "bad"
        assert "the installed metadata say 0.0.0; install it again" in found["seqkit"][1]

    @pytest.mark.parametrize(("state", "code"), [("ok", 0), ("note", 0), ("bad", 1)])
    def test_leaves_with_1_if_something_is_bad(self, monkeypatch: pytest.MonkeyPatch, state: str, code: int) -> None:
        def looks(*findings: doctor.InstallationIssue) -> Callable[[], list[doctor.InstallationIssue]]:
            return lambda: list(findings)

        for name in ("versions", "torch_build", "extras", "plugins", "program"):
            monkeypatch.setattr(doctor, name, looks())
        monkeypatch.setattr(doctor, "folders", looks(doctor.InstallationIssue("x", state, "y")))  # type: ignore[arg-type]
        result = call("doctor")
        assert (result.exit_code, result.stdout) == (code, f"{state:<4}  x: y\n")
        result = call("doctor", "--json")
        assert (result.exit_code, json.loads(result.stdout)) == (code, [{"about": "x", "state": state, "said": "y"}])

    def test_torch(self) -> None:
        found = self.states(doctor.torch_build())
        assert found["torch"][0] == "ok"
        assert "threads" in found["torch"][1]
        assert found["gpu"][0] in ("ok", "note")
