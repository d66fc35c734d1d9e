"""Random numbers that depend on an example and a place in it, and on nothing else.

What a training step draws for an example is a pure function of (seed, step, example, place): a counter-based generator
without state. So dropout is the same however a batch is split, accumulated, padded or spread over processes, on a CPU
as on a GPU, by every kernel, and in a run that is resumed.

A place is the number of the call in the forward pass, the step of the sequence, and the position in the step. The first
two are mixed into a key of 64 bits for each row (the finaliser of SplitMix64, Steele, Lea and Flood 2014,
doi:10.1145/2714064.2660195); two rounds of multiplying and shifting (Wellons 2018, "Prospecting for hash functions")
make 32 bits of it for each position. On a CPU, C++ does that. For a GPU, the keys are computed on the CPU, and the bits
by torch's integer operations on the device, or by a kernel in Triton; a few numbers are drawn on the CPU as well,
because each operation costs a GPU a launch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from seqkit.kernels.dispatch import runs_native
from seqkit.kernels.ragged import real_rows
from seqkit.kernels.triton_choice import TritonChoice, choose_triton
from seqkit.runtime.native_library import load_native
from seqkit.uploads import upload

SCHEME: Final = 1
"""Changes whenever an example would draw other numbers than before; a checkpoint says by which it was trained."""
_GOLDEN: Final = 0x9E3779B97F4A7C15
_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB
_CALL_BITS: Final = 40
"""Steps of a sequence count below the number of the call."""

TRITON_TYPES: Final = (torch.float32, torch.bfloat16, torch.float16)
TRITON_BLOCK: Final = 1024
"""Numbers of one program of the kernel."""

FEW: Final = 1 << 16
"""Numbers that a CPU draws in the time in which it would launch the operations for them on a GPU."""


@dataclass(frozen=True)
class RowOrder:
    """Where the rows (N, W) of a block are in a batch.

    Attributes:
        inner: T, steps of each example; with `time_first`, B, examples of each step.
        index: (N,) int64 on the CPU, where each row is in a flattened (B, T) block; None: rows are the whole block.
        time_first: the block is (T, B).
    """

    inner: int
    index: Tensor | None = None
    time_first: bool = False

    @classmethod
    def of_real_steps(cls, lengths: Tensor) -> RowOrder:
        """Of the real steps of all sequences, one sequence after the other, as `real_steps` gives them."""
        steps = int(lengths.max()) if len(lengths) else 1
        return cls(steps, real_rows(lengths, steps))

    def places(self, rows: int) -> tuple[Tensor, Tensor]:
        """(N,) int64 twice on the CPU: the example of each row and its step."""
        flat = torch.arange(rows) if self.index is None else self.index
        first, second = flat // self.inner, flat % self.inner
        return (second, first) if self.time_first else (first, second)


@dataclass
class _Draws:
    """The random numbers of one forward pass.

    Attributes:
        of_step: 64 bits of seed and step, as a signed number.
        numbers: (B,) int64 on the CPU, which tell the examples of the step apart.
        calls: how often numbers have been drawn in this pass.
        is_of_weights: the numbers are those of weights, and the same in all steps.
    """

    of_step: int
    numbers: Tensor
    calls: int = 0
    is_of_weights: bool = False

    def of_now(self) -> _Draws:
        """The same in the forward pass that is under way, which may be that of a later step."""
        now = _draws.get()
        assert now is not None
        return _Draws(now.of_step, self.numbers, is_of_weights=True) if self.is_of_weights else now

    def next_call(self) -> int:
        self.calls += 1
        return self.calls - 1


_draws: ContextVar[_Draws | None] = ContextVar("draws", default=None)


@contextmanager
def by_example(seed: int, step: int, numbers: Tensor | None) -> Iterator[None]:
    """Within the block, one forward pass of a batch, `dropout` and `draw_uniform` draw by example.

    Args:
        seed: of the run.
        step: optimiser steps taken before.
        numbers: (B,) int64 on the CPU, which tell the examples of a step apart; None: torch's generator draws.
    """
    token = _draws.set(None if numbers is None else _Draws(_step_key(seed, step), numbers))
    try:
        yield
    finally:
        _draws.reset(token)


def draws_by_example() -> bool:
    """Whether random numbers are drawn by example here."""
    return _draws.get() is not None


def dropout(x: Tensor, share: float, order: RowOrder | None = None) -> Tensor:
    """(..., W): each number is zero with probability `share`, or else divided by 1 - share.

    Outside of `by_example`, torch's generator draws.

    Args:
        x: (B, ..., W), or rows of a batch in another order.
        share: from 0 to 1.
        order: where the rows are in the batch; None: x is (B, ..., W).

    Raises:
        ValueError: x is not of the batch whose forward pass this is.
    """
    draws = _draws.get()
    if share == 0.0:
        return x
    if draws is None:
        return functional.dropout(x, share)
    order = order or _batch_first(x.shape)
    scale = 1.0 / (1.0 - share) if share < 1.0 else 0.0
    dropped = _Dropped(draws.next_call(), min(2**32 - 1, round(share * 2**32)), scale)
    if x.numel() == 0:
        return x
    if x.dim() == 3 and not x.is_contiguous() and order.index is None and x.transpose(0, 1).is_contiguous():
        # The same numbers in the order of memory.
        turned = RowOrder(x.shape[0], None, not order.time_first)
        return _drop(x.transpose(0, 1), draws, turned, dropped).transpose(0, 1)
    return _drop(x, draws, order, dropped)


def dropout_weights(weights: Tensor, share: float, number: int) -> Tensor:
    """(R, C) weights of a module: each is zero with probability `share`, or else divided by 1 - share (DropConnect).

    The same ones are for all examples of an optimiser step, however its batch is split, accumulated or spread over
    processes. Outside of `by_example`, torch's generator draws.

    Args:
        weights: (R, C).
        share: from 0 to 1.
        number: tells the weights of a model apart, from 0 on.
    """
    draws = _draws.get()
    if share == 0.0:
        return weights
    if draws is None:
        return functional.dropout(weights, share)
    # As if they were an example of their own; those of the data have numbers from 0 on.
    of_weights = _Draws(draws.of_step, torch.tensor([-1 - number]), is_of_weights=True)
    scale = 1.0 / (1.0 - share) if share < 1.0 else 0.0
    dropped = _Dropped(0, min(2**32 - 1, round(share * 2**32)), scale)
    return _drop(weights, of_weights, RowOrder(len(weights)), dropped)


def draw_uniform(
    shape: tuple[int, ...],
    device: torch.device | str = "cpu",
    order: RowOrder | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Numbers in [0, 1), float32, on `device`: an example's depend on the seed, the step and the example alone.

    Args:
        shape: (B, ...), or (N, W) rows of a batch in another order.
        device: where they are needed.
        order: where the rows are in the batch; None: the shape is (B, ...).
        generator: draws outside of training by seqkit; None: torch's own.

    Raises:
        ValueError: the shape is not of the batch whose forward pass this is.
    """
    draws, device = _draws.get(), torch.device(device)
    if draws is None:
        return torch.rand(shape, device=device, generator=generator)
    call = draws.next_call()
    rows = math.prod(shape[:1] if order is None else shape[:-1])
    width = math.prod(shape) // max(1, rows)
    order = order or RowOrder(1)
    _check(rows, draws, order)
    if rows * width > FEW:
        return _uniform(draws, device, order, rows, width, call).view(shape)

    def draw() -> Tensor:
        return _uniform(draws.of_now(), torch.device("cpu"), order, rows, width, call).view(shape)

    return upload(draw(), device, again=draw)


