"""The task `charlm`: where its text comes from, and how it is split."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from seqkit_charlm import charlm
from seqkit_charlm.sources import SHAKESPEARE
from seqkit_charlm.splits import Document, PositionSplit

from seqkit import DataError, Example, Next, Task, Tokens
from seqkit.reading import collect_reports
from tests.helpers.data import needs_data


def text_of(task: Task, split: str) -> str:
    return "".join(example.input for example in task.read(split))


def texts(task: Task) -> dict[str, str]:
    return {split: text_of(task, split) for split in task.splits}


class TestPythonDocs:
    def test_the_splits_are_the_topics_in_order_without_a_change(self) -> None:
        from pydoc_data.topics import topics

        text = "".join(topics[name] for name in sorted(topics))
        splits = texts(charlm())
        assert splits["train"] + splits["dev"] + splits["test"] == text
        assert len(splits["test"]) == pytest.approx(0.1 * len(text), abs=1)
        assert len(splits["dev"]) == pytest.approx(0.045 * len(text), abs=1)

    def test_train_has_one_example_a_topic_and_test_has_pieces(self) -> None:
        from pydoc_data.topics import topics

        train = list(charlm().read("train"))
        first = min(topics)
        assert train[0] == Example(topics[first], None, f"pydoc_data.topics[{first!r}]:1")
        test = list(charlm().read("test"))
        assert {len(example.input) for example in test[:-1]} == {10_000}
        assert 0 < len(test[-1].input) <= 10_000

    def test_ids_say_where_a_piece_starts(self) -> None:
        from pydoc_data.topics import topics

        ids = []
        for name in sorted(topics):
            line = 1
            for character in topics[name]:
                ids.append(f"pydoc_data.topics[{name!r}]:{line}")
                line += character == "\n"
        task = charlm(piece=3000)
        position = len(text_of(task, "train"))
        for example in [*task.read("dev"), *task.read("test")]:
            assert example.id == ids[position]
            position += len(example.input)
        assert position == len(ids)

    def test_files_are_those_that_the_text_comes_from(self) -> None:
        import pydoc_data.topics

        task = charlm()
        assert task.files is not None
        assert list(task.files("train")) == [Path(pydoc_data.topics.__file__)]


class TestTask:
    def test_what_it_is(self) -> None:
        task = charlm(unit="bytes", window=64, lower=True, min_count=2)
        assert task.input == Tokens("bytes", lower=True, min_count=2)
        assert isinstance(task.target, Next)
        assert (task.head, task.metric, task.best, task.window) == ("language", None, "nats", 64)

    def test_max_size_is_the_number_of_pieces_for_pieces(self) -> None:
        assert charlm(unit="pieces", max_size=500).input == Tokens("pieces", pieces=500)
        assert charlm(unit="words", max_size=500).input == Tokens("words", max_size=500)

    def test_a_split_with_no_share_does_not_exist(self, tmp_path: Path) -> None:
        file = write(tmp_path, "abcdefghij" * 10)
        assert charlm(file=file, dev=0.0).splits == ("train", "test")
        task = charlm(file=file, dev=0.0, test=0.0)
        assert task.splits == ("train",)
        assert text_of(task, "train") == "abcdefghij" * 10

    def test_imports_and_calls_without_torch(self) -> None:
        code = "import sys, seqkit_charlm; seqkit_charlm.charlm(); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestFile:
    def test_splits_are_contiguous_and_by_position(self, tmp_path: Path) -> None:
        text = "".join(f"line {i}\n" for i in range(200))
        splits = texts(charlm(file=write(tmp_path, text), dev=0.2, test=0.25, piece=50))
        assert "".join(splits.values()) == text
        assert len(splits["test"]) == len(text) - int(len(text) * 0.75)
        assert len(splits["dev"]) == int(int(len(text) * 0.75) * 0.2)

    def test_ids_are_file_and_line(self, tmp_path: Path) -> None:
        task = charlm(file=write(tmp_path, "abcd\n" * 100), test=0.5, dev=0.0, piece=50)
        assert [example.id for example in task.read("test")] == [f"text.txt:{line}" for line in (51, 61, 71, 81, 91)]
        assert [example.id for example in task.read("train")] == ["text.txt:1"]

    def test_a_piece_that_starts_with_a_line_end_is_of_the_line_that_ends(self, tmp_path: Path) -> None:
        task = charlm(file=write(tmp_path, "abcd\n" * 8), test=0.5, dev=0.0, piece=4)
        assert [example.id for example in task.read("test")] == [f"text.txt:{line}" for line in (5, 5, 6, 7, 8)]

    def test_a_gzipped_file_reads_the_same(self, tmp_path: Path) -> None:
        text = "some text\nof two lines\n" * 20
        packed = tmp_path / "text.txt.gz"
        packed.write_bytes(gzip.compress(text.encode()))
        assert texts(charlm(file=packed)) == texts(charlm(file=write(tmp_path, text)))

    @pytest.mark.parametrize("unit", ["words", "pieces"])
    def test_no_word_is_cut_in_two(self, tmp_path: Path, unit: str) -> None:
        text = "".join(f"{'word' * (i % 7)}{i}  and\n" for i in range(300))
        task = charlm(file=write(tmp_path, text), unit=unit, piece=64)  # type: ignore[arg-type]
        examples = [example.input for split in task.splits for example in task.read(split)]
        assert len(examples) > 10
        assert "".join(examples) == text
        assert [word for example in examples for word in example.split()] == text.split()

    def test_no_piece_is_white_space_alone(self, tmp_path: Path) -> None:
        task = charlm(file=write(tmp_path, ("word" + " " * 150) * 9 + "end"), unit="words", piece=50, test=0.4)
        assert [example.input.split() for example in task.read("test")] == [["word"]] * 3 + [["end"]]

    def test_characters_are_cut_to_the_character(self, tmp_path: Path) -> None:
        task = charlm(file=write(tmp_path, "abcdefg" * 100), piece=64, test=0.5)
        assert [len(example.input) for example in task.read("test")] == [64] * 5 + [30]

    def test_white_space_left_over_is_no_piece_of_its_own(self, tmp_path: Path) -> None:
        task = charlm(file=write(tmp_path, "a" * 129 + "\n"), piece=64, test=0.5, dev=0.0)
        assert [len(example.input) for example in task.read("test")] == [65]

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        task = charlm(file=tmp_path / "absent.txt")
        with pytest.raises(DataError, match=r"absent\.txt"):
            list(task.read("train"))

    def test_too_short_a_text_says_which_split_is_empty(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"text\.txt: dev is empty: it is characters 4 to 3 of 4"):
            list(charlm(file=write(tmp_path, "abcd")).read("dev"))

    def test_a_byte_that_is_not_text_is_located(self, tmp_path: Path) -> None:
        file = tmp_path / "text.txt"
        file.write_bytes(b"first line\nsec\xffond\n")
        with pytest.raises(DataError, match=r"text\.txt:2:4"):
            list(charlm(file=file).read("train"))

    def test_building_the_task_reads_nothing(self, tmp_path: Path) -> None:
        assert charlm(file=tmp_path / "absent.txt").splits == ("train", "dev", "test")


class TestPositionSplit:
    def test_documents_are_cut_where_train_ends(self) -> None:
        split = PositionSplit(dev=0.25, test=0.2, piece=3)
        documents = [Document("a", "12345"), Document("b", "67890")]
        assert list(split.examples(documents, "train")) == [Example("12345", None, "a:1"), Example("6", None, "b:1")]
        assert list(split.examples(documents, "dev")) == [Example("78", None, "b:1")]
        assert list(split.examples(documents, "test")) == [Example("90", None, "b:1")]

    def test_dev_at_the_start(self) -> None:
        split = PositionSplit(dev=0.25, test=0.2, piece=3, dev_at="start")
        documents = [Document("a", "1\n345"), Document("b", "67890")]
        assert list(split.examples(documents, "dev")) == [Example("1\n", None, "a:1")]
        assert list(split.examples(documents, "train")) == [Example("345", None, "a:2"), Example("678", None, "b:1")]
        assert list(split.examples(documents, "test")) == [Example("90", None, "b:1")]
        assert "first 0.25 of the rest is dev" in split.about()

    def test_an_empty_document_is_no_example(self) -> None:
        split = PositionSplit(dev=0.0, test=0.0, piece=3)
        documents = [Document("a", ""), Document("b", "x\ny"), Document("c", ""), Document("d", "z")]
        assert list(split.examples(documents, "train")) == [Example("x\ny", None, "b:1"), Example("z", None, "d:1")]


@pytest.mark.data
@needs_data
class TestShakespeare:
    def test_the_split_is_the_usual_one(self) -> None:
        splits = texts(charlm(source="shakespeare"))
        assert {split: len(text) for split, text in splits.items()} == {
            "train": 953_662,
            "dev": 50_192,
            "test": 111_540,
        }
        assert len(set("".join(splits.values()))) == 65

    def test_dev_at_the_start_leaves_the_other_splits_in_place(self) -> None:
        end, start = (texts(charlm(source="shakespeare", dev_at=dev_at)) for dev_at in ("end", "start"))
        assert start["test"] == end["test"]
        assert start["dev"] + start["train"] == end["train"] + end["dev"]
        assert len(start["dev"]) == 50_192

    def test_pieces(self) -> None:
        test = list(charlm(source="shakespeare").read("test"))
        assert [len(example.input) for example in test] == [10_000] * 11 + [1_540]
        assert test[0].id.startswith("input.txt:")

    def test_the_pin_is_that_of_the_file(self) -> None:
        file = Path(os.environ["SEQKIT_DATA"], SHAKESPEARE.name, "input.txt")
        assert file.stat().st_size == SHAKESPEARE.files[0].size == 1_115_394


def write(folder: Path, text: str) -> Path:
    file = folder / "text.txt"
    file.write_bytes(text.encode("utf-8"))
    return file


class TestOwnFiles:
    """Own files for dev and test, and folders of files."""

    def test_each_split_has_its_file(self, tmp_path: Path) -> None:
        for split in ("train", "valid", "test"):
            (tmp_path / f"{split}.txt").write_text(f"the text of {split}\n" * 30, encoding="utf-8")
        task = charlm(file=tmp_path / "train.txt", dev_file=tmp_path / "valid.txt", test_file=tmp_path / "test.txt")
        expected = {"train": "train", "dev": "valid", "test": "test"}
        assert texts(task) == {split: f"the text of {name}\n" * 30 for split, name in expected.items()}
        assert task.files is not None
        assert [path.name for split in task.splits for path in task.files(split)] == [
            "train.txt",
            "valid.txt",
            "test.txt",
        ]

    @pytest.mark.parametrize(("own", "splits"), [("dev_file", ("dev",)), ("test_file", ("test",))])
    def test_the_other_split_is_a_share_of_the_file(self, tmp_path: Path, own: str, splits: tuple[str, ...]) -> None:
        (tmp_path / "a.txt").write_text("0123456789" * 100, encoding="utf-8")
        (tmp_path / "b.txt").write_text("own", encoding="utf-8")
        task = charlm(file=tmp_path / "a.txt", dev=0.2, test=0.2, **{own: tmp_path / "b.txt"})  # type: ignore[arg-type]
        assert task.splits == ("train", "dev", "test")
        lengths = {split: len(text) for split, text in texts(task).items()}
        assert [lengths[split] for split in splits] == [3]
        assert sum(lengths.values()) == 1003

    def test_a_folder_of_files(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        (tmp_path / "b.txt").write_text("second " * 20, encoding="utf-8")
        (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first " * 20))
        (tmp_path / "deep" / "c.txt").write_text("third " * 20, encoding="utf-8")
        (tmp_path / "notes.pdf").write_text("x", encoding="utf-8")
        (tmp_path / ".hidden.txt").write_text("x", encoding="utf-8")
        with collect_reports() as reading:
            task = charlm(file=tmp_path, dev=0.0, test=0.0)
            assert [(e.input, e.id) for e in task.read("train")] == [
                ("first " * 20, "a.txt.gz:1"),
                ("second " * 20, "b.txt:1"),
                ("third " * 20, "deep/c.txt:1"),
            ]
        assert {kind: left.first for kind, left in reading.left_out.items()} == {
            "file that is not text (.pdf)": "notes.pdf",
            "hidden file": ".hidden.txt",
        }

    def test_another_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes("übung\n".encode("latin-1") * 50)
        assert texts(charlm(file=tmp_path / "a.txt", encoding="latin-1", dev=0.0, test=0.0)) == {
            "train": "übung\n" * 50
        }
        with pytest.raises(DataError, match="byte 0xfc is not UTF-8"):
            texts(charlm(file=tmp_path / "a.txt"))
