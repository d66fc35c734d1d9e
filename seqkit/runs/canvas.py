"""What pictures are drawn on: lines, boxes and text with smooth edges, and axes with round numbers.

Pillow comes with TensorBoard, so every run has its pictures. (Matplotlib takes ten to twenty times as long for the same
ones, which a run would wait for at each of them, and half a second to be imported.)
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont
Color: TypeAlias = tuple[int, int, int]
Pixels: TypeAlias = NDArray[np.uint8]

WHITE, BLACK, GREY, LIGHT = (255, 255, 255), (33, 33, 33), (117, 117, 117), (224, 224, 224)
BLUE, ORANGE, RED = (31, 102, 181), (230, 115, 0), (198, 40, 40)
CYCLE: tuple[Color, ...] = (
    BLUE,
    ORANGE,
    (46, 139, 87),
    RED,
    (123, 78, 163),
    (121, 85, 72),
    (0, 151, 167),
    (175, 130, 0),
    (216, 27, 96),
    GREY,
)
"""The colours of lines, in this order."""

SCALE, REDUCE = 3, 2
"""Everything is drawn SCALE times as large and made REDUCE times smaller at the end, which smooths the edges.

Sizes here are those of a card of TensorBoard, on which a picture of 360 x 290 has letters that can be read; opened at
its full size, it is half as large again.
"""

_OTHER_FONT = "DejaVuSans.ttf"
"""Has letters of many scripts; used where the system has it and the font of Pillow lacks a letter."""


class Canvas:
    """A white picture. Places are (x, y) from the top left, in pixels of a card.

    Args:
        width, height: of the picture there.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), WHITE)
        self.draw = ImageDraw.Draw(self.image)

    def pixels(self) -> Pixels:
        """(height, width, 3), half as many again as the size of the canvas."""
        return np.asarray(self.image.reduce(REDUCE))

    def text(self, x: float, y: float, text: str, *, size: int = 14, color: Color = BLACK, anchor: str = "la") -> None:
        """Text at a place; `anchor` says which point of it is there, as Pillow names it: `mm` is the middle."""
        self.draw.text((x * SCALE, y * SCALE), text, color, font_of(text, size * SCALE), anchor=anchor, align="center")

    def vertical(self, x: float, bottom: float, text: str, *, size: int = 14, color: Color = BLACK) -> None:
        """Text that reads from bottom to top, centred on x."""
        font, height = font_of(text, size * SCALE), round(size * SCALE * 1.5)
        strip = Image.new("L", (max(1, math.ceil(font.getlength(text)) + 2), height), 0)
        ImageDraw.Draw(strip).text((0, height / 2), text, 255, font, anchor="lm")
        rotated = strip.rotate(90, expand=True)
        self.image.paste(color, (round(x * SCALE - rotated.width / 2), round(bottom * SCALE) - rotated.height), rotated)

    def line(self, points: Sequence[tuple[float, float]], color: Color, *, width: float = 2.0) -> None:
        """A line through these places."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self.draw.line(scaled, color, round(width * SCALE), joint="curve")

    def area(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        """What is inside of these places, filled."""
        self.draw.polygon([(x * SCALE, y * SCALE) for x, y in points], color)

    def dashed(self, start: tuple[float, float], end: tuple[float, float], color: Color = GREY) -> None:
        """A straight dashed line."""
        (x, y), (to_x, to_y) = start, end
        length = math.hypot(to_x - x, to_y - y)
        for begin in np.arange(0.0, length, 8.0):
            a, b = begin / length, min(length, begin + 4.0) / length
            self.line(
                [(x + a * (to_x - x), y + a * (to_y - y)), (x + b * (to_x - x), y + b * (to_y - y))], color, width=1
            )

    def box(
        self, left: float, top: float, right: float, bottom: float, fill: Color | None, outline: Color | None = None
    ) -> None:
        """A rectangle from its left upper to its right lower corner, which is outside of it."""
        start = left * SCALE, top * SCALE
        corners = (*start, max(start[0], right * SCALE - 1), max(start[1], bottom * SCALE - 1))
        self.draw.rectangle(corners, fill, outline, width=SCALE)

    def dot(self, x: float, y: float, color: Color, radius: float = 3.5) -> None:
        """A filled circle."""
        box = ((x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE)
        self.draw.ellipse(box, color)

    def paste(self, pixels: Pixels, left: float, top: float, right: float, bottom: float) -> None:
        """(h, w, 3) pixels, each as a rectangle, filling this area."""
        size = round((right - left) * SCALE), round((bottom - top) * SCALE)
        resized = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
        self.image.paste(resized, (round(left * SCALE), round(top * SCALE)))


@dataclass(frozen=True)
class Axis:
    """A range of numbers on a chart.

    Attributes:
        name: written beside it.
        low, high: where it begins and ends.
    """

    name: str
    low: float = 0.0
    high: float = 1.0

    def ticks(self, most: int = 5) -> list[float]:
        """At most about `most` round numbers within the range."""
        span = (self.high - self.low) or 1.0
        power = 10.0 ** math.floor(math.log10(span / most))
        step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


class Chart:
    """A canvas with a title, an area within axes, and notes below the title.

    Args:
        title: the first line.
        x, y: the axes.
        notes: lines below the title.
        width, height: of the whole picture.
    """

    def __init__(
        self, title: str, x: Axis, y: Axis, *, notes: Sequence[str] = (), width: int = 360, height: int = 290
    ) -> None:
        self.x, self.y = x, y
        self.canvas = Canvas(width, height)
        self.left, self.right = 56.0, width - 14.0
        self.top, self.bottom = 10.0 + write_heading(self.canvas, title, notes), height - 46.0
        self._draw_axes()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pair of numbers is on the canvas."""
        across = (x - self.x.low) / ((self.x.high - self.x.low) or 1.0)
        up = (y - self.y.low) / ((self.y.high - self.y.low) or 1.0)
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def line(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, color: Color) -> None:
        """A line through pairs of numbers."""
        self.canvas.line([self.place(float(a), float(b)) for a, b in zip(x, y, strict=True)], color)

    def bar(self, low: float, high: float, value: float, color: Color) -> None:
        """A bar from the lower edge of the chart to a value."""
        (left, top), (right, _) = self.place(low, value), self.place(high, value)
        self.canvas.box(left + 1, top, max(left + 2, right - 1), self.bottom, color)

    def legend(self, entries: Sequence[tuple[str, Color]], *, right: bool, low: bool) -> None:
        """Names of the lines in a corner of the chart."""
        widest = max((text_width(name, 12) for name, _ in entries), default=0.0)
        left = self.right - widest - 38 if right else self.left + 8
        top = self.bottom - 8 - 17 * len(entries) if low else self.top + 6
        self.canvas.box(left - 4, top - 2, left + widest + 34, top + 17 * len(entries), WHITE, LIGHT)
        for number, (name, color) in enumerate(entries):
            y = top + 17 * number + 8
            self.canvas.line([(left + 2, y), (left + 20, y)], color, width=3)
            self.canvas.text(left + 26, y, name, size=12, anchor="lm")

    def _draw_axes(self) -> None:
        canvas = self.canvas
        values = self.y.ticks()
        for value, text in zip(values, number_texts(values), strict=True):
            _, y = self.place(self.x.low, value)
            canvas.line([(self.left, y), (self.right, y)], LIGHT, width=1)
            canvas.text(self.left - 8, y, text, size=13, color=GREY, anchor="rm")
        values = self.x.ticks()
        for value, text in zip(values, number_texts(values), strict=True):
            x, _ = self.place(value, self.y.low)
            canvas.line([(x, self.bottom), (x, self.bottom + 4)], GREY, width=1)
            canvas.text(x, self.bottom + 8, text, size=13, color=GREY, anchor="ma")
        canvas.line([(self.left, self.bottom), (self.right, self.bottom)], GREY, width=1)
        canvas.text((self.left + self.right) / 2, self.bottom + 25, self.x.name, size=13, anchor="ma")
        canvas.vertical(12, (self.top + self.bottom + text_width(self.y.name, 13)) / 2, self.y.name, size=13)


