"""Large layers, whose units the threads share at every step: the same bits as with one thread that has them all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from seqkit.kernels.dispatch import SHARED_FROM, choose
from seqkit.kernels.engine import NUM_GATES, CellKind
from seqkit.kernels.native import native_pass
from seqkit.runtime.native_library import SOURCE
from tests.helpers.native import require_native
from tests.kernels.test_native_bf16 import both_passes, outputs

LENGTHS = torch.tensor([6, 1, 9, 4, 9, 2, 1, 7, 3, 3, 1, 2, 5, 3, 8, 1, 6, 6, 2, 4])
HIDDEN: dict[CellKind, int] = {"tanh": 645, "lstm": 322, "gru": 369}


def all_outputs(kind: CellKind, hidden: int, threads: int, dtype: torch.dtype, *, reverse: bool) -> list[Tensor]:
    """In one group, as `Dispatch` lays a batch out for such a layer."""
    return outputs(both_passes(native_pass, kind, hidden, LENGTHS, reverse=reverse, dtype=dtype, threads=threads))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", HIDDEN)
def test_a_share_of_the_units_gives_the_bits_of_all_of_them(kind: CellKind, reverse: bool) -> None:
    require_native()
    hidden = HIDDEN[kind]
    assert 4 * NUM_GATES[kind] * hidden**2 > SHARED_FROM
    alone = all_outputs(kind, hidden, 1, torch.float32, reverse=reverse)
    for threads in (2, 3, 7):
        for one, other in zip(alone, all_outputs(kind, hidden, threads, torch.float32, reverse=reverse), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("kind", HIDDEN)
def test_the_same_in_bf16(kind: CellKind) -> None:
    """With what this processor has; `test_native_bf16` compares that with what it may not have."""
    require_native()
    hidden = HIDDEN[kind] + (100 if kind != "tanh" else 0)
    assert 2 * NUM_GATES[kind] * hidden**2 > SHARED_FROM
    alone = all_outputs(kind, hidden, 1, torch.bfloat16, reverse=False)
    for one, other in zip(alone, all_outputs(kind, hidden, 2, torch.bfloat16, reverse=False), strict=True):
        assert torch.equal(one, other)


def test_native_code_and_the_layout_share_units_from_the_same_size_on() -> None:
    require_native()
    assert f"SHARED_FROM = {SHARED_FROM >> 10} << 10;" in SOURCE.read_text()
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for hidden, groups in ((221, 4), (222, 1)):  # 4 H H numbers of four bytes
            dispatch = choose(nn.LSTM(8, hidden), torch.device("cpu"), torch.float32)
            assert dispatch.group_count(64, 1) == groups
            assert dispatch.group_count(64, 4) == 1  # a thread for each direction: nothing is shared
            assert choose(nn.LSTM(8, hidden), torch.device("cpu"), torch.float64).group_count(64, 1) == 1
    finally:
        torch.set_num_threads(before)


SCRIPT = """
import sys, torch
from seqkit.kernels import has_native
from seqkit.encoders import lstm
from seqkit.nn import CRF
torch.manual_seed(1)
torch.set_num_threads(2)
assert has_native()
encoder = lstm(8, hidden=int(sys.argv[1]))
x = torch.randn(20, 9, 8, generator=torch.Generator().manual_seed(2))
steps = encoder(x, torch.arange(20) % 9 + 1).steps
steps.square().sum().backward()
crf = CRF(5, batch_first=True)
emissions = torch.randn(40, 7, 5, generator=torch.Generator().manual_seed(3))
loss = -crf(emissions, torch.ones(40, 7, dtype=torch.long))
loss.backward()
paths = crf.decode(emissions)
gradients = encoder.cells[0].weight_hh_l0.grad, crf.transitions.grad[0]
print(steps.detach().sum().item(), *(g.sum().item() for g in gradients), loss.item(), sum(map(sum, paths)))
"""


@pytest.mark.parametrize("hidden", [16, 322])
def test_a_system_that_gives_fewer_threads_than_asked_for_changes_nothing(hidden: int) -> None:
    """OpenMP may start fewer than asked for. Nobody waits for those that are not there, and no work is lost."""
    require_native()
    sums = []
    for limit in ("1", "4"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(hidden)],
            env={**os.environ, "OMP_THREAD_LIMIT": limit, "SEQKIT_KERNELS": "native"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        sums.append([float(number) for number in done.stdout.split()])
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)  # products of torch's have other last bits with other threads
