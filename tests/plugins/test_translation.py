"""The task `translation`: the generator, the tokenizer, the user's files, scores, a run from end to end."""

from __future__ import annotations

import datetime
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from seqkit_translation import generator, scores, sources, tokenizer, translation

from seqkit import DataError, Example, Limit, MissingExtra, Prediction, Text, Tokens, UsageError
from seqkit.cli import main
from seqkit.data.store import prepare
from seqkit.data.task_data import TaskData
from tests.helpers.data import needs_data

GENERATED = {split: list(generator.pairs(split, 1500, seed=1)) for split in ("train", "dev", "test")}


SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip


def read_number(text: str) -> int:
    """Words to a number, by the grammar of English: the inverse of the generator."""
    total, group = 0, 0
    for word in text.replace("-", " ").split():
        if word == "thousand":
            total, group = group * 1000, 0
        elif word == "hundred":
            group *= 100
        else:
            group += TENS[word] if word in TENS else SMALL.index(word)
    return total + group


def read_date(text: str) -> str:
    """A date in any of the generator's forms to ISO."""
    text = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text)
    forms = ("%d %B %Y", "%B %d, %Y", "%B %d %Y", "the %d of %B %Y", "%a %d %b %Y", "%A, %B %d, %Y", "%d.%m.%Y")
    for form in (*forms, "%d-%b-%Y"):
        try:
            return datetime.datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    raise AssertionError(text)


class TestGenerator:
    def test_every_answer_is_right(self) -> None:
        kinds = set()
        for split in GENERATED.values():
            for source, target in split:
                kinds.add(source.isdigit())
                if source.isdigit():
                    assert read_number(target) == int(source)
                else:
                    assert read_date(source) == target
        assert kinds == {True, False}

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0, "zero"), (13, "thirteen"), (40, "forty"), (99, "ninety-nine"), (100, "one hundred"),
            (4217, "four thousand two hundred seventeen"), (30_000, "thirty thousand"),
            (999_999, "nine hundred ninety-nine thousand nine hundred ninety-nine"),
        ],
    )  # fmt: skip
    def test_numbers(self, number: int, text: str) -> None:
        assert generator.in_words(number) == text

    def test_no_answer_is_in_two_splits_and_no_input_comes_twice(self) -> None:
        answers = [{target for _, target in pairs} for pairs in GENERATED.values()]
        assert not answers[0] & answers[1]
        assert not answers[0] & answers[2]
        assert not answers[1] & answers[2]
        for pairs in GENERATED.values():
            assert len({source for source, _ in pairs}) == len(pairs)

    def test_the_same_pairs_each_time_and_a_shorter_split_begins_a_longer_one(self) -> None:
        assert list(generator.pairs("dev", 200, seed=1)) == GENERATED["dev"][:200]
        assert list(generator.pairs("dev", 200, seed=2)) != GENERATED["dev"][:200]
        assert GENERATED["train"][:2] == PINNED

    @pytest.mark.parametrize("kind", ["numbers", "dates"])
    def test_one_kind_alone(self, kind: Any) -> None:
        pairs = list(generator.pairs("train", 300, seed=1, kind=kind))
        assert {source.isdigit() for source, _ in pairs} == {kind == "numbers"}


PINNED = [("the 17th of November 1904", "1904-11-17"), ("71509", "seventy-one thousand five hundred nine")]


class TestTokenizer:
    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            ("A man's hat, red.", "A man ￭'s hat ￭, red ￭."),
            ("Zwei (junge) Männer", "Zwei ( ￭junge ￭) Männer"),
            ("a T-shirt-maker  and -- so", "a T-shirt-maker and - ￭- so"),
            ("3.5 km; l'eau", "3 ￭. ￭5 km ￭; l ￭'eau"),
            (
                "\u092c\u0939\u0941\u0924 \u0905\u091a\u094d\u091b\u0940.",
                "\u092c\u0939\u0941\u0924 \u0905\u091a\u094d\u091b\u0940 ￭.",
            ),
            ("cafe\u0301-bar, \u0dc1\u0dca\u200d\u0dbb\u0dd3", "cafe\u0301-bar ￭, \u0dc1\u0dca\u200d\u0dbb\u0dd3"),
        ],
    )
    def test_tokens(self, text: str, tokens: str) -> None:
        assert " ".join(tokenizer.split(text)) == tokens

    @given(st.text(max_size=40))
    def test_nothing_is_lost_but_white_space(self, text: str) -> None:
        text = text.replace(tokenizer.MARK, "x")
        assert tokenizer.join(" ".join(tokenizer.split(text))) == " ".join(text.split())

    def test_a_text_that_has_the_mark(self) -> None:
        assert tokenizer.join(" ".join(tokenizer.split("a ￭b"))) == "a ■b"

    @given(st.text(max_size=40).filter(lambda text: tokenizer.MARK not in text))
    def test_plain_text_stays_as_it_is(self, text: str) -> None:
        assert tokenizer.join(text) == text


