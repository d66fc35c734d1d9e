"""Conformance tests for plugins, as test classes to inherit from: one for each task, encoder and head.

    from seqkit.testing import EncoderConformance, HeadConformance, TaskConformance

    class TestMine(TaskConformance):
        task = "mine"
        options = {"folder": "tests/data"}

    class TestMyEncoder(EncoderConformance):
        encoder = "my-encoder"

    class TestMyHead(HeadConformance):
        head = {"use": "my-head", "pool": "max"}

They check what `seqkit prove` checks, and what a run, a resumed run and a prediction need besides. A failure names what
is broken, how far the outputs moved, and the likely cause. The classes have plain methods and asserts: any test runner
that collects classes called `Test...` runs them, and `seqkit plugins check NAME` runs them without one.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from seqkit import public_api
from seqkit import recipe as recipes
from seqkit.errors import RecipeError
from seqkit.registry import registry
from seqkit.settings import TrainSettings
from seqkit.types import Choice, Example, Field, Task

if TYPE_CHECKING:
    from seqkit.data.task_data import TaskData
    from seqkit.interfaces import Batch, Encoder
    from seqkit.model import Model

__all__ = ["EncoderConformance", "HeadConformance", "TaskConformance"]

ROWS = 6
"""Examples that are trained on and predicted."""

READ_TWICE = 20
"""Examples of each split that are read twice."""


@dataclass(frozen=True)
class _Case:
    """A recipe that is tried, with some examples of its task.

    Attributes:
        recipe: the recipe.
        data: the examples.
        is_registered: whether the recipe's task is registered, so that the recipe can be written and read.
    """

    recipe: recipes.Recipe
    data: TaskData
    is_registered: bool = True

    def __str__(self) -> str:
        return f"with encoder {self.recipe.encoder.use}, a {type(self.data.target).__name__} target"

    def model(self) -> Model:
        from seqkit.model import build_model

        return build_model(self.recipe, {self.data.name: (self.data.task, self.data.input, self.data.target)})

    def batch(self) -> Batch:
        import numpy as np

        return self.data.batch("train", np.arange(min(ROWS, len(self.data.splits["train"].x))))


class _ModelConformance:
    """What holds for a task with its head and an encoder, whichever of the three is the plugin."""

    task: ClassVar[str | None]
    options: ClassVar[Mapping[str, Any]] = {}
    head: ClassVar[str | Mapping[str, Any] | None] = None
    encoders: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"use": "lstm", "hidden": 12},
        {"use": "gru", "hidden": 8, "bidirectional": True},
    )

    def recipe(self, encoder: Mapping[str, Any], *, steps: int = 4) -> recipes.Recipe:
        """The smallest recipe of the task. It is written as JSON, which is YAML and needs no quoting."""
        entry: dict[str, Any] = {"use": self.task, **self.options}
        if self.head is not None:
            entry["head"] = self.head
        train = {"steps": steps, "batch": 4, "histograms": False}
        sections = {"tasks": {"task": entry}, "encoder": {"dim": 8, **encoder}, "train": train}
        return recipes.parse(json.dumps(sections, default=str).encode(), f"{type(self).__name__}.yaml")

    def cases(self) -> Sequence[_Case]:
        """The recipes that are tried. They are made once for each class, because examples may be slow to read."""
        if "_cases" not in type(self).__dict__:
            type(self)._cases = [*self._make_cases()]  # type: ignore[attr-defined]
        return type(self)._cases  # type: ignore[attr-defined,no-any-return]

    def _make_cases(self) -> Iterator[_Case]:
        from seqkit.verification.recipe_contracts import sample_task

        data = None
        for encoder in self.encoders:
            try:
                recipe = self.recipe(encoder)
            except RecipeError as error:
                if encoder.get("bidirectional") and "bidirectional" in str(error):
                    continue  # a head that predicts the next step cannot use an encoder that reads it
                raise
            ((name, entry),) = recipe.tasks.items()
            data = data or sample_task(name, recipes.build_task(entry))
            yield _Case(recipe, data)
        assert data is not None, (
            f"none of the encoders fits the head of the task {self.task}; name others in `encoders`"
        )

    def test_answers_do_not_move(self) -> None:
        """Padding, batch mates, order, chunks and saving do not change an output."""
        from seqkit.verification.recipe_contracts import prove_data, prove_recipe

        for case in self.cases():
            if case.is_registered:
                results = prove_recipe(case.recipe)
            else:
                results = prove_data(case.recipe, {case.data.name: case.data})
            failures = [str(result) for result in results if not result.passed]
            assert not failures, f"{case}:\n" + "\n".join(failures)

    def test_it_learns_from_finite_numbers(self) -> None:
        """The loss is a sum and a count, both finite, with finite gradients."""
        import torch

        for case in self.cases():
            model, name = case.model().train(), case.data.name
            total, count, _ = model.loss(name, case.batch())
            assert isinstance(count, torch.Tensor), f"{case}: the count must be a tensor (), not {type(count).__name__}"
            assert total.dim() == 0, f"{case}: the loss must be one number, but has shape {tuple(total.shape)}"
            value = float(total.detach())
            assert math.isfinite(value), f"{case}: the loss of new weights is {value}"
            assert float(count) > 0, f"{case}: the loss counts {float(count):g} terms"
            total.backward()  # type: ignore[no-untyped-call]
            gradients = {key: x.grad for key, x in model.named_parameters() if x.grad is not None}
            nonfinite = [key for key, gradient in gradients.items() if not bool(gradient.isfinite().all())]
            assert not nonfinite, f"{case}: the gradient is not finite at {', '.join(nonfinite)}"
            has_gradient = any(bool(gradient.any()) for gradient in gradients.values())
            assert has_gradient, f"{case}: no parameter has a gradient"

    def test_the_gradient_is_that_of_the_loss(self) -> None:
        """Along its gradient the loss rises as the gradient says, by finite differences."""
        from seqkit.verification.reference_loss import rise_along_gradient

        for case in self.cases():
            rise = rise_along_gradient(case.model().eval(), case.data.name, case.batch())
            assert rise.actual == rise.expected, f"{case}: {rise.cause}"

    def test_going_on_equals_not_stopping(self) -> None:
        """Training that is resumed from saved weights ends with the weights of uninterrupted training."""
        import torch

        for case in self.cases():
            batch, uninterrupted = case.batch(), case.model()
            _step(uninterrupted, case.data.name, batch, seed=1)
            saved = {key: value.clone() for key, value in uninterrupted.state_dict().items()}
            _step(uninterrupted, case.data.name, batch, seed=2)
            resumed = case.model()
            resumed.load_state_dict(saved)
            _step(resumed, case.data.name, batch, seed=2)
            actual, expected = resumed.state_dict(), uninterrupted.state_dict()
            unequal = [key for key, value in expected.items() if not torch.equal(value, actual[key])]
            assert not unequal, (
                f"{case}: after a step from saved weights {', '.join(unequal[:3])} have other values: training depends "
                "on something that is neither a parameter nor a buffer; keep a counter, say, with register_buffer"
            )

    def test_predictions_are_values_of_the_target(self) -> None:
        """There is a prediction for each example; its value is one of the target's, and it can be written as JSON."""
        import torch

        for case in self.cases():
            model, batch = case.model().eval(), case.batch()
            with torch.no_grad():
                predictions = model.predict(case.data.name, batch, model.encode(case.data.name, batch))
            assert len(predictions) == batch.size, f"{case}: {len(predictions)} predictions of {batch.size} examples"
            for prediction in predictions:
                facts = {"value": prediction.value, "confidence": prediction.confidence, "scores": prediction.scores}
                try:
                    json.dumps(facts)
                except (TypeError, ValueError) as error:
                    message = f"{case}: a prediction cannot be written as JSON ({error}): {facts}; use .tolist()"
                    raise AssertionError(message) from None
                if not case.data.target.derived:
                    try:
                        case.data.target.encode(prediction.value)
                    except (ValueError, TypeError, KeyError) as error:
                        field = type(case.data.target).__name__
                        message = f"{case}: {prediction.value!r} is not a value of the target field {field}: {error}"
                        raise AssertionError(message) from None


