"""The task `speech`: which recordings there are, their splits, joined strings, and the synthesiser."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqkit_speech import generator, speech
from seqkit_speech.audio import FileAudio
from seqkit_speech.options import SplitOptions
from seqkit_speech.sources import FSDD, FSDD_PATTERN, SPEECH_COMMANDS_3, Corpus, JoinedStrings, SynthesisedWords
from seqkit_speech.splits import split_by_hash

from seqkit import DataError
from seqkit.reading import Counted, collect_reports
from tests.helpers.data import needs_data
from tests.helpers.sound import needs_audio, write_clips


def clip_names(corpus: Corpus, split: str) -> list[str]:
    return [recording.clip.name for recording in corpus.recordings(split) if isinstance(recording.clip, FileAudio)]


# Which recordings there are


def test_folders_name_labels_and_splits(tmp_path: Path) -> None:
    write_clips(
        tmp_path, "training/yes/a.wav", "training/no/b.wav", "validation/yes/c.wav", "testing/no/d.WAV",
        "training/_background_noise_/hum.wav", "training/yes/.hidden.wav", "training/yes/notes.txt",
    )  # fmt: skip
    corpus = Corpus(tmp_path)
    assert [(recording.label, recording.split) for recording in corpus.recordings("train")] == [
        ("no", "train"),
        ("yes", "train"),
    ]
    assert clip_names(corpus, "dev") == ["validation/yes/c.wav"]
    assert clip_names(corpus, "test") == ["testing/no/d.WAV"]
    assert corpus.recordings("test")[0].id == f"{tmp_path}:testing/no/d.WAV"
    assert corpus.files("dev") == [tmp_path / "validation/yes/c.wav"]


def test_a_label_that_is_called_like_a_split_is_a_label(tmp_path: Path) -> None:
    write_clips(tmp_path, *(f"{word}/{n}_nohash_0.wav" for word in ("train", "test") for n in range(40)))
    recordings = Corpus(tmp_path).recordings("train")
    assert {recording.label for recording in recordings} == {"train", "test"}
    assert {recording.split for recording in recordings} == {None}


def speech_commands_split(filename: str, validation: float, testing: float) -> str:
    """`which_set` of the Speech Commands paper's code (Warden 2018, section 7), as published there."""
    hash_name = re.sub(r"_nohash_.*$", "", os.path.basename(filename))
    percentage = (int(hashlib.sha1(hash_name.encode("utf-8")).hexdigest(), 16) % (2**27 - 1 + 1)) * (
        100.0 / (2**27 - 1)
    )
    if percentage < validation:
        return "dev"
    return "test" if percentage < testing + validation else "train"


def test_the_hash_rule_is_that_of_speech_commands(tmp_path: Path) -> None:
    files = [f"{word}/{n:08x}_nohash_{k}.wav" for word in ("bed", "cat") for n in range(100) for k in range(2)]
    write_clips(tmp_path, *files)
    corpus = Corpus(tmp_path)
    for split in ("train", "dev", "test"):
        assert clip_names(corpus, split) == sorted(
            name for name in files if speech_commands_split(name, 10, 10) == split
        )
    speakers = [{recording.speaker for recording in corpus.recordings(split)} for split in ("train", "dev", "test")]
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]


def test_lists_name_dev_and_test(tmp_path: Path) -> None:
    write_clips(tmp_path, "yes/a.wav", "yes/b.wav", "no/c.wav", "no/d.wav")
    (tmp_path / "validation_list.txt").write_text("yes/b.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/c.wav\r\n")
    corpus = Corpus(tmp_path)
    assert [clip_names(corpus, split) for split in ("train", "dev", "test")] == [
        ["no/d.wav", "yes/a.wav"],
        ["yes/b.wav"],
        ["no/c.wav"],
    ]
    assert tmp_path / "validation_list.txt" in corpus.files("train")
    with pytest.raises(DataError, match=r"has no validation_list\.txt and no testing_list\.txt"):
        Corpus(write_clips(tmp_path / "other", "yes/a.wav"), split_options=SplitOptions(split_by="lists")).recordings(
            "train"
        )


SPEAKERS = ("ann", "bob", "cy")


def numbered_clips(folder: Path) -> Path:
    return write_clips(
        folder, *(f"{word}_{speaker}_{n}.wav" for word in "xy" for speaker in SPEAKERS for n in range(10))
    )


