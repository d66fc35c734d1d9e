"""Choosing the next symbol from a model's scores.

`probabilities` is the distribution that `sample` draws from, a function of its own so that it can be tested.
"""

from __future__ import annotations

import torch
from torch import Tensor


def probabilities(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """(B, V) scores -> (B, V) probabilities, after temperature, then top-k, then top-p.

    Args:
        logits: scores; -inf forbids a symbol.
        temperature: scores are divided by it; 0 gives the best symbol (the first of equal ones) all the probability.
        top_k: keep the k most likely symbols; of equal ones the earlier.
        top_p: then keep the fewest symbols, most likely first, that together reach this share (Holtzman et al. 2020,
            arXiv:1904.09751); the most likely one always stays.

    Raises:
        ValueError: an argument is out of range, a row forbids every symbol, or a score is NaN or infinite.
    """
    if not temperature >= 0.0:
        raise ValueError(f"temperature must be 0 or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be 1 or more, not {top_k}")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
    logits = logits.float()
    if bool(torch.isneginf(logits).all(dim=-1).any()):
        raise ValueError("every symbol is forbidden: no symbol can be drawn")
    if not bool((logits < torch.inf).all()):
        raise ValueError("the model's scores are not finite: no symbol can be drawn")
    if temperature == 0.0:
        top_k, temperature = 1, 1.0
    ordered, symbols = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered = ordered.clone()
        ordered[:, top_k:] = -torch.inf
    # The best score is subtracted first, so that nothing overflows when divided by a very small temperature.
    probs = torch.softmax((ordered - ordered[:, :1]) / temperature, dim=-1)
    if top_p is not None:
        is_dropped = probs.cumsum(dim=-1) - probs >= top_p
        is_dropped[:, 0] = False
        probs = probs.masked_fill(is_dropped, 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return torch.zeros_like(probs).scatter_(-1, symbols, probs)


def sample(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(B, V) scores -> (B,) int64, one symbol a row, drawn from `probabilities` on the generator's device."""
    probs = probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    if generator is not None:
        probs = probs.to(generator.device)
    return torch.multinomial(probs, 1, generator=generator).squeeze(-1).to(logits.device)
