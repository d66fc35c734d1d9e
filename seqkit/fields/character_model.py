"""A trained language model of characters, as its run or model folder describes it: for contextual string embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np

from seqkit.errors import DataError, Problem
from seqkit.fields.unicode_form import UnicodeForm, to_form
from seqkit.fields.vocabulary import Vocabulary
from seqkit.io import atomic
from seqkit.io.cache import sha256_of
from seqkit.types import JSON, Choice

CELLS: Final = ("rnn", "lstm", "gru")
"""The encoders whose models can be read: their state after a character is their output there."""

_HINT: Final = "train one with the task charlm, unit: characters (and backwards: true), and name its run folder"

_FILES: Final = ("recipe.yaml", "fields.json", "model.safetensors")


@final
@dataclass(frozen=True)
class CharacterModel:
    """What is needed to build a language model's input layer and encoder, and to write text in its symbols.

    Attributes:
        symbols: its characters.
        form: the Unicode normalisation form in which it reads text.
        lower: whether it reads lower case only.
        backwards: whether it reads from the last character to the first.
        dim: width of its input steps.
        encoder: its encoder with all options.
        task: its task, whose input layer is read.
    """

    symbols: tuple[str, ...]
    form: UnicodeForm | None
    lower: bool
    backwards: bool
    dim: int
    encoder: Choice
    task: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The model in a run folder or model folder.

        Raises:
            DataError: there is none, it is damaged, or it is no language model of characters with a recurrent encoder.
        """
        from seqkit import recipe as recipes

        place = model_folder(folder)
        recipe = recipes.load(str(place / "recipe.yaml"))
        name, *others = recipe.tasks
        options = recipe.tasks[name].options
        if others or recipe.tasks[name].head.use != "language" or options.get("unit") != "characters":
            raise DataError(Problem(str(folder), "is not a language model of characters", _HINT))
        if recipe.encoder.use not in CELLS:
            message = f"has the encoder {recipe.encoder.use}; vectors of words are read from {', '.join(CELLS)}"
            raise DataError(Problem(str(folder), message, _HINT))
        state = json.loads((place / "fields.json").read_text())[name]["input"]
        symbols = tuple(Vocabulary.restore(state).symbols)
        if " " not in symbols:
            raise DataError(Problem(str(folder), "its text has no spaces, so it cannot read words", _HINT))
        return cls(
            symbols,
            state.get("form"),
            bool(options.get("lower")),
            bool(options.get("backwards")),
            recipe.dim,
            recipe.encoder,
            name,
        )

    def state(self) -> JSON:
        return {
            "symbols": list(self.symbols),
            "form": self.form,
            "lower": self.lower,
            "backwards": self.backwards,
            "dim": self.dim,
            "encoder": {"use": self.encoder.use, **self.encoder.options},
            "task": self.task,
        }

    @classmethod
    def restore(cls, state: JSON) -> Self:
        options = dict(state["encoder"])
        encoder = Choice(options.pop("use"), options)
        return cls(**{**state, "symbols": tuple(state["symbols"]), "encoder": encoder})

    @property
    def size(self) -> int:
        """How many symbols there are, the special ones included."""
        return len(self._vocabulary)

    @property
    def space(self) -> int:
        """The id of the character between words."""
        return self._vocabulary.index(" ")

    @property
    def boundary(self) -> int:
        """The id of the character before the first word and after the last: the end of a line, or else a space."""
        return self._vocabulary.index("\n" if "\n" in self.symbols else " ")

    def ids(self, word: str) -> np.ndarray:
        """(M,) the ids of a word's characters, none of them 0."""
        text: str = to_form(word, self.form)
        return self._vocabulary.lookup_characters(text.lower() if self.lower else text)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.symbols)


def model_folder(folder: Path) -> Path:
    """The model folder of a run folder, or this folder itself.

    Raises:
        DataError: there is no model, or it is an ensemble, or a file is not the one that its manifest lists.
    """
    place = next((place for place in (folder, folder / "model") if (place / "MANIFEST.json").is_file()), None)
    if place is None:
        raise DataError(Problem(str(folder), "there is no trained model", _HINT))
    if (place / "ensemble.json").exists():
        raise DataError(Problem(str(folder), "is an ensemble", "name one of the runs that it was made of"))
    manifest = atomic.read_json(place / "MANIFEST.json")
    hashes = manifest.get("files") if isinstance(manifest, dict) else None
    for name in _FILES:
        path = place / name
        if not isinstance(hashes, dict) or not path.is_file() or sha256_of(path) != hashes.get(name):
            raise DataError(Problem(str(path), "is missing or damaged", "copy the model folder again, or train anew"))
    return place


def model_files(folder: Path) -> Sequence[Path]:
    """The files of a model that its vectors depend on."""
    place = model_folder(folder)
    return [place / name for name in _FILES]


def read_models(folders: Sequence[Path]) -> tuple[CharacterModel, ...]:
    """The models in these folders, which must read the same characters.

    Raises:
        DataError: there is no such model in a folder, a file of it is damaged, or two of them have other characters.
    """
    models = tuple(CharacterModel.read(folder) for folder in folders)
    for folder, model in zip(folders, models, strict=True):
        first = models[0]
        if (model.symbols, model.form, model.lower) != (first.symbols, first.form, first.lower):
            message = f"knows other characters than {folders[0]}"
            raise DataError(Problem(str(folder), message, "train both on the same text, with the same options"))
    return models


def read_weights(folder: Path, model: CharacterModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights of the model's input layer and of its encoder, by name.

    Raises:
        DataError: there is no model, or it is damaged.
    """
    from safetensors.torch import load_file

    tensors = load_file(model_folder(folder) / "model.safetensors")
    prefixes = (f"layers.{model.task}.", "encoder.")
    layer, encoder = (
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in prefixes
    )
    return layer, encoder
