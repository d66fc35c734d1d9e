"""Splits of several files: a list of names, a pattern such as `part-*.jsonl`, or a folder of such files."""

from __future__ import annotations

import functools
import glob
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

from seqkit.errors import DataError, MissingFile, Problem
from seqkit.readers.class_folders import suffix_of
from seqkit.reading import report_left_out
from seqkit.remote_files import is_remote, matches, url_of
from seqkit.types import Example, Shard

FileNames: TypeAlias = str | tuple[str, ...]
"""What a split is read from, as an option of a task: a file, a pattern such as `part-*.tsv`, or a list of those."""

_PATTERN: Final = re.compile(r"[*?[]")
_SHOWN: Final = 10
"""How many files a message names at most."""


def shard_files(
    folder: Path, names: str | Sequence[str], split: str = "train", *, suffixes: Sequence[str] = ()
) -> list[Path]:
    """The files that the option of a split stands for, in the order in which they are read.

    A pattern has `*`, `?`, `[...]` or `**`, as a shell has them; the files that match are in the order of their paths,
    compared as text (`part-10` comes before `part-2`), without hidden ones. A list keeps its order. `a|b` are parallel
    files: the patterns of all sides match equally many. Files that are all the same as one joined file give the same
    examples in the same order.

    Args:
        folder: what the names are relative to.
        names: what the option says.
        split: train, dev or test, for messages.
        suffixes: a folder without further folders stands for its files with these suffixes; none: it stands for itself.

    Raises:
        DataError: nothing matches a pattern, there is no such file, or one is named twice.
    """
    listed: list[Path] = []
    for name in [names] if isinstance(names, str) else names:
        first, *others = name.split("|")
        beside = [str(Path(first).parent / other) for other in others]
        sides = [_matches(folder, side, split, suffixes) for side in (first, *beside)]
        if len({len(side) for side in sides}) > 1:
            counts = ", ".join(f"{len(side):,}" for side in sides)
            raise DataError(Problem(str(folder / name), f"the patterns match {counts} files, not equally many"))
        for paths in zip(*sides, strict=True):
            listed.append(paths[0].with_name("|".join([paths[0].name, *(_beside(paths[0], p) for p in paths[1:])])))
    if not listed:
        raise DataError(Problem(split, "is an empty list of files", "name at least one file"))
    twice = next((path for path, count in Counter(listed).items() if count > 1), None)
    if twice is not None:
        raise DataError(Problem(str(twice), f"is named twice for {split}", "name each file once"))
    return listed


def is_pattern(name: str | Path) -> bool:
    """Whether a name has signs of a pattern: `*`, `?` or `[`."""
    return _PATTERN.search(str(name)) is not None


def _beside(first: Path, other: Path) -> str:
    """The name of a parallel file, which lies in the folder of the first one."""
    if other.parent != first.parent:
        raise DataError(Problem(str(other), f"does not lie beside {first.name}", "parallel files are in one folder"))
    return other.name


def _matches(folder: Path, name: str, split: str, suffixes: Sequence[str]) -> list[Path]:
    """The files of one name or pattern."""
    path = folder / name
    if (url := url_of(path)) is not None:
        plain = Path(url.replace("://", ":/", 1))
        return matches(plain) if _PATTERN.search(name) else [plain]
    if path.is_dir() and suffixes:
        return _files_in(path, suffixes)
    if path.exists():
        if not (path.is_file() or path.is_dir()):
            raise missing_split_file(path, split)
        return [path]
    if not _PATTERN.search(name):
        raise missing_split_file(path, split)
    paths = []
    for match in sorted(glob.glob(name, root_dir=folder, recursive=True)):
        if (folder / match).is_dir():
            report_left_out(f"folder that matches {name}", match)
        else:
            paths.append(folder / match)
    if not paths:
        fixed = itertools.takewhile(lambda part: not _PATTERN.search(part), Path(name).parts)
        raise DataError(Problem(str(path), "no file matches this pattern", _what_lies_in(folder.joinpath(*fixed))))
    return paths


