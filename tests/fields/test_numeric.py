"""Numbers are standardised by the training data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit.fields import Values, Vectors


def test_values_are_standardised_by_the_training_data() -> None:
    numbers = np.random.default_rng(0).normal(1e6, 5, 1000)
    field = Values().fit(numbers.tolist())
    encoded = np.array([field.encode(value)[0] for value in numbers])
    assert abs(encoded.mean()) < 1e-5
    assert abs(encoded.std() - 1) < 1e-5
    assert field.encode(1e6).dtype == np.float32
    assert field.encode(1e6).shape == (1,)
    decoded = field.decode(field.encode(1_000_003.25))
    assert isinstance(decoded, float)
    assert decoded == pytest.approx(1_000_003.25, abs=1e-5)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    for constant in (0.0, 0.1, 7.3, -1e9):
        field = Values().fit([constant] * 1000)
        assert field.encode(constant).tolist() == pytest.approx([0.0], abs=1e-6)
        assert field.decode(np.array([0.0])) == pytest.approx(constant)
    channels = Vectors(2, standardise=True).fit([[[1.0, 3.0], [2.0, 3.0]]])
    assert channels.encode([[1.5, 4.0]]).tolist() == [[0.0, 1.0]]


def test_nothing_to_standardise_by() -> None:
    with pytest.raises(ValueError, match="no value"):
        Values().fit([])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=50), st.integers(1, 40))
def test_the_running_mean_is_the_mean(rows: list[list[float]], block: int) -> None:
    from seqkit.fields import numeric

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numeric, "_BLOCK", block)
        scale = numeric.Scale.fit((np.array([row]) for row in rows), 3)
    array = np.array(rows)
    assert np.allclose(scale.mean, array.mean(axis=0), atol=1e-6)
    spread = array.std(axis=0)
    assert np.allclose(np.where(spread < 1e-6, 1.0, scale.deviation), np.where(spread < 1e-6, 1.0, spread), rtol=1e-4)


def test_numbers_as_whole_numbers_or_arrays_are_numbers() -> None:
    assert Values(standardise=False).encode(3).tolist() == [3.0]
    assert Values(standardise=False).encode(np.float64(3.5)).tolist() == [3.5]
    assert Vectors(1).encode(np.array([[1], [2]], dtype=np.int16)).tolist() == [[1.0], [2.0]]
