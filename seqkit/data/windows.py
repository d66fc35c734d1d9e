"""Windows of stored series as inputs, with the steps after each as its target, and sequences scaled by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqkit.data.store import Column, Split
from seqkit.fields import NextValues, Scaling, Vectors
from seqkit.fields.scaling import seasons_at
from seqkit.fields.vectors import count_future
from seqkit.lazy_sequence import LazySequence
from seqkit.types import Index

UNLABELLED: Final = "predict"
"""The name of a split of new inputs: each series has one window, its last steps, and nothing after it."""


def cut_windows(split: Split, name: str, target: NextValues) -> Split:
    """The split with a window for each example instead of a whole series. Nothing of the series is copied.

    Args:
        split: whole series; windows stay as they are.
        name: of the split; train and dev take every `stride`-th window, others take all.
        target: which windows.
    """
    column = split.x
    if column.stops is not None or column.offsets is None:
        return split
    starts, lengths = column.offsets[:-1], column.lengths
    if name == UNLABELLED:
        # With covariates, a new series goes on to the end of what is predicted.
        series, ends = np.arange(len(lengths)), lengths - (target.horizon if target.knows_future else 0)
    else:
        stride = target.stride if name in ("train", "dev") else 1
        shortest = target.shortest if name == "train" else None
        ends_of = [_ends(int(length), target, shortest, stride) for length in lengths]
        series = np.repeat(np.arange(len(lengths)), [len(ends) for ends in ends_of])
        ends = np.concatenate([np.zeros(0, np.int64), *ends_of])
    stops = starts[series] + ends
    begins = starts[series]
    windows = Column(column.data, np.maximum(begins, stops - target.history), stops, begins)
    ids = split.ids if name == UNLABELLED else WindowIds(split.ids, series, ends)
    return replace(split, x=windows, ids=ids, origin=np.arange(len(stops)), shard_ends=None)


def _ends(length: int, target: NextValues, shortest: int | None, stride: int) -> Index:
    """(n,) how many steps of a series come before each forecast, rising; at least one, if the series is long enough."""
    last = length - target.horizon
    first = min(target.reach if shortest is None else shortest, last)
    if first < 1:
        return np.zeros(0, dtype=np.int64)
    return np.arange(last, first - 1, -stride, dtype=np.int64)[::-1]


@final
class WindowIds(LazySequence[str]):
    """Ids of windows, made on access: `H1+960` is what comes after the first 960 steps of series H1."""

    def __init__(self, ids: Sequence[str], series: Index, ends: Index) -> None:
        self._ids, self._series, self._ends = ids, series, ends

    def __len__(self) -> int:
        return len(self._ends)

    def item(self, i: int) -> str:
        return f"{self._ids[int(self._series[i])]}+{int(self._ends[i])}"


def next_rows(column: Column, index: Index, target: NextValues) -> Tensor:
    """(B, H, C) the values after each of these windows."""
    assert column.stops is not None, "a series is cut into windows first"
    rows = column.data[column.stops.take(index)[:, None] + np.arange(target.horizon)][..., : target.channels]
    return torch.from_numpy(rows.astype(np.float32, copy=False))


def read_ahead(
    source: Vectors, target: NextValues, column: Column, index: Index, y: Tensor | None, *, steps: int = 0
) -> tuple[NDArray[np.float32], Index, Tensor | None, dict[str, Tensor]]:
    """Windows with covariates and lags, which go on to the end of what is predicted: see `Vectors`.

    Args:
        source: the field; it says which channels are covariates, and how the values of a window are scaled.
        target: how many steps are predicted.
        column: the windows.
        index: (B,) which of them.
        y: (B, H, C) next values; None: there are none.
        steps: the least padded length.

    Returns:
        Inputs (B, T + H, D') float32, padded with zeros; their lengths (B,); `y` scaled as the inputs are; and the
        `extra` of the batch that undoes it.
    """
    assert column.offsets is not None
    assert column.stops is not None
    assert column.begins is not None
    begins, starts, stops = (bounds.take(index)[:, None] for bounds in (column.begins, column.offsets, column.stops))
    lengths = (stops - starts)[:, 0] + target.horizon
    times = starts + np.arange(max(int(lengths.max()), steps))
    is_real = times < stops + target.horizon

    def values_at(rows: Index, is_known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(B, T + H, C) the values of these rows; NaN for those that are not known."""
        values = column.data[np.clip(rows, 0, len(column.data) - 1)][..., : source.channels].astype(np.float32)
        values[~is_known] = np.nan
        return values

    history = values_at(times, times < stops)
    channels = [
        history,
        *(values_at(times - lag, (times - lag >= begins) & (times - lag < stops)) for lag in source.lags),
    ]
    extra: dict[str, Tensor] = {}
    if source.scaling is not None:
        offset, divisor = source.scaling.measure(history, lengths - target.horizon)
        channels = [((values - offset[:, None]) / divisor[:, None]).astype(np.float32) for values in channels]
        patterns = source.scaling.measure_seasons(channels[0], lengths - target.horizon)
        for number, lag in enumerate((0, *source.lags) if patterns else ()):
            seasonal = seasons_at(patterns, times - stops - lag)
            channels[number] = (channels[number] - seasonal).astype(np.float32)
        y, extra = _scale_next(offset, divisor, patterns, y, target.horizon)
    if source.covariates:
        channels.append(column.data[np.clip(times, 0, len(column.data) - 1)][..., source.channels :].astype(np.float32))
    x = np.concatenate(channels, axis=-1)
    x = source.mark_missing(x) if source.missing else np.nan_to_num(x, copy=False)
    x = np.concatenate([x, (times >= stops)[..., None]], axis=-1, dtype=np.float32)
    x[~is_real] = 0.0
    return x, lengths, y, extra


def check_future(rows: NDArray[Any], target: NextValues) -> None:
    """Refuse a new series whose covariates do not go on to the end of what is predicted; others have nothing to know.

    Args:
        rows: (T, D) encoded.
        target: how many steps are predicted.

    Raises:
        ValueError: it ends with another number of steps that have covariates and no values.
    """
    if not target.knows_future:
        return
    count = count_future(rows[:, : target.channels])
    if count != target.horizon or count == len(rows):
        raise ValueError(
            f"ends with {count} steps that have covariates but no values, and {target.horizon} are predicted: give the "
            "covariates of these, and leave their values out"
        )


def scale_rows(
    scaling: Scaling, x: NDArray[Any], lengths: Index, y: Tensor | None, *, horizon: int = 0
) -> tuple[NDArray[Any], Tensor | None, dict[str, Tensor]]:
    """Inputs and next values, scaled, and the `extra` of a batch that undoes it: see `Batch`.

    Args:
        scaling: how.
        x: (B, T, C) rows, zero past the end of each sequence, and so they stay.
        lengths: (B,).
        y: (B, H, C) next values; None: there are none.
        horizon: H, if next values are the target.
    """
    offset, divisor = (array.astype(np.float32) for array in scaling.measure(x, lengths))
    is_real = np.arange(x.shape[1])[:, None] < lengths[:, None, None]
    scaled = np.where(is_real, (x - offset[:, None]) / divisor[:, None], np.float32(0.0))
    patterns = scaling.measure_seasons(scaled, lengths)
    if patterns:
        seasonal = seasons_at(patterns, np.arange(x.shape[1]) - lengths[:, None])
        scaled = np.where(is_real, scaled - seasonal, 0.0).astype(np.float32)
    y, extra = _scale_next(offset, divisor, patterns, y, horizon)
    return scaled, y, extra


def _scale_next(
    offset: NDArray[Any], divisor: NDArray[Any], patterns: Sequence[NDArray[Any]], y: Tensor | None, horizon: int
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Next values (B, H, C), scaled, and the `extra` of a batch that undoes it."""
    divide, shift = torch.from_numpy(divisor.astype(np.float32)), torch.from_numpy(offset.astype(np.float32))
    y = None if y is None else (y - shift[:, None]) / divide[:, None]
    if patterns and horizon:
        seasonal = torch.from_numpy(seasons_at(patterns, np.arange(horizon)).astype(np.float32))
        y = None if y is None else y - seasonal
        shift = shift[:, None] + divide[:, None] * seasonal
    return y, {"offset": shift, "divisor": divide}
