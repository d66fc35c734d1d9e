"""The third-party distributions of tests/outside, installed and used through the command line as a user does."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit import recipe
from seqkit.cli import main
from seqkit.errors import DataError, MissingExtra
from seqkit.public_api import private_imports
from seqkit.types import Choice
from tests.helpers.data import skip_or_raise

ROOT = Path(__file__).parents[2]
OUTSIDE = Path(__file__).parents[1] / "outside"


@dataclass(frozen=True)
class ThirdParty:
    """A distribution of tests/outside.

    Attributes:
        folder: under tests/outside.
        distribution: its name in the metadata.
        name: the name that a recipe uses.
        task: the task of its recipe.
        text: an input for `seqkit predict`.
        labels: the labels that can be predicted.
        small: overrides that make its recipe run in a second.
    """

    folder: str
    distribution: str
    name: str
    task: str
    text: str
    labels: frozenset[str]
    small: tuple[str, ...] = ()

    @property
    def recipe(self) -> str:
        return f"{self.folder}/{self.folder}.yaml"

    @property
    def sets(self) -> list[str]:
        return set_options(*self.small, "encoder.hidden=8", "train.histograms=false")


THIRD_PARTIES = [
    ThirdParty(
        "splice-sites",
        "splice-sites",
        "splice-sites",
        "splice-sites",
        "TTACAG|GTAAGTAT",
        frozenset({"donor", "acceptor", "neither"}),
    ),
    ThirdParty(
        "mingru",
        "seqkit-mingru",
        "parallel-mingru",
        "sentiment",
        "the plot was dull .",
        frozenset({"positive", "negative"}),
        ("tasks.sentiment.sizes=[300, 40, 40]",),
    ),
    ThirdParty(
        "ordinal",
        "ordered-labels",
        "ordinal",
        "ratings",
        "the plot was very fine",
        frozenset({"terrible", "poor", "fair", "good", "excellent"}),
    ),
]
for_each = pytest.mark.parametrize("plugin", THIRD_PARTIES, ids=lambda plugin: str(plugin.folder))
# Tests of some seconds run with the encoder, whose states are carried; with the others they are slow tests.
for_encoder = pytest.mark.parametrize(
    "plugin",
    [pytest.param(plugin, marks=[] if plugin.folder == "mingru" else [pytest.mark.slow]) for plugin in THIRD_PARTIES],
    ids=lambda plugin: str(plugin.folder),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copies of the three, installed side by side in a folder that is on sys.path during the tests of this module."""
    folder = tmp_path_factory.mktemp("outside")
    copies = [shutil.copytree(OUTSIDE / plugin.folder, folder / plugin.folder) for plugin in THIRD_PARTIES]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), *map(str, copies)],
        check=True,
    )
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        patch.setenv("SEQKIT_CACHE", str(folder / "cache"))
        patch.setenv("SEQKIT_OFFLINE", "1")
        patch.chdir(folder)
        yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("splice_sites", "seqkit_mingru", "ordered_labels"):
            del sys.modules[name]


