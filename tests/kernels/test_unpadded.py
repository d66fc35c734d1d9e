"""Recurrent layers without padding against the papers' equations, for each implementation of the recurrence."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit.kernels.engine import NUM_GATES, CellKind, DirectionPass, Engine
from seqkit.kernels.layout import lay_out, pad, unpad
from seqkit.kernels.native import native_layout, native_pass
from seqkit.kernels.stepwise import stepwise_pass
from seqkit.kernels.unpadded import run_unpadded
from seqkit.runtime import native_library
from tests.helpers.native import require_native
from tests.reference import cells as twin

ENGINES: dict[str, Engine] = {"native": native_pass, "stepwise": stepwise_pass}
CELLS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "tanh": lambda dim, hidden: nn.RNN(dim, hidden),
    "relu": lambda dim, hidden: nn.RNN(dim, hidden, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
TWINS: dict[str, twin.Step] = {"tanh": twin.elman, "relu": twin.elman_relu, "lstm": twin.lstm, "gru": twin.gru}
RAGGED = torch.tensor([5, 1, 7, 3, 7, 0, 2, 1, 6, 4, 4, 1, 2, 5, 3, 7, 1])

States = list[tuple[Tensor, ...]]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "native":
        require_native()
    return ENGINES[request.param]


def make(kind: str, dim: int, hidden: int, directions: int, dtype: torch.dtype = torch.float64) -> list[nn.RNNBase]:
    torch.manual_seed(len(kind) + hidden)
    return [CELLS[kind](dim, hidden).to(dtype) for _ in range(directions)]


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def initial_states(kind: str, batch: int, hidden: int, dtype: torch.dtype) -> States:
    count = 2 if kind == "lstm" else 1
    return [tuple(draw(batch, hidden, seed=20 + 2 * d + k, dtype=dtype) for k in range(count)) for d in range(2)]


def run(
    cells: list[nn.RNNBase], x: Tensor, lengths: Tensor, initial: Any, engine: Engine, threads: int = 1
) -> tuple[Tensor, States]:
    """(B, T, D) -> (B, T, directions x H) and the final states, by the code under test."""
    batch, time = x.shape[:2]
    layout = (native_layout if engine is native_pass else lay_out)(lengths, time, threads=threads)
    rows = unpad(x.flatten(0, 1), layout.flat_index)
    output = run_unpadded(cells, rows, layout, initial, engine=engine, threads=threads)
    steps = pad(output.rows, layout.flat_index, batch * time).view(batch, time, output.rows.shape[1])
    return steps, [final_state() for final_state in output.final_states]


def run_twin(kind: str, cells: list[nn.RNNBase], x: Tensor, lengths: Tensor, initial: Any) -> tuple[Tensor, States]:
    """The same by the papers' equations, one sequence and one step at a time."""
    hidden = cells[0].hidden_size
    outputs, final_states = [], []
    for d, cell in enumerate(cells):
        padded, finals = [], []
        for row, length in enumerate(lengths.tolist()):
            zero = (x.new_zeros(hidden),) * (2 if kind == "lstm" else 1)
            state = tuple(tensor[row] for tensor in initial[d]) if initial[d] else zero
            steps = x.new_zeros(0, hidden)
            if length:
                weights = tuple(cell.all_weights[0])
                steps, state = twin.run(TWINS[kind], x[row, :length], weights, state, backward=d == 1)
            padded.append(torch.cat([steps, steps.new_zeros(x.shape[1] - length, hidden)]))
            finals.append(state)
        outputs.append(torch.stack(padded))
        final_states.append(tuple(torch.stack(tensors) for tensors in zip(*finals, strict=True)))
    return torch.cat(outputs, dim=2), final_states


def weigh(tensors: list[Tensor]) -> Tensor:
    """One number that depends on every entry differently."""
    return sum(
        ((tensor * draw(*tensor.shape, seed=50 + n, dtype=tensor.dtype)).sum() for n, tensor in enumerate(tensors)),
        start=tensors[0].new_zeros(()),
    )


def flatten(steps: Tensor, states: States) -> list[Tensor]:
    return [steps, *(tensor for state in states for tensor in state)]