def test_a_pattern_tells_label_speaker_and_index(tmp_path: Path) -> None:
    corpus = Corpus(
        numbered_clips(tmp_path),
        r"(?P<label>[xy])_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav",
        SplitOptions(split_by="index", test_index=(0, 1), dev_index=(2, 3)),
    )
    counts = {
        split: Counter(recording.label for recording in corpus.recordings(split)) for split in ("train", "dev", "test")
    }
    assert counts == {"train": {"x": 18, "y": 18}, "dev": {"x": 6, "y": 6}, "test": {"x": 6, "y": 6}}
    assert {recording.index for recording in corpus.recordings("test")} == {0, 1}
    assert {recording.index for recording in corpus.recordings("dev")} == {2, 3}


def test_a_speaker_is_left_out(tmp_path: Path) -> None:
    pattern = r"(?P<label>[xy])_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav"
    options = SplitOptions(split_by="speaker", dev_index=(0, 1), test_speaker="bob")
    corpus = Corpus(numbered_clips(tmp_path), pattern, options)
    assert {recording.speaker for recording in corpus.recordings("test")} == {"bob"}
    assert len(corpus.recordings("test")) == 20
    assert {recording.speaker for recording in [*corpus.recordings("train"), *corpus.recordings("dev")]} == {
        "ann",
        "cy",
    }
    assert {recording.index for recording in corpus.recordings("dev")} == {0, 1}
    assert Corpus(tmp_path, pattern, SplitOptions(test_speaker="bob")).recordings("test") == corpus.recordings("test")
    with pytest.raises(DataError, match="has no speaker 'dan'; speakers: ann, bob, cy"):
        Corpus(tmp_path, pattern, SplitOptions(split_by="speaker", test_speaker="dan")).recordings("test")


def test_dev_is_taken_from_train_if_no_recording_belongs_to_it(tmp_path: Path) -> None:
    write_clips(tmp_path, *(f"train/yes/{n}.wav" for n in range(60)), "test/yes/t.wav")
    corpus = Corpus(tmp_path)
    assert clip_names(corpus, "test") == ["test/yes/t.wav"]
    assert 1 <= len(clip_names(corpus, "dev")) <= 15
    assert len(clip_names(corpus, "dev")) + len(clip_names(corpus, "train")) == 60
    assert all(split_by_hash(Path(name).name, 10, 0) == "dev" for name in clip_names(corpus, "dev"))


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t")])
def test_a_manifest_names_paths_labels_splits_and_speakers(tmp_path: Path, suffix: str, mark: str) -> None:
    write_clips(tmp_path, "sound/a.wav", "sound/b.wav", "sound/c.wav")
    rows = [
        ["speaker", "path", "label", "split"],
        ["ann", "sound/a.wav", "yes", "train"],
        ["bob", "sound/b.wav", "no", "valid"],
        ["", str(tmp_path / "sound/c.wav"), "yes", "test"],
    ]
    path = tmp_path / f"list.{suffix}"
    path.write_text("\n".join(mark.join(row) for row in rows))
    corpus = Corpus(path)
    (a,), (b,), (c,) = (corpus.recordings(split) for split in ("train", "dev", "test"))
    assert (a.label, a.speaker, b.label, b.speaker, c.speaker) == ("yes", "ann", "no", "bob", None)
    assert a.id == f"list.{suffix}:2 (sound/a.wav)"
    assert corpus.files("test") == [path, tmp_path / "sound/c.wav"]


