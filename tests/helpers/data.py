"""Real data in tests."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from seqkit.errors import DataError, MissingExtra

HAS_DATA = bool(os.environ.get("SEQKIT_DATA"))
needs_data = pytest.mark.skipif(not HAS_DATA, reason="SEQKIT_DATA names no folder of real data")


def skip_or_raise(error: DataError | MissingExtra) -> NoReturn:
    """Skip a test whose recipe cannot read its data, if nobody said where data are; else the error is a fault.

    An extra that is missing is no fault either way, and the reason names it.
    """
    if isinstance(error, MissingExtra):
        pytest.skip(str(error))
    if HAS_DATA:
        raise error
    pytest.skip(f"reads real data, and SEQKIT_DATA names none: {error}"[:200])
