"""Three distributions by strangers (tests/outside), installed as users do and driven through the command line."""

from __future__ import annotations

import json
import math
import os
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

ROOT = Path(__file__).parents[2]
OUTSIDE = Path(__file__).parents[1] / "outside"


@dataclass(frozen=True)
class Stranger:
    """One of the three.

    Attributes:
        folder: under tests/outside.
        distribution: its name in the metadata.
        name: what a recipe calls what it brings.
        task: the task of its recipe.
        text: an input for `seqkit predict`.
        labels: what may be predicted.
        small: overrides that make its recipe a matter of a second.
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
        return [
            word for each in (*self.small, "encoder.hidden=8", "train.histograms=false") for word in ("--set", each)
        ]


STRANGERS = [
    Stranger(
        "splice-sites",
        "splice-sites",
        "splice-sites",
        "splice-sites",
        "TTACAG|GTAAGTAT",
        frozenset({"donor", "acceptor", "neither"}),
    ),
    Stranger(
        "mingru",
        "seqkit-mingru",
        "mingru",
        "sentiment",
        "the plot was dull .",
        frozenset({"positive", "negative"}),
        ("tasks.sentiment.sizes=[300, 40, 40]",),
    ),
    Stranger(
        "ordinal",
        "ordered-labels",
        "ordinal",
        "ratings",
        "the plot was very fine",
        frozenset({"terrible", "poor", "fair", "good", "excellent"}),
    ),
]
each_stranger = pytest.mark.parametrize("stranger", STRANGERS, ids=lambda stranger: str(stranger.folder))
# What takes seconds is tried with the encoder, whose states are carried, and with all three in the long run.
one_stranger = pytest.mark.parametrize(
    "stranger",
    [pytest.param(each, marks=[] if each.folder == "mingru" else [pytest.mark.slow]) for each in STRANGERS],
    ids=lambda stranger: str(stranger.folder),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copies of the three, installed side by side into a folder that is on the path while this module lasts."""
    folder = tmp_path_factory.mktemp("outside")
    copies = [shutil.copytree(OUTSIDE / stranger.folder, folder / stranger.folder) for stranger in STRANGERS]
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


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    for stranger in STRANGERS:
        words = ["--set", "train.steps=20", *stranger.sets]
        done = call("run", stranger.recipe, "--out", f"runs/{stranger.folder}", "--quiet", *words)
        assert done.exit_code == 0, done.output
    return place / "runs"


def test_they_use_nothing_but_the_public_doors() -> None:
    files = [path for path in OUTSIDE.rglob("*.py") if "build" not in path.parts]
    assert len(files) >= 9
    found = {str(path): list(private_imports(path.read_text(encoding="utf-8"))) for path in files}
    assert not {path: names for path, names in found.items() if names}


def test_what_they_bring_is_listed_with_who_brings_it(place: Path) -> None:
    rows = json.loads(call("plugins", "list", "--json").stdout)
    found = {(row["name"], row["distribution"], row["version"], row["note"]) for row in rows}
    assert {(stranger.name, stranger.distribution, "1.0", "") for stranger in STRANGERS} <= found


@pytest.mark.slow
def test_they_keep_what_seqkit_testing_asks_for(place: Path) -> None:
    """Their own tests, as their authors run them; `.ci/run` does so too."""
    tests = [str(place / stranger.folder / "tests") for stranger in STRANGERS]
    env = dict(os.environ, PYTHONPATH=str(place / "site"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *tests],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@each_stranger
def test_a_recipe_is_checked_before_anything_is_read(place: Path, stranger: Stranger) -> None:
    assert call("recipes", "check", stranger.recipe).exit_code == 0


@pytest.mark.parametrize(
    ("folder", "wrong", "sentence"),
    [
        ("splice-sites", "tasks.splice-sites.flank=0", "tasks.splice-sites.flank: must be at least 1, got 0"),
        ("mingru", "encoder.hiden=8", "did you mean 'hidden'?"),
        ("ordinal", "tasks.ratings.head.say=mean", "head.say: "),
        ("ordinal", "tasks.ratings.head={use: ordinall}", "did you mean 'ordinal'?"),
    ],
)
def test_their_options_have_the_same_checks_as_ours(place: Path, folder: str, wrong: str, sentence: str) -> None:
    done = call("recipes", "check", f"{folder}/{folder}.yaml", "--set", wrong)
    assert done.exit_code == 2
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_what_is_wrong_in_a_strangers_format_is_one_located_sentence(place: Path) -> None:
    data = place / "broken"
    shutil.copytree(place / "site/splice_sites/data", data)
    (data / "dev.sites").write_text("sites 1\ngene A\nbases ACGX\n")
    done = call("run", "splice-sites/splice-sites.yaml", "--set", f"tasks.splice-sites.folder={data}", "--quiet")
    assert done.exit_code == 2
    assert done.stderr == f"{data}/dev.sites:3:10: 'X' is no base: A, C, G, T or N\n"


@each_stranger
def test_an_evaluation_repeats_the_scores_of_the_run(trained: Path, stranger: Stranger) -> None:
    final = json.loads((trained / stranger.folder / "metrics.json").read_text())
    done = call("evaluate", trained / stranger.folder, "--json", "--quiet", "--batch", 7)
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)
    assert len(scores) >= 3
    assert scores == {key: pytest.approx(final[key], abs=1e-6) for key in scores}


@each_stranger
def test_predictions_are_json_lines_with_their_probabilities(trained: Path, stranger: Stranger) -> None:
    done = call("predict", trained / stranger.folder, "--text", stranger.text, "--text", stranger.text * 3)
    assert done.exit_code == 0, done.output
    for line in done.stdout.splitlines():
        row = json.loads(line)
        assert row["prediction"] in stranger.labels
        assert set(row["scores"]) == stranger.labels
        assert sum(row["scores"].values()) == pytest.approx(1.0, abs=1e-5)
        assert row["confidence"] == pytest.approx(row["scores"][row["prediction"]])


