"""The distribution of a pen's movement: a mixture of Gaussians in two dimensions, and what the pen does after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn import functional

from seqkit.heads import mean_log_probs

LEAST: Final = 1e-3
"""The least deviation, in units of the deviation of all movements."""
STATES: Final = 3
"""Of the pen: on the paper, lifted, drawing over."""


def width_of(mixtures: int) -> int:
    """How many raw numbers a step's distribution is made of."""
    return 6 * mixtures + STATES


def _ends(mixtures: int) -> tuple[int, ...]:
    """Where weights, means, deviations and correlations end among the raw numbers."""
    return mixtures, 3 * mixtures, 5 * mixtures, 6 * mixtures


@dataclass(frozen=True)
class StepDistribution:
    """Of steps (...), with M Gaussians each.

    Attributes:
        weight: (..., M) logarithms of the weights.
        mean: (..., M, 2).
        log_deviation: (..., M, 2).
        correlation: (..., M).
        pen: (..., 3) logarithms of the probabilities of the pen's states.
    """

    weight: Tensor
    mean: Tensor
    log_deviation: Tensor
    correlation: Tensor
    pen: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> Self:
        """From (..., 6 M + 3) numbers, as a linear map gives them."""
        count = (raw.shape[-1] - STATES) // 6
        weight, mean, deviation, correlation, pen = raw.tensor_split(_ends(count), dim=-1)
        return cls(
            weight.log_softmax(dim=-1),
            mean.reshape(*mean.shape[:-1], count, 2),
            (functional.softplus(deviation) + LEAST).log().reshape(*mean.shape[:-1], count, 2),
            0.99 * torch.tanh(correlation),
            pen.log_softmax(dim=-1),
        )

    @classmethod
    def mean_of(cls, members: Sequence[Self]) -> Self:
        """The mean of the densities and probabilities of several: a mixture of all of their Gaussians."""
        fewer = math.log(len(members))
        return cls(
            torch.cat([member.weight - fewer for member in members], dim=-1),
            torch.cat([member.mean for member in members], dim=-2),
            torch.cat([member.log_deviation for member in members], dim=-2),
            torch.cat([member.correlation for member in members], dim=-1),
            mean_log_probs([member.pen for member in members]),
        )

    def nats(self, movement: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(..., 2) movements and (...) states of the pen -> their negative log-likelihoods (...), each by itself.

        Graves 2013, equations 24 to 26.
        """
        z = (movement[..., None, :] - self.mean) * (-self.log_deviation).exp()
        rest = 1.0 - self.correlation.square()
        squares = z.square().sum(dim=-1) - 2.0 * self.correlation * z[..., 0] * z[..., 1]
        log_density = (
            -squares / (2.0 * rest) - self.log_deviation.sum(dim=-1) - 0.5 * rest.log() - math.log(2 * math.pi)
        )
        of_movement = -(self.weight + log_density).logsumexp(dim=-1)
        return of_movement, -self.pen.gather(-1, state[..., None]).squeeze(-1)

    def likely(self) -> tuple[Tensor, Tensor]:
        """The mean of the Gaussian with the largest weight (..., 2), and the pen's likeliest state (...)."""
        chosen = self.weight.argmax(dim=-1)[..., None, None].expand(*self.weight.shape[:-1], 1, 2)
        return self.mean.gather(-2, chosen).squeeze(-2), self.pen.argmax(dim=-1)

    def draw(self, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A movement (B, 2) and a state of the pen (B,) of each; of distributions (B,), on the CPU.

        A temperature below 1 makes likely Gaussians likelier and variances smaller (Ha and Eck 2017; Graves 2013,
        equations 61 and 62). The pen's state is drawn as it is: the end of a drawing is likely within some steps, and
        unlikely at each of them, so that a low temperature would miss it.
        """
        chosen = torch.multinomial((self.weight / temperature).softmax(dim=-1), 1, generator=generator)
        rows = torch.arange(len(chosen))
        mean, log_deviation = (tensor[rows, chosen[:, 0]] for tensor in (self.mean, self.log_deviation))
        correlation = self.correlation[rows, chosen[:, 0]]
        noise = torch.randn(len(chosen), 2, generator=generator)
        second = correlation * noise[:, 0] + (1.0 - correlation.square()).sqrt() * noise[:, 1]
        movement = mean + log_deviation.exp() * math.sqrt(temperature) * torch.stack([noise[:, 0], second], dim=-1)
        state = torch.multinomial(self.pen.exp(), 1, generator=generator)[:, 0]
        return movement, state
