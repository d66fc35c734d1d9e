"""Batches made ahead, in a thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from seqkit.data.prefetch import prefetch


def test_batches_made_ahead_are_the_same_and_errors_come_through() -> None:
    assert list(prefetch(iter(range(100)))) == list(range(100))

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)
