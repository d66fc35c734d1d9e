"""One recurrent layer in one direction over padded sequences of true lengths.

`recur` is the only door: which implementation runs behind it is decided here, by cell and device. All of it is
time-major, (T, B, ...), which is how oneDNN and cuDNN lay recurrences out; the encoder turns the axes once.

Packed sequences are never used. On a CPU they keep an LSTM from oneDNN, and on a GPU they forbid cuDNN's persistent
kernels. Nothing is lost: padding stands on the right, so no step before a sequence's end ever reads it, and the
backward direction runs over sequences that are turned round within their own lengths.
"""

from __future__ import annotations

from seqkit.kernels.padded import Ran, recur
from seqkit.kernels.rows import all_full, at_end, flip, real_rows, upload

__all__ = ["Ran", "all_full", "at_end", "flip", "real_rows", "recur", "upload"]
