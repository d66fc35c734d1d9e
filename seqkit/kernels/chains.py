"""Which kernels compute the sums and the best paths of linear chains: C++ on a CPU, Triton on a GPU, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from seqkit.kernels.dispatch import runs_native
from seqkit.kernels.native import native_best_paths, native_chain_gradient, native_chain_sums
from seqkit.kernels.triton_choice import TritonChoice
from seqkit.kernels.triton_sums import MAX_CLASSES, triton_best_paths, triton_chain_gradient, triton_chain_sums


@dataclass(frozen=True)
class ChainKernels:
    """Kernels with the arguments and results of their counterparts in `seqkit.kernels.native`.

    Attributes:
        sums: log Z, alpha, beta, and the scores of paths.
        gradient: of log Z, or of log Z less the scores of paths.
        best_paths: of each chain the best path and its score.
    """

    sums: Callable[..., tuple[Tensor, Tensor, Tensor | None, Tensor | None]]
    gradient: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
    best_paths: Callable[..., tuple[Tensor, Tensor]]


NATIVE: Final = ChainKernels(native_chain_sums, native_chain_gradient, native_best_paths)
TRITON: Final = ChainKernels(triton_chain_sums, triton_chain_gradient, triton_best_paths)


def chain_kernels(device: torch.device, classes: int, choose: Callable[[], TritonChoice]) -> ChainKernels | None:
    """The kernels for chains of so many states on `device`; None: there are none, and torch's operations do it.

    `choose` says whether those in Triton are used.
    """
    if runs_native(device):
        return NATIVE
    return TRITON if classes <= MAX_CLASSES and choose().is_triton else None
