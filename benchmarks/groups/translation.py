"""A training step of a decoder with attention, and its search: German to English, beside a loop by hand and JoeyNMT."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Case, Contender, Group, Prepared, Target
from benchmarks.groups.training import TrainingCase, bilstm, load, loop, whole_loop

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seqkit.interfaces import Batch

RECIPE = """seed: 1
tasks:
  translation:
    source: multi30k
    pair: [de, en]
    input_unit: pieces
    target_unit: pieces
    pieces: 8000
    lower: true
    drop: 0.0
    head: {{use: attend, hidden: {wide}, embedding: {narrow}, max_length: {limit}, {head}}}
encoder: {{use: lstm, dim: {narrow}, hidden: {narrow}, bidirectional: true{encoder}}}
train: {{steps: {steps}, batch: {batch}, histograms: false, log_every: 100}}
"""
FEEDING, DROPOUT, FORCED = "input feeding", "input feeding, dropout", "no input feeding"
HEADS = {
    FEEDING: "input_feeding: true",
    DROPOUT: "input_feeding: true, dropout: 0.3, input_dropout: 0.2",
    FORCED: "tied: true, dropout: 0.3, input_dropout: 0.2, label_smoothing: 0.1",
    "greedy": "input_feeding: true, search: greedy",
    "beam 5": "input_feeding: true, beams: 5, alpha: 1.0",
}
TRAINING = (FEEDING, DROPOUT, FORCED)
SIZES = {"wide": 512, "narrow": 256, "steps": 10, "batch": 64}
SMALL = {"wide": 64, "narrow": 32, "steps": 2, "batch": 8}
LIMIT = 60
"""Most symbols of a text, its end not counted."""

STEPS_BEFORE_SEARCH, SEARCHED = 200, 4
"""Steps after which texts end where sentences do, and batches of the dev split that are translated."""


class TranslationCase(TrainingCase):
    """Multi30k and a model whose numbers every contender can have as its own.

    JoeyNMT starts the state and the memory of an LSTM by the same numbers and has no bias for its symbols, so that in
    the first weights both halves of what computes them are equal; the biases are 0 anyway.
    """

    def __init__(self, case: str, **sizes: int) -> None:
        with_dropout = ", input_dropout: 0.2, output_dropout: 0.3" if case in (DROPOUT, FORCED) else ""
        # The loop evaluates at its end, which is not counted: there, texts are short.
        head, limit = (f"{HEADS[case]}, search: greedy", 5) if case in TRAINING else (HEADS[case], LIMIT)
        super().__init__(case, RECIPE.format(head=head, encoder=with_dropout, limit=limit, **sizes))

    def model(self) -> Any:
        model = super().model()
        share_first_state(model)
        return model

    def notes(self) -> Mapping[str, Any]:
        """Of the texts that are written."""
        batches = self.seqkit_batches()
        return {
            "tokens": sum(int(batch.y_lengths.sum()) for batch in batches if batch.y_lengths is not None),
            "padded": sum(batch.y.numel() for batch in batches if batch.y is not None),
            "steps": len(batches),
        }

    def dev_batches(self) -> list[Batch]:
        from seqkit.data.evaluation import evaluation_batches

        batches = (windows[0] for _, windows in evaluation_batches(self.task_data, "dev"))
        return list(islice(batches, SEARCHED if self.recipe.train.batch > SMALL["batch"] else 1))

    def trained(self) -> Any:
        """After some steps, the same in every process."""
        import torch

        model = self.model().train()
        parameters = list(model.parameters())
        optimizer = torch.optim.Adam(parameters, lr=2e-3, fused=True)
        rounds = STEPS_BEFORE_SEARCH // SIZES["steps"] if self.recipe.train.batch > SMALL["batch"] else 1
        for batch in self.batches() * rounds:
            total, count = model.loss(self.name, batch)[:2]
            (total / count).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            share_first_state(model)
        return model.eval()


def share_first_state(model: Any) -> None:
    """State and memory of the decoder start from the same numbers; all symbols have a bias of 0."""
    import torch

    (head,) = model.heads.values()
    with torch.no_grad():
        for parameter in head.decoder.bridge.parameters():
            half = len(parameter) // 2
            parameter[half:] = parameter[:half]
        head.decoder.bias.zero_()


# ---- a training step


def seqkit(case: str, **sizes: int) -> Prepared:
    setup = TranslationCase(case, **sizes)
    if case not in TRAINING:
        return seqkit_search(setup)

    def outputs() -> Mapping[str, Any]:
        model = setup.model().train(case == FEEDING)  # without dropout, the numbers compared are those of training

        def loss_of(batch: Batch) -> Tensor:
            total, count = model.loss(setup.name, batch)[:2]
            return total / count

        return compared(loss_of, dict(model.named_parameters()), setup)

    return dataclasses.replace(whole_loop(setup), outputs=outputs)


def compared(
    loss_of: Callable[[Batch], Tensor], parameters: Mapping[str, nn.Parameter], setup: TranslationCase
) -> Mapping[str, Any]:
    """Losses of three batches, without dropout, and the gradients of the first; `parameters` by seqkit's names."""
    import numpy as np
    import torch

    batches = setup.batches()[:3]
    loss_of(batches[0]).backward()
    arrays = {name: value.grad.numpy() for name, value in parameters.items() if value.grad is not None}
    with torch.no_grad():
        return {**arrays, "losses": np.array([float(loss_of(batch)) for batch in batches])}


