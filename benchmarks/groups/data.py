"""S3: examples to padded batches, in random order. S4: how much of the batches is padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

EXAMPLES, BATCH = 40_000, 64


@cache
def ragged() -> tuple[Any, Any]:
    """Symbols of all examples in a row, and where each begins: log-normal lengths, mean 40, at most 200."""
    import numpy as np

    generator = np.random.default_rng(5)
    lengths = np.clip(np.exp(generator.standard_normal(EXAMPLES) * 0.8 + 3.37), 1, 200).round().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return generator.integers(4, 20_000, offsets[-1]).astype(np.int32), offsets


@cache
def batches() -> list[Any]:
    """The same batches for everybody, in the order of one epoch of seqkit's sampler."""
    import numpy as np

    from seqkit.data import sampler

    _, offsets = ragged()
    return sampler.batch_shuffled(np.diff(offsets), seed=1, epoch=0, batch=BATCH)


def prepared(make: Callable[[], Any]) -> Prepared:
    """A round is an epoch; `make` yields (x (B, T), lengths (B,)) as tensors."""
    import numpy as np

    _, offsets = ragged()
    lengths = np.diff(offsets)
    padded = sum(int(lengths[index].max()) * len(index) for index in batches())

    def run() -> None:
        for _ in make():
            pass

    def outputs() -> Mapping[str, Any]:
        sums = [(int(x.sum()), int(size.sum()), x.shape[1]) for x, size, *_ in make()]
        return {"sums": np.array(sums, dtype=np.float64)}

    return Prepared(run, outputs, {"tokens": int(offsets[-1]), "padded": padded})


def seqkit(case: str) -> Prepared:
    import numpy as np
    import torch

    from seqkit.data.padding import pad_rows, to_tensor
    from seqkit.data.store import Column

    data, offsets = ragged()
    column = Column(data, offsets)

    def make() -> Any:
        for index in batches():
            x, lengths = pad_rows(column, np.asarray(index))
            yield to_tensor(x), torch.from_numpy(lengths)

    return prepared(make)


def loader(case: str) -> Prepared:
    """As tutorials have it: a Dataset over Python lists, pad_sequence in the collate function."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from torch.utils.data import DataLoader

    data, offsets = ragged()
    examples = [data[a:b].tolist() for a, b in pairwise(offsets)]

    def collate(rows: list[list[int]]) -> tuple[Any, Any]:
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True), torch.tensor([len(r) for r in rows])

    def make() -> Any:
        return DataLoader(examples, batch_sampler=[index.tolist() for index in batches()], collate_fn=collate)  # type: ignore[arg-type]

    return prepared(make)


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """S4: the share of real steps in a batch, by how batches are made."""
    import numpy as np

    from seqkit.data import sampler

    _, offsets = ragged()
    lengths = np.diff(offsets)

    def share(index_batches: Any, max_widths: int | None = None) -> str:
        widths = np.array([lengths[index].max() for index in index_batches])
        sizes = np.array([len(index) for index in index_batches])
        if max_widths is not None:
            edges = sampler.choose_edges(widths, max_widths, weights=sizes)
            widths = edges[np.searchsorted(edges, widths)]
        return f"{lengths.sum() / (widths * sizes).sum():.3f} real steps, {len(set(widths.tolist()))} widths"

    order = np.random.default_rng(0).permutation(EXAMPLES)
    random = [order[i : i + BATCH] for i in range(0, EXAMPLES, BATCH)]
    seqkit_batches = sampler.batch_shuffled(lengths, seed=1, epoch=0, batch=BATCH)
    single = np.arange(EXAMPLES)[:, None]
    return {
        "padding, random batches": share(random),
        "padding, seqkit, 64 examples a batch": share(seqkit_batches),
        "padding, seqkit, 64 examples a batch, train.shapes: 16": share(seqkit_batches, 16),
        "padding, seqkit, 4,096 steps a batch": share(sampler.batch_shuffled(lengths, seed=1, epoch=0, tokens=4096)),
        "padding, the least there can be with 16 widths": share(single, 16),
    }


HERE = __name__
GROUP = Group(
    "data",
    "An epoch of 40,000 examples in memory (lengths log-normal, mean 40) as padded batches of 64, without "
    "training; all contenders make the same batches. Having few widths conflicts with having little padding: with "
    "16 widths, no batches can have a larger share of real steps than the last line says, however examples are "
    "combined (for SST-2: 0.958).",
    [Case("loader", {"case": "loader"}, quick=True)],
    [Contender("seqkit", f"{HERE}:seqkit"), Contender("DataLoader over lists", f"{HERE}:loader")],
    [Target("loader, tokens per second", "loader", "DataLoader over lists", 10, 30)],
    derive=derive,
)
