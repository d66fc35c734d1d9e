"""Reading audio: good and broken files, mutations of them, and malicious archives."""

from __future__ import annotations

import io
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqkit import DataError

soundfile = pytest.importorskip("soundfile")

from seqkit_speech import audio  # noqa: E402
from seqkit_speech.archive import Archive  # noqa: E402
from seqkit_speech.audio import FileAudio, Folder, decode, resample, scale_to_full_scale, sinc_resample  # noqa: E402

from seqkit.reading import collect_reports  # noqa: E402

PCM, ADPCM, FLOAT, ALAW, MULAW, IMA, MP3, EXTENSIBLE = 1, 2, 3, 6, 7, 0x11, 0x55, 0xFFFE
GUID = bytes.fromhex("000000001000800000aa00389b71")
SINE = np.sin(np.arange(400) * 0.1) * 0.5


def chunk(name: bytes, body: bytes, *, pad: bool = True) -> bytes:
    return name + struct.pack("<I", len(body)) + body + (b"\0" if pad and len(body) % 2 else b"")


def fmt(tag: int = PCM, channels: int = 1, rate: int = 16000, bits: int = 16, block: int | None = None) -> bytes:
    block = channels * bits // 8 if block is None else block
    return struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block % 2**16, bits)


def extended(tag: int, bits: int = 16, tail: bytes = GUID) -> bytes:
    return fmt(EXTENSIBLE, bits=bits) + struct.pack("<HHIH", 22, bits, 4, tag) + tail


def riff(*chunks: bytes, size: int | None = None, magic: bytes = b"RIFF", kind: bytes = b"WAVE") -> bytes:
    body = kind + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def pcm(samples: np.ndarray = SINE, bits: int = 16) -> bytes:
    """Samples as integers of this size, in bytes."""
    integers = np.round(samples * (2 ** (bits - 1) - 1)).astype(np.int64)
    if bits == 8:
        return (integers + 128).astype(np.uint8).tobytes()
    return integers.astype("<i4").reshape(-1, 1).view(np.uint8)[:, : bits // 8].tobytes()


def wav(samples: np.ndarray = SINE, **options: int) -> bytes:
    bits = options.get("bits", 16)
    return riff(chunk(b"fmt ", fmt(**options)), chunk(b"data", pcm(samples, bits)))


def floating(samples: np.ndarray, bits: int = 32) -> bytes:
    return riff(chunk(b"fmt ", fmt(FLOAT, bits=bits)), chunk(b"data", samples.astype(f"<f{bits // 8}").tobytes()))


def flac(samples: np.ndarray = SINE, rate: int = 16000, subtype: str = "PCM_16") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="FLAC", subtype=subtype)
    return out.getvalue()


def poisoned(value: float) -> np.ndarray:
    samples = SINE.copy()
    samples[17] = value
    return samples


