"""One clip of audio, from bytes to samples: decoded correctly, or refused with a reason.

libsndfile decodes what is left of a truncated file, and NaN samples, without an error. So the header of a WAV file is
read here first (Multimedia Programming Interface and Data Specifications 1.0, IBM and Microsoft 1991), its sizes are
compared with the number of bytes, and samples are checked afterwards. FLAC (RFC 9639) has the MD5 of its samples, which
is compared. See `seqkit_speech.containers` for the other formats.
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
from seqkit.reading import report_changed
from seqkit_speech.containers import FORMATS, check_whole, format_of

Samples = NDArray[np.float32]

SUFFIXES: Final = tuple(FORMATS)
LARGEST: Final = 256 << 20
"""Bytes of a file; a larger one is refused."""
LOWEST_RATE: Final = 1_000
HIGHEST_RATE: Final = 768_000
MOST_CHANNELS: Final = 64
LOUDEST: Final = 16.0
"""Full scale is 1. Floating-point files may go a little beyond; far beyond, they hold integers."""

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_BITS: Final = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _ALAW: (8,), _MULAW: (8,)}
_OTHERS: Final = {2: "Microsoft ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x50: "MPEG", 0x55: "MP3"}
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_MAGIC: Final = {
    b"RIFF": "is a damaged RIFF file",
    b"RIFX": "is big-endian RIFX",
    b"RF64": "is RF64",
    b"FORM": "is an IFF file, but not AIFF",
    b"PK\x03\x04": "is a zip archive",
    b"\x1f\x8b": "is gzip",
    b"version https://git-lfs": "is a Git LFS pointer: the file itself was not fetched",
}
_NAMES: Final = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "Ogg", "aiff": "AIFF", "nist": "NIST SPHERE"}
_READ: Final = "WAV, FLAC, MP3, Ogg (Vorbis, Opus), AIFF and NIST SPHERE are read"
_CONVERT: Final = "convert other recordings, for example with: ffmpeg -i INPUT OUTPUT.wav"
# Taggers and recorders put these behind the samples.
_TAGS: Final = (b"TAG", b"ID3", b"id3 ", b"LIST", b"APETAGEX")


class FileContainer(Protocol):
    """A folder or an archive with audio files."""

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
            raise ValueError("is not a regular file" if path.exists() else "is missing: there is no such file")
        size = path.stat().st_size
        if size > LARGEST:
            raise ValueError(f"has {size:,} bytes; at most {LARGEST:,} are allowed")
        return path.read_bytes()


class LazyAudio(ABC):
    """Audio that is decoded or made when its samples are asked for: the input of an example."""

    @abstractmethod
    def samples(self, rate: int) -> Samples:
        """Samples at this rate, (N,) float32, mono, within -1 to 1. Raises ValueError if the audio cannot be read."""


@final
@dataclass(frozen=True, slots=True)
class FileAudio(LazyAudio):
    """A recording in a file."""

    source: FileContainer
    name: str

    def samples(self, rate: int) -> Samples:
        """Samples at this rate, (N,) float32, mono, within -1 to 1.

        Raises:
            ValueError: the file is missing, damaged or not audio; the message says why.
        """
        try:
            data = self.source.read(self.name)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror or error}") from None
        samples, file_rate = decode(data, self.name)
        return scale_to_full_scale(resample(samples, file_rate, rate))


def decode(data: bytes, name: str = "") -> tuple[Samples, int]:
    """The samples of a file of sound, (N,) float32, channels averaged, and their rate in Hz.

    Args:
        data: the bytes of the file.
        name: of the file. If its suffix is one of `SUFFIXES`, the bytes must be of such a format.

    Raises:
        ValueError: the file is empty, truncated, not what its name says, of a format that is not supported, without
            samples, or with a sample that is not a finite number.
        MissingExtra: soundfile is not installed.
    """
    if not data:
        raise ValueError("is empty")
    suffix = Path(name).suffix.lower()
    file_format = format_of(data)
    if file_format is None:
        named = f"is named {suffix}, but " if suffix in SUFFIXES else ""
        raise ValueError(f"{named}{_describe_content(data)}; {_READ}: {_CONVERT}")
    if file_format not in FORMATS.get(suffix, (file_format,)):
        raise ValueError(f"is named {suffix}, but is {_NAMES[file_format]}; rename it")
    soundfile = _import_soundfile()
    if file_format == "flac":
        samples, rate = _decode_flac(soundfile, data)
    else:
        frames = _check_wav(data, name) if file_format == "wav" else check_whole(data, file_format)
        samples, rate = _read(soundfile, data, "float64")
        if frames is not None and len(samples) != frames:
            raise ValueError(f"has {len(samples):,} samples, but its header says {frames:,}")
        if len(samples) == 0:
            raise ValueError("has no samples")
        _check_rate(rate)
    bad = ~np.isfinite(samples)
    if bad.any():
        index = int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(f"sample {index + 1:,} is {samples[index][bad[index]][0]}, which is not a finite number")
    peak = float(np.abs(samples).max())
    if peak > LOUDEST:
        raise ValueError(f"goes up to {peak:.3g}, but full scale is 1: integers stored as floating point?")
    return samples.mean(axis=1).astype(np.float32), rate


def scale_to_full_scale(samples: Samples) -> Samples:
    """Scale the samples down if one is beyond full scale (in floating-point files, or by overshoot of resampling)."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples / np.float32(peak) if peak > 1.0 else samples


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """(N,) at one rate -> (ceil(N to / from),) at another.

    The filter is a sinc with a Hann window (J. O. Smith, Digital Audio Resampling).

    Raises:
        MissingExtra: torchaudio is not installed.
    """
    if from_rate == to_rate:
        return samples
    common = int(np.gcd(from_rate, to_rate))
    # torchaudio keeps a filter for each phase, which takes gigabytes for rates with a small common divisor.
    if (from_rate // common) * (to_rate // common) > 1_000_000:
        return sinc_resample(samples, from_rate, to_rate)
    import torch

    filtered: Any = _resampler(from_rate, to_rate)(torch.from_numpy(np.ascontiguousarray(samples)))
    resampled: Samples = filtered.numpy()
    return resampled


def sinc_resample(samples: Samples, from_rate: int, to_rate: int, *, zeros: int = 6, rolloff: float = 0.99) -> Samples:
    """The same as `resample`, for any two rates: the filter of each output sample is computed when it is needed.

    Args:
        samples: (N,).
        from_rate: rate of `samples`.
        to_rate: rate of the result.
        zeros: zero crossings of the filter on each side.
        rolloff: cut-off frequency of the filter, as a share of the lower Nyquist frequency.
    """
    count = -(-len(samples) * to_rate // from_rate)
    cutoff = min(from_rate, to_rate) * rolloff / from_rate  # zero crossings an input sample
    width = int(np.ceil(zeros / cutoff))
    padded = np.pad(samples.astype(np.float64), width + 1)
    taps = np.arange(-width, width + 2)
    out = np.empty(count, dtype=np.float32)
    for start in range(0, count, 4096):
        positions = np.arange(start, min(start + 4096, count), dtype=np.int64) * from_rate
        index, fraction = positions // to_rate, (positions % to_rate) / to_rate
        phase = np.clip((taps - fraction[:, None]) * cutoff, -zeros, zeros)
        filters = np.sinc(phase) * np.cos(phase * np.pi / zeros / 2) ** 2 * cutoff
        out[start : start + len(positions)] = (padded[index[:, None] + width + 1 + taps] * filters).sum(axis=1)
    return out


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Any:
    return import_torchaudio().transforms.Resample(from_rate, to_rate)


def _describe_content(data: bytes) -> str:
    """What the bytes seem to be, for a message."""
    start = data[:64].lstrip()
    for magic, description in _MAGIC.items():
        if start.startswith(magic):
            return description
    if start[:1] == b"<":
        return "is a web page or XML"
    if not any(data[:64]):
        return "begins with zeros"
    return f"begins with the bytes {data[:12].hex(' ')}"


def _check_wav(data: bytes, name: str) -> int:
    """The number of samples of each channel by the header, which is compared with the bytes."""
    stated = struct.unpack_from("<I", data, 4)[0] + 8
    end_of_data = _end_of_samples(data)
    if end_of_data is not None and (stated < end_of_data or stated == 0xFFFFFFFF + 8):
        # Pipes cannot go back to write the length, and some writers get it wrong; the samples are all there.
        report_changed("WAV file whose RIFF length is wrong, read by its data chunk", name or "audio")
        stated = len(data)
    if stated in (8, 0xFFFFFFFF + 8):
        raise ValueError("was never finished: its header has no length (a recording that was cut off?)")
    if stated > len(data) + 1:  # the last byte may be the padding of an odd chunk, which some writers leave out
        raise ValueError(f"is truncated: its header says {stated:,} bytes, but there are {len(data):,}")
    behind = data[stated:]
    if len(behind) > 1 and any(behind) and not behind.lstrip(b"\0").startswith(_TAGS):
        raise ValueError(f"has {len(behind):,} bytes behind the end that its header gives")
    block = 0
    frames: int | None = None
    offset = 12
    while offset + 8 <= min(stated, len(data)):
        kind, size = data[offset : offset + 4], struct.unpack_from("<I", data, offset + 4)[0]
        beyond = offset + 8 + size - min(len(data), stated)
        if beyond > 0:
            raise ValueError(f"is truncated: its chunk {_printable(kind)} goes {beyond:,} bytes beyond the end")
        if kind == b"fmt ":
            if block:
                raise ValueError("has two fmt chunks")
            block = _check_format(data[offset + 8 : offset + 8 + size])
        elif kind == b"data":
            if not block:
                raise ValueError("has no fmt chunk before its samples")
            if frames is not None:
                raise ValueError("has two data chunks")
            if size % block:
                raise ValueError(f"ends inside a sample: {size:,} bytes of samples of {block} bytes each")
            frames = size // block
        offset += 8 + size + size % 2
    if frames is None:
        raise ValueError("has no data chunk: it has a header but no samples")
    if frames == 0:
        raise ValueError("has no samples")
    return frames


def _end_of_samples(data: bytes) -> int | None:
    """Where the data chunk ends, by its own size; None if there is no such chunk or it is not whole."""
    offset = 12
    while offset + 8 <= len(data):
        name, size = data[offset : offset + 4], struct.unpack_from("<I", data, offset + 4)[0]
        end = offset + 8 + size
        if end > len(data):
            return None
        if name == b"data":
            return int(end) if size else None
        offset = end + size % 2
    return None


def _check_format(chunk: bytes) -> int:
    """The size of one sample of all channels, in bytes. Raises ValueError for a format that is not supported."""
    if len(chunk) < 16:
        raise ValueError(f"has a fmt chunk of {len(chunk)} bytes, but it takes at least 16")
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE:
        if len(chunk) < 40 or chunk[26:40] != _GUID_TAIL:
            raise ValueError("is WAVE_FORMAT_EXTENSIBLE with a sub-format that is not supported; convert it to PCM")
        tag = struct.unpack_from("<H", chunk, 24)[0]
    if tag not in _BITS:
        raise ValueError(
            f"holds {_OTHERS.get(tag, f'sound of format {tag:#06x}')}, which is not supported; convert it to PCM"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"has {channels} channels; 1 to {MOST_CHANNELS} are supported")
    _check_rate(rate)
    if bits not in _BITS[tag]:
        raise ValueError(f"has {bits} bits a sample; {', '.join(map(str, _BITS[tag]))} are supported")
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
        raise ValueError(f"has {frames:,} samples by its header; at most {LARGEST:,} are supported")
    samples, _ = _read(soundfile, data, "int32")
    if len(samples) == 0:
        raise ValueError("has no samples")
    if (frames and len(samples) != frames) or samples.shape[1] != channels:
        raise ValueError(f"is truncated: it has {len(samples):,} samples, but its header says {frames:,}")
    integers = (samples >> (32 - bits)).astype("<i4")
    width = -(-bits // 8)
    packed = integers.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    stored = data[26:42]
    if any(stored) and hashlib.md5(packed, usedforsecurity=False).digest() != stored:
        raise ValueError("is damaged: the MD5 of its samples is not the one in its header")
    return samples / 2.0**31, int(rate)


class _Bytes(io.BytesIO):
    """Bytes as a file. libsndfile may look for what a damaged file points to before its beginning."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = (0, self.tell(), len(self.getbuffer()))[whence]
        return super().seek(max(0, start + offset))


def _read(soundfile: Any, data: bytes, dtype: str) -> tuple[NDArray[Any], int]:
    """The samples, (N, channels), and their rate, as libsndfile decodes them."""
    try:
        with soundfile.SoundFile(_Bytes(data)) as file:
            if file.frames > LARGEST or file.channels > MOST_CHANNELS:
                raise ValueError(f"{file.frames:,} samples of {file.channels} channels are too many")
            samples, rate = file.read(dtype=dtype, always_2d=True), file.samplerate
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        # The whole message of libsndfile's error has the address of the buffer.
        reason = str(getattr(error, "error_string", error))
        raise ValueError(f"cannot be decoded: {' '.join(reason.split())[-160:]}") from None
    return samples, int(rate)


def _check_rate(rate: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError(f"has a rate of {rate:,} Hz; {LOWEST_RATE:,} to {HIGHEST_RATE:,} are supported")


def _printable(name: bytes) -> str:
    return repr(name.decode("latin-1"))


def _import_soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        raise MissingExtra("reading audio", "speech") from None
    return soundfile


def import_torchaudio() -> Any:
    """torchaudio. Raises MissingExtra if it is not installed or does not fit the installed torch."""
    try:
        import torchaudio
    except (ImportError, OSError):
        raise MissingExtra("turning sound into frames", "speech") from None
    return torchaudio
