"""Files of images: IDX, tables with a row for each image, and folders of pictures."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from seqkit import DataError, Example, Flaw, MissingFile, Problem
from seqkit.readers import records
from seqkit.reading import report_left_out

PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".jpg", ".jpeg")
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(path: Path) -> np.ndarray:
    """The array of an IDX file (yann.lecun.com/exdb/mnist), which may be compressed with gzip.

    Raises:
        DataError: it is not such a file, or is longer or shorter than its header says.
    """
    if not path.is_file():
        raise MissingFile(path, "file")
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            _fail(path, None, f"is damaged gzip: {error}")
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not 1 <= data[3] <= 4:
        _fail(path, None, "does not begin as an IDX file does")
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start]) if len(data) >= start else ()
    kind = np.dtype(_IDX_TYPES[data[2]])
    expected = start + int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if len(data) != expected:
        _fail(path, None, f"has {len(data):,} bytes, and its header says {expected:,}")
    return np.frombuffer(data, kind, offset=start).reshape(shape)


def idx_images(images: Path, labels: Path | None) -> Iterator[Example]:
    """The images of an IDX file, each with its label from another one; None: without labels."""
    pixels = idx(images)
    if pixels.ndim != 3:
        _fail(images, None, f"has {pixels.ndim} dimensions, and images have 3: number, height, width")
    targets = None if labels is None else idx(labels)
    if targets is not None and targets.shape != pixels.shape[:1]:
        _fail(labels or images, None, f"has labels of shape {targets.shape}, for {len(pixels):,} images")
    for number, image in enumerate(pixels):
        target = None if targets is None else str(targets[number])
        yield Example(image, target, f"{images.name}:{number + 1}")


def table_images(path: Path, *, width: int | None, labelled: bool = True) -> Iterator[Example]:
    """The images of a table of numbers, one in each row, row of pixels by row of pixels; the last column is the label.

    Args:
        path: the file: commas or tabs between the numbers, no header.
        width: pixels in a row of the image; None: images are square.
        labelled: False: the label may be missing, and a row that cannot be read is a `Flaw`.
    """
    count = None
    for row in records(path, delimiter="\t" if ".tsv" in path.suffixes else ","):
        id = f"{path.name}:{row.number}"
        try:
            image, label = _image_of_row(path, row.number, row.fields, width, labelled)
            if count is not None and image.size != count:
                _fail(path, row.number, f"has {image.size} pixels, and the first image has {count}")
        except DataError as error:
            if labelled:
                raise
            yield Example(Flaw(error.problems[0].what), None, id)
            continue
        count = image.size
        yield Example(image, label, id)


def _image_of_row(
    path: Path, number: int, fields: list[str], width: int | None, labelled: bool
) -> tuple[np.ndarray, str | None]:
    """The image and the label of a row; a row that has one number too few for a label is an image without one."""
    side = _side(len(fields) - 1, width)
    has_label = side is not None
    side = side or (None if labelled else _side(len(fields), width))
    if side is None:
        shape = "a square image" if width is None else f"rows of {width} pixels"
        _fail(path, number, f"has {len(fields)} columns, which are not {shape} and a label", "set `width`")
    cells = fields[:-1] if has_label else fields
    try:
        pixels = np.array([int(cell) for cell in cells]).reshape(-1, side)
    except ValueError:
        place = next(place for place, cell in enumerate(cells, start=1) if not cell.strip().lstrip("-").isdecimal())
        _fail(path, number, f"column {place} has {cells[place - 1].strip()!r}, which is not a whole number")
    return pixels, fields[-1].strip() if has_label and labelled else None


def _side(count: int, width: int | None) -> int | None:
    """The width of an image of so many pixels; None: there is none."""
    side = round(count**0.5) if width is None else width
    is_whole = side * side == count if width is None else count > 0 and count % side == 0
    return side if is_whole and side > 0 else None


def folder_images(folder: Path) -> Iterator[Example]:
    """The pictures of a folder that has a folder for each class, as grey images."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    is_empty = True
    for path in paths:
        if path.suffix.lower() not in PICTURES or path.parent == folder:
            report_left_out("file that is no picture in the folder of a class", str(path.relative_to(folder)))
            continue
        is_empty = False
        yield Example(picture(path), path.parent.relative_to(folder).as_posix(), str(path.relative_to(folder)))
    if is_empty:
        _fail(folder, None, "has no pictures", "it should have a folder for each class, with .png files")


def picture(path: Path) -> np.ndarray:
    """A picture as a grey image, (height, width) uint8.

    Raises:
        DataError: it cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        _fail(path, None, f"cannot be read as a picture: {error}")


def _fail(path: Path, number: int | None, message: str, hint: str = "") -> NoReturn:
    raise DataError(Problem(f"{path}" if number is None else f"{path}:{number}", message, hint))
