"""Every task's splits, read, encoded and stored once."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem
from seqkit.io.download import listening
from seqkit.recipe import Recipe, TaskEntry, build_task
from seqkit.registry import registry
from seqkit.registry.distribution import Distribution
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.types import JSON, Field, Task


def prepare_data(
    recipe: Recipe,
    progress: Progress,
    tell: Callable[[str], None],
    *,
    fitted: Mapping[str, tuple[Task, Field, Field]] | None = None,
    splits: tuple[str, ...] | None = None,
    stop: Interrupts | None = None,
) -> dict[str, TaskData]:
    """The recipe's tasks with their splits, by name.

    Args:
        tell: gets a sentence about truncation, unknown symbols, repeats and whatever else the data has.
        fitted: each task with its fitted input and target fields; None: the fields are fitted on train.
        splits: None: all that the task has.
        stop: listens to signals.

    Raises:
        DataError: a file cannot be read.
        Interrupted: asked to stop; what was being stored is removed.
    """

    def show(done: int, total: int | None, stage: str) -> None:
        if stop is not None:
            stop.check("stopped while the data were prepared; go on with --resume")
        progress.stage(stage, done, total)

    data = {}
    for name, entry in recipe.tasks.items():
        task, fields = (fitted[name][0], fitted[name][1:]) if fitted else (build_task(entry), None)
        try:
            with listening(tell=tell, progress=show):
                prepared = store.prepare(task, key=_key(entry), progress=show, fitted=fields, splits=splits)
        except OSError as error:
            raise DataError(Problem(f"tasks.{name}", f"cannot read the data: {error}")) from error
        content = {"key": prepared.folder.name, "files": prepared.files}
        data[name] = TaskData(name, task, prepared.input, prepared.target, prepared.splits, entry.weight, content)
        reported = [line for split in prepared.splits.values() for line in split.report.lines()]
        for line in (*prepared.notes, *reported, *(task.notes() if task.notes is not None else ())):
            tell(f"{name}: {line}")
            progress.say(f"{name}: {line}")
    return data


def tasks_and_fields(data: Mapping[str, TaskData]) -> dict[str, tuple[Task, Field, Field]]:
    """Each task with its fitted input and target fields: what a model is built from."""
    return {name: (task_data.task, task_data.input, task_data.target) for name, task_data in data.items()}


def data_facts(data: TaskData) -> JSON:
    """What data.json says of a task: what the data is, the files and their hashes, and each split's report."""
    splits = {name: split.report.facts() for name, split in data.splits.items()}
    return {"about": dict(data.task.about), **data.content, "splits": splits}


def _key(entry: TaskEntry) -> dict[str, Any]:
    """What the stored data depends on beside the bytes of its files: the options, and the code that reads."""
    options = json.loads(json.dumps(dict(entry.options), default=str, sort_keys=True))
    return {"use": entry.use, "options": options, "code": _code(entry.use)}


def _code(use: str) -> str:
    """SHA-256 of a task's code: of its whole distribution; of its package alone, if it comes with seqkit."""
    plugin = registry.find("tasks", use)
    if plugin.distribution != registry.CORE:
        return Distribution(plugin.distribution, [plugin.module]).sha256
    code = hashlib.sha256()
    for path in sorted(Path(inspect.getfile(registry.load("tasks", use))).parent.glob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()
