"""Sentences about memory through time: what was measured, and what to try where it is short. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from seqkit.types import JSON

LOOKED_BACK = 3
"""Measurements whose median is taken, so that no sentence hangs on one batch."""
SHORT = 4
"""A gradient vanishes early if it does so within less than a fourth of a sequence."""
FEW_STEPS = 20
"""In sequences shorter than this nothing is far, and of fewer optimiser steps no share is worth a sentence."""
MUCH_CUT = 0.1
OFTEN_CLIPPED = 0.5
GROWN = 10.0
OFTEN_SATURATED = 0.5


@dataclass(frozen=True)
class EncoderFacts:
    """What a recipe says of a recurrent encoder.

    Attributes:
        cell: `rnn`, `lstm` or `gru`.
        recurrent_init: the initialiser of the recurrent weights.
        keep_bias: the initial bias of the gate that keeps the old state: `forget_bias` of an lstm, `update_bias` of a
            gru; None for an rnn.
    """

    cell: str
    recurrent_init: str
    keep_bias: float | None


def advise(records: Sequence[Mapping[str, JSON]], facts: EncoderFacts | None) -> list[dict[str, str]]:
    """The entries of `advice` for the newest of a task's records, the first sentence saying what was measured.

    Args:
        records: of one task, the oldest first, as memory.jsonl has them.
        facts: None: the encoder is none of the recurrent ones, and only norms are known.
    """
    advice = []
    if facts is not None:
        advice.append(("memory", _say_memory(records)))
        advice += [
            ("truncation", _say_truncation(records)),
            ("vanishing", _say_vanishing(records, facts)),
            ("growing", _say_growing(records)),
            ("saturation", _say_saturation(records, facts)),
        ]
    advice += [("clipping", _say_clipping(records)), ("spike", _say_spike(records))]
    return [{"kind": kind, "sentence": sentence} for kind, sentence in advice if sentence]


def _lately(records: Sequence[Mapping[str, JSON]], value: Callable[[Mapping[str, JSON]], float]) -> float:
    """The median of a number over the newest records."""
    return float(median(value(record) for record in records[-LOOKED_BACK:]))


def _number(value: JSON) -> float:
    """A number of a record; NaN and infinities are texts there, and None stands for what was not reached."""
    return math.inf if value is None else float(value)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _say_memory(records: Sequence[Mapping[str, JSON]]) -> str:
    held, length = _lately(records, lambda record: record["effective_memory"]), records[-1]["length"]
    first = records[0]["effective_memory"]
    was = f"; at the first step: {first:,}" if len(records) > 1 else ""
    ahead = any(layer["direction"] == "backward" for layer in records[-1]["layers"])
    where = "within" if ahead else "from the last"
    return f"95 % of the gradient is {where} {held:,.0f} steps of {length:,.0f}{was}"


def _say_truncation(records: Sequence[Mapping[str, JSON]]) -> str:
    window = records[-1]["window"]
    if window is None:
        return ""
    cut = _lately(records, lambda record: _number(record["cut"]))
    if cut <= MUCH_CUT:
        return ""
    enough = _lately(records, lambda record: _number(record["window_enough"]))
    if math.isinf(enough):
        length = f"{records[-1]['length']:,.0f}"
        return (
            f"truncation at {window:,} cuts {_percent(cut)} of the gradient, and even {length} would cut more than "
            f"5 %: try {2 * window:,}, and look again"
        )
    return f"truncation at {window:,} cuts {_percent(cut)} of the gradient; {_round_up(enough):,} would cut 5 %"


def _round_up(steps: float) -> int:
    """To a multiple of 8, or of 32 above 200."""
    unit = 8 if steps <= 200 else 32
    return math.ceil(steps / unit) * unit


def _say_vanishing(records: Sequence[Mapping[str, JSON]], facts: EncoderFacts) -> str:
    """Only if gradients never came far: what is far at first and near later was not needed."""
    length = records[-1]["length"]
    farthest = max(_number(record["vanishes_within"]) for record in (records[0], records[-1]))
    within = max(farthest, _lately(records, lambda record: _number(record["vanishes_within"])))
    if length < FEW_STEPS or within * SHORT > length:
        return ""
    return f"gradients vanish within {within:,.0f} of {length:,.0f} steps: {_remedy(facts, length)}"


def _remedy(facts: EncoderFacts, length: float) -> str:
    orthogonal = "orthogonal initialisation (encoder.recurrent_init: orthogonal)"
    is_orthogonal = facts.recurrent_init in ("orthogonal", "identity")
    if facts.cell == "rnn":
        return "try lstm or gru" if is_orthogonal else f"try lstm or gru, or {orthogonal}"
    bias, option = math.log(length), {"lstm": "forget_bias", "gru": "update_bias"}[facts.cell]
    if facts.keep_bias is not None and facts.keep_bias < bias - 0.5:
        keeps = ", with which a unit keeps what it holds for about as long"
        # A gru solves more of the tasks of long lags than an lstm with such biases does.
        other = f", or a gru with encoder.update_bias: {bias:.0f}" if facts.cell == "lstm" else ""
        also = f" and encoder.input_bias: {-bias:.0f}" if facts.cell == "lstm" else ""
        if facts.cell == "gru" and not is_orthogonal:
            keeps += f", or {orthogonal}"
        return f"try encoder.{option}: {bias:.0f}{also}{other}{keeps}"
    return f"try {orthogonal}" if not is_orthogonal else "let the head read all steps (pool: mean, or attention)"


def _say_growing(records: Sequence[Mapping[str, JSON]]) -> str:
    factor = _lately(records, lambda record: _number(record["growth"]))
    if factor < GROWN:
        return ""
    return f"gradients grow {factor:,.0f}-fold on the way back: set train.clip, or lower train.optimizer.lr"


def _say_saturation(records: Sequence[Mapping[str, JSON]], facts: EncoderFacts) -> str:
    """Of activations: where they are at their limits, no gradient passes. Gates are meant to open and close."""
    for layer in records[-1]["layers"]:
        for name in ("state", "candidate"):
            share = layer["saturated"].get(name, 0.0)
            if _number(share) > OFTEN_SATURATED:
                where = f"layer {layer['layer']} ({layer['direction']})"
                remedy = "try a lower train.optimizer.lr, or encoder.layer_norm: true"
                if facts.cell == "lstm" and name == "state" and (facts.keep_bias or 0.0) > 1.0:
                    remedy = f"c sums up too much; try encoder.input_bias: {-round(facts.keep_bias or 0.0)}"
                return f"{_percent(share)} of the {name} activations of {where} are saturated: {remedy}"
    return ""


def _say_clipping(records: Sequence[Mapping[str, JSON]]) -> str:
    known = [record["norms"] for record in records[-LOOKED_BACK:] if record["norms"]["steps"]]
    steps = sum(norms["steps"] for norms in known)
    if steps < FEW_STEPS or known[-1]["clip"] is None:
        return ""
    share = sum(norms["clipped"] * norms["steps"] for norms in known) / steps
    if share < OFTEN_CLIPPED:
        return ""
    usual = f"the usual norm is {known[-1]['median']:.2g}, the limit {known[-1]['clip']:g}"
    return f"clipping acts on {_percent(share)} of steps ({usual}): the limit sets the step size; raise train.clip"


def _say_spike(records: Sequence[Mapping[str, JSON]]) -> str:
    spikes = records[-1]["spikes"]
    if not spikes:
        return ""
    worst = max(spikes, key=lambda spike: (spike["example"] is not None, _number(spike["norm"])))
    times = _number(worst["norm"]) / _number(worst["median"]) if worst["median"] else math.inf
    source = "" if worst["example"] is None else f": {worst['example']}, at step {worst['position']:,} of it"
    return f"the gradient was {times:,.0f} times its usual norm in step {worst['step']:,}{source}"
