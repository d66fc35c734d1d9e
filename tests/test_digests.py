"""Twelve steps of each offline recipe give the recorded weights, random states, metrics and model files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import digests


@pytest.mark.parametrize("recipe", digests.RECIPES)
def test_twelve_steps_end_as_recorded(recipe: str, tmp_path: Path) -> None:
    """Bit for bit on a machine whose digests are recorded, and within a tolerance on every other."""
    result = digests.run(recipe, tmp_path / "run")
    recorded = digests.recorded()
    known = recorded["digests"].get(digests.machine(), {})
    numbers = recorded["numbers"][recipe]
    if recipe in known:
        assert result["sha256"] == known[recipe], "see tests/digests/__init__.py"
    assert result["numbers"].keys() == numbers.keys()
    losses = {name: value for name, value in numbers.items() if "/train/" in name}
    assert losses
    for name, value in losses.items():
        assert result["numbers"][name] == pytest.approx(value, rel=digests.TOLERANCE, abs=digests.TOLERANCE), name
