"""The processes that train one model together, as `torch.distributed` connects them (gloo on CPUs, NCCL on GPUs).

A process learns from the environment (RANK, WORLD_SIZE, MASTER_ADDR, ..., as torchrun sets them) which of them it is.
Everything here but `rank` and `size` is a meeting of all processes: each of them has to call it, in the same order.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seqkit.errors import QuietExit, RunError, SeqkitError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

_PATIENCE: Final = timedelta(days=7)
"""Others may wait as long as the first process prepares data. A process that ends is noticed at once, whatever this."""


class RankLost(RunError):
    """Another process has ended, or cannot be reached."""


@dataclass(frozen=True)
class Ranks:
    """One process of those that train a model together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number among those on its machine.
        store: what processes leave for each other.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    store: Any = field(default=None, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether it is the process that writes the run folder."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    def wait(self) -> None:
        """Go on when all have come here."""
        if not self.is_alone:
            self._meet(lambda distributed: distributed.barrier())

    def share(self, make: Callable[[], T]) -> T:
        """What the first process makes, for all."""
        if self.is_alone:
            return make()
        values = [make() if self.is_first else None]
        self._meet(lambda distributed: distributed.broadcast_object_list(values, src=0))
        return values[0]  # type: ignore[return-value]

    def first_then_others(self, make: Callable[[], T]) -> T:
        """What `make` gives in each process: in the first one before it is called in the others."""
        value = make() if self.is_first else None
        self.wait()
        return value if self.is_first else make()  # type: ignore[return-value]

    def first_on_each_machine(self, make: Callable[[], T]) -> T:
        """What `make` gives in each process: first on one process of each machine, then on the others."""
        if self.is_alone:
            return make()
        value = make() if self.local_rank == 0 else None
        self.wait()
        return make() if self.local_rank else value  # type: ignore[return-value]

    def collect(self, value: T) -> list[T]:
        """The values of all processes, in order."""
        if self.is_alone:
            return [value]
        values: list[Any] = [None] * self.size
        self._meet(lambda distributed: distributed.all_gather_object(values, value))
        return values

    def collect_first(self, value: T) -> list[T] | None:
        """The values of all processes, in order, for the first process; None for the others."""
        if self.is_alone:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        self._meet(lambda distributed: distributed.gather_object(value, values, dst=0))
        return values

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, in order; they have one shape."""
        if self.is_alone:
            return [tensor]
        tensors = [tensor.new_empty(tensor.shape) for _ in range(self.size)]
        self._meet(lambda distributed: distributed.all_gather(tensors, tensor.contiguous()))
        return tensors

    def sum_in_place(self, tensor: Tensor) -> None:
        """Make a tensor the sum of those of all processes."""
        if not self.is_alone:
            self._meet(lambda distributed: distributed.all_reduce(tensor))

    def _meet(self, call: Callable[[Any], object]) -> None:
        import torch.distributed

        try:
            call(torch.distributed)
        except RuntimeError as error:  # of which torch's DistBackendError is one
            if "out of memory" in str(error).lower():
                raise
            reason = " ".join(str(error).split())[:200]
            raise RankLost(
                f"process {self.rank} of {self.size}: another process has ended or cannot be reached, so this one ends "
                f"too; its last checkpoint is valid, go on with --resume ({reason})"
            ) from error


ALONE: Final = Ranks()


def named_by_environment() -> tuple[int, int]:
    """(rank, size) as the environment says; (0, 1) if it says nothing of several processes.

    Raises:
        UsageError: it makes no sense.
    """
    environment: Mapping[str, str] = os.environ
    if environment.get("WORLD_SIZE", "1") == "1":
        return 0, 1
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except (KeyError, ValueError):
        raise UsageError("RANK and WORLD_SIZE are not two numbers; start several processes with torchrun") from None
    if not 0 <= rank < size:
        raise UsageError(f"RANK is {rank} and WORLD_SIZE is {size}; start with torchrun")
    return rank, size


@contextmanager
def joined(*, uses_gpu: bool) -> Iterator[Ranks]:
    """Within the block, this process and the others that the environment tells of are connected.

    An error that ends one process is told once, by the process that has it.

    Args:
        uses_gpu: whether tensors on GPUs are to be exchanged.

    Raises:
        RunError: the others cannot be reached.
        QuietExit: another process has told why all of them end.
    """
    rank, size = named_by_environment()
    if size == 1:
        yield ALONE
        return
    import torch.distributed as distributed

    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if uses_gpu else "gloo", rank=rank, world_size=size, timeout=_PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"process {rank} of {size} on {socket.gethostname()} cannot reach the others: {reason}"
        ) from error
    store = distributed.distributed_c10d._get_default_store()
    ranks = Ranks(rank, size, int(os.environ.get("LOCAL_RANK", rank)), store)
    try:
        yield ranks
    except SeqkitError as error:
        if not _speaks(ranks, error):
            raise QuietExit(error.exit_code) from error
        raise
    finally:
        distributed.destroy_process_group()


def _speaks(ranks: Ranks, error: SeqkitError) -> bool:
    """Whether this process tells its error: the first that has one of its own."""
    import time

    if isinstance(error, RankLost):
        time.sleep(1.0)  # whoever has ended may just be saying why
    try:
        return int(ranks.store.add("seqkit/errors", 1)) == 1
    except RuntimeError:  # the process that keeps the store is gone
        return isinstance(error, RankLost) and ranks.rank == 1


def deal(lengths: Tensor, shards: int) -> list[list[int]]:
    """The rows of a batch in `shards` parts of about equal length, each in the order of the batch.

    From long to short, rows go to parts 0, 1, ..., n - 1, n - 1, ..., 1, 0, 0, ...: a function of the lengths (B,).
    """
    order: Sequence[int] = lengths.argsort(descending=True, stable=True).tolist()
    parts: list[list[int]] = [[] for _ in range(shards)]
    for number, row in enumerate(order):
        turn, place = divmod(number, shards)
        parts[place if turn % 2 == 0 else shards - 1 - place].append(row)
    return [sorted(part) for part in parts]


def local_device(device: torch.device, ranks: Ranks) -> torch.device:
    """The GPU of this process, where the recipe's device is a GPU.

    Raises:
        UsageError: this machine has fewer GPUs than processes.
    """
    import torch

    if ranks.is_alone or device.type != "cuda":
        return device
    if ranks.local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"process {ranks.rank} is number {ranks.local_rank} on its machine, which has {torch.cuda.device_count()} "
            "GPUs: start one process for each GPU, or set device: cpu"
        )
    device = torch.device("cuda", ranks.local_rank)
    torch.cuda.set_device(device)
    return device
