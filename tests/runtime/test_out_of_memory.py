"""A lack of memory is recognised in every form, and what does not fit is computed again with a smaller budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqkit.errors import RunError
from seqkit.interfaces import Batch
from seqkit.runtime import out_of_memory

ERRORS: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("could not create a memory object"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__}-{str(error)[:12]}")
def test_every_form_of_the_error_is_known(error: Exception) -> None:
    assert out_of_memory.is_out_of_memory(error)


def test_other_errors_are_not_taken_for_it() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), KeyError()):
        assert not out_of_memory.is_out_of_memory(error)


LENGTHS = [7, 1, 4, 4, 9]


def batch() -> Batch:
    x = torch.arange(len(LENGTHS) * max(LENGTHS)).view(len(LENGTHS), -1)
    return Batch(x, torch.tensor(LENGTHS), ids=[f"train:{row}" for row in range(len(LENGTHS))])


@pytest.mark.parametrize("budget", [None, 45, 20, 9, 1])
def test_every_row_is_in_one_part_that_fits_or_is_a_single_row(budget: int | None) -> None:
    parts = out_of_memory.row_ranges(batch(), budget)
    assert [row for rows in parts for row in rows] == list(range(len(LENGTHS)))
    for rows in parts:
        padded = len(rows) * max(LENGTHS[row] for row in rows)
        assert budget is None or padded <= budget or len(rows) == 1
    assert (len(parts) == 1) == (budget is None or budget >= 45)


def test_rows_are_taken_with_their_state_and_without_needless_padding() -> None:
    state = (torch.arange(5.0)[:, None],)
    rows, of_rows = out_of_memory.take_rows(batch(), state, range(1, 4))
    assert rows.x.shape == (3, 4)
    assert rows.ids == ["train:1", "train:2", "train:3"]
    assert of_rows is not None
    assert of_rows[0].flatten().tolist() == [1.0, 2.0, 3.0]


def limited(limit: int, attempts: list[int | None]) -> object:
    """A computation in which more than `limit` padded steps do not fit."""

    def compute(budget: int | None) -> list[int]:
        attempts.append(budget)
        sizes = []
        for rows in out_of_memory.row_ranges(batch(), budget):
            part, _ = out_of_memory.take_rows(batch(), None, rows)
            with out_of_memory.catch_oom(part):
                if part.x.numel() > limit:
                    raise MemoryError
                sizes.append(part.size)
        return sizes

    return compute


def test_the_budget_is_halved_until_it_fits_and_is_remembered() -> None:
    attempts: list[int | None] = []
    budgets: dict[str, int] = {}
    messages: list[str] = []
    compute = limited(15, attempts)
    assert sum(out_of_memory.run_in_parts(compute, "a", budgets, messages.append)) == len(LENGTHS)  # type: ignore[arg-type]
    assert attempts[0] is None
    assert len(messages) == len(attempts) - 1
    assert messages[0] == (
        "out of memory: a: 5 examples of up to 9 steps do not fit; from here on at most 22 padded steps at once, "
        "the rest after them, with the same gradients"
    )
    attempts.clear()
    out_of_memory.run_in_parts(compute, "a", budgets, messages.append)  # type: ignore[arg-type]
    assert attempts == [budgets["a"]]


def test_a_single_example_that_does_not_fit_is_named() -> None:
    with pytest.raises(RunError, match=r"^out of memory: train:4 alone, with 9 steps, does not fit \(task a\)"):
        out_of_memory.run_in_parts(limited(8, []), "a", {}, lambda message: None)  # type: ignore[arg-type]


def test_other_errors_pass_through() -> None:
    def compute(budget: int | None) -> None:
        with out_of_memory.catch_oom(batch()):
            raise ValueError

    with pytest.raises(ValueError):
        out_of_memory.run_in_parts(compute, "a", {}, lambda message: None)


def test_integer_buffers_are_copies() -> None:
    norm = torch.nn.BatchNorm1d(3)
    buffers = out_of_memory.integer_buffers(norm)
    norm(torch.from_numpy(np.ones((4, 3), dtype=np.float32)))
    assert {name: int(value) for name, value in buffers.items()} == {"num_batches_tracked": 0}
