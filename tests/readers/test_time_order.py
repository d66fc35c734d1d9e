"""Times in tables: that they rise, where some are missing, and which come next."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from seqkit.errors import DataError
from seqkit.forecasts import next_times, parse_time
from seqkit.readers import TimeOrder
from seqkit.reading import collect_reports
from seqkit.times import spacing_of


def order_of(times: list[str], *, sequence: str = "") -> TimeOrder:
    order = TimeOrder(Path("data/a.csv"), "when")
    for line, time in enumerate(times, start=2):
        order.add(line, time, sequence)
    return order


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2024-01-02", "2024-01-01"], "a.csv:3: time '2024-01-01' is not after '2024-01-02'; sort the rows by time"),
        (["2024-01-02", "2024-01-02"], "is not after '2024-01-02'; sort the rows by time; each time comes once"),
        (["9", "10", "2"], "a.csv:4: time '2' is not after '10'"),
        (["2024Q1", "2024Q3", "2024Q2"], "time '2024Q2' is not after '2024Q3'"),
        (["2024-01-01", "02/01/2024"], "time '02/01/2024' is not written as '2024-01-01' is in line 2; write all"),
        (["2024-01-01", "7"], "time '7' is not written as '2024-01-01' is"),
        (["2024-01-01 00:00", "2024-01-01T01:00Z"], "is not written as '2024-01-01 00:00' is in line 2"),
        (["2024-01-01", ""], "column 'when' is empty; each row needs its time"),
        (["31/01/2024", "31/01/2024"], "is not after '31/01/2024'"),
        (["999", "1000", "2024-01-01"], "is not written as '999' is"),
    ],
)
def test_times_that_do_not_rise_or_are_written_otherwise_are_refused(times: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        order_of(times)
    assert str(caught.value).startswith("data/a.csv:")
    assert message in str(caught.value)


def test_each_sequence_has_times_of_its_own() -> None:
    order = order_of(["2024-01-02", "2024-01-03"], sequence="a")
    order.add(4, "2024-01-01", "b")
    with pytest.raises(DataError, match=r"a\.csv:5: time '2024-01-02' is not after '2024-01-03'"):
        order.add(5, "2024-01-02", "a")


@pytest.mark.parametrize(
    ("times", "coming"),
    [
        (["2024-02-27", "2024-02-28", "2024-02-29"], ["2024-03-01", "2024-03-02"]),
        (["2000-01", "2000-02", "2000-03"], ["2000-04", "2000-05"]),
        (["2023-11-30", "2023-12-31", "2024-01-31"], ["2024-02-29", "2024-03-31"]),
        (["2023-06-01", "2023-09-01", "2023-12-01"], ["2024-03-01", "2024-06-01"]),
        (["2021", "2022", "2023"], ["2024", "2025"]),
        (["2024-01-01 22:00:00", "2024-01-01 23:00:00", "2024-01-02 00:00:00"],
            ["2024-01-02 01:00:00", "2024-01-02 02:00:00"]),
        (["2024-01-01T22:00Z", "2024-01-01T23:00Z", "2024-01-02T00:00Z"], ["2024-01-02T01:00Z", "2024-01-02T02:00Z"]),
        (["20240130", "20240131", "20240201"], ["20240202", "20240203"]),
        (["8", "9", "10"], ["11", "12"]),
        (["0.1", "0.2", "0.3"], ["0.4", "0.5"]),
        (["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-12"], ["2024-01-15", "2024-01-16"]),
        (["2024-01-08", "2024-01-09", "2024-01-10", "2024-01-12"], ["2024-01-13", "2024-01-14"]),
        (["2024-01-31 01:00", "2024-01-31 02:00", "2024-01-31 03:00"], ["2024-01-31 04:00", "2024-01-31 05:00"]),
        (["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-08"], ["2024-01-09", "2024-01-10"]),
    ],
)  # fmt: skip
def test_the_times_that_follow_are_written_as_the_others(times: list[str], coming: list[str]) -> None:
    assert order_of(times).times_after("", 2) == coming


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-01", "2024-01-02"],
        ["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-10"],
        ["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:00", "2024-01-01 03:30"],
        ["31/01/2024", "01/02/2024", "02/02/2024"],
        ["2024Q1", "2024Q2", "2024Q3"],
    ],
)
def test_times_without_a_regular_step_are_not_continued(times: list[str]) -> None:
    assert order_of(times).times_after("", 2) is None


def test_gaps_are_told_in_one_sentence() -> None:
    days = [f"2024-01-{day:02}" for day in range(1, 21)]
    assert remarks(days) == []
    assert remarks(days[:5] + days[8:]) == [
        "a.csv:7: 3 times are missing between '2024-01-05' and '2024-01-09', where a step is 1 day; they are read as "
        "if none was missing"
    ]
    (remark,) = remarks(days[:5] + days[6:10] + days[12:])
    assert remark.startswith("a.csv:7: 1 time is missing between '2024-01-05' and '2024-01-07'")
    assert "in all 3 times are missing at 2 places" in remark
    (remark,) = remarks(["2000-01", "2000-02", "2000-03", "2000-05", "2000-06"])
    assert "1 time is missing between '2000-03' and '2000-05', where a step is 1 month" in remark


def test_text_whose_order_is_not_known_is_told() -> None:
    (remark,) = remarks(["31/01/2024", "01/02/2024"])
    assert "such as '31/01/2024', are neither dates" in remark
    assert remarks(["2024Q1", "2024Q2"]) == []


def remarks(times: list[str]) -> list[str]:
    with collect_reports() as reading:
        order_of(times).report()
    return reading.remarks


def test_steps_without_gaps_go_on_as_next_times_has_them() -> None:
    """The slow twin: the step of the last two times, counted on by hand."""
    draw = random.Random(3)
    for _ in range(50):
        start = datetime(2000, 1, 1) + timedelta(hours=draw.randrange(200_000))
        step = timedelta(minutes=draw.choice([1, 15, 60, 180, 1440, 10080]))
        times = [start + step * number for number in range(draw.randrange(3, 9))]
        spacing = spacing_of(times)
        assert spacing is not None
        assert spacing.after(times[-1], 5) == [times[-1] + step * number for number in range(1, 6)]
        assert spacing.after(times[-1], 5) == next_times(times, 5)


def test_steps_are_named() -> None:
    named = {
        ("2024-01-01", "2024-01-02", "2024-01-03"): "1 day",
        ("2024-01-01 00:00", "2024-01-01 00:15", "2024-01-01 00:30"): "15 minutes",
        ("2020-01", "2020-04", "2020-07"): "3 months",
        ("2020", "2021", "2022"): "1 year",
    }
    for times, name in named.items():
        assert str(spacing_of([parse_time(time) for time in times])) == name
