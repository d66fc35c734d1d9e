"""From a task to its stored splits: read, fit on train, encode, cut and write, or find everything stored already."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

from seqkit.data.store.cache_entry import Entry, is_exposed, is_foreign, open_entry, write_entry
from seqkit.data.store.cache_key import hash_into, key_of
from seqkit.data.store.columns import Split, Writer
from seqkit.data.store.duplicates import DuplicateCounter
from seqkit.data.store.encode import Problems, problem_of, report_recomposed
from seqkit.data.store.joined_split import Joined, join_shards, open_joined
from seqkit.data.store.parallel_encode import EncodeTask, encode_chunks
from seqkit.data.store.report import ReportBuilder, SplitReport
from seqkit.data.store.shard_entries import ShardStore
from seqkit.data.store.source_files import expand_patterns, file_facts, names_of
from seqkit.errors import DataError, Problem, RecipeError, RunError, UsageError
from seqkit.io.cache import cache_folder
from seqkit.reading import Reading, collect_reports
from seqkit.types import JSON, Example, Field, Limit, ProgressCallback, Task

_PROGRESS_EVERY = 1024
"""Examples between two calls of the progress callback."""
_FILES_SHOWN = 3


class PreparationError(DataError):
    """A split that is empty or has examples that cannot be encoded.

    Attributes:
        reports: what is known of this split and those before it, which may explain why.
        has_unseen_labels: whether a target is a label that training lacks.
        incomplete: the splits with examples that could not be encoded, which the reports do not count.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        reports: Mapping[str, SplitReport] | None = None,
        *,
        has_unseen_labels: bool = False,
        incomplete: Collection[str] = (),
    ) -> None:
        super().__init__(problems)
        self.incomplete = frozenset(incomplete)
        self.reports = dict(reports or {})
        self.has_unseen_labels = has_unseen_labels


@final
@dataclass(frozen=True)
class Identity:
    """What the data of a task are, before they are encoded: equal identities are equal data.

    Attributes:
        files: split, name, bytes and SHA-256 of each file that the splits are read from, if the task names them.
        examples: the hash of the examples of each split, if the task names no files.
        totals: how many examples each split has, as far as they have been read.
        left_out: what `Task.files` passed over, by kind. It is part of what is stored.
        paths: bytes and SHA-256 of each file by its path, for those that are read as shards.
    """

    files: JSON = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    left_out: JSON = field(default_factory=dict)
    paths: Mapping[str, JSON] = field(default_factory=dict, compare=False)


@final
@dataclass(frozen=True)
class Prepared:
    """A task's fitted fields and stored splits.

    Attributes:
        input: fitted on train (or as given).
        target: likewise; a derived target knows its input field.
        splits: by name.
        folder: where the arrays are.
        reused: True if they were stored already.
        identity: what the data are.
        notes: what else the user should know about how they were stored.
    """

    input: Field
    target: Field
    splits: Mapping[str, Split]
    folder: Path
    reused: bool
    identity: Identity = field(default_factory=Identity)
    notes: Sequence[str] = ()

    @property
    def files(self) -> JSON:
        """The files of its identity."""
        return self.identity.files


def identify(
    task: Task,
    *,
    progress: ProgressCallback | None = None,
    fitted: bool = False,
    splits: Sequence[str] | None = None,
) -> Identity:
    """What the data of a task are: the hashes of its files, or of its examples if it names no files.

    Args:
        task: what to read.
        progress: called now and then with how far the work is.
        fitted: the fields are fitted already, so `train` is read only if it is among the splits.
        splits: which splits; None: all of the task's.

    Raises:
        DataError: a file is missing, a split has no examples.
        UsageError: a split that the task does not have.
    """
    preparation = _Preparation(task, _known_splits(task, splits), None, fitted, progress or _show_nothing)
    files = preparation.files()
    with _explained():
        preparation.hash_examples()
    return Identity(files, preparation.digests, preparation.totals, preparation.left_out, preparation.paths)


