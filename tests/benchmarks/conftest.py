"""Benchmarks run in this process here, and leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def usual_denormals() -> Iterator[None]:
    """Contenders flush denormal numbers, each for the whole of its process."""
    yield
    torch.set_flush_denormal(False)
