"""Recurrent layers in bf16 on a CPU with instructions for it, beside ours in fp32 and torch's in bf16."""

from __future__ import annotations

import os
from collections.abc import Callable

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups import kernels

ALL_HIDDEN = (128, 256, 512)


def in_bf16(make: Callable[[str, int, bool], Prepared], cell: str, hidden: int) -> Prepared:
    """The same work under autocast.

    Raises:
        RuntimeError: this processor has no instructions for bf16.
    """
    import torch

    from seqkit.kernels import describe_bf16, has_bf16_recurrence

    if not has_bf16_recurrence():
        raise RuntimeError(f"nothing to compare: recurrent layers run in {describe_bf16()}")
    prepared = make(cell, hidden, False)

    def run() -> float | None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return prepared.run()

    def outputs() -> dict[str, object]:
        assert prepared.outputs is not None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return dict(prepared.outputs())

    return Prepared(run, outputs, prepared.notes)


def native(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    """Our own layers, also for an LSTM, for which torch's are chosen otherwise."""
    os.environ["SEQKIT_KERNELS"] = "native"
    return kernels.seqkit(cell, hidden, bidirectional)


def seqkit(cell: str, hidden: int) -> Prepared:
    return in_bf16(native, cell, hidden)


def single(cell: str, hidden: int) -> Prepared:
    return native(cell, hidden, False)


def padded(cell: str, hidden: int) -> Prepared:
    return in_bf16(kernels.padded, cell, hidden)


HERE = __name__
GROUP = Group(
    "bf16",
    "The layers of the group kernels, one way, under autocast in bf16: for processors with AVX512_BF16 or AMX.",
    [
        Case(f"{cell} H{hidden}", {"cell": cell, "hidden": hidden}, quick=hidden == 128)
        for cell in ("LSTM", "GRU", "Elman")
        for hidden in ALL_HIDDEN
    ],
    [
        Contender("seqkit bf16", f"{HERE}:seqkit"),
        Contender("seqkit fp32", f"{HERE}:single"),
        Contender("torch padded bf16", f"{HERE}:padded"),
    ],
    [
        *(
            Target(f"{cell} layer in bf16, H {hidden}", f"{cell} H{hidden}", other, goal, aim)
            for cell in ("LSTM", "GRU")
            for hidden in (256, 512)
            for other, goal, aim in (("seqkit fp32", 1.6, 2.5), ("torch padded bf16", 2, 3))
        )
    ],
    tolerance=5e-2,
)
