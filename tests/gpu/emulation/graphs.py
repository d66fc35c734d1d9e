"""CUDA graphs on the emulated GPU: what was launched within a capture is carried out again, on the same tensors.

As on a device, numbers of Python and of the CPU are those of the capture at each launch, and what waits for the device
or reads the CPU's memory cannot be captured. Unlike there, a capture also carries out what it captures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.gpu.emulation.records import Records


class Graph:
    """`torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.launches: list[Callable[[], None]] = []

    def replay(self) -> None:
        Capture.records.count("CUDA graph", is_view=False)
        with torch._C._DisableTorchDispatch(), torch.no_grad():  # type: ignore[attr-defined]
            for launch in self.launches:
                launch()


class Capture:
    """What is being captured in this process, where a graph counts as one operation.

    Attributes:
        graph: None outside of a capture.
        records: of the process.
    """

    graph: Graph | None = None
    records: Records


@contextlib.contextmanager
def capturing(graph: Graph, **options: Any) -> Iterator[None]:
    """`torch.cuda.graph`."""
    assert Capture.graph is None
    Capture.graph = graph
    try:
        yield
    finally:
        Capture.graph = None


class Stream:
    """`torch.cuda.Stream`: all work is done already."""

    def wait_stream(self, other: Stream) -> None: ...


def add(launch: Callable[[], None]) -> None:
    """Something that a kernel does, if a graph is being captured."""
    if Capture.graph is not None:
        Capture.graph.launches.append(launch)


def add_operation(function: Any, args: Any, kwargs: Any, result: Any) -> None:
    """An operation on the tensors that hold the numbers, and what it gave."""
    if Capture.graph is None:
        return
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]

    def launch() -> None:
        again = [leaf for leaf in tree_leaves(function(*args, **kwargs)) if isinstance(leaf, Tensor)]
        for output, new in zip(outputs, again, strict=True):
            if output.data_ptr() != new.data_ptr():
                output.copy_(new)

    add(launch)


def refuse(trouble: str) -> None:
    """What a device refuses within a capture."""
    if Capture.graph is not None:
        raise RuntimeError(f"operation not permitted when stream is capturing: {trouble}")
