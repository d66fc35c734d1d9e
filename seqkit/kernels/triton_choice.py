"""Whether a kernel in Triton runs in place of torch's operations: random fields, CTC and dropout on a GPU.

A kernel is compiled on the machine where it runs, for the GPU, the driver and the Triton that are there. So before the
first use in a process, each is compared with torch's operations on a small case of fixed numbers: the values and the
gradients. It is used if it compiles and agrees; otherwise torch's operations are, and a warning says why. The outcome
depends on nothing but the device and the versions: nothing is timed, and no random generator is touched.

A kernel that writes where it may not makes CUDA refuse all work of the process; no check in the process can undo that.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from seqkit.errors import UsageError
from seqkit.kernels.request import requested, use
from seqkit.kernels.triton_engine import is_installed
from seqkit.runtime.native_library import VARIABLE

Case: TypeAlias = Callable[[torch.device], Mapping[str, Tensor]]
"""Computes a small case on a device, by what `use` asks for: named values and gradients."""

NOT_INSTALLED: Final = f"{VARIABLE}=triton: Triton is not installed; it comes with torch's CUDA build; use auto"


@dataclass(frozen=True, slots=True)
class TritonChoice:
    """Whether kernels in Triton run, and the reason for it in words."""

    is_triton: bool
    reason: str

    @property
    def name(self) -> str:
        """`triton` or `torch`."""
        return "triton" if self.is_triton else "torch"

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


_compared: dict[tuple[str, torch.device], TritonChoice] = {}
_comparing = threading.RLock()


def choose_triton(device: torch.device, kernels: str, case: Case, *, tolerance: float) -> TritonChoice:
    """Whether these kernels run on `device`; they are compared with torch's operations at the first call.

    Args:
        device: where.
        kernels: what they compute, as a warning says it; kernels that are compiled apart have names of their own.
        case: what is compared.
        tolerance: largest difference between the two, relative to the larger of 1 and the number itself.

    Raises:
        UsageError: Triton is requested by name, and is not installed.
    """
    request = requested()
    if device.type != "cuda":
        return TritonChoice(False, f"there are none for {device.type}")
    if request not in ("auto", "triton"):
        return TritonChoice(False, f"{VARIABLE}={request}")
    if not is_installed():
        if request == "triton":
            raise UsageError(NOT_INSTALLED)
        return TritonChoice(False, "Triton is not installed")
    if torch.compiler.is_compiling():
        return TritonChoice(False, "a traced model may use only torch operations")
    if request == "triton":
        return TritonChoice(True, "as asked for")
    device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    with _comparing:
        choice = _compared.get((kernels, device))
        if choice is None:
            choice = _compared[kernels, device] = _compare(device, case, tolerance)
            if not choice.is_triton:
                message = f"kernels in Triton for {kernels} are not used on {device}: {choice.reason}"
                warnings.warn(f"{message}; torch's operations are, in more launches", RuntimeWarning, stacklevel=3)
    return choice


def _compare(device: torch.device, case: Case, tolerance: float) -> TritonChoice:
    """Run the case by torch's operations on the CPU, and by the kernels on the device.

    Raises:
        torch.OutOfMemoryError: the device has no memory left, which says nothing of the kernels.
    """
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            _waiting_allowed(),
        ):
            with use("padded"):
                expected = case(torch.device("cpu"))
            with use("triton"):
                results = case(device)
            differences = [
                sentence
                for name, tensor in expected.items()
                if (sentence := _difference(name, results[name], tensor, tolerance))
            ]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler, a driver and a launch fail each in its own way
        first_line = next(iter(str(error).strip().splitlines()), "")
        return TritonChoice(False, f"{type(error).__name__}: {first_line}"[:300])
    if differences:
        return TritonChoice(False, differences[0])
    return TritonChoice(True, "they agree with torch's operations on this device")


@contextlib.contextmanager
def _waiting_allowed() -> Iterator[None]:
    """Within the block, waiting for the device is no error, if it is one elsewhere."""
    mode = torch.cuda.get_sync_debug_mode() if torch.cuda.is_initialized() else 0  # type: ignore[no-untyped-call]
    if not mode:  # setting it warns
        yield
        return
    torch.cuda.set_sync_debug_mode("default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _difference(name: str, result: Tensor, expected: Tensor, tolerance: float) -> str:
    """A sentence if the two differ by more than the tolerance; else nothing."""
    result, expected = result.detach().cpu().double(), expected.detach().double()
    if torch.allclose(result, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
        return ""
    largest = (result - expected).abs().nan_to_num(nan=torch.inf).max().item()
    return f"{name} differs by {largest:.3g} from torch's, where {tolerance:.3g} is allowed"
