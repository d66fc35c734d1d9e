"""A run folder, and everything that is written to it.

    runs/sentiment-20261121T2147Z-a1b2c3/
      recipe.yaml       as given        environment.json  what it ran on        metrics.jsonl  numbers by step
      resolved.yaml     with defaults   git.json          commit, dirty or not  metrics.json   final scores, flat
      data.json         inputs, hashes  plugins.json      plugins, hashes       run.log        messages with times
      memory.jsonl      how far back it learns from (docs/memory.md)
      origin.json, fields.json, changes.json            see `seqkit.runs.origin`
      status.json       created, running, interrupted, failed or finished, and by which process
      checkpoints/  model/  tb/

A folder is never shared and never overwritten: it is claimed by creating `status.json` exclusively, and `status.json`
is also the lock (process, host, boot) that keeps two processes from continuing one run. Imports no torch.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias, TypeVar

from seqkit import fault_injection
from seqkit._version import __version__
from seqkit.errors import DataError, Interrupted, Problem, ResumeRefused, RunError, UsageError
from seqkit.io import atomic
from seqkit.io.redact import scrub, scrub_urls
from seqkit.regular_files import kind_of, read_regular
from seqkit.runs.claim import PREPARING, claim, claim_new, slug, was_killed_setting_up
from seqkit.runs.lock import LIVE_STATES, describe_holder, locked, this_process, timestamp
from seqkit.runs.memory_log import NAME as MEMORY
from seqkit.runs.memory_log import MemoryLog
from seqkit.runs.metrics_log import MetricsLog
from seqkit.runs.records import check_status
from seqkit.runtime.environment import differences, environment, git
from seqkit.runtime.machine import peak_memory
from seqkit.types import JSON

if TYPE_CHECKING:
    from seqkit.runs.tensorboard import Board


T = TypeVar("T")

RunStatus: TypeAlias = Literal["created", "running", "interrupted", "failed", "finished"]


NEW_RUNS: Final = Path("runs")
"""Where the folders of new runs go if none is named."""


HEARTBEAT_SECONDS = 10.0
"""At least this much time is between two heartbeats; they are written when numbers are."""


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that is neither that of a model nor that of a run.

    Raises:
        DataError: it has no model.
    """
    if not any((folder / name).exists() for name in ("MANIFEST.json", "model/MANIFEST.json", "status.json")):
        raise no_model_error(folder)


def no_model_error(folder: Path) -> DataError:
    """The error for a folder without a model."""
    return DataError(Problem(str(folder), "no model here", "give a finished run's folder or its model/ folder"))


def check_not_running(folder: Path, status: Mapping[str, JSON]) -> None:
    """Refuse a run that a living process is working on, as its status says.

    Raises:
        UsageError: it is.
    """
    if holder := describe_holder(status):
        raise UsageError(f"{folder} is still running ({holder}); wait for it, or stop it first")


def wait_until_left(folder: Path) -> Path:
    """The same folder, once no living process works on its run: on another machine, one is seen to end by silence."""
    while describe_holder(atomic.read_json(folder / "status.json") or {}):
        time.sleep(1.0)
    return folder


