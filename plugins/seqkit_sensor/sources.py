"""Where sequences of measurements come from: published data, the user's files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqkit import Dataset, Example, File, MissingFile, UsageError, fetch
from seqkit.readers import ShareSplit, SplitFiles, is_remote
from seqkit_sensor.tables import TableReader
from seqkit_sensor.timeseries import ts_cases

_AEON = (
    "https://raw.githubusercontent.com/aeon-toolkit/aeon/a101ddc8b35a65441609b45c9bcce5aeafa0c131/aeon/datasets/data"
)

JAPANESE_VOWELS = Dataset(
    "sensor/japanese_vowels",
    (
        File(
            "JapaneseVowels_TRAIN.ts",
            f"{_AEON}/JapaneseVowels/JapaneseVowels_TRAIN.ts",
            "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            487_971,
        ),
        File(
            "JapaneseVowels_TEST.ts",
            f"{_AEON}/JapaneseVowels/JapaneseVowels_TEST.ts",
            "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
            649_132,
        ),
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    about="nine speakers say a and e: twelve cepstral coefficients over time (Kudo, Toyama and Shimbo 1999)",
)
BASIC_MOTIONS = Dataset(
    "sensor/basic_motions",
    (
        File(
            "BasicMotions_TRAIN.ts",
            f"{_AEON}/BasicMotions/BasicMotions_TRAIN.ts",
            "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
            227_790,
        ),
        File(
            "BasicMotions_TEST.ts",
            f"{_AEON}/BasicMotions/BasicMotions_TEST.ts",
            "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
            227_713,
        ),
    ),
    licence="not stated; part of a repository under BSD-3-Clause",
    about="four activities, accelerometer and gyroscope of a watch (UEA archive, Bagnall et al. 2018)",
)
DATASETS = {"japanese-vowels": JAPANESE_VOWELS, "basic-motions": BASIC_MOTIONS}

SUFFIXES = (".ts", ".csv", ".tsv", ".jsonl", ".json")


def published(name: str, held_out: float) -> tuple[SplitFiles, dict[str, Any]]:
    """The files of a data set, one for train, of which a share is dev, and one for test; and facts about it."""
    dataset = DATASETS[name]
    train, test = (file.path for file in dataset.files)
    names = {"train": train, "dev": None, "test": test}
    shares = ShareSplit(dev=held_out, by="label")
    files = SplitFiles(folder=lambda: fetch(dataset), names=names, read=_read_ts, shares=shares)
    return files, {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}


def _read_ts(path: Path) -> Iterator[tuple[Example, str]]:
    return ((example, "") for example in ts_cases(path))


def read_file(path: Path, reader: TableReader, *, labelled: bool = True) -> Iterator[tuple[Example, str]]:
    """The sequences of a file, each with its group, which is empty where files have none."""
    if not (is_remote(path) or path.exists()):
        raise MissingFile(path)
    if is_ts(path):
        return ((example, "") for example in ts_cases(path, labelled=labelled))
    return reader.read(path, labelled=labelled)


def read_other(path: Path, split: str | None, labelled: bool, reader: TableReader) -> Iterator[Example]:
    """The sequences of a file that is not part of the recipe.

    Raises:
        UsageError: a split is asked for, which a file does not have.
    """
    if split is not None:
        raise UsageError(f"--split: {path} is one file, and all of it is read")
    return (example for example, _ in read_file(path, reader, labelled=labelled))


def is_ts(path: Path) -> bool:
    """Whether a file is in the format `.ts`, compressed or not."""
    return ".ts" in path.suffixes[-2:]
