"""Tasks that share examples: one pass through the encoder has the gradients, losses and scores of a pass for each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import Example, Label, Tags, Task, Vectors, recipe
from seqkit.data import store
from seqkit.data.epoch import EpochPlan, steps_per_epoch
from seqkit.data.shared_inputs import share_inputs
from seqkit.data.task_data import TaskData
from seqkit.encoders import gru, lstm
from seqkit.errors import DataError, Interrupted, RecipeError
from seqkit.experiments import run_recipe
from seqkit.gradient_flow.agreement import gradient_cosines
from seqkit.heads import classify, tag
from seqkit.inference.evaluate import evaluate, evaluate_sharing
from seqkit.interfaces import Batch, Encoded
from seqkit.metrics import label_scores, tag_accuracy
from seqkit.model import Model
from seqkit.runs.memory_log import read_memory
from seqkit.runtime.ranks import ALONE, Ranks
from seqkit.training.nonfinite import StepRecord
from seqkit.training.nonfinite_source import find_source
from seqkit.training.state import TrainingState
from seqkit.training.step import StepResult, forward_backward, mean_gradients
from seqkit.types import Field
from tests.helpers import small
from tests.helpers.together import together
from tests.training.test_loop import Stopping, corpus, run_it, same

__all__ = ["corpus"]

WEIGHTS = {"sum": 1.0, "signs": 0.25}


def examples(kind: str, split: str) -> Iterator[Example]:
    """Sequences of numbers: whether their sum is positive, and whether each of their rows' is."""
    draw = np.random.default_rng(len(split))
    for number in range(40 if split == "train" else 7):
        rows = draw.normal(size=(int(draw.integers(1, 10)), small.WIDTH))
        signs = ["up" if row.sum() > 0 else "down" for row in rows]
        yield Example(rows, signs if kind == "signs" else "up" if rows.sum() > 0 else "down", f"{split}:{number}")


def prepared(folder: Path, change: Any = lambda kind, split, found: found) -> dict[str, TaskData]:
    """The two tasks; `change` makes other examples of those of a kind and a split."""
    targets: Mapping[str, tuple[Field, Any]] = {"sum": (Label(), label_scores), "signs": (Tags(), tag_accuracy)}
    data = {}
    for kind, (target, metric) in targets.items():
        task = Task(
            read=lambda split, kind=kind: change(kind, split, examples(kind, split)),
            input=Vectors(small.WIDTH, standardise=True),
            target=target,
            head="tag" if kind == "signs" else "classify",
            metric=metric,
            best="accuracy",
            splits=("train", "dev"),
        )
        stored = store.prepare(task, key={"shared": kind}, cache=folder)
        inputs_of = "sum" if kind == "signs" else None
        fields = stored.input, stored.target
        data[kind] = TaskData(kind, task, *fields, stored.splits, WEIGHTS[kind], inputs_of=inputs_of)
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TaskData]:
    return share_inputs(prepared(tmp_path_factory.mktemp("shared")))


def model_of(data: Mapping[str, TaskData], *, bidirectional: bool = True, dropout: float = 0.0) -> Model:
    torch.manual_seed(3)
    layer = data["sum"].input.layer(5)
    encoder = lstm(5, hidden=6, bidirectional=bidirectional, output_dropout=dropout)
    heads = {
        "sum": classify(encoder.out_dim, data["sum"].target, layer, pool="last"),
        "signs": tag(encoder.out_dim, data["signs"].target, layer),
    }
    return Model({"sum": layer}, encoder, heads, {"signs": "sum"})


