"""States that are not plain tensors, taken apart into named tensors and JSON, and put together again exactly.

`pack` and `unpack` serve any tree of dictionaries, lists, tuples, numbers and tensors, such as an optimiser's
`state_dict()`. `random_state` and `restore_random_state` serve the generators whose next number a resumed run needs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from seqkit.types import JSON


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Whatever the block draws from Python's or NumPy's global generators, both stand afterwards where they stood.

    For what a resumed run does not do, or does at another time: libraries draw numbers when they are first imported.
    """
    plain, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(legacy)


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
    """Set all generators as they were. States of CUDA devices that this machine lacks are passed over.

    Checkpoints of the first version have none of NumPy's; it is then left as it is.
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
