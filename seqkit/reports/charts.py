"""Charts as SVG inside a page: lines, bars, a heat map, a reliability diagram. Colours are those of the page's style.

Text in them comes from data of others: every piece of it is escaped, and directions of writing stay inside it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from seqkit.errors import printable
from seqkit.reports.resampling import Interval

WIDTH: Final = 460
HEIGHT: Final = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 10, 40

COLORS: Final = 6
"""Lines beyond this many have colours that occurred before."""


@dataclass(frozen=True)
class Line:
    """A line of a chart; points that are not finite are left out.

    Attributes:
        name: in the legend.
        x, y: of its points.
        dashed: for what is only compared with: chance, a perfect calibration.
        dots: whether each point has a dot.
        joined: whether the points are joined by a line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    dots: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Bar:
    """A bar, with what is said when the mouse is over it."""

    label: str
    value: float
    note: str = ""


def line_chart(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    mark: float | None = None,
    mark_note: str = "",
    logarithmic: bool = False,
    limits: tuple[float, float] | None = None,
) -> Markup:
    """Lines over a common axis; nothing where there is no point.

    Args:
        lines: with their names.
        x: what is on the horizontal axis.
        y: what is on the vertical one.
        mark: where a vertical line is: the best checkpoint.
        mark_note: what it means.
        logarithmic: the vertical axis, if all values are positive.
        limits: of the vertical axis; None: as the points need.
    """
    points = [
        (line, [(a, b) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(a) and math.isfinite(b)])
        for line in lines
    ]
    points = [(line, found) for line, found in points if found]
    if not points:
        return Markup("")
    xs = [a for _, found in points for a, _ in found]
    ys = [b for _, found in points for _, b in found]
    logarithmic = logarithmic and min(ys) > 0
    frame = _Frame(_padded(min(xs), max(xs), 0.0), limits or _range(ys, logarithmic), logarithmic)
    parts = [frame.axes(x, y)]
    if mark is not None and frame.x[0] <= mark <= frame.x[1]:
        parts.append(
            Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"><title>{3}</title></line>').format(
                frame.left(mark), _TOP, HEIGHT - _BOTTOM, _text(mark_note)
            )
        )
    names = list(dict.fromkeys(line.name for line, _ in points))
    for line, found in points:
        color = names.index(line.name) % COLORS
        path = " ".join(f"{frame.left(a):.1f},{frame.top(b):.1f}" for a, b in found)
        dash = Markup(' stroke-dasharray="4 4"') if line.dashed else ""
        if line.joined:
            parts.append(
                Markup('<polyline class="line c{}" points="{}"{}><title>{}</title></polyline>').format(
                    color, path, dash, _text(line.name)
                )
            )
        if line.dots or len(found) == 1:
            parts += [
                Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}: {}</title></circle>').format(
                    color, frame.left(a), frame.top(b), _text(line.name), f"{a:g}, {b:.4g}"
                )
                for a, b in found
            ]
    return _svg(parts, f"{y} by {x}") + _legend(names)


