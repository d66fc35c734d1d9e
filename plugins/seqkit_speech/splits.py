"""Recordings, and which of train, dev and test each belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from seqkit import DataError, Problem, readers
from seqkit.reading import report_left_out, report_split_rule
from seqkit_speech.audio import FileAudio, LazyAudio
from seqkit_speech.options import SplitOptions

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


def split_recordings(recordings: Sequence[Recording], path: Path, options: SplitOptions) -> dict[str, list[Recording]]:
    """The recordings of train, dev and test. If the options put none into dev, a share of train becomes dev, by hash.

    The rule is reported.

    Args:
        recordings: all of them.
        path: the folder, archive or manifest that they are from.
        options: how they are split.

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
        report_split_rule(f"dev is about {options.dev_percent:g} % of train, {_hash_rule(by_speaker)}")
        assigned = list(zip(train, _assign_by_hash(train, options.dev_percent, 0.0, by_speaker), strict=True))
        for name in ("dev", "train"):
            splits[name] = [recording for recording, split in assigned if split == name]
    for name, chosen in splits.items():
        if not chosen:
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
    number = int(hashlib.sha1(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(), 16)
    percent = number % (_HASH_MODULUS + 1) * (100.0 / _HASH_MODULUS)
    if percent < dev_percent:
        return "dev"
    return "test" if percent < dev_percent + test_percent else "train"


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
    lists = _read_lists(path)
    split_by = options.split_by
    if split_by == "auto":
        some_known = any(recording.split is not None for recording in recordings)
        split_by = "speaker" if options.test_speaker else "folders" if some_known else "lists" if lists else "hash"
    if split_by in ("folders", "column"):
        report_split_rule("as the data say: by folder, file name or column")
        raise_problems([_without_split(recording, split_by) for recording in recordings if not recording.split])
        return [recording.split or "" for recording in recordings]
    if split_by == "lists":
        if not lists:
            reason = f"has no {' and no '.join(LISTS.values())}"
            raise DataError(Problem(str(path), reason, "set split_by to another way"))
        report_split_rule(f"by {' and '.join(LISTS.values())}; all other recordings are train")
        for name in lists.keys() - {recording.file_name for recording in recordings}:
            report_left_out(f"line of {LISTS[lists[name]]} that names no recording", name)
        return [lists.get(recording.file_name, "train") for recording in recordings]
    if split_by == "hash":
        dev, test = options.dev_percent, options.test_percent
        by_speaker = _is_by_speaker(recordings, whole_speakers=True)
        report_split_rule(f"about {dev:g} % dev and {test:g} % test, {_hash_rule(by_speaker)}")
        return _assign_by_hash(recordings, dev, test, by_speaker)
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


def _check_speaker(recordings: Sequence[Recording], path: Path, test_speaker: str | None) -> None:
    """Raises DataError unless a recording is by this speaker."""
    speakers = sorted({recording.speaker for recording in recordings if recording.speaker})
    if test_speaker not in speakers:
        reason = f"has no speaker '{test_speaker}'" if test_speaker else "needs a test speaker; set test_speaker"
        known = f"speakers: {', '.join(speakers[:20])}" if speakers else "give a pattern with a group 'speaker'"
        raise DataError(Problem(str(path), reason, known))


def _is_by_speaker(recordings: Sequence[Recording], *, whole_speakers: bool) -> bool:
    """Whether a hash decides by speaker: if all are known, and if `whole_speakers` are wanted or there are many."""
    speakers = {recording.speaker for recording in recordings}
    return None not in speakers and (whole_speakers or len(speakers) >= MANY_SPEAKERS)


def _hash_rule(by_speaker: bool) -> str:
    """By what a hash decides, in words."""
    if by_speaker:
        return "by a hash of the speaker"
    return "by a hash of the file's name, so that one speaker may be in several splits"


def _assign_by_hash(
    recordings: Sequence[Recording], dev_percent: float, test_percent: float, by_speaker: bool
) -> list[str]:
    names = [
        (recording.speaker or "") if by_speaker else PurePosixPath(recording.file_name).name for recording in recordings
    ]
    return [split_by_hash(name, dev_percent, test_percent) for name in names]


def _is_within(recording: Recording, bounds: tuple[int, int] | None) -> bool:
    return bounds is not None and recording.index is not None and bounds[0] <= recording.index <= bounds[1]


def _rest(recording: Recording, options: SplitOptions) -> str:
    """The split of a recording that is not test."""
    return "dev" if _is_within(recording, options.dev_index) else "train"


def _read_lists(path: Path) -> Mapping[str, str]:
    """The split of each file that validation_list.txt or testing_list.txt names.

    Raises:
        DataError: both name a file.
    """
    splits: dict[str, str] = {}
    for split, name in LISTS.items():
        if not (path.is_dir() and (path / name).is_file()):
            continue
        for line in readers.lines(path / name, skip_blank=True):
            file_name = str(line.input).strip()
            if splits.get(file_name, split) != split:
                raise DataError(Problem(f"{path / name}", f"{file_name} is in {LISTS[splits[file_name]]} too"))
            splits[file_name] = split
    return splits
