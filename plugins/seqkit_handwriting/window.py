"""The window over a text: an LSTM that moves it step by step, and many steps of it on a CPU."""

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

    def forward(self, x: Tensor, state: WindowState, encoded: Encoded, lengths: Tensor) -> tuple[Tensor, WindowState]:
        """(B, U, D) -> h and context of each step (B, U, H + dim), and the last state.

        On a CPU, steps past the `lengths` (B,) are left out: their features are zero, and the state is that of the last
        real step.
        """
        # A single step, as in drawing, has nothing to gain from products that are taken over all steps at once.
        if x.shape[1] > 1 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            return self._real_steps(x, state, encoded, lengths)
        features = []
        for step in x.unbind(dim=1):
            state, _ = self.step(step, state, encoded)
            features.append(torch.cat([state.h, state.context], dim=-1))
        return torch.stack(features, dim=1), state

    def _real_steps(
        self, x: Tensor, state: WindowState, encoded: Encoded, lengths: Tensor
    ) -> tuple[Tensor, WindowState]:
        """The same up to rounding: one product of all inputs, and one of all steps for each weight's gradient."""
        width = x.shape[-1]
        order = lengths.argsort(descending=True, stable=True)
        active = (lengths[:, None] > torch.arange(x.shape[1])).sum(dim=0).tolist()
        of_input, of_context = self.cell.weight_ih[:, :width], self.cell.weight_ih[:, width:]
        gates = functional.linear(x[order].transpose(0, 1), of_input, self.cell.bias_ih + self.cell.bias_hh)
        recurrent = torch.cat([of_context, self.cell.weight_hh], dim=1)
        results = WindowSteps.apply(
            torch.is_grad_enabled(),
            active,
            gates,
            recurrent,
            self.move.weight,
            self.move.bias,
            (encoded.steps * encoded.mask[..., None])[order],
            *(tensor[order] for tensor in (state.h, state.c, state.place, state.context)),
        )
        position = order.argsort()
        features, *last = results
        return features[:, position].transpose(0, 1), WindowState(*(tensor[position] for tensor in last))


def _weights(alpha: Tensor, beta: Tensor, place: Tensor, count: int) -> Tensor:
    """(B, count) of the places 1 to `count`, from alpha, beta and kappa (B, K)."""
    numbers = torch.arange(1, count + 1, device=place.device, dtype=place.dtype)
    bumps = alpha[..., None] * torch.exp(-beta[..., None] * (place[..., None] - numbers).square())
    return bumps.sum(dim=1)


