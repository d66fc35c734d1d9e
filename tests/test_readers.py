"""Readers: the same samples as the clean file, or a located error; never a silent change."""

from __future__ import annotations

import codecs
import csv as official_csv
import gzip
import io
import json
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import readers
from seqkit.errors import DataError, UsageError
from seqkit.types import Example

CLEAN = ["a good film", "not bad", "größer, 映画 🎬"]
UTF8 = "a good film\nnot bad\ngrößer, 映画 🎬\n".encode()


def write(folder: Path, raw: bytes, name: str = "train.txt") -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def inputs(examples: Iterable[Example]) -> list[str]:
    return [example.input for example in examples]


def refusal(read: Callable[[], Iterable[Example]]) -> str:
    with pytest.raises(DataError) as caught:
        list(read())
    (problem,) = caught.value.problems
    return str(problem)


# Each file must give exactly these lines: the clean ones, or those with a character kept that is no line end.
KEPT: dict[str, tuple[bytes, list[str]]] = {
    "clean": (UTF8, CLEAN),
    "no final line end": (UTF8[:-1], CLEAN),
    "CRLF": (UTF8.replace(b"\n", b"\r\n"), CLEAN),
    "CRLF, no final line end": (UTF8.replace(b"\n", b"\r\n")[:-2], CLEAN),
    "CRLF, the last one cut in half": (UTF8.replace(b"\n", b"\r\n")[:-1], CLEAN),
    "CRLF and LF mixed": (UTF8.replace(b"\n", b"\r\n", 1), CLEAN),
    "byte order mark": (codecs.BOM_UTF8 + UTF8, CLEAN),
    "byte order mark and CRLF": (codecs.BOM_UTF8 + UTF8.replace(b"\n", b"\r\n"), CLEAN),
    "U+2028": ("a\u2028b\nc\n".encode(), ["a\u2028b", "c"]),
    "U+2029": ("a\u2029b\nc\n".encode(), ["a\u2029b", "c"]),
    "U+0085": ("a\u0085b\nc\n".encode(), ["a\u0085b", "c"]),
    "vertical tab": (b"a\x0bb\nc\n", ["a\x0bb", "c"]),
    "form feed": (b"a\x0cb\nc\n", ["a\x0cb", "c"]),
    "file separators": (b"a\x1cb\x1dc\x1ed\x1fe\nf\n", ["a\x1cb\x1dc\x1ed\x1fe", "f"]),
    "CR inside a line": (b"a\rb\nc\n", ["a\rb", "c"]),
    "CR CR LF": (b"a\r\r\nb\n", ["a\r", "b"]),
    "LF CR": (b"a\n\rb\n", ["a", "\rb"]),
    "byte order mark inside": ("a\ufeffb\n\ufeffc\n".encode(), ["a\ufeffb", "\ufeffc"]),
    "two byte order marks": (codecs.BOM_UTF8 * 2 + b"a\n", ["\ufeffa"]),
    "no-break and zero-width spaces": ("a\u00a0b\u200bc\n".encode(), ["a\u00a0b\u200bc"]),
    "combining characters": ("e\u0301 \u00e9\n".encode(), ["e\u0301 \u00e9"]),
    "right-to-left marks": ("\u202eabc\u202c\n".encode(), ["\u202eabc\u202c"]),
    "last code point": ("\U0010ffff\n".encode(), ["\U0010ffff"]),
    "noncharacters": ("\ufffe\uffff\n".encode(), ["\ufffe\uffff"]),
    "replacement character": ("\ufffd\n".encode(), ["\ufffd"]),
    "end of transmission": (b"a\x1ab\nc\x04\n", ["a\x1ab", "c\x04"]),
    "delete and escape": (b"a\x7f\x1b[0m\n", ["a\x7f\x1b[0m"]),
    "spaces at both ends": (b"  a \n\tb\t\n", ["  a ", "\tb\t"]),
    "blank lines": (b"a\n\nb\n\n", ["a", "", "b", ""]),
    "one line end": (b"\n", [""]),
    "one character": (b"a", ["a"]),
    "a CR at the very end": (b"a\n\r", ["a", ""]),
    "quotation marks": (b'"a\n"b"\n', ['"a', '"b"']),
    "a line of 10 MB": (b"ab" * 5_000_000 + b"\nc\n", ["ab" * 5_000_000, "c"]),
    "100,000 lines": (b"a\n" * 100_000, ["a"] * 100_000),
}


