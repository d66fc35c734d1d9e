"""Every task's splits, read, encoded and stored once."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqkit.data import store
from seqkit.data.card import DataCard, find_warnings, make_card
from seqkit.data.card_table import describe_reading, format_card, format_warnings
from seqkit.data.shared_inputs import share_inputs
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem, UsageError
from seqkit.io.download import listening
from seqkit.recipe import Recipe, TaskEntry, build_task, build_tasks
from seqkit.registry import registry
from seqkit.registry.distribution import Distribution
from seqkit.remote_files import telling
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.types import JSON, Field, Task


def prepare_data(
    recipe: Recipe,
    progress: Progress,
    tell: Callable[[str], None] = lambda line: None,
    *,
    fitted: Mapping[str, tuple[Task, Field, Field]] | None = None,
    splits: tuple[str, ...] | None = None,
    show_card: bool = True,
    stop: Interrupts | None = None,
    check: Callable[[Mapping[str, store.Identity]], Mapping[str, tuple[JSON, JSON]]] | None = None,
) -> dict[str, TaskData]:
    """The recipe's tasks with their splits, by name.

    Args:
        tell: gets all that is known of the data, line by line; a shorter table goes to `progress`.
        fitted: each task with its fitted input and target fields; None: the fields are fitted on train.
        splits: None: all that the task has.
        show_card: say what the data are; False: the caller does.
        stop: listens to signals.
        check: called with what the data of each task are before anything is encoded; returns what the fields of each
            task have learned already, for those that are not to be fitted.

    Raises:
        DataError: a file cannot be read.
        Interrupted: asked to stop; what was being stored is removed.
    """

    def show(done: int, total: int | None, stage: str) -> None:
        if stop is not None:
            stop.check("stopped while the data were prepared; go on with --resume")
        progress.stage(stage, done, total)

    def tell_of_shards(sentence: str) -> None:
        tell(sentence)
        progress.say(sentence)

    tasks = {name: fitted[name][0] for name in recipe.tasks} if fitted else build_tasks(recipe)
    identities: dict[str, store.Identity] = {}
    for name, task in tasks.items():
        with _reading(recipe.tasks[name]), listening(tell=tell, progress=show), telling(progress.say):
            identities[name] = store.identify(task, progress=show, fitted=fitted is not None, splits=splits)
    states = check(identities) if check is not None else {}
    data = {}
    for name, entry in recipe.tasks.items():
        task, fields = tasks[name], fitted[name][1:] if fitted else None
        with _reading(recipe.tasks[name]), listening(tell=tell, progress=show):
            prepared = store.prepare(
                task,
                key=_key(entry),
                progress=show,
                fitted=fields,
                splits=splits,
                identity=identities[name],
                states=states.get(name),
                tell=tell_of_shards,
            )
        if not fitted and entry.inputs_of is not None and build_task(entry).input != task.input:
            unused = f"its own options for reading them ({type(build_task(entry).input).__name__}) have no effect"
            progress.say(f"tasks.{name}: inputs are read as those of {entry.inputs_of}; {unused}")
        notes = [*prepared.notes, *(task.notes() if task.notes is not None else ())]
        content = {"key": prepared.folder.name, "files": prepared.files, "notes": notes}
        content |= {"examples": prepared.identity.examples} if prepared.identity.examples else {}
        learned = prepared.input, prepared.target
        data[name] = TaskData(name, task, *learned, prepared.splits, entry.weight, content, entry.inputs_of)
        if show_card:
            card = make_card(data[name])
            for line in format_card(card, width=None):
                tell(line)
            for line in format_card(card, short=True):
                progress.say(line)
    return share_inputs(data)


def prepare_split(
    recipe: Recipe, name: str, task_and_fields: tuple[Task, Field, Field], split: str, progress: Progress
) -> TaskData:
    """One split of the recipe's data, for a task whose fields are fitted already.

    Raises:
        DataError: a file of it cannot be read.
        UsageError: the task has no such split.
    """
    known = task_and_fields[0].splits
    if split not in known:
        raise UsageError(f"task {name} has no split '{split}'; it has: {', '.join(known)}")
    prepared = prepare_data(recipe.alone(name), progress, fitted={name: task_and_fields}, splits=(split,))
    return prepared[name]


def _explanations(entry: TaskEntry, error: store.PreparationError) -> list[Problem]:
    """What was found before the preparation failed, and may be why: how the data were read, and what looks wrong."""
    card = DataCard(entry.name, error.reports, warnings=find_warnings(error.reports, incomplete=error.incomplete))
    sentences = [*describe_reading(card), *format_warnings(card, width=None)]
    if error.has_unseen_labels and entry.options.get("unseen_labels") == "error":
        sentences.append(f"to score such labels as wrong instead, set tasks.{entry.name}.unseen_labels: count")
    return [Problem("", sentence) for sentence in sentences]


def check_data(
    data: Mapping[str, TaskData], progress: Progress, tell: Callable[[str], None], *, strict: bool = False
) -> None:
    """Tell what looks wrong about the data, and refuse them as `refuse` does.

    Raises:
        DataError: with every warning that is an error.
    """
    for task_data in data.values():
        card = make_card(task_data)
        for line in format_warnings(card, width=None):
            tell(line)
        if not strict:
            for line in format_warnings(card, but_fatal=True):
                progress.warn(line)
    refuse(data, strict=strict)


def refuse(data: Mapping[str, TaskData], *, strict: bool) -> None:
    """Refuse data from which nothing can be learned; if `strict`, data that have any warning.

    Raises:
        DataError: with every warning that is an error.
    """
    problems = [
        Problem(f"tasks.{name}", warning.sentence)
        for name, task_data in data.items()
        for warning in make_card(task_data).warnings
        if strict or warning.is_fatal
    ]
    if problems:
        raise DataError(problems)


def first_examples(data: TaskData, count: int) -> JSON:
    """The first examples of each split, by split: where each one is, and its input and target as the model gets them.

    Sequences of numbers are given by their shape.
    """
    examples: dict[str, JSON] = {}
    for name, split in data.splits.items():
        examples[name] = []
        for i in range(min(count, len(split))):
            example = {"id": split.ids[i], "input": _readable(data.input, split.x[i])}
            if split.y is not None:
                example["target"] = _readable(data.target, split.y[i])
            examples[name].append(example)
    return examples


def _readable(side: Field, array: np.ndarray) -> JSON:
    value = side.decode(array)
    if isinstance(value, np.ndarray):
        return f"{' x '.join(map(str, value.shape))} numbers"
    return value


@contextlib.contextmanager
def _reading(entry: TaskEntry) -> Iterator[None]:
    """Within the block, errors of the operating system are about the data of this task, and others are explained."""
    try:
        yield
    except store.PreparationError as error:
        raise DataError([*error.problems, *_explanations(entry, error)]) from error
    except OSError as error:
        raise DataError(Problem(f"tasks.{entry.name}", f"cannot read the data: {error}")) from error


def tasks_and_fields(data: Mapping[str, TaskData]) -> dict[str, tuple[Task, Field, Field]]:
    """Each task with its fitted input and target fields: what a model is built from."""
    return {name: (task_data.task, task_data.input, task_data.target) for name, task_data in data.items()}


def data_facts(data: TaskData) -> JSON:
    """What data.json says of a task: its card, and the key of the stored data."""
    return {"key": data.content.get("key"), **make_card(data).facts()}


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
