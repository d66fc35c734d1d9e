"""Scores of a model on a split. They do not depend on batch size, order or padding."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from seqkit import fault_injection
from seqkit.data.evaluation import batches_ahead, evaluation_batches, evaluation_indices
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Batch, State
from seqkit.lazy_sequence import LazySequence
from seqkit.model import Model
from seqkit.runs.interrupts import Interrupts
from seqkit.runtime import out_of_memory
from seqkit.runtime.ranks import ALONE, Ranks
from seqkit.types import Index, Prediction, ScoredExamples
from seqkit.uploads import ReadBack


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of one task on one split. Predictions, targets and ids are in the order of the data.

    Attributes:
        loss: the mean loss, which is one of the scores.
        scores: the loss and what the task's metric returns, by name.
    """

    loss: float
    scores: dict[str, float]
    predictions: Sequence[Prediction]
    targets: Sequence[Any]
    ids: Sequence[str]


def evaluate(
    model: Model,
    data: TaskData,
    split: str,
    *,
    batch: int | None = None,
    stop: Interrupts | None = None,
    tell: Callable[[str], object] | None = None,
    keep_predictions: bool = False,
    loss_only: bool = False,
    ranks: Ranks = ALONE,
) -> EvaluationResult:
    """Loss and metric of one task on one split; `evaluate_sharing` also scores the tasks that share its inputs.

    Raises:
        Interrupted: asked to stop.
        RunError: a single example does not fit into memory.
    """
    alone = replace(data, sharing=())
    results = evaluate_sharing(
        model,
        alone,
        split,
        batch=batch,
        stop=stop,
        tell=tell,
        keep_predictions=keep_predictions,
        loss_only=loss_only,
        ranks=ranks,
    )
    return results[data.name]


@torch.inference_mode()
def evaluate_sharing(
    model: Model,
    data: TaskData,
    split: str,
    *,
    batch: int | None = None,
    stop: Interrupts | None = None,
    tell: Callable[[str], object] | None = None,
    keep_predictions: bool = False,
    loss_only: bool = False,
    ranks: Ranks = ALONE,
) -> dict[str, EvaluationResult]:
    """Loss and metric on one split of a task and of those that share its inputs, from one pass through the encoder.

    What does not fit into memory is scored in smaller parts, here alone: training goes on with its own batches.

    Args:
        batch: examples a batch; None: as many as fit a token budget.
        stop: listens to signals; it is asked between batches.
        tell: gets a sentence if memory was short.
        keep_predictions: predictions are made even if the task has no metric that needs them.
        loss_only: nothing is predicted, and there is no score but the loss.
        ranks: the processes that share the batches among them. All get the scores, the first also the predictions.

    Raises:
        Interrupted: asked to stop.
        RunError: a single example does not fit into memory.
    """
    was_training = model.training
    model.eval()
    tasks = {one.name: one for one in (data, *data.sharing)}
    predicted = [name for name, one in tasks.items() if keep_predictions or one.task.metric is not None]
    predicted = [] if loss_only else predicted
    by_row: dict[str, list[Prediction | None]] = {name: [None] * len(data.splits[split].x) for name in predicted}
    sums: dict[str, dict[int, tuple[float, int]]] = {name: {} for name in tasks}
    budgets: dict[str, int] = {}

    def warn(message: str) -> None:
        if tell is not None:
            tell(f"evaluation: {message}")

    for number, index, windows in _share(data, split, batch, ranks, stop, model.device):
        score = partial(_score_in_parts, model, list(tasks), windows, stop, predicted)
        for name, scored in out_of_memory.run_in_parts(score, data.name, budgets, warn).items():
            sums[name][number] = scored.loss, scored.terms
            for row, prediction in zip(index, scored.predictions, strict=True) if name in by_row else ():
                by_row[name][row] = prediction
    model.train(was_training)
    return {
        name: _result(model, one, split, _mean(ranks.collect(sums[name])), by_row.get(name), ranks)
        for name, one in tasks.items()
    }


