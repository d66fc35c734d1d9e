"""The table of what each option is worth: from runs that are there, and empty where there are none."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seqkit import recipe as recipes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_ablation", ROOT / "docs" / "make_ablation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder: Path, score: str, value: float, state: str = "finished") -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({score: value}))
    (folder / "status.json").write_text(json.dumps({"state": state}))


def test_every_command_is_of_a_recipe_that_is_right(script: ModuleType) -> None:
    commands = list(script.commands())
    assert len(commands) == len(set(commands)) == len(set(re.findall(r"--out (\S+)", "\n".join(commands))))
    for command in commands:
        if command.endswith("-1"):
            _, _, name, *rest = command.split(" ")
            recipes.load(name, [rest[i + 1] for i, word in enumerate(rest) if word == "--set"])


def test_the_table_is_of_the_runs_that_have_finished(script: ModuleType, tmp_path: Path) -> None:
    study = script.STUDIES[0]
    for seed, (base, changed) in enumerate([(0.80, 0.82), (0.82, 0.83), (0.84, 0.85)], 1):
        write_run(tmp_path / script.folder_name(study, script.BASE, seed), study.score, base)
        write_run(tmp_path / script.folder_name(study, "weight-drop", seed), study.score, changed)
    write_run(tmp_path / script.folder_name(study, "agreement of two passes", 2), study.score, 0.9)
    write_run(tmp_path / script.folder_name(study, "embedding dropout", 2), study.score, 0.9, state="failed")
    earlier = {study.recipe: {"weight-drop": {"1": 0.1, "2": 0.83}, "label smoothing": {"1": 0.7}}}
    results: dict[str, Any] = script.collect(tmp_path, earlier)
    lines = {
        line.split(" | ")[0][2:]: line.split(" | ")[1] for line in script.table(results).splitlines() if " | " in line
    }
    assert lines[script.BASE] == "0.8200 ± 0.0200"
    assert lines["weight-drop"] == "0.8333 ± 0.0153 (+0.0133)"
    assert lines["agreement of two passes"] == "0.9000 (+0.0800), 1 of 3 seeds"
    assert lines["embedding dropout"].strip() == ""
    assert lines["label smoothing"] == "0.7000 (-0.1000), 1 of 3 seeds"
    assert f"8 of {len(list(script.commands()))} runs have been made." in script.table(results)


def test_without_runs_it_says_so(script: ModuleType) -> None:
    assert re.match(r"None of the \d+ runs has been made yet: the cells are empty", script.table({}))
