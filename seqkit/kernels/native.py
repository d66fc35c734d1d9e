"""The recurrence in C++ (`native.cpp`), as an engine of `seqkit.kernels.unpadded`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from seqkit.kernels.layout import Layout, groups_for, lay_out
from seqkit.kernels.recurrence import CellKind, Pass
from seqkit.runtime.native_library import native

_KINDS: dict[CellKind, int] = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}


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
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    paths: Tensor | None = None,
    *,
    both: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The sums over the paths of each chain, in log space: total (B,), before and, with `both`, after (T, B, C).

    And the scores (B,) of `paths`, where there are some. All in double precision on the CPU, zero past the end.

    Args:
        emissions: (T, B, C).
        transitions: (C, C).
        start: (B, C).
        end: (B, C).
        lengths: (B,), each from 1 to T.
        paths: (B, T) int64 states, anything past the end; None: none.

    Raises:
        ValueError: a length is not from 1 to T, or a state not from 0 to C - 1.
    """
    library = native().library
    assert library is not None, native().said
    steps, batch, classes = emissions.shape
    before, total = emissions.new_empty(batch, steps, classes), emissions.new_empty(batch)
    after = torch.empty_like(before) if both else None
    scores = None if paths is None else torch.empty_like(total)
    asked, threads, kept = _chains(emissions, transitions, start, end, lengths, paths)
    every = (before, after, total, scores)
    failed = library.seqkit_chain_sums(asked, threads, *(_pointer(each) for each in every))
    _check_chains(failed, lengths, emissions)
    del kept
    return total, before.transpose(0, 1), None if after is None else after.transpose(0, 1), scores


def native_chain_gradient(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    paths: Tensor | None = None,
    *,
    before: Tensor,
    total: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients, for emissions (T, B, C), transitions, start and end, of the sum of `weight` (B,) times log Z.

    With `paths`, of log Z less the path's score. `before` and `total` are what `native_chain_sums` gave. The sums over
    chains have one order, whatever the number of threads.
    """
    library = native().library
    assert library is not None, native().said
    steps, batch, classes = emissions.shape
    before, weight = before.transpose(0, 1).contiguous(), weight.contiguous()
    shares, moved = emissions.new_empty(batch, steps, classes), emissions.new_empty(classes, classes)
    first, last = emissions.new_empty(batch, classes), emissions.new_empty(batch, classes)
    asked, threads, kept = _chains(emissions, transitions, start, end, lengths, paths)
    every = (before, total, weight, shares, moved, first, last)
    failed = library.seqkit_chain_gradient(asked, threads, *(_pointer(each) for each in every))
    _check_chains(failed, lengths, emissions)
    del kept
    return shares.transpose(0, 1), moved, first, last


def _chains(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, paths: Tensor | None
) -> tuple[ctypes.Array[ctypes.c_int64], int, tuple[Tensor | None, ...]]:
    """The fields of `Chains` in native.cpp, how many threads it is worth, and what must live until the call is over."""
    steps, batch, classes = emissions.shape
    emissions, start, end = (part if part.stride(-1) == 1 else part.contiguous() for part in (emissions, start, end))
    transitions, lengths = transitions.contiguous(), lengths.contiguous()
    paths = None if paths is None else paths.contiguous()
    values = [
        *(emissions.data_ptr(), emissions.stride(0), emissions.stride(1)),
        transitions.data_ptr(),
        *_rows(start),
        *_rows(end),
        lengths.data_ptr(),
        *_rows(paths),
        *(steps, batch, classes),
    ]
    threads = max(1, min(torch.get_num_threads(), batch // 8))
    kept = (emissions, transitions, start, end, lengths, paths)
    return (ctypes.c_int64 * len(values))(*values), threads, kept


def _check_chains(failed: int, lengths: Tensor, emissions: Tensor) -> None:
    steps, _, classes = emissions.shape
    if failed == 1:
        raise MemoryError("no memory for the sums of a conditional random field")
    if failed == 2:
        raise ValueError(f"lengths of chains are from 1 to {steps}, not {lengths.tolist()}")
    if failed:
        raise ValueError(f"the states of paths are from 0 to {classes - 1}; there is another one")
