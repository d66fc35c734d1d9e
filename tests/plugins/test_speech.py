"""The task `speech`: which recordings there are, how sound becomes frames, augmentation, the synthesiser."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from seqkit_speech import formants, speech
from seqkit_speech.audio import Clip, Folder, resample
from seqkit_speech.corpus import Corpus, Rule, hashed
from seqkit_speech.datasets import FSDD, FSDD_PATTERN, SPEECH_COMMANDS_3
from seqkit_speech.speaking import Joined, Synthesised
from seqkit_speech.waveform import Augment, View, Waveform
from torch import Tensor

from seqkit import DataError, Label, MissingExtra, Text, UsageError
from seqkit.cli import main
from seqkit.data.store import prepare
from seqkit.testing import TaskConformance


def loads(name: str) -> bool:
    """Whether a library of the extra is here and works: torchaudio fails to load beside another torch than its own."""
    done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True)
    return done.returncode == 0


audio = pytest.mark.skipif(not (loads("torchaudio") and loads("soundfile")), reason="needs the extra `speech`")
real = pytest.mark.skipif("SEQKIT_DATA" not in os.environ, reason="SEQKIT_DATA names no folder of real data")


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    """16 bits, mono: the plainest WAV file."""
    data = np.round(samples * 32767).astype("<i2").tobytes()
    head = b"WAVEfmt " + np.array([16], "<u4").tobytes() + np.array([1, 1], "<u2").tobytes()
    head += np.array([rate, 2 * rate], "<u4").tobytes() + np.array([2, 16], "<u2").tobytes()
    body = head + b"data" + np.array([len(data)], "<u4").tobytes() + data
    return b"RIFF" + np.array([len(body)], "<u4").tobytes() + body


def tone(hertz: float, seconds: float = 0.1, rate: int = 8000) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(tone(300 + 10 * number)))
    return folder


def names(corpus: Corpus, split: str) -> list[str]:
    return [each.clip.name for each in corpus.recordings(split) if isinstance(each.clip, Clip)]


# Which recordings there are


def test_folders_name_labels_and_splits(tmp_path: Path) -> None:
    write(
        tmp_path, "training/yes/a.wav", "training/no/b.wav", "validation/yes/c.wav", "testing/no/d.WAV",
        "training/_background_noise_/hum.wav", "training/yes/.hidden.wav", "training/yes/notes.txt",
    )  # fmt: skip
    corpus = Corpus(tmp_path)
    assert [(each.label, each.split) for each in corpus.recordings("train")] == [("no", "train"), ("yes", "train")]
    assert names(corpus, "dev") == ["validation/yes/c.wav"]
    assert names(corpus, "test") == ["testing/no/d.WAV"]
    assert corpus.recordings("test")[0].id == f"{tmp_path}:testing/no/d.WAV"
    assert corpus.files("dev") == [tmp_path / "validation/yes/c.wav"]


def test_a_label_that_is_called_like_a_split_is_a_label(tmp_path: Path) -> None:
    write(tmp_path, *(f"{word}/{n}_nohash_0.wav" for word in ("train", "test") for n in range(40)))
    found = Corpus(tmp_path).recordings("train")
    assert {each.label for each in found} == {"train", "test"}
    assert {each.split for each in found} == {None}


def wardens_rule(filename: str, validation: float, testing: float) -> str:
    """`which_set` of the Speech Commands paper's code (Warden 2018, section 7), in its own words."""
    hash_name = re.sub(r"_nohash_.*$", "", os.path.basename(filename))
    percentage = (int(hashlib.sha1(hash_name.encode("utf-8")).hexdigest(), 16) % (2**27 - 1 + 1)) * (
        100.0 / (2**27 - 1)
    )
    if percentage < validation:
        return "dev"
    return "test" if percentage < testing + validation else "train"


def test_the_hash_rule_is_that_of_speech_commands(tmp_path: Path) -> None:
    files = [f"{word}/{n:08x}_nohash_{k}.wav" for word in ("bed", "cat") for n in range(100) for k in range(2)]
    write(tmp_path, *files)
    corpus = Corpus(tmp_path)
    for split in ("train", "dev", "test"):
        assert names(corpus, split) == sorted(name for name in files if wardens_rule(name, 10, 10) == split)
    people = [{each.speaker for each in corpus.recordings(split)} for split in ("train", "dev", "test")]
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]


def test_lists_name_dev_and_test(tmp_path: Path) -> None:
    write(tmp_path, "yes/a.wav", "yes/b.wav", "no/c.wav", "no/d.wav")
    (tmp_path / "validation_list.txt").write_text("yes/b.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/c.wav\r\n")
    corpus = Corpus(tmp_path)
    assert [names(corpus, split) for split in ("train", "dev", "test")] == [
        ["no/d.wav", "yes/a.wav"],
        ["yes/b.wav"],
        ["no/c.wav"],
    ]
    assert tmp_path / "validation_list.txt" in corpus.files("train")
    with pytest.raises(DataError, match=r"has no validation_list\.txt and no testing_list\.txt"):
        Corpus(write(tmp_path / "other", "yes/a.wav"), rule=Rule("lists")).recordings("train")


