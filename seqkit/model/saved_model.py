"""The folder of a saved model: weights, recipe, fitted fields, and a manifest by which they are checked when read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialized

from seqkit.errors import DataError, Problem, RunError, SeqkitError, UsageError, printable, shortened
from seqkit.io import atomic
from seqkit.io.cache import sha256_of
from seqkit.model.bounded_build import SkipDraws, limit_size, needs_draws
from seqkit.model.ensemble import Member, join_models
from seqkit.model.model import Model, build_model
from seqkit.recipe import Recipe, build_tasks, load
from seqkit.registry import provenance
from seqkit.regular_files import open_regular, read_regular
from seqkit.runs import checkpoint, origin
from seqkit.runs.run_folder import no_model_error
from seqkit.runtime import out_of_memory
from seqkit.types import JSON, Field, Task

FORMAT_VERSION = 1
ENSEMBLE_VERSION: Final = 2
"""Of a folder that has several models: what reads version 1 only would take it for the first of them."""

_MOST_MEMBERS: Final = 100

REQUIRED = ("model.safetensors", "recipe.yaml", "fields.json")
"""Files that every model has; its manifest may list more."""

_MOST_BYTES: Final = {"MANIFEST.json": 1 << 20, "recipe.yaml": 1 << 24, "plugins.json": 1 << 22, "fields.json": 1 << 28}
"""The most bytes of each file; that of the weights may have any size, because it is mapped and not read."""

_MOST_HEADER_BYTES: Final = 100_000_000
"""Of the weights, as safetensors itself has it."""

_MOST_LISTS: Final = 1 << 20
_MOST_VALUES: Final = 1 << 25
"""The most lists and objects, and the most values, in a JSON file."""


def save_model(
    model: Model, folder: Path, resolved: str, fields: Mapping[str, tuple[Field, Field]], plugins: JSON = ()
) -> None:
    """Write all that prediction needs: weights, resolved recipe, fitted fields, plugins, and last a manifest of hashes.

    Args:
        resolved: the recipe with every default filled in.
        fields: the fitted input and target field of each task.
        plugins: what plugins.json says.

    Raises:
        RunError: the disk is full or read-only.
    """
    contents = {
        "model.safetensors": _serialized(model),
        "recipe.yaml": resolved.encode(),
        "fields.json": atomic.dump_json(field_states(fields), indent=1).encode(),
        "plugins.json": atomic.dump_json(list(plugins), indent=1).encode(),
    }
    _write_folder(folder, contents, FORMAT_VERSION)


def make_ensemble(sources: Sequence[Path], folder: Path) -> Model:
    """Write one model of several: probabilities are averaged (`seqkit.model.ensemble`).

    The folder has what that of a model has, from the first one, and the weights and the recipe of each other one.

    Args:
        sources: run folders or model folders, at least two.
        folder: what is written.

    Raises:
        DataError: there is no model in a source, or its task or its fields are not those of the first one.
        UsageError: a source is an ensemble itself, or what a head predicts cannot be averaged.
        PluginError: a plugin that a model was made with is not installed.
        RunError: a file of a model is damaged, or the folder cannot be written.
    """
    members = load_members(sources)
    model = join_models(members)
    first = members[0]
    contents: dict[str, bytes] = {}
    for number, member in enumerate(members, 1):
        weights, recipe = _member_files(number)
        contents[weights] = _serialized(member.model)
        contents[recipe] = member.recipe.resolved().encode()
    uses = [use for member in members for use in member.recipe.uses]
    fields = {name: (field, target) for name, (_, field, target) in first.tasks.items()}
    contents["fields.json"] = atomic.dump_json(field_states(fields), indent=1).encode()
    contents["plugins.json"] = atomic.dump_json(provenance.record(dict.fromkeys(uses)), indent=1).encode()
    facts = {"members": len(members), "sources": [member.source for member in members]}
    contents["ensemble.json"] = atomic.dump_json(facts, indent=1).encode()
    _write_folder(folder, contents, ENSEMBLE_VERSION)
    return model


def load_members(sources: Sequence[Path]) -> list[Member]:
    """The models of an ensemble, from run folders or model folders. Raises as `make_ensemble` does."""
    if len(sources) < 2:
        raise UsageError("an ensemble needs two models or more")
    members = [Member(*load_model(source), str(source)) for source in sources]
    for member in members:
        if member.model.member_count > 1:
            raise UsageError(f"{member.source} is an ensemble already; name the models that it was made of instead")
    return members


def _member_files(number: int) -> tuple[str, str]:
    """The names of a member's weights and recipe; those of the first one are a model's."""
    return (
        ("model.safetensors", "recipe.yaml")
        if number == 1
        else (f"model-{number}.safetensors", f"recipe-{number}.yaml")
    )


def _serialized(model: Model) -> bytes:
    return serialized({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})


def _write_folder(folder: Path, contents: Mapping[str, bytes], version: int) -> None:
    """Write a model's files, and last their manifest."""
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = json.dumps({"format_version": version, "files": files}, indent=1).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.remove_unfinished(folder)
        for name, content in {**contents, "MANIFEST.json": manifest}.items():
            atomic.write(folder / name, content, point="report")
    except OSError as error:
        raise atomic.write_error(error, folder) from error


