"""Recurrences in Triton against those in PyTorch, case by case; run by test_triton.py with TRITON_INTERPRET=1."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch import Tensor

from seqkit.kernels.engine import NUM_GATES, CellKind, DirectionPass
from seqkit.kernels.layout import Layout, lay_out
from seqkit.kernels.stepwise import stepwise_pass
from seqkit.kernels.triton_engine import triton_layout_threads, triton_pass


def passes_of(
    kind: CellKind, hidden: int, layout: Layout, directions: int, *, has_initial: bool, seed: int
) -> list[DirectionPass]:
    """Random tensors of each direction, those of the backward pass as well."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return 0.7 * torch.randn(shape, generator=generator)

    rows, batch, gates = layout.num_rows, layout.num_sequences, NUM_GATES[kind]
    h, memory, grad_h = (
        torch.zeros(rows, directions * hidden),
        torch.zeros(rows, directions * hidden),
        draw(rows, directions * hidden),
    )
    passes = []
    for d in range(directions):
        columns = slice(d * hidden, (d + 1) * hidden)
        initial = (draw(batch, hidden), draw(batch, hidden))[: 2 if kind == "lstm" else 1]
        passes.append(
            DirectionPass(
                kind=kind,
                reverse=d == 1,
                weights=draw(gates * hidden, hidden) * 0.5,
                bias=draw(hidden) if kind == "gru" else None,
                gates=draw(rows, gates * hidden),
                memory=memory[:, columns],
                h=h[:, columns],
                initial=initial if has_initial else None,
                grad_h=grad_h[:, columns],
                grad_gates=torch.zeros(rows, 4 * hidden),
                h_prev=torch.zeros(rows, hidden),
                grad_state=draw(batch, hidden) if kind == "lstm" else torch.zeros(batch, hidden),
            )
        )
    return passes


def tensors_of(run: DirectionPass) -> dict[str, Any]:
    names = ("gates", "memory", "h", "grad_gates", "h_prev", "grad_state")
    return {name: getattr(run, name) for name in names}


def compare(kind: CellKind, hidden: int, lengths: list[int], directions: int, *, has_initial: bool, seed: int) -> None:
    layout = lay_out(torch.tensor(lengths), max(lengths) + 1, threads=triton_layout_threads(len(lengths)))
    ours = passes_of(kind, hidden, layout, directions, has_initial=has_initial, seed=seed)
    theirs = copy.deepcopy(ours)
    # A copy of a slice is no slice of one tensor, which is what the strides are taken from.
    for backward in (False, True):
        stepwise_pass(theirs, layout, threads=1, backward=backward)
        triton_pass(ours, layout, threads=1, backward=backward)
        for one, other in zip(ours, theirs, strict=True):
            expected = tensors_of(other)
            for name, tensor in tensors_of(one).items():
                assert torch.allclose(tensor, expected[name], rtol=1e-4, atol=2e-5), (kind, hidden, lengths, name)


CASES = [
    ("lstm", 16, [5, 3, 1, 4], 2, True),
    ("lstm", 20, [4], 1, False),
    ("lstm", 32, [3, 1, 2, 2, 1, 3, 1, 1, 2, 1, 3, 2, 1, 1, 2, 2, 3, 1, 2], 1, True),
    ("gru", 16, [5, 3, 1, 4], 2, True),
    ("gru", 20, [4], 1, False),
    ("gru", 32, [3, 1, 2, 2, 1, 3, 1, 1, 2, 1, 3, 2, 1, 1, 2, 2, 3, 1, 2], 2, True),
]

if __name__ == "__main__":
    for seed, (kind, hidden, lengths, directions, has_initial) in enumerate(CASES):
        compare(kind, hidden, lengths, directions, has_initial=has_initial, seed=seed)
    sys.stdout.write(f"{len(CASES)} cases equal\n")
