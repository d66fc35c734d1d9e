"""The task's own score."""

from __future__ import annotations

from collections.abc import Sequence

from seqkit import Prediction
from seqkit.metrics import accuracy

SITES = ("donor", "acceptor")


def site_scores(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`site_f1`, the F1 of true sites, with `site_f1.donor` and `site_f1.acceptor`; and `accuracy`.

    A site counts as found if it is said to be what it is; `neither` is not a site, so a model that never says anything
    else scores 0, however rare sites are.
    """
    pairs = [(said.value, true) for said, true in zip(predictions, targets, strict=True)]
    scores = {f"site_f1.{site}": _f1(pairs, (site,)) for site in SITES}
    return {"site_f1": _f1(pairs, SITES), **scores, **accuracy(predictions, targets)}


def _f1(pairs: Sequence[tuple[str, str]], sites: Sequence[str]) -> float:
    right = sum(said == true for said, true in pairs if true in sites)
    said, true = sum(said in sites for said, _ in pairs), sum(true in sites for _, true in pairs)
    return 2 * right / (said + true) if said + true else 0.0