@pytest.mark.parametrize("name", KEPT)
def test_every_line_is_as_it_stands(name: str, tmp_path: Path) -> None:
    raw, expected = KEPT[name]
    path = write(tmp_path, raw)
    assert inputs(readers.lines(path)) == expected
    assert inputs(readers.lines(write(tmp_path, gzip.compress(raw, 1), "train.txt.gz"))) == expected


# Each file must be refused at this place, with these words.
REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "", "is empty"),
    "byte order mark alone": (codecs.BOM_UTF8, "", "is empty"),
    "NUL": (b"abc\nde\0f\n", ":2:3", "NUL"),
    "NUL at the start": (b"\0abc\n", ":1:1", "NUL"),
    "NUL after characters of several bytes": ("größ\0\n".encode(), ":1:5", "NUL"),
    "UTF-16, little endian": ("a good film\n".encode("utf-16-le"), ":1:2", "NUL"),
    "UTF-16, big endian": ("a good film\n".encode("utf-16-be"), ":1:1", "NUL"),
    "UTF-16 with its mark": (codecs.BOM_UTF16_LE + "a\n".encode("utf-16-le"), ":1:1", "UTF-16"),
    "UTF-16, big endian, with its mark": (codecs.BOM_UTF16_BE + "a\n".encode("utf-16-be"), ":1:1", "UTF-16"),
    "UTF-16 without NUL": (codecs.BOM_UTF16_LE + "映画".encode("utf-16-le"), ":1:1", "UTF-16"),
    "UTF-32 with its mark": (codecs.BOM_UTF32_LE + "a\n".encode("utf-32-le"), ":1:1", "UTF-32"),
    "UTF-32, big endian, with its mark": (codecs.BOM_UTF32_BE + "a\n".encode("utf-32-be"), ":1:1", "UTF-32"),
    "Latin-1": ("a\ngrößer\n".encode("latin-1"), ":2:3", "byte 0xf6 is not UTF-8"),
    "Windows-1252 quotation mark": (b"it\x92s\n", ":1:3", "byte 0x92"),
    "a sequence cut short": ("ab映".encode()[:-1] + b"\nc\n", ":1:3", "byte 0xe6"),
    "a sequence cut short at the end of the file": ("ab🎬".encode()[:-1], ":1:3", "byte 0xf0"),
    "a sequence across a line end": (b"\xe6\x98\n\xa0\n", ":1:1", "byte 0xe6"),
    "an overlong slash": (b"a\xc0\xafb\n", ":1:2", "byte 0xc0"),
    "an overlong NUL": (b"a\xc0\x80b\n", ":1:2", "byte 0xc0"),
    "a lone surrogate": (b"ab\xed\xa0\x80\n", ":1:3", "byte 0xed"),
    "a surrogate pair (CESU-8)": (b"\xed\xa0\xbc\xed\xbe\xac\n", ":1:1", "byte 0xed"),
    "beyond Unicode": (b"\xf4\x90\x80\x80\n", ":1:1", "byte 0xf4"),
    "0xff": (b"a\nb\nc\xff\n", ":3:2", "byte 0xff"),
    "CR alone ends the lines": (b"a good film\rnot bad\r", ":1:12", "CR alone"),
    "CR alone, no final line end": (b"a\rb", ":1:2", "CR alone"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ":1:1", "byte 0x89"),
    "invalid in line 100,001": (b"a\n" * 100_000 + b"\x80\n", ":100001:1", "byte 0x80"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_no_text_is_refused_where_it_stands(name: str, suffix: str, tmp_path: Path) -> None:
    raw, where, what = REFUSED[name]
    path = write(tmp_path, gzip.compress(raw, 1) if suffix else raw, f"train.txt{suffix}")
    message = refusal(lambda: readers.lines(path))
    assert message.startswith(f"{path}{where}: ")
    assert what in message


def test_the_corpus_is_large_enough() -> None:
    assert len(KEPT) + len(REFUSED) >= 60


def test_every_reader_refuses_the_same_files(tmp_path: Path) -> None:
    for name, (raw, where, _) in REFUSED.items():
        path = write(tmp_path, raw)
        for read in (readers.tsv, readers.csv, readers.jsonl, readers.text):
            message = refusal(lambda read=read, path=path: read(path))  # type: ignore[misc]
            if where not in ("", ":2:3", ":3:2", ":100001:1"):  # what comes first is something else in these
                assert message.startswith(f"{path}{where}: "), (name, read)


def test_ids_say_where_an_example_stands(tmp_path: Path) -> None:
    path = write(tmp_path, UTF8)
    assert [example.id for example in readers.lines(path)] == ["train.txt:1", "train.txt:2", "train.txt:3"]
    assert all(example.target is None for example in readers.lines(path))


def test_blank_lines_can_be_left_out_and_keep_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, b"a\n\n \t\nb\n")
    assert [(e.input, e.id) for e in readers.lines(path, skip_blank=True)] == [
        ("a", "train.txt:1"),
        ("b", "train.txt:4"),
    ]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_what_is_no_file(make: Callable[[Path], None], what: str, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    make(path)
    assert what in refusal(lambda: readers.lines(path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:5],
        lambda raw: b"not gzip\n",
        lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:],
        lambda raw: raw[:20] + bytes(255 - b for b in raw[20:60]) + raw[60:],
    ],
    ids=["half", "header", "no gzip", "checksum", "flipped"],
)
def test_damaged_gzip_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"line {i * 7919 % 1000}\n" for i in range(1000)).encode())
    path = write(tmp_path, damage(whole), "train.txt.gz")
    assert "damaged gzip" in refusal(lambda: readers.lines(path))


