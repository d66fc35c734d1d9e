"""A resumed run is the same run: what has changed is refused by name, told, or makes no difference."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from seqkit import fault_injection
from seqkit.cli import main
from seqkit.experiments.same_run import environment_changes
from seqkit.registry import registry
from seqkit.runs import checkpoint, comparison
from seqkit.runtime.precision import has_fast_bf16
from tests.helpers.third_party import install

RECIPE = """
seed: 5
tasks:
  words:
    use: ner
    folder: data
    scheme: none
    head: {use: tag}
    characters: none
    vectors: vectors.txt
encoder: {use: passing, dim: 6}
train: {epochs: 4, batch: 4, evaluate_every: 6, save_every: 3, log_every: 2, histograms: false}
"""
PASSING = """
from seqkit.encoders.identity import Identity

class Mine(Identity):
    def __init__(self, dim, /):
        super().__init__(dim)
"""
VOCABULARY = {"D": ["the", "a"], "N": ["dog", "cat", "fish", "bird"], "V": ["sees", "likes", "eats"]}


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def sentences(count: int, seed: int) -> str:
    """CoNLL sentences: determiner, noun, verb, each with its tag."""
    rng = random.Random(seed)
    return "".join("".join(f"{rng.choice(VOCABULARY[tag])} {tag}\n" for tag in "DNV") + "\n" for _ in range(count))


def write_data(folder: Path) -> None:
    folder.mkdir()
    for seed, (split, count) in enumerate({"train": 40, "dev": 8, "test": 8}.items()):
        (folder / f"{split}.conll").write_text(sentences(count, seed))


def write_vectors(path: Path, value: float = 0.25) -> None:
    path.write_text("".join(f"{word} {value} 0.5 -0.5 1 0 {i}\n" for i, word in enumerate(("dog", "cat", "sees"))))


def allow_plugins_to_change(patch: pytest.MonkeyPatch, site: Path) -> None:
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
        patch.delenv(name, raising=False)
    patch.syspath_prepend(str(site))
    patch.setattr(registry, "_pinned", type(registry._pinned)("pinned", default={}))
    patch.setenv("SEQKIT_CACHE", str(site.parent / "cache"))


@contextlib.contextmanager
def failing(fault: str) -> Iterator[None]:
    fault_injection.arm(fault)
    try:
        yield
    finally:
        fault_injection.arm(None)


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder with a run that failed after some steps (`parts`), and one that did not (`whole`)."""

    folder: Path
    module: str

    @property
    def run(self) -> Path:
        return self.folder / "parts"

    def json(self, name: str) -> Any:
        return json.loads((self.run / name).read_text())

    def log(self) -> str:
        return (self.run / "run.log").read_text()

    def resume(self, *words: object) -> Result:
        return call("run", "--resume", self.run, "--quiet", *words)

    def edit(self, before: str, after: str) -> None:
        """Edit resolved.yaml."""
        path = self.run / "resolved.yaml"
        text = path.read_text()
        assert text.count(before) == 1, text
        path.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The runs, made in a folder to which each test moves a copy of its own."""
    folder = tmp_path_factory.mktemp("same") / "place"
    folder.mkdir()
    write_data(folder / "data")
    write_vectors(folder / "vectors.txt")
    (folder / "recipe.yaml").write_text(RECIPE)
    module = install(folder, code=PASSING, entries={"seqkit.encoders": {"passing": "Mine"}})
    with pytest.MonkeyPatch.context() as patch:
        allow_plugins_to_change(patch, folder)
        done = call("run", folder / "recipe.yaml", "--out", folder / "whole", "--quiet")
        assert done.exit_code == 0, done.output
        with failing("step:raise:17"):
            call("run", folder / "recipe.yaml", "--out", folder / "parts", "--quiet")
    assert json.loads((folder / "parts/status.json").read_text())["state"] == "failed"
    shutil.copytree(folder, folder.with_name("copy"))
    return Place(folder, module)


@pytest.fixture
def place(template: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The folder as the runs left it."""
    shutil.rmtree(template.folder)
    shutil.copytree(template.folder.with_name("copy"), template.folder)
    allow_plugins_to_change(monkeypatch, template.folder)
    return template


