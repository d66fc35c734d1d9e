"""The task `strokes`: the field, its layer, files of drawings."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqkit_strokes import strokes
from seqkit_strokes.fields import Strokes, normalised, resampled
from seqkit_strokes.files import coordinates, drawings, strokes_of_text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqkit
from seqkit import DataError, Flaw
from seqkit.cli import main
from seqkit.inference import kept_predictions
from seqkit.nn import draw_normal
from seqkit.reading import collect_reports
from tests.helpers.data import needs_data

DRAWING = [[[0, 0], [0, 8]], [[4, 0], [4, 2], [2, 2]]]


def slow_steps(drawing: Any) -> list[list[float]]:
    """Every number of every step by plain loops."""
    xs = [x for stroke in drawing for x, _ in stroke]
    ys = [y for stroke in drawing for _, y in stroke]
    side = max(max(xs) - min(xs), max(ys) - min(ys)) or 2
    steps: list[list[float]] = []
    for stroke in drawing:
        for number, (x, y) in enumerate(stroke):
            place = [(x - (min(xs) + max(xs)) / 2) * 2 / side, (y - (min(ys) + max(ys)) / 2) * 2 / side]
            before = steps[-1][:2] if steps else place
            steps.append([*place, place[0] - before[0], place[1] - before[1], float(number == 0)])
    return steps


class TestField:
    @pytest.mark.parametrize("drawing", [DRAWING, [[[3, 3]]], [[[1.5, -2], [1.5, -2]], [[100, 7]]]])
    def test_steps_are_places_moves_and_beginnings(self, drawing: Any) -> None:
        steps = Strokes().encode(drawing)
        assert np.allclose(steps, slow_steps(drawing), atol=1e-6)
        assert [len(stroke) for stroke in Strokes().decode(steps)] == [len(stroke) for stroke in drawing]

    def test_place_and_size_of_a_drawing_do_not_matter(self) -> None:
        moved = [[[3 * x + 7, 3 * y - 2] for x, y in stroke] for stroke in DRAWING]
        assert np.allclose(Strokes(0.1).encode(moved), Strokes(0.1).encode(DRAWING), atol=1e-6)

    def test_points_chosen_anew_are_equally_far_from_each_other_and_keep_the_ends(self) -> None:
        stroke = np.array([[0.0, 0], [0.1, 0], [1, 0], [1, 1]])
        points = resampled(stroke, 0.25)
        assert np.allclose(points[[0, -1]], stroke[[0, -1]])
        assert np.allclose(np.hypot(*np.diff(points, axis=0).T), 0.25)
        assert len(resampled(np.array([[1.0, 1], [1, 1]]), 0.25)) == 1

    def test_a_drawing_of_one_place_stays_there(self) -> None:
        assert np.array_equal(normalised([np.array([[5.0, 5.0]])])[0], [[0, 0]])

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([], "should be a list of strokes"),
            ("x", "should be a list of strokes"),
            ([[]], "has an empty stroke"),
            ([[1, 2]], "not a list of points"),
            ([[[1, 2, 3]]], "not a list of points"),
            ([[[1, 2], [3]]], "points of different widths"),
            ([[["a", "b"]]], "not a list of points"),
            ([[[1, float("nan")]]], "not finite"),
        ],
    )
    def test_what_is_no_drawing_is_refused(self, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Strokes().encode(value)


def test_training_alone_distorts_places_and_moves_alike() -> None:
    layer = Strokes(distort=0.3).layer(4)
    x = torch.tensor(Strokes().encode(DRAWING))[None].repeat(3, 1, 1)
    lengths = torch.full((3,), x.shape[1])
    scaled = torch.cat([x[..., :2], x[..., 2:4] * 5, x[..., 4:]], dim=-1)
    assert torch.allclose(layer.eval()(x, lengths)[0], layer.linear(scaled))
    torch.manual_seed(1)
    steps, _ = layer.train()(x, lengths)
    torch.manual_seed(1)
    matrices = torch.eye(2) + 0.3 * draw_normal((3, 2, 2))
    for row in range(3):
        places, moves = x[row, :, :2] @ matrices[row], x[row, :, 2:4] @ matrices[row]
        expected = layer.linear(torch.cat([places, moves * 5, x[row, :, 4:]], dim=-1))
        assert torch.allclose(steps[row], expected, atol=1e-6)
    assert not torch.allclose(steps[0], steps[1])


@pytest.mark.parametrize("options", [{"warp": 0.2}, {"shift": 0.2}, {"warp": 0.1, "shift": 0.1, "distort": 0.1}])
@torch.no_grad()
def test_moves_are_those_between_the_places_of_a_drawing_that_is_deformed(options: dict[str, float]) -> None:
    layer: Any = Strokes(**options).layer(5)
    layer.linear.weight.copy_(torch.eye(5))
    x = torch.tensor(Strokes().encode([[[0, 0], [1, 0], [1, 1]], [[3, 3], [2, 4]]]))[None].repeat(4, 1, 1)
    steps, _ = layer.train()(x, torch.full((4,), 5))
    places, moves = steps[..., :2], steps[..., 2:4] / 5
    torch.testing.assert_close(moves[:, 1:], places.diff(dim=1))
    assert not moves[:, 0].any()
    distances = (places - x[..., :2]).norm(dim=-1)
    assert 0.02 < float(distances.mean()) < 0.5
    assert len({round(value, 4) for value in distances[:, 0].tolist()}) == 4
    if list(options) == ["shift"]:  # strokes are moved as they are, each by itself
        inside = [1, 2, 4]
        torch.testing.assert_close(moves[:, inside], x[:, inside, 2:4])
        assert not torch.allclose(moves[:, 3], x[:, 3, 2:4])


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestFiles:
    def test_text(self) -> None:
        text = "START\n1,2,0\n3.5,-4,10\nBREAK\nBREAK\n5,6\n\n"
        assert strokes_of_text(text, "a") == [[[1, 2], [3.5, -4]], [[5, 6]]]
        with pytest.raises(DataError, match="a:2: 'x,y' is neither a point x,y nor BREAK"):
            strokes_of_text("1,2\nx,y\n", "a")
        with pytest.raises(DataError, match="a: has no points"):
            strokes_of_text("START\nBREAK\n", "a")

    def test_folders_and_archives(self, tmp_path: Path) -> None:
        for label in ("Greek/alpha", "Greek/beta", "Latin/a"):
            for drawer in ("01", "02"):
                write(tmp_path / f"data/all/{label}/7_{drawer}.txt", "1,2\n")
        write(tmp_path / "data/all/notes.md", "x")
        with collect_reports() as reading:
            read = list(drawings(tmp_path / "data"))
        assert [(example.target, drawer) for example, drawer in read][:3] == [
            ("Greek/alpha", "01"),
            ("Greek/alpha", "02"),
            ("Greek/beta", "01"),
        ]
        assert list(reading.left_out) == ["file that is no drawing (.txt)"]
        assert {example.target for example, _ in drawings(tmp_path / "data", level=-1)} == {"alpha", "beta", "a"}
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for path in sorted((tmp_path / "data").rglob("*.txt")):
                archive.write(path, path.relative_to(tmp_path).as_posix())
        packed = list(drawings(tmp_path / "data.zip"))
        assert [(e.input, e.target, drawer) for e, drawer in packed] == [(e.input, e.target, d) for e, d in read]

    def test_damaged_archives_and_empty_folders(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(b"PK no")
        with pytest.raises(DataError, match="cannot be read as a zip archive"):
            list(drawings(tmp_path / "a.zip"))
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="has no text files"):
            list(drawings(tmp_path / "empty"))

    def test_rows_of_coordinates(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "1,2,3,4,8\n5,6,9\n")
        assert [(e.input, e.target, e.id) for e in coordinates(path)] == [
            ([[[1, 2], [3, 4]]], "8", "a.csv:1"),
            ([[[5, 6]]], "9", "a.csv:2"),
        ]
        path = write(tmp_path / "b.csv", "1,2,3,4\n1,x,3\n")
        bare, bad = coordinates(path, labelled=False)
        assert (bare.input, bad.input) == ([[[1, 2], [3, 4]]], Flaw("column 2 has 'x', which is not a number"))
        with pytest.raises(DataError, match=r"b\.csv:1: has 4 columns, not pairs"):
            list(coordinates(path))

    @pytest.mark.data
    @needs_data
    def test_published_counts(self) -> None:
        counts = {}
        for source in ("omniglot", "pendigits"):
            task = strokes(source=source)  # type: ignore[arg-type]
            counts[source] = {split: len(list(task.read(split))) for split in task.splits}
        assert counts["omniglot"] == {"train": 1768, "dev": 272, "test": 680}
        assert counts["pendigits"]["test"] == 3498
        assert counts["pendigits"]["train"] + counts["pendigits"]["dev"] == 7494


def test_json_lines_and_single_drawings_are_read_for_predictions(tmp_path: Path) -> None:
    read_file = strokes(folder=tmp_path).read_file
    assert read_file is not None
    path = write(tmp_path / "a.jsonl", json.dumps({"strokes": DRAWING, "label": "x"}) + "\n")
    ((example,), (labelled,)) = read_file(path, None, False), read_file(path, None, True)
    assert (example.input, example.target, labelled.target) == (DRAWING, None, "x")
    (single,) = read_file(write(tmp_path / "one.txt", "1,2\n3,4\n"), None, False)
    assert single.input == [[[1, 2], [3, 4]]]


def test_imports_and_calls_without_torch() -> None:
    code = "import sys, seqkit_strokes; seqkit_strokes.strokes(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawings_are_upright_in_reports() -> None:
    assert Strokes().drawing([[[0, 1], [1, 2]]]) == [[(0.0, -1.0), (1.0, -2.0)]], "y grows upwards in published data"
    assert Strokes(y_axis="down").drawing([[[0, 1], [1, 2]]]) == [[(0.0, 1.0), (1.0, 2.0)]]


def test_a_run_keeps_what_the_pen_drew_of_the_examples_that_a_report_lists(tmp_path: Path) -> None:
    lines = [
        json.dumps({"strokes": [[[0, 0], [number % 5 + 1, 3]], [[2, 2]]], "label": "ab"[number % 2]})
        for number in range(60)
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "pen.yaml").write_text(
        f"tasks:\n  pen: {{use: strokes, folder: {tmp_path}, train: train.jsonl, dev: dev.jsonl, y_axis: down}}\n"
        "encoder: {use: gru, dim: 4, hidden: 4}\ntrain: {epochs: 1, batch: 32, histograms: false}\n"
    )
    result = seqkit.run(tmp_path / "pen.yaml", out=tmp_path / "run", progress=False)
    kept = kept_predictions.read(result.folder, "pen", "dev")
    assert kept is not None
    assert len(kept.drawn) == kept_predictions.LISTED
    lines_of = {json.dumps(drawn["lines"]) for drawn in kept.drawn.values()}
    assert len(lines_of) > 1
    assert all(drawn["lines"]["input"][1:] for drawn in kept.drawn.values()), "both strokes"
    page = (tmp_path / "page.html").as_posix()
    assert CliRunner().invoke(main, ["report", str(result.folder), "--out", page, "--quiet"]).exit_code == 0
    assert (tmp_path / "page.html").read_text().count('class="pen"') == 2 * kept_predictions.LISTED
    events = EventAccumulator(str(result.folder / "tb"), size_guidance={"images": 0})
    events.Reload()
    assert "pictures/pen/dev/worst drawings" in events.Tags()["images"]
