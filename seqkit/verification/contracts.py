"""Behavioural contracts of a model, checked on a handful of its own examples in seconds.

A contract changes something that must not matter (the padding, the other examples of the batch) or uses something that
must be right (a state carried over), and compares the outputs stage by stage: input layer, encoder, final vector,
prediction. A failure names the first stage that moved, how far, and the likely cause.

This works for any encoder, head or input layer, those of plugins included.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from seqkit.interfaces import Batch, Encoded, Encoder, Head
from seqkit.model import Model
from seqkit.types import Prediction
from seqkit.verification.batch_variants import INVARIANCES
from seqkit.verification.outputs import TOLERANCE, ContractResult, ExampleOutput, compare, compute_outputs, to_model
from seqkit.verification.reference_loss import reference_loss


def prove_task(model: Model, task: str, batch: Batch) -> Iterator[ContractResult]:
    """The results of every contract of one task.

    The model is in evaluation mode meanwhile; nothing of it is changed.

    Args:
        model: the model.
        task: the name of the task.
        batch: at least three of its own examples, of different lengths, the longest first.
    """
    was_training = model.training
    model.eval()
    try:
        outputs = compute_outputs(model, task, batch)
        yield from _check_invariances(model, task, batch, outputs, where=task)
        yield _check_shortest_input(model, task, batch)
        yield _check_loss_is_a_sum(model, task, batch)
        yield _check_reference_loss(model, task, batch)
        yield _check_gradient_of_padding(model, task, batch)
        if model.encoder.causal:
            yield from _check_causal_encoder(model, task, batch, where=task)
        yield _check_saved_state(model, task, batch, outputs)
    finally:
        model.train(was_training)


def prove_encoder(encoder: Encoder, dim: int, where: str) -> Iterator[ContractResult]:
    """The contracts of an encoder alone, on random steps: for options that no recipe may have tried.

    Args:
        encoder: the encoder.
        dim: width of an input step.
        where: names it in the results.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([7, 3, 1, 5])
    x = torch.randn(4, 7, dim, generator=generator)
    x[torch.arange(7)[None] >= lengths[:, None]] = 0.0
    batch = Batch(x, lengths)
    model = Model({"steps": _IdentityLayer()}, encoder, {"steps": _EmptyHead()})
    model.eval()
    yield from _check_invariances(model, "steps", batch, compute_outputs(model, "steps", batch), where=where)
    if encoder.causal:
        yield from _check_causal_encoder(model, "steps", batch, where=where)


def prove_reloaded(model: Model, reloaded: Model, task: str, batch: Batch, *, reloaded_batch: Batch) -> ContractResult:
    """Whether a model that was loaded from its folder predicts what the one in memory predicts.

    Args:
        model: the model in memory.
        reloaded: the same one, loaded from its folder.
        task: the name of the task.
        batch: examples, encoded by the fields in memory.
        reloaded_batch: the same examples, encoded by the fields from the folder.
    """
    was_training = model.training
    try:
        before = compute_outputs(model.eval(), task, batch)
        after = compute_outputs(reloaded.eval(), task, reloaded_batch)
    finally:
        model.train(was_training)
    return compare(
        "a model loaded from its folder predicts the same",
        task,
        before,
        after,
        rows=range(batch.size),
        cause="the folder lacks some weights, or something that a field learned",
    )


def worst_per_contract(results: Iterator[ContractResult]) -> Iterator[ContractResult]:
    """For each contract, and each place where it was checked, the result that moved most."""
    for _, group in itertools.groupby(results, key=lambda result: (result.contract, result.where)):
        yield max(group, key=lambda result: (not result.passed, result.moved))


class _IdentityLayer(torch.nn.Module):
    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return x, lengths


class _EmptyHead(Head):
    """For an encoder alone: empty predictions, no loss."""

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("an encoder alone has no loss")

    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(None)] * batch.size


