"""The kernels compiled for sm_90, and how many bytes of registers each spills; prints JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from seqkit.kernels import triton_recurrence
from seqkit.kernels.triton_engine import launch_options

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


def signature_of(kernel: Any, dtype: torch.dtype) -> dict[str, str]:
    """The types of a kernel's arguments."""
    types = {}
    for name in kernel.arg_names:
        if name.isupper() or name in ("FIRST_IS_REVERSE",):
            types[name] = "constexpr"
        elif name.startswith("weights"):
            types[name] = TYPES[dtype]
        elif name in ("table", "active"):
            types[name] = "*i64"
        else:
            types[name] = "i32" if name.endswith("stride") else "*fp32"
    return types


def build(kind: Any, hidden: int, dtype: torch.dtype, *, backward: bool) -> dict[str, Any]:
    """Registers and spilled bytes of a kernel."""
    kernel = getattr(triton_recurrence, f"{kind}_{'backward' if backward else 'forward'}")
    options = launch_options(hidden)
    warps, stages = options.pop("num_warps"), options.pop("num_stages")
    constants = {**options, "FIRST_IS_REVERSE": False, "HAS_INITIAL": True, "PRECISION": "ieee"}
    by_place = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature_of(kernel, dtype), by_place)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "num_stages": stages}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(compiled.asm["ptx"])
        command = [PTXAS, "-v", "--gpu-name", "sm_90a", path, "-o", Path(folder) / "kernel.cubin"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = [int(number) for number in re.findall(r"(\d+) bytes spill", said)]
    registers = re.search(r"Used (\d+) registers", said)
    facts = {"kernel": kernel.__name__, "hidden": hidden, "dtype": str(dtype).removeprefix("torch.")}
    return facts | {
        "warps": warps,
        "registers": int(registers[1]) if registers else None,
        "spilled bytes": sum(spills),
        "shared bytes": compiled.metadata.shared,
    }


if __name__ == "__main__":
    kinds = ("lstm", "gru")
    builds = [(64, torch.float32), (64, torch.bfloat16), (128, torch.bfloat16)]
    rows = []
    for kind in kinds:
        for hidden, dtype in builds:
            for backward in (False, True):
                rows.append(build(kind, hidden, dtype, backward=backward))
                print(rows[-1], file=sys.stderr, flush=True)
    print(json.dumps(rows))
