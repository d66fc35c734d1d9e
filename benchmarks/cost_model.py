"""The cost model of docs/many-machines.md beside what one machine can measure: `python -m benchmarks.cost_model`.

Measured: seconds to sum a gradient over processes (gloo), with and without shards, and to sum rows of a large table.
Computed: how much longer the longest share of a batch is than the mean one, by the rule that deals rows to processes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

SIZES_MB = (1, 4, 16, 40)
ROWS = (1_000, 10_000)
WIDTH, TABLE = 128, 500_000
ROUNDS = 9
PROCESSES = (2, 8, 64, 1_000)
BATCHES = (8, 64)
"""Rows of each process."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="how many processes sum gradients")
    count = parser.parse_args().processes
    print(f"busy: {os.getloadavg()[0]:.1f} processes were running on {len(os.sched_getaffinity(0))} cores")
    bandwidth = None
    for megabytes in SIZES_MB:
        seconds = _among(count, _dense, megabytes, 1)
        with_shards = _among(count, _dense, megabytes, count)
        traffic = 2 * megabytes * 1e6 * (count - 1) / count
        bandwidth = traffic / seconds
        print(
            f"gradient of {megabytes} MB, {count} processes: {1e3 * seconds:.1f} ms "
            f"({bandwidth / 1e9:.2f} GB/s by the model); with {count} shards: {1e3 * with_shards:.1f} ms"
        )
    assert bandwidth is not None
    for rows in ROWS:
        seconds = _among(count, _sparse, rows)
        model = rows * count * (WIDTH * 4 + 8) / bandwidth
        dense = 2 * TABLE * WIDTH * 4 * (count - 1) / count / bandwidth
        print(
            f"{rows:,} rows of {WIDTH} from each of {count} processes: {1e3 * seconds:.1f} ms "
            f"(model: {1e3 * model:.1f} ms; the whole table of {TABLE:,} rows: {1e3 * dense:.0f} ms)"
        )
    for rows in BATCHES:
        shares = ", ".join(f"{processes:,}: {100 * straggling(processes, rows):.1f} %" for processes in PROCESSES)
        print(f"longest share of {rows} rows a process over the mean share, by processes: {shares}")


def straggling(processes: int, rows: int, batches: int = 5) -> float:
    """How much more the longest share of a batch has than the mean one.

    Lengths are log-normal: 40 steps in the mean, at most 200.
    """
    import numpy as np
    import torch

    from seqkit.runtime.ranks import deal

    generator, excess = np.random.default_rng(1), []
    for _ in range(batches):
        lengths = torch.from_numpy(np.clip(generator.lognormal(3.5, 0.6, processes * rows), 1, 200).astype(np.int64))
        steps = [int(lengths[part].sum()) for part in deal(lengths, processes)]
        excess.append(max(steps) / statistics.mean(steps) - 1)
    return statistics.mean(excess)


def _dense(ranks: Any, megabytes: int, shards: int) -> Callable[[], object]:
    import torch
    from torch import nn

    from seqkit.training.bucket_sums import BucketSums
    from seqkit.training.gradient_tree import Gradients, Shards, nodes_within

    parameters = [nn.Parameter(torch.zeros(250_000)) for _ in range(megabytes)]
    dealt = Shards.of(shards, ranks)
    gradients = Gradients({n: torch.ones(250_000) for n in range(megabytes)})
    nodes = dict.fromkeys(nodes_within(0, dealt.count, dealt.own), gradients)

    def run() -> object:
        sums = BucketSums(dealt, parameters, range(megabytes))
        sums.send_rest(nodes)
        return sums.sums()

    return run


def _sparse(ranks: Any, rows: int) -> Callable[[], object]:
    import torch
    from torch import nn

    from seqkit.training.exchange import exchange
    from seqkit.training.gradient_tree import Gradients, Shards, nodes_within

    table = nn.Parameter(torch.zeros(TABLE, WIDTH))
    dealt = Shards.of(1, ranks)
    generator = torch.Generator().manual_seed(ranks.rank)
    piece = (torch.randperm(TABLE, generator=generator)[:rows].sort().values, torch.ones(rows, WIDTH))
    nodes = {node: Gradients(sparse={0: [piece]}) for node in nodes_within(0, dealt.count, dealt.own)}
    return lambda: exchange(dealt, nodes, [table], torch.tensor([2.0]))


def _among(count: int, prepare: Callable[..., Callable[[], object]], *arguments: Any) -> float:
    """The median of the seconds that a call takes in so many processes."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    processes = [
        context.Process(target=_be, args=(rank, count, port, prepare, arguments, sender if rank == 0 else None))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    seconds: float = receiver.recv()
    for process in processes:
        process.join()
    return seconds


def _be(rank: int, count: int, port: int, prepare: Callable[..., Any], arguments: tuple[Any, ...], out: Any) -> None:
    environment = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in environment.items()}, MASTER_ADDR="127.0.0.1")
    import torch

    from seqkit.runtime.ranks import joined

    torch.set_num_threads(1)
    with joined(uses_gpu=False) as ranks:
        run, taken = prepare(ranks, *arguments), []
        for _ in range(ROUNDS):
            ranks.wait()
            begin = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begin)
        if out is not None:
            out.send(statistics.median(taken[1:]))
        ranks.wait()


if __name__ == "__main__":
    main()
