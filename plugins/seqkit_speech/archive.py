"""Clips from a zip archive. Nothing is unpacked to disk, and an archive may hold only plain files and folders.

Members are read into memory, up to a limit, so no name in an archive can reach the file system. Odd names are refused
nevertheless, because an archive that has them is malicious or damaged.
"""

from __future__ import annotations

import errno
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
"""Unpacked to packed size, for members above a megabyte. Speech shrinks to a half, a zip bomb to a thousandth."""
_SMALL: Final = 1 << 20
_WINDOWS_NAMES: Final = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Archive:
    """A zip file. All of its members are checked when the first is asked for."""

    path: Path

    def names(self) -> list[str]:
        """The plain files in it, sorted.

        Raises:
            DataError: it is not a zip file, or has a member that a folder of recordings would not have: a link, a
                device, a name that leads outside, a repeated name, an encrypted file, the size of a zip bomb.
        """
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises ValueError if there is none, or it is damaged."""
        member = self._members.get(name)
        if member is None:
            raise ValueError(f"is not in {self.path.name}")
        if member.file_size > LARGEST:
            raise ValueError(f"has {member.file_size:,} bytes; at most {LARGEST:,} are allowed")
        try:
            with self._file.open(member) as file:
                data = file.read(member.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"is damaged inside of {self.path.name}: {error}") from None
        if len(data) != member.file_size:
            raise ValueError(
                f"is damaged inside of {self.path.name}: it has {len(data):,} bytes of {member.file_size:,}"
            )
        return data

    @cached_property
    def _file(self) -> zipfile.ZipFile:
        try:
            if (
                self.path.exists() and not self.path.is_file()
            ):  # a pipe would make the next line wait for ever, and a device may never end
                raise OSError(errno.EINVAL, "is not a regular file", str(self.path))
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DataError(Problem(str(self.path), f"is not a zip archive, or is damaged: {error}")) from None
        except OSError as error:
            raise DataError(Problem(str(self.path), f"cannot be read: {error.strerror or error}")) from None

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        files: dict[str, zipfile.ZipInfo] = {}
        folded_names: set[str] = set()
        problems = []
        members = self._file.infolist()
        if len(members) > MOST_MEMBERS:
            raise DataError(
                Problem(str(self.path), f"has {len(members):,} members; at most {MOST_MEMBERS:,} are allowed")
            )
        if sum(member.file_size for member in members) > MOST_BYTES:
            raise DataError(Problem(str(self.path), f"unpacks to more than {MOST_BYTES:,} bytes"))
        for member in members:
            fault = _find_fault(member)
            name = member.filename.rstrip("/")
            # Two names that a file system may take for one have the same key: case folded, accents composed.
            key = unicodedata.normalize("NFC", name).casefold()
            if fault is None and key in folded_names:
                fault = "is repeated, or differs from another name only in case or accents"
            if fault is not None:
                problems.append(Problem(f"{self.path}:{escaped(member.filename)}", fault))
            folded_names.add(key)
            if fault is None and not member.is_dir():
                files[member.filename] = member
        if problems:
            more = len(problems) - 20
            rest = [Problem(str(self.path), f"and {more:,} more members like these")] if more > 0 else []
            raise DataError([*problems[:20], *rest])
        return files


def _find_fault(member: zipfile.ZipInfo) -> str | None:
    """Why this member does not belong in an archive of recordings, or None if it does."""
    name = member.filename
    if not name:  # zipfile itself fails on it
        return "has no name"
    if member.orig_filename != name and member.orig_filename.replace("\\", "/") != name:
        return "has a NUL in its name"
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > member.is_dir():
        return "is a link, a device or something else that is not a plain file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {member.compress_type}; only stored and deflated members are supported"
    fault = find_name_fault(name, backslashes="\\" in member.orig_filename)
    if fault is not None:
        return fault
    if member.file_size > _SMALL and member.file_size > MOST_RATIO * max(1, member.compress_size):
        return f"unpacks to {member.file_size // max(1, member.compress_size):,} times its size"
    return None


def find_name_fault(name: str, *, backslashes: bool = False) -> str | None:
    """Why a member of an archive should not be called so, or None if it may be.

    Args:
        name: with slashes.
        backslashes: whether the archive has some in their place.
    """
    components = name.removesuffix("/").split("/")
    if (
        backslashes
        or "\\" in name
        or ":" in name
        or any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in name)
    ):
        return "has a backslash, a colon or a control character in its name"
    if len(name) > 1024 or any(component in ("", ".", "..") for component in components):
        return "has a name that leads outside of the archive"
    for component in components:
        stem = component.split(".")[0].lower()
        if component != component.rstrip(". ") or component != component.lstrip(" ") or stem in _WINDOWS_NAMES:
            return "has a name that is not valid on all systems"
    return None


def escaped(name: str) -> str:
    return name[:100].encode("unicode_escape").decode("ascii")