def torch_loop(case: str, **sizes: int) -> Prepared:
    """The same model in plain PyTorch: a packed LSTM, and a loop over cells, or one call where no step needs it."""
    setup = TranslationCase(case, **sizes)

    def outputs() -> Mapping[str, Any]:
        model = by_hand(setup, setup.model().state_dict()).eval()
        return compared(model, model.names(), setup)

    def make(weights: Mapping[str, Tensor]) -> Any:
        model = by_hand(setup, weights).train()
        return list(model.parameters()), model

    return dataclasses.replace(loop(setup, make), outputs=outputs)


def by_hand(setup: TranslationCase, weights: Mapping[str, Tensor]) -> Any:
    """The module, with these weights."""
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.nn.utils import rnn

    prefix = f"heads.{setup.name}.decoder."
    wide = weights[f"{prefix}cells.0.weight_hh_l0"].shape[1]
    with_feeding, is_tied = setup.case != FORCED, setup.case == FORCED
    has_dropout = setup.case in (DROPOUT, FORCED)
    smoothing = 0.1 if setup.case == FORCED else 0.0
    pad, start = 0, 2

    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            tables = (weights[f"layers.{setup.name}.weight"], weights[f"{prefix}embedding.weight"])
            self.source, self.target = (
                nn.Embedding.from_pretrained(table.clone(), freeze=False, padding_idx=pad) for table in tables
            )
            self.encoder = bilstm(weights, "encoder.cells.")
            rows, columns = weights[f"{prefix}cells.0.weight_ih_l0"].shape
            self.cell = nn.LSTMCell(columns, rows // 4) if with_feeding else nn.LSTM(columns, wide, batch_first=True)
            names = {name: f"{name.removesuffix('_l0')}_l0" for name, _ in self.cell.named_parameters()}
            load(self.cell, weights, f"{prefix}cells.0.", names)
            self.key = self._linear("attention.key", has_bias=False)
            self.bridge, self.readout = self._linear("bridge"), self._linear("readout")
            self.out = nn.Linear(self.readout.out_features, len(tables[1]))
            out = {"weight": "embedding.weight"} if is_tied else None
            load(self.out, weights, prefix, out)
            if is_tied:
                self.out.weight = self.target.weight
            self.inputs, self.outputs = (nn.Dropout(share if has_dropout else 0.0) for share in (0.2, 0.3))

        def _linear(self, name: str, *, has_bias: bool = True) -> nn.Linear:
            out, size = weights[f"{prefix}{name}.weight"].shape
            layer = nn.Linear(size, out, bias=has_bias)
            load(layer, weights, f"{prefix}{name}.")
            return layer

        def names(self) -> dict[str, nn.Parameter]:
            """Those that are the same parameters in seqkit, by its names."""
            layers = {"attention.key": self.key, "bridge": self.bridge, "readout": self.readout}
            named = {f"{prefix}{n}.{m}": p for n, layer in layers.items() for m, p in layer.named_parameters()}
            named |= {f"{prefix}cells.0.{n.removesuffix('_l0')}_l0": p for n, p in self.cell.named_parameters()}
            named |= {f"layers.{setup.name}.weight": self.source.weight, f"{prefix}bias": self.out.bias}
            named |= {f"{prefix}embedding.weight": self.target.weight}
            named |= {} if is_tied else {f"{prefix}weight": self.out.weight}
            for name, parameter in self.encoder.named_parameters():
                direction = int(name.endswith("_reverse"))
                named[f"encoder.cells.{direction}.{name.removesuffix('_reverse')}"] = parameter
            return named

        def forward(self, batch: Batch) -> Tensor:
            packed = rnn.pack_padded_sequence(
                self.inputs(self.source(batch.x)), batch.lengths, batch_first=True, enforce_sorted=False
            )
            packed_steps, (last, _) = self.encoder(packed)
            steps = self.outputs(rnn.pad_packed_sequence(packed_steps, batch_first=True)[0])
            last = self.outputs(torch.cat([last[0], last[1]], dim=1))
            keys = self.key(steps).transpose(1, 2)
            padding = torch.arange(steps.shape[1])[None] >= batch.lengths[:, None]
            h, c = torch.tanh(self.bridge(last)).chunk(2, dim=1)
            assert batch.y is not None
            symbols = torch.cat([torch.full_like(batch.y[:, :1], start), batch.y[:, :-1]], dim=1)
            x = self.inputs(self.target(symbols))

            def read(queries: Tensor) -> Tensor:
                scores = (queries @ keys).masked_fill(padding[:, None], -torch.inf)
                context = scores.softmax(-1) @ steps
                return self.outputs(torch.tanh(self.readout(torch.cat([context, queries], dim=-1))))

            if with_feeding:
                readout, readouts = x.new_zeros(len(x), self.readout.out_features), []
                for t in range(x.shape[1]):
                    h, c = self.cell(torch.cat([x[:, t], readout], dim=1), (h, c))
                    readout = read(h[:, None])[:, 0]
                    readouts.append(readout)
                states = torch.stack(readouts, dim=1)
            else:
                states = read(self.cell(x, (h[None], c[None]))[0])
            logits, y = self.out(states).flatten(0, 1), batch.y.flatten()
            return functional.cross_entropy(
                logits, y, ignore_index=pad, label_smoothing=smoothing if self.training else 0.0
            )

    return Translator()


# ---- search


def seqkit_search(setup: TranslationCase) -> Prepared:
    """Texts of some batches of the dev split."""
    import torch

    from seqkit.heads.text_search import search
    from seqkit.types import END

    model, batches = setup.trained(), setup.dev_batches()
    head = model.head(setup.name)

    @torch.no_grad()
    def run() -> None:
        for batch in batches:
            model.predict(setup.name, batch, model.encode(setup.name, batch))

    @torch.no_grad()
    def symbols() -> list[list[list[int]]]:
        searched = (search(head.decoder, model.encode(setup.name, b), head.search_options) for b in batches)
        return [[[*hypotheses[0].symbols, END] for hypotheses in texts] for texts in searched]

    return search_of(setup, model, batches, symbols, run)


def search_of(
    setup: TranslationCase,
    model: Any,
    batches: Sequence[Batch],
    symbols_of: Callable[[], list[list[list[int]]]],
    run: Callable[[], None],
) -> Prepared:
    """A search whose texts are compared by their log-probability under the same model, if it is greedy."""
    import numpy as np

    written = symbols_of()
    nats = [text_nats(setup, model, batch, texts) for batch, texts in zip(batches, written, strict=True)]
    count = sum(batch.size for batch in batches)
    notes = {
        "tokens": sum(len(text) for texts in written for text in texts),
        "log-probability": round(-sum(nats) / count, 3),
    }
    outputs = (lambda: {"nats": np.array(nats)}) if setup.case == "greedy" else None
    return Prepared(run, outputs, notes)


def text_nats(setup: TranslationCase, model: Any, batch: Batch, texts: Sequence[Sequence[int]]) -> float:
    """The sum over a batch's texts, their ends counted."""
    import torch

    lengths = torch.tensor([len(text) for text in texts])
    y = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in enumerate(texts):
        y[row, : len(text)] = torch.tensor(text)
    with torch.no_grad():
        total = model.loss(setup.name, dataclasses.replace(batch, y=y, y_lengths=lengths))[0]
    return float(total)


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """How good the texts are that a beam finds."""
    return {
        f"{case['name']}: mean log-probability of the texts of {name}": result["notes"]["log-probability"]
        for case in cases
        for name, result in case["results"].items()
        if "log-probability" in result.get("notes", {})
    }


HERE = __name__
GROUP = Group(
    "translation",
    "German to English on captions of Multi30k, 8,000 pieces on each side: a bidirectional LSTM of 256, a decoder with "
    "an LSTM of 512, general attention, embeddings of 256. Steps are those of 10 batches of 64 pairs, from the same "
    "weights, with AdamW and clipping; tokens are symbols written. Losses and gradients are compared without dropout. "
    "The loop by hand packs the encoder's input and goes through the decoder cell by cell; without input feeding, "
    "where weights of output symbols are tied too, it is one call of torch's LSTM. JoeyNMT is its model in a loop of "
    "the same kind; it cannot tie an output whose width differs. Searches translate four batches of the dev split, by "
    "a model trained for 200 steps; a beam's texts are not compared, because the two stop at different points: their "
    "log-probability under the model is told instead.",
    [
        *(Case(name, {"case": name, **SIZES}, quick=name != DROPOUT, quick_options=SMALL) for name in TRAINING),
        *(Case(name, {"case": name, **SIZES}, quick_options=SMALL, on_request=True) for name in ("greedy", "beam 5")),
    ],
    [
        Contender("seqkit", f"{HERE}:seqkit"),
        Contender("torch, plain loop", f"{HERE}:torch_loop", only=TRAINING),
        Contender(
            "JoeyNMT",
            "benchmarks.joey:joey",
            needs=("joeynmt",),
            only=tuple(name for name in HEADS if name != FORCED),
        ),
    ],
    [
        Target("translation step, input feeding", "input feeding", "JoeyNMT", 3, 5),
        Target("translation step, input feeding", "input feeding", "torch, plain loop", 2, 2),
    ],
    rounds=5,
    derive=derive,
)
