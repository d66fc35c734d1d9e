"""Files of series: three layouts of tables and .tsf, and what is wrong with them."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqkit_series import series
from seqkit_series.files import read_flawed, read_series
from seqkit_series.form import Form
from seqkit_series.sources import of_file

from seqkit.errors import DataError
from seqkit.readers import TableFormat
from seqkit.reading import collect_reports


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def rows_by_id(path: Path, form: Form) -> dict[str, np.ndarray]:
    return {one.id: one.rows for one in read_series(path, form)}


def test_columns_are_channels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "date,x,y\n2020-01-01,1,2\n2020-01-02,3,\n")
    (one,) = read_series(path, Form(time="date", missing=True))
    assert (one.id, one.channels) == ("x,y", ("x", "y"))
    assert one.rows[0].tolist() == [1.0, 2.0]
    assert math.isnan(one.rows[1, 1])
    (one,) = read_series(write(tmp_path, "b.txt.gz", "1,2\r\n3,4\r\n"), Form(header=False))
    assert one.id == "1,2"
    assert one.rows.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_rows_are_series_and_may_be_of_different_lengths(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", '"V1","V2","V3"\n"H1","1","2"\n"H2","3",""\n')
    series = rows_by_id(path, Form("rows"))
    assert {id: values[:, 0].tolist() for id, values in series.items()} == {"H1": [1.0, 2.0], "H2": [3.0]}


def test_long_tables_are_put_together_by_id(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "shop\tday\tsales\nA\t1\t5\nB\t1\t7\nA\t2\t6\n")
    series = rows_by_id(path, Form("long", time="day", id="shop", value="sales"))
    assert {id: values[:, 0].tolist() for id, values in series.items()} == {"A": [5.0, 6.0], "B": [7.0]}


def test_tsf_is_read_with_its_attributes(tmp_path: Path) -> None:
    text = "# about\n@relation x\n@attribute name string\n@attribute start date\n@data\nT1:2000-01-01 00-00-00:1,?,3\n"
    (one,) = read_series(write(tmp_path, "a.tsf.gz", text), Form(missing=True))
    assert one.id == "T1"
    assert np.isnan(one.rows[:, 0]).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("name", "text", "form", "message"),
    [
        ("a.csv", "x,y\n1,2\n3\n", Form(), r"a\.csv:3: has 1 columns"),
        ("a.csv", "date,x\nMonday,2\n", Form(), r"a\.csv:2: column 'date' has 'Monday', which is not a number.*time"),
        ("a.csv", "x,y\n1,2\n", Form(time="date"), r"a\.csv:1: no column 'date'.*x, y"),
        ("a.csv", "x\n", Form(), "a header and nothing else"),
        ("a.csv", "id,t,value\nA,2,1\nA,1,1\n", Form("long", time="t"), r"a\.csv:3: time '1' is not after '2'"),
        ("a.csv", "id,v\nA,\n", Form("rows"), r"a\.csv:2: has an id, and no value"),
        (
            "a.csv",
            "date,x,promo\n2024-01-01,1,0\n2024-01-02,2,\n",
            Form(time="date", known=("promo",)),
            r"a\.csv:3: promo is missing.*known at each step",
        ),
        (
            "a.csv",
            "id,value,size\nA,1,7\nB,1,5\nA,2,8\n",
            Form("long", static=("size",)),
            r"a\.csv:4: size is 8, but it is a property of the series.*line 2 has 7",
        ),
        (
            "a.csv",
            "date,x\nMonday,1\n",
            Form(time="date", calendar=("hour",)),
            r"a\.csv:2: 'Monday' is no date such as 2024-03-31.*calendar needs dates",
        ),
        ("a.csv", "t,x\n1,1\n3,2\n2,3\n", Form(time="t"), r"a\.csv:4: time '2' is not after '3'; sort the rows"),
        ("a.csv", "t,x\n2024-01-01,1\n2024-01-01,2\n", Form(time="t"), r"a\.csv:3: .*each time comes once"),
        ("a.csv", "t,x\n2024-01-01,1\n02/01/2024,2\n", Form(time="t"), r"a\.csv:3: time '02/01/2024' is not written"),
        ("a.csv", "x,y\n1,2\n3,\n", Form(), r"a\.csv:3: column 'y' is empty; set `missing: true`"),
        ("a.csv", "x,y\n1,2\nnan,3\n", Form(), r"a\.csv:3: column 'x' has 'nan', so a number is missing; set"),
        ("a.csv", "x,y\n1,2\ninf,3\n", Form(missing=True), r"a\.csv:3: column 'x' has 'inf', which is not a finite"),
        (
            "a.csv",
            "x;y\n1,5;2\n",
            Form(table=TableFormat(separator=";")),
            r":2: column 'x' .*written with a point",
        ),
        ("a.csv", "id,value\nA,1\nA,\n", Form("long"), r"a\.csv:3: column 'value' is empty; set `missing: true`"),
        ("a.csv", "id;value\nA;1\n", Form("long"), r"a\.csv:1: no column 'id'; a semicolon seems to separate"),
        ("a.csv", "id,value\n", Form("long"), r"a\.csv: has a header and nothing else"),
        ("a.csv", "id,v,w,x\nA,1,,3\n", Form("rows"), r"a\.csv:2: column 3 is empty; set `missing: true`"),
        ("a.csv", "id;v\nA;1\n", Form("rows"), r"a\.csv:2: has an id, and no value; a semicolon seems"),
        (
            "a.tsf",
            "@attribute n string\n@data\nT1:1,?\n",
            Form(),
            r":3: value 2 has '\?', so a number is missing",
        ),
        ("a.tsf", "@data\n", Form(known=("promo",)), r"a\.tsf: is a \.tsf, of which no covariates"),
        ("a.csv", "x\n1\n", Form(known=("promo",)), r"a\.csv:1: no column 'promo'"),
        ("a.tsf", "T1:1,2\n", Form(), r"a\.tsf:1: comes before @data"),
        ("a.tsf", "@attribute n string\n@data\nT1:x:1,2\n", Form(), r"a\.tsf:3: has 3 parts"),
        ("a.tsf", "@attribute n string\n@data\nT1:1,b\n", Form(), r"a\.tsf:3: value 2 has 'b', which is not a number"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, name: str, text: str, form: Form, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_series(write(tmp_path, name, text), form)


def test_a_file_is_split_by_horizons_or_by_shares(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "x\n" + "\n".join(map(str, range(20))) + "\n")
    (one,) = of_file(path, Form(), 3, None)
    assert (one.dev, one.test, one.end) == (14, 17, 20)
    (one,) = of_file(path, Form(), 3, (0.2, 0.25))
    assert (one.dev, one.test, one.end) == (11, 15, 20)
    with pytest.raises(DataError, match="has 20 steps; it needs 31"):
        of_file(path, Form(), 10, None)


PROMOTIONS = (
    "date,shop,sales,size,promo\n"
    "2024-01-30,A,1,7,0\n2024-01-30,B,4,3,0\n2024-01-31,A,2,7,1\n2024-01-31,B,5,3,0\n2024-02-01,A,,7,1\n"
)
SALES = Form("long", time="date", id="shop", value="sales", known=("promo",), static=("size",), calendar=("day",))


def test_covariates_come_after_the_values(tmp_path: Path) -> None:
    series = rows_by_id(write(tmp_path, "a.csv", PROMOTIONS), SALES)
    assert {name: rows.shape for name, rows in series.items()} == {"A": (2, 5), "B": (2, 5)}
    assert series["A"][:, :3].tolist() == [[1.0, 0.0, 7.0], [2.0, 1.0, 7.0]]
    assert series["B"][:, 2].tolist() == [3.0, 3.0]
    angle = 2 * np.pi * np.array([29, 30]) / 31
    assert np.allclose(series["A"][:, 3:], np.stack([np.sin(angle), np.cos(angle)], axis=1))


def test_a_file_to_predict_from_goes_on_without_values(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", PROMOTIONS)
    series = rows_by_id(path, replace(SALES, reach=1))
    assert series["A"].shape == (3, 5)
    assert np.isnan(series["A"][2, 0])
    assert series["A"][2, 1:3].tolist() == [1.0, 7.0]
    assert series["B"].shape == (2, 5)  # it says nothing of what is predicted, which the core refuses


def test_what_follows_from_the_dates_need_not_be_given(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", PROMOTIONS.replace("2024-02-01,A,,7,1\n", ""))
    form = replace(SALES, known=(), static=("size",), reach=2)
    series = rows_by_id(path, replace(form, value="sales"))
    assert series["A"].shape == (4, 4)
    assert np.isnan(series["A"][:, 0]).tolist() == [False, False, True, True]
    assert series["A"][:, 1].tolist() == [7.0] * 4
    assert series["A"][2:, 2:].tolist() == [
        [0.0, 1.0],
        [pytest.approx(np.sin(2 * np.pi / 31)), pytest.approx(np.cos(2 * np.pi / 31))],
    ]


def test_covariates_need_no_calendar(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", PROMOTIONS)
    series = rows_by_id(path, replace(SALES, calendar=()))
    assert series["A"].tolist() == [[1.0, 0.0, 7.0], [2.0, 1.0, 7.0]]


def test_separators_and_encodings_are_those_of_all_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("größe;x\n1;2\n".encode("latin-1"))
    (one,) = read_series(path, Form(table=TableFormat(separator="semicolon", encoding="latin-1")))
    assert (one.channels, one.rows.tolist()) == (("größe", "x"), [[1.0, 2.0]])
    with pytest.raises(DataError, match=r"a\.csv:1:3: byte 0xf6 is not UTF-8"):
        read_series(path, Form())


@pytest.mark.parametrize("layout", ["columns", "long"])
def test_gaps_in_the_times_are_told_with_the_first_place(tmp_path: Path, layout: str) -> None:
    days = [day for day in range(1, 20) if day not in (6, 7, 8, 15)]
    head = "day,value\n" if layout == "columns" else "day,id,value\n"
    rows = (f"2024-01-{day:02},{'1' if layout == 'columns' else 'A,1'}\n" for day in days)
    path = write(tmp_path, "a.csv", head + "".join(rows))
    with collect_reports() as reading:
        read_series(path, Form("columns" if layout == "columns" else "long", time="day"))
    (remark,) = reading.remarks
    assert remark.startswith(
        "a.csv:7: 3 times are missing between '2024-01-05' and '2024-01-09', where a step is 1 day"
    )
    assert "in all 4 times are missing at 2 places" in remark


def test_a_short_history_to_predict_from_is_told_once_for_the_file(tmp_path: Path) -> None:
    def remarks(text: str, *, labelled: bool = False, **options: Any) -> list[str]:
        task = series(file=path, history=3, horizon=1, **options)
        assert task.read_file is not None
        with collect_reports() as reading:
            list(task.read_file(write(tmp_path, "new.csv", text), None, labelled))
        return reading.remarks

    path = write(tmp_path, "a.csv", "x\n" + "1\n" * 9)
    rest = "; forecasts from so few may be worse"
    assert remarks("x\n1\n2\n") == [f"new.csv: has 2 steps, and the model has learned from 3 or more{rest}"]
    assert remarks("x\n1\n2\n", lags=[2]) == [f"new.csv: has 2 steps, and the model has learned from 5 or more{rest}"]
    assert remarks("x\n1\n2\n3\n") == remarks("x\n1\n2\n", shortest=2) == remarks("x\n1\n2\n", labelled=True) == []
    long = {"layout": "long", "known": ["k"]}
    (remark,) = remarks("id,value,k\nA,1,1\nA,2,1\nA,3,1\nA,,1\nB,1,1\nB,2,1\nB,,1\nC,1,1\nC,,1\n", **long)
    whose = "new.csv: the series 'B' has 2 steps, and the model has learned from 3 or more; in all 2 series have fewer"
    assert remark == whose + rest


def test_a_series_with_a_problem_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    form = Form("long", time="t")
    good, late, empty = read_flawed(write(tmp_path, "a.csv", "id,t,value\nA,1,1\nB,2,2\nB,1,3\nC,1,\nA,2,5\n"), form)
    assert (good.id, good.rows[:, 0].tolist(), good.problems) == ("A", [1.0, 5.0], {})
    assert str(late.problems[0]).endswith("a.csv:4: time '1' is not after '2'; sort the rows by time")
    assert "a.csv:5: column 'value' is empty" in str(empty.problems[0])
    (wide,) = read_flawed(write(tmp_path, "b.csv", "x,y,z\n1,2,3\n1,,many\n"), Form())
    assert {channel: problem.what for channel, problem in wide.problems.items()} == {
        1: "column 'y' is empty",
        2: "column 'z' has 'many', which is not a number",
    }


def test_the_times_of_a_forecast_follow_or_are_in_the_file(tmp_path: Path) -> None:
    def times(text: str, form: Form) -> list[tuple[str, ...] | None]:
        return [one.times for one in read_flawed(write(tmp_path, "a.csv", text), replace(form, reach=2))]

    wide = "day,x\n2024-02-26,1\n2024-02-27,1\n2024-02-28,1\n"
    assert times(wide, Form(time="day")) == [("2024-02-29", "2024-03-01")]
    assert times(wide, Form(time="day", calendar=("weekday",))) == [("2024-02-29", "2024-03-01")]
    assert times(wide.replace("28", "29"), Form(time="day")) == [("2024-03-01", "2024-03-02")]
    assert times("day,x\n2024-02-01,1\n2024-02-09,1\n2024-02-10,1\n2024-02-14,1\n", Form(time="day")) == [None]
    assert times("x\n1\n2\n3\n", Form()) == [None]
    known = "day,x,promo\n2024-02-26,1,0\n2024-02-27,1,0\n2024-03-09,,1\n2024-03-19,,1\n"
    assert times(known, Form(time="day", known=("promo",))) == [("2024-03-09", "2024-03-19")]
