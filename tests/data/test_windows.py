"""Windows of stored series, and sequences scaled by themselves, against slices and formulas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.fields import NextValues, Scaling, Vectors
from seqkit.types import Example, Task
from tests.reference.seasons import seasonal_pattern

SERIES = {"a": 9, "b": 4, "c": 3, "d": 12}


def rows(name: str, steps: int) -> np.ndarray:
    return np.random.default_rng(ord(name)).normal(size=(steps, 2)).astype(np.float32) * 10 + 3


def make(
    tmp_path: Path, input: Vectors, target: NextValues, splits: tuple[str, ...] = ("train", "dev", "test")
) -> TaskData:
    def read(split: str) -> Iterator[Example]:
        for name, steps in SERIES.items():
            yield Example(rows(name, steps), None, name)

    task = Task(read=read, input=input, target=target, head="regress", best="loss", splits=splits)
    prepared = store.prepare(task, key={}, cache=tmp_path)
    return TaskData("t", task, prepared.input, prepared.target, prepared.splits)


def expected_windows(target: NextValues, split: str = "train") -> list[tuple[str, int, int]]:
    """(series, first step, step after the last) of each window, by the words of the docstring."""
    windows = []
    for name, steps in SERIES.items():
        shortest = target.history if target.shortest is None or split != "train" else target.shortest
        last = steps - target.horizon
        ends = []
        end = last
        while end >= min(shortest, last) and end >= 1:
            ends.append(end)
            end -= 1 if split == "test" else target.stride
        windows += [(name, max(0, end - target.history), end) for end in sorted(ends)]
    return windows


@pytest.mark.parametrize(("shortest", "stride"), [(None, 1), (1, 1), (2, 3)])
def test_windows_are_slices_of_the_series_with_what_comes_next(tmp_path: Path, shortest: Any, stride: int) -> None:
    target = NextValues(3, history=4, shortest=shortest, stride=stride)
    data = make(tmp_path, Vectors(2), target)
    for split in ("train", "dev", "test"):
        windows = expected_windows(target, split)
        stored = data.splits[split]
        assert list(stored.ids) == [f"{name}+{end}" for name, _, end in windows]
        assert len(stored.origin) == len(windows)
        batch = data.batch(split, np.arange(len(windows)))
        assert batch.y is not None
        targets = data.targets(split)
        for row, (name, first, end) in enumerate(windows):
            series = rows(name, SERIES[name])
            length = int(batch.lengths[row])
            assert torch.equal(batch.x[row, :length], torch.from_numpy(series[first:end]))
            assert not batch.x[row, length:].any()
            assert torch.equal(batch.y[row], torch.from_numpy(series[end : end + 3]))
            assert np.array_equal(np.array(targets[row], dtype=np.float32), series[end : end + 3])


def test_series_that_are_too_short_for_a_forecast_have_no_window(tmp_path: Path) -> None:
    data = make(tmp_path, Vectors(2), NextValues(3, history=4))
    assert not [id for id in data.splits["dev"].ids if id.startswith("c")]


def test_windows_share_the_stored_rows(tmp_path: Path) -> None:
    data = make(tmp_path, Vectors(2), NextValues(1, history=8, shortest=1))
    column = data.splits["train"].x
    assert len(column) > len(SERIES)
    assert len(column.data) == sum(SERIES.values())
    assert np.shares_memory(column[0], column.data)


def test_a_new_series_has_one_window_its_last_steps(tmp_path: Path) -> None:
    data = make(tmp_path, Vectors(2), NextValues(3, history=4))
    split = store.memory_split([Example(rows("a", 9), None, "a"), Example(rows("b", 2), None, "b")], data.input)
    batch = TaskData("t", data.task, data.input, data.target, {"predict": split}).batch("predict", np.arange(2))
    assert batch.y is None
    assert batch.lengths.tolist() == [4, 2]
    assert torch.equal(batch.x[0], torch.from_numpy(rows("a", 9)[5:]))
    assert list(batch.ids) == ["a", "b"]


def by_hand(scaling: Scaling, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = values.astype(np.float64)
    weights = (1.0 - scaling.smoothing) ** np.arange(len(values))[::-1]
    offset = {
        "nothing": 0.0 * values[0],
        "mean": values.mean(axis=0),
        "last": values[-1],
        "smoothed": np.average(values, axis=0, weights=weights),
    }[scaling.subtract]
    divisor = {
        "nothing": np.ones(values.shape[1]),
        "mean": np.abs(values).mean(axis=0),
        "deviation": values.std(axis=0),
    }[scaling.divide_by]
    return offset, np.where(divisor == 0.0, 1.0, divisor)


@pytest.mark.parametrize("subtract", ["nothing", "mean", "last", "smoothed"])
@pytest.mark.parametrize("divide_by", ["nothing", "mean", "deviation"])
def test_each_window_is_scaled_by_its_own_rows(tmp_path: Path, subtract: Any, divide_by: Any) -> None:
    scaling = Scaling(subtract, divide_by)
    target = NextValues(3, history=4, shortest=2)
    data = make(tmp_path, Vectors(2, scaling=scaling), target)
    batch = data.batch("train", np.arange(len(data.splits["train"])))
    assert batch.y is not None
    for row, (name, first, end) in enumerate(expected_windows(target)):
        series = rows(name, SERIES[name])
        offset, divisor = by_hand(scaling, series[first:end])
        length = int(batch.lengths[row])
        assert np.allclose(batch.x[row, :length], (series[first:end] - offset) / divisor, atol=1e-5)
        assert np.allclose(batch.y[row], (series[end : end + 3] - offset) / divisor, atol=1e-5)
        assert not batch.x[row, length:].any()
        back = batch.x[row, :length] * batch.extra["divisor"][row] + batch.extra["offset"][row]
        assert np.allclose(back, series[first:end], atol=1e-4)


def test_scaling_does_not_depend_on_padding_or_batch_to_the_last_bit() -> None:
    dice = np.random.default_rng(0)
    lengths = np.array([900, 3, 517])
    x = dice.normal(size=(3, 900, 1)).astype(np.float32)
    x[np.arange(900) >= lengths[:, None]] = 0.0
    for scaling in (Scaling("mean", "mean"), Scaling("smoothed", "deviation")):
        offset, divisor = scaling.measure(x, lengths)
        for row, length in enumerate(lengths):
            alone = scaling.measure(x[row : row + 1, :length], lengths[row : row + 1])
            assert np.array_equal(alone[0][0], offset[row])
            assert np.array_equal(alone[1][0], divisor[row])


def test_a_constant_sequence_is_divided_by_one() -> None:
    x = np.full((1, 5, 1), 7.3, dtype=np.float32)
    offset, divisor = Scaling("mean", "deviation").measure(x, np.array([5]))
    assert divisor.tolist() == [[1.0]]
    assert offset[0, 0] == pytest.approx(7.3, rel=1e-6)


@pytest.mark.parametrize("subtract", ["mean", "last", "smoothed"])
def test_missing_numbers_are_zeros_that_are_marked_and_do_not_count(tmp_path: Path, subtract: Any) -> None:
    values = np.array([[1.0, 5.0], [np.nan, 7.0], [3.0, np.nan], [8.0, 2.0], [np.nan, 4.0]])

    def read(split: str) -> Iterator[Example]:
        yield Example(values, None, "a")

    field = Vectors(2, scaling=Scaling(subtract, "mean", smoothing=0.5), missing=True)
    task = Task(read=read, input=field, target=NextValues(1, history=3), head="", best="loss", splits=("train",))
    prepared = store.prepare(task, key={}, cache=tmp_path)
    batch = TaskData("t", task, prepared.input, prepared.target, prepared.splits).batch("train", np.array([0, 1]))
    offsets = {
        "mean": [[2.0, 6.0], [5.5, 4.5]],
        "last": [[3.0, 7.0], [8.0, 2.0]],
        "smoothed": [
            [(0.25 * 1 + 3) / 1.25, (0.25 * 5 + 0.5 * 7) / 0.75],
            [(0.5 * 3 + 8) / 1.5, (0.25 * 7 + 2) / 1.25],
        ],
    }[subtract]
    assert batch.extra["offset"].numpy() == pytest.approx(np.array(offsets), rel=1e-6)
    assert batch.extra["divisor"].tolist() == [[2.0, 6.0], [5.5, 4.5]]
    assert batch.x[0, :, 2:].tolist() == [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    assert batch.x[0, 1, 0] == 0.0
    assert batch.x[0, 2, 0] == pytest.approx((3.0 - offsets[0][0]) / 2.0)
    assert batch.y is not None
    assert batch.y[0, 0].tolist() == pytest.approx([(8 - offsets[0][0]) / 2, (2 - offsets[0][1]) / 6])
    assert bool(batch.y[1, 0, 0].isnan())


def test_a_number_may_be_missing_only_where_the_field_says_so() -> None:
    with pytest.raises(ValueError, match="finite"):
        Vectors(1).encode([[1.0], [float("nan")]])
    fitted = Vectors(1, standardise=True, missing=True).fit([[[1.0], [float("nan")], [3.0]]])
    assert fitted.encode([[2.0], [float("nan")]])[0, 0] == 0.0


def test_the_width_of_vectors_may_come_from_the_data() -> None:
    fitted = Vectors(standardise=True).fit(iter([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 4.0]]]))
    assert fitted.size == 2
    assert Vectors(standardise=True).restore(fitted.state()) == fitted
    assert fitted.encode([[3.0, 4.0]]).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match=r"\(steps, 2\)"):
        fitted.encode([[1.0]])
    with pytest.raises(ValueError, match="no value at all"):
        Vectors().fit([])


def seasonal_rows(steps: int, seed: int = 0) -> np.ndarray:
    """(T, 2): one channel with a season of 4 steps and one with none."""
    dice = np.random.default_rng(seed)
    wave = np.array([3.0, -1.0, -4.0, 2.0])[np.arange(steps) % 4] + 50.0
    return np.stack([wave, np.full(steps, 20.0)], axis=1) + dice.normal(size=(steps, 2))


@pytest.mark.parametrize("subtract", ["nothing", "mean", "last", "smoothed"])
@pytest.mark.parametrize("seasons", [(4,), (4, 6), (3,)])
def test_seasons_are_taken_out_of_a_window_and_of_what_comes_next(
    tmp_path: Path, seasons: tuple[int, ...], subtract: Any
) -> None:
    def read(split: str) -> Iterator[Example]:
        yield Example(seasonal_rows(40), None, "a")
        yield Example(seasonal_rows(9, 1), None, "b")

    scaling = Scaling(subtract, "deviation", seasons, smoothing=0.3)
    field = Vectors(2, scaling=scaling)
    target = NextValues(5, history=22, shortest=3)
    task = Task(read=read, input=field, target=target, head="", best="loss", splits=("train",))
    prepared = store.prepare(task, key={}, cache=tmp_path)
    data = TaskData("t", task, prepared.input, prepared.target, prepared.splits)
    batch = data.batch("train", np.arange(len(data.splits["train"])))
    assert batch.y is not None
    for row, id in enumerate(batch.ids):
        name, _, end = id.partition("+")
        series = seasonal_rows(40) if name == "a" else seasonal_rows(9, 1)
        stop, first = int(end), max(0, int(end) - 22)
        offset, divisor = by_hand(scaling, series[first:stop].astype(np.float32))
        scaled = (series[first : stop + 5] - offset) / divisor
        length = stop - first
        for season in seasons:
            for channel in range(2):
                pattern = seasonal_pattern(scaled[:length, channel], season)
                scaled[:, channel] -= pattern[(np.arange(len(scaled)) - length) % season]
            scaled -= by_hand(scaling, scaled[:length])[0]  # the level is that of the rows without season
        assert np.allclose(batch.x[row, :length], scaled[:length], atol=1e-4)
        assert np.allclose(batch.y[row], scaled[length:], atol=1e-4)
        assert not batch.x[row, length:].any()
        back = batch.y[row] * batch.extra["divisor"][row] + batch.extra["offset"][row]
        assert np.allclose(back, series[stop : stop + 5], atol=1e-3)


def test_a_clear_season_is_taken_out_and_chance_is_not() -> None:
    x = seasonal_rows(40)[None]
    (pattern,) = Scaling(seasons=(4,)).measure_seasons(x, np.array([40]))
    assert np.abs(pattern[0, :, 0] - np.array([3.0, -1.0, -4.0, 2.0])).max() < 1.0
    noise = np.random.default_rng(5).normal(size=(200, 40, 1))
    (by_chance,) = Scaling(seasons=(4,)).measure_seasons(noise, np.full(200, 40))
    plain = noise.reshape(200, 10, 4).mean(axis=1)
    assert (by_chance[..., 0] ** 2).sum() < 0.3 * ((plain - plain.mean(axis=1, keepdims=True)) ** 2).sum()


def test_seasons_do_not_depend_on_padding_or_batch_to_the_last_bit() -> None:
    dice = np.random.default_rng(0)
    lengths = np.array([900, 3, 517, 60])
    x = dice.normal(size=(4, 900, 2)).astype(np.float32)
    scaling = Scaling("smoothed", seasons=(24, 7))
    patterns = scaling.measure_seasons(x, lengths)
    for row, length in enumerate(lengths):
        alone = scaling.measure_seasons(x[row : row + 1, :length], lengths[row : row + 1])
        assert all(np.array_equal(a[0], b[row]) for a, b in zip(alone, patterns, strict=True))


def test_missing_numbers_do_not_count_in_seasons() -> None:
    x = seasonal_rows(40)
    x[[3, 10, 31], 0] = np.nan
    (pattern,) = Scaling(seasons=(4,)).measure_seasons(x[None], np.array([40]))
    assert np.abs(pattern[0, :, 0] - np.array([3.0, -1.0, -4.0, 2.0])).max() < 1.0
    (none,) = Scaling(seasons=(4,)).measure_seasons(np.full((1, 40, 1), np.nan), np.array([40]))
    assert not none.any()


def test_a_season_has_two_steps_or_more() -> None:
    with pytest.raises(ValueError, match="at least 2 steps"):
        Scaling(seasons=(1,))
