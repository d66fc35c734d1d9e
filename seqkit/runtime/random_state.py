"""The states of all global random generators, as tensors and JSON: a resumed run draws the numbers that come next."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import Tensor

from seqkit.types import JSON

DRAWING: Final = threading.RLock()
"""Held by a thread while it draws numbers that must follow each other, or while it sets the generators back: a training
step, and the building of a model whose weights are in a file. The generators belong to the whole process."""


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore Python's and NumPy's global generators after the block, whatever it draws.

    For work that a resumed run does not do, or does at another time: libraries may draw numbers when they are first
    imported.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def random_state() -> tuple[dict[str, Tensor], JSON]:
    """The states of Python's generator, NumPy's global one, torch's on the CPU and on each CUDA device that is in use.

    Returns:
        byte tensors `cpu`, `cuda.0`, `numpy`, ...; and `{"python": [version, [integers], next gaussian or None],
        "numpy": [position, has gaussian, gaussian]}`.
    """
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"cuda.{index}"] = state
    version, integers, gaussian = random.getstate()
    _, keys, *rest = np.random.get_state()
    tensors["numpy"] = torch.from_numpy(np.array(keys, dtype="<u4").view(np.uint8))
    return tensors, {"python": [version, list(integers), gaussian], "numpy": rest}


def restore_random_state(tensors: Mapping[str, Tensor], state: JSON) -> None:
    """Set all generators to these states. States of CUDA devices that this machine lacks are ignored.

    Checkpoints of the first version have no state of NumPy's generator, which then stays as it is.
    """
    version, integers, gaussian = state["python"]
    random.setstate((version, tuple(integers), gaussian))
    torch.set_rng_state(tensors["cpu"])
    if "numpy" in tensors:
        keys = tensors["numpy"].numpy().view("<u4")
        np.random.set_state(("MT19937", keys, *state["numpy"]))
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"cuda.{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)
