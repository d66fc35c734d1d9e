"""The window over a text: an LSTM that moves it step by step, and its training on a CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import Encoded, upload

_MOST = 1e4
"""The largest alpha, beta or move."""


@dataclass(frozen=True)
class WindowState:
    """What the layer of the window carries from step to step.

    Attributes:
        h, c: (B, H) of its LSTM.
        place: (B, K) kappa, how far each bump is.
        context: (B, dim) what the window showed at the step before.
    """

    h: Tensor
    c: Tensor
    place: Tensor
    context: Tensor


class Window(nn.Module):
    """An LSTM that moves a soft window over encoded steps and reads what it shows (Graves 2013, equations 46 to 52).

    Args:
        dim: width of an encoded step.
        width: of an input step.
        hidden: of the state.
        bumps: K.
    """

    def __init__(self, dim: int, width: int, hidden: int, bumps: int) -> None:
        super().__init__()
        self.dim, self.hidden, self.bumps = dim, hidden, bumps
        self.cell = nn.LSTMCell(width + dim, hidden)
        self.move = nn.Linear(hidden, 3 * bumps)  # logarithms of alpha and beta, and of how far kappa moves
        with torch.no_grad():
            self.cell.bias_ih[hidden : 2 * hidden] = 1.0
            self.move.weight.mul_(0.1)
            self.move.bias.zero_()
            self.move.bias[:bumps] = -math.log(bumps)  # all bumps together weigh a letter once
            self.move.bias[2 * bumps :] = -4.0  # about 55 movements for a letter, as people write in cursive

    def start(self, encoded: Encoded) -> WindowState:
        """The state before the first step: the window is before the first encoded step."""
        zero = encoded.steps.new_zeros
        batch = len(encoded.steps)
        return WindowState(
            zero(batch, self.hidden), zero(batch, self.hidden), zero(batch, self.bumps), zero(batch, self.dim)
        )

    def step(self, x: Tensor, state: WindowState, encoded: Encoded) -> tuple[WindowState, Tensor]:
        """(B, D) -> the next state, and the weights (B, T) of the encoded steps."""
        h, c = self.cell(torch.cat([x, state.context], dim=-1), (state.h, state.c))
        alpha, beta, moved = self.move(h).exp().clamp(max=_MOST).chunk(3, dim=-1)
        place = state.place + moved
        weights = _weights(alpha, beta, place, encoded.steps.shape[1]) * encoded.mask
        context = torch.bmm(weights[:, None], encoded.steps).squeeze(1)
        return WindowState(h, c, place, context), weights

    def is_past_end(self, state: WindowState, encoded: Encoded) -> Tensor:
        """(B,) whether the window shows the place after the last encoded step more than any encoded step.

        That is where Graves 2013 (section 5.4) ends a drawing: the text has been written.
        """
        alpha, beta, _ = self.move(state.h).exp().clamp(max=_MOST).chunk(3, dim=-1)
        weights = _weights(alpha, beta, state.place, encoded.steps.shape[1] + 1)
        after = upload(encoded.lengths, weights.device)[:, None]
        is_before = torch.arange(weights.shape[1], device=weights.device) < after
        return weights.gather(1, after).squeeze(1) > weights.masked_fill(~is_before, -1.0).amax(dim=1)

    def forward(self, x: Tensor, state: WindowState, encoded: Encoded) -> tuple[Tensor, WindowState]:
        """(B, U, D) -> h and context of each step (B, U, H + dim), and the last state."""
        if torch.is_grad_enabled() and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            return self._train(x, state, encoded)
        features = []
        for step in x.unbind(dim=1):
            state, _ = self.step(step, state, encoded)
            features.append(torch.cat([state.h, state.context], dim=-1))
        return torch.stack(features, dim=1), state

    def _train(self, x: Tensor, state: WindowState, encoded: Encoded) -> tuple[Tensor, WindowState]:
        """The same up to rounding, with a backward pass that sums the weights' gradients over all steps at once."""
        width = x.shape[-1]
        of_input, of_context = self.cell.weight_ih[:, :width], self.cell.weight_ih[:, width:]
        gates = functional.linear(x, of_input, self.cell.bias_ih + self.cell.bias_hh)
        recurrent = torch.cat([of_context, self.cell.weight_hh], dim=1)
        features, h, c, place, context = WindowSteps.apply(
            gates,
            recurrent,
            self.move.weight,
            self.move.bias,
            encoded.steps * encoded.mask[..., None],
            state.h,
            state.c,
            state.place,
            state.context,
        )
        return features, WindowState(h, c, place, context)


def _weights(alpha: Tensor, beta: Tensor, place: Tensor, count: int) -> Tensor:
    """(B, count) of the places 1 to `count`, from alpha, beta and kappa (B, K)."""
    numbers = torch.arange(1, count + 1, device=place.device, dtype=place.dtype)
    bumps = alpha[..., None] * torch.exp(-beta[..., None] * (place[..., None] - numbers).square())
    return bumps.sum(dim=1)


