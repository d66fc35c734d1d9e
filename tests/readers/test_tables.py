"""Tables: tab-separated and comma-separated values, as written or a located error."""

from __future__ import annotations

import codecs
import csv as official_csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import readers
from seqkit.errors import UsageError
from tests.helpers.text_files import inputs, read_bytes, refusal, write


def test_tsv_by_number_and_by_name(tmp_path: Path) -> None:
    plain = write(tmp_path, b"a good film\t1\t\nnot bad\t0\tx\n", "train.tsv")
    assert [(e.input, e.target, e.id) for e in readers.tsv(plain)] == [
        ("a good film", "1", "train.tsv:1"),
        ("not bad", "0", "train.tsv:2"),
    ]
    assert [(e.input, e.target) for e in readers.tsv(plain, input=3, target=1)] == [
        ("", "a good film"),
        ("x", "not bad"),
    ]
    assert [e.target for e in readers.tsv(plain, target=None)] == [None, None]
    named = write(tmp_path, codecs.BOM_UTF8 + b"sentence\tlabel\r\na\t1\r\n", "dev.tsv")
    assert [(e.input, e.target, e.id) for e in readers.tsv(named, input="sentence", target="label")] == [
        ("a", "1", "dev.tsv:2")
    ]
    assert [(e.input, e.target) for e in readers.tsv(named, header=True)] == [("a", "1")]
    assert [(e.input, e.target) for e in readers.tsv(named)] == [("sentence", "label"), ("a", "1")]


def test_tsv_has_no_quotation(tmp_path: Path) -> None:
    path = write(tmp_path, b'"a\t1\nb"\t0\n')
    assert inputs(readers.tsv(path)) == ['"a', 'b"']


@pytest.mark.parametrize(
    ("raw", "options", "message"),
    [
        (b"a\t1\nb\n", {}, ":2: has 1 columns, but line 1 has 2"),
        (b"a\t1\nb\t1\t2\n", {}, ":2: has 3 columns, but line 1 has 2"),
        (b"a\t1\n\nb\t1\n", {}, ":2: has 1 columns, but line 1 has 2"),
        (b"a\n", {}, ":1: has 1 columns, so there is no column 2"),
        (b"sentence\tlabel\na\t1\n", {"input": "sentense"}, ":1: no column 'sentense'; did you mean 'sentence'?"),
        (b"x\ty\na\t1\n", {"input": "sentence"}, ":1: no column 'sentence'; the columns are: x, y"),
        (b"x\tx\na\t1\n", {"input": "x"}, ":1: the header has the column 'x' twice"),
        (b"\n\n", {"skip_blank": True}, ": has nothing but blank lines"),
    ],
)
def test_tsv_refuses(raw: bytes, options: dict[str, str], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, raw)
    assert refusal(lambda: readers.tsv(path, **options)) == f"{path}{message}"  # type: ignore[arg-type]


def test_a_mistake_of_the_caller_is_a_usage_error(tmp_path: Path) -> None:
    path = write(tmp_path, b"a\t1\n")
    with pytest.raises(UsageError, match="counted from 1"):
        list(readers.tsv(path, input=0))
    with pytest.raises(UsageError, match="header"):
        list(readers.tsv(path, input="x", header=False))
    for delimiter in ("", '"', "\n", "ab"):
        with pytest.raises(UsageError, match="delimiter"):
            list(readers.csv(path, delimiter=delimiter))
    with pytest.raises(UsageError, match="at least 1"):
        list(readers.text(path, piece=0))


def test_csv_follows_rfc_4180(tmp_path: Path) -> None:
    raw = b'text,label\r\n"a, b",1\r\n"say ""no""",0\r\n"two\r\nlines\r\n",1\r\n"",0\r\nplain,"2"\r\n'
    path = write(tmp_path, raw, "train.csv")
    assert [(e.input, e.target, e.id) for e in readers.csv(path, input="text", target="label")] == [
        ("a, b", "1", "train.csv:2"),
        ('say "no"', "0", "train.csv:3"),
        ("two\nlines\n", "1", "train.csv:4"),
        ("", "0", "train.csv:7"),
        ("plain", "2", "train.csv:8"),
    ]


def test_csv_with_another_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path, b'a,b;1\n"c;d";0\n')
    assert [(e.input, e.target) for e in readers.csv(path, delimiter=";")] == [("a,b", "1"), ("c;d", "0")]


@pytest.mark.parametrize(
    ("raw", "where", "reason"),
    [
        (b'"a",1\n"b,0\nc,1\n', ":2:1", "never closed"),
        (b'a,1\nb,"0\n', ":2:3", "never closed"),
        (b'a,1\nit"s,0\n', ":2:3", "a quotation mark inside a field"),
        (b'a,1\n"b"c,0\n', ":2:4", "'c' after a closing quotation mark"),
        (b'a,1\n"b\nc"d,0\n', ":3:3", "'d' after a closing quotation mark"),
        (b'a,1\n"b" ,0\n', ":2:4", "' ' after a closing"),
        (b"a,1\nb,0,0\n", ":2", "has 3 columns"),
        (b'a,1\n"b,0"\n', ":2", "has 1 columns"),
    ],
)
def test_csv_refuses(raw: bytes, where: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, raw)
    message = refusal(lambda: readers.csv(path))
    assert message.startswith(f"{path}{where}: ")
    assert reason in message


ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)
FIELD = ANY | st.text('",\n ', max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_csv_reads_what_the_standard_library_writes(rows: list[tuple[str, str]], end: str, all_quoted: bool) -> None:
    out = io.StringIO(newline="")
    quoting = official_csv.QUOTE_ALL if all_quoted else official_csv.QUOTE_MINIMAL
    official_csv.writer(out, lineterminator=end, quoting=quoting).writerows(rows)
    assert read_bytes(readers.csv, out.getvalue().encode()) == rows
