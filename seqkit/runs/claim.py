"""Claiming a folder for a new run: by creating `status.json` exclusively, so that no two runs share a folder."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from seqkit.errors import UsageError
from seqkit.io import atomic
from seqkit.runs.lock import describe_holder, locked, this_process, timestamp

_SETUP_FILES = {"status.json", "recipe.yaml", "plugins.json", "git.json", "environment.json", "checkpoints", "tb"}
"""What `Run.create` makes before `resolved.yaml`, which completes a run folder."""


_PREPARATION_FILES = {"resolved.yaml", "run.log", "data.json", "fields.json", "origin.json"}
"""What is written beside them before training."""

MAX_LABELS = 4
"""At most this many overrides are part of a new folder's name."""

PREPARING: Final = "preparing"
"""The stage of a run that has not come to its first step."""


def claim(folder: Path) -> Path:
    """Claim `folder`, which must not exist or be empty.

    What a process that was killed in `create` left is removed, and so is a run that failed before its first step.

    Raises:
        UsageError: it is not a folder or not empty, or another run claims it at the same moment.
    """
    check_claimable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as is_locked:
        if is_locked and was_killed_setting_up(folder):
            for path in folder.iterdir():
                path.rmdir() if path.is_dir() else path.unlink()
        elif is_locked and has_failed_before_training(folder):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        _check_empty(folder)
        try:
            atomic.create(folder / "status.json", first_status())
        except FileExistsError as error:
            raise UsageError(f"--out {folder}: another run has just claimed it") from error
    return folder


def check_claimable(folder: Path) -> None:
    """Refuse, before anything is written, a folder that `claim` would refuse.

    Raises:
        UsageError: it is not a folder, not empty, or cannot be written.
    """
    check_writable(folder)
    if folder.is_dir() and not (was_killed_setting_up(folder) or has_failed_before_training(folder)):
        _check_empty(folder)


def check_writable(folder: Path, option: str = "--out") -> None:
    """Refuse a folder in which nothing can be written, or which cannot be made.

    Args:
        folder: it need not exist.
        option: how the user has named it.

    Raises:
        UsageError: it is not a folder, or this user may not write there.
    """
    for existing in (folder, *folder.absolute().parents):
        if not os.path.lexists(existing):
            continue
        if not os.path.isdir(existing):
            raise UsageError(f"{option} {folder}: {'' if existing == folder else f'{existing} is '}not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise UsageError(f"{option} {folder}: cannot write in {existing}; choose another folder")
        return


def _check_empty(folder: Path) -> None:
    if any(folder.iterdir()):
        message = "the folder is not empty, and a run never overwrites"
        raise UsageError(f"--out {folder}: {message}; choose a new folder, or use --resume")


def claim_new(root: Path, name: str, resolved: str, overrides: Sequence[str] = ()) -> Path:
    """Claim a new folder under `root`: recipe, overrides, time and hash, with a number if the name is in use."""
    root.mkdir(parents=True, exist_ok=True)
    minute = datetime.now(UTC).strftime("%Y%m%dT%H%MZ")
    labels = [label for flag in overrides if (label := override_label(flag))][:MAX_LABELS]
    stem = "-".join([slug(name), *labels, minute, hashlib.sha256(atomic.encode(resolved)).hexdigest()[:6]])
    for number in itertools.count(1):
        folder = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
            atomic.create(folder / "status.json", first_status())
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


def was_killed_setting_up(folder: Path) -> bool:
    """Whether everything in the folder was left by a process that was killed in `Run.create`."""
    # First whether the process is dead: one that lives may complete the folder after its files were listed, and exit.
    if not _is_left_status(folder / "status.json"):
        return False
    names = {path.name for path in folder.iterdir()}
    if any(not name.startswith(atomic.TEMPORARY) for name in names - _SETUP_FILES):
        return False
    return not any(any((folder / name).iterdir()) for name in ("checkpoints", "tb") if name in names)


def has_failed_before_training(folder: Path) -> bool:
    """Whether the folder is that of a run that failed before its first step, for its data perhaps, and no more."""
    status = atomic.read_json(folder / "status.json")
    if not isinstance(status, dict) or (status.get("state"), status.get("stage")) != ("failed", PREPARING):
        return False
    if any(path.name not in _PREPARATION_FILES | _SETUP_FILES for path in folder.iterdir()):
        return False
    folders = [folder / name for name in ("checkpoints", "tb")]
    return not any(any(path.iterdir()) for path in folders if path.is_dir())


def _is_left_status(path: Path) -> bool:
    """Whether this is the first status of a process that is dead, or the beginning of one."""
    status = atomic.read_json(path)
    if status is None:  # half of a first status is shorter than a whole one; a longer file is something else
        return path.exists() and path.stat().st_size < len(first_status())
    return isinstance(status, dict) and status.get("state") == "created" and describe_holder(status) is None


def first_status() -> str:
    """The content of `status.json` that claims a folder: enough to tell whether its process is still alive."""
    return json.dumps({"state": "created", "heartbeat": timestamp(), **this_process()}) + "\n"


def override_label(flag: str) -> str:
    """What a `--set` flag is called in a folder's name: `lr=0.01` for `train.optimizer.lr=0.01`; "" for `expect`.

    At most 24 letters, digits, points and equals signs, so that it is a safe part of any file name.
    """
    key, _, value = flag.partition("=")
    if key.split(".")[0] == "expect":
        return ""
    return re.sub(r"[^A-Za-z0-9.=]+", "_", f"{key.rpartition('.')[2]}={value}")[:24].strip("_.")


def slug(name: str) -> str:
    """A name as part of a path: lower-case ASCII letters, digits and single hyphens, at most 40; never empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "run"
