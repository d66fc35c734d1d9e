"""The encoder behind `minlstm`, `mingru`, `lru`, `jordan`, `slstm`, `lnlstm` and `lngru`: stacks of whole layers.

The cells here are linear recurrences, over all steps at once; those of `stepped_cells.py` go from step to step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.encoders.option_types import StackOptions
from seqkit.encoders.stacking import check_batch, drop, highway_gates, pass_on
from seqkit.interfaces import Encoded, Encoder, State, mask_of
from seqkit.kernels import gather_last, linear_scan, reverse_sequences


class LayerCell(Protocol):
    """One layer in one direction: (T, B, D), the states before the first step -> outputs, and the states of each step.

    Attributes:
        state_width: N, the width of a state.
        states: how many tensors a state is.
    """

    state_width: int
    states: int

    def __call__(self, x: Tensor, first: State | None) -> tuple[Tensor, State]: ...


class Scanned(Encoder):
    """Stacked layers in one direction or two.

    A state is a tuple of tensors (B, L, N). With two directions it has (B, 2L, N), layer by layer with the forward
    direction first; it may be read, but not carried on with.

    It cannot be exported: the rounds of a scan or of a loop depend on the number of steps, and a recording must hold
    for any.
    """

    def __init__(self, name: str, dim: int, make_cell: Callable[[int], nn.Module], options: StackOptions) -> None:
        super().__init__()
        self.name, self.options = name, options
        self.directions = 2 if options.bidirectional else 1
        self.out_dim, self.causal = options.hidden * self.directions, not options.bidirectional
        widths = [dim, *[self.out_dim] * (options.layers - 1)]
        self.cells = nn.ModuleList(make_cell(width) for width in widths for _ in range(self.directions))
        norms = (nn.LayerNorm(self.out_dim) for _ in widths)
        self.norms = nn.ModuleList(norms) if options.layer_norm else None
        self.highway = highway_gates(options, dim, self.out_dim)

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,), state as it came from `Encoded.state` or None -> Encoded with H = hidden x directions.

        Raises:
            ValueError: a state is carried into two directions, or it or the lengths do not fit this batch.
            TypeError: the model is being exported.
        """
        if torch.compiler.is_exporting():
            raise TypeError(
                f"{self.name} cannot be exported: it computes steps in rounds whose number depends on theirs, and an "
                "exported model must take any number of steps; rnn, lstm, gru and tdnn can be exported"
            )
        check_batch(x, lengths)
        self._check_state(x, state)
        if x.shape[1] == 0:  # no sequence at all
            encoded = self.forward(functional.pad(x, (0, 0, 0, 1)), lengths, state)
            return replace(encoded, steps=encoded.steps[:, :0])
        options, outside = self.options, ~mask_of(lengths, x.shape[1], x.device).t()[..., None]
        # No real step depends on padding; the zeros keep a NaN in it out of the weights' gradients.
        x = drop(x.transpose(0, 1).masked_fill(outside, 0.0), options.input_dropout, options.locked, self.training)
        states: list[State] = []
        for layer in range(options.layers):
            if layer:
                x = drop(x, options.dropout, options.locked, self.training)
            outputs = []
            for direction in range(self.directions):
                first = None if state is None else tuple(tensor[:, layer] for tensor in state)
                y, of_steps = self._run(self.cells[layer * self.directions + direction], x, lengths, first, direction)
                outputs.append(y)
                states.append(of_steps)
            out = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
            x = pass_on(x, out, layer, residual=options.residual, highway=self.highway, norms=self.norms)
        x = drop(x, options.output_dropout, options.locked, self.training).masked_fill(outside, 0.0)

        def continue_() -> State:
            ends = [[gather_last(tensor, lengths) for tensor in of_steps] for of_steps in states]
            return tuple(torch.stack(tensors, dim=1) for tensors in zip(*ends, strict=True))

        last = gather_last(x, lengths)
        if self.directions == 2:
            last = torch.cat([last[:, : options.hidden], x[0, :, options.hidden :]], dim=-1)
        return Encoded(x.transpose(0, 1), lengths, last, continue_)

    def extra_repr(self) -> str:
        return f"{self.name}, hidden={self.options.hidden}, layers={self.options.layers}, directions={self.directions}"

    def _run(
        self, cell: nn.Module, x: Tensor, lengths: Tensor, first: State | None, direction: int
    ) -> tuple[Tensor, State]:
        """A cell forwards, or over each sequence reversed within its length."""
        if not direction:
            y, states = cell(x, first)
            return y, states
        y, states = cell(reverse_sequences(x, lengths), first)
        return reverse_sequences(y, lengths), states

    def _check_state(self, x: Tensor, state: State | None) -> None:
        if state is None:
            return
        if self.directions == 2:
            raise ValueError(
                "a state cannot be carried on in two directions: the backward one starts at the end, which is not "
                "known before the sequence is over; set encoder.bidirectional to false"
            )
        cell: LayerCell = self.cells[0]  # type: ignore[assignment]
        shape = (x.shape[0], self.options.layers, cell.state_width)
        if len(state) != cell.states or any(tuple(tensor.shape) != shape for tensor in state):
            shapes = [tuple(tensor.shape) for tensor in state]
            raise ValueError(f"the state carried on has shapes {shapes}; this encoder needs {cell.states} of {shape}")


