"""The functions of `native.cpp`: the recurrence, the layout of a batch, and linear chains."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from seqkit.kernels.layout import Layout, groups_for, lay_out
from seqkit.kernels.native_structs import Chains, LayerCall, OneDirection, SeqkitLayout, SeqkitPass, TwoDirections
from seqkit.kernels.recurrence import CellKind, Pass
from seqkit.runtime.native_library import native

_KINDS: dict[CellKind, int] = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}
_LAYER_CALLS: dict[int, type[LayerCall]] = {1: OneDirection, 2: TwoDirections}


def native_pass(passes: Sequence[Pass], layout: Layout, *, threads: int, back: bool) -> None:
    """Every pass at once, each direction and group of sequences on a thread. An `Engine`."""
    library = native().library
    assert library is not None, native().said
    call = _LAYER_CALLS[len(passes)](
        passes=tuple(_pass_struct(run) for run in passes),
        layout=SeqkitLayout(groups=layout.table.shape[0], table=layout.table.data_ptr(), alive=layout.alive.data_ptr()),
    )
    failed = library.seqkit_run(
        asked=ctypes.byref(call),
        count=len(passes),
        threads=threads,
        wide=passes[0].steps.dtype == torch.float64,
        back=back,
    )
    if failed:
        raise MemoryError("no memory for the weights of a recurrent layer")


def _pass_struct(run: Pass) -> SeqkitPass:
    h0, c0 = (*(run.start or ()), None, None)[:2]
    return SeqkitPass(
        kind=_KINDS[run.kind],
        hidden=run.weights.shape[1],
        backwards=run.backwards,
        weights=run.weights.data_ptr(),
        bias=_pointer(run.bias),
        gates=run.gates.data_ptr(),
        memory=_pointer(run.memory),
        memory_stride=_row_stride(run.memory),
        steps=run.steps.data_ptr(),
        steps_stride=run.steps.stride(0),
        h0=_pointer(h0),
        c0=_pointer(c0),
        gradient=_pointer(run.gradient),
        gradient_stride=_row_stride(run.gradient),
        changes=_pointer(run.changes),
        before=_pointer(run.before),
        carried=_pointer(run.carried),
    )


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _row_stride(tensor: Tensor | None) -> int:
    """Numbers from one row to the next."""
    return 0 if tensor is None else tensor.stride(0)


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
    rows = library.seqkit_lay_out(
        lengths=lengths.data_ptr(), batch=batch, steps=steps, groups=count, out=block.data_ptr()
    )
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
    lengths = lengths.contiguous()
    states, scores = torch.empty(batch, steps, dtype=torch.int64), emissions.new_empty(batch)
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
    chains, referenced = _chains_struct(emissions, transitions, start, end, lengths, paths)
    failed = library.seqkit_chain_sums(
        asked=ctypes.byref(chains),
        threads=_threads_for(batch),
        before=before.data_ptr(),
        after=_pointer(after),
        total=total.data_ptr(),
        scores=_pointer(scores),
    )
    del referenced
    _check_chains(failed, lengths, emissions)
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
    chains, referenced = _chains_struct(emissions, transitions, start, end, lengths, paths)
    failed = library.seqkit_chain_gradient(
        asked=ctypes.byref(chains),
        threads=_threads_for(batch),
        before=before.data_ptr(),
        total=total.data_ptr(),
        weight=weight.data_ptr(),
        shares=shares.data_ptr(),
        moved=moved.data_ptr(),
        first=first.data_ptr(),
        last=last.data_ptr(),
    )
    del referenced
    _check_chains(failed, lengths, emissions)
    return shares.transpose(0, 1), moved, first, last


def _chains_struct(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, paths: Tensor | None
) -> tuple[Chains, tuple[Tensor | None, ...]]:
    """The struct, and the tensors that it points to: they must live until the call is over."""
    steps, batch, classes = emissions.shape
    emissions, start, end = (part if part.stride(-1) == 1 else part.contiguous() for part in (emissions, start, end))
    transitions, lengths = transitions.contiguous(), lengths.contiguous()
    paths = None if paths is None else paths.contiguous()
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
    """How many threads so many chains are worth."""
    return max(1, min(torch.get_num_threads(), batch // 8))


def _check_chains(failed: int, lengths: Tensor, emissions: Tensor) -> None:
    steps, _, classes = emissions.shape
    if failed == 1:
        raise MemoryError("no memory for the sums of a conditional random field")
    if failed == 2:
        raise ValueError(f"lengths of chains are from 1 to {steps}, not {lengths.tolist()}")
    if failed:
        raise ValueError(f"the states of paths are from 0 to {classes - 1}; there is another one")
