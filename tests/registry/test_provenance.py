"""Runs and models record their plugins; a missing, changed or shadowed plugin is reported exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from seqkit.errors import PluginError
from seqkit.registry import provenance, registry
from tests.helpers.third_party import install

CODE = "def task(): ...\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_pinned", type(registry._pinned)("pinned", default={}))
    return tmp_path


def remove(site: Path, distribution: str = "vendor") -> None:
    for path in site.glob(f"{distribution.replace('-', '_')}-*.dist-info"):
        shutil.rmtree(path)


class TestRecord:
    def test_each_distribution_with_version_hash_and_plugins(self, site: Path) -> None:
        module = install(site, code=CODE, requires="seqkit<9", entries={"seqkit.tasks": {"a": "task", "b": "task"}})
        facts = provenance.record([("tasks", "a"), ("encoders", "lstm"), ("tasks", "vendor:b"), ("tasks", "a")])
        assert [entry["distribution"] for entry in facts] == ["seqkit", "vendor"]
        core, vendor = facts
        assert [point["name"] for point in core["entry_points"]] == ["lstm"]
        assert len(core["sha256"]) == len(vendor["sha256"]) == 64
        assert (vendor["version"], vendor["needs"]) == ("1.2", "seqkit<9")
        assert vendor["entry_points"] == [
            {"kind": "tasks", "name": name, "value": f"{module}:task"} for name in ("a", "b")
        ]
        assert json.loads(json.dumps(facts)) == facts
        assert provenance.describe_changes(facts, "this run", include_core=True) == []

    def test_an_unknown_plugin(self) -> None:
        with pytest.raises(PluginError, match="no task is called 'absent'"):
            provenance.record([("tasks", "absent")])


class TestLater:
    def test_other_code_or_another_version_is_reported(self, site: Path) -> None:
        module = install(site, code=CODE)
        facts = provenance.record([("tasks", "splice")])
        before = facts[0]["sha256"][:8]
        (site / f"{module}.py").write_text("def task(): ...  # edited\n")
        (line,) = provenance.describe_changes(facts, "the model in m")
        assert line.startswith("vendor 1.2 has other code here (sha256 ")
        assert f"than when the model in m was made ({before}), although its version is the same" in line
        remove(site)
        install(site, code=CODE, version="1.3")
        (line,) = provenance.describe_changes(facts, "the model in m")
        assert line.startswith("vendor is 1.3 (sha256 ")
        assert line.endswith(f"here; the model in m was made with 1.2 ({before})")

    def test_seqkit_itself_counts_on_request_only(self) -> None:
        (entry,) = provenance.record([("encoders", "lstm")])
        entry["sha256"] = "0" * 64
        assert provenance.describe_changes([entry], "this run") == []
        (line,) = provenance.describe_changes([entry], "this run", include_core=True)
        assert line.startswith("seqkit 0.")

    def test_a_missing_plugin_is_an_error_with_what_to_install(self, site: Path) -> None:
        install(site, code=CODE, entries={"seqkit.tasks": {"a": "task"}, "seqkit.heads": {"h": "task"}})
        facts = provenance.record([("tasks", "a"), ("heads", "h")])
        provenance.pin_recorded(facts, "the model in m")
        remove(site)
        with pytest.raises(PluginError) as caught:
            provenance.pin_recorded(facts, "the model in m")
        assert str(caught.value) == (
            "the model in m was made with the head 'h' and the task 'a' of vendor 1.2, which is not installed; "
            'install that version: pip install "vendor==1.2", or from its source'
        )
        assert provenance.describe_changes(facts, "the model in m") == []

    def test_a_distribution_that_no_longer_brings_it(self, site: Path) -> None:
        install(site, code=CODE)
        facts = provenance.record([("tasks", "splice")])
        remove(site)
        install(site, code=CODE, version="2.0", entries={"seqkit.tasks": {"other": "task"}})
        with pytest.raises(PluginError, match=r"of vendor 1.2, and the installed vendor 2.0 does not bring it"):
            provenance.pin_recorded(facts, "m")

    def test_a_plugin_that_is_hidden_on_purpose(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(site, code=CODE)
        facts = provenance.record([("tasks", "splice")])
        monkeypatch.setenv("SEQKIT_PLUGINS", "off")
        with pytest.raises(PluginError, match="which SEQKIT_PLUGINS or --no-plugins hides; run without it"):
            provenance.pin_recorded(facts, "m")

    def test_a_name_that_is_now_ambiguous_means_the_recorded_plugin(self, site: Path) -> None:
        install(site, code=CODE, distribution="first")
        facts = provenance.record([("tasks", "splice")])
        install(site, code=CODE, distribution="again")
        with pytest.raises(PluginError, match="two plugins offer"):
            registry.find("tasks", "splice")
        provenance.pin_recorded(facts, "m")
        assert registry.find("tasks", "splice").distribution == "first"
        remove(site, "first")
        with pytest.raises(PluginError, match=r"of first 1.2, which is not installed"):
            provenance.pin_recorded(facts, "m")

    @pytest.mark.parametrize(
        "facts",
        [
            None,
            7,
            {"a": 1},
            [1, "x", None],
            [{"distribution": "x"}],
            [{"distribution": 1, "version": "1", "sha256": "", "entry_points": []}],
            [{"distribution": "seqkit", "version": "1", "sha256": "", "entry_points": [3, {"kind": "x"}]}],
        ],
    )
    def test_a_file_that_says_something_else_says_nothing(self, facts: object) -> None:
        provenance.pin_recorded(facts, "m")
        assert provenance.describe_changes(facts, "m") == []


TINY = """
seed: 3
tasks: {names: {sizes: [60, 20, 20]}}
encoder: {use: passing, dim: 4}
train: {steps: 4, batch: 16, histograms: false, save_every: 2}
"""
PASSING = """
from seqkit.encoders.identity import Identity

