"""The model: an input layer and a head for each task, one encoder for all of them. Tasks may share an input layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from seqkit.errors import DataError, Problem
from seqkit.interfaces import Batch, Encoded, Encoder, FiniteCheck, Head, State
from seqkit.recipe import Recipe
from seqkit.registry import registry
from seqkit.types import Field, Prediction, Task

if TYPE_CHECKING:
    from torch import Tensor


class Model(nn.Module):
    """Input layers, one encoder shared by all tasks of the recipe, one head a task.

    Args:
        layers: an input layer for each task that has inputs of its own, `(x, lengths) -> (steps (B, T, D), lengths
            (B,))`.
        encoder: from (B, T, D) to `Encoded`.
        heads: a head a task.
        inputs_of: for each of the other tasks, the one whose inputs and input layer are also its own.

    Attributes:
        member_count: how many trained models it consists of; more than one is an ensemble.
    """

    encoder: Encoder

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        encoder: Encoder,
        heads: Mapping[str, Head],
        inputs_of: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.inputs_of = dict(inputs_of or {})
        self.layers = nn.ModuleDict(layers)
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.member_count = 1

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def head(self, task: str) -> Head:
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def layer(self, task: str) -> nn.Module:
        """The task's input layer, which may be that of another task too."""
        return self.layers[self.inputs_of.get(task, task)]

    def encode(self, task: str, batch: Batch, state: State | None = None) -> Encoded:
        """One task's batch through its input layer and the encoder; `state` continues an earlier batch."""
        steps, lengths = self.layer(task)(batch.x, batch.lengths)
        encoded = self.encoder(steps, lengths, state)
        assert isinstance(encoded, Encoded)
        return encoded

    def forward(self, x: Tensor, lengths: Tensor, *state: Tensor, task: str | None = None) -> dict[str, Tensor]:
        """What a task's predictions are read from: `Head.outputs`, the mean over the views of the input layer.

        `output_lengths` (B,) says how many steps are real where the outputs have steps. This is what `torch.export`
        records.

        Args:
            x: (B, T, ...) encoded inputs.
            lengths: (B,) true lengths.
            state: continues earlier steps, as `Encoded.state`; then `next_state_0`, ... are the state after these.
            task: None: the only one.
        """
        if task is None:
            (task,) = self.heads
        head, views = self.head(task), getattr(self.layer(task), "views", None)
        encoded = self.encode(task, Batch(x, lengths), state or None)
        outputs = dict(head.outputs(encoded))
        of_views = (
            [head.outputs(self.encode(task, Batch(view, lengths))) for view in views(x, lengths)] if views else []
        )
        if of_views:
            outputs = {name: torch.stack([o[name] for o in (outputs, *of_views)]).mean(dim=0) for name in outputs}
        if any("steps" in axes for axes in head.output_axes.values()):
            outputs["output_lengths"] = encoded.lengths
        if state:
            outputs |= {f"next_state_{number}": tensor for number, tensor in enumerate(encoded.state)}
        return outputs

    def loss(self, task: str, batch: Batch, state: State | None = None) -> tuple[Tensor, Tensor, Encoded]:
        """Sum of the task's losses (), number of terms (), and the encoder's output."""
        encoded = self.encode(task, batch, state)
        total, count = self.head(task).loss(encoded, batch)
        return total, count, encoded

    def losses(self, task: str, batch: Batch) -> tuple[dict[str, tuple[Tensor, Tensor]], Encoded]:
        """Sum and number of terms of the loss of each task that has the examples of this batch, and what all share.

        The batch passes through the encoder once.

        Args:
            task: the one whose inputs they are; the others are in `batch.also`.
            batch: some examples.
        """
        encoded = self.encode(task, batch)
        losses = {task: self.head(task).loss(encoded, batch)}
        for other in batch.also:
            losses[other] = self.head(other).loss(encoded, batch.of(other))
        return losses, encoded

    def predict(self, task: str, batch: Batch, encoded: Encoded) -> list[Prediction]:
        """One prediction an example. `encoded` is what `encode` gave for the batch.

        An input layer may have `views(x, lengths)`, a list of tensors like x: the same inputs written in another way
        (DNA from its other strand). Then the prediction is the head's average over them and the batch itself.
        """
        check = FiniteCheck(encoded.steps, batch, encoded.lengths)
        head = self.head(task)
        try:
            predictions = [head.predict(encoded, batch)]
        finally:
            check.finish()  # where scores are not finite, that is the error, whatever else went wrong
        views = getattr(self.layer(task), "views", None)
        for x in views(batch.x, batch.lengths) if views is not None else ():
            view = dataclasses.replace(batch, x=x)
            predictions.append(head.predict(self.encode(task, view), view))
        if len(predictions) == 1:
            return predictions[0]
        return [head.average(of_example) for of_example in zip(*predictions, strict=True)]

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def build_model(recipe: Recipe, tasks: Mapping[str, tuple[Task, Field, Field]], *, start: bool = True) -> Model:
    """A new model for a recipe.

    Weights depend on the recipe's seed alone: torch's generator is seeded here, before anything is drawn.

    Args:
        tasks: each task with its fitted input and target fields.
        start: let input layers that start from a file (pretrained vectors) read it; not needed if weights are loaded.

    Raises:
        DataError: a head predicts the next step, and the encoder sees it.
    """
    torch.manual_seed(recipe.seed)
    encoder = registry.load("encoders", recipe.encoder.use)(recipe.dim, **recipe.encoder.options)
    named = {name: recipe.tasks[name].inputs_of for name in tasks}
    inputs_of = {name: other for name, other in named.items() if other is not None and other in tasks}
    layers: dict[str, nn.Module] = {}
    heads: dict[str, Head] = {}

    def layer_of(name: str) -> nn.Module:
        """The input layer of this task, made when it is first needed."""
        if name not in layers:
            layers[name] = tasks[name][1].layer(recipe.dim)
            if start and callable(begin := getattr(layers[name], "start", None)):
                begin()
        return layers[name]

    for name, (_, _, target_field) in tasks.items():
        choice, layer = recipe.tasks[name].head, layer_of(inputs_of.get(name, name))
        heads[name] = registry.load("heads", choice.use)(encoder.out_dim, target_field, layer, **choice.options)
        if heads[name].needs_causal and not encoder.causal:
            message = (
                f"head {choice.use} predicts the next step, and this encoder sees it: it must not be bidirectional"
            )
            raise DataError(Problem(f"tasks.{name}", message))
    return Model(layers, encoder, heads, inputs_of)
