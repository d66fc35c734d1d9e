"""From a task to its stored splits: read, fit on train, encode, cut, write; or find it all done already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np

from seqkit.data.store.cache_entry import open_entry, write_entry
from seqkit.data.store.cache_key import hash_into, key_of
from seqkit.data.store.columns import Column, Ids, Split, Writer
from seqkit.data.store.duplicates import Repeats
from seqkit.data.store.encode import Problems, encoded
from seqkit.data.store.parallel_encode import EncodeTask, encode_chunks
from seqkit.data.store.report import ReportBuilder
from seqkit.errors import DataError, Problem, RecipeError, RunError, UsageError
from seqkit.io.cache import cache_folder, sha256_of
from seqkit.types import JSON, Example, Field, Limit, Task

ProgressCallback: TypeAlias = Callable[[int, int | None, str], None]
"""(done, of how many or None where nobody knows yet, what is being done)."""

# Examples between two calls of the progress callback.
_EVERY = 1024


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
        files: split, name, bytes and SHA-256 of each file behind the splits, where the task names them.
        notes: what else there is to say of how they were stored.
    """

    input: Field
    target: Field
    splits: Mapping[str, Split]
    folder: Path
    reused: bool
    files: JSON = field(default_factory=list)
    notes: Sequence[str] = ()


