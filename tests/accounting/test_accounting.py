"""No file, line or column is passed over in silence: 2,000 generated data sets, most of them damaged in some way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest

from seqkit.reading import report_left_out
from seqkit.types import Example, Task
from tests.accounting.ledger import Audit, Case, audit
from tests.accounting.odd_folders import (
    charlm_case,
    class_folder_case,
    manifest_case,
    names_case,
    speech_folder_case,
    transcript_case,
)
from tests.accounting.odd_sentences import ner_case
from tests.accounting.odd_sequences import genome_case
from tests.accounting.odd_tables import sentiment_case, translation_case


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk: what is stored is read once and thrown away."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


MAKERS: dict[str, tuple[Callable[[Random, Path], Case], int]] = {
    "texts": (sentiment_case, 500),
    "pairs": (translation_case, 250),
    "sentences": (ner_case, 300),
    "classes": (class_folder_case, 200),
    "running text": (charlm_case, 100),
    "names": (names_case, 100),
    "recordings": (speech_folder_case, 200),
    "manifests": (manifest_case, 150),
    "transcripts": (transcript_case, 50),
    "sequences": (genome_case, 150),
}
"""What makes the cases of each kind, and how many of them there are in all."""

SHARE = 25
"""One of so many is part of the short tests."""

ALL = [(kind, number) for kind, (_, count) in MAKERS.items() for number in range(count)]


def run(kind: str, number: int, folder: Path) -> tuple[Case, Audit]:
    """Make a case and account for it."""
    data = folder / f"{kind} {number}"
    data.mkdir()
    case = MAKERS[kind][0](Random(f"{kind} {number}"), data)
    return case, audit(case, folder / "cache")


def check_all(cases: list[tuple[str, int]], folder: Path) -> None:
    silent, refused, used, told = [], 0, 0, 0
    for kind, number in cases:
        case, result = run(kind, number, folder)
        silent += [f"{kind} {number}: {what}; {case.options}" for what in result.silent]
        refused += bool(result.refusal)
        used, told = used + result.used, told + result.told
    assert silent == []
    # Cases that are all refused, or in which nothing is left out, would show nothing.
    assert refused < len(cases) * 0.4
    assert used > 5 * len(cases)
    assert told > len(cases) / 2


def test_there_are_two_thousand() -> None:
    assert len(ALL) == 2000


def test_nothing_is_silent_in_a_few(tmp_path: Path) -> None:
    check_all(ALL[::SHARE], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_nothing_is_silent(kind: str, tmp_path: Path) -> None:
    check_all([case for case in ALL if case[0] == kind], tmp_path)


REPORTING = {
    "texts": "seqkit.readers.line_reader",
    "pairs": "seqkit.readers.line_reader",
    "sentences": "seqkit_ner.conll_reader",
    "classes": "seqkit.readers.class_folders",
    "running text": "seqkit.readers.class_folders",
    "names": "seqkit_names.sources",
    "recordings": "seqkit_speech.sources",
    "manifests": "seqkit.readers.line_reader",
    "transcripts": "seqkit_speech.transcripts",
    "sequences": "seqkit_genome.fasta",
}
"""Which module tells of what it passes over, for each kind."""


class TestThatFaultsAreFound:
    @pytest.mark.parametrize("kind", MAKERS)
    def test_a_reader_that_does_not_tell(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(f"{REPORTING[kind]}.report_left_out", lambda *words, **options: None)
        silent = [what for number in range(16) for what in run(kind, number, tmp_path)[1].silent]
        assert any("are left out" in what for what in silent)

    @pytest.mark.parametrize("kind", MAKERS)
    def test_a_reader_that_loses_an_example(self, kind: str, tmp_path: Path) -> None:
        found = read = 0
        for number in range(12):
            data = tmp_path / str(number)
            data.mkdir()
            case = MAKERS[kind][0](Random(f"{kind} {number}"), data)
            case.make, case.others = partial(_losing, case.make), []
            result = audit(case, tmp_path / "cache")
            read += not result.refusal
            found += bool(result.silent)
        assert found >= read > 0

    @pytest.mark.parametrize(("kind", "module"), [("texts", "tables"), ("pairs", "json_lines"), ("texts", "formats")])
    def test_columns_that_are_not_told(
        self, kind: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(f"seqkit.readers.{module}.report_columns", lambda *words, **options: None)
        silent = [what for number in range(30) for what in run(kind, number, tmp_path)[1].silent]
        assert any("columns" in what for what in silent)

    def test_a_header_that_is_not_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("seqkit.data.card._headers", lambda splits: ())
        silent = [what for number in range(40) for what in run("texts", number, tmp_path)[1].silent]
        assert any("without a warning" in what for what in silent)

    def test_a_report_that_is_made_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def twice(kind: str, where: str, count: int = 1) -> None:
            report_left_out(kind, where, 2 * count)

        monkeypatch.setattr("seqkit.readers.line_reader.report_left_out", twice)
        assert any(run("texts", number, tmp_path)[1].silent for number in range(20))


def _losing(make: Callable[[], Task]) -> Task:
    """The task without the first example of train."""
    task = make()

    def read(split: str) -> Iterator[Example]:
        return (example for number, example in enumerate(task.read(split)) if number or split != "train")

    return replace(task, read=read, files=None)
