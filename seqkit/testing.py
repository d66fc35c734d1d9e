"""Conformance tests for plugins, as test classes to inherit from: a line for each thing that is registered.

    from seqkit.testing import EncoderConformance, HeadConformance, TaskConformance

    class TestMine(TaskConformance):
        task = "mine"
        options = {"folder": "tests/data"}

    class TestMyEncoder(EncoderConformance):
        encoder = "my-encoder"

    class TestMyHead(HeadConformance):
        head = {"use": "my-head", "pool": "max"}

Beside what `seqkit prove` checks, they check what a run, a restart and a prediction rely on. A failure names what is
broken, by how much the answers moved, and the likely cause. Plain functions and asserts: any test runner that collects
classes called `Test...` runs them, and `seqkit plugins check NAME` runs them without one.
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
READ = 20
"""Examples of each split that are read twice."""


@dataclass(frozen=True)
class _Case:
    """One recipe to be tried, with a few examples of its task; `named`: the recipe can be written down."""

    recipe: recipes.Recipe
    data: TaskData
    named: bool = True

    def __str__(self) -> str:
        return f"with encoder {self.recipe.encoder.use}, a {type(self.data.target).__name__} target"

    def model(self) -> Model:
        from seqkit.model import build_model

        return build_model(self.recipe, {self.data.name: (self.data.task, self.data.input, self.data.target)})

    def batch(self) -> Batch:
        import numpy as np

        return self.data.batch("train", np.arange(min(ROWS, len(self.data.splits["train"].x))))


class _Learns:
    """What a task with its head and an encoder must do, whichever of the three is the plugin."""

    task: ClassVar[str | None]
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

    def cases(self) -> Sequence[_Case]:
        """What is tried; made once a class, because examples may be slow to read."""
        if "_cases" not in type(self).__dict__:
            type(self)._cases = [*self._named_cases()]  # type: ignore[attr-defined]
        return type(self)._cases  # type: ignore[attr-defined,no-any-return]

    def _named_cases(self) -> Iterator[_Case]:
        from seqkit.verification.recipe_contracts import sample_task

        data = None
        for encoder in self.encoders:
            try:
                recipe = self.recipe(encoder)
            except RecipeError as error:
                if encoder.get("bidirectional") and "bidirectional" in str(error):
                    continue  # a head that predicts the next step cannot use an encoder that sees it
                raise
            ((name, entry),) = recipe.tasks.items()
            data = data or sample_task(name, recipes.build_task(entry))
            yield _Case(recipe, data)
        assert data is not None, "none of the encoders fits the task's head"

    def test_answers_do_not_move(self) -> None:
        """Padding, batch mates, order, chunks and a restart do not move an answer."""
        from seqkit.verification.recipe_contracts import prove_data, prove_recipe

        for case in self.cases():
            findings = prove_recipe(case.recipe) if case.named else prove_data(case.recipe, {case.data.name: case.data})
            broken = [str(found) for found in findings if not found.passed]
            assert not broken, f"{case}:\n" + "\n".join(broken)

    def test_it_learns_from_finite_numbers(self) -> None:
        """The loss is a sum with its count, both finite, and a gradient comes of it."""
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
            gradients = {key: each.grad for key, each in model.named_parameters() if each.grad is not None}
            bad = [key for key, each in gradients.items() if not bool(each.isfinite().all())]
            assert not bad, f"{case}: the gradient is not finite at {', '.join(bad)}"
            assert any(bool(each.any()) for each in gradients.values()), f"{case}: no parameter has a gradient"

    def test_going_on_equals_not_stopping(self) -> None:
        """Training that goes on from saved weights gives the weights of training that never stopped."""
        import torch

        for case in self.cases():
            batch, whole = case.batch(), case.model()
            _step(whole, case.data.name, batch, seed=1)
            saved = {key: value.clone() for key, value in whole.state_dict().items()}
            _step(whole, case.data.name, batch, seed=2)
            resumed = case.model()
            resumed.load_state_dict(saved)
            _step(resumed, case.data.name, batch, seed=2)
            again = resumed.state_dict()
            moved = [key for key, value in whole.state_dict().items() if not torch.equal(value, again[key])]
            assert not moved, (
                f"{case}: a second step from saved weights ends elsewhere ({', '.join(moved[:3])}): training depends "
                "on something that is no parameter and no buffer; a counter, say, belongs into register_buffer"
            )

    def test_predictions_are_values_of_the_target(self) -> None:
        """There is a prediction for each example, of the target's kind, that can be written as JSON."""
        import torch

        for case in self.cases():
            model, batch = case.model().eval(), case.batch()
            with torch.no_grad():
                found = model.predict(case.data.name, batch, model.encode(case.data.name, batch))
            assert len(found) == batch.size, f"{case}: {len(found)} predictions of {batch.size} examples"
            for each in found:
                said = {"value": each.value, "confidence": each.confidence, "scores": each.scores}
                try:
                    json.dumps(said)
                except (TypeError, ValueError) as error:
                    raise AssertionError(f"{case}: a prediction is no JSON ({error}): {said}; use .tolist()") from None
                if not case.data.target.derived:
                    try:
                        case.data.target.encode(each.value)
                    except (ValueError, TypeError, KeyError) as error:
                        kind = type(case.data.target).__name__
                        what = f"{case}: the value {each.value!r} is none that a {kind} has: {error}"
                        raise AssertionError(what) from None