def test_a_line_beyond_all_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST_LINE", 1000)
    assert inputs(readers.lines(write(tmp_path, b"a" * 999 + b"\n"))) == ["a" * 999]
    path = write(tmp_path, b"b\n" + b"a" * 1001)
    assert refusal(lambda: readers.lines(path)) == f"{path}:2: a line of more than 1,000 bytes"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"some words on a line " * 50 + b"\t1\n")
    path.write_bytes(path.read_bytes() * 8_000)
    pieces = write(tmp_path, path.read_bytes(), "text.txt")
    for read in (
        readers.lines(path),
        readers.tsv(path),
        readers.csv(path, target=None),
        readers.text(pieces, piece=500),
    ):
        tracemalloc.start()
        count = sum(1 for _ in read)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count >= 8_000
        assert peak < path.stat().st_size / 20


# --- parallel -------------------------------------------------------------------------------------------------------


def test_parallel_files(tmp_path: Path) -> None:
    left, right = write(tmp_path, b"a b\nc\n", "train_text.txt"), write(tmp_path, b"1\n0", "train_labels.txt")
    assert list(readers.parallel(left, right)) == [
        Example("a b", "1", "train_text.txt:1"),
        Example("c", "0", "train_text.txt:2"),
    ]


@pytest.mark.parametrize(("first", "second"), [(3, 5), (5, 3), (1, 2)])
def test_parallel_files_of_different_lengths(first: int, second: int, tmp_path: Path) -> None:
    left, right = write(tmp_path, b"a\n" * first, "x.txt"), write(tmp_path, b"1\n" * second, "y.txt")
    message = refusal(lambda: readers.parallel(left, right))
    short, long = (left, right) if first < second else (right, left)
    assert message.startswith(f"{short}: has {min(first, second)} lines, but {long} has {max(first, second)};")


# --- tsv ------------------------------------------------------------------------------------------------------------


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


def test_tsv_knows_no_quotation(tmp_path: Path) -> None:
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


def test_a_mistake_of_the_caller_is_no_fault_of_the_data(tmp_path: Path) -> None:
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


# --- csv ------------------------------------------------------------------------------------------------------------


def test_csv_as_rfc_4180_has_it(tmp_path: Path) -> None:
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
    ("raw", "where", "what"),
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
def test_csv_refuses(raw: bytes, where: str, what: str, tmp_path: Path) -> None:
    path = write(tmp_path, raw)
    message = refusal(lambda: readers.csv(path))
    assert message.startswith(f"{path}{where}: ")
    assert what in message


ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)
FIELD = ANY | st.text('",\n ', max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_csv_reads_what_the_standard_library_writes(rows: list[tuple[str, str]], end: str, all_quoted: bool) -> None:
    out = io.StringIO(newline="")
    quoting = official_csv.QUOTE_ALL if all_quoted else official_csv.QUOTE_MINIMAL
    official_csv.writer(out, lineterminator=end, quoting=quoting).writerows(rows)
    assert read_back(readers.csv, out.getvalue().encode()) == rows


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('a,"\n\r\t\0é', max_size=30).map(str.encode))
def test_nothing_but_documented_errors_leaves_a_reader(raw: bytes) -> None:
    for read in (readers.lines, readers.tsv, readers.csv, readers.jsonl, readers.text):
        try:
            read_back(read, raw)
        except DataError:
            continue


