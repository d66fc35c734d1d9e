"""The heads attend and generate against their equations, example by example."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import heads
from seqkit.encoders import lstm
from seqkit.fields import Text
from seqkit.heads import attend, generate, text_search
from seqkit.heads.text_search import largest_weight
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.kernels import by_example
from seqkit.layers.embedding import Embedding
from seqkit.types import END, PAD, START, UNKNOWN, Prediction
from tests.contracts.test_invariance import CHECKS, ENCODERS, Model
from tests.reference.beam import beam_search
from tests.reference.decoders import ReferenceDecoder, nats

H = 6
LENGTHS = torch.tensor([4, 1, 3])
TARGET = Text("characters").fit(["abcdefg"])
TEXTS = ["bad", "f", "cabbage"]

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dot": {"attention": "dot"},
    "additive": {"attention": "additive", "hidden": 5},
    "gru-tied": {"cell": "gru", "tied": True, "hidden": 7, "start": "mean"},
    "deep": {"layers": 2, "start": "zero"},
    "fed": {"input_feeding": True},
    "fed-deep": {"input_feeding": True, "layers": 2, "cell": "gru", "attention": "additive"},
    "covered": {"coverage": 0.7, "attention": "additive"},
    "covered-fed": {"coverage": 0.7, "input_feeding": True},
}
FACTORIES: dict[str, Callable[..., Head]] = {
    **{
        name: lambda dim=H, variant=variant, **options: attend(dim, TARGET, **(variant | options))
        for name, variant in VARIANTS.items()
    },
    "generate": lambda dim=H, **options: generate(dim, TARGET, **options),
    "generate-deep": lambda dim=H, **options: generate(
        dim, TARGET, layers=2, cell="gru", tied=True, hidden=5, **options
    ),
}


def encoded(lengths: Tensor = LENGTHS, seed: int = 0) -> Encoded:
    """Random steps, zero past the end, as an encoder gives them."""
    steps = torch.randn(len(lengths), int(lengths.max()), H, generator=torch.Generator().manual_seed(seed))
    steps[torch.arange(steps.shape[1])[None] >= lengths[:, None]] = 0.0
    return Encoded(steps, lengths, steps[torch.arange(len(lengths)), lengths - 1], tuple)


def batch(texts: list[str] | None = None, lengths: Tensor = LENGTHS) -> Batch:
    x = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.int64)
    if texts is None:
        return Batch(x, lengths)
    ids = [torch.from_numpy(TARGET.encode(text).astype(np.int64)) for text in texts]
    y = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return Batch(x, lengths, y, torch.tensor([len(text_ids) for text_ids in ids]))


def amplified(head: Any) -> Any:
    """The head with larger weights than initial ones, the same each time, so that errors show."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    return head.eval()


def reference(head: Any, code: Encoded, row: int) -> ReferenceDecoder:
    return ReferenceDecoder(head.decoder, code.steps[row, : int(code.lengths[row])], code.last[row])


def ids(text: str) -> list[int]:
    return [int(symbol) for symbol in TARGET.encode(text)]


@pytest.mark.parametrize("name", FACTORIES)
@torch.no_grad()
def test_the_loss_by_hand(name: str) -> None:
    head, code = amplified(FACTORIES[name]()), encoded()
    total, count = head.loss(code, batch(TEXTS))
    expected = sum(sum(nats(reference(head, code, row), START, ids(text))) for row, text in enumerate(TEXTS))
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert int(count) == sum(len(text) + 1 for text in TEXTS)


@pytest.mark.parametrize("name", FACTORIES)
@torch.no_grad()
def test_a_prediction_is_as_probable_as_the_loss_has_it(name: str) -> None:
    head, code = amplified(FACTORIES[name](max_length=12, beams=3, best=3)), encoded()
    for row, prediction in enumerate(head.predict(code, batch())):
        rows = torch.tensor([row])
        single = Encoded(code.steps[rows], code.lengths[rows], code.last[rows], tuple)
        for text, probability in prediction.scores["best"]:
            if "\ufffd" in text:
                continue
            total, _ = head.loss(single, batch([text], code.lengths[rows]))
            assert math.log(probability) == pytest.approx(-float(total), rel=1e-5)
        assert prediction.value == prediction.scores["best"][0][0]
        assert prediction.confidence == prediction.scores["best"][0][1]


