"""The recurrence in plain PyTorch, one step at a time: the reference implementation.

The C++ implementation (`seqkit.kernels.native`) gives the same numbers up to rounding; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkit.kernels.engine import CellKind, DirectionPass
from seqkit.kernels.layout import Group, Layout


def stepwise_pass(passes: Sequence[DirectionPass], layout: Layout, *, threads: int, backward: bool) -> None:
    """An `Engine`, one direction and one group after the other. It uses torch's threads and ignores `threads`."""
    run_group = _backward if backward else _forward
    for direction in passes:
        for group in layout.groups:
            run_group(direction, group)


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a group, and the rows of its sequences at the two neighbouring steps.

    "Before" and "after" are in the direction of the pass. The neighbouring rows belong to the first of the sequences:
    the others begin or end at this step.

    Attributes:
        rows: the rows of this step.
        sequences: the active sequences, in (B, H) states.
        rows_before: the rows of the step before.
        rows_after: the rows of the step after.
    """

    rows: slice
    sequences: slice
    rows_before: slice
    rows_after: slice


def _steps(group: Group, reverse: bool) -> Iterator[_Step]:
    """The steps of a group in the direction of the pass."""
    starts, row = [], group.first_row
    for active in group.active:
        starts.append(row)
        row += active

    def rows(t: int, limit: int) -> slice:
        if not 0 <= t < len(starts):
            return slice(0, 0)
        return slice(starts[t], starts[t] + min(limit, group.active[t]))

    times = range(len(starts))
    for t in reversed(times) if reverse else times:
        active = group.active[t]
        before, after = (t + 1, t - 1) if reverse else (t - 1, t + 1)
        sequences = slice(group.first_sequence, group.first_sequence + active)
        yield _Step(rows(t, active), sequences, rows(before, active), rows(after, active))


def _previous(values: Tensor, step: _Step, initial: Tensor | None) -> Tensor:
    """(N, H) values, (B, H) initial values -> (active, H), the values before this step."""
    previous = values[step.rows_before]
    starting = slice(step.sequences.start + len(previous), step.sequences.stop)
    count = starting.stop - starting.start
    if count == 0:
        return previous
    return torch.cat([previous, values.new_zeros(count, values.shape[1]) if initial is None else initial[starting]])


def _product(rows: Tensor, weights: Tensor) -> Tensor:
    """(n, K), (K, M) -> (n, M). With weights in low precision the rows are rounded to it; sums stay as they are."""
    if weights.dtype == rows.dtype:
        return rows @ weights
    return rows.to(weights.dtype).to(rows.dtype) @ weights.to(rows.dtype)


def _forward(run: DirectionPass, group: Group) -> None:
    h0, c0 = (*(run.initial or ()), None, None)[:2]
    for step in _steps(group, run.reverse):
        h = _previous(run.h, step, h0)
        recurrent_term = _product(h, run.weights.t())
        gates = run.gates[step.rows]
        if run.kind == "lstm":
            assert run.memory is not None
            gates += recurrent_term
            i, f, g, o = gates.chunk(4, dim=1)
            for gate in (i, f, o):
                gate.sigmoid_()
            g.tanh_()
            c = f * _previous(run.memory, step, c0) + i * g
            run.memory[step.rows] = c
            run.h[step.rows] = o * c.tanh()
        elif run.kind == "gru":
            assert run.memory is not None
            assert run.bias is not None
            r, z, n = gates.chunk(3, dim=1)
            recurrent_r, recurrent_z, recurrent_n = recurrent_term.chunk(3, dim=1)
            biased_n = recurrent_n + run.bias
            r.add_(recurrent_r).sigmoid_()
            z.add_(recurrent_z).sigmoid_()
            n.addcmul_(r, biased_n).tanh_()
            run.memory[step.rows] = biased_n
            run.h[step.rows] = torch.lerp(n, h, z)
        else:
            argument = gates + recurrent_term
            run.h[step.rows] = argument.tanh() if run.kind == "tanh" else argument.relu()


def _backward(run: DirectionPass, group: Group) -> None:
    assert run.grad_h is not None
    assert run.grad_gates is not None
    assert run.h_prev is not None
    hidden = run.weights.shape[1]
    h0, c0 = (*(run.initial or ()), None, None)[:2]
    grad_recurrent = run.grad_gates[:, hidden:] if run.kind == "gru" else run.grad_gates  # gradient of R h
    for step in reversed(list(_steps(group, run.reverse))):
        grad_h, h_prev = run.grad_h[step.rows].clone(), _previous(run.h, step, h0)
        grad_h_continuing = grad_h[: step.rows_after.stop - step.rows_after.start]
        grad_h_continuing += _product(grad_recurrent[step.rows_after], run.weights)
        run.h_prev[step.rows] = h_prev
        gates, grad_gates = run.gates[step.rows], run.grad_gates[step.rows]
        if run.kind == "lstm":
            assert run.memory is not None
            assert run.grad_state is not None
            i, f, g, o = gates.chunk(4, dim=1)
            tanh_c = run.memory[step.rows].tanh()
            grad_c = run.grad_state[step.sequences] + grad_h * o * (1 - tanh_c * tanh_c)
            grad_i = grad_c * g * i * (1 - i)
            grad_f = grad_c * _previous(run.memory, step, c0) * f * (1 - f)
            grad_g = grad_c * i * (1 - g * g)
            grad_o = grad_h * tanh_c * o * (1 - o)
            torch.cat((grad_i, grad_f, grad_g, grad_o), dim=1, out=grad_gates)
            run.grad_state[step.sequences] = grad_c * f
        elif run.kind == "gru":
            assert run.memory is not None
            assert run.grad_state is not None
            r, z, n = gates.chunk(3, dim=1)
            grad_h_continuing += run.grad_state[step.sequences][: len(grad_h_continuing)]
            grad_n = grad_h * (1 - z) * (1 - n * n)
            grad_r = grad_n * run.memory[step.rows] * r * (1 - r)
            grad_z = grad_h * (h_prev - n) * z * (1 - z)
            torch.cat((grad_n, grad_r, grad_z, grad_n * r), dim=1, out=grad_gates)
            run.grad_state[step.sequences] = grad_h * z
        else:
            h = run.h[step.rows]
            slope = 1 - h * h if run.kind == "tanh" else (h > 0).to(h.dtype)
            torch.mul(grad_h, slope, out=grad_gates)


def differentiable_pass(
    kind: CellKind,
    reverse: bool,
    weights: Tensor,
    bias: Tensor | None,
    gates: Tensor,
    initial: Sequence[Tensor],
    layout: Layout,
) -> tuple[Tensor, Tensor]:
    """The forward pass of one direction without writing into a tensor, for derivatives of any order.

    Args:
        kind: the cell.
        reverse: from each sequence's last step to its first.
        weights: R (G H, H).
        bias: a GRU's second bias of gate n (H,); None for other cells.
        gates: W x + b (N, G H).
        initial: h and c before the first step, each (B, H) in the layout's order.
        layout: the rows of the batch.

    Returns:
        h and c, each (N, H). For cells other than an LSTM, c means nothing.
    """
    columns: tuple[list[Tensor], list[Tensor]] = ([], [])
    for group in layout.groups:
        first = group.first_sequence
        h, c = (values[first:first] for values in initial)
        steps: list[tuple[Tensor, Tensor]] = []
        for step in _steps(group, reverse):
            # Sequences that ended leave the state; in reverse, longer ones begin before shorter ones.
            starting = slice(first + len(h), step.sequences.stop)
            active = step.sequences.stop - first
            h, c = (torch.cat([v, v0[starting]])[:active] for v, v0 in zip((h, c), initial, strict=True))
            h, c = _differentiable_step(kind, gates[step.rows], h, c, weights, bias)
            steps.append((h, c))
        for column, values in zip(columns, zip(*(reversed(steps) if reverse else steps), strict=True), strict=False):
            column.extend(values)
    h, c = (torch.cat(column) if column else gates.new_zeros(0, weights.shape[1]) for column in columns)
    return h, c


def _differentiable_step(
    kind: CellKind, gates: Tensor, h: Tensor, c: Tensor, weights: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    recurrent_term = h @ weights.t()
    if kind == "lstm":
        i, f, g, o = (gates + recurrent_term).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if kind == "gru":
        assert bias is not None
        r, z, n = gates.chunk(3, dim=1)
        recurrent_r, recurrent_z, recurrent_n = recurrent_term.chunk(3, dim=1)
        z = (z + recurrent_z).sigmoid()
        n = (n + (r + recurrent_r).sigmoid() * (recurrent_n + bias)).tanh()
        return (1 - z) * n + z * h, c
    argument = gates + recurrent_term
    return (argument.tanh() if kind == "tanh" else argument.relu()), c
