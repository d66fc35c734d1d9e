"""`seqkit.nn` on a GPU: torch's own call runs, `lengths=` packs, and the CRF gives the numbers of the CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqkit.nn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]

LENGTHS = [3, 0, 5, 1]


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [tensor for item in value for tensor in tensors(item)]


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("make", [seqkit.nn.LSTM, seqkit.nn.GRU, seqkit.nn.RNN])
def test_layers_give_the_numbers_of_the_cpu(make: Any, batch_first: bool, has_state: bool) -> None:
    torch.manual_seed(2)
    module = make(3, 4, 2, bidirectional=True, batch_first=batch_first)
    x = draw(4, 5, 3) if batch_first else draw(5, 4, 3)
    h = draw(4, 4, 4, seed=3)
    hx: Any = None if not has_state else (h, h) if make is seqkit.nn.LSTM else h
    results = []
    for device in ("cpu", "cuda"):
        here = copy.deepcopy(module).to(device)
        x_here = x.to(device).requires_grad_()
        hx_here = None if hx is None else (h.to(device),) * 2 if make is seqkit.nn.LSTM else h.to(device)
        for lengths in (LENGTHS, torch.tensor(LENGTHS, device=device)):
            outputs = tensors(here(x_here, hx_here, lengths=lengths))
        outputs += tensors(here(x_here, hx_here))
        gradients = torch.autograd.grad(sum(t.square().sum() for t in outputs), [x_here, *here.parameters()])  # type: ignore[arg-type]
        results.append([tensor.cpu() for tensor in (*outputs, *gradients)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_packing_on_the_gpu_is_torchs() -> None:
    x = draw(5, 4, 3).cuda().requires_grad_()
    lengths = [3, 2, 5, 1]
    expected = pad_packed_sequence(pack_padded_sequence(x, lengths, enforce_sorted=False))[0]
    packed = seqkit.nn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    assert torch.equal(seqkit.nn.pad_packed_sequence(packed)[0], expected)
    module = seqkit.nn.GRU(3, 4).cuda()
    torch.testing.assert_close(
        pad_packed_sequence(module(packed)[0])[0], module(x, lengths=lengths)[0], rtol=1e-3, atol=1e-3
    )


def test_a_crf_gives_the_numbers_of_the_cpu() -> None:
    torch.manual_seed(2)
    crf = seqkit.nn.CRF(3)
    emissions, tags = draw(5, 4, 3), torch.randint(3, (5, 4))
    mask = torch.arange(5)[:, None] < torch.tensor([3, 1, 5, 2])
    results = []
    for device in ("cpu", "cuda"):
        here = copy.deepcopy(crf).to(device)
        x, tags_here, mask_here = emissions.to(device).requires_grad_(), tags.to(device), mask.to(device)
        value = here(x, tags_here, mask_here, reduction="token_mean")
        gradients = torch.autograd.grad(value, [x, *here.parameters()])
        probabilities = here.marginals(x, mask_here)
        results.append(([t.cpu() for t in (value, probabilities, *gradients)], here.decode(x, mask_here)))
        assert [ranked[0][0] for ranked in here.nbest(x, 2, mask_here)] == results[-1][1]
    assert results[0][1] == results[1][1]
    for one, other in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
