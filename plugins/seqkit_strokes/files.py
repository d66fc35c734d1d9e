"""Files of drawings: a text file for each, in folders and archives, JSON lines, and rows of coordinates."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from seqkit import DataError, Example, Flaw, MissingFile, Problem
from seqkit.readers import cell_number, records, table
from seqkit.reading import report_left_out

_START, _BREAK = "START", "BREAK"
_SKIPPED = ("__MACOSX",)


def drawings(path: Path, *, level: int = 0) -> Iterator[tuple[Example, str]]:
    """The drawings of a folder, or of a .zip of it, with a folder for each class, and a text file for each drawing.

    Args:
        path: the folder or archive.
        level: which folder on the way to a file names its class: 1 the uppermost, -1 the one that it lies in, 0 all of
            them, joined with `/`, without those that all files share.

    Returns:
        Examples, each with its drawer: what the file's name has after its last `_`.

    Raises:
        DataError: a file that is no drawing, or there is none.
    """
    texts = list(_texts_of_zip(path) if path.is_file() else _texts_of_folder(path))
    if not texts:
        _fail(str(path), "has no text files", "it should have a folder for each class, with a .txt for each drawing")
    shared = _shared_folders([name for name, _ in texts])
    for name, text in texts:
        folders = PurePosixPath(name).parent.parts[shared:]
        if not folders:
            _fail(f"{path}/{name}", "lies in no folder that could be its class")
        label = "/".join(folders) if level == 0 else folders[level - 1 if level > 0 else level]
        drawer = PurePosixPath(name).stem.rpartition("_")[2]
        yield Example(strokes_of_text(text, f"{path}/{name}"), label, name), drawer


def strokes_of_text(text: str, where: str) -> list[list[list[float]]]:
    """The strokes of a text: lines `x,y` or `x,y,time`, and `BREAK` where the pen is lifted; `START` may come first.

    Raises:
        DataError: another line, or no point at all.
    """
    strokes: list[list[list[float]]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if word == _BREAK:
            strokes.append([])
        elif word and word != _START:
            fields = word.split(",")
            try:
                x, y, *_ = map(float, fields)
            except ValueError:
                _fail(f"{where}:{number}", f"{word[:40]!r} is neither a point x,y nor {_BREAK}")
            strokes[-1].append([x, y])
    kept = [stroke for stroke in strokes if stroke]
    if not kept:
        _fail(where, "has no points")
    return kept


def coordinates(path: Path, *, labelled: bool = True) -> Iterator[Example]:
    """Rows x1, y1, x2, y2, ... and the label: drawings of one stroke, without a header."""
    for row in records(path):
        id = f"{path.name}:{row.number}"
        cells = row.fields[:-1] if labelled or len(row.fields) % 2 else row.fields
        try:
            if len(cells) < 2 or len(cells) % 2:
                _fail(f"{path}:{row.number}", f"has {len(row.fields)} columns, not pairs of x and y and a label")
            stroke = [
                list(pair)
                for pair in zip(
                    _floats(path, row.number, cells[::2], 1), _floats(path, row.number, cells[1::2], 2), strict=True
                )
            ]
        except DataError as error:
            if labelled:
                raise
            yield Example(Flaw(error.problems[0].what), None, id)
            continue
        yield Example([stroke], row.fields[-1].strip() if labelled else None, id)


def _floats(path: Path, number: int, cells: Iterable[str], first: int) -> list[float]:
    return [cell_number(path, number, f"column {2 * place + first}", cell) for place, cell in enumerate(cells)]


def json_drawings(path: Path, *, labelled: bool = True) -> Iterator[Example]:
    """Objects with the keys `strokes` (lists of points [x, y]) and `label`, a line each."""
    return table(path, names=("strokes", "label"), labelled=labelled, flaws=not labelled)


def _texts_of_folder(folder: Path) -> Iterator[tuple[str, str]]:
    """(path below the folder, content) of its text files."""
    if not folder.is_dir():
        raise MissingFile(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and _is_drawing(name):
            yield name, _decoded(path.read_bytes(), f"{folder}/{name}")


def _texts_of_zip(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if not name.endswith("/") and _is_drawing(name):
                    yield name, _decoded(archive.read(name), f"{path}/{name}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        _fail(str(path), f"cannot be read as a zip archive: {error}")


def _is_drawing(name: str) -> bool:
    """Whether a file is one of those wanted; all others are reported."""
    parts = PurePosixPath(name).parts
    if name.endswith(".txt") and not any(part.startswith(".") or part in _SKIPPED for part in parts):
        return True
    report_left_out("file that is no drawing (.txt)", name)
    return False


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _fail(where, f"is not text in UTF-8: byte {error.start + 1}")


def _shared_folders(names: list[str]) -> int:
    """How many of the uppermost folders all files have in common, but for the one that they lie in."""
    folders = [PurePosixPath(name).parent.parts for name in names]
    shared = 0
    while all(len(parts) > shared + 1 for parts in folders) and len({parts[shared] for parts in folders}) == 1:
        shared += 1
    return shared


def _fail(where: str, message: str, hint: str = "") -> NoReturn:
    raise DataError(Problem(where, message, hint))
