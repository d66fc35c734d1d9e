"""`seqkit evaluate` on other files and folders, with predictions and reports."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows(count: int) -> list[tuple[str, str]]:
    return [pair for i in range(count) for pair in ((f"warm and kind {i % 3}", "good"), (f"cold {i % 3}", "bad"))]


def write_tsv(path: Path, pairs: list[tuple[str, str]]) -> None:
    path.write_text("".join(f"{text}\t{label}\n" for text, label in pairs))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose model is always right, and whose data folder was moved afterwards."""
    folder = tmp_path_factory.mktemp("moods")
    (folder / "data").mkdir()
    for name, count in (("train", 20), ("dev", 4), ("test", 3)):
        write_tsv(folder / "data" / f"{name}.tsv", rows(count))
    (folder / "recipe.yaml").write_text(
        "seed: 1\ntasks: {mood: {use: sentiment, folder: data}}\nencoder: {use: gru, dim: 8, hidden: 8}\n"
        "train: {epochs: 12, batch: 4, optimizer: {use: adamw, lr: 0.02}}\n"
    )
    assert call("run", folder / "recipe.yaml", "--out", folder / "run", "--quiet").exit_code == 0
    shutil.move(folder / "data", folder / "moved")
    return folder


def scores(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    results: dict[str, Any] = json.loads(done.stdout)
    return results


class TestOtherData:
    @pytest.mark.parametrize("name", ["new.tsv", "new.csv", "new.jsonl"])
    def test_a_new_file_is_scored_in_each_format(self, trained: Path, tmp_path: Path, name: str) -> None:
        pairs = [*rows(2), ("warm and kind 1", "bad")]
        path = tmp_path / name
        if name.endswith(".jsonl"):
            path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs))
        else:
            write_tsv(path, pairs)
            path.write_text(path.read_text().replace("\t", "," if name.endswith(".csv") else "\t"))
        results = scores(call("evaluate", trained / "run", "--data", path, "--json"))
        assert results[f"mood/{name}/accuracy"] == pytest.approx(0.8)

    def test_of_a_folder_the_file_of_the_split_is_scored(self, trained: Path) -> None:
        for split, count in (("dev", 8), ("test", 6), (None, 6)):
            arguments = ["--split", split] if split else []
            done = call("evaluate", trained / "run", "--data", trained / "moved", *arguments, "--json")
            assert scores(done)["mood/moved/accuracy"] == 1.0
            assert f"examples {count}" in " ".join(done.stderr.split())

    def test_scores_are_those_of_the_split_itself(self, trained: Path) -> None:
        (trained / "moved").rename(trained / "data")
        try:
            of_split = scores(call("evaluate", trained / "run", "--split", "dev", "--json"))
        finally:
            (trained / "data").rename(trained / "moved")
        of_file = scores(call("evaluate", trained / "run", "--data", trained / "moved" / "dev.tsv", "--json"))
        assert list(of_split.values()) == list(of_file.values())

    @pytest.mark.parametrize(
        ("content", "name", "message"),
        [
            (None, "none.tsv", "there is no such file"),
            ("\0\tgood\n", "new.tsv", "new.tsv:1:1: has a NUL character"),
            ("a\tgreat\n", "new.tsv", "new.tsv:1: target label 'great' was not seen in training"),
            ("a\tgood\nb\n", "new.tsv", "new.tsv:2: has 1 columns, but line 1 has 2"),
        ],
    )
    def test_what_cannot_be_scored_is_one_located_error(
        self, trained: Path, tmp_path: Path, content: str | None, name: str, message: str
    ) -> None:
        if content is not None:
            (tmp_path / name).write_text(content)
        done = call("evaluate", trained / "run", "--data", tmp_path / name)
        assert done.exit_code == 2
        assert message in done.stderr

    def test_a_file_of_the_recipe_that_was_moved_is_missed_with_a_hint(self, trained: Path) -> None:
        done = call("evaluate", trained / "run")
        assert done.exit_code == 2
        assert "there is no such file" in done.stderr
        assert "--data" in done.stderr


