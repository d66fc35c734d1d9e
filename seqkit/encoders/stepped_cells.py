"""Cells whose steps follow each other: `jordan`, whose output is fed back, and `slstm`, with exponential gates."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.interfaces import State

NOTHING_YET: Final = -1e30
"""The logarithm by which an sLSTM that has seen no step is scaled: its memory counts for nothing."""


class JordanCell(nn.Module):
    """One layer of `seqkit.encoders.jordan` in one direction. Its state is the context."""

    states = 1

    def __init__(self, dim: int, hidden: int, decay: float) -> None:
        super().__init__()
        self.state_width, self.decay = hidden, decay
        self.into = nn.Linear(dim, hidden)
        self.back = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)
        nn.init.xavier_uniform_(self.into.weight)
        nn.init.orthogonal_(self.back.weight)
        nn.init.orthogonal_(self.out.weight)
        nn.init.zeros_(self.into.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        """(T, B, D), (B, H) -> (T, B, H), and the context (T, B, H) that follows each step."""
        driven = self.into(x)
        context = x.new_zeros(x.shape[1], self.state_width) if first is None else first[0].to(x.dtype)
        outputs, contexts = [], []
        for step in driven.unbind():
            y = torch.tanh(self.out(torch.tanh(step + self.back(context))))
            context = self.decay * context + y
            outputs.append(y)
            contexts.append(context)
        return torch.stack(outputs), (torch.stack(contexts),)


class SLSTMCell(nn.Module):
    """One layer of `seqkit.encoders.slstm` in one direction.

    A state is the output h, the memory c, the normaliser n, and m, the logarithm of what c and n are divided by so
    that no exponential overflows (Beck et al. 2024, equations 8 to 17). Computed in single precision.
    """

    states = 4

    def __init__(self, dim: int, hidden: int, heads: int, forget_bias: float) -> None:
        super().__init__()
        self.state_width, self.heads = hidden, heads
        self.into = nn.Linear(dim, 4 * hidden)  # candidate, input, forget, output
        width = hidden // heads
        self.back = nn.Parameter(torch.empty(heads, width, 4 * width))
        with torch.no_grad():
            for weight in self.into.weight.chunk(4):
                nn.init.xavier_uniform_(weight)
            self.into.bias.zero_()
            self.into.bias[2 * hidden : 3 * hidden] = forget_bias
            self.back.normal_(0.0, 1.0 / math.sqrt(width))

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        """(T, B, D), four of (B, H) -> (T, B, H), and four states (T, B, H)."""
        driven = self.into(x).float()
        batch, width = x.shape[1], self.state_width // self.heads
        if first is None:
            zero = driven.new_zeros(batch, self.state_width)
            first = (zero, zero, zero, zero + NOTHING_YET)
        h, c, n, m = (tensor.float() for tensor in first)
        of_steps = []
        for step in driven.unbind():
            fed_back = torch.bmm(h.view(batch, self.heads, width).transpose(0, 1), self.back.float())
            # (heads, B, 4 width) -> (B, 4, heads width)
            fed_back = fed_back.view(self.heads, batch, 4, width).permute(1, 2, 0, 3).reshape(batch, -1)
            candidate, new, forget, out = (step + fed_back).chunk(4, dim=-1)
            kept = functional.logsigmoid(forget) + m
            m = torch.maximum(kept, new)
            keep, add = (kept - m).exp(), (new - m).exp()
            c = keep * c + add * torch.tanh(candidate)
            n = keep * n + add
            h = torch.sigmoid(out) * c / n
            of_steps.append((h, c, n, m))
        states = tuple(torch.stack(tensors) for tensors in zip(*of_steps, strict=True))
        return states[0].to(x.dtype), states