@each_stranger
def test_a_run_knows_the_plugins_that_it_used(trained: Path, stranger: Stranger) -> None:
    text = (trained / stranger.folder / "plugins.json").read_text()
    assert stranger.distribution in text
    others = {other.distribution for other in STRANGERS} - {stranger.distribution}
    assert not [other for other in others if other in text]


@one_stranger
def test_a_run_that_was_interrupted_goes_on_to_the_same_numbers(place: Path, stranger: Stranger) -> None:
    many = ["train.steps=60", "train.log_every=1", "train.evaluate_every=60", "train.save_every=1000"]
    words = ["--quiet", *stranger.sets, *(word for each in many for word in ("--set", each))]
    assert call("run", stranger.recipe, "--out", f"whole/{stranger.folder}", *words).exit_code == 0
    parts = place / "parts" / stranger.folder
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C that comes too late must not end the tests
    try:
        finger = threading.Thread(target=press_ctrl_c, args=(parts / "metrics.jsonl",))
        finger.start()
        done = call("run", stranger.recipe, "--out", parts, *words)
        finger.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.exit_code == 130, done.output
    steps = [json.loads(line)["step"] for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) < 60
    done = call("run", "--resume", parts, "--quiet")
    assert done.exit_code == 0, done.output
    whole = json.loads((place / "whole" / stranger.folder / "metrics.json").read_text())
    assert json.loads((parts / "metrics.json").read_text()) == whole


def press_ctrl_c(numbers: Path) -> None:
    """As soon as a few steps are written down."""
    for _ in range(2000):
        if numbers.exists() and b'"step": 5,' in numbers.read_bytes():
            return os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    return None


@one_stranger
def test_the_answers_of_their_models_do_not_move(trained: Path, stranger: Stranger) -> None:
    done = call("prove", trained / stranger.folder, "--json")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(row["passed"] for row in found)
    assert {stranger.task} < {row["where"] for row in found}


def offline(name: str) -> bool:
    """Whether a recipe makes its data itself."""
    made = ("generated", "python-docs", "synthesised")
    return all(entry.options.get("source", "generated") in made for entry in recipe.load(name).tasks.values())


@pytest.mark.parametrize("name", recipe.names())
def test_every_shipped_recipe_is_right_with_the_strangers_encoder(place: Path, name: str) -> None:
    done = call("recipes", "check", name, "--set", "encoder.use=mingru")
    assert done.exit_code == 0, done.output
    assert "on mingru" in done.stdout


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if offline(name) else [pytest.mark.slow]) for name in recipe.names()]
)
def test_every_shipped_recipe_trains_the_strangers_encoder(place: Path, name: str) -> None:
    """`--set encoder.use=mingru` and nothing else: the model is built, and two steps are taken on its own examples."""
    import torch

    from seqkit.model import build_model
    from seqkit.verification.recipe_contracts import choose_batch, sample_task

    made = recipe.load(name, ["encoder.use=mingru"])
    try:
        data = {key: sample_task(key, recipe.build_task(entry)) for key, entry in made.tasks.items()}
        built = build_model(made, {key: (part.task, part.input, part.target) for key, part in data.items()})
    except MissingExtra as error:
        pytest.skip(str(error))
    except DataError as error:
        if offline(name) or "SEQKIT_DATA" in os.environ:
            raise  # its data should be here: then this is a fault
        pytest.skip(f"its data are not here: {error}"[:100])
    before = [parameter.detach().clone() for parameter in built.encoder.parameters()]
    optimizer = torch.optim.SGD(built.parameters(), lr=0.1)
    for _ in range(2):
        for key, part in data.items():
            loss, count, encoded = built.loss(key, choose_batch(part))
            assert math.isfinite(loss.item())
            (loss / count).backward()  # type: ignore[no-untyped-call]
            if part.task.window is not None:
                assert encoded.state[0].shape[:2] == (len(encoded.lengths), 1)
        optimizer.step()
        optimizer.zero_grad()
    after = list(built.encoder.parameters())
    assert type(built.encoder).__name__ == "MinGRU"
    assert all(bool(parameter.isfinite().all()) for parameter in after)
    moved = [not torch.equal(one, two) for one, two in zip(before, after, strict=True)]
    assert any(moved) or all(len(getattr(part.target, "labels", "ab")) == 1 for part in data.values())


@pytest.mark.slow
@each_stranger
def test_the_recipe_keeps_its_promise(place: Path, stranger: Stranger) -> None:
    """In a process of its own, from another folder, as its README says."""
    env = dict(os.environ, PYTHONPATH=str(place / "site"))
    done = subprocess.run(
        [sys.executable, "-m", "seqkit", "run", str(place / stranger.recipe), "--out", f"full-{stranger.folder}"],
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
def test_a_shipped_recipe_runs_with_the_strangers_encoder(place: Path, name: str) -> None:
    """From start to end by the command line, data, scores and model folder included."""
    words = ["encoder.use=mingru", "train.steps=2", "expect={}", "train.histograms=false"]
    sets = [word for each in words for word in ("--set", each)]
    done = call("run", name, "--out", f"with-{name}", "--quiet", *sets)
    assert done.exit_code == 0, done.output
    assert (place / f"with-{name}/model/model.safetensors").exists()


@pytest.mark.parametrize("value", ["read", "partial"])
def test_data_are_encoded_again_when_a_strangers_code_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Wherever in the distribution the change is; and what a factory is does not matter."""
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
