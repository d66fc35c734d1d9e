"""Who speaks in an example: the unit by which models of speech are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from seqkit import DataError
from seqkit.reading import collect_reports
from seqkit_speech.sources import Corpus, JoinedStrings, Recordings
from seqkit_speech.splits import NOHASH
from seqkit_speech.transcripts import speaker_of

_VOICE: Final = re.compile(r", voice ([0-9]+), take [0-9]+")
_STRING: Final = re.compile(r"[a-z]+ string [0-9]+: ")
_PLACE: Final = re.compile(r"^.*:")
"""What stands before the names of files in the ids of joined strings and of recordings in a folder or an archive."""


class Speakers:
    """Who speaks in an example, by its id. Only where a manifest says who, the manifest is read.

    Args:
        recordings: those of the task.
    """

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        source = recordings.source if isinstance(recordings, JoinedStrings) else recordings
        self._corpus = source if isinstance(source, Corpus) else None

    def __call__(self, id: str) -> str | None:
        """The speaker; None where it is not known."""
        if (voice := _VOICE.search(id)) is not None:
            return voice[1]
        if (named := self._in_manifests.get(id)) is not None:
            return named
        string = _STRING.match(id)
        name = id[string.end() :].partition(", ")[0] if string else _PLACE.sub("", id)
        try:
            pattern = self._corpus.names if self._corpus is not None else None
            speaker = pattern.groups(name).get("speaker") if pattern is not None else None
        except ValueError:  # an id of another file, which the pattern is not for
            speaker = None
        file_name = PurePosixPath(name).name
        if speaker is None and NOHASH.search(file_name):
            speaker = NOHASH.sub("", file_name)
        return speaker or speaker_of(PurePosixPath(name).stem)

    @cached_property
    def _in_manifests(self) -> Mapping[str, str]:
        """By id, what manifests say; nothing if there are none, or they are not where they were."""
        if self._corpus is None or not self._corpus.is_in_manifests:
            return {}
        try:
            with collect_reports():
                everyone = [one for split in self._corpus.splits for one in self._recordings.recordings(split)]
        except DataError:
            return {}
        return {recording.id: recording.speaker for recording in everyone if recording.speaker}
