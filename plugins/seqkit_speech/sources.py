"""Where recordings come from: the synthesiser, public data, the user's files, and strings joined from clips."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from random import Random
from typing import Final, Protocol, TypeVar, final

import numpy as np

from seqkit import DataError, Dataset, Example, File, Flaw, MissingFile, Problem, Shard, UsageError, fetch, readers
from seqkit.reading import Reading, collect_reports, report_again, report_left_out, report_split_rule
from seqkit_speech import generator
from seqkit_speech.archive import Archive
from seqkit_speech.audio import SUFFIXES, FileAudio, Folder, LazyAudio, Samples
from seqkit_speech.manifest import ManifestReader
from seqkit_speech.naming import NamePattern
from seqkit_speech.options import SplitOptions
from seqkit_speech.splits import (
    LISTS,
    NOHASH,
    Recording,
    parse_split,
    raise_problems,
    split_of_name,
    split_recordings,
)
from seqkit_speech.tar_archive import ARCHIVES, TarArchive, open_archive
from seqkit_speech.transcripts import LISTED, read_transcripts, speaker_of

T = TypeVar("T")

SPLITS: Final = ("train", "dev", "test")
_BACKGROUND_NOISE: Final = "_background_noise_"
"""The folder of Speech Commands whose recordings are no words."""

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
    """Recordings in a folder, a zip archive or manifests, which are opened when the first is asked for.

    Attributes:
        location: the folder, the archive, the manifest, or a named data set.
        pattern: a regular expression for the names of files; see `NamePattern`. Its groups `label`, `speaker`, `index`
            and `split` give what is known of a recording. None: the folder of a file is its label.
        split_options: how the recordings are split.
        words: the labels wanted; None: all.
        transcripts: whether texts in files beside the recordings, if there are such files, are the labels.
        ending: of these files; see `read_transcripts`.
        word_separator: what stands between the words of a label in place of a blank; None: nothing does.
        manifest: reads manifests.
        manifests: the manifest of each split, in the folder that is the location; empty: there are none.
    """

    location: Path | Dataset
    pattern: str | None = None
    split_options: SplitOptions = field(default=SplitOptions())
    words: tuple[str, ...] | None = None
    transcripts: bool = False
    ending: str | None = None
    word_separator: str | None = None
    manifest: ManifestReader = field(default=ManifestReader())
    manifests: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pattern is not None:
            NamePattern(self.pattern)  # refuses what is no pattern before anything is read

    def recordings(self, split: str) -> Sequence[Recording]:
        """Those of "train", "dev" or "test", in the order of their names.

        Raises:
            DataError: there are none, or they do not fit the pattern, the split options or the words.
        """
        splits, reading = self._divided
        report_again(reading)
        return splits[split]

    def all_recordings(self) -> Sequence[Recording]:
        """Those of all splits.

        Raises:
            DataError: there are none, or they do not fit the pattern or the words.
        """
        return self._wanted(self._all())

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are: no test if no share of the recordings, and no manifest, is to be test."""
        has_test = "test" in self.manifests if self.manifests else self.split_options.has_test
        return SPLITS if has_test else SPLITS[:2]

    @property
    def is_in_manifests(self) -> bool:
        """Whether manifests, or one of them, name the recordings."""
        return bool(self.manifests) or (isinstance(self.location, Path) and self.manifest.reads(self.location))

    def files(self, split: str) -> list[Path]:
        """The files that these recordings are read from."""
        path = self._path
        if self._archives:
            return list(self._archives)
        if self.manifests:
            lists = [path / self.manifests[split if split in self.manifests else "train"]]
        else:
            lists = [path] if path.is_file() else [path / name for name in LISTS.values() if (path / name).is_file()]
        splits, reading = self._divided
        report_again(reading)
        clips = [recording.clip for recording in splits[split]]
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
        if not self.location.exists() and not readers.is_pattern(self.location.name):
            raise MissingFile(self.location)
        return self.location

    @cached_property
    def _archives(self) -> Sequence[Path]:
        """The zip and tar archives that the recordings are in; none: they are in a folder, or manifests name them.

        Raises:
            DataError: nothing matches a pattern, or something that is no archive does.
        """
        path = self._path
        if path.is_file():
            return [path] if path.suffix.lower() in ARCHIVES else []
        if path.is_dir():
            entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
            is_in_archives = bool(entries) and all(entry.suffix.lower() in ARCHIVES for entry in entries)
            return entries if is_in_archives else []
        paths = readers.shard_files(path.parent, path.name)
        for other in paths:
            if other.suffix.lower() not in ARCHIVES:
                raise DataError(Problem(str(other), "is not an archive", f"a pattern is for {', '.join(ARCHIVES)}"))
        return paths

    def shards(self, split: str) -> list[Shard]:
        """The archives, each with its recordings of a split; none if there are not several."""
        if len(self._archives) < 2:
            return []
        groups = groupby(self.recordings(split), key=_archive_of)
        listed = [(path, list(recordings)) for path, recordings in groups]
        if len({path for path, _ in listed}) < len(listed) or any(path is None for path, _ in listed):
            return []  # recordings of several archives take turns
        return [
            Shard(path.name, (path,), partial(examples_of, recordings))
            for path, recordings in listed
            if path is not None
        ]

    @cached_property
    def _divided(self) -> tuple[dict[str, list[Recording]], Reading]:
        """The recordings of each split, and what was passed over to find them."""
        with collect_reports() as reading:
            options = replace(self.split_options, known_from="manifest") if self.manifests else self.split_options
            splits = split_recordings(self._wanted(self._all()), self._path, options, self.splits)
        return splits, reading

    def _all(self) -> list[Recording]:
        """The recordings of all labels and splits."""
        path = self._path
        if self.manifests:
            named = [item for split, name in self.manifests.items() for item in self._in_manifest(path / name, split)]
            clips = [item.clip for item in named if isinstance(item.clip, FileAudio)]
            places = {
                os.path.normpath(clip.source.root / clip.name) for clip in clips if isinstance(clip.source, Folder)
            }
            names = _files_in(path)
            used = {name for name in names if os.path.normpath(path / name) in places}
            _report_left_out(names, {*used, *map(os.path.normpath, self.manifests.values())})
            return named
        archives = self._archives
        self._check_options(path, is_manifest=not (path.is_dir() or archives))
        if archives:
            opened = [open_archive(file) for file in archives]
            return [recording for one in opened for recording in self.from_names(one, one.names(), one.path.name)]
        if path.is_dir():
            return self.from_names(Folder(path), _files_in(path), str(path))
        if self.manifest.reads(path):
            return self._in_manifest(path)
        reason = "is not a folder, a .zip or .tar archive or a manifest"
        hint = "a manifest ends in .csv, .tsv, .jsonl or .json; `separator` or `format` says what another file is"
        raise DataError(Problem(str(path), reason, hint))

    def _check_options(self, path: Path, *, is_manifest: bool) -> None:
        """Raises UsageError for options that would have no effect."""
        if is_manifest and self.ending is not None:
            raise UsageError(f"transcripts: {path.name} is a manifest, which has the texts in its column of labels")
        if not is_manifest and (given := self.manifest.options_given):
            message = f"{given[0]}: is for manifests, but {path} has recordings and no manifest is named"
            raise UsageError(f"{message}; name it as path, or as train")

    def _in_manifest(self, path: Path, split: str | None = None) -> list[Recording]:
        if split is not None and not path.is_file():
            raise readers.missing_split_file(path, split)
        recordings = replace(self.manifest, pattern=self.names).recordings(path, split)
        return [replace(recording, label=self._with_blanks(recording.label)) for recording in recordings]

    @cached_property
    def names(self) -> NamePattern | None:
        """What the names of files say, by the pattern."""
        return None if self.pattern is None else NamePattern(self.pattern)

    def _with_blanks(self, label: str) -> str:
        return label if self.word_separator is None else label.replace(self.word_separator, " ").strip()

    def from_names(self, source: Folder | Archive | TarArchive, names: Sequence[str], root: str) -> list[Recording]:
        """The recordings among these files, by their names."""
        pattern = self.names
        sounds = [name for name in names if _is_sound(PurePosixPath(name))]
        texts = None
        if self.transcripts and not (pattern is not None and pattern.has_label):
            visible = [name for name in names if not _is_below_hidden(PurePosixPath(name))]
            texts = read_transcripts(source, visible, sounds, root, self.ending)
        _report_left_out(names, {*sounds, *(texts.files if texts else ()), *LISTS.values()})
        recordings, problems = [], []
        for name in sounds:
            path, id = PurePosixPath(name), f"{root}:{name}"
            try:
                groups = {} if pattern is None else pattern.groups(name)
                if texts is not None:
                    groups["label"] = texts.take(path)
                    groups.setdefault("speaker", speaker_of(path.stem))
                label = groups.get("label") or path.parent.name
                if not label:
                    message = "is in no folder that could be its label; give a pattern, or files with `transcripts`"
                    raise ValueError(message)
                if label == _BACKGROUND_NOISE:
                    report_left_out(f"recording in {_BACKGROUND_NOISE}", name)
                    continue
                recordings.append(_recording(FileAudio(source, name), self._with_blanks(label), id, groups))
            except ValueError as error:
                problems.append(Problem(id, str(error)))
        raise_problems(problems)
        if texts is not None:
            texts.report_rest()
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
        for recording in recordings:
            if recording.label not in self.words:
                report_left_out("recording of a word that is not among `words`", recording.id)
        return [recording for recording in recordings if recording.label in self.words]


