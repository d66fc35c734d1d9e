"""What passes between the parts of a model: `Batch`, `Encoded`, and the base classes `Encoder` and `Head`.

Letters: B batch, T time, D width of an input step, H width of a state, C classes, K beams.
Lengths are always int64 tensors on the CPU, so that recurrences, masks and counts can read them without waiting for a
GPU.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from seqkit.errors import RunError
from seqkit.types import Drawing, Field, Prediction
from seqkit.uploads import ReadBack, Rule, asked_rules, from_lengths, inside, past_end, prepare, upload

if TYPE_CHECKING:
    from typing import Self

State: TypeAlias = tuple[Tensor, ...]
"""The state that a recurrence continues from: tensors (B, ...)."""


def mask_of(lengths: Tensor, steps: int, device: torch.device | str = "cpu") -> Tensor:
    """(B,) true lengths on the CPU -> (B, T) bool on `device`, True where a step is real.

    On a GPU there is one mask a batch, which all share: it must not be changed in place.
    """
    return from_lengths(inside, lengths, steps, torch.device(device))


def padding_of(lengths: Tensor, steps: int, device: torch.device | str = "cpu") -> Tensor:
    """The same, True where a step is padding."""
    return from_lengths(past_end, lengths, steps, torch.device(device))


@dataclass
class Asked:
    """What the steps of a task were asked for, of lengths (see `seqkit.uploads`).

    Attributes:
        inputs: of the lengths of inputs.
        targets: of those of targets.
    """

    inputs: frozenset[Rule] = frozenset()
    targets: frozenset[Rule] = frozenset()

    def note(self, batches: Iterable[Batch]) -> None:
        """Add what was asked for of these batches. The sets are replaced, so that another thread may read them."""
        for batch in batches:
            self.inputs |= asked_rules(batch.lengths, batch.x.shape[1])
            if batch.y is not None and batch.y_lengths is not None:
                self.targets |= asked_rules(batch.y_lengths, batch.y.shape[1])


@dataclass
class Targets:
    """The targets of another task for the examples of a batch: `y`, `y_lengths` and `host_y` as in `Batch`."""

    y: Tensor
    y_lengths: Tensor | None = None
    host_y: Tensor | None = field(default=None, repr=False, compare=False)

    def to(self, device: torch.device) -> Self:
        host_y = self.y if self.y.device.type == "cpu" else self.host_y
        return replace(self, y=upload(self.y, device), host_y=host_y)

    def take(self, index: Sequence[int]) -> Self:
        """Those of these rows, with the same padding."""
        y_lengths = None if self.y_lengths is None else self.y_lengths[index]
        host_y = None if self.host_y is None else self.host_y[index]
        return replace(self, y=self.y[index], y_lengths=y_lengths, host_y=host_y)

    def trimmed(self) -> Self:
        """Without padding that none of the rows needs."""
        if self.y_lengths is None:
            return self
        longest = int(self.y_lengths.max())
        host_y = None if self.host_y is None else self.host_y[:, :longest]
        return replace(self, y=self.y[:, :longest], host_y=host_y)

    def pin(self) -> Self:
        return replace(self, y=self.y.pin_memory())


@dataclass
class Batch:
    """Some examples, padded on the right.

    Attributes:
        x: (B, T, ...) inputs.
        lengths: (B,) int64 on the CPU, true lengths, every one at least 1.
        y: targets: (B, ...) of a fixed field, (B, U, ...) of a ragged one; None when predicting.
        y_lengths: (B,) int64 on the CPU for a ragged target, else None.
        carry: True if each row continues the same row of the previous batch (truncated back-propagation through time).
        ids: one id an example, for error messages.
        extra: further tensors (B, ...) by name. `offset` and `divisor`, (B, C): what was subtracted from the rows of
            each sequence, and what they were then divided by (`Scaling`). With seasons, `offset` is (B, H, C): what was
            subtracted from each of the next values.
        numbers: (B,) int64 on the CPU, which tell the examples of an optimiser step apart: what training draws for an
            example depends on its number. None: it is drawn from torch's generator.
        host_y: the targets on the CPU, of a batch that went to a GPU: to look at without waiting for it.
        also: the targets of other tasks that have the same examples (`inputs_of` in a recipe), by task.
        mixed: the examples that those of a training batch are mixed with (`train.mixup`); None: they are not.
    """

    x: Tensor
    lengths: Tensor
    y: Tensor | None = None
    y_lengths: Tensor | None = None
    carry: bool = False
    ids: Sequence[str] = field(default_factory=tuple)
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Tensor | None = None
    host_y: Tensor | None = field(default=None, repr=False, compare=False)
    also: Mapping[str, Targets] = field(default_factory=dict)
    mixed: Mixed | None = field(default=None, compare=False)

    def of(self, task: str) -> Self:
        """The same examples with the targets of another task that has them too."""
        targets = self.also[task]
        return replace(self, y=targets.y, y_lengths=targets.y_lengths, host_y=targets.host_y, also={})

    @property
    def size(self) -> int:
        return self.x.shape[0]

    @cached_property
    def tokens(self) -> int:
        """Steps of this batch, padding not counted."""
        return int(self.lengths.sum())

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool on the device of x, True where a step is real."""
        return mask_of(self.lengths, self.x.shape[1], self.x.device)

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`. Lengths stay on the CPU. From pinned memory, the copy is asynchronous."""
        if self.x.device == torch.device(device):
            return self
        device = torch.device(device)
        y = None if self.y is None else upload(self.y, device)
        extra = {name: upload(tensor, device) for name, tensor in self.extra.items()}
        host_y = self.y if self.y is not None and self.y.device.type == "cpu" else self.host_y
        also = {task: targets.to(device) for task, targets in self.also.items()}
        mixed = None if self.mixed is None else self.mixed.to(device)
        return replace(self, x=upload(self.x, device), y=y, extra=extra, host_y=host_y, also=also, mixed=mixed)

    @property
    def y_on_cpu(self) -> Tensor:
        """The targets on the CPU: those that the batch was made with, where it knows them."""
        assert self.y is not None
        return self.y.cpu() if self.host_y is None else self.host_y

    def take(self, rows: Sequence[int]) -> Self:
        """These rows, in this order, with the same padding."""
        index = list(rows)
        return replace(
            self,
            x=self.x[index],
            lengths=self.lengths[index],
            y=None if self.y is None else self.y[index],
            y_lengths=None if self.y_lengths is None else self.y_lengths[index],
            ids=[self.ids[row] for row in index] if self.ids else (),
            extra={name: tensor[index] for name, tensor in self.extra.items()},
            numbers=None if self.numbers is None else self.numbers[index],
            host_y=None if self.host_y is None else self.host_y[index],
            also={task: targets.take(index) for task, targets in self.also.items()},
            mixed=None if self.mixed is None else self.mixed.take(index),
        )

    def trimmed(self) -> Self:
        """The same batch without padding that none of its rows needs."""
        y, host_y = self.y, self.host_y
        if y is not None and self.y_lengths is not None:
            longest = int(self.y_lengths.max())
            y, host_y = y[:, :longest], None if host_y is None else host_y[:, :longest]
        also = {task: targets.trimmed() for task, targets in self.also.items()}
        mixed = None if self.mixed is None else self.mixed.trimmed()
        return replace(self, x=self.x[:, : int(self.lengths.max())], y=y, host_y=host_y, also=also, mixed=mixed)

    def last_steps(self, count: int) -> Self:
        """The last steps of rows that are all as long, inputs and targets."""
        lengths = torch.full_like(self.lengths, count)
        y = None if self.y is None else self.y[:, -count:]
        host_y = None if self.host_y is None else self.host_y[:, -count:]
        return replace(self, x=self.x[:, -count:], lengths=lengths, y=y, y_lengths=lengths, host_y=host_y)

    def pin(self, asked: Asked | None = None) -> Self:
        """The same batch in page-locked memory, from which a GPU copies asynchronously.

        What earlier batches were asked for is computed for this one too.
        """
        if asked is not None:
            prepare(self.lengths, self.x.shape[1], asked.inputs)
            if self.y is not None and self.y_lengths is not None:
                prepare(self.y_lengths, self.y.shape[1], asked.targets)
        y = None if self.y is None else self.y.pin_memory()
        extra = {name: tensor.pin_memory() for name, tensor in self.extra.items()}
        also = {task: targets.pin() for task, targets in self.also.items()}
        mixed = None if self.mixed is None else self.mixed.pin()
        return replace(self, x=self.x.pin_memory(), y=y, extra=extra, also=also, mixed=mixed)


@dataclass(frozen=True)
class Mixed:
    """The examples that those of a batch are mixed with, one for each row.

    Attributes:
        batch: the other examples, B of them.
        share: (B,) float32 from 0 to 1, how much of each row's own example there is; the rest is of the other one.
    """

    batch: Batch
    share: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same on `device`."""
        return replace(self, batch=self.batch.to(device), share=upload(self.share, torch.device(device)))

    def take(self, rows: Sequence[int]) -> Self:
        """Those of these rows, in this order."""
        return replace(self, batch=self.batch.take(rows), share=self.share[list(rows)])

    def trimmed(self) -> Self:
        """The same without padding that none of the other examples needs."""
        return replace(self, batch=self.batch.trimmed())

    def pin(self) -> Self:
        """The same in page-locked memory."""
        return replace(self, batch=self.batch.pin(), share=self.share.pin_memory())


@dataclass
class Encoded:
    """An encoder's output for a batch.

    Attributes:
        steps: (B, T, H) the output of every step, zero after each sequence's end.
        lengths: (B,) int64 on the CPU.
        last: (B, H) the output of each sequence's last step (of a backward direction: of its first step).
        continue_: returns the state after each sequence's last step; called only if that state is needed.
        scored: what heads have computed of it in an evaluation, by head: the loss is asked for and then predictions,
            which begin with the same scores.
    """

    steps: Tensor
    lengths: Tensor
    last: Tensor
    continue_: Callable[[], State]
    scored: dict[nn.Module, Tensor] = field(init=False, default_factory=dict, repr=False, compare=False)

    def split(self, widths: Sequence[int]) -> list[Encoded]:
        """What several encoders have encoded side by side (`steps` are (B, T, H_1 + ... + H_M)), one by one."""
        pairs = zip(*(torch.split(tensor, list(widths), dim=-1) for tensor in (self.steps, self.last)), strict=True)
        return [Encoded(steps.contiguous(), self.lengths, last, self.continue_) for steps, last in pairs]

    @cached_property
    def state(self) -> State:
        """The state after each sequence's last step. It is not detached: the caller stops the gradient."""
        return self.continue_()

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool on the device of steps, True where a step is real."""
        return mask_of(self.lengths, self.steps.shape[1], self.steps.device)


def check_finite(scores: Tensor, batch: Batch, lengths: Tensor | None = None) -> None:
    """Refuse to decode scores (B, ...) that are NaN or infinite.

    Args:
        scores: (B, ...), or (B, T, ...) with `lengths`: then steps past a sequence's end are not looked at.
        batch: the batch, whose ids the message names.
        lengths: (B,) on the CPU.

    Raises:
        RunError: some are.
    """
    FiniteCheck(scores, batch, lengths).finish()


class FiniteCheck:
    """The same in two halves: begun where the scores are, finished when something else is read back from the GPU.

    Where the scores are on a CPU, it is finished at once.
    """

    def __init__(self, scores: Tensor, batch: Batch, lengths: Tensor | None = None) -> None:
        if scores.device.type == "cpu" and math.isfinite(scores.detach().sum()):
            # No sum of a NaN or an infinity is finite, and it takes one pass over the scores.
            self._ids, self._is_bad = batch.ids, ReadBack(torch.zeros(0, dtype=torch.bool))
            return
        is_bad = ~scores.isfinite()
        is_bad = is_bad.flatten(1 if lengths is None else 2).any(dim=-1) if is_bad.dim() > 1 else is_bad
        if lengths is not None:
            is_bad = (is_bad & mask_of(lengths, scores.shape[1], scores.device)).any(dim=-1)
        self._ids, self._is_bad = batch.ids, ReadBack(is_bad)
        if scores.device.type == "cpu":
            self.finish()

    def finish(self) -> None:
        """Raises RunError if some scores are not finite."""
        rows = self._is_bad.wait()[0].nonzero().flatten().tolist()
        if not rows:
            return
        names = ", ".join(str(self._ids[row]) if row < len(self._ids) else f"row {row + 1}" for row in rows[:3])
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        raise RunError(
            f"{names}{more}: the model's scores are not finite numbers, so nothing can be decoded; its weights "
            "or these inputs hold NaN, infinities or numbers that are far too large"
        )


class Encoder(nn.Module, ABC):
    """Maps input steps to encoded steps. Registered under `seqkit.encoders`.

    A factory is called as `factory(dim, **options)`: `dim` is the width D of an input step, the options are its own
    keyword-only arguments, which are the keys that a recipe may give under `encoder:`.

    Attributes:
        out_dim: H, the width of an encoded step.
        causal: True if no step's output depends on a later step.
    """

    out_dim: int
    causal: bool

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,) -> Encoded. A sequence's output must not depend on padding or on other sequences."""


class Head(nn.Module, ABC):
    """Maps encoded steps to a loss and to predictions. Registered under `seqkit.heads`.

    A factory is called as `factory(dim, target, layer, **options)`: `dim` is the encoder's `out_dim`, `target` the
    fitted target field, `layer` the task's input layer (for tied weights); the options are its keyword-only arguments.
    """

    accepts: ClassVar[tuple[type[Field], ...]]
    """The target fields that it can predict. A factory that is a function has the same attribute (see `serves`)."""

    needs_causal: bool = False
    """True if the encoder must not see later steps (next-step prediction). May be set in `__init__` instead."""

    generates: ClassVar[bool] = False
    """True if it has `logits(steps)`, the scores (..., V) of the next symbol: `seqkit generate` can continue a text."""

    writes: ClassVar[bool] = False
    """True if it has `write(encoded, *, length, temperature, top_k, top_p, generator)`, which draws a text for each
    example of a batch: `seqkit generate` can write texts for a prompt, which is the input."""

    loss_name: ClassVar[str] = "loss"
    """The name of the mean loss as a score: `loss`, or `nats` if it is nats per symbol."""

    is_density: ClassVar[bool] = False
    """True if the nats are those of a density, which may be negative: they have no perplexity."""

    per_step: bool = False
    """True if `advance` predicts for the new steps only; `join` then makes one prediction of several. False: for all
    steps so far. May be set in `__init__`."""

    values_loss: str | None = None
    """For numbers (`Values`): `mse`, `mae`, `huber` or `gaussian` if the loss is exactly that of the predictions, which
    is then checked. None: any other loss. May be set in `__init__`."""

    output_axes: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """The tensors that `outputs` gives, by name, with the names of their axes: ("batch", "steps", "labels"). Empty: the
    head cannot be exported. May be set in `__init__`."""

    @abstractmethod
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the losses (), and its number of terms (). Never a mean: means are taken once, at the log."""

    @abstractmethod
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One prediction per example, of the same kind as `Example.target`."""

    gives_log_probs: bool = False
    """True if it has `loss_with_log_probs`. May be set in `__init__`."""

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What `loss` gives, and (N, C) the log-probabilities that its terms were read from, or can be compared by.

        Two models, or two passes of one, are compared by them (`train.teacher`, `train.agreement`). What is drawn for
        dropout is drawn once.
        """
        raise TypeError(f"{type(self).__name__} does not give the probabilities of each term of its loss")

    def comparison(self) -> str:
        """What two models, or two passes of one, are compared by, in words. Only those of the same words can be.

        Raises:
            TypeError: such predictions are not compared; the message says why.
        """
        if not self.gives_log_probs:
            raise TypeError(f"{type(self).__name__} does not say how two predictions are compared (`loss_to_compare`)")
        return "the probabilities of classes"

    def loss_to_compare(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """What `loss` gives, and what `divergence` compares: by default what `loss_with_log_probs` gives.

        Heads of classes need that method alone. Those that predict numbers, or several things at once, override this
        one, `divergence` and `comparison`.
        """
        total, count, log_probs = self.loss_with_log_probs(encoded, batch)
        return total, count, (log_probs,)

    def divergence(self, p: tuple[Tensor, ...], q: tuple[Tensor, ...], temperature: float = 1.0) -> Tensor:
        """() how far q, which is learned, is from p: the Kullback-Leibler divergence, summed over what is compared.

        Args:
            p: as `loss_to_compare` gives it, here (N, C) log-probabilities.
            q: likewise.
            temperature: by which the scores of both are divided. The result is multiplied by its square, so that
                gradients keep their size (Hinton, Vinyals and Dean 2015). It is of classes alone.
        """
        (log_p,), (log_q,) = p, q
        if temperature != 1.0:
            log_p, log_q = ((scores / temperature).log_softmax(dim=-1) for scores in (log_p, log_q))
        return temperature**2 * nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")

    mixes: bool = False
    """True if it has `mixed_loss`. May be set in `__init__`."""

    def mixed_loss(self, encoded: Encoded, other: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum and count as of `loss`, of examples that are mixed with others (`train.mixup`).

        Args:
            encoded: the examples of the batch.
            other: those that they are mixed with.
            batch: its `mixed` says with how much of each.
        """
        raise TypeError(f"{type(self).__name__} does not say how examples are mixed")

    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """Predictions for sequences that go on, as if each ended here, and what is kept of each for its next steps.

        This keeps all encoded steps and all inputs, and predicts from them. Heads that can do with less override it.

        Args:
            encoded: the new steps, at least one of each sequence.
            batch: the new inputs, without targets.
            kept: for each sequence what this method returned for the steps before; empty if there are none.
        """
        steps, lengths = _append(encoded.steps, encoded.lengths, [past[:1] for past in kept])
        x, x_lengths = _append(batch.x, batch.lengths, [past[1:] for past in kept])
        whole = Encoded(steps, lengths, encoded.last, encoded.continue_)
        predictions = self.predict(whole, replace(batch, x=x, lengths=x_lengths))
        rows = zip(steps, lengths.tolist(), x, x_lengths.tolist(), strict=True)
        return predictions, [(row[:count].clone(), inputs[:many].clone()) for row, count, inputs, many in rows]

    def outputs(self, encoded: Encoded) -> Mapping[str, Tensor]:
        """What predictions are read from, as tensors: what an exported model computes (`seqkit export`).

        `torch.export` records it, so it may use torch operations only, and nothing may depend on values. What is past a
        sequence's end does not matter.
        """
        raise TypeError(f"{type(self).__name__} has no `outputs`, so its models cannot be exported")

    def drawings(self, encoded: Encoded) -> Sequence[Drawing] | None:
        """What the model draws for each example of a batch, for pictures on TensorBoard: lines of points (x, y).

        y grows downwards. The same input always has the same drawing, so that a resumed run shows the same. None: the
        model draws nothing.
        """
        return None

    def join_members(self, members: Sequence[Self], widths: Sequence[int]) -> None:
        """Become the head of an ensemble: predict by the mean of what these heads say.

        Args:
            members: trained heads of this class and for the same target, M of them.
            widths: H of each. This head was made for the sum of them: encoded steps are side by side.

        Raises:
            TypeError: what such heads predict cannot be averaged; the message says why.
        """
        raise TypeError(f"{type(self).__name__} does not say how several of them predict together (`join_members`)")

    def scale_scores(self, factor: float) -> None:
        """Multiply the scores that probabilities are made of by a number, for good: in the weights (calibration).

        Raises:
            TypeError: it has no such scores, or they are not those of weights of its own; the message says which.
        """
        raise TypeError(f"{type(self).__name__} does not say how its probabilities are scaled (`scale_scores`)")

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """One prediction from those of consecutive windows of one long example (truncation `window`)."""
        raise TypeError(f"{type(self).__name__} cannot stitch windows: choose another truncation")

    def join(self, parts: Sequence[Prediction]) -> Prediction:
        """One prediction for a whole sequence from those that `advance` gave for its steps (`per_step`)."""
        return self.stitch(parts)

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """One prediction from those of several views of one example (DNA from both strands)."""
        raise TypeError(f"{type(self).__name__} cannot average predictions over views of an input")


def _append(rows: Tensor, lengths: Tensor, before: Sequence[State]) -> tuple[Tensor, Tensor]:
    """(B, T, ...) and (B,) lengths, with the rows (n, ...) that came before each, and the new lengths."""
    joined = [
        torch.cat([*past, row[:length]]) for past, row, length in zip(before, rows, lengths.tolist(), strict=True)
    ]
    # What is empty may not know the shape of a row.
    widest = max(joined, key=torch.Tensor.dim)[:0]
    joined = [row if len(row) else widest for row in joined]
    return nn.utils.rnn.pad_sequence(joined, batch_first=True), torch.tensor([len(row) for row in joined])
