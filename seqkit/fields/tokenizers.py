"""From text to ids: characters, words, bytes, and pieces of words.

A coder is what `Tokens` and `Text` have in common. It is immutable; `fit` gives a new one.
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
from seqkit.fields import sentencepiece_check
from seqkit.fields.vocabulary import SPECIALS, Vocabulary, code_points
from seqkit.types import END, JSON, PAD, START, UNKNOWN

Unit: TypeAlias = Literal["characters", "words", "bytes", "pieces"]

# Characters are counted in blocks of about this many.
_BLOCK = 1 << 20
_CODE_POINTS = 0x110000
# Words, characters of a line and of a word that pieces are learned from.
_MOST_WORDS = 5_000_000
_LINE = 1000
_LONGEST_WORD = 1000
# Named as sentencepiece names bytes.
_BYTES = Vocabulary(tuple(f"<0x{byte:02X}>" for byte in range(256)))


@dataclass(frozen=True)
class Tokenizer(ABC):
    """Text to ids and back. `vocabulary` is None until the coder is fitted.

    Args:
        lower: lower the case first.
        min_count: a rarer symbol is unknown.
        max_size: most symbols, the special ones not counted.
        pieces: most pieces (unit `pieces` only).
    """

    lower: bool = False
    min_count: int = 1
    max_size: int | None = None
    pieces: int = 8000
    vocabulary: Vocabulary | None = None

    @abstractmethod
    def fit(self, values: Iterable[Any]) -> Self:
        """A coder that knows the symbols of these values."""

    @abstractmethod
    def encode(self, value: Any) -> np.ndarray:
        """(T,) ids, T >= 1. Raises ValueError if the value is no text or is empty."""

    @abstractmethod
    def decode(self, ids: np.ndarray) -> str:
        """The text of ids that are no padding and no boundaries."""

    def state(self) -> JSON:
        return None if self.vocabulary is None else self.vocabulary.state()

    def restore(self, state: JSON) -> Self:
        return self if state is None else replace(self, vocabulary=Vocabulary.restore(state))

    @property
    def known(self) -> Vocabulary:
        """The vocabulary. Raises RuntimeError before `fit`."""
        if self.vocabulary is None:
            raise RuntimeError("the field is not fitted yet")
        return self.vocabulary

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"should be text, but is {_kind(value)}")
        return value.lower() if self.lower else value

    def _from_counts(self, counts: Counter[str]) -> Self:
        vocabulary = Vocabulary.from_counts(counts, min_count=self.min_count, max_size=self.max_size)
        return replace(self, vocabulary=vocabulary)


@final
@dataclass(frozen=True)
class CharacterTokenizer(Tokenizer):
    """A symbol is a Unicode code point. Nothing is normalised."""

    def fit(self, values: Iterable[Any]) -> Self:
        totals = np.zeros(_CODE_POINTS, dtype=np.int64)
        for block in _blocks(self._text(value) for value in values):
            seen = np.bincount(code_points(block))
            totals[: len(seen)] += seen
        return self._from_counts(Counter({chr(point): int(totals[point]) for point in np.flatnonzero(totals)}))

    def encode(self, value: Any) -> np.ndarray:
        return _not_empty(self.known.lookup_characters(self._text(value)))

    def decode(self, ids: np.ndarray) -> str:
        return "".join("\ufffd" if i == UNKNOWN else self.known[i] for i in _plain(ids))


@final
@dataclass(frozen=True)
class WordTokenizer(Tokenizer):
    """A symbol is a word: what stands between white space, or an item of a list that the reader made."""

    def fit(self, values: Iterable[Any]) -> Self:
        counts: Counter[str] = Counter()
        for value in values:
            counts.update(self._words(value))
        return self._from_counts(counts)

    def encode(self, value: Any) -> np.ndarray:
        return _not_empty(self.known.lookup(self._words(value)))

    def decode(self, ids: np.ndarray) -> str:
        return " ".join(self.known[i] for i in _plain(ids))

    def _words(self, value: Any) -> list[str]:
        if not isinstance(value, list | tuple):
            return self._text(value).split()
        for position, word in enumerate(value, 1):
            if not isinstance(word, str):
                raise ValueError(f"word {position} should be text, but is {_kind(word)}")
            if not word:
                raise ValueError(f"word {position} is empty")
        return [word.lower() for word in value] if self.lower else list(value)


@final
@dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """A symbol is a byte of the text in UTF-8. All 256 are known; nothing is learned and nothing is unknown."""

    vocabulary: Vocabulary | None = _BYTES

    def fit(self, values: Iterable[Any]) -> Self:
        return self

    def encode(self, value: Any) -> np.ndarray:
        raw = np.frombuffer(self._text(value).encode("utf-8", "surrogatepass"), dtype=np.uint8)
        return _not_empty(raw.astype(np.uint16) + len(SPECIALS))

    def decode(self, ids: np.ndarray) -> str:
        raw = bytes(i - len(SPECIALS) for i in _plain(ids) if i != UNKNOWN)
        return raw.decode("utf-8", "replace")

    def state(self) -> JSON:
        return None


@final
@dataclass(frozen=True)
class PieceTokenizer(Tokenizer):
    """A symbol is a piece of a word, from a unigram language model (Kudo 2018, arXiv:1804.10959; sentencepiece).

    The model is trained on the counts of the words of the training data, in a fixed order with one thread, so that it
    is the same however the data are ordered. Nothing is normalised; white space comes back as single spaces.
    """

    model: str | None = None
    """The sentencepiece model, base64 of its protobuf."""

    def fit(self, values: Iterable[Any]) -> Self:
        sentencepiece = _sentencepiece()
        counts: Counter[str] = Counter()
        for value in values:
            counts.update(self._text(value).split())
        counts = Counter({w: n for w, n in counts.items() if n >= self.min_count and len(w) <= _LONGEST_WORD})
        if not counts:
            raise ValueError("has no words to learn pieces from")
        characters = len(set().union(*counts))
        written = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_repeated(counts),
                model_writer=written,
                model_type="unigram",
                vocab_size=self.pieces,
                hard_vocab_limit=False,
                # All characters are pieces, unless they would take the room of all else (Chinese, Japanese).
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
        return self._with(base64.b64encode(written.getvalue()).decode("ascii"))

    def encode(self, value: Any) -> np.ndarray:
        text = " ".join(self._text(value).split())
        return _not_empty(np.array(self._processor.encode(text), dtype=self.known.dtype))

    def decode(self, ids: np.ndarray) -> str:
        return str(self._processor.decode(_plain(ids)))

    def state(self) -> JSON:
        return None if self.model is None else {"sentencepiece": self.model}

    def restore(self, state: JSON) -> Self:
        """Raises ValueError if the model cannot be loaded; it is tried in a process of its own first."""
        if state is None:
            return self
        model = state["sentencepiece"]
        _sentencepiece()
        sentencepiece_check.check(base64.b64decode(model, validate=True))
        return self._with(model)

    def _with(self, model: str) -> Self:
        processor = replace(self, model=model)._processor
        symbols = tuple(processor.id_to_piece(list(range(len(SPECIALS), processor.get_piece_size()))))
        return replace(self, model=model, vocabulary=Vocabulary(symbols))

    @cached_property
    def _processor(self) -> Any:
        if self.model is None:
            raise RuntimeError("the field is not fitted yet")
        return _sentencepiece().SentencePieceProcessor(model_proto=base64.b64decode(self.model))


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


def _repeated(counts: Counter[str]) -> Iterator[str]:
    """Lines with as many of each word as there are (all thinned alike if they are very many), words in fixed order.

    A word stands on lines of its own: sentencepiece proposes a piece only if what follows it varies, and a word that
    is always followed by a space would be none.
    """
    thin = max(1.0, counts.total() / _MOST_WORDS)
    for word, n in sorted(counts.items()):
        left = max(2, round(n / thin)) if n > 1 else 1
        a_line = max(2, _LINE // (len(word) + 1))
        while left > 0:
            yield " ".join([word] * min(left, a_line))
            left -= a_line


def _blocks(texts: Iterable[str]) -> Iterator[str]:
    """The same characters in fewer, longer strings."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def _plain(ids: np.ndarray) -> list[int]:
    """The ids as a list, without padding and boundaries."""
    return [i for i in np.asarray(ids).tolist() if i not in (PAD, START, END)]


def _not_empty(ids: np.ndarray) -> np.ndarray:
    if not len(ids):
        raise ValueError("is empty")
    return ids


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
