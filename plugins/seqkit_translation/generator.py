"""Two small transductions with one right answer each: numbers to English words, and dates as people write them to ISO.

    4217                    four thousand two hundred seventeen
    Tue 3 Mar 1998          1998-03-03

Both have what translation has: another order, another length, and parts that are copied. A number or a date is in one
split only, in whichever form it is written.

Of `random` only `random()` is used: its numbers are the same in every version of Python.
"""

from __future__ import annotations

import datetime
import hashlib
import random
from collections.abc import Callable, Iterator
from itertools import islice

from seqkit_translation.options import Kind

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FIRST = datetime.date(1900, 1, 1).toordinal()
_LAST = datetime.date(2099, 12, 31).toordinal()

_HASH_RANGES = (("train", 0, 205), ("dev", 205, 230), ("test", 230, 256))


def pairs(split: str, count: int, *, seed: int, kind: Kind = "both") -> Iterator[tuple[str, str]]:
    """`count` different pairs of a split ("train", "dev", "test"), the same ones on every run.

    A hash of the target chooses the split, so no number and no date is in two splits, whatever the sizes and seeds. A
    shorter split is the beginning of a longer one.
    """
    return islice(_distinct(split, random.Random(f"pairs {seed} {split} {kind}"), kind), count)


def _distinct(split: str, rng: random.Random, kind: Kind) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    while True:
        numbers = kind == "numbers" or (kind == "both" and rng.random() < 0.5)
        source, target = _number(rng) if numbers else _date(rng)
        if source not in seen and split_of(target) == split:
            seen.add(source)
            yield source, target


def split_of(target: str) -> str:
    """The split of a target, which depends on the target alone; 80 : 10 : 10."""
    byte = hashlib.blake2b(target.encode("utf-8"), digest_size=1).digest()[0]
    return next(name for name, begin, end in _HASH_RANGES if begin <= byte < end)


def in_words(number: int) -> str:
    """0 to 999,999 in words, without an "and"."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    count, rest = divmod(number, size)
    return f"{in_words(count)} {name}" + (f" {in_words(rest)}" if rest else "")


def _number(rng: random.Random) -> tuple[str, str]:
    digits = 1 + int(rng.random() ** 0.5 * 6)  # long numbers more often, because there are more of them
    number = int(rng.random() * 10**digits)
    return str(number), in_words(number)


_FORMATS: tuple[Callable[[datetime.date], str], ...] = (
    lambda d: f"{d.day} {_MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{_MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{_MONTHS[d.month - 1]} {_ordinal(d.day)} {d.year}",
    lambda d: f"the {_ordinal(d.day)} of {_MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{_DAYS[d.weekday()][:3]} {d.day} {_MONTHS[d.month - 1][:3]} {d.year}",
    lambda d: f"{_DAYS[d.weekday()]}, {_MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{d.day}.{d.month}.{d.year}",
    lambda d: f"{d.day:02}-{_MONTHS[d.month - 1][:3].upper()}-{d.year}",
)


def _date(rng: random.Random) -> tuple[str, str]:
    date = datetime.date.fromordinal(_FIRST + int(rng.random() * (_LAST - _FIRST + 1)))
    return _FORMATS[int(rng.random() * len(_FORMATS))](date), date.isoformat()


def _ordinal(day: int) -> str:
    if day in (11, 12, 13):
        return f"{day}th"
    return f"{day}{('th', 'st', 'nd', 'rd')[day % 10] if day % 10 < 4 else 'th'}"
