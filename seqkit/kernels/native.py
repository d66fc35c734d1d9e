"""The recurrence in C++ (`native.cpp`), as an engine of `seqkit.kernels.fused`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from seqkit.compiled import native
from seqkit.kernels.layout import Layout, groups_for, lay_out
from seqkit.kernels.passes import Kind, Pass

_KINDS: dict[Kind, int] = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}


def native_pass(passes: Sequence[Pass], layout: Layout, *, threads: int, back: bool) -> None:
    """Every pass at once, each direction and group of sequences on a thread. An `Engine`."""
    library = native().library
    assert library is not None, native().said
    values: list[int] = []
    for each in passes:
        start = each.start or (None, None)
        values += [
            _KINDS[each.kind],
            each.weights.shape[1],
            int(each.backwards),
            each.weights.data_ptr(),
            _pointer(each.bias),
            each.gates.data_ptr(),
            *_rows(each.memory),
            *_rows(each.steps),
            _pointer(start[0]),
            _pointer(start[1]) if len(start) > 1 else 0,
            *_rows(each.gradient),
            _pointer(each.changes),
            _pointer(each.before),
            _pointer(each.carried),
        ]
    values += [len(layout.groups), layout.table.data_ptr(), layout.alive.data_ptr()]
    asked = (ctypes.c_int64 * len(values))(*values)
    wide = passes[0].steps.dtype == torch.float64
    failed = library.seqkit_run(asked, len(passes), threads, int(wide), int(back))
    if failed:
        raise MemoryError("no memory for the weights of a recurrent layer")


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _rows(tensor: Tensor | None) -> tuple[int, int]:
    """Where rows begin, and how far apart they are."""
    return (0, 0) if tensor is None else (tensor.data_ptr(), tensor.stride(0))


def native_layout(lengths: Tensor, steps: int, *, threads: int = 1) -> Layout:
    """What `lay_out` gives, in a few microseconds."""
    library, batch = native().library, len(lengths)
    lengths = lengths.contiguous()
    if library is None or batch == 0 or lengths.dtype != torch.int64:
        return lay_out(lengths, steps, threads=threads)
    count = groups_for(batch, threads)
    # Where each part begins is known before the rows are: so there is one block of memory, and at most B x T rows.
    sizes = [batch, batch, batch, batch, 4 * count, count * steps, batch * steps]
    block = torch.empty(sum(sizes), dtype=torch.int64)
    rows = library.seqkit_lay_out(lengths.data_ptr(), batch, steps, count, block.data_ptr())
    if rows < 0:
        return lay_out(lengths, steps, threads=threads)  # which says what is wrong
    order, place, first, last, table, alive, source = torch.split(block, sizes)
    empty = lengths == 0 if rows == 0 or int(lengths.min()) == 0 else None
    return Layout(steps, order, place, first, last, source[:rows], table.view(count, 4), alive, empty)


def native_best_paths(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """The best path of each chain: states (B, T), zero past the end, and scores (B,).

    (T, B, C), (C, C), (B, C) twice, all in double precision on the CPU; (B,), each at least 1.
    """
    library = native().library
    assert library is not None, native().said
    steps, batch, classes = emissions.shape
    if emissions.stride(2) != 1:
        emissions = emissions.contiguous()
    transitions, start, end = transitions.contiguous(), start.contiguous(), end.contiguous()
    states, scores = torch.empty(batch, steps, dtype=torch.int64), emissions.new_empty(batch)
    failed = library.seqkit_best_paths(
        emissions.data_ptr(),
        emissions.stride(0),
        emissions.stride(1),
        transitions.data_ptr(),
        start.data_ptr(),
        end.data_ptr(),
        lengths.contiguous().data_ptr(),
        *(steps, batch, classes),
        max(1, min(torch.get_num_threads(), batch // 8)),
        states.data_ptr(),
        scores.data_ptr(),
    )
    if failed:
        raise MemoryError("no memory for the best paths of a conditional random field")
    return states, scores


def native_chain_sums(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, both: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The sums over the paths of each chain, in log space: total (B,), before and, with `both`, after (T, B, C).

    (T, B, C), (C, C), (B, C) twice, all in double precision on the CPU; (B,), each at least 1. Zero past the end.

    Raises:
        ValueError: a length is not from 1 to T.
    """
    library = native().library
    assert library is not None, native().said
    steps, batch, classes = emissions.shape
    before, *after = (emissions.new_empty(batch, steps, classes) for _ in range(1 + both))
    total = emissions.new_empty(batch)
    asked, threads, kept = _chains(emissions, transitions, start, end, lengths)
    failed = library.seqkit_chain_sums(
        asked, threads, before.data_ptr(), after[0].data_ptr() if both else None, total.data_ptr()
    )
    _check_chains(failed, lengths, steps)
    del kept
    return total, before.transpose(0, 1), after[0].transpose(0, 1) if both else None


def native_chain_gradient(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    *,
    before: Tensor,
    total: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients, for emissions (T, B, C), transitions, start and end, of the sum of `weight` (B,) times log Z.

    `before` and `total` are what `native_chain_sums` gave. The sums over chains have one order, whatever the threads.

    Raises:
        ValueError: a length is not from 1 to T.
    """
    library = native().library
    assert library is not None, native().said
    steps, batch, classes = emissions.shape
    before, weight = before.transpose(0, 1).contiguous(), weight.contiguous()
    shares, moved = emissions.new_empty(batch, steps, classes), emissions.new_empty(classes, classes)
    first, last = emissions.new_empty(batch, classes), emissions.new_empty(batch, classes)
    asked, threads, kept = _chains(emissions, transitions, start, end, lengths)
    every = (before, total, weight, shares, moved, first, last)
    failed = library.seqkit_chain_gradient(asked, threads, *(each.data_ptr() for each in every))
    _check_chains(failed, lengths, steps)
    del kept
    return shares.transpose(0, 1), moved, first, last


def _chains(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[ctypes.Array[ctypes.c_int64], int, tuple[Tensor, ...]]:
    """The fields of `Chains` in native.cpp, how many threads it is worth, and what must live until the call is over."""
    steps, batch, classes = emissions.shape
    emissions, start, end = (part if part.stride(-1) == 1 else part.contiguous() for part in (emissions, start, end))
    transitions, lengths = transitions.contiguous(), lengths.contiguous()
    values = [
        *(emissions.data_ptr(), emissions.stride(0), emissions.stride(1)),
        transitions.data_ptr(),
        *(start.data_ptr(), start.stride(0)),
        *(end.data_ptr(), end.stride(0)),
        *(lengths.data_ptr(), steps, batch, classes),
    ]
    threads = max(1, min(torch.get_num_threads(), batch // 8))
    return (ctypes.c_int64 * len(values))(*values), threads, (emissions, transitions, start, end, lengths)


def _check_chains(failed: int, lengths: Tensor, steps: int) -> None:
    if failed == 1:
        raise MemoryError("no memory for the sums of a conditional random field")
    if failed:
        raise ValueError(f"lengths of chains are from 1 to {steps}, not {lengths.tolist()}")
