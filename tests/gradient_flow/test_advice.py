"""What is advised, and that it is not advised where nothing is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from seqkit.gradient_flow.advice import EncoderFacts, advise
from seqkit.gradient_flow.norms import GradientNorms

RNN, LSTM = EncoderFacts("rnn", "xavier_uniform", None), EncoderFacts("lstm", "orthogonal", 1.0)


def record(step: int = 1, **changes: Any) -> dict[str, Any]:
    """A record in which nothing is wrong."""
    layer = {"layer": 1, "direction": "forward", "saturated": {"state": 0.1}}
    norms = {"steps": 100, "median": 0.5, "largest": 1.0, "clip": 1.0, "clipped": 0.1}
    values = {"cell": "rnn", "length": 200.0, "window": None, "effective_memory": 150, "vanishes_within": None}
    return {"step": step, **values, "growth": 1.0, "cut": None, "window_enough": None} | {
        "layers": [layer],
        "norms": norms,
        "spikes": [],
        **changes,
    }


def sentences(*records: dict[str, Any], facts: EncoderFacts | None = RNN) -> dict[str, str]:
    return {entry["kind"]: entry["sentence"] for entry in advise(records, facts)}


def test_where_nothing_is_wrong_only_the_memory_is_said() -> None:
    assert sentences(record(), record(100)) == {
        "memory": "95 % of the gradient is from the last 150 steps of 200; at the first step: 150"
    }


def test_a_window_that_cuts_much_is_named_with_one_that_would_not() -> None:
    cut = record(window=64, cut=0.38, window_enough=157, length=256.0)
    assert sentences(cut)["truncation"] == "truncation at 64 cuts 38 % of the gradient; 160 would cut 5 %"
    assert (
        "even 256 would cut more than 5 %: try 128, and look again"
        in sentences(record(window=64, cut=0.38, length=256.0))["truncation"]
    )
    assert "truncation" not in sentences(record(window=64, cut=0.04, window_enough=60))


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        (RNN, "try lstm or gru, or orthogonal initialisation (encoder.recurrent_init: orthogonal)"),
        (EncoderFacts("rnn", "orthogonal", None), "try lstm or gru"),
        (
            LSTM,
            "try encoder.forget_bias: 5 and encoder.input_bias: -5, or a gru with encoder.update_bias: 5, "
            "with which a unit keeps what it holds for about as long",
        ),
        (EncoderFacts("lstm", "orthogonal", 5.0), "let the head read all steps (pool: mean, or attention)"),
        (
            EncoderFacts("gru", "orthogonal", 0.0),
            "try encoder.update_bias: 5, with which a unit keeps what it holds for about as long",
        ),
        (
            EncoderFacts("gru", "uniform", 0.0),
            "try encoder.update_bias: 5, with which a unit keeps what it holds for about as long, "
            "or orthogonal initialisation (encoder.recurrent_init: orthogonal)",
        ),
        (EncoderFacts("gru", "uniform", 5.0), "try orthogonal initialisation (encoder.recurrent_init: orthogonal)"),
    ],
)
def test_a_gradient_that_vanishes_early_has_a_remedy_for_each_cell(facts: EncoderFacts, advice: str) -> None:
    advised = sentences(record(vanishes_within=9), record(100, vanishes_within=8), facts=facts)["vanishing"]
    assert advised == f"gradients vanish within 9 of 200 steps: {advice}"


def test_a_gradient_that_came_far_at_first_was_not_needed_there() -> None:
    assert "vanishing" not in sentences(record(), record(100, vanishes_within=9))
    assert "vanishing" not in sentences(record(vanishes_within=9), record(100))
    assert "vanishing" not in sentences(record(vanishes_within=60), record(100, vanishes_within=60))
    assert "vanishing" not in sentences(record(vanishes_within=2, length=12.0))


def test_one_odd_measurement_gives_no_advice() -> None:
    records = [record(step) for step in (1, 100, 200)]
    assert "growing" in sentences(record(growth=40.0))
    assert "growing" not in sentences(*records, record(300, growth=40.0))


def test_clipping_is_named_where_it_acts_on_most_steps() -> None:
    norms = {"steps": 100, "median": 3.2, "largest": 9.0, "clip": 1.0, "clipped": 0.7}
    advised = sentences(record(norms=norms), facts=None)["clipping"]
    assert advised.startswith("clipping acts on 70 % of steps (the usual norm is 3.2, the limit 1)")
    assert "clipping" not in sentences(record(norms={**norms, "clip": None, "clipped": 0.0}))
    assert "clipping" not in sentences(record(norms={**norms, "steps": 0, "clipped": None}))


def test_saturated_activations_are_named_with_their_layer() -> None:
    layers = [
        {"layer": 1, "direction": "forward", "saturated": {"input": [0.9, 0.05], "candidate": 0.2}},
        {"layer": 1, "direction": "backward", "saturated": {"input": [0.1, 0.05], "candidate": 0.7}},
    ]
    advised = sentences(record(layers=layers))
    assert advised["saturation"].startswith("70 % of the candidate activations of layer 1 (backward) are saturated")
    assert advised["memory"].startswith("95 % of the gradient is within 150 steps")


def test_a_spike_is_named_with_its_example() -> None:
    spike = {"step": 812, "norm": 41.0, "median": 3.2, "example": "train.tsv:17", "position": 12}
    other = {"step": 820, "norm": 99.0, "median": 3.2, "example": None, "position": None}
    assert sentences(record(spikes=[spike, other]))["spike"] == (
        "the gradient was 13 times its usual norm in step 812: train.tsv:17, at step 12 of it"
    )


def test_numbers_that_are_not_finite_are_texts_and_can_be_compared() -> None:
    assert "Infinity" not in sentences(record(growth="Infinity", cut="NaN", window=8))["growing"]


# ---- norms


def test_a_norm_far_above_the_median_is_a_spike_once_enough_are_known() -> None:
    norms = GradientNorms(clip=1.0)
    assert norms.add("t", 1, 100.0) is None
    for step in range(2, 20):
        assert norms.add("t", step, 1.0 + step / 100) is None
    spike = norms.add("t", 20, 50.0)
    assert spike is not None
    assert spike["step"] == 20
    assert norms.add("other", 21, 1000.0) is None
    taken = norms.take("t")
    assert taken["norms"]["steps"] == 20
    assert taken["norms"]["clipped"] == 1.0
    assert taken["norms"]["largest"] == 100.0
    assert [entry["norm"] for entry in taken["spikes"]] == [50.0]
    assert norms.take("t")["norms"]["steps"] == 0


def test_counting_goes_on_where_it_was_saved() -> None:
    one, draws = GradientNorms(0.5), [0.1 * (step % 7) + (9.0 if step == 50 else 0.0) for step in range(100)]
    two = GradientNorms(0.5)
    for step, norm in enumerate(draws):
        one.add("t", step, norm)
        two.add("t", step, norm)
        if step % 10 == 3:
            restored = GradientNorms(0.5)
            restored.restore(two.state())
            two = restored
    assert one.take("t") == two.take("t")
