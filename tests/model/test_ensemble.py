"""Several models as one: what it predicts is compared with an average that is taken outside of it, for each head."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from seqkit import load
from seqkit.cli import main
from seqkit.errors import DataError, RunError, UsageError
from seqkit.fields import Values, Words
from seqkit.heads import regress
from seqkit.heads.classification import Classify
from seqkit.heads.ctc_head import CTC
from seqkit.heads.distributions import Mixture
from seqkit.heads.linear_chain_crf import LinearChainCRF
from seqkit.heads.seq2seq import Seq2Seq
from seqkit.heads.tagging import Tag
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.model import Model, load_model, make_ensemble
from seqkit.verification.contracts import prove_task
from seqkit.verification.recipe_contracts import choose_batch, sample_task
from tests.helpers.models import model_of
from tests.reference import chains

SENTIMENT = "sentiment: {sizes: [40, 10, 10], HEAD}"
NER = "ner: {sizes: [30, 8, 8], char_hidden: 4, HEAD}"
CHARLM = "charlm: {source: python-docs, window: 32, HEAD}"
TRANSLATION = "translation: {source: generated, sizes: [40, 10, 10], HEAD}"

RECIPES = {
    "label, last output": (SENTIMENT, "head: {use: classify, pool: last}", True),
    "label, attention": (SENTIMENT, "head: {use: classify, pool: attention}", True),
    "label, at every step": (SENTIMENT, "head: {use: classify, pool: mean, every_step: true}", False),
    "tags": (NER, "head: {use: tag}", True),
    "chain of tags": (NER, "head: {use: crf, nbest: 2}", True),
    "next symbol": (CHARLM, "head: {use: language}", False),
    "next symbol, tied": (CHARLM, "head: {use: language, tied: true}", False),
    "next symbol, adaptive": (CHARLM, "head: {use: language, softmax: adaptive, cutoffs: [10, 30]}", False),
    "text with attention": (
        TRANSLATION,
        "head: {use: attend, hidden: 7, max_length: 12, beams: 2}",
        True,
    ),
    "text with feeding": (TRANSLATION, "head: {use: attend, hidden: 7, max_length: 12, input_feeding: true}", True),
    "text of a vector": (TRANSLATION, "head: {use: generate, hidden: 7, embedding: 5, max_length: 12}", False),
    "text without alignment": (TRANSLATION, "head: {use: ctc, too_long: skip, search: beam, best: 2}", True),
}


def recipe_text(name: str, seed: int, encoder: str = "use: lstm, dim: 10, hidden: 6") -> str:
    task, head, is_bidirectional = RECIPES[name]
    tasks = task.replace("HEAD", head)
    return f"tasks: {{{tasks}}}\nencoder: {{{encoder}, bidirectional: {str(is_bidirectional).lower()}}}\nseed: {seed}\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """The folders of three models of a recipe, the third with another encoder. Weights are those of two steps."""
    made: dict[str, list[Path]] = {}

    def make(name: str) -> list[Path]:
        if name not in made:
            root = tmp_path_factory.mktemp("members")
            texts = [recipe_text(name, 1), recipe_text(name, 2), recipe_text(name, 3, "use: gru, dim: 12, hidden: 5")]
            with torch.enable_grad():
                made[name] = [model_of(root / f"{number}", text) for number, text in enumerate(texts)]
        return made[name]

    return make


def mean(members: Sequence[Tensor]) -> Tensor:
    return sum(members[1:], members[0]) / len(members)


def batch_of(folder: Path) -> tuple[str, Batch]:
    """Some examples of the model's task, with their targets."""
    _, _, tasks = load_model(folder)
    ((name, (task, *fitted)),) = tasks.items()
    data = sample_task(name, task, fitted)
    if task.window is None:
        return name, choose_batch(data)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(4, data.input.size, (3, 9), generator=generator)
    lengths = torch.tensor([8, 5, 2])
    y = x[:, 1:].clone()
    for row, length in enumerate(lengths.tolist()):
        y[row, length:] = -1
    return name, Batch(x[:, :-1], lengths, y, lengths)


