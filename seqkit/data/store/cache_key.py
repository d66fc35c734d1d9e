"""Keys made of content: equal values give the same key in every process, different values give different keys."""

from __future__ import annotations

import ast
import hashlib
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from seqkit._version import __version__

STORE_FORMAT = 2

# The code that decides how a text becomes numbers, beside the task's own: these, and all that they import of seqkit.
ENCODING = ("seqkit.fields", "seqkit.data.store", "seqkit.readers")


def key_of(*values: Any) -> str:
    """The name of a store entry: 32 hexadecimal digits of all values, and of the versions that made it."""
    digest = hashlib.blake2b(digest_size=16)
    hash_into(digest, [STORE_FORMAT, __version__, np.__version__, platform.python_version_tuple()[:2], _code(), values])
    return digest.hexdigest()


def hash_into(digest: Any, value: Any) -> None:
    """Add a value to a hash, with its type and size before it, so that different values never give the same bytes.

    Args:
        digest: a hash of `hashlib`.
        value: numbers, text, bytes, arrays, containers of them, or any object, which is hashed by its type and
            attributes.
    """
    if value is None or isinstance(value, bool | int | float):
        _update(digest, type(value).__name__, repr(value).encode())
    elif isinstance(value, str):
        _update(digest, "str", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes | bytearray):
        _update(digest, "bytes", value)
    elif isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            hash_into(digest, array.tolist())
        else:
            _update(digest, f"array {array.dtype.str} {array.shape}", array.tobytes())
    elif isinstance(value, Mapping):
        _update(digest, f"map {len(value)}", b"")
        for name in sorted(value, key=repr):
            hash_into(digest, name)
            hash_into(digest, value[name])
    elif isinstance(value, list | tuple):
        _update(digest, f"list {len(value)}", b"")
        for item in value:
            hash_into(digest, item)
    else:
        _hash_object(digest, value)


def _hash_object(digest: Any, value: Any) -> None:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Path):
        hash_into(digest, [kind, str(value)])
    elif isinstance(value, set | frozenset):
        hash_into(digest, [kind, sorted(value, key=repr)])
    elif isinstance(value, partial):
        hash_into(digest, [kind, value.func, value.args, value.keywords])
    elif callable(value) and hasattr(value, "__qualname__"):
        code = getattr(value, "__code__", None)
        hash_into(digest, [kind, getattr(value, "__module__", None), value.__qualname__, code and code.co_code])
    elif hasattr(value, "__dict__"):
        # Whether a cached property has been read does not change what the object is.
        cached = {name for name in vars(value) if isinstance(getattr(type(value), name, None), cached_property)}
        hash_into(digest, [kind, {name: item for name, item in vars(value).items() if name not in cached}])
    elif hasattr(value, "__slots__"):
        hash_into(digest, [kind, [getattr(value, name, None) for name in value.__slots__]])
    else:
        hash_into(digest, [kind, repr(value)])


def _update(digest: Any, kind: str, raw: bytes | bytearray) -> None:
    digest.update(f"{kind} {len(raw)}:".encode())
    digest.update(raw)


@cache
def _code() -> str:
    return source_hash(Path(__file__).parents[3], ENCODING)


def source_hash(root: Path, modules: Sequence[str]) -> str:
    """A hash of the code that encodes, so that a change of it makes new keys without a new version number.

    Args:
        root: the folder that contains the package.
        modules: dotted names. A package stands for all of its modules, and all that they import of seqkit, directly or
            not, is hashed too. Imports inside functions are not followed: what they import (for the layer of a field,
            say) runs after the encoding.

    Raises:
        FileNotFoundError: a module has no source file, so the hash would not depend on it.
    """
    paths: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in paths:
            continue
        stem = root / name.replace(".", "/")
        if stem.is_dir():
            waiting += [f"{name}.{path.stem}" for path in stem.glob("*.py") if path.stem != "__init__"]
            stem = stem / "__init__"
        paths[name] = path = stem.with_suffix(".py")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: the source of {name}, which cache keys depend on, is missing")
        waiting += _imports(path, root)
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(paths):
        hash_into(digest, [name, paths[name].read_bytes()])
    return digest.hexdigest()


# A statement at the top level begins in the first column; one with parentheses ends with them.
_IMPORT: Final = re.compile(r"^from seqkit[.\w]* import (?:\([^)]*\)|[^\n(]*)", re.MULTILINE)


def _imports(path: Path, root: Path) -> Iterator[str]:
    """The modules of seqkit that a file imports at its top level."""
    for statement in import_statements(path.read_text("utf-8")):
        assert statement.module is not None
        for alias in statement.names:
            member = root / statement.module.replace(".", "/") / alias.name
            is_module = member.is_dir() or member.with_suffix(".py").is_file()
            yield f"{statement.module}.{alias.name}" if is_module else statement.module


def import_statements(source: str) -> list[ast.ImportFrom]:
    """The statements at the top level of a module that import from seqkit: `from seqkit.types import JSON`.

    Only these are parsed: to parse all of every file takes 0.2 s at the start of each run.
    """
    nodes = ast.parse("\n".join(_IMPORT.findall(source))).body
    return [node for node in nodes if isinstance(node, ast.ImportFrom)]
