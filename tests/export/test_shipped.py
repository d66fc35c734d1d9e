"""The model of every recipe that comes with seqkit is exported, and agrees."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from seqkit import recipe as recipes
from seqkit.errors import DataError, MissingExtra
from seqkit.export import export_model
from seqkit.export.export_model import SUFFIXES
from seqkit.export.parity import TOLERANCE
from seqkit.model import load_model
from tests.helpers.models import write_model

pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_is_exported(name: str, tmp_path: Path) -> None:
    try:
        model, recipe, tasks = load_model(write_model(tmp_path / "model", recipes.load(name)))
    except (DataError, MissingExtra) as error:
        if "SEQKIT_DATA" in os.environ:
            raise
        pytest.skip(f"needs its data: {error}")
    for task in tasks:
        for to, suffix in SUFFIXES.items():
            result = export_model(model, recipe, tasks, tmp_path / f"{task}{suffix}", task=task, to=to)
            assert result.difference <= TOLERANCE
            assert json.loads((tmp_path / f"{task}.json").read_text("utf-8"))["format"] == to
