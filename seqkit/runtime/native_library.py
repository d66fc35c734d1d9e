"""The optional C++ library (`seqkit/kernels/native.cpp`): compiled on first use, kept in the cache, and loaded.

The source includes none of torch's headers, so a build takes seconds and works with every version of torch. The file
is named by a hash of the source, the compiler flags and the processor. Importing this module imports no torch.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

from seqkit.io.cache import cache_folder, folder_from
from seqkit.regular_files import is_protected, open_regular

SOURCE = Path(__file__).parents[1] / "kernels" / "native.cpp"
STEP_SOURCE = SOURCE.with_name("native_step.cpp")
ALIGNMENTS_SOURCE = SOURCE.with_name("native_alignments.cpp")
BF16_SOURCE = SOURCE.with_name("native_bf16.cpp")
"""They include `native.cpp` and are libraries of their own, so that its code stays as it is, bit for bit."""
VARIABLE = "SEQKIT_KERNELS"
"""The environment variable that requests an implementation of recurrent layers: auto, padded, native or stepwise."""
DEFAULT = "auto"

BUILD_TIMEOUT = 120.0
"""Seconds."""

_VERSION = 7
"""What `seqkit_version` of a library that fits this module returns."""

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
    "seqkit_draw": (
        None,
        {"numbers": _POINTER, "of_step": _COUNT, "index": _POINTER, "inner": _COUNT, "time_first": _COUNT}
        | {"rows": _COUNT, "width": _COUNT, "call": _COUNT, "least": _COUNT, "scale": ctypes.c_double}
        | {"x": _POINTER, "out": _POINTER, "threads": _INT},
    ),
    "seqkit_threads_by": (None, {"run_parallel": _POINTER, "number": _POINTER, "size": _POINTER}),
}
"""Each function of native.cpp: the type of its result, and its parameters by name. A test compares them with it."""


STEP_FUNCTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "seqkit_step_pack": (
        None,
        {"input": _POINTER, "recurrent": _POINTER, "gates": _COUNT, "width": _COUNT, "hidden": _COUNT, "out": _POINTER},
    ),
    "seqkit_step_run": (
        _INT,
        {"asked": _POINTER, "layers": _COUNT, "sequences": _POINTER, "batch": _COUNT, "time": _COUNT}
        | {"x": _POINTER, "out": _POINTER, "threads": _INT},
    ),
}
"""The same for native_step.cpp."""

ALIGNMENT_FUNCTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "seqkit_alignment_row": (_COUNT, {"symbols": _COUNT}),
    "seqkit_alignment_sums": (_INT, {"asked": _POINTER, "threads": _INT, "alpha": _POINTER, "totals": _POINTER}),
    "seqkit_alignment_gradient": (
        _INT,
        {"asked": _POINTER, "threads": _INT} | dict.fromkeys(("alpha", "totals", "weights", "out"), _POINTER),
    ),
    "seqkit_search_texts": (
        _COUNT,
        {"log_probs": _POINTER, "steps": _COUNT, "classes": _COUNT, "beams": _COUNT}
        | dict.fromkeys(("texts", "counts", "totals"), _POINTER),
    ),
}
"""The same for native_alignments.cpp."""

BF16_FUNCTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "seqkit_bf16_units": (_INT, {"most": _INT}),
    "seqkit_bf16_run": (_INT, {"asked": _POINTER, "count": _COUNT, "threads": _INT, "back": _INT}),
}
"""The same for native_bf16.cpp."""


@dataclass(frozen=True, slots=True)
class NativeLibrary:
    """The native library, or the reason why there is none.

    Attributes:
        library: loaded and ready to be called; None if there is none.
        description: which library it is, or why there is none.
        key: a hash of what it was built from: equal keys give equal numbers. Empty if there is none.
    """

    library: ctypes.CDLL | None
    description: str
    key: str = ""


@lru_cache(maxsize=1)
def load_native() -> NativeLibrary:
    """The native library, built if necessary. Never raises: without it, torch's own layers run."""
    return _try_to_load(SOURCE, FUNCTIONS)


