"""Numbers about memory through time: pure functions of gradient norms, gates and recurrent matrices.

docs/memory.md defines each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seqkit.gradient_flow.trace import DIRECTIONS, LayerTrace, Trace
from seqkit.kernels import DirectionPass

HELD = 0.95
"""The share of the gradient that the effective memory holds."""
VANISHED = 0.01
"""Below this share of the gradient at distance 0, nothing to speak of arrives."""
CUT = 0.05
"""The share of the gradient that a window long enough may cut."""

GATES = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
    "tanh": ("state",),
    "relu": ("state",),
}
"""The gates of each kind of cell, in torch's order."""

_SQUARINGS = 8
"""With so many, the radius of a random matrix of 512 rows is right to 0.1 %."""

SINGLE_BINS, BINS_AN_OCTAVE = 32, 8
"""Distances up to the first have a bin each; beyond them each doubling has so many."""


def mean_by_distance(
    norms: Sequence[Tensor], steps: Sequence[Tensor], lengths: Tensor, directions: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The mean norm at each distance over the sequences that reach so far back, and how many those are.

    Args:
        norms: (R, T) for each direction.
        steps: (R,) for each direction the step from which distances are counted.
        lengths: (R,).
        directions: `forward`: distances go back in time; `backward`: ahead.

    Returns:
        (K,) means and (K,) counts, K - 1 being the longest distance.
    """
    columns = []
    for of_direction, anchors, direction in zip(norms, steps, directions, strict=True):
        for row, step, length in zip(of_direction.double().numpy(), anchors.tolist(), lengths.tolist(), strict=True):
            columns.append(row[step::-1] if direction == "forward" else row[step:length])
    longest = max(map(len, columns))
    sums, counts = np.zeros(longest), np.zeros(longest, dtype=np.int64)
    for column in columns:
        sums[: len(column)] += column
        counts[: len(column)] += 1
    return sums / counts, counts


def gradient_by_distance(trace: Trace, layers: Sequence[LayerTrace]) -> np.ndarray:
    """(K,) the mean norm of the gradient at each distance, over these layers together."""
    directions = [direction for direction in DIRECTIONS if any(layer.direction == direction for layer in layers)]
    norms = [
        torch.stack([layer.norms.square() for layer in layers if layer.direction == direction]).sum(dim=0).sqrt()
        for direction in directions
    ]
    steps = [trace.steps[direction] for direction in directions]
    return mean_by_distance(norms, steps, trace.lengths, directions)[0]


def effective_memory(gradient: np.ndarray) -> int:
    """(K,) by distance -> the smallest distance up to which at least 95 % of the sum is."""
    total = gradient.sum()
    if not total > 0:
        return 0
    return int(np.searchsorted(gradient.cumsum(), HELD * total * (1 - 1e-12)))


def vanishes_within(gradient: np.ndarray) -> int | None:
    """(K,) by distance -> from which distance on it is below 1 % of that at distance 0; None: it never is."""
    remaining = np.flatnonzero(gradient >= VANISHED * gradient[0])
    first = int(remaining[-1]) + 1 if len(remaining) else 0
    return first if first < len(gradient) else None


def growth(gradient: np.ndarray) -> float:
    """(K,) by distance -> the largest over that at distance 0."""
    return float(gradient.max() / gradient[0]) if gradient[0] > 0 else math.inf if gradient.any() else 1.0


def cut_by_window(gradient: np.ndarray) -> np.ndarray:
    """(K,) by distance -> (K,) the share that windows of 1, 2, ... K steps cut, as far as it was measured.

    At position p of a window, counted from 0, the gradient reaches back p steps. The share is the mean over positions.
    """
    total = gradient.sum()
    if not total > 0:
        return np.zeros(len(gradient))
    beyond = 1.0 - gradient.cumsum() / total
    return np.asarray(beyond.cumsum() / np.arange(1, len(gradient) + 1))


def window_enough(gradient: np.ndarray) -> int | None:
    """The shortest window that cuts no more than 5 %; None if none that was looked at does."""
    enough = np.flatnonzero(cut_by_window(gradient) <= CUT)
    return int(enough[0]) + 1 if len(enough) else None


def bins(longest: int) -> list[int]:
    """The first distance of each bin, for distances 0 to `longest`."""
    edges = list(range(min(SINGLE_BINS, longest) + 1))
    step = 1
    while (edge := round(SINGLE_BINS * 2 ** (step / BINS_AN_OCTAVE))) <= longest:
        edges.append(edge)
        step += 1
    return edges


def bin_means(gradient: np.ndarray) -> list[float]:
    """(K,) by distance -> the mean of each bin."""
    firsts = np.array(bins(len(gradient) - 1))
    counts = np.diff(firsts, append=len(gradient))
    means: list[float] = (np.add.reduceat(gradient, firsts) / counts).tolist()
    return means


def half_life(run: DirectionPass) -> Tensor | None:
    """(H,) steps in which half of what a unit holds is gone, by the mean logarithm of what its gate keeps.

    None for a cell without such a gate.
    """
    number = {"lstm": 1, "gru": 1}.get(run.kind)
    if number is None:
        return None
    kept = run.gates.chunk(len(GATES[run.kind]), dim=1)[number]
    return -math.log(2) / kept.double().clamp(1e-12, 1 - 1e-12).log().mean(dim=0)


def half_life_quantiles(run: DirectionPass) -> list[float] | None:
    """The 0 %, 5 %, ... 100 % quantiles of `half_life` over the units."""
    by_unit = half_life(run)
    if by_unit is None:
        return None
    points = torch.linspace(0, 1, 21, dtype=torch.float64)
    return [float(value) for value in torch.quantile(by_unit, points)]


def saturation(run: DirectionPass) -> dict[str, list[float] | float]:
    """For each gate the shares of its values below 0.1 and above 0.9; for activations one share.

    That is of values beyond 0.95 of a tanh, and of zeros of a relu. `state` of an LSTM is tanh(c).
    """
    if run.kind in ("tanh", "relu"):
        return {"state": _share(run.h.abs() > 0.95 if run.kind == "tanh" else run.h <= 0)}
    shares: dict[str, list[float] | float] = {}
    for name, values in zip(GATES[run.kind], run.gates.chunk(len(GATES[run.kind]), dim=1), strict=True):
        if name == "candidate":
            shares[name] = _share(values.abs() > 0.95)
        else:
            shares[name] = [_share(values < 0.1), _share(values > 0.9)]
    if run.memory is not None and run.kind == "lstm":
        shares["state"] = _share(run.memory.tanh().abs() > 0.95)
    return shares


def _share(is_true: Tensor) -> float:
    return float(is_true.double().mean())


def spectral_radius(matrix: Tensor) -> float:
    """(H, H) -> its largest absolute eigenvalue, by repeated squaring (Gelfand 1941).

    The norm of a matrix to the power 2^k grows like the radius to that power; the ratio of two such norms leaves out
    what is not growth. For the sizes of recurrent layers that is several times faster than all eigenvalues.
    """
    power, log_scale, log_norms = matrix.detach().float(), 0.0, [0.0]
    for number in range(_SQUARINGS + 1):
        if number:
            power, log_scale = power @ power, 2 * log_scale
        norm = float(torch.linalg.matrix_norm(power))
        if not norm > 0 or not math.isfinite(norm):
            return norm
        power, log_scale = power / norm, log_scale + math.log(norm)
        log_norms.append(log_scale)
    return math.exp((log_norms[-1] - log_norms[-2]) / 2 ** (_SQUARINGS - 1))


def spectral_radii(run: DirectionPass) -> dict[str, float]:
    """The spectral radius of each gate's recurrent matrix."""
    names = GATES[run.kind]
    return {
        name: spectral_radius(matrix) for name, matrix in zip(names, run.weights.chunk(len(names), dim=0), strict=True)
    }
