"""Every recipe that comes with seqkit on an emulated GPU, from step one to predictions; and the emulation itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqkit.recipe import bundled
from tests.gpu.emulation import __main__ as emulation
from tests.gpu.emulation import contracts, graphed, libraries
from tests.helpers.data import HAS_DATA
from tests.helpers.scripts import load_script

REASON = libraries.why_not()
needs_emulation = pytest.mark.skipif(bool(REASON), reason=f"no GPU can be emulated: {REASON}")


def check_ran(facts: dict[str, Any]) -> None:
    """Fails with what ended a run before its time; a recipe whose real data nobody has is skipped."""
    if not HAS_DATA and "MissingFile" in facts.get("error", ""):
        pytest.skip("reads real data, and SEQKIT_DATA names none")
    assert not facts.get("error"), facts["error"]


def run_python(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program that sees the emulated GPU."""
    command = [sys.executable, "-c", source]
    return subprocess.run(
        command, env=libraries.environment(folder), capture_output=True, text=True, check=False, timeout=600
    )


TROUBLES = """
import torch
from tests.gpu.emulation.device import emulated_gpu
from tests.gpu.emulation.tensors import records
with emulated_gpu():
    x = torch.ones(3, 4, requires_grad=True, device="cuda")
    (x * 2.0).sum().backward()
    assert x.grad.cpu().tolist() == [[2.0] * 4] * 3
    assert not records.of("two devices")
    try:
        x + torch.ones(3, 4)
    except RuntimeError as error:
        assert "same device" in str(error)
    else:
        raise AssertionError("tensors of two devices")
    assert records.of("two devices")
    before = len(records.of("wait"))
    x.sum().item()
    x.detach()[torch.tensor([0])]
    torch.ones(3).to("cuda")
    (x.detach() > 0).nonzero()
    assert len(records.of("wait")) == before + 4, records.of("wait")
    torch.ones(3).pin_memory().to("cuda", non_blocking=True)
    assert len(records.of("wait")) == before + 4
    torch.ones(3).to("cuda", non_blocking=True)
    assert records.of("pageable copy")
    lstm = torch.nn.LSTM(4, 4).cuda()
    h = torch.zeros(2, 2, 4, device="cuda")
    lstm(torch.zeros(5, 2, 4, device="cuda"), (h[:1], h[1:]))
    try:
        lstm(torch.zeros(5, 2, 4, device="cuda"), (h[:, :1].transpose(0, 1),) * 2)
    except RuntimeError as error:
        assert "contiguous" in str(error)
    else:
        raise AssertionError("a state that is a slice")
    assert records.of("not contiguous")
print("all seen")
"""

NUMBERS = """
import torch
from tests.gpu.emulation.device import emulated_gpu
torch.manual_seed(0)
for kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.LSTMCell, torch.nn.GRUCell):
    is_cell = kind.__name__.endswith("Cell")
    module = kind(3, 4)
    x = torch.randn(2, 3) if is_cell else torch.randn(5, 2, 3)
    results = []
    for device in ("cpu", "cuda"):
        with emulated_gpu():
            module = module.to(device)
            here = x.to(device).requires_grad_()
            state = torch.zeros((2, 4) if is_cell else (1, 2, 4), device=device)
            state = (state, state) if "LSTM" in kind.__name__ else state
            out = module(here, state)
            out = out[0] if isinstance(out, tuple) else out
            grads = torch.autograd.grad(out.square().sum(), [here, *module.parameters()])
            results.append([tensor.detach().cpu() for tensor in (out, *grads)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
print("equal")
"""


DRAWS = """
import torch
from seqkit.kernels import by_example, draw_uniform, draws, dropout, use
from tests.gpu.emulation.device import emulated_gpu
def drawn(device):
    with by_example(1, 2, torch.tensor([7, 0, 3])):
        uniform = draw_uniform((3, 5), device)
        return uniform.cpu(), dropout(torch.ones(3, 4, 6, device=device), 0.5).cpu()
expected = drawn("cpu")
with emulated_gpu():
    assert all(map(torch.equal, drawn("cuda"), expected))
    for draws.FEW in (1 << 16, 0):
        with use("padded"):
            assert all(map(torch.equal, drawn("cuda"), expected))
print("the same")
"""

