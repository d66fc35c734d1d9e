"""What is known of a run from its folder, without its plugins, its data or torch: options, state, scores, minutes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from seqkit.errors import SeqkitError, UsageError
from seqkit.io import atomic
from seqkit.metrics import lower_is_better, score_name
from seqkit.recipe import build_task, load, read_sections
from seqkit.runs.lock import LIVE_STATES, describe_holder
from seqkit.runs.records import check_status, is_run_folder, read_history
from seqkit.types import JSON

_DEEPEST: Final = 3
"""So many folders below the given one, runs are looked for."""

_NO_PART: Final = ("expect", "device")
"""Sections of a recipe that decide nothing about what is learned."""


@dataclass(frozen=True)
class ChosenBy:
    """The score by which the best checkpoint is chosen.

    Attributes:
        task: the recipe's first.
        split: dev, or train where there is no dev.
        name: of the score: `accuracy`.
        lower: whether lower is better.
    """

    task: str
    split: str
    name: str
    lower: bool

    def key(self, split: str | None = None) -> str:
        """`task/split/score`, of another split if one is given."""
        return f"{self.task}/{split or self.split}/{self.name}"


@dataclass(frozen=True)
class RunFacts:
    """One run.

    Attributes:
        folder: its folder, as it was found.
        name: of the recipe.
        state: created, running, interrupted, failed or finished; `died` of a run whose process ended without a word;
            `damaged` of a folder that cannot be read.
        reason: why it is not finished.
        options: every option of the recipe with dotted keys: `train.batch`.
        tasks: (name, use) of each task.
        chosen_by: the score by which the best checkpoint is chosen; None if that is not known.
        dev: that score on dev, of the best checkpoint so far.
        scores: metrics.json; empty until the run has finished.
        step: the last step of which there are numbers.
        best_step: the step of the best checkpoint.
        minutes: that the process has worked; None if that is not known.
        started: when it began.
    """

    folder: Path
    name: str
    state: str
    reason: str = ""
    options: Mapping[str, JSON] = field(default_factory=dict)
    tasks: tuple[tuple[str, str], ...] = ()
    chosen_by: ChosenBy | None = None
    dev: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None
    best_step: int | None = None
    minutes: float | None = None
    started: str = ""

    @property
    def test(self) -> float | None:
        """The same score on test, once the run has finished."""
        return None if self.chosen_by is None else self.scores.get(self.chosen_by.key("test"))

    @property
    def is_alive(self) -> bool:
        """Whether a process is working on it."""
        return self.state in LIVE_STATES


def find_runs(folder: Path) -> list[Path]:
    """The run folders in a folder and in the folders below it, by name; the folder itself if it is one.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    return sorted(_find_runs(folder, _DEEPEST), key=lambda path: _natural(str(path)))


def _find_runs(folder: Path, deepest: int) -> Iterator[Path]:
    if (folder / "status.json").is_file():
        yield folder
    elif deepest:
        try:
            inside = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError:
            return
        for path in inside:
            yield from _find_runs(path, deepest - 1)


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts `seed-2` before `seed-10`."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (0, part) for part in re.split(r"(\d+)", text)]


def read_facts(folder: Path) -> RunFacts:
    """What the folder of a run says of it. Damage is part of the answer: a table has many runs."""
    status = atomic.read_json(folder / "status.json")
    try:
        status = check_status(folder / "status.json", status)
        state = str(status.get("state", "created"))
        if state in LIVE_STATES and describe_holder(status) is None:
            state = "died"
        if not is_run_folder(folder):
            return RunFacts(folder, folder.name, state, "its folder was not set up completely")
        sections = read_sections(folder / "resolved.yaml")
        options = dict(flatten(sections))
        history = read_history(folder)
        chosen_by = _chosen_by(folder, status)
        scores = atomic.read_json(folder / "metrics.json") if state == "finished" else {}
        scores = _numbers(scores)
        dev, best_step = _best(history, chosen_by)
        tasks = sections.get("tasks")
        return RunFacts(
            folder,
            str(status.get("name", folder.name)),
            state,
            str(status.get("reason") or ("its process ended without a word" if state == "died" else "")),
            options,
            tuple((name, str(entry.get("use", name))) for name, entry in tasks.items()) if tasks else (),
            chosen_by,
            scores.get(chosen_by.key(), dev) if chosen_by is not None else None,
            scores,
            int(history[-1]["step"]) if history else None,
            int(status.get("best_step") or best_step or 0) or None,
            _minutes(folder, status),
            str(status.get("started", "")),
        )
    except (SeqkitError, AttributeError, TypeError, ValueError, OSError) as error:
        return RunFacts(folder, folder.name, "damaged", str(error))


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, JSON]]:
    """(dotted key, value) of each option of a recipe; lists are values."""
    for key, item in value.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, Mapping) and item:
            yield from flatten(item, path)
        else:
            yield path, item