def numbered_clips(folder: Path) -> Path:
    return write(folder, *(f"{word}_{who}_{n}.wav" for word in "xy" for who in ("ann", "bob", "cy") for n in range(10)))


def test_a_pattern_tells_label_speaker_and_index(tmp_path: Path) -> None:
    corpus = Corpus(
        numbered_clips(tmp_path),
        r"(?P<label>[xy])_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav",
        Rule("index", (0, 1), (2, 3)),
    )
    counts = {split: Counter(each.label for each in corpus.recordings(split)) for split in ("train", "dev", "test")}
    assert counts == {"train": {"x": 18, "y": 18}, "dev": {"x": 6, "y": 6}, "test": {"x": 6, "y": 6}}
    assert {each.index for each in corpus.recordings("test")} == {0, 1}
    assert {each.index for each in corpus.recordings("dev")} == {2, 3}


def test_a_speaker_is_left_out(tmp_path: Path) -> None:
    pattern = r"(?P<label>[xy])_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav"
    corpus = Corpus(numbered_clips(tmp_path), pattern, Rule("speaker", dev_index=(0, 1), test_speaker="bob"))
    assert {each.speaker for each in corpus.recordings("test")} == {"bob"}
    assert len(corpus.recordings("test")) == 20
    assert {each.speaker for each in [*corpus.recordings("train"), *corpus.recordings("dev")]} == {"ann", "cy"}
    assert {each.index for each in corpus.recordings("dev")} == {0, 1}
    assert Corpus(tmp_path, pattern, Rule(test_speaker="bob")).recordings("test") == corpus.recordings("test")
    with pytest.raises(DataError, match="has no speaker 'dan'; speakers: ann, bob, cy"):
        Corpus(tmp_path, pattern, Rule("speaker", test_speaker="dan")).recordings("test")
    with pytest.raises(DataError, match="which speaker is test_speaker"):
        Corpus(tmp_path, pattern, Rule("speaker")).recordings("test")


def test_dev_is_taken_from_train_where_nothing_says_what_it_is(tmp_path: Path) -> None:
    write(tmp_path, *(f"train/yes/{n}.wav" for n in range(60)), "test/yes/t.wav")
    corpus = Corpus(tmp_path)
    assert names(corpus, "test") == ["test/yes/t.wav"]
    assert 1 <= len(names(corpus, "dev")) <= 15
    assert len(names(corpus, "dev")) + len(names(corpus, "train")) == 60
    assert all(hashed(Path(name).name, 10, 0) == "dev" for name in names(corpus, "dev"))


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t")])
def test_a_manifest_names_paths_labels_splits_and_speakers(tmp_path: Path, suffix: str, mark: str) -> None:
    write(tmp_path, "sound/a.wav", "sound/b.wav", "sound/c.wav")
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
    corpus = Corpus(tmp_path / "list.csv", rule=Rule("hash"))
    assert sum(len(corpus.recordings(split)) for split in ("train", "dev", "test")) == 60


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    write(
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
        assert names(zipped, split) == names(folder, split)
    assert zipped.recordings("train")[0].id == "all.zip:set/train/yes/a.wav"
    assert zipped.files("dev") == [tmp_path / "all.zip"]


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({}, "has no recordings"),
        ({"files": ["a.wav"]}, "lies in no folder that could name its label; give a pattern"),
        ({"files": ["x_1.wav"], "pattern": r"(?P<label>[a-z]+)\.wav"}, "its name does not match the pattern"),
        ({"files": ["x_z.wav"], "pattern": r"(?P<label>x)_(?P<index>.)\.wav"}, "its index 'z' is no number"),
        ({"files": ["x_z.wav"], "pattern": r"(?P<label>x)_(?P<split>.)\.wav"}, "'z' is no split"),
        ({"files": ["yes/a.wav"], "words": ("yes", "no", "on")}, "no recording is labelled no, on; labels: yes"),
        ({"files": ["yes/a.wav"], "rule": Rule("folders")}, "neither folder nor name says its split"),
        ({"files": ["yes/a.wav"], "rule": Rule("index")}, "its index is not known; give a pattern"),
        ({"files": ["train/yes/a.wav"]}, "none of its 1 recordings is in dev"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, corpus: dict[str, Any], message: str) -> None:
    write(tmp_path, *corpus.pop("files", []))
    with pytest.raises(DataError, match=re.escape(message)):
        Corpus(tmp_path, **corpus).recordings("train")


def test_places_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        Corpus(tmp_path / "missing").recordings("train")
    (tmp_path / "list.txt").write_text("a.wav yes")
    with pytest.raises(DataError, match=r"is no folder, no \.zip and no manifest"):
        Corpus(tmp_path / "list.txt").recordings("train")
    (tmp_path / "list.csv").write_text("path,label,split\na.wav,yes,train\nb.wav,,train\nc.wav,no,other\n")
    with pytest.raises(DataError) as refused:
        Corpus(tmp_path / "list.csv").recordings("train")
    assert [problem.where for problem in refused.value.problems] == ["list.csv:3", "list.csv:4"]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n}.wav" for n in range(25)))
    with pytest.raises(DataError) as refused:
        Corpus(tmp_path).recordings("train")
    assert len(refused.value.problems) == 21
    assert "and 5 more" in str(refused.value)


