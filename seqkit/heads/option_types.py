"""Types of the heads' options, and the options that `attend` and `generate` hand to their modules. Imports no torch.

Defaults stand in the factories' signatures (`seqkit.heads`) and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from seqkit.types import PAD, START, UNKNOWN

Pool: TypeAlias = Literal["last", "mean", "max", "attention"]
"""How many steps become one vector: see `Pooling`."""

RegressionLoss: TypeAlias = Literal[
    "mse", "mae", "huber", "gaussian", "student_t", "mixture", "poisson", "negative_binomial", "quantiles"
]
"""Squared error, absolute error, Huber's between the two, a distribution's negative log-likelihood, or quantiles."""

Softmax: TypeAlias = Literal["full", "adaptive"]
"""How the probability of the next symbol is computed: over all symbols at once, or by clusters of them."""

Search: TypeAlias = Literal["greedy", "beam"]
"""How a text is found: the best symbol at each step, or the best texts among several."""

TooLong: TypeAlias = Literal["refuse", "skip"]
"""What happens to a text that has no CTC alignment: an error, or it is left out of the loss."""

Cell: TypeAlias = Literal["lstm", "gru"]
"""The cell of a decoder."""

Start: TypeAlias = Literal["last", "mean", "zero"]
"""What a decoder's first state is computed from."""

Score: TypeAlias = Literal["dot", "general", "additive"]
"""How attention scores an encoded step."""

Schedule: TypeAlias = Literal["none", "linear", "inverse_sigmoid"]
"""How the share of true symbols falls in scheduled sampling."""


@dataclass(frozen=True, kw_only=True)
class DecoderOptions:
    """How the decoder of `attend` or `generate` is built.

    Attributes:
        cell: lstm or gru.
        hidden: width of a layer's state; None: that of the encoded steps.
        layers: how many recurrent layers.
        embedding: width of a symbol's vector.
        dropout: share of the values dropped between layers and from the readout.
        input_dropout: share of the values dropped from the symbols' vectors.
        drop: share of the symbols read as unknown in training.
        tied: whether the symbols' vectors are the output weights too.
        start: what the first state is computed from: the encoder's last vector, the mean of its steps, or nothing.
        attention: how encoded steps are scored; None: no attention, every step reads the encoder's last vector.
        input_feeding: whether a step's readout is part of the next step's input.
        coverage: whether attention knows how much weight each encoded step has had so far.
    """

    cell: Cell
    hidden: int | None
    layers: int
    embedding: int
    dropout: float
    input_dropout: float
    drop: float
    tied: bool
    start: Start
    attention: Score | None
    input_feeding: bool
    coverage: bool


@dataclass(frozen=True, kw_only=True)
class ScheduledSampling:
    """How the share of true symbols that a decoder reads falls in training (Bengio et al. 2015, arXiv:1506.03099).

    Attributes:
        schedule: linear or inverse_sigmoid.
        decay: k; the share after i batches is 1 - i / k, or k / (k + exp(i / k)).
        least_share: the share never falls below it.
    """

    schedule: Schedule
    decay: float
    least_share: float


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What `attend` and `generate` minimise in training.

    Attributes:
        label_smoothing: share of the target's weight spread over all symbols.
        scheduled_sampling: None: every symbol that is read is the true one (teacher forcing).
        coverage: weight of the coverage loss; None: attention has no coverage.
    """

    label_smoothing: float
    scheduled_sampling: ScheduledSampling | None
    coverage: float | None


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How `attend` and `generate` search for a text.

    Attributes:
        search: greedy or beam.
        beams: prefixes that beam search keeps.
        best: how many texts a prediction lists.
        alpha: strength of length normalisation in beam search.
        early_stop: whether beam search ends once as many texts have ended as there are beams.
        max_length: most symbols of a text.
        max_ratio: most symbols for each step of the input; None: `max_length` alone decides.
        unknown: whether the unknown symbol may be predicted.
    """

    search: Search
    beams: int
    best: int
    alpha: float
    early_stop: bool
    max_length: int
    max_ratio: float | None
    unknown: bool

    @property
    def beam_width(self) -> int:
        """Beams that a search needs."""
        return 1 if self.search == "greedy" else max(self.beams, self.best)

    @property
    def text_count(self) -> int:
        """Texts that a search returns for each example."""
        return 1 if self.search == "greedy" else self.best

    @property
    def length_penalty(self) -> float:
        """The exponent of the length penalty."""
        return self.alpha if self.search == "beam" else 0.0

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Symbols that are never predicted."""
        return (PAD, START) if self.unknown else (PAD, UNKNOWN, START)


def find_level_fault(*, quantiles: Sequence[float], **rest: object) -> str:
    """What is wrong with the levels of `regress`; an empty text if nothing is."""
    levels = list(quantiles)
    if levels and levels == sorted(set(levels)) and levels[0] > 0.0 and levels[-1] < 1.0:
        return ""
    return f"quantiles: {levels} are not levels between 0 and 1 that rise"


def find_contradiction(
    *, tied: bool, label_smoothing: float, softmax: Softmax, cutoffs: Sequence[int], **other_options: object
) -> str:
    """A sentence about options of `language` that exclude each other; empty: none do."""
    if softmax == "full":
        return "cutoffs: are for softmax: adaptive" if cutoffs else ""
    if tied:
        return "tied: the vectors of an adaptive softmax are of several widths; take tied: false, or softmax: full"
    if label_smoothing:
        return (
            "label_smoothing: would need all symbols at each step, which an adaptive softmax saves; take 0, or "
            "softmax: full"
        )
    if any(cutoff <= previous for previous, cutoff in zip((0, *cutoffs), cutoffs, strict=False)):
        return f"cutoffs: must rise, got {', '.join(map(str, cutoffs))}"
    return ""
