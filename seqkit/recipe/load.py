"""From a recipe file to a checked `Recipe`: everything that is wrong is found at once, before any data is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le

from seqkit._version import __version__
from seqkit.errors import PluginError, RecipeError, SeqkitError, UsageError, suggest
from seqkit.recipe import document, overrides, shipped
from seqkit.recipe.diagnose import Checker, join, lookup, names_in, show
from seqkit.recipe.document import Entry, Fatal, Finding, Node, Place, Places
from seqkit.recipe.emit import emit, to_plain
from seqkit.recipe.schema import options_of, schema_of
from seqkit.settings import TrainSettings
from seqkit.types import SPLITS, Choice, Count, Positive, Task

SECTIONS = ("tasks", "encoder", "train", "expect")
TASK_WORDS = ("use", "weight", "head")
ENCODER_WORDS = ("use", "dim")
HEAD_WORDS = ("use",)
_T = TypeVar("_T")


@dataclass(frozen=True)
class TaskEntry:
    """One task of a recipe.

    Attributes:
        name: its key in the recipe, and in the names of its scores.
        use: the factory's name.
        options: all of the factory's options, defaults filled in.
        head: the head with all its options: the recipe's, or else the task's own.
        weight: what its loss is multiplied by in joint training.
    """

    name: str
    use: str
    options: Mapping[str, Any]
    head: Choice
    weight: float


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. Two are equal if they say the same, however it was written.

    Attributes:
        tasks: by name, in the file's order.
        encoder: the encoder with all its options.
        dim: width of the input steps.
        train: how to train.
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
    name: str = field(default="", compare=False)
    text: bytes = field(default=b"", compare=False, repr=False)
    source: str = field(default="", compare=False)

    def resolved(self) -> str:
        """The recipe as YAML with every default filled in. Loading it gives an equal recipe."""
        tasks = {
            entry.name: {"use": entry.use, "weight": entry.weight, "head": entry.head, **entry.options}
            for entry in self.tasks.values()
        }
        everything = {
            "seed": self.seed,
            "device": self.device,
            "tasks": tasks,
            "encoder": {"use": self.encoder.use, "dim": self.dim, **self.encoder.options},
            "train": {name: getattr(self.train, name) for name, _, _ in options_of(TrainSettings)},
            "expect": self.expect,
        }
        header = f"# {self.name}: every option written out by seqkit {__version__}.\n"
        return header + emit(to_plain(everything))


def load(path_or_name: str | Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or the shipped one of this name, with `--set` flags applied.

    Args:
        path_or_name: `recipes/charlm.yaml` or `charlm`.
        sets: `a.b=c` each, later ones win.

    Raises:
        RecipeError: with everything that is wrong, in reading order.
        UsageError: there is no such file, or it cannot be read.
    """
    data, source = read(path_or_name)
    return parse(data, source, sets)


