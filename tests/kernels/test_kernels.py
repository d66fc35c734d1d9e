"""Recurrent layers without padding against their slow twins, and how their implementation is chosen."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit import kernels
from seqkit.errors import UsageError
from seqkit.kernels import layout
from seqkit.kernels.layout import Layout, lay_out, pad, unpad
from seqkit.kernels.native import native_layout, native_pass
from seqkit.kernels.recurrence import GATES, CellKind, Engine, Pass
from seqkit.kernels.stepwise import stepwise
from seqkit.kernels.unpadded import run_unpadded
from seqkit.runtime import native_library
from tests.reference import cells as twin

ENGINES: dict[str, Engine] = {"native": native_pass, "stepwise": stepwise}
CELLS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "tanh": lambda dim, hidden: nn.RNN(dim, hidden),
    "relu": lambda dim, hidden: nn.RNN(dim, hidden, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
TWINS: dict[str, twin.Step] = {"tanh": twin.elman, "relu": twin.elman_relu, "lstm": twin.lstm, "gru": twin.gru}
RAGGED = torch.tensor([5, 1, 7, 3, 7, 0, 2, 1, 6, 4, 4, 1, 2, 5, 3, 7, 1])


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each implementation of a pass. Without a compiler there is one."""
    if request.param == "native" and native_library.native().library is None:
        pytest.skip(f"the native library is {native_library.native().said}")
    return ENGINES[request.param]


