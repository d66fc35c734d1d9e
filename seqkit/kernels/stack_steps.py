"""Some steps of a whole stack of recurrent layers, for sequences that come in pieces: one call of `native_step.cpp`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from seqkit.kernels.dispatch import choose
from seqkit.kernels.engine import NUM_GATES
from seqkit.kernels.native import KINDS
from seqkit.kernels.native_structs import SeqkitLayer, SeqkitSequence
from seqkit.kernels.padded import CellState
from seqkit.kernels.unpadded import kind_of
from seqkit.runtime.native_library import load_native_steps

_PARALLEL_NUMBERS: Final = 1 << 18
"""Weights of a layer from which several threads pay: those of fewer are in the cache of one core."""


class StackSteps:
    """The layers of a stack with their weights in the order in which a step reads them.

    They are copied: what is trained later is not seen.

    Args:
        cells: one cell a layer, of one direction.
        norms: what normalises each layer's output; None: nothing does.
        residual: whether a layer's input is added to its output where the widths agree.
        highway: for each layer what gates its input and output; None: nothing does.
    """

    def __init__(
        self,
        cells: Sequence[nn.RNNBase],
        norms: Sequence[nn.LayerNorm] | None,
        *,
        residual: bool,
        highway: Sequence[nn.Linear | None],
    ) -> None:
        library = load_native_steps().library
        assert library is not None
        self._run = library.seqkit_step_run
        self._lanes: int = library.seqkit_lanes()
        self.kind = kind_of(cells[0])
        self.hidden, self.layers = cells[0].hidden_size, len(cells)
        self.width: int = cells[0].input_size
        self._state_shape = torch.Size((self.layers, self.hidden))
        self._tensors: list[Tensor] = []  # what the structs point to
        structs = []
        for number, cell in enumerate(cells):
            w, r, w_bias, r_bias = (tensor.detach().contiguous() for tensor in cell.all_weights[0])
            gates, width = NUM_GATES[self.kind], w.shape[1]
            blocks = -(-self.hidden // self._lanes)
            packed = torch.empty(blocks * self._lanes * gates * (width + self.hidden))
            library.seqkit_step_pack(
                input=w.data_ptr(),
                recurrent=r.data_ptr(),
                gates=gates,
                width=width,
                hidden=self.hidden,
                out=packed.data_ptr(),
            )
            bias = self._pack_bias(w_bias.view(gates, -1), r_bias.view(gates, -1), blocks)
            norm = None if norms is None else _norm_numbers(norms[number])
            gate = None if (linear := highway[number]) is None else self._pack_gate(linear, blocks)
            self._tensors += [packed, bias, *(tensor for tensor in (norm, gate) if tensor is not None)]
            structs.append(
                SeqkitLayer(
                    kind=KINDS[self.kind],
                    width=width,
                    hidden=self.hidden,
                    residual=residual,
                    packed=packed.data_ptr(),
                    bias=bias.data_ptr(),
                    norm=None if norm is None else norm.data_ptr(),
                    gate=None if gate is None else gate.data_ptr(),
                )
            )
        self._stack = (SeqkitLayer * len(structs))(*structs)
        self._asked = ctypes.addressof(self._stack)
        self._is_large = max(len(tensor) for tensor in self._tensors) >= _PARALLEL_NUMBERS

    def __call__(
        self, x: Tensor, lengths: Sequence[int], states: Sequence[CellState]
    ) -> tuple[Tensor, list[CellState]]:
        """Steps of several sequences.

        Args:
            x: (B, T, D) float32.
            lengths: how many of the T steps each sequence has.
            states: (h,) or (h, c) of each before, (layers, H) float32.

        Returns:
            (B, T, H), zero past the end of each sequence, and the states after it.

        Raises:
            MemoryError: there is no memory for the steps.
            ValueError: the shapes or the types do not fit.
        """
        batch, time = len(states), x.shape[1]
        if x.shape != (len(lengths), time, self.width) or x.dtype != torch.float32 or max(lengths, default=0) > time:
            raise ValueError(
                f"steps should be {(batch, time, self.width)} of float32, not {tuple(x.shape)} of {x.dtype}"
            )
        x = x.contiguous()
        out = x.new_empty(batch, time, self.hidden) if batch == 1 else x.new_zeros(batch, time, self.hidden)
        count = 2 if self.kind == "lstm" else 1
        new = x.new_empty(batch, count, self.layers, self.hidden)
        sequences = (SeqkitSequence * batch)()
        address, size = new.data_ptr(), self.layers * self.hidden * 4
        before = []
        for struct, state, length in zip(sequences, states, lengths, strict=True):
            self._check_state(state, count)
            h = state[0].contiguous()
            before.append(h)
            struct.h, struct.new_h, struct.steps = h.data_ptr(), address, length
            if count == 2:
                c = state[1].contiguous()
                before.append(c)
                struct.c, struct.new_c = c.data_ptr(), address + size
            address += count * size
        threads = torch.get_num_threads() if self._is_large else 1
        failed = self._run(
            self._asked, self.layers, ctypes.addressof(sequences), batch, time, x.data_ptr(), out.data_ptr(), threads
        )
        del before
        if failed:
            raise MemoryError("no memory for the steps of a stream")
        return out, [row.unbind() for row in new.unbind()]

    def _check_state(self, state: CellState, count: int) -> None:
        """Raise ValueError for a state that is not `count` tensors (layers, H) of float32: native code trusts it."""
        for tensor in state:
            if tensor.shape != self._state_shape or tensor.dtype != torch.float32:
                expected = tuple(self._state_shape)
                raise ValueError(
                    f"a state should be {expected} of float32, not {tuple(tensor.shape)} of {tensor.dtype}"
                )
        if len(state) != count:
            raise ValueError(f"a state should be {count} tensors, not {len(state)}")

    def _pack_bias(self, w_bias: Tensor, r_bias: Tensor, blocks: int) -> Tensor:
        """Biases (G, H) -> one vector for each gate of each block; a GRU's gate n has two."""
        rows = w_bias + r_bias
        if self.kind == "gru":
            rows = torch.cat([rows[:2], w_bias[2:], r_bias[2:]])
        padded = nn.functional.pad(rows, (0, blocks * self._lanes - self.hidden))
        return padded.view(len(rows), blocks, self._lanes).transpose(0, 1).contiguous().flatten()

    def _pack_gate(self, gate: nn.Linear, blocks: int) -> Tensor:
        """A gate's weight (H, H) and bias (H,) -> for each block a vector for each input, then one of the bias."""
        rows = torch.cat([gate.weight.detach(), gate.bias.detach()[:, None]], dim=1)
        padded = nn.functional.pad(rows, (0, 0, 0, blocks * self._lanes - self.hidden))
        return padded.view(blocks, self._lanes, self.hidden + 1).transpose(1, 2).contiguous().flatten()


def stack_steps(
    cells: Sequence[nn.RNNBase],
    norms: Sequence[nn.LayerNorm] | None,
    *,
    residual: bool,
    highway: Sequence[nn.Linear | None],
) -> StackSteps | None:
    """The native steps of a stack, or None where it runs otherwise: on a GPU, in double precision, uncompiled."""
    weight = cells[0].all_weights[0][0]
    if weight.dtype != torch.float32 or choose(cells[0], weight.device, weight.dtype).name != "native":
        return None
    if load_native_steps().library is None:
        return None
    return StackSteps(cells, norms, residual=residual, highway=highway)


def _norm_numbers(norm: nn.LayerNorm) -> Tensor:
    """(2 H + 1,): weight, bias, and what is added to the variance."""
    return torch.cat([norm.weight.detach(), norm.bias.detach(), torch.tensor([norm.eps])])
