"""Torch's recurrent calls on the emulated GPU, with what cuDNN asks of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from tests.gpu.emulation import graphs
from tests.gpu.emulation.tensors import DeviceTensor, held, on_device, records

CALLS: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class _Layer(torch.autograd.Function):
    """One call. It is computed on the CPU in single precision, and keeps the graph of that for the backward pass.

    `form` is what torch's call is given after the weights: whether there are biases, layers, dropout, whether it is
    training, whether there are two directions, and whether the batch comes first.
    """

    @staticmethod
    def forward(
        ctx: Any, call: Callable[..., Any], num_states: int, form: tuple[Any, ...], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        numbers = [held(tensor) for tensor in inputs]

        def run() -> None:
            ctx.leaves = leaves = [tensor.detach().requires_grad_() for tensor in numbers]
            with torch.enable_grad():
                x, *rest = [leaf.float() for leaf in leaves]
                states, weights = rest[:num_states], rest[num_states:]
                hx = tuple(states) if num_states == 2 else states[0]
                ctx.outputs = [output.to(leaves[0].dtype) for output in call(x, hx, weights, *form)]

        run()
        results = [output.detach().clone() for output in ctx.outputs]

        def run_again() -> None:
            run()
            for result, output in zip(results, ctx.outputs, strict=True):
                result.copy_(output.detach())

        graphs.add(run_again)
        ctx.set_materialize_grads(False)  # cuDNN's call makes its zeros itself
        return tuple(map(on_device, results))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        records.count("_cudnn_rnn_backward", is_view=False)
        numbers = [held(grad) for grad in grads]

        def run() -> tuple[Tensor | None, ...]:
            pairs = [(output, grad) for output, grad in zip(ctx.outputs, numbers, strict=True) if grad is not None]
            with torch.enable_grad():
                outputs, output_grads = zip(*pairs, strict=True)
                return torch.autograd.grad(outputs, ctx.leaves, output_grads, allow_unused=True)

        results = run()

        def run_again() -> None:
            for result, new in zip(results, run(), strict=True):
                if result is not None and new is not None:
                    result.copy_(new)

        graphs.add(run_again)
        return None, None, None, *(None if result is None else on_device(result) for result in results)


def checked(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The call of `torch._VF` with this name; tensors of the CPU go to torch's own."""

    def run(x: Tensor, hx: Any, weights: Any, has_biases: bool, layers: int, *rest: Any) -> Any:
        states = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        tensors = [x, *states, *weights]
        if not any(isinstance(tensor, DeviceTensor) for tensor in tensors):
            return call(x, hx, weights, has_biases, layers, *rest)
        if not all(isinstance(tensor, DeviceTensor) for tensor in tensors):
            records.note("two devices", name)
            raise RuntimeError(f"{name}: input, state and weights are not on the same device")
        dropout, is_training = rest[:2]
        if dropout and is_training:
            raise NotImplementedError("the emulation has no dropout between layers: it would draw on the CPU")
        if torch.is_autocast_enabled("cuda"):
            half = torch.float16  # whatever autocast is asked for: aten/src/ATen/cudnn/AutocastRNN.cpp
            with torch.autocast("cuda", enabled=False):
                x, states, weights = x.to(half), [s.to(half) for s in states], [w.to(half) for w in weights]
        if len({tensor.dtype for tensor in (x, *states, *weights)}) > 1:
            raise RuntimeError(f"{name}: input, state and weights are of several types")
        for state_name, state in zip(("hx", "cx"), states, strict=False):
            if not state.is_contiguous():
                records.note("not contiguous", f"{name}: {state_name}")
                raise RuntimeError(f"rnn: {state_name} is not contiguous")
        records.count("_cudnn_rnn", is_view=False)
        with torch.autocast("cuda", enabled=False):
            return _Layer.apply(call, len(states), (has_biases, layers, *rest), x, *states, *weights)

    return run


def flatten_weights(weights: list[Tensor], *shape: Any) -> Tensor:
    """`torch._cudnn_rnn_flatten_weight`: the weights become views of one block, which is returned."""
    block = torch.cat([held(weight).flatten() for weight in weights])
    offset = 0
    for weight in weights:
        weight.held = block[offset : offset + weight.numel()].view(weight.shape)  # type: ignore[attr-defined]
        offset += weight.numel()
    return DeviceTensor(block)
