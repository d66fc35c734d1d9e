"""Compares what two runs ended with, bit for bit: the test of everything about resuming.

Compared are the last and the best checkpoint (weights, optimiser, random states, positions, counters), the model
folder, metrics.jsonl and metrics.json, and every point on TensorBoard; timings and the code used are not.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor

from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.io.cache import sha256_of
from seqkit.runs import checkpoint, event_files
from seqkit.types import JSON

MEASURED_PREFIXES = ("time", "resources/")
"""Names of what is measured anew in each run begin with these: `time`, `time/tokens_per_s`."""


_CODE_FILES = {"plugins.json", "MANIFEST.json", "README.md"}
"""Files of the model folder that depend on the code that wrote them, or only repeat what others have."""


@dataclass(frozen=True)
class RunDigest:
    """What a run has left in its folder.

    Attributes:
        metrics: (step, name) -> number, in the order of metrics.jsonl.
        scores: metrics.json.
        tensors: `last model layers.x.weight` -> tensor; likewise for `best`.
        states: `last progress.step` -> value.
        points: (step, tag) on TensorBoard -> the number of the point, or its SHA-256.
        files: of the model folder: name -> SHA-256.
        duplicates: points on TensorBoard, and numbers in metrics.jsonl, that occur more than once.
        leftovers: files that a killed process left and that were not removed.
    """

    metrics: Mapping[tuple[int, str], JSON]
    scores: Mapping[str, JSON]
    tensors: Mapping[str, Tensor]
    states: Mapping[str, JSON]
    points: Mapping[tuple[int, str], JSON]
    files: Mapping[str, str]
    duplicates: tuple[str, ...]
    leftovers: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The hash of all of it except duplicates and leftovers, in a fixed order."""
        digest = hashlib.sha256()
        for values in (self.metrics, self.scores, self.states, self.points, self.files):
            digest.update(json.dumps(sorted((str(key), value) for key, value in values.items())).encode() + b"\n")
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_bytes(tensor).numpy().tobytes())
        return digest.hexdigest()

    def __str__(self) -> str:
        counts = (len(self.tensors), len(self.states), len(self.metrics), len(self.points))
        return "{:,} tensors, {:,} states, {:,} numbers and {:,} TensorBoard points".format(*counts)


def read(folder: Path) -> RunDigest:
    """What must not depend on whether the run was interrupted.

    Raises:
        RunError: there is no last or no best checkpoint, or it is damaged.
    """
    metrics, duplicate_metrics = _read_metrics(folder / "metrics.jsonl")
    points, duplicate_points = _read_points(folder / "tb")
    tensors: dict[str, Tensor] = {}
    states: dict[str, JSON] = {}
    for name in ("last", "best"):
        path = checkpoint.read_pointer(folder / "checkpoints", name)
        if path is None:
            raise RunError(f"{folder}: no {name} checkpoint")
        loaded, state = checkpoint.load(path)
        states[f"{name} checkpoint"] = path.name
        states |= {f"{name} {key}": value for key, value in _leaves(state)}
        tensors |= {f"{name} {stem} {key}": value for stem, named in loaded.items() for key, value in named.items()}
    model = folder / "model"
    model_files = sorted(model.iterdir()) if model.is_dir() else []
    return RunDigest(
        metrics=metrics,
        scores=atomic.read_json(folder / "metrics.json") or {},
        tensors=tensors,
        states=states,
        points=points,
        files={path.name: sha256_of(path) for path in model_files if path.name not in _CODE_FILES},
        duplicates=(*duplicate_metrics, *duplicate_points),
        leftovers=tuple(find_leftovers(folder)),
    )


def find_leftovers(folder: Path) -> Iterator[str]:
    """Files and folders in a run folder that only an interrupted writer leaves."""
    for path in sorted(folder.rglob("*")):
        is_set_aside = checkpoint.CORRUPT in path.name or path.name.endswith(checkpoint.REPLACED)
        if is_set_aside or path.name.startswith(atomic.TEMPORARY):
            yield str(path.relative_to(folder))


def find_differences(uninterrupted: RunDigest, resumed: RunDigest) -> Iterator[str]:
    """A sentence for each difference, the earliest numbers first; none if the two runs ended alike."""
    yield from _compare("metrics.jsonl, step {0[0]}: {0[1]}", uninterrupted.metrics, resumed.metrics)
    yield from _compare("{0}", uninterrupted.tensors, resumed.tensors, _compare_tensors)
    yield from _compare("state of the {0}", uninterrupted.states, resumed.states)
    yield from _compare("metrics.json: {0}", uninterrupted.scores, resumed.scores)
    yield from _compare("TensorBoard, step {0[0]}: {0[1]}", uninterrupted.points, resumed.points)
    yield from _compare("model/{0}", uninterrupted.files, resumed.files)
    yield from (f"{name} occurs more than once" for name in resumed.duplicates)
    yield from (f"{name} was left behind" for name in resumed.leftovers)


