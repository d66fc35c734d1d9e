"""Which implementation of a recurrent layer runs, and the reason that is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqkit import kernels
from seqkit.errors import UsageError
from seqkit.kernels import dispatch as dispatch_module
from seqkit.kernels import padded
from seqkit.runtime import native_library
from seqkit.runtime.precision import has_onednn_bf16
from tests.helpers.native import require_native

CPU = torch.device("cpu")


@pytest.fixture
def _default_request(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(native_library.VARIABLE, raising=False)
    native_library.load_native.cache_clear()
    yield
    native_library.load_native.cache_clear()


@pytest.mark.usefixtures("_default_request")
def test_without_a_compiler_torchs_own_layers_run_and_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQKIT_NATIVE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with kernels.use("auto"):
        dispatch = kernels.choose(nn.GRU(2, 3), CPU, torch.float32)
    assert dispatch.name == "padded"
    assert "no C++ compiler" in dispatch.reason
    with kernels.use("native"), pytest.raises(UsageError, match="no C\\+\\+ compiler"):
        kernels.choose(nn.GRU(2, 3), CPU, torch.float32)


@pytest.mark.parametrize("request_", ["auto", "padded", "native", "stepwise"])
def test_the_environment_can_request_an_implementation(request_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if request_ == "native":
        require_native()
    monkeypatch.setenv(native_library.VARIABLE, request_)
    dispatch = kernels.choose(nn.LSTM(2, 3), CPU, torch.float32)
    default = "padded" if native_library.load_native().library is None else "native"
    assert dispatch.name == (default if request_ == "auto" else request_)
    assert dispatch.reason in kernels.describe(CPU)
    assert (dispatch.engine is None) == (dispatch.name == "padded")
    assert kernels.choose(nn.LSTM(2, 3), torch.device("cuda"), torch.float32).name == "padded"
    assert kernels.choose(nn.LSTM(2, 3), CPU, torch.bfloat16).name == "padded"


@pytest.mark.usefixtures("_default_request")
def test_an_lstm_in_low_precision_is_left_to_onednn_where_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_module, "has_fast_bf16", lambda device: True)
    with kernels.use("auto"), torch.autocast("cpu", dtype=torch.bfloat16):
        dispatch = kernels.choose(nn.LSTM(2, 3), CPU, torch.float32)
    assert dispatch.name == "padded"
    assert "low precision" in dispatch.reason
    monkeypatch.setattr(dispatch_module, "has_fast_bf16", lambda device: False)
    with kernels.use("auto"), torch.autocast("cpu", dtype=torch.bfloat16):
        assert "low precision" not in kernels.choose(nn.LSTM(2, 3), CPU, torch.float32).reason


@pytest.mark.parametrize("has_bf16", [False, True])
def test_a_padded_lstm_runs_under_autocast_on_every_processor(
    monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool
) -> None:
    """oneDNN refuses an LSTM in bf16 on a processor that has none."""
    if has_bf16 and not has_onednn_bf16():
        pytest.skip("oneDNN has no bf16 on this processor")
    monkeypatch.setattr(padded, "has_fast_bf16", lambda device: has_bf16)
    cell, x = nn.LSTM(4, 5), torch.randn(3, 2, 4)
    lengths, zero = torch.tensor([3, 2]), torch.zeros(2, 5)
    exact = padded.run_padded(cell, x, lengths, (zero, zero))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = padded.run_padded(cell, x.to(torch.bfloat16), lengths, (zero, zero))
    torch.testing.assert_close(low.steps.float(), exact.steps, rtol=0.05, atol=0.03)
    for got, want in zip(low.final_state(), exact.final_state(), strict=True):
        torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.03)


def test_an_unknown_implementation_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native_library.VARIABLE, "fast")
    with pytest.raises(UsageError, match="SEQKIT_KERNELS is 'fast'; it can be auto, padded, native, triton, stepwise"):
        kernels.choose(nn.LSTM(2, 3), CPU, torch.float32)
