"""`seqkit.load` and the `Model` that it returns: what a trained model is used for from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sized
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqkit.api.results import Result, labels_of
from seqkit.errors import DataError, Problem, UsageError, name_hint

if TYPE_CHECKING:
    from torch import nn

    from seqkit.inference.predict import Outcome
    from seqkit.model import Model as Module
    from seqkit.recipe import Recipe
    from seqkit.types import Field, Task


def load(path: str | os.PathLike[str], device: str = "auto") -> Model:
    """The trained model in a folder, ready to be used.

    Args:
        path: a run folder, its `model/` or a copy of that. Of a run that has not finished it is the best checkpoint.
        device: auto (the GPU if there is one), cpu, cuda or cuda:N.

    Raises:
        DataError: there is no model here.
        PluginError: a plugin that it was made with is not installed.
        RunError: a file of it is missing, damaged, or of a newer format.
        UsageError: there is no such folder or device.
    """
    from seqkit.model import load_model
    from seqkit.runtime.caller import protected
    from seqkit.runtime.device import choose_device

    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(f"'{path}': there is no such folder; give a run folder, or the model/ in one")
    with protected():
        module, recipe, tasks = load_model(folder, choose_device(device))
    return Model(folder.resolve(), module, recipe, tasks)


class Model:
    """A trained model. Made by `seqkit.load`; several threads may use one at a time.

    Attributes:
        folder: where it was loaded from.
        module: the torch module: input layers, encoder and heads.
        tasks: the names of its tasks. Where there are several, `task=` says which is meant.
    """

    def __init__(
        self, folder: Path, module: Module, recipe: Recipe, tasks: dict[str, tuple[Task, Field, Field]]
    ) -> None:
        self.folder = folder
        self._module, self._recipe, self._tasks = module, recipe, tasks

    @property
    def module(self) -> nn.Module:
        return self._module

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self._tasks)

    def predict(
        self,
        inputs: Iterable[Any],
        *,
        task: str | None = None,
        batch: int = 64,
        on_error: Literal["raise", "record"] = "raise",
    ) -> Iterator[Result]:
        """A result for each input, in their order, as they are needed: memory does not grow with their number.

        An input is a text; a list of words that are split already; an array, a tensor or a list of numbers; a mapping,
        which is a row of a table (its keys are the columns that the recipe names); or a `Path` of a recording or of any
        other file that the task trains from, which gives a result for each input in it. For a task that reads
        recordings, a text is the path of one.

        The first results of a generator come as soon as a batch is full. Of a list, up to 1,024 inputs are sorted by
        length first, which is faster. The predictions are those of `seqkit predict` and do not depend on `batch`.

        Args:
            inputs: what to predict for.
            task: which task of a joint model.
            batch: inputs a batch.
            on_error: what an input that cannot be used does: raise a DataError when its turn comes, or give a result
                with `error`.

        Raises:
            DataError: an input cannot be used; its results and those before it have been given.
            UsageError: the arguments are wrong, or there is no such file.
        """
        from seqkit.inference.inputs import InputReader
        from seqkit.inference.predict import predict_inputs
        from seqkit.runtime.caller import evaluating

        name = self._name(task)
        if on_error not in ("raise", "record"):
            raise UsageError(f"on_error: expected 'raise' or 'record', got {on_error!r}")
        values = _checked_inputs(inputs)
        outcomes = predict_inputs(
            self._module,
            name,
            self._tasks[name],
            InputReader(self._tasks[name][0], self._tasks[name][1]).values(values),
            batch=_checked_batch(batch),
            chunk=None if isinstance(values, Sized) else batch,
            computing=partial(evaluating, self._module),
        )
        return self._results(name, outcomes, on_error)

    def _results(self, name: str, outcomes: Iterator[Outcome], on_error: str) -> Iterator[Result]:
        target = self._tasks[name][2]
        for outcome in outcomes:
            item, prediction = outcome.input, outcome.prediction
            if prediction is None:
                if on_error == "raise":
                    raise DataError(Problem(item.id, outcome.error))
                yield Result(item.id, item.shown, None, error=outcome.error)
                continue
            probabilities = labels_of(prediction.scores, target)
            yield Result(item.id, item.shown, prediction.value, prediction.confidence, probabilities, prediction.scores)

    def _name(self, task: str | None) -> str:
        """The task of this name, or the only one."""
        known = list(self._tasks)
        if task is None and len(known) == 1:
            return known[0]
        if task is None:
            raise UsageError(f"this model has several tasks; choose one with task=: {', '.join(known)}")
        if task not in known:
            raise UsageError(f"this model has no task '{task}'; {name_hint(task, known, label='its tasks')}")
        return task


def _checked_batch(batch: int) -> int:
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch: should be a whole number from 1, got {batch!r}")
    return batch


def _checked_inputs(inputs: Any) -> Iterable[Any]:
    """The inputs. One input instead of several is refused: its letters or keys would be taken for inputs.

    Raises:
        UsageError: this is one input, or nothing that has inputs.
    """
    if isinstance(inputs, str | bytes | os.PathLike | dict):
        raise UsageError(f"predict: give a list of inputs; for one {type(inputs).__name__}, write it in brackets: [x]")
    if hasattr(inputs, "itertuples") and hasattr(inputs, "columns"):  # a DataFrame, which would give its columns
        columns = [str(column) for column in inputs.columns]
        return (dict(zip(columns, row, strict=True)) for row in inputs.itertuples(index=False, name=None))
    if not isinstance(inputs, Iterable):
        raise UsageError(f"predict: expected a list or another iterable of inputs, got {type(inputs).__name__}")
    return inputs