class TestPredictionsAndReport:
    @pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
    def test_each_example_has_a_record_in_order(self, trained: Path, tmp_path: Path, name: str) -> None:
        data, out = trained / "moved" / "dev.tsv", tmp_path / name
        assert call("evaluate", trained / "run", "--data", data, "--predictions", out, "--top", 1).exit_code == 0
        with out.open(newline="") as file:
            records = list(csv.DictReader(file)) if name.endswith("csv") else [json.loads(line) for line in file]
        assert [record["id"] for record in records] == [f"dev.tsv:{number}" for number in range(1, 9)]
        assert [record["target"] for record in records] == [label for _, label in rows(4)]
        assert [record["prediction"] for record in records] == [label for _, label in rows(4)]
        for record in records:
            probabilities = record["scores"] if isinstance(record["scores"], dict) else json.loads(record["scores"])
            assert probabilities == {record["prediction"]: pytest.approx(float(record["confidence"]))}

    def test_the_report_counts_each_class(self, trained: Path, tmp_path: Path) -> None:
        write_tsv(tmp_path / "new.tsv", [*rows(2), ("warm and kind 1", "bad")])
        done = call("evaluate", trained / "run", "--data", tmp_path / "new.tsv", "--report", "--json")
        report = scores(done)["report"]["mood"]
        assert report["classes"]["good"] == {
            "precision": pytest.approx(2 / 3),
            "recall": 1.0,
            "f1": pytest.approx(0.8),
            "true": 2,
            "predicted": 3,
        }
        assert report["classes"]["bad"]["recall"] == pytest.approx(2 / 3)
        assert report["confusion"] == {"labels": ["bad", "good"], "counts": [[2, 1], [0, 2]]}
        lines = call("evaluate", trained / "run", "--data", tmp_path / "new.tsv", "--report").stdout.splitlines()
        assert any(line.split() == ["bad", "1.0000", "0.6667", "0.8000", "3", "2"] for line in lines)
        assert max(map(len, lines)) <= 80

    @pytest.mark.parametrize("name", ["out.txt", "no/such/out.jsonl"])
    def test_a_file_that_cannot_be_written_is_refused_first(self, trained: Path, tmp_path: Path, name: str) -> None:
        done = call("evaluate", trained / "run", "--predictions", tmp_path / name)
        assert done.exit_code == 2
        assert "--predictions" in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--top", "2"], "--predictions"),
            (["--data", "FILE", "--split", "dev"], "is no folder"),
            (["--data", "FILE", "--task", "modd"], "no task 'modd'"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, trained: Path, arguments: list[str], message: str) -> None:
        file = trained / "moved" / "dev.tsv"
        done = call("evaluate", trained / "run", *(file if word == "FILE" else word for word in arguments))
        assert done.exit_code == 2
        assert message in done.stderr


def test_of_a_joint_model_one_task_is_scored_on_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    for name in ("train", "dev", "test"):
        write_tsv(tmp_path / f"{name}.tsv", rows(4))
    (tmp_path / "recipe.yaml").write_text(
        "tasks: {a: {use: sentiment, folder: .}, b: {use: ner-text, sizes: [20, 5, 5]}}\n"
        "encoder: {use: gru, dim: 8, hidden: 8}\ntrain: {steps: 4, batch: 4}\n"
    )
    assert call("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run", "--quiet").exit_code == 0
    done = call("evaluate", tmp_path / "run", "--data", tmp_path / "dev.tsv")
    assert done.exit_code == 2
    assert "--task" in done.stderr
    results = scores(call("evaluate", tmp_path / "run", "--data", tmp_path / "dev.tsv", "--task", "a", "--json"))
    assert set(results) == {"a/dev.tsv/loss", "a/dev.tsv/accuracy", "a/dev.tsv/macro_f1"}
    assert set(scores(call("evaluate", tmp_path / "run", "--task", "b", "--json"))) == {"b/test/nats"}
    out = tmp_path / "out.jsonl"
    assert call("evaluate", tmp_path / "run", "--predictions", out).exit_code == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["task"] for record in records] == ["a"] * 8 + ["b"] * 5
    (tmp_path / "new.conll").write_text("reporters O\nsaid O\n\nso O\n")
    results = scores(call("evaluate", tmp_path / "run", "--data", tmp_path / "new.conll", "--task", "b", "--json"))
    assert set(results) == {"b/new.conll/nats"}
