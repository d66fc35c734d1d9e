"""Several trained models as one: an ensemble, whose parts are those of its members side by side.

The input layers give (B, T, D_1 + ... + D_M), the encoders (B, T, H_1 + ... + H_M), and the state is that of each
member after the other. So whatever uses a model uses an ensemble in the same way. What the heads average is said by
each head (`Head.join_members`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqkit.errors import DataError, Problem, UsageError
from seqkit.interfaces import Encoded, Encoder, Head, State
from seqkit.model.model import Model
from seqkit.recipe import Recipe, TaskEntry
from seqkit.registry import registry
from seqkit.types import Field, Task


@dataclass(frozen=True)
class Member:
    """A trained model of an ensemble.

    Attributes:
        model: the model.
        recipe: its recipe.
        tasks: its tasks with their fitted fields.
        source: the folder that it comes from, for messages.
    """

    model: Model
    recipe: Recipe
    tasks: Mapping[str, tuple[Task, Field, Field]]
    source: str


def join_models(members: Sequence[Member]) -> Model:
    """One model of several.

    Raises:
        DataError: their tasks or fields differ; the message says which member, and how.
        UsageError: what a head predicts cannot be averaged.
    """
    first = members[0]
    for member in members[1:]:
        check_same_task(first, member)
    encoder = JointEncoder([member.model.encoder for member in members], [member.recipe.dim for member in members])
    layers: dict[str, nn.Module] = {}
    heads: dict[str, Head] = {}
    for name, (_, _, target) in first.tasks.items():
        of_task = [member.model.layer(name) for member in members]
        if name not in first.model.inputs_of:
            layers[name] = JointLayer(of_task)
        entry = first.recipe.tasks[name]
        head: Head = registry.load("heads", entry.head.use)(encoder.out_dim, target, of_task[0], **entry.head.options)
        try:
            head.join_members([member.model.head(name) for member in members], encoder.widths)
        except TypeError as error:
            raise UsageError(f"tasks.{name}: these models cannot become one: {error}") from error
        heads[name] = head
    joint = Model(layers, encoder, heads, first.model.inputs_of)
    joint.member_count = len(members)
    return joint.eval()


def check_same_task(first: Member, other: Member) -> None:
    """Refuse a member that does not answer the same question about the same numbers.

    Raises:
        DataError: it has other tasks, other options of a task, another kind of head, or fields that have learned
            something else.
    """
    if list(first.tasks) != list(other.tasks):
        _differ(other, "tasks", f"{', '.join(other.tasks)} here, {', '.join(first.tasks)} in {first.source}")
    for name, (_, *fields) in first.tasks.items():
        ours, theirs = first.recipe.tasks[name], other.recipe.tasks[name]
        _compare_options(first, other, ours, theirs)
        if ours.head.use != theirs.head.use:
            message = f"the head is {theirs.head.use} here, {ours.head.use} in {first.source}"
            _differ(other, f"tasks.{name}.head", message)
        for side, field, other_field in zip(("input", "target"), fields, other.tasks[name][1:], strict=True):
            difference = describe_difference(other_field.state(), field.state())
            if difference:
                _differ(other, f"tasks.{name}, {side}", f"{difference} in {first.source}")


def _compare_options(first: Member, other: Member, ours: TaskEntry, theirs: TaskEntry) -> None:
    """Refuse a task with other options; the same data may be in another place."""
    location = f"tasks.{ours.name}"
    if ours.use != theirs.use:
        _differ(other, location, f"it is {theirs.use} here, {ours.use} in {first.source}")
    for name, value in ours.options.items():
        other_value = theirs.options.get(name)
        if value != other_value and not (isinstance(value, Path) and isinstance(other_value, Path)):
            _differ(other, f"{location}.{name}", f"{other_value!r:.60} here, {value!r:.60} in {first.source}")


def _differ(other: Member, location: str, message: str) -> None:
    hint = (
        "the models of an ensemble must be of one task, trained on the same training data; train them with other seeds"
    )
    raise DataError(Problem(f"{other.source}: {location}", message, hint))


def describe_difference(first: Any, second: Any, path: str = "") -> str | None:
    """Where two values of JSON first differ: `words[17]: 'cat' here, 'dog'`; None if they are equal."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            difference = describe_difference(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
            if difference:
                return difference
        return None
    if isinstance(first, list) and isinstance(second, list):
        for number, pair in enumerate(zip(first, second, strict=False), 1):
            difference = describe_difference(*pair, f"{path}[{number}]")
            if difference:
                return difference
        if len(first) != len(second):
            return f"{path}: {len(first):,} entries here, {len(second):,}"
        return None
    return None if first == second else f"{path}: {first!r:.60} here, {second!r:.60}"


class JointLayer(nn.Module):
    """The members' input layers, side by side.

    Attributes:
        pointwise: whether all of them look at one step at a time.
        views: of the first one, if it has views; they depend on the field alone.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.pointwise = all(bool(getattr(member, "pointwise", False)) for member in members)
        if hasattr(members[0], "views"):
            self.views: Any = members[0].views

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, ...) -> (B, T', D_1 + ... + D_M), and lengths (B,).

        Raises:
            UsageError: the members shorten time differently.
        """
        outputs = [member(x, lengths) for member in self.members]
        # An export records what is computed; that the steps are as many was seen when the example was computed.
        is_exported = torch.compiler.is_exporting()
        if not is_exported and any(not torch.equal(outputs[0][1], others) for _, others in outputs[1:]):
            raise UsageError("the models of this ensemble shorten time differently, so their steps cannot be compared")
        return torch.cat([steps for steps, _ in outputs], dim=-1), outputs[0][1]


class JointEncoder(Encoder):
    """The members' encoders, side by side.

    Args:
        members: of any kinds.
        dims: D of each.

    Attributes:
        widths: H of each.
    """

    def __init__(self, members: Sequence[Encoder], dims: Sequence[int]) -> None:
        super().__init__()
        self.members, self.dims = nn.ModuleList(members), list(dims)
        self.widths = [member.out_dim for member in members]
        self.out_dim, self.causal = sum(self.widths), all(member.causal for member in members)
        self._state_sizes: list[int] = []

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D_1 + ... + D_M), (B,) -> Encoded."""
        states = self._states(x, state)
        outputs: list[Encoded] = [
            member(part.contiguous(), lengths, before)
            for member, part, before in zip(self.members, torch.split(x, self.dims, dim=-1), states, strict=True)
        ]
        return Encoded(
            torch.cat([output.steps for output in outputs], dim=-1),
            outputs[0].lengths,
            torch.cat([output.last for output in outputs], dim=-1),
            lambda: tuple(tensor for output in outputs for tensor in output.state),
        )

    def _states(self, x: Tensor, state: State | None) -> list[State | None]:
        """The state of each member."""
        if state is None:
            return [None] * len(self.members)
        remaining = iter(state)
        return [tuple(itertools.islice(remaining, size)) for size in self.state_sizes(x)]

    def state_sizes(self, x: Tensor) -> list[int]:
        """How many tensors the state of each member has; x is any tensor of the right type and device."""
        if not self._state_sizes:  # how many tensors a state has is seen from a single step, once
            length = torch.ones(1, dtype=torch.int64)
            self._state_sizes = [
                len(member(x.new_zeros(1, 1, dim), length).state)
                for member, dim in zip(self.members, self.dims, strict=True)
            ]
        return self._state_sizes
