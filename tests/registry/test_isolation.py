"""Twelve ways in which a plugin can be broken: each is diagnosed, and none changes a listing or a run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from seqkit.registry import registry
from tests.helpers.third_party import BROKEN, break_all, install

TINY = """
seed: 3
tasks: {names: {sizes: [60, 20, 20]}}
encoder: {use: none, dim: 4}
train: {steps: 4, batch: 16, histograms: false}
"""

WORK = """
import contextlib, io, json, sys
from seqkit.cli import main

def call(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main(list(words), prog_name="seqkit")
        except SystemExit as error:
            assert not error.code, (words, error.code)
    return out.getvalue()

def scores(folder):
    facts = json.loads(call("run", "tiny.yaml", "--quiet", "--json", "--out", folder))
    return {name: value for name, value in facts.items() if name != "run"}

site = sys.argv[1]
before = scores("alone")
sys.path.insert(0, site)
assert "Train a recipe" in call("--help")
listings = {words: call(*words.split()) for words in ("tasks", "plugins list", "recipes list")}
print(json.dumps([before, scores("among"), listings]))
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path here and in child processes, and the working directory."""
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="seqkit")


def test_all_twelve_are_here() -> None:
    assert len(BROKEN) == 12


def test_no_broken_plugin_moves_a_listing_or_a_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    break_all(broken)
    (tmp_path / "tiny.yaml").write_text(TINY)
    environment = {**os.environ, "SEQKIT_CACHE": str(tmp_path / "cache")}
    result = subprocess.run(
        [sys.executable, "-c", WORK, str(broken)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    before, among, listings = json.loads(result.stdout)
    assert before == among
    assert before["names/test/nats"] > 0
    for name in BROKEN:
        assert name in listings["tasks"]
        assert f"broken-{name} 1.2" in listings["plugins list"]


DIAGNOSES = {
    "import-error": r"does not load: ImportError: cannot import .*\(vendor_\d+.py:1\); reinstall",
    "syntax-error": r"does not load: SyntaxError: .* \(vendor_\d+.py:1\); Python 3\S+ cannot read its code",
    "system-exit": r"does not load: SystemExit: 3 \(vendor_\d+.py:1\)",
    "keyboard-interrupt": r"does not load: KeyboardInterrupt \(vendor_\d+.py:1\)",
    "own-base-exception": r"does not load: Own: mine \(vendor_\d+.py:2\)",
    "missing-attribute": r"AttributeError: .* has no attribute 'task' .*its entry point names something",
    "recursion-error": r"does not load: RecursionError: maximum recursion depth exceeded.* \(vendor_\d+.py:2\)",
    "output-noise": r"wrote '.*noise.*' when it was imported",
    "signal-hijack": r"took over SIGINT, SIGTERM when it was imported",
    "abort": r"does not load: its import ends the process by signal SIGABRT \(vendor_\d+.py:3\)",
    "endless": r"does not load: its import does not finish; it was ended after 3 s \(vendor_\d+.py:4\)",
    "patched-torch-load": r"replaced json.loads, torch.load when it was imported",
}


def test_doctor_names_all_twelve(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_all(site)
    broken = [plugin for plugin in registry.installed() if plugin.distribution.startswith("broken-")]
    monkeypatch.setattr("seqkit.registry.registry.installed", lambda kind=None: broken)
    result = call("plugins", "doctor", "--json", "--timeout", "3")
    assert result.exit_code == 1
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert set(rows) == set(BROKEN)
    for name, pattern in DIAGNOSES.items():
        remarks = "\n".join(f"{remark['what']}; {remark['advice']}" for remark in rows[name]["remarks"])
        assert re.search(pattern, remarks), f"{name}: {remarks}"
    mild = {name for name, row in rows.items() if row["state"] != "bad"}
    assert mild == {"output-noise"}
    assert all(row["where"] for name, row in rows.items() if not row["loaded"]), rows
    assert {name for name, row in rows.items() if row["loaded"]} == {
        "output-noise",
        "signal-hijack",
        "patched-torch-load",
    }


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in ("abort", "endless")])
def test_a_recipe_that_names_one_gets_the_cause_the_line_and_the_advice(site: Path, name: str) -> None:
    install(site, distribution="vendor", code=BROKEN[name], entries={"seqkit.tasks": {"splice": "task"}})
    (site / "r.yaml").write_text("tasks: {splice: {}}\nencoder: lstm\n")
    handlers = [signal.getsignal(number) for number in (2, 15)]
    loads = json.loads
    try:
        result = call("recipes", "check", "r.yaml")
    finally:
        json.loads = loads
        import torch

        torch.load = torch.serialization.load
    assert [signal.getsignal(number) for number in (2, 15)] == handlers
    assert result.exit_code == 2
    assert "r.yaml:1:9: tasks.splice: " in result.stderr
    if name == "output-noise":
        assert result.stdout == ""
        assert "noise" in result.stderr
    elif name in ("signal-hijack", "patched-torch-load"):
        pattern = DIAGNOSES[name].removesuffix(" when it was imported")
        assert re.search(rf"the import of the task 'splice' of vendor 1.2 \(\S+\) {pattern}", result.stderr)
    else:
        pattern = DIAGNOSES[name].removeprefix("does not load: ")
        assert re.search(rf"the task 'splice' of vendor 1.2 does not load: .*{pattern}", result.stderr)
        _, trace = result.stderr.split("\ntraceback from vendor:\n")
        if name != "missing-attribute":
            assert re.search(r'  File ".*vendor_\d+.py", line \d', trace)
            assert "importlib" not in trace


def test_the_json_schema_leaves_out_plugins_that_would_crash_it(site: Path) -> None:
    install(site, distribution="aa", code=BROKEN["abort"], entries={"seqkit.heads": {"down": "task"}})
    install(site, distribution="bb", code="def task(*, k: int = 3): ...", entries={"seqkit.tasks": {"fine": "task"}})
    result = call("recipes", "schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert "fine" in schema["properties"]["tasks"]["properties"]
    assert "the head 'down' of aa 1.2 does not load: its import ends the process" in schema["$comment"]


def test_heads_that_fit_are_named_without_importing_others(site: Path) -> None:
    install(site, distribution="aa", code=BROKEN["abort"], entries={"seqkit.heads": {"down": "task"}})
    (site / "r.yaml").write_text("tasks: {sentiment: {head: crf}}\nencoder: lstm\n")
    result = call("recipes", "check", "r.yaml")
    assert result.exit_code == 2
    assert "heads that can: classify; perhaps also: down" in result.stderr


def test_two_of_one_name_are_both_named_and_the_full_name_chooses(site: Path) -> None:
    for name in ("aa", "bb"):
        install(site, distribution=name)
    (site / "r.yaml").write_text("tasks: {splice: {}}\nencoder: lstm\n")
    result = call("recipes", "check", "r.yaml")
    assert result.exit_code == 2
    assert "r.yaml:1:9: tasks.splice: two plugins offer the task 'splice': 'aa:splice' (1.2) and 'bb:splice' (1.2)" in (
        result.stderr
    )
    (site / "r.yaml").write_text("tasks: {splice: {use: 'bb:splice'}}\nencoder: lstm\n")
    assert call("recipes", "check", "r.yaml").stdout == "r.yaml: ok: splice (classify) on lstm\n"


def test_metadata_that_cannot_be_read_are_named_by_doctor(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site)
    (site / "vendor-1.2.dist-info/METADATA").unlink()
    assert "charlm" in call("tasks").stdout
    monkeypatch.setattr("seqkit.plugin_tools.probe.probe", lambda plugins, patience: iter(()))
    result = call("plugins", "doctor")
    assert result.exit_code == 1
    assert "vendor-1.2.dist-info\n        its metadata cannot be read: " in result.stdout
    (row,) = json.loads(call("plugins", "doctor", "--json").stdout)
    assert row["state"] == "bad"


def test_a_plugin_that_aborts_leaves_a_traceback(site: Path) -> None:
    install(site, code="import os\n\ndef down():\n    os.abort()\n\ndown()")
    result = subprocess.run(
        [sys.executable, "-c", "from seqkit.registry import registry; registry.load('tasks', 'splice')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == -signal.SIGABRT
    assert re.search(r'vendor_\d+.py", line 4 in down', result.stderr)


def test_an_import_that_takes_long_is_reported(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seqkit.registry.import_guard.PATIENCE", 0.05)
    install(site, code="import time\ntime.sleep(0.4)\ndef task(): ...")
    registry.load("tasks", "splice")
    assert "seqkit: the import of the task 'splice' of vendor 1.2 (vendor_" in capsys.readouterr().err
