"""MP3, Ogg, AIFF and NIST SPHERE: decoded if they are whole, else refused with the reason."""

from __future__ import annotations

import importlib.util
import io
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqkit_speech import speech
from seqkit_speech.audio import SUFFIXES, decode
from seqkit_speech.containers import FORMATS, format_of, ogg_checksum

from tests.helpers.sound import needs_audio, tone

if importlib.util.find_spec("soundfile") is None:
    pytest.skip("needs the extra `speech`", allow_module_level=True)

RATE = 16000
SOUND = tone(440.0, seconds=1.0, rate=RATE)


def written(form: str, subtype: str, rate: int = RATE, channels: int = 1) -> bytes:
    """A second of a tone, written by libsndfile."""
    import soundfile

    file = io.BytesIO()
    sound = tone(440.0, seconds=1.0, rate=rate)
    soundfile.write(file, np.stack([sound] * channels, axis=1), rate, format=form, subtype=subtype)
    return file.getvalue()


KINDS: dict[str, tuple[str, str, float]] = {
    "clip.wav": ("WAV", "PCM_16", 1e-4),
    "clip.flac": ("FLAC", "PCM_16", 1e-4),
    "clip.mp3": ("MP3", "MPEG_LAYER_III", 0.05),
    "clip.ogg": ("OGG", "VORBIS", 0.05),
    "clip.oga": ("OGG", "VORBIS", 0.05),
    "clip.opus": ("OGG", "OPUS", 0.05),
    "clip.aiff": ("AIFF", "PCM_16", 1e-4),
    "clip.aif": ("AIFF", "PCM_24", 1e-4),
    "clip.aifc": ("AIFF", "FLOAT", 1e-4),
    "alaw.aiff": ("AIFF", "ALAW", 0.02),
    "clip.sph": ("NIST", "PCM_16", 1e-4),
    "timit.WAV": ("NIST", "PCM_16", 1e-4),
    "ulaw.sph": ("NIST", "ULAW", 0.02),
}
COMPRESSED = ["clip.mp3", "clip.ogg", "clip.opus", "clip.aiff", "clip.aifc", "clip.sph"]


def test_every_suffix_is_tried() -> None:
    assert {Path(name).suffix.lower() for name in KINDS} == set(SUFFIXES) == set(FORMATS)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_what_libsndfile_writes_is_read(name: str, channels: int) -> None:
    form, subtype, error = KINDS[name]
    samples, rate = decode(written(form, subtype, channels=channels), name)
    assert rate == RATE
    assert len(samples) == len(SOUND)
    middle = slice(RATE // 10, -RATE // 10)
    assert float(np.sqrt(np.mean((samples - SOUND)[middle] ** 2))) < error


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("clip.mp3", 44100),
        ("clip.mp3", 8000),
        ("clip.mp3", 24000),
        ("clip.ogg", 44100),
        ("clip.opus", 48000),
        ("clip.aiff", 11025),
    ],
)
def test_other_rates(name: str, rate: int) -> None:
    samples, found = decode(written(*KINDS[name][:2], rate=rate), name)
    assert (found, len(samples)) == (rate, rate)


@pytest.mark.parametrize("name", COMPRESSED)
def test_half_a_file_is_refused(name: str) -> None:
    data = written(*KINDS[name][:2])
    for cut in [len(data) - 2, *(len(data) * part // 23 for part in range(1, 23))]:
        with pytest.raises(ValueError, match=r"truncated|damaged|has no|cannot be decoded|begins with"):
            decode(data[:cut], name)


def test_whole_frames_and_pages_that_are_missing_are_noticed() -> None:
    data = written("MP3", "MPEG_LAYER_III")
    last = max(position for position in range(len(data)) if data[position : position + 2] == data[:2])
    with pytest.raises(
        ValueError, match=r"is truncated: it has [0-9]+ frames and .* bytes, but its first frame says [0-9]+ and"
    ):
        decode(data[:last], "clip.mp3")
    data = written("OGG", "VORBIS")
    with pytest.raises(ValueError, match="is truncated: its last page is not marked as the last"):
        decode(data[: data.rindex(b"OggS")], "clip.ogg")
    with pytest.raises(ValueError, match=r"is truncated: its page [0-9]+ goes beyond the end"):
        decode(data[:-1], "clip.ogg")


@pytest.mark.parametrize("name", ["clip.ogg", "clip.opus"])
def test_a_changed_byte_of_ogg_is_noticed_wherever_it_is(name: str) -> None:
    data = written(*KINDS[name][:2])
    for position in range(4, len(data), 37):
        with pytest.raises(ValueError, match=r"."):
            decode(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :], name)


def test_the_checksum_of_ogg_is_the_one_of_the_standard() -> None:
    def slow(page: bytes) -> int:
        register = 0
        for byte in page:
            register ^= byte << 24
            for _ in range(8):
                register = (register << 1 ^ (0x04C11DB7 if register & 0x80000000 else 0)) & 0xFFFFFFFF
        return register

    for page in (b"", b"\0", b"OggS", bytes(range(256)), random.Random(3).randbytes(999)):
        assert ogg_checksum(page) == slow(page)


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"", b"TAG" + bytes(125)),
        (b"ID3\x04\0\0" + bytes([0, 0, 1, 3]) + bytes(131), b""),
        (b"ID3\x03\0\0" + bytes([0, 0, 0, 9]) + bytes(9), b"APETAGEX" + bytes(60)),
        (b"", bytes(500)),
    ],
)
def test_tags_of_mp3_are_no_samples(before: bytes, behind: bytes) -> None:
    samples, _ = decode(before + written("MP3", "MPEG_LAYER_III") + behind, "clip.mp3")
    assert len(samples) == len(SOUND)


