"""Small trained runs, one of each kind of task, made once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seqkit

SIZES = [40, 20, 20]
RECIPES: dict[str, dict[str, Any]] = {
    "charlm": {"tasks.charlm.window": 16, "encoder.hidden": 32},
    "genome": {"tasks.genome.sizes": SIZES},
    "joint": {"tasks.charlm.window": 16, "tasks.sentiment.sizes": SIZES, "encoder.hidden": 32},
    "joint-ner": {"tasks.ner.sizes": SIZES, "tasks.ner-text.sizes": SIZES, "encoder.hidden": 32},
    "names": {"tasks.names.sizes": SIZES},
    "ner": {"tasks.ner.sizes": SIZES, "encoder.hidden": 32},
    "sentiment": {"tasks.sentiment.sizes": SIZES},
    "speech": {"tasks.speech.sizes": SIZES, "encoder.hidden": 32},
    "translation": {"tasks.translation.sizes": SIZES, "encoder.hidden": 32},
}
"""{recipe: what makes it small}: every offline recipe, and with them every task and nearly every head."""

TEXT = "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer. " * 8


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Trains a recipe for two steps and returns its run folder."""
    root = tmp_path_factory.mktemp("trained")
    (root / "text.txt").write_text(TEXT)
    folders: dict[str, Path] = {}

    def train(name: str) -> Path:
        if name not in folders:
            sets = {**RECIPES[name], "train.steps": 2, "expect": {}}
            if "charlm" in name or name == "joint":
                sets["tasks.charlm.file"] = root / "text.txt"
            folders[name] = seqkit.run(name, set=sets, out=root / name, progress=False).folder
        return folders[name]

    return train
