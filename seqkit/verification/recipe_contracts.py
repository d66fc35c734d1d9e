"""`seqkit.verification.contracts` applied to a recipe or a trained model, on a few examples of its own data."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqkit import recipe as recipes
from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError
from seqkit.interfaces import Batch
from seqkit.model import Model, build_model, load_model, save_model
from seqkit.recipe import Recipe
from seqkit.recipe.options import options_of
from seqkit.registry import registry
from seqkit.types import Example, Field, Task
from seqkit.verification.contracts import ContractResult, prove_encoder, prove_reloaded, prove_task, worst_per_contract

READ = 300
"""Examples read of each task."""
ROWS = 6
"""Examples in the batch that is tried."""
STEPS = 60
"""Steps of an example that are tried, where a task's examples are running text."""


def prove(what: str | Path, sets: Sequence[str] = ()) -> Iterator[ContractResult]:
    """Every finding about a recipe (file or name; weights are new) or a model (folder; its own weights)."""
    if isinstance(what, Path):
        model, recipe, tasks = load_model(what)
        data = {name: sample(name, task, (one, two)) for name, (task, one, two) in tasks.items()}
        yield from _prove_tasks(model, data)
    else:
        recipe = recipes.load(what, sets)
        yield from prove_recipe(recipe)
    yield from _every_option(recipe)


def prove_recipe(recipe: Recipe) -> Iterator[ContractResult]:
    """Every finding about the tasks of a recipe, with new weights."""
    data = {name: sample(name, recipes.build_task(entry)) for name, entry in recipe.tasks.items()}
    model = build_model(recipe, {name: (part.task, part.input, part.target) for name, part in data.items()})
    yield from _prove_tasks(model, data)
    yield from _reloaded(model, recipe, data)


def prove_data(recipe: Recipe, data: Mapping[str, TaskData]) -> Iterator[ContractResult]:
    """Every finding about tasks that are given as values, with new weights; no task of the recipe is looked up."""
    model = build_model(recipe, {name: (part.task, part.input, part.target) for name, part in data.items()})
    yield from _prove_tasks(model, data)


def _reloaded(model: Model, recipe: Recipe, data: Mapping[str, TaskData]) -> Iterator[ContractResult]:
    """Written to a folder and opened again, as `seqkit predict` does, the model says what it says in memory."""
    with tempfile.TemporaryDirectory(prefix="seqkit-prove-") as folder:
        fields = {name: (part.input, part.target) for name, part in data.items()}
        save_model(model, Path(folder), recipe.resolved(), fields)
        again, _, tasks = load_model(Path(folder))
    for name, part in data.items():
        examples = list(itertools.islice(part.task.read("train"), ROWS))
        before, after = (_encoded(part, field, examples) for field in (part.input, tasks[name][1]))
        yield prove_reloaded(model, again, name, before, after)


def _encoded(data: TaskData, field: Field, examples: Sequence[Example]) -> Batch:
    """Examples as this field encodes them."""
    split = store.memory_split(examples, field, data.task.limit)
    made = replace(data, input=field, splits={"predict": split})
    return made.batch("predict", np.arange(len(split.x)))


def _empty(name: str, data: TaskData) -> ContractResult:
    """An input of nothing is refused where it is read, before it can be answered."""
    contract = "an empty input is refused"
    value = next(iter(data.task.read("train"))).input
    if isinstance(value, (str, list, tuple)):
        nothing: Any = type(value)()
    elif isinstance(value, np.ndarray):
        nothing = value[:0]
    else:
        return ContractResult(contract, name, math.nan, True)
    try:
        store.memory_split([Example(nothing, None, "nothing")], data.input, data.task.limit)
    except DataError:
        return ContractResult(contract, name, 0.0, True)
    except Exception as error:
        said = f"it ends in {type(error).__name__}: {error}; a field says ValueError of what it cannot encode"
        return ContractResult(contract, name, math.inf, False, said)
    if not data.input.ragged:
        return ContractResult(contract, name, 0.0, True)
    return ContractResult(contract, name, math.inf, False, "it was encoded as if it were an input like others")


