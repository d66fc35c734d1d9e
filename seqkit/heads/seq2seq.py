"""Texts written symbol by symbol: the modules behind `attend` and `generate`."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from seqkit.fields import Text
from seqkit.fields.vocabulary import START
from seqkit.heads.attention import Score
from seqkit.heads.decoder import Cell, Decoder, Start, TeacherForced
from seqkit.heads.text_search import SearchOptions, draw, search, split_rows, to_prediction
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.kernels import upload
from seqkit.kernels.ragged import real_steps
from seqkit.types import Field, Prediction

Schedule: TypeAlias = Literal["none", "linear", "inverse_sigmoid"]


class Attend(Head):
    """An attention decoder; see `seqkit.heads.attend` for what the options mean.

    `Prediction.value` is the text, `confidence` the model's probability of it. `scores` has `alignment`, for each
    symbol the input step that it looked at most; `cut: True` if the text was made to end by its limit; and with more
    than one text asked for `best`, `[[text, probability], ...]`, in the order of normalised scores.
    """

    accepts = (Text,)
    writes = True
    loss_name = "nats"

    def __init__(
        self,
        dim: int,
        target: Field,
        *,
        searching: SearchOptions,
        cell: Cell = "lstm",
        hidden: int | None = None,
        layers: int = 1,
        embedding: int = 128,
        attention: Score = "general",
        input_feeding: bool = False,
        start: Start = "last",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        drop: float = 0.0,
        tied: bool = False,
        label_smoothing: float = 0.0,
        scheduled_sampling: Schedule = "none",
        sampling_decay: float = 1000.0,
        teaching_floor: float = 0.0,
        coverage: float | None = None,
    ) -> None:
        super().__init__()
        self.target: Any = target
        self.searching, self.label_smoothing = searching, label_smoothing
        self.schedule, self.decay, self.floor, self.coverage = (
            scheduled_sampling,
            sampling_decay,
            teaching_floor,
            coverage or 0.0,
        )
        self.cut = 0
        """Predicted texts that were made to end by their limit."""
        if scheduled_sampling != "none":
            self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.decoder = Decoder(
            dim,
            target.size,
            cell=cell,
            hidden=hidden or dim,
            layers=layers,
            embedding=embedding,
            dropout=dropout,
            input_dropout=input_dropout,
            drop=drop,
            tied=tied,
            start=start,
            attention=attention,
            feed=input_feeding,
            coverage=coverage is not None,
        )

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats of the texts with their ends, and how many symbols that is. Plain cross-entropy outside of training."""
        if self.training and self.schedule != "none":
            return self._sampled_loss(encoded, batch)
        total, twice, count = _loss(self.decoder, encoded, batch, self.label_smoothing if self.training else 0.0)
        if self.training and twice is not None:
            total = total + self.coverage * twice
        return total, count

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One an example."""
        found = search(self.decoder, encoded, self.searching)
        self.cut += sum(texts[0].cut for texts in found)
        return [to_prediction(self.target, texts, self.searching) for texts in found]

    def write(self, encoded: Encoded, **options: Any) -> list[str]:
        """Texts drawn at random; see `draw`."""
        return draw(self.decoder, self.target, encoded, **options)

    def taught(self) -> Tensor:
        """() the share of the symbols read that are the true ones, at this step of training (Bengio et al. 2015)."""
        assert isinstance(self.batches, Tensor)
        step = self.batches.double()
        if self.schedule == "linear":
            share = 1.0 - step / self.decay
        else:
            share = self.decay / (self.decay + torch.exp(step / self.decay))
        return share.clamp(min=self.floor, max=1.0)

    def _sampled_loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each symbol that is read is the true one, or drawn from what the model itself said at the step before."""
        y, lengths = _target(batch)
        share = self.taught()
        assert isinstance(self.batches, Tensor)
        self.batches += 1
        source, at = self.decoder.begin(encoded)
        symbols = torch.full_like(y[:, :1], START)
        total, twice = y.new_zeros((), dtype=torch.float32), y.new_zeros((), dtype=torch.float32)
        for t in range(y.shape[1]):
            covered = at.coverage
            readout, at, weights = self.decoder.step(source, at, symbols)
            logits = self.decoder.logits(readout).squeeze(1)
            true = torch.where(upload(lengths > t, y.device), y[:, t], -1)
            total = total + functional.cross_entropy(
                logits, true, ignore_index=-1, label_smoothing=self.label_smoothing, reduction="sum"
            )
            if covered is not None and weights is not None:
                again = torch.minimum(covered, weights).sum(dim=-1).squeeze(1)
                twice = twice + again.masked_fill(true < 0, 0.0).sum()
            # The first of exponential clocks of these rates: a draw as `multinomial` makes it, but without waiting.
            shares = logits.detach().softmax(dim=-1)
            drawn = (shares / torch.empty_like(shares).exponential_()).argmax(dim=-1)
            keep = torch.rand(len(y), device=y.device) < share
            symbols = torch.where(keep, y[:, t], drawn)[:, None]
        return total + self.coverage * twice, upload(lengths.sum(), y.device)

    def extra_repr(self) -> str:
        return f"{self.searching}"


