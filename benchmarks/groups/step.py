"""What is left of a training step where the vocabulary is large: the softmax over it, the optimiser of its vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

if TYPE_CHECKING:
    from torch import Tensor

ROWS, TIME, HIDDEN = 32, 64, 256
"""Of the softmax: steps of a batch, and their width."""
BATCH, LENGTH, WIDTH = 32, 20, 128
"""Of the vectors: symbols read a step, and their width."""
SOFTMAX, VECTORS = (10_000, 50_000, 100_000), (15_000, 100_000, 500_000)
STEPS = 10


def _zipf(symbols: int, count: int, seed: int) -> Tensor:
    """(count,) symbols, as often as their place among the most frequent ones has it; 4 are special."""
    import torch

    shares = 1 / torch.arange(1, symbols - 3, dtype=torch.float64)
    return torch.multinomial(shares, count, True, generator=torch.Generator().manual_seed(seed)) + 4


def _start() -> None:
    import torch

    torch.manual_seed(0)
    torch.set_flush_denormal(True)


# ---- the softmax


def _softmax(loss_of: Callable[[Tensor, Tensor], Tensor], weights: Any, symbols: int, outputs: Any = None) -> Prepared:
    """Loss and backward of one batch, from encoded steps on."""
    import torch

    y = _zipf(symbols, ROWS * TIME, 1)
    steps = torch.randn(len(y), HIDDEN, generator=torch.Generator().manual_seed(2)).requires_grad_()

    def run() -> None:
        for tensor in (steps, *weights):
            tensor.grad = None
        loss_of(steps, y).backward()

    return Prepared(
        run, None if outputs is None else lambda: outputs(steps[:64], y[:64]), {"tokens": len(y), "padded": len(y)}
    )


def _adaptive_softmax(symbols: int) -> Any:
    """The adaptive softmax of seqkit's head, whose weights the peer gets."""
    from seqkit.heads.adaptive_softmax import AdaptiveSoftmax

    _start()
    return AdaptiveSoftmax(HIDDEN, symbols)


def _outputs(nats: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Mapping[str, Any]]:
    return lambda steps, y: {"nats": nats(steps, y).detach().numpy()}


def adaptive(symbols: int) -> Prepared:
    softmax = _adaptive_softmax(symbols)
    outputs = _outputs(softmax.nats)
    return _softmax(softmax.loss, list(softmax.parameters()), symbols, outputs)


def torch_adaptive(symbols: int) -> Prepared:
    """Torch's own, which has no biases in its clusters: ours start at zero."""
    import torch

    reference = _adaptive_softmax(symbols)
    peer_module = torch.nn.AdaptiveLogSoftmaxWithLoss(HIDDEN, symbols, list(reference.cutoffs), head_bias=True)
    with torch.no_grad():
        peer_module.head.load_state_dict(reference.near.state_dict())
        for tail, narrow, far in zip(peer_module.tail, reference.narrow, reference.far, strict=True):
            tail[0].weight.copy_(narrow.weight)  # type: ignore[index]
            tail[1].weight.copy_(far.weight)  # type: ignore[index]
    outputs = _outputs(lambda steps, y: -peer_module(steps, y).output)
    return _softmax(lambda steps, y: peer_module(steps, y).loss, list(peer_module.parameters()), symbols, outputs)


def full(symbols: int) -> Prepared:
    """Another model: a softmax over all symbols."""
    import torch
    from torch.nn import functional

    _start()
    out = torch.nn.Linear(HIDDEN, symbols)
    return _softmax(lambda steps, y: functional.cross_entropy(out(steps), y), list(out.parameters()), symbols)


# ---- the vectors


