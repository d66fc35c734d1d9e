"""`python -m tests.gpu.first_contact --out DIR`: what a GPU that is borrowed for ten minutes runs first.

Each part is a process of its own with a share of the time, and is written to DIR as it goes on, so that a part that
fails or hangs costs its own time only. `python docs/make_gpu.py --first-contact DIR/first_contact.json` makes
docs/gpu.md of it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from tests.gpu.emulation import libraries
from tests.gpu.emulation.device import emulated_gpu
from tests.gpu.emulation.recipe_run import weights

PROFILED = ("charlm", "sentiment", "ner", "speech", "translation")
GRAPHED = ("copy", "charlm", "charlm-shakespeare")
WHOLE = ("charlm-shakespeare", "sentiment-sst2")
WARM_UP, REPEATS = 3, 10

Save: TypeAlias = Callable[[dict[str, Any]], None]
"""Writes what a part has found so far, in case that it does not come to its end."""


def versions(quick: bool, save: Save) -> dict[str, Any]:
    """Versions, and what the device is."""
    import importlib.metadata
    import importlib.util
    import platform

    properties = torch.cuda.get_device_properties(0)
    names = ("triton", "seqkit", "numpy")
    installed = {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name)}
    return {
        "device": properties.name,
        "memory": properties.total_memory,
        "processors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **installed,
    }


def tests(quick: bool, save: Save) -> dict[str, Any]:
    """`pytest -m gpu`: how many passed, and the names of those that failed."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--tb=line", "tests/gpu"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ended.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"summary": lines[-1] if lines else "", "failed": failed, "output": ended.stdout[-6000:]}


def same_numbers(quick: bool, save: Save) -> dict[str, Any]:
    """Two runs, and one that is killed and resumed: the hashes of everything that they end with."""
    from seqkit.verification.resume import verify_resume

    results: dict[str, Any] = {}
    for recipe in ("names",) if quick else ("names", "charlm", "ner"):
        certificates = []
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                sets, runs = ["device=cuda"], Path(folder) / "runs"
                certificates.append(verify_resume(recipe, sets, kills=2, steps=12, seed=1, folder=runs))
        results[recipe] = {
            "hashes": [certificate.sha256 for certificate in certificates],
            "resumed alike": all(certificate.equal for certificate in certificates),
            "runs alike": len({certificate.sha256 for certificate in certificates}) == 1,
            "differences": [sentence for certificate in certificates for sentence in certificate.differences][:6],
        }
        save(results)
    return results


def layers(quick: bool, save: Save) -> dict[str, Any]:
    """Forward and backward of one layer beside torch's, over ragged batches: milliseconds, the median of some."""
    widths, batches, steps = ((64,), (8,), 20) if quick else ((64, 128, 256, 640), (8, 64, 512), 100)
    precisions = ("fp32",) if quick else ("fp32", "tf32", "bf16")
    results = []
    for cell, hidden, batch, precision in itertools.product(("lstm", "gru"), widths, batches, precisions):
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
        lengths[0] = steps
        contenders = _contenders(cell, hidden, lengths, with_loop=hidden == widths[0] and batch == batches[0])
        allow = torch.backends.cuda.matmul, torch.backends.cudnn
        for backend in allow:
            backend.allow_tf32 = precision == "tf32"  # type: ignore[attr-defined]
        row: dict[str, Any] = {"cell": cell, "hidden": hidden, "batch": batch, "steps": steps, "precision": precision}
        for name, run in contenders.items():
            try:
                with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                    row[name] = _milliseconds(run)
                    if batch == batches[0] and hidden == widths[0]:
                        row[f"kernels of {name}"] = _kernels(run)
            except Exception as error:  # the others are measured all the same
                row[f"{name} failed"] = f"{type(error).__name__}: {error}"[:300]
        results.append(row)
        save({"rows": results})
    return {"rows": results}


