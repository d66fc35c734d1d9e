"""A run folder, and everything that is written to it.

    runs/sentiment-20261121T2147Z-a1b2c3/
      recipe.yaml       as given        environment.json  what it ran on        metrics.jsonl  numbers by step
      resolved.yaml     defaults in     git.json          commit, dirty or not  metrics.json   final scores, flat
      data.json         inputs, hashes  plugins.json      what was used         run.log        what was said, with times
      status.json       created, running, interrupted, failed or finished, by which process
      checkpoints/  model/  tb/

A folder is never shared and never overwritten: it is claimed by creating `status.json` exclusively, and `status.json`
is also the lock (process, host, boot) that keeps two processes from going on with one run. Imports no torch.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from seqkit import fault_injection
from seqkit._version import __version__
from seqkit.errors import Interrupted, RunError, UsageError
from seqkit.io import atomic
from seqkit.io.redact import scrub, scrub_urls
from seqkit.runtime.environment import differences, environment, git
from seqkit.types import JSON

if TYPE_CHECKING:
    from seqkit.runs.tensorboard import Board
from seqkit.runs.lock import (
    LIVE,
    claim,
    claim_new,
    guard,
    live_process,
    slug,
    this_process,
    timestamp,
    was_killed_setting_up,
)

RunStatus: TypeAlias = Literal["created", "running", "interrupted", "failed", "finished"]


HEARTBEAT = 10.0
"""Seconds between two writes of the heartbeat; it is written when numbers are."""


RESERVED = ("step", "epoch", "time")


class Run:
    """One run folder, held by this process. Make it with `create`, `resume` or (to read only) `open`.

    Used as a context manager it writes how it ended: `finished`, `interrupted` or `failed` with the reason.

    Attributes:
        folder: the run folder, absolute.
        found: `status.json` as it was when the folder was opened.
        changes: after `resume`, what is not as it was when the run began: `torch.threads: 2 -> 1`.
    """

    def __init__(self, folder: Path, *, found: Mapping[str, JSON], purge_step: int | None = None) -> None:
        self.folder = folder
        self.found = dict(found)
        self.changes: list[str] = []
        self._status: dict[str, JSON] = dict(found)
        self._beat = 0.0
        self._purge_step = purge_step
        self._warned = False
        self._last: dict[str, int] = {}

    # ---- making and opening

    @classmethod
    def create(
        cls,
        name: str,
        *,
        text: bytes,
        resolved: str,
        out: Path | None = None,
        root: Path = Path("runs"),
        facts: Mapping[str, JSON] | None = None,
    ) -> Self:
        """A new run folder with the recipe, the environment and the state `created` in it.

        Args:
            name: what the run is called, usually the recipe's name; anything else than letters and digits is replaced.
            text: the recipe as given; written byte for byte (credentials in URLs are masked).
            resolved: the recipe with every default filled in.
            out: the folder to use; it must not exist or be empty. None: a new one under `root`.
            root: where folders go that nobody named.
            facts: `plugins` goes to plugins.json, all else is added to environment.json.

        Raises:
            UsageError: `out` exists and is not an empty folder.
            RunError: the folder cannot be written.
        """
        facts = dict(facts or {})
        try:
            folder = claim(Path(out)) if out is not None else claim_new(Path(root), name, resolved)
            run = cls(folder.resolve(), found={})
            run._write_status("created", name=slug(name), started=timestamp())
            atomic.write(run.folder / "recipe.yaml", _scrub_bytes(text))
            atomic.write_json(run.folder / "plugins.json", _scrub_json(facts.pop("plugins", [])))
            atomic.write_json(run.folder / "git.json", git())
            atomic.write_json(run.folder / "environment.json", _scrub_json({**environment(), **facts}))
            for inside in (run.checkpoints, run.tb):
                inside.mkdir(exist_ok=True)
            # Last: a folder that has it is whole, and can be resumed.
            atomic.write(run.folder / "resolved.yaml", scrub_urls(resolved))
            atomic.sync_folder(run.folder.parent)
        except OSError as error:
            raise atomic.write_error(error, Path(out) if out is not None else Path(root)) from error
        run.log(f"created by seqkit {__version__}, process {os.getpid()} on {socket.gethostname()}")
        return run

    @classmethod
    def resume(cls, folder: Path) -> Self:
        """The run in this folder, taken over by this process. Call `rewind` before going on.

        Raises:
            UsageError: it is not a run folder, or a living process is working on it.
        """
        run = cls.open(folder)
        with guard(run.folder):
            status = atomic.read_json(run.folder / "status.json")
            status = status if isinstance(status, dict) else {}
            if who := live_process(status):
                raise UsageError(f"{run.folder} is still running ({who}); wait for it, or stop it first")
            run.found, run._status = dict(status), dict(status)
            run._status.pop("reason", None)
            atomic.sweep(run.folder)
            run._write_status("running", resumed=int(status.get("resumed", 0)) + 1)
        before = atomic.read_json(run.folder / "environment.json")
        run.changes = [change for change in differences(before or {}, environment()) if before]
        run.log(f"resumed by seqkit {__version__}, process {os.getpid()} on {socket.gethostname()}")
        if status.get("state") in LIVE:
            run.log(f"the process before it ({status.get('pid')} on {status.get('host')}) died without a word")
        for change in run.changes:
            run.log(f"not as when it began: {change}")
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
            raise UsageError(f"{folder}: killed while it was being set up; start it again with --out {folder}")
        if not isinstance(status, dict) or not (folder / "resolved.yaml").is_file():
            raise UsageError(f"{folder} is not a run folder: it lacks status.json or resolved.yaml")
        return cls(folder.resolve(), found=status)

    # ---- what is in it

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
        return (self.folder / "resolved.yaml").read_text(encoding="utf-8")

    @property
    def state(self) -> str:
        """What this process last wrote or found: created, running, interrupted, failed or finished."""
        return str(self._status.get("state", "created"))

    @cached_property
    def board(self) -> Board:
        """What goes to TensorBoard; made (and torch imported) on first use."""
        from seqkit.runs.tensorboard import Board

        return Board(self.tb, purge_step=self._purge_step)

    # ---- writing

    def log(self, message: str) -> None:
        """Add lines to run.log, with the time and without secrets. A full disk costs log lines, not the run."""
        lines = _printable(scrub(message)).split("\n")
        text = f"{timestamp()} " + "\n    ".join(lines) + "\n"
        try:
            atomic.append(self.folder / "run.log", text)
        except OSError as error:
            if not self._warned:
                self._warned = True
                print(f"run.log: {error.strerror}; messages are lost from here on", file=sys.stderr)

    def status(self, state: RunStatus, **more: JSON) -> None:
        """Write status.json: the state, this process, the time, and what else is given (`reason=...`)."""
        self._guarded(lambda: self._write_status(state, **more))

    def beat(self) -> None:
        """Say that this process lives; at most one write every few seconds, so call it at every step."""
        if time.monotonic() - self._beat > HEARTBEAT:
            self.status(self._status.get("state", "running"))

    def metrics(self, step: int, values: Mapping[str, float], *, epoch: float | None = None) -> None:
        """Add one line to metrics.jsonl: `{"step", "epoch", "time", ...values}`, flat.

        Args:
            step: optimiser steps taken.
            values: `<task>/<split>/<score>`, `lr`, ... to numbers; NaN and infinities are written as strings.
            epoch: passes over the data. `time` is in seconds since 1970.

        A resumed run may come by a step that is in the file already: each name occurs once a step.

        Raises:
            RunError: the disk is full.
        """
        if clash := [name for name in RESERVED if name in values]:
            raise ValueError(f"a metric may not be called {clash[0]!r}")
        values = {name: value for name, value in values.items() if self._last.get(name, -1) < step}
        if not values:
            return
        self._last.update(dict.fromkeys(values, step))
        row = {"step": step, "epoch": epoch, "time": round(time.time(), 3), **values}
        line = json.dumps(atomic.json_safe(row), ensure_ascii=False, allow_nan=False) + "\n"
        self._guarded(lambda: atomic.append(self.folder / "metrics.jsonl", line, point="log.flush"))
        self.beat()

    def final(self, values: Mapping[str, float]) -> None:
        """Write metrics.json: flat, `<task>/<split>/<score>` to number, sorted."""
        self._guarded(lambda: atomic.write_json(self.folder / "metrics.json", dict(sorted(values.items()))))

    def data(self, facts: JSON) -> None:
        """Write data.json: each input with its path, size and SHA-256, and the splits' sizes and hashes."""
        self._guarded(lambda: atomic.write_json(self.folder / "data.json", _scrub_json(facts)))

    def plugins(self, facts: JSON) -> None:
        """Write plugins.json: each distribution used, with its version, its hash and what of it was used."""
        self._guarded(lambda: atomic.write_json(self.folder / "plugins.json", _scrub_json(facts)))

    def flush(self) -> None:
        """Make all numbers written so far durable. Call it before a checkpoint is saved."""
        if "board" in self.__dict__:
            self.board.flush()
        self._guarded(lambda: fault_injection.at("log.flush"))
        for name in ("metrics.jsonl", "run.log"):
            if (self.folder / name).exists():
                self._guarded(lambda name=name: atomic.sync(self.folder / name))
        self._guarded(lambda: atomic.sync_folder(self.folder))

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`, here and (when it is made) on the board, before going on from there.

        A last line that was torn by a crash goes too.
        """
        path = self.folder / "metrics.jsonl"
        lines = [line for line in path.read_bytes().split(b"\n") if line] if path.exists() else []
        kept = [line for line in lines if _is_until(line, step)]
        self._last = {name: row["step"] for row in map(json.loads, kept) for name in row if name not in RESERVED}
        if lines:
            self._guarded(lambda: atomic.write(path, b"".join(line + b"\n" for line in kept)))
        if dropped := len(lines) - len(kept):
            self.log(f"metrics.jsonl: {dropped} lines after step {step} dropped; they will be written again")
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
        """Write how it ended. An error here does not hide the one that ended the run."""
        try:
            if error is None:
                self.status("finished")
            elif isinstance(error, (Interrupted, KeyboardInterrupt)):
                reason = str(error) or "Ctrl-C"
                self.log(f"interrupted: {reason}")
                self.status("interrupted", reason=scrub(reason))
            else:
                reason = f"{type(error).__name__}: {error}"
                self.log("failed: " + "".join(traceback.format_exception(error)).rstrip())
                self.status("failed", reason=scrub(reason))
            self.close()
        except (OSError, RunError):
            if error is None:
                raise

    def _write_status(self, state: str, **more: JSON) -> None:
        self._status.update(_scrub_json(more))
        self._status.update(state=state, heartbeat=timestamp(), **this_process())
        atomic.write_json(self.folder / "status.json", self._status)
        self._beat = time.monotonic()

    def _guarded(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            raise atomic.write_error(error, self.folder) from error


def _printable(text: str) -> str:
    """Control characters (but not line ends) as their escapes: data may not move a reader's cursor."""
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


def _is_until(line: bytes, most: int) -> bool:
    """True if this is a whole line of metrics.jsonl about a step up to `most`."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(step, int) and step <= most
