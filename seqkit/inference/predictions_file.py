"""Predictions as lines of a file: JSON Lines, or a table with commas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from seqkit.inference.evaluate import EvaluationResult
from seqkit.io.atomic import dump_json
from seqkit.types import JSON, Prediction

_LARGEST: Final = float(np.finfo(np.float32).max)


def evaluation_records(result: EvaluationResult, *, top: int | None = None) -> Iterator[dict[str, JSON]]:
    """One record for each example that was scored: id, target, prediction, confidence, scores.

    Args:
        result: with predictions.
        top: how many of the scores to keep; None: all of them.
    """
    targets = result.targets or [None] * len(result.predictions)
    for id, target, prediction in zip(result.ids, targets, result.predictions, strict=True):
        yield {"id": id, "target": target, **prediction_record(prediction, top=top)}


def prediction_record(prediction: Prediction, *, scores: bool = True, top: int | None = None) -> dict[str, JSON]:
    """A prediction as JSON: its value, its confidence, and its scores if there are any. Predicted numbers have the
    digits of single precision.

    Args:
        scores: False: without them.
        top: how many labels, best texts, or items of a ranking are kept in the scores: the most probable ones first.
    """
    record: dict[str, JSON] = {"prediction": prediction.value, "confidence": prediction.confidence}
    if scores and prediction.scores is not None:
        record["scores"] = prediction.scores if top is None else _top(prediction.scores, top)
    return _rounded(record) if _are_numbers(prediction.value) else record


def _are_numbers(value: JSON) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, float)


def _rounded(value: JSON) -> JSON:
    """The same in the digits that single precision has, in which models compute: 19.40768, not 19.407679511519152."""
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float) and abs(value) < _LARGEST:
        return float(str(np.float32(value)))
    return value


def _top(scores: JSON, count: int) -> JSON:
    """The `count` most probable labels of `{label: probability}`; of lists of alternatives, the first `count`."""
    if not isinstance(scores, Mapping):
        return scores
    if scores and all(isinstance(value, int | float) and not isinstance(value, bool) for value in scores.values()):
        ordered = sorted(scores.items(), key=lambda item: -item[1])
        return dict(ordered[:count])
    cut = {name: value[:count] if name in ("best", "nbest") else value for name, value in scores.items()}
    if "top" in scores:  # a ranking for each step
        cut["top"] = [ranking[:count] for ranking in scores["top"]]
    return cut


def json_lines(records: Iterable[Mapping[str, JSON]]) -> Iterator[str]:
    """Each record as a line of JSON, without its line end."""
    return (dump_json(record) for record in records)


def csv_lines(records: Iterable[Mapping[str, JSON]], columns: Iterable[str]) -> Iterator[str]:
    """A header and each record as a line of RFC 4180, without line ends. What is not text or a number is JSON.

    Args:
        columns: the columns, in order; a record may lack some.
    """
    columns = list(columns)
    yield _csv_line(columns)
    for record in records:
        yield _csv_line([_cell(record.get(column)) for column in columns])


def _csv_line(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def _cell(value: JSON) -> JSON:
    if value is None or isinstance(value, str | int | float):
        return value
    return dump_json(value)
