"""JSON: one object a line (JSON Lines), or one array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from seqkit.errors import DataError, suggest
from seqkit.readers.line_reader import Line, fail, kept_lines, list_names, numbered
from seqkit.readers.shards import over_shards
from seqkit.reading import report_columns
from seqkit.types import Example, Flaw


@over_shards
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
    if missing := _missing_key(row, keys):
        fail(path, line.number, None, *missing)
    return row


def _missing_key(row: dict[str, Any], keys: Iterable[str]) -> tuple[str, str] | None:
    """What to say, with a hint, if an object lacks one of these keys."""
    missing = next((key for key in keys if key not in row), None)
    if missing is None:
        return None
    return f"has no key '{missing}'", suggest(missing, row) or list_names("keys", row)


def _object(path: Path, line: Line) -> dict[str, Any]:
    """The JSON object in a line."""
    with _located(path, line.number):
        value = _DECODER.decode(line.text)
        if "\\u" in line.text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    if not isinstance(value, dict):
        fail(path, line.number, 1, f"is JSON, but a {type(value).__name__} and not an object")
    return value


@over_shards
def json_array(
    path: Path | str,
    *,
    input: str = "text",
    target: str | None = "label",
    flaws: bool = False,
    encoding: str = "utf-8",
) -> Iterator[Example]:
    """The objects of a file that is one JSON array of objects, which is held in memory. Otherwise like `jsonl`.

    The id of an example is `file:line`, and `file:line:column` if the object does not stand first on its line.

    Args:
        path: the file.
        input: the key of the input.
        target: the key of the target; None: there is none.
        flaws: an object that cannot be read is an example with a `Flaw` for its input, instead of an error.
        encoding: of the text.

    Raises:
        DataError: the file is not such an array, or as for `jsonl`.
    """
    path = Path(path)
    used = {"input": input} if target is None else {"input": input, "target": target}
    keys: dict[str, None] = {}
    first: list[Any] = []
    for where, row in _items(path, flaws, encoding):
        id = ":".join((path.name, *(str(number) for number in where if number is not None)))
        missing = None if isinstance(row, Flaw) else _missing_key(row, used.values())
        if missing is not None:
            if not flaws:
                fail(path, *where, *missing)
            row = Flaw(missing[0])
        if isinstance(row, Flaw):
            yield Example(row, None, id)
            continue
        keys |= dict.fromkeys(row)
        first = first or [row[key] for key in used.values()]
        yield Example(row[input], None if target is None else row[target], id)
    report_columns(path.name, used, [key for key in keys if key not in used.values()], header=True, first=first)


Place: TypeAlias = tuple[int, int | None]
"""A line, and a column if something stands before it on the line."""


def objects(
    path: Path, *, is_array: bool, skip_blank: bool = False, encoding: str = "utf-8"
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """All objects of JSON Lines or of an array, each with the place where it starts.

    Raises:
        DataError: as for `jsonl` and `json_array`.
    """
    if is_array:
        for place, item in _items(path, False, encoding):
            assert not isinstance(item, Flaw)
            yield place, item
        return
    for line in kept_lines(path, skip_blank=skip_blank, flaws=False, encoding=encoding):
        yield (line.number, None), _object(path, line)


def _items(path: Path, flaws: bool, encoding: str) -> Iterator[tuple[Place, dict[str, Any] | Flaw]]:
    """The objects of an array, each with the place where it starts; with `flaws`, also what is wrong with an object.

    Raises:
        DataError: the text is no array, or an object cannot be read and its end cannot be found.
    """
    lines = list(numbered(path, flaws=flaws, encoding=encoding))
    text = "".join(line.text + "\n" for line in lines)
    no_text = {line.number: line.flaw for line in lines if line.flaw}
    places = _Places(text)
    position = _skip_blanks(text, 0)
    if not text.startswith("[", position):
        fail(path, *places.of(position), "is not a JSON array, which begins with [")
    position = _skip_blanks(text, position + 1)
    is_first = True
    while not (is_first and text.startswith("]", position)):
        is_first = False
        place = places.of(position)
        value: dict[str, Any] | Flaw
        try:
            value, end = _item(path, place, text, position)
        except DataError as error:
            after = _end_of_item(text, position) if flaws else None
            if after is None:
                raise
            value, end = Flaw(error.problems[0].what), after
        for number in range(place[0], place[0] + text.count("\n", position, end) + 1) if no_text else ():
            value = Flaw(no_text[number]) if number in no_text else value
        yield place, value
        position = _skip_blanks(text, end)
        if text.startswith("]", position):
            break
        if not text.startswith(",", position):
            fail(path, *places.of(position), "is not JSON: a comma or ] should follow an object of the array")
        position = _skip_blanks(text, position + 1)
    rest = _skip_blanks(text, position + 1)
    if rest < len(text):
        fail(path, *places.of(rest), "has something after the end of the array")
    if is_first:
        fail(path, None, None, "is an empty array")


def _item(path: Path, place: Place, text: str, position: int) -> tuple[dict[str, Any], int]:
    """The object that starts at a position, and the position after it."""
    with _located(path, *place, is_whole=True):
        value, end = _DECODER.raw_decode(text, position)
        if "\\u" in text[position:end]:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    if not isinstance(value, dict):
        fail(path, *place, f"has a {type(value).__name__} in its array, not an object")
    return value, end


_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\[\]{},]')
"""A string, or a sign that structures JSON."""
_OBJECT_LINE: Final = re.compile(r",[ \t]*\n[ \t]*(?=\{)")


def _end_of_item(text: str, position: int) -> int | None:
    """The position after a value of an array that is not JSON: of the next comma or ] outside of its brackets.

    If they are not closed, of the next comma after which an object begins on a line of its own; None: there is none.
    """
    depth = 0
    for token in _TOKEN.finditer(text, position):
        sign = token[0]
        if depth == 0 and sign in (",", "]"):
            return token.start()
        depth += (sign in ("{", "[")) - (sign in ("}", "]"))
    object_line = _OBJECT_LINE.search(text, position)
    return object_line.start() if object_line else None


class _Places:
    """The places of positions in a text, which are asked for in their order."""

    def __init__(self, text: str) -> None:
        self._text, self._line, self._counted = text, 1, 0

    def of(self, position: int) -> Place:
        self._line += self._text.count("\n", self._counted, position)
        self._counted = position
        start = self._text.rfind("\n", 0, position) + 1
        return self._line, position - start + 1 if self._text[start:position].strip() else None


def _skip_blanks(text: str, position: int) -> int:
    """The position of the next character that JSON does not skip."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


@contextmanager
def _located(path: Path, number: int, column: int | None = None, *, is_whole: bool = False) -> Iterator[None]:
    """Say where what is wrong; `is_whole`: positions in errors are those of the whole file, not of the line."""
    try:
        yield
    except _NotPortable as error:
        fail(path, number, column, str(error))
    except json.JSONDecodeError as error:
        fail(path, error.lineno if is_whole else number, error.colno, f"is not JSON: {error.msg}")
    except UnicodeEncodeError:
        fail(path, number, column, "has half of a surrogate pair (\\ud800 to \\udfff), which is no character")
    except RecursionError:
        fail(path, number, column, "is nested too deeply")
    except ValueError:
        fail(path, number, column, "has a number with too many digits")


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
