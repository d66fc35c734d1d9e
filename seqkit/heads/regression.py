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

from seqkit.errors import DataError, Problem, UsageError
from seqkit.fields import NextValues, StepValues, Values
from seqkit.heads.distributions import Family, Gaussian, Numbers, family_of
from seqkit.heads.divergences import of_numbers
from seqkit.heads.joining import JointNumbers, JointPooling, joint_family
from seqkit.heads.option_types import Pool, RegressionLoss
from seqkit.heads.pooling import Pooling
from seqkit.heads.tagging import check_aligned
from seqkit.interfaces import Batch, Encoded, FiniteCheck, Head, State
from seqkit.kernels.ragged import real_steps
from seqkit.layers.dropout import Dropout
from seqkit.types import Field, Prediction
from seqkit.uploads import read_back


class Regress(Head):
    """Pool, then a linear map to K numbers, or to a distribution of each; see `seqkit.heads.regress` for the options.

    `Prediction.value` is a float or a list of K, in the units of the data; for `StepValues` a list with one of these a
    step, for `NextValues` one for each step ahead. With `every_step`, `value` is that of the last step, and `scores`
    has those of all: `{"steps": ...}`. Of a distribution, `scores` has `{"quantiles": {"0.05": ...}}` of the shape of
    `value` (with `every_step`, of the last step), and of a Gaussian `sd` as well.

    Attributes:
        levels: the quantiles that predictions have.
    """

    accepts = (Values, StepValues, NextValues)

    def __init__(
        self,
        dim: int,
        target: Field,
        *,
        pool: Pool,
        dropout: float,
        loss: RegressionLoss,
        every_step: bool,
        quantiles: Sequence[float],
        components: int,
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
        self.kind, self.levels = loss, tuple(quantiles)
        self.values_loss = loss if loss in ("mse", "mae", "huber", "gaussian") else None
        self.family: Family | None = family_of(loss, quantiles, components)
        if self.family is not None and self.family.is_count:
            check_counts(target, loss)
        self.pool: Pooling | JointPooling = Pooling(pool, dim)
        self.joint: JointNumbers | None = None
        source = target.source if isinstance(target, NextValues) else None
        self.is_logarithm = source is not None and source.transform is not None
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(dim, target.size * (1 if self.family is None else self.family.size))
        axes = ("batch", *(("steps",) if self.per_step else ()), "values")
        self.output_axes = {"values": axes}
        if isinstance(self.family, Gaussian):
            self.output_axes["deviations"] = axes
        elif self.family is not None:
            self.output_axes["parameters"] = (*axes, "parameters")

    def parameters_of(self, encoded: Encoded) -> Tensor:
        """(B, K) numbers, or (B, K, P) parameters of their distributions, in single precision.

        In the units in which they are learned. (B, T, K) and (B, T, K, P) where there are numbers at each step.
        """
        return self._of_pooled(self.pool.running(encoded) if self.per_step else self.pool(encoded))

    def _of_pooled(self, pooled: Tensor) -> Tensor:
        if self.joint is not None:
            joint: Tensor = self.joint(pooled)
            return joint
        out: Tensor = self.out(self.dropout(pooled)).float()
        if self.family is None:
            return out
        raw = out.reshape(*out.shape[:-1], self.family.size, self.target.size)
        return self.family.parameters(raw.transpose(-1, -2))

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over examples, steps and numbers, and how many numbers there are. Missing ones (NaN) do not count."""
        parameters, y = self._terms(encoded, batch)
        return self._loss(parameters, y)

    def comparison(self) -> str:
        """Raises TypeError: of negative binomial distributions there is no divergence in closed form."""
        levels = " of " + ", ".join(f"{level:g}" for level in self.levels) if self.kind == "quantiles" else ""
        if self.kind == "negative_binomial":
            raise TypeError(
                "the divergence of two negative binomial distributions has no closed form, and is a sum over all counts"
            )
        return f"numbers, as `loss: {self.kind}`{levels} has them"

    def loss_to_compare(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """What `loss` gives, the numbers or the parameters of their distributions, and which of them are known."""
        parameters, y = self._terms(encoded, batch)
        return (*self._loss(parameters, y), (parameters, ~y.isnan()))

    def divergence(self, p: tuple[Tensor, ...], q: tuple[Tensor, ...], temperature: float = 1.0) -> Tensor:
        """() the sum over known numbers of `seqkit.heads.divergences.of_numbers`; a temperature changes nothing."""
        (of_p, _), (of_q, is_known) = p, q
        return of_numbers(self.kind, self.levels, of_p, of_q).masked_fill(~is_known, 0.0).sum()

    def _terms(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Parameters (N, K) or (N, K, P), and (N, K) targets in the same units, NaN where they are missing."""
        assert batch.y is not None
        parameters, y = self.parameters_of(encoded), batch.y.float()
        if self.per_step:
            y = self._step_targets(y, encoded, batch)
            parameters = real_steps(parameters, encoded.lengths)
        y = y.reshape(parameters.shape if self.family is None else parameters.shape[:-1])
        if self.family is not None and self.family.is_count:
            parameters, y = self._as_counts(parameters, y, batch)
        return parameters, y

    def _loss(self, parameters: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over numbers, and how many are known."""
        if isinstance(self.target, Values):  # none of them is missing
            return self._losses(parameters, y).sum(), torch.tensor(y.numel())
        is_known = ~y.isnan()
        losses = self._losses(parameters, y.masked_fill(~is_known, 0.0))
        return losses.masked_fill(~is_known, 0.0).sum(), is_known.sum()

    def _losses(self, parameters: Tensor, y: Tensor) -> Tensor:
        """The loss of each number, in the shape of y."""
        if self.family is not None:
            return self.family.nats(parameters, y)
        if self.kind == "mse":
            return functional.mse_loss(parameters, y, reduction="none")
        if self.kind == "mae":
            return functional.l1_loss(parameters, y, reduction="none")
        return functional.huber_loss(parameters, y, reduction="none")

    def _as_counts(self, parameters: Tensor, y: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Parameters and targets in counts, where each sequence was divided by a number of its own.

        Raises:
            DataError: a count is below zero.
        """
        if isinstance(self.target, NextValues) and batch.extra:
            divisor = batch.extra["divisor"].repeat(1, self.target.horizon)
            assert self.family is not None
            parameters, y = self.family.scaled(parameters, divisor), y * divisor
        if y.device.type == "cpu" and bool((y < 0.0).any()):
            where = ", ".join(list(batch.ids)[:3]) or "a batch"
            raise DataError(Problem(where, f"a value is below zero, and {self.kind} is of counts", "take another loss"))
        return parameters, y

    def _step_targets(self, y: Tensor, encoded: Encoded, batch: Batch) -> Tensor:
        """(N, K) the target of each real step."""
        if self.is_aligned:
            check_aligned(encoded, batch)
            return real_steps(y, encoded.lengths)
        y = y.reshape(batch.size, 1, -1)
        return real_steps(y.expand(-1, encoded.steps.shape[1], -1), encoded.lengths)

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """As they are learned: standardised, and scaled as their sequence is, where the fields say so.

        Of a distribution its parameters, in the order of `Family.names`; `values` is the first of them.
        """
        parameters = self.parameters_of(encoded)
        if self.family is None:
            return {"values": parameters}
        if isinstance(self.family, Gaussian):
            return {"values": parameters[..., 0], "deviations": (0.5 * parameters[..., 1]).exp()}
        return {"values": parameters[..., 0], "parameters": parameters}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        return self._predict(self.parameters_of(encoded), encoded, batch)

    @torch.no_grad()
    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """One a sequence, as if it ended here; where there are numbers at each step, those of the new steps."""
        pooled, new = self.pool.advance(encoded, kept, every_step=self.per_step)
        return self._predict(self._of_pooled(pooled), encoded, batch), new

    @torch.no_grad()
    def sample(self, encoded: Encoded, batch: Batch, generator: np.random.Generator) -> list[Any]:
        """A value drawn for each sequence, of the kind of the target; with `every_step`, for its last step.

        Raises:
            UsageError: the loss is of points, so there is no distribution.
        """
        family = self.family
        if family is None:
            raise UsageError(f"regress: loss: {self.kind} has no distribution to draw from; take gaussian or quantiles")
        rows = self._rows(self.parameters_of(encoded), encoded, batch)
        draws = (self._unscaled(family.sample(row, generator), batch, number) for number, row in enumerate(rows))
        return [self.target.decode(draw[-1] if self.every_step else draw) for draw in draws]

    def _predict(self, parameters: Tensor, encoded: Encoded, batch: Batch) -> list[Prediction]:
        check = FiniteCheck(parameters, batch, encoded.lengths if self.per_step else None)
        rows = self._rows(parameters, encoded, batch)
        check.finish()
        batch = replace(batch, extra=dict(zip(batch.extra, read_back(*batch.extra.values()), strict=True)))
        return [self._prediction(row, batch, number) for number, row in enumerate(rows)]

    def _rows(self, parameters: Tensor, encoded: Encoded, batch: Batch) -> list[Numbers]:
        """For each sequence its parameters, of its real steps; of counts, in counts."""
        if self.family is not None and self.family.is_count and isinstance(self.target, NextValues) and batch.extra:
            divisor = batch.extra["divisor"].repeat(1, self.target.horizon)
            parameters = self.family.scaled(parameters, divisor)
        lengths = encoded.lengths.tolist() if self.per_step else [None] * len(parameters)
        single = [row[:length].numpy() for row, length in zip(read_back(parameters)[0], lengths, strict=True)]
        return single if self.family is None else [row.astype(np.float64) for row in single]

    def _unscaled(self, numbers: Numbers, batch: Batch, number: int) -> Numbers:
        """The next values (K,) of a sequence that was scaled by itself, in the units of its rows."""
        is_count = self.family is not None and self.family.is_count
        if not isinstance(self.target, NextValues) or not batch.extra or is_count:
            return numbers
        offset, divisor = (batch.extra[name][number].cpu().numpy() for name in ("offset", "divisor"))
        rows = numbers.reshape(self.target.horizon, -1)  # the offset is (C,), with seasons (H, C)
        return np.asarray(rows * divisor + offset).reshape(-1)

    def _prediction(self, row: Numbers, batch: Batch, number: int) -> Prediction:
        """From (K,) or (K, P), or (T, K) or (T, K, P) where there are numbers at each step."""
        family = self.family

        def decoded(numbers: Numbers) -> Any:
            numbers = self._unscaled(numbers, batch, number)
            return [self.target.decode(step) for step in numbers] if self.every_step else self.target.decode(numbers)

        value = decoded(row if family is None else family.mean(row))
        scores: dict[str, Any] = {"steps": value} if self.every_step else {}
        if isinstance(family, Gaussian) and not self.is_logarithm:
            # A field decodes linearly, so the difference of two decoded values is the decoded standard deviation. Of
            # logarithms it is not, and the quantiles say it all.
            above = decoded(row[..., 0] + np.exp(0.5 * row[..., 1]))
            scores["sd"] = _difference(above, value)
        if family is not None:
            quantiles = {f"{level:g}": decoded(family.quantile(row, level)) for level in self.levels}
            scores["quantiles"] = {name: q[-1] for name, q in quantiles.items()} if self.every_step else quantiles
        return Prediction(value[-1] if self.every_step else value, scores=scores or None)

    def scale_scores(self, factor: float) -> None:
        """Raises TypeError: numbers have no scores."""
        raise TypeError("numbers have no probabilities of classes, whose temperature could be fitted")

    def join_members(self, members: Sequence[Regress], widths: Sequence[int]) -> None:
        """The mean of the members' numbers, or one distribution from theirs; see `JointNumbers`."""
        family = joint_family(self.family, len(members))
        self.pool = JointPooling([member.pool for member in members], widths)
        self.joint = JointNumbers([member.out for member in members], widths, self.family, self.target.size)
        self.family = family

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
        scores = dict(parts[-1].scores or {})
        scores |= {name: [step for part in parts for step in part.scores[name]] for name in names if name in scores}
        if self.is_aligned and "quantiles" in scores:
            scores["quantiles"] = {
                level: [step for part in parts for step in part.scores["quantiles"][level]]
                for level in scores["quantiles"]
            }
        return replace(parts[-1], value=value, scores=scores or None)

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the views' numbers."""
        if not self.is_aligned:
            return self.stitch(parts)
        return Prediction(np.mean(np.array([part.value for part in parts]), axis=0).tolist())


def check_counts(target: Any, loss: str) -> None:
    """Raise UsageError if a target is not learned as counts: if something is subtracted from it."""
    source: Any = target.source if isinstance(target, NextValues) else target
    scaling = getattr(source, "scaling", None)
    is_changed = source.standardise or getattr(source, "transform", None) is not None
    if is_changed or (scaling is not None and (scaling.subtract != "nothing" or scaling.seasons)):
        raise UsageError(
            f"regress: loss: {loss} is of counts, which nothing may be subtracted from: the target must not be "
            "standardised nor a logarithm, and sequences may only be divided (subtract: nothing, no seasons)"
        )


def _difference(above: Any, value: Any) -> Any:
    """above - value, of numbers or of lists of them."""
    if isinstance(value, list):
        return [_difference(a, b) for a, b in zip(above, value, strict=True)]
    return above - value
