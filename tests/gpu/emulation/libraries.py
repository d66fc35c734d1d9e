"""The two libraries that stand in for CUDA's runtime and driver, and the environment of a process that uses them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def why_not() -> str:
    """Why there can be no emulated GPU here; empty if there can."""
    import torch

    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if compiler() is None:
        return "there is no C compiler"
    return ""


def compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def environment(folder: Path) -> dict[str, str]:
    """The variables of a process that is to see the emulated GPU; the libraries are built in this folder."""
    program = compiler()
    assert program is not None
    runtime, driver = folder / "runtime.so", folder / "libcuda.so.1"
    for source, library in ((HERE / "runtime.c", runtime), (HERE / "driver.c", driver)):
        if not library.exists():
            subprocess.run([program, "-shared", "-fPIC", "-w", "-o", library, source], check=True)
    root = HERE.parents[2]
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    # Triton reads its variable when it is imported. Its kernels are interpreted where seqkit asks for them.
    interpreted = {"TRITON_INTERPRET": "1"} if os.environ.get("SEQKIT_KERNELS", "auto") in ("auto", "triton") else {}
    return {
        **os.environ,
        **interpreted,
        "LD_PRELOAD": str(runtime),
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": paths,
    }
