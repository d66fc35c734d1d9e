"""Sweeps survive kills, share trials between processes, prune, and end with as many trials as were asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from seqkit import recipe
from seqkit.cli import main
from seqkit.runs.records import read_status

pytest.importorskip("optuna")

RECIPE = """
tasks: {{lm: {{use: charlm, file: {folder}/text.txt, window: 16, piece: 100}}}}
encoder: {{use: gru, dim: 8, hidden: 8}}
train: {{steps: 6, batch: 8, evaluate_every: 2, optimizer: {{use: adamw, lr: 0.02}}}}
"""

SWEEP = """
recipe: lm.yaml
trials: {trials}
search:
  train.optimizer.lr: {{low: 1.0e-4, high: 0.1, log: true}}
  encoder.hidden: {{low: 4, high: 12, step: 4}}
  encoder.use: [gru, rnn]
{more}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("she sells sea shells on the sea shore. " * 40)
    (tmp_path / "lm.yaml").write_text(RECIPE.format(folder=tmp_path))
    return tmp_path


def write(folder: Path, *, trials: int, more: str = "pruner: none") -> None:
    (folder / "s.yaml").write_text(SWEEP.format(trials=trials, more=more))


def call(*words: str) -> Result:
    return CliRunner().invoke(main, ["sweep", "s.yaml", "--quiet", *words])


