"""Examples without targets as a split in memory, cut as a stored split would be: for prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from seqkit.data.store.columns import Column, Ids, Split
from seqkit.data.store.encode import Problems, encode_value
from seqkit.data.store.report import ReportBuilder
from seqkit.errors import DataError, Problem
from seqkit.types import Example, Field, Limit


def memory_split(
    examples: Iterable[Example], input: Field, limit: Limit | None = None, *, name: str = "predict"
) -> Split:
    """Examples without targets as a split in memory, cut as a stored split would be. For prediction.

    Raises:
        DataError: there are no examples, or some cannot be encoded (all of them are found).
    """
    encoded, problems = list[tuple[str, np.ndarray]](), Problems()
    for example in examples:
        with problems.catch(example.id, "input"):
            encoded.append((example.id, encode_value(input, example.input)))
    problems.raise_if_any()
    return encoded_split(encoded, input, limit, name=name)


def encoded_split(
    encoded: Iterable[tuple[str, np.ndarray]], input: Field, limit: Limit | None = None, *, name: str = "predict"
) -> Split:
    """Examples (id, encoded input) without targets as a split in memory, cut as a stored split would be.

    Raises:
        DataError: there are no examples.
    """
    rows: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    origin: list[int] = []
    report = ReportBuilder(name, input, None, limit)
    for id, x in encoded:
        for selection in report.add(x, None):
            rows.append(x[selection] if input.ragged else x[None])
            ids.append(np.frombuffer(id.encode("utf-8", "surrogatepass"), dtype=np.uint8))
            origin.append(report.examples - 1)
    if not rows:
        raise DataError(Problem(name, "there are no examples"))
    column = _ragged_column(rows) if input.ragged else Column(np.concatenate(rows))
    if report.counts_unknown_at_once:
        report.counts.unknown = input.count_unknown(np.asarray(column.data))
    return Split(name, column, None, Ids(_ragged_column(ids)), np.array(origin, dtype=np.int64), report.report())


def _ragged_column(arrays: Sequence[np.ndarray]) -> Column:
    return Column(np.concatenate(arrays), np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int64))
