"""Random numbers by example: the same by every kernel, in every order of rows, and however a batch is put together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkit.kernels import RowOrder, by_example, draw_normal, draw_uniform, dropout, lay_out, real_steps, use
from tests.helpers.native import require_native

NUMBERS = torch.tensor([4, 0, 2**40 + 1, 99])


def mask(text: int, place: int, *, seed: int, step: int, call: int, at: int) -> int:
    """The 32 bits of one place, in Python's integers: the slow twin."""

    def mix(x: int) -> int:
        x %= 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    key = mix(mix(mix(seed * golden + 1) + step * golden) + text * golden)
    key = mix(key + ((call << 40) + at) * golden)
    low, high = key % 2**32, key >> 32
    x = (low + place * 0x9E3779B9) % 2**32
    x = ((x ^ (x >> 16)) * 0x7FEB352D % 2**32) ^ high
    x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
    return x ^ (x >> 16)


@pytest.mark.parametrize("kernels", ["native", "padded"])
def test_numbers_are_those_of_plain_integers(kernels: str) -> None:
    require_native()
    with use(kernels), by_example(2**63 - 1, 7, NUMBERS):  # type: ignore[arg-type]
        first = draw_uniform((4, 5))
        second = dropout(torch.ones(4, 3, 5), 0.25)
    for row, number in enumerate(NUMBERS.tolist()):
        for place in range(5):
            bits = mask(number, place, seed=2**63 - 1, step=7, call=0, at=0)
            assert float(first[row, place]) == (bits >> 8) * 2.0**-24
            for at in range(3):
                bits = mask(number, place, seed=2**63 - 1, step=7, call=1, at=at)
                kept = torch.tensor(1.0) / (1.0 - 0.25) if bits >= 2**30 else torch.tensor(0.0)
                assert torch.equal(second[row, at, place], kept)


def run(kernels: str, x: Tensor, share: float, order: RowOrder | None = None) -> tuple[Tensor, Tensor]:
    """The result of two calls, and the gradient of a sum of it."""
    x = x.detach().clone().requires_grad_()
    with use(kernels), by_example(5, 11, NUMBERS):  # type: ignore[arg-type]
        y = dropout(dropout(x, share, order), share, order)
    y.square().sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("share", [1e-9, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_and_number_types_agree(share: float, dtype: torch.dtype) -> None:
    require_native()
    x = torch.randn(4, 6, 37, dtype=dtype)
    results, expected = run("native", x, share), run("padded", x, share)
    assert all(map(torch.equal, results, expected))
    kept = run("native", torch.ones(4, 6, 37), share)[0] != 0
    assert torch.equal(kept, run("padded", torch.ones(4, 6, 37, dtype=dtype), share)[0] != 0)


@pytest.mark.parametrize("kernels", ["native", "padded"])
def test_the_order_of_rows_makes_no_difference(kernels: str) -> None:
    require_native()
    x, lengths = torch.randn(4, 6, 8), torch.tensor([6, 2, 1, 5])
    dropped, gradient = run(kernels, x, 0.3)
    by_time = x.transpose(0, 1)
    for turned in (by_time, by_time.contiguous()):
        y, grad = run(kernels, turned, 0.3, RowOrder(4, time_first=True))
        assert torch.equal(y.transpose(0, 1), dropped)
        assert torch.equal(grad.transpose(0, 1), gradient)
    y, grad = run(kernels, real_steps(x, lengths), 0.3, RowOrder.of_real_steps(lengths))
    assert torch.equal(y, real_steps(dropped, lengths))
    assert torch.equal(grad, real_steps(gradient, lengths))
    index = lay_out(lengths, 6).flat_index
    y, grad = run(kernels, x.flatten(0, 1)[index], 0.3, RowOrder(6, index))
    assert torch.equal(y, dropped.flatten(0, 1)[index])
    assert torch.equal(grad, gradient.flatten(0, 1)[index])


@pytest.mark.parametrize("kernels", ["native", "padded"])
def test_padding_and_batch_mates_make_no_difference(kernels: str) -> None:
    require_native()
    x = torch.ones(4, 6, 8)
    with use(kernels), by_example(5, 11, NUMBERS):  # type: ignore[arg-type]
        dropped, numbers = dropout(x, 0.3), draw_uniform((4, 6))
    for row in range(4):
        with use(kernels), by_example(5, 11, NUMBERS[row : row + 1]):  # type: ignore[arg-type]
            assert torch.equal(dropout(x[row : row + 1, :4], 0.3)[0], dropped[row, :4])
            assert torch.equal(draw_uniform((1, 5))[0], numbers[row, :5])


def test_seeds_steps_examples_calls_and_steps_draw_different_numbers() -> None:
    def drawn(seed: int, step: int) -> Tensor:
        with by_example(seed, step, torch.arange(64)):
            return torch.stack([dropout(torch.ones(64, 16, 32), 0.5) for _ in range(2)]) != 0

    first = drawn(1, 0)
    for other in (drawn(2, 0), drawn(1, 1), drawn(0, 1)):
        assert abs(float((first == other).double().mean()) - 0.5) < 0.005
    for axis in range(first.dim()):
        neighbours = first.narrow(axis, 0, first.shape[axis] - 1) == first.narrow(axis, 1, first.shape[axis] - 1)
        assert abs(float(neighbours.double().mean()) - 0.5) < 0.005


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_the_one_asked_for(share: float) -> None:
    with by_example(3, 1, torch.arange(500)):
        dropped = (dropout(torch.ones(500, 20, 100), share) == 0).double()
        numbers = draw_uniform((500, 2000)).double()
    deviation = (share * (1 - share)) ** 0.5
    assert abs(float(dropped.mean()) - share) < 4 * deviation / 1000
    assert float((dropped.mean((1, 2)) - share).abs().max()) < 5 * deviation / 2000**0.5
    assert abs(float(numbers.mean()) - 0.5) < 4 * 12**-0.5 / 1000
    assert 0.0 <= float(numbers.min()) < 1e-4 < 1 - 1e-4 < float(numbers.max()) < 1.0


def test_normal_numbers_have_the_moments_of_a_normal_distribution() -> None:
    with by_example(3, 2, torch.arange(500)):
        numbers = draw_normal((500, 2000)).double()
    for power, (moment, variance) in {1: (0.0, 1.0), 2: (1.0, 2.0), 3: (0.0, 15.0), 4: (3.0, 96.0)}.items():
        assert abs(float((numbers**power).mean()) - moment) < 4 * variance**0.5 / 1000
    assert float(numbers.abs().max()) < 6.0


def test_elsewhere_torchs_generator_draws() -> None:
    x, generator = torch.randn(4, 5), torch.Generator().manual_seed(3)
    torch.manual_seed(1)
    expected = torch.nn.functional.dropout(x, 0.5), torch.rand(3)
    torch.manual_seed(1)
    with by_example(1, 1, None):
        assert torch.equal(dropout(x, 0.5), expected[0])
    assert torch.equal(draw_uniform((3,)), expected[1])
    numbers = draw_uniform((3,), generator=generator)
    assert torch.equal(numbers, torch.rand(3, generator=generator.manual_seed(3)))


def test_rows_that_are_not_those_of_the_batch_are_refused() -> None:
    with by_example(1, 1, NUMBERS):
        with pytest.raises(ValueError, match="3 rows are not those of a batch of 4 examples"):
            dropout(torch.ones(3, 2), 0.5)
        with pytest.raises(ValueError, match="say which they are"):
            draw_uniform((5, 2))
