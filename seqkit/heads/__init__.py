"""The heads that a recipe names under `head:`. Importing this imports no torch.

Each is a factory: `dim` (the encoder's `out_dim`), the fitted target field and the task's input layer are given by the
house; the keyword-only options are what a recipe may say. The modules live in files of their own, none of which is
named as its factory is: importing `seqkit.heads.tag` would put a module in the place of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from seqkit import public_api
from seqkit.fields import Label, Labels, Next, Tags, Text, Values
from seqkit.types import Count, Field, NonNegative, Positive, Probability, Share

if TYPE_CHECKING:
    from torch import nn

    from seqkit.heads.pooling import Pooling as Pooling
    from seqkit.interfaces import Head
from seqkit.heads.option_types import Pool, Search, Softmax, contradiction

__all__ = [
    "Pool",
    "Pooling",
    "Search",
    "attend",
    "classify",
    "crf",
    "ctc",
    "generate",
    "language",
    "regress",
    "serves",
    "tag",
]


F = TypeVar("F", bound=Callable[..., object])


def serves(
    *fields: type[Field],
    needs_causal: bool = False,
    loss_name: str = "loss",
    contradiction: Callable[..., str] | None = None,
) -> Callable[[F], F]:
    """Says of a head's factory which target fields it can serve, so that a recipe is checked before any data is read.

    Args:
        fields: the target fields.
        needs_causal: True if the encoder must not see the future.
        loss_name: what the mean loss is called as a score.
        contradiction: gets the head's options by name; says what cannot be had together, or nothing.
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

    A label's probabilities are a softmax; those of `Labels` are one sigmoid each, and a label is given from 0.5 on.
    The loss of an evaluation is always plain cross-entropy: smoothing and weights are for training only.

    Args:
        pool: how steps become one vector: the last one, their mean, their maximum, or attention (Yang et al. 2016).
        dropout: share of the pooled values dropped.
        label_smoothing: share of the target's weight spread over all labels (Szegedy et al. 2016).
        balanced: weigh each example in training by the inverse of its label's frequency, to this power: 0 not at all,
            0.5 by its root, 1 so that every label weighs the same.
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
    predicted in an illegal order. Windows of a long sequence are tagged each on its own and put one after another.

    Args:
        dropout: share of the encoded values dropped.
        constrain: keep to the scheme in training too; false: illegal orders are only barred when predicting.
        nbest: how many sequences of tags a prediction lists, the best first.
    """
    from seqkit.heads.linear_chain_crf import RandomField

    return RandomField(dim, target, dropout=dropout, constrain=constrain, nbest=nbest)


@serves(Next, needs_causal=True, loss_name="nats", contradiction=contradiction)
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
            rarer ones, whose vectors are narrower (Grave et al. 2017, arXiv:1609.04309). Probabilities sum to one all
            the same; it is another model, not a faster way to the same numbers.
        cutoffs: for softmax: adaptive, the number of the first symbol of each cluster, rising; symbols are numbered
            from the most frequent one on, behind 4 special ones. None given: two, from the vocabulary's size V: 4
            sqrt(V), and V / 4.
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


@serves(Values)
def regress(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    pool: Pool = "last",
    dropout: Share = 0.0,
    loss: Literal["mse", "mae", "huber", "gaussian"] = "mse",
) -> Head:
    """One number, or several, for a whole sequence. Learned in units of the training data's spread.

    Args:
        pool: how steps become one vector: the last one, their mean, their maximum, or attention (Yang et al. 2016).
        dropout: share of the pooled values dropped.
        loss: squared error, absolute error, Huber's between the two, or the likelihood of a Gaussian whose spread is
            predicted as well (nats).
    """
    from seqkit.heads.regression import Regress

    return Regress(dim, target, pool=pool, dropout=dropout, loss=loss)


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
    too_long: Literal["refuse", "skip"] = "refuse",
) -> Head:
    """A text that is shorter than its input and in the same order, without knowing where each symbol stands.

    Connectionist temporal classification (Graves et al. 2006, doi:10.1145/1143844.1143891): at each step a symbol or a
    blank; repeats become one, blanks vanish, and all ways to a text are summed. The loss is in nats a symbol.

    Args:
        search: greedy, the best class of each step, collapsed; beam, prefix beam search, slower and never worse where
            the beam is wide enough.
        beams: prefixes that beam search keeps.
        best: how many texts beam search says, each with its probability.
        dropout: share of the encoded values dropped.
        too_long: what becomes of a text that needs more steps than its input has: an error that names it, or left out
            of the loss and counted. No alignment exists for it, so nothing can be learned from it.
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
    cell: Literal["lstm", "gru"] = "lstm",
    hidden: Count | None = None,
    layers: Count = 1,
    embedding: Count = 128,
    attention: Literal["dot", "general", "additive"] = "general",
    input_feeding: bool = False,
    start: Literal["last", "mean", "zero"] = "last",
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    drop: Share = 0.0,
    tied: bool = False,
    label_smoothing: Share = 0.0,
    scheduled_sampling: Literal["none", "linear", "inverse_sigmoid"] = "none",
    sampling_decay: Positive = 1000.0,
    teaching_floor: Probability = 0.0,
    coverage: NonNegative | None = None,
    search: Search = "beam",
    beams: Count = 5,
    best: Count = 1,
    alpha: NonNegative = 0.6,
    max_length: Count = 200,
    max_ratio: Positive | None = None,
    unknown: bool = True,
) -> Head:
    """A text of any length and order, written symbol by symbol with attention over the input.

    The decoder of Luong et al. 2015 (arXiv:1508.04025). It learns from true texts (teacher forcing); its loss is in
    nats a symbol, the end of the text being one.

    Args:
        cell: the decoder's cell, lstm or gru.
        hidden: width of the decoder's state (null: that of the encoded steps).
        layers: layers of the decoder.
        embedding: width of an output symbol's vector.
        attention: how encoded steps are scored: dot, general (Luong) or additive (Bahdanau et al. 2015).
        input_feeding: what was read out at a step is part of the next step's input. Steps can then not be taught side
            by side, which costs time.
        start: what the decoder's state starts from: the encoder's last vector, the mean of its steps, or zero.
        dropout: share of the values dropped between layers and before the vocabulary.
        input_dropout: share of the values dropped from the output symbols' vectors.
        drop: share of the output symbols that the decoder reads as unknown, in training.
        tied: use the output symbols' vectors as output weights too (Press and Wolf 2017, arXiv:1608.05859).
        label_smoothing: share of the target's weight spread over all symbols, in training.
        scheduled_sampling: while training, read what the model itself would have said rather than the truth, ever more
            often as batches go by (Bengio et al. 2015, arXiv:1506.03099).
        sampling_decay: k. The share of truth after i batches is 1 - i / k (linear) or k / (k + exp(i / k)).
        teaching_floor: the least share of truth.
        coverage: attention knows where it has looked, and pays this much for looking there again (See et al. 2017,
            arXiv:1704.04368; they take 1). Costs time as input_feeding does. null: it does not know.
        search: greedy, the best symbol at each step; beam, the best texts among several.
        beams: beginnings that beam search keeps.
        best: how many texts a prediction lists.
        alpha: strength of length normalisation in beam search (Wu et al. 2016, arXiv:1609.08144); 0: none.
        max_length: most symbols of a predicted text. A text that is made to end says so, and is counted.
        max_ratio: most symbols for each step of the input, where that is less. null: max_length decides.
        unknown: whether <unk> may be said; false: the best known symbol instead.
    """
    from seqkit.heads.seq2seq import Attend
    from seqkit.heads.text_search import SearchOptions

    return Attend(
        dim,
        target,
        searching=SearchOptions(search, beams, best, alpha, max_length, max_ratio, unknown),
        cell=cell,
        hidden=hidden,
        layers=layers,
        embedding=embedding,
        attention=attention,
        input_feeding=input_feeding,
        start=start,
        dropout=dropout,
        input_dropout=input_dropout,
        drop=drop,
        tied=tied,
        label_smoothing=label_smoothing,
        scheduled_sampling=scheduled_sampling,
        sampling_decay=sampling_decay,
        teaching_floor=teaching_floor,
        coverage=coverage,
    )


