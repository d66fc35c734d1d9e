"""docs/plugins.md is gone through from top to bottom: its files are written and its commands are run, in its order.

In the default run commands are called in this process, installing is putting a folder on the path, and training is
short; what proves, or starts processes of its own, is left to the long run, which does everything as a reader does.
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
    """A fenced block: its language, what its first line says (`file`, `add to`, `in`, `shows`), of which file."""

    language: str
    what: str
    path: str
    text: str


def blocks() -> list[Block]:
    found = []
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        said = re.match(r"# (file|add to|in|shows): (\S+)\n", text)
        assert said or language == "sh", f"a block that says not which file it is:\n{text}"
        found.append(Block(language, said[1], said[2], text) if said else Block(language, "run", "", text))
    return found


def put(block: Block, root: Path) -> None:
    """Write a file, add to one, or see that it has what the page shows of it."""
    path = root / block.path
    body = block.text.partition("\n")[2]
    if block.what == "file":
        path.write_text(block.text)
        if block.language == "python":
            assert not list(private_imports(block.text))
    elif block.what == "add to":
        path.write_text(path.read_text() + "\n" + body)
    else:
        assert body in path.read_text(), f"{block.path} is no longer what the page shows"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the page has been gone through, in short."""
    root = tmp_path_factory.mktemp("tutorial")
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(root / "cache"))
        patch.chdir(root)
        for block in blocks():
            if block.what != "run":
                put(block, root)
                continue
            for line in block.text.splitlines():
                do(shlex.split(line), patch)
        yield root
    for name in set(sys.modules) - before:
        if name.startswith(("seqkit_digits", "seqkit_parity", "seqkit_focal", "test_parity")):
            del sys.modules[name]


def do(words: list[str], patch: pytest.MonkeyPatch) -> None:
    """One command, in this process."""
    if words[0] == "cd":
        patch.chdir(words[1])
    elif words[:3] == ["pip", "install", "-e"]:
        installed(Path(words[3].removesuffix("[dev]")).resolve(), patch)
    elif words[0] == "tensorboard":
        assert words[1:] == ["--logdir", "runs"]
        assert list(Path("runs").glob("*/tb/events*"))
    elif words[0] == "seqkit":
        if words[1] == "prove" or words[1:3] in (["plugins", "info"], ["plugins", "check"], ["plugins", "doctor"]):
            return
        short = ["--set", "train.steps=4", "--set", "train.histograms=false", "--quiet"] if words[1] == "run" else []
        done = CliRunner().invoke(main, [*words[1:], *short])
        assert done.exit_code == 0, f"{' '.join(words)}\n{done.output}"
    else:
        assert words == ["pytest"]


def installed(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """As an editable install leaves it: the metadata on the path, and the source."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    needs = "".join(f"Requires-Dist: {need}\n" for need in project["dependencies"])
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head + needs)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    patch.syspath_prepend(str(folder / "src"))


class TestInShort:
    def test_its_runs_are_there_with_what_it_says_of_them(self, place: Path) -> None:
        runs = {path.parent.relative_to(place).as_posix() for path in place.glob("*/runs/*/metrics.json")}
        named = set(re.findall(r"--out (\S+)", PAGE))
        assert {name.partition("/")[2] for name in runs} == named
        lines = (place / "seqkit-digits/runs/first/metrics.jsonl").read_text()
        for name in re.findall(r"`(digits/\w+/\w+)`", PAGE):
            assert f'"{name}"' in lines, name

    def test_its_encoders_keep_the_contracts(self, place: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(place / "seqkit-parity/tests"))
            cases = [case for case in vars(importlib.import_module("test_parity")).values() if hasattr(case, "encoder")]
        assert len(cases) == 2
        for case in cases:
            for name in dir(case):
                if name.startswith("test_"):
                    getattr(case(), name)()

    def test_its_reader_says_what_the_page_says_it_says(self, place: Path) -> None:
        from seqkit import DataError

        sentence = re.search(r"A user sees `data.txt:(.*?)`", PAGE)
        assert sentence is not None
        strings = importlib.import_module("seqkit_parity.reading").strings
        path = place / "data.txt"
        path.write_text("01 odd\n11 even\n0x1 odd\n")
        with pytest.raises(DataError) as told:
            list(strings(path))
        assert str(told.value) == f"{path}:{sentence[1]}"
        path.write_text("01 odd\n11 even\n")
        assert [(each.input, each.target, each.id) for each in strings(path)][1] == ("11", "even", "data.txt:2")


def test_a_module_of_ones_own_is_wrapped_in_under_30_lines() -> None:
    section = PAGE.partition("## Wrap a PyTorch module")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) < 30
    assert "class Mine(nn.Module)" in code


def test_the_page_leads_where_it_says() -> None:
    for page in (PAGE, (ROOT / "docs/design.md").read_text(), (ROOT / "docs/reference.md").read_text()):
        headings = {
            re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-")
            for each in re.findall(r"^#+ (.*)", page, re.M)
        }
        for goal in re.findall(r"\]\(([^)]+)\)", page):
            if goal.startswith("#"):
                assert goal[1:] in headings, goal
            else:
                assert (ROOT / "docs" / goal).exists(), goal
    assert not [door for door in PUBLIC_NAMES if f"`{door}`" not in PAGE]


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
    address = next(found[0] for line in board.stderr if (found := re.search(r"http://\\S+", line)))
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
    where, said = root, []
    for block in blocks():
        if block.what != "run":
            put(block, root)
            continue
        script = f"{prelude}cd {where}\n{block.text}\npwd > {tmp_path / 'where'}\n"
        done = subprocess.run(
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
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
        where = Path((tmp_path / "where").read_text().strip())
    everything = "\n".join(said)
    for name in re.findall(r"`(digits/\w+/\w+)`", PAGE):
        assert re.search(rf"TensorBoard shows .*{name}", everything), name
    assert "NOT MET" not in everything
    assert len(re.findall(r"expected at .*: met", everything)) == 2
    answers = [json.loads(line)["prediction"] for line in everything.splitlines() if line.startswith('{"id": "--text')]
    assert answers == ["even", "odd"]