def test_a_manifest_of_paths_and_labels_is_enough(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{n}.wav,yes\n" for n in range(60)))
    corpus = Corpus(tmp_path / "list.csv", split_options=SplitOptions(split_by="hash"))
    assert sum(len(corpus.recordings(split)) for split in ("train", "dev", "test")) == 60


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    write_clips(
        tmp_path / "in",
        "set/train/yes/a.wav",
        "set/dev/yes/b.wav",
        "set/test/no/c.wav",
        "__MACOSX/set/train/yes/._a.wav",
    )
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*.wav")):
            archive.write(path, path.relative_to(tmp_path / "in"))
    zipped, folder = Corpus(tmp_path / "all.zip"), Corpus(tmp_path / "in")
    for split in ("train", "dev", "test"):
        assert clip_names(zipped, split) == clip_names(folder, split)
    assert zipped.recordings("train")[0].id == "all.zip:set/train/yes/a.wav"
    assert zipped.files("dev") == [tmp_path / "all.zip"]


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({}, "has no recordings"),
        ({"files": ["a.wav"]}, "is in no folder that could be its label; give a pattern"),
        ({"files": ["x_1.wav"], "pattern": r"(?P<label>[a-z]+)\.wav"}, "its name does not match the pattern"),
        ({"files": ["x_z.wav"], "pattern": r"(?P<label>x)_(?P<index>.)\.wav"}, "its index 'z' is not a number"),
        (
            {"files": ["x_z.wav"], "pattern": r"(?P<label>x)_(?P<split>.)\.wav"},
            "'z' is not a split: train, dev or test",
        ),
        ({"files": ["yes/a.wav"], "words": ("yes", "no", "on")}, "no recording is labelled no, on; labels: yes"),
        (
            {"files": ["yes/a.wav"], "split_options": SplitOptions(split_by="folders")},
            "neither its folder nor its name",
        ),
        (
            {"files": ["yes/a.wav"], "split_options": SplitOptions(split_by="index")},
            "its index is not known; give a pattern",
        ),
        ({"files": ["train/yes/a.wav"]}, "none of its 1 recordings is in dev"),
    ],
)
def test_recordings_that_do_not_fit_the_options_are_reported(
    tmp_path: Path, corpus: dict[str, Any], message: str
) -> None:
    write_clips(tmp_path, *corpus.pop("files", []))
    with pytest.raises(DataError, match=re.escape(message)):
        Corpus(tmp_path, **corpus).recordings("train")


def test_a_location_without_recordings_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        Corpus(tmp_path / "missing").recordings("train")
    (tmp_path / "list.txt").write_text("a.wav yes")
    with pytest.raises(DataError, match=r"is not a folder, a \.zip or \.tar archive or a manifest"):
        Corpus(tmp_path / "list.txt").recordings("train")
    (tmp_path / "list.csv").write_text("path,label,split\na.wav,yes,train\nb.wav,,train\nc.wav,no,other\n")
    with pytest.raises(DataError) as raised:
        Corpus(tmp_path / "list.csv").recordings("train")
    assert [problem.where for problem in raised.value.problems] == ["list.csv:3", "list.csv:4"]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    write_clips(tmp_path, *(f"{n}.wav" for n in range(25)))
    with pytest.raises(DataError) as raised:
        Corpus(tmp_path).recordings("train")
    assert len(raised.value.problems) == 21
    assert "and 5 more" in str(raised.value)


def test_named_data_that_is_not_here_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEQKIT_DATA", raising=False)
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"has no address.*github\.com/Jakobovski/free-spoken-digit-dataset"):
        list(speech(source="fsdd").read("train"))
    monkeypatch.setenv("SEQKIT_OFFLINE", "1")
    with pytest.raises(DataError, match=r"speech_commands_v1_3words.*DeadSimpleSpeechRecognizer"):
        list(speech(source="speech-commands-3").read("train"))


@needs_data
def test_the_official_splits_of_the_public_data() -> None:
    digits = Corpus(FSDD, FSDD_PATTERN, SplitOptions(split_by="index"))
    assert [len(digits.recordings(split)) for split in ("train", "dev", "test")] == [2400, 300, 300]
    assert {recording.index for recording in digits.recordings("test")} == set(range(5))
    assert Counter(recording.label for recording in digits.recordings("test")) == dict.fromkeys("0123456789", 30)
    assert len({recording.speaker for recording in digits.recordings("train")}) == 6
    words = Corpus(SPEECH_COMMANDS_3)
    assert [len(words.recordings(split)) for split in ("train", "dev", "test")] == [450, 120, 180]
    for split in ("train", "dev", "test"):
        assert {speech_commands_split(name, 10, 10) for name in clip_names(words, split)} == {split}


# Strings of words and synthesised words


