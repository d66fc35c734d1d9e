"""Times of steps: dates in the forms of ISO 8601, how far apart they are, and which come next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np

Moment: TypeAlias = datetime | Decimal
"""A date, or a number that counts steps."""

_FORMS: Final = (
    "%Y",
    "%Y-%m",
    "%Y-%m-%d",
    "%Y%m%d",
    *(
        f"%Y-%m-%d{separator}{clock}{zone}"
        for separator in " T"
        for clock in ("%H:%M", "%H:%M:%S")
        for zone in ("", "Z")
    ),
)
"""How dates are written; in other forms they are read, and written as `datetime.isoformat` does."""


def parse_time(text: str) -> datetime:
    """A date, or a date and a time, in a form of ISO 8601: 2024-03-31, 2024-03-31 17:00, 20240331T1700Z, 2024-03, 2024.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    rest = {4: "-01-01", 7: "-01"}.get(len(text), "") if text[:4].isdigit() else ""
    try:
        return datetime.fromisoformat(text + rest)
    except ValueError:
        raise ValueError(f"{text!r} is no date such as 2024-03-31, 2024-03-31 17:00 or 2024-03") from None


def next_times(times: Sequence[datetime], count: int) -> list[datetime]:
    """The times that go on after these in the same steps: that of the last two, or whole months.

    Steps are months if all times are on the same day of the month, or all on its last day, a month or more apart.

    Raises:
        ValueError: there are fewer than two times, or they do not rise.
    """
    if len(times) < 2 or times[-1] <= times[-2]:
        raise ValueError("the times that come next are known only after two, the second of them later")
    last, step = times[-1], times[-1] - times[-2]
    months = _months(times[-1]) - _months(times[-2])
    if months < 1 or not (_on_last_day(times) or _on_one_day(times)):
        return [last + step * number for number in range(1, count + 1)]
    return _add_months(last, months, count, on_last_day=_on_last_day(times))


