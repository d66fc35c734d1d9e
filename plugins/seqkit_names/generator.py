"""Names of made-up languages, each with a grammar of syllables of its own, for a task that needs no download.

A name is one to four syllables, each an onset, a vowel and perhaps a coda, and sometimes an ending. Which letters
follow each other depends on the language, on the position in the name, and in some languages on letters further back:
all vowels of a name, and its ending, are of one group (vowel harmony).

Of `random` only `random()` is used: its numbers are the same in every version of Python.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Language:
    """A grammar of names.

    Attributes:
        onsets: the beginnings of a syllable.
        vowels: groups of vowels; all vowels of a name are of one group.
        codas: the ends of a syllable; an empty text is none.
        syllables: the numbers of syllables of a name, each as likely.
        endings: the endings of a name; if there are several groups of vowels and as many endings, one for each group.
    """

    onsets: Sequence[str]
    vowels: Sequence[Sequence[str]]
    codas: Sequence[str]
    syllables: Sequence[int]
    endings: Sequence[str]


LANGUAGES = {
    "Arvese": Language(
        ("b", "c", "d", "f", "l", "m", "n", "r", "s", "t", "v"),
        (("a", "e", "i", "o"),),
        ("", "", "", "", "n", "r", "l"),
        (2, 3, 3),
        ("ini", "etti", "acci", "ello", "one"),
    ),
    "Dolmic": Language(
        ("b", "d", "g", "h", "k", "kl", "m", "r", "sch", "st", "t", "w"),
        (("a", "e", "o", "u", "ei", "au"),),
        ("ck", "ff", "ld", "ll", "n", "nd", "rg", "rt", "tz"),
        (1, 1, 2),
        ("", "er", "mann", "berg"),
    ),
    "Hakuri": Language(
        ("h", "k", "m", "n", "r", "s", "sh", "t", "ts", "y"),
        (("a", "i", "u", "o"),),
        ("", "", "", "", "", "n"),
        (2, 3, 4),
        ("", "", "ta", "moto"),
    ),
    "Ksarish": Language(
        ("b", "d", "g", "k", "l", "m", "n", "p", "s", "t", "v", "z"),
        (("a", "o", "u"), ("ä", "ö", "ü")),
        ("", "", "l", "n", "r", "k"),
        (2, 3),
        ("oğlu", "öğlü"),
    ),
    "Maeran": Language(
        ("f", "h", "k", "l", "m", "n", "p", "t", "w"),
        (("a", "e", "i", "o", "u", "ae", "ai", "ou"),),
        ("",),
        (2, 3, 4),
        ("", "", "'i", "'u"),
    ),
    "Vostian": Language(
        ("b", "br", "d", "dr", "g", "k", "l", "m", "p", "s", "t", "v", "z", "zh"),
        (("a", "e", "i", "o", "u"),),
        ("", "", "l", "n", "r", "s", "v"),
        (1, 2, 2, 3),
        ("ov", "in", "sky", "enko"),
    ),
}

_HASH_RANGES = (("train", 0, 205), ("dev", 205, 230), ("test", 230, 256))


def names(split: str, count: int, *, seed: int) -> Iterator[tuple[str, str]]:
    """`count` different pairs of language and name of a split ("train", "dev", "test"), the same ones on every run.

    A hash of the name chooses its split, so no name is in two splits, whatever the sizes and seeds. A shorter split is
    the beginning of a longer one.
    """
    return islice(_distinct(split, random.Random(f"names {seed} {split}")), count)


def _distinct(split: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    while True:
        language = _pick(rng, tuple(LANGUAGES))
        name = spell(LANGUAGES[language], rng)
        if (language, name) not in seen and split_of(name) == split:
            seen.add((language, name))
            yield language, name


def split_of(name: str) -> str:
    """The split of a name, which depends on the name alone; 80 : 10 : 10."""
    byte = hashlib.blake2b(name.encode("utf-8"), digest_size=1).digest()[0]
    return next(split for split, begin, end in _HASH_RANGES if begin <= byte < end)


def spell(language: Language, rng: random.Random) -> str:
    """One name."""
    group = int(rng.random() * len(language.vowels))
    vowels = language.vowels[group]
    name = ""
    for _ in range(_pick(rng, language.syllables)):
        name += _pick(rng, language.onsets) + _pick(rng, vowels) + _pick(rng, language.codas)
    harmonic = len(language.vowels) == len(language.endings) > 1
    return (name + (language.endings[group] if harmonic else _pick(rng, language.endings))).capitalize()


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]
