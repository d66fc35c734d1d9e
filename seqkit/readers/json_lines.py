"""JSON: one object a line (JSON Lines), or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from seqkit.errors import DataError, suggest
from seqkit.readers.line_reader import Line, fail, kept_lines, list_names, numbered
from seqkit.reading import report_columns
from seqkit.types import Example, Flaw


def jsonl(
    path: Path | str,
    *,
    input: str = "text",
    target: str | None = "label",
    skip_blank: bool = False,
    flaws: bool = False,
    encoding: str = "utf-8",
) -> Iterator[Example]:
    """One JSON object a line. Values stay as JSON has them: text, numbers, lists.

    Args:
        path: the file.
        input: the key of the input.
        target: the key of the target; None: there is none.
        skip_blank: leave out lines of nothing but white space.
        flaws: a line that cannot be read is an example with a `Flaw` for its input, instead of an error.
        encoding: of the text.

    Raises:
        DataError: a line that is not a JSON object or lacks a key; a key given twice, NaN, infinity, or half of a
            surrogate pair, which not all programs read in the same way.
    """
    path = Path(path)
    used = {"input": input} if target is None else {"input": input, "target": target}
    keys: dict[str, None] = {}
    first: list[Any] = []
    for line in kept_lines(path, skip_blank=skip_blank, flaws=flaws, encoding=encoding):
        id = f"{path.name}:{line.number}"
        try:
            row = _row(path, line, used.values())
        except DataError as error:
            if not flaws:
                raise
            yield Example(Flaw(line.flaw or error.problems[0].what), None, id)
            continue
        keys |= dict.fromkeys(row)
        first = first or [row[key] for key in used.values()]
        yield Example(row[input], None if target is None else row[target], id)
    unused = [key for key in keys if key not in used.values()]
    report_columns(path.name, used, unused, header=True, first=first)


def _row(path: Path, line: Line, keys: Iterable[str]) -> dict[str, Any]:
    """The JSON object in a line. It has these keys."""
    row = _object(path, line)
    for key in keys:
        if key not in row:
            fail(path, line.number, None, f"has no key '{key}'", suggest(key, row) or list_names("keys", row))
    return row


def _object(path: Path, line: Line) -> dict[str, Any]:
    """The JSON object in a line."""
    with _located(path, line.number):
        value = _DECODER.decode(line.text)
        if "\\u" in line.text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    if not isinstance(value, dict):
        fail(path, line.number, 1, f"is JSON, but a {type(value).__name__} and not an object")
    return value


def json_array(
    path: Path | str, *, input: str = "text", target: str | None = "label", encoding: str = "utf-8"
) -> Iterator[Example]:
    """The objects of a file that is one JSON array of objects, which is held in memory. Otherwise like `jsonl`.

    Raises:
        DataError: the file is not such an array, or as for `jsonl`.
    """
    path = Path(path)
    text = "".join(line.text + "\n" for line in numbered(path, encoding=encoding))
    used = {"input": input} if target is None else {"input": input, "target": target}
    keys: dict[str, None] = {}
    first: list[Any] = []
    for number, row in _items(path, text):
        for key in used.values():
            if key not in row:
                fail(path, number, None, f"has no key '{key}'", suggest(key, row) or list_names("keys", row))
        keys |= dict.fromkeys(row)
        first = first or [row[key] for key in used.values()]
        yield Example(row[input], None if target is None else row[target], f"{path.name}:{number}")
    report_columns(path.name, used, [key for key in keys if key not in used.values()], header=True, first=first)


def objects(
    path: Path, *, is_array: bool, skip_blank: bool = False, encoding: str = "utf-8"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """All objects of JSON Lines or of an array, each with the number of the line on which it starts.

    Raises:
        DataError: as for `jsonl` and `json_array`.
    """
    if is_array:
        yield from _items(path, "".join(line.text + "\n" for line in numbered(path, encoding=encoding)))
        return
    for line in kept_lines(path, skip_blank=skip_blank, flaws=False, encoding=encoding):
        yield line.number, _object(path, line)


def _items(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of an array, each with the number of the line on which it starts."""
    position = _skip_blanks(text, 0)
    number = 1 + text.count("\n", 0, position)
    if not text.startswith("[", position):
        fail(path, number, None, "is not a JSON array, which begins with [")
    position = _skip_blanks(text, position + 1)
    counted, is_first = 0, True
    number = 1
    while not (is_first and text.startswith("]", position)):
        is_first = False
        number += text.count("\n", counted, position)
        counted = position
        with _located(path, number, is_whole=True):
            value, end = _DECODER.raw_decode(text, position)
            if "\\u" in text[position:end]:
                json.dumps(value, ensure_ascii=False).encode("utf-8")
        if not isinstance(value, dict):
            fail(path, number, None, f"has a {type(value).__name__} in its array, not an object")
        yield number, value
        position = _skip_blanks(text, end)
        if text.startswith("]", position):
            break
        if not text.startswith(",", position):
            number += text.count("\n", counted, position)
            fail(path, number, None, "is not JSON: a comma or ] should follow an object of the array")
        position = _skip_blanks(text, position + 1)
    rest = _skip_blanks(text, position + 1)
    if rest < len(text):
        fail(path, 1 + text.count("\n", 0, rest), None, "has something after the end of the array")
    if is_first:
        fail(path, None, None, "is an empty array")


def _skip_blanks(text: str, position: int) -> int:
    """The position of the next character that JSON does not skip."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


@contextmanager
def _located(path: Path, number: int, *, is_whole: bool = False) -> Iterator[None]:
    """Say in which line what is wrong; `is_whole`: positions in errors are those of the whole file, not of the line."""
    try:
        yield
    except _NotPortable as error:
        fail(path, number, None, str(error))
    except json.JSONDecodeError as error:
        fail(path, error.lineno if is_whole else number, error.colno, f"is not JSON: {error.msg}")
    except UnicodeEncodeError:
        fail(path, number, None, "has half of a surrogate pair (\\ud800 to \\udfff), which is no character")
    except RecursionError:
        fail(path, number, None, "is nested too deeply")
    except ValueError:
        fail(path, number, None, "has a number with too many digits")


class _NotPortable(Exception):
    """JSON that Python can read, but that not all programs read in the same way."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _NotPortable(f"the key '{next(key for key in keys if keys.count(key) > 1)}' is given twice")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise _NotPortable(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _NotPortable(f"{digits} is too large for a number")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite)
