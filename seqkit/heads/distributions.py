"""Distributions of numbers as `regress` predicts them: their likelihood in torch, their quantiles and samples by SciPy.

A family makes its parameters of the raw outputs (..., P) of a linear map, for each number. They are in the units in
which the target is learned, but those of counts, which are in counts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seqkit.uploads import upload

LEAST: Final = 1e-4
"""The least scale or rate, so that no likelihood grows without bound."""

_BISECTIONS: Final = 60
"""Halvings of the interval in which a mixture's quantile is looked for."""

Numbers = NDArray[np.float64]


class Family(ABC):
    """A family of distributions of one number.

    Attributes:
        names: of its parameters.
        is_count: whether it is of whole numbers from zero on.
    """

    names: tuple[str, ...]
    is_count: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """P, how many raw outputs a number needs."""
        return len(self.names)

    @abstractmethod
    def parameters(self, raw: Tensor) -> Tensor:
        """(..., P) -> (..., P), within their ranges."""

    @abstractmethod
    def nats(self, parameters: Tensor, y: Tensor) -> Tensor:
        """(..., P), (...) -> (...): the negative logarithm of the density, or of the probability of a count."""

    @abstractmethod
    def mean(self, parameters: Numbers) -> Numbers:
        """(..., P) -> (...)."""

    @abstractmethod
    def quantile(self, parameters: Numbers, level: float) -> Numbers:
        """(..., P) -> (...): the least number that is not exceeded with this probability."""

    @abstractmethod
    def sample(self, parameters: Numbers, generator: np.random.Generator) -> Numbers:
        """(..., P) -> (...): a draw of each."""

    def scaled(self, parameters: Tensor, divisor: Tensor) -> Tensor:
        """The parameters (..., P) of counts that are `divisor` (...) times as large; of other families, unchanged."""
        return parameters


@final
class StudentT(Family):
    """Student's t with location, scale, and more than two degrees of freedom, so that it has a variance."""

    names = ("location", "scale", "degrees")

    def parameters(self, raw: Tensor) -> Tensor:
        location, scale, degrees = raw.unbind(dim=-1)
        return torch.stack([location, functional.softplus(scale) + LEAST, 2.0 + functional.softplus(degrees)], dim=-1)

    def nats(self, parameters: Tensor, y: Tensor) -> Tensor:
        location, scale, degrees = parameters.unbind(dim=-1)
        z = (y - location) / scale
        normaliser = torch.lgamma(degrees / 2) - torch.lgamma((degrees + 1) / 2) + 0.5 * torch.log(math.pi * degrees)
        return normaliser + scale.log() + (degrees + 1) / 2 * torch.log1p(z.square() / degrees)

    def mean(self, parameters: Numbers) -> Numbers:
        return np.asarray(parameters[..., 0])

    def quantile(self, parameters: Numbers, level: float) -> Numbers:
        from scipy import stats

        location, scale, degrees = np.moveaxis(parameters, -1, 0)
        return np.asarray(stats.t.ppf(level, degrees, location, scale))

    def sample(self, parameters: Numbers, generator: np.random.Generator) -> Numbers:
        location, scale, degrees = np.moveaxis(parameters, -1, 0)
        return np.asarray(location + scale * generator.standard_t(degrees))


@final
class Poisson(Family):
    """Poisson, of counts."""

    names = ("rate",)
    is_count = True

    def parameters(self, raw: Tensor) -> Tensor:
        return functional.softplus(raw) + LEAST

    def scaled(self, parameters: Tensor, divisor: Tensor) -> Tensor:
        return parameters * divisor[..., None]

    def nats(self, parameters: Tensor, y: Tensor) -> Tensor:
        rate = parameters[..., 0]
        return rate - y * rate.log() + torch.lgamma(y + 1.0)

    def mean(self, parameters: Numbers) -> Numbers:
        return np.asarray(parameters[..., 0])

    def quantile(self, parameters: Numbers, level: float) -> Numbers:
        from scipy import stats

        return np.asarray(stats.poisson.ppf(level, parameters[..., 0]))

    def sample(self, parameters: Numbers, generator: np.random.Generator) -> Numbers:
        return generator.poisson(parameters[..., 0]).astype(np.float64)


