"""A batch that does not fit is worked on in parts: the same gradients, the same carried states, and no example lost."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import Example
from seqkit.data import evaluation, store
from seqkit.data.epoch import EpochPlan
from seqkit.data.task_data import TaskData
from seqkit.errors import RunError
from seqkit.inference.evaluate import evaluate
from seqkit.inference.predict import predict
from seqkit.interfaces import Batch
from seqkit.model import Model
from seqkit.runs import checkpoint
from seqkit.runtime import out_of_memory
from seqkit.training.state import TrainingState
from seqkit.training.step import StepResult, forward_backward
from tests.helpers import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"), examples=40)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.stream(tmp_path_factory.mktemp("text"))


ERRORS: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("could not create a memory object"),
]


def short_of_memory(
    monkeypatch: pytest.MonkeyPatch, most: int, error: Exception = ERRORS[0], *, backward: bool = False
) -> list[int]:
    """No more than `most` padded steps fit, forward (or backward) through a model. Gives what was tried."""
    tried: list[int] = []
    real = Model.loss

    def loss(self: Model, task: str, batch: Batch, state: Any = None) -> Any:
        tried.append(batch.lengths.numel() * batch.x.shape[1])
        total, count, encoded = real(self, task, batch, state)
        if tried[-1] > most:
            if not backward:
                raise error

            def fail(gradient: Any) -> None:
                raise error

            total.register_hook(fail)
        return total, count, encoded

    monkeypatch.setattr(Model, "loss", loss)
    return tried


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__}-{str(error)[:12]}")
def test_every_way_of_saying_it_is_known(error: Exception) -> None:
    assert out_of_memory.is_out_of_memory(error)


def test_other_errors_are_none_of_these() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), KeyError()):
        assert not out_of_memory.is_out_of_memory(error)


def step(
    made: Model, data: TaskData, batches: list[Batch], budget: int | None = None, carried: Any = None
) -> tuple[StepResult, dict[str, Tensor], TrainingState, list[str]]:
    """Forward and backward with at most `budget` padded steps at once: result, gradients, state, messages."""
    made.zero_grad()
    state, messages = small.state(made, data), list[str]()
    if budget is not None:
        state.counters.fits[data.name] = budget
    if carried is not None:
        state.carried[data.name] = carried
    result = forward_backward(state, data, batches, messages.append)
    if not result.is_mean:
        for parameter in made.parameters():
            if parameter.grad is not None:
                parameter.grad /= result.count
    gradients = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    return result, gradients, state, messages


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("most", [70, 40, 20, 9])
def test_parts_have_the_gradients_of_the_whole(
    data: TaskData, monkeypatch: pytest.MonkeyPatch, most: int, many: int, backward: bool
) -> None:
    made = small.model(data)
    made.train()
    batches = [data.batch("train", np.arange(start, start + 13)) for start in range(0, 13 * many, 13)]
    whole, expected, *_ = step(made, data, batches)
    with monkeypatch.context() as patch:
        tried = short_of_memory(patch, most, backward=backward)
        result, found, state, messages = step(made, data, batches)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) <= 1e-6, name
        assert float(gradient.abs().max()) > 1e-4, f"{name} shows nothing"
    assert float(result.loss) == pytest.approx(float(whole.loss), rel=1e-6)
    assert int(result.count) == int(whole.count) == 13 * many
    assert state.counters.fits["steps"] <= most
    assert max(tried) > most
    assert len(messages) == len(set(messages))
    assert "out of memory: steps: 13 examples of up to" in messages[0]


def test_parts_of_a_stream_carry_their_own_rows_state(text: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small.model(text)
    made.train()
    plan = EpochPlan({"text": text}, small.settings(batch=6), seed=1, epoch=0)
    windows = [batch for turn in plan.turns[:3] for batch in plan.batches(turn)]
    states: list[list[Any]] = []
    for budget in (None, 10, 5):
        carried, seen = None, []
        for window in windows:
            result, found, *_ = step(made, text, [window], budget, carried)
            carried = result.carried
            seen.append((found, carried))
        states.append(seen)
    for parts in states[1:]:
        for (expected, before), (found, after) in zip(states[0], parts, strict=True):
            assert all(float((found[name] - each).abs().max()) <= 1e-6 for name, each in expected.items())
            assert all(
                a.shape == b.shape and bool((a - b).abs().max() <= 1e-6) for a, b in zip(before, after, strict=True)
            )


def test_accumulated_windows_of_a_stream_go_on_from_each_other(text: TaskData) -> None:
    made = small.model(text)
    plan = EpochPlan({"text": text}, small.settings(batch=4, accumulate=3), seed=1, epoch=0)
    windows = plan.batches(plan.turns[0])
    assert len(windows) == 3
    _, expected, *_ = step(made, text, windows)
    _, found, *_ = step(made, text, windows, 5)
    assert all(float((found[name] - each).abs().max()) <= 1e-6 for name, each in expected.items())


def test_what_a_module_counts_counts_a_batch_in_parts_once(data: TaskData) -> None:
    made = small.model(data)
    made.layers["steps"].register_buffer("seen", torch.zeros((), dtype=torch.int64))
    made.layers["steps"].register_forward_hook(lambda module, given, out: module.seen.add_(1) and None)
    step(made, data, [data.batch("train", np.arange(8))], 9)
    assert int(made.layers["steps"].seen) == 1  # type: ignore[arg-type]


def test_one_example_that_does_not_fit_is_named(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = int(data.lengths("train").max())
    short_of_memory(monkeypatch, longest - 1)
    with pytest.raises(RunError, match=rf"^out of memory: train:\d+ alone, with {longest} steps, does not fit"):
        small.train(small.model(data), data, small.settings(steps=60), small.create_run(tmp_path / "run"))


def test_it_is_remembered_over_the_run_and_over_a_restart(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = small.create_run(tmp_path / "whole"), small.create_run(tmp_path / "cut")
    wanted = small.settings(batch=8, keep=9)
    one, two = small.model(data), small.model(data)
    small.train(one, data, wanted, whole)
    with monkeypatch.context() as patch:
        tried = short_of_memory(patch, 30)
        at = small.train(two, data, wanted, cut)
    assert at.fits == {"steps": pytest.approx(30, abs=15)}
    too_large = [each for each in tried if each > 30]
    assert 1 <= len(too_large) <= 6, "the same lack of memory was run into again and again"
    assert (cut.folder / "run.log").read_text().count("with the same gradients") == len(too_large)
    for name, tensor in one.state_dict().items():
        assert torch.allclose(tensor, two.state_dict()[name], atol=1e-5), name
    saved = checkpoint.steps(cut.checkpoints)[-2]
    assert checkpoint.load(saved)[1]["progress"]["fits"] == at.fits
    with monkeypatch.context() as patch:
        tried = short_of_memory(patch, 30)
        small.train(small.model(data), data, wanted, cut, saved=saved)
    training = [each for each in tried if each <= 40]
    assert training
    assert max(training) <= max(30, at.fits["steps"])


# ---- evaluation and prediction


def test_an_evaluation_in_parts_scores_the_same(data: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small.model(data)
    expected = evaluate(made, data, "train")
    told: list[str] = []
    with monkeypatch.context() as patch:
        short_of_memory(patch, 20)
        found = evaluate(made, data, "train", tell=told.append)
    assert told
    assert all(line.startswith("evaluation: out of memory") for line in told)
    assert found.scores == {name: pytest.approx(value, rel=1e-6) for name, value in expected.scores.items()}
    assert found.ids == expected.ids
    for one, two in zip(found.predictions, expected.predictions, strict=True):
        assert one.value == two.value
        assert one.confidence == pytest.approx(two.confidence, abs=1e-6)


def test_long_sequences_scored_window_by_window_may_be_cut_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows leave as they end; a part of the rows carries its own states."""
    monkeypatch.setattr(evaluation, "EVALUATION_WINDOW", 4)
    source = small.stream(tmp_path)

    def read(split: str) -> Any:
        for number, length in enumerate((23, 5, 17, 2, 9, 14)):
            yield Example(("to be or not to be that is " * 2)[:length], None, f"{split}:{number}")

    task = dataclasses.replace(source.task, read=read, window=None)
    prepared = store.prepare(task, key={"windows": 1}, cache=tmp_path / "more")
    part = TaskData("text", task, prepared.input, prepared.target, prepared.splits)
    made = small.model(part)
    expected = evaluate(made, part, "dev")
    with monkeypatch.context() as patch:
        tried = short_of_memory(patch, 9)
        found = evaluate(made, part, "dev")
    assert max(tried) > 9
    assert found.scores == {name: pytest.approx(value, rel=1e-6) for name, value in expected.scores.items()}


