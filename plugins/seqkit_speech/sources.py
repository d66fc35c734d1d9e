"""Where recordings come from: the synthesiser, public data, the user's files, and strings joined from clips."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any, Final, Protocol, TypeVar, final

import numpy as np

from seqkit import DataError, Dataset, Example, File, Problem, fetch, readers
from seqkit_speech import generator
from seqkit_speech.archive import Archive
from seqkit_speech.audio import SUFFIXES, FileAudio, Folder, LazyAudio, Samples
from seqkit_speech.options import SplitOptions
from seqkit_speech.splits import (
    LISTS,
    NOHASH,
    SPLIT_NAMES,
    Recording,
    parse_split,
    raise_problems,
    split_recordings,
)

T = TypeVar("T")

SPLITS: Final = ("train", "dev", "test")
MANIFEST_SUFFIXES: Final = (".csv", ".tsv")

# Both files are repackaged and have no address of their own.
FSDD = Dataset(
    "speech/fsdd",
    (File("recordings.zip", None, "8e1e44a06ea9d154aa314276028b6851cdf0bead7ad196db67b9aadb78191e05", 16_161_380),),
    licence="CC BY-SA 4.0",
    about="Free Spoken Digit Dataset (Z. Jackson et al.): 3,000 clips of ten digits by six speakers, 8 kHz",
    by_hand="the same 3,000 files are in the folder `recordings` of github.com/Jakobovski/free-spoken-digit-dataset at "
    "commit 26eb9aaf76e81b692f806f9140c2d2777410d7a1; give that folder, or a zip of it, as path",
)
FSDD_PATTERN = r"(?P<label>[0-9])_(?P<speaker>[a-z]+)_(?P<index>[0-9]+)\.wav"

SPEECH_COMMANDS_3 = Dataset(
    "speech/speech_commands_v1_3words",
    (
        File(
            "speech_commands_v1_3words.zip",
            None,
            "f5f2b2a3ebf8d7f1b9fbe87da8d2c273dddc6afc0a94132fbd22bf2945a9fab6",
            16_619_694,
        ),
    ),
    licence="CC BY 4.0",
    about="Google Speech Commands v0.01 (P. Warden, arXiv:1804.03209), the words bed, cat and happy: the first 150 "
    "training, 40 validation and 60 testing clips of each word, 16 kHz",
    by_hand="all clips of these words are in the folder `data` of github.com/manashmandal/DeadSimpleSpeechRecognizer "
    "at commit 881b36a63bc9d449f60bc83ebcd2e7c5209a4761; give that folder as path, with split_by: hash (it has more "
    "clips than this subset, in the same splits)",
)


class Recordings(Protocol):
    """What a task reads: `Corpus`, `SynthesisedWords` or `JoinedStrings`."""

    def recordings(self, split: str) -> Sequence[Recording]:
        """Those of "train", "dev" or "test"."""
        ...

    def files(self, split: str) -> list[Path]:
        """The files that they are read from."""
        ...


@dataclass(frozen=True)
class Corpus:
    """Recordings in a folder, a zip archive or a manifest, which is opened when the first is asked for.

    Attributes:
        location: the folder, the archive, the manifest (`.csv` or `.tsv` with the columns path and label, and perhaps
            split and speaker), or a named data set.
        pattern: a regular expression that file names, without their folder, match in full. Its groups `label`,
            `speaker`, `index` and `split` give what is known of a recording. None: the folder of a file is its label.
        split_options: how the recordings are split.
        words: the labels wanted; None: all.
    """

    location: Path | Dataset
    pattern: str | None = None
    split_options: SplitOptions = field(default=SplitOptions())
    words: tuple[str, ...] | None = None

    def recordings(self, split: str) -> Sequence[Recording]:
        """Those of "train", "dev" or "test", in the order of their names.

        Raises:
            DataError: there are none, or they do not fit the pattern, the split options or the words.
        """
        return self._splits[split]

    def all_recordings(self) -> Sequence[Recording]:
        """Those of all splits.

        Raises:
            DataError: there are none, or they do not fit the pattern or the words.
        """
        return self._wanted(self._all())

    def files(self, split: str) -> list[Path]:
        """The files that these recordings are read from."""
        path = self._path
        if path.is_file() and path.suffix.lower() not in MANIFEST_SUFFIXES:
            return [path]
        lists = [path] if path.is_file() else [path / name for name in LISTS.values() if (path / name).is_file()]
        clips = [recording.clip for recording in self._splits[split]]
        paths = [
            clip.source.root / clip.name
            for clip in clips
            if isinstance(clip, FileAudio) and isinstance(clip.source, Folder)
        ]
        # A missing file that a manifest names is reported when it is read, with its row.
        return [*lists, *(clip_path for clip_path in paths if clip_path.is_file())]

    @cached_property
    def _path(self) -> Path:
        if isinstance(self.location, Dataset):
            return fetch(self.location) / self.location.files[0].path
        if not self.location.exists():
            raise DataError(Problem(str(self.location), "there is no such file or folder"))
        return self.location

    @cached_property
    def _splits(self) -> dict[str, list[Recording]]:
        return split_recordings(self._wanted(self._all()), self._path, self.split_options)

    def _all(self) -> list[Recording]:
        """The recordings of all labels and splits."""
        path = self._path
        suffix = path.suffix.lower()
        if path.is_dir():
            return self.from_names(Folder(path), _files_in(path), str(path))
        if suffix == ".zip":
            archive = Archive(path)
            return self.from_names(archive, archive.names(), path.name)
        if suffix in MANIFEST_SUFFIXES:
            return _read_manifest(path)
        reason = "is not a folder, a .zip archive or a manifest"
        raise DataError(Problem(str(path), reason, "a manifest ends in .csv or .tsv"))

    def from_names(self, source: Folder | Archive, names: Sequence[str], root: str) -> list[Recording]:
        """The recordings among these files, by their names."""
        match_name = re.compile(self.pattern).fullmatch if self.pattern is not None else None
        recordings, problems = [], []
        for name in names:
            path, id = PurePosixPath(name), f"{root}:{name}"
            if path.suffix.lower() not in SUFFIXES or any(_is_hidden(component) for component in path.parts):
                continue
            groups: Mapping[str, str | None] = {}
            if match_name is not None:
                match = match_name(path.name)
                if match is None:
                    problems.append(Problem(id, f"its name does not match the pattern {self.pattern}"))
                    continue
                groups = match.groupdict()
            label = groups.get("label") or path.parent.name
            if not label:
                problems.append(Problem(id, "is in no folder that could be its label", "give a pattern"))
            elif not label.startswith("_"):  # _background_noise_ of Speech Commands, and other folders set apart
                try:
                    recordings.append(_recording(FileAudio(source, name), label, id, groups))
                except ValueError as error:
                    problems.append(Problem(id, str(error)))
        raise_problems(problems)
        return recordings

    def _wanted(self, recordings: list[Recording]) -> list[Recording]:
        """The recordings of the wanted labels. Raises DataError if one of the labels has none."""
        if not recordings:
            raise DataError(Problem(str(self._path), f"has no recordings ({', '.join(SUFFIXES)})"))
        if self.words is None:
            return recordings
        labels = {recording.label for recording in recordings}
        missing = [word for word in self.words if word not in labels]
        if missing:
            hint = f"labels: {', '.join(sorted(labels)[:20])}"
            raise DataError(Problem(str(self._path), f"no recording is labelled {', '.join(missing)}", hint))
        return [recording for recording in recordings if recording.label in self.words]


def other_recordings(path: Path, split: str | None, corpus: Corpus) -> Sequence[Recording]:
    """The labelled recordings of another file, folder, archive or manifest, with the options of a corpus.

    Args:
        path: the file or folder.
        split: which split of it, by the options; None: all of it.
        corpus: has the options.
    """
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        # The folder of a file may be its label.
        root, name = path.absolute().parent.parent, f"{path.absolute().parent.name}/{path.name}"
        return corpus.from_names(Folder(root), [name], str(root))
    other = replace(corpus, location=path)
    return other.all_recordings() if split is None else other.recordings(split)


def clips_of(path: Path) -> Iterator[Example]:
    """The clips of a file, folder, archive or manifest, without their labels.

    Raises:
        DataError: there is no such file, or it has no recordings.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(Problem(str(path), "there is no such file or folder"))
    if suffix in MANIFEST_SUFFIXES and path.is_file():
        reader: Any = readers.tsv if suffix == ".tsv" else readers.csv
        for row in reader(path, input="path", target=None, flaws=True):
            is_path = isinstance(row.input, str)
            clip = FileAudio(Folder(path.parent), row.input) if is_path else row.input
            yield Example(clip, None, f"{row.id} ({row.input})" if is_path else row.id)
        return
    if path.is_file() and suffix != ".zip":
        yield Example(FileAudio(Folder(path.parent), path.name), None, str(path))
        return
    archive = Archive(path)
    source: Folder | Archive = Folder(path) if path.is_dir() else archive
    names = _files_in(path) if path.is_dir() else archive.names()
    count = 0
    for name in names:
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).suffix.lower() in SUFFIXES and not any(map(_is_hidden, parts)):
            count += 1
            yield Example(FileAudio(source, name), None, f"{path if path.is_dir() else path.name}:{name}")
    if not count:
        raise DataError(Problem(str(path), f"has no recordings ({', '.join(SUFFIXES)})"))


