"""The store: what is read comes back as it was encoded, once, under a key of its content, and sound or not at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seqkit
from seqkit.data.store import Prepared, SplitReport, memory_split, prepare
from seqkit.data.store.cache_key import ENCODING, hash_into, source_hash
from seqkit.errors import DataError, RecipeError, RunError, UsageError
from seqkit.fields import Label, Labels, Next, Tags, Text, Tokens, Values, Vectors
from seqkit.types import Example, Field, Limit, Task

REVIEWS = {
    "train": [("a good film", "1"), ("a bad film", "0"), ("not good , not bad", "1")],
    "dev": [("a good film", "1"), ("a dull film", "0")],
    "test": [("bad , bad , bad", "0")],
}


def task(rows: Any = None, **changes: Any) -> Task:
    """A task over rows given as they are: {split: [(input, target), ...]}."""
    rows = REVIEWS if rows is None else rows

    def read(split: str) -> Iterator[Example]:
        for number, (x, y) in enumerate(rows[split], 1):
            yield Example(x, y, f"{split}.tsv:{number}")

    options: dict[str, Any] = {"input": Tokens(), "target": Label(), "head": "classify", "best": "accuracy"}
    return Task(read=read, **(options | {"splits": tuple(rows)} | changes))


def problems(work: Callable[[], Any]) -> list[str]:
    with pytest.raises(DataError) as caught:
        work()
    return [str(problem) for problem in caught.value.problems]


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "store").glob("*"))


# --- what comes back ------------------------------------------------------------------------------------------------


def test_every_example_comes_back_as_its_fields_encode_it(tmp_path: Path) -> None:
    prepared = prepare(task(), key={}, cache=tmp_path)
    for name, rows in REVIEWS.items():
        split = prepared.splits[name]
        assert split.name == name
        assert len(split) == len(split.x) == len(split.ids) == len(split.origin) == len(rows)
        assert split.y is not None
        assert split.y.offsets is None
        assert list(split.ids) == [f"{name}.tsv:{i}" for i in range(1, len(rows) + 1)]
        assert split.origin.tolist() == list(range(len(rows)))
        for i, (x, y) in enumerate(rows):
            assert np.array_equal(split.x[i], prepared.input.encode(x))
            assert split.x[i].dtype == prepared.input.encode(x).dtype
            assert prepared.target.decode(split.y[i]) == y
        assert split.x.lengths.tolist() == [len(x.split()) for x, _ in rows]
        assert split.x.lengths.dtype == np.int64


FIELDS: dict[str, tuple[Field, Field, list[tuple[Any, Any]]]] = {
    "label": (Tokens(), Label(), [("a b c", "x"), ("b", "y")]),
    "labels": (Tokens("characters"), Labels(), [("abc", ["x", "y"]), ("b", [])]),
    "tags": (Tokens(), Tags(), [("a b c", ["O", "B-X", "I-X"]), ("b", ["O"])]),
    "text": (Tokens("bytes"), Text(), [("abc", "hello"), ("b", "o")]),
    "number": (Vectors(2), Values(), [([[1.0, 2.0], [3.0, 4.0]], 1.5), ([[0.0, 1.0]], -2.0)]),
    "numbers": (Vectors(1, standardise=True), Values(3), [([[1.0], [3.0]], [1, 2, 3]), ([[5.0]], [4, 5, 7])]),
    "next": (Tokens("characters"), Next(), [("abc", None), ("b", None)]),
    "a fixed input": (Label(), Label(), [("a", "x"), ("b", "y")]),
}


@pytest.mark.parametrize("name", FIELDS)
def test_all_kinds_of_fields(name: str, tmp_path: Path) -> None:
    input, target, rows = FIELDS[name]
    for reused in (False, True):
        prepared = prepare(task({"train": rows}, input=input, target=target), key={}, cache=tmp_path)
        assert prepared.reused == reused
        split = prepared.splits["train"]
        for i, (x, y) in enumerate(rows):
            expected = prepared.input.encode(x)
            assert np.array_equal(split.x[i], expected)
            assert split.x[i].dtype == expected.dtype
            if target.derived:
                assert split.y is None
                assert prepared.target.size == prepared.input.size
            else:
                assert split.y is not None
                assert np.array_equal(split.y[i], prepared.target.encode(y))
                assert split.y[i].dtype == prepared.target.encode(y).dtype
                assert (split.y.offsets is not None) == target.ragged
        assert split.x.lengths.tolist() == [len(prepared.input.encode(x)) if input.ragged else 1 for x, _ in rows]
        assert prepared.input == input.fit([x for x, _ in rows])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.sampled_from("abc"), st.text(max_size=5)), min_size=1))
def test_any_text_any_ids(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    examples = [Example(*row) for row in rows]
    made = replace(task({"train": []}), read=lambda split: examples, input=Tokens("characters"))
    prepared = prepare(made, key={}, cache=tmp_path)
    split = prepared.splits["train"]
    assert split.y is not None
    for i, example in enumerate(examples):
        assert prepared.input.decode(split.x[i]) == example.input
        assert prepared.target.decode(split.y[i]) == example.target
        assert split.ids[i] == example.id
    assert split.ids[:] == [example.id for example in examples]


def test_columns_are_sequences(tmp_path: Path) -> None:
    split = prepare(task(), key={}, cache=tmp_path).splits["train"]
    assert np.array_equal(split.x[-1], split.x[2])
    assert split.ids[-1] == "train.tsv:3"
    assert split.ids[1:] == ["train.tsv:2", "train.tsv:3"]
    for outside in (3, -4):
        with pytest.raises(IndexError):
            split.x[outside]
        with pytest.raises(IndexError):
            split.ids[outside]


def test_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    split = prepare(task(), key={}, cache=tmp_path).splits["train"]
    assert isinstance(split.x.data.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.x.data[0] = 1


# --- fitting --------------------------------------------------------------------------------------------------------


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


# --- what is wrong with the data ------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
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
    found = problems(lambda: prepare(task(rows), key={}, cache=tmp_path))
    assert len(found) == 21
    assert found[19].startswith("dev.tsv:20: ")
    assert found[20] == "and 980 more"


def test_what_fitting_stumbles_over_is_located(tmp_path: Path) -> None:
    for rows, message in (
        ([("a", "1"), (3, "1")], "train.tsv:2: input should be text, but is a int"),
        ([("a", "1"), ("b", "")], "train.tsv:2: target label is empty"),
    ):
        assert problems(lambda rows=rows: prepare(task({"train": rows}), key={}, cache=tmp_path)) == [message]  # type: ignore[misc]
    few = task(input=Tokens("pieces", pieces=5))
    (found,) = problems(lambda: prepare(few, key={}, cache=tmp_path))
    assert found.startswith("train: input 5 pieces cannot be learned")


def test_tags_must_be_as_many_as_words(tmp_path: Path) -> None:
    rows = {"train": [("a b", ["O", "O"]), ("a b c", ["O", "O"])]}
    found = problems(lambda: prepare(task(rows, target=Tags()), key={}, cache=tmp_path))
    assert found == ["train.tsv:2: target has 2 tags for 3 words"]


@pytest.mark.parametrize("empty", ["train", "dev"])
def test_an_empty_split_is_refused(empty: str, tmp_path: Path) -> None:
    assert problems(lambda: prepare(task(REVIEWS | {empty: []}), key={}, cache=tmp_path)) == [
        f"{empty}: this split has no examples"
    ]


def test_errors_of_the_reader_pass_as_they_are(tmp_path: Path) -> None:
    def read(split: str) -> Iterator[Example]:
        yield Example("a", "1", "x")
        raise ValueError("the reader itself is broken")

    for files in (None, lambda split: []):
        with pytest.raises(ValueError, match="the reader itself is broken") as caught:
            prepare(replace(task(), read=read, files=files), key={}, cache=tmp_path)
        assert not isinstance(caught.value, DataError)
        assert entries(tmp_path) == []


def test_a_reader_that_changes_its_mind_is_found_out(tmp_path: Path) -> None:
    def read(split: str) -> Iterator[Example]:
        yield Example(str(random.random()), "1", "x")

    (found,) = problems(lambda: prepare(replace(task(), read=read), key={}, cache=tmp_path))
    assert "reading it twice gave different examples" in found


class Fickle(Field):
    """A field that breaks its promise of one dtype."""

    def encode(self, value: Any) -> np.ndarray:
        return np.zeros(2, dtype=np.float32 if value == "a bad film" else np.int64)

    def decode(self, array: np.ndarray) -> Any:
        return None

    @property
    def size(self) -> int:
        return 1


def test_a_field_with_two_types_is_a_mistake_of_its_author(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be fixed"):
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
    (found,) = problems(lambda: prepare(task(rows, bad_inputs="quarantine"), key={}, cache=tmp_path))
    assert found.startswith("dev.tsv:1: target label '7' was not seen")


# --- cutting --------------------------------------------------------------------------------------------------------

LONG = "a b c d e f g h i j"


def cut(truncate: Any, most: int, tmp_path: Path, **changes: Any) -> Prepared:
    rows = {"train": [(LONG, list("OOXOOOXXOX")), ("a b", ["O", "X"])]}
    options = {"target": Tags(), "limit": Limit(most, truncate)} | changes
    return prepare(task(rows, **options), key={}, cache=tmp_path)


@pytest.mark.parametrize(
    ("truncate", "most", "words", "tags"),
    [
        ("head", 4, ["a b c d"], ["OOXO"]),
        ("tail", 4, ["g h i j"], ["XXOX"]),
        ("both_ends", 4, ["a b i j"], ["OOOX"]),
        ("both_ends", 5, ["a b c i j"], ["OOXOX"]),
        ("both_ends", 1, ["a"], ["O"]),
        ("window", 4, ["a b c d", "e f g h", "i j"], ["OOXO", "OOXX", "OX"]),
        ("window", 5, ["a b c d e", "f g h i j"], ["OOXOO", "OXXOX"]),
        ("window", 9, ["a b c d e f g h i", "j"], ["OOXOOOXXO", "X"]),
        ("head", 10, [LONG], ["OOXOOOXXOX"]),
        ("window", 10, [LONG], ["OOXOOOXXOX"]),
    ],
)
def test_long_inputs_are_cut_and_their_tags_with_them(
    truncate: Any, most: int, words: list[str], tags: list[str], tmp_path: Path
) -> None:
    prepared = cut(truncate, most, tmp_path)
    split = prepared.splits["train"]
    assert split.y is not None
    most_stored = len(words) if most >= 2 else 1
    found = [prepared.input.decode(split.x[i]) for i in range(most_stored)]
    assert found == words
    assert ["".join(prepared.target.decode(split.y[i])) for i in range(most_stored)] == tags
    assert split.x.lengths.max() <= most
    assert split.origin.tolist() == [0] * len(words) + [1]
    assert list(split.ids) == ["train.tsv:1"] * len(words) + ["train.tsv:2"]
    report = split.report
    stored = sum(len(text.split()) for text in words) + min(2, most)
    assert (report.steps, report.cut_steps) == (stored, 12 - stored)
    assert (report.examples, report.rows, report.longest) == (2, len(words) + 1, 10)
    assert report.cut_examples == (most < 10) + (most < 2)
    lost_of_long = 0 if truncate == "window" else 4 - "".join(tags).count("X")
    assert report.cut_labels == lost_of_long + (1 if most == 1 else 0)


def test_a_label_belongs_to_every_window(tmp_path: Path) -> None:
    rows = {"train": [(LONG, "1"), ("a b", "0")]}
    split = prepare(task(rows, limit=Limit(4, "window")), key={}, cache=tmp_path).splits["train"]
    assert split.y is not None
    assert split.y.data.tolist() == [1, 1, 1, 0]
    assert split.report.cut_labels == 0


def test_a_text_target_is_not_cut_with_its_input(tmp_path: Path) -> None:
    rows = {"train": [(LONG, "long text"), ("a b", "b")]}
    prepared = prepare(task(rows, target=Text(), limit=Limit(4, "tail")), key={}, cache=tmp_path)
    split = prepared.splits["train"]
    assert split.y is not None
    assert prepared.target.decode(split.y[0]) == "long text"
    with pytest.raises(RecipeError, match="a Text target cannot be cut into windows"):
        prepare(task(rows, target=Text(), limit=Limit(4, "window")), key={}, cache=tmp_path)
    with pytest.raises(RecipeError, match="at least 1"):
        prepare(task(rows, limit=Limit(0)), key={}, cache=tmp_path)


def test_streams_and_next_step_texts_are_not_cut_into_windows(tmp_path: Path) -> None:
    rows = {"train": [(LONG, None)]}
    for changes in ({"limit": Limit(4, "window")}, {"limit": Limit(4, "head"), "window": 3}):
        split = prepare(task(rows, target=Next(), **changes), key={}, cache=tmp_path).splits["train"]
        assert split.x.lengths.tolist() == [10]
        assert split.report.cut_examples == 0
    split = prepare(task(rows, target=Next(), limit=Limit(4, "head")), key={}, cache=tmp_path).splits["train"]
    assert split.x.lengths.tolist() == [4]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=10),
    st.integers(1, 12),
    st.sampled_from(["head", "tail", "both_ends", "window"]),
)
def test_no_step_is_lost_uncounted(lengths: list[int], most: int, truncate: Any) -> None:
    field = Tokens("bytes")
    texts = ["".join(chr(97 + i % 26) for i in range(length)) for length in lengths]
    split = memory_split([Example(text, None, text) for text in texts], field, Limit(most, truncate))
    assert split.x.lengths.max() <= most
    assert split.report.steps == split.x.lengths.sum()
    assert split.report.steps + split.report.cut_steps == sum(lengths)
    assert split.report.cut_examples == sum(length > most for length in lengths)
    assert split.report.longest == max(lengths)
    for number, text in enumerate(texts):
        rows = [field.decode(split.x[i]) for i in np.flatnonzero(split.origin == number)]
        kept = min(most, len(text))
        assert (
            "".join(rows)
            == {
                "head": text[:kept],
                "tail": text[len(text) - kept :],
                "both_ends": text if len(text) <= most else text[: (most + 1) // 2] + text[len(text) - most // 2 :],
                "window": text,
            }[truncate]
        )
        assert [split.ids[i] for i in np.flatnonzero(split.origin == number)] == [text] * len(rows)


# --- reports --------------------------------------------------------------------------------------------------------


def test_the_report_in_words(tmp_path: Path) -> None:
    rows = {"train": [(LONG, "1"), ("a b", "0")], "dev": [("a b", "0"), ("a z", "0"), (LONG, "1"), (LONG + " x", "1")]}
    prepared = prepare(task(rows, limit=Limit(4, "head")), key={}, cache=tmp_path)
    assert prepared.splits["train"].report.lines() == [
        "train: 2 examples, 6 words, 3.0 an example, longest 10",
        "train: 1 example (50.0%) longer than 4 words, cut (head): 6 words (50.0%) lost",
    ]
    # What was in train is compared before anything is cut.
    assert prepared.splits["dev"].report.lines() == [
        "dev: 4 examples, 12 words, 3.0 an example, longest 11",
        "dev: 2 examples (50.0%) longer than 4 words, cut (head): 13 words (52.0%) lost",
        "dev: 1 word (8.33%) unknown to the vocabulary",
        "dev: 2 examples (50.0%) with an input that is also in train",
    ]
    windows = prepare(task(rows, limit=Limit(4, "window")), key={}, cache=tmp_path).splits["train"].report
    assert windows.lines()[1] == (
        "train: 1 example (50.0%) longer than 4 words, cut into windows: nothing is lost (4 rows)"
    )
    tags = cut("head", 4, tmp_path).splits["train"].report
    assert tags.lines()[1].endswith("6 words (50.0%) and 3 labels lost")


def test_the_report_is_json_and_the_same_when_reused(tmp_path: Path) -> None:
    first = prepare(task(), key={}, cache=tmp_path)
    again = prepare(task(), key={}, cache=tmp_path)
    for name in REVIEWS:
        report = again.splits[name].report
        assert report == first.splits[name].report
        assert SplitReport(**json.loads(json.dumps(report.facts()))) == report
    assert [again.splits[name].report.seen_in_train for name in REVIEWS] == [None, 1, 0]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int | None, str]] = []
    rows = {"train": [("a", "1")] * 3000, "dev": [("a", "1")]}
    prepare(task(rows), key={}, cache=tmp_path, progress=lambda *what: told.append(what))
    assert (0, None, "reading train") in told
    assert (3000, 3000, "encoding train") in told
    assert (2048, 3000, "encoding train") in told
    assert (1, 1, "encoding dev") in told
    assert any(what == "learning the inputs of train" for _, _, what in told)


# --- the key --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "change",
    [
        lambda made, path: (made, {"a": 2}),
        lambda made, path: (replace(made, input=Tokens(lower=True)), {"a": 1}),
        lambda made, path: (replace(made, input=Tokens("characters")), {"a": 1}),
        lambda made, path: (replace(made, target=Tags(), input=Tokens()), {"a": 1}),
        lambda made, path: (replace(made, limit=Limit(3)), {"a": 1}),
        lambda made, path: (replace(made, limit=Limit(3, "tail")), {"a": 1}),
        lambda made, path: (replace(made, bad_inputs="quarantine"), {"a": 1}),
        lambda made, path: (path.write_text("b\t1\n") and made, {"a": 1}),
    ],
    ids=["options", "field option", "unit", "target", "limit", "truncation", "bad inputs", "data"],
)
def test_what_changes_the_data_changes_the_key(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("a\t1\n")

    def read(split: str) -> Iterator[Example]:
        yield Example("a", ["1"], "train.tsv:1")

    made = replace(task({"train": []}), read=read, target=Labels(), files=lambda split: [path])
    first = prepare(made, key={"a": 1}, cache=tmp_path)
    changed, key = change(made, path)
    second = prepare(changed, key=key, cache=tmp_path)
    assert not second.reused
    assert second.folder != first.folder


@pytest.mark.parametrize("name", ["STORE_FORMAT", "__version__"])
def test_another_version_is_another_key(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(task(), key={}, cache=tmp_path)
    monkeypatch.setattr(f"seqkit.data.store.cache_key.{name}", 999)
    assert not prepare(task(), key={}, cache=tmp_path).reused


ENCODES = [
    "spans.py",
    "types.py",
    "readers.py",
    "layers/pretrained_vectors.py",
    "fields/vocabulary.py",
    "fields/tokenizers.py",
    "data/store/encode.py",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's source."""
    root = tmp_path_factory.mktemp("source")
    shutil.copytree(Path(seqkit.__file__).parent, root / "seqkit", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.mark.parametrize("file", ENCODES)
def test_an_edit_of_what_decides_how_examples_become_numbers_is_another_key(file: str, source: Path) -> None:
    before = source_hash(source, ENCODING)
    edited = source / "seqkit" / file
    text = edited.read_text()
    edited.write_text(text + "# edited\n")
    assert source_hash(source, ENCODING) != before
    edited.write_text(text)
    assert source_hash(source, ENCODING) == before


def test_an_edit_of_the_training_loop_keeps_the_key(source: Path) -> None:
    before = source_hash(source, ENCODING)
    (source / "seqkit" / "training" / "loop.py").write_text("")
    assert source_hash(source, ENCODING) == before


def test_a_module_whose_source_is_missing_is_an_error(source: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the source of seqkit\.no_such, which cache keys depend on"):
        source_hash(source, ["seqkit.no_such"])


def test_without_files_the_examples_are_the_key(tmp_path: Path) -> None:
    first = prepare(task(), key={}, cache=tmp_path)
    assert prepare(task(), key={}, cache=tmp_path).reused
    for changed in (
        REVIEWS | {"dev": [("a good film", "0"), ("a dull film", "0")]},
        REVIEWS | {"dev": [("a good film ", "1"), ("a dull film", "0")]},
        REVIEWS | {"dev": REVIEWS["dev"][::-1]},
        REVIEWS | {"dev": REVIEWS["dev"] * 2},
    ):
        other = prepare(task(changed), key={}, cache=tmp_path)
        assert not other.reused
        assert other.folder != first.folder


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_different_values_have_different_hashes(left: Any, right: Any) -> None:
    same = repr(left) == repr(right) or (isinstance(left, dict) and left == right and repr(left) == repr(right))
    if not same and _canonical(left) != _canonical(right):
        assert digest(left) != digest(right)
    assert digest(left) == digest(json.loads(json.dumps(left)) if _is_json(left) else left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["ab"], ["a", "b"]),
        (["a", ""], ["", "a"]),
        ([[], [1]], [[1], []]),
        ([["a"], "b"], [["a", "b"]]),
        (1, True),
        (1, "1"),
        (1, 1.0),
        ("a", b"a"),
        (np.zeros(2, np.float32), np.zeros(2, np.float64)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.int64(1), np.int32(1)),
        (None, "None"),
        (Path("a"), "a"),
        (Limit(3), Limit(3, "tail")),
        (Tokens(), Text("words")),
        (Tokens(), Tokens(drop=0.1)),
        (Tokens().fit(["a"]), Tokens().fit(["b"])),
        (Values(), Values(1)),
        (len, sum),
        (partial(int, base=2), partial(int, base=3)),
        ({"a", "b"}, {"a", "c"}),
        (lambda x: x + 1, lambda x: x * 1),
    ],
)
def test_values_that_look_alike_have_different_hashes(left: Any, right: Any) -> None:
    assert digest(left) != digest(right)
    assert digest(left) == digest(left)