class TestDetokenize:
    def test_an_unknown_word_becomes_the_input_word_that_it_is_aligned_with(self) -> None:
        prediction = Prediction("<unk> meets <unk> ￭.", 0.5, {"alignment": [1, 0, 2, 3], "best": [["a ￭.", 0.5]]})
        source = "trifft Anna Bert ￭."
        finished = tokenizer.detokenize(source, prediction, replace_unknown=True)
        assert finished.value == "Anna meets Bert."
        assert finished.scores["best"] == [["a.", 0.5]]
        assert tokenizer.detokenize(source, prediction, replace_unknown=False).value == "<unk> meets <unk>."

    def test_without_an_alignment_it_stays_unknown(self) -> None:
        assert tokenizer.detokenize("Anna", Prediction("<unk> x"), replace_unknown=True) == Prediction("<unk> x")

    def test_scores_are_taken_against_the_targets_as_read(self, tmp_path: Path) -> None:
        """A word that is not in the vocabulary counts as itself, so that <unk> is wrong."""
        for name, text in {"train": "a\tx\nb\ty\n" * 3, "dev": "a\tx\nb\tz ￭!\n", "test": "a\tq\n"}.items():
            (tmp_path / f"{name}.tsv").write_text(text, encoding="utf-8")
        task = translation(folder=tmp_path, input_unit="words", target_unit="words", tokenizer="spaces", scores="text")
        ready = prepare(task, key="test", cache=tmp_path / "cache")
        data = TaskData("t", task, ready.input, ready.target, ready.splits)
        assert data.targets("dev") == ["x", "<unk> <unk>"]
        assert [example.target for example in data.read_again("dev", list(ready.splits["dev"].ids))] == ["x", "z ￭!"]
        with pytest.raises(DataError, match=r"dev: dev.tsv:9 is no longer there"):
            data.read_again("dev", ["dev.tsv:1", "dev.tsv:9"])


class TestScores:
    PREDICTED = ("A man rides a horse.", "two dogs run across the green grass", "Nobody is here")
    TARGETS = ("A man rides a brown horse.", "Two dogs run across the grass.", "Nobody is here")

    @pytest.mark.parametrize("lower", [False, True])
    def test_they_are_those_of_sacrebleu(self, lower: bool) -> None:
        predictions = [Prediction(text) for text in self.PREDICTED]
        result = scores.translation_scores(predictions, self.TARGETS, lower=lower)
        bleu = sacrebleu.corpus_bleu(list(self.PREDICTED), [list(self.TARGETS)], lowercase=lower)
        assert result["bleu"] == pytest.approx(bleu.score)
        sides = [[text.lower() if lower else text for text in side] for side in (self.PREDICTED, self.TARGETS)]
        assert result["chrf"] == pytest.approx(sacrebleu.corpus_chrf(sides[0], [sides[1]]).score)
        assert result["exact"] == pytest.approx(1 / 3)

    def test_lower_ignores_case(self) -> None:
        predictions = [Prediction("A DOG")]
        assert scores.translation_scores(predictions, ["a dog"], lower=True)["exact"] == 1.0
        assert scores.translation_scores(predictions, ["a dog"], lower=False)["exact"] == 0.0
        for lower, exact in ((True, 1.0), (False, 0.0)):
            metric: Any = translation(lower=lower).metric
            assert metric(predictions, ["a dog"])["exact"] == exact

    def test_texts_that_a_limit_cut_are_counted(self) -> None:
        predictions = [
            Prediction("a", scores={"cut": True}),
            Prediction("b", scores={"alignment": [0]}),
            Prediction("c"),
        ]
        assert scores.text_scores(predictions, ["a", "b", "x"]) == {"cer": 1 / 3, "exact": 2 / 3, "cut": 1 / 3}

    def test_the_signature_says_how(self) -> None:
        signature = translation(source="multi30k", lower=True).about["scores"]
        assert "case:lc" in signature["bleu"]
        assert "tok:13a" in signature["bleu"]
        assert signature["chrf"].startswith("nrefs:1")

    def test_without_sacrebleu_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sacrebleu", None)
        with pytest.raises(MissingExtra, match=r"seqkit\[text\]"):
            scores.translation_scores([Prediction("a")], ["a"], lower=False)
        assert scores.signature(lower=False) == {}


