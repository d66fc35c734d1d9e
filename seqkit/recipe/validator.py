"""A tree section by section: options against schemas, names against what is installed, parts against each other."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Le

from seqkit.errors import PluginError, SeqkitError, suggest
from seqkit.recipe.checker import Checker
from seqkit.recipe.choices import lookup, names_in
from seqkit.recipe.messages import join, show
from seqkit.recipe.options import schema_of
from seqkit.recipe.parser import Entry, Node, Place, node_of
from seqkit.recipe.recipe import TaskEntry, call_factory
from seqkit.settings import TrainSettings
from seqkit.types import SPLITS, Choice, Count, Positive, Task

SECTIONS = ("tasks", "encoder", "train", "expect")
TASK_OPTIONS = ("use", "weight", "head")
ENCODER_OPTIONS = ("use", "dim")
HEAD_OPTIONS = ("use",)


def top_options(*, seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 1, device: str = "auto") -> None:
    """What a recipe says of itself.

    Args:
        seed: of everything random: initial weights, order of data, dropout.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
    """


def task_options(*, weight: Positive = 1.0) -> None:
    """What a recipe says of a task, beside the task's own options.

    Args:
        weight: what this task's loss is multiplied by in joint training.
    """


def encoder_options(*, dim: Count = 128) -> None:
    """What a recipe says of the encoder, beside the encoder's own options.

    Args:
        dim: width of the steps that go into the encoder, which all tasks share.
    """


def bounds_options(
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    seeds: Count | None = None,
    minutes: Positive | None = None,
) -> None:
    """What a score is expected to be, and what it takes to show it: `seqkit reproduce` does.

    Args:
        at_least: the score is this or more.
        at_most: the score is this or less.
        seeds: how many seeds the score is the mean of (null: one).
        minutes: how long one run takes on two cores.
    """


def check(checker: Checker, root: Node) -> dict[str, Any] | None:
    """The fields of a Recipe; None, or incomplete, where the checker found something."""
    top = checker.mapping(root, "a recipe")
    if top is None:
        return None
    simple = checker.options(schema_of(top_options), top, "", root.place, SECTIONS)
    if simple and not re.fullmatch("auto|cpu|cuda(:[0-9]{1,3})?", simple["device"]):
        node = top["device"].node
        checker.say(node.place, f"device: expected auto, cpu, cuda or cuda:N, got {show(node)}")
    encoder, dim = _encoder(checker, top, root)
    tasks = _tasks(checker, top, root, encoder)
    train = _train(checker, top, root)
    expect = _expect(checker, top)
    if checker.findings:
        return None
    return {"tasks": tasks, "encoder": encoder, "dim": dim, "train": train, "expect": expect, **(simple or {})}


def _encoder(checker: Checker, top: Mapping[str, Entry], root: Node) -> tuple[Choice | None, int]:
    entry = top.get("encoder")
    if entry is None:
        there = ", ".join(names_in("encoders"))
        checker.say(root.place, "encoder: missing", f"give encoder: {{use: NAME}}; there are: {there}")
        return None, 0
    own = {name: each for name, each in entry.node.entries.items() if name == "dim"}
    words = checker.options(schema_of(encoder_options), own, "encoder", entry.place)
    choice = checker.choice(entry, "encoder", "encoders", entry.place, reserved=("dim",))
    return choice, words["dim"] if words else 0


def _train(checker: Checker, top: Mapping[str, Entry], root: Node) -> TrainSettings | None:
    entry = top.get("train")
    entries = checker.mapping(entry.node, "train", empty=True) if entry else {}
    if entries is None:
        return None
    options = checker.options(schema_of(TrainSettings), entries, "train", entry.place if entry else root.place)
    return None if options is None else TrainSettings(**options)


def _tasks(checker: Checker, top: Mapping[str, Entry], root: Node, encoder: Choice | None) -> dict[str, TaskEntry]:
    entry = top.get("tasks")
    if entry is None:
        checker.say(root.place, "tasks: missing", f"there are: {', '.join(names_in('tasks'))}")
        return {}
    entries = checker.mapping(entry.node, "tasks", empty=True)
    if entries is not None and not entries:
        checker.say(entry.place, "tasks: at least one is needed", f"there are: {', '.join(names_in('tasks'))}")
    tasks = {}
    for name, each in (entries or {}).items():
        task = _task(checker, name, each, top.get("encoder"), encoder)
        if task is not None:
            tasks[name] = task
    return tasks


def _task(
    checker: Checker, name: str, entry: Entry, encoder_entry: Entry | None, encoder: Choice | None
) -> TaskEntry | None:
    path = f"tasks.{name}"
    if not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        what = f"{path}: a task's name has letters, digits, '_' and '-' only"
        checker.say(entry.place, what, "name it plainly and say what it is with use: NAME")
        return None
    node = entry.node
    if isinstance(node.value, str):
        node = node_of({"use": node.value}, node.place)
    entries = checker.mapping(node, path, empty=True)
    if entries is None:
        return None
    said = entries.get("use")
    use = said.node if said else Node(entry.place, name)
    words = checker.options(
        schema_of(task_options), {key: each for key, each in entries.items() if key == "weight"}, path, entry.place
    )
    factory = checker.factory(use, f"{path}.use" if said else path, "tasks")
    schema = None if factory is None else checker.schema(factory, use.place, TASK_OPTIONS)
    options, task = None, None
    if schema is not None:
        options = checker.options(schema, entries, path, entry.place, TASK_OPTIONS, str(use.value))
        if options is not None:
            task = _called(checker, str(use.value), options, path, entry.place)
        elif (rest := checker.salvage(schema, entries, entry.place, TASK_OPTIONS)) is not None:
            task = _called(Checker(), str(use.value), rest, path, entry.place)
    head = _head(checker, path, entry, entries.get("head"), task)
    if task is not None:
        name_of_head = head.use if head else _named(entries.get("head"))
        place = entries["head"].node.place if "head" in entries else entry.place
        _fits(checker, path, place, task, name_of_head, encoder_entry, encoder)
        if head is not None and (wrong := _contradiction(head)):
            checker.say(place, f"{path}.head.{wrong}")
    if options is None or head is None or words is None:
        return None
    return TaskEntry(name, str(use.value), options, head, words["weight"])


def _called(checker: Checker, use: str, options: Mapping[str, Any], path: str, place: Place) -> Task | None:
    """The task, or None after saying what its factory said."""
    try:
        return call_factory(use, options)
    except (SeqkitError, ValueError, OSError) as error:
        for line in str(error).split("\n"):
            checker.say(place, f"{path}: {line}")
    except Exception as error:
        if os.environ.get("SEQKIT_RAISE_PLUGIN_ERRORS") == "1":
            raise
        checker.say(place, f"{path}: the task '{use}' failed: {type(error).__name__}: {error}", "tell its author")
    return None


def _head(checker: Checker, path: str, entry: Entry, said: Entry | None, task: Task | None) -> Choice | None:
    """The recipe's head, or the task's own; None if there is something wrong, or nothing to know yet."""
    default = None
    if task is not None:
        own = {"use": task.head} if isinstance(task.head, str) else dict(task.head)
        default = Choice(str(own.pop("use", "")), own)
    elif said is None or not (isinstance(said.node.value, str) or "use" in said.node.entries):
        return None  # the head is the task's own, and the task has problems of its own
    return checker.choice(said, f"{path}.head", "heads", entry.place, default=default)


def _named(said: Entry | None) -> str | None:
    """The name in a choice that has something wrong with it, if there is one."""
    use = said.node.entries.get("use") if said else None
    return use.node.value if use and isinstance(use.node.value, str) else None


def _fits(
    checker: Checker,
    path: str,
    place: Place,
    task: Task,
    head: str | None,
    encoder_entry: Entry | None,
    encoder: Choice | None,
) -> None:
    """Can this head serve the task's target, and may the encoder look ahead?"""
    try:
        factory = lookup("heads", head) if head else None
    except PluginError:
        factory = None
    if factory is None:
        return  # complained of already
    accepts = getattr(factory, "accepts", None)
    if accepts is not None and not isinstance(task.target, tuple(accepts)):
        target = type(task.target).__name__
        checker.say(place, f"{path}.head: '{head}' cannot serve a {target} target", _heads_for(task))
        return
    both = encoder_entry.node.entries.get("bidirectional") if encoder_entry else None
    looks_ahead = both is not None and both.node.value is True
    if encoder is not None:  # nothing wrong with it: its default counts too
        looks_ahead = encoder.options.get("bidirectional") is True
    if getattr(factory, "needs_causal", False) and looks_ahead and encoder_entry is not None:
        what = f"encoder.bidirectional: '{head}' of {path} predicts what comes next, which the encoder must not see"
        checker.say(both.node.place if both else encoder_entry.place, what, "set it to false")


