"""Cells whose steps follow each other: output fed back, exponential gates, and layer normalisation inside."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.encoders.zoneout import keep_some, keep_some_scaled, kept_shares
from seqkit.interfaces import State

NOTHING_YET: Final = -1e30
"""The logarithm by which an sLSTM that has seen no step is scaled: its memory counts for nothing."""


class JordanCell(nn.Module):
    """One layer of `seqkit.encoders.jordan` in one direction. Its state is the context."""

    states = 1

    def __init__(self, dim: int, hidden: int, decay: float, *, zoneout: float = 0.0) -> None:
        super().__init__()
        self.state_width, self.decay, self.zoneout = hidden, decay, zoneout
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
        kept = kept_shares(self.zoneout, context, len(x), 1, training=self.training)
        outputs, contexts = [], []
        for step, (kept_context,) in zip(driven.unbind(), kept, strict=True):
            y = torch.tanh(self.out(torch.tanh(step + self.back(context))))
            context = keep_some(kept_context, context, self.decay * context + y)
            outputs.append(y)
            contexts.append(context)
        return torch.stack(outputs), (torch.stack(contexts),)


class SLSTMCell(nn.Module):
    """One layer of `seqkit.encoders.slstm` in one direction.

    A state is the output h, the memory c, the normaliser n, and m, the logarithm of what c and n are divided by so
    that no exponential overflows (Beck et al. 2024, equations 8 to 17). Computed in single precision.
    """

    states = 4

    def __init__(self, dim: int, hidden: int, heads: int, forget_bias: float, *, zoneout: float = 0.0) -> None:
        super().__init__()
        self.state_width, self.heads, self.zoneout = hidden, heads, zoneout
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
        kept = kept_shares(self.zoneout, h, len(x), 2, training=self.training)
        of_steps = []
        for step, (kept_h, kept_memory) in zip(driven.unbind(), kept, strict=True):
            fed_back = torch.bmm(h.view(batch, self.heads, width).transpose(0, 1), self.back.float())
            # (heads, B, 4 width) -> (B, 4, heads width)
            fed_back = fed_back.view(self.heads, batch, 4, width).permute(1, 2, 0, 3).reshape(step.shape)
            candidate, new, forget, out = (step + fed_back).chunk(4, dim=-1)
            old = functional.logsigmoid(forget) + m
            new_m = torch.maximum(old, new)
            keep, add = (old - new_m).exp(), (new - new_m).exp()
            new_c, new_n = keep * c + add * torch.tanh(candidate), keep * n + add
            h = keep_some(kept_h, h, torch.sigmoid(out) * new_c / new_n)
            c, n, m = keep_some_scaled(kept_memory, (c, n, m), (new_c, new_n, new_m))
            of_steps.append((h, c, n, m))
        states = tuple(torch.stack(tensors) for tensors in zip(*of_steps, strict=True))
        return states[0].to(x.dtype), states


class LayerNormLSTMCell(nn.Module):
    """One layer of `seqkit.encoders.lnlstm` in one direction. A state is h and c.

    Autocast makes only the products less precise: what is normalised has the precision of the weights.
    """

    states = 2

    def __init__(self, dim: int, hidden: int, forget_bias: float, *, zoneout: float = 0.0) -> None:
        super().__init__()
        self.state_width, self.zoneout = hidden, zoneout
        self.into = nn.Linear(dim, 4 * hidden, bias=False)  # input, forget, candidate, output
        self.back = nn.Linear(hidden, 4 * hidden, bias=False)
        self.norm_into = nn.LayerNorm(4 * hidden)  # its bias is that of the gates
        self.norm_back = nn.LayerNorm(4 * hidden, bias=False)
        self.norm_memory = nn.LayerNorm(hidden)
        _initialise_gates(self.into, self.back, 4)
        with torch.no_grad():
            self.norm_into.bias[hidden : 2 * hidden] = forget_bias

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        """(T, B, D), two of (B, H) -> (T, B, H), and two states (T, B, H)."""
        precision = self.into.weight.dtype
        driven = self.norm_into(self.into(x).to(precision))
        zero = driven.new_zeros(x.shape[1], self.state_width)
        h, c = (zero, zero) if first is None else (tensor.to(precision) for tensor in first)
        kept = kept_shares(self.zoneout, h, len(x), 2, training=self.training)
        of_steps = []
        for step, (kept_h, kept_c) in zip(driven.unbind(), kept, strict=True):
            new, forget, candidate, out = (step + self.norm_back(self.back(h).to(precision))).chunk(4, dim=-1)
            new_c = torch.sigmoid(forget) * c + torch.sigmoid(new) * torch.tanh(candidate)
            h = keep_some(kept_h, h, torch.sigmoid(out) * torch.tanh(self.norm_memory(new_c)))
            c = keep_some(kept_c, c, new_c)
            of_steps.append((h, c))
        states = tuple(torch.stack(tensors) for tensors in zip(*of_steps, strict=True))
        return states[0].to(x.dtype), states


class LayerNormGRUCell(nn.Module):
    """One layer of `seqkit.encoders.lngru` in one direction. Its state is h. In precision as `LayerNormLSTMCell`."""

    states = 1

    def __init__(self, dim: int, hidden: int, update_bias: float, *, zoneout: float = 0.0) -> None:
        super().__init__()
        self.state_width, self.zoneout = hidden, zoneout
        self.into = nn.Linear(dim, 3 * hidden, bias=False)  # reset, update, candidate
        self.back = nn.Linear(hidden, 3 * hidden, bias=False)
        self.norm_gates = nn.LayerNorm(2 * hidden)  # its bias is that of the gates
        self.norm_new = nn.LayerNorm(hidden)
        self.norm_back_gates = nn.LayerNorm(2 * hidden, bias=False)
        self.norm_back_new = nn.LayerNorm(hidden)
        _initialise_gates(self.into, self.back, 3)
        with torch.no_grad():
            self.norm_gates.bias[hidden:] = update_bias

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        """(T, B, D), (B, H) -> (T, B, H), and the same as states."""
        width, precision = self.state_width, self.into.weight.dtype
        driven = self.into(x).to(precision)
        gates, candidates = self.norm_gates(driven[..., : 2 * width]), self.norm_new(driven[..., 2 * width :])
        h = gates.new_zeros(x.shape[1], width) if first is None else first[0].to(precision)
        kept = kept_shares(self.zoneout, h, len(x), 1, training=self.training)
        of_steps = []
        for gate, candidate, (kept_h,) in zip(gates.unbind(), candidates.unbind(), kept, strict=True):
            fed_back = self.back(h).to(precision)
            both = torch.sigmoid(gate + self.norm_back_gates(fed_back[..., : 2 * width]))
            reset, update = both.chunk(2, dim=-1)
            new = torch.tanh(candidate + reset * self.norm_back_new(fed_back[..., 2 * width :]))
            h = keep_some(kept_h, h, (1.0 - update) * new + update * h)
            of_steps.append(h)
        states = torch.stack(of_steps)
        return states.to(x.dtype), (states,)


def _initialise_gates(into: nn.Linear, back: nn.Linear, count: int) -> None:
    """Weights of so many gates, as in `lstm` and `gru`: recurrent ones orthogonal, the others by their widths."""
    with torch.no_grad():
        for weight in into.weight.chunk(count):
            nn.init.xavier_uniform_(weight)
        for weight in back.weight.chunk(count):
            nn.init.orthogonal_(weight)
