"""The native library in tests."""

from __future__ import annotations

from typing import Any

import pytest

from seqkit.runtime.native_library import load_native


def require_native() -> Any:
    """The loaded library; skips the test only where there is no compiler to build it with."""
    native = load_native()
    if native.library is None and "no C++ compiler" in native.description:
        pytest.skip(f"the native library is {native.description}")
    assert native.library is not None, f"the native library is {native.description}"
    return native.library