def mulaw_by_the_book(code: int) -> float:
    """ITU-T G.711, as a fraction of full scale."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return (-magnitude if code & 0x80 else magnitude) / 32768


CODES = np.arange(256, dtype=np.uint8)
STEREO = np.stack([SINE, -SINE / 2], axis=1)

GOOD: dict[str, tuple[bytes, np.ndarray, int]] = {
    "16 bits": (wav(), SINE, 16000),
    "8 bits": (wav(bits=8), SINE, 16000),
    "24 bits": (wav(bits=24), SINE, 16000),
    "32 bits": (wav(bits=32), SINE, 16000),
    "float": (floating(SINE), SINE, 16000),
    "double": (floating(SINE, 64), SINE, 16000),
    "8 kHz": (wav(rate=8000), SINE, 8000),
    "96 kHz": (wav(rate=96000), SINE, 96000),
    "stereo": (wav(STEREO.reshape(-1), channels=2), STEREO.mean(axis=1), 16000),
    "mu-law": (
        riff(chunk(b"fmt ", fmt(MULAW, bits=8)), chunk(b"data", CODES.tobytes())),
        np.array([mulaw_by_the_book(int(code)) for code in CODES]),
        16000,
    ),
    "extensible": (riff(chunk(b"fmt ", extended(PCM)), chunk(b"data", pcm())), SINE, 16000),
    "extensible float": (
        riff(chunk(b"fmt ", extended(FLOAT, 32)), chunk(b"data", SINE.astype("<f4").tobytes())),
        SINE,
        16000,
    ),
    "a length as pipes write it": (
        riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), size=0xFFFFFFFF),
        SINE,
        16000,
    ),
    "no length": (riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), size=0), SINE, 16000),
    "a length that is too small": (riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), size=100), SINE, 16000),
    "other chunks": (
        riff(chunk(b"LIST", b"abc"), chunk(b"fmt ", fmt()), chunk(b"fact", b"1234"), chunk(b"data", pcm())),
        SINE,
        16000,
    ),
    "odd length": (wav(SINE[:333], bits=8), SINE[:333], 16000),
    "odd length without its padding": (
        riff(chunk(b"fmt ", fmt(bits=8)), chunk(b"data", pcm(SINE[:333], 8), pad=False)),
        SINE[:333],
        16000,
    ),
    "silence": (wav(np.zeros(50)), np.zeros(50), 16000),
    "one sample": (wav(SINE[3:4]), SINE[3:4], 16000),
    "a tag behind it": (wav() + b"TAG" + b"x" * 125, SINE, 16000),
    "zeros behind it": (wav() + bytes(500), SINE, 16000),
    "FLAC": (flac(), SINE, 16000),
    "FLAC of 24 bits": (flac(SINE, 44100, "PCM_24"), SINE, 44100),
    "stereo FLAC": (flac(STEREO, 8000), STEREO.mean(axis=1), 8000),
}

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "three bytes": (b"RIF", "begins with the bytes 52 49 46"),
    "a web page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "zeros": (bytes(1000), "begins with zeros"),
    "a zip": (b"PK\x03\x04" + bytes(100), "is a zip archive"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    "FLAC under another name": (flac(), "is named .wav, but is FLAC"),
    "MP3 under another name": (b"ID3\x04" + bytes(100), "is MP3"),
    "big-endian": (riff(chunk(b"fmt ", fmt()), magic=b"RIFX"), "is big-endian RIFX"),
    "RF64": (riff(chunk(b"fmt ", fmt()), magic=b"RF64"), "is RF64"),
    "RIFF of another kind": (riff(chunk(b"fmt ", fmt()), kind=b"AVI "), "is a damaged RIFF file"),
    "half of it": (wav()[:400], "is truncated: its header says 844 bytes, but there are 400"),
    "all but two bytes": (wav()[:-2], "is truncated"),
    "the header alone": (wav()[:44], "is truncated"),
    "half of the header": (wav()[:20], "is truncated"),
    "a size that is too large": (riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), size=10_000), "is truncated"),
    "a data chunk that is too large": (
        riff(chunk(b"fmt ", fmt()), b"data" + struct.pack("<I", 100_000) + pcm()),
        "its chunk 'data' goes 99,200 bytes beyond the end",
    ),
    "sizes that are too small": (
        riff(chunk(b"fmt ", fmt()), b"data" + struct.pack("<I", 200) + pcm(), size=36 + 200),
        "has 600 bytes behind the end",
    ),
    "never finished": (
        riff(chunk(b"fmt ", fmt()), b"data" + struct.pack("<I", 0xFFFFFFFF) + pcm(), size=0xFFFFFFFF),
        "was never finished",
    ),
    "never begun": (
        riff(chunk(b"fmt ", fmt()), b"data" + struct.pack("<I", 900) + pcm(), size=0),
        "was never finished",
    ),
    "no samples": (riff(chunk(b"fmt ", fmt()), chunk(b"data", b"")), "has no samples"),
    "no data": (riff(chunk(b"fmt ", fmt())), "has no data chunk"),
    "no format": (riff(chunk(b"data", pcm())), "has no fmt chunk before its samples"),
    "format after the data": (riff(chunk(b"data", pcm()), chunk(b"fmt ", fmt())), "has no fmt chunk before"),
    "two formats": (riff(chunk(b"fmt ", fmt()), chunk(b"fmt ", fmt()), chunk(b"data", pcm())), "has two fmt chunks"),
    "two datas": (riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), chunk(b"data", pcm())), "has two data chunks"),
    "a short format": (riff(chunk(b"fmt ", fmt()[:10]), chunk(b"data", pcm())), "has a fmt chunk of 10 bytes"),
    "no channel": (riff(chunk(b"fmt ", fmt(channels=0)), chunk(b"data", pcm())), "has 0 channels"),
    "too many channels": (riff(chunk(b"fmt ", fmt(channels=9999)), chunk(b"data", pcm())), "has 9999 channels"),
    "0 Hz": (wav(rate=0), "has a rate of 0 Hz"),
    "4 GHz": (wav(rate=4_000_000_000), "has a rate of 4,000,000,000 Hz"),
    "12 bits": (riff(chunk(b"fmt ", fmt(bits=12, block=2)), chunk(b"data", pcm())), "has 12 bits a sample"),
    "a wrong size of blocks": (
        riff(chunk(b"fmt ", fmt(block=3)), chunk(b"data", pcm())),
        "blocks of 3 bytes for 1 channels",
    ),
    "half a sample": (riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()[:-1])), "ends inside a sample"),
    "ADPCM": (riff(chunk(b"fmt ", fmt(ADPCM, bits=4, block=256)), chunk(b"data", bytes(512))), "holds Microsoft ADPCM"),
    "IMA ADPCM": (riff(chunk(b"fmt ", fmt(IMA, bits=4, block=256)), chunk(b"data", bytes(512))), "holds IMA ADPCM"),
    "MP3 in WAV": (riff(chunk(b"fmt ", fmt(MP3, bits=16)), chunk(b"data", bytes(512))), "holds MP3"),
    "an unknown kind": (riff(chunk(b"fmt ", fmt(0x1234)), chunk(b"data", bytes(512))), "sound of format 0x1234"),
    "extensible of an unknown kind": (
        riff(chunk(b"fmt ", extended(PCM, tail=bytes(14))), chunk(b"data", pcm())),
        "EXTENSIBLE with a sub-format that is not supported",
    ),
    "NaN": (floating(poisoned(float("nan"))), "sample 18 is nan"),
    "infinity": (floating(poisoned(float("-inf"))), "sample 18 is -inf"),
    "integers as floats": (floating(SINE * 32767), "but full scale is 1"),
}

BAD_FLAC: dict[str, tuple[bytes, str]] = {
    "WAV under another name": (wav(), "is named .flac, but is WAV"),
    "half of it": (flac()[: len(flac()) // 2], "."),
    "its header": (flac()[:42], "."),
    "its magic": (b"fLaC", "has no STREAMINFO"),
    "another MD5": (
        flac()[:30] + bytes([flac()[30] ^ 1]) + flac()[31:],
        "the MD5 of its samples is not the one in its header",
    ),
    "another length": (flac()[:25] + bytes([flac()[25] ^ 8]) + flac()[26:], "."),
}


@pytest.mark.parametrize("name", ["clip", "clip.caf", "clip.m4a", "clip.mp3"])
def test_other_audio_is_refused_with_what_is_read_and_how_to_convert_it(name: str) -> None:
    message = (
        r"begins with the bytes 63 61 66 66 .*; WAV, FLAC, MP3, Ogg \(Vorbis, Opus\), AIFF and NIST SPHERE are read: "
        r"convert .* ffmpeg"
    )
    with pytest.raises(ValueError, match=message):
        decode(b"caff" + bytes(100), name)


def test_no_refusal_has_the_address_of_an_object() -> None:
    for data in (flac()[: len(flac()) // 2], flac()[:60] + bytes(200), b"fLaC" + bytes(60)):
        with pytest.raises(ValueError, match=r".") as refusal:
            decode(data, "clip.flac")
        assert "object at" not in str(refusal.value)


@pytest.mark.parametrize("name", GOOD)
def test_sound_files_are_decoded(name: str) -> None:
    data, expected, expected_rate = GOOD[name]
    samples, rate = decode(data, "clip.flac" if "FLAC" in name else "clip.wav")
    assert rate == expected_rate
    assert samples.dtype == np.float32
    coarse = 2**-6 if name in ("8 bits", "odd length", "odd length without its padding") else 2**-14
    np.testing.assert_allclose(samples, expected, atol=coarse)


@pytest.mark.parametrize("name", BAD)
def test_broken_files_are_refused_with_the_reason(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(ValueError) as raised:
        decode(data, "clip.wav")
    assert reason in str(raised.value)


@pytest.mark.parametrize("name", BAD_FLAC)
def test_broken_flac_is_refused_with_the_reason(name: str) -> None:
    data, reason = BAD_FLAC[name]
    with pytest.raises(ValueError) as raised:
        decode(data, "clip.flac")
    assert reason in str(raised.value)


def test_there_are_as_many_broken_files_as_promised() -> None:
    assert len(BAD) + len(BAD_FLAC) >= 30


def test_samples_of_16_bits_come_back_bit_for_bit() -> None:
    integers = np.array([-32768, -1, 0, 1, 32767], dtype="<i2")
    samples, _ = decode(riff(chunk(b"fmt ", fmt()), chunk(b"data", integers.tobytes())))
    np.testing.assert_array_equal(samples * 32768, integers)


def mutations(data: bytes, count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    mutated = []
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            kind, index = rng.random(), rng.randrange(min(len(changed), 64) if rng.random() < 0.8 else len(changed))
            if kind < 0.6:
                changed[index] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            elif kind < 0.8:
                del changed[index : index + rng.randint(1, 8)]
            else:
                changed[index:index] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
            if not changed:
                break
        mutated.append(bytes(changed))
    return mutated


@pytest.mark.parametrize("name", ["16 bits", "24 bits", "stereo", "float", "extensible", "FLAC"])
def test_mutations_are_decoded_or_refused_but_nothing_else(name: str) -> None:
    data = GOOD[name][0]
    refused = 0
    for changed in mutations(data, 900, seed=len(name)):
        try:
            samples, rate = decode(changed)
        except ValueError:
            refused += 1
            continue
        assert len(samples) > 0
        assert bool(np.isfinite(samples).all())
        assert audio.LOWEST_RATE <= rate <= audio.HIGHEST_RATE
    assert refused > 300


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(GOOD))
def test_many_mutations(name: str) -> None:
    for changed in mutations(GOOD[name][0], 5000, seed=7):
        try:
            samples, _ = decode(changed)
        except ValueError:
            continue
        assert bool(np.isfinite(samples).all())


# Rates


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (16000, 8000), (44100, 16000), (48000, 16000)])
def test_resampling_is_the_filter_written_out(from_rate: int, to_rate: int) -> None:
    pytest.importorskip("torchaudio", exc_type=Exception)  # type: ignore[arg-type]  # one for another torch: OSError
    samples = np.random.default_rng(0).normal(size=700).astype(np.float32) * 0.1
    resampled = resample(samples, from_rate, to_rate)
    assert len(resampled) == -(-700 * to_rate // from_rate)
    np.testing.assert_allclose(resampled, sinc_resample(samples, from_rate, to_rate), atol=1e-5)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44101, 16000), (15999, 16000), (767_999, 8000), (1009, 48000)])
def test_rates_with_a_small_common_divisor_are_resampled_too(from_rate: int, to_rate: int) -> None:
    seconds = np.arange(from_rate // 2) / from_rate
    resampled = resample(np.sin(2 * np.pi * 200 * seconds).astype(np.float32), from_rate, to_rate)
    wanted = np.sin(2 * np.pi * 200 * np.arange(len(resampled)) / to_rate)
    margin = len(resampled) // 10  # the filter reaches beyond the ends
    np.testing.assert_allclose(resampled[margin:-margin], wanted[margin:-margin], atol=0.02)


def test_sound_beyond_full_scale_is_scaled_to_it() -> None:
    np.testing.assert_allclose(scale_to_full_scale(np.array([0.5, -2.0], dtype=np.float32)), [0.25, -1.0])
    quiet = np.array([0.5, -0.9], dtype=np.float32)
    assert scale_to_full_scale(quiet) is quiet


# Files and archives


def test_files_are_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(wav(rate=8000))
    (tmp_path / "folder.wav").mkdir()
    folder = Folder(tmp_path)
    np.testing.assert_allclose(FileAudio(folder, "good.wav").samples(8000), SINE, atol=1e-4)
    with pytest.raises(ValueError, match="there is no such file"):
        FileAudio(folder, "missing.wav").samples(8000)
    with pytest.raises(ValueError, match="is not a regular file"):
        FileAudio(folder, "folder.wav").samples(8000)


def test_files_too_large_to_be_clips_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.wav").write_bytes(wav())
    monkeypatch.setattr(audio, "LARGEST", 100)
    with pytest.raises(ValueError, match="has 844 bytes; at most 100 are allowed"):
        FileAudio(Folder(tmp_path), "long.wav").samples(8000)


def zipped(path: Path, *members: tuple[str, bytes] | tuple[zipfile.ZipInfo, bytes], **options: int) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", options.get("method", zipfile.ZIP_DEFLATED)) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of repeated names
        for name, data in members:
            archive.writestr(name, data)
    return path


def named(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_clips_are_read_from_a_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("yes/1.wav", wav()), ("no/ä.flac", flac()), ("README.md", b"# about"))
    archive = Archive(path)
    assert archive.names() == ["README.md", "no/ä.flac", "yes/1.wav"]
    np.testing.assert_allclose(FileAudio(archive, "no/ä.flac").samples(16000), SINE, atol=1e-4)
    with pytest.raises(ValueError, match=r"is not in a\.zip"):
        archive.read("yes/2.wav")


HOSTILE_NAMES = [
    "../out.wav", "a/../../out.wav", "..", "a/..", "/etc/out.wav", "//server/out.wav", "C:/out.wav", "c:out.wav",
    "a\\..\\out.wav", "\\\\server\\share\\out.wav", "..\\out.wav", "./a.wav", "a/./b.wav", "a//b.wav", "a/ b.wav",
    "a/b.wav ", "a/b.wav.", "a./b.wav", "CON.wav", "a/nul.wav", "lpt1/a.wav", "a\nb.wav", "a\x1b[2J.wav",
    "a\u202egpj.wav", "a\u200b.wav", "a\x7f.wav", "x" * 1100 + ".wav", "com9", "a/aux",
    "a/../b.wav", "..a/../c.wav", "a.wav::$DATA", "prn/x.wav", "\\\\?\\C:\\x.wav", "a/\t.wav", "\u2066x.wav",
    "lpt9.flac", " ../x.wav", "a/.../b.wav", "AUX.wav", "x/.", "../", "a/b/../../../c.wav",
]  # fmt: skip
HOSTILE_MODES = [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR]
TWINS = [
    ("a.wav", "a.wav"), ("a.wav", "A.wav"), ("Straße.wav", "STRASSE.wav"), ("é.wav", "e\u0301.wav"),
    ("a/b.wav", "A/b.wav"),
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_mean_harm_are_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", ("good.wav", wav()), (named(name), wav()))
    with pytest.raises(DataError) as raised:
        Archive(path).names()
    assert str(path) in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.parametrize("mode", HOSTILE_MODES)
def test_a_member_that_is_not_a_plain_file_is_refused(tmp_path: Path, mode: int) -> None:
    path = zipped(tmp_path / "a.zip", ("good.wav", wav()), (named("link.wav", mode | 0o777), b"/etc/passwd"))
    with pytest.raises(DataError, match=r"link\.wav: is a link, a device"):
        Archive(path).names()


@pytest.mark.parametrize("twins", TWINS)
def test_names_that_are_one_to_some_systems_are_refused(tmp_path: Path, twins: tuple[str, str]) -> None:
    path = zipped(tmp_path / "a.zip", *((name, wav()) for name in twins))
    with pytest.raises(DataError, match="is repeated"):
        Archive(path).names()


def patched(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def encrypted(data: bytes) -> bytes:
    data = data[:6] + bytes([data[6] | 1]) + data[7:]
    entry = data.index(b"PK\x01\x02")
    return data[: entry + 8] + bytes([data[entry + 8] | 1]) + data[entry + 9 :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b"a_b.wav", b"a\0b.wav"), "NUL in its name"),
        (encrypted, "is encrypted"),
        (lambda data: data[: len(data) // 2], "is not a zip archive"),
        (lambda data: b"", "is not a zip archive"),
        (lambda data: b"<html>" + bytes(100), "is not a zip archive"),
    ],
)
def test_damaged_and_odd_archives_are_refused(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    path = patched(zipped(tmp_path / "a.zip", ("a_b.wav", wav())), change)
    with pytest.raises(DataError, match=reason):
        Archive(path).names()


def test_zip_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"bomb\.wav: unpacks to [0-9,]+ times its size"):
        Archive(zipped(tmp_path / "a.zip", ("bomb.wav", bytes(8 << 20)))).names()
    with pytest.raises(DataError, match="is packed by method 12"):
        Archive(zipped(tmp_path / "b.zip", ("a.wav", wav()), method=zipfile.ZIP_BZIP2)).names()
    monkeypatch.setattr("seqkit_speech.archive.MOST_MEMBERS", 2)
    with pytest.raises(DataError, match="has 3 members"):
        Archive(zipped(tmp_path / "c.zip", *((f"{n}.wav", wav()) for n in range(3)))).names()
    monkeypatch.setattr("seqkit_speech.archive.MOST_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than 1,000 bytes"):
        Archive(zipped(tmp_path / "d.zip", ("1.wav", wav()), ("2.wav", wav()))).names()


def test_a_damaged_member_is_refused_alone(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("bad.wav", wav()), ("good.wav", wav()), method=zipfile.ZIP_STORED)
    patched(path, lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:])
    archive = Archive(path)
    assert len(FileAudio(archive, "good.wav").samples(16000)) == 400
    with pytest.raises(ValueError, match=r"is damaged inside of a\.zip"):
        FileAudio(archive, "bad.wav").samples(16000)


def twice_in_one_place(data: bytes) -> bytes:
    """Both members of the directory point at the bytes of the first: how a small file becomes a large one."""
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    return data[: entry + 42] + bytes(4) + data[entry + 46 :]


def another_name_inside(data: bytes) -> bytes:
    """The directory says a_b.wav, the member itself another name."""
    return data.replace(b"a_b.wav", b"../x.wa", 1)


@pytest.mark.parametrize("change", [twice_in_one_place, another_name_inside])
def test_a_false_directory_is_noticed_when_a_member_is_read(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    archive = Archive(patched(zipped(tmp_path / "a.zip", ("a_b.wav", wav()), ("c_d.wav", wav())), change))
    names = archive.names()
    with pytest.raises(ValueError, match=r"is damaged inside of a\.zip"):
        [archive.read(name) for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_an_archive_in_an_archive_is_never_opened(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", *((f"{n}.wav", bytes(1 << 20)) for n in range(20))).read_bytes()
    outer = Archive(zipped(tmp_path / "a.zip", ("inner.zip", inner), ("good.wav", wav())))
    assert outer.names() == ["good.wav", "inner.zip"]
    with pytest.raises(ValueError, match="is a zip archive"):
        decode(outer.read("inner.zip"), "inner.wav")


def test_all_bad_members_are_reported_at_once(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", *((f"../{n}.wav", wav()) for n in range(30)))
    with pytest.raises(DataError) as raised:
        Archive(path).names()
    assert len(raised.value.problems) == 21
    assert "and 10 more" in str(raised.value)


def test_there_are_as_many_hostile_archives_as_it_takes() -> None:
    """With five damaged or odd ones, four bombs, a damaged member, two false directories and one inside another."""
    assert len(HOSTILE_NAMES) + len(HOSTILE_MODES) + len(TWINS) + 13 >= 60


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    """Its name is taken away in the central directory; zipfile itself asks for the last character of it."""

    def nameless(data: bytes) -> bytes:
        entry = data.index(b"PK\x01\x02")
        length = int.from_bytes(data[entry + 28 : entry + 30], "little")
        without = data[: entry + 28] + b"\0\0" + data[entry + 30 : entry + 46] + data[entry + 46 + length :]
        end = without.index(b"PK\x05\x06")
        size = int.from_bytes(without[end + 12 : end + 16], "little") - length
        return without[: end + 12] + size.to_bytes(4, "little") + without[end + 16 :]

    path = patched(zipped(tmp_path / "a.zip", ("good.wav", wav())), nameless)
    with pytest.raises(DataError, match="has no name"):
        Archive(path).names()


def test_a_wrong_length_is_reported() -> None:
    with collect_reports() as reading:
        decode(riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), size=0xFFFFFFFF), "clip.wav")
        decode(wav(), "other.wav")
    ((kind, counted),) = reading.changed.items()
    assert "RIFF length" in kind
    assert (counted.count, counted.first) == (1, "clip.wav")
