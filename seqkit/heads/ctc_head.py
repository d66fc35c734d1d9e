"""Texts learned without alignments: the module behind `ctc`."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.decoding.ctc_beam_search import BLANK, prefix_beam_search
from seqkit.errors import DataError, Problem
from seqkit.fields import Text
from seqkit.heads.ctc_algorithms import ctc_nats, nats_without_gradient
from seqkit.heads.joining import JointScores, scale_map
from seqkit.heads.option_types import Search, TooLong
from seqkit.interfaces import Batch, Encoded, FiniteCheck, Head, mask_of
from seqkit.kernels.ragged import real_steps
from seqkit.layers.dropout import Dropout
from seqkit.types import END, UNKNOWN, Field, Prediction
from seqkit.uploads import read_back, upload

_SPECIAL_CLASSES = 2
"""Class 0 is the blank, class 1 the unknown symbol; the vocabulary's symbols, which start at id 4, follow."""

_ID_OFFSET = END + 1 - _SPECIAL_CLASSES
"""A symbol's id minus its class."""


class CTC(Head):
    """Connectionist temporal classification (Graves et al. 2006); see `seqkit.heads.ctc` for what the options mean.

    `Prediction.value` is the text, `confidence` the model's probability of it (the sum over all alignments), `scores`
    the best texts with theirs, `[[text, probability], ...]`, if more than one is asked for.
    """

    accepts = (Text,)
    gives_log_probs = True
    output_axes = MappingProxyType({"log_probs": ("batch", "steps", "classes")})

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
        """Targets that needed more steps than there were and were left out of the loss (too_long: skip)."""
        self.dropout = Dropout(dropout)
        self.out: nn.Module = nn.Linear(dim, target.size - _ID_OFFSET)

    def log_probs(self, encoded: Encoded) -> Tensor:
        """(B, T, classes), in single precision."""
        return functional.log_softmax(self.out(self.dropout(encoded.steps)).float(), dim=-1)

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The negative log-likelihood of the texts in nats, and how many symbols they have.

        Raises:
            DataError: a text needs more steps than its sequence has (too_long: refuse).
        """
        return self._loss(self.log_probs(encoded), encoded, batch)[:2]

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each step the classes, the blank among them.

        Given the input, the steps of an alignment are independent, so the sum of their divergences is that of the two
        distributions of alignments, and at least that of the texts. Two passes of one model are compared so by Yao et
        al. 2024 (arXiv:2410.05101). The steps of a text that is left out are uniform: nothing is learned from them.
        """
        log_probs = self.log_probs(encoded)
        total, count, short = self._loss(log_probs, encoded, batch)
        if short is not None:
            is_short = upload(short, log_probs.device, is_fixed=True)[:, None, None]
            log_probs = log_probs.masked_fill(is_short, -log(log_probs.shape[-1]))
        return total, count, real_steps(log_probs, encoded.lengths)

    def comparison(self) -> str:
        return "the probabilities of classes and the blank at each step"

    def _loss(self, log_probs: Tensor, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """The loss, its number of terms, and (B,) on the CPU which texts are left out; None: no text is."""
        assert batch.y is not None
        assert batch.y_lengths is not None
        counts = batch.y_lengths - 1  # without the end symbol
        classes = _class_of(batch.y[:, :-1])
        short = self._too_short(counts, encoded.lengths, batch)
        nats = ctc_nats(log_probs, classes, encoded.lengths, counts, has_short=short is not None)
        if short is None:
            return nats.sum(), counts.sum(), None
        nats = nats.masked_fill(upload(short, nats.device, is_fixed=True), 0.0)
        return nats.sum(), counts[~short].sum(), short

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"log_probs": self.log_probs(encoded)}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        log_probs = self.log_probs(encoded)
        check = FiniteCheck(log_probs, batch, encoded.lengths)
        if self.search == "greedy":
            texts, counts = collapse(log_probs.argmax(dim=-1), encoded.lengths)
            classes, sizes, nats = read_back(texts, counts, self._nats(log_probs, encoded.lengths, texts, counts))
            check.finish()
            rows = zip(classes.tolist(), sizes.tolist(), torch.exp(-nats).tolist(), strict=True)
            return [Prediction(self.decode_classes(row[:count]), min(p, 1.0)) for row, count, p in rows]
        arrays = read_back(log_probs.double())[0].numpy()
        check.finish()
        lengths = encoded.lengths.tolist()
        return [self._search(array[:length]) for array, length in zip(arrays, lengths, strict=True)]

    def scale_scores(self, factor: float) -> None:
        """In the linear map to the classes."""
        scale_map(self.out, factor)

    def join_members(self, members: Sequence[CTC], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities at each step."""
        self.out = JointScores([member.out for member in members], widths)

    def _search(self, log_probs: np.ndarray) -> Prediction:
        """(T, classes) of one sequence."""
        results = prefix_beam_search(log_probs, beams=self.beams)[: self.best]
        texts = [(self.decode_classes(list(classes)), exp(log_prob)) for classes, log_prob in results]
        scores = [[text, probability] for text, probability in texts] if self.best > 1 else None
        return Prediction(texts[0][0], min(texts[0][1], 1.0), scores)

    def decode_classes(self, classes: list[int]) -> str:
        ids = [number if number == UNKNOWN else number + _ID_OFFSET for number in classes]
        return str(self.target.decode(np.array(ids, dtype=np.int64)))

    def _nats(self, log_probs: Tensor, lengths: Tensor, texts: Tensor, counts: Tensor) -> Tensor:
        """(B,) of each text, over all its alignments."""
        if log_probs.device.type == "cpu":
            return ctc_nats(log_probs, texts, lengths, counts)
        return nats_without_gradient(log_probs, texts, lengths, counts)

    def _too_short(self, counts: Tensor, lengths: Tensor, batch: Batch) -> Tensor | None:
        """(B,) which sequences have too few steps for their text, on the CPU; None if none has.

        A text needs one step a symbol, and a blank between two equal symbols.
        """
        if bool((lengths >= 2 * counts - 1).all()):
            return None
        classes = _class_of(batch.y_on_cpu[:, :-1])
        is_inside = torch.arange(1, classes.shape[1])[None, :] < counts[:, None]
        repeats = ((classes[:, 1:] == classes[:, :-1]) & is_inside).sum(dim=1)
        short = lengths < counts + repeats
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
                    f"its text needs {int(counts[row] + repeats[row])} steps, and it has {int(lengths[row])}",
                    "take finer steps, or leave such examples out of the loss with head: {use: ctc, too_long: skip}",
                )
                for row in rows
            ]
        )

    def extra_repr(self) -> str:
        return f"search={self.search}, beams={self.beams}"


def collapse(path: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) best class of each step -> (B, U) texts padded with blanks, and (B,) their lengths.

    Repeats become one symbol, then blanks are removed. On a GPU texts are as wide as there are steps: how wide they
    need to be would have to be waited for.
    """
    is_new = torch.ones_like(path, dtype=torch.bool)
    is_new[:, 1:] = path[:, 1:] != path[:, :-1]
    is_kept = is_new & (path != BLANK) & mask_of(lengths, path.shape[1], path.device)
    counts = is_kept.sum(dim=1)
    # A stable sort: the symbols that are kept move to the front in their order.
    order = torch.sort((~is_kept).to(torch.uint8), dim=1, stable=True).indices
    texts = path.gather(1, order)
    if counts.device.type == "cpu":
        texts = texts[:, : max(1, int(counts.max()))]
    is_padding = torch.arange(texts.shape[1], device=path.device)[None, :] >= counts[:, None]
    return texts.masked_fill(is_padding, BLANK), counts


def _class_of(ids: Tensor) -> Tensor:
    """Ids of the vocabulary to classes: padding becomes the blank; the end symbol, after the text, does not matter."""
    return torch.where(ids > END, ids - _ID_OFFSET, ids.clamp(max=UNKNOWN))
