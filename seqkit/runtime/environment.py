"""The environment of a run: Python, packages, processor, torch, GPU, and the git commit of the code. No secrets."""

from __future__ import annotations

import email
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from seqkit.io.redact import scrub
from seqkit.runtime import native_library
from seqkit.runtime.machine import usable_cores
from seqkit.types import JSON

VARIABLES = (
    *("SEQKIT_DATA", "SEQKIT_CACHE", "SEQKIT_PLUGINS", "SEQKIT_FAULT", "SEQKIT_RAISE_PLUGIN_ERRORS"),
    native_library.VARIABLE,
    *("OMP_NUM_THREADS", "OMP_PROC_BIND", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "KMP_AFFINITY", "KMP_BLOCKTIME"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "PYTHONHASHSEED", "LANG", "LC_ALL", "TZ"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_JOB_ID"),
)
"""The only environment variables that are ever recorded: those that can change a number, and where a job ran."""


def environment() -> dict[str, JSON]:
    """Everything that a result may depend on, beside the recipe and the data."""
    return {
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": usable_cores(),
        "packages": packages(),
        "variables": {name: scrub(os.environ[name]) for name in VARIABLES if name in os.environ},
        "torch": _torch(),
    }


def facts_that_differ(
    before: Mapping[str, JSON], now: Mapping[str, JSON], prefix: str = ""
) -> Iterator[tuple[str, JSON, JSON]]:
    """(name, value before, value now) of each fact that has changed, such as `("torch.threads", 2, 1)`."""
    for key in sorted({*before, *now}):
        old, new, name = before.get(key), now.get(key), f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from facts_that_differ(old, new, f"{name}.")
        elif old != new:
            yield name, old, new


def differences(before: Mapping[str, JSON], now: Mapping[str, JSON]) -> list[str]:
    """`torch.threads: 2 -> 1` for each fact that has changed."""
    return [f"{name}: {old} -> {new}" for name, old, new in facts_that_differ(before, now)]


def packages(name: str = "seqkit") -> dict[str, str]:
    """Versions of the installed distributions that `name` needs, directly (extras included) or through others."""
    return dict(_packages(name, tuple(_path_state())))


def _path_state() -> Iterator[tuple[str, int]]:
    """(folder, time of its last change) of what Python imports from: installing or removing anything changes it."""
    for folder in sys.path:
        try:
            yield folder, os.stat(folder or ".").st_mtime_ns
        except OSError:  # a folder on the path need not be there
            yield folder, 0


@lru_cache(maxsize=8)
def _packages(name: str, path_state: tuple[tuple[str, int], ...]) -> dict[str, str]:
    """A run asks twice, and each answer reads the metadata of all distributions that torch and others need.

    Args:
        path_state: only part of the key, so that an answer is forgotten when anything is installed.
    """
    versions: dict[str, str] = {}
    pending = [(name, True)]
    while pending:
        current, with_extras = pending.pop()
        if current in versions:
            continue
        try:
            distribution = metadata.distribution(current)
        except metadata.PackageNotFoundError:
            continue
        versions[current], requires = _version_and_requirements(distribution)
        for line in requires:
            requirement = re.match(r"[A-Za-z0-9][\w.-]*", line)
            extra = re.search(r"extra == [\"'](\w+)", line)
            if requirement and (extra is None or (with_extras and extra.group(1) != "dev")):
                pending.append((re.sub(r"[-_.]+", "-", requirement.group()).lower(), False))
    return dict(sorted(versions.items()))


def _version_and_requirements(distribution: metadata.Distribution) -> tuple[str, list[str]]:
    """Both from one reading, and without the description below the header, which is most of the file.

    The properties of `importlib.metadata` parse the file, with the description, each time.
    """
    text = distribution.read_text("METADATA")
    if not text:  # metadata of other forms
        return distribution.version, distribution.requires or []
    header = email.message_from_string(text.partition("\n\n")[0])
    return header["Version"], header.get_all("Requires-Dist", [])


def _processor() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1) if match else platform.processor()


def _torch() -> dict[str, JSON]:
    import torch

    facts: dict[str, JSON] = {
        "version": str(torch.__version__),
        "git": torch.version.git_version,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gpus": [],
        "recurrence": native_library.implementation_key(),
    }
    if torch.cuda.is_available():
        facts["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            facts["gpus"].append(
                {"name": gpu.name, "capability": f"{gpu.major}.{gpu.minor}", "memory": gpu.total_memory}
            )
    return facts


def git(folder: Path | None = None) -> dict[str, JSON] | None:
    """`{"commit": ..., "dirty": ...}` of the git checkout around `folder` (default: the working directory), or None.

    The configuration of a downloaded checkout can name programs that git would run. So file system monitors are
    switched off, and where a checkout defines content filters of its own, nothing is compared and `dirty` is None.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None or not re.fullmatch(r"[0-9a-f]{40,64}", commit.strip()):
        return None
    dirty = None
    if not (_git(folder, "config", "--local", "--includes", "--get-regexp", r"^filter\.") or "").strip():
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
        dirty = None if changes is None else bool(changes.strip())
    return {"commit": commit.strip(), "dirty": dirty}


def _git(folder: Path | None, *arguments: str) -> str | None:
    """The output of git, or None if there is no git, no checkout, or no answer within ten seconds."""
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "--no-pager", *safe, *arguments],
            cwd=folder,
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
