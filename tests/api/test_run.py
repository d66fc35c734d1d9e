"""`seqkit.run` and `Run`: the numbers of the command line, resumable, and every mistake as one of seqkit's errors."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import seqkit
from seqkit.cli import main

RECIPE: dict[str, Any] = {
    "seed": 1,
    "tasks": {"sentiment": {"source": "generated", "sizes": [40, 20, 20]}},
    "encoder": {"use": "lstm", "hidden": 16, "dropout": 0.2},
    "train": {"steps": 6, "evaluate_every": 3, "log_every": 1, "batch": 8},
}
YAML = """
seed: 1
tasks: {sentiment: {source: generated, sizes: [40, 20, 20]}}
encoder: {use: lstm, hidden: 16, dropout: 0.2}
train: {steps: 6, evaluate_every: 3, log_every: 1, batch: 8}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> seqkit.Run:
    return seqkit.run(RECIPE, out=tmp_path_factory.mktemp("run") / "run", progress=False)


def test_a_run_from_python_has_the_numbers_of_the_command_line(finished: seqkit.Run, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(YAML)
    command = ["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run"), "--json", "--quiet"]
    printed = CliRunner().invoke(main, command)
    assert printed.exit_code == 0, printed.output
    scores = json.loads(printed.stdout)
    assert (scores.pop("best_step"), Path(scores.pop("run")).name) == (finished.best_step, "run")
    assert scores == finished.scores
    assert finished.state == "finished"
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished.folder / weights).read_bytes()
    again = seqkit.run(tmp_path / "r.yaml", out=tmp_path / "again", progress=False)
    assert again.scores == finished.scores


def test_history_has_a_row_for_each_step(finished: seqkit.Run) -> None:
    rows = finished.history()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all("sentiment/train/loss" in row for row in rows)
    assert [row["step"] for row in rows if "sentiment/dev/accuracy" in row] == [3, 6]
    pandas = pytest.importorskip("pandas")
    frame = finished.history(frame=True)
    assert isinstance(frame, pandas.DataFrame)
    assert frame["sentiment/train/loss"].tolist() == [row["sentiment/train/loss"] for row in rows]


def test_numbers_that_json_does_not_have_are_numbers(finished: seqkit.Run, tmp_path: Path) -> None:
    for name in ("status.json", "resolved.yaml"):
        (tmp_path / name).write_bytes((finished.folder / name).read_bytes())
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": null, "a": "NaN", "b": "-Infinity"}\n{"step": 2, "a"')
    (row,) = seqkit.Run(tmp_path).history()
    assert str(row) == "{'step': 1, 'a': nan, 'b': -inf}"


def test_a_missing_pandas_is_said(finished: seqkit.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(seqkit.MissingExtra, match=r'pip install "seqkit\[notebook\]"'):
        finished.history(frame=True)


def test_a_run_gives_its_model_and_its_recipe(finished: seqkit.Run, tmp_path: Path) -> None:
    model = finished.model()
    assert model.scores == finished.scores
    assert next(model.predict(["good"])).value in ("positive", "negative")
    again = seqkit.run(finished.recipe, set={"train.steps": 3}, out=tmp_path / "run", progress=False)
    assert again.history()[:2] == [
        {**row, "time": later["time"], "time/tokens_per_s": later["time/tokens_per_s"]}
        for row, later in zip(finished.history()[:2], again.history(), strict=False)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"train.steps": 1, "train.optimizer.lr": 1e-05, "encoder.dropout": np.float64(0.5), "seed": np.int64(3)},
        ["train.steps=1", "train.optimizer.lr=0.00001", "encoder.dropout=0.5", "seed=3"],
    ],
    ids=["mapping", "flags"],
)
def test_options_are_set(settings: Any, tmp_path: Path) -> None:
    recipe = seqkit.run(RECIPE, set=settings, out=tmp_path / "run", progress=False).recipe
    assert (recipe["seed"], recipe["train"]["steps"], recipe["train"]["optimizer"]["lr"]) == (3, 1, 1e-05)
    assert recipe["encoder"]["dropout"] == 0.5


MISTAKES: dict[str, Any] = {
    "tasks": {"sentiment": {"sizes": [40, 20, "x"]}},
    "encoder": {"use": "lstn"},
    "train": {"batch": 0, "epochs": "three", "optimizer": {"lr": object()}},
}


def test_the_problems_of_a_recipe_are_listed() -> None:
    assert seqkit.check(RECIPE) == seqkit.check("charlm") == []
    del MISTAKES["train"]["optimizer"]
    problems = seqkit.check(MISTAKES, set={"seed": "one"})
    assert [problem.where for problem in problems] == [
        'recipe["tasks"]["sentiment"]["sizes"][2]',
        'recipe["encoder"]["use"]',
        'recipe["train"]["batch"]',
        'recipe["train"]["epochs"]',
        "--set seed=one",
    ]
    with pytest.raises(seqkit.RecipeError) as caught:
        seqkit.run(MISTAKES, set={"seed": "one"})
    assert list(caught.value.problems) == problems


