"""Behavioural contracts: what must not move a model's answers, checked on a handful of its own examples in seconds.

A contract changes something that must not matter (what stands in the padding, how much of it there is, which examples
share the batch) or something that must (a state carried over), and compares the answers stage by stage: input layer,
encoder, final vector, prediction. A failure names the first stage that moved, by how much, and the likely cause.

Any encoder, head or input layer is checked, plugins included: nothing here knows how they are made.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seqkit.interfaces import Batch, Encoded, Encoder, Head
from seqkit.model import Model
from seqkit.types import Prediction
from seqkit.verification.reference_loss import reference_loss

TOLERANCE = 1e-5
"""How far an answer may move, relative to the largest number of its stage: single precision, sums in another order."""

STAGES = ("input layer", "encoder", "final vector", "prediction")


@dataclass(frozen=True)
class ContractResult:
    """What one contract found.

    Attributes:
        contract: its name.
        where: task, or encoder options, that it was checked on.
        moved: by how much the answers moved, relative to their size; nan if it does not apply.
        passed: whether that is within the tolerance.
        cause: for a failure, what moved and why that is likely.
    """

    contract: str
    where: str
    moved: float
    passed: bool
    cause: str = ""

    def __str__(self) -> str:
        mark = "ok  " if self.passed else "FAIL"
        return f"{mark}  {self.where}: {self.contract} (moved by {self.moved:.1e})" + (
            f"\n      {self.cause}" if self.cause else ""
        )


@dataclass(frozen=True)
class Answer:
    """What a model says of one example, stage by stage, each a flat tensor in double precision."""

    stages: tuple[Tensor, ...]


@torch.no_grad()
def answers(model: Model, task: str, batch: Batch) -> list[Answer]:
    """One answer an example of the batch, padding left out."""
    steps, lengths = model.layers[task](batch.x, batch.lengths)
    encoded: Encoded = model.encoder(steps, lengths)
    predictions = model.head(task).predict(encoded, batch)
    made = []
    for row in range(batch.size):
        seen = int(lengths[row])
        stages = (steps[row, :seen], encoded.steps[row, :seen], encoded.last[row], _numbers(predictions[row]))
        made.append(Answer(tuple(stage.detach().double().flatten() for stage in stages)))
    return made


def prove_task(model: Model, task: str, batch: Batch) -> Iterator[ContractResult]:
    """Every contract of one task, on one batch of its own examples (different lengths, at least three).

    The model is put in evaluation mode for as long as it takes; nothing of it is changed.
    """
    was_training = model.training
    model.eval()
    try:
        before = answers(model, task, batch)
        for name, change, cause in _HARMLESS:
            for variant, rows in change(batch):
                yield _compare(name, task, before, answers(model, task, variant), rows, cause)
        yield _shortest(model, task, batch)
        yield _loss_adds_up(model, task, batch)
        yield _loss_by_hand(model, task, batch)
        yield _gradient_stays_inside(model, task, batch)
        if model.encoder.causal:
            yield from _causal(model.encoder, model, task, batch)
            yield _carried(model.encoder, model, task, batch)
        yield _saved(model, task, batch, before)
    finally:
        model.train(was_training)


def prove_encoder(encoder: Encoder, dim: int, where: str) -> Iterator[ContractResult]:
    """The contracts of an encoder alone, on random steps: for options that no recipe may have tried."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([7, 3, 1, 5])
    x = torch.randn(4, 7, dim, generator=generator)
    x[torch.arange(7)[None] >= lengths[:, None]] = 0.0
    batch = Batch(x, lengths)
    model = Model({"steps": _Plain()}, encoder, {"steps": _Silent()})
    model.eval()
    before = answers(model, "steps", batch)
    for name, change, cause in _HARMLESS:
        for variant, rows in change(batch):
            yield _compare(name, where, before, answers(model, "steps", variant), rows, cause)
    if encoder.causal:
        yield from (replace(found, where=where) for found in _causal(encoder, model, "steps", batch))
        yield replace(_carried(encoder, model, "steps", batch), where=where)


def worst_per_contract(findings: Iterator[ContractResult]) -> Iterator[ContractResult]:
    """One finding a contract and place: the one that moved most."""
    for _, group in itertools.groupby(findings, key=lambda found: (found.contract, found.where)):
        yield max(group, key=lambda found: (not found.passed, found.moved))