@final
@dataclass(frozen=True, slots=True)
class SynthesisedAudio(LazyAudio):
    """One word in a voice of the synthesiser, the `take`-th time."""

    word: str
    voice: int
    take: int

    def samples(self, rate: int) -> Samples:
        return generator.synthesise_word(self.word, self.voice, self.take, rate)


@dataclass(frozen=True)
class SynthesisedWords:
    """Words of the synthesiser. No voice is in two splits.

    Attributes:
        sizes: number of clips of train, dev and test.
        words: the words wanted; None: all twelve.
    """

    sizes: tuple[int, int, int]
    words: tuple[str, ...] | None = None

    def recordings(self, split: str) -> list[Recording]:
        words, voices = self.words or tuple(generator.WORDS), generator.voices(split)
        recordings = []
        for number in range(_size_of(self.sizes, split)):
            # All words in one voice, then in the next one; after the last voice, all of it again.
            word, turn = words[number % len(words)], number // len(words)
            voice, take = voices[turn % len(voices)], turn // len(voices)
            clip, id = SynthesisedAudio(word, voice, take), f"{split}: {word}, voice {voice}, take {take}"
            recordings.append(Recording(clip, word, id, speaker=str(voice), index=take, split=split))
        return recordings

    def files(self, split: str) -> list[Path]:
        return []


