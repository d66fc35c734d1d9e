"""What the documentation shows is run: a page that lags behind the code fails here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit import recipe
from seqkit.cli import VERBS, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLUGINS = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's distribution as if installed: its modules and its metadata in one folder."""
    folder = tmp_path_factory.mktemp("plugin")
    for code in blocks(PLUGINS, "python"):
        name = re.match(r"# file: (\S+)\n", code)
        assert name is not None, "every snippet says which file it is"
        (folder / name.group(1)).write_text(code)
    facts = [tomllib.loads(block) for block in blocks(PLUGINS, "toml")]
    points = {group: names for fact in facts for group, names in fact["project"].get("entry-points", {}).items()}
    info = folder / "seqkit_parity-1.0.dist-info"
    info.mkdir()
    needs = facts[0]["project"]["dependencies"][0]
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: seqkit-parity\nVersion: 1.0\nRequires-Dist: {needs}\n"
    )
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (folder / "parity.yaml").write_text(blocks(PLUGINS, "yaml")[0])
    return folder


def call(plugin: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ, PYTHONPATH=str(plugin), SEQKIT_CACHE=str(plugin / "cache"))
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=plugin, env=env, capture_output=True, text=True, check=False
    )


def test_the_tutorials_plugin_is_listed_checked_and_learns(plugin: Path) -> None:
    assert "seqkit-parity 1.0" in call(plugin, "seqkit", "tasks").stdout
    done = call(plugin, "seqkit", "recipes", "check", "parity.yaml")
    assert done.returncode == 0, done.stderr
    done = call(plugin, "seqkit", "run", "parity.yaml", "--out", "run", "--quiet")
    assert done.returncode == 0, done.stderr
    found = re.search(r"parity/test/accuracy +([\d.]+)", done.stdout)
    assert found is not None
    assert float(found.group(1)) > 0.9


def test_its_encoder_and_its_head_serve_any_recipe(plugin: Path) -> None:
    short = ["--set", "train.epochs=1", "--set", "tasks.parity.examples=60", "--quiet"]
    for number, change in enumerate(
        ["encoder={use: causal, hidden: 8}", "tasks.parity.head={use: ordinal, spread: 2.0}"]
    ):
        done = call(plugin, "seqkit", "run", "parity.yaml", "--set", change, "--out", f"other{number}", *short)
        assert done.returncode == 0, done.stderr
    done = call(plugin, "seqkit", "prove", "parity.yaml", "--set", "tasks.parity.head=ordinal")
    assert done.returncode == 0, done.stdout


def test_its_conformance_tests_pass(plugin: Path) -> None:
    done = call(plugin, "pytest", "-q", "-p", "no:cacheprovider", "test_parity.py")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE)


def test_the_readmes_recipe_is_right() -> None:
    for text in blocks(README, "yaml"):
        whole = text if "encoder" in text else text + "encoder: lstm\n"
        assert recipe.parse(whole.encode(), "README.yaml").tasks


OWN = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", blocks(OWN, "yaml"))
def test_the_recipes_for_your_own_data_are_right(text: str) -> None:
    made = recipe.parse(text.encode(), "docs/own.yaml")
    assert recipe.build_task(next(iter(made.tasks.values()))).read is not None


def test_the_readmes_plugin_is_right(tmp_path: Path) -> None:
    (code,) = blocks(README, "python")
    path = tmp_path / "readme_plugin.py"
    path.write_text(code + "\n\nTASK = mood(folder=Path('.'))\n")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_verb_and_recipe_that_the_readme_names_exists() -> None:
    for verb in re.findall(r"`seqkit ([a-z]+)", README) + re.findall(r"^seqkit ([a-z]+)", README, re.MULTILINE):
        assert verb in VERBS, verb
    for path in re.findall(r"recipes/[\w-]+\.yaml", README):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"^\| `([\w-]+)` \|", README, re.MULTILINE):
        assert name in recipe.names(), name
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
