"""Checkpoints: folders of safetensors and JSON that are either complete or absent, and whose damage is detected.

    checkpoints/
      last.json, best.json           pointers: {"checkpoint": "step-00000120"}
      step-00000120/
        model.safetensors ...        one file per stem: weights, optimiser, random states, as the caller chose
        state.json                   everything that is not a tensor
        MANIFEST.json                format version, size and SHA-256 of each file; written last

A save writes into a temporary folder beside the others, which gets its real name when everything in it is durable. A
process that is killed at any moment leaves the old checkpoints and, at most, leftovers that the next save removes. A
folder without a valid manifest is not a checkpoint. safetensors does not detect flipped bits, so every file is hashed.
No pickle.

Only one process may save into a folder (the run's lock ensures that); any number may read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from seqkit import fault_injection
from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.regular_files import read_regular
from seqkit.runs.manifest import MANIFEST, STATE, Damaged, TooNew, file_entry, is_sealed, manifest_text, read_manifest
from seqkit.runs.state_tree import check_json
from seqkit.types import JSON

CORRUPT = ".corrupt"
"""A damaged checkpoint's name ends in this, and perhaps a number."""


REPLACED = ".replaced"
"""A checkpoint's name ends in this while another of the same step is saved."""


Tensors: TypeAlias = dict[str, dict[str, Tensor]]
"""File stem -> name -> tensor."""


Tell: TypeAlias = Callable[[str], object]
"""Takes one plain sentence for each thing that the user should know."""


_NAME = re.compile(r"step-(\d{8,})")


