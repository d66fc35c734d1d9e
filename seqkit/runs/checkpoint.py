"""Checkpoints: folders of safetensors and JSON that are whole or not there at all, and whose damage is found.

    checkpoints/
      last.json, best.json           pointers: {"checkpoint": "step-00000120"}
      step-00000120/
        model.safetensors ...        one file a stem: weights, optimiser, random states, as the caller chose
        state.json                   everything that is not a tensor
        MANIFEST.json                format version, size and SHA-256 of each file; written last

A save goes to a temporary name in the same folder and takes its real name when everything in it is durable, so a
process killed at any moment leaves the old checkpoints and, at most, rubbish that the next save clears. A folder
without a valid manifest is not a checkpoint. safetensors finds no flipped bits, so every file is hashed. No pickle.

Only one process may save into a folder (the run's lock sees to that); any number may read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor

from seqkit import fault_injection
from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.runs.manifest import MANIFEST, STATE, Damaged, TooNew, file_entry, is_sealed, manifest_text, read_manifest
from seqkit.runs.state_tree import pack as pack
from seqkit.runs.state_tree import unpack as unpack
from seqkit.runtime.random_state import random_state as random_state
from seqkit.runtime.random_state import restore_random_state as restore_random_state
from seqkit.types import JSON

CORRUPT = ".corrupt"


REPLACED = ".replaced"


Tensors: TypeAlias = dict[str, dict[str, Tensor]]
"""File stem -> name -> tensor."""


Tell: TypeAlias = Callable[[str], object]
"""Gets one plain sentence for each thing a user should know."""


_NAME = re.compile(r"step-(\d{8,})")


_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def save(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: JSON) -> Path:
    """Write the checkpoint of `step` under `folder` (the run's `checkpoints/`) and return its path.

    Args:
        tensors: file stem (`model`, `optimizer`, ...) -> name -> tensor, on any device.
        state: dictionaries with string keys, lists, strings, numbers (infinities and NaN too), booleans, None.

    Raises:
        RunError: the disk is full or read-only. Earlier checkpoints are untouched and nothing half-written is left.
        TypeError: `state` would not read back equal.
    """
    check_json(state)
    for stem in tensors:
        if not _STEM.fullmatch(stem):
            raise ValueError(f"not a name for a checkpoint file: {stem!r}")
    goal = folder / name_of(step)
    part = atomic.temporary(goal)
    need = _size(tensors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clean_up(folder)
        if need > atomic.free_bytes(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part.mkdir()
        _fill(part, step, tensors, state)
        _take_name(part, goal)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise atomic.write_error(error, folder, need=need, more=_last_good(folder)) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return goal


def _fill(part: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: JSON) -> None:
    entries: dict[str, JSON] = {}

    def put(name: str, content: bytes) -> None:
        # Hashed as it was meant: a disk that keeps something else is found out when the file is read.
        entries[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        atomic.create(part / name, content, point="save.write")

    for stem, named in tensors.items():
        put(f"{stem}.safetensors", serialized(_plain(named)))
    put(STATE, atomic.encode(json.dumps(state, separators=(",", ":"))))
    atomic.create(part / MANIFEST, manifest_text(step, entries), point="save.manifest")
    atomic.sync_folder(part)


def _take_name(part: Path, goal: Path) -> None:
    """Give a finished folder its name. A checkpoint of the same step steps aside first and is valid until then."""
    aside = goal.with_name(goal.name + REPLACED)
    if goal.exists():
        os.rename(goal, aside)
    fault_injection.at("save.rename")
    os.rename(part, goal)
    atomic.sync_folder(goal.parent, point="save.dirfsync")
    if aside.exists():
        _remove(aside)


def _plain(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Dense tensors on the CPU that share no memory: tied weights are stored under both of their names."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in named.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            value = value.clone()
            storage = value.untyped_storage()
        seen.add(storage.data_ptr())
        plain[name] = value
    return plain


def _size(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    """Bytes that a checkpoint of these tensors takes, with a margin for names and the small files."""
    return sum(tensor.nbytes + 256 for named in tensors.values() for tensor in named.values()) + 65536


def check_free_space(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise RunError now if `folder` has no room for two checkpoints: an old one goes only when the new one is safe."""
    folder.mkdir(parents=True, exist_ok=True)
    need = 2 * _size(tensors)
    if need > atomic.free_bytes(folder):
        raise atomic.write_error(OSError(errno.ENOSPC, ""), folder, need=need, more="two checkpoints must fit")


def clean_up(folder: Path) -> None:
    """Clear what a killed process left: unfinished folders go, a replaced checkpoint comes back if it is needed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(atomic.TEMPORARY):
            _remove(path)
        elif path.name.endswith(REPLACED):
            goal = path.with_name(path.name.removesuffix(REPLACED))
            if goal.exists():
                _remove(path)
            else:
                os.rename(path, goal)


def _remove(path: Path) -> None:
    """Delete a folder under an unfinished name first, so that half of it is never taken for a damaged checkpoint."""
    if path.is_dir() and not path.is_symlink():
        if not path.name.startswith(atomic.TEMPORARY):
            path = path.rename(atomic.temporary(path))
            fault_injection.at("retain.delete")
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def load(path: Path) -> tuple[Tensors, JSON]:
    """The tensors (on the CPU) and the state of one checkpoint, exactly as saved.

    Raises:
        Damaged: it is not what its manifest says; the sentence names the file.
        TooNew: a later version of seqkit wrote it.
    """
    entries = verify(path)
    tensors: Tensors = {}
    for name in entries:
        if name.endswith(".safetensors"):
            try:
                tensors[name.removesuffix(".safetensors")] = dict(load_file(path / name))
            except SafetensorError as error:
                raise Damaged(f"{path / name}: not a safetensors file: {error}") from error
    try:
        state = json.loads((path / STATE).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path / STATE}: {error}") from error
    return tensors, state


def verify(path: Path) -> dict[str, JSON]:
    """Check every byte of a checkpoint against its manifest; return the manifest's files.

    Raises:
        Damaged, TooNew: as `load`.
    """
    manifest = read_manifest(path)
    if path.name.removesuffix(REPLACED) != name_of(manifest["step"]):
        raise Damaged(f"{path}: its manifest belongs to {name_of(manifest['step'])}")
    entries: dict[str, JSON] = manifest["files"]
    # Names that begin with a dot are what file systems and desktops leave behind; they are nobody's data.
    present = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    expected = {*entries, MANIFEST}
    if missing := sorted(expected - present):
        raise Damaged(f"{path}: {', '.join(missing)} missing")
    if extra := sorted(present - expected):
        raise Damaged(f"{path}: {', '.join(extra)} is not in the manifest")
    for name, entry in entries.items():
        file = path / name
        try:
            if file.is_symlink() or not file.is_file():
                raise Damaged(f"{file}: not a plain file")
            if (size := file.stat().st_size) != entry["size"]:
                raise Damaged(f"{file}: {size} bytes, but {entry['size']} were written")
            if file_entry(file) != entry:
                raise Damaged(f"{file}: its content changed after it was written (SHA-256 differs)")
        except OSError as error:
            raise Damaged(f"{file}: {error.strerror}") from error
    return entries


def newest(folder: Path, tell: Tell | None = None, *, repair: bool = True) -> Path | None:
    """The newest valid checkpoint under `folder`, or None if there is none.

    Damaged ones are named through `tell`, renamed to `*.corrupt` (if `repair`) and passed over. With `repair=False`
    nothing on disk is touched, as befits a reader of a run that may still be training.

    Raises:
        TooNew: the newest one was written by a later version: going on from an older one would lose its steps.
    """
    tell = tell or (lambda sentence: None)
    if repair:
        clean_up(folder)
    doubtful: TooNew | None = None
    for path in reversed(steps(folder)):
        try:
            verify(path)
        except TooNew as error:
            if not is_sealed(path):
                # Either a flipped bit or an edited number: not to be trusted, and not ours to rename.
                tell(f"passed over: {error}")
                doubtful = error
                continue
            raise
        except Damaged as error:
            tell(f"damaged checkpoint passed over: {error}")
            if repair:
                path.rename(_free_name(path.with_name(path.name + CORRUPT)))
        else:
            return path
    if doubtful is not None:
        raise doubtful
    return None


def steps(folder: Path) -> list[Path]:
    """Every folder that is named like a checkpoint, oldest first. Nothing is verified."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name.removesuffix(REPLACED))
        if match and path.is_dir() and not path.is_symlink():
            # `step-N` sorts before `step-N.replaced`, and wins.
            found.setdefault(int(match.group(1)), path)
    return [found[step] for step in sorted(found)]


def step_of(path: Path) -> int:
    """The optimiser step that a checkpoint folder is named after."""
    match = _NAME.fullmatch(path.name.removesuffix(REPLACED))
    if match is None:
        raise ValueError(f"not a checkpoint: {path}")
    return int(match.group(1))


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def set_pointer(folder: Path, name: Literal["last", "best"], path: Path) -> None:
    """Let `last` or `best` mean this checkpoint, in one step."""
    step_of(path)
    try:
        atomic.write_json(folder / f"{name}.json", {"checkpoint": path.name})
    except OSError as error:
        raise atomic.write_error(error, folder, more=_last_good(folder)) from error


def read_pointer(folder: Path, name: Literal["last", "best"]) -> Path | None:
    """The checkpoint that `last` or `best` means, or None if there is no such pointer or no such folder."""
    value = atomic.read_json(folder / f"{name}.json")
    goal = value.get("checkpoint") if isinstance(value, dict) else None
    if not isinstance(goal, str) or not _NAME.fullmatch(goal):
        return None
    for path in (folder / goal, folder / (goal + REPLACED)):
        if path.is_dir():
            return path
    return None


def prune(folder: Path, keep: int, protect: Iterable[Path | str] = ()) -> list[Path]:
    """Delete all checkpoints but the newest `keep`, those that `last` and `best` mean, and those in `protect`.

    Call it when the new checkpoint and the pointers are written. Returns what was deleted.
    """
    safe = {Path(path).name for path in protect}
    safe |= {path.name for path in (read_pointer(folder, "last"), read_pointer(folder, "best")) if path is not None}
    found = steps(folder)
    gone = [path for path in found[: max(0, len(found) - keep)] if path.name not in safe]
    for path in gone:
        _remove(path)
    return gone


def _last_good(folder: Path) -> str:
    """`last good checkpoint: ...`, for an error message; it must not raise a second error."""
    try:
        path = newest(folder, repair=False)
    except (OSError, RunError):
        path = None
    return f"last good checkpoint: {path if path is not None else 'none'}"


def _free_name(path: Path) -> Path:
    number = 1
    goal = path
    while goal.exists():
        number += 1
        goal = path.with_name(f"{path.name}-{number}")
    return goal


def check_json(value: JSON, where: str = "state") -> None:
    """Raise TypeError, naming the place, unless JSON gives this value back equal and of the same types."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, f"{where}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: the key {key!r} is not a string, and JSON would make it one")
            check_json(item, f"{where}.{key}")
    else:
        raise TypeError(f"{where}: {type(value).__name__} is not JSON")
