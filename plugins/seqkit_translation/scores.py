"""The scores of the task `translation`. BLEU and chrF are sacrebleu's, so that others' results can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from seqkit import MissingExtra, Prediction
from seqkit.metrics import cer
from seqkit_translation.options import ScoreKind

TEXT_SCORES = ("cer", "exact", "cut")
"""The names of the scores of texts."""

TRANSLATION_SCORES = ("bleu", "chrf", "exact", "cut")
"""The names of the scores of translations."""


def pair_scores(
    predictions: Sequence[Prediction], targets: Sequence[str], *, kind: ScoreKind, lower: bool
) -> Mapping[str, float]:
    """The scores of this kind; with `lower`, case is ignored."""
    if kind == "translation":
        return translation_scores(predictions, targets, lower=lower)
    if lower:
        predictions = [replace(prediction, value=prediction.value.lower()) for prediction in predictions]
        targets = [target.lower() for target in targets]
    return text_scores(predictions, targets)


def text_scores(predictions: Sequence[Prediction], targets: Sequence[str]) -> Mapping[str, float]:
    """`cer`, the character error rate; `exact`, the share of texts without an error; `cut`, the share of cut texts."""
    return cer(predictions, targets) | _cut(predictions)


def translation_scores(
    predictions: Sequence[Prediction], targets: Sequence[str], *, lower: bool
) -> Mapping[str, float]:
    """`bleu` and `chrf`, 0 to 100; `exact`, the share of texts that equal the target; `cut`, the share cut by a limit.

    BLEU is sacrebleu's (Post 2018, arXiv:1804.08771): of the whole corpus, one reference, tokenised by `13a`,
    exponential smoothing; chrF (Popovic 2015) with character 6-grams and beta 2. With `lower`, all of them ignore case.

    Raises:
        MissingExtra: sacrebleu is not installed.
    """
    try:
        from sacrebleu import BLEU, CHRF
    except ImportError:
        raise MissingExtra("BLEU and chrF", "text") from None
    hypotheses, references = [prediction.value for prediction in predictions], list(targets)
    if lower:
        hypotheses, references = [text.lower() for text in hypotheses], [text.lower() for text in references]
    exact = sum(a.split() == b.split() for a, b in zip(hypotheses, references, strict=True)) / len(references)
    bleu = BLEU(lowercase=lower).corpus_score(hypotheses, [references])
    chrf = CHRF(lowercase=lower).corpus_score(hypotheses, [references])
    return {"bleu": bleu.score, "chrf": chrf.score, "exact": exact} | _cut(predictions)


def signature(*, lower: bool) -> dict[str, str]:
    """How the scores are computed, as sacrebleu's signatures; empty if it is not installed."""
    try:
        from sacrebleu import BLEU, CHRF
    except ImportError:
        return {}
    metrics = (BLEU(lowercase=lower, references=[[""]]), CHRF(lowercase=lower, references=[[""]]))
    return {type(metric).__name__.lower(): str(metric.get_signature()) for metric in metrics}


def _cut(predictions: Sequence[Prediction]) -> dict[str, float]:
    """`cut`: the share of texts that ended only because of the limit of their length."""
    return {"cut": sum(_was_cut(prediction.scores) for prediction in predictions) / max(1, len(predictions))}


def _was_cut(scores: Any) -> bool:
    return isinstance(scores, Mapping) and bool(scores.get("cut"))
