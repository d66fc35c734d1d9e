"""Forward and backward of one optimiser step: the batches of a task, each in as many parts as memory asks for.

A loss is a sum and a count, and random numbers are drawn by example, so a batch in parts has the gradients of the batch
as one; only rounding differs. Where tasks share examples, the loss of a step is the sum of the losses of all of them,
each times the task's weight, and its terms are examples: that, too, is the same in parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqkit import fault_injection
from seqkit.data.task_data import TaskData
from seqkit.errors import UsageError
from seqkit.interfaces import Batch, Encoded, State
from seqkit.kernels import by_example
from seqkit.model import Model
from seqkit.optim.gradients import clear_gradients, dense_gradients, scale_gradients
from seqkit.runtime import out_of_memory
from seqkit.runtime.random_state import DRAWING
from seqkit.runtime.ranks import deal
from seqkit.training.bucket_sums import BucketSums
from seqkit.training.exchange import exchange
from seqkit.training.gradient_tree import Gradients, Shards, add, nodes_within, take_gradients
from seqkit.training.state import TrainingState
from seqkit.training.step_graphs import Pass, StepGraphs


@dataclass
class StepResult:
    """What forward and backward gave; the gradients are in the model.

    Attributes:
        loss: () sum over all batches.
        count: () terms of that sum, at least 1; examples, where tasks share them.
        by_task: sum and number of terms of each task's own loss.
        carried: the state that the task's next batch goes on from; None for a task whose batches are independent.
        batches: each with the state that it went on from.
        budget: padded steps computed at once, where memory is short.
        is_mean: whether the gradients are those of the mean already; else they are still to be divided by the count.
    """

    loss: Tensor
    count: Tensor
    by_task: dict[str, tuple[Tensor, Tensor]]
    carried: State | None
    batches: list[tuple[Batch, State | None]]
    budget: int | None
    is_mean: bool


def forward_backward(
    state: TrainingState,
    data: TaskData,
    batches: Sequence[Batch],
    tell: Callable[[str], object],
    mark: Callable[[str], object] = lambda phase: None,
) -> StepResult:
    """Loss and backward of the batches of one step, all of one task; the gradients are left in the model.

    What does not fit into memory is done again in smaller parts. On a CPU, nothing more is computed once a loss is not
    finite. With several processes or shards, each process computes its rows, and the gradients are those of all rows.

    Args:
        tell: gets a sentence if memory was short.
        mark: told when `forward` and `backward` are over, each time.

    Raises:
        RunError: a single example does not fit, or another process has ended.
    """

    def compute(budget: int | None) -> StepResult:
        if not state.shards.is_one:
            return _forward_backward_shards(budget, state, data, batches, mark)
        if state.graphs is not None and data.sharing:
            state.graphs.refuse(data.name, "other tasks share its examples", tell)
        elif state.graphs is not None and budget is None:
            return _forward_backward_graph(state.graphs, state, data, batches[0], tell, mark)
        return _forward_backward_within(budget, state, data, batches, mark)

    with DRAWING:
        return out_of_memory.run_in_parts(compute, data.name, state.counters.fits, tell)


def mean_gradients(state: TrainingState, result: StepResult) -> list[Tensor]:
    """The gradients of the step's mean loss, unscaled and ready to be clipped; those in the model change with them."""
    gradients = dense_gradients(state.parameters)
    state.scaler.unscale_(state.optimizer)
    if not result.is_mean:
        scale_gradients(gradients, 1.0 / result.count)
    fault_injection.at("step", state.model)
    return gradients


def _forward_backward_within(
    budget: int | None,
    state: TrainingState,
    data: TaskData,
    batches: Sequence[Batch],
    mark: Callable[[str], object],
) -> StepResult:
    """Forward and backward with at most `budget` padded steps at once.

    Raises:
        OutOfMemory: a part did not fit.
    """
    clear_gradients(state.parameters)  # of an attempt that did not fit
    rows_of = [out_of_memory.row_ranges(batch, budget) for batch in batches]
    # Several parts share one mean, whose count is known only at the end: until then, gradients are those of sums.
    is_mean = len(rows_of) == 1 and len(rows_of[0]) == 1
    sums = _compute(state, data, list(zip(batches, rows_of, strict=True)), state.carried.get(data.name), is_mean, mark)
    if not sums.is_finite:
        loss, count = sums.losses[-1], sums.counts[-1]
        return StepResult(loss, count, {data.name: (loss, count)}, None, sums.batches, budget, is_mean=True)
    carried = sums.carried
    if carried is not None and state.settings.on_nan == "skip":
        carried = _finite_or_zero(carried)
    total, terms = sums.total()
    terms = terms.clamp(min=1)
    return StepResult(
        total, terms, sums.totals_by_task() or {data.name: (total, terms)}, carried, sums.batches, budget, is_mean
    )


