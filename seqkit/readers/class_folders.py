"""Folders of files of text: which files are read, and what is told of all others."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final

from seqkit.errors import DataError, MissingFile, Problem
from seqkit.readers.line_reader import decompressed, fail, numbered, numbered_stream, recode
from seqkit.reading import report_left_out
from seqkit.types import Example

COMPRESSED: Final = (".gz", ".bgz", ".xz", ".bz2")
TEXT_SUFFIXES: Final = (".txt", ".text", ".md", "")

_LARGEST_RATIO: Final = 200
"""Unpacked to packed size of a member above a megabyte. Text shrinks to a fifth, a zip bomb to a thousandth."""
_SMALL: Final = 1 << 20


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, without that of a compression: `.tsv` of `a.TSV.gz`."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def list_files(folder: Path | str, suffixes: Sequence[str] = TEXT_SUFFIXES) -> list[Path]:
    """The files of a folder and those below it whose names end so, in the order of their paths.

    All others, hidden ones among them, are reported as left out. A folder that is a link to another place is read; one
    that leads to a folder that is read in any case is left out.

    Args:
        folder: where to look.
        suffixes: how names may end, in lower case; a compression may follow. An empty one: names without a suffix.

    Raises:
        DataError: there is no such folder, or a link in it leads to a folder that it lies in.
    """
    folder = Path(folder)
    return [folder / name for name in _kept(_names_below(folder), suffixes)]


def folder_per_class(path: Path | str, *, level: int = 1, encoding: str = "utf-8") -> Iterator[Example]:
    """Files of text in a folder for each class: a file is an example, the name of a folder its label.

    Files are read in the order of their paths. Hidden files and folders, and files with other suffixes than
    `.txt`, `.text`, `.md` or none, are left out and reported.

    Args:
        path: the folder that has the folders of the classes, or a `.zip` of it.
        level: which folder below `path` names the class: 1 is the uppermost, -1 the one that the file lies in; 0: all
            of them, joined with `/`.
        encoding: of the text.

    Raises:
        DataError: there is no such folder, it has no such files, or a file is not deep enough to have the folder.
    """
    path = Path(path)
    archive = None if path.is_dir() else _Archive(path)
    count = 0
    for name in _kept(_names_below(path) if archive is None else archive.names(), TEXT_SUFFIXES):
        folders = name.parts[:-1]
        if not folders:
            report_left_out("file outside of the folders of the classes", str(name))
            continue
        if level and not -len(folders) <= (level if level < 0 else level - 1) < len(folders):
            message = f"lies in {len(folders):,} folders, so there is no folder {level} for its label"
            fail(path / name, None, None, message)
        label = "/".join(folders) if level == 0 else folders[level if level < 0 else level - 1]
        count += 1
        if archive is None:
            lines = numbered(path / name, encoding=encoding)
        else:
            lines = numbered_stream(recode(archive.open(name), path / name, encoding), path / name)
        text = "".join(line.text + "\n" for line in lines).rstrip("\n")
        yield Example(text, label, str(name))
    if not count:
        fail(path, None, None, "has no text files in folders", "each class is a folder of .txt files")


def _kept(names: Iterator[PurePosixPath], suffixes: Sequence[str]) -> Iterator[PurePosixPath]:
    """The names with such suffixes, without hidden ones; all others are reported."""
    for name in names:
        if any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
            report_left_out("hidden file", str(name))
        elif suffix_of(name.name) in suffixes:
            yield name
        else:
            report_left_out(f"file that is not text ({suffix_of(name.name) or 'no suffix'})", str(name))


def _names_below(root: Path) -> Iterator[PurePosixPath]:
    """The files in a folder and those below it, in the order of their paths."""
    if not root.is_dir():
        raise MissingFile(root, "folder")
    real_root = root.resolve()
    linked: set[Path] = set()

    def visit(folder: Path) -> Iterator[PurePosixPath]:
        for entry in sorted(folder.iterdir()):
            name = PurePosixPath(entry.relative_to(root).as_posix())
            if entry.is_dir():
                target = entry.resolve()
                if entry.is_symlink():
                    if target in linked or target == real_root or real_root in target.parents:
                        report_left_out("folder that is a link to one that is read already", str(name))
                        continue
                    if target in real_root.parents:
                        message = f"is a link to {target}, which the folder itself lies in"
                        fail(entry, None, None, message, "remove the link")
                    linked.add(target)
                yield from visit(entry)
            elif entry.is_file():
                yield name
            else:
                report_left_out("link that leads nowhere, or something that is no file", str(name))

    yield from visit(root)


class _Archive:
    """A zip archive. Nothing is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise MissingFile(path, "folder")
        try:
            self._file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            fail(path, None, None, f"is no folder, and cannot be read as a zip archive: {error}")

    def names(self) -> Iterator[PurePosixPath]:
        """The files in it, in the order of their paths.

        Raises:
            DataError: a member is no plain file, or cannot be read.
        """
        names: set[str] = set()
        for member in self._file.infolist():
            flaw = "is there twice" if member.filename in names else _flaw_of(member)
            if flaw:
                raise DataError(Problem(f"{self.path}:{member.filename}", flaw))
            if not member.is_dir():
                names.add(member.filename)
        yield from sorted(map(PurePosixPath, names))

    def open(self, name: PurePosixPath) -> IO[bytes]:
        """A file in it."""
        try:
            content = self._file.read(str(name))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            fail(self.path / name, None, None, f"is damaged: {error}")
        return decompressed(io.BytesIO(content), Path(name), content[:6])


def _flaw_of(member: zipfile.ZipInfo) -> str:
    """Why a member cannot be read; an empty text if it can."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    parts = member.filename.removesuffix("/").split("/")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link, a device or something else that is not a plain file"
    if any(part in ("", ".", "..") for part in parts):
        return "has a name that leads outside of the archive"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {member.compress_type}; only stored and deflated members are supported"
    if member.file_size > _SMALL and member.file_size > _LARGEST_RATIO * max(1, member.compress_size):
        return f"unpacks to {member.file_size // max(1, member.compress_size):,} times its size"
    return ""
