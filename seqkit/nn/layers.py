"""The forward pass of the recurrent modules: over rows without padding, or by torch's own call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqkit.kernels import CellState, Dispatch, Layout, choose, kind_of, pad, run_unpadded_weights, unpad

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
        checked = _check_lengths(module, x, lengths)
        if not _fits(module, x, hx):
            torch_forward(x, hx)  # which says what does not fit
            raise ValueError("lengths= needs an input and a state as they are described for torch's layers")
        return _run_padded_batch(module, torch_forward, x, hx, checked)
    if not _fits(module, x, hx):
        return torch_forward(x, hx)
    if isinstance(x, PackedSequence):
        return _run_packed(module, torch_forward, x, hx)
    if x.dim() == 2:
        batch_dim, states = _batch_dim(module), _as_tuple(hx)
        wide = None if hx is None else _as_hx(module, tuple(state[:, None] for state in states))
        output, final = _run_padded_batch(module, torch_forward, x.unsqueeze(batch_dim), wide, None)
        return output.squeeze(batch_dim), _as_hx(module, tuple(state.squeeze(1) for state in _as_tuple(final)))
    return _run_padded_batch(module, torch_forward, x, hx, None)


def _run_padded_batch(
    module: nn.RNNBase, torch_forward: TorchForward, x: Tensor, hx: Any, lengths: Tensor | None
) -> tuple[Tensor, Any]:
    """(T, B, D), or (B, T, D) with `batch_first`."""
    batch, time = x.shape[_batch_dim(module)], x.shape[1 - _batch_dim(module)]
    is_ragged = lengths is not None and bool((lengths != time).any())
    dispatch = _choose(module, x, packed=is_ragged)
    if dispatch.engine is None or batch == 0 or (time == 0 and lengths is None):
        return torch_forward(x, hx) if not is_ragged else _run_ragged_by_torch(module, torch_forward, x, hx, lengths)
    if lengths is None:
        lengths = torch.full((batch,), time)
    layout = _lay_out(module, dispatch, lengths, time)
    index: Tensor | None = layout.flat_index
    if not module.batch_first:
        sequence = layout.sequence_of_row
        index = (layout.flat_index - sequence * time).mul_(batch).add_(sequence)
        if not is_ragged and len(layout.groups) == 1:
            index = None  # the rows of the input are in the order of the layout
    rows = x.reshape(batch * time, x.shape[2])
    rows, final = _run_rows(module, dispatch, rows if index is None else unpad(rows, index), layout, hx, lengths)
    output = rows if index is None else pad(rows, index, batch * time)
    return output.view(*x.shape[:2], rows.shape[1]), final


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
        rows, final = _run_rows(module, dispatch, data, layout, hx, lengths)
    else:
        index = _packed_index(layout, batch_sizes, torch.arange(batch))
        rows, final = _run_rows(module, dispatch, unpad(data, index), layout, hx, lengths)
        rows = pad(rows, index, len(rows))
    if unsorted_indices is not None:
        final = module.permute_hidden(final, unsorted_indices)
    return PackedSequence(rows, batch_sizes, sorted_indices, unsorted_indices), final


def _run_rows(
    module: nn.RNNBase, dispatch: Dispatch, rows: Tensor, layout: Layout, hx: Any, lengths: Tensor
) -> tuple[Tensor, Any]:
    """All layers over rows (N, D): their outputs, and the final state as torch gives it."""
    engine, kind = dispatch.engine, kind_of(module)
    assert engine is not None
    directions = 2 if module.bidirectional else 1
    states = _as_tuple(hx)
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
    dtype = _output_dtype(module, rows)
    stacked = tuple(torch.stack(tensors).to(dtype) for tensors in zip(*final, strict=True))
    return rows.to(dtype), _as_hx(module, stacked)


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
    batch_dim = _batch_dim(module)
    batch, time = x.shape[batch_dim], x.shape[1 - batch_dim]
    directions = 2 if module.bidirectional else 1
    if hx is None:
        zero = x.new_zeros(module.num_layers * directions, batch, module.hidden_size)
        hx = _as_hx(module, (zero, zero)[: _state_count(module)])
    is_real = lengths > 0
    if not bool(is_real.any()):
        return x.new_zeros(*x.shape[:2], directions * module.hidden_size), hx
    if not bool(is_real.all()):
        kept = is_real.nonzero().squeeze(1).to(x.device)
        some = _as_hx(module, tuple(state.index_select(1, kept) for state in _as_tuple(hx)))
        inputs = x.index_select(batch_dim, kept)
        output, final = _run_ragged_by_torch(module, torch_forward, inputs, some, lengths[is_real])
        shape = [*x.shape[:2], output.shape[2]]
        padded = output.new_zeros(shape).index_copy(batch_dim, kept, output)
        pairs = zip(_as_tuple(hx), _as_tuple(final), strict=True)
        return padded, _as_hx(module, tuple(h.to(f.dtype).index_copy(1, kept, f) for h, f in pairs))
    packed = pack_padded_sequence(x, lengths, batch_first=module.batch_first, enforce_sorted=False)
    output, final = torch_forward(packed, hx)
    padded, _ = pad_packed_sequence(output, batch_first=module.batch_first, total_length=time)
    return padded, final


# ---- what fits, and what runs


def _choose(module: nn.RNNBase, x: Tensor, *, packed: bool) -> Dispatch:
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return Dispatch("padded", "torch's own layers: transformed functions may use only torch operations")
    return choose(module, x.device, module.all_weights[0][1].dtype, packed=packed)


def _lay_out(module: nn.RNNBase, dispatch: Dispatch, lengths: Tensor, time: int) -> Layout:
    threads = torch.get_num_threads()
    return dispatch.layout_function(lengths, time, threads=max(1, threads // (2 if module.bidirectional else 1)))


def _fits(module: nn.RNNBase, x: Any, hx: Any) -> bool:
    """Whether input and state are as torch wants them; if not, torch says what is wrong."""
    data = x.data if isinstance(x, PackedSequence) else x
    if not isinstance(data, Tensor) or data.is_sparse or data.is_nested or data.shape[-1:] != (module.input_size,):
        return False
    dims = (2,) if isinstance(x, PackedSequence) else (2, 3)
    weights = [weight for weights in module.all_weights for weight in weights]
    if data.dim() not in dims or any(weight.device != data.device for weight in weights):
        return False
    dtype = weights[0].dtype
    if any(weight.dtype != dtype for weight in weights):
        return False
    if data.dtype != dtype and not torch.is_autocast_enabled(data.device.type):
        return False
    if hx is None:
        return True
    batch = (int(x.batch_sizes[0]),) if isinstance(x, PackedSequence) else ()
    if not isinstance(x, PackedSequence) and data.dim() == 3:
        batch = (data.shape[_batch_dim(module)],)
    layers = module.num_layers * (2 if module.bidirectional else 1)
    shape = (layers, *batch, module.hidden_size)
    if not isinstance(hx, Tensor if _state_count(module) == 1 else tuple | list) or len(_as_tuple(hx)) != _state_count(
        module
    ):
        return False
    return all(isinstance(state, Tensor) and state.shape == shape for state in _as_tuple(hx))


def _check_lengths(module: nn.RNNBase, x: Any, lengths: Any) -> Tensor:
    """(B,) int64 on the CPU.

    Raises:
        ValueError: they do not fit the input.
    """
    if isinstance(x, PackedSequence):
        raise ValueError("packed sequences have their lengths already; leave out lengths=")
    if not isinstance(x, Tensor) or x.dim() != 3:
        raise ValueError("lengths= needs a padded batch of three dimensions")
    batch, time = x.shape[_batch_dim(module)], x.shape[1 - _batch_dim(module)]
    values = (
        lengths if isinstance(lengths, Tensor) else torch.tensor(list(lengths) or torch.empty(0, dtype=torch.int64))
    )
    if values.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise ValueError(f"lengths must be whole numbers, not {values.dtype}")
    if values.shape != (batch,):
        raise ValueError(f"lengths must be ({batch},), one for each sequence of the batch, not {tuple(values.shape)}")
    values = values.detach().to("cpu", torch.int64)
    is_bad = (values < 0) | (values > time)
    if bool(is_bad.any()):
        row = int(is_bad.nonzero()[0])
        raise ValueError(f"lengths must be from 0 to {time}; that of sequence {row} is {int(values[row])}")
    return values


def _output_dtype(module: nn.RNNBase, rows: Tensor) -> torch.dtype:
    """What torch's call returns: under autocast, an Elman RNN gives the low precision and the others do not."""
    if torch.is_autocast_enabled("cpu") and module.mode.startswith("RNN"):
        return torch.get_autocast_dtype("cpu")
    return rows.dtype


# ---- states: a tensor, or a pair of an LSTM


def _state_count(module: nn.RNNBase) -> int:
    return 2 if module.mode == "LSTM" else 1


def _as_tuple(hx: Any) -> tuple[Tensor, ...]:
    if hx is None:
        return ()
    return (hx,) if isinstance(hx, Tensor) else tuple(hx)


def _as_hx(module: nn.RNNBase, states: tuple[Tensor, ...]) -> Any:
    return states if module.mode == "LSTM" else states[0]


def _batch_dim(module: nn.RNNBase) -> int:
    return 0 if module.batch_first else 1
