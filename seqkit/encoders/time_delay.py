"""The encoder behind `tdnn`: stacked, dilated convolutions over time."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.encoders.option_types import StackOptions
from seqkit.encoders.stacking import check_batch, drop, highway_gates, pass_on
from seqkit.errors import UsageError
from seqkit.interfaces import Encoded, Encoder, State, mask_of
from seqkit.kernels import gather_last


class TimeDelay(Encoder):
    """Each layer sees `width` steps, `dilation ** layer` apart, of the layer below.

    If it is causal, its state is a tuple with the last inputs of each layer that later steps will see, (B, n, D), zeros
    before the first step. Else it has none: a step sees later ones.
    """

    def __init__(self, dim: int, options: StackOptions, *, width: int, dilation: int, causal: bool) -> None:
        super().__init__()
        if not causal and width % 2 == 0:
            raise UsageError(f"tdnn: width: {width} should be odd, so that a step has as many before it as after it")
        self.options, self.width, self.causal, self.out_dim = options, width, causal, options.hidden
        self.dilations: tuple[int, ...] = tuple(dilation**layer for layer in range(options.layers))
        widths = [dim, *[options.hidden] * (options.layers - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(d, options.hidden, width, dilation=apart) for d, apart in zip(widths, self.dilations, strict=True)
        )
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            assert convolution.bias is not None
            nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        self.norms = nn.ModuleList(nn.LayerNorm(options.hidden) for _ in widths) if options.layer_norm else None
        self.highway = highway_gates(options, dim, self.out_dim)

    @property
    def reach(self) -> int:
        """How many input steps an output step sees, itself included."""
        return 1 + sum((self.width - 1) * apart for apart in self.dilations)

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,), state as it came from `Encoded.state` or None -> Encoded.

        Raises:
            ValueError: a state is carried on although steps see later ones, or it or the lengths do not fit this batch.
        """
        check_batch(x, lengths)
        self._check_state(x, state)
        if not torch.compiler.is_exporting() and x.shape[1] == 0:  # no sequence at all
            encoded = self.forward(functional.pad(x, (0, 0, 0, 1)), lengths, state)
            return replace(encoded, steps=encoded.steps[:, :0])
        options, outside = self.options, ~mask_of(lengths, x.shape[1], x.device)[..., None]
        x, seen = self._drop(x.masked_fill(outside, 0.0), options.input_dropout), list[Tensor]()
        for layer, convolution in enumerate(self.convolutions):
            if layer:
                x = self._drop(x, options.dropout)
            past = (self.width - 1) * self.dilations[layer]
            before = past if self.causal else past // 2
            start = x.new_zeros(x.shape[0], before, x.shape[2]) if state is None else state[layer].to(x.dtype)
            with_past = torch.cat([start, x], dim=1)
            seen.append(with_past)
            y = convolution(functional.pad(with_past, (0, 0, 0, past - before)).transpose(1, 2)).transpose(1, 2).relu()
            x = pass_on(x, y, layer, residual=options.residual, highway=self.highway, norms=self.norms)
            x = x.masked_fill(outside, 0.0)  # the next layer sees zeros past the end, as before the beginning
        x = self._drop(x, options.output_dropout)
        return Encoded(x, lengths, gather_last(x.transpose(0, 1), lengths), lambda: self._state_after(seen, lengths))

    def extra_repr(self) -> str:
        return f"hidden={self.options.hidden}, width={self.width}, dilations={self.dilations}, reach={self.reach}"

    def _state_after(self, seen: list[Tensor], lengths: Tensor) -> State:
        """Of each layer the last inputs (B, n, D) of each sequence; nothing if steps see later ones."""
        if not self.causal:
            return ()
        state = []
        for inputs, apart in zip(seen, self.dilations, strict=True):
            count = (self.width - 1) * apart
            places = (lengths[:, None] + torch.arange(count)[None]).to(inputs.device)
            state.append(inputs.gather(1, places[..., None].expand(-1, -1, inputs.shape[2])))
        return tuple(state)

    def _drop(self, x: Tensor, share: float) -> Tensor:
        """(B, T, H) with a share of the values dropped."""
        if not self.training or share == 0.0:
            return x
        return drop(x.transpose(0, 1), share, self.options.locked, True).transpose(0, 1)

    def _check_state(self, x: Tensor, state: State | None) -> None:
        if state is None:
            return
        if not self.causal:
            raise ValueError("a state cannot be carried on where steps see later ones; set encoder.causal to true")
        counts = [(self.width - 1) * apart for apart in self.dilations]
        widths = [x.shape[2], *[self.options.hidden] * (len(counts) - 1)]
        expected = [(x.shape[0], count, width) for count, width in zip(counts, widths, strict=True)]
        shapes = [tuple(tensor.shape) for tensor in state]
        if shapes != expected:
            raise ValueError(f"the state carried on has shapes {shapes}; this encoder needs {expected}")