@pytest.mark.parametrize("has_initial", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", CELLS)
def test_values_final_states_and_gradients_equal_the_papers_equations(
    kind: str, directions: int, has_initial: bool, engine: Engine
) -> None:
    """Ragged lengths with 1 and 0 among them, two groups of sequences on two threads, widths that fill no vector."""
    dim, hidden = 3, 5
    cells = make(kind, dim, hidden, directions)
    x = draw(len(RAGGED), int(RAGGED.max()) + 1, dim, seed=1).requires_grad_()
    initial: Any = [None] * directions
    if has_initial:
        initial = initial_states(kind, len(RAGGED), hidden, x.dtype)[:directions]
    state_tensors = [tensor.requires_grad_() for state in initial if state for tensor in state]
    inputs = [x, *(p for cell in cells for p in cell.parameters()), *state_tensors]
    results = []
    for steps, states in (
        run(cells, x, RAGGED, initial, engine, threads=2),
        run_twin(kind, cells, x, RAGGED, initial),
    ):
        outputs = flatten(steps, states)
        results.append([*outputs, *torch.autograd.grad(weigh(outputs), inputs)])
    for number, (got, want) in enumerate(zip(*results, strict=True)):
        assert want.any(), number
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12, msg=lambda text, n=number: f"{n}: {text}")


@pytest.mark.parametrize("has_initial", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", CELLS)
def test_second_derivatives(kind: str, directions: int, has_initial: bool, engine: Engine) -> None:
    """A penalty on gradients, differentiated, against the papers' equations."""
    dim, hidden, lengths = 3, 4, RAGGED[:9]
    cells = make(kind, dim, hidden, directions)
    x = draw(len(lengths), int(lengths.max()), dim, seed=1).requires_grad_()
    initial: Any = (
        initial_states(kind, len(lengths), hidden, x.dtype)[:directions] if has_initial else [None] * directions
    )
    state_tensors = [tensor.requires_grad_() for state in initial if state for tensor in state]
    inputs = [x, *(p for cell in cells for p in cell.parameters()), *state_tensors]
    results = []
    for steps, states in (run(cells, x, lengths, initial, engine), run_twin(kind, cells, x, lengths, initial)):
        outputs = [output.pow(2) for output in flatten(steps, states)]
        first = torch.autograd.grad(weigh(outputs), inputs, create_graph=True)
        second = torch.autograd.grad(weigh([gradient.pow(2) for gradient in first]), inputs, create_graph=True)
        third = torch.autograd.grad(second[0].pow(2).sum(), inputs[1])
        results.append([*first, *second, *third])
    for number, (got, want) in enumerate(zip(*results, strict=True)):
        assert want.any(), number
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9, msg=lambda text, n=number: f"{n}: {text}")


def test_second_derivatives_under_autocast(engine: Engine) -> None:
    """The input is converted inside the layer, and its gradient still has a graph."""
    cells, lengths = make("gru", 3, 4, 1, torch.float32), RAGGED[:5]
    penalties = []
    for has_autocast in (False, True):
        x = draw(5, 7, 3, seed=1, dtype=torch.float32).requires_grad_()
        with torch.autocast("cpu", enabled=has_autocast):
            steps, _ = run(cells, x, lengths, [None], engine)
        (first,) = torch.autograd.grad(steps.pow(2).sum(), x, create_graph=True)
        penalties.append(torch.autograd.grad(first.pow(2).sum(), [x, *cells[0].parameters()]))
    for exact, low in zip(*penalties, strict=True):
        assert float((exact - low).abs().max()) < 0.1 * float(exact.abs().max())


@pytest.mark.parametrize("hidden", [1, 16, 33, 64, 70, 130])
@pytest.mark.parametrize("kind", CELLS)
def test_single_precision_is_within_rounding_of_double(kind: str, hidden: int, engine: Engine) -> None:
    """Widths below, at and above a vector, a panel of vectors, and both."""
    double_cells, single_cells = make(kind, 4, hidden, 2), make(kind, 4, hidden, 2, torch.float32)
    for double_cell, single_cell in zip(double_cells, single_cells, strict=True):
        single_cell.load_state_dict({name: value.float() for name, value in double_cell.state_dict().items()})
    x = draw(len(RAGGED), 7, 4, seed=2)
    results = []
    for cells, x_typed in ((double_cells, x), (single_cells, x.float())):
        x_typed.requires_grad_()
        outputs = flatten(*run(cells, x_typed, RAGGED, [None, None], engine, threads=2))
        inputs = [x_typed, *(p for cell in cells for p in cell.parameters())]
        total = weigh([output.double() for output in outputs])
        results.append([*outputs, *torch.autograd.grad(total, inputs)])
    for want, got in zip(*results, strict=True):
        scale = max(1.0, float(want.detach().abs().max()))
        assert float((got.double() - want).detach().abs().max()) / scale < 2e-6


