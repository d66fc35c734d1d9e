"""Training that takes a fraction of a second: vectors in and a class out, or a stream of symbols."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from seqkit import Example, Label, Next, Task, Tokens, Vectors
from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.encoders import gru, lngru, lnlstm, lstm
from seqkit.heads import classify, language
from seqkit.interfaces import Batch, Encoder
from seqkit.metrics import label_scores
from seqkit.model import Model
from seqkit.runs import run_folder
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.settings import TrainSettings
from seqkit.training import loop, nonfinite
from seqkit.training.counters import TrainingCounters
from seqkit.training.state import TrainingState

WIDTH = 3


def vectors(folder: Path, *, examples: int = 24, dev: int = 6, longest: int = 9) -> TaskData:
    """Random sequences of WIDTH numbers a step, lengths 1 to `longest`."""

    def read(split: str) -> Iterator[Example]:
        draw = np.random.default_rng(len(split))
        for number in range(examples if split == "train" else dev):
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


def model(
    data: TaskData, *, hidden: int = 6, dropout: float = 0.0, weight_drop: float = 0.0, zoneout: float | None = None
) -> Model:
    """New weights, the same at each call. With zoneout, even 0.0, of a cell that has it."""
    torch.manual_seed(3)
    layer = data.input.layer(5)
    if not data.target.derived:
        encoder = _recurrent(lstm, lnlstm, hidden, dropout, weight_drop, zoneout)
        return Model({data.name: layer}, encoder, {data.name: classify(hidden, data.target, layer)})
    encoder = _recurrent(gru, lngru, hidden, dropout, weight_drop, zoneout)
    return Model({data.name: layer}, encoder, {data.name: language(hidden, data.target, layer)})


def _recurrent(
    plain: Any, stepped: Any, hidden: int, dropout: float, weight_drop: float, zoneout: float | None
) -> Encoder:
    if zoneout is not None:
        assert not weight_drop, f"no encoder has both weight_drop ({weight_drop}) and zoneout ({zoneout})"
        return stepped(5, hidden=hidden, output_dropout=dropout, zoneout=zoneout)  # type: ignore[no-any-return]
    return plain(5, hidden=hidden, output_dropout=dropout, weight_drop=weight_drop)  # type: ignore[no-any-return]


def settings(**changes: Any) -> TrainSettings:
    """A few short steps, with a checkpoint at every third."""
    defaults: dict[str, Any] = {"steps": 12, "batch": 4, "save_every": 3, "evaluate_every": 6, "log_every": 4}
    return dataclasses.replace(TrainSettings(histograms=False), **defaults | changes)


def create_run(folder: Path) -> Run:
    """A new run folder, without the facts about machine and checkout, which take longer than such a run."""
    with mock.patch.object(run_folder, "environment", dict), mock.patch.object(run_folder, "git", return_value=None):
        return Run.create("small", text=b"small", resolved="small: {}\n", out=folder)


def state(model: Model, data: TaskData, **changes: Any) -> TrainingState:
    """The state of training this model on this data, before the first step; `changes` as for `settings`."""
    return TrainingState.create(model, {data.name: data}, settings(**changes), seed=1)


def train(
    model: Model,
    data: TaskData,
    train_settings: TrainSettings,
    run: Run,
    *,
    saved: Path | None = None,
    stop: Any = None,
) -> TrainingCounters:
    """Train this model on this data, in this run folder."""
    listening = stop or Interrupts(announce=False)
    progress = Progress(quiet=True)
    return loop.train(
        model, {data.name: data}, train_settings, run, seed=1, stop=listening, progress=progress, saved=saved
    )


class LaggingMonitor(nonfinite.NonFiniteMonitor):
    """Works on a CPU as a GPU makes necessary: the optimiser skips a bad step by itself, and it is reported later."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.is_immediate, self.lag = False, nonfinite.LAG


def limit_memory(
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    error: Exception | None = None,
    *,
    backward: bool = False,
) -> list[int]:
    """Let no more than `limit` padded steps fit into memory, forward (or backward) through a model.

    Returns a list of the padded steps of every attempt.
    """
    attempts: list[int] = []
    real = Model.loss
    out_of_memory = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def loss(self: Model, task: str, batch: Batch, state: Any = None) -> Any:
        attempts.append(batch.lengths.numel() * batch.x.shape[1])
        total, count, encoded = real(self, task, batch, state)
        if attempts[-1] > limit:
            if not backward:
                raise out_of_memory

            def fail(gradient: Any) -> None:
                raise out_of_memory

            total.register_hook(fail)
        return total, count, encoded

    monkeypatch.setattr(Model, "loss", loss)
    return attempts
