"""The predictions that a run keeps: of its best checkpoint, on each held-out split, for reports and comparisons.

    predictions/<task>-<split>.jsonl.gz     one JSON object a line and example, in the order of the data:
        id          where a human finds the example
        steps       its length as the model read it
        input       the beginning of its text, where it is text
        target, prediction, confidence
        scores      where the head gives a number a name: probabilities of labels, the nats of a text
    sums        what the example adds to scores that are quotients of sums, where the metric says so
    drawn       of the few forecasts and values at each step that a report draws: the history before a forecast, and the
                lowest and the highest quantile; of the examples that it lists, what a pen draws: `lines` of the input,
                the target and the prediction

They are written when the scores are computed, for which they are made anyway: a comparison then needs neither the data
nor the model. Numbers have six digits. n-best lists and the like are left out (`seqkit evaluate --predictions` writes
everything); of a next-step task, only the nats are kept. Imports no torch.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from seqkit import analysis
from seqkit.errors import RunError
from seqkit.fields import NextValues
from seqkit.io import atomic
from seqkit.lazy_sequence import LazySequence
from seqkit.regular_files import open_regular
from seqkit.types import JSON, Drawing, Field, Index, Prediction, ScoredExamples

if TYPE_CHECKING:
    from seqkit.data.task_data import TaskData
    from seqkit.inference.evaluate import EvaluationResult

FOLDER: Final = "predictions"

SHOWN_CHARACTERS: Final = 300
"""So much of an input's text is kept."""

HISTORY_STEPS: Final = 200
"""At most so many steps before a forecast are drawn, and no more than four times as many as are predicted."""

LISTED: Final = 25
"""So many examples are listed in a report."""

MOST_POINTS: Final = 500
"""Of a drawing about so many points are kept."""

_MOST_BYTES: Final = 1 << 30
"""The most that a file may hold, unpacked."""


@dataclass(frozen=True)
class KeptPredictions:
    """The predictions of one task on one split, in the order of the data.

    Attributes:
        task, split: what they are of.
        ids: where the examples are.
        steps: (n,) their lengths.
        inputs: the beginnings of their texts; None for what is no text.
        targets: the true values; None for next-step tasks.
        predictions: what was predicted.
        drawn: of the examples that a report draws, by number, what only a drawing needs: `history`, and `low` and
            `high` with their `levels`; and `lines`.
        sums: {score: (n, 2)} of a metric that is marked with `seqkit.metrics.sums_by_example`.
    """

    task: str
    split: str
    ids: Sequence[str]
    steps: Index
    inputs: Sequence[str | None]
    targets: Sequence[Any]
    predictions: Sequence[Prediction]
    drawn: Mapping[int, Mapping[str, JSON]] = field(default_factory=dict)
    sums: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def unit(self) -> str:
        """What they are of: examples, or windows of a series."""
        return "windows" if any("history" in drawn for drawn in self.drawn.values()) else "examples"


class InputNotKept(LookupError):
    """A metric has asked for an input that a run does not keep, or not whole."""


class KeptInputs(LazySequence[str]):
    """The kept inputs for a metric that sees examples: never the beginning of one in place of the whole."""

    def __init__(self, inputs: Sequence[str | None]) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def item(self, i: int) -> str:
        """Raises InputNotKept for one that is no text, or longer than what is kept."""
        text = self._inputs[i]
        if text is None or (len(text) == SHOWN_CHARACTERS and text.endswith("…")):
            raise InputNotKept("the metric sees the inputs, of which a run keeps the beginnings of texts only")
        return text


def are_kept(data: TaskData) -> bool:
    """Whether the predictions of a task are kept: those that its metric needs anyway, and the nats of a text."""
    return data.task.metric is not None or data.reads_symbols


