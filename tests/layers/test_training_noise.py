"""What input layers draw in training depends on the example: not on what else is in its batch, or on padding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from seqkit_images.layers import Steps
from seqkit_strokes.layers import Points
from torch import nn

from seqkit.kernels import by_example
from seqkit.layers.embedding import Projection

LAYERS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "noise on vectors": (3, lambda: Projection(3, 4, noise=0.5)),
    "distorted drawings": (5, lambda: Points(4, distort=0.3, noise=0.1)),
    "deformed drawings": (5, lambda: Points(4, warp=0.3)),
    "moved strokes": (5, lambda: Points(4, shift=0.3)),
    "moved images": (6, lambda: Steps(6, 4, scale=1.0, shift=2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_an_example_gets_the_same_alone_and_among_others(name: str) -> None:
    width, make = LAYERS[name]
    torch.manual_seed(0)
    layer = make().train()
    x, lengths, numbers = torch.rand(4, 7, width), torch.tensor([7, 3, 5, 6]), torch.tensor([11, 5, 8, 2])
    x = x * (torch.arange(7)[None] < lengths[:, None])[..., None]

    def outputs(rows: list[int], step: int = 3) -> torch.Tensor:
        with by_example(1, step, numbers[rows]):
            longest = int(lengths[rows].max())
            steps, _ = layer(x[rows, :longest], lengths[rows])
            return steps.detach()

    together = outputs([0, 1, 2, 3])
    for rows in ([1], [3, 1], [2, 0]):
        for place, (row, steps) in enumerate(zip(rows, outputs(rows), strict=True)):
            length = int(lengths[row])
            torch.testing.assert_close(steps[:length], together[row, :length], rtol=0, atol=1e-6, msg=f"{rows} {place}")
    assert not torch.allclose(outputs([0, 1, 2, 3], step=4), together)
    layer.eval()
    assert not torch.allclose(outputs([0, 1, 2, 3]), together)