def test_strings_are_made_of_one_speaker_and_one_split() -> None:
    source = SynthesisedWords((120, 48, 48))
    joined = JoinedStrings(source=source, words=(2, 4), sizes=(30, 10, 10), gap_ms=(20.0, 60.0))
    for split in ("train", "dev", "test"):
        clips = {recording.clip for recording in source.recordings(split)}
        strings = joined.recordings(split)
        assert len(strings) == {"train": 30, "dev": 10, "test": 10}[split]
        for string in strings:
            audio: Any = string.clip
            assert set(audio.clips) <= clips
            assert {clip.voice for clip in audio.clips} == {int(string.speaker or "")}
            assert string.label == " ".join(clip.word for clip in audio.clips)
            assert 2 <= len(audio.clips) <= 4
            assert all(0.02 <= gap <= 0.06 for gap in audio.gaps)
    assert [recording.id for recording in joined.recordings("dev")] == [
        recording.id for recording in joined.recordings("dev")
    ]
    assert {len(recording.label.split()) for recording in joined.recordings("train")} == {2, 3, 4}


@needs_audio
def test_a_string_is_its_clips_with_silence_between(tmp_path: Path) -> None:
    write_clips(tmp_path, "train/a/1.wav", "dev/a/1.wav", "test/a/1.wav")
    joined = JoinedStrings(source=Corpus(tmp_path), words=(3, 3), sizes=(1, 1, 1), gap_ms=(100.0, 100.0))
    samples = joined.recordings("train")[0].clip.samples(8000)
    clip = Corpus(tmp_path).recordings("train")[0].clip.samples(8000)
    assert len(samples) == 3 * 800 + 2 * 800
    np.testing.assert_array_equal(samples[:800], clip)
    assert not samples[800:1600].any()
    np.testing.assert_array_equal(samples[1600:2400], clip)
    assert joined.files("train") == Corpus(tmp_path).files("train")


def test_no_voice_is_in_two_splits_and_all_words_are_in_all() -> None:
    source = SynthesisedWords((400, 96, 144))
    splits = {split: source.recordings(split) for split in ("train", "dev", "test")}
    speakers = [{recording.speaker for recording in splits[split]} for split in splits]
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]
    for split, recordings in splits.items():
        assert {recording.label for recording in recordings} == set(generator.WORDS)
        assert len({recording.id for recording in recordings}) == len(recordings), split
    assert len(splits["train"]) == 400


def test_synthesised_words_are_the_same_each_time_and_different_each_take() -> None:
    one = generator.synthesise_word("seven", 3, 0, 8000)
    np.testing.assert_array_equal(one, generator.synthesise_word("seven", 3, 0, 8000))
    other = generator.synthesise_word("seven", 3, 1, 8000)
    assert len(one) != len(other) or not np.array_equal(one, other)
    assert one.dtype == np.float32
    assert bool(np.isfinite(one).all())
    for word in generator.WORDS:
        for voice in (0, 1, 2, 25):
            spoken = generator.synthesise_word(word, voice, 0, 16000)
            assert 0.25 < len(spoken) / 16000 < 1.5
            assert 0.05 < np.abs(spoken).max() <= 1.0


