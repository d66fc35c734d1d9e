"""Targets that are symbols: one of several labels, some of them, one a step, or the next symbol of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self, final

import numpy as np

from seqkit.fields.vocabulary import Vocabulary
from seqkit.spans import Scheme, convert, fault, parted, tags_of, type_of
from seqkit.types import JSON, Field

UNSEEN: Final = "<unseen>"
"""What stands for the labels that training has not seen, where that is allowed."""


@final
@dataclass(frozen=True)
class Label(Field):
    """One of the labels seen in training, as its number () int64. A value is a str."""

    ragged: ClassVar[bool] = False
    unit = "labels"

    vocabulary: Vocabulary | None = field(default=None, kw_only=True, repr=False)
    counts: tuple[int, ...] = field(default=(), kw_only=True, repr=False)
    """How often training has each label, in the order of their numbers."""

    def fit(self, values: Iterable[Any]) -> Self:
        seen = Counter(_checked(value) for value in values)
        vocabulary = _labels(seen)
        return replace(self, vocabulary=vocabulary, counts=tuple(seen[label] for label in vocabulary.symbols))

    def encode(self, value: Any) -> np.ndarray:
        """() int64. Raises ValueError for a label that training has not seen."""
        return np.array(_known(self.vocabulary).index(_checked(value)), dtype=np.int64)

    def decode(self, array: np.ndarray) -> str:
        return _known(self.vocabulary)[int(array)]

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their numbers."""
        return list(_known(self.vocabulary).symbols)

    @property
    def size(self) -> int:
        return len(_known(self.vocabulary))

    def state(self) -> JSON:
        return None if self.vocabulary is None else {"labels": self.labels, "counts": list(self.counts)}

    def restore(self, state: JSON) -> Self:
        if state is None:
            return self
        vocabulary = Vocabulary(tuple(state["labels"]), specials=False)
        return replace(self, vocabulary=vocabulary, counts=tuple(state["counts"]))


