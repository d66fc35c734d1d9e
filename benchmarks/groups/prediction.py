"""Raw text to predictions: a file of sentences in, a file of predictions out, by one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.frame import Case, Contender, Group, Limit, Prepared, Target
from benchmarks.groups.training import RECIPES

KINDS = ("tagging", "classification")
FEW, MANY = 10_000, 100_000
FLAIR_MOST = 2_000
"""Sentences that Flair predicts for: it would take an hour for all. Its time is multiplied accordingly."""


def task_of(kind: str) -> Any:
    """The task of seqkit, which reads the data for everybody."""
    from seqkit.recipe import build_tasks
    from seqkit.recipe.loader import parse

    (task,) = build_tasks(parse(RECIPES[kind].encode(), "benchmark.yaml")).values()
    return task


def sentences(kind: str, count: int) -> list[str]:
    """As they are read from a file: those of WNUT-17 or SST-2, all splits, over and over."""
    from itertools import chain, cycle, islice

    examples = chain.from_iterable(task_of(kind).read(split) for split in ("train", "dev", "test"))
    texts = [text if isinstance(text := example.input, str) else " ".join(text) for example in examples]
    return list(islice(cycle(texts), count))


def timed(command: Sequence[str], out: Path) -> tuple[float, float]:
    """Seconds of a command from its start to its end, and its peak memory in MiB; `out` gets its output."""
    with out.open("wb") as target:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=target)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with exit code {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def child(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.prediction_child", *map(str, arguments)]


class Files:
    """The sentences and the model of a case, in a folder that goes when the process does.

    Other processes write both, so that this one stays small: on Linux, what a process has when it starts another one
    counts as memory of the other.
    """

    def __init__(self, trainer: str, kind: str, count: int, examples: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        folder = Path(self._folder.name)
        self.text, self.model, self.out = folder / "sentences.txt", folder / "model", folder / "predictions.jsonl"
        subprocess.run(child("sentences", kind, count, self.text), check=True)
        subprocess.run(child(f"train-{trainer}", kind, examples, self.model), check=True)
        self.words = sum(len(line.split()) for line in self.text.read_text().splitlines())

    def measure(self, command: Sequence[str], expected: int) -> tuple[float, float]:
        """Seconds and MiB of a command, whose output has a line for each of `expected` sentences."""
        figures = timed(command, self.out)
        with self.out.open("rb") as lines:
            written = sum(1 for _ in lines)
        if written != expected:
            raise RuntimeError(f"{written:,} predictions were written for {expected:,} sentences")
        return figures


def seqkit(kind: str, sentences: int, examples: int) -> Prepared:
    """`seqkit predict`, from its start to its end."""
    files = Files("seqkit", kind, sentences, examples)
    command = [sys.executable, "-m", "seqkit", "predict", str(files.model), str(files.text)]
    command += ["--format", "text", "--no-scores"]
    return prepared(files, command, sentences)


def spacy(kind: str, sentences: int, examples: int) -> Prepared:
    """Its tagger or classifier: the model loaded, `nlp.pipe` over the lines, a line of JSON for each."""
    files = Files("spacy", kind, sentences, examples)
    return prepared(files, child("predict-spacy", kind, files.model, files.text, sentences), sentences)


def flair(kind: str, sentences: int, examples: int) -> Prepared:
    """The same by Flair, for the first sentences only: what it takes after its start is multiplied."""
    files = Files("flair", kind, sentences, examples)
    count = min(FLAIR_MOST, sentences)
    start = child("predict-flair", kind, files.model, files.text, 1)
    command = child("predict-flair", kind, files.model, files.text, count)

    def run() -> float:
        before, _ = files.measure(start, 1)
        seconds, _ = files.measure(command, count)
        return before + (seconds - before) * (sentences - 1) / max(1, count - 1)

    return Prepared(run, None, {"tokens": files.words})


def prepared(files: Files, command: Sequence[str], count: int) -> Prepared:
    _, peak = files.measure(command, count)

    def run() -> float:
        return files.measure(command, count)[0]

    return Prepared(run, None, {"tokens": files.words, "peak": round(peak)})


def forward(kind: str, sentences: int, examples: int) -> Prepared:
    """The model of seqkit over the same sentences, up to the scores of tags or classes; batches are made beforehand."""
    import torch

    from seqkit.inference.inputs import InputReader
    from seqkit.inference.predict import CHUNK, compute_windows, encode_chunks
    from seqkit.interfaces import Batch
    from seqkit.model import load_model

    torch.set_flush_denormal(True)
    files = Files("seqkit", kind, sentences, examples)
    model, _, tasks = load_model(files.model, torch.device("cpu"))
    ((name, fields),) = tasks.items()
    batches: list[Batch] = []

    def keep(batch: Batch) -> list[None]:
        batches.append(batch)
        return [None] * batch.size

    reader = InputReader(fields[0], fields[1], format="text")
    for chunk in encode_chunks(fields, reader.file(files.text), CHUNK):
        compute_windows(model, name, fields, chunk, 64, keep)
    head: Any = model.head(name).eval()

    @torch.inference_mode()
    def run() -> None:
        for batch in batches:
            encoded = model.encode(name, batch)
            head.emissions(encoded.steps) if hasattr(head, "emissions") else head.logits(encoded)

    return Prepared(run)


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Peak memory of each command, and by how much it grows from few sentences to many."""
    figures: dict[str, Any] = {}
    peaks: dict[tuple[str, int], float] = {}
    for case in cases:
        for name, result in case["results"].items():
            if peak := result.get("notes", {}).get("peak"):
                figures[f"{case['name']}: peak memory of {name}, MiB"] = peak
                if name == "seqkit":
                    peaks[case["options"]["kind"], case["options"]["sentences"]] = peak
    growth = [peaks[kind, MANY] / peaks[kind, FEW] for kind in KINDS if {(kind, FEW), (kind, MANY)} <= peaks.keys()]
    if growth:
        figures[GROWTH] = round(max(growth), 3)
    return figures