def _check_invariances(
    model: Model, task: str, batch: Batch, outputs: list[ExampleOutput], *, where: str
) -> Iterator[ContractResult]:
    """Padding, batch mates and order do not change an output."""
    for invariance in INVARIANCES:
        for variant in invariance.variants(batch):
            changed = compute_outputs(model, task, variant.batch)
            yield compare(invariance.contract, where, outputs, changed, rows=variant.rows, cause=invariance.cause)


def _check_loss_is_a_sum(model: Model, task: str, batch: Batch) -> ContractResult:
    """The loss of a batch is the sum of the losses of its examples, and so is its count."""
    contract = "the loss of a batch is the sum over its examples"
    if batch.y is None:
        return ContractResult.not_applicable(contract, task)
    batch = to_model(batch, model)
    with torch.no_grad():
        loss, count, _ = model.loss(task, batch)
        singles = [model.loss(task, batch.take([row]).trimmed()) for row in range(batch.size)]
    loss_sum, count_sum = sum(float(single[0]) for single in singles), sum(float(single[1]) for single in singles)
    moved = abs(float(loss) - loss_sum) / max(1e-9, abs(loss_sum))
    if float(count) != count_sum:
        cause = f"the batch counts {float(count):g} terms, its examples one by one {count_sum:g}: padding is counted"
        return ContractResult(contract, task, moved, False, cause)
    return ContractResult.measured(
        contract, task, moved, "padding adds to the loss, or the loss is a mean over the batch"
    )


def _check_reference_loss(model: Model, task: str, batch: Batch) -> ContractResult:
    """The loss is the number that the predictions give; see `seqkit.verification.reference_loss`."""
    contract = "the loss equals a reference computation"
    reference = reference_loss(model, task, batch)
    if reference is None:
        return ContractResult.not_applicable(contract, task)
    moved = abs(reference.actual - reference.expected) / max(1.0, abs(reference.expected))
    # The reference takes logarithms of probabilities that were rounded to single precision.
    return ContractResult.measured(contract, task, moved, reference.cause, tolerance=20 * TOLERANCE)


def _check_shortest_input(model: Model, task: str, batch: Batch) -> ContractResult:
    """The shortest input (one step, if the input layer accepts that) has finite outputs, the same alone and padded."""
    contract = "the shortest input works like any other"
    steps = _fewest_steps(model, task, batch)
    if steps is None:
        return ContractResult.not_applicable(contract, task)
    single = Batch(batch.x[:1, :steps], torch.tensor([steps]), ids=list(batch.ids)[:1])
    lengths = batch.lengths.clone()
    lengths[0] = steps
    x = batch.x.clone()
    x[0, steps:] = 0
    try:
        before = compute_outputs(model, task, single)
        after = compute_outputs(model, task, Batch(x, lengths, ids=batch.ids))[:1]
    except Exception as error:
        return ContractResult.failed(
            contract, task, f"an input of {steps} steps ends in {type(error).__name__}: {error}"
        )
    if not all(output.is_finite for output in (*before, *after)):
        return ContractResult.failed(contract, task, f"the output for an input of {steps} steps is not finite")
    cause = "lengths of one step, or batches without padding, are treated in a different way"
    return compare(contract, task, before, after, rows=[0], cause=cause)


@torch.no_grad()
def _fewest_steps(model: Model, task: str, batch: Batch) -> int | None:
    """The fewest input steps from which the input layer makes an encoded step; None if no number of them does."""
    batch = to_model(batch, model)
    for steps in range(1, int(batch.lengths[0]) + 1):
        try:
            _, lengths = model.layer(task)(batch.x[:1, :steps], torch.tensor([steps]))
        except (ValueError, RuntimeError):
            continue  # a window wider than the input, which its field refuses
        if int(lengths[0]) >= 1:
            return steps
    return None


