"""The seasonal pattern of a sequence of numbers, number by number."""

from __future__ import annotations

import numpy as np


def seasonal_pattern(values: np.ndarray, season: int) -> np.ndarray:
    """(m,) from (T,): by the words of `Scaling.measure_seasons`, for sequences without missing numbers."""
    count = len(values) // season
    if count < 2:
        return np.zeros(season)
    seasons = values[len(values) - count * season :].astype(np.float64).reshape(count, season)
    deviations = [[value - sum(row) / season for value in row] for row in seasons]
    pattern = [sum(row[place] for row in deviations) / count for place in range(season)]
    within = sum((row[place] - pattern[place]) ** 2 for row in deviations for place in range(season))
    within /= (count - 1) * (season - 1)
    between = sum(value**2 for value in pattern) / (season - 1)
    return np.array(pattern) * max(0.0, 1.0 - within / count / between)
