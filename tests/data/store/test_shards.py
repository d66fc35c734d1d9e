"""Splits that are stored in shards: encoded once, one by one, removed and made again, and the same as one array."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit import DataError, Example, Label, Shard, Task, Tokens, UsageError
from seqkit.data.padding import pad_rows
from seqkit.data.store import Column, Prepared, block, prepare
from seqkit.data.store.shard_entries import VARIABLE, cache_limit
from seqkit.data.store.shard_rows import ShardRows
from seqkit.readers import as_shards, read_shards, tsv

WORDS = ["the", "cat", "sat", "on", "a", "mat"]
BASE = [word for number, word in enumerate(WORDS) for _ in range(2 * number + 1)]
"""In each example, so that the order of the words by frequency does not depend on which files there are."""


def write(folder: Path, shards: int = 5, rows: int = 30) -> None:
    """Some files of train with the same words and labels in each, and one of dev."""
    for number in range(shards):
        write_shard(folder, number, rows)
    (folder / "dev.tsv").write_text("the cat\ta\na mat\tb\n")


def write_shard(folder: Path, number: int, rows: int = 30) -> None:
    rng = np.random.default_rng(number)
    lines = [f"{' '.join([*BASE, *rng.choice(WORDS, rng.integers(1, 9))])}\t{'ab'[row % 2]}\n" for row in range(rows)]
    (folder / f"part-{number}.tsv").write_text("".join(lines))


def task(folder: Path, read_log: list[str] | None = None, *, is_whole: bool = False) -> Task:
    """A task whose train is all files `part-*`; `read_log` gets the name of each file that a shard is read from."""

    def paths(split: str) -> list[Path]:
        return [folder / "dev.tsv"] if split == "dev" else sorted(folder.glob("part-*.tsv"))

    def read_some(some: Any, names: Any) -> Iterator[Example]:
        if read_log is not None:
            read_log.extend(names)
        yield from read_shards(some, tsv, names)

    def shards(split: str) -> list[Shard]:
        return as_shards(paths(split), read_some)

    return Task(
        read=lambda split: read_shards(paths(split), tsv),
        input=Tokens("words"),
        target=Label(),
        head="classify",
        best="loss",
        splits=("train", "dev"),
        files=paths,
        shards=None if is_whole else shards,
    )


def stored(folder: Path, *arguments: Any, cache: str = "cache", **options: Any) -> Prepared:
    return prepare(task(folder, *arguments, **options), key={}, cache=folder / cache)


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "shards").glob("[!.]*"))


def assert_same(some: Prepared, other: Prepared) -> None:
    for name, split in other.splits.items():
        mine = some.splits[name]
        assert list(mine.ids) == list(split.ids)
        assert mine.report == split.report
        assert np.array_equal(mine.origin, split.origin)
        assert np.array_equal(np.asarray(mine.x.data), np.asarray(split.x.data))
        assert all(np.array_equal(mine.x[i], split.x[i]) for i in range(len(split)))
        assert mine.y is not None
        assert split.y is not None
        assert np.array_equal(np.asarray(mine.y.data), np.asarray(split.y.data))


def test_a_split_in_shards_is_that_of_one_array(tmp_path: Path) -> None:
    write(tmp_path)
    shards, one_file = stored(tmp_path), stored(tmp_path, is_whole=True, cache="other")
    assert isinstance(shards.splits["train"].x.data, ShardRows)
    assert isinstance(shards.splits["dev"].x.data, np.ndarray), "one file"
    assert_same(shards, one_file)
    ends = shards.splits["train"].shard_ends
    assert ends is not None
    assert ends.tolist() == [30, 60, 90, 120, 150]
    again = stored(tmp_path)
    assert again.reused
    assert_same(again, one_file)


def test_only_a_changed_or_new_shard_is_encoded(tmp_path: Path) -> None:
    write(tmp_path)
    log: list[str] = []
    stored(tmp_path, log)
    assert log == [f"part-{number}.tsv" for number in range(5)]
    write_shard(tmp_path, 5)
    (tmp_path / "part-1.tsv").write_text((tmp_path / "part-1.tsv").read_text() + " ".join(reversed(WORDS)) + "\ta\n")
    log.clear()
    changed = stored(tmp_path, log)
    assert log == ["part-1.tsv", "part-5.tsv"]
    assert not changed.reused
    assert_same(changed, stored(tmp_path, is_whole=True, cache="other"))


def test_a_shard_that_is_missing_or_damaged_is_encoded_again_when_it_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    log, sentences = list[str](), list[str]()
    expected = stored(tmp_path, is_whole=True, cache="other")
    stored(tmp_path)
    for number, folder in enumerate(entries(tmp_path)):
        if number % 2:
            (folder / "shard.x.bin").write_bytes(b"")
        else:
            folder.rename(tmp_path / folder.name)
    again = prepare(task(tmp_path, log), key={}, cache=tmp_path / "cache", tell=sentences.append)
    assert again.reused
    assert log == []
    split = again.splits["train"]
    assert split.x.lengths.sum() == len(split.x.data), "lengths and order are known without a shard"
    split.x[70]
    assert log == ["part-2.tsv"], "nothing before it is read"
    assert sentences == ["part-2.tsv of train is encoded again, because it is not in the cache any more"]
    assert_same(again, expected)
    assert sorted(log) == [f"part-{number}.tsv" for number in range(5)]


def test_shards_that_were_not_used_for_the_longest_time_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, shards=8)
    expected = stored(tmp_path, is_whole=True, cache="other")
    stored(tmp_path)
    size = max(sum(file.stat().st_size for file in folder.iterdir()) for folder in entries(tmp_path))
    for folder in entries(tmp_path):
        folder.rename(tmp_path / folder.name)
    monkeypatch.setenv(VARIABLE, str(3 * size))
    log, sentences = list[str](), list[str]()
    some = prepare(task(tmp_path, log), key={}, cache=tmp_path / "cache", tell=sentences.append)
    split = some.splits["train"]
    for row in (0, 240 - 1, 31, 3):
        split.x[row]
        time.sleep(0.02)
        assert len(entries(tmp_path)) <= 3
    assert_same(some, expected)
    assert len(entries(tmp_path)) <= 3
    assert log[:3] == ["part-0.tsv", "part-7.tsv", "part-1.tsv"], "the fourth row is in a shard that is there"
    assert any(f"{VARIABLE}: encoded shards took more than {3 * size:,} bytes" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("12", 12), ("1.5 kB", 1500), ("2GB", 2 * 10**9), ("3 T", 3 * 10**12), ("7mb", 7 * 10**6)],
)
def test_a_limit_is_bytes(text: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert cache_limit() == expected


@pytest.mark.parametrize("text", ["0", "much", "-1", "5 b", "5 apples"])
def test_a_limit_that_is_no_number_of_bytes_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UsageError, match=VARIABLE):
        cache_limit()


def test_problems_of_all_shards_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, shards=3)
    for number in (0, 2):
        with (tmp_path / f"part-{number}.tsv").open("a") as file:
            file.write("fine\ta\n")
    fields = [
        side.fit([example.input if n == 0 else example.target for example in task(tmp_path).read("train")])
        for n, side in enumerate((task(tmp_path).input, task(tmp_path).target))
    ]
    for number in (0, 2):
        with (tmp_path / f"part-{number}.tsv").open("a") as file:
            file.write("odd\tc\n")
    with pytest.raises(DataError) as caught:
        prepare(task(tmp_path), key={}, cache=tmp_path / "cache", fitted=(fields[0], fields[1]))
    assert "part-0.tsv:32" in str(caught.value)
    assert "part-2.tsv:32" in str(caught.value)
    assert len(entries(tmp_path)) == 1, "the shard without problems is stored"


def test_a_file_that_has_changed_since_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    split = stored(tmp_path).splits["train"]
    open_row = split.x[40]
    again = stored(tmp_path)
    for folder in entries(tmp_path):
        folder.rename(tmp_path / folder.name)
    write_shard(tmp_path, 1, rows=7)
    again.splits["train"].x[0]
    with pytest.raises(DataError, match=r"part-1\.tsv: was changed since training began"):
        again.splits["train"].x[40]
    assert np.array_equal(split.x[40], open_row), "what is open stays"


def _prepare_slowly(folder: Path, log: Path, delay: float) -> None:
    slow = task(folder)
    shards = slow.shards

    def logged(shard: Shard) -> Shard:
        def read() -> Iterator[Example]:
            with log.open("a") as file:
                file.write(f"{shard.name} {os.getpid()}\n")
            time.sleep(delay)
            yield from shard.read()

        return Shard(shard.name, shard.files, read)

    def slow_shards(split: str) -> list[Shard]:
        assert shards is not None
        return [logged(shard) for shard in shards(split)]

    object.__setattr__(slow, "shards", slow_shards)
    prepare(slow, key={}, cache=folder / "cache")


def test_processes_that_come_together_share_the_work(tmp_path: Path) -> None:
    write(tmp_path, shards=6)
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    processes = [context.Process(target=_prepare_slowly, args=(tmp_path, log, 0.3)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    lines = log.read_text().split("\n")[:-1]
    assert sorted(line.split()[0] for line in lines) == [f"part-{n}.tsv" for n in range(6)], "each once"
    assert len({line.split()[1] for line in lines}) == 2, "by both"
    assert not list((tmp_path / "cache" / "shards").glob(".*"))
    assert_same(stored(tmp_path), stored(tmp_path, is_whole=True, cache="other"))


@pytest.mark.parametrize("shape", [(), (3,)])
def test_rows_in_shards_are_indexed_as_an_array(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    counts = [5, 0, 1, 8, 3]
    array = rng.integers(0, 99, (sum(counts), *shape))
    starts = np.cumsum([0, *counts])
    rows = ShardRows(counts, array.dtype, shape, lambda n: array[starts[n] : starts[n + 1]])
    assert (rows.shape, rows.ndim, rows.nbytes, len(rows)) == (array.shape, array.ndim, array.nbytes, len(array))
    assert np.array_equal(np.asarray(rows), array)
    for key in (0, -1, 6, slice(None), slice(3, 9), slice(5, 5), slice(9, 2), slice(None, None, -2), slice(1, -1, 3)):
        assert np.array_equal(rows[key], array[key]), key
    for index in ([0, 16, 5, 5], [[1, 2], [-1, 3]], [], rng.random(len(array)) < 0.5):
        key = np.asarray(index, dtype=None if len(index) else np.int64)
        assert np.array_equal(rows[key], array[key])
    for bad in (17, -18, np.array([3, 17])):
        with pytest.raises(IndexError):
            rows[bad]
    lengths = np.array([2, 3, 1, 4, 4, 3])
    column = Column(rows, np.cumsum([0, *lengths]))
    index = np.array([5, 0, 2, 3])
    expected = pad_rows(Column(array, column.offsets), index)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(pad_rows(column, index), expected, strict=True))
    assert np.array_equal(block(rows, np.array([0, 5, 6]), 1), block(array, np.array([0, 5, 6]), 1))


def test_data_without_files_are_no_shards(tmp_path: Path) -> None:
    """Those of `seqkit evaluate --data`, say: where the files of training are need not be known there."""
    write(tmp_path)
    fields = [stored(tmp_path).input, stored(tmp_path).target]

    def fail(split: str) -> list[Shard]:
        raise AssertionError(split)

    other = replace(task(tmp_path), files=lambda split: [], shards=fail, splits=("other",))
    object.__setattr__(other, "read", lambda split: [Example("the cat", "a", "x:1")])
    prepared = prepare(other, key={}, cache=tmp_path / "other", fitted=(fields[0], fields[1]))
    assert len(prepared.splits["other"]) == 1
