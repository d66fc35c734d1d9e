"""`stack_cells`: layers and directions around a cell, against torch's own module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit import State
from seqkit.nn import reverse_sequences, stack_cells


class Cell(nn.Module):
    """Torch's GRU of one layer as a cell."""

    states = 1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.state_width = 4
        self.gru = nn.GRU(width, 4)

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        y, _ = self.gru(x, None if first is None else first[0][None].contiguous())
        return y, (y,)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_computes_what_torchs_stacked_module_does(bidirectional: bool) -> None:
    torch.manual_seed(0)
    encoder: Any = stack_cells("mine", 3, Cell, hidden=4, layers=2, bidirectional=bidirectional).eval()
    reference = nn.GRU(3, 4, num_layers=2, bidirectional=bidirectional)
    names = [f"_l{layer}{suffix}" for layer in range(2) for suffix in ("", "_reverse")[: 1 + bidirectional]]
    for cell, name in zip(encoder.cells, names, strict=True):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(reference, kind + name).data = getattr(cell.gru, f"{kind}_l0").data
    x, lengths = torch.randn(3, 6, 3), torch.tensor([6, 2, 4])
    encoded = encoder(x, lengths)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, h = reference(packed)
    steps, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    torch.testing.assert_close(encoded.steps, steps)
    torch.testing.assert_close(encoded.state[0], h.transpose(0, 1))
    assert encoder.causal != bidirectional


def test_a_state_is_carried_on() -> None:
    torch.manual_seed(0)
    encoder = stack_cells("mine", 3, Cell, hidden=4, layers=2, residual=True, layer_norm=True).eval()
    x = torch.randn(2, 6, 3)
    all_steps = encoder(x, torch.tensor([6, 6])).steps
    first = encoder(x[:, :2], torch.tensor([2, 2]))
    second = encoder(x[:, 2:], torch.tensor([4, 4]), first.state)
    torch.testing.assert_close(torch.cat([first.steps, second.steps], dim=1), all_steps)


def test_sequences_are_reversed_within_their_lengths() -> None:
    x = torch.arange(8.0).view(4, 2, 1)
    assert reverse_sequences(x, torch.tensor([4, 2]))[..., 0].t().tolist() == [[6, 4, 2, 0], [3, 1, 5, 7]]
