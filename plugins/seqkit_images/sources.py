"""Where images come from: published data, the user's files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from seqkit import Dataset, Example, File, MissingFile, UsageError, fetch
from seqkit.readers import FileNames, ShareSplit, SplitFiles
from seqkit.reading import report_split_rule
from seqkit_images.files import PICTURES, folder_images, idx_images, picture, table_images

_MNIST_URL = "https://raw.githubusercontent.com/unixpickle/mnistlite/7e77ce183b42950baacbe6de3986dbdc6ae771e8/data"
MNIST_T10K = Dataset(
    "sequential_image/mnist_t10k",
    (
        File(
            "t10k-images-idx3-ubyte.gz",
            f"{_MNIST_URL}/t10k-images-idx3-ubyte.gz",
            "ba05d2d6e06f59dd97d2d5378250478bb5c9b64296a5c2681700569121e3a2d7",
            1_648_877,
        ),
        File(
            "t10k-labels-idx1-ubyte.gz",
            f"{_MNIST_URL}/t10k-labels-idx1-ubyte.gz",
            "94088eab8a64f51a9b34cc9716f54b6548ef8b2fd16ada6d1575091b933dbf4b",
            4_542,
        ),
    ),
    licence="CC BY-SA 3.0",
    about="the 10,000 test images of MNIST (LeCun, Cortes and Burges 1998)",
)
OPTDIGITS = Dataset(
    "sequential_image/optdigits",
    (
        File("optdigits.tra", None, "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd", 563_639),
        File("optdigits.tes", None, "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8", 264_712),
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    about="handwritten digits of 43 writers, 8 x 8 counts of ink (Alpaydin and Kaynak 1998)",
    by_hand="download optdigits.tra and optdigits.tes of the data set 80 at archive.ics.uci.edu",
)

_MNIST_BOUNDS = {"train": (0, 7_200), "dev": (7_200, 8_000), "test": (8_000, None)}

SUFFIXES = (*PICTURES, ".csv", ".tsv", "-ubyte", ".idx", "")


@final
@dataclass(frozen=True)
class MnistFiles:
    """The 10,000 images of the file t10k, by position: 7,200, 800, 2,000."""

    splits: tuple[str, ...] = ("train", "dev", "test")

    def files(self, split: str) -> list[Path]:
        folder = fetch(MNIST_T10K)
        return [folder / file.path for file in MNIST_T10K.files]

    def examples(self, split: str) -> Iterator[Example]:
        report_split_rule("by position: the first 7,200 images are train, the next 800 dev, the last 2,000 test")
        return itertools.islice(idx_images(*self.files(split)), *_MNIST_BOUNDS[split])

    def about(self) -> dict[str, Any]:
        return _facts(MNIST_T10K)


def optdigits(held_out: float) -> tuple[SplitFiles, dict[str, Any]]:
    """The official files of train and test, where a share of train is dev; and facts for the run folder."""
    names = {"train": "optdigits.tra", "dev": None, "test": "optdigits.tes"}
    return split_files(lambda: fetch(OPTDIGITS), names, None, ShareSplit(dev=held_out, by="label")), _facts(OPTDIGITS)


def split_files(
    folder: Path | Callable[[], Path], names: Mapping[str, FileNames | None], width: int | None, shares: ShareSplit
) -> SplitFiles:
    """Files of images.

    Args:
        folder: where they are.
        names: the file of each split, or the folder of pictures, or `images|labels`, two IDX files.
        width: of images in tables; None: they are square.
        shares: which shares of train are dev and test, where these have no files.
    """

    def read(path: Path) -> Iterator[tuple[Example, str]]:
        return ((example, "") for example in read_images(path, width))

    return SplitFiles(folder=folder, names=names, read=read, shares=shares, paths=_files_of)


def read_images(path: Path, width: int | None, *, labelled: bool = True) -> Iterator[Example]:
    """The images of a table, of IDX files, of a picture, or of a folder of pictures."""
    files = _files_of(path)
    for file in files:
        if not file.exists():
            raise MissingFile(file)
    if path.is_dir():
        return folder_images(path)
    if len(files) == 2:
        return idx_images(*files)
    if path.suffix.lower() in PICTURES:
        return iter([Example(picture(path), None, path.name)])
    if is_idx(path):
        labels = labels_of(path)
        if labels is None and labelled:
            raise UsageError(f"{path}: which file has the labels? Name both: `images|labels`")
        return idx_images(path, labels if labelled else None)
    return table_images(path, width=width, labelled=labelled)


def read_other(path: Path, split: str | None, labelled: bool, width: int | None) -> Iterator[Example]:
    """The images of a file or folder that is not part of the recipe.

    Raises:
        UsageError: a split is asked for.
    """
    if split is not None:
        raise UsageError(f"--split: all images of {path} are read")
    examples = read_images(path, width, labelled=labelled)
    return examples if labelled else (Example(example.input, None, example.id) for example in examples)


def is_idx(path: Path) -> bool:
    """Whether the name of a file is that of one in the format IDX."""
    name = path.name.removesuffix(".gz")
    return name.endswith(("-ubyte", ".idx"))


def labels_of(path: Path) -> Path | None:
    """The file of labels beside a file of images, if it is called as those of MNIST are."""
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    return labels if labels != path and labels.is_file() else None


def _files_of(path: Path) -> list[Path]:
    """A file or folder, or the two files of a name such as `images|labels`."""
    first, sign, second = path.name.partition("|")
    return [path.parent / first, path.parent / second] if sign else [path]


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
