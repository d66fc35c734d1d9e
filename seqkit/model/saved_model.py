"""A model's folder: written whole, opened without trusting it."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialized

from seqkit.errors import DataError, Problem, RunError, SeqkitError
from seqkit.io import atomic
from seqkit.io.cache import sha256_of
from seqkit.recipe import Recipe, build_task, load
from seqkit.registry import provenance
from seqkit.runtime import out_of_memory
from seqkit.types import JSON, Field, Task

if TYPE_CHECKING:
    pass
from seqkit.model.model import Model, build_model

FORMAT_VERSION = 1


NEEDED = ("model.safetensors", "recipe.yaml", "fields.json")
"""What a model is made of; its manifest may list more."""


def save_model(
    model: Model, folder: Path, resolved: str, fields: Mapping[str, tuple[Field, Field]], plugins: JSON = ()
) -> None:
    """All that prediction needs: weights, resolved recipe, fitted fields, plugins, and last a manifest with all hashes.

    Raises:
        RunError: the disk is full or read-only.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    states = {name: {"input": pair[0].state(), "target": pair[1].state()} for name, pair in fields.items()}
    contents = {
        "model.safetensors": serialized(weights),
        "recipe.yaml": resolved.encode(),
        "fields.json": json.dumps(states, ensure_ascii=False, indent=1).encode(),
        "plugins.json": json.dumps(list(plugins), ensure_ascii=False, indent=1).encode(),
    }
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = json.dumps({"format_version": FORMAT_VERSION, "files": files}, indent=1).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.remove_unfinished(folder)
        for name, content in {**contents, "MANIFEST.json": manifest}.items():
            atomic.write(folder / name, content, point="report")
    except OSError as error:
        raise atomic.write_error(error, folder) from error


def load_model(
    folder: Path, device: torch.device | str = "cpu"
) -> tuple[Model, Recipe, dict[str, tuple[Task, Field, Field]]]:
    """A saved model, its recipe and its tasks with fitted fields. `folder` is a run folder or its `model/`.

    Raises:
        DataError: there is no model here.
        PluginError: a plugin that it was made with is not installed.
        RunError: a file of it is missing, damaged, or of a newer format.
    """
    if (folder / "model" / "MANIFEST.json").exists():
        folder = folder / "model"
    manifest = _manifest(folder)
    for name, digest in manifest["files"].items():
        if not (folder / name).exists():
            raise RunError(f"{folder / name}: missing from the model; train again, or copy the whole folder")
        if sha256_of(folder / name) != digest:
            raise RunError(f"{folder / name}: damaged, its SHA-256 is not the one in MANIFEST.json")
    if "plugins.json" in manifest["files"]:
        plugins = json.loads((folder / "plugins.json").read_text(encoding="utf-8"))
        provenance.pin_recorded(plugins, f"the model in {folder}")
        for line in provenance.describe_changes(plugins, f"the model in {folder}"):
            print(f"warning: {line}", file=sys.stderr)
    recipe = load(str(folder / "recipe.yaml"))
    states = _json(folder / "fields.json")
    tasks = {}
    for name, entry in recipe.tasks.items():
        task = build_task(entry)
        try:
            state = states[name]
            given = task.input.restore(state["input"])
            tasks[name] = (task, given, task.target.restore(state["target"]).of(given))
        except SeqkitError:
            raise
        except Exception as error:  # a stranger's file may hold anything, and a field believes what it is given
            said = f"{type(error).__name__}: {error}"
            raise RunError(f"{folder / 'fields.json'}: what task {name} learned cannot be read ({said})") from error
    with out_of_memory.explain_oom():
        model = build_model(recipe, tasks, start=False)
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (RuntimeError, SafetensorError) as error:
        raise RunError(f"{folder}: the weights do not fit the recipe beside them: {error}") from error
    return model.to(device).eval(), recipe, tasks


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "MANIFEST.json"
    if not path.exists():
        raise DataError(Problem(str(folder), "no model here", "give a finished run's folder or its model/ folder"))
    manifest = _json(path)
    version = manifest.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RunError(f"{path}: not the manifest of a model: its format_version is {version!r}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{folder}: model format {version} is newer than this seqkit reads ({FORMAT_VERSION}); upgrade seqkit"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise RunError(f"{path}: not the manifest of a model: it lists no files")
    for name in NEEDED:
        if name not in files:
            raise RunError(f"{path}: not the manifest of a model: it does not list {name}")
    for name in files:
        # A name from a stranger: it may lead nowhere else, and what it names must be a plain file.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise RunError(f"{path}: lists {name[:80]!r}, which is no name of a file of a model")
        if (folder / name).exists() and not stat.S_ISREG((folder / name).lstat().st_mode):
            raise RunError(f"{folder / name}: is no plain file")
    return manifest


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: holds a {type(value).__name__} where an object is expected")
    return value
