"""The models of the recipes that come with seqkit, in pieces."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit import recipe as recipes
from seqkit.errors import DataError, MissingExtra, UsageError
from seqkit.inference.stream import Stream
from seqkit.model import load_model
from tests.helpers.data import skip_or_raise
from tests.helpers.models import write_model
from tests.helpers.streams import check_pieces

LONGEST = 180


def load(folder: Path, name: str) -> Any:
    try:
        return load_model(write_model(folder, recipes.load(name)))
    except (DataError, MissingExtra) as error:
        skip_or_raise(error)


def values_of(task: Any, input_field: Any) -> list[Any]:
    """A few inputs of dev, shortened, as they are pushed: text, words, or rows of samples."""
    values = []
    for example in itertools.islice(task.read("dev"), 3):
        value = example.input
        if not isinstance(value, str | list):
            value = input_field.decode(input_field.encode(value))[: 80 * LONGEST]
        values.append(value[:LONGEST] if isinstance(value, str | list) else np.asarray(value))
    return values


def check(model: Any, name: str, fields: Any, *, seed: str, **options: Any) -> None:
    model.layers["t"], model.heads["t"] = model.layers[name], model.heads[name]
    values = values_of(*fields[:2])
    sizes = (0, 1, 1, 2, 3, 7, 34) if isinstance(values[0], str | list) else (0, 1, 80, 81, 400, 3000)
    check_pieces(model, fields, values, seed=seed, sizes=sizes, **options)


CAUSAL = [
    "adding",
    "charlm",
    pytest.param("charlm-shakespeare", marks=pytest.mark.slow),
    "copy",
    pytest.param("genome-bases", marks=pytest.mark.slow),
    pytest.param("handwriting", marks=pytest.mark.slow),
    pytest.param("handwriting-kanji", marks=pytest.mark.slow),
    pytest.param("joint", marks=pytest.mark.slow),
    pytest.param("joint-ner", marks=pytest.mark.slow),
    pytest.param("listops", marks=pytest.mark.slow),
    pytest.param("music-jsb", marks=pytest.mark.slow),
    "names",
    pytest.param("names-languages", marks=pytest.mark.slow),
    pytest.param("next-item-beauty", marks=pytest.mark.slow),
    pytest.param("next-item-diginetica", marks=pytest.mark.slow),
    pytest.param("next-item-yoochoose", marks=pytest.mark.slow),
    pytest.param("sensor-cmapss", marks=pytest.mark.slow),
    pytest.param("sensor-motions", marks=pytest.mark.slow),
    "sentiment",
]


@pytest.mark.parametrize("name", CAUSAL)
def test_every_causal_recipe_gives_the_prediction_of_the_whole(name: str, tmp_path: Path) -> None:
    model, _, tasks = load(tmp_path, name)
    for task, fields in tasks.items():
        check(model, task, fields, seed=name)


def test_no_causal_recipe_is_left_out() -> None:
    causal = {name for name in recipes.names() if not recipes.load(name).encoder.options.get("bidirectional", False)}
    listed = {case if isinstance(case, str) else case.values[0] for case in (*CAUSAL, *WHOLE)}
    assert causal == listed


WHOLE = [
    pytest.param("series-etth1", marks=pytest.mark.slow),
    pytest.param("series-exchange", marks=pytest.mark.slow),
    pytest.param("series-hospital", marks=pytest.mark.slow),
    pytest.param("series-m4-hourly", marks=pytest.mark.slow),
    pytest.param("series-m4-weekly", marks=pytest.mark.slow),
    "series-tourism",
]
"""Their windows are scaled by numbers of their own, and read in patches from the end."""


@pytest.mark.parametrize("name", WHOLE)
def test_what_needs_a_whole_window_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    model, _, tasks = load(tmp_path, name)
    for task, fields in tasks.items():
        with pytest.raises(UsageError, match=r"needs all of|counted from the end"):
            Stream(model, task, fields)


BOTH_WAYS = [name for name in recipes.names() if recipes.load(name).encoder.options.get("bidirectional", False)]


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_every_other_recipe_is_refused_or_looks_ahead(name: str, tmp_path: Path) -> None:
    """With a look-ahead as long as the sequence, it is the prediction of the whole."""
    model, _, tasks = load(tmp_path, name)
    for task, fields in tasks.items():
        with pytest.raises(UsageError, match=r"both directions|the whole sequence"):
            Stream(model, task, fields)
        try:
            Stream(model, task, fields, look_ahead=LONGEST)
        except UsageError as error:
            assert any(reason in str(error) for reason in ("middle:", "strands:", "normalise: clip"))  # noqa: PT017
            continue
        check(model, task, fields, seed=name, look_ahead=LONGEST)
