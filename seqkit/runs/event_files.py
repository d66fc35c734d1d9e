"""TensorBoard event files as they lie in a folder: what is in them, and making each (tag, step) occur once.

TensorBoard has a purge of its own, but it works in the reader's memory: the files keep both points, and every other
reader sees them twice. On resume the files are therefore rewritten without what comes after the resumed step.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from seqkit.io import atomic

MARK = "tfevents"
"""What TensorBoard looks for in a file's name; an unfinished file may not have it."""


EVERY = 5.0
"""Seconds after which what was written is handed to the system, so that it can be watched."""


class Once:
    """Lets each (tag, step) pass once. A writer's steps only ever rise, so the last one of a tag is all it needs."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}

    def new(self, summary: Summary, step: int) -> Summary | None:
        """The part of `summary` that is new at `step`, or None if nothing is."""
        fresh = [value for value in summary.value if self.last.get(value.tag, -1) < step]
        self.last.update((value.tag, step) for value in fresh)
        return _part(summary, fresh)


class Writer:
    """One event file, made when the first event comes. No thread: what cannot be written is told where it is written.

    Args:
        folder: of the run's events; it must be there.
        purge_step: what a TensorBoard that is watching shall forget: this step and all later ones.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        # Names sort by time, process and number, which is the order in which files are read.
        name = f"events.out.{MARK}.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        atomic.create(self.path, b"")
        self._held = io.BytesIO()
        self._records = RecordWriter(self._held)
        self._flushed = time.monotonic()
        self._put(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            started = SessionLog(status=SessionLog.START)
            self._put(Event(wall_time=time.time(), step=purge_step, session_log=started))

    def add(self, summary: Summary, step: int) -> None:
        """One more event; it reaches the file within seconds."""
        self._put(Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self._flushed > EVERY:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the system. What could not be written is lost, or half there: a reader stops before it."""
        content = self._held.getvalue()
        self._held.seek(0)
        self._held.truncate()
        self._flushed = time.monotonic()
        if not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        atomic.append(self.path, content)

    def _put(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


def rewrite(folder: Path, last_step: int | None = None) -> Once:
    """Take everything after `last_step` out of the event files in `folder`, and what is there twice.

    Each file that must change is replaced in one step under its own name (a TensorBoard that is reading it goes on
    with the next), so a crash in between leaves nothing that the next call does not put right. Records after a torn
    or damaged one, such as the end of a killed process's file, cannot be read and go too.

    Returns:
        what is in the files now.
    """
    atomic.sweep(folder)
    seen: set[tuple[str, int]] = set()
    for path in paths(folder):
        part = atomic.temporary(path)
        try:
            if _filter(path, part, last_step, seen):
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    atomic.sync_folder(folder)
    once = Once()
    for tag, step in seen:
        once.last[tag] = max(step, once.last.get(tag, -1))
    return once


def _filter(path: Path, part: Path, last_step: int | None, seen: set[tuple[str, int]]) -> bool:
    """Write what stays of one file to another; True if that is not all of it."""
    size = path.stat().st_size
    with part.open("xb") as stream:
        writer = RecordWriter(stream)
        for record in _records(path):
            event = Event.FromString(record)
            if not event.HasField("summary"):
                if not event.HasField("session_log"):
                    writer.write(record)
                continue
            if last_step is not None and event.step > last_step:
                continue
            fresh = [value for value in event.summary.value if (value.tag, event.step) not in seen]
            seen.update((value.tag, event.step) for value in fresh)
            if len(fresh) == len(event.summary.value):
                writer.write(record)
            elif fresh:
                kept = Event(wall_time=event.wall_time, step=event.step, summary=Summary(value=fresh))
                writer.write(kept.SerializeToString())
        stream.flush()
        os.fsync(stream.fileno())
    return part.stat().st_size != size


def _part(summary: Summary, values: list[Summary.Value]) -> Summary | None:
    if not values:
        return None
    return summary if len(values) == len(summary.value) else Summary(value=values)


def paths(folder: Path) -> list[Path]:
    """The event files of one run, in the order in which they were written."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if MARK in path.name and not path.name.startswith(".") and path.is_file()]


def read(*event_files: Path) -> Iterator[Event]:
    """Every whole event of these files that has a summary, in order."""
    for path in event_files:
        for record in _records(path):
            event = Event.FromString(record)
            if event.HasField("summary"):
                yield event


def _records(path: Path) -> Iterator[bytes]:
    yield from RawEventFileLoader(str(path)).Load()
