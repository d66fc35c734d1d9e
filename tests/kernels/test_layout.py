"""The layout of a batch without padding, in Python and in C++."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqkit.kernels.layout import SEQUENCES_PER_GROUP, lay_out, pad, unpad
from seqkit.kernels.native import native_layout

T = 7
RAGGED = [5, 1, 7, 3, 7, 0, 2, 1, 6, 4, 4, 1, 2, 5, 3, 7, 1]


@pytest.mark.parametrize("make_layout", [lay_out, native_layout])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("lengths", [[3], [1, 1], RAGGED, [4] * 40, [0, 0, 2], [0], []])
def test_rows_are_the_real_steps_each_once(lengths: list[int], threads: int, make_layout: Any) -> None:
    layout = make_layout(torch.tensor(lengths, dtype=torch.int64), T, threads=threads)
    real_steps = [sequence * T + t for sequence, length in enumerate(lengths) for t in range(length)]
    assert sorted(layout.flat_index.tolist()) == real_steps
    assert sorted(layout.order.tolist()) == list(range(len(lengths)))
    assert [int(layout.order[k]) for k in layout.position] == list(range(len(lengths)))
    for sequence, length in enumerate(lengths):
        first, last = int(layout.first_row[sequence]), int(layout.last_row[sequence])
        if length:
            assert int(layout.flat_index[first]) == sequence * T
            assert int(layout.flat_index[last]) == sequence * T + length - 1
        else:
            assert (first, last) == (0, 0)
            assert layout.is_empty is not None
            assert bool(layout.is_empty[sequence])


@pytest.mark.parametrize("make_layout", [lay_out, native_layout])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("lengths", [[3], [1, 1], RAGGED, [4] * 40, [0, 0, 2], [0], []])
def test_a_step_of_a_group_is_one_block_of_rows_longest_sequence_first(
    lengths: list[int], threads: int, make_layout: Any
) -> None:
    layout = make_layout(torch.tensor(lengths, dtype=torch.int64), T, threads=threads)
    assert layout.group_table.shape == (max(1, min(threads, len(lengths) // SEQUENCES_PER_GROUP)), 4)
    row = position = 0
    for group, (first_row, first_sequence, sequences, steps) in zip(
        layout.groups, layout.group_table.tolist(), strict=True
    ):
        assert (group.first_row, group.first_sequence) == (first_row, first_sequence) == (row, position)
        assert len(group.active) == steps
        assert list(group.active) == sorted(group.active, reverse=True)
        assert all(group.active)
        position += sequences
        for t, active in enumerate(group.active):
            members = layout.order[first_sequence : first_sequence + active].tolist()
            assert layout.flat_index[row : row + active].tolist() == [member * T + t for member in members]
            assert [lengths[k] for k in members] == sorted((lengths[k] for k in members), reverse=True)
            row += active
    assert (row, position) == (sum(lengths), len(lengths))


@pytest.mark.parametrize("make_layout", [lay_out, native_layout])
@pytest.mark.parametrize("lengths", [[3, -1], [8, 2]])
def test_lengths_out_of_range_are_refused(lengths: list[int], make_layout: Any) -> None:
    with pytest.raises(ValueError, match="lengths must be from 0 to 7"):
        make_layout(torch.tensor(lengths), T)


def test_pad_is_the_inverse_of_unpad() -> None:
    layout = lay_out(torch.tensor([2, 3]), 4)
    block = torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9)).requires_grad_()
    padded = pad(unpad(block, layout.flat_index), layout.flat_index, 8)
    real = torch.tensor([0, 1, 4, 5, 6])
    assert torch.equal(padded[real], block[real])
    assert not padded[torch.tensor([2, 3, 7])].any()
    assert torch.autograd.gradcheck(
        lambda tensor: pad(unpad(tensor, layout.flat_index), layout.flat_index, 8), (block,)
    )