def find_differences(runs: Sequence[Mapping[str, JSON]]) -> list[str]:
    """The options that are not the same in all of these runs, in the order of the recipe.

    Expectations and the device are left out, which decide nothing about what is learned, and so is an option that some
    runs do not have because another option is different: those of another encoder.
    """
    keys = list(dict.fromkeys(key for options in runs for key in options if key.split(".")[0] not in _NO_PART))
    values = {key: {json.dumps(options.get(key, "\0"), default=str) for options in runs} for key in keys}
    differing = [key for key in keys if len(values[key]) > 1]
    everywhere = [key for key in differing if all(key in options for options in runs)]
    return everywhere or differing


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The shortest ends of dotted keys that are different: `lr` for `train.optimizer.lr`, `encoder` for its `use`."""
    plain = {key: key.removesuffix(".use") for key in keys}
    names: dict[str, str] = {}
    for key, path in plain.items():
        parts = path.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        alone = (end for end in ends if sum(f".{other}".endswith(f".{end}") for other in plain.values()) == 1)
        names[key] = next(alone, key)
    return names


def describe_options(options: Mapping[str, JSON], keys: Sequence[str]) -> str:
    """`use=gru lr=0.01`; options that the run does not have are left out."""
    names = short_names(keys)
    return " ".join(f"{names[key]}={_shown(options[key])}" for key in keys if key in options)


def _shown(value: JSON) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _chosen_by(folder: Path, status: Mapping[str, JSON]) -> ChosenBy | None:
    """The score that chooses the checkpoint: as the run has recorded it, or else as its task says."""
    recorded = str(status.get("chosen_by") or "")
    match = re.fullmatch("(min|max):([^/]+)/([^/]+)/(.+)", recorded)
    if match is not None:
        return ChosenBy(match[2], match[3], match[4], match[1] == "min")
    try:
        entry = next(iter(load(folder / "resolved.yaml").tasks.values()))
        task = build_task(entry)
    except (SeqkitError, ValueError):  # its plugin is not installed, or has changed
        return None
    split = "dev" if "dev" in task.splits else "train"
    return ChosenBy(entry.name, split, score_name(task.best), lower_is_better(task.best))


def _best(history: Sequence[Mapping[str, float]], chosen_by: ChosenBy | None) -> tuple[float | None, int | None]:
    """The best score so far and its step."""
    if chosen_by is None:
        return None, None
    points = [(row[chosen_by.key()], int(row["step"])) for row in history if chosen_by.key() in row]
    points = [(score, step) for score, step in points if score == score]
    if not points:
        return None, None
    sign = 1 if chosen_by.lower else -1
    return min(points, key=lambda point: (sign * point[0], point[1]))


def _numbers(values: JSON) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    return {str(key): float(value) for key, value in values.items()}


def _minutes(folder: Path, status: Mapping[str, JSON]) -> float | None:
    """Minutes between its start and its last heartbeat, without those between an end and a resumption."""
    try:
        began = datetime.fromisoformat(str(status["started"]))
        ended = datetime.fromisoformat(str(status["heartbeat"]))
    except (KeyError, ValueError):
        return None
    pause = sum(_pauses(folder / "run.log")) if status.get("resumed") else 0.0
    return max(0.0, (ended - began).total_seconds() - pause) / 60


def _pauses(path: Path) -> Iterator[float]:
    """Seconds between the last message of a process and the first of the one that took the run over."""
    before: datetime | None = None
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        time, _, message = line.partition(" ")
        try:
            now = datetime.fromisoformat(time)
        except ValueError:  # a message goes on
            continue
        if before is not None and message.startswith("resumed by "):
            yield max(0.0, (now - before).total_seconds())
        before = now