def test_a_gap_in_mp3_is_noticed() -> None:
    data = written("MP3", "MPEG_LAYER_III")
    with pytest.raises(ValueError, match=r"is damaged: no frame begins behind its frame [0-9]+, but"):
        decode(data[: len(data) // 2] + data[len(data) // 2 + 7 :], "clip.mp3")


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("clip.wav", "clip.mp3", "is named .wav, but is MP3; rename it"),
        ("clip.mp3", "clip.wav", "is named .mp3, but is WAV; rename it"),
        ("clip.opus", "clip.flac", "is named .opus, but is FLAC; rename it"),
        ("clip.ogg", "clip.aiff", "is named .ogg, but is AIFF; rename it"),
        ("clip.flac", "clip.sph", "is named .flac, but is NIST SPHERE; rename it"),
    ],
)
def test_what_is_not_as_its_name_says_is_refused(name: str, form: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(written(*KINDS[form][:2]), name)
    assert len(decode(written(*KINDS[form][:2]), "clip")[0]) == len(SOUND)


BROKEN: dict[str, tuple[bytes, str]] = {
    "clip.mp3": (b"ID3\x04\0\0" + bytes([0, 0, 0, 4]) + bytes(4), "has no frame of MPEG audio"),
    "tag.mp3": (b"ID3\x04\0", "is truncated: it ends inside of a tag"),
    "clip.ogg": (b"OggS" + bytes(100), "the checksum of its page 1 is wrong"),
    "short.ogg": (b"OggS" + bytes(8), "page 1 goes beyond the end"),
    "clip.aiff": (b"FORM\0\0\0\x04AIFF", "has no COMM chunk"),
    "iff.aiff": (b"FORM\0\0\0\x048SVX", "is named .aiff, but is an IFF file, but not AIFF"),
    "clip.sph": (b"NIST_1A\n   1024\n", "is truncated inside of its header"),
    "packed.sph": (
        b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n".ljust(1024),
        "packed by shorten",
    ),
    "counts.sph": (b"NIST_1A\n   1024\nchannel_count -i 1\nend_head\n".ljust(1024), "has no sample_count"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_the_reason(name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(ValueError, match=message):
        decode(data, name)


@pytest.mark.parametrize("name", COMPRESSED)
def test_mutations_are_decoded_or_refused_but_nothing_else(name: str) -> None:
    data = written(*KINDS[name][:2])
    rng = random.Random(len(name))
    refused = 0
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(min(len(changed), 64) if rng.random() < 0.7 else len(changed))] = rng.randrange(256)
        try:
            samples, _ = decode(bytes(changed), name)
        except ValueError:
            refused += 1
            continue
        assert len(samples) > 0
        assert bool(np.isfinite(samples).all())
    assert refused > 30


def test_sizes_of_aiff_are_compared() -> None:
    data = written("AIFF", "PCM_16")
    position = data.index(b"COMM") + 10
    more = data[:position] + struct.pack(">I", 17000) + data[position + 4 :]
    with pytest.raises(ValueError, match="has 16,000 samples, but its header says 17,000"):
        decode(more, "clip.aiff")
    with pytest.raises(ValueError, match=r"is truncated: its header says .* bytes, but there are"):
        decode(data[:-100], "clip.aiff")


def test_formats_are_known_by_their_bytes() -> None:
    assert {name: format_of(written(*kind[:2])) for name, kind in KINDS.items()} == {
        "clip.wav": "wav", "clip.flac": "flac", "clip.mp3": "mp3", "clip.ogg": "ogg", "clip.oga": "ogg",
        "clip.opus": "ogg", "clip.aiff": "aiff", "clip.aif": "aiff", "clip.aifc": "aiff", "alaw.aiff": "aiff",
        "clip.sph": "nist", "timit.WAV": "nist", "ulaw.sph": "nist",
    }  # fmt: skip
    for data in (b"", b"\xff", b"\xff\xfe\0\0", b"text of a file", b"RIFF....AVI ", bytes(50)):
        assert format_of(data) is None


@needs_audio
@pytest.mark.parametrize("kind", ["folder", "manifest"])
def test_a_damaged_or_missing_recording_is_located(kind: str, tmp_path: Path) -> None:
    """Whatever the format: the error says which file, or which row of a manifest."""
    names = ["clip.mp3", "clip.ogg", "clip.opus", "clip.aiff", "clip.sph", "clip.wav", "clip.flac"]
    rows = ["path,label,split"]
    for split in ("train", "dev", "test"):
        for number, name in enumerate(names):
            data = written(*KINDS[name][:2])
            path = tmp_path / split / "ab"[number % 2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if split != "train" else data[: len(data) // 2])
            rows.append(f"{path.relative_to(tmp_path)},{'ab'[number % 2]},{split}")
    rows.append("train/a/gone.mp3,a,train")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    options: dict[str, Any] = {"path": tmp_path if kind == "folder" else tmp_path / "list.csv", "rate": RATE}
    task = speech(**options)
    problems = {}
    for example in task.read("train"):
        with pytest.raises(ValueError, match=r"truncated|damaged|there is no such file|decoded|has no") as raised:
            task.input.encode(example.input)
        problems[example.id] = str(raised.value)
    assert len(problems) == len(names) + (kind == "manifest")
    for id in problems:
        assert id.startswith(f"{tmp_path}:train/" if kind == "folder" else "list.csv:")
    if kind == "manifest":
        assert problems[f"list.csv:{len(rows)} (train/a/gone.mp3)"] == "is missing: there is no such file"
    assert all(len(task.input.encode(example.input)) == 100 for example in task.read("dev"))