def prepare(
    task: Task,
    *,
    key: JSON,
    cache: Path | None = None,
    progress: ProgressCallback | None = None,
    fitted: tuple[Field, Field] | None = None,
    splits: Sequence[str] | None = None,
    identity: Identity | None = None,
    states: tuple[JSON, JSON] | None = None,
    tell: Callable[[str], object] | None = None,
) -> Prepared:
    """Read, fit, encode and store the splits of a task, or find them stored already.

    Args:
        task: what to read and how to encode it.
        key: JSON that stands for the task's options and the version of its code.
        cache: the cache folder; None: `cache_folder()`.
        progress: called now and then with how far the work is.
        fitted: the fitted input and target field; None: they are fitted on `train`.
        splits: which splits; None: all of the task's.
        identity: what `identify` has found; None: it is found here.
        states: what the input and the target field must have learned (`Field.state`), instead of being fitted.
        tell: gets a sentence when shards are removed from the cache or encoded again, in training too.

    Raises:
        PreparationError: examples that cannot be encoded (all of them are found, the first 20 are shown), an empty
            split, targets that are not as long as their inputs.
        DataError: a missing file.
        RecipeError: a limit below 1, or a truncation that is not possible with the target.
        UsageError: a split that the task does not have.
        RunError: the cache cannot be written.
    """
    split_names = _known_splits(task, splits)
    limit = _applicable_limit(task)
    identity = identity or identify(task, progress=progress, fitted=fitted is not None, splits=splits)
    preparation = _Preparation(task, split_names, limit, fitted is not None, progress or _show_nothing)
    preparation.digests, preparation.totals = dict(identity.examples), dict(identity.totals)
    preparation.left_out = identity.left_out
    cache = cache or cache_folder()
    shards = ShardStore(cache, task, key, limit, identity.paths, tell or _tell_nobody, preparation.progress)
    open_shards = open_joined(shards)
    folder = preparation.folder(cache, key, identity.files, fitted)
    entry = open_entry(folder, task, split_names, fitted, open_shards)
    if states is not None and (entry is None or not _has_learned(entry, states)):
        fitted = task.input.restore(states[0]), task.target.restore(states[1])
        folder = preparation.folder(cache, key, identity.files, fitted)
        entry = open_entry(folder, task, split_names, fitted, open_shards)
    reused = entry is not None
    if entry is None:
        open_again = partial(open_entry, folder, task, split_names, fitted, open_shards)
        with _explained():
            write_entry(folder, partial(preparation.build, fitted, shards), lambda: open_again() is not None)
        entry = open_again()
    if entry is None:
        cause = "is damaged, though it was just written, or its file system lets other users write to it"
        raise RunError(f"the cache entry {folder} {cause}; check the disk, or name another folder in SEQKIT_CACHE")
    return Prepared(entry.input, entry.target, entry.splits, folder, reused, identity, preparation.notes)


@contextmanager
def _explained() -> Iterator[None]:
    """Within the block, an error about the examples has with it what the readers reported until then."""
    with collect_reports() as reading:
        try:
            yield
        except PreparationError as error:
            reports = error.reports or {"train": SplitReport("train", reading=reading)}
            raise PreparationError(
                error.problems, reports, has_unseen_labels=error.has_unseen_labels, incomplete=error.incomplete
            ) from error.__cause__


def _known_splits(task: Task, splits: Sequence[str] | None) -> Sequence[str]:
    """The names of the splits; None: all of the task's.

    Raises:
        UsageError: the task has no such split.
    """
    names = task.splits if splits is None else tuple(splits)
    for split in names:
        if split not in task.splits:
            raise UsageError(f"there is no split '{split}'; this task has {', '.join(task.splits)}")
    return names


def _show_nothing(done: int, total: int | None, stage: str) -> None:
    """A progress callback for callers that show no progress."""


def _tell_nobody(sentence: str) -> None:
    """For callers that tell nobody what becomes of shards."""


def _has_learned(entry: Entry, states: tuple[JSON, JSON]) -> bool:
    """Whether the fields of a stored entry have learned this."""
    return bool(list(entry.states) == json.loads(json.dumps(states)))


