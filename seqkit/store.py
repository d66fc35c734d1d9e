"""Every split of a task as flat memory-mapped arrays, encoded once and kept under a key made of their content.

    <cache>/store/<key>/                one folder a task, its options, its data and its fitted fields
        train.x.bin, train.x.offsets    all steps of all examples in a row; where each example starts
        train.y.bin, train.y.offsets    the targets (no offsets where every example has one row)
        train.ids.bin, ...offsets       where a human finds each example, UTF-8
        train.origin.bin                the number of the example that a row was cut from
        MANIFEST.json                   types, shapes, sizes, checksums, reports, fitted fields; written last

A folder appears whole, by one rename. One that is damaged is made again. Memory does not grow with the data, apart
from vocabularies and 16 bytes an example of `train` (to count inputs that stand in two splits).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, final, overload

import numpy as np
from numpy.typing import NDArray

from seqkit._version import __version__
from seqkit.errors import DataError, Problem, RunError
from seqkit.files import cache_folder, flush_folder, sha256_of
from seqkit.types import JSON, Example, Field, Limit, Task

STORE_FORMAT: Final = 1
PROBLEMS_SHOWN: Final = 20

Progress: TypeAlias = Callable[[int, int | None, str], None]
"""(done, of how many or None where nobody knows yet, what is being done)."""

Index: TypeAlias = NDArray[np.int64]

# Between two calls of the progress callback.
_EVERY = 1024
# The contents of larger files are not checked against their checksum on opening, only their size.
_CHECKED_BYTES = 64 << 20
_ABANDONED_SECONDS = 24 * 3600


@final
@dataclass(frozen=True)
class Column:
    """One side of the examples of a split, in a row.

    Attributes:
        data: (N, ...) all rows of all examples.
        offsets: (n + 1,) int64: example i is `data[offsets[i]:offsets[i + 1]]`. None: one row an example.
    """

    data: np.ndarray
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.data) if self.offsets is None else len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """The rows of example i, (T, ...), or its one row."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"example {i} of {len(self)}")
        i %= len(self)
        found = self.data[i] if self.offsets is None else self.data[int(self.offsets[i]) : int(self.offsets[i + 1])]
        return np.asarray(found)

    @cached_property
    def lengths(self) -> Index:
        """(n,) int64 steps of each example; ones where every example has one row."""
        if self.offsets is None:
            return np.ones(len(self.data), dtype=np.int64)
        return np.diff(self.offsets).astype(np.int64, copy=False)


@final
class Ids(Sequence[str]):
    """The ids of examples, decoded one at a time from a column of UTF-8 bytes."""

    def __init__(self, column: Column) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        return self._column[i].tobytes().decode("utf-8", "surrogatepass")


@final
@dataclass(frozen=True)
class SplitReport:
    """What was stored of a split, and what was not.

    Attributes:
        split: its name.
        unit: what a step is called.
        examples: examples read.
        rows: rows stored; more than examples where long ones were cut into windows.
        steps: steps stored.
        longest: steps of the longest example, before any cut.
        limit: the most steps an example may have, or None.
        truncate: what happens to a longer one.
        cut_examples: examples longer than the limit.
        cut_steps: steps that were cut off and are in no row.
        cut_labels: labels that were cut off with them; of BIO tags only those that are not `O`.
        unknown: steps that are a symbol unknown to the vocabulary; None where the field has no such thing.
        seen_in_train: examples whose input is also an input of train, to the last step; None for train.
        quarantined: inputs that could not be encoded and were left out, as the task allows; no part of `examples`.
        quarantined_first: where the first of them are, and what is wrong with each.
    """

    split: str
    unit: str = "steps"
    examples: int = 0
    rows: int = 0
    steps: int = 0
    longest: int = 0
    limit: int | None = None
    truncate: str | None = None
    cut_examples: int = 0
    cut_steps: int = 0
    cut_labels: int = 0
    unknown: int | None = None
    seen_in_train: int | None = None
    quarantined: int = 0
    quarantined_first: Sequence[str] = ()

    @property
    def unknown_share(self) -> float:
        """The share of the stored steps that are unknown symbols."""
        return (self.unknown or 0) / self.steps

    @property
    def cut_share(self) -> float:
        """The share of all steps that were cut off."""
        return self.cut_steps / (self.steps + self.cut_steps)

    def facts(self) -> JSON:
        """The numbers as JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report for a human: one line, and one more for each thing to know about."""
        told = [
            f"{self.split}: {self.examples:,} examples, {self.steps:,} {self.unit}, "
            f"{self.steps / self.examples:.1f} an example, longest {self.longest:,}"
        ]
        if self.cut_examples and self.truncate == "window":
            told.append(
                f"{self.split}: {self.cut_examples:,} examples are longer than {self.limit:,} {self.unit} "
                f"and were cut into windows; nothing is lost ({self.rows:,} rows)"
            )
        elif self.cut_examples:
            labels = f", {self.cut_labels:,} labels with them" if self.cut_labels else ""
            told.append(
                f"{self.split}: {self.cut_examples:,} examples ({self.cut_examples / self.examples:.1%}) are longer "
                f"than {self.limit:,} {self.unit} and were cut ({self.truncate}): {self.cut_steps:,} {self.unit} "
                f"({self.cut_share:.1%}) are lost{labels}"
            )
        if self.unknown:
            told.append(f"{self.split}: {self.unknown:,} {self.unit} ({self.unknown_share:.2%}) are unknown symbols")
        if self.seen_in_train:
            share = f"{self.seen_in_train:,} examples ({self.seen_in_train / self.examples:.1%})"
            told.append(f"{self.split}: {share} have an input that is also in train")
        return told


