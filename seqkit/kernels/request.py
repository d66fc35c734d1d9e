"""Which implementation is asked for: by `use` in a block of code, or by the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias, get_args

from seqkit.errors import UsageError
from seqkit.runtime.native_library import VARIABLE, requested_by_environment

Request: TypeAlias = Literal["auto", "padded", "native", "triton", "stepwise"]

_override: ContextVar[Request | None] = ContextVar("override", default=None)


@contextmanager
def use(request: Request) -> Iterator[None]:
    """Inside the block, request this implementation, whatever the environment says."""
    token = _override.set(request)
    try:
        yield
    finally:
        _override.reset(token)


def requested() -> Request:
    """The implementation that `use` or the environment requests.

    Raises:
        UsageError: the environment requests an unknown one.
    """
    value = _override.get() or requested_by_environment()
    for request in get_args(Request):
        if value == request:
            known: Request = request
            return known
    raise UsageError(f"{VARIABLE} is '{value}'; it can be {', '.join(get_args(Request))}")
