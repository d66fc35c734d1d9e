"""Models that are trained once, and a real server process for them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TASKS = {
    "sentiment": ["train.steps=30"],
    "ner": ["train.steps=30"],
    "charlm": ["train.steps=30"],
    "speech": ["train.steps=2"],
    "adding": ["train.steps=2", "tasks.adding.sizes=[64, 16, 16]"],
}
"""Recipes that are served, with what is changed so that they are trained quickly."""


class RunningServer(NamedTuple):
    """A server process: where it is, what it serves, and the file with its standard error."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    folders: dict[str, Path]
    log: Path

    def memory(self) -> int:
        """Bytes of its resident memory."""
        match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert match is not None
        return int(match.group(1)) << 10


def start(folders: dict[str, Path], *options: str) -> RunningServer:
    """A server on any free port, ready."""
    log = next(iter(folders.values())).parent / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as stream:
        words = [*("-m", "seqkit", "serve"), *map(str, folders.values()), *("--port", "0"), *options]
        process = subprocess.Popen([sys.executable, *words], stderr=stream)
    while not (match := re.search(r"at (http://127\.0\.0\.1:(\d+))/", log.read_text())):
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    return RunningServer(match.group(1), int(match.group(2)), process, folders, log)


def stop(server: RunningServer) -> int:
    """End it as a service manager does; returns its exit status."""
    server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(60)
    finally:
        server.process.kill()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("served")
    folders = {}
    for task, settings in TASKS.items():
        folders[task] = root / task
        words = ["run", task, "--quiet", "--out", str(folders[task])]
        for setting in [*settings, "expect={}"]:
            words += ["--set", setting]
        subprocess.run([sys.executable, "-m", "seqkit", *words], check=True, stdout=subprocess.DEVNULL)
    return folders


@pytest.fixture(scope="session")
def server(trained: dict[str, Path]) -> Iterator[RunningServer]:
    running = start(trained, "--body", "1")
    yield running
    assert stop(running) == 0
