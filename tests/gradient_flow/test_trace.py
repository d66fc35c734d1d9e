"""Gradients of single losses with respect to states: compared with autograd, one step at a time."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import pytest
import torch

from seqkit import kernels
from seqkit.encoders import gru, lstm, rnn
from seqkit.fields import Label, Vectors
from seqkit.gradient_flow import trace as traces
from seqkit.gradient_flow.trace import Trace, encoder_input_gradients, trace_gradients
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.model import Model
from tests.helpers.native import require_native
from tests.reference.state_gradients import run_with_states

LENGTHS = (9, 4, 1, 7)
WIDTH = 3


class Scored(Head):
    """A loss that looks at every output, at the last ones, and at the state, each as a test wants it."""

    accepts = (Label,)

    def __init__(self, dim: int, looks_at: str) -> None:
        super().__init__()
        self.out, self.looks_at = torch.nn.Linear(dim, 1), looks_at

    def losses(self, encoded: Encoded) -> torch.Tensor:
        """(B, T, H) weighted outputs, squared; the loss is their sum with that of `last` and the state."""
        return self.out(encoded.steps * encoded.mask[..., None]).square()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        total = torch.zeros((), dtype=encoded.steps.dtype)
        if "steps" in self.looks_at:
            total = total + (self.losses(encoded) * encoded.mask[..., None]).sum()
        if "last" in self.looks_at:
            total = total + self.out(encoded.last).square().sum()
        if "state" in self.looks_at:
            total = total + sum((tensor * (1 + n)).sum() for n, tensor in enumerate(encoded.state))
        return total, torch.tensor(1)

    def predict(self, encoded: Encoded, batch: Batch) -> Any:
        raise NotImplementedError


def build(cell: Any, looks_at: str = "steps", **options: Any) -> Model:
    torch.manual_seed(1)
    encoder = cell(5, hidden=4, **options)
    field = Vectors(WIDTH)
    return Model({"task": field.layer(5)}, encoder, {"task": Scored(encoder.out_dim, looks_at)}).double()


def batch() -> Batch:
    torch.manual_seed(2)
    x = torch.randn(len(LENGTHS), max(LENGTHS), WIDTH, dtype=torch.float64)
    return Batch(x, torch.tensor(LENGTHS), ids=[f"row {n}" for n in range(len(LENGTHS))])


def expected_norms(model: Model, looks_at: str, trace: Trace, row: int, direction: int) -> dict[tuple[int, int], float]:
    """{(layer, step): norm} by autograd, for the loss of the step that the trace chose."""
    encoder: Any = model.encoder
    head: Any = model.heads["task"]
    length, hidden = LENGTHS[row], encoder.hidden
    x, _ = model.layers["task"](batch().x[row : row + 1], torch.tensor([length]))
    outputs, states = run_with_states(encoder, x[0].detach(), length)
    chosen = int(trace.steps["forward" if direction == 0 else "backward"][row])
    columns = slice(direction * hidden, (direction + 1) * hidden)
    # What the head's loss sends back to that output, in the columns of that direction.
    leaf = outputs.detach().requires_grad_()
    loss = head.out(leaf).square().sum() if "steps" in looks_at else 0.0 * leaf.sum()
    if "last" in looks_at:
        last = torch.cat([leaf[-1, :hidden], leaf[0, hidden:]])
        loss = loss + head.out(last).square().sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    target = (outputs[chosen, columns] * gradient[chosen, columns]).sum()
    if "state" in looks_at and chosen == (length - 1 if direction == 0 else 0):
        for layer in range(encoder.layers):
            target = target + sum((tensor * (1 + n)).sum() for n, tensor in enumerate(states[layer, direction, chosen]))
    keys = [key for key in states if key[1] == direction]
    flat = [tensor for key in keys for tensor in states[key]]
    gradients = torch.autograd.grad(target, flat, allow_unused=True)
    norms = {}
    for number, (layer, _, t) in enumerate(keys):
        of_state = gradients[number * encoder.states : (number + 1) * encoder.states]
        norms[layer, t] = float(sum((g.square().sum() for g in of_state if g is not None), torch.tensor(0.0)) ** 0.5)
    return norms


OPTIONS = [
    {},
    {"layers": 2},
    {"bidirectional": True},
    {"bidirectional": True, "layer_norm": True},
    {"layers": 3, "bidirectional": True, "residual": True, "layer_norm": True},
    {"layers": 2, "initial": "learned"},
    {"layers": 2, "bidirectional": True, "highway": True},
]


@pytest.mark.parametrize("engine", ["native", "stepwise"])
@pytest.mark.parametrize("looks_at", ["steps", "last", "state", "steps last state"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", [rnn, lstm, gru])
def test_the_norms_are_those_of_autograd_over_single_steps(
    cell: Any, options: dict[str, Any], looks_at: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "native":
        require_native()
    if engine == "stepwise":
        monkeypatch.setattr(kernels, "has_native", lambda: False)
    model = build(cell, looks_at, **options)
    trace = trace_gradients(model, "task", batch())
    encoder: Any = model.encoder
    assert [(layer.layer, layer.direction) for layer in trace.layers] == [
        (number + 1, direction)
        for direction in ("forward", "backward")[: encoder.directions]
        for number in range(encoder.layers)
    ]
    for row, direction in itertools.product(range(len(LENGTHS)), range(encoder.directions)):
        expected = expected_norms(model, looks_at, trace, row, direction)
        assert any(expected.values()) or looks_at == "state"
        for layer in trace.layers:
            if layer.direction == ("forward", "backward")[direction]:
                norms = [expected[layer.layer - 1, t] for t in range(LENGTHS[row])]
                assert layer.norms[row, : LENGTHS[row]].tolist() == pytest.approx(norms, rel=1e-9, abs=1e-14)
                assert not layer.norms[row, LENGTHS[row] :].any()


def test_gradients_at_the_encoders_input_are_those_of_the_whole_loss() -> None:
    model = build(lstm, "steps last", layers=2, bidirectional=True)
    norms, lengths = encoder_input_gradients(model, "task", batch(), None)
    x, _ = model.layers["task"](batch().x, batch().lengths)
    x = x.detach().requires_grad_()
    model.heads["task"].loss(model.encoder(x, batch().lengths), batch())[0].backward()  # type: ignore[operator]
    assert x.grad is not None
    assert torch.allclose(norms, x.grad.norm(dim=-1), rtol=1e-9)
    assert lengths.tolist() == list(LENGTHS)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", [rnn, lstm, gru])
def test_a_measurement_keeps_nothing_once_it_is_over(
    cell: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watchers: list[weakref.ref[Any]] = []

    class Watched(traces._Watched):
        def __init__(self) -> None:
            super().__init__()
            watchers.append(weakref.ref(self))

    monkeypatch.setattr(traces, "_Watched", Watched)
    trace = trace_gradients(build(cell, "steps last state", **options), "task", batch())
    assert trace.layers
    del trace
    gc.collect()  # cycles of Python are none of memory's growth; those through a graph are never collected
    assert [watcher() for watcher in watchers] == [None]


@pytest.mark.parametrize("looks_at", ["steps", "last"])
def test_the_steps_that_are_traced_are_in_the_half_that_their_direction_ends_in(looks_at: str) -> None:
    trace = trace_gradients(build(gru, looks_at, bidirectional=True), "task", batch())
    for row, length in enumerate(LENGTHS):
        if looks_at == "last":
            assert (int(trace.steps["forward"][row]), int(trace.steps["backward"][row])) == (length - 1, 0)
        else:
            assert length // 2 <= trace.steps["forward"][row] < length
            assert 0 <= trace.steps["backward"][row] <= max(0, length // 2 - 1)
