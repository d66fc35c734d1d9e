"""Keys that depend on each other within a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.heads import mean_log_odds
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

    def forward(self, steps: Tensor, scores: Tensor, keys: Tensor, most: int) -> Tensor:
        """The score of each key, (N, 88), given the true keys below it.

        Args:
            steps: (N, D).
            scores: (N, 88) from outside.
            keys: (N, 88) int64, 1 where a key sounds.
            most: at least as many as the keys that sound at a step.
        """
        # The hidden units change where a key sounds, so there are `most` + 1 of each step, not 88.
        places = torch.arange(KEYS, 0, -1, device=keys.device)
        lowest = (keys * places).topk(min(most, KEYS), dim=1)  # the lowest sounding keys, in ascending order
        heard = self.read[lowest.indices] * (lowest.values > 0)[..., None]
        lower = torch.cat([torch.zeros_like(heard[:, :1]), heard.cumsum(dim=1)], dim=1) if most else 0.0
        hidden = torch.tanh(self.state(steps)[:, None] + lower)
        added = functional.linear(hidden, self.write)  # (N, most + 1, 88)
        count = keys.cumsum(dim=1) - keys
        return scores + added.gather(1, count[:, None]).squeeze(1)

    def choose(self, steps: Tensor, scores: Tensor, sounds: Callable[[Tensor], Tensor]) -> Tensor:
        """The scores (..., 88) of the keys, each given those below it for which `sounds` says so.

        Args:
            steps: (..., D).
            scores: (..., 88) from outside.
            sounds: of the score of a key (...), whether it sounds (...).
        """
        return _choose([self], [steps], [scores], sounds)


class JointMaps(nn.Module):
    """Linear maps of several models, side by side.

    Args:
        maps: one of each model, from D_m numbers.
        widths: D_m.
    """

    def __init__(self, maps: Sequence[nn.Module], widths: Sequence[int]) -> None:
        super().__init__()
        self.maps, self.widths = nn.ModuleList(maps), list(widths)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_1 + ... + D_M) -> (..., 88 M)."""
        parts = torch.split(x, self.widths, dim=-1)
        return torch.cat([member(part) for member, part in zip(self.maps, parts, strict=True)], dim=-1)


class JointNade(nn.Module):
    """Those of several models: the mean of their probabilities of each key, given the same keys below it.

    Args:
        members: one of each model.
        widths: D of each.
    """

    def __init__(self, members: Sequence[Nade], widths: Sequence[int]) -> None:
        super().__init__()
        self.members, self.widths = nn.ModuleList(members), list(widths)

    def forward(self, steps: Tensor, scores: Tensor, keys: Tensor, most: int) -> Tensor:
        """(N, D_1 + ... + D_M), (N, 88 M), (N, 88) -> (N, 88), as `Nade`."""
        parts = zip(self.members, *self._split(steps, scores), strict=True)
        return mean_log_odds([member(*part, keys, most).float() for member, *part in parts])

    def choose(self, steps: Tensor, scores: Tensor, sounds: Callable[[Tensor], Tensor]) -> Tensor:
        """(..., D_1 + ... + D_M), (..., 88 M) -> (..., 88), as `Nade.choose`."""
        members: list[Any] = list(self.members)
        return _choose(members, *self._split(steps, scores), sounds)

    def _split(self, steps: Tensor, scores: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        return torch.split(steps, self.widths, dim=-1), torch.split(scores, KEYS, dim=-1)


def _choose(
    nades: Sequence[Nade], steps: Sequence[Tensor], scores: Sequence[Tensor], sounds: Callable[[Tensor], Tensor]
) -> Tensor:
    """The scores of the keys by one or several, each given those below it for which `sounds` says so."""
    hidden = [nade.state(part) for nade, part in zip(nades, steps, strict=True)]
    reads = [nade.read.clone().unbind() for nade in nades]
    writes = [nade.write.clone().unbind() for nade in nades]
    rows = []
    for key in range(KEYS):
        member_scores = [
            outside[..., key] + torch.tanh(state) @ write[key]
            for outside, state, write in zip(scores, hidden, writes, strict=True)
        ]
        score = member_scores[0] if len(member_scores) == 1 else mean_log_odds([one.float() for one in member_scores])
        is_chosen = sounds(score)[..., None]
        hidden = [state + is_chosen.to(state.dtype) * read[key] for state, read in zip(hidden, reads, strict=True)]
        rows.append(score)
    return torch.stack(rows, dim=-1)
