"""Encoding by worker processes: the same files, the same errors, in the same order, and no process is left over."""

from __future__ import annotations

import errno
import os
import random
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit.data.store import Prepared, parallel_encode, prepare
from seqkit.data.store.columns import Writer
from seqkit.errors import DataError, RunError, UsageError
from seqkit.fields import Label, Next, Tags, Text, Tokens, Values, Vectors, Words
from seqkit.types import Example, Field, Limit, Task
from tests.helpers.odd_fields import Odd

Rows = list[tuple[Any, Any]]


def task(rows: Rows, dev: Rows | None = None, **changes: Any) -> Task:
    def read(split: str) -> Iterator[Example]:
        for number, (x, y) in enumerate(rows if split == "train" else dev or [], 1):
            yield Example(x, y, f"{split}.tsv:{number}")

    options: dict[str, Any] = {"input": Tokens(), "target": Label(), "head": "classify", "best": "accuracy"}
    splits = ("train",) if dev is None else ("train", "dev")
    return Task(read=read, **(options | {"splits": splits, "files": lambda split: []} | changes))


def odd(values: list[Any], **changes: Any) -> Task:
    """A task whose input field obeys orders, and whose target is nothing much."""
    rows = [(value, 1.0) for value in values]
    options = {"input": Odd(os.getpid()), "target": Values(standardise=False)}
    return task(rows, **(options | changes))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Workers are started as soon as there is one chunk; gives how many were started each time."""
    started: list[int] = []
    real = parallel_encode.WorkerPool.__init__

    def count(self: Any, encode_task: Any, count: int) -> None:
        started.append(count)
        real(self, encode_task, count)

    monkeypatch.setattr(parallel_encode.WorkerPool, "__init__", count)
    monkeypatch.setattr(parallel_encode, "PATIENCE", 0.0)
    monkeypatch.setattr(parallel_encode, "_CHUNK_EXAMPLES", 10)
    monkeypatch.setattr(parallel_encode, "_BATCH_EXAMPLES", 7)
    monkeypatch.setattr(parallel_encode, "_choose_workers", lambda most, *rest: most)
    return started


def stored(made: Task, cache: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.setenv(parallel_encode.VARIABLE, str(workers))
    return prepare(made, key={}, cache=cache / str(workers))


def files(prepared: Prepared) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in prepared.folder.iterdir()}


def children() -> set[str]:
    """Processes that this one has started and not yet waited for, including those that have ended."""
    return {pid for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()}


BEFORE: set[str] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    """Processes that other tests have left do not count."""
    BEFORE.clear()
    BEFORE.update(children())


def no_process_is_left() -> None:
    assert not children() - BEFORE


def words(count: int, seed: int, symbols: str = "abcdefgh") -> list[list[str]]:
    dice = random.Random(seed)
    return [["".join(dice.choices(symbols, k=3)) for _ in range(dice.randint(1, 30))] for _ in range(count)]


TEXTS = words(400, seed=1, symbols="abc")
OTHERS = words(60, seed=2, symbols="abcd") + TEXTS[:30]
LABELLED = [(" ".join(text), str(len(text) % 3)) for text in TEXTS]
TAGGED = [(text, ["B-X" if word < "b" else "O" for word in text]) for text in TEXTS]
TASKS: dict[str, Callable[[], Task]] = {
    "words": lambda: task(LABELLED, [(" ".join(t), "1") for t in OTHERS], input=Tokens(min_count=3, also=list)),
    "windows": lambda: task(TAGGED, input=Words(), target=Tags(scheme="iob2"), limit=Limit(7, "window")),
    "both ends": lambda: task(TAGGED, input=Tokens(min_count=9), target=Tags(), limit=Limit(5, "both_ends")),
    "characters": lambda: task([(x, None) for x, _ in LABELLED], input=Tokens("characters"), target=Next(), window=5),
    "texts": lambda: task([(x, x[:9]) for x, _ in LABELLED], input=Tokens("bytes"), target=Text("words")),
    "vectors": lambda: task(
        [(np.arange(len(t) * 2.0).reshape(-1, 2) + i, [1.0, i]) for i, t in enumerate(TEXTS)],
        input=Vectors(2, standardise=True),
        target=Values(2),
    ),
    "quarantine": lambda: task(
        [("" if i % 9 == 4 else x, y) for i, (x, y) in enumerate(LABELLED)],
        [("", "1")] * 30 + LABELLED[:20],
        bad_inputs="quarantine",
    ),
    "without files": lambda: task(LABELLED, files=None),
}


@pytest.mark.parametrize("name", TASKS)
def test_workers_write_the_same_files(
    name: str, counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = stored(TASKS[name](), tmp_path, 1, monkeypatch)
    assert counted == []
    together = stored(TASKS[name](), tmp_path, 2, monkeypatch)
    assert counted
    assert set(counted) == {2}
    assert together.notes == alone.notes == []
    assert together.folder.name == alone.folder.name
    assert files(together) == files(alone)
    if name == "words":
        assert alone.splits["dev"].report.seen_in_train == 30
        assert alone.splits["dev"].report.unknown
    if name == "quarantine":
        assert alone.splits["train"].report.quarantined == 44
        assert len(alone.splits["dev"].report.quarantined_first) == 20
    no_process_is_left()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_size_of_a_chunk_changes_nothing(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = stored(TASKS["windows"](), tmp_path / "usual", 1, monkeypatch)
    monkeypatch.setattr(parallel_encode, "_CHUNK_EXAMPLES", size)
    assert files(stored(TASKS["windows"](), tmp_path / "other", 1, monkeypatch)) == files(usual)


def test_all_problems_are_reported_in_the_same_order(
    counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("" if i % 7 == 3 else x, "unknown" if i % 11 == 5 else y) for i, (x, y) in enumerate(LABELLED)]
    fitted = (Tokens().fit(["a"]), Label().fit(["0", "1", "2"]))
    messages = []
    for workers in (1, 2):
        monkeypatch.setenv(parallel_encode.VARIABLE, str(workers))
        with pytest.raises(DataError) as caught:
            prepare(task(rows), key={}, cache=tmp_path, fitted=fitted)
        messages.append([str(problem) for problem in caught.value.problems])
    assert counted == [2]
    assert messages[0] == messages[1]
    assert len(messages[0]) == 21
    assert messages[0][20] == "and 73 more"
    assert list((tmp_path / "store").iterdir()) == []
    no_process_is_left()


def test_workers_do_the_work_and_have_no_torch(
    counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(odd(["a"] * 10 + ["torch"] * 50), tmp_path, 2, monkeypatch)
    with pytest.raises(DataError, match="was encoded by a worker"):
        stored(odd(["a"] * 10 + ["where"] * 50), tmp_path / "other", 2, monkeypatch)
    assert counted == [2, 2]


def test_an_error_of_a_field_is_raised_where_it_always_was(
    counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for values, error, message in (
        (["a"] * 40 + ["type"] + ["b"] * 40, TypeError, "this field is broken"),
        (["a"] * 40 + ["wide"] + ["b"] * 40, TypeError, r"int64 numbers for x, but int32 .*must be the same"),
    ):
        with pytest.raises(error, match=message) as caught:
            stored(odd(values), tmp_path, 2, monkeypatch)
        shown = "".join(traceback.format_exception(caught.value))
        assert ("odd_fields.py" in shown) == ("broken" in message)
        assert list((tmp_path / "2" / "store").iterdir()) == []
        no_process_is_left()
    assert counted == [2, 2]


def test_an_error_of_the_reader_comes_after_what_was_read_before(
    counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OfTheReader(Exception):
        pass

    for orders, error in ((["a"] * 80, OfTheReader), (["a"] * 70 + ["type"] + ["a"] * 9, TypeError)):

        def read(split: str, orders: list[str] = orders) -> Iterator[Example]:
            for number, order in enumerate(orders):
                yield Example(order, 1.0, str(number))
            raise OfTheReader

        with pytest.raises(error):
            stored(_reading(read), tmp_path, 2, monkeypatch)
        no_process_is_left()
    assert counted == [2, 2]


def _reading(read: Callable[[str], Iterator[Example]]) -> Task:
    return Task(
        read=read, input=Odd(os.getpid()), target=Values(standardise=False), head="regress", best="mae",
        splits=("train",), files=lambda split: [],
    )  # fmt: skip


@pytest.mark.parametrize(("order", "how"), [("kill", r"was killed \(SIGKILL\); is there"), ("leave", "ended")])
def test_a_worker_that_dies_is_one_clear_error(
    order: str, how: str, counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match=f"helped to encode train {how}.*SEQKIT_WORKERS=1"):
        stored(odd(["a"] * 40 + [order] + ["a"] * 100), tmp_path, 2, monkeypatch)
    assert counted == [2]
    assert list((tmp_path / "2" / "store").iterdir()) == []
    no_process_is_left()


def test_ctrl_c_leaves_no_file_and_no_process(
    counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of reading, while the workers are busy for a minute."""

    def read(split: str) -> Iterator[Example]:
        for number in range(10_000):
            if number == 30:
                signal.raise_signal(signal.SIGINT)
            yield Example("sleep" if 10 < number < 30 else "a", 1.0, str(number))

    with pytest.raises(KeyboardInterrupt):
        stored(_reading(read), tmp_path, 2, monkeypatch)
    assert counted == [2]
    assert list((tmp_path / "2" / "store").iterdir()) == []
    no_process_is_left()


