"""A small file of word vectors, and texts with some of its words."""

from __future__ import annotations

from pathlib import Path

TEXTS = ["The cat saw Paris in 1998 .", "the dog saw NATO in Paris .", "A cat named BRCA1 sat near iPods in 1998 !"]

VECTORS = "the 0.1 0.2 0.3\ncat 1 2 3\nparis 4 5 6\n. . . 7 8 9\nlion -1 -2.5e0 1e-3\nthe 9 9 9\n"


def write_vectors(folder: Path) -> Path:
    path = folder / "vectors.txt"
    path.write_text(VECTORS)
    return path
