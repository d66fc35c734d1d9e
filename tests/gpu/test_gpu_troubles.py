"""On a GPU: NaN is kept out of the weights without waiting for the device; a lack of memory splits the batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqkit.errors import RunError
from seqkit.runtime import out_of_memory
from seqkit.training import loop, nonfinite, nonfinite_source, step
from seqkit.training.state import TrainingState
from tests.helpers import small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def spoiling(monkeypatch: pytest.MonkeyPatch, at: set[int], weights: list[dict[str, torch.Tensor]]) -> None:
    """NaN in the inputs of these steps; the weights before each step are kept."""
    real, calls = step.forward_backward, [0]

    def harmed(state: TrainingState, task: Any, batches: Any, *more: Any) -> Any:
        calls[0] += 1
        weights.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})
        if calls[0] in at:
            batches[0].x[1, 0, 0] = math.nan
        return real(state, task, batches, *more)

    monkeypatch.setattr(loop, "forward_backward", harmed)


@pytest.mark.parametrize("use", ["adamw", "adam", "sgd"])
def test_a_bad_step_is_passed_over_on_the_device(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.vectors(tmp_path / "cache")
    weights: list[dict[str, torch.Tensor]] = []
    spoiling(monkeypatch, {3, 8}, weights)
    from seqkit.types import Choice

    options = {"lr": 0.01, "momentum": 0.9} if use == "sgd" else {"lr": 0.01}
    wanted = small.settings(
        on_nan="skip", optimizer=Choice(use, options), save_every=None, evaluate_every=None, steps=20
    )
    run = small.create_run(tmp_path / "run")
    made = small.model(data).cuda()
    at = small.train(made, data, wanted, run)
    assert at.skipped == 2
    for number in range(1, 20):
        same = all(torch.equal(weights[number - 1][name], each) for name, each in weights[number].items())
        assert same == (number in (3, 8)), number
    assert nonfinite_source.nonfinite_weights(made) == []
    assert (
        "first bad module" in (run.folder / "run.log").read_text()
        or "the input itself" in (run.folder / "run.log").read_text()
    )


def test_a_bad_step_stops_the_run_within_a_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.vectors(tmp_path / "cache")
    weights: list[dict[str, torch.Tensor]] = []
    spoiling(monkeypatch, {5}, weights)
    made = small.model(data).cuda()
    wanted = small.settings(save_every=None, evaluate_every=None, steps=30, log_every=30)
    with pytest.raises(RunError, match=r"^step 5: .*the input itself is not finite.*\(1 of 4\)"):
        small.train(made, data, wanted, small.create_run(tmp_path / "run"))
    assert len(weights) <= 5 + nonfinite.LAG + 1
    assert nonfinite_source.nonfinite_weights(made) == []


def test_a_real_lack_of_memory_splits_the_batch(tmp_path: Path) -> None:
    data = small.vectors(tmp_path / "cache", examples=512, longest=600)
    made = small.model(data, hidden=256).cuda().train()
    batch = data.batch("train", np.arange(512)).to("cuda")
    state = small.state(made, data)

    def gradients(messages: list[str]) -> dict[str, torch.Tensor]:
        made.zero_grad()
        result = step.forward_backward(state, data, [batch], messages.append)
        count = 1 if result.is_mean else result.count
        return {name: p.grad / count for name, p in made.named_parameters() if p.grad is not None}

    whole = gradients([])
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    share = (torch.cuda.memory_allocated() + 0.45 * (peak - torch.cuda.memory_allocated())) / torch.cuda.mem_get_info()[
        1
    ]
    messages: list[str] = []
    try:
        torch.cuda.set_per_process_memory_fraction(share)
        parts = gradients(messages)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert messages, "memory was never short"
    assert state.counters.fits["steps"] < batch.x.shape[0] * batch.x.shape[1]
    for name, gradient in whole.items():
        assert float((parts[name] - gradient).abs().max()) <= 1e-5 * max(1.0, float(gradient.abs().max())), name
    assert out_of_memory.is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))
