"""Commands that take a device say which there are."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from seqkit.cli import main


@pytest.mark.parametrize("command", ["prove", "verify-resume"])
def test_a_device_that_is_none_is_refused(command: str) -> None:
    result = CliRunner().invoke(main, [command, "names", "--device", "gpu"])
    assert result.exit_code == 2
    assert "--device: expected auto, cpu, cuda or cuda:N, got 'gpu'; the first GPU is cuda" in result.output


@pytest.mark.parametrize("command", ["prove", "verify-resume"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(command: str) -> None:
    result = CliRunner().invoke(main, [command, "names", "--device", "cuda"])
    assert result.exit_code == 2
    assert "cuda was asked for, and torch sees no GPU" in result.output