def _contradiction(head: Choice) -> str:
    """What the head's factory says cannot be had together, of options that are each fine."""
    try:
        said = getattr(lookup("heads", head.use), "contradiction", None)
    except PluginError:
        return ""
    return str(said(**head.options)) if said is not None else ""


def _heads_for(task: Task) -> str:
    """The heads that can serve a task's target. A stranger's is named unseen: it is imported for its own name only."""
    from seqkit.registry import registry

    house = [plugin for plugin in registry.installed("heads") if plugin.distribution == registry.CORE]
    others = sorted({plugin.name for plugin in registry.installed("heads")} - {plugin.name for plugin in house})
    fit = [each.name for each in house if isinstance(task.target, _served(each.full_name))]
    found = f"heads that can: {', '.join(fit)}" if fit else "no head of seqkit's own can"
    return f"{found}; perhaps others: {', '.join(others)}" if others else found


def _served(head: str) -> tuple[type, ...]:
    try:
        return tuple(getattr(lookup("heads", head), "accepts", ()))
    except PluginError:
        return ()


def _expect(checker: Checker, top: Mapping[str, Entry]) -> dict[str, dict[str, float]]:
    entry = top.get("expect")
    entries = checker.mapping(entry.node, "expect", empty=True) if entry else {}
    tasks = top["tasks"].node.entries if "tasks" in top else {}
    expect: dict[str, dict[str, float]] = {}
    for key, each in (entries or {}).items():
        path = join("expect", key)
        parts = key.split("/")
        if len(parts) != 3 or not all(parts):
            checker.say(each.place, f"{path}: expected task/split/score", "for example charlm/test/nats")
            continue
        if parts[0] not in tasks:
            hint = suggest(parts[0], tasks) or f"tasks here: {', '.join(tasks)}"
            checker.say(each.place, f"{path}: the recipe has no task '{parts[0]}'", hint)
        if parts[1] not in SPLITS:
            hint = suggest(parts[1], SPLITS) or f"splits: {', '.join(SPLITS)}"
            checker.say(each.place, f"{path}: no split is called '{parts[1]}'", hint)
        bounds = checker.mapping(each.node, path)
        if bounds is None:
            continue
        values = checker.options(schema_of(bounds_options), bounds, path, each.place)
        if values is None:
            continue
        expect[key] = {name: value for name, value in values.items() if value is not None}
        low, high = values["at_least"], values["at_most"]
        if low is None and high is None:
            checker.say(each.place, f"{path}: nothing is expected", "give at_least or at_most")
        elif low is not None and high is not None and low > high:
            checker.say(each.place, f"{path}: at_least {low:g} is above at_most {high:g}")
    return expect