def draw_normal(
    shape: tuple[int, ...], device: torch.device | str = "cpu", *, generator: torch.Generator | None = None
) -> Tensor:
    """Numbers of mean 0 and variance 1, (B, ...) float32, drawn as `draw_uniform` draws (Box and Muller 1958)."""
    radius, turn = (draw_uniform(shape, device, generator=generator) for _ in range(2))
    return (-2.0 * radius.clamp(min=2.0**-25).log()).sqrt() * (2.0 * math.pi * turn).cos()


def _uniform(draws: _Draws, device: torch.device, order: RowOrder, rows: int, width: int, call: int) -> Tensor:
    """(N, W)"""
    if runs_native(device):
        out = torch.empty(rows, width)
        _call_native(draws, order, (rows, width), _Dropped(call), None, out)
        return out
    bits = _bits(draws, device, order, rows, width, call)
    return ((bits >> 8) & 0xFFFFFF).float().mul_(2.0**-24)


def _batch_first(shape: torch.Size) -> RowOrder:
    return RowOrder(math.prod(shape[1:-1]))


def _check(rows: int, draws: _Draws, order: RowOrder) -> None:
    """Raises ValueError if so many rows are not those of the batch."""
    batch = len(draws.numbers)
    is_full = order.inner == batch if order.time_first else rows == batch * order.inner
    if not is_full and order.index is None:
        raise ValueError(f"{rows} rows are not those of a batch of {batch} examples; say which they are")