@pytest.mark.parametrize("kind", CELLS)
def test_gradients_pass_gradcheck(kind: str, engine: Engine) -> None:
    cells, lengths = make(kind, 2, 3, 2), torch.tensor([3, 1, 2])
    initial = initial_states(kind, 3, 3, torch.float64)
    state_tensors = [tensor.requires_grad_() for state in initial for tensor in state]
    parameters = [p for cell in cells for p in cell.parameters()]

    def outputs(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        count = len(initial[0])
        states = [rest[:count], rest[count : 2 * count]]
        return tuple(flatten(*run(cells, x, lengths, states, engine)))

    assert torch.autograd.gradcheck(outputs, (draw(3, 3, 2, seed=4).requires_grad_(), *state_tensors, *parameters))


@pytest.mark.parametrize("kind", CELLS)
def test_a_sequence_in_a_batch_gives_the_same_bits_as_alone(kind: CellKind) -> None:
    """Forward and backward pass of the native engine: what is summed, and in which order, ignores the batch."""
    require_native()
    hidden, num_gates = 37, NUM_GATES[kind]
    lengths = torch.tensor([11, 3, 9, 11, 1, 7, 8, 2, 4, 11, 6, 5, 10, 2, 3, 1, 9])
    weights = draw(num_gates * hidden, hidden, seed=5, dtype=torch.float32) * 0.3
    gate_block, grad_block = (
        draw(len(lengths), 11, width * hidden, seed=6 + width, dtype=torch.float32) for width in (num_gates, 1)
    )

    def run_sequences(numbers: list[int]) -> list[list[Tensor]]:
        """`h` and `grad_gates` of each sequence, zero past its end."""
        layout = lay_out(lengths[numbers], 11, threads=2)
        gates, grad_h = (
            block[numbers].flatten(0, 1).index_select(0, layout.flat_index) for block in (gate_block, grad_block)
        )
        has_memory = kind in ("lstm", "gru")
        direction = DirectionPass(
            kind,
            reverse=True,
            weights=weights,
            bias=torch.full((hidden,), 0.25) if kind == "gru" else None,
            gates=gates,
            memory=torch.empty_like(grad_h) if has_memory else None,
            h=torch.empty_like(grad_h),
            initial=None,
            grad_h=grad_h,
            grad_gates=grad_h.new_empty(layout.num_rows, hidden * (4 if kind == "gru" else num_gates)),
            h_prev=torch.empty_like(grad_h),
            grad_state=grad_h.new_zeros(len(numbers), hidden) if has_memory else None,
        )
        native_pass([direction], layout, threads=2, backward=False)
        native_pass([direction], layout, threads=2, backward=True)
        assert direction.grad_gates is not None
        return [
            list(pad(rows, layout.flat_index, len(numbers) * 11).view(len(numbers), 11, -1))
            for rows in (direction.h, direction.grad_gates)
        ]

    together = run_sequences(list(range(len(lengths))))
    for number in range(len(lengths)):
        for in_batch, alone in zip(together, run_sequences([number]), strict=True):
            assert alone[0].any()
            assert torch.equal(in_batch[number], alone[0])


def test_a_nan_spreads_only_forward_within_its_own_sequence(engine: Engine) -> None:
    for kind in CELLS:
        cells = make(kind, 3, 20, 1, torch.float32)
        x = draw(20, 6, 3, seed=8, dtype=torch.float32)
        lengths = torch.tensor([6, 2] * 10)
        x[4, 2, 0] = torch.nan
        steps, _ = run(cells, x, lengths, [None], engine, threads=2)
        assert steps[4, 2:].isnan().all()
        assert not steps[4, :2].isnan().any()
        assert not steps[torch.arange(20) != 4].isnan().any()


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-3, 30.0, 1e4, torch.inf])
def test_gates_keep_their_limits(size: float, engine: Engine) -> None:
    """Arguments at which a careless exponential overflows, or 1 - e cancels."""
    for kind in CELLS:
        cell = make(kind, 1, 2, 1, torch.float32)[0]
        for sign in (1.0, -1.0):
            x = torch.full((1, 3, 1), sign * size)
            got, _ = run([cell], x, torch.tensor([3]), [None], engine)
            want, _ = cell(x.transpose(0, 1))
            torch.testing.assert_close(got, want.transpose(0, 1), rtol=3e-6, atol=1e-12, equal_nan=True)