def _vectors(make: Callable[[int], tuple[Any, Any, Callable[[Tensor], Tensor]]], symbols: int) -> Prepared:
    """Steps of a table alone: read, backward, clip, optimiser."""
    import torch

    from seqkit.optim.gradients import clip_gradients, dense_gradients, global_norm

    _start()
    parameters, optimizer, read = make(symbols)
    batches = [_zipf(symbols, BATCH * LENGTH, seed).view(BATCH, LENGTH) for seed in range(STEPS)]
    towards = torch.randn(BATCH, LENGTH, WIDTH, generator=torch.Generator().manual_seed(2))

    def run() -> None:
        for x in batches:
            (read(x) * towards).sum().backward()
            gradients = dense_gradients(parameters)
            clip_gradients(gradients, 1.0, global_norm(gradients))
            optimizer.step()
            optimizer.zero_grad()

    return Prepared(run, None, {"tokens": BATCH * LENGTH * STEPS, "padded": BATCH * LENGTH * STEPS, "steps": STEPS})


def lazy(symbols: int) -> Prepared:
    import torch

    from seqkit.layers.embedding import Embedding
    from seqkit.optim.optimizers import lazy_adamw

    def make(symbols: int) -> Any:
        layer = Embedding(symbols, WIDTH)
        layer.sparse = True
        lengths = torch.full((BATCH,), LENGTH)
        return list(layer.parameters()), lazy_adamw(layer.parameters()), lambda x: layer(x, lengths)[0]

    return _vectors(make, symbols)


def dense(symbols: int) -> Prepared:
    """Another algorithm: every row moves at each step."""
    import torch

    def make(symbols: int) -> Any:
        layer = torch.nn.Embedding(symbols, WIDTH, padding_idx=0)
        return list(layer.parameters()), torch.optim.AdamW(layer.parameters(), fused=True), layer

    return _vectors(make, symbols)


def sparse_adam(symbols: int) -> Prepared:
    """Torch's own for rows, without weight decay; clipped as ours is, for torch cannot clip such gradients."""
    import torch

    def make(symbols: int) -> Any:
        layer = torch.nn.Embedding(symbols, WIDTH, padding_idx=0, sparse=True)
        return list(layer.parameters()), torch.optim.SparseAdam(list(layer.parameters())), layer

    return _vectors(make, symbols)


def seqkit(part: str, symbols: int) -> Prepared:
    return {"softmax": adaptive, "vectors": lazy}[part](symbols)


def plain(part: str, symbols: int) -> Prepared:
    return {"softmax": full, "vectors": dense}[part](symbols)


def peer(part: str, symbols: int) -> Prepared:
    return {"softmax": torch_adaptive, "vectors": sparse_adam}[part](symbols)


HERE = __name__
GROUP = Group(
    "step",
    f"What a large vocabulary costs in a training step. Softmax: loss and backward for {ROWS} x {TIME} encoded "
    f"steps of width {HIDDEN} over the given number of symbols, drawn by Zipf's law: seqkit with `softmax: "
    "adaptive`, torch with all symbols (nn.Linear and cross-entropy), and torch's own AdaptiveLogSoftmaxWithLoss. "
    f"Vectors: {STEPS} steps with a table of vectors of width {WIDTH} alone, {BATCH} x {LENGTH} symbols read in "
    "each, gradient clipped: seqkit with `lazy_adamw`, torch with AdamW (fused) and a dense gradient, and "
    "SparseAdam with a sparse one. These options are other models and other algorithms than torch's defaults: the "
    "ratio is what choosing them saves.",
    [
        Case(f"{part} {size:,}", {"part": part, "symbols": size}, quick=size <= 15_000)
        for part, sizes in (("softmax", SOFTMAX), ("vectors", VECTORS))
        for size in sizes
    ],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("torch, all symbols", f"{HERE}:plain"),
        Contender("torch, by parts", f"{HERE}:peer"),
    ],
    [
        Target("adaptive softmax, 10,000 symbols and more", "softmax", "torch, by parts", 0.95, 1.2),
        Target("lazy optimiser", "vectors", "torch, by parts", 0.95, 1.2),
    ],
    rounds=5,
)
