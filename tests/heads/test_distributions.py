"""Distributions against SciPy's, and quantiles that never cross."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from seqkit.errors import DataError, UsageError
from seqkit.fields import NextValues, Scaling, Values, Vectors
from seqkit.heads import regress
from seqkit.heads.distributions import Family, Gaussian, Mixture, NegativeBinomial, Poisson, Quantiles, StudentT
from seqkit.interfaces import Batch, Encoded
from seqkit.testing import HeadConformance

LEVELS = (0.05, 0.25, 0.5, 0.9)
SINGLE = [Gaussian(), StudentT(), Poisson(), NegativeBinomial()]


def raw(family: Family, rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, family.size, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2


def of_scipy(family: Family, parameters: np.ndarray) -> Any:
    """The same distribution of SciPy, of one number."""
    if isinstance(family, Gaussian):
        return stats.norm(parameters[0], np.exp(0.5 * parameters[1]))
    if isinstance(family, StudentT):
        return stats.t(parameters[2], parameters[0], parameters[1])
    if isinstance(family, Poisson):
        return stats.poisson(parameters[0])
    r = 1 / parameters[1]
    return stats.nbinom(r, r / (r + parameters[0]))


@pytest.mark.parametrize("family", SINGLE, ids=lambda family: type(family).__name__)
def test_likelihood_mean_and_quantiles_are_those_of_scipy(family: Family) -> None:
    parameters = family.parameters(raw(family))
    for row in parameters:
        other = of_scipy(family, row.numpy())
        for y in (0.0, 1.0, 4.0):
            log = other.logpmf(y) if family.is_count else other.logpdf(y)
            assert float(family.nats(row, torch.tensor(y, dtype=torch.float64))) == pytest.approx(-log, rel=1e-6)
        assert float(family.mean(row.numpy())) == pytest.approx(other.mean(), rel=1e-6)
        for level in LEVELS:
            assert float(family.quantile(row.numpy(), level)) == pytest.approx(other.ppf(level), rel=1e-6)


def test_a_mixture_is_the_weighted_sum_of_its_gaussians() -> None:
    family = Mixture(3)
    for row in family.parameters(raw(family)):
        weight, location, scale = row.numpy().reshape(3, 3)

        def density(y: float, w: Any = weight, m: Any = location, s: Any = scale) -> float:
            return float(sum(a * stats.norm.pdf(y, b, c) for a, b, c in zip(w, m, s, strict=True)))

        for y in (-1.0, 0.3, 2.0):
            nats = float(family.nats(row, torch.tensor(y, dtype=torch.float64)))
            assert np.exp(-nats) == pytest.approx(density(y), rel=1e-6)
        assert float(family.mean(row.numpy())) == pytest.approx(float(weight @ location))
        for level in LEVELS:
            q = float(family.quantile(row.numpy(), level))
            below = sum(a * stats.norm.cdf(q, b, c) for a, b, c in zip(weight, location, scale, strict=True))
            assert below == pytest.approx(level, abs=1e-9)
        assert integrate.quad(density, -40, 40, limit=400, points=sorted(location))[0] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "family", [Gaussian(), StudentT(), Poisson(), NegativeBinomial(), Mixture(2)], ids=lambda f: type(f).__name__
)
def test_samples_have_the_quantiles_of_the_distribution(family: Family) -> None:
    parameters = family.parameters(raw(family)).numpy()
    generator = np.random.default_rng(0)
    draws = np.stack([family.sample(parameters, generator) for _ in range(4000)])
    for level in (0.25, 0.5, 0.9):
        quantile = family.quantile(parameters, level)
        assert ((draws <= quantile).mean(axis=0) >= level - 0.03).all()
        assert ((draws < quantile).mean(axis=0) <= level + 0.03).all()
    again = np.stack([family.sample(parameters, np.random.default_rng(5)) for _ in range(2)])
    assert np.array_equal(again[0], again[1])


def test_quantiles_never_cross_and_their_loss_is_the_pinball_loss() -> None:
    family = Quantiles(LEVELS)
    parameters = family.parameters(raw(family, 50))
    assert bool((parameters[:, 1:] > parameters[:, :-1]).all())
    assert torch.equal(parameters[:, 2], raw(family, 50)[:, 2])
    for row in parameters[:5]:
        for y in (-3.0, 0.5, 7.0):
            terms = [(t if y >= q else t - 1) * (y - q) for t, q in zip(LEVELS, row.tolist(), strict=True)]
            nats = float(family.nats(row, torch.tensor(y, dtype=torch.float64)))
            assert nats == pytest.approx(2 * sum(terms) / len(LEVELS))
    values = parameters.numpy()
    assert np.array_equal(family.mean(values), values[:, 2])
    for number, level in enumerate(LEVELS):
        assert np.allclose(family.quantile(values, level), values[:, number])
    middle = family.quantile(values, 0.375)
    assert np.allclose(middle, (values[:, 1] + values[:, 2]) / 2)
    with pytest.raises(ValueError, match=r"0\.05 to 0\.9"):
        family.quantile(values, 0.95)


def test_quantiles_of_one_level_are_learned_too() -> None:
    family = Quantiles([0.5])
    values = family.parameters(raw(family)).numpy()
    assert np.array_equal(family.quantile(values, 0.5), values[:, 0])
    assert np.array_equal(family.sample(values, np.random.default_rng(0)), values[:, 0])


def counts_of(kind: Any) -> Any:
    return regress(5, NextValues(2).of(Vectors(1, scaling=Scaling("nothing", "mean"))), None, loss=kind)


@pytest.mark.parametrize("kind", ["poisson", "negative_binomial"])
def test_counts_are_learned_in_counts_whatever_a_series_is_divided_by(kind: Any) -> None:
    head = counts_of(kind)
    last = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))
    encoded = Encoded(last[:, None], torch.tensor([1]), last, tuple)
    counts, divisor = torch.tensor([[[6.0], [0.0]]]), torch.tensor([[4.0]])
    extra = {"offset": torch.zeros(1, 1), "divisor": divisor}
    batch = Batch(torch.zeros(1, 1, 1), torch.tensor([1]), counts / divisor, extra=extra)
    parameters = head.parameters_of(encoded)[0].detach().double()
    parameters[:, 0] *= 4.0
    expected = sum(float(head.family.nats(parameters[k], counts[0, k, 0].double())) for k in range(2))
    assert float(head.loss(encoded, batch)[0].detach()) == pytest.approx(expected, rel=1e-5)
    prediction = head.predict(encoded, batch)[0]
    assert prediction.value == pytest.approx(parameters[:, 0].tolist(), rel=1e-5)
    assert all(q == int(q) for values in prediction.scores["quantiles"].values() for q in values)
    assert all(draw == int(draw) >= 0 for draw in head.sample(encoded, batch, np.random.default_rng(0))[0])


def test_counts_refuse_what_is_shifted_or_below_zero() -> None:
    scalings = (Scaling("last"), Scaling("nothing", "mean", (12,)))
    for target in (Values().fit([1.0, 2.0]), *(NextValues(2).of(Vectors(1, scaling=scaling)) for scaling in scalings)):
        with pytest.raises(UsageError, match="counts"):
            regress(5, target, None, loss="poisson")
    steps = torch.zeros(1, 1, 5)
    batch = Batch(torch.zeros(1, 1, 1), torch.tensor([1]), torch.tensor([[-1.0]]), ids=["a.csv:3"])
    head = regress(5, Values(standardise=False), None, loss="poisson")
    with pytest.raises(DataError, match=r"a\.csv:3.*below zero"):
        head.loss(Encoded(steps, torch.tensor([1]), steps[:, 0], tuple), batch)


class TestQuantiles(HeadConformance):
    head: ClassVar[Any] = {"use": "regress", "loss": "quantiles", "quantiles": [0.1, 0.5, 0.9]}
    encoders = ({"use": "lstm", "hidden": 12},)


class TestStudentT(HeadConformance):
    head: ClassVar[Any] = {"use": "regress", "loss": "student_t"}
    encoders = ({"use": "gru", "hidden": 8, "bidirectional": True},)


class TestMixture(HeadConformance):
    head: ClassVar[Any] = {"use": "regress", "loss": "mixture", "components": 2}
    encoders = ({"use": "gru", "hidden": 8},)
