"""Lines of two files side by side, and texts whole or in pieces."""

from __future__ import annotations

import codecs
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import readers
from seqkit.types import Example
from tests.helpers.text_files import inputs, refusal, write


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
