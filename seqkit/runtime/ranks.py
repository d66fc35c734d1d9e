"""The processes that train one model together, as `torch.distributed` connects them (gloo on CPUs, NCCL on GPUs).

A process learns from the environment (RANK, WORLD_SIZE, MASTER_ADDR, ..., as torchrun sets them) which of them it is.
Everything here but `rank` and `size` is a meeting of all processes: each of them has to call it, in the same order.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seqkit.errors import QuietExit, RunError, SeqkitError, UsageError
from seqkit.runtime.heartbeat import EXIT_CODE, Heartbeat, timeout_seconds
from seqkit.runtime.rendezvous import first_sentence, is_kept_by_torchrun, meet, open_store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

_PATIENCE: Final = timedelta(days=7)
"""Others may wait as long as the first process prepares data. A process that ends is noticed at once, whatever this."""

_LINGER_SECONDS: Final = 15.0


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
        when_lost: called with a sentence before this process ends because another one has stopped; see `heartbeat`.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    store: Any = field(default=None, repr=False)
    when_lost: list[Callable[[str], object]] = field(default_factory=list, repr=False, compare=False)

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

    def start_sum(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Begin to make a tensor the sum of those of all processes; a call of what is returned waits for it."""
        if self.is_alone:
            return lambda: tensor
        work = self._meet(lambda distributed: distributed.all_reduce(tensor, async_op=True))

        def finish() -> Tensor:
            self._meet(lambda distributed: work.wait())
            return tensor

        return finish

    def start_gather(self, tensor: Tensor) -> Callable[[], list[Tensor]]:
        """Begin to collect the tensors of all processes, which have one shape; a call of what is returned waits."""
        tensors = [tensor.new_empty(tensor.shape) for _ in range(self.size)]
        work = self._meet(lambda distributed: distributed.all_gather(tensors, tensor, async_op=True))

        def finish() -> list[Tensor]:
            self._meet(lambda distributed: work.wait())
            return tensors

        return finish

    def _meet(self, call: Callable[[Any], Any]) -> Any:
        import torch.distributed

        try:
            return call(torch.distributed)
        except RuntimeError as error:  # of which torch's DistBackendError is one
            if "out of memory" in str(error).lower():
                raise
            raise RankLost(
                f"process {self.rank} of {self.size}: another process has ended or cannot be reached, so this one ends "
                f"too; the last checkpoint is valid, go on with --resume ({first_sentence(error)})"
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


@contextlib.contextmanager
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

    seconds = timeout_seconds()
    store = meet(open_store(rank), rank, size)
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if uses_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"process {rank} of {size} on {socket.gethostname()} cannot reach the others: {first_sentence(error)}"
        ) from error
    ranks = Ranks(rank, size, int(os.environ.get("LOCAL_RANK", rank)), store)
    heartbeat = Heartbeat(store, rank, size, seconds, lambda sentence: _end(ranks, sentence))
    heartbeat.start()
    has_succeeded, living = False, size
    try:
        yield ranks
        has_succeeded = True
    except SeqkitError as error:
        living = size - isinstance(error, RankLost)
        code = _told_code(ranks, error, heartbeat)
        if code is not None:
            raise QuietExit(code) from error
        error.is_for_all = True
        raise
    finally:
        if not has_succeeded and rank == 0 and not is_kept_by_torchrun():
            heartbeat.wait_until_heard(living - 1, _LINGER_SECONDS)  # the store ends with this process
        heartbeat.stop(has_succeeded=has_succeeded)
        distributed.destroy_process_group()


def _told_code(ranks: Ranks, error: SeqkitError, heartbeat: Heartbeat) -> int | None:
    """The exit code of the process that tells why all of them end; None if it is this one.

    It is the first that has an error of its own.
    """
    is_own = not isinstance(error, RankLost)
    if not is_own:
        time.sleep(1.0)  # whoever has ended may just be saying why
    if heartbeat.told_code is not None:
        return heartbeat.told_code
    try:
        if ranks.store.add("errors", 1) == 1:
            ranks.store.set(EXIT_CODE, str(error.exit_code))
            return None
        return int(ranks.store.get(EXIT_CODE)) if ranks.store.check([EXIT_CODE]) else error.exit_code
    except RuntimeError:  # the process that keeps the store has ended without a word
        return None if is_own or ranks.rank == 1 else error.exit_code


def _end(ranks: Ranks, sentence: str) -> None:
    """End this process, which may wait for the one that was lost: nothing else ends a call of gloo's or NCCL's."""
    with contextlib.suppress(Exception):  # whatever they raise, this process has to end, and says why below
        for call in ranks.when_lost:
            call(sentence)
    os.write(2, f"{sentence}\n".encode())
    os._exit(RunError.exit_code)


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
