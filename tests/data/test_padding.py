"""Padded blocks are those that a loop would make."""

from __future__ import annotations

import numpy as np
import pytest

from seqkit.data.padding import next_step, pad_rows
from seqkit.types import END, START
from tests.helpers.letters import bits, random_column


@pytest.mark.parametrize("steps", [0, 3, 20])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", "f4", "f8", "?"])
def test_rows_are_gathered_as_by_a_loop(dtype, shape, steps) -> None:
    final = np.float32 if dtype.startswith("f") else np.int64
    for index in (np.array([3]), np.array([11, 0, 5, 5]), np.arange(12), np.array([11])):
        column = random_column(dtype, shape)
        rows = [column[i] for i in index]
        width = max(steps, *map(len, rows), 0)
        expected = np.zeros((len(rows), width, *shape), final)
        for row, values in zip(expected, rows, strict=True):
            row[: len(values)] = values
        padded, lengths = pad_rows(column, index, steps)
        assert bits(padded) == bits(expected)
        assert lengths.tolist() == [len(values) for values in rows]
        # Targets, one a step, are as wide as their inputs; others are not.
        assert bits(pad_rows(column, index, like=(lengths, width))[0]) == bits(expected)
        other_lengths = pad_rows(column, index, like=(lengths + 1, 30))[0]
        assert other_lengths.shape[1] == lengths.max()
        single = random_column(dtype, shape, ragged=False)
        padded, lengths = pad_rows(single, index)
        assert bits(padded) == bits(np.stack([single[i] for i in index])[:, None].astype(final))
        assert lengths.tolist() == [1] * len(index)


def test_a_batch_is_a_copy() -> None:
    column = random_column("i8", ())
    fixed = random_column("i8", (), ragged=False)
    for padded in (pad_rows(column, np.arange(3))[0], pad_rows(fixed, np.arange(3))[0]):
        padded[:] = -7
    assert -7 not in column.data
    assert -7 not in fixed.data


@pytest.mark.parametrize("complete", [True, False])
def test_next_steps_are_those_of_a_loop(complete) -> None:
    x = np.array([[7, 8, 9], [5, 0, 0], [6, 6, 0]])
    lengths = np.array([3, 1, 2])
    batch = next_step(x, lengths, ["a"] * 3, np.arange(3), complete=complete)
    for row, length in enumerate(lengths):
        symbols = x[row, :length].tolist()
        inputs = [START, *symbols] if complete else [START, *symbols][:-1]
        targets = [*symbols, END] if complete else symbols
        assert batch.y is not None
        width = 3 + complete
        assert batch.x[row].tolist() == inputs + [0] * (width - len(inputs))
        assert batch.y[row].tolist() == targets + [-1] * (width - len(targets))
        assert int(batch.lengths[row]) == length + complete
