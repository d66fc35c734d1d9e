"""The loss of a head, computed in another way: from its predictions, or as a distribution that sums to one.

How depends on the target:

* `Label`, `Labels`: the loss is the sum of -ln of the probabilities that the predictions give the true labels;
* `Next`: the loss is the sum of the nats of the predictions times their symbols;
* `Text`: the loss is the sum of -ln of the probabilities that the head's decoder gives the true symbols, one at a time.
  Without such a decoder, exp(-loss) sums to one over all texts that an input of two steps can have;
* `Tags`: exp(-loss) sums to one over all taggings of two steps, or over those that the scheme allows;
* `Values`, `StepValues`, `NextValues`: for a head that says by `values_loss` which of these it has, the loss is the
  squared, absolute or Huber error of the predictions, or a Gaussian's likelihood. Any other loss is compared with its
  own gradient: along it, the loss must rise as the gradient says.

A head whose predictions do not have these numbers is not checked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqkit.errors import DataError
from seqkit.fields import Label, Labels, Next, NextValues, StepValues, Tags, Text, Values
from seqkit.interfaces import Batch
from seqkit.model import Model
from seqkit.spans import fault
from seqkit.types import END, START, UNKNOWN, Prediction
from seqkit.verification.outputs import to_model

MAX_SEQUENCES = 1200
"""Sequences of tags or symbols that are tried at most."""

LEAST_PROBABILITY = 1e-25
"""Probabilities below this are too small for single precision, so that their logarithm says nothing."""

DIFFERENCE_TOLERANCE = 0.02
"""How far finite differences in single precision may be from the gradient, as a share of it."""

_ERROR_DESCRIPTIONS = {
    "mse": "the sum of the predictions' squared errors",
    "mae": "the sum of the predictions' absolute errors",
    "huber": "the sum of the predictions' Huber errors",
    "gaussian": "a Gaussian's negative log-likelihood",
}


@dataclass(frozen=True)
class ReferenceLoss:
    """A number that a head computes, and what it must be.

    Attributes:
        actual: from the head's loss.
        expected: from another computation.
        cause: a sentence for the case that they differ.
    """

    actual: float
    expected: float
    cause: str

    @classmethod
    def of_predictions(cls, loss: float, expected: float, description: str) -> ReferenceLoss:
        """A loss that must be what the predictions give."""
        cause = f"the loss and the predictions disagree: the loss is {loss:.6g}, but {description} is {expected:.6g}"
        return cls(loss, expected, cause)

    @classmethod
    def of_distribution(cls, total: float, description: str) -> ReferenceLoss:
        """exp(-loss) that must sum to one."""
        cause = (
            f"the loss is not a negative log-likelihood: exp(-loss), summed over {description}, is {total:.6g}, not 1"
        )
        return cls(total, 1.0, cause)


@torch.no_grad()
def reference_loss(model: Model, task: str, batch: Batch) -> ReferenceLoss | None:
    """The loss of a batch and a reference for it; None if the head's predictions do not have the numbers.

    The model must be in evaluation mode: label smoothing and the like are for training only.
    """
    head = model.head(task)
    target = getattr(head, "target", None)
    if batch.y is None or target is None:
        return None
    on_cpu, batch = batch, to_model(batch, model)
    assert batch.y is not None
    if isinstance(target, Tags):
        return _sum_over_tags(model, task, batch, target)
    encoded = model.encode(task, batch)
    decoder = getattr(head, "decoder", None)
    if isinstance(target, Text):
        if not all(hasattr(decoder, name) for name in ("begin", "step", "logits")):
            return _sum_over_texts(model, task, batch, target)
        nats = sum(_decoder_nats(model, task, batch.take([row]).trimmed()) for row in range(batch.size))
        loss = float(head.loss(encoded, batch)[0])
        return ReferenceLoss.of_predictions(
            loss, nats, "the sum of -ln of the true symbols' probabilities, from the decoder one symbol at a time,"
        )
    predictions = head.predict(encoded, batch)
    loss = float(head.loss(encoded, batch)[0])
    if isinstance(target, (Label, Labels)):
        nats_of_labels = _label_nats(target, batch.y, predictions)
        description = "the sum of -ln of the true labels' probabilities"
        return None if nats_of_labels is None else ReferenceLoss.of_predictions(loss, nats_of_labels, description)
    if isinstance(target, Next):
        nats_of_symbols = _next_symbol_nats(predictions)
        description = "the sum of the predictions' nats, each times its symbols,"
        return None if nats_of_symbols is None else ReferenceLoss.of_predictions(loss, nats_of_symbols, description)
    if isinstance(target, Values | StepValues | NextValues):
        if head.values_loss is None:
            return rise_along_gradient(model, task, batch)
        return _declared_error(head.values_loss, target, on_cpu, predictions, loss)
    return None


def _label_nats(target: Any, y: Tensor, predictions: Sequence[Prediction]) -> float | None:
    """-ln of the probabilities of the true labels, summed; None without scores, or with one that is almost zero."""
    total = 0.0
    for true, prediction in zip(y.tolist(), predictions, strict=True):
        if not isinstance(prediction.scores, dict) or list(prediction.scores) != list(target.labels):
            return None
        scores = [score if isinstance(score, list) else [score] for score in prediction.scores.values()]
        for probabilities in zip(*scores, strict=True):
            if isinstance(true, list):
                true_probabilities = [p if is_true else 1.0 - p for p, is_true in zip(probabilities, true, strict=True)]
            else:
                true_probabilities = [probabilities[true]]
            if min(true_probabilities) < LEAST_PROBABILITY:
                return None
            total -= sum(math.log(probability) for probability in true_probabilities)
    return total


def _next_symbol_nats(predictions: Sequence[Prediction]) -> float | None:
    """The nats of all symbols; None if a prediction has none."""
    total = 0.0
    for prediction in predictions:
        if not isinstance(prediction.scores, dict) or not {"nats", "symbols"} <= prediction.scores.keys():
            return None
        total += (prediction.scores["nats"] or 0.0) * prediction.scores["symbols"]
    return total


def _decoder_nats(model: Model, task: str, single: Batch) -> float:
    """-ln of the probability of one true text, from the decoder's step for each symbol."""
    assert single.y is not None
    decoder: Any = model.head(task).decoder
    source, state = decoder.begin(model.encode(task, single))
    previous, total = START, 0.0
    for symbol in single.y[0].tolist():
        readout, state, _ = decoder.step(source, state, torch.tensor([[previous]], device=single.x.device))
        total -= float(decoder.logits(readout).double().log_softmax(dim=-1)[0, 0, symbol])
        previous = symbol
    return total


