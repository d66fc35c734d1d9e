"""The encoder behind `rnn`, `lstm` and `gru`: stacked recurrent layers with dropout, sums or gates, and norms."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.encoders.option_types import RecurrentOptions
from seqkit.encoders.stacking import highway_gates, pass_on
from seqkit.interfaces import Encoded, Encoder, State, padding_of
from seqkit.kernels import (
    CellState,
    Dispatch,
    Layout,
    PaddedOutput,
    RowOrder,
    StackSteps,
    all_full,
    cell_step,
    choose,
    draw_uniform,
    dropout,
    dropout_weights,
    gather_last,
    pad,
    run_padded,
    run_unpadded,
    stack_steps,
    unpad,
)
from seqkit.layers.initialisers import initialise_cell

CellName: TypeAlias = Literal["rnn", "lstm", "gru"]

RANDOM_RANGE: Final = 0.1
"""Random states before the first step are drawn from minus this to this."""


class Recurrent(Encoder):
    """Stacked layers of one cell.

    A carried state is a tuple of tensors (B, L, H): (h,) for rnn and gru, (h, c) for lstm. With two directions, the
    state has (B, 2L, H), layer by layer with the forward direction first; a decoder may start from it, but it cannot
    be carried on with.
    """

    def __init__(self, cell: CellName, dim: int, options: RecurrentOptions) -> None:
        super().__init__()
        self.cell_name, self.options = cell, options
        self.hidden, self.layers, self.directions = options.hidden, options.layers, 2 if options.bidirectional else 1
        self.dropout, self.input_dropout = options.dropout, options.input_dropout
        self.output_dropout, self.locked = options.output_dropout, options.locked
        self.residual, self.weight_drop = options.residual, options.weight_drop
        self._dropped: list[nn.RNNBase] | None = None
        self.out_dim = self.hidden * self.directions
        self.causal = not options.bidirectional
        self.states = 2 if cell == "lstm" else 1
        widths = (self.out_dim if layer else dim for layer in range(self.layers))
        self.cells = nn.ModuleList(_new_cell(cell, width, options) for width in widths for _ in range(self.directions))
        has_norms, learns_initial = options.layer_norm, options.initial == "learned"
        self.norms = nn.ModuleList(nn.LayerNorm(self.out_dim) for _ in range(self.layers)) if has_norms else None
        # (h and c) x (layers and directions) x H. It begins at the values of "zero".
        initial_shape = (self.states, len(self.cells), self.hidden)
        self.initial = nn.Parameter(torch.zeros(initial_shape)) if learns_initial else None
        self.draws_initial = options.initial == "random"
        for module in self.cells:
            assert isinstance(module, nn.RNNBase)
            kept = options.update_bias if cell == "gru" else options.forget_bias
            initialise_cell(
                module, options.input_init, options.recurrent_init, keep_bias=kept, new_bias=options.input_bias
            )
        self.highway = highway_gates(options, dim, self.out_dim)

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,), state as it came from `Encoded.state` or None -> Encoded with H = hidden x directions.

        Raises:
            ValueError: a state is carried into two directions, or it or the lengths do not fit this batch.
        """
        self._check(x, lengths, state)
        if not self.training or self.weight_drop == 0.0:
            return self._run(x, lengths, state)
        cells = [self._cell(number) for number in range(len(self.cells))]
        self._dropped = [_without_some(cell, self.weight_drop, number) for number, cell in enumerate(cells)]
        try:
            return self._run(x, lengths, state)
        finally:
            self._dropped = None

    def _run(self, x: Tensor, lengths: Tensor, state: State | None) -> Encoded:
        """By the implementation that suits the device and the batch."""
        if torch.compiler.is_exporting():
            return self._run_padded(x, lengths, state)
        if x.shape[1] == 0:  # no sequence at all: torch's layers want a step nevertheless
            encoded = self._run(functional.pad(x, (0, 0, 0, 1)), lengths, state)
            return replace(encoded, steps=encoded.steps[:, :0])
        if x.shape[1] == 1 and x.device.type == "cpu" and not torch.is_grad_enabled() and all_full(lengths, 1):
            return self._run_one_step(x, lengths, state)
        dispatch = choose(self._cell(0), x.device, self._cell(0).all_weights[0][1].dtype)
        if dispatch.engine is not None:
            return self._run_unpadded(x, lengths, state, dispatch)
        return self._run_padded(x, lengths, state)

    def stepper(self) -> tuple[StackSteps, State] | None:
        """The native steps of this stack in one direction, and the state (layers, H) before the first step.

        None where there are none. Weights are copied: what is trained later is not seen.
        """
        if self.directions == 2:
            return None
        cells = [self._cell(number) for number in range(self.layers)]
        norms = None if self.norms is None else [norm for norm in self.norms if isinstance(norm, nn.LayerNorm)]
        steps = stack_steps(cells, norms, residual=self.residual, highway=self._gates())
        if steps is None:
            return None
        zero = cells[0].all_weights[0][1].new_zeros(self.states, self.layers, self.hidden)
        return steps, tuple((zero if self.initial is None else self.initial.detach()).unbind())

    def look_ahead(self, x: Tensor, keep: int, state: State | None) -> tuple[Tensor, State]:
        """The first `keep` steps of a piece, read in both directions; the backward one begins at the piece's end.

        Args:
            x: (n, D), the steps to be kept and those that are looked at ahead of them.
            keep: how many steps are kept, at least 1.
            state: (h,) or (h, c) of the forward direction before the piece, each (layers, H); None: at the beginning.

        Returns:
            (keep, 2 H), and the forward state after the kept steps.
        """
        count = x.shape[0]
        start = [tuple(tensor[0] for tensor in cell) for cell in self._initial_states(x[None], None)]
        after: list[CellState] = []

        def run_layer(x: Tensor, cell_numbers: range) -> Tensor:
            forward, backward = cell_numbers
            layer = forward // 2
            before = start[forward] if state is None else tuple(tensor[layer] for tensor in state)
            kept = run_padded(self._cell(forward), x[:keep], torch.tensor([keep]), _one_row(before))
            after.append(tuple(tensor[0] for tensor in kept.final_state()))
            steps = [kept.steps]
            if count > keep:
                rest = torch.tensor([count - keep])
                steps.append(run_padded(self._cell(forward), x[keep:], rest, _one_row(after[-1])).steps)
            whole = torch.tensor([count])
            back = run_padded(self._cell(backward), x, whole, _one_row(start[backward]), reverse=True)
            return torch.cat([torch.cat(steps), back.steps], dim=-1)

        out = self._stack(x[:, None], run_layer, self._drop)[:keep, 0]
        return out, tuple(torch.stack(tensors) for tensors in zip(*after, strict=True))

    def _stack(
        self,
        x: Tensor,
        run_layer: Callable[[Tensor, range], Tensor],
        drop: Callable[[Tensor, float], Tensor],
    ) -> Tensor:
        """All layers with dropout, sums or gates, and norms: (..., D) -> (..., directions x H).

        Args:
            x: the input in any arrangement of steps.
            run_layer: (input, the numbers of the layer's cells) -> its output (..., directions x H).
            drop: (values, share to drop) -> values.
        """
        x = drop(x, self.input_dropout)
        for layer in range(self.layers):
            if layer:
                x = drop(x, self.dropout)
            y = run_layer(x, range(layer * self.directions, (layer + 1) * self.directions))
            x = pass_on(x, y, layer, residual=self.residual, highway=self.highway, norms=self.norms)
        return drop(x, self.output_dropout)

    def _run_one_step(self, x: Tensor, lengths: Tensor, state: State | None) -> Encoded:
        """(B, 1, D): one step of each cell. Over a single step both directions compute alike."""
        initial, final_states = self._initial_states(x, state), list[CellState]()

        def run_layer(x: Tensor, cell_numbers: range) -> Tensor:
            states = [cell_step(self._cell(number), x[0], initial[number]) for number in cell_numbers]
            final_states.extend(states)
            return _concatenate([layer_state[0] for layer_state in states])[None]

        steps = self._stack(x.transpose(0, 1), run_layer, self._drop)  # (1, B, H)
        return Encoded(steps.transpose(0, 1), lengths, steps[0], lambda: _stack_states(final_states))

    def _run_padded(self, x: Tensor, lengths: Tensor, state: State | None) -> Encoded:
        """Every layer and direction by torch's own call over the padded batch."""
        time = x.shape[1]
        initial, outputs = self._initial_states(x, state), list[PaddedOutput]()

        def run_layer(x: Tensor, cell_numbers: range) -> Tensor:
            for direction, number in enumerate(cell_numbers):
                cell, reverse = self._cell(number), direction == 1
                outputs.append(run_padded(cell, x, lengths, initial[number], reverse=reverse))
            return _concatenate([output.steps for output in outputs[-self.directions :]])

        x = x.transpose(0, 1)
        padding = None if all_full(lengths, time) else padding_of(lengths, time, x.device).t()[..., None]
        if padding is not None:
            # No real step depends on padding; the zeros keep a NaN in it out of the weights' gradients.
            x = x.masked_fill(padding, 0.0)
        steps = self._stack(x, run_layer, self._drop)  # (T, B, H)
        if padding is not None:
            steps = steps.masked_fill(padding, 0.0)
        return Encoded(
            steps.transpose(0, 1),
            lengths,
            self._last_outputs(steps, lengths),
            lambda: _stack_states([output.final_state() for output in outputs]),
        )

    def _run_unpadded(self, x: Tensor, lengths: Tensor, state: State | None, dispatch: Dispatch) -> Encoded:
        """Real steps only, (N, D), from the first layer to the last; the padding returns at the end."""
        engine = dispatch.engine
        assert engine is not None
        batch, time = x.shape[:2]
        threads = torch.get_num_threads()
        layout = dispatch.lay_out(lengths, time, directions=self.directions, device=x.device)
        has_initial = state is not None or self.initial is not None or (self.draws_initial and self.training)
        initial = self._initial_states(x, state) if has_initial else [None] * len(self.cells)
        final_states: list[Callable[[], CellState]] = []

        def run_layer(rows: Tensor, cell_numbers: range) -> Tensor:
            cells = [self._cell(number) for number in cell_numbers]
            states = [initial[number] for number in cell_numbers]
            output = run_unpadded(cells, rows, layout, states, engine=engine, threads=threads)
            final_states.extend(output.final_states)
            return output.rows

        rows = unpad(x.flatten(0, 1), layout.flat_index)
        rows = self._stack(rows, run_layer, partial(self._drop, layout=layout))
        last = rows[:, : self.hidden].index_select(0, layout.last_row)
        if self.directions == 2:
            last = torch.cat([last, rows[:, self.hidden :].index_select(0, layout.first_row)], dim=-1)
        steps = pad(rows, layout.flat_index, batch * time).view(batch, time, rows.shape[1])
        return Encoded(steps, lengths, last, lambda: _stack_states([final_state() for final_state in final_states]))

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}, layers={self.layers}, directions={self.directions}"

    def _gates(self) -> list[nn.Linear | None]:
        """The highway gate of each layer."""
        gates = {} if self.highway is None else dict(self.highway.items())
        return [gate if isinstance(gate := gates.get(str(layer)), nn.Linear) else None for layer in range(self.layers)]

    def _cell(self, number: int) -> nn.RNNBase:
        if self._dropped is not None:
            return self._dropped[number]
        cell = self.cells[number]
        assert isinstance(cell, nn.RNNBase)
        return cell

    def _check(self, x: Tensor, lengths: Tensor, state: State | None) -> None:
        if lengths.device.type != "cpu" or lengths.shape != x.shape[:1]:
            raise ValueError(
                f"lengths must be ({x.shape[0]},) on the CPU, not {tuple(lengths.shape)} on {lengths.device}"
            )
        # What is traced or compiled cannot look at values.
        if torch._C._get_tracing_state() is None and not torch.compiler.is_compiling():
            is_bad = (lengths < 1) | (lengths > x.shape[1])
            if bool(is_bad.any()):
                row = int(is_bad.nonzero()[0])
                raise ValueError(f"lengths must be from 1 to {x.shape[1]}; that of row {row} is {int(lengths[row])}")
        if state is None:
            return
        if self.directions == 2:
            raise ValueError(
                "a state cannot be carried on in two directions: the backward one starts at the end, which is not "
                "known before the sequence is over; set encoder.bidirectional to false"
            )
        shape = (x.shape[0], len(self.cells), self.hidden)
        if len(state) != self.states or any(tuple(tensor.shape) != shape for tensor in state):
            shapes = [tuple(tensor.shape) for tensor in state]
            raise ValueError(f"the state carried on has shapes {shapes}; this encoder needs {self.states} of {shape}")

    def _initial_states(self, x: Tensor, state: State | None) -> list[CellState]:
        """For each layer and direction, (h,) or (h, c) before the first step, each (B, H)."""
        batch, count = x.shape[0], len(self.cells)
        if state is not None:
            return [tuple(tensor[:, number] for tensor in state) for number in range(count)]
        if self.initial is not None:
            learned = self.initial
            return [
                tuple(learned[kind, number].expand(batch, -1) for kind in range(self.states)) for number in range(count)
            ]
        if self.draws_initial and self.training:
            drawn = draw_uniform((batch, count * self.states * self.hidden), x.device).to(x.dtype)
            drawn = ((2.0 * drawn - 1.0) * RANDOM_RANGE).view(batch, count, self.states, self.hidden)
            return [tuple(drawn[:, number].unbind(dim=1)) for number in range(count)]
        zero = x.new_zeros(batch, self.hidden)
        return [(zero,) * self.states] * count

    def _drop(self, values: Tensor, share: float, layout: Layout | None = None) -> Tensor:
        """(T, B, H), or rows (N, H) of a layout, with a share of the values dropped.

        A locked dropout draws one mask (H,) for each sequence and uses it at every step.
        """
        if not self.training or share == 0.0:
            return values
        if not self.locked and layout is None:
            return dropout(values, share, RowOrder(values.shape[1], time_first=True))
        if not self.locked and layout is not None:
            return dropout(values, share, RowOrder(layout.padded_length, layout.flat_index))
        batch = values.shape[1] if layout is None else layout.num_sequences
        mask = dropout(values.new_ones(batch, values.shape[-1]), share)
        return values * (mask if layout is None else mask.index_select(0, layout.sequence_of_row))

    def _last_outputs(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, H) -> (B, H): forward half from each sequence's last step, backward half from its first."""
        if self.directions == 1:
            return gather_last(steps, lengths)
        last = gather_last(steps, lengths)  # whole rows, because half of them would have to be copied first
        return torch.cat([last[:, : self.hidden], steps[0, :, self.hidden :]], dim=-1)


