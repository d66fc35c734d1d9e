"""Recurrent layers with products in bf16 on a CPU, against the plain version, and training with them.

This machine may have no instructions for bf16: the plain version of `native_bf16.cpp` takes the place of AVX512_BF16,
and `amx_in_software.h` that of AMX. Where the processor has tiles, they are tested too.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit.cli.doctor import check_bf16
from seqkit.kernels import native, unpadded
from seqkit.kernels.engine import NUM_GATES, CellKind, DirectionPass, Engine
from seqkit.kernels.layout import lay_out, pad, unpad
from seqkit.kernels.native import native_pass
from seqkit.kernels.stepwise import stepwise_pass
from seqkit.kernels.unpadded import run_unpadded
from seqkit.runtime import native_library
from seqkit.runtime.native_library import load_native_bf16
from tests.helpers.native import require_native

KINDS: tuple[CellKind, ...] = ("tanh", "relu", "lstm", "gru")
CELLS = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
SOFTWARE_TILES = Path(__file__).with_name("amx_in_software.h")
ROUNDING_ERROR = 2.0**-9
"""Of a number in bf16, which has eight bits: the largest, relative to it."""


def compile_bf16(path: Path, *more: str) -> Any:
    arguments = [*native_library.compiler_flags(), *more]
    native_library.build(os.environ.get("CXX", "c++"), arguments, path, native_library.BF16_SOURCE)
    library: Any = ctypes.CDLL(str(path))
    native_library.declare_functions(library, native_library.BF16_FUNCTIONS)
    return library


@pytest.fixture(scope="session")
def tiles_in_software(tmp_path_factory: pytest.TempPathFactory) -> Any:
    require_native()
    folder = tmp_path_factory.mktemp("tiles")
    library = compile_bf16(folder / "tiles.so", f'-DSEQKIT_TILES="{SOFTWARE_TILES}"')
    if library.seqkit_lanes() != 16:
        pytest.skip("tiles have rows of 16 numbers, as vectors of 512 bits; this processor has narrower ones")
    assert library.seqkit_bf16_units(most=2) == 2
    return library


@pytest.fixture(params=["pairs", "tiles in software", "tiles"])
def bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Native code in bf16 with pairs of products, or with tiles."""
    require_native()
    if request.param == "tiles in software":
        tiles = request.getfixturevalue("tiles_in_software")
        monkeypatch.setattr(native, "_bf16_library", lambda: tiles)
        yield
        return
    library = load_native_bf16().library
    assert library is not None, load_native_bf16().description
    units = 1 if request.param == "pairs" else 2
    if library.seqkit_bf16_units(most=units) < units and units == 2:
        pytest.skip("no tiles: the processor has no AMX, or the system or the compiler does not let programs use it")
    yield
    library.seqkit_bf16_units(most=native.MOST_UNITS)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def both_passes(
    engine: Engine,
    kind: CellKind,
    hidden: int,
    lengths: Tensor,
    *,
    reverse: bool = False,
    initial: bool = True,
    dtype: torch.dtype = torch.bfloat16,
    threads: int = 1,
) -> DirectionPass:
    """A direction after the forward and the backward pass, over one group of sequences."""
    layout = lay_out(lengths, int(lengths.max()))
    count, rows, batch = NUM_GATES[kind], layout.num_rows, len(lengths)
    has_memory = kind in ("lstm", "gru")
    states = tuple(draw(batch, hidden, seed=seed)[layout.order] for seed in ((5, 6) if kind == "lstm" else (5,)))
    direction = DirectionPass(
        kind,
        reverse,
        (draw(count * hidden, hidden, seed=1) * 2 / hidden**0.5).to(dtype),
        draw(hidden, seed=2) if kind == "gru" else None,
        unpad(draw(batch * int(lengths.max()), count * hidden, seed=3), layout.flat_index),
        torch.empty(rows, hidden) if has_memory else None,
        torch.empty(rows, hidden),
        states if initial else None,
    )
    engine([direction], layout, threads=threads, backward=False)
    direction = replace(
        direction,
        grad_h=unpad(draw(batch * int(lengths.max()), hidden, seed=4), layout.flat_index),
        grad_gates=torch.empty(rows, hidden * (4 if kind == "gru" else count)),
        h_prev=torch.empty(rows, hidden),
        grad_state=torch.zeros(batch, hidden) if has_memory else None,
    )
    engine([direction], layout, threads=threads, backward=True)
    return direction