def test_named_data_that_is_not_here_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEQKIT_DATA", raising=False)
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"has no address.*github\.com/Jakobovski/free-spoken-digit-dataset"):
        list(speech(source="fsdd").read("train"))
    monkeypatch.setenv("SEQKIT_OFFLINE", "1")
    with pytest.raises(DataError, match=r"speech_commands_v1_3words.*DeadSimpleSpeechRecognizer"):
        list(speech(source="speech-commands-3").read("train"))


@real
def test_the_official_splits_of_the_public_data() -> None:
    digits = Corpus(FSDD, FSDD_PATTERN, Rule("index"))
    assert [len(digits.recordings(split)) for split in ("train", "dev", "test")] == [2400, 300, 300]
    assert {each.index for each in digits.recordings("test")} == set(range(5))
    assert Counter(each.label for each in digits.recordings("test")) == dict.fromkeys("0123456789", 30)
    assert len({each.speaker for each in digits.recordings("train")}) == 6
    words = Corpus(SPEECH_COMMANDS_3)
    assert [len(words.recordings(split)) for split in ("train", "dev", "test")] == [450, 120, 180]
    for split in ("train", "dev", "test"):
        assert {wardens_rule(name, 10, 10) for name in names(words, split)} == {split}


# Strings of words and synthesised words


def test_strings_are_made_of_one_speaker_and_one_split() -> None:
    parts = Synthesised((120, 48, 48))
    joined = Joined(parts, (2, 4), (30, 10, 10), (20.0, 60.0))
    for split in ("train", "dev", "test"):
        mine = {each.clip for each in parts.recordings(split)}
        found = joined.recordings(split)
        assert len(found) == {"train": 30, "dev": 10, "test": 10}[split]
        for each in found:
            chain: Any = each.clip
            assert set(chain.clips) <= mine
            assert {clip.voice for clip in chain.clips} == {int(each.speaker or "")}
            assert each.label == " ".join(clip.word for clip in chain.clips)
            assert 2 <= len(chain.clips) <= 4
            assert all(0.02 <= gap <= 0.06 for gap in chain.gaps)
    assert [each.id for each in joined.recordings("dev")] == [each.id for each in joined.recordings("dev")]
    assert {len(each.label.split()) for each in joined.recordings("train")} == {2, 3, 4}


@audio
def test_a_string_is_its_clips_with_silence_between(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.wav", "dev/a/1.wav", "test/a/1.wav")
    joined = Joined(Corpus(tmp_path), (3, 3), (1, 1, 1), (100.0, 100.0))
    samples = joined.recordings("train")[0].clip.samples(8000)
    clip = Corpus(tmp_path).recordings("train")[0].clip.samples(8000)
    assert len(samples) == 3 * 800 + 2 * 800
    np.testing.assert_array_equal(samples[:800], clip)
    assert not samples[800:1600].any()
    np.testing.assert_array_equal(samples[1600:2400], clip)
    assert joined.files("train") == Corpus(tmp_path).files("train")


def test_no_voice_is_in_two_splits_and_all_words_are_in_all() -> None:
    parts = Synthesised((400, 96, 144))
    found = {split: parts.recordings(split) for split in ("train", "dev", "test")}
    people = [{each.speaker for each in found[split]} for split in found]
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]
    for split, recordings in found.items():
        assert {each.label for each in recordings} == set(formants.WORDS)
        assert len({each.id for each in recordings}) == len(recordings), split
    assert len(found["train"]) == 400


def test_synthesised_words_are_the_same_each_time_and_different_each_take() -> None:
    one = formants.utterance("seven", 3, 0, 8000)
    np.testing.assert_array_equal(one, formants.utterance("seven", 3, 0, 8000))
    other = formants.utterance("seven", 3, 1, 8000)
    assert len(one) != len(other) or not np.array_equal(one, other)
    assert one.dtype == np.float32
    assert bool(np.isfinite(one).all())
    for word in formants.WORDS:
        for voice in (0, 1, 2, 25):
            spoken = formants.utterance(word, voice, 0, 16000)
            assert 0.25 < len(spoken) / 16000 < 1.5
            assert 0.05 < np.abs(spoken).max() <= 1.0


