"""`seqkit runs`: the table of runs, and removing failed ones, never one that a process works on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from seqkit.io import atomic
from seqkit.reports.run_facts import describe_options, find_differences, read_facts, short_names
from seqkit.reports.run_table import make_table, remove_run
from seqkit.runs.run_folder import Run
from tests.helpers.run_folders import make_run


def die(folder: Path) -> None:
    """The process of a run is gone."""
    status = json.loads((folder / "status.json").read_text())
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (folder / "status.json").write_text(json.dumps(status | {"pid": int(ended.stdout), "pid_started": 1}))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    make_run(folder / "a", dev=0.7)
    make_run(folder / "b", dev=0.9, encoder="gru")
    make_run(folder / "c", state="failed", reason="RunError: step 3: the loss is not finite\nmore", lr=1.0)
    make_run(folder / "d", state="running", dev=0.6)
    return folder


def call(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["runs", *words], input=text)


def test_the_table_shows_what_differs_the_state_and_the_scores(runs: Path) -> None:
    result = call()
    assert result.exit_code == 0, result.output
    header, *rows = result.stdout.splitlines()
    assert header.split("  ")[0] == "run"
    assert "dev accuracy" in header
    assert "test accuracy" in header
    a, b, c, d = rows
    assert a.split()[:4] == ["a", "finished", "0.7000", "0.7500"]
    assert "encoder=lstm lr=0.01" in a
    assert "encoder=gru lr=0.01" in b
    assert "failed" in c
    assert "lr=1" in c
    assert "the loss is not finite" in c
    assert "more" not in c
    assert d.split()[:5] == ["d", "running,", "step", "20", "0.6000"]


def test_the_best_run_comes_first_by_its_score_and_those_without_one_last(runs: Path) -> None:
    def order(*words: str) -> list[str]:
        return [Path(row["folder"]).name for row in json.loads(call(str(runs), "--json", *words).stdout)]

    assert order() == ["a", "b", "c", "d"]
    assert order("--reverse") == ["d", "c", "b", "a"]
    assert order("--sort", "dev") == ["b", "a", "d", "c"]
    assert order("--sort", "test")[:2] == ["b", "a"]
    assert order("--sort", "test", "--reverse")[:2] == ["a", "b"]


def test_of_errors_the_lowest_is_the_best(tmp_path: Path) -> None:
    for name, rate in {"good": 0.1, "bad": 0.9}.items():
        run = Run(make_run(tmp_path / name), status=atomic.read_json(tmp_path / name / "status.json"))
        (tmp_path / name / "metrics.jsonl").unlink()
        run.log_metrics(5, {"mood/dev/wer": rate + 0.2})
        run.log_metrics(10, {"mood/dev/wer": rate})
        run.log_metrics(15, {"mood/dev/wer": rate + 0.1})
        run.set_status("interrupted", chosen_by="min:mood/dev/wer")
    table = make_table(tmp_path, sort="dev")
    assert [run.folder.name for run in table.runs] == ["good", "bad"]
    assert [run.dev for run in table.runs] == [0.1, 0.9]


def test_runs_of_other_tasks_are_compared_among_themselves(tmp_path: Path) -> None:
    make_run(tmp_path / "a", lr=0.1)
    make_run(tmp_path / "b", lr=0.2)
    other = make_run(tmp_path / "c")
    (other / "resolved.yaml").write_text("seed: 9\ntasks: {t: {use: ner}}\nencoder: {use: rnn}\ntrain: {}\n")
    table = make_table(tmp_path)
    assert [list(table.differing[run.folder]) for run in table.runs] == [
        ["train.optimizer.lr"],
        ["train.optimizer.lr"],
        [],
    ]


def test_a_damaged_folder_is_a_row_and_not_the_end_of_the_table(runs: Path) -> None:
    (runs / "a" / "status.json").write_text("[]")
    (runs / "b" / "resolved.yaml").write_text("{")
    (runs / "c" / "metrics.jsonl").write_text("nonsense\n")
    states = {Path(row["folder"]).name: row["state"] for row in json.loads(call("--json").stdout)}
    assert states == {"a": "damaged", "b": "damaged", "c": "damaged", "d": "running"}


def test_runs_lie_in_folders_of_folders(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep" / "trial-2")
    make_run(tmp_path / "sweep" / "trial-10")
    table = make_table(tmp_path)
    assert [table.name_of(run) for run in table.runs] == ["sweep/trial-2", "sweep/trial-10"]
    alone = make_table(tmp_path / "sweep" / "trial-2")
    assert [alone.name_of(run) for run in alone.runs] == ["trial-2"]


def test_minutes_are_those_of_work_and_not_of_the_pause_before_a_resumption(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    status = json.loads((folder / "status.json").read_text())
    times = {"started": "2026-01-01T10:00:00Z", "heartbeat": "2026-01-01T12:10:00Z", "resumed": 1}
    (folder / "status.json").write_text(json.dumps(status | times))
    (folder / "run.log").write_text(
        "2026-01-01T10:00:00Z created by seqkit\n2026-01-01T10:05:00Z step 5\n    and more\n"
        "2026-01-01T12:05:00Z resumed by seqkit\n2026-01-01T12:10:00Z step 10\n"
    )
    assert read_facts(folder).minutes == 10.0


def test_only_failed_runs_are_removed_and_only_after_yes(runs: Path) -> None:
    result = call("rm", "--failed")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert call("rm").exit_code == 2
    result = call("rm", "--failed", "--yes")
    assert result.exit_code == 0, result.output
    assert "1 removed" in result.stderr
    assert sorted(path.name for path in runs.iterdir()) == ["a", "b", "d"]
    assert "no run" in call("rm", "--failed").stderr


def test_a_run_that_was_resumed_meanwhile_is_not_removed(runs: Path) -> None:
    lines: list[str] = []
    run = Run.resume(runs / "c")
    assert not remove_run(run.folder, ["failed"], tell=lines.append)
    assert "is running again" in lines[0]
    assert (runs / "c" / "resolved.yaml").exists()
    run.set_status("finished")
    assert not remove_run(run.folder, ["failed"], tell=lines.append)
    assert "is finished now" in lines[1]


def test_a_link_to_a_run_is_not_followed(runs: Path) -> None:
    (runs / "link").symlink_to(runs / "c")
    lines: list[str] = []
    assert not remove_run(runs / "link", ["failed"], tell=lines.append)
    assert (runs / "c").is_dir()
    assert "link" in lines[0]


def test_a_dead_process_leaves_a_run_that_died_and_is_not_failed(runs: Path) -> None:
    die(runs / "d")
    assert read_facts(runs / "d").state == "died"
    assert call("rm", "--failed", "--yes").exit_code == 0
    assert (runs / "d").is_dir()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call().exit_code == 2
    assert call("nowhere").exit_code == 2
    (tmp_path / "runs").mkdir()
    result = call()
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no runs" in result.stderr


def test_the_score_is_that_of_the_task_where_the_run_has_not_recorded_it(runs: Path) -> None:
    status = json.loads((runs / "a" / "status.json").read_text())
    del status["chosen_by"]
    (runs / "a" / "status.json").write_text(json.dumps(status))
    facts = read_facts(runs / "a")
    assert facts.chosen_by is not None
    assert facts.chosen_by.key("test") == "mood/test/accuracy"


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["encoder.use", "train.optimizer.lr"], ["encoder", "lr"]),
        (["tasks.a.head.dropout", "encoder.dropout"], ["head.dropout", "encoder.dropout"]),
        (["train.optimizer.use", "train.schedule.use"], ["optimizer", "schedule"]),
        (["seed", "tasks.a.seed"], ["seed", "a.seed"]),
    ],
)
def test_options_have_the_shortest_names_that_tell_them_apart(keys: list[str], names: list[str]) -> None:
    assert list(short_names(keys).values()) == names


def test_options_of_another_encoder_are_not_differences_of_their_own() -> None:
    first = {"encoder.use": "lstm", "encoder.forget_bias": 1.0, "seed": 1, "device": "cpu"}
    second = {"encoder.use": "gru", "seed": 2, "device": "cuda"}
    keys = find_differences([first, second])
    assert keys == ["encoder.use", "seed"]
    assert describe_options(second, keys) == "encoder=gru seed=2"


def test_a_folder_may_be_called_like_the_command(runs: Path) -> None:
    shutil.copytree(runs, runs.parent / "rm")
    assert len(json.loads(call("./rm", "--json").stdout)) == 4
