"""One recurrent layer over rows without padding, back-propagation through time written out (Werbos 1990).

Only the recurrence goes step by step. The products with the inputs, and those that make the gradients of the weights
and of the inputs, are each one product over all real steps of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqkit.kernels.layout import Layout
from seqkit.kernels.padded import CellState
from seqkit.kernels.recurrence import GATES, CellKind, Engine, Pass

_INPUTS = 6
"""Tensors of a direction that the function is given: W, R, two biases, h and c at the start."""


@dataclass(frozen=True, slots=True)
class UnpaddedOutput:
    """What one layer gives, all its directions.

    Attributes:
        rows: (N, directions x H) outputs, the directions side by side.
        ends: for each direction what works out the state after its own last step, (h,) or (h, c), each (B, H) in the
            batch's order.
    """

    rows: Tensor
    ends: list[Callable[[], CellState]]


def run_unpadded(
    cells: Sequence[nn.RNNBase],
    x: Tensor,
    layout: Layout,
    starts: Sequence[CellState | None],
    *,
    engine: Engine,
    threads: int = 1,
) -> UnpaddedOutput:
    """One layer over rows (N, D): `cells` are its directions, forwards first, `starts` their states in batch order.

    A start of None is zero. The cells are torch's, with one layer and one direction each.
    """
    kind = kind_of(cells[0])
    given: list[Tensor | None] = []
    for cell, start in zip(cells, starts, strict=True):
        given += cell.all_weights[0]
        given += [*(start or ()), *[None] * (2 - len(start or ()))]
    out, *memories = _Layer.apply(engine, layout, kind, threads, x, *given)  # type: ignore[no-untyped-call, unused-ignore]
    hidden = cells[0].hidden_size

    def end(d: int) -> CellState:
        rows, start = out[:, d * hidden : (d + 1) * hidden], starts[d]
        h = _at(rows, layout.first if d else layout.last, layout, None if start is None else start[0])
        return (h, memories[d]) if memories else (h,)

    return UnpaddedOutput(out, [partial(end, d) for d in range(len(cells))])


def kind_of(cell: nn.RNNBase) -> CellKind:
    """The kind of a torch cell.

    Raises:
        TypeError: it is none of these.
    """
    kinds: dict[str, CellKind] = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": "lstm", "GRU": "gru"}
    if cell.mode not in kinds:
        raise TypeError(f"no recurrent cell: {type(cell).__name__}")
    return kinds[cell.mode]


def _at(rows: Tensor, index: Tensor, layout: Layout, start: Tensor | None) -> Tensor:
    """(N, H), (B,) -> (B, H) in the batch's order. An empty sequence ends where it starts."""
    if layout.empty is None:
        return rows.index_select(0, index)
    first = rows.new_zeros(layout.sequences, rows.shape[1]) if start is None else start.to(rows.dtype)
    return torch.where(layout.empty[:, None], first, rows.index_select(0, index)) if layout.rows else first


