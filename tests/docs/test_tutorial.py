"""docs/plugins.md is followed from top to bottom: its files are written and its commands are run, in its order.

The default test calls commands in this process, installs by putting a folder on the path, and trains for a few steps.
Commands that prove something or start processes are left to the slow test, which does output as a reader does.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit.cli import main
from seqkit.public_api import PUBLIC_NAMES, private_imports

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what to do with it (`file`, `add to`, `in`, `shows`, `run`), and its file."""

    language: str
    action: str
    path: str
    text: str


def blocks() -> list[Block]:
    result = []
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        header = re.match(r"# (file|add to|in|shows): (\S+)\n", text)
        assert header or language == "sh", f"this block does not say which file it is:\n{text}"
        result.append(Block(language, header[1], header[2], text) if header else Block(language, "run", "", text))
    return result


def apply(block: Block, root: Path) -> None:
    """Write a file, add to one, or check that it contains what the page shows of it."""
    path = root / block.path
    body = block.text.partition("\n")[2]
    if block.action == "file":
        path.write_text(block.text)
        if block.language == "python":
            assert not list(private_imports(block.text))
    elif block.action == "add to":
        path.write_text(path.read_text() + "\n" + body)
    else:
        assert body in path.read_text(), f"{block.path} is no longer what the page shows"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the page was followed, with short training."""
    root = tmp_path_factory.mktemp("tutorial")
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(root / "cache"))
        patch.chdir(root)
        for block in blocks():
            if block.action != "run":
                apply(block, root)
                continue
            for line in block.text.splitlines():
                run(shlex.split(line), patch)
        yield root
    for name in set(sys.modules) - before:
        if name.startswith(("seqkit_digits", "seqkit_parity", "seqkit_focal", "running_sum", "test_parity")):
            del sys.modules[name]


def run(words: list[str], patch: pytest.MonkeyPatch) -> None:
    """One command, in this process."""
    if words[0] == "cd":
        patch.chdir(words[1])
    elif words[0] == "mkdir":
        Path(words[1]).mkdir()
    elif words[:3] == ["pip", "install", "-e"]:
        install(Path(words[3].removesuffix("[dev]")).resolve(), patch)
    elif words[0] == "tensorboard":
        assert words[1:] == ["--logdir", "runs"]
        assert list(Path("runs").glob("*/tb/events*"))
    elif words[0] == "seqkit":
        if words[1] == "prove" or words[1:3] in (["plugins", "info"], ["plugins", "check"], ["plugins", "doctor"]):
            return
        short = ["--set", "train.steps=4", "--set", "train.histograms=false", "--quiet"] if words[1] == "run" else []
        result = CliRunner().invoke(main, [*words[1:], *short])
        assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"
    else:
        assert words == ["pytest"]


def install(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """As an editable install leaves it: the metadata on the path, and the source."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    source = folder / "src" if (folder / "src").is_dir() else folder
    info = source / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    needs = "".join(f"Requires-Dist: {need}\n" for need in project["dependencies"])
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head + needs)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    patch.syspath_prepend(str(source))