def read_back(read: Callable[[Path], Iterable[Example]], raw: bytes) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), raw)
        return [(example.input, example.target) for example in read(path)]


# --- jsonl ----------------------------------------------------------------------------------------------------------


def test_jsonl(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b", "label": "1"}, {"text": ["x", "y"], "label": 2.5, "more": None}]
    raw = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path = write(tmp_path, raw, "train.jsonl")
    assert list(readers.jsonl(path)) == [
        Example("a\u2028b", "1", "train.jsonl:1"),
        Example(["x", "y"], 2.5, "train.jsonl:2"),
    ]
    assert [e.target for e in readers.jsonl(path, target=None)] == [None, None]


def test_jsonl_decodes_escapes(tmp_path: Path) -> None:
    path = write(tmp_path, rb'{"text": "\ud83c\udfac \u00e9", "label": "1"}' + b"\n")
    assert inputs(readers.jsonl(path)) == ["🎬 é"]


@pytest.mark.parametrize(
    ("line", "where", "what"),
    [
        ('{"text": "a", "label": }', ":2:24", "is not JSON"),
        ('{"text": "a"}', ":2", "has no key 'label'; the keys are: text"),
        ('{"text": "a", "labels": "1"}', ":2", "has no key 'label'; did you mean 'labels'?"),
        ('["a", "1"]', ":2:1", "a list and not an object"),
        ("", ":2:1", "is not JSON"),
        ('{"text": "a", "text": "b", "label": "1"}', ":2", "'text' is given twice"),
        ('{"text": "a", "label": NaN}', ":2", "NaN is not JSON"),
        ('{"text": "a", "label": -Infinity}', ":2", "-Infinity is not JSON"),
        ('{"text": "a", "label": 1e999}', ":2", "too large"),
        (r'{"text": "\ud800", "label": "1"}', ":2", "half of a surrogate pair"),
        (r'{"text": {"a": ["\udfff"]}, "label": "1"}', ":2", "half of a surrogate pair"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}", ":2", "too many digits"),
        ("[" * 100_000, ":2", "nested too deeply"),
        ('{"text": "a\tb", "label": "1"}', ":2:12", "Invalid control character"),
    ],
)
def test_jsonl_refuses(line: str, where: str, what: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'{{"text": "a", "label": "1"}}\n{line}\n'.encode())
    message = refusal(lambda: readers.jsonl(path))
    assert message.startswith(f"{path}{where}: ")
    assert what in message


# --- text -----------------------------------------------------------------------------------------------------------


def test_text_is_the_whole_file(tmp_path: Path) -> None:
    path = write(tmp_path, codecs.BOM_UTF8 + b"a\r\n\r\nb\x0c\rc\n", "play.txt")
    assert list(readers.text(path)) == [Example("a\n\nb\x0c\rc\n", None, "play.txt:1")]
    assert inputs(readers.text(write(tmp_path, b"a\nb"))) == ["a\nb"]


def test_pieces_of_a_text_have_the_line_they_start_on(tmp_path: Path) -> None:
    path = write(tmp_path, b"abc\nde\nfghijklm\n\n\nn", "play.txt")
    assert [(e.input, e.id) for e in readers.text(path, piece=4)] == [
        ("abc\n", "play.txt:1"),
        ("de\nf", "play.txt:2"),
        ("ghij", "play.txt:3"),
        ("klm\n", "play.txt:3"),
        ("\n\nn", "play.txt:4"),
    ]


@settings(max_examples=200, deadline=None)
@given(st.text("ab\né", min_size=1, max_size=60), st.integers(1, 20))
def test_pieces_joined_are_the_text(whole: str, piece: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), whole.encode(), "t")
        pieces = list(readers.text(path, piece=piece))
    assert "".join(inputs(pieces)) == whole
    assert all(len(example.input) == piece for example in pieces[:-1])
    starts = [sum(len(example.input) for example in pieces[:i]) for i in range(len(pieces))]
    assert [example.id for example in pieces] == [f"t:{whole.count(chr(10), 0, at) + 1}" for at in starts]