def test_using_a_field_does_not_change_its_hash() -> None:
    field = Tokens("characters").fit(["abc"])
    before = digest(field)
    field.encode("abc")
    assert digest(field) == before == digest(Tokens("characters").restore(field.state()))


def digest(value: Any) -> str:
    found = hashlib.blake2b()
    hash_into(found, value)
    return found.hexdigest()


def _canonical(value: Any) -> str:
    return repr(sorted(value.items(), key=repr)) if isinstance(value, dict) else repr(value)


def _is_json(value: Any) -> bool:
    try:
        return repr(json.loads(json.dumps(value))) == repr(value)
    except TypeError:
        return False


# --- damage ---------------------------------------------------------------------------------------------------------


def damages(folder: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Ways to damage each file of an entry."""
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        yield f"{path.name} deleted", lambda p: p.unlink()
        if raw:
            yield f"{path.name} emptied", lambda p: p.write_bytes(b"")
            yield f"{path.name} cut", lambda p, raw=raw: p.write_bytes(raw[:-1])  # type: ignore[misc]
            flipped = bytes([*raw[:-1], raw[-1] ^ 1])
            yield f"{path.name} flipped", lambda p, raw=flipped: p.write_bytes(raw)  # type: ignore[misc]
            yield f"{path.name} zeroed", lambda p, raw=raw: p.write_bytes(b"\x07" * len(raw))  # type: ignore[misc]
        yield f"{path.name} longer", lambda p, raw=raw: p.write_bytes(raw + b"\0")  # type: ignore[misc]


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    small = task({"train": [("a b", "1")]})
    sound = prepare(small, key={}, cache=tmp_path)
    kept = tmp_path / "kept"
    shutil.copytree(sound.folder, kept)
    count = 0
    for what, damage in damages(kept):
        shutil.rmtree(sound.folder)
        shutil.copytree(kept, sound.folder)
        damage(sound.folder / what.split()[0])
        again = prepare(small, key={}, cache=tmp_path)
        assert not again.reused, what
        assert entries(tmp_path) == [sound.folder], what
        assert again.splits["train"].x[0].tolist() == sound.splits["train"].x[0].tolist()
        assert prepare(small, key={}, cache=tmp_path).reused, what
        count += 1
    assert count > 30


def test_random_damage_to_the_manifest_never_escapes(tmp_path: Path) -> None:
    sound = prepare(task(), key={}, cache=tmp_path)
    path = sound.folder / "MANIFEST.json"
    raw = path.read_bytes()
    rng = random.Random(1)
    for _ in range(20):
        at, byte = rng.randrange(len(raw)), rng.randrange(256)
        path.write_bytes(raw[:at] + bytes([byte]) + raw[at + 1 :])
        again = prepare(task(), key={}, cache=tmp_path)
        assert again.splits["test"].report == sound.splits["test"].report


def test_an_unfinished_entry_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(BaseException):
        pass

    def stop(self: Any, *rest: Any) -> None:
        raise Stopped

    for place in (
        "seqkit.data.store.cache_entry._put",
        "seqkit.data.store.cache_entry.json.dump",
        "seqkit.data.store.preparation._Preparation._encode",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, stop)
            with pytest.raises(Stopped):
                prepare(task(), key={}, cache=tmp_path)
        assert entries(tmp_path) == []


def _prepare_slowly(cache: Path, started: Any) -> None:
    def read(split: str) -> Iterator[Example]:
        for number in range(1_000_000):
            if number == 500:
                started.set()
                time.sleep(60)
            yield Example("a", "1", f"x:{number}")

    prepare(
        replace(task({"train": []}), read=read, files=lambda split: [], input=Tokens("bytes"), target=Next()),
        key={},
        cache=cache,
    )


def test_what_a_killed_process_leaves_is_swept_away(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_prepare_slowly, args=(tmp_path, started))
    process.start()
    assert started.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (left,) = entries(tmp_path)
    dead = left.name.split("-")
    elsewhere = left.with_name("-".join([dead[0], "another1", *dead[2:]]))
    elsewhere.mkdir()
    alive = left.with_name("-".join([*dead[:2], str(os.getpid()), dead[3]]))
    alive.mkdir()
    prepare(task(), key={}, cache=tmp_path)
    assert left not in entries(tmp_path)
    assert {elsewhere, alive} <= set(entries(tmp_path))  # both could be at work still
    alive.rmdir()
    left = elsewhere
    old = time.time() - 2 * 24 * 3600
    os.utime(left, (old, old))
    prepare(task(), key={"another": 1}, cache=tmp_path)
    assert left not in entries(tmp_path)
    assert len(entries(tmp_path)) == 2


def _prepare_at_once(cache: Path, gate: Any, found: Any) -> None:
    gate.wait()
    try:
        split = prepare(task(), key={}, cache=cache).splits["train"]
        found.put([split.x[i].tolist() for i in range(len(split))])
    except BaseException as error:
        found.put(repr(error))


@pytest.mark.parametrize("damaged", [False, True])
def test_many_processes_at_once(damaged: bool, tmp_path: Path) -> None:
    expected = prepare(task(), key={}, cache=tmp_path / "alone").splits["train"]
    if damaged:
        folder = prepare(task(), key={}, cache=tmp_path).folder
        (folder / "train.x.bin").write_bytes(b"")
    context = multiprocessing.get_context("spawn")
    gate, found = context.Event(), context.Queue()
    processes = [context.Process(target=_prepare_at_once, args=(tmp_path, gate, found)) for _ in range(5)]
    for process in processes:
        process.start()
    gate.set()
    results = [found.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert results == [[expected.x[i].tolist() for i in range(3)]] * 5
    assert len(entries(tmp_path)) == 1
    assert prepare(task(), key={}, cache=tmp_path).reused


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write the cache .*SEQKIT_CACHE"):
        prepare(task(), key={}, cache=tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "gone.tsv"
    found = problems(lambda: prepare(replace(task(), files=lambda split: [missing]), key={}, cache=tmp_path))
    assert found == [f"{missing}: cannot be read: No such file or directory"]


def test_the_usual_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "own"))
    assert prepare(task(), key={}).folder.parent == tmp_path / "own" / "store"
    monkeypatch.delenv("SEQKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert prepare(task(), key={}).folder.parent == tmp_path / "xdg" / "seqkit" / "store"


# --- size -----------------------------------------------------------------------------------------------------------


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


# --- in memory ------------------------------------------------------------------------------------------------------


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
