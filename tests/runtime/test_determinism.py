"""The settings of torch inside a run, and that they are as before after it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from seqkit.runtime.determinism import deterministic


def settings() -> dict[str, Any]:
    return {
        "tf32 of products": torch.backends.cuda.matmul.allow_tf32,
        "tf32 of cuDNN": torch.backends.cudnn.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
    }


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_settings_hold_inside_and_are_restored(device: str, tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # so that it is as before as well
    before = settings()
    with deterministic(torch.device(device), tf32=tf32):
        expected = {"tf32 of products": tf32, "tf32 of cuDNN": tf32, "deterministic": True, "benchmark": False}
        assert settings() == expected
    assert settings() == before


def test_single_precision_is_the_default() -> None:
    with deterministic(torch.device("cpu")):
        assert not settings()["tf32 of cuDNN"]


def test_torchs_compiler_is_told_too_whenever_it_is_imported() -> None:
    """In processes of their own, because the compiler reads its variable when it is imported."""
    block = "with deterministic(torch.device('cpu')):"
    compiler = "import torch._inductor.config as compiler"
    head = "import os, torch\nfrom seqkit.runtime.determinism import deterministic"
    within = f"{block}\n    {compiler}\n    assert compiler.deterministic"
    before = f"{compiler}\n{block}\n    assert compiler.deterministic\nassert not compiler.deterministic"
    after = "assert 'TORCHINDUCTOR_DETERMINISTIC' not in os.environ"
    for order in (within, before):
        code = f"{head}\n{order}\n{after}\n"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert not ended.returncode, ended.stderr
