"""`seqkit predict`: the kinds of input that it reads, what it does with bad ones, and the forms of its output."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from tests.helpers.sound import needs_audio, tone, wav_bytes


def call(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def records(done: Result, *, exit_code: int = 0) -> list[dict[str, Any]]:
    assert done.exit_code == exit_code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def train(folder: Path, task: str, *, steps: int = 60) -> Path:
    (folder / "recipe.yaml").write_text(
        f"tasks: {{it: {task}}}\nencoder: {{use: gru, dim: 8, hidden: 8}}\n"
        f"train: {{steps: {steps}, batch: 4, optimizer: {{use: adamw, lr: 0.02}}, histograms: false}}\n"
    )
    done = call("run", folder / "recipe.yaml", "--out", folder / "run", "--quiet")
    assert done.exit_code == 0, done.output
    return folder / "run"


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes texts with `warm` for good and others for bad; it reads tweets."""
    folder = tmp_path_factory.mktemp("moods")
    for name in ("train", "dev", "test"):
        rows = (f"Warm{'!! ' * (i % 2)}{' 1' * (i % 3)}{' x' * i}\tgood\n" for i in range(7))
        rows = (row + row.replace("Warm", "Cold").replace("good", "bad") for row in rows)
        (folder / f"{name}.tsv").write_text("".join(rows))
    return train(folder, "{use: sentiment, folder: ., tokenizer: tweets}", steps=120)


