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


def promotions(steps: int, future: int) -> str:
    """Daily sales that are higher with a promotion; the promotions of what comes next are known."""
    lines = ["day,shop,sales,promo,size"]
    for number in range(steps + future):
        for shop, size in (("a", 1), ("b", 3)):
            promo = number % 5 == 0
            sales = "" if number >= steps else size * (10 + 5 * promo + number % 3)
            lines.append(f"2024-{number // 28 + 1:02}-{number % 28 + 1:02},{shop},{sales},{int(promo)},{size}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def with_promotions(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(promotions(60, 0))
    text = (
        f"tasks: {{series: {{file: {tmp_path}/train.csv, layout: long, time: day, id: shop, value: sales, horizon: 4, "
        "history: 6, known: [promo], static: [size], calendar: [weekday], lags: [5, 7], log: log, "
        "head: {use: regress, loss: quantiles}}}\nencoder: {use: gru, dim: 4, hidden: 4}\n"
    )
    write_model(tmp_path / "model", recipes.parse(text.encode(), "r.yaml"))
    return tmp_path


def test_covariates_of_what_is_predicted_come_with_the_file(with_promotions: Path) -> None:
    file = with_promotions / "new.csv"
    words = ["predict", str(with_promotions / "model"), str(file)]
    forecasts = []
    for known in (0, 1):
        table = promotions(40, 4)
        file.write_text(table.replace(",,1,", f",,{known},"))
        result = CliRunner().invoke(main, [*words, "--interval", "0.5"])
        assert result.exit_code == 0, result.output
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert [record["id"] for record in records] == ["a", "b"]
        assert all(len(record["prediction"]) == 4 and min(record["prediction"]) > 0 for record in records)
        forecasts.append(records[0]["prediction"])
    assert forecasts[0] != forecasts[1], "what is known of the future has no effect"


@pytest.mark.parametrize("future", [0, 3, 6])
def test_a_file_that_does_not_say_what_is_known_is_refused(with_promotions: Path, future: int) -> None:
    file = with_promotions / "new.csv"
    file.write_text(promotions(40, future))
    result = CliRunner().invoke(main, ["predict", str(with_promotions / "model"), str(file)])
    assert result.exit_code == 1
    assert f"ends with {future} steps that have covariates but no values, and 4 are predicted" in result.output


def test_a_model_with_covariates_says_why_it_is_not_exported_or_streamed(with_promotions: Path) -> None:
    model = str(with_promotions / "model")
    result = CliRunner().invoke(main, ["export", model, "--out", str(with_promotions / "model.onnx")])
    assert result.exit_code == 2
    assert "inputs with covariates or lags depend on a window's place in its series: not exported" in result.output
    result = CliRunner().invoke(main, ["stream", model], input="[[1.0, 0.0, 1.0, 0.0, 1.0]]\n")
    assert result.exit_code == 2
    assert "covariates and lags go on to the end of what is predicted, which needs all of a sequence" in result.output