def field_states(fields: Mapping[str, tuple[Field, Field]]) -> dict[str, dict[str, JSON]]:
    """What the input and the target field of each task have learned, as fields.json has it."""
    return {name: {"input": pair[0].state(), "target": pair[1].state()} for name, pair in fields.items()}


def load_model(
    folder: Path, device: torch.device | str = "cpu"
) -> tuple[Model, Recipe, dict[str, tuple[Task, Field, Field]]]:
    """A saved model, its recipe, and its tasks with fitted fields. `folder` is a run folder or its `model/`.

    Of a run that has not finished it is the model of the best checkpoint so far, which is said on stderr.

    Raises:
        DataError: there is no model here.
        PluginError: a plugin that it was made with is not installed.
        RunError: a file of it is missing, damaged, or of a newer format.
    """
    is_whole = (folder / "model" / "MANIFEST.json").exists()
    is_run = (folder / "status.json").is_file() and (folder / "resolved.yaml").is_file()
    has_best = (folder / "origin.json").exists() and checkpoint.read_pointer(folder / "checkpoints", "best") is not None
    if is_run and not (is_whole and (_has_finished(folder) or not has_best)):
        return _load_best(folder, device)
    if is_whole:
        folder = folder / "model"
    files = _checked_files(folder)
    if "plugins.json" in files:
        _pin_plugins(folder / "plugins.json", f"the model in {folder}")
    count = _count_members(folder, files)
    members = [_load_member(folder, number) for number in range(1, count + 1)]
    first = members[0]
    model = first.model if count == 1 else join_models(members)
    return model.to(device), first.recipe, dict(first.tasks)


def _count_members(folder: Path, files: Sequence[str]) -> int:
    """How many models the folder has.

    Raises:
        RunError: it does not have the files of as many as it says.
    """
    if "ensemble.json" not in files:
        return 1
    path = folder / "ensemble.json"
    count = _read_object(path).get("members")
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= _MOST_MEMBERS:
        raise RunError(f"{path}: an ensemble has 2 to {_MOST_MEMBERS} members, not {count!r:.40}")
    for number in range(1, count + 1):
        for name in _member_files(number):
            if name not in files:
                raise RunError(f"{folder / 'MANIFEST.json'}: does not list {name}, and there are {count} members")
    return count


def _load_member(folder: Path, number: int) -> Member:
    """A model of an ensemble, or the only one. All have the same fields."""
    weights_file, recipe_file = _member_files(number)
    recipe = load(str(folder / recipe_file))
    tasks = _restore_tasks(recipe, _read_object(folder / "fields.json"), folder / "fields.json")
    try:
        weights = load_file(folder / weights_file)
    except SafetensorError as error:
        raise _unfitting(folder, error) from error
    return Member(_with_weights(recipe, tasks, weights, folder), recipe, tasks, str(folder))


