"""A batch that does not fit into memory is computed in parts, with the same gradients: a loss is a sum and a count.

A budget is a number of padded steps (rows times the longest of them) that are computed at once. There is one for each
task, so that batches of short examples are not split because one of long examples did not fit.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from seqkit.errors import RunError
from seqkit.interfaces import Batch, State

_MESSAGES = (
    "can't allocate memory",  # the allocator of the CPU
    "out of memory",
    "bad_alloc",
    "could not create a memory",  # oneDNN
    "alloc_failed",  # cuBLAS and cuDNN: CUDNN_STATUS_ALLOC_FAILED
)

T = TypeVar("T")


class OutOfMemory(Exception):
    """A batch did not fit. Call `release` once it is caught, so that the memory of what was computed is free."""

    def __init__(self, rows: int, steps: int, ids: Sequence[str], lengths: Sequence[int]) -> None:
        self.rows, self.steps, self.ids, self.lengths = rows, steps, list(ids), list(lengths)
        super().__init__(f"{rows} examples of up to {steps:,} steps did not fit into memory")

    @classmethod
    def of(cls, batch: Batch) -> OutOfMemory:
        return cls(batch.size, int(batch.x.shape[1]), batch.ids, batch.lengths.tolist())

    def release(self) -> OutOfMemory:
        """The same error without its traceback, whose frames hold the tensors that did not fit."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES)


@contextlib.contextmanager
def catch_oom(batch: Batch) -> Iterator[None]:
    """Turn a lack of memory within the block into `OutOfMemory` of this batch."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory.of(batch) from error


@contextlib.contextmanager
def explain_oom() -> Iterator[None]:
    """End any other lack of memory within the block in one sentence.

    Raises:
        RunError: instead of torch's or Python's own error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        first_line = str(error).strip().split("\n")[0][:300]
        raise RunError(
            f"out of memory, and not for a batch that could be split: take a smaller model ({first_line})"
        ) from error


def run_in_parts(
    compute: Callable[[int | None], T], task: str, budgets: dict[str, int], tell: Callable[[str], object]
) -> T:
    """What `compute(budget)` returns; it is called again with half the budget for as long as memory is short.

    Args:
        compute: works on one batch or step of the task, in the `row_ranges` of the budget (None: all rows at once).
            It raises `OutOfMemory` (see `catch_oom`) and starts from the beginning when it is called again.
        task: whose batch it is.
        budgets: by task, for those that ran out of memory; a new budget is put in.
        tell: gets a sentence each time.

    Raises:
        RunError: a single example does not fit.
    """
    while True:
        try:
            return compute(budgets.get(task))
        except OutOfMemory as caught:
            error = caught.release()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if error.rows == 1:
            name = error.ids[0] if error.ids else "an example"
            raise RunError(
                f"out of memory: {name} alone, with {error.lengths[0]:,} steps, does not fit (task {task}); "
                "give the task a limit on length, or take a smaller model"
            )
        budgets[task] = error.rows * error.steps // 2
        tell(
            f"out of memory: {task}: {error.rows} examples of up to {error.steps:,} steps do not fit; from here on at "
            f"most {budgets[task]:,} padded steps at once, the rest after them, with the same gradients"
        )


def row_ranges(batch: Batch, budget: int | None) -> list[range]:
    """The rows of a batch in parts of one example, or of at most `budget` padded steps, halved as often as needed."""
    if budget is None:
        return [range(batch.size)]
    lengths = batch.lengths.tolist()

    def split(rows: range) -> list[range]:
        if len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= budget:
            return [rows]
        middle = (len(rows) + 1) // 2
        return split(rows[:middle]) + split(rows[middle:])

    return split(range(batch.size))


def take_rows(batch: Batch, state: State | None, rows: range) -> tuple[Batch, State | None]:
    """Some rows of a batch without padding that they do not need, and the state that they go on from."""
    if len(rows) == batch.size:
        return batch, state
    before = None if state is None else tuple(tensor[rows.start : rows.stop] for tensor in state)
    return batch.take(rows).trimmed(), before


def concat_states(states: Sequence[State]) -> State:
    """The states of consecutive parts of a batch as the state of the batch."""
    return states[0] if len(states) == 1 else tuple(torch.cat(tensors) for tensors in zip(*states, strict=True))


def integer_buffers(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of what modules count (batches seen, say), so that the parts of a batch can count as one."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if _is_integer(tensor)}


def _is_integer(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex()