def step_graphs(state: TrainingState, tell: Callable[[str], object]) -> StepGraphs | None:
    """What runs steps as CUDA graphs; None where the recipe does not ask for it, or where that is not possible.

    Args:
        tell: gets the reason if it is asked for and not possible.
    """
    settings = state.settings
    if not settings.cuda_graphs:
        return None
    obstacles = {
        "there is no GPU": state.model.device.type != "cuda",
        "train.accumulate is more than 1": settings.accumulate > 1,
        "train.agreement computes each batch twice": settings.agreement is not None,
        "train.mixup computes each batch with a second one": settings.mixup is not None,
        "rows are dealt to shards or processes": not state.shards.is_one,
        "SEQKIT_FAULT changes a loss": fault_injection.is_armed("loss"),
    }
    if reasons := [reason for reason, is_so in obstacles.items() if is_so]:
        tell(f"train.cuda_graphs: steps are not run as graphs: {'; '.join(reasons)}")
        return None
    return StepGraphs(state.model, lambda batch: by_example(state.seed, state.counters.step, batch.numbers))


def _forward_backward_graph(
    graphs: StepGraphs,
    state: TrainingState,
    data: TaskData,
    batch: Batch,
    tell: Callable[[str], object],
    mark: Callable[[str], object],
) -> StepResult:
    """Forward and backward of one batch, as a CUDA graph if there is one of its shape."""
    before = state.carried.get(data.name) if batch.carry else None
    results: list[StepResult] = []

    def compute_in_model() -> Pass:
        result = _forward_backward_within(None, state, data, [batch], mark)
        results.append(result)
        gradients = [parameter.grad for parameter in _trained(state)]
        return Pass(result.loss, result.count, result.carried or (), gradients)

    def compute(batch: Batch, before: State | None) -> Pass:
        return _pass_apart(state, data, batch, before)

    computed = graphs.run(data.name, batch, before, compute, compute_in_model, tell)
    if computed is None:
        return results[0]
    for parameter, gradient in zip(_trained(state), computed.gradients, strict=True):
        parameter.grad = gradient
    mark("backward")  # the forward pass is in it
    carried = computed.carried if data.task.window is not None else None
    by_task = {data.name: (computed.loss, computed.count)}
    return StepResult(computed.loss, computed.count, by_task, carried, [(batch, before)], None, is_mean=True)


def _pass_apart(state: TrainingState, data: TaskData, batch: Batch, before: State | None) -> Pass:
    """Forward and backward of one batch as `_forward_backward_within` has them; the model's gradients stay."""
    computed = state.objective.compute(state.model, data.name, batch, before, state.forward_pass)
    scaled = state.scaler.scale(computed.objective * _scale(data, computed.count, is_mean=True))
    gradients = torch.autograd.grad(scaled, _trained(state), allow_unused=True)
    carried: State = ()
    if data.task.window is not None:
        carried = tuple(tensor.detach() for tensor in computed.encoded.state)
        carried = _finite_or_zero(carried) if state.settings.on_nan == "skip" else carried
    return Pass(computed.loss.detach().double(), computed.count.clamp(min=1), carried, gradients)


def _trained(state: TrainingState) -> list[torch.nn.Parameter]:
    return [parameter for parameter in state.parameters if parameter.requires_grad]


def _scale(data: TaskData, count: Tensor, *, is_mean: bool) -> Tensor:
    """() what the sum of the losses is multiplied by before its backward pass."""
    scale = 1.0 / count.clamp(min=1) if is_mean else torch.ones(())
    return scale if data.weight == 1.0 or data.sharing else data.weight * scale


