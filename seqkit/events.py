"""TensorBoard event files as they lie in a folder: what is in them, and making each (tag, step) occur once.

TensorBoard has a purge of its own, but it works in the reader's memory: the files keep both points, and every other
reader sees them twice. On resume the files are therefore rewritten as one that ends at the resumed step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from seqkit import durable

MARK = "tfevents"
"""What TensorBoard looks for in a file's name; an unfinished file may not have it."""


class Once:
    """Lets each (tag, step) pass once. Steps of a tag only ever rise, so the last one is all that is remembered."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}

    def new(self, summary: Summary, step: int) -> Summary | None:
        """The part of `summary` that is new at `step`, or None if nothing is."""
        fresh = [value for value in summary.value if self.last.get(value.tag, -1) < step]
        if not fresh:
            return None
        self.last.update((value.tag, step) for value in fresh)
        return summary if len(fresh) == len(summary.value) else Summary(value=fresh)


def rewrite(folder: Path, last_step: int | None = None) -> Once:
    """Make one file of all event files in `folder`, with each (tag, step) once and nothing after `last_step`.

    The new file takes its name before the old ones go, so a crash in between leaves doubles that the next call
    removes, and never a gap. Records after a torn or damaged one (the end of a killed process's file) are lost.

    Returns:
        what is in the file now.
    """
    once = Once()
    old = paths(folder)
    if not old:
        return once
    # `+` sorts before any host name: readers take the history before the file that goes on from it.
    goal = folder / f"events.out.{MARK}.{int(time.time()):010d}.+history"
    part = durable.temporary(goal)
    try:
        with part.open("xb") as stream:
            writer = RecordWriter(stream)
            writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
            # A TensorBoard that watches forgets what it has read from the old files and reads it anew.
            start = Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START))
            writer.write(start.SerializeToString())
            for event in read(*old):
                if last_step is not None and event.step > last_step:
                    continue
                summary = once.new(event.summary, event.step)
                if summary is not None:
                    kept = Event(wall_time=event.wall_time, step=event.step, summary=summary)
                    writer.write(kept.SerializeToString())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, goal)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    durable.sync_folder(folder)
    for path in old:
        if path != goal:
            path.unlink()
    durable.sync_folder(folder)
    return once


def paths(folder: Path) -> list[Path]:
    """The event files of one run, in the order in which they were written."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if MARK in path.name and not path.name.startswith(".") and path.is_file()]


def read(*event_files: Path) -> Iterator[Event]:
    """Every whole event of these files that has a summary, in order."""
    for path in event_files:
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            if event.HasField("summary"):
                yield event
