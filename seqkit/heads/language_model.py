"""The next symbol at each step: the module behind `language`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.fields import Next
from seqkit.heads import chunked_cross_entropy
from seqkit.heads.adaptive_softmax import AdaptiveSoftmax
from seqkit.heads.joining import JointSoftmax, scale_map
from seqkit.heads.option_types import Softmax, find_contradiction
from seqkit.interfaces import Batch, Encoded, FiniteCheck, Head, State, check_finite
from seqkit.kernels.ragged import real_steps
from seqkit.layers.dropout import Dropout
from seqkit.types import Field, Prediction
from seqkit.uploads import from_lengths, last_steps, read_back

NO_TARGET = -1


class Language(Head):
    """A softmax over the input's symbols; see `seqkit.heads.language` for the options.

    `Prediction.value` lists the most probable next symbol after each step, `confidence` the probability of each.
    `scores` is `{"nats": mean over the true next symbols, None without any, "symbols": how many they are}`.
    """

    accepts = (Next,)
    output_axes = MappingProxyType({"log_probs": ("batch", "steps", "symbols")})
    needs_causal = True
    generates = True
    per_step = True
    gives_log_probs = True
    loss_name = "nats"

    def __init__(
        self,
        dim: int,
        target: Field,
        layer: nn.Module | None,
        *,
        tied: bool,
        dropout: float,
        label_smoothing: float,
        softmax: Softmax,
        cutoffs: Sequence[int],
    ) -> None:
        super().__init__()
        conflict = find_contradiction(tied=tied, label_smoothing=label_smoothing, softmax=softmax, cutoffs=cutoffs)
        if conflict:
            raise UsageError(f"language: {conflict}")
        size: Any = getattr(layer, "size", None)
        weight: Any = getattr(layer, "weight", None)
        if size is None or weight is None:
            raise UsageError("language: the input must be symbols (Tokens), because the head predicts the next input")
        self.target = target
        self.label_smoothing = label_smoothing
        self.dropout = Dropout(dropout)
        self.adaptive: AdaptiveSoftmax | JointSoftmax | None = None
        if softmax == "adaptive":
            self.adaptive = AdaptiveSoftmax(dim, size, cutoffs)
            return
        self.bias = nn.Parameter(torch.zeros(size))
        # Tied weights belong to the layer and are saved once. A tuple hides the layer from torch, which would otherwise
        # register it here too, and the weights are read at each call, so that a moved or copied model uses its own.
        self._tied: tuple[Any, ...] = (layer,) if tied else ()
        width = weight.shape[1]
        self.narrow = nn.Linear(dim, width) if tied and width != dim else nn.Identity()
        if tied:
            self.register_parameter("weight", None)
        else:
            self.weight = nn.Parameter(torch.empty(size, dim))
            nn.init.xavier_uniform_(self.weight)

    def logits(self, steps: Tensor) -> Tensor:
        """(..., H) encoded steps -> (..., V) scores of the next symbol, in single precision.

        With an adaptive softmax they are log-probabilities.
        """
        if self.adaptive is not None:
            return self.adaptive.log_probabilities(self.dropout(steps))
        return functional.linear(self.narrow(self.dropout(steps)), self._output_weight(), self.bias).float()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats, and the number of steps whose next symbol is known (y is -1 where it is not)."""
        assert batch.y is not None
        y = real_steps(batch.y[..., None], encoded.lengths).squeeze(-1)
        steps = real_steps(encoded.steps, encoded.lengths)
        # Counted where the targets came from: a GPU would need operations for it, and for all that is computed with it.
        targets = batch.y if batch.host_y is None else batch.host_y
        known = (real_steps(targets, encoded.lengths) != NO_TARGET).sum()
        if self.adaptive is not None:
            return self.adaptive.loss(self.dropout(steps, encoded.lengths), y), known
        smoothing = self.label_smoothing if self.training else 0.0
        steps = self.narrow(self.dropout(steps, encoded.lengths))
        return chunked_cross_entropy.nats(steps, self._output_weight(), self.bias, y, smoothing=smoothing), known

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each step whose next symbol is known, all symbols. They are in memory at once, unlike in `loss`."""
        assert batch.y is not None
        y = real_steps(batch.y[..., None], encoded.lengths).squeeze(-1)
        steps = self.dropout(real_steps(encoded.steps, encoded.lengths), encoded.lengths)
        is_known = y != NO_TARGET
        if self.adaptive is not None:
            log_probs = self.adaptive.log_probabilities(steps[is_known])
        else:
            scores = functional.linear(self.narrow(steps[is_known]), self._output_weight(), self.bias).float()
            log_probs = scores.log_softmax(dim=-1)
        y = y[is_known]
        smoothing = self.label_smoothing if self.training else 0.0
        total = functional.cross_entropy(log_probs, y, label_smoothing=smoothing, reduction="sum")
        return total, torch.tensor(len(y)), log_probs

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"log_probs": self.logits(encoded.steps).log_softmax(dim=-1)}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence. Without targets, the true next symbols are the sequence's own, all but the first."""
        check = FiniteCheck(encoded.steps, batch, encoded.lengths)
        steps = real_steps(encoded.steps, encoded.lengths)
        y = real_steps(self._next_symbols(batch)[..., None], encoded.lengths).squeeze(-1)
        predictions = self._predict(steps, y, encoded.lengths.tolist())
        check.finish()
        return predictions

    @torch.no_grad()
    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """The most probable next symbol after each new step; nats are those of the new symbols.

        The encoded step before the new ones is kept, because it predicts the first of them.
        """
        check_finite(encoded.steps, batch, encoded.lengths)
        rows, symbols, lengths = [], [], []
        for row, x, length, past in zip(encoded.steps, batch.x, encoded.lengths.tolist(), kept, strict=True):
            rows += [*(tensor[None] for tensor in past), row[:length]]
            unknown = x.new_full((1,), NO_TARGET)
            symbols.append(torch.cat([x[0 if past else 1 : length], unknown]).long())
            lengths.append(length + len(past))
        predictions = self._predict(torch.cat(rows), torch.cat(symbols), lengths)
        counts = encoded.lengths.tolist()
        return [_without_first(prediction, len(past)) for prediction, past in zip(predictions, kept, strict=True)], [
            (row[count - 1].clone(),) for row, count in zip(encoded.steps, counts, strict=True)
        ]

    def _predict(self, steps: Tensor, y: Tensor, lengths: list[int]) -> list[Prediction]:
        """One a sequence.

        Args:
            steps: (N, H) the encoded steps of all sequences.
            y: (N,) the next symbols.
            lengths: how many steps each sequence has.
        """
        if self.adaptive is not None:
            nats, (best_log_probs, best) = self.adaptive.nats(steps, y), self.adaptive.best(steps)
        else:
            log_probs = self.logits(steps).log_softmax(dim=-1)
            nats = functional.nll_loss(log_probs, y, ignore_index=NO_TARGET, reduction="none")
            best_log_probs, best = log_probs.max(dim=-1)
        values = read_back(best, best_log_probs.exp(), nats, y != NO_TARGET)
        columns = [torch.split(tensor, lengths) for tensor in values]
        return [self._prediction(*row) for row in zip(*columns, strict=True)]

    @torch.no_grad()
    def scale_scores(self, factor: float) -> None:
        """In the vectors of the symbols; where they are the input layer's, in the linear map before them."""
        if self.adaptive is not None:
            raise TypeError("an adaptive softmax is one over clusters and others within them; take softmax: full")
        if isinstance(self.weight, Tensor):
            self.weight.mul_(factor)
        elif isinstance(self.narrow, nn.Linear):
            scale_map(self.narrow, factor)
        else:
            raise TypeError(
                "the vectors of the symbols are tied to the input layer's, and no linear map is between them and the "
                "encoder; take tied: false, or an encoder.hidden that is not encoder.dim"
            )
        self.bias.mul_(factor)

    def join_members(self, members: Sequence[Language], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities of the next symbol."""
        self.adaptive = JointSoftmax(members, widths)
        self.narrow = nn.Identity()
        for name in ("weight", "bias"):
            self.register_parameter(name, None)
        self._tied = ()

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The windows one after another; nats are the mean over the symbols of all of them."""
        count = sum(part.scores["symbols"] for part in parts)
        total = sum(part.scores["nats"] * part.scores["symbols"] for part in parts if part.scores["symbols"])
        confidence: list[float] = []
        for part in parts:
            assert isinstance(part.confidence, list)
            confidence += part.confidence
        value = [symbol for part in parts for symbol in part.value]
        return Prediction(value, confidence, {"nats": total / count if count else None, "symbols": count})

    def _output_weight(self) -> Tensor:
        """(V, H)"""
        weight: Tensor = self._tied[0].weight if self._tied else self.weight
        return weight

    def _next_symbols(self, batch: Batch) -> Tensor:
        """(B, T), -1 where there is none."""
        if batch.y is not None:
            return batch.y
        y = torch.full_like(batch.x, NO_TARGET, dtype=torch.int64)
        y[:, :-1] = batch.x[:, 1:]
        last = from_lengths(last_steps, batch.lengths, y.shape[1], y.device)
        return y.scatter_(1, last[:, None], NO_TARGET)

    def _prediction(self, best: Tensor, confidence: Tensor, nats: Tensor, known: Tensor) -> Prediction:
        count = int(known.sum())
        mean = float(nats.sum() / count) if count else None
        vocabulary: Any = getattr(getattr(self.target, "source", None), "vocabulary", None)
        symbols = best.tolist()
        value = symbols if vocabulary is None else vocabulary.names(symbols)
        return Prediction(value, confidence.tolist(), {"nats": mean, "symbols": count})


def _without_first(prediction: Prediction, count: int) -> Prediction:
    """The prediction without its first steps; its nats are as they were."""
    assert isinstance(prediction.confidence, list)
    return replace(prediction, value=prediction.value[count:], confidence=prediction.confidence[count:])
