"""Conformance tests for plugins: what `seqkit prove` checks, as test classes to inherit from.

    from seqkit.testing import EncoderConformance, TaskConformance

    class TestMine(TaskConformance):
        task = "mine"
        options = {"folder": "tests/data"}

    class TestMyEncoder(EncoderConformance):
        encoder = "my-encoder"
        options = {"hidden": 8}

Each test names the contract that is broken, by how much the answers moved, and the likely cause. Plain functions and
asserts: any test runner that collects classes called `Test...` runs them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from seqkit import doors, registry
from seqkit import recipe as recipes
from seqkit.errors import RecipeError

__all__ = ["EncoderConformance", "HeadConformance", "TaskConformance"]


class TaskConformance:
    """A task with its head keeps every contract, with encoders that see the future and that do not.

    Attributes:
        task: the name under which it is registered.
        options: what a recipe would say; the task's data must be small or quickly read.
        head: a head in place of the task's own, as a recipe would say it.
        encoders: which encoders it is tried with.
    """

    task: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    head: ClassVar[str | Mapping[str, Any] | None] = None
    encoders: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"use": "lstm", "hidden": 12},
        {"use": "gru", "hidden": 8, "bidirectional": True},
    )

    def recipe(self, encoder: Mapping[str, Any], *, steps: int = 4) -> recipes.Recipe:
        """The smallest recipe of the task. JSON is YAML, so that nothing has to be quoted by hand."""
        entry: dict[str, Any] = {"use": self.task, **self.options}
        if self.head is not None:
            entry["head"] = self.head
        train = {"steps": steps, "batch": 4, "histograms": False}
        whole = {"tasks": {"task": entry}, "encoder": {"dim": 8, **encoder}, "train": train}
        return recipes.parse(json.dumps(whole, default=str).encode(), f"{type(self).__name__}.yaml")

    def test_answers_do_not_move(self) -> None:
        from seqkit.proof import prove_recipe

        tried = 0
        for encoder in self.encoders:
            try:
                recipe = self.recipe(encoder)
            except RecipeError as error:
                if encoder.get("bidirectional") and "bidirectional" in str(error):
                    continue  # a head that predicts the next step cannot use an encoder that sees it
                raise
            tried += 1
            broken = [str(found) for found in prove_recipe(recipe) if not found.passed]
            assert not broken, "\n" + "\n".join(broken)
        assert tried, "none of the encoders fits the task's head"

    def test_fields_come_back_from_their_state(self) -> None:
        from seqkit.proof import sample

        for name, entry in self.recipe(self.encoders[0]).tasks.items():
            task = recipes.build_task(entry)
            data = sample(name, task)
            for kind in ("input", "target"):
                fitted = getattr(data, kind)
                state = json.loads(json.dumps(fitted.state()))
                again = getattr(task, kind).restore(state).of(data.input)
                assert again.state() == fitted.state(), f"the {kind} field is another one after restore(state())"
                assert again.size == fitted.size


class HeadConformance(TaskConformance):
    """A head keeps every contract on a task that it serves. Give `head` and `task`."""

    head: ClassVar[str | Mapping[str, Any] | None]


class EncoderConformance:
    """An encoder keeps every contract, alone, on random steps.

    Attributes:
        encoder: the name under which it is registered.
        options: what a recipe would say.
    """

    encoder: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    def test_answers_do_not_move(self) -> None:
        import torch

        from seqkit.prove import prove_encoder

        torch.manual_seed(0)
        made = registry.load("encoders", self.encoder)(5, **self.options)
        broken = [str(found) for found in prove_encoder(made, 5, self.encoder) if not found.passed]
        assert not broken, "\n" + "\n".join(broken)

    def test_it_says_how_wide_it_is(self) -> None:
        import torch

        made = registry.load("encoders", self.encoder)(5, **self.options)
        encoded = made(torch.randn(2, 3, 5), torch.tensor([3, 1]))
        assert encoded.steps.shape == (2, 3, made.out_dim)
        assert encoded.last.shape == (2, made.out_dim)
        assert bool((encoded.steps[1, 1:] == 0).all()), "steps past a sequence's end must be zero"


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name that is to go, while it lasts."""
        return doors.outdated(__name__, name)
