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


def prepare_data(
    recipe: Recipe,
    progress: Progress,
    tell: Callable[[str], None],
    *,
    fitted: Mapping[str, Any] | None = None,
    splits: tuple[str, ...] | None = None,
    stop: Interrupts | None = None,
) -> dict[str, TaskData]:
    """Every task's splits, read, encoded and stored once. Truncation, unknown symbols and repeats are told.

    Raises:
        Interrupted: asked to stop; what was being stored is gone.
    """

    def told(done: int, of: int | None, what: str) -> None:
        if stop is not None:
            stop.check("stopped while the data were prepared; go on with --resume")
        progress.stage(what, done, of)

    data = {}
    for name, entry in recipe.tasks.items():
        task, *fields = fitted[name] if fitted else (build_task(entry),)
        try:
            with listening(tell=tell, progress=told):
                prepared = store.prepare(
                    task, key=_key(entry), progress=told, fitted=tuple(fields) if fields else None, splits=splits
                )
        except OSError as error:
            raise DataError(Problem(f"tasks.{name}", f"cannot read the data: {error}")) from error
        content = {"key": prepared.folder.name, "files": prepared.files}
        data[name] = TaskData(name, task, prepared.input, prepared.target, prepared.splits, entry.weight, content)
        told_of = [line for split in prepared.splits.values() for line in split.report.lines()]
        for line in (*prepared.notes, *told_of, *(task.notes() if task.notes is not None else ())):
            tell(f"{name}: {line}")
            progress.say(f"{name}: {line}")
    return data


def _key(entry: TaskEntry) -> dict[str, Any]:
    """What the stored data depends on beside the bytes of its files: the options, and the code that reads."""
    options = json.loads(json.dumps(dict(entry.options), default=str, sort_keys=True))
    return {"use": entry.use, "options": options, "code": _code(entry.use)}


def _code(use: str) -> str:
    """SHA-256 of a task's code: of all that its distribution brings; of its package alone, if it comes with seqkit."""
    plugin = registry.find("tasks", use)
    if plugin.distribution != registry.CORE:
        return Distribution(plugin.distribution, [plugin.module]).sha256
    code = hashlib.sha256()
    for path in sorted(Path(inspect.getfile(registry.load("tasks", use))).parent.glob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()


def data_facts(data: TaskData) -> dict[str, Any]:
    splits = {name: split.report.facts() for name, split in data.splits.items()}
    return {"about": dict(data.task.about), **data.content, "splits": splits}
