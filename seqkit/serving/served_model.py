"""A model as the server uses it: its tasks described for clients, its predictions made in one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkit.io.atomic import json_safe
from seqkit.serving.values import read_value
from seqkit.types import JSON, Flaw

if TYPE_CHECKING:
    from seqkit.api.model import Model
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
        model: loaded.
        streams: how many streams may be open at a time.
    """

    def __init__(self, name: str, model: Model, *, streams: int) -> None:
        self.name, self.model = name, model
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=f"seqkit-{name}")
        self._streams = {task: _open_stream(model, task, streams) for task in model.tasks}
        self.facts = {task: self._describe(task) for task in model.tasks}

    def predict(self, task: str, values: Sequence[Any]) -> list[dict[str, JSON]]:
        """A record for each input from JSON: `id`, `prediction`, `confidence` and more, or `error`."""
        reader, reads_text = self.model.reader(task), self.facts[task].reads_text
        usable = [read_value(value, reader, reads_text=reads_text) for value in values]
        results = self.model.predict(
            [value for value in usable if not isinstance(value, Flaw)], task=task, on_error="record"
        )
        return [
            {"error": value.what} if isinstance(value, Flaw) else record_of(next(results)) for value in usable
        ]

    def stream(self, task: str) -> Any:
        """The stream of a task; None if the model needs whole sequences."""
        stream = self._streams[task]
        return None if isinstance(stream, str) else stream

    def close(self) -> None:
        """Wait for what is being computed, and stop."""
        self.executor.shutdown(wait=True, cancel_futures=True)

    def _describe(self, task: str) -> TaskFacts:
        definition, source, target = self.model.parts(task)
        head: Any = self.model.head(task)
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


def _open_stream(model: Model, task: str, sessions: int) -> Any:
    """The stream of a task, or the reason why there is none."""
    from seqkit.errors import SeqkitError

    try:
        return model.stream(task=task, sessions=sessions)
    except SeqkitError as error:
        return str(error)


def record_of(result: Result) -> dict[str, JSON]:
    """A result as JSON. Its id is left out: the answer has the inputs' order."""
    if result.error:
        return {"error": result.error}
    record: dict[str, Any] = {"prediction": result.value, "confidence": result.confidence}
    if result.probabilities:
        record["probabilities"] = dict(result.probabilities)
    if result.spans:
        record["spans"] = result.spans
    return to_json(record)


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