class TaskConformance(_Learns):
    """A task with its head keeps every contract, with encoders that see the future and that do not.

    Attributes:
        task: the name under which it is registered.
        options: what a recipe would say; the task's data must be small or quickly read.
        head: a head in place of the task's own, as a recipe would say it.
        encoders: which encoders it is tried with.
    """

    task: ClassVar[str]

    def test_fields_come_back_from_their_state(self) -> None:
        """What the fields have learned from the data survives being written as JSON."""
        data = self.cases()[0].data
        for kind in ("input", "target"):
            fitted = getattr(data, kind)
            state = json.loads(json.dumps(fitted.state()))
            again = getattr(data.task, kind).restore(state).of(data.input)
            assert again.state() == fitted.state(), f"the {kind} field is another one after restore(state())"
            assert again.size == fitted.size

    def test_reading_twice_gives_the_same(self) -> None:
        """Every split has examples, the same ones in the same order each time, each with an id of its own."""
        task = recipes.build_task(self.cases()[0].recipe.tasks["task"])
        assert "train" in task.splits, f"there is no train split: {task.splits}"
        for split in task.splits:
            once, twice = (list(itertools.islice(task.read(split), READ)) for _ in range(2))
            assert once, f"the split {split} has no examples"
            strange = [each for each in once if not isinstance(each, Example)]
            assert not strange, f"read('{split}') gives {type(strange[0]).__name__}, not seqkit.Example"
            ids = [each.id for each in once]
            assert ids == [each.id for each in twice], f"read('{split}') gives other examples the second time"
            assert len(set(ids)) == len(ids), f"ids occur twice in {split}: {_first_repeat(ids)}"
            for one, two in zip(once, twice, strict=True):
                same = _equal(one.input, two.input) and _equal(one.target, two.target)
                assert same, f"{one.id} is another example the second time: draw from random.Random(seed), not random"

    def test_the_score_that_chooses_is_there(self) -> None:
        """An evaluation has the score by which the task chooses its checkpoint."""
        from seqkit.inference.evaluate import evaluate, score_name
        from seqkit.verification.recipe_contracts import sample_task

        for case in self.cases():
            few = sample_task(case.data.name, case.data.task, (case.data.input, case.data.target), max_examples=ROWS)
            scores = evaluate(case.model(), few, "train").scores
            best = score_name(few.task.best)
            assert best in scores, f"best is '{best}', and the scores are {', '.join(scores)}"

    def test_a_recipe_of_it_can_be_written_down(self) -> None:
        """The recipe with every option filled in reads back as the same recipe."""
        recipe = self.cases()[0].recipe
        again = recipes.parse(recipe.resolved().encode(), "resolved.yaml")
        assert again == recipe, "the resolved recipe reads back as another one"


class HeadConformance(_Learns):
    """A head keeps every contract: on a task that is named, or on small made-up ones for each target that it accepts.

    Attributes:
        head: the name under which it is registered, or a mapping with `use` and its options.
        task: a task that it serves; None: made-up ones.
        options: of that task.
        encoders: which encoders it is tried with.
    """

    head: ClassVar[str | Mapping[str, Any] | None]
    task: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}

    def _named_cases(self) -> Iterator[_Case]:
        if self.task is not None:
            yield from super()._named_cases()
        else:
            yield from self._made_up_cases()

    def _made_up_cases(self) -> Iterator[_Case]:
        from seqkit.recipe.options import options_of
        from seqkit.verification.recipe_contracts import sample_task

        said = {"use": self.head} if isinstance(self.head, str) else dict(self.head or {})
        use = str(said.pop("use"))
        factory = registry.load("heads", use)
        defaults = {name: default for name, _, default in options_of(factory)}
        targets = [each for each in _made_up() if isinstance(each.target, tuple(getattr(factory, "accepts", ())))]
        assert targets, f"no made-up target is one that {use} accepts; name a task that it serves"
        for task in targets:
            data = sample_task("task", task)
            for encoder in self.encoders:
                if encoder.get("bidirectional") and getattr(factory, "needs_causal", False):
                    continue
                made = registry.load("encoders", str(encoder["use"]))
                options = {name: default for name, _, default in options_of(made)}
                options |= {name: value for name, value in encoder.items() if name != "use"}
                entry = recipes.TaskEntry("task", "made-up", {}, Choice(use, {**defaults, **said}), 1.0)
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
                    named=False,
                )


