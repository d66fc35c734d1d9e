"""Requests to stop: the first signal is a flag, the second ends the process, and old handlers are restored."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from seqkit.errors import Interrupted
from seqkit.runs.interrupts import HANDLED, REPEAT_SECONDS, Interrupts


@pytest.fixture(autouse=True)
def _handlers_are_restored() -> Iterator[None]:
    before = [signal.getsignal(number) for number in HANDLED]
    yield
    assert [signal.getsignal(number) for number in HANDLED] == before


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)],
    ids=["int", "term", "usr1"],
)
def test_the_first_signal_is_only_a_flag(number: signal.Signals, code: int) -> None:
    with Interrupts(announce=False) as interrupts:
        assert not interrupts.requested
        assert interrupts.exit_code == 0
        interrupts.check()
        signal.raise_signal(number)
        assert interrupts.requested
        assert interrupts.signal is number
        assert interrupts.exit_code == code
        with pytest.raises(Interrupted) as raised:
            interrupts.check("stopped while reading")
    assert raised.value.exit_code == code
    assert "stopped while reading" in str(raised.value)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_the_process(second: signal.Signals, code: int) -> None:
    codes: list[int] = []
    with Interrupts(announce=False, leave=codes.append):
        signal.raise_signal(signal.SIGINT)
        assert codes == []
        time.sleep(REPEAT_SECONDS * 1.5)
        signal.raise_signal(second)
    assert codes == [code]


def test_another_signal_counts_immediately_but_a_repeat_does_not() -> None:
    codes: list[int] = []
    with Interrupts(announce=False, leave=codes.append):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # what `timeout` does: the process, then its group
        assert codes == []
        signal.raise_signal(signal.SIGINT)
    assert codes == [130]


def test_a_signal_that_another_process_has_told_of_may_still_come() -> None:
    codes: list[int] = []
    with Interrupts(announce=False, leave=codes.append) as interrupts:
        interrupts.share()
        for _ in range(2):  # a step, and the evaluation after it
            interrupts.agree(signal.SIGTERM)
        assert interrupts.requested
        time.sleep(REPEAT_SECONDS * 1.5)
        signal.raise_signal(signal.SIGTERM)
        assert codes == [], "it is the first that came to this process"
        time.sleep(REPEAT_SECONDS * 1.5)
        signal.raise_signal(signal.SIGTERM)
        assert codes == [143]


def test_at_the_start_the_first_signal_ends_the_process() -> None:
    codes: list[int] = []
    with Interrupts(at_once=True, announce=False, leave=codes.append) as outer:
        signal.raise_signal(signal.SIGUSR1)
        assert codes == [143]
        with Interrupts(announce=False, leave=codes.append) as inner:
            signal.raise_signal(signal.SIGTERM)
        assert inner.requested
        assert codes == [143]
        signal.raise_signal(signal.SIGINT)
    assert codes == [143, 130]
    assert not outer.requested


def test_old_handlers_are_restored_even_after_an_error() -> None:
    def handler(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with contextlib.suppress(ZeroDivisionError), Interrupts(announce=False):
            assert signal.getsignal(signal.SIGUSR1) is not handler
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_twice_at_the_same_time_is_refused() -> None:
    with Interrupts(announce=False) as interrupts, pytest.raises(RuntimeError, match="already in use"):
        interrupts.__enter__()


def test_outside_the_main_thread_nothing_is_installed() -> None:
    unchanged: list[bool] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with Interrupts() as interrupts:
            unchanged.append(signal.getsignal(signal.SIGTERM) is before and not interrupts.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert unchanged == [True]


LOOP = """
import sys, time
from seqkit.runs.interrupts import Interrupts
with Interrupts() as interrupts:
    print("ready", flush=True)
    while not (interrupts.requested and sys.argv[1] == "polls"):
        time.sleep(0.005)
    print("saved", flush=True)
sys.exit(interrupts.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"])
@pytest.mark.parametrize("manner", ["polls", "busy"])
def test_a_real_process_exits_with_the_right_code(number: signal.Signals, code: int, manner: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", LOOP, manner], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    os.kill(child.pid, number)
    if manner == "busy":  # a loop that never polls: the second signal ends it
        time.sleep(REPEAT_SECONDS * 2)
        os.kill(child.pid, number)
    out, err = child.communicate(timeout=10)
    assert child.returncode == code
    assert out == ("saved\n" if manner == "polls" else "")
    assert f"{number.name}: stopping after this step" in err