def differences(place: Place, run: Path | None = None) -> list[str]:
    expected, actual = comparison.read(place.folder / "whole"), comparison.read(run or place.run)
    return list(comparison.find_differences(expected, actual))


def test_nothing_has_changed(place: Place) -> None:
    assert place.resume().exit_code == 0
    assert differences(place) == []
    assert not (place.run / "changes.json").exists()


# ---- what is refused


def append(name: str) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        with (place.folder / "data" / name).open("a") as file:
            file.write(sentences(1, 99))

    return change


def reverse_train(place: Place) -> None:
    path = place.folder / "data/train.conll"
    path.write_text("\n\n".join(reversed(path.read_text().strip().split("\n\n"))) + "\n")


def drop_word(place: Place) -> None:
    path = place.run / "fields.json"
    text = path.read_text()
    assert '"fish"' in text
    path.write_text(text.replace('"fish"', '"fowl"'))


def edit_plugin(place: Place) -> None:
    with (place.folder / f"{place.module}.py").open("a") as file:
        file.write("# edited\n")


def change_threads(place: Place) -> None:
    torch.set_num_threads(torch.get_num_threads() + 1)


def edit(before: str, after: str) -> Callable[[Place], None]:
    return lambda place: place.edit(before, after)


REFUSED: dict[str, tuple[Callable[[Place], None], list[str]]] = {
    "train": (append("train.conll"), ["data of words, train: train.conll: sha256 ", " -> sha256 "]),
    "dev": (append("dev.conll"), ["data of words, dev: dev.conll: sha256 ", " -> sha256 "]),
    "test": (append("test.conll"), ["data of words, test: test.conll: sha256 ", " -> sha256 "]),
    "order of lines": (reverse_train, ["data of words, train: train.conll: sha256 "]),
    "vectors file": (lambda place: write_vectors(place.folder / "vectors.txt", 0.75), ["vectors.txt: sha256 "]),
    "vocabulary": (drop_word, ["fields.json: changed since the run began"]),
    "key of tasks": (edit("lower: true", "lower: false"), ["tasks.words.lower: true -> false", "resolved.yaml"]),
    "key of encoder": (edit("dim: 6", "dim: 8"), ["encoder.dim: 6 -> 8", "resolved.yaml"]),
    "key of train": (edit("batch: 4", "batch: 8"), ["train.batch: 4 -> 8", "resolved.yaml"]),
    "key of optimizer": (
        edit("weight_decay: 0.01", "weight_decay: 0.5"),
        ["train.optimizer.weight_decay: 0.01 -> 0.5"],
    ),
    "seed": (edit("seed: 5\n", "seed: 6\n"), ["seed: 5 -> 6", "resolved.yaml"]),
    "key that may be asked for": (edit("epochs: 4", "epochs: 8"), ["train.epochs: 4 -> 8", "--set train.epochs=8"]),
    "plugin": (edit_plugin, ["code of vendor: 1.2 (sha256 ", ") -> 1.2 (sha256 "]),
    "precision": (
        edit("precision: auto", "precision: bf16"),
        # a processor without bf16 computes in fp32 as before
        ["train.precision: auto -> bf16"] + ["precision: fp32 -> bf16"] * has_fast_bf16(torch.device("cpu")),
    ),
    "threads": (change_threads, ["torch.threads: "]),
}
UNACCEPTABLE = {"vocabulary", "key of encoder"}
"""Changes with which the weights of the run cannot be used at all."""


