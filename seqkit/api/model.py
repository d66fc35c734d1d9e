"""`seqkit.load` and the `Model` that it returns: what a trained model is used for from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqkit.api.results import Result, labels_of
from seqkit.errors import DataError, Problem, UsageError, name_hint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from seqkit.export import ExportResult
    from seqkit.inference.inputs import InputReader
    from seqkit.inference.predict import Outcome
    from seqkit.inference.stream import Stream
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
    from seqkit.runtime.random_state import DRAWING

    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(f"'{path}': there is no such folder; give a run folder, or the model/ in one")
    with DRAWING, protected():  # other threads may train meanwhile
        module, recipe, tasks = load_model(folder, choose_device(str(device)))
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
        from seqkit.inference.predict import predict_inputs
        from seqkit.runtime.caller import evaluating

        name = self._name(task)
        if on_error not in ("raise", "record"):
            raise UsageError(f"on_error: expected 'raise' or 'record', got {on_error!r}")
        values = _checked_inputs("predict", inputs)
        outcomes = predict_inputs(
            self._module,
            name,
            self._tasks[name],
            self._reader(name).values(values),
            batch=_checked_batch(batch),
            chunk=_chunk_of(values, batch),
            computing=partial(evaluating, self._module),
        )
        return self._results(name, outcomes, on_error)

    def encode(
        self,
        inputs: Iterable[Any],
        *,
        pool: Literal["none", "last", "mean", "max"] = "none",
        task: str | None = None,
        batch: int = 64,
    ) -> Iterator[NDArray[np.float32]]:
        """The features of each input, what the encoder makes of it, in their order and as they are needed.

        Inputs are those of `predict`. A language model reads a mark for the start of a text first, so it has one step
        more than the text.

        Args:
            inputs: what to encode.
            pool: none, an array (steps, width) for each input; mean, max or last: one row (width,) of it. `last` is the
                output of the last step, in a bidirectional encoder with the backward output of the first step.
            task: which task of a joint model.
            batch: inputs a batch; the features do not depend on it.

        Raises:
            DataError: an input cannot be used; those before it have been given.
            UsageError: the arguments are wrong, or there is no such file.
        """
        from seqkit.inference.features import encode_inputs
        from seqkit.runtime.caller import evaluating

        name = self._name(task)
        if pool not in ("none", "last", "mean", "max"):
            raise UsageError(f"pool: expected 'none', 'last', 'mean' or 'max', got {pool!r}")
        values = _checked_inputs("encode", inputs)
        return encode_inputs(
            self._module,
            name,
            self._tasks[name],
            self._reader(name).values(values),
            pool=pool,
            batch=_checked_batch(batch),
            chunk=_chunk_of(values, batch),
            computing=partial(evaluating, self._module),
        )

    def evaluate(
        self,
        examples: str | os.PathLike[str] | Iterable[Any] | None = None,
        *,
        split: str | None = None,
        task: str | None = None,
        batch: int | None = None,
    ) -> dict[str, float]:
        """The scores of one task: its loss and what its metric gives, by name.

        Args:
            examples: a labelled file or folder, as for `seqkit evaluate --data`; or (input, target) pairs, whose inputs
                are those of `predict`; or mappings, the rows of a table. For a language model, texts. None: a split of
                the recipe's own data.
            split: which split of the recipe's data (None: test), or of a folder.
            task: which task of a joint model.
            batch: examples a batch; the scores do not depend on it.

        Raises:
            DataError: examples cannot be read or used.
            UsageError: the arguments are wrong.
        """
        from seqkit.experiments.other_data import OTHER, open_examples, open_other_data
        from seqkit.experiments.prepare import prepare_split
        from seqkit.inference.evaluate import evaluate
        from seqkit.runs.progress import Progress
        from seqkit.runtime.caller import evaluating

        name = self._name(task)
        if batch is not None:
            _checked_batch(batch)
        progress = Progress(quiet=True)
        stored = OTHER
        with ExitStack() as stack:
            stack.enter_context(evaluating(self._module))
            if examples is None:
                stored = split or "test"
                data = prepare_split(self._recipe, name, self._tasks[name], stored, progress)
            elif isinstance(examples, str | os.PathLike):
                path = Path(examples).expanduser()
                data = stack.enter_context(open_other_data(name, self._tasks[name], path, split, progress))
            else:
                if split is not None:
                    raise UsageError("split= is for the recipe's own data, or for a folder")
                values = self._reader(name).examples(_checked_inputs("evaluate", examples))
                data = stack.enter_context(open_examples(name, self._tasks[name], values, progress))
            return evaluate(self._module, data, stored, batch=batch).scores

    def generate(
        self,
        prompt: str = "",
        *,
        count: int = 1,
        length: int = 500,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        task: str | None = None,
    ) -> list[str]:
        """Texts that the model writes, as `seqkit generate` prints them.

        A language model continues the prompt; the texts begin with it. A model of another kind writes texts for the
        prompt, which is its input. The same seed gives the same texts.

        Args:
            prompt: the beginning of the text, or the input that it is written for.
            count: how many texts.
            length: most symbols of a text.
            temperature: 0: always the most likely symbol.
            top_k: draw from the k most likely symbols.
            top_p: draw from the most likely symbols that have this probability together.
            seed: of the draws.
            task: which task of a joint model. None: the only one that writes.

        Raises:
            UsageError: the task does not write, does not know a symbol of the prompt, or an argument is out of range.
        """
        from seqkit.inference.generate import generate, write
        from seqkit.runtime.caller import evaluating

        module = self._module
        able = [name for name in self._tasks if module.head(name).generates or module.head(name).writes]
        name = able[0] if task is None and len(able) == 1 else self._name(task)
        _check_draws(count, length, temperature, top_k, top_p, seed)
        options: Any = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        with evaluating(module):
            if module.head(name).writes:
                return write(module, name, self._tasks[name], prompt=prompt, count=count, seed=seed, **options)
            field = self._tasks[name][1]
            return [
                prompt + "".join(generate(module, name, field, prompt=prompt, seed=seed + number, **options))
                for number in range(count)
            ]

    def stream(
        self,
        *,
        sessions: int = 64,
        look_ahead: int | None = None,
        idle: float | None = None,
        on_evict: Callable[[str, bytes], None] | None = None,
        task: str | None = None,
    ) -> Stream:
        """Predictions for sequences that come in pieces: `stream.push(id, piece)` answers after each piece.

        An answer has the prediction if the sequence ended here, and the state; `stream.state(id)` gives that as bytes,
        from which `stream.restore(id, state)` goes on elsewhere. The last answer is what `predict` gives for the whole.

        Args:
            sessions: how many sequences may be open at a time.
            look_ahead: for an encoder in both directions: how many steps it waits before it is sure of one.
            idle: seconds without a piece after which a session is ended to make room. None: never.
            on_evict: called with the id and the state of a session that is ended so.
            task: which task of a joint model.

        Raises:
            UsageError: the model needs the whole sequence.
        """
        from seqkit.inference.stream import Stream
        from seqkit.runtime.caller import usual_settings

        name = self._name(task)
        with usual_settings():
            return Stream(
                self._module,
                name,
                self._tasks[name],
                sessions=sessions,
                look_ahead=look_ahead,
                idle=idle,
                on_evict=on_evict,
            )

    def export(self, out: str | os.PathLike[str], *, int8: bool = False, task: str | None = None) -> ExportResult:
        """Write the model to a file that runs without seqkit, and a description of it as JSON beside it.

        The file is compared with seqkit over random inputs first, and written only if both agree within 1e-5. Other
        threads must not use the model meanwhile.

        Args:
            out: the file; `.onnx` for ONNX, `.pt2` for a program of `torch.export`.
            int8: write a second file with weights of eight bits, scored on the dev split (ONNX only).
            task: which task of a joint model.

        Raises:
            MissingExtra: a library of the extra `export` is not installed.
            RunError: the exported model and seqkit do not agree.
            UsageError: the model cannot be exported, or the file cannot be written there.
        """
        from seqkit.experiments.prepare import prepare_split
        from seqkit.export import export_model
        from seqkit.export.export_model import SUFFIXES
        from seqkit.runs.progress import Progress
        from seqkit.runtime.caller import evaluating, protected

        name, path = self._name(task), Path(out).expanduser()
        formats = {suffix: format for format, suffix in SUFFIXES.items()}
        if path.suffix not in formats:
            raise UsageError(f"out: '{path.name}' should end in {' or '.join(formats)}")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"out: there is no folder {path.absolute().parent}")
        with protected(), evaluating(self._module):
            data = None
            if int8:
                data = prepare_split(self._recipe, name, self._tasks[name], "dev", Progress(quiet=True))
            to = formats[path.suffix]
            return export_model(self._module, self._recipe, self._tasks, path, task=name, to=to, int8=data)

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe that it was trained with, every option written out; `seqkit.run` takes it."""
        from seqkit.recipe.writer import to_plain

        sections: dict[str, Any] = to_plain(self._recipe.sections)
        return sections

    @property
    def scores(self) -> dict[str, float]:
        """The scores of its run, `task/split/score` to number; empty if the model was copied out of its run."""
        from seqkit.runs.records import is_run_folder, read_scores

        for folder in (self.folder, self.folder.parent):
            if is_run_folder(folder):
                return read_scores(folder)
        return {}

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r}): {', '.join(self._tasks)}"

    def _repr_html_(self) -> str:
        from seqkit.api.display import html_table

        module = self._module
        tasks = ", ".join(f"{name} ({type(module.head(name)).__name__})" for name in self._tasks)
        encoder = self._recipe.encoder
        facts = {"tasks": tasks, "encoder": encoder.use, "parameters": f"{module.count_parameters():,}"}
        return html_table(str(self.folder), facts | {"device": str(module.device)} | self.scores)

    def _reader(self, name: str) -> InputReader:
        from seqkit.inference.inputs import InputReader

        return InputReader(self._tasks[name][0], self._tasks[name][1])

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


