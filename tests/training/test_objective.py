"""What is minimised beside the loss: each part against a slow twin, in parts of a batch, and over a restart."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import heads
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, RunError
from seqkit.experiments.prepare import prepare_data
from seqkit.fields import Label, Labels, Tags, Tokens
from seqkit.fields import Next as NextSymbol
from seqkit.interfaces import Batch, Encoded
from seqkit.kernels import by_example, dropout_weights
from seqkit.layers.embedding import Embedding
from seqkit.model import Model, load_model, make_ensemble
from seqkit.optim.gradients import clear_gradients
from seqkit.runs import checkpoint
from seqkit.runs.progress import Progress
from seqkit.training.averaging import AveragedWeights
from seqkit.training.objective import load_teacher, penalty
from tests.helpers import small
from tests.helpers.models import model_of

PARTS = {
    "activation": {"activation_penalty": 0.7},
    "change": {"change_penalty": 0.3},
    "agreement": {"agreement": 2.0},
    "vectors of symbols": {"embedding_dropout": 0.4},
    "all": {"activation_penalty": 0.7, "change_penalty": 0.3, "agreement": 2.0},
}


@pytest.fixture
def data(tmp_path: Path) -> TaskData:
    return small.vectors(tmp_path)


@pytest.fixture
def text(tmp_path: Path) -> TaskData:
    return small.stream(tmp_path)


def encoded_of(lengths: list[int], width: int = 4) -> Encoded:
    steps = torch.randn(len(lengths), max(lengths), width, generator=torch.Generator().manual_seed(2))
    for row, length in enumerate(lengths):
        steps[row, length:] = 99.0  # what is past the end must not matter
    return Encoded(steps, torch.tensor(lengths), steps[:, 0], lambda: ())


def batch_of(lengths: list[int], y_lengths: list[int] | None = None) -> Batch:
    count = len(lengths)
    return Batch(
        torch.zeros(count, max(lengths)),
        torch.tensor(lengths),
        y_lengths=None if y_lengths is None else torch.tensor(y_lengths),
        numbers=torch.arange(count),
    )


@pytest.mark.parametrize("y_lengths", [None, [5, 1, 3]])
def test_penalties_against_a_slow_twin(y_lengths: list[int] | None) -> None:
    lengths = [5, 1, 3]
    encoded, batch = encoded_of(lengths), batch_of(lengths, y_lengths)
    expected = 0.0
    for row, length in enumerate(lengths):
        steps = [encoded.steps[row, t].tolist() for t in range(length)]
        weight = 1 if y_lengths is None else y_lengths[row]
        expected += 0.7 * weight * float(np.mean([[value**2 for value in step] for step in steps]))
        changes = [[(b - a) ** 2 for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(steps)]
        expected += 0.3 * weight * (float(np.mean(changes)) if changes else 0.0)
    assert float(penalty(encoded, batch, 0.7, 0.3)) == pytest.approx(expected, rel=1e-5)


def test_the_divergence_is_that_of_distributions() -> None:
    p, q = (torch.randn(6, 3).double().log_softmax(dim=-1) for _ in range(2))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    )
    head, _ = head_of("label")
    torch.testing.assert_close(head.divergence((p,), (q,)), expected.sum())


TOKENS = Tokens("characters").fit(["abca"])


def head_of(kind: str) -> tuple[Any, Batch]:
    """A head over encoded steps of width 4, and a batch of three examples."""
    lengths = torch.tensor([5, 2, 1])
    torch.manual_seed(3)
    if kind == "labels":
        head: Any = heads.classify(4, Labels().fit([["a"], ["b", "c"], []]), None, dropout=0.5)
        return head, Batch(torch.zeros(3, 5), lengths, torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0]]))
    if kind in ("label", "label at every step"):
        head = heads.classify(4, Label().fit(["a", "b"]), None, every_step=kind != "label", pool="mean", dropout=0.5)
        return head, Batch(torch.zeros(3, 5), lengths, torch.tensor([0, 1, 1]))
    if kind in ("tags", "chain", "chain of a scheme"):
        y = torch.tensor([[0, 1, 0, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
        factory = heads.tag if kind == "tags" else heads.crf
        tags = Tags(scheme="iob2").fit([["O", "B-x", "I-x"]]) if kind.endswith("scheme") else Tags(scheme=None)
        head = factory(4, tags if kind.endswith("scheme") else tags.fit([["x", "y"]]), None, dropout=0.5)
        return head, Batch(torch.zeros(3, 5), lengths, y, lengths)
    y = torch.tensor([[4, 5, 6, 4, -1], [5, -1, 0, 0, 0], [-1, 0, 0, 0, 0]])
    options: dict[str, Any] = {"symbols, tied": {"tied": True}, "symbols, adaptive": {"softmax": "adaptive"}}.get(
        kind, {}
    )
    head = heads.language(4, NextSymbol().of(TOKENS), Embedding(TOKENS.size, 4), dropout=0.5, **options)
    return head, Batch(torch.zeros(3, 5, dtype=torch.int64), lengths, y, lengths)


HEADS = (
    "chain",
    "chain of a scheme",
    "label",
    "label at every step",
    "labels",
    "tags",
    "symbols",
    "symbols, tied",
    "symbols, adaptive",
)


@pytest.mark.parametrize("kind", HEADS)
def test_probabilities_are_those_of_the_loss(kind: str) -> None:
    """In training, with what dropout drew for the loss; the number of rows is the number of terms."""
    head, batch = head_of(kind)
    assert head.gives_log_probs
    encoded = encoded_of([5, 2, 1])
    head.train()
    numbers = torch.tensor([3, 1, 2])
    with by_example(1, 2, numbers):
        loss, count, log_probs = head.loss_with_log_probs(encoded, batch)
    with by_example(1, 2, numbers):
        plain, plain_count = head.loss(encoded, batch)
    torch.testing.assert_close(loss, plain)
    assert int(count) == int(plain_count) == len(log_probs)
    torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(len(log_probs)))
    assert batch.y is not None
    if kind.startswith("chain"):
        return  # what is read from marginals is no likelihood of a path
    if kind == "labels":
        true = 1 - batch.y.flatten().long()
    elif batch.y.dim() == 1:
        true = batch.y.repeat_interleave(torch.tensor([5, 2, 1])) if kind.endswith("step") else batch.y
    else:
        true = torch.cat([row[:length] for row, length in zip(batch.y, [5, 2, 1], strict=True)])
        true = true[true >= 0]
    torch.testing.assert_close(-log_probs.gather(1, true[:, None]).sum(), loss)


TEXTS = {
    "attention": "head: {use: attend, hidden: 7, dropout: 0.4, label_smoothing: 0.1}",
    "coverage": "head: {use: attend, hidden: 7, dropout: 0.4, coverage: 0.5}",
    "vector": "head: {use: generate, hidden: 7, dropout: 0.4}",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_probabilities_of_written_texts_are_those_of_the_loss(kind: str, tmp_path: Path) -> None:
    tasks = f"tasks: {{translation: {{source: generated, sizes: [40, 8, 8], {TEXTS[kind]}}}}}"
    model, recipe, _ = load_model(model_of(tmp_path / "model", f"{tasks}\nencoder: {{use: gru, dim: 8, hidden: 6}}\n"))
    with Progress(quiet=True) as progress:
        (data,) = prepare_data(recipe, progress, lambda line: None).values()
    batch = data.batch("train", np.arange(5))
    assert batch.y is not None
    assert batch.y_lengths is not None
    head = model.head(data.name)
    assert head.gives_log_probs
    for training in (True, False):
        model.train(training)
        results = []
        for function in (head.loss, head.loss_with_log_probs):
            with by_example(1, 2, torch.arange(5)), torch.no_grad():
                results.append(function(model.encode(data.name, batch), batch))
        (loss, count), (same_loss, same_count, log_probs) = results  # type: ignore[misc]
        assert float(same_loss) == pytest.approx(float(loss), rel=1e-5)
        assert int(same_count) == int(count) == len(log_probs)
    true = torch.cat([row[:length] for row, length in zip(batch.y, batch.y_lengths.tolist(), strict=True)])
    assert -float(log_probs.gather(1, true[:, None]).sum()) == pytest.approx(float(loss), rel=1e-5)


def gradients(state: Any, task: str, batches: list[Batch]) -> list[Tensor]:
    """Of the sum over these batches, each computed by itself."""
    clear_gradients(state.parameters)
    for batch in batches:
        computed = state.objective.compute(state.model, task, batch, None, state.forward_pass)
        computed.objective.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in state.parameters]


@pytest.mark.parametrize("name", [name for name in PARTS if name != "vectors of symbols"])
def test_a_batch_in_parts_has_the_gradients_of_the_batch(name: str, data: TaskData) -> None:
    state = small.state(small.model(data, dropout=0.4), data, **PARTS[name])
    state.model.train()
    batch = data.batch("train", np.arange(6))
    batch = dataclasses.replace(batch, numbers=torch.arange(6))
    whole = gradients(state, data.name, [batch])
    parts = gradients(state, data.name, [batch.take([0, 4]).trimmed(), batch.take([1]), batch.take([2, 3, 5])])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    plain = gradients(small.state(state.model, data), data.name, [batch])
    assert any(not torch.allclose(one, other, rtol=1e-3) for one, other in zip(whole, plain, strict=True))


def test_two_passes_that_are_equal_agree(data: TaskData) -> None:
    """Without dropout there is nothing to add, and what is logged is the loss alone."""
    state = small.state(small.model(data), data, agreement=3.0)
    batch = dataclasses.replace(data.batch("train", np.arange(5)), numbers=torch.arange(5))
    computed = state.objective.compute(state.model.train(), data.name, batch, None, state.forward_pass)
    assert float(computed.objective.detach()) == pytest.approx(float(computed.loss), rel=1e-6)
    loss, count, _ = state.model.loss(data.name, batch)
    assert float(computed.loss) == pytest.approx(float(loss.detach()), rel=1e-6)
    assert int(computed.count) == int(count)


def test_agreement_against_a_slow_twin(data: TaskData) -> None:
    model = small.model(data, dropout=0.5).train()
    state = small.state(model, data, agreement=3.0)
    batch = dataclasses.replace(data.batch("train", np.arange(5)), numbers=torch.arange(5))
    computed = state.objective.compute(model, data.name, batch, None, state.forward_pass)
    losses, rows = [], []
    for numbers in (batch.numbers, batch.numbers + 2**61):
        with by_example(1, 0, numbers):
            encoded = model.encode(data.name, batch)
            head: Any = model.head(data.name)
            losses.append(float(head.loss(encoded, batch)[0].detach()))
        with by_example(1, 0, numbers):
            encoded = model.encode(data.name, batch)
            rows.append(head.logits(encoded).softmax(dim=-1).tolist())
    gap = sum(
        0.5 * (p * math.log(p / q) + q * math.log(q / p))
        for one, other in zip(*rows, strict=True)
        for p, q in zip(one, other, strict=True)
    )
    assert losses[0] != losses[1]
    assert float(computed.objective.detach()) == pytest.approx(sum(losses) / 2 + 3.0 * gap, rel=1e-4)


# A teacher

SENTIMENT = "tasks: {sentiment: {sizes: [40, 10, 10]}}\nencoder: {use: lstm, dim: 8, hidden: HIDDEN}\nseed: SEED\n"


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("teachers")
    texts = [SENTIMENT.replace("SEED", str(seed)).replace("HIDDEN", "12") for seed in (1, 2)]
    folders = [model_of(root / str(number), text) for number, text in enumerate(texts)]
    make_ensemble(folders, root / "both")
    return [*folders, root / "both"]


def sentiment_data(folder: Path) -> tuple[Model, TaskData]:
    model, recipe, _ = load_model(folder)
    with Progress(quiet=True) as progress:
        data = prepare_data(recipe, progress, lambda line: None)
    return model, data["sentiment"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_teacher_against_a_slow_twin(number: int, teachers: list[Path]) -> None:
    """One teacher, and an ensemble."""
    student, data = sentiment_data(teachers[0])
    options = {"teacher": teachers[number], "teacher_weight": 0.3, "teacher_temperature": 2.0}
    state = small.state(student, data, **options)
    batch = data.batch("train", np.arange(6))
    computed = state.objective.compute(student.eval(), data.name, batch, None, state.forward_pass)
    teacher, _, _ = load_model(teachers[number])
    expected = 0.7 * float(student.loss(data.name, batch)[0].detach())
    for row in range(6):
        alone = batch.take([row]).trimmed()
        p, q = (
            [math.exp(math.log(probability) / 2.0) for probability in prediction.scores.values()]
            for prediction in (m.predict(data.name, alone, m.encode(data.name, alone))[0] for m in (teacher, student))
        )
        expected += (
            0.3 * 4.0 * sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
        )
    assert float(computed.objective.detach()) == pytest.approx(expected, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in state.objective.teacher.model.parameters())
    assert len(state.parameters) == len(list(student.parameters()))


def test_one_that_is_its_own_teacher_has_nothing_to_learn_from_it(teachers: list[Path]) -> None:
    student, data = sentiment_data(teachers[0])
    state = small.state(student, data, teacher=teachers[0], teacher_weight=1.0)
    batch = data.batch("train", np.arange(6))
    computed = state.objective.compute(student.eval(), data.name, batch, None, state.forward_pass)
    assert float(computed.objective.detach()) == pytest.approx(0.0, abs=1e-5)


def test_a_teacher_of_another_task_is_refused(teachers: list[Path], tmp_path: Path) -> None:
    student, data = sentiment_data(teachers[0])
    with pytest.raises(DataError, match="has the tasks sentiment, and none is called 'mood'"):
        load_teacher(small.settings(teacher=teachers[1]), student, {"mood": data})
    other = model_of(
        tmp_path / "other", SENTIMENT.replace("sizes: [40", "sizes: [30").replace("SEED", "1").replace("HIDDEN", "6")
    )
    with pytest.raises(
        DataError, match=r"train\.teacher: .*other: tasks\.sentiment, input: .* there; it must have been"
    ):
        load_teacher(small.settings(teacher=other), student, {"sentiment": data})


def test_a_resumed_run_has_the_same_teacher(teachers: list[Path], tmp_path: Path) -> None:
    student, data = sentiment_data(teachers[0])
    settings = small.settings(teacher=teachers[1], steps=4, save_every=2)
    run = small.create_run(tmp_path / "run")
    small.train(student, data, settings, run)
    path = checkpoint.newest(run.checkpoints)
    assert path is not None
    again = dataclasses.replace(settings, teacher=teachers[2])
    with pytest.raises(RunError, match=r"trained with a teacher of other weights \([0-9a-f]{16}\)"):
        small.train(student, data, again, run, saved=path)


# Vectors of symbols


@pytest.mark.parametrize("sparse", [False, True])
def test_vectors_that_are_dropped_are_zero_wherever_the_symbol_occurs(sparse: bool) -> None:
    layer = Embedding(20, 3)
    layer.row_dropout.share, layer.row_dropout.number, layer.sparse = 0.5, 7, sparse
    layer.train()
    x = torch.randint(1, 20, (4, 30), generator=torch.Generator().manual_seed(1))
    with by_example(1, 2, torch.arange(4)):
        steps, _ = layer(x, torch.full((4,), 30))
    with by_example(1, 2, torch.tensor([9])):  # other examples of the same step
        kept = dropout_weights(torch.ones(20, 1), 0.5, 7)
    assert 4 < int((kept == 0).sum()) < 16
    for row in range(4):
        for step in range(30):
            symbol = int(x[row, step])
            torch.testing.assert_close(steps[row, step], layer.weight[symbol] * kept[symbol])
    assert torch.equal(layer.eval()(x, torch.full((4,), 30))[0], layer.weight[x])


def test_vectors_of_symbols_are_dropped_in_training_alone(text: TaskData) -> None:
    state = small.state(small.model(text), text, embedding_dropout=0.4)
    layer: Any = state.model.layers[text.name]
    assert layer.row_dropout.share == 0.4
    small.state(state.model, text)
    assert layer.row_dropout.share == 0.0


def test_a_recipe_without_symbols_has_no_vectors_to_drop(data: TaskData) -> None:
    with pytest.raises(
        DataError, match=r"train\.embedding_dropout: no input layer of this recipe has vectors of symbols"
    ):
        small.state(small.model(data), data, embedding_dropout=0.1)


# Averages


def test_a_plain_mean_of_the_weights() -> None:
    model = torch.nn.Linear(2, 2)
    average = AveragedWeights(model, None)  # type: ignore[arg-type]
    seen: list[Tensor] = []
    for step in range(1, 12):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 2))
        if step == 4:
            average.begin()
        average.update(step)
        if step >= 4:
            seen.append(model.weight.detach().clone())
        expected = torch.stack(seen).mean(dim=0) if seen else model.weight.detach()
        torch.testing.assert_close(average.weights["weight"], expected)
    average.begin()
    assert average.count == len(seen)


@pytest.mark.parametrize(
    ("changes", "begins"),
    [({"average_from": 0}, 1), ({"average_from": 1}, 7), ({"average_from": "stall", "average_wait": 2}, None)],
)
def test_where_the_mean_begins(changes: dict[str, Any], begins: int | None, data: TaskData, tmp_path: Path) -> None:
    settings = small.settings(average="uniform", steps=30, evaluate_every=1, keep=40, save_every=1, **changes)
    run = small.create_run(tmp_path / "run")
    small.train(small.model(data), data, settings, run)
    counts, waited = {}, {}
    for path in checkpoint.steps(run.checkpoints):
        _, numbers = checkpoint.load(path)
        counts[numbers["progress"]["step"]] = numbers["averaged"]
        waited[numbers["progress"]["step"]] = numbers["progress"]["waited"]
    first = begins or next((step + 1 for step in sorted(waited) if waited[step] >= 2), None)
    assert first is not None
    for step, count in counts.items():
        assert count == (None if step < first else step - first + 1)


# Over a restart


@pytest.mark.parametrize(
    "changes",
    [
        *PARTS.values(),
        {"average": "uniform", "average_from": 0},
        {"average": "uniform", "average_from": "stall", "average_wait": 1, "evaluate_every": 2},
    ],
    ids=[*PARTS, "mean", "mean after a stall"],
)
def test_a_resumed_run_ends_with_the_same_bits(changes: dict[str, Any], text: TaskData, tmp_path: Path) -> None:
    settings = small.settings(steps=12, save_every=5, keep=9, **changes)
    run = small.create_run(tmp_path / "run")
    small.train(small.model(text, dropout=0.3), text, settings, run)
    ends = [checkpoint.load(path)[0] for path in checkpoint.steps(run.checkpoints) if checkpoint.step_of(path) == 12]
    (saved,) = [path for path in checkpoint.steps(run.checkpoints) if checkpoint.step_of(path) == 5]
    again = small.create_run(tmp_path / "again")
    small.train(small.model(text, dropout=0.3), text, settings, again, saved=saved)
    (end,) = [
        checkpoint.load(path)[0] for path in checkpoint.steps(again.checkpoints) if checkpoint.step_of(path) == 12
    ]
    for part in ("model", "optimizer", "average"):
        for name, tensor in ends[0].get(part, {}).items():
            assert torch.equal(tensor, end[part][name]), (part, name)
