"""Tokenizers: from text to ids and back, as characters, words, bytes, or pieces of words.

The fields `Tokens` and `Text` use them. A tokenizer is immutable; `fit` gives a new one.
"""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias, final

import numpy as np

from seqkit.errors import MissingExtra
from seqkit.fields import incremental, sentencepiece_check
from seqkit.fields.unicode_form import FORM, UnicodeForm, to_form
from seqkit.fields.vocabulary import SPECIALS, Vocabulary, code_points
from seqkit.types import END, JSON, PAD, START, UNKNOWN

Unit: TypeAlias = Literal["characters", "words", "bytes", "pieces"]

_BLOCK = 1 << 20
"""Characters are counted in blocks of about so many."""
_CODE_POINTS = 0x110000

_MOST_WORDS = 5_000_000
_LINE = 1000
_LONGEST_WORD = 1000
"""Pieces are learned from about so many words at most, in lines of about so many characters; longer words are cut."""

_SPACE = "\u2581"
"""What a piece has in place of the space before a word."""
_MOST_KEPT = 1 << 16
_LONGEST_KEPT = 40
"""Words whose pieces are kept, and the characters of the longest of them."""

_BYTES = Vocabulary(tuple(f"<0x{byte:02X}>" for byte in range(256)))
"""The names that sentencepiece gives to bytes."""


@dataclass(frozen=True)
class Tokenizer(ABC):
    """Text to ids and back. `vocabulary` is None until the tokenizer is fitted.

    Args:
        lower: convert the text to lower case first.
        min_count: a symbol that occurs less often is unknown.
        max_size: at most so many symbols, the special ones not counted.
        pieces: at most so many pieces (unit `pieces` only).
        form: the Unicode normalisation form in which text is read; None: as it is.
    """

    lower: bool = False
    min_count: int = 1
    max_size: int | None = None
    pieces: int = 8000
    vocabulary: Vocabulary | None = None
    form: UnicodeForm | None = FORM

    @abstractmethod
    def fit(self, values: Iterable[Any]) -> Self:
        """A tokenizer that knows the symbols of these values."""

    @abstractmethod
    def encode(self, value: Any) -> np.ndarray:
        """(T,) ids, T >= 1. Raises ValueError if the value is not text, or empty."""

    @abstractmethod
    def decode(self, ids: np.ndarray) -> str:
        """The text of these ids, without padding and boundaries."""

    def feed(self, piece: Any, kept: JSON, *, end: bool) -> tuple[np.ndarray | None, JSON]:
        """See `seqkit.types.Field.feed`. A word is certain when white space follows it."""
        words, kept = incremental.feed_words(piece, kept, end=end)
        return (self._encode_words(words) if words else None), kept

    def _encode_words(self, words: list[str]) -> np.ndarray:
        """(T,) ids of whole words."""
        return self.encode(words)

    def state(self) -> JSON:
        return None if self.vocabulary is None else self.vocabulary.state() | _form_state(self.form)

    def restore(self, state: JSON) -> Self:
        if state is None:
            return self
        return replace(self, vocabulary=Vocabulary.restore(state), form=state.get("form"))

    def canonical(self, value: Any) -> Any:
        """A value as `encode` reads it, but for lower case."""
        return to_form(value, self.form)

    @property
    def fitted_vocabulary(self) -> Vocabulary:
        """The vocabulary. Raises RuntimeError before `fit`."""
        if self.vocabulary is None:
            raise RuntimeError("the field is not fitted yet")
        return self.vocabulary

    def _check_text(self, value: Any) -> str:
        """The text in its form, in lower case if `lower`. Raises ValueError if it is not text."""
        if not isinstance(value, str):
            raise ValueError(f"should be text, but is {_type_name(value)}")
        text: str = to_form(value, self.form)
        return text.lower() if self.lower else text

    def _from_counts(self, counts: Counter[str]) -> Self:
        vocabulary = Vocabulary.from_counts(counts, min_count=self.min_count, max_size=self.max_size)
        return replace(self, vocabulary=vocabulary)


@final
@dataclass(frozen=True)
class CharacterTokenizer(Tokenizer):
    """A symbol is a Unicode code point."""

    def fit(self, values: Iterable[Any]) -> Self:
        totals = np.zeros(_CODE_POINTS, dtype=np.int64)
        for block in _blocks(self._check_text(value) for value in values):
            seen = np.bincount(code_points(block))
            totals[: len(seen)] += seen
        return self._from_counts(Counter({chr(point): int(totals[point]) for point in np.flatnonzero(totals)}))

    def encode(self, value: Any) -> np.ndarray:
        return _not_empty(self.fitted_vocabulary.lookup_characters(self._check_text(value)))

    def feed(self, piece: Any, kept: JSON, *, end: bool) -> tuple[np.ndarray | None, JSON]:
        text, kept = incremental.feed_characters(piece, kept, end=end, form=self.form, lower=self.lower)
        return (self.fitted_vocabulary.lookup_characters(text) if text else None), kept

    def decode(self, ids: np.ndarray) -> str:
        return "".join("\ufffd" if i == UNKNOWN else self.fitted_vocabulary[i] for i in _without_specials(ids))