@pytest.mark.parametrize("voice", [0, 1, 2])
def test_vowels_have_the_formants_and_the_pitch_they_are_made_with(voice: int) -> None:
    speaker = generator.Voice.from_number(voice)
    rate = 16000
    phone = generator.Phone((700, 1800, 2600), 600)
    rng = np.random.RandomState(0)
    wave = generator.synthesise((phone,), speaker, rng, rate)[rate // 10 : -rate // 10]
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    hertz = np.fft.rfftfreq(len(wave), 1 / rate)
    # The envelope: power over as many points as lie between two overtones.
    wide = round(1.2 * speaker.pitch / hertz[1])
    envelope = np.convolve(power, np.ones(wide) / wide, "same")
    for formant in (700, 1800):
        near = (hertz > formant / speaker.tract * 0.8) & (hertz < formant / speaker.tract * 1.2)
        peak = hertz[near][envelope[near].argmax()]
        assert peak == pytest.approx(formant / speaker.tract, abs=0.6 * speaker.pitch + 0.12 * formant)
    echo = np.correlate(wave, wave, "full")[len(wave) :]
    low, high = int(rate / (speaker.pitch * 1.5)), int(rate / (speaker.pitch / 1.5))
    assert rate / (low + echo[low:high].argmax()) == pytest.approx(speaker.pitch, rel=0.3)


HEADERS = {
    "plain": "path,label,split,speaker",
    "quoted": '"path","label","split","speaker"',
    "padded": "path, label , split,speaker ",
    "capitalised": "Path,LABEL,Split,Speaker",
    "in another order": "split,speaker,label,path",
    "with more columns": "id,path,label,split,speaker",
}


class TestNothingIsLeftOutInSilence:
    """Manifests, folders and transcripts as users have them: all that is passed over is counted."""

    @staticmethod
    def manifest(folder: Path, header: str, quote: str = "") -> Path:
        """Nine recordings, three in each split."""
        names = [re.sub(r"\W", "", name).casefold() for name in header.split(",")]
        rows = [header]
        for number in range(9):
            values = {
                "path": f"{number}.wav",
                "label": "ab"[number % 2],
                "split": ("train", "valid", "eval")[number % 3],
                "speaker": "ann",
                "id": str(number),
            }
            rows.append(",".join(f"{quote}{values[name]}{quote}" for name in names))
        (folder / "list.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        return folder / "list.csv"

    @pytest.mark.parametrize("header", HEADERS)
    def test_a_header_is_read_however_it_is_written(self, header: str, tmp_path: Path) -> None:
        path = self.manifest(tmp_path, HEADERS[header], '"' if header == "quoted" else "")
        corpus = Corpus(path)
        with collect_reports() as reading:
            sizes = [len(corpus.recordings(split)) for split in ("train", "dev", "test")]
        assert sizes == [3, 3, 3]
        assert {recording.speaker for recording in corpus.recordings("train")} == {"ann"}
        assert reading.split_rules == ["as the data say: by folder, file name or column"]
        assert reading.tables["list.csv"].unused == (("id",) if header == "with more columns" else ())

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("path,label,split,Split", "the header has the column 'split' twice"),
            ('path,label," path"', "the header has the column 'path' twice"),
            (
                "file,label",
                "the header has no column 'path'; its columns are: file, label; `path_column` names the one",
            ),
            ("path,word", "the header has no column 'label'"),
        ],
    )
    def test_a_header_that_is_ambiguous(self, header: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text(header + "\n" + ",".join("x" * len(header.split(","))) + "\n")
        with pytest.raises(DataError, match=re.escape(f"list.csv:1: {message}")):
            Corpus(tmp_path / "list.csv").recordings("train")

    def test_an_empty_cell_does_not_divide_all_others_anew(self, tmp_path: Path) -> None:
        path = self.manifest(tmp_path, "path,label,split")
        path.write_text(path.read_text().replace("3.wav,b,train", "3.wav,b,"))
        with pytest.raises(DataError, match=r"list\.csv:5 \(3\.wav\): its cell for the split is empty; fill it in"):
            Corpus(path).recordings("train")
        by_hash = Corpus(path, split_options=SplitOptions(split_by="hash", dev_percent=30, test_percent=30))
        assert sum(len(by_hash.recordings(split)) for split in ("train", "dev", "test")) == 9

    def test_rows_that_are_damaged_are_all_named(self, tmp_path: Path) -> None:
        path = tmp_path / "list.csv"
        path.write_text("path,label,split\na.wav,x,train\n,x,train\nb.wav,,dev\nc.wav,x\nd.wav,x,maybe\n\n")
        with pytest.raises(DataError) as error:
            Corpus(path).recordings("train")
        assert [str(problem) for problem in error.value.problems] == [
            "list.csv:3: a path or a label is missing",
            "list.csv:4: a path or a label is missing",
            "list.csv:5: has 2 columns, but the header has 3",
            "list.csv:6: 'maybe' is not a split: train, dev or test is expected",
        ]

    def test_files_beside_recordings_are_counted_by_their_suffix(self, tmp_path: Path) -> None:
        write_clips(tmp_path, *(f"{split}/yes/{n}.wav" for split in ("train", "dev", "test") for n in range(2)))
        write_clips(
            tmp_path, "train/_background_noise_/hum.wav", "train/.git/a.wav", "train/yes/.a.wav", "train/no/a.wav"
        )
        for name in ("README.md", "train/yes/a.m4a", "train/yes/b.m4a", "train/yes/LICENSE"):
            (tmp_path / name).write_text("x")
        corpus = Corpus(tmp_path, words=("yes",))
        with collect_reports() as reading:
            assert len(corpus.recordings("train")) == 2
            corpus.recordings("dev")
        # The same things are reported for each split: they are of the whole folder.
        assert {kind: things.count for kind, things in reading.left_out.items()} == {
            "hidden file": 4,
            "recording in _background_noise_": 2,
            "file that is not read as a recording (.md)": 2,
            "file that is not read as a recording (.m4a)": 4,
            "file that is not read as a recording (no suffix)": 2,
            "recording of a word that is not among `words`": 2,
        }
        assert reading.left_out["file that is not read as a recording (.m4a)"].first == "train/yes/a.m4a"

    def test_folders_that_begin_with_an_underscore_are_classes(self, tmp_path: Path) -> None:
        write_clips(tmp_path, *(f"{word}/{n}.wav" for word in ("yes", "_unknown_", "_silence_") for n in range(40)))
        assert {recording.label for recording in Corpus(tmp_path).recordings("train")} == {
            "yes",
            "_unknown_",
            "_silence_",
        }

    def test_links_to_folders(self, tmp_path: Path) -> None:
        write_clips(tmp_path / "data", *(f"{word}/{n}.wav" for word in ("high", "low") for n in range(40)))
        write_clips(tmp_path / "disk", *(f"mid/{n}.wav" for n in range(40)))
        (tmp_path / "disk/mid/back").symlink_to(tmp_path / "disk/mid")
        (tmp_path / "data/mid").symlink_to("../disk/mid")
        (tmp_path / "data/all").symlink_to(".")
        (tmp_path / "data/again").symlink_to("low")
        corpus = Corpus(tmp_path / "data")
        with collect_reports() as reading:
            labels = Counter(recording.label for recording in corpus.recordings("train"))
        assert set(labels) == {"high", "low", "mid"}
        assert reading.left_out["folder that is a link to one that is read already"].count == 3
        assert sum(len(corpus.recordings(split)) for split in ("train", "dev", "test")) == 120

    def test_a_link_to_a_folder_above_is_refused(self, tmp_path: Path) -> None:
        write_clips(tmp_path / "data", "low/a.wav")
        (tmp_path / "data/up").symlink_to(tmp_path)
        with pytest.raises(DataError, match="which the folder itself lies in; remove the link"):
            Corpus(tmp_path / "data").recordings("train")

    def test_lists_in_an_archive_are_read(self, tmp_path: Path) -> None:
        folder = write_clips(tmp_path / "clips", "yes/a.wav", "yes/b.wav", "yes/c.wav")
        (folder / "validation_list.txt").write_text("yes/a.wav\n")
        (folder / "testing_list.txt").write_text("yes/b.wav\n")
        with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder))
        for corpus in (Corpus(folder), Corpus(tmp_path / "clips.zip")):
            names = {split: [r.file_name for r in corpus.recordings(split)] for split in ("train", "dev", "test")}
            assert names == {"train": ["yes/c.wav"], "dev": ["yes/a.wav"], "test": ["yes/b.wav"]}

    def test_lists_that_are_not_used(self, tmp_path: Path) -> None:
        write_clips(tmp_path, *(f"yes/{n}.wav" for n in range(60)))
        (tmp_path / "testing_list.txt").write_text("yes/1.wav\n")
        with collect_reports() as reading:
            Corpus(tmp_path, split_options=SplitOptions(split_by="hash")).recordings("train")
        kind = "list of the recordings of a split, which are split in another way"
        assert reading.left_out == {kind: Counted(1, "testing_list.txt")}

    def test_lists_that_name_recordings_that_are_not_there(self, tmp_path: Path) -> None:
        write_clips(tmp_path, "yes/a.wav", "yes/b.wav", "yes/c.wav")
        (tmp_path / "validation_list.txt").write_text("yes/a.wav\nyes/gone.wav\n\n")
        (tmp_path / "testing_list.txt").write_text("yes/b.wav\n")
        with collect_reports() as reading:
            assert len(Corpus(tmp_path).recordings("train")) == 1
        assert {kind: things.first for kind, things in reading.left_out.items()} == {
            "blank line": "validation_list.txt:3",
            "line of validation_list.txt that names no recording that is read": "validation_list.txt:2",
        }
        (tmp_path / "testing_list.txt").write_text("yes/a.wav\n")
        with pytest.raises(DataError, match=r"yes/a\.wav is in validation_list\.txt too"):
            Corpus(tmp_path).recordings("train")

    @pytest.mark.parametrize(
        ("options", "files", "rule"),
        [
            (
                {},
                ["yes/{n}.wav"],
                "about 10 % dev and 10 % test, by a hash of the file's name, so that one speaker",
            ),
            ({}, ["yes/{n:08x}_nohash_0.wav"], "about 10 % dev and 10 % test, by a hash of the speaker"),
            ({"split_by": "index", "test_index": (0, 9), "dev_index": (10, 19)}, ["yes/{n}.wav"], "by the index of"),
            ({"test_speaker": "s1", "dev_index": (0, 20)}, ["yes/{n}.wav"], "by speaker: all of s1 is test; dev is"),
        ],
    )
    def test_the_rule_is_told(self, options: dict[str, Any], files: list[str], rule: str, tmp_path: Path) -> None:
        write_clips(tmp_path, *(name.format(n=n) for name in files for n in range(60)))
        pattern = None
        if options:
            pattern = r"(?P<index>[0-9]+)\.wav"
        if "test_speaker" in options:
            write_clips(tmp_path, *(f"yes/s{n % 3}_{n}.wav" for n in range(60)))
            pattern = r"((?P<speaker>s[0-9])_)?(?P<index>[0-9]+)\.wav"
        with collect_reports() as reading:
            Corpus(tmp_path, pattern, SplitOptions(**options)).recordings("dev")
        assert reading.split_rules[0].startswith(rule)

    def test_transcripts_of_librispeech(self, tmp_path: Path) -> None:
        for number, part in enumerate(("train-clean-100", "dev-clean", "test-other")):
            folder = f"{part}/{19 + number}/198"
            names = [f"{19 + number}-198-000{n}" for n in range(3)]
            write_clips(tmp_path, *(f"{folder}/{name}.wav" for name in names))
            lines = [f"{name} SO IT IS {n}" for n, name in enumerate(names)]
            (tmp_path / folder / f"{19 + number}-198.trans.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / "SPEAKERS.TXT").write_text("19 | F\n")
        corpus = Corpus(tmp_path, transcripts=True)
        with collect_reports() as reading:
            recordings = corpus.recordings("train")
        assert [recording.label for recording in recordings] == ["SO IT IS 0", "SO IT IS 1", "SO IT IS 2"]
        assert {recording.speaker for recording in recordings} == {"19"}
        assert [len(corpus.recordings(split)) for split in ("dev", "test")] == [3, 3]
        assert list(reading.left_out) == ["file that is not read as a recording (.txt)"]
        # As labels, the folders are taken, and that the transcripts are not used is told.
        with collect_reports() as reading:
            assert {recording.label for recording in Corpus(tmp_path).recordings("train")} == {"198"}
        assert reading.left_out["file that is not read as a recording (.txt)"].count == 4

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ("19-198-0000 A\n", "19-198-0001.wav: has no transcript in a .trans.txt beside it"),
            ("19-198-0000 A\n19-198-0001\n", "19-198.trans.txt:2: 19-198-0001 has no text"),
            ("19-198-0000 A\n19-198-0000 B\n", "19-198.trans.txt:2: 19-198-0000 has a text already"),
        ],
    )
    def test_transcripts_that_do_not_fit(self, lines: str, message: str, tmp_path: Path) -> None:
        write_clips(tmp_path, "19/198/19-198-0000.wav", "19/198/19-198-0001.wav")
        (tmp_path / "19/198/19-198.trans.txt").write_text(lines)
        with pytest.raises(DataError, match=re.escape(message)):
            Corpus(tmp_path, transcripts=True).recordings("train")

    def test_a_transcript_without_a_recording_is_counted(self, tmp_path: Path) -> None:
        write_clips(tmp_path, *(f"19/198/19-198-000{n}.wav" for n in range(3)))
        lines = [f"19-198-000{n} A" for n in range(5)]
        (tmp_path / "19/198/19-198.trans.txt").write_text("\n".join(lines))
        with collect_reports() as reading:
            assert len(Corpus(tmp_path, transcripts=True).all_recordings()) == 3
        assert reading.left_out["transcript of a recording that is not there"].count == 2
