"""What runs a recurrence over rows: the tensors of one direction of a layer, and the plain implementation of a pass.

A pass is the part of a layer that must go step by step. `stepwise` says what it is, in PyTorch, one step at a time; the
native implementation (`seqkit.kernels.native`) gives the same numbers and is held to it by the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkit.kernels.layout import Group, Layout
from seqkit.kernels.recurrence import Pass


def stepwise(passes: Sequence[Pass], layout: Layout, *, threads: int, back: bool) -> None:
    """Every pass by plain PyTorch, a step at a time. `threads` is what torch says it is."""
    for each in passes:
        for group in layout.groups:
            _backward(each, group) if back else _forward(each, group)


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a group: its rows, and those rows that one of its sequences has at the step before or after it.

    Attributes:
        rows: the rows of this step.
        sequences: the places in (B, H) states of the sequences that are running.
        past: the rows of the step before, in the direction of travel; they belong to the first sequences.
        next: the rows of the step after, in the direction of travel; they belong to the first sequences.
    """

    rows: slice
    sequences: slice
    past: slice
    next: slice


def _steps_of(group: Group, backwards: bool) -> Iterator[_Step]:
    """The steps of a group in the direction of travel."""
    begins, row = [], group.row
    for alive in group.alive:
        begins.append(row)
        row += alive

    def rows(t: int, most: int) -> slice:
        if not 0 <= t < len(begins):
            return slice(0, 0)
        return slice(begins[t], begins[t] + min(most, group.alive[t]))

    times = range(len(begins))
    for t in reversed(times) if backwards else times:
        own = group.alive[t]
        before, after = (t + 1, t - 1) if backwards else (t - 1, t + 1)
        sequences = slice(group.sequence, group.sequence + own)
        yield _Step(rows(t, own), sequences, rows(before, own), rows(after, own))


def _earlier(rows: Tensor, step: _Step, start: Tensor | None) -> Tensor:
    """(rows of the step, H): what stood there a step before, or at the start."""
    past = rows[step.past]
    missing = slice(step.sequences.start + len(past), step.sequences.stop)
    if missing.start == missing.stop:
        return past
    rest = rows.new_zeros(missing.stop - missing.start, rows.shape[1]) if start is None else start[missing]
    return torch.cat([past, rest])


def _forward(run: Pass, group: Group) -> None:
    start = run.start or (None, None)
    for step in _steps_of(group, run.backwards):
        h = _earlier(run.steps, step, start[0])
        again = h @ run.weights.t()
        gates = run.gates[step.rows]
        if run.kind == "lstm":
            assert run.memory is not None
            gates += again
            enter, keep, new, show = gates.chunk(4, dim=1)
            for gate in (enter, keep, show):
                gate.sigmoid_()
            new.tanh_()
            c = keep * _earlier(run.memory, step, start[1]) + enter * new
            run.memory[step.rows] = c
            run.steps[step.rows] = show * c.tanh()
        elif run.kind == "gru":
            assert run.memory is not None
            assert run.bias is not None
            reset, update, new = gates.chunk(3, dim=1)
            reset_again, update_again, new_again = again.chunk(3, dim=1)
            inner = new_again + run.bias
            reset.add_(reset_again).sigmoid_()
            update.add_(update_again).sigmoid_()
            new.addcmul_(reset, inner).tanh_()
            run.memory[step.rows] = inner
            run.steps[step.rows] = torch.lerp(new, h, update)
        else:
            total = gates + again
            run.steps[step.rows] = total.tanh() if run.kind == "tanh" else total.relu()


def _backward(run: Pass, group: Group) -> None:
    assert run.gradient is not None
    assert run.changes is not None
    assert run.before is not None
    start, hidden = run.start or (None, None), run.weights.shape[1]
    seen = run.changes[:, hidden:] if run.kind == "gru" else run.changes  # what goes through R
    for step in reversed(list(_steps_of(group, run.backwards))):
        up, h = run.gradient[step.rows].clone(), _earlier(run.steps, step, start[0])
        coming = up[: step.next.stop - step.next.start]
        coming += seen[step.next] @ run.weights
        run.before[step.rows] = h
        gates, out = run.gates[step.rows], run.changes[step.rows]
        if run.kind == "lstm":
            assert run.memory is not None
            assert run.carried is not None
            enter, keep, new, show = gates.chunk(4, dim=1)
            c = run.memory[step.rows].tanh()
            total = run.carried[step.sequences] + up * show * (1 - c * c)
            parts = (
                total * new * enter * (1 - enter),
                total * _earlier(run.memory, step, start[1]) * keep * (1 - keep),
                total * enter * (1 - new * new),
                up * c * show * (1 - show),
            )
            torch.cat(parts, dim=1, out=out)
            run.carried[step.sequences] = total * keep
        elif run.kind == "gru":
            assert run.memory is not None
            assert run.carried is not None
            reset, update, new = gates.chunk(3, dim=1)
            coming += run.carried[step.sequences][: len(coming)]
            inner = up * (1 - update) * (1 - new * new)
            parts = (
                inner,
                inner * run.memory[step.rows] * reset * (1 - reset),
                up * (h - new) * update * (1 - update),
                inner * reset,
            )
            torch.cat(parts, dim=1, out=out)
            run.carried[step.sequences] = up * update
        else:
            value = run.steps[step.rows]
            torch.mul(up, 1 - value * value if run.kind == "tanh" else (value > 0).to(up.dtype), out=out)
