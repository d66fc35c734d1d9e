"""The functions of `native.cpp`: the recurrence, the layout of a batch, and linear chains."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from seqkit.kernels.engine import CellKind, DirectionPass
from seqkit.kernels.layout import Layout, group_count, lay_out
from seqkit.kernels.native_structs import Chains, LayerCall, OneDirection, SeqkitLayout, SeqkitPass, TwoDirections
from seqkit.kernels.stepwise import stepwise_pass
from seqkit.runtime.native_library import load_native, load_native_bf16
from seqkit.runtime.precision import has_bf16_units

KINDS: dict[CellKind, int] = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}
MOST_UNITS = 2
"""What multiplies in bf16: at most the tiles of AMX (2), AVX512_BF16 (1), or neither (0)."""
LARGEST_ERROR = 0.02
"""Of states, which are within 1: a state that is rounded the other way moves others by a few thousandths."""
_LAYER_CALLS: dict[int, type[LayerCall]] = {1: OneDirection, 2: TwoDirections}


def native_pass(passes: Sequence[DirectionPass], layout: Layout, *, threads: int, backward: bool) -> None:
    """An `Engine`. Weights may be in bf16.

    Each direction of each group runs on one of the threads. Of one group with large weights, the threads share the
    units of each step.
    """
    call = _LAYER_CALLS[len(passes)](
        passes=tuple(_pass_struct(direction) for direction in passes),
        layout=SeqkitLayout(
            groups=layout.group_table.shape[0], table=layout.group_table.data_ptr(), alive=layout.active.data_ptr()
        ),
    )
    asked, count = ctypes.byref(call), len(passes)
    if passes[0].weights.dtype == torch.bfloat16:
        failed = _bf16_library().seqkit_bf16_run(asked=asked, count=count, threads=threads, back=backward)
    else:
        is_wide = passes[0].h.dtype == torch.float64
        failed = _library().seqkit_run(asked=asked, count=count, threads=threads, wide=is_wide, back=backward)
    if failed:
        raise MemoryError("no memory for the weights of a recurrent layer")


def _pass_struct(direction: DirectionPass) -> SeqkitPass:
    h0, c0 = (*(direction.initial or ()), None, None)[:2]
    _require_type(
        direction.h.dtype,
        None if (direction.weights.dtype, direction.h.dtype) == (torch.bfloat16, torch.float32) else direction.weights,
        *(direction.bias, direction.gates, direction.memory, h0, c0),
        *(direction.grad_h, direction.grad_gates, direction.h_prev, direction.grad_state),
    )
    return SeqkitPass(
        kind=KINDS[direction.kind],
        hidden=direction.weights.shape[1],
        backwards=direction.reverse,
        weights=direction.weights.data_ptr(),
        bias=_pointer(direction.bias),
        gates=direction.gates.data_ptr(),
        memory=_pointer(direction.memory),
        memory_stride=_row_stride(direction.memory),
        steps=direction.h.data_ptr(),
        steps_stride=direction.h.stride(0),
        h0=_pointer(h0),
        c0=_pointer(c0),
        gradient=_pointer(direction.grad_h),
        gradient_stride=_row_stride(direction.grad_h),
        changes=_pointer(direction.grad_gates),
        before=_pointer(direction.h_prev),
        carried=_pointer(direction.grad_state),
    )


@lru_cache(maxsize=1)
def has_bf16_recurrence() -> bool:
    """Whether native code multiplies states in bf16: this CPU has instructions for it, and they agree with PyTorch."""
    if not has_bf16_units():  # no library is built where nothing could use it
        return False
    native = load_native_bf16()
    if native.library is None or native.library.seqkit_bf16_units(most=MOST_UNITS) == 0:
        return False
    return bf16_error() < LARGEST_ERROR


def describe_bf16() -> str:
    """What multiplies in bf16 in recurrent layers on this CPU, or why single precision does."""
    no_instructions = "single precision; this processor has no instructions for bf16"
    if not has_bf16_units():
        return no_instructions
    native = load_native_bf16()
    if native.library is None:
        return f"single precision; the native library is {native.description}"
    units = native.library.seqkit_bf16_units(most=MOST_UNITS)
    if units == 0:
        return no_instructions
    name = ("", "AVX512_BF16", "AMX")[units]
    if not has_bf16_recurrence():
        return f"single precision; {name} is here, but its numbers are not those of PyTorch: please report that"
    return f"{name}, where a recipe has train.precision: bf16"


def bf16_error() -> float:
    """How far apart the native code in bf16 and `stepwise_pass` are, for a small GRU. NaN if either has one."""
    generator = torch.Generator().manual_seed(1)
    hidden, lengths = 40, torch.tensor([3, 1, 2] * 6)
    layout = lay_out(lengths, 3)
    gates, weights, bias = (
        torch.randn(size, generator=generator)
        for size in ((layout.num_rows, 3 * hidden), (3 * hidden, hidden), (hidden,))
    )
    states = []
    for engine in (native_pass, stepwise_pass):
        h, memory = torch.empty(layout.num_rows, hidden), torch.empty(layout.num_rows, hidden)
        run = DirectionPass("gru", False, weights.bfloat16(), bias, gates.clone(), memory, h, None)
        engine([run], layout, threads=1, backward=False)
        states.append(h)
    return float((states[0] - states[1]).abs().max())


def _library() -> Any:
    native = load_native()
    assert native.library is not None, native.description
    return native.library


def _bf16_library() -> Any:
    native = load_native_bf16()
    assert native.library is not None, native.description
    return native.library


def _require_type(dtype: torch.dtype, *tensors: Tensor | None) -> None:
    """The C++ code reads memory as numbers of one type: with others it would read and write past the end."""
    others = {tensor.dtype for tensor in tensors if tensor is not None} - {dtype}
    if others:
        raise TypeError(f"numbers for native code should be {dtype}, not {', '.join(map(str, others))}")


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _row_stride(tensor: Tensor | None) -> int:
    """Numbers from one row to the next."""
    return 0 if tensor is None else tensor.stride(0)


def native_layout(lengths: Tensor, padded_length: int, *, threads: int = 1) -> Layout:
    """The same as `lay_out`, in a few microseconds."""
    library, batch = load_native().library, len(lengths)
    lengths = lengths.contiguous()
    if library is None or batch == 0 or lengths.dtype != torch.int64:
        return lay_out(lengths, padded_length, threads=threads)
    groups = group_count(batch, threads)
    # All outputs are in one block of memory. There are at most B x T rows; how many is known after the call.
    sizes = [batch, batch, batch, batch, 4 * groups, groups * padded_length, batch * padded_length]
    block = torch.empty(sum(sizes), dtype=torch.int64)
    num_rows = library.seqkit_lay_out(
        lengths=lengths.data_ptr(), batch=batch, steps=padded_length, groups=groups, out=block.data_ptr()
    )
    if num_rows < 0:
        return lay_out(lengths, padded_length, threads=threads)  # which raises an error that says what is wrong
    order, position, first_row, last_row, group_table, active, flat_index = torch.split(block, sizes)
    return Layout(
        padded_length=padded_length,
        order=order,
        position=position,
        first_row=first_row,
        last_row=last_row,
        flat_index=flat_index[:num_rows],
        group_table=group_table.view(groups, 4),
        active=active,
        is_empty=lengths == 0 if num_rows == 0 or int(lengths.min()) == 0 else None,
    )


def native_best_paths(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """The best path of each chain: states (B, T), zero past the end, and scores (B,). See Viterbi 1967.

    Scores are in double precision on the CPU.

    Args:
        emissions: (T, B, C).
        transitions: (C, C).
        start: (B, C).
        end: (B, C).
        lengths: (B,), each from 1 to T.
    """
    library = _library()
    steps, batch, classes = emissions.shape
    if emissions.stride(2) != 1:
        emissions = emissions.contiguous()
    transitions, start, end = transitions.contiguous(), start.contiguous(), end.contiguous()
    lengths = lengths.to(torch.int64).contiguous()
    states, scores = torch.empty(batch, steps, dtype=torch.int64), emissions.new_empty(batch)
    _require_type(torch.float64, emissions, transitions, start, end)
    failed = library.seqkit_best_paths(
        emissions=emissions.data_ptr(),
        by_time=emissions.stride(0),
        by_chain=emissions.stride(1),
        transitions=transitions.data_ptr(),
        start=start.data_ptr(),
        end=end.data_ptr(),
        lengths=lengths.data_ptr(),
        steps=steps,
        batch=batch,
        classes=classes,
        threads=_threads_for(batch),
        states=states.data_ptr(),
        scores=scores.data_ptr(),
    )
    if failed:
        raise MemoryError("no memory for the best paths of a conditional random field")
    return states, scores


def native_chain_sums(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    paths: Tensor | None = None,
    *,
    with_beta: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """log Z (B,), alpha (T, B, C), beta (T, B, C) or None, and the scores (B,) of `paths` or None.

    All are in double precision on the CPU. Alpha and beta are in log space, include the step's own emission, and are
    zero past the end.

    Args:
        emissions: (T, B, C).
        transitions: (C, C).
        start: (B, C).
        end: (B, C).
        lengths: (B,), each from 1 to T.
        paths: (B, T) int64 states, anything past the end; None: no scores.
        with_beta: whether beta is computed.

    Raises:
        ValueError: a length is not from 1 to T, or a state not from 0 to C - 1.
    """
    library = _library()
    steps, batch, classes = emissions.shape
    alpha, log_z = emissions.new_empty(batch, steps, classes), emissions.new_empty(batch)
    beta = torch.empty_like(alpha) if with_beta else None
    path_scores = None if paths is None else torch.empty_like(log_z)
    chains, referenced = _chains_struct(emissions, transitions, start, end, lengths, paths)
    failed = library.seqkit_chain_sums(
        asked=ctypes.byref(chains),
        threads=_threads_for(batch),
        before=alpha.data_ptr(),
        after=_pointer(beta),
        total=log_z.data_ptr(),
        scores=_pointer(path_scores),
    )
    del referenced
    _check_chains(failed, lengths, emissions)
    return log_z, alpha.transpose(0, 1), None if beta is None else beta.transpose(0, 1), path_scores


def native_chain_gradient(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    paths: Tensor | None = None,
    *,
    alpha: Tensor,
    log_z: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of emissions (T, B, C), transitions (C, C), start (B, C) and end (B, C).

    They are of log Z, or with `paths` of log Z less the path's score. Sums over chains have one order, whatever the
    number of threads.

    Args:
        emissions, transitions, start, end, lengths, paths: as for `native_chain_sums`.
        alpha: what `native_chain_sums` returned.
        log_z: the same.
        grad: (B,) the gradient of each chain's result.
    """
    library = _library()
    steps, batch, classes = emissions.shape
    alpha, grad = alpha.transpose(0, 1).contiguous(), grad.contiguous()
    grad_emissions, grad_transitions = emissions.new_empty(batch, steps, classes), emissions.new_empty(classes, classes)
    grad_start, grad_end = emissions.new_empty(batch, classes), emissions.new_empty(batch, classes)
    _require_type(torch.float64, alpha, log_z, grad)
    chains, referenced = _chains_struct(emissions, transitions, start, end, lengths, paths)
    failed = library.seqkit_chain_gradient(
        asked=ctypes.byref(chains),
        threads=_threads_for(batch),
        before=alpha.data_ptr(),
        total=log_z.data_ptr(),
        weight=grad.data_ptr(),
        shares=grad_emissions.data_ptr(),
        moved=grad_transitions.data_ptr(),
        first=grad_start.data_ptr(),
        last=grad_end.data_ptr(),
    )
    del referenced
    _check_chains(failed, lengths, emissions)
    return grad_emissions.transpose(0, 1), grad_transitions, grad_start, grad_end


