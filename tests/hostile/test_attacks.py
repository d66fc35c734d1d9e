"""A table of attacks on commands: each in a process of its own that must end soon, stay small, and print clean text.

An attack prepares a folder that has finished runs in it, and gives the words of a command. No command may crash, wait
over 5 seconds, compute for ever, take over 500 MB, show a traceback, or print what moves a terminal's cursor.
"""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit.cli import main
from tests.helpers.attacks import (
    CHECKPOINT,
    DEEP,
    DEEP_OBJECTS,
    ESCAPE,
    KINDS,
    LONG,
    WAITING,
    Attack,
    archive,
    both,
    changed,
    content,
    device,
    directory,
    expecting,
    instead,
    nothing,
    pipe,
    recipe,
    seal_checkpoint,
    seal_model,
    seal_origin,
    sparse,
    unix_socket,
)
from tests.helpers.confinement import CONTROLS, Confinement
from tests.runs.test_tensorboard import stored

RECIPES = {
    "mood": "tasks: {mood: {use: sentiment, folder: ., header: true}}\n"
    "encoder: {use: gru, dim: 4, hidden: 4}\ntrain: {steps: 4, batch: 4, save_every: 2}\n",
    "text": "tasks: {text: {use: charlm, file: text.txt, window: 16}}\n"
    "encoder: {use: gru, dim: 4, hidden: 4}\ntrain: {steps: 2, batch: 4}\n",
    "tags": "tasks: {tags: {use: ner, folder: tags}}\n"
    "encoder: {use: gru, dim: 60, hidden: 4}\ntrain: {steps: 2, batch: 4}\n",
}
"""Of the runs that attacks start from. Their data have escapes in texts, labels, tags and ids."""