_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def save(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: JSON) -> Path:
    """Write the checkpoint of `step` under `folder` (the run's `checkpoints/`) and return its path.

    Args:
        tensors: file stem (`model`, `optimizer`, ...) -> name -> tensor, on any device.
        state: dictionaries with string keys, lists, strings, numbers (infinities and NaN too), booleans, None.

    Raises:
        RunError: the disk is full or read-only. Earlier checkpoints are unchanged, and no incomplete file is left.
        TypeError: `state` would not read back equal.
    """
    check_json(state)
    for stem in tensors:
        if not _STEM.fullmatch(stem):
            raise ValueError(f"not a name for a checkpoint file: {stem!r}")
    path = folder / name_of(step)
    temporary = atomic.temporary(path)
    need = _estimate_bytes(tensors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clean_up(folder)
        if need > atomic.free_bytes(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        temporary.mkdir()
        _write_files(temporary, step, tensors, state)
        _publish(temporary, path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise atomic.write_error(error, folder, need=need, more=_describe_last_good(folder)) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def _write_files(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: JSON) -> None:
    """Write all files of a checkpoint durably, the manifest last."""
    entries: dict[str, JSON] = {}

    def write(name: str, content: bytes) -> None:
        # The hash is of the intended content: if the disk stores something else, reading the file detects it.
        entries[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        atomic.create(folder / name, content, point="save.write")

    for stem, named in tensors.items():
        write(f"{stem}.safetensors", serialize(_to_plain_tensors(named)))
    write(STATE, atomic.encode(json.dumps(_with_named_floats(state), separators=(",", ":"), allow_nan=False)))
    atomic.create(folder / MANIFEST, manifest_text(step, entries), point="save.manifest")
    atomic.sync_folder(folder)


def _publish(temporary: Path, path: Path) -> None:
    """Give a complete folder its name. A checkpoint of the same step is renamed first, and deleted afterwards."""
    replaced = path.with_name(path.name + REPLACED)
    if path.exists():
        os.rename(path, replaced)
    fault_injection.at("save.rename")
    os.rename(temporary, path)
    atomic.sync_folder(path.parent, point="save.dirfsync")
    if replaced.exists():
        _delete(replaced)


def _to_plain_tensors(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU that share no memory: tied weights are stored under both of their names."""
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


def _estimate_bytes(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    """Bytes that a checkpoint of these tensors takes, with a margin for names and the small files."""
    return sum(tensor.nbytes + 256 for named in tensors.values() for tensor in named.values()) + 65536


def check_free_space(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise RunError if two checkpoints do not fit: an old one is deleted only when the new one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    need = 2 * _estimate_bytes(tensors)
    if need > atomic.free_bytes(folder):
        raise atomic.write_error(OSError(errno.ENOSPC, ""), folder, need=need, more="two checkpoints must fit")


def clean_up(folder: Path) -> None:
    """Remove what a killed process has left; a replaced checkpoint gets its name back if there is no new one."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(atomic.TEMPORARY):
            _delete(path)
        elif path.name.endswith(REPLACED):
            original = path.with_name(path.name.removesuffix(REPLACED))
            if original.exists():
                _delete(path)
            else:
                os.rename(path, original)


def _delete(path: Path) -> None:
    """Delete a folder, after renaming it to a temporary name, so that half of it is never taken for a checkpoint."""
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
        Damaged: it differs from its manifest; the message names the file.
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
        state = _with_numbers(json.loads(read_regular(path / STATE, 1 << 30)))
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path / STATE}: {error}") from error
    return tensors, state


def _with_named_floats(value: JSON) -> JSON:
    """The value with `{"$float": "nan"}` for numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, dict):
        return {key: _with_named_floats(item) for key, item in value.items()}
    return [_with_named_floats(item) for item in value] if isinstance(value, list | tuple) else value


def _with_numbers(value: JSON) -> JSON:
    """The value that `_with_named_floats` was given. Raises ValueError for a name that is no number."""
    if isinstance(value, dict):
        if value.keys() == {"$float"}:
            return float(str(value["$float"]))
        return {key: _with_numbers(item) for key, item in value.items()}
    return [_with_numbers(item) for item in value] if isinstance(value, list) else value


def shapes(path: Path, stem: str) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in one file of a checkpoint, without reading the tensors."""
    with safe_open(path / f"{stem}.safetensors", "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  not a mapping


def verify(path: Path) -> dict[str, JSON]:
    """Check every byte of a checkpoint against its manifest; returns the files that the manifest lists.

    Raises:
        Damaged, TooNew: as `load`.
    """
    manifest = read_manifest(path)
    if path.name.removesuffix(REPLACED) != name_of(manifest["step"]):
        raise Damaged(f"{path}: its manifest belongs to {name_of(manifest['step'])}")
    entries: dict[str, JSON] = manifest["files"]
    # Names that begin with a dot are made by file systems and desktops, and are not data.
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
                raise Damaged(f"{file}: not a regular file")
            if (size := file.stat().st_size) != entry["size"]:
                raise Damaged(f"{file}: has {size} bytes, but {entry['size']} were written")
            if file_entry(file) != entry:
                raise Damaged(f"{file}: its content has changed since it was written (SHA-256 differs)")
        except OSError as error:
            raise Damaged(f"{file}: {error.strerror}") from error
    return entries


def newest(folder: Path, tell: Tell | None = None, *, repair: bool = True) -> Path | None:
    """The newest valid checkpoint under `folder`, or None if there is none.

    Damaged ones are named through `tell`, renamed to `*.corrupt` (if `repair`) and skipped. With `repair=False` nothing
    on disk is changed, so a run that still trains is safe.

    Raises:
        TooNew: the newest one was written by a later version: continuing from an older one would lose its steps.
    """
    tell = tell or (lambda sentence: None)
    if repair:
        clean_up(folder)
    unsealed: TooNew | None = None
    for path in reversed(steps(folder)):
        try:
            verify(path)
        except TooNew as error:
            if not is_sealed(path):
                # A flipped bit or an edited number: not to be trusted, but perhaps valid for a later version.
                tell(f"checkpoint skipped: {error}")
                unsealed = error
                continue
            raise
        except Damaged as error:
            tell(f"damaged checkpoint skipped: {error}")
            if repair:
                path.rename(_unused_name(path.with_name(path.name + CORRUPT)))
        else:
            return path
    if unsealed is not None:
        raise unsealed
    return None


def steps(folder: Path) -> list[Path]:
    """All folders that are named like checkpoints, oldest first. Nothing is verified."""
    by_step: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name.removesuffix(REPLACED))
        if match and path.is_dir() and not path.is_symlink():
            # `step-N` sorts before `step-N.replaced`, and is preferred.
            by_step.setdefault(int(match.group(1)), path)
    return [by_step[step] for step in sorted(by_step)]


def step_of(path: Path) -> int:
    """The optimiser step that a checkpoint folder is named after."""
    match = _NAME.fullmatch(path.name.removesuffix(REPLACED))
    if match is None:
        raise ValueError(f"not a checkpoint: {path}")
    return int(match.group(1))


def name_of(step: int) -> str:
    """The name of the checkpoint of a step."""
    return f"step-{step:08d}"


def set_pointer(folder: Path, name: Literal["last", "best"], path: Path) -> None:
    """Let `last` or `best` point to this checkpoint, atomically."""
    step_of(path)
    try:
        atomic.write_json(folder / f"{name}.json", {"checkpoint": path.name})
    except OSError as error:
        raise atomic.write_error(error, folder, more=_describe_last_good(folder)) from error


def read_pointer(folder: Path, name: Literal["last", "best"]) -> Path | None:
    """The checkpoint that `last` or `best` points to; None if there is no such pointer or no such folder."""
    value = atomic.read_json(folder / f"{name}.json")
    target = value.get("checkpoint") if isinstance(value, dict) else None
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        return None
    for path in (folder / target, folder / (target + REPLACED)):
        if path.is_dir():
            return path
    return None


def read_best_weights(folder: Path) -> tuple[dict[str, Tensor], int]:
    """The weights of the best checkpoint under `folder` (their average, where one was kept), and its step.

    Raises:
        RunError: there is no best checkpoint, or it is damaged.
    """
    path = read_pointer(folder, "best")
    if path is None:
        raise RunError(f"{folder}: no best checkpoint; the run ended before its first evaluation")
    tensors, _ = load(path)
    return tensors["average"] if "average" in tensors else tensors["model"], step_of(path)


def prune(folder: Path, keep: int, protect: Iterable[Path | str] = ()) -> list[Path]:
    """Delete all checkpoints except the newest `keep`, those of `last` and `best`, and those in `protect`.

    To be called after the new checkpoint and the pointers are written. Returns what was deleted.
    """
    safe = {Path(path).name for path in protect}
    safe |= {path.name for path in (read_pointer(folder, "last"), read_pointer(folder, "best")) if path is not None}
    paths = steps(folder)
    deleted = [path for path in paths[: max(0, len(paths) - keep)] if path.name not in safe]
    for path in deleted:
        _delete(path)
    return deleted


def _describe_last_good(folder: Path) -> str:
    """`last good checkpoint: ...`, for an error message; it must not raise a second error."""
    try:
        path = newest(folder, repair=False)
    except (OSError, RunError):
        path = None
    return f"last good checkpoint: {path if path is not None else 'none'}"


def _unused_name(path: Path) -> Path:
    """The path, with a number if it exists already."""
    number = 1
    unused = path
    while unused.exists():
        number += 1
        unused = path.with_name(f"{path.name}-{number}")
    return unused
