"""The tasks `ner` and `ner-text`: the generator, CoNLL files of every layout, published data, the user's files."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file
from seqkit_ner import generator, ner, ner_text, sources
from seqkit_ner.conll_reader import ConllReader
from seqkit_ner.scores import plain_scores
from seqkit_ner.sources import CONLL2000, NCBI_DISEASE, WNUT17, is_held_out

from seqkit import DataError, Example, Limit, Prediction, Tags, Task, Tokens, UsageError, Words, recipe
from seqkit.cli import main
from seqkit.data.store import prepare
from seqkit.metrics import span_f1, spans
from seqkit.reading import Columns, Counted, collect_reports
from seqkit.recipe import build_task
from seqkit.spans import fault
from seqkit.testing import TaskConformance
from tests.helpers.data import needs_data

GENERATED = {split: list(generator.sentences(split, 1500, seed=1)) for split in ("train", "dev", "test")}


def entities(rows: Sequence[tuple[list[str], list[str]]]) -> list[tuple[str, str]]:
    """(type, text) of every entity."""
    return [(kind, " ".join(words[a:b])) for words, tags in rows for kind, a, b in spans(tags)]


class TestGenerator:
    def test_the_same_sentences_each_time_and_a_shorter_split_begins_a_longer_one(self) -> None:
        assert list(generator.sentences("dev", 200, seed=1)) == GENERATED["dev"][:200]
        assert list(generator.sentences("dev", 200, seed=2)) != GENERATED["dev"][:200]
        # Pinned: the scores in the recipe's header are of these sentences.
        words, tags = GENERATED["train"][0]
        assert " ".join(words) == "The chairman of Whitby , Sofia Barton , resigned on 12 June 1918 ."
        assert " ".join(tags) == "O O O B-company O B-person I-person O O O B-date I-date I-date O"

    def test_no_sentence_is_twice_in_a_split_or_in_two_splits(self) -> None:
        texts = [" ".join(words) for rows in GENERATED.values() for words, _ in rows]
        assert len(set(texts)) == len(texts) == 4500
        other = {" ".join(words) for words, _ in generator.sentences("test", 500, seed=2)}
        assert not other & {" ".join(words) for words, _ in GENERATED["train"]}

    def test_tags_are_legal_and_every_sentence_begins_with_a_capital(self) -> None:
        for rows in GENERATED.values():
            for words, tags in rows:
                assert len(words) == len(tags)
                assert fault(tags, "iob2") is None
                assert words[0][0].isupper()
                assert words[-1] == "."
                assert all(word and not re.search(r"[<>\s]", word) for word in words)

    def test_one_name_is_of_several_types(self) -> None:
        types = defaultdict(set)
        for kind, text in entities(GENERATED["train"]):
            types[text].add(kind)
        assert all(types[name] == {"person", "place", "company"} for name in ("Preston", "Lincoln", "Houston"))
        first = {text.split()[0] for kind, text in entities(GENERATED["train"]) if kind == "person"}
        months = {word for kind, text in entities(GENERATED["train"]) if kind == "date" for word in text.split()}
        assert {"April", "May", "June", "August"} <= first & months

    def test_most_held_out_names_are_new(self) -> None:
        seen = {text for _, text in entities(GENERATED["train"])}
        names = [text for kind, text in entities(GENERATED["test"]) if kind != "date"]
        assert sum(name not in seen for name in names) / len(names) > 0.5

    def test_a_list_of_words_is_far_from_enough(self) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for words, tags in GENERATED["train"]:
            for word, tag in zip(words, tags, strict=True):
                counts[word][tag] += 1

        def most_frequent_tag(word: str) -> str:
            if word in counts:
                return counts[word].most_common(1)[0][0]
            return "B-person" if word[0].isupper() else "O"

        predictions = [Prediction([most_frequent_tag(word) for word in words]) for words, _ in GENERATED["test"]]
        assert span_f1(predictions, [tags for _, tags in GENERATED["test"]])["span_f1"] < 0.4


def read(path: Path, content: str | bytes, **options: Any) -> list[Example]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(ConllReader(**options).read(path))


class TestConllReader:
    def test_sentences_words_tags_and_ids(self, tmp_path: Path) -> None:
        examples = read(tmp_path / "a.conll", "EU B-ORG\nrejects O\n\nPeter B-PER\nBlackburn I-PER\n")
        assert examples == [
            Example(["EU", "rejects"], ["B-ORG", "O"], "a.conll:1"),
            Example(["Peter", "Blackburn"], ["B-PER", "I-PER"], "a.conll:4"),
        ]

    def test_conll_2003(self, tmp_path: Path) -> None:
        content = (
            "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP I-PER\n"
            "-DOCSTART- -X- O O\nBonn NNP I-NP I-LOC\nParis NNP I-NP B-LOC\n"
        )
        examples = read(tmp_path / "eng", content, scheme="iob1")
        assert [example.input for example in examples] == [["EU", "rejects"], ["Peter"], ["Bonn", "Paris"]]
        assert examples[2].target == ["I-LOC", "B-LOC"]
        assert [example.id for example in examples] == ["eng:3", "eng:6", "eng:8"]

    def test_separators(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        for separator, content in (
            ("tab", "New York\tB-x\n\t\nit\tO\n"),
            ("blanks", "  New \t B-x\t\n \t \nit O"),
            ("space", "New B-x\n \nit O\n"),
        ):
            examples = read(path, content, separator=separator)
            assert [example.target for example in examples] == [["B-x"], ["O"]], separator
        assert read(path, "New York\tB-x\n", separator="tab")[0].input == ["New York"]
        # White space that no one would take for a separator is part of a word.
        assert read(path, "a\u00a0b O\n")[0].input == ["a\u00a0b"]

    @pytest.mark.parametrize(
        ("word", "tag", "expected"),
        [(1, -1, ("w", "O")), (2, 3, ("p", "B-x")), (-3, -2, ("p", "B-x")), (4, 3, ("O", "B-x"))],
    )
    def test_columns(self, tmp_path: Path, word: int, tag: int, expected: tuple[str, str]) -> None:
        (example,) = read(tmp_path / "a", "w p B-x O\n", word=word, tag=tag)
        assert (example.input[0], example.target[0]) == expected

    def test_comments_only_where_asked_for(self, tmp_path: Path) -> None:
        content = "# text = a\n#tag O\n"
        (example,) = read(tmp_path / "a", content, comment="# ")
        assert example.input == ["#tag"]
        with pytest.raises(DataError, match=r"a:2: has 2 columns, but line 1 of the same sentence has 4"):
            read(tmp_path / "a", content)

    @pytest.mark.parametrize(
        ("content", "options", "words", "left_out"),
        [
            # A hashtag at the start, inside, and alone; a comment in front.
            ("# id 1\n#win O\nAnna B-x\n", {}, [["#win", "Anna"]], 1),
            ("Anna B-x\n# O\n#win O\n", {}, [["Anna", "#", "#win"]], 0),
            ("Anna B-x\n\n#win O\n", {}, [["Anna"], ["#win"]], 0),
            # What is no tag of the scheme is no word.
            ("# newdoc\nAnna B-x\n# text\n", {}, [["Anna"]], 2),
            ("#\nAnna B-x\n", {}, [["Anna"]], 1),
            ("# a b c\nAnna B-x\n", {}, [["Anna"]], 1),
            # Any text can be a tag: a comment is in front of a sentence, unless tabs separate the columns.
            ("# text\nAnna NOUN\n# SYM\n", {"scheme": None}, [["Anna", "#"]], 1),
            ("#win\tSYM\nAnna\tNOUN\n# a b\n", {"scheme": None, "separator": "tab"}, [["#win", "Anna"]], 1),
            ("# only\n\nAnna B-x\n", {}, [["Anna"]], 1),
        ],
    )
    def test_a_comment_eats_no_word(
        self, tmp_path: Path, content: str, options: dict[str, Any], words: list[list[str]], left_out: int
    ) -> None:
        with collect_reports() as reading:
            assert [example.input for example in read(tmp_path / "a", content, comment="#", **options)] == words
        assert sum(things.count for things in reading.left_out.values()) == left_out
        hashes = sum(word.startswith("#") for sentence in words for word in sentence)
        assert sum(things.count for things in reading.changed.values()) == hashes

    def test_what_is_used_and_passed_over_is_reported(self, tmp_path: Path) -> None:
        content = "-DOCSTART- -X- O\n\nEU NNP B-x\nrejects VBZ O\n\n# note\nGerman JJ I-x\n"
        with collect_reports() as reading:
            assert len(list(read(tmp_path / "a", content, comment="#", repair=True))) == 2
        assert reading.tables == {"a": Columns({"input": 1, "target": 3}, (2,))}
        assert {kind: things.first for kind, things in reading.left_out.items()} == {
            "line between documents (-DOCSTART-)": "a:1",
            "comment line (#)": "a:6",
        }
        assert reading.changed == {"sentence whose tags break the scheme, corrected (repair)": Counted(1, "a:7")}

    def test_windows_line_ends_marks_and_gzip(self, tmp_path: Path) -> None:
        (example,) = read(tmp_path / "a.gz", gzip.compress(b"\xef\xbb\xbfa B-x\r\nb I-x\r\n\r\n"))
        assert example == Example(["a", "b"], ["B-x", "I-x"], "a.gz:1")

    def test_a_file_may_change_its_columns_between_sentences(self, tmp_path: Path) -> None:
        assert [e.target for e in read(tmp_path / "a", "a x O\n\nb x y O\n")] == [["O"], ["O"]]

    @pytest.mark.parametrize(
        ("content", "options", "message"),
        [
            (
                "a O\nb I-x\n",
                {},
                r"a:2: tag 'I-x' cannot stand after 'O' in iob2; all tags of the file fit `scheme: iob1`$",
            ),
            ("a O\nb I-x\n\nc S-x\n", {}, r"a:2: tag 'I-x' cannot stand after 'O' in iob2; set scheme to that"),
            ("a O\n\nb S-x\n", {}, r"a:3: tag 'S-x' is none of iob2"),
            ("a O\nb S-x\n", {"repair": True}, r"a:2: tag 'S-x' is none of iob2"),
            ("a B-x\nb O\n", {"scheme": "bioes"}, r"a:2: tag 'O' cannot stand after 'B-x' in bioes"),
            ("a B-x\n", {"scheme": "bioes"}, r"a:1: tag 'B-x' begins a span that the sequence does not end"),
            ("a O\nb\n", {}, r"a:2: has 1 columns, but line 1 of the same sentence has 2"),
            ("a\n", {}, r"a:1: has 1 columns, so word and tag are in the same column"),
            ("a O\n", {"tag": 3}, r"a:1: has 2 columns, so there is no column 3 for the tag"),
            ("a O\n", {"word": -3}, r"a:1: has 2 columns, so there is no column -3 for the word"),
            ("a\t\n", {"separator": "tab"}, r"a:1: the tag is empty"),
            ("\tO\n", {"separator": "tab"}, r"a:1: the word is empty"),
            ("a  O\n", {"separator": "space", "tag": 2}, r"a:1: the tag is empty"),
        ],
    )
    def test_a_problem_is_reported_with_its_line(
        self, tmp_path: Path, content: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            read(tmp_path / "a", content, **options)

    @pytest.mark.parametrize(
        ("tags", "scheme", "fitting"),
        [
            ("O I-x I-x B-x", "iob2", "iob1"),
            ("O I-x I-x", "bioes", "iob1"),
            ("B-x I-x O B-y", "bioes", "iob2"),
            ("B-x E-x O S-x", "iob2", "bioes"),
            ("B-x L-x O U-x", "iob2", "bilou"),
            ("B-x M-x E-x S-y", "bioes", "bmes"),
            ("B-x M-x E-x S-y", "iob2", "bmes"),
            ("U-x O", "bmes", "bilou"),
            ("x O y", "iob2", "plain"),
            ("NN VB NN", "iob2", "none"),
        ],
    )
    def test_a_wrong_scheme_is_one_line_that_names_the_one_that_fits(
        self, tmp_path: Path, tags: str, scheme: str, fitting: str
    ) -> None:
        sentence = "".join(f"w {tag}\n" for tag in tags.split())
        with pytest.raises(DataError) as raised:
            read(tmp_path / "a", f"{sentence}\n" * 30, scheme=scheme)
        (problem,) = raised.value.problems
        assert problem.hint == f"all tags of the file fit `scheme: {fitting}`"
        task = ner(folder=tmp_path, train="a", dev=None, test=None, held_out=0.0, scheme=fitting)  # type: ignore[arg-type]
        assert len(list(task.read("train"))) == 30

    @pytest.mark.parametrize(
        ("scheme", "tags", "expected"),
        [
            ("bilou", "B-x I-x L-x O U-y", "B-x I-x E-x O S-y"),
            ("bmes", "B-x M-x E-x O S-y", "B-x I-x E-x O S-y"),
        ],
    )
    def test_other_letters_of_bioes(self, tmp_path: Path, scheme: str, tags: str, expected: str) -> None:
        (example,) = read(tmp_path / "a", "".join(f"w {tag}\n" for tag in tags.split()), scheme=scheme)
        assert example.target == expected.split()

    def test_a_prefix_is_taken_off_every_word(self, tmp_path: Path) -> None:
        (example,) = read(tmp_path / "a", "de:Berlin B-LOC\nde:: O\n", prefix="de:")
        assert example.input == ["Berlin", ":"]
        with pytest.raises(DataError, match="a:2: the word 'en:x' is not 'de:' and more; check `prefix`"):
            read(tmp_path / "a", "de:Berlin B-LOC\nen:x O\n", prefix="de:")

    def test_conllu_is_known_by_its_suffix(self, tmp_path: Path) -> None:
        content = "# text = vámonos al mar\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
        words = [("1", "vamos", "VERB"), ("2", "nos", "PRON"), ("2.1", "empty", "VERB"), ("3", "#mar", "NOUN")]
        for number, word, kind in words:
            content += f"{number}\t{word}\t_\t{kind}\tX\t_\t_\t_\t_\t_\n"
        with collect_reports() as reading:
            (example,) = read(tmp_path / "a.conllu", content, scheme=None)
        assert example == Example(["vamos", "nos", "#mar"], ["VERB", "PRON", "NOUN"], "a.conllu:3")
        assert {kind: left.count for kind, left in reading.left_out.items()} == {
            "comment line (#)": 1,
            "range of words (CoNLL-U); its words are read": 1,
            "empty node (CoNLL-U)": 1,
        }
        (example,) = read(tmp_path / "a.conllu", content, scheme=None, tag=5)
        assert example.target == ["X"] * 3
        with pytest.raises(DataError, match=r"a\.conllu:1: has 2 columns; CoNLL-U has 10"):
            read(tmp_path / "a.conllu", "a\tO\n")

    def test_parallel_files(self, tmp_path: Path) -> None:
        (tmp_path / "seq.in").write_text("to boston\n\nfares\n", encoding="utf-8")
        (tmp_path / "seq.out").write_text("O B-to\n\nO\n", encoding="utf-8")
        task = ner(folder=tmp_path, train="seq.in|seq.out", dev=None, test=None, held_out=0.0)
        assert [(e.input, e.target) for e in task.read("train")] == [
            (["to", "boston"], ["O", "B-to"]),
            (["fares"], ["O"]),
        ]
        (tmp_path / "seq.out").write_text("O B-to\n\nO O\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"seq.out:3: has 2 tags, but line 3 of seq.in has 1 words"):
            list(task.read("train"))

    @pytest.mark.parametrize(
        "row",
        [
            {"tokens": ["New", "York", "!"], "ner_tags": ["B-x", "I-x", "O"]},
            {"words": ["New", "York", "!"], "tags": ["B-x", "I-x", "O"]},
            {"text": "New York!", "spans": [{"start": 0, "end": 8, "label": "x"}]},
            {"text": "New York!", "entities": [[0, 8, "x"]], "id": 3},
        ],
    )
    @pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
    def test_json_of_tags_or_spans(self, tmp_path: Path, row: dict[str, Any], name: str) -> None:
        content = json.dumps(row) if name == "a.jsonl" else json.dumps([row])
        (example,) = read(tmp_path / name, content, tokenizer="punctuation")
        assert (example.input, example.target) == (["New", "York", "!"], ["B-x", "I-x", "O"])
        (example,) = ConllReader(tokenizer="punctuation").read(tmp_path / name, labelled=False)
        assert (example.input, example.target) == (["New", "York", "!"], None)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (
                {"text": "New York!", "spans": [[0, 8, "x"]]},
                "the span 0 to 8, 'New York', does not begin",
            ),
            ({"text": "a b", "spans": [[0, 3, "x"], [2, 3, "y"]]}, "the span 2 to 3 overlaps another one"),
            ({"text": "a b", "spans": [[0, 3]]}, r"\[0, 3\] is not a span"),
            ({"text": "a b", "spans": 1}, "its spans should be a list"),
            ({"tokens": ["a"], "tags": ["O", "O"]}, "has 1 words, but 2 tags"),
            ({"tokens": "a", "tags": ["O"]}, "`tokens` should be a list of text"),
            ({"sentence": "a"}, "its first object has neither `tokens` nor `text`"),
            ({"text": "a"}, "its first object has `text`, but none of spans"),
        ],
    )
    def test_json_is_refused_where_it_is_wrong(self, tmp_path: Path, row: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            read(tmp_path / "a.jsonl", json.dumps(row) + "\n")

    def test_all_problems_are_reported_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as raised:
            read(tmp_path / "a", "a O\nb I-x\n\nc O\n\nd Q\n\ne\n")
        assert [problem.where.rpartition(":")[2] for problem in raised.value.problems] == ["2", "6", "8"]

    def test_repair_keeps_what_conlleval_reads(self, tmp_path: Path) -> None:
        broken = "a I-x\nb I-x\nc O\nd I-y\ne I-x\n"
        (example,) = read(tmp_path / "a", broken, repair=True)
        assert example.target == ["B-x", "I-x", "O", "B-y", "B-x"]
        (legal,) = read(tmp_path / "a", "a B-x\nb I-x\n", repair=True)
        assert legal.target == ["B-x", "I-x"]

    def test_impossible_options(self) -> None:
        with pytest.raises(UsageError, match="word_column: 0 is not a column; count from 1"):
            ConllReader(word=0)
        with pytest.raises(UsageError, match="comment: should not be empty"):
            ConllReader(comment="")


FILE = "Anna B-PER\nsaw O\nBonn B-LOC\n\nBonn B-LOC\nis O\nfar O\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    for name in ("train", "dev", "test"):
        (path / f"{name}.conll").write_text(FILE)
    return path


def stored(task: Task, tmp_path: Path) -> Any:
    return prepare(task, key={}, cache=tmp_path / "cache")


class TestTask:
    def test_the_default(self, tmp_path: Path) -> None:
        task = ner(sizes=(50, 20, 30))
        prepared = stored(task, tmp_path)
        assert [len(prepared.splits[split].x) for split in task.splits] == [50, 20, 30]
        assert task.head == "crf"
        assert task.best == "span_f1"
        assert prepared.target.labels == sorted(
            {"O", *(f"{letter}-{kind}" for letter in "BIES" for kind in ("company", "date", "person", "place"))}
        )
        words, tags = next(generator.sentences("train", 1, seed=1))
        assert prepared.target.decode(prepared.splits["train"].y[0]) == tags
        assert len(prepared.input.decode(prepared.splits["train"].x[0]).split()) == len(words)

    def test_a_folder_of_the_user(self, folder: Path, tmp_path: Path) -> None:
        task = ner(folder=folder)
        prepared = stored(task, tmp_path)
        assert prepared.target.decode(prepared.splits["test"].y[0]) == ["B-PER", "O", "B-LOC"]
        assert task.about["dataset"] == str(folder)
        assert task.files is not None
        assert list(task.files("dev")) == [folder / "dev.conll"]

    @pytest.mark.parametrize("scheme", ["iob1", "bioes", "plain"])
    def test_predictions_come_in_the_scheme_of_the_data(self, folder: Path, tmp_path: Path, scheme: Any) -> None:
        table = {"iob1": "I-", "bioes": "S-", "plain": ""}
        for path in folder.iterdir():
            path.write_text(FILE.replace("B-", table[scheme]))
        task = ner(folder=folder, scheme=scheme)
        prepared = stored(task, tmp_path)
        target = prepared.target.decode(prepared.splits["test"].y[0])
        assert target == [f"{table[scheme]}PER", "O", f"{table[scheme]}LOC"]
        assert task.metric is not None
        assert task.metric([Prediction(target)], [target])["span_f1"] == 1.0
        assert task.metric([Prediction([target[0], "O", "O"])], [target])["span_recall"] == 0.5

    def test_tags_that_mark_no_spans(self, folder: Path, tmp_path: Path) -> None:
        for path in folder.iterdir():
            path.write_text("a DET\ncat NOUN\n\nthe DET\n")
        task = ner(folder=folder, scheme="none")
        assert task.best == "accuracy"
        prepared = stored(task, tmp_path)
        assert prepared.target.labels == ["DET", "NOUN"]
        assert task.metric is not None
        assert task.metric([Prediction(["DET", "DET"])], [["DET", "NOUN"]])["accuracy"] == 0.5

    def test_a_type_that_train_does_not_have(self, folder: Path, tmp_path: Path) -> None:
        (folder / "test.conll").write_text(FILE.replace("B-LOC", "B-ORG"))
        with pytest.raises(DataError, match=r"test\.conll:1: target step 3: label 'ORG' was not seen in training"):
            stored(ner(folder=folder), tmp_path)
        task = ner(folder=folder, allow_unseen=True)
        prepared = stored(task, tmp_path)
        targets = [prepared.target.decode(prepared.splits["test"].y[i]) for i in range(2)]
        assert task.metric is not None
        scores = task.metric([Prediction(["B-PER", "O", "O"]), Prediction(["O", "O", "O"])], targets)
        assert scores["span_recall"] == pytest.approx(1 / 3)

    def test_part_of_train_is_held_out(self, folder: Path) -> None:
        many = "\n\n".join(f"w{n} O\nx B-y" for n in range(400))
        (folder / "train.conll").write_text(many)
        task = ner(folder=folder, dev=None, test=None, held_out=0.25)
        assert task.splits == ("train", "dev")
        train, dev = ([example.input[0] for example in task.read(split)] for split in task.splits)
        assert sorted(train + dev) == sorted(f"w{n}" for n in range(400))
        assert 60 < len(dev) < 140
        assert is_held_out(["a", "b"], 0.5) == is_held_out(["a", "b"], 0.5)
        assert ner(folder=folder, dev=None, held_out=0.0).splits == ("train", "test")

    def test_a_missing_file(self, folder: Path) -> None:
        (folder / "dev.conll").unlink()
        with pytest.raises(DataError, match=r"dev\.conll: there is no such file; `dev` names the file; with null"):
            list(ner(folder=folder).read("dev"))

    def test_options_reach_the_field(self, tmp_path: Path) -> None:
        path = tmp_path / "v.txt"
        path.write_text("cat 1 2\n")
        task = ner(lower=False, min_count=3, drop=0.2, characters="conv", vectors=path, max_length=40, truncate="head")
        assert isinstance(task.input, Words)
        assert (task.input.lower, task.input.min_count, task.input.drop) == (False, 3, 0.2)
        assert (task.input.characters, task.input.vectors) == ("conv", path)
        assert task.limit == Limit(40, "head")
        assert path in task.input.fit_files()
        assert ner(learn="iob2").target == Tags(scheme="iob2", learn="iob2")

    def test_long_sentences_are_windowed_and_lose_nothing(self, folder: Path, tmp_path: Path) -> None:
        prepared = stored(ner(folder=folder, max_length=2), tmp_path)
        split = prepared.splits["test"]
        assert [len(split.x[i]) for i in range(len(split.x))] == [2, 1, 2, 1]
        joined = [tag for i in (0, 1) for tag in prepared.target.decode(split.y[i])]
        assert joined == ["B-PER", "O", "B-LOC"]

    def test_the_words_alone(self, tmp_path: Path) -> None:
        task = ner_text(sizes=(60, 10, 10))
        prepared = stored(task, tmp_path)
        assert isinstance(prepared.input, Tokens)
        words, _ = next(generator.sentences("train", 1, seed=1))
        assert len(prepared.splits["train"].x[0]) == len(words)
        assert task.head == "language"


def test_plain_tags_are_scored_as_spans() -> None:
    predictions = [Prediction(["a", "a", "O", "b"])]
    assert plain_scores(predictions, [["a", "a", "O", "b"]])["span_f1"] == 1.0
    assert plain_scores(predictions, [["a", "O", "O", "b"]])["span_f1"] == 0.5
    assert plain_scores(predictions, [["a", "O", "O", "b"]])["accuracy"] == 0.75


class TestConformance(TaskConformance):
    task = "ner"
    options: ClassVar[dict[str, Any]] = {"sizes": [30, 10, 10], "char_hidden": 4}


class TestConformanceOfConvolutionAndTag(TaskConformance):
    task = "ner"
    options: ClassVar[dict[str, Any]] = {"sizes": [30, 10, 10], "characters": "conv", "char_hidden": 4}
    head = "tag"


class TestConformanceOfTheWordsAlone(TaskConformance):
    task = "ner-text"
    options: ClassVar[dict[str, Any]] = {"sizes": [30, 10, 10]}


RECIPE = """
tasks:
  ner: {sizes: [500, 80, 80], char_hidden: 20, head: {use: crf, nbest: 2}}
