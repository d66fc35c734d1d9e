"""T9: what a training step costs as the corpus, the sequences or the vocabulary grow; what memory a corpus takes.

The cases `corpus ...` write gigabytes into the temporary folder and are measured only if --case asks for them.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from benchmarks.frame import Case, Contender, Group, Limit, Prepared

STEPS, BATCH, WIDTH = 20, 32, 64
SIZES: Mapping[str, Sequence[int]] = {
    "examples": (2_000, 20_000, 200_000),
    "length": (16, 64, 256, 1_024),
    "symbols": (1_000, 10_000, 100_000),
}
CORPUS: Mapping[str, int] = {"40 MB": 40_000_000, "400 MB": 400_000_000, "4 GB": 4_000_000_000}
CORPUS_UNITS = ("lines", "stream")
DRAWN_STEPS = 300
"""Steps that are drawn of a corpus's epoch."""


def _cases() -> list[Case]:
    return [
        Case(f"{growing} {size:,}", {"growing": growing, "size": size}, quick=size <= 20_000)
        for growing, sizes in SIZES.items()
        for size in sizes
    ] + [
        Case(f"corpus {unit} {name}", {"growing": unit, "size": size}, on_request=True)
        for unit in CORPUS_UNITS
        for name, size in CORPUS.items()
    ]


