"""Recordings, and which of train, dev and test each belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from seqkit import DataError, Example, Problem, readers
from seqkit.reading import collect_reports, report_left_out, report_split_rule
from seqkit_speech.audio import FileAudio, FileContainer, Folder, LazyAudio
from seqkit_speech.options import SplitOptions
from seqkit_speech.tar_archive import ARCHIVES, open_archive
from seqkit_speech.transcripts import read_lines

SPLIT_NAMES: Final = {
    "train": "train", "training": "train", "trn": "train",
    "dev": "dev", "devel": "dev", "development": "dev", "val": "dev", "valid": "dev", "validate": "dev",
    "validation": "dev",
    "test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
LISTS: Final = {"dev": "validation_list.txt", "test": "testing_list.txt"}
MANY_SPEAKERS: Final = 20
"""With this many or more, dev gets whole speakers out of train; with fewer, single recordings."""
NOHASH: Final = re.compile(r"_nohash_.*$")
"""What follows the speaker in the file names of Speech Commands."""
_HASH_MODULUS: Final = 2**27 - 1
_SPEAKER_HINT: Final = "give a pattern with a group 'speaker', or `speaker_column` of a manifest"


@dataclass(frozen=True, slots=True)
class Recording:
    """One clip and what is known of it.

    Attributes:
        clip: its samples.
        label: what is said.
        id: where it is, for messages: `recordings.zip:recordings/0_george_0.wav`.
        speaker: who says it, if known.
        index: its number among the recordings of this label by this speaker, if known.
        split: the split that its folder, name or row in a manifest gives; empty if the row has an empty cell for it.
    """

    clip: LazyAudio
    label: str
    id: str
    speaker: str | None = None
    index: int | None = None
    split: str | None = None

    @property
    def file_name(self) -> str:
        return self.clip.name if isinstance(self.clip, FileAudio) else self.id


def split_recordings(
    recordings: Sequence[Recording],
    path: Path,
    options: SplitOptions,
    names: Sequence[str] = ("train", "dev", "test"),
) -> dict[str, list[Recording]]:
    """The recordings of each split. If the options put none into dev, a share of train becomes dev, by hash.

    The rule is reported.

    Args:
        recordings: all of them.
        path: the folder, archive or manifest that they are from.
        options: how they are split.
        names: of the splits.

    Raises:
        DataError: the options do not fit the recordings, or a split is empty.
    """
    splits: dict[str, list[Recording]] = {"train": [], "dev": [], "test": []}
    for recording, split in zip(recordings, _assign(recordings, path, options), strict=True):
        splits[split].append(recording)
    if not splits["dev"]:
        # Dev chooses the checkpoint, so it is taken from train, never from test.
        train = splits["train"]
        by_speaker = _is_by_speaker(train, whole_speakers=False)
        train_splits, rule = _assign_by_hash(train, options.dev_percent, 0.0, by_speaker)
        report_split_rule(f"dev is about {options.dev_percent:g} % of train, {rule}")
        assigned = list(zip(train, train_splits, strict=True))
        for name in ("dev", "train"):
            splits[name] = [recording for recording, split in assigned if split == name]
    for name in names:
        if not splits[name]:
            reason = f"none of its {len(recordings):,} recordings is in {name}"
            raise DataError(Problem(str(path), reason, "check split_by and the options that belong to it"))
    return splits


def split_by_hash(name: str, dev_percent: float = 10.0, test_percent: float = 10.0) -> str:
    """The split of a name by the rule of Speech Commands (Warden 2018, arXiv:1804.03209).

    A name is always in the same split, whatever is added to the data.

    Args:
        name: a speaker's id, or a file's name up to `_nohash_`.
        dev_percent: about how many of a hundred names are dev.
        test_percent: about how many of a hundred names are test.
    """
    percent = _hash(name) % (_HASH_MODULUS + 1) * (100.0 / _HASH_MODULUS)
    if percent < dev_percent:
        return "dev"
    return "test" if percent < dev_percent + test_percent else "train"


def _hash(name: str) -> int:
    return int(hashlib.sha1(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(), 16)


def parse_split(name: str) -> str:
    """train, dev or test, of one of their usual names. Raises ValueError for any other name."""
    split = split_of_name(name)
    if split is None:
        raise ValueError(f"{name!r} is not a split: train, dev or test is expected")
    return split


def split_of_name(name: str) -> str | None:
    """The split that this is a usual name of, in any case and perhaps with more after a dash (`train-clean-100`)."""
    return SPLIT_NAMES.get(re.split("[-_]", name.strip().strip("\"'").casefold())[0])


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise a DataError of these problems if there are any: the first twenty, and how many more there are."""
    if problems:
        more = [Problem("", f"and {len(problems) - 20:,} more")] if len(problems) > 20 else []
        raise DataError([*problems[:20], *more])


