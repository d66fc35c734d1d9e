"""What is not finite is noticed in its own step, before the optimiser, and traced to examples and a module."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqkit.data.task_data import TaskData
from seqkit.errors import Interrupted, RunError
from seqkit.model import Model
from seqkit.runs import checkpoint
from seqkit.training import loop, nonfinite, nonfinite_source, step
from seqkit.training.state import TrainingState
from seqkit.types import Choice
from tests.helpers import small

NAN = math.nan


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.stream(tmp_path_factory.mktemp("text"))


Spoil = Callable[[Model, Any], None]
"""Spoils a model or the batches of a step, before its forward pass."""


def spoiling(monkeypatch: pytest.MonkeyPatch, harm: Spoil, steps: set[int]) -> list[dict[str, torch.Tensor]]:
    """Spoil these steps (counted from 1 over all attempts). Returns a list of the weights before each of them."""
    real, calls = step.forward_backward, [0]
    before: list[dict[str, torch.Tensor]] = []

    def harmed(state: TrainingState, task: TaskData, batches: Any, *more: Any) -> Any:
        calls[0] += 1
        if calls[0] in steps:
            before.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})
            harm(state.model, batches)
        return real(state, task, batches, *more)

    monkeypatch.setattr(loop, "forward_backward", harmed)
    return before


def in_input(value: float) -> Spoil:
    def harm(model: Model, batches: Any) -> None:
        batches[0].x[1, 0, 0] = value

    return harm


def in_output(name: str, value: float) -> Spoil:
    """The module gives this number whenever it runs."""

    def harm(model: Model, batches: Any) -> None:
        module = model.get_submodule(name)

        def spoiled(module: Any, inputs: Any, out: Any) -> Any:
            tensor = out[0] if isinstance(out, tuple) else out
            changed = tensor.clone()
            changed.view(-1)[0] = value
            return (changed, *out[1:]) if isinstance(out, tuple) else changed

        module.register_forward_hook(spoiled)

    return harm


def in_loss(value: float) -> Spoil:
    def harm(model: Model, batches: Any) -> None:
        head = model.head("steps")
        real = head.loss
        head.loss = lambda encoded, batch: (real(encoded, batch)[0] * value, real(encoded, batch)[1])  # type: ignore[method-assign]

    return harm


def in_gradient(name: str, value: float) -> Spoil:
    def harm(model: Model, batches: Any) -> None:
        model.get_parameter(name).register_hook(lambda gradient: gradient * value)

    return harm


def in_weights(name: str, value: float) -> Spoil:
    def harm(model: Model, batches: Any) -> None:
        with torch.no_grad():
            model.get_parameter(name).view(-1)[0] = value

    return harm


KINDS: dict[str, tuple[Callable[[float], Spoil], str, str]] = {
    # what is spoiled: how, part of the message, the module that is named
    "input": (in_input, "the input itself is not finite", ""),
    "output of the input layer": (lambda v: in_output("layers.steps", v), "output is not finite", "layers.steps"),
    "loss": (in_loss, "loss is not finite", "heads.steps"),
    "gradient of the recurrence": (
        lambda v: in_gradient("encoder.cells.0.weight_hh_l0", v),
        "gradient is not finite",
        "encoder.cells.0",
    ),
    "gradient of the head": (lambda v: in_gradient("heads.steps.out.weight", v), "gradient", "heads.steps.out"),
    "weights": (
        lambda v: in_weights("encoder.cells.0.weight_hh_l0", v),
        "whose weights weight_hh_l0 are not finite",
        "encoder.cells.0",
    ),
}


def cases() -> list[tuple[str, float, int]]:
    generator = random.Random(5)
    every = [(kind, value, generator.randint(1, 7)) for kind in KINDS for value in (NAN, math.inf) for _ in range(4)]
    return [case for case in every if case[:2] != ("output of the input layer", math.inf)][:40]


def test_forty_injections_are_noticed_in_the_same_step(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(cases()) == 40
    for number, (kind, value, bad_step) in enumerate(cases()):
        with monkeypatch.context() as patch:
            spoil, expected, module = KINDS[kind]
            before = spoiling(patch, spoil(value), {bad_step})
            model = small.model(data)
            run = small.create_run(tmp_path / str(number))
            with pytest.raises(RunError) as caught:
                small.train(model, data, small.settings(steps=7, evaluate_every=100), run)
            message = str(caught.value)
            case = f"{kind}, {value}, step {bad_step}: {message}"
            assert message.startswith(f"step {bad_step}: "), case
            assert "nothing of this step was applied" in message, case
            assert expected in message, case
            assert f"first bad module: {module}" in message or not module, case
            assert "Examples: train:" in message, case
            if kind == "input":
                assert "(1 of 4)" in message, case
            after = model.state_dict()
            changed = [name for name, tensor in before[0].items() if not torch.equal(tensor, after[name])]
            assert changed == (["encoder.cells.0.weight_hh_l0"] if kind == "weights" else []), case
            newest = checkpoint.newest(run.checkpoints)
            assert (newest is None) == (bad_step <= 3), case
            if newest is not None:
                tensors, _ = checkpoint.load(newest)
                assert all(bool(tensor.isfinite().all()) for tensor in tensors["model"].values()), case


def test_the_example_that_is_bad_on_its_own_is_named(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    def harm(model: Model, batches: Any) -> None:
        ids.append(str(batches[0].ids[2]))
        marked = batches[0].x[2, 0, 0].item()

        def spoiled(module: Any, inputs: Any, out: Any) -> Any:
            steps = out[0].clone()
            steps[inputs[0][:, 0, 0] == marked] = NAN
            return steps, out[1]

        model.layers["steps"].register_forward_hook(spoiled)

    spoiling(monkeypatch, harm, {2})
    with pytest.raises(RunError) as caught:
        small.train(small.model(data), data, small.settings(), small.create_run(tmp_path / "run"))
    assert f"Examples: {ids[0]} (1 of 4)" in str(caught.value)
    assert "first bad module: layers.steps," in str(caught.value)


def test_finding_the_source_changes_no_random_state(data: TaskData) -> None:
    model = small.model(data, dropout=0.5)
    batch = data.batch("train", np.arange(4))
    batch.x[0, 0, 0] = NAN
    result = step.StepResult(torch.tensor(NAN), torch.tensor(1), {}, None, [(batch, None)], None, is_mean=True)
    record = nonfinite.StepRecord(1, "steps", result, torch.tensor(0.0))
    state = torch.get_rng_state()
    nonfinite_source.find_source(model, record)
    batch.x[0, 0, 0] = 0.0
    nonfinite_source.find_source(model, record)
    assert torch.equal(torch.get_rng_state(), state)


# ---- skip


def logged(run: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def test_skipped_steps_are_counted_and_not_applied(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = spoiling(monkeypatch, in_input(NAN), {2, 3, 9})
    run = small.create_run(tmp_path / "run")
    model = small.model(data)
    counters = small.train(model, data, small.settings(on_nan="skip"), run)
    assert (counters.step, counters.skipped, counters.bad_in_row) == (12, 3, 1)
    assert [row["train/skipped"] for row in logged(run) if "train/skipped" in row] == [2.0, 2.0, 3.0]
    assert all(math.isfinite(value) for row in logged(run) for value in row.values() if isinstance(value, float))
    assert all(torch.equal(before[0][name], before[1][name]) for name in before[0]), "step 2 was applied"
    assert not all(torch.equal(before[1][name], before[2][name]) for name in before[1]), "nothing was learned at all"
    assert (run.folder / "run.log").read_text().count("Skipped:") == 3


def test_skip_has_a_limit_in_a_row(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_input(NAN), {1, 2, 4, 5, 6, 7})
    settings = small.settings(on_nan="skip", nan_limit=3)
    with pytest.raises(RunError, match=r"^step 7: .*More than 3 in a row \(train\.nan_limit\)"):
        small.train(small.model(data), data, settings, small.create_run(tmp_path / "run"))


def test_weights_cannot_be_skipped(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_weights("encoder.cells.0.weight_hh_l0", NAN), {5})
    with pytest.raises(RunError, match=r"step 5: .*cannot repair weights"):
        small.train(small.model(data), data, small.settings(on_nan="skip"), small.create_run(tmp_path / "run"))


def test_weights_that_no_example_uses_are_found_before_they_are_saved(
    text: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vector of padding is never read, so neither the loss nor a gradient shows it."""
    spoiling(monkeypatch, in_weights("layers.text.weight", math.inf), {2})
    run = small.create_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"step 3: the weights layers\.text\.weight are not finite"):
        small.train(small.model(text), text, small.settings(), run)
    assert checkpoint.newest(run.checkpoints) is None


