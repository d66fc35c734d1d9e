"""What is predicted for: lines of text, the task's own kinds of files, standard input, and values from Python."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePath
from typing import IO, Any, Final

import numpy as np

from seqkit.errors import DataError, Problem, UsageError, ValueProblem
from seqkit.readers.line_reader import Line, numbered, numbered_stream
from seqkit.types import JSON, Example, Field, Flaw, NamedVectors, Task

STANDARD_INPUT: Final = "-"
_STANDARD_INPUT_NAME: Final = "stdin"


@dataclass(frozen=True, slots=True)
class Input:
    """One thing to predict for, or the reason why that is not possible.

    Attributes:
        id: where a human finds it.
        shown: what records show of it: the line of text, the words; None: nothing.
        value: the input value; a `Flaw` if it cannot be used.
        places: gives the first character of each step in `shown` and the one after its last; None: not known. It is
            called for those inputs alone of which something is predicted that has a place.
        times: of the steps that are predicted; None: not known.
    """

    id: str
    shown: JSON
    value: Any
    places: Callable[[], Sequence[tuple[int, int]]] | None = None
    times: tuple[str, ...] | None = None


@dataclass(frozen=True)
class InputReader:
    """Reads inputs for a task.

    Attributes:
        task: the task.
        field: its fitted input field.
        split_words: False: text is split into words already, by blanks or as a JSON list.
        format: `text`, or the ending that the names of all files are taken to have; None: by their own names.

    Raises:
        UsageError: words that are split already, for a task that does not read words.
    """

    task: Task
    field: Field
    split_words: bool = True
    format: str | None = None

    def __post_init__(self) -> None:
        if not self.split_words and self.field.unit != "words":
            raise UsageError(f"--split-words no: the model reads {self.field.unit}, not words")
        suffixes = [suffix.removeprefix(".") for suffix in self.task.suffixes if suffix]
        if self.format not in (None, "text", *suffixes):
            known = ", ".join(["text", *suffixes])
            raise UsageError(f"--format: the task does not read '{self.format}'; it reads: {known}")

    def texts(self, texts: Iterable[tuple[str, str]]) -> Iterator[Input]:
        """(id, line) pairs as inputs."""
        return (self._from_text(id, text) for id, text in texts)

    def file(self, path: Path) -> Iterator[Input]:
        """The inputs of a file or a folder. A file that cannot be read (any further) is an input with a flaw."""
        with self._named(path) as (named, hidden):
            if self._is_text(named):
                yield from self._guard(self._from_lines(numbered(named, flaws=True), path))
            else:
                yield from self._guard(self._from_task(named), hidden)

    def check(self, path: Path) -> None:
        """Raise UsageError if there is no such file, or it is a folder and the task does not read folders."""
        if not path.exists():
            raise UsageError(f"'{path}': there is no such file or folder")
        if path.is_dir() and "" not in self.task.suffixes:
            raise UsageError(f"'{path}': is a folder, and the task reads files only")

    def stream(self, file: IO[bytes]) -> Iterator[Input]:
        """The inputs of standard input. Text is read as it comes; all else is first copied to a temporary file."""
        if not self.split_words or self.format in (None, "text"):
            path = Path(_STANDARD_INPUT_NAME)
            yield from self._guard(self._from_lines(numbered_stream(file, path, flaws=True), path))
            return
        with tempfile.TemporaryDirectory(prefix="seqkit-") as folder:
            copy = Path(folder) / f"{_STANDARD_INPUT_NAME}.{self.format}"
            with copy.open("wb") as target:
                shutil.copyfileobj(file, target)
            yield from self._guard(self._from_task(copy), folder)

    def values(self, values: Iterable[Any]) -> Iterator[Input]:
        """Values from Python as inputs: `inputs[0]`, `inputs[1]`, ... are their ids.

        A text is read like a line of a file, a list of texts is words that are split already, and so is a list with
        [word, feature, ...] for each word. A mapping is a row of a table or of JSON lines (`id` in it is its id), a
        `Path` is a file or folder with any number of inputs. Any other value (an array, a tensor, a list of numbers) is
        the value itself.

        Raises:
            UsageError: there is no such file, or the task has no rows.
        """
        with ExitStack() as stack:
            folder: Path | None = None
            for number, value in enumerate(values):
                id = f"inputs[{number}]"
                if isinstance(value, str):
                    yield self._from_text(id, value)
                elif isinstance(value, PurePath):
                    self.check(Path(value))
                    yield from self.file(Path(value))
                elif isinstance(value, Mapping):
                    folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seqkit-")))
                    yield self._from_row(str(value.get("id", id)), value, folder / "row.jsonl")
                else:
                    yield self._from_value(id, value)

    def examples(self, values: Iterable[Any]) -> list[Example]:
        """Examples from Python: (input, target) pairs, rows of a table, or `Example`s. Ids are `examples[0]`, ...

        Where the target follows from the input, a value is the input alone.

        Raises:
            DataError: examples that cannot be used, all of them.
            UsageError: the task has no rows.
        """
        examples: list[Example] = []
        problems: list[Problem] = []
        with tempfile.TemporaryDirectory(prefix="seqkit-") as folder:
            for number, value in enumerate(values):
                try:
                    examples.append(self._example(f"examples[{number}]", value, Path(folder) / "row.jsonl"))
                except DataError as error:
                    problems += error.problems
        if problems:
            raise DataError(problems)
        return examples

    def _example(self, id: str, value: Any, path: Path) -> Example:
        """The example that a value stands for.

        Raises:
            DataError: it cannot be used.
        """
        if isinstance(value, Example):
            return value
        if isinstance(value, Mapping):
            rows = self._read_row(id, value, path, labelled=True)
            return replace(next(iter(rows)), id=id)
        target = None
        if not self.derived:
            if not isinstance(value, list | tuple) or len(value) != 2:
                raise DataError(Problem(id, "is not a pair of an input and a target", "give [(input, target), ...]"))
            value, target = value
            try:
                target = target if self.task.parse_target is None else self.task.parse_target(target)
            except ValueError as error:
                raise DataError(Problem(id, f"its target {error}")) from None
        inputs = list(self.values([value]))
        if len(inputs) != 1:
            raise DataError(Problem(id, f"gives {len(inputs)} inputs, and one is expected"))
        if isinstance(inputs[0].value, Flaw):
            raise DataError(Problem(id, inputs[0].value.what))
        return Example(inputs[0].value, target, id)

    @property
    def derived(self) -> bool:
        """Whether the target follows from the input."""
        return self.task.target.derived

    def _from_row(self, id: str, row: Mapping[Any, Any], path: Path) -> Input:
        """A row of a table as an input.

        Raises:
            UsageError: the task does not read rows.
        """
        try:
            (example,) = self._read_row(id, row, path, labelled=False)
        except DataError as error:
            return Input(id, None, Flaw("; ".join(problem.what for problem in error.problems)))
        return replace(self._from_example(example), id=id)

    def _read_row(self, id: str, row: Mapping[Any, Any], path: Path, *, labelled: bool) -> list[Example]:
        """The one example that a row is, read by the task as the only line of a file.

        Raises:
            DataError: it cannot be used.
            UsageError: the task does not read rows.
        """
        if ".jsonl" not in self.task.suffixes or self.task.read_file is None:
            raise UsageError(f"{id}: is a mapping, and the task does not read rows of a table")
        try:
            path.write_text(
                json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain) + "\n", encoding="utf-8"
            )
        except (TypeError, ValueError) as error:
            raise DataError(Problem(id, f"cannot be written as JSON: {error}")) from None
        try:
            examples = list(self.task.read_file(path, None, labelled))
        except DataError as error:
            raise DataError([Problem(id, problem.what, problem.hint) for problem in error.problems]) from None
        if len(examples) != 1:
            raise DataError(Problem(id, f"is a row that gives {len(examples)} examples, and one is expected"))
        return examples

    def _from_value(self, id: str, value: Any) -> Input:
        if isinstance(value, list | tuple) and value and all(isinstance(word, str) for word in value):
            if self.field.unit == "words":
                return self._from_words(id, list(value), list(value))
            return Input(id, None, Flaw(f"is a list of texts, and the model reads {self.field.unit}; give one text"))
        if self.field.unit == "words" and (words := _words_with_features(value)) is not None:
            return self._from_words(id, words, value)
        array = to_array(value)
        if array is not None:
            return Input(id, None, array)
        if isinstance(value, list | tuple):
            return Input(id, None, list(value))
        try:  # anything else is what a task of a plugin may read, and what fields do not expect
            self.field.encode(value)
        except Exception as error:
            cause = (
                str(error) if isinstance(error, ValueError) else f"is a {type(value).__name__}, which cannot be read"
            )
            return Input(id, None, Flaw(cause))
        return Input(id, None, value)

    def _is_text(self, path: Path) -> bool:
        if path.is_dir():
            return False
        if not self.split_words or self.format == "text":
            return True
        name = re.sub(r"\.(gz|bgz|xz|bz2)$", "", path.name.lower())
        return not any(suffix and name.endswith(suffix) for suffix in self.task.suffixes)

    @contextmanager
    def _named(self, path: Path) -> Iterator[tuple[Path, str]]:
        """The path, or a link to it whose name ends as the format asks for; and a folder that ids do not show."""
        if self.format in (None, "text") or path.is_dir() or not self.split_words:
            yield path, ""
            return
        with tempfile.TemporaryDirectory(prefix="seqkit-") as folder:
            is_packed = path.name.lower().endswith(".gz")
            link = Path(folder) / f"{path.name.removesuffix('.gz')}.{self.format}{'.gz' if is_packed else ''}"
            link.symlink_to(path.absolute())
            yield link, folder

    def _from_lines(self, lines: Iterable[Line], path: Path) -> Iterator[Input]:
        for line in lines:
            id = f"{path.name}:{line.number}"
            yield Input(id, line.text, Flaw(line.flaw)) if line.flaw else self._from_text(id, line.text)

    def _from_text(self, id: str, text: str) -> Input:
        if not self.split_words:
            words, value = _split_already(text)
            return self._from_words(id, words, value, shown=text)
        try:
            value = (self.task.parse or self.field.parse)(text)
        except ValueError as error:
            return Input(id, text, Flaw(str(error)))
        return Input(id, text, value, self._places_in(text))

    def _from_task(self, path: Path) -> Iterator[Input]:
        """The inputs of a file that the task reads.

        Raises:
            DataError: the header of the file is not that of training, which is told once, not for each input.
        """
        assert self.task.read_file is not None
        is_checked = False
        for example in self.task.read_file(path, None, False):
            if isinstance(example.input, NamedVectors) and not is_checked:
                self._check_header(example.input, path)
                is_checked = True
            yield self._from_example(example)

    def _check_header(self, value: NamedVectors, path: Path) -> None:
        """Raises DataError if the field refuses the names of the channels, which are those of this file."""
        try:
            self.field.encode(value)
        except ValueProblem as error:
            if error.problem.where.rpartition(":")[0] == str(path):
                raise DataError(error.problem) from None
        except ValueError:
            return  # what is wrong with this input alone is its own outcome

    def _from_example(self, example: Example) -> Input:
        value = example.input
        if example.given is not None and not isinstance(value, Flaw):
            return Input(example.id, example.given, value, self._places_in(example.given))
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return self._from_words(example.id, value, value)
        if self.field.unit == "words" and (words := _words_with_features(value)) is not None:
            return self._from_words(example.id, words, value)
        return Input(example.id, value if isinstance(value, str | list) else None, value, times=example.times)

    def _from_words(self, id: str, words: list[str], value: Any, shown: JSON = None) -> Input:
        """Words with their places in the text that they are when they are joined by blanks.

        Args:
            id: where they are.
            words: the words.
            value: what the model reads: the words, or (word, feature, ...) for each.
            shown: what records show; None: the words.
        """
        if self.task.locate is None:
            return Input(id, words if shown is None else shown, value)
        return Input(id, " ".join(words), value, partial(_places_of_words, words))

    def _places_in(self, text: str) -> Callable[[], Sequence[tuple[int, int]]] | None:
        """What locates the steps of a text; None: the task does not say where they are."""
        return None if self.task.locate is None else partial(self.task.locate, text)

    def _guard(self, inputs: Iterator[Input], hidden: str = "") -> Iterator[Input]:
        """The inputs, and one with a flaw where reading ends because the file is damaged.

        Args:
            inputs: as they are read.
            hidden: a temporary folder, which is left out of ids.
        """
        try:
            for item in inputs:
                yield replace(item, id=item.id.removeprefix(f"{hidden}/")) if hidden else item
        except DataError as error:
            for problem in error.problems:
                flaw = Flaw(str(Problem("", problem.what, problem.hint)))
                yield Input(problem.where.removeprefix(f"{hidden}/") if hidden else problem.where, None, flaw)


def _places_of_words(words: Sequence[str]) -> list[tuple[int, int]]:
    """The places of words in the text that they are when they are joined by blanks."""
    starts = accumulate((len(word) + 1 for word in words), initial=0)
    return [(start, start + len(word)) for start, word in zip(starts, words, strict=False)]


def to_array(value: Any) -> np.ndarray | None:
    """An array, a tensor (on any device) or another array-like object as an array of NumPy; None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    detach = getattr(value, "detach", None)
    if callable(detach):  # a tensor, without importing torch
        value = detach().cpu()
    return np.asarray(value) if hasattr(value, "__array__") else None


