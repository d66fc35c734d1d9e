"""Words that people know from elsewhere get the word that says the same here, and that word exists."""

from __future__ import annotations

import inspect
import re

import pytest

from seqkit import heads, recipe
from seqkit.encoders import lstm
from seqkit.errors import RecipeError
from seqkit.optim.optimizers import OPTIMIZERS
from seqkit.recipe.hints import OPTION_HINTS
from seqkit.settings import TrainSettings


def mistakes(task: str = "{}", encoder: str = "{use: lstm, hidden: 4}", train: str = "{}", more: str = "") -> str:
    text = f"tasks:\n  mood: {task}\nencoder: {encoder}\ntrain: {train}\n{more}"
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text.encode(), "r.yaml")
    return str(caught.value)


@pytest.mark.parametrize("word", sorted(OPTION_HINTS))
def test_each_word_has_a_hint_wherever_it_is_written(word: str) -> None:
    if word not in inspect.signature(lstm).parameters:
        assert OPTION_HINTS[word] in mistakes(encoder=f"{{use: lstm, hidden: 4, {word}: 3}}")
    assert OPTION_HINTS[word] in mistakes(task=f"{{use: sentiment, {word}: 3}}")
    assert OPTION_HINTS[word] in mistakes(train=f"{{{word}: 3}}")
    assert OPTION_HINTS[word] in mistakes(more=f"{word}: 3")


def test_what_hints_name_exists() -> None:
    hints = " ".join(OPTION_HINTS.values())
    settings = set(inspect.signature(TrainSettings).parameters)
    encoder = {*inspect.signature(lstm).parameters, "dim"}
    assert set(re.findall(r"`train\.(\w+)", hints)) <= settings
    assert set(re.findall(r"`encoder\.(\w+)", hints)) <= encoder
    assert {"lr", "weight_decay"} <= set(inspect.signature(OPTIMIZERS["adamw"]).parameters)
    assert "balanced" in inspect.signature(heads.classify).parameters


@pytest.mark.parametrize(
    ("word", "task"),
    [
        ("classification", "sentiment"),
        ("text-classification", "sentiment"),
        ("pos", "ner"),
        ("Tagging", "ner"),
        ("lm", "charlm"),
        ("asr", "speech"),
        ("seq2seq", "translation"),
        ("dna", "genome"),
    ],
)
def test_kinds_of_tasks(word: str, task: str) -> None:
    assert f"that is `use: {task}`" in mistakes(task=f"{{use: {word}}}")


@pytest.mark.parametrize(("word", "head"), [("classification", "classify"), ("softmax", "classify"), ("tagger", "tag")])
def test_kinds_of_heads(word: str, head: str) -> None:
    assert f"that is `use: {head}`" in mistakes(task=f"{{use: sentiment, head: {word}}}")


@pytest.mark.parametrize("name", ["gpu", "GPU", "nvidia"])
def test_devices(name: str) -> None:
    assert f"got the text '{name}'; the first GPU is cuda" in mistakes(more=f"device: {name}", train="{lr: 1}")


@pytest.mark.parametrize(
    ("train", "hint"),
    [
        ("{steps: None}", "got the text 'None'; YAML has null, not None"),
        ("{batch: 1e2}", "got the number 100.0; write 100"),
        ("{epochs: 3.0}", "got the number 3.0; write 3"),
    ],
)
def test_values_as_other_languages_write_them(train: str, hint: str) -> None:
    assert hint in mistakes(train=train)