class WindowSteps(torch.autograd.Function):
    """All steps of a window, with a backward pass of its own.

    By automatic differentiation, each step would add its own small product to the gradient of each weight, which is a
    third of the time, and would launch three times as many operations.
    """

    @staticmethod
    def forward(
        run: Any,
        gates: Tensor,
        recurrent: Tensor,
        move: Tensor,
        move_bias: Tensor,
        encoded: Tensor,
        h: Tensor,
        c: Tensor,
        place: Tensor,
        context: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The features of all steps, and the last h, c, place and context.

        Args:
            run: what the backward pass is given.
            gates: (B, U, 4 H) what the inputs and the biases add to the gates.
            recurrent: (4 H, dim + H) the weights of context and h.
            move, move_bias: (3 K, H) and (3 K,).
            encoded: (B, T, dim), zero past a text's end.
            h, c, place, context: the state before the first step.
        """
        hidden, dim = h.shape[1], context.shape[1]
        numbers = torch.arange(1, encoded.shape[1] + 1, device=gates.device, dtype=gates.dtype)
        read, kept = [], []
        for of_input in gates.unbind(dim=1):
            read.append(torch.cat([context, h], dim=1))
            before = torch.addmm(of_input, read[-1], recurrent.t())
            i, f, g, o = before.chunk(4, dim=1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c_before, c = c, torch.addcmul(i * g, f, c)
            tanh_c = c.tanh()
            h = o * tanh_c
            moves = torch.addmm(move_bias, h, move.t()).exp()
            alpha, beta, moved = moves.clamp(max=_MOST).chunk(3, dim=1)
            place = place + moved
            distance = place[..., None] - numbers
            bumps = (distance.square() * -beta[..., None]).exp_()
            weights = torch.bmm(alpha[:, None], bumps)
            context = torch.bmm(weights, encoded).squeeze(1)
            kept.append((i, f, g, o, c_before, tanh_c, moves, distance, bumps, weights))
        read.append(torch.cat([context, h], dim=1))
        run.save_for_backward(recurrent, move, encoded, torch.stack(read), *(t for step in kept for t in step))
        run.sizes = hidden, dim
        read_after = torch.stack(read[1:], dim=1)
        features = torch.cat([read_after[..., dim:], read_after[..., :dim]], dim=-1)
        return features, h, c, place, context

    @staticmethod
    def backward(run: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of all that `forward` takes."""
        d_features, d_h, d_c, d_place, d_context = gradients
        recurrent, move, encoded, read, *kept = run.saved_tensors
        hidden, dim = run.sizes
        d_gates, d_moves, d_contexts, all_weights = [], [], [], []
        for number in reversed(range(len(read) - 1)):
            i, f, g, o, c_before, tanh_c, moves, distance, bumps, weights = kept[10 * number : 10 * number + 10]
            d_context = d_context + d_features[:, number, hidden:]
            d_h = d_h + d_features[:, number, :hidden]
            d_contexts.append(d_context)
            all_weights.append(weights)
            bounded = moves.clamp(max=_MOST)
            alpha, beta, _ = bounded.chunk(3, dim=1)
            d_bumps = torch.bmm(encoded, d_context[..., None]).squeeze(2)[:, None] * bumps  # already times the bumps
            d_alpha = d_bumps.sum(dim=2)
            slope = d_bumps * distance * alpha[..., None]
            d_beta = -(slope * distance).sum(dim=2)
            d_place = d_place - 2.0 * beta * slope.sum(dim=2)
            d_move = torch.cat([d_alpha, d_beta, d_place], dim=1) * bounded * (moves < _MOST)
            d_moves.append(d_move)
            d_h = torch.addmm(d_h, d_move, move)
            d_c = d_c + d_h * o * (1.0 - tanh_c.square())
            d_gate = torch.cat(
                [
                    d_c * g * i * (1.0 - i),
                    d_c * c_before * f * (1.0 - f),
                    d_c * i * (1.0 - g.square()),
                    d_h * tanh_c * o * (1.0 - o),
                ],
                dim=1,
            )
            d_gates.append(d_gate)
            d_context, d_h = (d_gate @ recurrent).tensor_split([dim], dim=1)
            d_c = d_c * f
        of_gates, of_moves = torch.stack(d_gates[::-1]), torch.stack(d_moves[::-1])  # (U, B, ...)
        d_recurrent = of_gates.flatten(0, 1).t() @ read[:-1].flatten(0, 1)
        d_move_weight = of_moves.flatten(0, 1).t() @ read[1:, :, dim:].flatten(0, 1)
        d_encoded = torch.bmm(torch.cat(all_weights, dim=1).transpose(1, 2), torch.stack(d_contexts, dim=1))
        of_start = d_h, d_c, d_place, d_context
        return of_gates.transpose(0, 1), d_recurrent, d_move_weight, of_moves.sum(dim=(0, 1)), d_encoded, *of_start
