"""Heads against their definitions, example by example."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import heads
from seqkit.encoders import lstm
from seqkit.errors import UsageError
from seqkit.fields import Label, Labels, Next, Tags, Tokens, Values
from seqkit.heads import classify, language, regress, tag
from seqkit.heads.classification import balanced_weights
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.layers.embedding import Embedding, Projection
from seqkit.types import Field, Prediction

LENGTHS = torch.tensor([4, 1, 3])
B, T, H = 3, 4, 5
POOLS = ("last", "mean", "max", "attention")

LABEL = Label().fit(["no", "perhaps", "yes"])
LABELS = Labels().fit([["red", "blue"], ["green"]])
TAGS = Tags().fit([["O", "B-X", "I-X"]])


def encoded(lengths: Tensor = LENGTHS, *, seed: int = 0, wide: int = H) -> Encoded:
    """Random steps, zero past the end, as an encoder gives them."""
    steps = torch.randn(len(lengths), int(lengths.max()), wide, generator=torch.Generator().manual_seed(seed))
    steps[torch.arange(steps.shape[1])[None] >= lengths[:, None]] = 0.0
    last = steps[torch.arange(len(lengths)), lengths - 1]
    return Encoded(steps.requires_grad_(), lengths, last, tuple)


def alone(code: Encoded, row: int, until: int | None = None) -> Encoded:
    """One sequence without padding, or its beginning."""
    steps = code.steps[row : row + 1, : until or int(code.lengths[row])]
    return Encoded(steps, torch.tensor([steps.shape[1]]), steps[:, -1], tuple)


def batch(y: Tensor | None = None, y_lengths: Tensor | None = None, lengths: Tensor = LENGTHS) -> Batch:
    x = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.int64)
    return Batch(x, lengths, y, y_lengths, ids=[f"file:{n + 1}" for n in range(len(lengths))])


def nats(logits: Tensor, y: int) -> float:
    """-log of softmax, from its definition."""
    row = [float(value) for value in logits.double()]
    return math.log(math.fsum(math.exp(value) for value in row)) - row[y]


def pooled_by_hand(head: Any, pool: str, steps: Tensor) -> Tensor:
    """(T, H) real steps -> (H,)."""
    if pool == "last":
        return steps[-1]
    if pool == "mean":
        return sum(steps) / len(steps)
    if pool == "max":
        return torch.tensor([max(float(step[channel]) for step in steps) for channel in range(steps.shape[1])])
    scores = [math.exp(float(head.pool.score(step))) for step in steps]
    return sum(score / sum(scores) * step for score, step in zip(scores, steps, strict=True))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


# classify


@pytest.mark.parametrize("pool", POOLS)
def test_classify_by_hand(pool: Any) -> None:
    head, code, y = classify(H, LABEL, None, pool=pool), encoded(), torch.tensor([2, 0, 1])
    with torch.no_grad():
        logits = [head.out(pooled_by_hand(head, pool, alone(code, row).steps[0])) for row in range(B)]
    total, count = head.loss(code, batch(y))
    assert float(total.detach()) == pytest.approx(
        sum(nats(row_logits, int(label)) for row_logits, label in zip(logits, y, strict=True))
    )
    assert int(count) == B
    for prediction, row_logits in zip(head.predict(code, batch()), logits, strict=True):
        probabilities = [math.exp(-nats(row_logits, c)) for c in range(3)]
        assert prediction.scores == pytest.approx(dict(zip(LABEL.labels, probabilities, strict=True)), abs=1e-6)
        assert prediction.value == LABEL.labels[int(np.argmax(probabilities))]
        assert prediction.confidence == prediction.scores[prediction.value]
        json.dumps(prediction.scores, allow_nan=False)


@pytest.mark.parametrize("pool", POOLS)
def test_every_step_is_the_plain_head_on_every_beginning(pool: Any) -> None:
    head = classify(H, LABEL, None, pool=pool, every_step=True)
    plain = classify(H, LABEL, None, pool=pool)
    plain.load_state_dict(head.state_dict())
    code, y = encoded(), torch.tensor([2, 0, 1])
    predictions, expected_loss = head.predict(code, batch()), 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        for until in range(1, length + 1):
            beginning = alone(code, row, until)
            single = batch(y[row : row + 1], lengths=beginning.lengths)
            (expected,) = plain.predict(beginning, single)
            expected_loss += float(plain.loss(beginning, single)[0].detach())
            scores = {label: steps[until - 1] for label, steps in predictions[row].scores.items()}
            assert scores == pytest.approx(expected.scores, abs=1e-6)
        assert predictions[row].value == expected.value
        assert predictions[row].confidence == pytest.approx(expected.confidence, abs=1e-6)
        assert [len(steps) for steps in predictions[row].scores.values()] == [length] * 3
    total, count = head.loss(code, batch(y))
    assert float(total.detach()) == pytest.approx(expected_loss, rel=1e-6)
    assert int(count) == int(LENGTHS.sum())
    assert head.needs_causal
    assert not plain.needs_causal


@pytest.mark.parametrize("every_step", [False, True])
def test_label_sets_by_hand(every_step: bool) -> None:
    head = classify(H, LABELS, None, every_step=every_step)
    with torch.no_grad():
        head.out.bias.copy_(torch.tensor([2.0, 0.0, -2.0]))
    code, y = encoded(), torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1]])
    predictions, expected = head.predict(code, batch()), 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        for t in range(length) if every_step else [length - 1]:
            probabilities = [1 / (1 + math.exp(-float(v))) for v in head.out(code.steps[row, t]).detach()]
            expected -= sum(
                math.log(p if is_true else 1 - p) for p, is_true in zip(probabilities, y[row].tolist(), strict=True)
            )
        last_scores = {name: p[-1] if every_step else p for name, p in predictions[row].scores.items()}
        assert last_scores == pytest.approx(dict(zip(LABELS.labels, probabilities, strict=True)), abs=1e-6)
        assert predictions[row].value == [
            label for label, p in zip(LABELS.labels, probabilities, strict=True) if p >= 0.5
        ]
        assert predictions[row].confidence == pytest.approx(math.prod(max(p, 1 - p) for p in probabilities), abs=1e-6)
    total, count = head.loss(code, batch(y))
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(count) == 3 * (int(LENGTHS.sum()) if every_step else B)


def test_label_smoothing_mixes_in_the_even_distribution_while_training() -> None:
    head, code, y = classify(H, LABEL, None, label_smoothing=0.3), encoded(), torch.tensor([2, 0, 1])
    logits = head.out(code.last).detach()
    plain = sum(nats(logits[row], int(y[row])) for row in range(B))
    uniform = sum(nats(logits[row], label) / 3 for row in range(B) for label in range(3))
    assert float(head.loss(code, batch(y))[0].detach()) == pytest.approx(0.7 * plain + 0.3 * uniform)
    assert float(head.eval().loss(code, batch(y))[0].detach()) == pytest.approx(plain)


class Counted:
    """A fitted label field that counts how often each label occurs."""

    labels = ("no", "perhaps", "yes")
    counts = (6, 1, 3)
    size = 3


def test_balanced_weighs_by_inverse_frequency_while_training() -> None:
    target: Any = Counted()
    head, code, y = classify(H, target, None, balanced=1.0), encoded(), torch.tensor([2, 0, 1])
    logits = head.out(code.last).detach()
    losses = [nats(logits[row], int(y[row])) for row in range(B)]
    weights = [10 / (3 * 3), 10 / (3 * 6), 10 / (3 * 1)]
    weighted = sum(w * loss for w, loss in zip(weights, losses, strict=True))
    assert float(head.loss(code, batch(y))[0].detach()) == pytest.approx(weighted)
    assert float(head.eval().loss(code, batch(y))[0].detach()) == pytest.approx(sum(losses))
    assert "weights" not in head.state_dict()


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_balanced_to_a_power_leaves_the_mean_weight_of_an_example_at_one(power: float) -> None:
    weights = balanced_weights(Counted(), power)
    assert weights[1] / weights[0] == pytest.approx(6**power)
    assert float((weights * torch.tensor([6.0, 1.0, 3.0])).sum()) == pytest.approx(10)


def test_balanced_without_counts_says_so() -> None:
    with pytest.raises(UsageError, match="balanced needs how often each label occurs"):
        classify(H, LABELS, None, balanced=1.0)


def test_windows_of_one_text_are_averaged() -> None:
    head = classify(H, LABEL, None)
    windows = [
        Prediction("no", 0.6, {"no": 0.6, "perhaps": 0.4, "yes": 0.0}),
        Prediction("perhaps", 0.9, {"no": 0.1, "perhaps": 0.9, "yes": 0.0}),
        Prediction("no", 0.5, {"no": 0.5, "perhaps": 0.2, "yes": 0.3}),
    ]
    stitched = head.stitch(windows)
    assert stitched.value == "perhaps"
    assert stitched.scores == pytest.approx({"no": 0.4, "perhaps": 0.5, "yes": 0.1})
    assert stitched.confidence == stitched.scores["perhaps"]
    stepwise = [replace(window, scores={k: [0.0, v] for k, v in window.scores.items()}) for window in windows]
    assert head.stitch(stepwise) == stitched


# tag


def test_tag_by_hand() -> None:
    head, code = tag(H, TAGS, None), encoded()
    y = torch.tensor([[0, 1, 2, 0], [2, 99, 99, 99], [1, 1, 0, -7]])
    total, count = head.loss(code, batch(y, LENGTHS))
    predictions, expected = head.predict(code, batch()), 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        logits = head.out(code.steps[row, :length]).detach()
        expected += sum(nats(logits[t], int(y[row, t])) for t in range(length))
        assert predictions[row].value == [TAGS.labels[int(step_logits.argmax())] for step_logits in logits]
        best = [math.exp(-nats(step_logits, int(step_logits.argmax()))) for step_logits in logits]
        assert predictions[row].confidence == pytest.approx(best, abs=1e-6)
    assert float(total.detach()) == pytest.approx(expected)
    assert int(count) == int(LENGTHS.sum())


def test_tag_windows_follow_each_other() -> None:
    windows = [Prediction(["O", "B-X"], [0.5, 0.6]), Prediction(["I-X"], [0.7])]
    assert tag(H, TAGS, None).stitch(windows) == Prediction(["O", "B-X", "I-X"], [0.5, 0.6, 0.7])


def test_tag_needs_one_target_a_step() -> None:
    y = torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="file:3: 2 targets for 3 steps"):
        tag(H, TAGS, None).loss(encoded(), batch(y, torch.tensor([4, 1, 2])))


# language


@pytest.mark.parametrize(("tied", "wide"), [(False, H), (True, H), (True, H + 2)])
def test_language_by_hand(tied: bool, wide: int) -> None:
    source = Tokens("characters").fit(["abc"])
    layer = Embedding(source.size, H)
    head: Any = language(wide, Next().of(source), layer, tied=tied)
    code = encoded(wide=wide)
    y = torch.tensor([[4, 5, 6, -1], [5, 99, 99, 99], [-1, 4, -1, 99]])
    total, count = head.loss(code, batch(y, LENGTHS))
    predictions, expected = head.predict(code, batch(y, LENGTHS)), 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        logits = head.logits(code.steps[row, :length]).detach()
        if tied and wide == H:
            torch.testing.assert_close(logits, (code.steps[row, :length] @ layer.weight.t()).detach())
        symbol_nats = [nats(logits[t], int(y[row, t])) for t in range(length) if y[row, t] >= 0]
        expected += sum(symbol_nats)
        mean = pytest.approx(sum(symbol_nats) / len(symbol_nats), abs=1e-5)
        assert predictions[row].scores == {"nats": mean, "symbols": len(symbol_nats)}
        assert predictions[row].value == source.vocabulary.names(logits.argmax(dim=-1).tolist())
        assert predictions[row].confidence == pytest.approx(
            [math.exp(-nats(step_logits, int(step_logits.argmax()))) for step_logits in logits]
        )
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(count) == 3 + 1 + 1


def test_tied_weights_are_the_layers_own_and_saved_once() -> None:
    layer = Embedding(7, H)
    head: Any = language(H, Next(), layer, tied=True)
    modules = torch.nn.ModuleDict({"layer": layer, "head": head})
    assert set(modules.state_dict()) == {"layer.weight", "head.bias"}
    y = torch.tensor([[4, 5, 6, -1], [5, 9, 9, 9], [-1, 4, -1, 9]])
    head.loss(encoded(), batch(y))[0].backward()
    assert layer.weight.grad is not None
    copied = copy.deepcopy(modules)
    with torch.no_grad():
        copied["layer"].weight.zero_()  # type: ignore[union-attr,operator]
    assert not copied["head"].logits(torch.randn(2, H)).any(), "a copy is tied to its own layer"  # type: ignore[operator]
    assert head.logits(torch.randn(2, H)).any()


def test_language_without_targets_scores_the_sequence_itself() -> None:
    layer = Embedding(7, H)
    head, code = language(H, Next(), layer), encoded()
    x = torch.tensor([[3, 4, 5, 6], [4, 0, 0, 0], [6, 5, 4, 0]])
    y = torch.tensor([[4, 5, 6, -1], [-1, 0, 0, 0], [5, 4, -1, 0]])
    actual = head.predict(code, Batch(x, LENGTHS))
    expected = head.predict(code, Batch(x, LENGTHS, y, LENGTHS))
    assert actual == expected
    assert actual[1].scores == {"nats": None, "symbols": 0}
    assert actual[0].scores["symbols"] == 3


def test_language_windows_follow_each_other_and_nats_are_weighed_by_symbols() -> None:
    head = language(H, Next(), Embedding(7, H))
    windows = [
        Prediction([4, 5], [0.1, 0.2], {"nats": 2.0, "symbols": 2}),
        Prediction([6], [0.3], {"nats": None, "symbols": 0}),
        Prediction([6], [0.4], {"nats": 5.0, "symbols": 1}),
    ]
    assert head.stitch(windows) == Prediction([4, 5, 6, 6], [0.1, 0.2, 0.3, 0.4], {"nats": 3.0, "symbols": 3})


@pytest.mark.parametrize("layer", [None, Projection(3, H)])
def test_language_needs_symbols(layer: Any) -> None:
    with pytest.raises(UsageError, match="input must be symbols"):
        language(H, Next(), layer)


# regress


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "gaussian"])
@pytest.mark.parametrize("width", [None, 2])
def test_regress_by_hand(loss: Any, pool: Any, width: int | None) -> None:
    values: list[Any] = [3.0, 5.0, 13.0] if width is None else [[3.0, 0.1], [5.0, 0.2], [13.0, 0.6]]
    target = Values(width).fit(values)
    head: Any = regress(H, target, None, loss=loss, pool=pool)
    code, y = encoded(), torch.from_numpy(np.stack([target.encode(value) for value in values]))
    size, expected = target.size, 0.0
    predictions = head.predict(code, batch())
    for row in range(B):
        with torch.no_grad():
            out = head.out(pooled_by_hand(head, pool, alone(code, row).steps[0])).tolist()
        for k in range(size):
            error = float(y[row, k]) - out[k]
            if loss == "mse":
                expected += error**2
            elif loss == "mae":
                expected += abs(error)
            elif loss == "huber":
                expected += 0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5
            else:
                variance = math.exp(out[size + k])
                expected -= math.log(math.exp(-(error**2) / 2 / variance) / math.sqrt(2 * math.pi * variance))
        value = predictions[row].value
        assert value == pytest.approx(target.decode(np.array(out[:size], dtype=np.float32)), rel=1e-5, abs=1e-5)
        assert isinstance(value, float if width is None else list)
        if loss == "gaussian":
            deviations = [math.exp(v / 2) * d for v, d in zip(out[size:], target.scale.deviation, strict=True)]
            assert predictions[row].scores["sd"] == pytest.approx(
                deviations[0] if width is None else deviations, rel=1e-4
            )
    total, count = head.loss(code, batch(y))
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(count) == B * size


def test_regress_takes_bare_numbers_as_targets() -> None:
    head: Any = regress(H, Values().fit([1.0, 2.0]), None)
    code, y = encoded(), torch.tensor([0.5, -1.0, 2.0])
    assert torch.equal(head.loss(code, batch(y))[0], head.loss(code, batch(y[:, None]))[0])


def test_regress_windows_are_averaged() -> None:
    head = regress(H, Values().fit([1.0, 2.0]), None)
    assert head.stitch([Prediction(1.0), Prediction(4.0)]) == Prediction(2.5)
    assert head.stitch([Prediction([1.0, 0.0]), Prediction([4.0, 1.0])]) == Prediction([2.5, 0.5])


# all heads

MAKERS: dict[str, tuple[Callable[..., Head], Field, Any]] = {
    "classify": (classify, LABEL, torch.tensor([2, 0, 1])),
    "tag": (tag, TAGS, torch.tensor([[0, 1, 2, 0], [2, 0, 0, 0], [1, 1, 0, 0]])),
    "language": (language, Next(), torch.tensor([[0, 1, 2, -1], [2, 0, 0, 0], [1, 1, -1, 0]])),
    "regress": (regress, Values().fit([1.0, 4.0]), torch.tensor([0.1, -1.0, 2.0])),
}


@pytest.mark.parametrize("name", MAKERS)
def test_factories_accept_what_their_modules_accept(name: str) -> None:
    factory, target, _ = MAKERS[name]
    head = factory(H, target, Embedding(7, H))
    attributes: Any = factory
    assert type(target) in attributes.accepts
    assert (attributes.accepts, attributes.needs_causal, attributes.loss_name) == (
        head.accepts,
        head.needs_causal,
        head.loss_name,
    )


@pytest.mark.parametrize("name", MAKERS)
def test_dropout_acts_in_training_only(name: str) -> None:
    factory, target, y = MAKERS[name]
    torch.manual_seed(0)
    head, code = factory(H, target, Embedding(7, H), dropout=0.5), encoded()
    losses = {float(head.loss(code, batch(y))[0].detach()) for _ in range(4)}
    assert len(losses) == 4
    head.eval()
    assert len({float(head.loss(code, batch(y))[0].detach()) for _ in range(4)}) == 1


@pytest.mark.parametrize("name", MAKERS)
def test_losses_are_single_precision_even_of_half_precision_steps(name: str) -> None:
    """Under autocast steps come as bfloat16; sums of many small terms must not be rounded to it."""
    factory, target, y = MAKERS[name]
    head, code = factory(H, target, Embedding(7, H)), encoded()
    half_code = Encoded(code.steps.bfloat16(), code.lengths, code.last.bfloat16(), tuple)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = head.loss(half_code, batch(y))
        head.predict(half_code, batch(y))
    assert total.dtype == torch.float32
    assert float(total.detach()) == pytest.approx(float(head.loss(code, batch(y))[0].detach()), rel=0.05)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_reach_real_steps_and_no_others(name: str) -> None:
    factory, target, y = MAKERS[name]
    options = {} if name in ("tag", "language") else {"pool": "mean"}
    code = encoded()
    factory(H, target, Embedding(7, H), **options).loss(code, batch(y))[0].backward()
    assert code.steps.grad is not None
    is_real = torch.arange(T)[None] < LENGTHS[:, None]
    assert not code.steps.grad[~is_real].any()
    has_gradient = code.steps.grad.abs().sum(dim=-1) > 0
    assert torch.equal(has_gradient, is_real & (y >= 0) if name == "language" else is_real)


FACTORIES = [name for name in heads.__all__ if hasattr(getattr(heads, name), "accepts")]


@pytest.mark.parametrize("name", FACTORIES)
def test_every_option_is_documented(name: str) -> None:
    factory = getattr(heads, name)
    for option, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            assert f"\n        {option}: " in (factory.__doc__ or ""), option


def test_no_file_hides_a_factory_of_its_name() -> None:
    """Importing `seqkit.heads.x` sets `x` on the package to that module, and would replace a factory `x`."""
    assert set(MAKERS) <= set(FACTORIES)
    assert not set(FACTORIES) & {module.name for module in pkgutil.iter_modules(heads.__path__)}


def test_heads_work_behind_an_encoder() -> None:
    encoder, layer = lstm(H, hidden=6), Embedding(7, H)
    x = torch.tensor([[3, 4, 5, 6], [4, 0, 0, 0], [6, 5, 4, 0]])
    for factory, target, y in MAKERS.values():
        head = factory(6, target, layer)
        total, count = head.loss(encoder(*layer(x, LENGTHS)), Batch(x, LENGTHS, y))
        (total / count).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
