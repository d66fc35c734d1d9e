"""One clip of audio, from bytes to samples: decoded right, or refused with a reason.

libsndfile hands out what it finds of a truncated file, and NaN samples, without a word. So the header of a WAV file is
read here first (Multimedia Programming Interface and Data Specifications 1.0, IBM and Microsoft 1991), sizes are held
against the bytes that are there, and samples are checked afterwards. FLAC (RFC 9639) carries the MD5 of its samples,
which is compared.
"""

from __future__ import annotations

import hashlib
import io
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol, final

import numpy as np
from numpy.typing import NDArray

from seqkit import MissingExtra

Samples = NDArray[np.float32]

SUFFIXES: Final = (".wav", ".flac")
LARGEST: Final = 256 << 20
"""Bytes of a file. A larger one is no clip."""
LOWEST_RATE: Final = 1_000
HIGHEST_RATE: Final = 768_000
MOST_CHANNELS: Final = 64
LOUDEST: Final = 16.0
"""Full scale is 1. Floating-point files may go a little beyond; far beyond, they are integers in the wrong clothes."""

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_BITS: Final = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _ALAW: (8,), _MULAW: (8,)}
_OTHERS: Final = {2: "Microsoft ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x50: "MPEG", 0x55: "MP3"}
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_STARTS: Final = {
    b"RIFF": "is a damaged RIFF file",
    b"RIFX": "is big-endian RIFX",
    b"RF64": "is RF64",
    b"fLaC": "is FLAC",
    b"OggS": "is Ogg",
    b"FORM": "is AIFF",
    b"ID3": "is MP3",
    b"\xff\xfb": "is MP3",
    b"PK\x03\x04": "is a zip archive",
    b"\x1f\x8b": "is gzip",
    b"version https://git-lfs": "is a Git LFS pointer: the file itself was not fetched",
}
# What taggers and recorders put behind the sound: none of it is sound.
_TAGS: Final = (b"TAG", b"ID3", b"id3 ", b"LIST", b"APETAGEX")


class Source(Protocol):
    """Where the bytes of clips are: a folder or an archive."""

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises ValueError or OSError."""
        ...


@dataclass(frozen=True)
class Folder:
    """Files on disk. Names are relative to `root`, or absolute."""

    root: Path

    def read(self, name: str) -> bytes:
        path = self.root / name
        if not path.is_file():
            raise ValueError("is no regular file" if path.exists() else "there is no such file")
        size = path.stat().st_size
        if size > LARGEST:
            raise ValueError(f"has {size:,} bytes, and a clip may have {LARGEST:,}")
        return path.read_bytes()


class Speech(ABC):
    """Sound that has not been read yet: what a task gives as an input."""

    @abstractmethod
    def samples(self, rate: int) -> Samples:
        """(N,) float32 at this rate, mono, within -1 to 1. Raises ValueError if it cannot be had."""


@final
@dataclass(frozen=True, slots=True)
class Clip(Speech):
    """A recording in a file."""

    source: Source
    name: str

    def samples(self, rate: int) -> Samples:
        """(N,) float32 at this rate, mono, within -1 to 1.

        Raises:
            ValueError: the file cannot be read for certain; the reason is the message.
        """
        try:
            data = self.source.read(self.name)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror or error}") from None
        found, own_rate = decode(data, self.name)
        return within_full_scale(resample(found, own_rate, rate))


def decode(data: bytes, name: str = "") -> tuple[Samples, int]:
    """The bytes of a WAV or FLAC file as (N,) float32 samples, channels averaged, and their rate in Hz.

    `name` tells by its ending what the file claims to be; without a known ending only the bytes are asked.

    Raises:
        ValueError: empty, truncated, mislabelled, of a kind that is not read, without samples, or with a sample that
            is no finite number.
        MissingExtra: soundfile is not installed.
    """
    if not data:
        raise ValueError("is empty")
    suffix = Path(name).suffix.lower()
    kind = _kind(data)
    if kind is None or (suffix in SUFFIXES and kind != suffix):
        raise ValueError(f"{'is named ' + suffix if suffix else 'is no audio'}, but {_looks_like(data)}")
    soundfile = _soundfile()
    if kind == ".wav":
        frames = _check_wav(data)
        found, rate = _decoded(soundfile, data, "float64")
        if len(found) != frames:
            raise ValueError(f"has {len(found):,} samples where its header says {frames:,}")
    else:
        found, rate = _decode_flac(soundfile, data)
    bad = ~np.isfinite(found)
    if bad.any():
        where = int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(f"sample {where + 1:,} is {found[where][bad[where]][0]}, which is no number")
    peak = float(np.abs(found).max())
    if peak > LOUDEST:
        raise ValueError(f"goes up to {peak:.3g} where full scale is 1: integers stored as floating point?")
    return found.mean(axis=1).astype(np.float32), rate


def within_full_scale(samples: Samples) -> Samples:
    """The samples, scaled down to full scale if any goes beyond it (floating-point files, overshoot of resampling)."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples / np.float32(peak) if peak > 1.0 else samples


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """(N,) at one rate -> (ceil(N to / from),) at another, band-limited (sinc with a Hann window; J. O. Smith,
    Digital Audio Resampling).

    Raises:
        MissingExtra: torchaudio is not installed.
    """
    if from_rate == to_rate:
        return samples
    common = int(np.gcd(from_rate, to_rate))
    # torchaudio keeps a filter for each phase; for rates with little in common that is gigabytes.
    if (from_rate // common) * (to_rate // common) > 1_000_000:
        return sinc_resample(samples, from_rate, to_rate)
    import torch

    filtered: Any = _resampler(from_rate, to_rate)(torch.from_numpy(np.ascontiguousarray(samples)))
    found: Samples = filtered.numpy()
    return found


def sinc_resample(samples: Samples, from_rate: int, to_rate: int, *, zeros: int = 6, rolloff: float = 0.99) -> Samples:
    """What `resample` computes, for any two rates: each output sample's filter is made where it is needed.

    Args:
        samples: (N,).
        from_rate: of the samples.
        to_rate: wanted.
        zeros: zero crossings of the filter on each side.
        rolloff: where the filter cuts, as a share of the lower Nyquist frequency.
    """
    count = -(-len(samples) * to_rate // from_rate)
    cut = min(from_rate, to_rate) * rolloff / from_rate  # zero crossings an input sample
    width = int(np.ceil(zeros / cut))
    padded = np.pad(samples.astype(np.float64), width + 1)
    taps = np.arange(-width, width + 2)
    out = np.empty(count, dtype=np.float32)
    for start in range(0, count, 4096):
        at = np.arange(start, min(start + 4096, count), dtype=np.int64) * from_rate
        whole, part = at // to_rate, (at % to_rate) / to_rate
        phase = np.clip((taps - part[:, None]) * cut, -zeros, zeros)
        filters = np.sinc(phase) * np.cos(phase * np.pi / zeros / 2) ** 2 * cut
        out[start : start + len(at)] = (padded[whole[:, None] + width + 1 + taps] * filters).sum(axis=1)
    return out


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Any:
    return _torchaudio().transforms.Resample(from_rate, to_rate)


def _kind(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return ".wav"
    return ".flac" if data[:4] == b"fLaC" else None


def _looks_like(data: bytes) -> str:
    """What bytes that are not what they claim to be look like, for a message."""
    start = data[:64].lstrip()
    for magic, what in _STARTS.items():
        if start.startswith(magic):
            return "is WAV" if magic == b"RIFF" and data[8:12] == b"WAVE" else what
    if start[:1] == b"<":
        return "is a web page or XML"
    if not any(data[:64]):
        return "begins with zeros"
    return f"begins with {data[:12]!r}"


def _check_wav(data: bytes) -> int:
    """How many samples of each channel the header promises, after holding it against what is there."""
    stated = struct.unpack_from("<I", data, 4)[0] + 8
    if stated in (8, 0xFFFFFFFF + 8):
        raise ValueError("was never finished: its header does not say how long it is (a recording that was cut off?)")
    if stated > len(data) + 1:  # the last byte may be the padding of an odd chunk, which some writers leave out
        raise ValueError(f"is truncated: its header says {stated:,} bytes, and there are {len(data):,}")
    behind = data[stated:]
    if len(behind) > 1 and any(behind) and not behind.lstrip(b"\0").startswith(_TAGS):
        raise ValueError(f"goes on for {len(behind):,} bytes after the end that its header states")
    block = 0
    frames: int | None = None
    at = 12
    while at + 8 <= min(stated, len(data)):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        beyond = at + 8 + size - min(len(data), stated)
        if beyond > 0:
            raise ValueError(f"is truncated: its chunk {_printable(name)} goes {beyond:,} bytes beyond the end")
        if name == b"fmt ":
            if block:
                raise ValueError("has two fmt chunks")
            block = _check_format(data[at + 8 : at + 8 + size])
        elif name == b"data":
            if not block:
                raise ValueError("has no fmt chunk before its samples")
            if frames is not None:
                raise ValueError("has two data chunks")
            if size % block:
                raise ValueError(f"ends inside a sample: {size:,} bytes of samples of {block} bytes each")
            frames = size // block
        at += 8 + size + size % 2
    if frames is None:
        raise ValueError("has no data chunk: there is a header but no sound")
    if frames == 0:
        raise ValueError("has no samples")
    return frames


def _check_format(chunk: bytes) -> int:
    """Bytes of one sample of all channels."""
    if len(chunk) < 16:
        raise ValueError(f"has a fmt chunk of {len(chunk)} bytes, and 16 are the least")
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE:
        if len(chunk) < 40 or chunk[26:40] != _GUID_TAIL:
            raise ValueError("is WAVE_FORMAT_EXTENSIBLE of a kind that is not read")
        tag = struct.unpack_from("<H", chunk, 24)[0]
    if tag not in _BITS:
        raise ValueError(
            f"holds {_OTHERS.get(tag, f'sound of format {tag:#06x}')}, which is not read; convert it to PCM"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"has {channels} channels")
    _check_rate(rate)
    if bits not in _BITS[tag]:
        raise ValueError(f"has {bits} bits a sample; {', '.join(map(str, _BITS[tag]))} are read")
    if block != channels * bits // 8:
        raise ValueError(f"has blocks of {block} bytes for {channels} channels of {bits} bits: the header is damaged")
    size: int = block
    return size


def _decode_flac(soundfile: Any, data: bytes) -> tuple[NDArray[np.float64], int]:
    if len(data) < 42 or data[4] & 0x7F != 0:
        raise ValueError("is truncated: it has no STREAMINFO block")
    info = int.from_bytes(data[18:26], "big")
    rate, channels, bits, frames = info >> 44, (info >> 41 & 7) + 1, (info >> 36 & 31) + 1, info & (1 << 36) - 1
    _check_rate(rate)
    if frames > LARGEST:
        raise ValueError(f"says that it has {frames:,} samples, which is no clip")
    found, _ = _decoded(soundfile, data, "int32")
    if len(found) == 0:
        raise ValueError("has no samples")
    if (frames and len(found) != frames) or found.shape[1] != channels:
        raise ValueError(f"is truncated: it has {len(found):,} samples where its header says {frames:,}")
    whole = (found >> (32 - bits)).astype("<i4")
    width = -(-bits // 8)
    packed = whole.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    stored = data[26:42]
    if any(stored) and hashlib.md5(packed, usedforsecurity=False).digest() != stored:
        raise ValueError("is damaged: its samples do not have the MD5 that its header states")
    return found / 2.0**31, int(rate)


def _decoded(soundfile: Any, data: bytes, dtype: str) -> tuple[NDArray[Any], int]:
    """(N, channels) and the rate, as libsndfile has them."""
    try:
        found, rate = soundfile.read(io.BytesIO(data), dtype=dtype, always_2d=True)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise ValueError(f"cannot be decoded: {' '.join(str(error).split())[-160:]}") from None
    return found, int(rate)


def _check_rate(rate: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError(f"has a rate of {rate:,} Hz; {LOWEST_RATE:,} to {HIGHEST_RATE:,} are read")


def _printable(name: bytes) -> str:
    return repr(name.decode("latin-1"))


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        raise MissingExtra("reading audio", "speech") from None
    return soundfile


def _torchaudio() -> Any:
    try:
        import torchaudio
    except (ImportError, OSError):
        raise MissingExtra("turning sound into frames", "speech") from None
    return torchaudio