def step(
    model: Model, data: Mapping[str, TaskData], batches: list[Batch], budget: int | None = None, **settings: Any
) -> tuple[StepResult, dict[str, Tensor]]:
    """A step's result, and the gradients that the optimiser gets."""
    model.train()
    model.zero_grad()
    state = TrainingState.create(model, data, small.settings(**settings), seed=1)
    if budget is not None:
        state.counters.fits["sum"] = budget
    result = forward_backward(state, data["sum"], batches, str)
    mean_gradients(state, result)
    return result, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def two_passes(model: Model, batches: list[Batch]) -> tuple[dict[str, tuple[float, int]], dict[str, Tensor]]:
    """The slow twin: each task on its own copy of the batch, encoded again for it, the losses summed at the end."""
    model.train()
    model.zero_grad()
    losses: dict[str, list[Tensor]] = {"sum": [], "signs": []}
    counts = {"sum": 0, "signs": 0}
    for batch in batches:
        for task in losses:
            loss, count, _ = model.loss(task, batch if task == "sum" else batch.of("signs"))
            losses[task].append(loss)
            counts[task] += int(count)
    totals = {task: torch.stack(parts).sum() for task, parts in losses.items()}
    size = sum(batch.size for batch in batches)
    (sum(WEIGHTS[task] * total for task, total in totals.items()) / size).backward()  # type: ignore[union-attr]
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {task: (float(total.detach()), counts[task]) for task, total in totals.items()}, gradients