class EncoderConformance:
    """An encoder keeps every contract, alone, on random steps.

    Attributes:
        encoder: the name under which it is registered.
        options: what a recipe would say.
    """

    encoder: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    def made(self) -> Encoder:
        """One with the weights that a seed gives, in evaluation mode."""
        import torch

        torch.manual_seed(0)
        encoder: Encoder = registry.load("encoders", self.encoder)(5, **self.options)
        return encoder.eval()

    def test_answers_do_not_move(self) -> None:
        """Padding, batch mates, order and chunks do not move an answer."""
        from seqkit.verification.contracts import prove_encoder

        broken = [str(found) for found in prove_encoder(self.made(), 5, self.encoder) if not found.passed]
        assert not broken, "\n" + "\n".join(broken)

    def test_it_says_how_wide_it_is(self) -> None:
        """Outputs are as wide as `out_dim`, and zero past each sequence's end."""
        import torch

        from seqkit.interfaces import Encoded, Encoder

        made = self.made()
        assert isinstance(made, Encoder), f"{self.encoder} makes a {type(made).__name__}, which is no seqkit.Encoder"
        encoded = made(torch.randn(2, 3, 5), torch.tensor([3, 1]))
        assert isinstance(encoded, Encoded), f"forward gives a {type(encoded).__name__}, not seqkit.Encoded"
        width = made.out_dim
        assert encoded.steps.shape == (2, 3, width), f"steps are {tuple(encoded.steps.shape)}, not (2, 3, {width})"
        assert encoded.last.shape == (2, width), f"last is {tuple(encoded.last.shape)}, not (2, {width})"
        assert bool((encoded.steps[1, 1:] == 0).all()), "steps past a sequence's end must be zero"

    def test_a_state_goes_by_the_batch(self) -> None:
        """A state is a tuple of tensors whose first axis is the batch, so that rows can leave."""
        import torch

        state = self.made()(torch.randn(3, 4, 5), torch.tensor([4, 2, 1])).state
        assert isinstance(state, tuple), f"the state is a {type(state).__name__}, not a tuple of tensors"
        for part in state:
            assert isinstance(part, torch.Tensor), f"the state has a {type(part).__name__} in it, not only tensors"
            assert part.shape[:1] == (3,), f"a tensor of the state is {tuple(part.shape)}: its first axis is no batch"

    def test_it_comes_back_from_saved_weights(self) -> None:
        """A new one with the saved weights says the same, and a gradient comes through it."""
        import torch

        made, x, lengths = self.made(), torch.randn(2, 4, 5, requires_grad=True), torch.tensor([4, 3])
        torch.manual_seed(1)
        again = registry.load("encoders", self.encoder)(5, **self.options).eval()
        again.load_state_dict(made.state_dict())
        said = made(x, lengths).steps
        assert torch.equal(said, again(x, lengths).steps), "an answer depends on something that no weight or buffer has"
        (gradient,) = torch.autograd.grad(said.square().sum(), x)
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


def _made_up() -> Iterator[Task]:
    """A small task for each kind of target: strings of four letters, and what can be said of them."""
    from seqkit.fields import Label, Labels, Next, Tags, Text, Tokens, Values

    targets: dict[Field, Any] = {
        Label(): lambda text: text[0],
        Labels(): lambda text: sorted({letter for letter in text if text.count(letter) > 1}),
        Tags(): lambda text: ["O" if letter == "a" else "B-x" for letter in text],
        Next(): lambda text: None,
        Text("characters"): lambda text: text[::2],
        Values(): lambda text: float(text.count("a")),
    }
    for target, answer in targets.items():

        def read(split: str, answer: Any = answer) -> Iterator[Example]:
            for number in range(40):
                text = "".join("abcd"[(number * 7 + k * k * (number % 3 + 1)) % 4] for k in range(1 + number % 9))
                yield Example(text, answer(text), f"{split}:{number}")

        yield Task(read=read, input=Tokens("characters"), target=target, head="", best="loss", metric=None)


def _equal(one: Any, two: Any) -> bool:
    import numpy as np

    if isinstance(one, np.ndarray) or isinstance(two, np.ndarray):
        return bool(np.array_equal(one, two))
    return bool(one == two)


def _first_repeat(ids: Sequence[str]) -> str:
    return next(each for number, each in enumerate(ids) if each in ids[:number])


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name that is to go, while it lasts."""
        return public_api.deprecated_attribute(__name__, name)
