"""A split as one circular text: every part is that of the joined text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqkit.data import stream as stream_module
from seqkit.data.stream import Stream
from seqkit.types import START
from tests.helpers.letters import TEXTS, next_characters, random_column


def test_a_stream_joins_documents_after_start_symbols_and_begins_again(tmp_path: Path) -> None:
    data = next_characters(tmp_path, window=3)
    stream = Stream(data.splits["train"].x)
    plain: list[int] = []
    for text in TEXTS:
        plain += [START, *data.input.encode(text).tolist()]
    assert stream.total == len(plain)
    assert stream.read(0, stream.total).tolist() == plain
    assert stream.read(5, stream.total + 9).tolist() == plain[5:] + plain[:9]


@pytest.mark.parametrize("stride", [1, 3, 64])
def test_any_part_of_a_stream_is_that_of_the_joined_text(stride, monkeypatch) -> None:
    monkeypatch.setattr(stream_module, "_STRIDE", stride)
    for examples in (1, 2, 12):
        column = random_column("u2", (), examples=examples)
        joined = [symbol for i in range(examples) for symbol in (START, *column[i].tolist())]
        stream = Stream(column)
        assert stream.total == len(joined)
        for start in range(stream.total):
            for stop in range(start, 2 * stream.total):
                symbols = stream.read(start, stop)
                assert symbols.dtype == np.int64
                assert symbols.tolist() == (joined * 2)[start:stop]
