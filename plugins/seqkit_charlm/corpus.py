"""Where running text comes from, and how it is cut into train, dev and test."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

from seqkit import DataError, Dataset, Example, File, Problem, fetch, readers

Document = tuple[str, str]
"""A name under which a human finds it, and its text."""

_COMMIT = "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
SHAKESPEARE = Dataset(
    "char_lm/tinyshakespeare",
    (
        File(
            "input.txt",
            f"https://raw.githubusercontent.com/karpathy/char-rnn/{_COMMIT}/data/tinyshakespeare/input.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            1_115_394,
        ),
    ),
    licence="the text is in the public domain",
    about="excerpts of Shakespeare's plays, 1.1 million characters (A. Karpathy 2015, char-rnn)",
)


@dataclass(frozen=True)
class Corpus:
    """A text: a named source, or a file of the user's, which decides if it is given."""

    source: str
    file: Path | None = None

    def documents(self) -> list[Document]:
        """The text as its documents in order; joined without anything in between they are the whole.

        Raises:
            DataError: the file is missing or is no text.
        """
        if self.file is None and self.source == "python-docs":
            from pydoc_data.topics import topics

            return [(f"pydoc_data.topics[{name!r}]", topics[name]) for name in sorted(topics)]
        return [(path.name, example.input) for path in self.files() for example in readers.text(path)]

    def files(self) -> Sequence[Path]:
        """The files that the text depends on."""
        if self.file is not None:
            return [self.file]
        if self.source == "python-docs":
            import pydoc_data.topics

            return [Path(pydoc_data.topics.__file__)]
        return [fetch(SHAKESPEARE) / file.path for file in SHAKESPEARE.files]

    def about(self) -> dict[str, Any]:
        """Facts for the run folder."""
        if self.file is not None:
            return {"dataset": str(self.file)}
        if self.source == "python-docs":
            return {
                "dataset": f"pydoc_data.topics of Python {platform.python_version()}",
                "licence": "PSF-2.0, the licence of the Python documentation",
            }
        return {"dataset": SHAKESPEARE.name, "licence": SHAKESPEARE.licence, "about": SHAKESPEARE.about}


@dataclass(frozen=True)
class Cut:
    """Three consecutive parts of a text, and the pieces that dev and test are scored in.

    Attributes:
        dev: share of what is before test.
        test: share of the whole, at its end.
        piece: characters of a piece.
        dev_at: whether dev is the end of what is before test, or its start.
        whole_words: move every cut to the end of the white space after it, so that no word is cut in two.
    """

    dev: float
    test: float
    piece: int
    dev_at: Literal["end", "start"] = "end"
    whole_words: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        shares = {"train": 1.0, "dev": self.dev, "test": self.test}
        return tuple(split for split, share in shares.items() if share > 0)

    def about(self) -> str:
        side = "last" if self.dev_at == "end" else "first"
        return f"by position: the last {self.test:.4g} is test, the {side} {self.dev:.4g} of the rest is dev"

    def bounds(self, text: str) -> dict[str, tuple[int, int]]:
        """Where each split begins and ends, in characters."""
        test = self._at(text, int(len(text) * (1 - self.test)))
        size = int(test * self.dev)
        if self.dev_at == "end":
            meet = self._at(text, test - size)
            train, dev = (0, meet), (meet, test)
        else:
            meet = self._at(text, size)
            train, dev = (meet, test), (0, meet)
        return {"train": train, "dev": dev, "test": (test, len(text))}

    def examples(self, documents: Sequence[Document], split: str) -> Iterator[Example]:
        """Train: one example a document (the first or last may be cut off). Dev, test: one example a piece.

        Raises:
            DataError: there is no text in this split.
        """
        text = "".join(text for _, text in documents)
        begin, end = self.bounds(text)[split]
        if not text[begin:end].strip():
            name = documents[0][0] if documents else "the text"
            what = f"{split} is empty: it is characters {begin + 1} to {end} of {len(text)}"
            raise DataError(Problem(name, what, "give more text, or another share"))
        starts = list(accumulate((len(text) for _, text in documents), initial=0))
        if split == "train":
            edges = [begin, *sorted({at for at in starts if begin < at < end}), end]
        else:
            edges = self._edges(text, begin, end)
        document, line, seen = 0, 1, 0
        for start, stop in pairwise(edges):
            while starts[document + 1] <= start:
                document += 1
                line, seen = 1, starts[document]
            line, seen = line + text.count("\n", seen, start), start
            yield Example(text[start:stop], None, f"{documents[document][0]}:{line}")

    def _edges(self, text: str, begin: int, end: int) -> list[int]:
        """Where the pieces of text[begin:end] meet. A rest that holds no word joins the piece before it."""
        edges = [begin]
        while edges[-1] < end:
            edges.append(min(end, self._at(text, edges[-1] + self.piece)))
        if len(edges) > 2 and not text[edges[-2] : edges[-1]].strip():
            del edges[-2]
        return edges

    def _at(self, text: str, at: int) -> int:
        """`at`, or the end of the white space that follows the word there."""
        if self.whole_words:
            while 0 < at < len(text) and not (text[at - 1].isspace() and not text[at].isspace()):
                at += 1
        return min(at, len(text))
