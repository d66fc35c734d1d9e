"""Entries of the store for the shards of a split: each is encoded once, by whichever process comes first.

    <cache>/shards/<key>/               one folder a shard: an entry of one split, as in the store, and two more files
        digests.bin, pairs.bin          16 bytes an example, by which repeats are counted
        MANIFEST.json                   as in the store, with the counts that add up

The entry of the whole task, in the store, has what is read without a shard: where each example starts, reports, fitted
fields. A shard that is missing when a row of it is asked for is encoded again, so shards may be removed at any time.
Where `SEQKIT_CACHE_LIMIT` is set, those go that have not been used for the longest time.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, final

from seqkit.data.store.cache_entry import is_foreign, opened_entry, write_entry
from seqkit.data.store.cache_key import key_of
from seqkit.data.store.columns import Split, Writer, open_split
from seqkit.data.store.encode import DIGEST, Problems, report_recomposed
from seqkit.data.store.parallel_encode import EncodeTask, encode_chunks
from seqkit.data.store.report import Counts, ReportBuilder, SplitReport
from seqkit.errors import DataError, Problem, RunError, UsageError
from seqkit.io.cache import sha256_of
from seqkit.reading import Reading, collect_reports
from seqkit.types import JSON, Example, Field, Limit, Shard, Task

VARIABLE: Final = "SEQKIT_CACHE_LIMIT"
"""The environment variable with the most bytes that encoded shards take on disk, such as `50 GB`."""

_TOUCH_SECONDS: Final = 30.0
_UNITS: Final = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?b?)", re.IGNORECASE)
_NAME: Final = "shard"
"""The name of the one split in an entry."""


def cache_limit() -> int | None:
    """The most bytes of encoded shards, as the environment says; None: there is no limit.

    Raises:
        UsageError: it is no number of bytes.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or float(match[1]) == 0 or unit == "b":
        raise UsageError(f"{VARIABLE}={text}: give bytes, such as 50 GB")
    return int(float(match[1]) * _UNITS[unit if unit.endswith("b") or not unit else f"{unit}b"])


class BadShard(Exception):
    """Examples of a shard cannot be encoded, so it is not stored.

    Attributes:
        problems: what is wrong.
        left_out: inputs that were left out, which the task allows.
        reading: what readers used and passed over.
    """

    def __init__(self, problems: Problems, left_out: Problems, reading: Reading) -> None:
        super().__init__(problems)
        self.problems, self.left_out, self.reading = problems, left_out, reading


@final
@dataclass(frozen=True)
class ShardEntry:
    """An open entry.

    Attributes:
        split: its examples.
        counts: what adds up to the counts of the whole split.
        left_out: inputs that were left out.
        reading: what readers used and passed over.
        digests: files with the hashes of inputs, and of inputs with targets.
    """

    split: Split
    counts: Counts
    left_out: Problems
    reading: Reading
    digests: tuple[Path, Path]


@final
@dataclass
class ShardStore:
    """The entries of the shards of one task.

    Attributes:
        cache: the cache folder.
        task: whose shards they are.
        key: JSON that stands for the task's options and the version of its code.
        limit: the most steps of an input.
        files: what is known of the content of each file, by path.
        tell: gets a sentence when shards are removed or encoded again.
        progress: called now and then with how far the work is.
    """

    cache: Path
    task: Task
    key: JSON
    limit: Limit | None
    files: Mapping[str, JSON]
    tell: Callable[[str], object]
    progress: Callable[[int, int | None, str], None]
    most_bytes: int | None = field(default_factory=cache_limit)

    def shards_of(self, split: str) -> Sequence[Shard]:
        """The shards of a split; none: it is stored as one."""
        if self.task.shards is None or not self.files:  # without files, the data are not those that it is trained on
            return []
        shards = self.task.shards(split)
        is_known = all(str(path) in self.files for shard in shards for path in shard.files)
        return shards if is_known and len(shards) > 1 else []

    def of_split(self, split: str, fields: tuple[Field, Field]) -> SplitShards | None:
        """The entries of a split whose fields are fitted; None: it is stored as one."""
        shards = self.shards_of(split)
        return SplitShards(self, split, shards, fields) if shards else None

    def has_changed(self, path: Path) -> bool:
        """Whether a file of this machine is not what it was. (A remote one is compared while it is read.)"""
        known = self.files[str(path)]
        if "remote" in known:
            return False
        try:
            return bool(path.stat().st_size != known["bytes"]) or sha256_of(path) != known["sha256"]
        except OSError as error:
            raise DataError(Problem(str(path), f"cannot be read: {error.strerror}")) from None

    def make_room(self, keep: Path) -> None:
        """Remove the shards that have not been used for the longest time, while all take more bytes than they may."""
        if self.most_bytes is None:
            return
        entries = sorted(_sizes(keep.parent))
        total, removed = sum(size for _, size, _ in entries), 0
        for _, size, folder in entries:
            if total <= self.most_bytes or folder == keep:
                continue
            gone = folder.with_name(f".{folder.name}-removed-{secrets.token_hex(4)}")
            try:
                folder.rename(gone)
            except OSError:  # another process has removed it
                continue
            shutil.rmtree(gone, ignore_errors=True)  # what cannot be removed is hidden: no run reads it any more
            total, removed = total - size, removed + 1
        if removed:
            self.tell(
                f"{VARIABLE}: encoded shards took more than {self.most_bytes:,} bytes, so {removed:,} that had not "
                f"been used for the longest time are removed from {keep.parent}; what is needed is encoded again"
            )