@final
@dataclass(frozen=True)
class Labels(Field):
    """Some of the labels seen in training, or none, as (C,) float32 of zeros and ones. A value is a list of str."""

    ragged: ClassVar[bool] = False
    unit = "labels"

    vocabulary: Vocabulary | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        return replace(self, vocabulary=_labels(label for value in values for label in _several(value)))

    def encode(self, value: Any) -> np.ndarray:
        """(C,) float32. Raises ValueError for a label that training has not seen, or that is given twice."""
        known = _known(self.vocabulary)
        row = np.zeros(len(known), dtype=np.float32)
        for label in _several(value):
            if row[known.index(label)]:
                raise ValueError(f"label {label!r} is given twice")
            row[known.index(label)] = 1.0
        return row

    def decode(self, array: np.ndarray) -> list[str]:
        """The labels whose entry is above one half, in the order of their numbers."""
        return _known(self.vocabulary).names(np.flatnonzero(np.asarray(array) > 0.5))

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their numbers."""
        return list(_known(self.vocabulary).symbols)

    @property
    def size(self) -> int:
        return len(_known(self.vocabulary))

    def state(self) -> JSON:
        return None if self.vocabulary is None else self.labels

    def restore(self, state: JSON) -> Self:
        return self if state is None else replace(self, vocabulary=Vocabulary(tuple(state), specials=False))


@final
@dataclass(frozen=True)
class Tags(Field):
    """One label for every step of the input, as (T,) numbers. A value is a list of str, as long as the input.

    Tags that mark spans have a scheme (see `seqkit.spans`). Then the labels are those that spans of the types seen in
    training can have, all of them, whether or not each has been seen; and they may be learned in another scheme than
    the one in which values come and go.

    Args:
        scheme: how the values mark spans; None: they do not.
        learn: the scheme to learn in; None: the same.
        allow_unseen: a label (a type, where there is a scheme) that training has not seen is no error, but stands for
            `<unseen>`, which no model has reason to predict: it counts as missed.
    """

    aligned: ClassVar[bool] = True
    unit = "tags"

    scheme: Scheme | None = field(default=None, kw_only=True)
    learn: Scheme | None = field(default=None, kw_only=True)
    allow_unseen: bool = field(default=False, kw_only=True)
    vocabulary: Vocabulary | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        seen = {label for value in values for label in _several(value)}
        if self.scheme:
            seen = {kind for tag in seen if (kind := type_of(tag, self.scheme))}
        if self.allow_unseen:
            seen.add(UNSEEN)
        return replace(self, vocabulary=_labels(tags_of(seen, self.learned or "plain") if self.scheme else seen))

    def encode(self, value: Any) -> np.ndarray:
        """(T,) numbers. Raises ValueError if there are none, one is unseen, or they break the scheme."""
        tags = list(_several(value))
        if not tags:
            raise ValueError("is empty")
        if self.scheme and (wrong := fault(tags, self.scheme)):
            raise ValueError(f"step {wrong[0] + 1}: {wrong[1]}")
        known = _known(self.vocabulary)
        if self.scheme and self.learned:
            tags = convert(tags, self.scheme, self.learned)
        for step, tag in enumerate(tags):
            if tag not in known:
                tags[step] = self._unseen(tag, step)
        return known.lookup(tags)

    def decode(self, array: np.ndarray) -> list[str]:
        """The tags, in the scheme of the values."""
        tags = _known(self.vocabulary).names(np.asarray(array).tolist())
        if self.scheme and self.learned and self.scheme != self.learned:
            return convert(tags, self.learned, self.scheme)
        return tags

    @property
    def learned(self) -> Scheme | None:
        """The scheme of the labels."""
        return (self.learn or self.scheme) if self.scheme else None

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their numbers, in the scheme that is learned."""
        return list(_known(self.vocabulary).symbols)

    @property
    def size(self) -> int:
        return len(_known(self.vocabulary))

    def state(self) -> JSON:
        return None if self.vocabulary is None else self.labels

    def restore(self, state: JSON) -> Self:
        return self if state is None else replace(self, vocabulary=Vocabulary(tuple(state), specials=False))

    def _unseen(self, tag: str, step: int) -> str:
        """What stands for a label that training has not seen, or ValueError where that is not allowed."""
        letter, kind = parted(tag, self.learned) if self.learned else ("", tag)
        if self.allow_unseen:
            return f"{letter}-{UNSEEN}" if self.learned and self.learned != "plain" else UNSEEN
        types = (type_of(each, self.learned) for each in self.labels) if self.learned else iter(self.labels)
        try:
            Vocabulary.of_labels(each for each in types if each).index(kind)
        except ValueError as error:
            raise ValueError(f"step {step + 1}: {error}") from None
        raise AssertionError(f"{tag!r} is none of the tags of a type that is known")


@final
@dataclass(frozen=True)
class Next(Field):
    """The symbol that comes next in the input. Nothing is read or stored for it: the batch is made from the input.

    Once it knows its source (`of`), it has the source's size and vocabulary and decodes as the source does.
    """

    derived: ClassVar[bool] = True

    source: Field | None = field(default=None, kw_only=True, repr=False)

    def of(self, source: Field) -> Self:
        return replace(self, source=source)

    def encode(self, value: Any) -> np.ndarray:
        return self._source.encode(value)

    def decode(self, array: np.ndarray) -> Any:
        return self._source.decode(array)

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def vocabulary(self) -> Vocabulary:
        found = getattr(self._source, "vocabulary", None)
        if not isinstance(found, Vocabulary):
            raise TypeError(f"{type(self._source).__name__} has no vocabulary, so no next symbol")
        return found

    @property
    def _source(self) -> Field:
        if self.source is None:
            raise RuntimeError("a next-step target must first be told its input: `Next().of(input)`")
        return self.source


def _checked(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("label is missing" if value is None else f"label {value!r} should be text")
    if not value:
        raise ValueError("label is empty")
    return value


def _several(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"should be a list of labels, but is {value!r}")
    return [_checked(label) for label in value]


def _labels(labels: Iterable[str]) -> Vocabulary:
    found = Vocabulary.of_labels(labels)
    if not found.symbols:
        raise ValueError("training has no label at all")
    return found


def _known(vocabulary: Vocabulary | None) -> Vocabulary:
    if vocabulary is None:
        raise RuntimeError("the field is not fitted yet")
    return vocabulary