def keep(result: EvaluationResult, data: TaskData, split: str) -> KeptPredictions:
    """What is kept of an evaluation.

    Args:
        result: with predictions.
        data: of the task that was evaluated.
        split: which of its splits.
    """
    stored = data.splits[split]
    # An example may be stored in several windows.
    _, first_rows, numbers = np.unique(np.asarray(stored.origin), return_index=True, return_inverse=True)
    steps = np.bincount(numbers, weights=stored.x.lengths).astype(np.int64)
    predictions = [
        Prediction(None, None, prediction.scores) if data.reads_symbols else prediction
        for prediction in result.predictions
    ]
    most = SHOWN_CHARACTERS + 1 if data.input.ragged else None
    inputs = [_beginning(data.input.decode(stored.x[int(row)][:most])) for row in first_rows]
    targets = list(result.targets) or [None] * len(predictions)
    drawn = {
        number: beside_numbers(data, split, int(first_rows[number]), predictions[number])
        for number in analysis.examples_to_draw(predictions, targets)
    }
    for number in analysis.errors_first(predictions, targets)[:LISTED] if _pen_fields(data) else ():
        lines = _lines(data, split, int(first_rows[number]), targets[number], predictions[number].value)
        drawn[number] = {**drawn.get(number, {}), "lines": lines}
    sums = _sums(result, data, split)
    return KeptPredictions(data.name, split, list(result.ids), steps, inputs, targets, predictions, drawn, sums)


def _sums(result: EvaluationResult, data: TaskData, split: str) -> dict[str, NDArray[np.float64]]:
    """What the task's metric says that each example adds to its scores; empty if it says nothing of it."""
    from seqkit.inference.evaluate import DecodedInputs

    sums: Any = getattr(data.task.metric, "sums_by_example", None)
    if sums is None or not result.predictions:
        return {}
    seen = [ScoredExamples(result.ids, DecodedInputs(data, split), split)]
    sees = getattr(data.task.metric, "sees_examples", False)
    by_score = sums(result.predictions, result.targets, *(seen if sees else []))
    return {name: np.asarray(rows, dtype=np.float64).reshape(-1, 2) for name, rows in by_score.items()}


def beside_numbers(data: TaskData, split: str, row: int, prediction: Prediction) -> dict[str, JSON]:
    """What a drawing of a forecast, or of numbers at each step, shows beside prediction and truth."""
    drawn: dict[str, JSON] = {}
    if isinstance(data.target, NextValues):
        rows = np.asarray(data.splits[split].x[row])[-min(HISTORY_STEPS, 4 * data.target.horizon) :]
        values = np.asarray(data.input.decode(rows), dtype=np.float64).reshape(len(rows), -1)
        drawn["history"] = _rounded(values[:, : data.target.channels].tolist())
    quantiles = prediction.scores.get("quantiles") if isinstance(prediction.scores, Mapping) else None
    if isinstance(quantiles, Mapping) and len(quantiles) > 1:
        levels = sorted(quantiles, key=float)
        drawn["levels"] = [levels[0], levels[-1]]
        drawn |= {"low": _rounded(quantiles[levels[0]]), "high": _rounded(quantiles[levels[-1]])}
    return drawn


def _pen_fields(data: TaskData) -> dict[str, Field]:
    """Those of the two sides of an example that are drawings."""
    sides = {"input": data.input, "target": data.target}
    return {name: field for name, field in sides.items() if type(field).drawing is not Field.drawing}


def _lines(data: TaskData, split: str, row: int, target: Any, prediction: Any) -> dict[str, JSON]:
    """What a pen has drawn, of each side that is a drawing, and of the prediction."""
    fields = _pen_fields(data)
    lines: dict[str, JSON] = {}
    if "input" in fields:
        lines["input"] = _small(fields["input"].drawing(data.input.decode(data.splits[split].x[row])))
    if "target" in fields:
        lines["target"] = _small(fields["target"].drawing(target))
        lines["prediction"] = _small(fields["target"].drawing(prediction))
    return lines


def _small(drawing: Drawing | None) -> list[list[list[int]]]:
    """The drawing within a square of 200, of many points some."""
    points = np.array([point for line in drawing or () for point in line], dtype=np.float64).reshape(-1, 2)
    if not drawing or not len(points) or not np.isfinite(points).all():
        return []
    low, side = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
    every = math.ceil(len(points) / MOST_POINTS)
    placed = [np.rint((np.array(line).reshape(-1, 2) - low) * 200.0 / side).astype(int) for line in drawing]
    return [np.concatenate([line[:-1:every], line[-1:]]).tolist() for line in placed if len(line)]


