"""The encoder that a recipe names `mingru`."""

from __future__ import annotations

import torch
from seqkit import Count, Encoded, Encoder, Share, State, mask_of
from torch import Tensor, nn
from torch.nn import functional

from seqkit_mingru.scan import scan


class MinGRU(Encoder):
    """The minimal gated recurrent unit (Feng et al. 2024, arXiv:2410.01201, section 3.1).

    z_t = sigmoid(W_z x_t + b_z), c_t = W_c x_t + b_c, h_t = (1 - z_t) h_{t-1} + z_t c_t.

    Neither the gate nor the candidate c looks at the state, so all steps are worked out side by side, by a scan. What
    one layer cannot do for that, a second one can: its gates see the states of the first.

    A carried state is a tuple of one tensor (B, L, H). With two directions it has (B, 2L, H), layer by layer with the
    forward direction first; it may be read, but not be carried on with.

    Args:
        hidden: width of the state, in each direction.
        layers: how many layers stand on each other.
        bidirectional: a second direction that starts at each sequence's true last step; the two are put side by side.
        dropout: share of values dropped between layers.
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence.
        residual: add each layer's input to its output where the widths agree.
        layer_norm: normalise each layer's output, after the residual sum.
        gate_bias: where b_z starts; below 0, memory is kept until there is a reason to change it.
    """

    def __init__(
        self,
        dim: int,
        /,
        *,
        hidden: Count = 128,
        layers: Count = 1,
        bidirectional: bool = False,
        dropout: Share = 0.0,
        input_dropout: Share = 0.0,
        output_dropout: Share = 0.0,
        locked: bool = False,
        residual: bool = False,
        layer_norm: bool = False,
        gate_bias: float = -1.0,
    ) -> None:
        super().__init__()
        self.hidden, self.directions = hidden, 2 if bidirectional else 1
        self.out_dim, self.causal = hidden * self.directions, not bidirectional
        self.dropout, self.input_dropout, self.output_dropout = dropout, input_dropout, output_dropout
        self.locked, self.residual = locked, residual
        widths = [dim] + [self.out_dim] * (layers - 1)
        # The gate and the candidate of both directions in one product a layer: (D) -> (2 x directions x H).
        self.maps = nn.ModuleList(nn.Linear(width, 2 * self.out_dim) for width in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(self.out_dim) for _ in range(layers)) if layer_norm else None
        for each in self.maps:
            assert isinstance(each, nn.Linear)
            nn.init.xavier_uniform_(each.weight[: self.out_dim])
            nn.init.xavier_uniform_(each.weight[self.out_dim :])
            nn.init.constant_(each.bias[: self.out_dim], gate_bias)
            nn.init.zeros_(each.bias[self.out_dim :])

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,), a state as it came from `Encoded.state` or None -> Encoded.

        Raises:
            ValueError: a state is carried into two directions, or it does not fit this batch.
        """
        self._check(x, state)
        outside = ~mask_of(lengths, x.shape[1], x.device).t()[..., None]
        # Padding cannot be seen from the left. Zeros keep a NaN there out of the weights' gradients.
        x = self._drop(x.transpose(0, 1).masked_fill(outside, 0.0), self.input_dropout)
        turned = _turned(lengths, x.shape[0]).to(x.device) if self.directions == 2 else None
        states: list[Tensor] = []
        for layer, linear in enumerate(self.maps):
            if layer:
                x = self._drop(x, self.dropout)
            gates = linear(x)
            if gates.dtype in (torch.float16, torch.bfloat16):
                gates = gates.float()  # a memory summed in halves drifts
            gate, candidate = gates.chunk(2, dim=-1)
            keep, new = torch.sigmoid(-gate), torch.sigmoid(gate) * candidate
            sides = []
            for direction in range(self.directions):
                mine = slice(direction * self.hidden, (direction + 1) * self.hidden)
                a, b = keep[..., mine], new[..., mine]
                if direction and turned is not None:
                    a, b = _rows(a, turned), _rows(b, turned)
                first = b.new_zeros(b.shape[1:]) if state is None else state[0][:, layer].to(b.dtype)
                states.append(scan(a, b, first))
                sides.append(states[-1] if turned is None or not direction else _rows(states[-1], turned))
            y = torch.cat(sides, dim=-1) if len(sides) > 1 else sides[0]
            if self.residual and x.shape == y.shape:
                y = y + x
            x = y if self.norms is None else self.norms[layer](y)
        x = self._drop(x, self.output_dropout).masked_fill(outside, 0.0)

        def continue_() -> State:
            return (torch.stack([_at_end(each, lengths) for each in states], dim=1),)

        last = _at_end(x, lengths)
        if self.directions == 2:
            last = torch.cat([last[:, : self.hidden], x[0, :, self.hidden :]], dim=-1)
        return Encoded(x.transpose(0, 1), lengths, last, continue_)

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}, layers={len(self.maps)}, directions={self.directions}"

    def _check(self, x: Tensor, state: State | None) -> None:
        if state is None:
            return
        if self.directions == 2:
            raise ValueError("a state cannot be carried on in two directions; set encoder.bidirectional to false")
        want = (x.shape[0], len(self.maps), self.hidden)
        if len(state) != 1 or tuple(state[0].shape) != want:
            got = [tuple(part.shape) for part in state]
            raise ValueError(f"the state carried on has shapes {got}; this encoder needs one of {want}")

    def _drop(self, x: Tensor, share: float) -> Tensor:
        """(T, B, H) with a share of values dropped; locked: the same ones at each step."""
        if not self.training or share == 0.0:
            return x
        return x * functional.dropout(torch.ones_like(x[:1] if self.locked else x), share)


def _turned(lengths: Tensor, steps: int) -> Tensor:
    """(T, B): where each step comes from when each sequence is turned round within its own length."""
    t = torch.arange(steps)[:, None]
    return torch.where(t < lengths, lengths - 1 - t, t)


def _rows(x: Tensor, where: Tensor) -> Tensor:
    """(T, B, H) with the steps of each sequence taken from `where` (T, B)."""
    return x.gather(0, where[..., None].expand_as(x))


def _at_end(x: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, H) -> (B, H): each sequence's own last step."""
    return _rows(x, (lengths - 1).to(x.device)[None])[0]
