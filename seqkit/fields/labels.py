"""Targets that are symbols: one label, several labels, one label a step, or the next symbol of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self, final

import numpy as np

from seqkit.fields.vocabulary import UnseenLabel, Vocabulary
from seqkit.spans import Scheme, convert, fault, parted, tags_of, type_of
from seqkit.types import JSON, Field

UNSEEN: Final = "<unseen>"
"""The label that stands for all labels that are not in the training data, if such labels are allowed."""

NO_LABEL: Final = "<none>"
"""What values without any of several labels are counted under."""


@final
@dataclass(frozen=True)
class Label(Field):
    """One of the labels seen in training, as its number () int64. A value is a str.

    Args:
        allow_unseen: a label that is not in the training data is not an error, but becomes `<unseen>`, a label that is
            never predicted: such examples count as wrong.
    """

    ragged: ClassVar[bool] = False
    unit = "labels"

    allow_unseen: bool = field(default=False, kw_only=True)
    vocabulary: Vocabulary | None = field(default=None, kw_only=True, repr=False)
    counts: tuple[int, ...] = field(default=(), kw_only=True, repr=False)
    """How often each label is in the training data, in the order of their numbers."""

    def fit(self, values: Iterable[Any]) -> Self:
        seen = Counter(_check_label(value) for value in values)
        vocabulary = _label_vocabulary(seen, allow_unseen=self.allow_unseen)
        return replace(self, vocabulary=vocabulary, counts=tuple(seen[label] for label in vocabulary.symbols))

    def encode(self, value: Any) -> np.ndarray:
        """() int64. Raises ValueError for a label that is not in the training data, unless that is allowed."""
        return np.array(_number(_fitted(self.vocabulary), _check_label(value), self.allow_unseen), dtype=np.int64)

    def decode(self, array: np.ndarray) -> str:
        return _fitted(self.vocabulary)[int(array)]

    def count_classes(self, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
        return _named_counts(self.labels, np.bincount(np.array(arrays, dtype=np.int64), minlength=self.size))

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their numbers."""
        return list(_fitted(self.vocabulary).symbols)

    @property
    def size(self) -> int:
        return len(_fitted(self.vocabulary))

    def state(self) -> JSON:
        return None if self.vocabulary is None else {"labels": self.labels, "counts": list(self.counts)}

    def encoding_state(self) -> JSON:
        return None if self.vocabulary is None else self.labels

    def restore(self, state: JSON) -> Self:
        if state is None:
            return self
        vocabulary = Vocabulary(tuple(state["labels"]), specials=False)
        return replace(self, vocabulary=vocabulary, counts=tuple(state["counts"]))


