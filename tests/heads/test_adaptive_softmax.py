"""The adaptive softmax against the same distribution written out as one matrix over all symbols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqkit import recipe
from seqkit.decoding.sampling import sample
from seqkit.errors import RecipeError, UsageError
from seqkit.experiments import run_recipe
from seqkit.fields import Next
from seqkit.heads import adaptive_softmax, language
from seqkit.heads.adaptive_softmax import AdaptiveSoftmax, default_cutoffs
from seqkit.interfaces import Batch, Encoded
from seqkit.layers.embedding import Embedding
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run

H, V = 12, 50
LENGTHS = torch.tensor([4, 1, 3])


def make_softmax(cutoffs: tuple[int, ...] = (6, 20), size: int = V) -> AdaptiveSoftmax:
    torch.manual_seed(1)
    softmax = AdaptiveSoftmax(H, size, cutoffs)
    with torch.no_grad():
        for parameter in softmax.parameters():
            parameter.add_(torch.randn_like(parameter))
    return softmax


def reference_probabilities(softmax: AdaptiveSoftmax, steps: Tensor) -> Tensor:
    """(N, V) probabilities in double precision: each symbol's own number, one after another."""
    state = {name: tensor.double() for name, tensor in softmax.state_dict().items()}
    steps, first = steps.double(), softmax.cutoffs[0]
    near = (steps @ state["near.weight"].T + state["near.bias"]).exp()
    near = near / near.sum(dim=1, keepdim=True)
    columns = [near[:, symbol] for symbol in range(first)]
    for k, (start, end) in enumerate(zip(softmax.cutoffs, (*softmax.cutoffs[1:], softmax.size), strict=True)):
        weight = state[f"far.{k}.weight"] @ state[f"narrow.{k}.weight"]
        inside = (steps @ weight.T + state[f"far.{k}.bias"]).exp()
        for symbol in range(start, end):
            columns.append(near[:, first + k] * inside[:, symbol - start] / inside.sum(dim=1))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("cutoffs", [(6, 20), (1,), (49,), (2, 3, 4, 40), ()])
