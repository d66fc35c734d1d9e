"""`Words`: a text as words, each with the characters that it is spelled with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, final

import numpy as np

from seqkit.fields.vocabulary import Vocabulary, smallest_unsigned
from seqkit.layers.pretrained_vectors import normalise_word, read_words
from seqkit.types import JSON, PAD, Field

if TYPE_CHECKING:
    from torch import nn

Characters: TypeAlias = Literal["none", "lstm", "conv"]

SHAPES: Final = ("lower", "initial", "caps", "digits", "other")
"""The shapes of words; an unknown word is read as the unknown word of its shape, ids 1 to 5."""

FIRST_WORD: Final = 1 + len(SHAPES)
COLUMNS: Final = 2
"""Numbers of a row before those of the characters: the word, and the unknown word of its shape."""

_FIRST_LETTER = 2
_UNKNOWN_LETTER = 1
# Rows that are kept, so that each word is worked out once.
_KEPT = 1 << 18


@final
@dataclass(frozen=True)
class Words(Field):
    """A text as words with their characters: (T, 2 + M) numbers, M the longest word of the training data.

    A row is the number of the word, the number of the unknown word of its shape (all in capitals, with an initial one,
    digits, lower case, other), and the numbers of its characters, then zeros. A word that is unknown as it is spelled
    is read as its lower-cased form where that one is known, and else as the unknown word of its shape. A longer word
    than M keeps its beginning and its end for the characters; as a word it is whole.

    A value is a list of words, or a text that is split on white space.

    Args:
        lower: words are the same in any case (their characters are not).
        digits: words are the same whatever their digits (their characters are not).
        min_count: a word seen less often in training is unknown.
        drop: share of the words that training reads as the unknown word of their shape (word dropout), so that these
            are learned.
        characters: how the characters of a word become numbers: a recurrence over them in both directions (Lample et
            al. 2016), a convolution and the maximum (Ma and Hovy 2016), or not at all.
        char_dim: width of a character's vector.
        char_hidden: how many numbers the characters of a word become.
        max_word: the most characters of a word.
        vectors: a text file of word vectors to start from. Its words are known, too: the first `max_vectors` of them.
        tune: whether these vectors are learned on.
        max_vectors: how many words of the file are known beside those of the training data.
    """

    unit = "words"

    lower: bool = field(default=False, kw_only=True)
    digits: bool = field(default=False, kw_only=True)
    min_count: int = field(default=1, kw_only=True)
    drop: float = field(default=0.0, kw_only=True)
    characters: Characters = field(default="lstm", kw_only=True)
    char_dim: int = field(default=25, kw_only=True)
    char_hidden: int = field(default=50, kw_only=True)
    max_word: int = field(default=24, kw_only=True)
    vectors: Path | None = field(default=None, kw_only=True)
    tune: bool = field(default=True, kw_only=True)
    max_vectors: int = field(default=100_000, kw_only=True)
    words: Vocabulary | None = field(default=None, kw_only=True, repr=False)
    letters: Vocabulary | None = field(default=None, kw_only=True, repr=False)
    longest: int = field(default=0, kw_only=True, repr=False)
    learned: int = field(default=0, kw_only=True, repr=False)
    """How many of the words, the first ones, have no vector in the file."""
    width: int | None = field(default=None, kw_only=True, repr=False)
    """Width of the file's vectors."""

    def fit(self, values: Iterable[Any]) -> Self:
        """Learns the words and characters of the training data, and the words of the file.

        Raises:
            DataError: the file of vectors is missing or is none.
        """
        spelled: Counter[str] = Counter()
        for value in values:
            spelled.update(self._split(value))
        counts: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for word, n in spelled.items():
            counts[self._key(word)] += n
            if self.characters != "none":
                letters.update(dict.fromkeys(word, n))
        known = Vocabulary.from_counts(counts, min_count=self.min_count, specials=False).symbols
        learned, width = len(known), None
        if self.vectors is not None:
            spelled_there, width = read_words(self.vectors)
            listed = list(dict.fromkeys(self._key(word) for word in spelled_there))
            every, own = set(listed), set(known)
            without = [word for word in known if word not in every and word.lower() not in every]
            learned = len(without)
            left_out = set(without)
            more = [word for word in listed[: self.max_vectors] if word not in own]
            known = (*without, *(word for word in known if word not in left_out), *more)
        return replace(
            self,
            words=Vocabulary(known, specials=False),
            # A character that occurs once is unknown, so that the unknown one is learned.
            letters=Vocabulary.from_counts(letters, min_count=2, specials=False),
            longest=min(self.max_word, max(map(len, spelled), default=1)) if self.characters != "none" else 0,
            learned=learned,
            width=width,
        )

    def encode(self, value: Any) -> np.ndarray:
        """(T, 2 + M) numbers. Raises ValueError if the value is no text and no words, or is empty."""
        words = self._split(value)
        rows = self._rows
        if len(rows) > _KEPT:
            rows.clear()
        for word in words:
            if word not in rows:
                rows[word] = self._row(word)
        return np.stack([rows[word] for word in words])

    def decode(self, array: np.ndarray) -> str:
        """The words with single spaces between them; of an unknown word what its characters tell."""
        return " ".join(self._word(row) for row in np.asarray(array).tolist() if row[0] != PAD)

    @property
    def size(self) -> int:
        """How many words there are, the unknown ones and the padding included."""
        return FIRST_WORD + len(self._fitted[0])

    @property
    def unknown(self) -> int | None:  # type: ignore[override]
        """One of several; see `count_unknown`."""
        return FIRST_WORD - 1

    def count_unknown(self, array: np.ndarray) -> int:
        """How many words stand for what training has not seen: those that are the unknown word of their shape."""
        return int(np.count_nonzero(array[:, 0] == array[:, 1]))

    def state(self) -> JSON:
        if self.words is None or self.letters is None:
            return None
        return {
            "words": list(self.words.symbols),
            "letters": list(self.letters.symbols),
            "longest": self.longest,
            "learned": self.learned,
            "width": self.width,
        }

    def restore(self, state: JSON) -> Self:
        if state is None:
            return self
        return replace(
            self,
            words=Vocabulary(tuple(state["words"]), specials=False),
            letters=Vocabulary(tuple(state["letters"]), specials=False),
            longest=state["longest"],
            learned=state["learned"],
            width=state["width"],
        )

    def layer(self, dim: int) -> nn.Module:
        """See `seqkit.layers.words`. Raises UsageError if the characters leave no room for the words in `dim`."""
        from seqkit.layers.words import WordLayer

        words, letters = self._fitted
        return WordLayer(
            dim,
            words=self.size,
            letters=_FIRST_LETTER + len(letters),
            columns=COLUMNS,
            characters=self.characters,
            char_dim=self.char_dim,
            char_hidden=self.char_hidden,
            drop=self.drop,
            width=self.width,
            fixed=0 if self.width is None or self.tune else len(words) - self.learned,
            file=self.vectors if self.width else None,
            names=words.symbols[self.learned :] if self.width else (),
            key=partial(normalise_word, lower=self.lower, digits=self.digits),
        )

    @cached_property
    def _fitted(self) -> tuple[Vocabulary, Vocabulary]:
        if self.words is None or self.letters is None:
            raise RuntimeError("the field is not fitted yet")
        return self.words, self.letters

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self._fitted[0].symbols, FIRST_WORD)}

    @cached_property
    def _letter_ids(self) -> dict[str, int]:
        return {letter: number for number, letter in enumerate(self._fitted[1].symbols, _FIRST_LETTER)}

    @cached_property
    def _dtype(self) -> np.dtype[np.unsignedinteger]:
        return smallest_unsigned(max(self.size, _FIRST_LETTER + len(self._letter_ids)))

    def _row(self, word: str) -> np.ndarray:
        unknown = 1 + SHAPES.index(shape_of(word))
        key = self._key(word)
        row = np.zeros(COLUMNS + self.longest, dtype=self._dtype)
        row[0] = self._ids.get(key) or self._ids.get(key.lower()) or unknown
        row[1] = unknown
        if self.longest:
            letters = [self._letter_ids.get(letter, _UNKNOWN_LETTER) for letter in shortened(word, self.longest)]
            row[COLUMNS : COLUMNS + len(letters)] = letters
        return row

    def _word(self, row: Sequence[int]) -> str:
        letters = [letter for letter in row[COLUMNS:] if letter]
        known = row[0] >= FIRST_WORD
        if letters and (not known or (len(letters) < self.longest and _UNKNOWN_LETTER not in letters)):
            spelled = [
                self._fitted[1].symbols[i - _FIRST_LETTER] if i != _UNKNOWN_LETTER else "\ufffd" for i in letters
            ]
            return "".join(spelled)
        return self._fitted[0].symbols[row[0] - FIRST_WORD] if known else f"<unk:{SHAPES[row[0] - 1]}>"

    def _key(self, word: str) -> str:
        """What a word is looked up by."""
        return normalise_word(word, lower=self.lower, digits=self.digits)

    def _split(self, value: Any) -> Sequence[str]:
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list | tuple):
            raise ValueError("is missing" if value is None else f"should be text or words, but is {value!r:.60}")
        if not words:
            raise ValueError("is empty")
        for position, word in enumerate(words, 1):
            if not isinstance(word, str):
                raise ValueError(f"word {position} should be text, but is {word!r:.60}")
            if not word:
                raise ValueError(f"word {position} is empty")
        return words


def shape_of(word: str) -> str:
    """The shape of a word, one of `SHAPES`: what its unknown reading still tells.

    `caps`: two capitals or more and no small letter (NATO, BRCA1); `initial`: the first letter is the one capital
    (Paris, A); `lower`: letters, none of them a capital; `digits`: digits and no letter; `other`: all else.
    """
    letters = [letter for letter in word if letter.isalpha()]
    if not letters:
        return "digits" if any(letter.isdigit() for letter in word) else "other"
    capitals = sum(letter.isupper() or letter.istitle() for letter in letters)
    if capitals == 0:
        return "lower"
    if capitals == 1 and word[0] == letters[0] and (letters[0].isupper() or letters[0].istitle()):
        return "initial"
    return "caps" if capitals == len(letters) else "other"


def shortened(word: str, most: int) -> str:
    """A word of at most `most` characters: of a longer one the first half of them and the last, the middle left out."""
    if len(word) <= most:
        return word
    last = most // 2
    return word[: most - last] + word[len(word) - last :]
