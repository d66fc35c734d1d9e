"""`SplitFiles`: a file for each split, or shares of train, as tasks that read files have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit import DataError, Example
from seqkit.readers import ShareSplit, SplitFiles, lines
from seqkit.reading import collect_reports


def read(path: Path) -> Iterator[tuple[Example, str]]:
    """A line is an example; its first letter is its group."""
    return ((example, str(example.input)[0]) for example in lines(path))


def write(folder: Path, name: str, count: int = 60) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{'abcdef'[n % 6]}{n}\n" for n in range(count)))


def files(folder: Any, shares: ShareSplit, **names: str | None) -> SplitFiles:
    return SplitFiles(
        folder=folder, names={"train": "train.txt", "dev": None, "test": None, **names}, read=read, shares=shares
    )


def inputs(of: SplitFiles) -> dict[str, list[str]]:
    return {split: [example.input for example in of.examples(split)] for split in of.splits}


def test_splits_with_files_are_those_files_and_train_is_whole(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        write(tmp_path, f"{name}.txt", len(name))
    of = files(tmp_path, ShareSplit(dev=0.5, test=0.5), dev="valid.txt", test="test.txt")
    with collect_reports() as reading:
        assert {split: len(texts) for split, texts in inputs(of).items()} == {"train": 5, "dev": 5, "test": 4}
    assert reading.split_rules == ["by file"]
    assert of.files("dev") == [tmp_path / "valid.txt"]
    assert "splits" not in of.about()


def test_a_split_without_a_file_is_a_share_of_train_and_a_file_stays_whole(tmp_path: Path) -> None:
    write(tmp_path, "train.txt")
    write(tmp_path, "test.txt", 7)
    of = files(tmp_path, ShareSplit(dev=0.25, test=0.5), test="test.txt")
    read_inputs = inputs(of)
    assert of.splits == ("train", "dev", "test")
    assert sorted(read_inputs["train"] + read_inputs["dev"]) == sorted(e.input for e in lines(tmp_path / "train.txt"))
    assert len(read_inputs["test"]) == 7
    assert 5 <= len(read_inputs["dev"]) <= 25
    assert of.files("dev") == [tmp_path / "train.txt"]
    assert of.about()["splits"].startswith("0.25 of train is dev")


def test_whole_groups(tmp_path: Path) -> None:
    write(tmp_path, "train.txt")
    read_inputs = inputs(files(tmp_path, ShareSplit(dev=0.2, test=0.2, by="group")))
    groups = {split: {text[0] for text in texts} for split, texts in read_inputs.items()}
    assert set().union(*groups.values()) == set("abcdef")
    assert sum(map(len, groups.values())) == 6


def test_without_shares_there_are_no_other_splits(tmp_path: Path) -> None:
    write(tmp_path, "train.txt")
    assert files(tmp_path, ShareSplit()).splits == ("train",)


def test_the_folder_is_asked_for_when_a_split_is_read(tmp_path: Path) -> None:
    asked: list[Path] = []

    def folder() -> Path:
        asked.append(tmp_path)
        return tmp_path

    write(tmp_path, "train.txt")
    of = files(folder, ShareSplit(dev=0.2))
    assert (of.splits, asked) == (("train", "dev"), [])
    assert list(of.examples("train"))
    assert asked


@pytest.mark.parametrize(("name", "message"), [("dev", "`dev` names the file"), ("train", "`train` names the file")])
def test_a_file_that_is_missing_is_named_with_the_option_for_it(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, "train.txt")
    with pytest.raises(DataError, match=message):
        list(files(tmp_path, ShareSplit(), **{name: "absent.txt"}).examples(name))


def test_arrays_that_look_alike_when_they_are_printed_may_be_in_different_splits() -> None:
    arrays = []
    for place in range(40):
        array = np.zeros((2000, 3))
        array[1000, 0] = place
        arrays.append(array)
    assert len({str(array) for array in arrays}) == 1  # `str` shows the ends only
    shares = ShareSplit(dev=0.5)
    dev = list(shares.divide(lambda: ((Example(array, "a", ""), "") for array in arrays), "dev"))
    assert 8 <= len(dev) <= 32