class Mine(Identity):
    def __init__(self, dim, /):
        super().__init__(dim)
"""


def test_a_run_records_its_plugins_and_reports_changes(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    monkeypatch.setenv("SEQKIT_CACHE", str(site / "cache"))

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, [*words], prog_name="seqkit", catch_exceptions=False)

    module = install(site, code=PASSING, entries={"seqkit.encoders": {"passing": "Mine"}})
    (site / "tiny.yaml").write_text(TINY)
    (site / "lines").write_text("Vostian\n")
    result = call("run", "tiny.yaml", "--quiet", "--out", "run")
    assert result.exit_code == 0, result.output
    facts = json.loads((site / "run/plugins.json").read_text())
    assert facts == json.loads((site / "run/model/plugins.json").read_text())
    by_name = {entry["distribution"]: entry for entry in facts}
    assert {point["name"] for point in by_name["seqkit"]["entry_points"]} == {"names", "generate"}
    assert by_name["vendor"]["entry_points"] == [{"kind": "encoders", "name": "passing", "value": f"{module}:Mine"}]

    result = call("predict", "run", "lines")
    assert (result.exit_code, result.stderr) == (0, "")
    with (site / f"{module}.py").open("a") as file:
        file.write("# edited\n")
    result = call("predict", "run/model", "lines")
    assert result.exit_code == 0
    assert "warning: vendor 1.2 has other code here" in result.stderr
    on = ("run", "--resume", "run", "--quiet", "--set", "train.steps=6")
    result = call(*on)
    assert result.exit_code == 2
    assert "code of vendor: 1.2 (sha256 " in result.stderr
    result = call(*on, "--accept-changes")
    assert result.exit_code == 0, result.stderr
    assert "vendor 1.2 has other code here" in (site / "run/run.log").read_text()
    assert json.loads((site / "run/plugins.json").read_text()) == facts, "what was used at first is still to be seen"

    remove(site)
    for words in (("predict", "run", "lines"), ("evaluate", "run"), ("run", "--resume", "run", "--quiet")):
        result = call(*words)
        assert result.exit_code == 2, words
        assert "was made with the encoder 'passing' of vendor 1.2, which is not installed; install" in result.stderr
        assert "Traceback" not in result.stderr
