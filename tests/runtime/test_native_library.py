"""Building and loading the native library."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqkit.runtime import native_library
from seqkit.runtime.native_library import load_native


@pytest.fixture
def _not_loaded() -> Iterator[None]:
    load_native.cache_clear()
    yield
    load_native.cache_clear()


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler on this machine")
def test_the_library_builds_where_there_is_a_compiler() -> None:
    """Tests of the library are skipped without it: a source that no longer compiles must not go unnoticed."""
    assert load_native().library is not None, load_native().description


@pytest.mark.usefixtures("_not_loaded")
def test_a_compiler_that_fails_leaves_no_library_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such thing' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("SEQKIT_NATIVE", str(tmp_path / "native"))
    monkeypatch.setenv("CXX", str(broken))
    assert load_native().library is None
    assert "no such thing" in load_native().description
    assert not list((tmp_path / "native").iterdir())


@pytest.mark.usefixtures("_not_loaded")
def test_code_that_others_may_write_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_NATIVE", str(tmp_path))
    key = native_library.library_key(native_library.SOURCE.read_bytes(), native_library.compiler_flags())
    path = tmp_path / f"{key}.so"
    path.write_bytes(b"no library")
    path.chmod(0o666)
    assert "others may write" in load_native().description
    path.chmod(0o600)
    load_native.cache_clear()
    assert load_native().library is None, "a file that is not a library is not an error either"


def test_the_key_depends_on_the_source_and_the_flags() -> None:
    key = native_library.library_key(b"source", ["-O3"])
    assert key == native_library.library_key(b"source", ["-O3"])
    others = {native_library.library_key(b"source ", ["-O3"]), native_library.library_key(b"source", ["-O2"])}
    assert len({key, *others}) == 3
