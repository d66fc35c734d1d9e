"""`seqkit run --tensorboard`: a real server, which shows the run while it trains and ends with the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from seqkit.cli import tensorboard
from seqkit.errors import RunError


def is_alive(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def runs(address: str) -> list[str]:
    with urllib.request.urlopen(address.partition("?")[0] + "data/runs", timeout=5) as answer:
        names: list[str] = json.load(answer)
        return names


def wait_until_dead(address: str) -> bool:
    for _ in range(100):
        if not is_alive(address):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("ending", [None, signal.SIGKILL])
def test_tensorboard_lives_as_long_as_the_command(ending: signal.Signals | None, tmp_path: Path) -> None:
    steps = 20 if ending is None else 100_000
    words = [*("charlm", "--tensorboard", "--out", "runs/a b"), "--set", f"train.steps={steps}", "--set", "expect={}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "seqkit", "run", *words],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if match := re.search(r"TensorBoard: (http://127\.0\.0\.1:\d+/\?smoothing=0#timeseries)$", line):
            break
    else:
        pytest.fail("".join(lines))
    address = match.group(1)
    if ending is not None:
        for _ in range(600):  # TensorBoard looks for new files every five seconds
            if runs(address):
                break
            time.sleep(0.2)
        assert {name.split("/")[0] for name in runs(address)} == {"a b"}
        process.send_signal(ending)
    process.communicate(timeout=60)
    assert process.returncode == {None: 0, signal.SIGKILL: -9}[ending]
    assert wait_until_dead(address)


def test_a_tensorboard_that_does_not_start_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "_SERVER", "raise SystemExit('no port is free')")
    with pytest.raises(RunError, match="did not start: no port is free"), tensorboard.serve(tmp_path):
        pass


def test_the_command_is_quoted_for_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "my runs; rm -rf x" / "a"
    assert tensorboard.watch_command(folder) == f"tensorboard --logdir '{folder.parent}'"
    assert os.fspath(folder.parent) in tensorboard.watch_command(folder)
