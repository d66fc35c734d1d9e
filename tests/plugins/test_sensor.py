"""The task `sensor`: files of the archives (`.ts`), tables of three layouts, splits, and a model that learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from seqkit_sensor import sensor, sources
from seqkit_sensor.tables import TableReader
from seqkit_sensor.timeseries import ts_cases

from seqkit import DataError, Flaw, NamedVectors, UsageError, Vectors
from seqkit.cli import main
from seqkit.readers import TableFormat
from seqkit.reading import collect_reports
from seqkit.testing import TaskConformance
from tests.helpers.data import needs_data

HEADER = "# a comment\n@problemName Walks\n@dimensions 2\n@classLabel true up down\n@data\n"


def cases(count: int, seed: int = 0) -> str:
    """Lines of two channels that rise or fall."""
    draw = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        steps = np.cumsum(draw.normal(0.3 if number % 2 else -0.3, 0.2, (5 + number % 4, 2)), axis=0)
        channels = (",".join(f"{value:.4f}" for value in channel) for channel in steps.T)
        lines.append(":".join([*channels, "up" if number % 2 else "down"]))
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def named(rows: list[list[float]], names: str = "xy") -> NamedVectors:
    return NamedVectors(np.array(rows, dtype=float), tuple(names))


def slow_cases(text: str) -> list[tuple[list[list[float]], str]]:
    """The cases of a file by plain code: every channel a list of numbers."""
    rows = [line.rsplit(":", 1) for line in text.split("@data\n")[1].split("\n") if line]
    return [
        ([[float(n) for n in channel.split(",")] for channel in values.split(":")], label) for values, label in rows
    ]


class TestArchiveFiles:
    def test_cases_are_steps_of_channels_with_their_labels_and_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.ts", HEADER + "1,2,3:4,5,6:up\n\n7:8:down\n")
        with collect_reports() as reading:
            first, second = ts_cases(path)
        assert first.input.tolist() == [[1, 4], [2, 5], [3, 6]]
        assert (first.target, first.id, second.target, second.id) == ("up", "a.ts:6", "down", "a.ts:8")
        assert second.input.tolist() == [[7, 8]]
        assert reading.left_out["blank line"].first == "a.ts:7"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (HEADER + "1,2:3:up\n", r"a\.ts:6:5: channel 2 has 1 values, and channel 1 has 2"),
            (HEADER + "1,2:3,x:up\n", r"a\.ts:6:7: 'x' is not a number"),
            (HEADER + "1,2:3,nan:up\n", r"a\.ts:6:7: 'nan' is not a finite number; fill the gaps in"),
            (HEADER + "1,inf:3,4:up\n", r"a\.ts:6:3: 'inf' is not a finite number"),
            (HEADER + "1,?:3,4:up\n", r"a\.ts:6:3: a value is missing; fill the gaps in"),
            (HEADER + "1,2:up\n", r"a\.ts:6: has 1 channels before the label, and there should be 2"),
            (HEADER + "1:2:left\n", r"a\.ts:6:5: the label 'left' is none of up, down"),
            ("1,2:up\n", r"a\.ts:1:1: begins with no @"),
            ("@classLabel true a\n", r"a\.ts: has no line @data"),
            ("@classLabel false\n@data\n1,2\n", "has no labels"),
            ("@timeStamps true\n@data\n", r"a\.ts:1: series with a time at each value are not read"),
            ("@targetLabel true\n@data\n", r"a\.ts:1: its targets are numbers"),
            ("@dimensions two\n@data\n", r"a\.ts:1: @dimensions should have one whole number"),
        ],
    )
    def test_mistakes_say_where_they_are(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            list(ts_cases(write(tmp_path / "a.ts", text)))

    def test_without_labels_a_bad_case_is_a_flaw_and_the_next_one_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.ts", HEADER + "1,2:3,x:up\n1:2:up\n")
        bad, good = ts_cases(path, labelled=False)
        assert bad.input == Flaw("'x' is not a number")
        assert (good.input.tolist(), good.target) == ([[1, 2]], None)

    @pytest.mark.data
    @needs_data
    @pytest.mark.parametrize("name", sources.DATASETS)
    def test_published_files_are_read_as_plain_code_reads_them(self, name: str) -> None:
        dataset = sources.DATASETS[name]
        for file in dataset.files:
            path = Path(os.environ["SEQKIT_DATA"]) / dataset.name / file.path
            expected = slow_cases(path.read_text(encoding="utf-8"))
            read = list(ts_cases(path))
            assert [(example.input.T.tolist(), example.target) for example in read] == expected


class TestTables:
    def test_a_step_in_each_row(self, tmp_path: Path) -> None:
        text = "walk,who,label,x,y\n1,a,up,1,2\n1,a,up,3,4\n2,b,down,5,6\n"
        path = write(tmp_path / "long.csv", text)
        (first, a), (second, b) = TableReader(sequence="walk", group="who").read(path)
        assert (first.input, first.target, first.id, a) == (named([[1, 2], [3, 4]]), "up", "long.csv:2", "a")
        assert (second.input, second.target, second.id, b) == (named([[5, 6]]), "down", "long.csv:4", "b")
        ((only, _), _) = TableReader(sequence="walk", channels=("y",)).read(path)
        assert only.input == named([[2], [4]], "y")

    def test_times_are_checked_and_no_channel(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "w,t,label,x\n1,2,a,7\n1,3,a,8\n2,1,b,9\n2,3,b,9\n2,4,b,9\n2,5,b,9\n")
        with collect_reports() as reading:
            (first, _), (second, _) = TableReader(sequence="w", time="t").read(path)
        assert (first.input, second.input) == (named([[7], [8]], "x"), named([[9]] * 4, "x"))
        assert reading.remarks == [
            "a.csv:5: 1 time is missing between '1' and '3', where a step is 1; they are read as if none was missing"
        ]
        write(path, "w,t,x\n1,2,7\n1,1,8\n2,1,9\n")
        (bad, _), (good, _) = TableReader(sequence="w", time="t").read(path, labelled=False)
        assert "a.csv:3: time '1' is not after '2'" in bad.input.what
        assert good.input == named([[9]], "x")

    def test_a_sequence_in_each_row(self, tmp_path: Path) -> None:
        path = write(tmp_path / "wide.tsv", "label\tx1\ty1\tx2\ty2\nup\t1\t2\t3\t4\ndown\t5\t6\t\t\n")
        first, second = (example for example, _ in TableReader(width=2).read(path))
        assert (first.input.tolist(), first.target) == ([[1, 2], [3, 4]], "up")
        assert (second.input.tolist(), second.id) == ([[5, 6]], "wide.tsv:3")

    def test_a_file_for_each_sequence_and_labels_in_a_table(self, tmp_path: Path) -> None:
        write(tmp_path / "walks/1.csv", "x,y\n1,2\n3,4\n")
        write(tmp_path / "walks/2.csv", "5,6\n")
        path = write(tmp_path / "all.csv", "name,label\nwalks/1.csv,up\nwalks/2.csv,down\n")
        first, second = (example for example, _ in TableReader(file="name").read(path))
        assert (first.input, first.target, first.id) == (named([[1, 2], [3, 4]]), "up", "all.csv:2")
        assert second.input.tolist() == [[5, 6]]

    def test_files_of_sequences_are_read_by_their_own_format(self, tmp_path: Path) -> None:
        write(tmp_path / "1.tsv", "x\ty\n1\t2\n")
        write(tmp_path / "2.csv", "x;y\n1;2\n")
        write(tmp_path / "3.jsonl", '{"x": 1, "y": 2}\n')
        path = write(tmp_path / "all.csv", "name,label\n1.tsv,up\n3.jsonl,up\n")
        assert [example.input for example, _ in TableReader(file="name").read(path)] == [named([[1, 2]])] * 2
        path = write(tmp_path / "all.csv", "name;label\n2.csv;up\n")
        reader = TableReader(file="name", layout=TableFormat(separator="semicolon"))
        assert [example.input for example, _ in reader.read(path)] == [named([[1, 2]])]

    def test_the_columns_that_are_channels_are_reported(self, tmp_path: Path) -> None:
        wide = write(tmp_path / "wide.csv", "label,x1,y1,x2,y2\nup,1,2,3,4\n")
        with collect_reports() as reading:
            list(TableReader(width=2).read(wide))
        assert reading.tables["wide.csv"].used == {"label": "label", "channel 1": "x1", "channel 2": "y1"}
        assert reading.remarks == ["wide.csv: its 4 columns of numbers are up to 2 steps of 2 numbers"]
        names = [f"c{number}" for number in range(1, 12)]
        long = write(tmp_path / "long.csv", f"s,label,{','.join(names)}\n1,up{',1' * 11}\n")
        with collect_reports() as reading:
            list(TableReader(sequence="s").read(long))
        used = reading.tables["long.csv"].used
        assert (used["channel 8"], used["channels 9 to 11"]) == ("c8", "c9 to c11")
        for number, header in enumerate(("x,y", "y,x")):
            write(tmp_path / f"{number}.csv", f"{header}\n1,2\n")
        table = write(tmp_path / "all.csv", "name,label\n0.csv,up\n1.csv,up\n")
        with collect_reports() as reading:
            list(TableReader(file="name").read(table))
        assert reading.remarks == ["channels, by the headers of the files that all.csv names: x, y"]
        assert [(things.count, things.first) for things in reading.changed.values()] == [(1, "1.csv")]

    @pytest.mark.parametrize("options", [{"sequence": "walk"}, {"file": "file"}, {}])
    def test_without_labels_what_cannot_be_read_is_a_flaw(self, tmp_path: Path, options: dict[str, str]) -> None:
        write(tmp_path / "b.csv", "x\n?\n")
        write(tmp_path / "c.csv", "x\n1\n")
        texts = {"walk": "walk,x\n1,?\n2,1\n", "file": "file\nb.csv\nc.csv\n", "": "x\n?\n1\n"}
        path = write(tmp_path / "a.csv", texts[next(iter(options.values()), "")])
        (bad, _), (good, _) = TableReader(**options).read(path, labelled=False)
        assert isinstance(bad.input, Flaw)
        assert "so a number is missing" in bad.input.what
        assert not isinstance(good.input, Flaw)

    @pytest.mark.parametrize(
        ("text", "options", "message"),
        [
            ("walk,x\n1,2\n", {"sequence": "walk"}, r"a\.csv:1: no column 'label'; the columns are: walk, x"),
            ("walk,label,x\n1,a,y\n", {"sequence": "walk"}, r"a\.csv:2: column 'x' has 'y', which is not a number"),
            ("walk,label,x\n1,a,\n", {"sequence": "walk"}, r"a\.csv:2: column 'x' is empty"),
            ("walk,label,x\n1,a\n", {"sequence": "walk"}, r"a\.csv:2: has 2 columns, and the first line has 3"),
            (
                "w,label,x\n1,a,1\n2,a,1\n1,a,2\n",
                {"sequence": "w"},
                r"a\.csv:4: the sequence '1', which began in line 2",
            ),
            ("w,label,x\n1,a,1\n1,b,1\n", {"sequence": "w"}, r"a\.csv:3: has the label 'b', and line 2 'a'"),
            ("label,x,y,z\na,1,2,3\n", {"width": 2}, r"a\.csv:2: has 3 numbers, which are not steps of 2"),
            ("label\na\n", {}, r"a\.csv:1: no column has measurements"),
            ("w;label;x\n1;a;1\n", {"sequence": "w"}, r"a\.csv:1: no column 'w'; a semicolon seems to separate"),
            ("w,t,label,x\n1,2,a,1\n1,1,a,1\n", {"sequence": "w", "time": "t"}, r"a\.csv:3: time '1' is not after '2'"),
            ("w,label,x\n1,,1\n", {"sequence": "w"}, r"a\.csv:2: column 'label' is empty; each sequence needs"),
            ("w,label,x\n1,a,inf\n", {"sequence": "w"}, r"a\.csv:2: column 'x' has 'inf', which is not a finite"),
            ("w,label,x\n", {"sequence": "w"}, r"a\.csv: has a header and nothing else"),
            ("label,x,x\na,1,2\n", {}, r"a\.csv:1: the header has the column 'x' twice"),
            ("file,label\nb.csv,a\n", {"file": "file"}, r"b\.csv: there is no such file"),
        ],
    )
    def test_mistakes_say_where_they_are(self, tmp_path: Path, text: str, options: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            list(TableReader(**options).read(write(tmp_path / "a.csv", text)))


class TestTask:
    def test_train_is_divided_and_every_case_is_in_one_split(self, tmp_path: Path) -> None:
        write(tmp_path / "train.ts", HEADER + cases(40))
        task = sensor(folder=tmp_path, held_out=0.2, held_out_test=0.2)
        read = {split: list(task.read(split)) for split in task.splits}
        assert {split: len(examples) for split, examples in read.items()} == {"train": 24, "dev": 8, "test": 8}
        assert sorted(example.id for examples in read.values() for example in examples) == sorted(
            example.id for example in ts_cases(tmp_path / "train.ts")
        )
        assert [example.target for example in read["dev"]].count("up") == 4

    def test_whole_persons_are_held_out(self, tmp_path: Path) -> None:
        rows = "".join(f"{n},person {n % 5},{'ab'[n % 2]},{n},1\n" for n in range(30))
        write(tmp_path / "all.csv", "n,who,label,x,y\n" + rows)
        task = sensor(folder=tmp_path, train="all.csv", sequence="n", group="who", split_by="group", held_out=0.2)
        people = {split: {int(example.input.rows[0, 0]) % 5 for example in task.read(split)} for split in task.splits}
        assert people["train"] | people["dev"] == set(range(5))
        assert not people["train"] & people["dev"]

    def test_options_that_do_not_go_together(self) -> None:
        with pytest.raises(UsageError, match="name the column of the group"):
            sensor(split_by="group")
        with pytest.raises(UsageError, match="give one of the two"):
            sensor(sequence="a", file="b")

    def test_imports_and_calls_without_torch(self) -> None:
        code = "import sys, seqkit_sensor; seqkit_sensor.sensor(); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    @pytest.mark.data
    @needs_data
    def test_published_counts(self) -> None:
        counts = {}
        for name in sources.DATASETS:
            task = sensor(source=name)  # type: ignore[arg-type]
            counts[name] = {split: len(list(task.read(split))) for split in task.splits}
        assert counts == {
            "japanese-vowels": {"train": 243, "dev": 27, "test": 370},
            "basic-motions": {"train": 36, "dev": 4, "test": 40},
        }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensor")
    for seed, split in enumerate(("train", "dev", "test")):
        write(folder / f"{split}.ts", HEADER + cases(60, seed))
    write(
        folder / "recipe.yaml",
        "tasks:\n  sensor: {folder: ., dev: dev.ts, test: test.ts, noise: 0.1}\n"
        "encoder: {use: gru, dim: 8, hidden: 8}\n"
        "train: {epochs: 8, batch: 8, optimizer: {use: adamw, lr: 0.02}}\n",
    )
    run = CliRunner().invoke(main, ["run", str(folder / "recipe.yaml"), "--out", str(folder / "out")])
    assert run.exit_code == 0, run.output + run.stderr
    return folder


class TestModel:
    def test_it_learns(self, trained: Path) -> None:
        scores = json.loads((trained / "out/metrics.json").read_text())
        assert scores["sensor/test/accuracy"] > 0.95

    def test_it_predicts_files_and_lines(self, trained: Path) -> None:
        write(trained / "new.ts", HEADER + "0,1,2:0,1,2:up\n0,-1,x:0,-1,-2:down\n")
        write(trained / "new.txt", "[[0, 0], [1, 1], [2, 2]]\n[[0]]\n")
        for name, message in (("new.ts", "'x' is not a number"), ("new.txt", "should be (steps, 2) numbers")):
            done = CliRunner().invoke(main, ["predict", str(trained / "out"), str(trained / name)])
            good, bad = map(json.loads, done.stdout.splitlines())
            assert good["prediction"] == "up"
            assert message in json.dumps(bad)

    def test_a_file_is_scored(self, trained: Path) -> None:
        words = ["evaluate", str(trained / "out"), "--data", str(trained / "dev.ts"), "--json", "--quiet"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        (accuracy,) = [score for name, score in json.loads(done.stdout).items() if name.endswith("/accuracy")]
        assert accuracy > 0.9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    draw = np.random.default_rng(0)
    names = []
    for number in range(24):
        # Which of the two rises is the label, so channels that are exchanged are the other label.
        rows = draw.normal(0.0, 0.1, (6, 2)) + np.outer(np.arange(6), [1, -1] if number % 2 else [-1, 1])
        is_swapped = number % 3 == 2
        lines = "".join(f"{a},{b}\n" for a, b in (row[::-1] if is_swapped else row for row in rows))
        write(folder / f"rec/{number}.csv", ("y,x\n" if is_swapped else "x,y\n") + lines)
        names.append(f"rec/{number}.csv,{'up' if number % 2 else 'down'}\n")
    write(folder / "all.csv", "name,label\n" + "".join(names))
    write(
        folder / "recipe.yaml",
        "tasks:\n  sensor: {folder: ., train: all.csv, file: name, held_out: 0.2}\n"
        "encoder: {use: gru, hidden: 8}\ntrain: {epochs: 6, batch: 4, optimizer: {use: adamw, lr: 0.02}}\n",
    )
    done = CliRunner().invoke(main, ["run", str(folder / "recipe.yaml"), "--out", str(folder / "out")])
    assert done.exit_code == 0, done.output
    return folder


class TestNamesOfChannels:
    """Files whose columns are in another order have the same predictions as those in the order of train."""

    def predictions(self, folder: Path, *names: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(main, ["predict", str(folder / "out"), *(str(folder / name) for name in names)])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_one_file_in_either_order_is_one_sequence(self, files: Path) -> None:
        write(files / "new/a.csv", "x,y\n" + "".join(f"{n},{-n}\n" for n in range(6)))
        write(files / "new/b.csv", "y,x\n" + "".join(f"{-n},{n}\n" for n in range(6)))
        write(files / "new/c.csv", "".join(f"{n},{-n}\n" for n in range(6)))
        first, *others = self.predictions(files, "new/a.csv", "new/b.csv", "new/c.csv")
        assert (first["id"], first["prediction"]) == ("a.csv", "up")
        assert [record["scores"] for record in others] == [first["scores"]] * 2

    def test_other_names_are_an_error_with_file_and_line(self, files: Path) -> None:
        write(files / "new/z.csv", "x,z\n1,2\n")
        write(files / "new/few.csv", "x\n1\n")
        write(files / "new.csv", "name\nrec/0.csv\nnew/z.csv\nnew/few.csv\n")
        good, unknown, missing = self.predictions(files, "new.csv")
        assert good["prediction"] == "down"
        expected = "z.csv:1: has no channel 'y' and has an unknown channel 'z'; the first sequence of train has x, y"
        assert unknown["error"] == f"{files}/new/{expected}"
        assert missing["error"].endswith("few.csv:1: has no channel 'y'; the first sequence of train has x, y")
        write(files / "bad.csv", "name,label\n" + "".join(f"rec/{n}.csv,{n % 2}\nnew/z.csv,2\n" for n in range(20)))
        words = ["data", str(files / "recipe.yaml"), "--set", "tasks.sensor.train=bad.csv"]
        done = CliRunner().invoke(main, [*words, "--set", f"tasks.sensor.folder={files}"])
        assert done.exit_code == 2
        assert done.output.count(f"{files}/new/{expected}") == 1

    def test_a_model_without_names_reads_by_position(self) -> None:
        field = Vectors(standardise=True).fit([named([[1.0, 2.0], [3.0, 5.0]])])
        state = field.state()
        assert state["names"] == ["x", "y"]
        restored = Vectors(standardise=True).restore(json.loads(json.dumps(state)))
        swapped = NamedVectors(np.array([[2.0, 1.0]]), ("y", "x"))
        assert np.array_equal(restored.encode(swapped), field.encode([[1.0, 2.0]]))
        del state["names"]
        older = Vectors(standardise=True).restore(state)
        assert np.array_equal(older.encode(swapped), field.encode([[2.0, 1.0]]))


def test_noise_is_added_in_training_only() -> None:
    import torch

    layer = Vectors(2, noise=0.5).layer(3)
    x = torch.zeros(4, 1000, 2)
    steps, _ = layer.train()(x, torch.full((4,), 1000))
    spread = (steps - layer.linear.bias).std(dim=(0, 1))
    assert torch.allclose(spread, 0.5 * layer.linear.weight.norm(dim=1), rtol=0.1)
    assert torch.equal(layer.eval()(x, torch.full((4,), 1000))[0], layer.linear.bias.expand(4, 1000, 3))


@pytest.mark.data
@needs_data
class TestConformance(TaskConformance):
    task = "sensor"
    options = {"source": "basic-motions", "held_out": 0.2}  # noqa: RUF012