def test_a_stream_goes_on_after_a_skipped_step(text: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_output("layers.text", NAN), {3})
    real = nonfinite_source.find_source

    def heal(model: Model, step: Any, *more: Any) -> Any:
        source = real(model, step, *more)
        model.layers["text"]._forward_hooks.clear()
        return source

    monkeypatch.setattr(nonfinite_source, "find_source", heal)
    counters = small.train(small.model(text), text, small.settings(on_nan="skip"), small.create_run(tmp_path / "run"))
    assert counters.skipped == 1, "the carried state stayed NaN"


def test_a_state_that_is_not_finite_is_not_carried_on(
    text: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of its own step may be finite: then only later steps would show it."""

    def harm(model: Model, batches: Any) -> None:
        def spoiled(module: Any, inputs: Any, out: Any) -> Any:
            hook.remove()
            return dataclasses.replace(out, continue_=lambda: tuple(part * NAN for part in out.state))

        hook = model.encoder.register_forward_hook(spoiled)

    spoiling(monkeypatch, harm, {3})
    counters = small.train(small.model(text), text, small.settings(on_nan="skip"), small.create_run(tmp_path / "run"))
    assert counters.skipped == 0


# ---- rollback


def spoiled_example(data: TaskData, patch: pytest.MonkeyPatch, name: str) -> None:
    """One example of the data is always bad."""
    real = TaskData.batch

    def batch(self: TaskData, split: str, index: Any) -> Any:
        batch = real(self, split, index)
        if split == "train" and name in batch.ids:
            batch.x[list(batch.ids).index(name), 0, 0] = NAN
        return batch

    patch.setattr(TaskData, "batch", batch)


def test_rollback_goes_back_and_does_not_repeat_what_led_there(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 examples, batches of 4: the bad one comes once in each of three epochs, and each time causes a rollback."""
    spoiled_example(data, monkeypatch, "train:7")
    run = small.create_run(tmp_path / "run")
    settings = small.settings(steps=None, epochs=3, on_nan="rollback", save_every=2, evaluate_every=None, log_every=1)
    model = small.model(data)
    counters = small.train(model, data, settings, run)
    assert counters.rollbacks == 3
    assert counters.ended
    assert counters.epoch == 3
    log = (run.folder / "run.log").read_text()
    assert log.count("went back from step") == 3
    assert "train:7 (1 of 4)" in log
    rows = logged(run)
    assert max(row.get("train/rollbacks", 0.0) for row in rows) == 3.0
    steps = [row["step"] for row in rows if "lr" in row]
    assert steps == sorted(set(steps)), "a step stands in the metrics twice"
    assert nonfinite_source.nonfinite_weights(model) == []


def test_rollback_has_a_limit(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_loss(NAN), set(range(4, 100)))
    settings = small.settings(steps=40, on_nan="rollback", nan_limit=4)
    with pytest.raises(RunError, match=r"gone back to step-00000003 4 times"):
        small.train(small.model(data), data, settings, small.create_run(tmp_path / "run"))


def test_weights_are_repaired_by_a_rollback(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_weights("encoder.cells.0.weight_hh_l0", NAN), {1, 6})
    counters = small.train(
        small.model(data), data, small.settings(on_nan="rollback"), small.create_run(tmp_path / "run")
    )
    assert (counters.rollbacks, counters.step) == (2, 12)


class Stopping:
    """A signal that comes during step `after` of this start."""

    exit_code = 130

    def __init__(self, after: int) -> None:
        self.after, self.steps = after, 0

    @property
    def requested(self) -> bool:
        return self.steps >= self.after

    def check(self, message: str = "") -> None:
        if self.requested:
            raise Interrupted(message)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("after", [3, 7, 8])
def test_policies_survive_a_restart_bit_for_bit(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, after: int
) -> None:
    spoiled_example(data, monkeypatch, "train:7")
    settings = small.settings(steps=16, on_nan=policy, save_every=5, evaluate_every=8)
    whole, parts = small.create_run(tmp_path / "whole"), small.create_run(tmp_path / "parts")
    uninterrupted = small.model(data, dropout=0.3)
    expected = small.train(uninterrupted, data, settings, whole)
    assert expected.skipped + expected.rollbacks >= 2
    stop, real = Stopping(after), step.forward_backward

    def counted(*arguments: Any) -> Any:
        stop.steps += 1
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "forward_backward", counted)
        with pytest.raises(Interrupted):
            small.train(small.model(data, dropout=0.3), data, settings, parts, stop=stop)
    saved = checkpoint.newest(parts.checkpoints)
    assert saved is not None
    parts.rewind(checkpoint.step_of(saved))
    resumed = small.model(data, dropout=0.3)
    counters = small.train(resumed, data, settings, parts, saved=saved)
    assert counters == expected
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in uninterrupted.state_dict().items())
    clocks = ("time", "time/tokens_per_s")
    strip = [[{k: v for k, v in row.items() if k not in clocks} for row in logged(run)] for run in (whole, parts)]
    assert strip[0] == strip[1]


