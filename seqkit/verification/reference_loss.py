"""The loss of a head by another way than its own: from what it predicts, or from what all its probabilities sum to.

A head says a loss and says predictions, and the two must be of one mind. How that shows depends on the target:

* `Label`, `Labels`: the loss is -ln of the probability that the prediction gives the true label;
* `Next`: the nats that a prediction tells, times its symbols, are the loss;
* `Text`: the loss is what the head's decoder says of the true symbols, asked for one at a time; or, without such a
  decoder, exp(-loss) sums to one over all texts that an input of two steps may have;
* `Tags`: over all ways to tag two steps (or all that the scheme allows), exp(-loss) sums to one;
* `Values`: the loss is the squared, absolute or Huber error of the prediction, or a Gaussian's likelihood.

A head whose predictions say none of this is not judged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqkit.errors import DataError
from seqkit.fields import Label, Labels, Next, Tags, Text, Values
from seqkit.interfaces import Batch
from seqkit.model import Model
from seqkit.spans import fault
from seqkit.types import END, START, UNKNOWN, Prediction

MOST_WAYS = 1200
"""Sequences of tags that are tried."""
LEAST = 1e-25
"""A probability below this has no logarithm in single precision to speak of."""


@torch.no_grad()
def reference_loss(model: Model, task: str, batch: Batch) -> tuple[float, float, str] | None:
    """(the head's number, the same by hand, what they are), or None if this head's predictions do not say.

    The model is in evaluation mode: label smoothing and the like belong to training.
    """
    target = getattr(model.head(task), "target", None)
    if batch.y is None or target is None:
        return None
    if isinstance(target, Tags):
        return _all_tags(model, task, batch, target)
    encoded = model.encode(task, batch)
    decoder = getattr(model.head(task), "decoder", None)
    if isinstance(target, Text) and all(hasattr(decoder, name) for name in ("begin", "step", "logits")):
        nats = sum(_one_by_one(model, task, batch.take([row]).trimmed()) for row in range(batch.size))
        return float(model.head(task).loss(encoded, batch)[0]), nats, "what the decoder says, symbol by symbol"
    if isinstance(target, Text):
        return _all_texts(model, task, batch, target)
    predictions = model.head(task).predict(encoded, batch)
    loss = float(model.head(task).loss(encoded, batch)[0])
    if isinstance(target, (Label, Labels)):
        hand = _labels(target, batch.y, predictions)
        return None if hand is None else (loss, hand, "-ln of the probabilities of the true labels")
    if isinstance(target, Next):
        hand = _nats(predictions)
        return None if hand is None else (loss, hand, "the nats that the predictions tell, times their symbols")
    if isinstance(target, Values):
        return _values(target, batch.y, predictions, loss)
    return None


def _labels(target: Any, y: Tensor, predictions: Sequence[Prediction]) -> float | None:
    total = 0.0
    for true, said in zip(y.tolist(), predictions, strict=True):
        if not isinstance(said.scores, dict) or list(said.scores) != list(target.labels):
            return None
        shares = [each if isinstance(each, list) else [each] for each in said.scores.values()]
        for steps in zip(*shares, strict=True):
            if isinstance(true, list):
                chances = [share if yes else 1.0 - share for share, yes in zip(steps, true, strict=True)]
            else:
                chances = [steps[true]]
            if min(chances) < LEAST:
                return None
            total -= sum(math.log(chance) for chance in chances)
    return total


def _nats(predictions: Sequence[Prediction]) -> float | None:
    total = 0.0
    for said in predictions:
        if not isinstance(said.scores, dict) or not {"nats", "symbols"} <= said.scores.keys():
            return None
        total += (said.scores["nats"] or 0.0) * said.scores["symbols"]
    return total


def _one_by_one(model: Model, task: str, one: Batch) -> float:
    """Nats of one true text, each symbol read only after the one before it was judged."""
    assert one.y is not None
    decoder: Any = model.head(task).decoder
    source, at = decoder.begin(model.encode(task, one))
    read, total = START, 0.0
    for true in one.y[0].tolist():
        readout, at, _ = decoder.step(source, at, torch.tensor([[read]]))
        total -= float(decoder.logits(readout).double().log_softmax(dim=-1)[0, 0, true])
        read = true
    return total


def _all_texts(model: Model, task: str, batch: Batch, target: Any) -> tuple[float, float, str] | None:
    """The probabilities of all texts of no, one and two symbols, of an input that is encoded as two steps."""
    found = _of_two_steps(model, task, batch)
    symbols = [UNKNOWN, *range(END + 1, target.size)]
    if found is None or len(symbols) ** 2 > MOST_WAYS:
        return None
    total = 0.0
    texts = [(), *((each,) for each in symbols), *itertools.product(symbols, repeat=2)]
    for text in texts:
        y = torch.tensor([[*text, END]])
        tried = replace(found, y=y, y_lengths=torch.tensor([y.shape[1]]))
        try:
            total += math.exp(-float(model.loss(task, tried)[0]))
        except DataError:
            continue  # no way leads from two steps to two symbols of a kind
    return total, 1.0, f"exp(-loss) summed over all texts ({len(texts)}) of up to two symbols, for two steps"


def _of_two_steps(model: Model, task: str, batch: Batch) -> Batch | None:
    for steps in range(1, int(batch.lengths[0]) + 1):
        lengths = torch.tensor([steps])
        try:
            encoded = int(model.layers[task](batch.x[:1, :steps], lengths)[1][0])
        except (ValueError, RuntimeError):
            continue
        if encoded == 2:
            return Batch(batch.x[:1, :steps], lengths, ids=list(batch.ids)[:1])
    return None


def _all_tags(model: Model, task: str, batch: Batch, target: Any) -> tuple[float, float, str] | None:
    """The probabilities of all tags of one step, and of two where those are not too many."""
    steps = 2 if target.size**2 <= MOST_WAYS and int(batch.lengths[0]) >= 2 else 1
    ways = torch.tensor(list(itertools.product(range(target.size), repeat=steps)))
    if len(ways) > MOST_WAYS:
        return None
    one = batch.take([0])
    scheme = getattr(target, "learned", None)
    total, allowed = 0.0, 0.0
    for way in ways:
        lengths = torch.tensor([steps])
        tried = Batch(one.x[:, :steps], lengths, way[None], lengths, ids=one.ids)
        share = math.exp(-float(model.loss(task, tried)[0]))
        total += share
        # A head may hold a true sequence that the scheme forbids against others than those it allows.
        if scheme is None or fault([target.labels[k] for k in way.tolist()], scheme) is None:
            allowed += share
    found = min(total, allowed, key=lambda each: abs(each - 1.0))
    return found, 1.0, f"exp(-loss) summed over all ways ({len(ways)}) to tag {steps} steps"


def _values(target: Any, y: Tensor, predictions: Sequence[Prediction], loss: float) -> tuple[float, float, str] | None:
    """The kind of loss that comes nearest to what the head says."""
    rows = y.reshape(len(predictions), -1).double().numpy()
    try:
        means = np.stack([np.asarray(target.encode(said.value), dtype=np.float64).reshape(-1) for said in predictions])
    except (TypeError, ValueError):
        return None
    off = means - rows
    far = np.abs(off)
    kinds = {
        "the squared errors of the predictions": float((off**2).sum()),
        "the absolute errors of the predictions": float(far.sum()),
        "the Huber errors of the predictions": float(np.where(far <= 1.0, 0.5 * off**2, far - 0.5).sum()),
    }
    spreads = _spreads(target, predictions)
    if spreads is not None:
        parts = 0.5 * (math.log(2 * math.pi) + 2 * np.log(spreads) + (off / spreads) ** 2)
        kinds = {"a Gaussian's likelihood": float(parts.sum())}
    name = min(kinds, key=lambda kind: abs(kinds[kind] - loss))
    return loss, kinds[name], name


def _spreads(target: Any, predictions: Sequence[Prediction]) -> np.ndarray | None:
    """(B, K) standard deviations in the field's units of learning, where predictions tell them."""
    found = []
    for said in predictions:
        if not isinstance(said.scores, dict) or "sd" not in said.scores:
            return None
        value, sd = (np.asarray(each, dtype=np.float64).reshape(-1) for each in (said.value, said.scores["sd"]))
        shifted = value + sd
        both = [shifted.tolist(), value.tolist()] if value.size > 1 else [float(shifted[0]), float(value[0])]
        above, mean = (np.asarray(target.encode(each), dtype=np.float64).reshape(-1) for each in both)
        found.append(above - mean)
    return np.stack(found)