def _result(
    model: Model, data: TaskData, split: str, mean: float, by_row: list[Prediction | None] | None, ranks: Ranks
) -> EvaluationResult:
    """The scores of one task, given its mean loss and this process's predictions; without those, the loss."""
    head = model.head(data.name)
    scores = {head.loss_name: mean}
    if by_row is None:
        return EvaluationResult(mean, scores, [], [], [])
    if not ranks.is_alone:
        of_ranks = ranks.collect_first([(row, p) for row, p in enumerate(by_row) if p is not None])
        if of_ranks is None:
            scores = ranks.share(dict[str, float])
            return EvaluationResult(mean, scores, [], [], [])
        by_row = [prediction for _, prediction in sorted(itertools.chain(*of_ranks), key=lambda pair: pair[0])]
    predictions = [prediction for prediction in by_row if prediction is not None]
    predictions, targets, ids = _stitched(head, data, split, predictions)
    if data.task.finish is not None:
        predictions, targets = _finished(data, split, predictions, ids)
    if data.task.metric is not None:
        named = _metric_scores(data, split, predictions, targets, ids)
        scores.update({name: float(value) for name, value in named.items()})
    scores = ranks.share(lambda: scores)
    return EvaluationResult(mean, scores, predictions, targets, ids)


def _metric_scores(
    data: TaskData, split: str, predictions: Sequence[Prediction], targets: Sequence[Any], ids: Sequence[str]
) -> Mapping[str, float]:
    """What the task's metric gives; one that sees examples gets their ids and inputs."""
    metric: Any = data.task.metric
    if not getattr(metric, "sees_examples", False):
        return dict(metric(predictions, targets))
    return dict(metric(predictions, targets, ScoredExamples(ids, DecodedInputs(data, split), split)))


class DecodedInputs(LazySequence[Any]):
    """The inputs of a split's examples, decoded on access. Of one that is stored in windows, its first window."""

    def __init__(self, data: TaskData, split: str) -> None:
        self._field, self._column = data.input, data.splits[split].x
        self._rows = np.unique(np.asarray(data.splits[split].origin), return_index=True)[1]

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, i: int) -> Any:
        return self._field.decode(self._column[int(self._rows[i])])


def _share(
    data: TaskData, split: str, batch: int | None, ranks: Ranks, stop: Interrupts | None, device: torch.device
) -> Iterator[tuple[int, Index, list[Batch]]]:
    """(number, example numbers, batch or windows) of this process's batches: every batch goes to one process.

    After each round of batches, one a process, all of them learn of a signal that one has got.

    Raises:
        Interrupted: asked to stop. All processes raise it, those without a batch too.
    """
    if stop is not None:
        stop.check("stopped during an evaluation")  # agreed on before: all leave here, and none waits for another
    batches = batches_ahead(evaluation_batches(data, split, batch, start=ranks.rank, stride=ranks.size), device)
    numbers = range(0, len(evaluation_indices(data, split, batch)), ranks.size)
    for first in numbers:
        if (index_and_windows := next(batches, None)) is not None:
            yield first + ranks.rank, *index_and_windows
        if not ranks.is_alone and stop is not None:
            stop.agree(max(ranks.collect(stop.pending)))
            stop.check("stopped during an evaluation")


def _mean(sums: Sequence[dict[int, tuple[float, int]]]) -> float:
    """The mean loss, summed in the order of the batches."""
    total, count = 0.0, 0
    for _, (loss, terms) in sorted(pair for of_rank in sums for pair in of_rank.items()):
        total, count = total + loss, count + terms
    return total / max(1, count)


@dataclass
class _Scored:
    """What one task has of some rows: the sum of the losses, its number of terms, and a prediction for each row.

    There are no predictions of a task that needs none. A row that was read in several windows has one, stitched.
    """

    loss: float = 0.0
    terms: int = 0
    predictions: list[Prediction] = field(default_factory=list)

    def add(self, other: _Scored) -> None:
        self.loss, self.terms = self.loss + other.loss, self.terms + other.terms
        self.predictions += other.predictions