encoder: {use: lstm, dim: 50, hidden: 40, bidirectional: true}
train: {epochs: 4, batch: 16, optimizer: {use: adamw, lr: 0.01}, histograms: false}
expect: {ner/test/span_f1: {at_least: 0.5}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ner")
    (folder / "ner.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(folder / "cache"))
        done = CliRunner().invoke(main, ["run", str(folder / "ner.yaml"), "--out", str(folder / "run"), "--json"])
        assert done.exit_code == 0, done.output
        yield folder / "run"


class TestFromARecipe:
    """As a user runs it: trained from a recipe, scored at any batch size, a line tagged."""

    def test_it_learns(self, run: Path) -> None:
        scores = json.loads((run / "metrics.json").read_text())
        assert scores["ner/test/span_f1"] > 0.5
        assert {"ner/test/span_precision", "ner/test/span_recall", "ner/test/span_f1.place"} <= scores.keys()

    def test_scores_do_not_depend_on_the_batch(self, run: Path) -> None:
        expected = json.loads((run / "metrics.json").read_text())
        for size in ("1", "7"):
            done = CliRunner().invoke(main, ["evaluate", str(run), "--batch", size, "--json", "--quiet"])
            assert done.exit_code == 0, done.output
            scores = json.loads(done.stdout)
            assert scores
            assert all(scores[key] == pytest.approx(expected[key], abs=1e-6) for key in scores)

    def test_a_line_is_tagged(self, run: Path) -> None:
        done = CliRunner().invoke(main, ["predict", str(run), "--text", "Mr Brogsen told reporters in Preston ."])
        assert done.exit_code == 0, done.output
        result = json.loads(done.stdout)
        assert len(result["prediction"]) == len(result["confidence"]) == 7
        predicted = result["scores"]["spans"]
        assert [(span["type"], span["start"], span["end"]) for span in predicted] == spans(result["prediction"])
        assert all(0.0 < span["confidence"] <= 1.0 for span in predicted)
        first, second = result["scores"]["nbest"]
        assert first["value"] == result["prediction"]
        assert first["confidence"] >= second["confidence"]


def test_vectors_start_a_model_that_then_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    vectors, run = tmp_path / "vectors.txt", tmp_path / "run"
    vectors.write_text("told 1 2 3 4\nParis -1 -2 -3 -4\n")
    (tmp_path / "ner.yaml").write_text(
        "tasks: {ner: {sizes: [20, 5, 5], char_hidden: 4, vectors: vectors.txt, tune: false}}\n"
        "encoder: {use: gru, dim: 10, hidden: 8}\ntrain: {steps: 3, histograms: false}\n"
    )
    done = CliRunner().invoke(main, ["run", str(tmp_path / "ner.yaml"), "--out", str(run), "--quiet"])
    assert done.exit_code == 0, done.output
    weights = load_file(run / "model/model.safetensors")
    assert [1.0, 2.0, 3.0, 4.0] in weights["layers.ner.fixed"].tolist()
    assert [-1.0, -2.0, -3.0, -4.0] in weights["layers.ner.fixed"].tolist()
    vectors.unlink()
    done = CliRunner().invoke(main, ["predict", str(run), "--text", "Mr Fem told Paris ."])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["prediction"]) == 5
    done = CliRunner().invoke(main, ["evaluate", str(run)])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["run", str(tmp_path / "ner.yaml"), "--out", str(tmp_path / "again"), "--quiet"])
    assert done.exit_code == 2
    assert "vectors.txt" in done.output