def _check_gradient_of_padding(model: Model, task: str, batch: Batch) -> ContractResult:
    """No gradient reaches a step in the padding."""
    leaves: list[Tensor] = []

    def cut_graph(module: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        steps = output[0].detach().requires_grad_()
        leaves.append(steps)
        return steps, output[1]

    hook = model.layer(task).register_forward_hook(cut_graph)
    try:
        loss, _, encoded = model.loss(task, to_model(batch, model))
    finally:
        hook.remove()
    gradient = torch.autograd.grad(loss, leaves[0])[0].cpu()
    is_padding = torch.arange(gradient.shape[1])[None] >= encoded.lengths[:, None]
    largest = float(gradient[is_padding].abs().max()) if bool(is_padding.any()) else 0.0
    moved = largest / max(1e-9, float(gradient.abs().max()))
    return ContractResult.measured(
        "no gradient reaches the padding", task, moved, "padded steps take part in the loss", tolerance=0.0
    )


def _check_causal_encoder(model: Model, task: str, batch: Batch, *, where: str) -> Iterator[ContractResult]:
    """A causal encoder does not see the future, and continues from a state as if there had been no break."""
    batch = to_model(batch, model)
    with torch.no_grad():
        steps, lengths = model.layer(task)(batch.x, batch.lengths)
        yield _check_future(model.encoder, steps, lengths, where)
        yield _check_carried_state(model.encoder, steps, lengths, where)


def _check_future(encoder: Encoder, steps: Tensor, lengths: Tensor, where: str) -> ContractResult:
    """No output of an encoder depends on a later step."""
    expected = encoder(steps, lengths).steps
    largest = 0.0
    for t in range(1, steps.shape[1]):
        changed = steps.clone()
        changed[:, t:] = changed[:, t:].roll(1, dims=0) + 1.0
        actual = encoder(changed, lengths).steps
        largest = max(largest, _distance(actual[:, :t], expected[:, :t]))
    return ContractResult.measured(
        "a causal encoder does not see the future",
        where,
        largest / _scale(expected),
        "the encoder has causal = True, and an output moved when a later step changed",
    )


def _check_carried_state(encoder: Encoder, steps: Tensor, lengths: Tensor, where: str) -> ContractResult:
    """A sequence in two halves, with the state carried over, has the outputs of the whole sequence."""
    contract = "two halves with the state carried over equal the whole"
    is_long = lengths >= 2
    if not bool(is_long.any()):
        return ContractResult.not_applicable(contract, where)
    steps, lengths = steps[is_long], lengths[is_long]
    expected = encoder(steps, lengths).steps
    largest = 0.0
    halves = (lengths // 2).clamp(min=1)
    # The first halves of all rows in one padded batch: each row's state must be the one after its own last step.
    padded_state = encoder(steps[:, : int(halves.max())], halves).state
    for row, (length, half) in enumerate(zip(lengths.tolist(), halves.tolist(), strict=True)):
        rows, rest = slice(row, row + 1), torch.tensor([length - half])
        single_state = encoder(steps[rows, :half], torch.tensor([half])).state
        for state in (single_state, tuple(tensor[rows] for tensor in padded_state)):
            second = encoder(steps[rows, half:length], rest, state).steps
            largest = max(largest, _distance(second[0], expected[row, half:length]))
    return ContractResult.measured(
        contract,
        where,
        largest / _scale(expected),
        "the state is not the one after each sequence's own last step",
    )


def _distance(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max())


def _scale(tensor: Tensor) -> float:
    return max(1e-9, float(tensor.abs().max()))


def _check_saved_state(model: Model, task: str, batch: Batch, outputs: list[ExampleOutput]) -> ContractResult:
    """A copy of the model with random weights has the model's outputs once its saved state is loaded."""
    reloaded = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reloaded.parameters():
            if parameter.is_floating_point():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    reloaded.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return compare(
        "a saved and reloaded model predicts the same",
        task,
        outputs,
        compute_outputs(reloaded, task, batch),
        rows=range(batch.size),
        cause="the outputs depend on something that is not in the saved state",
    )