def write_data(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        rows = [f"{split} {word} {ESCAPE}\t{label}" for word in "abcdefgh" for label in (f"good{ESCAPE}", "bad\x1b[1m")]
        (folder / f"{split}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
        (folder / "tags").mkdir(exist_ok=True)
        lines = [f"{split}{number}{ESCAPE} B-PER{ESCAPE}\nwent O\n\n" for number in range(8)]
        (folder / "tags" / f"{split}.conll").write_text("".join(lines))
    (folder / "text.txt").write_text(f"some text {ESCAPE}\n" * 200)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, recipes, and a finished run of each."""
    place = tmp_path_factory.mktemp("sound")
    write_data(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("SEQKIT_CACHE", str(place / "cache"))
        for name, text in RECIPES.items():
            (place / f"{name}.yaml").write_text(text)
            result = CliRunner().invoke(main, ["run", f"{name}.yaml", "--out", f"runs/{name}", "--quiet"])
            assert result.exit_code == 0, (name, result.output)
    return place


RESUME = ("run", "--resume", "runs/mood", "--set", "train.steps=6", "--quiet")
PREDICT = ("predict", "runs/mood", "--text", "x")
EVALUATE = ("evaluate", "runs/mood")
RUN = ("run", "x.yaml", "--out", "made", "--quiet")
DATA = ("data", "x.yaml")


def recipes() -> Iterator[tuple[str, Attack]]:
    """Recipes that are no files, and that quote what controls a terminal."""
    for make in KINDS:
        yield f"recipe is a {make.__name__}", Attack(("recipes", "check", "x.yaml"), instead("x.yaml", make))
    for verb in ("run", "data", "plan", "prove", "reproduce", "verify-resume"):
        yield f"recipe of {verb} is a pipe", Attack((verb, "x.yaml"), instead("x.yaml", pipe))
    yield "plan --write to a pipe", Attack(("plan", "--write", "x.yaml"), instead("x.yaml", pipe))
    yield "recipe called by 100,000 characters", Attack(("run", LONG), nothing)
    yield "recipe called by an escape", Attack(("run", f"{ESCAPE}.yaml"), nothing)
    yield (
        "recipe in a folder called by an escape",
        Attack(("run", f"{ESCAPE}/x.yaml"), content(f"{ESCAPE}/x.yaml", "tasks: 3\n")),
    )
    yield "verb of escapes", Attack((ESCAPE,), nothing)
    yield "option of escapes", Attack(("run", f"--{ESCAPE}"), nothing)
    yield "--set of escapes", Attack(("run", "mood.yaml", "--set", f"train.{ESCAPE}={ESCAPE}"), nothing)
    yield "--set of 100,000 characters", Attack(("run", "mood.yaml", "--set", f"train.{LONG}=1"), nothing)
    yield "--set of 50,000 dots", Attack(("run", "mood.yaml", "--set", "a." * 50_000 + "b=1"), nothing)
    yield "--set of a deep value", Attack(("run", "mood.yaml", "--set", "train.steps=" + "[" * 50_000), nothing)
    yield (
        "task called by 100,000 characters",
        Attack(("run", "x.yaml"), content("x.yaml", f"tasks: {{{LONG}: {{use: sentiment}}}}\nencoder: lstm\n")),
    )
    yield "option called by 100,000 characters", Attack(("run", "x.yaml"), recipe(f"{{use: sentiment, {LONG}: 1}}"))
    yield "value of 100,000 characters", Attack(("run", "x.yaml"), recipe(f"{{use: sentiment, source: {LONG}}}"))
    yield "file called by 100,000 characters", Attack(RUN, recipe(f"{{use: sentiment, folder: ., train: {LONG}}}"))
    yield "file called by an escape", Attack(RUN, recipe(f"{{use: sentiment, folder: ., train: {json.dumps(ESCAPE)}}}"))
    yield "folder called by an escape", Attack(RUN, recipe(f"{{use: sentiment, folder: {json.dumps(ESCAPE)}}}"))
    yield (
        "column called by an escape",
        Attack(RUN, recipe(f"{{use: sentiment, folder: ., header: true, text: {json.dumps(ESCAPE)}}}")),
    )
    yield "task of predict is an escape", Attack((*PREDICT, "--task", ESCAPE), nothing)
    yield "device is an escape", Attack((*PREDICT, "--device", ESCAPE), nothing)
    yield "plugin is an escape", Attack(("plugins", "check", ESCAPE), nothing)
    yield "tasks of an escape", Attack(("tasks", ESCAPE), nothing)


def run_folders() -> Iterator[tuple[str, Attack]]:
    """Runs of others that are continued, scored and used."""
    for name in ("status.json", "resolved.yaml", "recipe.yaml", "origin.json", "fields.json", "plugins.json"):
        for make in WAITING:
            attack = Attack(RESUME, instead(f"runs/mood/{name}", make), (0, 1, 2))
            yield f"{name} of a run is a {make.__name__}", attack
    for name in ("metrics.jsonl", "metrics.json", "data.json", "environment.json", "git.json", "changes.json"):
        attack = Attack(RESUME, instead(f"runs/mood/{name}", pipe), (0, 1, 2))
        yield f"{name} of a run is a pipe", attack
    for name in ("metrics.jsonl", "tb/events.out.tfevents.0.x.1", "checkpoints/last.json", "checkpoints/best.json"):
        yield f"{name} of a run is a device", Attack(RESUME, instead(f"runs/mood/{name}", device), (0, 1, 2))
    yield "run.log is a pipe", Attack(RESUME, instead("runs/mood/run.log", pipe), (0, 1, 2))
    yield "an event file is a pipe", Attack(RESUME, instead("runs/mood/tb/events.out.tfevents.0.x.1", pipe), (0, 1, 2))
    yield "tb is a pipe", Attack(RESUME, instead("runs/mood/tb", pipe), (1, 2))
    yield "checkpoints is a pipe", Attack(RESUME, instead("runs/mood/checkpoints", pipe), (0, 1, 2))
    yield (
        "an event file claims 2 ** 60 bytes",
        Attack(RESUME, content("runs/mood/tb/events.out.tfevents.0.x.1", struct.pack("<QI", 1 << 60, 0)), (0, 1, 2)),
    )
    for name in ("status.json", "origin.json", "fields.json", "plugins.json", "metrics.json", "changes.json"):
        for deep in (DEEP, DEEP_OBJECTS):
            attack = Attack(RESUME, content(f"runs/mood/{name}", deep), (0, 1, 2))
            yield f"{name} of a run is deep in {deep[:1].decode()}", attack
    yield "metrics.jsonl is deep", Attack(RESUME, content("runs/mood/metrics.jsonl", DEEP), (0, 1, 2))
    yield "metrics.jsonl of numbers", Attack(RESUME, content("runs/mood/metrics.jsonl", "3\nnull\n[]\n"), (0, 1, 2))
    yield (
        "metrics.json with escapes",
        Attack(
            ("run", "--resume", "runs/mood"), changed("runs/mood/metrics.json", lambda value: {ESCAPE: 1.0}), (0, 1, 2)
        ),
    )
    yield (
        "metrics.json with NaN",
        Attack(("run", "--resume", "runs/mood", "--json"), content("runs/mood/metrics.json", '{"a": NaN}'), (0, 1, 2)),
    )
    yield (
        "metrics.json of texts",
        Attack(("run", "--resume", "runs/mood"), content("runs/mood/metrics.json", '{"a": "b", "c": [1]}'), (0, 1, 2)),
    )
    for key in ("state", "name", "reason", "host", "heartbeat", "steps", "best_step", "warnings"):
        for kind, value in (("an escape", ESCAPE), ("100,000 characters", LONG), ("a list", [[1]])):
            attack = Attack(
                ("run", "--resume", "runs/mood"),
                changed("runs/mood/status.json", lambda status, key=key, value=value: status | {key: value}),
                (0, 1, 2),
            )
            yield f"{key} in status.json is {kind}", attack
    for key in ("recipe", "data", "plugins", "environment", "precision", "device"):
        for kind, value in (("an escape", {ESCAPE: ESCAPE}), ("a number", 3), ("100,000 characters", {LONG: LONG})):
            attack = Attack(
                RESUME,
                changed("runs/mood/origin.json", lambda origin, key=key, value=value: origin | {key: value}),
                (0, 1, 2),
            )
            yield f"{key} in origin.json is {kind}", attack
    yield (
        "fields.json of a run with an escape for a label",
        Attack(RESUME, changed("runs/mood/fields.json", lambda fields: {ESCAPE: {}}, seal_origin), (1, 2)),
    )
    yield (
        "last.json points outside",
        Attack(RESUME, content("runs/mood/checkpoints/last.json", json.dumps({"name": f"../../{ESCAPE}"})), (0, 1, 2)),
    )
    yield (
        "best.json is an escape",
        Attack(RESUME, content("runs/mood/checkpoints/best.json", json.dumps(ESCAPE)), (0, 1, 2)),
    )
    yield (
        "plugins.json names an escape",
        Attack(
            RESUME,
            changed("runs/mood/plugins.json", lambda plugins: [entry | {"version": ESCAPE} for entry in plugins]),
            (0, 1, 2),
        ),
    )


def checkpoints() -> Iterator[tuple[str, Attack]]:
    """Checkpoints with hashes that fit."""
    files = ("state.json", "model.safetensors", "optimizer.safetensors", "random.safetensors", "MANIFEST.json")
    for name in files:
        for make in WAITING:
            attack = Attack(RESUME, instead(f"{CHECKPOINT}/{name}", make), (1, 2))
            yield f"{name} of a checkpoint is a {make.__name__}", attack
    for kind, data in {
        "deep": DEEP,
        "deep in objects": DEEP_OBJECTS,
        "a list": b"[]",
        "NaN": b"NaN",
        "empty": b"{}",
        "no text": b"\xff",
    }.items():
        attack = Attack(RESUME, both(content(f"{CHECKPOINT}/state.json", data), seal_checkpoint), (1, 2))
        yield f"state.json is {kind}", attack
    for key in ("counters", "optimizer", "scaler", "random", "carried", "loss_sums"):
        for kind, value in (("an escape", ESCAPE), ("a number", 3), ("deep", [[[[]]]]), ("huge", 1 << 70)):
            change = changed(
                f"{CHECKPOINT}/state.json", lambda state, key=key, value=value: state | {key: value}, seal_checkpoint
            )
            yield f"{key} in state.json is {kind}", Attack(RESUME, change, (0, 1, 2))
    for name in files[1:4]:
        header = b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}'
        forged = len(header).to_bytes(8, "little") + header
        attack = Attack(RESUME, both(content(f"{CHECKPOINT}/{name}", forged), seal_checkpoint), (1, 2))
        yield f"{name} of a checkpoint claims 2 ** 62 numbers", attack
        header = json.dumps({ESCAPE: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        forged = len(header).to_bytes(8, "little") + header + bytes(4)
        attack = Attack(RESUME, both(content(f"{CHECKPOINT}/{name}", forged), seal_checkpoint), (1, 2))
        yield f"{name} of a checkpoint names an escape", attack
    yield (
        "a checkpoint's file called by an escape",
        Attack(RESUME, both(content(f"{CHECKPOINT}/{ESCAPE}", "x"), seal_checkpoint), (0, 1, 2)),
    )
    yield (
        "a checkpoint of a later version with an escape",
        Attack(
            RESUME,
            changed(f"{CHECKPOINT}/MANIFEST.json", lambda listed: listed | {"format_version": 99, "seqkit": ESCAPE}),
            (1, 2),
        ),
    )


def models() -> Iterator[tuple[str, Attack]]:
    """Models of others, whose labels, symbols and tags are escapes."""
    for verb in (
        PREDICT,
        (*PREDICT, "--csv"),
        (*PREDICT, "--scores", "--input"),
        (*EVALUATE, "--report"),
        (*EVALUATE, "--json"),
        (*EVALUATE, "--predictions", "made.jsonl"),
        (*EVALUATE, "--predictions", "made.csv"),
        ("evaluate", "runs/tags", "--report"),
        ("evaluate", "runs/text"),
        ("predict", "runs/tags", "--text", f"a {ESCAPE} b"),
        ("predict", "runs/mood", "--text", ESCAPE, "--text", "x" + ESCAPE),
        ("generate", "runs/text", "--prompt", "s", "--length", "200", "--temperature", "5"),
        ("generate", "runs/text", "--prompt", ESCAPE, "--length", "5"),
        ("prove", "runs/mood"),
    ):
        yield " ".join(verb).replace(ESCAPE, "ESCAPE"), Attack(verb, nothing, (0,))
    for name in ("MANIFEST.json", "fields.json", "recipe.yaml", "model.safetensors", "plugins.json"):
        for make in WAITING:
            attack = Attack(PREDICT, instead(f"runs/mood/model/{name}", make), (1, 2))
            yield f"{name} of a model is a {make.__name__}", attack
        path = f"runs/mood/model/{name}"
        attack = Attack(
            PREDICT,
            both(content(path, f'{{"{LONG}": "{LONG}"}}'), seal_model if "MANI" not in name else nothing),
            (0, 1) if name == "plugins.json" else (1, 2),
        )
        yield f"{name} of a model has names of 100,000 characters", attack
        attack = Attack(
            PREDICT,
            both(content(path, json.dumps({ESCAPE: ESCAPE})), seal_model if "MANI" not in name else nothing),
            (0, 1) if name == "plugins.json" else (1, 2),
        )
        yield f"{name} of a model has escapes", attack
    for key in ("labels", "counts", "class", "nothing"):
        for kind, value in (
            ("an escape", ESCAPE),
            ("deep", [[[[[]]]]]),
            ("10,000 characters", [LONG[:10_000], LONG[:9_999]]),
        ):
            change = changed(
                "runs/mood/model/fields.json",
                lambda fields, key=key, value=value: fields["mood"]["target"].update({key: value}),
                seal_model,
            )
            yield f"{key} of a model's labels is {kind}", Attack(PREDICT, change, (0, 1))
    yield (
        "a model of an escaped version",
        Attack(
            PREDICT, changed("runs/mood/model/MANIFEST.json", lambda listed: listed | {"format_version": ESCAPE}), (1,)
        ),
    )
    yield (
        "a model whose file is called by an escape",
        Attack(
            PREDICT,
            changed("runs/mood/model/MANIFEST.json", lambda listed: listed["files"].update({ESCAPE: "0"})),
            (1,),
        ),
    )
    yield (
        "a model in a folder called by an escape",
        Attack(("predict", ESCAPE, "--text", "x"), content(f"{ESCAPE}/x", "")),
    )
    yield "a model is a pipe", Attack(("predict", "model", "--text", "x"), instead("model", pipe))


def data() -> Iterator[tuple[str, Attack]]:
    """Files of data that are no files, and data that quote what controls a terminal."""
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        for make in KINDS:
            attack = Attack(RUN, both(instead(name, make), recipe("{use: sentiment, folder: ., header: true}")), (1, 2))
            if make is not sparse:  # lines without an end are refused by their own limit; see `test_fuzz`
                yield f"{name} is a {make.__name__}", attack
    for task, name in {
        "charlm, file: x.txt, window: 8": "x.txt",
        "ner, folder: .": "train.conll",
        "names, file: x.tsv": "x.tsv",
        "speech, path: x.zip": "x.zip",
        "speech, path: x.tsv": "x.tsv",
        "genome, train: x.fa": "x.fa",
        "translation, folder: .": "train.tsv",
        "sentiment, folder: ., train: train.parquet": "train.parquet",
        "sentiment, folder: ., train: train.jsonl": "train.jsonl",
        "sentiment, folder: ., train: train.tsv.gz": "train.tsv.gz",
    }.items():
        for make in (pipe, device):
            yield (
                f"data of {task} are a {make.__name__}",
                Attack(RUN, both(instead(name, make), recipe(f"{{use: {task}}}"))),
            )
    yield (
        "vectors are a pipe",
        Attack(RUN, both(instead("v.txt", pipe), recipe("{use: sentiment, folder: ., header: true, vectors: v.txt}"))),
    )
    yield (
        "one line of labels with escapes",
        Attack(
            DATA,
            both(
                content("train.tsv", f"text\tlabel\na\tx{ESCAPE}\n"),
                recipe("{use: sentiment, folder: ., header: true}"),
            ),
            (0, 2),
        ),
    )
    yield "data whose labels have escapes", Attack(("data", "mood.yaml", "--examples", "3"), nothing, (0,))
    yield (
        "data whose labels have escapes, as JSON",
        Attack(("data", "mood.yaml", "--json", "--examples", "3"), nothing, (0,)),
    )
    yield "data whose tags have escapes", Attack(("data", "tags.yaml", "--examples", "3"), nothing, (0, 2))
    yield "data whose symbols are escapes", Attack(("data", "text.yaml", "--examples", "3"), nothing, (0,))
    yield "a run with escapes, and its progress", Attack(("run", "mood.yaml", "--out", "made"), nothing, (0,))
    yield (
        "a label of 100,000 characters",
        Attack(
            RUN,
            both(
                *(
                    content(f"{split}.tsv", f"text\tlabel\n{split} a\t{LONG}\n{split} b\tx\n")
                    for split in ("train", "dev", "test")
                ),
                recipe("{use: sentiment, folder: ., header: true}"),
            ),
            (0, 2),
        ),
    )
    for kind, line in {
        "deep": DEEP.decode(),
        "deep in objects": DEEP_OBJECTS.decode(),
        "keys with escapes": json.dumps({ESCAPE: 1, "text": "a"}),
        "a text that is a list": '{"text": [[1]], "label": "x"}',
        "a label that is NaN": '{"text": "a", "label": NaN}',
        "a number of 100,000 digits": '{"text": "a", "label": ' + "9" * 100_000 + "}",
        "a lone surrogate": '{"text": "\\ud800", "label": "\\udfff"}',
    }.items():
        attack = Attack(
            RUN, both(content("train.jsonl", line + "\n"), recipe("{use: sentiment, folder: ., train: train.jsonl}"))
        )
        yield f"JSON lines: {kind}", attack
    yield (
        "header with escapes",
        Attack(
            RUN,
            both(
                content("train.tsv", f"{ESCAPE}\tlabel\na\tb\n"),
                recipe("{use: sentiment, folder: ., header: true, text: text}"),
            ),
        ),
    )
    yield (
        "gzip bomb",
        Attack(
            RUN,
            both(
                content("train.tsv.gz", gzip.compress(bytes(1 << 28))),
                recipe("{use: sentiment, folder: ., train: train.tsv.gz}"),
            ),
        ),
    )
    yield (
        "names of an archive with escapes",
        Attack(RUN, both(instead("x.zip", archive), recipe("{use: speech, path: x.zip}"))),
    )
    yield (
        "identifiers of FASTA with escapes",
        Attack(RUN, both(content("x.fa", f">{ESCAPE}\nAC{ESCAPE}GT\n"), recipe("{use: genome, train: x.fa}"))),
    )
    yield (
        "bytes of FASTA with escapes",
        Attack(RUN, both(content("x.fa", b">a\nAC\x1b\x9bGT\n"), recipe("{use: genome, train: x.fa}"))),
    )
    yield (
        "tags with escapes are wrong",
        Attack(RUN, both(content("tags/train.conll", f"a I-{ESCAPE} x y\nb\n\n"), recipe("{use: ner, folder: tags}"))),
    )


def inputs() -> Iterator[tuple[str, Attack]]:
    """Inputs of `predict`, and where results go."""
    for make in (pipe, device, unix_socket):
        attack = Attack(("predict", "runs/mood", "x.txt"), instead("x.txt", make), (1, 2))
        yield f"input of predict is a {make.__name__}", attack
        attack = Attack(("evaluate", "runs/mood", "--data", "x.tsv"), instead("x.tsv", make), (1, 2))
        yield f"data of evaluate are a {make.__name__}", attack
    for kind, lines in {
        "escapes": ESCAPE + "\n",
        "no text": "\udcff\udcfe\n",
        "NUL": "a\0b\n",
        "a line of 4 MB": "a " * 2_000_000,
        "3,000 empty lines": "\n" * 3_000,
    }.items():
        yield f"standard input: {kind}", Attack(("predict", "runs/mood"), content("in", lines), (0, 1, 2), "in")
    for kind, lines in {
        "deep": DEEP,
        "deep in objects": DEEP_OBJECTS,
        "NaN": b"NaN\n",
        "long": b'"' + b"x" * 10_000_000,
    }.items():
        attack = Attack(("predict", "runs/mood", "--format", "jsonl"), content("in", lines), (0, 1, 2), "in")
        yield f"standard input of JSON: {kind}", attack
    yield (
        "input called by an escape",
        Attack(("predict", "runs/mood", f"{ESCAPE}.txt"), content(f"{ESCAPE}.txt", "a\n"), (0,)),
    )
    yield (
        "predictions go to a pipe",
        Attack((*EVALUATE, "--predictions", "p.jsonl"), instead("p.jsonl", pipe), (0, 1, 2)),
    )
    yield (
        "predictions go to a folder",
        Attack((*EVALUATE, "--predictions", "p.jsonl"), instead("p.jsonl", directory), (1, 2)),
    )
    yield (
        "figures of reproduce go to a pipe",
        Attack(
            ("reproduce", "mood.yaml", "--seeds", "1", "--json", "r.json", "--out", "made", "--quiet"),
            both(
                instead("r.json", pipe),
                expecting,
            ),
            (0, 1, 2),
        ),
    )
    yield (
        "a finished run of reproduce has metrics that wait",
        Attack(
            ("reproduce", "mood.yaml", "--seeds", "1", "--out", "made", "--quiet"),
            both(
                expecting,
                lambda folder: shutil.copytree(folder / "runs/mood", folder / "made/seed-1"),
                instead("made/seed-1/metrics.json", pipe),
            ),
            (0, 1, 2),
        ),
    )
    yield "the run folder is a pipe", Attack(("run", "mood.yaml", "--out", "made"), instead("made", pipe))
    yield "the run folder is a link to a device", Attack(("run", "mood.yaml", "--out", "made"), instead("made", device))
    yield (
        "the cache is a pipe",
        Attack(RUN, both(instead("cache", pipe), recipe("{use: sentiment, folder: ., header: true}")), (0, 1, 2)),
    )
    yield (
        "the store is a pipe",
        Attack(RUN, both(instead("cache/store", pipe), recipe("{use: sentiment, folder: ., header: true}")), (0, 1, 2)),
    )


ATTACKS = dict(item for group in (recipes, run_folders, checkpoints, models, data, inputs) for item in group())


@pytest.fixture(scope="module")
def confinement() -> Iterator[Confinement]:
    with Confinement() as confinement:
        yield confinement


def test_the_number_of_attacks() -> None:
    groups = [list(group()) for group in (recipes, run_folders, checkpoints, models, data, inputs)]
    assert len(ATTACKS) == sum(map(len, groups)), "no name twice"
    assert len(ATTACKS) >= 150


# One in four runs every time, all of them with -m "slow or not slow".
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if number % 4 else []) for number, name in enumerate(ATTACKS)]
)
def test_an_attack_ends_in_a_sentence(name: str, sound: Path, tmp_path: Path, confinement: Confinement) -> None:
    attack = ATTACKS[name]
    folder = tmp_path / "place"
    shutil.copytree(sound, folder)
    attack.prepare(folder)
    outcome = confinement.run(attack.command, folder, stdin=folder / attack.stdin if attack.stdin else None)
    assert outcome.faults(attack.codes) == [], outcome.output[:2000]
    assert outcome.code == 0 or outcome.output.strip(), "nothing was said"
    for path in folder.glob("made/**/*"):
        if path.suffix in (".log", ".json", ".jsonl", ".yaml") and path.is_file():
            assert not CONTROLS.search(path.read_text(encoding="utf-8")), path
        if path.name == "tb":
            assert not [tag for _, tag, _ in stored(path) if CONTROLS.search(tag) or len(tag) > 1000]


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ("crash", "ended by signal 11"),
        ("hang", "waited for ever"),
        ("work", "computed for ever"),
        ("grow", "took 6"),
        ("escape", "printed '\\x1b'"),
        ("raise", "showed a traceback"),
    ],
)
def test_what_must_not_happen_is_noticed(planted: str, fault: str, tmp_path: Path, confinement: Confinement) -> None:
    faults = confinement.run([f"planted:{planted}"], tmp_path).faults()
    assert any(sentence.startswith(fault) for sentence in faults), faults
