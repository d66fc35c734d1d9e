"""What the README shows is what there is: recipe, messages, versions, figures, plugin, run folder."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from seqkit import errors, recipe
from seqkit.cli import VERBS, main
from seqkit.runs.interrupts import HANDLED, exit_code_of
from tests.helpers.pages import PAGES, ROOT, blocks, rows

README = PAGES["README.md"]
SHIPPED, MISTAKEN, OWN_DATA = blocks(README, "yaml")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_recipe_is_the_shipped_file() -> None:
    lines = (ROOT / "recipes/charlm.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")) == SHIPPED


def test_the_recipe_for_your_own_data_is_valid() -> None:
    assert recipe.parse(OWN_DATA.encode(), "README.yaml").tasks


def test_the_messages_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(MISTAKEN)
    result = CliRunner().invoke(main, ["recipes", "check", "my.yaml"])
    assert result.exit_code == 2
    (shown,) = (block for block in blocks(README, "") if block.startswith("$ seqkit recipes check my.yaml\n"))
    assert shown.partition("\n")[2] == result.output


def test_the_versions_are_those_of_the_package() -> None:
    python = re.search(r"Python (3\.\d+) or newer", README)
    assert python is not None
    assert PROJECT["requires-python"] == f">={python[1]}"
    torch = re.search(r"PyTorch 2\.(\d+) to 2\.(\d+)", README)
    assert torch is not None
    (required,) = (need for need in map(Requirement, PROJECT["dependencies"]) if need.name == "torch")
    assert required.specifier == SpecifierSet(f">=2.{torch[1]},<2.{int(torch[2]) + 1}")


def test_its_two_commands_are_those_that_ci_runs() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    install, test = (block.strip() for block in blocks(README, "")[:2])
    assert install == 'pip install -e ".[all]" && seqkit run recipes/charlm.yaml'
    assert test == 'pip install -e ".[all,dev]" && pytest -n auto'
    for command in (install, test):
        assert command.replace("pip install", "pip install --quiet") in script


def test_the_plugin_works(tmp_path: Path) -> None:
    _, code = blocks(README, "python")
    path = tmp_path / "readme_plugin.py"
    path.write_text(code + "\n\nTASK = mood(folder=Path('.'))\n")
    result = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_run_leaves_what_it_lists(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    short = ["--set", "train.steps=2", "--set", "tasks.sentiment.sizes=[40, 20, 20]", "--set", "expect={}"]
    result = CliRunner().invoke(main, ["run", "sentiment", *short, "--out", str(folder), "--quiet"])
    assert result.exit_code == 0, result.output
    (shown,) = (block for block in blocks(README, "") if block.startswith("runs/"))
    names = [line.split()[0] for line in shown.splitlines()[1:]]
    assert sorted(names) == sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())


EXIT_CODES = {row[0]: row[1] for row in rows(README, "| code | what it means |")}


def test_exit_codes_are_those_of_the_code() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    raised = {error.exit_code for error in classes if issubclass(error, errors.SeqkitError)}
    stopped = {exit_code_of(number) for number in HANDLED}
    assert set(EXIT_CODES) == {str(code) for code in {0} | raised | stopped}
    for name in ("SIGTERM", "SIGUSR1"):
        assert name in EXIT_CODES[str(exit_code_of(signal.Signals[name]))]


def test_the_table_names_each_verb_that_can_end_with_1() -> None:
    for path in (ROOT / "seqkit/cli").glob("*.py"):
        verb = path.stem.replace("_", "-")
        ends_with_1 = re.search(r"\b(exit|SystemExit)\(1\)", path.read_text(encoding="utf-8")) is not None
        assert verb not in VERBS or not ends_with_1 or f"`{verb}`" in EXIT_CODES["1"] or f"`{verb} " in EXIT_CODES["1"]


@pytest.mark.parametrize("row", rows(README, "| shell | line | in |"), ids=lambda row: str(row[0]))
def test_the_line_for_completion_is_that_of_click(row: list[str]) -> None:
    """For bash the line is run in a bash by tests/cli/test_completion.py."""
    shell = row[0].split()[0]
    variable = f"_SEQKIT_COMPLETE={shell}_source"
    assert variable in row[1]
    script = CliRunner().invoke(main, env=dict([variable.split("=")]), prog_name="seqkit").output
    assert "seqkit" in script
    assert f"_SEQKIT_COMPLETE={shell}_complete" in script


def digits_of(text: str) -> list[str]:
    return re.findall(r"\d+\.\d+", text)


@pytest.mark.parametrize("row", rows(README, "| recipe | data |"), ids=lambda row: str(row[0]))
def test_scores_are_measured(row: list[str]) -> None:
    name = row[0].strip("`")
    result = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    (score,) = {verdict["score"] for verdict in result["verdicts"]}
    values = [run[score] for run in result["scores"]]
    shown = digits_of(row[2])
    expected = [fmean(values)] if len(values) == 1 else [fmean(values), stdev(values)]
    assert shown == [f"{value:.{len(text.partition('.')[2])}f}" for value, text in zip(expected, shown, strict=True)]
    assert row[4] == f"{fmean(result['minutes']):.1f}"


@pytest.mark.parametrize("row", rows(README, "| recipe | data |"), ids=lambda row: str(row[0]))
def test_scores_for_comparison_have_a_source(row: list[str]) -> None:
    sources = YAML(typ="safe", pure=True).load((ROOT / "docs/results/beside.yaml").read_text(encoding="utf-8"))
    source = sources[row[0].strip("`")]
    known = [float(text) for text in digits_of(f"{source.get('published', '')} {source.get('baseline', '')}")]
    for text in digits_of(row[3]):
        decimals = len(text.partition(".")[2])
        assert text in {f"{value:.{decimals}f}" for value in known}


RATIOS = [
    ("kernels", ["LSTM H128"], ["torch packed", "torch padded"]),
    ("kernels", ["GRU H128"], ["torch packed", "torch padded"]),
    ("kernels", ["Elman H128"], ["torch packed", "torch padded"]),
    ("training", ["classification"], ["torch packed"]),
    ("training", ["classification"], ["Keras, jax"]),
    ("training", ["classification"], ["Keras, torch"]),
    ("training", ["own batches, classification"], ["torch packed"]),
    ("training", ["own batches, classification"], ["Keras, jax"]),
    ("training", ["own batches, classification"], ["Keras, torch"]),
    ("training", ["tagging"], ["torch packed"]),
    ("training", ["tagging"], ["Flair"]),
    ("training", ["tagging"], ["Flair, plain loop"]),
    ("decoding", [f"CRF loss C{labels} T{steps}" for labels in (9, 50) for steps in (50, 400)], ["pytorch-crf"]),
    ("decoding", [f"CRF best paths C{labels} T{steps}" for labels in (9, 50) for steps in (50, 400)], ["pytorch-crf"]),
    ("decoding", ["CTC beam 16 C30 T100", "CTC beam 16 C500 T400"], ["pyctcdecode"]),
    ("prediction", ["tagging, 100,000 sentences"], ["spaCy"]),
    ("prediction", ["tagging, 100,000 sentences"], ["Flair"]),
]
"""The rows of the table of speeds: group, cases and contenders, of whose ratios the smallest is shown."""


def test_speeds_are_measured() -> None:
    groups = json.loads((ROOT / "docs/benchmarks.json").read_text(encoding="utf-8"))["groups"]
    shown = rows(README, "| what | compared with |")
    for row, (group, cases, contenders) in zip(shown, RATIOS, strict=True):
        results = {case["name"]: case["results"] for case in groups[group]["cases"]}
        smallest = min(results[case][contender]["ratio"][0] for case in cases for contender in contenders)
        assert row[2].removesuffix(" and more") == f"{smallest:.1f}", row


def test_the_tables_name_recipes_and_pages_that_exist() -> None:
    assert {row[0].strip("`") for row in rows(README, "| recipe | data |")} <= set(recipe.names())
    listed = set(re.findall(r"\(docs/([\w-]+\.md)\)", README.partition("## Documentation")[2]))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}
