"""Which evaluation is the best: the score decides, and of equal scores the loss."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from seqkit.inference.evaluate import EvaluationResult
from seqkit.training import validation
from seqkit.training.counters import TrainingCounters


def evaluate_in_turn(
    best: str, evaluations: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch, counters: TrainingCounters
) -> TrainingCounters:
    """The counters after evaluations with these (score, loss), at steps 1, 2, 3, ..."""
    monkeypatch.setattr(validation, "log_values", lambda *arguments: None)
    data: Any = {"mood": SimpleNamespace(name="mood", splits={"dev": None}, task=SimpleNamespace(best=best))}
    board = SimpleNamespace(scalars=lambda step, values, run=None: None)
    listener: Any = SimpleNamespace(board=board, log=lambda line: None, say=lambda line: None)
    for score, loss in evaluations:
        counters.step += 1
        result = EvaluationResult(loss, {"loss": loss, best.rpartition(":")[2]: score}, [], [], [])
        validation.record_validation(counters, data, {"mood": result}, listener, listener)
    return counters


@pytest.mark.parametrize(
    ("best", "evaluations", "best_step", "waited"),
    [
        ("accuracy", [(0.5, 1.0), (0.6, 2.0)], 2, 0),
        ("accuracy", [(0.6, 1.0), (0.5, 0.1)], 1, 1),
        ("accuracy", [(0.6, 1.0), (0.6, 0.9)], 2, 1),
        ("accuracy", [(0.6, 1.0), (0.6, 1.0)], 1, 1),
        ("accuracy", [(0.6, 0.9), (0.6, 1.0), (0.6, 0.8), (0.6, 0.85)], 3, 3),
        ("accuracy", [(0.6, 1.0), (0.6, 0.5), (0.7, 0.7), (0.7, 0.6)], 4, 1),
        ("min:errors", [(3.0, 1.0), (3.0, 0.9), (4.0, 0.1)], 2, 2),
        ("wer", [(3.0, 1.0), (2.0, 1.5), (2.0, 1.4)], 3, 1),
        ("accuracy", [(0.6, float("nan")), (0.6, 0.5)], 1, 1),
        ("accuracy", [(0.6, 0.5), (0.6, float("nan"))], 1, 1),
        ("accuracy", [(float("nan"), 1.0), (float("nan"), 0.5), (float("nan"), 0.7)], 2, 2),
        ("mase", [(float("nan"), 0.1), (2.0, 0.5), (float("nan"), 0.05)], 2, 1),
    ],
)
def test_a_tie_goes_to_the_lower_loss(
    best: str, evaluations: list[tuple[float, float]], best_step: int, waited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = evaluate_in_turn(best, evaluations, monkeypatch, TrainingCounters())
    assert (counters.best_step, counters.waited) == (best_step, waited)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_tie_across_a_resume(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations = [(0.6, 0.9), (0.6, 1.0), (0.6, 0.8), (0.6, 0.85)]
    saved = dataclasses.asdict(evaluate_in_turn("accuracy", evaluations[:stop], monkeypatch, TrainingCounters()))
    resumed = evaluate_in_turn("accuracy", evaluations[stop:], monkeypatch, TrainingCounters(**saved))
    assert resumed == evaluate_in_turn("accuracy", evaluations, monkeypatch, TrainingCounters())


def test_a_checkpoint_of_an_earlier_version_keeps_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = dataclasses.asdict(evaluate_in_turn("accuracy", [(0.6, 0.9)], monkeypatch, TrainingCounters()))
    del saved["best_loss"]
    counters = evaluate_in_turn("accuracy", [(0.6, 0.8)], monkeypatch, TrainingCounters(**saved))
    assert counters.best_step == 1
    assert evaluate_in_turn("accuracy", [(0.7, 0.9), (0.7, 0.8)], monkeypatch, counters).best_step == 4


def decided(choose_by: Any, *tasks: tuple[str, float, float, float]) -> tuple[str, float, float]:
    """What decides between tasks with these (best, weight, score, loss)."""
    data: Any = {
        str(number): SimpleNamespace(name=str(number), weight=weight, task=SimpleNamespace(best=best))
        for number, (best, weight, _, _) in enumerate(tasks)
    }
    results = {
        str(number): EvaluationResult(loss, {best.rpartition(":")[2]: score}, [], [], [])
        for number, (best, _, score, loss) in enumerate(tasks)
    }
    return validation.deciding_score(data, results, choose_by)


def test_the_first_task_decides_or_all_of_them_by_their_mean_or_weights() -> None:
    tasks = (("accuracy", 3.0, 0.9, 1.0), ("max:span", 1.0, 0.5, 2.0))
    assert decided("first", *tasks) == ("accuracy", 0.9, 1.0)
    assert decided("mean", *tasks) == ("max:mean", pytest.approx(0.7), pytest.approx(1.5))
    assert decided("weighted", *tasks) == ("max:mean", pytest.approx(0.8), pytest.approx(1.25))


def test_a_score_of_which_less_is_better_counts_as_negative() -> None:
    tasks = (("wer", 1.0, 0.2, 1.0), ("accuracy", 1.0, 0.5, 1.0))
    assert decided("first", *tasks) == ("wer", 0.2, 1.0)
    assert decided("mean", *tasks)[1] == pytest.approx(0.15)


def test_one_task_alone_decides_as_it_does_first() -> None:
    assert decided("mean", ("wer", 2.0, 0.2, 1.0)) == ("wer", 0.2, 1.0)
