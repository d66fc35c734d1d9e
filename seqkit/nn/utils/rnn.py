"""The names of `torch.nn.utils.rnn`; packing and padding have faster gradients on a CPU."""

from __future__ import annotations

from torch.nn.utils.rnn import *  # noqa: F403
from torch.nn.utils.rnn import __all__ as __all__

from seqkit.nn.packing import pack_padded_sequence as pack_padded_sequence
from seqkit.nn.packing import pad_packed_sequence as pad_packed_sequence
