"""Own machines of the task `lifetime`: tables of units until they fail or are stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from seqkit_series import lifetime

from seqkit import DataError, Flaw, NamedVectors, UsageError
from seqkit.cli import main
from seqkit.reading import collect_reports

LENGTHS = {f"m{number}": 40 + number for number in range(10)}


def table(rows: dict[str, int], *, remaining: int | None = None, order: tuple[int, ...] = (0, 1, 2)) -> str:
    """Units with so many steps; `heat` says how many of 60 have passed, `noise` nothing."""
    draw = np.random.default_rng(len(rows))
    header = ["unit", "heat", "noise"]
    lines = [",".join([header[place] for place in order] + ["rul"] * (remaining is not None))]
    for name, steps in rows.items():
        for step in range(steps):
            cells = [name, f"{step - steps - (remaining or 0)}", f"{draw.normal():.3f}"]
            lines.append(",".join([cells[place] for place in order] + [str(remaining)] * (remaining is not None)))
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


class TestReading:
    def test_as_many_steps_remain_as_rows_follow_and_no_more_than_the_cap(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", "unit,a,b\nx,1,2\nx,3,4\nx,5,6\ny,7,8\n")
        task = lifetime(folder=tmp_path, held_out=0.0, cap=1)
        assert task.splits == ("train",)
        first, second = task.read("train")
        assert first.input == NamedVectors(np.array([[1.0, 2], [3, 4], [5, 6]]), ("a", "b"))
        assert (first.target.tolist(), first.id) == ([1, 1, 0], "train.csv:2")
        assert (second.target.tolist(), second.id) == ([0], "train.csv:5")

    def test_a_column_says_what_remains_of_units_that_were_stopped(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", table(LENGTHS))
        write(tmp_path / "test.csv", "unit,heat,noise,rul\nx,1,1,\nx,1,1,9\ny,1,1,3\n")
        task = lifetime(folder=tmp_path, test="test.csv", remaining="rul")
        with collect_reports() as reading:
            first, second = task.read("test")
        assert (first.target.tolist(), second.target.tolist()) == ([10, 9], [3])
        assert first.input.names == ("heat", "noise")
        used = {"unit": "unit", "remaining": "rul", "sensor 1": "heat", "sensor 2": "noise"}
        assert reading.tables["test.csv"].used == used
        with collect_reports() as reading:
            list(task.read("train"))
        assert "train.csv has no column 'rul': its units are taken to have run until they failed" in reading.remarks

    def test_units_of_dev_are_cut_ones_of_train_that_train_does_not_have(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", table(LENGTHS))
        task = lifetime(folder=tmp_path, held_out_test=0.2)
        read = {split: list(task.read(split)) for split in task.splits}
        units = {split: {example.id.split("+")[0] for example in examples} for split, examples in read.items()}
        assert {split: len(names) for split, names in units.items()} == {"train": 6, "dev": 2, "test": 2}
        assert len(set.union(*units.values())) == 10
        for example in (*read["dev"], *read["test"]):
            steps = int(example.id.split("+")[1])
            assert steps == len(example.input.rows) == len(example.target) >= 20
            # `heat` counts from the end, so it says what is true.
            assert example.target.tolist() == (-1 - example.input.rows[:, 0]).tolist()
        assert len(read["dev"]) == 10
        assert [example.id for example in read["dev"]] == [example.id for example in task.read("dev")]

    def test_a_unit_of_one_step_is_not_cut(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", "unit,a\nx,1\nx,2\n")
        write(tmp_path / "dev.csv", "unit,a\nx,1\ny,1\ny,2\n")
        assert [example.id for example in lifetime(folder=tmp_path, dev="dev.csv").read("dev")] == [
            "dev.csv:2",
            "dev.csv:3+1",
        ]

    @pytest.mark.parametrize(
        ("text", "options", "message"),
        [
            ("engine,a\n1,2\n", {}, r"train\.csv:1: no column 'unit'; the columns are: engine, a"),
            ("unit\n1\n", {}, r"train\.csv:1: no column has measurements"),
            ("unit,a\n1,2\n1,x\n", {}, r"train\.csv:3: column 'a' has 'x', which is not a number"),
            (
                "unit,a\n1,2\n2,2\n1,3\n",
                {},
                r"train\.csv:4: the unit '1', which began in line 2, goes on",
            ),
            ("unit,a,t\n1,2,5\n1,2,4\n", {"time": "t"}, r"train\.csv:3: time '4' is not after '5'; sort the rows"),
            ("unit,a\n1,2\n", {"channels": ("b",)}, r"train\.csv:1: no column 'b'; the columns are: unit, a"),
            ("unit,a,rul\n1,2,-1\n", {"remaining": "rul"}, r"train\.csv:2: rul is -1, and should be 0 or more"),
            ("unit,a,rul\n1,2,\n", {"remaining": "rul"}, r"train\.csv:2: column 'rul' is empty"),
            ("unit,a\n1,2\n", {"remaining": "r", "test": "train.csv"}, r"train\.csv:1: has no column 'r'; `remaining`"),
            (
                "unit,a\n1,2\n",
                {"held_out": 0.2},
                r"there are 1 groups, too few for 2 splits; name files",
            ),
            ("", {"train": "none.csv"}, r"none\.csv: there is no such file; `train` names the file; the \.csv files"),
        ],
    )
    def test_mistakes_say_where_they_are(
        self, tmp_path: Path, text: str, options: dict[str, Any], message: str
    ) -> None:
        write(tmp_path / "train.csv", text)
        task = lifetime(**{"folder": tmp_path, "held_out": 0.0, **options})
        with pytest.raises(DataError, match=message):
            [list(task.read(split)) for split in task.splits]

    def test_other_files(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", table(LENGTHS))
        task = lifetime(folder=tmp_path)
        assert task.read_file is not None
        new = write(tmp_path / "new.csv", "unit,heat,noise\nx,1,?\ny,1,1\n")
        bad, good = task.read_file(new, None, False)
        assert isinstance(bad.input, Flaw)
        assert (bad.id, good.target, good.id) == ("x", None, "y")
        nameless = write(tmp_path / "nameless.csv", "unit,heat,noise\nx,1,1\n ,1,1\n")
        assert [example.id for example in task.read_file(nameless, None, False)] == ["x", "nameless.csv:3"]
        cut = list(task.read_file(write(tmp_path / "more.csv", table({"z": 40})), None, True))
        assert len(cut) == 5
        with pytest.raises(UsageError, match="is one file"):
            list(task.read_file(new, "dev", True))

    def test_a_table_to_be_scored_has_the_column_with_what_remains(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", table(LENGTHS))
        read_file = lifetime(folder=tmp_path, remaining="rul").read_file
        assert read_file is not None
        new = write(tmp_path / "new.csv", table({"x": 3}))
        with pytest.raises(
            DataError, match=r"new\.csv:1: has no column 'rul'; `remaining` names the one with the true"
        ):
            list(read_file(new, None, True))
        (stopped,) = read_file(write(tmp_path / "stopped.csv", table({"x": 3}, remaining=7)), None, True)
        assert stopped.target.tolist() == [9, 8, 7]
        (unscored,) = read_file(new, None, False)
        assert unscored.target is None


def test_a_model_learns_and_reads_new_tables_in_any_order_of_columns(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", table(LENGTHS))
    write(tmp_path / "test.csv", table({"t1": 30, "t2": 20}, remaining=12, order=(2, 0, 1)))
    write(
        tmp_path / "recipe.yaml",
        "tasks:\n  lifetime: {folder: ., test: test.csv, remaining: rul, cap: 50}\n"
        "encoder: {use: gru, hidden: 8}\ntrain: {epochs: 60, batch: 4, optimizer: {use: adamw, lr: 0.03}}\n",
    )
    done = CliRunner().invoke(main, ["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out/metrics.json").read_text())["lifetime/test/rmse"] < 4.0
    new = [write(tmp_path / "a.csv", table({"n": 25})), write(tmp_path / "b.csv", table({"n": 25}, order=(1, 2, 0)))]
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), *map(str, new)])
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["prediction"] == pytest.approx(second["prediction"], abs=1e-4)
    assert len(first["prediction"]) == 25
    assert (first["id"], second["id"]) == ("n", "n")
    other = write(tmp_path / "other.csv", table({"n1": 5, "n2": 5, "n3": 5}).replace("heat", "warmth"))
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), str(other), str(new[0])])
    bad, good = (json.loads(line) for line in done.stdout.splitlines())
    assert (done.exit_code, good["id"]) == (1, "n")
    assert good["prediction"] == pytest.approx(first["prediction"], abs=1e-4)
    assert bad["id"].endswith("other.csv:1")
    assert bad["error"] == (
        "has no channel 'heat' and has an unknown channel 'warmth'; the first sequence of train has heat, noise"
    )
    done = CliRunner().invoke(main, ["evaluate", str(tmp_path / "out"), "--data", str(new[0])])
    assert (done.exit_code, "a.csv:1: has no column 'rul'" in done.output) == (2, True), done.output
