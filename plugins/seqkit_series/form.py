"""What a table of series looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from seqkit.forecasts import Calendar

Layout: TypeAlias = Literal["columns", "rows", "long"]


@final
@dataclass(frozen=True)
class Form:
    """What a table looks like.

    Attributes:
        layout: columns, a column is a series (or a channel) and a row a time; rows, a row is a series, its id first;
            long, a row is one value of one series.
        header: whether the first row has names.
        time: the name of the column of times, which are not read but for their order: rows must be in order of time.
        id: long: the name of the column with the id of the series.
        value: long: the name of the column with the value.
        known: the columns of covariates that are known for what is predicted too.
        static: those of covariates that say the same at each step of a series.
        calendar: covariates that are made of the times.
        reach: steps that are to be predicted, if the file is one to predict from: its series go on so far with
            covariates and without values. None: what has no value at the end of a series is left out.
    """

    layout: Layout = "columns"
    header: bool = True
    time: str | None = None
    id: str = "id"
    value: str = "value"
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    calendar: tuple[Calendar, ...] = ()
    reach: int | None = None

    @property
    def covariates(self) -> int:
        """K, how many covariates a step has."""
        return len(self.known) + len(self.static) + 2 * len(self.calendar)
