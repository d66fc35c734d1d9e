"""Feature columns of CoNLL files in the task `ner`: reading them, and all that a user does with such a model."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from seqkit_ner import ner
from seqkit_ner.conll_reader import ConllReader

import seqkit
from seqkit import DataError, Example, UsageError
from seqkit.cli import main
from seqkit.reading import Columns, collect_reports
from seqkit.serving.schemas import _kinds_of_input
from seqkit.serving.served_model import ServedModel
from seqkit.testing import TaskConformance
from tests.helpers.data import needs_data


def read(path: Path, content: str, *, labelled: bool = True, **options: Any) -> list[Example]:
    path.write_text(content)
    return list(ConllReader(**options).read(path, labelled=labelled))


def test_a_column_that_no_line_has_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read(tmp_path / "a.conll", sentences(30, 1), features=(9,))
    (problem,) = raised.value.problems
    assert problem.what == "has 3 columns, so there is no column 9 for the feature"
    assert problem.where.endswith("a.conll:1")
    read_without_tags = read(tmp_path / "a.conll", sentences(30, 1), features=(9,), labelled=False)
    assert len(read_without_tags) == 30


def sentences(count: int, seed: int) -> str:
    """Sentences in which the second column alone says what is tagged."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        for _ in range(draw.randrange(1, 8)):
            kind = draw.choice(["N", "V", "D"])
            lines.append(f"{draw.choice(['run', 'walk', 'play', 'turn'])} {kind} {'B-x' if kind == 'N' else 'O'}\n")
        lines.append("\n")
    return "".join(lines)


def make_folder(folder: Path) -> Path:
    for number, name in enumerate(("train", "dev", "test")):
        (folder / f"{name}.conll").write_text(sentences(120 if name == "train" else 40, number))
    return folder


