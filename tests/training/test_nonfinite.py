"""What is not finite is noticed in its own step, before the optimiser, and traced to examples and a module."""

from __future__ import annotations

import dataclasses
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
"""Does harm to a model or the batches of a step, before they are gone through."""


def spoiling(monkeypatch: pytest.MonkeyPatch, harm: Spoil, at: set[int]) -> list[dict[str, torch.Tensor]]:
    """Does `harm` at these steps (counted from 1 over all that is tried). Gives the weights before each of them."""
    real, calls = step.forward_backward, [0]
    before: list[dict[str, torch.Tensor]] = []

    def harmed(state: TrainingState, task: TaskData, batches: Any, *more: Any) -> Any:
        calls[0] += 1
        if calls[0] in at:
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
    """The module gives this number once, and once more when it is looked for."""

    def harm(model: Model, batches: Any) -> None:
        module = model.get_submodule(name)

        def spoiled(module: Any, given: Any, out: Any) -> Any:
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
    # what is spoiled: how, what is said of it, the module that is named
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
    dice = random.Random(5)
    found = [(kind, value, dice.randint(1, 7)) for kind in KINDS for value in (NAN, math.inf) for _ in range(4)]
    return [case for case in found if case[:2] != ("output of the input layer", math.inf)][:40]


def test_forty_injections_are_noticed_in_the_same_step(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = cases()
    assert len(tried) == 40
    for number, (kind, value, at) in enumerate(tried):
        with monkeypatch.context() as patch:
            how, said, module = KINDS[kind]
            before = spoiling(patch, how(value), {at})
            made = small.model(data)
            run = small.create_run(tmp_path / str(number))
            with pytest.raises(RunError) as caught:
                small.train(made, data, small.settings(steps=7, evaluate_every=100), run)
            message = str(caught.value)
            where = f"{kind}, {value}, step {at}: {message}"
            assert message.startswith(f"step {at}: "), where
            assert "nothing of this step was applied" in message, where
            assert said in message, where
            assert f"first bad module: {module}" in message or not module, where
            assert "Examples: train:" in message, where
            if kind == "input":
                assert "(1 of 4)" in message, where
            after = made.state_dict()
            changed = [name for name, tensor in before[0].items() if not torch.equal(tensor, after[name])]
            assert changed == (["encoder.cells.0.weight_hh_l0"] if kind == "weights" else []), where
            newest = checkpoint.newest(run.checkpoints)
            assert (newest is None) == (at <= 3), where
            if newest is not None:
                tensors, _ = checkpoint.load(newest)
                assert all(bool(each.isfinite().all()) for each in tensors["model"].values()), where


def test_the_example_that_is_bad_on_its_own_is_named(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    def harm(model: Model, batches: Any) -> None:
        ids.append(str(batches[0].ids[2]))
        marked = batches[0].x[2, 0, 0].item()

        def spoiled(module: Any, given: Any, out: Any) -> Any:
            steps = out[0].clone()
            steps[given[0][:, 0, 0] == marked] = NAN
            return steps, out[1]

        model.layers["steps"].register_forward_hook(spoiled)

    spoiling(monkeypatch, harm, {2})
    with pytest.raises(RunError) as caught:
        small.train(small.model(data), data, small.settings(), small.create_run(tmp_path / "run"))
    assert f"Examples: {ids[0]} (1 of 4)" in str(caught.value)
    assert "first bad module: layers.steps," in str(caught.value)


def test_looking_for_the_cause_moves_no_random_state(data: TaskData) -> None:
    made = small.model(data, dropout=0.5)
    batch = data.batch("train", np.arange(4))
    batch.x[0, 0, 0] = NAN
    result = step.StepResult(torch.tensor(NAN), torch.tensor(1), None, [(batch, None)], None, is_mean=True)
    record = nonfinite.StepRecord(1, "steps", result, torch.tensor(0.0))
    state = torch.get_rng_state()
    nonfinite_source.find_source(made, record)
    batch.x[0, 0, 0] = 0.0
    nonfinite_source.find_source(made, record)
    assert torch.equal(torch.get_rng_state(), state)


# ---- skip


def logged(run: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def test_skip_leaves_steps_out_and_counts_them(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = spoiling(monkeypatch, in_input(NAN), {2, 3, 9})
    run = small.create_run(tmp_path / "run")
    made = small.model(data)
    at = small.train(made, data, small.settings(on_nan="skip"), run)
    assert (at.step, at.skipped, at.bad_in_row) == (12, 3, 1)
    assert [row["train/skipped"] for row in logged(run) if "train/skipped" in row] == [2.0, 2.0, 3.0]
    assert all(math.isfinite(value) for row in logged(run) for value in row.values() if isinstance(value, float))
    assert all(torch.equal(before[0][name], before[1][name]) for name in before[0]), "step 2 was applied"
    assert not all(torch.equal(before[1][name], before[2][name]) for name in before[1]), "nothing was learned at all"
    assert (run.folder / "run.log").read_text().count("Skipped:") == 3


def test_skip_has_a_limit_in_a_row(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_input(NAN), {1, 2, 4, 5, 6, 7})
    wanted = small.settings(on_nan="skip", nan_limit=3)
    with pytest.raises(RunError, match=r"^step 7: .*More than 3 in a row \(train\.nan_limit\)"):
        small.train(small.model(data), data, wanted, small.create_run(tmp_path / "run"))


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


def test_a_stream_goes_on_behind_a_step_that_was_left_out(
    text: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiling(monkeypatch, in_output("layers.text", NAN), {3})
    real = nonfinite_source.find_source

    def heal(model: Model, step: Any, *more: Any) -> Any:
        found = real(model, step, *more)
        model.layers["text"]._forward_hooks.clear()
        return found

    monkeypatch.setattr(nonfinite_source, "find_source", heal)
    at = small.train(small.model(text), text, small.settings(on_nan="skip"), small.create_run(tmp_path / "run"))
    assert at.skipped == 1, "the carried state stayed NaN"


def test_a_state_that_is_not_finite_is_not_carried_on(
    text: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of its own step may be fine: then only the steps after it would tell."""

    def harm(model: Model, batches: Any) -> None:
        def spoiled(module: Any, given: Any, out: Any) -> Any:
            hook.remove()
            return dataclasses.replace(out, continue_=lambda: tuple(part * NAN for part in out.state))

        hook = model.encoder.register_forward_hook(spoiled)

    spoiling(monkeypatch, harm, {3})
    at = small.train(small.model(text), text, small.settings(on_nan="skip"), small.create_run(tmp_path / "run"))
    assert at.skipped == 0


# ---- rollback


def spoiled_example(data: TaskData, patch: pytest.MonkeyPatch, name: str) -> None:
    """One example of the data is bad for ever."""
    real = TaskData.batch

    def batch(self: TaskData, split: str, index: Any) -> Any:
        made = real(self, split, index)
        if split == "train" and name in made.ids:
            made.x[list(made.ids).index(name), 0, 0] = NAN
        return made

    patch.setattr(TaskData, "batch", batch)


def test_rollback_goes_back_and_does_not_repeat_what_led_there(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 examples, batches of 4: the bad one comes once in each of three epochs, and each time costs a rollback."""
    spoiled_example(data, monkeypatch, "train:7")
    run = small.create_run(tmp_path / "run")
    wanted = small.settings(steps=None, epochs=3, on_nan="rollback", save_every=2, evaluate_every=None, log_every=1)
    made = small.model(data)
    at = small.train(made, data, wanted, run)
    assert at.rollbacks == 3
    assert at.ended
    assert at.epoch == 3
    log = (run.folder / "run.log").read_text()
    assert log.count("went back from step") == 3
    assert "train:7 (1 of 4)" in log
    rows = logged(run)
    assert max(row.get("train/rollbacks", 0.0) for row in rows) == 3.0
    steps = [row["step"] for row in rows if "lr" in row]
    assert steps == sorted(set(steps)), "a step stands in the metrics twice"
    assert nonfinite_source.nonfinite_weights(made) == []


def test_rollback_has_a_limit(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_loss(NAN), set(range(4, 100)))
    wanted = small.settings(steps=40, on_nan="rollback", nan_limit=4)
    with pytest.raises(RunError, match=r"gone back to step-00000003 4 times"):
        small.train(small.model(data), data, wanted, small.create_run(tmp_path / "run"))


def test_weights_are_mended_by_going_back(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling(monkeypatch, in_weights("encoder.cells.0.weight_hh_l0", NAN), {1, 6})
    at = small.train(small.model(data), data, small.settings(on_nan="rollback"), small.create_run(tmp_path / "run"))
    assert (at.rollbacks, at.step) == (2, 12)


class Stopping:
    """A signal that comes while step `after` of this start is worked on."""

    exit_code = 130

    def __init__(self, after: int) -> None:
        self.after, self.now = after, 0

    @property
    def requested(self) -> bool:
        return self.now >= self.after

    def check(self, message: str = "") -> None:
        if self.requested:
            raise Interrupted(message)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("after", [3, 7, 8])
def test_policies_survive_a_restart_bit_for_bit(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, after: int
) -> None:
    spoiled_example(data, monkeypatch, "train:7")
    wanted = small.settings(steps=16, on_nan=policy, save_every=5, evaluate_every=8)
    whole, parts = small.create_run(tmp_path / "whole"), small.create_run(tmp_path / "parts")
    one = small.model(data, dropout=0.3)
    expected = small.train(one, data, wanted, whole)
    assert expected.skipped + expected.rollbacks >= 2
    stop, real = Stopping(after), step.forward_backward

    def counted(*given: Any) -> Any:
        stop.now += 1
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "forward_backward", counted)
        with pytest.raises(Interrupted):
            small.train(small.model(data, dropout=0.3), data, wanted, parts, stop=stop)
    saved = checkpoint.newest(parts.checkpoints)
    assert saved is not None
    parts.rewind(checkpoint.step_of(saved))
    again = small.model(data, dropout=0.3)
    at = small.train(again, data, wanted, parts, saved=saved)
    assert at == expected
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in one.state_dict().items())
    clocks = ("time", "time/tokens_per_s")
    strip = [[{k: v for k, v in row.items() if k not in clocks} for row in logged(run)] for run in (whole, parts)]
    assert strip[0] == strip[1]


# ---- as on a GPU, where an answer is looked at some steps later


class Late(nonfinite.NonFiniteMonitor):
    """What a GPU makes necessary, on a CPU: the optimiser passes over a bad step by itself, and it is told later."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.is_immediate, self.lag = False, nonfinite.LAG


@pytest.mark.parametrize("use", ["adamw", "adam", "sgd"])
def test_a_bad_step_is_passed_over_though_it_is_found_out_later(
    use: str, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite, "NonFiniteMonitor", Late)
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
    wanted = small.settings(
        on_nan="skip", optimizer=Choice(use, options), save_every=None, evaluate_every=None, steps=20, log_every=20
    )
    run = small.create_run(tmp_path / "run")
    at = small.train(small.model(data), data, wanted, run)
    assert at.skipped == 2
    same = {n for n in range(1, 20) if all(torch.equal(weights[n - 1][k], each) for k, each in weights[n].items())}
    assert same == {3, 8}
    log = (run.folder / "run.log").read_text()
    assert "step 3: " in log
    assert "step 8: " in log


def test_late_answers_are_waited_for_before_anything_is_saved(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite, "NonFiniteMonitor", Late)
    spoiling(monkeypatch, in_gradient("heads.steps.out.weight", NAN), {5})
    run = small.create_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"^step 5: .*first bad module: heads\.steps\.out"):
        small.train(small.model(data), data, small.settings(), run)
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    assert checkpoint.step_of(newest) == 3
