"""Decoders and beam search on a GPU: the CPU's numbers, and no waiting for the device while training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from seqkit.fields import Text
from seqkit.heads import attend, generate
from seqkit.interfaces import Batch, Encoded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]

LENGTHS = torch.tensor([20, 7, 12, 9])
TEXT = Text("characters").fit(["abcdefg"])
TEXTS = ["bad", "f", "cabbage", "egg"]
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "additive": {"attention": "additive", "cell": "gru", "layers": 2, "tied": True, "hidden": 16},
    "fed": {"input_feeding": True},
    "covered": {"coverage": 1.0, "attention": "additive"},
}


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def encoded(device: str) -> Encoded:
    steps = torch.randn(4, 20, 8, generator=torch.Generator().manual_seed(0))
    steps[torch.arange(20)[None] >= LENGTHS[:, None]] = 0.0
    return Encoded(steps.to(device).requires_grad_(), LENGTHS, steps[:, 0].to(device), tuple)


def batch(device: str) -> Batch:
    rows = [torch.from_numpy(TEXT.encode(text).astype(np.int64)) for text in TEXTS]
    y = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return Batch(torch.zeros(4, 20, 1), LENGTHS, y, torch.tensor([len(row) for row in rows])).to(device)


def pair(name: str, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(1)
    cpu: Any = generate(8, TEXT, **options) if name == "generate" else attend(8, TEXT, **(WAYS[name] | options))
    with torch.no_grad():
        for parameter in cpu.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.4)
    return cpu, copy.deepcopy(cpu).cuda()


@pytest.mark.parametrize("name", [*WAYS, "generate"])
def test_they_are_the_cpus(name: str) -> None:
    cpu, gpu = pair(name, max_length=30, beams=4, best=2)
    wanted, actual = encoded("cpu"), encoded("cuda")
    for head, encoded_input, where in ((cpu, wanted, "cpu"), (gpu, actual, "cuda")):
        total, count = head.loss(encoded_input, batch(where))
        (total / count).backward()
        assert int(count) == sum(len(text) + 1 for text in TEXTS)
    for one, other in zip(cpu.parameters(), gpu.parameters(), strict=True):
        torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-3, atol=1e-4)
    told = [h.eval().predict(encoded(where), batch(where)) for h, where in ((cpu, "cpu"), (gpu, "cuda"))]
    for one, other in zip(*told, strict=True):
        assert one.value == other.value
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3)
    assert len(gpu.write(encoded("cuda"), length=5)) == 4


@pytest.mark.parametrize("name", [*WAYS, "generate"])
def test_fifty_steps_never_wait_for_the_device(name: str) -> None:
    more: dict[str, Any] = {} if name == "generate" else {"scheduled_sampling": "linear"}
    for options in ({}, more):
        _, gpu = pair(name, **options)
        encoded_input, where = encoded("cuda"), batch("cuda")
        gpu.loss(encoded_input, where)[0].backward()
        with no_waiting():
            for _ in range(50):
                gpu.loss(encoded_input, where)[0].backward()
