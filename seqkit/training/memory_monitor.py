"""Memory through time while training: when it is measured, and where that goes. docs/memory.md describes it.

Nothing that is trained depends on it: a measurement computes on the side, and leaves the model, its gradients and all
random states as they were. What it measures is a function of the weights and of the plan of the epoch, so that a
resumed run writes the same records.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from seqkit.data.epoch import EpochPlan
from seqkit.data.task_data import TaskData
from seqkit.encoders.recurrent import Recurrent
from seqkit.gradient_flow.advice import EncoderFacts, advise
from seqkit.gradient_flow.agreement import gradient_cosines
from seqkit.gradient_flow.record import describe, round_numbers
from seqkit.gradient_flow.trace import Trace, encoder_input_gradients, trace_gradients
from seqkit.runtime import out_of_memory
from seqkit.training.memory_board import show_final, show_record
from seqkit.training.nonfinite import LAG, StepRecord
from seqkit.training.state import TrainingState
from seqkit.types import JSON, Index

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run

T = TypeVar("T")

OFTEN = 100
"""After so many measurements they become rarer: a hundredth of the steps made so far lies between two of them."""
ON_GPU = 10
"""A GPU makes its steps much faster than the CPU measures, so it measures this much more rarely."""
MUCH = 0.03
"""More than this share of the time is worth a sentence on the screen."""
NOTICED = 10.0
"""Seconds; less than that nobody minds, however short the training is."""
ROWS = 8
"""Sequences of a measurement: fewer where they are so long that it would cost much more than a step."""
LONG = 0.9
"""Sequences are measured whose length has this quantile among all of train: long ones, but no exceptions."""
LOOK_BACK, WINDOWS = 256, 4
"""Text that is read in windows is measured over so many steps or windows, whichever is more, if the batch is as
large as that."""


@dataclass
class _Pending:
    """A step whose gradient norm a GPU may not have computed yet."""

    record: StepRecord
    norm: Tensor
    copied: torch.cuda.Event | None


class MemoryMonitor:
    """Measures every `train.memory` steps at first, and ever more rarely later; counts the norms of all steps.

    When it measures depends on the number of steps alone and never on a clock, as does everything that a run records.

    Args:
        state: of the training.
        data: the tasks by name.
        run: where records go.
    """

    def __init__(self, state: TrainingState, data: Mapping[str, TaskData], run: Run) -> None:
        self.state, self.data, self.run = state, data, run
        self.every = state.settings.memory if run.writes else None
        if self.every is not None and state.model.device.type != "cpu":
            self.every *= ON_GPU
        self._started, self._seconds = time.perf_counter(), 0.0
        self._pending: deque[_Pending] = deque()
        self._has_observed, self._count = False, 0
        self._measured: dict[str, Index] = {}
        """The examples of a task that are measured, the same ones through all of training."""
        self._failed: set[str] = set()
        """Tasks that could not be measured."""

    def observe(self, record: StepRecord, plan: EpochPlan) -> None:
        """Look at a step after its backward pass, before its gradients are clipped and applied."""
        if self.every is None:
            return
        begin = time.perf_counter()
        self._has_observed = True
        self._pending.append(_copy_norm(record))
        is_due = self._is_due(record.task, record.number)
        self.settle(wait=is_due)
        if is_due:
            self._measure(record, plan)
        self._seconds += time.perf_counter() - begin

    def settle(self, *, wait: bool) -> None:
        """Count the norms that are known by now; with `wait`, all of them, as before a checkpoint."""
        lag = 0 if wait or self.state.model.device.type != "cuda" else LAG
        while len(self._pending) > lag:
            pending = self._pending.popleft()
            if pending.copied is not None:
                pending.copied.synchronize()
            norm, record = float(pending.norm), pending.record
            if norm == norm and norm not in (float("inf"), float("-inf")):
                spike = self.state.norms.add(record.task, record.number, norm)
                if spike is not None and not self.state.norms.has_source(record.task):
                    self._attempt(record.task, "spikes", partial(self._find_source, record, spike))

    def finish(self, progress: Progress) -> None:
        """Show the records of each task once training has ended, and say what the newest one advises.

        A run that was killed after its last step may not have shown them: the board leaves out what it has already.
        """
        if self.every is None:
            return
        begin = time.perf_counter()
        for task in self.data:
            records = self._records(task)
            if not records:
                continue
            show_final(self.run.board, self.state.counters.step, task, records)
            for entry in records[-1]["advice"] if self._has_observed else ():
                line = f"memory through time, {task}: {entry['sentence']}"
                self.run.log(line)
                if entry["kind"] != "memory":
                    progress.say(line)
        self._seconds += time.perf_counter() - begin
        if self._has_observed:
            self._say_cost(progress)

    def _say_cost(self, progress: Progress) -> None:
        """The share of the time since this start that was spent here, on the screen only if that is much."""
        share = self._seconds / max(time.perf_counter() - self._started, 1e-9)
        line = (
            f"measuring memory through time took {100 * share:.1f} % of the time of training: "
            f"{self._seconds:.1f} s for {self._count:,} measurements, the norms of all steps, and pictures"
        )
        if share > MUCH and self._seconds > NOTICED:
            progress.say(f"{line}; a larger train.memory takes less, and null none")
        self.run.log(line)

    def _records(self, task: str) -> list[dict[str, JSON]]:
        return [record for record in self.run.memory if record["task"] == task]

    def _is_due(self, task: str, step: int) -> bool:
        """At the first step of a task, at every multiple of the interval or the task's next step, and at the end."""
        assert self.every is not None
        last = next((record["step"] for record in reversed(self.run.memory) if record["task"] == task), None)
        return last is None or step >= next_step(last, self.every) or step == self.state.total_steps

    def _measure(self, record: StepRecord, plan: EpochPlan) -> None:
        task, model = record.task, self.state.model
        encoder, self._count = model.encoder, self._count + 1
        measured: dict[str, JSON] = {"cell": None}
        if isinstance(encoder, Recurrent):
            trace = self._attempt(task, "gradients", partial(self._trace, record, plan))
            if trace is not None:
                measured = describe(trace, encoder.cell_name, self.data[task].task.window)
        entry = {"step": record.number, "task": task, **measured, **round_numbers(self.state.norms.take(task))}
        if self.data[task].sharing:
            cosines = self._attempt(task, "agreement of gradients", partial(self._cosines, task))
            entry["agreement"] = {" and ".join(pair): round(value, 6) for pair, value in (cosines or {}).items()}
        before = self._records(task)
        facts = _facts(encoder) if isinstance(encoder, Recurrent) and measured["cell"] else None
        # A record without gradients, because they could not be computed, is not compared with others.
        comparable = [old for old in before if old["cell"] == measured["cell"]]
        entry["advice"] = advise([*comparable, entry], facts)
        known = {old["kind"] for old in before[-1]["advice"]} if before else {"memory"}
        for advice in entry["advice"]:
            if advice["kind"] not in known:
                self.run.log(f"memory through time, step {record.number:,}, {task}: {advice['sentence']}")
        self.run.log_memory(entry)
        show_record(self.run.board, task, self._records(task))

    def _trace(self, record: StepRecord, plan: EpochPlan) -> Trace:
        model, task = self.state.model, record.task
        batch, _ = record.result.batches[-1]
        window = self.data[task].task.window
        if window is None:
            if task not in self._measured:
                self._measured[task] = choose_examples(self.data[task].lengths("train"), self.state.settings.batch)
            chosen = self.data[task].batch("train", self._measured[task])
            return trace_gradients(model, task, chosen.to(model.device))
        budget = batch.size * batch.x.shape[1]
        steps = min(max(WINDOWS * window, LOOK_BACK), max(WINDOWS * window, budget // 2))
        rows = max(1, min(ROWS, batch.size, budget // steps))
        longer, scored = plan.look_back(plan.turns[self.state.counters.turn], steps, rows)
        longer = longer.to(model.device)
        return trace_gradients(model, task, longer, scored=longer.last_steps(scored))

    def _cosines(self, task: str) -> dict[tuple[str, str], float]:
        """How the gradients of the tasks that share examples agree, on the same examples through all of training."""
        data, model = self.data[task], self.state.model
        count = len(data.splits["train"])
        index = np.linspace(0, count - 1, min(count, self.state.settings.batch)).round().astype(np.int64)
        return gradient_cosines(model, task, data.batch("train", index).to(model.device))

    def _find_source(self, record: StepRecord, spike: dict[str, JSON]) -> None:
        """The example, and the step of it, from which most of a step's gradient came."""
        largest = -1.0
        for batch, before in record.result.batches:
            for rows in out_of_memory.row_ranges(batch, record.result.budget):
                sub_batch, state = out_of_memory.take_rows(batch, before, rows)
                norms, _ = encoder_input_gradients(self.state.model, record.task, sub_batch, state)
                by_row = norms.square().sum(dim=1)
                row = int(by_row.argmax())
                if float(by_row[row]) > largest:
                    largest = float(by_row[row])
                    example = sub_batch.ids[row] if row < len(sub_batch.ids) else f"row {rows.start + row + 1}"
                    spike["example"], spike["position"] = str(example), int(norms[row].argmax()) + 1

    def _attempt(self, task: str, what: str, measure: Callable[[], T]) -> T | None:
        """What `measure` returns. An error ends the measuring, not the training, and is logged."""
        if task in self._failed:
            return None
        try:
            return measure()
        except Exception as error:
            self._failed.add(task)
            reason = " ".join(str(error).split())[:300]
            self.run.log(f"{task}: {what} through time are not measured: {type(error).__name__}: {reason}")
            return None


def next_step(last: int, every: int) -> int:
    """The step at which it is measured next, after a measurement at step `last`.

    The interval is `every`, and later the multiple of it that is about `last / OFTEN`.
    """
    interval = every * max(1, last // (OFTEN * every))
    return (last // interval + 1) * interval


def choose_examples(lengths: Index, batch: int) -> Index:
    """Numbers of examples next to the 90 % quantile of all lengths, so many that they cost less than a usual batch.

    Args:
        lengths: (n,) of all examples.
        batch: examples of a batch.
    """
    order = np.argsort(lengths, kind="stable")
    middle = round(LONG * (len(order) - 1))
    budget = batch * float(np.median(lengths))
    count = int(np.clip(budget // lengths[order[middle]], 2, ROWS))
    first = min(max(0, middle - count // 2), max(0, len(order) - count))
    return np.asarray(np.sort(order[first : first + count]))


def _copy_norm(record: StepRecord) -> _Pending:
    """A step with its norm on the way to the CPU."""
    norm = record.norm.detach()
    if norm.device.type != "cuda":
        return _Pending(record, norm, None)
    copy = torch.empty((), dtype=norm.dtype, pin_memory=True)
    copy.copy_(norm, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()
    return _Pending(record, copy, copied)


def _facts(encoder: Recurrent) -> EncoderFacts:
    options = encoder.options
    keep_bias = options.update_bias if encoder.cell_name == "gru" else options.forget_bias
    return EncoderFacts(encoder.cell_name, options.recurrent_init, keep_bias)
