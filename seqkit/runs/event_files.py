"""TensorBoard's event files: reading, writing, and rewriting them so that each (tag, step) occurs once.

TensorBoard can purge points itself, but only in the memory of a reader: the files keep both points, and all other
readers see them twice. On resume the files are therefore rewritten without what comes after the resumed step.
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

NAME_MARK = "tfevents"
"""TensorBoard reads files with this in their name; an unfinished file must not have it."""


FLUSH_SECONDS = 5.0
"""After this many seconds events are written to the file, so that they can be watched."""


class DuplicateFilter:
    """Drops points that are written already. Steps never decrease, so the last step of each tag suffices.

    Attributes:
        last_steps: {tag: its last step}.
    """

    def __init__(self) -> None:
        self.last_steps: dict[str, int] = {}

    def drop_written(self, summary: Summary, step: int) -> Summary | None:
        """The summary without values that have a point at this or a later step; None if nothing remains."""
        new = [value for value in summary.value if self.last_steps.get(value.tag, -1) < step]
        self.last_steps.update((value.tag, step) for value in new)
        if not new:
            return None
        return summary if len(new) == len(summary.value) else Summary(value=new)


class Writer:
    """Writes one event file. There is no thread, so an error of a write is raised by the call that causes it.

    Args:
        folder: of the run's event files; it must exist.
        purge_step: a TensorBoard that watches the folder forgets this step and all later ones.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        # Files are read in the order of their names: by time, host and process.
        name = f"events.out.{NAME_MARK}.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        atomic.create(self.path, b"")
        self._buffer = io.BytesIO()
        self._records = RecordWriter(self._buffer)
        self._flushed = time.monotonic()
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            started = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=purge_step, session_log=started))

    def add(self, summary: Summary, step: int) -> None:
        """Add an event; it is in the file a few seconds later."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write everything to the file. After an error, a part may be missing, and readers stop before it."""
        content = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        self._flushed = time.monotonic()
        if not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        atomic.append(self.path, content)

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


def rewrite(folder: Path, last_step: int | None = None) -> DuplicateFilter:
    """Remove all points after `last_step`, and duplicates, from the event files in `folder`.

    Each file that changes is replaced atomically under its own name (a TensorBoard that is reading it continues with
    the next file), so the next call can complete one that has crashed. Records after an incomplete or damaged one, as
    at the end of a killed process's file, cannot be read and are removed too.

    Returns:
        A filter that knows the points in the files.
    """
    atomic.remove_unfinished(folder)
    seen: set[tuple[str, int]] = set()
    for path in paths(folder):
        temporary = atomic.temporary(path)
        try:
            if _copy_filtered(path, temporary, last_step, seen):
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    atomic.sync_folder(folder)
    duplicates = DuplicateFilter()
    for tag, step in seen:
        duplicates.last_steps[tag] = max(step, duplicates.last_steps.get(tag, -1))
    return duplicates


def _copy_filtered(path: Path, copy: Path, last_step: int | None, seen: set[tuple[str, int]]) -> bool:
    """Copy one file without points after `last_step` and points in `seen`, to which its own are added.

    Returns:
        Whether the copy differs from the file.
    """
    size = path.stat().st_size
    with copy.open("xb") as stream:
        writer = RecordWriter(stream)
        for record in _records(path):
            event = Event.FromString(record)
            if not event.HasField("summary"):
                if not event.HasField("session_log"):
                    writer.write(record)
                continue
            if last_step is not None and event.step > last_step:
                continue
            new = [value for value in event.summary.value if (value.tag, event.step) not in seen]
            seen.update((value.tag, event.step) for value in new)
            if len(new) == len(event.summary.value):
                writer.write(record)
            elif new:
                reduced = Event(wall_time=event.wall_time, step=event.step, summary=Summary(value=new))
                writer.write(reduced.SerializeToString())
        stream.flush()
        os.fsync(stream.fileno())
    return copy.stat().st_size != size


def paths(folder: Path) -> list[Path]:
    """The event files of one run, in the order in which they were written."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if NAME_MARK in path.name and not path.name.startswith(".") and path.is_file()]


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder`: TensorBoard shows each as a run of its own."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in entries if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")]


def read(*event_files: Path) -> Iterator[Event]:
    """Every complete event of these files that has a summary, in order."""
    for path in event_files:
        for record in _records(path):
            event = Event.FromString(record)
            if event.HasField("summary"):
                yield event


def _records(path: Path) -> Iterator[bytes]:
    yield from RawEventFileLoader(str(path)).Load()
