"""TensorBoard beside a run: its command, its address, and a server for as long as the run takes."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from seqkit.errors import RunError

START_SECONDS = 60.0
"""TensorBoard has this long to say where it is."""

STOP_SECONDS = 5.0
"""It has this long to end when it is asked to."""


_SERVER = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
from tensorboard.main import run_main
run_main()
"""
"""Ends when its standard input is closed, which the system does even for a parent that was killed."""


def watch_command(folder: Path) -> str:
    """The command that shows this run beside the others of its folder, to be copied into a shell."""
    return f"tensorboard --logdir {shlex.quote(str(folder.parent))}"


@contextlib.contextmanager
def serve(logdir: Path) -> Iterator[str]:
    """TensorBoard on 127.0.0.1, at any free port, until the context ends.

    Args:
        logdir: the folder whose runs are shown.

    Returns:
        The address of its first page, with curves as they are: not smoothed.

    Raises:
        RunError: it did not start; what it wrote last is part of the message.
    """
    options = ["--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        with output.open("wb") as stream:
            # In a session of its own, so that Ctrl-C stops the run and not what shows it.
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, *options],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            yield f"{_wait_for_address(process, output)}?smoothing=0#timeseries"
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_address(process: subprocess.Popen[bytes], output: Path) -> str:
    """The address that TensorBoard writes once it listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        has_ended = process.poll() is not None
        text = output.read_text("utf-8", "replace")
        if match := re.search(r"\bat (http://\S+)", text):
            return match.group(1)
        if has_ended or time.monotonic() > deadline:
            lines = text.strip().splitlines() or ["it wrote nothing"]
            raise RunError(f"TensorBoard did not start: {lines[-1]}")
        time.sleep(0.1)
