"""Tensors of the emulated GPU, and what happens when an operation is dispatched on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.gpu.emulation import graphs
from tests.gpu.emulation.records import Records

aten = torch.ops.aten
DEVICE: Final = torch.device("cuda:0")
CPU: Final = torch.device("cpu")

records = Records(refuse=graphs.refuse)
graphs.Capture.records = records
"""Of this process: torch has one first GPU, and so has the emulation."""


class DeviceTensor(Tensor):
    """A tensor that says `cuda:0`; `held` has its numbers. Views hold views, so all see what changes in place."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> DeviceTensor:
        new: DeviceTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        new.held = held
        return new

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(function, args, kwargs or {})

    # With these two, `Module.to` exchanges a parameter's tensor, because its numbers cannot be set.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], meta: Any, size: Any, stride: Any) -> Tensor:
        return DeviceTensor(parts["held"])

    def __repr__(self) -> str:  # type: ignore[override]
        return f"on the emulated GPU: {self.held!r}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy: Tensor = DeviceTensor(self.held.clone())
        if isinstance(self, torch.nn.Parameter) or getattr(self, "_is_param", False):
            copy = torch.nn.Parameter(copy, self.requires_grad)
        memo[id(self)] = copy
        return copy

    def tolist(self) -> Any:
        records.note("wait", "tolist")
        return self.held.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a tensor of cuda:0 has no NumPy array: copy it to the CPU first")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def data_ptr(self) -> int:
        return self.held.data_ptr()


def on_device(value: Any) -> Any:
    """A tensor of the CPU as one of the emulated GPU."""
    return DeviceTensor(value) if isinstance(value, Tensor) and not isinstance(value, DeviceTensor) else value


def held(value: Any) -> Any:
    """The numbers of a tensor of the emulated GPU."""
    return value.held if isinstance(value, DeviceTensor) else value


def is_page_locked(tensor: Tensor) -> bool:
    """Whether this tensor, or the one it is a view of, was made by `pin_memory`."""
    return bool(getattr(tensor, "_page_locked", False)) or (tensor._base is not None and is_page_locked(tensor._base))


NOT_LAUNCHED: Final = ("_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
"""Operations that only look at numbers in another way, or only take memory, though their schemas do not say so."""


class Emulation(TorchDispatchMode):
    """Within the block, what is made on `cuda` is made on the emulated GPU."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(function, args, kwargs or {})


def dispatch(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Carry out an operation, and record what a GPU would mind."""
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    is_ours = any(isinstance(tensor, DeviceTensor) for tensor in tensors)
    makes_ours = any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in leaves)
    if not is_ours and not makes_ours:
        return _on_cpu(function, args, kwargs)
    name = function._schema.name.removeprefix("aten::")
    if name == "to":  # only inference mode leaves it whole
        with Emulation():
            return function.decompose(*args, **kwargs)
    records.count(name, is_view=name in NOT_LAUNCHED or _is_view(function))
    if name == "_to_copy":
        return _copy(args[0], kwargs)
    if name == "copy_":
        return _copy_in_place(*args, **kwargs)
    if not is_ours:
        if tensors:
            records.note("wait", f"{name} of a tensor of the CPU")
        return tree_map(on_device, _call_on_cpu(function, args, kwargs))
    _look_for_waits(function, name, args)
    _look_for_two_devices(function, name, args, tensors)
    _look_for_disorder(name, args)
    return _carry_out(function, name, args, kwargs)


