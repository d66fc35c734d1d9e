"""The vector of a word's characters, one character at a time: the reference implementation of `seqkit.layers.words`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def recurrence(spelling: Any, letters: list[int]) -> Tensor:
    """(H,) of one word: an LSTM cell stepped over its letters, and another over them from the end."""
    outputs = []
    for cell, order in zip(spelling.cells, (letters, letters[::-1]), strict=True):
        hidden = memory = torch.zeros(cell.hidden_size, dtype=cell.weight_ih_l0.dtype)
        for letter in order:
            gates = cell.weight_ih_l0 @ spelling.letters.weight[letter] + cell.bias_ih_l0
            gates = gates + cell.weight_hh_l0 @ hidden + cell.bias_hh_l0
            i, f, g, o = gates.chunk(4)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * memory.tanh()
        outputs.append(hidden)
    return torch.cat(outputs)


def convolution(spelling: Any, letters: list[int]) -> Tensor:
    """(H,) of one word: each letter with its neighbours, nothing beyond the edges, and the largest value."""
    table = spelling.letters.weight
    nothing = torch.zeros_like(table[0])
    windows = []
    for position in range(len(letters)):
        window = [
            table[letters[i]] if 0 <= i < len(letters) else nothing for i in (position - 1, position, position + 1)
        ]
        windows.append(spelling.filters(torch.cat(window)))
    return torch.stack(windows).max(0).values.tanh()
