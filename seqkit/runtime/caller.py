"""What belongs to the program that calls seqkit: settings of torch and random states, left as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from seqkit.runtime.random_state import random_state, restore_random_state

_LOCK = threading.RLock()
_EVALUATING: dict[int, tuple[int, bool]] = {}
"""{id of a module: how many calls use it now, whether it was in training mode before the first of them}."""
_DEFAULT_DTYPE: list[torch.dtype] = []
"""The default type of the caller, once for each block that is open now."""


@contextmanager
def usual_settings() -> Iterator[None]:
    """Within the block torch computes as the command line does, whatever the caller has set.

    New tensors are of single precision and on the CPU, and nothing is cast automatically. The default type belongs to
    the whole process, so it is that of the caller again when the last of several blocks ends.
    """
    with ExitStack() as stack:
        with _LOCK:
            _DEFAULT_DTYPE.append(_DEFAULT_DTYPE[0] if _DEFAULT_DTYPE else torch.get_default_dtype())
            if torch.get_default_dtype() != torch.float32:
                torch.set_default_dtype(torch.float32)
        stack.callback(_restore_dtype)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _restore_dtype() -> None:
    with _LOCK:
        dtype = _DEFAULT_DTYPE.pop()
        if not _DEFAULT_DTYPE and torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block the module is in evaluation mode, also for other threads that use it; and `usual_settings`."""
    with _LOCK:
        count, was_training = _EVALUATING.get(id(module), (0, module.training))
        _EVALUATING[id(module)] = (count + 1, was_training)
        if module.training:
            module.eval()
    try:
        with usual_settings():
            yield
    finally:
        with _LOCK:
            count, was_training = _EVALUATING.pop(id(module))
            if count > 1:
                _EVALUATING[id(module)] = (count - 1, was_training)
            elif was_training:
                module.train()


@contextmanager
def protected() -> Iterator[None]:
    """`usual_settings`, and all random generators are afterwards as they were. Gradients can be computed within."""
    with _LOCK:
        tensors, state = random_state()
    try:
        with usual_settings(), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        restore_random_state(tensors, state)