def _sum_over_texts(model: Model, task: str, batch: Batch, target: Any) -> ReferenceLoss | None:
    """The probabilities of all texts of at most two symbols, for an input that is encoded as two steps."""
    single = _input_of_two_steps(model, task, batch)
    symbols = [UNKNOWN, *range(END + 1, target.size)]
    if single is None or len(symbols) ** 2 > MAX_SEQUENCES:
        return None
    total = 0.0
    texts = [(), *((symbol,) for symbol in symbols), *itertools.product(symbols, repeat=2)]
    for text in texts:
        y = torch.tensor([[*text, END]], device=single.x.device)
        try:
            loss, _, _ = model.loss(task, replace(single, y=y, y_lengths=torch.tensor([y.shape[1]])))
        except DataError:
            continue  # two equal symbols have no alignment with two steps
        total += math.exp(-float(loss))
    return ReferenceLoss.of_distribution(total, f"all {len(texts)} texts of at most two symbols, for two steps")


def _input_of_two_steps(model: Model, task: str, batch: Batch) -> Batch | None:
    """The beginning of the first example of which the input layer makes two steps."""
    for steps in range(1, int(batch.lengths[0]) + 1):
        lengths = torch.tensor([steps])
        try:
            _, encoded_lengths = model.layer(task)(batch.x[:1, :steps], lengths)
        except (ValueError, RuntimeError):
            continue  # a window wider than the input
        if int(encoded_lengths[0]) == 2:
            return Batch(batch.x[:1, :steps], lengths, ids=list(batch.ids)[:1])
    return None


def _sum_over_tags(model: Model, task: str, batch: Batch, target: Any) -> ReferenceLoss | None:
    """The probabilities of all taggings of two steps, or of one step if there are many tags."""
    steps = 2 if target.size**2 <= MAX_SEQUENCES and int(batch.lengths[0]) >= 2 else 1
    taggings = torch.tensor(list(itertools.product(range(target.size), repeat=steps)))
    if len(taggings) > MAX_SEQUENCES:
        return None
    single, lengths = batch.take([0]), torch.tensor([steps])
    scheme = getattr(target, "learned", None)
    total, legal_total = 0.0, 0.0
    for tagging in taggings:
        y = tagging[None].to(single.x.device)
        loss, _, _ = model.loss(task, Batch(single.x[:, :steps], lengths, y, lengths, ids=single.ids))
        probability = math.exp(-float(loss))
        total += probability
        if scheme is None or fault([target.labels[label] for label in tagging.tolist()], scheme) is None:
            legal_total += probability
    # A head may normalise an illegal true sequence over other sequences than a legal one.
    closest = min(total, legal_total, key=lambda value: abs(value - 1.0))
    return ReferenceLoss.of_distribution(closest, f"all {len(taggings)} ways to tag {steps} steps")


