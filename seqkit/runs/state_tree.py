"""Splits trees of tensors and plain values into named tensors and JSON, and rebuilds them exactly.

A tree is made of dictionaries, lists, tuples, numbers and tensors, like an optimiser's `state_dict()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seqkit.types import JSON


def pack(state: Any) -> tuple[dict[str, Tensor], JSON]:
    """A state as (tensors by path, such as `state.0.exp_avg`, and strict JSON that refers to them).

    Dictionaries whose keys are not strings become `{"$map": [[key, value], ...]}`, tuples `{"$tuple": [...]}`, and
    tensors `{"$tensor": name}`.

    Raises:
        TypeError: it contains something else than these, strings, numbers, booleans and None; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(state, (), tensors)


def unpack(tensors: Mapping[str, Tensor], packed: JSON) -> Any:
    """The state again: `unpack(*pack(state))` equals `state`, with types, shapes and dtypes; tensors are not copied."""
    if isinstance(packed, list):
        return [unpack(tensors, item) for item in packed]
    if isinstance(packed, dict):
        if "$tensor" in packed:
            return tensors[packed["$tensor"]]
        if "$tuple" in packed:
            return tuple(unpack(tensors, item) for item in packed["$tuple"])
        if "$map" in packed:
            return {key: unpack(tensors, item) for key, item in packed["$map"]}
        return {key: unpack(tensors, item) for key, item in packed.items()}
    return packed


def _pack(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> JSON:
    if isinstance(value, Tensor):
        name = ".".join(path) or "value"
        while name in tensors:  # two paths may have one name: {"a.b": x, "a": {"b": y}}
            name += "_"
        tensors[name] = value
        return {"$tensor": name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_pack(item, (*path, str(index)), tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        packed = [(key, _pack(item, (*path, str(key)), tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(packed)
        if all(key is None or isinstance(key, (str, int, float)) for key in value):
            return {"$map": [[key, item] for key, item in packed]}
    raise TypeError(f"{'.'.join(path) or 'state'}: cannot save a {type(value).__name__}")


def check_json(value: JSON, path: str = "state") -> None:
    """Raise TypeError, naming the path, unless JSON gives this value back equal and of the same types."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{path}: the key {key!r} is not a string, and JSON would make it one")
            check_json(item, f"{path}.{key}")
    else:
        raise TypeError(f"{path}: {type(value).__name__} is not JSON")
