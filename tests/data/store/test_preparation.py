"""Preparing a task: fields are fitted on train, bad data is located, memory stays bounded, nothing is read twice."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from seqkit.data.store import memory_split, prepare
from seqkit.errors import DataError, UsageError
from seqkit.fields import Label, Tags, Tokens
from seqkit.types import Example, Field, Limit
from tests.helpers.reviews import REVIEWS, entries, problems, task


def test_fields_are_fitted_on_train_alone(tmp_path: Path) -> None:
    prepared = prepare(task(), key={}, cache=tmp_path)
    assert "dull" not in prepared.input.vocabulary  # type: ignore[attr-defined]
    assert prepared.splits["dev"].x[1].tolist().count(1) == 1
    assert prepared.splits["dev"].report.unknown == 1


def test_fitted_fields_are_used_as_they_are(tmp_path: Path) -> None:
    fields = (Tokens().fit(["good bad"]), Label().fit(["0", "1", "2"]))
    prepared = prepare(task(), key={}, cache=tmp_path, fitted=fields, splits=("dev",))
    assert list(prepared.splits) == ["dev"]
    assert (prepared.input, prepared.target) == fields
    assert prepared.splits["dev"].x[0].tolist() == [1, fields[0].vocabulary.index("good"), 1]
    assert prepared.splits["dev"].report.seen_in_train is None


def test_splits_alone_are_still_fitted_on_train(tmp_path: Path) -> None:
    alone = prepare(task(), key={}, cache=tmp_path, splits=("test",))
    together = prepare(task(), key={}, cache=tmp_path)
    assert list(alone.splits) == ["test"]
    assert alone.input == together.input
    with pytest.raises(UsageError, match="no split 'validation'; this task has train, dev, test"):
        prepare(task(), key={}, cache=tmp_path, splits=("validation",))


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    rows = {
        "train": REVIEWS["train"],
        "dev": [("a good film", "2"), ("  ", "0"), ("", "3")],
        "test": [(None, "0"), ("fine", None)],
    }
    known = "was not seen in training; known labels: 0, 1"
    assert problems(lambda: prepare(task(rows), key={}, cache=tmp_path)) == [
        f"dev.tsv:1: target label '2' {known}",
        "dev.tsv:2: input is empty",
        "dev.tsv:3: input is empty",
        f"dev.tsv:3: target label '3' {known}",
        "test.tsv:1: input should be text, but is missing",
        "test.tsv:2: target label is missing",
    ]
    assert entries(tmp_path) == []


def test_very_many_problems_are_counted(tmp_path: Path) -> None:
    rows = {"train": REVIEWS["train"], "dev": [("a", str(i)) for i in range(100, 1100)]}
    messages = problems(lambda: prepare(task(rows), key={}, cache=tmp_path))
    assert len(messages) == 21
    assert messages[19].startswith("dev.tsv:20: ")
    assert messages[20] == "and 980 more"


def test_a_value_that_cannot_be_fitted_is_located(tmp_path: Path) -> None:
    for rows, message in (
        ([("a", "1"), (3, "1")], "train.tsv:2: input should be text, but is a int"),
        ([("a", "1"), ("b", "")], "train.tsv:2: target label is empty"),
    ):
        assert problems(lambda rows=rows: prepare(task({"train": rows}), key={}, cache=tmp_path)) == [message]  # type: ignore[misc]
    few = task(input=Tokens("pieces", pieces=5))
    (problem,) = problems(lambda: prepare(few, key={}, cache=tmp_path))
    assert problem.startswith("train: input 5 pieces cannot be learned")


def test_there_must_be_as_many_tags_as_words(tmp_path: Path) -> None:
    rows = {"train": [("a b", ["O", "O"]), ("a b c", ["O", "O"])]}
    messages = problems(lambda: prepare(task(rows, target=Tags()), key={}, cache=tmp_path))
    assert messages == ["train.tsv:2: target has 2 tags for 3 words"]


@pytest.mark.parametrize("empty", ["train", "dev"])
def test_an_empty_split_is_refused(empty: str, tmp_path: Path) -> None:
    assert problems(lambda: prepare(task(REVIEWS | {empty: []}), key={}, cache=tmp_path)) == [
        f"{empty}: this split has no examples"
    ]


def test_errors_of_the_reader_are_raised_as_they_are(tmp_path: Path) -> None:
    def read(split: str) -> Iterator[Example]:
        yield Example("a", "1", "x")
        raise ValueError("the reader itself is broken")

    for files in (None, lambda split: []):
        with pytest.raises(ValueError, match="the reader itself is broken") as caught:
            prepare(replace(task(), read=read, files=files), key={}, cache=tmp_path)
        assert not isinstance(caught.value, DataError)
        assert entries(tmp_path) == []


def test_a_reader_that_gives_other_examples_the_second_time_is_an_error(tmp_path: Path) -> None:
    def read(split: str) -> Iterator[Example]:
        yield Example(str(random.random()), "1", "x")

    (problem,) = problems(lambda: prepare(replace(task(), read=read), key={}, cache=tmp_path))
    assert "reading it twice gave different examples" in problem


class Fickle(Field):
    """A field that breaks its promise of one dtype."""

    def encode(self, value: Any) -> np.ndarray:
        return np.zeros(2, dtype=np.float32 if value == "a bad film" else np.int64)

    def decode(self, array: np.ndarray) -> Any:
        return None

    @property
    def size(self) -> int:
        return 1


def test_a_field_with_two_types_is_an_error_for_its_author(tmp_path: Path) -> None:
    with pytest.raises(
        TypeError,
        match=r"float32 numbers for x, but int64 .*must be the same",
    ):
        prepare(task(input=Fickle()), key={}, cache=tmp_path)


def test_inputs_that_cannot_be_encoded_can_be_left_out(tmp_path: Path) -> None:
    rows = {
        "train": [("a good film", "1"), ("", "0"), ("a bad film", "0")],
        "dev": [("", "1")] * 25 + [("a film", "1")],
        "test": [("a", "1")],
    }
    prepared = prepare(task(rows, bad_inputs="quarantine"), key={}, cache=tmp_path)
    train, dev = prepared.splits["train"], prepared.splits["dev"]
    assert list(train.ids) == ["train.tsv:1", "train.tsv:3"]
    assert train.origin.tolist() == [0, 1]
    assert train.report.examples == 2
    assert train.report.lines()[1:] == [
        "train: 1 example left out, because they cannot be read:",
        "train: train.tsv:2: input is empty",
    ]
    assert dev.report.quarantined == 25
    assert dev.report.lines()[-1] == "dev: and 5 more"
    assert len(dev.report.lines()) == 2 + 20 + 1
    assert prepared.splits["test"].report.quarantined == 0
    again = prepare(task(rows, bad_inputs="quarantine"), key={}, cache=tmp_path)
    assert again.splits["dev"].report == dev.report
    assert problems(lambda: prepare(task(rows), key={}, cache=tmp_path))[0] == "train.tsv:2: input is empty"
    rows["test"] = [("", "1")]
    assert problems(lambda: prepare(task(rows, bad_inputs="quarantine"), key={}, cache=tmp_path)) == [
        "test: no example of this split can be read",
        "test.tsv:1: input is empty",
    ]


def test_bad_targets_are_never_left_out(tmp_path: Path) -> None:
    rows = {"train": REVIEWS["train"], "dev": [("a", "7"), ("b", "1")]}
    (problem,) = problems(lambda: prepare(task(rows, bad_inputs="quarantine"), key={}, cache=tmp_path))
    assert problem.startswith("dev.tsv:1: target label '7' was not seen")


def test_progress_is_reported(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None, str]] = []
    rows = {"train": [("a", "1")] * 3000, "dev": [("a", "1")]}
    prepare(task(rows), key={}, cache=tmp_path, progress=lambda *call: calls.append(call))
    assert (0, None, "reading train") in calls
    assert (3000, 3000, "encoding train") in calls
    assert (2048, 3000, "encoding train") in calls
    assert (1, 1, "encoding dev") in calls
    assert any(activity == "learning the inputs of train" for _, _, activity in calls)


def test_nothing_is_read_twice_that_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("a\t1\n")
    calls = []

    def read(split: str) -> Iterator[Example]:
        calls.append(split)
        yield Example("a", "1", "train.tsv:1")

    made = replace(task({"train": []}), read=read, files=lambda split: [path])
    first = prepare(made, key={"a": 1}, cache=tmp_path)
    assert calls == ["train", "train", "train"]  # two fields fitted, then encoded
    again = prepare(made, key={"a": 1}, cache=tmp_path)
    assert len(calls) == 3
    assert (first.reused, again.reused) == (False, True)
    assert again.folder == first.folder
    digest = hashlib.sha256(b"a\t1\n").hexdigest()
    assert again.files == [{"split": "train", "name": "train.tsv", "bytes": 4, "sha256": digest}]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "gone.tsv"
    messages = problems(lambda: prepare(replace(task(), files=lambda split: [missing]), key={}, cache=tmp_path))
    assert messages == [f"{missing}: cannot be read: No such file or directory"]


def test_the_usual_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "own"))
    assert prepare(task(), key={}).folder.parent == tmp_path / "own" / "store"
    monkeypatch.delenv("SEQKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert prepare(task(), key={}).folder.parent == tmp_path / "xdg" / "seqkit" / "store"


@dataclass(frozen=True)
class Endless(Sequence[tuple[str, str]]):
    """As many examples as are asked for, none of them in memory."""

    size: int
    TEXT: ClassVar[str] = "some words that make a text of a certain length " * 20

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: Any) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((f"{self.TEXT[i % 40 :]}", str(i % 7)) for i in range(self.size))


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    peaks = []
    for size in (1000, 10_000):
        tracemalloc.start()
        prepared = prepare(task({"train": Endless(size)}, input=Tokens("bytes")), key={}, cache=tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(prepared.splits["train"]) == size
    # Not a byte an example is kept: the digests of `train` lie in a file.
    assert peaks[1] - peaks[0] < 9000 * 4


def test_a_split_in_memory_is_the_stored_split_without_targets(tmp_path: Path) -> None:
    for limit in (None, Limit(2, "window"), Limit(2, "both_ends")):
        prepared = prepare(task(limit=limit), key={}, cache=tmp_path)
        stored = prepared.splits["dev"]
        held = memory_split(task().read("dev"), prepared.input, limit)
        assert held.y is None
        assert len(held) == len(stored)
        assert all(np.array_equal(held.x[i], stored.x[i]) for i in range(len(stored)))
        assert list(held.ids) == list(stored.ids)
        assert held.origin.tolist() == stored.origin.tolist()
        assert held.report.unknown == stored.report.unknown
        assert held.report.cut_steps == stored.report.cut_steps


def test_a_split_in_memory_refuses_what_cannot_be_encoded() -> None:
    field = Tokens().fit(["a"])
    examples: Iterable[Example] = [Example("a", None, "1"), Example("", None, "2"), Example(3, None, "3")]
    assert problems(lambda: memory_split(examples, field)) == [
        "2: input is empty",
        "3: input should be text, but is a int",
    ]
    assert problems(lambda: memory_split([], field)) == ["predict: there are no examples"]
