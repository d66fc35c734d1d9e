"""Dividing one file into splits: repeats stay together, shares are kept, groups are whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import DataError, Example, MissingFile, readers
from seqkit.readers import ShareSplit
from seqkit.reading import collect_reports

SPLITS = ("train", "dev", "test")


def divide(rule: ShareSplit, rows: list[tuple[str, str, str]]) -> dict[str, list[Example]]:
    examples = [(Example(text, label, str(number)), group) for number, (text, label, group) in enumerate(rows)]
    return {split: list(rule.divide(lambda: iter(examples), split)) for split in SPLITS}


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(max_size=2), st.sampled_from("xyz"), st.sampled_from("abcdefg")), min_size=1),
    by=st.sampled_from(["input", "label"]),
)
def test_each_example_is_in_one_split(rows: list[tuple[str, str, str]], by: Any) -> None:
    divided = divide(ShareSplit(dev=0.2, test=0.3, by=by), rows)
    assert sorted(int(example.id) for split in SPLITS for example in divided[split]) == list(range(len(rows)))
    places = Counter((key, split) for split in SPLITS for key in {(e.input, e.target) for e in divided[split]})
    assert len({key for key, _ in places}) == len(places), "the same example is in two splits"


def test_each_label_has_its_share() -> None:
    rows = [(f"text {number}", "rare" if number % 10 == 0 else "common", "") for number in range(1000)]
    divided = divide(ShareSplit(dev=0.1, test=0.2, by="label"), rows)
    counts = {split: Counter(example.target for example in divided[split]) for split in SPLITS}
    assert counts["dev"] == {"rare": 10, "common": 90}
    assert counts["test"] == {"rare": 20, "common": 180}


def test_groups_are_whole_and_no_split_is_empty() -> None:
    rows = [(f"text {number}", "x", f"speaker {number % 5}") for number in range(100)]
    with collect_reports() as reading:
        divided = divide(ShareSplit(dev=0.01, test=0.4, by="group"), rows)
    speakers = {split: {int(example.id) % 5 for example in divided[split]} for split in SPLITS}
    assert {split: len(names) for split, names in speakers.items()} == {"train": 2, "dev": 1, "test": 2}
    assert not speakers["dev"] & speakers["test"]
    assert reading.split_rules == [
        "0.01 of train is dev and 0.4 of train is test, whole groups, chosen by a hash of their names"
    ]


def test_too_few_groups() -> None:
    with pytest.raises(DataError, match="there are 2 groups, too few for 3 splits"):
        divide(ShareSplit(dev=0.1, test=0.1, by="group"), [("a", "x", "g"), ("b", "x", "h")])


def test_no_share_leaves_all_in_train() -> None:
    divided = divide(ShareSplit(by="label"), [("a", "x", ""), ("b", "y", "")])
    assert [len(divided[split]) for split in SPLITS] == [2, 0, 0]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_missing_file_of_a_split_names_the_option(split: str, tmp_path: Path) -> None:
    error = readers.missing_split_file(tmp_path / "x.tsv", split)
    assert str(error).startswith(f"{tmp_path / 'x.tsv'}: there is no such file; `{split}` names the file")
    assert "not a regular file" in str(readers.missing_split_file(tmp_path, split))


def test_a_missing_file_names_files_of_its_folder_with_its_suffix(tmp_path: Path) -> None:
    for name in ("Vowels_TRAIN.ts", "Vowels_TEST.ts.gz", "notes.txt", ".hidden.ts"):
        (tmp_path / name).write_text("", encoding="utf-8")
    message = str(readers.missing_split_file(tmp_path / "train.ts", "train"))
    assert message.endswith("`train` names the file; the .ts files there are: Vowels_TEST.ts.gz, Vowels_TRAIN.ts")
    for number in range(7):
        (tmp_path / f"{number}.csv").write_text("", encoding="utf-8")
    error = MissingFile(tmp_path / "all.csv")
    assert str(error).endswith("; the .csv files there are: 0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 2 more")
    assert str(MissingFile(tmp_path / "all.jsonl")).endswith("all.jsonl: there is no such file or folder")
    assert str(MissingFile(tmp_path / "none/all.csv")).endswith("there is no such file or folder")
