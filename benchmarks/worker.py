"""One contender in its own process: prepares cases and runs rounds as it is told on stdin, a JSON line each.

`python -m benchmarks.worker GROUP CONTENDER`. Whatever libraries print goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.frame import Prepared, load_group


def main(group: str, contender: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    contender_spec = next(candidate for candidate in load_group(group).contenders if candidate.name == contender)
    prepared: Prepared | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                prepared = None
                gc.collect()
                forget_peak()
                prepared = contender_spec.load()(**request["options"])
                answer: dict[str, Any] = {"notes": dict(prepared.notes)}
            else:
                assert prepared is not None
                answer = obey(request, prepared)
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


def obey(request: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    if request["do"] == "compute":
        if prepared.outputs is None:
            return {"saved": False}
        import numpy

        numpy.savez(request["path"], **prepared.outputs())
        return {"saved": True}
    gc.collect()
    start = time.perf_counter()
    seconds = prepared.run()
    elapsed = time.perf_counter() - start
    return {"seconds": elapsed if seconds is None else seconds, "peak_mib": peak()}


def forget_peak() -> None:
    """The kernel's own high-water mark of this process begins anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float | None:
    """Most memory this process has had since, or a process that it ran has ever had, in MiB."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return max(int(line.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
