"""Scores of rankings, and the simple baselines that stand beside them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Literal

from seqkit import Prediction
from seqkit.metrics import sums_by_example

Scored = Literal["all", "last"]
NAMES = ("recall@20", "mrr@20", "ndcg@10")


def ranking_scores(ranks: Iterable[int | None]) -> dict[str, float]:
    """Recall@20, the mean reciprocal rank within the first 20, and NDCG@10 with one right item.

    Args:
        ranks: the rank of each true item, from 1; None: it is not among those ranked.
    """
    known = list(ranks)
    return {name: total / max(1, len(known)) for name, total in ranking_sums(known).items()}


def ranking_sums(ranks: Sequence[int | None]) -> dict[str, float]:
    """The same scores, not yet divided by how many items there are."""
    within = [rank for rank in ranks if rank is not None and rank <= 20]
    return {
        "recall@20": float(len(within)),
        "mrr@20": math.fsum(1 / rank for rank in within),
        "ndcg@10": math.fsum(1 / math.log2(rank + 1) for rank in within if rank <= 10),
    }


def rank_of(item: str, ranked: Sequence[str]) -> int | None:
    """The place of an item from 1; None: it is not there."""
    return ranked.index(item) + 1 if item in ranked else None


def metric(scored: Scored) -> Callable[[Sequence[Prediction], Sequence[Any]], Mapping[str, float]]:
    """Scores of predictions: over all steps, or over the last step of each sequence."""

    def ranks_of(predictions: Sequence[Prediction], targets: Sequence[Any]) -> Iterator[list[int | None]]:
        for prediction, target in zip(predictions, targets, strict=True):
            steps = list(zip(target, prediction.scores["top"], strict=True))
            yield [rank_of(item, ranked) for item, ranked in (steps if scored == "all" else steps[-1:])]

    def sums(predictions: Sequence[Prediction], targets: Sequence[Any]) -> Mapping[str, Any]:
        rows: dict[str, list[tuple[float, int]]] = {name: [] for name in NAMES}
        for ranks in ranks_of(predictions, targets):
            for name, total in ranking_sums(ranks).items():
                rows[name].append((total, len(ranks)))
        return rows

    @sums_by_example(sums)
    def scores(predictions: Sequence[Prediction], targets: Sequence[Any]) -> Mapping[str, float]:
        return ranking_scores(chain.from_iterable(ranks_of(predictions, targets)))

    return scores


def baselines(
    train: Iterable[Sequence[str]],
    test: Iterable[Sequence[str]],
    *,
    scored: Scored,
    leave_out_seen: bool,
    top: int = 20,
) -> dict[str, dict[str, float]]:
    """Scores of the commonest items (popularity), and of those that most often follow the last item (Markov chain).

    Both rank items of one count by when they were first seen; a Markov chain goes on with the commonest items where it
    knows too few successors.

    Args:
        train: sequences of items.
        test: others, of which each item but the first is a true next one.
        scored: all of these, or the last one of each sequence.
        leave_out_seen: whether items that the sequence already had are not ranked.
        top: how many are ranked.
    """
    counts: Counter[str] = Counter()
    follow: dict[str, Counter[str]] = defaultdict(Counter)
    for session in train:
        counts.update(session)
        for before, after in pairwise(session):
            follow[before][after] += 1
    common = [item for item, _ in counts.most_common()]
    successors = {item: [after for after, _ in counter.most_common()] for item, counter in follow.items()}
    ranks: dict[str, list[int | None]] = {"popularity": [], "Markov chain": []}
    for session in test:
        first = len(session) - 1 if scored == "last" else 1
        for place in range(first, len(session)):
            seen = set(session[:place]) if leave_out_seen else set()
            likely = successors.get(session[place - 1], [])
            for name, ranked in (("popularity", common), ("Markov chain", [*likely, *common[: 2 * top + len(seen)]])):
                ranks[name].append(_rank(session[place], ranked, seen, top))
    return {name: ranking_scores(row) for name, row in ranks.items()}


def _rank(item: str, ranked: Sequence[str], seen: set[str], top: int) -> int | None:
    """The place of an item among the first that are ranked, without repeats and without those seen."""
    passed: set[str] = set()
    for candidate in ranked:
        if candidate in seen or candidate in passed:
            continue
        passed.add(candidate)
        if candidate == item:
            return len(passed)
        if len(passed) == top:
            return None
    return None
