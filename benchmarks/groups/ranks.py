"""Several processes: two on two cores beside two threads of one, and what summing gradients early and drawing random
numbers by example cost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

SHAPES = {"large": (64, 64, 256), "small": (16, 20, 32)}
"""Batch, steps and width of what is dropped."""
SHARE, CALLS = 0.3, 20


def _values(case: str) -> Any:
    import torch

    return torch.randn(*SHAPES[case], generator=torch.Generator().manual_seed(0)).requires_grad_()


def _prepared(case: str, drop: Any) -> Prepared:
    """A round is some calls, forward and backward; the output is the share that is dropped, which is about the same."""
    import torch

    x = _values(case)
    ones = torch.ones(SHAPES[case])

    def run() -> None:
        for step in range(CALLS):
            drop(x, step).backward(ones)

    def outputs() -> Mapping[str, Any]:
        dropped = torch.stack([(drop(x, step) == 0).double().mean() for step in range(200)]).mean()
        return {"dropped": dropped.detach().numpy().round(2)}

    return Prepared(run, outputs, {"numbers": ones.numel() * CALLS})


def by_example(case: str) -> Prepared:
    import torch

    from seqkit import kernels

    numbers = torch.arange(SHAPES[case][0])

    def drop(x: Any, step: int) -> Any:
        with kernels.by_example(1, step, numbers):
            return kernels.dropout(x, SHARE)

    return _prepared(case, drop)


def torch_dropout(case: str) -> Prepared:
    from torch.nn import functional

    return _prepared(case, lambda x, step: functional.dropout(x, SHARE))


def _trained(recipe: str, processes: int, threads: int) -> Prepared:
    """A round is a run of some steps; what counts is the seconds that a million tokens take after the first steps."""
    command = [sys.executable, "-m", "seqkit", "run", recipe, "--quiet"]
    command += ["--nproc", str(processes)] if processes > 1 else []
    for option in (*RUNS[recipe], f"train.steps={STEPS}", f"train.log_every={STEPS // 4}", "train.memory=null"):
        command += ["--set", option]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def run() -> float:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            subprocess.run([*command, "--out", str(out)], env=environment, check=True, capture_output=True)
            return _seconds_for_a_million(out)

    return Prepared(run, notes={"tokens": 1_000_000})


def _pair(*, overlaps: bool) -> Prepared:
    """A round is some steps of two processes; what counts is the seconds of the steps after the first ones."""
    code = "" if overlaps else f"{AFTERWARDS}; "
    code += "from seqkit.cli import main; import sys; main(sys.argv[1:])"
    options = [f"train.steps={STEPS}", f"train.log_every={STEPS // 4}", "train.memory=null", *LARGE]
    words = ["run", "charlm", "--quiet", *(word for option in options for word in ("--set", option))]

    def run() -> float:
        with tempfile.TemporaryDirectory() as scratch, socket.socket() as listener:
            out = Path(scratch) / "run"
            listener.bind(("127.0.0.1", 0))
            common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
            listener.close()
            common |= {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": Path(scratch).name}
            command = [sys.executable, "-c", code, *words, "--out", str(out)]
            processes = [
                subprocess.Popen(command, env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
                for rank in range(2)
            ]
            if any(process.wait() for process in processes):
                raise RuntimeError("a process has failed")
            return _seconds_for_a_million(out)

    return Prepared(run, notes={"tokens": 1_000_000})


def _seconds_for_a_million(run: Path) -> float:
    rates = [json.loads(line).get("time/tokens_per_s") for line in (run / "metrics.jsonl").read_text().splitlines()]
    known = [rate for rate in rates if rate is not None][1:]
    return 1e6 * sum(1 / rate for rate in known) / len(known)


def seqkit(kind: str, case: str) -> Prepared:
    if kind == "overlap":
        return _pair(overlaps=True)
    return by_example(case) if kind == "dropout" else _trained(case, 2, 1)


def other(kind: str, case: str) -> Prepared:
    return torch_dropout(case) if kind == "dropout" else _trained(case, 1, 2)


def afterwards(kind: str, case: str) -> Prepared:
    return _pair(overlaps=False)


def one(kind: str, case: str) -> Prepared:
    return _trained(case, 1, 1)


RUNS: Mapping[str, tuple[str, ...]] = {
    "sentiment": ("train.batch=64", "encoder.hidden=256"),
    "charlm": ("train.batch=64",),
}
STEPS = 80
LARGE = ("encoder.hidden=512", "encoder.layers=2", "train.batch=8", "tasks.charlm.window=32")
"""A recipe whose gradient has 14 MB, in several buckets."""
AFTERWARDS = (
    "import contextlib; from seqkit.training.bucket_sums import BucketSums; "
    "BucketSums.during_backward = lambda *_: contextlib.nullcontext()"
)

HERE = __name__
GROUP = Group(
    "ranks",
    f"Dropout: {CALLS} calls, forward and backward, of batch x steps x width numbers: drawn by example, and torch's "
    f"own. Training: seconds for a million tokens in {STEPS} steps of a recipe: two processes of one thread, one "
    "process of two threads, one process of one thread. Overlap: the same of two processes that train an LSTM of two "
    "layers of 512 on 8 lanes of 32 steps, whose gradients are summed while the backward pass is running, or after "
    "it. It needs two idle "
    "cores.",
    [
        *(Case(f"dropout {case}", {"kind": "dropout", "case": case}, quick=True) for case in SHAPES),
        *(Case(f"training {case}", {"kind": "training", "case": case}) for case in RUNS),
        Case("overlap", {"kind": "overlap", "case": "charlm"}),
    ],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender(
            "torch's dropout; two threads",
            f"{HERE}:other",
            only=(*(f"dropout {case}" for case in SHAPES), *(f"training {case}" for case in RUNS)),
        ),
        Contender("one thread", f"{HERE}:one", only=tuple(f"training {case}" for case in RUNS)),
        Contender("summed after the backward pass", f"{HERE}:afterwards", only=("overlap",)),
    ],
    [Target("random numbers by example", "dropout large", "torch's dropout; two threads", 1.0, 1.0)],
    rounds=5,
)
