"""Reading word vectors from text files."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqkit.errors import DataError, RunError
from seqkit.io.download import Dataset, File
from seqkit.layers.pretrained_vectors import PUBLISHED, vector_file
from seqkit.layers.vector_table import open_table
from tests.helpers.data import needs_data
from tests.helpers.word_vectors import write_vectors
from tests.reference.word_vectors import read_vectors

WORDS = st.sampled_from(["a", "A", "b", "B", "a b", "É", "é", "the", "THE", "The"])
NUMBERS = st.floats(-1e30, 1e30)


def test_reading_vectors(tmp_path: Path) -> None:
    path = write_vectors(tmp_path)
    table = open_table(path)
    assert (table.words, table.width) == (["the", "cat", "paris", ". . .", "lion"], 3)
    vectors = table.look_up({"the", "lion", ". . .", "absent"})
    assert {word: vector.tolist() for word, vector in vectors.items()} == {
        "the": pytest.approx([0.1, 0.2, 0.3]),
        ". . .": [7.0, 8.0, 9.0],
        "lion": pytest.approx([-1.0, -2.5, 1e-3]),
    }


def test_a_word2vec_header_and_gzip(tmp_path: Path) -> None:
    plain, packed = tmp_path / "w2v.txt", tmp_path / "w2v.txt.gz"
    plain.write_bytes("2 3\ncat 1 2 3 \nété 4 5 6 \r\n".encode())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        table = open_table(path)
        assert (table.words, table.width) == (["cat", "été"], 3)
        assert table.look_up({"été"})["été"].tolist() == [4.0, 5.0, 6.0]


def test_a_name_stands_for_a_pinned_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_DATA", str(tmp_path))
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "vectors" / "tiny"
    folder.mkdir(parents=True)
    path = write_vectors(folder)
    content = path.read_bytes()
    file = File(path.name, None, hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setitem(PUBLISHED, "glove-6b-50d", Dataset("vectors/tiny", (file,), licence="none"))
    assert vector_file("glove-6b-50d") == path
    path.write_bytes(content.replace(b"0.1", b"0.7"))
    with pytest.raises(DataError, match=path.name):
        vector_file("glove-6b-50d")


def test_vectors_that_are_missing_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_DATA", str(tmp_path))
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"vectors/glove_6b_100d.*nlp\.stanford\.edu/projects/glove"):
        vector_file("glove-6b-100d")
    with pytest.raises(DataError, match=r"glove-6b-300d: there is no such file; .* names glove-6b-50d, glove-6b-100d"):
        vector_file(tmp_path / "glove-6b-300d")


@needs_data
def test_published_vectors_are_read() -> None:
    table = open_table(vector_file("glove-6b-50d"))
    assert (len(table.words), table.width, table.words[0]) == (100_000, 50, "the")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"v\.txt: has no vectors"),
        (b"3 4\n", r"v\.txt: has no vectors"),
        (b"cat\n", r"v\.txt:1: expected numbers after the word, got none"),
        (b"cat 1 2\ndog 1\n", r"v\.txt:2: expected 2 numbers after the word, got 1"),
        (b"2 3\ncat 1 2\n", r"v\.txt:2: expected 3 numbers after the word, got 2"),
        (b"cat 1 2\n\xff\xfe 1 2\n", r"v\.txt:2: the word is not UTF-8"),
        (b"cat 1 x\n", r"v\.txt:1: the vector of 'cat' has a value that is not a number"),
        (b"cat 1 nan\n", r"v\.txt:1: the vector of 'cat' has a number that is not finite"),
        (b"cat 1 1e99\n", r"v\.txt:1: the vector of 'cat' has a number that is not finite"),
    ],
)
def test_a_file_without_valid_vectors_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_table(path).look_up({"cat", "dog"})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vectors"


@given(st.lists(st.tuples(WORDS, st.lists(NUMBERS, min_size=2, max_size=2)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_copy_gives_what_the_text_file_has(cache: Path, rows: list[tuple[str, list[float]]]) -> None:
    path = cache.parent.with_name("random.txt")
    path.write_text(f"{len(rows)} 2\n" + "".join(f"{word} {first!r} {second!r}\n" for word, (first, second) in rows))
    wanted = {word for word, _ in rows} | {word.lower() for word, _ in rows} | {"absent"}
    for key in (str, str.lower):
        expected = read_vectors(path, wanted, key)
        for _ in range(2):  # from the text, and from the copy
            vectors = open_table(path).look_up(wanted, key)
            assert vectors.keys() == expected.keys()
            assert all(np.array_equal(vectors[word], expected[word]) for word in expected)


def test_the_text_file_is_read_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_vectors(tmp_path)
    words = open_table(path).words
    assert [file.suffix for file in cache.iterdir()] == [".bin"]

    def never(path: Path) -> Iterator[Any]:
        pytest.fail("the text file is read again")

    monkeypatch.setattr("seqkit.layers.vector_table.text_rows", never)
    table = open_table(path)
    assert table.words == words
    assert isinstance(table.vectors, np.memmap)


@pytest.mark.parametrize("damage", ["cut", "header", "words", "empty", "writable", "link"])
def test_a_damaged_copy_is_made_again(damage: str, cache: Path, tmp_path: Path) -> None:
    path = write_vectors(tmp_path)
    expected = open_table(path).look_up({"cat", "lion"})
    (copy,) = cache.iterdir()
    content = copy.read_bytes()
    changed = {
        "cut": content[:-1],
        "header": content.replace(b'"count": 5', b'"count": 4'),
        "words": content.replace(b"paris", b"pariS"),
        "empty": b"",
    }
    if damage == "writable":
        copy.chmod(0o666)
    elif damage == "link":
        copy.rename(tmp_path / "elsewhere")
        copy.symlink_to(tmp_path / "elsewhere")
    else:
        copy.write_bytes(changed[damage])
    vectors = open_table(path).look_up({"cat", "lion"})
    assert {word: vector.tolist() for word, vector in vectors.items()} == {
        word: vector.tolist() for word, vector in expected.items()
    }
    assert copy.read_bytes() == content
    assert not copy.is_symlink()
    assert copy.stat().st_mode & 0o022 == 0


def test_an_edited_file_has_a_copy_of_its_own(cache: Path, tmp_path: Path) -> None:
    path = write_vectors(tmp_path)
    open_table(path)
    path.write_text(path.read_text().replace("cat 1 2 3", "cat 1 2 4"))
    assert open_table(path).look_up({"cat"})["cat"].tolist() == [1.0, 2.0, 4.0]
    assert len(list(cache.iterdir())) == 2


def test_a_number_that_is_none_concerns_only_those_who_want_its_word(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("cat 1 2\ndog 1 x\n")
    for _ in range(2):
        table = open_table(path)
        assert table.look_up({"cat"})["cat"].tolist() == [1.0, 2.0]
        with pytest.raises(DataError, match=r"v\.txt:2: the vector of 'dog' has a value that is not a number"):
            table.look_up({"dog"})


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"cannot write the cache .*file/vectors: .*; name another folder"):
        open_table(write_vectors(tmp_path))
