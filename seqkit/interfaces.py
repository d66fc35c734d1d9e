"""The nouns of seqkit that hold tensors: `Batch`, `Encoded`, `Encoder`, `Head`.

Letters: B batch, T time, D width of an input step, H width of a state, C classes, K beams.
Lengths are int64 tensors on the CPU, always: recurrences, masks and counts may look at them without waiting for a GPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from seqkit.types import Field, Prediction

if TYPE_CHECKING:
    from typing import Self

State: TypeAlias = tuple[Tensor, ...]
"""What a recurrence carries on with: tensors whose first axis is the batch (B, ...)."""


def mask_of(lengths: Tensor, steps: int, device: torch.device | str = "cpu") -> Tensor:
    """(B,) true lengths on the CPU -> (B, T) bool on `device`, True where a step is real."""
    inside = torch.arange(steps)[None, :] < lengths[:, None]
    if torch.device(device).type == "cuda":
        return inside.pin_memory().to(device, non_blocking=True)
    return inside.to(device)


@dataclass
class Batch:
    """Some examples, padded on the right.

    Attributes:
        x: (B, T, ...) inputs.
        lengths: (B,) int64 on the CPU, true lengths, every one at least 1.
        y: targets: (B, ...) of a fixed field, (B, U, ...) of a ragged one; None when predicting.
        y_lengths: (B,) int64 on the CPU for a ragged target, else None.
        carry: True if each row continues the same row of the batch before (truncated BPTT).
        ids: one id an example, for error messages.
    """

    x: Tensor
    lengths: Tensor
    y: Tensor | None = None
    y_lengths: Tensor | None = None
    carry: bool = False
    ids: Sequence[str] = field(default_factory=tuple)

    @property
    def size(self) -> int:
        return self.x.shape[0]

    @cached_property
    def tokens(self) -> int:
        """Real steps in this batch, padding not counted."""
        return int(self.lengths.sum())

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool on the device of x, True where a step is real."""
        return mask_of(self.lengths, self.x.shape[1], self.x.device)

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`. Lengths stay on the CPU. From pinned memory this does not wait."""
        if self.x.device == torch.device(device):
            return self
        y = None if self.y is None else self.y.to(device, non_blocking=True)
        return replace(self, x=self.x.to(device, non_blocking=True), y=y)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the rows, in this order, with the padding as it was."""
        index = list(rows)
        return replace(
            self,
            x=self.x[index],
            lengths=self.lengths[index],
            y=None if self.y is None else self.y[index],
            y_lengths=None if self.y_lengths is None else self.y_lengths[index],
            ids=[self.ids[row] for row in index] if self.ids else (),
        )

    def trimmed(self) -> Self:
        """The same batch without padding that none of its rows needs."""
        y = self.y
        if y is not None and self.y_lengths is not None:
            y = y[:, : int(self.y_lengths.max())]
        return replace(self, x=self.x[:, : int(self.lengths.max())], y=y)

    def pin(self) -> Self:
        """The same batch in page-locked memory, from which a GPU copies without waiting."""
        y = None if self.y is None else self.y.pin_memory()
        return replace(self, x=self.x.pin_memory(), y=y)


@dataclass
class Encoded:
    """What an encoder says of a batch.

    Attributes:
        steps: (B, T, H) every step's output, zero past each sequence's end.
        lengths: (B,) int64 on the CPU.
        last: (B, H) each sequence's true final output (a backward direction's is the one at its first step).
        continue_: gives the state after each sequence's own last step; called only when somebody carries on.
    """

    steps: Tensor
    lengths: Tensor
    last: Tensor
    continue_: Callable[[], State]

    @cached_property
    def state(self) -> State:
        """The state that continues where this ended, detached from nothing: the caller cuts the gradient."""
        return self.continue_()

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool on the device of steps, True where a step is real."""
        return mask_of(self.lengths, self.steps.shape[1], self.steps.device)


class Encoder(nn.Module, ABC):
    """From input steps to encoded steps. Registered under `seqkit.encoders`.

    A factory is called as `factory(dim, **options)`: `dim` is the width D of an input step, the options are its own
    keyword-only arguments, which are what a recipe may say under `encoder:`.

    Attributes:
        out_dim: H, the width of an encoded step.
        causal: True if no step's output depends on a later step.
    """

    out_dim: int
    causal: bool

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,) -> Encoded. Nothing past a sequence's end, and no other sequence, may touch its answer."""


class Head(nn.Module, ABC):
    """From encoded steps to a loss and to predictions. Registered under `seqkit.heads`.

    A factory is called as `factory(dim, target, layer, **options)`: `dim` is the encoder's `out_dim`, `target` the
    fitted target field, `layer` the task's input layer (for tied weights); the options are its keyword-only arguments.
    """

    accepts: ClassVar[tuple[type[Field], ...]]
    """The target fields it can serve. A factory that is a function carries the same attribute (see `serves`)."""

    needs_causal: bool = False
    """True if the encoder must not see the future (next-step prediction). A head whose options decide sets its own."""

    generates: ClassVar[bool] = False
    """True if it has `logits(steps)`, the scores (..., V) of the next symbol: `seqkit generate` can write with it."""

    writes: ClassVar[bool] = False
    """True if it has `write(encoded, *, length, temperature, top_k, top_p, generator)`, which draws a text for each
    example of a batch: `seqkit generate` can write with it, the prompt being the input."""

    loss_name: ClassVar[str] = "loss"
    """What the mean loss is called as a score: `loss`, or `nats` where it is nats a symbol."""

    @abstractmethod
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the losses (), and how many terms it has (). Never a mean: means are taken once, at the log."""

    @abstractmethod
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One prediction an example, of the same kind as `Example.target`."""

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """One prediction from those of consecutive windows of one long example (truncation `window`)."""
        raise TypeError(f"{type(self).__name__} cannot stitch windows: choose another truncation")

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """One prediction from those of several views of one example (DNA from both strands)."""
        raise TypeError(f"{type(self).__name__} cannot average predictions over views of an input")