FIRST_USE = """
import warnings
import torch
from unittest import mock
from seqkit.heads import crf_algorithms
from seqkit.heads.kernel_choices import kernel_choices
from seqkit.kernels import triton_choice, triton_sums
from tests.gpu.emulation.device import emulated_gpu
from tests.gpu.emulation.tensors import records
def loss():
    records.begin_step()
    scores = torch.zeros(4, 2, 3, dtype=torch.float64, device="cuda", requires_grad=True)
    rows = torch.zeros(2, 3, dtype=torch.float64, device="cuda")
    chain = crf_algorithms.Chain(scores, torch.zeros(3, 3, dtype=torch.float64, device="cuda"), rows, rows,
                                 torch.tensor([4, 2]))
    crf_algorithms.negative_log_likelihood(chain, torch.zeros(2, 4, dtype=torch.int64, device="cuda")).sum().backward()
    records.end_step()
    return {name for name in records.steps[-1] if name.startswith("Triton")}
with emulated_gpu(), warnings.catch_warnings():
    warnings.simplefilter("error")
    assert {choice.name for choice in kernel_choices(torch.device("cuda")).values()} == {"triton"}
    loss()
    assert loss() == {"Triton: chain_sums", "Triton: chain_gradient"}
    triton_choice._compared.clear()
    warnings.simplefilter("always")
    right = triton_sums.triton_chain_gradient
    def wrong(*args, **kwargs):
        first, *rest = right(*args, **kwargs)
        return 1.001 * first, *rest
    broken = crf_algorithms.ChainKernels(triton_sums.triton_chain_sums, wrong, triton_sums.triton_best_paths)
    with mock.patch("seqkit.kernels.chains.TRITON", broken), warnings.catch_warnings(record=True) as seen:
        loss()
        assert not loss()
    (warning,) = [str(one.message) for one in seen if "Triton" in str(one.message)]
    assert "kernels in Triton for random fields of 3 states are not used on cuda:0: the gradient of" in warning, warning
    waits = [line for line in records.of("wait", "step") if "triton_choice" not in line]
    assert not waits, waits
print("taken and refused")
"""

GRAPHS = """
import contextlib
import torch
from seqkit.interfaces import Batch
from seqkit.training.step_graphs import Pass, StepGraphs
from seqkit.uploads import upload
from tests.gpu.emulation.device import emulated_gpu

def run(kind):
    model, calls, log = torch.nn.Linear(3, 2).cuda(), [], []
    def compute(batch, before):
        calls.append(batch)
        loss = model(batch.x).square().sum()
        if kind == "counts its calls":
            loss = loss * len(calls)
        if kind == "reads targets on the CPU":
            loss = loss * float(batch.y_on_cpu.sum())
        if kind == "uploads":
            loss = loss * upload(torch.tensor([1.0]), loss.device).sum()
        if kind == "waits":
            loss = loss * loss.item()
        return Pass(loss.detach(), torch.tensor(2), (), torch.autograd.grad(loss, list(model.parameters())))
    graphs, results = StepGraphs(model, lambda batch: contextlib.nullcontext()), []
    for step in range(6):
        host = torch.full((2,), float(step))
        batch = Batch(torch.full((2, 1, 3), float(step)).cuda(), torch.tensor([1, 1]), host.cuda(), host_y=host)
        eager = []
        got = graphs.run("t", batch, None, compute, lambda: eager.append(compute(batch, None)) or eager[0], log.append)
        results.append((got or eager[0]).gradients[0].cpu().clone())
        expected = 2 * (model.weight @ torch.full((3, 2), float(step)).cuda() + model.bias[:, None]) * float(step)
        if kind == "is captured":
            torch.testing.assert_close(results[-1], expected.sum(1, keepdim=True).expand(2, 3).detach().cpu())
    return len(calls), log

with emulated_gpu():
    calls, log = run("is captured")
    assert calls == 5, calls  # three steps, and two passes by which the graph is made
    assert "are run as a CUDA graph" in log[0]
    for kind, reason in {
        "counts its calls": "does not give the numbers",
        "reads targets on the CPU": "not permitted",
        "uploads": "uploads a tensor that only the CPU knows",
        "waits": "not permitted",
    }.items():
        calls, log = run(kind)
        assert calls >= 6 and len(log) == 1 and reason in log[0], (kind, calls, log)
print("captured and refused")
"""