class TestReading:
    def test_columns_beside_the_word(self, tmp_path: Path) -> None:
        content = "He PRP x B-NP\nran VBD y O\n\nNo DT z O\n"
        with collect_reports() as reading:
            first, second = read(tmp_path / "a", content, features=(2,))
        assert (first.input, first.target) == ([("He", "PRP"), ("ran", "VBD")], ["B-NP", "O"])
        assert second == Example([("No", "DT")], ["O"], "a:4")
        assert reading.tables == {"a": Columns({"input": 1, "feature": 2, "target": 4}, (3,))}
        with collect_reports() as reading:
            assert read(tmp_path / "a", content, features=(3, -3))[1].input == [("No", "z", "DT")]
        assert reading.tables == {"a": Columns({"input": 1, "feature A": 3, "feature B": 2, "target": 4})}

    def test_conllu(self, tmp_path: Path) -> None:
        content = "# text = a\n1\tNo\tno\tDET\tDT\t_\t_\t_\t_\t_\n1.1\tx\t_\tX\tY\t_\t_\t_\t_\t_\n"
        (example,) = read(tmp_path / "a.conllu", content, features=(5, 3), scheme=None)
        assert (example.input, example.target) == ([("No", "DT", "no")], ["DET"])

    def test_a_file_to_predict_needs_no_tags(self, tmp_path: Path) -> None:
        (example,) = read(tmp_path / "a", "He PRP\nran VBD\n", features=(2,), labelled=False)
        assert example == Example([("He", "PRP"), ("ran", "VBD")], None, "a:1")

    def test_a_prefix_is_taken_off_the_word_alone(self, tmp_path: Path) -> None:
        (example,) = read(tmp_path / "a", "de:Bonn de:N O\n", features=(2,), prefix="de:")
        assert example.input == [("Bonn", "de:N")]

    @pytest.mark.parametrize(
        ("content", "options", "message"),
        [
            (
                "a O\n",
                {"features": (3,)},
                "a:1: has 2 columns, so there is no column 3 for the feature; check separator, ",
            ),
            (
                "a O\n",
                {"features": (2,)},
                "a:1: has 2 columns, so tag and feature are in the same column; .* and features",
            ),
            ("a N O\n", {"features": (1,)}, "a:1: has 3 columns, so word and feature are in the same column"),
            ("a N O\n", {"features": (2, -2)}, "a:1: has 3 columns, so feature and feature are in the same column"),
            ("a\tN\tO\nb\t\tO\n", {"features": (2,), "separator": "tab"}, "a:2: the feature is empty"),
        ],
    )
    def test_a_problem_is_reported_with_its_line(
        self, tmp_path: Path, content: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            read(tmp_path / "a", content, **options)

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a|b"])
    @pytest.mark.parametrize("labelled", [True, False])
    def test_files_without_columns_are_refused(self, tmp_path: Path, name: str, labelled: bool) -> None:
        with pytest.raises(DataError, match=r"which has no columns, and column 2 \(features\) should be read too"):
            read(tmp_path / name, "", features=(2,), labelled=labelled)

    def test_impossible_options(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="features: 0 is not a column; count from 1"):
            ner(folder=tmp_path, features=(0,))
        with pytest.raises(UsageError, match="features: files of the format jsonl have no columns"):
            ner(folder=tmp_path, format="jsonl", features=(2,))
        with pytest.raises(UsageError, match="features: the generated sentences have no columns; give a folder"):
            ner(features=(2,))

    def test_the_same_sentences_are_held_out_as_without_features(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"folder": make_folder(tmp_path), "dev": None, "held_out": 0.3}
        without, having = (
            [example.id for example in ner(**options, **more).read("dev")] for more in ({}, {"features": (2,)})
        )
        assert without == having
        assert without


class TestConformance(TaskConformance):
    task = "ner"
    options: ClassVar[dict[str, Any]] = {"features": [2], "feature_dim": 2, "char_hidden": 2}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.options = {**cls.options, "folder": make_folder(tmp_path_factory.mktemp("features"))}


RECIPE = """
tasks:
  ner: {folder: ., features: [2], feature_dim: 6, characters: none, head: tag}
encoder: {use: lstm, dim: 16, hidden: 8}
train: {epochs: 6, batch: 8, optimizer: {use: adamw, lr: 0.02}, histograms: false}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = make_folder(tmp_path_factory.mktemp("ner"))
    (folder / "ner.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(folder / "cache"))
        done = CliRunner().invoke(main, ["run", str(folder / "ner.yaml"), "--out", str(folder / "run"), "--quiet"])
        assert done.exit_code == 0, done.output
        yield folder / "run"


ROWS = [["run", "N"], ["walk", "V"], ["play", "N"], ["newword", "N"], ["run", "newfeature"]]
TAGS = ["B-x", "O", "B-x", "B-x"]


class TestAModel:
    """As a user has it: only the second column tells what is tagged."""

    def test_it_learns_and_is_scored_on_other_files(self, run: Path) -> None:
        assert json.loads((run / "metrics.json").read_text())["ner/test/span_f1"] > 0.99
        other = run.parent / "other.conll"
        other.write_text(sentences(30, 7))
        done = CliRunner().invoke(main, ["evaluate", str(run), "--data", str(other), "--json", "--quiet"])
        assert done.exit_code == 0, done.output
        assert min(value for name, value in json.loads(done.stdout).items() if name.endswith("span_f1")) > 0.99
        other.write_text("run B-x\n")
        done = CliRunner().invoke(main, ["evaluate", str(run), "--data", str(other)])
        assert done.exit_code == 2
        assert "other.conll:1: has 2 columns, so tag and feature are in the same column" in done.output

    def test_a_file_with_the_column_is_predicted_and_records_show_words(self, run: Path, tmp_path: Path) -> None:
        path = tmp_path / "new.conll"
        path.write_text("".join(" ".join(row) + "\n" for row in ROWS))
        done = CliRunner().invoke(main, ["predict", str(run), str(path)])
        assert done.exit_code == 0, done.output
        record = json.loads(done.stdout)
        assert record["input"] == "run walk play newword run"
        assert record["prediction"][:4] == TAGS
        assert record["scores"]["spans"][1] | {"confidence": None} == {
            "type": "x",
            "start": 2,
            "end": 3,
            "start_char": 9,
            "end_char": 13,
            "text": "play",
            "confidence": None,
        }
        path.write_text("run\n")
        done = CliRunner().invoke(main, ["predict", str(run), str(path)])
        assert done.exit_code == 1
        assert "there is no column 2 for the feature" in done.output

    def test_text_without_the_column_is_refused(self, run: Path) -> None:
        done = CliRunner().invoke(main, ["predict", str(run), "--text", "run walk"])
        assert done.exit_code == 1
        assert "is text, and the model reads column 2 (features) of CoNLL files too; give such a file" in done.output

    def test_words_with_features_from_python_and_as_json_lists(self, run: Path, tmp_path: Path) -> None:
        model = seqkit.load(run)
        result, as_tuples = model.predict([ROWS, [tuple(row) for row in ROWS]])
        assert result.value == as_tuples.value
        assert result.value[:4] == TAGS
        assert [span["text"] for span in result.spans[:3]] == ["run", "play", "newword"]
        (words,) = model.predict([["run", "walk"]], on_error="record")
        assert words.error == "word 1, 'run', comes without features; give [word, feature] for each word"
        assert model.evaluate([(ROWS[:2], ["B-x", "O"])])["span_f1"] == 1.0
        path = tmp_path / "lines.txt"
        path.write_text(f"{json.dumps(ROWS)}\nrun walk\n")
        done = CliRunner().invoke(main, ["predict", str(run), str(path), "--split-words", "no"])
        assert done.exit_code == 1
        first, second = map(json.loads, done.stdout.splitlines())
        assert first["prediction"] == result.value
        assert "comes without features" in second["error"]

    def test_a_stream_reads_words_with_features(self, run: Path) -> None:
        lines = "".join(json.dumps({"input": [row]}) + "\n" for row in ROWS) + '{"id": "2", "input": "run "}\n'
        done = CliRunner().invoke(main, ["stream", str(run), "--format", "jsonl"], input=lines)
        (expected,) = seqkit.load(run).predict([ROWS])
        assert done.exit_code == 1, done.output
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert [
            tag for record in records if record["id"] == "1" for tag in record.get("prediction") or []
        ] == expected.value
        assert "is text, and the model reads column 2" in done.output

    def test_a_server_reads_rows_and_files_and_says_so(self, run: Path) -> None:
        model = ServedModel("m", run)
        content = base64.b64encode("".join(" ".join(row) + "\n" for row in ROWS).encode()).decode()
        rows, file, text = model.predict("ner", [ROWS, {"file": "a.conll", "content": content}, "run walk"])
        assert rows["prediction"] == file["prediction"]
        assert rows["prediction"][:4] == TAGS
        assert 'send {"file": a name, "content": base64}, or [word, feature, ...] for each word' in text["error"]
        facts = model.facts["ner"]
        assert not facts.reads_text
        assert not facts.reads_rows
        assert facts.schema["items"] == {"type": "array", "items": {"type": "string"}, "minItems": 2}
        assert facts.schema["description"] == "[word, feature] for each word."
        assert {"type": "array", "items": {"type": "string"}} not in [
            {key: kind.get(key) for key in ("type", "items")} for kind in _kinds_of_input([facts])
        ]
        model.close()

    @pytest.mark.slow
    def test_an_export_agrees_with_the_model(self, run: Path, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime")
        done = CliRunner().invoke(main, ["export", str(run), "--out", str(tmp_path / "model.onnx")])
        assert done.exit_code == 0, done.output
        description = json.loads((tmp_path / "model.json").read_text())["input"]
        assert description["options"]["features"] == 1
        assert description["state"]["feature_values"] == [["D", "N", "V"]]
        assert description["first_feature"] == 2


@needs_data
def test_parts_of_speech_of_conll_2000() -> None:
    example = next(iter(ner(source="conll2000", features=(2,)).read("train")))
    assert example.input[:3] == [("Confidence", "NN"), ("in", "IN"), ("the", "DT")]
    with pytest.raises(DataError, match=r"train\.tsv:1: has 2 columns, so tag and feature are in the same column"):
        next(iter(ner(source="ncbi-disease", features=(2,)).read("train")))
