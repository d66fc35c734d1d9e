"""Sequences that need memory, each a function of its split, its number and a seed.

Of `random` only `random()` is used, and of NumPy the generator that is not changed any more: their numbers are the same
in every version.
"""

from __future__ import annotations

import random
import zlib

import numpy as np

BLANK, MARKER = "_", ">"
"""The words of a copying sequence that are no items. Items are `a`, `b`, ..., and `s26`, `s27`, ... after `z`."""


def copy(split: str, number: int, *, lag: int, items: int, symbols: int, seed: int) -> tuple[list[str], list[str]]:
    """A sequence of lag + items steps and its tags.

    Items, blanks, the marker one step before the first item is wanted, and a blank for each further step.
    """
    rng = random.Random(f"copy {seed} {split} {number}")
    drawn = [item(int(rng.random() * symbols)) for _ in range(items)]
    steps = [*drawn, *[BLANK] * (lag - items), MARKER, *[BLANK] * (items - 1)]
    return steps, [BLANK] * lag + drawn


def item(number: int) -> str:
    """The name of an item."""
    return chr(ord("a") + number) if number < 26 else f"s{number}"


def adding(split: str, number: int, *, length: int, seed: int) -> tuple[np.ndarray, float]:
    """(length, 2) numbers and marks, and the sum of the two marked numbers."""
    rng = np.random.RandomState(zlib.crc32(f"adding {seed} {split} {number}".encode()))
    numbers = rng.random_sample(length + 2)
    half = length // 2
    steps = np.zeros((length, 2))
    steps[:, 0] = numbers[:length]
    marked = [int(numbers[-2] * half), half + int(numbers[-1] * (length - half))]
    steps[marked, 1] = 1.0
    return steps, float(steps[marked, 0].sum())