@pytest.fixture
def _threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))  # the user asks, else a resumed run keeps those it has
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_threads")
class TestRefused:
    @pytest.mark.parametrize("kind", REFUSED)
    def test_by_name_and_the_run_stays_as_it_was(self, place: Place, kind: str) -> None:
        change, words = REFUSED[kind]
        change(place)
        files = [path for path in place.run.rglob("*") if path.is_file() and path.name not in ("run.log",)]
        before = {path: path.read_bytes() for path in files}
        result = place.resume()
        assert result.exit_code == 2, result.output
        for word in words:
            assert word in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        assert {path: path.read_bytes() for path in files} == before
        assert "not resumed: " in place.log()

    @pytest.mark.parametrize("kind", REFUSED)
    def test_or_accepted_and_both_values_are_recorded(self, place: Place, kind: str) -> None:
        change, words = REFUSED[kind]
        change(place)
        data, origin = (place.run / "data.json").read_bytes(), (place.run / "origin.json").read_bytes()
        result = place.resume("--accept-changes")
        assert (place.run / "data.json").read_bytes() == data
        assert (place.run / "origin.json").read_bytes() == origin
        if kind in UNACCEPTABLE:
            assert result.exit_code == 2
            assert not (place.run / "changes.json").exists()
            assert place.json("status.json")["state"] == "failed"
            return
        assert result.exit_code == 0, result.output
        (entry,) = place.json("changes.json")
        (recorded, *_) = [item for item in entry["changes"] if words[0].startswith(item["subject"])] or entry["changes"]
        assert recorded["before"] != recorded["now"]
        for value in (recorded["before"], recorded["now"]):
            assert value in place.log()
        assert (place.run / "data-2.json").exists() == (recorded["kind"] == "data")
        assert place.resume("--set", "train.epochs=9").exit_code == 0, "what was accepted is not asked for again"

    def test_several_changes_are_one_message(self, place: Place) -> None:
        for kind in ("train", "key of train", "threads"):
            REFUSED[kind][0](place)
        result = place.resume()
        assert result.exit_code == 2
        assert [word in result.stderr for word in ("train.conll", "train.batch", "torch.threads")] == [True] * 3

    def test_and_put_back_it_is_the_same_run(self, place: Place) -> None:
        path = place.folder / "data/train.conll"
        content = path.read_bytes()
        append("train.conll")(place)
        assert place.resume().exit_code == 2
        path.write_bytes(content)
        assert place.resume().exit_code == 0
        assert differences(place) == []

    @pytest.mark.parametrize("name", ["train.conll", "dev.conll"])
    def test_a_file_that_is_not_there(self, place: Place, name: str) -> None:
        (place.folder / "data" / name).unlink()
        result = place.resume()
        assert result.exit_code == 2
        assert name in result.stderr

    @pytest.mark.parametrize("flag", ["train.batch=8", "encoder.dim=8", "tasks.words.lower=false", "seed=6"])
    def test_options_that_a_run_cannot_change(self, place: Place, flag: str) -> None:
        result = place.resume("--set", flag)
        assert result.exit_code == 2
        assert f"{flag.partition('=')[0]}: " in result.stderr
        assert "it can change train.epochs, train.steps" in result.stderr


def test_fields_are_restored_and_not_fitted_again(place: Place) -> None:
    """New data with many new words, accepted: the ids of the old words stay what they were."""
    fields = (place.run / "fields.json").read_bytes()
    path = place.folder / "data/train.conll"
    path.write_text("zebra N\nzebra N\n\n" * 60 + path.read_text())
    assert place.resume("--accept-changes").exit_code == 0
    assert (place.run / "fields.json").read_bytes() == fields
    assert json.loads((place.run / "model/fields.json").read_text()) == json.loads(fields)


def test_fewer_data_within_an_epoch(place: Place) -> None:
    """The epoch begins again: the position in it would be behind its end."""
    (place.folder / "data/train.conll").write_text(sentences(5, 3))
    assert place.resume("--accept-changes").exit_code == 0
    assert "begins again with its first batch" in place.log()
    assert place.json("status.json")["state"] == "finished"


# ---- what makes no difference


