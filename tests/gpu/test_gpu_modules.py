"""Encoders and heads on a GPU: the CPU's numbers, mixed precision, and no waiting for the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit.encoders import gru, lstm, none, rnn
from seqkit.fields import Label, Next, Tags, Values
from seqkit.heads import classify, crf, language, regress, tag
from seqkit.interfaces import Batch, Encoder, Head
from seqkit.layers.embedding import Embedding

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]

SYMBOLS, WIDTH, HIDDEN = 30, 16, 32
LENGTHS = torch.tensor([20, 3, 11, 1, 16, 20, 7, 2])

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "none": lambda: none(WIDTH),
    "rnn": lambda: rnn(WIDTH, hidden=HIDDEN),
    "relu": lambda: rnn(WIDTH, hidden=HIDDEN, nonlinearity="relu"),
    "lstm": lambda: lstm(WIDTH, hidden=HIDDEN),
    "gru": lambda: gru(WIDTH, hidden=HIDDEN),
    "rnn-both": lambda: rnn(WIDTH, hidden=HIDDEN, bidirectional=True),
    "lstm-both": lambda: lstm(WIDTH, hidden=HIDDEN, bidirectional=True, initial="learned"),
    "lstm-highway": lambda: lstm(WIDTH, hidden=HIDDEN, layers=2, highway=True),
    "gru-deep": lambda: gru(WIDTH, hidden=HIDDEN, layers=2, bidirectional=True, residual=True, layer_norm=True),
}
LABEL, TAGS, VALUES = Label().fit(["a", "b", "c"]), Tags().fit([["O", "B", "I"]]), Values().fit([0.0, 2.0])
HEADS: dict[str, Callable[[int, nn.Module], Head]] = {
    "last": lambda dim, layer: classify(dim, LABEL, layer, pool="last"),
    "mean": lambda dim, layer: classify(dim, LABEL, layer, pool="mean"),
    "max": lambda dim, layer: classify(dim, LABEL, layer, pool="max"),
    "attention": lambda dim, layer: classify(dim, LABEL, layer, pool="attention"),
    "every": lambda dim, layer: classify(dim, LABEL, layer, every_step=True),
    "tag": lambda dim, layer: tag(dim, TAGS, layer),
    "crf": lambda dim, layer: crf(dim, TAGS, layer),
    "language": lambda dim, layer: language(dim, Next(), layer, tied=True),
    "regress": lambda dim, layer: regress(dim, VALUES, layer, loss="gaussian"),
}


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    """TensorFloat-32 off while numbers are compared: it keeps ten bits of the mantissa."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def model(encoder: str, head: str) -> nn.ModuleDict:
    torch.manual_seed(0)
    layer, middle = Embedding(SYMBOLS, WIDTH), ENCODERS[encoder]()
    return nn.ModuleDict({"layer": layer, "encoder": middle, "head": HEADS[head](middle.out_dim, layer)})


def batch(head: str) -> Batch:
    g = torch.Generator().manual_seed(1)
    size, time = len(LENGTHS), int(LENGTHS.max())
    x = torch.randint(2, SYMBOLS, (size, time), generator=g)
    x[torch.arange(time)[None] >= LENGTHS[:, None]] = 0
    y: dict[str, Tensor] = {
        "tag": torch.randint(0, 3, (size, time), generator=g),
        "crf": torch.randint(0, 3, (size, time), generator=g),
        "language": torch.randint(-1, SYMBOLS, (size, time), generator=g),
        "regress": torch.randn(size, generator=g),
    }
    return Batch(x, LENGTHS, y.get(head, torch.randint(0, 3, (size,), generator=g)))


def loss_of(parts: Any, data: Batch) -> tuple[Tensor, Tensor]:
    encoded = parts["encoder"](*parts["layer"](data.x, data.lengths))
    total, count = parts["head"].loss(encoded, data)
    return total, count


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_losses_gradients_and_predictions_are_the_cpus(encoder: str, head: str) -> None:
    cpu, data = model(encoder, head), batch(head)
    gpu = copy.deepcopy(cpu).cuda()
    for parts, where in ((cpu, data), (gpu, data.to("cuda"))):
        total, count = loss_of(parts, where)
        total.backward()
        assert int(count) == int(loss_of(cpu, data)[1])
    torch.testing.assert_close(loss_of(gpu, data.to("cuda"))[0].cpu(), loss_of(cpu, data)[0], rtol=1e-4, atol=1e-4)
    for (name, one), other in zip(gpu.named_parameters(), cpu.parameters(), strict=True):
        if other.grad is None:
            assert one.grad is None
            continue
        assert one.grad is not None, name
        torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=1e-3, atol=2e-4)
    told = []
    for parts, where in ((cpu, data), (gpu, data.to("cuda"))):
        where_head: Any = parts["head"]
        with torch.no_grad():
            encoded = parts["encoder"](*parts["layer"](where.x, where.lengths))
        told.append(where_head.predict(encoded, where))
    for a, b in zip(*told, strict=True):
        assert b.confidence == (pytest.approx(a.confidence, abs=1e-4) if a.confidence is not None else None)


