"""The recurrent decoder that `attend` and `generate` share: from what an encoder says to the symbols of a text.

There are two ways through it that give the same numbers. `step` goes from one symbol to the next, and is what a search
does. `teach` reads a text that is known: where no step depends on what the decoder itself made of the one before, the
recurrence is one padded call over all steps, attention one product, and the vocabulary's softmax is left to the
caller for real steps only. (A packed sequence would be slower on every device.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from seqkit.heads import chunked_cross_entropy
from seqkit.heads.attention import Attention, Memory, Score
from seqkit.interfaces import Encoded
from seqkit.kernels import run_padded, upload
from seqkit.kernels.ragged import real_steps
from seqkit.layers.embedding import Embedding

Cell: TypeAlias = Literal["lstm", "gru"]
Start: TypeAlias = Literal["last", "mean", "zero"]


@dataclass(frozen=True)
class DecoderInput:
    """What a text is written from. Rows are examples.

    Attributes:
        memory: what attention looks at, if there is attention.
        vector: (B, H) what every step is told, if it is told anything.
    """

    memory: Memory | None
    vector: Tensor | None

    def rows(self, index: Tensor) -> Self:
        """The source of some examples only."""
        memory = None if self.memory is None else self.memory.rows(index)
        return type(self)(memory, None if self.vector is None else self.vector[index])


@dataclass(frozen=True)
class DecoderState:
    """Where a decoder stands, K beams an example.

    Attributes:
        layers: (h,) or (h, c), each (B, K, L, H).
        fed: (B, K, R) the readout of the step before, where it is an input of the next one.
        coverage: (B, K, T) the weights that each encoded step has been given so far.
    """

    layers: tuple[Tensor, ...]
    fed: Tensor | None = None
    coverage: Tensor | None = None

    def rows(self, index: Tensor) -> Self:
        """The position of some examples only."""
        return self._each(lambda part: part[index])

    def beams(self, parents: Tensor) -> Self:
        """(B, K') for each new beam the old one that it goes on from."""
        rows = torch.arange(parents.shape[0], device=parents.device)[:, None]
        return self._each(lambda part: part[rows, parents])

    def _each(self, take: object) -> Self:
        assert callable(take)
        fed = None if self.fed is None else take(self.fed)
        return type(self)(
            tuple(take(part) for part in self.layers), fed, None if self.coverage is None else take(self.coverage)
        )


@dataclass(frozen=True)
class TeacherForced:
    """What `teach` gives, real steps only, in the order of a flattened (B, U) block.

    Attributes:
        readout: (N, R).
        twice: () sum over steps of what attention gave to encoded steps that it had given it already (See et al. 2017);
            None without coverage.
    """

    readout: Tensor
    twice: Tensor | None = None


class Decoder(nn.Module):
    """Embedding, recurrent layers, attention if wanted, a readout, and scores of the next symbol.

    With attention the readout is tanh(W [context; h]) (Luong et al. 2015, arXiv:1508.04025), and with `feed` it is part
    of the next step's input. Without, each input is put beside the encoder's last vector (Cho et al. 2014,
    arXiv:1406.1078) and the readout is tanh(W h).

    Args:
        dim: H, the width of an encoded step.
        size: V, how many symbols.
        cell: lstm or gru.
        hidden: width of a layer's state.
        layers: how many.
        embedding: width of a symbol's vector.
        dropout: share of the values dropped between layers and from the readout.
        input_dropout: share of the values dropped from the symbols' vectors.
        drop: share of the symbols read as unknown while training.
        tied: the symbols' vectors are the output weights too.
        start: where the state starts from: the encoder's last vector, the mean of its steps, or zero.
        attention: how encoded steps are scored; None: no attention.
        feed: the readout is part of the next input.
        coverage: attention knows what it has looked at.
    """

    def __init__(
        self,
        dim: int,
        size: int,
        *,
        cell: Cell,
        hidden: int,
        layers: int,
        embedding: int,
        dropout: float,
        input_dropout: float,
        drop: float,
        tied: bool,
        start: Start,
        attention: Score | None = None,
        feed: bool = False,
        coverage: bool = False,
    ) -> None:
        super().__init__()
        self.hidden, self.depth, self.start, self.feed, self.coverage = hidden, layers, start, feed, coverage
        self.states = 2 if cell == "lstm" else 1
        self.dropout, self.input_dropout = dropout, input_dropout
        self.embedding = Embedding(size, embedding, drop=drop)
        self.attention = Attention(dim, hidden, score=attention, coverage=coverage) if attention else None
        self.width = embedding if tied else hidden
        first = embedding + (self.width if feed else 0) + (0 if attention else dim)
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.cells = nn.ModuleList(kind(first if layer == 0 else hidden, hidden) for layer in range(layers))
        self.bridge = nn.Linear(dim, self.states * layers * hidden) if start != "zero" else None
        self.readout = nn.Linear(hidden + (dim if attention else 0), self.width)
        self.weight = None if tied else nn.Parameter(torch.empty(size, self.width))
        self.bias = nn.Parameter(torch.zeros(size))
        self._start_weights()

    @torch.no_grad()
    def _start_weights(self) -> None:
        for layer in (self.bridge, self.readout):
            if layer is not None:
                init.xavier_uniform_(layer.weight)
                init.zeros_(layer.bias)
        if self.weight is not None:
            init.xavier_uniform_(self.weight)
        for cell in self.cells:
            assert isinstance(cell, nn.RNNBase)
            w, r, w_bias, r_bias = cell.all_weights[0]
            for gate in torch.split(w, self.hidden):
                init.xavier_uniform_(gate)
            for gate in torch.split(r, self.hidden):
                init.orthogonal_(gate)
            init.zeros_(w_bias)
            init.zeros_(r_bias)
            if isinstance(cell, nn.LSTM):
                w_bias[self.hidden : 2 * self.hidden] = 1.0

    def begin(self, encoded: Encoded) -> tuple[DecoderInput, DecoderState]:
        """What the text is written from, and where the decoder stands before its first symbol, with one beam."""
        memory = None if self.attention is None else self.attention.remember(encoded)
        source = DecoderInput(memory, encoded.last if memory is None else None)
        batch = encoded.last.shape[0]
        if self.bridge is None:
            whole = encoded.last.new_zeros(self.states, batch, 1, self.depth, self.hidden)
        else:
            whole = torch.tanh(self.bridge(self._summary(encoded)))
            whole = whole.view(batch, self.states, 1, self.depth, self.hidden).transpose(0, 1)
        fed = whole.new_zeros(batch, 1, self.width) if self.feed else None
        coverage = whole.new_zeros(batch, 1, encoded.steps.shape[1]) if self.coverage else None
        return source, DecoderState(tuple(whole.unbind(0)), fed, coverage)

    def _summary(self, encoded: Encoded) -> Tensor:
        if self.start == "last":
            return encoded.last
        return encoded.steps.sum(dim=1) / upload(encoded.lengths, encoded.steps.device)[:, None]

    def logits(self, readout: Tensor) -> Tensor:
        """(..., R) -> (..., V) scores of the next symbol, in single precision."""
        return functional.linear(readout, self._out(), self.bias).float()

    def nats(self, readout: Tensor, true: Tensor, smoothing: float) -> Tensor:
        """(N, R), (N,) the symbols that came next -> () minus their log-probabilities, summed."""
        return chunked_cross_entropy.nats(readout, self._out(), self.bias, true, smoothing=smoothing)

    def _out(self) -> Tensor:
        """(V, R)"""
        return self.embedding.weight if self.weight is None else self.weight

    def step(
        self, source: DecoderInput, at: DecoderState, symbols: Tensor
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """(B, K) symbols read -> (B, K, R) readout, the next position, (B, K, T) weights of attention."""
        return self._step(source, at, self._read(symbols))

    def _read(self, symbols: Tensor) -> Tensor:
        """(..., ) -> (..., E)."""
        return self._drop(self.embedding(symbols, symbols)[0], self.input_dropout)

    def _step(self, source: DecoderInput, at: DecoderState, x: Tensor) -> tuple[Tensor, DecoderState, Tensor | None]:
        batch, beams = x.shape[:2]
        if at.fed is not None:
            x = torch.cat([x, at.fed], dim=-1)
        if source.vector is not None:
            x = torch.cat([x, source.vector[:, None].expand(-1, beams, -1)], dim=-1)
        x = x.flatten(0, 1)
        after: list[tuple[Tensor, ...]] = []
        for number, cell in enumerate(self.cells):
            assert isinstance(cell, nn.RNNBase)
            if number:
                x = self._drop(x, self.dropout)
            before = [part[:, :, number].flatten(0, 1) for part in at.layers]
            if isinstance(cell, nn.LSTM):
                h, c = torch.lstm_cell(x, before, *cell.all_weights[0])
                after.append((h, c))
            else:
                h = torch.gru_cell(x, before[0], *cell.all_weights[0])
                after.append((h,))
            x = h
        layers = tuple(torch.stack(part, dim=1).view(batch, beams, self.depth, -1) for part in zip(*after, strict=True))
        queries, coverage, weights = x.view(batch, beams, -1), at.coverage, None
        if self.attention is not None:
            assert source.memory is not None
            context, weights = self.attention(queries, source.memory, at.coverage)
            queries = torch.cat([context, queries], dim=-1)
            coverage = None if coverage is None else coverage + weights
        readout = self._drop(torch.tanh(self.readout(queries)), self.dropout)
        return readout, DecoderState(layers, readout if self.feed else None, coverage), weights

    def teach(self, source: DecoderInput, at: DecoderState, symbols: Tensor, lengths: Tensor) -> TeacherForced:
        """Read a known text, (B, U) symbols that the steps read and (B,) how many are real, on the CPU."""
        x = self._read(symbols)
        if self.feed or self.coverage:
            return self._one_by_one(source, at, x, lengths)
        steps = symbols.shape[1]
        if source.vector is not None:
            x = torch.cat([x, source.vector[:, None].expand(-1, steps, -1)], dim=-1)
        x = x.transpose(0, 1)
        for number, cell in enumerate(self.cells):
            assert isinstance(cell, nn.RNNBase)
            if number:
                x = self._drop(x, self.dropout)
            x = run_padded(cell, x, lengths, tuple(part[:, 0, number] for part in at.layers)).steps
        queries = x.transpose(0, 1)
        if self.attention is not None:
            assert source.memory is not None
            context, _ = self.attention(queries, source.memory)
            queries = torch.cat([context, queries], dim=-1)
        return TeacherForced(self._drop(torch.tanh(self.readout(real_steps(queries, lengths))), self.dropout))

    def _one_by_one(self, source: DecoderInput, at: DecoderState, x: Tensor, lengths: Tensor) -> TeacherForced:
        readouts, twice = [], []
        for t in range(x.shape[1]):
            covered = at.coverage
            readout, at, weights = self._step(source, at, x[:, t, None])
            readouts.append(readout)
            if covered is not None and weights is not None:
                twice.append(torch.minimum(covered, weights).sum(dim=-1))
        again = real_steps(torch.cat(twice, dim=1)[..., None], lengths).sum() if twice else None
        return TeacherForced(real_steps(torch.cat(readouts, dim=1), lengths), again)

    def _drop(self, x: Tensor, share: float) -> Tensor:
        return functional.dropout(x, share) if self.training and share > 0.0 else x
