"""Who speaks is known from the id of an example: models of speech are compared by speaker."""

from __future__ import annotations

from pathlib import Path

import pytest
from seqkit_speech import speech
from seqkit_speech.options import SplitOptions
from seqkit_speech.sources import (
    FSDD,
    FSDD_PATTERN,
    SPEECH_COMMANDS_3,
    Corpus,
    JoinedStrings,
    Recordings,
    SynthesisedWords,
)
from seqkit_speech.speakers import Speakers

from tests.helpers.data import needs_data
from tests.helpers.sound import write_clips


def joined(source: Recordings) -> JoinedStrings:
    return JoinedStrings(source=source, words=(2, 3), sizes=(30, 4, 4), gap_ms=(10.0, 20.0))


def named(folder: Path) -> Corpus:
    write_clips(folder, *(f"{word}/{word}_{who}.wav" for word in ("yes", "no") for who in "abcdefgh"))
    return Corpus(folder, r"(?P<label>[a-z]+)_(?P<speaker>[a-z])\.wav")


def listed(folder: Path) -> Corpus:
    """A manifest has the speakers, and the names of the files do not."""
    names = [f"clips/{number}, and more.wav" for number in range(40)]
    write_clips(folder, *names)
    rows = [f'"{name}",{"yes" if number % 2 else "no"},s{number // 2}' for number, name in enumerate(names)]
    (folder / "all.csv").write_text("\n".join(["path,label,speaker", *rows]) + "\n")
    return Corpus(folder / "all.csv")


def unlisted(folder: Path) -> Corpus:
    write_clips(folder, *(f"yes/{number}.wav" for number in range(40)))
    return Corpus(folder)


def fsdd(folder: Path) -> Corpus:
    return Corpus(FSDD, FSDD_PATTERN, SplitOptions(split_by="index"))


@pytest.mark.parametrize(
    "source",
    [
        lambda folder: SynthesisedWords((90, 30, 30)),
        lambda folder: joined(SynthesisedWords((90, 30, 30))),
        named,
        lambda folder: joined(named(folder)),
        listed,
        lambda folder: joined(listed(folder)),
        unlisted,
        pytest.param(
            lambda folder: Corpus(FSDD, FSDD_PATTERN, SplitOptions(split_by="index")),
            marks=[needs_data, pytest.mark.data],
        ),
        pytest.param(lambda folder: joined(Corpus(SPEECH_COMMANDS_3)), marks=[needs_data, pytest.mark.data]),
    ],
)
def test_the_speaker_of_an_id_is_that_of_the_recording(source: object, tmp_path: Path) -> None:
    recordings = source(tmp_path)  # type: ignore[operator]
    speaker_of_id = Speakers(recordings)
    for recording in recordings.recordings("train"):
        assert speaker_of_id(recording.id) == recording.speaker, recording.id


def test_the_task_declares_its_speakers() -> None:
    unit = speech().unit
    assert unit is not None
    assert unit[0] == "speaker"
    assert unit[1]("test: cat, voice 7, take 2") == "7"


def test_a_manifest_that_is_gone_leaves_speakers_unknown(tmp_path: Path) -> None:
    corpus = listed(tmp_path)
    (tmp_path / "all.csv").unlink()
    assert Speakers(corpus)("all.csv:3 (clips/2.wav)") is None
