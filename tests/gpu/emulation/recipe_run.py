"""A recipe's whole way on the emulated GPU: some steps, evaluation, save, resume, predictions. Writes facts.json."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from tests.gpu.emulation.device import emulated_gpu
from tests.gpu.emulation.tensors import records

EVALUATED = 24
"""Examples of a split that are evaluated."""


BATCH = 8
"""Examples of a batch at most: the operations are the same, and Triton's interpreter has less to do."""


PROMPTS = {"inflection": "tgl patay\tV;AGFOC;LGSPEC1", "g2p": "fre maison"}
"""What a user writes for tasks whose inputs are not the words of it."""


class Enough(BaseException):
    """Ends a run of which enough has been seen."""


@contextmanager
def watched(steps: int | None = None) -> Iterator[dict[str, int]]:
    """Tell the records what a run is doing; `Enough` is raised after so many steps."""
    from seqkit.data import epoch
    from seqkit.inference import evaluate
    from seqkit.runs.progress import Progress
    from seqkit.training import loop

    batches_from, update = epoch.EpochPlan.batches_from, Progress.update
    score, recover = evaluate._score, loop.recover
    counts = {"evaluated": 0}

    def turns(self: Any, *args: Any) -> Iterator[Any]:
        inner = batches_from(self, *args)
        while True:
            records.begin_step()
            try:
                turn = next(inner)
            except StopIteration:
                records.phase = "between steps"
                return
            yield turn

    def updated(self: Any, *args: Any, **kwargs: Any) -> None:
        records.end_step()
        if len(records.steps) == steps:
            raise Enough
        update(self, *args, **kwargs)

    def scored(*args: Any, **kwargs: Any) -> Any:
        before, records.phase = records.phase, "evaluation"
        counts["evaluated"] += 1
        try:
            return score(*args, **kwargs)
        finally:
            records.phase = before

    def recovered(*args: Any) -> Any:
        records.end_step()  # at a pause, and after what was not finite, the device is waited for
        return recover(*args)

    with (
        mock.patch.object(epoch.EpochPlan, "batches_from", turns),
        mock.patch.object(Progress, "update", updated),
        mock.patch.object(evaluate, "_score", scored),
        mock.patch.object(loop, "recover", recovered),
    ):
        yield counts


def main(recipe_name: str, folder: Path, steps: int, sets: list[str]) -> dict[str, Any]:
    from seqkit import recipe
    from seqkit.experiments import run_recipe
    from seqkit.runs import checkpoint
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run

    half = max(1, steps // 2)
    every = [f"train.steps={steps}", f"train.evaluate_every={steps}", f"train.save_every={half}"]
    batch = min(BATCH, recipe.load(recipe_name, sets).train.batch)
    smaller = [f"train.batch={batch}", "train.tokens=null", f"train.log_every={steps}", "device=cuda"]
    checked = recipe.load(recipe_name, [*every, *smaller, *sets])
    out = folder / "run"
    with emulated_gpu(), watched() as counts, few_evaluated():
        run = Run.create("emulated", text=checked.text, resolved=checked.resolved(), out=out)
        result = run_recipe.run_recipe(checked, run, Progress(quiet=True))
        trained = weights(out)
        # The run goes on from its middle, as if it had been killed before the last checkpoint was written.
        for path in (out / "checkpoints").iterdir():
            if path.is_dir() and checkpoint.step_of(path) > half:
                shutil.rmtree(path)
        again = run_recipe.run_recipe(checked, Run.open(out), Progress(quiet=True), resume=True)
        facts = {"batches": counts["evaluated"], "scores": result.scores}
        facts["resumed alike"] = again.scores == result.scores and weights(out) == trained
        records.phase = "predictions"
        facts["predictions"] = predict(checked, out)
    return facts


def count_operations(recipe_name: str, folder: Path, steps: int, sets: list[str]) -> None:
    """Some steps of a recipe, and nothing else; the records then have the lines of the operations as well."""
    import torch

    from seqkit import recipe
    from seqkit.experiments import run_recipe
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run

    never = [f"train.{name}_every={100 * steps}" for name in ("evaluate", "save", "log")]
    checked = recipe.load(recipe_name, [f"train.steps={50 * steps}", *never, "device=cuda", *sets])
    records.has_lines = True
    # Torch then keeps the stack of the forward pass for the backward pass.
    anomalies = torch.autograd.set_detect_anomaly(True, check_nan=False)
    with emulated_gpu(), watched(steps), anomalies, suppress(Enough):
        run = Run.create("operations", text=checked.text, resolved=checked.resolved(), out=folder / "run")
        run_recipe.run_recipe(checked, run, Progress(quiet=True))


@contextmanager
def few_evaluated() -> Iterator[None]:
    """Within the block, runs evaluate some examples of each split."""
    from seqkit.experiments import run_recipe

    prepare_data = run_recipe.prepare_data

    def prepare_some(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {name: with_few_examples(data) for name, data in prepare_data(*args, **kwargs).items()}

    with mock.patch.object(run_recipe, "prepare_data", prepare_some):
        yield


def with_few_examples(data: Any) -> Any:
    """The task with some examples of each split that is evaluated: whole ones would only take time."""
    splits = {name: split if name == "train" else first_rows(split, EVALUATED) for name, split in data.splits.items()}
    return dataclasses.replace(data, splits=splits)


def first_rows(split: Any, count: int) -> Any:
    def cut(column: Any) -> Any:
        if column is None or column.offsets is None:
            return column if column is None else type(column)(column.data[:count])
        if column.stops is not None:  # windows, which may overlap
            return type(column)(column.data, column.offsets[:count], column.stops[:count])
        offsets = column.offsets[: count + 1]
        return type(column)(column.data[: int(offsets[-1])], offsets)

    count = min(count, len(split.x))
    return dataclasses.replace(
        split, x=cut(split.x), y=cut(split.y), ids=split.ids[:count], origin=split.origin[:count]
    )


def weights(out: Path) -> str:
    """The hash of the model's weights."""
    return hashlib.sha256((out / "model" / "model.safetensors").read_bytes()).hexdigest()


def predict(checked: Any, out: Path) -> dict[str, int]:
    """How many predictions were made for some inputs of each task, and texts where it can write."""
    from seqkit import load
    from seqkit.recipe import build_task

    model, made = load(out, device="cuda"), {}
    for name in model.tasks:
        examples = itertools.islice(build_task(checked.tasks[name]).read("train"), 3)
        inputs = [shortened(example.input) for example in examples]
        made[name] = len(list(model.predict(inputs, task=name)))
        head = model.module.head(name)
        if head.generates or head.writes:
            prompt = "a" if head.generates else PROMPTS.get(name) or as_text(inputs[0])
            made[f"{name}, written"] = len(model.generate(prompt, length=5, task=name))
    return made


def as_text(value: Any) -> str:
    """An input as a user writes it for a prompt."""
    return value if isinstance(value, str) else " ".join(map(str, value))


def shortened(value: Any) -> Any:
    """A running text may be a whole book."""
    return value[:200] if isinstance(value, str) else value


if __name__ == "__main__":
    extent, name, folder, steps, *sets = sys.argv[1:]
    facts: dict[str, Any] = {}
    try:
        if extent == "operations":
            count_operations(name, Path(folder), int(steps), sets)
        else:
            facts = main(name, Path(folder), int(steps), sets)
    except BaseException:
        facts["error"] = traceback.format_exc()
    (Path(folder) / "facts.json").write_text(json.dumps(facts | records.facts()))
    sys.exit(bool(facts.get("error")))