@dataclass(frozen=True)
class _Dropped:
    """Which numbers a call drops: those whose bits are below `least`; the others are multiplied by `scale`."""

    call: int
    least: int = 0
    scale: float = 0.0


def _drop(x: Tensor, draws: _Draws, order: RowOrder, dropped: _Dropped) -> Tensor:
    rows, width = x.numel() // x.shape[-1], x.shape[-1]
    _check(rows, draws, order)
    if x.dtype == torch.float32 and runs_native(x.device):
        return _NativeDropout.apply(x, draws, order, dropped)  # type: ignore[no-any-return]
    if x.dtype in TRITON_TYPES and dropout_choice(x.device, x.dtype).is_triton:
        keys = _upload_keys(draws, x.device, order, rows, dropped.call)
        return _TritonDropout.apply(x, keys, dropped)  # type: ignore[no-any-return]
    if x.device.type != "cpu" and rows * width <= FEW:
        dtype = x.dtype

        def draw() -> Tensor:
            return _drop(torch.ones(rows, width), draws.of_now(), order, dropped).to(dtype)

        return x * upload(draw(), x.device, again=draw).view(x.shape)
    bits = _bits(draws, x.device, order, rows, width, dropped.call)
    # Compared as unsigned numbers: with the sign turned, their order is that of the signed ones.
    kept = (bits ^ -(2**31)) >= dropped.least - 2**31
    mask = kept * dropped.scale if x.dtype == torch.float32 else kept.to(x.dtype) * dropped.scale
    return x * mask.view(x.shape)


def dropout_choice(device: torch.device, dtype: torch.dtype) -> TritonChoice:
    """Whether the kernel in Triton drops numbers of this type on `device`, and why."""
    name = str(dtype).removeprefix("torch.")
    # Products are rounded, and the last digit may be one more or one less.
    return choose_triton(device, f"dropout of {name}", _CASES[dtype], tolerance=torch.finfo(dtype).eps)


def _dropout_case(dtype: torch.dtype, device: torch.device) -> Mapping[str, Tensor]:
    """More numbers than one program of the kernel takes, and not a multiple of that."""
    generator = torch.Generator().manual_seed(0)
    x, weights = (torch.randn(3, 7, 101, generator=generator).to(dtype) for _ in range(2))
    on_device = upload(x, device).requires_grad_()
    with by_example(1, 2, torch.tensor([5, 0, 2**40])):
        y = dropout(on_device, 0.3)
    (gradient,) = torch.autograd.grad(y, on_device, upload(weights, device))
    return {"which numbers dropout drops": y == 0, "dropout": y, "the gradient of dropout": gradient}


_CASES: Final = {dtype: functools.partial(_dropout_case, dtype) for dtype in TRITON_TYPES}


