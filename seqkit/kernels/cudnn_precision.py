"""cuDNN's recurrent layers in the low precision that autocast asks for.

Torch's own autocast casts to fp16 for these layers, whatever it is asked for, and it casts each weight, state and input
in an operation of its own, and each gradient back in another. Here all casts of a call are one operation in each
direction, and bf16 is bf16, so no gradient scaler is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.backends.cudnn.rnn import get_cudnn_mode

BF16_SINCE: Final = 91300
"""The version of cuDNN that has recurrent layers in bf16; with an earlier one they are in fp32."""

NOT_TENSORS: Final = 3
"""Arguments of `_Cast` that come before its tensors."""


@dataclass(frozen=True)
class FlatLayout:
    """Where cuDNN wants the weights of a cell to be: in one block, or it copies them at each call.

    Attributes:
        numbers: of the block.
        offsets: where each weight begins.
    """

    numbers: int
    offsets: tuple[int, ...]


def run_low_precision(cell: nn.RNNBase, x: Tensor, initial: Sequence[Tensor]) -> tuple[Tensor, Any]:
    """Torch's call of a cell with one layer and one direction over (T, B, D), in the precision of autocast.

    Args:
        initial: (h,) or (h, c), each (B, H), of any type.
    """
    dtype = torch.get_autocast_dtype("cuda")
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    if dtype is torch.bfloat16 and (version or 0) < BF16_SINCE:
        dtype = torch.float32
    weights = list(cell.all_weights[0])
    layout = _flat_layout(cell.mode, cell.input_size, cell.hidden_size, bool(cell.bias), dtype, x.device)
    values = [x, *initial]
    others = [tensor for tensor in values if tensor.dtype != dtype]
    with torch.autocast("cuda", enabled=False):
        cast = cast_together(dtype, layout, weights, others)
        rest = iter(cast[len(weights) :])
        # cuDNN refuses a state that is a slice of another or an expansion.
        x, *states = [next(rest) if tensor.dtype != dtype else tensor.contiguous() for tensor in values]
        hx = tuple(state[None] for state in states)
        call = getattr(torch._VF, cell.mode.lower())
        is_lstm = cell.mode == "LSTM"
        flat = list(cast[: len(weights)])
        results = call(x, hx if is_lstm else hx[0], flat, bool(cell.bias), 1, 0.0, cell.training, False, False)
    output = results[0], results[1:] if is_lstm else results[1]
    for hook in cell._forward_hooks.values():  # who looks for what is not finite listens to cells too
        hook(cell, (x,), output)
    return output


def cast_together(
    dtype: torch.dtype, layout: FlatLayout, weights: Sequence[Tensor], others: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The weights as views of one block, and the others, as `dtype`: one operation, and one for all their gradients."""
    cast: tuple[Tensor, ...] = _Cast.apply(dtype, layout, len(weights), *weights, *others)  # type: ignore[no-untyped-call, unused-ignore]
    return cast


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, layout: FlatLayout, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        ctx.set_materialize_grads(False)
        block = torch.empty(layout.numbers, dtype=dtype, device=tensors[0].device)
        cast = [
            block[offset : offset + weight.numel()].view(weight.shape)
            for offset, weight in zip(layout.offsets, tensors[:count], strict=True)
        ]
        cast += [torch.empty(tensor.shape, dtype=dtype, device=tensor.device) for tensor in tensors[count:]]
        torch._foreach_copy_(cast, list(tensors))
        return tuple(cast)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = {
            place: grad
            for place, grad in enumerate(grads)
            if grad is not None and ctx.needs_input_grad[NOT_TENSORS + place]
        }
        cast = {place: torch.empty_like(grad, dtype=ctx.dtypes[place]) for place, grad in needed.items()}
        if needed:
            torch._foreach_copy_(list(cast.values()), list(needed.values()))
        return *(None,) * NOT_TENSORS, *(cast.get(place) for place in range(len(grads)))


@functools.lru_cache(maxsize=256)
def _flat_layout(
    mode: str, width: int, hidden: int, has_bias: bool, dtype: torch.dtype, device: torch.device
) -> FlatLayout:
    """What cuDNN says; looked up once for each shape of a cell."""
    with torch.inference_mode(False), torch.no_grad():
        cell = getattr(nn, mode.split("_")[0])(width, hidden, bias=has_bias, device="meta")
        weights = [torch.empty(weight.shape, dtype=dtype, device=device) for weight in cell.all_weights[0]]
        number = get_cudnn_mode(mode)  # type: ignore[no-untyped-call]
        block = torch._cudnn_rnn_flatten_weight(weights, len(weights), width, number, hidden, 0, 1, False, False)
        size = block.element_size()
        return FlatLayout(block.numel(), tuple((w.data_ptr() - block.data_ptr()) // size for w in weights))
