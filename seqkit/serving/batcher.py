"""Requests of many clients, computed together: a queue with a bound on time and on size.

While a batch is computed, further requests wait, so a busy server makes large batches by itself. A request that is
alone waits `batch_wait` seconds for company if there was any before: a single client is answered at once. Predictions
do not depend on what else is in a batch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from seqkit.serving.limits import Limits

In = TypeVar("In")
Out = TypeVar("Out")


class Overloaded(Exception):
    """Too many requests wait already."""


@dataclass
class _Job(Generic[In, Out]):
    """A request: its inputs, their size, and where its answer goes."""

    inputs: Sequence[In]
    size: int
    answer: asyncio.Future[list[Out]]


class Batcher(Generic[In, Out]):
    """Collects the inputs of several requests and computes them with one call, in a thread of `executor`.

    Args:
        compute: inputs -> an output for each.
        executor: where it runs.
        limits: `batch_items`, `batch_size`, `batch_wait` and `waiting` are used.
        on_batch: called with the number of inputs of each batch.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[In]], list[Out]],
        executor: Executor,
        limits: Limits,
        on_batch: Callable[[int], object] = lambda count: None,
    ) -> None:
        self._compute, self._executor, self._limits, self._on_batch = compute, executor, limits, on_batch
        self._jobs: deque[_Job[In, Out]] = deque()
        self._arrived = asyncio.Event()
        self._had_company = False
        """Whether the newest batch had several requests, or others had come by its end."""

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._jobs)

    async def submit(self, inputs: Sequence[In], size: int) -> list[Out]:
        """The outputs for these inputs. Cancelling it withdraws a request whose batch has not begun.

        Raises:
            Overloaded: the queue is full.
        """
        if len(self._jobs) >= self._limits.waiting:
            raise Overloaded
        job = _Job[In, Out](inputs, size, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        return await job.answer

    async def run(self) -> None:
        """Compute batches for ever; to be cancelled."""
        while True:
            await self._arrived.wait()
            if self._waits_for_company():
                await asyncio.sleep(self._limits.batch_wait)
            jobs = self._take()
            if not self._jobs:
                self._arrived.clear()
            if jobs:
                await self._answer(jobs)
                self._had_company = len(jobs) > 1 or bool(self._jobs)

    def _waits_for_company(self) -> bool:
        limits = self._limits
        return self._had_company and len(self._jobs) == 1 and limits.batch_items > 1 and limits.batch_wait > 0

    def _take(self) -> list[_Job[In, Out]]:
        """The next jobs, at least one, as many as fit into a batch. Those that were withdrawn are dropped."""
        jobs: list[_Job[In, Out]] = []
        items = size = 0
        while self._jobs:
            job = self._jobs[0]
            items, size = items + len(job.inputs), size + job.size
            if jobs and (items > self._limits.batch_items or size > self._limits.batch_size):
                break
            self._jobs.popleft()
            if job.answer.cancelled():
                items, size = items - len(job.inputs), size - job.size
            else:
                jobs.append(job)
        return jobs

    async def _answer(self, jobs: Sequence[_Job[In, Out]]) -> None:
        """Compute a batch. If that fails, each of its jobs by itself, so that no request suffers from another one."""
        inputs = [value for job in jobs for value in job.inputs]
        self._on_batch(len(inputs))
        loop = asyncio.get_running_loop()
        try:
            outputs = iter(await loop.run_in_executor(self._executor, self._compute, inputs))
        except Exception as error:
            if len(jobs) == 1:
                _settle(jobs[0].answer, error=error)
                return
            for job in jobs:
                await self._answer([job])
            return
        for job in jobs:
            _settle(job.answer, [next(outputs) for _ in job.inputs])


def _settle(
    answer: asyncio.Future[list[Out]], outputs: list[Out] | None = None, error: Exception | None = None
) -> None:
    """Give an answer, unless nobody waits for it any more."""
    with contextlib.suppress(asyncio.InvalidStateError):
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(outputs or [])