class TestFollowedInShort:
    def test_the_runs_have_the_numbers_that_the_page_names(self, folder: Path) -> None:
        runs = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/runs/*/metrics.json")}
        named = set(re.findall(r"--out (\S+)", PAGE))
        assert {name.partition("/")[2] for name in runs} == named
        lines = (folder / "seqkit-digits/runs/first/metrics.jsonl").read_text()
        for name in re.findall(r"`(digits/\w+/\w+)`", PAGE):
            assert f'"{name}"' in lines, name

    def test_the_encoders_keep_the_contracts(self, folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(folder / "seqkit-parity/tests"))
            cases = [case for case in vars(importlib.import_module("test_parity")).values() if hasattr(case, "encoder")]
        assert len(cases) == 2
        for case in cases:
            for name in dir(case):
                if name.startswith("test_"):
                    getattr(case(), name)()

    def test_the_reader_gives_the_message_that_the_page_shows(self, folder: Path) -> None:
        from seqkit import DataError

        sentence = re.search(r"A user sees `data.txt:(.*?)`", PAGE)
        assert sentence is not None
        strings = importlib.import_module("seqkit_parity.reading").strings
        path = folder / "data.txt"
        path.write_text("01 odd\n11 even\n0x1 odd\n")
        with pytest.raises(DataError) as caught:
            list(strings(path))
        assert str(caught.value) == f"{path}:{sentence[1]}"
        path.write_text("01 odd\n11 even\n")
        assert [(example.input, example.target, example.id) for example in strings(path)][1] == (
            "11",
            "even",
            "data.txt:2",
        )

    def test_a_misspelt_score_is_found_before_training(self, folder: Path) -> None:
        for recipe in ("seqkit-digits/digits.yaml", "seqkit-parity/parity.yaml", "running-sum/running-sum.yaml"):
            name = recipe.rpartition("/")[2].removesuffix(".yaml")
            wrong = f"expect={{{name}/test/acuracy: {{at_least: 0.5}}}}"
            result = CliRunner().invoke(main, ["recipes", "check", str(folder / recipe), "--set", wrong])
            assert result.exit_code == 2
            assert "acuracy" in result.stderr
            assert "its scores: " in result.stderr

    def test_files_for_splits_are_a_task(self, folder: Path) -> None:
        make = importlib.import_module("seqkit_parity.files").parity_of_files
        lines = [f"{number:06b} {'odd' if number.bit_count() % 2 else 'even'}" for number in range(60)]
        (folder / "strings.txt").write_text("\n".join(lines) + "\n")
        task = make(folder=folder, train="strings.txt")
        assert task.splits == ("train", "dev")
        read = {split: [example.input for example in task.read(split)] for split in task.splits}
        assert sorted(read["train"] + read["dev"]) == [line.split()[0] for line in lines]
        assert read["dev"]
        assert [example.target for example in task.read_file(folder / "strings.txt", None, True)][3] == "even"

    def test_the_splits_of_a_forecast_predict_each_step_once(self, folder: Path, tmp_path: Path) -> None:
        """Dev goes on where train ends, and test where dev does: the past that they need is not predicted again."""
        from seqkit.data.store import prepare
        from seqkit.data.task_data import TaskData

        task = importlib.import_module("seqkit_parity.load").load()
        prepared = prepare(task, key={}, cache=tmp_path)
        data = TaskData("load", task, prepared.input, prepared.target, prepared.splits)
        hours = 24 * 5
        assert {name: len(split.x) for name, split in data.splits.items()} == {
            "train": 24 * 30 - 72 - 12 + 1,
            "dev": hours - 12 + 1,
            "test": hours - 12 + 1,
        }
        assert data.splits["dev"].ids[0] == "load:dev+72"


def test_wrapping_a_module_takes_less_than_30_lines() -> None:
    section = PAGE.partition("## Wrap a PyTorch module")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) < 30
    assert "class Mine(nn.Module)" in code


def test_the_page_names_every_public_module() -> None:
    assert not [module for module in PUBLIC_NAMES if f"`{module}`" not in PAGE]


PRELUDE = """
set -euo pipefail
seqkit() {{ {python} -m seqkit "$@"; }}
pip() {{ {python} -m pip -q --disable-pip-version-check "$1" --no-index --no-build-isolation "${{@:2}}"; }}
pytest() {{ {python} -m pytest -q -p no:cacheprovider "$@"; }}
tensorboard() {{ {python} {watch} "$@"; }}
"""

WATCH = """
import json, re, subprocess, sys, time, urllib.request
command = [sys.executable, "-W", "ignore", "-m", "tensorboard.main", *sys.argv[1:], "--port=0", "--load_fast=false"]
board = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
try:
    address = next(match[0] for line in board.stderr if (match := re.search(r"http://\\S+", line)))
    for _ in range(120):
        with urllib.request.urlopen(address + "data/plugin/scalars/tags") as answer:
            tags = {tag for run in json.load(answer).values() for tag in run}
        if tags:
            break
        time.sleep(0.5)
    print("TensorBoard shows", *sorted(tags))
finally:
    board.kill()
"""


@pytest.mark.slow
def test_the_whole_page_as_a_reader_does_it(tmp_path: Path) -> None:
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    watch, root = tmp_path / "watch.py", tmp_path / "root"
    watch.write_text(WATCH)
    root.mkdir()
    prelude = PRELUDE.format(python=environment / "bin/python", watch=watch)
    current, outputs = root, []
    for block in blocks():
        if block.action != "run":
            apply(block, root)
            continue
        script = f"{prelude}cd {current}\n{block.text}\npwd > {tmp_path / 'folder'}\n"
        result = subprocess.run(
            ["bash", "-c", script],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "SEQKIT_CACHE": str(tmp_path / "cache"),
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{block.text}\n{result.stdout}\n{result.stderr}"
        outputs.append(result.stdout)
        current = Path((tmp_path / "folder").read_text().strip())
    output = "\n".join(outputs)
    for name in re.findall(r"`(digits/\w+/\w+)`", PAGE):
        assert re.search(rf"TensorBoard shows .*{name}", output), name
    assert "NOT MET" not in output
    assert len(re.findall(r"expected at .*: met", output)) == 2
    predictions = [json.loads(line)["prediction"] for line in output.splitlines() if line.startswith('{"id": "--text')]
    assert predictions == ["even", "odd"]
