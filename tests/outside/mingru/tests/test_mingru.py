"""The scan equals the recurrence step by step, and the encoder keeps the contracts of `seqkit.testing`."""

from __future__ import annotations

import pytest
import torch
from seqkit.testing import EncoderConformance, TaskConformance
from torch import Tensor

from seqkit_mingru import MinGRU, scan
from seqkit_mingru.scan import step_by_step

LENGTHS = torch.tensor([7, 1, 4])


class TestMinGRU(EncoderConformance):
    encoder = "parallel-mingru"
    options = {"hidden": 8}


class TestDeep(EncoderConformance):
    encoder = "parallel-mingru"
    options = {"hidden": 6, "layers": 3, "residual": True, "layer_norm": True}


class TestTwoDirections(EncoderConformance):
    encoder = "parallel-mingru"
    options = {"hidden": 6, "layers": 2, "bidirectional": True}


class TestUnderALanguageModel(TaskConformance):
    task = "charlm"
    encoders = ({"use": "parallel-mingru", "hidden": 12}, {"use": "parallel-mingru", "hidden": 8, "layers": 2})


def gates(steps: int, rows: int = 3, width: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(steps)
    a, b = (torch.randn(steps, rows, width, generator=g, dtype=torch.float64) for _ in range(2))
    return a.sigmoid(), b, torch.randn(rows, width, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8, 13, 64, 100])
def test_the_scan_is_the_recurrence(steps: int) -> None:
    a, b, first = gates(steps)
    assert torch.allclose(scan(a, b, first), step_by_step(a, b, first), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 7, 16])
def test_the_gradient_of_the_scan_is_that_of_the_recurrence(steps: int) -> None:
    inputs = [tensor.requires_grad_() for tensor in gates(steps)]
    weights = torch.randn(steps, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = torch.autograd.grad((scan(*inputs) * weights).sum(), inputs)
    expected = torch.autograd.grad((step_by_step(*inputs) * weights).sum(), inputs)
    for one, two in zip(gradients, expected, strict=True):
        assert torch.allclose(one, two, rtol=1e-12, atol=1e-12)


def test_ten_thousand_steps_in_single_precision() -> None:
    """Products of the gates underflow after a few hundred steps, which must not make other steps wrong."""
    a, b, first = gates(10_000, rows=1, width=2)
    a = torch.where(a < 0.1, 0.0, a)  # a closed gate forgets everything
    states, expected = scan(a.float(), b.float(), first.float()), step_by_step(a, b, first)
    assert float((states - expected).abs().max()) < 1e-5


def encode_step_by_step(encoder: MinGRU, x: Tensor) -> Tensor:
    """(T, D) of one sequence without padding -> (T, H), by the paper's equations, step by step."""
    for layer, linear in enumerate(encoder.maps):
        outputs = []
        for direction in range(encoder.directions):
            h, steps = torch.zeros(encoder.hidden), []
            for t in range(len(x)) if direction == 0 else reversed(range(len(x))):
                gate, candidate = linear(x[t]).chunk(2)
                columns = slice(direction * encoder.hidden, (direction + 1) * encoder.hidden)
                z = torch.sigmoid(gate[columns])
                h = (1 - z) * h + z * candidate[columns]
                steps.append(h)
            outputs.append(torch.stack(steps if direction == 0 else steps[::-1]))
        y = torch.cat(outputs, dim=-1)
        y = y + x if encoder.residual and y.shape == x.shape else y
        x = y if encoder.norms is None else encoder.norms[layer](y)
    return x


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_ragged_batch_equals_each_sequence_alone(layers: int, residual: bool, bidirectional: bool) -> None:
    torch.manual_seed(1)
    encoder = MinGRU(
        5, hidden=4, layers=layers, bidirectional=bidirectional, residual=residual, layer_norm=residual
    ).eval()
    x = torch.randn(3, 7, 5)
    encoded = encoder(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = encode_step_by_step(encoder, x[row, :length])
        assert torch.allclose(encoded.steps[row, :length], expected, atol=1e-6)
        assert bool((encoded.steps[row, length:] == 0).all())
        assert torch.allclose(encoded.last[row, :4], expected[-1, :4], atol=1e-6)
        if bidirectional:
            assert torch.allclose(encoded.last[row, 4:], expected[0, 4:], atol=1e-6)


def test_padding_changes_no_bit() -> None:
    torch.manual_seed(2)
    encoder = MinGRU(5, hidden=4, layers=2, bidirectional=True).eval()
    x = torch.randn(3, 7, 5)
    short = encoder(x, LENGTHS)
    longer = torch.cat([x, torch.full((3, 30, 5), 1e6)], dim=1)
    longer[:, 7:][0, 0, 0] = torch.nan
    long = encoder(longer, LENGTHS)
    assert torch.equal(short.steps, long.steps[:, :7])
    assert torch.equal(short.last, long.last)
    for gradient in torch.autograd.grad(long.steps.sum(), list(encoder.parameters())):
        assert bool(gradient.isfinite().all())


def test_the_state_of_each_row_is_that_after_its_last_step() -> None:
    torch.manual_seed(3)
    encoder = MinGRU(5, hidden=4, layers=2).eval()
    x = torch.randn(3, 12, 5)
    uncut = encoder(x, LENGTHS + 5)
    first = encoder(x[:, :7], LENGTHS)
    assert first.state[0].shape == (3, 2, 4)
    rest = torch.stack([x[row, length : length + 5] for row, length in enumerate(LENGTHS.tolist())])
    second = encoder(rest, torch.full((3,), 5), first.state)
    assert torch.allclose(second.last, uncut.last, atol=1e-6)
    assert torch.allclose(second.state[0], uncut.state[0], atol=1e-6)


def test_a_state_that_cannot_be_carried_is_refused() -> None:
    x, lengths = torch.randn(2, 3, 5), torch.tensor([3, 2])
    both = MinGRU(5, hidden=4, bidirectional=True)
    with pytest.raises(ValueError, match="two directions"):
        both(x, lengths, both(x, lengths).state)
    with pytest.raises(ValueError, match=r"needs one of \(2, 1, 4\)"):
        MinGRU(5, hidden=4)(x, lengths, (torch.zeros(3, 1, 4),))


def test_dropout_is_for_training_only_and_can_be_locked() -> None:
    torch.manual_seed(4)
    encoder = MinGRU(5, hidden=50, output_dropout=0.5, locked=True)
    x, lengths = torch.randn(2, 6, 5), torch.tensor([6, 6])
    dropped = encoder(x, lengths).steps == 0
    assert 0.3 < float(dropped.float().mean()) < 0.7
    assert bool((dropped == dropped[:, :1]).all())
    encoder.locked = False
    dropped = encoder(x, lengths).steps == 0
    assert not bool((dropped == dropped[:, :1]).all())
    assert not bool((encoder.eval()(x, lengths).steps == 0).any())


def test_half_precision_is_summed_in_single_precision() -> None:
    torch.manual_seed(5)
    encoder = MinGRU(5, hidden=4).eval()
    x, lengths = torch.randn(2, 6, 5), torch.tensor([6, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = encoder(x, lengths)
    assert encoded.steps.dtype == torch.float32
    assert torch.allclose(encoded.steps, encoder(x, lengths).steps, atol=0.05)
