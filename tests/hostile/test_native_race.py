"""The native library in a folder that another user controls: what is loaded is what was checked."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from seqkit.runtime import native_library

STARTS = 2000
COMPILER = next((name for name in ("cc", "gcc", "clang", "c++", "g++") if shutil.which(name)), None)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library whose function `owner` returns 1, in a folder of its own."""
    if COMPILER is None:
        pytest.skip("no C compiler on PATH (cc, gcc, clang, c++ or g++) to build the two libraries")
    for name, number in (("own", 1), ("foreign", 2)):
        source = tmp_path / f"{name}.c"
        source.write_text(f"int owner(void) {{ return {number}; }}\n")
        (tmp_path / name).mkdir(mode=0o700)
        subprocess.run([COMPILER, "-shared", "-fPIC", str(source), "-o", str(tmp_path / name / "x.so")], check=True)
    return tmp_path / "own" / "x.so"


def opened(path: Path) -> str | int:
    """What the library in the file that was checked returns, or why it was refused."""
    try:
        file = native_library._open_protected(path)
    except RuntimeError as error:
        return str(error)
    if file is None:
        return "not there"
    with file:
        # Each load by a name of its own: the loader would give a library back that it knows by its name or inode.
        return b"".join(file).count(b"foreign marker")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_two_thousand_raced_starts_open_nothing_foreign(library: Path, tmp_path: Path) -> None:
    """Another user exchanges links and folders all the time; no start opens the file of that user."""
    foreign = tmp_path / "foreign" / "x.so"
    foreign.write_bytes(foreign.read_bytes() + b"foreign marker")
    for path in (foreign, foreign.parent):
        os.chown(path, 12345, 12345)
    # One round where the folder is exchanged, one where the file is.
    link, entry = tmp_path / "link", library.parent / "raced.so"
    link.symlink_to(library.parent)
    stop = threading.Event()

    def exchange() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for place, targets in ((link, (library.parent, foreign.parent)), (entry, (library, foreign))):
                unfinished = tmp_path / f"unfinished-{number % 2}"
                unfinished.unlink(missing_ok=True)
                if place is entry and number % 2:
                    shutil.copyfile(library, unfinished)
                    unfinished.chmod(0o500)
                else:
                    unfinished.symlink_to(targets[number % 2])
                os.replace(unfinished, place)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        time.sleep(0.05)
        results = [opened(path) for _ in range(STARTS // 2) for path in (link / "x.so", entry)]
    finally:
        stop.set()
        thread.join()
    assert len(results) == STARTS
    assert results.count(1) == 0, "a foreign library was opened"
    assert results.count(0) > 10, "the control: some starts find the library of this user"
    assert any(isinstance(result, str) for result in results), "the control: some starts meet the exchange"


def test_what_is_loaded_is_what_was_opened(library: Path, tmp_path: Path) -> None:
    """The name is exchanged between the check and the loading."""
    file = native_library._open_protected(library)
    assert file is not None
    os.replace(tmp_path / "foreign" / "x.so", library)
    with file:
        loaded = native_library._load(file, library)
    assert loaded.owner() == 1
    assert ctypes.CDLL(str(library)).owner() == 2, "the control"


def test_a_link_is_not_followed(library: Path) -> None:
    link = library.parent / "link.so"
    link.symlink_to(library)
    assert "symbolic link" in str(opened(link))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_the_folders_above_are_checked(mode: int, library: Path, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "native").mkdir(parents=True, mode=0o700)
    shutil.copy(library, above / "native" / "x.so")
    assert opened(above / "native" / "x.so") == 0
    above.chmod(mode)
    assert "others may write" in str(opened(above / "native" / "x.so"))
    above.chmod(mode | 0o1000)
    assert opened(above / "native" / "x.so") == 0, "with the sticky bit nobody can rename what is not theirs"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_a_regular_file_is_loaded(kind: str, library: Path) -> None:
    library.unlink()
    if kind == "pipe":
        os.mkfifo(library)
    elif kind == "device":
        library.symlink_to("/dev/zero")
    else:
        library.mkdir()
    assert isinstance(opened(library), str)
