"""Where drawings come from: published data, the user's files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from seqkit import Dataset, Example, File, MissingFile, UsageError, fetch
from seqkit.readers import ShareSplit, SplitFiles
from seqkit.reading import report_split_rule
from seqkit_strokes.files import coordinates, drawings, json_drawings

OMNIGLOT = Dataset(
    "handwriting/omniglot_strokes",
    (
        File(
            "strokes_background_small1.zip",
            "https://raw.githubusercontent.com/brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python"
            "/strokes_background_small1.zip",
            "8cb3960fb6cf4ccf5f064ad83169f828c36c36782a0f6e7faacb7ecfae4468a2",
            3_056_274,
        ),
    ),
    licence="MIT",
    about="136 characters of five alphabets, each by 20 drawers (Lake, Salakhutdinov and Tenenbaum 2015)",
)
PENDIGITS = Dataset(
    "handwriting/pendigits",
    (
        File("pendigits.tra", None, "13a29b9cc1b40503c51030840092d32e0e99efcbd5331146f832a2e815bb4c35", 367_892),
        File("pendigits.tes", None, "70124fa8a06bc820d38591f297271c364b215174410d9711ffafcfc857ff945f", 171_731),
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    about="digits of 44 writers on a tablet, eight points each (Alpaydin and Alimoglu 1998)",
    by_hand="download pendigits.tra and pendigits.tes of the data set 81 at archive.ics.uci.edu, and remove all blanks",
)

_TEST_DRAWERS, _DEV_DRAWERS = range(16, 21), range(14, 16)

SUFFIXES = (".csv", ".jsonl", ".json", ".txt", ".zip", ".tra", ".tes", "")


@final
@dataclass(frozen=True)
class Omniglot:
    """Drawings of the small background set; the drawers 16 to 20 are test, 14 and 15 dev, all others train."""

    splits: tuple[str, ...] = ("train", "dev", "test")

    def files(self, split: str) -> list[Path]:
        return [fetch(OMNIGLOT) / OMNIGLOT.files[0].path]

    def examples(self, split: str) -> Iterator[Example]:
        report_split_rule("by drawer: 16 to 20 are test, 14 and 15 dev, 1 to 13 train")
        for example, drawer in drawings(self.files(split)[0]):
            number = int(drawer)
            assigned = "test" if number in _TEST_DRAWERS else "dev" if number in _DEV_DRAWERS else "train"
            if assigned == split:
                yield example

    def about(self) -> dict[str, Any]:
        return _facts(OMNIGLOT)


def pendigits(held_out: float) -> tuple[SplitFiles, dict[str, Any]]:
    """The official files of train and test, where a share of train is dev; and facts for the run folder."""
    names = {"train": "pendigits.tra", "dev": None, "test": "pendigits.tes"}
    shares = ShareSplit(dev=held_out, by="label")
    return SplitFiles(folder=lambda: fetch(PENDIGITS), names=names, read=read_file, shares=shares), _facts(PENDIGITS)


def read_file(path: Path, level: int = 0, *, labelled: bool = True) -> Iterator[tuple[Example, str]]:
    """The drawings of a file or folder, each with its drawer, where that is known."""
    if not path.exists():
        raise MissingFile(path)
    if path.is_dir() or path.suffix == ".zip":
        return drawings(path, level=level)
    suffixes = path.suffixes[-2:]
    is_json = any(suffix in suffixes for suffix in (".jsonl", ".json"))
    examples = json_drawings(path, labelled=labelled) if is_json else coordinates(path, labelled=labelled)
    return ((example, "") for example in examples)


def read_other(path: Path, split: str | None, labelled: bool, level: int) -> Iterator[Example]:
    """The drawings of a file or folder that is not part of the recipe; a single .txt is one drawing.

    Raises:
        UsageError: a split is asked for, or the label of a single drawing.
    """
    from seqkit_strokes.files import strokes_of_text

    if split is not None:
        raise UsageError(f"--split: all drawings of {path} are read")
    if path.suffix == ".txt":
        if labelled:
            raise UsageError(f"{path}: a single drawing has no label; give the folder of its class's folder")
        yield Example(strokes_of_text(path.read_text(encoding="utf-8-sig"), str(path)), None, path.name)
        return
    for example, _ in read_file(path, level, labelled=labelled):
        yield example if labelled else Example(example.input, None, example.id)


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
