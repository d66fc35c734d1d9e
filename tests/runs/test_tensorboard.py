"""TensorBoard: one writer, everything readable by TensorBoard's own readers, each (tag, step) once."""

from __future__ import annotations

import html
import io
import itertools
import math
import os
import re
import warnings
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from torch import nn

from seqkit.analysis import Confusion
from seqkit.errors import RunError
from seqkit.runs import event_files, plots
from seqkit.runs.board_series import series_of
from seqkit.runs.tensorboard import Board, Marked, chart_layout
from seqkit.training.layer_statistics import weights_and_gradients


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0, "histograms": 0})
    events.Reload()
    return events


def scalars(folder: Path, tag: str, run: str = "train") -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder / run).Scalars(tag)]


def stored(folder: Path) -> list[tuple[str, str, int]]:
    """Every (run, tag, step) in the files with duplicates, as a reader sees them that does not purge."""
    return [
        (run.name, value.tag, event.step)
        for run in (folder, *event_files.subfolders(folder))
        for event in event_files.read(*event_files.paths(run))
        for value in event.summary.value
    ]


def page_of(markdown: str) -> str:
    """Markdown as HTML, as TensorBoard shows it."""
    with warnings.catch_warnings():
        # The HTML cleaner that TensorBoard carries warns about a module of its own when it is first imported.
        warnings.filterwarnings("ignore", message="html5lib's sanitizer", category=DeprecationWarning)
        from tensorboard.plugin_util import markdown_to_safe_html

    return str(markdown_to_safe_html(markdown))


def text(folder: Path, tag: str) -> str:
    (event,) = read(folder).Tensors(f"{tag}/text_summary")
    return str(event.tensor_proto.string_val[0].decode())


# ---- what is written


def test_train_and_dev_of_a_score_are_two_runs_of_one_tag(tmp_path: Path) -> None:
    board = Board(tmp_path / "tb")
    for step in (1, 2, 500):
        board.scalars(step, {"charlm/train/loss": 1 / step, "lr": 0.5, "time/tokens_per_s": 9.0, "odd/thing": 1.0})
    board.scalars(500, {"charlm/dev/loss": float("nan"), "ner/dev/span_f1.place": 0.5})
    board.close()
    assert scalars(board.folder, "learning/charlm/loss") == [(1, 1.0), (2, 0.5), (500, pytest.approx(0.002))]
    assert scalars(board.folder, "training/learning rate") == [(1, 0.5), (2, 0.5), (500, 0.5)]
    assert len(scalars(board.folder, "time/tokens_per_s")) == len(scalars(board.folder, "training/odd thing")) == 3
    assert np.isnan([value for _, value in scalars(board.folder, "learning/charlm/loss", "dev")]).all()
    assert {value for _, value in scalars(board.folder, "per class/ner/span_f1.place", "dev")} == {0.5}