@lru_cache(maxsize=1)
def load_native_steps() -> NativeLibrary:
    """The native library for streams, built if necessary. Never raises."""
    return _try_to_load(STEP_SOURCE, STEP_FUNCTIONS)


@lru_cache(maxsize=1)
def load_native_alignments() -> NativeLibrary:
    """The native library for the loss and the search of `ctc`, built if necessary. Never raises."""
    return _try_to_load(ALIGNMENTS_SOURCE, ALIGNMENT_FUNCTIONS)


@lru_cache(maxsize=1)
def load_native_bf16() -> NativeLibrary:
    """The native library for recurrent layers in bf16, built if necessary. Never raises."""
    return _try_to_load(BF16_SOURCE, BF16_FUNCTIONS)


def _try_to_load(source: Path, functions: Mapping[str, tuple[Any, dict[str, Any]]]) -> NativeLibrary:
    try:
        return _build_and_load(source, functions)
    except Exception as error:  # a compiler and a loader can fail in any way
        return NativeLibrary(None, f"not there: {' '.join(str(error).split()) or type(error).__name__}")


def requested_by_environment() -> str:
    """The implementation of recurrent layers that the environment requests; it may be an unknown one."""
    return os.environ.get(VARIABLE) or DEFAULT


def implementation_key() -> str:
    """What the numbers of recurrent layers on a CPU depend on besides torch: equal keys give equal numbers."""
    request = requested_by_environment()
    if request not in ("auto", "native"):
        return request
    native = load_native()
    return f"native {native.key}" if native.library is not None else native.description


def library_folder() -> Path:
    """Where the library is kept: `$SEQKIT_NATIVE`, or `native` in the cache."""
    return folder_from("SEQKIT_NATIVE") or cache_folder() / "native"


