"""Numbers of each layer, against a slow calculation; histograms by gate; which logs are shown; where time goes."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from seqkit.runs.board_series import is_shown
from seqkit.training.counters import TrainingCounters
from seqkit.training.layer_statistics import LayerStatistics, weights_and_gradients
from seqkit.training.throughput import Throughput


def test_a_step_is_measured_layer_by_layer() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.randn(5, 3)).sum().backward()
    statistics = LayerStatistics(module, 10)
    statistics.before_step(10)
    optimizer.step()
    numbers = statistics.after_step()
    for layer in "01":
        names = [f"{layer}.weight", f"{layer}.bias"]
        parameters = [module.get_parameter(name) for name in names]
        after = [parameter.detach() for parameter in parameters]
        norm = sum(float((p.grad**2).sum()) for p in parameters if p.grad is not None) ** 0.5
        moved = sum(float(((p - before[n]) ** 2).sum()) for n, p in zip(names, after, strict=True)) ** 0.5
        size = sum(float((before[name] ** 2).sum()) for name in names) ** 0.5
        assert numbers.pop(f"per layer/gradient norm/{layer}") == pytest.approx(norm, rel=1e-5)
        assert numbers.pop(f"per layer/update to weight/{layer}") == pytest.approx(moved / size, rel=1e-4)
    assert numbers == {}


def test_steps_that_are_not_shown_are_not_measured() -> None:
    module = nn.Linear(2, 1)
    module(torch.ones(1, 2)).sum().backward()
    statistics = LayerStatistics(module, 10)
    statistics.before_step(10)
    statistics.before_step(11)
    assert statistics.after_step() == {}
    statistics.before_step(20_010)  # the 2,001st log
    assert statistics.after_step() == {}


def test_a_layer_without_gradients_is_left_out() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    module[0].requires_grad_(False)
    module(torch.ones(1, 2)).sum().backward()
    statistics = LayerStatistics(module, 1)
    statistics.before_step(1)
    assert set(statistics.after_step()) == {"per layer/gradient norm/1", "per layer/update to weight/1"}


def test_ever_fewer_logs_are_shown_and_never_none() -> None:
    shown = [number for number in range(1, 100_001) if is_shown(number * 50, 50)]
    assert shown[:999] == list(range(1, 1000))
    assert len(shown) < 4500
    for start in (1000, 2000, 16_000, 64_000):
        assert sum(start <= number < 2 * start for number in shown) in range(480, 521) or start == 64_000


def test_gates_are_apart_and_two_biases_are_one() -> None:
    lstm = nn.LSTM(2, 3)
    lstm(torch.randn(4, 1, 2))[0].sum().backward()
    tensors = weights_and_gradients(nn.ModuleDict({"cells": lstm}))
    gates = ("input gate", "forget gate", "cell", "output gate")
    assert set(tensors) == {
        f"{kind}/cells/{gate}/{name}"
        for kind in ("weights", "gradients")
        for gate in gates
        for name in ("weight_ih_l0", "weight_hh_l0", "bias")
    }
    forget = slice(3, 6)
    assert torch.equal(tensors["weights/cells/forget gate/weight_hh_l0"], lstm.weight_hh_l0[forget])
    assert torch.equal(tensors["weights/cells/forget gate/bias"], lstm.bias_ih_l0[forget] + lstm.bias_hh_l0[forget])
    assert lstm.bias_ih_l0.grad is not None
    assert torch.equal(tensors["gradients/cells/forget gate/bias"], lstm.bias_ih_l0.grad[forget])


def test_the_biases_of_a_candidate_of_a_gru_stay_apart() -> None:
    gru = nn.GRU(2, 3)
    biases = [tag for tag in weights_and_gradients(gru) if "bias" in tag]
    assert biases == [
        "weights/reset gate/bias",
        "weights/update gate/bias",
        "weights/candidate/bias_ih_l0",
        "weights/candidate/bias_hh_l0",
    ]


def test_phases_share_the_time_and_evaluation_is_none_of_them() -> None:
    throughput = Throughput()
    for _ in range(3):
        time.sleep(0.002)
        throughput.begin(is_measured=False)
        for phase in ("forward", "backward", "optimiser"):
            time.sleep(0.002)
            throughput.mark(phase)
        throughput.end()
    with throughput.paused():
        time.sleep(0.004)
    throughput.lap(TrainingCounters())
    numbers = throughput.resources()
    shares = {name: value for name, value in numbers.items() if name.startswith("time/share in ")}
    assert set(shares) == {
        f"time/share in {phase}" for phase in ("data", "forward", "backward", "optimiser", "evaluation")
    }
    assert all(share > 0.0 for share in shares.values())
    assert sum(shares.values()) <= 1.0 + 1e-6
    assert numbers["resources/memory of the process, GB"] > 0.01
    again = throughput.resources()
    assert all(again[name] == 0.0 for name in shares), "what was reported is not reported again"