def _chains_struct(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, paths: Tensor | None
) -> tuple[Chains, tuple[Tensor | None, ...]]:
    """The struct, and the tensors that it points to: they must live until the call is over."""
    _require_type(torch.float64, emissions, transitions, start, end)
    steps, batch, classes = emissions.shape
    emissions, start, end = (
        scores if scores.stride(-1) == 1 else scores.contiguous() for scores in (emissions, start, end)
    )
    transitions, lengths = transitions.contiguous(), lengths.to(torch.int64).contiguous()
    paths = None if paths is None else paths.to(torch.int64).contiguous()
    chains = Chains(
        emissions=emissions.data_ptr(),
        by_time=emissions.stride(0),
        by_chain=emissions.stride(1),
        transitions=transitions.data_ptr(),
        start=start.data_ptr(),
        by_start=start.stride(0),
        end=end.data_ptr(),
        by_end=end.stride(0),
        lengths=lengths.data_ptr(),
        paths=_pointer(paths),
        by_path=_row_stride(paths),
        steps=steps,
        batch=batch,
        classes=classes,
    )
    return chains, (emissions, transitions, start, end, lengths, paths)


def _threads_for(batch: int) -> int:
    """How many threads are worth using for this many chains."""
    return max(1, min(torch.get_num_threads(), batch // 8))


def _check_chains(failed: int, lengths: Tensor, emissions: Tensor) -> None:
    steps, _, classes = emissions.shape
    if failed == 1:
        raise MemoryError("no memory for the sums of a conditional random field")
    if failed == 2:
        raise ValueError(f"lengths of chains must be from 1 to {steps}, not {lengths.tolist()}")
    if failed:
        raise ValueError(f"the states of paths must be from 0 to {classes - 1}, and one of them is not")