def _score_in_parts(
    model: Model,
    tasks: Sequence[str],
    windows: Sequence[Batch],
    stop: Interrupts | None,
    predicted: Sequence[str],
    budget: int | None,
) -> dict[str, _Scored]:
    """Losses and predictions of consecutive windows, by task.

    Args:
        model: in evaluation mode.
        tasks: whose examples they are, first the one whose inputs they all share.
        windows: of the batch.
        stop: asked between the parts.
        predicted: the tasks that need predictions.
        budget: padded steps at once.

    Raises:
        Interrupted: asked to stop.
        OutOfMemory: a part did not fit.
    """
    scored = {task: _Scored() for task in tasks}
    for rows in out_of_memory.row_ranges(windows[0], budget):
        if stop is not None:
            stop.check("stopped during an evaluation")
        for task, of_part in _score(model, tasks, list(_take_rows(windows, rows)), predicted).items():
            scored[task].add(of_part)
    return scored


def _take_rows(windows: Sequence[Batch], rows: range) -> Iterator[Batch]:
    """The same windows with these rows alone; rows that have ended leave, the last ones first."""
    for window in windows:
        active = range(rows.start, min(rows.stop, window.size))
        if len(active):
            yield window if len(active) == window.size else window.take(active).trimmed()


def _score(
    model: Model, tasks: Sequence[str], windows: Sequence[Batch], predicted: Sequence[str]
) -> dict[str, _Scored]:
    """Losses and predictions of consecutive windows, by task; the arguments are those of `_score_in_parts`.

    Raises:
        OutOfMemory: a window did not fit.
    """
    sums: dict[str, list[ReadBack]] = {task: [] for task in tasks}
    by_row: dict[str, list[list[Prediction]]] = {task: [[] for _ in range(windows[0].size)] for task in predicted}
    state: State | None = None
    for number, window in enumerate(windows):
        with out_of_memory.catch_oom(window):
            window = window.to(model.device)
            if state is not None:
                state = tuple(tensor[: window.size] for tensor in state)
            loss, terms, encoded = model.loss(tasks[0], window, state)
            losses = {tasks[0]: (fault_injection.at("eval", loss), terms)}
            for task in tasks[1:]:
                losses[task] = model.head(task).loss(encoded, window.of(task))
            for task, (loss, terms) in losses.items():
                sums[task].append(ReadBack(loss.double(), terms))  # they come back together with the predictions
            if number + 1 < len(windows):
                state = encoded.state
            for task, rows in by_row.items():
                for parts, prediction in zip(rows, model.predict(task, window, encoded), strict=False):
                    parts.append(prediction)
    scored = {task: _Scored() for task in tasks}
    for task, one in scored.items():
        for loss, terms in (window_sums.wait() for window_sums in sums[task]):
            one.loss, one.terms = one.loss + float(loss), one.terms + int(terms)
    for task, rows in by_row.items():
        head = model.head(task)
        scored[task].predictions = [parts[0] if len(parts) == 1 else head.stitch(parts) for parts in rows]
    return scored


def _stitched(
    head: Any, data: TaskData, split: str, predictions: list[Prediction]
) -> tuple[list[Prediction], list[Any], Sequence[str]]:
    """Predictions, targets and ids of whole examples: what was stored in windows is put together again."""
    stored = data.splits[split]
    targets = [None] * len(stored.x) if data.reads_symbols else data.targets(split)
    origin = np.asarray(stored.origin)
    if len(origin) == 0 or origin[-1] + 1 == len(origin):
        return predictions, targets, stored.ids
    groups = np.split(np.arange(len(origin)), np.flatnonzero(np.diff(origin)) + 1)
    stitched = [
        head.stitch([predictions[i] for i in group]) if len(group) > 1 else predictions[group[0]] for group in groups
    ]
    joined = [_join([targets[i] for i in group], data.target.ragged) for group in groups]
    return stitched, joined, [stored.ids[group[0]] for group in groups]


def _finished(
    data: TaskData, split: str, predictions: list[Prediction], ids: Sequence[str]
) -> tuple[list[Prediction], list[Any]]:
    """Predictions and targets as `Task.finish` makes them; it gets the inputs as read, which are read again."""
    finish = data.task.finish
    assert finish is not None
    examples = data.read_again(split, ids)
    canonical = data.target.canonical
    targets = [finish(example.input, Prediction(canonical(example.target))).value for example in examples]
    finished = [finish(example.input, raw) for example, raw in zip(examples, predictions, strict=True)]
    return finished, targets


def _join(targets: list[Any], ragged: bool) -> Any:
    """The target of a whole example: its windows' steps in a row, or the one target that all of them share."""
    return [step for target in targets for step in target] if ragged else targets[0]
