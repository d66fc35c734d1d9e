"""Computing with a model that is being trained, so that training does not notice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from seqkit.runtime.random_state import preserve_random_state


@contextlib.contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within the block the model is in evaluation mode, and its parameters need no gradients, which saves computing
    them; afterwards its modes, its buffers and all random states are what they were.

    cuDNN is off within the block: it computes gradients of recurrent layers in training mode only.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    without_cudnn = torch.backends.cudnn.flags(enabled=False, deterministic=True)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), preserve_random_state():
        try:
            model.eval()
            for parameter in trained:
                parameter.requires_grad_(False)
            with without_cudnn if devices else contextlib.nullcontext():
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            for parameter in trained:
                parameter.requires_grad_(True)
            with torch.no_grad():
                for module, name, buffer, content in buffers:
                    module._buffers[name] = buffer
                    buffer.copy_(content)
