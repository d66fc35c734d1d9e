"""The input layer of `Words` on a GPU: the CPU's numbers, and no waiting for the device."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit.fields import Words

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

TEXTS = ["The cat saw Paris in 1998 .", "NATO", "A cat named BRCA1 sat near iPods in 1998 with incomprehensible joy"]
LENGTHS = torch.tensor([len(text.split()) for text in TEXTS])


def made(kind: Any) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    field = Words(characters=kind, char_hidden=8).fit(TEXTS)
    x = torch.zeros(len(TEXTS), int(LENGTHS.max()), field.encode("a").shape[1], dtype=torch.int64)
    for row, text in enumerate(TEXTS):
        x[row, : LENGTHS[row]] = torch.from_numpy(field.encode(text).astype(np.int64))
    return field.layer(20), x


@pytest.mark.parametrize("kind", ["none", "lstm", "conv"])
def test_steps_and_gradients_are_the_cpus(kind: Any) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        cpu, x = made(kind)
        gpu = copy.deepcopy(cpu).cuda()
        weights = torch.randn(*x.shape[:2], 20)
        one, _ = cpu(x, LENGTHS)
        (one * weights).sum().backward()
        other, _ = gpu(x.cuda(), LENGTHS)
        (other * weights.cuda()).sum().backward()
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    torch.testing.assert_close(other.cpu(), one, rtol=1e-4, atol=1e-5)
    for a, b in zip(gpu.parameters(), cpu.parameters(), strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["none", "lstm", "conv"])
def test_fifty_steps_never_wait_for_the_device(kind: Any) -> None:
    layer, x = made(kind)
    layer, x = layer.cuda().train(), x.cuda()
    layer.drop = 0.2

    def step() -> None:
        layer(x, LENGTHS)[0].sum().backward()

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
