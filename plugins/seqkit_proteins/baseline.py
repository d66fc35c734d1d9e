"""Naive Bayes on a window of residues: what a model of proteins should be better than."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from seqkit import Example
from seqkit_proteins.fields import UNKNOWN

_HALF: Final = 8
_OUTSIDE: Final = 0
"""The number of places before the first residue and after the last."""


def window_scores(train: Iterable[Example], test: Iterable[Example]) -> dict[str, float]:
    """The accuracy of naive Bayes on 17 residues, the one in question in their middle, and of the commonest structure.

    Counts have one added. Residues whose structure is not known count nowhere, but are seen in the windows.
    """
    examples = list(train)
    residues = sorted({letter for example in examples for letter in example.input})
    known = {letter: number for number, letter in enumerate(residues, start=2)}
    letters = sorted({letter for example in examples for letter in str(example.target)} - {UNKNOWN})
    size = len(known) + 2  # one for what is outside, one for residues that training does not have
    counts = np.ones((len(letters), 2 * _HALF + 1, size))
    prior = np.ones(len(letters))
    for window, letter in _windows(examples, known):
        counts[letters.index(letter), np.arange(2 * _HALF + 1), window] += 1
        prior[letters.index(letter)] += 1
    scores = np.log(counts / counts.sum(axis=2, keepdims=True))
    right, commonest, total = 0, 0, 0
    for window, letter in _windows(test, known):
        of_letters = np.log(prior) + scores[:, np.arange(2 * _HALF + 1), window].sum(axis=1)
        right += letters[int(of_letters.argmax())] == letter
        commonest += letters[int(prior.argmax())] == letter
        total += 1
    return {"accuracy": right / max(1, total), "accuracy of the commonest structure": commonest / max(1, total)}


def _windows(examples: Iterable[Example], known: dict[str, int]) -> Iterator[tuple[np.ndarray, str]]:
    """The numbers around each residue whose structure is known, and that structure."""
    for example in examples:
        numbers = [known.get(letter, 1) for letter in example.input]
        row = np.array([*[_OUTSIDE] * _HALF, *numbers, *[_OUTSIDE] * _HALF])
        for place, letter in enumerate(str(example.target)):
            if letter != UNKNOWN:
                yield row[place : place + 2 * _HALF + 1], letter
