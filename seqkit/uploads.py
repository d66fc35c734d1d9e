"""Small tensors that are computed from lengths, and their copies on a GPU: made once a batch, and never waited for.

Lengths are on the CPU. What a step needs of them on the device (a mask, the rows of real steps, where sequences end) is
computed on the CPU and copied from page-locked memory. The copies are kept with the lengths, so that whoever asks for
the same thing of the same batch gets the same tensor. And since every batch of a task is asked for the same things, the
thread that makes batches ahead computes them for the batches to come (`prepare`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import torch
from torch import Tensor

Rule: TypeAlias = Callable[[Tensor, int], Tensor]
"""(lengths (B,) on the CPU, padded length) -> a tensor on the CPU. A function of a module: it is a key as well."""

_ATTRIBUTE: Final = "_seqkit_uploads"


@dataclass
class _Uploads:
    """What was computed from one tensor of lengths.

    Attributes:
        version: of the lengths; what was computed before they were changed in place is of no use.
        pinned: computed ahead, in page-locked memory.
        copies: on a device, for use in inference mode or outside of it.
        asked: the rules that were asked for, with the padded length.
    """

    version: int
    pinned: dict[tuple[Rule, int], Tensor] = field(default_factory=dict)
    copies: dict[tuple[Rule, int, torch.device, bool], Tensor] = field(default_factory=dict)
    asked: set[tuple[Rule, int]] = field(default_factory=set)


def upload(
    tensor: Tensor, device: torch.device, *, again: Callable[[], Tensor] | None = None, is_fixed: bool = False
) -> Tensor:
    """A tensor of the CPU on `device`, without waiting for a GPU: it is copied from page-locked memory.

    Args:
        tensor: of any shape and type.
        device: where it is needed.
        again: computes the tensor of a later step, for batches of this shape that run as a CUDA graph.
        is_fixed: it is the same in all steps whose sequences are as long. With neither, steps that need this tensor are
            not run as a graph.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        inputs = _graph_inputs.get()
        if inputs is not None:
            return inputs.upload(tensor, device, again, is_fixed=is_fixed)
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class NotRepeatable(Exception):
    """A pass reads what only the CPU knows, so a CUDA graph of it would be of one batch."""


_DIFFERENT: Final = "two passes of one batch upload different tensors"


class GraphInputs:
    """What the CPU computes within a pass for the GPU, kept where a CUDA graph of the pass reads it.

    A graph reads the places that it read when it was captured. A first pass says what is uploaded and how it is
    computed again; the pass that is captured gets the same tensors; and before each launch, `refresh` fills them with
    what belongs to the step.
    """

    def __init__(self) -> None:
        self._inputs: list[tuple[Tensor, Callable[[], Tensor] | None]] = []
        self._next: int | None = None

    @contextmanager
    def record(self) -> Iterator[None]:
        """Within the block, remember what is uploaded.

        Raises:
            NotRepeatable: from `upload`, for a tensor of which nothing says how it is computed again.
        """
        token = _graph_inputs.set(self)
        try:
            yield
        finally:
            _graph_inputs.reset(token)

    @contextmanager
    def reuse(self) -> Iterator[None]:
        """Within the block, a pass like the recorded one, each upload gives the recorded tensor.

        Raises:
            NotRepeatable: other tensors are uploaded.
        """
        self._next = 0
        with self.record():
            yield
        if self._next != len(self._inputs):
            raise NotRepeatable(_DIFFERENT)

    def refresh(self) -> None:
        """Compute the tensors of the present step, without waiting for the GPU."""
        for tensor, again in self._inputs:
            if again is not None:
                tensor.copy_(again().pin_memory(), non_blocking=True)

    def upload(
        self, tensor: Tensor, device: torch.device, again: Callable[[], Tensor] | None, *, is_fixed: bool
    ) -> Tensor:
        """The tensor on the device; see `seqkit.uploads.upload`."""
        if self._next is None:
            if again is None and not is_fixed:
                caller = sys._getframe(2)
                where = "/".join(caller.f_code.co_filename.split("/")[-2:])
                raise NotRepeatable(f"{where}:{caller.f_lineno} uploads a tensor that only the CPU knows")
            copy = tensor.pin_memory().to(device, non_blocking=True)
            self._inputs.append((copy, again))
            return copy
        recorded = self._inputs[self._next][0] if self._next < len(self._inputs) else None
        if recorded is None or recorded.shape != tensor.shape or recorded.dtype != tensor.dtype:
            raise NotRepeatable(_DIFFERENT)
        self._next += 1
        return recorded


