"""Steps as CUDA graphs: which batches they serve, what is not captured, and that a CPU goes on without them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from seqkit.interfaces import Batch
from seqkit.training.step import step_graphs
from seqkit.training.step_graphs import StepGraphs, is_full
from tests.helpers import small


@pytest.mark.parametrize(
    ("lengths", "y_lengths", "expected"),
    [
        ([4, 4], None, True),
        ([4, 3], None, False),
        ([4, 4], [5, 5], True),
        ([4, 4], [5, 4], False),
    ],
)
def test_a_graph_serves_batches_without_padding(
    lengths: list[int], y_lengths: list[int] | None, expected: bool
) -> None:
    y = torch.zeros(2) if y_lengths is None else torch.zeros(2, 5)
    of_targets = None if y_lengths is None else torch.tensor(y_lengths)
    assert is_full(Batch(torch.zeros(2, 4, 3), torch.tensor(lengths), y, of_targets)) is expected


def test_a_cpu_trains_without_and_says_so(tmp_path: Path) -> None:
    data = small.vectors(tmp_path)
    weights = []
    for name, is_asked in (("plain", False), ("asked", True)):
        model, run = small.model(data), small.create_run(tmp_path / name)
        small.train(model, data, small.settings(cuda_graphs=is_asked), run)
        assert ("there is no GPU" in (run.folder / "run.log").read_text()) is is_asked
        weights.append(list(model.parameters()))
    assert all(map(torch.equal, *weights))
    assert not all(map(torch.equal, weights[0], small.model(data).parameters()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"accumulate": 2}, "train.accumulate"), ({"agreement": 1.0}, "train.agreement"), ({"shards": 2}, "shards")],
)
def test_what_is_computed_in_parts_is_no_graph(tmp_path: Path, changes: dict[str, float], reason: str) -> None:
    data, sentences = small.vectors(tmp_path), list[str]()
    assert step_graphs(small.state(small.model(data), data, cuda_graphs=True, **changes), sentences.append) is None
    assert reason in sentences[0]


def test_a_refusal_is_told_once() -> None:
    graphs, sentences = StepGraphs(torch.nn.Linear(1, 1), lambda batch: nullcontext()), list[str]()
    for _ in range(3):
        graphs.refuse("mood", "other tasks share its examples", sentences.append)
    assert sentences == ["task mood: not run as CUDA graphs: other tasks share its examples"]
