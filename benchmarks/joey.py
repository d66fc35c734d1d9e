"""JoeyNMT as a contender of the group `translation`: its own model and search, of the same sizes and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Prepared
from benchmarks.groups.training import loop
from benchmarks.groups.translation import DROPOUT, LIMIT, TRAINING, TranslationCase, compared, search_of
from seqkit.types import END, PAD, START, UNKNOWN

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seqkit.interfaces import Batch

SPECIAL = {
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": None,
    "unk_id": 0,
    "pad_id": 1,
    "bos_id": START,
    "eos_id": END,
    "sep_id": None,
    "lang_tags": [],
}
"""What its vocabularies take from a configuration."""


def joey(case: str, **sizes: int) -> Prepared:
    setup = TranslationCase(case, **sizes)
    if case not in TRAINING:
        return joey_search(setup)
    # Made before the clock starts, as the batches of the others are.
    batches = {tuple(batch.ids): joey_batch(batch) for batch in setup.batches()}

    def loss_of(model: nn.Module, batch: Batch) -> Tensor:
        converted = batches[tuple(batch.ids)]
        total: Tensor = model(return_type="loss", **vars(converted))[0]
        return total / converted.ntokens

    def make(weights: Mapping[str, Tensor]) -> Any:
        model = joey_model(setup, weights).train()
        return list(model.parameters()), lambda batch: loss_of(model, batch)

    def outputs() -> Mapping[str, Any]:
        model = joey_model(setup, setup.model().state_dict()).eval()
        return compared(lambda batch: loss_of(model, batch), names(setup, model), setup)

    return dataclasses.replace(loop(setup, make), outputs=outputs)


def joey_search(setup: TranslationCase) -> Prepared:
    """By its own search, with the weights that seqkit searches with."""
    from joeynmt.search import search

    trained, batches = setup.trained(), setup.dev_batches()
    model = joey_model(setup, trained.state_dict()).eval()
    converted = [joey_batch(batch, has_target=False) for batch in batches]
    beams = 1 if setup.case == "greedy" else 5

    def write() -> list[Any]:
        return [
            search(model, batch, max_output_length=LIMIT + 1, beam_size=beams, beam_alpha=1.0)[0] for batch in converted
        ]

    def symbols() -> list[list[list[int]]]:
        texts_of_batches = []
        for batch, rows in zip(converted, write(), strict=True):
            texts: list[list[int]] = [[] for _ in rows]
            for place, row in zip(batch.indices.tolist(), rows.tolist(), strict=True):
                texts[place] = [*row[: row.index(END) if END in row else LIMIT], END]
            texts_of_batches.append(texts)
        return texts_of_batches

    def run() -> None:
        write()

    return search_of(setup, trained, batches, symbols, run)


def joey_batch(batch: Batch, *, has_target: bool = True) -> Any:
    """The longest input first, as its encoder needs it; `indices` says where each row was."""
    import torch
    from joeynmt.batch import Batch as JoeyBatch

    order = batch.lengths.argsort(descending=True, stable=True)
    target = None
    if has_target:
        assert batch.y is not None
        target = torch.cat([torch.full_like(batch.y[:, :1], START), batch.y], dim=1)[order]
    return JoeyBatch(
        src=batch.x[order],
        src_length=batch.lengths[order],
        src_prompt_mask=None,
        trg=target,
        trg_prompt_mask=None,
        indices=order,
        device=torch.device("cpu"),
        pad_index=PAD,
        eos_index=END,
    )


def joey_model(setup: TranslationCase, weights: Mapping[str, Tensor]) -> Any:
    """Built by its own builder from a configuration; then it gets the weights."""
    import torch
    from joeynmt.model import build_model
    from joeynmt.vocabulary import Vocabulary

    prefix = f"heads.{setup.name}.decoder."
    inside, outside = (0.2, 0.3) if setup.case == DROPOUT else (0.0, 0.0)
    vocabularies = []
    for table in (weights[f"layers.{setup.name}.weight"], weights[f"{prefix}embedding.weight"]):
        special = {
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "sep_token": None,
        }
        ids = {"unk_id": 0, "pad_id": 1, "bos_id": START, "eos_id": END, "sep_id": None, "lang_tags": []}
        vocabulary = Vocabulary([f"w{n}" for n in range(4, len(table))], SimpleNamespace(**special, **ids))
        vocabulary.pad_index, vocabulary.unk_index = PAD, UNKNOWN  # ours are the other way round
        vocabularies.append(vocabulary)
    width = weights[f"layers.{setup.name}.weight"].shape[1]
    embeddings = {"embedding_dim": width, "dropout": inside}
    config = {
        "encoder": {
            "type": "recurrent",
            "rnn_type": "lstm",
            "embeddings": embeddings,
            "hidden_size": width,
            "bidirectional": True,
            "num_layers": 1,
        },
        "decoder": {
            "type": "recurrent",
            "rnn_type": "lstm",
            "embeddings": embeddings,
            "hidden_size": weights[f"{prefix}cells.0.weight_hh_l0"].shape[1],
            "num_layers": 1,
            "attention": "luong",
            "input_feeding": True,
            "init_hidden": "bridge",
            "hidden_dropout": outside,
        },
    }
    model = build_model(config, *vocabularies)
    model.loss_function = ("crossentropy", 0.0)
    with torch.no_grad():
        for name, parameter in names(setup, model).items():
            parameter.copy_(weights[name])
        decoder = model.decoder
        for name, parameter in decoder.bridge_layer.named_parameters():
            parameter.copy_(weights[f"{prefix}bridge.{name}"][: decoder.hidden_size])
        context, query = weights[f"{prefix}readout.weight"].split([2 * width, decoder.hidden_size], dim=1)
        decoder.att_vector_layer.weight.copy_(torch.cat([query, context], dim=1))
    return model


def names(setup: TranslationCase, model: Any) -> dict[str, nn.Parameter]:
    """Parameters that are laid out as seqkit's are, by its names."""
    prefix, decoder = f"heads.{setup.name}.decoder.", model.decoder
    named = {
        f"layers.{setup.name}.weight": model.src_embed.lut.weight,
        f"{prefix}embedding.weight": model.trg_embed.lut.weight,
        f"{prefix}weight": decoder.output_layer.weight,
        f"{prefix}attention.key.weight": decoder.attention.key_layer.weight,
        f"{prefix}readout.bias": decoder.att_vector_layer.bias,
        **{f"{prefix}cells.0.{name}": parameter for name, parameter in decoder.rnn.named_parameters()},
    }
    for name, parameter in model.encoder.rnn.named_parameters():
        direction = int(name.endswith("_reverse"))
        named[f"encoder.cells.{direction}.{name.removesuffix('_reverse')}"] = parameter
    return named
