"""The head `crf` against the enumeration of all paths, and against padding."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit.fields import Label, Tags
from seqkit.fields.labels import UNSEEN
from seqkit.heads import crf, tag
from seqkit.heads.crf_algorithms import Chain, best_paths
from seqkit.heads.linear_chain_crf import PENALTY, LinearChainCRF
from seqkit.interfaces import Batch, Encoded
from seqkit.spans import Scheme, fault, spans_of
from tests.reference import chains as reference

B, T, H = 3, 4, 6
SHORT = torch.tensor([4, 1, 3])


def head_for(target: Tags, *, seed: int = 0, **options: Any) -> LinearChainCRF:
    torch.manual_seed(seed)
    head = crf(H, target, None, **options)
    assert isinstance(head, LinearChainCRF)
    for score in (head.transitions, head.start, head.end):
        torch.nn.init.normal_(score)
    return head.eval()


def target_of(scheme: Scheme | None, learn: Scheme | None = None) -> Tags:
    values = {"iob1": ["I-x", "O"], "iob2": ["B-x", "O"], "bioes": ["S-x", "O"], "plain": ["x", "O"], None: ["N", "V"]}
    return Tags(scheme=scheme, learn=learn).fit([values[scheme]])


def encoded(lengths: Tensor = SHORT, *, steps: int | None = None, seed: int = 1, dtype: Any = torch.float32) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(int(length), H, generator=generator) for length in lengths]
    padded = torch.zeros(len(rows), steps or int(lengths.max()), H)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return Encoded(padded.to(dtype), lengths, padded[:, 0], tuple)


def batch(y: Sequence[Sequence[int]], lengths: Tensor = SHORT) -> Batch:
    steps = max(len(row) for row in y)
    filled = torch.tensor([[*row, *[0] * (steps - len(row))] for row in y])
    return Batch(torch.zeros(len(y), steps, dtype=torch.int64), lengths, filled, torch.tensor([len(row) for row in y]))


def path_scores_of(head: LinearChainCRF, code: Encoded, row: int, *, penalty: float) -> dict[reference.Path, float]:
    """The scores of all tag sequences of one example, with a penalty for those that are illegal by their tags."""
    length = int(code.lengths[row])
    emissions = head.out(code.steps[row, :length]).tolist()
    scores = reference.scores(emissions, head.transitions.tolist(), head.start.tolist(), head.end.tolist())
    labels = head.target.labels
    learned = head.target.learned
    legal = {path: fault([labels[i] for i in path], learned or "plain") is None for path in scores}
    return {
        path: value if legal[path] else value + penalty
        for path, value in scores.items()
        if legal[path] or penalty > -torch.inf
    }


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "bioes", "plain", None])
def test_loss_is_the_likelihood_of_sequences_per_step(scheme: Scheme | None) -> None:
    head, code = head_for(target_of(scheme)), encoded()
    legal = {
        "iob1": "I-x O I-x O",
        "iob2": "B-x I-x O B-x",
        "bioes": "B-x E-x O S-x",
        "plain": "x x O x",
        None: "N V V N",
    }
    values = [
        legal[scheme].split(),
        legal[scheme].split()[-1:],
        legal[scheme].split()[1:] if scheme is None else ["O"] * 3,
    ]
    y = [head.target.encode(value).tolist() for value in values]
    total, count = head.loss(code, batch(y))
    expected = 0.0
    for row in range(B):
        paths = path_scores_of(head, code, row, penalty=PENALTY)
        expected += reference.log_partition(paths) - paths[tuple(y[row])]
    assert total.item() == pytest.approx(expected, abs=1e-4)
    assert int(count) == 8


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "bioes", "plain", None])
def test_predictions_are_the_best_legal_path_and_its_marginals(scheme: Scheme | None) -> None:
    head, code = head_for(target_of(scheme), nbest=3), encoded()
    for row, prediction in enumerate(head.predict(code, batch([[0] * 4] * B))):
        paths = path_scores_of(head, code, row, penalty=-torch.inf)
        log_z = reference.log_partition(paths)
        best = reference.ranked(paths, 3)
        assert prediction.value == head.target.decode(np.array(best[0][0]))
        expected = [reference.probability(paths, step, (state,)) for step, state in enumerate(best[0][0])]
        assert prediction.confidence == pytest.approx(expected, abs=1e-6)
        assert [entry["value"] for entry in prediction.scores["nbest"]] == [
            head.target.decode(np.array(p)) for p, _ in best
        ]
        probabilities = [entry["confidence"] for entry in prediction.scores["nbest"]]
        assert probabilities == pytest.approx([math.exp(value - log_z) for _, value in best], abs=1e-6)
        assert json.loads(json.dumps(prediction.scores)) == prediction.scores
        if scheme is None:
            assert "spans" not in prediction.scores
            continue
        span_bounds = [(entry["type"], entry["start"], entry["end"]) for entry in prediction.scores["spans"]]
        assert span_bounds == spans_of(prediction.value, scheme)
        for entry in prediction.scores["spans"]:
            states = best[0][0][entry["start"] : entry["end"]]
            assert entry["confidence"] == pytest.approx(reference.probability(paths, entry["start"], states), abs=1e-6)


def test_no_illegal_sequence_is_ever_predicted() -> None:
    """Random weights prefer illegal orders; the scheme that is learned excludes them."""
    target, illegal_count = target_of("iob2", "bioes"), 0
    for seed in range(20):
        head, code = head_for(target, seed=seed), encoded(torch.tensor([9, 7, 8]), seed=seed)
        unconstrained = best_paths(
            Chain.of(head.emissions(code.steps), head.transitions, head.start, head.end, code.lengths)
        )[0]
        for row, prediction in enumerate(head.predict(code, batch([[0] * 9] * 3, code.lengths))):
            assert fault(prediction.value, "iob2") is None
            names = [target.labels[i] for i in unconstrained[row, 0, : int(code.lengths[row])]]
            illegal_count += fault(names, "bioes") is not None
    assert illegal_count > 30


@pytest.mark.parametrize("scheme", ["iob2", "plain", None])
def test_what_training_has_not_seen_is_never_predicted_and_its_loss_is_finite(scheme: Scheme | None) -> None:
    fitted = {"iob2": ["B-x", "O"], "plain": ["x", "O"], None: ["x", "y"]}[scheme]
    target = Tags(scheme=scheme, allow_unseen=True).fit([fitted])
    for seed in range(10):
        head, code = head_for(target, seed=seed), encoded(seed=seed)
        with torch.no_grad():
            head.out.bias[[UNSEEN in label for label in target.labels]] += 30.0
        for prediction in head.predict(code, batch([[0] * 4] * B)):
            assert not [tag for tag in prediction.value if UNSEEN in tag]
    new = {"iob2": "B-new", "plain": "new", None: "new"}[scheme]
    y = [target.encode(value).tolist() for value in ([fitted[0], new, new, fitted[1]], [new], [fitted[1]] * 3)]
    assert head.loss(code, batch(y))[0].isfinite()


def test_constrain_false_leaves_training_free() -> None:
    target = target_of("iob2")
    unconstrained, constrained, code = head_for(target, constrain=False), head_for(target), encoded()
    y = batch([target.encode(value).tolist() for value in (["O"] * 4, ["O"], ["O"] * 3)])
    path_scores = [path_scores_of(unconstrained, code, row, penalty=0.0) for row in range(B)]
    outside = target.labels.index("O")
    expected = sum(
        reference.log_partition(paths) - paths[(outside,) * int(length)]
        for paths, length in zip(path_scores, SHORT, strict=True)
    )
    assert unconstrained.loss(code, y)[0].item() == pytest.approx(expected, abs=1e-4)
    assert constrained.loss(code, y)[0].item() < unconstrained.loss(code, y)[0].item() - 0.1
    assert unconstrained.predict(code, y) == constrained.predict(code, y)


def test_a_sequence_that_is_cut_inside_a_span_has_no_penalty() -> None:
    target = target_of("bioes")
    head, code = head_for(target), encoded(torch.tensor([3]))
    index = {label: number for number, label in enumerate(target.labels)}
    cut = batch([[index["I-x"], index["E-x"], index["B-x"]]], torch.tensor([3]))
    assert 0.0 < head.loss(code, cut)[0].item() < 50.0
    # Inside the sequence the scheme counts.
    broken = batch([[index["O"], index["E-x"], index["O"]]], torch.tensor([3]))
    assert head.loss(code, broken)[0].item() > 90.0


def test_padding_changes_nothing() -> None:
    head = head_for(target_of("bioes"), nbest=2)
    y = [head.target.encode(value).tolist() for value in (["B-x", "I-x", "E-x", "O"], ["S-x"], ["O", "O", "S-x"])]
    tight, wide = encoded(), encoded(steps=9)
    tight_batch, wide_batch = batch(y), batch([[*row] for row in y])
    wide_batch.y = torch.nn.functional.pad(wide_batch.y, (0, 5), value=3)
    assert head.loss(tight, tight_batch)[0].item() == pytest.approx(head.loss(wide, wide_batch)[0].item(), abs=1e-6)
    for a, b in zip(head.predict(tight, tight_batch), head.predict(wide, wide_batch), strict=True):
        assert a.value == b.value
        assert a.confidence == pytest.approx(b.confidence, abs=1e-9)
        assert a.scores["nbest"][1]["confidence"] == pytest.approx(b.scores["nbest"][1]["confidence"], abs=1e-9)


def test_it_learns() -> None:
    """Emissions are equal at all steps: each tag depends on the one before."""
    target = Tags().fit([["a", "b"]])
    torch.manual_seed(0)
    head = crf(H, target, None)
    steps = torch.ones(1, 6, H)
    code = Encoded(steps, torch.tensor([6]), steps[:, -1], tuple)
    arbitrary = batch([target.encode(list("abaaba")).tolist()], torch.tensor([6]))
    alternating = batch([target.encode(list("ababab")).tolist()], torch.tensor([6]))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        total, count = head.loss(code, alternating)
        (total / count).backward()
        optimizer.step()
    assert head.predict(code, arbitrary)[0].value == list("ababab")
    assert (total / count).item() < 0.05


def test_windows_are_stitched() -> None:
    head = head_for(target_of("iob2", "bioes"))
    first, second = (
        type(head.predict(encoded(), batch([[0] * 4] * B))[0])(value, [0.9] * len(value), {"spans": spans})
        for value, spans in (
            (["O", "B-x"], [{"type": "x", "start": 1, "end": 2, "confidence": 0.5}]),
            (
                ["I-x", "O", "B-x"],
                [
                    {"type": "x", "start": 0, "end": 1, "confidence": 0.5},
                    {"type": "x", "start": 2, "end": 3, "confidence": 0.75},
                ],
            ),
        )
    )
    stitched = head.stitch([first, second])
    assert stitched.value == ["O", "B-x", "I-x", "O", "B-x"]
    assert stitched.confidence == [0.9] * 5
    assert stitched.scores == {
        "spans": [
            {"type": "x", "start": 1, "end": 3, "confidence": 0.25},
            {"type": "x", "start": 4, "end": 5, "confidence": 0.75},
        ]
    }


def test_the_head_tag_has_spans_as_well() -> None:
    torch.manual_seed(2)
    head, code = tag(H, target_of("iob2", "bioes"), None).eval(), encoded()
    torch.nn.init.normal_(head.out.weight)  # type: ignore[attr-defined]
    predictions = head.predict(code, batch([[0] * 4] * B))
    assert any(prediction.scores["spans"] for prediction in predictions)
    for prediction in predictions:
        span_bounds = [(span["type"], span["start"], span["end"]) for span in prediction.scores["spans"]]
        assert span_bounds == spans_of(prediction.value, "iob2")
        for span in prediction.scores["spans"]:
            assert span["confidence"] == pytest.approx(math.prod(prediction.confidence[span["start"] : span["end"]]))  # type: ignore[index]
    stitched = head.stitch(predictions)
    assert stitched.value == [tag for prediction in predictions for tag in prediction.value]
    assert [span["start"] for span in stitched.scores["spans"]] == [
        start for _, start, _ in spans_of(stitched.value, "iob2")
    ]
    assert tag(H, target_of(None), None).predict(code, batch([[0] * 4] * B))[0].scores is None


def test_half_precision_inputs_give_a_single_precision_loss() -> None:
    head = head_for(target_of("bioes"))
    y = batch(
        [head.target.encode(value).tolist() for value in (["B-x", "I-x", "E-x", "O"], ["S-x"], ["O", "O", "S-x"])]
    )
    expected, _ = head.loss(encoded(), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual, _ = head.loss(encoded(dtype=torch.bfloat16), y)
        assert head.predict(encoded(dtype=torch.bfloat16), y)[0].value
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(expected.item(), rel=0.02)


def test_a_step_without_a_target_is_an_error() -> None:
    head = head_for(target_of(None))
    wrong = batch([[0, 1, 1], [0], [1, 1, 0]])
    wrong.ids = ["a:1", "a:2", "a:3"]
    with pytest.raises(ValueError, match="a:1: 3 targets for 4 steps"):
        head.loss(encoded(), wrong)


def test_what_the_factory_accepts() -> None:
    assert crf.accepts == (Tags,)
    assert crf.needs_causal is False
    assert Label not in crf.accepts


def test_only_learned_weights_are_saved() -> None:
    head = head_for(target_of("bioes"))
    reloaded = head_for(target_of("bioes"), seed=5)
    assert set(head.state_dict()) == {"transitions", "start", "end", "out.weight", "out.bias"}
    reloaded.load_state_dict(copy.deepcopy(head.state_dict()))
    assert reloaded.predict(encoded(), batch([[0] * 4] * B)) == head.predict(encoded(), batch([[0] * 4] * B))


def test_an_evaluation_computes_the_emissions_once_and_training_at_each_call() -> None:
    head, code, data = head_for(target_of("iob2")), encoded(), batch([[0, 1, 2, 0], [1], [0, 1, 1]])
    expected = head.predict(encoded(), data)
    calls = []
    head.out.register_forward_hook(lambda *args: calls.append(1))
    with torch.no_grad():
        total, _ = head.loss(code, data)
    assert head.predict(code, data) == expected
    assert len(calls) == 1
    assert head_for(target_of("iob2"), seed=5).predict(code, data) != expected
    with_gradients, _ = head.loss(code, data)
    with_gradients.backward()
    assert len(calls) == 2
    assert head.train().loss(code, data)[0].item() == pytest.approx(total.item())  # it has no dropout
    assert len(calls) == 3
