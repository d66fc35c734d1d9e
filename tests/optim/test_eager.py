"""Optimisers that do not import torch's compiler take torch's steps, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqkit.optim import eager


def trained(build: Callable[..., torch.optim.Optimizer], options: dict[str, Any]) -> tuple[list[torch.Tensor], Any]:
    """Weights after some steps, with a state that is saved and loaded on the way."""
    torch.manual_seed(1)
    layer = nn.Linear(5, 3)
    inputs = torch.randn(8, 4, 5)
    groups = [{"params": [layer.weight], "lr": 0.02}]
    optimizer = build(groups, lr=0.01, fused=True, **options)
    optimizer.add_param_group({"params": [layer.bias]})
    for step, x in enumerate(inputs):
        if step == 4:
            state = optimizer.state_dict()
            optimizer = build([{"params": [layer.weight]}, {"params": [layer.bias]}], lr=0.5, fused=True, **options)
            optimizer.load_state_dict(state)
        layer(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert layer.weight.grad is None
    return [layer.weight.detach(), layer.bias.detach()], optimizer.state_dict()


@pytest.mark.parametrize(
    ("name", "options"),
    [("AdamW", {"weight_decay": 0.1}), ("Adam", {}), ("SGD", {"momentum": 0.9, "nesterov": True})],
)
def test_steps_are_torchs(name: str, options: dict[str, Any]) -> None:
    weights, state = trained(getattr(eager, name), options)
    expected, expected_state = trained(getattr(torch.optim, name), options)
    assert all(map(torch.equal, weights, expected))
    assert state["param_groups"] == expected_state["param_groups"]
    assert state["state"].keys() == expected_state["state"].keys()


RUNS = [*(("names", use) for use in ("adamw", "adam", "sgd", "lazy_adamw")), ("sentiment", "adamw")]


@pytest.mark.parametrize(("recipe", "use"), RUNS)
def test_a_run_does_not_import_the_compiler(recipe: str, use: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom seqkit.cli import main\n"
        f"main(['run', '{recipe}', '--quiet', '--out', {str(tmp_path / 'run')!r}, '--set', 'train.steps=2', "
        f"'--set', 'train.optimizer.use={use}', '--set', 'expect={{}}'], standalone_mode=False)\n"
        "print([name for name in ('torch._dynamo', 'torch._inductor', 'sympy') if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr
