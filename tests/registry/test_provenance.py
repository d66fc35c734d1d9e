"""Runs and models know their plugins: absent, changed, or shadowed by another is told exactly."""

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
    monkeypatch.setattr(registry, "_preferred", type(registry._preferred)("preferred", default={}))
    return tmp_path


def remove(site: Path, distribution: str = "vendor") -> None:
    for path in site.glob(f"{distribution.replace('-', '_')}-*.dist-info"):
        shutil.rmtree(path)


class TestUsed:
    def test_each_distribution_with_version_hash_and_what_was_used_of_it(self, site: Path) -> None:
        module = install(site, code=CODE, requires="seqkit<9", entries={"seqkit.tasks": {"a": "task", "b": "task"}})
        facts = provenance.used([("tasks", "a"), ("encoders", "lstm"), ("tasks", "vendor:b"), ("tasks", "a")])
        assert [entry["distribution"] for entry in facts] == ["seqkit", "vendor"]
        house, vendor = facts
        assert [point["name"] for point in house["entry_points"]] == ["lstm"]
        assert len(house["sha256"]) == len(vendor["sha256"]) == 64
        assert (vendor["version"], vendor["needs"]) == ("1.2", "seqkit<9")
        assert vendor["entry_points"] == [
            {"kind": "tasks", "name": name, "value": f"{module}:task"} for name in ("a", "b")
        ]
        assert json.loads(json.dumps(facts)) == facts
        assert provenance.changes(facts, "this run", house=True) == []

    def test_an_unknown_one(self) -> None:
        with pytest.raises(PluginError, match="no task is called 'absent'"):
            provenance.used([("tasks", "absent")])


class TestLater:
    def test_other_code_or_another_version_is_told(self, site: Path) -> None:
        module = install(site, code=CODE)
        facts = provenance.used([("tasks", "splice")])
        before = facts[0]["sha256"][:8]
        (site / f"{module}.py").write_text("def task(): ...  # edited\n")
        (line,) = provenance.changes(facts, "the model in m")
        assert line.startswith("vendor 1.2 has other code here (sha256 ")
        assert f"than when the model in m was made ({before}), under the same version" in line
        remove(site)
        install(site, code=CODE, version="1.3")
        (line,) = provenance.changes(facts, "the model in m")
        assert line.startswith("vendor is 1.3 (sha256 ")
        assert line.endswith(f"here; the model in m was made with 1.2 ({before})")

    def test_seqkit_itself_counts_only_where_it_is_asked_for(self) -> None:
        (entry,) = provenance.used([("encoders", "lstm")])
        entry["sha256"] = "0" * 64
        assert provenance.changes([entry], "this run") == []
        (line,) = provenance.changes([entry], "this run", house=True)
        assert line.startswith("seqkit 0.")

    def test_what_is_not_here_is_an_error_with_what_to_install(self, site: Path) -> None:
        install(site, code=CODE, entries={"seqkit.tasks": {"a": "task"}, "seqkit.heads": {"h": "task"}})
        facts = provenance.used([("tasks", "a"), ("heads", "h")])
        provenance.recall(facts, "the model in m")
        remove(site)
        with pytest.raises(PluginError) as caught:
            provenance.recall(facts, "the model in m")
        assert str(caught.value) == (
            "the model in m was made with the head 'h' and the task 'a' of vendor 1.2, which is not installed; "
            'install that version: pip install "vendor==1.2", or from where it came'
        )
        assert provenance.changes(facts, "the model in m") == []

    def test_a_distribution_that_no_longer_brings_it(self, site: Path) -> None:
        install(site, code=CODE)
        facts = provenance.used([("tasks", "splice")])
        remove(site)
        install(site, code=CODE, version="2.0", entries={"seqkit.tasks": {"other": "task"}})
        with pytest.raises(PluginError, match=r"of vendor 1.2, and vendor 2.0, which is installed, does not bring it"):
            provenance.recall(facts, "m")

    def test_one_that_is_left_out_on_purpose(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(site, code=CODE)
        facts = provenance.used([("tasks", "splice")])
        monkeypatch.setenv("SEQKIT_PLUGINS", "off")
        with pytest.raises(PluginError, match="which SEQKIT_PLUGINS or --no-plugins leaves out"):
            provenance.recall(facts, "m")

    def test_a_name_that_another_brings_too_means_the_one_of_then(self, site: Path) -> None:
        install(site, code=CODE, distribution="first")
        facts = provenance.used([("tasks", "splice")])
        install(site, code=CODE, distribution="again")
        with pytest.raises(PluginError, match="two plugins offer"):
            registry.find("tasks", "splice")
        provenance.recall(facts, "m")
        assert registry.find("tasks", "splice").distribution == "first"
        remove(site, "first")
        with pytest.raises(PluginError, match=r"of first 1.2, which is not installed"):
            provenance.recall(facts, "m")

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
        provenance.recall(facts, "m")
        assert provenance.changes(facts, "m") == []


TINY = """
seed: 3
tasks: {names: {sizes: [60, 20, 20]}}
encoder: {use: passing, dim: 4}
train: {steps: 4, batch: 16, histograms: false, save_every: 2}
"""
PASSING = """
from seqkit.encoders.identity import Passing

class Mine(Passing):
    def __init__(self, dim, /):
        super().__init__(dim)
"""


def test_the_folder_of_a_run_knows_and_opening_it_tells(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    monkeypatch.setenv("SEQKIT_CACHE", str(site / "cache"))

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, [*words], prog_name="seqkit", catch_exceptions=False)

    module = install(site, code=PASSING, entries={"seqkit.encoders": {"passing": "Mine"}})
    (site / "tiny.yaml").write_text(TINY)
    (site / "lines").write_text("Vostian\n")
    done = call("run", "tiny.yaml", "--quiet", "--out", "run")
    assert done.exit_code == 0, done.output
    facts = json.loads((site / "run/plugins.json").read_text())
    assert facts == json.loads((site / "run/model/plugins.json").read_text())
    found = {entry["distribution"]: entry for entry in facts}
    assert {point["name"] for point in found["seqkit"]["entry_points"]} == {"names", "generate"}
    assert found["vendor"]["entry_points"] == [{"kind": "encoders", "name": "passing", "value": f"{module}:Mine"}]

    done = call("predict", "run", "lines")
    assert (done.exit_code, done.stderr) == (0, "")
    with (site / f"{module}.py").open("a") as file:
        file.write("# edited\n")
    done = call("predict", "run/model", "lines")
    assert done.exit_code == 0
    assert "warning: vendor 1.2 has other code here" in done.stderr
    done = call("run", "--resume", "run", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert "vendor 1.2 has other code here" in (site / "run/run.log").read_text()

    remove(site)
    for words in (("predict", "run", "lines"), ("evaluate", "run"), ("run", "--resume", "run", "--quiet")):
        done = call(*words)
        assert done.exit_code == 2, words
        assert "was made with the encoder 'passing' of vendor 1.2, which is not installed; install" in done.stderr
        assert "Traceback" not in done.stderr