@needs_data
class TestPublished:
    @pytest.mark.parametrize(
        ("dataset", "expected"),
        [
            (NCBI_DISEASE, {"train": (5424, 135_701, 5134), "dev": (923, 23_969, 787), "test": (940, 24_497, 960)}),
            (
                CONLL2000,
                {"train": (8043, 190_731, 96_555), "dev": (893, 20_996, 10_423), "test": (2012, 47_377, 23_852)},
            ),
            (WNUT17, {"train": (3394, 62_730, 1975), "dev": (1009, 15_733, 836), "test": (1287, 23_394, 1079)}),
        ],
    )
    def test_sentences_words_and_entities_are_as_many_as_published(self, dataset: Any, expected: Any) -> None:
        source = sources.published(dataset)
        for split, (sentences, words, entity_count) in expected.items():
            examples = list(source.read(split))
            assert len(examples) == sentences
            assert sum(len(example.input) for example in examples) == words
            assert sum(len(spans(example.target)) for example in examples) == entity_count

    def test_wnut_has_lone_tabs_between_sentences(self) -> None:
        (path,) = sources.published(WNUT17).files("train")  # type: ignore[misc]
        assert path.read_bytes().count(b"\n\t\n") > 2000


def test_the_recipe_of_the_documentation_is_one_and_so_are_its_options(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/ner.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    table = [row.split("|")[2] for row in page.splitlines() if row.startswith("| ") and "`" in row.split("|")[2]]
    assert len(table) == 9
    for row in ["", *table]:
        match = re.match(r" `(.*?)`", row)
        options = f", {match[1]}" if match else ""
        made = recipe.parse(shown.replace("my-data", f"{folder}{options}").encode(), "ner.yaml")
        assert build_task(made.tasks["ner"]).input.unit == "words"
