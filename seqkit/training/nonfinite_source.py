"""Where a number that is not finite came from: the examples and the first module that gave it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from seqkit.interfaces import Batch, Encoded, State
from seqkit.model import Model
from seqkit.optim import gradients
from seqkit.runtime import out_of_memory

NAMED = 8
"""Examples that a message names."""


Autocast: TypeAlias = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass
class StepRecord:
    """What an optimiser step was made of, kept until it is known to be finite.

    Attributes:
        number: counted from 1.
        task: whose batches they are.
        batches: with the state that each went on from.
        loss: () sum over the batches.
        norm: () of the gradient.
        fits: padded steps at once, where memory is short.
    """

    number: int
    task: str
    batches: Sequence[tuple[Batch, State | None]]
    loss: Tensor
    norm: Tensor
    fits: int | None = None
    gradients: list[str] = field(default_factory=list)
    """Parameters whose gradient is not finite, where that was looked at."""

    def fine(self) -> Tensor:
        """() bool on the device."""
        return self.loss.isfinite() & self.norm.isfinite()

    def said(self) -> str:
        """What is not finite, in words."""
        loss = float(self.loss)
        if not math.isfinite(loss):
            return f"the loss of task {self.task} is {loss}"
        return f"the gradient of task {self.task} has the norm {float(self.norm)}"


@dataclass(frozen=True)
class NonFiniteSource:
    """Where a number that is not finite came from.

    Attributes:
        kind: weights, input, state, output (of a module), loss, gradient.
        module: the first one that gave it, as a dotted name; empty where none did.
        examples: ids of the examples that it comes with on their own, or of the whole step.
        of: how many examples the step has.
        said: what was found, in words.
    """

    kind: str
    module: str
    examples: tuple[str, ...]
    of: int
    said: str

    def __str__(self) -> str:
        shown = ", ".join(self.examples[:NAMED]) + (", ..." if len(self.examples) > NAMED else "")
        return f"{self.said}. Examples: {shown} ({len(self.examples)} of {self.of})"


def broken_weights(model: nn.Module) -> list[str]:
    """Parameters that are not finite, and buffers that hold NaN (an infinity may stand in a mask on purpose)."""
    held = [(name, tensor.detach().abs().max()) for name, tensor in model.named_parameters() if tensor.numel()]
    for name, tensor in model.named_buffers():
        if tensor.is_floating_point() and tensor.numel():
            held.append((name, tensor.max().nan_to_num(nan=torch.nan, posinf=0.0, neginf=0.0)))
    if not held:
        return []
    fine = torch.stack([most.float() for _, most in held]).isfinite().tolist()
    return [name for (name, _), good in zip(held, fine, strict=True) if not good]


def broken_gradients(model: nn.Module) -> list[str]:
    """Parameters whose gradient, as it is now, is not finite."""
    held = [(name, gradients.values_of(each.grad)) for name, each in model.named_parameters() if each.grad is not None]
    return [name for name, gradient in held if not bool(gradient.isfinite().all())]


def find_source(model: Model, step: StepRecord, autocast: Autocast = contextlib.nullcontext) -> NonFiniteSource:
    """What is not finite, and where it came from: the step is gone through again, module by module.

    Random states, gradients and what modules count are left as they were.
    """
    everyone = tuple(str(each) for batch, _ in step.batches for each in batch.ids)
    of = sum(batch.size for batch, _ in step.batches)
    if broken := broken_weights(model):
        module, _, weight = broken[0].rpartition(".")
        said = f"first bad module: {module}, whose weights {weight} are not finite"
        return NonFiniteSource("weights", module, everyone, of, said)
    if found := _inputs(step, of):
        return found
    head = f"heads.{step.task}"
    with _preserve_state(model):
        for batch, before in step.batches:
            for rows in out_of_memory.row_ranges(batch, step.fits):
                part, state = out_of_memory.take_rows(batch, before, rows)
                module, kind = _first_failing_module(model, step.task, part, state, autocast)
                if kind:
                    ids = _failing_examples(model, step.task, part, state, autocast)
                    what = {
                        "output": f"first bad module: {module}, whose output is not finite while its input is",
                        "loss": f"first bad module: {module}, whose loss is not finite while its input is",
                        "gradient": f"first bad module: {module}, whose gradient is not finite while its loss is",
                    }[kind]
                    return NonFiniteSource(kind, module, ids or everyone, of, what)
    if step.gradients:
        module = step.gradients[-1].rpartition(".")[0]
        said = f"the gradient of {', '.join(step.gradients[:3])} was not finite; gone through again, it is"
        return NonFiniteSource("gradient", module, everyone, of, said)
    said = f"first bad module: {head}: gone through again, every output and the loss are finite"
    return NonFiniteSource("loss", head, everyone, of, said)


def _inputs(step: StepRecord, of: int) -> NonFiniteSource | None:
    for batch, state in step.batches:
        for side, values, lengths in (("input", batch.x, batch.lengths), ("target", batch.y, batch.y_lengths)):
            if values is None or not values.is_floating_point():
                continue
            bad = ~values.detach().cpu().isfinite().flatten(1)
            if values.ndim > 1 and lengths is not None:
                shaped = ~values.detach().cpu().isfinite()
                inside = torch.arange(values.shape[1])[None] < lengths[:, None]
                bad = (shaped & inside.view(*inside.shape, *[1] * (shaped.ndim - 2))).flatten(1)
            rows = torch.nonzero(bad.any(dim=1)).flatten().tolist()
            if rows:
                ids = tuple(str(batch.ids[row]) if row < len(batch.ids) else f"row {row + 1}" for row in rows)
                return NonFiniteSource("input", f"layers.{step.task}", ids, of, f"the {side} itself is not finite")
        if state is not None:
            rows = sorted({int(row) for part in state for row in torch.nonzero(~part.isfinite())[:, 0]})
            if rows:
                ids = tuple(str(batch.ids[row]) for row in rows if row < len(batch.ids))
                return NonFiniteSource(
                    "state", "encoder", ids, of, "the state carried over from the batch before is not finite"
                )
    return None


@contextlib.contextmanager
def _preserve_state(model: Model) -> Iterator[None]:
    """Nothing that the block does to random states or to what modules count is left behind."""
    device = model.device
    kept = out_of_memory.integer_buffers(model)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
            yield
    finally:
        model.load_state_dict(kept, strict=False)


def _first_failing_module(
    model: Model, task: str, batch: Batch, state: State | None, autocast: Autocast
) -> tuple[str, str]:
    """(module, output | loss | gradient) of the first that is not finite in a batch; empty if none is."""
    order: list[str] = []
    bad: list[str] = []
    barred: list[str] = []  # -inf alone: often put there on purpose, to bar something
    hooks = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, given: Any, out: Any) -> None:
            order.append(name)
            for each in _tensors(out):
                if bool(each.isnan().any() | each.isposinf().any()):
                    bad.append(name)
                elif bool(each.isneginf().any()):
                    barred.append(name)

        return look

    for name, module in model.named_modules():
        if name:
            hooks.append(module.register_forward_hook(watch(name)))
    try:
        with autocast():
            loss, _, _ = model.loss(task, batch, state)
    finally:
        for hook in hooks:
            hook.remove()
    if bad:
        return bad[0], "output"
    if not math.isfinite(float(loss.detach())):
        return (barred[0], "output") if barred else (f"heads.{task}", "loss")
    broken = _gradients(model, loss)
    if not broken:
        return "", ""
    # Gradients flow from the last module to the first: the one that ran last is where it began.
    modules = {name.rpartition(".")[0] for name in broken}
    ran = [name for name in order if name in modules]
    return (ran[-1] if ran else broken[-1].rpartition(".")[0]), "gradient"


def _gradients(model: Model, loss: Tensor) -> list[str]:
    """Parameters whose gradient is not finite."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not loss.requires_grad:
        return []
    found = torch.autograd.grad(loss, [parameter for _, parameter in named], allow_unused=True)
    return [
        name
        for (name, _), each in zip(named, found, strict=True)
        if each is not None and not bool(gradients.values_of(each).isfinite().all())
    ]


def _failing_examples(
    model: Model, task: str, batch: Batch, state: State | None, autocast: Autocast
) -> tuple[str, ...]:
    """Ids of the examples whose loss or gradient is not finite on their own."""
    found = []
    for row in range(batch.size):
        before = None if state is None else tuple(part[row : row + 1] for part in state)
        with autocast():
            loss, _, _ = model.loss(task, batch.take([row]).trimmed(), before)
        if not math.isfinite(float(loss.detach())) or _gradients(model, loss):
            found.append(str(batch.ids[row]) if row < len(batch.ids) else f"row {row + 1}")
    return tuple(found)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Floating-point tensors of what a module gave."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Encoded):
        yield from (value.steps, value.last)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
