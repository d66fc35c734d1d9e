"""The native library in tests."""

from __future__ import annotations

from typing import Any

import pytest

from seqkit.runtime.native_library import load_native


def require_native() -> Any:
    """The loaded library; skips the test on a machine that has none."""
    native = load_native()
    if native.library is None:
        pytest.skip(f"the native library is {native.description}")
    return native.library