def test_a_moved_run_folder(place: Place) -> None:
    moved = place.folder / "elsewhere" / "run"
    moved.parent.mkdir()
    place.run.rename(moved)
    assert call("run", "--resume", moved, "--quiet").exit_code == 0
    assert differences(place, moved) == []


def test_a_moved_data_folder_is_told(place: Place) -> None:
    (place.folder / "data").rename(place.folder / "away")
    result = place.resume()
    assert result.exit_code == 2
    assert str(place.folder / "data") in result.stderr
    result = place.resume("--set", f"tasks.words.folder={place.folder / 'away'}")
    assert result.exit_code == 0, result.output
    assert f"tasks.words.folder: {place.folder / 'data'} -> {place.folder / 'away'}" in place.log()
    assert [line for line in differences(place) if "recipe.yaml" not in line and "hparams" not in line] == []


def test_an_edit_of_resolved_yaml_without_a_meaning_is_told(place: Place) -> None:
    path = place.run / "resolved.yaml"
    path.write_text(path.read_text() + "# a comment\n")
    assert place.resume().exit_code == 0
    assert "resolved.yaml: sha256 " in place.log()


def test_other_packages_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqkit.runtime import environment

    packages = environment.packages()
    monkeypatch.setattr(environment, "packages", lambda: packages | {"click": "0.0.1"})
    assert place.resume().exit_code == 0
    assert "packages.click: " in place.log()
    assert differences(place) == []


def test_another_torch_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqkit.runtime import environment

    packages = environment.packages()
    monkeypatch.setattr(environment, "packages", lambda: packages | {"torch": "9.9"})
    result = place.resume()
    assert result.exit_code == 2
    assert f"packages.torch: {packages['torch']} -> 9.9" in result.stderr


def test_a_run_of_an_earlier_version_resumes(place: Place) -> None:
    for name in ("origin.json", "fields.json"):
        (place.run / name).unlink()
    assert place.resume().exit_code == 0
    assert differences(place) == []


def test_a_run_of_an_earlier_version_does_not_take_other_data(place: Place) -> None:
    for name in ("origin.json", "fields.json"):
        (place.run / name).unlink()
    append("train.conll")(place)
    result = place.resume()
    assert result.exit_code == 2
    assert "train.conll: sha256 " in result.stderr
    shutil.rmtree(place.folder.parent / "cache")
    result = place.resume("--accept-changes")
    assert result.exit_code == 2
    assert "did not record its vocabularies" in result.stderr


def test_a_run_that_has_no_step_takes_the_data_as_they_are(place: Place) -> None:
    """Nothing depends on its data yet, so the fields are fitted on what is there now."""
    for name in ("origin.json", "fields.json", "metrics.jsonl"):
        (place.run / name).unlink()
    for path in (place.run / "checkpoints").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    status = place.json("status.json")
    (place.run / "status.json").write_text(json.dumps(status | {"stage": "preparing"}))
    path = place.folder / "data/train.conll"
    path.write_text("zebra N\nzebra N\n\n" * 9 + path.read_text())
    assert place.resume("--set", "train.batch=5").exit_code == 0
    assert "zebra" in (place.run / "fields.json").read_text()
    assert place.json("origin.json")["recipe"]["train"]["batch"] == 5
    assert "batch: 5" in (place.run / "resolved.yaml").read_text()


