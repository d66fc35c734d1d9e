"""Evaluations during training, and which of them is the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from seqkit.data.task_data import TaskData
from seqkit.errors import RunError
from seqkit.inference.evaluate import EvaluationResult, better, lower_is_better, score_name
from seqkit.training.board_views import show_outcome

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run
from seqkit.training.counters import TrainingCounters


def selection_split(data: TaskData) -> str:
    """The split that chooses the checkpoint."""
    return "dev" if "dev" in data.splits else "train"


def record_validation(
    at: TrainingCounters,
    data: Mapping[str, TaskData],
    outcomes: Mapping[str, EvaluationResult],
    run: Run,
    progress: Progress,
) -> None:
    """Write down an evaluation and remember whether it is the best. The first task decides."""
    scores = {
        f"{n}/{selection_split(data[n])}/{k}": v for n, outcome in outcomes.items() for k, v in outcome.scores.items()
    }
    first = next(iter(data.values()))
    name = score_name(first.task.best)
    if name not in outcomes[first.name].scores:
        known = ", ".join(sorted(outcomes[first.name].scores))
        raise RunError(f"task {first.name} chooses by the score '{name}', and there is none; its scores are: {known}")
    score = outcomes[first.name].scores[name]
    if better(first.task.best, score, at.best):
        at.best, at.best_step, at.waited = score, at.step, 0
    else:
        at.waited += 1
    at.evaluated = at.step
    at.to_minimise.append(score if lower_is_better(first.task.best) else -score)
    log_values(run, at.step, at.epoch, scores)
    for part_name, outcome in outcomes.items():
        show_outcome(run.board, at.step, data[part_name], selection_split(data[part_name]), outcome)
    mark = "  best so far" if at.best_step == at.step else ""
    shown = "  ".join(f"{key} {value:.4f}" for key, value in scores.items())
    run.log(f"step {at.step:,}  epoch {at.epoch}  {shown}{mark}")
    progress.say(f"step {at.step:,}  epoch {at.epoch}  {shown}{mark}")


def log_values(run: Run, step: int, epoch: float, values: Mapping[str, float]) -> None:
    """The same numbers to metrics.jsonl and to TensorBoard: nobody needs the one to read the other."""
    run.metrics(step, values, epoch=epoch)
    run.board.scalars(step, values)