class TestTask:
    def test_what_it_is(self) -> None:
        task = translation(input_unit="pieces", target_unit="words", lower=True, min_count=2, pieces=90, max_length=30)
        assert task.input == Tokens("pieces", lower=True, min_count=2, pieces=90)
        assert task.target == Text("words", lower=True, min_count=2, pieces=90)
        assert (task.head, task.best, task.limit) == ("attend", "exact", Limit(30, "head"))
        assert translation(source="multi30k").best == "bleu"
        assert translation(source="multi30k", scores="text", best="nats").best == "nats"

    def test_generated_pairs_by_default_as_many_as_asked_for(self) -> None:
        task = translation(sizes=(30, 20, 10))
        read = {split: list(task.read(split)) for split in task.splits}
        assert {split: len(examples) for split, examples in read.items()} == {"train": 30, "dev": 20, "test": 10}
        assert read["dev"][0] == Example(*GENERATED["dev"][0], "generated dev:1")

    def test_a_line_to_predict_is_prepared_like_the_training_data(self, tmp_path: Path) -> None:
        (tmp_path / "train.tsv").write_text("Oh, no!\tja, nein\n")
        options: Any = {"folder": tmp_path, "dev": None, "test": None, "held_out": 0.0}
        task = translation(**options, input_unit="words", target_unit="words")
        assert task.parse is not None
        assert list(task.read("train")) == [Example(task.parse("Oh, no!"), "ja ￭, nein", "train.tsv:1")]
        task = translation(**options, input_unit="words", tokenizer="spaces")
        assert [example.input for example in task.read("train")] == ["Oh, no!"]

    def test_shared_pieces_are_the_same_on_both_sides(self, tmp_path: Path) -> None:
        pairs = "".join(
            f"{a} {b} haus\thouse {b} {a}\n" for a in ("rot", "blau", "gut") for b in ("eins", "zwei", "drei")
        )
        (tmp_path / "train.tsv").write_text(pairs)
        options: Any = {"folder": tmp_path, "dev": None, "test": None, "held_out": 0.0, "pieces": 40}
        is_equal = {}
        for shared in (True, False):
            task = translation(**options, input_unit="pieces", target_unit="pieces", shared=shared)
            ready: Any = prepare(task, key=f"test {shared}", cache=tmp_path / "cache")
            is_equal[shared] = ready.input.vocabulary == ready.target.vocabulary
        assert is_equal == {True: True, False: False}
        with pytest.raises(UsageError, match="only pieces are shared"):
            translation(shared=True)

    def test_imports_and_calls_without_torch_and_sacrebleu(self) -> None:
        code = "import sys; sys.modules['sacrebleu'] = None; import seqkit_translation as t; t.translation(); "
        code += "sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestFolder:
    ROWS = (("guten Tag", "good day"), ("ja, ja", "yes"))

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize(
        ("name", "content", "options"),
        [
            ("mine.tsv", "guten Tag\tgood day\nja, ja\tyes\n", {}),
            ("mine.tsv", "en\tde\ngood day\tguten Tag\nyes\tja, ja\n", {"input_column": "de", "target_column": "en"}),
            ("mine.tsv", "a\tb\tc\n1\tgood day\tguten Tag\n2\tyes\tja, ja\n",
             {"input_column": 3, "target_column": 2, "header": True}),
            ("mine.csv", 'guten Tag,good day\n"ja, ja",yes\n', {}),
            ("mine.jsonl", '{"input": "guten Tag", "target": "good day"}\n{"input": "ja, ja", "target": "yes"}\n', {}),
            ("mine.jsonl", '{"x": "guten Tag", "y": "good day"}\n{"x": "ja, ja", "y": "yes"}\n',
             {"input_column": "x", "target_column": "y"}),
        ],
    )  # fmt: skip
    def test_one_file(self, tmp_path: Path, name: str, content: str, options: dict[str, Any], packed: bool) -> None:
        name += ".gz" if packed else ""
        (tmp_path / name).write_bytes(gzip.compress(content.encode()) if packed else content.encode())
        task = translation(folder=tmp_path, train=name, dev=name, test=None, **options)
        assert task.splits == ("train", "dev")
        assert [(example.input, example.target) for example in task.read("train")] == list(self.ROWS)
        assert task.files is not None
        assert list(task.files("dev")) == [tmp_path / name]

    def test_parallel_files(self, tmp_path: Path) -> None:
        for number, side in enumerate(("ger", "eng")):
            text = "".join(f"{row[number]}\n" for row in self.ROWS)
            (tmp_path / f"part.{side}.gz").write_bytes(gzip.compress(text.encode()))
        options: Any = {"folder": tmp_path, "train": "part.{}.gz", "dev": None, "test": None, "held_out": 0.0}
        task = translation(**options, pair=("ger", "eng"))
        assert [(example.input, example.target) for example in task.read("train")] == list(self.ROWS)
        assert next(iter(task.read("train"))).id == "part.ger.gz:1"
        turned = translation(**options, pair=("eng", "ger"))
        assert [(example.target, example.input) for example in turned.read("train")] == list(self.ROWS)

    def test_pairs_with_a_blank_side_are_left_out_only_when_asked(self, tmp_path: Path) -> None:
        (tmp_path / "train.de").write_text("a\n\nc\nd\n")
        (tmp_path / "train.en").write_text("x\ny\n \nz\n")
        options: Any = {"folder": tmp_path, "train": "train.{}", "dev": None, "test": None, "held_out": 0.0}
        with pytest.raises(DataError, match=r"train\.de:2: (target|input) is empty(.|\n)*train\.de:3: (target|input)"):
            prepare(translation(**options, input_unit="words", target_unit="words"), key="t", cache=tmp_path / "cache")
        kept = translation(**options, skip_blank=True)
        assert [(example.input, example.target) for example in kept.read("train")] == [("a", "x"), ("d", "z")]

    def test_dev_is_a_part_of_train(self, tmp_path: Path) -> None:
        (tmp_path / "train.tsv").write_text("".join(f"in {i % 500}\tout {i}\n" for i in range(1000)))
        task = translation(folder=tmp_path, dev=None, test=None, held_out=0.2)
        ids = {split: [example.id for example in task.read(split)] for split in task.splits}
        assert sorted(ids["train"] + ids["dev"]) == sorted(f"train.tsv:{i}" for i in range(1, 1001))
        assert 140 < len(ids["dev"]) < 260
        sides = [{example.input for example in task.read(split)} for split in task.splits]
        assert not sides[0] & sides[1]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"separator": "::"}, "separator: '::' should be one character"),
            ({"input_column": "a", "header": False}, r"input_column: 'a' is a name"),
            ({"train": "train.jsonl", "target_column": 2}, r"target_column: 2: JSON lines have keys"),
            ({"train": "train.{}", "pair": ("de", "de")}, r"the same file on both sides"),
        ],
    )
    def test_options_that_are_not_supported(self, tmp_path: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            translation(folder=tmp_path, **options)

    @pytest.mark.parametrize(
        ("split", "hint"),
        [("train", "names the file"), ("dev", "with null, a share of train"), ("test", "with null, there is no test")],
    )
    def test_missing_file(self, tmp_path: Path, split: str, hint: str) -> None:
        with pytest.raises(DataError, match=rf"absent\.tsv: there is no such file; .*{hint}"):
            list(translation(folder=tmp_path, **{split: "absent.tsv"}).read(split))  # type: ignore[arg-type]

    def test_files_of_different_lengths(self, tmp_path: Path) -> None:
        (tmp_path / "train.de").write_text("a\nb\n")
        (tmp_path / "train.en").write_text("x\n")
        task = translation(folder=tmp_path, train="train.{}", test=None)
        with pytest.raises(DataError, match=r"train\.en: has 1 lines, but .*train\.de has 2"):
            list(task.read("train"))

    @pytest.mark.parametrize("pair", [("de", "xx"), ("de", "de")])
    def test_languages_that_multi30k_does_not_have(self, pair: tuple[str, str]) -> None:
        with pytest.raises(UsageError, match="should be two different languages of en, de, fr"):
            translation(source="multi30k", pair=pair)

    def test_building_the_task_reads_nothing(self, tmp_path: Path) -> None:
        assert translation(folder=tmp_path / "absent").splits == ("train", "dev", "test")


COPIES = """
tasks:
  t: {{use: translation, folder: {folder}, input_unit: words, target_unit: words, scores: translation, min_count: 5,
       head: {{use: attend, embedding: 16, max_length: 9, beams: 3, best: 2}}}}
encoder: {{use: lstm, dim: 16, hidden: 16, bidirectional: true}}
train: {{epochs: 12, batch: 16, optimizer: {{use: adamw, lr: 0.01}}}}
"""
KNOWN = {"Hund": "dog", "Baum": "tree", "Haus": "house", "Kuh": "cow", "Berg": "mountain", "Tag": "day"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of lists of words, one or two of which are names that are seen once or never."""
    folder = tmp_path_factory.mktemp("translation")
    rng = np.random.default_rng(0)

    def row() -> str:
        words = [str(word) for word in rng.choice(list(KNOWN), int(rng.integers(1, 4)))]
        for _ in range(int(rng.integers(1, 3))):
            words.insert(int(rng.integers(0, len(words) + 1)), "".join(rng.choice(list("ABCDEFGHKLMN"), 5)))
        return f"{' '.join(words)}.\t{' '.join(KNOWN.get(word, word) for word in words)}."

    for split, count in (("train", 600), ("dev", 40), ("test", 40)):
        (folder / f"{split}.tsv").write_text("".join(f"{row()}\n" for _ in range(count)), encoding="utf-8")
    (folder / "recipe.yaml").write_text(COPIES.format(folder=folder), encoding="utf-8")
    run = CliRunner().invoke(main, ["run", str(folder / "recipe.yaml"), "--out", str(folder / "out")])
    assert run.exit_code == 0, run.output + run.stderr
    return folder


def test_a_run_from_end_to_end_copies_unknown_words(trained: Path) -> None:
    metrics = json.loads((trained / "out" / "metrics.json").read_text())
    assert metrics["t/test/bleu"] > 85
    assert metrics["t/test/exact"] > 0.8, "names are not in the vocabulary, so they have to be copied"
    assert metrics["t/test/cut"] == 0.0
    assert set(metrics) >= {"t/dev/chrf", "t/dev/nats"}


def test_its_predictions_are_plain_text(trained: Path) -> None:
    result = CliRunner().invoke(main, ["predict", str(trained / "out"), "--text", "Hund Xylo Baum."])
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["prediction"] == "dog Xylo tree."
    assert len(row["scores"]["best"]) == 2
    assert row["scores"]["alignment"][1] == 1


def test_it_writes_too(trained: Path) -> None:
    options = ["--prompt", "Hund Baum.", "--temperature", "0", "--count", "2"]
    result = CliRunner().invoke(main, ["generate", str(trained / "out"), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout == "dog tree.\n" * 2


@pytest.mark.data
@needs_data
class TestPublished:
    def test_multi30k(self) -> None:
        task = translation(source="multi30k", pair=("de", "en"))
        read = {split: list(task.read(split)) for split in task.splits}
        assert {split: len(examples) for split, examples in read.items()} == {
            "train": 29_000,
            "dev": 1014,
            "test": 1000,
        }
        first = read["test"][0]
        assert first.input == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
        assert first.target == "A man in an orange hat starring at something."
        assert first.id == "test_2016_flickr.de.gz:1"

    def test_marks_lose_nothing_of_it(self) -> None:
        for pair in (("de", "en"), ("fr", "en")):
            for split in ("train", "dev", "test"):
                for example in translation(source="multi30k", pair=pair).read(split):
                    for text in (example.input, example.target):
                        assert tokenizer.join(" ".join(tokenizer.split(text))) == " ".join(text.split())

    def test_only_the_files_of_the_pair_are_wanted(self) -> None:
        assert {file.path.split(".")[1] for file in sources.multi30k_files(("fr", "en")).files} == {"fr", "en"}
