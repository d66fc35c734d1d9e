"""A file, a folder or examples that are not part of the recipe's data, as a split of a trained task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from seqkit.data import store
from seqkit.data.card import make_card
from seqkit.data.card_table import format_card
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem, UsageError
from seqkit.runs.progress import Progress
from seqkit.types import Example, Field, Task

OTHER: str = "data"
"""The name of the split that the examples are stored as."""


@contextmanager
def open_other_data(
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    path: Path,
    split: str | None,
    progress: Progress,
) -> Iterator[TaskData]:
    """The labelled examples of a file or folder as the one split, `OTHER`, of a task. They are stored for the block.

    Args:
        name: of the task.
        task_and_fields: the task, and its fitted input and target fields.
        path: the file or folder.
        split: which split of a folder that has several; None: the user did not say.
        progress: shows how far the work is, and what the data are.

    Raises:
        DataError: the file cannot be read, or an example of it.
        UsageError: the task does not read other files.
    """
    read_file = task_and_fields[0].read_file
    if read_file is None:
        raise UsageError(f"--data: the task {name} cannot read other files: its plugin gives no read_file")

    def read() -> Iterable[Example]:
        return read_file(path, split, True)

    with _opened(name, task_and_fields, str(path), read, progress) as data:
        yield data


@contextmanager
def open_examples(
    name: str, task_and_fields: tuple[Task, Field, Field], examples: Sequence[Example], progress: Progress
) -> Iterator[TaskData]:
    """Examples in memory as the one split, `OTHER`, of a task, as `open_other_data` does it with a file.

    Raises:
        DataError: an example cannot be used.
    """
    with _opened(name, task_and_fields, "examples", lambda: examples, progress) as data:
        yield data


@contextmanager
def _opened(
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    source: str,
    read: Callable[[], Iterable[Example]],
    progress: Progress,
) -> Iterator[TaskData]:
    """What `read` gives as the split `OTHER`, stored for the block; `source` is what messages call it."""
    task, input_field, target_field = task_and_fields
    other = replace(
        task,
        read=lambda _: read(),
        splits=(OTHER,),
        # The entry lives no longer than the block, so its key needs no content.
        files=lambda _: (),
        shards=None,
        notes=None,
    )

    def show(done: int, total: int | None, stage: str) -> None:
        progress.stage(stage, done, total)

    with tempfile.TemporaryDirectory(prefix="seqkit-") as cache:
        try:
            prepared = store.prepare(
                other,
                key=source,
                cache=Path(cache),
                progress=show,
                fitted=(input_field, target_field),
                splits=(OTHER,),
            )
        except OSError as error:
            raise DataError(Problem(source, f"cannot be read: {error.strerror or error}")) from error
        content = {"files": prepared.files, "notes": list(prepared.notes)}
        data = TaskData(name, other, prepared.input, prepared.target, prepared.splits, content=content)
        for line in format_card(make_card(data), short=True):
            progress.say(line)
        yield data