def bar_chart(bars: Sequence[Bar], *, x: str, y: str, limits: tuple[float, float] | None = None) -> Markup:
    """A bar for each value, with its label below; nothing where there is no bar."""
    known = [bar for bar in bars if math.isfinite(bar.value)]
    if not known:
        return Markup("")
    low, high = limits or _range([0.0, *(bar.value for bar in known)], False)
    high = high if high > 0.0 else 1.0  # all of them are 0
    frame = _Frame((-0.5, len(bars) - 0.5), (min(0.0, low), high), False)
    parts = [frame.axes(x, y, ticks=False)]
    width = (WIDTH - _LEFT - _RIGHT) / len(bars)
    every = math.ceil(len(bars) / 12)
    for number, bar in enumerate(bars):
        center = frame.left(number)
        if math.isfinite(bar.value):
            top, base = frame.top(max(bar.value, 0.0)), frame.top(min(bar.value, 0.0))
            parts.append(
                Markup(
                    '<rect class="bar c0" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
                ).format(center - 0.4 * width, top, 0.8 * width, max(0.5, base - top), _text(_said(bar)))
            )
        if number % every == 0:
            parts.append(
                Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                    center, HEIGHT - _BOTTOM + 14, _text(_short(bar.label, 12))
                )
            )
    return _svg(parts, f"{y} by {x}")


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    shares: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    *,
    title: str,
) -> Markup:
    """A matrix whose cells are as dark as their shares, with a text in each.

    Args:
        rows, columns: their names.
        shares: 0 to 1.
        texts: what the cells say.
        title: for those who cannot see it.
    """
    side = max(16, min(44, 520 // max(1, len(columns))))
    names = 8 + 7 * max((min(len(name), 18) for name in (*rows, *columns)), default=1)
    above = names + 10  # the names of the columns are slanted, and end above their length
    width, height = names + side * len(columns) + 8, above + side * len(rows) + 8
    parts = []
    for j, name in enumerate(columns):
        place = names + side * j + side / 2
        parts.append(
            Markup('<text class="tick" transform="translate({:.1f} {}) rotate(-60)">{}</text>').format(
                place, above - 6, _text(_short(name, 18))
            )
        )
    for i, name in enumerate(rows):
        middle = above + side * i + side / 2
        parts.append(
            Markup(
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end" dominant-baseline="middle">{}</text>'
            ).format(names - 6, middle, _text(_short(name, 18)))
        )
        for j, column in enumerate(columns):
            share = shares[i][j]
            left = names + side * j
            hint = f"{name} → {column}: {texts[i][j]} ({100 * share:.1f} %)"
            parts.append(
                Markup(
                    '<rect class="cell" x="{}" y="{}" width="{}" height="{}" style="--share:{:.3f}">'
                    "<title>{}</title></rect>"
                ).format(left, above + side * i, side - 1, side - 1, share, _text(hint))
            )
            if texts[i][j] not in ("", "0") and side >= 22:
                parts.append(
                    Markup(
                        '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="middle" '
                        'dominant-baseline="middle">{}</text>'
                    ).format("in dark" if share > 0.5 else "in", left + side / 2, middle, _text(texts[i][j]))
                )
    return _svg(parts, title, width, height)


# Parts of charts


@dataclass(frozen=True)
class _Frame:
    """The plane of a chart: from values to places."""

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool

    def left(self, value: float) -> float:
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def top(self, value: float) -> float:
        scale: Callable[[float], float] = math.log10 if self.logarithmic else float
        low, high = scale(self.y[0]), scale(self.y[1])
        share = (scale(value) - low) / (high - low)
        return HEIGHT - _BOTTOM - min(1.0, max(0.0, share)) * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, x: str, y: str, *, ticks: bool = True) -> Markup:
        """Grid, numbers and names; without `ticks` the horizontal axis has no numbers."""
        parts = []
        values = _decades(*self.y) if self.logarithmic else _ticks(*self.y)
        for value, text in zip(values, _numbers(values), strict=True):
            top = self.top(value)
            parts.append(
                Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                    _LEFT, WIDTH - _RIGHT, top, top
                )
                + Markup(
                    '<text class="tick" x="{}" y="{:.1f}" text-anchor="end" dominant-baseline="middle">{}</text>'
                ).format(_LEFT - 5, top, text)
            )
        values = _ticks(*self.x) if ticks else []
        for value, text in zip(values, _numbers(values), strict=True):
            parts.append(
                Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                    self.left(value), HEIGHT - _BOTTOM + 14, text
                )
            )
        parts.append(
            Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, _text(x)
            )
        )
        middle = (_TOP + HEIGHT - _BOTTOM) / 2
        parts.append(
            Markup(
                '<text class="name" transform="translate(12 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>'
            ).format(middle, _text(y))
        )
        return Markup("").join(parts)


def _svg(parts: Sequence[Markup], title: str, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">{3}</svg>').format(
        width, height, _text(title), Markup("").join(parts)
    )


def _legend(names: Sequence[str]) -> Markup:
    if len(names) < 2:
        return Markup("")
    items = [
        Markup('<span><i class="key c{}"></i><bdi>{}</bdi></span>').format(number % COLORS, _text(name))
        for number, name in enumerate(names)
    ]
    return Markup('<div class="legend">{}</div>').format(Markup(" ").join(items))


def _text(value: str) -> Markup:
    """Text of others inside a chart: escaped, without what turns the direction of what follows."""
    return escape(printable(str(value)))


