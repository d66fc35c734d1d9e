"""The model: one input layer and one head a task, one encoder for all of them; and its folder on disk."""

from __future__ import annotations

import dataclasses
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
from torch import nn

from seqkit.errors import DataError, Problem, RunError, SeqkitError
from seqkit.interfaces import Batch, Encoded, Encoder, Head, State
from seqkit.io import atomic
from seqkit.recipe import Recipe, build_task, load
from seqkit.registry import provenance, registry
from seqkit.runtime import out_of_memory
from seqkit.types import JSON, Field, Prediction, Task

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1

NEEDED = ("model.safetensors", "recipe.yaml", "fields.json")
"""What a model is made of; its manifest may list more."""


class Model(nn.Module):
    """Input layers, one encoder shared by all tasks of the recipe, one head a task.

    Args:
        layers: an input layer a task, `(x, lengths) -> (steps (B, T, D), lengths (B,))`.
        encoder: from (B, T, D) to `Encoded`.
        heads: a head a task.
    """

    encoder: Encoder

    def __init__(self, layers: Mapping[str, nn.Module], encoder: Encoder, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def head(self, task: str) -> Head:
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def encode(self, task: str, batch: Batch, state: State | None = None) -> Encoded:
        """One task's batch through its input layer and the encoder; `state` continues an earlier batch."""
        steps, lengths = self.layers[task](batch.x, batch.lengths)
        encoded = self.encoder(steps, lengths, state)
        assert isinstance(encoded, Encoded)
        return encoded

    def loss(self, task: str, batch: Batch, state: State | None = None) -> tuple[Tensor, Tensor, Encoded]:
        """Sum of the task's losses (), number of terms (), and what the encoder said."""
        encoded = self.encode(task, batch, state)
        total, count = self.head(task).loss(encoded, batch)
        return total, count, encoded

    def predict(self, task: str, batch: Batch, encoded: Encoded) -> list[Prediction]:
        """One prediction an example, given what `encode` said of the batch.

        An input layer may have `views(x, lengths)`: the same inputs written otherwise (DNA from its other strand), a
        list of tensors like x. Then the prediction is the head's average over them and the batch as it is.
        """
        head = self.head(task)
        found = [head.predict(encoded, batch)]
        views = getattr(self.layers[task], "views", None)
        for x in views(batch.x, batch.lengths) if views is not None else ():
            other = dataclasses.replace(batch, x=x)
            found.append(head.predict(self.encode(task, other), other))
        return found[0] if len(found) == 1 else [head.average(each) for each in zip(*found, strict=True)]

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def build(recipe: Recipe, tasks: Mapping[str, tuple[Task, Field, Field]], *, start: bool = True) -> Model:
    """A new model for a recipe. `tasks` gives each task with its input and target fields, fitted.

    Weights depend on the seed of the recipe alone: the generator is set here, and left where the model ends.
    `start`: input layers that start from a file (pretrained vectors) read it; not needed where weights follow.
    """
    torch.manual_seed(recipe.seed)
    encoder = registry.load("encoders", recipe.encoder.use)(recipe.dim, **recipe.encoder.options)
    layers, heads = {}, {}
    for name, (_, input_field, target_field) in tasks.items():
        choice = recipe.tasks[name].head
        layers[name] = input_field.layer(recipe.dim)
        if start and callable(begin := getattr(layers[name], "start", None)):
            begin()
        heads[name] = registry.load("heads", choice.use)(encoder.out_dim, target_field, layers[name], **choice.options)
        if heads[name].needs_causal and not encoder.causal:
            what = f"head {choice.use} predicts the next step, and this encoder sees it: it must not be bidirectional"
            raise DataError(Problem(f"tasks.{name}", what))
    return Model(layers, encoder, heads)


def save(
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
        atomic.sweep(folder)
        for name, content in {**contents, "MANIFEST.json": manifest}.items():
            atomic.write(folder / name, content, point="report")
    except OSError as error:
        raise atomic.cannot_write(error, folder) from error


def open_model(
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
        if _sha256(folder / name) != digest:
            raise RunError(f"{folder / name}: damaged, its SHA-256 is not the one in MANIFEST.json")
    if "plugins.json" in manifest["files"]:
        plugins = json.loads((folder / "plugins.json").read_text(encoding="utf-8"))
        provenance.recall(plugins, f"the model in {folder}")
        for line in provenance.changes(plugins, f"the model in {folder}"):
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
    with out_of_memory.reported():
        model = build(recipe, tasks, start=False)
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