class Generate(Head):
    """A decoder that is told one vector; see `seqkit.heads.generate` for what the options mean.

    `Prediction` is as for `Attend`, without alignments.
    """

    accepts = (Text,)
    writes = True
    loss_name = "nats"

    def __init__(
        self,
        dim: int,
        target: Field,
        *,
        searching: SearchOptions,
        cell: Cell = "lstm",
        hidden: int | None = None,
        layers: int = 1,
        embedding: int = 64,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        drop: float = 0.0,
        tied: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.target: Any = target
        self.searching, self.label_smoothing = searching, label_smoothing
        self.cut = 0
        """Predicted texts that were made to end by their limit."""
        self.decoder = Decoder(
            dim,
            target.size,
            cell=cell,
            hidden=hidden or dim,
            layers=layers,
            embedding=embedding,
            dropout=dropout,
            input_dropout=input_dropout,
            drop=drop,
            tied=tied,
            start="last",
        )

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats of the texts with their ends, and how many symbols that is. Plain cross-entropy outside of training."""
        total, _, count = _loss(self.decoder, encoded, batch, self.label_smoothing if self.training else 0.0)
        return total, count

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One an example."""
        found = search(self.decoder, encoded, self.searching)
        self.cut += sum(texts[0].cut for texts in found)
        return [to_prediction(self.target, texts, self.searching) for texts in found]

    def write(self, encoded: Encoded, **options: Any) -> list[str]:
        """Texts drawn at random; see `draw`."""
        return draw(self.decoder, self.target, encoded, **options)

    def extra_repr(self) -> str:
        return f"{self.searching}"


def _target(batch: Batch) -> tuple[Tensor, Tensor]:
    """(B, U) ids and (B,) lengths on the CPU, the end counted."""
    assert batch.y is not None
    assert batch.y_lengths is not None
    return batch.y, batch.y_lengths


def _loss(decoder: Decoder, encoded: Encoded, batch: Batch, smoothing: float) -> tuple[Tensor, Tensor | None, Tensor]:
    """Nats, what coverage has to say or None, and the number of symbols.

    Outside of training examples are taken in parts, so that memory is bounded whatever the batch.
    """
    y, lengths = _target(batch)
    inputs = torch.cat([torch.full_like(y[:, :1], START), y[:, :-1]], dim=1)
    source, at = decoder.begin(encoded)
    count = upload(lengths.sum(), y.device)
    if decoder.training:
        told = decoder.teach(source, at, inputs, lengths)
        return _nats(decoder, told, y, lengths, smoothing), told.twice, count
    total = y.new_zeros((), dtype=torch.float64)
    a_row = y.shape[1] * max(len(decoder.bias), encoded.steps.shape[1] * decoder.hidden)
    for part in split_rows(len(y), a_row):
        index = torch.arange(part.start, part.stop, device=y.device)
        steps = int(lengths[part].max())
        told = decoder.teach(source.rows(index), at.rows(index), inputs[part, :steps], lengths[part])
        total += _nats(decoder, told, y[part, :steps], lengths[part], smoothing)
    return total, None, count


def _nats(decoder: Decoder, told: TeacherForced, y: Tensor, lengths: Tensor, smoothing: float) -> Tensor:
    true = real_steps(y[..., None], lengths).squeeze(-1)
    return decoder.nats(told.readout, true, smoothing)
