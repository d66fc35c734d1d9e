"""One recurrent layer over rows without padding, with back-propagation through time written out (Werbos 1990).

Only the recurrence goes step by step. The products with the inputs, and those for the gradients of the weights and of
the inputs, are each one product over all real steps of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from seqkit.kernels.engine import NUM_GATES, CellKind, DirectionPass, Engine
from seqkit.kernels.layout import Layout
from seqkit.kernels.native import has_bf16_recurrence, native_pass
from seqkit.kernels.padded import CellState
from seqkit.kernels.second_derivative import differentiate_with_graph
from seqkit.kernels.stepwise import differentiable_pass

_INPUTS_PER_DIRECTION = 6
"""Tensors of a direction among the inputs of `_Layer`: W, R, two biases, and h and c before the first step."""

Watcher: TypeAlias = Callable[[Sequence[DirectionPass], Layout, Sequence[Tensor | None]], object]
"""Gets a layer's directions with all their tensors, the layout of the rows, and for an LSTM the gradient of each
direction's final c (B, H), in the batch's order (None: there is none)."""

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watch_backward(watcher: Watcher) -> Iterator[None]:
    """Layers that run within the block call `watcher` whenever their backward pass has run, the last layer first."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@dataclass(frozen=True, slots=True)
class UnpaddedOutput:
    """The result of one layer, all its directions.

    Attributes:
        rows: (N, directions x H) outputs, the directions side by side.
        final_states: for each direction a function that returns the state after each sequence's own last step in that
            direction, (h,) or (h, c), each (B, H) in the batch's order.
    """

    rows: Tensor
    final_states: list[Callable[[], CellState]]


def run_unpadded(
    cells: Sequence[nn.RNNBase],
    x: Tensor,
    layout: Layout,
    initial: Sequence[CellState | None],
    *,
    engine: Engine,
    threads: int = 1,
) -> UnpaddedOutput:
    """One layer over rows (N, D).

    Args:
        cells: one cell for each direction, the forward direction first; torch's, each with one layer, one direction.
        x: (N, D).
        layout: the rows of the batch.
        initial: for each direction the state before the first step, in the batch's order; None: zero.
        engine: what runs the recurrence.
        threads: for the engine.
    """
    weights = [cell.all_weights[0] for cell in cells]
    return run_unpadded_weights(kind_of(cells[0]), weights, x, layout, initial, engine=engine, threads=threads)


def run_unpadded_weights(
    kind: CellKind,
    weights: Sequence[Sequence[Tensor]],
    x: Tensor,
    layout: Layout,
    initial: Sequence[CellState | None],
    *,
    engine: Engine,
    threads: int = 1,
) -> UnpaddedOutput:
    """The same as `run_unpadded`, with the weights of each direction: W, R, and two biases or none."""
    inputs: list[Tensor | None] = []
    for matrices, state in zip(weights, initial, strict=True):
        inputs += matrices
        if len(matrices) == 2:
            zero = matrices[1].new_zeros(matrices[1].shape[0])
            inputs += [zero, zero]
        inputs += [*(state or ()), *[None] * (2 - len(state or ()))]
    out, *final_memories = _Layer.apply(engine, layout, kind, threads, x, *inputs)  # type: ignore[no-untyped-call, unused-ignore]
    hidden = weights[0][1].shape[1]

    def final_state(d: int) -> CellState:
        rows, state = out[:, d * hidden : (d + 1) * hidden], initial[d]
        last = layout.first_row if d else layout.last_row
        h = _gather_rows(rows, last, layout, None if state is None else state[0])
        return (h, final_memories[d]) if final_memories else (h,)

    return UnpaddedOutput(out, [partial(final_state, d) for d in range(len(weights))])


def kind_of(cell: nn.RNNBase) -> CellKind:
    """The kind of a torch cell.

    Raises:
        TypeError: it is none of these.
    """
    kinds: dict[str, CellKind] = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": "lstm", "GRU": "gru"}
    if cell.mode not in kinds:
        raise TypeError(f"expected an nn.RNN, nn.LSTM or nn.GRU, got {type(cell).__name__}")
    return kinds[cell.mode]


def _gather_rows(rows: Tensor, index: Tensor, layout: Layout, initial: Tensor | None) -> Tensor:
    """(N, H), (B,) -> (B, H) in the batch's order. An empty sequence keeps its initial value."""
    if layout.is_empty is None:
        return rows.index_select(0, index)
    if initial is None:
        initial = rows.new_zeros(layout.num_sequences, rows.shape[1])
    initial = initial.to(rows.dtype)
    if not layout.num_rows:
        return initial
    return torch.where(layout.is_empty[:, None], initial, rows.index_select(0, index))