class TaskConformance(_ModelConformance):
    """A task with its head keeps every contract, with causal encoders and with bidirectional ones.

    Attributes:
        task: the name under which it is registered.
        options: its options, as in a recipe; the data must be small or quick to read.
        head: a head instead of the task's own, as in a recipe.
        encoders: the encoders that it is tried with.
    """

    task: ClassVar[str]

    def test_fields_come_back_from_their_state(self) -> None:
        """What the fields learned from the data can be written as JSON and restored."""
        data = self.cases()[0].data
        for kind in ("input", "target"):
            fitted = getattr(data, kind)
            state = json.loads(json.dumps(fitted.state()))
            restored = getattr(data.task, kind).restore(state).of(data.input)
            assert restored.state() == fitted.state(), f"restore(state()) of the {kind} field gives another state()"
            assert restored.size == fitted.size, f"restore(state()) of the {kind} field gives another size"

    def test_reading_twice_gives_the_same(self) -> None:
        """Every split has examples, in the same order each time, each with an id of its own."""
        task = recipes.build_task(self.cases()[0].recipe.tasks["task"])
        assert "train" in task.splits, f"there is no train split: {task.splits}"
        for split in task.splits:
            first, second = (list(itertools.islice(task.read(split), READ_TWICE)) for _ in range(2))
            assert first, f"the split {split} has no examples"
            others = [example for example in first if not isinstance(example, Example)]
            assert not others, f"read('{split}') gives {type(others[0]).__name__}, not seqkit.Example"
            ids = [example.id for example in first]
            assert ids == [example.id for example in second], f"read('{split}') gives other examples the second time"
            assert len(set(ids)) == len(ids), f"ids occur twice in {split}: {_first_repeat(ids)}"
            for before, after in zip(first, second, strict=True):
                is_equal = _equal(before.input, after.input) and _equal(before.target, after.target)
                message = f"{before.id} is another example the second time: draw from random.Random(seed), not random"
                assert is_equal, message

    def test_the_score_that_chooses_is_there(self) -> None:
        """An evaluation has the score by which the task chooses its checkpoint."""
        from seqkit.inference.evaluate import evaluate
        from seqkit.metrics import score_name
        from seqkit.verification.recipe_contracts import sample_task

        for case in self.cases():
            fields = case.data.input, case.data.target
            data = sample_task(case.data.name, case.data.task, fields, max_examples=ROWS)
            scores = evaluate(case.model(), data, "train").scores
            best = score_name(data.task.best)
            assert best in scores, f"best is '{best}', and the scores are {', '.join(scores)}"

    def test_a_recipe_of_it_can_be_written_down(self) -> None:
        """The recipe, written with every option filled in, is the same when it is read again."""
        recipe = self.cases()[0].recipe
        parsed = recipes.parse(recipe.resolved().encode(), "resolved.yaml")
        assert parsed == recipe, f"the resolved recipe is another one when it is read again:\n{recipe.resolved()}"


