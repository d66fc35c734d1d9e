"""A drawing as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def lines_of(steps: Iterable[Sequence[float]]) -> list[list[tuple[float, float]]]:
    """The strokes that movements [dx, dy, lifted] draw, from (0, 0), as points."""
    x = y = 0.0
    strokes: list[list[tuple[float, float]]] = [[(x, y)]]
    is_lifted = False
    for dx, dy, lifted in steps:
        x, y = x + dx, y + dy
        if is_lifted:
            strokes.append([])
        strokes[-1].append((x, y))
        is_lifted = lifted > 0.5
    return strokes


def svg(steps: Iterable[Sequence[float]], *, side: int = 400) -> str:
    """A drawing as SVG, on one line; y grows downwards.

    Args:
        steps: movements [dx, dy, lifted].
        side: pixels of its longer side, margins counted.
    """
    strokes = lines_of(steps)
    columns, rows = zip(*(point for stroke in strokes for point in stroke), strict=True)
    left, top = min(columns), min(rows)
    longest = max(max(columns) - left, max(rows) - top) or 1.0
    scale, margin = 0.9 * side / longest, 0.05 * side
    width, height = (scale * (max(values) - min(values)) + 2 * margin for values in (columns, rows))
    lines = "".join(
        '<polyline points="'
        + " ".join(f"{margin + scale * (px - left):.1f},{margin + scale * (py - top):.1f}" for px, py in stroke)
        + '"/>'
        for stroke in strokes
        if len(stroke) > 1
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<g fill="none" stroke="black" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">{lines}</g>'
        "</svg>"
    )
