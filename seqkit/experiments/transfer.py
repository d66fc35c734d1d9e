"""A model that begins with weights of another one, which was trained on something else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from seqkit.errors import DataError, Problem
from seqkit.fields.vocabulary import Vocabulary
from seqkit.layers.embedding import Embedding
from seqkit.model import Model, load_model
from seqkit.settings import InitSettings
from seqkit.types import Field

_RECIPE_HINT = "make the encoder the same, or take no encoder: init.parts: [input]"
_INPUT_HINT = "take the encoder alone: init.parts: [encoder]"


def take_weights(model: Model, inputs: Mapping[str, Field], init: InitSettings) -> list[str]:
    """Copy weights of a trained model into a new one; returns what was taken, in sentences.

    Vectors of symbols go to the same symbols, and those of `<pad>`, `<unk>` and the boundaries to theirs. A symbol that
    the trained model did not know keeps its random vector.

    Args:
        model: the new model.
        inputs: the fitted input field of each task.
        init: which weights.

    Raises:
        DataError: there is no model in that folder, or what is asked for does not fit.
        PluginError: a plugin that the trained model needs is not installed.
        RunError: a file of the trained model is missing or damaged.
    """
    with torch.random.fork_rng(devices=[]):  # to load a model seeds torch's generator
        trained, _, tasks = load_model(init.model)
    fields = {name: input_field for name, (_, input_field, _) in tasks.items()}
    sentences = []
    with torch.no_grad():
        if "input" in init.parts:
            for task in model.layers:
                field, origin = inputs[task], _task_of(task, fields, init.model)
                taken = _take_input(model.layers[task], field, trained.layer(origin), fields[origin], init.model)
                sentences.append(f"tasks.{task}: {taken} of {init.model}")
        if "encoder" in init.parts:
            _take_all(model.encoder, trained.encoder, f"{init.model}: the encoder does not fit", _RECIPE_HINT)
            sentences.append(f"encoder: all weights of {init.model}")
    digest = _digest(trained)
    return [f"{sentence} (weights {digest})" for sentence in sentences]


def _task_of(task: str, fields: Mapping[str, Field], folder: Path) -> str:
    """The task of the trained model whose input layer is taken: the one of this name, or else the only one."""
    if task in fields:
        return task
    if len(fields) == 1:
        return next(iter(fields))
    message = f"init: {folder} has the tasks {', '.join(fields)}, and none is called '{task}'"
    raise DataError(Problem(f"tasks.{task}", message, "name the task as it is named there"))


def _take_input(layer: nn.Module, field: Field, trained: nn.Module, old: Field, folder: Path) -> str:
    """Copy an input layer; returns what was taken."""
    misfit = f"{folder}: the input layer does not fit"
    if type(layer) is type(trained) and field.state() == old.state():
        _take_all(layer, trained, misfit, _INPUT_HINT)
        return "the whole input layer"
    new_symbols, old_symbols = (getattr(one, "vocabulary", None) for one in (field, old))
    if not (
        isinstance(layer, Embedding)
        and isinstance(trained, Embedding)
        and isinstance(new_symbols, Vocabulary)
        and isinstance(old_symbols, Vocabulary)
        and layer.dim == trained.dim
    ):
        message = f"{misfit}: {_describe(trained, old)} there, {_describe(layer, field)} here"
        raise DataError(Problem("init", message, _INPUT_HINT))
    return _take_vectors(layer, new_symbols, trained, old_symbols)


def _take_vectors(layer: Embedding, symbols: Vocabulary, trained: Embedding, known: Vocabulary) -> str:
    """Copy the vectors of the symbols that both have."""
    specials = len(symbols) - len(symbols.symbols)
    if specials == len(known) - len(known.symbols):
        layer.weight[:specials] = trained.weight[:specials].to(layer.weight.device)
    shared = [symbol for symbol in symbols.symbols if symbol in known]
    if shared:
        to, of = (torch.tensor([one.index(symbol) for symbol in shared]) for one in (symbols, known))
        layer.weight[to.to(layer.weight.device)] = trained.weight[of].to(layer.weight.device)
    return f"the vectors of {len(shared):,} of {len(symbols.symbols):,} symbols"


def _take_all(module: nn.Module, trained: nn.Module, misfit: str, hint: str) -> None:
    """Copy all weights of a module that has the same ones."""
    new, old = module.state_dict(), trained.state_dict()
    for name in dict.fromkeys([*new, *old]):
        shape, trained_shape = (_shape(state.get(name)) for state in (new, old))
        if shape != trained_shape:
            raise DataError(Problem("init", f"{misfit}: {name} is {trained_shape} there, {shape} here", hint))
    module.load_state_dict(old)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else " x ".join(map(str, tensor.shape)) or "a number"


def _describe(layer: nn.Module, field: Field) -> str:
    """An input layer and its field, for a message."""
    width = getattr(layer, "dim", None)
    return f"{type(layer).__name__} of {type(field).__name__}" + (f" with {width} numbers" if width else "")


def _digest(model: Model) -> str:
    """The first digits of the SHA-256 of a model's weights, which says which model it was when the folder is gone."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
