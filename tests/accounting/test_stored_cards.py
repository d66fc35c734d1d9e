"""A card that was stored is made anew when files, or the folders that are their labels, are not what they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from seqkit_charlm import charlm
from seqkit_names import names
from seqkit_sentiment import sentiment
from seqkit_speech import speech

from seqkit.data.store import Prepared, prepare
from seqkit.types import Task
from tests.helpers.sound import needs_audio, write_clips


def write(folder: Path, *files: str) -> None:
    for number, name in enumerate(files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"a text {number} of many\n" * 20, encoding="utf-8")


def texts(folder: Path) -> Task:
    write(folder, *(f"good/{n}.txt" for n in range(9)), *(f"bad/{n + 9}.txt" for n in range(9)))
    return class_task(folder)


def class_task(folder: Path) -> Task:
    return sentiment(folder=folder.parent, train=folder.name, dev=None, test=None, held_out=0.3, split_by="label")


def lines(folder: Path) -> Task:
    write(folder, "a.txt", "b.txt")
    return charlm(file=folder)


def kinds(folder: Path) -> Task:
    for kind in ("Finnish", "Norse"):
        folder.mkdir(exist_ok=True)
        (folder / f"{kind}.txt").write_text("".join(f"{kind}a{chr(97 + n)}\n" for n in range(20)), encoding="utf-8")
    return names(folder=folder)


def clips(folder: Path) -> Task:
    write_clips(folder, *(f"{word}/{word}{n}.wav" for word in ("yes", "no") for n in range(20)))
    return speech(path=folder, rate=8000, bands=8)


MAKERS: dict[str, Callable[[Path], Task]] = {"texts": texts, "lines": lines, "kinds": kinds}


def store(task: Task, folder: Path) -> Prepared:
    return prepare(task, key={}, cache=folder / "cache")


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_that_is_not_read_and_was_not_there_before(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = store(MAKERS[kind](folder), tmp_path)
    again = store(MAKERS[kind](folder), tmp_path)
    assert again.reused
    assert first.splits["train"].report.reading.left_out == {}
    (folder / "notes.pdf").write_text("no text", encoding="utf-8")
    later = store(MAKERS[kind](folder), tmp_path)
    assert [things.first for things in later.splits["train"].report.reading.left_out.values()] == ["notes.pdf"]


def test_a_class_that_is_renamed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert set(store(texts(folder), tmp_path).splits["train"].report.classes) == {"good", "bad"}
    (folder / "good").rename(folder / "fine")
    assert set(store(class_task(folder), tmp_path).splits["train"].report.classes) == {"fine", "bad"}


@needs_audio
def test_a_word_that_is_renamed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert set(store(clips(folder), tmp_path).splits["train"].report.classes) == {"yes", "no"}
    (folder / "yes").rename(folder / "yeah")
    task = speech(path=folder, rate=8000, bands=8)
    assert set(store(task, tmp_path).splits["train"].report.classes) == {"yeah", "no"}


def test_data_that_are_elsewhere_now_are_the_same(tmp_path: Path) -> None:
    first = store(texts(tmp_path / "data"), tmp_path)
    (tmp_path / "moved").mkdir()
    (tmp_path / "data").rename(tmp_path / "moved" / "data")
    again = store(class_task(tmp_path / "moved" / "data"), tmp_path)
    assert again.reused
    assert again.identity == first.identity
    assert {file["name"].partition("/")[0] for file in again.files} == {"good", "bad"}
