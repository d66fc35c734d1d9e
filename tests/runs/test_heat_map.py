"""Heat maps: a cell has the colour of its value, columns last until the next one, and what is missing is grey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqkit.runs.canvas import LIGHT
from seqkit.runs.heat_map import HEIGHT, SHADES, WIDTH, Curve, HeatMap, draw_heat_map


def heat_map(**changes: Any) -> HeatMap:
    """Three columns at steps 1, 100 and 200, two cells each."""
    values = np.array([[1.0, 0.5, np.nan], [0.0, 0.25, 2.0]])
    fields: dict[str, Any] = {"steps": [1, 100, 200], "edges": [0, 1, 3], "values": values, "low": 0.0, "high": 1.0}
    return HeatMap(**{"title": "t", "note": "n", "ticks": [(0.0, "0")], "name": "distance", **fields, **changes})


def test_each_cell_has_the_colour_of_its_value() -> None:
    drawn = heat_map()
    pixels, columns = drawn.pixels(), drawn.column_edges()
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    for column in range(3):
        x = int((columns[column] + columns[column + 1]) / 2 * WIDTH)
        for row, y in ((0, HEIGHT - 5), (1, 5)):
            expected = SHADES(np.array([drawn.values[row, column]]))[0]
            assert pixels[y, x].tolist() == expected.tolist()
    assert pixels[HEIGHT - 5, WIDTH - 5].tolist() == list(LIGHT)


def test_a_column_lasts_until_the_next_one() -> None:
    edges = heat_map().column_edges()
    assert edges.tolist() == pytest.approx([0, 99 / 299, 199 / 299, 1])
    assert heat_map(steps=[7], values=np.ones((2, 1))).column_edges().tolist() == [0, 1]


def test_the_range_is_logarithmic_and_ends_at_both_ends() -> None:
    drawn = heat_map()
    assert [drawn.height(value) for value in (-1, 0, 1, 3, 99)] == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_picture_is_drawn_of_any_number_of_columns(count: int) -> None:
    steps = [1, *range(100, 100 * count, 100)]
    curves = [Curve([1.0] * count, (200, 0, 0), "line")]
    picture = draw_heat_map(heat_map(steps=steps, values=np.ones((2, count)), curves=curves))
    assert picture.dtype == np.uint8
    assert picture.shape[1] > WIDTH
    assert (picture == (200, 0, 0)).all(axis=-1).any()
