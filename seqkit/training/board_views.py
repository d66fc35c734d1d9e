"""What a run shows on TensorBoard beside its numbers, and when: the recipe, samples, pictures, histograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from seqkit.data.task_data import TaskData
from seqkit.errors import SeqkitError
from seqkit.fields import NextValues
from seqkit.inference.evaluate import EvaluationResult
from seqkit.metrics import score_name
from seqkit.model import Model
from seqkit.runs.board_series import BEST, DEV
from seqkit.runs.tensorboard import Board, chart_layout
from seqkit.score_names import LOSSES, baseline_of, keys_in_order
from seqkit.training.board_pictures import draw_model, draw_result, show_clips, show_lengths
from seqkit.training.board_samples import show_samples, show_writing


def introduce(
    board: Board, resolved: str, hyperparameters: Mapping[str, Any], data: Mapping[str, TaskData], model: Model
) -> None:
    """What is known before the first step: the resolved recipe, its options as columns, and lengths."""
    board.source("recipe", resolved)
    board.hparams(hyperparameters)
    for task_data in data.values():
        show_lengths(board, task_data)


def lead_board(board: Board, data: Mapping[str, TaskData], model: Model) -> None:
    """Say which score of each task comes first, and which losses have no perplexity."""
    densities = [name for name in data if model.head(name).is_density]
    board.lead_with({name: score_name(task_data.task.best) for name, task_data in data.items()}, densities)


def lay_out_charts(
    board: Board, data: Mapping[str, TaskData], model: Model, results: Mapping[str, EvaluationResult]
) -> None:
    """Write the custom charts, once: at the first evaluation, which shows what scores there are."""
    if not board.has_layout:
        losses = {name: model.head(name).loss_name for name in data}
        leading = {name: score_name(task_data.task.best) for name, task_data in data.items()}
        board.layout(chart_layout(losses, leading, {name: result.scores for name, result in results.items()}))


def show_final_scores(
    board: Board, step: int, best_step: int, scores: Mapping[str, float], chosen: Mapping[str, str] | None = None
) -> None:
    """The scores of the best checkpoint: a table, and marks on the charts of dev, which are columns of HParams.

    Args:
        board: the run's.
        step: the last one.
        best_step: the checkpoint's.
        scores: `task/split/score` -> number.
        chosen: task -> the score that chooses its checkpoint.
    """
    rows = [(*name.split("/", 2), f"{scores[name]:.4f}") for name in keys_in_order(scores, chosen or {})]
    board.table("scores of the best checkpoint", ["task", "split", "score", f"at step {best_step:,}"], rows, step)
    board.scalars(
        best_step, {name: value for name, value in scores.items() if "/test/" in name and not _is_baseline(name)}
    )
    board.scalars(best_step, _to_compare(scores), run=BEST)
    board.finish()


def _to_compare(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores on dev. Of a task that has others than its loss they are without it: a card lists three curves."""
    on_dev = {
        name: value
        for name, value in scores.items()
        if name.split("/", 2)[1] == DEV and not _is_baseline(name)  # these have lines on the charts of dev
    }
    has_more = {name.partition("/")[0] for name in on_dev if name.split("/", 2)[2] not in LOSSES}
    return {
        name: value
        for name, value in on_dev.items()
        if name.partition("/")[0] not in has_more or name.split("/", 2)[2] not in LOSSES
    }


def _is_baseline(key: str) -> bool:
    return baseline_of(key.split("/", 2)[2]) is not None


def show_evaluation(
    board: Board,
    step: int,
    model: Model,
    data: TaskData,
    split: str,
    result: EvaluationResult,
    *,
    is_best: bool,
    tell: Callable[[str], object],
) -> None:
    """Beside the numbers of an evaluation: sample predictions, what a language model writes, and pictures.

    They are written where they are due, see `is_due`. What is due at a step does not depend on resuming.

    Args:
        is_best: whether it is the best evaluation so far, the only ones that have pictures.
        tell: gets a sentence if a picture cannot be drawn, which does not end the run.
    """
    show_writing(board, step, model, data)
    if not result.predictions or not _is_answer(data):
        return
    if not data.target.derived and is_due(board, f"{data.name}/{split}/samples", step, growth=1.1):
        show_samples(board, step, data, split, result)
    if is_best and is_due(board, f"pictures/{data.name}/{split}/", step, growth=4.0):
        with _telling_errors(f"{data.name}, {split}, step {step:,}", tell):
            draw_result(board, step, data, split, result)
            draw_model(board, step, model, data, split, result)


def show_final_evaluation(
    board: Board,
    best_step: int,
    model: Model,
    data: TaskData,
    split: str,
    result: EvaluationResult,
    *,
    tell: Callable[[str], object],
) -> None:
    """Samples, pictures and sounds of the best checkpoint on a split; `tell` as for `show_evaluation`."""
    if not result.predictions or not _is_answer(data):
        return
    if not data.target.derived:
        show_samples(board, best_step, data, split, result)
    with _telling_errors(f"{data.name}, {split}", tell):
        show_clips(board, best_step, data, split, result)
        if board.last_step(f"pictures/{data.name}/{split}/score") < best_step:
            draw_result(board, best_step, data, split, result)
            draw_model(board, best_step, model, data, split, result)


def _is_answer(data: TaskData) -> bool:
    """Whether predictions are worth a look: what follows from the input is not, unless it is a forecast."""
    return not data.target.derived or isinstance(data.target, NextValues)


@contextmanager
def _telling_errors(subject: str, tell: Callable[[str], object]) -> Iterator[None]:
    """An error while pictures are drawn, by a head of a plugin perhaps, ends the drawing, and is told.

    An interruption and a full disk are none of the drawing, and go on.
    """
    try:
        yield
    except (SeqkitError, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        tell(f"{subject}: not all pictures are drawn: {type(error).__name__}: {reason}")


def is_due(board: Board, tag: str, step: int, *, growth: float) -> bool:
    """Whether a step is at least `growth` times the last one that has a tag that begins so."""
    return step >= growth * board.last_step(tag)
