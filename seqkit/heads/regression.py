"""Numbers for a whole sequence: the module behind `regress`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.fields import Values
from seqkit.heads.option_types import Pool, RegressionLoss
from seqkit.heads.pooling import Pooling
from seqkit.interfaces import Batch, Encoded, Head, State, check_finite
from seqkit.types import Field, Prediction


class Regress(Head):
    """Pool, then a linear map to K numbers; see `seqkit.heads.regress` for the options.

    `Prediction.value` is a float or a list of K, in the units of the data. With the Gaussian, `scores` is `{"sd": ...}`
    of the same shape.
    """

    accepts = (Values,)

    def __init__(self, dim: int, target: Field, *, pool: Pool, dropout: float, loss: RegressionLoss) -> None:
        super().__init__()
        self.target: Any = target
        self.kind = self.values_loss = loss
        self.pool = Pooling(pool, dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, target.size * (2 if loss == "gaussian" else 1))
        names = ("values", "deviations") if loss == "gaussian" else ("values",)
        self.output_axes = dict.fromkeys(names, ("batch", "values"))

    def numbers(self, encoded: Encoded) -> tuple[Tensor, Tensor | None]:
        """(B, K) means, and (B, K) logarithms of the variance with the Gaussian; standardised, single precision."""
        return self._numbers(self.pool(encoded))

    def _numbers(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        out: Tensor = self.out(self.dropout(pooled)).float()
        if self.kind != "gaussian":
            return out, None
        mean, log_variance = out.chunk(2, dim=-1)
        return mean, log_variance.clamp(-14.0, 14.0)

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over examples and numbers, and how many numbers there are (B x K)."""
        assert batch.y is not None
        mean, log_variance = self.numbers(encoded)
        y = batch.y.float().reshape(mean.shape)
        if log_variance is not None:
            losses = 0.5 * (np.log(2.0 * np.pi) + log_variance + (y - mean).square() * (-log_variance).exp())
            total = losses.sum()
        elif self.kind == "mse":
            total = functional.mse_loss(mean, y, reduction="sum")
        elif self.kind == "mae":
            total = functional.l1_loss(mean, y, reduction="sum")
        else:
            total = functional.huber_loss(mean, y, reduction="sum")
        return total, torch.tensor(y.numel())

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """In units of the training data's deviation, as they are learned."""
        mean, log_variance = self.numbers(encoded)
        return {"values": mean} if log_variance is None else {"values": mean, "deviations": (0.5 * log_variance).exp()}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        return self._predict(*self.numbers(encoded), batch)

    @torch.no_grad()
    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """One a sequence, as if it ended here."""
        pooled, new = self.pool.advance(encoded, kept)
        return self._predict(*self._numbers(pooled), batch), new

    def _predict(self, mean: Tensor, log_variance: Tensor | None, batch: Batch) -> list[Prediction]:
        check_finite(mean, batch)
        means = mean.cpu().numpy()
        if log_variance is None:
            return [Prediction(self._decode(row)) for row in means]
        deviations = (0.5 * log_variance).exp().cpu().numpy()
        predictions = []
        for row, deviation in zip(means, deviations, strict=True):
            value, above = self._decode(row), self._decode(row + deviation)
            # The field decodes linearly, so the difference of two decoded values is the decoded standard deviation.
            sd = above - value if isinstance(value, float) else [b - a for a, b in zip(value, above, strict=True)]
            predictions.append(Prediction(value, scores={"sd": sd}))
        return predictions

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the windows' numbers, each window counted once."""
        values = [part.value for part in parts]
        if isinstance(values[0], list):
            return Prediction([fmean(numbers) for numbers in zip(*values, strict=True)])
        return Prediction(fmean(values))

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the views' numbers."""
        return self.stitch(parts)

    def _decode(self, row: np.ndarray) -> Any:
        return self.target.decode(row)