def deep() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["tasks"] = circle
    return circle


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("no-such-recipe", None, "there is no recipe file 'no-such-recipe'"),
        (3, None, "a recipe is a file, a name or a mapping, not a int"),
        ({}, None, "tasks"),
        ({"tasks": object()}, None, "a object cannot be written in a recipe"),
        ({"tasks": {1: {}}}, None, "the key 1 is not text"),
        ({"tasks": {"sentiment": {}}, "seed": float("nan")}, None, "nan is not a finite number"),
        (deep(), None, "nested more than 32 levels deep"),
        ({"tasks": list(range(30_000))}, None, "has more than 20,000 values"),
        (RECIPE, "train.epochs=3", "set: expected a mapping"),
        (RECIPE, [3], "set: expected texts"),
        (RECIPE, {"train.epochs": object()}, r"set\['train.epochs'\]: a object cannot be written"),
        (RECIPE, {"": 3}, "expected NAME=VALUE"),
        (RECIPE, {"tasks.other.folder": "x"}, "the recipe has no task 'other'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,  # not the address of an object, nor a long list
)
def test_what_is_no_recipe_is_a_problem_and_an_error(recipe: Any, settings: Any, message: str) -> None:
    with pytest.raises(seqkit.SeqkitError, match=message):
        seqkit.run(recipe, set=settings)
    assert any(message.replace("\\", "") in str(problem) for problem in seqkit.check(recipe, set=settings))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"recipe": "ner", "resume": "x"}, {"resume": "x", "out": "y"}, {"recipe": "ner", "accept_changes": True}],
    ids=str,
)
def test_arguments_that_do_not_go_together_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(seqkit.UsageError):
        seqkit.run(**arguments)


def test_a_folder_that_is_in_use_is_refused(finished: seqkit.Run) -> None:
    with pytest.raises(seqkit.UsageError, match="the folder is not empty"):
        seqkit.run(RECIPE, out=finished.folder, progress=False)
    with pytest.raises(seqkit.UsageError, match="no such run folder"):
        seqkit.Run(finished.folder / "nowhere")


def stop_at(step: int, stop: Callable[[], object]) -> Callable[[int, int | None, str], None]:
    """A progress function that calls `stop` at this step."""
    stopped = False

    def progress(done: int, total: int | None, stage: str) -> None:
        nonlocal stopped
        if stage == "step" and done >= step and not stopped:
            stopped = True
            stop()

    return progress


def test_an_interrupted_run_goes_on_where_it_was(
    finished: seqkit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqkit.runs.progress.FRAME_SECONDS", 0)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(seqkit.Interrupted, match="stopped after step") as caught:
        seqkit.run(RECIPE, out=tmp_path / "run", progress=stop_at(2, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert signal.getsignal(signal.SIGINT) is handler
    assert caught.value.__notes__ == [f"go on with seqkit.run(resume={str(tmp_path / 'run')!r})"]
    stopped = seqkit.Run(tmp_path / "run")
    assert stopped.state == "interrupted"
    assert stopped.scores == {}
    resumed = seqkit.run(resume=tmp_path / "run", progress=False)
    assert resumed.scores == finished.scores
    weights = "model/model.safetensors"
    assert (resumed.folder / weights).read_bytes() == (finished.folder / weights).read_bytes()
    assert seqkit.run(resume=tmp_path / "run", progress=False).scores == finished.scores  # nothing is left to do
    longer = seqkit.run(resume=tmp_path / "run", set={"train.steps": 8}, progress=False)
    assert longer.history()[-1]["step"] == 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_run_that_a_callback_ends_can_be_resumed(
    error: type[BaseException], finished: seqkit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqkit.runs.progress.FRAME_SECONDS", 0)

    def fail() -> None:
        raise error("enough")

    with pytest.raises(error):
        seqkit.run(RECIPE, out=tmp_path / "run", progress=stop_at(4, fail))
    unfinished = seqkit.Run(tmp_path / "run")
    assert unfinished.state == ("interrupted" if error is KeyboardInterrupt else "failed")
    assert set(unfinished.scores) == {"sentiment/dev/accuracy", "sentiment/dev/loss", "sentiment/dev/macro_f1"}
    assert next(unfinished.model().predict(["good"])).value
    assert unfinished.model().scores == unfinished.scores
    assert seqkit.run(resume=tmp_path / "run", progress=False).scores == finished.scores


def test_a_second_interrupt_ends_the_run_but_not_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqkit.runs.progress.FRAME_SECONDS", 0)
    monkeypatch.setattr("seqkit.runs.interrupts.REPEAT_SECONDS", -1)

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        seqkit.run(RECIPE, out=tmp_path / "run", progress=stop_at(1, twice))
    assert seqkit.Run(tmp_path / "run").state == "interrupted"


def test_runs_in_threads_have_the_numbers_of_a_run_alone(finished: seqkit.Run, tmp_path: Path) -> None:
    runs: dict[int, seqkit.Run] = {}
    model = finished.model()

    def train(number: int) -> None:
        runs[number] = seqkit.run(RECIPE, out=tmp_path / str(number), progress=False)

    threads = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):  # loading and predicting disturb no run
        assert list(seqkit.load(finished.folder).predict(["good"])) == list(model.predict(["good"]))
    for thread in threads:
        thread.join()
    assert [runs[number].scores for number in range(2)] == [finished.scores] * 2
    weights = "model/model.safetensors"
    for number in range(2):
        assert (runs[number].folder / weights).read_bytes() == (finished.folder / weights).read_bytes()


def test_progress_is_reported_to_a_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[int, int | None, str]] = []
    seqkit.run(RECIPE, out=tmp_path / "run", progress=lambda *call: calls.append(call))
    assert calls[-1] == (6, 6, "step")
    assert any(stage == "reading train" for _, _, stage in calls)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(line.startswith("warning: ") for line in printed.err.splitlines())


def test_strict_makes_warnings_errors(tmp_path: Path) -> None:
    recipe = RECIPE | {"expect": {"sentiment/test/accuracy": {"at_least": 1.0}}}
    with pytest.raises(seqkit.RunError, match=r"sentiment/test/accuracy is .*, expected at least 1"):
        seqkit.run(recipe, out=tmp_path / "run", strict=True, progress=False)
    with pytest.raises(seqkit.RecipeError, match="has no score 'bleu'"):
        seqkit.run(RECIPE | {"expect": {"sentiment/test/bleu": {"at_least": 1}}}, out=tmp_path / "b", progress=False)
