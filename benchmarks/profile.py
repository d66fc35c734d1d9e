"""Where the time of a training step goes: `python -m benchmarks.profile [--json FILE] [CASE...]`.

The steps of an epoch as the loop makes them, each part timed on its own, beside the matrix products over real steps
that no implementation can do without. With `--json`, the figures go to the page.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.groups.training import OWN_BATCHES, RECIPES, TrainingCase

if TYPE_CHECKING:
    from torch import Tensor

PARTS = (
    "making batches",
    "embedding",
    "recurrent layers",
    "head and loss",
    "backward through head and recurrent layers",
    "backward to the embedding",
    "norm and clipping",
    "optimiser",
)
ROUNDS = 5


def profile(case: str) -> dict[str, Any]:
    """Milliseconds a step for each part, the median over rounds; plain JSON."""
    import torch

    from seqkit.data.epoch import EpochPlan
    from seqkit.optim.gradients import clip_gradients, dense_gradients, global_norm
    from seqkit.runtime.determinism import deterministic

    setup = TrainingCase(case)
    model = setup.model().train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    plan = EpochPlan(setup.data, setup.recipe.train, seed=setup.recipe.seed, epoch=0)
    turns = list(plan.turns[: setup.recipe.train.steps])
    layer, head = model.layers[setup.name], model.head(setup.name)
    rounds: list[list[float]] = []
    lengths: list[Tensor] = []
    with deterministic(torch.device("cpu")):
        for number in range(ROUNDS + 1):
            seconds = dict.fromkeys(PARTS, 0.0)
            lengths = []
            state: Any = None
            for turn in turns:
                clock = Clock(seconds)
                (batch,) = plan.batches(turn)
                clock("making batches")
                steps, sizes = layer(batch.x, batch.lengths)
                detached = steps.detach().requires_grad_()
                clock("embedding")
                encoded = model.encoder(detached, sizes, state if batch.carry else None)
                clock("recurrent layers")
                total, count = head.loss(encoded, batch)
                loss = total / count
                loss.item()
                clock("head and loss")
                loss.backward()
                clock("backward through head and recurrent layers")
                steps.backward(detached.grad)
                clock("backward to the embedding")
                grads = dense_gradients(parameters)
                norm = global_norm(grads)
                clip_gradients(grads, 1.0, norm)
                clock("norm and clipping")
                optimizer.step()
                optimizer.zero_grad()
                clock("optimiser")
                if setup.task_data.task.window is not None:
                    state = tuple(tensor.detach() for tensor in encoded.state)
                lengths.append(batch.lengths)
            if number:
                rounds.append(list(seconds.values()))
        products = bound(model.encoder, lengths)
    middle = [sorted(values)[len(values) // 2] / len(turns) * 1e3 for values in zip(*rounds, strict=True)]
    return {"parts": dict(zip(PARTS, middle, strict=True)), "bound": products / len(turns) * 1e3, "steps": len(turns)}


class Clock:
    """Adds the time since the last call to a part."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.since = seconds, time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] += now - self.since
        self.since = now


def bound(encoder: Any, lengths: Sequence[Tensor]) -> float:
    """Seconds of the recurrent layers' matrix products over real steps, both passes, in the best of some rounds."""
    import torch

    cells = [cell.all_weights[0][:2] for cell in encoder.cells]
    products: list[Callable[[], object]] = []
    for size in lengths:
        active = (torch.arange(int(size.max()))[:, None] < size).sum(1).tolist()
        for w_parameter, r_parameter in cells:
            w, r = w_parameter.detach(), r_parameter.detach()
            x, g = torch.randn(sum(active), w.shape[1]), torch.randn(sum(active), w.shape[0])
            products.append(lambda x=x, g=g, w=w, r=r, active=active: _products(x, g, w, r, active))
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for product in products:
            product()
        best = min(best, time.perf_counter() - start)
    return best


def _products(x: Tensor, g: Tensor, w: Tensor, r: Tensor, active: Sequence[int]) -> None:
    h = g[:, : r.shape[1]]
    x @ w.t()
    g @ w
    g.t() @ x
    g.t() @ h
    for count in active[1:]:
        h[:count] @ r.t()
        g[:count] @ r


def lines(profiles: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table, a column for each case."""
    names = list(profiles)

    def row(label: str, cells: Sequence[str]) -> str:
        return f"| {label} | " + " | ".join(cells) + " |"

    rows = [row("part of a step, ms", names), "| --- |" + " ---: |" * len(names)]
    rows += [row(part, [f"{profiles[name]['parts'][part]:.2f}" for name in names]) for part in PARTS]
    totals = {name: sum(profiles[name]["parts"].values()) for name in names}
    rows.append(row("sum", [f"{totals[name]:.2f}" for name in names]))
    bounds = [f"{profiles[name]['bound']:.2f} ({profiles[name]['bound'] / totals[name]:.0%})" for name in names]
    rows.append(row("matrix products of the recurrent layers over real steps, alone", bounds))
    return rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(RECIPES)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a report of `python -m benchmarks`, to be added to")
    options = parser.parse_args(arguments)
    profiles = {name: profile(name) for name in options.cases or RECIPES if name != OWN_BATCHES}
    print("\n".join(lines(profiles)))
    if options.json:
        report = json.loads(options.json.read_text())
        options.json.write_text(json.dumps({**report, "profiles": profiles}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
