"""Texts written symbol by symbol: the module behind `attend` and `generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seqkit.fields import Text
from seqkit.heads.decoder import Decoder, coverage_overlap
from seqkit.heads.joining import JointDecoder
from seqkit.heads.option_types import DecoderOptions, LossOptions, SearchOptions
from seqkit.heads.text_search import draw, search, split_rows, to_prediction
from seqkit.interfaces import Batch, Encoded, FiniteCheck, Head, mask_of
from seqkit.kernels import draw_uniform
from seqkit.kernels.ragged import real_steps
from seqkit.types import END, START, Field, Prediction
from seqkit.uploads import read_back


class Seq2Seq(Head):
    """A decoder with its loss and its search; see `seqkit.heads.attend` and `generate` for the options.

    `Prediction.value` is the text, `confidence` the model's probability of it. `scores` has `alignment`, for each
    symbol the input step with the largest weight (with attention only); `cut: True` if the text was ended by its limit;
    and `best`, `[[text, probability], ...]` in the order of normalised scores, if more than one text is asked for.

    Args:
        dim: H, the width of an encoded step.
        target: the field of the texts.
        decoder: how the decoder is built.
        loss: how it learns.
        search: how it searches for a text.
    """

    accepts = (Text,)
    writes = True
    loss_name = "nats"

    def __init__(
        self, dim: int, target: Field, *, decoder: DecoderOptions, loss: LossOptions, search: SearchOptions
    ) -> None:
        super().__init__()
        self.target: Any = target
        self.loss_options, self.search_options = loss, search
        self.cut = 0
        """Predicted texts that were ended by their limit."""
        self.gives_log_probs = loss.scheduled_sampling is None  # which reads other symbols than the true ones
        if loss.scheduled_sampling is not None:
            self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.decoder: Any = Decoder(dim, target.size, decoder)  # or a JointDecoder, which has the same methods
        self.output_axes = self.decoder.axes

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats of the texts with their ends, and how many symbols that is. Plain cross-entropy outside of training."""
        y, lengths = _target(batch)
        if not self.training:
            nats = self._evaluation_nats(encoded, y, lengths)
        elif self.loss_options.scheduled_sampling is not None:
            nats = self._scheduled_sampling_loss(encoded, y, lengths)
        else:
            nats = self._teacher_forcing_loss(encoded, y, lengths)
        return nats, lengths.sum()

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each symbol of the true texts, their ends counted, all symbols. They are in memory at once.

        Two models are compared given the true symbols before each (word-level distillation; Kim and Rush 2016,
        arXiv:1606.07947).
        """
        y, lengths = _target(batch)
        source, state = self.decoder.begin(encoded)
        result = self.decoder.teacher_forcing(source, state, _shifted(y), lengths)
        log_probs = self.decoder.logits(result.readout).log_softmax(dim=-1)
        smoothing = self.loss_options.label_smoothing if self.training else 0.0
        nats = functional.cross_entropy(log_probs, _real(y, lengths), label_smoothing=smoothing, reduction="sum")
        if self.training and result.coverage_loss is not None and self.loss_options.coverage is not None:
            nats = nats + self.loss_options.coverage * result.coverage_loss
        return nats, lengths.sum(), log_probs

    def comparison(self) -> str:
        """Raises TypeError: with scheduled sampling, two passes read different texts."""
        if not self.gives_log_probs:
            raise TypeError(
                "with scheduled_sampling a decoder reads symbols that it has drawn, so two of them read different texts"
            )
        return "the probabilities of symbols, given the true ones before them"

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """What the decoder reads at every step, and its state before the first symbol."""
        tensors: dict[str, Tensor] = self.decoder.to_tensors(*self.decoder.begin(encoded))
        return tensors

    def step_outputs(self, symbols: Tensor, carried: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step of the decoder, for export.

        Args:
            symbols: (B,) the symbols read, at first the start symbol.
            carried: what `outputs` gave, with the state that the step before gave. A row may stand several times, once
                for each text that a search keeps of an example.

        Returns:
            `log_probs` (B, V) of the next symbol, `attention` (B, T) with attention, and the next state by its names.
        """
        source, state = self.decoder.from_tensors(carried)
        readout, state, weights = self.decoder.step(source, state, symbols[:, None])
        attention = {} if weights is None else {"attention": weights.squeeze(1)}
        log_probs = self.decoder.logits(readout).squeeze(1).log_softmax(dim=-1)
        tensors: dict[str, Tensor] = self.decoder.state_tensors(state)
        return {"log_probs": log_probs} | attention | tensors

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One an example."""
        check = FiniteCheck(encoded.steps, batch, encoded.lengths)
        try:
            results = search(self.decoder, encoded, self.search_options)
        finally:
            check.finish()
        self.cut += sum(hypotheses[0].cut for hypotheses in results)
        return [to_prediction(self.target, hypotheses, self.search_options) for hypotheses in results]

    @torch.no_grad()
    def attention(self, encoded: Encoded, *, length: int = 60) -> tuple[list[str], Tensor] | None:
        """The text that is written for one example by taking the best symbol each time, and what is looked at for it.

        Args:
            encoded: of one example.
            length: most symbols, the end counted.

        Returns:
            The U symbols, the end as `</s>`, and (U, T) the weights of the encoded steps at each; None without
            attention.
        """
        if self.decoder.attention is None:
            return None
        source, state = self.decoder.begin(encoded)
        symbol = torch.full((1, 1), START, device=encoded.steps.device)
        symbols: list[str] = []
        rows: list[Tensor] = []
        for _ in range(length):
            readout, state, weights = self.decoder.step(source, state, symbol)
            assert weights is not None
            symbol = self.decoder.logits(readout).argmax(dim=-1)
            rows.append(weights[0, 0])
            number = read_back(symbol[0])[0].numpy()  # waited for once: it says whether there is another step
            symbols.append("</s>" if number[0] == END else self.target.decode(number))
            if number[0] == END:
                break
        return symbols, torch.stack(rows)

    @torch.no_grad()
    def scale_scores(self, factor: float) -> None:
        """In the vectors of the symbols that are written."""
        if not isinstance(getattr(self.decoder, "weight", None), Tensor):
            raise TypeError(
                "the vectors of the symbols that are written are tied to those that are read; take tied: false"
            )
        self.decoder.weight.mul_(factor)
        self.decoder.bias.mul_(factor)

    def join_members(self, members: Sequence[Seq2Seq], widths: Sequence[int]) -> None:
        """One text is written, each symbol by the mean of the members' probabilities."""
        self.decoder = JointDecoder([member.decoder for member in members], widths)
        self.output_axes = self.decoder.axes

    def write(self, encoded: Encoded, **options: Any) -> list[str]:
        """Texts drawn at random; see `draw`."""
        return draw(self.decoder, self.target, encoded, **options)

    def true_share(self) -> Tensor:
        """() the share of the symbols read that are the true ones, at this batch (Bengio et al. 2015)."""
        sampling = self.loss_options.scheduled_sampling
        assert sampling is not None
        assert isinstance(self.batches, Tensor)
        batches = self.batches.double()
        if sampling.schedule == "linear":
            share = 1.0 - batches / sampling.decay
        else:
            share = sampling.decay / (sampling.decay + torch.exp(batches / sampling.decay))
        return share.clamp(min=sampling.least_share, max=1.0)

    def _evaluation_nats(self, encoded: Encoded, y: Tensor, lengths: Tensor) -> Tensor:
        """() in double precision. Examples are taken in slices, so that memory is bounded whatever the batch."""
        symbols = _shifted(y)
        source, state = self.decoder.begin(encoded)
        total = y.new_zeros((), dtype=torch.float64)
        numbers_per_row = y.shape[1] * max(len(self.decoder.bias), encoded.steps.shape[1] * self.decoder.hidden)
        for rows in split_rows(len(y), numbers_per_row):
            index = torch.arange(rows.start, rows.stop, device=y.device)
            steps = int(lengths[rows].max())
            result = self.decoder.teacher_forcing(
                source.take_rows(index), state.take_rows(index), symbols[rows, :steps], lengths[rows]
            )
            total += self.decoder.nats(result.readout, _real(y[rows, :steps], lengths[rows]), smoothing=0.0)
        return total

    def _teacher_forcing_loss(self, encoded: Encoded, y: Tensor, lengths: Tensor) -> Tensor:
        """() every symbol that is read is the true one."""
        source, state = self.decoder.begin(encoded)
        result = self.decoder.teacher_forcing(source, state, _shifted(y), lengths)
        nats: Tensor = self.decoder.nats(result.readout, _real(y, lengths), smoothing=self.loss_options.label_smoothing)
        if result.coverage_loss is None or self.loss_options.coverage is None:
            return nats
        penalty: Tensor = self.loss_options.coverage * result.coverage_loss
        return nats + penalty

    def _scheduled_sampling_loss(self, encoded: Encoded, y: Tensor, lengths: Tensor) -> Tensor:
        """() each symbol that is read is the true one, or drawn from the model's distribution at the step before."""
        share = self.true_share()
        assert isinstance(self.batches, Tensor)
        self.batches += 1
        inside = mask_of(lengths, y.shape[1], y.device)
        source, state = self.decoder.begin(encoded)
        symbols = torch.full_like(y[:, :1], START)
        nats, coverage_loss = y.new_zeros((), dtype=torch.float32), y.new_zeros((), dtype=torch.float32)
        for t in range(y.shape[1]):
            coverage = state.coverage
            readout, state, weights = self.decoder.step(source, state, symbols)
            logits = self.decoder.logits(readout).squeeze(1)
            true = torch.where(inside[:, t], y[:, t], -1)
            nats = nats + functional.cross_entropy(
                logits, true, ignore_index=-1, label_smoothing=self.loss_options.label_smoothing, reduction="sum"
            )
            if coverage is not None and weights is not None:
                overlap = coverage_overlap(coverage, weights).squeeze(1)
                coverage_loss = coverage_loss + overlap.masked_fill(true < 0, 0.0).sum()
            # The smallest of exponential variables with these rates: the draw that `multinomial` makes, without its
            # check of the arguments, which waits for a GPU.
            probabilities = logits.detach().softmax(dim=-1)
            waits = -draw_uniform(tuple(probabilities.shape), y.device).clamp(min=2.0**-25).log()
            drawn = (probabilities / waits).argmax(dim=-1)
            keep = draw_uniform((len(y),), y.device) < share
            symbols = torch.where(keep, y[:, t], drawn)[:, None]
        return nats + (self.loss_options.coverage or 0.0) * coverage_loss

    def extra_repr(self) -> str:
        return f"{self.search_options}"


def _target(batch: Batch) -> tuple[Tensor, Tensor]:
    """(B, U) ids and (B,) lengths on the CPU, the end counted."""
    assert batch.y is not None
    assert batch.y_lengths is not None
    return batch.y, batch.y_lengths


def _shifted(y: Tensor) -> Tensor:
    """(B, U) true symbols -> (B, U) what is read at each step: the start symbol, then the true ones but the last."""
    return torch.cat([torch.full_like(y[:, :1], START), y[:, :-1]], dim=1)


def _real(y: Tensor, lengths: Tensor) -> Tensor:
    """(B, U) -> (N,) without padding."""
    return real_steps(y[..., None], lengths).squeeze(-1)
