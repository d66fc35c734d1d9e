"""Long inputs are cut as the limit says, and reports count all that is not stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit.data.store import Prepared, SplitReport, memory_split, prepare
from seqkit.errors import RecipeError
from seqkit.fields import Next, Tags, Text, Tokens
from seqkit.types import Example, Limit
from tests.helpers.reviews import REVIEWS, task

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
    rows = len(words) if most >= 2 else 1
    assert [prepared.input.decode(split.x[i]) for i in range(rows)] == words
    assert ["".join(prepared.target.decode(split.y[i])) for i in range(rows)] == tags
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
        assert SplitReport.restore(json.loads(json.dumps(report.facts()))) == report
    assert [again.splits[name].report.seen_in_train for name in REVIEWS] == [None, 1, 0]