def _assign(recordings: Sequence[Recording], path: Path, options: SplitOptions) -> list[str]:
    """The split of each recording. The rule is reported."""
    lists = _find_lists(path)
    split_by = options.split_by
    if split_by == "auto":
        some_known = any(recording.split is not None for recording in recordings)
        split_by = "speaker" if options.test_speaker else "folders" if some_known else "lists" if lists else "hash"
    for name in lists.values() if split_by != "lists" else ():
        report_left_out("list of the recordings of a split, which are split in another way", name)
    if split_by in ("folders", "column"):
        report_split_rule(f"as the data say: by {options.known_from}")
        raise_problems([_without_split(recording, split_by) for recording in recordings if not recording.split])
        return [recording.split or "" for recording in recordings]
    if split_by == "lists":
        if not lists:
            reason = f"has no {' and no '.join(LISTS.values())}"
            raise DataError(Problem(str(path), reason, "set split_by to another way"))
        report_split_rule(f"by {' and '.join(lists.values())}; all other recordings are train")
        split_of = _read_lists(path, lists, {recording.file_name for recording in recordings})
        return [split_of.get(recording.file_name, "train") for recording in recordings]
    if split_by == "hash":
        dev, test = options.dev_percent, options.test_percent
        by_speaker = _is_by_speaker(recordings, whole_speakers=True)
        splits, rule = _assign_by_hash(recordings, dev, test, by_speaker)
        report_split_rule(f"about {dev:g} % dev and {test:g} % test, {rule}")
        return splits
    dev_rule = "" if options.dev_index is None else f"; dev is index {options.dev_index[0]} to {options.dev_index[1]}"
    if split_by == "index":
        first, last = options.test_index
        report_split_rule(f"by the index of a recording: test is {first} to {last}{dev_rule}")
        hint = "give a pattern with a group 'index'"
        raise_problems(
            [
                Problem(recording.id, "its index is not known", hint)
                for recording in recordings
                if recording.index is None
            ]
        )
        return [
            "test" if _is_within(recording, options.test_index) else _rest(recording, options)
            for recording in recordings
        ]
    if options.test_speaker is None:
        return _assign_speakers(recordings, path, options)
    _check_speaker(recordings, path, options.test_speaker)
    report_split_rule(f"by speaker: all of {options.test_speaker} is test{dev_rule}")
    return [
        "test" if recording.speaker == options.test_speaker else _rest(recording, options) for recording in recordings
    ]


def _without_split(recording: Recording, split_by: str) -> Problem:
    """What is wrong with a recording that has no split, where others have one or must have one."""
    if recording.split == "":
        return Problem(recording.id, "its cell for the split is empty", "fill it in, or set split_by to another way")
    reason = "neither its folder nor its name gives a split" if split_by == "folders" else "its row gives no split"
    return Problem(recording.id, reason, "set split_by to another way")


def _check_speaker(recordings: Sequence[Recording], path: Path, test_speaker: str) -> None:
    """Raises DataError unless a recording is by this speaker."""
    speakers = sorted({recording.speaker for recording in recordings if recording.speaker})
    if test_speaker not in speakers:
        known = f"speakers: {', '.join(speakers[:20])}" if speakers else _SPEAKER_HINT
        raise DataError(Problem(str(path), f"has no speaker '{test_speaker}'", known))