PRECISION = """
import torch
from seqkit.kernels import run_padded
from tests.gpu.emulation.device import emulated_gpu
torch.manual_seed(0)
for kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
    cell, x, h = kind(3, 4), torch.randn(5, 2, 3), torch.randn(2, 2, 4)
    state = (h[:, 0], h[:, 1]) if kind is torch.nn.LSTM else (h[:, 0],)
    expected = run_padded(cell, x, torch.tensor([5, 5]), state).steps
    expected_gradients = torch.autograd.grad(expected.sum(), list(cell.parameters()))
    for dtype in (torch.bfloat16, torch.float16):
        with emulated_gpu(), torch.autocast("cuda", dtype):
            cell = cell.to("cuda")
            here = tuple(tensor.cuda() for tensor in state)
            steps = run_padded(cell, x.cuda(), torch.tensor([5, 5]), here).steps
            assert steps.dtype == dtype
            grads = torch.autograd.grad(steps.float().sum(), list(cell.parameters()))
            torch.testing.assert_close(steps.float().cpu(), expected, rtol=0.03, atol=0.03)
            for one, other in zip(grads, expected_gradients, strict=True):
                assert one.dtype == torch.float32
                torch.testing.assert_close(one.cpu(), other, rtol=0.03, atol=0.05)
            cell = cell.cpu()
print("as asked for")
"""


@pytest.mark.slow
@needs_emulation
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (TROUBLES, "all seen"),
        (NUMBERS, "equal"),
        (PRECISION, "as asked for"),
        (DRAWS, "the same"),
        (FIRST_USE, "taken and refused"),
        (GRAPHS, "captured and refused"),
    ],
    ids=["troubles", "numbers", "precision", "draws", "first use", "graphs"],
)
def test_the_emulation_computes_and_sees(source: str, said: str, tmp_path: Path) -> None:
    ended = run_python(source, tmp_path)
    assert ended.stdout.strip() == said, ended.stderr[-3000:]


@pytest.mark.slow
@needs_emulation
@pytest.mark.parametrize("recipe", ["copy", "charlm", "images-mnist-rows"])
def test_steps_as_graphs_give_the_same_weights(recipe: str) -> None:
    facts = graphed.compare(recipe, [], timeout=1200)
    check_ran(facts)
    assert facts["captured"], facts["log"]
    assert facts["equal"]
    assert facts["with graphs"] < facts["operations"]
    assert not facts["waits"]


@pytest.mark.slow
@needs_emulation
@pytest.mark.parametrize("recipe", bundled.names())
def test_a_recipe_goes_all_its_way(recipe: str, tmp_path: Path) -> None:
    facts = emulation.run(recipe, [], 6, tmp_path, timeout=1200)
    check_ran(facts)
    assert facts["resumed alike"], "a run that went on from its middle must end as the whole one"
    assert facts["predictions"]
    troubles = [tuple(trouble) for trouble in facts["troubles"]]
    for kind in ("two devices", "not contiguous"):
        assert not [trouble for trouble in troubles if trouble[0] == kind]
    assert not [trouble for trouble in troubles if trouble[1] == "step" and trouble[0] in ("wait", "pageable copy")]
    unordered = {operation for kind, _, _, operation, _ in troubles if kind == "not deterministic"}
    listed = load_script("make_gpu").unordered(json.loads((load_script("make_gpu").FACTS).read_text())["emulated"])
    assert unordered <= set(listed)


@pytest.mark.slow
@needs_emulation
@pytest.mark.parametrize("kind", contracts.TASKS)
@pytest.mark.parametrize("check", contracts.CHECKS)
def test_the_contracts_hold_and_a_killed_run_ends_alike_on_the_device(check: str, kind: str, tmp_path: Path) -> None:
    facts = contracts.CHECKS[check](kind, tmp_path)
    assert "error" not in facts, facts["error"]
    assert facts.get("checks") or facts["kills"] == contracts.KILLS