class _Plain(torch.nn.Module):
    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return x, lengths


class _Silent(Head):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("an encoder alone has no loss")

    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(None)] * batch.size


# ---- what must not matter: (changed batch, for each of its rows the row of the first batch that it must equal)

BatchVariant = Callable[[Batch], Iterator[tuple[Batch, list[int]]]]


def _garbage(batch: Batch) -> Iterator[tuple[Batch, list[int]]]:
    """Something else than zeros in the padding: other real steps, and for numbers something large."""
    outside = torch.arange(batch.x.shape[1])[None] >= batch.lengths[:, None]
    for value in _loud(batch.x):
        x = batch.x.clone()
        x[outside] = value
        yield replace(batch, x=x), list(range(batch.size))


def _longer(batch: Batch) -> Iterator[tuple[Batch, list[int]]]:
    """More padding than the longest example needs."""
    for extra in (1, 9, *_awkward(batch)):
        x, y = _extend(batch.x, extra), batch.y
        if y is not None and batch.y_lengths is not None:
            y = _extend(y, extra)
        yield replace(batch, x=x, y=y), list(range(batch.size))


def _awkward(batch: Batch) -> list[int]:
    """Padding in which some length, kept as a share of the width and cut to a whole number, loses its last step."""
    width = batch.x.shape[1]
    for extra in range(2, 65):
        share = batch.lengths.float() / (width + extra)
        if bool(((share * (width + extra)).int() < batch.lengths).any()):
            return [extra]
    return []


def _mates(batch: Batch) -> Iterator[tuple[Batch, list[int]]]:
    """Other examples beside it: all but one are replaced by copies of a third, so that only their content differs."""
    for row in range(batch.size):
        other = (row + 1) % batch.size
        rows = [row if k == row else other for k in range(batch.size)]
        yield batch.take(rows), rows


def _alone(batch: Batch) -> Iterator[tuple[Batch, list[int]]]:
    """A batch of one, without any padding."""
    for row in range(batch.size):
        yield batch.take([row]).trimmed(), [row]


def _order(batch: Batch) -> Iterator[tuple[Batch, list[int]]]:
    """The same examples in another order."""
    rows = list(range(batch.size))[::-1]
    yield batch.take(rows), rows


_HARMLESS: Sequence[tuple[str, BatchVariant, str]] = (
    (
        "what stands in the padding does not matter",
        _garbage,
        "the mask is ignored: padding is pooled, attended, normalised over, or read by the backward direction first",
    ),
    (
        "how much padding there is does not matter",
        _longer,
        "something is divided by the padded length, or the last step is read at index -1 instead of length - 1",
    ),
    (
        "other examples in the batch do not matter",
        _mates,
        "the recurrence runs over the batch axis, or a mean is taken over the batch",
    ),
    (
        "a batch of one equals a batch of many",
        _alone,
        "lengths are relative to the longest of the batch (7 / 23 of 23 is 6 when cut to an integer), or padding leaks",
    ),
    ("the order of examples does not matter", _order, "rows are not put back where they came from after sorting"),
)


# ---- what must hold beside that


def _loss_adds_up(model: Model, task: str, batch: Batch) -> ContractResult:
    """The loss of a batch is the sum of the losses of its examples, and so is its count."""
    name = "the loss of a batch is the sum over its examples"
    if batch.y is None:
        return ContractResult(name, task, math.nan, True)
    with torch.no_grad():
        total, count, _ = model.loss(task, batch)
        parts = [model.loss(task, batch.take([row]).trimmed()) for row in range(batch.size)]
    single, counted = sum(float(part[0]) for part in parts), sum(float(part[1]) for part in parts)
    moved = abs(float(total) - single) / max(1e-9, abs(single))
    if float(count) != counted:
        cause = f"a batch counts {float(count):g} terms, its examples one by one {counted:g}: padding is counted"
        return ContractResult(name, task, moved, False, cause)
    passed = moved <= TOLERANCE
    cause = "" if passed else "padding adds to the loss, or the loss is a mean over the batch"
    return ContractResult(name, task, moved, passed, cause)


