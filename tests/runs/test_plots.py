"""Pictures: their colours and numbers, their size, and labels of any script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from seqkit import analysis
from seqkit.runs import canvas, plots
from seqkit.runs.canvas import number_texts
from seqkit.types import Prediction


def confusion(counts: list[list[int]] | np.ndarray, labels: list[str] | None = None) -> analysis.Confusion:
    matrix = np.asarray(counts)
    return analysis.Confusion(tuple(labels or [f"c{n}" for n in range(len(matrix))]), matrix, "examples")


def colors_of(pixels: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, pixels.reshape(-1, 3).tolist()))


def test_colour_is_the_share_of_the_row() -> None:
    pixels = plots.draw_confusion(confusion([[1000, 0, 0], [0, 3, 1], [0, 0, 0]]), shares=True)
    shown = colors_of(pixels)
    for share in (0.0, 0.25, 0.75, 1.0):
        assert tuple(canvas.BLUES(np.array(share)).tolist()) in shown
    assert tuple(canvas.BLUES(np.array(0.5)).tolist()) not in shown


def test_shares_and_counts_are_two_pictures_of_the_same_colours() -> None:
    matrix = confusion(np.eye(8, dtype=int) * 700 + 5)
    shares, counts = (plots.draw_confusion(matrix, shares=is_share) for is_share in (True, False))
    assert shares.shape[0] == counts.shape[0]
    width = min(shares.shape[1], counts.shape[1])
    differs = shares[:, :width] != counts[:, :width]
    assert 0 < differs.mean() < 0.08, "only the texts differ"


@pytest.mark.parametrize("classes", [0, 1, 2, 40, 41, 90])
def test_any_number_of_classes_can_be_drawn(classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 10**7, (classes, classes))
    pixels = plots.draw_confusion(confusion(counts), shares=False)
    assert pixels.dtype == np.uint8
    assert max(pixels.shape) < 1400


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9949, "9.9k"),
        (9999, "10k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (12_345_678, "12M"),
        (5 * 10**9, "5.0G"),
    ],
)
def test_counts_fit_into_a_cell(count: int, shown: str) -> None:
    assert plots.short_count(count) == shown


@pytest.mark.parametrize(("share", "shown"), [(1.0, "100"), (0.126, "13"), (0.004, "0.4"), (0.0004, "<1")])
def test_a_small_share_is_not_shown_as_none(share: float, shown: str) -> None:
    assert plots._percent(share) == shown


def test_labels_are_shown_as_far_as_a_font_has_their_letters() -> None:
    assert canvas.label_text("negative", 0) == "negative"
    assert canvas.label_text("a\nb  c", 0) == "a b c"
    assert canvas.label_text("", 0) == "''"
    assert len(canvas.label_text("x" * 100, 0)) == 18
    for label in ("Português", "русский", "日本語", "\U0001f600", "\x1b[31m"):
        shown = canvas.label_text(label, 7)
        assert shown == "#7" or canvas.can_draw(shown)
    assert canvas.label_text("\U000f0000", 7) == "#7"


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.0, 0.03), (-5.0, 7.0), (0.0, 123456.0), (0.2, 0.21), (3.0, 3.0)]
)
def test_ticks_are_round_and_within_the_axis(low: float, high: float) -> None:
    ticks = canvas.Axis("x", low, high).ticks()
    assert 1 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert all(len(canvas.number_text(tick)) <= 6 for tick in ticks)


def predictions() -> tuple[list[Prediction], list[str]]:
    rng = np.random.default_rng(0)
    probabilities = rng.random(300)
    targets = ["y" if rng.random() < p else "n" for p in probabilities]
    return [
        Prediction("y" if p >= 0.5 else "n", max(p, 1 - p), {"n": 1 - p, "y": p}) for p in probabilities.tolist()
    ], targets


def draw_curves(*, roc: bool) -> np.ndarray:
    find = analysis.roc_curves if roc else analysis.precision_recall_curves
    return plots.draw_curves(find(*predictions()), roc=roc, title="t")


def draw_calibration() -> np.ndarray:
    result = analysis.calibration(*predictions())
    assert result is not None
    return plots.draw_calibration(result)


def draw_score_by_length(score: float) -> np.ndarray:
    groups = [analysis.LengthScore(1, 4, 90, score), analysis.LengthScore(5, 5, 1, float("nan"))]
    return plots.draw_score_by_length([*groups, analysis.LengthScore(6, 40, 3, score / 2)], "score")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_curves(roc=True),
        lambda: draw_curves(roc=False),
        draw_calibration,
        lambda: draw_score_by_length(0.7),
        lambda: draw_score_by_length(38.5),
        lambda: draw_score_by_length(-2.2),
        lambda: draw_score_by_length(0.0),
        lambda: plots.draw_lengths(analysis.length_histogram([1, 2, 2, 9, 30], 9)),
        lambda: plots.draw_lengths(analysis.length_histogram([7])),
        lambda: plots.draw_scores(np.array([[1.0, np.nan], [-2.0, 0.0]]), ["a", "b"], ["a", "b"]),
        lambda: plots.draw_weights(np.eye(3, 5), list("abc"), list("defgh")),
        lambda: plots.draw_map(np.arange(12.0).reshape(3, 4)),
        lambda: plots.draw_drawings([[[(0, 0), (1, 2), (-1, 3)], [(5, 5)]]] * 5, list("abcde"), title="drawn"),
        lambda: plots.draw_map(np.full((2, 2), np.nan)),
    ],
)
def test_every_picture_can_be_read_on_a_card(draw: Callable[[], np.ndarray]) -> None:
    pixels = draw()
    height, width, channels = pixels.shape
    assert channels == 3
    assert pixels.dtype == np.uint8
    assert 150 <= width <= 700
    assert 150 <= height <= 700
    assert len(colors_of(pixels)) > 3


def test_a_drawing_fills_its_cell_with_y_downwards() -> None:
    """A vertical line and, below it, a long horizontal one."""
    pixels = plots.draw_drawings([[[(5.0, 0.0), (5.0, 4.0)], [(0.0, 5.0), (10.0, 5.0)]]], [""])
    rows, columns = np.nonzero((pixels < 100).all(axis=-1))
    lowest = columns[rows == rows.max()]
    above = columns[rows < rows.max() - 12]
    assert np.ptp(lowest) > 0.7 * pixels.shape[1]
    assert np.ptp(above) <= 4


def test_a_map_has_its_first_row_at_the_bottom() -> None:
    pixels = plots.draw_map(np.array([[0.0, 0.0], [1.0, 1.0]]), colors=canvas.BLUES)
    middle = pixels[:, pixels.shape[1] // 2]
    dark = [n for n, color in enumerate(middle.tolist()) if color == list(canvas.BLUES(np.array(1.0)))]
    assert dark
    assert max(dark) < 0.65 * len(middle)


@pytest.mark.parametrize("history", [0, 4])
def test_a_forecast_is_drawn_with_its_interval_and_what_was_before(history: int) -> None:
    past, low, high = np.arange(float(history)), np.array([3.0, 4.0]), np.array([5.0, 6.0])
    truth = np.array([4.0, np.nan])
    example = plots.Forecast("loads:3+4", truth, np.array([4.5, 5.0]), past, low, high)
    pixels = plots.draw_forecasts([example, example], interval="5 to 95 %", title="loads, dev")
    alone = plots.draw_forecasts([replace(example, low=np.zeros(0), high=np.zeros(0))])

    def has(color: tuple[int, int, int], picture: np.ndarray = pixels) -> bool:
        return bool((picture == np.array(color)).all(axis=-1).any())

    assert has(plots.ORANGE)
    assert has(plots.PALE)
    assert not has(plots.PALE, alone)
    assert pixels.shape[0] > 1.5 * alone.shape[0]
    assert pixels.shape[2] == 3


def test_no_two_ticks_have_the_same_number() -> None:
    assert number_texts([1.1672, 1.1674, 1.1676]) == ["1.1672", "1.1674", "1.1676"]
    assert number_texts([0.0, 0.5, 1.0]) == ["0", "0.5", "1"]
    assert number_texts([10_000.0, 20_000.0]) == ["10k", "20k"]


def test_the_number_of_a_point_is_not_on_the_line_through_it() -> None:
    places = [(0.0, 50.0), (20.0, 30.0), (40.0, 10.0), (60.0, 30.0), (80.0, 40.0), (90.0, 20.0)]  # y grows downwards
    anchors = [plots._beside_line(places, number)[2] for number in range(len(places))]
    assert anchors == ["mt", "rs", "ms", "ls", "mt", "ms"]
