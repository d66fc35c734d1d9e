"""Sample predictions on TensorBoard: errors first, what differs in bold; and what a language model writes."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seqkit import analysis
from seqkit.data.task_data import TaskData
from seqkit.inference.evaluate import EvaluationResult
from seqkit.inference.generate import generate
from seqkit.metrics import spans
from seqkit.model import Model
from seqkit.runs.tensorboard import Board, Marked

SAMPLES = 20
"""Rows of the table of sample predictions."""
SAMPLE_SYMBOLS = 300
"""Symbols that a language model writes at an evaluation."""


def show_samples(board: Board, step: int, data: TaskData, split: str, result: EvaluationResult) -> None:
    """A table of the examples that teach most: wrong ones, then doubtful ones; of numbers, the largest errors first."""
    stored = data.splits[split]
    # An example may be stored in several windows; its first one is shown.
    first_row = {int(example): row for row, example in reversed(list(enumerate(stored.origin)))}
    rows: list[list[object]] = []
    for number in analysis.errors_first(result.predictions, result.targets):
        if number not in first_row:
            continue
        prediction, target = result.predictions[number], result.targets[number]
        shown_input = "" if data.input.sample_rate else data.input.decode(stored.x[first_row[number]])
        if data.input.sample_rate:
            shown_input = f"{stored.x.lengths[first_row[number]]:,} {data.input.unit}"
        confidence = "" if prediction.confidence is None else f"{np.mean(prediction.confidence):.2f}"
        steps = _steps(data, stored.x[first_row[number]], target)
        true, predicted = mark_difference(target, prediction.value, steps)
        row = [result.ids[number], true, predicted, confidence] if steps else None
        rows.append(row or [result.ids[number], _shorten(shown_input), true, predicted, confidence])
        if len(rows) == SAMPLES:
            break
    has_input = any(len(row) == 5 for row in rows)
    # A card breaks words of narrow columns anywhere: the last heading is as wide as its numbers need, and has spaces.
    header = ["id", *(["input"] if has_input else []), "true", "predicted", "how sure it is"]
    rows = [row if len(row) == len(header) else [row[0], "", *row[1:]] for row in rows]
    board.table(f"{data.name}/{split}/samples", header, rows, step)


def show_writing(board: Board, step: int, model: Model, data: TaskData) -> None:
    """What a language model writes by itself at this step, always from the same draws."""
    if not getattr(model.head(data.name), "generates", False):
        return
    was_training = model.training
    text = "".join(generate(model, data.name, data.input, length=SAMPLE_SYMBOLS, temperature=0.8))
    model.train(was_training)
    board.source(f"{data.name}/writes", fold(text) or "(nothing)", step)


def fold(text: str, width: int = 110) -> str:
    """The text with long lines continued on the next, which a card would cut off."""
    lines = [line[start : start + width] for line in text.split("\n") for start in range(0, len(line) or 1, width)]
    return "\n".join(lines)


def mark_difference(target: Any, prediction: Any, steps: Sequence[str] | None = None) -> tuple[object, object]:
    """Target and prediction as cells of a table, what differs in bold.

    Args:
        target: the true value.
        prediction: the predicted one.
        steps: the input's steps as text, if there is one tag for each: then spans are written as `[New York | place]`,
            and other tags as `run/VERB`.
    """
    if isinstance(target, Mapping) and isinstance(prediction, Mapping) and target.keys() == prediction.keys():
        return _mark_parts(target, prediction, steps)
    if steps is not None and len(target) == len(prediction) == len(steps):
        try:
            true, predicted = spans(list(target)), spans(list(prediction))
        except ValueError:
            return _mark_tags(target, prediction, steps), _mark_tags(prediction, target, steps)
        return _mark_spans(true, predicted, steps), _mark_spans(predicted, true, steps)
    if isinstance(target, str) and isinstance(prediction, str):
        before, after = target.split(), prediction.split()
        if len(before) > 1 or len(after) > 1:
            return _mark_words(before, after)
    if _is_numeric(target):  # which differ in every step, by little or much
        return Marked([_shorten(target)], []), Marked([_shorten(prediction)], [])
    if isinstance(target, list | tuple) and isinstance(prediction, list | tuple) and len(target) == len(prediction):
        differs = [n for n, (old, new) in enumerate(zip(target, prediction, strict=True)) if old != new]
        return Marked([str(old) for old in target], differs), Marked([str(new) for new in prediction], differs)
    shown = [_shorten(value) for value in (target, prediction)]
    is_wrong = target != prediction
    return Marked([shown[0]], []), Marked([shown[1]], [0] if is_wrong else [])


def _mark_parts(
    target: Mapping[str, Any], prediction: Mapping[str, Any], steps: Sequence[str] | None
) -> tuple[Marked, Marked]:
    """Several answers: labels with their names, then what is tagged."""
    cells: tuple[tuple[list[str], set[int]], ...] = (([], set()), ([], set()))
    for name, true in target.items():
        is_label = isinstance(true, str)
        of_steps = None if is_label or not hasattr(true, "__len__") or len(true) != len(steps or ()) else steps
        pair = mark_difference(true, prediction[name], of_steps)
        for (words, strong), shown in zip(cells, pair, strict=True):
            if not isinstance(shown, Marked):
                shown = Marked([str(shown)], [])
            first = [f"{name}:"] if of_steps is None else []
            strong.update(len(words) + len(first) + number for number in shown.strong)
            words += [*first, *shown.words]
    return Marked(*cells[0]), Marked(*cells[1])


def _is_numeric(value: Any) -> bool:
    """Whether it is a list of numbers, or of lists of them."""
    while isinstance(value, list | tuple) and len(value):
        value = value[0]
        if isinstance(value, float):
            return True
    return False


def _mark_words(before: list[str], after: list[str]) -> tuple[Marked, Marked]:
    removed, added = set[int](), set[int]()
    for kind, i, j, k, m in difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        if kind != "equal":
            removed.update(range(i, j))
            added.update(range(k, m))
    return Marked(before, removed), Marked(after, added)


def _mark_tags(tags: Sequence[str], others: Sequence[str], steps: Sequence[str]) -> Marked:
    differs = [n for n, (old, new) in enumerate(zip(tags, others, strict=True)) if old != new]
    return Marked([f"{step}/{tag}" for step, tag in zip(steps, tags, strict=True)], differs)


def _mark_spans(
    shown: Sequence[tuple[str, int, int]], others: Sequence[tuple[str, int, int]], steps: Sequence[str]
) -> Marked:
    """The steps with these spans in brackets; those that the others lack are in bold."""
    words: list[str] = []
    strong: list[int] = []
    step, known = 0, set(others)
    for span in shown:
        kind, start, end = span
        words += steps[step:start]
        if span not in known:
            strong.append(len(words))
        words.append(f"[{' '.join(steps[start:end])} | {kind}]" if kind else f"[{' '.join(steps[start:end])}]")
        step = end
    return Marked([*words, *steps[step:]], strong)


def _steps(data: TaskData, x: np.ndarray, target: Any) -> list[str] | None:
    """Each input step as text, if there is a tag for each."""
    tags = list(target.values()) if isinstance(target, Mapping) else [target]
    if not isinstance(target, Mapping) and not hasattr(data.target, "labels"):
        return None
    if not data.target.aligned or not any(isinstance(row, list | tuple) and len(row) == len(x) for row in tags):
        return None
    return [str(data.input.decode(x[step : step + 1])) for step in range(len(x))]


def _numbers(value: Any) -> Iterator[float]:
    """All numbers of one, of an array, or of lists in lists, which may differ in length: the points of strokes."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    else:
        yield from np.ravel(np.asarray(value, dtype=np.float64)).tolist()


def _shorten(value: Any) -> str:
    if isinstance(value, float) or _is_numeric(value):
        text = " ".join(f"{number:.4g}" for number in itertools.islice(_numbers(value), 40))
    else:
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 160 else text[:159] + "…"