def _loss_by_hand(model: Model, task: str, batch: Batch) -> ContractResult:
    """The loss is the number that the predictions give; see `seqkit.verification.reference_loss`."""
    name = "the loss equals one computed by hand"
    found = reference_loss(model, task, batch)
    if found is None:
        return ContractResult(name, task, math.nan, True)
    loss, hand, what = found
    moved = abs(loss - hand) / max(1.0, abs(hand))
    # Confidences are exponentials in single precision, of which the logarithm is taken again.
    passed = moved <= 20 * TOLERANCE
    cause = f"it is {loss:.6g}, and {what}: {hand:.6g}; loss and prediction are not of one mind"
    return ContractResult(name, task, moved, passed, "" if passed else cause)


def _shortest(model: Model, task: str, batch: Batch) -> ContractResult:
    """The shortest input (one step, where the input layer takes that) is answered, and alike on its own."""
    name = "the shortest input is answered like any other"
    steps = _least_steps(model, task, batch)
    if steps is None:
        return ContractResult(name, task, math.nan, True)
    alone = Batch(batch.x[:1, :steps], torch.tensor([steps]), ids=list(batch.ids)[:1])
    lengths = batch.lengths.clone()
    lengths[0] = steps
    x = batch.x.clone()
    x[0, steps:] = 0
    cause = "lengths of one step are a case of their own, or a batch without any padding is"
    try:
        before = answers(model, task, alone)
        after = answers(model, task, Batch(x, lengths, ids=batch.ids))[:1]
    except Exception as error:
        said = f"an input of {steps} steps ends in {type(error).__name__}: {error}"
        return ContractResult(name, task, math.inf, False, said)
    if any(not bool(stage.isfinite().all()) for answer in (*before, *after) for stage in answer.stages):
        return ContractResult(name, task, math.inf, False, f"the answer to an input of {steps} steps is not finite")
    return _compare(name, task, before, after, [0], cause)


@torch.no_grad()
def _least_steps(model: Model, task: str, batch: Batch) -> int | None:
    """The fewest input steps of which the input layer makes an encoded step."""
    for steps in range(1, int(batch.lengths[0]) + 1):
        try:
            _, lengths = model.layers[task](batch.x[:1, :steps], torch.tensor([steps]))
        except (ValueError, RuntimeError):
            continue  # a window wider than the input, which its field refuses
        if int(lengths[0]) >= 1:
            return steps
    return None


def _gradient_stays_inside(model: Model, task: str, batch: Batch) -> ContractResult:
    """No gradient reaches a step in the padding."""
    name = "no gradient reaches the padding"
    layer = model.layers[task]
    held: list[Tensor] = []

    def keep(module: Any, given: Any, out: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        steps = out[0].detach().requires_grad_()
        held.append(steps)
        return steps, out[1]

    hook = layer.register_forward_hook(keep)
    try:
        loss, _, encoded = model.loss(task, batch)
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(loss, held[0])
    outside = torch.arange(gradient.shape[1])[None] >= encoded.lengths[:, None]
    worst = float(gradient[outside].abs().max()) if bool(outside.any()) else 0.0
    moved = worst / max(1e-9, float(gradient.abs().max()))
    return ContractResult(
        name,
        task,
        moved,
        worst == 0.0,
        "" if worst == 0.0 else "padded steps take part in the loss",
    )


def _causal(encoder: Encoder, model: Model, task: str, batch: Batch) -> Iterator[ContractResult]:
    """The future does not move the past: what an encoder says of a step depends on no later one."""
    with torch.no_grad():
        steps, lengths = model.layers[task](batch.x, batch.lengths)
        whole = encoder(steps, lengths).steps
        worst, size = 0.0, max(1e-9, float(whole.abs().max()))
        for at in range(1, steps.shape[1]):
            changed = steps.clone()
            changed[:, at:] = changed[:, at:].roll(1, dims=0) + 1.0
            worst = max(worst, float((encoder(changed, lengths).steps[:, :at] - whole[:, :at]).abs().max()))
    passed = worst / size <= TOLERANCE
    cause = "" if passed else "the encoder says it is causal, and an earlier step moved when a later one changed"
    yield ContractResult("the future does not move the past", task, worst / size, passed, cause)


def _carried(encoder: Encoder, model: Model, task: str, batch: Batch) -> ContractResult:
    """Two halves with the state carried over equal the whole."""
    name = "two halves with the state carried equal the whole"
    with torch.no_grad():
        steps, lengths = model.layers[task](batch.x, batch.lengths)
        rows = lengths >= 2
        if not bool(rows.any()):
            return ContractResult(name, task, math.nan, True)
        steps, lengths = steps[rows], lengths[rows]
        whole = encoder(steps, lengths)
        worst, size = 0.0, max(1e-9, float(whole.steps.abs().max()))
        for row in range(len(lengths)):
            length, half = int(lengths[row]), int(lengths[row]) // 2
            one = steps[row : row + 1, :length]
            first = encoder(one[:, :half], torch.tensor([half]))
            second = encoder(one[:, half:], torch.tensor([length - half]), first.state)
            worst = max(worst, float((second.steps[0] - whole.steps[row, half:length]).abs().max()))
        # And from a padded batch: each row's state is the one at its own end.
        halves = (lengths // 2).clamp(min=1)
        first = encoder(steps[:, : int(halves.max())], halves)
        for row in range(len(lengths)):
            length, half = int(lengths[row]), int(halves[row])
            state = tuple(part[row : row + 1] for part in first.state)
            second = encoder(steps[row : row + 1, half:length], torch.tensor([length - half]), state)
            worst = max(worst, float((second.steps[0] - whole.steps[row, half:length]).abs().max()))
    passed = worst / size <= TOLERANCE
    cause = "" if passed else "the state handed on is not the one after each sequence's own last step"
    return ContractResult(name, task, worst / size, passed, cause)


def _saved(model: Model, task: str, batch: Batch, before: list[Answer]) -> ContractResult:
    """A model made again from its own saved weights says the same."""
    again = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator) if parameter.is_floating_point() else parameter
            )
    again.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    cause = "something that the answers depend on is no part of the saved state"
    rows = list(range(batch.size))
    return _compare("a saved and reloaded model says the same", task, before, answers(again, task, batch), rows, cause)