class _Layer(torch.autograd.Function):
    """Rows and weights to rows, and for an LSTM the final memory of each direction, (B, H) in the batch's order."""

    @staticmethod
    def forward(
        ctx: Any, engine: Engine, layout: Layout, kind: CellKind, threads: int, x: Tensor, *given: Tensor | None
    ) -> tuple[Tensor, ...]:
        low = _low_precision()
        sides = _sides(given)
        hidden = sides[0].r.shape[1]
        steps = sides[0].r.new_empty(layout.rows, len(sides) * hidden)
        memory = torch.empty_like(steps) if kind in ("lstm", "gru") else None
        with torch.autocast("cpu", enabled=False):
            x = x.to(low or steps.dtype)
            gates = [_product(x, side.w.t(), low, side.bias(kind)) for side in sides]
            passes = _passes(kind, sides, gates, memory, steps, layout)
            engine(passes, layout, threads=threads, back=False)
        ctx.save_for_backward(x, steps, memory, *gates, *given)
        ctx.about = engine, layout, kind, threads, low
        ctx.set_materialize_grads(False)
        if kind != "lstm":
            return (steps,)
        return steps, *(_final(layout, each, side.c0) for each, side in zip(passes, sides, strict=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        engine, layout, kind, threads, low = ctx.about
        x, steps, memory, *rest = ctx.saved_tensors
        count = len(rest) // (_INPUTS + 1)
        gates, given = rest[:count], rest[count:]
        sides = _sides(given)
        hidden = sides[0].r.shape[1]
        gradient = torch.zeros_like(steps) if grads[0] is None else grads[0].contiguous()
        passes = [
            replace(
                each,
                gradient=gradient[:, d * hidden : (d + 1) * hidden],
                changes=steps.new_empty(layout.rows, hidden * (4 if kind == "gru" else GATES[kind])),
                before=steps.new_empty(layout.rows, hidden),
                carried=_carried(kind, layout, steps, hidden, grads[1 + d] if kind == "lstm" else None),
            )
            for d, each in enumerate(_passes(kind, sides, gates, memory, steps, layout))
        ]
        engine(passes, layout, threads=threads, back=True)
        needs = ctx.needs_input_grad[4:]
        of_x: Tensor | None = None
        found: list[Tensor | None] = []
        for d, (side, each) in enumerate(zip(sides, passes, strict=True)):
            own = needs[1 + d * _INPUTS : 1 + (d + 1) * _INPUTS]
            if needs[0]:
                of_x = _input_gradient(side, each, low, of_x)
            found += _gradients(side, each, x, layout, low, own)
        return None, None, None, None, of_x, *found


def _sides(given: Sequence[Tensor | None]) -> list[_Side]:
    found = []
    for i in range(0, len(given), _INPUTS):
        w, r, b, c, h0, c0 = given[i : i + _INPUTS]
        assert w is not None
        assert r is not None
        assert b is not None
        assert c is not None
        found.append(_Side(w, r, b, c, h0, c0))
    return found


@dataclass(frozen=True, slots=True)
class _Side:
    """What one direction is given: W (G H, D), R (G H, H), two biases (G H,), and h and c at the start or None."""

    w: Tensor
    r: Tensor
    b: Tensor
    c: Tensor
    h0: Tensor | None
    c0: Tensor | None

    def bias(self, kind: CellKind) -> Tensor:
        """(G H,) what is added to W x: both biases, but for a GRU's new gate, where the second one comes later."""
        if kind != "gru":
            return self.b + self.c
        most = 2 * self.r.shape[1]
        return torch.cat([self.b[:most] + self.c[:most], self.b[most:]])


def _passes(
    kind: CellKind,
    sides: Sequence[_Side],
    gates: Sequence[Tensor],
    memory: Tensor | None,
    steps: Tensor,
    layout: Layout,
) -> list[Pass]:
    hidden = sides[0].r.shape[1]
    passes = []
    for d, (side, own) in enumerate(zip(sides, gates, strict=True)):
        columns = slice(d * hidden, (d + 1) * hidden)
        passes.append(
            Pass(
                kind,
                backwards=d == 1,
                weights=side.r.contiguous(),
                bias=side.c[2 * hidden :] if kind == "gru" else None,
                gates=own,
                memory=None if memory is None else memory[:, columns],
                steps=steps[:, columns],
                start=tuple(
                    part.to(steps.dtype).index_select(0, layout.order)
                    for part in (side.h0, side.c0)
                    if part is not None
                )
                or None,
            )
        )
    return passes


def _final(layout: Layout, run: Pass, start: Tensor | None) -> Tensor:
    """(B, H) an LSTM's memory after each sequence's own last step of travel, in the batch's order."""
    assert run.memory is not None
    found = _at(run.memory, layout.first if run.backwards else layout.last, layout, start)
    return found.clone() if found is start else found


def _carried(kind: CellKind, layout: Layout, steps: Tensor, hidden: int, given: Tensor | None) -> Tensor | None:
    if kind not in ("lstm", "gru"):
        return None
    return steps.new_zeros(layout.sequences, hidden) if given is None else given.index_select(0, layout.order)


def _input_gradient(side: _Side, run: Pass, low: torch.dtype | None, before: Tensor | None) -> Tensor:
    """(N, D), added to that of the direction before."""
    assert run.changes is not None
    weights, changes = side.w, run.changes
    if run.kind == "gru":  # the changes have the new gate first
        hidden = side.r.shape[1]
        weights, changes = torch.cat([side.w[2 * hidden :], side.w[: 2 * hidden]]), changes[:, : 3 * hidden]
    if low is None:
        return changes @ weights if before is None else before.addmm_(changes, weights)
    own = _product(changes, weights, low)
    return own if before is None else before.add_(own)


def _gradients(
    side: _Side, run: Pass, x: Tensor, layout: Layout, low: torch.dtype | None, needs: Sequence[bool]
) -> list[Tensor | None]:
    """Of W, R, the two biases, and h and c at the start."""
    assert run.changes is not None
    assert run.before is not None
    hidden, gru = side.r.shape[1], run.kind == "gru"
    own = run.changes[:, : 3 * hidden] if gru else run.changes
    again = run.changes[:, hidden:] if gru else run.changes
    of_w = _product(own.t(), x, low) if needs[0] else None
    if gru and of_w is not None:
        of_w = torch.cat([of_w[hidden:], of_w[:hidden]])
    of_r = _product(again.t(), run.before, low) if needs[1] else None
    of_b, of_c = None, None
    if needs[2] or needs[3]:
        sums = run.changes.sum(0)
        of_b = torch.cat([sums[hidden : 3 * hidden], sums[:hidden]]) if gru else sums
        of_c = sums[hidden:] if gru else sums.clone()
    of_h = of_c0 = None
    if run.carried is not None and (needs[4] or needs[5]):
        of_c0 = run.carried.index_select(0, layout.place)
    if needs[4]:
        of_h = side.r.new_zeros(layout.sequences, hidden)
        if layout.rows:
            of_h = again.index_select(0, layout.last if run.backwards else layout.first) @ side.r
        if layout.empty is not None:
            of_h = of_h.masked_fill(layout.empty[:, None], 0.0)
        if gru and of_c0 is not None:  # for a GRU, what is carried is of h
            of_h = of_h + of_c0
    return [of_w, of_r, of_b, of_c, of_h, of_c0 if needs[5] else None]


def _low_precision() -> torch.dtype | None:
    """What autocast asks products to be computed in; None: nothing."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None


def _product(a: Tensor, b: Tensor, low: torch.dtype | None, bias: Tensor | None = None) -> Tensor:
    """a b + bias, the product in `low` if there is such, the sum in the type of the weights."""
    if low is None:
        return a @ b if bias is None else torch.addmm(bias, a, b)
    found = (a.to(low) @ b.to(low)).float()
    return found if bias is None else found.add_(bias)
