"""Forward and backward of a step as one CUDA graph, for batches of one shape without padding.

A small model launches some hundred kernels a step, and a GPU computes them faster than Python launches them. A graph is
launched at once: the kernels read and write the tensors that they read and wrote when it was captured, so what belongs
to a step is copied there first: inputs and targets, the carried state, and the random numbers that the CPU draws (see
`seqkit.uploads.GraphInputs`).

What Python decides by the lengths of sequences is decided once, at the capture. Therefore a graph belongs to batches of
one shape in which all sequences are as long as the batch. And nothing is taken on trust: a graph is captured when a
shape comes for the second time. When it comes for the third time, the graph and the operations both compute that batch,
and the graph is used only if loss, gradients and state are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from seqkit.interfaces import Batch, State
from seqkit.runtime.random_state import random_state, restore_random_state
from seqkit.uploads import GraphInputs, NotRepeatable

MOST_GRAPHS: Final = 8
"""Shapes of a task that are counted, those that come first. A graph keeps the memory of a whole step."""

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Pass:
    """What forward and backward of a batch give.

    Attributes:
        loss: () the sum of the losses.
        count: () its number of terms.
        carried: the state that the next batch goes on from; empty for a task whose batches are independent.
        gradients: of the mean, one for each trained parameter; None where the loss does not depend on it.
    """

    loss: Tensor
    count: Tensor
    carried: State
    gradients: Sequence[Tensor | None]

    @property
    def tensors(self) -> list[Tensor]:
        """All of them; the count on the CPU or on the GPU, as it comes."""
        return [self.loss, self.count, *self.carried, *(one for one in self.gradients if one is not None)]


ComputePass: TypeAlias = Callable[[Batch, State | None], Pass]
"""Forward and backward of a batch that goes on from a state, without touching the gradients in the model."""


@dataclass
class _Graph:
    """A captured pass and the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    before: State | None
    inputs: GraphInputs
    outputs: Pass
    is_trusted: bool = False

    def launch(self, batch: Batch, before: State | None) -> Pass:
        """The pass of another batch of the shape, within `drawing`. The next launch overwrites the gradients."""
        with torch.no_grad():
            for target, source in zip(_tensors_of(self.batch, self.before), _tensors_of(batch, before), strict=True):
                target.copy_(source)
            self.inputs.refresh()
            self.graph.replay()
        # What outlives the step is copied.
        kept = replace(self.outputs, loss=self.outputs.loss.clone(), count=self.outputs.count.clone())
        return replace(kept, carried=tuple(tensor.clone() for tensor in self.outputs.carried))


@dataclass
class _Shape:
    """How often batches of a shape have come, and their graph once there is one."""

    times: int = 0
    graph: _Graph | None = None


