"""Forward and backward of a step in parts: the same gradients, the same carried states, and no example lost."""

from __future__ import annotations

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

from seqkit.data.epoch import EpochPlan
from seqkit.data.task_data import TaskData
from seqkit.errors import RunError
from seqkit.interfaces import Batch, State
from seqkit.model import Model
from seqkit.runs import checkpoint
from seqkit.training.state import TrainingState
from seqkit.training.step import StepResult, forward_backward
from tests.helpers import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"), examples=40)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.stream(tmp_path_factory.mktemp("text"))


def step(
    model: Model, data: TaskData, batches: list[Batch], budget: int | None = None, carried: State | None = None
) -> tuple[StepResult, dict[str, Tensor], TrainingState, list[str]]:
    """Forward and backward with at most `budget` padded steps at once: result, gradients, state, messages."""
    model.zero_grad()
    state, messages = small.state(model, data), list[str]()
    if budget is not None:
        state.counters.fits[data.name] = budget
    if carried is not None:
        state.carried[data.name] = carried
    result = forward_backward(state, data, batches, messages.append)
    if not result.is_mean:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= result.count
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return result, gradients, state, messages


def largest_difference(gradients: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert gradients.keys() == expected.keys()
    return max(float((gradients[name] - gradient).abs().max()) for name, gradient in expected.items())


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("batch_count", [1, 3])
@pytest.mark.parametrize("limit", [70, 40, 20, 9])
def test_parts_have_the_gradients_of_the_batch(
    data: TaskData, monkeypatch: pytest.MonkeyPatch, limit: int, batch_count: int, backward: bool
) -> None:
    model = small.model(data)
    model.train()
    batches = [data.batch("train", np.arange(start, start + 13)) for start in range(0, 13 * batch_count, 13)]
    expected, expected_gradients, *_ = step(model, data, batches)
    with monkeypatch.context() as patch:
        attempts = small.limit_memory(patch, limit, backward=backward)
        result, gradients, state, messages = step(model, data, batches)
    assert largest_difference(gradients, expected_gradients) <= 1e-6
    assert all(float(gradient.abs().max()) > 1e-4 for gradient in expected_gradients.values()), "they show nothing"
    assert float(result.loss) == pytest.approx(float(expected.loss), rel=1e-6)
    assert int(result.count) == int(expected.count) == 13 * batch_count
    assert state.counters.fits["steps"] <= limit
    assert max(attempts) > limit
    assert len(messages) == len(set(messages))
    assert "out of memory: steps: 13 examples of up to" in messages[0]


def test_parts_of_a_stream_carry_the_states_of_their_own_rows(text: TaskData) -> None:
    model = small.model(text)
    model.train()
    plan = EpochPlan({"text": text}, small.settings(batch=6), seed=1, epoch=0)
    windows = [batch for turn in plan.turns[:3] for batch in plan.batches(turn)]
    runs: list[list[tuple[dict[str, Tensor], Any]]] = []
    for budget in (None, 10, 5):
        carried, steps = None, []
        for window in windows:
            result, gradients, *_ = step(model, text, [window], budget, carried)
            carried = result.carried
            steps.append((gradients, carried))
        runs.append(steps)
    for in_parts in runs[1:]:
        for (expected, expected_state), (gradients, state) in zip(runs[0], in_parts, strict=True):
            assert largest_difference(gradients, expected) <= 1e-6
            for tensor, expected_tensor in zip(state, expected_state, strict=True):
                torch.testing.assert_close(tensor, expected_tensor, rtol=0, atol=1e-6)


def test_accumulated_windows_of_a_stream_go_on_from_each_other(text: TaskData) -> None:
    model = small.model(text)
    plan = EpochPlan({"text": text}, small.settings(batch=4, accumulate=3), seed=1, epoch=0)
    windows = plan.batches(plan.turns[0])
    assert len(windows) == 3
    _, expected, *_ = step(model, text, windows)
    _, gradients, *_ = step(model, text, windows, 5)
    assert largest_difference(gradients, expected) <= 1e-6


def test_a_module_that_counts_batches_counts_a_batch_in_parts_once(data: TaskData) -> None:
    model = small.model(data)
    model.layers["steps"].register_buffer("seen", torch.zeros((), dtype=torch.int64))
    model.layers["steps"].register_forward_hook(lambda module, inputs, output: module.seen.add_(1) and None)
    step(model, data, [data.batch("train", np.arange(8))], 9)
    assert int(model.layers["steps"].seen) == 1  # type: ignore[arg-type]


def test_a_single_example_that_does_not_fit_is_named(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = int(data.lengths("train").max())
    small.limit_memory(monkeypatch, longest - 1)
    with pytest.raises(RunError, match=rf"^out of memory: train:\d+ alone, with {longest} steps, does not fit"):
        small.train(small.model(data), data, small.settings(steps=60), small.create_run(tmp_path / "run"))


def test_the_budget_is_remembered_over_the_run_and_over_a_restart(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, in_parts = small.create_run(tmp_path / "whole"), small.create_run(tmp_path / "parts")
    settings = small.settings(batch=8, keep=9)
    expected, model = small.model(data), small.model(data)
    small.train(expected, data, settings, whole)
    with monkeypatch.context() as patch:
        attempts = small.limit_memory(patch, 30)
        counters = small.train(model, data, settings, in_parts)
    assert counters.fits == {"steps": pytest.approx(30, abs=15)}
    too_large = [size for size in attempts if size > 30]
    assert 1 <= len(too_large) <= 6, "the same lack of memory occurred again and again"
    assert (in_parts.folder / "run.log").read_text().count("with the same gradients") == len(too_large)
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(tensor, model.state_dict()[name], atol=1e-5), name
    saved = checkpoint.steps(in_parts.checkpoints)[-2]
    assert checkpoint.load(saved)[1]["progress"]["fits"] == counters.fits
    with monkeypatch.context() as patch:
        attempts = small.limit_memory(patch, 30)
        small.train(small.model(data), data, settings, in_parts, saved=saved)
    in_training = [size for size in attempts if size <= 40]
    assert in_training
    assert max(in_training) <= max(30, counters.fits["steps"])


@pytest.mark.slow
def test_a_process_that_may_not_have_more_memory_trains_in_parts(tmp_path: Path) -> None:
    """Under RLIMIT_AS torch's own allocators fail, with their own messages."""
    code = textwrap.dedent(
        """
        import json, resource, sys
        from pathlib import Path
        import numpy as np, torch
        from tests.helpers import small
        from seqkit.training.step import forward_backward

        folder = Path(sys.argv[1])
        data = small.vectors(folder, examples=64, longest=400)
        model = small.model(data, hidden=192)
        model.train()
        batch = data.batch("train", np.arange(64))
        state = small.state(model, data)

        def gradients(messages):
            model.zero_grad()
            result = forward_backward(state, data, [batch], messages.append)
            if not result.is_mean:
                for p in model.parameters():
                    p.grad /= result.count
            return {name: p.grad.clone() for name, p in model.named_parameters()}

        whole, messages = gradients([]), []
        import gc
        gc.collect()
        used = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + 90_000_000, resource.RLIM_INFINITY))
        in_parts = gradients(messages)
        worst = max(float((in_parts[name] - gradient).abs().max()) for name, gradient in whole.items())
        print(json.dumps({"worst": worst, "messages": messages}))
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300, cwd=Path.cwd()
    )
    assert process.returncode == 0, process.stderr
    output = json.loads(process.stdout)
    assert output["messages"], "memory was never short: the test shows nothing"
    assert output["worst"] <= 1e-6
    assert math.isfinite(output["worst"])


@pytest.mark.parametrize("kind", ["data", "text"])
def test_parts_and_accumulated_batches_drop_what_the_batch_drops(
    kind: str, data: TaskData, text: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"data": data, "text": text}[kind]
    if kind == "text":
        batch = EpochPlan({used.name: used}, small.settings(batch=6), seed=1, epoch=0)
        whole = batch.batches(batch.turns[0])[0]
    else:
        whole = used.batch("train", np.arange(13))
    model = small.model(used, dropout=0.4)
    model.train()
    result, expected, *_ = step(model, used, [whole])
    assert largest_difference(expected, step(model, used, [whole])[1]) == 0, "a step draws the same each time"
    other, state = small.model(used, dropout=0.4), small.state(model, used)
    state.counters.step = 1
    model.zero_grad()
    forward_backward(state, used, [whole], str)
    after = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert largest_difference(after, expected) > 1e-3, "the next step draws something else"
    with monkeypatch.context() as patch:
        small.limit_memory(patch, 20, backward=False)
        parts, gradients, *_ = step(model, used, [whole])
    assert not parts.is_mean
    assert largest_difference(gradients, expected) <= 1e-6
    assert float(parts.loss) == pytest.approx(float(result.loss), rel=1e-6)
    if kind == "data":
        accumulated = [whole.take(range(start, min(13, start + 5))).trimmed() for start in range(0, 13, 5)]
        other.train()
        assert largest_difference(step(other, used, accumulated)[1], expected) <= 1e-6
