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
