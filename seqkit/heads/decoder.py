"""The recurrent decoder that `attend` and `generate` share: from encoded steps to the symbols of a text.

It runs in two ways that give the same numbers. `step` goes from one symbol to the next, as a search does.
`teacher_forcing` reads a known text. Where no step depends on the readout of the one before, that is one call of each
recurrent layer over all steps and one product for attention, and the softmax over the vocabulary is left to the caller,
for real steps only. (A packed sequence would be slower on every device.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from seqkit.heads import chunked_cross_entropy
from seqkit.heads.attention import Attention, Memory
from seqkit.heads.option_types import DecoderOptions
from seqkit.interfaces import Encoded
from seqkit.kernels import (
    CellState,
    FeedingWeights,
    RowOrder,
    choose,
    dropout,
    feed_readouts,
    lay_out,
    pad,
    run_padded,
    run_unpadded,
    unpad,
)
from seqkit.kernels.ragged import real_steps
from seqkit.layers.embedding import Embedding
from seqkit.layers.initialisers import initialise_cell
from seqkit.uploads import from_lengths, real_lengths


@dataclass(frozen=True)
class DecoderInput:
    """What a decoder reads and what stays the same at every step. Rows are examples.

    Attributes:
        memory: the encoded steps for attention; None without attention.
        vector: (B, H) the encoder's last vector, part of every step's input; None with attention.
    """

    memory: Memory | None
    vector: Tensor | None

    def take_rows(self, index: Tensor) -> Self:
        """The input of these examples only."""
        memory = None if self.memory is None else self.memory.take_rows(index)
        return type(self)(memory, None if self.vector is None else self.vector[index])


@dataclass(frozen=True)
class DecoderState:
    """What a decoder carries from step to step, for K beams of each example.

    Attributes:
        layers: (h,) or (h, c), each (B, K, L, H).
        readout: (B, K, R) the readout of the step before; None without input feeding.
        coverage: (B, K, T) the sum of the weights of each encoded step so far; None without coverage.
    """

    layers: tuple[Tensor, ...]
    readout: Tensor | None = None
    coverage: Tensor | None = None

    def take_rows(self, index: Tensor) -> Self:
        """The state of these examples only."""
        return self._map(lambda tensor: tensor[index])

    def take_beams(self, parents: Tensor) -> Self:
        """The state of new beams; (B, K') says which old beam of its example each of them continues."""
        rows = torch.arange(parents.shape[0], device=parents.device)[:, None]
        return self._map(lambda tensor: tensor[rows, parents])

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(
            tuple(function(layer) for layer in self.layers),
            None if self.readout is None else function(self.readout),
            None if self.coverage is None else function(self.coverage),
        )


@dataclass(frozen=True)
class TeacherForced:
    """The result of `teacher_forcing`, real steps only, in the order of a flattened (B, U) block.

    Attributes:
        readout: (N, R).
        coverage_loss: () the sum over steps of min(coverage, weight) (See et al. 2017, arXiv:1704.04368); None without
            coverage.
    """

    readout: Tensor
    coverage_loss: Tensor | None = None


class Decoder(nn.Module):
    """Embedding, recurrent layers, attention if wanted, a readout, and scores of the next symbol.

    With attention the readout is tanh(W [context; h]) (Luong et al. 2015, arXiv:1508.04025); with input feeding it is
    part of the next step's input. Without attention, the encoder's last vector is part of each step's input (Cho et al.
    2014, arXiv:1406.1078) and the readout is tanh(W h).

    Args:
        dim: H, the width of an encoded step.
        size: V, how many symbols.
        options: its shape.
    """

    def __init__(self, dim: int, size: int, options: DecoderOptions) -> None:
        super().__init__()
        hidden = dim if options.hidden is None else options.hidden
        self.hidden, self.depth, self.start = hidden, options.layers, options.start
        self.input_feeding, self.coverage = options.input_feeding, options.coverage
        self.tensors_per_state = 2 if options.cell == "lstm" else 1
        self.dropout, self.input_dropout = options.dropout, options.input_dropout
        self.embedding = Embedding(size, options.embedding, drop=options.drop)
        score = options.attention
        self.attention = Attention(dim, hidden, score=score, coverage=options.coverage) if score else None
        self.readout_width = options.embedding if options.tied else hidden
        width = options.embedding + (self.readout_width if options.input_feeding else 0) + (0 if score else dim)
        cell_type = nn.LSTM if options.cell == "lstm" else nn.GRU
        self.cells = nn.ModuleList(
            cell_type(width if layer == 0 else hidden, hidden) for layer in range(options.layers)
        )
        states = self.tensors_per_state * options.layers * hidden
        self.bridge = nn.Linear(dim, states) if options.start != "zero" else None
        self.readout = nn.Linear(hidden + (dim if score else 0), self.readout_width)
        self.weight = None if options.tied else nn.Parameter(torch.empty(size, self.readout_width))
        self.bias = nn.Parameter(torch.zeros(size))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for layer in (self.bridge, self.readout):
            if layer is not None:
                init.xavier_uniform_(layer.weight)
                init.zeros_(layer.bias)
        if self.weight is not None:
            init.xavier_uniform_(self.weight)
        for cell in self.cells:
            assert isinstance(cell, nn.RNNBase)
            initialise_cell(cell, "xavier_uniform", "orthogonal", keep_bias=1.0 if isinstance(cell, nn.LSTM) else None)

    def begin(self, encoded: Encoded) -> tuple[DecoderInput, DecoderState]:
        """The input of every step, and the state before the first symbol, with one beam."""
        memory = None if self.attention is None else self.attention.build_memory(encoded)
        source = DecoderInput(memory, encoded.last if memory is None else None)
        batch = encoded.last.shape[0]
        if self.bridge is None:
            layers = encoded.last.new_zeros(self.tensors_per_state, batch, 1, self.depth, self.hidden)
        else:
            layers = torch.tanh(self.bridge(self._summary(encoded)))
            layers = layers.view(batch, self.tensors_per_state, 1, self.depth, self.hidden).transpose(0, 1)
        readout = layers.new_zeros(batch, 1, self.readout_width) if self.input_feeding else None
        coverage = layers.new_zeros(batch, 1, encoded.steps.shape[1]) if self.coverage else None
        return source, DecoderState(tuple(layers.unbind(0)), readout, coverage)

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of the tensors of `to_tensors`, with those of their axes."""
        axes: dict[str, tuple[str, ...]] = {"vector": ("batch", "width")}
        if self.attention is not None:
            axes = {
                "memory_steps": ("batch", "steps", "width"),
                "memory_keys": ("batch", "steps", "keys"),
                "memory_padding": ("batch", "steps"),
            }
        axes |= {f"state_{number}": ("batch", "layers", "width") for number in range(self.tensors_per_state)}
        if self.input_feeding:
            axes["readout"] = ("batch", "readout")
        if self.coverage:
            axes["coverage"] = ("batch", "steps")
        return axes

    def to_tensors(self, source: DecoderInput, state: DecoderState) -> dict[str, Tensor]:
        """What the decoder reads at every step, and its state with one beam, by names: what an export carries."""
        memory = source.memory
        tensors = (
            {"vector": source.vector}
            if memory is None
            else {"memory_steps": memory.steps, "memory_keys": memory.keys, "memory_padding": memory.padding}
        )
        return {name: tensor for name, tensor in tensors.items() if tensor is not None} | self.state_tensors(state)

    def state_tensors(self, state: DecoderState) -> dict[str, Tensor]:
        """A state with one beam, by names."""
        tensors = {f"state_{number}": tensor for number, tensor in enumerate(state.layers)}
        others = {"readout": state.readout, "coverage": state.coverage}
        tensors |= {name: tensor for name, tensor in others.items() if tensor is not None}
        return {name: tensor.squeeze(1) for name, tensor in tensors.items()}

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> tuple[DecoderInput, DecoderState]:
        """The reverse of `to_tensors`."""
        memory = None
        if self.attention is not None:
            memory = Memory(tensors["memory_steps"], tensors["memory_keys"], tensors["memory_padding"])
        state = DecoderState(
            tuple(tensors[f"state_{number}"][:, None] for number in range(self.tensors_per_state)),
            tensors["readout"][:, None] if self.input_feeding else None,
            tensors["coverage"][:, None] if self.coverage else None,
        )
        return DecoderInput(memory, tensors.get("vector")), state

    def _summary(self, encoded: Encoded) -> Tensor:
        """(B, H) the vector that the first state is computed from."""
        if self.start == "last":
            return encoded.last
        steps = encoded.steps
        return steps.sum(dim=1) / from_lengths(real_lengths, encoded.lengths, steps.shape[1], steps.device)[:, None]

    def logits(self, readout: Tensor) -> Tensor:
        """(..., R) -> (..., V) scores of the next symbol, in single precision."""
        return functional.linear(readout, self._output_weight(), self.bias).float()

    def nats(self, readout: Tensor, y: Tensor, smoothing: float) -> Tensor:
        """(N, R), (N,) the true next symbols -> () the sum of their negative log-probabilities."""
        return chunked_cross_entropy.nats(readout, self._output_weight(), self.bias, y, smoothing=smoothing)

    def _output_weight(self) -> Tensor:
        """(V, R)"""
        return self.embedding.weight if self.weight is None else self.weight

    def step(
        self, source: DecoderInput, state: DecoderState, symbols: Tensor
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """(B, K) symbols read -> (B, K, R) readout, the next state, and (B, K, T) weights of attention or None."""
        return self._step(source, state, self._embed(symbols))

    def _embed(self, symbols: Tensor) -> Tensor:
        """(...) -> (..., E)."""
        return self._drop(self.embedding(symbols, symbols)[0], self.input_dropout)

    def _step(self, source: DecoderInput, state: DecoderState, x: Tensor) -> tuple[Tensor, DecoderState, Tensor | None]:
        batch, beams = x.shape[:2]
        if state.readout is not None:
            x = torch.cat([x, state.readout], dim=-1)
        if source.vector is not None:
            x = torch.cat([x, source.vector[:, None].expand(-1, beams, -1)], dim=-1)
        x, layers = self._step_layers(x.flatten(0, 1), state.layers)
        queries, coverage, weights = x.view(batch, beams, -1), state.coverage, None
        if self.attention is not None:
            assert source.memory is not None
            context, weights = self.attention(queries, source.memory, state.coverage)
            queries = torch.cat([context, queries], dim=-1)
            coverage = None if coverage is None else coverage + weights
        readout = self._drop(torch.tanh(self.readout(queries)), self.dropout)
        return readout, DecoderState(layers, readout if self.input_feeding else None, coverage), weights

    def _step_layers(self, x: Tensor, layers: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B x K, D) and the state's layers -> (B x K, H) the last layer's output, and the layers of the next state."""
        batch, beams = layers[0].shape[:2]
        states: list[tuple[Tensor, ...]] = []
        for number, cell in enumerate(self.cells):
            assert isinstance(cell, nn.RNNBase)
            if number:
                x = self._drop(x, self.dropout)
            previous = [tensor[:, :, number].flatten(0, 1) for tensor in layers]
            if isinstance(cell, nn.LSTM):
                h, c = torch.lstm_cell(x, previous, *cell.all_weights[0])
                states.append((h, c))
            else:
                h = torch.gru_cell(x, previous[0], *cell.all_weights[0])
                states.append((h,))
            x = h
        return x, tuple(
            torch.stack(tensors, dim=1).view(batch, beams, self.depth, -1) for tensors in zip(*states, strict=True)
        )

    def teacher_forcing(
        self, source: DecoderInput, state: DecoderState, symbols: Tensor, lengths: Tensor
    ) -> TeacherForced:
        """Read known texts from the first state on.

        Args:
            source: the input of every step.
            state: the state before the first symbol, with one beam.
            symbols: (B, U) the symbols read, the start symbol first.
            lengths: (B,) how many of them are real, on the CPU.
        """
        x = self._embed(symbols)
        if self.input_feeding or self.coverage:
            return self._step_by_step(source, state, x, lengths)
        steps = symbols.shape[1]
        if source.vector is not None:
            x = torch.cat([x, source.vector[:, None].expand(-1, steps, -1)], dim=-1)
        queries = self._run_layers(x, lengths, state)
        if self.attention is not None:
            assert source.memory is not None
            context, _ = self.attention(queries, source.memory)
            queries = torch.cat([context, queries], dim=-1)
        readout, order = torch.tanh(self.readout(real_steps(queries, lengths))), RowOrder.of_real_steps(lengths)
        return TeacherForced(self._drop(readout, self.dropout, order))

    def _run_layers(self, x: Tensor, lengths: Tensor, state: DecoderState) -> Tensor:
        """(B, U, D) -> (B, U, H) the recurrent layers over known texts."""
        cells = [cast(nn.RNNBase, cell) for cell in self.cells]
        initial: list[CellState] = [
            tuple(tensor[:, 0, number] for tensor in state.layers) for number in range(self.depth)
        ]
        dispatch = choose(cells[0], x.device, cells[0].all_weights[0][1].dtype)
        batch, steps = x.shape[:2]
        if dispatch.engine is None:
            x = x.transpose(0, 1)
            for number, cell in enumerate(cells):
                x = self._drop(x, self.dropout, RowOrder(batch, time_first=True)) if number else x
                x = run_padded(cell, x, lengths, initial[number]).steps
            return x.transpose(0, 1)
        layout = dispatch.lay_out(lengths, steps, directions=1, device=x.device)
        rows = unpad(x.flatten(0, 1), layout.flat_index)
        for number, cell in enumerate(cells):
            rows = self._drop(rows, self.dropout, RowOrder(steps, layout.flat_index)) if number else rows
            states = [initial[number]]
            rows = run_unpadded(
                [cell], rows, layout, states, engine=dispatch.engine, threads=torch.get_num_threads()
            ).rows
        return pad(rows, layout.flat_index, batch * steps).view(batch, steps, -1)

    def _step_by_step(self, source: DecoderInput, state: DecoderState, x: Tensor, lengths: Tensor) -> TeacherForced:
        if self._has_written_out_backward(x):
            return TeacherForced(self._feed_readouts(source, state, x, lengths))
        readouts, overlaps = [], []
        for t in range(x.shape[1]):
            coverage = state.coverage
            readout, state, weights = self._step(source, state, x[:, t, None])
            readouts.append(readout)
            if coverage is not None and weights is not None:
                overlaps.append(coverage_overlap(coverage, weights))
        coverage_loss = real_steps(torch.cat(overlaps, dim=1)[..., None], lengths).sum() if overlaps else None
        return TeacherForced(real_steps(torch.cat(readouts, dim=1), lengths), coverage_loss)

    def _has_written_out_backward(self, x: Tensor) -> bool:
        """Whether `feed_readouts` computes what this decoder is, for such numbers on such a device."""
        is_plain = self.depth == 1 and isinstance(self.cells[0], nn.LSTM) and not self.coverage
        scores_by_products = self.attention is not None and self.attention.weigh is None
        is_traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        is_full_precision = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
        return x.device.type == "cpu" and is_plain and scores_by_products and is_full_precision and not is_traced

    def _feed_readouts(self, source: DecoderInput, state: DecoderState, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, U, E) -> (N, R), real steps only, in the order of a flattened (B, U) block."""
        memory, cell = source.memory, self.cells[0]
        assert memory is not None
        assert isinstance(cell, nn.LSTM)
        assert state.readout is not None
        batch, steps = x.shape[:2]
        layout = lay_out(lengths, steps)
        mask = None
        if self.training and self.dropout > 0.0:  # drawn step by step, as a step draws
            ones = x.new_ones(batch, 1, self.readout_width)
            masks = [self._drop(ones, self.dropout) for _ in range(steps)]
            mask = unpad(torch.cat(masks, dim=1).flatten(0, 1), layout.flat_index)
        w, r, *biases = cell.all_weights[0]
        weights = FeedingWeights(w, r, biases[0] + biases[1], self.readout.weight, self.readout.bias)
        initial = [*(tensor[:, 0, 0] for tensor in state.layers), state.readout[:, 0]]
        penalty = x.new_zeros(memory.padding.shape).masked_fill_(memory.padding, -torch.inf)
        rows = feed_readouts(
            weights,
            unpad(x.flatten(0, 1), layout.flat_index),
            mask,
            [tensor.index_select(0, layout.order) for tensor in initial],
            [tensor.index_select(0, layout.order) for tensor in (memory.steps, memory.keys, penalty)],
            layout.groups[0].active,
        )
        return rows.index_select(0, layout.flat_index.argsort())

    def _drop(self, x: Tensor, share: float, order: RowOrder | None = None) -> Tensor:
        return dropout(x, share, order) if self.training and share > 0.0 else x


def coverage_overlap(coverage: Tensor, weights: Tensor) -> Tensor:
    """(B, K, T) twice -> (B, K) how much of a step's weight went where weight had gone before (See et al. 2017)."""
    return torch.minimum(coverage, weights).sum(dim=-1)
