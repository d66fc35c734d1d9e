"""Packing and padding as torch has them, with gradients that are copies of rows.

torch's functions copy one block for each step at which a sequence ends, and the gradient of `pad_packed_sequence`
copies the whole padded batch each time. Here torch's functions arrange the numbers of the rows, and one copy follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from seqkit.kernels import pad, unpad
from seqkit.nn.checks import is_plain, is_transformed
from seqkit.nn.compiling import outside_graphs


@outside_graphs
def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The same as `torch.nn.utils.rnn.pack_padded_sequence`, with a faster gradient on a CPU."""
    if not _is_trained(input) or input.dim() < 2:
        return rnn.pack_padded_sequence(input, lengths, batch_first, enforce_sorted)  # type: ignore[arg-type]
    numbers = torch.arange(input.shape[0] * input.shape[1]).view(input.shape[:2])
    packed = rnn.pack_padded_sequence(numbers, lengths, batch_first, enforce_sorted)  # type: ignore[arg-type]
    return PackedSequence(unpad(input.flatten(0, 1), packed.data), *packed[1:])


@outside_graphs
def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The same as `torch.nn.utils.rnn.pad_packed_sequence`, with a faster gradient on a CPU."""
    data = sequence.data
    if not _is_trained(data) or padding_value != 0:
        return rnn.pad_packed_sequence(sequence, batch_first, padding_value, total_length)
    numbers = PackedSequence(torch.arange(len(data)), *sequence[1:])
    padded, lengths = rnn.pad_packed_sequence(numbers, batch_first, -1, total_length)
    places = (padded.flatten() >= 0).nonzero().squeeze(1)
    index = torch.empty_like(places).scatter_(0, padded.flatten()[places], places)
    return pad(data, index, padded.numel()).view(*padded.shape, *data.shape[1:]), lengths


def _is_trained(tensor: Any) -> bool:
    """Whether it is a tensor on the CPU whose gradient is asked for."""
    is_on_cpu = is_plain(tensor) and tensor.device.type == "cpu"
    return is_on_cpu and tensor.requires_grad and torch.is_grad_enabled() and not is_transformed()