class _Preparation:
    """The preparation of one task: first what its key is made of, then the passes over its data.

    Attributes:
        read: the splits that are read; train is among them if fields are fitted.
        totals: examples of each split, once it has been read.
        digests: the hash of the examples of each split, if the task names no files.
        left_out: what `Task.files` passed over, by kind.
        paths: what is known of each file, by its path.
        notes: what the user should know.
    """

    def __init__(
        self,
        task: Task,
        splits: Sequence[str],
        limit: Limit | None,
        fitted: bool,
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
        self.left_out: JSON = {}
        self.paths: dict[str, JSON] = {}
        self.notes: list[str] = []

    def files(self) -> JSON:
        """The files that the splits are read from and that fields learn from, with size and hash, as far as known.

        Files of a split that are in several folders are named with their folders, which may be their labels.
        """
        paths: list[tuple[str, Path, str]] = []
        files_of = self.task.files
        with collect_reports() as reading:
            for split in self.read if files_of is not None else ():
                assert files_of is not None
                of_split = expand_patterns(files_of(split), split)
                paths += [(split, path, name) for path, name in zip(of_split, names_of(of_split), strict=True)]
        self.left_out = reading.facts()["left_out"]
        if not self.fitted:
            fit_files = [path for side in (self.task.input, self.task.target) for path in side.fit_files()]
            paths += [("train", path, path.name) for path in fit_files]
        files: list[JSON] = []
        for split, path, name in paths:
            self.progress(len(files), None, f"hashing {path.name}")
            self.paths[str(path)] = file_facts(path)
            files.append({"split": split, "name": name, **self.paths[str(path)]})
        return files

    def hash_examples(self) -> None:
        """Hash the examples of each split, if the task names no files."""
        for split in self.read if self.task.files is None else ():
            digest = hashlib.blake2b(digest_size=16)
            for example in self._examples(split, "reading"):
                hash_into(digest, [example.input, example.target, example.id])
            self.digests[split] = digest.hexdigest()

    def key(self, key: JSON, files: JSON, fitted: tuple[Field, Field] | None) -> str:
        """The name of the cache entry. `hash_examples` comes before it."""
        task = self.task
        states = None if fitted is None else [side.state() for side in fitted]
        fields = [task.input, task.target, states, task.bad_inputs]
        more = [self.left_out] if self.left_out else []
        return key_of(key, files, self.digests, list(self.splits), fields, self.limit, *more)

    def folder(self, cache: Path, key: JSON, files: JSON, fitted: tuple[Field, Field] | None) -> Path:
        """Where the entry is: where all users of the cache have it, unless another user has made that one."""
        shared = cache / "store" / self.key(key, files, fitted)
        if not is_foreign(shared):
            if is_exposed(shared):
                self.notes.append(f"{shared} is made again, because other users could have written to it")
            return shared
        private = cache / f"store-{os.geteuid()}" / shared.name
        self.notes.append(
            f"{shared} is not used, because it belongs to another user, who could change it; see {private}"
        )
        return private

    def build(self, fitted: tuple[Field, Field] | None, shards: ShardStore, folder: Path) -> JSON:
        """Fit, encode, and write the arrays into the folder. Returns the manifest."""
        with collect_reports() as fit_reading:
            input, target = fitted or self._fit()
        target = target.of(input) if target.derived else target
        problems = Problems()
        reports: dict[str, SplitReport] = {}
        stored: dict[str, JSON] = {}
        incomplete = set[str]()
        with DuplicateCounter(folder / "inputs.seen") as inputs, DuplicateCounter(folder / "pairs.seen") as pairs:
            for split in self.splits:
                try:
                    with collect_reports() as reading:
                        joined = self._store_split(folder, split, (input, target), shards, (inputs, pairs))
                except PreparationError as error:
                    reports[split] = SplitReport(split, reading=reading)
                    raise PreparationError(
                        error.problems, reports, incomplete=incomplete | {split}
                    ) from error.__cause__
                reading.join(joined.reading)
                problems.join(joined.problems)
                if joined.problems.count:
                    incomplete.add(split)
                left_out = joined.left_out
                if split == "train":
                    inputs.finish_train()
                    pairs.finish_train()
                    # What readers pass over is reported by both passes, what fields say only by the first.
                    reading.join(Reading(remarks=fit_reading.remarks))
                has_pairs = target.ragged and not target.aligned and not target.derived
                report = joined.builder.report(
                    different_inputs=inputs.take_different(),
                    seen_in_train=None if split == "train" else inputs.take_count(),
                    pairs_in_train=None if split == "train" or not has_pairs else pairs.take_count(),
                    quarantined=left_out.count,
                    quarantined_first=tuple(str(problem) for problem in left_out.first),
                    reading=reading,
                )
                reports[split] = report
                stored[split] = {"report": report.facts(), **joined.facts}
                if not report.examples and not problems.count:
                    empty = Problem(split, "no example of this split can be read")
                    raise PreparationError([empty, *left_out.first], reports, incomplete={split})
        if problems.count:
            raise PreparationError(
                problems.listed(), reports, has_unseen_labels=problems.has_unseen_labels, incomplete=incomplete
            )
        return {"input": input.state(), "target": target.state(), "splits": stored}

    def _store_split(
        self,
        folder: Path,
        split: str,
        fields: tuple[Field, Field],
        store: ShardStore,
        counters: tuple[DuplicateCounter, DuplicateCounter],
    ) -> Joined:
        """Encode and write one split, as one or in shards."""
        builder = ReportBuilder(split, *fields, self.limit)
        shards = store.of_split(split, fields)
        if shards is not None:
            return join_shards(folder, split, shards, builder, counters)
        problems, left_out = Problems(), Problems()
        with Writer(folder, split) as writer:
            self._encode(builder, fields, writer, problems, left_out, counters)
        return Joined(builder, problems, left_out, Reading(), {"arrays": writer.arrays})

    def _examples(self, split: str, activity: str) -> Iterator[Example]:
        """The examples of a split, with progress shown as `activity` ("reading").

        Raises:
            DataError: there are none, or another number than when the split was read before.
        """
        done = 0
        for example in self.task.read(split):
            if done % _PROGRESS_EVERY == 0:
                self.progress(done, self.totals.get(split), f"{activity} {split}")
            done += 1
            yield example
        self.progress(done, done, f"{activity} {split}")
        if done == 0:
            raise PreparationError([Problem(split, "this split has no examples", self._files_of(split))])
        if self.totals.setdefault(split, done) != done:
            raise _changed_data(split)

    def _files_of(self, split: str) -> str:
        """Which files a split is read from, as a hint."""
        files = [] if self.task.files is None else list(self.task.files(split))
        more = f" and {len(files) - _FILES_SHOWN:,} more" if len(files) > _FILES_SHOWN else ""
        return f"it is read from {', '.join(map(str, files[:_FILES_SHOWN]))}{more}" if files else ""

    def _fit(self) -> tuple[Field, Field]:
        input = self._fit_side(self.task.input, "input")
        target = self.task.target if self.task.target.derived else self._fit_side(self.task.target, "target")
        return input, target

    def _fit_side(self, side: Field, name: str) -> Field:
        if type(side).fit is Field.fit:
            return side
        where = "train"
        reader_error: ValueError | None = None

        def values() -> Iterator[Any]:
            nonlocal where, reader_error
            try:
                for example in self._examples("train", f"learning the {name}s of"):
                    where = example.id
                    yield example.input if name == "input" else example.target
            except ValueError as error:
                reader_error = error
                raise
            where = "train"

        try:
            return side.fit(values())
        except ValueError as error:
            if error is reader_error:
                raise
            raise DataError(problem_of(where, name, error)) from error

    def _encode(
        self,
        builder: ReportBuilder,
        fields: tuple[Field, Field],
        writer: Writer,
        problems: Problems,
        left_out: Problems,
        counters: tuple[DuplicateCounter, DuplicateCounter],
    ) -> None:
        """Encode and write one split, and count what is wrong with it."""
        split, (input, target), (inputs, pairs) = builder.split, fields, counters
        digest = hashlib.blake2b(digest_size=16)
        encode_task = EncodeTask(
            split,
            input,
            None if target.derived else target,
            self.limit,
            quarantine=self.task.bad_inputs == "quarantine",
            total=self.totals.get(split),
        )
        with closing(
            encode_chunks(self._hashed_examples(split, input, target, digest), encode_task, self.notes)
        ) as chunks:
            for chunk in chunks:
                if not problems.count:
                    writer.add(chunk)
                    builder.counts.join(chunk.counts)
                    for counter, digests in ((inputs, chunk.digests), (pairs, chunk.pair_digests)):
                        (counter.add_train if split == "train" else counter.add)(digests)
                problems.join(chunk.problems)
                left_out.join(chunk.left_out)
        if split in self.digests and self.digests[split] != digest.hexdigest():
            raise _changed_data(split)

    def _hashed_examples(self, split: str, input: Field, target: Field, digest: Any) -> Iterator[Example]:
        """The examples of a split, which are added to `digest` if they were hashed for the key."""
        for example in self._examples(split, "encoding"):
            if split in self.digests:
                hash_into(digest, [example.input, example.target, example.id])
            report_recomposed(example, (input, target))
            yield example


def _applicable_limit(task: Task) -> Limit | None:
    """The limit that applies: a text that is read as a stream is not cut, and a next-step text has no windows."""
    limit, target = task.limit, task.target
    if limit is None or task.window is not None or not task.input.ragged:
        return None
    if limit.max_length < 1:
        raise RecipeError(Problem("max_length", f"is {limit.max_length}", "it is at least 1"))
    if limit.truncate != "window":
        return limit
    if target.ragged and not target.aligned and not target.derived:
        message = f"a {type(target).__name__} target cannot be cut into windows with its input"
        raise RecipeError(Problem("truncate: window", message, "take head, tail or both_ends"))
    return None if target.derived else limit


def _changed_data(split: str) -> DataError:
    message = "reading it twice gave different examples"
    return DataError(Problem(split, message, "a task's `read` must give the same ones each time"))