@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize("name", FACTORIES)
@torch.no_grad()
def test_predictions_are_those_of_the_reference_search(name: str, alpha: float) -> None:
    head, code = amplified(FACTORIES[name](max_length=6, beams=3, best=2, alpha=alpha, unknown=False)), encoded()
    symbols = [symbol for symbol in range(TARGET.size) if symbol not in (PAD, UNKNOWN, START, END)]
    for row, prediction in enumerate(head.predict(code, batch())):

        def log_probs(text: Any, row: int = row) -> list[float]:
            decoder = reference(head, code, row)
            for symbol in (START, *text):
                result = decoder.read(symbol)
            next_log_probs: list[float] = result.tolist()
            return next_log_probs

        options: Any = {"end": END, "limit": 7, "beams": 3, "best": 2, "alpha": alpha, "min_length": 1}
        expected = beam_search(log_probs, symbols, **options)
        assert [text for text, _ in prediction.scores["best"]] == [
            TARGET.decode(np.array(ids_, dtype=np.int64)) for _, _, ids_ in expected
        ]
        if "alignment" in prediction.scores:
            decoder = reference(head, code, row)
            nats(decoder, START, ids(prediction.value))
            assert prediction.scores["alignment"] == decoder.alignment[:-1]


def test_the_loss_with_dropout_is_that_of_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass that is written out draws the numbers that the loop over steps draws, and learns the same."""
    results = []
    for is_written_out in (True, False):
        head, code = amplified(attend(H, TARGET, input_feeding=True, dropout=0.5, input_dropout=0.3)).train(), encoded()
        code.steps.requires_grad_()
        assert head.decoder._has_written_out_backward(code.steps)
        monkeypatch.setattr(
            type(head.decoder), "_has_written_out_backward", lambda self, x, result=is_written_out: result
        )
        with by_example(seed=1, step=2, numbers=torch.tensor([3, 5, 9])):
            total, _ = head.loss(code, batch(TEXTS))
        parameters = [*head.parameters(), code.steps]
        results.append([total.detach(), *torch.autograd.grad(total, parameters, allow_unused=True)])
        monkeypatch.undo()
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["none", "lstm-both", "gru"])
@pytest.mark.parametrize("name", FACTORIES)
def test_predictions_depend_on_the_example_alone(name: str, encoder: str) -> None:
    torch.manual_seed(0)
    options = {"max_length": 15, "beams": 4, "best": 2, "alpha": 0.6}
    model = Model(ENCODERS[encoder](), lambda dim, layer: FACTORIES[name](dim, **options))
    for check in CHECKS:
        check(model)


@pytest.mark.parametrize("name", FACTORIES)
def test_losses_and_gradients_add_up_over_any_division_into_batches(name: str) -> None:
    head, code = amplified(FACTORIES[name]()).train(), encoded()

    def loss_and_gradients(rows: list[int]) -> list[Tensor]:
        index = torch.tensor(rows)
        code_rows = Encoded(code.steps[index], code.lengths[index], code.last[index], tuple)
        total, count = head.loss(code_rows, batch([TEXTS[row] for row in rows], code.lengths[index]))
        gradients = torch.autograd.grad(total, list(head.parameters()), allow_unused=True)
        return [total.detach(), count, *(torch.zeros(()) if gradient is None else gradient for gradient in gradients)]

    together = loss_and_gradients([0, 1, 2])
    summed = [sum(column) for column in zip(*(loss_and_gradients([row]) for row in range(3)), strict=True)]
    for actual, expected in zip(summed, together, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", FACTORIES)
@torch.no_grad()
def test_slices_of_a_batch_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head, code = amplified(FACTORIES[name](max_length=9)), encoded()
    total, _ = head.loss(code, batch(TEXTS))
    predictions = head.predict(code, batch())
    monkeypatch.setattr(text_search, "MAX_NUMBERS", 1)
    assert float(head.loss(code, batch(TEXTS))[0]) == pytest.approx(float(total), rel=1e-6)
    for actual, expected in zip(head.predict(code, batch()), predictions, strict=True):
        assert (actual.value, actual.scores) == (expected.value, expected.scores)
        assert actual.confidence == pytest.approx(expected.confidence, rel=1e-5)


@torch.no_grad()
def test_label_smoothing_is_for_training_only() -> None:
    plain, smooth = amplified(attend(H, TARGET)), amplified(attend(H, TARGET, label_smoothing=0.3))
    code = encoded()
    total = float(plain.loss(code, batch(TEXTS))[0].detach())
    assert float(smooth.loss(code, batch(TEXTS))[0].detach()) == pytest.approx(total)
    uniform_nats = 0.0
    for row, text in enumerate(TEXTS):
        decoder = reference(plain, code, row)
        for symbol in [START, *ids(text)[:-1]]:
            uniform_nats -= float(decoder.read(symbol).mean())
    assert float(smooth.train().loss(code, batch(TEXTS))[0].detach()) == pytest.approx(0.7 * total + 0.3 * uniform_nats)


@pytest.mark.parametrize("name", ["covered", "covered-fed"])
@torch.no_grad()
def test_the_coverage_loss_is_for_training_only(name: str) -> None:
    head, code = amplified(FACTORIES[name]()), encoded()
    plain = float(head.loss(code, batch(TEXTS))[0].detach())
    coverage_loss = 0.0
    for row, text in enumerate(TEXTS):
        decoder = reference(head, code, row)
        nats(decoder, START, ids(text))
        coverage_loss += decoder.coverage_loss
    assert coverage_loss > 1.0
    total = float(head.train().loss(code, batch(TEXTS))[0].detach())
    assert total == pytest.approx(plain + 0.7 * coverage_loss, rel=1e-5)


# Scheduled sampling


def test_the_share_of_true_symbols_falls_as_in_the_paper() -> None:
    head: Any = attend(H, TARGET, scheduled_sampling="inverse_sigmoid", sampling_decay=50.0)
    for batches in (0, 10, 200, 100_000):
        head.batches.fill_(batches)
        expected = 50.0 / (50.0 + math.exp(min(700.0, batches / 50.0)))
        assert float(head.true_share()) == pytest.approx(expected, abs=1e-12)
    line: Any = attend(H, TARGET, scheduled_sampling="linear", sampling_decay=50.0, teaching_floor=0.2)
    for batches, expected in ((0, 1.0), (10, 0.8), (45, 0.2), (99, 0.2)):
        line.batches.fill_(batches)
        assert float(line.true_share()) == pytest.approx(expected)


def test_with_all_truth_it_is_teacher_forcing() -> None:
    for name in ("plain", "fed", "covered"):
        head = amplified(FACTORIES[name]()).train()
        sampled = amplified(FACTORIES[name](scheduled_sampling="linear", sampling_decay=1e9)).train()
        sampled.decoder.load_state_dict(head.decoder.state_dict())
        expected, count = head.loss(encoded(), batch(TEXTS))
        actual, terms = sampled.loss(encoded(), batch(TEXTS))
        torch.testing.assert_close(actual, expected)
        assert int(terms) == int(count)


@torch.no_grad()
def test_without_truth_it_reads_its_own_symbols() -> None:
    head = amplified(attend(H, TARGET, scheduled_sampling="linear", sampling_decay=1.0)).train()
    # Probabilities so large that a draw is the best symbol, which differs from step to step.
    head.decoder.weight.mul_(1000.0)
    head.batches.fill_(5)
    code = encoded()
    expected = 0.0
    for row, text in enumerate(TEXTS):
        decoder, previous = reference(head, code, row), START
        for symbol in ids(text):
            next_log_probs = decoder.read(previous)
            expected -= float(next_log_probs[symbol])
            previous = int(next_log_probs.argmax())
    total, _ = head.loss(code, batch(TEXTS))
    assert float(total.detach()) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_symbols_are_drawn_from_its_own_distribution() -> None:
    head = amplified(attend(H, TARGET, scheduled_sampling="linear", sampling_decay=1.0)).train()
    head.decoder.weight.mul_(0.3)
    head.batches.fill_(5)
    single = encoded(torch.tensor([1]))
    many = Encoded(single.steps.expand(4000, -1, -1), single.lengths.expand(4000), single.last.expand(4000, -1), tuple)
    read: list[Tensor] = []
    step = head.decoder.step
    head.decoder.step = lambda source, state, symbols: read.append(symbols) or step(source, state, symbols)
    head.loss(many, batch(["a"] * 4000, many.lengths))
    assert (read[0] == START).all()
    probabilities = reference(head, single, 0).read(START).exp()
    frequencies = torch.bincount(read[1].flatten(), minlength=len(probabilities)) / 4000
    torch.testing.assert_close(frequencies, probabilities, atol=4 * math.sqrt(0.25 / 4000), rtol=0)


def test_batches_are_counted_in_training_only_and_saved() -> None:
    head = attend(H, TARGET, scheduled_sampling="inverse_sigmoid")
    for _ in range(3):
        head.loss(encoded(), batch(TEXTS))
    head.eval().loss(encoded(), batch(TEXTS))
    assert int(head.state_dict()["batches"]) == 3
    assert "batches" not in attend(H, TARGET).state_dict()


def test_a_resumed_run_is_the_same_run() -> None:
    def trained(head: Head, steps: int) -> list[float]:
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
        losses = []
        for _ in range(steps):
            total, count = head.train().loss(encoded(), batch(TEXTS))
            optimizer.zero_grad()
            (total / count).backward()
            optimizer.step()
            losses.append(float(total.detach()))
        return losses

    def new() -> Head:
        torch.manual_seed(1)
        return attend(H, TARGET, scheduled_sampling="linear", sampling_decay=8.0, dropout=0.2)

    uninterrupted = new()
    expected = trained(uninterrupted, 8)
    first = new()
    actual = trained(first, 3)
    state, random = first.state_dict(), torch.get_rng_state()
    second = new()
    second.load_state_dict(state)
    torch.set_rng_state(random)
    assert actual + trained(second, 5) == expected
    for name, tensor in uninterrupted.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


# Limits, unknown symbols, draws


def test_texts_that_are_cut_are_marked_and_counted() -> None:
    head = amplified(attend(H, TARGET, max_length=5))
    with torch.no_grad():
        head.decoder.bias[END] = -50.0
    predictions = head.predict(encoded(), batch())
    assert all(len(prediction.value) == 5 and prediction.scores["cut"] for prediction in predictions)
    assert head.cut == 3
    short = amplified(attend(H, TARGET, max_length=50, max_ratio=2.0))
    with torch.no_grad():
        short.decoder.bias[END] = -50.0
    assert [len(prediction.value) for prediction in short.predict(encoded(), batch())] == [8, 2, 6]
    with torch.no_grad():
        short.decoder.bias[END] = 50.0
    assert [
        (len(prediction.value), "cut" in prediction.scores) for prediction in short.predict(encoded(), batch())
    ] == [(1, False)] * 3


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_the_unknown_symbol_is_predicted_only_if_allowed(search: Any) -> None:
    for unknown in (True, False):
        head = amplified(attend(H, TARGET, search=search, max_length=4, unknown=unknown))
        with torch.no_grad():
            head.decoder.bias[[PAD, UNKNOWN, START]] = 40.0
        for prediction in head.predict(encoded(), batch()):
            assert ("\ufffd" in prediction.value) == unknown


def test_greedy_search_is_the_best_symbol_at_each_step() -> None:
    head, code = amplified(attend(H, TARGET, search="greedy", max_length=8)), encoded()
    for row, prediction in enumerate(head.predict(code, batch())):
        decoder, previous, text = reference(head, code, row), START, []
        for position in range(8):
            next_log_probs = decoder.read(previous).detach()
            next_log_probs[[PAD, START, *((END,) if position == 0 else ())]] = -torch.inf
            previous = int(next_log_probs.argmax())
            if previous == END:
                break
            text.append(previous)
        assert prediction.value == TARGET.decode(np.array(text, dtype=np.int64))


def test_draws_have_the_models_distribution() -> None:
    head: Any = amplified(generate(H, TARGET))
    with torch.no_grad():
        head.decoder.weight.mul_(0.3)
        head.decoder.bias[END] = 2.0
    single = encoded(torch.tensor([1]))
    many = Encoded(single.steps.expand(4000, -1, -1), single.lengths.expand(4000), single.last.expand(4000, -1), tuple)
    texts = head.write(many, length=20, generator=torch.Generator().manual_seed(3))
    probabilities = reference(head, single, 0).read(START).detach().exp()
    probabilities[[PAD, UNKNOWN, START, END]] = 0.0
    probabilities = probabilities / probabilities.sum()
    for number, letter in enumerate(TARGET.vocabulary.symbols, start=END + 1):
        frequency = sum(text.startswith(letter) for text in texts) / len(texts)
        assert frequency == pytest.approx(float(probabilities[number]), abs=4 * math.sqrt(0.25 / len(texts)))
    assert all(texts), "an empty text was drawn"
    assert texts == head.write(many, length=20, generator=torch.Generator().manual_seed(3))
    assert texts != head.write(many, length=20, generator=torch.Generator().manual_seed(4))
    assert max(len(text) for text in head.write(many, length=2, generator=torch.Generator())) == 2


@pytest.mark.parametrize("name", ["plain", "fed", "covered", "generate"])
def test_without_temperature_a_draw_is_the_greedy_text(name: str) -> None:
    head, code = amplified(FACTORIES[name](search="greedy", max_length=30, unknown=False)), encoded()
    texts = [prediction.value for prediction in head.predict(code, batch())]
    assert head.write(code, length=30, temperature=0.0) == texts


# Attributes


def test_attributes_of_the_factories() -> None:
    for factory in (attend, generate):
        assert factory.accepts == (Text,)  # type: ignore[attr-defined]
        assert factory.loss_name == "nats"  # type: ignore[attr-defined]
        head = factory(H, TARGET)
        assert (head.accepts, head.loss_name, head.writes, head.needs_causal) == ((Text,), "nats", True, False)
        assert factory.__name__ in heads.__all__
    assert "beams=7" in repr(attend(H, TARGET, beams=7))


def test_tied_weights_are_saved_once() -> None:
    state = attend(H, TARGET, tied=True).state_dict()
    assert "decoder.weight" not in state
    assert "decoder.embedding.weight" in state


def test_one_text_is_asked_for_by_default() -> None:
    (prediction, *_) = amplified(generate(H, TARGET, max_length=200)).predict(encoded(), batch())
    assert isinstance(prediction, Prediction)
    assert prediction.scores is None or set(prediction.scores) <= {"cut"}


def test_it_learns_to_reverse_a_text() -> None:
    """Only attention can do it for texts that are too long for one vector."""
    rng = np.random.default_rng(0)

    def draw_examples(count: int) -> tuple[Tensor, Tensor, list[str]]:
        lengths = torch.from_numpy(rng.integers(1, 9, count))
        texts = ["".join(rng.choice(list("abcdefg"), length)) for length in lengths.tolist()]
        x = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids(text)[:-1]) for text in texts], batch_first=True)
        return x, lengths, texts

    torch.manual_seed(0)
    layer, encoder = Embedding(TARGET.size, 16), lstm(16, hidden=24, bidirectional=True)
    head = attend(48, TARGET, hidden=48, embedding=16, attention="general", max_length=12)
    modules = torch.nn.ModuleList([layer, encoder, head])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-2)
    for _ in range(220):
        x, lengths, texts = draw_examples(64)
        total, count = head.loss(encoder(*layer(x, lengths)), batch([text[::-1] for text in texts], lengths))
        optimizer.zero_grad()
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
    x, lengths, texts = draw_examples(200)
    modules.eval()
    predictions = head.predict(encoder(*layer(x, lengths)), batch(lengths=lengths))
    assert np.mean([prediction.value == text[::-1] for prediction, text in zip(predictions, texts, strict=True)]) > 0.9


def test_of_equal_weights_the_first_counts() -> None:
    weights = torch.tensor([[[0.1, 0.3, 0.3 * (1 + 1e-7), 0.3], [0.2, 0.1, 0.3, 0.4]]])
    assert largest_weight(weights).tolist() == [[1, 3]]
