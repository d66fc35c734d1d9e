"""Outputs do not depend on padding, on batch mates, or on the order: for every encoder, direction and pool.

The checks are functions of a model, so that they can be shown to fail: they catch three models with defects that
popular toolkits shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit.encoders import gru, jordan, lngru, lnlstm, lru, lstm, mingru, minlstm, none, rnn, slstm, tdnn
from seqkit.fields import Label, Next, Tags, Values
from seqkit.heads import classify, crf, language, regress, tag
from seqkit.interfaces import Batch, Encoded, Encoder, Head, State
from seqkit.layers.embedding import Embedding, Projection
from seqkit.nn import stack_cells
from seqkit.types import Prediction

TOLERANCE = 1e-6
MORE_ROUNDING = {("relu", "crf"): 4e-6, ("relu", "regress-mean"): 4e-6, ("minlstm-both", "regress-mean"): 4e-6}
"""Tolerances for sums of large numbers, which processors round differently. In double precision they move less."""
SYMBOLS, WIDTH, HIDDEN = 12, 6, 10
LENGTHS = [9, 1, 4, 13, 2, 7]
POOLS = ("last", "mean", "max", "attention")


class Leaky(nn.Module):
    """A cell as a plugin brings it: h_t = h_{t-1} / 2 + tanh(W x_t)."""

    states, state_width = 1, HIDDEN

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, HIDDEN)

    def forward(self, x: Tensor, first: State | None) -> tuple[Tensor, State]:
        h, steps = x.new_zeros(x.shape[1], HIDDEN) if first is None else first[0], []
        for step in self.into(x).tanh():
            h = 0.5 * h + step
            steps.append(h)
        return torch.stack(steps), (torch.stack(steps),)


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "none": lambda: none(WIDTH),
    "rnn": lambda: rnn(WIDTH, hidden=HIDDEN),
    "rnn-both": lambda: rnn(WIDTH, hidden=HIDDEN, bidirectional=True),
    "relu": lambda: rnn(WIDTH, hidden=HIDDEN, nonlinearity="relu"),
    "lstm": lambda: lstm(WIDTH, hidden=HIDDEN),
    "lstm-both": lambda: lstm(WIDTH, hidden=HIDDEN, bidirectional=True),
    "lstm-deep": lambda: lstm(WIDTH, hidden=HIDDEN, layers=2, bidirectional=True, residual=True, layer_norm=True),
    "lstm-highway": lambda: lstm(WIDTH, hidden=HIDDEN, layers=2, bidirectional=True, highway=True),
    "gru": lambda: gru(WIDTH, hidden=HIDDEN),
    "gru-both": lambda: gru(WIDTH, hidden=HIDDEN, bidirectional=True, initial="learned"),
    "gru-random": lambda: gru(WIDTH, hidden=HIDDEN, initial="random"),
    "minlstm-both": lambda: minlstm(WIDTH, hidden=HIDDEN, layers=2, bidirectional=True, layer_norm=True),
    "stacked-both": lambda: stack_cells("x", WIDTH, Leaky, hidden=HIDDEN, layers=2, bidirectional=True),
    "mingru": lambda: mingru(WIDTH, hidden=HIDDEN),
    "jordan": lambda: jordan(WIDTH, hidden=HIDDEN, decay=0.5),
    "slstm-both": lambda: slstm(WIDTH, hidden=HIDDEN, heads=2, bidirectional=True),
    "lnlstm": lambda: lnlstm(WIDTH, hidden=HIDDEN),
    "lnlstm-zoneout": lambda: lnlstm(WIDTH, hidden=HIDDEN, zoneout=0.3),
    "lngru-both": lambda: lngru(WIDTH, hidden=HIDDEN, bidirectional=True),
    "lru": lambda: lru(WIDTH, hidden=HIDDEN, state=4),
    "tdnn": lambda: tdnn(WIDTH, hidden=HIDDEN, layers=2),
    "tdnn-highway": lambda: tdnn(WIDTH, hidden=HIDDEN, layers=2, highway=True),
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
    """An input layer, an encoder and a head with large random weights."""

    dtype = torch.float32

    def __init__(self, encoder: Encoder, make_head: Callable[[int, nn.Module], Head], *, numbers: bool = False) -> None:
        self.layer: nn.Module = Projection(4, WIDTH) if numbers else Embedding(SYMBOLS, WIDTH)
        self.encoder, self.head, self.numbers = encoder, make_head(encoder.out_dim, self.layer), numbers
        # Larger weights than initial ones, so that errors show.
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
        x = x.to(self.dtype) if self.numbers else x
        return self.head.predict(self.encode(x, lengths), Batch(x, lengths))

    def double(self) -> None:
        """Compute in double precision from now on. Scans and what it predicts are in single precision all the same."""
        for module in (self.layer, self.encoder, self.head):
            module.double()
        self.dtype = torch.float64


def examples(numbers: bool = False) -> list[Tensor]:
    g = torch.Generator().manual_seed(2)
    if numbers:
        return [torch.randn(length, 4, generator=g) for length in LENGTHS]
    return [torch.randint(2, SYMBOLS, (length,), generator=g) for length in LENGTHS]


def padded(
    sequences: list[Tensor], *, extra: int = 0, filler: Callable[[tuple[int, ...]], Tensor] | None = None
) -> Any:
    """(B, T, ...) and lengths; the padding is zeros, or what `filler` makes of the shape."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    shape = (len(sequences), int(lengths.max()) + extra, *sequences[0].shape[1:])
    x = torch.zeros(shape, dtype=sequences[0].dtype) if filler is None else filler(shape).to(sequences[0].dtype)
    for row, sequence in enumerate(sequences):
        x[row, : len(sequence)] = sequence
    return x, lengths


