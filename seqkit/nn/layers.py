"""The forward pass of the recurrent modules: over rows without padding, or by torch's own call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqkit.kernels import (
    CellState,
    Dispatch,
    Layout,
    cell_step_weights,
    choose,
    kind_of,
    pad,
    run_unpadded_weights,
    unpad,
)
from seqkit.nn.checks import check_lengths, fits, is_transformed, needs_gradient
from seqkit.nn.states import as_hx, as_tuple, batch_dim_of, num_directions, num_states
from seqkit.runtime.precision import has_onednn_bf16

TorchForward: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]
"""The forward pass of a torch module: (input, hx) -> (output, hx)."""


def run_layers(
    module: nn.RNNBase, torch_forward: TorchForward, x: Any, hx: Any, lengths: Sequence[int] | Tensor | None
) -> tuple[Any, Any]:
    """The output and the final state, in the form that torch gives them.

    Args:
        module: the layers.
        torch_forward: its forward pass in torch, for what only torch can do, and for its errors.
        x: a padded batch, a sequence, or packed sequences.
        hx: the initial state; None: zero.
        lengths: of the sequences of a padded batch; None: all are full.
    """
    if lengths is not None:
        checked = check_lengths(module, x, lengths)
        if not fits(module, x, hx):
            torch_forward(x, hx)  # which says what does not fit
            raise ValueError("lengths= needs plain, dense tensors")
        return _run_padded_batch(module, torch_forward, x, hx, checked)
    if not fits(module, x, hx):
        return torch_forward(x, hx)
    if isinstance(x, PackedSequence):
        return _run_packed(module, torch_forward, x, hx)
    if x.dim() == 2:
        batch_dim, states = batch_dim_of(module), as_tuple(hx)
        wide = None if hx is None else as_hx(module, tuple(state[:, None] for state in states))
        output, final = _run_padded_batch(module, torch_forward, x.unsqueeze(batch_dim), wide, None)
        return output.squeeze(batch_dim), as_hx(module, tuple(state.squeeze(1) for state in as_tuple(final)))
    return _run_padded_batch(module, torch_forward, x, hx, None)


def _run_padded_batch(
    module: nn.RNNBase, torch_forward: TorchForward, x: Tensor, hx: Any, lengths: Tensor | None
) -> tuple[Tensor, Any]:
    """(T, B, D), or (B, T, D) with `batch_first`."""
    batch, time = x.shape[batch_dim_of(module)], x.shape[1 - batch_dim_of(module)]
    is_ragged = lengths is not None and (time == 0 or bool((lengths != time).any()))
    dispatch = _choose(module, x, packed=is_ragged)
    if dispatch.engine is None or batch == 0 or (time == 0 and lengths is None):
        return torch_forward(x, hx) if not is_ragged else _run_ragged_by_torch(module, torch_forward, x, hx, lengths)
    if lengths is None:
        if not needs_gradient(module, x, hx) and not torch.is_autocast_enabled("cpu"):
            if time == 1 and not (module.training and module.dropout):
                return _run_one_step(module, x, hx)
            if module.mode == "LSTM" and dispatch.name == "native":
                return torch_forward(x, hx)  # without padding and gradients, oneDNN's LSTM is as fast
        lengths = torch.full((batch,), time)
    layout = _lay_out(module, dispatch, lengths, time)
    index: Tensor | None = layout.flat_index
    if not module.batch_first:
        sequence = layout.sequence_of_row
        index = (layout.flat_index - sequence * time).mul_(batch).add_(sequence)
        if not is_ragged and len(layout.groups) == 1:
            index = None  # the rows of the input are in the order of the layout
    rows = x.reshape(batch * time, x.shape[2])
    rows = rows if index is None else unpad(rows, index)
    rows, final = _run_rows(module, dispatch, rows, layout, hx, lengths, packed=is_ragged)
    output = rows if index is None else pad(rows, index, batch * time)
    return output.view(*x.shape[:2], rows.shape[1]), final


def _run_one_step(module: nn.RNNBase, x: Tensor, hx: Any) -> tuple[Tensor, Any]:
    """One step of each cell: both directions compute alike, and a layer's call would lay its weights out anew."""
    batch_dim, directions = batch_dim_of(module), num_directions(module)
    step, states, final = x.squeeze(1 - batch_dim), as_tuple(hx), list[CellState]()
    zero = (x.new_zeros(step.shape[0], module.hidden_size),) * num_states(module)
    for layer in range(module.num_layers):
        cells = range(layer * directions, (layer + 1) * directions)
        final += [
            cell_step_weights(
                module.mode, module.all_weights[cell], step, tuple(s[cell] for s in states) if states else zero
            )
            for cell in cells
        ]
        step = torch.cat([final[cell][0] for cell in cells], dim=-1)
    return step.unsqueeze(1 - batch_dim), as_hx(module, tuple(map(torch.stack, zip(*final, strict=True))))


def _run_packed(module: nn.RNNBase, torch_forward: TorchForward, x: PackedSequence, hx: Any) -> tuple[Any, Any]:
    data, batch_sizes, sorted_indices, unsorted_indices = x
    dispatch = _choose(module, data, packed=True)
    if dispatch.engine is None:
        return torch_forward(x, hx)
    if hx is not None and sorted_indices is not None:
        hx = module.permute_hidden(hx, sorted_indices)
    batch, time = int(batch_sizes[0]), len(batch_sizes)
    lengths = (batch_sizes[:, None] > torch.arange(batch)).sum(0)
    layout = _lay_out(module, dispatch, lengths, time)
    if len(layout.groups) == 1:  # the order of packed sequences
        rows, final = _run_rows(module, dispatch, data, layout, hx, lengths, packed=True)
    else:
        index = _packed_index(layout, batch_sizes, torch.arange(batch))
        rows, final = _run_rows(module, dispatch, unpad(data, index), layout, hx, lengths, packed=True)
        rows = pad(rows, index, len(rows))
    if unsorted_indices is not None:
        final = module.permute_hidden(final, unsorted_indices)
    return PackedSequence(rows, batch_sizes, sorted_indices, unsorted_indices), final


