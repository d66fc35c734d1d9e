"""The heads that a recipe names under `head:`. Importing this package does not import torch.

Each is a factory. seqkit passes `dim` (the encoder's `out_dim`), the fitted target field and the task's input layer;
the keyword-only arguments are the options that a recipe may set. The modules are in files of their own. None of these
has the name of a factory: importing `seqkit.heads.tag` would replace the function by a module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from seqkit import public_api
from seqkit.fields import Label, Labels, Next, NextValues, StepValues, Tags, Text, Values
from seqkit.heads.option_types import (
    Cell,
    DecoderOptions,
    LossOptions,
    Pool,
    RegressionLoss,
    Schedule,
    ScheduledSampling,
    Score,
    Search,
    SearchOptions,
    Softmax,
    Start,
    TooLong,
    find_contradiction,
    find_level_fault,
)
from seqkit.types import Count, Field, NonNegative, Positive, Probability, Share

if TYPE_CHECKING:
    from torch import nn

    from seqkit.heads.joining import JointScores as JointScores
    from seqkit.heads.joining import mean_log_odds as mean_log_odds
    from seqkit.heads.joining import mean_log_probs as mean_log_probs
    from seqkit.heads.pooling import Pooling as Pooling
    from seqkit.interfaces import Head

__all__ = [
    "JointScores",
    "Pool",
    "Pooling",
    "Search",
    "attend",
    "classify",
    "crf",
    "ctc",
    "generate",
    "language",
    "mean_log_odds",
    "mean_log_probs",
    "regress",
    "serves",
    "tag",
]


_NEED_TORCH = {
    "JointScores": "seqkit.heads.joining",
    "Pooling": "seqkit.heads.pooling",
    "mean_log_odds": "seqkit.heads.joining",
    "mean_log_probs": "seqkit.heads.joining",
}

F = TypeVar("F", bound=Callable[..., object])


def serves(
    *fields: type[Field],
    needs_causal: bool = False,
    loss_name: str = "loss",
    contradiction: Callable[..., str] | None = None,
) -> Callable[[F], F]:
    """Mark a head's factory with the target fields that it serves, so that a recipe is checked before data is read.

    Args:
        fields: the target fields.
        needs_causal: True if the encoder must not see the future.
        loss_name: the name of the mean loss as a score.
        contradiction: gets the head's options by name and returns a sentence about options that exclude each other,
            or an empty text.
    """

    def mark(factory: F) -> F:
        vars(factory).update(accepts=fields, needs_causal=needs_causal, loss_name=loss_name)
        vars(factory).update(contradiction=contradiction)
        return factory

    return mark


@serves(Label, Labels)
def classify(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    pool: Pool = "last",
    dropout: Share = 0.0,
    label_smoothing: Share = 0.0,
    balanced: Probability = 0.0,
    every_step: bool = False,
) -> Head:
    """One label for a whole sequence, or several at once where the target is `Labels`.

    The probabilities of a `Label` are a softmax. Those of `Labels` are one sigmoid each, and a label of 0.5 or more is
    predicted. The loss of an evaluation is always plain cross-entropy: smoothing and weights are for training only.

    Args:
        pool: how steps become one vector: the last one, their mean, their maximum, or attention (Yang et al. 2016).
        dropout: share of the pooled values dropped.
        label_smoothing: share of the target's weight spread over all labels (Szegedy et al. 2016).
        balanced: weigh each example in training by the inverse of its label's frequency, to this power: 0, not at all;
            0.5, by the root; 1, so that every label weighs the same.
        every_step: learn at each step, as if the sequence ended there, and predict at each step too.
    """
    from seqkit.heads.classification import Classify

    return Classify(
        dim,
        target,
        pool=pool,
        dropout=dropout,
        label_smoothing=label_smoothing,
        balanced=balanced,
        every_step=every_step,
    )


@serves(Tags)
def tag(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    dropout: Share = 0.0,
    label_smoothing: Share = 0.0,
) -> Head:
    """One tag for each step, each chosen on its own (softmax).

    Args:
        dropout: share of the encoded values dropped.
        label_smoothing: share of the target's weight spread over all tags, in training.
    """
    from seqkit.heads.tagging import Tag

    return Tag(dim, target, dropout=dropout, label_smoothing=label_smoothing)


@serves(Tags)
def crf(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    dropout: Share = 0.0,
    constrain: bool = True,
    nbest: Count = 1,
) -> Head:
    """One tag for each step, all of them chosen together (a linear-chain conditional random field).

    The loss is the negative log-likelihood of whole sequences of tags, in nats a step (Lafferty, McCallum and Pereira
    2001; over a recurrent encoder Lample et al. 2016, arXiv:1603.01360). Tags that mark spans in a scheme are never
    predicted in an illegal order. Windows of a long sequence are tagged one by one and joined.

    Args:
        dropout: share of the encoded values dropped.
        constrain: penalise orders that the scheme forbids in training too; false: only predictions keep to the scheme.
        nbest: how many sequences of tags a prediction lists, the best first.
    """
    from seqkit.heads.linear_chain_crf import LinearChainCRF

    return LinearChainCRF(dim, target, dropout=dropout, constrain=constrain, nbest=nbest)


@serves(Next, needs_causal=True, loss_name="nats", contradiction=find_contradiction)
def language(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    tied: bool = False,
    dropout: Share = 0.0,
    label_smoothing: Share = 0.0,
    softmax: Softmax = "full",
    cutoffs: Sequence[Count] = (),
) -> Head:
    """The next symbol of the input, at each step. Its loss is in nats a symbol.

    Args:
        tied: use the input vectors as output weights too (Press and Wolf 2017, arXiv:1608.05859).
        dropout: share of the encoded values dropped.
        label_smoothing: share of the target's weight spread over all symbols, in training.
        softmax: full, over all symbols; adaptive, for large vocabularies: over the frequent symbols and clusters of
            rarer ones, whose vectors are narrower (Grave et al. 2017, arXiv:1609.04309). Probabilities still sum to
            one; it is another model, not a faster way to the same numbers.
        cutoffs: for softmax: adaptive, the number of the first symbol of each cluster, rising. Symbols are numbered
            from the most frequent one on, after 4 special ones. Without cutoffs there are two, from the vocabulary's
            size V: 4 sqrt(V) and V / 4.
    """
    from seqkit.heads.language_model import Language

    return Language(
        dim,
        target,
        layer,
        tied=tied,
        dropout=dropout,
        label_smoothing=label_smoothing,
        softmax=softmax,
        cutoffs=cutoffs,
    )


@serves(Values, StepValues, NextValues, contradiction=find_level_fault)
def regress(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    pool: Pool = "last",
    dropout: Share = 0.0,
    loss: RegressionLoss = "mse",
    every_step: bool = False,
    quantiles: Sequence[Probability] = (0.05, 0.25, 0.5, 0.75, 0.95),
    components: Count = 3,
) -> Head:
    """One number, or several, for a whole sequence, at each step (`StepValues`), or the next ones (`NextValues`).

    They are learned in units of the training data's standard deviation, where the target is standardised.

    Args:
        pool: how steps become one vector: the last one, their mean, their maximum, or attention (Yang et al. 2016).
            Where the target has a number at each step, that of a step is made from the steps up to it; last, from its
            own encoding, which is the only one that may see later steps.
        dropout: share of the pooled values dropped.
        loss: mse, squared error; mae, absolute error; huber, between the two; gaussian, the negative log-likelihood
            (nats) of a Gaussian whose standard deviation is predicted as well; student_t, that of Student's t, with
            heavy tails; mixture, of several Gaussians; poisson or negative_binomial, of counts; quantiles, twice the
            mean pinball loss of some quantiles, which never cross.
        every_step: for a whole sequence's numbers: learn at each step, as if the sequence ended there, and predict at
            each step too.
        quantiles: the levels that predictions of a distribution list, rising; of loss: quantiles, those that are
            learned, and the value is the one in the middle.
        components: Gaussians of a mixture.
    """
    from seqkit.heads.regression import Regress

    return Regress(
        dim,
        target,
        pool=pool,
        dropout=dropout,
        loss=loss,
        every_step=every_step,
        quantiles=quantiles,
        components=components,
    )


@serves(Text)
def ctc(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    search: Search = "greedy",
    beams: Count = 16,
    best: Count = 1,
    dropout: Share = 0.0,
    too_long: TooLong = "refuse",
) -> Head:
    """A text that is shorter than its input and in the same order, learned without alignments.

    Connectionist temporal classification (Graves et al. 2006, doi:10.1145/1143844.1143891): at each step a symbol or a
    blank; repeats become one, blanks are removed, and the probability of a text is the sum over all its alignments. The
    loss is in nats a symbol.

    Args:
        search: greedy, the best class of each step, collapsed; beam, prefix beam search, which is slower and never
            worse if the beam is wide enough.
        beams: prefixes that beam search keeps.
        best: how many texts a prediction of beam search lists, each with its probability.
        dropout: share of the encoded values dropped.
        too_long: what happens to a text that needs more steps than its input has, which therefore has no alignment:
            refuse, an error that names it; skip, it is left out of the loss and counted.
    """
    from seqkit.heads.ctc_head import CTC

    return CTC(dim, target, search=search, beams=beams, best=best, dropout=dropout, too_long=too_long)


@serves(Text, loss_name="nats")
def attend(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    cell: Cell = "lstm",
    hidden: Count | None = None,
    layers: Count = 1,
    embedding: Count = 128,
    attention: Score = "general",
    input_feeding: bool = False,
    start: Start = "last",
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    drop: Share = 0.0,
    tied: bool = False,
    label_smoothing: Share = 0.0,
    scheduled_sampling: Schedule = "none",
    sampling_decay: Positive = 1000.0,
    teaching_floor: Probability = 0.0,
    coverage: NonNegative | None = None,
    search: Search = "beam",
    beams: Count = 5,
    best: Count = 1,
    alpha: NonNegative = 0.6,
    early_stop: bool = False,
    max_length: Count = 200,
    max_ratio: Positive | None = None,
    unknown: bool = True,
) -> Head:
    """A text of any length and order, written symbol by symbol with attention over the input.

    The decoder of Luong et al. 2015 (arXiv:1508.04025). It learns by teacher forcing: at each step it reads the true
    symbol before. Its loss is in nats a symbol, the end of the text being one.

    Args:
        cell: the decoder's cell: lstm or gru.
        hidden: width of the decoder's state (null: that of the encoded steps).
        layers: layers of the decoder.
        embedding: width of an output symbol's vector.
        attention: how encoded steps are scored: dot, general (Luong) or additive (Bahdanau et al. 2015).
        input_feeding: the readout of a step is part of the next step's input. Training then goes step by step, which
            costs time.
        start: what the decoder's first state is computed from: last (the encoder's last vector), mean (of its steps),
            or zero (nothing).
        dropout: share of the values dropped between layers and before the output layer.
        input_dropout: share of the values dropped from the output symbols' vectors.
        drop: share of the output symbols that the decoder reads as unknown, in training.
        tied: use the output symbols' vectors as output weights too (Press and Wolf 2017, arXiv:1608.05859).
        label_smoothing: share of the target's weight spread over all symbols, in training.
        scheduled_sampling: in training, read symbols drawn from the model's own distribution instead of the true ones,
            more often with each batch (Bengio et al. 2015, arXiv:1506.03099): none, linear or inverse_sigmoid.
        sampling_decay: k. The share of true symbols after i batches is 1 - i / k (linear) or k / (k + exp(i / k)).
        teaching_floor: the least share of true symbols.
        coverage: scores of attention depend on the weights so far, and this much times the weight that goes where
            weight had gone before is added to the loss (See et al. 2017, arXiv:1704.04368, take 1). Costs time as
            input_feeding does. null: without coverage.
        search: greedy, the best symbol at each step; beam, the best texts among several, never worse than
            greedy.
        beams: prefixes that beam search keeps.
        best: how many texts a prediction lists.
        alpha: strength of length normalisation in beam search (Wu et al. 2016, arXiv:1609.08144); 0: none.
        early_stop: end beam search as soon as as many texts have ended as there are beams. That takes fewer steps, and
            loses texts that would have overtaken them later.
        max_length: most symbols of a predicted text. A prediction says if its text was cut, and cut texts are counted.
        max_ratio: most symbols for each step of the input, where that is less. null: max_length decides.
        unknown: whether <unk> may be predicted; false: the best known symbol instead.
    """
    from seqkit.heads.seq2seq import Seq2Seq

    return Seq2Seq(
        dim,
        target,
        decoder=DecoderOptions(
            cell=cell,
            hidden=hidden,
            layers=layers,
            embedding=embedding,
            dropout=dropout,
            input_dropout=input_dropout,
            drop=drop,
            tied=tied,
            start=start,
            attention=attention,
            input_feeding=input_feeding,
            coverage=coverage is not None,
        ),
        loss=LossOptions(
            label_smoothing=label_smoothing,
            scheduled_sampling=(
                None
                if scheduled_sampling == "none"
                else ScheduledSampling(schedule=scheduled_sampling, decay=sampling_decay, least_share=teaching_floor)
            ),
            coverage=coverage,
        ),
        search=SearchOptions(
            search=search,
            beams=beams,
            best=best,
            alpha=alpha,
            early_stop=early_stop,
            max_length=max_length,
            max_ratio=max_ratio,
            unknown=unknown,
        ),
    )


@serves(Text, loss_name="nats")
def generate(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    cell: Cell = "lstm",
    hidden: Count | None = None,
    layers: Count = 1,
    embedding: Count = 64,
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    drop: Share = 0.0,
    tied: bool = False,
    label_smoothing: Share = 0.0,
    search: Search = "beam",
    beams: Count = 5,
    best: Count = 1,
    alpha: NonNegative = 0.0,
    early_stop: bool = False,
    max_length: Count = 200,
    unknown: bool = False,
) -> Head:
    """A text written from one vector, the encoder's last. `seqkit generate` draws texts from it.

    The decoder's first state is computed from the vector, which is also part of each step's input (Cho et al. 2014,
    arXiv:1406.1078). The loss is in nats a symbol, the end of the text being one.

    Args:
        cell: the decoder's cell: lstm or gru.
        hidden: width of the decoder's state (null: that of the vector).
        layers: layers of the decoder.
        embedding: width of an output symbol's vector.
        dropout: share of the values dropped between layers and before the output layer.
        input_dropout: share of the values dropped from the output symbols' vectors.
        drop: share of the output symbols that the decoder reads as unknown, in training.
        tied: use the output symbols' vectors as output weights too (Press and Wolf 2017, arXiv:1608.05859).
        label_smoothing: share of the target's weight spread over all symbols, in training.
        search: greedy, the best symbol at each step; beam, the best texts among several, never worse than
            greedy.
        beams: prefixes that beam search keeps.
        best: how many texts a prediction lists.
        alpha: strength of length normalisation in beam search (Wu et al. 2016, arXiv:1609.08144); 0: none.
        early_stop: end beam search as soon as as many texts have ended as there are beams. That takes fewer steps, and
            loses texts that would have overtaken them later.
        max_length: most symbols of a predicted text. A prediction says if its text was cut, and cut texts are counted.
        unknown: whether <unk> may be predicted; false: the best known symbol instead.
    """
    from seqkit.heads.seq2seq import Seq2Seq

    return Seq2Seq(
        dim,
        target,
        decoder=DecoderOptions(
            cell=cell,
            hidden=hidden,
            layers=layers,
            embedding=embedding,
            dropout=dropout,
            input_dropout=input_dropout,
            drop=drop,
            tied=tied,
            start="last",
            attention=None,
            input_feeding=False,
            coverage=False,
        ),
        loss=LossOptions(label_smoothing=label_smoothing, scheduled_sampling=None, coverage=None),
        search=SearchOptions(
            search=search,
            beams=beams,
            best=best,
            alpha=alpha,
            early_stop=early_stop,
            max_length=max_length,
            max_ratio=None,
            unknown=unknown,
        ),
    )


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What needs torch, imported on first use; or a deprecated name."""
        if name in _NEED_TORCH:
            return getattr(import_module(_NEED_TORCH[name]), name)
        return public_api.deprecated_attribute(__name__, name)
