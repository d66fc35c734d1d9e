"""The kernels compiled for sm_90, and how many bytes of registers each spills; prints JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from seqkit.kernels import triton_alignments, triton_chains, triton_draws, triton_recurrence
from seqkit.kernels.draws import TRITON_BLOCK
from seqkit.kernels.triton_engine import launch_options
from seqkit.kernels.triton_sums import MAX_CLASSES, MAX_POSITIONS, alignment_options, chain_options

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
OF_DRAWS = {"keys": "*i32", "count": "i64", "least": "i64", "scale": "fp32"}
INTEGERS = ("table", "active", "lengths", "counts", "texts", "paths")
SIZES = ("steps", "classes", "width", "by_time", "by_chain")


def signature_of(kernel: Any, numbers: str, of_weights: str) -> dict[str, str]:
    """The types of a kernel's arguments: tensors are of `numbers`, the recurrent matrix is of `of_weights`."""
    types = {}
    for name in kernel.arg_names:
        if name.isupper():
            types[name] = "constexpr"
        elif name.startswith("weights_"):
            types[name] = of_weights
        elif kernel is triton_draws.drop and name in OF_DRAWS:
            types[name] = OF_DRAWS[name]
        elif name in INTEGERS:
            types[name] = "*i64"
        elif name == "backpointers":
            types[name] = "*i32"
        elif name == "log_probs":
            types[name] = "*fp32"
        else:
            types[name] = "i32" if name.endswith("stride") or name in SIZES else numbers
    return types


def build(kernel: Any, options: dict[str, Any], *, numbers: str, of_weights: str = "") -> dict[str, Any]:
    """Registers and spilled bytes of a kernel."""
    options = dict(options)
    warps, stages = options.pop("num_warps"), options.pop("num_stages")
    by_place = {(kernel.arg_names.index(name),): value for name, value in options.items()}
    source = ASTSource(kernel, signature_of(kernel, numbers, of_weights), by_place)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "num_stages": stages}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(compiled.asm["ptx"])
        command = [PTXAS, "-v", "--gpu-name", "sm_90a", path, "-o", Path(folder) / "kernel.cubin"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = [int(number) for number in re.findall(r"(\d+) bytes spill", report)]
    registers = re.search(r"Used (\d+) registers", report)
    return {
        "kernel": kernel.__name__,
        "warps": warps,
        "registers": int(registers[1]) if registers else None,
        "spilled bytes": sum(spills),
        "shared bytes": compiled.metadata.shared,
    }


def recurrences() -> Iterator[dict[str, Any]]:
    """Of each cell, width, type and direction."""
    for kind in ("lstm", "gru"):
        for hidden, dtype in ((64, torch.float32), (64, torch.bfloat16), (128, torch.bfloat16)):
            options = {**launch_options(hidden), "FIRST_IS_REVERSE": False, "HAS_INITIAL": True, "PRECISION": "ieee"}
            for way in ("forward", "backward"):
                kernel = getattr(triton_recurrence, f"{kind}_{way}")
                size = {"hidden": hidden, "dtype": str(dtype).removeprefix("torch.")}
                yield size | build(kernel, options, numbers="*fp32", of_weights=TYPES[dtype])


def sums() -> Iterator[dict[str, Any]]:
    """Of chains of few and of as many states as there are kernels for, and of alignments of short and long texts."""
    for states in (9, 30, MAX_CLASSES):
        for name in ("chain_sums", "chain_ends", "chain_gradient", "chain_best_paths"):
            kernel = getattr(triton_chains, name)
            paths = {"HAS_PATHS": True} if "HAS_PATHS" in kernel.arg_names else {}
            yield {"states": states} | build(kernel, {**chain_options(states), **paths}, numbers="*fp64")
    for numbers in TYPES.values():
        options = {"BLOCK": TRITON_BLOCK, "num_warps": 4, "num_stages": 1}
        yield {"numbers": numbers} | build(triton_draws.drop, options, numbers=numbers)
    for width in (20, MAX_POSITIONS // 2 - 1):
        for name in ("alignment_sums", "alignment_shares"):
            kernel = getattr(triton_alignments, name)
            yield {"symbols": width} | build(kernel, alignment_options(width, 0), numbers="*fp64")


if __name__ == "__main__":
    rows = []
    for row in (*recurrences(), *sums()):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    print(json.dumps(rows))
