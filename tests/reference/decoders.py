"""A decoder with attention, one example and one step at a time, from the papers' equations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp

import torch
from torch import Tensor

from seqkit.heads.attention import Attention
from seqkit.heads.decoder import Decoder
from tests.reference import cells


def scores(attention: Attention, query: Tensor, steps: Tensor, coverage: Tensor | None = None) -> list[float]:
    """The score of each of (T, H) steps for one (A,) query."""
    result = []
    for t, step in enumerate(steps):
        covered = 0.0 if coverage is None else float(coverage[t])
        if attention.score == "additive":
            inner = attention.key.weight @ step + attention.key.bias + attention.query.weight @ query
            if attention.covered is not None:
                inner = inner + attention.covered * covered
            result.append(float(attention.weigh @ torch.tanh(inner)))
            continue
        key = step if attention.score == "dot" else attention.key.weight @ step
        extra = 0.0 if attention.covered is None else float(attention.covered) * covered
        result.append(float(query @ key) + extra)
    return result


@torch.no_grad()
def attend(attention: Attention, query: Tensor, steps: Tensor, coverage: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The context (H,), and the weight of each step (T,)."""
    raw_scores = scores(attention, query, steps, coverage)
    top = max(raw_scores)
    exponentials = [exp(score - top) for score in raw_scores]
    weights = torch.tensor([share / sum(exponentials) for share in exponentials])
    return sum(weight * step for weight, step in zip(weights, steps, strict=True)), weights


@dataclass
class ReferenceDecoder:
    """Reads one text step by step with a decoder's weights.

    Attributes:
        decoder: has the weights.
        steps: (T, H) the encoded steps, all real.
        last: (H,) the encoder's last vector.
        states: of each layer.
        previous_readout: with input feeding, the readout of the step before.
        coverage: (T,) the sum of the weights so far.
        coverage_loss: see `TeacherForced`.
        alignment: the step with the largest weight at each symbol.
    """

    decoder: Decoder
    steps: Tensor
    last: Tensor
    states: list[cells.State] = field(default_factory=list)
    previous_readout: Tensor | None = None
    coverage: Tensor = field(default_factory=lambda: torch.zeros(0))
    coverage_loss: float = 0.0
    alignment: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        decoder = self.decoder
        self.previous_readout = torch.zeros(decoder.readout_width) if decoder.input_feeding else None
        self.coverage = torch.zeros(len(self.steps))
        summary = self.last if decoder.start == "last" else self.steps.mean(dim=0)
        size = decoder.tensors_per_state * decoder.depth * decoder.hidden
        flat_state = (
            torch.zeros(size)
            if decoder.bridge is None
            else torch.tanh(decoder.bridge.weight @ summary + decoder.bridge.bias)
        )
        tensors = flat_state.view(decoder.tensors_per_state, decoder.depth, decoder.hidden)
        self.states = [
            tuple(tensors[index, layer] for index in range(decoder.tensors_per_state)) for layer in range(decoder.depth)
        ]

    @torch.no_grad()
    def read(self, symbol: int) -> Tensor:
        """Read a symbol; (V,) the logarithms of the probabilities of the next one."""
        decoder = self.decoder
        x = decoder.embedding.weight[symbol]
        if self.previous_readout is not None:
            x = torch.cat([x, self.previous_readout])
        if decoder.attention is None:
            x = torch.cat([x, self.last])
        for layer, cell in enumerate(decoder.cells):
            step = cells.lstm if decoder.tensors_per_state == 2 else cells.gru
            self.states[layer] = step(x, self.states[layer], tuple(cell.all_weights[0]))
            x = self.states[layer][0]
        if decoder.attention is not None:
            context, weights = attend(decoder.attention, x, self.steps, self.coverage if decoder.coverage else None)
            self.coverage_loss += sum(min(float(a), float(b)) for a, b in zip(self.coverage, weights, strict=True))
            self.coverage = self.coverage + weights
            self.alignment.append(int(weights.argmax()))
            x = torch.cat([context, x])
        readout = torch.tanh(decoder.readout.weight @ x + decoder.readout.bias)
        self.previous_readout = readout if decoder.input_feeding else None
        out = decoder.embedding.weight if decoder.weight is None else decoder.weight
        return (out @ readout + decoder.bias).log_softmax(dim=0)


def nats(decoder: ReferenceDecoder, start: int, symbols: Sequence[int]) -> list[float]:
    """-log of the probability of each symbol of a text, its end included."""
    previous, result = start, []
    for symbol in symbols:
        result.append(-float(decoder.read(previous)[symbol]))
        previous = symbol
    return result
