"""`seqkit plugins list`, `info`, `doctor` and `check`, in words and as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from seqkit.plugin_tools import check, probe
from seqkit.registry import registry
from tests.helpers.third_party import BROKEN, TASK, install

FINE = '''
    """A module."""

    from seqkit import Count, Encoded, Encoder, mask_of
    from torch import nn
    import torch


    class Plain(Encoder):
        """A linear map of each step.

        Args:
            hidden: width of a step.
        """

        def __init__(self, dim, /, *, hidden: Count = 4) -> None:
            super().__init__()
            self.out_dim, self.causal = hidden, True
            self.map = nn.Linear(dim, hidden)

        def forward(self, x, lengths, state=None):
            steps = self.map(x) * mask_of(lengths, x.shape[1], x.device)[..., None]
            return Encoded(steps, lengths, steps[torch.arange(len(lengths)), lengths - 1], tuple)


    class Leaky(Plain):
        """A linear map that ignores padding."""

        def forward(self, x, lengths, state=None):
            steps = self.map(x)
            return Encoded(steps, lengths, steps[:, -1], tuple)


    def crash(dim, /, *, hidden: Count = 4):
        raise ZeroDivisionError("in the factory")
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plugins", *arguments], prog_name="seqkit")


class TestInfo:
    def test_all_facts(self, site: Path) -> None:
        module = install(site, code=TASK, requires="seqkit>=0.1,<9")
        output = call("info", "splice").stdout
        for line in (
            "task splice\n",
            "  Whether the middle of this window is a splice site.\n",
            "distribution  vendor 1.2\n",
            f"object        {module}:task\n",
            "works with    seqkit>=0.1,<9\n",
            "    k: letters a symbol.\n      a whole number, at least 1 (default 3)\n",
            '    mode: how, in two lines.\n      fast or slow (default "fast")\n',
            "    folder\n      a path or null (default null)\n",
            "    widths\n      a list (a whole number) (default [1, 2])\n",
            "    floor\n      a number, at least 0, or null (default null)\n",
            "    names\n      a mapping (a whole number) (default {})\n",
            "    fails\n      true or false (default false)\n",
        ):
            assert line in output, output
        assert module not in sys.modules
        (row,) = json.loads(call("info", "vendor:splice", "--json").stdout)
        assert (row["kind"], row["loaded"], row["files"]) == ("tasks", True, [f"{module}.py"])
        assert len(row["sha256"]) == 64
        assert row["options"][0] == {
            "name": "k",
            "type": "a whole number, at least 1",
            "about": "letters a symbol.",
            "default": 3,
        }

    def test_a_broken_plugin_is_diagnosed(self, site: Path) -> None:
        module = install(site, code=BROKEN["abort"])
        output = call("info", "splice").stdout
        assert f"does not load: its import ends the process by signal SIGABRT ({module}.py:3); remove vendor" in output
        assert f'{module}.py", line 3 in <module>' in output

    def test_a_distribution_means_all_its_plugins(self, site: Path) -> None:
        install(
            site,
            distribution="two-things",
            code="def a(): ...\ndef b(): ...",
            entries={"seqkit.tasks": {"a": "a"}, "seqkit.heads": {"b": "b"}},
        )
        rows = json.loads(call("info", "two_Things", "--json").stdout)
        assert [(row["kind"], row["name"]) for row in rows] == [("heads", "b"), ("tasks", "a")]

    def test_an_unknown_name(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(site)
        result = call("info", "splise")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "no plugin or distribution is called 'splise'; did you mean 'splice'" in result.stderr
        monkeypatch.setenv("SEQKIT_PLUGINS", "off")
        assert "(SEQKIT_PLUGINS or --no-plugins hides some)" in call("info", "splice").stderr


class TestDoctor:
    def test_a_plugin_without_problems(self, site: Path) -> None:
        install(site, code="def task(): ...", requires="seqkit<9")
        result = call("doctor", "splice")
        assert result.exit_code == 0
        assert result.stdout.startswith("ok      task vendor:splice (1.2, 0.")
        assert result.stdout.endswith("\n1 ok\n")

    def test_a_missing_dependency_is_not_bad(self, site: Path) -> None:
        install(site, code="import odd_audio", requires='odd-audio; extra == "audio"')
        result = call("doctor", "splice")
        assert result.exit_code == 0
        assert result.stdout.startswith("missing task vendor:splice (1.2")
        assert 'pip install "vendor[audio]"' in result.stdout

    def test_two_of_one_name_and_one_for_another_seqkit(self, site: Path) -> None:
        install(site, distribution="aa", code="def task(): ...", requires="seqkit<9")
        install(site, distribution="zz", code="open('imported', 'w')", requires="seqkit>=99")
        result = call("doctor", "splice", "--json")
        assert result.exit_code == 1
        aa, zz = json.loads(result.stdout)
        assert (aa["state"], aa["loaded"], zz["state"], zz["loaded"]) == ("bad", True, "bad", None)
        (remark,) = aa["remarks"]
        assert (remark["what"], remark["advice"]) == ("zz 1.2 offers the same name", "a recipe must write aa:splice")
        assert "needs seqkit>=99, and this is seqkit 0.1.0; it was not imported" in [
            remark["what"] for remark in zz["remarks"]
        ]
        assert not (site / "imported").exists()

    def test_remarks_on_code_and_metadata(self, site: Path) -> None:
        install(site, code="from seqkit.registry.registry import CORE\n\ndef task(*, unexplained: int = 1): ...")
        (row,) = json.loads(call("doctor", "splice", "--json").stdout)
        remarks = [remark["what"] for remark in row["remarks"]]
        assert row["state"] == "note"
        (private,) = [
            remark for remark in remarks if remark.startswith("imports seqkit.registry.registry.CORE (vendor_")
        ]
        assert private.endswith(":1), which is not part of the public API and may change at any time")
        assert "its docstring does not explain unexplained under Args:" in remarks
        assert "its metadata do not say which versions of seqkit it works with" in remarks

    def test_metadata_that_are_stale(self, site: Path) -> None:
        install(site, code="def task(): ...", requires="seqkit<9")
        (site / "pyproject.toml").write_text('[project]\n[project.entry-points."seqkit.tasks"]\nnew = "a:b"\n')
        facts = {"url": site.as_uri(), "dir_info": {"editable": True}}
        (site / "vendor-1.2.dist-info/direct_url.json").write_text(json.dumps(facts))
        result = call("doctor", "splice")
        assert result.exit_code == 1
        assert (
            f"new is in pyproject.toml and not installed yet; install it again: pip install -e {site}" in result.stdout
        )

    def test_options_that_a_recipe_cannot_express(self, site: Path) -> None:
        install(site, code="def task(*, what): ...", requires="seqkit<9")
        result = call("doctor", "splice")
        assert result.exit_code == 1
        assert "has no type; annotate it" in result.stdout

    def test_what_outlives_its_import_is_ended(self, site: Path) -> None:
        code = """
            import subprocess
            child = subprocess.Popen(["sleep", "300"])
            with open("pid", "w") as file:
                file.write(str(child.pid))
            def task(): ...
        """
        install(site, code=code, requires="seqkit<9")
        assert call("doctor", "splice").exit_code == 0
        number = int((site / "pid").read_text())
        for _ in range(100):
            state = Path(f"/proc/{number}/stat")
            if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.05)
        os.kill(number, signal.SIGKILL)
        pytest.fail("a process that the plugin started is still running")

    def test_ctrl_c_ends_the_processes(self, site: Path) -> None:
        install(site, code=f"open('started', 'w').write('x')\n{BROKEN['endless']}")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "seqkit", "plugins", "doctor", "splice", "--timeout", "60"]
        # A process in the background may have inherited that it ignores Ctrl-C.
        child = subprocess.Popen(
            command,
            env=environment,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )
        for _ in range(600):
            if (site / "started").exists():
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert child.returncode == 130, errors
        assert errors == b"interrupted\n"


class TestCheck:
    def test_each_contract_is_reported(self, site: Path) -> None:
        install(site, code=FINE, entries={"seqkit.encoders": {"plain": "Plain", "leaky": "Leaky", "crash": "crash"}})
        result = call("check", "vendor", "--set", "hidden=3", "--json")
        assert result.exit_code == 1
        rows = json.loads(result.stdout)
        by_name = {
            name: [row for row in rows if row["plugin"] == f"vendor:{name}"] for name in ("plain", "leaky", "crash")
        }
        assert [len(results) for results in by_name.values()] == [4, 4, 4]
        assert all(row["passed"] for row in by_name["plain"])
        leaks = {row["contract"]: row["said"] for row in by_name["leaky"] if not row["passed"]}
        assert "the mask is ignored" in leaks["Padding, batch mates, order and chunks do not change an output"]
        assert len(leaks) == 3
        assert {row["passed"] for row in by_name["crash"]} == {False}
        assert all(row["said"].startswith("ZeroDivisionError: in the factory (") for row in by_name["crash"])

    def test_as_text(self) -> None:
        result = call("check", "none")
        assert result.exit_code == 0
        assert result.stdout.startswith("encoder seqkit:none 0.1.0\n  ok    ")
        assert "FAIL" not in result.stdout
        bad = check.CheckResult("Nothing moves", False, "one\ntwo\n")
        assert str(bad) == "FAIL  Nothing moves\n        one\n        two"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["gru", "--set", "hidden=0"], "--set: gru.hidden: must be at least 1, got 0"),
            (["gru", "--set", "hiden=3"], "gru.hiden: unknown option; did you mean 'hidden'?"),
            (["gru", "--set", "hidden"], "--set hidden: expected OPTION=VALUE"),
            (["gru", "--set", "hidden=[1"], "--set hidden=[1: "),
            (["absent"], "no plugin or distribution is called 'absent'"),
        ],
    )
    def test_mistakes(self, words: list[str], message: str) -> None:
        result = call("check", *words)
        assert (result.exit_code, result.stdout.count("ok  ")) == (2, 0)
        assert message in result.stderr

    def test_options_without_a_default_are_asked_for(self, site: Path) -> None:
        code = (
            "from pathlib import Path\nfrom seqkit import Count\n"
            'def splice(*, folder: Path, k: Count):\n    """Splice.\n\n    Args:\n'
            '        folder: where the data are.\n    """\n'
            "def knot(width, *, hidden: Count): ...\n"
        )
        install(site, code=code, entries={"seqkit.tasks": {"splice": "splice"}, "seqkit.encoders": {"knot": "knot"}})
        result = call("check", "splice")
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            "the task 'splice' has options without a default; give them: "
            "seqkit plugins check vendor:splice --set folder=... --set k=...",
            "  folder: where the data are (a path)",
            "  k: an option (a whole number, at least 1)",
        ]
        assert "vendor:knot --set hidden=..." in call("check", "knot").stderr
        result = call("check", "splice", "--set", "folder=x", "--set", "k=0")
        assert result.exit_code == 2
        assert "--set: splice.k: must be at least 1, got 0" in result.stderr
        assert "`seqkit plugins info vendor:splice` lists them" in result.stderr

    def test_a_plugin_that_does_not_load_is_not_checked(self, site: Path) -> None:
        install(site, code=BROKEN["abort"])
        result = call("check", "splice")
        assert result.exit_code == 2
        assert (
            "the task 'splice' of vendor 1.2 does not load: its import ends the process by signal SIGABRT"
            in result.stderr
        )

    def test_tasks_and_heads(self) -> None:
        (names,) = [plugin for plugin in registry.installed("tasks") if plugin.name == "names"]
        results = list(check.check(names, {"sizes": [40, 20, 20], "head": {"use": "generate", "max_length": 5}}))
        assert len(results) == 9
        assert all(result.passed for result in results), [str(result) for result in results]
        (tag,) = [plugin for plugin in registry.installed("heads") if plugin.name == "tag"]
        results = list(check.check(tag, {"dropout": 0.1}))
        assert len(results) == 5
        assert all(result.passed for result in results), [str(result) for result in results]


def test_reports_come_in_the_order_of_the_plugins(site: Path) -> None:
    install(
        site,
        code="def a(): ...\ndef b(): ...",
        entries={"seqkit.tasks": {"b": "b", "a": "a"}, "seqkit.heads": {"a": "a"}},
    )
    plugins = [plugin for plugin in registry.installed() if plugin.name in ("a", "b", "lstm", "gru")]
    reports = list(probe.probe(plugins))
    assert [report.plugin for report in reports] == plugins
    assert all(report.loaded for report in reports)
