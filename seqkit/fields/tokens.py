"""Text as a sequence of ids: `Tokens` for inputs, `Text` for targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from seqkit.fields.tokenizers import TOKENIZERS, Tokenizer, Unit
from seqkit.fields.vocabulary import Vocabulary
from seqkit.types import END, JSON, UNKNOWN, Field

if TYPE_CHECKING:
    from torch import nn


@final
@dataclass(frozen=True)
class Tokens(Field):
    """A text as the ids of its characters, words, bytes or pieces, (T,). No boundary symbols are added.

    Text is read in the composed Unicode form, NFC; bytes are taken as they are.

    A value is a text; for words it may also be a list of words that the reader has already separated. Symbols that are
    not in the training data have the id 1.

    Args:
        unit: what a time step is.
        lower: convert the text to lower case first.
        min_count: a symbol that occurs less often in the training data is unknown.
        max_size: at most so many symbols, the four special ones not counted.
        pieces: about how many pieces to learn, the four special ones included (unit `pieces`).
        drop: share of the tokens that are replaced by `<unk>` at random in training.
        backwards: the ids are those of the text from its last symbol to its first.
        also: gives more values to learn the symbols from. If the input and the target field each also learn from the
            other's values, both have the same symbols. Called when the field is fitted.
    """

    unit: Unit = "words"
    lower: bool = field(default=False, kw_only=True)
    min_count: int = field(default=1, kw_only=True)
    max_size: int | None = field(default=None, kw_only=True)
    pieces: int = field(default=8000, kw_only=True)
    drop: float = field(default=0.0, kw_only=True)
    backwards: bool = field(default=False, kw_only=True)
    also: Callable[[], Iterable[Any]] | None = field(default=None, kw_only=True, repr=False)
    tokenizer: Tokenizer | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        return replace(self, tokenizer=self._tokenizer.fit(chain(values, self.also() if self.also else ())))

    def encode(self, value: Any) -> np.ndarray:
        """(T,) ids. Raises ValueError if the value is not text, or empty."""
        ids = self._tokenizer.encode(value)
        return ids[::-1].copy() if self.backwards else ids

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        if self.backwards:
            raise TypeError("a text that is read backwards cannot be read in pieces")
        return self._tokenizer.feed(piece, kept, end=end)

    def decode(self, array: np.ndarray) -> str:
        """The text; words are joined with a space, padding and boundaries are left out."""
        return self._tokenizer.decode(np.asarray(array)[::-1] if self.backwards else array)

    @property
    def size(self) -> int:
        return len(self._tokenizer.fitted_vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._tokenizer.fitted_vocabulary

    @property
    def unknown(self) -> int | None:  # type: ignore[override]
        return self._tokenizer.fitted_vocabulary.unknown

    def state(self) -> JSON:
        return self._tokenizer.state()

    def restore(self, state: JSON) -> Self:
        return replace(self, tokenizer=self._tokenizer.restore(state))

    def canonical(self, value: Any) -> Any:
        return self._tokenizer.canonical(value)

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        return generator.integers(UNKNOWN, self.size, steps)

    def layer(self, dim: int) -> nn.Module:
        from seqkit.layers.embedding import Embedding

        return Embedding(self.size, dim, drop=self.drop)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self.tokenizer or TOKENIZERS[self.unit](self.lower, self.min_count, self.max_size, self.pieces)


@final
@dataclass(frozen=True)
class Text(Field):
    """A text to generate, with its own vocabulary: its ids and then `</s>`, (U,), U >= 2.

    Text is read in the composed Unicode form, NFC; bytes are taken as they are.

    Args:
        unit: what a step of the output is.
        lower: convert the text to lower case first.
        min_count: a symbol that occurs less often in the training data is unknown.
        max_size: at most so many symbols, the four special ones not counted.
        pieces: about how many pieces to learn, the four special ones included (unit `pieces`).
        also: gives more values to learn the symbols from, as for `Tokens`.
    """

    unit: Unit = "characters"
    lower: bool = field(default=False, kw_only=True)
    min_count: int = field(default=1, kw_only=True)
    max_size: int | None = field(default=None, kw_only=True)
    pieces: int = field(default=8000, kw_only=True)
    also: Callable[[], Iterable[Any]] | None = field(default=None, kw_only=True, repr=False)
    tokenizer: Tokenizer | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        return replace(self, tokenizer=self._tokenizer.fit(chain(values, self.also() if self.also else ())))

    def encode(self, value: Any) -> np.ndarray:
        """(U,) ids, the last of them `</s>`. Raises ValueError if the value is not text, or empty."""
        ids = self._tokenizer.encode(value)
        return np.append(ids, ids.dtype.type(END))

    def decode(self, array: np.ndarray) -> str:
        """The text up to the first `</s>`."""
        ids = np.asarray(array)
        ends = np.flatnonzero(ids == END)
        return self._tokenizer.decode(ids[: ends[0]] if len(ends) else ids)

    @property
    def size(self) -> int:
        return len(self._tokenizer.fitted_vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._tokenizer.fitted_vocabulary

    @property
    def unknown(self) -> int | None:  # type: ignore[override]
        return self._tokenizer.fitted_vocabulary.unknown

    def state(self) -> JSON:
        return self._tokenizer.state()

    def restore(self, state: JSON) -> Self:
        return replace(self, tokenizer=self._tokenizer.restore(state))

    def canonical(self, value: Any) -> Any:
        return self._tokenizer.canonical(value)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self.tokenizer or TOKENIZERS[self.unit](self.lower, self.min_count, self.max_size, self.pieces)