def make(kind: str, dim: int, hidden: int, sides: int, dtype: torch.dtype = torch.float64) -> list[nn.RNNBase]:
    torch.manual_seed(len(kind) + hidden)
    return [CELLS[kind](dim, hidden).to(dtype) for _ in range(sides)]


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def states(kind: str, count: int, hidden: int, dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    parts = 2 if kind == "lstm" else 1
    return [tuple(draw(count, hidden, seed=20 + 2 * d + p, dtype=dtype) for p in range(parts)) for d in range(2)]


def run(
    cells: list[nn.RNNBase], x: Tensor, lengths: Tensor, starts: Any, engine: Engine, threads: int = 1
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """(B, T, D) -> (B, T, sides x H) and the ends, by the code under test."""
    batch, time = x.shape[:2]
    rows = (native_layout if engine is native_pass else lay_out)(lengths, time, threads=threads)
    ran = run_unpadded(cells, unpad(x.flatten(0, 1), rows.source), rows, starts, engine=engine, threads=threads)
    steps = pad(ran.rows, rows.source, batch * time).view(batch, time, ran.rows.shape[1])
    return steps, [end() for end in ran.ends]


def slowly(
    kind: str, cells: list[nn.RNNBase], x: Tensor, lengths: Tensor, starts: Any
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """The same by the papers' equations, one sequence and one step at a time."""
    hidden = cells[0].hidden_size
    steps = x.new_zeros(*x.shape[:2], len(cells) * hidden)
    whole, ends = list(steps.unbind()), []
    for d, cell in enumerate(cells):
        own = []
        for row, length in enumerate(lengths.tolist()):
            start = (
                tuple(part[row] for part in starts[d])
                if starts[d]
                else (x.new_zeros(hidden),) * (2 if kind == "lstm" else 1)
            )
            weights = tuple(cell.all_weights[0])
            if length == 0:
                own.append(start)
                continue
            said, end = twin.run(TWINS[kind], x[row, :length], weights, start, backward=d == 1)
            own.append(end)
            padded = torch.cat([said, said.new_zeros(x.shape[1] - length, hidden)])
            left, right = whole[row][:, : d * hidden], whole[row][:, (d + 1) * hidden :]
            whole[row] = torch.cat([left, padded, right], dim=1)
        ends.append(tuple(torch.stack(parts) for parts in zip(*own, strict=True)))
    return torch.stack(whole), ends


def weigh(tensors: list[Tensor]) -> Tensor:
    """One number that depends on every entry differently."""
    return sum(
        ((tensor * draw(*tensor.shape, seed=50 + n, dtype=tensor.dtype)).sum() for n, tensor in enumerate(tensors)),
        start=tensors[0].new_zeros(()),
    )


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("kind", CELLS)
def test_values_ends_and_gradients_equal_the_papers_equations(
    kind: str, sides: int, started: bool, engine: Engine
) -> None:
    """Ragged lengths with 1 and 0 among them, two groups of sequences on two threads, widths that fill no vector."""
    dim, hidden = 3, 5
    cells = make(kind, dim, hidden, sides)
    x = draw(len(RAGGED), int(RAGGED.max()) + 1, dim, seed=1).requires_grad_()
    starts: Any = [
        tuple(part.requires_grad_() for part in state) for state in states(kind, len(RAGGED), hidden, x.dtype)
    ]
    if not started:
        starts = [None, None]
    inputs = [x, *(p for cell in cells for p in cell.parameters()), *(p for s in starts[:sides] if s for p in s)]
    results = []
    for steps, ends in (
        run(cells, x, RAGGED, starts[:sides], engine, threads=2),
        slowly(kind, cells, x, RAGGED, starts[:sides]),
    ):
        told = [steps, *(part for end in ends for part in end)]
        results.append([*told, *torch.autograd.grad(weigh(told), inputs)])
    for number, (got, want) in enumerate(zip(*results, strict=True)):
        assert want.any(), number
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12, msg=lambda text, n=number: f"{n}: {text}")


@pytest.mark.parametrize("hidden", [1, 16, 33, 64, 70, 130])
@pytest.mark.parametrize("kind", CELLS)
def test_single_precision_is_within_rounding_of_double(kind: str, hidden: int, engine: Engine) -> None:
    """Widths below, at and above a vector, a panel of vectors, and both."""
    cells = make(kind, 4, hidden, 2)
    x = draw(len(RAGGED), 7, 4, seed=2).requires_grad_()
    single = x.detach().float().requires_grad_()
    results = []
    for precise in (True, False):
        some = [cell if precise else CELLS[kind](4, hidden) for cell in cells]
        for cell, own in zip(cells, some, strict=True):
            own.load_state_dict(
                {name: value.to(next(own.parameters()).dtype) for name, value in cell.state_dict().items()}
            )
        given = x if precise else single
        steps, ends = run(some, given, RAGGED, [None, None], engine, threads=2)
        told = [steps, *(part for end in ends for part in end)]
        inputs = [given, *(p for cell in some for p in cell.parameters())]
        total = weigh([part.double() for part in told])
        results.append([*told, *torch.autograd.grad(total, inputs)])
    for want, got in zip(*results, strict=True):
        scale = max(1.0, float(want.detach().abs().max()))
        assert float((got.double() - want).detach().abs().max()) / scale < 2e-6


@pytest.mark.parametrize("kind", CELLS)
def test_gradients_pass_gradcheck(kind: str, engine: Engine) -> None:
    cells, lengths = make(kind, 2, 3, 2), torch.tensor([3, 1, 2])
    starts = states(kind, 3, 3, torch.float64)
    flat = [part.requires_grad_() for state in starts for part in state]
    parameters = [p for cell in cells for p in cell.parameters()]

    def told(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        count = len(starts[0])
        given = [rest[:count], rest[count : 2 * count]]
        steps, ends = run(cells, x, lengths, given, engine)
        return steps, *(part for end in ends for part in end)

    assert torch.autograd.gradcheck(told, (draw(3, 3, 2, seed=4).requires_grad_(), *flat, *parameters))


@pytest.mark.parametrize("kind", CELLS)
def test_a_sequence_among_others_gives_the_bits_that_it_gives_alone(kind: CellKind) -> None:
    """The pass itself, there and back: what is summed, and in which order, has nothing to do with the batch."""
    if native_library.native().library is None:
        pytest.skip(f"the native library is {native_library.native().said}")
    hidden, gates = 37, GATES[kind]
    lengths = torch.tensor([11, 3, 9, 11, 1, 7, 8, 2, 4, 11, 6, 5, 10, 2, 3, 1, 9])
    weights = draw(gates * hidden, hidden, seed=5, dtype=torch.float32) * 0.3
    fields = [draw(len(lengths), 11, width * hidden, seed=6 + width, dtype=torch.float32) for width in (gates, 1)]

    def told(rows: list[int]) -> list[list[Tensor]]:
        where = lay_out(lengths[rows], 11, threads=2)
        own = [field[rows].flatten(0, 1).index_select(0, where.source) for field in fields]
        done = Pass(
            kind,
            backwards=True,
            weights=weights,
            bias=torch.full((hidden,), 0.25) if kind == "gru" else None,
            gates=own[0],
            memory=torch.empty_like(own[1]) if kind in ("lstm", "gru") else None,
            steps=torch.empty_like(own[1]),
            start=None,
            gradient=own[1],
            changes=own[1].new_empty(where.rows, hidden * (4 if kind == "gru" else gates)),
            before=torch.empty_like(own[1]),
            carried=own[1].new_zeros(len(rows), hidden) if kind in ("lstm", "gru") else None,
        )
        native_pass([done], where, threads=2, back=False)
        native_pass([done], where, threads=2, back=True)
        assert done.changes is not None
        return [
            [pad(part, where.source, len(rows) * 11).view(len(rows), 11, -1)[k] for k in range(len(rows))]
            for part in (done.steps, done.changes)
        ]

    together = told(list(range(len(lengths))))
    for row in range(len(lengths)):
        alone = told([row])
        for some, one in zip(together, alone, strict=True):
            assert one[0].any()
            assert torch.equal(some[row], one[0])


def test_what_is_no_number_stays_where_it_is(engine: Engine) -> None:
    """A NaN in one sequence is not hidden, and is seen by no other."""
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


@pytest.mark.parametrize("make_layout", [lay_out, native_layout])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("lengths", [[3], [1, 1], RAGGED.tolist(), [4] * 40, [0, 0, 2], [0], []])
def test_rows_are_the_real_steps_each_once(lengths: list[int], threads: int, make_layout: Any) -> None:
    where = make_layout(torch.tensor(lengths, dtype=torch.int64), 7, threads=threads)
    want = [row * 7 + t for row, length in enumerate(lengths) for t in range(length)]
    assert sorted(where.source.tolist()) == want
    assert sorted(where.order.tolist()) == list(range(len(lengths)))
    assert [int(where.order[k]) for k in where.place] == list(range(len(lengths)))
    for sequence, length in enumerate(lengths):
        first, last = int(where.first[sequence]), int(where.last[sequence])
        if length:
            assert [int(where.source[first]), int(where.source[last])] == [sequence * 7, sequence * 7 + length - 1]
        else:
            assert (first, last) == (0, 0)
            assert where.empty is not None
            assert bool(where.empty[sequence])
    assert where.table.shape == (max(1, min(threads, len(lengths) // layout.ROWS_A_GROUP)), 4)
    at = place = 0
    for group, row in zip(where.groups, where.table.tolist(), strict=True):
        assert [group.row, group.sequence] == row[:2] == [at, place]
        assert len(group.alive) == row[3]
        assert list(group.alive) == sorted(group.alive, reverse=True)
        assert all(group.alive)
        place += row[2]
        for t, alive in enumerate(group.alive):
            sequences = where.order[group.sequence : group.sequence + alive].tolist()
            assert where.source[at : at + alive].tolist() == [k * 7 + t for k in sequences]
            assert [lengths[k] for k in sequences] == sorted((lengths[k] for k in sequences), reverse=True)
            at += alive
    assert (at, place) == (sum(lengths), len(lengths))


@pytest.mark.parametrize("make_layout", [lay_out, native_layout])
@pytest.mark.parametrize("wrong", [[3, -1], [8, 2]])
def test_lengths_that_cannot_be_are_refused(wrong: list[int], make_layout: Any) -> None:
    with pytest.raises(ValueError, match="lengths must be from 0 to 7"):
        make_layout(torch.tensor(wrong), 7)


def test_rows_go_there_and_back() -> None:
    where: Layout = lay_out(torch.tensor([2, 3]), 4)
    block = draw(8, 2, seed=9).requires_grad_()
    rows = unpad(block, where.source)
    again = pad(rows, where.source, 8)
    real = torch.tensor([0, 1, 4, 5, 6])
    assert torch.equal(again[real], block[real])
    assert not again[torch.tensor([2, 3, 7])].any()
    assert torch.autograd.gradcheck(lambda b: pad(unpad(b, where.source), where.source, 8), (block,))


def test_no_sequence_at_all(engine: Engine) -> None:
    for kind in CELLS:
        steps, ends = run(make(kind, 3, 4, 2), torch.zeros(0, 0, 3).double(), torch.zeros(0).long(), [None] * 2, engine)
        assert steps.shape == (0, 0, 8)
        assert all(part.shape == (0, 4) for end in ends for part in end)


def test_small_numbers_of_the_caller_are_left_alone() -> None:
    """Denormals count as zero inside the native code only."""
    before = torch.tensor(1e-40) * 1.0
    run(
        make("lstm", 3, 4, 1, torch.float32),
        draw(2, 3, 3, seed=1, dtype=torch.float32),
        torch.tensor([3, 2]),
        [None],
        ENGINES["native" if native_library.native().library else "stepwise"],
    )
    assert float(before) != 0.0
    assert float(torch.tensor(1e-40) * 1.0) == float(before)


def test_halved_precision_where_autocast_asks(engine: Engine) -> None:
    """Products in bfloat16, the recurrence and everything that is kept in single precision."""
    for kind in CELLS:
        cells = make(kind, 8, 12, 2, torch.float32)
        x = draw(9, 6, 8, seed=3, dtype=torch.float32).requires_grad_()
        lengths = torch.tensor([6, 2, 3, 1, 6, 5, 4, 2, 1])
        want, _ = run(cells, x, lengths, [None, None], engine)
        exact = torch.autograd.grad(want.sum(), [x, *cells[0].parameters()])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got, _ = run(cells, x, lengths, [None, None], engine)
        rough = torch.autograd.grad(got.sum(), [x, *cells[0].parameters()])
        assert got.dtype == torch.float32
        assert not torch.equal(got, want)
        torch.testing.assert_close(got, want, rtol=0.05, atol=0.03)
        for one, other in zip(rough, exact, strict=True):
            assert one.dtype == torch.float32
            assert float((one - other).norm() / other.norm()) < 0.06


# ---- which one


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(native_library.VARIABLE, raising=False)
    native_library.native.cache_clear()
    yield
    native_library.native.cache_clear()


CPU = torch.device("cpu")


@pytest.mark.usefixtures("_fresh")
def test_without_a_compiler_torchs_own_layers_run_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQKIT_NATIVE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with kernels.use("auto"):
        found = kernels.choose(nn.GRU(2, 3), CPU, torch.float32)
    assert found.name == "padded"
    assert "no C++ compiler" in found.why
    with kernels.use("native"), pytest.raises(UsageError, match="no C\\+\\+ compiler"):
        kernels.choose(nn.GRU(2, 3), CPU, torch.float32)


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler on this machine")
def test_where_there_is_a_compiler_the_library_is_there() -> None:
    """Tests of the library are skipped without it: they must not be where its code has ceased to compile."""
    assert native_library.native().library is not None, native_library.native().said


@pytest.mark.usefixtures("_fresh")
def test_a_compiler_that_fails_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such thing' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("SEQKIT_NATIVE", str(tmp_path / "native"))
    monkeypatch.setenv("CXX", str(broken))
    assert native_library.native().library is None
    assert "no such thing" in native_library.native().said
    assert not list((tmp_path / "native").iterdir())


@pytest.mark.usefixtures("_fresh")
def test_code_that_others_may_write_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_NATIVE", str(tmp_path))
    path = tmp_path / f"{native_library.key_of(native_library.SOURCE.read_bytes(), native_library.flags())}.so"
    path.write_bytes(b"no library")
    path.chmod(0o666)
    assert "others may write" in native_library.native().said
    path.chmod(0o600)
    native_library.native.cache_clear()
    assert native_library.native().library is None, "what is no library is no error either"


def test_the_name_of_what_is_built_says_what_it_is_made_of() -> None:
    key = native_library.key_of(b"source", ["-O3"])
    assert key == native_library.key_of(b"source", ["-O3"])
    assert len({key, native_library.key_of(b"source ", ["-O3"]), native_library.key_of(b"source", ["-O2"])}) == 3


@pytest.mark.parametrize("wanted", ["auto", "padded", "native", "stepwise"])
def test_the_choice_follows_what_is_asked_for(wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = native_library.native().library is not None
    if wanted == "native" and not there:
        pytest.skip("no native library")
    monkeypatch.setenv(native_library.VARIABLE, wanted)
    found = kernels.choose(nn.LSTM(2, 3), CPU, torch.float32)
    assert found.name == (("native" if there else "padded") if wanted == "auto" else wanted)
    assert found.why in kernels.describe(CPU)
    assert (found.engine is None) == (found.name == "padded")
    assert kernels.choose(nn.LSTM(2, 3), torch.device("cuda"), torch.float32).name == "padded"
    assert kernels.choose(nn.LSTM(2, 3), CPU, torch.bfloat16).name == "padded"


@pytest.mark.usefixtures("_fresh")
def test_an_lstm_in_low_precision_is_left_to_onednn() -> None:
    with kernels.use("auto"), torch.autocast("cpu", dtype=torch.bfloat16):
        found = kernels.choose(nn.LSTM(2, 3), CPU, torch.float32)
    assert (found.name, "low precision" in found.why) == ("padded", True)


def test_an_unknown_wish_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native_library.VARIABLE, "fast")
    with pytest.raises(UsageError, match="SEQKIT_KERNELS is 'fast'"):
        kernels.choose(nn.LSTM(2, 3), CPU, torch.float32)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of another processor")
@pytest.mark.parametrize("target", ["haswell", "x86-64"])
def test_narrower_vectors_give_the_same(target: str, tmp_path: Path) -> None:
    """The code for processors with vectors of 256 and 128 bits."""
    if native_library.native().library is None:
        pytest.skip(f"the native library is {native_library.native().said}")
    arguments = [f"-march={target}" if flag == "-march=native" else flag for flag in native_library.flags()]
    native_library.build(os.environ.get("CXX", "c++"), arguments, tmp_path / "narrow.so")
    library: Any = ctypes.CDLL(str(tmp_path / "narrow.so"))
    native_library.declare_functions(library)
    assert library.seqkit_lanes() == {"haswell": 8, "x86-64": 4}[target]
    whole = native_library.native()
    for kind in CELLS:
        for hidden in (3, 33, 100):
            cells, x = make(kind, 4, hidden, 2, torch.float32), draw(len(RAGGED), 7, 4, seed=2, dtype=torch.float32)
            told = []
            for own in (whole, replace(whole, library=library)):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("seqkit.kernels.native.native", lambda own=own: own)
                    steps, _ = run(cells, x, RAGGED, [None, None], native_pass)
                    told.append([steps, *torch.autograd.grad(weigh([steps]), list(cells[0].parameters()))])
            for got, want in zip(*told, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-5, atol=2e-6)
