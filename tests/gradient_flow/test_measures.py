"""Numbers about memory through time, against loops that are written from their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from seqkit.gradient_flow import measures
from seqkit.kernels import DirectionPass

PROFILES = [
    np.array([1.0]),
    np.array([1.0, 0.5, 0.25, 0.125, 0.0625]),
    0.9 ** np.arange(200),
    np.ones(50),
    1.1 ** np.arange(40),
    np.array([0.0, 0.0, 1.0, 0.0]),
    np.array([1.0, 0.001, 0.5, 0.001, 0.002]),
]


@pytest.mark.parametrize("gradient", PROFILES, ids=range(len(PROFILES)))
def test_effective_memory_is_the_smallest_distance_that_holds_95_percent(gradient: np.ndarray) -> None:
    distance = measures.effective_memory(gradient)
    assert gradient[: distance + 1].sum() >= 0.95 * gradient.sum() * (1 - 1e-9)
    assert distance == 0 or gradient[:distance].sum() < 0.95 * gradient.sum()


@pytest.mark.parametrize("gradient", PROFILES, ids=range(len(PROFILES)))
def test_a_gradient_vanishes_where_it_stays_below_a_hundredth(gradient: np.ndarray) -> None:
    within = measures.vanishes_within(gradient)
    expected = [d for d in range(len(gradient)) if all(value < 0.01 * gradient[0] for value in gradient[d:])]
    assert within == (expected[0] if expected else None)


@pytest.mark.parametrize("gradient", PROFILES, ids=range(len(PROFILES)))
def test_a_window_cuts_what_lies_before_its_beginning(gradient: np.ndarray) -> None:
    cut = measures.cut_by_window(gradient)
    for window in range(1, len(gradient) + 1):
        shares = [gradient[position + 1 :].sum() / gradient.sum() for position in range(window)]
        assert cut[window - 1] == pytest.approx(sum(shares) / window, abs=1e-12)
    enough = measures.window_enough(gradient)
    fitting = [window for window in range(1, len(gradient) + 1) if cut[window - 1] <= 0.05]
    assert enough == (fitting[0] if fitting else None)


def test_no_gradient_at_all_is_no_memory() -> None:
    nothing = np.zeros(9)
    assert measures.effective_memory(nothing) == 0
    assert measures.growth(nothing) == 1.0
    assert not measures.cut_by_window(nothing).any()


def test_growth_is_the_largest_over_the_first() -> None:
    assert measures.growth(np.array([2.0, 1.0, 9.0])) == 4.5
    assert measures.growth(np.array([0.0, 1.0])) == math.inf


@pytest.mark.parametrize("longest", [0, 1, 31, 32, 33, 100, 1000])
def test_bins_cover_every_distance_once(longest: int) -> None:
    edges = measures.bins(longest)
    assert edges[: min(33, longest + 1)] == list(range(min(33, longest + 1)))
    assert edges == sorted(set(edges))
    assert edges[-1] <= longest
    values = np.arange(longest + 1, dtype=float)
    ends = [*edges[1:], longest + 1]
    assert measures.bin_means(values) == pytest.approx([(a + b - 1) / 2 for a, b in zip(edges, ends, strict=True)])


def test_distances_are_counted_from_the_step_of_each_row_in_its_direction() -> None:
    norms = torch.tensor([[1.0, 2.0, 3.0, 0.0], [5.0, 7.0, 0.0, 0.0]])
    lengths = torch.tensor([3, 2])
    back, counts = measures.mean_by_distance([norms], [torch.tensor([2, 0])], lengths, ["forward"])
    assert back.tolist() == [(3 + 5) / 2, 2, 1]
    assert counts.tolist() == [2, 1, 1]
    ahead, counts = measures.mean_by_distance([norms], [torch.tensor([0, 0])], lengths, ["backward"])
    assert ahead.tolist() == [(1 + 5) / 2, (2 + 7) / 2, 3]
    assert counts.tolist() == [2, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("kind", ["normal", "orthogonal", "scaled", "nilpotent", "zero"])
def test_the_spectral_radius_is_the_largest_absolute_eigenvalue(size: int, kind: str) -> None:
    torch.manual_seed(size)
    matrix = torch.randn(size, size) / size**0.5
    if kind in ("orthogonal", "scaled"):
        torch.nn.init.orthogonal_(matrix)
        matrix = matrix * (0.3 if kind == "scaled" else 1.0)
    matrix = matrix.triu(1) if kind == "nilpotent" else matrix * (kind != "zero")
    expected = 0.0 if kind == "nilpotent" else float(torch.linalg.eigvals(matrix.double()).abs().max())
    assert measures.spectral_radius(matrix) == pytest.approx(expected, rel=5e-3, abs=1e-6)


def cell(kind: Any, gates: torch.Tensor, h: torch.Tensor) -> DirectionPass:
    return DirectionPass(kind, False, torch.eye(h.shape[1]), None, gates, None, h, None)


def test_half_life_is_when_half_is_gone() -> None:
    """A forget gate that is always 1/2 keeps half for one step; one of 0.9 for 6.58 steps."""
    forget = torch.tensor([[0.5, 0.9], [0.5, 0.9], [0.5, 0.9]])
    gates = torch.cat([torch.zeros(3, 2), forget, torch.zeros(3, 4)], dim=1)
    by_unit = measures.half_life(cell("lstm", gates, torch.zeros(3, 2)))
    assert by_unit is not None
    assert by_unit.tolist() == pytest.approx([1.0, math.log(0.5) / math.log(0.9)], rel=1e-5)
    update = torch.cat([torch.zeros(3, 2), forget, torch.zeros(3, 2)], dim=1)
    of_gru = measures.half_life(cell("gru", update, torch.zeros(3, 2)))
    assert of_gru is not None
    assert torch.equal(of_gru, by_unit)
    assert measures.half_life(cell("tanh", torch.zeros(3, 2), torch.zeros(3, 2))) is None


def test_saturation_counts_gates_at_both_ends_and_activations_at_their_limits() -> None:
    gates = torch.tensor([[0.05, 0.5, 0.97, 0.5], [0.95, 0.02, -0.99, 0.5]])
    shares = measures.saturation(cell("lstm", gates, torch.zeros(2, 1)))
    assert shares == {"input": [0.5, 0.5], "forget": [0.5, 0.0], "candidate": 1.0, "output": [0.0, 0.0]}
    h = torch.tensor([[0.96, 0.0], [-0.99, 0.5]])
    assert measures.saturation(cell("tanh", h, h)) == {"state": 0.5}
    assert measures.saturation(cell("relu", h, h.relu())) == {"state": 0.5}
