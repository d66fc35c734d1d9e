"""`seqkit predict` for series: steps ahead, intervals, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit import recipe as recipes
from seqkit.cli import main
from tests.helpers.models import write_model

SERIES = "value\n" + "".join(f"{50 + 10 * math.sin(step / 2) + step / 10}\n" for step in range(60))


def predict(folder: Path, *words: str) -> Result:
    (folder / "mine.csv").write_text(SERIES)
    return CliRunner().invoke(main, ["predict", str(folder / "model"), str(folder / "mine.csv"), *words])


@pytest.fixture(params=["quantiles", "gaussian", "mse"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    text = (
        f"tasks: {{series: {{history: 24, stride: 40, head: {{use: regress, loss: {request.param}}}}}}}\n"
        "encoder: {use: gru, dim: 4, hidden: 4}\n"
    )
    write_model(tmp_path / "model", recipes.parse(text.encode(), "r.yaml"))
    (tmp_path / "loss").write_text(request.param)
    return tmp_path


def test_a_horizon_is_the_first_steps_of_the_forecast(folder: Path) -> None:
    all_steps, first = (predict(folder, *words) for words in ((), ("--horizon", "3")))
    assert all_steps.exit_code == first.exit_code == 0, all_steps.output
    record, short = json.loads(all_steps.stdout), json.loads(first.stdout)
    assert len(record["prediction"]) == 12
    assert short["prediction"] == record["prediction"][:3]
    for values in short.get("scores", {}).get("quantiles", {}).values():
        assert len(values) == 3
    longer = predict(folder, "--horizon", "13")
    assert longer.exit_code == 2
    assert "horizon: 13" in longer.output


def test_an_interval_is_two_quantiles_around_the_forecast(folder: Path) -> None:
    result = predict(folder, "--interval", "0.5")
    if (folder / "loss").read_text() == "mse":
        assert result.exit_code == 2
        assert "without a distribution" in result.output
        return
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    low, high = (record["scores"]["quantiles"][level] for level in ("0.25", "0.75"))
    assert all(a < value < b for a, value, b in zip(low, record["prediction"], high, strict=True))
    wide = predict(folder, "--interval", "0.95")
    if (folder / "loss").read_text() == "quantiles":
        assert wide.exit_code == 2
        assert "0.05 to 0.95" in wide.output
    else:
        levels = json.loads(wide.stdout)["scores"]["quantiles"]
        assert list(levels) == ["0.025", "0.975"]
        assert levels["0.025"][0] < low[0]