def set_options(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def trained(workspace: Path) -> Path:
    for plugin in THIRD_PARTIES:
        words = ["--set", "train.steps=20", *plugin.sets]
        done = call("run", plugin.recipe, "--out", f"runs/{plugin.folder}", "--quiet", *words)
        assert done.exit_code == 0, done.output
    return workspace / "runs"


def test_they_import_only_the_public_api() -> None:
    files = [path for path in OUTSIDE.rglob("*.py") if "build" not in path.parts]
    assert len(files) >= 9
    imports = {str(path): list(private_imports(path.read_text(encoding="utf-8"))) for path in files}
    assert not {path: names for path, names in imports.items() if names}


def test_what_they_add_is_listed_with_its_distribution(workspace: Path) -> None:
    rows = json.loads(call("plugins", "list", "--json").stdout)
    listed = {(row["name"], row["distribution"], row["version"], row["note"]) for row in rows}
    assert {(plugin.name, plugin.distribution, "1.0", "") for plugin in THIRD_PARTIES} <= listed


@pytest.mark.slow
def test_their_own_tests_pass(workspace: Path) -> None:
    """As their authors run them; `.ci/run` does so too."""
    tests = [str(workspace / plugin.folder / "tests") for plugin in THIRD_PARTIES]
    env = dict(os.environ, PYTHONPATH=str(workspace / "site"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *tests],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@for_each
def test_a_recipe_is_checked_before_anything_is_read(workspace: Path, plugin: ThirdParty) -> None:
    assert call("recipes", "check", plugin.recipe).exit_code == 0


@pytest.mark.parametrize(
    ("folder", "wrong", "sentence"),
    [
        ("splice-sites", "tasks.splice-sites.flank=0", "tasks.splice-sites.flank: must be at least 1, got 0"),
        ("mingru", "encoder.hiden=8", "did you mean 'hidden'?"),
        ("ordinal", "tasks.ratings.head.say=mean", "head.say: "),
        ("ordinal", "tasks.ratings.head={use: ordinall}", "did you mean 'ordinal'?"),
    ],
)
def test_their_options_are_checked(workspace: Path, folder: str, wrong: str, sentence: str) -> None:
    done = call("recipes", "check", f"{folder}/{folder}.yaml", "--set", wrong)
    assert done.exit_code == 2
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_a_problem_in_their_file_format_is_one_located_sentence(workspace: Path) -> None:
    data = workspace / "broken"
    shutil.copytree(workspace / "site/splice_sites/data", data)
    (data / "dev.sites").write_text("sites 1\ngene A\nbases ACGX\n")
    done = call("run", "splice-sites/splice-sites.yaml", "--set", f"tasks.splice-sites.folder={data}", "--quiet")
    assert done.exit_code == 2
    assert done.stderr == f"{data}/dev.sites:3:10: 'X' is not a base: A, C, G, T or N\n"


@for_each
def test_an_evaluation_repeats_the_scores_of_the_run(trained: Path, plugin: ThirdParty) -> None:
    final = json.loads((trained / plugin.folder / "metrics.json").read_text())
    done = call("evaluate", trained / plugin.folder, "--json", "--quiet", "--batch", 7)
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)
    assert len(scores) >= 3
    assert scores == {key: pytest.approx(final[key], abs=1e-6) for key in scores}


@for_each
def test_predictions_are_json_lines_with_their_probabilities(trained: Path, plugin: ThirdParty) -> None:
    done = call("predict", trained / plugin.folder, "--text", plugin.text, "--text", plugin.text * 3)
    assert done.exit_code == 0, done.output
    for line in done.stdout.splitlines():
        row = json.loads(line)
        assert row["prediction"] in plugin.labels
        assert set(row["scores"]) == plugin.labels
        assert sum(row["scores"].values()) == pytest.approx(1.0, abs=1e-5)
        assert row["confidence"] == pytest.approx(row["scores"][row["prediction"]])


@for_each
def test_a_run_knows_the_plugins_that_it_used(trained: Path, plugin: ThirdParty) -> None:
    text = (trained / plugin.folder / "plugins.json").read_text()
    assert plugin.distribution in text
    others = {other.distribution for other in THIRD_PARTIES} - {plugin.distribution}
    assert not [other for other in others if other in text]


@for_encoder
def test_an_interrupted_run_continues_to_the_same_numbers(workspace: Path, plugin: ThirdParty) -> None:
    overrides = ["train.steps=60", "train.log_every=1", "train.evaluate_every=60", "train.save_every=1000"]
    words = ["--quiet", *plugin.sets, *set_options(*overrides)]
    assert call("run", plugin.recipe, "--out", f"uninterrupted/{plugin.folder}", *words).exit_code == 0
    interrupted = workspace / "interrupted" / plugin.folder
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C that comes too late must not end the tests
    try:
        thread = threading.Thread(target=press_ctrl_c, args=(interrupted / "metrics.jsonl",))
        thread.start()
        done = call("run", plugin.recipe, "--out", interrupted, *words)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert done.exit_code == 130, done.output
    steps = [json.loads(line)["step"] for line in (interrupted / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) < 60
    done = call("run", "--resume", interrupted, "--quiet")
    assert done.exit_code == 0, done.output
    expected = json.loads((workspace / "uninterrupted" / plugin.folder / "metrics.json").read_text())
    assert json.loads((interrupted / "metrics.json").read_text()) == expected


def press_ctrl_c(numbers: Path) -> None:
    """Send SIGINT as soon as a few steps are logged."""
    for _ in range(2000):
        if numbers.exists() and b'"step": 5,' in numbers.read_bytes():
            return os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    return None


@for_encoder
def test_their_models_keep_the_contracts(trained: Path, plugin: ThirdParty) -> None:
    done = call("prove", trained / plugin.folder, "--json")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(row["passed"] for row in rows)
    assert {plugin.task} < {row["where"] for row in rows}


def offline(name: str) -> bool:
    """Whether a recipe needs no data from outside."""
    sources = ("generated", "python-docs", "synthesised")
    return all(entry.options.get("source", "generated") in sources for entry in recipe.load(name).tasks.values())


def with_their_encoder(name: str) -> str:
    """The `--set` that puts their encoder into a recipe: its name, or where that is refused because the recipe has
    options of another encoder, what the message says to write instead."""
    change = "encoder.use=parallel-mingru"
    done = call("recipes", "check", name, "--set", change)
    if done.exit_code:
        assert "encoder." in done.output
        assert "has no such option" in done.output
        (change,) = set(
            re.findall(r"to replace the whole block: --set '(encoder=\{use: parallel-mingru[^']*\})'", done.output)
        )
    return change


@pytest.mark.parametrize("name", recipe.names())
def test_every_bundled_recipe_is_valid_with_their_encoder(workspace: Path, name: str) -> None:
    done = call("recipes", "check", name, "--set", with_their_encoder(name))
    assert done.exit_code == 0, done.output
    assert "on parallel-mingru" in done.stdout


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if offline(name) else [pytest.mark.slow]) for name in recipe.names()]
)
def test_every_bundled_recipe_trains_their_encoder(workspace: Path, name: str) -> None:
    """With one `--set` alone: the model is made and takes two steps on some of its own examples."""
    import torch

    from seqkit.model import build_model
    from seqkit.verification.recipe_contracts import choose_batch, sample_task

    loaded = recipe.load(name, [with_their_encoder(name)])
    try:
        data = {key: sample_task(key, recipe.build_task(entry)) for key, entry in loaded.tasks.items()}
        model = build_model(loaded, {key: (task.task, task.input, task.target) for key, task in data.items()})
    except (DataError, MissingExtra) as error:
        if isinstance(error, DataError) and offline(name):
            raise  # it needs no data from outside
        skip_or_raise(error)
    before = [parameter.detach().clone() for parameter in model.encoder.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for key, task in data.items():
            loss, count, encoded = model.loss(key, choose_batch(task))
            assert math.isfinite(loss.item())
            (loss / count).backward()  # type: ignore[no-untyped-call]
            if task.task.window is not None:
                assert encoded.state[0].shape[:2] == (len(encoded.lengths), 1)
        optimizer.step()
        optimizer.zero_grad()
    after = list(model.encoder.parameters())
    assert type(model.encoder).__name__ == "MinGRU"
    assert all(bool(parameter.isfinite().all()) for parameter in after)
    changed = [not torch.equal(one, two) for one, two in zip(before, after, strict=True)]
    assert any(changed) or all(len(getattr(task.target, "labels", "ab")) == 1 for task in data.values())


@pytest.mark.slow
@for_each
def test_the_recipe_keeps_its_promise(workspace: Path, plugin: ThirdParty) -> None:
    """In another process and from another folder, as its README says."""
    env = dict(os.environ, PYTHONPATH=str(workspace / "site"))
    done = subprocess.run(
        [sys.executable, "-m", "seqkit", "run", str(workspace / plugin.recipe), "--out", f"full-{plugin.folder}"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ": met" in done.stdout
    assert "NOT MET" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["charlm", "sentiment", "ner", "genome", "names", "joint"])
def test_a_bundled_recipe_runs_with_their_encoder(workspace: Path, name: str) -> None:
    """By the command line, with data, scores and the model folder."""
    words = ["encoder.use=parallel-mingru", "train.steps=2", "expect={}", "train.histograms=false"]
    done = call("run", name, "--out", f"with-{name}", "--quiet", *set_options(*words))
    assert done.exit_code == 0, done.output
    assert (workspace / f"with-{name}/model/model.safetensors").exists()


@pytest.mark.parametrize("value", ["read", "partial"])
def test_data_are_encoded_again_when_the_code_of_a_distribution_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Wherever in the distribution the change is, and also if the factory is not a plain function."""
    from seqkit.experiments.prepare import _key
    from tests.helpers.third_party import install

    code = "import functools\nfrom beneath.reading import WHAT\ndef read(*, k: int = 1): ...\n"
    code += "partial = functools.partial(read)\n"
    entries = {"seqkit.tasks": {"deep": value}}
    module = install(tmp_path, distribution="deep", code=code, entries=entries)
    (tmp_path / "deep-1.2.dist-info" / "top_level.txt").write_text(f"{module}\nbeneath\n")
    (tmp_path / "beneath").mkdir()
    (tmp_path / "beneath" / "reading.py").write_text("WHAT = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = recipe.TaskEntry("deep", "deep", {"k": 1}, Choice("classify"), 1.0)
    before = _key(entry)
    assert before == _key(entry)
    (tmp_path / "beneath" / "reading.py").write_text("WHAT = 2\n")
    after = _key(entry)
    assert after["code"] != before["code"]
    assert after["options"] == before["options"] == {"k": 1}