def test_an_evaluation_that_lacks_memory_does_not_cut_training(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Model.loss

    def loss(self: Model, task: str, batch: Batch, state: Any = None) -> Any:
        if not self.training and batch.size > 2:
            raise ERRORS[0]
        return real(self, task, batch, state)

    monkeypatch.setattr(Model, "loss", loss)
    run = small.create_run(tmp_path / "run")
    at = small.train(small.model(data), data, small.settings(), run)
    assert at.fits == {}
    assert "evaluation: out of memory" in (run.folder / "run.log").read_text()


def test_predictions_in_parts_are_the_same(text: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the task's own way in; a language model says how probable each text is."""
    made = small.model(text)
    lines = [(f"l:{n}", "to be or not"[: n + 1]) for n in range(12)]
    parts = (text.task, text.input, text.target)
    expected = list(predict(made, "text", parts, lines))
    real, tried = Model.encode, []

    def encode(self: Model, task: str, batch: Batch, state: Any = None) -> Any:
        tried.append(batch.size * batch.x.shape[1])
        if tried[-1] > 30:
            raise ERRORS[1]
        return real(self, task, batch, state)

    monkeypatch.setattr(Model, "encode", encode)
    found = list(predict(made, "text", parts, lines))
    assert max(tried) > 30
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    for one, two in zip(found, expected, strict=True):
        assert one[2].confidence == pytest.approx(two[2].confidence, rel=1e-5)


# ---- a real lack of memory


@pytest.mark.slow
def test_a_process_that_may_not_have_more_memory_trains_in_parts(tmp_path: Path) -> None:
    """RLIMIT_AS: what torch's own allocators say when the system refuses."""
    code = textwrap.dedent(
        """
        import json, resource, sys
        from pathlib import Path
        import numpy as np, torch
        from tests.helpers import small
        from seqkit.training.step import forward_backward

        folder = Path(sys.argv[1])
        data = small.vectors(folder, examples=64, longest=400)
        made = small.model(data, hidden=192)
        made.train()
        batch = data.batch("train", np.arange(64))
        state = small.state(made, data)

        def gradients(messages):
            made.zero_grad()
            result = forward_backward(state, data, [batch], messages.append)
            if not result.is_mean:
                for p in made.parameters():
                    p.grad /= result.count
            return {name: p.grad.clone() for name, p in made.named_parameters()}

        whole, messages = gradients([]), []
        import gc
        gc.collect()
        used = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + 90_000_000, resource.RLIM_INFINITY))
        cut = gradients(messages)
        worst = max(float((cut[name] - each).abs().max()) for name, each in whole.items())
        print(json.dumps({"worst": worst, "messages": messages}))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["messages"], "memory was never short: the test shows nothing"
    assert found["worst"] <= 1e-6
    assert math.isfinite(found["worst"])