@dataclass
class StepGraphs:
    """The graphs of a training run.

    Args:
        model: what is trained.
        drawing: makes the context in which random numbers are those of a batch's present step.
    """

    model: nn.Module
    drawing: Callable[[Batch], AbstractContextManager[None]]
    _shapes: dict[Key, _Shape] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)
    _told: set[str] = field(default_factory=set)

    def run(
        self,
        task: str,
        batch: Batch,
        before: State | None,
        compute: ComputePass,
        compute_in_model: Callable[[], Pass],
        tell: Callable[[str], object],
    ) -> Pass | None:
        """Forward and backward of a batch; None if its operations were launched one by one, by `compute_in_model`.

        Args:
            task: its name.
            batch: on the GPU.
            before: the state that it goes on from.
            compute: what is captured.
            compute_in_model: the same with the gradients left in the model, as without graphs.
            tell: gets a sentence where a graph begins to be used, and where there is none.
        """
        shape = self._shape_of(task, batch, before, tell)
        if shape is None:
            compute_in_model()
            return None
        shape.times += 1
        if shape.graph is not None and shape.graph.is_trusted:
            with self.drawing(batch):
                return shape.graph.launch(batch, before)
        if shape.times == 2:
            shape.graph = self._capture(task, batch, before, compute, tell)
        elif shape.graph is not None:
            self._compare(task, shape, batch, before, compute_in_model, tell)
            return None
        compute_in_model()
        return None

    def _shape_of(self, task: str, batch: Batch, before: State | None, tell: Callable[[str], object]) -> _Shape | None:
        if task in self._refused:
            return None
        if not is_full(batch):
            self._tell_once(f"task {task}: batches with padding are not run as CUDA graphs", tell)
            return None
        # A graph reads the weights where they were, and has the gradients of those that were trained.
        weights = tuple((parameter.data_ptr(), parameter.requires_grad) for parameter in self.model.parameters())
        tensors = _tensors_of(batch, before)
        key = task, weights, before is None, tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if key not in self._shapes and sum(known[0] == task for known in self._shapes) == MOST_GRAPHS:
            self._tell_once(f"task {task}: only the first {MOST_GRAPHS} shapes of batches are run as CUDA graphs", tell)
            return None
        return self._shapes.setdefault(key, _Shape())

    def _capture(
        self, task: str, batch: Batch, before: State | None, compute: ComputePass, tell: Callable[[str], object]
    ) -> _Graph | None:
        """A graph of this batch's pass; nothing of the model changes. None if there can be none, which is told."""
        fixed, state = _copy_of(batch), None if before is None else tuple(tensor.clone() for tensor in before)
        inputs, graph = GraphInputs(), torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            with self._unchanged():
                # Libraries take their memory in a pass before, which is on another stream than the default one.
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream), inputs.record():
                    compute(fixed, state)
                torch.cuda.current_stream().wait_stream(stream)
                with inputs.reuse(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    outputs = compute(fixed, state)
        except (NotRepeatable, RuntimeError) as error:  # as a device refuses a wait, and as memory is short
            self.refuse(task, " ".join(str(error).split())[:300], tell)
            return None
        if any(tensor.is_sparse for tensor in outputs.tensors):
            self.refuse(task, "it has sparse gradients", tell)
            return None
        return _Graph(graph, fixed, state, inputs, outputs)

    def _compare(
        self,
        task: str,
        shape: _Shape,
        batch: Batch,
        before: State | None,
        compute_in_model: Callable[[], Pass],
        tell: Callable[[str], object],
    ) -> None:
        """Compute a batch in both ways, and trust the graph if it is right. The model has gone one way only."""
        assert shape.graph is not None
        with self._unchanged(), self.drawing(batch):
            by_graph = shape.graph.launch(batch, before)
        by_operations = compute_in_model()
        pairs = list(zip(by_graph.tensors, by_operations.tensors, strict=False))
        is_equal = len(by_graph.tensors) == len(by_operations.tensors)
        if not is_equal or not all(torch.equal(one, other.to(one.device)) for one, other in pairs):
            self.refuse(task, "the graph does not give the numbers of the operations", tell)
            return
        shape.graph.is_trusted = True
        size = " x ".join(map(str, batch.x.shape[:2]))
        tell(f"task {task}: batches of {size} steps are run as a CUDA graph from the next one on")

    def refuse(self, task: str, reason: str, tell: Callable[[str], object]) -> None:
        """From now on no step of this task is run as a graph, which is told once."""
        self._refused.add(task)
        for key in [key for key in self._shapes if key[0] == task]:
            del self._shapes[key]
        self._tell_once(f"task {task}: not run as CUDA graphs: {reason}", tell)

    def _tell_once(self, sentence: str, tell: Callable[[str], object]) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            tell(sentence)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Passes within the block leave no trace: random generators and the model's buffers are set back."""
        tensors, generators = random_state()
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            yield
        finally:
            restore_random_state(tensors, generators)
            for buffer, saved in buffers:
                buffer.copy_(saved)


def is_full(batch: Batch) -> bool:
    """Whether neither inputs nor targets have padding."""
    if int(batch.lengths.min()) < batch.x.shape[1]:
        return False
    return batch.y_lengths is None or batch.y is None or int(batch.y_lengths.min()) == batch.y.shape[1]


def _copy_of(batch: Batch) -> Batch:
    """A batch that nobody else writes to, whose targets are on the GPU alone: Python can decide nothing by them."""
    return replace(
        batch,
        x=batch.x.clone(),
        y=None if batch.y is None else batch.y.clone(),
        extra={name: tensor.clone() for name, tensor in batch.extra.items()},
        lengths=batch.lengths.clone(),
        y_lengths=None if batch.y_lengths is None else batch.y_lengths.clone(),
        host_y=None,
    )


def _tensors_of(batch: Batch, before: State | None) -> list[Tensor]:
    """What a pass reads on the GPU, in a fixed order."""
    extra = [batch.extra[name] for name in sorted(batch.extra)]
    return [batch.x, *([] if batch.y is None else [batch.y]), *extra, *(before or ())]