@final
class NegativeBinomial(Family):
    """Counts of mean m and variance m + a m^2, a the dispersion (as in DeepAR, Salinas et al. 2020)."""

    names = ("mean", "dispersion")
    is_count = True

    def parameters(self, raw: Tensor) -> Tensor:
        return functional.softplus(raw) + LEAST

    def scaled(self, parameters: Tensor, divisor: Tensor) -> Tensor:
        mean, dispersion = parameters.unbind(dim=-1)
        return torch.stack([mean * divisor, dispersion], dim=-1)

    def nats(self, parameters: Tensor, y: Tensor) -> Tensor:
        mean, dispersion = parameters.unbind(dim=-1)
        r = 1.0 / dispersion
        choices = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1.0)
        log_share = torch.log1p(mean * dispersion)  # -ln of r / (r + m)
        return -choices + r * log_share - y * ((mean * dispersion).log() - log_share)

    def mean(self, parameters: Numbers) -> Numbers:
        return np.asarray(parameters[..., 0])

    def quantile(self, parameters: Numbers, level: float) -> Numbers:
        from scipy import stats

        r = 1.0 / parameters[..., 1]
        return np.asarray(stats.nbinom.ppf(level, r, r / (r + parameters[..., 0])))

    def sample(self, parameters: Numbers, generator: np.random.Generator) -> Numbers:
        r = 1.0 / parameters[..., 1]
        return generator.negative_binomial(r, r / (r + parameters[..., 0])).astype(np.float64)


@final
class Mixture(Family):
    """A mixture of M Gaussians (Bishop 1994, mixture density networks)."""

    def __init__(self, components: int) -> None:
        self.components = components
        self.names = tuple(
            f"{name}_{number}" for name in ("weight", "location", "scale") for number in range(1, components + 1)
        )

    def parameters(self, raw: Tensor) -> Tensor:
        weight, location, scale = raw.chunk(3, dim=-1)
        return torch.cat([weight.softmax(dim=-1), location, functional.softplus(scale) + LEAST], dim=-1)

    def nats(self, parameters: Tensor, y: Tensor) -> Tensor:
        weight, location, scale = parameters.chunk(3, dim=-1)
        z = (y[..., None] - location) / scale
        # A weight may underflow to zero; its logarithm must stay finite for the gradient.
        terms = weight.clamp(min=1e-30).log() - scale.log() - 0.5 * z.square()
        return 0.5 * math.log(2.0 * math.pi) - terms.logsumexp(dim=-1)

    def mean(self, parameters: Numbers) -> Numbers:
        weight, location, _ = np.split(parameters, 3, axis=-1)
        return np.asarray((weight * location).sum(axis=-1))

    def quantile(self, parameters: Numbers, level: float) -> Numbers:
        """By bisection between the least and the greatest quantile of the components."""
        from scipy import special

        weight, location, scale = np.split(parameters, 3, axis=-1)
        of_components = location + scale * special.ndtri(level)
        low, high = of_components.min(axis=-1), of_components.max(axis=-1)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            is_below = (weight * special.ndtr((middle[..., None] - location) / scale)).sum(axis=-1) < level
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        return np.asarray(high)

    def sample(self, parameters: Numbers, generator: np.random.Generator) -> Numbers:
        weight, location, scale = np.split(parameters, 3, axis=-1)
        drawn = generator.random(weight.shape[:-1])[..., None]
        chosen = (drawn > weight.cumsum(axis=-1)[..., :-1]).sum(axis=-1, keepdims=True)
        place, spread = (np.take_along_axis(array, chosen, axis=-1)[..., 0] for array in (location, scale))
        return np.asarray(place + spread * generator.standard_normal(place.shape))


