"""Word vectors looked up in their text file, line by line: the reference of `seqkit.layers.vector_table`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from seqkit.layers.pretrained_vectors import text_rows


def read_vectors(path: Path, wanted: Collection[str], key: Callable[[str], str] = str) -> dict[str, np.ndarray]:
    """(D,) float32 for each wanted word: of the words with its key the one that equals it, or else the first one."""
    vectors: dict[str, np.ndarray] = {}
    for name in wanted:
        rows = [(word, numbers) for _, word, numbers in text_rows(path) if key(word) == name]
        exact = [numbers for word, numbers in rows if word == name]
        for numbers in [*exact, *(numbers for _, numbers in rows)][:1]:
            vectors[name] = np.array([float(number) for number in numbers]).astype(np.float32)
    return vectors
