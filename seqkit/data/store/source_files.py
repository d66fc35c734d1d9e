"""The files that the splits of a task are read from: which they are, what to call them, and what is known of each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from seqkit.errors import DataError, Problem
from seqkit.io.cache import sha256_of
from seqkit.readers import is_pattern, shard_files
from seqkit.remote_files import fingerprint, is_remote, shown
from seqkit.types import JSON


def expand_patterns(paths: Iterable[Path], split: str) -> list[Path]:
    """The files of a split, with those that match a pattern in its place.

    Raises:
        DataError: nothing matches.
    """
    listed: list[Path] = []
    for path in paths:
        is_file = is_remote(path) or path.exists() or not is_pattern(path.name)
        listed += [path] if is_file else shard_files(path.parent, path.name, split)
    return listed


def file_facts(path: Path) -> JSON:
    """Size and hash of a file; of a remote one, which is not read for this, a hash of what its server says of it.

    Raises:
        DataError: it cannot be read.
    """
    if is_remote(path):
        known = fingerprint(path)
        digest = hashlib.sha256(json.dumps([known.size, dict(known.facts)], sort_keys=True).encode()).hexdigest()
        return {"bytes": known.size, "sha256": digest, "remote": {"url": shown(path), **known.facts}}
    try:
        return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    except OSError as error:
        raise DataError(Problem(str(path), f"cannot be read: {error.strerror}")) from None


def names_of(paths: Sequence[Path]) -> list[str]:
    """The name of each file; if they are in several folders, its path below the folder that all of them are in."""
    absolute = [path.absolute() for path in paths]
    if len({path.parent for path in absolute}) < 2:
        return [path.name for path in paths]
    top = os.path.commonpath([path.parent for path in absolute])
    return [path.relative_to(top).as_posix() for path in absolute]