@pytest.mark.parametrize("encoder", [name for name in ENCODERS if "both" not in name and "deep" not in name])
def test_state_after_ragged_lengths_is_the_cpus(encoder: str) -> None:
    cpu = ENCODERS[encoder]()
    gpu, x = copy.deepcopy(cpu).cuda(), torch.randn(len(LENGTHS), int(LENGTHS.max()), WIDTH)
    for one, other in zip(gpu(x.cuda(), LENGTHS).state, cpu(x, LENGTHS).state, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("encoder", "head"),
    [
        (encoder, head)
        for encoder in ("rnn", "lstm", "gru", "lstm-both", "gru-deep")
        for head in ("last", "tag", "crf", "language")
        if head != "language" or encoder not in ("lstm-both", "gru-deep")  # a language model must not look ahead
    ],
)
def test_mixed_precision_stays_near_single_precision(encoder: str, head: str, dtype: torch.dtype) -> None:
    parts, data = model(encoder, head).cuda(), batch(head).to("cuda")
    want = loss_of(parts, data)[0].item()
    with torch.autocast("cuda", dtype):
        total, _ = loss_of(parts, data)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(want, rel=0.05)
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in parts.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("encoder", ["rnn", "lstm", "gru"])
def test_a_layer_has_the_precision_that_is_asked_for(encoder: str, dtype: torch.dtype) -> None:
    """Torch's autocast would take fp16 for bf16. A warning, an error here: weights are not where cuDNN looks."""
    module, x = ENCODERS[encoder]().cuda(), torch.randn(len(LENGTHS), 20, WIDTH, device="cuda")
    with torch.autocast("cuda", dtype):
        steps = module(x, LENGTHS).steps
    assert steps.dtype == dtype
    torch.testing.assert_close(steps.float(), module(x, LENGTHS).steps, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("encoder", ["rnn", "lstm", "gru"])
def test_a_state_is_carried_on_in_mixed_precision(encoder: str) -> None:
    module, x = ENCODERS[encoder]().cuda(), torch.randn(len(LENGTHS), 20, WIDTH, device="cuda")
    full, halves = torch.full((len(LENGTHS),), 20), torch.full((len(LENGTHS),), 10)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        whole = module(x, full)
        first = module(x[:, :10], halves)
        second = module(x[:, 10:], halves, first.state)
        ragged = module(x, LENGTHS)
    joined = torch.cat([first.steps, second.steps], dim=1)
    torch.testing.assert_close(joined.float(), whole.steps.float(), rtol=0.02, atol=0.02)
    for part, all_of_it in zip(ragged.state, whole.state, strict=True):
        longest = LENGTHS == 20
        torch.testing.assert_close(part[longest].float(), all_of_it[longest].float(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ["lstm", "gru-deep"])
def test_fifty_steps_never_wait_for_the_device(encoder: str, head: str) -> None:
    parts, data = model(encoder, head).cuda(), batch(head).pin()
    optimiser = torch.optim.AdamW(parts.parameters(), fused=True)
    sums = torch.zeros((), device="cuda")

    def step() -> None:
        total, count = loss_of(parts, data.to("cuda"))
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        sums.add_(total.detach())

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sums.isfinite()


def test_weights_stay_one_block_after_moving() -> None:
    """cuDNN wants a layer's weights contiguous; torch warns (an error here) and copies them each time where not."""
    parts = model("gru-deep", "tag").cuda()
    moved = copy.deepcopy(parts)
    moved.load_state_dict(parts.state_dict())
    data = batch("tag").to("cuda")
    torch.testing.assert_close(loss_of(moved, data)[0], loss_of(parts, data)[0])
