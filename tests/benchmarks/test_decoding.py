"""The group `decoding`: the probability by which the texts of CTC searches are compared."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest

from benchmarks.groups import decoding


def test_a_text_has_the_probability_of_all_its_alignments() -> None:
    classes, steps = 3, 5
    scores = np.random.default_rng(0).normal(size=(steps, classes))
    log_probs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    sums: dict[tuple[int, ...], float] = {}
    for path in product(range(classes), repeat=steps):
        text = tuple(number for number, _ in groupby(path) if number != 0)
        sums[text] = sums.get(text, 0.0) + float(np.exp(log_probs[np.arange(steps), path].sum()))
    assert sum(sums.values()) == pytest.approx(1.0)
    assert {(), (1,), (1, 1), (1, 2, 1), (2, 2, 2)} <= sums.keys()
    for text, probability in sums.items():
        assert decoding.text_log_prob(log_probs, text) == pytest.approx(np.log(probability)), text


def test_sequences_of_a_case_are_the_same_each_time_and_mostly_sure_of_a_class() -> None:
    arrays = decoding._sharp_log_probs(30, 50)
    assert len(arrays) == decoding.CTC_ROWS
    assert np.array_equal(arrays[-1], decoding._sharp_log_probs(30, 50)[-1])
    probabilities = np.exp(np.concatenate(arrays))
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert np.median(probabilities.max(axis=1)) > 0.9


def test_seqkit_searches_all_sequences_of_a_case() -> None:
    prepared = decoding.seqkit("texts", 6, 9)
    assert prepared.outputs is not None
    log_probs = prepared.outputs()["log-probabilities"]
    assert log_probs.shape == (decoding.CTC_ROWS,)
    assert (log_probs < 0).all()
    assert prepared.notes["tokens"] == 9 * decoding.CTC_ROWS
