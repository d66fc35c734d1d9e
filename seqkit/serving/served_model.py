"""A model as the server uses it: its tasks described for clients, its predictions made in one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkit.api.model import Model
from seqkit.errors import UsageError
from seqkit.fields.labels import UNSEEN, Tags
from seqkit.fields.words import Words
from seqkit.inference.inputs import InputReader
from seqkit.inference.stream import Stream
from seqkit.io.atomic import json_safe
from seqkit.model import load_model
from seqkit.runtime.device import choose_device
from seqkit.serving.input_examples import examples_of, schema_of_examples, texts_of_card
from seqkit.serving.values import read_value
from seqkit.spans import type_of
from seqkit.types import JSON, Field, Flaw

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
        reads_rows: whether a row of a table, an object, is an input.
        files: endings of the names of files that can be sent.
        example: an input: of numbers random ones; a text of the model's card, if that names one; else None.
        schema: JSON Schema of such an input.
        labels: what it predicts, if that is one of a list, or types of spans; at most `MOST_LABELS`.
        generates: whether it writes text.
        streams: whether it answers while a sequence is still coming.
        why_no_stream: the reason if it does not.
        about: data, licence and source.
    """

    name: str
    unit: str
    reads_text: bool
    reads_rows: bool
    files: list[str]
    example: JSON
    schema: Mapping[str, JSON]
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
        self._card_texts = texts_of_card(folder)
        self._streams = {task: self._open_stream(task, streams) for task in self._tasks}
        self.facts = {task: self._describe(task) for task in self._tasks}

    def predict(self, task: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """A record for each input from JSON: `id`, `prediction`, `confidence` and more, or `error`."""
        definition, source, _ = self._tasks[task]
        reader, reads_text = InputReader(definition, source), self.facts[task].reads_text
        with ExitStack() as stack:

            def new_folder() -> Path:
                return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seqkit-")))

            usable = [read_value(value, reader, new_folder, reads_text=reads_text) for value in values]
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
        reads_text = source.unit in UNITS_OF_TEXT and not _features_of(source)
        # A card says nothing of which of several tasks an example is for.
        texts: list[JSON] = list(self._card_texts) if len(self._tasks) == 1 else []
        examples = texts if reads_text else examples_of(source)
        return TaskFacts(
            name=task,
            unit=source.unit,
            reads_text=reads_text,
            reads_rows=".jsonl" in definition.suffixes and definition.read_file is not None,
            files=sorted(suffix for suffix in definition.suffixes if suffix and suffix != ".zip"),
            example=examples[0] if examples else None,
            schema=_schema(source, examples, reads_text=reads_text),
            labels=_labels(target)[:MOST_LABELS],
            generates=bool(head.generates or head.writes),
            streams=not isinstance(stream, str),
            why_no_stream=stream if isinstance(stream, str) else "",
            about=json_safe(dict(definition.about)),
        )


def _schema(source: Field, examples: Sequence[JSON], *, reads_text: bool) -> dict[str, JSON]:
    """JSON Schema of an input that is no file and no row of a table."""
    if reads_text:
        text: dict[str, JSON] = {"type": "string", "description": f"A text: the model reads its {source.unit}."}
        return text | ({"examples": list(examples)} if examples else {})
    if features := _features_of(source):
        form = f"[{', '.join(['word', *['feature'] * features])}]"
        word = {"type": "array", "items": {"type": "string"}, "minItems": 1 + features}
        return {"type": "array", "items": word, "minItems": 1, "description": f"{form} for each word."}
    if source.sample_rate is not None:
        what = f"Samples of sound within -1 to 1, {source.sample_rate:,} a second."
        return {"type": "array", "items": {"type": "number"}, "minItems": 1, "description": what}
    if not examples:
        return {"type": "array", "description": f"Numbers: {source.unit}."}
    return schema_of_examples(examples) | {"description": f"Numbers: {source.unit}.", "examples": [examples[0]]}


def _features_of(source: Field) -> int:
    """How many features have to come with each word."""
    return source.features if isinstance(source, Words) else 0


def _labels(target: Field) -> list[str]:
    """The labels of a target, or the types of its spans; none if it has none."""
    labels = [str(label) for label in getattr(target, "labels", None) or [] if label != UNSEEN]
    if isinstance(target, Tags) and target.learned:
        return sorted({kind for label in labels if (kind := type_of(label, target.learned))} - {UNSEEN})
    return labels


def record_of(result: Result) -> dict[str, Any]:
    """What a client is told of a result. Its id is left out: the answer has the inputs' order."""
    if result.error:
        return {"error": result.error}
    record: dict[str, Any] = {"prediction": result.value, "confidence": result.confidence}
    if result.probabilities:
        record["probabilities"] = result.probabilities
    if isinstance(result.scores, Mapping) and "spans" in result.scores:
        record["spans"] = result.spans
    elif result.scores is not None and not result.probabilities:
        record["scores"] = result.scores
    return record
