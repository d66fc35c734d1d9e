"""Commands in processes of their own that are watched: how they end, what they print, the time and memory they take.

    with Confinement() as confinement:
        outcome = confinement.run(["recipes", "check", "x.yaml"], folder)
        assert outcome.faults() == []

One process imports torch and seqkit; each command runs in a fork of it, so that only the first pays for the imports.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WAITING, COMPUTING = 5.0, 20.0
"""Seconds that a command may take. Where a processor has other work too, computing takes several times as long."""
MEGABYTES = 500
"""That a command may take beside what torch and seqkit take."""
LONGEST_OUTPUT = 200_000
"""Characters."""

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves the cursor of a terminal, or changes the direction of what follows."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit code; None if a signal ended it.
        signal: that signal; 0 for none.
        waited: seconds in which it waited for anything but a processor.
        computed: seconds on a processor.
        megabytes: the most memory it had, pages of files apart, above that of the process it was forked from.
        output: both streams; bytes that are no UTF-8 as `\\xff`.
    """

    code: int | None
    signal: int
    waited: float
    computed: float
    megabytes: float
    output: str

    def faults(self, codes: Sequence[int] = (2,)) -> list[str]:
        """What it did that no input may make it do, and an exit code that is not among `codes`."""
        faults = []
        if self.signal:
            faults.append(f"ended by signal {self.signal}")
        elif self.code not in codes:
            faults.append(f"exit code {self.code}")
        if self.waited > WAITING:
            faults.append("waited for ever")
        if self.computed > COMPUTING:
            faults.append("computed for ever")
        if self.megabytes > MEGABYTES:
            faults.append(f"took {self.megabytes:,.0f} MB")
        if control := CONTROLS.search(self.output):
            faults.append(f"printed {control[0]!r}")
        if "Traceback (most recent call last)" in self.output:
            faults.append("showed a traceback")
        if len(self.output) > LONGEST_OUTPUT:
            faults.append(f"printed {len(self.output):,} characters")
        return faults


class Confinement:
    """Runs commands of seqkit, each in a fork of a process that has imported what they need."""

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.confinement"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()

    def run(self, command: Sequence[str], folder: Path, *, stdin: Path | None = None, **environment: str) -> Outcome:
        """Run `seqkit COMMAND` in this folder.

        Args:
            stdin: a file or a pipe; None: nothing.
            environment: variables beside those of this process.
        """
        request = {
            "command": [str(word) for word in command],
            "folder": str(folder),
            "stdin": str(stdin or os.devnull),
            "environment": {"SEQKIT_CACHE": str(folder / "cache"), **environment},
        }
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        return Outcome(**json.loads(self._child.stdout.readline()))


def serve() -> None:
    """Fork a process for each request, watch it, and answer how it ended."""
    from seqkit.runtime import allocator

    allocator.configure()

    import seqkit.experiments.reproduce
    import seqkit.experiments.run_recipe
    import seqkit.inference.generate
    import seqkit.inference.predict
    import seqkit.verification.contracts  # noqa: F401
    from seqkit.cli import main
    from seqkit.runtime.native_library import load_native

    load_native()  # compiled once
    for plugin in ("charlm", "genome", "names", "ner", "sentiment", "speech", "translation"):
        __import__(f"seqkit_{plugin}")
    for line in sys.stdin:
        print(json.dumps(vars(_watch(json.loads(line), main))), flush=True)


def _watch(request: dict[str, Any], main: Callable[..., object]) -> Outcome:
    output = Path(request["folder"]) / ".output"
    before = most = _memory(os.getpid())
    pid = os.fork()
    if not pid:
        _obey(request, output, main)
    ended, status, clock = 0, 0, _Clock(pid)
    while not ended:
        time.sleep(0.01)
        clock.look()
        most = max(most, _memory(pid))
        is_late = clock.blocked > WAITING or clock.computed > COMPUTING
        if is_late:
            os.kill(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, 0 if is_late else os.WNOHANG)
    code = os.waitstatus_to_exitcode(status)
    text = output.read_bytes().decode("utf-8", "backslashreplace")
    return Outcome(code if code >= 0 else None, max(0, -code), clock.blocked, clock.computed, most - before, text)


class _Clock:
    """Seconds in which a process computes, or waits for anything but a processor."""

    def __init__(self, pid: int) -> None:
        self.pid, self.computed, self.blocked, self.last = pid, 0.0, 0.0, time.monotonic()

    def look(self) -> None:
        """Add what has passed since the last look. A thread that is ready to run has not blocked."""
        now, computed, states = time.monotonic(), 0.0, set()
        for path in Path(f"/proc/{self.pid}/task").glob("*"):
            with suppress(OSError, IndexError):
                states.add((path / "stat").read_text().rpartition(")")[2].split()[0])
                computed += int((path / "schedstat").read_text().split()[0]) / 1e9
        if states and "R" not in states:
            self.blocked += now - self.last
        self.computed, self.last = max(self.computed, computed), now


def _obey(request: dict[str, Any], output: Path, main: Callable[..., object]) -> None:
    """Run the command in this process, which ends with it."""
    code = 70
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.dup2(os.open(request["stdin"], os.O_RDONLY | os.O_NONBLOCK), 0)
        os.set_blocking(0, True)
        for stream in (1, 2):
            opened = os.fdopen(os.dup(stream), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
            setattr(sys, ("stdout", "stderr")[stream - 1], opened)
        sys.stdin = os.fdopen(0, encoding="utf-8")
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (2 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # the machine has other work
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        planted = PLANTED.get(request["command"][0])
        if planted is not None:
            planted()
        main(request["command"], prog_name="seqkit")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    os.read(os.pipe()[0], 1)


def _work() -> None:
    while True:
        pass


def _grow() -> None:
    bytearray(700_000_000)[::4096] = b"x" * len(range(0, 700_000_000, 4096))


def _escape() -> None:
    print("\x1b[2J")


def _raise() -> None:
    raise ValueError("planted")


PLANTED: dict[str, Callable[[], None]] = {
    "planted:crash": _crash,
    "planted:hang": _hang,
    "planted:work": _work,
    "planted:grow": _grow,
    "planted:escape": _escape,
    "planted:raise": _raise,
}
"""What the watching has to notice."""


def _memory(pid: int) -> float:
    """MiB of a process without the pages of files, which a fork maps only when it reads them; 0 once it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


if __name__ == "__main__":
    serve()
