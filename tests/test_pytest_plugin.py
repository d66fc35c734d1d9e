"""The pytest plugin: contracts without a test file, and failures that say what changed and why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BAD = '''
import torch
from torch import nn

from seqkit import Encoded, Encoder
from seqkit.testing import EncoderConformance


class OverTheBatch(Encoder):
    """Runs over the batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(5, 5, batch_first=True)
        self.out_dim, self.causal = 5, True

    def forward(self, x, lengths, state=None):
        steps = self.cell(x.transpose(0, 1).contiguous())[0].transpose(0, 1)
        steps = steps * (torch.arange(x.shape[1])[None] < lengths[:, None])[..., None]
        last = steps[torch.arange(len(lengths)), lengths - 1]
        return Encoded(steps, lengths, last, lambda: (last,))


class TestBad(EncoderConformance):
    encoder = "gru"

    def made(self):
        return OverTheBatch().eval()
'''


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "seqkit.pytest_plugin", *words],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # it is loaded by -p already
        capture_output=True,
        text=True,
    )


def test_contracts_of_registered_factories_need_no_file(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    result = run(tmp_path, "-v", "--conformance", "encoder:gru")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "test_own.py::test_own PASSED" in result.stdout
    assert result.stdout.count("Test encoder:gru::test_") >= 4


def test_a_broken_contract_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "test_bad.py").write_text(BAD)
    result = run(tmp_path)
    assert result.returncode == 1
    assert "the recurrence runs over the batch axis" in result.stdout
    assert "prove_encoder(" not in result.stdout, "the code of the check is not shown"
    assert "prove_encoder(" in run(tmp_path, "--full-trace").stdout


def test_unknown_names_are_reported(tmp_path: Path) -> None:
    wrong = run(tmp_path, "--conformance", "gru")
    assert wrong.returncode == 4
    assert "--conformance gru: expected task:NAME" in wrong.stderr + wrong.stdout
    absent = run(tmp_path, "--conformance", "encoder:gruu")
    assert absent.returncode == 1
    assert "did you mean 'gru'" in absent.stdout