def write_heading(canvas: Canvas, title: str, notes: Sequence[str]) -> float:
    """A title and the lines below it, at the top of a canvas; returns where they end."""
    for number, line in enumerate([title, *notes]):
        canvas.text(8, 6 + 17 * number, line, size=14 if number == 0 else 12, color=BLACK if number == 0 else GREY)
    return 10.0 + 17.0 * (1 + len(notes))


def heading_width(title: str, notes: Sequence[str]) -> int:
    """The width that `write_heading` needs."""
    return math.ceil(max(text_width(title, 14), *(text_width(note, 12) for note in ("", *notes)))) + 16


def text_width(text: str, size: int) -> float:
    """In pixels."""
    return font_of(text, size * SCALE).getlength(text) / SCALE


def number_texts(values: Sequence[float]) -> list[str]:
    """The numbers of an axis, with so many digits that no two are the same."""
    for digits in range(3, 10):
        texts = [number_text(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [number_text(value, 10) for value in values]


def number_text(value: float, digits: int = 3) -> str:
    """A number on an axis: at most so many digits that count, thousands as k."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.{digits}g}{unit}"
    if abs(value) >= 100 and digits <= 3:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value else "0"


def label_text(label: object, number: int, limit: int = 18) -> str:
    """A label as it can be drawn: shortened, without accents where a font lacks them; `#3` if letters are missing."""
    text = " ".join(str(label).split()) or "''"
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    if text.isprintable() and can_draw(text):
        return text
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain if plain.isprintable() and can_draw(plain) else f"#{number}"


def can_draw(text: str) -> bool:
    """Whether there is a font with all of these characters."""
    return any(all(_has_glyph(name, c) for c in set(text)) for name in ("", _OTHER_FONT) if _font(name, 12) is not None)


@lru_cache(maxsize=4096)
def font_of(text: str, size: int) -> Font:
    """The font of Pillow, or another one if that lacks a letter of the text."""
    font = _font("", size)
    assert font is not None
    if text.isascii() or all(_has_glyph("", c) for c in set(text)):
        return font
    return _font(_OTHER_FONT, size) or font


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> Font | None:
    if not name:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _has_glyph(name: str, character: str) -> bool:
    font = _font(name, 16)
    if font is None or not character.isprintable():
        return False
    if character.isspace():
        return True
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))


def color_map(*anchors: Color) -> Callable[[np.ndarray], Pixels]:
    """A function from numbers, 0 to 1, (...) to colours (..., 3), through these at equal distances; NaN is grey."""
    points = np.linspace(0.0, 1.0, len(anchors))

    def colors(values: np.ndarray) -> Pixels:
        values = np.asarray(values, dtype=np.float64)
        filled = np.clip(np.nan_to_num(values), 0.0, 1.0)
        channels = [np.interp(filled, points, [anchor[channel] for anchor in anchors]) for channel in range(3)]
        result = np.stack(channels, axis=-1).round().astype(np.uint8)
        result[~np.isfinite(values)] = LIGHT
        return result

    return colors


BLUES = color_map(WHITE, (158, 202, 225), (8, 64, 129))
"""From white to dark blue: shares."""
DIVERGING = color_map((178, 24, 43), (244, 165, 130), (247, 247, 247), (146, 197, 222), (33, 102, 172))
"""Red below the middle, blue above it."""
INFERNO = color_map((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""From black over red to yellow: energies."""
