"""The cache folder, for what can be made again at any time; and the SHA-256 of a file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from seqkit.regular_files import open_regular


def cache_folder() -> Path:
    """`$SEQKIT_CACHE`, or `$XDG_CACHE_HOME/seqkit`, or `~/.cache/seqkit`. It is not created here."""
    if folder := folder_from("SEQKIT_CACHE"):
        return folder
    return (folder_from("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqkit"


def folder_from(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is not set or empty.

    A leading `~` is the home folder: shells do not expand it in quotation marks, nor do files of settings.
    """
    value = os.environ.get(variable)
    return Path(os.path.expanduser(value)) if value else None


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file's bytes, in hexadecimal. Raises OSError for a pipe or a device."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
