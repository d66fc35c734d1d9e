"""The group `translation`: the translator by hand computes what ours does."""

from __future__ import annotations

import pytest

from benchmarks import driver
from benchmarks.groups import translation
from tests.helpers.data import needs_data


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("case", translation.TRAINING)
def test_the_translator_by_hand_has_the_losses_and_gradients_of_ours(case: str) -> None:
    ours = translation.seqkit(case, **translation.SMALL)
    other = translation.torch_loop(case, **translation.SMALL)
    assert ours.outputs is not None
    assert other.outputs is not None
    expected, actual = ours.outputs(), other.outputs()
    assert set(expected) == set(actual)
    assert driver.distance(expected, actual) < 1e-5
    other.run()