def slow_twin(models: Sequence[Model], name: str, batch: Batch) -> tuple[float, list[Any]]:
    """(loss, value of each prediction or None) by averages that are taken here, of each member alone."""
    assert batch.y is not None
    heads: list[Any] = [model.head(name) for model in models]
    encoded = [model.encode(name, batch) for model in models]
    lengths = encoded[0].lengths
    outputs = [head.outputs(e) for head, e in zip(heads, encoded, strict=True)]
    if isinstance(heads[0], Seq2Seq):
        return _of_texts(models, name, batch), [None] * batch.size
    if isinstance(heads[0], LinearChainCRF):
        return _of_paths(heads, mean([o["emissions"] for o in outputs]), lengths, batch), [None] * batch.size
    if isinstance(heads[0], Classify | Tag):
        return _of_probabilities(mean([o["probabilities"] for o in outputs]), heads[0], lengths, batch)
    log_probs = mean([o["log_probs"].exp() for o in outputs]).log()
    if isinstance(heads[0], CTC):
        return _of_alignments(log_probs, lengths, batch), [None] * batch.size
    nats, values = 0.0, []
    for row, length in enumerate(lengths.tolist()):
        nats -= sum(float(log_probs[row, t, batch.y[row, t]]) for t in range(length) if batch.y[row, t] >= 0)
        values.append(heads[0].target.source.vocabulary.names(log_probs[row, :length].argmax(dim=-1).tolist()))
    return nats, values


def _of_probabilities(probabilities: Tensor, head: Any, lengths: Tensor, batch: Batch) -> tuple[float, list[Any]]:
    assert batch.y is not None
    nats, values = 0.0, []
    for row, length in enumerate(lengths.tolist()):
        rows = probabilities[row, :length] if probabilities.dim() == 3 else probabilities[row][None]
        y = batch.y[row, :length].tolist() if batch.y.dim() == 2 else [int(batch.y[row])] * len(rows)
        nats -= sum(math.log(float(p[true])) for p, true in zip(rows, y, strict=True))
        if batch.y.dim() == 2:
            values.append(head.target.decode(rows.argmax(dim=-1).numpy()))
        else:
            values.append(head.target.labels[int(rows[-1].argmax())])
    return nats, values


def _of_paths(heads: Sequence[Any], emissions: Tensor, lengths: Tensor, batch: Batch) -> float:
    """Minus the score of the true path, and the logarithm of the sum over all paths."""
    assert batch.y is not None
    head = heads[0]
    transitions, start, end = (mean([getattr(h, n).detach() for h in heads]) for n in ("transitions", "start", "end"))
    transitions = transitions + head.transitions_penalties
    total = 0.0
    for row, length in enumerate(lengths.tolist()):
        y = batch.y[row, :length].tolist()
        first = start + head.start_penalties[y[0]]
        last = end + head.end_penalties[y[-1]]
        alpha = first.double() + emissions[row, 0]
        for t in range(1, length):
            alpha = torch.stack(
                [
                    torch.logsumexp(alpha + transitions[:, tag], dim=0) + emissions[row, t, tag]
                    for tag in range(len(start))
                ]
            )
        log_z = float(torch.logsumexp(alpha + last, dim=0))
        total += log_z - chains.score(
            tuple(y), emissions[row].tolist(), transitions.tolist(), first.tolist(), last.tolist()
        )
    return total


def _of_alignments(log_probs: Tensor, lengths: Tensor, batch: Batch) -> float:
    assert batch.y is not None
    assert batch.y_lengths is not None
    nats = 0.0
    for row, length in enumerate(lengths.tolist()):
        count = int(batch.y_lengths[row]) - 1
        y = batch.y[row, :count] - 2
        y[y < 1] = 1
        need = count + int((y[1:] == y[:-1]).sum())
        if need <= length:
            nats += float(
                torch.nn.functional.ctc_loss(
                    log_probs[row, :length].double(), y, torch.tensor(length), torch.tensor(count), reduction="sum"
                )
            )
    return nats


