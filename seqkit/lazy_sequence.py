"""Sequences whose items are made on access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

T_co = TypeVar("T_co", covariant=True)


class LazySequence(Sequence[T_co]):
    """A sequence that makes an item each time it is asked for; a slice is a list."""

    @abstractmethod
    def item(self, i: int) -> T_co:
        """The item at this index, from the end if it is negative."""

    @overload
    def __getitem__(self, i: int) -> T_co: ...
    @overload
    def __getitem__(self, i: slice) -> list[T_co]: ...
    def __getitem__(self, i: int | slice) -> T_co | list[T_co]:
        if isinstance(i, slice):
            return [self.item(k) for k in range(*i.indices(len(self)))]
        return self.item(i)
