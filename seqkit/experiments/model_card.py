"""The model card: README.md in a model's folder, with front matter as model hubs read it (`model-index`).

It is made of what the run knows and holds no time, no path and no name of a machine: equal runs write equal cards. It
is no part of the model's manifest, so that it may be edited.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from seqkit._version import __version__
from seqkit.data.card import make_card
from seqkit.data.task_data import TaskData
from seqkit.experiments.expectations import ExpectedRange
from seqkit.recipe import Recipe

_PIPELINES: Final[Mapping[str, str]] = {
    "tag": "token-classification",
    "crf": "token-classification",
    "language": "text-generation",
    "generate": "text-generation",
    "attend": "text2text-generation",
    "ctc": "automatic-speech-recognition",
}
"""What hubs call the use of a model, by its head."""

_CLASSES_SHOWN: Final = 20


def model_card(
    recipe: Recipe,
    data: Mapping[str, TaskData],
    scores: Mapping[str, float],
    *,
    parameters: int,
    best_step: int,
    warnings: Sequence[str] = (),
) -> str:
    """The card of a trained model, Markdown.

    Args:
        recipe: that it was trained with.
        data: of each task.
        scores: `task/split/score` to number.
        parameters: how many it has.
        best_step: the step of its checkpoint.
        warnings: what looks wrong about the scores.
    """
    front = "\n".join(_yaml(_front_matter(recipe, data, scores)))
    body = "\n".join(_body(recipe, data, scores, parameters, best_step, warnings))
    return f"---\n{front}\n---\n\n{body}"


def _front_matter(recipe: Recipe, data: Mapping[str, TaskData], scores: Mapping[str, float]) -> dict[str, Any]:
    names = sorted({key.split("/", 2)[2] for key in scores})
    tags = ["seqkit", "recurrent", recipe.encoder.use, *(entry.use for entry in recipe.tasks.values())]
    front: dict[str, Any] = {"library_name": "seqkit", "tags": list(dict.fromkeys(tags))}
    pipelines = [tag for name in data if (tag := _pipeline(recipe, name, data[name])) is not None]
    if pipelines:
        front["pipeline_tag"] = pipelines[0]
    front["metrics"] = [name for name in names if name != "loss"]
    results = [
        result
        for name, task_data in data.items()
        for split in task_data.splits
        if (result := _result(recipe, name, task_data, split, scores)) is not None
    ]
    return front | {"model-index": [{"name": recipe.name, "results": results}]}


def _pipeline(recipe: Recipe, name: str, data: TaskData) -> str | None:
    """What hubs call this task; None for what they have no name for."""
    head = recipe.tasks[name].head.use
    if head == "classify":
        return {"frames": "audio-classification", "steps": None}.get(data.input.unit, "text-classification")
    return _PIPELINES.get(head)


def _result(
    recipe: Recipe, name: str, data: TaskData, split: str, scores: Mapping[str, float]
) -> dict[str, Any] | None:
    """An entry of the model index; None for a split without scores."""
    prefix = f"{name}/{split}/"
    of_split = {key.removeprefix(prefix): value for key, value in scores.items() if key.startswith(prefix)}
    numbers = {key: value for key, value in of_split.items() if math.isfinite(value)}
    if not numbers:
        return None
    dataset = without_folder(data.task.about.get("dataset", name))
    return {
        "task": {"type": _pipeline(recipe, name, data) or "other", "name": name},
        "dataset": {"type": _slug(dataset), "name": dataset, "split": split},
        "metrics": [{"type": key, "name": f"{split} {key}", "value": value} for key, value in numbers.items()],
    }


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._/-]+", "-", name).strip("-/") or "data"


def _yaml(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Block style that YAML 1.1 and 1.2 read alike: all texts quoted, numbers without an exponent."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(item, indent + "  ")
        elif isinstance(item, list | tuple):
            yield f"{indent}{key}:" + ("" if item else " []")
            for entry in item:
                if isinstance(entry, Mapping):
                    first, *rest = _yaml(entry, indent + "  ")
                    yield f"{indent}- {first.strip()}"
                    yield from rest
                else:
                    yield f"{indent}- {_scalar(entry)}"
        else:
            yield f"{indent}{key}: {_scalar(item)}"


def _scalar(value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) else json.dumps(value)


def _body(
    recipe: Recipe,
    data: Mapping[str, TaskData],
    scores: Mapping[str, float],
    parameters: int,
    best_step: int,
    warnings: Sequence[str],
) -> Iterator[str]:
    encoder = recipe.encoder
    size = f"{encoder.options['hidden']} units, " if "hidden" in encoder.options else ""
    yield f"# {plain(recipe.name)}"
    yield ""
    yield f"A recurrent model (`{encoder.use}`, {size}{parameters:,} parameters) trained with seqkit {__version__}."
    yield ""
    yield "## Use"
    yield ""
    yield "```python"
    yield "import seqkit"
    yield ""
    yield 'model = seqkit.load("this-folder")'
    yield "for result in model.predict(inputs):"
    yield "    print(result.value, result.confidence)"
    yield "```"
    yield ""
    yield "From a shell: `seqkit predict this-folder FILE`, `seqkit evaluate this-folder --data FILE`, `seqkit serve"
    yield "this-folder`. The folder has all that is needed: weights, recipe, vocabularies, and a hash of each file."
    yield ""
    yield "## Scores"
    yield ""
    yield "| task | split | score | value | promised |"
    yield "| --- | --- | --- | ---: | --- |"
    for key, value in scores.items():
        task, split, name = key.split("/", 2)
        bound = ExpectedRange.of(recipe.expect.get(key, {}))
        promised = "" if bound is None else f"{bound}: {bound.judge(value)}"
        yield f"| {plain(task)} | {plain(split)} | {plain(name)} | {value:.4f} | {promised} |"
    yield ""
    for warning in warnings:
        yield f"- warning: {plain(warning)}"
    yield from _data_lines(recipe, data)
    yield "## Training"
    yield ""
    yield f"Seed {recipe.seed}; the checkpoint is that of step {best_step:,}. `recipe.yaml` has every option:"
    yield "`seqkit run recipe.yaml` trains the model again."
    yield ""


def _data_lines(recipe: Recipe, data: Mapping[str, TaskData]) -> Iterator[str]:
    yield "## Data"
    yield ""
    for name, task_data in data.items():
        card = make_card(task_data)
        yield f"### {plain(name)} (`{recipe.tasks[name].use}`, head `{recipe.tasks[name].head.use}`)"
        yield ""
        for key, value in card.about.items():
            if isinstance(value, str | int | float):
                yield f"- {plain(key)}: {plain(without_folder(value))}"
        for split, report in card.splits.items():
            windows = f"{card.windows[split]:,} windows, " if split in card.windows else ""
            yield f"- {plain(split)}: {report.examples:,} examples, {windows}{report.steps:,} {plain(report.unit)}"
        classes = list(card.splits["train"].classes.items()) if "train" in card.splits else []
        if classes:
            shown = ", ".join(f"{plain(label)} ({count:,})" for label, count in classes[:_CLASSES_SHOWN])
            rest = f", and {len(classes) - _CLASSES_SHOWN:,} more" if len(classes) > _CLASSES_SHOWN else ""
            yield f"- classes in train: {shown}{rest}"
        for warning in card.warnings:
            yield f"- warning: {plain(warning.sentence)}"
        yield ""


def without_folder(value: object) -> str:
    """A text; of a path, the last part: where data lie on a machine is nobody's business."""
    text = str(value)
    return PurePath(text).name if PurePath(text).is_absolute() else text


def plain(value: object) -> str:
    """A value as text in Markdown: one line, and nothing in it is a link, a tag or a column."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return re.sub(r"([\\`*_\[\]<>|#!])", lambda match: {"<": "&lt;", ">": "&gt;"}.get(match[1], "\\" + match[1]), text)
