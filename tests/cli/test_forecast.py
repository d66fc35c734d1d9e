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


WIDE = "month,north,south\n" + "".join(
    f"{2000 + step // 12}-{step % 12 + 1:02},{50 + 10 * math.sin(step / 2)},{step / 3 + 2}\n" for step in range(60)
)


def write_series(folder: Path, options: str) -> Path:
    (folder / "mine.csv").write_text(WIDE)
    text = (
        f"tasks: {{series: {{file: {folder}/mine.csv, time: month, horizon: 3, history: 12, {options}}}}}\n"
        "encoder: {use: gru, dim: 4, hidden: 4}\n"
    )
    write_model(folder / "model", recipes.parse(text.encode(), "r.yaml"))
    return folder


def run_predict(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["predict", str(folder / "model"), str(folder / "mine.csv"), *words])


def test_a_forecast_tells_its_times_in_the_digits_that_it_has(tmp_path: Path) -> None:
    folder = write_series(tmp_path, "channels: together")
    result = run_predict(folder)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["id"], record["times"]) == ("north,south", ["2005-01", "2005-02", "2005-03"])
    for number in (number for step in record["prediction"] for number in step):
        assert len(repr(number).replace(".", "").strip("-0")) <= 9, number
    assert json.loads(run_predict(folder, "--horizon", "1").stdout)["times"] == ["2005-01"]


def test_columns_that_are_apart_have_a_record_each(tmp_path: Path) -> None:
    folder = write_series(tmp_path, "channels: apart, head: {use: regress, loss: quantiles}")
    records = [json.loads(line) for line in run_predict(folder).stdout.splitlines()]
    assert [record["id"] for record in records] == ["north", "south"]
    (folder / "mine.csv").write_text(WIDE.replace("2001-01,", "2001-01,x"))
    first, second = (json.loads(line) for line in run_predict(folder).stdout.splitlines())
    assert first["id"] == "north"
    assert first["error"].startswith("mine.csv:14: column 'north' has 'x")
    assert second == records[1]


def test_a_table_of_forecasts_has_a_row_for_each_step(tmp_path: Path) -> None:
    folder = write_series(tmp_path, "channels: apart, head: {use: regress, loss: quantiles}")
    record = json.loads(run_predict(folder, "--interval", "0.5").stdout.splitlines()[1])
    lines = run_predict(folder, "--interval", "0.5", "--csv").stdout.splitlines()
    assert lines[0] == "id,step,time,prediction,lower,upper,error"
    assert len(lines) == 1 + 2 * 3
    quantiles = record["scores"]["quantiles"]
    cells = [record["prediction"][2], quantiles["0.25"][2], quantiles["0.75"][2]]
    assert lines[6] == f"south,3,2005-03,{','.join(map(str, cells))},"
    head = run_predict(folder, "--csv").stdout.splitlines()[0]
    assert "quantile 0.05" in head
    (folder / "mine.csv").write_text(WIDE.replace("2001-01,", "2001-01,x"))
    lines = run_predict(folder, "--csv", "--no-scores").stdout.splitlines()
    assert lines[0] == "id,step,time,prediction,error"
    assert lines[1].startswith('north,,,,"mine.csv:14: column')
    assert len(lines) == 1 + 1 + 3


def test_a_table_of_several_channels_has_a_row_for_each(tmp_path: Path) -> None:
    folder = write_series(tmp_path, "channels: together")
    record = json.loads(run_predict(folder).stdout)
    lines = run_predict(folder, "--csv").stdout.splitlines()
    assert lines[0] == "id,step,time,channel,prediction,error"
    assert lines[2] == f'"north,south",1,2005-01,2,{record["prediction"][0][1]},'
    assert len(lines) == 1 + 3 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("2001-02", "2001-04"), "mine.csv:16: time '2001-03' is not after '2001-04'; sort the rows by time"),
        (("2001-02", "02/2001"), "mine.csv:15: time '02/2001' is not written as '2000-01' is in line 2"),
    ],
)
def test_times_that_do_not_rise_are_refused_in_prediction_too(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    folder = write_series(tmp_path, "channels: together")
    (folder / "mine.csv").write_text(WIDE.replace(*change))
    result = run_predict(folder)
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert f"{record['id']}: {record['error']}".startswith(f"{folder}/{message}")
    (folder / "mine.csv").write_text("".join(line for line in WIDE.splitlines(True) if "2001-02" not in line))
    result = run_predict(folder)
    assert result.exit_code == 0
    assert "mine.csv:15: 1 time is missing between '2001-01' and '2001-03', where a step is 1 month" in result.stderr
