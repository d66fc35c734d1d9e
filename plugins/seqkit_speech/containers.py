"""Whether a file of sound is whole: what libsndfile decodes of a truncated or damaged one, without an error.

Ogg (RFC 3533) has a checksum of each page and a mark on the last one, AIFF and NIST SPHERE have sizes. A frame of MPEG
audio (ISO 11172-3) has only its own length, so that each frame has to begin where the one before it ends; most encoders
put a frame in front that says how many bytes and frames there are. What is changed inside of a frame of MPEG audio is
not noticed: it has no checksum that encoders write.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

FORMATS: Final = {
    ".wav": ("wav", "nist"),
    ".flac": ("flac",),
    ".mp3": ("mp3",),
    ".ogg": ("ogg",),
    ".oga": ("ogg",),
    ".opus": ("ogg",),
    ".aiff": ("aiff",),
    ".aif": ("aiff",),
    ".aifc": ("aiff",),
    ".sph": ("nist",),
}
"""By the suffix of a file's name, the formats that it may have. TIMIT has NIST SPHERE in files called .wav."""

_BITS_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LAST_PAGE: Final = 4
_SHORTEST_TAIL: Final = 32
"""Bytes behind the last frame of MPEG audio that are put up with: some writers fill up."""
_BITRATES: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Thousands of bits a second by (1 for MPEG-1 and 2 for others, layer) and index from 1."""
_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Samples a second by version and index."""
_MPEG_TAGS: Final = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")


def format_of(data: bytes) -> str | None:
    """wav, flac, mp3, ogg, aiff or nist by the first bytes of a file; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    for magic, name in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"NIST_1A\n", "nist"), (b"ID3", "mp3")):
        if data.startswith(magic):
            return name
    return "mp3" if _frame_size(data[:4]) else None


def check_whole(data: bytes, file_format: str) -> int | None:
    """The number of samples of each channel by the header; None if the format does not give it.

    Args:
        data: the bytes of the file.
        file_format: mp3, ogg, aiff or nist.

    Raises:
        ValueError: the file is truncated or damaged.
    """
    if file_format == "ogg":
        _check_ogg(data)
        return None
    if file_format == "mp3":
        _check_mp3(data)
        return None
    return _check_aiff(data) if file_format == "aiff" else _check_nist(data)


def ogg_checksum(page: bytes) -> int:
    """The checksum of a page whose field for it is zero: a CRC of 32 bits, highest bit first, that starts at 0."""
    reflected = zlib.crc32(page.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def _check_ogg(data: bytes) -> None:
    position, flags, number = 0, 0, 0
    while position < len(data):
        number += 1
        if data[position : position + 4] != b"OggS":
            raise ValueError(f"is damaged: its page {number:,} does not begin with OggS")
        count = data[position + 26] if position + 26 < len(data) else 255
        body = position + 27 + count
        end = body + sum(data[position + 27 : body])
        if end > len(data) or body > len(data):
            raise ValueError(f"is truncated: its page {number:,} goes beyond the end")
        page = data[position : position + 22] + bytes(4) + data[position + 26 : end]
        if ogg_checksum(page) != struct.unpack_from("<I", data, position + 22)[0]:
            raise ValueError(f"is damaged: the checksum of its page {number:,} is wrong")
        flags = data[position + 5]
        position = end
    if not flags & _LAST_PAGE:
        raise ValueError("is truncated: its last page is not marked as the last")


def _frame_size(header: bytes) -> int:
    """Bytes of a frame of MPEG audio; 0 if this is no header of one, or one that does not give its bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or not 1 <= bitrate <= 14 or rate == 3:
        return 0
    bits = 1000 * _BITRATES[1 if version == 3 else 2, layer][bitrate - 1]
    hertz = _RATES[version][rate]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def _check_mp3(data: bytes) -> None:
    start = 0
    while data[start : start + 3] == b"ID3":
        if len(data) < start + 10:
            raise ValueError("is truncated: it ends inside of a tag")
        size = 0
        for byte in data[start + 6 : start + 10]:
            size = size << 7 | byte & 0x7F
        start += 10 + size + (10 if data[start + 5] & 0x10 else 0)
    while start < len(data) and data[start] == 0:
        start += 1  # padding behind a tag
    position, frames = start, 0
    while position < len(data):
        size = _frame_size(data[position : position + 4])
        if not size:
            break
        if position + size > len(data):
            raise ValueError(f"is truncated: its frame {frames + 1:,} goes beyond the end")
        position, frames = position + size, frames + 1
    if not frames:
        raise ValueError("has no frame of MPEG audio behind its tags")
    rest = data[position:].lstrip(b"\0")
    if len(rest) > _SHORTEST_TAIL and not rest.startswith(_MPEG_TAGS):
        raise ValueError(f"is damaged: no frame begins behind its frame {frames:,}, but {len(rest):,} bytes follow")
    stated_frames, stated_bytes = _stated_lengths(data[start : start + 200])
    # Some writers count the first frame, which has these numbers and no sound, and some do not.
    if stated_frames > frames or (stated_frames > frames - 1 and stated_bytes > position - start):
        raise ValueError(
            f"is truncated: it has {frames:,} frames and {position - start:,} bytes, but its first frame says "
            f"{stated_frames:,} and {stated_bytes:,}"
        )


