"""The contracts of a recipe or a trained model, checked on some examples of its own data."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import torch

from seqkit import recipe as recipes
from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, UsageError
from seqkit.interfaces import Batch, Encoder
from seqkit.model import Model, build_model, load_model, save_model
from seqkit.recipe import Recipe
from seqkit.recipe.options import options_of
from seqkit.registry import registry
from seqkit.runtime.determinism import deterministic
from seqkit.types import Example, Field, Task
from seqkit.verification.contracts import prove_encoder, prove_reloaded, prove_task, worst_per_contract
from seqkit.verification.outputs import ContractResult

MAX_EXAMPLES = 300
"""Examples that are read of each task."""

ROWS = 6
"""Examples in the batch that is checked."""

PIECE_STEPS = 60
"""Steps of an example, if a task's examples are running text."""


def prove(
    recipe_or_model: str | Path, sets: Sequence[str] = (), *, device: torch.device | str = "cpu"
) -> Iterator[ContractResult]:
    """All results for a recipe or a model. Everything is computed in single precision.

    Args:
        recipe_or_model: a recipe's file or name, of which the weights are new; or the folder of a trained model.
        sets: overrides of the recipe.
        device: what the models compute on.
    """
    is_cpu = torch.device(device).type == "cpu"
    with contextlib.nullcontext() if is_cpu else deterministic(torch.device(device)):
        if isinstance(recipe_or_model, Path):
            model, recipe, tasks = load_model(recipe_or_model, device)
            data = {name: sample_task(name, task, fitted) for name, (task, *fitted) in tasks.items()}
            yield from _prove_tasks(model, data)
        else:
            recipe = recipes.load(recipe_or_model, sets)
            yield from prove_recipe(recipe, device=device)
        yield from _prove_encoder_options(recipe, device)


def prove_recipe(recipe: Recipe, *, device: torch.device | str = "cpu") -> Iterator[ContractResult]:
    """All results for the tasks of a recipe, with new weights."""
    data = {name: sample_task(name, task) for name, task in recipes.build_tasks(recipe).items()}
    model = _build(recipe, data).to(device)
    yield from _prove_tasks(model, data)
    yield from _prove_reloaded(model, recipe, data)


def prove_data(recipe: Recipe, data: Mapping[str, TaskData]) -> Iterator[ContractResult]:
    """All results for these tasks, with new weights; the tasks that the recipe names are not looked up."""
    yield from _prove_tasks(_build(recipe, data), data)


def _build(recipe: Recipe, data: Mapping[str, TaskData]) -> Model:
    return build_model(recipe, {name: (task.task, task.input, task.target) for name, task in data.items()})


def _prove_tasks(model: Model, data: Mapping[str, TaskData]) -> Iterator[ContractResult]:
    for name, task in data.items():
        yield from worst_per_contract(prove_task(model, name, choose_batch(task)))
        yield _check_empty_input(name, task)


def _prove_reloaded(model: Model, recipe: Recipe, data: Mapping[str, TaskData]) -> Iterator[ContractResult]:
    """Saved to a folder and loaded again, as for `seqkit predict`, the model predicts what it predicts in memory."""
    with tempfile.TemporaryDirectory(prefix="seqkit-prove-") as folder:
        fields = {name: (task.input, task.target) for name, task in data.items()}
        save_model(model, Path(folder), recipe.resolved(), fields)
        reloaded, _, tasks = load_model(Path(folder), model.device)
    for name, task in data.items():
        examples = list(itertools.islice(task.task.read("train"), ROWS))
        _, reloaded_input, _ = tasks[name]
        batch, reloaded_batch = (_encode(task, field, examples) for field in (task.input, reloaded_input))
        yield prove_reloaded(model, reloaded, name, batch, reloaded_batch=reloaded_batch)


def _encode(data: TaskData, field: Field, examples: Sequence[Example]) -> Batch:
    """The batch of these examples, encoded by this field."""
    split = store.memory_split(examples, field, data.task.limit)
    return replace(data, input=field, splits={"predict": split}).batch("predict", np.arange(len(split.x)))


def _check_empty_input(name: str, data: TaskData) -> ContractResult:
    """An empty input is refused when it is encoded."""
    contract = "an empty input is refused"
    value = next(iter(data.task.read("train"))).input
    if isinstance(value, (str, list, tuple)):
        empty: Any = type(value)()
    elif isinstance(value, np.ndarray):
        empty = value[:0]
    else:
        return ContractResult.not_applicable(contract, name)
    try:
        store.memory_split([Example(empty, None, "empty")], data.input, data.task.limit)
    except DataError:
        return ContractResult(contract, name, 0.0, True)
    except Exception as error:
        cause = f"it ends in {type(error).__name__}: {error}; raise ValueError in the field for what it cannot encode"
        return ContractResult.failed(contract, name, cause)
    if not data.input.ragged:
        return ContractResult(contract, name, 0.0, True)
    return ContractResult.failed(contract, name, "it was encoded like any other input; raise ValueError in the field")