def _words_with_features(value: Any) -> list[str] | None:
    """The words of a list with (word, feature, ...) for each word; None for anything else."""
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(step, list | tuple) and step and isinstance(step[0], str) for step in value):
        return None
    return [step[0] for step in value]


def _plain(value: Any) -> Any:
    """A value that JSON does not know, as one that it does: numbers of NumPy and paths."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"it has a {type(value).__name__}")


def _split_already(text: str) -> tuple[list[str], Any]:
    """The words of a line and the value that it is: a JSON list of text, a JSON list with [word, feature, ...] for each
    word, or else what blanks and tabs separate."""
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return value, value
        words = _words_with_features(value)
        if words is not None:
            return words, value
    words = [word for word in re.split("[ \t]+", text) if word]
    return words, words


def read_all(reader: InputReader, sources: Sequence[str], stream: IO[bytes]) -> Iterator[Input]:
    """The inputs of these files, one after the other; `-` is the open stream (standard input).

    Raises:
        UsageError: one is missing, or is a folder that the task does not read; this is found before anything is read.
    """
    for source in sources:
        if source != STANDARD_INPUT:
            reader.check(Path(source))
    if list(sources).count(STANDARD_INPUT) > 1:
        raise UsageError("-: standard input can be read once only")
    for source in sources:
        yield from reader.stream(stream) if source == STANDARD_INPUT else reader.file(Path(source))