def _compare(
    name: str,
    uninterrupted: Mapping[Any, Any],
    resumed: Mapping[Any, Any],
    compare: Callable[[Any, Any], str | None] | None = None,
) -> Iterator[str]:
    """A sentence for each key that only one of two mappings has, or whose values differ.

    Args:
        name: what a key is called, as a format string.
        uninterrupted, resumed: the mappings.
        compare: how the sentence on two values goes on after the name; None if they are equal.
    """
    compare = compare or _compare_values
    for key in {**uninterrupted, **resumed}:
        if key not in resumed:
            yield f"{name.format(key)} is missing from the resumed run"
        elif key not in uninterrupted:
            yield f"{name.format(key)} is in the resumed run only"
        elif difference := compare(uninterrupted[key], resumed[key]):
            yield f"{name.format(key)}{difference}"


def _compare_values(uninterrupted: JSON, resumed: JSON) -> str | None:
    if json.dumps(uninterrupted) == json.dumps(resumed):
        return None
    return f" is {_shorten(uninterrupted)} in the uninterrupted run and {_shorten(resumed)} in the resumed one"


def _shorten(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _compare_tensors(uninterrupted: Tensor, resumed: Tensor) -> str | None:
    """The first value that differs, and how many do."""
    if uninterrupted.dtype != resumed.dtype or uninterrupted.shape != resumed.shape:
        before = f"{uninterrupted.dtype} {tuple(uninterrupted.shape)}"
        return f" is {before} in the uninterrupted run, {resumed.dtype} {tuple(resumed.shape)} in the resumed one"
    if torch.equal(_bytes(uninterrupted), _bytes(resumed)):
        return None
    size = max(1, uninterrupted.element_size())
    differs = (_bytes(uninterrupted).view(-1, size) != _bytes(resumed).view(-1, size)).any(dim=1)
    first = int(differs.nonzero()[0])
    shape = uninterrupted.shape
    index = [int(i) for i in torch.unravel_index(torch.tensor(first), shape)] if shape else []
    values = uninterrupted.reshape(-1)[first].item(), resumed.reshape(-1)[first].item()
    counts = f"{int(differs.sum()):,} of {uninterrupted.numel():,} values differ"
    return f"{index} is {values[0]!r} in the uninterrupted run and {values[1]!r} in the resumed one ({counts})"


def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, (n,) uint8 on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _read_metrics(path: Path) -> tuple[dict[tuple[int, str], JSON], list[str]]:
    """{(step, name): [number, epoch]} of metrics.jsonl without timings, and what occurs more than once."""
    metrics: dict[tuple[int, str], JSON] = {}
    duplicates = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        row = json.loads(line) if line else {}
        for name, value in row.items():
            if name in ("step", "epoch") or name.startswith(MEASURED_PREFIXES):
                continue
            key = (row["step"], name)
            if key in metrics:
                duplicates.append(f"{name} at step {row['step']} in metrics.jsonl")
            metrics[key] = [value, row["epoch"]]
    return metrics, duplicates


def _read_points(folder: Path) -> tuple[dict[tuple[int, str], JSON], list[str]]:
    """{(step, tag): number or SHA-256} of TensorBoard's points without timings, and what occurs more than once."""
    points: dict[tuple[int, str], JSON] = {}
    counts: Counter[tuple[int, str]] = Counter()
    for run in (folder, *event_files.subfolders(folder)):
        prefix = "" if run == folder else f"{run.name}: "
        for event in event_files.read(*event_files.paths(run)):
            for value in event.summary.value:
                key = (event.step, prefix + value.tag)
                counts[key] += 1
                if not value.tag.startswith(MEASURED_PREFIXES):
                    points[key] = value.simple_value if value.HasField("simple_value") else _hash_point(value)
                if value.HasField("image"):  # how letters look depends on the fonts of the system
                    points[key] = "a picture"
    return points, [f"{tag} at step {step} on TensorBoard" for (step, tag), count in counts.items() if count > 1]


def _hash_point(value: Any) -> str:
    """SHA-256 of a point that is not a plain number. The hyperparameters are a map, which is written in any order."""
    data = value.metadata.plugin_data
    if data.plugin_name == "hparams":
        data.content = HParamsPluginData.FromString(data.content).SerializeToString(deterministic=True)
    return hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()


def _leaves(value: JSON, path: str = "") -> Iterator[tuple[str, JSON]]:
    """(path, value) of the leaves of a tree; a list without mappings or lists in it is a leaf."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in itertools.islice(value, 8)):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value