def test_it_is_the_distribution_written_out(cutoffs: tuple[int, ...]) -> None:
    softmax, steps = make_softmax(cutoffs), torch.randn(80, H)
    y = torch.arange(80).remainder(V + 1) - 1
    true = reference_probabilities(softmax, steps)
    torch.testing.assert_close(true.sum(dim=1), torch.ones(80, dtype=torch.float64))
    log_probs = softmax.log_probabilities(steps)
    torch.testing.assert_close(log_probs.double(), true.log(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_probs.exp().sum(dim=1), torch.ones(80), rtol=0, atol=1e-5)
    nats = torch.where(y >= 0, -true.log().gather(1, y.clamp(min=0)[:, None])[:, 0], 0.0)
    torch.testing.assert_close(softmax.nats(steps, y).double(), nats, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(softmax.loss(steps, y).double(), nats.sum(), rtol=1e-5, atol=1e-5)
    best_log_probs, best = softmax.best(steps)
    assert best.tolist() == true.argmax(dim=1).tolist()
    assert len(set(best.tolist())) > 1
    torch.testing.assert_close(best_log_probs.double(), true.amax(dim=1).log(), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_distribution_written_out() -> None:
    softmax, steps = make_softmax(), torch.randn(30, H, requires_grad=True)
    y = torch.randint(-1, V, (30,))
    actual = torch.autograd.grad(softmax.loss(steps, y), [steps, *softmax.parameters()])
    log_probs = softmax.log_probabilities(steps)
    nats = torch.where(y >= 0, -log_probs.gather(1, y.clamp(min=0)[:, None])[:, 0], 0.0).sum()
    for gradient, expected in zip(actual, torch.autograd.grad(nats, [steps, *softmax.parameters()]), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_a_cluster_that_a_batch_has_nothing_of_has_a_gradient_of_zero() -> None:
    """Not none: else the optimiser would leave it alone in this step, and in a larger batch it would not."""
    softmax = make_softmax()
    softmax.loss(torch.randn(3, H), torch.tensor([0, -1, 5])).backward()
    for name, parameter in softmax.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()) == name.startswith("near"), name


def test_steps_do_not_touch_each_other() -> None:
    softmax, steps, y = make_softmax(), torch.randn(40, H), torch.randint(-1, V, (40,))
    order = torch.randperm(40)
    torch.testing.assert_close(softmax.nats(steps, y)[order], softmax.nats(steps[order], y[order]), rtol=0, atol=1e-6)
    alone = torch.cat([softmax.nats(steps[n : n + 1], y[n : n + 1]) for n in range(40)])
    torch.testing.assert_close(softmax.nats(steps, y), alone, rtol=0, atol=2e-6)


def test_the_likeliest_symbol_is_found_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    softmax, steps = make_softmax(), torch.randn(80, H)
    best = softmax.best(steps)
    nats = softmax.nats(steps, torch.arange(80).remainder(V))
    monkeypatch.setattr(adaptive_softmax, "MAX_NUMBERS", 60)
    assert torch.equal(softmax.best(steps)[1], best[1])
    torch.testing.assert_close(softmax.nats(steps, torch.arange(80).remainder(V)), nats)


def test_cutoffs_suit_vocabularies_of_all_sizes() -> None:
    for size in (2, 3, 5, 12, 100, 3000, 10_000, 100_000, 1_000_000):
        softmax = default_cutoffs(size)
        assert all(a < b for a, b in zip((0, *softmax), (*softmax, size), strict=True)), size
    assert default_cutoffs(10_000) == (400, 2500)
    assert default_cutoffs(100_000) == (1265, 25000)
    assert make_softmax((), size=2).log_probabilities(torch.randn(1, H)).shape == (1, 2)


@pytest.mark.parametrize("cutoffs", [(0, 5), (5, 5), (9, 5), (50,), (10, 51)])
def test_cutoffs_must_rise_inside_of_the_vocabulary(cutoffs: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="cutoffs"):
        AdaptiveSoftmax(H, V, cutoffs)


# ---- as a head


def encoded(steps: Tensor) -> Encoded:
    return Encoded(steps, LENGTHS, steps[:, -1], tuple)


def test_the_head_by_hand() -> None:
    torch.manual_seed(2)
    head: Any = language(H, Next(), Embedding(V, 5), softmax="adaptive", cutoffs=(6, 20))
    head.adaptive.load_state_dict(make_softmax().state_dict())
    steps = torch.randn(3, 4, H)
    y = torch.tensor([[4, 30, 7, -1], [49, 99, 99, 99], [-1, 4, -1, 99]])
    total, count = head.loss(encoded(steps), Batch(steps, LENGTHS, y))
    predictions, expected = head.predict(encoded(steps), Batch(steps, LENGTHS, y)), 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        true = reference_probabilities(head.adaptive, steps[row, :length])
        nats = [-float(true[t, y[row, t]].log()) for t in range(length) if y[row, t] >= 0]
        expected += sum(nats)
        assert predictions[row].value == true.argmax(dim=1).tolist()
        assert predictions[row].confidence == pytest.approx(true.amax(dim=1).tolist(), rel=1e-4)
        assert predictions[row].scores == {"nats": pytest.approx(sum(nats) / len(nats), rel=1e-5), "symbols": len(nats)}
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(count) == 5
    true = reference_probabilities(head.adaptive, steps[0])
    torch.testing.assert_close(head.logits(steps[0]).softmax(dim=-1).double(), true, rtol=1e-4, atol=1e-6)


def test_symbols_are_drawn_as_often_as_they_are_likely() -> None:
    softmax, step = make_softmax(), torch.randn(1, H)
    with torch.no_grad():
        logits = softmax.log_probabilities(step).expand(20_000, V)
    drawn = sample(logits, temperature=1.0, top_k=None, top_p=None, generator=torch.Generator().manual_seed(1))
    frequencies = torch.bincount(drawn.flatten(), minlength=V) / 20_000
    assert float((frequencies - reference_probabilities(softmax, step)[0]).abs().max()) < 0.015


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"softmax": "adaptive", "tied": True}, "tied: the vectors of an adaptive softmax"),
        ({"softmax": "adaptive", "label_smoothing": 0.1}, "label_smoothing: would need all symbols"),
        ({"softmax": "adaptive", "cutoffs": (9, 5)}, "cutoffs: must rise, got 9, 5"),
        ({"cutoffs": (5, 9)}, "cutoffs: are for softmax: adaptive"),
    ],
)
def test_what_cannot_be_had_together_is_refused_where_it_stands(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        language(H, Next(), Embedding(V, H), **options)
    options_as_yaml = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    lines = "".join(f"      {key}: {str(value).lower()}\n" for key, value in options_as_yaml.items())
    path = tmp_path / "r.yaml"
    path.write_text(f"tasks:\n  lm:\n    use: charlm\n    head:\n      use: language\n{lines}encoder: {{use: gru}}\n")
    with pytest.raises(RecipeError) as caught:
        recipe.load(str(path))
    assert f"r.yaml:5:7: tasks.lm.head.{message}" in str(caught.value)


# ---- in a run

WORDS = "the cat sat on the mat and the dog ran to the old house by the sea while a bird sang in the tall tree . " * 40


def words(tmp_path: Path, *sets: str) -> recipe.Recipe:
    (tmp_path / "text.txt").write_text(WORDS)
    path = tmp_path / "words.yaml"
    path.write_text(
        f"""
seed: 7
tasks:
  lm:
    {{use: charlm, file: {tmp_path}/text.txt, unit: words, window: 8, piece: 200, dev: 0.1, test: 0.1,
     head: {{use: language, softmax: adaptive, cutoffs: [8, 16]}}}}
encoder: {{use: gru, dim: 8, hidden: 16}}
train: {{steps: 80, batch: 4, histograms: false, optimizer: {{use: lazy_adamw, lr: 0.02}}}}
"""
    )
    return recipe.load(str(path), sets)


def test_a_language_model_of_words_learns_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    checked = words(tmp_path)
    run = Run.create("t", text=checked.text, resolved=checked.resolved(), out=tmp_path / "run")
    finished = run_recipe.run_recipe(checked, run, Progress(quiet=True))
    assert finished.scores["lm/test/nats"] < 1.0, "24 words, each as likely: 3.2"
    assert recipe.load(str(tmp_path / "run/resolved.yaml")).tasks["lm"].head.options["cutoffs"] == (8, 16)