def sample_task(
    name: str, task: Task, fitted: Sequence[Field] | None = None, *, max_examples: int = MAX_EXAMPLES
) -> TaskData:
    """The first examples of a task's train split, in memory; running text is cut into short pieces.

    Args:
        name: the task's name.
        task: the task.
        fitted: its fitted input and target fields; None: they are fitted on these examples.
        max_examples: how many are read.
    """

    def read(split: str) -> Iterator[Example]:
        for number, example in enumerate(itertools.islice(task.read(split), max_examples)):
            if task.window is None or not isinstance(example.input, str):
                yield example
                continue
            yield from _pieces(example)
            if number >= 3:
                return

    small = replace(task, read=read, splits=("train",), files=None, shards=None)
    fields = None if fitted is None else (fitted[0], fitted[1])
    with tempfile.TemporaryDirectory(prefix="seqkit-prove-") as folder:
        prepared = store.prepare(small, key={"prove": name}, cache=Path(folder), fitted=fields)
        split = prepared.splits["train"]
        in_memory = replace(split, x=_copy(split.x), y=None if split.y is None else _copy(split.y), ids=list(split.ids))
        return TaskData(name, small, prepared.input, prepared.target, {"train": in_memory})


def _pieces(example: Example) -> Iterator[Example]:
    """Pieces of a text, of different lengths."""
    for start in range(0, min(len(example.input), PIECE_STEPS * ROWS * 4), PIECE_STEPS):
        length = PIECE_STEPS - 7 * ((start // PIECE_STEPS) % ROWS)
        yield replace(example, input=example.input[start : start + length], id=f"{example.id}+{start}")


def _copy(column: Any) -> Any:
    """A column in memory, so that its folder can be deleted."""
    return store.Column(np.array(column.data), None if column.offsets is None else np.array(column.offsets))


def choose_batch(data: TaskData) -> Batch:
    """A batch of examples with lengths as different as possible, none of the longest tenth, the longest first."""
    lengths = data.lengths("train")
    order = np.argsort(lengths, kind="stable")
    order = order[: max(ROWS, int(len(order) * 0.9))]
    chosen = np.unique(order[np.linspace(0, len(order) - 1, min(ROWS, len(order))).round().astype(int)])
    return data.batch("train", chosen[np.argsort(-lengths[chosen], kind="stable")])


def _prove_encoder_options(recipe: Recipe, device: torch.device | str) -> Iterator[ContractResult]:
    """The recipe's encoder with other options: each boolean and each named choice, and one and two layers.

    Options that the factory refuses, because they exclude each other, are left out.
    """
    factory = registry.load("encoders", recipe.encoder.use)
    options = dict(recipe.encoder.options)
    values = {name: _choices(annotation) for name, annotation, _ in options_of(factory) if _choices(annotation)}
    if "layers" in options:
        values["layers"] = [1, 2]
    if "hidden" in options and _built(factory, {**options, "hidden": 8}) is not None:
        options["hidden"] = 8
    checked: set[tuple[tuple[str, Any], ...]] = set()
    for combination in _combinations(values, options):
        key = tuple(sorted((name, repr(value)) for name, value in combination.items()))
        if key in checked:
            continue
        checked.add(key)
        torch.manual_seed(recipe.seed)
        varied = ", ".join(f"{name}={combination[name]}" for name in values)
        encoder = _built(factory, combination)
        if encoder is not None:
            yield from worst_per_contract(prove_encoder(encoder.to(device), 5, f"{recipe.encoder.use}({varied})"))


def _built(factory: Callable[..., Encoder], options: Mapping[str, Any]) -> Encoder | None:
    """An encoder of five input numbers, or None if the factory refuses these options."""
    try:
        return factory(5, **options)
    except UsageError:
        return None


def _choices(annotation: Any) -> list[Any]:
    """The values of a boolean or of a literal; empty for numbers and texts."""
    if annotation is bool:
        return [False, True]
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def _combinations(values: Mapping[str, list[Any]], base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations of the options with two values. Others are varied one at a time: they only initialise weights.

    Args:
        values: the values of each option that is varied.
        base: all options.
    """
    pairs = {name: choices for name, choices in values.items() if len(choices) <= 2}
    for chosen in itertools.product(*pairs.values()):
        yield dict(base) | dict(zip(pairs, chosen, strict=True))
    for name, choices in values.items():
        if name not in pairs:
            for choice in choices:
                yield dict(base) | {name: choice}