def _contenders(cell: str, hidden: int, lengths: Tensor, *, with_loop: bool) -> dict[str, Callable[[], None]]:
    from seqkit import kernels
    from seqkit.encoders import gru, lstm

    ours = {"lstm": lstm, "gru": gru}[cell](hidden, hidden=hidden).cuda()
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](hidden, hidden, batch_first=True).cuda()
    x = torch.randn(len(lengths), int(lengths.max()), hidden, device="cuda", requires_grad=True)
    order = lengths.argsort(descending=True)

    def encoder() -> None:
        ours(x, lengths).steps.square().sum().backward()

    def padded() -> None:
        theirs(x)[0].square().sum().backward()

    def packed() -> None:
        rows = pack_padded_sequence(x, lengths[order], batch_first=True)
        theirs(rows)[0].data.square().sum().backward()

    def cell_loop() -> None:
        step = torch.lstm_cell if cell == "lstm" else torch.gru_cell
        weights = theirs.all_weights[0]
        zero = x.new_zeros(len(lengths), hidden)
        state: Any = (zero, zero) if cell == "lstm" else zero
        total = x.new_zeros(())
        for t in range(x.shape[1]):
            state = step(x[:, t], state, *weights)
            total = total + (state[0] if cell == "lstm" else state).square().sum()
        total.backward()

    def in_triton() -> None:
        with kernels.use("triton"):
            encoder()

    contenders = {"seqkit": encoder, "seqkit in Triton": in_triton, "torch padded": padded, "torch packed": packed}
    return contenders | ({"cell loop": cell_loop} if with_loop else {})


def _milliseconds(run: Callable[[], None]) -> float:
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return round(statistics.median(times), 4)


