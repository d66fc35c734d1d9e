"""What is predicted for the raw data of dev is what is predicted when dev is evaluated, for every task."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from tests.helpers.sound import needs_audio, wav_bytes


def call(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@dataclass(frozen=True)
class Case:
    """A small run and the raw data of its dev split.

    Attributes:
        recipe: its section `tasks:`, and further lines.
        write: writes the data into a folder; returns arguments of `predict`, files relative to the folder.
        labelled: the file or folder to score instead of dev, relative to the folder, and further arguments.
    """

    recipe: str
    write: Callable[[Path], list[str]]
    labelled: tuple[str, ...]


SENTENCES = ["Anna  lives in Turku", "Bert saw Oulu", "the cast was not , as I feared , dull", "warm"]


def write_sentiment(folder: Path) -> list[str]:
    lines = [f"{text} {i}!! :-) don't\t{'good' if i % 2 else 'bad'}\n" for i in range(9) for text in SENTENCES]
    for name in ("train", "dev", "test"):
        (folder / f"{name}.tsv").write_text("".join(lines))
    (folder / "raw.txt").write_text("".join(line.partition("\t")[0] + "\n" for line in lines))
    return ["raw.txt"]


def write_conll(folder: Path) -> list[str]:
    tagged = [
        [("Anna", "B-PER"), ("lives", "O"), ("in", "O"), ("Turku", "B-LOC"), (".", "O")],
        [("Price", "O"), ("7\u00a0000\u00a0€", "B-SUM"), ("now", "O")],
    ]
    text = "\n".join("".join(f"{word} {tag}\n" for word, tag in words) for words in tagged * 8)
    for name in ("train", "dev", "test"):
        (folder / f"{name}.conll").write_text(text)
    (folder / "raw.txt").write_text("".join(" ".join(word for word, _ in words) + "\n" for words in tagged * 8))
    return ["raw.txt"]


def write_pairs(folder: Path) -> list[str]:
    pairs = [(f"A man's hat, {word} ({i}).", f"{word} {i}") for i in range(5) for word in ("red", "blue")]
    for name in ("train", "dev", "test"):
        (folder / f"{name}.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    (folder / "raw.txt").write_text("".join(f"{source}\n" for source, _ in pairs))
    return ["raw.txt"]


def write_parallel(folder: Path) -> list[str]:
    (folder / "p.fi").write_text("".join(f"kissa {i}\n" for i in range(6)))
    (folder / "p.en").write_text("".join(f"cat {i}\n" for i in range(6)))
    return ["p.fi"]


def write_fasta(folder: Path) -> list[str]:
    draw = np.random.default_rng(1)
    sequences = ["".join(draw.choice(list("ACGTN"), size=int(draw.integers(5, 30)))) for _ in range(16)]
    for kind in ("x", "y"):
        records = [f">{kind}{i}\n{text}\n" for i, text in enumerate(sequences[kind == "y" :: 2])]
        (folder / "classes").mkdir(exist_ok=True)
        (folder / "classes" / f"{kind}.fa").write_text("".join(records))
    (folder / "raw.fa").write_text("".join((folder / "classes" / f"{kind}.fa").read_text() for kind in "xy"))
    return ["raw.fa"]


def write_recordings(folder: Path) -> list[str]:
    draw = np.random.default_rng(1)
    for split in ("train", "dev", "test"):
        for word in ("no", "yes"):
            (folder / split / word).mkdir(parents=True)
            for number in range(3):
                noise = draw.normal(size=int(draw.integers(1500, 3000))) * 0.1
                (folder / split / word / f"{number}.wav").write_bytes(wav_bytes(noise))
    return ["dev"]


def write_names(folder: Path) -> list[str]:
    for kind in ("Elvish", "Old Norse"):
        (folder / f"{kind}.txt").write_text("".join(f"{kind[0]}an{chr(97 + i)}o\n" for i in range(20)))
    (folder / "raw").write_text("Elvish\nElvish\nOld Norse\nOld Norse\n")
    return ["raw", "--format", "text"]


def write_text(folder: Path) -> list[str]:
    text = "to be or not to be, that is\nthe question\n" * 60
    (folder / "all.txt").write_text(text)
    begin, end = int(len(text) * 0.9) - int(int(len(text) * 0.9) * 0.5), int(len(text) * 0.9)
    (folder / "raw.txt").write_text(text[begin:end])
    return ["raw.txt"]


CASES = {
    "sentiment": Case("{use: sentiment, folder: data}", write_sentiment, ("dev.tsv",)),
    "tweets": Case("{use: sentiment, folder: data, tokenizer: tweets}", write_sentiment, ("dev.tsv",)),
    "windows": Case("{use: sentiment, folder: data, max_length: 3, truncate: window}", write_sentiment, ("dev.tsv",)),
    "characters": Case("{use: sentiment, folder: data, unit: characters, lower: true}", write_sentiment, ("dev.tsv",)),
    "ner": Case("{use: ner, folder: data, char_hidden: 4}", write_conll, ("dev.conll",)),
    "ner-cut": Case(
        "{use: ner, folder: data, char_hidden: 4, max_length: 2, truncate: tail}", write_conll, ("dev.conll",)
    ),
    "translation": Case(
        "{use: translation, folder: data, input_unit: words, target_unit: words, head: {use: attend, max_length: 6}}",
        write_pairs,
        ("dev.tsv",),
    ),
    "genome": Case(
        "{use: genome, train: {x: data/classes/x.fa, y: data/classes/y.fa}, strands: average,"
        " dev: {x: data/classes/x.fa, y: data/classes/y.fa}}",
        write_fasta,
        ("classes",),
    ),
    "speech": Case("{use: speech, path: data, rate: 8000, bands: 8}", write_recordings, ("", "--split", "dev")),
    "parallel": Case(
        "{use: translation, folder: data, pair: [fi, en], train: 'p.{}', dev: 'p.{}', test: null}",
        write_parallel,
        ("p.{}",),
    ),
    "names": Case(
        "{use: names, folder: data, head: {use: generate, max_length: 6}}", write_names, ("", "--split", "dev")
    ),
    "charlm": Case("{use: charlm, file: data/all.txt, dev: 0.5, piece: 100}", write_text, ("raw.txt",)),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[needs_audio] * (name == "speech")) for name in CASES])
def test_raw_dev_is_predicted_as_it_is_evaluated(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    arguments = CASES[name].write(tmp_path / "data")
    (tmp_path / "recipe.yaml").write_text(
        f"tasks:\n  it: {CASES[name].recipe}\nencoder: {{use: gru, dim: 8, hidden: 8}}\n"
        "train: {steps: 6, batch: 4, histograms: false}\n"
    )
    done = call("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run", "--quiet")
    assert done.exit_code == 0, done.output
    out = tmp_path / "dev.jsonl"
    done = call("evaluate", tmp_path / "run", "--split", "dev", "--predictions", out, "--json", "--quiet")
    assert done.exit_code == 0, done.output
    # From here on nothing of the recipe's data is where the recipe says.
    data = (tmp_path / "data").rename(tmp_path / "moved")
    path, *more = CASES[name].labelled
    other = call("evaluate", tmp_path / "run", "--data", data / path, *more, "--json", "--quiet")
    assert other.exit_code == 0, other.output
    scores = json.loads(done.stdout)
    assert list(json.loads(other.stdout).values()) == [pytest.approx(score, abs=1e-5) for score in scores.values()]
    expected = [json.loads(line) for line in out.read_text().splitlines()]
    done = call("predict", tmp_path / "run", data / arguments[0], *arguments[1:])
    assert done.exit_code == 0, done.output
    records: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == len(expected) > 1
    assert [record["prediction"] for record in records] == [record["prediction"] for record in expected]
    for record, other in zip(records, expected, strict=True):
        assert record["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
