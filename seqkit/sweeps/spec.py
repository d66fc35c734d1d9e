"""What a sweep searches: the file sweep.yaml, checked in full, with places, before anything is trained.

    recipe: sentiment-sst2                       a file, or a recipe that comes with seqkit
    trials: 40
    set: {train.epochs: 4}                       options of every trial
    search:
      train.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
      encoder.hidden: {low: 32, high: 256, step: 32}
      encoder.use: [lstm, gru]
    sampler: tpe                                 tpe, random or grid
    pruner: median                               median or none
    seed: 1

Imports no torch and no Optuna.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from seqkit.errors import Problem, RecipeError, SeqkitError, UsageError, name_hint
from seqkit.metrics import lower_is_better, score_name
from seqkit.recipe import Recipe, build_task, bundled, load
from seqkit.recipe.parser import Entry, Fatal, Location, Node, compose, decode, values_of
from seqkit.recipe.writer import flow
from seqkit.regular_files import read_regular
from seqkit.types import JSON

_KEYS: Final = ("recipe", "trials", "set", "search", "sampler", "pruner", "seed")
_RANGE_KEYS: Final = ("low", "high", "log", "step")

SAMPLERS: Final = ("tpe", "random", "grid")
PRUNERS: Final = ("median", "none")

_MOST_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Choices:
    """An option that is one of several values.

    Attributes:
        values: as they are written in a recipe.
    """

    values: tuple[str, ...]

    @property
    def samples(self) -> tuple[str, ...]:
        """The values that are tried on the recipe."""
        return self.values


@dataclass(frozen=True)
class Range:
    """An option that is a number.

    Attributes:
        low, high: both included; whole numbers if both are written so.
        log: whether equal factors, rather than equal differences, are equally likely.
        step: between values; None: any number in between, or any whole one.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def samples(self) -> tuple[str, ...]:
        """The values that are tried on the recipe: both ends."""
        return (repr(self.low), repr(self.high))


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        name: of the file, without its ending.
        recipe: its file, or its name.
        fixed: `--set` flags of every trial.
        search: what is searched, by dotted key.
        trials: how many.
        sampler, pruner: who chooses the options, and who ends trials early.
        seed: of the sampler.
        key: the score that decides: `task/dev/score`.
        lower: whether lower is better.
    """

    name: str
    recipe: str
    fixed: tuple[str, ...]
    search: Mapping[str, Choices | Range]
    trials: int
    sampler: Literal["tpe", "random", "grid"]
    pruner: Literal["median", "none"]
    seed: int
    key: str
    lower: bool

    def load_recipe(self, values: Mapping[str, str]) -> Recipe:
        """The recipe of a trial with these values, as a recipe writes them."""
        return load(self.recipe, self.flags(values))

    def flags(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The `--set` flags of a trial."""
        return (*self.fixed, *(f"{key}={values[key]}" for key in self.search))

    @property
    def grid(self) -> list[dict[str, str]]:
        """Every combination of the choices, the last option changing fastest."""
        columns = [parameter.samples for parameter in self.search.values()]
        return [dict(zip(self.search, values, strict=True)) for values in itertools.product(*columns)]

    def facts(self) -> JSON:
        """What may not change while the sweep goes on; the number of trials may."""
        search: dict[str, JSON] = {}
        for key, parameter in self.search.items():
            if isinstance(parameter, Choices):
                search[key] = list(parameter.values)
            else:
                search[key] = {
                    "low": parameter.low,
                    "high": parameter.high,
                    "log": parameter.log,
                    "step": parameter.step,
                }
        return {
            "recipe": self.load_recipe(
                {key: parameter.samples[0] for key, parameter in self.search.items()}
            ).resolved(),
            "set": list(self.fixed),
            "search": search,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
        }