# ---- as on a GPU, where the answer of a check is read some steps later


@pytest.mark.parametrize("use", ["adamw", "adam", "sgd"])
def test_a_bad_step_is_skipped_though_it_is_noticed_later(
    use: str, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite, "NonFiniteMonitor", small.LaggingMonitor)
    options = {"lr": 0.01, "momentum": 0.9} if use == "sgd" else {"lr": 0.01}
    weights: list[dict[str, torch.Tensor]] = []
    spoiled, real = in_gradient("encoder.cells.0.weight_hh_l0", NAN), step.forward_backward

    def watched(state: TrainingState, *more: Any) -> Any:
        model = state.model
        weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        hook = None
        if len(weights) in (3, 8):
            spoiled(model, None)
            hook = model.get_parameter("encoder.cells.0.weight_hh_l0")
        result = real(state, *more)
        if hook is not None:
            hook._backward_hooks.clear()  # type: ignore[union-attr]
        return result

    monkeypatch.setattr(loop, "forward_backward", watched)
    settings = small.settings(
        on_nan="skip", optimizer=Choice(use, options), save_every=None, evaluate_every=None, steps=20, log_every=20
    )
    run = small.create_run(tmp_path / "run")
    counters = small.train(small.model(data), data, settings, run)
    assert counters.skipped == 2
    pairs = enumerate(itertools.pairwise(weights), start=1)
    unchanged = {number for number, (old, new) in pairs if all(torch.equal(old[name], new[name]) for name in old)}
    assert unchanged == {3, 8}
    log = (run.folder / "run.log").read_text()
    assert "step 3: " in log
    assert "step 8: " in log


def test_late_answers_are_awaited_before_a_save(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite, "NonFiniteMonitor", small.LaggingMonitor)
    spoiling(monkeypatch, in_gradient("heads.steps.out.weight", NAN), {5})
    run = small.create_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"^step 5: .*first bad module: heads\.steps\.out"):
        small.train(small.model(data), data, small.settings(), run)
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    assert checkpoint.step_of(newest) == 3