class WindowSteps(torch.autograd.Function):
    """All real steps of a window, with a backward pass of its own. Sequences are ordered from long to short.

    By automatic differentiation, each step would add its own small product to the gradient of each weight, which is a
    third of the time, and would launch three times as many operations.
    """

    @staticmethod
    def forward(
        run: Any,
        is_trained: bool,
        active: list[int],
        gates: Tensor,
        recurrent: Tensor,
        move: Tensor,
        move_bias: Tensor,
        encoded: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        """The features of all steps (U, B, H + dim), and the last h, c, place and context.

        Args:
            run: what the backward pass is given.
            is_trained: whether there will be a backward pass. Without one, memory for one step is enough.
            active: how many sequences have not ended yet, at each step; never increases.
            gates: (U, B, 4 H) what the inputs and the biases add to the gates.
            recurrent: (4 H, dim + H) the weights of context and h.
            move, move_bias: (3 K, H) and (3 K,).
            encoded: (B, T, dim), zero past a text's end.
            state: h, c, place and context before the first step.
        """
        hidden, dim = state[0].shape[1], encoded.shape[2]
        numbers = torch.arange(1, encoded.shape[1] + 1, device=gates.device, dtype=gates.dtype)
        last = [tensor.clone() for tensor in state]
        h, c, place, context = state
        features = gates.new_zeros(*gates.shape[:2], hidden + dim)
        kept: list[Tensor] = []
        for number, count in enumerate(active):
            if count == 0:
                break
            read = torch.cat([context[:count], h[:count]], dim=1)
            i, f, g, o = torch.addmm(gates[number, :count], read, recurrent.t()).chunk(4, dim=1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c_before, c = c[:count], torch.addcmul(i * g, f, c[:count])
            tanh_c = c.tanh()
            h = o * tanh_c
            moves = torch.addmm(move_bias, h, move.t()).exp()
            alpha, beta, moved = moves.clamp(max=_MOST).chunk(3, dim=1)
            place = place[:count] + moved
            distance = place[..., None] - numbers
            bumps = (distance.square() * -beta[..., None]).exp_()
            weights = torch.bmm(alpha[:, None], bumps)
            context = torch.bmm(weights, encoded[:count]).squeeze(1)
            torch.cat([h, context], dim=1, out=features[number, :count])
            going = active[number + 1] if number + 1 < len(active) else 0
            if going < count:
                for ended, now in zip(last, (h, c, place, context), strict=True):
                    ended[going:count] = now[going:]
            if is_trained:
                kept += [i, f, g, o, c_before, tanh_c, moves, distance, bumps, weights, read, h]
        if is_trained:
            run.save_for_backward(recurrent, move, encoded, *kept)
            run.active, run.hidden = active, hidden
        return features, *last

    @staticmethod
    def backward(run: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of all that `forward` takes."""
        d_features = gradients[0]
        d_h, d_c, d_place, d_context = (gradient.clone() for gradient in gradients[1:])
        recurrent, move, encoded, *kept = run.saved_tensors
        steps, hidden, dim = len(kept) // 12, run.hidden, encoded.shape[2]
        of_gates = recurrent.new_zeros(*d_features.shape[:2], len(recurrent))
        d_contexts = encoded.new_zeros(*d_features.shape[:2], dim)
        all_weights = encoded.new_zeros(*d_features.shape[:2], encoded.shape[1])
        d_gates, d_moves = [], []
        for number in reversed(range(steps)):
            i, f, g, o, c_before, tanh_c, moves, distance, bumps, weights = kept[12 * number : 12 * number + 10]
            count = run.active[number]
            of_context = torch.add(d_context[:count], d_features[number, :count, hidden:])
            d_contexts[number, :count] = of_context
            all_weights[number, :count] = weights.squeeze(1)
            bounded = moves.clamp(max=_MOST)
            alpha, beta, _ = bounded.chunk(3, dim=1)
            d_bumps = torch.bmm(encoded[:count], of_context[..., None]).squeeze(2)[:, None] * bumps  # times the bumps
            d_alpha = d_bumps.sum(dim=2)
            slope = d_bumps * distance * alpha[..., None]
            d_beta = -(slope * distance).sum(dim=2)
            d_place[:count] -= 2.0 * beta * slope.sum(dim=2)
            d_move = torch.cat([d_alpha, d_beta, d_place[:count]], dim=1) * bounded * (moves < _MOST)
            d_moves.append(d_move)
            of_h = torch.addmm(d_h[:count] + d_features[number, :count, :hidden], d_move, move)
            of_c = d_c[:count] + of_h * o * (1.0 - tanh_c.square())
            d_gate = torch.cat(
                [
                    of_c * g * i * (1.0 - i),
                    of_c * c_before * f * (1.0 - f),
                    of_c * i * (1.0 - g.square()),
                    of_h * tanh_c * o * (1.0 - o),
                ],
                dim=1,
            )
            d_gates.append(d_gate)
            of_gates[number, :count] = d_gate
            d_context[:count], d_h[:count] = (d_gate @ recurrent).tensor_split([dim], dim=1)
            d_c[:count] = of_c * f
        d_recurrent = torch.cat(d_gates[::-1]).t() @ torch.cat(kept[10::12])
        of_moves = torch.cat(d_moves[::-1])
        d_encoded = torch.bmm(all_weights.permute(1, 2, 0), d_contexts.transpose(0, 1))
        of_start = d_h, d_c, d_place, d_context
        d_move_weight = of_moves.t() @ torch.cat(kept[11::12])
        return None, None, of_gates, d_recurrent, d_move_weight, of_moves.sum(dim=0), d_encoded, *of_start
