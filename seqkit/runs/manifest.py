"""The manifest of a checkpoint: what belongs to it, sealed by a hash of itself."""

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
from seqkit.runs.state_tree import pack as pack
from seqkit.runs.state_tree import unpack as unpack
from seqkit.runtime.random_state import random_state as random_state
from seqkit.runtime.random_state import restore_random_state as restore_random_state
from seqkit.types import JSON

FORMAT_VERSION = 1
"""Readers accept this and every lower version, and refuse higher ones by name."""


MANIFEST = "MANIFEST.json"


STATE = "state.json"


class Damaged(RunError):
    """A checkpoint is not what its manifest says, or has none."""


class TooNew(RunError):
    """A checkpoint was written in a format that this version does not know."""


def manifest_text(step: int, entries: Mapping[str, JSON]) -> str:
    """The manifest, sealed: its last line is the SHA-256 of all the rest."""
    body = {"format_version": FORMAT_VERSION, "seqkit": __version__, "step": step, "files": dict(entries)}
    return _canonical({**body, "sha256": _seal(body)})


def read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        data = file.read_bytes()
        manifest = json.loads(data)
        version = manifest["format_version"]
    except FileNotFoundError as error:
        raise Damaged(f"{path}: {MANIFEST} missing: the save was not finished") from error
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise Damaged(f"{file}: not a manifest: {error}") from error
    if not isinstance(version, int) or version < 1:
        raise Damaged(f"{file}: not a manifest: format_version {version!r}")
    if version > FORMAT_VERSION:
        raise TooNew(
            f"{path}: written in checkpoint format {version} (by seqkit {manifest.get('seqkit', '?')}), but this "
            f"seqkit {__version__} reads up to format {FORMAT_VERSION}; upgrade seqkit to go on from it"
        )
    if not is_sealed(path) or _canonical(manifest).encode() != data:
        raise Damaged(f"{file}: its content changed after it was written")
    if not _well_formed(manifest):
        raise Damaged(f"{file}: not a manifest: it does not list a step and its files")
    return dict(manifest)


def _well_formed(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest, sealed or not, says what its readers ask of it."""
    step, files = manifest.get("step"), manifest.get("files")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 10**15 or not isinstance(files, dict):
        return False
    entries = files.values()
    return STATE in files and all(isinstance(each, dict) and each.keys() == {"size", "sha256"} for each in entries)


def is_sealed(path: Path) -> bool:
    """True if the manifest carries the right hash of itself: a rule for every format version to come."""
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
    with path.open("rb") as stream:
        return {"size": os.fstat(stream.fileno()).st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
