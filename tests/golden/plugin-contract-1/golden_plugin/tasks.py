"""Two tasks: labels of strings that are read from a file, and a language model of generated text."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seqkit import (
    JSON,
    Count,
    DataError,
    Example,
    Field,
    Label,
    Limit,
    Next,
    Prediction,
    Problem,
    Share,
    Task,
    Tokens,
)
from seqkit.metrics import label_scores
from seqkit.readers import numbered, tsv

if TYPE_CHECKING:
    from torch import nn

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Letters(Field):
    """A field of its own: a text as the numbers of its letters."""

    unit = "letters"

    known: str = ""
    drop: float = 0.0

    def fit(self, values: Iterable[Any]) -> Letters:
        return replace(self, known="".join(sorted(set("".join(values)))))

    def encode(self, value: Any) -> np.ndarray:
        """(T,) int64."""
        if not isinstance(value, str):
            raise ValueError(f"should be text, not {value!r}")
        unknown = sorted(set(value) - set(self.known))
        if unknown:
            raise ValueError(f"has the letter {unknown[0]!r}, which training has not")
        return np.array([self.known.index(letter) for letter in value], dtype=np.int64)

    def decode(self, array: np.ndarray) -> str:
        return "".join(self.known[number] for number in array)

    @property
    def size(self) -> int:
        return len(self.known)

    def state(self) -> JSON:
        return {"known": self.known}

    def restore(self, state: JSON) -> Letters:
        return replace(self, known=state["known"])

    def layer(self, dim: int) -> nn.Module:
        from golden_plugin.modules import Looked

        return Looked(self.size, dim, self.drop)


def parity(
    *,
    folder: Path | None = None,
    own_field: bool = True,
    windows_of: Count | None = None,
    drop: Share = 0.0,
    columns: tuple[Count, Count] = (1, 2),
    score: Literal["labels", "right"] = "labels",
) -> Task:
    """Is the number of a's even or odd?

    Args:
        folder: where train.tsv, dev.tsv and test.tsv are; null: the files that come along.
        own_field: read letters with the plugin's own field, or with seqkit's.
        windows_of: cut inputs into windows of at most this many letters.
        drop: share of the letters' values dropped.
        columns: where input and target are.
        score: which scores.
    """
    place = folder or HERE

    def read(split: str) -> Iterator[Example]:
        return tsv(place / f"{split}.tsv", input=columns[0], target=columns[1])

    return Task(
        read=read,
        input=Letters(drop=drop) if own_field else Tokens("characters", drop=drop),
        target=Label(),
        head={"use": "golden-pick", "pool": "last"},
        metric=label_scores if score == "labels" else right,
        best="accuracy" if score == "labels" else "max:right",
        splits=("train", "dev", "test"),
        limit=None if windows_of is None else Limit(windows_of, "window"),
        files=lambda split: [place / f"{split}.tsv"],
        parse=str.strip,
        finish=shouted,
        notes=lambda: ["these are generated strings"],
        about={"source": "generated"},
    )


def right(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """A metric of its own: a pure function of predictions and targets."""
    pairs = list(zip(predictions, targets, strict=True))
    return {"right": sum(said.value == true for said, true in pairs) / len(pairs)}


def shouted(given: Any, said: Prediction) -> Prediction:
    """What the user is to have: the same label in capitals."""
    return replace(said, value=str(said.value).upper())


def text(*, lines: Count = 60, window: Count = 16, file: Path | None = None) -> Task:
    """What comes next in lines of counting?

    Args:
        lines: how many lines to make for training.
        window: steps of truncated back-propagation through time.
        file: lines of your own, for every split.
    """

    def read(split: str) -> Iterator[Example]:
        if file is not None:
            for line in numbered(file):
                if not line.text:
                    raise DataError(Problem(f"{file}:{line.number}", "is blank", "leave it out"))
                yield Example(line.text, None, f"{file.name}:{line.number}")
            return
        dice = random.Random(f"golden {split}")
        for number in range(lines if split == "train" else 10):
            first = int(dice.random() * 90)
            yield Example(" ".join(str(first + k) for k in range(8)), None, f"{split}:{number}")

    return Task(read=read, input=Tokens("characters"), target=Next(), head="language", best="nats", window=window)
