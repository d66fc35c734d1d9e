"""What a table of series looks like."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, final

from seqkit.forecasts import Calendar
from seqkit.readers import TableFormat

Layout: TypeAlias = Literal["columns", "rows", "long"]


@final
@dataclass(frozen=True)
class Form:
    """What a table looks like.

    Attributes:
        layout: columns, a column is a series (or a channel) and a row a time; rows, a row is a series, its id first;
            long, a row is one value of one series.
        header: whether the first row has names.
        time: the name of the column of times, in whose order rows must be.
        id: long: the name of the column with the id of the series.
        value: long: the name of the column with the value.
        known: the columns of covariates that are known for what is predicted too.
        static: those of covariates that say the same at each step of a series.
        calendar: covariates that are made of the times.
        missing: whether values may be missing.
        reach: steps that are to be predicted, if the file is one to predict from: its series go on so far with
            covariates and without values. None: what has no value at the end of a series is left out.
        table: what the file looks like.
    """

    layout: Layout = "columns"
    header: bool = True
    time: str | None = None
    id: str = "id"
    value: str = "value"
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    calendar: tuple[Calendar, ...] = ()
    missing: bool = False
    reach: int | None = None
    table: TableFormat = field(default_factory=TableFormat)

    @property
    def covariates(self) -> int:
        """K, how many covariates a step has."""
        return len(self.known) + len(self.static) + 2 * len(self.calendar)

    def table_of(self, path: Path) -> TableFormat:
        """What a table looks like: one whose name does not say it has commas, unless `separator` says otherwise."""
        is_known = self.table.of_name(path.name) is not None or self.table.separator is not None
        return self.table if is_known else replace(self.table, format="csv")
