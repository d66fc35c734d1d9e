"""The card of a task's data: what is counted, what looks wrong, and that a stored entry tells the same."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqkit import readers
from seqkit.data.card import DataCard, find_result_warnings, find_warnings, make_card
from seqkit.data.card_table import describe_reading, format_card, format_warnings
from seqkit.data.store import SplitReport, prepare
from seqkit.data.task_data import TaskData
from seqkit.fields import Labels, NextValues, Tags, Text, Tokens, Vectors
from seqkit.reading import report_split_rule
from seqkit.types import Example, Field, Limit, Task
from tests.helpers.reviews import task


def reports_of(rows: Any, folder: Path, **changes: Any) -> dict[str, SplitReport]:
    prepared = prepare(task(rows, **changes), key={}, cache=folder)
    return {name: split.report for name, split in prepared.splits.items()}


def codes(rows: Any, folder: Path, **changes: Any) -> list[str]:
    return [warning.code for warning in find_warnings(reports_of(rows, folder, **changes))]


def texts(count: int, labels: list[str]) -> list[tuple[str, str]]:
    return [(f"a text {number} of many", labels[number % len(labels)]) for number in range(count)]


def table_task(folder: Path, content: dict[str, str], suffix: str = "tsv", **options: Any) -> Task:
    """A task that reads `split.tsv`."""
    for split, text in content.items():
        (folder / f"{split}.{suffix}").write_text(text, encoding="utf-8")
    reader: Any = {"tsv": readers.tsv, "csv": readers.csv, "jsonl": readers.jsonl}[suffix]
    return replace(task(content), read=lambda split: reader(folder / f"{split}.{suffix}", **options))


class TestWhatIsCounted:
    def test_lengths_before_the_cut(self, tmp_path: Path) -> None:
        rows = {"train": [(" ".join("w" * n), "x") for n in (*range(1, 101),)]}
        report = reports_of(rows, tmp_path, limit=Limit(10))["train"]
        assert (report.shortest, report.median, report.length_95, report.longest) == (1, 50, 95, 100)

    @pytest.mark.parametrize(
        ("target", "values", "unit", "expected"),
        [
            (None, ["x", "y", "x", "x"], "examples", {"x": 3, "y": 1}),
            (Labels(), [["x", "y"], [], ["x"], []], "examples", {"x": 2, "y": 1, "<none>": 2}),
            (Tags(), [["N", "V"], ["N", "N"]], "tags", {"N": 3, "V": 1}),
            # Two spans side by side, one at the edge of two examples, and one of two words.
            (Tags(scheme="iob2"), [["B-a", "B-a"], ["B-a", "I-a"], ["O", "B-b"]], "spans", {"a": 3, "b": 1}),
            (
                Tags(scheme="iob2", learn="bioes"),
                [["B-a", "B-a"], ["B-a", "I-a"], ["B-b", "B-a"]],
                "spans",
                {"a": 4, "b": 1},
            ),
            (Tags(scheme="iob1"), [["I-a", "B-a"], ["I-a", "I-b"], ["O", "I-b"]], "spans", {"a": 3, "b": 2}),
            (Tags(scheme="plain"), [["a", "a"], ["a", "b"], ["O", "b"]], "spans", {"a": 2, "b": 2}),
        ],
    )
    def test_classes(self, target: Field | None, values: list[Any], unit: str, expected: Any, tmp_path: Path) -> None:
        rows = {"train": [("two words", value) for value in values]}
        report = reports_of(rows, tmp_path, **({} if target is None else {"target": target}))["train"]
        assert (report.class_unit, dict(report.classes)) == (unit, expected)

    def test_targets_without_classes(self, tmp_path: Path) -> None:
        assert reports_of({"train": [("a", "b c")]}, tmp_path, target=Text())["train"].classes == {}

    def test_classes_are_those_of_examples_not_of_windows(self, tmp_path: Path) -> None:
        rows = {"train": [("a b c d e", "x"), ("a", "y")]}
        assert dict(reports_of(rows, tmp_path, limit=Limit(2, "window"))["train"].classes) == {"x": 1, "y": 1}

    def test_a_stored_entry_tells_the_same(self, tmp_path: Path) -> None:
        content = {"train": "a good film\t1\tx\n\na bad film\t0\ty\n", "dev": "good\t1\tz\n"}
        source = table_task(tmp_path, content, skip_blank=True)
        first, again = (prepare(source, key={}, cache=tmp_path / "cache") for _ in range(2))
        assert again.reused
        assert not first.reused
        for split in content:
            assert again.splits[split].report == first.splits[split].report
        reading = again.splits["train"].report.reading
        assert reading.left_out["blank line"].first == "train.tsv:2"
        assert reading.tables["train.tsv"].unused == (3,)


class TestHeaders:
    @pytest.mark.parametrize(
        ("suffix", "line"),
        [
            ("csv", "text,label"),
            ("csv", '"Text"," Label "'),
            ("tsv", "SENTENCE\tSENTIMENT"),
            ("tsv", "review_text\tstar_class"),
            ("tsv", "headline\ty"),  # neither is a usual word: a class that is seen once in each file
            ("csv", "tweet,emotion"),
        ],
    )
    def test_a_first_line_that_looks_like_one(self, suffix: str, line: str, tmp_path: Path) -> None:
        separator = "," if suffix == "csv" else "\t"
        body = "".join(f"{text}{separator}{label}\n" for text, label in texts(40, ["good", "bad"]))
        content = dict.fromkeys(("train", "dev"), f"{line}\n{body}")
        [warning] = [
            warning
            for warning in find_warnings(_reports(table_task(tmp_path, content, suffix), tmp_path))
            if warning.code == "header-as-example"
        ]
        assert warning.sentence.startswith(f"line 1 of train.{suffix} and dev.{suffix} looks like a header (")

    def test_a_first_line_that_is_the_same_in_two_files(self, tmp_path: Path) -> None:
        # Nothing else gives it away: the target is a text.
        content = {"train": "en\tde\n" + "one\teins\n" * 9, "dev": "en\tde\n" + "one\tzwei\n" * 9}
        source = table_task(tmp_path, content)
        reports = _reports(source, tmp_path, target=Text())
        assert [warning.code for warning in find_warnings(reports)] == ["header-as-example"]

    @pytest.mark.parametrize(
        ("first", "options"),
        [
            ("text\tlabel\n", {"header": True}),
            ("text\tlabel\n", {"input": "text", "target": "label"}),
            ("a text 1 of many\tgood\n", {}),
            ("word\tgood\n", {}),
            ("17\tgood\n", {}),
            ("great\tgood\n", {}),
        ],
    )
    def test_other_first_lines(self, first: str, options: Any, tmp_path: Path) -> None:
        body = "".join(f"{text}\t{label}\n" for text, label in texts(40, ["good", "bad"]))
        source = table_task(tmp_path, {"train": first + body, "dev": first + "a text\tbad\n"}, **options)
        if not options:
            (tmp_path / "dev.tsv").write_text("a text\tbad\nof many\tgood\n", encoding="utf-8")
        assert "header-as-example" not in [warning.code for warning in find_warnings(_reports(source, tmp_path))]

    def test_keys_of_json_are_names_already(self, tmp_path: Path) -> None:
        rows = '{"text": "text", "label": "label"}\n{"text": "a", "label": "x"}\n'
        source = table_task(tmp_path, {"train": rows}, "jsonl")
        assert "header-as-example" not in [warning.code for warning in find_warnings(_reports(source, tmp_path))]


def _reports(source: Task, folder: Path, **changes: Any) -> dict[str, SplitReport]:
    prepared = prepare(replace(source, **changes), key={}, cache=folder / "cache")
    return {name: split.report for name, split in prepared.splits.items()}


class TestClasses:
    @pytest.mark.parametrize("count", [30, 300])
    def test_swapped_columns(self, count: int, tmp_path: Path) -> None:
        rows = {"train": [(label, text) for text, label in texts(count, ["good", "bad"])]}
        assert codes(rows, tmp_path)[0] == "columns-swapped"

    def test_a_text_as_the_target(self, tmp_path: Path) -> None:
        rows = {"train": [(f"one {n}", f"another {n}") for n in range(150)]}
        assert codes(rows, tmp_path)[0] == "columns-swapped"

    def test_many_classes_with_examples_are_classes(self, tmp_path: Path) -> None:
        rows = {"train": texts(600, [f"class {n}" for n in range(200)])}
        assert codes(rows, tmp_path) == []

    def test_few_different_inputs_of_fewer_classes(self, tmp_path: Path) -> None:
        rows = {"train": [(f"w{n % 10}", "ab"[n % 2]) for n in range(100)]}
        assert codes(rows, tmp_path) == []

    def test_one_class(self, tmp_path: Path) -> None:
        [warning] = find_warnings(reports_of({"train": texts(9, ["x"])}, tmp_path))
        assert (warning.code, warning.is_fatal) == ("one-class", True)

    def test_one_label_that_some_lack(self, tmp_path: Path) -> None:
        rows = {"train": [("a", ["x"]), ("b", []), ("c", ["x"])]}
        assert codes(rows, tmp_path, target=Labels()) == []

    def test_a_class_with_one_example(self, tmp_path: Path) -> None:
        rows = {"train": [*texts(9, ["x", "y"]), ("a slip", "z")]}
        [warning] = find_warnings(reports_of(rows, tmp_path))
        assert warning.code == "class-with-one-example"
        assert not warning.is_fatal
        assert "'z' occurs in one example only" in warning.sentence

    @pytest.mark.parametrize(
        ("names", "difference"),
        [
            (["good", "good "], "white space"),
            (["very good", "very  good"], "white space"),
            (["good", "good\u00a0"], "white space"),
            (["Good", "good"], "upper and lower case"),
            (["straße", "STRASSE"], "upper and lower case"),
            (["caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")], "Unicode normalisation"),
            (["\ufb01lm", "film"], "Unicode normalisation"),
            (["Good ", "good"], "white space and upper and lower case"),
        ],
    )
    def test_classes_that_look_alike(self, names: list[str], difference: str, tmp_path: Path) -> None:
        [warning] = find_warnings(reports_of({"train": texts(30, [*names, "bad"])}, tmp_path))
        assert warning.code == "similar-classes"
        assert f"differ only by {difference}; " in warning.sentence

    def test_types_of_spans_that_look_alike(self, tmp_path: Path) -> None:
        rows = {"train": [("a b", ["B-Per", "O"]), ("a b", ["B-PER", "O"])] * 2}
        assert codes(rows, tmp_path, target=Tags(scheme="iob2")) == ["similar-classes"]

    def test_a_split_that_lacks_classes(self, tmp_path: Path) -> None:
        rows = {"train": texts(30, ["x", "y", "z"]), "dev": texts(30, ["x", "y", "z"]), "test": texts(9, ["x"])}
        [warning] = find_warnings(reports_of(rows, tmp_path))
        assert warning.code == "class-absent"
        assert warning.sentence.startswith("test: has no example of 'y' or 'z', ")


class TestUnknownSymbols:
    def test_a_held_out_split_of_another_kind(self, tmp_path: Path) -> None:
        rows = {"train": texts(9, ["x", "y"]), "dev": [("tout autre chose text", "x"), ("zut alors", "y")]}
        [warning] = find_warnings(reports_of(rows, tmp_path))
        assert (warning.code, warning.is_fatal) == ("mostly-unknown", False)
        assert warning.sentence.startswith("dev: 83% of the words are unknown")

    def test_nothing_known_in_train(self, tmp_path: Path) -> None:
        [warning] = find_warnings(reports_of({"train": texts(9, ["x", "y"])}, tmp_path, input=Tokens(min_count=99)))
        assert (warning.code, warning.is_fatal) == ("mostly-unknown", True)
        assert "all of the words are unknown to the vocabulary; lower min_count" in warning.sentence

    @pytest.mark.parametrize(("min_count", "fatal"), [(1, False), (99, True)])
    def test_targets(self, min_count: int, fatal: bool, tmp_path: Path) -> None:
        rows = {"train": [("a", "b c"), ("a", "c b")], "dev": [("a", "x y z b")]}
        reports = reports_of(rows, tmp_path, target=Text("words", min_count=min_count))
        results = [warning.is_fatal for warning in find_warnings(reports) if "target's symbols" in warning.sentence]
        assert results == ([True, False] if fatal else [False])
        assert (reports["dev"].target_steps, reports["dev"].target_unknown) == (5, 4 if fatal else 3)


class TestRepeats:
    def test_pairs_are_compared_where_the_target_is_a_text(self, tmp_path: Path) -> None:
        rows = {"train": [("fi", "Aalto"), ("fi", "Salo")], "dev": [("fi", "Salo"), ("fi", "Niemi"), ("sv", "Salo")]}
        report = reports_of(rows, tmp_path, target=Text())["dev"]
        assert (report.seen_in_train, report.pairs_in_train) == (2, 1)

    def test_classes_are_not(self, tmp_path: Path) -> None:
        report = reports_of({"train": [("a", "x")], "dev": [("a", "x")]}, tmp_path)["dev"]
        assert (report.seen_in_train, report.pairs_in_train) == (1, None)


class TestScores:
    def card(self, folder: Path) -> DataCard:
        rows = {"train": texts(30, ["x", "x", "y"]), "test": texts(10, ["y", "x"])}
        return DataCard("mood", reports_of(rows, folder))

    @pytest.mark.parametrize(("accuracy", "expected"), [(0.4, 1), (0.5, 1), (0.6, 0)])
    def test_no_better_than_the_most_frequent_class_of_train(
        self, accuracy: float, expected: int, tmp_path: Path
    ) -> None:
        results = find_result_warnings(self.card(tmp_path), {"mood/test/accuracy": accuracy})
        assert len(results) == expected
        if expected:
            assert (
                f"test: accuracy {accuracy:.4f} is no better than answering 'x' always (0.5000)" in results[0].sentence
            )

    @pytest.mark.parametrize(("span_f1", "expected"), [(0.0, 1), (0.01, 0)])
    def test_no_span_found(self, span_f1: float, expected: int, tmp_path: Path) -> None:
        rows = {split: [("a b", ["B-p", "O"])] for split in ("train", "test")}
        card = DataCard("ner", reports_of(rows, tmp_path, target=Tags(scheme="iob2")))
        assert len(find_result_warnings(card, {"ner/test/span_f1": span_f1})) == expected

    def test_the_field_says_which_score_counts_its_classes(self, tmp_path: Path) -> None:
        card = self.card(tmp_path)
        reports = {name: replace(report, class_score="intent_accuracy") for name, report in card.splits.items()}
        (warning,) = find_result_warnings(replace(card, splits=reports), {"mood/test/intent_accuracy": 0.5})
        assert "test: intent_accuracy 0.5000 is no better than answering 'x' always (0.5000)" in warning.sentence

    @pytest.mark.parametrize(
        ("scores", "best", "expected"),
        [
            ({"mase": 1.2, "mase.seasonal_naive": 0.9, "mase.last_value": 1.0}, "min:mase", "seasonal_naive (0.9000)"),
            ({"mase": 0.95, "mase.seasonal_naive": 1.0, "mase.last_value": 0.9}, "mase", "last_value (0.9000)"),
            ({"mase": 0.8, "mase.seasonal_naive": 0.9}, "mase", ""),
            ({"gain": 0.4, "gain.constant": 0.5}, "gain", "constant (0.5000)"),
            ({"gain": 0.6, "gain.constant": 0.5}, "max:gain", ""),
            ({"gain": 0.4, "gain.constant": 0.5}, "other", ""),
            ({"gain": 0.4, "gain.place": 0.5}, "gain", ""),
        ],
    )
    def test_no_better_than_a_baseline_of_the_metric(
        self, scores: dict[str, float], best: str, expected: str, tmp_path: Path
    ) -> None:
        keys = {f"mood/test/{name}": value for name, value in scores.items()}
        sentences = [warning.sentence for warning in find_result_warnings(self.card(tmp_path), keys, best)]
        assert len(sentences) == bool(expected)
        assert all(expected in sentence for sentence in sentences)

    def test_tasks_without_classes(self, tmp_path: Path) -> None:
        card = DataCard("mt", reports_of({"train": [("a", "b")], "test": [("a", "b")]}, tmp_path, target=Text()))
        assert find_result_warnings(card, {"mt/test/bleu": 0.0}) == ()


class TestInWords:
    def test_every_line_fits_80_columns(self, tmp_path: Path) -> None:
        labels = ["a label that is so long that it could not possibly fit", "an\u200bodd one", *map(str, range(300))]
        body = "".join(f"{text}\t{label}\tq\n\n" for text, label in texts(302, labels))
        source = table_task(tmp_path, dict.fromkeys(("train", "dev", "test"), body), skip_blank=True)
        reports = _reports(source, tmp_path)
        card = DataCard("a task with a very long name", reports, warnings=find_warnings(reports))
        for short in (False, True):
            lines = format_card(card, short=short)
            assert all(len(line) <= 80 for line in lines)
            assert any("302 x blank line" in line for line in lines)
        assert all(len(line) <= 80 for line in format_warnings(card))
        assert format_card(card, width=None)[-3:] == [
            f"left out ({split}): 302 x blank line, the first at {split}.tsv:2" for split in ("train", "dev", "test")
        ]

    @pytest.mark.parametrize("stride", [1, 4])
    def test_windows_of_a_series_are_counted(self, tmp_path: Path, stride: int) -> None:
        series = {"train": 40, "dev": 20, "test": 20}

        def read(split: str) -> Any:
            return [Example([[float(step)] for step in range(series[split])], None, f"{split}:1")]

        target = NextValues(3, history=5, stride=stride)
        source = Task(read=read, input=Vectors(), target=target, head="regress", best="loss")
        prepared = prepare(source, key={}, cache=tmp_path)
        card = make_card(TaskData("load", source, prepared.input, prepared.target, prepared.splits))
        # The first forecast comes after 5 steps, the last one 3 steps before the end; test has one at each step.
        counts = {name: (steps - 5 - 3) // (1 if name == "test" else stride) + 1 for name, steps in series.items()}
        for short in (False, True):
            assert next(line for line in format_card(card, short=short) if line.startswith("windows")).split() == [
                "windows", *map(str, counts.values())
            ]  # fmt: skip
        assert {name: split["windows"] for name, split in card.facts()["splits"].items()} == counts

    def test_parts_of_long_inputs_are_counted(self, tmp_path: Path) -> None:
        source = task({"train": [("a b c d e f g", "x"), ("a b", "y")]}, limit=Limit(3, "window"))
        prepared = prepare(source, key={}, cache=tmp_path)
        card = make_card(TaskData("mood", source, prepared.input, prepared.target, prepared.splits))
        assert card.windows["train"] == len(prepared.splits["train"].x) > 2

    def test_other_tasks_have_no_windows(self, tmp_path: Path) -> None:
        source = task({"train": texts(9, ["x", "y"])})
        prepared = prepare(source, key={}, cache=tmp_path)
        card = make_card(TaskData("mood", source, prepared.input, prepared.target, prepared.splits))
        assert not any(line.startswith("windows") for line in format_card(card))
        assert "windows" not in card.facts()["splits"]["train"]

    def test_columns_and_their_use(self, tmp_path: Path) -> None:
        source = table_task(tmp_path, {"train": "id\ttext\tlabel\n1\ta\tx\n2\tb\ty\n"}, input="text", target="label")
        card = DataCard("mood", _reports(source, tmp_path))
        assert describe_reading(card) == ["columns of train.tsv: input text, target label; not used: id"]

    def test_split_rules_name_their_splits_where_these_differ(self, tmp_path: Path) -> None:
        rules = {"train": "a third is dev", "dev": "a third is dev", "test": "by file"}

        def read(split: str) -> Any:
            report_split_rule(rules[split])
            return [Example("a text", "x", f"{split}:1")]

        source = replace(task({name: [] for name in rules}), read=read, splits=tuple(rules))
        card = DataCard("mood", _reports(source, tmp_path))
        assert describe_reading(card) == ["split (train, dev): a third is dev", "split (test): by file"]
        rules["test"] = rules["train"]
        card = DataCard("mood", _reports(replace(source, about={"again": True}), tmp_path / "again"))
        assert describe_reading(card) == ["split: a third is dev"]

    def test_facts_are_json(self, tmp_path: Path) -> None:
        reports = reports_of({"train": texts(9, ["x", "x "])}, tmp_path)
        facts = DataCard("mood", reports, warnings=find_warnings(reports)).facts()
        assert json.loads(json.dumps(facts)) == facts
        assert facts["warnings"][0]["code"] == "similar-classes"
