"""K1 to K3: one recurrent layer, forward and backward, over ragged batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCHES, BATCH, MEAN, MOST = 3, 32, 40, 200


def _cases() -> list[Case]:
    cases = []
    for cell in ("LSTM", "GRU", "Elman"):
        for hidden in (64, 128, 256, 512):
            for bidirectional in (False, True):
                name = f"{cell} H{hidden}{' both ways' if bidirectional else ''}"
                options = {"cell": cell, "hidden": hidden, "bidirectional": bidirectional}
                cases.append(Case(name, options, quick=hidden == 128))
    return cases


def batch_lengths() -> list[Tensor]:
    """Lengths of some batches: log-normal, mean 40, at most 200, in random order."""
    import torch

    generator = torch.Generator().manual_seed(7)
    batches = []
    for _ in range(BATCHES):
        values = (torch.randn(BATCH, generator=generator) * 0.8 + 3.37).exp()
        batches.append(values.clamp(1, MOST).round().long())
    return batches


def layers(cell: str, hidden: int, bidirectional: bool) -> list[nn.RNNBase]:
    """One layer in each direction, with the same weights for every contender."""
    import torch
    from torch import nn

    torch.manual_seed(3)
    classes: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "Elman": nn.RNN}
    return [classes[cell](hidden, hidden) for _ in range(1 + bidirectional)]


def start() -> None:
    """What a program that trains would do: denormals count as zero."""
    import torch

    torch.set_flush_denormal(True)


class Work:
    """The batches of a case, and a contender's layer over them: forward, a loss over real steps, backward."""

    def __init__(
        self, hidden: int, layer: nn.Module, run_layer: Callable[[Tensor, Tensor], Tensor], *, batch_first: bool
    ):
        import torch

        self.layer, self.run_layer, self.batch_first = layer, run_layer, batch_first
        generator = torch.Generator().manual_seed(11)
        self.batches = []
        for lengths in batch_lengths():
            x = torch.randn(BATCH, int(lengths.max()), hidden, generator=generator)
            x = x if batch_first else x.transpose(0, 1).contiguous()
            self.batches.append((x.requires_grad_(), lengths))
        tokens = sum(int(lengths.sum()) for _, lengths in self.batches)
        self.notes = {"tokens": tokens, "padded": sum(x.shape[0] * x.shape[1] for x, _ in self.batches)}

    def once(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, ...) outputs, and gradients of their weighted sum over real steps."""
        import torch

        out = self.run_layer(x, lengths)
        weights = torch.linspace(-1, 1, out.shape[-1])
        axis = 0 if self.batch_first else 1
        inside = torch.arange(out.shape[1 - axis])[None] < lengths[:, None]
        inside = inside if self.batch_first else inside.t()
        # The mask as a gradient: what a loss over real steps sends back.
        out.backward(inside[..., None] * weights)
        return out

    def run(self) -> None:
        for x, lengths in self.batches:
            self.layer.zero_grad()
            x.grad = None
            self.once(x, lengths)

    def outputs(self) -> dict[str, Any]:
        x, lengths = self.batches[0]
        self.layer.zero_grad()
        x.grad = None
        out = self.once(x, lengths).detach().float()  # torch's layers give bf16 under autocast
        assert x.grad is not None
        gradient = x.grad
        if not self.batch_first:
            out, gradient = out.transpose(0, 1), gradient.transpose(0, 1)
        for row, length in enumerate(lengths.tolist()):
            out[row, length:] = 0
        arrays = {"steps": out.numpy(), "of inputs": gradient.numpy()}
        for name, parameter in sorted(self.weights().items()):
            assert parameter.grad is not None
            arrays[name] = parameter.grad.numpy()
        return arrays

    def weights(self) -> dict[str, nn.Parameter]:
        """By direction and place, whatever the layer calls them."""
        named = {}
        for name, parameter in self.layer.named_parameters():
            direction = 1 if name.startswith(("1.", "cells.1.")) or name.endswith("_reverse") else 0
            named[f"{name.rpartition('.')[2].removesuffix('_reverse')} {direction}"] = parameter
        return named

    def prepared(self) -> Prepared:
        return Prepared(self.run, self.outputs, self.notes)


def seqkit(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    import torch

    from seqkit.encoders import gru, lstm, rnn

    start()
    encoder = {"LSTM": lstm, "GRU": gru, "Elman": rnn}[cell](hidden, hidden=hidden, bidirectional=bidirectional)
    with torch.no_grad():
        for cell_module, source in zip(encoder.cells, layers(cell, hidden, bidirectional), strict=True):  # type: ignore[call-overload]
            cell_module.load_state_dict(source.state_dict())
    return Work(hidden, encoder, lambda x, size: encoder(x, size).steps, batch_first=True).prepared()


def packed(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    import torch
    from torch.nn.utils import rnn

    start()
    cells = layers(cell, hidden, bidirectional)
    layer = type(cells[0])(hidden, hidden, bidirectional=bidirectional)
    with torch.no_grad():
        for direction, source in enumerate(cells):
            for name, parameter in source.named_parameters():
                getattr(layer, name + ("_reverse" if direction else "")).copy_(parameter)

    def run_layer(x: Tensor, size: Tensor) -> Tensor:
        packed_output, _ = layer(rnn.pack_padded_sequence(x, size, enforce_sorted=False))
        out: Tensor = rnn.pad_packed_sequence(packed_output)[0]
        return out

    return Work(hidden, layer, run_layer, batch_first=False).prepared()


def padded(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    """The backward direction over sequences turned round within their lengths: else its numbers would be wrong."""
    import torch
    from torch import nn

    start()
    cells = nn.ModuleList(layers(cell, hidden, bidirectional))

    def reverse(x: Tensor, size: Tensor) -> Tensor:
        t = torch.arange(x.shape[0])[:, None]
        source = torch.where(t < size, size - 1 - t, t)
        return x.gather(0, source[..., None].expand(-1, -1, x.shape[2]))

    def run_layer(x: Tensor, size: Tensor) -> Tensor:
        forward_output: Tensor = cells[0](x)[0]
        if not bidirectional:
            return forward_output
        return torch.cat([forward_output, reverse(cells[1](reverse(x, size))[0], size)], dim=-1)

    return Work(hidden, cells, run_layer, batch_first=False).prepared()


def bound(cell: str, hidden: int, bidirectional: bool) -> Prepared:
    """The products that any implementation has to compute over the real steps, and nothing else."""
    import torch

    start()
    gates = {"LSTM": 4, "GRU": 3, "Elman": 1}[cell]
    w, r = torch.randn(gates * hidden, hidden), torch.randn(gates * hidden, hidden)
    rows = []
    for size in batch_lengths():
        active = (torch.arange(int(size.max()))[:, None] < size).sum(1).tolist()
        x, g = torch.randn(sum(active), hidden), torch.randn(sum(active), gates * hidden)
        rows.append((x, g, torch.empty_like(x), torch.empty_like(g), active))
    grad_w = torch.empty_like(w)

    def run() -> None:
        for x, g, grad_x, grad_gates, active in rows:
            for _ in range(1 + bidirectional):
                torch.mm(x, w.t(), out=grad_gates)
                torch.mm(g, w, out=grad_x)
                torch.mm(g.t(), x, out=grad_w)
                torch.mm(g.t(), x, out=grad_w)
                for count in active[1:]:
                    torch.mm(x[:count], r.t(), out=grad_gates[:count])
                    torch.mm(g[:count], r, out=grad_x[:count])

    return Prepared(run)


HERE = __name__
GROUP = Group(
    "kernels",
    "One recurrent layer, forward and backward, with inputs as wide as the state: 3 batches of 32 sequences in "
    "random order, lengths log-normal (mean 40, at most 200). The GEMM bound is the time that the matrix products "
    "over real steps take alone, in the same run.",
    _cases(),
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("torch packed", f"{HERE}:packed"),
        Contender("torch padded", f"{HERE}:padded"),
        Contender("GEMM bound", f"{HERE}:bound", yardstick=True),
    ],
    [
        Target("LSTM layer, ragged, H 128", "LSTM H128", "torch packed", 3, 5),
        Target("LSTM layer, ragged, H 512", "LSTM H512", "torch packed", 2.5, 4),
        Target("LSTM layer, ragged, H 128", "LSTM H128", "torch padded", 1.3, 1.7),
        Target("LSTM layer, ragged, H 512", "LSTM H512", "torch padded", 1.3, 1.7),
        *(Target("GRU layer, ragged, H 128", "GRU H128", f"torch {way}", 2.2, 3) for way in ("packed", "padded")),
        *(Target("GRU layer, ragged, H 512", "GRU H512", f"torch {way}", 1.6, 2) for way in ("packed", "padded")),
        *(Target("Elman layer, ragged", "Elman", f"torch {way}", 1.5, 2) for way in ("packed", "padded")),
        Target("own layers", "", "GEMM bound", 0.9, 0.95),
    ],
)
