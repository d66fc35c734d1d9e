"""A plugin written for the public API of seqkit 0.1, never edited: today's seqkit still works with it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from seqkit.public_api import private_imports

GOLDEN = Path(__file__).parents[1] / "golden" / "plugin-contract-1"
SHA256 = "9ac1a0e4c29f33b475bf81303d82844ce4492cedb97cc950919419c3c6428748"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = shutil.copytree(GOLDEN, tmp_path_factory.mktemp("golden") / "plugin")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("SEQKIT_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        done = call("run", "golden.yaml", "--out", "run", "--quiet")
        assert done.exit_code == 0, done.output
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] in ("golden_plugin", "promises")]:
        del sys.modules[name]


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_the_plugin_was_not_edited() -> None:
    """Never edit it: see tests/golden/README.md."""
    files = sorted(path for path in GOLDEN.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(GOLDEN).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    assert digest.hexdigest() == SHA256, "the golden plugin was edited; see tests/golden/README.md"
    assert not [name for path in files if path.suffix == ".py" for name in private_imports(path.read_text())]


def test_it_trains_and_an_evaluation_gives_the_same_scores(folder: Path) -> None:
    final = json.loads((folder / "run/metrics.json").read_text())
    assert {"golden-parity/test/nats", "golden-parity/test/accuracy", "golden-text/test/nats"} <= final.keys()
    done = call("evaluate", "run", "--json", "--quiet", "--batch", "5")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        key: pytest.approx(value, abs=1e-6) for key, value in final.items() if "/test/" in key
    }


def test_it_predicts_in_its_own_form(folder: Path) -> None:
    done = call("predict", "run", "--task", "golden-parity", "--text", " abca ")
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    assert row["prediction"] in ("EVEN", "ODD")
    assert set(row["scores"]) == {"even", "odd"}
    done = call("predict", "run", "--task", "golden-parity", "--text", "abxa")
    assert done.exit_code == 1
    assert "has the letter 'x', which training has not" in json.loads(done.stdout)["error"]


def test_it_generates(folder: Path) -> None:
    done = call("generate", "run", "--task", "golden-text", "--prompt", "1", "--length", "20")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1")


def test_its_options_are_checked(folder: Path) -> None:
    words = [
        "encoder.hiden=3",
        "tasks.golden-parity.columns=[1]",
        "tasks.golden-parity.head={use: golden-pick, pool: best}",
    ]
    done = call("recipes", "check", "golden.yaml", *(word for override in words for word in ("--set", override)))
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 3
    assert "did you mean 'hidden'?" in done.stderr


def test_it_resumes(folder: Path) -> None:
    """Run folder, states and plugin fit together when a run is resumed."""
    shutil.copytree(folder / "run", folder / "again")
    assert call("run", "--resume", "again", "--quiet").exit_code == 0
    assert json.loads((folder / "again/metrics.json").read_text()) == json.loads(
        (folder / "run/metrics.json").read_text()
    )


@pytest.mark.slow
def test_its_authors_tests_pass(folder: Path) -> None:
    import promises

    cases = [case for name, case in vars(promises).items() if name.startswith("Test")]
    assert len(cases) == 4
    for case in cases:
        for name in dir(case):
            if name.startswith("test_"):
                getattr(case(), name)()
