"""Pictures for TensorBoard, drawn with Pillow (which TensorBoard requires)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont

MAX_CLASSES = 40
"""More classes than this cannot be read on a screen: the most frequent ones stay, the others are merged."""

OTHER = "(others)"

_WHITE, _BLACK, _GREY, _LIGHT_GREY, _BLUE = (
    (255, 255, 255),
    (20, 20, 20),
    (120, 120, 120),
    (225, 225, 225),
    (8, 64, 129),
)


def draw_confusion(labels: Sequence[str], counts: np.ndarray, *, title: str = "") -> np.ndarray:
    """A confusion matrix as a picture: the colour of a cell is its share of the row, its text the count.

    Args:
        labels: (C,) names of the classes.
        counts: (C, C), how often the class of the row was predicted as the class of the column.
        title: the first line above it.

    Returns:
        (height, width, 3) uint8.
    """
    counts = np.asarray(counts, dtype=np.int64)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"{len(labels)} labels, but counts of shape {counts.shape}")
    names, counts = _merge_rare([ascii_label(label, number) for number, label in enumerate(labels)], counts)
    classes, correct, total = len(names), int(counts.trace()), int(counts.sum())
    cell = max(26, min(64, 640 // max(1, classes)))
    large, small = _font(14), _font(max(9, min(14, cell // 3)))
    heading = [title] * bool(title) + [f"{correct:,} of {total:,} right", "row: true, column: predicted"]
    side = 24 + max((int(large.getlength(name)) for name in names), default=0)
    top, left = side + 20 * len(heading), side + 24
    width = max(left + classes * cell + 24, *(int(large.getlength(line)) + 16 for line in heading))
    picture = Image.new("RGB", (width, top + classes * cell + 24), _WHITE)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(heading):
        draw.text((8, 6 + 20 * number), line, _BLACK if number == 0 else _GREY, large)
    totals = counts.sum(axis=1)
    for row in range(classes):
        y = top + row * cell
        draw.text((left - 8, y + cell // 2), names[row], _BLACK, large, anchor="rm")
        for column in range(classes):
            x, count = left + column * cell, int(counts[row, column])
            share = count / totals[row] if totals[row] else 0.0
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), _shade(share), outline=_LIGHT_GREY)
            if count:
                # In a large enough cell, the share is below the count.
                text = _short_count(count) + (f"\n{100 * share:.0f}%" if cell >= 48 else "")
                color = _WHITE if share > 0.5 else _BLACK
                draw.text((x + cell // 2, y + cell // 2), text, color, small, anchor="mm", align="center")
        draw.rectangle((left + row * cell, y, left + row * cell + cell - 1, y + cell - 1), None, outline=_GREY)
    for column, name in enumerate(names):
        _draw_vertical(picture, name, large, x=left + column * cell + cell // 2, bottom=top - 8)
    return np.asarray(picture)


def ascii_label(label: object, number: int, limit: int = 18) -> str:
    """The label without accents, shortened; `#3` if it is in another script.

    The font that comes with Pillow has ASCII only, and the fonts of the system are not the same everywhere.
    """
    text = " ".join(str(label).split()) or "''"
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    if not (plain.isascii() and plain.isprintable()):
        return f"#{number}"
    return plain if len(plain) <= limit else plain[: limit - 2] + ".."


def _merge_rare(names: list[str], counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names and counts of at most MAX_CLASSES classes, in their order; the rarest are added up in one."""
    if len(names) <= MAX_CLASSES:
        return names, counts
    support = counts.sum(axis=1) + counts.sum(axis=0)
    keep = np.sort(np.argsort(-support, kind="stable")[: MAX_CLASSES - 1])
    group = np.full(len(names), MAX_CLASSES - 1)
    group[keep] = np.arange(MAX_CLASSES - 1)
    merged = np.zeros((MAX_CLASSES, MAX_CLASSES), dtype=counts.dtype)
    np.add.at(merged, (group[:, None], group[None, :]), counts)
    return [*(names[index] for index in keep), OTHER], merged


def _short_count(count: int) -> str:
    """At most four characters: 812, 8.1k, 81k, 8.1M."""
    for limit, unit in ((1, ""), (1000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        value = count / limit
        if value < 999.5 or limit == 1_000_000_000:
            return f"{count}" if limit == 1 else f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    raise AssertionError("unreachable")


def _shade(share: float) -> tuple[int, int, int]:
    """The colour of a share: white for 0, dark blue for 1."""
    red, green, blue = (round(white + (blue - white) * share) for white, blue in zip(_WHITE, _BLUE, strict=True))
    return red, green, blue


def _draw_vertical(picture: Image.Image, text: str, font: Font, *, x: int, bottom: int) -> None:
    """Draw text that reads from bottom to top, centred on x."""
    strip = Image.new("L", (max(1, int(font.getlength(text)) + 2), 20), 0)
    ImageDraw.Draw(strip).text((0, 10), text, 255, font, anchor="lm")
    rotated = strip.rotate(90, expand=True)
    picture.paste(_BLACK, (x - rotated.width // 2, bottom - rotated.height), rotated)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
