"""Batches: bounded, in order, and no request suffers from another one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from seqkit.serving.batcher import Batcher, Overloaded
from seqkit.serving.limits import Limits


def run_jobs(jobs: Sequence[Sequence[int]], limits: Limits, fails: int | None = None) -> tuple[list[Any], list[int]]:
    """The answers to jobs that are submitted at once, and the sizes of the batches. The input `fails` raises."""
    batches: list[int] = []

    def compute(inputs: Sequence[int]) -> list[int]:
        if fails in inputs:
            raise RuntimeError(f"{fails} is unlucky")
        return [value * value for value in inputs]

    async def main() -> list[Any]:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(compute, executor, limits, batches.append)
            worker = asyncio.create_task(batcher.run())
            answers = [asyncio.create_task(batcher.submit(job, len(job))) for job in jobs]
            results = await asyncio.gather(*answers, return_exceptions=True)
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
            return results

    return asyncio.run(main()), batches


def test_requests_are_computed_together_and_each_gets_its_own_answers() -> None:
    jobs = [[1, 2], [3], [], [4, 5, 6]]
    results, batches = run_jobs(jobs, Limits())
    assert results == [[1, 4], [9], [], [16, 25, 36]]
    assert batches == [6]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(batch_items=2), [2, 1, 3]),
        (Limits(batch_items=1), [2, 1, 3]),
        (Limits(batch_items=3), [3, 3]),
        (Limits(batch_size=4), [3, 3]),
    ],
)
def test_a_batch_is_bounded(limits: Limits, expected: list[int]) -> None:
    results, batches = run_jobs([[1, 2], [3], [4, 5, 6]], limits)
    assert results == [[1, 4], [9], [16, 25, 36]]
    assert batches == expected


def test_only_who_had_company_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def submit(rounds: Sequence[int]) -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher: Batcher[int, int] = Batcher(list, executor, Limits(batch_wait=0.25))
            worker = asyncio.create_task(batcher.run())
            for clients in rounds:
                await asyncio.gather(*(batcher.submit([1], 1) for _ in range(clients)))
            worker.cancel()

    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("seqkit.serving.batcher.asyncio.sleep", note)
    asyncio.run(submit([1, 1, 1]))
    assert waits == []
    asyncio.run(submit([1, 3, 1, 1]))
    assert waits == [0.25]  # the first that is alone after three; the next one was alone before too


def test_a_request_that_fails_fails_alone() -> None:
    results, _ = run_jobs([[1], [2], [3]], Limits(), fails=2)
    assert results[0] == [1]
    assert isinstance(results[1], RuntimeError)
    assert results[2] == [9]


def test_a_full_queue_refuses() -> None:
    results, _ = run_jobs([[1], [2], [3]], Limits(waiting=2))
    assert [isinstance(result, Overloaded) for result in results] == [False, False, True]


def test_a_request_that_is_withdrawn_is_not_computed() -> None:
    computed: list[int] = []

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(lambda inputs: computed.extend(inputs) or list(inputs), executor, Limits())
            answer = asyncio.create_task(batcher.submit([1], 1))
            await asyncio.sleep(0)
            answer.cancel()
            worker = asyncio.create_task(batcher.run())
            assert await batcher.submit([2], 1) == [2]
            worker.cancel()

    asyncio.run(main())
    assert computed == [2]
