"""Patches against slices of each sequence, counted from its end."""

from __future__ import annotations

import pytest
import torch

from seqkit.layers.patches import Patches

LENGTHS = torch.tensor([7, 3, 1, 6])


@pytest.mark.parametrize("patch", [1, 2, 3, 8])
def test_a_patch_is_a_linear_map_of_consecutive_steps(patch: int) -> None:
    layer = Patches(2, 5, patch)
    x = torch.randn(4, 7, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        steps, counts = layer(x, LENGTHS)
    assert counts.tolist() == [-(-length // patch) for length in LENGTHS.tolist()]
    for row, length in enumerate(LENGTHS.tolist()):
        sequence = x[row, :length]
        short = -length % patch
        padded = torch.cat([torch.zeros(short, 2), sequence]).reshape(-1, patch * 2)
        expected = padded @ layer.linear.weight.T + layer.linear.bias
        assert torch.allclose(steps[row, : counts[row]], expected, atol=1e-6)


def test_padding_and_its_content_do_not_matter() -> None:
    layer = Patches(1, 4, 3)
    x = torch.randn(4, 7, 1)
    more = torch.full((4, 12, 1), 1e6)
    more[:, :7] = torch.where((torch.arange(7)[None] < LENGTHS[:, None])[..., None], x, 1e6)
    with torch.no_grad():
        (steps, counts), (padded, _) = layer(x, LENGTHS), layer(more, LENGTHS)
    for row, count in enumerate(counts.tolist()):
        assert torch.equal(steps[row, :count], padded[row, :count])


def test_a_stream_has_no_patches() -> None:
    assert "counted from the end" in Patches(1, 4, 3).not_in_pieces