@final
@dataclass(frozen=True)
class WordTokenizer(Tokenizer):
    """A symbol is a word: text between white space, or an item of a list that the reader made."""

    def fit(self, values: Iterable[Any]) -> Self:
        counts: Counter[str] = Counter()
        for value in values:
            counts.update(self._words(value))
        return self._from_counts(counts)

    def encode(self, value: Any) -> np.ndarray:
        return _not_empty(self.fitted_vocabulary.lookup(self._words(value)))

    def decode(self, ids: np.ndarray) -> str:
        return " ".join(self.fitted_vocabulary[i] for i in _without_specials(ids))

    def _words(self, value: Any) -> list[str]:
        if not isinstance(value, list | tuple):
            return self._check_text(value).split()
        for position, word in enumerate(value, 1):
            if not isinstance(word, str):
                raise ValueError(f"word {position} should be text, but is {_type_name(word)}")
            if not word:
                raise ValueError(f"word {position} is empty")
        words = to_form(value, self.form)
        return [word.lower() for word in words] if self.lower else list(words)


@final
@dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """A symbol is a byte of the text in UTF-8, as it is written. All 256 are known; nothing is learned or unknown."""

    vocabulary: Vocabulary | None = _BYTES
    form: UnicodeForm | None = None

    def fit(self, values: Iterable[Any]) -> Self:
        return self

    def encode(self, value: Any) -> np.ndarray:
        return _not_empty(self._ids(self._check_text(value)))

    def feed(self, piece: Any, kept: JSON, *, end: bool) -> tuple[np.ndarray | None, JSON]:
        text, kept = incremental.feed_characters(piece, kept, end=end, form=self.form, lower=self.lower)
        return (self._ids(text) if text else None), kept

    def _ids(self, text: str) -> np.ndarray:
        raw = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        return raw.astype(np.uint16) + len(SPECIALS)

    def decode(self, ids: np.ndarray) -> str:
        raw = bytes(i - len(SPECIALS) for i in _without_specials(ids) if i != UNKNOWN)
        return raw.decode("utf-8", "replace")

    def state(self) -> JSON:
        return None