def numbers_in(prediction: Prediction) -> list[float]:
    """All numbers of a prediction, in one list."""

    def flat(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [number for key in sorted(value) for number in flat(value[key])]
        if isinstance(value, list | tuple):
            return [number for item in value for number in flat(item)]
        return [float(value)] if isinstance(value, int | float) else []

    return flat([prediction.value, prediction.confidence, prediction.scores])


def assert_equal(actual: list[Prediction], expected: list[Prediction]) -> None:
    """Every number of every prediction is within the tolerance, which is relative for numbers above 1."""
    assert len(actual) == len(expected)
    for number, (actual_prediction, expected_prediction) in enumerate(zip(actual, expected, strict=True)):
        a, b = numbers_in(actual_prediction), numbers_in(expected_prediction)
        assert len(a) == len(b) > 0, f"example {number}: {len(a)} numbers instead of {len(b)}"
        moved = max(abs(x - y) / max(1.0, abs(y)) for x, y in zip(a, b, strict=True))
        assert moved <= TOLERANCE, f"example {number} moved by {moved}"


# The checks. Each takes a model with `predict` and raises AssertionError if its outputs depend on something.


def check_alone(model: Any) -> None:
    """One at a time without padding, or all in one batch."""
    sequences = examples(model.numbers)
    assert_equal([model.predict(*padded([sequence]))[0] for sequence in sequences], model.predict(*padded(sequences)))


def check_more_padding(model: Any) -> None:
    """Padded to a longer width than any of them needs."""
    sequences = examples(model.numbers)
    assert_equal(model.predict(*padded(sequences, extra=11)), model.predict(*padded(sequences)))


def check_content_of_padding(model: Any) -> None:
    """Other symbols, large numbers, or NaN in the padding."""
    sequences = examples(model.numbers)
    g = torch.Generator().manual_seed(8)
    fillers: list[Callable[[tuple[int, ...]], Tensor]] = [lambda shape: torch.randint(0, SYMBOLS, shape, generator=g)]
    if model.numbers:
        fillers = [lambda shape: torch.full(shape, 1e30), lambda shape: torch.full(shape, torch.nan)]
    for filler in fillers:
        assert_equal(model.predict(*padded(sequences, extra=2, filler=filler)), model.predict(*padded(sequences)))


def check_batch_mates(model: Any) -> None:
    """The same example beside others."""
    sequences = examples(model.numbers)
    reversed_sequences = [sequence.flip(0) for sequence in sequences]
    expected = model.predict(*padded(sequences))
    for row, sequence in enumerate(sequences):
        batch = [*reversed_sequences[:row], sequence, *reversed_sequences[row + 1 :]]
        assert_equal([model.predict(*padded(batch))[row]], [expected[row]])


def check_order(model: Any) -> None:
    """The same batch in another order."""
    sequences = examples(model.numbers)
    order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(1)).tolist()
    expected = model.predict(*padded(sequences))
    assert_equal(model.predict(*padded([sequences[i] for i in order])), [expected[i] for i in order])


def check_every_width(model: Any) -> None:
    """Padded to each width up to 40."""
    sequences = examples(model.numbers)
    expected = model.predict(*padded(sequences))
    for extra in range(40 - max(LENGTHS)):
        assert_equal(model.predict(*padded(sequences, extra=extra)), expected)


CHECKS = [check_alone, check_more_padding, check_content_of_padding, check_batch_mates, check_order]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_answers_depend_on_the_sequence_alone(encoder: str, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    for numbers in (False,) if head.startswith("language") else (False, True):
        model = Model(ENCODERS[encoder](), HEADS[head], numbers=numbers)
        monkeypatch.setitem(globals(), "TOLERANCE", MORE_ROUNDING.get((encoder, head), TOLERANCE))
        for check in CHECKS:
            check(model)
        if (encoder, head) in MORE_ROUNDING:
            monkeypatch.setitem(globals(), "TOLERANCE", 4e-7)
            model.double()
            for check in CHECKS:
                check(model)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ["rnn-both", "lstm-deep", "gru-both"])
