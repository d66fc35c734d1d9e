"""An exported model in place of the one it was made from, so that `seqkit.inference.evaluate` can score it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seqkit.data.task_data import TaskData
from seqkit.errors import UsageError
from seqkit.export.parity import Runner
from seqkit.export.program import initial_state
from seqkit.heads.classification import Classify
from seqkit.heads.ctc_head import CTC, collapse
from seqkit.heads.language_model import NO_TARGET, Language
from seqkit.heads.linear_chain_crf import LinearChainCRF
from seqkit.heads.regression import Regress
from seqkit.heads.seq2seq import Seq2Seq
from seqkit.heads.tagging import Tag
from seqkit.inference.evaluate import evaluate
from seqkit.interfaces import Batch, Encoded, Head, State
from seqkit.model import Model
from seqkit.types import END, START, Prediction

_ROWS = 64
"""Examples that are scored together."""


@dataclass
class _Outputs(Encoded):
    """What the exported model gave for a batch, in the place of the encoder's output."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class ExportedModel(Model):
    """The layers of a model, but what it computes comes from the files.

    Texts are written greedily, symbol by symbol; the loss is known of a language model only, and is 0 of others.

    Args:
        model: the model that was exported.
        task: which task.
        run: runs the file of the model.
        run_step: runs the file of the decoder's step, if there is one.

    Raises:
        UsageError: what a head of this kind predicts cannot be read from its outputs.
    """

    def __init__(self, model: Model, task: str, run: Runner, run_step: Runner | None = None) -> None:
        super().__init__({task: model.layer(task)}, model.encoder, {task: model.head(task)})
        self.run, self.run_step = run, run_step
        head = model.head(task)
        if not isinstance(head, Classify | Tag | LinearChainCRF | Regress | CTC | Language | Seq2Seq):
            raise UsageError(f"task {task}: exported models with the head {type(head).__name__} cannot be scored")

    def loss(self, task: str, batch: Batch, state: State | None = None) -> tuple[Tensor, Tensor, Encoded]:
        """The loss of a language model; 0 of one term of others. With what the files gave, which `predict` reads."""
        head = self.head(task)
        fed = {"x": batch.x.numpy(), "lengths": batch.lengths.numpy()}
        if isinstance(head, Language):
            current = state or initial_state(self, batch.size)
            fed |= {f"state_{number}": tensor.numpy() for number, tensor in enumerate(current)}
        tensors = {name: torch.from_numpy(array) for name, array in self.run(fed).items()}
        after = tuple(tensors[f"next_state_{number}"] for number in range(len(fed) - 2))
        lengths = tensors.get("output_lengths", batch.lengths)
        steps = torch.zeros(batch.size, 0, 1)
        encoded = _Outputs(steps, lengths, steps[:, :0, 0], lambda: after, tensors)
        if isinstance(head, Language) and batch.y is not None:
            inside = torch.arange(batch.y.shape[1]) < lengths[:, None]
            y = batch.y.masked_fill(~inside, NO_TARGET)
            log_probs = tensors["log_probs"].flatten(0, 1)
            total = functional.nll_loss(log_probs, y.flatten(), ignore_index=NO_TARGET, reduction="sum")
            return total, (y != NO_TARGET).sum(), encoded
        return torch.zeros(()), torch.ones(()), encoded

    def predict(self, task: str, batch: Batch, encoded: Encoded) -> list[Prediction]:
        """One prediction an example."""
        assert isinstance(encoded, _Outputs)
        return read_predictions(self.head(task), encoded.tensors, encoded.lengths, self.run_step)


def score_export(
    model: Model, task: str, data: TaskData, run: Runner, run_step: Runner | None = None
) -> dict[str, float]:
    """The scores of an exported model on dev. Without those of a loss that its outputs do not give."""
    exported = ExportedModel(model, task, run, run_step)
    result = evaluate(exported, data, "dev", batch=_ROWS)
    head = model.head(task)
    return {
        name: score for name, score in result.scores.items() if isinstance(head, Language) or name != head.loss_name
    }


def read_predictions(
    head: Head, outputs: Mapping[str, Tensor], lengths: Tensor, run_step: Runner | None = None
) -> list[Prediction]:
    """What the outputs of an exported model predict; texts are written greedily.

    Args:
        head: knows the labels and how to spell symbols.
        outputs: by name, as the exported model gives them.
        lengths: (B,) real steps of the outputs.
        run_step: the decoder's step.
    """
    target: Any = getattr(head, "target", None)
    if isinstance(head, Classify):
        return head.predictions(outputs["probabilities"], lengths)
    if isinstance(head, Regress):
        return [Prediction(target.decode(row)) for row in outputs["values"].numpy()]
    if isinstance(head, Tag | LinearChainCRF):
        tags = outputs["tags"] if isinstance(head, LinearChainCRF) else outputs["probabilities"].argmax(dim=-1)
        rows = zip(tags.numpy(), lengths.tolist(), strict=True)
        return [Prediction(target.decode(row[:length])) for row, length in rows]
    if isinstance(head, CTC):
        classes, counts = collapse(outputs["log_probs"].argmax(dim=-1), lengths)
        texts = zip(classes.tolist(), counts.tolist(), strict=True)
        return [Prediction(head.decode_classes(row[:count])) for row, count in texts]
    if isinstance(head, Seq2Seq) and run_step is not None:
        return [Prediction(target.decode(row)) for row in _write_greedily(head, outputs, run_step)]
    return [Prediction([]) for _ in lengths]


def _write_greedily(head: Seq2Seq, outputs: Mapping[str, Tensor], run_step: Runner) -> list[np.ndarray]:
    """The symbols of a text for each row, up to its end."""
    carried = {name: tensor.numpy() for name, tensor in outputs.items() if name in head.output_axes}
    rows = len(next(iter(carried.values())))
    symbols, has_ended = np.full(rows, START), np.zeros(rows, dtype=bool)
    written: list[np.ndarray] = []
    for number in range(head.search_options.max_length):
        result = run_step({"symbols": symbols, **carried})
        log_probs = result["log_probs"].copy()
        log_probs[:, [*head.search_options.forbidden, *([END] if number == 0 else [])]] = -np.inf
        symbols = np.where(has_ended, END, log_probs.argmax(axis=-1))
        carried |= {name: result[f"next_{name}"] for name in carried if f"next_{name}" in result}
        written.append(symbols)
        has_ended |= symbols == END
        if has_ended.all():
            break
    texts = np.stack(written, axis=1)
    return [row[: int(np.argmax(row == END))] if (row == END).any() else row for row in texts]
