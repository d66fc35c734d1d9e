"""The shards of a step, and sums of their gradients along a fixed tree.

A step's rows are dealt to shards, and shards to processes. Each shard's gradient is that of its sum of losses. Without
`train.shards`, there is a shard for each process, and gradients are summed in whatever order is fastest. With it, the
number of shards is the recipe's, and gradients are summed along a fixed binary tree over the shards: the numbers are
then the same, bit for bit, for any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqkit.errors import UsageError
from seqkit.runtime.ranks import Ranks


@dataclass(frozen=True)
class Shards:
    """The shards of a step, and those of this process.

    Attributes:
        count: how many there are.
        ranks: the processes.
        is_ordered: whether gradients are summed in a fixed order.
    """

    count: int
    ranks: Ranks
    is_ordered: bool

    @classmethod
    def of(cls, count: int, ranks: Ranks) -> Shards:
        """The shards of a recipe that asks for so many.

        Raises:
            UsageError: there are more processes than shards.
        """
        if count == 1:
            return cls(ranks.size, ranks, is_ordered=False)
        if count < ranks.size:
            raise UsageError(
                f"train.shards: {count} shards cannot be dealt to {ranks.size} processes; start {count} or fewer, or "
                f"set train.shards to {ranks.size} or more"
            )
        return cls(count, ranks, is_ordered=True)

    @property
    def is_one(self) -> bool:
        """Whether a step is computed by one process as one."""
        return self.count == 1

    def range_of(self, rank: int) -> range:
        """The shards of a process."""
        return range(rank * self.count // self.ranks.size, (rank + 1) * self.count // self.ranks.size)

    @property
    def own(self) -> range:
        return self.range_of(self.ranks.rank)


@dataclass(frozen=True)
class Gradients:
    """The sums of the gradients of some shards; parameters are known by number.

    Attributes:
        dense: by parameter, of its shape.
        sparse: by parameter with sparse ones, (rows, values) of each shard, in order.
    """

    dense: dict[int, Tensor] = field(default_factory=dict)
    sparse: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def kinds(self, count: int) -> Tensor:
        """(count,) for each parameter: 1 for a dense gradient, 2 for a sparse one, 0 for none."""
        kinds = torch.zeros(count, dtype=torch.float64)
        kinds[list(self.dense)] = 1.0
        kinds[list(self.sparse)] = 2.0
        return kinds


def take_gradients(parameters: Sequence[nn.Parameter]) -> Gradients:
    """The gradients of the parameters, which then have none."""
    taken = Gradients()
    for number, parameter in enumerate(parameters):
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None and gradient.is_sparse:
            gradient = gradient.coalesce()
            taken.sparse[number] = [(gradient.indices()[0], gradient.values())]
        elif gradient is not None:
            taken.dense[number] = gradient
    return taken


def add(first: Gradients, second: Gradients) -> Gradients:
    """The sum of the gradients of shards that follow each other; `first` may change."""
    dense = dict(first.dense)
    for number, gradient in second.dense.items():
        dense[number] = dense[number].add_(gradient) if number in dense else gradient
    numbers = {**first.sparse, **second.sparse}
    return Gradients(dense, {n: [*first.sparse.get(n, ()), *second.sparse.get(n, ())] for n in numbers})


def sum_tree(low: int, high: int, node: Callable[[int, int], Gradients | None]) -> Gradients:
    """The sum over shards `low` to `high`: of its two halves, unless `node` has it already."""
    known = node(low, high)
    if known is not None:
        return known
    middle = (low + high) // 2
    return add(sum_tree(low, middle, node), sum_tree(middle, high, node))


def nodes_within(low: int, high: int, shards: range) -> list[tuple[int, int]]:
    """The largest nodes of the tree over `low` to `high` that lie within some consecutive shards, in order."""
    if low >= high or high <= shards.start or low >= shards.stop:
        return []
    if shards.start <= low and high <= shards.stop:
        return [(low, high)]
    middle = (low + high) // 2
    return nodes_within(low, middle, shards) + nodes_within(middle, high, shards)
