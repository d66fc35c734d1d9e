"""What a run began with, and what has changed in it since: by this a resumed run is known to be the same.

    origin.json    what the numbers of the run depend on, as it was before the first step; never written again
    fields.json    what the fields learned from the training data
    changes.json   each change that was asked for or accepted on resume: when, before which step, both values

A record is plain JSON: `recipe` (every option), `data` (hashes), `plugins`, `environment`, `device`, `precision`, and
the SHA-256 of resolved.yaml and of fields.json. Runs of earlier versions have none of these files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from seqkit.errors import RunError, shortened
from seqkit.io import atomic
from seqkit.io.cache import sha256_of
from seqkit.runs.lock import timestamp
from seqkit.types import JSON

FORMAT_VERSION = 1

Record: TypeAlias = dict[str, Any]


@dataclass
class _File:
    split: str
    name: str
    sha256: str | None


@dataclass
class _TaskData:
    files: list[_File] = field(default_factory=list)
    examples: dict[str, str | None] = field(default_factory=dict)
    options: dict[str, str | None] = field(default_factory=dict)


@dataclass
class _Plugin:
    distribution: str
    version: str | None
    sha256: str | None


@dataclass
class _RecordParts:
    """The types of what a record is compared by; they say what a damaged one is."""

    recipe: dict[str, Any]
    data: dict[str, _TaskData]
    plugins: list[_Plugin]
    environment: dict[str, Any]


ChangeKind: TypeAlias = Literal["recipe", "data", "plugin", "environment"]


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was.

    Attributes:
        kind: where it was found.
        subject: what has changed: `train.batch`, `mood, train: train.tsv`.
        before: what it was, for the user to read.
        now: what it is.
        alters_numbers: whether the run would not be the same run.
        note: what else there is to say about it.
    """

    kind: ChangeKind
    subject: str
    before: str
    now: str
    alters_numbers: bool
    note: str = ""

    def __str__(self) -> str:
        subject, before, now = map(shortened, (self.subject, self.before, self.now))
        return f"{subject}: {before} -> {now}" + (f" ({self.note})" if self.note else "")

    def facts(self) -> dict[str, JSON]:
        """As JSON."""
        facts = {"kind": self.kind, "subject": self.subject, "before": self.before, "now": self.now}
        return facts | ({"note": self.note} if self.note else {})


def write_origin(folder: Path, record: Record, fields: Mapping[str, JSON]) -> None:
    """Write fields.json, and then origin.json with its hash, unless they are there.

    Args:
        folder: the run folder.
        record: what the run begins with.
        fields: `{task: {"input": state, "target": state}}`.
    """
    if not (folder / "fields.json").exists():
        atomic.write(folder / "fields.json", json.dumps(fields, indent=1, allow_nan=False) + "\n")
    if not (folder / "origin.json").exists():
        facts = {"format_version": FORMAT_VERSION, **record, "fields_sha256": sha256_of(folder / "fields.json")}
        atomic.write_json(folder / "origin.json", facts)


def read_origin(folder: Path) -> Record | None:
    """What the run began with; None for a run that has not come so far, or was begun by an earlier version.

    Raises:
        RunError: origin.json is damaged, or a later version wrote it.
    """
    path = folder / "origin.json"
    if not path.exists():
        return None
    record = atomic.read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("format_version"), int):
        raise RunError(f"{path}: damaged; put back the file as it was")
    if record["format_version"] > FORMAT_VERSION:
        raise RunError(f"{path}: written by a newer seqkit (format {record['format_version']}); upgrade seqkit")
    _check_record(record, path)
    return cast(Record, record)


def _check_record(record: JSON, path: Path) -> None:
    """Refuse a record whose parts are not of the types that they are compared by.

    Raises:
        RunError: it is damaged; with the place in it.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(_RecordParts).validate_python(record)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise RunError(f"{path}: damaged at {place}; put back the file as it was") from None


def read_changes(folder: Path) -> list[dict[str, Any]]:
    """The entries of changes.json, oldest first; empty if nothing has been changed.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / "changes.json"
    if not path.exists():
        return []
    entries = atomic.read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "record" in entry for entry in entries):
        raise RunError(f"{path}: damaged; put back the file as it was")
    for entry in entries:
        _check_record(entry["record"], path)
        if not all(isinstance(entry.get(key), int) for key in ("step", "epoch", "restarts_epoch")):
            raise RunError(f"{path}: damaged; put back the file as it was")
    return entries


def latest_record(folder: Path) -> Record | None:
    """What the run is now made of: what it began with, or what was last asked for or accepted."""
    entries = read_changes(folder)
    origin = read_origin(folder)
    return cast(Record, entries[-1]["record"]) if entries else origin


def recorded_threads(folder: Path) -> int | None:
    """How many threads each process of this run computes with; None if that is not recorded, or not readable."""
    try:
        record = latest_record(folder)
        threads = None if record is None else record["environment"]["torch"]["threads"]
    except (RunError, KeyError, TypeError):  # what is damaged is told where the run is compared
        return None
    return threads if isinstance(threads, int) and threads > 0 else None


def add_change(
    folder: Path, changes: Sequence[Change], record: Record, *, step: int, epoch: int, restarts_epoch: bool
) -> None:
    """Add an entry to changes.json.

    Args:
        changes: what was asked for or accepted.
        record: what the run is made of from now on.
        step: the step after which that is so.
        epoch: epochs finished then.
        restarts_epoch: whether the batches are others, so that this epoch begins again.
    """
    entry = {
        "time": timestamp(),
        "step": step,
        "epoch": epoch,
        "restarts_epoch": restarts_epoch,
        "changes": [change.facts() for change in changes],
        "record": record,
    }
    atomic.write_json(folder / "changes.json", [*read_changes(folder), entry])


def read_fields(folder: Path) -> dict[str, dict[str, JSON]] | None:
    """`{task: {"input": state, "target": state}}`, what the fields learned; None if the run has not recorded it.

    Raises:
        RunError: fields.json is missing, or not as it was written.
    """
    origin = read_origin(folder)
    if origin is None:
        return None
    path = folder / "fields.json"
    fields = atomic.read_json(path)
    if not path.exists():
        raise RunError(f"{path}: missing; it has the vocabularies of this run, put it back")
    if not isinstance(fields, dict) or sha256_of(path) != origin.get("fields_sha256"):
        raise RunError(f"{path}: changed since the run began; put it back, it has the vocabularies of this run")
    for state in fields.values():
        if not isinstance(state, dict) or not {"input", "target"} <= state.keys():
            raise RunError(f"{path}: is not what a run writes; put the file back as it was")
    return fields
