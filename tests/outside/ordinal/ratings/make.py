"""Makes the ratings beside it: `python ratings/make.py`. The same bytes each time.

A review is one to three remarks; each weighs from -2 to 2, `very` doubles and `not` turns it round. Their sum says how
the whole is rated, so neither the words alone nor their number decides.
"""

from __future__ import annotations

import random
from pathlib import Path

WORDS = {"awful": -2, "weak": -1, "fine": 1, "superb": 2}
THINGS = ("plot", "cast", "music", "ending")
RATINGS = ((-3, "terrible"), (-1, "poor"), (0, "fair"), (2, "good"), (99, "excellent"))
SIZES = {"train": 600, "dev": 100, "test": 200}


def review(rng: random.Random) -> tuple[str, str]:
    """A text and its rating. Of `rng` only `random()` is used, which never changes between Pythons."""
    total, remarks = 0, []
    for _ in range(1 + int(rng.random() * 3)):
        word = list(WORDS)[int(rng.random() * len(WORDS))]
        how = ("", "", "very ", "not ")[int(rng.random() * 4)]
        total += WORDS[word] * {"": 1, "very ": 2, "not ": -1}[how]
        remarks.append(f"the {THINGS[int(rng.random() * len(THINGS))]} was {how}{word}")
    return " and ".join(remarks), next(rating for most, rating in RATINGS if total <= most)


def text(split: str) -> str:
    rng = random.Random(f"ratings {split}")
    return "".join("\t".join(review(rng)) + "\n" for _ in range(SIZES[split]))


if __name__ == "__main__":
    for split in SIZES:
        (Path(__file__).parent / f"{split}.tsv").write_text(text(split), encoding="ascii", newline="\n")