@final
@dataclass(frozen=True)
class Split:
    """The stored rows of a split. A row is an example, or a window of one.

    Attributes:
        name: train, dev or test.
        x: the inputs.
        y: the targets; None for a target that follows from the input.
        ids: where a human finds the example of each row.
        origin: (n,) int64 number of the example that each row comes from.
        report: what was stored and what was not.
    """

    name: str
    x: Column
    y: Column | None
    ids: Sequence[str]
    origin: Index
    report: SplitReport

    def __len__(self) -> int:
        return len(self.x)


@final
@dataclass(frozen=True)
class Prepared:
    """A task's fitted fields and stored splits.

    Attributes:
        input: fitted on train (or as given).
        target: likewise; a derived target knows its input.
        splits: by name.
        folder: where the arrays are.
        reused: True if they were there already.
        files: name, bytes and SHA-256 of the files behind the splits, where the task names them.
    """

    input: Field
    target: Field
    splits: Mapping[str, Split]
    folder: Path
    reused: bool
    files: JSON = field(default_factory=list)


def prepare(
    task: Task,
    *,
    key: JSON,
    cache: Path | None = None,
    progress: Progress | None = None,
    fitted: tuple[Field, Field] | None = None,
    splits: Sequence[str] | None = None,
) -> Prepared:
    """Read, fit, encode and store the splits of a task, or find them stored already.

    Args:
        task: what to read and how to encode it.
        key: JSON that stands for the task's options and the version of its code.
        cache: the cache folder; None: the usual one.
        progress: told now and then how far the work is.
        fitted: the fields, already fitted; None: they are fitted on `train`.
        splits: the splits wanted; None: all of the task's.

    Raises:
        DataError: examples that cannot be encoded (all of them located, the first 20 shown), an empty split, a file
            that is not there, a target that does not fit the input or the truncation.
        RunError: the cache cannot be written.
    """
    wanted = task.splits if splits is None else tuple(splits)
    for split in wanted:
        if split not in task.splits:
            raise DataError(Problem("", f"there is no split '{split}'", f"this task has {', '.join(task.splits)}"))
    _check_truncation(task)
    work = _Work(task, wanted, fitted, progress or (lambda done, total, what: None))
    files = work.files()
    name = work.key(key, files)
    root = (cache or cache_folder()) / "store"
    found = _open(root / name, task, fitted)
    if found is not None:
        return replace(found, reused=True, files=files)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        with _temporary(root, name) as folder:
            work.build(folder)
            _put(folder, root / name, task, fitted)
    except OSError as error:
        if error.filename is None or root not in Path(os.fsdecode(error.filename)).parents:
            raise
        advice = "name another folder in SEQKIT_CACHE"
        raise RunError(f"cannot write the cache {root}: {error.strerror}; {advice}") from error
    found = _open(root / name, task, fitted)
    if found is None:
        raise RunError(f"the cache entry {root / name} was damaged as soon as it was written; is the disk sound?")
    return replace(found, files=files)


