"""The head ctc against its definition: every alignment written out."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqkit import kernels
from seqkit.decoding.ctc_beam_search import prefix_beam_search
from seqkit.errors import DataError
from seqkit.fields import Label, Text
from seqkit.heads import ctc
from seqkit.heads.ctc_head import CTC, collapse
from seqkit.interfaces import Batch, Encoded, Head
from tests.helpers.native import require_native

WORDS = Text("words").fit(["a b c", "a b", "a"])
LETTERS = Text("characters").fit(["abca"])
H = 6


def collapse_reference(path: tuple[int, ...]) -> tuple[int, ...]:
    """Repeats become one, then blanks (0) go: the definition."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != 0)


def all_texts(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every text, by all C^T alignments."""
    probabilities: dict[tuple[int, ...], float] = defaultdict(float)
    steps, classes = log_probs.shape
    for path in itertools.product(range(classes), repeat=steps):
        probabilities[collapse_reference(path)] += math.exp(math.fsum(log_probs[t, c] for t, c in enumerate(path)))
    return probabilities


def random_log_probs(seed: int, steps: int, classes: int, sharp: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(steps, classes)) * sharp
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def encoded(lengths: list[int], *, seed: int = 0) -> Encoded:
    steps = torch.randn(len(lengths), max(lengths), H, generator=torch.Generator().manual_seed(seed))
    steps[torch.arange(max(lengths))[None] >= torch.tensor(lengths)[:, None]] = 0.0
    last = steps[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
    return Encoded(steps.requires_grad_(), torch.tensor(lengths), last, tuple)


def batch(texts: list[str], lengths: list[int], target: Text = WORDS) -> Batch:
    rows = [target.encode(text) for text in texts]
    y = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for row, ids in zip(y, rows, strict=True):
        row[: len(ids)] = torch.from_numpy(ids.astype(np.int64))
    counts = torch.tensor([len(ids) for ids in rows])
    x = torch.zeros(len(rows), max(lengths), 1)
    return Batch(x, torch.tensor(lengths), y, counts, ids=[f"file:{n + 1}" for n in range(len(rows))])


def head(target: Text = WORDS, **options: Any) -> CTC:
    torch.manual_seed(3)
    module = ctc(H, target, None, **options)
    assert isinstance(module, CTC)
    with torch.no_grad():
        module.out.weight.mul_(3.0)
    return module.eval()


def log_probs_of(module: CTC, code: Encoded, row: int) -> np.ndarray:
    return module.log_probs(code)[row, : int(code.lengths[row])].detach().double().numpy()


def classes_of(text: str, target: Text = WORDS) -> tuple[int, ...]:
    """Blank 0, unknown 1, the vocabulary's symbols from 2."""
    return tuple(int(i) - 2 if i > 3 else 1 for i in target.encode(text)[:-1])


# Search


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 4), st.sampled_from([0.3, 1.0, 4.0]))
def test_a_wide_beam_finds_every_text_with_its_probability(seed: int, steps: int, classes: int, sharp: float) -> None:
    log_probs = random_log_probs(seed, steps, classes, sharp)
    expected = all_texts(log_probs)
    results = prefix_beam_search(log_probs, beams=10_000)
    assert {text for text, _ in results} == set(expected)
    for text, total in results:
        assert math.exp(total) == pytest.approx(expected[text], rel=1e-12)
    assert [total for _, total in results] == sorted((total for _, total in results), reverse=True)
    assert math.fsum(math.exp(total) for _, total in results) == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_a_narrow_beam_gives_no_more_than_is_there(seed: int, beams: int) -> None:
    log_probs = random_log_probs(seed, 6, 3)
    expected = all_texts(log_probs)
    results = prefix_beam_search(log_probs, beams=beams)
    assert 1 <= len(results) <= beams
    assert len({text for text, _ in results}) == len(results)
    assert all(math.exp(total) <= expected[text] * (1 + 1e-12) for text, total in results)


def test_beam_search_beats_the_best_path_where_many_alignments_say_the_same() -> None:
    # Blank is the best class of each step, yet "a" in one place or the other is likelier than nothing at all.
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert collapse_reference(tuple(int(c) for c in log_probs.argmax(axis=1))) == ()
    text, total = prefix_beam_search(log_probs, beams=8)[0]
    assert text == (1,)
    assert math.exp(total) == pytest.approx(0.4 * 0.4 + 2 * 0.4 * 0.6)


def test_a_prefix_that_was_dropped_and_comes_back_is_the_same_prefix() -> None:
    # With one beam, "a" is in, out and in again; it must not be there twice or lose what follows it.
    log_probs = np.log(np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]))
    for beams in (1, 2, 3, 5):
        results = prefix_beam_search(log_probs, beams=beams)
        assert len({text for text, _ in results}) == len(results)