def prove_reloaded(model: Model, again: Model, task: str, batch: Batch, same: Batch) -> ContractResult:
    """A model opened from its folder says what the one in memory says; `same` is the batch, encoded by its fields."""
    name = "a model opened from its folder says the same"
    was_training = model.training
    try:
        before = answers(model.eval(), task, batch)
        after = answers(again.eval(), task, same)
    finally:
        model.train(was_training)
    cause = "weights, or what a field learned, are not all in the folder"
    return _compare(name, task, before, after, list(range(batch.size)), cause)


# ---- comparing and rearranging


def _compare(
    contract: str, where: str, before: Sequence[Answer], after: Sequence[Answer], rows: Sequence[int], cause: str
) -> ContractResult:
    worst, said = 0.0, ""
    for row, answer in zip(rows, after, strict=True):
        for stage, one, two in zip(STAGES, before[row].stages, answer.stages, strict=True):
            if one.shape != two.shape:
                return ContractResult(
                    contract, where, math.inf, False, f"{stage} of example {row} has another length; {cause}"
                )
            if one.numel() == 0:
                continue
            moved = float((one - two).abs().max() / one.abs().max().clamp(min=1e-3))
            if not moved <= TOLERANCE and not said:
                said = f"the {stage} of example {row} moved by {moved:.1e}, and nothing before it did: {cause}"
            worst = max(worst, moved) if not math.isnan(moved) else math.inf
    return ContractResult(contract, where, worst, not said, said)


def _numbers(prediction: Prediction) -> Tensor:
    """Confidence and scores of a prediction as one flat tensor."""
    found: list[float] = []

    def walk(value: Any) -> None:
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return
        if isinstance(value, Mapping):
            for key in sorted(value):
                walk(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif isinstance(value, (int, float)):
            found.append(float(value))

    walk(prediction.confidence)
    walk(prediction.scores)
    return torch.tensor(found, dtype=torch.float64)


def _loud(x: Tensor) -> list[Tensor | float | int]:
    """What may stand in padding and must not be heard: other symbols, large numbers."""
    if x.dtype.is_floating_point:
        return [100.0, -1.0]
    most = int(x.max())
    return [most, max(0, most - 1)]


def _extend(x: Tensor, extra: int) -> Tensor:
    return torch.cat([x, x.new_zeros(x.shape[0], extra, *x.shape[2:])], dim=1)