def largest_difference(gradients: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert gradients.keys() == expected.keys()
    return max(float((gradients[name] - gradient).abs().max()) for name, gradient in expected.items())


def batches_of(data: Mapping[str, TaskData], count: int = 2) -> list[Batch]:
    return [data["sum"].batch("train", np.arange(start, start + 11)) for start in range(0, 11 * count, 11)]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("budget", [None, 30, 9])
def test_one_pass_has_the_gradients_of_two(
    data: dict[str, TaskData], budget: int | None, shards: int, count: int, bidirectional: bool
) -> None:
    model, batches = model_of(data, bidirectional=bidirectional), batches_of(data, count)
    expected_losses, expected = two_passes(model, batches)
    result, gradients = step(model, data, batches, budget, shards=shards)
    assert largest_difference(gradients, expected) <= 1e-6
    assert all(float(gradient.abs().max()) > 1e-5 for gradient in expected.values()), "they show nothing"
    for task, (loss, terms) in expected_losses.items():
        assert float(result.by_task[task][0]) == pytest.approx(loss, rel=1e-6)
        assert int(result.by_task[task][1]) == terms
    assert int(result.count) == 11 * count
    assert float(result.loss) == pytest.approx(
        sum(WEIGHTS[task] * loss for task, (loss, _) in expected_losses.items()), rel=1e-6
    )


def test_dropout_is_the_same_in_parts(data: dict[str, TaskData]) -> None:
    batches = batches_of(data)
    _, expected = step(model_of(data, dropout=0.5), data, batches)
    _, gradients = step(model_of(data, dropout=0.5), data, batches, budget=10)
    assert largest_difference(gradients, expected) <= 1e-6


def test_a_batch_passes_through_the_encoder_once(data: dict[str, TaskData]) -> None:
    model, passes = model_of(data), list[int]()
    model.encoder.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    step(model, data, batches_of(data))
    assert passes == [11, 11]
    passes.clear()
    evaluate_sharing(model, data["sum"], "dev")
    assert passes == [7]


def test_a_batch_keeps_the_targets_of_all_tasks_with_their_rows(data: dict[str, TaskData]) -> None:
    batch = data["sum"].batch("train", np.arange(12))
    rows = [7, 2, 11]
    taken = batch.take(rows).trimmed()
    alone = data["signs"].batch("train", np.array(rows))
    assert torch.equal(taken.of("signs").x, alone.x)
    assert alone.y is not None
    assert torch.equal(taken.also["signs"].y, alone.y)
    assert taken.of("signs").also == {}


@pytest.mark.parametrize("size", [2, 3])
def test_processes_give_the_gradients_of_one(data: dict[str, TaskData], size: int) -> None:
    def gradients(ranks: Ranks = ALONE) -> dict[str, Tensor]:
        torch.set_num_threads(1)
        model = model_of(data)
        state = TrainingState.create(model, data, small.settings(shards=3), seed=1, ranks=ranks)
        result = forward_backward(state, data["sum"], batches_of(data), str)
        mean_gradients(state, result)
        named = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        return named | {
            f"loss.{task}": torch.stack([t.double() for t in pair]) for task, pair in result.by_task.items()
        }

    expected = gradients()
    for of_rank in together(size, gradients):
        assert of_rank.keys() == expected.keys()
        assert [name for name in expected if not torch.equal(of_rank[name], expected[name])] == []


def test_both_are_scored_as_each_alone(data: dict[str, TaskData]) -> None:
    model = model_of(data)
    results = evaluate_sharing(model, data["sum"], "dev", batch=3)
    assert list(results) == ["sum", "signs"]
    for task, result in results.items():
        alone = evaluate(model, data[task], "dev")
        assert result.scores == pytest.approx(alone.scores, abs=1e-6)
        assert [p.value for p in result.predictions] == [p.value for p in alone.predictions]
        assert list(result.targets) == [example.target for example in examples(task, "dev")]
        assert list(result.ids) == list(alone.ids)


def test_the_plan_has_the_batches_of_one_task(data: dict[str, TaskData]) -> None:
    settings = small.settings(batch=8)
    plan = EpochPlan(data, settings, seed=1, epoch=0)
    assert {turn.task for turn in plan.turns} == {"sum"}
    assert len(plan) == steps_per_epoch(data, settings, seed=1) == 5
    assert sorted(number for turn in plan.turns for number in turn.batches[0]) == list(range(40))
    assert list(next(plan.batches_from(0, torch.device("cpu")))[1][0].also) == ["signs"]


def test_a_loss_of_the_other_task_that_is_not_finite_is_traced(data: dict[str, TaskData]) -> None:
    model, batches = model_of(data), batches_of(data, 1)
    with torch.no_grad():
        model.heads["signs"].out.weight.fill_(3e38)  # type: ignore[union-attr, operator]
    state = TrainingState.create(model, data, small.settings(), seed=1)
    result = forward_backward(state, data["sum"], batches, str)
    assert not bool(torch.isfinite(result.loss))
    source = find_source(model, StepRecord(1, "sum", result, torch.zeros(())))
    assert source.module.startswith("heads.signs")


def changed(part: str) -> Any:
    def change(kind: str, split: str, found: Iterator[Example]) -> list[Example]:
        listed = list(found)
        if kind == "signs" and split == "dev":
            if part == "id":
                listed[3] = dataclasses.replace(listed[3], id="elsewhere:9")
            elif part == "count":
                listed.pop()
            elif part == "length":
                listed[3] = dataclasses.replace(listed[3], input=listed[2].input, target=listed[2].target)
            else:
                listed[3] = dataclasses.replace(listed[3], input=listed[3].input + 1.0)
        return listed

    return change


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("id", "tasks.signs.inputs_of: example 4 of dev is elsewhere:9, but that of task sum is dev:3"),
        ("count", "tasks.signs.inputs_of: dev has 6 examples, but that of task sum has 7"),
        ("length", "dev:3: its input for task signs is not that for task sum"),
        ("value", "dev:3: its input for task signs is not that for task sum"),
    ],
)
def test_examples_that_differ_are_refused(tmp_path: Path, part: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        share_inputs(prepared(tmp_path, changed(part)))
    assert str(caught.value).startswith(message)
    assert "read the same ones, in the same order" in str(caught.value)


def test_of_texts_the_example_is_named_whose_words_differ(tmp_path: Path) -> None:
    """One word more gives every word another number, in all examples."""
    from seqkit import Tokens

    def stored(name: str, texts: list[str]) -> TaskData:
        task = Task(
            read=lambda split: (Example(text, text[0], f"a.tsv:{n}") for n, text in enumerate(texts, 1)),
            input=Tokens("words"),
            target=Label(),
            head="classify",
            metric=label_scores,
            best="accuracy",
            splits=("train",),
        )
        ready = store.prepare(task, key=name, cache=tmp_path)
        inputs_of = None if name == "one" else "one"
        return TaskData(name, task, ready.input, ready.target, ready.splits, inputs_of=inputs_of)

    texts = ["b c d", "c c e", "d e f", "e e e"]
    data = {"one": stored("one", texts), "two": stored("two", [*texts[:2], "d e a", texts[3]])}
    with pytest.raises(DataError, match=r"^a.tsv:3: its input for task two"):
        share_inputs(data)


class Linear(torch.nn.Module):
    """A loss that is linear in the outputs, so that its gradient is known."""

    def __init__(self, direction: Tensor) -> None:
        super().__init__()
        self.direction = direction

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        return (encoded.steps @ self.direction).sum(), torch.tensor(1)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_cosine_is_that_of_autograd(data: dict[str, TaskData], bidirectional: bool) -> None:
    """Against the gradients of one tensor of outputs, of which the last outputs are a part."""
    model, batch = model_of(data, bidirectional=bidirectional), data["sum"].batch("train", np.arange(9))
    model.eval()
    encoded = model.encode("sum", batch)
    steps = encoded.steps.detach().requires_grad_()
    ends, rows = batch.lengths - 1, torch.arange(9)
    last = torch.cat([steps[rows, ends, :6], steps[:, 0, 6:]], dim=1)
    gradients = []
    for task, targets in (("sum", batch), ("signs", batch.of("signs"))):
        loss, _ = model.head(task).loss(Encoded(steps, batch.lengths, last, lambda: ()), targets)
        gradients.append(torch.autograd.grad(loss, steps, retain_graph=True)[0].flatten().double())
    expected = float(torch.nn.functional.cosine_similarity(*gradients, dim=0))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    assert gradient_cosines(model, "sum", batch) == {("sum", "signs"): pytest.approx(expected, abs=1e-6)}
    assert 0.01 < abs(expected) < 0.99
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


@pytest.mark.parametrize(("angle", "cosine"), [(0.0, 1.0), (90.0, 0.0), (180.0, -1.0)])
def test_tasks_that_agree_and_tasks_that_conflict(data: dict[str, TaskData], angle: float, cosine: float) -> None:
    batch = data["sum"].batch("train", np.arange(5))
    encoder, radians = gru(5, hidden=2), np.deg2rad(angle)
    heads: Any = {
        "sum": Linear(torch.tensor([2.0, 0.0])),
        "signs": Linear(torch.tensor([np.cos(radians), np.sin(radians)]).float()),
    }
    model = Model.__new__(Model)
    torch.nn.Module.__init__(model)
    model.inputs_of, model.encoder = {"signs": "sum"}, encoder
    model.layers = torch.nn.ModuleDict({"sum": data["sum"].input.layer(5)})
    model.heads = torch.nn.ModuleDict(heads)
    model.head = lambda task: model.heads[task]  # type: ignore[method-assign, assignment, return-value]
    assert gradient_cosines(model, "sum", batch)["sum", "signs"] == pytest.approx(cosine, abs=1e-6)


def shared_recipe(path: Path, *sets: str) -> recipe.Recipe:
    path = path.with_name("shared.yaml")
    path.write_text(
        """
seed: 7
tasks:
  again: {use: sentiment, source: generated, sizes: [60, 20, 20], inputs_of: mood, weight: 0.5, drop: 0.1}
  mood: {use: sentiment, source: generated, sizes: [60, 20, 20], drop: 0.1, head: {pool: mean}}
encoder: {use: gru, dim: 8, hidden: 6, dropout: 0.2}
train: {epochs: 6, batch: 8, accumulate: 2, evaluate_every: 12, log_every: 5, memory: 6, choose_by: weighted}
"""
    )
    return recipe.load(str(path), sets)


def test_a_run_that_is_resumed_ends_as_one_that_was_not(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = run_it(shared_recipe(corpus), tmp_path / "a")
    assert {"again/test/accuracy", "mood/test/accuracy", "again/dev/accuracy"} <= finished.scores.keys()
    Stopping.reads, Stopping.after = 0, 9
    with monkeypatch.context() as patch:
        patch.setattr(run_recipe, "Interrupts", Stopping)
        with pytest.raises(Interrupted):
            run_it(shared_recipe(corpus), tmp_path / "b")
    run_it(shared_recipe(corpus), tmp_path / "b", resume=True)
    same(tmp_path / "a", tmp_path / "b")
    assert read_memory(tmp_path / "a") == read_memory(tmp_path / "b")
    records = read_memory(tmp_path / "a")
    assert {record["task"] for record in records} == {"mood"}
    assert all(set(record["agreement"]) == {"mood and again"} for record in records)
    assert all(-1.0 <= record["agreement"]["mood and again"] <= 1.0 for record in records)
    rows = [json.loads(line) for line in (tmp_path / "a/metrics.jsonl").read_text().splitlines()]
    assert any({"again/train/loss", "mood/train/loss"} <= row.keys() for row in rows)
    assert "inputs_of: mood" in (tmp_path / "a/resolved.yaml").read_text()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inputs_of: lm", "shared.yaml:4:3x: tasks.b.inputs_of: the recipe has no task 'lm'; its tasks: a, b"),
        ("inputs_of: b", "shared.yaml:4:3x: tasks.b.inputs_of: names the task itself"),
        (
            "inputs_of: a, test: null, folder: .",
            "shared.yaml:4:3x: tasks.b.inputs_of: 'b' has the splits train, dev, but 'a' has train, dev, test",
        ),
        ("inputs_of: 3", "shared.yaml:4:3x: tasks.b.inputs_of: expected text, got the number 3"),
    ],
)
def test_what_cannot_be_shared_is_found_in_the_recipe(tmp_path: Path, line: str, message: str) -> None:
    text = f"tasks:\n  a: {{use: sentiment}}\n\n  b: {{use: sentiment, {line}}}\nencoder: gru\n"
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text.encode(), "shared.yaml")
    assert message.split("3x", 1)[1] in str(caught.value)
    assert str(caught.value).startswith("shared.yaml:4:")


