"""Optimisers and learning-rate schedules, chosen by name under `train:`.

An optimiser factory gets the parameters; a schedule factory gets the total number of optimiser steps and returns a pure
function `factor(step, dev_losses) -> multiplier of lr`, so that a resumed run has the same rate with nothing saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from seqkit.types import Choice, NonNegative, Positive, Probability, Share, Size

if TYPE_CHECKING:
    import torch

Factor: TypeAlias = Callable[[int, Sequence[float]], float]
"""(optimiser steps taken, what each dev evaluation so far gave as a number to minimise) -> multiplier of lr."""


def adamw(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 1e-3,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Args:
        lr: learning rate.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
        weight_decay: share of each weight taken away per step and unit of lr; biases and gains are left alone.
    """
    import torch

    groups = _decay_groups(params, weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)


def lazy_adamw(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 1e-3,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """AdamW that leaves alone the vectors of symbols that no batch of the step read: for large vocabularies.

    Another algorithm than adamw. Where adamw moves all vectors at each step, by what is left of earlier gradients and
    by weight decay, here the vector of a symbol, its moments and its decay stand still until the symbol is read again.
    A step then costs what its own symbols cost, however many there are. All other weights, and vectors that the head
    uses as output weights too (`tied`), are moved as adamw moves them. See `seqkit.optim.lazy_adamw`.

    Args:
        lr: learning rate.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
        weight_decay: share of each weight taken away per step and unit of lr; biases and gains are left alone.
    """
    from seqkit.optim.lazy_adamw import LazyAdamW

    groups = _decay_groups(params, weight_decay)
    return LazyAdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)


def adam(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 1e-3,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    eps: Positive = 1e-8,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980).

    Args:
        lr: learning rate.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
    """
    import torch

    return torch.optim.Adam(list(params), lr=lr, betas=(beta1, beta2), eps=eps, fused=True)


def sgd(
    params: Iterable[torch.nn.Parameter],
    /,
    *,
    lr: Positive = 0.1,
    momentum: Share = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with momentum if asked for.

    Args:
        lr: learning rate.
        momentum: share of the last step that is taken again.
        nesterov: look ahead (needs momentum).
        weight_decay: L2 penalty on weights; biases and gains are left alone.
    """
    import torch

    groups = _decay_groups(params, weight_decay)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


def optimizer_of(choice: Choice, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser that a recipe chose, over a model's weights; input layers give it the gradients that it takes."""
    from seqkit.optim.lazy_adamw import LazyAdamW, by_rows

    made = OPTIMIZERS[choice.use](model.parameters(), **choice.options)
    by_rows(model, isinstance(made, LazyAdamW))
    return made


def _decay_groups(params: Iterable[torch.nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; vectors (biases, gains, initial states) do not: shrinking a forget bias forgets on purpose."""
    params = list(params)
    matrices = [p for p in params if p.ndim >= 2]
    vectors = [p for p in params if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def constant(total: int, /, *, warmup: Size = 0) -> Factor:
    """The same rate throughout, after a linear warm-up.

    Args:
        warmup: optimiser steps over which the rate rises from zero.
    """
    return lambda step, dev_losses: _warm(step, warmup)


def linear(total: int, /, *, warmup: Size = 0, floor: Probability = 0.0) -> Factor:
    """A linear rise over the warm-up, then a linear fall to the floor at the last step.

    Args:
        warmup: optimiser steps over which the rate rises from zero.
        floor: share of lr that is left at the end.
    """
    return lambda step, dev_losses: _warm(step, warmup) * (1 - (1 - floor) * _progress(step, warmup, total))


def cosine(total: int, /, *, warmup: Size = 0, floor: Probability = 0.0) -> Factor:
    """Half a cosine from lr to the floor, after a linear warm-up (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Args:
        warmup: optimiser steps over which the rate rises from zero.
        floor: share of lr that is left at the end.
    """

    def factor(step: int, dev_losses: Sequence[float]) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * _progress(step, warmup, total)))
        return _warm(step, warmup) * (floor + (1 - floor) * fall)

    return factor


def one_cycle(total: int, /, *, rise: Share = 0.3, start: Probability = 0.04, floor: Probability = 0.0) -> Factor:
    """One cosine rise to lr and one cosine fall (Smith and Topin 2017, arXiv:1708.07120).

    Args:
        rise: share of all steps spent rising.
        start: share of lr at the first step.
        floor: share of lr at the last step.
    """
    top = max(1, round(rise * total))

    def factor(step: int, dev_losses: Sequence[float]) -> float:
        if step < top:
            return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / top))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * _progress(step, top, total)))

    return factor


def plateau(
    total: int, /, *, factor: Share = 0.5, patience: Size = 1, floor: Probability = 0.01, warmup: Size = 0
) -> Factor:
    """Lower the rate each time dev has not improved for longer than `patience` evaluations.

    Args:
        factor: what the rate is multiplied by.
        patience: evaluations without improvement that are forgiven.
        floor: share of lr below which it does not fall.
        warmup: optimiser steps over which the rate rises from zero.
    """

    def rate(step: int, dev_losses: Sequence[float]) -> float:
        share, best, waited = 1.0, math.inf, 0
        for loss in dev_losses:
            if loss < best:
                best, waited = loss, 0
            else:
                waited += 1
                if waited > patience:
                    share, waited = max(floor, share * factor), 0
        return _warm(step, warmup) * share

    return rate


def _warm(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def _progress(step: int, start: int, total: int) -> float:
    """How much of the way from `start` to `total` is done, from 0 to 1."""
    return min(1.0, max(0.0, (step - start) / max(1, total - start)))


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": adamw,
    "adam": adam,
    "sgd": sgd,
    "lazy_adamw": lazy_adamw,
}
SCHEDULES: Mapping[str, Callable[..., Factor]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "plateau": plateau,
}