def _files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder, if all that it has are files; otherwise the folder."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if not entries or any(entry.is_dir() for entry in entries):
        return [folder]
    paths = [entry for entry in entries if suffix_of(entry.name) in suffixes]
    for entry in entries if paths else ():
        if entry not in paths:
            report_left_out(f"file that is not read ({suffix_of(entry.name) or 'no suffix'})", entry.name)
    return paths or [folder]


def _what_lies_in(folder: Path) -> str:
    """The end of a message about a pattern: what there is instead."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not names:
        return f"{folder} is empty"
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"in {folder} are: {', '.join(names[:_SHOWN])}{more}"


def read_shards(
    paths: Sequence[Path], read: Callable[[Path], Iterable[Example]], names: Sequence[str] | None = None
) -> Iterator[Example]:
    """The examples of several files, one file after the other; only one file is open at a time.

    An id begins with the name of its file. Where files of several folders have one name, it begins with the folders.

    Args:
        paths: as `shard_files` gives them.
        read: gives the examples of one file.
        names: what each file is called in ids; None: as above.
    """
    for path, name in zip(paths, shard_names(paths) if names is None else names, strict=True):
        for example in read(path):
            yield named_example(example, path, name)


def as_shards(
    paths: Sequence[Path],
    read: Callable[[Sequence[Path], Sequence[str]], Iterable[Example]],
    files_of: Callable[[Path], Iterable[Path]] = lambda path: [path],
) -> list[Shard]:
    """Files that can be read one by one, for `Task.shards`; one file alone is no shard.

    Args:
        paths: as `shard_files` gives them.
        read: gives the examples of some of them, given the files and what they are called in ids (`read_shards`).
        files_of: the files of which one of them consists, if it is more than itself: `images|labels` is two.
    """

    def shard(path: Path, name: str) -> Shard:
        return Shard(name, tuple(files_of(path)), lambda: read([path], [name]))

    return [shard(*pair) for pair in zip(paths, shard_names(paths), strict=True)] if len(paths) > 1 else []


_Reader = TypeVar("_Reader", bound=Callable[..., Iterator[Example]])


def over_shards(read: _Reader) -> _Reader:
    """A reader of one file as one that also reads all files that match a pattern."""

    @functools.wraps(read)
    def read_all(path: Path | str, *args: Any, **options: Any) -> Iterator[Example]:
        path = Path(path)
        if not is_pattern(path.name) or (not is_remote(path) and path.exists()):
            return read(path, *args, **options)
        return read_shards(shard_files(path.parent, path.name), lambda shard: read(shard, *args, **options))

    return cast(_Reader, read_all)


def shard_names(paths: Sequence[Path]) -> list[str]:
    """What each file is called in ids: its name, with as many folders before it as tell it from all others."""
    depth = 1
    while True:
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names) or depth >= max(len(path.parts) for path in paths):
            return names
        depth += 1


def named_example(example: Example, path: Path, name: str) -> Example:
    """An example whose id begins with this name of its file."""
    return example if name == path.name else replace(example, id=example.id.replace(path.name, name, 1))


def each_name(names: FileNames | None) -> tuple[str, ...]:
    """Every name and pattern of a split's option."""
    return (names,) if isinstance(names, str) else names or ()


def shown_names(names: FileNames | None) -> str:
    """The option of a split for people: `part-*.tsv`, or `a.tsv, b.tsv`."""
    return ", ".join(each_name(names))


def plain_names(names: Mapping[str, FileNames | None]) -> dict[str, str | list[str] | None]:
    """The options of splits as JSON has them, for `Task.about`."""
    return {split: list(value) if isinstance(value, tuple) else value for split, value in names.items()}


def missing_split_file(path: Path, split: str) -> DataError:
    """The error to raise where a split has no file: for tasks whose options `train`, `dev` and `test` name files.

    Args:
        path: where the file should be.
        split: train, dev or test.
    """
    hints = {
        "train": "`train` names the file",
        "dev": "`dev` names the file; with null, a share of train is held out instead",
        "test": "`test` names the file; with null, there is no test split",
    }
    if not path.exists():
        return MissingFile(path, "file", hints[split])
    return DataError(Problem(str(path), "is not a regular file, but a folder, a pipe or a device", hints[split]))
