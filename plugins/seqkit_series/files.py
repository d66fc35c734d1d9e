"""Files of series: tables with a series in each column or row, or in long form, and the .tsf of the Monash archive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, final

import numpy as np

from seqkit import DataError, MissingFile, Problem, readers
from seqkit.readers import Record, TimeOrder, cell_number, column_index
from seqkit.reading import report_columns, report_remark
from seqkit_series.covariates import Step, count_past, rows_of
from seqkit_series.form import Form

SUFFIXES = (".csv", ".tsv", ".txt", ".tsf")
_MOST_PROBLEMS = 10
"""Series whose problems are told together."""
_MISSING_HINT = "set `missing: true`, if values may be missing"


@final
@dataclass(frozen=True)
class TableSeries:
    """A series of a file.

    Attributes:
        id: its name; of a table with a column for each channel, the names of all.
        rows: (T, C + K): values, and covariates if the form has any.
        channels: the names of its C channels, if they have any.
        problems: by number, what is wrong with a channel: the first number that is missing or none.
        times: of a file to predict from, the times of the steps that are predicted, as far as they are known.
    """

    id: str
    rows: np.ndarray
    channels: tuple[str, ...] = ()
    problems: Mapping[int, Problem] = field(default_factory=dict)
    times: tuple[str, ...] | None = None


def read_series(path: Path, form: Form) -> list[TableSeries]:
    """The series of a file; of the layout `columns` they are one, whose channels are the columns.

    Raises:
        DataError: the file is missing, or a line of it cannot be read; of each series, the first such line.
    """
    series = read_flawed(path, form)
    problems = [problem for one in series for problem in one.problems.values()]
    if problems:
        raise DataError(problems[:_MOST_PROBLEMS])
    return series


def read_flawed(path: Path, form: Form) -> list[TableSeries]:
    """The same, of a file some of whose series may have problems.

    Raises:
        DataError: the file is missing or is not laid out as it should be.
    """
    if not path.exists():
        raise MissingFile(path)
    if ".tsf" in path.suffixes[-2:]:
        if form.covariates:
            _fail(path, None, "is a .tsf, of which no covariates are read", "write it as a table, layout: long")
        return list(_tsf(path, form))
    rows = list(readers.records(path, layout=form.table_of(path)))
    if len(rows) == (form.header or form.layout == "long"):
        _fail(path, None, "has a header and nothing else")
    readers_of = {"columns": _columns, "rows": _rows, "long": _long}
    return readers_of[form.layout](path, rows, form)


def report_short(path: Path, series: Sequence[TableSeries], form: Form, fewest: int) -> None:
    """Tell which of the series to predict from have fewer steps than forecasts are learned from."""
    readable = [one for one in series if not one.problems]
    lengths = [(one.id, count_past(one.rows[:, : one.rows.shape[1] - form.covariates])) for one in readable]
    short = [(id, steps) for id, steps in lengths if steps < fewest]
    if short:
        id, steps = short[0]
        whose = f"the series {id!r} has" if len(series) > 1 else "has"
        rest = f"; in all {len(short):,} series have fewer" if len(short) > 1 else ""
        shortest = f"{path.name}: {whose} {steps:,} steps, and the model has learned from {fewest:,} or more{rest}"
        report_remark(f"{shortest}; forecasts from so few may be worse")


def _columns(path: Path, rows: Sequence[Record], form: Form) -> list[TableSeries]:
    first = rows[0]
    names = first.fields if form.header else [str(number) for number in range(1, len(first.fields) + 1)]
    time = None if form.time is None else column_index(path, first.number, names, form.time)
    covariates = [column_index(path, first.number, names, name) for name in (*form.known, *form.static)]
    kept = [number for number in range(len(names)) if number != time and number not in covariates]
    order = None if form.time is None else TimeOrder(path, form.time)
    hint = "name the column of times with `time`, if it is one" if time is None else ""
    steps, problems = [], dict[int, Problem]()
    for row in _checked(path, rows[1:] if form.header else rows, len(names)):
        if order is not None and time is not None:
            order.add(row.number, row.fields[time])
        values = [_value(path, row, names, place, channel, problems, hint) for channel, place in enumerate(kept)]
        steps.append(_step(path, row, names, values, kept, covariates, time))
    if order is not None:
        order.report()
    channels = tuple(names[place] for place in kept)
    table, times = rows_of(path, steps, form), _times_ahead(order, "", steps, form)
    problems |= _missing_values(path, steps, channels, form, problems)
    return [TableSeries(",".join(channels), table, channels, problems, times)]


def _rows(path: Path, rows: Sequence[Record], form: Form) -> list[TableSeries]:
    series = []
    for row in rows[1:] if form.header else rows:
        cells = list(row.fields[1:])
        while cells and not cells[-1].strip():  # rows of a table are as long as the longest of them
            cells.pop()
        if not cells:
            _fail(path, row.number, "has an id, and no value", readers.separator_hint(row.fields))
        series.append(_numbers(path, row.number, row.fields[0], cells, form, "column", 2))
    return series


def _long(path: Path, rows: Sequence[Record], form: Form) -> list[TableSeries]:
    names = rows[0].fields
    id, value = (column_index(path, rows[0].number, names, name) for name in (form.id, form.value))
    time = None if form.time is None else column_index(path, rows[0].number, names, form.time)
    covariates = [column_index(path, rows[0].number, names, name) for name in (*form.known, *form.static)]
    order = None if form.time is None else TimeOrder(path, form.time)
    by_id: dict[str, list[Step]] = {}
    problems: dict[str, dict[int, Problem]] = {}
    for row in _checked(path, rows[1:], len(names)):
        name = row.fields[id]
        flaws = problems.setdefault(name, {})
        try:
            if order is not None and time is not None:
                order.add(row.number, row.fields[time], name)
            values = [_value(path, row, names, value, 0, flaws)]
            step = _step(path, row, names, values, [value], covariates, time)
        except DataError as error:
            flaws.setdefault(0, error.problems[0])
            continue
        by_id.setdefault(name, []).append(step)
    _report_columns(path, names, form)
    if order is not None:
        order.report()
    return [_long_series(path, name, by_id.get(name, []), flaws, order, form) for name, flaws in problems.items()]


def _long_series(
    path: Path, name: str, steps: Sequence[Step], flaws: dict[int, Problem], order: TimeOrder | None, form: Form
) -> TableSeries:
    if not flaws:
        try:
            rows, times = rows_of(path, steps, form), _times_ahead(order, name, steps, form)
            return TableSeries(name, rows, (), _missing_values(path, steps, (form.value,), form, {}), times)
        except DataError as error:
            flaws = {0: error.problems[0]}
    return TableSeries(name, np.zeros((0, 1 + form.covariates)), (), flaws)


def _report_columns(path: Path, names: Sequence[str], form: Form) -> None:
    sides = {"id": form.id, "time": form.time, "value": form.value}
    used: dict[str, str | int] = {side: name for side, name in sides.items() if name is not None}
    used |= {f"known {number}": name for number, name in enumerate(form.known, 1)}
    used |= {f"static {number}": name for number, name in enumerate(form.static, 1)}
    report_columns(path.name, used, [name for name in names if name not in used.values()], header=True)


def _checked(path: Path, rows: Sequence[Record], width: int) -> Iterator[Record]:
    for row in rows:
        if len(row.fields) != width:
            _fail(path, row.number, f"has {len(row.fields)} columns, but there are {width} names")
        yield row


def _value(
    path: Path,
    row: Record,
    names: Sequence[str],
    place: int,
    channel: int,
    problems: dict[int, Problem],
    hint: str = "",
) -> float:
    """The number in a cell, NaN if it is missing; and if it is none, which is kept as the channel's problem."""
    try:
        return cell_number(path, row.number, f"column {names[place]!r}", row.fields[place], missing=True, hint=hint)
    except DataError as error:
        problems.setdefault(channel, error.problems[0])
        return math.nan