def outputs(direction: DirectionPass) -> list[Tensor]:
    some = (
        direction.h,
        direction.memory,
        direction.gates,
        direction.grad_gates,
        direction.h_prev,
        direction.grad_state,
    )
    return [tensor for tensor in some if tensor is not None]


def apart(ones: list[Tensor], others: list[Tensor]) -> float:
    return max(float((one - other).norm() / other.norm()) for one, other in zip(ones, others, strict=True))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("hidden", [1, 16, 33, 64, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_both_passes_are_those_of_the_plain_version(kind: CellKind, hidden: int, reverse: bool, bf16: None) -> None:
    lengths = torch.tensor([5, 1, 7, 3, 7, 2, 1, 6, 4, 4, 1, 2, 5, 3, 7, 1, 6, 6, 2])
    for initial in (True, False):
        actual, expected, exact = (
            outputs(both_passes(engine, kind, hidden, lengths, reverse=reverse, initial=initial, dtype=dtype))
            for engine, dtype in (
                (native_pass, torch.bfloat16),
                (stepwise_pass, torch.bfloat16),
                (stepwise_pass, torch.float32),
            )
        )
        # Sums in another order may round a state to its neighbour; that is rare, and what bf16 itself costs is not.
        assert apart(actual, expected) < ROUNDING_ERROR
        if hidden > 1:
            assert apart(actual, exact) > 2 * apart(actual, expected)


def test_one_step_is_exact_but_for_the_order_of_sums(bf16: None) -> None:
    for kind in KINDS:
        lengths = torch.ones(21, dtype=torch.int64)
        actual, expected = (both_passes(engine, kind, 40, lengths) for engine in (native_pass, stepwise_pass))
        torch.testing.assert_close(actual.h, expected.h, rtol=1e-5, atol=2e-6)
        torch.testing.assert_close(actual.grad_gates, expected.grad_gates, rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequences_bits_do_not_depend_on_its_batch_or_on_threads(kind: CellKind, bf16: None) -> None:
    hidden = 48
    cell = (nn.RNN(8, hidden, nonlinearity="relu") if kind == "relu" else CELLS[kind](8, hidden)).requires_grad_(False)
    lengths = torch.tensor([9, 4, 9, 1, 7, 3] * 8)
    x = draw(len(lengths), 9, 8, seed=7)

    def steps(rows: slice, threads: int) -> Tensor:
        some = lengths[rows]
        layout = lay_out(some, 9, threads=threads)
        flat = x[rows].reshape(-1, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = run_unpadded(
                [cell], unpad(flat, layout.flat_index), layout, [None], engine=native_pass, threads=threads
            )
        return pad(output.rows, layout.flat_index, len(flat)).view(len(some), 9, hidden)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpadded, "has_bf16_recurrence", lambda: True)
        together = steps(slice(None), 1)
        assert torch.equal(together, steps(slice(None), 2))
        for alone in (0, 3, 4):
            assert torch.equal(together[alone : alone + 1], steps(slice(alone, alone + 1), 1))
        assert torch.equal(together[5:23], steps(slice(5, 23), 2))


def test_numbers_that_are_none_stay_none_and_large_ones_do_not_wrap(bf16: None) -> None:
    lengths = torch.tensor([2, 2, 2])
    layout = lay_out(lengths, 2)
    for value in (float("nan"), float("inf"), 3.4e38):
        state = torch.zeros(3, 16)
        state[1, 2] = value
        h = torch.empty(6, 16)
        weights = torch.zeros(16, 16, dtype=torch.bfloat16)
        weights[4, 2] = 1
        native_pass(
            [DirectionPass("relu", False, weights, None, torch.zeros(6, 16), None, h, (state,))],
            layout,
            threads=1,
            backward=False,
        )
        first = h[:3]
        assert bool(first[1, 4].isnan()) == (value != value)
        if value == value:
            assert first[1, 4] == float("inf")  # 3.4e38 is more than the largest number in bf16
        assert not first[[0, 2]].any()


def test_the_loss_of_a_model_stays_within_a_hundredth_of_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 steps of a GRU that repeats what it read two steps before."""
    require_native()
    losses = {low: _train(low, monkeypatch) for low in (False, True)}
    assert losses[False][-1] < 0.5 * losses[False][0]
    assert losses[True] != losses[False]
    assert max(abs(one - other) for one, other in zip(losses[True], losses[False], strict=True)) < 1e-2


def _train(low: bool, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.setattr(unpadded, "has_bf16_recurrence", lambda: low)
    torch.manual_seed(3)
    cell, head = nn.GRU(8, 64), nn.Linear(64, 8)
    optimiser = torch.optim.Adam([*cell.parameters(), *head.parameters()], 3e-3)
    layout, losses = lay_out(torch.full((16,), 20), 20), []
    for step in range(300):
        symbols = torch.randint(8, (16, 20), generator=torch.Generator().manual_seed(step))
        x = unpad(nn.functional.one_hot(symbols, 8).float().reshape(-1, 8), layout.flat_index)
        y = unpad(symbols.roll(2, 1).reshape(-1, 1), layout.flat_index).squeeze(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = run_unpadded([cell], x, layout, [None], engine=native_pass, threads=1)
            loss = nn.functional.cross_entropy(head(output.rows).float(), y)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        optimiser.step()
        losses.append(float(loss.detach()))
    return [sum(losses[i : i + 20]) / 20 for i in range(0, 300, 20)]


def test_it_runs_only_where_it_agrees_with_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    require_native()
    library = load_native_bf16().library
    assert library is not None
    assert native.bf16_error() < native.LARGEST_ERROR / 10
    has_units = library.seqkit_bf16_units(most=native.MOST_UNITS) > 0
    native.has_bf16_recurrence.cache_clear()
    assert native.has_bf16_recurrence() == has_units
    assert ("single precision" in native.describe_bf16()) == (not has_units)

    class WithUnits:
        def seqkit_bf16_units(self, most: int) -> int:
            return 1

    monkeypatch.setattr(native, "has_bf16_units", lambda: True)
    monkeypatch.setattr(native, "load_native_bf16", lambda: native_library.NativeLibrary(WithUnits(), "made up"))  # type: ignore[arg-type]
    for error, runs in ((1e-6, True), (0.5, False), (float("nan"), False)):
        native.has_bf16_recurrence.cache_clear()
        monkeypatch.setattr(native, "bf16_error", lambda error=error: error)
        assert native.has_bf16_recurrence() == runs
        assert native.describe_bf16().startswith(
            "AVX512_BF16" if runs else "single precision; AVX512_BF16 is here, but"
        )
        assert check_bf16().level == ("ok" if runs else "bad")
    native.has_bf16_recurrence.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of another processor")
@pytest.mark.parametrize(
    ("target", "instruction"), [("sapphirerapids", "tdpbf16ps"), ("cooperlake", "vdpbf16ps"), ("haswell", "vfmadd")]
)
def test_it_builds_for_other_processors(target: str, instruction: str, tmp_path: Path) -> None:
    require_native()
    arguments = [f"-march={target}" if flag == "-march=native" else flag for flag in native_library.compiler_flags()]
    path = tmp_path / "other.so"
    native_library.build(os.environ.get("CXX", "c++"), [*arguments, "-S"], path, native_library.BF16_SOURCE)
    assert instruction in path.read_text()
