"""The model of every recipe that comes with seqkit is exported, and agrees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqkit import recipe as recipes
from seqkit.errors import DataError, MissingExtra, UsageError
from seqkit.export import export_model
from seqkit.export.export_model import SUFFIXES
from seqkit.export.parity import TOLERANCE
from seqkit.model import load_model
from tests.helpers.data import skip_or_raise
from tests.helpers.models import write_model

pytest.importorskip("onnxruntime")


REFUSED = {
    "handwriting": "its head, Pen, has no `outputs`",
    "handwriting-kanji": "its head, Pen, has no `outputs`",
}
"""Recipes that cannot be exported, as docs/deploy.md says."""


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_is_exported(name: str, tmp_path: Path) -> None:
    try:
        model, recipe, tasks = load_model(write_model(tmp_path / "model", recipes.load(name)))
    except (DataError, MissingExtra) as error:
        skip_or_raise(error)
    if name in REFUSED:
        with pytest.raises(UsageError, match=REFUSED[name]):
            export_model(model, recipe, tasks, tmp_path / "model.onnx")
        return
    for task in tasks:
        for to, suffix in SUFFIXES.items():
            result = export_model(model, recipe, tasks, tmp_path / f"{task}{suffix}", task=task, to=to)
            assert result.difference <= TOLERANCE
            assert json.loads((tmp_path / f"{task}.json").read_text("utf-8"))["format"] == to