def seqkit(growing: str, size: int) -> Prepared:
    """Classification of made-up sequences; a round is an epoch where examples grow, else so many steps."""
    if growing in CORPUS_UNITS:
        return corpus(growing, size)
    import numpy as np
    import torch

    from seqkit.data.padding import pad_rows, to_tensor
    from seqkit.data.sampler import batch_shuffled
    from seqkit.data.store import Column
    from seqkit.encoders import gru
    from seqkit.fields import Label
    from seqkit.heads import classify
    from seqkit.interfaces import Batch
    from seqkit.layers.embedding import Embedding
    from seqkit.optim.optimizers import adamw

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    examples = size if growing == "examples" else BATCH * STEPS
    longest = size if growing == "length" else 16
    symbols = size if growing == "symbols" else 1_000
    generator = np.random.default_rng(1)
    lengths = generator.integers(max(1, longest // 2), longest + 1, examples)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column = Column(generator.integers(4, symbols, offsets[-1]).astype(np.int32), offsets)
    targets = torch.from_numpy(generator.integers(0, 2, examples))
    layer, encoder = Embedding(symbols, WIDTH), gru(WIDTH, hidden=WIDTH)
    head = classify(WIDTH, Label().fit(["no", "yes"]), layer)
    parameters = [*layer.parameters(), *encoder.parameters(), *head.parameters()]
    optimizer = adamw(parameters)

    def run() -> None:
        for index in batch_shuffled(lengths, seed=1, epoch=0, batch=BATCH):
            x, batch_lengths = pad_rows(column, index)
            batch = Batch(to_tensor(x), torch.from_numpy(batch_lengths), targets[index])
            total, count = head.loss(encoder(*layer(batch.x, batch.lengths)), batch)
            (total / count).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return Prepared(run, None, {"tokens": int(offsets[-1]), "padded": int(offsets[-1]), "bytes": column.data.nbytes})


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The slope of log time over log size, from the smallest to the largest."""
    figures: dict[str, Any] = {}
    for growing in SIZES:
        measured = [
            case for case in cases if case["options"]["growing"] == growing and "median" in case["results"]["seqkit"]
        ]
        if len(measured) < 2:
            continue
        first, last = measured[0], measured[-1]
        ratio = last["results"]["seqkit"]["median"] / first["results"]["seqkit"]["median"]
        slope = math.log(ratio) / math.log(last["options"]["size"] / first["options"]["size"])
        figures[f"slope of time over {growing}"] = round(slope, 3)
    for case in cases:
        notes = case["notes"]
        if case["options"]["growing"] in CORPUS_UNITS and notes:
            figures[case["name"]] = (
                f"{notes['examples']:,} lines stored in {notes['stored']} s ({notes['speed']} MB/s); MiB above the "
                f"{notes['idle']} of an idle process: {notes['storing']} to store (a helper {notes['helper']} in all), "
                f"{notes['planning']} to plan an epoch, {notes['drawing']} to draw {DRAWN_STEPS} steps of it"
            )
    return figures


def corpus(unit: str, size: int) -> Prepared:
    """A text of so many bytes, stored, and the first steps of an epoch drawn from it; a round draws them again.

    `lines`: words, every line a sequence, batches of like length. `stream`: characters, all lines one text in lanes.
    Memory is what is the process's own (RssAnon): pages of mapped files belong to the system, which takes them back.
    """
    import shutil
    import tempfile
    import time
    import weakref

    import torch

    from seqkit import readers
    from seqkit.data import store
    from seqkit.data.epoch import EpochPlan
    from seqkit.data.task_data import TaskData
    from seqkit.fields import Next, Tokens
    from seqkit.settings import TrainSettings
    from seqkit.types import Task

    folder = Path(tempfile.mkdtemp(prefix="seqkit-corpus-"))
    text = folder / "corpus.txt"
    write_corpus(text, size)
    task = Task(
        read=lambda split: readers.lines(text),
        input=Tokens("words" if unit == "lines" else "characters"),
        target=Next(),
        head="language",
        best="nats",
        splits=("train",),
        window=256 if unit == "stream" else None,
        files=lambda split: [text],
    )
    settings = TrainSettings(batch=64)
    idle = anonymous_memory()
    with MemoryWatch() as storing:
        start = time.perf_counter()
        prepared = store.prepare(task, key={}, cache=folder)
        stored = time.perf_counter() - start
    data = {"corpus": TaskData("corpus", task, prepared.input, prepared.target, prepared.splits)}
    with MemoryWatch() as planning:
        epoch = EpochPlan(data, settings, seed=1, epoch=0)

    def run() -> None:
        for number, (_, batches) in enumerate(epoch.batches_from(0, torch.device("cpu"))):
            assert batches
            if number == DRAWN_STEPS:
                break

    weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    with MemoryWatch() as drawing:
        run()
    split = prepared.splits["train"]
    tokens = sum(sum(batch.tokens for batch in epoch.batches(turn)) for turn in epoch.turns[:DRAWN_STEPS])
    notes = {
        "tokens": tokens,
        "padded": tokens,
        "bytes": size,
        "examples": len(split),
        "stored": round(stored, 1),
        "speed": round(size / 1e6 / stored, 1),
        "idle": round(idle),
        "storing": round(storing.peak - idle),
        "helper": round(storing.helper),
        "planning": round(planning.peak - idle),
        "drawing": round(drawing.peak - idle),
    }
    return Prepared(run, None, notes)


def write_corpus(path: Path, size: int) -> None:
    """Lines of 16 to 112 words, the frequent ones far more frequent than the rare; 20,000 words of 5 letters."""
    import numpy as np

    generator = np.random.default_rng(1)
    words = np.full((20_000, 6), ord(" "), dtype=np.uint8)
    words[:, :5] = generator.integers(ord("a"), ord("z") + 1, (len(words), 5))
    left = size // 6
    with path.open("wb") as file:
        while left > 0:
            lengths = generator.integers(16, 113, 20_000)
            ends = np.cumsum(lengths)
            rows = words[(generator.random(int(ends[-1]), dtype=np.float32) ** 3 * len(words)).astype(np.int32)]
            rows[ends - 1, 5] = ord("\n")
            file.write(rows[:left].tobytes())
            left -= len(rows)


class MemoryWatch:
    """Most memory of this process, and of one that it has started, while a block runs, looked at 20 times a second."""

    def __enter__(self) -> Self:
        self.peak, self.helper = anonymous_memory(), 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self.peak = max(self.peak, anonymous_memory())

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, anonymous_memory())
            started = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            self.helper = max(self.helper, *map(anonymous_memory, started), 0.0)


def anonymous_memory(process: str = "self") -> float:
    """MiB of a process that are no pages of files; 0 where there is no such process any more."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


HERE = __name__
GROUP = Group(
    "growth",
    "A GRU of 64 over made-up sequences in batches of 32: an epoch of more and more examples, 20 steps of longer "
    "and longer sequences, and 20 steps with more and more symbols. A slope of 1 means that time grows in "
    "proportion, 0 that it does not grow.",
    _cases(),
    [Contender("seqkit", f"{HERE}:seqkit")],
    rounds=5,
    derive=derive,
    limits=[Limit("training time against corpus size, 1 to 100", "slope of time over examples", 1.05, 1.02)],
)