def test_what_cannot_be_sent_is_encoded_here_and_noted(
    counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(Odd):
        """Of this function: no other process can import it."""

    prepared = stored(odd(["a"] * 40 + ["where"], input=Local(os.getpid())), tmp_path, 2, monkeypatch)
    (note,) = prepared.notes
    assert note.startswith("train was encoded in one process: its fields cannot be sent to another process (")
    assert len(prepared.splits["train"]) == 41
    # Inputs that cannot be sent are no different, chunk by chunk.
    unsent: list[Any] = [Sequence("ab")] * 40
    assert len(stored(odd(unsent, input=Spelled()), tmp_path / "inputs", 2, monkeypatch).splits["train"]) == 40
    no_process_is_left()


class Sequence(list[str]):
    """A list that refuses to travel."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("not me")


class Spelled(Field):
    def encode(self, value: Any) -> np.ndarray:
        return np.array([ord(letter) for letter in value], dtype=np.int32)

    def decode(self, array: np.ndarray) -> Any:
        return list(map(chr, array))

    @property
    def size(self) -> int:
        return 1


def test_a_python_that_cannot_be_started_is_no_reason_to_stop(
    counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    prepared = stored(odd(["a"] * 40), tmp_path, 2, monkeypatch)
    assert "in one process: no other process could be started" in prepared.notes[0]
    assert len(prepared.splits["train"]) == 40


def test_a_reader_may_use_its_array_again(counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(split: str) -> Iterator[Example]:
        row, target = np.zeros((2, 1)), [0.0]
        for number in range(60):
            row[:], target[0] = number, float(number)
            yield Example(row, target, str(number))

    made = Task(
        read=read, input=Vectors(1), target=Values(1, standardise=False), head="regress", best="mae",
        splits=("train",), files=lambda split: [],
    )  # fmt: skip
    split = stored(made, tmp_path, 2, monkeypatch).splits["train"]
    assert counted == [2]
    assert split.x.data[::2, 0].tolist() == list(range(60))
    assert split.y is not None
    assert split.y.data[:, 0].tolist() == list(range(60))


def test_small_data_are_left_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_encode.WorkerPool, "__init__", lambda *_: pytest.fail("workers for 400 examples"))
    stored(TASKS["windows"](), tmp_path, 8, monkeypatch)


@pytest.mark.parametrize(
    ("most", "encoding", "rest", "left", "count"),
    [
        (2, 10e-6, 2e-6, None, 2),
        (2, 10e-6, 2e-6, 10_000_000, 2),
        (2, 10e-6, 2e-6, 10_000, 1),  # a tenth of a second is left
        (2, 2e-6, 10e-6, None, 1),  # reading takes longer
        (16, 10e-6, 2e-6, None, 7),  # more would wait for the reader
        (16, 1e-3, 0.0, None, 16),
        (1, 1e-3, 0.0, None, 1),
    ],
)
def test_workers_are_started_if_they_make_it_faster(
    most: int, encoding: float, rest: float, left: int | None, count: int
) -> None:
    assert parallel_encode._choose_workers(most, encoding, rest, left) == count


def test_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(parallel_encode.VARIABLE, raising=False)
    assert parallel_encode.allowed_workers() == len(os.sched_getaffinity(0))
    monkeypatch.setenv(parallel_encode.VARIABLE, " 3 ")
    assert parallel_encode.allowed_workers() == 3
    for wrong in ("0", "-1", "two", "1.5", "²"):
        monkeypatch.setenv(parallel_encode.VARIABLE, wrong)
        with pytest.raises(UsageError, match="the number of processes that encode"):
            parallel_encode.allowed_workers()


def test_a_full_disk_leaves_no_process(counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, added = Writer.add, []

    def add(self: Writer, chunk: Any) -> None:
        if len(added) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        added.append(chunk)
        real(self, chunk)

    monkeypatch.setattr(Writer, "add", add)
    with pytest.raises(RunError, match="No space left"):
        stored(odd(["a"] * 40 + ["sleep"] * 100), tmp_path, 2, monkeypatch)
    assert counted == [2]
    assert list((tmp_path / "2" / "store").iterdir()) == []
    no_process_is_left()