@final
@dataclass(frozen=True)
class PieceTokenizer(Tokenizer):
    """A symbol is a piece of a word, from a unigram language model (Kudo 2018, arXiv:1804.10959; sentencepiece).

    The model is trained on the counts of the words of the training data, in a fixed order and by one thread, so that it
    does not depend on the order of the data. Decoding gives single spaces for white space.
    """

    model: str | None = None
    """The sentencepiece model, base64 of its protobuf."""

    def fit(self, values: Iterable[Any]) -> Self:
        sentencepiece = _sentencepiece()
        counts: Counter[str] = Counter()
        for value in values:
            counts.update(self._check_text(value).split())
        counts = Counter({word: n for word, n in _shortened(counts).items() if n >= self.min_count})
        if not counts:
            raise ValueError("has no words to learn pieces from")
        characters = len(set().union(*counts))
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_training_lines(counts),
                model_writer=model,
                model_type="unigram",
                vocab_size=self.pieces,
                hard_vocab_limit=False,
                # All characters are pieces, unless they would be most of the pieces (Chinese, Japanese).
                character_coverage=1.0 if characters <= self.pieces // 4 else 0.9995,
                normalization_rule_name="identity",
                max_sentence_length=4 * _LINE + 4 * _LONGEST_WORD,
                pad_id=PAD,
                unk_id=UNKNOWN,
                bos_id=START,
                eos_id=END,
                num_threads=1,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"{self.pieces} pieces cannot be learned from {len(counts):,} different words and "
                f"{characters:,} different characters; ask for more pieces or for another unit"
            ) from error
        return self._with_model(base64.b64encode(model.getvalue()).decode("ascii"))

    def encode(self, value: Any) -> np.ndarray:
        words = self._check_text(value).split()
        if self._has_pieces_of_several_words:
            return _not_empty(np.array(self._processor.encode(" ".join(words)), dtype=self.fitted_vocabulary.dtype))
        try:
            joined = b"".join(map(self._known_words.__getitem__, words))
        except KeyError:
            joined = b"".join(map(self._learn_words(words).__getitem__, words))
        dtype = self.fitted_vocabulary.dtype
        # An array over a buffer of its own may be written to; this is the fastest way to one.
        return _not_empty(np.ndarray(len(joined) // dtype.itemsize, dtype, bytearray(joined)))

    def _learn_words(self, words: list[str]) -> dict[str, bytes]:
        """The ids of these words as bytes; those of the short ones are kept."""
        raw = {word: self._known_words.get(word) for word in words}
        new = [word for word, ids in raw.items() if ids is None]
        dtype = self.fitted_vocabulary.dtype
        rows = self._processor.encode(new, num_threads=1)
        learned = {word: np.array(ids, dtype=dtype).tobytes() for word, ids in zip(new, rows, strict=True)}
        if len(self._known_words) > _MOST_KEPT:
            self._known_words.clear()
        self._known_words.update((word, ids) for word, ids in learned.items() if len(word) <= _LONGEST_KEPT)
        return {word: ids for word, ids in raw.items() if ids is not None} | learned

    def _encode_words(self, words: list[str]) -> np.ndarray:
        return self.encode(" ".join(words))

    def decode(self, ids: np.ndarray) -> str:
        return str(self._processor.decode(_without_specials(ids)))

    def state(self) -> JSON:
        return None if self.model is None else {"sentencepiece": self.model} | _form_state(self.form)

    def restore(self, state: JSON) -> Self:
        """The fitted tokenizer. Raises ValueError if its model cannot be loaded, which a child process tries first."""
        if state is None:
            return self
        model = state["sentencepiece"]
        _sentencepiece()
        sentencepiece_check.check(base64.b64decode(model, validate=True))
        return replace(self, form=state.get("form"))._with_model(model)

    def _with_model(self, model: str) -> Self:
        processor = replace(self, model=model)._processor
        symbols = tuple(processor.id_to_piece(list(range(len(SPECIALS), processor.get_piece_size()))))
        return replace(self, model=model, vocabulary=Vocabulary(symbols))

    @cached_property
    def _processor(self) -> Any:
        if self.model is None:
            raise RuntimeError("the field is not fitted yet")
        return _sentencepiece().SentencePieceProcessor(model_proto=base64.b64decode(self.model))

    @cached_property
    def _known_words(self) -> dict[str, bytes]:
        """The ids of words as bytes: no piece reaches beyond its word, so a word's pieces are the same in any text."""
        return {}

    @cached_property
    def _has_pieces_of_several_words(self) -> bool:
        return any(_SPACE in symbol[1:] for symbol in self.fitted_vocabulary.symbols)


TOKENIZERS: dict[Unit, type[Tokenizer]] = {
    "characters": CharacterTokenizer,
    "words": WordTokenizer,
    "bytes": ByteTokenizer,
    "pieces": PieceTokenizer,
}


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise MissingExtra("the unit `pieces`", "text") from None
    return sentencepiece


def _form_state(form: UnicodeForm | None) -> dict[str, JSON]:
    return {} if form is None else {"form": form}


def _shortened(counts: Counter[str]) -> Counter[str]:
    """The same words, those that are too long to learn from cut: a paragraph of a script without spaces is one word."""
    if all(len(word) <= _LONGEST_WORD for word in counts):
        return counts
    shortened: Counter[str] = Counter()
    for word, n in counts.items():
        for start in range(0, len(word), _LONGEST_WORD):
            shortened[word[start : start + _LONGEST_WORD]] += n
    return shortened


def _training_lines(counts: Counter[str]) -> Iterator[str]:
    """Lines that have each word as often as it was counted, in a fixed order; proportionally fewer if they are many.

    Each line repeats one word. In running text, sentencepiece would not propose a word as a piece if it is always
    followed by a space, because it proposes only pieces with different continuations.
    """
    divisor = max(1.0, counts.total() / _MOST_WORDS)
    for word, n in sorted(counts.items()):
        left = max(2, round(n / divisor)) if n > 1 else 1
        words_a_line = max(2, _LINE // (len(word) + 1))
        while left > 0:
            yield " ".join([word] * min(left, words_a_line))
            left -= words_a_line


def _blocks(texts: Iterable[str]) -> Iterator[str]:
    """The same characters in fewer, longer strings."""
    collected: list[str] = []
    size = 0
    for text in texts:
        collected.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield "".join(collected)
            collected, size = [], 0
    yield "".join(collected)


def _without_specials(ids: np.ndarray) -> list[int]:
    """The ids as a list, without padding and boundaries."""
    return [i for i in np.asarray(ids).tolist() if i not in (PAD, START, END)]


def _not_empty(ids: np.ndarray) -> np.ndarray:
    if not len(ids):
        raise ValueError("is empty")
    return ids


def _type_name(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
