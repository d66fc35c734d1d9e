"""The probabilities are McCullagh's, the order is that of the option, and the head keeps seqkit's contracts."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
import torch
from seqkit import Batch, Encoded, Label, Prediction, UsageError
from seqkit.testing import HeadConformance

from ordered_labels import Ordinal

RATINGS = Path(__file__).parent.parent / "ratings"
ORDER = ("terrible", "poor", "fair", "good", "excellent")
TARGET = Label().fit(ORDER)


class TestOrdinal(HeadConformance):
    task = "sentiment"
    options = {"folder": str(RATINGS)}
    head = {"use": "ordinal", "order": list(ORDER)}


class TestOrdinalOverAllSteps(HeadConformance):
    task = "sentiment"
    options = {"folder": str(RATINGS)}
    head = {"use": "ordinal", "pool": "attention", "say": "median", "dropout": 0.2}
    encoders = ({"use": "gru", "hidden": 8, "bidirectional": True},)


def encoded(last: torch.Tensor) -> Encoded:
    return Encoded(last[:, None], torch.ones(len(last), dtype=torch.int64), last, tuple)


def test_probabilities_are_differences_of_cumulative_ones() -> None:
    torch.manual_seed(0)
    head = Ordinal(6, TARGET, order=ORDER).double()
    torch.nn.init.normal_(head.gaps)
    batch = encoded(torch.randn(4, 6, dtype=torch.float64))
    thresholds = head.thresholds()
    assert bool((thresholds.diff() > 0).all())
    below = torch.sigmoid(thresholds - head.score(batch.last))
    edges = torch.cat([torch.zeros(4, 1), below, torch.ones(4, 1)], dim=1)
    shares = head.log_shares(batch).exp()
    assert torch.allclose(shares.double(), edges.diff(dim=1), atol=1e-6)
    assert torch.allclose(shares.sum(dim=1), torch.ones(4), atol=1e-6)


def test_the_loss_is_the_likelihood_of_the_true_label_in_the_given_order() -> None:
    torch.manual_seed(0)
    head = Ordinal(6, TARGET, order=ORDER)
    batch = encoded(torch.randn(5, 6))
    y = torch.arange(5)  # the field's own numbers are alphabetical
    loss, count = head.loss(batch, Batch(batch.steps, batch.lengths, y))
    predictions = head.predict(batch, Batch(batch.steps, batch.lengths))
    shares = [prediction.scores for prediction in predictions]
    expected = -sum(math.log(row[label]) for row, label in zip(shares, TARGET.labels, strict=True))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert int(count) == 5
    assert [list(row) for row in shares] == [list(ORDER)] * 5


def test_a_far_score_has_a_finite_loss_and_gradient() -> None:
    head = Ordinal(1, TARGET, order=ORDER)
    torch.nn.init.ones_(head.score.weight)
    far = torch.tensor([[1e4], [-1e4], [80.0], [0.0]], requires_grad=True)
    for label in ORDER:
        y = torch.full((4,), TARGET.labels.index(label))
        loss, _ = head.loss(encoded(far), Batch(far[:, None], torch.ones(4, dtype=torch.int64), y))
        (gradient,) = torch.autograd.grad(loss, far)
        assert bool(loss.isfinite())
        assert bool(gradient.isfinite().all())


def test_the_median_is_where_half_is_reached() -> None:
    head = Ordinal(1, TARGET, order=ORDER, say="median")
    shares = [0.4, 0.05, 0.2, 0.25, 0.1]
    assert head._prediction(shares) == Prediction("fair", 0.2, dict(zip(ORDER, shares, strict=True)))
    head.say = "likeliest"
    assert head._prediction(shares).value == "terrible"
    first = Prediction("poor", 0.5, dict(zip(ORDER, [0.3, 0.5, 0.2, 0.0, 0.0], strict=True)))
    second = Prediction("good", 0.9, dict(zip(ORDER, [0.0, 0.0, 0.1, 0.9, 0.0], strict=True)))
    assert head.stitch([first, second]).value == "good"
    assert head.average([first, second]).confidence == pytest.approx(0.45)


def test_an_order_of_other_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="order has poor, best, but the labels are: excellent, fair"):
        Ordinal(1, TARGET, order=("poor", "best"))
    with pytest.raises(UsageError, match="needs at least two labels"):
        Ordinal(1, Label().fit(["only"]))
    assert Ordinal(1, Label().fit(["10", "9", "1"])).labels == ["1", "9", "10"]


def test_the_ratings_are_what_the_script_makes() -> None:
    script = runpy.run_path(str(RATINGS / "make.py"))
    for split in ("train", "dev", "test"):
        assert (RATINGS / f"{split}.tsv").read_text() == script["text"](split)
