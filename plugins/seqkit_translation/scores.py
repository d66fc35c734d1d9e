"""BLEU and chrF, by sacrebleu, so that they can be compared with what others report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqkit import MissingExtra, Prediction
from seqkit.metrics import cer


def text_scores(predictions: Sequence[Prediction], targets: Sequence[str]) -> Mapping[str, float]:
    """`cer`, the character error rate; `exact`, the share of texts without an error; `cut`, as below."""
    return cer(predictions, targets) | _cut(predictions)


def translation_scores(
    predictions: Sequence[Prediction], targets: Sequence[str], *, lower: bool
) -> Mapping[str, float]:
    """`bleu` and `chrf`, 0 to 100; `exact`, the share of texts that are as wanted; `cut`, the share cut by a limit.

    BLEU is sacrebleu's (Post 2018, arXiv:1804.08771): of the whole corpus, one reference, tokenised by `13a`,
    exponential smoothing; chrF (Popovic 2015) with character 6-grams and beta 2. `lower`: cases are not told apart in
    any of them.

    Raises:
        MissingExtra: sacrebleu is not installed.
    """
    try:
        from sacrebleu import BLEU, CHRF
    except ImportError:
        raise MissingExtra("BLEU and chrF", "text") from None
    given, true = [prediction.value for prediction in predictions], list(targets)
    if lower:
        given, true = [text.lower() for text in given], [text.lower() for text in true]
    exact = sum(a.split() == b.split() for a, b in zip(given, true, strict=True)) / len(true)
    bleu = BLEU(lowercase=lower).corpus_score(given, [true])
    chrf = CHRF(lowercase=lower).corpus_score(given, [true])
    return {"bleu": bleu.score, "chrf": chrf.score, "exact": exact} | _cut(predictions)


def signature(*, lower: bool) -> dict[str, str]:
    """How the scores were come by, in sacrebleu's own form; nothing where it is not installed."""
    try:
        from sacrebleu import BLEU, CHRF
    except ImportError:
        return {}
    found: dict[str, str] = {}
    for metric in (BLEU(lowercase=lower, references=[[""]]), CHRF(lowercase=lower, references=[[""]])):
        found[type(metric).__name__.lower()] = str(metric.get_signature())
    return found


def _cut(predictions: Sequence[Prediction]) -> dict[str, float]:
    """`cut`: the share of texts that went on until their limit made them end."""
    return {"cut": sum(_was_cut(each.scores) for each in predictions) / max(1, len(predictions))}


def _was_cut(scores: Any) -> bool:
    return isinstance(scores, Mapping) and bool(scores.get("cut"))
