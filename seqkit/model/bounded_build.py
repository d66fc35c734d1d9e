"""Building a model whose weights are in a file: within the size of that file, and without drawing first values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

_DRAWN_IN_PLACE: Final = frozenset(
    {Tensor.normal_, Tensor.uniform_, torch.Tensor.bernoulli_, torch.Tensor.exponential_}
)
_DRAWN: Final = frozenset({torch.randn, torch.rand})

_SPARE_NUMBERS: Final = 1 << 22
_SPARE_TENSORS: Final = 4096
"""What a model may have beside what its file has: tables that follow from its options, and tensors that it replaces."""


class TooLarge(Exception):
    """A model has more numbers or more tensors than the file of its weights."""


class SkipDraws(TorchFunctionMode):
    """Random first values are not drawn: the memory that they would fill is not even touched.

    Attributes:
        count: how many draws were skipped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is None:
            if func in _DRAWN_IN_PLACE:
                self.count += 1
                return args[0]
            if func in _DRAWN:
                self.count += 1
                kwargs.pop("generator", None)
                return torch.empty(*args, **kwargs)
            if func is torch.linalg.qr and self.count:
                # `orthogonal_` decomposes what it has drawn.
                matrix = args[0]
                rank = min(matrix.shape[-2:])
                return matrix.new_empty(matrix.shape[-2], rank), matrix.new_empty(rank, matrix.shape[-1])
        return func(*args, **kwargs)


@contextmanager
def limit_size(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Within this block, this thread builds no model that is larger than one with tensors of these shapes.

    Raises:
        TooLarge: as soon as it has more.
    """
    most_numbers = sum(torch.Size(shape).numel() for shape in shapes.values()) + _SPARE_NUMBERS
    most_tensors = 2 * len(shapes) + _SPARE_TENSORS
    thread, numbers, tensors = threading.get_ident(), 0, 0
    seen: set[int] = set()

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal numbers, tensors
        if tensor is None or threading.get_ident() != thread or id(tensor) in seen:
            return
        seen.add(id(tensor))
        numbers, tensors = numbers + tensor.numel(), tensors + 1
        if numbers > most_numbers or tensors > most_tensors:
            raise TooLarge(f"more than {min(numbers, most_numbers):,} numbers in {tensors:,} tensors")

    with ExitStack() as stack:
        for register in (
            hooks.register_module_parameter_registration_hook,
            hooks.register_module_buffer_registration_hook,
        ):
            stack.callback(register(count).remove)
        yield


def needs_draws(model: nn.Module) -> bool:
    """Whether a module of a plugin has tensors that are in no file, which may have been drawn."""
    for module in model.modules():
        if type(module).__module__.partition(".")[0] in ("torch", "seqkit"):
            continue
        loose = [value for value in vars(module).values() if isinstance(value, Tensor)]
        unsaved = [module._buffers.get(name) for name in module._non_persistent_buffers_set]
        if loose or any(tensor is not None for tensor in unsaved):
            return True
    return False