def path_of(folder: Path, task: str, split: str) -> Path:
    """Where the predictions of a task on a split are in a run folder."""
    return folder / FOLDER / f"{task}-{split}.jsonl.gz"


def write(folder: Path, kept: KeptPredictions) -> None:
    """Write them to a run folder. The same predictions give the same bytes.

    Raises:
        RunError: the disk is full or read-only.
    """
    lines = "".join(f"{atomic.dump_json(record)}\n" for record in _records(kept))
    path = path_of(folder, kept.task, kept.split)
    try:
        path.parent.mkdir(exist_ok=True)
        atomic.write(path, gzip.compress(lines.encode("utf-8", "surrogatepass"), compresslevel=6, mtime=0))
    except OSError as error:
        raise atomic.write_error(error, path.parent) from error


def read(folder: Path, task: str, split: str) -> KeptPredictions | None:
    """The predictions in a run folder; None if it has none, as runs of earlier versions.

    Raises:
        RunError: the file is damaged.
    """
    path = path_of(folder, task, split)
    if not path.is_file():
        return None
    try:
        with open_regular(path) as stream, gzip.open(stream) as unpacked:
            content = unpacked.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError("too large")
        records = [json.loads(line) for line in content.decode("utf-8", "surrogatepass").splitlines()]
        return KeptPredictions(
            task,
            split,
            [str(record["id"]) for record in records],
            np.array([record["steps"] for record in records], dtype=np.int64),
            [record.get("input") for record in records],
            [record["target"] for record in records],
            [Prediction(record["prediction"], record["confidence"], _read_scores(record)) for record in records],
            {number: record["drawn"] for number, record in enumerate(records) if "drawn" in record},
            _read_sums(records),
        )
    except (OSError, EOFError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunError(f"{path}: damaged ({type(error).__name__}); remove it, and they are made again") from None


def _records(kept: KeptPredictions) -> Iterator[dict[str, JSON]]:
    rows = zip(kept.ids, kept.steps.tolist(), kept.inputs, kept.targets, kept.predictions, strict=True)
    for number, (id, steps, shown, target, prediction) in enumerate(rows):
        record = {"id": id, "steps": steps} | ({} if shown is None else {"input": shown})
        record |= {"target": target, "prediction": prediction.value, "confidence": _rounded(prediction.confidence)}
        if isinstance(prediction.scores, Mapping):
            numbers = {name: _rounded(value) for name, value in prediction.scores.items() if _is_number(value)}
            record |= {"scores": numbers} if numbers else {}
        if kept.sums:
            record["sums"] = {name: _rounded(pairs[number].tolist()) for name, pairs in kept.sums.items()}
        yield record | ({"drawn": dict(kept.drawn[number])} if number in kept.drawn else {})


def _read_scores(record: Mapping[str, Any]) -> JSON:
    """NaN and infinities are texts in JSON."""
    scores = record.get("scores") or {}
    return {name: float(value) if isinstance(value, str) else value for name, value in scores.items()} or None


def _read_sums(records: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """Empty for the predictions of an earlier version."""
    names = list(records[0].get("sums", ())) if records else []
    return {name: np.array([record["sums"][name] for record in records], dtype=np.float64) for name in names}


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _rounded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


def _beginning(value: Any) -> str | None:
    """The beginning of a text or of a list of words; None for anything else."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in _first(value, SHOWN_CHARACTERS)):
        separator = "" if value and all(len(item) == 1 for item in _first(value, SHOWN_CHARACTERS)) else " "
        value = separator.join(_first(value, SHOWN_CHARACTERS + 1))
    if not isinstance(value, str):
        return None
    return value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…"


def _first(values: Iterable[Any], count: int) -> list[Any]:
    return [value for _, value in zip(range(count), values, strict=False)]