def _without_some(cell: nn.RNNBase, share: float, number: int) -> nn.RNNBase:
    """A cell like this one, with a share of its recurrent weights at zero; gradients go to the weights of this one."""
    dropped = copy.copy(cell)
    weights = cell.weight_hh_l0
    assert isinstance(weights, Tensor)
    dropped._parameters = {**cell._parameters, "weight_hh_l0": dropout_weights(weights, share, number)}  # type: ignore[dict-item]
    return dropped


def _one_row(state: CellState) -> CellState:
    """(H,) each -> (1, H) each."""
    return tuple(tensor[None] for tensor in state)


def _concatenate(outputs: Sequence[Tensor]) -> Tensor:
    """(..., H) of each direction -> (..., directions x H)."""
    return torch.cat(list(outputs), dim=-1) if len(outputs) > 1 else outputs[0]


def _stack_states(states: Sequence[CellState]) -> State:
    """(h,) or (h, c), each (B, H), of every layer and direction -> the same, each (B, layers x directions, H)."""
    if len(states) == 1:
        return tuple(tensor[:, None] for tensor in states[0])
    return tuple(torch.stack(tensors, dim=1) for tensors in zip(*states, strict=True))


def _new_cell(cell: CellName, dim: int, options: RecurrentOptions) -> nn.RNNBase:
    if cell == "lstm":
        return nn.LSTM(dim, options.hidden)
    if cell == "gru":
        return nn.GRU(dim, options.hidden)
    assert options.nonlinearity is not None
    return nn.RNN(dim, options.hidden, nonlinearity=options.nonlinearity)