def load_sweep(path: Path) -> Sweep:
    """The sweep in a file.

    Raises:
        RecipeError: with all mistakes of the file, or of the recipe with values from it, in reading order.
        UsageError: the file cannot be read.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}") from None
    folder = path.absolute().parent

    def locate(line: int, column: int) -> Location:
        return Location((0, line + 1, column + 1), f"{path}:{line + 1}:{column + 1}", folder)

    try:
        root, issues = compose(decode(data, locate), locate)
    except Fatal as error:
        raise RecipeError(error.issue.problem) from None
    checker = _Checker([(issue.location, issue.problem) for issue in issues])
    sweep = checker.sweep(root, path)
    if checker.problems or sweep is None:
        ordered = sorted(checker.problems, key=lambda pair: pair[0].order)
        raise RecipeError(list(dict.fromkeys(problem for _, problem in ordered)))
    return sweep


@dataclass
class _Checker:
    """Goes through the file and collects what is wrong."""

    problems: list[tuple[Location, Problem]] = field(default_factory=list)

    def add(self, location: Location, what: str, hint: str = "") -> None:
        self.problems.append((location, Problem(location.text, what, hint)))

    def sweep(self, root: Node, path: Path) -> Sweep | None:
        if not isinstance(root.value, dict):
            self.add(root.location, "expected a mapping with recipe, search and trials")
            return None
        entries = root.entries
        self.unknown_keys(entries, _KEYS)
        missing = [key for key in ("recipe", "search") if key not in entries]
        if missing:
            self.add(root.location, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
            return None
        recipe = self.recipe(entries["recipe"].node)
        search = self.search(entries["search"].node)
        fixed = self.fixed(entries.get("set"))
        self.searched_and_set(search, entries.get("set"))
        sampler = self.word(entries.get("sampler"), SAMPLERS)
        pruner = self.word(entries.get("pruner"), PRUNERS)
        seed = self.count(entries.get("seed"), 1, least=0)
        choices = [len(parameter.samples) for parameter in search.values() if isinstance(parameter, Choices)]
        if sampler == "grid" and len(choices) < len(search):
            location = entries["sampler"].node.location
            self.add(location, "a grid needs a list of values for each option", "write ranges as lists")
        trials = self.count(entries.get("trials"), math.prod(choices) if sampler == "grid" else 0, least=1)
        if "trials" not in entries and sampler != "grid":
            self.add(root.location, "trials is missing", "say how many trainings there are: trials: 20")
        if sampler == "grid" and trials > math.prod(choices):
            self.add(entries["trials"].node.location, f"the grid has {math.prod(choices):,} combinations")
        if self.problems or recipe is None:
            return None
        places = {key: entry.node.location for key, entry in entries["search"].node.entries.items()}
        places |= {key: entry.node.location for key, entry in _entries(entries.get("set"))}
        checked = self.try_values(recipe, fixed, search, places, entries["recipe"].node.location)
        if checked is None:
            return None
        key, lower = score_that_decides(checked)
        return Sweep(
            path.name.removesuffix(".yaml").removesuffix(".yml"),
            recipe,
            fixed,
            search,
            trials,
            cast(Any, sampler),
            cast(Any, pruner),
            seed,
            key,
            lower,
        )

    def unknown_keys(self, entries: Mapping[str, Entry], known: Sequence[str]) -> None:
        for key, entry in entries.items():
            if key not in known:
                self.add(entry.location, f"'{key}' is not known here", name_hint(key, known, label="known"))

    def recipe(self, node: Node) -> str | None:
        """A recipe's name, or its file, which is looked for beside the sweep first."""
        if not isinstance(node.value, str) or not node.value:
            self.add(node.location, "recipe: expected a file or the name of a recipe")
            return None
        if node.value in bundled.names():
            return node.value
        beside = node.location.base / node.value
        if not beside.is_file():
            self.add(node.location, f"there is no recipe '{node.value}'", name_hint(node.value, bundled.names()))
            return None
        return str(beside)

    def search(self, node: Node) -> dict[str, Choices | Range]:
        if not isinstance(node.value, dict) or not node.value:
            self.add(node.location, "search: expected options with a list or a range each, as encoder.use: [lstm, gru]")
            return {}
        search: dict[str, Choices | Range] = {}
        for key, entry in node.entries.items():
            parameter = self.parameter(key, entry.node)
            if parameter is not None:
                search[key] = parameter
        return search

    def parameter(self, key: str, node: Node) -> Choices | Range | None:
        if isinstance(node.value, list):
            values = tuple(dict.fromkeys(flow(values_of(item)) for item in node.value))
            if len(values) != len(node.value) or not values:
                self.add(node.location, f"{key}: {'a value is listed twice' if values else 'the list is empty'}")
                return None
            return Choices(values)
        if not isinstance(node.value, dict):
            example = f"{key}: [1, 2] or {key}: {{low: 1, high: 2}}"
            self.add(node.location, f"{key}: expected a list of values or a range", f"for example {example}")
            return None
        return self.range(key, node)

    def range(self, key: str, node: Node) -> Range | None:
        entries = node.entries
        before = len(self.problems)
        self.unknown_keys(entries, _RANGE_KEYS)
        numbers: dict[str, int | float | None] = {"low": None, "high": None, "step": None}
        for name in numbers:
            if name in entries:
                value = entries[name].node.value
                if isinstance(value, bool) or not isinstance(value, int | float):
                    self.add(entries[name].node.location, f"{key}: {name} should be a number")
                else:
                    numbers[name] = value
        log = entries["log"].node.value if "log" in entries else False
        if not isinstance(log, bool):
            self.add(entries["log"].node.location, f"{key}: log should be true or false")
        low, high, step = numbers["low"], numbers["high"], numbers["step"]
        if len(self.problems) > before:
            return None
        if low is None or high is None:
            self.add(node.location, f"{key}: a range has low and high")
            return None
        if low >= high:
            self.add(node.location, f"{key}: low ({low}) should be less than high ({high})")
        elif log and low <= 0:
            self.add(node.location, f"{key}: with log, low should be above 0, got {low}")
        elif step is not None and (log or step <= 0):
            self.add(node.location, f"{key}: step should be above 0, and is not for a range with log")
        elif step is not None and isinstance(low, int) and isinstance(high, int) and not isinstance(step, int):
            self.add(node.location, f"{key}: step should be a whole number, as low and high are")
        else:
            return Range(low, high, bool(log), step)
        return None

    def fixed(self, entry: Entry | None) -> tuple[str, ...]:
        if entry is None:
            return ()
        if not isinstance(entry.node.value, dict):
            self.add(entry.node.location, "set: expected options with their values, as train.epochs: 3")
            return ()
        return tuple(f"{key}={flow(values_of(item.node))}" for key, item in entry.node.entries.items())

    def searched_and_set(self, search: Mapping[str, object], entry: Entry | None) -> None:
        """What is searched, or is within something that is, cannot be set as well: no trial would have that value."""
        for key, item in _entries(entry):
            searched = next((name for name in search if f"{key}.".startswith(f"{name}.")), None)
            if searched is not None:
                self.add(
                    item.location,
                    f"set: {key}: {searched} is searched, so this value would never be used",
                    "remove one of them",
                )

    def word(self, entry: Entry | None, known: Sequence[str]) -> str:
        if entry is None:
            return known[0]
        value = entry.node.value
        # YAML 1.2 reads `none` as a text.
        if value not in known:
            self.add(entry.node.location, f"got {value!r}", name_hint(str(value), known, label="expected one of"))
            return known[0]
        return str(value)

    def count(self, entry: Entry | None, default: int, *, least: int) -> int:
        if entry is None:
            return default
        value = entry.node.value
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.add(entry.node.location, f"expected a whole number from {least}, got {value!r}")
            return default or 1
        return value

    def try_values(
        self,
        recipe: str,
        fixed: tuple[str, ...],
        search: Mapping[str, Choices | Range],
        places: Mapping[str, Location],
        recipe_place: Location,
    ) -> Recipe | None:
        """The recipe with the first values; every value of a list and both ends of a range are tried on it."""
        firsts = {key: parameter.samples[0] for key, parameter in search.items()}
        checked: Recipe | None = None
        for changed, value in _trials(search):
            values = firsts | ({changed: value} if changed else {})
            try:
                loaded = load(recipe, (*fixed, *(f"{key}={text}" for key, text in values.items())))
                checked = checked or loaded
            except RecipeError as error:
                for problem in error.problems:
                    self.add_problem(problem, places, recipe_place)
            except SeqkitError as error:
                self.add(recipe_place, str(error))
        return checked if not self.problems else None

    def add_problem(self, problem: Problem, places: Mapping[str, Location], recipe_place: Location) -> None:
        """A problem of the recipe, at the place in the sweep that it comes from, if it comes from there."""
        flag = problem.where.removeprefix("--set ") if problem.where.startswith("--set ") else ""
        location = places.get(flag.partition("=")[0])
        if location is None:
            self.problems.append((recipe_place, problem))
        else:
            what = f"{flag}: {problem.what}"
            self.problems.append((location, Problem(location.text, what, problem.hint)))


def _entries(entry: Entry | None) -> Iterator[tuple[str, Entry]]:
    yield from entry.node.entries.items() if entry is not None and isinstance(entry.node.value, dict) else ()


def _trials(search: Mapping[str, Choices | Range]) -> Iterator[tuple[str, str]]:
    """("", "") for the first values of all options, then each other value of each option."""
    yield "", ""
    for key, parameter in search.items():
        for value in parameter.samples[1:]:
            yield key, value


def score_that_decides(recipe: Recipe) -> tuple[str, bool]:
    """The score that chooses the checkpoint of this recipe, `task/dev/score`, and whether lower is better."""
    entry = next(iter(recipe.tasks.values()))
    task = build_task(entry)
    split = "dev" if "dev" in task.splits else "train"
    return f"{entry.name}/{split}/{score_name(task.best)}", lower_is_better(task.best)