@final
@dataclass(frozen=True, slots=True)
class JoinedAudio(LazyAudio):
    """Clips one after the other, with silence of `gaps` seconds between them."""

    clips: tuple[LazyAudio, ...]
    gaps: tuple[float, ...]

    def samples(self, rate: int) -> Samples:
        pieces = [self.clips[0].samples(rate)]
        for clip, gap in zip(self.clips[1:], self.gaps, strict=True):
            pieces += [np.zeros(round(gap * rate), dtype=np.float32), clip.samples(rate)]
        return np.concatenate(pieces)


@dataclass(frozen=True, kw_only=True)
class JoinedStrings:
    """Strings of words, each joined from clips of one speaker (of any speakers if they are not known).

    The strings of a split are joined from clips of that split only. The draws depend on the split and `seed` alone.

    Attributes:
        source: where the clips come from.
        words: fewest and most words of a string.
        sizes: number of strings of train, dev and test.
        gap_ms: shortest and longest silence between two words.
        seed: of the draws.
    """

    source: Recordings
    words: tuple[int, int]
    sizes: tuple[int, int, int]
    gap_ms: tuple[float, float]
    seed: int = 0

    def recordings(self, split: str) -> list[Recording]:
        by_speaker: dict[str, list[Recording]] = {}
        for recording in self.source.recordings(split):
            by_speaker.setdefault(recording.speaker or "", []).append(recording)
        rng = Random(f"strings {self.seed} {split}")
        speakers = sorted(by_speaker)
        strings = []
        for number in range(_size_of(self.sizes, split)):
            speaker = _pick(rng, speakers)
            count = self.words[0] + int(rng.random() * (self.words[1] - self.words[0] + 1))
            chosen = [_pick(rng, by_speaker[speaker]) for _ in range(count)]
            low, high = self.gap_ms
            gaps = tuple((low + (high - low) * rng.random()) / 1000 for _ in chosen[1:])
            clip = JoinedAudio(tuple(recording.clip for recording in chosen), gaps)
            label = " ".join(recording.label for recording in chosen)
            id = f"{split} string {number + 1}: {', '.join(each.id.rpartition('/')[2] for each in chosen)}"
            strings.append(Recording(clip, label, id, speaker=speaker or None, split=split))
        return strings

    def files(self, split: str) -> list[Path]:
        return self.source.files(split)