def _archive_of(recording: Recording) -> Path | None:
    """The archive that a recording is in."""
    source = recording.clip.source if isinstance(recording.clip, FileAudio) else None
    return source.path if isinstance(source, Archive | TarArchive) else None


def _report_left_out(names: Sequence[str], used: Set[str]) -> None:
    """Report the files that are neither recordings nor used otherwise."""
    for name in names:
        if _is_below_hidden(PurePosixPath(name)):
            report_left_out("hidden file", name)
        elif name not in used:
            suffix = PurePosixPath(name).suffix.lower() or "no suffix"
            report_left_out(f"file that is not read as a recording ({suffix})", name)


def examples_of(recordings: Sequence[Recording]) -> Iterator[Example]:
    """Recordings as examples."""
    return (Example(recording.clip, recording.label, recording.id) for recording in recordings)


def read_other(path: Path, split: str | None, labelled: bool, corpus: Corpus) -> Iterator[Example]:
    """The examples of another file or folder, with the options of a corpus; see `Task.read_file`."""
    return examples_of(other_recordings(path, split, corpus)) if labelled else clips_of(path, corpus)


def other_recordings(path: Path, split: str | None, corpus: Corpus) -> Sequence[Recording]:
    """The labelled recordings of another file, folder, archive or manifest, with the options of a corpus.

    Args:
        path: the file or folder. A folder that has none of the manifests of the corpus is one of recordings.
        split: which split of it, by the options; None: all of it (of a folder with manifests, test).
        corpus: has the options.
    """
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        # The folders of a file may say what it is.
        root, name = path.absolute().parent.parent, f"{path.absolute().parent.name}/{path.name}"
        names = [name, *(f"{path.absolute().parent.name}/{text.name}" for text in _texts_beside(path))]
        return corpus.from_names(Folder(root), names, str(root))
    manifests = {name: file for name, file in corpus.manifests.items() if (path / file).is_file()}
    other = replace(corpus, location=path, manifests=manifests)
    if manifests and split is None:
        split = "test"
    if split is not None and split not in other.splits:
        raise UsageError(f"{path}: the recipe names no manifest for {split}; give the file itself")
    return other.all_recordings() if split is None else other.recordings(split)


