"""A batch that does not fit into memory is worked on in parts, with the same gradients: a loss is a sum and a count.

What fits is remembered as padded steps (rows times the longest of them), for each task: batches of short examples are
not cut into parts because one of long examples did not fit.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from seqkit.errors import RunError
from seqkit.interfaces import Batch, State

_SIGNS = (
    "can't allocate memory",  # the allocator of the CPU
    "out of memory",
    "bad_alloc",
    "could not create a memory",  # oneDNN
    "alloc_failed",  # cuBLAS and cuDNN: CUDNN_STATUS_ALLOC_FAILED
)


class OutOfMemory(Exception):
    """A batch did not fit. `forget` what was being computed once it is caught, so that its memory is free."""

    def __init__(self, batch: Batch) -> None:
        self.rows, self.steps = batch.size, int(batch.x.shape[1])
        self.ids = list(batch.ids)
        self.lengths = batch.lengths.tolist()
        super().__init__(f"{self.rows} examples of up to {self.steps:,} steps did not fit into memory")

    def forget(self) -> OutOfMemory:
        """The same error without its traceback, whose frames hold the tensors that did not fit."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


def exhausted(error: BaseException) -> bool:
    """Whether an error says that memory was not enough."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


@contextlib.contextmanager
def catch_oom(batch: Batch) -> Iterator[None]:
    """Turns a lack of memory within the block into `OutOfMemory` of this batch."""
    try:
        yield
    except Exception as error:
        if not exhausted(error):
            raise
        raise OutOfMemory(batch) from error


@contextlib.contextmanager
def explain_oom() -> Iterator[None]:
    """Whatever else memory runs out for within the block ends in one sentence.

    Raises:
        RunError: instead of what torch or Python said.
    """
    try:
        yield
    except Exception as error:
        if not exhausted(error):
            raise
        first = str(error).strip().split("\n")[0][:300]
        raise RunError(
            f"out of memory, and not for a batch that could be cut: take a smaller model ({first})"
        ) from error


def halved_budget(error: OutOfMemory, task: str) -> int:
    """Padded steps to try next, half as many.

    Raises:
        RunError: it was a single example.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if error.rows == 1:
        name = error.ids[0] if error.ids else "an example"
        raise RunError(
            f"out of memory: {name} alone, with {error.lengths[0]:,} steps, does not fit (task {task}); "
            "give the task a limit on length, or take a smaller model"
        )
    return error.rows * error.steps // 2


def message(error: OutOfMemory, task: str, fits: int) -> str:
    """A sentence for the log."""
    return (
        f"out of memory: {task}: {error.rows} examples of up to {error.steps:,} steps do not fit; from here on at most "
        f"{fits:,} padded steps at once, the rest after them, with the same gradients"
    )


def row_ranges(batch: Batch, fits: int | None) -> list[range]:
    """The rows of a batch in parts of one example, or of at most `fits` padded steps; halved as often as needed."""
    if fits is None:
        return [range(batch.size)]
    lengths = batch.lengths.tolist()

    def cut(rows: range) -> list[range]:
        if len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= fits:
            return [rows]
        middle = (len(rows) + 1) // 2
        return cut(rows[:middle]) + cut(rows[middle:])

    return cut(range(batch.size))


def take_rows(batch: Batch, state: State | None, rows: range) -> tuple[Batch, State | None]:
    """Some rows of a batch without padding they do not need, and the state that they go on from."""
    if len(rows) == batch.size:
        return batch, state
    before = None if state is None else tuple(each[rows.start : rows.stop] for each in state)
    return batch.take(rows).trimmed(), before


def concat_states(states: Sequence[State]) -> State:
    """The states of consecutive parts of a batch as that of the whole."""
    return states[0] if len(states) == 1 else tuple(torch.cat(each) for each in zip(*states, strict=True))


def integer_buffers(model: torch.nn.Module) -> dict[str, Tensor]:
    """What a module counts (batches seen, say), so that the parts of a batch count as one."""
    saved = model.state_dict()
    return {key: value.clone() for key, value in saved.items() if _counts(value)}


def _counts(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex()
