"""Runs seqkit in forked children of one process that has imported everything: a start takes milliseconds.

Except for the imports, a child is like a new Python: it runs the command line from its first line to its exit code, in
a session of its own, with the signal handlers of the system. The parent starts no threads and computes nothing, so that
it can be forked safely.
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
"""Called in a child before anything else, to break something there."""

_IMPORTED = (
    "torch",
    "seqkit",
    "numpy",
    "sklearn",
    "scipy",
    "tensorboard",
    "PIL",
    "rich",
    "google",
    "safetensors",
    "click",
)


@dataclass
class Child:
    """A run in progress."""

    pid: int
    output: Path
    start: float
    code: int | None = None
    seconds: float = 0.0

    def alive(self) -> bool:
        """Whether it is still running; if not, its exit code is recorded."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._record_end(status)
        return self.code is None

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit code, or minus the number of the signal that ended it.

        Raises:
            TimeoutError: it was still running, and has been killed.
        """
        if self.code is not None:
            return self.code
        with _alarm(seconds) as cancel:
            try:
                _, status = os.waitpid(self.pid, 0)
            except TimeoutError:
                cancel()
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise
        return self._record_end(status)

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal. False if it has ended before."""
        if not self.alive():
            return False
        os.kill(self.pid, number)
        return True

    def remaining_processes(self) -> list[int]:
        """The processes of its session that are still running: its children."""
        processes = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX" and int(fields[3]) == self.pid:
                    processes.append(int(path.parent.name))
        return processes

    def _record_end(self, status: int) -> int:
        self.seconds = time.monotonic() - self.start
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
    arguments: Sequence[str], output: Path, *, fault: str | None = None, sabotage: Sabotage | None = None, cache: Path
) -> Child:
    """Fork a child that runs `seqkit ARGUMENTS`; its output is appended to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    now = time.monotonic()
    pid = os.fork()
    if pid:
        return Child(pid, output, now)
    code = 1
    try:
        code = _run(arguments, output, fault, sabotage, cache)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(arguments: Sequence[str], output: Path, fault: str | None, sabotage: Sabotage | None, cache: Path) -> int:
    os.setsid()
    handle = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
    """Import everything that a run imports: one child runs the tiny recipes and lists its modules."""
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
        listed.write_text(json.dumps([name for name in sys.modules if name.split(".")[0].startswith(_IMPORTED)]))
        os._exit(0)
    os.waitpid(pid, 0)
    for name in json.loads(listed.read_text()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    # Installed plugins and packages do not change from now on; finding them takes a third of such a short run.
    from seqkit import recipe
    from seqkit.registry import registry
    from seqkit.runtime import environment

    recipes.write("waves", work / "prepared")  # a plugin must be installed before the first look-up
    environment.packages = functools.cache(environment.packages)
    registry.installed = functools.cache(registry.installed)
    for domain in (*recipes.available(), "waves"):
        for encoder in recipes.ENCODERS:
            recipe.load(str(recipes.write(domain, work / "prepared", encoder)))
    environment.environment()
    gc.collect()
    gc.freeze()


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder for a campaign, in memory if possible, to spare the disk."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30 else None
    return tempfile.TemporaryDirectory(prefix="seqkit-faults-", dir=parent)
