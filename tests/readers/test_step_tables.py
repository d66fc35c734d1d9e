"""Tables with a step of a sequence in each row."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqkit.errors import DataError
from seqkit.readers import TableFormat, TimeOrder, cell_numbers, read_header, rows_of_sequences


def write(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text)
    return path


def test_the_numbers_of_each_sequence(tmp_path: Path) -> None:
    path = write(tmp_path, " walk ,time,x,note,y\na,1,0.5,-,2\na,2,1.5,-,3\nb,1,2.5,-,4\n")
    header, rows = read_header(path, TableFormat())
    channels = header.channels(None, but=("walk", "time", "note"))
    assert header.where == f"{path}:1"
    assert header.unused([*channels, *header.positions("walk", "time", "missing")]) == ["note"]
    order = TimeOrder(path, "time")
    sequences = {}
    for steps in rows_of_sequences(header, rows, "walk"):
        header.check_times(steps, order, time="time", sequence="walk")
        sequences[steps[0].fields[0]] = cell_numbers(path, steps, channels, header.columns).tolist()
    assert sequences == {"a": [[0.5, 2.0], [1.5, 3.0]], "b": [[2.5, 4.0]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("walk,x,x\na,1,2\n", r"a\.csv:1: the header has the column 'x' twice"),
        ("walk,x\n", r"a\.csv: has a header and nothing else"),
        ("walk,x\na,1,2\n", r"a\.csv:2: has 3 columns, and the first line has 2"),
        ("walk,x\na,1\nb,1\na,1\n", r"a\.csv:4: the walk 'a', which began in line 2, goes on after another one"),
        ("walk,x\na,one\n", r"a\.csv:2: column 'x' has 'one', which is not a number"),
    ],
)
def test_what_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)

    def read() -> list[object]:
        header, rows = read_header(path, TableFormat())
        walks = rows_of_sequences(header, rows, "walk", kind="walk")
        return [cell_numbers(path, steps, header.positions("x"), header.columns) for steps in walks]

    with pytest.raises(DataError, match=message):
        read()
