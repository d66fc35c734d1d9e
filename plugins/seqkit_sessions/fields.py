"""Items and the items that follow them: the fields of the task `next-item`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np

from seqkit import JSON, Field
from seqkit_sessions.catalogue import UNKNOWN, Catalogue

if TYPE_CHECKING:
    from torch import nn


def items_of(value: Any) -> list[str]:
    """The items of a value: text with blanks between them, or a list. Raises ValueError for anything else."""
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item for item in items):
        raise ValueError("should be items with blanks between them, or a list of items")
    if not items:
        raise ValueError("is empty")
    return list(items)


@dataclass(frozen=True)
class _ItemField(Field):
    """What inputs and targets of items share: the numbers of the items.

    Args:
        sessions: gives the sessions of training, whose items are learned. Input and target have the same numbers.
    """

    unit = "items"
    unknown = UNKNOWN

    sessions: Callable[[], Iterable[Sequence[str]]] | None = field(default=None, repr=False, compare=False)
    catalogue: Catalogue | None = field(default=None, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        """A field with the items of `sessions`, or of these values if it has none.

        It keeps the items only: a function that reads files cannot be sent to the processes that encode.
        """
        sessions = self.sessions() if self.sessions is not None else (items_of(value) for value in values)
        return replace(self, catalogue=Catalogue.of(sessions), sessions=None)

    def encode(self, value: Any) -> np.ndarray:
        return fitted(self.catalogue).encode(items_of(value))

    @property
    def size(self) -> int:
        """How many numbers there are, with that of unknown items."""
        return len(fitted(self.catalogue).items) + 1

    def state(self) -> JSON:
        return state_of(self.catalogue)

    def restore(self, state: JSON) -> Self:
        return replace(self, catalogue=restored(state))


@final
@dataclass(frozen=True)
class Items(_ItemField):
    """A sequence of items as input, (T,) int32."""

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """Pieces are lists of items, or text with whole items."""
        return (None, None) if piece is None or not len(piece) or piece == " " else (self.encode(piece), None)

    def decode(self, array: np.ndarray) -> str:
        return " ".join(fitted(self.catalogue).decode(np.asarray(array).tolist()))

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        return generator.integers(0, self.size, steps).astype(np.int32)

    def layer(self, dim: int) -> nn.Module:
        from seqkit_sessions.layers import ItemVectors

        return ItemVectors(self.size, dim)


@final
@dataclass(frozen=True)
class NextItems(_ItemField):
    """The item that follows each item of the input, (T,) int32; numbers are those of `Items`."""

    aligned: ClassVar[bool] = True
    class_unit = "items"

    def decode(self, array: np.ndarray) -> list[str]:
        return fitted(self.catalogue).decode(np.asarray(array).tolist())


def fitted(catalogue: Catalogue | None) -> Catalogue:
    if catalogue is None:
        raise RuntimeError("the field is not fitted yet")
    return catalogue


def state_of(catalogue: Catalogue | None) -> JSON:
    return None if catalogue is None else {"items": list(catalogue.items), "counts": list(catalogue.counts)}


def restored(state: JSON) -> Catalogue | None:
    return None if state is None else Catalogue(tuple(state["items"]), tuple(state["counts"]))
