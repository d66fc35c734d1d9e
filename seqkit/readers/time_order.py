"""The times in a column of a table: whether they rise, where some are missing, and which come next."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, final

from seqkit.readers.line_reader import fail
from seqkit.reading import report_remark
from seqkit.times import Moment, Spacing, is_regular, parse_time, spacing_of, write_times

_TEXT: Final = "text"
_DATES: Final = (("date",), ("date with a time zone",))
_GAP: Final = 1.5
"""Steps: a longer distance between two times is a gap, one that is hardly longer than a step is none."""


@final
@dataclass(slots=True)
class _Sequence:
    """The times of one sequence.

    Attributes:
        lines: of their rows.
        texts: as they are written.
        latest: what the last one can be read as.
    """

    lines: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    latest: dict[str, Any] = field(default_factory=dict)


@final
class TimeOrder:
    """Checks the times in a column of a table as its rows are read: within each sequence they must rise.

    Times are dates of ISO 8601 (`seqkit.forecasts.parse_time`), numbers, or text that begins with a year of four digits
    (2024Q1), and all alike. The order of other text is not known, which `report` tells; such a time must differ from
    the one before.

    Args:
        path: the table.
        column: the name of the column.
        repeats: equal times may follow each other, as of events, and the rows of a sequence do. Then times are no
            steps, so `report` tells no gaps, and only the last one is kept.
    """

    def __init__(self, path: Path, column: str, *, repeats: bool = False) -> None:
        self._path, self._column, self._repeats = path, column, repeats
        self._kinds: tuple[str, ...] = ()
        self._first = (0, "")
        self._sequences: dict[str, _Sequence] = {}

    def add(self, line: int, text: str, sequence: str = "") -> None:
        """The time of the next row of a sequence.

        Raises:
            DataError: it is empty, is not written as the others are, or is not after the time before.
        """
        text = text.strip()
        if not text:
            fail(self._path, line, None, f"column '{self._column}' is empty", "each row needs its time")
        values = _values(text, self._kinds)
        kinds = tuple(kind for kind in values if kind in self._kinds or not self._kinds)
        if not kinds:
            number, first = self._first
            message = f"time {text!r} is not written as {first!r} is in line {number}"
            fail(self._path, line, None, message, "write all times alike, such as 2024-03-31 or 2024-03-31 17:00")
        if not self._kinds:
            self._first = (line, text)
        self._kinds = kinds
        if self._repeats and sequence not in self._sequences:
            self._sequences.clear()
        times = self._sequences.setdefault(sequence, _Sequence())
        if times.texts:
            kind = kinds[0]
            before = times.latest[kind]
            is_same = bool(values[kind] == before)
            if not (is_same and self._repeats) and (is_same if kind == _TEXT else values[kind] <= before):
                hint = "sort the rows by time" + ("; each time comes once" if is_same else "")
                fail(self._path, line, None, f"time {text!r} is not after {times.texts[-1]!r}", hint)
        if self._repeats:
            times.lines, times.texts = [], []
        times.lines.append(line)
        times.texts.append(text)
        times.latest = values

    def report(self) -> None:
        """Tell where times are missing, and that the order of text is not checked, as remarks of `seqkit.reading`."""
        if self._kinds[:1] == (_TEXT,):
            report_remark(
                f"{self._path.name}: the times of column '{self._column}', such as {self._first[1]!r}, are neither "
                "dates of ISO 8601 (2024-03-31) nor numbers: rows are taken to be in order of time"
            )
        first, places, missing = "", 0, 0
        for times in () if self._repeats else self._sequences.values():
            moments, spacing = self._spacing(times)
            for number in range(1, len(moments)) if spacing is not None else ():
                steps = spacing.between(moments[number - 1], moments[number]) if spacing else 1.0
                if steps < _GAP:
                    continue
                places, missing = places + 1, missing + round(steps) - 1
                between = f"between {times.texts[number - 1]!r} and {times.texts[number]!r}, where a step is {spacing}"
                first = first or f"{self._path.name}:{times.lines[number]}: {_missing(missing)} {between}"
        if places:
            rest = f"; in all {_missing(missing)} at {places:,} places" if places > 1 else ""
            report_remark(f"{first}{rest}; they are read as if none was missing")

    def times_after(self, sequence: str, count: int) -> list[str] | None:
        """The times that follow the last one of a sequence, written as that is.

        Returns:
            None if its times are not a regular step apart.
        """
        times = self._sequences.get(sequence, _Sequence())
        moments, spacing = self._spacing(times)
        if spacing is None or not is_regular(moments, spacing):
            return None
        return write_times(spacing.after(moments[-1], count), times.texts[-1])

    def _spacing(self, times: _Sequence) -> tuple[list[Moment], Spacing | None]:
        """The times as dates or numbers, and how far apart they are. Nothing if they are neither."""
        read: dict[str, Any] = {"date": parse_time, "date with a time zone": parse_time, "number": Decimal}
        if not self._kinds or self._kinds[0] not in read:
            return [], None
        moments = list(map(read[self._kinds[0]], times.texts))
        return moments, spacing_of(moments)


def _missing(count: int) -> str:
    return "1 time is missing" if count == 1 else f"{count:,} times are missing"


def _values(text: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """What a time can be read as, by kind, the likeliest first: values of one kind can be compared.

    What it cannot be, by the `kinds` of the times before, need not be there.
    """
    values: dict[str, Any] = {}
    if kinds != ("number",):
        try:
            date = parse_time(text)
            values["date" if date.tzinfo is None else "date with a time zone"] = date
        except ValueError:
            pass
    if kinds not in _DATES:
        try:
            number = Decimal(text)
            if number.is_finite():
                values["number"] = number
        except InvalidOperation:
            pass
    if values:
        return values
    if re.match(r"\d{4}\D", text):
        values[f"year and {len(text) - 4} characters"] = text
    return values | {_TEXT: text}