def memory_split(
    examples: Iterable[Example], input: Field, limit: Limit | None = None, *, name: str = "predict"
) -> Split:
    """Examples without targets as a split in memory, cut as a stored split would be. For prediction.

    Raises:
        DataError: examples that cannot be encoded, all of them located; or there are none.
    """
    xs: list[np.ndarray] = []
    ids: list[bytes] = []
    origin: list[int] = []
    report = _start(name, input, limit)
    problems = _Problems()
    for number, example in enumerate(examples):
        with problems.at(example.id):
            x = input.encode(example.input)
            parts = _cuts(len(x) if input.ragged else 1, limit)
            report = _count(report, input, None, x, None, parts)
            for part in parts:
                xs.append(x[part] if input.ragged else x[None])
                ids.append(example.id.encode("utf-8", "surrogatepass"))
                origin.append(number)
    problems.stop()
    if not xs:
        raise DataError(Problem(name, "there are no examples"))
    offsets = np.cumsum([0, *(len(x) for x in xs)], dtype=np.int64)
    blob = np.frombuffer(b"".join(ids), dtype=np.uint8)
    named = Ids(Column(blob, np.cumsum([0, *(len(i) for i in ids)], dtype=np.int64)))
    column = Column(np.concatenate(xs), offsets if input.ragged else None)
    return Split(name, column, None, named, np.array(origin, dtype=np.int64), report)


class _Work:
    """One task being prepared: what its key is made of, then its passes over the data."""

    def __init__(
        self, task: Task, splits: Sequence[str], fitted: tuple[Field, Field] | None, progress: Progress
    ) -> None:
        self.task = task
        self.splits = splits
        self.fitted = fitted
        self.progress = progress
        self.digests: dict[str, tuple[int, str]] = {}

    def files(self) -> JSON:
        """The files behind the splits, each with its size and hash; an empty list where the task names none."""
        if self.task.files is None:
            return []
        found: list[JSON] = []
        for split in self._read():
            for path in self.task.files(split):
                self.progress(len(found), None, f"hashing {path.name}")
                try:
                    size, digest = path.stat().st_size, sha256_of(path)
                except OSError as error:
                    raise DataError(Problem(str(path), f"cannot be read: {error.strerror}")) from None
                found.append({"split": split, "name": path.name, "bytes": size, "sha256": digest})
        return found

    def key(self, key: JSON, files: JSON) -> str:
        digest = hashlib.blake2b(digest_size=16)
        if self.task.files is None:
            for split in self._read():
                self.digests[split] = self._hash(split)
        states = None if self.fitted is None else [side.state() for side in self.fitted]
        _feed(
            digest,
            [
                STORE_FORMAT, __version__, np.__version__, key, files, sorted(self.digests.items()), list(self.splits),
                self.task.input, self.task.target, states, self.task.limit, self.task.window,
                self.task.bad_inputs,
            ],
        )  # fmt: skip
        return digest.hexdigest()

    def build(self, folder: Path) -> None:
        """Fit, encode, write."""
        input, target = self.fitted or self._fit()
        target = target.of(input) if target.derived else target
        problems = _Problems()
        reports, arrays = {}, {}
        train = bytearray()
        seen: np.ndarray | None = None
        for split in self.splits:
            with _Writer(folder, split) as writer:
                digests = train if split == "train" else bytearray()
                report = self._encode(split, input, target, writer, problems, digests)
            if split != "train" and train:
                seen = np.unique(np.frombuffer(train, dtype="S16")) if seen is None else seen
                again = np.isin(np.frombuffer(digests, dtype="S16"), seen)
                report = replace(report, seen_in_train=int(again.sum()))
            reports[split], arrays[split] = report, writer.arrays
        problems.stop()
        manifest = {
            "format": STORE_FORMAT,
            "input": input.state(),
            "target": target.state(),
            "splits": {s: {"report": reports[s].facts(), "arrays": arrays[s]} for s in self.splits},
        }
        text = json.dumps(manifest)
        with (folder / "MANIFEST.json").open("x", encoding="ascii") as file:
            json.dump({"checksum": zlib.crc32(text.encode()), "manifest": text}, file)
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[str]:
        """The splits that are read: those wanted, and train where the fields are fitted on it."""
        return list(self.splits) if self.fitted or "train" in self.splits else ["train", *self.splits]

    def _examples(self, split: str, what: str) -> Iterator[Example]:
        total = self.digests[split][0] if split in self.digests else None
        done = 0
        for example in self.task.read(split):
            if done % _EVERY == 0:
                self.progress(done, total, f"{what} {split}")
            done += 1
            yield example
        self.progress(done, done, f"{what} {split}")
        if done == 0:
            raise DataError(Problem(split, "this split has no examples"))

    def _hash(self, split: str) -> tuple[int, str]:
        digest = hashlib.blake2b(digest_size=16)
        count = 0
        for example in self._examples(split, "reading"):
            _feed(digest, [example.input, example.target, example.id])
            count += 1
        return count, digest.hexdigest()

    def _fit(self) -> tuple[Field, Field]:
        input = self._fit_side(self.task.input, "input")
        target = self.task.target if self.task.target.derived else self._fit_side(self.task.target, "target")
        return input, target

    def _fit_side(self, side: Field, name: str) -> Field:
        if type(side).fit is Field.fit:
            return side
        at = "train"

        def values() -> Iterator[Any]:
            nonlocal at
            for example in self._examples("train", f"learning the {name}s of"):
                at = example.id
                yield example.input if name == "input" else example.target

        try:
            return side.fit(values())
        except ValueError as error:
            raise DataError(Problem(at, f"{name} {error}")) from error

    def _encode(
        self, split: str, input: Field, target: Field, writer: _Writer, problems: _Problems, digests: bytearray
    ) -> SplitReport:
        limit = _limit(self.task)
        report = _start(split, input, limit)
        digest = hashlib.blake2b(digest_size=16)
        number = -1
        left_out = _Problems()
        for example in self._examples(split, "encoding"):
            if split in self.digests:
                _feed(digest, [example.input, example.target, example.id])
            x, y = None, None
            with (left_out if self.task.bad_inputs == "quarantine" else problems).at(example.id, "input "):
                x = _encoded(input, example.input)
            if not target.derived:
                with problems.at(example.id, "target "):
                    y = _encoded(target, example.target)
                    if x is not None and target.aligned and len(x) != len(y):
                        raise ValueError(f"has {len(y):,} {target.unit} for {len(x):,} {input.unit}")
            if x is None or (y is None and not target.derived) or problems.count:
                continue
            number += 1
            digests += hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=16).digest()
            parts = _cuts(len(x) if input.ragged else 1, limit)
            report = _count(report, input, target, x, y, parts)
            for part in parts:
                writer.add("x", x[part] if input.ragged else x, input.ragged)
                if y is not None:
                    writer.add("y", y[part] if target.aligned else y, target.ragged)
                writer.add("ids", np.frombuffer(example.id.encode("utf-8", "surrogatepass"), dtype=np.uint8), True)
                writer.add("origin", np.array(number, dtype=np.int64), False)
        if split in self.digests and self.digests[split][1] != digest.hexdigest():
            what = "reading it twice gave different examples"
            raise DataError(Problem(split, what, "a task's `read` must give the same ones each time"))
        return report


