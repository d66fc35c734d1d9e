"""Processes find each other, also after a restart, and notice that one of them has stopped."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as distributed

from seqkit.cli.run import _quiet_errors
from seqkit.errors import QuietExit, RunError, UsageError
from seqkit.runtime import heartbeat
from seqkit.runtime.ranks import Ranks, joined
from seqkit.runtime.rendezvous import first_sentence, meet, remember_run, run_before_restart
from tests.helpers.together import free_port, outcomes


def connect(port: int = 0, *, keeps: bool = False) -> Any:
    return distributed.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", port, is_master=keeps, timeout=timedelta(seconds=10), wait_for_workers=False
    )


def meet_in_threads(port: int, size: int) -> list[Any]:
    """What `meet` gives to each of so many processes; the first one comes last."""
    parts: list[Any] = [None] * size

    def come(rank: int) -> None:
        parts[rank] = meet(connect(port), rank, size, seconds=10)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in reversed(range(size))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return parts


def test_processes_that_are_started_again_do_not_read_what_those_before_them_wrote() -> None:
    kept = connect(keeps=True)
    for attempt in range(3):
        parts = meet_in_threads(kept.port, 3)
        assert not any(part.check(["errors"]) for part in parts), attempt
        parts[0].set("errors", "1")
        assert all(part.check(["errors"]) for part in parts), "all have the same part of the store"


def test_a_process_whose_others_do_not_come_ends_with_a_sentence() -> None:
    kept = connect(keeps=True)
    with pytest.raises(RunError, match="process 0 of 2: the others have not come within 0 s"):
        meet(kept, 0, 2, seconds=0.2)


def test_a_restart_learns_the_folder_of_the_run_from_torchrun_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = connect(keeps=True)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(kept.port))
    remember_run(Path("/runs/a"))
    assert run_before_restart() is None, "without torchrun, nothing starts processes again"
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert run_before_restart() is None
    remember_run(Path("/runs/a"))
    assert run_before_restart() == Path("/runs/a")
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(UsageError, match="MASTER_PORT"):
        run_before_restart()


def test_a_process_that_stops_without_ending_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(heartbeat.VARIABLE, "4")
    said = tmp_path / "sentence"

    def run(ranks: Ranks) -> None:
        stopped = ranks.collect(os.getpid())[1]

        def tell(sentence: str) -> None:
            said.write_text(sentence)
            os.kill(stopped, signal.SIGKILL)  # nothing else would end it

        ranks.when_lost.append(tell)
        if ranks.rank == 1:
            os.kill(stopped, signal.SIGSTOP)
        ranks.wait()

    assert outcomes(2, run, seconds=60) == [(False, ("", "", ""))] * 2
    assert re.match(r"process 0 of 2: for [45] s nothing has come from process 1", said.read_text())
    assert "--resume" in said.read_text()


def test_a_process_of_this_machine_that_is_at_work_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(heartbeat.VARIABLE, "3")

    def run(ranks: Ranks) -> int:
        time.sleep(3.0)  # the others have learned where it is
        if ranks.rank == 1:
            ctypes.PyDLL(None).sleep(8)  # one long call that lets no other thread run
        ranks.wait()
        return ranks.rank

    assert outcomes(2, run, seconds=60) == [(True, 0), (True, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_whose_process_is_stopped_ends_within_30_seconds(rank: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "seqkit", "run", "sentiment", "--nproc", "2", "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as launcher:
        while not (tmp_path / "run" / "metrics.jsonl").exists():
            assert launcher.poll() is None
            time.sleep(0.2)
        os.kill(children_of(launcher.pid)[rank], signal.SIGSTOP)
        began = time.monotonic()
        output, _ = launcher.communicate(timeout=60)
        assert time.monotonic() - began < 30.0
    assert launcher.returncode == 1
    assert re.search("process . of 2: for 2. s nothing has come from", output)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, in the order of their start."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_the_process_that_is_chosen_tells_its_error_whatever_its_rank() -> None:
    def run(ranks: Ranks) -> None:
        if ranks.rank == 1:
            raise RunError("of its own")
        ranks.wait()

    def end(rank: int, port: int) -> str:
        os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        try:
            with _quiet_errors(rank), joined(uses_gpu=False) as ranks:
                run(ranks)
        except (RunError, QuietExit) as error:
            return type(error).__name__
        return ""

    port, ends = free_port(), []
    for rank in range(2):
        receiver, sender = os.pipe()
        if not os.fork():
            os.write(sender, end(rank, port).encode())
            os._exit(0)
        os.close(sender)
        ends.append(receiver)
    names = [os.read(receiver, 100).decode() for receiver in ends]
    for receiver in ends:
        os.close(receiver)
        os.wait()
    assert names == ["QuietExit", "RunError"]
    with pytest.raises(QuietExit), _quiet_errors(1):
        raise UsageError("a mistake that all find before they are connected")


def test_a_process_that_has_finished_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(heartbeat.VARIABLE, "3")

    def run(ranks: Ranks) -> int:
        if ranks.is_first:
            threading.Event().wait(6.0)  # writes the model, say
        return ranks.rank

    assert outcomes(2, run, seconds=60) == [(True, 0), (True, 1)]


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(heartbeat.VARIABLE, text)
    with pytest.raises(UsageError, match=heartbeat.VARIABLE):
        heartbeat.timeout_seconds()


def test_errors_are_told_without_places_in_the_source_of_torch() -> None:
    error = RuntimeError(
        "[/pytorch/third_party/gloo/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:250. Check it"
    )
    assert first_sentence(error) == "Connection closed by peer [127.0.0.1]:250"
