"""The fast parts as plain torch modules: an import is all that a training script changes.

`LSTM`, `GRU` and `RNN` take the arguments of their counterparts in `torch.nn`, have their weights under the same names,
and return the same numbers; they also take `lengths=`. On a CPU they compute real steps only, in C++ where a compiler
is found. Wherever that does not apply (a GPU, weights in half precision, a traced model), torch's own call runs.

`pack_padded_sequence` and `pad_packed_sequence` are torch's, with faster gradients, also as `utils.rnn` has them. `CRF`
has the interface and the numbers of pytorch-crf's, and also gives marginals and the n best sequences.

`Dropout`, `draw_uniform` and `draw_normal` are for modules that seqkit trains: what they draw for an example depends on
the seed, the step and the example alone. `stack_cells` makes an encoder of a cell of your own, and `reverse_sequences`
reverses each sequence of a padded batch within its own length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn as _torch

from seqkit import public_api
from seqkit.kernels import draw_normal, draw_uniform, reverse_sequences
from seqkit.layers.dropout import Dropout
from seqkit.nn import utils as utils
from seqkit.nn.crf import CRF
from seqkit.nn.packing import pack_padded_sequence, pad_packed_sequence
from seqkit.nn.recurrent import GRU, LSTM, RNN
from seqkit.nn.stacked import stack_cells

__all__ = [
    "CRF",
    "Dropout",
    "GRU",
    "LSTM",
    "RNN",
    "draw_normal",
    "draw_uniform",
    "pack_padded_sequence",
    "pad_packed_sequence",
    "reverse_sequences",
    "stack_cells",
]

if TYPE_CHECKING:
    from torch.nn import *  # type: ignore[no-redef, assignment]  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        """What torch has under this name, or a deprecated name as long as it still works."""
        if not name.startswith("_") and hasattr(_torch, name):
            return getattr(_torch, name)
        return public_api.deprecated_attribute(__name__, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *(name for name in dir(_torch) if not name.startswith("_"))})