def _said(bar: Bar) -> str:
    return f"{bar.label}: {bar.value:.4g}{f', {bar.note}' if bar.note else ''}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _numbers(values: Sequence[float]) -> list[str]:
    """The texts of the ticks of an axis: with so many digits that no two are the same."""
    for digits in range(4, 12):
        texts = [_number(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts if values else []


def _number(value: float, digits: int = 4) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        unit, name = (1000, "k") if abs(value) < 1_000_000 else (1_000_000, "M")
        return f"{value / unit:.{digits + 2}g}{name}"
    return f"{value:.{digits}g}".replace("e-0", "e-")


def drawing(lines: Sequence[Sequence[Sequence[float]]], *, side: int = 72) -> Markup:
    """What a pen has drawn, small, to stand in a table; nothing where there is no line.

    Args:
        lines: each of points (x, y), y downwards.
        side: pixels of its longer side.
    """
    points = [(float(x), float(y)) for line in lines for x, y in line]
    if not points:
        return Markup("")
    left, top = (min(values) for values in zip(*points, strict=True))
    right, bottom = (max(values) for values in zip(*points, strict=True))
    scale = (side - 8) / (max(right - left, bottom - top) or 1.0)
    paths = [[(4 + (float(x) - left) * scale, 4 + (float(y) - top) * scale) for x, y in line] for line in lines]
    parts = [
        Markup('<polyline class="pen" points="{}"/>').format(" ".join(f"{x:.1f},{y:.1f}" for x, y in path))
        if len(set(path)) > 1
        else Markup('<circle class="pen" cx="{:.1f}" cy="{:.1f}" r="1"/>').format(*path[0])
        for path in paths
        if path
    ]
    return _svg(parts, "drawing", 8 + (right - left) * scale, 8 + (bottom - top) * scale)


def picture(png: bytes) -> Markup:
    """A picture that is part of the page; nothing if these bytes are none."""
    if not png.startswith(b"\x89PNG") or len(png) < 24:
        return Markup("")
    width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))
    image = Markup('<image width="{}" height="{}" href="data:image/png;base64,{}"/>').format(
        width, height, base64.b64encode(png).decode()
    )
    return _svg([image], "picture", width, height)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    space = (high - low) * share or (0.0 if high > low else abs(high) * 0.05 or 0.05)
    return low - space, high + space


def _range(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if logarithmic and high < 100 * low:  # not whole decades, which would be mostly empty
        return low / 1.2, high * 1.2
    if logarithmic:
        return 10 ** math.floor(math.log10(low)), 10 ** max(
            math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1
        )
    return _padded(low, high, 0.05)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between two."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first
    return [round((first + i) * step, 12) for i in range(count + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = math.log10(high / low)
    if decades > 2.5:
        return [10.0**power for power in powers][:: max(1, len(powers) // 6)]
    factors = (1, 2, 5) if decades > 1.2 else (1, 2, 3, 5, 7)  # of few decades, whole ones are too few numbers
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def interval_chart(rows: Sequence[tuple[str, Interval | None]], *, x: str, zero: bool = False) -> Markup:
    """A row for each value: a dot, and a line over its interval. With `zero`, a line marks 0."""
    known = [(name, interval) for name, interval in rows if interval is not None and math.isfinite(interval.low)]
    if not known:
        return Markup("")
    ends = [end for _, interval in known for end in (interval.low, interval.high)] + ([0.0] if zero else [])
    step, names = 30, 12 + 7 * min(24, max(len(name) for name, _ in known))
    height = step * len(known) + 46
    low, high = _padded(min(ends), max(ends), 0.06)

    def place(value: float) -> float:
        return names + (value - low) / (high - low) * (WIDTH - names - _RIGHT)

    parts = [
        Markup(
            '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="6" y2="{1}"/>'
            '<text class="tick" x="{0:.1f}" y="{2}" text-anchor="middle">{3}</text>'
        ).format(place(value), height - 38, height - 24, _number(value))
        for value in _ticks(low, high)
    ]
    if zero:
        parts.append(
            Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="6" y2="{1}"/>').format(place(0), height - 38)
        )
    for number, (name, interval) in enumerate(known):
        y, color = 22 + step * number, number % COLORS
        parts.append(
            Markup(
                '<text class="tick" x="{}" y="{}" text-anchor="end" dominant-baseline="middle">{}</text>'
                '<line class="line c{}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>'
                '<circle class="dot c{}" cx="{:.1f}" cy="{}" r="4"><title>{}</title></circle>'
            ).format(
                names - 10, y, _text(_short(name, 24)),
                color, place(interval.low), place(interval.high), y, y,
                color, place(interval.value), y,
                f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]",
            )
        )  # fmt: skip
    parts.append(
        Markup('<text class="name" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            (names + WIDTH - _RIGHT) / 2, height - 6, _text(x)
        )
    )
    return _svg(parts, x, WIDTH, height)
