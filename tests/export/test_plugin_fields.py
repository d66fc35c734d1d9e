"""Input layers of the plugins that come with seqkit, with all their options, and words with vectors from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from seqkit_genome.alphabet import encode
from seqkit_genome.fields import Bases, Kmers
from seqkit_genome.options import Scan, Spelling
from seqkit_speech.fields import Waveform
from seqkit_speech.options import FrameOptions

from seqkit import encoders, heads
from seqkit.export import onnx_file, parity
from seqkit.export.program import ROWS, STEPS, record_model, to_torch_operations
from seqkit.fields import Words
from seqkit.model import Model
from seqkit.types import Field
from tests.export.test_options import LABEL
from tests.helpers.sound import needs_audio
from tests.helpers.word_vectors import TEXTS, write_vectors

pytest.importorskip("onnxruntime")

FEATURES = [("The", "DT", "1"), ("dog", "NN", "0")]
DNA = ["ACGTACGTNNACGGT", "TTTACGacgtR"]


def waveform(options: FrameOptions) -> Field:
    generator = np.random.default_rng(0)
    return Waveform(8000, frames=options).fit([generator.normal(size=900) * 0.1, generator.normal(size=2000) * 0.1])


FIELDS: dict[str, Callable[[Path], Field]] = {
    "mfcc, deltas of deltas, stack of three": lambda folder: waveform(
        FrameOptions(features="mfcc", bands=20, coefficients=7, deltas=2, normalise="none", stack=3)
    ),
    "filters, deltas, normalised by clip": lambda folder: waveform(
        FrameOptions(bands=12, filters=(3, 4), deltas=1, stack=2)
    ),
    "normalised by the training data": lambda folder: waveform(FrameOptions(bands=12, normalise="training")),
    "letters, both strands, scanners that pool": lambda folder: Bases(
        Spelling(case="keep"), probabilities=False, strands="both", scan=Scan(width=4, filters=5, pool=3), middle=2
    ),
    "probabilities": lambda folder: Bases(middle=40),
    "k-mers with a stride, the mean of both strands": lambda folder: Kmers(
        k=3, stride=2, strands="average", scan=Scan(width=3)
    ).fit(DNA),
    "word vectors that are not trained": lambda folder: Words(
        characters="conv", char_hidden=4, vectors=write_vectors(folder), tune=False
    ).fit(TEXTS),
    "word vectors of both kinds, unknown words by their characters": lambda folder: Words(
        characters="conv", char_hidden=4, vectors=write_vectors(folder), tune="both", unknown_as="characters"
    ).fit(TEXTS),
    "words with features": lambda folder: Words(features=2, characters="none", feature_dim=1).fit([FEATURES] * 2),
    "word vectors that are trained": lambda folder: Words(characters="none", vectors=write_vectors(folder)).fit(TEXTS),
}
QUICK = ("filters, deltas, normalised by clip",)


def tiny_model(field: Field) -> Model:
    torch.manual_seed(2)
    layer = field.layer(6)
    model = Model({"task": layer}, encoders.gru(6, hidden=5), {"task": heads.classify(5, LABEL, layer, pool="mean")})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
            if name.endswith("letters.weight"):
                parameter[0] = 0.0  # padding, whose vector is not trained
    return model.eval()


@needs_audio
@pytest.mark.parametrize(
    ("name", "to"),
    [
        pytest.param(name, to, marks=pytest.mark.slow if to == "onnx" and name not in QUICK else [])
        for name in FIELDS
        for to in ("torch", "onnx")
    ],
)
def test_the_input_layer_agrees(name: str, to: str, tmp_path: Path) -> None:
    field = FIELDS[name](tmp_path)
    model = tiny_model(field)
    recording = record_model(model, "task", *parity.draw_batch(field, ROWS, STEPS, np.random.default_rng(3)))
    if to == "onnx":
        run = onnx_file.Session(onnx_file.to_onnx(recording).SerializeToString()).run
    else:
        run = parity.torch_runner(to_torch_operations(recording.program), recording)
    assert parity.compare_model(model, "task", field, recording, run) <= parity.TOLERANCE


def test_samples_are_what_fields_encode(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for field_of in FIELDS.values():
        field = field_of(tmp_path)
        sample = field.sample(generator, 9)
        assert len(sample) == 9
        words = FEATURES if getattr(field, "features", 0) else TEXTS[0]
        value = {"Waveform": np.zeros(700), "Words": words}.get(type(field).__name__, DNA[0])
        assert sample.shape[1:] == field.encode(value).shape[1:]
    codes = Bases(Spelling(case="keep")).describe()["codes"]
    assert [codes[letter] for letter in "ACGTacgtN"] == encode("ACGTacgtN", case="keep").tolist()
