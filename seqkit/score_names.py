"""What the names of scores say: which is a baseline of which, which is of one class, and which few say most.

`mase.seasonal_naive` is what a simple answer has of `mase`, `span_f1.place` is the score of one class, and
`coverage.0.9` that of one level. Everything that lists scores, for a page, a chart or a line, orders them by this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from seqkit.metrics import BASELINES

LOSSES: Final = ("loss", "nats", "bits", "perplexity")
"""Scores that are losses, or the same in other units."""

SHOWN: Final = 5
"""A line of an evaluation has at most so many scores of a task, without baselines."""

_LEVEL: Final = re.compile(r"0?\.\d+")


def baseline_of(score: str) -> tuple[str, str] | None:
    """`mase.seasonal_naive` -> (`mase`, `seasonal_naive`); None for a score of the model."""
    stem, _, name = score.rpartition(".")
    return (stem, name) if stem and name in BASELINES else None


def is_of_class(score: str) -> bool:
    """Whether it is the score of one class or group: `span_f1.place`."""
    rest = score.partition(".")[2]
    return bool(rest) and baseline_of(score) is None and _LEVEL.fullmatch(rest) is None


def in_order(scores: Iterable[str], chosen: str = "") -> list[str]:
    """The scores of a split as they are read: the one that chooses first, each with its baselines after it, classes
    last.
    """
    names = list(dict.fromkeys(scores))
    models = [name for name in names if baseline_of(name) is None]
    models.sort(key=lambda name: (is_of_class(name), name != chosen))
    ordered = [name for model in models for name in (model, *(f"{model}.{base}" for base in baselines(model, names)))]
    return ordered + [name for name in names if name not in ordered]


def baselines(score: str, scores: Iterable[str]) -> list[str]:
    """The names of the baselines that a score has among these."""
    return [pair[1] for name in scores if (pair := baseline_of(name)) is not None and pair[0] == score]


def with_baselines(scores: Mapping[str, float]) -> Iterator[tuple[str, float, str]]:
    """(name, score, text of its baselines) of each score, which may be a key `task/split/score`.

    The text is empty without baselines, or `   seasonal_naive 0.9205, last_value 0.9676`.
    """
    for name, value in scores.items():
        pair = baseline_of(name)
        if pair is not None and pair[0] in scores:
            continue
        beside = ", ".join(f"{base} {scores[f'{name}.{base}']:.4f}" for base in baselines(name, scores))
        yield name, value, f"   {beside}" if beside else ""


def keys_in_order(keys: Iterable[str], chosen: Mapping[str, str]) -> list[str]:
    """Keys `task/split/score` in the order of tasks and splits in which they come, and within these of `in_order`.

    Args:
        keys: of scores.
        chosen: task -> the score that chooses its checkpoint.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        task, split, score = [*key.split("/", 2), "", ""][:3]
        groups.setdefault((task, split), []).append(score)
    return [
        "/".join(filter(None, (task, split, score)))
        for (task, split), scores in groups.items()
        for score in in_order(scores, chosen.get(task, ""))
    ]


def few(scores: Sequence[str], chosen: str) -> list[str]:
    """Of many scores of a split the loss, the one that chooses, and the first others, without baselines and classes."""
    models = [name for name in scores if baseline_of(name) is None]
    first = [name for name in (*models[:1], chosen) if name in models and (name in LOSSES or name == chosen)]
    if len(models) == len(scores) <= SHOWN + 1:  # one more says less than the one itself
        return list(dict.fromkeys((*first, *models)))
    rest = [name for name in models if name not in first and not is_of_class(name)]
    return list(dict.fromkeys([*first, *rest]))[:SHOWN]


def describe(task: str, split: str, scores: Mapping[str, float], chosen: str) -> str:
    """`series/dev/loss 0.5084  series/dev/mase 0.7629 (seasonal_naive 0.9327)  ...  and 12 more`, for a line."""
    shown = few(list(scores), chosen)
    parts = []
    for name in shown:
        beside = [f"{base} {scores[f'{name}.{base}']:.4f}" for base in baselines(name, scores)]
        is_told = beside and name == chosen
        parts.append(f"{task}/{split}/{name} {scores[name]:.4f}" + (f" ({', '.join(beside)})" if is_told else ""))
    left = sum(baseline_of(name) is None for name in scores) - len(shown)
    return "  ".join([*parts, *([f"and {left} more"] if left else [])])
