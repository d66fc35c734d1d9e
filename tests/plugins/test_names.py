"""The task `names`: the generator, the split of files, the n-gram model beside it, and new names from a model."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from seqkit_names import generator, names, sources

from seqkit import DataError, Example, Text, Tokens
from seqkit.cli import main
from seqkit.data.store import prepare
from seqkit.reading import collect_reports
from tests.helpers.data import needs_data
from tests.reference.ngram import END, UNKNOWN, NGram, names_baseline

GENERATED = {split: list(generator.names(split, 900, seed=1)) for split in ("train", "dev", "test")}


def pattern(language: generator.Language) -> re.Pattern[str]:
    """The grammar as a regular expression."""

    def any_of(texts: Any) -> str:
        return "(?:" + "|".join(map(re.escape, sorted(texts, key=len, reverse=True))) + ")"

    forms = []
    harmonic = len(language.vowels) == len(language.endings) > 1
    for number, group in enumerate(language.vowels):
        ending = re.escape(language.endings[number]) if harmonic else any_of(language.endings)
        for count in set(language.syllables):
            syllable = any_of(language.onsets) + any_of(group) + any_of(language.codas)
            forms.append(f"{syllable * count}{ending}")
    return re.compile("|".join(forms))


class TestGenerator:
    def test_every_name_follows_the_grammar_of_its_language(self) -> None:
        for pairs in GENERATED.values():
            for language, name in pairs:
                assert pattern(generator.LANGUAGES[language]).fullmatch(name[0].lower() + name[1:]), (language, name)
                assert name[0].isupper()

    def test_vowel_harmony(self) -> None:
        turkish = [name.lower() for language, name in GENERATED["train"] if language == "Ksarish"]
        assert {bool(set(name) & set("aou")) for name in turkish} == {True, False}
        assert not any(set(name) & set("aou") and set(name) & set("äöü") for name in turkish)

    def test_all_languages_are_about_as_frequent(self) -> None:
        counts = Counter(language for language, _ in GENERATED["train"])
        assert set(counts) == set(generator.LANGUAGES)
        assert min(counts.values()) > 100

    def test_no_name_is_in_two_splits_and_none_comes_twice(self) -> None:
        sets = [{name for _, name in pairs} for pairs in GENERATED.values()]
        assert not sets[0] & sets[1]
        assert not sets[0] & sets[2]
        assert not sets[1] & sets[2]
        assert all(len(set(pairs)) == len(pairs) for pairs in GENERATED.values())

    def test_the_same_names_each_time_and_a_shorter_split_begins_a_longer_one(self) -> None:
        assert list(generator.names("dev", 50, seed=1)) == GENERATED["dev"][:50]
        assert list(generator.names("dev", 50, seed=2)) != GENERATED["dev"][:50]
        assert GENERATED["train"][:3] == PINNED

    def test_a_spelled_name_is_pinned(self) -> None:
        language = generator.Language(("b",), (("a",),), ("n",), (2,), ("ov",))
        assert generator.spell(language, random.Random(0)) == "Banbanov"


PINNED = [("Ksarish", "Lölölzäröğlü"), ("Vostian", "Tentondrosov"), ("Vostian", "Gonin")]


class TestTask:
    def test_what_it_is(self) -> None:
        task = names(lower=True, min_count=2)
        assert task.input == Tokens("words")
        assert task.target == Text("characters", lower=True, min_count=2)
        assert (task.head, task.best, task.metric) == ("generate", "nats", None)

    def test_a_kind_is_one_step_however_it_is_called(self, tmp_path: Path) -> None:
        (tmp_path / "Old Norse.txt").write_text("Sven\nOlaf\n")
        task = names(folder=tmp_path)
        assert task.parse is not None
        assert next(iter(task.read("train"))) == Example(task.parse(" Old Norse "), "Sven", "Old Norse.txt:1")
        assert len(task.input.fit([["Old Norse"]]).encode(["Old Norse"])) == 1

    def test_generated_names_by_default_as_many_as_asked_for(self) -> None:
        task = names(sizes=(30, 20, 10))
        read = {split: list(task.read(split)) for split in task.splits}
        assert {split: len(examples) for split, examples in read.items()} == {"train": 30, "dev": 20, "test": 10}
        language, name = GENERATED["test"][0]
        assert read["test"][0] == Example([language], name, "generated test:1")

    def test_imports_and_calls_without_torch(self) -> None:
        code = "import sys, seqkit_names; seqkit_names.names(); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestFolder:
    def test_split_by_position_after_repeats_are_left_out(self, tmp_path: Path) -> None:
        values = [f"name{i}" for i in range(23)]
        (tmp_path / "A.txt").write_text("\n".join([values[0], "", values[0], f" {values[1]} ", *values]) + "\n")
        (tmp_path / "B.txt").write_text("\n".join(values[:9]) + "\n")
        task = names(folder=tmp_path)
        read = {split: [(e.input[0], e.target) for e in task.read(split)] for split in task.splits}
        assert read["test"] == [("A", "name9"), ("A", "name19")]
        assert read["dev"] == [("A", "name8"), ("A", "name18"), ("B", "name8")]
        assert sorted(read["train"] + read["dev"] + read["test"]) == sorted(
            [("A", name) for name in values] + [("B", name) for name in values[:9]]
        )
        assert task.files is not None
        assert [path.name for path in task.files("train")] == ["A.txt", "B.txt"]

    def test_mistakes(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="there is no such folder"):
            list(names(folder=tmp_path / "absent").read("train"))
        with pytest.raises(DataError, match=r"there is no file \*\.txt in this folder"):
            list(names(folder=tmp_path).read("train"))
        (tmp_path / "A.txt").write_bytes(b"ab\xff\n")
        with pytest.raises(DataError, match=r"A\.txt:1:3"):
            list(names(folder=tmp_path).read("train"))

    def test_a_split_without_names_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "A.txt").write_text("x\ny\n")
        with pytest.raises(DataError, match="dev: this split has no examples"):
            prepare(names(folder=tmp_path), key="test", cache=tmp_path / "cache")


class TestNGram:
    """The baseline itself: a wrong one would be easy to beat."""

    def test_probabilities_sum_to_one(self) -> None:
        model = NGram(["anna", "nan", "an"], 3, "an")
        for context in [("a", "n"), ("<s>", "<s>"), ("n", "x"), ("q", "q")]:
            assert math.fsum(model.probability(context, s) for s in ("a", "n", END, UNKNOWN)) == pytest.approx(1.0)

    def test_by_hand(self) -> None:
        # aa: after <s> once a; after a once a, once the end. Below: a twice, the end once, out of a, end and unknown.
        model = NGram(["aa"], 2, "a")
        lowest = {"a": (2 + 2 / 3) / 5, END: (1 + 2 / 3) / 5}
        assert model.probability(("<s>",), "a") == pytest.approx((1 + lowest["a"]) / 2)
        assert model.probability(("a",), END) == pytest.approx((1 + 2 * lowest[END]) / 4)
        assert model.probabilities("a") == pytest.approx([(1 + lowest["a"]) / 2, (1 + 2 * lowest[END]) / 4])

    def test_knowing_the_language_helps(self) -> None:
        baseline = names_baseline(GENERATED["train"], GENERATED["dev"], GENERATED["test"])
        assert baseline.by_language < baseline.pooled - 0.1
        assert baseline.mixed <= baseline.by_language + 0.01


RECIPE = """
tasks:
  names: {use: names, sizes: [900, 100, 100], head: {use: generate, hidden: 32, embedding: 16, max_length: 30}}
