"""What a run leaves on TensorBoard: which charts, which runs overlay, pictures, sizes, and no chart of one dot."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

import seqkit
from seqkit.runs import event_files
from seqkit.runs.board_series import is_shown
from seqkit.runs.tensorboard import Board

RECIPE: dict[str, Any] = {
    "seed": 1,
    "tasks": {"ner": {"source": "generated", "sizes": [160, 40, 40], "char_hidden": 8}},
    "encoder": {"use": "lstm", "dim": 16, "hidden": 16},
    "train": {"epochs": 4, "batch": 16, "log_every": 5},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of ner."""
    return seqkit.run(RECIPE, out=tmp_path_factory.mktemp("runs") / "ner", progress=False).folder


def events_of(folder: Path) -> list[tuple[str, int, Any]]:
    """(run, step, value) of everything in the event files."""
    return [
        (run.name, event.step, value)
        for run in (folder / "tb", *event_files.subfolders(folder / "tb"))
        for event in event_files.read(*event_files.paths(run))
        for value in event.summary.value
    ]


def charts_of(folder: Path) -> dict[str, dict[str, list[int]]]:
    """Tag -> run -> steps, of all charts of numbers."""
    charts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for run, step, value in events_of(folder):
        if value.HasField("simple_value"):
            charts[value.tag][run].append(step)
    return charts


def tags_of(folder: Path, kind: str) -> dict[str, list[int]]:
    """Tag -> steps, of all values that have a field of this kind."""
    tags: dict[str, list[int]] = defaultdict(list)
    for _, step, value in events_of(folder):
        if value.HasField(kind):
            tags[value.tag].append(step)
    return tags


def test_train_dev_and_test_of_a_quantity_are_in_one_chart(folder: Path) -> None:
    charts = charts_of(folder)
    assert set(charts["learning/ner/loss"]) == {"train", "dev", "test"}
    assert set(charts["learning/ner/span_f1"]) == {"dev", "best", "test"}
    marks = charts["learning/ner/span_f1"]["best"]
    assert marks == charts["learning/ner/loss"]["test"], "a mark where the best checkpoint is"
    assert len(marks) == 6
    assert set(charts["learning/ner/span_f1"]["dev"]) > set(marks), "which does not cover the curve"
    assert "dev" in charts["per class/ner/span_f1.place"]


def test_no_chart_has_a_single_dot(folder: Path) -> None:
    assert [tag for tag, runs in charts_of(folder).items() if max(len(set(steps)) for steps in runs.values()) < 2] == []


def test_what_is_looked_at_first_comes_first(folder: Path) -> None:
    charts = charts_of(folder)
    groups = sorted({tag.partition("/")[0] for tag in charts})
    assert groups[0] == "learning"
    assert {tag for tag in charts if tag.startswith("learning/")} == {"learning/ner/loss", "learning/ner/span_f1"}
    assert "more scores/ner/span_recall" in charts
    assert {"per class", "per layer", "resources", "time", "training"} <= set(groups)


def test_layers_time_and_memory_are_shown(folder: Path) -> None:
    charts = charts_of(folder)
    assert {"per layer/gradient norm/encoder cells 0", "per layer/update to weight/encoder cells 0"} <= set(charts)
    assert {f"time/share in {phase}" for phase in ("data", "forward", "backward", "optimiser")} <= set(charts)
    assert "resources/memory of the process, GB" in charts


def test_pictures_are_of_dev_at_the_best_step_and_of_test_at_the_end(folder: Path) -> None:
    pictures = tags_of(folder, "image")
    best = max(charts_of(folder)["learning/ner/span_f1"]["best"])
    names = ("confusion, percent", "confusion, counts", "reliability", "score by length")
    for name in names:
        assert pictures[f"pictures/ner/dev/{name}"][-1] == best
        assert pictures[f"pictures/ner/test/{name}"] == [best]
    assert pictures["pictures/ner/train/lengths"] == [0]
    for steps in pictures.values():
        assert all(later >= 4 * earlier or later == best for earlier, later in itertools.pairwise(steps))


def test_samples_are_of_dev_and_test(folder: Path) -> None:
    texts = tags_of(folder, "tensor")
    assert {"recipe/text_summary", "ner/dev/samples/text_summary", "ner/test/samples/text_summary"} <= set(texts)


def test_the_projector_has_the_most_frequent_words_with_their_counts(folder: Path) -> None:
    config = ProjectorConfig()
    text_format.Parse((folder / "tb" / "projector_config.pbtxt").read_text(), config)
    (info,) = config.embeddings
    count, width = info.tensor_shape
    lines = (folder / "tb" / info.metadata_path).read_text().splitlines()
    assert lines[0] == "symbol\tcount"
    assert len(lines) == count + 1
    counts = [int(line.split("\t")[1]) for line in lines[1:]]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 1, "what was seen once has hardly been trained"
    vectors = np.frombuffer((folder / "tb" / info.tensor_path).read_bytes(), dtype="<f4").reshape(count, width)
    assert np.isfinite(vectors).all()


def test_a_short_run_is_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in (folder / "tb").rglob("*") if path.is_file()) < 600_000


def test_the_numbers_of_a_day_are_below_100_mb(tmp_path: Path) -> None:
    steps, log_every, charts = 10_000_000, 50, 60
    shown = [
        number * log_every for number in range(1, steps // log_every + 1) if is_shown(number * log_every, log_every)
    ]
    board = Board(tmp_path)
    for step in shown[:300]:
        board.scalars(step, {"ner/train/loss": 1.0})
    evaluations = 2000
    for number in range(1, evaluations + 1):
        board.scalars(number * (steps // evaluations), {"ner/dev/loss": 1.0})
    board.close()
    sizes = {run: sum(path.stat().st_size for path in (tmp_path / run).iterdir()) for run in ("train", "dev")}
    assert sizes["train"] / 300 * len(shown) * charts < 60e6
    assert sizes["dev"] * 30 < 20e6, "thirty scores"


@pytest.mark.slow
def test_the_default_run_of_ner_is_below_1_mb(tmp_path: Path) -> None:
    run = seqkit.run("ner", out=tmp_path / "run", progress=False)
    assert sum(path.stat().st_size for path in (run.folder / "tb").rglob("*") if path.is_file()) < 1_000_000
