"""Manifests: tables that name recordings, one a row, and say what is said in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from seqkit import DataError, Problem, readers
from seqkit.reading import report_columns
from seqkit_speech.audio import FileAudio, Folder
from seqkit_speech.splits import Recording, parse_split, raise_problems

SUFFIXES: Final = (".csv", ".tsv")

COLUMNS: Final = ("path", "label", "split", "speaker")
"""What is read of a manifest. A header may write them in any case, in quotation marks, with blanks around them."""


def read_manifest(path: Path) -> list[Recording]:
    """The recordings that a manifest names; relative paths start at its folder.

    Raises:
        DataError: there is no column path or label, or a row has another number of fields than the header, no path,
            no label, or a split that is none; all such rows are reported together.
    """
    recordings: list[Recording] = []
    problems: list[Problem] = []
    for id, row in _rows(path, required=("path", "label")):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            if not row["path"] or not row["label"]:
                raise ValueError("a path or a label is missing")
            split, speaker = row.get("split"), row.get("speaker") or None
            split = parse_split(split) if split else split
            clip = FileAudio(Folder(path.parent), row["path"])
            recordings.append(Recording(clip, row["label"], f"{id} ({row['path']})", speaker=speaker, split=split))
        except ValueError as error:
            problems.append(Problem(id, str(error)))
    raise_problems(problems)
    return recordings


def manifest_paths(path: Path) -> Iterator[tuple[str, str, str]]:
    """For each row its id, its path, and what is wrong with it, if anything is.

    Raises:
        DataError: there is no column path.
    """
    for id, row in _rows(path, required=("path",)):
        if isinstance(row, str):
            yield id, "", row
        else:
            yield id, row["path"], "" if row["path"] else "the path is missing"


def _rows(path: Path, *, required: Sequence[str]) -> Iterator[tuple[str, dict[str, str] | str]]:
    """The id of each row, and its fields by column without blanks around them, or what is wrong with it."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = readers.records(path, delimiter=delimiter, skip_blank=True)
    header = next(rows, None)
    if header is None:
        raise DataError(Problem(str(path), "has nothing but blank lines"))
    positions = _find_columns(path, header, required)
    used = {name: header.fields[position] for name, position in positions.items()}
    unused = [name for position, name in enumerate(header.fields) if position not in positions.values()]
    report_columns(path.name, used, unused, header=True)
    for number, fields in rows:
        id = f"{path.name}:{number}"
        if len(fields) != len(header.fields):
            yield id, f"has {len(fields):,} columns, but the header has {len(header.fields):,}"
        else:
            yield id, {name: fields[position].strip() for name, position in positions.items()}


def _find_columns(path: Path, header: readers.Record, required: Sequence[str]) -> Mapping[str, int]:
    """The index of each column that is read. Raises DataError if a required one is missing, or one is there twice."""
    names = [field.strip().strip("\"'").strip().casefold() for field in header.fields]
    for name in COLUMNS:
        if names.count(name) > 1:
            raise DataError(Problem(f"{path}:{header.number}", f"the header has the column '{name}' twice"))
    missing = [name for name in required if name not in names]
    if missing:
        reason = f"the header has no column '{missing[0]}'"
        raise DataError(Problem(f"{path}:{header.number}", reason, f"its columns are: {', '.join(header.fields)}"))
    return {name: names.index(name) for name in COLUMNS if name in names}