class _NativeDropout(torch.autograd.Function):
    """Nothing is kept for the backward pass: the same numbers are drawn again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, draws: _Draws, order: RowOrder, dropped: _Dropped) -> Tensor:
        ctx.arguments = draws, order, dropped
        x = x.contiguous()
        out = torch.empty_like(x)
        _call_native(draws, order, (x.numel() // x.shape[-1], x.shape[-1]), dropped, x, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _NativeDropout.apply(grads[0], *ctx.arguments), None, None, None


class _TritonDropout(torch.autograd.Function):
    """The same; of the keys, the gradient is drawn again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: Tensor, dropped: _Dropped) -> Tensor:
        from seqkit.kernels import triton_draws

        ctx.arguments = keys, dropped
        x = x.contiguous()
        out, count = torch.empty_like(x), x.numel()
        scale = float(torch.tensor(dropped.scale, dtype=x.dtype))
        triton_draws.drop[(-(-count // TRITON_BLOCK),)](
            x, keys, out, count, x.shape[-1], dropped.least, scale, BLOCK=TRITON_BLOCK
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _TritonDropout.apply(grads[0], *ctx.arguments), None, None


def _call_native(
    draws: _Draws,
    order: RowOrder,
    shape: tuple[int, int],
    dropped: _Dropped,
    x: Tensor | None,
    out: Tensor,
) -> None:
    library: Any = load_native().library
    library.seqkit_draw(
        numbers=draws.numbers.data_ptr(),
        of_step=draws.of_step,
        index=None if order.index is None else order.index.data_ptr(),
        inner=order.inner,
        time_first=order.time_first,
        rows=shape[0],
        width=shape[1],
        call=dropped.call,
        least=dropped.least,
        scale=dropped.scale,
        x=None if x is None else x.data_ptr(),
        out=out.data_ptr(),
        threads=torch.get_num_threads(),
    )


def _step_key(seed: int, step: int) -> int:
    """64 bits of seed and step, as a signed number."""
    key = _mix_number(_mix_number(seed * _GOLDEN + 1) + step * _GOLDEN)
    return _signed(key)


def _mix_number(x: int) -> int:
    x %= 2**64
    x = (x ^ (x >> 30)) * _FIRST % 2**64
    x = (x ^ (x >> 27)) * _SECOND % 2**64
    return x ^ (x >> 31)


def _mix(x: Tensor) -> Tensor:
    """The same for each of some int64."""
    x = (x ^ _shift(x, 30, 64)) * _signed(_FIRST)
    x = (x ^ _shift(x, 27, 64)) * _signed(_SECOND)
    return x ^ _shift(x, 31, 64)


def _signed(number: int) -> int:
    """An unsigned number of 64 bits as torch's int64 has it."""
    return number - 2**64 if number >= 2**63 else number


def _shift(x: Tensor, count: int, size: int) -> Tensor:
    """x >> count of integers of `size` bits, zeros moving in."""
    return (x >> count) & ((1 << (size - count)) - 1)


def _bits(draws: _Draws, device: torch.device, order: RowOrder, rows: int, width: int, call: int) -> Tensor:
    """(N, W) int32: 32 random bits for each position of each row. The twin of `seqkit_draw`."""
    low, high = _upload_keys(draws, device, order, rows, call)[..., None].unbind(1)
    bits = low + _place_keys(width, device)
    bits = ((bits ^ _shift(bits, 16, 32)) * 0x7FEB352D) ^ high
    bits = (bits ^ _shift(bits, 15, 32)) * (0x846CA68B - 2**32)
    return bits ^ _shift(bits, 16, 32)


@functools.lru_cache(maxsize=64)
def _place_keys(width: int, device: torch.device) -> Tensor:
    """(W,) int32: what the positions of a row add to its key."""
    with torch.inference_mode(False):
        return upload(torch.arange(width, dtype=torch.int32) * (0x9E3779B9 - 2**32), device)


def _row_keys(draws: _Draws, order: RowOrder, rows: int, call: int) -> Tensor:
    """(N, 2) int32 on the CPU: the low and the high half of the 64 bits of each row."""
    golden = _signed(_GOLDEN)
    example, step = order.places(rows)
    examples = _mix(draws.numbers * golden + draws.of_step)
    key = _mix(examples[example] + (step + (call << _CALL_BITS)) * golden)
    return torch.stack([key, key >> 32], dim=1).to(torch.int32)


def _upload_keys(draws: _Draws, device: torch.device, order: RowOrder, rows: int, call: int) -> Tensor:
    """The same on `device`."""
    keys = _row_keys(draws, order, rows, call)
    return upload(keys, device, again=lambda: _row_keys(draws.of_now(), order, rows, call))
