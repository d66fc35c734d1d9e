"""Full disks, and folders that refuse writes or vanish during a run: one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sklearn.metrics  # noqa: F401  (under a limit on files, joblib warns when it is imported)

from seqkit.data.task_data import TaskData
from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.runs import checkpoint
from seqkit.runs.run_folder import Run
from seqkit.training import loop, step
from tests.helpers import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"))


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(atomic.TEMPORARY)]


@pytest.fixture
def no_larger_files() -> Iterator[Callable[[int], None]]:
    """Sets RLIMIT_FSIZE of this process, which makes writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object]) -> None:
    """Call `action` just before this step."""
    real, calls = step.forward_backward, [0]

    def counted(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            action()
        return real(*arguments)

    monkeypatch.setattr(loop, "forward_backward", counted)


def fail(run: Run, data: TaskData, hidden: int = 40) -> str:
    with pytest.raises(RunError) as caught, run:
        small.train(small.model(data, hidden=hidden), data, small.settings(), run)
    return str(caught.value)


def finish(run: Run, data: TaskData, hidden: int = 40) -> None:
    """Resume the run and train it to its end."""
    atomic.write_json(run.folder / "status.json", {"state": "failed"})  # as if this process had died
    again = Run.resume(run.folder)
    saved = checkpoint.newest(again.checkpoints)
    assert saved is not None
    again.rewind(checkpoint.step_of(saved))
    counters = small.train(small.model(data, hidden=hidden), data, small.settings(), again, saved=saved)
    assert counters.step == 12
    again.close()


@pytest.mark.parametrize("limit", [0, 100, 3_000, 20_000])
def test_a_limit_on_files_in_the_middle_of_a_run(
    limit: int, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_larger_files: Callable[[int], None]
) -> None:
    run = small.create_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: no_larger_files(limit))
        message = fail(run, data)
    no_larger_files(resource.RLIM_INFINITY)
    assert message.startswith("disk full: ")
    assert "have " in message
    assert "(a file size limit is set: ulimit -f)" in message
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    assert checkpoint.step_of(newest) == 3
    assert unfinished(run.folder) == []
    finish(run, data)
    assert unfinished(run.folder) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("file", ["checkpoints", "metrics.jsonl", "status.json", "tb"])
def test_a_disk_that_refuses_one_kind_of_file(
    number: int, file: str, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not apply to root, so the error of the system is raised by a patch."""
    run = small.create_run(tmp_path / "run")
    real = os.open
    refused = [False]

    def refusing(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        name = str(path)
        is_refused = f"/{file}" in name or (file == "status.json" and f"/run/{atomic.TEMPORARY}" in name)
        if refused[0] and is_refused and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(number, os.strerror(number))
        return real(path, flags, *rest, **more)

    def refuse() -> None:
        refused[0] = True
        run._heartbeat = -1000.0  # a heartbeat is due
        if file == "tb":
            run.board.close()  # the next point begins a new file

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        at_step(patch, 5, refuse)
        message = fail(run, data)
        refused[0] = False
    expected = "disk full: " if number in atomic.FULL else f"cannot write in {run.folder}"
    assert message.startswith(expected), message
    if number not in atomic.FULL:
        assert os.strerror(number) in message
    assert checkpoint.newest(run.checkpoints) is not None
    assert unfinished(run.folder) == []
    finish(run, data)


@pytest.mark.parametrize("name", ["run", "checkpoints", "tb"])
def test_a_folder_that_vanishes(name: str, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small.create_run(tmp_path / "run")
    deleted = {"run": run.folder, "checkpoints": run.checkpoints, "tb": run.tb}[name]
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: shutil.rmtree(deleted))
        message = fail(run, data)
    assert str(deleted) in message
    assert "is gone" in message
    assert name == "tb" or not deleted.exists(), "a deleted folder is not made again, half empty"


def test_status_says_why(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small.create_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: shutil.rmtree(run.checkpoints))
        fail(run, data)
    status = json.loads((run.folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert "is gone" in status["reason"]
