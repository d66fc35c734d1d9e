"""What a run that is resumed was, and whether anything is left to do. Imports no torch."""

from __future__ import annotations

import dataclasses

from seqkit.io import atomic
from seqkit.recipe import Recipe, load
from seqkit.registry import provenance
from seqkit.runs.run_folder import Run


def asks_for_more(flag: str) -> bool:
    """Whether this `--set` flag can make a finished run longer."""
    return flag.partition("=")[0] in ("train.epochs", "train.steps", "train.patience", "train")


def load_recipe(run: Run, sets: tuple[str, ...]) -> Recipe:
    """The recipe of a run that is resumed, with the plugins that it was made with."""
    provenance.pin_recorded(atomic.read_json(run.folder / "plugins.json"), f"the run in {run.folder}")
    checked = load(str(run.folder / "resolved.yaml"), sets)
    name = str(run.opened_status.get("name", checked.name))
    return dataclasses.replace(checked, name=name, text=run.read("recipe.yaml"))


def is_complete(run: Run) -> bool:
    """Whether the run has finished, and its scores and its model are there."""
    files = ("metrics.json", "model/MANIFEST.json")
    return run.state == "finished" and all((run.folder / name).is_file() for name in files)
