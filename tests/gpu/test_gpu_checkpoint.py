"""Checkpoints of what lives on a GPU: weights, optimiser, and the GPU's own random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from seqkit.optim.optimizers import OPTIMIZERS
from seqkit.runs import checkpoint, state_tree
from seqkit.runs.tensorboard import Board
from seqkit.runtime import random_state

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]


def test_random_numbers_of_the_gpu_go_on_where_they_were(tmp_path: Path) -> None:
    torch.cuda.manual_seed_all(3)
    torch.rand(7, device="cuda")
    tensors, state = random_state.random_state()
    assert "cuda.0" in tensors
    tensors = checkpoint.load(checkpoint.save(tmp_path, 1, {"random": tensors}, {}))[0]["random"]
    expected = torch.rand(5, device="cuda")
    torch.cuda.manual_seed_all(4)
    random_state.restore_random_state(tensors, json.loads(json.dumps(state)))
    assert torch.equal(torch.rand(5, device="cuda"), expected)


@pytest.mark.parametrize("use", list(OPTIMIZERS))
def test_an_optimiser_on_the_gpu_goes_on_bit_for_bit(use: str, tmp_path: Path) -> None:
    options = {"momentum": 0.9} if use == "sgd" else {}

    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).cuda()
        return module, OPTIMIZERS[use](module.parameters(), **options)

    def step(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(number)).cuda()
        module(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    module, optimizer = build()
    step(module, optimizer, 0)
    tensors, state = state_tree.pack(optimizer.state_dict())
    path = checkpoint.save(tmp_path, 1, {"model": module.state_dict(), "optimizer": tensors}, state)
    other, resumed = build()
    actual, state = checkpoint.load(path)
    other.load_state_dict(actual["model"])
    resumed.load_state_dict(state_tree.unpack(actual["optimizer"], state))
    for number in (1, 2):
        step(module, optimizer, number)
        step(other, resumed, number)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


def test_histograms_take_tensors_from_the_gpu(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.histograms(1, nn.Linear(4, 3).cuda().bfloat16())
    board.close()
    assert board.folder.exists()