@torch.no_grad()
def rise_along_gradient(model: Model, task: str, batch: Batch) -> ReferenceLoss:
    """How fast the loss rises along its gradient, by finite differences, in units of the gradient's norm."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        loss, _, _ = model.loss(task, batch)
        if not loss.requires_grad:
            return ReferenceLoss(0.0, 1.0, "the loss has no gradient: it was detached")
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    moved = [(p, g.to_dense()) for p, g in zip(parameters, gradients, strict=True) if g is not None]
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for _, gradient in moved))
    if norm == 0.0:
        return ReferenceLoss(0.0, 1.0, "the gradient of the loss is zero")
    values = [parameter.clone() for parameter, _ in moved]

    def loss_at(distance: float) -> float:
        for (parameter, gradient), value in zip(moved, values, strict=True):
            parameter.copy_(value + gradient * (distance / norm))
        return float(model.loss(task, batch)[0].double())

    try:
        # Long steps meet curvature and short ones rounding, so the best of several counts.
        rises = [(loss_at(size) - loss_at(-size)) / (2.0 * size * norm) for size in (0.1, 0.03, 0.01, 0.003)]
    finally:
        for (parameter, _), value in zip(moved, values, strict=True):
            parameter.copy_(value)
    rise = min(rises, key=lambda ratio: abs(ratio - 1.0))
    if abs(rise - 1.0) <= DIFFERENCE_TOLERANCE:
        return ReferenceLoss(1.0, 1.0, "")
    return ReferenceLoss(
        rise,
        1.0,
        f"the gradient is not that of the loss, which rises {rise:.3g} times as fast: was a part detached?",
    )


def _declared_error(
    kind: str, target: Any, batch: Batch, predictions: Sequence[Prediction], loss: float
) -> ReferenceLoss | None:
    """The error that the head says it minimises."""
    numbers = [_numbers_of(target, batch, row, prediction) for row, prediction in enumerate(predictions)]
    if any(value is None for value in numbers):
        return None
    true, means = (np.concatenate(side) for side in zip(*(value for value in numbers if value), strict=True))
    is_known = np.isfinite(true)
    errors = (means - true)[is_known]
    distances = np.abs(errors)
    sums = {
        "mse": float((errors**2).sum()),
        "mae": float(distances.sum()),
        "huber": float(np.where(distances <= 1.0, 0.5 * errors**2, distances - 0.5).sum()),
    }
    deviations = _standard_deviations(target, batch, predictions)
    if deviations is not None:
        deviations = deviations[is_known]
        nats = 0.5 * (math.log(2 * math.pi) + 2 * np.log(deviations) + (errors / deviations) ** 2)
        sums["gaussian"] = float(nats.sum())
    if kind not in sums:
        return None
    return ReferenceLoss.of_predictions(loss, sums[kind], _ERROR_DESCRIPTIONS[kind])


def _numbers_of(target: Any, batch: Batch, row: int, prediction: Prediction) -> tuple[np.ndarray, np.ndarray] | None:
    """The true numbers of an example and the predicted ones, in the units in which the head learns, flat.

    None if the prediction is no value of the target.
    """
    assert batch.y is not None
    y = batch.y[row] if batch.y_lengths is None else batch.y[row, : int(batch.y_lengths[row])]
    try:
        values = [_encode(target, batch, row, value) for value in _values_of(target, prediction)]
    except (TypeError, ValueError):
        return None
    true = np.tile(y.double().numpy().reshape(-1), len(values))
    return true, np.concatenate(values)


def _values_of(target: Any, prediction: Prediction) -> list[Any]:
    """The values that are compared with the target: one, or one for each step."""
    scores = prediction.scores
    if isinstance(target, Values) and isinstance(scores, dict) and "steps" in scores:
        return list(scores["steps"])
    return [prediction.value]


def _standard_deviations(target: Any, batch: Batch, predictions: Sequence[Prediction]) -> np.ndarray | None:
    """Flat, in the units in which the head learns; None if the predictions have none."""
    deviations = []
    for row, prediction in enumerate(predictions):
        if not isinstance(prediction.scores, dict) or "sd" not in prediction.scores:
            return None
        values, sds = _values_of(target, prediction), prediction.scores["sd"]
        for value, sd in zip(values, sds if "steps" in prediction.scores else [sds], strict=True):
            mean = np.asarray(value, dtype=np.float64)
            above = (mean + np.asarray(sd, dtype=np.float64)).tolist()
            deviations.append(_encode(target, batch, row, above) - _encode(target, batch, row, value))
    return np.concatenate(deviations)


def _encode(target: Any, batch: Batch, row: int, value: Any) -> np.ndarray:
    """(K,) a value as the head learns it."""
    rows = np.asarray(target.encode(value), dtype=np.float64)
    if isinstance(target, NextValues) and batch.extra:
        offset, divisor = (batch.extra[name][row].double().numpy() for name in ("offset", "divisor"))
        rows = (rows - offset) / divisor
    return rows.reshape(-1)