def _chunk_of(values: Iterable[Any], batch: int) -> int | None:
    """How many inputs are read before the first is worked on. What is in memory anyway is sorted in larger parts."""
    return None if isinstance(values, Sized) else batch


def _check_draws(
    count: int, length: int, temperature: float, top_k: int | None, top_p: float | None, seed: int
) -> None:
    """Raises UsageError for what is out of range."""
    for name, value in {"count": count, "length": length, "top_k": top_k}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"{name}: should be a whole number from 1, got {value!r}")
    if not isinstance(temperature, int | float) or not 0 <= temperature < float("inf"):
        raise UsageError(f"temperature: should be a number from 0, got {temperature!r}")
    if top_p is not None and (not isinstance(top_p, int | float) or not 0 < top_p <= 1):
        raise UsageError(f"top_p: should be above 0 and at most 1, got {top_p!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"seed: should be a whole number, got {seed!r}")


def _checked_inputs(method: str, inputs: Any) -> Iterable[Any]:
    """The inputs. One input instead of several is refused: its letters or keys would be taken for inputs.

    Raises:
        UsageError: this is one input, or nothing that has inputs.
    """
    if isinstance(inputs, str | bytes | os.PathLike | dict):
        raise UsageError(f"{method}: give a list of inputs; for one {type(inputs).__name__}, write it in brackets: [x]")
    if hasattr(inputs, "itertuples") and hasattr(inputs, "columns"):  # a DataFrame, which would give its columns
        columns = [str(column) for column in inputs.columns]
        return (dict(zip(columns, row, strict=True)) for row in inputs.itertuples(index=False, name=None))
    if not isinstance(inputs, Iterable):
        raise UsageError(f"{method}: expected a list or another iterable of inputs, got {type(inputs).__name__}")
    return inputs
