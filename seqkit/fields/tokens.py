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
from seqkit.types import END, JSON, Field

if TYPE_CHECKING:
    from torch import nn


@final
@dataclass(frozen=True)
class Tokens(Field):
    """A text as the ids of its characters, words, bytes or pieces, (T,). No boundary symbols are added.

    A value is a text; for words it may also be a list of words that the reader has already separated.
    Symbols that training has not seen are id 1.

    Args:
        unit: what a time step is.
        lower: lower the case first.
        min_count: a symbol seen less often in training is unknown.
        max_size: most symbols, the four special ones not counted.
        pieces: about how many pieces to learn, the four special ones included (unit `pieces`).
        drop: share of the tokens that training replaces by `<unk>` at random.
        also: more values to learn the symbols from, beside those of this side: two fields that each learn from both
            sides have the same symbols. Called when the field is fitted.
    """

    unit: Unit = "words"
    lower: bool = field(default=False, kw_only=True)
    min_count: int = field(default=1, kw_only=True)
    max_size: int | None = field(default=None, kw_only=True)
    pieces: int = field(default=8000, kw_only=True)
    drop: float = field(default=0.0, kw_only=True)
    also: Callable[[], Iterable[Any]] | None = field(default=None, kw_only=True, repr=False)
    coder: Tokenizer | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        return replace(self, coder=self._coder.fit(chain(values, self.also() if self.also else ())))

    def encode(self, value: Any) -> np.ndarray:
        """(T,) ids. Raises ValueError if the value is no text or is empty."""
        return self._coder.encode(value)

    def decode(self, array: np.ndarray) -> str:
        """The text; words are joined with a space, padding and boundaries are left out."""
        return self._coder.decode(array)

    @property
    def size(self) -> int:
        return len(self._coder.known)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._coder.known

    @property
    def unknown(self) -> int | None:  # type: ignore[override]
        return self._coder.known.unknown

    def state(self) -> JSON:
        return self._coder.state()

    def restore(self, state: JSON) -> Self:
        return replace(self, coder=self._coder.restore(state))

    def layer(self, dim: int) -> nn.Module:
        from seqkit.layers.embedding import Embedding

        return Embedding(self.size, dim, drop=self.drop)

    @cached_property
    def _coder(self) -> Tokenizer:
        return self.coder or TOKENIZERS[self.unit](self.lower, self.min_count, self.max_size, self.pieces)


@final
@dataclass(frozen=True)
class Text(Field):
    """A text to be produced, with a vocabulary of its own: its ids and then `</s>`, (U,), U >= 2.

    Args:
        unit: what a step of the output is.
        lower: lower the case first.
        min_count: a symbol seen less often in training is unknown.
        max_size: most symbols, the four special ones not counted.
        pieces: about how many pieces to learn, the four special ones included (unit `pieces`).
        also: more values to learn the symbols from, as for `Tokens`.
    """

    unit: Unit = "characters"
    lower: bool = field(default=False, kw_only=True)
    min_count: int = field(default=1, kw_only=True)
    max_size: int | None = field(default=None, kw_only=True)
    pieces: int = field(default=8000, kw_only=True)
    also: Callable[[], Iterable[Any]] | None = field(default=None, kw_only=True, repr=False)
    coder: Tokenizer | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        return replace(self, coder=self._coder.fit(chain(values, self.also() if self.also else ())))

    def encode(self, value: Any) -> np.ndarray:
        """(U,) ids, the last of them `</s>`. Raises ValueError if the value is no text or is empty."""
        ids = self._coder.encode(value)
        return np.append(ids, ids.dtype.type(END))

    def decode(self, array: np.ndarray) -> str:
        """The text up to the first `</s>`."""
        ids = np.asarray(array)
        ends = np.flatnonzero(ids == END)
        return self._coder.decode(ids[: ends[0]] if len(ends) else ids)

    @property
    def size(self) -> int:
        return len(self._coder.known)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._coder.known

    @property
    def unknown(self) -> int | None:  # type: ignore[override]
        return self._coder.known.unknown

    def state(self) -> JSON:
        return self._coder.state()

    def restore(self, state: JSON) -> Self:
        return replace(self, coder=self._coder.restore(state))

    @cached_property
    def _coder(self) -> Tokenizer:
        return self.coder or TOKENIZERS[self.unit](self.lower, self.min_count, self.max_size, self.pieces)
