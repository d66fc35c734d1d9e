"""Streams in tests: small models, pieces of random lengths, and the comparison with `predict`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from seqkit import Field, Prediction, Task
from seqkit.encoders import lstm, none
from seqkit.inference.inputs import Input
from seqkit.inference.predict import predict_inputs
from seqkit.inference.stream import Answer, Stream
from seqkit.model import Model


def task_of(input: Field, target: Field, **changes: Any) -> Task:
    return Task(read=lambda split: iter(()), input=input, target=target, head="classify", best="min:loss", **changes)


def fitted(input: Field, values: Sequence[Any], target: Field, targets: Sequence[Any], **changes: Any) -> Any:
    """A task with fitted fields."""
    fields = input.fit(values), target.fit(targets)
    return task_of(input, target, **changes), fields[0], fields[1].of(fields[0])


def build(fields: Any, head: Any, encoder: Any = lstm, *, dim: int = 8, **encoder_options: Any) -> Model:
    torch.manual_seed(5)
    built = encoder(dim, **encoder_options) if encoder is none else encoder(dim, hidden=7, **encoder_options)
    layer = fields[1].layer(dim)
    model = Model({"t": layer}, built, {"t": head(built.out_dim, fields[2], layer)})
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def partial(factory: Any, **options: Any) -> Any:
    """A head's factory with options."""
    return lambda dim, target, layer: factory(dim, target, layer, **options)


def prediction_of(model: Model, fields: Any, value: Any) -> Prediction:
    (outcome,) = predict_inputs(model, "t", fields, [Input("whole", None, value)])
    assert outcome.prediction is not None, outcome.error
    return outcome.prediction


SIZES = (0, 1, 1, 2, 3, 7, 34)


def pieces_of(whole: Any, draw: random.Random, sizes: Sequence[int] = SIZES) -> list[Any]:
    """The whole in pieces of random lengths, among them 0 and 1."""
    pieces, start = [], 0
    while start < len(whole):
        size = draw.choice(sizes)
        pieces.append(whole[start : start + size])
        start += size
    return [*pieces, whole[:0]]


def assert_equal(actual: Any, expected: Any, *, windowed: bool = False) -> None:
    """Equal, numbers within 1e-5."""
    if isinstance(expected, Prediction):
        value, confidence = actual.value, actual.confidence
        if windowed:  # the text goes on, so the symbol after its end is predicted too
            value, confidence = value[: len(expected.value)], confidence[: len(expected.value)]
        assert_equal(value, expected.value)
        assert_equal(confidence, expected.confidence)
        assert_equal(actual.scores, expected.scores)
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_equal(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_equal(one, other)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=1e-5, rel=1e-5)
    else:
        assert actual == expected


def check_pieces(
    model: Model, fields: Any, wholes: Sequence[Any], *, seed: Any, sizes: Sequence[int] = SIZES, **options: Any
) -> None:
    """Any pieces give the predictions of the wholes; sessions are interleaved, and move to other streams on the way."""
    draw = random.Random(seed)
    by_id = {f"s{number}": whole for number, whole in enumerate(wholes)}
    todo = {id: pieces_of(whole, draw, sizes) for id, whole in by_id.items()}
    answers: dict[str, list[Answer]] = {id: [] for id in by_id}
    stream = Stream(model, "t", fields, **options)
    while any(todo.values()):
        chosen = [id for id in by_id if todo[id] and draw.random() < 0.7]
        for id, answer in stream.push_many({id: todo[id].pop(0) for id in chosen}).items():
            answers[id].append(answer)
        if draw.random() < 0.3:
            states = {id: stream.state(id) for id in stream.ids}
            stream = Stream(model, "t", fields, **options)
            for id, state in states.items():
                stream.restore(id, state)
                assert stream.state(id) == state
    for id, whole in by_id.items():
        answers[id].append(stream.close(id))
        expected = prediction_of(model, fields, whole)
        assert_equal(stream.join(answers[id]), expected, windowed=fields[0].window is not None)
    assert stream.ids == []