class HeadConformance(_ModelConformance):
    """A head keeps every contract: on a registered task, or on small artificial ones for each target that it accepts.

    Attributes:
        head: the name under which it is registered, or a mapping with `use` and its options.
        task: a task that it serves; None: artificial ones.
        options: of that task.
        encoders: the encoders that it is tried with.
    """

    head: ClassVar[str | Mapping[str, Any] | None]
    task: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}

    def _make_cases(self) -> Iterator[_Case]:
        if self.task is not None:
            yield from super()._make_cases()
        else:
            yield from self._artificial_cases()

    def _artificial_cases(self) -> Iterator[_Case]:
        from seqkit.recipe.options import options_of
        from seqkit.verification.recipe_contracts import sample_task

        head_options = {"use": self.head} if isinstance(self.head, str) else dict(self.head or {})
        use = str(head_options.pop("use"))
        factory = registry.load("heads", use)
        defaults = {name: default for name, _, default in options_of(factory)}
        accepted = tuple(getattr(factory, "accepts", ()))
        tasks = [task for task in _artificial_tasks() if isinstance(task.target, accepted)]
        assert tasks, f"{use} accepts none of the artificial targets; name a task that it serves"
        for task in tasks:
            data = sample_task("task", task)
            for encoder in self.encoders:
                if encoder.get("bidirectional") and getattr(factory, "needs_causal", False):
                    continue
                encoder_factory = registry.load("encoders", str(encoder["use"]))
                options = {name: default for name, _, default in options_of(encoder_factory)}
                options |= {name: value for name, value in encoder.items() if name != "use"}
                entry = recipes.TaskEntry("task", "artificial", {}, Choice(use, {**defaults, **head_options}), 1.0)
                yield _Case(
                    recipes.Recipe(
                        tasks={"task": entry},
                        encoder=Choice(str(encoder["use"]), options),
                        dim=8,
                        train=TrainSettings(steps=4, batch=4, histograms=False),
                        seed=1,
                        device="cpu",
                        expect={},
                    ),
                    data,
                    is_registered=False,
                )


