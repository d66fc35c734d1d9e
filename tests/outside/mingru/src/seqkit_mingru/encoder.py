"""The encoder that a recipe names `parallel-mingru`."""

from __future__ import annotations

import torch
from seqkit import Count, Encoded, Encoder, Share, State, mask_of
from torch import Tensor, nn
from torch.nn import functional

from seqkit_mingru.scan import scan


class MinGRU(Encoder):
    """The minimal gated recurrent unit (Feng et al. 2024, arXiv:2410.01201, section 3.1).

    z_t = sigmoid(W_z x_t + b_z), c_t = W_c x_t + b_c, h_t = (1 - z_t) h_{t-1} + z_t c_t.

    Neither the gate nor the candidate c depends on the state, so all steps are computed in parallel, by a scan. A second
    layer makes up for that restriction, because its gates see the states of the first.

    A state is a tuple of one tensor (B, L, H). With two directions it has (B, 2L, H), layer by layer with the forward
    direction first; it may be read, but not carried.

    Args:
        hidden: width of the state, in each direction.
        layers: number of layers.
        bidirectional: add a second direction that starts at each sequence's true last step; the two are concatenated.
        dropout: share of values dropped between layers.
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence.
        residual: add each layer's input to its output if the widths agree.
        layer_norm: normalise each layer's output, after the residual sum.
        gate_bias: initial value of b_z; below 0, the state is kept at first.
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
        for linear in self.maps:
            assert isinstance(linear, nn.Linear)
            nn.init.xavier_uniform_(linear.weight[: self.out_dim])
            nn.init.xavier_uniform_(linear.weight[self.out_dim :])
            nn.init.constant_(linear.bias[: self.out_dim], gate_bias)
            nn.init.zeros_(linear.bias[self.out_dim :])

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,), a state of `Encoded.state` or None -> Encoded.

        Raises:
            ValueError: a state is given to two directions, or does not fit this batch.
        """
        self._check(x, state)
        outside = ~mask_of(lengths, x.shape[1], x.device).t()[..., None]
        # No forward step sees the padding after it. Zeros keep a NaN there out of the weights' gradients.
        x = self._drop(x.transpose(0, 1).masked_fill(outside, 0.0), self.input_dropout)
        reverse = _reversed_steps(lengths, x.shape[0]).to(x.device) if self.directions == 2 else None
        states: list[Tensor] = []
        for layer, linear in enumerate(self.maps):
            if layer:
                x = self._drop(x, self.dropout)
            gates = linear(x)
            if gates.dtype in (torch.float16, torch.bfloat16):
                gates = gates.float()  # sums in half precision drift
            gate, candidate = gates.chunk(2, dim=-1)
            keep, new = torch.sigmoid(-gate), torch.sigmoid(gate) * candidate
            outputs = []
            for direction in range(self.directions):
                columns = slice(direction * self.hidden, (direction + 1) * self.hidden)
                a, b = keep[..., columns], new[..., columns]
                if direction and reverse is not None:
                    a, b = _gather_steps(a, reverse), _gather_steps(b, reverse)
                first = b.new_zeros(b.shape[1:]) if state is None else state[0][:, layer].to(b.dtype)
                states.append(scan(a, b, first))
                h = states[-1]
                outputs.append(h if reverse is None or not direction else _gather_steps(h, reverse))
            y = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
            if self.residual and x.shape == y.shape:
                y = y + x
            x = y if self.norms is None else self.norms[layer](y)
        x = self._drop(x, self.output_dropout).masked_fill(outside, 0.0)

        def continue_() -> State:
            return (torch.stack([_gather_last(steps, lengths) for steps in states], dim=1),)

        last = _gather_last(x, lengths)
        if self.directions == 2:
            last = torch.cat([last[:, : self.hidden], x[0, :, self.hidden :]], dim=-1)
        return Encoded(x.transpose(0, 1), lengths, last, continue_)

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}, layers={len(self.maps)}, directions={self.directions}"

    def _check(self, x: Tensor, state: State | None) -> None:
        if state is None:
            return
        if self.directions == 2:
            raise ValueError("a state cannot be carried in two directions; set encoder.bidirectional to false")
        expected = (x.shape[0], len(self.maps), self.hidden)
        if len(state) != 1 or tuple(state[0].shape) != expected:
            shapes = [tuple(tensor.shape) for tensor in state]
            raise ValueError(f"the carried state has shapes {shapes}; this encoder needs one of {expected}")

    def _drop(self, x: Tensor, share: float) -> Tensor:
        """Drop a share of the values, (T, B, H); locked: the same ones at each step."""
        if not self.training or share == 0.0:
            return x
        return x * functional.dropout(torch.ones_like(x[:1] if self.locked else x), share)


def _reversed_steps(lengths: Tensor, steps: int) -> Tensor:
    """The source of each step, (T, B), when each sequence is reversed within its own length."""
    t = torch.arange(steps)[:, None]
    return torch.where(t < lengths, lengths - 1 - t, t)


def _gather_steps(x: Tensor, index: Tensor) -> Tensor:
    """The steps of each sequence of x (T, B, H) at `index` (T, B)."""
    return x.gather(0, index[..., None].expand_as(x))


def _gather_last(x: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, H) -> (B, H): the last step of each sequence."""
    return _gather_steps(x, (lengths - 1).to(x.device)[None])[0]
