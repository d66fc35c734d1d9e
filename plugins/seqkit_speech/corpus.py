"""Which recordings there are, what is said in them, who says it, and which split each belongs to."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, TypeAlias

from seqkit import DataError, Dataset, Problem, fetch, readers
from seqkit_speech.archive import Archive
from seqkit_speech.audio import SUFFIXES, Clip, Folder, Speech

SplitBy: TypeAlias = Literal["auto", "folders", "column", "lists", "hash", "index", "speaker"]

SPLIT_NAMES: Final = {
    "train": "train", "training": "train",
    "dev": "dev", "development": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
LISTS: Final = {"dev": "validation_list.txt", "test": "testing_list.txt"}
TABLES: Final = (".csv", ".tsv")
MANY_SPEAKERS: Final = 20
"""From this many on, whole speakers are put aside for dev; of fewer, single recordings."""
_NOHASH: Final = re.compile(r"_nohash_.*$")
_LARGEST: Final = 2**27 - 1


@dataclass(frozen=True, slots=True)
class Recording:
    """One clip and what is known of it.

    Attributes:
        clip: where its samples are.
        label: what is said.
        id: where a human finds it: `recordings.zip:recordings/0_george_0.wav`.
        speaker: who says it, if that is known.
        index: the how-manieth of its speaker and label, if that is known.
        split: what its folder, name or row says of it.
    """

    clip: Speech
    label: str
    id: str
    speaker: str | None = None
    index: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class Rule:
    """How recordings come into train, dev and test. `seqkit_speech.speech` says what each way means."""

    by: SplitBy = "auto"
    test_index: tuple[int, int] = (0, 4)
    dev_index: tuple[int, int] | None = (5, 9)
    test_speaker: str | None = None
    dev_percent: float = 10.0
    test_percent: float = 10.0


@dataclass(frozen=True)
class Corpus:
    """Recordings in a folder, a zip archive or a manifest; looked for when the first is asked for.

    Attributes:
        place: the folder, the archive, the manifest (`.csv`, `.tsv` with the columns path and label, and perhaps
            split and speaker), or a named data set.
        pattern: a regular expression that file names, without their folder, match in full; its groups `label`,
            `speaker`, `index` and `split` say what is known. None: the folder that a file lies in is its label.
        rule: how they are split.
        words: the labels wanted; None: all.
    """

    place: Path | Dataset
    pattern: str | None = None
    rule: Rule = Rule()
    words: tuple[str, ...] | None = None

    def recordings(self, split: str) -> Sequence[Recording]:
        """Those of "train", "dev" or "test", in the order of their names.

        Raises:
            DataError: there are none, or what there is does not fit the pattern, the rule or the words.
        """
        return self._splits[split]

    def files(self, split: str) -> list[Path]:
        """All files that these recordings depend on."""
        path = self._path
        if path.is_file() and path.suffix.lower() not in TABLES:
            return [path]
        rules = [path] if path.is_file() else [path / name for name in LISTS.values() if (path / name).is_file()]
        clips = [each.clip for each in self._splits[split]]
        found = [
            clip.source.root / clip.name for clip in clips if isinstance(clip, Clip) and isinstance(clip.source, Folder)
        ]
        # A file that a manifest names and that is not there is told when it is read, with the row's place.
        return [*rules, *(each for each in found if each.is_file())]

    @cached_property
    def _path(self) -> Path:
        if isinstance(self.place, Dataset):
            return fetch(self.place) / self.place.files[0].path
        if not self.place.exists():
            raise DataError(Problem(str(self.place), "there is no such file or folder"))
        return self.place

    @cached_property
    def _splits(self) -> dict[str, list[Recording]]:
        path = self._path
        found = self._wanted(self._found(path), path)
        splits: dict[str, list[Recording]] = {"train": [], "dev": [], "test": []}
        for recording, split in zip(found, self._assigned(found, path), strict=True):
            splits[split].append(recording)
        if not splits["dev"]:
            # What chooses the checkpoint needs a part of its own: it is taken from train, never from test.
            parts = _hash_parts(splits["train"], self.rule.dev_percent, 0.0)
            splits["dev"] = [each for each, part in zip(splits["train"], parts, strict=True) if part == "dev"]
            splits["train"] = [each for each, part in zip(splits["train"], parts, strict=True) if part == "train"]
        for name, part in splits.items():
            if not part:
                hint = "look at split_by and what belongs to it"
                raise DataError(Problem(str(path), f"none of its {len(found):,} recordings is in {name}", hint))
        return splits

    def _found(self, path: Path) -> list[Recording]:
        suffix = path.suffix.lower()
        if path.is_dir():
            return self._named(Folder(path), _files_in(path), str(path))
        if suffix == ".zip":
            archive = Archive(path)
            return self._named(archive, archive.names(), path.name)
        if suffix in TABLES:
            return _rows(path)
        raise DataError(Problem(str(path), "is no folder, no .zip and no manifest", "a manifest ends in .csv or .tsv"))

    def _named(self, source: Folder | Archive, names: Sequence[str], root: str) -> list[Recording]:
        """The recordings among these files, by their names."""
        matches = re.compile(self.pattern).fullmatch if self.pattern is not None else None
        found, problems = [], []
        for name in names:
            path = PurePosixPath(name)
            if path.suffix.lower() not in SUFFIXES or any(_hidden(part) for part in path.parts):
                continue
            said: Mapping[str, str | None] = {}
            if matches is not None:
                match = matches(path.name)
                if match is None:
                    problems.append(Problem(f"{root}:{name}", f"its name does not match the pattern {self.pattern}"))
                    continue
                said = match.groupdict()
            label = said.get("label") or path.parent.name
            if not label:
                problems.append(
                    Problem(f"{root}:{name}", "lies in no folder that could name its label", "give a pattern")
                )
            elif not label.startswith("_"):  # _background_noise_ of Speech Commands, and what is set apart like it
                try:
                    found.append(_recording(Clip(source, name), label, f"{root}:{name}", said))
                except ValueError as error:
                    problems.append(Problem(f"{root}:{name}", str(error)))
        _raise(problems)
        return found

    def _wanted(self, found: list[Recording], path: Path) -> list[Recording]:
        if not found:
            raise DataError(Problem(str(path), f"has no recordings ({', '.join(SUFFIXES)})"))
        if self.words is None:
            return found
        labels = {each.label for each in found}
        missing = [word for word in self.words if word not in labels]
        if missing:
            shown = ", ".join(sorted(labels)[:20])
            raise DataError(Problem(str(path), f"no recording is labelled {', '.join(missing)}", f"labels: {shown}"))
        return [each for each in found if each.label in self.words]

    def _assigned(self, found: Sequence[Recording], path: Path) -> list[str]:
        """The split of each recording."""
        rule, lists = self.rule, _lists(path)
        by = rule.by
        if by == "auto":
            told = all(each.split for each in found)
            by = "speaker" if rule.test_speaker else "folders" if told else "lists" if lists else "hash"
        if by in ("folders", "column"):
            what = "neither folder nor name says its split" if by == "folders" else "its row says no split"
            _raise([Problem(each.id, what, "choose another split_by") for each in found if each.split is None])
            return [each.split or "" for each in found]
        if by == "lists":
            if not lists:
                raise DataError(
                    Problem(str(path), f"has no {' and no '.join(LISTS.values())}", "choose another split_by")
                )
            return [lists.get(_name(each), "train") for each in found]
        if by == "hash":
            return _hash_parts(found, rule.dev_percent, rule.test_percent, whole_speakers=True)
        if by == "index":
            hint = "give a pattern with a group 'index'"
            _raise([Problem(each.id, "its index is not known", hint) for each in found if each.index is None])
            return ["test" if _within(each, rule.test_index) else _rest(each, rule) for each in found]
        speakers = sorted({each.speaker for each in found if each.speaker})
        if rule.test_speaker not in speakers:
            what = f"has no speaker '{rule.test_speaker}'" if rule.test_speaker else "which speaker is test_speaker?"
            known = f"speakers: {', '.join(speakers[:20])}" if speakers else "give a pattern with a group 'speaker'"
            raise DataError(Problem(str(path), what, known))
        return ["test" if each.speaker == rule.test_speaker else _rest(each, rule) for each in found]


def hashed(name: str, dev_percent: float = 10.0, test_percent: float = 10.0) -> str:
    """The rule of Speech Commands (Warden 2018, arXiv:1804.03209): a name is in the same split for ever, whatever is
    added to the data. `name` is a speaker's id, or a file's name up to `_nohash_`."""
    number = int(hashlib.sha1(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(), 16)
    percent = number % (_LARGEST + 1) * (100.0 / _LARGEST)
    if percent < dev_percent:
        return "dev"
    return "test" if percent < dev_percent + test_percent else "train"


def _recording(clip: Clip, label: str, id: str, said: Mapping[str, str | None]) -> Recording:
    """What folder and name say of a clip. Raises ValueError for an index or a split that is none."""
    path = PurePosixPath(clip.name)
    speaker = said.get("speaker")
    if speaker is None and _NOHASH.search(path.name):
        speaker = _NOHASH.sub("", path.name)
    index, split = said.get("index"), said.get("split")
    if index is not None and not (index.isascii() and index.isdigit()):
        raise ValueError(f"its index {index!r} is no number")
    if split is not None:
        return Recording(clip, label, id, speaker, int(index) if index else None, _split_named(split))
    # The folder that names the label says nothing of the split, whatever it is called.
    above = path.parts[:-1] if said.get("label") else path.parts[:-2]
    known = [SPLIT_NAMES[part.lower()] for part in above[:2] if part.lower() in SPLIT_NAMES]
    return Recording(clip, label, id, speaker, int(index) if index else None, known[0] if known else None)


def _split_named(name: str) -> str:
    if name.lower() not in SPLIT_NAMES:
        raise ValueError(f"{name!r} is no split: train, dev or test")
    return SPLIT_NAMES[name.lower()]


def _hash_parts(
    found: Sequence[Recording], dev_percent: float, test_percent: float, *, whole_speakers: bool = False
) -> list[str]:
    speakers = {each.speaker for each in found}
    by_speaker = None not in speakers and (whole_speakers or len(speakers) >= MANY_SPEAKERS)
    return [
        hashed((each.speaker or "") if by_speaker else PurePosixPath(_name(each)).name, dev_percent, test_percent)
        for each in found
    ]


def _name(recording: Recording) -> str:
    return recording.clip.name if isinstance(recording.clip, Clip) else recording.id


def _within(recording: Recording, bounds: tuple[int, int] | None) -> bool:
    return bounds is not None and recording.index is not None and bounds[0] <= recording.index <= bounds[1]


def _rest(recording: Recording, rule: Rule) -> str:
    return "dev" if _within(recording, rule.dev_index) else "train"


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _files_in(folder: Path) -> list[str]:
    """The files in a folder and its folders, sorted, with `/`. Links to folders are not followed."""
    found = [(Path(root) / name).relative_to(folder).as_posix() for root, _, names in os.walk(folder) for name in names]
    return sorted(found)


def _lists(path: Path) -> dict[str, str]:
    """The split of each file that validation_list.txt or testing_list.txt names."""
    found: dict[str, str] = {}
    for split, name in LISTS.items():
        if path.is_dir() and (path / name).is_file():
            found |= {line.text.strip(): split for line in readers.numbered(path / name) if line.text.strip()}
    return found


def _rows(path: Path) -> list[Recording]:
    """The recordings that a manifest names; relative paths start at its folder."""
    read: Any = readers.tsv if path.suffix.lower() == ".tsv" else readers.csv
    header = next(readers.numbered(path)).text.split("\t" if path.suffix.lower() == ".tsv" else ",")
    columns = [[each.input for each in read(path, input=name, target=None)] if name in header else None
               for name in ("speaker", "split")]  # fmt: skip
    found, problems = [], []
    for number, row in enumerate(read(path, input="path", target="label")):
        said = [None if column is None else column[number] or None for column in columns]
        try:
            if not row.input or not row.target:
                raise ValueError("a path or a label is missing")
            split = None if said[1] is None else _split_named(said[1])
            found.append(
                Recording(
                    Clip(Folder(path.parent), row.input), row.target, f"{row.id} ({row.input})", said[0], None, split
                )
            )
        except ValueError as error:
            problems.append(Problem(row.id, str(error)))
    _raise(problems)
    return found


def _raise(problems: Sequence[Problem]) -> None:
    """All of these at once: the first twenty, and how many more there are."""
    if problems:
        more = [Problem("", f"and {len(problems) - 20:,} more")] if len(problems) > 20 else []
        raise DataError([*problems[:20], *more])
