"""What a training step minimises beside the loss of its task: penalties, agreement of two passes, and a teacher.

Each of these is a sum over examples, as the loss is: a batch that is split, dealt to shards or spread over processes
has the same gradients. None of them is in the loss that is logged, so that runs with and without them can be compared.
Only where examples are mixed, the loss that is logged is that of the mixtures: it takes the place of the task's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem, RunError
from seqkit.interfaces import Batch, Encoded, Head, Mixed, State, mask_of
from seqkit.layers.embedding import RowDropout
from seqkit.model import Model, load_model
from seqkit.model.ensemble import describe_difference
from seqkit.settings import TrainSettings
from seqkit.uploads import upload

_SECOND: Final = 1 << 61
"""What is added to the numbers of examples for a second pass, so that other numbers are drawn."""

_FIRST_TABLE: Final = 1 << 20
"""The number of the first table of vectors whose rows are dropped; recurrent weights have smaller ones."""

ForwardPass = Callable[[Batch], AbstractContextManager[None]]


@dataclass(frozen=True)
class Teacher:
    """A trained model whose predictions are learned.

    Attributes:
        model: in evaluation mode; it is never trained.
        digest: of its weights.
    """

    model: Model
    digest: str

    def check_same(self, digest: object, path: Path) -> None:
        """Refuse to go on with another teacher than that of the checkpoint `path`.

        Raises:
            RunError: the digests differ.
        """
        if digest is not None and digest != self.digest:
            raise RunError(
                f"{path}: trained with a teacher of other weights ({digest}) than train.teacher has now "
                f"({self.digest}); put that model back, or start a new run"
            )


@dataclass(frozen=True)
class Computed:
    """Forward of one batch.

    Attributes:
        objective: () what gradients are of.
        loss: () the sum of the task's losses.
        count: () its number of terms.
        encoded: of the first pass.
    """

    objective: Tensor
    loss: Tensor
    count: Tensor
    encoded: Encoded


@dataclass(frozen=True)
class Objective:
    """How much each part counts.

    Attributes:
        activation: of the mean square of the encoded steps.
        change: of the mean square of their differences.
        agreement: of the divergence of two passes; None: there is one pass.
        teacher: whose predictions are learned beside the true ones.
        teacher_weight: the teacher's share.
        temperature: of the divergence from the teacher.
    """

    activation: float = 0.0
    change: float = 0.0
    agreement: float | None = None
    teacher: Teacher | None = None
    teacher_weight: float = 0.0
    temperature: float = 1.0

    @classmethod
    def of(cls, settings: TrainSettings, model: Model, data: Mapping[str, TaskData]) -> Objective:
        """That of a recipe.

        Raises:
            DataError: what a head predicts is not compared, or the teacher is of another task or is compared by
                something else.
            PluginError, RunError: the teacher cannot be loaded.
        """
        teacher = None if settings.teacher is None else load_teacher(settings, model, data)
        objective = cls(
            activation=settings.activation_penalty,
            change=settings.change_penalty,
            agreement=settings.agreement,
            teacher=teacher,
            teacher_weight=settings.teacher_weight,
            temperature=settings.teacher_temperature,
        )
        if objective.agreement is not None:
            for name in data:
                _comparison(model, name, "train.agreement")
        if settings.mixup is not None:
            _check_mixes(objective, model, data)
        return objective

    @property
    def compares(self) -> bool:
        """Whether more than the loss is asked of the head: what it predicts is compared."""
        return self.agreement is not None or self.teacher is not None

    def compute(
        self, model: Model, task: str, batch: Batch, state: State | None, forward_pass: ForwardPass
    ) -> Computed:
        """Forward of a batch, in one pass or in two."""
        if batch.mixed is not None:
            return self._compute_mixed(model, task, batch, batch.mixed, forward_pass)
        with forward_pass(batch):
            if not self.compares:
                loss, count, encoded = model.loss(task, batch, state)
                return Computed(self._with_penalty(loss, encoded, batch), loss, count, encoded)
            encoded, head = model.encode(task, batch, state), model.head(task)
            loss, count, predicted = head.loss_to_compare(encoded, batch)
            objective = loss
            if self.teacher is not None:
                objective = (1.0 - self.teacher_weight) * loss
                objective = objective + self.teacher_weight * self._divergence(head, task, batch, predicted)
            objective = self._with_penalty(objective, encoded, batch)
        if self.agreement is None:
            return Computed(objective, loss, count, encoded)
        with forward_pass(_second(batch, batch)):
            again = model.encode(task, batch, state)
            second_loss, _, second = head.loss_to_compare(again, batch)
            gap = 0.5 * (head.divergence(predicted, second) + head.divergence(second, predicted))
            # The plain losses of the two passes are averaged, so that the learning rate need not be another one.
            objective = objective + 0.5 * (second_loss - loss) + self.agreement * gap
        return Computed(objective, 0.5 * (loss.detach() + second_loss.detach()), count, encoded)

    def _compute_mixed(
        self, model: Model, task: str, batch: Batch, mixed: Mixed, forward_pass: ForwardPass
    ) -> Computed:
        """Forward of a batch and of the examples that it is mixed with."""
        other_batch = _second(mixed.batch, batch)
        with forward_pass(other_batch):
            other = model.encode(task, other_batch)
        with forward_pass(batch):
            encoded = model.encode(task, batch)
            loss, count = model.head(task).mixed_loss(encoded, other, batch)
            return Computed(self._with_penalty(loss, encoded, batch), loss, count, encoded)

    def _with_penalty(self, objective: Tensor, encoded: Encoded, batch: Batch) -> Tensor:
        if self.activation == 0.0 and self.change == 0.0:
            return objective
        return objective + penalty(encoded, batch, self.activation, self.change)

    @torch.no_grad()
    def _taught(self, task: str, batch: Batch) -> tuple[Tensor, ...]:
        """What the teacher predicts, of windows as if each was alone."""
        assert self.teacher is not None
        model = self.teacher.model
        return model.head(task).loss_to_compare(model.encode(task, batch), batch)[2]

    def _divergence(self, head: Head, task: str, batch: Batch, predicted: tuple[Tensor, ...]) -> Tensor:
        """() from what the teacher predicts to what the model does, with the temperature.

        Raises:
            DataError: the teacher does not predict as many rows, since it shortens time in another way.
        """
        taught = self._taught(task, batch)
        counts = [len(tensor) for tensor in predicted], [len(tensor) for tensor in taught]
        if counts[0] != counts[1]:
            message = (
                f"task {task}: the teacher predicts {counts[1][0]:,} steps of a batch, and this model {counts[0][0]:,}"
            )
            hint = "its head and its input layer must make as many steps of an example as those of the recipe do"
            raise DataError(Problem("train.teacher", message, hint))
        return head.divergence(taught, predicted, self.temperature)


def _second(batch: Batch, first: Batch) -> Batch:
    """A batch that is computed after the first: other numbers are drawn for its rows."""
    return replace(batch, numbers=None if first.numbers is None else first.numbers + _SECOND)


def penalty(encoded: Encoded, batch: Batch, activation: float, change: float) -> Tensor:
    """() activation and temporal activation regularisation of the encoded steps, as the head gets them.

    Of each example it is a mean over its real steps, counted as often as the loss counts the example: once, or once for
    each step of its target.
    """
    steps, lengths = encoded.steps.float(), encoded.lengths
    weights = torch.ones(len(lengths)) if batch.y_lengths is None else batch.y_lengths.float()
    mask = mask_of(lengths, steps.shape[1], steps.device)
    total = steps.new_zeros(())
    if activation:
        squares = steps.square().mean(dim=-1).masked_fill(~mask, 0.0).sum(dim=1)
        share = upload(weights / lengths, steps.device, is_fixed=True)
        total = total + activation * (squares * share).sum()
    if change and steps.shape[1] > 1:
        squares = (steps[:, 1:] - steps[:, :-1]).square().mean(dim=-1).masked_fill(~mask[:, 1:], 0.0).sum(dim=1)
        share = upload(weights / (lengths - 1).clamp(min=1), steps.device, is_fixed=True)
        total = total + change * (squares * share).sum()
    return total


def set_embedding_dropout(model: Model, share: float) -> None:
    """Let the input layers drop whole vectors of symbols in training.

    Raises:
        DataError: no input layer has vectors of symbols.
    """
    tables = [
        module.row_dropout
        for module in model.layers.modules()
        if isinstance(getattr(module, "row_dropout", None), RowDropout)
    ]
    if share and not tables:
        message = "no input layer of this recipe has vectors of symbols"
        raise DataError(Problem("train.embedding_dropout", message, "leave it out"))
    for number, table in enumerate(tables):
        assert isinstance(table, RowDropout)
        table.share, table.number = share, _FIRST_TABLE + number


def load_teacher(settings: TrainSettings, model: Model, data: Mapping[str, TaskData]) -> Teacher:
    """The recipe's teacher, on the model's device.

    Raises:
        DataError: it lacks a task, its fields have learned something else, or its predictions and the model's are not
            compared.
        PluginError, RunError: it cannot be loaded.
    """
    assert settings.teacher is not None
    with torch.random.fork_rng(devices=[]):  # to load a model seeds torch's generator
        teacher, _, tasks = load_model(settings.teacher, model.device)
    for name, task_data in data.items():
        where = f"train.teacher: {settings.teacher}"
        if name not in tasks:
            raise DataError(Problem(where, f"has the tasks {', '.join(tasks)}, and none is called '{name}'"))
        fields = task_data.input, task_data.target
        for side, learned, other in zip(("input", "target"), fields, tasks[name][1:], strict=True):
            difference = describe_difference(learned.state(), other.state())
            if difference:
                hint = "it must have been trained on the same training data, with the same options of the task"
                raise DataError(Problem(where, f"tasks.{name}, {side}: {difference} there", hint))
        ours, theirs = (_comparison(one, name, "train.teacher") for one in (model, teacher))
        if ours != theirs:
            message = f"task {name}: the teacher is compared by {theirs}, and this model by {ours}"
            raise DataError(Problem(where, message, "choose a head for the recipe that predicts as the teacher's does"))
    return Teacher(teacher.requires_grad_(requires_grad=False).eval(), _digest(teacher))


def _comparison(model: Model, task: str, location: str) -> str:
    """What a task's predictions are compared by.

    Raises:
        DataError: they are not compared; the message says why.
    """
    try:
        return model.head(task).comparison()
    except TypeError as error:
        raise DataError(Problem(location, f"task {task}: {error}", "leave it out, or choose another head")) from error


def _check_mixes(objective: Objective, model: Model, data: Mapping[str, TaskData]) -> None:
    """Refuse to mix examples of a task whose head cannot do it, that shares them, or beside a second loss.

    Raises:
        DataError: so it is.
    """
    location = "train.mixup"
    if objective.compares:
        message = "examples are mixed or compared (train.agreement, train.teacher), not both"
        raise DataError(Problem(location, message, "leave one of them out"))
    for name, task_data in data.items():
        if task_data.inputs_of is not None or task_data.sharing:
            message = f"task {name} shares its examples with another one, and these are not mixed"
            raise DataError(Problem(location, message, "leave it out"))
        head = model.head(name)
        if not head.mixes:
            message = f"task {name}: {type(head).__name__} does not say how examples are mixed"
            raise DataError(Problem(location, message, "classify, without every_step, does"))


def _digest(model: Model) -> str:
    """The first digits of the SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
