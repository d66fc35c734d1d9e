"""Answers do not depend on padding, on batch mates, or on the order: for every encoder, direction and pool.

The checks are functions of a model, so that they can be shown to fail: three models made after defects that popular
toolkits really shipped are caught by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit.encoders import gru, lstm, none, rnn
from seqkit.fields import Label, Next, Tags, Values
from seqkit.heads import classify, crf, language, regress, tag
from seqkit.interfaces import Batch, Encoded, Encoder, Head
from seqkit.layers.embedding import Embedding, Projection
from seqkit.types import Prediction

TOLERANCE = 1e-6
SYMBOLS, WIDTH, HIDDEN = 12, 6, 10
LENGTHS = [9, 1, 4, 13, 2, 7]
POOLS = ("last", "mean", "max", "attention")

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "none": lambda: none(WIDTH),
    "rnn": lambda: rnn(WIDTH, hidden=HIDDEN),
    "rnn-both": lambda: rnn(WIDTH, hidden=HIDDEN, bidirectional=True),
    "relu": lambda: rnn(WIDTH, hidden=HIDDEN, nonlinearity="relu"),
    "lstm": lambda: lstm(WIDTH, hidden=HIDDEN),
    "lstm-both": lambda: lstm(WIDTH, hidden=HIDDEN, bidirectional=True),
    "lstm-deep": lambda: lstm(WIDTH, hidden=HIDDEN, layers=2, bidirectional=True, residual=True, layer_norm=True),
    "gru": lambda: gru(WIDTH, hidden=HIDDEN),
    "gru-both": lambda: gru(WIDTH, hidden=HIDDEN, bidirectional=True, initial="learned"),
}

LABEL = Label().fit(["a", "b", "c"])
TAGS = Tags().fit([["O", "B", "I"]])

HEADS: dict[str, Callable[[int, nn.Module], Head]] = {
    **{f"classify-{pool}": lambda dim, layer, pool=pool: classify(dim, LABEL, layer, pool=pool) for pool in POOLS},
    "classify-every": lambda dim, layer: classify(dim, LABEL, layer, every_step=True),
    "tag": lambda dim, layer: tag(dim, TAGS, layer),
    "crf": lambda dim, layer: crf(dim, TAGS, layer),
    "language": lambda dim, layer: language(dim, Next(), layer),
    "language-adaptive": lambda dim, layer: language(dim, Next(), layer, softmax="adaptive", cutoffs=(4, 7)),
    "regress-mean": lambda dim, layer: regress(dim, Values().fit([0.0, 2.0]), layer, pool="mean", loss="gaussian"),
}


class Model:
    """Input layer, encoder and head, told what is asked of a batch: predictions, and each example's own loss."""

    def __init__(self, encoder: Encoder, make_head: Callable[[int, nn.Module], Head], *, numbers: bool = False) -> None:
        self.layer: nn.Module = Projection(4, WIDTH) if numbers else Embedding(SYMBOLS, WIDTH)
        self.encoder, self.head, self.numbers = encoder, make_head(encoder.out_dim, self.layer), numbers
        # Louder than any start: what leaks should show.
        with torch.no_grad():
            for module in (self.layer, self.encoder, self.head):
                for parameter in module.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.3)
                module.eval()

    def encode(self, x: Tensor, lengths: Tensor) -> Encoded:
        encoded = self.encoder(*self.layer(x, lengths))
        assert isinstance(encoded, Encoded)
        return encoded

    @torch.no_grad()
    def predict(self, x: Tensor, lengths: Tensor) -> list[Prediction]:
        return self.head.predict(self.encode(x, lengths), Batch(x, lengths))


def examples(numbers: bool = False) -> list[Tensor]:
    g = torch.Generator().manual_seed(2)
    if numbers:
        return [torch.randn(length, 4, generator=g) for length in LENGTHS]
    return [torch.randint(2, SYMBOLS, (length,), generator=g) for length in LENGTHS]


def padded(parts: list[Tensor], *, more: int = 0, filler: Callable[[tuple[int, ...]], Tensor] | None = None) -> Any:
    """(B, T, ...) and lengths; behind each end zeros, or what `filler` makes of the shape."""
    lengths = torch.tensor([len(part) for part in parts])
    shape = (len(parts), int(lengths.max()) + more, *parts[0].shape[1:])
    x = torch.zeros(shape, dtype=parts[0].dtype) if filler is None else filler(shape).to(parts[0].dtype)
    for row, part in enumerate(parts):
        x[row, : len(part)] = part
    return x, lengths


