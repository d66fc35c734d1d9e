"""Writes the ratings beside this script, the same bytes on every run: `python ratings/make.py`.

A review is one to three remarks. Each has a value from -2 to 2, which `very` doubles and `not` inverts. The sum of the
values gives the rating, so neither the words alone nor their number is enough.
"""

from __future__ import annotations

import random
from pathlib import Path

WORDS = {"awful": -2, "weak": -1, "fine": 1, "superb": 2}
ASPECTS = ("plot", "cast", "music", "ending")
RATINGS = ((-3, "terrible"), (-1, "poor"), (0, "fair"), (2, "good"), (99, "excellent"))
SIZES = {"train": 600, "dev": 100, "test": 200}


def review(rng: random.Random) -> tuple[str, str]:
    """A text and its rating. Of `rng` only `random()` is used: it is the same in every version of Python."""
    total, remarks = 0, []
    for _ in range(1 + int(rng.random() * 3)):
        word = list(WORDS)[int(rng.random() * len(WORDS))]
        modifier = ("", "", "very ", "not ")[int(rng.random() * 4)]
        total += WORDS[word] * {"": 1, "very ": 2, "not ": -1}[modifier]
        remarks.append(f"the {ASPECTS[int(rng.random() * len(ASPECTS))]} was {modifier}{word}")
    return " and ".join(remarks), next(rating for highest, rating in RATINGS if total <= highest)


def text(split: str) -> str:
    rng = random.Random(f"ratings {split}")
    return "".join("\t".join(review(rng)) + "\n" for _ in range(SIZES[split]))


if __name__ == "__main__":
    for split in SIZES:
        (Path(__file__).parent / f"{split}.tsv").write_text(text(split), encoding="ascii", newline="\n")
