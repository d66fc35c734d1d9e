"""The score of the task."""

from __future__ import annotations

from collections.abc import Sequence

from seqkit import Prediction
from seqkit.metrics import accuracy

SITES = ("donor", "acceptor")


def site_scores(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`site_f1`, the F1 of true sites, with `site_f1.donor` and `site_f1.acceptor`; and `accuracy`.

    `neither` is not a site, so a model that predicts nothing else scores 0, however rare sites are.
    """
    pairs = [(prediction.value, target) for prediction, target in zip(predictions, targets, strict=True)]
    scores = {f"site_f1.{site}": _f1(pairs, (site,)) for site in SITES}
    return {"site_f1": _f1(pairs, SITES), **scores, **accuracy(predictions, targets)}


def _f1(pairs: Sequence[tuple[str, str]], sites: Sequence[str]) -> float:
    correct = sum(value == target for value, target in pairs if target in sites)
    total = sum(value in sites for value, _ in pairs) + sum(target in sites for _, target in pairs)
    return 2 * correct / total if total else 0.0