def test_inputs_of_a_task_that_shares_itself_or_predicts_its_input_are_refused() -> None:
    text = "tasks:\n  a: {use: sentiment}\n  b: {use: sentiment, inputs_of: a}\n  c: {use: sentiment, inputs_of: b}\n"
    with pytest.raises(RecipeError, match=r"the inputs of 'b' are those of another task; name 'a' here as well"):
        recipe.parse((text + "encoder: gru\n").encode(), "r.yaml")
    text = "tasks:\n  a: {use: charlm, source: python-docs}\n  b: {use: sentiment, inputs_of: a}\nencoder: gru\n"
    with pytest.raises(RecipeError, match=r"the Next target of 'a' follows from its input"):
        recipe.parse(text.encode(), "r.yaml")


@pytest.mark.parametrize("option", ["agreement: 1.0", "activation_penalty: 2.0", "change_penalty: 1.0"])
def test_parts_of_the_objective_that_shared_inputs_have_not_are_refused(option: str) -> None:
    text = "tasks:\n  a: {use: sentiment}\n  b: {use: sentiment, inputs_of: a}\nencoder: gru\n"
    name = option.partition(":")[0]
    with pytest.raises(RecipeError, match=rf"^r.yaml:5:9: train.{name}: tasks that share inputs \(b\)"):
        recipe.parse(f"{text}train: {{{option}}}\n".encode(), "r.yaml")