def test_a_baseline_is_a_run_on_the_chart_of_its_score(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.lead_with({"t": "mase"})
    board.scalars(10, {"t/dev/mase": 0.8, "t/dev/mase.seasonal_naive": 0.9, "t/dev/coverage.0.9": 0.85})
    board.close()
    assert scalars(tmp_path, "learning/t/mase", "dev")[-1] == (10, pytest.approx(0.8))
    assert scalars(tmp_path, "learning/t/mase", "dev seasonal_naive")[-1] == (10, pytest.approx(0.9))
    assert scalars(tmp_path, "more scores/t/coverage.0.9", "dev")[-1] == (10, pytest.approx(0.85))


def test_the_nats_of_a_density_have_no_perplexity(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.lead_with({}, ["pen"])
    board.scalars(10, {"pen/dev/nats": -0.5, "text/dev/nats": 0.5})
    board.close()
    tags = read(tmp_path / "dev").Tags()["scalars"]
    assert "learning/text/perplexity" in tags
    assert [tag for tag in tags if "/pen/" in tag] == ["learning/pen/nats"]


def test_a_loss_in_nats_is_shown_in_bits_and_as_perplexity_too(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.scalars(1, {"charlm/train/nats": math.log(4), "other/train/nats": 1e6})
    board.close()
    assert scalars(tmp_path, "learning/charlm/bits") == [(1, pytest.approx(2.0))]
    assert scalars(tmp_path, "learning/charlm/perplexity") == [(1, pytest.approx(4.0))]
    assert scalars(tmp_path, "learning/other/perplexity") == [(1, math.inf)]


@pytest.mark.parametrize("steps", [[10, 20, 30, 40], [1, 2, 3, 4], [3, 9, 10, 400]])
def test_the_smoothed_curve_of_few_evaluations_stays_near_them(steps: list[int], tmp_path: Path) -> None:
    board, values = Board(tmp_path), [0.1, 0.5, 0.4, 0.9]
    for step, value in zip(steps, values, strict=True):
        board.scalars(step, {"t/dev/accuracy": value})
    board.close()
    points = scalars(tmp_path, "learning/t/accuracy", "dev")
    assert [step for step, _ in points] == sorted({step for step, _ in points})
    assert [dict(points)[step] for step in steps] == [pytest.approx(value) for value in values]
    smoothed, weight = 0.0, 0.0
    shown: dict[int, float] = {}
    for step, value in points:  # the moving average as TensorBoard draws it
        smoothed, weight = 0.6 * smoothed + 0.4 * value, 0.6 * weight + 0.4
        shown[step] = smoothed / weight
    gaps = np.diff([0, *steps])
    for step, value, gap in zip(steps, values, gaps, strict=True):
        if gap > 6:
            assert abs(shown[step] - value) < 0.03


def test_flush_shows_it_to_a_reader_at_once(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.flush()  # nothing yet, and no empty file either
    assert event_files.paths(tmp_path) == event_files.subfolders(tmp_path) == []
    board.scalars(1, {"x": 1.0})
    board.flush()
    assert scalars(tmp_path, "training/x") == [(1, 1.0)]
    board.close()


def test_the_chart_layout_puts_train_and_dev_on_one_chart(tmp_path: Path) -> None:
    board = Board(tmp_path)
    scores = {"ner.de": {"loss": 1.0, "loss_x": 3.0, "span_f1": 0.5, "exact": 0.2, "span_f1.place": 0.5, "mase": 0.9}}
    scores["ner.de"]["mase.seasonal_naive"] = 1.1
    assert not board.has_layout
    board.layout(chart_layout({"ner.de": "loss", "charlm": "nats"}, {"ner.de": "span_f1"}, scores))
    assert board.has_layout
    board.close()
    (event,) = read(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {
        (category.title, chart.title): list(chart.multiline.tag)
        for category in layout.category
        for chart in category.chart
    }

    def shown(chart: tuple[str, str]) -> set[str]:
        tasks, names = ("ner.de", "nerxde", "charlm"), ("loss", "nats", "span_f1", "loss_x")
        metrics = ["/".join(parts) for parts in itertools.product(tasks, ("train", "dev", "test"), names)]
        metrics += ["lr", "lr/group0", "lrx", "grad/norm", "time/tokens_per_s", "data/padding", "epoch"]
        tags = {series_of(metric).tag for metric in metrics}
        return {tag for tag in tags if any(re.match(pattern, tag) for pattern in charts[chart])}

    assert shown(("ner.de", "loss: train and dev")) == {"learning/ner.de/loss"}
    assert shown(("charlm", "nats: train and dev")) == {"learning/charlm/nats"}
    assert shown(("ner.de", "span_f1")) == {"learning/ner.de/span_f1"}
    assert re.match(charts["ner.de", "shares"][0], "more scores/ner.de/exact") is not None
    titles = [title for task, title in charts if task == "ner.de"]
    assert titles == ["loss: train and dev", "span_f1", "shares", "loss_x", "mase"], "one axis for one unit"
    assert shown(("training", "learning rate")) == {"training/learning rate"}
    assert shown(("training", "gradient norm before clipping")) == {"training/gradient norm before clipping"}
    assert shown(("training", "tokens per second")) == {"time/tokens_per_s"}
    assert shown(("training", "share of padding")) == {"training/share of padding"}
    assert shown(("training", "epoch")) == {"training/epoch"}
    assert [category.title for category in layout.category] == ["ner.de", "charlm", "training"]


HOSTILE = [
    "a|b",
    "<script>alert(1)</script>",
    "*bold* _it_ `code` ~~x~~",
    "[link](http://x)",
    "![i](http://x/y.png)",
    "http://example.org/x a@b.org",
    "# title",
    "back\\slash \\|",
    "&amp; &lt;",
    "1. item",
    "--- | ---",
]


@pytest.mark.parametrize("cell", HOSTILE)
def test_a_table_shows_any_text_as_it_is(cell: str, tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.table("samples", ["id", "text", "score"], [["train.tsv:17", cell, 0.5], ["x", "next", 1]])
    board.close()
    page = page_of(text(tmp_path, "samples"))
    assert page.count("<tr>") == 3, "a header and two rows"
    shown = re.findall(r"<t[dh]>(.*?)</t[dh]>", page)
    assert len(shown) == 9
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|td|th)>)", page), page
    assert html.unescape(shown[4]) == cell
    assert shown[3:6:2] == ["train.tsv:17", "0.5"]


def test_a_table_is_bounded(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.table("t", ["x"], [["line\nbreak" + "y" * 1000]] * 5000)
    board.close()
    lines = text(tmp_path, "t").splitlines()
    assert len(lines) == 202
    assert all(len(line) < 300 for line in lines)


def test_source_is_shown_line_by_line_and_without_credentials(tmp_path: Path) -> None:
    recipe = "# https://user:hunter2@host/x\ntasks:\n\tx: {use: a}  # *not bold* <b>\n"
    board = Board(tmp_path)
    board.source("recipe", recipe)
    board.close()
    page = page_of(text(tmp_path, "recipe"))
    assert "<pre><code>" in page
    assert "    x: {use: a}  # *not bold* &lt;b&gt;" in page
    assert "hunter2" not in page


def test_a_picture_keeps_its_colours_and_is_small(tmp_path: Path) -> None:
    pixels = plots.draw_confusion(Confusion(("neg", "pos"), np.array([[9, 1], [0, 5]]), "examples"), shares=True)
    board = Board(tmp_path)
    board.picture("pictures/x", pixels, 7)
    board.close()
    (event,) = read(tmp_path).Images("pictures/x")
    assert event.step == 7
    assert len(event.encoded_image_string) < 12_000
    picture = Image.open(io.BytesIO(event.encoded_image_string))
    assert picture.size == (event.width, event.height) == (pixels.shape[1], pixels.shape[0])
    differences = np.abs(np.asarray(picture.convert("RGB")).astype(int) - pixels)
    assert differences.mean() < 1
    assert np.quantile(differences, 0.99) <= 12


def test_a_sound_can_be_played(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.audio("clip", np.array([0.0, 0.5, -1.0, 1.5]), 8000, 3)
    board.close()
    (event,) = read(tmp_path).Audio("clip")
    with wave.open(io.BytesIO(event.encoded_audio_string)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        samples = np.frombuffer(file.readframes(9), dtype="<i2")
    assert samples.tolist() == [0, 16384, -32767, 32767]
    assert (event.step, event.length_frames, event.content_type) == (3, 4, "audio/wav")


def test_the_last_step_is_that_of_any_tag_that_begins_so(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.last_step("a/") == -1
    board.picture("a/x", np.zeros((2, 2, 3), dtype=np.uint8), 3)
    board.text("a/y", "text", 5)
    board.text("b/y", "text", 9)
    assert board.last_step("a/") == 5
    board.rewind(4)
    assert board.last_step("a/") == 3
    assert Board(tmp_path, purge_step=4).last_step("a/") == 3


def test_marked_words_are_bold_and_nothing_else_is(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.table("samples", ["text"], [[Marked(["*a*", "<b>", "c|d"], {1})], [Marked(["x" * 90] * 9, ())]])
    board.close()
    page = page_of(text(tmp_path, "samples"))
    assert html.unescape(re.findall(r"<td>(.*?)</td>", page)[0]) == "*a* <strong><b></strong> c|d"
    assert page.count("<strong>") == 1
    assert "…" in page


def test_histograms_of_weights_and_gradients(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 10), nn.Linear(10, 1))
    board = Board(tmp_path)
    board.histograms(1, weights_and_gradients(module))
    module(torch.randn(4, 20)).sum().backward()
    module[1].bias.grad = None
    board.histograms(2, weights_and_gradients(module))
    board.close()
    events = read(tmp_path)
    tags = set(events.Tags()["histograms"])
    assert tags == {f"weights/{n}/{p}" for n in "01" for p in ("weight", "bias")} | {
        "gradients/0/weight",
        "gradients/0/bias",
        "gradients/1/weight",
    }
    first = events.Histograms("weights/0/weight")[0].histogram_value
    assert first.num == 200
    assert first.sum == pytest.approx(module[0].weight.sum().item(), rel=1e-5)
    assert [event.step for event in events.Histograms("weights/0/weight")] == [1, 2]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([1.0, float("nan"), float("inf"), 2.0]),
        torch.randn(5).bfloat16(),
        torch.zeros(3),
        torch.tensor(2.0),
        torch.arange(3),
        torch.full((4,), 1e-30),
        torch.tensor([-1e30, 1e30]),
    ],
)
def test_a_histogram_takes_any_numbers(tensor: torch.Tensor, tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.histograms(1, {"x": tensor, "empty": torch.zeros(0), "nothing": torch.tensor([float("nan")])})
    board.close()
    (event,) = read(tmp_path).Histograms("x")
    assert event.histogram_value.num == int(torch.isfinite(tensor).sum())
    assert read(tmp_path).Tags()["histograms"] == ["x"]


def test_a_histogram_of_very_many_values_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqkit.runs.tensorboard.MAX_VALUES", 100)
    board = Board(tmp_path)
    board.histograms(1, {"x": torch.arange(1001.0)})
    board.close()
    (event,) = read(tmp_path).Histograms("x")
    assert 90 <= event.histogram_value.num <= 100
    assert event.histogram_value.max > 950


def test_hyperparameters_are_one_row_with_the_scores_of_the_curves(tmp_path: Path) -> None:
    board = Board(tmp_path)
    values = {"train.lr": 1e-3, "encoder.use": "lstm", "encoder.layers": 2, "bidirectional": True, "clip": None}
    board.hparams(values)
    board.scalars(30, {"s/dev/accuracy": 0.9})
    board.finish()
    board.close()
    events = read(tmp_path)
    started = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    info = plugin_data_pb2.HParamsPluginData.FromString(started).session_start_info.hparams
    assert info["train.lr"].number_value == 1e-3
    assert info["encoder.use"].string_value == "lstm"
    assert info["bidirectional"].string_value == "true"
    assert info["clip"].string_value == "None"
    assert events.SummaryMetadata("_hparams_/session_end_info")
    assert events.Tags()["scalars"] == [], "scores are not written a second time"
    with pytest.raises(KeyError):  # a list of columns would keep TensorBoard from showing first what differs
        events.SummaryMetadata("_hparams_/experiment")


# ---- each (tag, step) once


def log(board: Board, step: int) -> None:
    """What a loop writes at a step: a function of the step alone, as in a run that resumes exactly."""
    board.scalars(step, {"t/train/loss": 1 / step, "lr": step / 100})
    if step % 10 == 0:
        board.scalars(step, {"t/dev/loss": 2 / step})
        board.table("samples", ["x"], [[step]], step)
        board.histograms(step, {"w": torch.full((3,), float(step))})


def begin(board: Board) -> None:
    board.source("recipe", "seed: 1")
    board.hparams({"a": 1})
    board.layout(chart_layout({"t": "loss"}))


def content(folder: Path) -> list[tuple[str, str, int, bytes]]:
    return sorted(
        ("" if run == folder else run.name, value.tag, event.step, value.SerializeToString(deterministic=True))
        for run in (folder, *event_files.subfolders(folder))
        for event in event_files.read(*event_files.paths(run))
        for value in event.summary.value
    )


def test_twenty_crashes_leave_what_one_clean_run_leaves(tmp_path: Path) -> None:
    clean = Board(tmp_path / "clean")
    begin(clean)
    for step in range(1, 101):
        log(clean, step)
    clean.finish()
    clean.close()

    folder, saved, rng = tmp_path / "killed", 0, np.random.default_rng(0)
    for crash in range(20):
        board = Board(folder, purge_step=saved + 1 if crash else None)
        begin(board)
        reached = min(99, saved + int(rng.integers(1, 15)))
        for step in range(saved + 1, reached + 1):
            log(board, step)
        board.flush()
        # Killed: the writer does not close its files, and their last records are incomplete.
        for run in (folder, *event_files.subfolders(folder)):
            with event_files.paths(run)[-1].open("ab") as stream:
                stream.write(b"\x18\x00\x00\x00\x00\x00\x00\x00\xa3\x7f\x4b\x22\x09" if crash % 2 else b"\x18")
        board.close()
        saved = max(saved, reached - int(rng.integers(0, 10)))
    board = Board(folder, purge_step=saved + 1)
    for step in range(saved + 1, 101):
        log(board, step)
    board.finish()
    board.close()
    assert len(stored(folder)) == len(set(stored(folder)))
    ours, theirs = content(folder), content(folder.parent / "clean")
    timed = "_hparams_"  # these may carry a time
    assert [row for row in ours if timed not in row[1]] == [row for row in theirs if timed not in row[1]]
    assert [row[:3] for row in ours] == [row[:3] for row in theirs]
    for run in (folder, *event_files.subfolders(folder)):
        files = [path for path in run.iterdir() if path.is_file()]
        assert sorted(files) == event_files.paths(run), "no temporary file is left"


def test_a_step_that_is_written_is_not_written_again(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.scalars(5, {"x": 1.0})
    board.scalars(5, {"x": 2.0, "y": 3.0})
    board.close()
    again = Board(tmp_path)
    again.scalars(5, {"x": 4.0})
    again.scalars(6, {"x": 5.0})
    again.close()
    assert scalars(tmp_path, "training/x") == [(5, 1.0), (6, 5.0)]
    assert scalars(tmp_path, "training/y") == [(5, 3.0)]


def test_a_board_can_go_back_while_it_is_open(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for step in (1, 2, 3):
        board.scalars(step, {"x": float(step)})
    board.rewind(1)
    board.scalars(2, {"x": 20.0})
    board.close()
    assert scalars(tmp_path, "training/x") == [(1, 1.0), (2, 20.0)]


def test_a_tensorboard_that_watches_sees_no_duplicates(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for step in (1, 2, 3):
        board.scalars(step, {"x": float(step)})
    board.flush()
    watching = read(tmp_path / "train")
    assert [event.step for event in watching.Scalars("training/x")] == [1, 2, 3]
    board.rewind(2)
    board.scalars(3, {"x": 30.0})
    board.flush()
    watching.Reload()
    assert [(event.step, event.value) for event in watching.Scalars("training/x")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    board.close()


# ---- the disk


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path)
    board.scalars(1, {"x": 1.0})
    board.close()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"disk full: have .* in "):
        Board(tmp_path)
    monkeypatch.undo()
    assert scalars(tmp_path, "training/x") == [(1, 1.0)]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
