"""What a checked recipe is: `Recipe` and its `TaskEntry`s, and how a task is built from its entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from seqkit._version import __version__
from seqkit.errors import PluginError
from seqkit.recipe.choices import lookup
from seqkit.recipe.options import options_of
from seqkit.recipe.plugin_calls import with_plain_errors
from seqkit.recipe.writer import emit, to_plain
from seqkit.registry import registry
from seqkit.settings import InitSettings, TrainSettings
from seqkit.types import Choice, Task


@dataclass(frozen=True)
class TaskEntry:
    """One task of a recipe.

    Attributes:
        name: its key in the recipe, and in the names of its scores.
        use: the factory's name.
        options: all of the factory's options, defaults filled in.
        head: the head with all its options: the recipe's, or else the task's own.
        weight: what its loss is multiplied by in joint training.
        inputs_of: the task whose inputs are its inputs too; None: it has its own.
    """

    name: str
    use: str
    options: Mapping[str, Any]
    head: Choice
    weight: float
    inputs_of: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. Two are equal if they mean the same, however they were written.

    Attributes:
        tasks: by name, in the file's order.
        encoder: the encoder with all its options.
        dim: width of the input steps.
        train: how to train.
        init: which model's weights it begins with; None: random ones.
        seed: of everything random.
        device: "auto", "cpu", "cuda" or "cuda:N".
        expect: {"task/split/score": {"at_most" or "at_least": number}}.
        name: the file's name without its ending.
        text: the file's bytes as they were (flags are not in it; they are in `resolved()`).
        source: the path as it was given.
    """

    tasks: Mapping[str, TaskEntry]
    encoder: Choice
    dim: int
    train: TrainSettings
    seed: int
    device: str
    expect: Mapping[str, Mapping[str, float]]
    init: InitSettings | None = None
    name: str = field(default="", compare=False)
    text: bytes = field(default=b"", compare=False, repr=False)
    source: str = field(default="", compare=False)

    @property
    def uses(self) -> tuple[tuple[str, str], ...]:
        """(kind, name) of each plugin that the recipe uses: tasks, encoder and heads."""
        tasks = [("tasks", entry.use) for entry in self.tasks.values()]
        heads = [("heads", entry.head.use) for entry in self.tasks.values()]
        return tuple(dict.fromkeys([*tasks, ("encoders", self.encoder.use), *heads]))

    def sharing(self, name: str) -> tuple[str, ...]:
        """The tasks whose inputs are those of this one (`inputs_of`), in the recipe's order."""
        return tuple(entry.name for entry in self.tasks.values() if entry.inputs_of == name)

    def alone(self, name: str) -> Recipe:
        """The recipe with one of its tasks only, which then has its inputs to itself."""
        return replace(self, tasks={name: replace(self.tasks[name], inputs_of=None)})

    @property
    def sections(self) -> dict[str, Any]:
        """The recipe as a mapping with every default filled in; paths and choices are as they are."""
        tasks = {entry.name: _task_section(entry) for entry in self.tasks.values()}
        init = () if self.init is None else options_of(InitSettings)
        return {
            "seed": self.seed,
            "device": self.device,
            "tasks": tasks,
            "encoder": {"use": self.encoder.use, "dim": self.dim, **self.encoder.options},
            **({"init": {name: getattr(self.init, name) for name, _, _ in init}} if init else {}),
            "train": {name: getattr(self.train, name) for name, _, _ in options_of(TrainSettings)},
            "expect": self.expect,
        }

    def resolved(self) -> str:
        """The recipe as YAML with every default filled in. Loading it gives an equal recipe."""
        header = f"# {self.name}: every option written out by seqkit {__version__}.\n"
        return header + emit(to_plain(self.sections))


def _task_section(entry: TaskEntry) -> dict[str, Any]:
    """An entry under `tasks:`. `inputs_of` is only there if it says something."""
    shared = {} if entry.inputs_of is None else {"inputs_of": entry.inputs_of}
    return {"use": entry.use, "weight": entry.weight, **shared, "head": entry.head, **entry.options}


def build_task(entry: TaskEntry) -> Task:
    """The task of a checked entry: its factory, called with its options.

    A factory reads no data: it may check that a folder exists, but examples are read by `Task.read`. If its options are
    wrong, it raises DataError, UsageError or ValueError.

    Raises:
        PluginError: the factory does not return a task.
        SeqkitError, ValueError: from the factory, about its options.
    """
    return call_factory(entry.use, entry.options)


def build_tasks(recipe: Recipe) -> dict[str, Task]:
    """The tasks of a checked recipe. One that shares the inputs of another reads them, and cuts them, as that one does.

    Errors are those of `build_task`.
    """
    tasks = {name: build_task(entry) for name, entry in recipe.tasks.items()}
    for name, entry in recipe.tasks.items():
        if (other := tasks.get(entry.inputs_of or "")) is not None:
            tasks[name] = replace(tasks[name], input=other.input, limit=other.limit, bad_inputs=other.bad_inputs)
    return tasks


def call_factory(use: str, options: Mapping[str, Any]) -> Task:
    """The task that this factory returns for these options; see `build_task`."""
    task = lookup("tasks", use)(**options)
    if not isinstance(task, Task):
        raise PluginError(f"the task '{use}' returned {type(task).__name__}, not a seqkit.Task; tell its author")
    return with_plain_errors(task, registry.find("tasks", use))
