"""Kernels in Triton on the emulated GPU: each launch is one operation, and Triton's interpreter carries it out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

import numpy as np

from tests.gpu.emulation import graphs
from tests.gpu.emulation.tensors import held, records

MODULES: Final = ("triton_alignments", "triton_chains", "triton_draws", "triton_recurrence")


class Launched:
    """A kernel of which `kernel[grid](...)` is recorded."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*args: Any, **kwargs: Any) -> None:
            records.count(f"Triton: {self.kernel.__name__}", is_view=False)
            numbers = [held(value) for value in args]

            def run() -> None:
                with np.errstate(all="ignore"):  # the interpreter computes with NumPy, which warns of log(0)
                    self.kernel[grid](*numbers, **kwargs)

            run()
            graphs.add(run)

        return launch


@contextmanager
def interpreted() -> Iterator[None]:
    """Within the block, seqkit's kernels run where their tensors are held. The process needs TRITON_INTERPRET=1."""
    from triton.runtime.interpreter import InterpretedFunction

    patches = []
    for name in MODULES:
        module = importlib.import_module(f"seqkit.kernels.{name}")
        for kernel_name, kernel in vars(module).items():
            if isinstance(kernel, InterpretedFunction) and not kernel_name.startswith("_"):
                patches.append(mock.patch.object(module, kernel_name, Launched(kernel)))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
