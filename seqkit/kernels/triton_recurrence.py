"""Recurrences over rows without padding as kernels for a GPU, in Triton. Imported only where they are used.

One program runs one group of sequences in one direction, from its first step to its last; groups and directions do not
depend on each other, so all of a layer is one launch. The state and the recurrent matrix stay on the chip: a step reads
its gates and writes its results, and nothing else goes through memory. Steps follow each other within a program, and
sums have one order, so results do not depend on how programs are scheduled.

The rows are those of a `Layout`: at step t the first `active[t]` sequences of a group are there, one row each, one step
after the other. Sequences that have ended keep their state, and in the reverse direction those that have not begun yet.

Args of all kernels, each two times, for the forward and for the reverse direction (a single direction gives its own
twice):

    weights: R (G H, H).
    gates, memory, out, h0, c0, bias, grad_out, grad_gates, h_prev, grad_state: see `DirectionPass`.

    table: (groups, 5) int64: first row, first sequence, number of sequences, of steps, and where `active` begins.
    H: the width; WIDTH: the power of two that holds it; BLOCK: one that holds the sequences of a group.
    PRECISION: how products of single precision are computed: "ieee", or "tf32".

Shapes and order of gates are those of `seqkit.kernels.stepwise`, which computes the same in PyTorch.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def _gate_matrix(weights, gate: tl.constexpr, H: tl.constexpr, WIDTH: tl.constexpr, TRANSPOSED: tl.constexpr):
    """(WIDTH, WIDTH) the part of R that belongs to a gate, for h @ R^T if transposed, else for gradients @ R."""
    a, b = tl.arange(0, WIDTH)[:, None], tl.arange(0, WIDTH)[None, :]
    inside = (a < H) & (b < H)
    if TRANSPOSED:
        return tl.load(weights + (gate * H + b) * H + a, mask=inside, other=0.0)
    return tl.load(weights + (gate * H + a) * H + b, mask=inside, other=0.0)


@triton.jit
def _product(x, matrix, PRECISION: tl.constexpr):
    return tl.dot(x.to(matrix.dtype), matrix, input_precision=PRECISION)


@triton.jit
def lstm_forward(weights_a, weights_b, gates_a, gates_b, memory_a, memory_b, out_a, out_b, h0_a, h0_b, c0_a, c0_b,
                 memory_stride, out_stride, table, active, FIRST_IS_REVERSE: tl.constexpr, HAS_INITIAL: tl.constexpr,
                 H: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                 PRECISION: tl.constexpr):  # fmt: skip
    group, is_second = tl.program_id(0), tl.program_id(1) == 1
    reverse = is_second | FIRST_IS_REVERSE
    weights, gates = weights_a, gates_a
    memory, out, h0, c0 = memory_a, out_a, h0_a, c0_a
    if is_second:
        weights, gates, memory, out, h0, c0 = weights_b, gates_b, memory_b, out_b, h0_b, c0_b
    row = tl.load(table + group * 5)
    first, count = tl.load(table + group * 5 + 1), tl.load(table + group * 5 + 2)
    steps, offset = tl.load(table + group * 5 + 3), tl.load(table + group * 5 + 4)
    i, k = tl.arange(0, BLOCK)[:, None], tl.arange(0, WIDTH)[None, :]
    h = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    c = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    if HAS_INITIAL:
        is_state = (i < count) & (k < H)
        h = tl.load(h0 + (first + i) * H + k, mask=is_state, other=0.0)
        c = tl.load(c0 + (first + i) * H + k, mask=is_state, other=0.0)
    matrix_i = _gate_matrix(weights, 0, H, WIDTH, True)
    matrix_f = _gate_matrix(weights, 1, H, WIDTH, True)
    matrix_g = _gate_matrix(weights, 2, H, WIDTH, True)
    matrix_o = _gate_matrix(weights, 3, H, WIDTH, True)
    if reverse:
        for s in range(steps):
            row += tl.load(active + offset + s)
    for s in range(steps):
        t = s
        if reverse:
            t = steps - 1 - s
        here = tl.load(active + offset + t)
        if reverse:
            row -= here
        rows, inside = row + i, (i < here) & (k < H)
        of_gates = gates + rows * (4 * H) + k
        gate_i = tl.load(of_gates, mask=inside, other=0.0)
        gate_f = tl.load(of_gates + H, mask=inside, other=0.0)
        gate_g = tl.load(of_gates + 2 * H, mask=inside, other=0.0)
        gate_o = tl.load(of_gates + 3 * H, mask=inside, other=0.0)
        gate_i = tl.sigmoid(gate_i + _product(h, matrix_i, PRECISION))
        gate_f = tl.sigmoid(gate_f + _product(h, matrix_f, PRECISION))
        gate_g = _tanh(gate_g + _product(h, matrix_g, PRECISION))
        gate_o = tl.sigmoid(gate_o + _product(h, matrix_o, PRECISION))
        c = tl.where(inside, gate_f * c + gate_i * gate_g, c)
        h = tl.where(inside, gate_o * _tanh(c), h)
        tl.store(of_gates, gate_i, mask=inside)
        tl.store(of_gates + H, gate_f, mask=inside)
        tl.store(of_gates + 2 * H, gate_g, mask=inside)
        tl.store(of_gates + 3 * H, gate_o, mask=inside)
        tl.store(memory + rows * memory_stride + k, c, mask=inside)
        tl.store(out + rows * out_stride + k, h, mask=inside)
        if not reverse:
            row += here


@triton.jit
def gru_forward(weights_a, weights_b, gates_a, gates_b, memory_a, memory_b, out_a, out_b, h0_a, h0_b, bias_a, bias_b,
                memory_stride, out_stride, table, active, FIRST_IS_REVERSE: tl.constexpr, HAS_INITIAL: tl.constexpr,
                H: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                PRECISION: tl.constexpr):  # fmt: skip
    group, is_second = tl.program_id(0), tl.program_id(1) == 1
    reverse = is_second | FIRST_IS_REVERSE
    weights, gates = weights_a, gates_a
    memory, out, h0, bias = memory_a, out_a, h0_a, bias_a
    if is_second:
        weights, gates, memory, out, h0, bias = weights_b, gates_b, memory_b, out_b, h0_b, bias_b
    row = tl.load(table + group * 5)
    first, count = tl.load(table + group * 5 + 1), tl.load(table + group * 5 + 2)
    steps, offset = tl.load(table + group * 5 + 3), tl.load(table + group * 5 + 4)
    i, k = tl.arange(0, BLOCK)[:, None], tl.arange(0, WIDTH)[None, :]
    h = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    if HAS_INITIAL:
        h = tl.load(h0 + (first + i) * H + k, mask=(i < count) & (k < H), other=0.0)
    bias_n = tl.load(bias + k, mask=k < H, other=0.0)
    matrix_r = _gate_matrix(weights, 0, H, WIDTH, True)
    matrix_z = _gate_matrix(weights, 1, H, WIDTH, True)
    matrix_n = _gate_matrix(weights, 2, H, WIDTH, True)
    if reverse:
        for s in range(steps):
            row += tl.load(active + offset + s)
    for s in range(steps):
        t = s
        if reverse:
            t = steps - 1 - s
        here = tl.load(active + offset + t)
        if reverse:
            row -= here
        rows, inside = row + i, (i < here) & (k < H)
        of_gates = gates + rows * (3 * H) + k
        gate_r = tl.load(of_gates, mask=inside, other=0.0)
        gate_z = tl.load(of_gates + H, mask=inside, other=0.0)
        gate_n = tl.load(of_gates + 2 * H, mask=inside, other=0.0)
        gate_r = tl.sigmoid(gate_r + _product(h, matrix_r, PRECISION))
        gate_z = tl.sigmoid(gate_z + _product(h, matrix_z, PRECISION))
        biased_n = _product(h, matrix_n, PRECISION) + bias_n
        gate_n = _tanh(gate_n + gate_r * biased_n)
        h = tl.where(inside, gate_n + gate_z * (h - gate_n), h)
        tl.store(of_gates, gate_r, mask=inside)
        tl.store(of_gates + H, gate_z, mask=inside)
        tl.store(of_gates + 2 * H, gate_n, mask=inside)
        tl.store(memory + rows * memory_stride + k, biased_n, mask=inside)
        tl.store(out + rows * out_stride + k, h, mask=inside)
        if not reverse:
            row += here


@triton.jit
def lstm_backward(weights_a, weights_b, gates_a, gates_b, memory_a, memory_b, out_a, out_b, h0_a, h0_b, c0_a, c0_b,
                  grad_out_a, grad_out_b, grad_gates_a, grad_gates_b, h_prev_a, h_prev_b, grad_state_a, grad_state_b,
                  memory_stride, out_stride, grad_stride, table, active, FIRST_IS_REVERSE: tl.constexpr,
                  HAS_INITIAL: tl.constexpr, H: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                  PRECISION: tl.constexpr):  # fmt: skip
    group, is_second = tl.program_id(0), tl.program_id(1) == 1
    reverse = is_second | FIRST_IS_REVERSE
    weights, gates = weights_a, gates_a
    memory, out, h0, c0 = memory_a, out_a, h0_a, c0_a
    grad_out, grad_gates = grad_out_a, grad_gates_a
    h_prev, grad_state = h_prev_a, grad_state_a
    if is_second:
        weights, gates, memory, out, h0, c0 = weights_b, gates_b, memory_b, out_b, h0_b, c0_b
        grad_out, grad_gates, h_prev, grad_state = grad_out_b, grad_gates_b, h_prev_b, grad_state_b
    row = tl.load(table + group * 5)
    first, count = tl.load(table + group * 5 + 1), tl.load(table + group * 5 + 2)
    steps, offset = tl.load(table + group * 5 + 3), tl.load(table + group * 5 + 4)
    i, k = tl.arange(0, BLOCK)[:, None], tl.arange(0, WIDTH)[None, :]
    is_state = (i < count) & (k < H)
    start_h = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    start_c = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    if HAS_INITIAL:
        start_h = tl.load(h0 + (first + i) * H + k, mask=is_state, other=0.0)
        start_c = tl.load(c0 + (first + i) * H + k, mask=is_state, other=0.0)
    carried_h = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    carried_c = tl.load(grad_state + (first + i) * H + k, mask=is_state, other=0.0)
    matrix_i = _gate_matrix(weights, 0, H, WIDTH, False)
    matrix_f = _gate_matrix(weights, 1, H, WIDTH, False)
    matrix_g = _gate_matrix(weights, 2, H, WIDTH, False)
    matrix_o = _gate_matrix(weights, 3, H, WIDTH, False)
    if not reverse:
        for s in range(steps):
            row += tl.load(active + offset + s)
    for s in range(steps):
        t = steps - 1 - s  # against the direction of the forward pass
        if reverse:
            t = s
        here = tl.load(active + offset + t)
        if not reverse:
            row -= here
        before, before_row = here * 0, row  # how many of the sequences were there at the step before, and their rows
        if reverse:
            if t + 1 < steps:
                before = tl.load(active + offset + t + 1)
            before_row = row + here
        else:
            if t > 0:
                before = here
                before_row = row - tl.load(active + offset + t - 1)
        rows, inside = row + i, (i < here) & (k < H)
        goes_on = inside & (i < before)
        previous_h = tl.load(out + (before_row + i) * out_stride + k, mask=goes_on, other=0.0)
        previous_h = tl.where(goes_on, previous_h, start_h)
        previous_c = tl.load(memory + (before_row + i) * memory_stride + k, mask=goes_on, other=0.0)
        previous_c = tl.where(goes_on, previous_c, start_c)
        of_gates = gates + rows * (4 * H) + k
        gate_i = tl.load(of_gates, mask=inside, other=0.0)
        gate_f = tl.load(of_gates + H, mask=inside, other=0.0)
        gate_g = tl.load(of_gates + 2 * H, mask=inside, other=0.0)
        gate_o = tl.load(of_gates + 3 * H, mask=inside, other=0.0)
        tanh_c = _tanh(tl.load(memory + rows * memory_stride + k, mask=inside, other=0.0))
        grad_h = tl.load(grad_out + rows * grad_stride + k, mask=inside, other=0.0) + carried_h
        grad_c = carried_c + grad_h * gate_o * (1.0 - tanh_c * tanh_c)
        grad_i = tl.where(inside, grad_c * gate_g * gate_i * (1.0 - gate_i), 0.0)
        grad_f = tl.where(inside, grad_c * previous_c * gate_f * (1.0 - gate_f), 0.0)
        grad_g = tl.where(inside, grad_c * gate_i * (1.0 - gate_g * gate_g), 0.0)
        grad_o = tl.where(inside, grad_h * tanh_c * gate_o * (1.0 - gate_o), 0.0)
        of_grads = grad_gates + rows * (4 * H) + k
        tl.store(of_grads, grad_i, mask=inside)
        tl.store(of_grads + H, grad_f, mask=inside)
        tl.store(of_grads + 2 * H, grad_g, mask=inside)
        tl.store(of_grads + 3 * H, grad_o, mask=inside)
        tl.store(h_prev + rows * H + k, previous_h, mask=inside)
        through = _product(grad_i, matrix_i, PRECISION)
        through += _product(grad_f, matrix_f, PRECISION)
        through += _product(grad_g, matrix_g, PRECISION)
        through += _product(grad_o, matrix_o, PRECISION)
        carried_h = tl.where(inside, through, carried_h)
        carried_c = tl.where(inside, grad_c * gate_f, carried_c)
        if reverse:
            row += here
    tl.store(grad_state + (first + i) * H + k, carried_c, mask=is_state)


@triton.jit
def gru_backward(weights_a, weights_b, gates_a, gates_b, memory_a, memory_b, out_a, out_b, h0_a, h0_b,
                 grad_out_a, grad_out_b, grad_gates_a, grad_gates_b, h_prev_a, h_prev_b, grad_state_a, grad_state_b,
                 memory_stride, out_stride, grad_stride, table, active, FIRST_IS_REVERSE: tl.constexpr,
                 HAS_INITIAL: tl.constexpr, H: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                 PRECISION: tl.constexpr):  # fmt: skip
    group, is_second = tl.program_id(0), tl.program_id(1) == 1
    reverse = is_second | FIRST_IS_REVERSE
    weights, gates = weights_a, gates_a
    memory, out, h0 = memory_a, out_a, h0_a
    grad_out, grad_gates = grad_out_a, grad_gates_a
    h_prev, grad_state = h_prev_a, grad_state_a
    if is_second:
        weights, gates, memory, out, h0 = weights_b, gates_b, memory_b, out_b, h0_b
        grad_out, grad_gates, h_prev, grad_state = grad_out_b, grad_gates_b, h_prev_b, grad_state_b
    row = tl.load(table + group * 5)
    first, count = tl.load(table + group * 5 + 1), tl.load(table + group * 5 + 2)
    steps, offset = tl.load(table + group * 5 + 3), tl.load(table + group * 5 + 4)
    i, k = tl.arange(0, BLOCK)[:, None], tl.arange(0, WIDTH)[None, :]
    is_state = (i < count) & (k < H)
    start_h = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    if HAS_INITIAL:
        start_h = tl.load(h0 + (first + i) * H + k, mask=is_state, other=0.0)
    through_gates = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    beside_gates = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    matrix_r = _gate_matrix(weights, 0, H, WIDTH, False)
    matrix_z = _gate_matrix(weights, 1, H, WIDTH, False)
    matrix_n = _gate_matrix(weights, 2, H, WIDTH, False)
    if not reverse:
        for s in range(steps):
            row += tl.load(active + offset + s)
    for s in range(steps):
        t = steps - 1 - s
        if reverse:
            t = s
        here = tl.load(active + offset + t)
        if not reverse:
            row -= here
        before, before_row = here * 0, row
        if reverse:
            if t + 1 < steps:
                before = tl.load(active + offset + t + 1)
            before_row = row + here
        else:
            if t > 0:
                before = here
                before_row = row - tl.load(active + offset + t - 1)
        rows, inside = row + i, (i < here) & (k < H)
        goes_on = inside & (i < before)
        previous_h = tl.load(out + (before_row + i) * out_stride + k, mask=goes_on, other=0.0)
        previous_h = tl.where(goes_on, previous_h, start_h)
        of_gates = gates + rows * (3 * H) + k
        gate_r = tl.load(of_gates, mask=inside, other=0.0)
        gate_z = tl.load(of_gates + H, mask=inside, other=0.0)
        gate_n = tl.load(of_gates + 2 * H, mask=inside, other=0.0)
        biased_n = tl.load(memory + rows * memory_stride + k, mask=inside, other=0.0)
        grad_h = tl.load(grad_out + rows * grad_stride + k, mask=inside, other=0.0) + through_gates + beside_gates
        grad_n = tl.where(inside, grad_h * (1.0 - gate_z) * (1.0 - gate_n * gate_n), 0.0)
        grad_r = grad_n * biased_n * gate_r * (1.0 - gate_r)
        grad_z = tl.where(inside, grad_h * (previous_h - gate_n) * gate_z * (1.0 - gate_z), 0.0)
        of_grads = grad_gates + rows * (4 * H) + k
        tl.store(of_grads, grad_n, mask=inside)
        tl.store(of_grads + H, grad_r, mask=inside)
        tl.store(of_grads + 2 * H, grad_z, mask=inside)
        tl.store(of_grads + 3 * H, grad_n * gate_r, mask=inside)
        tl.store(h_prev + rows * H + k, previous_h, mask=inside)
        through = _product(grad_r, matrix_r, PRECISION)
        through += _product(grad_z, matrix_z, PRECISION)
        through += _product(grad_n * gate_r, matrix_n, PRECISION)
        through_gates = tl.where(inside, through, through_gates)
        beside_gates = tl.where(inside, grad_h * gate_z, beside_gates)
        if reverse:
            row += here
    tl.store(grad_state + (first + i) * H + k, beside_gates, mask=is_state)
