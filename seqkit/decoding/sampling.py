"""Choosing the next symbol from a model's scores.

`probabilities` is the distribution that `sample` draws from, kept apart so that it can be looked at and tested.
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
        temperature: scores are divided by it; 0 puts everything on the best symbol (the first of several equals).
        top_k: keep the k most likely symbols; of equals at the border the earlier are kept.
        top_p: then keep the fewest symbols, most likely first, that together reach this share (Holtzman et al. 2020,
            arXiv:1904.09751); the most likely one always stays.

    Raises:
        ValueError: an argument is out of range, or a row forbids every symbol.
    """
    if not temperature >= 0.0:
        raise ValueError(f"temperature must be 0 or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be 1 or more, not {top_k}")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
    logits = logits.float()
    if bool(torch.isneginf(logits).all(dim=-1).any()):
        raise ValueError("every symbol is forbidden: there is nothing to draw from")
    if temperature == 0.0:
        top_k, temperature = 1, 1.0
    ordered, symbols = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered = ordered.clone()
        ordered[:, top_k:] = -torch.inf
    # The best score is taken off first: divided by a very small temperature, nothing may overflow.
    shares = torch.softmax((ordered - ordered[:, :1]) / temperature, dim=-1)
    if top_p is not None:
        before = shares.cumsum(dim=-1) - shares
        beyond = before >= top_p
        beyond[:, 0] = False
        shares = shares.masked_fill(beyond, 0.0)
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return torch.zeros_like(shares).scatter_(-1, symbols, shares)


def sample(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(B, V) scores -> (B,) int64, one symbol a row drawn from `probabilities`, with its own generator."""
    shares = probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    if generator is not None:
        shares = shares.to(generator.device)
    return torch.multinomial(shares, 1, generator=generator).squeeze(-1).to(logits.device)
