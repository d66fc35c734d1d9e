"""Clips straight out of a zip archive: nothing is unpacked to disk, and nothing but plain files is looked at.

Members are read into memory under caps, so no name in an archive can reach the file system; odd names are refused all
the same, because an archive that has them was made to do harm, or is damaged.
"""

from __future__ import annotations

import stat
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from seqkit import DataError, Problem
from seqkit_speech.audio import LARGEST

MOST_MEMBERS: Final = 1_000_000
MOST_BYTES: Final = 64 << 30
"""All members together, unpacked."""
MOST_RATIO: Final = 200
"""Unpacked to packed, for members above a megabyte. Speech shrinks to a half; a bomb shrinks a thousandfold."""
_SMALL: Final = 1 << 20
_WINDOWS_NAMES: Final = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Archive:
    """A zip file, checked as a whole when it is first looked into."""

    path: Path

    def names(self) -> list[str]:
        """The plain files in it, sorted.

        Raises:
            DataError: it is no zip file, or has anything in it that a folder of recordings has not: links, devices,
                names that lead outside, names twice, encryption, sizes that only a bomb has.
        """
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises ValueError if there is none, or it is damaged."""
        member = self._members.get(name)
        if member is None:
            raise ValueError(f"is not in {self.path.name}")
        if member.file_size > LARGEST:
            raise ValueError(f"has {member.file_size:,} bytes, and a clip may have {LARGEST:,}")
        try:
            with self._file.open(member) as file:
                data = file.read(member.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"is damaged inside of {self.path.name}: {error}") from None
        if len(data) != member.file_size:
            raise ValueError(f"is damaged inside of {self.path.name}: {len(data):,} bytes of {member.file_size:,}")
        return data

    @cached_property
    def _file(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DataError(Problem(str(self.path), f"is no zip archive that can be read: {error}")) from None
        except OSError as error:
            raise DataError(Problem(str(self.path), f"cannot be read: {error.strerror or error}")) from None

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        folded: set[str] = set()
        problems = []
        members = self._file.infolist()
        if len(members) > MOST_MEMBERS:
            raise DataError(Problem(str(self.path), f"has {len(members):,} members; {MOST_MEMBERS:,} are allowed"))
        if sum(member.file_size for member in members) > MOST_BYTES:
            raise DataError(Problem(str(self.path), f"unpacks to more than {MOST_BYTES:,} bytes: it is refused whole"))
        for member in members:
            wrong = _what_is_wrong(member)
            name = member.filename.rstrip("/")
            # Two names that a file system might take for one: after folding case and composing accents.
            key = unicodedata.normalize("NFC", name).casefold()
            if wrong is None and key in folded:
                wrong = "is there twice, or differs from another name in case or accents only"
            if wrong is not None:
                problems.append(Problem(f"{self.path}:{_shown(member.filename)}", wrong))
            folded.add(key)
            if not member.is_dir():
                found[member.filename] = member
        if problems:
            more = len(problems) - 20
            rest = [Problem(str(self.path), f"and {more:,} more members like these")] if more > 0 else []
            raise DataError([*problems[:20], *rest])
        return found


def _what_is_wrong(member: zipfile.ZipInfo) -> str | None:
    """Why this member has no place in an archive of recordings, or None."""
    name = member.filename
    if member.orig_filename != name and member.orig_filename.replace("\\", "/") != name:
        return "has a NUL in its name"
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > member.is_dir():
        return "is a link, a device or another thing that is no plain file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {member.compress_type}; stored and deflated members are read"
    parts = name.removesuffix("/").split("/")
    if "\\" in member.orig_filename or ":" in name or any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in name):
        return "has a backslash, a colon or a control character in its name"
    if len(name) > 1024 or any(part in ("", ".", "..") for part in parts):
        return "has a name that leads elsewhere"
    for part in parts:
        if part != part.rstrip(". ") or part != part.lstrip(" ") or part.split(".")[0].lower() in _WINDOWS_NAMES:
            return "has a name that does not mean the same on all systems"
    if member.file_size > _SMALL and member.file_size > MOST_RATIO * max(1, member.compress_size):
        return f"unpacks to {member.file_size // max(1, member.compress_size):,} times its size"
    return None


def _shown(name: str) -> str:
    return name[:100].encode("unicode_escape").decode("ascii")
