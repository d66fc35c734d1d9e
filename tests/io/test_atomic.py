"""Small files that are old or new, never in between; numbers that JSON lacks; sentences about full disks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqkit.io import atomic


def test_a_killed_writer_leaves_old_or_new(tmp_path: Path) -> None:
    """Killed at every system call of a small write: the old content or the new, never a part of either."""
    script = """
import os, sys
from pathlib import Path
from seqkit.io import atomic as durable
path = Path("status.json")
names = ["open", "write", "fsync", "replace", "close"]
real = {name: getattr(os, name) for name in names}
outcomes = []
for kill_at in range(1, 40):
    durable.write(path, "old")
    pid = os.fork()
    if pid == 0:
        count = 0
        def dying(name):
            def call(*a, **k):
                global count
                count += 1
                if count == kill_at:
                    os._exit(9)
                return real[name](*a, **k)
            return call
        for name in names:
            setattr(os, name, dying(name))
        durable.write(path, "new")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    outcomes.append(path.read_text())
    if status == 0:
        break
print(outcomes)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )
    outcomes = json.loads(done.stdout.replace("'", '"'))
    assert set(outcomes) == {"old", "new"}
    assert len(outcomes) >= 8, "each system call was tried"
    assert outcomes == sorted(outcomes, reverse=True), "old before the rename, new from then on"


def test_a_fault_leaves_the_old_content_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    for function in ("open", "write", "fsync", "replace"):
        atomic.write(path, "old")

        def fault(*args: Any, **kwargs: Any) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, function, fault)
            with pytest.raises(OSError, match="Input/output error"):
                atomic.write(path, "new")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


def test_a_system_that_takes_a_byte_at_a_time_still_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:1]))
    atomic.write(tmp_path / "a", "content")
    atomic.append(tmp_path / "a", " and more")
    assert (tmp_path / "a").read_text() == "content and more"


def test_links_are_replaced_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("untouched")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic link"):
        atomic.append(link, "x")
    with pytest.raises(FileExistsError):
        atomic.create(link, "x")
    atomic.write(link, "mine")
    assert not link.is_symlink()
    assert (link.read_text(), (tmp_path / "target").read_text()) == ("mine", "untouched")


def test_json_is_strict_and_any_text_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    atomic.write_json(path, {"a": [float("nan"), float("inf"), -float("inf"), 1.5], "b": "é\udc80", 3: (1,)})
    assert "NaN," not in path.read_text().replace('"NaN"', "")
    assert atomic.read_json(path) == {"a": ["NaN", "Infinity", "-Infinity", 1.5], "b": "é\udc80", "3": [1]}
    assert atomic.read_json(tmp_path / "absent") is None
    path.write_bytes(b"\xff{")
    assert atomic.read_json(path) is None


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (errno.ENOSPC, "disk full: need 1.5 GB, have 2.0 kB in /; keep calm"),
        (errno.EDQUOT, "disk full: need 1.5 GB, have 2.0 kB in /; keep calm"),
        (errno.EFBIG, "disk full: need 1.5 GB, have 2.0 kB in / (a file size limit is set: ulimit -f); keep calm"),
        (errno.EROFS, "cannot write in /: Read-only file system; keep calm"),
        (errno.EACCES, "cannot write in /: Permission denied; keep calm"),
    ],
)
def test_what_a_user_is_told(number: int, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "free_bytes", lambda folder: 2000)
    error = OSError(number, os.strerror(number))
    assert str(atomic.write_error(error, Path("/"), need=1_500_000_000, more="keep calm")) == wanted


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (2 * 10**13, "20.0 TB")]
)
def test_bytes_are_formatted_for_humans(size: int, shown: str) -> None:
    assert atomic.format_bytes(size) == shown