def _of_texts(models: Sequence[Model], name: str, batch: Batch) -> float:
    """Nats of the true texts: the members' decoders read one symbol after another, and are averaged at each."""
    assert batch.y is not None
    assert batch.y_lengths is not None
    nats = 0.0
    for row in range(batch.size):
        alone = batch.take([row]).trimmed()
        decoders: list[Any] = [model.head(name).decoder for model in models]  # type: ignore[union-attr]
        begun = [d.begin(m.encode(name, alone)) for d, m in zip(decoders, models, strict=True)]
        states = [state for _, state in begun]
        symbol = torch.full((1, 1), 2)
        for true in batch.y[row, : int(batch.y_lengths[row])].tolist():
            probabilities = []
            for number, (decoder, (source, _)) in enumerate(zip(decoders, begun, strict=True)):
                readout, states[number], _ = decoder.step(source, states[number], symbol)
                probabilities.append(decoder.logits(readout)[0, 0].softmax(dim=-1))
            nats -= math.log(float(mean(probabilities)[true]))
            symbol = torch.full((1, 1), true)
    return nats


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_an_ensemble_says_the_mean_of_what_its_members_say(
    name: str, folders: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    sources = folders(name)
    joint = make_ensemble(sources, tmp_path / "joint")
    loaded, _, _ = load_model(tmp_path / "joint")
    task, batch = batch_of(sources[0])
    models = [load_model(source)[0] for source in sources]
    nats, values = slow_twin(models, task, batch)
    for model in (joint, loaded):
        loss, count, encoded = model.loss(task, batch)
        assert float(loss) == pytest.approx(nats, rel=1e-5)
        assert int(count) == int(models[0].loss(task, batch)[1])
        for expected, prediction in zip(values, model.predict(task, batch, encoded), strict=True):
            assert expected is None or prediction.value == expected
    assert loaded.member_count == 3
    # The transitions of chains are averaged when they are joined.
    count = sum(model.count_parameters() for model in models)
    assert loaded.count_parameters() == count or (name == "chain of tags" and loaded.count_parameters() < count)


@pytest.mark.parametrize("name", RECIPES)
def test_an_ensemble_keeps_the_contracts(name: str, folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    """Padding, batch mates and order change nothing, and the loss equals a second computation."""
    model = make_ensemble(folders(name)[1:], tmp_path / "joint")
    task, batch = batch_of(folders(name)[0])
    failed = [line for result in prove_task(model, task, batch) if not result.passed for line in result.lines()]
    if "skip" in RECIPES[name][1]:  # texts that do not fit count nothing, so the probabilities do not sum to one
        failed = [line for line in failed if "reference computation" not in line and "log-likelihood" not in line]
    assert not failed


@torch.no_grad()
def test_two_of_the_same_predict_as_one(folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    for name in ("label, attention", "chain of tags", "text with attention", "next symbol"):
        source = folders(name)[0]
        shutil.copytree(source, tmp_path / name / "again")
        joint = make_ensemble([source, tmp_path / name / "again"], tmp_path / name / "joint")
        alone, _, _ = load_model(source)
        task, batch = batch_of(source)
        for one, other in zip(
            alone.predict(task, batch, alone.encode(task, batch)),
            joint.predict(task, batch, joint.encode(task, batch)),
            strict=True,
        ):
            assert one.value == other.value
            assert one.confidence == pytest.approx(other.confidence, rel=1e-4)


NUMBERS = Values().fit([1.0, 2.0, 4.0])


@pytest.mark.parametrize("loss", ["mse", "mae", "gaussian", "mixture", "quantiles"])
@torch.no_grad()
def test_numbers_and_their_distributions(loss: Any) -> None:
    torch.manual_seed(1)
    members: list[Any] = [regress(width, NUMBERS, None, loss=loss, pool="attention") for width in (3, 4)]
    joint: Any = regress(7, NUMBERS, None, loss=loss)
    joint.join_members(members, [3, 4])
    lengths = torch.tensor([5, 2])
    steps = torch.randn(2, 5, 7)
    encoded = Encoded(steps, lengths, steps[:, 0], lambda: ())
    parts = [Encoded(s, lengths, s[:, 0], lambda: ()) for s in (steps[..., :3], steps[..., 3:])]
    batch = Batch(torch.zeros(2, 5, 1), lengths, torch.tensor([[0.3], [-1.0]]))
    ours, theirs = joint.parameters_of(encoded), [m.parameters_of(p) for m, p in zip(members, parts, strict=True)]
    if loss in ("mse", "mae", "quantiles"):
        torch.testing.assert_close(ours, (theirs[0] + theirs[1]) / 2)
    elif loss == "gaussian":
        draws = [m + (v / 2).exp() * torch.randn(200_000, *m.shape) for m, v in (t.unbind(dim=-1) for t in theirs)]
        drawn = torch.cat(draws)
        torch.testing.assert_close(ours[..., 0], drawn.mean(dim=0), atol=0.02, rtol=0.02)
        torch.testing.assert_close(ours[..., 1].exp(), drawn.var(dim=0), atol=0.05, rtol=0.05)
    else:
        y = batch.y
        assert y is not None
        density = mean([(-m.family.nats(t, y)).exp() for m, t in zip(members, theirs, strict=True)])
        torch.testing.assert_close(joint.family.nats(ours, y), -density.log())
        assert isinstance(joint.family, Mixture)
    assert torch.isfinite(joint.loss(encoded, batch)[0])
    assert len(joint.predict(encoded, batch)) == 2


@pytest.mark.parametrize("loss", ["student_t", "poisson", "negative_binomial"])
def test_distributions_that_have_no_mean_in_their_family_are_refused(loss: Any) -> None:
    target = Values(standardise=False).fit([1.0, 2.0])
    joint = regress(6, target, None, loss=loss)
    with pytest.raises(TypeError, match="take loss: mixture, gaussian or quantiles"):
        joint.join_members([regress(3, target, None, loss=loss) for _ in range(2)], [3, 3])


def test_a_head_that_does_not_say_how_is_refused() -> None:
    class Odd(Head):
        def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
            raise AssertionError

        def predict(self, encoded: Encoded, batch: Batch) -> list[Any]:
            raise AssertionError

    with pytest.raises(TypeError, match="Odd does not say how several of them predict together"):
        Odd().join_members([Odd()], [1])


# The command, and what is refused


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_an_ensemble_is_a_model_like_any_other(folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "joint"
    done = call("ensemble", *folders("label, at every step"), "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["members"] == 3
    done = call("evaluate", out, "--json")
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)
    assert 0.0 <= scores["sentiment/test/accuracy"] <= 1.0
    model = load(out)
    (result,) = model.predict(["a good film"])
    done = call("predict", out, "--text", "a good film")
    assert json.loads(done.stdout)["prediction"] == result.value
    stream = model.stream()
    for piece in ("a", " good", " film"):
        stream.push("a", piece)
    last = stream.close("a").prediction
    assert last is not None
    assert last.value == result.value
    assert last.confidence == pytest.approx(result.confidence, rel=1e-5)


def test_a_language_model_of_several_writes(folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "joint"
    assert call("ensemble", *folders("next symbol")[:2], "--out", out).exit_code == 0
    done = call("generate", out, "--prompt", "class ", "--length", "8")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sizes: [40", "sizes: [30"), r"tasks\.sentiment\.sizes: \(30, 10, 10\) here, \(40, 10, 10\) in .*0; "),
        (("pool: last", "pool: max"), ""),
        (("sentiment:", "other: {use: sentiment}, sentiment:"), r"tasks: other, sentiment here, sentiment in"),
        (("data_seed: 1", "data_seed: 2"), r"tasks\.sentiment\.data_seed: 2 here, 1 in"),
    ],
)
def test_models_of_other_tasks_are_refused(
    change: tuple[str, str], message: str, folders: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    text = (
        recipe_text("label, last output", 2).replace("HEAD", "").replace("sentiment: {", "sentiment: {data_seed: 1, ")
    )
    assert change[0] in text
    other = model_of(tmp_path / "other", text.replace(*change))
    if not message:
        make_ensemble([folders("label, last output")[0], other], tmp_path / "joint")
        return
    with pytest.raises(DataError, match=message):
        make_ensemble([folders("label, last output")[0], other], tmp_path / "joint")
    assert not (tmp_path / "joint").exists()


def test_a_member_with_other_symbols_is_refused(folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    from seqkit.model import ensemble

    members = [ensemble.Member(*load_model(folder), str(folder)) for folder in folders("tags")[:2]]
    task, words, tags = members[1].tasks["ner"]
    assert isinstance(words, Words)
    assert words.words is not None
    symbols = list(words.words.symbols)
    symbols[3] = "elsewhere"
    changed = dataclasses.replace(words, words=dataclasses.replace(words.words, symbols=tuple(symbols)))
    other = dataclasses.replace(members[1], tasks={"ner": (task, changed, tags)})
    with pytest.raises(DataError, match=r"tasks\.ner, input: words\[4\]: 'elsewhere' here, '.*' in "):
        ensemble.join_models([members[0], other])


def test_what_no_ensemble_can_be_made_of(folders: Callable[[str], list[Path]], tmp_path: Path) -> None:
    one, two, _ = folders("tags")
    joint = tmp_path / "joint"
    assert "two models or more" in call("ensemble", one, "--out", joint).output
    assert "named twice" in call("ensemble", one, one, "--out", joint).output
    done = call("ensemble", one, tmp_path, "--out", joint)
    assert done.exit_code == 2
    make_ensemble([one, two], joint)
    with pytest.raises(UsageError, match="is an ensemble already; name the models that it was made of"):
        make_ensemble([joint, one], tmp_path / "more")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"members": 5}, "does not list model-3"),
        ({"members": 1}, "2 to 100 members, not 1"),
        ({"members": True}, "not True"),
        ({}, "not None"),
    ],
)
def test_a_damaged_ensemble_is_refused(
    facts: dict[str, Any], message: str, folders: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    joint = tmp_path / "joint"
    make_ensemble(folders("tags")[:2], joint)
    manifest = json.loads((joint / "MANIFEST.json").read_text())
    (joint / "ensemble.json").write_text(json.dumps(facts))
    manifest["files"]["ensemble.json"] = hashlib.sha256((joint / "ensemble.json").read_bytes()).hexdigest()
    (joint / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=message):
        load_model(joint)
    (joint / "model-2.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="model-2"):
        load_model(joint)


def test_a_version_that_knows_no_ensembles_does_not_take_one_for_its_first_member(
    folders: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    make_ensemble(folders("tags")[:2], tmp_path / "joint")
    assert json.loads((tmp_path / "joint" / "MANIFEST.json").read_text())["format_version"] == 2
    assert json.loads((folders("tags")[0] / "MANIFEST.json").read_text())["format_version"] == 1
