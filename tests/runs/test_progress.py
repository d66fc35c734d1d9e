"""Progress: plain lines without a terminal, a bar on one, nothing if quiet."""

from __future__ import annotations

import io
import os
import pty
import re
import select
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from seqkit.runs.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_come_every_ten_seconds_with_speed_and_remaining_time() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress(stream=out, clock=clock) as progress:
        for step in range(1, 101):
            clock.now += 0.5  # two steps a second
            progress.update(step, 100, tokens=1000, epoch=1 + step // 50)
            if step == 30:
                progress.note({"charlm/train/nats": 1.23456})
    lines = out.getvalue().splitlines()
    assert len(lines) == 5, lines
    assert lines[0] == "step 21/100 (21%)  epoch 1  2.0k tokens/s  eta 0:40"
    assert lines[1] == "step 41/100 (41%)  epoch 1  charlm/train/nats 1.235  2.0k tokens/s  eta 0:30"
    # The last state is always printed.
    assert lines[-1] == "step 100/100 (100%)  epoch 3  charlm/train/nats 1.235  2.0k tokens/s"


def test_speed_is_that_of_the_recent_past() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress(1000, stream=out, clock=clock) as progress:
        for step in range(1, 201):
            clock.now += 1.0 if step <= 100 else 0.1  # ten times faster from here on
            progress.update(step, tokens=10)
            if step == 100:
                assert "10 tokens/s" in out.getvalue()
        for step in range(201, 1000):
            clock.now += 0.1
            progress.update(step, tokens=10)
    assert "100 tokens/s" in out.getvalue().splitlines()[-1]


def test_the_time_of_evaluations_is_not_that_of_training() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress(100, stream=out, clock=clock) as progress:
        for step in range(1, 41):
            clock.now += 0.5
            progress.update(step, tokens=1000)
            if step % 20 == 0:
                with progress.paused():
                    clock.now += 30.0
    last = out.getvalue().splitlines()[-1]
    assert "2.0k tokens/s" in last, "as fast as without evaluations"
    assert "eta" in last
    seconds = float(last.rpartition("eta ")[2].split(":")[0]) * 60
    assert seconds > 60, "which the remaining time contains"


def test_quiet_prints_nothing() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress(quiet=True, stream=out, clock=clock) as progress:
        for step in range(50):
            clock.now += 5
            progress.stage("reading train", step)
            progress.update(step, 50)
            progress.say("a line")
    assert out.getvalue() == ""


def test_a_short_stage_prints_nothing_and_a_long_one_its_end() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress(stream=out, clock=clock) as progress:
        progress.stage("reading dev", 10, 10)
        for count in range(26):
            clock.now += 1
            progress.stage("reading train", count * 1000)
        progress.update(0, 5)
        progress.say("a line")
    assert out.getvalue().splitlines() == [
        "reading train 10,000",
        "reading train 20,000",
        "reading train 25,000",
        "a line",
        "step 0/5 (0%)",
    ]


def test_nothing_from_data_moves_the_cursor() -> None:
    out = io.StringIO()
    with Progress(stream=out) as progress:
        progress.say("a\x1b[2Jb\rc\u2028d")
        progress.update(1, 2, label="x\x1b[31m\ny")
    assert out.getvalue().splitlines() == [r"a\u001b[2Jb\u000dc\u2028d", r"step 1/2 (50%)  label x\u001b[31m y"]
    assert "\x1b" not in out.getvalue()


def test_a_closed_pipe_does_not_end_the_run() -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", buffering=1)
    with Progress(stream=stream) as progress:
        progress.say("nobody reads this")
        progress.update(1, 2)
    with pytest.raises(BrokenPipeError):
        stream.close()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TextIO, int]]:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as stream:
        yield stream, reader
    os.close(reader)


def read(reader: int) -> str:
    text = b""
    while select.select([reader], [], [], 0.05)[0]:
        text += os.read(reader, 65536)
    return text.decode()


COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*3[0-9](?:;[0-9]+)*m")


def test_a_terminal_gets_a_bar_that_goes_away_and_lines_that_stay(terminal: tuple[TextIO, int]) -> None:
    stream, reader = terminal
    clock = Clock()
    with Progress(stream=stream, clock=clock) as progress:
        for step in range(1, 11):
            clock.now += 1
            progress.update(step, 10, tokens=500, epoch=1)
        progress.say("step 10  better [bold]than ever")
        output = read(reader)
    assert "step 5/10" in output
    assert "500 tokens/s" in output
    assert "eta 0:05" in output
    assert "━" in output
    assert COLOUR.search(output)
    assert "step 10  better [bold]than ever" in output
    assert "\x1b[?25h" in read(reader), "the cursor is output again"


FRAME = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    ("stage", "total"), [("", 128_400), ("reading train", 128_400), ("downloading a-recording-of-every-word.tar.gz", 9)]
)
def test_step_bar_and_time_left_fit_the_terminal(
    terminal: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch, columns: int, stage: str, total: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream, reader = terminal
    clock = Clock()
    done = total // 2
    with Progress(stream=stream, clock=clock) as progress:
        for step in range(done - 3, done + 1):
            clock.now += 9
            if stage:
                progress.stage(stage, step, total)
            else:
                progress.update(step, total, tokens=250_000, epoch=12)
                progress.note({"translation/train/nats": 1.2345678, "lr": 0.00123456, "grad/norm": 12.3456})
        frames = [line for line in re.split(r"[\r\n]", FRAME.sub("", read(reader))) if line.strip()]
    last = frames[-1]
    assert f" {done:,}/{total:,} " in last
    assert "━" in last
    assert re.search(r"eta [0-9:]+", last)
    assert max(map(len, frames)) <= columns
    assert stage[:5] in last
    if not stage:
        shown = [name in last for name in ("epoch 12", "nats 1.235", "lr 0.001235")]
        assert shown == [True, columns > 80, columns > 80], last


def test_no_color_is_obeyed(terminal: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream, reader = terminal
    with Progress(stream=stream) as progress:
        progress.update(1, 10)
        output = read(reader)
    assert "step 1/10" in output
    assert not COLOUR.search(output)


def test_a_dumb_terminal_gets_plain_lines(terminal: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream, reader = terminal
    with Progress(stream=stream) as progress:
        progress.update(1, 10)
    assert read(reader) == "step 1/10 (10%)\r\n"


def test_the_bar_is_not_drawn_at_every_step(terminal: tuple[TextIO, int]) -> None:
    stream, reader = terminal
    clock = Clock()
    with Progress(stream=stream, clock=clock) as progress:
        for step in range(1000):
            clock.now += 0.001
            progress.update(step, 1000)
        output = read(reader)
    assert 5 <= output.count("/1,000") <= 15


def test_importing_it_imports_neither_rich_nor_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, seqkit.runs.progress; print(sorted({'rich', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
