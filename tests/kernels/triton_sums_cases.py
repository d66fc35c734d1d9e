"""Chains, alignments and dropout in Triton against PyTorch; run by test_triton.py with TRITON_INTERPRET=1."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from seqkit import kernels
from seqkit.heads import crf_algorithms, ctc_algorithms
from seqkit.heads.crf_algorithms import Chain
from seqkit.kernels import TritonChoice, chains, draws

CHAINS = [(5, 4, 0.0), (6, 3, 0.4), (3, 17, 0.3), (1, 1, 0.0), (4, 2, 0.7), (2, 20, 0.9)]
"""Steps, states, and the share of transitions and starts that are forbidden."""

ALIGNMENTS = [(7, 4, 3), (4, 3, 0), (5, 3, 4), (1, 2, 1), (12, 5, 9), (9, 2, 4)]
"""Steps, classes, and symbols of the longest text; of two classes all symbols of a text are the same."""


TRITON, ALIGNMENTS_CHOICE = TritonChoice(True, ""), ctc_algorithms.alignments_choice


def draw_chain(steps: int, states: int, forbidden: float, generator: torch.Generator) -> Chain:
    def draw(*shape: int) -> Tensor:
        return 5 * torch.randn(shape, generator=generator, dtype=torch.float64)

    batch = 4
    transitions, start = draw(states, states), draw(batch, states)
    for scores in (transitions, start):
        scores[torch.rand(scores.shape, generator=generator) < forbidden] = -torch.inf
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
    lengths[0] = steps
    return Chain(draw(steps, batch, states), transitions, start, draw(batch, states), lengths)


def chain_results(chain: Chain, paths: Tensor) -> dict[str, Tensor]:
    """All that heads ask of chains, with gradients."""
    inputs = [tensor.clone().requires_grad_() for tensor in chain.tensors[:4]]
    with_gradients = Chain(*inputs, chain.lengths)
    weights = torch.arange(1.0, len(chain.lengths) + 1).double()
    log_z, nats = (
        crf_algorithms.log_partition(with_gradients),
        crf_algorithms.negative_log_likelihood(with_gradients, paths),
    )
    results = {"log Z": log_z, "nats": nats}
    for name, values in (("log Z", log_z), ("nats", nats)):
        finite = torch.where(values.isfinite(), values, 0.0)
        grads = torch.autograd.grad((finite * weights).sum(), inputs)
        names = ("emissions", "transitions", "start", "end")
        results |= {f"gradient of {name}: {which}": grad for which, grad in zip(names, grads, strict=True)}
    sums = crf_algorithms.forward_backward(chain)
    results["marginals"] = crf_algorithms.marginals(chain, sums)
    paths, scores = crf_algorithms.best_paths(chain)
    return {name: tensor.detach() for name, tensor in results.items()} | {"best": paths, "best scores": scores}


def compare_chains(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    steps, states, forbidden = CHAINS[seed % len(CHAINS)]
    chain = draw_chain(steps, states, forbidden, generator)
    paths = torch.randint(0, states, (len(chain.lengths), steps), generator=generator)
    with kernels.use("stepwise"):
        expected = chain_results(chain, paths)
    crf_algorithms.chain_kernels = lambda device, classes, choose: chains.TRITON  # type: ignore[assignment]
    try:
        ours = chain_results(chain, paths)
    finally:
        crf_algorithms.chain_kernels = chains.chain_kernels
    open_paths = expected["log Z"].isfinite()
    for name, tensor in ours.items():
        other = expected[name]
        if name == "best":  # of chains without a path there is none
            tensor, other = tensor[open_paths], other[open_paths]
        assert torch.allclose(tensor, other, rtol=1e-9, atol=1e-9, equal_nan=True), (name, seed)


def compare_ties(seed: int) -> None:
    """Whole numbers as scores: very many paths are equally good, and one rule says which is taken."""
    generator = torch.Generator().manual_seed(seed)
    chain = draw_chain(6, 3, 0.0, generator)
    rounded = [(tensor / 5).round() for tensor in chain.tensors[:4]]
    chain = Chain(*rounded, chain.lengths)
    with kernels.use("stepwise"):
        expected, _ = crf_algorithms.best_paths(chain)
    paths, _ = chains.TRITON.best_paths(*chain.tensors)
    assert torch.equal(paths, expected[:, 0]), seed


def alignment_results(function: Callable[..., Tensor], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    steps, classes, width = ALIGNMENTS[seed % len(ALIGNMENTS)]
    batch = 3
    scores = torch.randn(batch, steps, classes, generator=generator)
    if seed % 3 == 0:
        scores[torch.rand(scores.shape, generator=generator) < 0.1] = -torch.inf  # what cannot be at a step
        scores[..., 0] = 0.0
    log_probs = scores.log_softmax(-1).requires_grad_()
    texts = torch.randint(1, classes, (batch, width), generator=generator)
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
    counts = torch.randint(0, width + 1, (batch,), generator=generator)
    nats = function(log_probs, texts, lengths, counts)
    weights = torch.rand(batch, generator=generator)
    (grad,) = torch.autograd.grad((torch.where(nats.isfinite(), nats, 0.0) * weights).sum(), log_probs)
    return nats.detach(), grad


def compare_alignments(seed: int) -> None:
    expected = alignment_results(ctc_algorithms.forward_backward_nats, seed)
    ctc_algorithms.alignments_choice = lambda device, width: TRITON
    try:
        ours = alignment_results(ctc_algorithms.forward_backward_nats, seed)
    finally:
        ctc_algorithms.alignments_choice = ALIGNMENTS_CHOICE
    for tensor, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(tensor, other, rtol=1e-5, atol=1e-6)


def compare_draws(seed: int) -> None:
    """Dropout and its gradient: the very same numbers. (The interpreter does not round to bf16, it cuts.)"""
    generator = torch.Generator().manual_seed(seed)
    dtype = (torch.float32, torch.bfloat16, torch.float16)[seed % 3]
    width, share = (1, 5, 37, 1030)[seed % 4], (0.1, 0.5, 1.0, 1e-9)[seed // 4 % 4]
    x = torch.randn(3, 4, width, generator=generator).to(dtype).requires_grad_()
    numbers = torch.randint(0, 2**40, (3,), generator=generator)
    results = []
    for is_triton in (False, True):
        draws.runs_native = lambda device: False
        draws.dropout_choice = lambda device, dtype, answer=is_triton: TritonChoice(answer, "")
        try:
            with kernels.by_example(seed, 3, numbers):
                y = kernels.dropout(x, share)
            (grad,) = torch.autograd.grad((y * y.detach()).sum(), x)
        finally:
            draws.runs_native, draws.dropout_choice = kernels.runs_native, kernels.dropout_choice
        results.append((y.detach(), grad))
    for tensor, other in zip(*results, strict=True):
        assert torch.equal(tensor == 0, other == 0), seed
        tolerance = 2.0**-6 if dtype is torch.bfloat16 else 0.0
        torch.testing.assert_close(tensor, other, rtol=tolerance, atol=0.0)


if __name__ == "__main__":
    count = int(sys.argv[1])
    with np.errstate(all="ignore"):  # the interpreter computes with NumPy, which warns of log(0)
        for seed in range(count):
            compare_chains(seed)
            compare_ties(seed)
            compare_alignments(seed)
            compare_draws(seed)
    sys.stdout.write(f"{count} cases equal\n")
