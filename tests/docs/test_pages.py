"""What the documentation shows is run: a page that lags behind the code fails here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit import recipe
from seqkit.cli import VERBS, main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


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
    for verb in re.findall(r"`seqkit ([a-z-]+)", README) + re.findall(r"^seqkit ([a-z-]+)", README, re.MULTILINE):
        assert verb in VERBS, verb
    for path in re.findall(r"recipes/[\w-]+\.yaml", README):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"^\| `([\w-]+)` \|", README, re.MULTILINE):
        assert name in recipe.names(), name
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
