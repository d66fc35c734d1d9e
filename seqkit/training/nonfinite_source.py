"""Where a number that is not finite came from: the examples and the first module that gave it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from seqkit.interfaces import Batch, Encoded, State
from seqkit.model import Model
from seqkit.optim.gradients import gradient_values
from seqkit.runtime import out_of_memory
from seqkit.training.nonfinite import StepRecord

SHOWN = 8
"""Examples that a message names."""


@dataclass(frozen=True)
class NonFiniteSource:
    """Where a number that is not finite came from.

    Attributes:
        kind: weights, input, state, output (of a module), loss, gradient.
        module: the first one that gave it, as a dotted name; empty where none did.
        examples: ids of the examples that give it on their own, or of all of the step.
        total: examples of the step.
        description: what is not finite, in words.
    """

    kind: str
    module: str
    examples: tuple[str, ...]
    total: int
    description: str

    def __str__(self) -> str:
        shown = ", ".join(self.examples[:SHOWN]) + (", ..." if len(self.examples) > SHOWN else "")
        return f"{self.description}. Examples: {shown} ({len(self.examples)} of {self.total})"


def nonfinite_weights(model: nn.Module) -> list[str]:
    """Parameters that are not finite, and buffers that hold NaN (an infinity may be in a mask on purpose)."""
    extremes = [(name, tensor.detach().abs().max()) for name, tensor in model.named_parameters() if tensor.numel()]
    for name, tensor in model.named_buffers():
        if tensor.is_floating_point() and tensor.numel():
            extremes.append((name, tensor.max().nan_to_num(nan=torch.nan, posinf=0.0, neginf=0.0)))
    if not extremes:
        return []
    are_finite = torch.stack([extreme.float() for _, extreme in extremes]).isfinite().tolist()
    return [name for (name, _), is_finite in zip(extremes, are_finite, strict=True) if not is_finite]


def nonfinite_gradients(model: nn.Module) -> list[str]:
    """Parameters whose present gradient is not finite."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not _is_finite(parameter.grad)
    ]


def _is_finite(gradient: Tensor) -> bool:
    return bool(gradient_values(gradient).isfinite().all())


ForwardPass: TypeAlias = Callable[[Batch], contextlib.AbstractContextManager[None]]
"""Makes the context of one forward pass of a batch: precision and random numbers."""


def _plainly(batch: Batch) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def find_source(model: Model, record: StepRecord, forward_pass: ForwardPass = _plainly) -> NonFiniteSource:
    """What is not finite in a step, and where it came from: the step is computed again, module by module.

    Random states, gradients and integer buffers are left as they were.
    """
    batches, task = record.result.batches, record.task
    all_ids = tuple(str(example) for batch, _ in batches for example in batch.ids)
    total = sum(batch.size for batch, _ in batches)
    if names := nonfinite_weights(model):
        module, _, weight = names[0].rpartition(".")
        description = f"first bad module: {module}, whose weights {weight} are not finite"
        return NonFiniteSource("weights", module, all_ids, total, description)
    for batch, state in batches:
        if source := _source_in_batch(task, batch, state, total):
            return source
    with _preserve_state(model):
        for batch, before in batches:
            for rows in out_of_memory.row_ranges(batch, record.result.budget):
                sub_batch, state = out_of_memory.take_rows(batch, before, rows)
                module, kind = _first_failing_module(model, task, sub_batch, state, forward_pass)
                if kind:
                    ids = _failing_examples(model, task, sub_batch, state, forward_pass)
                    cause = "loss" if kind == "gradient" else "input"
                    description = f"first bad module: {module}, whose {kind} is not finite while its {cause} is"
                    return NonFiniteSource(kind, module, ids or all_ids, total, description)
    if record.bad_gradients:
        module = record.bad_gradients[-1].rpartition(".")[0]
        names = record.bad_gradients[:3]
        description = f"the gradient of {', '.join(names)} was not finite; computed again, it is"
        return NonFiniteSource("gradient", module, all_ids, total, description)
    description = f"first bad module: heads.{task}: computed again, every output and the loss are finite"
    return NonFiniteSource("loss", f"heads.{task}", all_ids, total, description)


def most_telling(sources: Sequence[NonFiniteSource]) -> NonFiniteSource:
    """Of what several processes found, each among its own rows: the first that is more than that all was finite."""
    return next((source for source in sources if "computed again" not in source.description), sources[0])


