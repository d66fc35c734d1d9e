"""What a user sees of an exception in a plugin's task: a sentence with the place, and exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from seqkit.errors import PluginError
from seqkit.recipe.plugin_calls import with_plain_errors
from seqkit.recipe.recipe import call_factory
from seqkit.registry.registry import CORE, Plugin
from seqkit.types import Example
from tests.helpers.third_party import install

CODE = """
    from pathlib import Path
    from seqkit import DataError, Example, Label, Problem, Task, Vectors

    def task(*, fails: str = "") -> Task:
        def read(split):
            for number in range(12):
                if fails == f"read {split}" and number == 3:
                    float("x")
                yield Example([[float(number)]], "up" if number % 2 else "down", f"{split}:{number}")

        def read_file(path, split, labelled):
            for number, line in enumerate(Path(path).read_text().splitlines(), 1):
                if fails == "data error" and number == 2:
                    raise DataError(Problem(f"{path}:{number}", "is no number", "write one"))
                yield Example([[float(line)]], None, f"{path}:{number}")

        def metric(predictions, targets):
            '''The first prediction.'''
            return {"right": float(predictions[0 if fails != "metric" else 99].value == targets[0])}

        def parse(text):
            return [[float(text) if fails != "parse" else {}[text]]]

        return Task(
            read=read, input=Vectors(1), target=Label(), head="classify", metric=metric, best="max:right",
            read_file=read_file, suffixes=(".num",), parse=parse,
        )
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    install(tmp_path, code=CODE)
    return tmp_path


def call(site: Path, *words: str, fails: str = "") -> Result:
    recipe = site / "mine.yaml"
    options = f"{{use: splice, fails: {fails}}}" if fails else "{use: splice}"
    recipe.write_text(f"tasks: {{mine: {options}}}\nencoder: {{use: gru, dim: 4, hidden: 4}}\ntrain: {{steps: 2}}\n")
    return CliRunner().invoke(main, [str(recipe) if word == "RECIPE" else word for word in words])


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ("read train", "read failed after example train:2, at "),
        ("read test", "read failed after example test:2, at "),
        ("metric", "metric failed, at "),
    ],
)
def test_a_run_says_which_function_failed_and_where(site: Path, fails: str, expected: str) -> None:
    result = call(site, "run", "RECIPE", "--out", str(site / "run"), "--quiet", fails=fails)
    assert result.exit_code == 2
    assert f"the task 'splice' of vendor 1.2: {expected}" in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    reason = "ValueError: could not convert" if fails.startswith("read") else "IndexError: list index"
    assert reason in result.stderr


def test_a_file_to_predict_that_the_plugin_cannot_read(site: Path) -> None:
    assert call(site, "run", "RECIPE", "--out", str(site / "run"), "--quiet").exit_code == 0
    (site / "a.num").write_text("1\n2\nthree\n")
    result = call(site, "predict", str(site / "run"), str(site / "a.num"))
    assert result.exit_code == 2
    text = " ".join(result.stderr.split())
    assert "read_file failed after example" in text
    assert "a.num:2, at " in text
    assert "Traceback" not in result.output
    right = CliRunner().invoke(main, ["predict", str(site / "run")], input="1.5\nabc\n")
    assert right.exit_code == 1, "a line that `parse` refuses is one record of an error, and the others are predicted"
    assert "could not convert string to float" in right.stdout


def test_errors_that_the_author_wrote_stay_as_they_are(site: Path) -> None:
    (site / "a.num").write_text("1\n2\n")
    task = call_factory("splice", {"fails": "data error"})
    assert task.read_file is not None
    with pytest.raises(Exception, match=r"a\.num:2: is no number") as raised:
        list(task.read_file(site / "a.num", None, False))
    assert type(raised.value).__name__ == "DataError"
    assert task.metric is not None
    assert task.metric.__doc__ == "The first prediction."


def test_an_author_can_see_the_exception_itself(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError):
        list(call_factory("splice", {"fails": "read dev"}).read("dev"))
    monkeypatch.setenv("SEQKIT_RAISE_PLUGIN_ERRORS", "1")
    with pytest.raises(ValueError, match="could not convert"):
        list(call_factory("splice", {"fails": "read dev"}).read("dev"))


def test_tasks_of_seqkit_are_left_alone(site: Path) -> None:
    task: Any = call_factory("splice", {})
    assert with_plain_errors(task, Plugin("tasks", "x", CORE, "1", "a:b", "")) is task
    assert next(iter(task.read("train"))) == Example([[0.0]], "down", "train:0")
