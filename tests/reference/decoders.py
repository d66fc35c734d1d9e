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
    """Of each of (T, H) steps for one (A,) query."""
    found = []
    for t, step in enumerate(steps):
        seen = 0.0 if coverage is None else float(coverage[t])
        if attention.score == "additive":
            inner = attention.key.weight @ step + attention.key.bias + attention.query.weight @ query
            if attention.covered is not None:
                inner = inner + attention.covered * seen
            found.append(float(attention.weigh @ torch.tanh(inner)))
            continue
        key = step if attention.score == "dot" else attention.key.weight @ step
        extra = 0.0 if attention.covered is None else float(attention.covered) * seen
        found.append(float(query @ key) + extra)
    return found


@torch.no_grad()
def look(attention: Attention, query: Tensor, steps: Tensor, coverage: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What is seen (H,), and the weight of each step (T,)."""
    raw = scores(attention, query, steps, coverage)
    top = max(raw)
    shares = [exp(each - top) for each in raw]
    weights = torch.tensor([share / sum(shares) for share in shares])
    return sum(weight * step for weight, step in zip(weights, steps, strict=True)), weights


@dataclass
class Walk:
    """A decoder on its way through one text.

    Attributes:
        decoder: whose weights.
        steps: (T, H) the encoded steps, all real.
        last: (H,) the encoder's last vector.
    """

    decoder: Decoder
    steps: Tensor
    last: Tensor
    states: list[cells.State] = field(default_factory=list)
    fed: Tensor | None = None
    coverage: Tensor = field(default_factory=lambda: torch.zeros(0))
    again: float = 0.0
    looked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        decoder = self.decoder
        self.fed = torch.zeros(decoder.readout_width) if decoder.input_feeding else None
        self.coverage = torch.zeros(len(self.steps))
        summary = self.last if decoder.start == "last" else self.steps.mean(dim=0)
        size = decoder.tensors_per_state * decoder.depth * decoder.hidden
        whole = (
            torch.zeros(size)
            if decoder.bridge is None
            else torch.tanh(decoder.bridge.weight @ summary + decoder.bridge.bias)
        )
        parts = whole.view(decoder.tensors_per_state, decoder.depth, decoder.hidden)
        self.states = [
            tuple(parts[kind, layer] for kind in range(decoder.tensors_per_state)) for layer in range(decoder.depth)
        ]

    @torch.no_grad()
    def read(self, symbol: int) -> Tensor:
        """Go one step on; (V,) logarithms of the probabilities of what comes next."""
        decoder = self.decoder
        x = decoder.embedding.weight[symbol]
        if self.fed is not None:
            x = torch.cat([x, self.fed])
        if decoder.attention is None:
            x = torch.cat([x, self.last])
        for layer, cell in enumerate(decoder.cells):
            step = cells.lstm if decoder.tensors_per_state == 2 else cells.gru
            self.states[layer] = step(x, self.states[layer], tuple(cell.all_weights[0]))
            x = self.states[layer][0]
        if decoder.attention is not None:
            seen, weights = look(decoder.attention, x, self.steps, self.coverage if decoder.coverage else None)
            self.again += sum(min(float(a), float(b)) for a, b in zip(self.coverage, weights, strict=True))
            self.coverage = self.coverage + weights
            self.looked.append(int(weights.argmax()))
            x = torch.cat([seen, x])
        readout = torch.tanh(decoder.readout.weight @ x + decoder.readout.bias)
        self.fed = readout if decoder.input_feeding else None
        out = decoder.embedding.weight if decoder.weight is None else decoder.weight
        return (out @ readout + decoder.bias).log_softmax(dim=0)


def nats(walk: Walk, start: int, symbols: Sequence[int]) -> list[float]:
    """-log of the probability of each symbol of a text, its end among them."""
    before, found = start, []
    for symbol in symbols:
        found.append(-float(walk.read(before)[symbol]))
        before = symbol
    return found
