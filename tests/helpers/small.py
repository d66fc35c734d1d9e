"""A run that is small enough to be gone through dozens of times: vectors in, a class out, or a stream of symbols."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from seqkit import Example, Label, Next, Task, Tokens, Vectors
from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.encoders import gru, lstm
from seqkit.heads import classify, language
from seqkit.metrics import label_scores
from seqkit.model import Model
from seqkit.runs import run_folder as run_module
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.settings import TrainSettings
from seqkit.training import counters, loop
from seqkit.training.state import TrainingState

WIDTH = 3


def vectors(folder: Path, *, examples: int = 24, longest: int = 9) -> TaskData:
    """Random sequences of WIDTH numbers a step, lengths 1 to `longest`."""

    def read(split: str) -> Iterator[Example]:
        draw = np.random.default_rng(len(split))
        for number in range(examples if split == "train" else 6):
            steps = draw.normal(size=(int(draw.integers(1, longest + 1)), WIDTH))
            yield Example(steps, "up" if steps.sum() > 0 else "down", f"{split}:{number}")

    task = Task(read=read, input=Vectors(WIDTH), target=Label(), head="classify", metric=label_scores, best="accuracy")
    return _stored(task, "steps", folder)


def stream(folder: Path, *, window: int = 5) -> TaskData:
    """One text read as a stream, in windows."""

    def read(split: str) -> Iterator[Example]:
        yield Example("to be or not to be, that is the question " * (6 if split == "train" else 1), None, split)

    task = Task(
        read=read,
        input=Tokens("characters"),
        target=Next(),
        head="language",
        metric=None,
        best="min:nats",
        window=window,
    )
    return _stored(task, "text", folder)


def _stored(task: Task, name: str, folder: Path) -> TaskData:
    task = dataclasses.replace(task, splits=("train", "dev"))
    prepared = store.prepare(task, key={"small": name}, cache=folder)
    return TaskData(name, task, prepared.input, prepared.target, prepared.splits)


def model(data: TaskData, *, hidden: int = 6, dropout: float = 0.0) -> Model:
    """New weights, the same at each call."""
    torch.manual_seed(3)
    layer = data.input.layer(5)
    if not data.target.derived:
        encoder = lstm(5, hidden=hidden, output_dropout=dropout)
        return Model({data.name: layer}, encoder, {data.name: classify(hidden, data.target, layer)})
    encoder = gru(5, hidden=hidden, output_dropout=dropout)
    return Model({data.name: layer}, encoder, {data.name: language(hidden, data.target, layer)})


def settings(**more: Any) -> TrainSettings:
    """A few short steps, a checkpoint at every third."""
    given: dict[str, Any] = {"steps": 12, "batch": 4, "save_every": 3, "evaluate_every": 6, "log_every": 4}
    return dataclasses.replace(TrainSettings(histograms=False), **given | more)


def run_in(folder: Path) -> Run:
    """A new run folder, without a look at the machine and the checkout, which takes longer than such a run."""
    with mock.patch.object(run_module, "environment", dict), mock.patch.object(run_module, "git", return_value=None):
        return Run.create("small", text=b"small", resolved="small: {}\n", out=folder)


def state(made: Model, data: TaskData, **more: Any) -> TrainingState:
    """The state of training this model on this data, before the first step; `more` as for `settings`."""
    return TrainingState.create(made, {data.name: data}, settings(**more), seed=1)


def trained(
    made: Model, data: TaskData, wanted: TrainSettings, run: Run, *, saved: Path | None = None, stop: Any = None
) -> counters.TrainingCounters:
    """`seqkit.training.loop` on this data, in this run folder."""
    listening = stop or Interrupts(announce=False)
    return loop.train(
        made, {data.name: data}, wanted, run, seed=1, stop=listening, progress=Progress(quiet=True), saved=saved
    )
