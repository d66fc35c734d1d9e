"""Recurrent cells from their papers' equations, one sequence and one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""W (G H, D), R (G H, H), and the two biases (G H,): gates one below the other."""

State: TypeAlias = tuple[Tensor, ...]
Step: TypeAlias = Callable[[Tensor, State, Weights], State]


def sigmoid(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


def _gates(v: Tensor, weights: Tensor, bias: Tensor, count: int) -> list[Tensor]:
    size = len(bias) // count
    return [weights[g * size : (g + 1) * size] @ v + bias[g * size : (g + 1) * size] for g in range(count)]


def elman(x: Tensor, state: State, weights: Weights) -> State:
    """Elman 1990: h_t = tanh(W x_t + b + R h_{t-1} + r)."""
    w, r, b, c = weights
    return (torch.tanh(w @ x + b + r @ state[0] + c),)


def elman_relu(x: Tensor, state: State, weights: Weights) -> State:
    """Le, Jaitly and Hinton 2015: the same with max(0, .)."""
    w, r, b, c = weights
    a = w @ x + b + r @ state[0] + c
    return (torch.where(a > 0, a, torch.zeros_like(a)),)


def lstm(x: Tensor, state: State, weights: Weights) -> State:
    """Gers, Schmidhuber and Cummins 2000, no peepholes. Gates: input, forget, new, output."""
    w, r, b, c = weights
    h, memory = state
    i, f, g, o = (
        input_term + recurrent_term
        for input_term, recurrent_term in zip(_gates(x, w, b, 4), _gates(h, r, c, 4), strict=True)
    )
    memory = sigmoid(f) * memory + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(memory), memory


def gru(x: Tensor, state: State, weights: Weights) -> State:
    """Cho et al. 2014, with the reset after the recurrent product as cuDNN has it. Gates: reset, update, new."""
    w, r, b, c = weights
    (h,) = state
    xr, xz, xn = _gates(x, w, b, 3)
    hr, hz, hn = _gates(h, r, c, 3)
    reset, update = sigmoid(xr + hr), sigmoid(xz + hz)
    new = torch.tanh(xn + reset * hn)
    return ((1 - update) * new + update * h,)


def run(step: Step, x: Tensor, weights: Weights, start: State, *, backward: bool = False) -> tuple[Tensor, State]:
    """(T, D) -> outputs (T, H) in the order of time, and the state where this direction ends."""
    state, outputs = start, []
    for t in reversed(range(len(x))) if backward else range(len(x)):
        state = step(x[t], state, weights)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backward else outputs), state
