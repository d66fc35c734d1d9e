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

from benchmarks.groups.training import OWN, RECIPES, Ours

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


def profile(what: str) -> dict[str, Any]:
    """Milliseconds a step for each part, the median over rounds; plain JSON."""
    import torch

    from seqkit.data.epoch import EpochPlan
    from seqkit.optim.gradients import clip_gradients, dense_gradients, global_norm
    from seqkit.runtime.determinism import deterministic

    ours = Ours(what)
    model = ours.model().train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    plan = EpochPlan(ours.data, ours.recipe.train, seed=ours.recipe.seed, epoch=0)
    turns = list(plan.turns[: ours.recipe.train.steps])
    layer, head = model.layers[ours.name], model.head(ours.name)
    rounds: list[list[float]] = []
    lengths: list[Tensor] = []
    with deterministic(torch.device("cpu")):
        for number in range(ROUNDS + 1):
            took = dict.fromkeys(PARTS, 0.0)
            lengths = []
            state: Any = None
            for turn in turns:
                clock = Clock(took)
                (batch,) = plan.batches(turn)
                clock("making batches")
                steps, sizes = layer(batch.x, batch.lengths)
                cut = steps.detach().requires_grad_()
                clock("embedding")
                encoded = model.encoder(cut, sizes, state if batch.carry else None)
                clock("recurrent layers")
                total, count = head.loss(encoded, batch)
                loss = total / count
                loss.item()
                clock("head and loss")
                loss.backward()
                clock("backward through head and recurrent layers")
                steps.backward(cut.grad)
                clock("backward to the embedding")
                grads = dense_gradients(parameters)
                norm = global_norm(grads)
                clip_gradients(grads, 1.0, norm)
                clock("norm and clipping")
                optimizer.step()
                optimizer.zero_grad()
                clock("optimiser")
                if ours.part.task.window is not None:
                    state = tuple(each.detach() for each in encoded.state)
                lengths.append(batch.lengths)
            if number:
                rounds.append(list(took.values()))
        products = bound(model.encoder, lengths)
    middle = [sorted(values)[len(values) // 2] / len(turns) * 1e3 for values in zip(*rounds, strict=True)]
    return {"parts": dict(zip(PARTS, middle, strict=True)), "bound": products / len(turns) * 1e3, "steps": len(turns)}


class Clock:
    """Adds the time since the last call to a part."""

    def __init__(self, took: dict[str, float]) -> None:
        self.took, self.since = took, time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self.took[part] += now - self.since
        self.since = now


def bound(encoder: Any, lengths: Sequence[Tensor]) -> float:
    """Seconds of the recurrent layers' matrix products over real steps, both passes, in the best of some rounds."""
    import torch

    cells = [cell.all_weights[0][:2] for cell in encoder.cells]
    work: list[Callable[[], object]] = []
    for size in lengths:
        alive = (torch.arange(int(size.max()))[:, None] < size).sum(1).tolist()
        for given, again in cells:
            w, r = given.detach(), again.detach()
            x, g = torch.randn(sum(alive), w.shape[1]), torch.randn(sum(alive), w.shape[0])
            work.append(lambda x=x, g=g, w=w, r=r, alive=alive: _products(x, g, w, r, alive))
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for each in work:
            each()
        best = min(best, time.perf_counter() - began)
    return best


def _products(x: Tensor, g: Tensor, w: Tensor, r: Tensor, alive: Sequence[int]) -> None:
    h = g[:, : r.shape[1]]
    x @ w.t()
    g @ w
    g.t() @ x
    g.t() @ h
    for count in alive[1:]:
        h[:count] @ r.t()
        g[:count] @ r


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table, a column for each case."""
    names = list(found)

    def row(label: str, cells: Sequence[str]) -> str:
        return f"| {label} | " + " | ".join(cells) + " |"

    rows = [row("part of a step, ms", names), "| --- |" + " ---: |" * len(names)]
    rows += [row(part, [f"{found[name]['parts'][part]:.2f}" for name in names]) for part in PARTS]
    whole = {name: sum(found[name]["parts"].values()) for name in names}
    rows.append(row("sum", [f"{whole[name]:.2f}" for name in names]))
    alone = [f"{found[name]['bound']:.2f} ({found[name]['bound'] / whole[name]:.0%})" for name in names]
    rows.append(row("matrix products of the recurrent layers over real steps, alone", alone))
    return rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(RECIPES)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a report of `python -m benchmarks`, to be added to")
    given = parser.parse_args(arguments)
    found = {name: profile(name) for name in given.cases or RECIPES if name != OWN}
    print("\n".join(lines(found)))
    if given.json:
        report = json.loads(given.json.read_text())
        given.json.write_text(json.dumps({**report, "profiles": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