class _Problems:
    """Everything that is wrong with the examples, counted; the first few are kept."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.count = 0

    @contextmanager
    def at(self, where: str, side: str = "") -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            self.count += 1
            if len(self.first) < PROBLEMS_SHOWN:
                self.first.append(Problem(where, f"{side}{error}"))

    def stop(self) -> None:
        if self.count > len(self.first):
            self.first.append(Problem("", f"and {self.count - len(self.first):,} more"))
        if self.first:
            raise DataError(self.first)


class _Writer:
    """The arrays of one split, appended to files as they come."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._split = split
        self._files: dict[str, IO[bytes]] = {}
        self._rows: dict[str, int] = {}
        self._kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.arrays: dict[str, JSON] = {}

    def __enter__(self) -> _Writer:
        return self

    def add(self, name: str, array: np.ndarray, ragged: bool) -> None:
        """Append the rows of an array, or the array as one row."""
        rows = array if ragged else array[None]
        if name not in self._rows:
            self._rows[name] = 0
            self._kinds[name] = (rows.dtype.str, rows.shape[1:])
            self._files[name] = self._open(name)
            if ragged:
                self._files[f"{name}.offsets"] = self._open(f"{name}.offsets")
                self._offset(name)
        if self._kinds[name] != (rows.dtype.str, rows.shape[1:]):
            kind = f"{rows.dtype}{rows.shape[1:]}"
            raise TypeError(f"a field encoded {name} as {kind} after {self._kinds[name]}: its type must be fixed")
        self._rows[name] += len(rows)
        self._files[name].write(np.ascontiguousarray(rows).data)
        if ragged:
            self._offset(name)

    def __exit__(self, *error: object) -> None:
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            base = name.removesuffix(".offsets")
            dtype, shape = self._kinds[base] if name == base else ("<i8", ())
            path = self._path(name)
            size = path.stat().st_size
            self.arrays[name] = {"dtype": dtype, "shape": list(shape), "bytes": size, "crc32": _crc32(path)}

    def _open(self, name: str) -> IO[bytes]:
        return self._path(name).open("xb", buffering=1 << 18)

    def _path(self, name: str) -> Path:
        return _array_path(self._folder, self._split, name)

    def _offset(self, name: str) -> None:
        self._files[f"{name}.offsets"].write(self._rows[name].to_bytes(8, "little"))


