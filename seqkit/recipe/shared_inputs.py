"""Tasks that share examples (`inputs_of`): what must be the same of two tasks, as far as the recipe shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from seqkit.errors import suggest
from seqkit.recipe.option_checker import Checker
from seqkit.recipe.parser import Entry
from seqkit.recipe.recipe import TaskEntry, build_task
from seqkit.settings import TrainSettings
from seqkit.types import Task


def check_shared_inputs(checker: Checker, sections: Mapping[str, Entry], tasks: Mapping[str, TaskEntry]) -> None:
    """Add an issue for each task whose inputs cannot be those of the task that it names.

    Args:
        checker: collects the issues.
        sections: what the recipe says of each task.
        tasks: those that have been checked.
    """
    for name, entry in tasks.items():
        if entry.inputs_of is None:
            continue
        location = sections[name].node.entries["inputs_of"].node.location
        path, other = f"tasks.{name}.inputs_of", tasks.get(entry.inputs_of)
        if entry.inputs_of not in sections:
            hint = suggest(entry.inputs_of, sections) or f"its tasks: {', '.join(sections)}"
            checker.add_issue(location, f"{path}: the recipe has no task '{entry.inputs_of}'", hint)
        elif entry.inputs_of == name:
            checker.add_issue(location, f"{path}: names the task itself", "name another task, or leave it out")
        elif other is not None and other.inputs_of is not None:
            hint = f"name '{other.inputs_of}' here as well"
            checker.add_issue(location, f"{path}: the inputs of '{other.name}' are those of another task", hint)
        elif other is not None:
            for obstacle in _obstacles(name, build_task(entry), other.name, build_task(other)):
                checker.add_issue(location, f"{path}: {obstacle}")


def check_objective(
    checker: Checker, sections: Mapping[str, Entry], tasks: Mapping[str, TaskEntry], train: TrainSettings | None
) -> None:
    """Add an issue for each part of the objective that tasks with shared inputs have not.

    Args:
        checker: collects the issues.
        sections: what the recipe says of each option of `train`.
        tasks: those that have been checked.
        train: all options.
    """
    sharing = [name for name, entry in tasks.items() if entry.inputs_of is not None]
    for option in ("teacher", "agreement", "activation_penalty", "change_penalty") if train and sharing else ():
        if getattr(train, option):
            message = f"train.{option}: tasks that share inputs ({sharing[0]}) are trained by their losses alone"
            checker.add_issue(sections[option].location, message, f"leave it out, or inputs_of of {sharing[0]}")


def _obstacles(name: str, task: Task, other_name: str, other: Task) -> Iterator[str]:
    """What keeps the first task from having the inputs of the second, in words."""
    for one_name, one in ((name, task), (other_name, other)):
        if one.target.derived:
            kind = type(one.target).__name__
            yield f"the {kind} target of '{one_name}' follows from its input, so other tasks cannot share that"
    if task.splits != other.splits:
        splits, other_splits = ", ".join(task.splits), ", ".join(other.splits)
        yield f"'{name}' has the splits {splits}, but '{other_name}' has {other_splits}"