encoder: {use: none, dim: 8}
train: {epochs: 7, batch: 16, optimizer: {use: adamw, lr: 0.01}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    (folder / "recipe.yaml").write_text(RECIPE)
    run = CliRunner().invoke(main, ["run", str(folder / "recipe.yaml"), "--out", str(folder / "out")])
    assert run.exit_code == 0, run.output + run.stderr
    return folder / "out"


class TestWriting:
    @staticmethod
    def write(folder: Path, prompt: str, *options: str) -> list[str]:
        result = CliRunner().invoke(main, ["generate", str(folder), "--prompt", prompt, *options])
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()

    def test_new_names_are_like_those_of_the_language(self, trained: Path) -> None:
        for language, share in (("Ksarish", 0.6), ("Arvese", 0.6)):
            texts = self.write(trained, language, "--count", "60", "--temperature", "0.5")
            assert len(texts) == 60
            endings = generator.LANGUAGES[language].endings
            assert sum(text.endswith(tuple(endings)) for text in texts) / 60 > share
            assert len(set(texts)) > 20

    def test_the_seed_decides(self, trained: Path) -> None:
        assert self.write(trained, "Hakuri", "--count", "5") == self.write(trained, "Hakuri", "--count", "5")
        assert self.write(trained, "Hakuri", "--count", "5") != self.write(
            trained, "Hakuri", "--count", "5", "--seed", "1"
        )

    def test_without_temperature_all_are_the_likeliest(self, trained: Path) -> None:
        assert len(set(self.write(trained, "Hakuri", "--count", "3", "--temperature", "0"))) == 1

    def test_length_is_a_limit(self, trained: Path) -> None:
        assert all(len(text) <= 3 for text in self.write(trained, "Arvese", "--count", "9", "--length", "3"))

    def test_a_language_that_it_does_not_know_is_an_error_that_names_those_it_does(self, trained: Path) -> None:
        for prompt in ("Klingon", "Old Norse"):
            result = CliRunner().invoke(main, ["generate", str(trained), "--prompt", prompt])
            assert result.exit_code == 2
            assert f"the prompt '{prompt}' has symbols that the model does not know; it knows: Arvese, Dolmic" in str(
                result.output + result.stderr
            )
        empty = CliRunner().invoke(main, ["generate", str(trained)])
        assert empty.exit_code == 2
        assert "the prompt ''" in empty.output + empty.stderr

    def test_the_likeliest_name_is_what_it_predicts(self, trained: Path) -> None:
        result = CliRunner().invoke(main, ["predict", str(trained), "--text", "Dolmic"])
        row = json.loads(result.stdout)
        assert row["prediction"]
        assert 0 < row["confidence"] < 1


@pytest.mark.data
@needs_data
class TestPublished:
    def test_counts_are_those_of_the_suggested_split(self) -> None:
        task = names(source="languages")
        read = {split: list(task.read(split)) for split in task.splits}
        counts = {split: len(examples) for split, examples in read.items()}
        assert counts["test"] == 1794
        assert counts["train"] + counts["dev"] == 16_218
        assert len({example.input[0] for example in read["train"]}) == 18
        assert len(sources.NAMES.files) == 18

    def test_the_baseline_is_the_published_one(self) -> None:
        task = names(source="languages")
        parts = [[(e.input[0], e.target) for e in task.read(split)] for split in ("train", "dev", "test")]
        baseline = names_baseline(*parts)
        assert (baseline.pooled, baseline.by_language, baseline.mixed) == pytest.approx((2.124, 1.956, 1.905), abs=5e-4)


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    (tmp_path / "Finnish.txt").write_text("Aalto\n\nSalo\nAalto\n")
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / ".hidden.txt").write_text("x")
    (tmp_path / "old").mkdir()
    with collect_reports() as reading:
        assert [example.target for example in names(folder=tmp_path).read("train")] == ["Aalto", "Salo"]
    assert {kind: (things.count, things.first) for kind, things in reading.left_out.items()} == {
        "file that does not end in .txt (.md)": (1, "notes.md"),
        "folder": (1, "old"),
        "hidden file": (1, ".hidden.txt"),
        "blank line": (1, "Finnish.txt:2"),
        "name that its file has already": (1, "Finnish.txt:4"),
    }
    assert reading.split_rules == [
        "by position: of each ten different names of a file, the tenth is test and the ninth is dev"
    ]