def train_seqkit(kind: str, examples: int, folder: Path) -> None:
    """A run of the recipe of the group `training`, as many steps as `examples` need."""
    run_recipe(RECIPES[kind].replace("epochs: 1", f"steps: {max(1, examples // 32)}"), folder)


def run_recipe(text: str, folder: Path) -> None:
    """A run of this recipe, which is written beside its folder."""
    recipe = folder.with_name("recipe.yaml")
    recipe.write_text(text)
    command = [sys.executable, "-m", "seqkit", "run", str(recipe), "--out", str(folder), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"seqkit run: {done.stderr.strip().splitlines()[-1:]}")


def write_sentences(kind: str, count: int, path: Path) -> None:
    path.write_text("".join(f"{text}\n" for text in sentences(kind, count)))


def json_line(text: str, prediction: object) -> str:
    return json.dumps({"input": text, "prediction": prediction}, ensure_ascii=False)


HERE = __name__
GROWTH = "peak memory of seqkit, 100,000 sentences over 10,000"
GROUP = Group(
    "prediction",
    "Sentences from a file to predictions in a file, by a command of its own: its start, loading the model, splitting "
    "text into words, predicting and writing JSON all count. Tagging: names of WNUT-17, by a bidirectional LSTM of 128 "
    "with a conditional random field over words in a trained table of 128 (seqkit and Flair), and by spaCy's `ner` "
    "with its own layers, of like size. Classification: SST-2, by the same LSTM (seqkit and Flair) and by spaCy's "
    "`textcat`. Each is trained here, for a short time: what is predicted is not compared. Everybody splits text by "
    "its own rules; tokens are words between blanks. Flair predicts for 2,000 sentences, and what it takes after its "
    "start is multiplied. The forward pass is that of seqkit's model over batches made beforehand, up to scores of "
    "tags or classes; its ratio is its share of the whole command.",
    [
        Case(
            f"{kind}, {count:,} sentences",
            {"kind": kind, "sentences": count, "examples": 3200},
            quick=count == FEW,
            quick_options={"sentences": 200, "examples": 64},
        )
        for kind in KINDS
        for count in (FEW, MANY)
    ],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("spaCy", f"{HERE}:spacy", needs=("spacy",)),
        Contender("Flair", f"{HERE}:flair", needs=("flair",)),
        Contender("forward pass", f"{HERE}:forward", yardstick=True),
    ],
    [
        *(
            target
            for kind in KINDS
            for target in (
                Target(f"{kind} from raw text", f"{kind}, {MANY:,}", "Flair", 20, 20),
                Target(f"{kind} from raw text", f"{kind}, {MANY:,}", "spaCy", 1, 1),
                # At most 1.3 times the forward pass is a share of at least 1 / 1.3.
                Target(f"{kind} from raw text", f"{kind}, {MANY:,}", "forward pass", 1 / 1.3, 1 / 1.3),
            )
        )
    ],
    rounds=3,
    derive=derive,
    limits=[Limit("memory of `seqkit predict`: ten times the sentences", GROWTH, 1.1, 1.02)],
)
