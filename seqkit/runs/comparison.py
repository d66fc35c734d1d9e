"""What a run ended with, so that two runs can be compared bit for bit: the oracle of everything about resuming.

Compared are the last and the best checkpoint (weights, optimiser, random states, positions, counters), the model
folder, metrics.jsonl and metrics.json, and every point on TensorBoard. Left out: what a clock says, and the code used.
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

TIMES = "time"
"""How the name of a number begins that a clock has made: `time`, `time/tokens_per_s`."""


_FACTS = {"plugins.json", "MANIFEST.json"}
"""Files of the model folder that say which code made it (it may have been edited since), or only repeat hashes."""


@dataclass(frozen=True)
class RunDigest:
    """One run folder as it was left.

    Attributes:
        metrics: (step, name) -> number, in the order of metrics.jsonl.
        scores: metrics.json.
        tensors: `last model layers.x.weight` -> tensor; likewise for `best`.
        states: `last progress.step` -> value.
        points: `tag` at a step on TensorBoard -> the SHA-256 of the point, or its number.
        files: of the model folder: name -> SHA-256.
        duplicates: points on TensorBoard, and numbers in metrics.jsonl, that occur more than once.
        leftovers: what a killed process left and nobody cleared away.
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
        """Of all of it, in a canonical order."""
        digest = hashlib.sha256()
        for part in (self.metrics, self.scores, self.states, self.points, self.files):
            digest.update(json.dumps(sorted((str(key), value) for key, value in part.items())).encode() + b"\n")
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_bytes(tensor).numpy().tobytes())
        return digest.hexdigest()

    def __str__(self) -> str:
        counts = (len(self.tensors), len(self.states), len(self.metrics), len(self.points))
        return "{:,} tensors, {:,} states, {:,} numbers and {:,} TensorBoard points".format(*counts)


def read(folder: Path) -> RunDigest:
    """Everything about a finished run that must not depend on whether it was interrupted.

    Raises:
        RunError: there is no last or no best checkpoint, or it is damaged.
    """
    metrics, duplicates = _metrics(folder / "metrics.jsonl")
    points, more = _points(folder / "tb")
    tensors: dict[str, Tensor] = {}
    states: dict[str, JSON] = {}
    for name in ("last", "best"):
        path = checkpoint.read_pointer(folder / "checkpoints", name)
        if path is None:
            raise RunError(f"{folder}: no {name} checkpoint")
        found, state = checkpoint.load(path)
        states[f"{name} checkpoint"] = path.name
        states |= {f"{name} {where}": value for where, value in _leaves(state)}
        tensors |= {f"{name} {stem} {key}": value for stem, named in found.items() for key, value in named.items()}
    model = folder / "model"
    found_files = sorted(model.iterdir()) if model.is_dir() else []
    files = {path.name: sha256_of(path) for path in found_files if path.name not in _FACTS}
    scores = atomic.read_json(folder / "metrics.json") or {}
    return RunDigest(metrics, scores, tensors, states, points, files, (*duplicates, *more), tuple(leftovers(folder)))


def leftovers(folder: Path) -> Iterator[str]:
    """What is in a run folder that only an interrupted writer leaves."""
    for path in sorted(folder.rglob("*")):
        aside = checkpoint.CORRUPT in path.name or path.name.endswith(checkpoint.REPLACED)
        if aside or path.name.startswith(atomic.TEMPORARY):
            yield str(path.relative_to(folder))


def differences(whole: RunDigest, resumed: RunDigest) -> Iterator[str]:
    """Sentences about what is not the same, what happened first in front; nothing if two runs ended alike."""
    yield from _unlike("metrics.jsonl, step {0[0]}: {0[1]}", whole.metrics, resumed.metrics)
    yield from _unlike("{0}", whole.tensors, resumed.tensors, _tensor)
    yield from _unlike("state of the {0}", whole.states, resumed.states)
    yield from _unlike("metrics.json: {0}", whole.scores, resumed.scores)
    yield from _unlike("TensorBoard, step {0[0]}: {0[1]}", whole.points, resumed.points)
    yield from _unlike("model/{0}", whole.files, resumed.files)
    yield from (f"{what} occurs more than once" for what in resumed.duplicates)
    yield from (f"{name} was left behind" for name in resumed.leftovers)


def _unlike(
    where: str,
    one: Mapping[Any, Any],
    two: Mapping[Any, Any],
    tell: Callable[[object, object], str | None] | None = None,
) -> Iterator[str]:
    tell = tell or _value
    for key in {**one, **two}:
        if key not in two:
            yield f"{where.format(key)} is missing from the resumed run"
        elif key not in one:
            yield f"{where.format(key)} is in the resumed run only"
        elif said := tell(one[key], two[key]):
            yield f"{where.format(key)}{said}"


def _value(one: object, two: object) -> str | None:
    if json.dumps(one) == json.dumps(two):
        return None
    return f" is {_short(one)} in the whole run and {_short(two)} in the resumed one"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tensor(one: object, two: object) -> str | None:
    """The first value that differs, and how many do."""
    assert isinstance(one, Tensor)
    assert isinstance(two, Tensor)
    if one.dtype != two.dtype or one.shape != two.shape:
        return f" is {one.dtype} {tuple(one.shape)} in the whole run, {two.dtype} {tuple(two.shape)} in the resumed one"
    if torch.equal(_bytes(one), _bytes(two)):
        return None
    size = max(1, one.element_size())
    unlike = (_bytes(one).view(-1, size) != _bytes(two).view(-1, size)).any(dim=1)
    first = int(unlike.nonzero()[0])
    index = [int(i) for i in torch.unravel_index(torch.tensor(first), one.shape)] if one.dim() else []
    values = one.reshape(-1)[first].item(), two.reshape(-1)[first].item()
    counts = f"{int(unlike.sum()):,} of {one.numel():,} values differ"
    return f"{index} is {values[0]!r} in the whole run and {values[1]!r} in the resumed one ({counts})"


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _metrics(path: Path) -> tuple[dict[tuple[int, str], JSON], list[str]]:
    found: dict[tuple[int, str], JSON] = {}
    duplicates = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        row = json.loads(line) if line else {}
        for name, value in row.items():
            if name in ("step", "epoch") or name.startswith(TIMES):
                continue
            key = (row["step"], name)
            if key in found:
                duplicates.append(f"{name} at step {row['step']} in metrics.jsonl")
            found[key] = [value, row["epoch"]]
    return found, duplicates


def _points(folder: Path) -> tuple[dict[tuple[int, str], JSON], list[str]]:
    found: dict[tuple[int, str], JSON] = {}
    seen: Counter[tuple[int, str]] = Counter()
    for event in event_files.read(*event_files.paths(folder)):
        for value in event.summary.value:
            key = (event.step, value.tag)
            seen[key] += 1
            if not value.tag.startswith(TIMES):
                found[key] = value.simple_value if value.HasField("simple_value") else _content(value)
    return found, [f"{tag} at step {step} on TensorBoard" for (step, tag), count in seen.items() if count > 1]


def _content(value: Any) -> str:
    """SHA-256 of a point that is no plain number. The table of hyperparameters has its map in any order."""
    data = value.metadata.plugin_data
    if data.plugin_name == "hparams":
        data.content = HParamsPluginData.FromString(data.content).SerializeToString(deterministic=True)
    return hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()


def _leaves(value: JSON, where: str = "") -> Iterator[tuple[str, JSON]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in itertools.islice(value, 8)):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{where}[{number}]")
    else:
        yield where, value
