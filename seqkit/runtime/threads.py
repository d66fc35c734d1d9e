"""How many threads a resumed run computes with: as many as it was recorded with, because sums are split by threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import torch

from seqkit.runtime.machine import usable_cores

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Who sets one of them asks for a number of threads."""


@contextlib.contextmanager
def as_recorded(recorded: int | None, tell: Callable[[str], object]) -> Iterator[None]:
    """Within the block torch computes with the threads that a run was recorded with, unless the user asks for others.

    Args:
        recorded: threads of each process; None: nothing is recorded, and nothing changes.
        tell: gets a sentence if the number is another than it would have been.
    """
    usual = torch.get_num_threads()
    if recorded is None or recorded == usual or is_asked_for():
        yield
        return
    cores, processes = usable_cores(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    tell(f"threads of each process: {recorded}, as this run was recorded with (here it would be {usual})")
    if recorded * processes > cores:
        tell(
            f"{recorded * processes} threads on {cores} cores are slow; OMP_NUM_THREADS={max(1, cores // processes)} "
            "and --accept-changes go on with fewer, which may change the last bits"
        )
    torch.set_num_threads(recorded)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def is_asked_for() -> bool:
    """Whether the user has set a number of threads. The 1 of torchrun, which it sets itself, does not count."""
    values = [os.environ[name] for name in VARIABLES if os.environ.get(name)]
    several = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1
    is_of_torchrun = several and "TORCHELASTIC_RESTART_COUNT" in os.environ and values == ["1"]
    return bool(values) and not is_of_torchrun
