"""Real data in tests."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from seqkit.errors import DataError, MissingExtra


def skip_or_raise(error: DataError | MissingExtra) -> NoReturn:
    """Skip a test whose recipe cannot read its data, if nobody said where data are; else the error is a fault.

    An extra that is missing is no fault either way, and the reason names it.
    """
    if isinstance(error, MissingExtra):
        pytest.skip(str(error))
    if "SEQKIT_DATA" in os.environ:
        raise error
    pytest.skip(f"reads real data, and SEQKIT_DATA names none: {error}"[:200])
