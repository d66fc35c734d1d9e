"""K1 to K3 as a user meets them: a training script, and the same script with one import changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups.kernels import batch_lengths, start

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor, nn

SYMBOLS, WIDTH, CLASSES = 2000, 128, 10


def _cases() -> list[Case]:
    cases = []
    for task in ("tagging", "classification", "CRF"):
        for cell in ("LSTM", "GRU", "RNN"):
            for bidirectional in (False, True):
                if task == "CRF" and (cell != "LSTM" or not bidirectional):
                    continue
                name = f"{cell} {task}{' both ways' if bidirectional else ''}"
                options = {"cell": cell, "task": task, "bidirectional": bidirectional}
                cases.append(Case(name, options, quick=cell != "RNN" and not bidirectional))
    return cases


class Script:
    """A training script as one finds them: an embedding, a packed recurrent layer, a linear layer, Adam.

    `layers` and `crf` are the modules whose import is changed. `packing` has the functions that pack; None: no packing.
    """

    def __init__(
        self, layers: ModuleType, crf: Any, cell: str, task: str, *, bidirectional: bool, packing: Any
    ) -> None:
        import torch
        from torch import nn

        self.task, self.packing = task, packing
        torch.manual_seed(3)
        self.embedding = nn.Embedding(SYMBOLS, WIDTH)
        self.layer = getattr(layers, cell)(WIDTH, WIDTH, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Linear(WIDTH * (1 + bidirectional), CLASSES)
        self.crf = crf(CLASSES, batch_first=True) if task == "CRF" else None
        parts = [self.embedding, self.layer, self.out, *([self.crf] if self.crf is not None else [])]
        self.model = nn.ModuleList(parts)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.batches = [self._batch(lengths, seed) for seed, lengths in enumerate(batch_lengths())]

    def _batch(self, lengths: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Symbols, lengths, targets, and which steps are real."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        batch, time = len(lengths), int(lengths.max())
        mask = torch.arange(time) < lengths[:, None]
        x = torch.randint(SYMBOLS, (batch, time), generator=generator).masked_fill(~mask, 0)
        shape = (batch,) if self.task == "classification" else (batch, time)
        return x, lengths, torch.randint(CLASSES, shape, generator=generator), mask

    def loss(self, x: Tensor, lengths: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        vectors = self.embedding(x)
        if self.packing is not None:
            packed = self.packing.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
            packed, state = self.layer(packed)
            steps, _ = self.packing.pad_packed_sequence(packed, batch_first=True)
        else:
            steps, state = self.layer(vectors)
        if self.task == "classification":
            h = state[0] if isinstance(state, tuple) else state
            return functional.cross_entropy(self.out(torch.cat(list(h), dim=-1)), targets)
        scores = self.out(steps)
        if self.crf is not None:
            return -self.crf(scores, targets, mask=mask, reduction="token_mean")
        return functional.cross_entropy(scores.flatten(0, 1), targets.masked_fill(~mask, -100).flatten())

    def train(self) -> list[float]:
        """One step for each batch; returns the losses."""
        losses = []
        for batch in self.batches:
            self.optimizer.zero_grad()
            loss = self.loss(*batch)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def outputs(self) -> dict[str, Any]:
        """The losses of the first steps, and the gradients of the next."""
        import numpy as np

        losses = self.train()
        self.optimizer.zero_grad()
        self.loss(*self.batches[0]).backward()  # type: ignore[no-untyped-call, unused-ignore]
        gradients = {name: p.grad.numpy() for name, p in self.model.named_parameters() if p.grad is not None}
        return {"losses": np.array(losses), **gradients}

    def prepared(self) -> Prepared:
        def run() -> None:
            self.train()

        tokens = sum(int(lengths.sum()) for _, lengths, *_ in self.batches)
        return Prepared(run, self.outputs, {"tokens": tokens, "padded": sum(x.numel() for x, *_ in self.batches)})


def seqkit(cell: str, task: str, bidirectional: bool) -> Prepared:
    """`from seqkit import nn` instead of `from torch import nn`."""
    from seqkit import nn

    start()
    return Script(nn, nn.CRF, cell, task, bidirectional=bidirectional, packing=nn.utils.rnn).prepared()


def seqkit_layers(cell: str, task: str, bidirectional: bool) -> Prepared:
    """`from seqkit.nn import LSTM`, and packing by the functions of torch."""
    from seqkit import nn

    start()
    return Script(nn, nn.CRF, cell, task, bidirectional=bidirectional, packing=_torch_packing()).prepared()


def packed(cell: str, task: str, bidirectional: bool) -> Prepared:
    start()
    packing = _torch_packing()
    return Script(_torch(), _torchcrf(task), cell, task, bidirectional=bidirectional, packing=packing).prepared()


def padded(cell: str, task: str, bidirectional: bool) -> Prepared:
    """Without packing, which is right for one direction and where only real steps count."""
    start()
    return Script(_torch(), _torchcrf(task), cell, task, bidirectional=bidirectional, packing=None).prepared()


def _torch_packing() -> ModuleType:
    from torch.nn.utils import rnn

    return rnn


def _torch() -> ModuleType:
    from torch import nn

    return nn


def _torchcrf(task: str) -> type[nn.Module] | None:
    if task != "CRF":
        return None
    from torchcrf import CRF

    crf: type[nn.Module] = CRF
    return crf


HERE = __name__
_ONE_WAY_TAGGING = [case.name for case in _cases() if case.name.endswith("tagging")]
GROUP = Group(
    "dropin",
    "A training script with `torch.nn` and pytorch-crf, and the same script with `from seqkit import nn` instead of "
    "`from torch import nn` (with a CRF, its import too): an embedding of 2,000 symbols, a packed recurrent layer of "
    "128, a linear layer and Adam, three steps per round on batches of 32 sequences in random order, lengths "
    "log-normal (mean 40, at most 200). Tagging reads every step, classification the final state. In the second column "
    "the layers alone are seqkit's, and `pack_padded_sequence` and `pad_packed_sequence` are imported from torch.",
    _cases(),
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("seqkit, packing by torch", f"{HERE}:seqkit_layers"),
        Contender("torch packed", f"{HERE}:packed", needs=("torchcrf",)),
        Contender("torch padded", f"{HERE}:padded", only=_ONE_WAY_TAGGING),
    ],
    [
        Target("script with an LSTM of 128, one import changed", "LSTM", "torch packed", 3, 5),
        Target("script with a GRU of 128, one import changed", "GRU", "torch packed", 3, 5),
        Target("script with an Elman RNN of 128, one import changed", "RNN", "torch packed", 1.5, 3),
    ],
)
