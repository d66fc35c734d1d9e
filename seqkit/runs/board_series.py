"""Which curve a number belongs to on TensorBoard: its run (a subfolder of `tb/`) and its tag.

TensorBoard overlays the runs of one tag in one chart, gives each run its own colour, sorts tags by name, and unfolds
the first two groups. So train and dev of one quantity have one tag and two runs, and what is looked at first sorts
first: `learning/` (losses, and the score that chooses the checkpoint), then `more scores/`, `per class/` and so on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from seqkit.score_names import LOSSES, baseline_of, is_of_class

TRAIN, DEV, BEST, TEST = "train", "dev", "best", "test"
"""The runs: while training, at each evaluation, and at the end those of the best checkpoint, on dev and on test."""

NAMES = {
    "lr": "learning rate",
    "grad/norm": "gradient norm before clipping",
    "data/padding": "share of padding",
    "train/skipped": "steps skipped",
    "train/rollbacks": "rollbacks",
}
"""Numbers about training as a whole, with the names that their charts have."""


UNCHANGED = ("time", "resources", "per layer", "through time")
"""Groups whose metrics are tags as they are."""

ALL_SHOWN = 1000
"""So many logs have a point each; after that, one of two, then one of four, ..."""


class Series(NamedTuple):
    """A curve: `run` is a subfolder of `tb/`, `tag` the chart's name."""

    run: str
    tag: str


def series_of(metric: str, leading: Mapping[str, str] | None = None) -> Series:
    """The curve of a metric of metrics.jsonl.

    `<task>/<split>/<score>` goes to `learning/<task>/<score>` of the run `<split>`, its baseline
    (`mase.seasonal_naive`) to the same chart as the run `<split> seasonal_naive`, and a score of one class
    (`span_f1.place`) to `per class/`; `time/...` stays as it is, and everything else is a chart of the group
    `training/`, all in the run `train`.

    Args:
        metric: its name.
        leading: task -> the score that chooses its checkpoint. Then `learning/` has only that one and the losses, which
            fit on the first screen, and all other scores are in `more scores/`.
    """
    if metric in NAMES:
        return Series(TRAIN, f"training/{NAMES[metric]}")
    group, _, rest = metric.partition("/")
    if group in UNCHANGED:
        return Series(TRAIN, metric)
    split, _, score = rest.partition("/")
    if split in (TRAIN, DEV, TEST) and score:
        score, baseline = baseline_of(score) or (score, "")
        is_first = leading is None or group not in leading or score in (*LOSSES, leading[group])
        kind = "per class" if is_of_class(score) else "learning" if is_first else "more scores"
        return Series(f"{split} {baseline}".rstrip(), f"{kind}/{group}/{score}")
    return Series(TRAIN, f"training/{metric.replace('/', ' ')}")


def is_shown(step: int, log_every: int) -> bool:
    """Whether a logged step has points on TensorBoard.

    The first thousand logs have, and then 500 of those between each step and twice that step, so that the files of a
    run of days stay small. A chart shows a thousand points at most.
    """
    number = step // log_every
    return number < ALL_SHOWN or number % 2 ** ((2 * number // ALL_SHOWN).bit_length() - 1) == 0


def add_derived(values: Mapping[str, float], densities: Collection[str] = ()) -> dict[str, float]:
    """The values, and beside each loss in nats what it is in bits and as a perplexity.

    Args:
        values: metric -> number.
        densities: tasks whose nats are those of a density, which depend on the unit of what is measured: these have
            neither.
    """
    derived: dict[str, float] = {}
    for name, value in values.items():
        derived[name] = value
        if name.endswith("/nats") and name.partition("/")[0] not in densities:
            stem = name.removesuffix("nats")
            derived[stem + "bits"] = value / math.log(2)
            derived[stem + "perplexity"] = math.exp(value) if value < 700 else math.inf
    return derived
