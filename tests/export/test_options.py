"""Every option of encoders, heads and input fields is exported to ONNX and to torch, and gives seqkit's numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from seqkit import encoders, heads
from seqkit.export import onnx_file, parity
from seqkit.export.program import ROWS, STEPS, Recording, record_model, record_step, to_torch_operations
from seqkit.fields import Label, Labels, Next, Tags, Text, Tokens, Values, Vectors, Words
from seqkit.heads.seq2seq import Seq2Seq
from seqkit.model import Model
from seqkit.types import Field

TOKENS = Tokens("characters").fit(["abcdefgh"])
LABEL = Label().fit(["a", "b", "c"])
TAGS = Tags(scheme="iob2").fit([["B-x", "I-x", "O", "B-y"]])
TEXT = Text("characters").fit(["abcd"])
SENTENCES = [["Anna", "sees", "a", "tree"], ["Anna", "and", "a", "17"], ["tree", "and", "trees"]]

CASES: dict[str, tuple[Field, Callable[[], Any], Callable[..., Any]]] = {
    "rnn relu, learned initial state": (
        TOKENS,
        lambda: encoders.rnn(6, hidden=5, nonlinearity="relu", initial="learned", bidirectional=True),
        lambda dim, layer: heads.classify(dim, LABEL, layer, pool="mean"),
    ),
    "lstm with all options": (
        Vectors(4),
        lambda: encoders.lstm(
            6, hidden=3, layers=3, bidirectional=True, residual=True, layer_norm=True, dropout=0.2, initial="learned"
        ),
        lambda dim, layer: heads.classify(dim, Labels().fit([["a", "b"]]), layer, pool="attention", dropout=0.1),
    ),
    "gru with highway gates": (
        Vectors(4),
        lambda: encoders.gru(6, hidden=3, layers=2, bidirectional=True, highway=True, layer_norm=True),
        lambda dim, layer: heads.classify(dim, LABEL, layer, pool="mean"),
    ),
    "tdnn with highway gates": (
        Vectors(4),
        lambda: encoders.tdnn(6, hidden=5, layers=2, highway=True),
        lambda dim, layer: heads.tag(dim, TAGS, layer),
    ),
    "gru, crf": (
        Words(characters="lstm", char_hidden=4, drop=0.1).fit(SENTENCES),
        lambda: encoders.gru(8, hidden=5, bidirectional=True, input_dropout=0.1, locked=True),
        lambda dim, layer: heads.crf(dim, TAGS, layer),
    ),
    "no encoder, tag": (
        Words(characters="conv", char_hidden=4).fit(SENTENCES),
        lambda: encoders.none(8),
        lambda dim, layer: heads.tag(dim, TAGS, layer),
    ),
    "language with tied weights": (
        TOKENS,
        lambda: encoders.lstm(6, hidden=5, layers=2, initial="learned"),
        lambda dim, layer: heads.language(dim, Next().of(TOKENS), layer, tied=True),
    ),
    "language, adaptive softmax": (
        TOKENS,
        lambda: encoders.rnn(6, hidden=5),
        lambda dim, layer: heads.language(dim, Next().of(TOKENS), layer, softmax="adaptive", cutoffs=[5, 8]),
    ),
    "classify at every step, maximum": (
        TOKENS,
        lambda: encoders.gru(6, hidden=5),
        lambda dim, layer: heads.classify(dim, LABEL, layer, pool="max", every_step=True),
    ),
    "classify at every step, attention": (
        TOKENS,
        lambda: encoders.lstm(6, hidden=5),
        lambda dim, layer: heads.classify(dim, LABEL, layer, pool="attention", every_step=True),
    ),
    "regress": (
        Words(characters="none").fit(SENTENCES),
        lambda: encoders.gru(6, hidden=5, residual=True),
        lambda dim, layer: heads.regress(dim, Values(2).fit([[1, 2], [3, 5]]), layer, loss="gaussian"),
    ),
    "ctc": (
        Vectors(4),
        lambda: encoders.rnn(6, hidden=5, layers=2),
        lambda dim, layer: heads.ctc(dim, TEXT, layer),
    ),
    "attend with all options": (
        TOKENS,
        lambda: encoders.lstm(6, hidden=5, bidirectional=True),
        lambda dim, layer: heads.attend(
            dim, TEXT, layer, hidden=6, attention="additive", input_feeding=True, coverage=1.0, layers=2, tied=True
        ),
    ),
    "generate": (
        TOKENS,
        lambda: encoders.none(6),
        lambda dim, layer: heads.generate(dim, TEXT, layer, cell="gru", hidden=7),
    ),
}


def tiny_model(name: str) -> tuple[Model, Field]:
    """The model of a case, with weights that are all different from zero."""
    field, encoder_of, head_of = CASES[name]
    torch.manual_seed(1)
    encoder = encoder_of()
    layer = field.layer(8 if isinstance(field, Words) and field.characters != "none" else 6)
    model = Model({"task": layer}, encoder, {"task": head_of(encoder.out_dim, layer)}).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
            if parameter_name.endswith("letters.weight"):
                parameter[0] = 0.0  # padding, whose vector is not trained
    return model, field


QUICK = ("lstm with all options", "gru, crf", "attend with all options")
"""The cases that the default tests export to ONNX; the others are slow, because torch takes seconds for each."""


def recordings(model: Model, field: Field) -> Iterator[tuple[Recording, Callable[..., float]]]:
    """What an export records, and what compares it with the model."""
    head = model.head("task")
    x, lengths = parity.draw_batch(field, ROWS, STEPS, np.random.default_rng(3))
    yield record_model(model, "task", x, lengths), parity.compare_model
    if isinstance(head, Seq2Seq):
        with torch.no_grad():
            carried = {name: tensor for name, tensor in model(x, lengths).items() if name != "output_lengths"}
        yield record_step(head, carried), parity.compare_step


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_onnx_agrees(name: str) -> None:
    model, field = tiny_model(name)
    for recording, compare in recordings(model, field):
        proto = onnx_file.to_onnx(recording)
        assert {node.domain for node in proto.graph.node} <= {""}
        run = onnx_file.Session(proto.SerializeToString()).run
        assert compare(model, "task", field, recording, run) <= parity.TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_torch_export_agrees(name: str) -> None:
    model, field = tiny_model(name)
    for recording, compare in recordings(model, field):
        file = io.BytesIO()
        torch.export.save(to_torch_operations(recording.program), file)
        program = torch.export.load(io.BytesIO(file.getvalue()))
        assert not [node for node in program.graph.nodes if "seqkit" in str(node.target)]
        assert compare(model, "task", field, recording, parity.torch_runner(program, recording)) <= parity.TOLERANCE


def test_a_wrong_model_is_noticed() -> None:
    model, field = tiny_model("ctc")
    x, lengths = parity.draw_batch(field, ROWS, STEPS, np.random.default_rng(3))
    recording = record_model(model, "task", x, lengths)
    run = parity.torch_runner(to_torch_operations(recording.program), recording)
    with torch.no_grad():
        # One weight of the second layer: it is the same tensor in the program, so the comparison is with a copy.
        other, _ = tiny_model("ctc")
        next(other.encoder.parameters()).view(-1)[0] += 1e-3
    assert parity.compare_model(model, "task", field, recording, run) <= parity.TOLERANCE
    assert parity.compare_model(other, "task", field, recording, run) > parity.TOLERANCE
