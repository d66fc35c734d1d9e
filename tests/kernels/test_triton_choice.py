"""A kernel in Triton is compared with torch's operations at its first use, and runs only if it agrees."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from seqkit import kernels
from seqkit.errors import UsageError
from seqkit.heads import crf_algorithms, ctc_algorithms
from seqkit.heads.kernel_choices import kernel_choices
from seqkit.kernels import draws, triton_choice
from seqkit.kernels.request import requested
from seqkit.kernels.triton_choice import TritonChoice, choose_triton
from seqkit.runtime import native_library

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _nothing_compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No kernel has been compared in this process, Triton is installed, and nothing is asked for."""
    monkeypatch.setattr(triton_choice, "_compared", {})
    monkeypatch.setattr(triton_choice, "is_installed", lambda: True)
    monkeypatch.delenv(native_library.VARIABLE, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def case_with(of_kernel: Callable[[Tensor], Tensor], asked: list[str] | None = None) -> triton_choice.Case:
    """A case whose kernel computes this of 1, 2 and 3, where torch doubles; all of it on the CPU."""

    def case(device: torch.device) -> dict[str, Tensor]:
        x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        if asked is not None:
            asked.append(f"{requested()} on {device.type}")
        y = of_kernel(x) if requested() == "triton" else 2.0 * x
        (gradient,) = torch.autograd.grad(y.sum(), x)
        return {"doubling": y, "the gradient of doubling": gradient}

    return case


def test_a_kernel_that_agrees_is_used_and_compared_once() -> None:
    asked: list[str] = []
    case = case_with(lambda x: x + x, asked)
    with torch.inference_mode():
        first = choose_triton(GPU, "doubling", case, tolerance=1e-6)
    assert first.is_triton
    assert "agree" in first.reason
    assert choose_triton(torch.device("cuda", 0), "doubling", case, tolerance=1e-6) == first
    assert asked == ["padded on cpu", "triton on cuda"]


@pytest.mark.parametrize(
    ("of_kernel", "reason"),
    [
        (lambda x: 2.0 * x.detach() + 2.1 * (x - x.detach()), "the gradient of doubling differs by 0.1 from torch's"),
        (lambda x: 2.0 * x + torch.tensor([0.0, 0.5, 0.0]), "doubling differs by 0.5 from torch's"),
        (lambda x: x * torch.nan, "doubling differs by inf from torch's"),
        (lambda x: [][0], "IndexError: list index out of range"),
    ],
)
def test_a_kernel_that_does_not_agree_is_refused_with_one_warning(
    of_kernel: Callable[[Tensor], Tensor], reason: str
) -> None:
    with pytest.warns(RuntimeWarning, match=f"doubling are not used on cuda:0: {reason}"):
        choice = choose_triton(GPU, "doubling", case_with(of_kernel), tolerance=1e-6)
    assert not choice.is_triton
    assert str(choice).startswith(f"torch ({reason}")
    assert choose_triton(GPU, "doubling", case_with(of_kernel), tolerance=1e-6) == choice  # and no second warning


def test_the_comparison_touches_no_random_generator() -> None:
    cpu = torch.device("cpu")
    cases = [
        partial(draws._dropout_case, torch.float32),
        partial(crf_algorithms._chains_case, 5),
        partial(ctc_algorithms._case, 7),
    ]
    before = torch.get_rng_state()
    for case in cases:
        assert torch.isfinite(torch.cat([tensor.double().flatten() for tensor in case(cpu).values()])).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_comparison_within_a_step_leaves_the_draws_of_the_step_alone() -> None:
    x, numbers = torch.ones(3, 4), torch.tensor([7, 0, 3])
    with kernels.by_example(1, 2, numbers):
        expected = kernels.dropout(x, 0.5)
    with kernels.by_example(1, 2, numbers):
        draws._dropout_case(torch.float32, torch.device("cpu"))
        assert torch.equal(kernels.dropout(x, 0.5), expected)


def test_memory_that_is_short_says_nothing_of_a_kernel() -> None:
    def full(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        choose_triton(GPU, "doubling", case_with(full), tolerance=1e-6)
    assert choose_triton(GPU, "doubling", case_with(lambda x: x + x), tolerance=1e-6).is_triton


def test_the_environment_forces_either(monkeypatch: pytest.MonkeyPatch) -> None:
    never = case_with(lambda x: [][0])
    monkeypatch.setenv(native_library.VARIABLE, "triton")
    assert choose_triton(GPU, "doubling", never, tolerance=1e-6) == TritonChoice(True, "as asked for")
    monkeypatch.setenv(native_library.VARIABLE, "padded")
    assert choose_triton(GPU, "doubling", never, tolerance=1e-6) == TritonChoice(False, "SEQKIT_KERNELS=padded")
    monkeypatch.setattr(triton_choice, "is_installed", lambda: False)
    monkeypatch.setenv(native_library.VARIABLE, "triton")
    with pytest.raises(UsageError, match="Triton is not installed"):
        choose_triton(GPU, "doubling", never, tolerance=1e-6)
    monkeypatch.setenv(native_library.VARIABLE, "auto")
    assert choose_triton(GPU, "doubling", never, tolerance=1e-6) == TritonChoice(False, "Triton is not installed")


def test_on_a_cpu_no_kernel_in_triton_runs() -> None:
    choices = kernel_choices(torch.device("cpu"))
    assert set(choices) == {"dropout", "random fields", "CTC"}
    assert not any(choice.is_triton for choice in choices.values())
