"""Evaluation batches: every example once, long sequences in windows."""

from __future__ import annotations

from pathlib import Path

from seqkit.data import evaluation
from tests.helpers.letters import TEXTS, next_characters


def test_evaluation_windows_of_a_long_sequence_cover_it_in_order(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_WINDOW", 3)
    data = next_characters(tmp_path, window=3)
    seen: dict[int, list[int]] = {}
    for index, windows in evaluation.evaluation_batches(data, "test", batch=4):
        for window in windows:
            for row in range(window.size):
                seen.setdefault(int(index[row]), []).extend(window.y[row, : window.lengths[row]].tolist())
    assert [seen[i] for i in range(len(TEXTS))] == [data.input.encode(text).tolist() for text in TEXTS]
