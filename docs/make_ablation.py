"""Write the table of docs/better-scores.md: what each option is worth, on three data sets.

python docs/make_ablation.py commands            print the commands of the runs that the table is made of
python docs/make_ablation.py collect FOLDER      add those in FOLDER to docs/ablation.json, and write the table
python docs/make_ablation.py                     write the table from docs/ablation.json
python docs/make_ablation.py --check             exit with 1 if the page is out of date

Scores are those on dev, because options are chosen by them. A run that is not there has an empty cell.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

DOCS = Path(__file__).parent
PAGE = DOCS / "better-scores.md"
STORE = DOCS / "ablation.json"
BEGIN, END = "<!-- ablation: made by docs/make_ablation.py -->\n", "<!-- end of ablation -->\n"
SEEDS = (1, 2, 3)
BASE = "as it is"


class Study(NamedTuple):
    """A recipe, the score on dev that is compared, and the options that are changed one by one."""

    recipe: str
    score: str
    changes: Mapping[str, Sequence[str]]


def _common(task: str) -> dict[str, Sequence[str]]:
    """What every recipe can use."""
    return {
        "weight-drop": ("encoder.weight_drop=0.3",),
        "embedding dropout": ("train.embedding_dropout=0.1",),
        "activation penalties": ("train.activation_penalty=2.0", "train.change_penalty=1.0"),
        "label smoothing": (f"tasks.{task}.head.label_smoothing=0.1",),
        "moving average": ("train.average=0.998",),
        "plain mean after a stall": ("train.average=uniform", "train.average_from=stall", "train.average_wait=2"),
    }


def _vectors(task: str) -> dict[str, Sequence[str]]:
    vectors = (f"tasks.{task}.vectors=glove-6b-100d", "train.optimizer.use=lazy_adamw")
    return {
        "vectors, tuned": vectors,
        "vectors, static": (*vectors, f"tasks.{task}.tune=false"),
        "vectors, both": (*vectors, f"tasks.{task}.tune=both"),
        "vectors, and characters for unknown words": (
            *vectors,
            f"tasks.{task}.characters=conv",
            f"tasks.{task}.unknown_as=characters",
        ),
    }


TWICE = {"agreement of two passes": ("train.agreement=1.0",), "mixed examples": ("train.mixup=0.2",)}
"""What takes about twice as long."""
STUDIES = (
    Study(
        "sentiment-sst2",
        "sentiment/dev/accuracy",
        {BASE: (), **_vectors("sentiment"), **_common("sentiment"), **TWICE},
    ),
    Study(
        "genome-enhancers",
        "genome/dev/auroc",
        # Its input layer has vectors of runs of bases, and no embedding dropout.
        {name: sets for name, sets in {BASE: (), **_common("genome"), **TWICE}.items() if name != "embedding dropout"},
    ),
    Study(
        "charlm",
        "charlm/dev/nats",
        {BASE: (), **_common("charlm"), "windows of varied lengths": ("train.vary_windows=0.3",)},
    ),
)


def folder_name(study: Study, change: str, seed: int) -> str:
    """Where a run is, within the folder of all: `sentiment-sst2/weight-drop-1`."""
    return f"{study.recipe}/{change.replace(', ', '-').replace(' ', '-')}-{seed}"


def commands() -> Iterator[str]:
    """The commands of all runs."""
    for study in STUDIES:
        for change, sets in study.changes.items():
            for seed in SEEDS:
                options = "".join(f" --set {option}" for option in (*sets, f"seed={seed}"))
                yield f"seqkit run {study.recipe}{options} --out runs/ablation/{folder_name(study, change, seed)}"


def collect(folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    """{recipe: {change: {seed: score}}} of the finished runs in a folder, beside the results that there are."""
    for study in STUDIES:
        for change in study.changes:
            for seed in SEEDS:
                run = folder / folder_name(study, change, seed)
                if not (run / "metrics.json").exists():
                    continue
                status = json.loads((run / "status.json").read_text())
                if status.get("state") == "finished":
                    score = json.loads((run / "metrics.json").read_text())[study.score]
                    results.setdefault(study.recipe, {}).setdefault(change, {})[str(seed)] = score
    return results


def table(results: Mapping[str, Any]) -> str:
    """A row for each change, a column for each recipe: the mean over seeds and what it is more than the recipe's."""
    lines = ["| what is changed | " + " | ".join(f"`{study.recipe}`, {study.score}" for study in STUDIES) + " |"]
    lines.append("| --- |" + " ---: |" * len(STUDIES))
    for change in dict.fromkeys(change for study in STUDIES for change in study.changes):
        cells = [_cell(study, change, results.get(study.recipe, {})) for study in STUDIES]
        lines.append(f"| {change} | " + " | ".join(cells) + " |")
    count = sum(len(seeds) for changes in results.values() for seeds in changes.values())
    expected = len(list(commands()))
    state = f"{count} of {expected} runs have been made."
    if not count:
        state = f"None of the {expected} runs has been made yet: the cells are empty, and say nothing of any option."
    return f"{state}\n\n" + "\n".join(lines) + "\n"


def _cell(study: Study, change: str, results: Mapping[str, Any]) -> str:
    if change not in study.changes:
        return "not tried"
    scores = results.get(change, {})
    if not scores:
        return ""
    values = list(scores.values())
    text = f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
    base = results.get(BASE, {})
    pairs = [(scores[seed], base[seed]) for seed in scores if seed in base]
    if change != BASE and pairs:
        text += f" ({fmean(one - other for one, other in pairs):+.4f})"
    return text if len(values) == len(SEEDS) else f"{text}, {len(values)} of {len(SEEDS)} seeds"


def page(text: str, results: Mapping[str, Any]) -> str:
    """The page with the table of these results."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(results)}{END}{after}"


def main(*, check: bool = False) -> int:
    """Write the page, or say whether it is up to date."""
    results = json.loads(STORE.read_text()) if STORE.exists() else {}
    current = PAGE.read_text()
    text = page(current, results)
    if check:
        if current != text:
            print(f"{PAGE} is out of date; run python docs/make_ablation.py")
        return int(current != text)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["commands"]:
        print("\n".join(commands()))
        sys.exit()
    if sys.argv[1:2] == ["collect"]:
        results = json.loads(STORE.read_text()) if STORE.exists() else {}
        STORE.write_text(json.dumps(collect(Path(sys.argv[2]), results), indent=1, sort_keys=True) + "\n")
    sys.exit(main(check="--check" in sys.argv))
