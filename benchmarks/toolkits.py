"""Other toolkits as contenders of the group `training`: each as its documentation has it, of the same sizes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Prepared
from benchmarks.groups.training import TrainingCase, language

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def lightning(case: str) -> Prepared:
    """The same model as the hand-written loop, in a LightningModule."""
    import logging
    import warnings

    import lightning as L
    import numpy as np
    import torch
    from torch import nn

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    setup = TrainingCase(case)
    batches, weights = setup.batches(), setup.model().state_dict()

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            parameters, self.loss_of = language(weights, setup, nn.GRU)
            self.weights_to_train = nn.ParameterList(parameters)

        def training_step(self, batch: Any, number: int) -> Tensor:
            loss: Tensor = self.loss_of(batch)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.weights_to_train, lr=1e-3, fused=True)

    class Batches(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(batches)

    def run() -> None:
        trainer = L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=1.0,
        )
        trainer.fit(Module(), torch.utils.data.DataLoader(Batches(), batch_size=None))

    def outputs() -> Mapping[str, Any]:
        module = Module()
        with torch.no_grad():
            return {"losses": np.array([float(module.loss_of(batch)) for batch in batches[:3]])}

    return Prepared(run, outputs, {})


def keras_jax(case: str) -> Prepared:
    return keras("jax", case)


def keras_torch(case: str) -> Prepared:
    return keras("torch", case)


def keras(backend: str, case: str) -> Prepared:
    """Embedding with a mask, a bidirectional LSTM, a dense layer, by `fit`. Widths are rounded up to multiples of 8,
    as the compiled backend is advised to be given few shapes."""
    import os

    os.environ["KERAS_BACKEND"] = backend
    import keras as k
    import numpy as np

    setup = TrainingCase(case)
    weights = {name: value.numpy() for name, value in setup.model().state_dict().items()}
    data = []
    for batch in setup.batches():
        x = np.zeros((batch.size, -(-batch.x.shape[1] // 8) * 8), dtype=np.int32)
        x[:, : batch.x.shape[1]] = batch.x.numpy()
        assert batch.y is not None
        data.append((x, batch.y.numpy()))

    class Batches(k.utils.PyDataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, number: int) -> Any:
            return data[number]

    def direction_weights(number: int) -> list[Any]:
        prefix = f"encoder.cells.{number}."
        bias = weights[prefix + "bias_ih_l0"] + weights[prefix + "bias_hh_l0"]
        return [weights[prefix + "weight_ih_l0"].T, weights[prefix + "weight_hh_l0"].T, bias]

    def build() -> Any:
        table = weights[f"layers.{setup.name}.weight"]
        model = k.Sequential(
            [
                k.layers.Embedding(table.shape[0], table.shape[1], mask_zero=True),
                k.layers.Bidirectional(k.layers.LSTM(128)),
                k.layers.Dense(len(weights[f"heads.{setup.name}.out.bias"])),
            ]
        )
        model.build((None, None))
        head = f"heads.{setup.name}.out."
        model.set_weights(
            [table, *direction_weights(0), *direction_weights(1), weights[head + "weight"].T, weights[head + "bias"]]
        )
        model.compile(
            optimizer=k.optimizers.AdamW(1e-3, weight_decay=0.01, global_clipnorm=1.0),
            loss=k.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    model = build()  # compiled once: its shapes are what the first round pays for

    def run() -> None:
        model.fit(Batches(), epochs=1, shuffle=False, verbose=0)

    def outputs() -> Mapping[str, Any]:
        untrained = build()
        return {"losses": np.array([float(untrained.test_on_batch(x, y)) for x, y in data[:3]])}

    return Prepared(run, outputs, {})


def flair(case: str) -> Prepared:
    """Flair by its own trainer, with all left out that can be: evaluation, saves, logs, the annealing of its rate."""
    import torch
    from flair.data import Corpus
    from flair.trainers import ModelTrainer

    make, batches = _flair(case)
    corpus = Corpus([sentence for batch in batches for sentence in batch], sample_missing_splits=False)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            ModelTrainer(make(), corpus).train(
                folder,
                learning_rate=1e-3,
                mini_batch_size=32,
                max_epochs=1,
                optimizer=torch.optim.AdamW,
                max_grad_norm=1.0,
                shuffle=False,
                embeddings_storage_mode="none",
                save_final_model=False,
                create_file_logs=False,
                create_loss_file=False,
                attach_default_scheduler=False,
            )

    return Prepared(run, None, {})


def flair_loop(case: str) -> Prepared:
    """Flair's tagger in the hand-written loop of the other contenders."""
    import torch
    from flair.training_utils import store_embeddings

    make, batches = _flair(case)

    def run() -> None:
        tagger = make()
        parameters = list(tagger.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
        tagger.train()
        for batch in batches:
            loss, count = tagger.forward_loss(batch)
            (loss / count).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            store_embeddings(batch, "none")

    return Prepared(run, None, {})


def _flair(case: str) -> tuple[Callable[[], Any], list[list[Any]]]:
    """What makes a tagger of Flair's of the same sizes, its words in a trained table and without its dropouts; and the
    batches, whose `Sentence` objects are made before the clock starts. Its chain has a start and a stop tag and its
    first weights are its own, so that there is nothing to compare."""
    import logging

    from flair.data import Dictionary, Sentence
    from flair.embeddings import OneHotEmbeddings
    from flair.models import SequenceTagger

    from seqkit.spans import spans_of

    logging.getLogger("flair").setLevel(logging.ERROR)
    setup = TrainingCase(case)
    words, types, counts, sentences = Dictionary(), Dictionary(add_unk=False), Counter[str](), {}
    types.span_labels = True
    for example in setup.task_data.task.read("train"):
        sentence = Sentence(list(example.input))
        for label, start, stop in spans_of(example.target, "iob2"):
            sentence[start:stop].add_label("ner", label)
            types.add_item(label)
        counts.update(example.input)
        sentences[example.id] = sentence
    table = setup.model().state_dict()[f"layers.{setup.name}.weight"]
    for word, _ in counts.most_common(len(table) - 1):
        words.add_item(word)

    def make() -> Any:
        return SequenceTagger(
            OneHotEmbeddings(words, embedding_length=128),
            types,
            "ner",
            hidden_size=128,
            reproject_embeddings=False,
            word_dropout=0.0,
            locked_dropout=0.0,
        )

    return make, [[sentences[name] for name in batch.ids] for batch in setup.batches()]


def ludwig(case: str) -> Prepared:
    """A model of Ludwig's of the same sizes and optimiser, from its own first weights, over its own batches.

    Its data are made ready before the clock starts, and all that its training can leave out (evaluation, logs, saves)
    is left out.
    """
    import logging
    import os
    import warnings

    warnings.simplefilter("ignore")
    import pandas
    from ludwig.api import LudwigModel

    setup = TrainingCase(case)
    examples = list(setup.task_data.task.read("train"))
    table = pandas.DataFrame({"text": [e.input for e in examples], "label": [str(e.target) for e in examples]})
    encoder = {
        "type": "rnn",
        "cell_type": "lstm",
        "bidirectional": True,
        "state_size": 128,
        "embedding_size": 128,
        "num_layers": 1,
        "num_fc_layers": 0,
        "dropout": 0.0,
        "reduce_output": "last",
    }
    config = {
        "input_features": [
            {
                "name": "text",
                "type": "text",
                "preprocessing": {"tokenizer": "space", "lowercase": False},
                "encoder": encoder,
            }
        ],
        "output_features": [{"name": "label", "type": "category"}],
        "combiner": {"type": "concat", "num_fc_layers": 0},
        "trainer": {
            "epochs": 1,
            "batch_size": setup.recipe.train.batch,
            "optimizer": {"type": "adamw", "lr": 1e-3},
            "skip_all_evaluation": True,
        },
        "preprocessing": {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}},
    }

    def make_model() -> Any:
        return LudwigModel(config, logging_level=logging.ERROR, backend="local")

    os.chdir(tempfile.mkdtemp())  # it leaves a lock where it stands
    dataset = make_model().preprocess(dataset=table, skip_save_processed_input=True)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            make_model().train(
                training_set=dataset.training_set,
                training_set_metadata=dataset.training_set_metadata,
                output_directory=folder,
                **{f"skip_save_{file}": True for file in LUDWIG_SAVES},
            )

    return Prepared(run, None, {})


LUDWIG_SAVES = ("training_description", "training_statistics", "model", "progress", "log", "processed_input")
