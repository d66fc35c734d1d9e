"""A model's outputs for each example, stage by stage, and how far they are from others: what the contracts compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from seqkit.interfaces import Batch, Encoded
from seqkit.model import Model
from seqkit.types import Prediction

TOLERANCE = 1e-5
"""How far outputs may move, relative to the largest number of their stage: single precision, sums in another order."""

STAGES = ("input layer", "encoder", "final vector", "prediction")


@dataclass(frozen=True)
class ContractResult:
    """The result of one contract.

    Attributes:
        contract: its name.
        where: the task, or the encoder with its options, that was checked.
        moved: how far the outputs moved, relative to their size; nan if the contract does not apply.
        passed: whether the contract holds.
        cause: for a failure, what moved and the likely cause.
    """

    contract: str
    where: str
    moved: float
    passed: bool
    cause: str = ""

    def __str__(self) -> str:
        return "\n".join([self.where, *self.lines()])

    def lines(self) -> list[str]:
        """The result as lines: the contract with the largest difference, and for a failure what to look for."""
        mark = "ok  " if self.passed else "FAIL"
        difference = f"{self.moved:.0e}".replace("0e+00", "0") if math.isfinite(self.moved) else "-"
        return [f"{mark}  {self.contract:<58} {difference:>7}", *([f"      {self.cause}"] if self.cause else [])]

    @classmethod
    def not_applicable(cls, contract: str, where: str) -> Self:
        """A contract that this model cannot break."""
        return cls(contract, where, math.nan, True)

    @classmethod
    def failed(cls, contract: str, where: str, cause: str) -> Self:
        """A failure that no number measures."""
        return cls(contract, where, math.inf, False, cause)

    @classmethod
    def measured(cls, contract: str, where: str, moved: float, cause: str, *, tolerance: float = TOLERANCE) -> Self:
        """Passed if `moved` is within the tolerance; `cause` is reported otherwise."""
        passed = moved <= tolerance
        return cls(contract, where, moved, passed, "" if passed else cause)


@dataclass(frozen=True)
class ExampleOutput:
    """A model's output for one example: a flat tensor in double precision for each of `STAGES`."""

    stages: tuple[Tensor, ...]

    @property
    def is_finite(self) -> bool:
        return all(bool(stage.isfinite().all()) for stage in self.stages)


def to_model(batch: Batch, model: Model) -> Batch:
    """The batch on the model's device; a model without parameters is on the CPU."""
    return batch.to(next((parameter.device for parameter in model.parameters()), batch.x.device))


@torch.no_grad()
def compute_outputs(model: Model, task: str, batch: Batch) -> list[ExampleOutput]:
    """The output for each example of the batch, without padding, on the CPU."""
    batch = to_model(batch, model)
    steps, lengths = model.layer(task)(batch.x, batch.lengths)
    encoded: Encoded = model.encoder(steps, lengths)
    predictions = model.head(task).predict(encoded, batch)
    outputs = []
    for row in range(batch.size):
        length = int(lengths[row])
        stages = (steps[row, :length], encoded.steps[row, :length], encoded.last[row], _numbers(predictions[row]))
        outputs.append(ExampleOutput(tuple(stage.detach().cpu().double().flatten() for stage in stages)))
    return outputs


def compare(
    contract: str,
    where: str,
    before: Sequence[ExampleOutput],
    after: Sequence[ExampleOutput],
    *,
    rows: Sequence[int],
    cause: str,
) -> ContractResult:
    """Whether outputs are equal within the tolerance.

    Args:
        contract: the contract's name.
        where: what was checked.
        before: the outputs that are right.
        after: those to compare.
        rows: for each of `after`, which of `before` it must equal.
        cause: the likely cause if it does not.
    """
    largest, message = 0.0, ""
    for row, output in zip(rows, after, strict=True):
        for stage, expected, actual in zip(STAGES, before[row].stages, output.stages, strict=True):
            if expected.shape != actual.shape:
                return ContractResult.failed(
                    contract, where, f"the {stage} of example {row} has another length; likely cause: {cause}"
                )
            if expected.numel() == 0:
                continue
            moved = float((expected - actual).abs().max() / expected.abs().max().clamp(min=1e-3))
            if not moved <= TOLERANCE and not message:
                message = (
                    f"the {stage} of example {row} differs by {moved:.1e}, and nothing that it is made from does; "
                    f"likely cause: {cause}"
                )
            largest = max(largest, moved) if not math.isnan(moved) else math.inf
    return ContractResult(contract, where, largest, not message, message)


def _numbers(prediction: Prediction) -> Tensor:
    """Confidence and scores of a prediction as one flat tensor."""
    numbers: list[float] = []

    def walk(value: Any) -> None:
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return
        if isinstance(value, Mapping):
            for key in sorted(value):
                walk(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif isinstance(value, (int, float)):
            numbers.append(float(value))

    walk(prediction.confidence)
    walk(prediction.scores)
    return torch.tensor(numbers, dtype=torch.float64)
