"""Runs of seqkit in forked children of one process that has everything imported: a start costs milliseconds.

A child is what a new Python is, but for the imports: the command line from its first line to its exit code, in a
session of its own, with the system's signal handlers. The parent starts no thread and computes nothing, so that forking
it is safe.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import recipes

Sabotage = Callable[[], object]
"""Called in a child before anything else: breaks something there."""

_OURS = ("torch", "seqkit", "numpy", "sklearn", "scipy", "tensorboard", "PIL", "rich", "google", "safetensors", "click")


@dataclass
class Child:
    """A run in progress."""

    pid: int
    said: Path
    began: float
    code: int | None = None
    seconds: float = 0.0

    def alive(self) -> bool:
        """Also takes note of how it ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended(status)
        return self.code is None

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit code, or minus the number of the signal that ended it.

        Raises:
            TimeoutError: it is still there; it has been killed now.
        """
        if self.code is not None:
            return self.code
        with _alarm(seconds) as ring:
            try:
                _, status = os.waitpid(self.pid, 0)
            except TimeoutError:
                ring()
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise
        return self._ended(status)

    def send(self, number: signal.Signals) -> bool:
        """Signal it. False if it had ended before."""
        if not self.alive():
            return False
        os.kill(self.pid, number)
        return True

    def kin(self) -> list[int]:
        """Processes of its session that are still there: its children."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX" and int(fields[3]) == self.pid:
                    found.append(int(path.parent.name))
        return found

    def _ended(self, status: int) -> int:
        self.seconds = time.monotonic() - self.began
        self.code = os.waitstatus_to_exitcode(status)
        return self.code


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[Callable[[], None]]:
    def ring(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def start(
    arguments: Sequence[str], said: Path, *, fault: str | None = None, sabotage: Sabotage | None = None, cache: Path
) -> Child:
    """Fork a child that runs `seqkit ARGUMENTS`; what it says goes to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    pid = os.fork()
    if pid:
        return Child(pid, said, began)
    code = 1
    try:
        code = _run(arguments, said, fault, sabotage, cache)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(arguments: Sequence[str], said: Path, fault: str | None, sabotage: Sabotage | None, cache: Path) -> int:
    os.setsid()
    handle = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ["SEQKIT_CACHE"] = str(cache)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from seqkit import fault_injection
    from seqkit.cli import main

    fault_injection.arm(fault)
    if sabotage is not None:
        sabotage()
    try:
        main(list(arguments), prog_name="seqkit")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except KeyboardInterrupt:
        return 130
    return 0


def prepare(work: Path) -> None:
    """Import here whatever a run imports: one child runs the tiny recipes and says what that was."""
    import torch

    torch.set_num_threads(1)
    for name in ("experiments.run_recipe", "cli.run", "runs.comparison", "verification.resume"):
        importlib.import_module(f"seqkit.{name}")
    listed = work / "modules.json"
    pid = os.fork()
    if pid == 0:
        from seqkit.cli import main

        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.environ["SEQKIT_CACHE"] = str(work / "prepared-cache")
        for domain in recipes.available():
            with contextlib.suppress(SystemExit):
                path = recipes.write(domain, work / "prepared")
                main(["run", str(path), "--quiet", "--set", "train.steps=2", "--out", str(work / f"prepared-{domain}")])
        listed.write_text(json.dumps([name for name in sys.modules if name.split(".")[0].startswith(_OURS)]))
        os._exit(0)
    os.waitpid(pid, 0)
    for name in json.loads(listed.read_text()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    # What is installed does not change from here on; looking it up is a third of so short a run.
    from seqkit import recipe
    from seqkit.registry import registry
    from seqkit.runtime import environment

    recipes.write("waves", work / "prepared")  # a plugin is found if it is there before the first look
    environment.packages = functools.cache(environment.packages)
    registry.installed = functools.cache(registry.installed)
    for domain in (*recipes.available(), "waves"):
        for encoder in recipes.ENCODERS:
            recipe.load(str(recipes.write(domain, work / "prepared", encoder)))
    environment.environment()
    gc.collect()
    gc.freeze()


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a campaign; in memory where there is such a place, so that disks are not worn."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30 else None
    return tempfile.TemporaryDirectory(prefix="seqkit-faults-", dir=place)
