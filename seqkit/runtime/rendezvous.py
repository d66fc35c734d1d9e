"""How processes that train together find each other: through a store at MASTER_ADDR:MASTER_PORT.

torchrun keeps that store itself, and starts all processes again when one has ended (`--max-restarts`). The store then
still holds what those before them wrote: their addresses, which lead nowhere, and the run folder, to go on with.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from seqkit.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import PrefixStore, Store

JOIN_SECONDS: Final = 600.0
"""Processes that are started together come within this time; imports from a slow file system take minutes."""

_RUN_FOLDER: Final = "seqkit/run folder"
_ROUND: Final = "seqkit/round"


def is_kept_by_torchrun() -> bool:
    """Whether the store outlives this process."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def open_store(rank: int) -> Store:
    """A connection to the store, which the process of rank 0 keeps unless torchrun does.

    Raises:
        UsageError: the environment does not tell where it is.
        RunError: it cannot be reached.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise UsageError(
            "MASTER_ADDR and MASTER_PORT do not name a place; start several processes with torchrun"
        ) from None
    keeps, patience = rank == 0 and not is_kept_by_torchrun(), timedelta(seconds=JOIN_SECONDS)
    try:
        return TCPStore(host, port, is_master=keeps, timeout=patience, wait_for_workers=False)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"process {rank} cannot reach the others at {host}:{port}: {first_sentence(error)}") from error


def meet(store: Store, rank: int, size: int, *, seconds: float = JOIN_SECONDS) -> PrefixStore:
    """A part of the store for these processes alone; what those before them wrote is not in it.

    The first process names the part. Another one knows that it has read the name of the present start, not of an
    earlier one, when the part holds the number that it has just drawn.

    Raises:
        RunError: not all processes have come within some seconds.
    """
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    token, deadline = secrets.token_hex(8), time.monotonic() + seconds
    others = range(1, size)
    if rank == 0:
        store.set(_ROUND, token)
    while True:
        name = token if rank == 0 else _read(store, _ROUND)
        if rank == 0 and store.check([f"seqkit/{token}/here/{other}" for other in others]):
            for other in others:
                store.set(f"seqkit/{token}/seen/{other}", _read(store, f"seqkit/{token}/here/{other}"))
            return PrefixStore(f"seqkit/{token}", store)
        if rank and name:
            store.set(f"seqkit/{name}/here/{rank}", token)
            if _read(store, f"seqkit/{name}/seen/{rank}") == token:
                return PrefixStore(f"seqkit/{name}", store)
        if time.monotonic() > deadline:
            raise RunError(f"process {rank} of {size}: the others have not come within {seconds:.0f} s")
        time.sleep(0.05)


def remember_run(folder: Path) -> None:
    """Should torchrun start all processes again, they go on with the run in this folder. Called by the first one."""
    if is_kept_by_torchrun():
        open_store(0).set(_RUN_FOLDER, str(folder))


def run_before_restart() -> Path | None:
    """The folder of the run that processes of the same torchrun have begun; None if this is its first start."""
    if not is_kept_by_torchrun():
        return None
    folder = _read(open_store(1), _RUN_FOLDER)
    return Path(folder) if folder else None


def first_sentence(error: BaseException) -> str:
    """What an error of torch's says, without the place in its source and without advice."""
    words = [word for word in str(error).split() if "third_party/" not in word]
    return " ".join(words).partition(". ")[0][:200].rstrip(".")


def _read(store: Store, key: str) -> str:
    """The text of a key; empty if there is none. (To get what is not there would wait for it.)"""
    return store.get(key).decode() if store.check([key]) else ""