def numbers_in(prediction: Prediction) -> list[float]:
    """All that a prediction says in numbers, flat."""

    def flat(thing: Any) -> list[float]:
        if isinstance(thing, dict):
            return [number for key in sorted(thing) for number in flat(thing[key])]
        if isinstance(thing, list | tuple):
            return [number for item in thing for number in flat(item)]
        return [float(thing)] if isinstance(thing, int | float) else []

    return flat([prediction.value, prediction.confidence, prediction.scores])


def same(got: list[Prediction], want: list[Prediction]) -> None:
    """Fails unless every number of every prediction is within the tolerance (relative where it is larger than 1)."""
    assert len(got) == len(want)
    for number, (one, other) in enumerate(zip(got, want, strict=True)):
        a, b = numbers_in(one), numbers_in(other)
        assert len(a) == len(b) > 0, f"example {number}: {len(a)} numbers instead of {len(b)}"
        moved = max(abs(x - y) / max(1.0, abs(y)) for x, y in zip(a, b, strict=True))
        assert moved <= TOLERANCE, f"example {number} moved by {moved}"


# The checks. Each takes a model with `predict` and raises AssertionError where the law is broken.


def check_alone(model: Any) -> None:
    """One at a time without padding, or all in one batch."""
    parts = examples(model.numbers)
    same([model.predict(*padded([part]))[0] for part in parts], model.predict(*padded(parts)))


def check_more_padding(model: Any) -> None:
    """Padded to a longer width than any of them needs."""
    parts = examples(model.numbers)
    same(model.predict(*padded(parts, more=11)), model.predict(*padded(parts)))


def check_what_the_padding_holds(model: Any) -> None:
    """Other symbols, large numbers, or NaN behind the ends."""
    parts = examples(model.numbers)
    g = torch.Generator().manual_seed(8)
    fillers: list[Callable[[tuple[int, ...]], Tensor]] = [lambda shape: torch.randint(0, SYMBOLS, shape, generator=g)]
    if model.numbers:
        fillers = [lambda shape: torch.full(shape, 1e30), lambda shape: torch.full(shape, torch.nan)]
    for filler in fillers:
        same(model.predict(*padded(parts, more=2, filler=filler)), model.predict(*padded(parts)))


def check_batch_mates(model: Any) -> None:
    """The same example beside others."""
    parts = examples(model.numbers)
    others = [part.flip(0) for part in parts]
    want = model.predict(*padded(parts))
    for row, part in enumerate(parts):
        beside = [*others[:row], part, *others[row + 1 :]]
        same([model.predict(*padded(beside))[row]], [want[row]])


def check_order(model: Any) -> None:
    """The same batch in another order."""
    parts = examples(model.numbers)
    order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(1)).tolist()
    want = model.predict(*padded(parts))
    same(model.predict(*padded([parts[i] for i in order])), [want[i] for i in order])


def check_every_width(model: Any) -> None:
    """Padded to each width up to 40."""
    parts = examples(model.numbers)
    want = model.predict(*padded(parts))
    for more in range(40 - max(LENGTHS)):
        same(model.predict(*padded(parts, more=more)), want)


CHECKS = [check_alone, check_more_padding, check_what_the_padding_holds, check_batch_mates, check_order]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_answers_depend_on_the_sequence_alone(encoder: str, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (encoder, head) == ("relu", "crf"):
        # Steps without a bound, made loud here, and a chain that adds up the rounding of all of them: 1.2e-6 was seen.
        monkeypatch.setitem(globals(), "TOLERANCE", 4e-6)
    torch.manual_seed(0)
    for numbers in (False,) if head.startswith("language") else (False, True):
        model = Model(ENCODERS[encoder](), HEADS[head], numbers=numbers)
        for check in CHECKS:
            check(model)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ["rnn-both", "lstm-deep", "gru-both"])