def test_impossible_classes_are_never_predicted() -> None:
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert {text for text, _ in prefix_beam_search(log_probs, beams=10)} == {(), (1,)}


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 14),
    classes=st.integers(1, 60),
    beams=st.integers(1, 6),
    kind=st.sampled_from(["smooth", "sharp", "with equal numbers", "with impossible symbols"]),
)
def test_the_native_search_is_that_in_numpy(seed: int, steps: int, classes: int, beams: int, kind: str) -> None:
    require_native()
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(steps, classes)) * (4.0 if kind == "sharp" else 1.0)
    if kind == "with equal numbers":
        scores = scores.round()
    if kind == "with impossible symbols":
        scores[rng.random(scores.shape) < 0.3] = -np.inf
        scores[:, 0] = 0.0
    log_probs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    with kernels.use("native"):
        assert kernels.has_native_alignments(torch.device("cpu"))
        native = prefix_beam_search(log_probs, beams=beams)
    with kernels.use("padded"):
        in_numpy = prefix_beam_search(log_probs, beams=beams)
    assert [text for text, _ in native] == [text for text, _ in in_numpy]
    assert [total for _, total in native] == pytest.approx([total for _, total in in_numpy], rel=1e-12)


@pytest.mark.parametrize(("shape", "beams"), [((0, 3), 1), ((3,), 1), ((2, 3), 0)])
def test_search_refuses_nothing_to_search(shape: tuple[int, ...], beams: int) -> None:
    with pytest.raises(ValueError, match="needs"):
        prefix_beam_search(np.zeros(shape), beams=beams)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=5))
def test_collapse_is_the_definition(paths: list[list[int]]) -> None:
    lengths = torch.tensor([len(path) for path in paths])
    padded = torch.full((len(paths), int(lengths.max())), 3)  # the padding does not matter
    for row, path in zip(padded, paths, strict=True):
        row[: len(path)] = torch.tensor(path)
    texts, counts = collapse(padded, lengths)
    for row, count, path in zip(texts.tolist(), counts.tolist(), paths, strict=True):
        assert tuple(row[:count]) == collapse_reference(tuple(path))
        assert not any(row[count:])


# Loss


def test_the_loss_is_minus_log_of_all_alignments_together() -> None:
    module, code = head(), encoded([5, 3, 4])
    texts = ["a b", "c", "b b"]
    loss, count = module.loss(code, batch(texts, [5, 3, 4]))
    expected = 0.0
    for row, text in enumerate(texts):
        expected -= math.log(all_texts(log_probs_of(module, code, row))[classes_of(text)])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert int(count) == 2 + 1 + 2


def test_an_unknown_symbol_is_a_class_of_its_own() -> None:
    module, code = head(), encoded([4])
    loss, _ = module.loss(code, batch(["a never"], [4]))
    assert classes_of("a never")[1] == 1
    assert loss.item() == pytest.approx(
        -math.log(all_texts(log_probs_of(module, code, 0))[classes_of("a never")]), rel=1e-5
    )


def test_loss_and_gradient_do_not_depend_on_padding() -> None:
    module = head()
    texts, lengths = ["a b c", "a"], [6, 2]
    together = encoded(lengths)
    loss, _ = module.loss(together, batch(texts, lengths))
    loss.backward()
    assert together.steps.grad is not None
    sums, alone_grads = 0.0, []
    for row in range(2):
        steps = together.steps[row : row + 1, : lengths[row]].detach().clone().requires_grad_()
        alone = Encoded(steps, torch.tensor([lengths[row]]), steps[:, -1], tuple)
        single_loss, _ = module.loss(alone, batch([texts[row]], [lengths[row]]))
        single_loss.backward()
        sums += single_loss.item()
        alone_grads.append(steps.grad)
    assert loss.item() == pytest.approx(sums, rel=1e-6)
    for row, grad in enumerate(alone_grads):
        assert grad is not None
        torch.testing.assert_close(together.steps.grad[row, : lengths[row]], grad[0], rtol=1e-5, atol=1e-6)
    assert not together.steps.grad[1, 2:].any()


@pytest.mark.parametrize(
    ("text", "steps", "needed"), [("a b c", 2, 3), ("a a", 2, 3), ("a a b b", 5, 6), ("b b b", 4, 5)]
)
def test_a_text_without_room_is_refused_by_name(text: str, steps: int, needed: int) -> None:
    with pytest.raises(DataError, match=rf"file:2: its text needs {needed} steps, and it has {steps}"):
        head().loss(encoded([5, steps]), batch(["a", text], [5, steps]))


@pytest.mark.parametrize(("text", "steps"), [("a b c", 3), ("a a", 3), ("a b a b", 4)])
def test_a_text_that_just_fits_is_learned(text: str, steps: int) -> None:
    module, code = head(), encoded([steps])
    loss, _ = module.loss(code, batch([text], [steps]))
    assert loss.item() == pytest.approx(-math.log(all_texts(log_probs_of(module, code, 0))[classes_of(text)]), rel=1e-4)


