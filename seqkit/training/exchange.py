"""Gradients of a step over several processes: dense ones summed in buckets, sparse ones by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqkit.training.bucket_sums import BucketSums
from seqkit.training.gradient_tree import Gradients, Shards


def exchange(
    shards: Shards,
    nodes: dict[tuple[int, int], Gradients],
    parameters: Sequence[nn.Parameter],
    kinds: Tensor,
    sent: BucketSums | None = None,
) -> list[int]:
    """Give each parameter the sum of all shards' gradients. Returns the numbers of those with dense gradients.

    Args:
        shards: of the step.
        nodes: the sums of this process: those of `nodes_within` its shards.
        parameters: of the model.
        kinds: the largest `Gradients.kinds` of all processes.
        sent: sums that were begun during the backward pass, for the parameters that had dense gradients in the last
            step; they are made anew if others have some now.
    """
    dense = [number for number, kind in enumerate(kinds.tolist()) if kind == 1.0]
    if sent is not None and sent.numbers != dense:
        sent.sums()
        sent = None
    if sent is None:
        sent = BucketSums(shards, parameters, dense)
        sent.send_rest(nodes)
    for number, gradient in sent.sums().items():
        parameters[number].grad = gradient
    for number, kind in enumerate(kinds.tolist()):
        if kind == 2.0:
            parameters[number].grad = _sum_sparse(shards, nodes, number, parameters[number])
    return dense


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