def test_losses_and_gradients_add_up_over_any_division_into_batches(encoder: str, head: str) -> None:
    """The loss of a batch is the sum of the losses of its examples, and so are the gradients of the weights."""
    torch.manual_seed(0)
    model = Model(ENCODERS[encoder](), HEADS[head])
    sequences = examples()
    y: list[Tensor] = {
        "tag": [sequence % 3 for sequence in sequences],
        "crf": [sequence % 3 for sequence in sequences],
        "language": sequences,
        "language-adaptive": sequences,
        "regress-mean": list(torch.linspace(-1, 1, len(sequences))),
    }.get(head, list(torch.arange(len(sequences)) % 3))
    ragged = head in ("tag", "crf", "language", "language-adaptive")
    weights = [*model.layer.parameters(), *model.encoder.parameters(), *model.head.parameters()]

    def loss_of(rows: list[int], extra: int) -> list[Tensor]:
        x, lengths = padded([sequences[row] for row in rows], extra=extra)
        target = padded([y[row] for row in rows], extra=extra)[0] if ragged else torch.stack([y[row] for row in rows])
        total, count = model.head.loss(model.encode(x, lengths), Batch(x, lengths, target, lengths if ragged else None))
        gradients = torch.autograd.grad(total, weights, allow_unused=True)
        return [total.detach(), count, *(torch.zeros(()) if gradient is None else gradient for gradient in gradients)]

    together = loss_of(list(range(len(sequences))), extra=5)
    divided = [sum(column) for column in zip(*(loss_of([row], extra=0) for row in range(len(sequences))), strict=True)]
    assert len(together) == len(divided)
    for actual, expected in zip(together, divided, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


# Models with defects of real toolkits, one each.


class OverBatchAxis(Encoder):
    """Swaps the axes before a recurrence that expects the batch first, so that it runs over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.out_dim, self.causal = HIDDEN, True
        self.cell = nn.LSTM(WIDTH, HIDDEN, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, state: Any = None) -> Encoded:
        steps = self.cell(x.transpose(0, 1))[0].transpose(0, 1)
        return Encoded(steps, lengths, steps[torch.arange(len(lengths)), lengths - 1], tuple)


class MaskUnused(Encoder):
    """Ignores lengths: the last step is the last column, and pools include the padding."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.out_dim, self.causal = HIDDEN * (1 + bidirectional), not bidirectional
        self.cell = nn.LSTM(WIDTH, HIDDEN, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, lengths: Tensor, state: Any = None) -> Encoded:
        steps = self.cell(x)[0]
        return Encoded(steps, torch.full_like(lengths, x.shape[1]), steps[:, -1], tuple)


class RelativeLengths(Encoder):
    """Stores lengths as shares of the longest and truncates them back to integers: some lose their last step."""

    def __init__(self) -> None:
        super().__init__()
        self.out_dim, self.causal = HIDDEN, True
        self.inner = lstm(WIDTH, hidden=HIDDEN)

    def forward(self, x: Tensor, lengths: Tensor, state: Any = None) -> Encoded:
        share = lengths.float() / x.shape[1]
        truncated = (share * x.shape[1]).int().long().clamp(min=1)
        encoded = self.inner(x, truncated)
        assert isinstance(encoded, Encoded)
        return encoded


@pytest.mark.parametrize("pool", POOLS)
def test_a_recurrence_over_the_batch_axis_is_caught(pool: str) -> None:
    torch.manual_seed(0)
    model = Model(OverBatchAxis(), HEADS[f"classify-{pool}"])
    for check in (check_alone, check_batch_mates, check_order):
        with pytest.raises(AssertionError, match="moved by"):
            check(model)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pool", POOLS)
def test_an_unused_mask_is_caught(pool: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    model = Model(MaskUnused(bidirectional), HEADS[f"classify-{pool}"])
    for check in (check_alone, check_more_padding):
        with pytest.raises(AssertionError, match="moved by"):
            check(model)


def test_truncated_relative_lengths_are_caught() -> None:
    """7 of 23 becomes 6: the lengths here have such a pair at some width."""
    torch.manual_seed(0)
    model = Model(RelativeLengths(), HEADS["classify-last"])
    widths = range(max(LENGTHS), 40)
    assert any(int(torch.tensor(n) / w * w) != n for n in LENGTHS for w in widths), (
        "no length loses a step at any width"
    )
    with pytest.raises(AssertionError, match="moved by"):
        check_every_width(model)
    check_every_width(Model(lstm(WIDTH, hidden=HIDDEN), HEADS["classify-last"]))