def prepare(
    task: Task,
    *,
    key: JSON,
    cache: Path | None = None,
    progress: ProgressCallback | None = None,
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
            that is not there, targets that are not as long as their inputs.
        RecipeError: a limit that makes no sense, or a truncation that does not go with the target.
        UsageError: a split that the task does not have.
        RunError: the cache cannot be written.
    """
    wanted = task.splits if splits is None else tuple(splits)
    for split in wanted:
        if split not in task.splits:
            raise UsageError(f"there is no split '{split}'; this task has {', '.join(task.splits)}")
    limit = _limit(task)
    work = _Preparation(task, wanted, limit, fitted, progress or (lambda done, total, what: None))
    files = work.files()
    place = (cache or cache_folder()) / "store" / work.key(key, files)
    found = open_entry(place)
    reused = found is not None
    if found is None:
        write_entry(place, work.build)
        found = open_entry(place)
    if found is None:
        raise RunError(f"the cache entry {place} was damaged as soon as it was written; is the disk sound?")
    manifest, stored = found
    input, target = fitted or (task.input.restore(manifest["input"]), task.target.restore(manifest["target"]))
    return Prepared(input, target.of(input) if target.derived else target, stored, place, reused, files, work.notes)


def memory_split(
    examples: Iterable[Example], input: Field, limit: Limit | None = None, *, name: str = "predict"
) -> Split:
    """Examples without targets as a split in memory, cut as a stored split would be. For prediction.

    Raises:
        DataError: examples that cannot be encoded, all of them located; or there are none.
    """
    xs: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    origin: list[int] = []
    tally, problems = ReportBuilder(name, input, None, limit), Problems()
    for example in examples:
        x = None
        with problems.at(example.id, "input "):
            x = encoded(input, example.input)
        for part in tally.parts(x, None) if x is not None else ():
            assert x is not None
            xs.append(x[part] if input.ragged else x[None])
            ids.append(np.frombuffer(example.id.encode("utf-8", "surrogatepass"), dtype=np.uint8))
            origin.append(tally.examples - 1)
    problems.stop()
    if not xs:
        raise DataError(Problem(name, "there are no examples"))
    column = _ragged(xs) if input.ragged else Column(np.concatenate(xs))
    if tally.deferred:
        tally.counts.unknown = input.count_unknown(column.data)
    return Split(name, column, None, Ids(_ragged(ids)), np.array(origin, dtype=np.int64), tally.report())


class _Preparation:
    """One task being prepared: what its key is made of, then its passes over the data."""

    def __init__(
        self,
        task: Task,
        splits: Sequence[str],
        limit: Limit | None,
        fitted: tuple[Field, Field] | None,
        progress: ProgressCallback,
    ) -> None:
        self.task = task
        self.splits = splits
        self.limit = limit
        self.fitted = fitted
        self.progress = progress
        self.read = list(splits) if fitted or "train" in splits else ["train", *splits]
        self.totals: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self.notes: list[str] = []

    def files(self) -> JSON:
        """The files behind the splits, each with its size and hash; an empty list where the task names none."""
        found: list[JSON] = []
        for split in self.read if self.task.files is not None else ():
            assert self.task.files is not None
            for path in self.task.files(split):
                self.progress(len(found), None, f"hashing {path.name}")
                try:
                    size, digest = path.stat().st_size, sha256_of(path)
                except OSError as error:
                    raise DataError(Problem(str(path), f"cannot be read: {error.strerror}")) from None
                found.append({"split": split, "name": path.name, "bytes": size, "sha256": digest})
        return found

    def key(self, key: JSON, files: JSON) -> str:
        """The name of the entry. Where the task names no files, the examples themselves are hashed."""
        task = self.task
        if task.files is None:
            for split in self.read:
                digest = hashlib.blake2b(digest_size=16)
                for example in self._examples(split, "reading"):
                    hash_into(digest, [example.input, example.target, example.id])
                self.digests[split] = digest.hexdigest()
        states = None if self.fitted is None else [side.state() for side in self.fitted]
        fields = [task.input, task.target, states, task.bad_inputs]
        return key_of(key, files, self.digests, list(self.splits), fields, self.limit)

    def build(self, folder: Path) -> JSON:
        """Fit, encode, write the arrays into the folder. Returns the manifest."""
        input, target = self.fitted or self._fit()
        target = target.of(input) if target.derived else target
        problems = Problems()
        stored: dict[str, JSON] = {}
        with Repeats(folder / "inputs.seen") as repeats:
            for split in self.splits:
                with Writer(folder, split) as writer:
                    tally, left_out = self._encode(split, input, target, writer, problems, repeats)
                if split == "train":
                    repeats.learned()
                seen = None if split == "train" else repeats.seen()
                first = [str(problem) for problem in left_out.first]
                report = tally.report(seen_in_train=seen, quarantined=left_out.count, quarantined_first=first)
                if not report.examples and not problems.count:
                    raise DataError([Problem(split, "no example of this split can be read"), *left_out.first])
                stored[split] = {"report": report.facts(), "arrays": writer.arrays}
        problems.stop()
        return {"input": input.state(), "target": target.state(), "splits": stored}

    def _examples(self, split: str, what: str) -> Iterator[Example]:
        done = 0
        for example in self.task.read(split):
            if done % _EVERY == 0:
                self.progress(done, self.totals.get(split), f"{what} {split}")
            done += 1
            yield example
        self.progress(done, done, f"{what} {split}")
        if done == 0:
            raise DataError(Problem(split, "this split has no examples"))
        if self.totals.setdefault(split, done) != done:
            raise _changed(split)

    def _fit(self) -> tuple[Field, Field]:
        input = self._fit_side(self.task.input, "input")
        target = self.task.target if self.task.target.derived else self._fit_side(self.task.target, "target")
        return input, target

    def _fit_side(self, side: Field, name: str) -> Field:
        if type(side).fit is Field.fit:
            return side
        at = "train"
        readers_own: ValueError | None = None

        def values() -> Iterator[Any]:
            nonlocal at, readers_own
            try:
                for example in self._examples("train", f"learning the {name}s of"):
                    at = example.id
                    yield example.input if name == "input" else example.target
            except ValueError as error:
                readers_own = error
                raise
            at = "train"

        try:
            return side.fit(values())
        except ValueError as error:
            if error is readers_own:
                raise
            raise DataError(Problem(at, f"{name} {error}")) from error

    def _encode(
        self, split: str, input: Field, target: Field, writer: Writer, problems: Problems, repeats: Repeats
    ) -> tuple[ReportBuilder, Problems]:
        """Encode and write one split. Returns its tally and the inputs that were left out."""
        tally, left_out = ReportBuilder(split, input, target, self.limit), Problems()
        read = hashlib.blake2b(digest_size=16)
        job = EncodeTask(
            split,
            input,
            None if target.derived else target,
            self.limit,
            quarantine=self.task.bad_inputs == "quarantine",
            total=self.totals.get(split),
        )
        with closing(encode_chunks(self._hashed(split, read), job, self.notes)) as made:
            for pack in made:
                if not problems.count:
                    writer.add(pack)
                    tally.counts.join(pack.counts)
                    (repeats.learn if split == "train" else repeats.look)(pack.digests)
                problems.join(pack.problems)
                left_out.join(pack.left_out)
        if split in self.digests and self.digests[split] != read.hexdigest():
            raise _changed(split)
        return tally, left_out

    def _hashed(self, split: str, read: Any) -> Iterator[Example]:
        """The examples, which are hashed on the way if they were when the key was made."""
        if split not in self.digests:
            yield from self._examples(split, "encoding")
            return
        for example in self._examples(split, "encoding"):
            hash_into(read, [example.input, example.target, example.id])
            yield example


def _ragged(arrays: Sequence[np.ndarray]) -> Column:
    return Column(np.concatenate(arrays), np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int64))


def _limit(task: Task) -> Limit | None:
    """The limit that applies: a text that is read as one stream is never cut, nor is a next-step text windowed."""
    limit, target = task.limit, task.target
    if limit is None or task.window is not None or not task.input.ragged:
        return None
    if limit.max_length < 1:
        raise RecipeError(Problem("max_length", f"is {limit.max_length}", "it is at least 1"))
    if limit.truncate != "window":
        return limit
    if target.ragged and not target.aligned and not target.derived:
        what = f"a {type(target).__name__} target cannot be cut into windows with its input"
        raise RecipeError(Problem("truncate: window", what, "take head, tail or both_ends"))
    return None if target.derived else limit


def _changed(split: str) -> DataError:
    what = "reading it twice gave different examples"
    return DataError(Problem(split, what, "a task's `read` must give the same ones each time"))
