"""The emulated GPU as a block: within it, torch has one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.gpu.emulation import graphs, launches, recurrent
from tests.gpu.emulation.tensors import DeviceTensor, Emulation, records

NAME = "emulated GPU"
MEMORY = 80 << 30


class Event:
    """An event of a stream: everything has happened already."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def record(self, *args: Any) -> None: ...
    def query(self) -> bool:
        return True

    def synchronize(self) -> None: ...
    def elapsed_time(self, other: Event) -> float:
        return 0.0


def pin_memory(self: Tensor, *args: Any) -> Tensor:
    """A copy that says it is in page-locked memory, or itself if it says so already."""
    if isinstance(self, DeviceTensor):
        raise RuntimeError("only tensors of the CPU can be pinned")
    if getattr(self, "_page_locked", False):
        return self
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        copy = self.detach().clone()
    copy._page_locked = True  # type: ignore[attr-defined]
    return copy


_module_apply = torch.nn.Module._apply


def _apply(self: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """`Module.to` and `Module.cpu` exchange tensors, because their numbers cannot be set."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return _module_apply(self, *args, **kwargs)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _always(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


def _fake_functions() -> dict[tuple[Any, str], Any]:
    properties = SimpleNamespace(name=NAME, major=9, minor=0, total_memory=MEMORY, multi_processor_count=132)
    values: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "_lazy_init": None,
        "device_count": 1,
        "current_device": 0,
        "is_bf16_supported": True,
        "get_device_name": NAME,
        "get_device_properties": properties,
        "get_device_capability": (9, 0),
        "empty_cache": None,
        "memory_allocated": 1 << 20,
        "max_memory_allocated": 1 << 20,
        "reset_peak_memory_stats": None,
        "mem_get_info": (MEMORY, MEMORY),
        "get_sync_debug_mode": 0,
        "manual_seed": None,
        "manual_seed_all": None,
    }
    fakes: dict[tuple[Any, str], Any] = {(torch.cuda, name): _always(value) for name, value in values.items()}
    return fakes | {
        (torch.cuda, "Event"): Event,
        (torch.cuda, "CUDAGraph"): graphs.Graph,
        (torch.cuda, "graph"): graphs.capturing,
        (torch.cuda, "Stream"): graphs.Stream,
        (torch.cuda, "stream"): lambda stream: contextlib.nullcontext(),
        (torch.cuda, "current_stream"): lambda *args: graphs.Stream(),
        (torch.cuda, "synchronize"): lambda *args: records.note("wait", "synchronize"),
        # The device draws its numbers from the CPU's generator.
        (torch.cuda, "get_rng_state"): lambda *args: torch.get_rng_state(),
        (torch.cuda, "get_rng_state_all"): lambda: [torch.get_rng_state()],
        (torch.cuda, "set_rng_state"): lambda state, *args: torch.set_rng_state(state),
        (torch, "_cudnn_rnn_flatten_weight"): recurrent.flatten_weights,
        (torch.backends.cudnn, "version"): lambda: 92400,
        (torch.nn.Module, "_apply"): _apply,
        (torch.nn.Module, "cuda"): lambda self, *args: self.to("cuda"),
        (torch.nn.RNNBase, "flatten_parameters"): lambda self: None,
        (Tensor, "cuda"): lambda self, *args, **kwargs: self.to("cuda", **kwargs),
        (Tensor, "pin_memory"): pin_memory,
    }


@contextlib.contextmanager
def emulated_gpu() -> Iterator[None]:
    """Within the block, torch has one GPU. The process must have been started with `libraries.environment`."""
    vf = torch._VF
    calls = {name: getattr(vf, name) for name in recurrent.CALLS}
    is_multithreaded = torch._C._is_multithreading_enabled()
    with contextlib.ExitStack() as stack:
        for (owner, name), value in _fake_functions().items():
            stack.enter_context(mock.patch.object(owner, name, value))
        for name, call in calls.items():
            setattr(vf, name, recurrent.checked(call, name))
            stack.callback(delattr, vf, name)
        # The backward pass stays in this thread, because a mode belongs to a thread.
        torch._C._set_multithreading_enabled(False)
        stack.callback(torch._C._set_multithreading_enabled, is_multithreaded)
        # `torch.tensor(..., device="cuda")` is a copy from the CPU.
        torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)  # type: ignore[attr-defined]
        if os.environ.get("TRITON_INTERPRET") == "1":
            stack.enter_context(launches.interpreted())
        stack.enter_context(Emulation())
        yield