def _stated_lengths(frame: bytes) -> tuple[int, int]:
    """The numbers of frames and bytes that the first frame of MPEG audio says there are; 0 if it does not say."""
    found = max(frame.find(b"Xing"), frame.find(b"Info"))
    if found < 0 or len(frame) < found + 16:
        return 0, 0
    flags, first, second = struct.unpack_from(">III", frame, found + 4)
    if flags & 3 == 3:
        return first, second
    return (first if flags & 1 else 0), (first if flags & 2 else 0)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and size of each chunk of an AIFF file. Raises ValueError if one is not whole."""
    stated = struct.unpack_from(">I", data, 4)[0] + 8
    if stated > len(data) + 1:  # the last byte may be the padding of an odd chunk, which some writers leave out
        raise ValueError(f"is truncated: its header says {stated:,} bytes, but there are {len(data):,}")
    offset = 12
    while offset + 8 <= min(stated, len(data)):
        name, size = data[offset : offset + 4], struct.unpack_from(">I", data, offset + 4)[0]
        if offset + 8 + size > len(data):
            name_shown = repr(name.decode("latin-1"))
            raise ValueError(
                f"is truncated: its chunk {name_shown} goes {offset + 8 + size - len(data):,} bytes beyond"
            )
        yield name, offset + 8, size
        offset += 8 + size + size % 2


def _check_aiff(data: bytes) -> int:
    if len(data) < 12:
        raise ValueError("is truncated inside of its header")
    frames: int | None = None
    has_samples = False
    for name, start, size in _chunks(data):
        if name == b"COMM" and size >= 18:
            frames = struct.unpack_from(">I", data, start + 2)[0]
        elif name == b"SSND":
            has_samples = True
    if frames is None:
        raise ValueError("has no COMM chunk, which says what its samples are")
    if not has_samples or frames == 0:
        raise ValueError("has no samples")
    return frames


def _check_nist(data: bytes) -> int:
    head = data[:16].split(b"\n")
    size = int(head[1]) if len(head) > 1 and head[1].strip().isdigit() else 0
    if not 16 < size <= len(data):
        raise ValueError("is truncated inside of its header, or that has no size")
    fields = dict(re.findall(r"(?m)^(\w+) -\w+ (.*?)\s*$", data[16:size].decode("latin-1")))
    if "shorten" in fields.get("sample_coding", ""):
        raise ValueError("holds NIST SPHERE packed by shorten, which is not supported")
    counts = [fields.get(name, "") for name in ("sample_count", "channel_count", "sample_n_bytes")]
    if not all(count.isascii() and count.isdigit() and len(count) < 12 for count in counts):
        raise ValueError("has no sample_count, channel_count or sample_n_bytes in its header")
    frames, channels, width = map(int, counts)
    missing = size + frames * channels * width - len(data)
    if missing > 0:
        raise ValueError(f"is truncated: {missing:,} bytes are missing of the samples that its header gives")
    if frames == 0:
        raise ValueError("has no samples")
    return frames