def _array_path(folder: Path, split: str, name: str) -> Path:
    return folder / (f"{split}.{name}" if name.endswith(".offsets") else f"{split}.{name}.bin")


def _open(folder: Path, task: Task, fitted: tuple[Field, Field] | None) -> Prepared | None:
    """What is stored in a folder, or None if there is nothing, or it is damaged."""
    try:
        outer = json.loads((folder / "MANIFEST.json").read_text(encoding="ascii"))
        if zlib.crc32(outer["manifest"].encode()) != outer["checksum"]:
            return None
        manifest = json.loads(outer["manifest"])
        splits = {}
        for split, stored in manifest["splits"].items():
            arrays = {name: _map(_array_path(folder, split, name), fact) for name, fact in stored["arrays"].items()}
            columns = {
                name: Column(array, arrays.get(f"{name}.offsets")) for name, array in arrays.items() if "." not in name
            }
            report = SplitReport(**stored["report"])
            splits[split] = Split(
                split, columns["x"], columns.get("y"), Ids(columns["ids"]), np.asarray(columns["origin"].data), report
            )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    input, target = fitted or (task.input.restore(manifest["input"]), task.target.restore(manifest["target"]))
    return Prepared(input, target.of(input) if target.derived else target, splits, folder, reused=False)


def _map(path: Path, fact: JSON) -> np.ndarray:
    dtype, shape = np.dtype(fact["dtype"]), tuple(fact["shape"])
    size = path.stat().st_size
    if size != fact["bytes"] or (size <= _CHECKED_BYTES and _crc32(path) != fact["crc32"]):
        raise ValueError(f"{path} is damaged")
    if size == 0:
        return np.zeros((0, *shape), dtype)
    return np.memmap(path, dtype, mode="r").reshape(-1, *shape)