def facts(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_best_recipe_is_written_and_trains_the_best_trial_again(folder: Path) -> None:
    write(folder, trials=3)
    summary = facts(call("--json"))
    assert [trial["state"] for trial in summary["trials"]] == ["finished"] * 3
    best = min(summary["trials"], key=lambda trial: trial["value"])
    assert summary["best"] == best["number"]
    written = recipe.load(folder / "sweeps" / "s" / "best.yaml")
    assert written.train.optimizer.options["lr"] == float(best["options"]["train.optimizer.lr"])
    scores = json.loads((Path(best["run"]) / "metrics.json").read_text())
    assert scores["lm/dev/nats"] == best["value"]

    more = call("--json")
    assert facts(more) == summary, "a sweep that is complete is not trained again"
    write(folder, trials=4)
    assert [trial["value"] for trial in facts(call("--json"))["trials"]][:3] == [t["value"] for t in summary["trials"]]

    (folder / "s.yaml").write_text((folder / "s.yaml").read_text().replace("0.1", "0.2"))
    refused = call()
    assert refused.exit_code == 2
    assert "another search" in refused.stderr


def test_trials_do_not_depend_on_restarts(folder: Path) -> None:
    """A sampler that is seeded anew by each process would propose the first trial again."""
    write(folder, trials=1, more="sampler: random")
    first = facts(call("--json", "--out", "by-one"))["trials"]
    write(folder, trials=2, more="sampler: random")
    restarted = facts(call("--json", "--out", "by-one"))["trials"]
    at_once = facts(call("--json", "--out", "at-once"))["trials"]
    assert [trial["options"] for trial in restarted] == [trial["options"] for trial in at_once]
    assert restarted[0]["options"] == first[0]["options"] != restarted[1]["options"]


def test_a_grid_tries_everything_once(folder: Path) -> None:
    text = "recipe: lm.yaml\nsampler: grid\npruner: none\nsearch: {encoder.use: [gru, rnn], train.batch: [4, 8]}\n"
    (folder / "s.yaml").write_text(text)
    trials = facts(call("--json"))["trials"]
    assert [tuple(trial["options"].values()) for trial in trials] == [
        ("gru", "4"),
        ("gru", "8"),
        ("rnn", "4"),
        ("rnn", "8"),
    ]


def test_poor_trials_are_pruned_and_say_so(folder: Path) -> None:
    """Learning rates that do nothing come after some that learn: they end at their first evaluations."""
    rates = "[0.05, 0.04, 0.03, 0.02, 0.06, 1.0e-9, 2.0e-9]"
    text = f"recipe: lm.yaml\nsampler: grid\nsearch: {{train.optimizer.lr: {rates}}}\n"
    (folder / "s.yaml").write_text(text)
    trials = facts(call("--json"))["trials"]
    assert [trial["state"] for trial in trials] == ["finished"] * 5 + ["pruned"] * 2
    status = read_status(Path(trials[5]["run"]))
    assert status["state"] == "interrupted"
    assert status["reason"].startswith("pruned after step 2")


def test_a_trial_that_fails_is_a_trial(folder: Path) -> None:
    text = "recipe: lm.yaml\nsampler: grid\npruner: none\nsearch: {train.optimizer.lr: [0.02, 1.0e+30]}\n"
    (folder / "s.yaml").write_text(text)
    summary = facts(call("--json"))
    assert [trial["state"] for trial in summary["trials"]] == ["finished", "failed"]
    assert summary["best"] == 0


def test_a_folder_of_something_else_is_refused(folder: Path) -> None:
    write(folder, trials=1)
    (folder / "other").mkdir()
    (folder / "other" / "thesis.txt").write_text("mine")
    result = call("--out", "other")
    assert result.exit_code == 2
    assert "neither empty nor the folder of a sweep" in result.stderr


def test_a_journal_with_half_a_line_is_read(folder: Path) -> None:
    write(folder, trials=1)
    before = facts(call("--json"))
    journal = folder / "sweeps" / "s" / "journal.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    write(folder, trials=2)
    after = facts(call("--json"))
    assert after["trials"][0] == before["trials"][0]
    assert len(after["trials"]) == 2


def start(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "seqkit", "sweep", "s.yaml", "--quiet", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def kill(process: subprocess.Popen[bytes], ready: Any, seconds: float) -> None:
    """SIGKILL to a sweep and all its processes, once `ready()` says so."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def numbers_logged(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_killed_trial_goes_on_where_it_was(folder: Path) -> None:
    """The trial keeps its number and its options, and its run is resumed and not begun again."""
    (folder / "lm.yaml").write_text(RECIPE.format(folder=folder).replace("steps: 6", "steps: 400"))
    write(folder, trials=2)
    run = folder / "sweeps" / "s" / "trial-0000"
    kill(start(), lambda: numbers_logged(run) > 20, 300)
    summary = facts(call("--json"))
    assert [trial["state"] for trial in summary["trials"]] == ["finished"] * 2
    assert read_status(run)["resumed"] == 1


@pytest.mark.slow
def test_processes_share_the_trials(folder: Path) -> None:
    write(folder, trials=6)
    processes = [start("--json") for _ in range(2)]
    outputs = [process.communicate(timeout=900) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    summary = facts(call("--json"))
    assert [trial["state"] for trial in summary["trials"]] == ["finished"] * 6
    pids = {read_status(Path(trial["run"]))["pid"] for trial in summary["trials"]}
    assert len(pids) == 2


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("SEQKIT_DATA" not in os.environ, reason="SEQKIT_DATA names no data")
def test_a_sweep_of_sst2_that_is_killed_twice_ends_with_twelve_trials(folder: Path) -> None:
    (folder / "s.yaml").write_text(
        "recipe: sentiment-sst2\ntrials: 12\n"
        "set: {train.steps: 30, train.evaluate_every: 10, train.save_every: 10, encoder.dim: 16}\n"
        "search:\n"
        "  train.optimizer.lr: {low: 1.0e-4, high: 0.02, log: true}\n"
        "  encoder.hidden: {low: 8, high: 24, step: 8}\n"
        "  encoder.use: [lstm, gru]\n"
    )
    sweep = folder / "sweeps" / "s"
    kill(start(), lambda: numbers_logged(sweep / "trial-0002") > 0, 900)
    kill(start(), lambda: (sweep / "trial-0007" / "status.json").exists(), 900)
    summary = facts(call("--json"))
    assert len(summary["trials"]) == 12
    assert [trial["number"] for trial in summary["trials"]] == list(range(12))
    assert {trial["state"] for trial in summary["trials"]} <= {"finished", "pruned"}
    assert len({json.dumps(trial["options"], sort_keys=True) for trial in summary["trials"]}) == 12
    assert len(list(sweep.glob("trial-????"))) == 12
    listed = CliRunner().invoke(main, ["runs", str(sweep), "--json"])
    assert len(json.loads(listed.stdout)) == 12
    assert recipe.load(sweep / "best.yaml").tasks["sentiment"].options["source"] == "sst2"