@pytest.fixture(scope="module")
def persons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes Anna and Bert for persons, Turku for a place; raw text is split at punctuation."""
    folder = tmp_path_factory.mktemp("persons")
    sentences = [("Anna", "PER"), ("Bert", "PER"), ("Turku", "LOC")]
    text = "".join(f"I O\nsaw O\n{word} B-{kind}\n. O\n\n" for word, kind in sentences * 6)
    for name in ("train", "dev", "test"):
        (folder / f"{name}.conll").write_text(text)
    return train(folder, "{use: ner, folder: ., char_hidden: 4, tokenizer: punctuation, drop: 0.0}", steps=100)


class TestTables:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("in.tsv", "Warm!! 1\nCold!! 2\n"),
            ("in.TSV", "Warm!! 1\tgood\nCold!! 2\t\n"),
            ("in.csv", '"Warm!! 1",x\n"Cold!! 2",y\n'),
            ("in.jsonl", '{"text": "Warm!! 1"}\n{"text": "Cold!! 2", "label": "bad"}\n'),
            ("in.txt", "Warm!! 1\nCold!! 2\n"),
            ("in", "Warm!! 1\r\nCold!! 2"),
        ],
    )
    def test_formats_of_training_and_text_are_read_alike(
        self, moods: Path, tmp_path: Path, name: str, content: str
    ) -> None:
        (tmp_path / name).write_text(content)
        results = records(call("predict", moods, tmp_path / name))
        assert [row["prediction"] for row in results] == ["good", "bad"]
        assert [row["id"] for row in results] == [f"{name}:1", f"{name}:2"]
        text = records(call("predict", moods, "--text", "Warm!! 1", "--text", "Cold!! 2"))
        assert [row["scores"] for row in results] == [pytest.approx(row["scores"], abs=1e-6) for row in text]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("in.tsv", "Warm\tx\nCold\nWarm\tx\n", "has 1 columns, but line 1 has 2"),
            ("in.csv", 'Warm,x\n"Cold"y,x\nWarm,x\n', "after a closing quotation mark"),
            ("in.csv", 'Warm,x\nCo"ld,x\nWarm,x\n', "a quotation mark inside a field"),
            ("in.jsonl", '{"text": "Warm"}\n{"text": NaN}\n{"text": "Warm"}\n', "NaN is not JSON"),
            ("in.jsonl", '{"text": "Warm"}\n{"txt": "Cold"}\n{"text": "Warm"}\n', "has no key 'text'"),
            ("in.jsonl", '{"text": "Warm"}\n{"text": 3}\n{"text": "Warm"}\n', "should be text"),
            ("in.tsv", "Warm\tx\n\nWarm\tx\n", "is empty"),
            ("in.csv", "Warm,x\n \nWarm,x\n", "is empty"),
            ("in.tsv", "Warm\tx\n\t\nWarm\tx\n", "is empty"),
            ("in.txt", "Warm\n  \nWarm\n", "is empty"),
            ("in.txt", "Warm\n\0\nWarm\n", "has a NUL character"),
            ("in.txt", b"Warm\n\xff\nWarm\n", "is not UTF-8"),
        ],
    )
    def test_what_cannot_be_used_has_a_record_in_its_place(
        self, moods: Path, tmp_path: Path, name: str, content: str | bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        done = call("predict", moods, tmp_path / name)
        first, second, third = records(done, exit_code=1)
        assert "1 of 3 inputs" in done.stderr
        assert first["prediction"] == third["prediction"] == "good"
        assert second["id"] == f"{name}:2"
        assert message in second["error"]
        assert "prediction" not in second
        stopped = call("predict", moods, tmp_path / name, "--on-error", "stop")
        assert stopped.exit_code == 2
        assert f"{name}:2: " in stopped.stderr
        assert message in stopped.stderr
        assert len(stopped.stdout.splitlines()) == 1

    def test_a_file_that_is_damaged_does_not_hide_the_next_one(self, moods: Path, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("Warm\n")
        (tmp_path / "b.txt.gz").write_bytes(b"\x1f\x8b nothing")
        (tmp_path / "c.tsv").write_text("Cold\n")
        first, second, third = records(call("predict", moods, *sorted(tmp_path.iterdir())), exit_code=1)
        assert (first["prediction"], third["prediction"]) == ("good", "bad")
        assert "b.txt.gz" in second["id"]
        assert "gzip" in second["error"]

    def test_a_blank_row_in_front_does_not_decide_how_many_columns_there_are(self, moods: Path, tmp_path: Path) -> None:
        (tmp_path / "in.tsv").write_text(" \t \nWarm\tx\ty\nCold\tx\ty\n")
        blank, *rows = records(call("predict", moods, tmp_path / "in.tsv"), exit_code=1)
        assert blank["error"] == "is empty"
        assert [row["prediction"] for row in rows] == ["good", "bad"]

    @pytest.mark.parametrize("between", [", ", ",\n"])
    def test_a_bad_object_of_an_array_does_not_end_it(self, moods: Path, tmp_path: Path, between: str) -> None:
        rows = ('{"text": "Warm"}', '{"text": NaN}', '{"text" "Cold"}', '{"txt": "Cold"}', "3", '{"text": "Cold"}')
        (tmp_path / "in.json").write_text(f"[{between.join(rows)}]")
        first, *bad, last = records(call("predict", moods, tmp_path / "in.json"), exit_code=1)
        assert (first["prediction"], last["prediction"]) == ("good", "bad")
        messages = ("NaN is not JSON", "Expecting ':'", "has no key 'text'", "not an object")
        assert all(message in row["error"] for row, message in zip(bad, messages, strict=True))
        assert len({row["id"] for row in (first, *bad, last)}) == 6

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("in.tsv", "Warm!! #1\tgood\n"),
            ("in.csv", '"Warm!! #1",good\n'),
            ("in.jsonl", '{"text": "Warm!! #1"}\n'),
            ("in.json", '[{"text": "Warm!! #1"}]'),
            ("in.ft", "__label__good Warm!! #1\n"),
            ("in.txt", "Warm!! #1\n"),
        ],
    )
    def test_a_record_shows_the_text_as_it_was_given(
        self, moods: Path, tmp_path: Path, name: str, content: str
    ) -> None:
        (tmp_path / name).write_text(content)
        (row,) = records(call("predict", moods, tmp_path / name))
        assert row["input"] == "Warm!! #1"

    def test_a_folder_of_classes_and_what_is_left_out_of_it(self, moods: Path, tmp_path: Path) -> None:
        for name, text in (("a/1.txt", "Warm!!"), ("b/2.txt", "Cold"), ("b/c.pdf", "x"), ("b/.d", "x")):
            (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "new" / name).write_text(text)
        done = call("predict", moods, tmp_path / "new")
        assert [(row["id"], row["prediction"]) for row in records(done)] == [("a/1.txt", "good"), ("b/2.txt", "bad")]
        assert "left out: 1 x file that is not text (.pdf), at b/c.pdf" in done.stderr
        assert "left out: 1 x hidden file, at b/.d" in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["missing.txt"], "there is no such file"),
            (["-", "-"], "once"),
            (["--format", "conll"], "it reads: text, tsv, "),
            (["x", "--text", "y"], "not both"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, moods: Path, arguments: list[str], message: str) -> None:
        done = call("predict", moods, *arguments)
        assert done.exit_code == 2
        assert message in done.stderr

    def test_words_that_are_split_already_are_left_alone(self, moods: Path, tmp_path: Path) -> None:
        lines = 'warm !! 1\n["warm", "!!", "1"]\n'
        already = records(call("predict", moods, "-", "--split-words", "no", stdin=lines))
        split = records(call("predict", moods, "--text", "Warm!! 1"))
        assert [row["scores"] for row in already] == [pytest.approx(split[0]["scores"], abs=1e-6)] * 2
        unsplit = records(call("predict", moods, "--split-words", "no", "--text", "Warm!! 1"))
        assert unsplit[0]["scores"] != pytest.approx(split[0]["scores"], abs=1e-3)


class TestStandardInput:
    TEXT = b"Warm!! 1\nCold!! 2\n"

    def check(self, moods: Path, stdin: Any) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "seqkit", "predict", str(moods), "-"], stdin=stdin, capture_output=True, check=True
        )
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(row["id"], row["prediction"]) for row in rows] == [("stdin:1", "good"), ("stdin:2", "bad")]

    def test_it_may_be_a_file(self, moods: Path, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(self.TEXT)
        with (tmp_path / "in").open("rb") as file:
            self.check(moods, file)

    def test_it_may_be_a_socket(self, moods: Path) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(self.TEXT)
            ours.shutdown(socket.SHUT_WR)
            self.check(moods, theirs)

    @pytest.mark.parametrize(
        ("name", "content"),
        [("csv", "Warm!! 1,x\nCold!! 2,y\n"), ("jsonl", '{"text": "Warm!! 1"}\n{"text": "Cold!! 2"}\n')],
    )
    def test_its_format_can_be_named(self, moods: Path, name: str, content: str) -> None:
        results = records(call("predict", moods, "--format", name, stdin=content))
        assert [row["prediction"] for row in results] == ["good", "bad"]

    def test_files_and_standard_input_come_in_the_order_given(self, moods: Path, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("Warm\n")
        results = records(call("predict", moods, tmp_path / "a.txt", "-", tmp_path / "a.txt", stdin="Cold\n"))
        assert [row["id"] for row in results] == ["a.txt:1", "stdin:1", "a.txt:1"]


class TestOutput:
    def test_csv_has_the_same_columns_for_every_input(self, moods: Path) -> None:
        done = call("predict", moods, "--csv", "--top", 1, stdin="Warm, 1\n\nCold\n")
        assert done.exit_code == 1
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert [row["prediction"] for row in rows] == ["good", "", "bad"]
        assert [row["error"] for row in rows] == ["", "is empty", ""]
        assert rows[0]["input"] == "Warm, 1"
        assert list(json.loads(rows[0]["scores"])) == ["good"]

    def test_the_input_and_the_scores_can_be_left_out(self, moods: Path) -> None:
        (row,) = records(call("predict", moods, "--no-input", "--no-scores", "--text", "Warm"))
        assert set(row) == {"id", "prediction", "confidence"}

    def test_the_order_is_that_of_the_input_over_many_chunks(
        self, moods: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("seqkit.inference.predict.CHUNK", 7)
        texts = [f"{'Warm' if i % 3 else 'Cold'} {'x ' * (i % 5)}" for i in range(40)]
        results = records(call("predict", moods, "--batch", 3, stdin="\n".join(texts)))
        assert [row["input"] for row in results] == texts
        assert [row["prediction"] for row in results] == ["good" if i % 3 else "bad" for i in range(40)]


class TestSpans:
    def places(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        spans = row["scores"]["spans"]
        assert all(row["input"][span["start_char"] : span["end_char"]] == span["text"] for span in spans)
        return [(span["text"], span["type"]) for span in spans]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("I saw Anna.", [("Anna", "PER")]),
            ("  I  saw\tTurku .", [("Turku", "LOC")]),
            ("I saw Bert.", [("Bert", "PER")]),
        ],
    )
    def test_they_say_which_characters_of_the_text_they_are(
        self, persons: Path, text: str, expected: list[tuple[str, str]]
    ) -> None:
        (row,) = records(call("predict", persons, "--text", text))
        assert row["input"] == text
        assert self.places(row) == expected

    def test_text_in_json_is_shown_as_it_was_given(self, persons: Path, tmp_path: Path) -> None:
        rows = ['{"text": "I saw Anna."}', '{"text": 3}', '{"text": ""}', '{"text": "  I  saw\\tTurku ."}']
        for name, content in (("in.jsonl", "\n".join(rows)), ("in.json", f"[{', '.join(rows)}]")):
            (tmp_path / name).write_text(content)
            first, second, third, fourth = records(call("predict", persons, tmp_path / name), exit_code=1)
            assert (first["input"], fourth["input"]) == ("I saw Anna.", "  I  saw\tTurku .")
            assert (self.places(first), self.places(fourth)) == ([("Anna", "PER")], [("Turku", "LOC")])
            assert "should be text" in second["error"]
            assert "has no words" in third["error"]

    @pytest.mark.parametrize("arguments", [["."], ["-", "."]])
    def test_a_folder_is_no_file_of_sentences(self, persons: Path, arguments: list[str]) -> None:
        done = call("predict", persons, *arguments)
        assert done.exit_code == 2
        assert "is a folder" in done.stderr

    def test_of_words_that_are_split_the_text_is_the_words_with_blanks(self, persons: Path, tmp_path: Path) -> None:
        (tmp_path / "in.conll").write_text("I\nsaw\nAnna\n.\n\nI x\nsaw\n\nI\nsaw\nTurku\n.\n")
        first, second, third = records(call("predict", persons, tmp_path / "in.conll"), exit_code=1)
        assert first["input"] == "I saw Anna ."
        assert (self.places(first), self.places(third)) == ([("Anna", "PER")], [("Turku", "LOC")])
        assert "has 1 columns, but line 6 of the same sentence has 2" in second["error"]

    def test_the_report_is_by_type(self, persons: Path) -> None:
        done = call("evaluate", persons, "--data", persons.parent / "dev.conll", "--report", "--json")
        assert done.exit_code == 0, done.output
        classes = json.loads(done.stdout)["report"]["it"]["classes"]
        assert {name: (row["true"], row["f1"]) for name, row in classes.items()} == {
            "LOC": (6, 1.0),
            "PER": (12, 1.0),
        }


@needs_audio
def test_recordings_are_read_from_files_folders_and_manifests(tmp_path: Path) -> None:
    for word, hertz in (("low", 200), ("high", 1500)):
        for number in range(4):
            for split in ("train", "dev", "test"):
                path = tmp_path / "data" / split / word / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wav_bytes(tone(hertz + number, 0.2)))
    run = train(tmp_path, "{use: speech, path: data, rate: 8000, bands: 8, normalise: none}", steps=80)
    new = tmp_path / "new"
    new.mkdir()
    for name, hertz in (("a", 210), ("c", 1520)):
        (new / f"{name}.wav").write_bytes(wav_bytes(tone(hertz, 0.2)))
    (new / "b.wav").write_bytes(wav_bytes(tone(210))[:-20])
    (tmp_path / "list.csv").write_text("path\nnew/a.wav\nnew/missing.wav\nnew/c.wav\n")
    for arguments, message in (
        ([new], "is truncated"),
        ([new / "a.wav", new / "b.wav", new / "c.wav"], "is truncated"),
        ([tmp_path / "list.csv"], "there is no such file"),
    ):
        first, second, third = records(call("predict", run, *arguments), exit_code=1)
        assert (first["prediction"], third["prediction"]) == ("low", "high")
        assert message in second["error"]
    moved = (tmp_path / "data").rename(tmp_path / "moved")
    for data, count in ((moved, 24), (moved / "test", 8)):
        done = call("evaluate", run, "--data", data, "--json", "--predictions", tmp_path / "out.jsonl")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)[f"it/{data.name}/accuracy"] == 1.0
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == count
    wav = (new / "a.wav").read_bytes()
    assert [row["id"] for row in records(call("predict", run, "--format", "wav", stdin=wav))] == ["stdin.wav"]
    (tmp_path / "labelled.csv").write_text("path,label\nnew/a.wav,low\nnew/c.wav,high\n")
    done = call("evaluate", run, "--data", tmp_path / "labelled.csv", "--json")
    assert json.loads(done.stdout)["it/labelled.csv/accuracy"] == 1.0
    done = call("evaluate", run, "--data", moved, "--split", "dev", "--predictions", tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 8