def test_losses_and_gradients_add_up_over_any_division_into_batches(encoder: str, head: str) -> None:
    """The sum of losses over all is the sum of those of each alone, and so are the gradients of the weights."""
    torch.manual_seed(0)
    model = Model(ENCODERS[encoder](), HEADS[head])
    parts = examples()
    y: list[Tensor] = {
        "tag": [part % 3 for part in parts],
        "crf": [part % 3 for part in parts],
        "language": parts,
        "language-adaptive": parts,
        "regress-mean": list(torch.linspace(-1, 1, len(parts))),
    }.get(head, list(torch.arange(len(parts)) % 3))
    ragged = head in ("tag", "crf", "language", "language-adaptive")
    weights = [*model.layer.parameters(), *model.encoder.parameters(), *model.head.parameters()]

    def loss_of(rows: list[int], more: int) -> list[Tensor]:
        x, lengths = padded([parts[row] for row in rows], more=more)
        target = padded([y[row] for row in rows], more=more)[0] if ragged else torch.stack([y[row] for row in rows])
        total, count = model.head.loss(model.encode(x, lengths), Batch(x, lengths, target, lengths if ragged else None))
        found = torch.autograd.grad(total, weights, allow_unused=True)
        return [total.detach(), count, *(torch.zeros(()) if each is None else each for each in found)]

    whole = loss_of(list(range(len(parts))), more=5)
    divided = [sum(column) for column in zip(*(loss_of([row], more=0) for row in range(len(parts))), strict=True)]
    assert len(whole) == len(divided)
    for got, want in zip(whole, divided, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5)


# Models that are wrong in the ways of real toolkits. Each is as its original but for the one mistake.


class OverTheBatch(Encoder):
    """Turns the axes round before a recurrence that wants the batch first, so that it runs over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.out_dim, self.causal = HIDDEN, True
        self.cell = nn.LSTM(WIDTH, HIDDEN, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, state: Any = None) -> Encoded:
        steps = self.cell(x.transpose(0, 1))[0].transpose(0, 1)
        return Encoded(steps, lengths, steps[torch.arange(len(lengths)), lengths - 1], tuple)


class MaskUnused(Encoder):
    """Takes lengths and never looks at them: the last step is the last column, and pools take padding in."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.out_dim, self.causal = HIDDEN * (1 + both), not both
        self.cell = nn.LSTM(WIDTH, HIDDEN, batch_first=True, bidirectional=both)

    def forward(self, x: Tensor, lengths: Tensor, state: Any = None) -> Encoded:
        steps = self.cell(x)[0]
        return Encoded(steps, torch.full_like(lengths, x.shape[1]), steps[:, -1], tuple)


class RelativeLengths(Encoder):
    """Keeps lengths as shares of the longest and cuts them back to whole numbers: some lose their last step."""

    def __init__(self) -> None:
        super().__init__()
        self.out_dim, self.causal = HIDDEN, True
        self.inner = lstm(WIDTH, hidden=HIDDEN)

    def forward(self, x: Tensor, lengths: Tensor, state: Any = None) -> Encoded:
        share = lengths.float() / x.shape[1]
        kept = (share * x.shape[1]).int().long().clamp(min=1)
        encoded = self.inner(x, kept)
        assert isinstance(encoded, Encoded)
        return encoded


@pytest.mark.parametrize("pool", POOLS)
def test_a_recurrence_over_the_batch_axis_is_caught(pool: str) -> None:
    torch.manual_seed(0)
    model = Model(OverTheBatch(), HEADS[f"classify-{pool}"])
    for check in (check_alone, check_batch_mates, check_order):
        with pytest.raises(AssertionError, match="moved by"):
            check(model)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("pool", POOLS)
def test_an_unused_mask_is_caught(pool: str, both: bool) -> None:
    torch.manual_seed(0)
    model = Model(MaskUnused(both), HEADS[f"classify-{pool}"])
    for check in (check_alone, check_more_padding):
        with pytest.raises(AssertionError, match="moved by"):
            check(model)


def test_truncated_relative_lengths_are_caught() -> None:
    """7 of 23 becomes 6: the lengths here have such a pair once padded far enough."""
    torch.manual_seed(0)
    model = Model(RelativeLengths(), HEADS["classify-last"])
    widths = range(max(LENGTHS), 40)
    assert any(int(torch.tensor(n) / w * w) != n for n in LENGTHS for w in widths), "the check can find nothing"
    with pytest.raises(AssertionError, match="moved by"):
        check_every_width(model)
    check_every_width(Model(lstm(WIDTH, hidden=HIDDEN), HEADS["classify-last"]))
