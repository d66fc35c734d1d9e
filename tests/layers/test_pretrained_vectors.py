"""Reading word vectors from text files."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from seqkit.errors import DataError
from seqkit.io.download import Dataset, File
from seqkit.layers.pretrained_vectors import PUBLISHED, read_vectors, read_words, vector_file
from tests.helpers.data import needs_data
from tests.helpers.word_vectors import write_vectors


def test_reading_vectors(tmp_path: Path) -> None:
    path = write_vectors(tmp_path)
    assert read_words(path) == (["the", "cat", "paris", ". . .", "lion"], 3)
    vectors = read_vectors(path, {"the", "lion", ". . .", "absent"})
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
        assert read_words(path) == (["cat", "été"], 3)
        assert read_vectors(path, {"été"})["été"].tolist() == [4.0, 5.0, 6.0]


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
    words, width = read_words(vector_file("glove-6b-50d"))
    assert (len(words), width, words[0]) == (100_000, 50, "the")


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
        read_vectors(path, set(read_words(path)[0]))
