"""The cache folder, for what can be made again at any time; and the SHA-256 of a file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from seqkit.regular_files import open_regular


def cache_folder() -> Path:
    """`$SEQKIT_CACHE`, or `$XDG_CACHE_HOME/seqkit`, or `~/.cache/seqkit`. It is not created here."""
    if folder := os.environ.get("SEQKIT_CACHE"):
        return Path(folder)
    all_caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(all_caches) if all_caches else Path.home() / ".cache") / "seqkit"


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file's bytes, in hexadecimal. Raises OSError for a pipe or a device."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
