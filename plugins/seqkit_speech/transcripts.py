"""Transcripts in files beside the recordings.

LibriSpeech has a line for each recording of a folder, `19-198-0000 THE TEXT` in `19-198.trans.txt`. TIMIT has files for
each recording: `SA1.TXT` with its text, `SA1.PHN` and `SA1.WRD` with a line for each phone or word, all of them behind
the samples where they begin and end. Others have the text alone in such a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, final

from seqkit import DataError, Problem
from seqkit.reading import report_changed, report_left_out, report_remark
from seqkit_speech.audio import FileContainer

LISTED: Final = ".trans.txt"
"""Files with a line for each recording of their folder."""
BESIDE: Final = ".txt"
"""Files for one recording each, which are looked for if nothing else is asked for."""

_UTTERANCE: Final = re.compile(r"([0-9]+)-[0-9]+-[0-9]+")
"""The name of a recording of LibriSpeech: speaker, chapter, number."""
_TIMES: Final = re.compile(r"([0-9]+)[ \t]+([0-9]+)[ \t]+(\S.*)")
"""A line of TIMIT: first sample, last sample, text."""
_SHORTEST_TIME: Final = 1000
"""Samples: two numbers at the beginning of each line are times only if the recording has this many or more."""


@final
@dataclass(frozen=True)
class Transcripts:
    """The texts of recordings.

    Attributes:
        ending: of the files that have them.
        texts: by the path of a recording without its suffix, each with the place where it is.
        files: the files that were read.
    """

    ending: str
    texts: dict[str, tuple[str, str]]
    files: frozenset[str]

    def take(self, recording: PurePosixPath) -> str:
        """The text of a recording. Raises ValueError if it has none."""
        text = self.texts.pop(str(recording.with_suffix("")), None)
        if text is None:
            place = f"in a {LISTED}" if self.ending == LISTED else f"in a file {recording.stem}{self.ending}"
            raise ValueError(f"has no transcript {place} beside it")
        return text[0]

    def report_rest(self) -> None:
        """Report the texts that were not taken."""
        for _, where in self.texts.values():
            report_left_out("transcript of a recording that is not there", where)


def read_transcripts(
    source: FileContainer, names: Sequence[str], recordings: Iterable[str], root: str, ending: str | None = None
) -> Transcripts | None:
    """The texts of recordings; None if there are no files with them and none are asked for.

    Args:
        source: the folder or archive.
        names: the files in it.
        recordings: those of them that are recordings.
        root: its name, for messages.
        ending: of the files with texts, in any case. None: `.trans.txt` if there are such files, else `.txt` if a
            recording has one beside it, which is reported.

    Raises:
        DataError: a file cannot be read, a line has no text, a recording has two, or there are no files with the
            ending that was asked for.
    """
    if ending is not None:
        ending = f".{ending.lstrip('.')}"
    if ending in (None, LISTED) and any(name.casefold().endswith(LISTED) for name in names):
        return _listed(source, [name for name in names if name.casefold().endswith(LISTED)], root)
    stems = {str(PurePosixPath(name).with_suffix("")) for name in recordings}
    wanted = ending or BESIDE
    beside = [name for name in names if name.casefold().endswith(wanted.casefold()) and name[: -len(wanted)] in stems]
    if not beside:
        if ending is None:
            return None
        others = sorted({PurePosixPath(name).suffix for name in names if PurePosixPath(name).suffix})[:10]
        hint = f"endings of its files: {', '.join(others)}" if others else ""
        raise DataError(Problem(root, f"has no transcripts: no file {ending} is beside a recording", hint))
    if ending is None:
        message = f"texts are read from the file {wanted} beside each recording"
        report_remark(f"{message}; `transcripts` names another ending")
    texts: dict[str, tuple[str, str]] = {}
    problems: list[Problem] = []
    for name in beside:
        try:
            texts[name[: -len(wanted)]] = _text_of_file(read_lines(source, name, root), name, wanted), name
        except ValueError as error:
            problems.append(Problem(f"{root}:{name}", str(error)))
    if problems:
        raise DataError(problems[:20])
    return Transcripts(wanted, texts, frozenset(beside))


def _listed(source: FileContainer, files: Sequence[str], root: str) -> Transcripts:
    """The texts of files that have a line for each recording of their folder."""
    texts: dict[str, tuple[str, str]] = {}
    problems: list[Problem] = []
    for name in files:
        for number, line in read_lines(source, name, root):
            utterance, _, text = line.partition(" ")
            recording = str(PurePosixPath(name).parent / utterance)
            if not text.strip():
                problems.append(Problem(f"{root}:{name}:{number}", f"{utterance} has no text"))
            elif recording in texts:
                problems.append(Problem(f"{root}:{name}:{number}", f"{utterance} has a text already"))
            texts[recording] = text.strip(), f"{name}:{number}"
    if problems:
        raise DataError(problems[:20])
    return Transcripts(LISTED, texts, frozenset(files))


def read_lines(source: FileContainer, name: str, root: str) -> list[tuple[int, str]]:
    """The lines of a small file of text that are not blank, each with its number; blank ones are reported.

    Args:
        source: the folder or archive.
        name: the file in it.
        root: the name of the folder or archive, for messages.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        text = source.read(name).decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise DataError(Problem(f"{root}:{name}", f"cannot be read: {error}")) from None
    lines = []
    for number, line in enumerate(text.split("\n") if text else (), 1):
        if line.strip():
            lines.append((number, line.strip()))
        else:
            report_left_out("blank line", f"{name}:{number}")
    return lines


def _text_of_file(lines: Sequence[tuple[int, str]], name: str, ending: str) -> str:
    """The text of a file, in one line; times at the beginning of all of its lines are removed and reported.

    Raises:
        ValueError: it has no text.
    """
    if not lines:
        raise ValueError("has no text")
    matches = [match for _, line in lines if (match := _TIMES.fullmatch(line))]
    if len(matches) == len(lines):
        starts, ends = ([int(match[group]) for match in matches] for group in (1, 2))
        ordered = all(start <= end for start, end in zip(starts, ends, strict=True)) and starts == sorted(starts)
        if ordered and max(ends) >= _SHORTEST_TIME and (ending.casefold() != BESIDE or starts[0] == 0):
            report_changed(f"transcript ({ending}) whose first and last samples are removed", name)
            return " ".join(match[3].strip() for match in matches)
    return " ".join(line for _, line in lines)


def speaker_of(stem: str) -> str | None:
    """The speaker in the name of a recording of LibriSpeech; None for other names."""
    match = _UTTERANCE.fullmatch(stem)
    return match[1] if match else None