@pytest.mark.parametrize("voice", [0, 1, 2])
def test_vowels_have_the_formants_and_the_pitch_they_are_made_with(voice: int) -> None:
    who = formants.Voice.number(voice)
    rate = 16000
    sound = formants.Sound((700, 1800, 2600), 600)
    rng = np.random.RandomState(0)
    wave = formants.speak((sound,), who, rng, rate)[rate // 10 : -rate // 10]
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    hertz = np.fft.rfftfreq(len(wave), 1 / rate)
    # The envelope: power over as many points as lie between two overtones.
    wide = round(1.2 * who.pitch / hertz[1])
    envelope = np.convolve(power, np.ones(wide) / wide, "same")
    for formant in (700, 1800):
        near = (hertz > formant / who.tract * 0.8) & (hertz < formant / who.tract * 1.2)
        peak = hertz[near][envelope[near].argmax()]
        assert peak == pytest.approx(formant / who.tract, abs=0.6 * who.pitch + 0.12 * formant)
    echo = np.correlate(wave, wave, "full")[len(wave) :]
    low, high = int(rate / (who.pitch * 1.5)), int(rate / (who.pitch / 1.5))
    assert rate / (low + echo[low:high].argmax()) == pytest.approx(who.pitch, rel=0.3)


# Sound as a field


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=700))
def test_samples_are_stored_bit_for_bit_in_rows_of_a_hop(whole: list[int]) -> None:
    samples = np.array(whole, dtype=np.float32) / 32768
    sound = Waveform(8000)
    rows = sound.encode(samples)
    assert rows.shape == (-(-len(whole) // 80), 80)
    assert rows.dtype == np.int16
    assert rows.reshape(-1)[: len(whole)].tolist() == whole
    assert not rows.reshape(-1)[len(whole) :].any()
    np.testing.assert_array_equal(sound.decode(rows)[: len(whole)], samples)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(0), "has no samples"),
        (np.array([0.0, np.nan]), "no finite number"),
        (np.array([0.0, 1.5]), "goes up to 1.5"),
        (np.zeros((2, 3)), "has shape (2, 3)"),
        ("a.wav", "should be (N,) samples"),
    ],
)
def test_what_is_no_sound_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Waveform(8000).encode(value)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(hop_ms=30.0), "hop_ms 30 must be above 0 and at most window_ms 25"),
        (View(features="mfcc", bands=10), "coefficients 13 cannot be more than bands 10"),
        (View(low_hz=5000.0), "low_hz 5000 must be below half of the rate, 4000"),
        (View(features="mfcc", filters=(8,)), "coefficients of mfcc are no neighbours"),
        (View(hop_ms=0.01, window_ms=0.01), "hop_ms 0.01 must be above 0"),
    ],
)
def test_views_that_cannot_be_are_refused(view: View, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Waveform(8000, view=view)


def test_a_line_of_predict_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, "a.wav"))
    clip = Waveform(8000).parse(" a.wav\n")
    assert clip.source.read(clip.name) == (tmp_path / "a.wav").read_bytes()
    with pytest.raises(ValueError, match="is empty"):
        Waveform(8000).parse("  ")


# The front end

VIEWS = {
    "log-mel": View(),
    "mfcc": View(features="mfcc", coefficients=12),
    "deltas": View(bands=20, deltas=2),
    "stacked": View(stack=3, deltas=1),
    "convolved": View(filters=(4, 6), deltas=1, bands=21, stack=2),
    "training": View(normalise="training"),
    "plain": View(normalise="none", window_ms=32.0, hop_ms=8.0),
}
RATE = 8000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(size=round(seconds * RATE)) * 0.1 + tone(440, seconds, RATE), -1, 1).astype(np.float32)


CLIPS = [noise(0.31, 1), noise(0.005, 2), noise(0.12, 3), np.zeros(900, dtype=np.float32)]


def layer_of(view: View, dim: int = 7, augment: Augment | None = None) -> tuple[Waveform, Any]:
    sound = Waveform(RATE, view=view, augment=augment or Augment()).fit(CLIPS)
    torch.manual_seed(5)
    return sound, sound.layer(dim)


def padded(sound: Waveform, clips: list[np.ndarray], *, extra: int = 0, fill: int = 0) -> tuple[Tensor, Tensor]:
    rows = [sound.encode(clip) for clip in clips]
    x = torch.full((len(rows), max(map(len, rows)) + extra, rows[0].shape[1]), fill)
    for row, values in zip(x, rows, strict=True):
        row[: len(values)] = torch.from_numpy(values.astype(np.int64))
    return x, torch.tensor([len(row) for row in rows])