def _source_in_batch(task: str, batch: Batch, state: State | None, total: int) -> NonFiniteSource | None:
    """Inputs, targets or a carried state that are not finite themselves."""
    also = [(f"target of {name}", targets.y, targets.y_lengths) for name, targets in batch.also.items()]
    sides = [("input", batch.x, batch.lengths), ("target", batch.y, batch.y_lengths), *also]
    for side, values, lengths in sides:
        if values is not None and values.is_floating_point() and (rows := _nonfinite_rows(values, lengths)):
            description = f"the {side} itself is not finite"
            return NonFiniteSource("input", f"layers.{task}", _ids(batch, rows), total, description)
    if state is not None:
        rows = sorted({int(row) for tensor in state for row in torch.nonzero(~tensor.isfinite())[:, 0]})
        if rows:
            description = "the state carried over from the batch before is not finite"
            return NonFiniteSource("state", "encoder", _ids(batch, rows), total, description)
    return None


def _nonfinite_rows(values: Tensor, lengths: Tensor | None) -> list[int]:
    """Rows of (B, ...) or, with lengths (B,), of (B, T, ...) that are not finite, padding left out."""
    bad = ~values.detach().cpu().isfinite()
    if values.ndim > 1 and lengths is not None:
        inside = torch.arange(values.shape[1])[None] < lengths[:, None]
        bad &= inside.view(*inside.shape, *[1] * (bad.ndim - 2))
    return torch.nonzero(bad.reshape(len(bad), -1).any(dim=1)).flatten().tolist()


def _ids(batch: Batch, rows: Iterable[int]) -> tuple[str, ...]:
    return tuple(str(batch.ids[row]) if row < len(batch.ids) else f"row {row + 1}" for row in rows)


@contextlib.contextmanager
def _preserve_state(model: Model) -> Iterator[None]:
    """Whatever the block draws or counts, random states and integer buffers are then what they were before."""
    device = model.device
    buffers = out_of_memory.integer_buffers(model)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
            yield
    finally:
        model.load_state_dict(buffers, strict=False)


def _first_failing_module(
    model: Model, task: str, batch: Batch, state: State | None, forward_pass: ForwardPass
) -> tuple[str, str]:
    """(module, output | loss | gradient) of the first that is not finite in a batch; empty strings if none is."""
    order: list[str] = []
    bad: list[str] = []
    masked: list[str] = []  # -inf and nothing worse: often put there on purpose, to mask something out

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            order.append(name)
            for tensor in _float_tensors(output):
                if bool(tensor.isnan().any() | tensor.isposinf().any()):
                    bad.append(name)
                elif bool(tensor.isneginf().any()):
                    masked.append(name)

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with forward_pass(batch):
            loss = _loss(model, task, batch, state)
    finally:
        for hook in hooks:
            hook.remove()
    if bad:
        return bad[0], "output"
    if not math.isfinite(float(loss.detach())):
        return (masked[0], "output") if masked else (f"heads.{task}", "loss")
    names = _bad_gradients(model, loss)
    if not names:
        return "", ""
    # Gradients flow from the last module to the first: the one that ran last is where it began.
    modules = {name.rpartition(".")[0] for name in names}
    ran = [name for name in order if name in modules]
    return (ran[-1] if ran else names[-1].rpartition(".")[0]), "gradient"


def _loss(model: Model, task: str, batch: Batch, state: State | None) -> Tensor:
    """() the sum of the losses of all tasks that share the examples of a batch."""
    if not batch.also:
        return model.loss(task, batch, state)[0]
    return torch.stack([loss for loss, _ in model.losses(task, batch)[0].values()]).sum()


def _bad_gradients(model: Model, loss: Tensor) -> list[str]:
    """Parameters whose gradient of this loss is not finite."""
    if not loss.requires_grad:
        return []
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, [parameter for _, parameter in named], allow_unused=True)
    return [
        name
        for (name, _), gradient in zip(named, gradients, strict=True)
        if gradient is not None and not _is_finite(gradient)
    ]


def _failing_examples(
    model: Model, task: str, batch: Batch, state: State | None, forward_pass: ForwardPass
) -> tuple[str, ...]:
    """Ids of the examples whose loss or gradient is not finite on their own."""
    rows = []
    for row in range(batch.size):
        before = None if state is None else tuple(tensor[row : row + 1] for tensor in state)
        example = batch.take([row]).trimmed()
        with forward_pass(example):
            loss = _loss(model, task, example, before)
        if not math.isfinite(float(loss.detach())) or _bad_gradients(model, loss):
            rows.append(row)
    return _ids(batch, rows)


def _float_tensors(output: Any) -> Iterator[Tensor]:
    """The floating-point tensors in a module's output."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Encoded):
        yield from (output.steps, output.last)
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _float_tensors(item)
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from _float_tensors(item)