def _assign_speakers(recordings: Sequence[Recording], path: Path, options: SplitOptions) -> list[str]:
    """The split of each recording, whole speakers in each, at least one. The rule is reported.

    Raises:
        DataError: a speaker is not known, or there are too few.
    """
    raise_problems(
        [Problem(item.id, "its speaker is not known", _SPEAKER_HINT) for item in recordings if not item.speaker]
    )
    shares = readers.ShareSplit(dev=options.dev_percent / 100, test=options.test_percent / 100, by="group")
    speakers = {recording.speaker for recording in recordings}
    if len(speakers) <= len(shares.names):
        reason = f"has {len(speakers)} speakers, too few for {len(shares.names) + 1} splits"
        raise DataError(Problem(str(path), reason, "set split_by to another way"))
    numbered = [
        (Example(n, recording.label, recording.id), recording.speaker) for n, recording in enumerate(recordings)
    ]
    with collect_reports():  # the rule is said in the words of this task
        split_of = {
            example.input: name
            for name in ("train", *shares.names)
            for example in shares.divide(lambda: ((example, speaker or "") for example, speaker in numbered), name)
        }
    percents = f"about {options.dev_percent:g} % dev and {options.test_percent:g} % test"
    report_split_rule(f"{percents}, by speaker: no speaker is in two splits")
    return [split_of[number] for number in range(len(recordings))]


def _is_by_speaker(recordings: Sequence[Recording], *, whole_speakers: bool) -> bool:
    """Whether a hash decides by speaker: if all are known, and if `whole_speakers` are wanted or there are many."""
    speakers = {recording.speaker for recording in recordings}
    return None not in speakers and (whole_speakers or len(speakers) >= MANY_SPEAKERS)


def _assign_by_hash(
    recordings: Sequence[Recording], dev_percent: float, test_percent: float, by_speaker: bool
) -> tuple[list[str], str]:
    """The split of each recording, and by which rule, in words.

    Where a hash leaves a split empty, as it may with few recordings, these are taken in the order of their hashes: as
    many as the shares ask for, at least one for each split.
    """
    if by_speaker:
        names, rule = [recording.speaker or "" for recording in recordings], "by a hash of the speaker"
    else:
        names = [PurePosixPath(recording.file_name).name for recording in recordings]
        rule = "by a hash of the file's name, so that one speaker may be in several splits"
    splits = [split_by_hash(name, dev_percent, test_percent) for name in names]
    shares = {name: percent for name, percent in (("dev", dev_percent), ("test", test_percent)) if percent > 0}
    if {*splits} >= {"train", *shares} or by_speaker or len(recordings) <= len(shares):
        return splits, rule
    order = sorted(range(len(recordings)), key=lambda number: _hash(recordings[number].file_name))
    splits = ["train"] * len(recordings)
    for left, (name, percent) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
        count = min(max(1, round(percent / 100 * len(splits))), len(order) - left)
        for number in order[:count]:
            splits[number] = name
        order = order[count:]
    return splits, "in the order of a hash of the file's path, so that one speaker may be in several splits"


def _is_within(recording: Recording, bounds: tuple[int, int] | None) -> bool:
    return bounds is not None and recording.index is not None and bounds[0] <= recording.index <= bounds[1]


def _rest(recording: Recording, options: SplitOptions) -> str:
    """The split of a recording that is not test."""
    return "dev" if _is_within(recording, options.dev_index) else "train"


def _find_lists(path: Path) -> Mapping[str, str]:
    """Which of validation_list.txt and testing_list.txt there are in a folder or an archive, by split."""
    if path.is_dir():
        return {split: name for split, name in LISTS.items() if (path / name).is_file()}
    names = open_archive(path).names() if path.is_file() and path.suffix.lower() in ARCHIVES else ()
    return {split: name for split, name in LISTS.items() if name in names}


def _read_lists(path: Path, lists: Mapping[str, str], recordings: Set[str]) -> Mapping[str, str]:
    """The split of each of these recordings that a list names. Lines that name another file are reported.

    Raises:
        DataError: both lists name a file.
    """
    source: FileContainer = Folder(path) if path.is_dir() else open_archive(path)
    splits: dict[str, str] = {}
    for split, name in lists.items():
        for number, file_name in read_lines(source, name, str(path)):
            if file_name not in recordings:
                report_left_out(f"line of {name} that names no recording that is read", f"{name}:{number}")
            elif splits.setdefault(file_name, split) != split:
                raise DataError(Problem(f"{path}:{name}:{number}", f"{file_name} is in {lists[splits[file_name]]} too"))
    return splits
