"""The part of seqkit that is C++: built on first use where there is a compiler, kept in the cache, needed by nobody.

Nothing of torch's is compiled in, so that a build takes seconds and serves every version of torch. What is built
depends on the source, the flags and the processor, and its name says so. Importing this imports no torch.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from seqkit.io.cache import cache_folder

SOURCE = Path(__file__).parents[1] / "kernels" / "native.cpp"
VARIABLE = "SEQKIT_KERNELS"
"""The environment variable that says what recurrent layers run on: auto, padded, native or stepwise."""
DEFAULT = "auto"

PATIENCE = 120.0
"""Seconds that a build may take."""

_VERSION = 5

_POINTER, _COUNT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int

FUNCTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "seqkit_run": (
        _INT,
        {"asked": _POINTER, "count": _COUNT, "threads": _INT, "wide": _INT, "back": _INT},
    ),
    "seqkit_lay_out": (
        _COUNT,
        {"lengths": _POINTER, "batch": _COUNT, "steps": _COUNT, "groups": _COUNT, "out": _POINTER},
    ),
    "seqkit_best_paths": (
        _INT,
        {"emissions": _POINTER, "by_time": _COUNT, "by_chain": _COUNT, "transitions": _POINTER, "start": _POINTER}
        | {"end": _POINTER, "lengths": _POINTER, "steps": _COUNT, "batch": _COUNT, "classes": _COUNT}
        | {"threads": _INT, "states": _POINTER, "scores": _POINTER},
    ),
    "seqkit_chain_sums": (
        _INT,
        {"asked": _POINTER, "threads": _INT} | dict.fromkeys(("before", "after", "total", "scores"), _POINTER),
    ),
    "seqkit_chain_gradient": (
        _INT,
        {"asked": _POINTER, "threads": _INT}
        | dict.fromkeys(("before", "total", "weight", "shares", "moved", "first", "last"), _POINTER),
    ),
    "seqkit_threads_by": (None, {"run_parallel": _POINTER, "number": _POINTER}),
}
"""For each function of native.cpp its result and its parameters, by the names that they have there."""


@dataclass(frozen=True, slots=True)
class Native:
    """The native library, or why there is none.

    Attributes:
        library: it, ready to be called; None: there is none.
        said: which one it is, or why there is none, for a human.
        key: what it was made of, in short: the same key gives the same numbers. Empty if there is none.
    """

    library: ctypes.CDLL | None
    said: str
    key: str = ""


@lru_cache(maxsize=1)
def native() -> Native:
    """The native library, built if it has to be. Never raises."""
    try:
        return _native()
    except Exception as error:  # whatever a compiler or a loader may do, there is another way to the same numbers
        return Native(None, f"not there: {' '.join(str(error).split()) or type(error).__name__}")


def asked() -> str:
    """What the environment says recurrent layers are to run on."""
    return os.environ.get(VARIABLE) or DEFAULT


def fact() -> str:
    """What recurrent layers on a CPU depend on beside torch: the same words, the same numbers."""
    if asked() not in ("auto", "native"):
        return asked()
    found = native()
    return f"native {found.key}" if found.library is not None else found.said


def folder() -> Path:
    """`$SEQKIT_NATIVE`, or `native` in the cache: where what is built is kept."""
    own = os.environ.get("SEQKIT_NATIVE")
    return Path(own) if own else cache_folder() / "native"


def flags() -> list[str]:
    """How it is compiled. No flag lets the compiler change what a sum or a comparison with NaN means."""
    tune = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    return ["-std=c++17", "-O3", tune, "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]


def key_of(source: bytes, arguments: Sequence[str]) -> str:
    """What the library is made of, in short."""
    parts = [source, " ".join(arguments).encode(), platform.machine().encode(), _processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    """What the processor can do: code for one is not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _native() -> Native:
    arguments = flags()
    key = key_of(SOURCE.read_bytes(), arguments)
    path = folder() / f"{key}.so"
    if not path.exists():
        compiler = os.environ.get("CXX") or next(
            (name for name in ("c++", "g++", "clang++") if shutil.which(name)), None
        )
        if compiler is None:
            return Native(None, "not there: no C++ compiler (c++, g++ or clang++) is on PATH; torch's own are used")
        build(compiler, arguments, path)
    _check_owner(path)
    library: Any = ctypes.CDLL(str(path))
    if library.seqkit_version() != _VERSION:
        return Native(None, f"not there: {path} is of another version; delete it")
    declare_functions(library)
    threads = _openmp()
    if threads is not None:
        library.seqkit_threads_by(*threads)
    alone = "" if threads else ", on one thread: torch's own are not to be found"
    return Native(library, f"{path}, vectors of {32 * library.seqkit_lanes()} bits{alone}", key)


def declare_functions(library: Any) -> None:
    """Give the functions of a loaded library their types, and parameters that a call can name."""
    for name, (result, parameters) in FUNCTIONS.items():
        prototype = ctypes.CFUNCTYPE(result, *parameters.values())
        setattr(library, name, prototype((name, library), tuple((1, parameter) for parameter in parameters)))


def build(compiler: str, arguments: Sequence[str], path: Path) -> None:
    """Compile the source to `path`, which appears whole or not at all.

    Raises:
        RuntimeError: the compiler failed; the sentence ends with its last words.
        OSError: the cache cannot be written, or the compiler cannot be started.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as working:
        made = Path(working) / path.name
        command = [*compiler.split(), *arguments, str(SOURCE), "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{compiler} took longer than {PATIENCE:g} s") from None
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise RuntimeError(f"{compiler} failed: {errors[0] if errors else f'exit code {done.returncode}'}")
        made.chmod(0o500)
        os.replace(made, path)


def _check_owner(path: Path) -> None:
    """Code that another user could have put there is not loaded."""
    for place in (path, path.parent):
        found = place.stat()
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise RuntimeError(f"{place} belongs to another user, or others may write to it; delete it")


def _openmp() -> tuple[int, int] | None:
    """Two functions of the OpenMP library that torch has loaded: run a function on threads, and which thread am I."""
    loaded = ctypes.CDLL(None)
    try:
        run, number = (
            ctypes.cast(loaded[name], ctypes.c_void_p).value for name in ("GOMP_parallel", "omp_get_thread_num")
        )
    except AttributeError:
        return None
    return (run, number) if run and number else None
