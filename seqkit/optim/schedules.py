"""Learning-rate schedules, chosen by name under `train.schedule`.

A factory gets the total number of optimiser steps and returns a pure function of the step and of past dev scores, so a
resumed run has the same learning rate with nothing saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from seqkit.types import Probability, Share, Size

Schedule: TypeAlias = Callable[[int, Sequence[float]], float]
"""(optimiser steps taken, the score of each dev evaluation so far as a number to minimise) -> multiplier of lr."""


def constant(total: int, /, *, warmup: Size = 0) -> Schedule:
    """The same rate throughout, after a linear warm-up.

    Args:
        warmup: optimiser steps over which the rate rises from zero.
    """
    return lambda step, dev_losses: _warmup_share(step, warmup)


def linear(total: int, /, *, warmup: Size = 0, floor: Probability = 0.0) -> Schedule:
    """A linear rise over the warm-up, then a linear fall to the floor at the last step.

    Args:
        warmup: optimiser steps over which the rate rises from zero.
        floor: share of lr that is left at the end.
    """
    return lambda step, dev_losses: _warmup_share(step, warmup) * (1 - (1 - floor) * _progress(step, warmup, total))


def cosine(total: int, /, *, warmup: Size = 0, floor: Probability = 0.0) -> Schedule:
    """Half a cosine from lr to the floor, after a linear warm-up (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Args:
        warmup: optimiser steps over which the rate rises from zero.
        floor: share of lr that is left at the end.
    """

    def schedule(step: int, dev_losses: Sequence[float]) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * _progress(step, warmup, total)))
        return _warmup_share(step, warmup) * (floor + (1 - floor) * fall)

    return schedule


def one_cycle(total: int, /, *, rise: Share = 0.3, start: Probability = 0.04, floor: Probability = 0.0) -> Schedule:
    """One cosine rise to lr and one cosine fall (Smith and Topin 2017, arXiv:1708.07120).

    Args:
        rise: share of all steps spent rising.
        start: share of lr at the first step.
        floor: share of lr at the last step.
    """
    top = max(1, round(rise * total))

    def schedule(step: int, dev_losses: Sequence[float]) -> float:
        if step < top:
            return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / top))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * _progress(step, top, total)))

    return schedule


def plateau(
    total: int, /, *, factor: Share = 0.5, patience: Size = 1, floor: Probability = 0.01, warmup: Size = 0
) -> Schedule:
    """Lower the rate each time dev has not improved for longer than `patience` evaluations.

    Args:
        factor: what the rate is multiplied by.
        patience: evaluations without improvement that are tolerated.
        floor: share of lr below which it does not fall.
        warmup: optimiser steps over which the rate rises from zero.
    """

    def schedule(step: int, dev_losses: Sequence[float]) -> float:
        lr_multiplier, best, waited = 1.0, math.inf, 0
        for loss in dev_losses:
            if loss < best:
                best, waited = loss, 0
            else:
                waited += 1
                if waited > patience:
                    lr_multiplier, waited = max(floor, lr_multiplier * factor), 0
        return _warmup_share(step, warmup) * lr_multiplier

    return schedule


def _warmup_share(step: int, warmup: int) -> float:
    """A linear rise from 1 / warmup to 1."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def _progress(step: int, start: int, total: int) -> float:
    """The share of the steps from `start` to `total` that are done, from 0 to 1."""
    return min(1.0, max(0.0, (step - start) / max(1, total - start)))


SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "plateau": plateau,
}