def _has_finished(folder: Path) -> bool:
    """Whether the run in this folder has finished, so that its model is its best one."""
    status = atomic.read_json(folder / "status.json")
    return isinstance(status, dict) and status.get("state") == "finished"


def _load_best(run: Path, device: torch.device | str) -> tuple[Model, Recipe, dict[str, tuple[Task, Field, Field]]]:
    """The model of the best checkpoint of a run that has not finished.

    Raises:
        DataError: the run has no best checkpoint yet, or an earlier version of seqkit began it.
        RunError: a file of it is damaged, or resolved.yaml is not the recipe that was trained.
    """
    fields = origin.read_fields(run)
    if checkpoint.read_pointer(run / "checkpoints", "best") is None or fields is None:
        message = "no model here: this run has not finished" + (
            ", and an earlier version began it" if fields is None else ", and has not evaluated a checkpoint yet"
        )
        raise DataError(Problem(str(run), message, f"go on with seqkit run --resume {shlex.quote(str(run))}"))
    weights, step = checkpoint.read_best_weights(run / "checkpoints")
    record = origin.latest_record(run)
    if record is not None and record.get("resolved_sha256") != sha256_of(run / "resolved.yaml"):
        raise RunError(f"{run / 'resolved.yaml'}: edited since the run began; put it back as it was")
    _pin_plugins(run / "plugins.json", f"the run in {run}")
    recipe = load(str(run / "resolved.yaml"))
    tasks = _restore_tasks(recipe, fields, run / "fields.json")
    model = _with_weights(recipe, tasks, weights, run)
    print(printable(f"{run}: not finished; this is its best checkpoint so far, of step {step:,}"), file=sys.stderr)
    return model.to(device), recipe, tasks


def _pin_plugins(path: Path, subject: str) -> None:
    """Use the plugins that this file records, and say which have changed since."""
    plugins = _read_json(path)
    provenance.pin_recorded(plugins, subject)
    for line in provenance.describe_changes(plugins, subject):
        print(printable(f"warning: {line}"), file=sys.stderr)


def _with_weights(
    recipe: Recipe, tasks: Mapping[str, tuple[Task, Field, Field]], weights: Mapping[str, torch.Tensor], folder: Path
) -> Model:
    """The recipe's model with these weights, ready to predict.

    The shapes of the weights are compared while it is built, and no first values are drawn.

    Raises:
        RunError: the weights do not fit the recipe, or are not finite.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        with out_of_memory.explain_oom():
            with limit_size(shapes), SkipDraws() as draws:
                model = build_model(recipe, tasks, start=False)
            if draws.count and needs_draws(model):
                # Built anew, it is counted anew: the limit is that of one model.
                with limit_size(shapes):
                    model = build_model(recipe, tasks, start=False)
        model.load_state_dict(weights)
    except SeqkitError:
        raise
    except Exception as error:  # torch, and layers of plugins, raise anything for sizes that cannot be
        raise _unfitting(folder, error) from error
    for name, tensor in model.state_dict().items():
        is_weight = isinstance(_parameter(model, name), torch.nn.Parameter)
        if tensor.is_floating_point() and (_has_infinity(tensor) if is_weight else bool(tensor.isnan().any())):
            message = "has numbers that are not finite (NaN or infinity), so the model cannot predict"
            raise RunError(f"{folder}: the weight {shortened(name)} {message}; train again")
    return model.eval()


def _has_infinity(tensor: torch.Tensor) -> bool:
    """Whether there are numbers in it that are not finite."""
    return not bool(torch.isfinite(tensor).all())


def _unfitting(folder: Path, error: Exception) -> RunError:
    # Torch adds a list of addresses to some of its errors.
    cause = shortened(str(error).partition("\nException raised from")[0])
    return RunError(f"{folder}: the weights do not fit the recipe beside them: {cause}")


def _parameter(model: Model, name: str) -> torch.Tensor | None:
    """The parameter of this name, if it is one and not a buffer."""
    owner, _, last = name.rpartition(".")
    return model.get_submodule(owner)._parameters.get(last)


def _check_weights_size(file: BufferedReader) -> None:
    """Compare a file's size with what its header says of it, before all of it is read.

    Raises:
        OSError: it is not a safetensors file, or has another size.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > min(size, _MOST_HEADER_BYTES):
        raise OSError(errno.EINVAL, "is no safetensors file: its header is too large")
    try:
        header = json.loads(file.read(length))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise OSError(errno.EINVAL, "is no safetensors file: its header is damaged") from None
    if size != 8 + length + max(ends, default=0):
        raise OSError(errno.EINVAL, f"has {size:,} bytes, but its header describes another size")
    file.seek(0)