def _crc32(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


@contextmanager
def _temporary(root: Path, name: str) -> Iterator[Path]:
    """A folder beside the place where it will be renamed to; gone afterwards, whatever happens."""
    folder = root / f".{name}-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, place: Path, task: Task, fitted: tuple[Field, Field] | None) -> None:
    """Rename a finished folder to its place. A sound one that another process has put there stays."""
    flush_folder(folder)
    for _ in range(10):
        try:
            folder.rename(place)
        except OSError:
            if _open(place, task, fitted) is not None:
                return
            # Moved aside first: at no moment is half a folder in the place.
            aside = place.with_name(f".{place.name}-damaged-{secrets.token_hex(4)}")
            try:
                place.rename(aside)
            except FileNotFoundError:
                continue
            shutil.rmtree(aside, ignore_errors=True)
        else:
            flush_folder(place.parent)
            return
    raise RunError(f"cannot put a finished entry into the cache at {place}")


def _sweep(root: Path) -> None:
    """Remove what processes that were killed have left behind a day or longer ago."""
    for path in root.glob(".*-*"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue


def _encoded(side: Field, value: Any) -> np.ndarray:
    array = np.asarray(side.encode(value))
    if side.ragged and len(array) == 0:
        raise ValueError("is empty")
    return array


def _limit(task: Task) -> Limit | None:
    """The limit that applies: a text that is read as one stream is never cut, nor is a next-step text windowed."""
    if task.limit is None or task.window is not None or not task.input.ragged:
        return None
    return None if task.target.derived and task.limit.truncate == "window" else task.limit


def _check_truncation(task: Task) -> None:
    limit, target = _limit(task), task.target
    if limit is None:
        return
    if limit.max_length < 1:
        raise DataError(Problem("max_length", f"is {limit.max_length}", "it is at least 1"))
    if limit.truncate == "window" and target.ragged and not target.aligned and not target.derived:
        what = f"a {type(target).__name__} target cannot be cut into windows with its input"
        raise DataError(Problem("truncate: window", what, "take head, tail or both_ends"))


def _cuts(length: int, limit: Limit | None) -> list[Any]:
    """The parts of an example that are stored: an index each."""
    if limit is None or length <= limit.max_length:
        return [slice(0, length)]
    most = limit.max_length
    if limit.truncate == "head":
        return [slice(0, most)]
    if limit.truncate == "tail":
        return [slice(length - most, length)]
    if limit.truncate == "both_ends":
        first = (most + 1) // 2
        return [np.r_[0:first, length - (most - first) : length]]
    return [slice(a, min(a + most, length)) for a in range(0, length, most)]


def _start(split: str, input: Field, limit: Limit | None) -> SplitReport:
    return SplitReport(
        split,
        unit=input.unit,
        limit=limit.max_length if limit else None,
        truncate=limit.truncate if limit else None,
        unknown=None if input.unknown is None else 0,
    )


def _count(
    report: SplitReport, input: Field, target: Field | None, x: np.ndarray, y: np.ndarray | None, parts: Sequence[Any]
) -> SplitReport:
    """The report with one more example, of which these parts are stored."""
    length = len(x) if input.ragged else 1
    whole = length == 1 or sum(len(x[part]) for part in parts) == length
    kept = length if whole else len(x[parts[0]])
    lost = 0
    if not whole and target is not None and target.aligned and y is not None:
        telling = _telling(target, y)
        lost = int(telling.sum()) - sum(int(telling[part].sum()) for part in parts)
    unknown = report.unknown
    if unknown is not None:
        unknown += sum(int(np.count_nonzero(x[part] == input.unknown)) for part in parts)
    return replace(
        report,
        examples=report.examples + 1,
        rows=report.rows + len(parts),
        steps=report.steps + kept,
        longest=max(report.longest, length),
        cut_examples=report.cut_examples + (len(parts) > 1 or not whole),
        cut_steps=report.cut_steps + length - kept,
        cut_labels=report.cut_labels + lost,
        unknown=unknown,
    )


def _telling(target: Field, y: np.ndarray) -> np.ndarray:
    """Which rows of an aligned target say something: of BIO tags those that are not `O`, of others all."""
    labels = getattr(target, "labels", [])
    return y != labels.index("O") if "O" in labels else np.ones(len(y), dtype=bool)


def _feed(digest: Any, value: Any) -> None:
    """Hash a value so that different values have different bytes: each with its type and size before it."""
    if value is None or isinstance(value, bool | int | float):
        text = repr(value).encode()
        digest.update(b"%s %d:" % (type(value).__name__.encode(), len(text)) + text)
    elif isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        digest.update(b"str %d:" % len(raw) + raw)
    elif isinstance(value, bytes | bytearray):
        digest.update(b"bytes %d:" % len(value) + value)
    elif isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            _feed(digest, array.tolist())
            return
        digest.update(f"array {array.dtype.str} {array.shape}:".encode() + array.tobytes())
    elif isinstance(value, Mapping):
        digest.update(b"map %d:" % len(value))
        for name in sorted(value, key=repr):
            _feed(digest, name)
            _feed(digest, value[name])
    elif isinstance(value, list | tuple):
        digest.update(b"list %d:" % len(value))
        for item in value:
            _feed(digest, item)
    else:
        _feed_object(digest, value)


def _feed_object(digest: Any, value: Any) -> None:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Path):
        _feed(digest, [kind, str(value)])
    elif callable(value) and hasattr(value, "__qualname__"):
        _feed(digest, [value.__module__, value.__qualname__])
    elif hasattr(value, "__dict__"):
        # What a cached property has made is no part of what the object is.
        lazy = {n for n in vars(value) if isinstance(getattr(type(value), n, None), cached_property)}
        _feed(digest, [kind, {n: v for n, v in vars(value).items() if n not in lazy}])
    elif hasattr(value, "__slots__"):
        _feed(digest, [kind, [getattr(value, n, None) for n in value.__slots__]])
    else:
        _feed(digest, [kind, repr(value)])
