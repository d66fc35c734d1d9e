"""A model as the server uses it: its tasks described for clients, its predictions made in one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkit.api.model import Model
from seqkit.errors import UsageError
from seqkit.inference.inputs import InputReader
from seqkit.inference.stream import Stream
from seqkit.io.atomic import json_safe
from seqkit.model import load_model
from seqkit.runtime.device import choose_device
from seqkit.serving.values import read_value
from seqkit.types import JSON, Flaw

if TYPE_CHECKING:
    from seqkit.api.results import Result

UNITS_OF_TEXT = ("words", "characters", "pieces", "bytes", "bases")
"""What a model of text reads."""

MOST_LABELS = 1_000
"""Labels that the description of a task names."""


@dataclass(frozen=True)
class TaskFacts:
    """What a client has to know about a task.

    Attributes:
        name: of the task.
        unit: what the model reads: words, characters, frames of a recording, ...
        reads_text: whether a text is an input.
        files: endings of the names of files that can be sent.
        labels: what it predicts, if that is one of a list; at most `MOST_LABELS`.
        generates: whether it writes text.
        streams: whether it answers while a sequence is still coming.
        why_no_stream: the reason if it does not.
        about: data, licence and source.
    """

    name: str
    unit: str
    reads_text: bool
    files: list[str]
    labels: list[str]
    generates: bool
    streams: bool
    why_no_stream: str
    about: Mapping[str, JSON]


class ServedModel:
    """One model. All that it computes runs in its executor's only thread, one call after the other.

    Args:
        name: in requests.
        folder: a run folder, its `model/` or a copy of that.
        device: auto, cpu, cuda or cuda:N.
        streams: how many streams may be open at a time.

    Raises:
        SeqkitError: there is no model, or it cannot be loaded.
    """

    def __init__(self, name: str, folder: Path, *, device: str = "auto", streams: int = 64) -> None:
        self.name = name
        self._module, recipe, self._tasks = load_model(folder, choose_device(device))
        self.model = Model(folder, self._module, recipe, self._tasks)
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=f"seqkit-{name}")
        self._streams = {task: self._open_stream(task, streams) for task in self._tasks}
        self.facts = {task: self._describe(task) for task in self._tasks}

    def predict(self, task: str, values: Sequence[Any]) -> list[dict[str, JSON]]:
        """A record for each input from JSON: `id`, `prediction`, `confidence` and more, or `error`."""
        definition, source, _ = self._tasks[task]
        reader, reads_text = InputReader(definition, source), self.facts[task].reads_text
        with tempfile.TemporaryDirectory(prefix="seqkit-") as folder:
            usable = [read_value(value, reader, Path(folder), reads_text=reads_text) for value in values]
            results = self.model.predict(
                [value for value in usable if not isinstance(value, Flaw)], task=task, on_error="record"
            )
            return [{"error": value.what} if isinstance(value, Flaw) else record_of(next(results)) for value in usable]

    def stream(self, task: str) -> Stream | None:
        """The stream of a task; None if the model needs whole sequences."""
        stream = self._streams[task]
        return stream if isinstance(stream, Stream) else None

    def close(self) -> None:
        """Wait for what is being computed, and stop."""
        self.executor.shutdown(wait=True, cancel_futures=True)

    def _open_stream(self, task: str, sessions: int) -> Stream | str:
        """The stream of a task, or the reason why there is none."""
        try:
            return Stream(self._module, task, self._tasks[task], sessions=sessions)
        except UsageError as error:
            return str(error)

    def _describe(self, task: str) -> TaskFacts:
        definition, source, target = self._tasks[task]
        head: Any = self._module.head(task)
        stream = self._streams[task]
        return TaskFacts(
            name=task,
            unit=source.unit,
            reads_text=source.unit in UNITS_OF_TEXT,
            files=sorted(suffix for suffix in definition.suffixes if suffix and suffix != ".zip"),
            labels=[str(label) for label in (getattr(target, "labels", None) or [])[:MOST_LABELS]],
            generates=bool(head.generates or head.writes),
            streams=not isinstance(stream, str),
            why_no_stream=stream if isinstance(stream, str) else "",
            about=json_safe(dict(definition.about)),
        )


def record_of(result: Result) -> dict[str, JSON]:
    """A result as JSON. Its id is left out: the answer has the inputs' order."""
    if result.error:
        return {"error": result.error}
    record: dict[str, Any] = {"prediction": result.value, "confidence": result.confidence}
    if result.probabilities:
        record["probabilities"] = dict(result.probabilities)
    if isinstance(result.scores, Mapping) and "spans" in result.scores:
        record["spans"] = result.spans
    plain: dict[str, JSON] = to_json(record)
    return plain


def to_json(value: Any) -> Any:
    """A value as JSON has it: arrays as lists, numbers of NumPy as numbers, what is not finite as null."""
    return json_safe(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