class MinLSTMCell(nn.Module):
    """One layer of `seqkit.encoders.minlstm` in one direction."""

    states = 1

    def __init__(self, dim: int, hidden: int, forget_bias: float) -> None:
        super().__init__()
        self.state_width = hidden
        self.gates = nn.Linear(dim, 3 * hidden)  # forget, input, candidate
        with torch.no_grad():
            for weight in self.gates.weight.chunk(3):
                nn.init.xavier_uniform_(weight)
            self.gates.bias.zero_()
            self.gates.bias[:hidden] = forget_bias

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        """(T, B, D), (B, H) -> (T, B, H), and the same as states."""
        forget, new, candidate = self.gates(x).float().chunk(3, dim=-1)
        # f / (f + i) of the two gates, whose logarithms are -softplus of minus their scores.
        keep = torch.sigmoid(functional.softplus(-new) - functional.softplus(-forget))
        h = linear_scan(keep, (1.0 - keep) * candidate, None if first is None else first[0].float())
        return h.to(x.dtype), (h,)


class MinGRUCell(nn.Module):
    """One layer of `seqkit.encoders.mingru` in one direction."""

    states = 1

    def __init__(self, dim: int, hidden: int, update_bias: float) -> None:
        super().__init__()
        self.state_width = hidden
        self.gates = nn.Linear(dim, 2 * hidden)  # what is kept, candidate
        with torch.no_grad():
            for weight in self.gates.weight.chunk(2):
                nn.init.xavier_uniform_(weight)
            self.gates.bias.zero_()
            self.gates.bias[:hidden] = update_bias

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        """(T, B, D), (B, H) -> (T, B, H), and the same as states."""
        kept, candidate = self.gates(x).float().chunk(2, dim=-1)
        keep = kept.sigmoid()
        h = linear_scan(keep, (1.0 - keep) * candidate, None if first is None else first[0].float())
        return h.to(x.dtype), (h,)


class LRUCell(nn.Module):
    """One layer of `seqkit.encoders.lru` in one direction. Its state is complex, and handed on as two real tensors."""

    states = 2

    def __init__(self, dim: int, hidden: int, size: int, radius: tuple[float, float], phase: float) -> None:
        super().__init__()
        self.state_width = size
        low, high = radius
        square = torch.rand(size) * (high**2 - low**2) + low**2
        self.decay = nn.Parameter((-0.5 * square.log()).log())
        self.angle = nn.Parameter((torch.rand(size) * phase).clamp(min=1e-6).log())
        self.scale = nn.Parameter((1.0 - square).sqrt().log())
        self.into = nn.Parameter(torch.randn(2, size, dim) / math.sqrt(2 * dim))  # real and imaginary
        self.out = nn.Parameter(torch.randn(2, hidden, size) / math.sqrt(size))
        self.skip = nn.Linear(dim, hidden)
        self.mix = nn.Linear(hidden, 2 * hidden)

    def eigenvalues(self) -> Tensor:
        """(N,) complex, each of absolute value below 1 whatever the parameters are."""
        return torch.polar(torch.exp(-self.decay.float().exp()), self.angle.float().exp())

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        """(T, B, D), two of (B, N) -> (T, B, H), and the real and imaginary states (T, B, N)."""
        single = x.float()
        driven = torch.complex(single @ self.into[0].float().t(), single @ self.into[1].float().t())
        begin = None if first is None else torch.complex(first[0].float(), first[1].float())
        h = linear_scan(self.eigenvalues(), self.scale.float().exp() * driven, begin)
        read = h.real @ self.out[0].float().t() - h.imag @ self.out[1].float().t()
        y = functional.gelu(read + self.skip(x).float()).to(x.dtype)
        return functional.glu(self.mix(y), dim=-1), (h.real, h.imag)
