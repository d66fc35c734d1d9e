"""A run that writes down its own memory: `python -m benchmarks.memory_child KIND RECIPE FOLDER [A.B=C ...]`.

KIND `run` trains the recipe in the run folder FOLDER. KIND `needed` does what the run cannot do with less: torch and
seqkit imported, data opened, the model, the optimiser and its moments, and two steps on the largest batch of all
epochs. The rest of the arguments are changes of the recipe, as `--set` takes them. The answer is one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqkit.runtime import allocator

EVERY = 100
"""Steps between two records."""


def main(kind: str, recipe: str, folder: str, *sets: str) -> None:
    allocator.configure()  # before torch is imported, as the command line does it
    answer = {"run": whole_run, "needed": needed}[kind](recipe, Path(folder), sets)
    print(json.dumps(answer))


def whole_run(recipe: str, folder: Path, sets: tuple[str, ...]) -> dict[str, Any]:
    """The run's scores, and records of its memory: every 100 steps and in each epoch's first step."""
    import torch

    from seqkit import recipe as recipes
    from seqkit.experiments.run_recipe import run_recipe
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run
    from seqkit.runtime.precision import choose_precision

    records: list[dict[str, int | float]] = []

    class Watching(Progress):
        """Looks at the memory of the process where a bar would move."""

        def update(self, step: int, total: int | None = None, *, tokens: int = 0, **fields: Any) -> None:
            epoch = int(fields["epoch"])
            if not records or epoch != records[-1]["epoch"] or step % EVERY == 0 or step == total:
                records.append({"step": step, "epoch": epoch} | memory())
                forget_peak()

    checked = recipes.load(recipe, sets)
    run = Run.create(checked.name, text=checked.text, resolved=checked.resolved(), out=folder)
    start = time.perf_counter()
    with Watching(quiet=True) as progress:
        result = run_recipe(checked, run, progress)
    records.append({"step": records[-1]["step"], "epoch": records[-1]["epoch"] + 1} | memory())
    seconds = time.perf_counter() - start
    precision = choose_precision(checked.train.precision, torch.device("cpu"))
    return {"records": records, "scores": result.scores, "seconds": seconds, "precision": precision}


def needed(recipe: str, folder: Path, sets: tuple[str, ...]) -> dict[str, Any]:
    """Memory of a process that has taken two steps on the largest batch of the recipe's epochs, and nothing else."""
    import torch

    from seqkit import recipe as recipes
    from seqkit.data.epoch import EpochPlan
    from seqkit.experiments.prepare import prepare_data
    from seqkit.experiments.run_recipe import build_seeded
    from seqkit.optim.gradients import clear_gradients, clip_gradients, global_norm
    from seqkit.runs.progress import Progress
    from seqkit.runtime.determinism import deterministic
    from seqkit.training.state import TrainingState
    from seqkit.training.step import forward_backward, mean_gradients

    checked = recipes.load(recipe, sets)
    device = torch.device("cpu")
    with Progress(quiet=True) as progress, deterministic(device, tf32=checked.train.tf32):
        data = prepare_data(checked, progress)
        forget_peak()  # what preparing took is no part of it
        base = memory()
        state = TrainingState.create(build_seeded(checked, data, device), data, checked.train, seed=checked.seed)
        plans = [
            EpochPlan(data, checked.train, seed=checked.seed, epoch=epoch) for epoch in range(checked.train.epochs)
        ]
        size, epoch, number = max(
            (padded_steps(plan, number), epoch, number)
            for epoch, plan in enumerate(plans)
            for number in range(len(plan))
        )
        turn = plans[epoch].turns[number]
        state.model.train()
        for _ in range(2):
            result = forward_backward(state, data[turn.task], plans[epoch].batches(turn), lambda line: None)
            gradients = mean_gradients(state, result)
            clip_gradients(gradients, checked.train.clip, global_norm(gradients))
            state.optimizer.step()
            clear_gradients(state.parameters)
    parameters = sum(parameter.numel() for parameter in state.parameters)
    return {"base": base["resident"], "needed": memory()["peak"], "parameters": parameters, "batch_steps": size}


def padded_steps(plan: Any, number: int) -> int:
    """Steps of the inputs and of the targets of a turn, with the padding."""
    turn = plan.turns[number]
    data = plan.data[turn.task]
    steps = 0
    for index in turn.batches:
        steps += len(index) * int(data.lengths("train", index).max())
        column = data.splits["train"].y
        if column is not None and column.offsets is not None:
            steps += len(index) * int((column.offsets[index + 1] - column.offsets[index]).max())
    return steps


def memory() -> dict[str, float]:
    """MiB of this process: resident, resident without the pages of files, and the most resident since the last look."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    names = {"resident": "VmRSS", "own": "RssAnon", "peak": "VmHWM"}
    return {name: int(lines[field].split()[0]) / 1024 for name, field in names.items()}


def forget_peak() -> None:
    """The kernel's own record of the most resident memory begins anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(*sys.argv[1:])
