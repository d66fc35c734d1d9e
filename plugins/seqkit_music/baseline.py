"""Each key by itself: what a model of music should be better than."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from seqkit_music.fields import KEYS, Steps, rows_of


def markov_nats(train: Iterable[Steps], test: Iterable[Steps]) -> float:
    """Nats a step on test, if each key sounds with a probability that depends on whether it did one step before.

    Counts of train, with one added. Before the first step no key sounds.
    """
    counts = np.ones((2, 2, KEYS))  # was it on, is it on
    keys = np.arange(KEYS)
    for before, now in map(_shifted, train):
        for was, is_on in zip(before, now, strict=True):
            counts[was, is_on, keys] += 1
    nats_of = -np.log(counts / counts.sum(axis=1, keepdims=True))
    total, steps = 0.0, 0
    for before, now in map(_shifted, test):
        total += float(nats_of[before, now, keys].sum())
        steps += len(now)
    return total / max(1, steps)


def _shifted(piece: Steps) -> tuple[np.ndarray, np.ndarray]:
    """(T, 88) each: the rows before, and the rows."""
    rows = rows_of(piece).astype(np.int64)
    return np.concatenate([np.zeros((1, KEYS), np.int64), rows[:-1]]), rows
