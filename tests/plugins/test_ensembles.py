"""Ensembles of the plugins' heads: what one predicts is compared with an average that is taken outside of it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from seqkit.cli import main
from seqkit.errors import UsageError
from seqkit.interfaces import Batch, Encoded
from seqkit.model import Model, load_model, make_ensemble
from seqkit.verification.contracts import prove_task
from tests.helpers.models import model_of
from tests.model.test_ensemble import batch_of, mean
from tests.plugins.test_handwriting import write_drawings


def write_chains(folder: Path) -> None:
    draw, rows = random.Random(1), ["sequence,structure"]
    for _ in range(40):
        count = draw.randint(2, 12)
        rows.append(",".join("".join(draw.choice(letters) for _ in range(count)) for letters in ("ACDE", "CEH")))
    for split in ("train", "dev", "test"):
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")


def write_pieces(folder: Path) -> None:
    draw = random.Random(2)
    for split in ("train", "dev"):
        pieces = [[[60 + draw.randrange(9) for _ in range(3)] for _ in range(draw.randint(2, 9))] for _ in range(20)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(piece) + "\n" for piece in pieces))


def write_sessions(folder: Path) -> None:
    draw = random.Random(3)
    for split in ("train", "dev", "test"):
        lines = [" ".join(f"i{draw.randrange(9)}" for _ in range(draw.randint(2, 7))) for _ in range(40)]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")


def write_sentences(folder: Path) -> None:
    rows = []
    for number in range(40):
        city, is_fare = ("oslo", "rome", "bern")[number % 3], number % 2
        words = f"fare to {city} {number % 5}" if is_fare else f"fly to {city}"
        tags = f"O O B-city{' B-day' if is_fare else ''}"
        rows.append(json.dumps({"words": words, "slots": tags, "intent": "fare" if is_fare else "flight"}))
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")


SENTENCES = "FOLDER, train: train.jsonl, dev: dev.jsonl, test: test.jsonl"
TASKS: dict[str, tuple[str, Callable[[Path], None], bool]] = {
    "residues": ("protein-structure: {FOLDER, compare: false}", write_chains, True),
    "keys": ("music: {FOLDER, test: null}", write_pieces, False),
    "keys that depend on each other": ("music: {FOLDER, test: null, head: {use: notes, nade: 5}}", write_pieces, False),
    "items": ("next-item: {FOLDER, dev: dev.txt}", write_sessions, False),
    "items, on a sphere": ("next-item: {FOLDER, dev: dev.txt, head: {use: rank, scale: 8}}", write_sessions, False),
    "items not yet seen": (
        "next-item: {FOLDER, dev: dev.txt, head: {use: rank, leave_out_seen: true, negatives: 3}}",
        write_sessions,
        False,
    ),
    "intents and slots": (
        f"intent-slots: {{{SENTENCES}}}",
        write_sentences,
        True,
    ),
    "slots that depend on the intent": (
        f"intent-slots: {{{SENTENCES}, head: {{use: intent-slots, condition: true, intent_weight: 0.5}}}}",
        write_sentences,
        True,
    ),
    "drawings": (
        "handwriting: {FOLDER, head: {use: pen, hidden: 6, mixtures: 2, window: 2, max_length: 12}}",
        partial(write_drawings, count=20),
        True,
    ),
    "drawings without text": (
        "handwriting: {FOLDER, head: {use: pen, hidden: 6, mixtures: 3, layers: 2, max_length: 12}}",
        partial(write_drawings, count=20),
        False,
    ),
}
"""{name: (task, what writes its data, whether the encoder is bidirectional)}"""


def text_of(name: str, folder: Path, seed: int, encoder: str) -> str:
    task, _, is_bidirectional = TASKS[name]
    tasks = task.replace("FOLDER", f"folder: {folder}")
    return f"tasks: {{{tasks}}}\nencoder: {{{encoder}, bidirectional: {str(is_bidirectional).lower()}}}\nseed: {seed}\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """The folders of two models of a task with other encoders. Weights are those of two steps."""
    made: dict[str, list[Path]] = {}

    def make(name: str) -> list[Path]:
        if name not in made:
            data, root = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("members")
            TASKS[name][1](data)
            encoders = "use: lstm, dim: 10, hidden: 6", "use: gru, dim: 12, hidden: 5"
            with torch.enable_grad():
                made[name] = [
                    model_of(root / str(k), text_of(name, data, k, encoder)) for k, encoder in enumerate(encoders)
                ]
        return made[name]

    return make


def nats_of_mean(heads: Sequence[Any], encoded: Sequence[Encoded], batch: Batch) -> float:
    """The loss by the mean of what the members say, each alone."""
    pairs = list(zip(heads, encoded, strict=True))
    if hasattr(heads[0], "is_past_end"):  # of a movement and of the pen, at each step
        both = zip(*(head.nats(steps, batch)[:2] for head, steps in pairs), strict=True)
        return sum(float(-mean([(-nats).exp() for nats in members]).log().sum()) for members in both)
    if hasattr(heads[0], "intents"):
        return _nats_of_paths(pairs, batch)
    log_probs = mean([head.loss_with_log_probs(steps, batch)[2].exp() for head, steps in pairs]).log()
    assert batch.y is not None
    true = torch.cat([row[:length] for row, length in zip(batch.y, batch.lengths.tolist(), strict=True)]).long()
    if true.dim() == 2:  # keys: of each, that it sounds and that it does not
        return float(-log_probs.gather(1, 1 - true.flatten()[:, None]).sum())
    known = true[true > 0] if hasattr(heads[0], "catalogue") else true[true >= 0]
    return float(-log_probs.gather(1, known[:, None]).sum())


def _nats_of_paths(pairs: Sequence[tuple[Any, Encoded]], batch: Batch) -> float:
    """The intent by the mean of probabilities, the path of tags by the mean of scores."""
    assert batch.y is not None
    outputs = [head.outputs(encoded) for head, encoded in pairs]
    intents = mean([o["intent_probabilities"] for o in outputs])
    nats = -float(intents.gather(1, batch.y[:, 0, 1].long()[:, None]).log().sum()) * pairs[0][0].intent_weight
    scores: Tensor = mean([o["slot_scores"] for o in outputs])
    weights = [mean(list(same)) for same in zip(*(head.crf.parameters() for head, _ in pairs), strict=True)]
    named = dict(zip(dict(pairs[0][0].crf.named_parameters()), weights, strict=True))
    log_likelihood = torch.func.functional_call(
        pairs[0][0].crf, named, (scores, batch.y[..., 0].long()), {"lengths": batch.lengths}
    )
    return nats - float(log_likelihood)


@pytest.mark.parametrize("name", TASKS)
@torch.no_grad()
def test_an_ensemble_says_the_mean_of_what_its_members_say(
    name: str, folders: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    sources = folders(name)
    joint = make_ensemble(sources, tmp_path / "joint")
    loaded, _, _ = load_model(tmp_path / "joint")
    task, batch = batch_of(sources[0])
    models = [load_model(source)[0] for source in sources]
    nats = nats_of_mean([m.head(task) for m in models], [m.encode(task, batch) for m in models], batch)
    for model in (joint, loaded):
        loss, count, encoded = model.loss(task, batch)
        assert float(loss) == pytest.approx(nats, rel=1e-5)
        assert int(count) == int(models[0].loss(task, batch)[1])
        assert len(model.predict(task, batch, encoded)) == batch.size


@pytest.mark.parametrize("name", TASKS)
def test_an_ensemble_keeps_the_contracts(name: str, folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    """Padding, batch mates and order change nothing; where steps are answered as they come, neither do chunks."""
    model = make_ensemble(folders(name), tmp_path / "joint")
    task, batch = batch_of(folders(name)[0])
    assert not [line for result in prove_task(model, task, batch) if not result.passed for line in result.lines()]


@pytest.mark.parametrize("name", TASKS)
@torch.no_grad()
def test_two_of_the_same_predict_as_one(name: str, folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    source = folders(name)[0]
    shutil.copytree(source, tmp_path / "again")
    joint = make_ensemble([source, tmp_path / "again"], tmp_path / "joint")
    alone, _, _ = load_model(source)
    task, batch = batch_of(source)

    def values(model: Model) -> list[Any]:
        return [p.value for p in model.predict(task, batch, model.encode(task, batch))]

    if name.startswith("drawings"):  # numbers
        for one, other in zip(values(alone), values(joint), strict=True):
            torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-4, atol=1e-4)
    else:
        assert values(alone) == values(joint)


def test_an_ensemble_draws(folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    make_ensemble(folders("drawings"), tmp_path / "joint")
    done = CliRunner().invoke(main, ["generate", str(tmp_path / "joint"), "--prompt", "ab", "--length", "5"])
    assert done.exit_code == 0, done.output
    assert "<svg" in done.stdout


def test_keys_that_depend_on_each_other_and_keys_that_do_not_are_refused(tmp_path: Path) -> None:
    write_pieces(tmp_path)
    members = [
        model_of(tmp_path / name, text_of(name, tmp_path, 1, "use: gru, dim: 12, hidden: 5"))
        for name in ("keys", "keys that depend on each other")
    ]
    with pytest.raises(UsageError, match=r"in some of them \(`nade`\) and not in others"):
        make_ensemble(members, tmp_path / "joint")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if not name.startswith("drawings")])
def test_an_ensemble_is_exported(name: str, folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    """The command itself compares what the file gives with what seqkit gives."""
    pytest.importorskip("onnxruntime")
    make_ensemble(folders(name), tmp_path / "joint")
    done = CliRunner().invoke(main, ["export", str(tmp_path / "joint"), "--out", str(tmp_path / "model.onnx")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "model.onnx").exists()
