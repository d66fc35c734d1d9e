"""Front end and ctc on a GPU: the CPU's numbers, and no waiting for the device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from seqkit_speech.fields import Waveform
from seqkit_speech.options import AugmentOptions, FrameOptions
from torch import Tensor

from seqkit.fields import Text
from seqkit.heads import ctc
from seqkit.interfaces import Batch, Encoded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]

LENGTHS = torch.tensor([20, 7, 12, 9])
TEXT = Text("words").fit(["a b c d"])
TEXTS = ["a b c d", "a a", "d", "b c b"]


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
    return Encoded(steps.to(device).requires_grad_(), LENGTHS, steps[:, -1].to(device), tuple)


def batch(device: str) -> Batch:
    rows = [torch.from_numpy(TEXT.encode(text).astype(np.int64)) for text in TEXTS]
    y = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return Batch(torch.zeros(4, 20, 1), LENGTHS, y, torch.tensor([len(row) for row in rows])).to(device)


def heads(**options: Any) -> tuple[Any, Any]:
    torch.manual_seed(1)
    cpu: Any = ctc(8, TEXT, None, **options)
    return cpu, copy.deepcopy(cpu).cuda()


def test_ctc_is_the_cpus() -> None:
    cpu, gpu = heads()
    wanted, actual = encoded("cpu"), encoded("cuda")
    for head, encoded_input, where in ((cpu, wanted, "cpu"), (gpu, actual, "cuda")):
        loss, count = head.loss(encoded_input, batch(where))
        loss.backward()
        assert int(count) == sum(len(text.split()) for text in TEXTS)
    assert wanted.steps.grad is not None
    assert actual.steps.grad is not None
    torch.testing.assert_close(actual.steps.grad.cpu(), wanted.steps.grad, rtol=1e-3, atol=1e-4)
    for search in ("greedy", "beam"):
        cpu.search = gpu.search = search
        told = [h.predict(encoded(where), batch(where)) for h, where in ((cpu, "cpu"), (gpu, "cuda"))]
        for one, other in zip(*told, strict=True):
            assert one.value == other.value
            assert one.confidence == pytest.approx(other.confidence, rel=1e-3)


def test_fifty_steps_of_ctc_never_wait_for_the_device() -> None:
    _, gpu = heads()
    encoded_input, where = encoded("cuda"), batch("cuda")
    gpu.loss(encoded_input, where)[0].backward()
    with no_waiting():
        for _ in range(50):
            gpu.loss(encoded_input, where)[0].backward()


AUGMENT = AugmentOptions(
    shift_ms=30.0, speed=0.1, noise_db=(10.0, 30.0), time_masks=1, time_mask_ms=50.0, band_masks=1, band_mask=4
)


@pytest.mark.parametrize("options", [FrameOptions(), FrameOptions(features="mfcc", deltas=2, stack=3)])
def test_the_front_end_is_the_cpus(options: FrameOptions) -> None:
    pytest.importorskip("torchaudio", exc_type=Exception)  # type: ignore[arg-type]
    warp = 0.1 if options.features == "logmel" else 0.0
    sound = Waveform(8000, frames=options, augment=replace(AUGMENT, warp=warp))
    torch.manual_seed(2)
    cpu = sound.layer(16)
    gpu = copy.deepcopy(cpu).cuda()
    x = torch.randint(-9000, 9000, (4, 20, 80), generator=torch.Generator().manual_seed(3))
    for training in (False, True):
        cpu.train(training)
        gpu.train(training)
        wanted, counts = cpu(x, LENGTHS)
        actual, other_counts = gpu(x.cuda(), LENGTHS)
        assert torch.equal(counts, other_counts)
        torch.testing.assert_close(actual.cpu(), wanted, rtol=1e-3, atol=2e-3)


def test_the_front_end_does_not_wait() -> None:
    pytest.importorskip("torchaudio", exc_type=Exception)  # type: ignore[arg-type]
    layer = Waveform(8000, frames=FrameOptions(deltas=1), augment=AUGMENT).layer(16).cuda()
    x: Tensor = torch.randint(-9000, 9000, (4, 20, 80)).cuda()
    layer(x, LENGTHS)
    with no_waiting():
        layer(x, LENGTHS)
