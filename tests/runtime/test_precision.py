"""What `train.precision` means on a device, and what a run says of it."""

from __future__ import annotations

import pytest
import torch

from seqkit.runtime import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "has_bf16", "chosen", "has_warning"),
    [
        ("auto", True, "fp32", False),
        ("auto", False, "fp32", False),
        ("fp32", False, "fp32", False),
        ("bf16", True, "bf16", False),
        ("bf16", False, "fp32", True),
    ],
)
def test_bf16_is_used_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, name: str, chosen: str, *, has_bf16: bool, has_warning: bool
) -> None:
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: has_bf16)
    assert precision.choose_precision(name, CPU) == chosen
    assert (precision.precision_warning(name, CPU) is not None) == has_warning


@pytest.mark.parametrize(
    ("machine", "has_avx512_bf16", "has_amx", "is_fast"),
    [
        ("x86_64", False, False, False),  # AVX-512 alone: oneDNN supports bf16 and emulates it
        ("AMD64", False, False, False),
        ("x86_64", True, False, True),
        ("x86_64", False, True, True),
        ("aarch64", False, False, True),
    ],
)
def test_emulated_bf16_is_not_fast(
    monkeypatch: pytest.MonkeyPatch, machine: str, *, has_avx512_bf16: bool, has_amx: bool, is_fast: bool
) -> None:
    monkeypatch.setattr(precision, "has_onednn_bf16", lambda: True)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_avx512_bf16)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: has_amx)
    assert precision.has_fast_bf16(CPU) == is_fast
    monkeypatch.setattr(precision, "has_onednn_bf16", lambda: False)
    assert not precision.has_fast_bf16(CPU)