class _Layer(torch.autograd.Function):
    """Rows and weights to rows (N, directions x H); for an LSTM also the final c of each direction, (B, H).

    Final values are in the batch's order.
    """

    @staticmethod
    def forward(
        ctx: Any, engine: Engine, layout: Layout, kind: CellKind, threads: int, x: Tensor, *inputs: Tensor | None
    ) -> tuple[Tensor, ...]:
        directions = _by_direction(inputs)
        product_dtype = _autocast_dtype(directions[0].r)
        hidden = directions[0].r.shape[1]
        h = directions[0].r.new_empty(layout.num_rows, len(directions) * hidden)
        memory = torch.empty_like(h) if kind in ("lstm", "gru") else None
        with torch.autocast(x.device.type, enabled=False):
            rows = x.to(product_dtype or h.dtype)
            gates = [
                _product(rows, direction.w.t(), product_dtype, direction.input_bias(kind)) for direction in directions
            ]
            recurrent_dtype = _recurrent_dtype(engine, h, product_dtype)
            passes = _passes(kind, directions, gates, memory, h, layout, recurrent_dtype)
            engine(passes, layout, threads=threads, backward=False)
        ctx.save_for_backward(x, h, memory, *gates, *inputs)
        ctx.settings = engine, layout, kind, threads, product_dtype, recurrent_dtype
        ctx.watcher = _watcher.get()
        ctx.set_materialize_grads(False)
        if kind != "lstm":
            return (h,)
        return h, *(_final_memory(layout, run, direction.c0) for run, direction in zip(passes, directions, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        engine, layout, kind, threads, product_dtype, recurrent_dtype = ctx.settings
        x, h, memory, *rest = ctx.saved_tensors
        count = len(rest) // (_INPUTS_PER_DIRECTION + 1)
        gates, inputs = rest[:count], rest[count:]
        if torch.is_grad_enabled():
            function = partial(_differentiable_layer, layout, kind, product_dtype)
            return None, None, None, None, *differentiate_with_graph(function, [x, *inputs], grads)
        # An output knows this node: a watcher that kept it would keep the graph, and so itself, for ever.
        h, x = h.detach(), x.to(product_dtype or h.dtype)
        directions = _by_direction(inputs)
        hidden = directions[0].r.shape[1]
        grad_h = torch.zeros_like(h) if grads[0] is None else grads[0].contiguous()
        passes = [
            replace(
                run,
                grad_h=grad_h[:, d * hidden : (d + 1) * hidden],
                grad_gates=h.new_empty(layout.num_rows, hidden * (4 if kind == "gru" else NUM_GATES[kind])),
                h_prev=h.new_empty(layout.num_rows, hidden),
                grad_state=_initial_grad_state(kind, layout, run, grads[1 + d] if kind == "lstm" else None),
            )
            for d, run in enumerate(_passes(kind, directions, gates, memory, h, layout, recurrent_dtype))
        ]
        engine(passes, layout, threads=threads, backward=True)
        if ctx.watcher is not None:
            ctx.watcher(passes, layout, grads[1:])
        needs_x, *needs = ctx.needs_input_grad[4:]
        grad_x: Tensor | None = None
        grad_inputs: list[Tensor | None] = []
        for d, (direction, run) in enumerate(zip(directions, passes, strict=True)):
            assert run.grad_gates is not None
            grad_gates = run.grad_gates.to(product_dtype or h.dtype)  # rounded once for three products
            if needs_x:
                grad_x = _add_input_gradient(grad_x, direction, run, grad_gates, product_dtype)
            needed = needs[d * _INPUTS_PER_DIRECTION : (d + 1) * _INPUTS_PER_DIRECTION]
            grad_inputs += _weight_gradients(direction, run, x, grad_gates, product_dtype, needed)
            grad_inputs += _initial_state_gradients(direction, run, layout, needed[4:])
        return None, None, None, None, grad_x, *grad_inputs


def _differentiable_layer(
    layout: Layout, kind: CellKind, product_dtype: torch.dtype | None, x: Tensor, *inputs: Tensor | None
) -> tuple[Tensor, ...]:
    """What `_Layer` returns, in operations that torch can differentiate any number of times."""
    directions, outputs, memories = _by_direction(inputs), [], []
    with torch.autocast(x.device.type, enabled=False):
        for d, direction in enumerate(directions):
            rows = x.to(product_dtype or direction.r.dtype)
            gates = _product(rows, direction.w.t(), product_dtype, direction.input_bias(kind))
            bias = direction.r_bias[2 * direction.r.shape[1] :] if kind == "gru" else None
            initial = [state for state in (direction.h0, direction.c0) if state is not None]
            zero = gates.new_zeros(layout.num_sequences, direction.r.shape[1])
            ordered = [state.to(gates.dtype).index_select(0, layout.order) for state in initial]
            h, c = differentiable_pass(kind, d == 1, direction.r, bias, gates, [*ordered, zero, zero][:2], layout)
            outputs.append(h)
            if kind == "lstm":
                last = layout.first_row if d else layout.last_row
                memories.append(_gather_rows(c, last, layout, direction.c0))
    return torch.cat(outputs, dim=1), *memories


@dataclass(frozen=True, slots=True)
class _DirectionInputs:
    """The inputs of one direction.

    Attributes:
        w: (G H, D).
        r: (G H, H).
        w_bias: (G H,).
        r_bias: (G H,).
        h0: (B, H) in the batch's order; None: zero.
        c0: the same for an LSTM's c.
    """

    w: Tensor
    r: Tensor
    w_bias: Tensor
    r_bias: Tensor
    h0: Tensor | None
    c0: Tensor | None

    def input_bias(self, kind: CellKind) -> Tensor:
        """(G H,) the bias of W x: both biases, except for a GRU's gate n, whose second bias belongs to R h."""
        if kind != "gru":
            return self.w_bias + self.r_bias
        n = 2 * self.r.shape[1]
        return torch.cat([self.w_bias[:n] + self.r_bias[:n], self.w_bias[n:]])


def _by_direction(inputs: Sequence[Tensor | None]) -> list[_DirectionInputs]:
    directions = []
    for start in range(0, len(inputs), _INPUTS_PER_DIRECTION):
        w, r, w_bias, r_bias, h0, c0 = inputs[start : start + _INPUTS_PER_DIRECTION]
        assert w is not None
        assert r is not None
        assert w_bias is not None
        assert r_bias is not None
        directions.append(_DirectionInputs(w, r, w_bias, r_bias, h0, c0))
    return directions


def _passes(
    kind: CellKind,
    directions: Sequence[_DirectionInputs],
    gates: Sequence[Tensor],
    memory: Tensor | None,
    h: Tensor,
    layout: Layout,
    recurrent_dtype: torch.dtype,
) -> list[DirectionPass]:
    hidden = directions[0].r.shape[1]
    passes = []
    for d, (direction, direction_gates) in enumerate(zip(directions, gates, strict=True)):
        columns = slice(d * hidden, (d + 1) * hidden)
        states = [state for state in (direction.h0, direction.c0) if state is not None]
        passes.append(
            DirectionPass(
                kind=kind,
                reverse=d == 1,
                weights=direction.r.to(recurrent_dtype).contiguous(),
                bias=direction.r_bias[2 * hidden :] if kind == "gru" else None,
                gates=direction_gates,
                memory=None if memory is None else memory[:, columns],
                h=h[:, columns],
                initial=tuple(state.to(h.dtype).index_select(0, layout.order) for state in states) or None,
            )
        )
    return passes


def _final_memory(layout: Layout, run: DirectionPass, c0: Tensor | None) -> Tensor:
    """(B, H) an LSTM's c after each sequence's own last step in this direction, in the batch's order."""
    assert run.memory is not None
    c = _gather_rows(run.memory, layout.first_row if run.reverse else layout.last_row, layout, c0)
    return c.clone() if c is c0 else c  # an autograd function must not return its input


def _initial_grad_state(
    kind: CellKind, layout: Layout, run: DirectionPass, grad_final_c: Tensor | None
) -> Tensor | None:
    """(B, H) `grad_state` before the backward pass, in the layout's order."""
    if kind not in ("lstm", "gru"):
        return None
    if grad_final_c is None:
        return run.h.new_zeros(layout.num_sequences, run.h.shape[1])
    return grad_final_c.index_select(0, layout.order)


def _add_input_gradient(
    total: Tensor | None,
    direction: _DirectionInputs,
    run: DirectionPass,
    grad_gates: Tensor,
    product_dtype: torch.dtype | None,
) -> Tensor:
    """(N, D) the gradient of x through this direction, added to that of the other."""
    w = direction.w
    if run.kind == "gru":  # grad_gates has gate n first
        hidden = direction.r.shape[1]
        w, grad_gates = torch.cat([w[2 * hidden :], w[: 2 * hidden]]), grad_gates[:, : 3 * hidden]
    if product_dtype is None:
        return grad_gates @ w if total is None else total.addmm_(grad_gates, w)
    grad_x = _product(grad_gates, w, product_dtype)
    return grad_x if total is None else total.add_(grad_x)


def _weight_gradients(
    direction: _DirectionInputs,
    run: DirectionPass,
    x: Tensor,
    grad_gates: Tensor,
    product_dtype: torch.dtype | None,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of W, R and the two biases. `grad_gates` is that of the run, in the type of the products."""
    assert run.grad_gates is not None
    assert run.h_prev is not None
    hidden, is_gru = direction.r.shape[1], run.kind == "gru"
    grad_input_term = grad_gates[:, : 3 * hidden] if is_gru else grad_gates  # gradient of W x; GRU: n, r, z
    grad_w = _product(grad_input_term.t(), x, product_dtype) if needed[0] else None
    if is_gru and grad_w is not None:
        grad_w = torch.cat([grad_w[hidden:], grad_w[:hidden]])
    grad_recurrent_term = grad_gates[:, hidden:] if is_gru else grad_gates
    grad_r = _product(grad_recurrent_term.t(), run.h_prev, product_dtype) if needed[1] else None
    grad_w_bias, grad_r_bias = None, None
    if needed[2] or needed[3]:
        sums = run.grad_gates.sum(0)
        grad_w_bias = torch.cat([sums[hidden : 3 * hidden], sums[:hidden]]) if is_gru else sums
        grad_r_bias = sums[hidden:] if is_gru else sums.clone()
    return [grad_w, grad_r, grad_w_bias, grad_r_bias]


def _initial_state_gradients(
    direction: _DirectionInputs, run: DirectionPass, layout: Layout, needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of h and c before the first step, (B, H) in the batch's order."""
    needs_h0, needs_c0 = needed
    grad_state = grad_h0 = None
    if run.grad_state is not None and (needs_h0 or needs_c0):
        grad_state = run.grad_state.index_select(0, layout.position)
    if needs_h0:
        if layout.num_rows:
            first = layout.last_row if run.reverse else layout.first_row
            grad_h0 = _recurrent_gradient(run).index_select(0, first) @ direction.r
        else:
            grad_h0 = direction.r.new_zeros(layout.num_sequences, direction.r.shape[1])
        if layout.is_empty is not None:
            grad_h0 = grad_h0.masked_fill(layout.is_empty[:, None], 0.0)
        if run.kind == "gru" and grad_state is not None:  # a GRU's grad_state is of h, an LSTM's of c
            grad_h0 = grad_h0 + grad_state
    return [grad_h0, grad_state if needs_c0 else None]


def _recurrent_gradient(run: DirectionPass) -> Tensor:
    """(N, G H) the gradient of R h, gates in torch's order."""
    assert run.grad_gates is not None
    return run.grad_gates[:, run.weights.shape[1] :] if run.kind == "gru" else run.grad_gates


def _autocast_dtype(weights: Tensor) -> torch.dtype | None:
    """The type that autocast wants products to be computed in. None: that of the weights, as autocast is off.

    It leaves double precision as it is.
    """
    device = weights.device.type
    is_on = torch.is_autocast_enabled(device) and weights.dtype != torch.float64
    return torch.get_autocast_dtype(device) if is_on else None


def _recurrent_dtype(engine: Engine, h: Tensor, product_dtype: torch.dtype | None) -> torch.dtype:
    """The type of the recurrent products: low on a GPU, as in cuDNN, and on a CPU that has instructions for bf16."""
    if product_dtype is None:
        return h.dtype
    is_low = h.device.type == "cuda" or (
        engine is native_pass and product_dtype == torch.bfloat16 and has_bf16_recurrence()
    )
    return product_dtype if is_low else h.dtype


def _product(a: Tensor, b: Tensor, dtype: torch.dtype | None, bias: Tensor | None = None) -> Tensor:
    """a b + bias. With a `dtype`, the product is computed in it and the result is in single precision."""
    if dtype is None:
        return a @ b if bias is None else torch.addmm(bias, a, b)
    product = (a.to(dtype) @ b.to(dtype)).float()
    return product if bias is None else product.add_(bias)
