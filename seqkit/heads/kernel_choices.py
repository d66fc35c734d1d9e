"""Which kernels other than recurrent layers run on a GPU, for the log of a run, its record, and `seqkit doctor`."""

from __future__ import annotations

import torch

from seqkit.heads import crf_algorithms, ctc_algorithms
from seqkit.kernels import TritonChoice, dropout_choice

STATES, SYMBOLS = 9, 7
"""Of the cases that stand for all. Kernels are compiled for each number of states and each power of two of symbols."""


def kernel_choices(device: torch.device) -> dict[str, TritonChoice]:
    """For each kind of kernel, whether those in Triton run on `device`. The first call compares them with torch's.

    Kernels for other sizes are compared when they are first needed. Their outcome depends on the device and on
    versions, as that of these does.

    Raises:
        UsageError: Triton is requested by name, and is not installed.
    """
    return {
        "dropout": dropout_choice(device, torch.float32),
        "random fields": crf_algorithms.chains_choice(device, STATES),
        "CTC": ctc_algorithms.alignments_choice(device, SYMBOLS),
    }