def _step(
    path: Path,
    row: Record,
    names: Sequence[str],
    values: list[float],
    kept: Sequence[int],
    covariates: Sequence[int],
    time: int | None,
) -> Step:
    """A row of a table: its values, and the covariates in the columns of these numbers."""
    numbers = [
        cell_number(path, row.number, f"column {names[number]!r}", row.fields[number], missing=True)
        for number in covariates
    ]
    cells = [row.fields[place] for place in kept]
    return Step(row.number, values, numbers, "" if time is None else row.fields[time], cells)


def _missing_values(
    path: Path, steps: Sequence[Step], channels: Sequence[str], form: Form, known: Mapping[int, Problem]
) -> dict[int, Problem]:
    """The first value that is missing of each channel, but for those that have problems, and steps to be predicted."""
    if form.missing:
        return {}
    values = np.array([step.values for step in steps])
    is_missing = np.isnan(values[: count_past(values) if form.covariates else len(values)])
    problems = {}
    for channel in np.flatnonzero(is_missing.any(axis=0)).tolist():
        if channel not in known:
            step = steps[int(is_missing[:, channel].argmax())]
            try:
                cell_number(
                    path, step.line, f"column {channels[channel]!r}", step.cells[channel], missing_hint=_MISSING_HINT
                )
            except DataError as error:
                problems[channel] = error.problems[0]
    return problems


def _times_ahead(order: TimeOrder | None, name: str, steps: Sequence[Step], form: Form) -> tuple[str, ...] | None:
    """The times of the steps that are predicted: those that the file has, and those that follow in regular steps."""
    if order is None or form.reach is None:
        return None
    future = steps[count_past(np.array([step.values for step in steps])) :] if form.covariates else []
    known = [step.time for step in future][: form.reach]
    coming = order.times_after(name, form.reach - len(known)) if len(known) < form.reach else []
    return None if coming is None else (*known, *coming)


def _numbers(path: Path, line: int, id: str, cells: Sequence[str], form: Form, place: str, first: int) -> TableSeries:
    """A series on one line. What is wrong with it names the number of its value, counted from `first`."""
    try:
        values = [
            cell_number(path, line, f"{place} {number}", cell, missing=form.missing, missing_hint=_MISSING_HINT)
            for number, cell in enumerate(cells, first)
        ]
    except DataError as error:
        return TableSeries(id, np.zeros((0, 1)), problems={0: error.problems[0]})
    return TableSeries(id, np.array(values)[:, None])


def _tsf(path: Path, form: Form) -> Iterator[TableSeries]:
    """Godahewa et al. 2021, the Monash archive: `@` lines describe, then each line is `name:start:v,v,...`."""
    attributes, is_data = 0, False
    for line in readers.numbered(path, encoding=form.table.encoding):
        text = line.text.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("@"):
            attributes += text.lower().startswith("@attribute")
            is_data = is_data or text.lower() == "@data"
            continue
        if not is_data:
            _fail(path, line.number, "comes before @data, and is no line of @")
        parts = text.split(":")
        if len(parts) != attributes + 1:
            _fail(
                path, line.number, f"has {len(parts)} parts between colons, and {attributes} attributes are described"
            )
        yield _numbers(path, line.number, parts[0], parts[-1].split(","), form, "value", 1)


def _fail(path: Path, line: int | None, what: str, hint: str = "") -> NoReturn:
    raise DataError(Problem(f"{path}:{line}" if line else str(path), what, hint))
