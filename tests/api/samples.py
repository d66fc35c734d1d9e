"""Inputs of each task as a Python program gives them, of many lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

_DICE = np.random.default_rng(1)
_WORDS = ["the", "a", "good", "film", "dull", "warm", "Steel", "Group", "met", "in", "Berlin", ",", ".", "not"]
TEXTS = [" ".join(_DICE.choice(_WORDS, size=size)) for size in (1, 3, 12, 2, 7, 30, 5, 1)]

INPUTS: dict[str, list[Any]] = {
    "charlm": ["to be", "that is the question, or not to be: that is", "a"],
    "genome": ["ACGTTGCA" * 6, "ACGT" * 30, "G" * 70],
    "names": ["Arvese", "Dolmic", "Hakuri"],
    "ner": [*TEXTS, TEXTS[5].split()],
    "ner-text": TEXTS,
    "sentiment": TEXTS,
    "speech": [np.sin(np.arange(size) / 9) * 0.1 for size in (900, 3000, 1, 1601)],
    "translation": ["3 hours", "half past two", "a"],
}
"""{task: inputs}"""