def _recording(clip: FileAudio, label: str, id: str, groups: Mapping[str, str | None]) -> Recording:
    """A recording with what its folder and the groups of the pattern give.

    Raises:
        ValueError: the index is not a number, or the split is not one.
    """
    path = PurePosixPath(clip.name)
    speaker = groups.get("speaker")
    if speaker is None and NOHASH.search(path.name):
        speaker = NOHASH.sub("", path.name)
    index, split = groups.get("index"), groups.get("split")
    if index is not None and not (index.isascii() and index.isdigit()):
        raise ValueError(f"its index {index!r} is not a number")
    if split is not None:
        split = parse_split(split)
    else:
        # The folder that names the label gives no split, even if it is called like one.
        folders = path.parts[:-1] if groups.get("label") else path.parts[:-2]
        known = [SPLIT_NAMES[folder.lower()] for folder in folders[:2] if folder.lower() in SPLIT_NAMES]
        split = known[0] if known else None
    return Recording(clip, label, id, speaker=speaker, index=int(index) if index else None, split=split)


def _read_manifest(path: Path) -> list[Recording]:
    """The recordings that a manifest names; relative paths start at its folder."""
    is_tsv = path.suffix.lower() == ".tsv"
    reader: Any = readers.tsv if is_tsv else readers.csv
    header = next(readers.numbered(path)).text.split("\t" if is_tsv else ",")
    speakers, splits = (
        [row.input for row in reader(path, input=name, target=None)] if name in header else None
        for name in ("speaker", "split")
    )
    recordings, problems = [], []
    for number, row in enumerate(reader(path, input="path", target="label")):
        speaker = speakers[number] or None if speakers is not None else None
        split = splits[number] or None if splits is not None else None
        try:
            if not row.input or not row.target:
                raise ValueError("a path or a label is missing")
            clip, id = FileAudio(Folder(path.parent), row.input), f"{row.id} ({row.input})"
            split = None if split is None else parse_split(split)
            recordings.append(Recording(clip, row.target, id, speaker=speaker, split=split))
        except ValueError as error:
            problems.append(Problem(row.id, str(error)))
    raise_problems(problems)
    return recordings


def _files_in(folder: Path) -> list[str]:
    """The files in a folder and its folders, sorted, with `/`. Links to folders are not followed."""
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _size_of(sizes: tuple[int, int, int], split: str) -> int:
    return dict(zip(SPLITS, sizes, strict=True))[split]


def _pick(rng: Random, options: Sequence[T]) -> T:
    # Of `rng` only `random()` is used: its numbers are the same in every version of Python.
    return options[int(rng.random() * len(options))]