def _on_cpu(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if not kwargs.get("pin_memory"):
        return function(*args, **kwargs)
    made = function(*args, **{**kwargs, "pin_memory": False})
    made._page_locked = True
    return made


def _is_view(function: Any) -> bool:
    """Whether it only looks at the same numbers in another way: nothing is launched for that."""
    aliases = [argument.alias_info for argument in function._schema.arguments if argument.alias_info is not None]
    return bool(aliases) and not function._schema.is_mutable


def _call_on_cpu(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    def moved(value: Any) -> Any:
        return CPU if isinstance(value, torch.device) else _held_or_number(value)

    kwargs = tree_map(moved, {name: value for name, value in kwargs.items() if name != "pin_memory"})
    args = tree_map(moved, tuple(args))
    result = function(*args, **kwargs)
    if not (isinstance(function, torch._ops.OpOverload) and (_is_view(function) or _changes_form(function))):
        graphs.add_operation(function, args, kwargs, result)
    return result


def _held_or_number(value: Any) -> Any:
    """A number of the CPU goes to a kernel by its value."""
    if graphs.Capture.graph is None or not isinstance(value, Tensor) or isinstance(value, DeviceTensor):
        return held(value)
    return value.clone()


def _changes_form(function: Any) -> bool:
    return torch.Tag.inplace_view in function.tags


def _copy(source: Tensor, kwargs: dict[str, Any]) -> Tensor:
    to_cpu = kwargs.get("device") is not None and kwargs["device"].type == "cpu"
    is_async = bool(kwargs.get("non_blocking"))
    rest = {name: value for name, value in kwargs.items() if name not in ("device", "non_blocking", "pin_memory")}
    copy = aten._to_copy.default(held(source), **rest)
    graphs.add_operation(aten._to_copy.default, (held(source),), rest, copy)
    if not isinstance(source, DeviceTensor):
        graphs.refuse("memory of the CPU is copied")
        _note_upload(source, is_async)
    elif to_cpu:
        _note_read_back(is_page_locked_target=False, is_async=is_async, name="copy to the CPU")
        return copy
    return DeviceTensor(copy)


def _copy_in_place(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if isinstance(target, DeviceTensor) and not isinstance(source, DeviceTensor):
        if source.dim() or source.is_floating_point():
            graphs.refuse("memory of the CPU is copied")
            _note_upload(source, non_blocking)
    elif isinstance(source, DeviceTensor) and not isinstance(target, DeviceTensor):
        _note_read_back(is_page_locked(target), non_blocking, "copy_ to the CPU")
    numbers = _held_or_number(source)
    held(target).copy_(numbers)
    graphs.add(lambda: held(target).copy_(numbers))
    return target


def _note_upload(source: Tensor, is_async: bool) -> None:
    if not is_async:
        records.note("wait", "blocking copy to the GPU")
    elif not is_page_locked(source):
        records.note("pageable copy", "copy to the GPU")


def _note_read_back(is_page_locked_target: bool, is_async: bool, name: str) -> None:
    if is_async and is_page_locked_target:
        records.read_backs[records.phase] += 1
    else:
        records.note("wait", name)


WAITING: Final = {
    "_local_scalar_dense": "item",
    "item": "item",
    "is_nonzero": "bool",
    "equal": "equal",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "bincount": "bincount",
    "multinomial": "multinomial",
    "_ctc_loss": "ctc_loss: lengths become tensors of the GPU",
    "_ctc_loss_backward": "ctc_loss: lengths become tensors of the GPU",
}
"""Operations whose result, or its size, the CPU has to know."""

INDEXING: Final = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")

HOST_ARGUMENTS: Final = (*INDEXING, "_ctc_loss", "_ctc_loss_backward", "_pack_padded_sequence")
"""Operations of the GPU that take tensors of the CPU as well."""


def _look_for_waits(function: Any, name: str, args: Sequence[Any]) -> None:
    if name in WAITING:
        records.note("wait", WAITING[name])
    if name == "repeat_interleave" and len(args) == 1:
        records.note("wait", name)
    if name in INDEXING:
        for index in args[1]:
            if index is None:
                continue
            if index.dtype in (torch.bool, torch.uint8):
                records.note("wait", f"{name} by a mask, which becomes numbers")
            elif not isinstance(index, DeviceTensor) and isinstance(args[0], DeviceTensor):
                records.note("wait", f"{name} by numbers of the CPU, which are copied")


def _look_for_two_devices(function: Any, name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    if name in HOST_ARGUMENTS:
        return
    takes_numbers = torch.Tag.pointwise in function.tags or name.startswith("_foreach") or name in ("fill_", "where")
    for tensor in tensors:
        if isinstance(tensor, DeviceTensor) or (tensor.dim() == 0 and takes_numbers):
            continue
        records.note("two devices", name)
        raise RuntimeError(
            f"expected all tensors to be on the same device: {name} got cuda:0 and a tensor of the CPU "
            f"of shape {tuple(tensor.shape)}"
        )


UNORDERED: Final = frozenset(
    {
        "_ctc_loss_backward",
        "_embedding_bag",
        "_embedding_bag_dense_backward",
        "_cudnn_ctc_loss",
        "adaptive_avg_pool2d_backward",
        "adaptive_max_pool2d_backward",
        "bincount",
        "grid_sampler_2d_backward",
        "histc",
        "kthvalue",
        "max_pool2d_with_indices_backward",
        "median",
        "nll_loss2d_forward",
        "put_",
        "reflection_pad1d_backward",
        "replication_pad1d_backward",
        "upsample_linear1d_backward",
    }
)
"""Operations that have no deterministic kernel on a GPU, deterministic algorithms asked for or not."""


def _look_for_disorder(name: str, args: Sequence[Any]) -> None:
    if name in UNORDERED:
        records.note("not deterministic", name)


def _carry_out(function: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    result = _call_on_cpu(FUSED.get(name, function), args, {} if name in FUSED else kwargs)
    if name in ("_local_scalar_dense", "item"):
        return result
    if _changes_form(function):
        with no_dispatch():
            function(*args, **kwargs)
        return args[0]
    if not function._schema.is_mutable:
        return tree_map(on_device, result)
    return _changed_arguments(function._schema, args, kwargs, result)


def _changed_arguments(schema: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Any:
    """What an operation in place returns: the tensors that it was given, where it says so."""
    by_alias = {}
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            by_alias[frozenset(argument.alias_info.before_set)] = value
    count = len(schema.returns)
    if count == 0:
        return None
    values = []
    for returned, value in zip(schema.returns, [result] if count == 1 else result, strict=True):
        alias = None if returned.alias_info is None else by_alias.get(frozenset(returned.alias_info.before_set))
        values.append(tree_map(on_device, value) if alias is None else alias)
    return values[0] if count == 1 else tuple(values)


def _fused_lstm(input_gates: Tensor, hidden_gates: Tensor, c: Tensor, *biases: Tensor | None) -> Any:
    gates = input_gates + hidden_gates
    for bias in biases:
        gates = gates if bias is None else gates + bias
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new_c = f * c + i * g
    return o * new_c.tanh(), new_c, torch.cat([i, f, g, o], 1)


def _fused_lstm_backward(
    grad_h: Tensor | None, grad_c: Tensor | None, c: Tensor, new_c: Tensor, workspace: Tensor, has_bias: bool
) -> Any:
    i, f, g, o = workspace.chunk(4, 1)
    tanh = new_c.tanh()
    grad_h = torch.zeros_like(new_c) if grad_h is None else grad_h
    total = grad_h * o * (1 - tanh * tanh) + (0 if grad_c is None else grad_c)
    gates = torch.cat(
        [total * g * i * (1 - i), total * c * f * (1 - f), total * i * (1 - g * g), grad_h * tanh * o * (1 - o)], 1
    )
    return gates, total * f, gates.sum(0) if has_bias else None


def _fused_gru(
    input_gates: Tensor, hidden_gates: Tensor, h: Tensor, b: Tensor | None = None, c: Tensor | None = None
) -> Any:
    if b is not None and c is not None:
        input_gates, hidden_gates = input_gates + b, hidden_gates + c
    (ir, iz, inn), (hr, hz, hn) = input_gates.chunk(3, 1), hidden_gates.chunk(3, 1)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    n = (inn + r * hn).tanh()
    return n + z * (h - n), torch.cat([r, z, n, h, hn], 1)


def _fused_gru_backward(grad: Tensor, workspace: Tensor, has_bias: bool) -> Any:
    r, z, n, h, hn = workspace.chunk(5, 1)
    grad_n = grad * (1 - z) * (1 - n * n)
    grad_z, grad_r = grad * (h - n) * z * (1 - z), grad_n * hn * r * (1 - r)
    inputs, hidden = torch.cat([grad_r, grad_z, grad_n], 1), torch.cat([grad_r, grad_z, grad_n * r], 1)
    return inputs, hidden, grad * z, inputs.sum(0) if has_bias else None, hidden.sum(0) if has_bias else None


FUSED: dict[str, Callable[..., Any]] = {
    "_thnn_fused_lstm_cell": _fused_lstm,
    "_thnn_fused_lstm_cell_backward_impl": _fused_lstm_backward,
    "_thnn_fused_gru_cell": _fused_gru,
    "_thnn_fused_gru_cell_backward": _fused_gru_backward,
}
"""Operations that only a GPU has, in those of the CPU."""
