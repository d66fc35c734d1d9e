"""How far two predictions of a number are apart: for a teacher of `regress`, and for two passes of one model.

Each is the Kullback-Leibler divergence of the distributions of which the loss is the negative log-likelihood, up to a
constant: for the squared error, Gaussians of the variance 1/2; for the absolute error, Laplace distributions of the
scale 1; for quantiles, asymmetric Laplace distributions (Yu and Moyeed 2001, doi:10.1016/S0167-7152(01)00124-9). So it
has the units of the loss, and near zero it is smooth. Huber's loss is taken of the difference itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from seqkit.heads.distributions import Family, Mixture, StudentT
from seqkit.heads.option_types import RegressionLoss
from seqkit.uploads import upload

_STEP: Final = 0.25
"""Distance of the points of a trapezoidal rule: in deviations of a component of a mixture, in scales of Student's t."""

_MIXTURE_REACH, _STUDENT_REACH = 6.0, 9.0
"""How far the points go to either side; those of Student's t are then spread by a hyperbolic sine."""


def of_numbers(loss: RegressionLoss, levels: Sequence[float], p: Tensor, q: Tensor) -> Tensor:
    """(...) the divergence of each number, from q, which is learned, to p.

    Args:
        loss: of the head `regress`.
        levels: the quantiles that are predicted, for `quantiles`.
        p: (...) numbers, or (..., P) parameters of their distributions.
        q: likewise. Mixtures may have different numbers of components.
    """
    if loss == "mse":
        return (p - q).square()
    if loss == "mae":
        return _between_laplaces(q - p, torch.full_like(p, 0.5))
    if loss == "huber":
        return functional.huber_loss(q, p, reduction="none")
    if loss == "quantiles":
        quantiles = upload(torch.tensor(levels, dtype=p.dtype), p.device, is_fixed=True)
        return _between_laplaces(q - p, quantiles.expand_as(p)).mean(dim=-1)
    if loss == "gaussian":
        return _between_gaussians(p, q)
    if loss == "poisson":
        rate, learned = p[..., 0], q[..., 0]
        return rate * (rate / learned).log() - rate + learned
    if loss == "mixture":
        return _between_mixtures(p, q)
    if loss == "student_t":
        return _between_students(p, q)
    raise ValueError(f"{loss}: no divergence is known")


def _between_laplaces(shift: Tensor, level: Tensor) -> Tensor:
    """Of two distributions of density in proportion to exp(-2 pinball loss), whose places are apart by `shift`."""
    side = torch.where(shift >= 0.0, level, 1.0 - level)
    distance = shift.abs()
    return (1.0 - side) * (2.0 * distance + torch.expm1(-2.0 * side * distance) / side)


def _between_gaussians(p: Tensor, q: Tensor) -> Tensor:
    (mean, log_variance), (learned, learned_log_variance) = p.unbind(dim=-1), q.unbind(dim=-1)
    log_ratio = log_variance - learned_log_variance
    squares = (mean - learned).square() * (-learned_log_variance).exp()
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + squares)


def _between_mixtures(p: Tensor, q: Tensor) -> Tensor:
    """There is no closed form: by the trapezoidal rule over each component of p."""
    steps = _points(_MIXTURE_REACH, p.dtype)
    points, shares = upload(torch.stack([steps, (-0.5 * steps.square()).softmax(dim=0)]), p.device, is_fixed=True)
    weight, location, scale = (part[..., None] for part in p.chunk(3, dim=-1))
    ratio = _log_ratio(Mixture(1), p[..., None, None, :], q[..., None, None, :], location + scale * points)
    divergence: Tensor = (weight * shares * ratio).sum(dim=(-1, -2))
    return divergence


def _between_students(p: Tensor, q: Tensor) -> Tensor:
    """There is no closed form: by the trapezoidal rule over a hyperbolic sine, for the tails are long."""
    steps = _points(_STUDENT_REACH, p.dtype)
    points, widths = upload(torch.stack([steps.sinh(), steps.cosh() * _STEP]), p.device, is_fixed=True)
    location, scale, _ = (part[..., None] for part in p.unbind(dim=-1))
    family, y = StudentT(), location + scale * points
    density = (-family.nats(p[..., None, :], y)).exp() * scale
    divergence: Tensor = (density * widths * _log_ratio(family, p[..., None, :], q[..., None, :], y)).sum(dim=-1)
    return divergence


def _points(reach: float, dtype: torch.dtype) -> Tensor:
    return torch.arange(-reach, reach + _STEP / 2, _STEP, dtype=dtype)


def _log_ratio(family: Family, p: Tensor, q: Tensor, y: Tensor) -> Tensor:
    """The logarithm of how much denser p is than q at y."""
    return family.nats(q, y) - family.nats(p, y)