def test_examples_without_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that names no files: the examples themselves are compared."""
    code = """
    from pathlib import Path
    from seqkit import Example, Label, Task, Tokens
    from seqkit.metrics import accuracy

    def task(*, path: Path) -> Task:
        def read(split):
            for number, line in enumerate(path.with_name("examples.txt").read_text().split()):
                yield Example(list(line), line[0], f"{split}:{number}")
        return Task(read=read, input=Tokens("words"), target=Label(), head="classify", metric=accuracy, best="accuracy")
    """
    site = tmp_path / "site"
    site.mkdir()
    install(site, code=code, entries={"seqkit.tasks": {"letters": "task"}})
    allow_plugins_to_change(monkeypatch, site)
    (site / "examples.txt").write_text("abc bcd abd bca " * 8)
    (site / "note.txt").write_text("a note")
    recipe = site / "recipe.yaml"
    recipe.write_text("tasks: {letters: {path: note.txt}}\nencoder: {use: gru, dim: 4, hidden: 4}\ntrain: {steps: 9}\n")
    with failing("step:raise:4"):
        call("run", recipe, "--out", site / "run", "--quiet", "--set", "train.save_every=1")
    (site / "examples.txt").write_text("abc bcd abd bac " * 8)
    result = call("run", "--resume", site / "run", "--quiet")
    assert result.exit_code == 2
    assert "data of letters, train: the hash of its examples: " in result.stderr
    (site / "note.txt").write_text("another note")
    result = call("run", "--resume", site / "run", "--quiet")
    assert "data of letters, path: note.txt: sha256 " in result.stderr
    assert call("run", "--resume", site / "run", "--quiet", "--accept-changes").exit_code == 0


@pytest.mark.parametrize(
    "flag",
    ["train.optimizer={use: sgd, lr: 0.1}", "train.average=0.9", "train.tokens=60", "train.accumulate=2", "seed=9"],
)
def test_other_options_that_are_accepted_have_an_effect(place: Place, flag: str) -> None:
    """The run goes on to its end, and is resumed the same way once more."""
    with failing("step:raise:3"):
        place.resume("--accept-changes", "--set", flag, "--set", "train.save_every=1")
    assert place.json("status.json")["state"] == "failed"
    result = place.resume()
    assert result.exit_code == 0, result.output
    assert len(place.json("changes.json")) == 1


def test_options_of_the_optimiser_are_not_those_of_the_checkpoint(place: Place) -> None:
    result = place.resume("--accept-changes", "--set", "train.optimizer.weight_decay=0.5")
    assert result.exit_code == 0, result.output
    last = checkpoint.read_pointer(place.run / "checkpoints", "last")
    assert last is not None
    assert '"weight_decay":0.5' in (last / "state.json").read_text()


# ---- training longer


class TestLonger:
    @pytest.mark.parametrize("name", ["parts", "whole"])
    def test_more_epochs_equal_a_run_that_had_them(self, place: Place, name: str) -> None:
        recipe = place.folder / "recipe.yaml"
        assert call("run", recipe, "--out", place.folder / "long", "--set", "train.epochs=6", "--quiet").exit_code == 0
        run = place.folder / name
        assert call("run", "--resume", run, "--set", "train.epochs=6", "--quiet").exit_code == 0
        tensors = [comparison.read(folder).tensors for folder in (place.folder / "long", run)]
        assert tensors[0].keys() == tensors[1].keys()
        assert [key for key in tensors[0] if not torch.equal(tensors[0][key], tensors[1][key])] == []
        (entry,) = json.loads((run / "changes.json").read_text())
        assert entry["changes"] == [{"kind": "recipe", "subject": "train.epochs", "before": "4", "now": "6"}]
        assert "epochs: 6" in (run / "resolved.yaml").read_text()
        assert "epochs: 6" in (run / "model/recipe.yaml").read_text()
        assert call("run", "--resume", run, "--quiet").exit_code == 0

    def test_steps_patience_and_intervals(self, place: Place) -> None:
        flags = ["train.steps=30", "train.patience=50", "train.log_every=1", "train.save_every=1", "train.keep=4"]
        result = place.resume(*(word for flag in flags for word in ("--set", flag)))
        assert result.exit_code == 0, result.output
        assert place.json("status.json")["steps"] == 30
        assert len(checkpoint.steps(place.run / "checkpoints")) >= 4

    def test_a_finished_run_says_so_and_how_to_extend_it(self, place: Place) -> None:
        whole = place.folder / "whole"
        before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
        result = call("run", "--resume", whole)
        assert result.exit_code == 0
        assert "finished after 40 steps" in result.stderr
        assert f"seqkit run --resume {whole} --set train.epochs=8" in result.stderr
        assert "words/test/accuracy" in result.stdout
        assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("flag", ["train.epochs=1", "train.steps=3"])
    def test_fewer_than_were_made(self, place: Place, flag: str) -> None:
        result = call("run", "--resume", place.folder / "whole", "--set", flag)
        assert result.exit_code == 2
        assert "the run has made 40 steps (4 epochs) already" in result.stderr

    def test_more_epochs_than_patience_allows(self, place: Place) -> None:
        run = place.folder / "impatient"
        sets = ["--set", "train.patience=1", "--set", "train.optimizer.lr=0.0000001"]
        assert call("run", place.folder / "recipe.yaml", "--out", run, *sets, "--quiet").exit_code == 0
        steps = json.loads((run / "status.json").read_text())["steps"]
        assert steps < 40
        result = call("run", "--resume", run, "--set", "train.epochs=8", "--quiet")
        assert result.exit_code == 2
        assert "set train.patience higher" in result.stderr
        assert call("run", "--resume", run, "--set", "train.patience=9", "--quiet").exit_code == 0
        assert json.loads((run / "status.json").read_text())["steps"] > steps


# ---- runs that have not finished


@pytest.mark.parametrize("verb", [("evaluate",), ("predict", "--text", "the dog sees")])
def test_the_best_checkpoint_can_be_used_at_once(place: Place, verb: tuple[str, ...]) -> None:
    name, *words = verb
    result = call(name, place.run, *words)
    assert result.exit_code == 0, result.output
    best = checkpoint.read_pointer(place.run / "checkpoints", "best")
    assert best is not None
    assert f"its best checkpoint so far, of step {checkpoint.step_of(best)}" in result.stderr


def test_without_an_evaluation_there_is_no_model(place: Place) -> None:
    with failing("step:raise:3"):
        call("run", place.folder / "recipe.yaml", "--out", place.folder / "early", "--quiet")
    result = call("evaluate", place.folder / "early")
    assert result.exit_code == 2
    assert "has not evaluated a checkpoint yet" in result.stderr


@pytest.mark.parametrize("fault", ["data", "device", "vectors"])
def test_a_run_that_fails_before_its_first_step_blocks_no_folder(place: Place, fault: str) -> None:
    path, out = place.folder / "data/dev.conll", place.folder / "again"
    content = path.read_text()
    sets = ["--set", "device=cuda:99"] if fault == "device" else []
    if fault == "data":
        path.write_text("the\n\n")
    if fault == "vectors":
        (place.folder / "vectors.txt").write_text("dog 1 2\ncat x y\n")
    failed = call("run", place.folder / "recipe.yaml", "--out", out, "--quiet", *sets)
    assert failed.exit_code == 2
    path.write_text(content)
    write_vectors(place.folder / "vectors.txt")
    done = call("run", place.folder / "recipe.yaml", "--out", out, "--quiet")
    assert done.exit_code == 0, done.output


def test_a_folder_with_a_note_is_not_emptied(place: Place) -> None:
    out = place.folder / "again"
    (place.folder / "data/dev.conll").write_text("the\n\n")
    assert call("run", place.folder / "recipe.yaml", "--out", out, "--quiet").exit_code == 2
    (out / "notes.txt").write_text("mine")
    result = call("run", place.folder / "recipe.yaml", "--out", out, "--quiet")
    assert "never overwrites" in result.stderr
    assert (out / "notes.txt").read_text() == "mine"


def test_kernels_of_a_gpu_that_are_no_longer_used_alter_the_numbers() -> None:
    def record(**kernels: str) -> dict[str, Any]:
        return {"device": "cuda", "precision": "bf16", "environment": {"torch": {"kernels": kernels}}}

    before, now = record(dropout="triton", CTC="triton"), record(dropout="triton", CTC="torch")
    assert not list(environment_changes(before, before))
    (change,) = environment_changes(before, now)
    assert change.alters_numbers
    assert str(change) == "torch.kernels.CTC: triton -> torch"
