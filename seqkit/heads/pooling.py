"""From many steps to one vector. Padding does not count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqkit.heads.option_types import Pool
from seqkit.interfaces import Encoded, State
from seqkit.kernels import gather_last


class Pooling(nn.Module):
    """One vector for each sequence: `last`, `mean`, `max`, or `attention`. Public, for heads of your own.

    Attention weighs step t by softmax(v . tanh(W h_t + b)) over the real steps (Yang et al. 2016, N16-1174).
    """

    def __init__(self, pool: Pool, dim: int) -> None:
        super().__init__()
        self.pool = pool
        self.score: nn.Module | None = None
        if pool == "attention":
            self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1, bias=False))

    def forward(self, encoded: Encoded) -> Tensor:
        """-> (B, H)."""
        if self.pool == "last":
            return encoded.last
        steps, mask = encoded.steps, encoded.mask[..., None]
        if self.pool == "mean":
            return steps.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1)
        if self.pool == "max":
            return steps.masked_fill(~mask, -torch.inf).amax(dim=1)
        weights = torch.softmax(self._scores(encoded), dim=1)
        return (weights[..., None] * steps.masked_fill(~mask, 0.0)).sum(dim=1)

    def running(self, encoded: Encoded) -> Tensor:
        """-> (B, T, H): at each step the vector that `forward` would return if the sequence ended there.

        This needs an encoder that does not read later steps. Attention needs B x T x T numbers for it.
        """
        steps, mask = encoded.steps, encoded.mask[..., None]
        if self.pool == "last":
            return steps
        time = steps.shape[1]
        if self.pool == "mean":
            counts = torch.arange(1, time + 1, device=steps.device)[:, None]
            return steps.masked_fill(~mask, 0.0).cumsum(dim=1) / counts
        if self.pool == "max":
            return _running_maximum(steps)
        is_later = torch.ones(time, time, dtype=torch.bool, device=steps.device).triu(1)
        scores = self._scores(encoded)[:, None, :].masked_fill(is_later, -torch.inf)
        weights = torch.softmax(scores, dim=-1)
        return weights.to(steps.dtype) @ steps.masked_fill(~mask, 0.0)

    def advance(
        self, encoded: Encoded, kept: Sequence[State], *, every_step: bool = False
    ) -> tuple[Tensor, list[State]]:
        """-> (B, H): what `forward` would return if each sequence, which goes on, ended here.

        Args:
            encoded: the new steps, at least one of each sequence.
            kept: for each sequence what this method returned for the steps before; empty if there are none.
            every_step: (B, T, H) instead, at each of the new steps; arbitrary past the last one.

        Returns:
            The vectors, and what is kept of each sequence.
        """
        if self.pool == "last":
            return encoded.steps if every_step else encoded.last, [() for _ in kept]
        running, new = self._advance(encoded, kept)
        return running if every_step else gather_last(running.transpose(0, 1), encoded.lengths), new

    def _advance(self, encoded: Encoded, kept: Sequence[State]) -> tuple[Tensor, list[State]]:
        """(B, T, H) after each new step, and what is kept."""
        steps, mask, time = encoded.steps, encoded.mask[..., None], encoded.steps.shape[1]
        if self.pool == "max":
            highest = _stacked(kept, 0, steps.new_full(steps.shape[2:], -torch.inf))
            running = torch.maximum(steps.masked_fill(~mask, -torch.inf).cummax(dim=1).values, highest[:, None])
            return running, [(row[-1].clone(),) for row in running]
        if self.pool == "mean":
            # In double precision, so that it does not depend on how the steps came.
            sums = _stacked(kept, 0, steps.new_zeros(steps.shape[2:], dtype=torch.float64))
            counts = _stacked(kept, 1, torch.zeros((), dtype=torch.int64, device=steps.device))
            totals = steps.double().masked_fill(~mask, 0.0).cumsum(dim=1) + sums[:, None]
            numbers = counts[:, None] + torch.arange(1, time + 1, device=steps.device)
            last = (row[-1].clone() for row in totals)
            new_counts = (counts.cpu() + encoded.lengths).to(steps.device)
            return (totals / numbers[..., None]).to(steps.dtype), list(zip(last, new_counts, strict=True))
        highest = _stacked(kept, 0, torch.full((), -torch.inf, device=steps.device))
        weights = _stacked(kept, 1, torch.zeros((), dtype=torch.float64, device=steps.device))
        sums = _stacked(kept, 2, steps.new_zeros(steps.shape[2:], dtype=torch.float64))
        scores, vectors = self._scores(encoded), []
        for t in range(time):
            higher = torch.maximum(highest, scores[:, t])
            scale, weight = (highest - higher).double().exp(), (scores[:, t] - higher).double().exp()
            highest, weights = higher, weights * scale + weight
            sums = sums * scale[:, None] + steps[:, t].double().masked_fill(~mask[:, t], 0.0) * weight[:, None]
            vectors.append((sums / weights[:, None]).to(steps.dtype))
        return torch.stack(vectors, dim=1), list(zip(highest, weights, sums, strict=True))

    def _scores(self, encoded: Encoded) -> Tensor:
        """(B, T) in single precision, -inf past each sequence's end."""
        assert self.score is not None
        scores: Tensor = self.score(encoded.steps)
        return scores.squeeze(-1).float().masked_fill(~encoded.mask, -torch.inf)

    def extra_repr(self) -> str:
        return self.pool


def _stacked(kept: Sequence[State], number: int, start: Tensor) -> Tensor:
    """(B, ...) the tensor of this number that is kept of each sequence; `start` where nothing is kept yet."""
    return torch.stack([state[number] if state else start for state in kept])


def _running_maximum(steps: Tensor) -> Tensor:
    """(B, T, H) -> (B, T, H): the maximum of the steps up to each one."""
    if not torch.compiler.is_exporting():
        return steps.cummax(dim=1).values
    # ONNX has no such operation, so there it is a loop.
    from torch._higher_order_ops.scan import scan

    def later(highest: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        highest = torch.maximum(highest, step)
        return highest, highest.clone()

    steps = steps.detach()
    lowest = torch.full_like(steps[:, 0], -torch.inf)
    result: Tensor
    _, result = scan(later, lowest, steps.transpose(0, 1))
    return result.transpose(0, 1)