@audio
@pytest.mark.parametrize("name", VIEWS)
def test_a_clip_has_the_same_frames_alone_and_in_a_batch(name: str) -> None:
    sound, layer = layer_of(VIEWS[name])
    layer.eval()
    x, lengths = padded(sound, CLIPS, extra=13, fill=12345)  # what stands in the padding is nobody's business
    steps, counts = layer(x, lengths)
    frames, _ = layer.frames(x, lengths)
    assert counts.tolist() == [-(-int(length) // VIEWS[name].stack) for length in lengths]
    for row, clip in enumerate(CLIPS):
        alone, count = layer(*padded(sound, [clip]))
        torch.testing.assert_close(steps[row : row + 1, : int(count)], alone, rtol=0, atol=1e-6)
        assert not steps[row, int(count) :].any()
        alone_frames, _ = layer.frames(*padded(sound, [clip]))
        torch.testing.assert_close(frames[row : row + 1, : alone_frames.shape[1]], alone_frames, rtol=0, atol=2e-6)


@audio
@pytest.mark.parametrize("filters", [(), (3, 5)])
def test_no_frame_sees_what_comes_after_it(filters: tuple[int, ...]) -> None:
    sound, layer = layer_of(View(normalise="none", filters=filters))
    layer.eval()
    x, lengths = padded(sound, [CLIPS[0]])
    before, _ = layer(x, lengths)
    x[:, 20:] = 7
    after, _ = layer(x, lengths)
    torch.testing.assert_close(before[:, :20], after[:, :20], rtol=0, atol=0)
    assert not torch.equal(before[:, 20], after[:, 20])


def test_convolutions_are_their_definition() -> None:
    from seqkit_speech.convolving import Convolutions

    torch.manual_seed(3)
    module = Convolutions(2, 5, [3])
    frames = torch.randn(2, 4, 10)
    layer: Any = module.layers[0]
    weight, bias = layer.weight.detach(), torch.randn(3)
    layer.bias.data = bias
    found = module(frames)
    assert found.shape == (2, 4, View(bands=5, deltas=1, filters=(3,)).size)
    for clip, frame, filter_ in itertools.product(range(2), range(4), range(3)):
        answers = []
        for band in range(5):
            answer = float(bias[filter_])
            for plane, back, beside in itertools.product(range(2), range(3), (-1, 0, 1)):
                if frame - back >= 0 and 0 <= band + beside < 5:
                    value = frames[clip, frame - back, plane * 5 + band + beside]
                    answer += float(weight[filter_, plane, 2 - back, 1 + beside] * value)
            answers.append(max(answer, 0.0))
        wanted = [max(answers[0:2]), max(answers[2:4]), answers[4]]
        torch.testing.assert_close(found[clip, frame, filter_ * 3 : filter_ * 3 + 3], torch.tensor(wanted))


def log_mel_by_hand(samples: np.ndarray, view: View, points: int) -> np.ndarray:
    """A log-mel spectrogram from its definition: one frame at a time, one triangle at a time (O'Shaughnessy's mel)."""
    window, hop = view.samples(RATE)
    steps = -(-len(samples) // hop)
    silent = np.concatenate([np.zeros(window), samples, np.zeros(steps * hop - len(samples))])
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)

    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    edges = 700 * (10 ** (np.linspace(mel(view.low_hz), mel(RATE / 2), view.bands + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, points // 2 + 1)
    rows = []
    for step in range(steps):
        end = window + (step + 1) * hop
        power = np.abs(np.fft.rfft(silent[end - window : end] * taper, points)) ** 2
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            triangle = np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clip(min=0)
            row.append(np.log(triangle @ power + 1e-6))
        rows.append(row)
    return np.array(rows)


@audio
@pytest.mark.parametrize(
    "view", [View(normalise="none"), View(normalise="none", bands=26, window_ms=32, hop_ms=16, low_hz=80)]
)
def test_log_mel_is_its_definition(view: View) -> None:
    sound, layer = layer_of(view)
    for clip in CLIPS[:3]:
        frames, _ = layer.eval().frames(*padded(sound, [clip]))
        whole = sound.encode(clip).reshape(-1)[: len(clip)] / 32768
        wanted = log_mel_by_hand(whole, view, layer.spectra.points)
        np.testing.assert_allclose(frames[0].numpy(), wanted, atol=2e-3)


@audio
def test_mfcc_is_the_cosine_transform_of_log_mel() -> None:
    from scipy.fft import dct

    clip = [CLIPS[0]]
    plain, cepstra = (
        layer_of(View(normalise="none")),
        layer_of(View(normalise="none", features="mfcc", coefficients=15)),
    )
    bands, _ = plain[1].eval().frames(*padded(plain[0], clip))
    found, _ = cepstra[1].eval().frames(*padded(cepstra[0], clip))
    wanted = dct(bands[0].numpy(), norm="ortho", axis=1)[:, :15]
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-4)


@audio
def test_deltas_are_torchaudios_for_a_clip_without_padding() -> None:
    import torchaudio

    sound, layer = layer_of(View(deltas=2, bands=15))
    frames, _ = layer.eval().frames(*padded(sound, [CLIPS[0]]))
    base, slope, second = frames.split(15, dim=2)
    wanted = torchaudio.functional.compute_deltas(base.transpose(1, 2))
    torch.testing.assert_close(slope, wanted.transpose(1, 2))
    torch.testing.assert_close(second, torchaudio.functional.compute_deltas(wanted).transpose(1, 2))


@audio
def test_a_clip_is_normalised_over_its_own_frames() -> None:
    sound, layer = layer_of(View(bands=20))
    x, lengths = padded(sound, CLIPS, extra=9)
    frames, _ = layer.eval().frames(x, lengths)
    for row in (0, 2):
        real = frames[row, : int(lengths[row])].double()
        torch.testing.assert_close(real.mean(dim=0), torch.zeros(20, dtype=torch.float64), atol=1e-6, rtol=0)
        torch.testing.assert_close(
            real.std(dim=0, correction=0), torch.ones(20, dtype=torch.float64), atol=1e-5, rtol=0
        )
    assert not frames[3].any()  # silence stays silence


@audio
def test_the_training_data_normalises_if_asked() -> None:
    sound, layer = layer_of(View(normalise="training", bands=20))
    x, lengths = padded(sound, CLIPS)
    frames, _ = layer.eval().frames(x, lengths)
    real = torch.cat([row[: int(length)] for row, length in zip(frames, lengths, strict=True)])
    torch.testing.assert_close(real.mean(dim=0), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(real.std(dim=0, correction=0), torch.ones(20), atol=1e-4, rtol=0)
    again = Waveform(RATE, view=sound.view).restore(json.loads(json.dumps(sound.state())))
    assert again == sound
    assert {"mean", "deviation"} <= set(layer.state_dict())
    assert Waveform(RATE).fit(CLIPS) == Waveform(RATE)


@audio
def test_the_saved_front_end_brings_its_own_window_and_bands() -> None:
    _, layer = layer_of(View(features="mfcc"))
    assert {name.rpartition(".")[2] for name in layer.state_dict()} >= {"window", "fb", "dct", "weight", "bias"}


@audio
@pytest.mark.parametrize(("bands", "rate"), [(80, 8000), (128, 16000), (64, 48000)])
def test_every_band_hears_something(bands: int, rate: int) -> None:
    layer: Any = Waveform(rate, view=View(bands=bands)).layer(4)
    assert bool((layer.spectra.mel.mel_scale.fb.amax(dim=0) > 0).all())


@audio
def test_more_bands_than_the_rate_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="bands: 3000 are too many"):
        Waveform(8000, view=View(bands=3000)).layer(4)


@audio
def test_autocast_leaves_the_spectra_in_single_precision() -> None:
    sound, layer = layer_of(View())
    x, lengths = padded(sound, [CLIPS[0]])
    wanted, _ = layer.eval().frames(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        steps, _ = layer(x, lengths)
        assert steps.dtype == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            torch.testing.assert_close(layer.frames(x, lengths)[0], wanted)


# Augmentation

EVERYTHING = Augment(shift_ms=30.0, speed=0.2, noise_db=(5.0, 20.0), time_masks=2, time_mask_ms=50.0, band_masks=2)


@audio
def test_augmentation_is_for_training_only() -> None:
    sound, layer = layer_of(View(), augment=EVERYTHING)
    _, plain = layer_of(View())
    plain.load_state_dict(layer.state_dict())
    x, lengths = padded(sound, CLIPS)
    torch.testing.assert_close(layer.eval()(x, lengths)[0], plain.eval()(x, lengths)[0], rtol=0, atol=0)
    assert layer.augment.drawn == 0
    assert not torch.equal(layer.train()(x, lengths)[0], layer(x, lengths)[0])
    assert layer.augment.drawn == 2


@audio
def test_augmentation_goes_on_where_a_saved_model_stopped() -> None:
    sound, first = layer_of(View(), augment=EVERYTHING)
    x, lengths = padded(sound, CLIPS)
    first.train()
    for _ in range(3):
        first(x, lengths)
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    wanted = [first(x, lengths)[0] for _ in range(3)]
    torch.manual_seed(999)
    second = sound.layer(7).train()
    second.load_state_dict(saved)
    for each in wanted:
        torch.rand(5)  # others draw from torch's generator in between
        torch.testing.assert_close(second(x, lengths)[0], each, rtol=0, atol=0)


@audio
def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    sound, first = layer_of(View(), augment=EVERYTHING)
    _, again = layer_of(View(), augment=EVERYTHING)
    torch.manual_seed(6)
    other = sound.layer(7)
    assert first.augment.seed == again.augment.seed != other.augment.seed


@audio
def test_a_shift_moves_samples_and_fills_up_with_silence() -> None:
    sound, layer = layer_of(View(), augment=Augment(shift_ms=20.0))
    x, lengths = padded(sound, [CLIPS[0]] * 40)
    layer.augment.begin(True)
    rows = x.float() / 32768
    moved, counts = layer.augment.sound(rows, lengths)
    assert torch.equal(counts, lengths)
    wave = rows[0].reshape(-1)
    shifts = set()
    for row in moved.reshape(40, -1):
        found = [s for s in range(-160, 161) if torch.equal(row, shifted(wave, s))]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 20
    assert min(shifts) < -60 < 60 < max(shifts)


def shifted(wave: Tensor, by: int) -> Tensor:
    out = torch.zeros_like(wave)
    if by >= 0:
        out[by:] = wave[: len(wave) - by]
    else:
        out[:by] = wave[-by:]
    return out


@audio
def test_speed_changes_length_and_pitch_together() -> None:
    sound, layer = layer_of(View(), augment=Augment(speed=0.2))
    x, lengths = padded(sound, [tone(500, 0.4).astype(np.float32), tone(500, 0.2).astype(np.float32)] * 10)
    layer.augment.begin(True)
    moved, counts = layer.augment.sound(x.float() / 32768, lengths)
    assert len(set(counts.tolist())) > 5
    for row, count, before in zip(moved, counts, lengths, strict=True):
        assert 0.8 - 0.03 <= int(before) / int(count) <= 1.2 + 0.03
        wave = row.reshape(-1)[: int(count) * 80].numpy()
        peak = np.fft.rfftfreq(8192, 1 / RATE)[np.abs(np.fft.rfft(wave, 8192)).argmax()]
        assert peak == pytest.approx(500 * int(before) / int(count), rel=0.04)
        assert not row[int(count) :].any()


@audio
def test_noise_has_the_ratio_asked_for_and_stays_inside_the_clip() -> None:
    sound, layer = layer_of(View(), augment=Augment(noise_db=(10.0, 10.0)))
    x, lengths = padded(sound, [tone(500, 2.0).astype(np.float32), tone(300, 1.0).astype(np.float32)], extra=20)
    rows = x.float() / 32768
    layer.augment.begin(True)
    noisy, _ = layer.augment.sound(rows, lengths)
    for before, after, length in zip(rows, noisy, lengths.tolist(), strict=True):
        added = (after - before)[:length]
        ratio = 10 * torch.log10(before[:length].square().mean() / added.square().mean())
        assert float(ratio) == pytest.approx(10.0, abs=0.3)
        assert not after[length:].any()


@audio
def test_masks_hide_blocks_of_frames_and_bands_and_leave_most() -> None:
    _, layer = layer_of(View(deltas=1), augment=Augment(time_masks=2, time_mask_ms=100.0, band_masks=1, band_mask=8))
    lengths = torch.tensor([100, 30, 5, 1])
    frames = torch.ones(4, 100, 80)
    widths: set[int] = set()
    for _ in range(100):
        layer.augment.begin(True)
        masked = layer.augment.spectra(frames, lengths, base=40)
        for row, length in zip(masked, lengths.tolist(), strict=True):
            hidden_bands = (row == 0).all(dim=0)
            assert torch.equal(hidden_bands[:40], hidden_bands[40:])
            assert int(hidden_bands[:40].sum()) <= 8
            hidden = (row == 0).all(dim=1)
            assert not hidden[length:].any()
            assert int(hidden.sum()) <= 2 * min(10, length * 0.2)
            widths.add(int(hidden.sum()))
    assert len(widths) > 10


@audio
def test_each_clip_is_augmented_in_its_own_way() -> None:
    sound, layer = layer_of(View(normalise="none"), augment=Augment(shift_ms=50.0))
    steps, _ = layer.train()(*padded(sound, [CLIPS[0]] * 6))
    assert len({tuple(row.flatten().tolist()) for row in steps}) == 6


# The task


def test_the_default_is_offline_and_needs_no_library() -> None:
    code = (
        "import sys; from seqkit_speech import speech; task = speech(); example = next(iter(task.read('train')));"
        "rows = task.input.encode(example.input); print(rows.shape[1], example.target, task.head);"
        "assert not {'torch', 'torchaudio', 'soundfile'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["80", "zero", "classify"], done.stderr


@pytest.mark.parametrize("library", ["soundfile", "torchaudio"])
def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    clip = Clip(Folder(write(tmp_path, "a.wav")), "a.wav")
    needs = {"soundfile": lambda: clip.samples(8000), "torchaudio": lambda: Waveform(8000).layer(4)}
    with pytest.raises(MissingExtra, match=r'pip install "seqkit\[speech\]"'):
        needs[library]()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"join": (2, 3)}, "join makes strings of words: it needs target: text"),
        ({"join": (3, 2), "target": "text"}, "join: 3 comes after 2"),
        ({"noise_db": (20.0, 5.0)}, "noise_db: 20 comes after 5"),
        ({"words": ("zero", "eleven")}, "eleven cannot be synthesised"),
        ({"pattern": "("}, "is no regular expression"),
        ({"pattern": "(?P<word>x)"}, "has the group 'word'"),
        ({"pattern": "x"}, "has no named group"),
        ({"best": "wer"}, "wer is no score of this task; it has accuracy, macro_f1"),
        ({"best": "accuracy", "target": "text"}, "accuracy is no score of this task; it has wer"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        speech(**options)


def test_targets_heads_and_scores() -> None:
    words, strings = speech(), speech(target="text", join=(2, 4))
    assert (type(words.target), words.head, words.best) == (Label, "classify", "accuracy")
    assert (type(strings.target), strings.head, strings.best) == (Text, "ctc", "wer")
    assert speech(target="text", unit="characters").best == "cer"
    assert speech(max_seconds=1.5).limit is not None
    assert (speech(source="fsdd").input.rate, speech(path=Path("x")).input.rate) == (8000, 16000)  # type: ignore[attr-defined]


@audio
def test_bad_files_are_all_named_or_left_out_and_counted(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "clips", *(f"{split}/yes/{n}.wav" for split in ("train", "dev", "test") for n in range(4))
    )
    (folder / "train/yes/1.wav").write_bytes(b"")
    (folder / "train/yes/2.wav").write_bytes((folder / "train/yes/0.wav").read_bytes()[:300])
    (folder / "test/yes/3.wav").write_bytes(b"<html>")
    with pytest.raises(DataError) as refused:
        prepare(speech(path=folder, rate=8000), key=1, cache=tmp_path / "cache")
    told = str(refused.value).split("\n")
    assert len(told) == 3
    assert told[0] == f"{folder}:train/yes/1.wav: input is empty"
    assert told[1].startswith(f"{folder}:train/yes/2.wav: input is truncated")
    assert told[2] == f"{folder}:test/yes/3.wav: input is named .wav, but is a web page or XML"
    task = speech(path=folder, rate=8000, bad_files="quarantine", normalise="training")
    kept = prepare(task, key=1, cache=tmp_path / "cache")
    assert [len(kept.splits[split]) for split in ("train", "dev", "test")] == [2, 4, 3]
    report = kept.splits["train"].report
    assert report.quarantined == 2
    assert any("2 examples left out" in line for line in report.lines())
    assert any("train/yes/1.wav: input is empty" in line for line in report.lines())
    assert kept.splits["train"].ids[1].endswith("3.wav")
    for split in ("train", "dev"):
        shutil.rmtree(folder / split)
        write(folder, f"{split}/yes/0.wav")
    for path in (folder / "dev/yes").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="dev"):
        prepare(task, key=2, cache=tmp_path / "cache")


@audio
def test_a_file_that_a_manifest_names_and_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "a.wav")
    rows = ["path,label,split", "a.wav,yes,train", "b.wav,yes,train", "a.wav,yes,dev", "a.wav,yes,test"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"list\.csv:3 \(b\.wav\): input there is no such file"):
        prepare(speech(path=tmp_path / "list.csv", rate=8000), key=1, cache=tmp_path / "cache")


TINY = """
seed: 2
tasks:
  words: {{use: speech, sizes: [96, 24, 24], words: [yes, no, six], stack: 3, bands: 20, speed: 0.1, time_masks: 1,
          normalise: training}}
encoder: {{use: gru, dim: 24, hidden: 24, bidirectional: true}}
train: {{epochs: {epochs}, batch: 8, optimizer: {{use: adamw, lr: 0.01}}}}
"""


def seqkit(*arguments: str) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


@audio
def test_a_recipe_trains_predicts_from_paths_and_repeats_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(TINY.format(epochs=6))
    seqkit("run", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "one"), "--quiet")
    scores = json.loads((tmp_path / "one/metrics.json").read_text())
    assert scores["words/test/accuracy"] >= 0.7
    seqkit("run", str(tmp_path / "one/resolved.yaml"), "--out", str(tmp_path / "two"), "--quiet")
    assert json.loads((tmp_path / "two/metrics.json").read_text()) == scores
    paths = []
    for word in ("yes", "no", "six"):
        paths.append(tmp_path / f"{word}.wav")
        paths[-1].write_bytes(wav(resample(formants.utterance(word, 1, 0, 8000), 8000, 22050), 22050))
    (tmp_path / "paths.txt").write_text("".join(f"{path}\n" for path in paths))
    lines = seqkit("predict", str(tmp_path / "one"), str(tmp_path / "paths.txt")).splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == ["yes", "no", "six"]


STRINGS = """
tasks:
  digits: {use: speech, target: text, join: [1, 2], joined: [24, 8, 8], words: [yes, six], sizes: [32, 16, 16]}
encoder: {use: gru, dim: 16, hidden: 16, bidirectional: true}
train: {epochs: 2, batch: 8, optimizer: {use: adamw, lr: 0.01}}
"""


@audio
def test_strings_of_words_go_through_ctc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "strings.yaml").write_text(STRINGS)
    seqkit("run", str(tmp_path / "strings.yaml"), "--out", str(tmp_path / "run"), "--quiet")
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"digits/test/wer", "digits/test/exact", "digits/dev/loss"} <= set(scores)
    line = json.loads(seqkit("evaluate", str(tmp_path / "run"), "--split", "dev", "--json"))
    assert line["digits/dev/wer"] == scores["digits/dev/wer"]


@audio
class TestWords(TaskConformance):
    task = "speech"
    options: ClassVar = {"sizes": [24, 12, 12], "bands": 20, "deltas": 1, "stack": 2, "speed": 0.1, "time_masks": 1}


@audio
class TestStrings(TaskConformance):
    task = "speech"
    options: ClassVar = {"sizes": [24, 12, 12], "target": "text", "join": [1, 2], "joined": [12, 6, 6], "bands": 20}


@audio
class TestStringsByBeam(TaskConformance):
    task = "speech"
    options = TestStrings.options
    head: ClassVar = {"use": "ctc", "search": "beam", "beams": 4}
