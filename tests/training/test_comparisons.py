"""Two passes, and a teacher, of heads that predict alignments, numbers and several things: against slow twins."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from seqkit_handwriting.fields import Movements
from seqkit_handwriting.head import Pen
from seqkit_intents import intent_slots_head
from seqkit_intents.fields import IntentAndSlots
from seqkit_music import notes
from seqkit_music.fields import KEYS, NextChords
from seqkit_proteins import residues
from seqkit_proteins.fields import Structure
from seqkit_sessions import rank
from seqkit_sessions.fields import Items, NextItems
from torch import Tensor, nn

from seqkit import Example, Task, Text, Values, Vectors, heads
from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.encoders import lstm
from seqkit.errors import DataError
from seqkit.experiments.prepare import prepare_data
from seqkit.fields import NextValues
from seqkit.heads.divergences import of_numbers
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.kernels import by_example
from seqkit.model import Model, load_model, make_ensemble
from seqkit.optim.gradients import clear_gradients
from seqkit.registry import registry
from seqkit.runs import checkpoint
from seqkit.runs.progress import Progress
from seqkit.training.objective import Objective, Teacher
from tests.helpers import small
from tests.helpers.models import model_of

QUANTILES = (0.1, 0.5, 0.8)
POINTS = ("mse", "mae", "huber")
DISTRIBUTIONS = ("gaussian", "student_t", "mixture", "poisson", "quantiles")


# Divergences of numbers

MIXTURES = [
    ((0.3, 0.7, 0.0, 2.0, 1.0, 0.5), (0.5, 0.5, 0.0, 1.0, 1.0, 1.0)),
    ((0.3, 0.7, 0.0, 2.0, 1.0, 0.5), (1.0, 0.5, 1.0)),
    ((1.0, 0.5, 1.0), (0.2, 0.3, 0.5, 0.0, 2.0, 5.0, 0.3, 0.4, 1.0)),
]
STUDENTS = [((0.0, 1.0, 3.0), (0.5, 2.0, 5.0)), ((1.0, 0.1, 2.1), (1.2, 0.3, 30.0)), ((0.0, 1.0, 50.0), (0, 0.5, 4.0))]


def log_density(loss: str, values: tuple[float, ...]) -> Callable[[float], float]:
    """By SciPy."""
    if loss == "gaussian":
        return lambda y: stats.norm.logpdf(y, values[0], math.exp(0.5 * values[1]))
    if loss == "student_t":
        return lambda y: stats.t.logpdf(y, values[2], values[0], values[1])
    weights, places, scales = np.split(np.array(values), 3)
    return lambda y: float(np.log(np.sum(weights * stats.norm.pdf(y, places, scales))))


def integrated(p: Callable[[float], float], q: Callable[[float], float], ends: list[float]) -> float:
    """The Kullback-Leibler divergence, piece by piece."""

    def integrand(y: float) -> float:
        return math.exp(p(y)) * (p(y) - q(y))

    return sum(integrate.quad(integrand, low, high, limit=300)[0] for low, high in itertools.pairwise(ends))


@pytest.mark.parametrize(
    ("loss", "p", "q"),
    [
        *(("mixture", *pair) for pair in MIXTURES),
        *(("student_t", *pair) for pair in STUDENTS),
        ("gaussian", (0.3, -1.0), (1.0, 0.5)),
    ],
)
def test_divergences_of_densities_are_integrals(loss: Any, p: Any, q: Any) -> None:
    reach = 8.0 if loss == "mixture" else 2000.0 if loss == "student_t" else 30.0
    expected = integrated(log_density(loss, p), log_density(loss, q), [-reach, -3.0, 0.0, 3.0, reach])
    actual = of_numbers(loss, (), torch.tensor(p)[None], torch.tensor(q, dtype=torch.float32)[None])
    assert float(actual) == pytest.approx(expected, rel=2e-3)


def test_the_divergence_of_counts_is_a_sum() -> None:
    p, q = (stats.poisson.pmf(np.arange(80), rate) for rate in (3.0, 4.5))
    actual = of_numbers("poisson", (), torch.tensor([[3.0]]), torch.tensor([[4.5]]))
    assert float(actual) == pytest.approx(float(np.sum(p * np.log(p / q))), rel=1e-5)


@pytest.mark.parametrize(("level", "shift"), [(0.1, 1.0), (0.1, -1.0), (0.9, 0.3), (0.5, -2.0), (0.5, 0.0)])
def test_points_are_those_of_the_densities_that_losses_are_of(level: float, shift: float) -> None:
    """A density in proportion to the exponential of minus the loss, about the one prediction and about the other."""

    def nats(y: float) -> float:
        return 2.0 * (level * y if y > 0 else (level - 1.0) * y)

    constant = math.log(2.0 * level * (1.0 - level))
    ends = sorted({-90.0, 0.0, shift, 90.0})
    expected = integrated(lambda y: constant - nats(y), lambda y: constant - nats(y - shift), ends)
    zero, shifted = torch.tensor([[0.0]]), torch.tensor([[shift]])
    assert float(of_numbers("quantiles", (level,), zero, shifted)) == pytest.approx(expected, rel=1e-4, abs=1e-7)
    if level == 0.5:
        assert float(of_numbers("mae", (), zero, shifted)) == pytest.approx(expected, rel=1e-4, abs=1e-7)
    gaussian = stats.norm(0.0, 0.5**0.5).logpdf, stats.norm(shift, 0.5**0.5).logpdf
    expected = integrated(*gaussian, [-9.0, 0.0, 9.0])
    assert float(of_numbers("mse", (), zero, shifted)) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def parameters_of(loss: Any, seed: int) -> tuple[Tensor, Tensor]:
    """What a linear map gives, and the parameters of it."""
    head: Any = heads.regress(3, NUMBERS, None, loss=loss, quantiles=QUANTILES, components=2)
    torch.manual_seed(seed)
    raw = torch.randn(4, 5, *([] if head.family is None else [head.family.size]), requires_grad=True)
    return raw, raw + 0.0 if head.family is None else head.family.parameters(raw)


NUMBERS = Values(standardise=False).fit([1.0, 2.0, 4.0])


@pytest.mark.parametrize("loss", [*POINTS, *DISTRIBUTIONS])
def test_it_is_zero_for_equal_ones_alone_and_can_be_learned(loss: Any) -> None:
    (_, p), (raw, q), (same, equal) = (parameters_of(loss, seed) for seed in (1, 2, 1))
    p = p.detach()
    assert of_numbers(loss, QUANTILES, p, p).abs().max() < 1e-6
    divergence = of_numbers(loss, QUANTILES, p, q)
    assert divergence.shape == (4, 5)
    assert bool((divergence > 0).all())
    (slope,) = torch.autograd.grad(divergence.sum(), raw)
    assert bool(slope.isfinite().all())
    assert float(slope.norm()) > 0.1
    (slope,) = torch.autograd.grad(of_numbers(loss, QUANTILES, p, equal).sum(), same)
    assert float(slope.abs().max()) < 2e-3


# Alignments


def test_the_divergence_of_steps_is_that_of_alignments() -> None:
    """Of all paths of four steps and three classes, each with its probability."""
    p, q = (torch.randn(4, 3).double().log_softmax(dim=-1) for _ in range(2))
    expected = 0.0
    for path in itertools.product(range(3), repeat=4):
        of_p, of_q = (sum(float(log_probs[t, k]) for t, k in enumerate(path)) for log_probs in (p, q))
        expected += math.exp(of_p) * (of_p - of_q)
    head = heads.ctc(3, Text("characters").fit(["a"]), None)
    assert float(head.divergence((p,), (q,))) == pytest.approx(expected, rel=1e-9)


def texts(folder: Path) -> TaskData:
    """Random numbers, and a text of as many symbols as there are steps, which is too long if two of them are equal."""

    def read(split: str) -> Iterator[Example]:
        draw = np.random.default_rng(len(split))
        for number in range(20 if split == "train" else 6):
            steps = draw.normal(size=(int(draw.integers(2, 8)), small.WIDTH))
            text = "".join("ab"[int(value > 0)] for value in steps[: max(1, len(steps) - number % 3), 0])
            yield Example(steps, text, f"{split}:{number}")

    return _stored(read, Text("characters"), "ctc", "min:loss", folder)


def values(folder: Path, *, count: bool = False) -> TaskData:
    """Random numbers, and two sums of them."""

    def read(split: str) -> Iterator[Example]:
        draw = np.random.default_rng(len(split))
        for number in range(20 if split == "train" else 6):
            steps = draw.normal(size=(int(draw.integers(1, 8)), small.WIDTH))
            sums = [float(steps.sum()), float(np.abs(steps).sum())]
            yield Example(steps, [float(round(abs(s))) for s in sums] if count else sums, f"{split}:{number}")

    return _stored(read, Values(2, standardise=not count), "regress", "min:loss", folder)


def _stored(read: Any, target: Any, head: str, best: str, folder: Path) -> TaskData:
    task = Task(read=read, input=Vectors(small.WIDTH), target=target, head=head, metric=None, best=best)
    task = dataclasses.replace(task, splits=("train", "dev"))
    prepared = store.prepare(task, key={"of": head, "standardise": repr(target)}, cache=folder)
    return TaskData("task", task, prepared.input, prepared.target, prepared.splits)


def head_for(kind: str, target: Any) -> Head:
    if kind == "ctc":
        return heads.ctc(6, target, None, too_long="skip", dropout=0.4)
    loss: Any = kind
    return heads.regress(6, target, None, loss=loss, dropout=0.4, quantiles=QUANTILES, components=2)


def model_for(kind: str, data: TaskData, seed: int = 3) -> Model:
    torch.manual_seed(seed)
    layer = data.input.layer(5)
    encoder = lstm(5, hidden=6, output_dropout=0.3)
    return Model({data.name: layer}, encoder, {data.name: head_for(kind, data.target)})


def data_for(kind: str, folder: Path) -> TaskData:
    return texts(folder) if kind == "ctc" else values(folder, count=kind == "poisson")


def with_teacher(objective: Objective, teacher: Model, temperature: float = 2.0) -> Objective:
    return dataclasses.replace(
        objective, teacher=Teacher(teacher.eval(), "0"), teacher_weight=0.3, temperature=temperature
    )


def twin(kind: str, head: Any, p: tuple[Tensor, ...], q: tuple[Tensor, ...], temperature: float) -> float:
    """The divergence of two predictions, number by number."""
    if kind != "ctc":
        return sum(
            float(of_numbers(head.kind, head.levels, one[None], other[None]).sum())
            for rows in zip(p[0], q[0], strict=True)
            for one, other in zip(*rows, strict=True)
        )
    total = 0.0
    for one, other in zip(p[0].tolist(), q[0].tolist(), strict=True):
        a, b = ([math.exp(score / temperature) for score in row] for row in (one, other))
        total += sum(x / sum(a) * math.log((x / sum(a)) / (y / sum(b))) for x, y in zip(a, b, strict=True))
    return temperature**2 * total


KINDS = ("ctc", *POINTS, *DISTRIBUTIONS)


def is_left_out(kind: str, data: TaskData, batch: Batch) -> list[bool]:
    """Which texts need more steps than there are."""
    if kind != "ctc":
        return [False] * batch.size
    assert batch.y is not None
    assert batch.y_lengths is not None
    need = []
    for row, count in zip(batch.y.tolist(), (batch.y_lengths - 1).tolist(), strict=True):
        need.append(count + sum(a == b for a, b in itertools.pairwise(row[:count])))
    return [steps > length for steps, length in zip(need, batch.lengths.tolist(), strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_agreement_and_a_teacher_against_a_slow_twin(kind: str, tmp_path: Path) -> None:
    """Each example is computed alone, with the number that it has in the batch; texts that do not fit teach nothing."""
    data = data_for(kind, tmp_path)
    model, teacher = model_for(kind, data).train(), model_for(kind, data, seed=8).eval()
    state = small.state(model, data, agreement=1.5)
    state.objective = with_teacher(state.objective, teacher)
    batch = dataclasses.replace(data.batch("train", np.arange(8)), numbers=torch.arange(8))
    computed = state.objective.compute(model, data.name, batch, None, state.forward_pass)
    left_out = is_left_out(kind, data, batch)
    assert any(left_out) == (kind == "ctc")
    expected, plain, head = 0.0, 0.0, model.head(data.name)
    for row in range(8):
        alone = batch.take([row]).trimmed()
        passes = []
        for shift in (0, 2**61):
            assert alone.numbers is not None
            with by_example(1, 0, alone.numbers + shift), torch.no_grad():
                passes.append(head.loss_to_compare(model.encode(data.name, alone), alone))
        (first, _, p), (second, _, q) = passes
        with torch.no_grad():
            taught = teacher.head(data.name).loss_to_compare(teacher.encode(data.name, alone), alone)[2]
        plain += 0.5 * float(first + second)
        if left_out[row]:
            assert float(first) == 0.0
            continue
        expected += 0.5 * float(second - first) + 0.7 * float(first) + 0.3 * twin(kind, head, taught, p, 2.0)
        expected += 1.5 * 0.5 * (twin(kind, head, p, q, 1.0) + twin(kind, head, q, p, 1.0))
    assert float(computed.objective.detach()) == pytest.approx(expected, rel=1e-4)
    assert float(computed.loss) == pytest.approx(plain, rel=1e-4)
    assert int(computed.count) == int(model.loss(data.name, batch)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_in_parts_has_the_gradients_of_the_batch(kind: str, tmp_path: Path) -> None:
    data = data_for(kind, tmp_path)
    model = model_for(kind, data).train()
    state = small.state(model, data, agreement=1.5)
    state.objective = with_teacher(state.objective, model_for(kind, data, seed=8))
    batch = dataclasses.replace(data.batch("train", np.arange(6)), numbers=torch.arange(6))

    def gradients(batches: list[Batch]) -> list[Tensor]:
        clear_gradients(state.parameters)
        for part in batches:
            state.objective.compute(model, data.name, part, None, state.forward_pass).objective.backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in state.parameters]

    together = gradients([batch])
    padded = dataclasses.replace(batch, x=nn.functional.pad(batch.x, (0, 0, 0, 4)))
    parts = [batch.take([0, 4]).trimmed(), batch.take([1]), batch.take([2, 3, 5])]
    for others in (gradients(parts), gradients([padded]), gradients([batch.take([5, 3, 1, 0, 2, 4])])):
        for one, other in zip(together, others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    state.objective = Objective()
    assert any(not torch.allclose(a, b, rtol=1e-2) for a, b in zip(together, gradients([batch]), strict=True))


@torch.no_grad()
def test_numbers_that_are_missing_are_not_compared() -> None:
    target = NextValues(2, history=4).of(Vectors(1).fit([np.ones((9, 1))]))
    head: Any = heads.regress(4, target, None, loss="mse")
    steps = torch.randn(3, 4, 4)
    encoded = Encoded(steps, torch.tensor([4, 2, 3]), steps[:, -1], lambda: ())
    y = torch.randn(3, head.target.size)
    y[1, 0] = math.nan
    batch = Batch(torch.zeros(3, 4, 1), encoded.lengths, y)
    loss, count, predicted = head.loss_to_compare(encoded, batch)
    assert int(count) == y.numel() - 1
    torch.testing.assert_close(loss, head.loss(encoded, batch)[0])
    moved = predicted[0].detach().clone()
    moved[1, 0] += 5.0
    assert float(head.divergence((moved, predicted[1]), predicted)) == 0.0
    moved[1, 1] += 2.0
    assert float(head.divergence((moved, predicted[1]), predicted)) == pytest.approx(4.0)


# Heads of plugins


def other_head(kind: str) -> tuple[Any, Batch]:
    """A head over encoded steps of width 4, and a batch of three examples of 5, 2 and 1 steps."""
    lengths = torch.tensor([5, 2, 1])
    torch.manual_seed(3)
    draw = np.random.default_rng(1)
    if kind == "residues":
        y = torch.tensor([[0, 1, -1, 2, 0], [1, -1, -1, -1, -1], [2, -1, -1, -1, -1]])
        return residues(4, Structure().fit(["HEC"]), None, dropout=0.5), Batch(torch.zeros(3, 5), lengths, y, lengths)  # type: ignore[arg-type]
    if kind.startswith("notes"):
        y = torch.from_numpy((draw.random((3, 5, KEYS)) < 0.1).astype(np.uint8))
        head = notes(4, NextChords(), None, nade=6 if "nade" in kind else 0, dropout=0.5)  # type: ignore[arg-type]
        return head, Batch(torch.zeros(3, 5, KEYS + 1), lengths, y, lengths)
    if kind.startswith("rank"):
        sessions = [["a", "b", "c", "d"], ["a", "c"]]
        items, following = Items().fit(sessions), NextItems().fit(sessions)
        head = rank(4, following, items.layer(4), dropout=0.5, negatives=2 if "negatives" in kind else 0)
        y = torch.tensor([[1, 2, 3, 0, 4], [2, 0, 0, 0, 0], [3, 0, 0, 0, 0]])
        return head, Batch(torch.ones(3, 5, dtype=torch.int64), lengths, y, lengths)
    target = IntentAndSlots().fit([{"intent": name, "slots": ["O", "B-x", "I-x", "B-y"]} for name in ("a", "b", "c")])
    head = intent_slots_head(4, target, None, dropout=0.5, intent_weight=0.5)  # type: ignore[arg-type]
    y = torch.from_numpy(draw.integers(0, 3, (3, 5, 2)))
    return head, Batch(torch.zeros(3, 5), lengths, y, lengths)


def other_encoded() -> Encoded:
    steps = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(2))
    lengths = [5, 2, 1]
    for row, length in enumerate(lengths):
        steps[row, length:] = 9.0  # what is past the end must not matter
    return Encoded(steps, torch.tensor(lengths), steps[:, 0], lambda: ())


OTHERS = ("residues", "notes", "notes, nade", "rank", "rank, negatives", "intents")


@pytest.mark.parametrize("kind", OTHERS)
def test_heads_of_plugins_are_compared_by_what_their_loss_is_of(kind: str) -> None:
    head, batch = other_head(kind)
    encoded = other_encoded()
    assert "probabilities" in head.comparison()
    for training in (True, False):
        head.train(training)
        results = []
        for function in (head.loss, head.loss_to_compare):
            torch.manual_seed(5)
            with by_example(1, 2, torch.arange(3)), torch.no_grad():
                results.append(function(encoded, batch))
        (loss, count), (same_loss, same_count, predicted) = results
        assert float(same_loss) == pytest.approx(float(loss), rel=1e-5)
        assert int(same_count) == int(count)
        for log_probs in predicted:
            torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(len(log_probs)), rtol=1e-4, atol=1e-4)
    if kind not in ("intents", "rank, negatives"):  # evaluation: the loss can be read from what is compared
        assert batch.y is not None
        true = torch.cat([row[:length] for row, length in zip(batch.y, [5, 2, 1], strict=True)]).long()
        true = (
            (1 - true).flatten() if kind.startswith("notes") else true[true > 0] if kind == "rank" else true[true >= 0]
        )
        assert -float(predicted[0].gather(1, true[:, None]).sum()) == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize("kind", OTHERS)
def test_divergences_of_heads_of_plugins(kind: str) -> None:
    """Row by row against a sum over classes, zero for equal ones, with gradients, and the same for rows one by one."""
    head, batch = other_head(kind)
    head.eval()
    encoded = other_encoded()
    p = tuple(tensor.detach() for tensor in head.loss_to_compare(encoded, batch)[2])
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    q = head.loss_to_compare(encoded, batch)[2]
    assert float(head.divergence(p, p)) == 0.0
    weights = [head.intent_weight, 1.0] if kind == "intents" else [1.0]
    expected = sum(
        weight * math.exp(a) * (a - b)
        for weight, one, other in zip(weights, p, q, strict=True)
        for rows in zip(one.tolist(), other.tolist(), strict=True)
        for a, b in zip(*rows, strict=True)
    )
    result = head.divergence(p, q)
    assert float(result.detach()) == pytest.approx(expected, rel=1e-3)
    gradients = torch.autograd.grad(result, [x for x in head.parameters() if x.requires_grad], allow_unused=True)
    assert any(g is not None and bool(g.any()) for g in gradients)
    assert all(bool(g.isfinite().all()) for g in gradients if g is not None)
    total = 0.0
    for row, length in enumerate([5, 2, 1]):
        alone = Encoded(encoded.steps[row : row + 1, :length], torch.tensor([length]), encoded.last[[row]], lambda: ())
        total += float(
            head.divergence(
                *_pair(p, row, kind, batch), head.loss_to_compare(alone, batch.take([row]).trimmed())[2]
            ).detach()
        )
    assert total == pytest.approx(expected, rel=1e-3)


def _pair(p: tuple[Tensor, ...], row: int, kind: str, batch: Batch) -> tuple[tuple[Tensor, ...]]:
    """The rows of one example among those of all."""
    assert batch.y is not None
    counts = [5, 2, 1]
    if kind == "residues" or kind.startswith("rank"):
        counts = [4, 1, 1]
    elif kind.startswith("notes"):
        counts = [count * KEYS for count in counts]
    begin = sum(counts[:row])
    rows = p[-1][begin : begin + counts[row]]
    return ((p[0][row : row + 1], rows) if kind == "intents" else (rows,),)


# What is refused


def test_each_head_is_compared_or_says_why_not() -> None:
    """All registered heads are in the list of this test, so that none is forgotten."""
    compared = {"classify", "tag", "crf", "language", "attend", "generate", "ctc", "regress"} | {
        "residues", "notes", "rank", "intent-slots"
    }  # fmt: skip
    refused = {"pen"}
    shipped = {entry.name for entry in registry.installed("heads") if entry.distribution == "seqkit"}
    assert shipped == compared | refused


def refused_head(kind: str) -> Head:
    if kind == "pen":
        return Pen(4, Movements(), hidden=4, layers=1, mixtures=2, window=0, dropout=0.0, max_length=5)
    if kind == "negative_binomial":
        return heads.regress(4, NUMBERS, None, loss="negative_binomial")
    text = Text("characters").fit(["ab"])
    return heads.attend(4, text, None, scheduled_sampling="linear") if kind == "sampling" else Plain()


class Plain(Head):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        raise AssertionError

    def predict(self, encoded: Encoded, batch: Batch) -> list[Any]:
        raise AssertionError


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pen", "mixtures of Gaussians in two dimensions has no closed form"),
        ("negative_binomial", "negative binomial distributions has no closed form"),
        ("sampling", "with scheduled_sampling a decoder reads symbols that it has drawn"),
        ("plain", "Plain does not say how two predictions are compared"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(kind: str, message: str, tmp_path: Path) -> None:
    data = texts(tmp_path)
    model = Model({data.name: data.input.layer(5)}, lstm(5, hidden=4), {data.name: refused_head(kind)})
    with pytest.raises(DataError, match=rf"train\.agreement: task task: .*{message}"):
        Objective.of(small.settings(agreement=1.0), model, {data.name: data})


TRANSLATION = """
tasks: {translation: {source: generated, sizes: [40, 8, 8], head: {HEAD}}}
encoder: {use: gru, dim: 10, hidden: 4, dropout: 0.2}
seed: SEED
"""
CTC = "use: ctc, too_long: skip"
SERIES = """
tasks: {series: {HEAD}}
encoder: {use: gru, dim: 6, hidden: 4, dropout: 0.2}
seed: SEED
"""


def recipe(text: str, head: str, seed: int) -> str:
    return text.replace("HEAD", head).replace("SEED", str(seed))


def loaded(folder: Path) -> tuple[Model, TaskData]:
    model, recipe, _ = load_model(folder)
    with Progress(quiet=True) as progress:
        (data,) = prepare_data(recipe, progress, lambda line: None).values()
    return model, data


def test_a_teacher_that_is_compared_otherwise_is_refused(tmp_path: Path) -> None:
    student, data = loaded(model_of(tmp_path / "student", recipe(TRANSLATION, CTC, 1)))
    teacher = model_of(tmp_path / "teacher", recipe(TRANSLATION, "use: attend, hidden: 6", 1))
    with pytest.raises(
        DataError,
        match=r"compared by the probabilities of symbols, given .*, and this model by the probabilities of clas",
    ):
        Objective.of(small.settings(teacher=teacher), student, {data.name: data})


def test_a_teacher_with_other_steps_is_refused(tmp_path: Path) -> None:
    data = texts(tmp_path)
    model, teacher = model_for("ctc", data), model_for("ctc", data, seed=8)

    class Halved(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            steps, lengths = self.layer(x, lengths)
            return steps[:, ::2], (lengths + 1) // 2

    teacher.layers[data.name] = Halved(teacher.layers[data.name])
    state = small.state(model, data)
    state.objective = with_teacher(state.objective, teacher)
    with pytest.raises(
        DataError, match=r"train\.teacher: task task: the teacher predicts \d+ steps of a batch, and this"
    ):
        state.objective.compute(model, data.name, data.batch("train", np.arange(4)), None, state.forward_pass)


# Over a restart


@pytest.mark.parametrize("kind", ["ctc", "mixture"])
def test_a_resumed_run_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    """With two passes and an ensemble as the teacher."""
    text = TRANSLATION if kind == "ctc" else SERIES
    head = CTC if kind == "ctc" else f"head: {{use: regress, loss: {kind}}}"
    folders = [model_of(tmp_path / str(seed), recipe(text, head, seed)) for seed in (1, 2)]
    teacher = tmp_path / "both"
    make_ensemble(folders, teacher)
    settings = small.settings(steps=7, save_every=4, keep=9, teacher=teacher, agreement=1.0)

    def train(name: str, saved: Path | None = None) -> dict[int, Path]:
        model, data = loaded(folders[0])
        run = small.create_run(tmp_path / name)
        small.train(model, data, settings, run, saved=saved)
        return {checkpoint.step_of(path): path for path in checkpoint.steps(run.checkpoints)}

    first = train("first")
    again = train("again", first[4])
    ends = [checkpoint.load(paths[7])[0] for paths in (first, again)]
    for name, tensor in ends[0]["model"].items():
        assert torch.equal(tensor, ends[1]["model"][name]), name
    begun, _ = loaded(folders[0])
    assert any(not torch.equal(tensor, ends[0]["model"][name]) for name, tensor in begun.state_dict().items())
