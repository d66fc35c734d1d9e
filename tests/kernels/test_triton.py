"""Kernels in Triton: their numbers by Triton's interpreter, what they need of a GPU's registers, and when they run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from seqkit import kernels
from seqkit.errors import UsageError
from seqkit.kernels import dispatch, triton_engine
from seqkit.kernels.layout import lay_out

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def run_module(name: str, *arguments: str, **variables: str) -> str:
    """What `python -m NAME` prints. Triton reads its variables when it is imported: it needs a process of its own."""
    command = [sys.executable, "-m", name, *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@needs_triton
def test_recurrences_are_those_in_torch_forward_and_backward() -> None:
    assert run_module("tests.kernels.triton_cases", TRITON_INTERPRET="1").strip() == "6 cases equal"


@needs_triton
@pytest.mark.parametrize("count", [6, pytest.param(300, marks=pytest.mark.slow)])
def test_chains_alignments_and_dropout_are_those_in_torch(count: int) -> None:
    """Losses, gradients, marginals and best paths, with what is forbidden, repeated, tied, empty and impossible."""
    assert run_module("tests.kernels.triton_sums_cases", str(count), TRITON_INTERPRET="1") == f"{count} cases equal\n"


@pytest.mark.slow
@needs_triton
def test_kernels_for_sm_90_spill_no_registers(tmp_path: Path) -> None:
    rows = json.loads(run_module("tests.kernels.triton_builds", TRITON_CACHE_DIR=str(tmp_path)))
    assert {row.get("hidden") for row in rows} == {64, 128, None}
    assert not [row for row in rows if row["spilled bytes"]]
    assert not [row for row in rows if row["shared bytes"] > 227 << 10]


@pytest.mark.parametrize("batch", [1, 2, 15, 16, 17, 40, 64, 100])
def test_groups_are_no_larger_than_what_a_kernel_takes(batch: int) -> None:
    layout = lay_out(torch.full((batch,), 3), 3, threads=triton_engine.triton_layout_threads(batch))
    assert int(layout.group_table[:, 2].max()) <= triton_engine.SEQUENCES


def test_on_a_gpu_cudnn_runs_unless_triton_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert kernels.choose(nn.LSTM(4, 4), gpu, torch.float32).name == "padded"
    monkeypatch.setattr(dispatch, "triton_is_installed", lambda: True)
    with kernels.use("triton"):
        for cell in (nn.LSTM(4, 4), nn.GRU(4, 64)):
            assert kernels.choose(cell, gpu, torch.float32).name == "triton"
        for cell in (nn.LSTM(4, 65), nn.RNN(4, 4)):
            chosen = kernels.choose(cell, gpu, torch.float32)
            assert (chosen.name, "no kernel" in chosen.reason) == ("padded", True)
        with pytest.raises(UsageError, match="needs a GPU"):
            kernels.choose(nn.LSTM(4, 4), torch.device("cpu"), torch.float32)
        monkeypatch.setattr(dispatch, "triton_is_installed", lambda: False)
        with pytest.raises(UsageError, match="Triton is not installed"):
            kernels.choose(nn.LSTM(4, 4), gpu, torch.float32)