def _texts_beside(path: Path) -> list[Path]:
    """Files with the name of a recording and other endings, and lists of texts, in the same folder."""
    folder = path.absolute().parent
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.name != path.name and (file.stem == path.stem or file.name.endswith(LISTED))
    )


def clips_of(path: Path, corpus: Corpus) -> Iterator[Example]:
    """The clips of a file, folder, archive or manifest, without their labels, with the options of a corpus.

    Raises:
        DataError: there is no such file, or it has no recordings.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise MissingFile(path)
    if path.is_file() and suffix not in (*ARCHIVES, *SUFFIXES) and corpus.manifest.reads(path):
        for id, clip in corpus.manifest.clips(path):
            yield Example(Flaw(clip) if isinstance(clip, str) else clip, None, id)
        return
    if path.is_file() and suffix not in ARCHIVES:
        yield Example(FileAudio(Folder(path.parent), path.name), None, str(path))
        return
    archive = open_archive(path)
    source: Folder | Archive | TarArchive = Folder(path) if path.is_dir() else archive
    names = _files_in(path) if path.is_dir() else archive.names()
    sounds = [name for name in names if _is_sound(PurePosixPath(name))]
    _report_left_out(names, set(sounds))
    for name in sounds:
        yield Example(FileAudio(source, name), None, f"{path if path.is_dir() else path.name}:{name}")
    if not sounds:
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
        report_split_rule("by voice: no voice of the synthesiser is in two splits")
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
            id = f"{split} string {number + 1}: {', '.join(recording.id.rpartition('/')[2] for recording in chosen)}"
            strings.append(Recording(clip, label, id, speaker=speaker or None, split=split))
        return strings

    def files(self, split: str) -> list[Path]:
        return self.source.files(split)


def _recording(clip: FileAudio, label: str, id: str, groups: Mapping[str, str | None]) -> Recording:
    """A recording with what its folder and the groups of the pattern give.

    Raises:
        ValueError: the split is none.
    """
    path = PurePosixPath(clip.name)
    speaker = groups.get("speaker")
    if speaker is None and NOHASH.search(path.name):
        speaker = NOHASH.sub("", path.name)
    index, split = groups.get("index"), groups.get("split")
    if split is not None:
        split = parse_split(split)
    else:
        # The folder that names the label gives no split, even if it is called like one.
        folders = path.parts[:-1] if groups.get("label") else path.parts[:-2]
        split = next(filter(None, map(split_of_name, folders[:2])), None)
    return Recording(clip, label, id, speaker=speaker, index=int(index) if index else None, split=split)


def _is_sound(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and not _is_below_hidden(path)


def _is_below_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _files_in(folder: Path) -> list[str]:
    """The files in a folder and its folders, sorted, with `/`.

    A folder that is a link to another place is read. One that leads to a folder that is read in any case is left out.
    """
    root = folder.resolve()
    paths: list[Path] = []
    linked: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in list(folders):
            path = Path(place) / name
            target = path.resolve()
            if path.is_symlink() and (target in linked or target == root or root in target.parents):
                folders.remove(name)
                kind = "folder that is a link to one that is read already"
                report_left_out(kind, path.relative_to(folder).as_posix())
            elif path.is_symlink():
                if target in root.parents:
                    reason = f"is a link to {target}, which the folder itself lies in"
                    raise DataError(Problem(str(path), reason, "remove the link"))
                linked.add(target)
        paths += [Path(place) / name for name in names]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _size_of(sizes: tuple[int, int, int], split: str) -> int:
    return dict(zip(SPLITS, sizes, strict=True))[split]


def _pick(rng: Random, options: Sequence[T]) -> T:
    # Of `rng` only `random()` is used: its numbers are the same in every version of Python.
    return options[int(rng.random() * len(options))]
