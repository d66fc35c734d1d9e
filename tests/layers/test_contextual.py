"""Contextual string embeddings: each word has what language models of characters say when they have read it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import recipe as recipes
from seqkit.errors import DataError, UsageError
from seqkit.experiments.run_recipe import run_recipe
from seqkit.fields import Words
from seqkit.fields.character_model import read_models
from seqkit.inference.stream_model import StreamModel
from seqkit.interfaces import Batch
from seqkit.layers.words import WordLayer
from seqkit.model import Model, load_model, make_ensemble
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.verification.recipe_contracts import prove

SENTENCES = [
    ["Anna", "Meyer", "lives", "in", "Berlin", "."],
    ["a"],
    ["What", "an", "extraordinarily-long-word-with-hyphens", "!"],
    ["Zürich", "🙂", "x"],  # characters that the models do not know
]
FEW = ("tasks.sentiment.sizes=[20,9,9]",)
SMALL = ("encoder.dim=8", "train.steps=3", "train.batch=4", "train.log_every=1", "expect={}")


def train(name: str, folder: Path, *sets: str) -> Path:
    checked = recipes.load(name, (*SMALL, *sets))
    with Progress(quiet=True) as progress:
        run_recipe(checked, Run.create(name, text=checked.text, resolved=checked.resolved(), out=folder), progress)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A language model of each direction, with two layers."""
    place = tmp_path_factory.mktemp("models")
    sets = ("encoder.layers=2", "encoder.hidden=12", "encoder.dropout=0.5", "encoder.output_dropout=0.5")
    return [
        train("charlm", place / f"backwards-{backwards}", *sets, f"tasks.charlm.backwards={backwards}")
        for backwards in ("false", "true")
    ]


