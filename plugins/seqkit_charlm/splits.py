"""How running text is cut into train, dev and test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from seqkit import DataError, Example, Problem
from seqkit.reading import report_split_rule


class Document(NamedTuple):
    """A text, or a part of one.

    Attributes:
        name: for messages.
        text: the characters.
        continues: whether it goes on from the document before it, as the files of a list do.
    """

    name: str
    text: str
    continues: bool = False


def joined(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents of each text."""
    group: list[Document] = []
    for document in documents:
        if group and not document.continues:
            yield group
            group = []
        group.append(document)
    if group:
        yield group


@dataclass(frozen=True)
class PositionSplit:
    """Cuts a text by position into train, dev and test, and dev and test into pieces that are scored each by itself.

    Attributes:
        dev: share of the text before test that is dev.
        test: share of the text that is test, at its end.
        piece: characters of a piece.
        dev_at: whether dev is the end or the start of the text before test.
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
        """Start and end of each split, in characters."""
        test = self._cut_position(text, int(len(text) * (1 - self.test)))
        size = int(test * self.dev)
        if self.dev_at == "end":
            boundary = self._cut_position(text, test - size)
            train, dev = (0, boundary), (boundary, test)
        else:
            boundary = self._cut_position(text, size)
            train, dev = (boundary, test), (0, boundary)
        return {"train": train, "dev": dev, "test": (test, len(text))}

    def examples(self, documents: Sequence[Document], split: str) -> Iterator[Example]:
        """The examples of a split: of train the documents (the first and last may be cut off), else the pieces.

        Raises:
            DataError: there is no text in this split.
        """
        report_split_rule(self.about())
        text = "".join(document.text for document in documents)
        begin, end = self.bounds(text)[split]
        if not text[begin:end].strip():
            name = documents[0].name if documents else "the text"
            reason = f"{split} is empty: it is characters {begin + 1} to {end} of {len(text)}"
            raise DataError(Problem(name, reason, "give more text, or another share"))
        starts = list(accumulate((len(document.text) for document in documents), initial=0))
        if split == "train":
            begun = {start for start, document in zip(starts, documents, strict=False) if not document.continues}
            edges = [begin, *sorted(start for start in begun if begin < start < end), end]
        else:
            edges = self._piece_edges(text, begin, end)
        document, line, counted = 0, 1, 0
        for start, stop in pairwise(edges):
            while starts[document + 1] <= start:
                document += 1
                line, counted = 1, starts[document]
            line, counted = line + text.count("\n", counted, start), start
            yield Example(text[start:stop], None, f"{documents[document].name}:{line}")

    def pieces(self, documents: Iterable[Document]) -> Iterator[Example]:
        """Whole texts in pieces, as those of test are; no piece is of two texts."""
        undivided = replace(self, dev=0.0, test=1.0)
        return (example for text in joined(documents) for example in undivided.examples(text, "test"))

    def _piece_edges(self, text: str, begin: int, end: int) -> list[int]:
        """Start of each piece of text[begin:end], and end. A last piece without a word is joined to the one before."""
        edges = [begin]
        while edges[-1] < end:
            edges.append(min(end, self._cut_position(text, edges[-1] + self.piece)))
        if len(edges) > 2 and not text[edges[-2] : edges[-1]].strip():
            del edges[-2]
        return edges

    def _cut_position(self, text: str, position: int) -> int:
        """The position, or with `whole_words` the end of the white space after the word there."""
        if self.whole_words:
            while 0 < position < len(text) and not (text[position - 1].isspace() and not text[position].isspace()):
                position += 1
        return min(position, len(text))
