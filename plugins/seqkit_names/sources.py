"""Where names come from: the generator, the surnames of 18 languages, a folder of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, fetch, readers
from seqkit.reading import report_left_out, report_split_rule
from seqkit_names import generator

_BLOCK = 10
"""Of each ten names of a file, the last is test and the one before it is dev."""

_RULE = "by position: of each ten different names of a file, the tenth is test and the ninth is dev"


@final
@dataclass(frozen=True)
class Source:
    """Names and their kinds. The input of an example is a list with the kind, which is one step even with spaces.

    Attributes:
        read: gives the examples of a split.
        files: gives the files that a split is read from; None: there are none.
        about: facts for the run folder.
    """

    read: Callable[[str], Iterable[Example]]
    files: Callable[[str], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def generated(sizes: tuple[int, int, int], seed: int) -> Source:
    """Names from the generator; `sizes` are the numbers of names of train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule("by a hash of the generated name: no name is in two splits")
        for number, (language, name) in enumerate(generator.names(split, counts[split], seed=seed), 1):
            yield Example([language], name, f"generated {split}:{number}")

    about = {"dataset": "generated names of made-up languages", "sizes": counts, "seed": seed}
    return Source(read, about=about)


_NAMES_URL = (
    "https://raw.githubusercontent.com/spro/practical-pytorch/c520c52e68e945d88fff563dba1c028b6ec0197b/data/names"
)
NAMES = Dataset(
    "generation/names",
    tuple(
        File(f"{language}.txt", f"{_NAMES_URL}/{language}.txt", sha256, size)
        for language, size, sha256 in (
            ("Arabic", 13_190, "6f424a8dbe51cbbbabab7a57d38b617210125e4e3991f3c657cb79b8f104bafc"),
            ("Chinese", 1_246, "09ba8f1f7e38dbc99372d461b26ad4433b811fc6bfa6a3ecca6fe11a9a777465"),
            ("Czech", 3_916, "e17ab0ec47616a72c39cb85c783f70c3663ab64488721e5d8378f146d2226be7"),
            ("Dutch", 2_351, "924f32b635170eae561f84538632138fc07d4c8bbd70ba3fb980de1ecc4d2af3"),
            ("English", 27_125, "9cca037066d3d5989e24bc01801416162de506b5e28e15b7c092a47905d29bf2"),
            ("French", 2_178, "81e65b36c60ed5b89a17422f6edcadbb89546f38ad69e960e64e7ba682012a95"),
            ("German", 5_610, "7449cd590b97a733e18d613a4155decd77ec35dc5f8aadd7a82204dce4f051db"),
            ("Greek", 1_981, "3555b5186de7f401e6d991b088e9e644ca3099116477818c25ab5793801389e6"),
            ("Irish", 1_858, "cf8c7013256252a88d2503127b87282a11f21b2ff6db1bded68834c19a1ec058"),
            ("Italian", 5_657, "f88414c27d0606a11a678b4859277828c2565d6cc4d9ee932deef6e94f3b35e4"),
            ("Japanese", 7_622, "e0e717e114fec3e7eade4d9dabe0067c475f43147e36a22b47902ee76ad9e67f"),
            ("Korean", 423, "cd54221ccb362a6cba4c78828838cf3268a0e59744767a37cf6ec4b74036b136"),
            ("Polish", 1_165, "45bab898af2f60ed3a728bbf6980e28821011a7caa53227553b5785903a40826"),
            ("Portuguese", 554, "50a8735f41f4f73757c8ce5b16cb0275cd86b2b214bcbc8c9805f508cb131c53"),
            ("Russian", 85_168, "0cfe53ac18041e8f63666aa77313e0a3ff378facb132abee052d8ebdc8c3d62c"),
            ("Scottish", 752, "78d0252711d87d948ea86fe34826c51d2d794a8e52d15b5d6f7b6244d45d62dd"),
            ("Spanish", 2_284, "1bcb462ed3316756a85781d68232bddae04498fdddd5d9219c53fd1fbdeba7a7"),
            ("Vietnamese", 339, "f3f9e4164ab47601178a6e45b216464a64122f49d05541f24bf18a757253281d"),
        )
    ),
    licence="MIT (the repository); the lists were collected from public sites, which are not stated",
    about="surnames of 18 languages (S. Robertson, practical-pytorch)",
)


def languages() -> Source:
    """The surnames of 18 languages."""

    def files(split: str) -> list[Path]:
        folder = fetch(NAMES)
        return [folder / file.path for file in NAMES.files]

    about = {"dataset": NAMES.name, "licence": NAMES.licence, "about": NAMES.about}
    return Source(lambda split: _split(files(split), split), files, about)


def folder(path: Path) -> Source:
    """A folder of the user's files: `KIND.txt` for each kind of name, one name a line."""

    return Source(lambda split: _split(_files_of(path), split), lambda split: _files_of(path), {"dataset": str(path)})


def _files_of(folder: Path) -> list[Path]:
    """The files of a folder of names; all else in it is reported. Raises DataError if there are none."""
    paths = sorted(path for path in folder.glob("*.txt") if path.is_file() and not path.name.startswith("."))
    if not paths:
        hint = "it should have a file for each kind, such as Finnish.txt, with one name a line"
        if not folder.is_dir():
            raise MissingFile(folder, "folder", hint)
        raise DataError(Problem(str(folder), "there is no file *.txt in this folder", hint))
    _report_others(folder, paths)
    return paths


def _report_others(folder: Path, files: Sequence[Path]) -> None:
    """Report everything in a folder that is not one of these files."""
    for path in sorted(set(folder.iterdir()) - set(files)):
        if path.name.startswith("."):
            kind = "hidden file"
        elif path.is_dir():
            kind = "folder"
        else:
            kind = f"file that does not end in .txt ({path.suffix or 'no suffix'})"
        report_left_out(kind, path.name)


def read_other(path: Path, split: str | None) -> Iterator[Example]:
    """The names of a file that is called after their kind (Finnish.txt), or of all such files of a folder.

    Args:
        path: the file or folder.
        split: which split of them; None: all of them, without repeats in a file.

    Raises:
        DataError: there is no such file or folder.
    """
    if path.is_dir():
        return _split(_files_of(path), split)
    if not path.exists():
        raise MissingFile(path)
    return _split([path], split)


def _split(files: Sequence[Path], split: str | None) -> Iterator[Example]:
    """The names of a split, in the order of the files, without repeats in a file, chosen by their position in it.

    None: of all splits.
    """
    report_split_rule(_RULE)
    for path in files:
        seen: set[str] = set()
        for example in readers.lines(path, skip_blank=True):
            name = example.input.strip()
            if name in seen:
                report_left_out("name that its file has already", example.id)
                continue
            position = len(seen) % _BLOCK
            seen.add(name)
            assigned = "test" if position == _BLOCK - 1 else "dev" if position == _BLOCK - 2 else "train"
            if split in (None, assigned):
                yield Example([path.stem], name, example.id)