_graph_inputs: ContextVar[GraphInputs | None] = ContextVar("graph_inputs", default=None)


def read_back(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors on the CPU. Those of a GPU come with one wait for all of them, not with one for each.

    Args:
        tensors: of any device, shape and type.
    """
    return ReadBack(*tensors).wait()


class ReadBack:
    """Tensors on their way to the CPU. What comes back later on the same device is waited for only once."""

    def __init__(self, *tensors: Tensor) -> None:
        self._copies = tuple(_start_reading(tensor) for tensor in tensors)
        self._copied: torch.cuda.Event | None = None
        if any(tensor.device.type == "cuda" for tensor in tensors):
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def wait(self) -> tuple[Tensor, ...]:
        """The tensors on the CPU."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._copies


def _start_reading(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)


def from_lengths(rule: Rule, lengths: Tensor, padded_length: int, device: torch.device) -> Tensor:
    """What a rule makes of these lengths, on `device`. On a GPU it is shared: it must not be changed in place."""
    is_kept = device.type == "cuda" and not torch.compiler.is_compiling() and not lengths.is_inference()
    # The two passes by which a graph is captured upload the same tensors only if neither finds copies of the other.
    if not is_kept or _graph_inputs.get() is not None:
        return upload(rule(lengths, padded_length), device, is_fixed=True)
    uploads = _uploads_of(lengths)
    uploads.asked.add((rule, padded_length))
    key = rule, padded_length, device, torch.is_inference_mode_enabled()
    copy = uploads.copies.get(key)
    if copy is None:
        computed = uploads.pinned.get((rule, padded_length))
        copy = upload(rule(lengths, padded_length) if computed is None else computed, device, is_fixed=True)
        uploads.copies[key] = copy
    return copy


def prepare(lengths: Tensor, padded_length: int, rules: Iterable[Rule]) -> None:
    """Compute in page-locked memory what these rules make of the lengths, for `from_lengths`."""
    uploads = _uploads_of(lengths)
    for rule in rules:
        computed = rule(lengths, padded_length)
        # A rule may return the lengths themselves.
        uploads.pinned[rule, padded_length] = computed.pin_memory()


def asked_rules(lengths: Tensor, padded_length: int) -> set[Rule]:
    """The rules that `from_lengths` was asked for, of these lengths and this padded length."""
    return {rule for rule, steps in _uploads_of(lengths).asked if steps == padded_length}


def real_lengths(lengths: Tensor, padded_length: int) -> Tensor:
    """A rule: the lengths themselves."""
    return lengths


def last_steps(lengths: Tensor, padded_length: int) -> Tensor:
    """A rule: (B,) the number of each sequence's last step."""
    return lengths - 1


def inside(lengths: Tensor, padded_length: int) -> Tensor:
    """A rule: (B, T) bool, True where a step is real."""
    return torch.arange(padded_length)[None, :] < lengths[:, None]


def past_end(lengths: Tensor, padded_length: int) -> Tensor:
    """A rule: (B, T) bool, True where a step is padding."""
    return torch.arange(padded_length)[None, :] >= lengths[:, None]


def _uploads_of(lengths: Tensor) -> _Uploads:
    uploads: _Uploads | None = getattr(lengths, _ATTRIBUTE, None)
    if uploads is None or uploads.version != lengths._version:
        uploads = _Uploads(lengths._version)
        setattr(lengths, _ATTRIBUTE, uploads)
    return uploads
