"""Random fields and CTC by kernels in Triton, on a GPU: the numbers of torch's operations, the same ones each time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkit import kernels
from seqkit.heads import crf_algorithms, ctc_algorithms
from seqkit.heads.crf_algorithms import Chain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]


def of_chain(states: int, request: kernels.dispatch.Request) -> list[Tensor]:
    generator = torch.Generator().manual_seed(states)
    batch, steps = 50, 40
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
    shapes = ((steps, batch, states), (states, states), (batch, states), (batch, states))
    scores = [torch.randn(shape, generator=generator, dtype=torch.float64).cuda().requires_grad_() for shape in shapes]
    paths = torch.randint(0, states, (batch, steps), generator=generator).cuda()
    chain = Chain(*scores, lengths)
    with kernels.use(request):
        nats = crf_algorithms.negative_log_likelihood(chain, paths)
        grads = torch.autograd.grad(nats.sum(), scores)
        with torch.no_grad():
            best, best_scores = crf_algorithms.best_paths(chain)
            marginals = crf_algorithms.marginals(chain, crf_algorithms.forward_backward(chain))
    return [tensor.detach() for tensor in (nats, *grads, best, best_scores, marginals)]


@pytest.mark.parametrize("states", [1, 2, 9, 30, 64])
def test_chains_are_those_in_torch(states: int) -> None:
    expected, ours, again = (of_chain(states, request) for request in ("padded", "triton", "auto"))
    for tensor, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(tensor, other)
    assert all(torch.equal(one, other) for one, other in zip(ours, again, strict=True))


def of_alignments(symbols: int, request: kernels.dispatch.Request) -> list[Tensor]:
    generator = torch.Generator().manual_seed(symbols)
    batch, steps, classes = 30, 3 * symbols + 2, 12
    log_probs = torch.randn(batch, steps, classes, generator=generator).log_softmax(-1).cuda().requires_grad_()
    texts = torch.randint(1, classes, (batch, symbols), generator=generator).cuda()
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
    counts = torch.randint(0, symbols + 1, (batch,), generator=generator)
    with kernels.use(request):
        nats = ctc_algorithms.ctc_nats(log_probs, texts, lengths, counts)
        (grad,) = torch.autograd.grad(torch.where(nats.isfinite(), nats, 0.0).sum(), log_probs)
    return [nats.detach(), grad]


@pytest.mark.parametrize("symbols", [0, 1, 20, 300])
def test_alignments_are_those_in_torch(symbols: int) -> None:
    expected, ours, again = (of_alignments(symbols, request) for request in ("padded", "triton", "auto"))
    for tensor, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(tensor, other, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(one, other) for one, other in zip(ours, again, strict=True))