def _prove_tasks(model: Model, data: Mapping[str, TaskData]) -> Iterator[ContractResult]:
    for name, part in data.items():
        yield from worst_per_contract(prove_task(model, name, _batch(part)))
        yield _empty(name, part)


def sample(name: str, task: Task, fitted: tuple[Field, Field] | None = None, *, most: int = READ) -> TaskData:
    """A task that reads no more than its first examples (`most`), running text cut short."""

    def read(split: str) -> Iterator[Example]:
        for number, example in enumerate(itertools.islice(task.read(split), most)):
            if task.window is not None and isinstance(example.input, str):
                # Pieces of one text, of different lengths.
                for start in range(0, min(len(example.input), STEPS * ROWS * 4), STEPS):
                    piece = example.input[start : start + STEPS - 7 * ((start // STEPS) % ROWS)]
                    yield replace(example, input=piece, id=f"{example.id}+{start}")
                if number >= 3:
                    return
            else:
                yield example

    few = replace(task, read=read, splits=("train",), files=None)
    with tempfile.TemporaryDirectory(prefix="seqkit-prove-") as folder:
        prepared = store.prepare(few, key={"prove": name}, cache=Path(folder), fitted=fitted)
        part = prepared.splits["train"]
        kept = store.Split(
            part.name,
            _held(part.x),
            None if part.y is None else _held(part.y),
            list(part.ids),
            part.origin,
            part.report,
        )
        return TaskData(name, few, prepared.input, prepared.target, {"train": kept})


def _held(column: Any) -> Any:
    """A column in memory, so that its folder may go."""
    return store.Column(np.array(column.data), None if column.offsets is None else np.array(column.offsets))


def _batch(data: TaskData) -> Batch:
    """Examples of lengths as different as there are, none very long."""
    lengths = data.lengths("train")
    order = np.argsort(lengths, kind="stable")
    order = order[: max(ROWS, int(len(order) * 0.9))]
    chosen = order[np.linspace(0, len(order) - 1, min(ROWS, len(order))).round().astype(int)]
    return data.batch("train", np.unique(chosen)[np.argsort(-lengths[np.unique(chosen)], kind="stable")])


def _every_option(recipe: Recipe) -> Iterator[ContractResult]:
    """The recipe's encoder with each switch thrown: every boolean, every named choice, one and two layers."""
    factory = registry.load("encoders", recipe.encoder.use)
    said = dict(recipe.encoder.options)
    small = {"hidden": 8} if "hidden" in said else {}
    values: dict[str, list[Any]] = {}
    for name, annotation, _ in options_of(factory):
        choices = _choices(annotation)
        if choices:
            values[name] = choices
    if "layers" in said:
        values["layers"] = [1, 2]
    seen: set[tuple[tuple[str, Any], ...]] = set()
    for options in _combinations(values, said | small):
        key = tuple(sorted((name, repr(value)) for name, value in options.items()))
        if key in seen:
            continue
        seen.add(key)
        torch.manual_seed(recipe.seed)
        shown = ", ".join(f"{name}={options[name]}" for name in values)
        yield from worst_per_contract(prove_encoder(factory(5, **options), 5, f"{recipe.encoder.use}({shown})"))


def _choices(annotation: Any) -> list[Any]:
    """The values of a switch: booleans and literals; nothing for numbers and texts."""
    from typing import Literal, get_args, get_origin

    if annotation is bool:
        return [False, True]
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def _combinations(values: Mapping[str, list[Any]], base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations of the booleans and of layers; each literal varied on its own, for they start weights only."""
    product = {name: options for name, options in values.items() if len(options) <= 2}
    for chosen in itertools.product(*product.values()):
        yield dict(base) | dict(zip(product, chosen, strict=True))
    for name, options in values.items():
        if name not in product:
            for option in options:
                yield dict(base) | {name: option}
