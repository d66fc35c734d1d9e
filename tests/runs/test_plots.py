"""The confusion matrix as a picture: its colours and numbers, and its size."""

from __future__ import annotations

import numpy as np
import pytest

from seqkit.runs import plots


def test_colour_is_the_share_of_the_row() -> None:
    counts = np.array([[1000, 0, 0], [0, 3, 1], [0, 0, 0]])
    pixels = plots.draw_confusion(["a", "b", "c"], counts).astype(int)
    side = 24 + int(plots._font(14).getlength("a"))
    top, left, cell = side + 40, side + 24, 64

    def background(row: int, column: int) -> tuple[int, ...]:
        return tuple(pixels[top + row * cell + 4, left + column * cell + 4])

    assert background(0, 0) == plots._BLUE
    assert background(0, 1) == (255, 255, 255)
    assert background(2, 2) == (255, 255, 255), "a class without examples is not divided by"
    assert background(1, 1) == plots._shade(0.75)
    assert background(1, 2) == plots._shade(0.25)


@pytest.mark.parametrize("classes", [0, 1, 2, 40, 41, 300])
def test_any_number_of_classes_can_be_drawn(classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 10**7, (classes, classes))
    pixels = plots.draw_confusion([f"class {number}" for number in range(classes)], counts)
    assert pixels.dtype == np.uint8
    assert max(pixels.shape) < 1400


def test_rare_classes_are_added_up() -> None:
    counts = np.ones((100, 100), dtype=int)
    counts[np.arange(39), np.arange(39)] = 50
    names, merged = plots._merge_rare([f"c{number}" for number in range(100)], counts)
    assert len(names) == plots.MAX_CLASSES == 40
    assert names == [*(f"c{number}" for number in range(39)), "(others)"]
    assert merged.sum() == counts.sum()
    assert merged[39, 39] == 61 * 61
    assert merged[0, 39] == 61
    with pytest.raises(ValueError, match="3 labels, but counts of shape"):
        plots.draw_confusion(["a", "b", "c"], np.zeros((2, 2)))


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
    assert plots._short_count(count) == shown