def _kernels(run: Callable[[], None]) -> list[str]:
    """The names of the kernels that ran longest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
    rows = sorted(profiler.key_averages(), key=lambda row: -row.device_time_total)
    return [f"{row.key[:90]} x{row.count}" for row in rows[:4]]


def profiles(quick: bool, save: Save) -> dict[str, Any]:
    """Some steps of five recipes: launches a step, how much of the time the device was busy, the longest kernels."""
    from torch.profiler import ProfilerActivity, profile

    from seqkit.experiments import run_recipe

    results: dict[str, Any] = {}
    for name in PROFILED[:1] if quick else PROFILED:
        with tempfile.TemporaryDirectory() as folder:
            checked, run, progress = _short_run(name, 30, Path(folder))
            torch.cuda.reset_peak_memory_stats()
            began = time.monotonic()
            with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                run_recipe.run_recipe(checked, run, progress)
            seconds = time.monotonic() - began
        rows = sorted(profiler.key_averages(), key=lambda row: -row.device_time_total)
        results[name] = {
            "seconds": round(seconds, 2),
            "busy": round(sum(row.device_time_total for row in rows) / 1e6 / seconds, 4),
            "launches a step": round(sum(row.count for row in rows) / 30, 1),
            "longest": [f"{row.key[:90]} x{row.count} {row.device_time_total / 1e3:.2f} ms" for row in rows[:6]],
            "peak memory": torch.cuda.max_memory_allocated(),
        }
        save(results)
    return results


def graphs(quick: bool, save: Save) -> dict[str, Any]:
    """Runs whose steps are CUDA graphs, and runs of operations: what the log says, the weights, steps a second."""
    from seqkit.experiments import run_recipe

    results: dict[str, Any] = {}
    for name in GRAPHED[:1] if quick else GRAPHED:
        facts: dict[str, Any] = {}
        hashes = []
        for setting in ("false", "true"):
            with tempfile.TemporaryDirectory() as folder:
                checked, run, progress = _short_run(
                    name, 6 if quick else 400, Path(folder), f"train.cuda_graphs={setting}"
                )
                run_recipe.run_recipe(checked, run, progress)
                log = (run.folder / "run.log").read_text().splitlines()
                hashes.append(weights(run.folder))
                rows = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
                speeds = [row["time/tokens_per_s"] for row in rows if "time/tokens_per_s" in row]
            facts[f"tokens a second, cuda_graphs: {setting}"] = round(speeds[-1]) if speeds else None
        facts["log"] = [line.partition(" ")[2] for line in log if "graph" in line.lower()]
        facts["the same weights"] = hashes[0] == hashes[1]
        results[name] = facts
        save(results)
    return results


def whole_runs(quick: bool, save: Save) -> dict[str, Any]:
    """Recipes from start to end: seconds, scores, peak memory."""
    from seqkit.experiments import run_recipe

    results: dict[str, Any] = {}
    for name in ("names",) if quick else WHOLE:
        with tempfile.TemporaryDirectory() as folder:
            checked, run, progress = _short_run(name, 6 if quick else None, Path(folder))
            torch.cuda.reset_peak_memory_stats()
            began = time.monotonic()
            try:
                scores = run_recipe.run_recipe(checked, run, progress).scores
            except Exception as error:  # the data set may not be on a borrowed machine
                results[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
                continue
            seconds, peak = round(time.monotonic() - began, 2), torch.cuda.max_memory_allocated()
            results[name] = {"seconds": seconds, "scores": scores, "peak memory": peak}
            save(results)
    return results


def _short_run(name: str, steps: int | None, folder: Path, *sets: str) -> tuple[Any, Any, Any]:
    from seqkit import recipe
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run
    from seqkit.verification.resume import shorten

    checked = recipe.load(name, [*shorten(steps), "device=cuda", *sets])
    run = Run.create("first-contact", text=checked.text, resolved=checked.resolved(), out=folder / "run")
    return checked, run, Progress(quiet=True)


PARTS: dict[str, tuple[Callable[[bool, Save], dict[str, Any]], float]] = {
    "versions": (versions, 20),
    "same numbers": (same_numbers, 150),
    "layers": (layers, 90),
    "tests": (tests, 150),
    "whole runs": (whole_runs, 120),
    "profiles": (profiles, 90),
    "graphs": (graphs, 90),
}
"""Each part, in order, and how many seconds it may take."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.first_contact", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to try the script itself")
    parser.add_argument("--emulated", action="store_true", help="on the emulated GPU, to try the script itself")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this part; may be repeated")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all parts together")
    parser.add_argument("--child", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.child:
        for name in options.only or PARTS:
            _path(options.out, name).unlink(missing_ok=True)
    if options.child:
        with emulated_gpu() if options.emulated else contextlib.nullcontext():
            save = partial(_write, options.out, options.child)
            save(PARTS[options.child][0](options.quick, save))
        return 0
    began = time.monotonic()
    for name in options.only or PARTS:
        left = options.seconds - (time.monotonic() - began)
        of_part = left if options.emulated else min(left, PARTS[name][1])
        _run_part(name, options.out, of_part, quick=options.quick, emulated=options.emulated)
    parts = {name: json.loads(path.read_text()) for name in PARTS if (path := _path(options.out, name)).exists()}
    when = time.strftime("%Y-%m-%d", time.gmtime())
    (options.out / "first_contact.json").write_text(json.dumps({"when": when, "parts": parts}, indent=1) + "\n")
    print(f"{options.out / 'first_contact.json'}: {len(parts)} parts")
    return 0


def _run_part(name: str, out: Path, seconds: float, *, quick: bool, emulated: bool) -> None:
    """Run a part in a process of its own. What went wrong is written in its place."""
    if seconds < 5:
        _write(out, name, {"error": "there was no time left"})
        return
    command = [sys.executable, "-m", "tests.gpu.first_contact", "--out", str(out), "--child", name]
    command += [*["--quick"] * quick, *["--emulated"] * emulated]
    began = time.monotonic()
    try:
        environment = libraries.environment(out) if emulated else None
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=seconds)
        error = "" if ended.returncode == 0 else (ended.stdout + ended.stderr)[-3000:]
    except subprocess.TimeoutExpired:
        error = f"it was ended after {seconds:.0f} seconds"
    if error:
        path = _path(out, name)
        _write(out, name, (json.loads(path.read_text()) if path.exists() else {}) | {"error": error})
    print(f"{name}: {'failed' if error else 'done'} after {time.monotonic() - began:.0f} s", flush=True)


def _path(out: Path, name: str) -> Path:
    return out / f"{name.replace(' ', '_')}.json"


def _write(out: Path, name: str, facts: dict[str, Any]) -> None:
    path = _path(out, name)
    path.with_suffix(".new").write_text(json.dumps(facts, indent=1) + "\n")
    path.with_suffix(".new").replace(path)  # the process may be ended while it writes


if __name__ == "__main__":
    sys.exit(main())
