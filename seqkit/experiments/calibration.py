"""Temperature scaling: probabilities that say how often they are right (Guo et al. 2017, arXiv:1706.04599).

The scores of a head are divided by one number, the temperature, which makes the loss on dev least. It is kept in the
weights of the head's last layer, so whatever uses the model, exports it or streams through it has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from seqkit.analysis import calibration
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem
from seqkit.inference.evaluate import EvaluationResult, evaluate
from seqkit.interfaces import Head
from seqkit.model import Model
from seqkit.runs.interrupts import Interrupts
from seqkit.runtime.ranks import ALONE, Ranks

RANGE: Final = (1 / 20, 20.0)
"""Temperatures that are looked at. The loss has one minimum in them: it is convex in 1 / T."""
TOLERANCE: Final = 1e-3
"""Of the logarithm of the temperature."""
_GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Fit:
    """The temperature of a task, and what it does on dev.

    Attributes:
        task: its name.
        temperature: what its scores have been divided by.
        loss: the mean loss before and after.
        error: the expected calibration error before and after, in 10 bins; None where predictions have no confidence.
    """

    task: str
    temperature: float
    loss: tuple[float, float]
    error: tuple[float, float] | None

    @property
    def sentence(self) -> str:
        """For the log."""
        of_error = ""
        if self.error is not None:
            of_error = f", expected calibration error {self.error[0]:.4f} before and {self.error[1]:.4f} after"
        return (
            f"calibration of {self.task}: temperature {self.temperature:.3f}; on dev: loss {self.loss[0]:.4f} before "
            f"and {self.loss[1]:.4f} after{of_error}"
        )


def check_can_calibrate(model: Model, data: Mapping[str, TaskData]) -> None:
    """Raise DataError for a task without dev, or with a head whose scores cannot be scaled; for before training."""
    for name, task_data in data.items():
        if "dev" not in task_data.splits:
            raise DataError(Problem("train.calibrate", f"task {name} has no dev split to fit a temperature on"))
        try:
            model.head(name).scale_scores(1.0)
        except TypeError as error:
            raise DataError(Problem("train.calibrate", f"task {name}: {error}")) from error


def calibrate_model(
    model: Model, data: Mapping[str, TaskData], stop: Interrupts, ranks: Ranks = ALONE
) -> Iterator[Fit]:
    """Fit the temperature of each task on its dev split, and scale the scores of its head by it.

    All processes get the same temperature, because they get the same losses.

    Raises:
        Interrupted: asked to stop; the weights may be those of any temperature.
    """
    for name, task_data in data.items():
        scores = _Scores(model.head(name))

        def loss_at(temperature: float, task_data: TaskData = task_data, scores: _Scores = scores) -> float:
            scores.divide(temperature)
            return evaluate(model, task_data, "dev", stop=stop, loss_only=True, ranks=ranks).loss

        before = _evaluate(model, task_data, stop, ranks)
        temperature = least(loss_at)
        scores.divide(temperature)
        after = _evaluate(model, task_data, stop, ranks)
        if not after[0].loss < before[0].loss:
            temperature, after = 1.0, before
            scores.divide(1.0)
        error = None if before[1] is None or after[1] is None else (before[1], after[1])
        yield Fit(name, temperature, (before[0].loss, after[0].loss), error)


class _Scores:
    """The scores of a head, as training left them, divided by a temperature."""

    def __init__(self, head: Head) -> None:
        self._head, self._weights = head, {name: tensor.clone() for name, tensor in head.state_dict().items()}

    def divide(self, temperature: float) -> None:
        """From now on the head has the scores of training, divided by this."""
        self._head.load_state_dict(self._weights)
        if temperature != 1.0:
            self._head.scale_scores(1.0 / temperature)


def _evaluate(model: Model, data: TaskData, stop: Interrupts, ranks: Ranks) -> tuple[EvaluationResult, float | None]:
    """Dev, and its expected calibration error."""
    result = evaluate(model, data, "dev", stop=stop, keep_predictions=True, ranks=ranks)
    reliability = calibration(result.predictions, result.targets) if result.predictions else None
    return result, None if reliability is None else reliability.error


def least(loss_at: Callable[[float], float]) -> float:
    """The temperature of the least loss, by golden-section search over its logarithm (Kiefer 1953)."""
    low, high = (math.log(end) for end in RANGE)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss_at(math.exp(left)), loss_at(math.exp(right))
    while high - low > TOLERANCE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss_at(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss_at(math.exp(right))
    return math.exp((low + high) / 2.0)
