"""Transcripts in files beside the recordings, as LibriSpeech has them: `19-198-0000 THE TEXT` in `19-198.trans.txt`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from seqkit import DataError, Problem
from seqkit_speech.audio import FileContainer

SUFFIX: Final = ".trans.txt"

_UTTERANCE: Final = re.compile(r"([0-9]+)-[0-9]+-[0-9]+")
"""The name of a recording of LibriSpeech: speaker, chapter, number."""


def read_transcripts(source: FileContainer, names: Sequence[str], root: str) -> dict[str, str]:
    """The text of each recording, by its name without a suffix; empty if there are no such files.

    Args:
        source: the folder or archive.
        names: the files in it.
        root: its name, for messages.

    Raises:
        DataError: a file cannot be read, a line has no text, or a recording has two.
    """
    transcripts: dict[str, str] = {}
    problems: list[Problem] = []
    for name in names:
        if not name.endswith(SUFFIX):
            continue
        try:
            lines = source.read(name).decode("utf-8-sig").replace("\r\n", "\n").split("\n")
        except (OSError, ValueError) as error:
            raise DataError(Problem(f"{root}:{name}", f"cannot be read: {error}")) from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            utterance, _, text = line.strip().partition(" ")
            recording = str(PurePosixPath(name).parent / utterance)
            if not text.strip():
                problems.append(Problem(f"{root}:{name}:{number}", f"{utterance} has no text"))
            elif recording in transcripts:
                problems.append(Problem(f"{root}:{name}:{number}", f"{utterance} has a text already"))
            transcripts[recording] = text.strip()
    if problems:
        raise DataError(problems[:20])
    return transcripts


def speaker_of(stem: str) -> str | None:
    """The speaker in the name of a recording of LibriSpeech; None for other names."""
    match = _UTTERANCE.fullmatch(stem)
    return match[1] if match else None