def read(path_or_name: str | Path) -> tuple[bytes, str]:
    """The bytes of a recipe and what to call it in messages.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    given = str(path_or_name)
    if re.fullmatch("[A-Za-z0-9_-]+", given) and given in (known := shipped.files()):
        return known[given].read_bytes(), str(known[given])
    try:
        path = Path(given)
        if path.is_dir():
            raise UsageError(f"'{given}' is a folder; give a recipe file in it")
        if not path.exists():
            raise shipped.unknown(given)
        with path.open("rb") as file:
            return file.read(document.MOST_BYTES + 1), given
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"'{given}' cannot be read: {reason.lower()}") from None


def parse(data: bytes, source: str, sets: Sequence[str] = ()) -> Recipe:
    """The recipe in these bytes. `source` is what messages call them, and where relative paths start.

    Raises:
        RecipeError: with everything that is wrong, in reading order.
    """
    folder = Path(source).absolute().parent

    def places(line: int, column: int) -> Place:
        return Place((0, line + 1, column + 1), f"{source}:{line + 1}:{column + 1}", folder)

    try:
        root, findings = _tree(data, places)
    except Fatal as error:
        raise RecipeError(error.finding.problem) from None
    root, flags, wrong = overrides.apply(root, sets)
    findings += wrong
    checker = Checker(flags=flags)
    recipe = _check(checker, root)
    # One complaint a place: what was refused while reading needs no second opinion.
    refused = {finding.place for finding in findings}
    findings += [finding for finding in checker.findings if finding.place not in refused]
    if findings or recipe is None:
        ordered = sorted(dict.fromkeys(findings), key=lambda finding: finding.place.order)
        raise RecipeError([finding.problem for finding in ordered])
    name = Path(source).name.removesuffix(".yaml").removesuffix(".yml")
    return Recipe(**recipe, name=name, text=data, source=source)


def build_task(entry: TaskEntry) -> Task:
    """The task of a checked entry: its factory, called with its options.

    A factory reads no data: it may look whether a folder exists, but examples are read by `Task.read`. What it finds
    wrong with its options it raises as DataError, UsageError or ValueError.

    Raises:
        PluginError: the factory is not a task's factory.
        SeqkitError, ValueError: what the factory says of its options.
    """
    return _build(entry.use, entry.options)


def _build(use: str, options: Mapping[str, Any]) -> Task:
    task = lookup("tasks", use)(**options)
    if not isinstance(task, Task):
        raise PluginError(f"the task '{use}' gave {type(task).__name__}, not a seqkit.Task; tell its author")
    return task


def _tree(data: bytes, places: Places) -> tuple[Node, list[Finding]]:
    return document.compose(document.decode(data, places), places)


def top_words(*, seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 1, device: str = "auto") -> None:
    """What a recipe says of itself.

    Args:
        seed: of everything random: initial weights, order of data, dropout.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
    """


def task_words(*, weight: Positive = 1.0) -> None:
    """What a recipe says of a task, beside the task's own options.

    Args:
        weight: what this task's loss is multiplied by in joint training.
    """


def encoder_words(*, dim: Count = 128) -> None:
    """What a recipe says of the encoder, beside the encoder's own options.

    Args:
        dim: width of the steps that go into the encoder, which all tasks share.
    """


def _check(checker: Checker, root: Node) -> dict[str, Any] | None:
    """The fields of a Recipe; None, or incomplete, where the checker found something."""
    top = checker.mapping(root, "a recipe")
    if top is None:
        return None
    simple = checker.options(schema_of(top_words), top, "", root.place, SECTIONS)
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
    words = checker.options(schema_of(encoder_words), own, "encoder", entry.place)
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
        node = document.node_of({"use": node.value}, node.place)
    entries = checker.mapping(node, path, empty=True)
    if entries is None:
        return None
    said = entries.get("use")
    use = said.node if said else Node(entry.place, name)
    words = checker.options(
        schema_of(task_words), {key: each for key, each in entries.items() if key == "weight"}, path, entry.place
    )
    factory = checker.factory(use, f"{path}.use" if said else path, "tasks")
    schema = None if factory is None else checker.schema(factory, use.place, TASK_WORDS)
    options = None
    if schema is not None:
        options = checker.options(schema, entries, path, entry.place, TASK_WORDS, str(use.value))
    task = None if options is None else _called(checker, str(use.value), options, path, entry.place)
    head = _head(checker, path, entry, entries.get("head"), task)
    if task is not None and head is not None:
        place = entries["head"].node.place if "head" in entries else entry.place
        _fits(checker, path, place, task, head, encoder_entry, encoder)
    if options is None or head is None or words is None:
        return None
    return TaskEntry(name, str(use.value), options, head, words["weight"])


def _called(checker: Checker, use: str, options: Mapping[str, Any], path: str, place: Place) -> Task | None:
    """The task, or None after saying what its factory said."""
    try:
        return _build(use, options)
    except (SeqkitError, ValueError, OSError) as error:
        for line in str(error).split("\n"):
            checker.say(place, f"{path}: {line}")
    except Exception as error:
        import os

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


def _fits(
    checker: Checker,
    path: str,
    place: Place,
    task: Task,
    head: Choice,
    encoder_entry: Entry | None,
    encoder: Choice | None,
) -> None:
    """Can this head serve the task's target, and may the encoder look ahead?"""
    factory = lookup("heads", head.use)
    accepts = getattr(factory, "accepts", None)
    if accepts is not None and not isinstance(task.target, tuple(accepts)):
        target = type(task.target).__name__
        fit = [name for name in names_in("heads") if _accepts(name, task)]
        hint = f"heads that can: {', '.join(fit)}" if fit else "no installed head can"
        checker.say(place, f"{path}.head: '{head.use}' cannot serve a {target} target", hint)
        return
    looks_ahead = encoder is not None and encoder.options.get("bidirectional") is True
    if getattr(factory, "needs_causal", False) and looks_ahead and encoder_entry is not None:
        both = encoder_entry.node.entries.get("bidirectional")
        what = f"encoder.bidirectional: '{head.use}' of {path} predicts what comes next, which the encoder must not see"
        checker.say(both.node.place if both else encoder_entry.place, what, "set it to false")


def _accepts(name: str, task: Task) -> bool:
    try:
        accepts = getattr(lookup("heads", name), "accepts", ())
    except PluginError:
        return False
    return isinstance(task.target, tuple(accepts))


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
        values = checker.options(schema_of(bounds_words), bounds, path, each.place)
        if values is None:
            continue
        expect[key] = {name: value for name, value in values.items() if value is not None}
        low, high = values["at_least"], values["at_most"]
        if not expect[key]:
            checker.say(each.place, f"{path}: nothing is expected", "give at_least or at_most")
        elif low is not None and high is not None and low > high:
            checker.say(each.place, f"{path}: at_least {low:g} is above at_most {high:g}")
    return expect


def bounds_words(*, at_least: float | None = None, at_most: float | None = None) -> None:
    """What a score is expected to be.

    Args:
        at_least: the score is this or more.
        at_most: the score is this or less.
    """