def compiler_flags() -> list[str]:
    """The compiler's arguments. No flag may change the value of a sum or of a comparison with NaN."""
    tune = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    # For some processors (Zen 2 and 3, Alder Lake) GCC does not fuse products into sums where that makes a chain. Where
    # it does depends on the rows that a loop takes at once: the last bits of a sequence would depend on its batch.
    fused = "--param=avoid-fma-max-bits=0"
    return ["-std=c++17", "-O3", tune, fused, "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]


def library_key(source: bytes, arguments: Sequence[str]) -> str:
    """A hash of what the library is built from and for."""
    parts = [source, " ".join(arguments).encode(), platform.machine().encode(), _processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    """The processor's instruction sets: code compiled for one processor may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _build_and_load(source: Path, functions: Mapping[str, tuple[Any, dict[str, Any]]]) -> NativeLibrary:
    arguments = compiler_flags()
    content = SOURCE.read_bytes()
    key = library_key(content if source == SOURCE else content + source.read_bytes(), arguments)
    path = library_folder() / f"{key}.so"
    library_file = _open_protected(path)
    if library_file is None:
        compiler = os.environ.get("CXX") or next(
            (name for name in ("c++", "g++", "clang++") if shutil.which(name)), None
        )
        if compiler is None:
            return NativeLibrary(
                None, "not there: no C++ compiler (c++, g++ or clang++) is on PATH; torch's own are used"
            )
        build(compiler, arguments, path, source)
        library_file = _open_protected(path)
        if library_file is None:
            raise RuntimeError(f"{path} was removed as soon as it was made")
    with library_file:
        library: Any = _load(library_file, path)
    if library.seqkit_version() != _VERSION:
        return NativeLibrary(None, f"not there: {path} is of another version; delete it")
    declare_functions(library, {**FUNCTIONS, **functions})
    openmp = _openmp_functions()
    if openmp is not None:
        library.seqkit_threads_by(*openmp)
    single_thread = "" if openmp else ", on one thread: torch's OpenMP library was not found"
    return NativeLibrary(library, f"{path}, vectors of {32 * library.seqkit_lanes()} bits{single_thread}", key)


def declare_functions(library: Any, functions: Mapping[str, tuple[Any, dict[str, Any]]] = FUNCTIONS) -> None:
    """Give the functions of a loaded library their types, and parameters that a call can name."""
    for name, (result, parameters) in functions.items():
        prototype = ctypes.CFUNCTYPE(result, *parameters.values())
        setattr(library, name, prototype((name, library), tuple((1, parameter) for parameter in parameters)))


def build(compiler: str, arguments: Sequence[str], path: Path, source: Path | None = None) -> None:
    """Compile the source to `path`. The file appears only when it is complete.

    Raises:
        RuntimeError: the compiler failed; the message has its first error.
        OSError: the folder cannot be written to, or the compiler cannot be started.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as working:
        output = Path(working) / path.name
        command = [*compiler.split(), *arguments, str(source or SOURCE), "-o", str(output)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=BUILD_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{compiler} took longer than {BUILD_TIMEOUT:g} s") from None
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise RuntimeError(f"{compiler} failed: {errors[0] if errors else f'exit code {done.returncode}'}")
        output.chmod(0o500)
        os.replace(output, path)


def _open_protected(path: Path) -> BufferedReader | None:
    """The library, open, after a check that no other user could have put it there; None if there is none yet.

    It is opened once, without following a link, and what is checked is what was opened and is loaded: what a name
    stands for can change in between. Then nobody else can change the file either, whatever happens to its name.

    Raises:
        RuntimeError: the file or a folder above it belongs to another user, or others may write to it.
    """
    folder = path.parent
    if not folder.exists():
        _check_folders(folder)
        return None
    _check_folders(folder.resolve())
    if (owner := _unprotected(folder.stat())) is not None:
        raise RuntimeError(f"{folder} {owner}; delete it")
    try:
        file = open_regular(path, follow=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RuntimeError(f"{path} {error.strerror}; delete it") from None
    if (owner := _unprotected(os.fstat(file.fileno()))) is not None:
        file.close()
        raise RuntimeError(f"{path} {owner}; delete it")
    return file


def _load(file: BufferedReader, path: Path) -> ctypes.CDLL:
    """Load an open library. Where the system has no names for descriptors, by its path."""
    # The descriptor stays open: the loader knows libraries by name, and a later one must not get the same number.
    name = Path(f"/proc/self/fd/{os.dup(file.fileno())}")
    return ctypes.CDLL(str(name if name.exists() else path))


def _unprotected(status: os.stat_result) -> str | None:
    """Who else could have written code there; None: nobody."""
    return None if is_protected(status) else "belongs to another user, or others may write to it"


def _check_folders(folder: Path) -> None:
    """That no other user can rename the folders above this one. Those of all users, such as /tmp, have the sticky bit.

    Raises:
        RuntimeError: another user can.
    """
    for above in folder.parents:
        try:
            status = above.stat()
        except FileNotFoundError:
            continue
        is_sticky = bool(status.st_mode & stat.S_ISVTX) and status.st_uid in (os.geteuid(), 0)
        if not is_sticky and (owner := _unprotected(status)) is not None:
            advice = "name a folder of your own in SEQKIT_NATIVE"
            raise RuntimeError(f"{above}, which contains {folder.name}, {owner}; {advice}")


def _openmp_functions() -> tuple[int, int, int] | None:
    """Addresses of functions of the OpenMP library that torch has loaded: GOMP_parallel, omp_get_thread_num and
    omp_get_num_threads.

    None if there is no such library.
    """
    process = ctypes.CDLL(None)
    try:
        run_parallel, thread_number, team_size = (
            ctypes.cast(process[name], ctypes.c_void_p).value
            for name in ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        )
    except AttributeError:
        return None
    return (run_parallel, thread_number, team_size) if run_parallel and thread_number and team_size else None
