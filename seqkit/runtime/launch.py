"""Start a command in several processes of this machine that train together, and end as they end. Imports no torch."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from seqkit.runtime.machine import is_at_work, usable_cores

PATIENCE_SECONDS = 20.0
"""The others have so long to end by themselves once one has failed."""


def without_option(arguments: Sequence[str], option: str) -> list[str]:
    """Command-line arguments without an option (`--name value` or `--name=value`)."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip or argument == option or argument.startswith(f"{option}="):
            skip = argument == option
        else:
            kept.append(argument)
    return kept


def launch(arguments: Sequence[str], count: int, *, threads: int | None = None) -> int:
    """Run `seqkit ARGUMENTS` in `count` processes; signals to this one go to all. Returns the exit code.

    It is that of the first process that fails.

    Args:
        threads: of each process, unless OMP_NUM_THREADS is set; None: the cores are shared out.
    """
    common = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "TORCHELASTIC_RUN_ID": secrets.token_hex(8),
    }
    common.setdefault("OMP_NUM_THREADS", str(threads or max(1, usable_cores() // count)))
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    def pause(number: int, frame: FrameType | None) -> None:
        forward(signal.SIGSTOP, frame)
        os.kill(os.getpid(), signal.SIGSTOP)
        forward(signal.SIGCONT, frame)

    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP), forward)
    handlers[signal.SIGTSTP] = pause
    heard = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handlers[number]) for number in heard}
    try:
        for rank in range(count):
            environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            command = [sys.executable, "-m", "seqkit", *arguments]
            # In a session of its own: a terminal sends Ctrl-C to all of its own, and each process would get it twice.
            processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return _wait(processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """The exit code of the first process that fails, once all have ended or had the time to; 0 if none does."""
    first_failure, since = 0, 0.0
    while any(process.poll() is None for process in processes):
        codes = [process.poll() for process in processes]
        if not first_failure and (failed := [code for code in codes if code]):
            first_failure, since = failed[0], time.monotonic()
        # One that is stopped (SIGSTOP) does not end by itself.
        is_ending = any(process.poll() is None and is_at_work(process.pid) for process in processes)
        if first_failure and (not is_ending or time.monotonic() - since > PATIENCE_SECONDS):
            break
        time.sleep(0.05)
    first_failure = first_failure or next((code for process in processes if (code := process.poll())), 0)
    return 128 - first_failure if first_failure < 0 else first_failure


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
