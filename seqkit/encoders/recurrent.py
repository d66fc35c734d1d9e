"""Stacked recurrent layers over padded sequences: the module behind `rnn`, `lstm` and `gru`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.encoders.option_types import Initial, Initialiser
from seqkit.interfaces import Encoded, Encoder, State, mask_of
from seqkit.kernels import (
    CellState,
    Dispatch,
    Layout,
    PaddedOutput,
    all_full,
    cell_step,
    choose,
    gather_last,
    pad,
    run_padded,
    run_unpadded,
    unpad,
)
from seqkit.layers.initialisers import start_weights

Cell: TypeAlias = Literal["rnn", "lstm", "gru"]


class Recurrent(Encoder):
    """Layers of one cell, each a padded call per direction; see `seqkit.encoders` for what the options mean.

    A carried state is a tuple of tensors (B, L, H): (h,) for rnn and gru, (h, c) for lstm. With two directions, the
    state has (B, 2L, H), layer by layer with the forward direction first; it may be read (a decoder starts from it)
    but not be carried on with.
    """

    def __init__(
        self,
        cell: Cell,
        dim: int,
        *,
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        locked: bool = False,
        residual: bool = False,
        layer_norm: bool = False,
        initial: Initial = "zero",
        input_init: Initialiser = "xavier_uniform",
        recurrent_init: Initialiser = "orthogonal",
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        self.hidden, self.layers, self.directions = hidden, layers, 2 if bidirectional else 1
        self.dropout, self.input_dropout, self.output_dropout = dropout, input_dropout, output_dropout
        self.locked, self.residual = locked, residual
        self.out_dim = hidden * self.directions
        self.causal = not bidirectional
        self.states = 2 if cell == "lstm" else 1
        widths = [dim] + [self.out_dim] * (layers - 1)
        self.cells = nn.ModuleList(
            _new_cell(cell, width, hidden, nonlinearity) for width in widths for _ in range(self.directions)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(self.out_dim) for _ in range(layers)) if layer_norm else None
        # (h and c) x (layers and directions) x H, starting where "zero" stays.
        self.initial = nn.Parameter(torch.zeros(self.states, len(self.cells), hidden)) if initial == "learned" else None
        for layer in self.cells:
            assert isinstance(layer, nn.RNNBase)
            start_weights(layer, input_init, recurrent_init, forget_bias)

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,), state as it came from `Encoded.state` or None -> Encoded with H = hidden x directions.

        Raises:
            ValueError: a state is carried into two directions, or it or the lengths do not fit this batch.
        """
        self._check(x, lengths, state)
        if x.shape[1] == 1 and x.device.type == "cpu" and not torch.is_grad_enabled() and all_full(lengths, 1):
            return self._over_one_step(x, lengths, state)
        choice = choose(self._cell(0), x.device, self._cell(0).all_weights[0][1].dtype)
        if choice.engine is not None:
            return self._over_rows(x, lengths, state, choice)
        return self._over_padded(x, lengths, state)

    def _over_one_step(self, x: Tensor, lengths: Tensor, state: State | None) -> Encoded:
        """(B, 1, D): each cell once, nothing laid out for more. Both directions of a single step are alike."""
        starts, ends = self._starts(x, state), list[CellState]()
        x = self._drop(x.transpose(0, 1), self.input_dropout)  # (1, B, D)
        for layer in range(self.layers):
            if layer:
                x = self._drop(x, self.dropout)
            places = range(layer * self.directions, (layer + 1) * self.directions)
            ends += [cell_step(self._cell(place), x[0], starts[place]) for place in places]
            sides = [end[0] for end in ends[-self.directions :]]
            y = (torch.cat(sides, dim=-1) if len(sides) > 1 else sides[0])[None]
            if self.residual and x.shape[-1] == y.shape[-1]:
                y = y + x
            x = y if self.norms is None else self.norms[layer](y)
        x = self._drop(x, self.output_dropout)

        def continue_() -> State:
            return tuple(torch.stack([end[part] for end in ends], dim=1) for part in range(self.states))

        return Encoded(x.transpose(0, 1), lengths, x[0], continue_)

    def _over_padded(self, x: Tensor, lengths: Tensor, state: State | None) -> Encoded:
        """Every layer and direction by torch's own call over the padded batch."""
        time = x.shape[1]
        starts = self._starts(x, state)
        padded = not all_full(lengths, time)
        outside = ~mask_of(lengths, time, x.device).t()[..., None] if padded else None
        x = x.transpose(0, 1)
        if outside is not None:
            # Nothing behind the end can reach a step before it; this keeps a NaN there out of the weights' gradients.
            x = x.masked_fill(outside, 0.0)
        x = self._drop(x, self.input_dropout)
        ran: list[PaddedOutput] = []
        for layer in range(self.layers):
            if layer:
                x = self._drop(x, self.dropout)
            sides = []
            for direction in range(self.directions):
                place = layer * self.directions + direction
                ran.append(run_padded(self._cell(place), x, lengths, starts[place], reverse=direction == 1))
                sides.append(ran[-1].steps)
            y = torch.cat(sides, dim=-1) if len(sides) > 1 else sides[0]
            if self.residual and x.shape[-1] == y.shape[-1]:
                y = y + x
            x = y if self.norms is None else self.norms[layer](y)
        x = self._drop(x, self.output_dropout)
        if outside is not None:
            x = x.masked_fill(outside, 0.0)

        def continue_() -> State:
            ends = [each.final_state() for each in ran]
            return tuple(torch.stack([end[part] for end in ends], dim=1) for part in range(self.states))

        return Encoded(x.transpose(0, 1), lengths, self._last(x, lengths), continue_)

    def _over_rows(self, x: Tensor, lengths: Tensor, state: State | None, choice: Dispatch) -> Encoded:
        """The real steps alone, (N, D), from the first layer to the last; the padding comes back at the end."""
        assert choice.engine is not None
        batch, time = x.shape[:2]
        threads = torch.get_num_threads()
        layout = choice.lay_out(lengths, time, threads=max(1, threads // self.directions))
        starts = self._starts(x, state) if state is not None or self.initial is not None else [None] * len(self.cells)
        rows = self._drop_rows(unpad(x.flatten(0, 1), layout.flat_index), layout, self.input_dropout)
        ends: list[Callable[[], CellState]] = []
        for layer in range(self.layers):
            if layer:
                rows = self._drop_rows(rows, layout, self.dropout)
            places = range(layer * self.directions, (layer + 1) * self.directions)
            cells, first = [self._cell(place) for place in places], [starts[place] for place in places]
            ran = run_unpadded(cells, rows, layout, first, engine=choice.engine, threads=threads)
            ends += ran.final_states
            y = ran.rows
            if self.residual and rows.shape[-1] == y.shape[-1]:
                y = y + rows
            rows = y if self.norms is None else self.norms[layer](y)
        rows = self._drop_rows(rows, layout, self.output_dropout)
        last = rows[:, : self.hidden].index_select(0, layout.last_row)
        if self.directions == 2:
            last = torch.cat([last, rows[:, self.hidden :].index_select(0, layout.first_row)], dim=-1)
        steps = pad(rows, layout.flat_index, batch * time).view(batch, time, -1)

        def continue_() -> State:
            found = [end() for end in ends]
            return tuple(torch.stack([end[part] for end in found], dim=1) for part in range(self.states))

        return Encoded(steps, lengths, last, continue_)

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}, layers={self.layers}, directions={self.directions}"

    def _cell(self, place: int) -> nn.RNNBase:
        cell = self.cells[place]
        assert isinstance(cell, nn.RNNBase)
        return cell

    def _check(self, x: Tensor, lengths: Tensor, state: State | None) -> None:
        if lengths.device.type != "cpu" or lengths.shape != x.shape[:1]:
            raise ValueError(
                f"lengths must be ({x.shape[0]},) on the CPU, not {tuple(lengths.shape)} on {lengths.device}"
            )
        if state is None:
            return
        if self.directions == 2:
            raise ValueError(
                "a state cannot be carried on in two directions: the backward one starts at the end, which is not "
                "known before the sequence is over; set encoder.bidirectional to false"
            )
        want = (x.shape[0], len(self.cells), self.hidden)
        if len(state) != self.states or any(tuple(part.shape) != want for part in state):
            got = [tuple(part.shape) for part in state]
            raise ValueError(f"the state carried on has shapes {got}; this encoder needs {self.states} of {want}")

    def _starts(self, x: Tensor, state: State | None) -> list[tuple[Tensor, ...]]:
        """For each layer and direction, (h,) or (h, c) before the first step, each (B, H)."""
        batch = x.shape[0]
        if state is not None:
            return [tuple(part[:, place] for part in state) for place in range(len(self.cells))]
        if self.initial is not None:
            first = self.initial
            return [
                tuple(first[part, place].expand(batch, -1) for part in range(self.states))
                for place in range(len(self.cells))
            ]
        zero = x.new_zeros(batch, self.hidden)
        return [(zero,) * self.states] * len(self.cells)

    def _drop(self, x: Tensor, share: float) -> Tensor:
        """(T, B, H) with a share of values dropped; locked: the same ones at each step."""
        if not self.training or share == 0.0:
            return x
        if self.locked:
            return x * functional.dropout(torch.ones_like(x[:1]), share)
        return functional.dropout(x, share)

    def _drop_rows(self, rows: Tensor, layout: Layout, share: float) -> Tensor:
        """(N, H) with a share of values dropped; locked: the same ones at each step of a sequence."""
        if not self.training or share == 0.0:
            return rows
        if self.locked:
            kept = functional.dropout(rows.new_ones(layout.num_sequences, rows.shape[-1]), share)
            return rows * kept.index_select(0, layout.sequence_of_row)
        return functional.dropout(rows, share)

    def _last(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, H) -> (B, H): forward half from each sequence's last step, backward half from its first."""
        if self.directions == 1:
            return gather_last(steps, lengths)
        return torch.cat([gather_last(steps[..., : self.hidden], lengths), steps[0, :, self.hidden :]], dim=-1)


def _new_cell(cell: Cell, dim: int, hidden: int, nonlinearity: Literal["tanh", "relu"]) -> nn.RNNBase:
    if cell == "lstm":
        return nn.LSTM(dim, hidden)
    if cell == "gru":
        return nn.GRU(dim, hidden)
    return nn.RNN(dim, hidden, nonlinearity=nonlinearity)
