"""Manifests: tables or JSON that name recordings, one a row, and say what is said in each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from seqkit import DataError, Problem, UsageError, readers
from seqkit.reading import report_columns
from seqkit_speech.audio import SUFFIXES as AUDIO_SUFFIXES
from seqkit_speech.audio import FileAudio, Folder
from seqkit_speech.naming import NamePattern
from seqkit_speech.splits import Recording, parse_split, raise_problems

SUFFIXES: Final = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json")
_COLUMNS: Final = ("path", "label", "speaker", "split")
_COMPRESSED: Final = (".gz", ".bgz", ".xz", ".bz2")
_SEPARATORS: Final = {"a tab": ("\t", "tab"), "a semicolon": (";", "semicolon"), "a vertical bar": ("|", "bar")}


@final
@dataclass(frozen=True, kw_only=True)
class ManifestReader:
    """Reads manifests. Columns are given by name or by number from 1.

    Attributes:
        path: the column of the paths.
        label: the column of what is said.
        speaker: that of the speakers. None: `speaker`, if there is a header with it.
        split: that of the splits. None: `split`, if there is a header with it.
        header: whether the first line names the columns. None: it does unless path and label are numbers.
        audio: where a recording lies, below the folder of the manifest; `{}` is what the column of the paths has.
        layout: what the file looks like.
        pattern: what the names of the recordings say; None: nothing.
    """

    path: str | int = "path"
    label: str | int = "label"
    speaker: str | int | None = None
    split: str | int | None = None
    header: bool | None = None
    audio: str = "{}"
    layout: readers.TableFormat = field(default_factory=readers.TableFormat)
    pattern: NamePattern | None = None

    def __post_init__(self) -> None:
        if self.audio.count("{}") != 1:
            raise UsageError(f"audio: {self.audio!r} should have {{}} once, where the path or the name goes")
        names = [f"{name}_column" for name, column in self._columns.items() if isinstance(column, str)]
        if self.header is False and names:
            raise UsageError(f"{names[0]}: is a name, but header: false means that columns have none")

    def reads(self, path: Path) -> bool:
        """Whether a file is a manifest, by its name or because the options say what it looks like."""
        if self.layout.format is not None or self.layout.separator is not None:
            return True
        name = path.name.lower()
        return (Path(name).stem if path.suffix.lower() in _COMPRESSED else name).endswith(SUFFIXES)

    def recordings(self, path: Path, split: str | None = None) -> list[Recording]:
        """The recordings that a manifest names.

        Args:
            path: the manifest.
            split: the split of all of them; None: the one of their row, if there is one.

        Raises:
            DataError: a column is missing, or a row has another number of fields than the header, no path, no label,
                or a split that is none; all such rows are reported together. Or all recordings lie elsewhere.
        """
        if self.pattern is not None and self.pattern.has_label:
            raise UsageError("pattern: has the group 'label', but a manifest has labels in a column")
        recordings: list[Recording] = []
        problems: list[Problem] = []
        for id, row in self._rows(path, labelled=True):
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                recordings.append(self._recording(path, id, row, split))
            except ValueError as error:
                problems.append(Problem(id, str(error)))
        raise_problems(problems)
        self._check_audio(path, [recording.clip for recording in recordings])
        return recordings

    def clips(self, path: Path) -> Iterator[tuple[str, FileAudio | str]]:
        """For each row its id, and its clip or what is wrong with it; labels are not needed.

        Raises:
            DataError: there is no column of paths.
        """
        for id, row in self._rows(path, labelled=False):
            if isinstance(row, str):
                yield id, row
            elif not row["path"]:
                yield id, "the path is missing"
            else:
                yield f"{id} ({row['path']})", self._clip(path, row["path"])

    @property
    def options_given(self) -> list[str]:
        """The options of manifests that are not at their defaults."""
        others = ManifestReader()
        given = {f"{name}_column": getattr(self, name) != getattr(others, name) for name in _COLUMNS}
        given |= {"header": self.header is not None, "audio": self.audio != others.audio}
        given |= {
            name: getattr(self.layout, name) != getattr(others.layout, name)
            for name in ("format", "separator", "quoting", "encoding")
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def _columns(self) -> dict[str, str | int]:
        """The columns that the user names, or that there are in any case."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return {name: column for name, column in columns.items() if column is not None}

    @property
    def _has_header(self) -> bool:
        return any(isinstance(column, str) for column in self._columns.values()) if self.header is None else self.header

    def _clip(self, path: Path, name: str) -> FileAudio:
        """The clip of a path in a manifest. Where that is a link, its own folder and that of the link are tried."""
        below = self.audio.replace("{}", name)
        is_there = not path.is_symlink() or (path.parent / below).is_file()
        return FileAudio(Folder(path.parent if is_there else path.resolve().parent), below)

    def _recording(self, path: Path, id: str, row: Mapping[str, str], split: str | None) -> Recording:
        """The recording of a row. Raises ValueError if the row lacks something."""
        if not row["path"] or not row["label"]:
            raise ValueError("a path or a label is missing")
        groups = {} if self.pattern is None else self.pattern.groups(row["path"])
        row_split = row.get("split", groups.get("split"))
        if split is None:
            split = parse_split(row_split) if row_split else row_split
        speaker, index = row.get("speaker") or groups.get("speaker"), groups.get("index")
        return Recording(
            self._clip(path, row["path"]),
            row["label"],
            f"{id} ({row['path']})",
            speaker=speaker,
            index=None if index is None else int(index),
            split=split,
        )

    def _rows(self, path: Path, *, labelled: bool) -> Iterator[tuple[str, dict[str, str] | str]]:
        """The id of each row, and its fields by column without blanks around them, or what is wrong with it."""
        rows = readers.records(path, skip_blank=True, layout=self.layout)
        first = next(rows, None)
        if first is None:
            raise DataError(Problem(str(path), "has nothing but blank lines"))
        header = self._has_header
        positions = self._positions(path, first, labelled=labelled)
        titles: list[str | int] = [*first.fields] if header else [*range(1, len(first.fields) + 1)]
        used = {name: titles[position] for name, position in positions.items()}
        unused = [title for position, title in enumerate(titles) if position not in positions.values()]
        report_columns(path.name, used, unused, header=header, first=() if header else first.fields)
        for number, fields, column in rows if header else _with_first(first, rows):
            id = f"{path.name}:{number}" if column is None else f"{path.name}:{number}:{column}"
            if len(fields) != len(titles):
                line = "the header" if header else f"line {first.number}"
                yield id, f"has {len(fields):,} columns, but {line} has {len(titles):,}"
            else:
                yield id, {name: fields[position].strip() for name, position in positions.items()}

    def _positions(self, path: Path, first: readers.Record, *, labelled: bool) -> Mapping[str, int]:
        """The index of each column that is read.

        Names are compared in any case, without quotation marks or blanks around them.

        Raises:
            DataError: a column is missing, or there twice.
        """
        where = f"{path}:{first.number}"
        columns: dict[str, str | int] = {"speaker": "speaker", "split": "split"} if self._has_header else {}
        columns = {name: column for name, column in (columns | self._columns).items() if labelled or name == "path"}
        titles = [_plain(title) for title in first.fields]
        positions: dict[str, int] = {}
        for name, column in columns.items():
            if isinstance(column, int):
                if column > len(first.fields):
                    reason = f"has {len(first.fields):,} columns, so there is no column {column} for the {name}"
                    raise DataError(Problem(where, reason, self._separator_hint(first)))
                positions[name] = column - 1
                continue
            same = [position for position, title in enumerate(titles) if title == _plain(column)]
            if len(same) > 1:
                raise DataError(Problem(where, f"the header has the column '{column}' twice"))
            if not same and name in self._columns:
                reason = f"the header has no column '{column}'"
                hint = f"its columns are: {', '.join(first.fields)}; `{name}_column` names the one to read"
                raise DataError(Problem(where, reason, self._separator_hint(first) or hint))
            if same:
                positions[name] = same[0]
        return dict(sorted(positions.items(), key=lambda item: _COLUMNS.index(item[0])))

    def _separator_hint(self, first: readers.Record) -> str:
        """Which separator the file seems to have, and that it may have no header; empty if nothing speaks for it."""
        text = "".join(first.fields)
        for name, (sign, option) in _SEPARATORS.items():
            if sign in text and self.layout.separator is None:
                hint = f"{name} seems to separate its columns: set `separator: {option}`"
                return f"{hint}, and give `path_column` and `label_column` as numbers if it has no header"
        return ""

    def _check_audio(self, path: Path, clips: Sequence[object]) -> None:
        """Raises DataError if none of these recordings is there, but others are that `audio` could find.

        What is missing otherwise is reported when it is read, with its row.
        """
        files = [clip.source.root / clip.name for clip in clips if isinstance(clip, FileAudio)
                 if isinstance(clip.source, Folder)]  # fmt: skip
        if not files or any(file.is_file() for file in files):
            return
        name = clips[0].name if isinstance(clips[0], FileAudio) else ""
        hint = self._audio_hint(path.parent, name)
        if hint:
            reason = f"none of the {len(files):,} recordings that it names is there; the first of them is {name}"
            raise DataError(Problem(str(path), reason, hint))

    def _audio_hint(self, folder: Path, name: str) -> str:
        """What `audio` should be, if the recording lies in a folder beside the manifest, or lacks its suffix."""
        if self.audio == "{}":
            folders = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir()]
            for place in ("", *(f"{entry}/" for entry in folders)):
                for suffix in ("", *AUDIO_SUFFIXES):
                    if (folder / f"{place}{name}{suffix}").is_file():
                        return f'set `audio: "{place}{{}}{suffix}"`'
        return ""


def _with_first(first: readers.Record, rows: Iterator[readers.Record]) -> Iterator[readers.Record]:
    yield first
    yield from rows


def _plain(title: str) -> str:
    """A title without blanks and quotation marks around it, in one case."""
    return re.sub(r"^[\s\"']+|[\s\"']+$", "", title).casefold()
