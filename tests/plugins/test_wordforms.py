"""The tasks `g2p` and `inflection`: files of several languages, symbols, scores by language."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from seqkit_wordforms import g2p, inflection
from seqkit_wordforms.scores import word_scores
from seqkit_wordforms.sources import G2P_COLUMNS, INFLECTION_COLUMNS, g2p_row, inflection_row, read_words

from seqkit import DataError, Flaw, Prediction, ScoredExamples, UsageError
from seqkit.cli import main
from seqkit.reading import collect_reports
from tests.helpers.data import needs_data


class TestRows:
    def test_letters_are_decomposed_and_phones_kept_whole(self) -> None:
        symbols, phones = g2p_row(["가 é", " k  a̠ ɡ "], "kor")
        assert symbols == ["<kor>", "\u1100", "\u1161", "_", "e", "\u0301"]
        assert phones == "k a̠ ɡ"
        assert g2p_row(["ab"], "") == (["a", "b"], None)

    def test_features_come_before_the_letters(self) -> None:
        assert inflection_row(["go", "went", "V;PST"], "eng") == (["<eng>", "<V>", "<PST>", "g", "o"], "went")
        assert inflection_row(["go", "V;PST"], "") == (["<V>", "<PST>", "g", "o"], None)

    def test_lines_of_train_may_end_as_they_like(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_bytes(b"go\twent\tV;PST\r\nsee\tsaw\tV;PST\n")
        first, second = read_words(tmp_path / "a.tsv", INFLECTION_COLUMNS)
        assert first.input[:2] == second.input[:2] == ["<V>", "<PST>"]
        assert (first.target, first.id) == ("went", "words:a.tsv:1")

    @pytest.mark.parametrize(
        ("columns", "text", "message"),
        [
            (G2P_COLUMNS, "a\tb\tc\n", r"a\.tsv:1: has 3 columns"),
            (G2P_COLUMNS, "a\tb\n\tb\n", r"a\.tsv:2: has no word"),
            (G2P_COLUMNS, "a\t \n", r"a\.tsv:1: has no phones"),
            (G2P_COLUMNS, "a\n", r"a\.tsv:1: has 1 column, and should have word and phones, with tabs"),
            (INFLECTION_COLUMNS, "a\tb\t;\n", r"a\.tsv:1: has no features"),
            (INFLECTION_COLUMNS, "a\tV\n", r"a\.tsv:1: has 2 columns, and should have lemma, form and features, with"),
            (INFLECTION_COLUMNS, "a\t\tV\n", r"a\.tsv:1: has no form"),
            (INFLECTION_COLUMNS, "a\n", r"a\.tsv:1: has 1 columns"),
        ],
    )
    def test_mistakes_are_located(self, tmp_path: Path, columns: Any, text: str, message: str) -> None:
        (tmp_path / "a.tsv").write_text(text)
        with pytest.raises(DataError, match=message):
            list(read_words(tmp_path / "a.tsv", columns))

    def test_what_cannot_be_predicted_is_a_flaw(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_text("ab\n\t\tx\n")
        plain, flawed = read_words(tmp_path / "a.tsv", G2P_COLUMNS, labelled=False)
        assert plain.input == ["a", "b"]
        assert isinstance(flawed.input, Flaw)


class TestHeader:
    def test_columns_are_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_text("Lemma\tfeatures\tform\ngo\tV;PST\twent\n")
        with collect_reports() as reading:
            (example,) = read_words(tmp_path / "a.tsv", INFLECTION_COLUMNS, header=True)
        assert (example.input, example.target) == (["<V>", "<PST>", "g", "o"], "went")
        assert reading.tables["a.tsv"].used == {"lemma": "Lemma", "form": "form", "features": "features"}

    def test_other_names_are_in_the_usual_order_and_forms_may_be_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_text("base\tinflected\tmsd\ngo\twent\tV;PST\n")
        (example,) = read_words(tmp_path / "a.tsv", INFLECTION_COLUMNS, header=True)
        assert (example.input, example.target) == (["<V>", "<PST>", "g", "o"], "went")
        (tmp_path / "b.tsv").write_text("lemma\tfeatures\ngo\tV;PST\n")
        (example,) = read_words(tmp_path / "b.tsv", INFLECTION_COLUMNS, header=True, labelled=False)
        assert example.input == ["<V>", "<PST>", "g", "o"]

    @pytest.mark.parametrize(
        ("task", "first"), [("inflection", "lemma\tform\tfeatures"), ("g2p", "word\tpronunciation")]
    )
    def test_one_that_is_not_said_is_told(self, tmp_path: Path, task: str, first: str) -> None:
        rest = "".join(f"a{n}\tb\tV\n" if task == "inflection" else f"a{n}\tb\n" for n in range(9))
        for split in ("train", "dev"):
            (tmp_path / f"{split}.tsv").write_text(f"{first}\n{rest}" if split == "train" else rest)
        recipe = tmp_path / "r.yaml"
        recipe.write_text(f"tasks: {{{task}: {{folder: .}}}}\nencoder: {{use: gru, hidden: 8}}\n")
        done = CliRunner().invoke(main, ["data", str(recipe), "--json"])
        (warning,) = json.loads(done.stdout)[task]["warnings"]
        assert "looks like a header" in warning["sentence"]
        recipe.write_text(f"tasks: {{{task}: {{folder: ., dev: null, header: true}}}}\nencoder: {{use: gru}}\n")
        done = CliRunner().invoke(main, ["data", str(recipe), "--json"])
        card = json.loads(done.stdout)[task]
        assert (card["warnings"], card["splits"]["train"]["examples"]) == ([], 9)


class TestScores:
    def test_languages_count_alike_however_many_words_they_have(self) -> None:
        predictions = [Prediction(text) for text in ("a b", "a", "x y", "x y")]
        targets = ["a b", "a b", "x z", "x y"]
        ids = ["one:f:1", "two:f:1", "two:f:2", "two:f:3"]
        metric = word_scores("wer", "per", str.split, right=False)
        scores = metric(predictions, targets, ScoredExamples(ids, [], "test"))
        assert scores["wer"] == pytest.approx((0 + 2 / 3) / 2)
        assert scores["per"] == pytest.approx((0 + 2 / 6) / 2)
        assert scores["wer.two"] == pytest.approx(2 / 3)
        assert set(scores) == {"wer", "per", "wer.one", "wer.two"}

    def test_right_words_of_one_language(self) -> None:
        metric = word_scores("exact", "cer", list, right=True)
        scores = metric(
            [Prediction("abc"), Prediction("ab")], ["abc", "abcd"], ScoredExamples(["a:1", "a:2"], [], "dev")
        )
        assert scores == {"exact": 0.5, "cer": pytest.approx(2 / 7)}


class TestOptions:
    def test_only_languages_that_there_are(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="'eng' is not one of ady"):
            g2p(languages=("eng",))
        with pytest.raises(UsageError, match=r"write \{\} where the language's name belongs"):
            g2p(folder=tmp_path, languages=("a", "b"))
        with pytest.raises(UsageError, match=r"or leave \{\} out"):
            inflection(folder=tmp_path, train="{}.tsv")

    def test_a_line_to_predict_says_its_language(self) -> None:
        task = g2p(languages=("fre", "hin"))
        assert task.parse is not None
        assert task.parse("fre ça") == ["<fre>", "c", "\u0327", "a"]
        with pytest.raises(ValueError, match="should begin with its language"):
            task.parse("ça")

    def test_imports_and_calls_without_torch(self) -> None:
        code = (
            "import sys, seqkit_wordforms; seqkit_wordforms.g2p(); seqkit_wordforms.inflection(); "
            "sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.data
@needs_data
def test_published_words_are_as_many_as_they_are() -> None:
    for task, counts in ((g2p(), (54_000, 6750, 6750)), (inflection(), (57_868, 8178, 16_312))):
        assert tuple(sum(1 for _ in task.read(split)) for split in ("train", "dev", "test")) == counts


def test_the_language_of_a_file_is_a_whole_part_of_its_name(tmp_path: Path) -> None:
    """`est`, Estonian, is not in test.tsv."""
    read_file = inflection().read_file
    assert read_file is not None
    for name in ("test.tsv", "latest.est.tsv"):
        (tmp_path / name).write_text("a\tb\tV\n")
    with pytest.raises(UsageError, match="should have that of its language"):
        list(read_file(tmp_path / "test.tsv", None, True))
    (example,) = read_file(tmp_path / "latest.est.tsv", None, True)
    assert example.input == ["<est>", "<V>", "a"]


def test_two_languages_of_ones_own_are_learned_and_predicted(tmp_path: Path) -> None:
    """In one language letters are said in upper case, in the other twice."""
    words = [a + b for a in "abcd" for b in "abcd"]
    for name, spell in (("up", str.upper), ("twice", lambda word: "".join(letter * 2 for letter in word))):
        rows = [f"{word}\t{' '.join(spell(word))}" for word in words]
        for split in ("train", "dev"):
            (tmp_path / f"{name}.{split}.gz").write_bytes(gzip.compress(("\n".join(rows) + "\n").encode()))
    (tmp_path / "own.yaml").write_text(
        "tasks:\n  g2p: {folder: ., train: '{}.train.gz', dev: '{}.dev.gz', languages: [up, twice], head: {use: attend,"
        " hidden: 16, embedding: 8, max_length: 8, search: greedy}}\n"
        "encoder: {use: gru, dim: 8, hidden: 16, bidirectional: true}\n"
        "train: {epochs: 20, batch: 8, evaluate_every: 80, optimizer: {use: adamw, lr: 0.02}}\n"
    )
    done = CliRunner().invoke(main, ["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "out/metrics.json").read_text())
    assert scores["g2p/dev/wer"] < 0.2
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), "--text", "up ab"])
    assert json.loads(done.stdout)["prediction"] == "A B"
