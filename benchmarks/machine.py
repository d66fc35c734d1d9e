"""What a measurement ran on. Facts only."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "seqkit",
    "torch",
    "numpy",
    "pytorch-crf",
    "keras",
    "jax",
    "lightning",
    "flair",
    "ludwig",
    "joeynmt",
    "spacy",
    "tokenizers",
    "sentencepiece",
)


def facts(threads: int, command: str, pythons: Sequence[str] = ()) -> dict[str, Any]:
    """Processor, memory, versions and threads. `pythons`: this interpreter and those that peers run in."""
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": command,
        "threads": threads,
        "cores": len(os.sched_getaffinity(0)),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "vectors": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in _flags()],
        "memory_gib": round(int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "system": platform.platform(terse=True),
        "python": sys.version.split()[0],
        "packages": versions(),
        "peers": [_versions_of(python) for python in pythons if python != sys.executable],
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of the packages here that matter."""
    return {name: version for name in PACKAGES if (version := _version(name))}


def _versions_of(python: str) -> dict[str, str]:
    """The same in another interpreter's environment."""
    code = "import json; from benchmarks.machine import versions; print(json.dumps(versions()))"
    home = Path(__file__).parents[1]
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=home)
    packages: dict[str, str] = json.loads(done.stdout)
    return packages


def _flags() -> list[str]:
    return (_field("/proc/cpuinfo", "flags") or "").split()


def _field(path: str, name: str) -> str | None:
    try:
        match = re.search(rf"^{name}\s*:\s*(.+)$", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return match.group(1) if match else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
