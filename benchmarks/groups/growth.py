"""T9: what a training step costs as the corpus, the sequences or the vocabulary grow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.frame import Case, Contender, Group, Limit, Prepared

STEPS, BATCH, WIDTH = 20, 32, 64
SIZES: Mapping[str, Sequence[int]] = {
    "examples": (2_000, 20_000, 200_000),
    "length": (16, 64, 256, 1_024),
    "symbols": (1_000, 10_000, 100_000),
}


def _cases() -> list[Case]:
    return [
        Case(f"{what} {size:,}", {"what": what, "size": size}, quick=size <= 20_000)
        for what, sizes in SIZES.items()
        for size in sizes
    ]


def seqkit(what: str, size: int) -> Prepared:
    """Classification of made-up sequences; a round is an epoch where examples grow, else so many steps."""
    import numpy as np
    import torch

    from seqkit.batching import gather, to_tensor
    from seqkit.encoders import gru
    from seqkit.fields import Label
    from seqkit.heads import classify
    from seqkit.layers import Embedding
    from seqkit.modules import Batch
    from seqkit.optim import adamw
    from seqkit.sampler import batches
    from seqkit.store import Column

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    examples = size if what == "examples" else BATCH * STEPS
    longest = size if what == "length" else 16
    symbols = size if what == "symbols" else 1_000
    generator = np.random.default_rng(1)
    lengths = generator.integers(max(1, longest // 2), longest + 1, examples)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column = Column(generator.integers(4, symbols, offsets[-1]).astype(np.int32), offsets)
    targets = torch.from_numpy(generator.integers(0, 2, examples))
    layer, encoder = Embedding(symbols, WIDTH), gru(WIDTH, hidden=WIDTH)
    head = classify(WIDTH, Label().fit(["no", "yes"]), layer)
    parameters = [*layer.parameters(), *encoder.parameters(), *head.parameters()]
    optimizer = adamw(parameters)

    def run() -> None:
        for index in batches(lengths, seed=1, epoch=0, batch=BATCH):
            x, own = gather(column, index)
            batch = Batch(to_tensor(x), torch.from_numpy(own), targets[index])
            total, count = head.loss(encoder(*layer(batch.x, batch.lengths)), batch)
            (total / count).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return Prepared(run, None, {"tokens": int(offsets[-1]), "padded": int(offsets[-1]), "bytes": column.data.nbytes})


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The slope of log time over log size, from the smallest to the largest."""
    found: dict[str, Any] = {}
    for what in SIZES:
        own = [case for case in cases if case["options"]["what"] == what and "median" in case["results"]["seqkit"]]
        if len(own) < 2:
            continue
        first, last = own[0], own[-1]
        ratio = last["results"]["seqkit"]["median"] / first["results"]["seqkit"]["median"]
        slope = math.log(ratio) / math.log(last["options"]["size"] / first["options"]["size"])
        found[f"slope of time over {what}"] = round(slope, 3)
    return found


HERE = __name__
GROUP = Group(
    "growth",
    f"A GRU of {WIDTH} over made-up sequences, batches of {BATCH}: an epoch of more and more examples; {STEPS} steps "
    "of longer and longer sequences; of more and more symbols. A slope of 1 is time in proportion, 0 is no growth.",
    _cases(),
    [Contender("seqkit", f"{HERE}:seqkit")],
    rounds=5,
    derive=derive,
    limits=[Limit("training time against corpus size, 1 to 100", "slope of time over examples", 1.05, 1.02)],
)
