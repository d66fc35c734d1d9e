"""Numbers for a whole sequence, at each step, or after its end: the module behind `regress`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.fields import NextValues, StepValues, Values
from seqkit.heads.option_types import Pool, RegressionLoss
from seqkit.heads.pooling import Pooling
from seqkit.heads.tagging import check_aligned
from seqkit.interfaces import Batch, Encoded, Head, State, check_finite
from seqkit.kernels.ragged import real_steps
from seqkit.types import Field, Prediction


class Regress(Head):
    """Pool, then a linear map to K numbers; see `seqkit.heads.regress` for the options.

    `Prediction.value` is a float or a list of K, in the units of the data; for `StepValues` a list with one of these a
    step, for `NextValues` one for each step ahead. With the Gaussian, `scores` is `{"sd": ...}` of the same shape. With
    `every_step`, `value` is that of the last step, and `scores` has those of all: `{"steps": ...}`.
    """

    accepts = (Values, StepValues, NextValues)

    def __init__(
        self, dim: int, target: Field, *, pool: Pool, dropout: float, loss: RegressionLoss, every_step: bool
    ) -> None:
        super().__init__()
        if every_step and isinstance(target, NextValues):
            raise UsageError("regress: every_step is for numbers of a whole sequence, and these are the next ones")
        self.target: Any = target
        self.is_aligned = isinstance(target, StepValues)
        self.every_step = every_step and not self.is_aligned
        self.per_step = self.every_step or self.is_aligned
        # Predictions as if the sequence ended at a step need an encoder that does not read later ones.
        self.needs_causal = self.every_step or (self.is_aligned and pool != "last")
        self.kind = self.values_loss = loss
        self.pool = Pooling(pool, dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, target.size * (2 if loss == "gaussian" else 1))
        names = ("values", "deviations") if loss == "gaussian" else ("values",)
        self.output_axes = dict.fromkeys(names, ("batch", *(("steps",) if self.per_step else ()), "values"))

    def numbers(self, encoded: Encoded) -> tuple[Tensor, Tensor | None]:
        """(B, K) means, and (B, K) logarithms of the variance with the Gaussian; standardised, single precision.

        (B, T, K) where there are numbers at each step.
        """
        return self._numbers(self.pool.running(encoded) if self.per_step else self.pool(encoded))

    def _numbers(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        out: Tensor = self.out(self.dropout(pooled)).float()
        if self.kind != "gaussian":
            return out, None
        mean, log_variance = out.chunk(2, dim=-1)
        return mean, log_variance.clamp(-14.0, 14.0)

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over examples, steps and numbers, and how many numbers there are. Missing ones (NaN) do not count."""
        assert batch.y is not None
        mean, log_variance = self.numbers(encoded)
        y = batch.y.float()
        if self.per_step:
            y = self._step_targets(y, encoded, batch)
            mean = real_steps(mean, encoded.lengths)
            log_variance = None if log_variance is None else real_steps(log_variance, encoded.lengths)
        y = y.reshape(mean.shape)
        if isinstance(self.target, Values):  # none of them is missing
            return self._losses(mean, log_variance, y).sum(), torch.tensor(y.numel())
        is_known = ~y.isnan()
        losses = self._losses(mean, log_variance, y.masked_fill(~is_known, 0.0))
        return losses.masked_fill(~is_known, 0.0).sum(), is_known.sum()

    def _losses(self, mean: Tensor, log_variance: Tensor | None, y: Tensor) -> Tensor:
        """The loss of each number, in their shape."""
        if log_variance is not None:
            losses: Tensor = 0.5 * (np.log(2.0 * np.pi) + log_variance + (y - mean).square() * (-log_variance).exp())
            return losses
        if self.kind == "mse":
            return functional.mse_loss(mean, y, reduction="none")
        if self.kind == "mae":
            return functional.l1_loss(mean, y, reduction="none")
        return functional.huber_loss(mean, y, reduction="none")

    def _step_targets(self, y: Tensor, encoded: Encoded, batch: Batch) -> Tensor:
        """(N, K) the target of each real step."""
        if self.is_aligned:
            check_aligned(encoded, batch)
            return real_steps(y, encoded.lengths)
        y = y.reshape(batch.size, 1, -1)
        return real_steps(y.expand(-1, encoded.steps.shape[1], -1), encoded.lengths)

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """As they are learned: standardised, and scaled as their sequence is, where the fields say so."""
        mean, log_variance = self.numbers(encoded)
        return {"values": mean} if log_variance is None else {"values": mean, "deviations": (0.5 * log_variance).exp()}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        return self._predict(*self.numbers(encoded), encoded, batch)

    @torch.no_grad()
    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """One a sequence, as if it ended here; where there are numbers at each step, those of the new steps."""
        pooled, new = self.pool.advance(encoded, kept, every_step=self.per_step)
        return self._predict(*self._numbers(pooled), encoded, batch), new

    def _predict(self, mean: Tensor, log_variance: Tensor | None, encoded: Encoded, batch: Batch) -> list[Prediction]:
        check_finite(mean, batch, encoded.lengths if self.per_step else None)
        deviation = None if log_variance is None else (0.5 * log_variance).exp()
        mean, deviation = self._unscaled(mean, deviation, batch)
        lengths = encoded.lengths.tolist() if self.per_step else [None] * len(mean)
        means = [row[:length].cpu().numpy() for row, length in zip(mean, lengths, strict=True)]
        if deviation is None:
            return [self._prediction(row) for row in means]
        deviations = [row[:length].cpu().numpy() for row, length in zip(deviation, lengths, strict=True)]
        return [self._prediction(row, sd) for row, sd in zip(means, deviations, strict=True)]

    def _unscaled(self, mean: Tensor, deviation: Tensor | None, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Next values in the units of the input's rows, where each sequence was scaled by itself."""
        if not isinstance(self.target, NextValues) or not batch.extra:
            return mean, deviation
        offset, divisor = (
            batch.extra[name].repeat(1, self.target.horizon) for name in ("offset", "divisor")
        )  # (B, H x C), the channels of a step side by side
        return mean * divisor + offset, None if deviation is None else deviation * divisor

    def _prediction(self, row: np.ndarray, deviation: np.ndarray | None = None) -> Prediction:
        """From (K,), or (T, K) where there are numbers at each step."""
        if not self.every_step:
            value = self.target.decode(row)
            return Prediction(value, scores=None if deviation is None else {"sd": self._sd(row, deviation)})
        steps = [self.target.decode(step) for step in row]
        scores = {"steps": steps}
        if deviation is not None:
            scores["sd"] = [self._sd(step, sd) for step, sd in zip(row, deviation, strict=True)]
        return Prediction(steps[-1], scores=scores)

    def _sd(self, row: np.ndarray, deviation: np.ndarray) -> Any:
        """The field decodes linearly, so the difference of two decoded values is the decoded standard deviation."""
        return _difference(self.target.decode(row + deviation), self.target.decode(row))

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the windows' numbers, each window counted once; numbers at each step one after another."""
        if self.is_aligned:
            return self._joined(parts, [step for part in parts for step in part.value], ("sd",))
        values = [part.value for part in parts]
        if isinstance(values[0], list):
            return Prediction([fmean(numbers) for numbers in zip(*values, strict=True)])
        return Prediction(fmean(values))

    def join(self, parts: Sequence[Prediction]) -> Prediction:
        """The numbers of all steps."""
        return self._joined(parts, parts[-1].value, ("steps", "sd")) if self.every_step else self.stitch(parts)

    def _joined(self, parts: Sequence[Prediction], value: Any, names: Sequence[str]) -> Prediction:
        """`value`, with the lists of these names in the parts' scores one after another."""
        first = parts[0].scores or {}
        scores = {name: [step for part in parts for step in part.scores[name]] for name in names if name in first}
        return replace(parts[-1], value=value, scores=scores or None)

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the views' numbers."""
        if not self.is_aligned:
            return self.stitch(parts)
        return Prediction(np.mean(np.array([part.value for part in parts]), axis=0).tolist())


def _difference(above: Any, value: Any) -> Any:
    """above - value, of numbers or of lists of them."""
    if isinstance(value, list):
        return [_difference(a, b) for a, b in zip(above, value, strict=True)]
    return above - value
