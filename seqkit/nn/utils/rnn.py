"""The names of `torch.nn.utils.rnn`; packing and padding have faster gradients on a CPU."""

from __future__ import annotations

from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_sequence, unpack_sequence, unpad_sequence

from seqkit.nn.packing import pack_padded_sequence, pad_packed_sequence

__all__ = [
    "PackedSequence",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]
