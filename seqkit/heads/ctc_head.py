"""Text from steps of which nobody knows where each symbol stands: the module behind `ctc`."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.decoding.ctc_beam_search import BLANK, prefix_beam_search
from seqkit.errors import DataError, Problem
from seqkit.fields import Text
from seqkit.fields.vocabulary import END, UNKNOWN
from seqkit.heads.option_types import Search, TooLong
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.types import Field, Prediction

_CLASSES_BEFORE = 2
"""Class 0 is the blank, class 1 the unknown symbol; then come the vocabulary's symbols, which start at id 4."""


class CTC(Head):
    """Connectionist temporal classification (Graves et al. 2006); see `seqkit.heads.ctc` for what the options mean.

    `Prediction.value` is the text, `confidence` the model's probability of it (all alignments together), `scores` the
    best texts with theirs, `[[text, probability], ...]`, where more than one was asked for.
    """

    accepts = (Text,)

    def __init__(
        self,
        dim: int,
        target: Field,
        *,
        search: Search,
        beams: int,
        best: int,
        dropout: float,
        too_long: TooLong,
    ) -> None:
        super().__init__()
        self.target: Any = target
        self.search, self.beams, self.best, self.too_long = search, max(beams, best), best, too_long
        self.left_out = 0
        """Targets that were longer than their steps and were left out of the loss (too_long: skip)."""
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, target.size - END - 1 + _CLASSES_BEFORE)

    def log_probs(self, encoded: Encoded) -> Tensor:
        """(B, T, classes), in single precision."""
        return functional.log_softmax(self.out(self.dropout(encoded.steps)).float(), dim=-1)

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the texts in nats, and how many symbols they have.

        Raises:
            DataError: a text has more symbols than its sequence has steps (too_long: refuse).
        """
        assert batch.y is not None
        assert batch.y_lengths is not None
        counts = batch.y_lengths - 1  # without the end symbol
        classes = _class_of(batch.y[:, :-1])
        short = self._too_short(classes, counts, encoded.lengths, batch)
        log_probs = self.log_probs(encoded).transpose(0, 1)
        if short is None:
            loss = functional.ctc_loss(log_probs, classes, encoded.lengths, counts, blank=BLANK, reduction="sum")
            return loss, counts.sum()
        each = functional.ctc_loss(
            log_probs, classes, encoded.lengths, counts, blank=BLANK, reduction="none", zero_infinity=True
        )
        return each.masked_fill(short.to(each.device), 0.0).sum(), counts[~short].sum()

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        log_probs = self.log_probs(encoded)
        if self.search == "greedy":
            texts, counts = collapse(log_probs.argmax(dim=-1), encoded.lengths)
            sure = self._probability(log_probs, encoded.lengths, texts, counts)
            rows = zip(texts.cpu().tolist(), counts.tolist(), sure, strict=True)
            return [Prediction(self._decoded(row[:count]), each) for row, count, each in rows]
        arrays = log_probs.double().cpu().numpy()
        lengths = encoded.lengths.tolist()
        return [self._said(array[:length]) for array, length in zip(arrays, lengths, strict=True)]

    def _said(self, log_probs: np.ndarray) -> Prediction:
        found = prefix_beam_search(log_probs, beams=self.beams)
        texts = [(self._decoded(list(text)), exp(total)) for text, total in found[: self.best]]
        scores = [list(each) for each in texts] if self.best > 1 else None
        return Prediction(texts[0][0], min(1.0, texts[0][1]), scores)

    def _decoded(self, classes: list[int]) -> str:
        ids = np.array(
            [each if each == UNKNOWN else each + END + 1 - _CLASSES_BEFORE for each in classes], dtype=np.int64
        )
        return str(self.target.decode(ids))

    def _probability(self, log_probs: Tensor, lengths: Tensor, texts: Tensor, counts: Tensor) -> list[float]:
        """Of each text, over all alignments."""
        each = functional.ctc_loss(log_probs.transpose(0, 1), texts, lengths, counts, blank=BLANK, reduction="none")
        return [min(1.0, share) for share in torch.exp(-each).tolist()]

    def _too_short(self, classes: Tensor, counts: Tensor, lengths: Tensor, batch: Batch) -> Tensor | None:
        """(B,) which sequences have too few steps for their text, on the CPU; None if none has.

        A text needs a step a symbol and one more between two of a kind.
        """
        # On a GPU, symbols are looked at only if lengths leave a doubt: looking waits for the device.
        if bool((lengths >= 2 * counts - 1).all()):
            return None
        inside = torch.arange(1, classes.shape[1])[None, :] < counts[:, None]
        twins = ((classes[:, 1:] == classes[:, :-1]).cpu() & inside).sum(dim=1)
        short = lengths < counts + twins
        if not bool(short.any()):
            return None
        if self.too_long == "skip":
            self.left_out += int(short.sum())
            return short
        rows = torch.nonzero(short).flatten().tolist()
        raise DataError(
            [
                Problem(
                    str(batch.ids[row]) if row < len(batch.ids) else f"row {row + 1} of a batch",
                    f"its text needs {int(counts[row] + twins[row])} steps, and it has {int(lengths[row])}",
                    "take finer steps, or leave such examples out of the loss with head: {use: ctc, too_long: skip}",
                )
                for row in rows
            ]
        )

    def extra_repr(self) -> str:
        return f"search={self.search}, beams={self.beams}"


def collapse(path: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) best class of each step -> (B, U) texts padded with blanks, and (B,) their lengths on the CPU.

    Repeats become one symbol, then blanks are taken out.
    """
    inside = torch.arange(path.shape[1])[None, :] < lengths[:, None]
    new = torch.ones_like(path, dtype=torch.bool)
    new[:, 1:] = path[:, 1:] != path[:, :-1]
    kept = new & (path != BLANK) & inside.to(path.device)
    counts = kept.sum(dim=1)
    # Stable: what is kept moves to the front, in its order.
    order = torch.sort((~kept).to(torch.uint8), dim=1, stable=True).indices
    texts = path.gather(1, order)
    counts = counts.cpu()
    most = int(counts.max())
    texts = texts[:, : max(1, most)]
    behind = torch.arange(texts.shape[1])[None, :] >= counts[:, None]
    return texts.masked_fill(behind.to(path.device), BLANK), counts


def _class_of(ids: Tensor) -> Tensor:
    """Ids of the vocabulary to classes: padding is the blank, the end (behind the text) is not looked at."""
    return torch.where(ids > END, ids - (END + 1 - _CLASSES_BEFORE), ids.clamp(max=UNKNOWN))