@final
@dataclass(frozen=True)
class Spacing:
    """How far apart the steps of a series are.

    Attributes:
        step: the distance of one step from the next: a number, a time, or how many months.
        unit: of the step.
        on_last_day: months: all times are on the last day of one.
    """

    step: timedelta | Decimal | int
    unit: Literal["time", "number", "month", "working day"]
    on_last_day: bool = False

    def between(self, first: Moment, second: Moment) -> float:
        """How many steps the second time is after the first."""
        if self.unit == "working day":
            return float(np.busday_count(_date(first).date(), _date(second).date()))
        return float(_distance(first, second, self.unit) / self.step)

    def after(self, last: Moment, count: int) -> list[Moment]:
        """The `count` times after this one."""
        if isinstance(self.step, int):
            return list(_add_months(_date(last), self.step, count, on_last_day=self.on_last_day))
        if self.unit == "working day":
            day, coming = _date(last), list[Moment]()
            while len(coming) < count:
                day += timedelta(days=1)
                if day.weekday() < 5:
                    coming.append(day)
            return coming
        step: Any = self.step
        return [last + step * number for number in range(1, count + 1)]

    def __str__(self) -> str:
        """`1 day`, `3 months`, `15 minutes`, `1 working day`; of numbers, the number."""
        if isinstance(self.step, Decimal):
            return f"{self.step:f}"
        if isinstance(self.step, int):
            return _counted(self.step // 12, "year") if self.step % 12 == 0 else _counted(self.step, "month")
        if self.unit == "working day":
            return "1 working day"
        for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
            if self.step % timedelta(seconds=size) == timedelta(0):
                return _counted(self.step // timedelta(seconds=size), name)
        seconds = self.step.total_seconds()
        return "1 second" if seconds == 1 else f"{seconds:g} seconds"


def spacing_of(times: Sequence[Moment]) -> Spacing | None:
    """How far apart these rising times are, by the commonest distance: some of them may be missing.

    Steps are months as `next_times` has it, and working days if weekends are left out.

    Returns:
        None if there are fewer than three times, or half of the distances and more are others.
    """
    if len(times) < 3:
        return None
    unit: Literal["time", "number", "month"] = "number"
    on_last_day = False
    if isinstance(times[0], datetime):
        dates = [_date(time) for time in times]
        on_last_day = _on_last_day(dates)
        unit = "month" if _are_months(dates) else "time"
    distances = [_distance(a, b, unit) for a, b in pairwise(times)]
    counts = Counter(distances)
    step = min(counts, key=lambda distance: (-counts[distance], distance))
    if 2 * counts[step] < len(distances):
        return None
    if unit == "time" and step == timedelta(days=1) and len(counts) > 1 and _are_working_days(times):
        return Spacing(step, "working day")
    return Spacing(step, unit, on_last_day)


def regular_times(times: Sequence[datetime], count: int) -> list[datetime] | None:
    """The times that come next, if these are a regular step apart: a day, a working day, a month. Some may be missing.

    None: they are not. `next_times` goes on by the last step, whatever it is.
    """
    spacing = spacing_of(times)
    if spacing is None or not is_regular(times, spacing):
        return None
    return [_date(time) for time in spacing.after(times[-1], count)]


def is_regular(times: Sequence[Moment], spacing: Spacing) -> bool:
    """Whether all distances are a whole number of steps."""
    counts = [spacing.between(a, b) for a, b in pairwise(times)]
    return all(count >= 1 and count == round(count) for count in counts)


def write_times(times: Sequence[Moment], like: str) -> list[str]:
    """The times as text, written as `like` is."""
    for form in _FORMS:
        written = [time.strftime(form) for time in times if isinstance(time, datetime)]
        if len(written) == len(times) and _is_written(like, form) and [*map(parse_time, written)] == list(times):
            return written
    return [time.isoformat(" ") if isinstance(time, datetime) else f"{time:f}" for time in times]


def _is_written(text: str, form: str) -> bool:
    return parse_time(text).strftime(form) == text


def _distance(first: Moment, second: Moment, unit: str) -> Any:
    if unit == "month":
        return _months(_date(second)) - _months(_date(first))
    later: Any = second
    return later - first


def _are_working_days(times: Sequence[Moment]) -> bool:
    """Whether no time is on a weekend, though there are weekends between them."""
    first, last = _date(times[0]).date(), _date(times[-1]).date()
    has_weekend = np.busday_count(first, last) < (last - first).days
    clocks = {_date(time).time() for time in times}
    return bool(has_weekend) and len(clocks) == 1 and all(_date(time).weekday() < 5 for time in times)


def _date(moment: Moment) -> datetime:
    assert isinstance(moment, datetime)
    return moment


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _add_months(last: datetime, months: int, count: int, *, on_last_day: bool) -> list[datetime]:
    """The times so many months after each other, on the same day or the last one."""
    coming = []
    for number in range(1, count + 1):
        year, month = divmod(_months(last) + months * number, 12)
        end = datetime(year + (month == 11), (month + 1) % 12 + 1, 1, tzinfo=last.tzinfo) - timedelta(days=1)
        day = end.day if on_last_day else min(last.day, end.day)
        coming.append(last.replace(year=year, month=month + 1, day=day))
    return coming


def _are_months(times: Sequence[datetime]) -> bool:
    """Whether the times are on one day of the month, or on its last one, a month or more apart."""
    are_apart = all(_months(later) > _months(time) for time, later in pairwise(times))
    return are_apart and (_on_last_day(times) or _on_one_day(times))


def _on_last_day(times: Sequence[datetime]) -> bool:
    return all((time + timedelta(days=1)).day == 1 for time in times)


def _on_one_day(times: Sequence[datetime]) -> bool:
    return len({(time.day, time.time()) for time in times}) == 1


def _months(time: datetime) -> int:
    return 12 * time.year + time.month - 1
