"""Lines: the same text as in the file, or a located error; never a silent change."""

from __future__ import annotations

import codecs
import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import readers
from seqkit.errors import DataError
from seqkit.readers import line_reader
from tests.helpers.text_files import inputs, read_bytes, refusal, write

CLEAN = ["a good film", "not bad", "größer, 映画 🎬"]
UTF8 = "a good film\nnot bad\ngrößer, 映画 🎬\n".encode()


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
def test_every_line_is_read_as_it_is(name: str, tmp_path: Path) -> None:
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
def test_a_file_that_is_not_text_is_refused_with_its_place(name: str, suffix: str, tmp_path: Path) -> None:
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
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_a_path_that_is_not_a_file_is_refused(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    make(path)
    assert message in refusal(lambda: readers.lines(path))


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


def test_a_line_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_reader, "LONGEST_LINE", 1000)
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


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('a,"\n\r\t\0é', max_size=30).map(str.encode))
def test_nothing_but_documented_errors_leaves_a_reader(raw: bytes) -> None:
    for read in (readers.lines, readers.tsv, readers.csv, readers.jsonl, readers.text):
        try:
            read_bytes(read, raw)
        except DataError:
            continue
