"""Evaluations during training, and which of them is the best."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from seqkit.data.epoch import with_own_inputs
from seqkit.data.task_data import TaskData
from seqkit.errors import Interrupted, RunError
from seqkit.inference.evaluate import EvaluationResult, evaluate_sharing
from seqkit.metrics import is_better, lower_is_better, score_name
from seqkit.runtime.random_state import preserve_random_state
from seqkit.score_names import describe
from seqkit.training.board_views import lay_out_charts, show_evaluation
from seqkit.training.counters import TrainingCounters
from seqkit.training.state import TrainingState

if TYPE_CHECKING:
    from seqkit.runs.interrupts import Interrupts
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run


ChooseBy: TypeAlias = Literal["first", "mean", "weighted"]


def selection_split(data: TaskData) -> str:
    """The split whose score chooses the best checkpoint."""
    return "dev" if "dev" in data.splits else "train"


def validate(
    state: TrainingState, data: Mapping[str, TaskData], run: Run, progress: Progress, stop: Interrupts
) -> None:
    """Evaluate every task, record the scores, and decide whether training has ended.

    If the evaluation is interrupted, nothing of it is recorded and `counters.due` stays True: resume makes it again.
    """
    counters = state.counters
    counters.due = counters.evaluated != counters.step  # after a rollback, the step may have been evaluated before
    if counters.due:
        with contextlib.suppress(Interrupted), preserve_random_state(), state.weights_to_evaluate():
            results = _evaluate_all(state, data, run, stop)
            record_validation(counters, data, results, run, progress, choose_by=state.settings.choose_by)
            lay_out_charts(run.board, data, state.model, results)
            is_best = counters.best_step == counters.step
            for name, result in results.items():
                split = selection_split(data[name])
                show_evaluation(
                    run.board, counters.step, state.model, data[name], split, result, is_best=is_best, tell=run.log
                )
            counters.due = False
    if not counters.due:
        counters.ended = state.is_last_step or state.is_out_of_patience


def _evaluate_all(
    state: TrainingState, data: Mapping[str, TaskData], run: Run, stop: Interrupts
) -> dict[str, EvaluationResult]:
    """The results of every task, in order. Tasks that share inputs share the passes through the encoder."""
    results: dict[str, EvaluationResult] = {}
    for task_data in with_own_inputs(data).values():
        split = selection_split(task_data)
        results |= evaluate_sharing(state.model, task_data, split, stop=stop, tell=run.log, ranks=state.ranks)
    return {name: results[name] for name in data}


def record_validation(
    counters: TrainingCounters,
    data: Mapping[str, TaskData],
    results: Mapping[str, EvaluationResult],
    run: Run,
    progress: Progress,
    *,
    choose_by: ChooseBy = "first",
) -> None:
    """Write down an evaluation, and remember it if it is the best so far.

    Of equal scores, which are common on small dev splits, the one with the lower loss is the best, and so it is while
    scores are NaN. It counts as no improvement for `train.patience`.

    Raises:
        RunError: a task that decides has no score of the name that it chooses by.
    """
    scores = {
        f"{name}/{selection_split(data[name])}/{score}": value
        for name, result in results.items()
        for score, value in result.scores.items()
    }
    best, score, loss = deciding_score(data, results, choose_by)
    has_improved = is_better(best, score, counters.best)
    wins_tie = _are_equal(score, counters.best) and counters.best_loss is not None and loss < counters.best_loss
    if has_improved or wins_tie:
        counters.best, counters.best_loss, counters.best_step = score, loss, counters.step
    counters.waited = 0 if has_improved else counters.waited + 1
    counters.evaluated = counters.step
    counters.to_minimise.append(score if lower_is_better(best) else -score)
    log_values(run, counters.step, counters.epoch, scores)
    mark = "  best so far" if counters.best_step == counters.step else ""
    shown = "  ".join(
        describe(name, selection_split(data[name]), result.scores, score_name(data[name].task.best))
        for name, result in results.items()
    )
    line = f"step {counters.step:,}  epoch {counters.epoch}  {shown}{mark}"
    run.log(line)
    progress.say(line)


def _are_equal(score: float, best: float | None) -> bool:
    return score == best or (best is not None and math.isnan(score) and math.isnan(best))


def deciding_score(
    data: Mapping[str, TaskData], results: Mapping[str, EvaluationResult], choose_by: ChooseBy
) -> tuple[str, float, float]:
    """What a checkpoint is chosen by: the score's name as in `Task.best`, its value, and the loss that decides ties.

    A mean is that of scores of which more is better; those of which less is better are taken as negative.

    Raises:
        RunError: a task that decides has no score of the name that it chooses by.
    """
    tasks = list(data.values())
    if choose_by == "first" or len(tasks) == 1:
        return tasks[0].task.best, _score_of(tasks[0], results), results[tasks[0].name].loss
    weights = [task_data.weight if choose_by == "weighted" else 1.0 for task_data in tasks]
    signs = [-1.0 if lower_is_better(task_data.task.best) else 1.0 for task_data in tasks]
    values = [sign * _score_of(task_data, results) for sign, task_data in zip(signs, tasks, strict=True)]
    losses = [results[task_data.name].loss for task_data in tasks]
    score, loss = (
        math.fsum(weight * value for weight, value in zip(weights, numbers, strict=True)) / math.fsum(weights)
        for numbers in (values, losses)
    )
    return "max:mean", score, loss


def _score_of(data: TaskData, results: Mapping[str, EvaluationResult]) -> float:
    """The score that a task chooses by. Raises RunError if it does not have it."""
    name, scores = score_name(data.task.best), results[data.name].scores
    if name not in scores:
        known = ", ".join(sorted(scores))
        raise RunError(f"task {data.name} chooses by the score '{name}', and there is none; its scores are: {known}")
    return scores[name]


def log_values(run: Run, step: int, epoch: float, values: Mapping[str, float], *, on_board: bool = True) -> None:
    """Write numbers to metrics.jsonl and the same to TensorBoard, which has the epoch as a curve of its own.

    Args:
        on_board: False: they are not among the logs that TensorBoard shows, which are fewer in long runs.
    """
    run.log_metrics(step, values, epoch=epoch)
    if on_board:
        run.board.scalars(step, {**values, "epoch": epoch})
