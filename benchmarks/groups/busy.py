"""The recurrent layers of the group `kernels` while another process keeps one of the cores busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups import kernels

MOST_REPEATS, WIDE = 5, 512
"""Times that a round does its work: the scheduler's turns, of some milliseconds, are to be short beside it. The wider
the layer, the fewer."""

SPIN = """import os, sys
parent, core = int(sys.argv[1]), int(sys.argv[2])
os.sched_setaffinity(0, {core})
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(10_000):
        pass
"""
"""Takes all of a core that it gets until it is stopped, or its parent is gone."""


@contextmanager
def busy_core() -> Iterator[subprocess.Popen[str]]:
    """Another process works on the first of our cores, at the same priority."""
    core = min(os.sched_getaffinity(0))
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", SPIN, str(os.getpid()), str(core)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "busy\n":
            raise RuntimeError("the process that is to keep a core busy did not start")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def repeats(hidden: int) -> int:
    return min(MOST_REPEATS, max(1, WIDE // hidden))


def beside_busy_core(prepared: Prepared, hidden: int) -> Prepared:
    """The same work; only the time beside the busy process counts, not that of starting it."""
    count = repeats(hidden)

    def run() -> float:
        with busy_core():
            start = time.perf_counter()
            for _ in range(count):
                prepared.run()
            return (time.perf_counter() - start) / count

    return Prepared(run, prepared.outputs, prepared.notes)


def seqkit(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    return beside_busy_core(kernels.seqkit(cell, hidden, bidirectional), hidden)


def packed(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    return beside_busy_core(kernels.packed(cell, hidden, bidirectional), hidden)


def padded(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    return beside_busy_core(kernels.padded(cell, hidden, bidirectional), hidden)


def bound(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    return beside_busy_core(kernels.bound(cell, hidden, bidirectional), hidden)


HERE = __name__
GROUP = Group(
    "busy",
    "The cases of the group kernels, while another process keeps one of the cores busy: it is pinned to that core, at "
    "the same priority, and starts before each round and ends after it. Everybody, the GEMM bound too, works under "
    "the same conditions. A round does its work up to five times; its time is that of one.",
    [Case(case.name, case.options, quick=case.name == "GRU H128") for case in kernels.GROUP.cases],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("torch packed", f"{HERE}:packed"),
        Contender("torch padded", f"{HERE}:padded"),
        Contender("GEMM bound", f"{HERE}:bound", yardstick=True),
    ],
    [Target("own layers, one core busy", "", "GEMM bound", 0.75, 0.75)],
    rounds=5,
)
