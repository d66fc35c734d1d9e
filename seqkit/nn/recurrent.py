"""`LSTM`, `GRU` and `RNN`: torch's modules with another forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seqkit.nn.compiling import outside_graphs
from seqkit.nn.layers import run_layers

Lengths: TypeAlias = Sequence[int] | Tensor


class LSTM(nn.LSTM):
    """A `torch.nn.LSTM` that is faster on a CPU. Weights, outputs and `state_dict` are the same, also in gradients.

    Args:
        input_size: width of an input step.
        hidden_size: width of the state.
        num_layers: how many layers, each above the other.
        bias: whether there are biases.
        batch_first: whether inputs and outputs are (B, T, ...) instead of (T, B, ...). States are not affected.
        dropout: share of values that is dropped between layers in training.
        bidirectional: whether a second direction runs from the end to the beginning.
        proj_size: projections are not supported; 0 is the only value.
        device: as in torch.
        dtype: as in torch.

    Raises:
        ValueError: an argument is not possible, or projections are asked for.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if proj_size:
            raise ValueError("seqkit.nn.LSTM has no projections: leave proj_size at 0, or use torch.nn.LSTM")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )

    @outside_graphs
    def forward(  # type: ignore[override]
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """As in torch, plus `lengths`: how many steps each sequence of a padded batch has.

        With `lengths`, outputs past a sequence's end are zero, and the final state is the one after each sequence's own
        last step. A length of 0 is possible: its outputs are zero and its final state is the initial one.

        Raises:
            ValueError: the lengths do not fit the input. Other mistakes raise what torch raises.
        """
        output, (h, c) = run_layers(self, super().forward, input, hx, lengths)
        return output, (h, c)


class GRU(nn.GRU):
    """A `torch.nn.GRU` that is faster on a CPU. Weights, outputs and `state_dict` are the same, also in gradients.

    Args:
        input_size: width of an input step.
        hidden_size: width of the state.
        num_layers: how many layers, each above the other.
        bias: whether there are biases.
        batch_first: whether inputs and outputs are (B, T, ...) instead of (T, B, ...). States are not affected.
        dropout: share of values that is dropped between layers in training.
        bidirectional: whether a second direction runs from the end to the beginning.
        device: as in torch.
        dtype: as in torch.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype
        )

    @outside_graphs
    def forward(  # type: ignore[override]
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """As in torch, plus `lengths`, which `LSTM.forward` explains.

        Raises:
            ValueError: the lengths do not fit the input. Other mistakes raise what torch raises.
        """
        return run_layers(self, super().forward, input, hx, lengths)


class RNN(nn.RNN):
    """A `torch.nn.RNN` that is faster on a CPU. Weights, outputs and `state_dict` are the same, also in gradients.

    Args:
        input_size: width of an input step.
        hidden_size: width of the state.
        num_layers: how many layers, each above the other.
        nonlinearity: `tanh` or `relu`.
        bias: whether there are biases.
        batch_first: whether inputs and outputs are (B, T, ...) instead of (T, B, ...). States are not affected.
        dropout: share of values that is dropped between layers in training.
        bidirectional: whether a second direction runs from the end to the beginning.
        device: as in torch.
        dtype: as in torch.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )

    @outside_graphs
    def forward(  # type: ignore[override]
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """As in torch, plus `lengths`, which `LSTM.forward` explains.

        Raises:
            ValueError: the lengths do not fit the input. Other mistakes raise what torch raises.
        """
        return run_layers(self, super().forward, input, hx, lengths)
