"""One optimiser step over several processes: who computes which rows, and how losses and gradients become one.

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
    def of(cls, wanted: int, ranks: Ranks) -> Shards:
        """The shards of a recipe that asks for so many.

        Raises:
            UsageError: there are more processes than shards.
        """
        if wanted == 1:
            return cls(ranks.size, ranks, is_ordered=False)
        if wanted < ranks.size:
            raise UsageError(
                f"train.shards: {wanted} shards cannot be dealt to {ranks.size} processes; start {wanted} or fewer, or "
                f"set train.shards to {ranks.size} or more"
            )
        return cls(wanted, ranks, is_ordered=True)

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


def exchange(
    shards: Shards, nodes: dict[tuple[int, int], Gradients], parameters: Sequence[nn.Parameter], kinds: Tensor
) -> None:
    """Give each parameter the sum of all shards' gradients.

    Args:
        shards: of the step.
        nodes: the sums of this process: those of `nodes_within` its shards.
        parameters: of the model.
        kinds: the largest `Gradients.kinds` of all processes.
    """
    dense = [number for number, kind in enumerate(kinds.tolist()) if kind == 1.0]
    if dense:
        sizes = [parameters[number].numel() for number in dense]
        flat = _sum_dense(shards, {node: _flatten(sums, parameters, dense) for node, sums in nodes.items()})
        for number, values in zip(dense, torch.split(flat, sizes), strict=True):
            parameters[number].grad = values.view_as(parameters[number])
    for number, kind in enumerate(kinds.tolist()):
        if kind == 2.0:
            parameters[number].grad = _sum_sparse(shards, nodes, number, parameters[number])


def _flatten(sums: Gradients, parameters: Sequence[nn.Parameter], numbers: Sequence[int]) -> Tensor:
    """(P,) the dense gradients of these parameters, one after the other; zero where there is none."""
    gradients = (sums.dense.get(n) for n in numbers)
    return torch.cat(
        [
            (torch.zeros_like(parameters[n]) if gradient is None else gradient).reshape(-1)
            for n, gradient in zip(numbers, gradients, strict=True)
        ]
    )


def _sum_dense(shards: Shards, flat: dict[tuple[int, int], Tensor]) -> Tensor:
    """(P,) the sum over all nodes of all processes."""
    ranks = shards.ranks
    if ranks.is_alone or not shards.is_ordered:
        (total,) = flat.values()
        ranks.sum_in_place(total)
        return total
    of_rank = [nodes_within(0, shards.count, shards.range_of(rank)) for rank in range(ranks.size)]
    rows = list(flat.values())
    rows += [torch.zeros_like(rows[0])] * (max(map(len, of_rank)) - len(rows))
    gathered = ranks.gather(torch.stack(rows))
    known = {
        node: Gradients({0: tensors[place]})
        for rank_nodes, tensors in zip(of_rank, gathered, strict=True)
        for place, node in enumerate(rank_nodes)
    }
    return sum_tree(0, shards.count, lambda low, high: known.get((low, high))).dense[0]


def _sum_sparse(
    shards: Shards, nodes: dict[tuple[int, int], Gradients], number: int, parameter: nn.Parameter
) -> Tensor:
    """The rows that any shard read, each the sum over shards in order."""
    pieces = [piece for _, node in sorted(nodes.items()) for piece in node.sparse.get(number, ())]
    width = parameter.shape[1:]
    rows = torch.cat([piece[0] for piece in pieces] or [torch.zeros(0, dtype=torch.int64, device=parameter.device)])
    values = torch.cat([piece[1] for piece in pieces] or [parameter.new_zeros(0, *width)])
    ranks = shards.ranks
    if not ranks.is_alone:
        counts = [int(count) for count in ranks.gather(torch.tensor([len(rows)], device=rows.device))]
        room = max(counts)
        padded_rows, padded = rows.new_zeros(room), values.new_zeros(room, *width)
        padded_rows[: len(rows)], padded[: len(rows)] = rows, values
        all_rows, all_values = ranks.gather(padded_rows), ranks.gather(padded)
        rows = torch.cat([tensor[:count] for tensor, count in zip(all_rows, counts, strict=True)])
        values = torch.cat([tensor[:count] for tensor, count in zip(all_values, counts, strict=True)])
    distinct, inverse = torch.unique(rows, return_inverse=True)
    total = values.new_zeros(len(distinct), *width).index_add_(0, inverse, values)
    return torch.sparse_coo_tensor(distinct[None], total, parameter.shape, is_coalesced=True, check_invariants=False)
