"""What a measurement ran on. Facts only."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("seqkit", "torch", "numpy", "pytorch-crf", "keras", "jax", "lightning", "flair", "ludwig")


def facts(threads: int, command: str) -> dict[str, Any]:
    """Processor, memory, versions and threads."""
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": command,
        "threads": threads,
        "cores": len(os.sched_getaffinity(0)),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "vectors": [each for each in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if each in _flags()],
        "memory_gib": round(int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "system": platform.platform(terse=True),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
        "load": round(os.getloadavg()[0], 2),
    }


def _flags() -> list[str]:
    return (_field("/proc/cpuinfo", "flags") or "").split()


def _field(path: str, name: str) -> str | None:
    try:
        found = re.search(rf"^{name}\s*:\s*(.+)$", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found.group(1) if found else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