def test_texts_without_room_are_left_out_and_counted_if_asked() -> None:
    module = head(too_long="skip")
    texts, lengths = ["a b", "a b c", "a"], [4, 2, 1]
    code = encoded(lengths)
    loss, count = module.loss(code, batch(texts, lengths))
    loss.backward()
    expected = [-math.log(all_texts(log_probs_of(module, code, row))[classes_of(texts[row])]) for row in (0, 2)]
    assert loss.item() == pytest.approx(sum(expected), rel=1e-5)
    assert int(count) == 3
    assert module.left_out == 1
    assert code.steps.grad is not None
    assert bool(code.steps.grad.isfinite().all())
    assert not code.steps.grad[1].any()


# Prediction


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_confidence_is_the_probability_of_the_text(search: str) -> None:
    module, lengths = head(search=search, beams=2000), [5, 1, 4]
    code = encoded(lengths)
    for row, prediction in enumerate(module.predict(code, batch(["a"] * 3, lengths))):
        expected = all_texts(log_probs_of(module, code, row))
        text = tuple(classes_of(prediction.value)) if prediction.value else ()
        assert prediction.confidence == pytest.approx(expected[text], rel=1e-4)
        if search == "beam":
            assert expected[text] == pytest.approx(max(expected.values()), rel=1e-6)
        else:
            assert text == collapse_reference(tuple(int(c) for c in log_probs_of(module, code, row).argmax(axis=1)))


def test_the_best_texts_come_with_their_probabilities() -> None:
    module = head(search="beam", beams=2000, best=3)
    code = encoded([4])
    prediction = module.predict(code, batch(["a"], [4]))[0]
    expected = sorted(all_texts(log_probs_of(module, code, 0)).values(), reverse=True)
    assert [probability for _, probability in prediction.scores] == pytest.approx(expected[:3], rel=1e-4)
    assert prediction.scores[0] == [prediction.value, prediction.confidence]


def test_as_many_texts_as_asked_for_whatever_the_beam() -> None:
    module = head(search="beam", beams=2, best=4)
    assert len(module.predict(encoded([5]), batch(["a"], [5]))[0].scores) == 4


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_predictions_do_not_depend_on_the_batch(search: str) -> None:
    module, lengths = head(search=search), [7, 3, 5]
    code = encoded(lengths)
    together = module.predict(code, batch(["a"] * 3, lengths))
    for row, length in enumerate(lengths):
        steps = code.steps[row : row + 1, :length]
        alone = module.predict(Encoded(steps, torch.tensor([length]), steps[:, -1], tuple), batch(["a"], [length]))[0]
        assert alone.value == together[row].value
        assert alone.confidence == pytest.approx(together[row].confidence, rel=1e-4)


def test_blanks_alone_are_an_empty_text() -> None:
    module = head()
    with torch.no_grad():
        module.out.bias[0] = 50.0
    predictions = module.predict(encoded([3, 2]), batch(["a", "a"], [3, 2]))
    assert [prediction.value for prediction in predictions] == ["", ""]
    assert predictions[0].confidence == pytest.approx(1.0)


def test_texts_come_back_as_their_field_spells_them() -> None:
    module = head(LETTERS)

    class Fixed(CTC):
        def log_probs(self, encoded: Encoded) -> Tensor:
            path = [*classes_of("a", LETTERS), 0, *classes_of("ab", LETTERS), 1]
            table = torch.full((1, len(path), self.out.out_features), -1e4)
            table[0, torch.arange(len(path)), torch.tensor(path)] = 0.0
            return table

    module.__class__ = Fixed
    assert module.predict(encoded([5]), batch(["a"], [5], LETTERS))[0].value == "aab\ufffd"


def test_it_serves_texts_only() -> None:
    assert ctc.accepts == (Text,)  # type: ignore[attr-defined]
    assert not isinstance(Label(), CTC.accepts)
    assert issubclass(CTC, Head)


def test_it_learns_to_read_a_code() -> None:
    # Each symbol has a step of its own, repeated for one to three steps, with pauses (number 3) in between.
    # Some pauses are empty, so that pauses alone do not separate symbols.
    rng = np.random.default_rng(0)
    patterns = torch.randn(4, H, generator=torch.Generator().manual_seed(1))
    module = head().train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    names = "abc"
    loss = math.inf
    for _ in range(250):
        texts, rows = [], []
        for _ in range(8):
            symbols = rng.permutation(3)
            rows.append(
                [step for s in symbols for step in [s] * int(rng.integers(1, 4)) + [3] * int(rng.integers(0, 3))]
            )
            texts.append(" ".join(names[s] for s in symbols))
        lengths = [len(row) for row in rows]
        steps = torch.zeros(8, max(lengths), H)
        for row, symbols_of_steps in enumerate(rows):
            steps[row, : len(symbols_of_steps)] = patterns[symbols_of_steps]
        code = Encoded(steps, torch.tensor(lengths), steps[:, -1], tuple)
        total, count = module.loss(code, batch(texts, lengths))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        loss = (total / count).item()
    assert loss < 0.05
    assert [prediction.value for prediction in module.eval().predict(code, batch(texts, lengths))] == texts
