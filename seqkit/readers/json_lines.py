"""JSON Lines: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from seqkit.errors import DataError, suggest
from seqkit.readers.line_reader import Line, fail, kept_lines, list_names
from seqkit.reading import report_columns
from seqkit.types import Example, Flaw


def jsonl(
    path: Path | str,
    *,
    input: str = "text",
    target: str | None = "label",
    skip_blank: bool = False,
    flaws: bool = False,
) -> Iterator[Example]:
    """One JSON object a line. Values stay as JSON has them: text, numbers, lists.

    Args:
        path: the file.
        input: the key of the input.
        target: the key of the target; None: there is none.
        skip_blank: leave out lines of nothing but white space.
        flaws: a line that cannot be read is an example with a `Flaw` for its input, instead of an error.

    Raises:
        DataError: a line that is not a JSON object or lacks a key; a key given twice, NaN, infinity, or half of a
            surrogate pair, which not all programs read in the same way.
    """
    path = Path(path)
    used = {"input": input} if target is None else {"input": input, "target": target}
    keys: dict[str, None] = {}
    first: list[Any] = []
    for line in kept_lines(path, skip_blank=skip_blank, flaws=flaws):
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
    try:
        value = json.loads(
            line.text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite
        )
        if "\\u" in line.text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _NotPortable as error:
        fail(path, line.number, None, str(error))
    except json.JSONDecodeError as error:
        fail(path, line.number, error.colno, f"is not JSON: {error.msg}")
    except UnicodeEncodeError:
        fail(path, line.number, None, "has half of a surrogate pair (\\ud800 to \\udfff), which is no character")
    except RecursionError:
        fail(path, line.number, None, "is nested too deeply")
    except ValueError:
        fail(path, line.number, None, "has a number with too many digits")
    if not isinstance(value, dict):
        fail(path, line.number, 1, f"is JSON, but a {type(value).__name__} and not an object")
    return value


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
