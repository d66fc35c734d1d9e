"""`Words`: a text as words, each with its characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, final

import numpy as np

from seqkit.errors import UsageError
from seqkit.fields import incremental
from seqkit.fields.character_model import CharacterModel, model_files, read_models, read_weights
from seqkit.fields.unicode_form import FORM, UnicodeForm, to_form
from seqkit.fields.vocabulary import Vocabulary, smallest_unsigned
from seqkit.layers.pretrained_vectors import normalise_word, vector_file
from seqkit.layers.vector_table import open_table
from seqkit.reading import report_remark
from seqkit.types import JSON, PAD, Field, WordVectors

if TYPE_CHECKING:
    from torch import nn

    from seqkit.layers.contextual import Contextual

Characters: TypeAlias = Literal["none", "lstm", "conv"]

SHAPES: Final = ("lower", "initial", "caps", "digits", "other")
"""The shapes of words. Each shape has its own unknown word; their ids are 1 to 5."""

FIRST_WORD: Final = 1 + len(SHAPES)
"""The id of the first known word."""

COLUMNS: Final = 2
"""Numbers that every row begins with: the word, and the unknown word of its shape."""

_FIRST_LETTER = 2
_UNKNOWN_LETTER = 1
_FIRST_FEATURE = 2
_UNKNOWN_FEATURE = 1
_CACHED_ROWS = 1 << 18
"""Words whose rows are kept, so that they are not computed again."""


@final
@dataclass(frozen=True)
class Words(Field):
    """A text as words with their characters: (T, 2 + F + M) numbers, M the longest word of the training data.

    A row is the id of the word, the id of the unknown word of its shape (all capitals, an initial capital, digits,
    lower case, other), the ids of its F features, and the ids of its characters, then zeros; with `contextual`, the
    characters as language models know them come before those, (T, 2 + F + M' + M). If a word is not known, its
    lower-case form is used, if that is known, and otherwise the unknown word of its shape. If a word is longer than M,
    its characters are those of its beginning and its end.

    A value is a list of words, or a text that is split on white space. With `features`, it is a list with (word,
    feature, ...) for each word, all of them text: its part of speech, say. A feature that occurs less than twice in the
    training data is unknown.

    Args:
        lower: words that differ only in case have the same id (their characters still differ).
        digits: words that differ only in digits have the same id (their characters still differ).
        min_count: a word that occurs less often in the training data is unknown.
        drop: share of the words that are read as the unknown word of their shape in training (word dropout), so that
            the unknown words are learned.
        characters: how the characters of a word become a vector: by an LSTM over them in both directions (Lample et
            al. 2016), by a convolution and the maximum (Ma and Hovy 2016), or not at all.
        char_dim: width of the vector of a character.
        char_hidden: width of the vector that the characters of a word become.
        max_word: at most so many characters of a word.
        vectors: word vectors to start from: the path of a text file, or a name. Its words are known too, the first
            `max_vectors` of them.
        tune: whether training changes these vectors. both: a word has a vector of each kind, side by side (the two
            channels of Kim 2014).
        unknown_as: what an unknown word is read as. shape: the unknown word of its shape; characters: that, and a
            linear map of the vector of its characters, which is learned where `drop` or rare words make words unknown
            (after Pinter et al. 2017).
        max_vectors: how many words of the file are known beside those of the training data.
        contextual: folders of language models of characters, which read the whole text and give each word a vector
            beside its others (contextual string embeddings; Akbik et al. 2018).
        features: F, how many features each word has.
        feature_dim: width of the vector of a feature.
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
    vectors: WordVectors | None = field(default=None, kw_only=True)
    tune: bool | Literal["both"] = field(default=True, kw_only=True)
    unknown_as: Literal["shape", "characters"] = field(default="shape", kw_only=True)
    max_vectors: int = field(default=100_000, kw_only=True)
    contextual: tuple[Path, ...] = field(default=(), kw_only=True)
    features: int = field(default=0, kw_only=True)
    feature_dim: int = field(default=20, kw_only=True)
    words: Vocabulary | None = field(default=None, kw_only=True, repr=False)
    letters: Vocabulary | None = field(default=None, kw_only=True, repr=False)
    longest: int = field(default=0, kw_only=True, repr=False)
    learned: int = field(default=0, kw_only=True, repr=False)
    """How many of the words, the first ones, have no vector in the file."""
    width: int | None = field(default=None, kw_only=True, repr=False)
    """Width of the file's vectors."""
    models: tuple[CharacterModel, ...] = field(default=(), kw_only=True, repr=False)
    """What `contextual` names."""
    spelled: int = field(default=0, kw_only=True, repr=False)
    """M', how many characters of a word these models read."""
    feature_values: tuple[Vocabulary, ...] = field(default=(), kw_only=True, repr=False)
    """The known values of each feature."""
    form: UnicodeForm | None = field(default=FORM, kw_only=True, repr=False)
    """The Unicode normalisation form in which words are read."""

    def __post_init__(self) -> None:
        if self.unknown_as == "characters" and self.characters == "none":
            raise UsageError("unknown_as: characters: characters are not read; set characters: lstm or conv")

    def fit(self, values: Iterable[Any]) -> Self:
        """A field that knows the words and characters of the training data, and the words of the file.

        Raises:
            DataError: the file of vectors is missing, or is not one.
        """
        spellings: Counter[str] = Counter()
        features: list[Counter[str]] = [Counter() for _ in range(self.features)]
        for value in values:
            steps = self._split(value)
            for counter, column in zip((spellings, *features), self._sides(steps), strict=True):
                counter.update(column)
        counts: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for word, n in spellings.items():
            counts[self._key(word)] += n
            if self.characters != "none":
                letters.update(dict.fromkeys(word, n))
        if self.characters != "none":
            _report_long_words(spellings, self.max_word)
        known = Vocabulary.from_counts(counts, min_count=self.min_count, specials=False).symbols
        learned, width = len(known), None
        if self.vectors is not None:
            known, learned, width = self._add_file_words(known, counts, vector_file(self.vectors))
        return replace(
            self,
            words=Vocabulary(known, specials=False),
            # A character that occurs only once is unknown, so that the unknown character is learned.
            letters=Vocabulary.from_counts(letters, min_count=2, specials=False),
            longest=min(self.max_word, max(map(len, spellings), default=1)) if self.characters != "none" else 0,
            learned=learned,
            width=width,
            models=read_models(self.contextual),
            spelled=min(self.max_word, max(map(len, spellings), default=1)) if self.contextual else 0,
            # As with characters.
            feature_values=tuple(Vocabulary.from_counts(counter, min_count=2, specials=False) for counter in features),
        )

    def _add_file_words(
        self, known: Sequence[str], counts: Counter[str], file: Path
    ) -> tuple[tuple[str, ...], int, int]:
        """(all known words, how many of them, the first ones, have no vector in the file, width of its vectors)."""
        table = open_table(file)
        file_words = list(dict.fromkeys(self._key(word) for word in table.words))
        has_vector, in_training = set(file_words), set(known)
        without_vector = [word for word in known if word not in has_vector and word.lower() not in has_vector]
        is_without = set(without_vector)
        with_vector = [word for word in known if word not in is_without]
        more = [word for word in file_words[: self.max_vectors] if word not in in_training]
        running = sum(n for word, n in counts.items() if word in has_vector or word.lower() in has_vector)
        report_remark(
            f"{len(with_vector):,} of {len(known):,} different words, which are {running / counts.total():.1%} of the "
            f"running words, have a vector in {file.name}; of its {len(file_words):,} words {len(more):,} others are "
            "known too"
        )
        return (*without_vector, *with_vector, *more), len(without_vector), table.width

    def encode(self, value: Any) -> np.ndarray:
        """(T, 2 + F + M) ids. Raises ValueError if the value is neither text nor a list of words, or empty."""
        steps = self._split(value)
        rows = self._rows
        if len(rows) > _CACHED_ROWS:
            rows.clear()
        for step in steps:
            if step not in rows:
                rows[step] = self._row(*step) if self.features else self._row(step)
        return np.concatenate([rows[step] for step in steps]).reshape(len(steps), -1)

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        words, kept = incremental.feed_words(piece, kept, end=end)
        return (self.encode(words) if words else None), kept

    def decode(self, array: np.ndarray) -> str:
        """The words, joined by single spaces. An unknown word is spelled by its characters, if they are known."""
        return " ".join(self._word(row) for row in np.asarray(array).tolist() if row[0] != PAD)

    @property
    def size(self) -> int:
        """How many words there are, including the unknown ones and the padding."""
        return FIRST_WORD + len(self._fitted[0])

    @property
    def unknown(self) -> int | None:  # type: ignore[override]
        """The id of one of the unknown words; `count_unknown` counts all of them."""
        return FIRST_WORD - 1

    def count_unknown(self, array: np.ndarray) -> int:
        """How many words are unknown, those whose id is that of the unknown word of their shape, or have an unknown
        feature."""
        is_unknown = array[:, 0] == array[:, 1]
        if self.features:
            is_unknown |= (array[:, COLUMNS : self._first_spelled] == _UNKNOWN_FEATURE).any(1)
        return int(np.count_nonzero(is_unknown))

    def fit_files(self) -> Sequence[Path]:
        files = [] if self.vectors is None else [vector_file(self.vectors)]
        return [*files, *(file for folder in self.contextual for file in model_files(folder))]

    def canonical(self, value: Any) -> Any:
        return to_form(value, self.form)

    def state(self) -> JSON:
        if self.words is None or self.letters is None:
            return None
        return {
            "words": list(self.words.symbols),
            "letters": list(self.letters.symbols),
            "longest": self.longest,
            "learned": self.learned,
            "width": self.width,
            **({"models": [model.state() for model in self.models], "spelled": self.spelled} if self.models else {}),
            **({"feature_values": [list(known.symbols) for known in self.feature_values]} if self.features else {}),
            **({} if self.form is None else {"form": self.form}),
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
            models=tuple(map(CharacterModel.restore, state.get("models", ()))),
            spelled=state.get("spelled", 0),
            feature_values=tuple(Vocabulary(tuple(known), specials=False) for known in state.get("feature_values", ())),
            form=state.get("form"),
        )

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        """Words with and without a place in the vocabulary, each with at least one character."""
        rows = np.zeros((steps, self._columns + self.longest), dtype=np.int64)
        rows[:, 0] = generator.integers(1, self.size, steps)
        rows[:, 1] = generator.integers(1, FIRST_WORD, steps)
        for column, size in enumerate(self._feature_sizes, COLUMNS):
            rows[:, column] = generator.integers(_UNKNOWN_FEATURE, size, steps)
        for first, most, letters in (
            (self._first_spelled, self.spelled, self.models[0].size if self.models else 0),
            (self._columns, self.longest, _FIRST_LETTER + len(self._fitted[1])),
        ):
            if most:
                ids = generator.integers(_UNKNOWN_LETTER, letters, (steps, most))
                is_real = np.arange(most) < generator.integers(1, most + 1, steps)[:, None]
                rows[:, first : first + most] = np.where(is_real, ids, 0)
        return rows

    @property
    def _first_spelled(self) -> int:
        """How many numbers of a row come before those of the characters that `contextual` reads."""
        return COLUMNS + self.features

    @property
    def _columns(self) -> int:
        """How many numbers of a row come before those of the characters."""
        return self._first_spelled + self.spelled

    @property
    def _feature_sizes(self) -> list[int]:
        """How many ids each feature has."""
        return [_FIRST_FEATURE + len(known) for known in self.feature_values]

    def describe(self) -> dict[str, JSON]:
        described = {"shapes": list(SHAPES), "first_word": FIRST_WORD, "first_letter": _FIRST_LETTER}
        return described | ({"first_feature": _FIRST_FEATURE} if self.features else {})

    def layer(self, dim: int) -> nn.Module:
        """See `seqkit.layers.words`. Raises UsageError if the characters take all of `dim` and leave none for words."""
        from seqkit.layers.words import WordLayer

        words, letters = self._fitted
        return WordLayer(
            dim,
            words=self.size,
            letters=_FIRST_LETTER + len(letters),
            columns=self._columns,
            characters=self.characters,
            char_dim=self.char_dim,
            char_hidden=self.char_hidden,
            drop=self.drop,
            width=self.width,
            fixed=0 if self.width is None or self.tune is True else len(words) - self.learned,
            both=self.width is not None and self.tune == "both",
            spelled=FIRST_WORD if self.unknown_as == "characters" else 0,
            vectors=self.vectors if self.width else None,
            names=words.symbols[self.learned :] if self.width else (),
            key=partial(_lookup_key, lower=self.lower, digits=self.digits, form=self.form),
            contextual=self._contextual(),
            features=self._feature_sizes,
            feature_dim=self.feature_dim,
        )

    def _contextual(self) -> Contextual | None:
        """What reads the characters of whole texts; None: nothing does."""
        from seqkit.layers.contextual import Contextual, ContextualStrings, ReaderSpec

        if not self.models:
            return None
        first = self.models[0]
        readers = [ReaderSpec(model.size, model.dim, model.encoder, model.backwards) for model in self.models]
        strings = ContextualStrings(readers, space=first.space, boundary=first.boundary)
        pairs = list(zip(self.contextual, self.models, strict=True))
        return Contextual(
            strings, self._first_spelled, lambda: [read_weights(folder, model) for folder, model in pairs]
        )

    @cached_property
    def _fitted(self) -> tuple[Vocabulary, Vocabulary]:
        if self.words is None or self.letters is None:
            raise RuntimeError("the field is not fitted yet")
        return self.words, self.letters

    @cached_property
    def _rows(self) -> dict[Any, np.ndarray]:
        return {}

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self._fitted[0].symbols, FIRST_WORD)}

    @cached_property
    def _letter_ids(self) -> dict[str, int]:
        return {letter: number for number, letter in enumerate(self._fitted[1].symbols, _FIRST_LETTER)}

    @cached_property
    def _feature_ids(self) -> list[dict[str, int]]:
        return [
            {feature: number for number, feature in enumerate(known.symbols, _FIRST_FEATURE)}
            for known in self.feature_values
        ]

    @cached_property
    def _dtype(self) -> np.dtype[np.unsignedinteger]:
        letters = self.models[0].size if self.models else 0
        return smallest_unsigned(max(self.size, _FIRST_LETTER + len(self._letter_ids), letters, *self._feature_sizes))

    def _row(self, word: str, *features: str) -> np.ndarray:
        """(2 + F + M,) ids."""
        unknown = 1 + SHAPES.index(shape_of(word))
        key = self._key(word)
        row = np.zeros(self._columns + self.longest, dtype=self._dtype)
        row[0] = self._ids.get(key) or self._ids.get(key.lower()) or unknown
        row[1] = unknown
        for column, (ids, feature) in enumerate(zip(self._feature_ids, features, strict=True), COLUMNS):
            row[column] = ids.get(feature, _UNKNOWN_FEATURE)
        if self.longest:
            letters = [self._letter_ids.get(letter, _UNKNOWN_LETTER) for letter in shorten(word, self.longest)]
            row[self._columns : self._columns + len(letters)] = letters
        if self.models:
            spelling = self.models[0].ids(shorten(word, self.spelled))[: self.spelled]
            row[self._first_spelled : self._first_spelled + len(spelling)] = spelling
        return row

    def _word(self, row: Sequence[int]) -> str:
        """The word of a row: by its characters if they are complete or the word is unknown, and else by its id."""
        words, letters = self._fitted
        letter_ids = [id for id in row[self._columns :] if id]
        is_known = row[0] >= FIRST_WORD
        is_complete = len(letter_ids) < self.longest and _UNKNOWN_LETTER not in letter_ids
        if letter_ids and (not is_known or is_complete):
            return "".join(
                letters.symbols[id - _FIRST_LETTER] if id != _UNKNOWN_LETTER else "\ufffd" for id in letter_ids
            )
        return words.symbols[row[0] - FIRST_WORD] if is_known else f"<unk:{SHAPES[row[0] - 1]}>"

    def _key(self, word: str) -> str:
        """The form in which a word is looked up."""
        return _lookup_key(word, lower=self.lower, digits=self.digits, form=self.form)

    def _sides(self, steps: Sequence[Any]) -> Sequence[Sequence[str]]:
        """The words of these steps, and the values of each feature."""
        return list(zip(*steps, strict=True)) if self.features else [steps]

    def _split(self, value: Any) -> Sequence[Any]:
        """The words of a value; with `features`, (word, feature, ...) for each.

        Raises:
            ValueError: it has none, or something else.
        """
        value = to_form(value, self.form)
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list | tuple):
            raise ValueError("is missing" if value is None else f"should be text or words, but is {value!r:.60}")
        if not words:
            raise ValueError("is empty")
        if self.features:
            return [self._step(position, step) for position, step in enumerate(words, 1)]
        if _are_words(words):
            return words
        for position, word in enumerate(words, 1):
            if not isinstance(word, str):
                raise ValueError(f"word {position} should be text, but is {word!r:.60}")
            if not word:
                raise ValueError(f"word {position} is empty")
        return words

    def _step(self, position: int, step: Any) -> tuple[str, ...]:
        """(word, feature, ...). Raises ValueError for anything else."""
        form = f"[{', '.join(['word', *['feature'] * self.features])}]"
        if isinstance(step, str):
            raise ValueError(f"word {position}, {step!r:.60}, comes without features; give {form} for each word")
        is_list = isinstance(step, list | tuple) and len(step) == 1 + self.features
        if not is_list or not all(isinstance(item, str) for item in step):
            raise ValueError(f"word {position} should be {form}, all of them text, but is {step!r:.60}")
        if not step[0]:
            raise ValueError(f"word {position} is empty")
        return tuple(step)


def _are_words(values: Sequence[Any]) -> bool:
    """Whether all are texts that are not empty."""
    try:
        "".join(values)
    except TypeError:
        return False
    return "" not in values


def _lookup_key(word: str, *, lower: bool, digits: bool, form: UnicodeForm | None) -> str:
    return normalise_word(to_form(word, form), lower=lower, digits=digits)


def _report_long_words(words: Iterable[str], max_word: int) -> None:
    long = [word for word in words if len(word) > max_word]
    if long:
        example = max(long, key=len)
        report_remark(
            f"{len(long):,} different words have more than {max_word} characters (the longest {len(example):,}); of "
            "these only the characters at the beginning and the end are read"
        )


def shape_of(word: str) -> str:
    """The shape of a word, one of `SHAPES`: what is known of a word that is not in the vocabulary.

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


def shorten(word: str, max_length: int) -> str:
    """A word of at most `max_length` characters: of a longer one the beginning and the end, half of them each."""
    if len(word) <= max_length:
        return word
    last = max_length // 2
    return word[: max_length - last] + word[len(word) - last :]
