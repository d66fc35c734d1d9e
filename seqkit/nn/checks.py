"""What fits the recurrent modules, and what needs torch's own call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils.rnn import PackedSequence

from seqkit.nn.states import as_tuple, batch_dim_of, num_directions, num_states


def is_transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work, which C++ functions cannot take part in."""
    return bool(torch._C._are_functorch_transforms_active()) or forward_ad._current_level >= 0


def needs_gradient(module: nn.RNNBase, x: Tensor, hx: Any) -> bool:
    if not torch.is_grad_enabled():
        return False
    weights = (weight for weights in module.all_weights for weight in weights)
    return any(tensor.requires_grad for tensor in (x, *as_tuple(hx), *weights))


def fits(module: nn.RNNBase, x: Any, hx: Any) -> bool:
    """Whether input, state and weights are plain tensors that fit each other; if not, torch says what is wrong."""
    data = x.data if isinstance(x, PackedSequence) else x
    if not is_plain(data) or data.shape[-1:] != (module.input_size,):
        return False
    if data.dim() not in ((2,) if isinstance(x, PackedSequence) else (2, 3)):
        return False
    if isinstance(x, PackedSequence) and not _describes(x.batch_sizes, data):
        return False
    has_autocast = torch.is_autocast_enabled(data.device.type)
    weights = [weight for weights in module.all_weights for weight in weights]
    is_weight_right = (is_plain(w) and w.device == data.device and w.dtype == weights[0].dtype for w in weights)
    if not all(is_weight_right) or (data.dtype != weights[0].dtype and not has_autocast):
        return False
    if hx is None:
        return True
    if not isinstance(hx, Tensor if num_states(module) == 1 else tuple | list) or len(as_tuple(hx)) != (
        num_states(module)
    ):
        return False
    batch: tuple[int, ...] = () if data.dim() == 2 else (data.shape[batch_dim_of(module)],)
    if isinstance(x, PackedSequence):
        batch = (int(x.batch_sizes[0]),)
    shape = (module.num_layers * num_directions(module), *batch, module.hidden_size)
    return all(
        is_plain(s) and s.shape == shape and s.device == data.device and (s.dtype == data.dtype or has_autocast)
        for s in as_tuple(hx)
    )


def _describes(batch_sizes: Tensor, data: Tensor) -> bool:
    """Whether these are the batch sizes of packed sequences with this data; anybody can make a PackedSequence."""
    if batch_sizes.dtype != torch.int64 or batch_sizes.dim() != 1 or batch_sizes.device.type != "cpu":
        return False
    is_falling = bool((batch_sizes[1:] <= batch_sizes[:-1]).all())
    return is_falling and len(batch_sizes) > 0 and int(batch_sizes[-1]) > 0 and int(batch_sizes.sum()) == len(data)


def is_plain(tensor: Any) -> bool:
    """A dense tensor with numbers; on a CPU no subclass, whose memory may be elsewhere."""
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_nested:
        return False
    return tensor.device.type != "meta" and (tensor.device.type != "cpu" or type(tensor) in (Tensor, nn.Parameter))


def check_lengths(module: nn.RNNBase, x: Any, lengths: Any) -> Tensor:
    """(B,) int64 on the CPU.

    Raises:
        ValueError: they do not fit the input.
    """
    if is_transformed() or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        raise NotImplementedError(
            "lengths= cannot be exported, traced or transformed by torch.func, because the steps that are computed "
            "depend on its values; without it, torch's own call is used"
        )
    if isinstance(x, PackedSequence):
        raise ValueError("packed sequences have their lengths already; leave out lengths=")
    if not isinstance(x, Tensor) or x.dim() != 3:
        raise ValueError("lengths= needs a padded batch of three dimensions")
    batch, time = x.shape[batch_dim_of(module)], x.shape[1 - batch_dim_of(module)]
    try:
        values = lengths if isinstance(lengths, Tensor) else torch.as_tensor(list(lengths) or [0])[: len(lengths)]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"lengths must be a list of whole numbers or a tensor: {error}") from None
    if values.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise ValueError(f"lengths must be whole numbers, not {values.dtype}")
    if values.shape != (batch,):
        raise ValueError(f"lengths must be ({batch},), one for each sequence of the batch, not {tuple(values.shape)}")
    values = values.detach().to("cpu", torch.int64)
    is_bad = (values < 0) | (values > time)
    if bool(is_bad.any()):
        row = int(is_bad.nonzero()[0])
        raise ValueError(f"lengths must be from 0 to {time}; that of sequence {row} is {int(values[row])}")
    return values
