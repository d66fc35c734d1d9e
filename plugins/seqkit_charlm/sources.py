"""Where running text comes from: Python's help texts, public data, the user's file."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, Shard, fetch, readers
from seqkit.reading import report_split_rule
from seqkit_charlm.splits import Document

FilePaths: TypeAlias = Path | tuple[Path, ...]
"""A file, a folder of text files, a pattern, or several of those."""

_COMMIT = "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
SHAKESPEARE = Dataset(
    "char_lm/tinyshakespeare",
    (
        File(
            "input.txt",
            f"https://raw.githubusercontent.com/karpathy/char-rnn/{_COMMIT}/data/tinyshakespeare/input.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            1_115_394,
        ),
    ),
    licence="the text is in the public domain",
    about="excerpts of Shakespeare's plays, 1.1 million characters (A. Karpathy 2015, char-rnn)",
)


@dataclass(frozen=True)
class Corpus:
    """A text: the user's file or folder of files, or without one a named source."""

    source: str
    file: FilePaths | None = None
    encoding: str = "utf-8"

    def documents(self) -> list[Document]:
        """The documents of the text, in order; joined without separators they are the whole text.

        Raises:
            DataError: the file is missing or is not text.
        """
        if self.file is None and self.source == "python-docs":
            from pydoc_data.topics import topics

            return [Document(f"pydoc_data.topics[{name!r}]", topics[name]) for name in sorted(topics)]
        if self.file is not None:
            return documents_of(self.file, self.encoding)
        return [Document(path.name, example.input) for path in self.files() for example in readers.text(path)]

    def files(self) -> Sequence[Path]:
        """The files that the text is read from."""
        if self.file is not None:
            return text_files(self.file)
        if self.source == "python-docs":
            import pydoc_data.topics

            return [Path(pydoc_data.topics.__file__)]
        return [fetch(SHAKESPEARE) / file.path for file in SHAKESPEARE.files]

    def about(self) -> dict[str, Any]:
        """Facts for the run folder."""
        if self.file is not None:
            return {"dataset": shown(self.file)}
        if self.source == "python-docs":
            return {
                "dataset": f"pydoc_data.topics of Python {platform.python_version()}",
                "licence": "PSF-2.0, the licence of the Python documentation",
            }
        return {"dataset": SHAKESPEARE.name, "licence": SHAKESPEARE.licence, "about": SHAKESPEARE.about}


def whole_texts(paths: FilePaths, encoding: str, rule: str) -> list[Shard]:
    """The files of folders, of which each is a text that is read by itself; none if a text consists of several files.

    Args:
        paths: files and folders.
        encoding: of the text.
        rule: by which examples come into the split, to be reported.

    Raises:
        DataError: a file is missing.
    """
    listed = [paths] if isinstance(paths, Path) else paths
    if not all(path.is_dir() for path in listed):
        return []
    return [
        Shard(name, (file,), partial(_whole_text, file, name, encoding, rule))
        for path, file in _files_of(paths)
        for name in [str(file.relative_to(path))]
    ]


def _whole_text(file: Path, name: str, encoding: str, rule: str) -> Iterator[Example]:
    report_split_rule(rule)
    if text := _text_of(file, encoding):
        yield Example(text, None, f"{name}:1")


def _text_of(file: Path, encoding: str) -> str:
    lines = readers.numbered(file, encoding=encoding)
    return "".join(line.text + "\n" if line.ended else line.text for line in lines)


def shown(paths: FilePaths) -> str:
    """Files and folders for people."""
    return str(paths) if isinstance(paths, Path) else ", ".join(map(str, paths))


def documents_of(paths: FilePaths, encoding: str = "utf-8") -> list[Document]:
    """The text of files, and of each text file of folders and of those in them, by name.

    Raises:
        DataError: a file is missing or is not text.
    """
    documents: list[Document] = []
    for path, file in _files_of(paths):
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        continues = bool(documents) and not path.is_dir()
        documents.append(Document(name, _text_of(file, encoding), continues))
    return documents


def text_files(paths: FilePaths) -> list[Path]:
    """The files, those that match a pattern, and the files `*.txt` (perhaps compressed) of folders and of those in
    them; all others are reported.

    Raises:
        DataError: there is no such file or folder, or it has no text files.
    """
    return [file for _, file in _files_of(paths)]


def _files_of(paths: FilePaths) -> Iterator[tuple[Path, Path]]:
    """Each file with the name that stands for it."""
    for path in [paths] if isinstance(paths, Path) else paths:
        for file in _text_files(path):
            yield path, file


def _text_files(path: Path) -> list[Path]:
    if readers.is_remote(path) or (readers.is_pattern(path) and not path.exists()):
        return readers.shard_files(path.parent, path.name)
    if not path.exists():
        raise MissingFile(path)
    if not path.is_dir():
        return [path]
    files = readers.list_files(path, (".txt",))
    if not files:
        raise DataError(Problem(str(path), "there is no file *.txt in this folder"))
    return files
