"""Checks a recipe's tree section by section and turns it into the fields of a `Recipe`."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from seqkit.errors import name_hint, suggest
from seqkit.recipe.choices import lookup, names_in
from seqkit.recipe.messages import join, show
from seqkit.recipe.option_checker import Checker, Section
from seqkit.recipe.options import schema_of
from seqkit.recipe.own_options import SECTIONS, bounds_options, encoder_options, top_options
from seqkit.recipe.parser import Entry, Node
from seqkit.recipe.recipe import TaskEntry, build_task
from seqkit.recipe.shared_inputs import check_objective, check_shared_inputs
from seqkit.recipe.task_section import EncoderSection, TaskSection
from seqkit.runtime.device import DEVICE_NAMES, device_hint, is_device_name
from seqkit.settings import InitSettings, TrainSettings
from seqkit.types import SPLITS, Task


def check(checker: Checker, root: Node) -> dict[str, Any] | None:
    """The fields of a Recipe; None if the checker has found an issue."""
    top = checker.mapping(root, "a recipe")
    if top is None:
        return None
    options = checker.options(schema_of(top_options), Section(top, "", root.location, SECTIONS))
    node = top["device"].node if "device" in top else None
    if node and isinstance(node.value, str) and not is_device_name(node.value):
        message = f"device: expected {DEVICE_NAMES}, got {show(node)}"
        checker.add_issue(node.location, message, device_hint(node.value))
    encoder = _check_encoder(checker, top, root)
    tasks = _check_tasks(checker, top, root, encoder)
    train = _check_train(checker, top, root)
    check_objective(checker, top["train"].node.entries if "train" in top else {}, tasks, train)
    init = _check_init(checker, top)
    expect = _check_expect(checker, top)
    if not checker.issues:
        _check_expected_scores_exist(checker, top, expect, tasks)
    if checker.issues:
        return None
    fields = {
        "tasks": tasks,
        "encoder": encoder.choice,
        "dim": encoder.dim,
        "train": train,
        "init": init,
        "expect": expect,
    }
    return {**fields, **(options or {})}


def _check_encoder(checker: Checker, top: Mapping[str, Entry], root: Node) -> EncoderSection:
    entry = top.get("encoder")
    if entry is None:
        hint = f"give encoder: {{use: NAME}}; available: {', '.join(names_in('encoders'))}"
        checker.add_issue(root.location, "encoder: missing", hint)
        return EncoderSection(None, None, 0)
    dim = {name: value for name, value in entry.node.entries.items() if name == "dim"}
    options = checker.options(schema_of(encoder_options), Section(dim, "encoder", entry.location))
    choice = checker.choice(entry, "encoder", "encoders", entry.location, reserved=("dim",))
    return EncoderSection(entry, choice, options["dim"] if options else 0)


def _check_train(checker: Checker, top: Mapping[str, Entry], root: Node) -> TrainSettings | None:
    entry = top.get("train")
    entries = checker.mapping(entry.node, "train", allow_null=True) if entry else {}
    if entries is None:
        return None
    section = Section(entries, "train", entry.location if entry else root.location)
    options = checker.options(schema_of(TrainSettings), section)
    return None if options is None else TrainSettings(**options)


def _check_init(checker: Checker, top: Mapping[str, Entry]) -> InitSettings | None:
    entry = top.get("init")
    entries = checker.mapping(entry.node, "init", allow_null=True) if entry else None
    if entry is None or not entries:
        return None
    options = checker.options(schema_of(InitSettings), Section(entries, "init", entry.location))
    return None if options is None else InitSettings(**options)


def _check_tasks(
    checker: Checker, top: Mapping[str, Entry], root: Node, encoder: EncoderSection
) -> dict[str, TaskEntry]:
    entry = top.get("tasks")
    if entry is None:
        checker.add_issue(root.location, "tasks: missing", f"available: {', '.join(names_in('tasks'))}")
        return {}
    entries = checker.mapping(entry.node, "tasks", allow_null=True)
    if entries is not None and not entries:
        checker.add_issue(entry.location, "tasks: at least one is needed", f"available: {', '.join(names_in('tasks'))}")
    tasks = {}
    for name, task_entry in (entries or {}).items():
        section = TaskSection.open(checker, name, task_entry)
        task = None if section is None else section.check(encoder)
        if task is not None:
            tasks[name] = task
    check_shared_inputs(checker, entries or {}, tasks)
    return tasks


def _check_expect(checker: Checker, top: Mapping[str, Entry]) -> dict[str, dict[str, float]]:
    entry = top.get("expect")
    entries = checker.mapping(entry.node, "expect", allow_null=True) if entry else {}
    tasks = top["tasks"].node.entries if "tasks" in top else {}
    expect: dict[str, dict[str, float]] = {}
    for key, bounds_entry in (entries or {}).items():
        steps = key.split("/")
        if len(steps) != 3 or not all(steps):
            message = f"{join('expect', key)}: expected task/split/score"
            checker.add_issue(bounds_entry.location, message, "for example charlm/test/nats")
            continue
        _check_score_name(checker, key, bounds_entry, tasks)
        bounds = _check_bounds(checker, key, bounds_entry)
        if bounds is not None:
            expect[key] = bounds
    return expect


def _check_score_name(checker: Checker, key: str, entry: Entry, tasks: Mapping[str, Entry]) -> None:
    task, split, _ = key.split("/")
    path = join("expect", key)
    if task not in tasks:
        hint = suggest(task, tasks) or f"its tasks: {', '.join(tasks)}"
        checker.add_issue(entry.location, f"{path}: the recipe has no task '{task}'", hint)
    if split not in SPLITS:
        hint = suggest(split, SPLITS) or f"splits: {', '.join(SPLITS)}"
        checker.add_issue(entry.location, f"{path}: no split is called '{split}'", hint)


def _check_expected_scores_exist(
    checker: Checker, top: Mapping[str, Entry], expect: Mapping[str, Any], tasks: Mapping[str, TaskEntry]
) -> None:
    """Each expected score must be one that its task has, as far as that can be known before there are data."""
    known: dict[str, tuple[Task, list[str] | None]] = {}
    for key in expect:
        name, split, score = key.split("/")
        if name not in known:
            task = build_task(tasks[name])
            known[name] = task, _score_names(task, tasks[name])
        task, names = known[name]
        location, path = top["expect"].node.entries[key].location, join("expect", key)
        if split not in task.splits:
            checker.add_issue(
                location, f"{path}: task '{name}' has no split '{split}'", f"its splits: {', '.join(task.splits)}"
            )
        elif names is not None and not any(fnmatchcase(score, pattern) for pattern in names):
            hint = name_hint(score, names, label="its scores")
            checker.add_issue(location, f"{path}: task '{name}' has no score '{score}'", hint)


def _score_names(task: Task, entry: TaskEntry) -> list[str] | None:
    """The names of a task's scores, the loss of its head among them; None if they are not known."""
    loss_name = getattr(lookup("heads", entry.head.use), "loss_name", None)
    if loss_name is None or (task.metric is not None and task.scores is None):
        return None
    return [str(loss_name), *(task.scores or ())]


def _check_bounds(checker: Checker, key: str, entry: Entry) -> dict[str, float] | None:
    """What is expected of one score, without the bounds that are not given; None if the options are wrong."""
    path = join("expect", key)
    entries = checker.mapping(entry.node, path)
    if entries is None:
        return None
    options = checker.options(schema_of(bounds_options), Section(entries, path, entry.location))
    if options is None:
        return None
    low, high = options["at_least"], options["at_most"]
    if low is None and high is None:
        checker.add_issue(entry.location, f"{path}: nothing is expected", "give at_least or at_most")
    elif low is not None and high is not None and low > high:
        checker.add_issue(entry.location, f"{path}: at_least {low:g} is above at_most {high:g}")
    return {name: value for name, value in options.items() if value is not None}