class Run:
    """One run folder, held by this process. Made by `create`, `resume` or (to read only) `open`.

    As a context manager it records how the run ended: `finished`, or `interrupted` or `failed` with the reason.

    Attributes:
        folder: the run folder, absolute.
        opened_status: `status.json` as it was when the folder was opened.
        writes: whether this process writes to it; where it does not, all that would be written is left out.
        environment_changes: after `resume`, what differs from the beginning of the run: `torch.threads: 2 -> 1`.
    """

    def __init__(self, folder: Path, *, status: Mapping[str, JSON], writes: bool = True) -> None:
        self.folder, self.writes = folder, writes
        self.opened_status = dict(status)
        self.environment_changes: list[str] = []
        self._status: dict[str, JSON] = dict(status)
        self._began = time.monotonic()
        self._began_cpu = time.process_time()
        self._minutes_before = float(self._status.get("minutes") or 0.0)
        """Of the processes that worked on the run before this one."""
        self._cpu_minutes_before = self._status.get("cpu_minutes", 0.0 if not self._minutes_before else None)
        """None: an earlier process did not record them."""
        self._heartbeat = 0.0
        self._purge_step: int | None = None
        self._log_failed = False
        self._watcher: Callable[[int, Mapping[str, float]], None] | None = None
        self._metrics = MetricsLog(folder / "metrics.jsonl")

    # ---- creating and opening

    @classmethod
    def create(
        cls,
        name: str,
        *,
        text: bytes,
        resolved: str,
        out: Path | None = None,
        root: Path = NEW_RUNS,
        facts: Mapping[str, JSON] | None = None,
        overrides: Sequence[str] = (),
    ) -> Self:
        """A new run folder with the recipe, the environment and the state `created` in it.

        Args:
            name: part of the folder's name, usually the recipe's name; characters other than letters and digits are
                replaced.
            text: the recipe as given; written byte for byte (credentials in URLs are masked).
            resolved: the recipe with every default filled in.
            out: the folder to use; it must not exist or be empty. None: a new one under `root`.
            root: where new folders go if `out` is None.
            facts: `plugins` goes to plugins.json, the rest is added to environment.json.
            overrides: the `--set` flags, of which a new folder's name tells: `lr=0.01`.

        Raises:
            UsageError: `out` exists and is not an empty folder.
            RunError: the folder cannot be written.
        """
        facts = dict(facts or {})
        try:
            folder = claim(Path(out)) if out is not None else claim_new(Path(root), name, resolved, overrides)
            run = cls(folder.resolve(), status={})
            run._write_status("created", name=slug(name), started=timestamp(), stage=PREPARING)
            atomic.write(run.folder / "recipe.yaml", _scrub_bytes(text))
            atomic.write_json(run.folder / "plugins.json", _scrub_json(facts.pop("plugins", [])))
            atomic.write_json(run.folder / "git.json", git())
            atomic.write_json(run.folder / "environment.json", _scrub_json({**environment(), **facts}))
            for subfolder in (run.checkpoints, run.tb):
                subfolder.mkdir(exist_ok=True)
            # The last file: a folder that has it is complete, and can be resumed.
            atomic.write(run.folder / "resolved.yaml", scrub_urls(resolved))
            atomic.sync_folder(run.folder.parent)
        except OSError as error:
            raise atomic.write_error(error, Path(out) if out is not None else Path(root)) from error
        run.log(f"created by seqkit {__version__}, process {os.getpid()} on {socket.gethostname()}")
        return run

    @classmethod
    def resume(cls, folder: Path) -> Self:
        """The run in this folder, taken over by this process. Call `rewind` before continuing it.

        Raises:
            UsageError: it is not a run folder, or a living process is working on it.
            RunError: something in it is a pipe, a device or a socket.
        """
        run = cls.open(folder)
        _check_kinds(run.folder)
        with locked(run.folder):
            status = atomic.read_json(run.folder / "status.json")
            status = status if isinstance(status, dict) else {}
            check_not_running(run.folder, status)
            run.opened_status, run._status = dict(status), dict(status)
            run._status.pop("reason", None)
            atomic.remove_unfinished(run.folder)
            run._write_status("running", resumed=int(status.get("resumed", 0)) + 1)
        before = atomic.read_json(run.folder / "environment.json")
        run.environment_changes = differences(before, environment()) if before else []
        run.log(f"resumed by seqkit {__version__}, process {os.getpid()} on {socket.gethostname()}")
        if status.get("state") in LIVE_STATES:
            process = f"{status.get('pid')} on {status.get('host')}"
            run.log(f"the previous process ({process}) ended without recording why")
        for change in run.environment_changes:
            run.log(f"changed since the run began: {change}")
        return run

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The run in this folder, to read from; nothing is locked or changed.

        Raises:
            UsageError: it is not a run folder.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such run folder")
        status = atomic.read_json(folder / "status.json")
        if was_killed_setting_up(folder):
            again = f"--out {shlex.quote(str(folder))}"
            raise UsageError(f"{folder}: killed while it was being set up; start it again with {again}")
        if not isinstance(status, dict) or not (folder / "resolved.yaml").is_file():
            raise UsageError(f"{folder} is not a run folder: it lacks status.json or resolved.yaml")
        return cls(folder.resolve(), status=check_status(folder / "status.json", status))

    @classmethod
    def follow(cls, folder: Path) -> Self:
        """The run in this folder, which another process has created or taken over and writes to."""
        status = atomic.read_json(folder / "status.json")
        return cls(folder, status=status if isinstance(status, dict) else {}, writes=False)

    # ---- contents

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def tb(self) -> Path:
        return self.folder / "tb"

    @property
    def resolved(self) -> str:
        """The resolved recipe's text."""
        return self.read("resolved.yaml").decode("utf-8")

    def read(self, name: str) -> bytes:
        """The bytes of a small file of the run. Raises RunError if it is missing, huge, or not a regular file."""
        try:
            return read_regular(self.folder / name, atomic.MOST_JSON_BYTES)
        except OSError as error:
            raise RunError(f"{self.folder / name}: {(error.strerror or str(error)).lower()}") from None

    @property
    def state(self) -> str:
        """The last state that this process wrote or read: created, running, interrupted, failed or finished."""
        return str(self._status.get("state", "created"))

    @cached_property
    def board(self) -> Board:
        """The writer for TensorBoard; made (and torch imported) on first use."""
        from seqkit.runs.tensorboard import Board

        return Board(self.tb, purge_step=self._purge_step, writes=self.writes)

    @property
    def memory(self) -> list[dict[str, JSON]]:
        """The records of memory.jsonl, in order; see `seqkit.runs.memory_log`."""
        return self._memory.records

    @cached_property
    def _memory(self) -> MemoryLog:
        return MemoryLog(self.folder / MEMORY)

    # ---- writing

    def log(self, message: str) -> None:
        """Append a message to run.log, with the time and without secrets. A full disk loses messages, not the run."""
        if not self.writes:
            return
        lines = _escape_controls(scrub(message)).split("\n")
        text = f"{timestamp()} " + "\n    ".join(lines) + "\n"
        try:
            atomic.append(self.folder / "run.log", text)
        except OSError as error:
            if not self._log_failed:
                self._log_failed = True
                print(f"run.log: {error.strerror}; messages are lost from here on", file=sys.stderr)

    def set_status(self, state: RunStatus, **facts: JSON) -> None:
        """Write status.json: the state, this process, the time, and more facts (`reason=...`).

        Raises:
            RunError: the disk is full; so does every method below that writes.
        """
        self._guarded(lambda: self._write_status(state, **facts))

    def fail(self, reason: str) -> None:
        """Record why this process is about to end at once, without an exception."""
        self.log(f"failed: {reason}")
        self.set_status("failed", reason=scrub(reason))

    def beat(self) -> None:
        """Write a heartbeat if the last one is some seconds old: to be called at every step."""
        if self.writes and time.monotonic() - self._heartbeat > HEARTBEAT_SECONDS:
            self.set_status(self._status.get("state", "running"))

    def log_metrics(self, step: int, values: Mapping[str, float], *, epoch: float | None = None) -> None:
        """Append one line to metrics.jsonl: `{"step", "epoch", "time", ...values}`, flat, time in seconds since 1970.

        A name that has a value at this step already, as in a resumed run, does not get another.

        Args:
            step: optimiser steps taken.
            values: `<task>/<split>/<score>`, `lr`, ... to numbers; NaN and infinities are written as strings.
            epoch: passes over the data.
        """
        if self.writes and self._guarded(lambda: self._metrics.add(step, values, epoch)):
            self.beat()
        if self._watcher is not None:
            self._watcher(step, values)

    def watch(self, see: Callable[[int, Mapping[str, float]], None]) -> None:
        """Call `see(step, values)` with all numbers that are logged from now on: for a sweep that ends poor trials."""
        self._watcher = see

    def log_memory(self, record: Mapping[str, JSON]) -> None:
        """Append a record to memory.jsonl; docs/memory.md has its keys."""
        self._guarded(lambda: self._memory.add(record))

    def write_scores(self, values: Mapping[str, float]) -> None:
        """Write metrics.json: flat, `<task>/<split>/<score>` to number, sorted."""
        if not self.writes:
            return
        self._guarded(lambda: atomic.write_json(self.folder / "metrics.json", dict(sorted(values.items()))))

    def write_card(self, text: str) -> None:
        """Write the model card, model/README.md."""
        self._guarded(lambda: atomic.write(self.model / "README.md", scrub_urls(text)))

    def write_data_facts(self, facts: JSON, *, changed: bool = False) -> None:
        """Write data.json: each input with its size and SHA-256, and what is known of the splits.

        What is there already is never overwritten, once a step depends on it.

        Args:
            facts: by task.
            changed: the data are not what data.json says, and this was accepted: the facts go to `data-2.json`,
                `data-3.json`, ...
        """
        if not self.writes:
            return
        path = self.folder / "data.json"
        if self._status.get("stage") != PREPARING:
            if path.exists() and not changed:
                return
            number = 2
            while path.exists():
                path, number = self.folder / f"data-{number}.json", number + 1
        self._guarded(lambda: atomic.write_json(path, _scrub_json(facts)))

    def write_plugins(self, facts: JSON) -> None:
        """Write plugins.json: each distribution with its version and hash, and the plugins of it that are used."""
        if not self.writes:
            return
        self._guarded(lambda: atomic.write_json(self.folder / "plugins.json", _scrub_json(facts)))

    def write_resolved(self, resolved: str) -> None:
        """Replace resolved.yaml, because other options were asked for."""
        if not self.writes:
            return
        self._guarded(lambda: atomic.write(self.folder / "resolved.yaml", scrub_urls(resolved)))

    def flush(self) -> None:
        """Make all numbers written so far durable: to be called before a checkpoint is saved."""
        if not self.writes:
            return
        if "board" in self.__dict__:
            self.board.flush()
        self._guarded(lambda: fault_injection.at("log.flush"))
        for name in ("metrics.jsonl", MEMORY, "run.log"):
            if (self.folder / name).exists():
                self._guarded(functools.partial(atomic.sync, self.folder / name))
        self._guarded(lambda: atomic.sync_folder(self.folder))

    def rewind(self, step: int) -> None:
        """Remove what was written after `step` from metrics.jsonl and TensorBoard, before the run continues from there.

        A last line that a crash has cut short is removed too.
        """
        if not self.writes:
            return
        if removed := self._guarded(lambda: self._metrics.rewind(step)):
            self.log(f"metrics.jsonl: {removed} lines after step {step} dropped; they will be written again")
        self._guarded(lambda: self._memory.rewind(step))
        if "board" in self.__dict__:
            self.board.rewind(step)
        else:
            self._purge_step = step + 1

    def close(self) -> None:
        """Flush and close the board."""
        if "board" in self.__dict__:
            self.board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Record how the run ended. An error here does not hide the one that ended the run."""
        try:
            if error is None:
                self.set_status("finished")
            elif isinstance(error, ResumeRefused):
                self.log(f"not resumed: {error}")
                if self.writes:
                    atomic.write_json(self.folder / "status.json", self.opened_status)
            elif isinstance(error, (Interrupted, KeyboardInterrupt)):
                reason = str(error) or "Ctrl-C"
                self.log(f"interrupted: {reason}")
                self.set_status("interrupted", reason=scrub(reason))
            else:
                reason = f"{type(error).__name__}: {error}"
                self.log("failed: " + "".join(traceback.format_exception(error)).rstrip())
                self.set_status("failed", reason=scrub(reason))
            self.close()
        except (OSError, RunError):
            if error is None:
                raise

    def _write_status(self, state: str, **facts: JSON) -> None:
        if not self.writes:
            return
        self._status.update(_scrub_json(facts))
        peak = max(peak_memory(), int(self._status.get("peak_memory") or 0))
        minutes = self._minutes_before + (time.monotonic() - self._began) / 60
        self._status.update(
            state=state, heartbeat=timestamp(), minutes=round(minutes, 2), peak_memory=peak, **this_process()
        )
        if isinstance(self._cpu_minutes_before, int | float):
            cpu_minutes = self._cpu_minutes_before + (time.process_time() - self._began_cpu) / 60
            self._status["cpu_minutes"] = round(cpu_minutes, 2)
        atomic.write_json(self.folder / "status.json", self._status)
        self._heartbeat = time.monotonic()

    def _guarded(self, action: Callable[[], T]) -> T:
        """The result of a write; an OSError of it becomes a RunError, which says what is missing."""
        try:
            return action()
        except OSError as error:
            raise atomic.write_error(error, self.folder) from error


def _check_kinds(folder: Path) -> None:
    """Refuse what would wait for ever, or cannot be written to, when the run goes on.

    Raises:
        RunError: naming it.
    """
    folders = {"checkpoints", "tb", "model"}
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # a link to nothing, or gone since
            status = path.stat()
            if path.name in folders and not stat.S_ISDIR(status.st_mode):
                raise RunError(f"{path}: is {kind_of(status)}, not a folder; remove it, or put the folder back")
            if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
                raise RunError(f"{path}: is {kind_of(status)}, not a regular file; remove it, or put the file back")


def _escape_controls(text: str) -> str:
    """The text with control characters (but not line ends) escaped: data must not move the cursor of a terminal."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _scrub_bytes(text: bytes) -> bytes:
    try:
        return scrub_urls(text.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return text


def _scrub_json(value: JSON) -> JSON:
    if isinstance(value, str):
        return scrub_urls(value)
    if isinstance(value, Mapping):
        return {key: _scrub_json(item) for key, item in value.items()}
    return [_scrub_json(item) for item in value] if isinstance(value, (list, tuple)) else value