class EncoderConformance:
    """An encoder keeps every contract, alone, on random steps.

    Attributes:
        encoder: the name under which it is registered.
        options: its options, as in a recipe.
    """

    encoder: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    def made(self) -> Encoder:
        """The encoder with reproducible weights, in evaluation mode."""
        import torch

        torch.manual_seed(0)
        encoder: Encoder = registry.load("encoders", self.encoder)(5, **self.options)
        return encoder.eval()

    def test_answers_do_not_move(self) -> None:
        """Padding, batch mates, order and chunks do not change an output."""
        from seqkit.verification.contracts import prove_encoder

        results = prove_encoder(self.made(), 5, self.encoder)
        failures = [str(result) for result in results if not result.passed]
        assert not failures, "\n" + "\n".join(failures)

    def test_it_says_how_wide_it_is(self) -> None:
        """Outputs are as wide as `out_dim`, and zero past each sequence's end."""
        import torch

        from seqkit.interfaces import Encoded, Encoder

        encoder = self.made()
        assert isinstance(encoder, Encoder), f"{self.encoder} makes a {type(encoder).__name__}, not a seqkit.Encoder"
        encoded = encoder(torch.randn(2, 3, 5), torch.tensor([3, 1]))
        assert isinstance(encoded, Encoded), f"forward gives a {type(encoded).__name__}, not a seqkit.Encoded"
        width = encoder.out_dim
        shape, last_shape = tuple(encoded.steps.shape), tuple(encoded.last.shape)
        assert shape == (2, 3, width), f"steps have the shape {shape}, not (2, 3, {width})"
        assert last_shape == (2, width), f"last has the shape {last_shape}, not (2, {width})"
        assert bool((encoded.steps[1, 1:] == 0).all()), "steps past a sequence's end must be zero"

    def test_a_state_goes_by_the_batch(self) -> None:
        """A state is a tuple of tensors whose first axis is the batch, so that rows can be taken out."""
        import torch

        state = self.made()(torch.randn(3, 4, 5), torch.tensor([4, 2, 1])).state
        assert isinstance(state, tuple), f"the state is a {type(state).__name__}, not a tuple of tensors"
        for tensor in state:
            assert isinstance(tensor, torch.Tensor), f"the state has a {type(tensor).__name__} in it, not only tensors"
            shape = tuple(tensor.shape)
            assert shape[:1] == (3,), f"a tensor of the state has the shape {shape}: its first axis is not the batch"

    def test_it_comes_back_from_saved_weights(self) -> None:
        """A new encoder with the saved weights has the same outputs, and gradients pass through it."""
        import torch

        encoder, x, lengths = self.made(), torch.randn(2, 4, 5, requires_grad=True), torch.tensor([4, 3])
        torch.manual_seed(1)
        reloaded = registry.load("encoders", self.encoder)(5, **self.options).eval()
        reloaded.load_state_dict(encoder.state_dict())
        steps = encoder(x, lengths).steps
        is_equal = torch.equal(steps, reloaded(x, lengths).steps)
        assert is_equal, "an output depends on something that is neither a parameter nor a buffer"
        (gradient,) = torch.autograd.grad(steps.square().sum(), x)
        assert bool(gradient.isfinite().all()), "the gradient of the input is not finite"
        assert not bool(gradient[1, 3:].any()), "a gradient reaches the padding"
        assert bool(gradient[0].any()), "no gradient reaches the input"


def _step(model: Model, name: str, batch: Batch, *, seed: int) -> None:
    """One step of plain gradient descent in training mode."""
    import torch

    model.train()
    torch.manual_seed(seed)
    total, count, _ = model.loss(name, batch)
    model.zero_grad()
    (total / count).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)


def _artificial_tasks() -> Iterator[Task]:
    """A small task for each kind of target, about strings of four letters."""
    from seqkit.fields import Label, Labels, Next, NextValues, Scaling, StepValues, Tags, Text, Tokens, Values, Vectors

    targets: dict[Field, Any] = {
        Label(): lambda text: text[0],
        Labels(): lambda text: sorted({letter for letter in text if text.count(letter) > 1}),
        Tags(): lambda text: ["O" if letter == "a" else "B-x" for letter in text],
        Next(): lambda text: None,
        Text("characters"): lambda text: text[::2],
        Values(): lambda text: float(text.count("a")),
        StepValues(): lambda text: [float(text[: step + 1].count("a")) for step in range(len(text))],
        NextValues(2, history=6, shortest=1, stride=5): lambda text: None,
    }
    for target, answer in targets.items():

        def read(split: str, answer: Any = answer) -> Iterator[Example]:
            for number in range(40):
                text = "".join("abcd"[(number * 7 + k * k * (number % 3 + 1)) % 4] for k in range(1 + number % 9))
                yield Example(text, answer(text), f"{split}:{number}")

        if not isinstance(target, NextValues):
            yield Task(read=read, input=Tokens("characters"), target=target, head="", best="loss", metric=None)
            continue

        def read_series(split: str) -> Iterator[Example]:
            for number in range(10):
                yield Example([[float((k * (number + 2)) % 7), k / 9] for k in range(12)], None, f"{split}:{number}")

        vectors = Vectors(2, standardise=True, scaling=Scaling("mean", "deviation", (2,)))
        yield Task(read=read_series, input=vectors, target=target, head="", best="loss", metric=None)


def _equal(left: Any, right: Any) -> bool:
    import numpy as np

    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return bool(np.array_equal(left, right))
    return bool(left == right)


def _first_repeat(ids: Sequence[str]) -> str:
    return next(name for number, name in enumerate(ids) if name in ids[:number])


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A deprecated name."""
        return public_api.deprecated_attribute(__name__, name)
