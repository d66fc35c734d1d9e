"""The scores that a bundled task announces are those that its metric gives."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from seqkit import Prediction, recipe

WORDS = "EU B-ORG\nrejects O\nGerman B-MISC\ncall O\n\nParis B-LOC\n\n"
TASKS: dict[str, dict[str, Any]] = {
    "sentiment": {"use": "sentiment", "source": "generated", "sizes": [20, 10, 10]},
    "entities": {"use": "ner", "sizes": [20, 10, 10]},
    "tags": {"use": "ner", "folder": "words", "scheme": "none"},
    "plain": {"use": "ner", "folder": "plain", "scheme": "plain"},
    "translation": {"use": "translation", "folder": "pairs"},
    "texts": {"use": "translation", "source": "generated", "sizes": [20, 10, 10]},
    "genome": {"use": "genome", "sizes": [40, 20, 20]},
    "commands": {"use": "speech", "sizes": [20, 10, 10]},
    "speech": {"use": "speech", "sizes": [20, 10, 10], "target": "text"},
}


@pytest.mark.parametrize("name", TASKS)
def test_the_names_are_those_of_the_metric(tmp_path: Path, name: str) -> None:
    for folder, text in (("words", WORDS), ("plain", WORDS.replace("B-", "")), ("pairs", "a b\tc d\ne\tf\n")):
        (tmp_path / folder).mkdir()
        for split in ("train", "dev", "test"):
            for ending in ("conll", "tsv"):
                (tmp_path / folder / f"{split}.{ending}").write_text(text)
    path = tmp_path / "recipe.yaml"
    options = ", ".join(f"{key}: {value}" for key, value in TASKS[name].items())
    path.write_text(f"tasks: {{{name}: {{{options}}}}}\nencoder: gru\n")
    task = recipe.build_task(recipe.load(path).tasks[name])
    targets = [example.target for example in task.read("dev")]
    predictions = [Prediction(target, scores=_certain(target, targets)) for target in targets]
    assert task.metric is not None
    assert task.scores is not None
    given = task.metric(predictions, targets)
    assert {pattern for pattern in task.scores if any(fnmatchcase(key, pattern) for key in given)} == set(task.scores)
    assert [key for key in given if not any(fnmatchcase(key, pattern) for pattern in task.scores)] == []


def _certain(target: Any, targets: list[Any]) -> dict[str, float] | None:
    return {label: float(label == target) for label in sorted(set(targets))} if isinstance(target, str) else None