@dataclass
class _Sums:
    """What forward and backward gave for some rows of a step, part by part; the gradients are in the model."""

    losses: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)
    by_task: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    """The losses of tasks that share the examples, each with its own number of terms; empty for one task."""
    carried: State | None = None
    batches: list[tuple[Batch, State | None]] = field(default_factory=list)
    is_finite: bool = True

    def total(self) -> tuple[Tensor, Tensor]:
        """() sum of the losses in double precision, and () number of terms."""
        if len(self.losses) == 1:  # as mostly, and each operation costs a GPU a launch
            return self.losses[0].double(), self.counts[0]
        return torch.stack(self.losses).double().sum(), torch.stack(self.counts).sum()

    def totals_by_task(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The same of each task that shares the examples."""
        return {
            task: (torch.stack([loss for loss, _ in pairs]).double().sum(), torch.stack([n for _, n in pairs]).sum())
            for task, pairs in self.by_task.items()
        }


def _compute(
    state: TrainingState,
    data: TaskData,
    batches: Sequence[tuple[Batch, list[range]]],
    carried: State | None,
    is_mean: bool,
    mark: Callable[[str], object],
    *,
    during_last: AbstractContextManager[None] | None = None,
) -> _Sums:
    """Forward and backward of batches in these ranges of rows. On a CPU it ends at a loss that is not finite.

    Args:
        during_last: entered for the last of all backward passes.

    Raises:
        OutOfMemory: a part did not fit.
    """
    model, sums = state.model, _Sums()
    left = sum(len(row_ranges) for _, row_ranges in batches)
    for batch, row_ranges in batches:
        before = carried if batch.carry else None
        sums.batches.append((batch, before))
        buffers = out_of_memory.integer_buffers(model) if len(row_ranges) > 1 else {}
        after = []
        for number, rows in enumerate(row_ranges):
            sub_batch, sub_before = out_of_memory.take_rows(batch, before, rows)
            if number:
                model.load_state_dict(buffers, strict=False)
            with out_of_memory.catch_oom(sub_batch):
                if data.sharing:
                    with state.forward_pass(sub_batch):
                        loss, count, encoded = _shared_loss(model, data, sub_batch, sums)
                    objective = loss = fault_injection.at("loss", loss)
                else:
                    computed = state.objective.compute(model, data.name, sub_batch, sub_before, state.forward_pass)
                    loss, count, encoded = fault_injection.at("loss", computed.loss), computed.count, computed.encoded
                    objective = loss if computed.objective is computed.loss else computed.objective
                sums.losses.append(loss.detach())
                sums.counts.append(count)
                if loss.device.type == "cpu" and not math.isfinite(loss.item()):
                    sums.is_finite = False
                    return sums
                mark("forward")
                scale = _scale(data, count, is_mean=is_mean)
                left -= 1
                with nullcontext() if left or during_last is None else during_last:
                    state.scaler.scale(objective * scale).backward()  # type: ignore[no-untyped-call]
                mark("backward")
                if data.task.window is not None:
                    after.append(tuple(tensor.detach() for tensor in encoded.state))
        carried = out_of_memory.concat_states(after) if after else None
    sums.carried = carried
    return sums


def _shared_loss(model: Model, data: TaskData, batch: Batch, sums: _Sums) -> tuple[Tensor, Tensor, Encoded]:
    """The loss of all tasks that share the examples: the sum over them, times their weights, its terms are examples.

    One pass through the encoder serves all. Each task's own sum and count go to `sums`.
    """
    losses, encoded = model.losses(data.name, batch)
    weights = {one.name: one.weight for one in (data, *data.sharing)}
    for task, (loss, count) in losses.items():
        sums.by_task.setdefault(task, []).append((loss.detach(), count))
    total = torch.stack([loss if weights[task] == 1.0 else weights[task] * loss for task, (loss, _) in losses.items()])
    return total.sum(), torch.tensor(batch.size), encoded


def _forward_backward_shards(
    budget: int | None,
    state: TrainingState,
    data: TaskData,
    batches: Sequence[Batch],
    mark: Callable[[str], object],
) -> StepResult:
    """The same with the rows dealt to shards, and those to processes. Every process gets the same result.

    The carried state has all rows of a batch, of which each process knows those that it computes.

    Raises:
        OutOfMemory: a part did not fit, in this process or in another.
    """
    shards, parameters = state.shards, state.parameters
    clear_gradients(parameters)
    if data.task.window is not None and batches[0].size < shards.count:
        raise UsageError(
            f"task {data.name} is read in {batches[0].size} lanes, which cannot be dealt to {shards.count} shards or "
            "processes; raise train.batch, or take fewer"
        )
    dealt = [deal(batch.lengths, shards.count) for batch in batches]
    carried, results = state.carried.get(data.name), dict[int, _Sums]()
    device, buffers = state.model.device, out_of_memory.integer_buffers(state.model)
    new_carried: State | None = None
    nodes: dict[tuple[int, int], Gradients] = {}
    left_sums: list[Gradients] = []
    # What had dense gradients in the last step of this task is sent while the last shard's backward pass is running.
    expected = None if state.ranks.is_alone else state.dense_gradients.get(data.name)
    sent = None if expected is None else BucketSums(shards, parameters, expected)

    def sum_of_shard(number: int) -> Gradients:
        nonlocal new_carried
        rows = [(batch, parts[number]) for batch, parts in zip(batches, dealt, strict=True) if parts[number]]
        own = [batch.take(taken).trimmed() for batch, taken in rows]
        before = None if carried is None or not rows else tuple(tensor[rows[0][1]] for tensor in carried)
        if results and rows:
            state.model.load_state_dict(buffers, strict=False)
        with_ranges = [(batch, out_of_memory.row_ranges(batch, budget)) for batch in own]
        is_last = number == shards.own[-1]
        during_last = sent.during_backward(list(nodes.values()), left_sums) if sent and is_last else None
        sums = results[number] = _compute(state, data, with_ranges, before, False, mark, during_last=during_last)
        if sums.carried is not None:
            new_carried = new_carried or _empty_states(sums.carried, batches[-1].size)
            for all_rows, part in zip(new_carried, sums.carried, strict=True):
                all_rows[rows[-1][1]] = part
        return take_gradients(parameters)

    def sum_of_node(low: int, high: int) -> Gradients:
        if high - low == 1:
            return sum_of_shard(low)
        middle = (low + high) // 2
        left_sums.append(sum_of_node(low, middle))
        right = sum_of_node(middle, high)
        return add(left_sums.pop(), right)

    failure: out_of_memory.OutOfMemory | None = None
    try:
        for low, high in nodes_within(0, shards.count, shards.own):
            nodes[low, high] = sum_of_node(low, high)
    except out_of_memory.OutOfMemory as error:
        failure = error.release()
    if sent is not None:
        sent.send_rest(nodes)
    kinds = _agree(state, failure, nodes)
    names = [data.name, *(one.name for one in data.sharing)] if data.sharing else []
    totals = _gather_totals(shards, results, device, names)
    loss, terms = totals[:, 0].sum(), totals[:, 1].sum().long().clamp(min=1)
    by_task = {
        name: (totals[:, column].sum(), totals[:, column + 1].sum().long())
        for column, name in zip(range(2, totals.shape[1], 2), names, strict=True)
    } or {data.name: (loss, terms)}
    local = [pair for sums in results.values() for pair in sums.batches]
    if device.type == "cpu" and not math.isfinite(loss.item()):
        return StepResult(loss, terms, by_task, None, local, budget, is_mean=True)
    state.dense_gradients[data.name] = exchange(shards, nodes, parameters, kinds, sent)
    if not all(dealt[-1]):  # what has had no row has counted no batch
        counted = state.ranks.share(lambda: out_of_memory.integer_buffers(state.model))
        state.model.load_state_dict(counted, strict=False)
    if new_carried is not None and state.settings.on_nan == "skip":
        new_carried = _finite_or_zero(new_carried)
    return StepResult(loss, terms, by_task, new_carried, local, budget, is_mean=False)


def _agree(
    state: TrainingState, failure: out_of_memory.OutOfMemory | None, nodes: dict[tuple[int, int], Gradients]
) -> Tensor:
    """(number of parameters,) the kinds of gradients that any process has; all learn of a signal that one has got.

    Raises:
        OutOfMemory: a process was short of memory.
    """
    ranks, count = state.ranks, len(state.parameters)
    kinds = torch.zeros(count, dtype=torch.float64)
    for sums in nodes.values():
        kinds = torch.maximum(kinds, sums.kinds(count))
    if not ranks.is_alone:
        signal_number = 0 if state.stop is None else state.stop.pending
        news = torch.tensor([float(failure is not None), float(signal_number)], dtype=torch.float64)
        gathered = torch.stack(ranks.gather(torch.cat([news, kinds]))).amax(dim=0)
        if state.stop is not None:
            state.stop.agree(int(gathered[1]))
        kinds = gathered[2:]
        if gathered[0]:
            facts = None if failure is None else (failure.rows, failure.steps, failure.ids, failure.lengths)
            failure = out_of_memory.OutOfMemory(*next(fact for fact in ranks.collect(facts) if fact is not None))
    if failure is not None:
        raise failure
    return kinds


def _gather_totals(shards: Shards, results: dict[int, _Sums], device: torch.device, tasks: Sequence[str]) -> Tensor:
    """(shards, 2 + 2 K) float64: the sum of the losses of each shard, and the number of its terms.

    Then come the two of each of the K tasks that share the examples, if any do.
    """
    totals = torch.zeros(shards.count, 2 + 2 * len(tasks), dtype=torch.float64, device=device)
    for number, sums in results.items():
        if sums.losses:
            of_tasks = sums.totals_by_task()
            for column, (loss, terms) in enumerate([sums.total(), *(of_tasks[task] for task in tasks)]):
                totals[number, 2 * column], totals[number, 2 * column + 1] = loss, terms
    ranks = shards.ranks
    gathered = ranks.gather(totals)
    return torch.cat([tensor[shards.range_of(rank)] for rank, tensor in enumerate(gathered)])


def _empty_states(like: State, rows: int) -> State:
    """Zeros for so many rows."""
    return tuple(tensor.new_zeros(rows, *tensor.shape[1:]) for tensor in like)


def _finite_or_zero(state: State) -> State:
    """Zero where a state is not finite: those sequences start again instead of spoiling every step after this one."""
    return tuple(tensor.nan_to_num(0.0, 0.0, 0.0) for tensor in state)
