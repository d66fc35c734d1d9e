"""Dense gradients summed over processes in buckets, which are sent while the backward pass is still running.

A backward pass gives the gradients of the last layers first. Each bucket holds parameters that follow each other, from
the last to the first, and is sent once all of its gradients are there, as in `DistributedDataParallel` (Li et al. 2020,
https://arxiv.org/abs/2006.15704). Buckets and the order in which they are sent depend on the parameters alone, so every
process sends the same, and sums do not depend on when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, final

import torch
from torch import Tensor, nn

from seqkit.training.gradient_tree import Gradients, Shards, nodes_within, sum_tree

BUCKET_BYTES: Final = 4 << 20
"""A bucket is closed once it has so many: large enough that a message costs more than its latency."""


def make_buckets(parameters: Sequence[nn.Parameter], numbers: Sequence[int]) -> list[list[int]]:
    """These parameters, from the last to the first, in buckets of about `BUCKET_BYTES`; each of one type of numbers."""
    buckets: list[list[int]] = []
    size, kind = BUCKET_BYTES, None
    for number in sorted(numbers, reverse=True):
        parameter = parameters[number]
        if size >= BUCKET_BYTES or parameter.dtype != kind:
            buckets.append([])
            size, kind = 0, parameter.dtype
        buckets[-1].append(number)
        size += parameter.numel() * parameter.element_size()
    return buckets


@final
class BucketSums:
    """The sums over all processes of the gradients of some parameters, in one step.

    Every process makes one with the same numbers and calls `send_rest`, then `sums`.

    Args:
        shards: of the step.
        parameters: of the model.
        numbers: of the parameters whose gradients are dense.

    Attributes:
        numbers: the same.
    """

    def __init__(self, shards: Shards, parameters: Sequence[nn.Parameter], numbers: Sequence[int]) -> None:
        self.numbers = list(numbers)
        self._shards, self._parameters = shards, parameters
        self._buckets = make_buckets(parameters, numbers)
        self._nodes = [nodes_within(0, shards.count, shards.range_of(rank)) for rank in range(shards.ranks.size)]
        self._sums: list[Callable[[], Tensor]] = []

    @contextmanager
    def during_backward(self, finished: Sequence[Gradients], left: Sequence[Gradients]) -> Iterator[None]:
        """Within the block, which is the last backward pass of this process, a bucket is sent when it is complete.

        Args:
            finished: the sums of the nodes that are complete.
            left: what the last shard's gradients are added to, the innermost sum last.
        """
        missing = [set(bucket) for bucket in self._buckets]

        def arrived(number: int, bucket: int, parameter: Tensor) -> None:
            if parameter.grad is None or parameter.grad.is_sparse:
                return  # not what was expected: the sums are made anew after the step's agreement
            missing[bucket].discard(number)
            while len(self._sums) < len(self._buckets) and not missing[len(self._sums)]:
                numbers = self._buckets[len(self._sums)]
                total = self._flat(self._present(numbers), numbers)
                for earlier in reversed(left):
                    total = self._flat(earlier, numbers).add_(total)
                self._send([*(self._flat(node, numbers) for node in finished), total])

        def hook(number: int, bucket: int) -> Callable[[Tensor], None]:
            return lambda parameter: arrived(number, bucket, parameter)

        handles = [
            self._parameters[number].register_post_accumulate_grad_hook(hook(number, bucket))  # type: ignore[no-untyped-call]
            for bucket, numbers in enumerate(self._buckets)
            for number in numbers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def send_rest(self, nodes: dict[tuple[int, int], Gradients]) -> None:
        """Send the buckets that have not been sent, from the sums of this process; zeros for what it has not."""
        local_nodes = self._nodes[self._shards.ranks.rank]
        for numbers in self._buckets[len(self._sums) :]:
            self._send([self._flat(nodes.get(node, Gradients()), numbers) for node in local_nodes])

    def sums(self) -> dict[int, Tensor]:
        """The sum of each parameter's gradients, of its shape."""
        gradients: dict[int, Tensor] = {}
        for numbers, total in zip(self._buckets, self._sums, strict=True):
            pieces = torch.split(total(), [self._parameters[number].numel() for number in numbers])
            for number, piece in zip(numbers, pieces, strict=True):
                gradients[number] = piece.view_as(self._parameters[number])
        return gradients

    def _present(self, numbers: Sequence[int]) -> Gradients:
        """The gradients that the parameters have now."""
        gradients = {number: self._parameters[number].grad for number in numbers}
        return Gradients({number: gradient for number, gradient in gradients.items() if gradient is not None})

    def _flat(self, gradients: Gradients, numbers: Sequence[int]) -> Tensor:
        """(P,) a copy of the gradients of these parameters, one after the other; zero where there is none."""
        pieces = []
        for number in numbers:
            gradient = gradients.dense.get(number)
            pieces.append((torch.zeros_like(self._parameters[number]) if gradient is None else gradient).reshape(-1))
        return torch.cat(pieces).detach()

    def _send(self, nodes: list[Tensor]) -> None:
        """Begin to sum a bucket: (P,) of each node of this process."""
        ranks = self._shards.ranks
        if ranks.is_alone or not self._shards.is_ordered:
            (total,) = nodes
            self._sums.append(ranks.start_sum(total))
            return
        nodes += [torch.zeros_like(nodes[0])] * (max(map(len, self._nodes)) - len(nodes))
        gathered = ranks.start_gather(torch.stack(nodes))

        def ordered_sum() -> Tensor:
            known = {
                node: Gradients({0: tensors[place]})
                for rank_nodes, tensors in zip(self._nodes, gathered(), strict=True)
                for place, node in enumerate(rank_nodes)
            }
            return sum_tree(0, self._shards.count, lambda low, high: known.get((low, high))).dense[0]

        self._sums.append(ordered_sum)