@pytest.fixture(scope="module")
def tagger(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = ",".join(map(str, models))
    sets = ("tasks.ner.sizes=[40,12,12]", "tasks.ner.char_hidden=4", f"tasks.ner.contextual=[{folders}]")
    folder = tmp_path_factory.mktemp("tagger") / "run"
    return train("ner", folder, *sets, "encoder.hidden=8", "train.average=0.9", "train.optimizer.weight_decay=0.1")


@pytest.fixture
def layer(models: list[Path]) -> tuple[Words, WordLayer]:
    field = Words(characters="none", contextual=tuple(models), max_word=20).fit(SENTENCES[:3])
    made = field.layer(8)
    assert isinstance(made, WordLayer)
    made.start()
    return field, made.eval()


def slow_twin(sentence: list[str], folders: list[Path], longest: int) -> Tensor:
    """(T, H of all models): the text of one sentence through each whole model, its places counted in Python."""
    cut = [
        word if len(word) <= longest else word[: longest - longest // 2] + word[-(longest // 2) :] for word in sentence
    ]
    text = "\n" + " ".join(cut) + "\n"
    columns = []
    for folder in folders:
        model, recipe, tasks = load_model(folder)
        vocabulary = tasks["charlm"][1].vocabulary
        is_backwards = recipe.tasks["charlm"].options["backwards"]
        places, end = [], 0
        for word in cut:
            begin, end = end, end + 1 + len(word)
            places.append(len(text) - 1 - begin if is_backwards else end)
        order = text[::-1] if is_backwards else text
        ids = torch.tensor([[vocabulary.index(c) if c in vocabulary else 1 for c in order]])
        lengths = torch.tensor([len(text)])
        steps = model.eval().encoder(model.layer("charlm")(ids, lengths)[0], lengths).steps
        columns.append(steps[0, places])
    return torch.cat(columns, dim=1).detach()


def padded(rows: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(B, T, columns), and (B,) lengths."""
    tensors = [torch.from_numpy(row.astype(np.int64)) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), torch.tensor([len(row) for row in rows])


def read(field: Words, layer: WordLayer, sentences: list[list[str]]) -> list[Tensor]:
    """The contextual vectors of each sentence, read together."""
    assert layer.strings is not None
    x, lengths = padded([field.encode(sentence) for sentence in sentences])
    vectors = layer.strings(x[..., layer.first_letter : layer.columns], lengths)
    return [vectors[i, :length] for i, length in enumerate(lengths.tolist())]


def test_vectors_are_those_of_the_models_alone(layer: tuple[Words, WordLayer], models: list[Path]) -> None:
    field, made = layer
    for sentence, vectors in zip(SENTENCES, read(field, made, SENTENCES), strict=True):
        expected = slow_twin(sentence, models, field.spelled)
        assert vectors.shape == (len(sentence), 24)
        assert torch.allclose(vectors, expected, atol=1e-6), sentence


def test_kept_vectors_are_those_that_were_computed(layer: tuple[Words, WordLayer]) -> None:
    field, made = layer
    first = read(field, made, SENTENCES)
    assert made.strings is not None
    assert len(made.strings._kept.vectors) == len(SENTENCES)
    again = read(field, made, [*SENTENCES[2:], ["new"], *SENTENCES[:2]])
    for before, after in zip([*first[2:], *first[:2]], [*again[:2], *again[3:]], strict=True):
        assert torch.equal(before, after)
    assert not copy.deepcopy(made).strings._kept.vectors  # type: ignore[union-attr]
    made.strings.load(0, *[module.state_dict() for module in (made.strings.layers[0], made.strings.encoders[0])])
    assert not made.strings._kept.vectors


def test_a_gpu_reads_longer_texts_to_the_same_vectors(layer: tuple[Words, WordLayer]) -> None:
    """There the length of a text is not known, so that all are as long as they can be."""
    field, made = layer
    assert made.strings is not None
    rows, _ = padded([field.encode(SENTENCES[0])])
    letters = rows[..., made.first_letter : made.columns]
    wider = torch.nn.functional.pad(letters, (0, 0, 0, 3))
    assert torch.allclose(made.strings.read(wider)[:, :6], made.strings.read(letters), atol=1e-6)


def test_the_models_are_not_trained_and_draw_no_dropout(tagger: Path, models: list[Path]) -> None:
    model, _, tasks = load_model(tagger)
    strings = model.layer("ner").strings
    for folder, layer, encoder in zip(models, strings.layers, strings.encoders, strict=True):
        trained = load_model(folder)[0]
        for ours, theirs in ((layer, trained.layer("charlm")), (encoder, trained.encoder)):
            assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert not model.train().layer("ner").strings.encoders[0].training
    assert len(tasks["ner"][1].models) == 2


def test_a_model_does_not_need_the_folders(tagger: Path, models: list[Path], tmp_path: Path) -> None:
    field: Words = load_model(tagger)[2]["ner"][1]
    moved = [folder.rename(tmp_path / folder.name) for folder in models]
    try:
        model, _, _ = load_model(tagger)
        batch = Batch(*padded([field.encode(sentence) for sentence in SENTENCES]))
        assert len(model.predict("ner", batch, model.encode("ner", batch))) == len(SENTENCES)
    finally:
        for place, folder in zip(moved, models, strict=True):
            place.rename(folder)


def test_answers_do_not_depend_on_padding_or_batch(tagger: Path) -> None:
    results = list(prove(tagger))
    assert len(results) > 8
    assert [str(result) for result in results if not result.passed] == []


def test_it_says_why_it_cannot_stream(tagger: Path) -> None:
    model: Model = load_model(tagger)[0]
    with pytest.raises(UsageError, match="needs the whole sequence: language models read"):
        StreamModel(model, "ner", look_ahead=2)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda models, place: [place / "nothing"], "there is no trained model"),
        (
            lambda models, place: [train("sentiment", place / "s", "tasks.sentiment.sizes=[20,9,9]")],
            "is not a language",
        ),
        (
            lambda models, place: [models[0], train("charlm", place / "l", "tasks.charlm.lower=true")],
            "knows other characters than",
        ),
        (
            lambda models, place: [train("charlm", place / "t", "encoder={use: tdnn, dim: 8, causal: true}")],
            "has the encoder tdnn",
        ),
    ],
    ids=["no model", "no language model", "other characters", "no recurrent encoder"],
)
def test_what_does_not_fit_is_told(make, sentence: str, models: list[Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=sentence):
        read_models(make(models, tmp_path))


@pytest.mark.parametrize("name", ["fields.json", "recipe.yaml", "model.safetensors"])
def test_a_damaged_model_is_refused_by_the_name_of_the_file(name: str, models: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models[0] / "model", folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name}: is missing or damaged"):
        read_models([folder])
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: is missing or damaged"):
        read_models([folder])


def test_an_ensemble_is_refused(models: list[Path], tmp_path: Path) -> None:
    """Its folder has the files of a model, which are those of its first member alone."""
    make_ensemble([models[0], models[0]], tmp_path / "both")
    with pytest.raises(DataError, match="is an ensemble; name one of the runs"):
        read_models([tmp_path / "both"])
