"""Keys made of content: the same bytes for equal values in every process, other bytes for different ones."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from seqkit._version import __version__

STORE_FORMAT = 2

# What decides how a text becomes numbers, beside a task's own code.
_ROOMS = ("fields", "store", "readers.py", "vocab.py", "types.py")


def key_of(*values: Any) -> str:
    """The name of a store entry: 32 hexadecimal digits of all values, and of the versions that made it."""
    digest = hashlib.blake2b(digest_size=16)
    feed(digest, [STORE_FORMAT, __version__, np.__version__, platform.python_version_tuple()[:2], _code(), values])
    return digest.hexdigest()


def feed(digest: Any, value: Any) -> None:
    """Hash a value with its type and size before it, so that no two different values look alike."""
    if value is None or isinstance(value, bool | int | float):
        _put(digest, type(value).__name__, repr(value).encode())
    elif isinstance(value, str):
        _put(digest, "str", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes | bytearray):
        _put(digest, "bytes", value)
    elif isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            feed(digest, array.tolist())
        else:
            _put(digest, f"array {array.dtype.str} {array.shape}", array.tobytes())
    elif isinstance(value, Mapping):
        _put(digest, f"map {len(value)}", b"")
        for name in sorted(value, key=repr):
            feed(digest, name)
            feed(digest, value[name])
    elif isinstance(value, list | tuple):
        _put(digest, f"list {len(value)}", b"")
        for item in value:
            feed(digest, item)
    else:
        _feed_object(digest, value)


def _feed_object(digest: Any, value: Any) -> None:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Path):
        feed(digest, [kind, str(value)])
    elif isinstance(value, set | frozenset):
        feed(digest, [kind, sorted(value, key=repr)])
    elif isinstance(value, partial):
        feed(digest, [kind, value.func, value.args, value.keywords])
    elif callable(value) and hasattr(value, "__qualname__"):
        code = getattr(value, "__code__", None)
        feed(digest, [kind, value.__module__, value.__qualname__, code and code.co_code])
    elif hasattr(value, "__dict__"):
        # What a cached property has made is no part of what the object is.
        lazy = {name for name in vars(value) if isinstance(getattr(type(value), name, None), cached_property)}
        feed(digest, [kind, {name: held for name, held in vars(value).items() if name not in lazy}])
    elif hasattr(value, "__slots__"):
        feed(digest, [kind, [getattr(value, name, None) for name in value.__slots__]])
    else:
        feed(digest, [kind, repr(value)])


def _put(digest: Any, kind: str, raw: bytes | bytearray) -> None:
    digest.update(f"{kind} {len(raw)}:".encode())
    digest.update(raw)


@cache
def _code() -> str:
    """A hash of the source that encodes, so that a developer's change is a new key without a new version."""
    digest = hashlib.blake2b(digest_size=16)
    home = Path(__file__).parents[1]
    for room in _ROOMS:
        for path in sorted((home / room).glob("*.py")) if (home / room).is_dir() else [home / room]:
            if path.is_file():
                feed(digest, [path.name, path.read_bytes()])
    return digest.hexdigest()
