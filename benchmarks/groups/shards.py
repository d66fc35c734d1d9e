"""Text in 40 files beside the same text in one: speed of training, and memory to store it and to train from it.

The larger cases write up to four times their size into the temporary folder, and are measured only if --case asks for
them: `python -m benchmarks shards --case "text 10 GB"`.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups.growth import MemoryWatch, anonymous_memory, write_corpus

SHARDS, BATCH, WINDOW, WIDTH, STEPS = 40, 16, 256, 64, 40
SIZES: Mapping[str, int] = {"40 MB": 40_000_000, "1 GB": 1_000_000_000, "10 GB": 10_000_000_000}


def in_shards(size: int) -> Prepared:
    return _trained(size, SHARDS)


def in_one_file(size: int) -> Prepared:
    return _trained(size, 1)


def _trained(size: int, count: int) -> Prepared:
    """A text of so many bytes in so many files, stored; a round is some steps of training, from an evenly far place."""
    import torch
    from torch.nn.functional import cross_entropy

    from seqkit.data import store
    from seqkit.data.epoch import EpochPlan
    from seqkit.data.task_data import TaskData
    from seqkit.encoders import lstm
    from seqkit.layers.embedding import Embedding
    from seqkit.settings import TrainSettings

    folder = Path(tempfile.mkdtemp(prefix="seqkit-shards-"))
    for number in range(count):
        write_corpus(folder / f"part-{number:02}.txt", size // count)
    task = _task(folder)
    idle = anonymous_memory()
    with MemoryWatch() as storing:
        start = time.perf_counter()
        prepared = store.prepare(task, key={}, cache=folder / "cache")
        stored = time.perf_counter() - start
    data = {"text": TaskData("text", task, prepared.input, prepared.target, prepared.splits)}
    epoch = EpochPlan(data, TrainSettings(batch=BATCH), seed=1, epoch=0)
    torch.manual_seed(0)
    layer, encoder = Embedding(prepared.input.size, WIDTH), lstm(WIDTH, hidden=WIDTH)
    head = torch.nn.Linear(WIDTH, prepared.input.size)
    parameters = [*layer.parameters(), *encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    rounds = itertools.count()

    def run() -> float:
        begin = next(rounds) * (len(epoch) // 50)
        for _ in itertools.islice(epoch.batches_from(begin, torch.device("cpu")), STEPS):
            pass  # so that all pages are in memory: else those of the contender that was stored last are
        start = time.perf_counter()
        for _, (batch,) in itertools.islice(epoch.batches_from(begin, torch.device("cpu")), STEPS):
            steps = encoder(*layer(batch.x, batch.lengths)).steps
            cross_entropy(head(steps).flatten(0, 1), batch.y.flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - start

    weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    with MemoryWatch() as training:
        run()
    notes = {
        "tokens": STEPS * BATCH * WINDOW,
        "bytes": size,
        "stored": round(stored, 1),
        "idle": round(idle),
        "storing": round(storing.peak - idle),
        "helper": round(storing.helper),
        "training": round(training.peak - idle),
    }
    return Prepared(run, None, notes)


def _task(folder: Path) -> Any:
    """A language model of bytes; every line is a sequence of the stream."""
    from seqkit import readers
    from seqkit.fields import Next, Tokens
    from seqkit.types import Task

    paths = sorted(folder.glob("part-*.txt"))
    return Task(
        read=lambda split: readers.read_shards(paths, readers.lines),
        input=Tokens("bytes"),
        target=Next(),
        head="language",
        best="nats",
        splits=("train",),
        window=WINDOW,
        files=lambda split: paths,
        shards=lambda split: readers.as_shards(
            paths, lambda some, names: readers.read_shards(some, readers.lines, names)
        ),
    )


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Memory and seconds of each case in shards."""
    figures: dict[str, Any] = {}
    for case in cases:
        notes = case["notes"]
        if notes:
            figures[case["name"]] = (
                f"{notes['bytes']:,} bytes in {SHARDS} shards stored in {notes['stored']} s; MiB above the "
                f"{notes['idle']} of an idle process: {notes['storing']} to store (a helper {notes['helper']} in all), "
                f"{notes['training']} to train"
            )
    return figures


HERE = __name__
GROUP = Group(
    "shards",
    f"Text of made-up words in {SHARDS} files, each with an entry of its own in the store, beside the same text in one "
    f"file: {STEPS} steps of a language model of bytes (LSTM of {WIDTH}), {BATCH} lanes in windows of {WINDOW}, from "
    "another place of the epoch each round, whose pages are read beforehand. Memory is what is the process's own, "
    "without pages of files.",
    [Case(f"text {name}", {"size": size}, quick=size < 10**8, on_request=size > 10**8) for name, size in SIZES.items()],
    [Contender("in shards", f"{HERE}:in_shards"), Contender("in one file", f"{HERE}:in_one_file")],
    [Target("text in 40 shards", "text", "in one file", 0.95, 1.0)],
    rounds=7,
    derive=derive,
)
