"""Keys that depend on each other within a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit_music.fields import KEYS


class Nade(nn.Module):
    """A neural autoregressive density estimator (Larochelle and Murray 2011) over the keys of a step, lowest key first.

    On the states of a recurrence it is the RNN-NADE of Boulanger-Lewandowski et al. (2012, arXiv:1206.6392). The score
    of key k is a number from outside plus v_k . tanh(A h + b + the sum of u_j over the keys j < k that sound), so the
    probabilities of all sets of keys have the sum 1.

    Args:
        dim: D, the width of h.
        hidden: H, the width of u_j and v_k.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.state = nn.Linear(dim, hidden)
        self.read = nn.Parameter(torch.randn(KEYS, hidden) * 0.1)
        self.write = nn.Parameter(torch.randn(KEYS, hidden) * hidden**-0.5)

    def forward(self, steps: Tensor, keys: Tensor, most: int) -> Tensor:
        """What is added to the score of each key, (N, 88), given the true keys below it.

        Args:
            steps: (N, D).
            keys: (N, 88) int64, 1 where a key sounds.
            most: at least as many as the keys that sound at a step.
        """
        # The hidden units change where a key sounds, so there are `most` + 1 of each step, not 88.
        places = torch.arange(KEYS, 0, -1, device=keys.device)
        lowest = (keys * places).topk(min(most, KEYS), dim=1)  # the lowest sounding keys, in ascending order
        heard = self.read[lowest.indices] * (lowest.values > 0)[..., None]
        lower = torch.cat([torch.zeros_like(heard[:, :1]), heard.cumsum(dim=1)], dim=1) if most else 0.0
        hidden = torch.tanh(self.state(steps)[:, None] + lower)
        scores = functional.linear(hidden, self.write)  # (N, most + 1, 88)
        count = keys.cumsum(dim=1) - keys
        return scores.gather(1, count[:, None]).squeeze(1)

    def choose(self, steps: Tensor, scores: Tensor, sounds: Callable[[Tensor], Tensor]) -> Tensor:
        """The scores (..., 88) of the keys, each given those below it for which `sounds` says so.

        Args:
            steps: (..., D).
            scores: (..., 88) from outside.
            sounds: of the score of a key (...), whether it sounds (...).
        """
        hidden = self.state(steps)
        reads, writes = self.read.clone().unbind(), self.write.clone().unbind()
        rows = []
        for outside, read, write in zip(scores.unbind(dim=-1), reads, writes, strict=True):
            score = outside + torch.tanh(hidden) @ write
            hidden = hidden + sounds(score).to(hidden.dtype)[..., None] * read
            rows.append(score)
        return torch.stack(rows, dim=-1)