def _checked_files(folder: Path) -> list[str]:
    """The names of the model's files, after a check of each against the manifest."""
    files = _read_manifest(folder)
    for name, digest in files.items():
        try:
            with open_regular(folder / name, follow=False, most=_most_bytes(name)) as file:
                if name.endswith(".safetensors"):
                    _check_weights_size(file)
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            message = f"{folder / name}: missing from the model; train again, or copy the whole folder"
            raise RunError(message) from None
        except OSError as error:
            raise RunError(f"{folder / name}: {error.strerror}") from None
        if actual != digest:
            raise RunError(f"{folder / name}: damaged, its SHA-256 is not the one in MANIFEST.json")
    return list(files)


def _restore_tasks(recipe: Recipe, states: Mapping[str, Any], path: Path) -> dict[str, tuple[Task, Field, Field]]:
    """Each task of the recipe with its input and target fields, fitted as fields.json says; `path` is for messages."""
    tasks = {}
    for name, task in build_tasks(recipe).items():
        try:
            input_field = task.input.restore(states[name]["input"])
            target_field = task.target.restore(states[name]["target"]).of(input_field)
        except SeqkitError:
            raise
        except Exception as error:  # the file may hold anything, and fields do not check what they restore
            cause = f"{type(error).__name__}: {error}"
            raise RunError(
                f"{path}: the fields of task {name} cannot be restored from it ({shortened(cause)})"
            ) from error
        tasks[name] = (task, input_field, target_field)
    return tasks


def _most_bytes(name: str) -> int | None:
    """The most bytes of a model's file; None: any number."""
    return _MOST_BYTES["recipe.yaml"] if re.fullmatch(r"recipe-\d+\.yaml", name) else _MOST_BYTES.get(name)


def _read_manifest(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of the model."""
    path = folder / "MANIFEST.json"
    if not path.exists():
        raise no_model_error(folder)
    manifest = _read_object(path)
    version = manifest.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RunError(f"{path}: not the manifest of a model: its format_version is {version!r}")
    if version > ENSEMBLE_VERSION:
        raise RunError(
            f"{folder}: model format {version} is newer than this seqkit reads ({ENSEMBLE_VERSION}); upgrade seqkit"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise RunError(f"{path}: not the manifest of a model: it lists no files")
    for name in REQUIRED:
        if name not in files:
            raise RunError(f"{path}: not the manifest of a model: it does not list {name}")
    for name in files:
        # The folder may come from anywhere: a name must not lead out of it, and must name a regular file.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise RunError(f"{path}: lists {name[:80]!r}, which cannot be the name of a file of a model")
    return files


def _read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model."""
    value = _read_json(path)
    if not isinstance(value, dict):
        raise RunError(f"{path}: holds a {type(value).__name__} where an object is expected")
    return value


def _read_json(path: Path) -> JSON:
    """The value in a JSON file of a model, which must not become much larger in memory than it is."""
    try:
        content = read_regular(path, _MOST_BYTES.get(path.name, 1 << 20))
        if content.count(b"[") + content.count(b"{") > _MOST_LISTS or content.count(b",") > _MOST_VALUES:
            raise ValueError("it has more values than a model needs")
        return json.loads(content)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise RunError(f"{path}: cannot be read: its lists and objects are nested too deeply") from None
    except ValueError as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