@final
class Quantiles(Family):
    """Some quantiles, which never cross (Koenker and Bassett 1978): the middle one, and positive steps from it."""

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)
        self.middle = min(range(len(self.levels)), key=lambda number: abs(self.levels[number] - 0.5))
        self.names = tuple(f"{level:g}" for level in self.levels)

    def parameters(self, raw: Tensor) -> Tensor:
        """The quantiles, rising."""
        middle = self.middle
        centre, steps = raw[..., middle : middle + 1], functional.softplus(raw)
        above = centre + steps[..., middle + 1 :].cumsum(dim=-1)
        below = centre - steps[..., :middle].flip(-1).cumsum(dim=-1).flip(-1)
        return torch.cat([below, centre, above], dim=-1)

    def nats(self, parameters: Tensor, y: Tensor) -> Tensor:
        """Twice the mean pinball loss, which is no likelihood: of the median alone, the absolute error."""
        error = y[..., None] - parameters
        levels = upload(torch.tensor(self.levels, dtype=error.dtype), error.device, is_fixed=True)
        return 2.0 * torch.maximum(levels * error, (levels - 1.0) * error).mean(dim=-1)

    def mean(self, parameters: Numbers) -> Numbers:
        """The middle quantile: of the median, the best guess by absolute error."""
        return np.asarray(parameters[..., self.middle])

    def quantile(self, parameters: Numbers, level: float) -> Numbers:
        """A learned quantile, or one between two of them, by linear interpolation.

        Raises:
            ValueError: the level is outside of those that were learned.
        """
        if not self.levels[0] - 1e-9 <= level <= self.levels[-1] + 1e-9:
            raise ValueError(f"quantiles from {self.levels[0]:g} to {self.levels[-1]:g} were learned, not {level:g}")
        return self._between(parameters, np.full(parameters.shape[:-1], level))

    def sample(self, parameters: Numbers, generator: np.random.Generator) -> Numbers:
        """Between the learned quantiles; what is beyond the outer ones becomes these."""
        return self._between(parameters, generator.random(parameters.shape[:-1]))

    def _between(self, parameters: Numbers, level: Numbers) -> Numbers:
        levels = np.array(self.levels)
        level = np.clip(level, levels[0], levels[-1])
        if len(levels) == 1:
            return np.asarray(parameters[..., 0])
        number = np.clip(np.searchsorted(levels, level, side="right") - 1, 0, len(levels) - 2)
        share = (level - levels[number]) / (levels[number + 1] - levels[number])
        low, high = (np.take_along_axis(parameters, (number + k)[..., None], axis=-1)[..., 0] for k in (0, 1))
        return np.asarray(low + share * (high - low))


@final
class Gaussian(Family):
    """A Gaussian, of which `regress` has always predicted the mean and the logarithm of the variance."""

    names = ("mean", "log_variance")

    def parameters(self, raw: Tensor) -> Tensor:
        mean, log_variance = raw.unbind(dim=-1)
        return torch.stack([mean, log_variance.clamp(-14.0, 14.0)], dim=-1)

    def nats(self, parameters: Tensor, y: Tensor) -> Tensor:
        mean, log_variance = parameters.unbind(dim=-1)
        return 0.5 * (math.log(2.0 * math.pi) + log_variance + (y - mean).square() * (-log_variance).exp())

    def mean(self, parameters: Numbers) -> Numbers:
        return np.asarray(parameters[..., 0])

    def quantile(self, parameters: Numbers, level: float) -> Numbers:
        from scipy import special

        return np.asarray(parameters[..., 0] + np.exp(0.5 * parameters[..., 1]) * special.ndtri(level))

    def sample(self, parameters: Numbers, generator: np.random.Generator) -> Numbers:
        deviation = np.exp(0.5 * parameters[..., 1])
        return np.asarray(parameters[..., 0] + deviation * generator.standard_normal(deviation.shape))


def family_of(kind: str, levels: Sequence[float], components: int) -> Any:
    """The family that a loss of `regress` names; None: it names an error of points."""
    if kind == "quantiles":
        return Quantiles(levels)
    if kind == "mixture":
        return Mixture(components)
    families: dict[str, type[Family]] = {
        "gaussian": Gaussian,
        "student_t": StudentT,
        "poisson": Poisson,
        "negative_binomial": NegativeBinomial,
    }
    return families[kind]() if kind in families else None