@final
class SplitShards:
    """The entries of the shards of one split, each opened, or made, when it is asked for.

    Attributes:
        shards: where they are read from.
        keys: the names of their entries.
        expected: how many rows each has, if the split has been stored before.
    """

    def __init__(self, store: ShardStore, split: str, shards: Sequence[Shard], fields: tuple[Field, Field]) -> None:
        self.shards = shards
        self.expected: Sequence[int] | None = None
        self._store, self._split, self._fields = store, split, fields
        self._opened: OrderedDict[int, ShardEntry] = OrderedDict()
        self._touched: dict[int, float] = {}
        self._lock = threading.RLock()
        input, target = fields
        common = [
            store.key,
            split,
            store.task.input,
            store.task.target,
            input.encoding_state(),
            target.encoding_state(),
        ]
        common += [store.limit, store.task.bad_inputs]
        facts = [[store.files[str(path)] for path in shard.files] for shard in shards]
        self.keys = [key_of("shard", common, shard.name, known) for shard, known in zip(shards, facts, strict=True)]

    def __len__(self) -> int:
        return len(self.shards)

    def entry(self, number: int) -> ShardEntry:
        """The entry of a shard, made if it is not there.

        Raises:
            BadShard: examples of it cannot be encoded.
            DataError: it is to be encoded again, and is not what it was.
        """
        with self._lock:
            entry = self._opened.get(number) or self._open(number)
            if entry is None:
                with self._locked(number):
                    entry = self._open(number) or self._make_again(number)
            self._opened[number] = entry
            self._opened.move_to_end(number)
            self._touch(number)
            self._close_some()
            return entry

    def make_missing(self) -> None:
        """Make the entries that are missing and that no other process is making just now."""
        if self._store.most_bytes is not None:
            return  # what comes first would be removed for what comes later
        for number in range(len(self)):
            with self._locked(number, wait=False) as is_free:
                if is_free and self._open(number) is None:
                    try:
                        self._make(number)
                    except BadShard:
                        continue  # it is told when the shards are put together

    def folder(self, number: int) -> Path:
        """Where an entry is."""
        folder = self._store.cache / "shards" / self.keys[number]
        return self._store.cache / f"shards-{os.geteuid()}" / folder.name if is_foreign(folder) else folder

    def _open(self, number: int) -> ShardEntry | None:
        """The entry of a shard; None: it is missing or damaged."""
        folder = self.folder(number)
        try:
            with opened_entry(folder) as (handle, manifest):
                report = SplitReport.restore(manifest["report"])
                split = open_split(handle, _NAME, manifest["arrays"], report, self._fields)
                numbers = {**manifest["counts"], "lengths": Counter(dict(manifest["counts"]["lengths"]))}
                paths = (folder / "digests.bin", folder / "pairs.bin")
                if paths[0].stat().st_size != DIGEST * report.examples:
                    raise ValueError("the hashes of the inputs are not complete")
                counts = Counts(**{**numbers, "classes": Counter(numbers["classes"])})
                left_out = Problems.restore(manifest["left_out"])
                return ShardEntry(split, counts, left_out, report.reading, paths)
        except Exception:  # whatever is wrong with it, as in `open_entry`
            return None

    def _make_again(self, number: int) -> ShardEntry:
        """Make an entry. If it is known what it had been, say so, and check that it is that."""
        if self.expected is None:
            return self._make(number)
        name = self.shards[number].name
        changed = DataError(Problem(name, "was changed since training began", "start a new run"))
        if any(self._store.has_changed(path) for path in self.shards[number].files):
            raise changed
        self._store.tell(f"{name} of {self._split} is encoded again, because it is not in the cache any more")
        try:
            entry = self._make(number)
        except BadShard as bad:
            raise DataError(bad.problems.listed() or [Problem(name, "has no examples any more")]) from None
        if len(entry.split) != self.expected[number]:
            raise changed
        return entry

    def _make(self, number: int) -> ShardEntry:
        folder, shard = self.folder(number), self.shards[number]
        write_entry(folder, partial(self._write, shard), lambda: self._open(number) is not None)
        self._store.make_room(folder)
        entry = self._open(number)
        if entry is None:
            raise RunError(f"the cache entry {folder} is damaged, though it was just written; check the disk")
        return entry

    def _write(self, shard: Shard, folder: Path) -> JSON:
        """Encode a shard into the folder. Returns the manifest.

        Raises:
            BadShard: examples cannot be encoded.
        """
        store, (input, target) = self._store, self._fields
        is_lenient = store.task.bad_inputs == "quarantine"
        encode_task = EncodeTask(
            self._split, input, None if target.derived else target, store.limit, quarantine=is_lenient
        )
        builder = ReportBuilder(self._split, input, target, store.limit)
        problems, left_out, notes = Problems(), Problems(), list[str]()
        examples = self._read(shard)
        with (
            collect_reports() as reading,
            Writer(folder, _NAME) as writer,
            (folder / "digests.bin").open("xb") as digests,
            (folder / "pairs.bin").open("xb") as pairs,
            closing(encode_chunks(examples, encode_task, notes)) as chunks,
        ):
            for chunk in chunks:
                if not problems.count:
                    writer.add(chunk)
                    builder.counts.join(chunk.counts)
                    digests.write(chunk.digests)
                    pairs.write(chunk.pair_digests)
                problems.join(chunk.problems)
                left_out.join(chunk.left_out)
        for note in notes:
            store.tell(note)
        if problems.count or not builder.examples:
            raise BadShard(problems, left_out, reading)
        counts = dataclasses.asdict(builder.counts)
        counts["lengths"], counts["classes"] = list(builder.counts.lengths.items()), dict(builder.counts.classes)
        report = builder.report(reading=reading)
        return {"report": report.facts(), "arrays": writer.arrays, "counts": counts, "left_out": left_out.facts()}

    def _read(self, shard: Shard) -> Iterator[Example]:
        """The examples of a shard, with progress shown."""
        done, activity = 0, f"encoding {shard.name} of {self._split}"
        for example in shard.read():
            if done % 1024 == 0:
                self._store.progress(done, None, activity)
            done += 1
            report_recomposed(example, self._fields)
            yield example
        self._store.progress(done, done, activity)

    @contextmanager
    def _locked(self, number: int, *, wait: bool = True) -> Iterator[bool]:
        """One process at a time makes an entry. Gives False if another one does, unless this is to wait for it."""
        folder = self.folder(number)
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = folder.with_name(f".{folder.name}.lock")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks: two may encode the same, and one entry stays
                pass
            yield True
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def _touch(self, number: int) -> None:
        """Note that an entry is in use, by the time of its folder."""
        now = time.monotonic()
        if self._store.most_bytes is not None and now - self._touched.get(number, -_TOUCH_SECONDS) >= _TOUCH_SECONDS:
            self._touched[number] = now
            with suppress(OSError):
                os.utime(self.folder(number))

    def _close_some(self) -> None:
        """An entry that has been removed takes space until nobody reads it any more."""
        if self._store.most_bytes is None:
            return
        sizes = {number: _bytes_of(entry.split) for number, entry in self._opened.items()}
        total = sum(sizes.values())
        while len(self._opened) > 1 and total > self._store.most_bytes:
            number, _ = self._opened.popitem(last=False)
            total -= sizes[number]


def join_digests(path: Path, add: Callable[[bytes], None]) -> None:
    """Give the hashes of a shard to a counter, some at a time."""
    with path.open("rb") as file:
        while raw := file.read(1 << 22):
            add(raw)


def _sizes(root: Path) -> Iterator[tuple[float, int, Path]]:
    """When each entry was last used, its bytes, and its folder."""
    for folder in root.iterdir():
        if folder.name.startswith("."):
            continue
        try:
            yield folder.stat().st_mtime, sum(file.stat().st_size for file in folder.iterdir()), folder
        except OSError:  # another process is removing it
            continue


def _bytes_of(split: Split) -> int:
    columns = [split.x, *([split.y] if split.y is not None else [])]
    return sum(column.data.nbytes for column in columns)