@final
@dataclass(frozen=True)
class Labels(Field):
    """Some of the labels seen in training, or none, as (C,) float32 of zeros and ones. A value is a list of str.

    Args:
        allow_unseen: as for `Label`.
    """

    ragged: ClassVar[bool] = False
    unit = "labels"

    allow_unseen: bool = field(default=False, kw_only=True)
    vocabulary: Vocabulary | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        labels = (label for value in values for label in _check_list(value))
        return replace(self, vocabulary=_label_vocabulary(labels, allow_unseen=self.allow_unseen))

    def encode(self, value: Any) -> np.ndarray:
        """(C,) float32. Raises ValueError for a label that is not in the training data, or that is given twice."""
        vocabulary, labels = _fitted(self.vocabulary), _check_list(value)
        row = np.zeros(len(vocabulary), dtype=np.float32)
        for label in labels:
            row[_number(vocabulary, label, self.allow_unseen)] = 1.0
        if len(set(labels)) < len(labels):
            repeated = next(label for label in labels if labels.count(label) > 1)
            raise ValueError(f"label {repeated!r} is given twice")
        return row

    def decode(self, array: np.ndarray) -> list[str]:
        """The labels whose entry is above one half, in the order of their numbers."""
        return _fitted(self.vocabulary).names(np.flatnonzero(np.asarray(array) > 0.5))

    def count_classes(self, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
        """How many values have each label; those without any are counted under `NO_LABEL`."""
        rows = np.array(arrays).reshape(-1, self.size) > 0.5
        return _named_counts([*self.labels, NO_LABEL], [*rows.sum(axis=0), (~rows.any(axis=1)).sum()])

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their numbers."""
        return list(_fitted(self.vocabulary).symbols)

    @property
    def size(self) -> int:
        return len(_fitted(self.vocabulary))

    def state(self) -> JSON:
        return None if self.vocabulary is None else self.labels

    def restore(self, state: JSON) -> Self:
        return self if state is None else replace(self, vocabulary=Vocabulary(tuple(state), specials=False))


@final
@dataclass(frozen=True)
class Tags(Field):
    """One label for every step of the input, as (T,) numbers. A value is a list of str, as long as the input.

    Tags that mark spans have a scheme (see `seqkit.spans`). Then the labels are all tags that spans of the types in the
    training data can have, whether or not each tag occurs there, and they may be learned in another scheme than that of
    the values.

    Args:
        scheme: how the values mark spans; None: they do not.
        learn: the scheme to learn in; None: the same.
        allow_unseen: a label (with a scheme: a type) that is not in the training data is not an error, but becomes
            `<unseen>`. A model has no reason to predict that, so it counts as missed.
    """

    aligned: ClassVar[bool] = True
    unit = "tags"

    scheme: Scheme | None = field(default=None, kw_only=True)
    learn: Scheme | None = field(default=None, kw_only=True)
    allow_unseen: bool = field(default=False, kw_only=True)
    vocabulary: Vocabulary | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        seen = {label for value in values for label in _check_list(value)}
        if self.scheme:
            seen = {kind for tag in seen if (kind := type_of(tag, self.scheme))}
        if self.allow_unseen:
            seen.add(UNSEEN)
        labels = tags_of(seen, self.learned or "plain") if self.scheme else seen
        return replace(self, vocabulary=_label_vocabulary(labels))

    def encode(self, value: Any) -> np.ndarray:
        """(T,) numbers. Raises ValueError if there are no tags, one is unseen, or they break the scheme."""
        tags = list(_check_list(value))
        if not tags:
            raise ValueError("is empty")
        if self.scheme and (problem := fault(tags, self.scheme)):
            step, message = problem
            raise ValueError(f"step {step + 1}: {message}")
        vocabulary = _fitted(self.vocabulary)
        if self.scheme and self.learned:
            tags = convert(tags, self.scheme, self.learned)
        for step, tag in enumerate(tags):
            if tag not in vocabulary:
                tags[step] = self._unseen(tag, step)
        return vocabulary.lookup(tags)

    def decode(self, array: np.ndarray) -> list[str]:
        """The tags, in the scheme of the values."""
        tags = _fitted(self.vocabulary).names(np.asarray(array))
        if self.scheme and self.learned and self.scheme != self.learned:
            return convert(tags, self.learned, self.scheme)
        return tags

    @property
    def class_unit(self) -> str:  # type: ignore[override]
        return "spans" if self.scheme else "tags"

    def count_classes(self, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
        """How many spans there are of each type; without a scheme, how many tags of each kind."""
        numbers = np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64)
        scheme = self.learned
        if scheme is None:
            return _named_counts(self.labels, np.bincount(numbers, minlength=self.size))
        types = list(dict.fromkeys(kind for label in self.labels if (kind := type_of(label, scheme))))
        # A span starts where a tag says so, or where its type is not that of the tag before it.
        type_of_tag = np.array([types.index(kind) if (kind := type_of(label, scheme)) else -1 for label in self.labels])
        begins = np.array([scheme != "plain" and parted(label, scheme)[0] in "BS" for label in self.labels])
        kinds = type_of_tag[numbers]
        is_new = np.ones(len(numbers), dtype=bool)
        is_new[1:] = kinds[1:] != kinds[:-1]
        starts = np.cumsum([0, *map(len, arrays)], dtype=np.int64)[:-1]
        is_new[starts] = True
        is_start = (kinds >= 0) & (is_new | begins[numbers])
        return _named_counts(types, np.bincount(kinds[is_start], minlength=len(types)))

    @property
    def learned(self) -> Scheme | None:
        """The scheme that is learned, which is that of the labels."""
        return (self.learn or self.scheme) if self.scheme else None

    @property
    def labels(self) -> list[str]:
        """The labels in the order of their numbers, in the scheme that is learned."""
        return list(_fitted(self.vocabulary).symbols)

    @property
    def size(self) -> int:
        return len(_fitted(self.vocabulary))

    def state(self) -> JSON:
        return None if self.vocabulary is None else self.labels

    def restore(self, state: JSON) -> Self:
        return self if state is None else replace(self, vocabulary=Vocabulary(tuple(state), specials=False))

    def _unseen(self, tag: str, step: int) -> str:
        """The label for a tag that is not in the training data. Raises ValueError if that is not allowed."""
        letter, kind = parted(tag, self.learned) if self.learned else ("", tag)
        if self.allow_unseen:
            return f"{letter}-{UNSEEN}" if self.learned and self.learned != "plain" else UNSEEN
        types = [type_of(label, self.learned) for label in self.labels] if self.learned else self.labels
        try:
            Vocabulary.of_labels(name for name in types if name).index(kind)
        except UnseenLabel as error:
            raise UnseenLabel(f"step {step + 1}: {error}") from None
        raise AssertionError(f"{tag!r} has a known type, but is not among the labels")


@final
@dataclass(frozen=True)
class Next(Field):
    """The symbol that comes next in the input. Nothing is read or stored for it: batches make it from the input.

    `of(source)` gives it an input field; then it has the size and vocabulary of that field, and decodes as it does.
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
        vocabulary = getattr(self._source, "vocabulary", None)
        if not isinstance(vocabulary, Vocabulary):
            raise TypeError(f"{type(self._source).__name__} has no vocabulary, so no next symbol")
        return vocabulary

    @property
    def _source(self) -> Field:
        if self.source is None:
            raise RuntimeError("a next-step target needs its input field first: `Next().of(input)`")
        return self.source


def _check_label(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("label is missing" if value is None else f"label {value!r} should be text")
    if not value:
        raise ValueError("label is empty")
    return value


def _check_list(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"should be a list of labels, but is {value!r}")
    return [_check_label(label) for label in value]


def _label_vocabulary(labels: Iterable[str], *, allow_unseen: bool = False) -> Vocabulary:
    vocabulary = Vocabulary.of_labels(labels)
    if not vocabulary.symbols:
        raise ValueError("training has no label at all")
    if not allow_unseen:
        return vocabulary
    if UNSEEN in vocabulary:
        raise ValueError(f"label {UNSEEN!r} stands for labels that are not in the training data; call it otherwise")
    return Vocabulary((*vocabulary.symbols, UNSEEN), specials=False)


def _number(vocabulary: Vocabulary, label: str, allow_unseen: bool) -> int:
    """The number of a label; that of `UNSEEN` for one that is not in the training data, if that is allowed."""
    return vocabulary.index(UNSEEN if allow_unseen and label not in vocabulary else label)


def _named_counts(names: Sequence[str], counts: Iterable[int]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def _fitted(vocabulary: Vocabulary | None) -> Vocabulary:
    if vocabulary is None:
        raise RuntimeError("the field is not fitted yet")
    return vocabulary
