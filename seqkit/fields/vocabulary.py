"""Vocabularies: symbols to ids and back, in an order that does not depend on the order of the data.

Ids 0 to 3 of a vocabulary of tokens are `<pad>`, `<unk>`, `<s>` and `</s>`. A text that contains the word `<s>` gets an
id for that word, never the id of the boundary. A vocabulary of labels has no such ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Final, Self, final

import numpy as np

from seqkit.errors import suggest
from seqkit.types import JSON, UNKNOWN

SPECIALS: Final = ("<pad>", "<unk>", "<s>", "</s>")

_SHOWN = 20
"""How many labels an error message lists before it says how many more there are."""


class UnseenLabel(ValueError):
    """A label that the training data does not have."""


@final
@dataclass(frozen=True)
class Vocabulary:
    """An ordered set of symbols, with or without the four special ids before them.

    Args:
        symbols: the symbols, each once, in the order of their ids.
        specials: True for tokens: ids 0 to 3 are special and an unseen symbol is id 1. False for labels: ids start
            at 0 and an unseen symbol is an error.

    Raises:
        ValueError: a symbol occurs twice.
    """

    symbols: tuple[str, ...]
    specials: bool = True

    def __post_init__(self) -> None:
        if len(self._ids) != len(self.symbols):
            raise ValueError("a vocabulary lists a symbol twice")

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], *, min_count: int = 1, max_size: int | None = None, specials: bool = True
    ) -> Self:
        """The symbols seen at least `min_count` times, the most frequent first, ties by code points.

        `max_size` is the number of symbols kept, the special ones not counted.
        """
        frequent = (symbol for symbol, n in counts.items() if n >= min_count)
        symbols = sorted(frequent, key=lambda symbol: (-counts[symbol], symbol))
        return cls(tuple(symbols[:max_size]), specials)

    @classmethod
    def of_labels(cls, labels: Iterable[str]) -> Self:
        """A vocabulary without special ids, sorted: numbers by value, anything else by code points."""
        distinct = set(labels)
        if all(label.isascii() and label.isdigit() for label in distinct):
            return cls(tuple(sorted(distinct, key=lambda label: (int(label), label))), specials=False)
        return cls(tuple(sorted(distinct)), specials=False)

    @cached_property
    def _first_id(self) -> int:
        """The id of the first symbol."""
        return len(SPECIALS) if self.specials else 0

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, self._first_id)}

    @cached_property
    def _table(self) -> np.ndarray:
        """The id of each code point. The last entry is for all code points beyond the largest known one."""
        points = np.array([ord(s) for s in self.symbols if len(s) == 1], dtype=np.int64)
        table = np.full(int(points.max(initial=-1)) + 2, UNKNOWN, dtype=self.dtype)
        table[points] = [i for s, i in self._ids.items() if len(s) == 1]
        return table

    @cached_property
    def _symbols_by_id(self) -> dict[int, str]:
        """The symbol of each id. Unlike in a list, a negative number is none."""
        return dict(enumerate((SPECIALS + self.symbols) if self.specials else self.symbols))

    def __len__(self) -> int:
        """The number of ids, the special ones included."""
        return self._first_id + len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __getitem__(self, i: int) -> str:
        """The symbol of an id; special ids give `<pad>`, `<unk>`, `<s>`, `</s>`."""
        if not 0 <= i < len(self):
            raise IndexError(f"id {i} is outside the vocabulary (0 to {len(self) - 1})")
        return SPECIALS[i] if i < self._first_id else self.symbols[i - self._first_id]

    @property
    def unknown(self) -> int | None:
        """The id of an unseen symbol, or None where an unseen symbol is an error."""
        return UNKNOWN if self.specials else None

    @cached_property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned type that holds every id."""
        return smallest_unsigned(len(self))

    def index(self, symbol: str) -> int:
        """The id of a symbol. Raises ValueError for an unseen label, naming the known ones."""
        number = self._ids.get(symbol, self.unknown)
        if number is None:
            raise UnseenLabel(self._unseen_message(symbol))
        return number

    def lookup(self, symbols: Sequence[str]) -> np.ndarray:
        """(T,) ids of many symbols. Raises as `index` does."""
        if self.specials:
            return np.fromiter(map(self._ids.get, symbols, repeat(UNKNOWN)), self.dtype, len(symbols))
        return np.fromiter((self.index(symbol) for symbol in symbols), self.dtype, len(symbols))

    def lookup_characters(self, text: str) -> np.ndarray:
        """(T,) ids of the characters of a text, looked up in one table all at once. Unseen ones have the id 1.

        Raises:
            TypeError: the vocabulary has no id for unseen symbols.
        """
        if not self.specials:
            raise TypeError("a vocabulary of labels does not look up characters")
        ids: np.ndarray = self._table.take(code_points(text), mode="clip")
        return ids

    def names(self, ids: Iterable[int] | np.ndarray) -> list[str]:
        """The symbols of many ids. Raises IndexError as `[]` does."""
        numbers: Iterable[int] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        try:
            return list(map(self._symbols_by_id.__getitem__, numbers))
        except KeyError:
            return [self[int(i)] for i in numbers]

    def state(self) -> JSON:
        """Everything, as JSON."""
        return {"symbols": list(self.symbols), "specials": self.specials}

    @classmethod
    def restore(cls, state: JSON) -> Self:
        """The vocabulary whose `state` this is."""
        return cls(tuple(state["symbols"]), state["specials"])

    def _unseen_message(self, symbol: str) -> str:
        more = len(self.symbols) - _SHOWN
        known = ", ".join(self.symbols[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        suggestion = suggest(symbol, self.symbols)
        message = f"label {symbol!r} was not seen in training; known labels: {known}"
        return f"{message}; {suggestion}" if suggestion else message


def smallest_unsigned(size: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned type for ids below `size`."""
    return np.dtype(np.min_scalar_type(max(size - 1, 0)))


def code_points(text: str) -> np.ndarray:
    """(T,) uint32, one number a character, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
