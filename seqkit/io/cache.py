"""Where seqkit keeps what it can make again, and how a file or folder appears there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """`$SEQKIT_CACHE`, or `$XDG_CACHE_HOME/seqkit`, or `~/.cache/seqkit`. It is not created here."""
    if own := os.environ.get("SEQKIT_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "seqkit"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
