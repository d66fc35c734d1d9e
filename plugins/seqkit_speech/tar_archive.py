"""Clips from a tar file. Each is read from where it lies: nothing is unpacked, and nothing before it is read."""

from __future__ import annotations

import tarfile
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from seqkit import DataError, Problem
from seqkit_speech.archive import MOST_MEMBERS, Archive, escaped, find_name_fault
from seqkit_speech.audio import LARGEST

ARCHIVES: Final = (".zip", ".tar")
"""The suffixes of archives of recordings."""


class Member(NamedTuple):
    """Where the bytes of a file begin in the archive, and how many they are."""

    start: int
    size: int


@dataclass(frozen=True)
class TarArchive:
    """A tar file that is not compressed. All of its members are checked when the first is asked for."""

    path: Path

    def names(self) -> list[str]:
        """The plain files in it, sorted.

        Raises:
            DataError: it is not a tar file, is compressed, or has a member that a folder of recordings would not have:
                a link, a device, a name that leads outside, a repeated name.
        """
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises ValueError if there is none, or it is damaged."""
        member = self._members.get(name)
        if member is None:
            raise ValueError(f"is not in {self.path.name}")
        if member.size > LARGEST:
            raise ValueError(f"has {member.size:,} bytes; at most {LARGEST:,} are allowed")
        with self.path.open("rb") as file:
            file.seek(member.start)
            data = file.read(member.size)
        if len(data) != member.size:
            raise ValueError(f"is cut inside of {self.path.name}: it has {len(data):,} bytes of {member.size:,}")
        return data

    @cached_property
    def _members(self) -> dict[str, Member]:
        try:
            if self.path.exists() and not self.path.is_file():
                raise DataError(Problem(str(self.path), "is not a regular file"))
            with tarfile.open(self.path, "r:") as archive:
                return self._checked(archive, self.path.stat().st_size)
        except tarfile.TarError as error:
            hint = "compressed ones are not read, because a clip could not be found in them: unpack with gunzip"
            raise DataError(Problem(str(self.path), f"is not a tar file, or is damaged: {error}", hint)) from None
        except OSError as error:
            raise DataError(Problem(str(self.path), f"cannot be read: {error.strerror or error}")) from None

    def _checked(self, archive: tarfile.TarFile, size: int) -> dict[str, Member]:
        files: dict[str, Member] = {}
        folded_names: set[str] = set()
        problems: list[Problem] = []
        for number, member in enumerate(archive, 1):
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            if number > MOST_MEMBERS:
                raise DataError(Problem(str(self.path), f"has more than {MOST_MEMBERS:,} members"))
            name = member.name.removeprefix("./")
            if member.isdir():
                continue
            key = unicodedata.normalize("NFC", name).casefold()
            fault = find_name_fault(name)
            if not member.isreg() or member.issparse():
                fault = "is a link, a device or something else that is not a plain file"
            elif fault is None and key in folded_names:
                fault = "is repeated, or differs from another name only in case or accents"
            elif fault is None and member.offset_data + member.size > size:
                fault = "is cut: the archive ends before it"
            if fault is None:
                files[name] = Member(member.offset_data, member.size)
            else:
                problems.append(Problem(f"{self.path}:{escaped(name)}", fault))
            folded_names.add(key)
        if problems:
            more = len(problems) - 20
            rest = [Problem(str(self.path), f"and {more:,} more members like these")] if more > 0 else []
            raise DataError([*problems[:20], *rest])
        return files


def open_archive(path: Path) -> Archive | TarArchive:
    """An archive, by its suffix: what is no tar file is taken for a zip file."""
    return TarArchive(path) if path.suffix.lower() == ".tar" else Archive(path)
