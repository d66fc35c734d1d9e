"""The manifest of a checkpoint: its format, step and files with sizes and hashes, sealed by a hash of itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqkit._version import __version__
from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.regular_files import open_regular, read_regular
from seqkit.types import JSON

FORMAT_VERSION = 1
"""Readers accept this and all lower versions, and refuse higher ones."""


MANIFEST = "MANIFEST.json"


STATE = "state.json"


class Damaged(RunError):
    """A checkpoint differs from its manifest, or has none."""


class TooNew(RunError):
    """A checkpoint has a format that this version does not know."""


def manifest_text(step: int, entries: Mapping[str, JSON]) -> str:
    """The text of a manifest, sealed: its last line is the SHA-256 of all other lines."""
    body = {"format_version": FORMAT_VERSION, "seqkit": __version__, "step": step, "files": dict(entries)}
    return _canonical({**body, "sha256": _seal(body)})


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint in this folder.

    Raises:
        Damaged: there is none, or it has changed since it was written.
        TooNew: a later version of seqkit wrote it.
    """
    file = path / MANIFEST
    try:
        data = read_regular(file, atomic.MOST_JSON_BYTES)
        manifest = json.loads(data)
        version = manifest["format_version"]
    except FileNotFoundError as error:
        raise Damaged(f"{path}: {MANIFEST} is missing: the save was not finished") from error
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise Damaged(f"{file}: not a manifest: {error}") from error
    if not isinstance(version, int) or version < 1:
        raise Damaged(f"{file}: not a manifest: format_version {version!r}")
    if version > FORMAT_VERSION:
        raise TooNew(
            f"{path}: written in checkpoint format {version} (by seqkit {manifest.get('seqkit', '?')}), but this "
            f"seqkit {__version__} reads up to format {FORMAT_VERSION}; upgrade seqkit to continue from it"
        )
    if not is_sealed(path) or _canonical(manifest).encode() != data:
        raise Damaged(f"{file}: its content has changed since it was written")
    if not _is_well_formed(manifest):
        raise Damaged(f"{file}: not a manifest: it does not list a step and its files")
    return dict(manifest)


def _is_well_formed(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest, sealed or not, has a step and files as readers expect them."""
    step, files = manifest.get("step"), manifest.get("files")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 10**15 or not isinstance(files, dict):
        return False
    entries = files.values()
    return STATE in files and all(isinstance(entry, dict) and entry.keys() == {"size", "sha256"} for entry in entries)


def is_sealed(path: Path) -> bool:
    """Whether the manifest has the right hash of itself, which every future format version must have too."""
    manifest = atomic.read_json(path / MANIFEST)
    if not isinstance(manifest, dict):
        return False
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return bool(manifest.get("sha256") == _seal(body))


def _seal(body: JSON) -> str:
    return hashlib.sha256(_canonical(body).encode()).hexdigest()


def _canonical(value: JSON) -> str:
    return json.dumps(value, indent=2) + "\n"


def file_entry(path: Path) -> dict[str, JSON]:
    """Size and SHA-256 of a file, as manifests list them."""
    with open_regular(path) as stream:
        return {"size": os.fstat(stream.fileno()).st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