def _run_rows(
    module: nn.RNNBase, dispatch: Dispatch, rows: Tensor, layout: Layout, hx: Any, lengths: Tensor, *, packed: bool
) -> tuple[Tensor, Any]:
    """All layers over rows (N, D): their outputs, and the final state as torch gives it."""
    engine, kind = dispatch.engine, kind_of(module)
    assert engine is not None
    directions = num_directions(module)
    states = as_tuple(hx)
    initial = [tuple(s[n] for s in states) if states else None for n in range(module.num_layers * directions)]
    drop = _Dropout(module.dropout, layout, lengths) if module.training and module.dropout else None
    weights, threads = module.all_weights, torch.get_num_threads()
    final: list[CellState] = []
    for layer in range(module.num_layers):
        if layer and drop is not None:
            rows = drop(rows)
        cells = slice(layer * directions, (layer + 1) * directions)
        output = run_unpadded_weights(
            kind, weights[cells], rows, layout, initial[cells], engine=engine, threads=threads
        )
        rows = output.rows
        final += [final_state() for final_state in output.final_states]
    dtype = _output_dtype(module, rows, packed=packed)
    stacked = tuple(torch.stack(tensors).to(dtype) for tensors in zip(*final, strict=True))
    return rows.to(dtype), as_hx(module, stacked)


@dataclass(frozen=True)
class _Dropout:
    """Dropout that draws the numbers in the order of packed sequences, whatever the number of threads."""

    share: float
    layout: Layout
    lengths: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        if len(self.layout.groups) == 1:
            return functional.dropout(rows, self.share)
        by_length = torch.sort(self.lengths, descending=True, stable=True).indices
        rank = torch.empty_like(by_length).scatter_(0, by_length, torch.arange(len(by_length)))
        batch_sizes = (torch.arange(self.layout.padded_length)[:, None] < self.lengths).sum(1)
        index = _packed_index(self.layout, batch_sizes, rank)
        return rows * functional.dropout(torch.ones_like(rows), self.share).index_select(0, index)


def _packed_index(layout: Layout, batch_sizes: Tensor, rank: Tensor) -> Tensor:
    """(N,) where each row of the layout is in packed sequences; `rank` (B,): the place of each sequence there."""
    sequence = layout.sequence_of_row
    first_of_step = batch_sizes.cumsum(0) - batch_sizes
    return first_of_step[layout.flat_index - sequence * layout.padded_length] + rank[sequence]


def _run_ragged_by_torch(
    module: nn.RNNBase, torch_forward: TorchForward, x: Tensor, hx: Any, lengths: Tensor | None
) -> tuple[Tensor, Any]:
    """By torch's own call over packed sequences, which have no place for an empty one."""
    assert lengths is not None
    batch_dim = batch_dim_of(module)
    batch, time = x.shape[batch_dim], x.shape[1 - batch_dim]
    directions = num_directions(module)
    if hx is None:
        zero = x.new_zeros(module.num_layers * directions, batch, module.hidden_size)
        hx = as_hx(module, (zero, zero)[: num_states(module)])
    is_real = lengths > 0
    if not bool(is_real.any()):
        return x.new_zeros(*x.shape[:2], directions * module.hidden_size), hx
    if not bool(is_real.all()):
        kept = is_real.nonzero().squeeze(1).to(x.device)
        some = as_hx(module, tuple(state.index_select(1, kept) for state in as_tuple(hx)))
        inputs = x.index_select(batch_dim, kept)
        output, final = _run_ragged_by_torch(module, torch_forward, inputs, some, lengths[is_real])
        shape = [*x.shape[:2], output.shape[2]]
        padded = output.new_zeros(shape).index_copy(batch_dim, kept, output)
        pairs = zip(as_tuple(hx), as_tuple(final), strict=True)
        return padded, as_hx(module, tuple(h.to(f.dtype).index_copy(1, kept, f) for h, f in pairs))
    packed = pack_padded_sequence(x, lengths, batch_first=module.batch_first, enforce_sorted=False)
    output, final = torch_forward(packed, hx)
    padded, _ = pad_packed_sequence(output, batch_first=module.batch_first, total_length=time)
    return padded, final


def _choose(module: nn.RNNBase, x: Tensor, *, packed: bool) -> Dispatch:
    if is_transformed():
        return Dispatch("padded", "torch's own layers: transformed functions may use only torch operations")
    return choose(module, x.device, module.all_weights[0][1].dtype, packed=packed)


def _lay_out(module: nn.RNNBase, dispatch: Dispatch, lengths: Tensor, time: int) -> Layout:
    groups = dispatch.group_count(len(lengths), num_directions(module))
    return dispatch.layout_function(lengths, time, threads=groups)


def _output_dtype(module: nn.RNNBase, rows: Tensor, *, packed: bool) -> torch.dtype:
    """What torch's call returns: under autocast the low precision from an Elman RNN, and in bf16 from oneDNN's LSTM.

    oneDNN has that LSTM also where it emulates bf16, and has none for packed sequences.
    """
    low = torch.get_autocast_dtype("cpu")
    if not torch.is_autocast_enabled("cpu") or rows.dtype == torch.float64:
        return rows.dtype
    is_onednns = module.mode == "LSTM" and not packed and low == torch.bfloat16
    return low if module.mode.startswith("RNN") or (is_onednns and has_onednn_bf16()) else rows.dtype