@serves(Text, loss_name="nats")
def generate(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    cell: Literal["lstm", "gru"] = "lstm",
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
    max_length: Count = 200,
    unknown: bool = False,
) -> Head:
    """A text written from one vector: the encoder's last. `seqkit generate` draws texts from it.

    The vector is the start of the decoder's state and is put beside every input (Cho et al. 2014, arXiv:1406.1078). The
    loss is in nats a symbol, the end of the text being one.

    Args:
        cell: the decoder's cell, lstm or gru.
        hidden: width of the decoder's state (null: that of the vector).
        layers: layers of the decoder.
        embedding: width of an output symbol's vector.
        dropout: share of the values dropped between layers and before the vocabulary.
        input_dropout: share of the values dropped from the output symbols' vectors.
        drop: share of the output symbols that the decoder reads as unknown, in training.
        tied: use the output symbols' vectors as output weights too (Press and Wolf 2017, arXiv:1608.05859).
        label_smoothing: share of the target's weight spread over all symbols, in training.
        search: greedy, the best symbol at each step; beam, the best texts among several.
        beams: beginnings that beam search keeps.
        best: how many texts a prediction lists.
        alpha: strength of length normalisation in beam search (Wu et al. 2016, arXiv:1609.08144); 0: none.
        max_length: most symbols of a predicted text. A text that is made to end says so, and is counted.
        unknown: whether <unk> may be said; false: the best known symbol instead.
    """
    from seqkit.heads.seq2seq import Generate
    from seqkit.heads.text_search import SearchOptions

    return Generate(
        dim,
        target,
        searching=SearchOptions(search, beams, best, alpha, max_length, None, unknown),
        cell=cell,
        hidden=hidden,
        layers=layers,
        embedding=embedding,
        dropout=dropout,
        input_dropout=input_dropout,
        drop=drop,
        tied=tied,
        label_smoothing=label_smoothing,
    )


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """`Pooling`, which needs torch, imported on first use; or a name that is to go, while it lasts."""
        if name == "Pooling":
            from seqkit.heads.pooling import Pooling

            return Pooling
        return public_api.deprecated_attribute(__name__, name)