def test_a_batch_without_sequences(engine: Engine) -> None:
    for kind in CELLS:
        x, lengths = torch.zeros(0, 0, 3).double(), torch.zeros(0).long()
        steps, states = run(make(kind, 3, 4, 2), x, lengths, [None] * 2, engine)
        assert steps.shape == (0, 0, 8)
        assert all(tensor.shape == (0, 4) for state in states for tensor in state)


def test_denormals_count_as_zero_inside_the_native_code_only(engine: Engine) -> None:
    denormal = torch.tensor(1e-40) * 1.0
    x = draw(2, 3, 3, seed=1, dtype=torch.float32)
    run(make("lstm", 3, 4, 1, torch.float32), x, torch.tensor([3, 2]), [None], engine)
    assert float(denormal) != 0.0
    assert float(torch.tensor(1e-40) * 1.0) == float(denormal)


def test_half_precision_where_autocast_asks_for_it(engine: Engine) -> None:
    """Products are in bfloat16; the recurrence and everything that is kept are in single precision."""
    for kind in CELLS:
        cells = make(kind, 8, 12, 2, torch.float32)
        x = draw(9, 6, 8, seed=3, dtype=torch.float32).requires_grad_()
        lengths = torch.tensor([6, 2, 3, 1, 6, 5, 4, 2, 1])
        want, _ = run(cells, x, lengths, [None, None], engine)
        exact_grads = torch.autograd.grad(want.sum(), [x, *cells[0].parameters()])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got, _ = run(cells, x, lengths, [None, None], engine)
        rough_grads = torch.autograd.grad(got.sum(), [x, *cells[0].parameters()])
        assert got.dtype == torch.float32
        assert not torch.equal(got, want)
        torch.testing.assert_close(got, want, rtol=0.05, atol=0.03)
        for rough, exact in zip(rough_grads, exact_grads, strict=True):
            assert rough.dtype == torch.float32
            assert float((rough - exact).norm() / exact.norm()) < 0.06


def test_autocast_leaves_double_precision_as_it_is(engine: Engine) -> None:
    for kind in CELLS:
        cells, x = make(kind, 8, 12, 2, torch.float64), draw(9, 6, 8, seed=3, dtype=torch.float64).requires_grad_()
        lengths = torch.tensor([6, 2, 3, 1, 6, 5, 4, 2, 1])
        want, _ = run(cells, x, lengths, [None, None], engine)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got, _ = run(cells, x, lengths, [None, None], engine)
        assert torch.equal(got, want)
        grads = [torch.autograd.grad(steps.sum(), [x, *cells[0].parameters()]) for steps in (want, got)]
        assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


def test_the_native_code_refuses_numbers_of_two_types() -> None:
    require_native()
    layout = lay_out(torch.tensor([1]), 1)
    gates, weights = torch.zeros(1, 4), torch.zeros(4, 4, dtype=torch.float64)
    direction = DirectionPass("tanh", False, weights, None, gates, None, torch.zeros(1, 4), None)
    with pytest.raises(TypeError, match=r"should be torch.float32, not torch.float64"):
        native_pass([direction], layout, threads=1, backward=False)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of another processor")
@pytest.mark.parametrize("target", ["haswell", "x86-64"])
def test_narrower_vectors_give_the_same(target: str, tmp_path: Path) -> None:
    """The code for processors with vectors of 256 and 128 bits."""
    require_native()
    arguments = [f"-march={target}" if flag == "-march=native" else flag for flag in native_library.compiler_flags()]
    native_library.build(os.environ.get("CXX", "c++"), arguments, tmp_path / "narrow.so")
    library: Any = ctypes.CDLL(str(tmp_path / "narrow.so"))
    native_library.declare_functions(library)
    assert library.seqkit_lanes() == {"haswell": 8, "x86-64": 4}[target]
    loaded = native_library.load_native()
    for kind in CELLS:
        for hidden in (3, 33, 100):
            cells, x = make(kind, 4, hidden, 2, torch.float32), draw(len(RAGGED), 7, 4, seed=2, dtype=torch.float32)
            results = []
            for native in (loaded, replace(loaded, library=library)):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("seqkit.kernels.native.load_native", lambda native=native: native)
                    steps, _ = run(cells, x, RAGGED, [None, None], native_pass)
                    results.append([steps, *torch.autograd.grad(weigh([steps]), list(cells[0].parameters()))])
            for got, want in zip(*results, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-5, atol=2e-6)
