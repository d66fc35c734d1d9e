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
