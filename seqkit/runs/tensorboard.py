"""Writes to TensorBoard: one writer, and each (tag, step) once, however often the run is resumed.

Numbers go to subfolders of `tb/`, which TensorBoard shows as runs (`seqkit.runs.board_series` says which); texts,
pictures and hyperparameters to `tb/` itself. Steps are optimiser steps. A tag that has a point at a step does not get
another.
"""

from __future__ import annotations

import html
import io
import re
import wave
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig
from torch import Tensor
from torch.utils.tensorboard import summary as _summary

from seqkit.errors import printable
from seqkit.io import atomic
from seqkit.io.redact import scrub_urls
from seqkit.metrics import lower_is_better
from seqkit.runs import event_files
from seqkit.runs.board_series import TRAIN, add_derived, series_of
from seqkit.score_names import LOSSES, baseline_of, is_of_class

summaries: Any = _summary  # its functions have no types

MAX_VALUES = 1_000_000
"""A histogram of more values than this is made from every n-th of them."""

_LAYOUT = "custom_scalars__config__"

MAX_ROWS = 200
"""A table has at most this many rows."""


class Marked(NamedTuple):
    """A cell of a table, some of whose words are printed in bold.

    Attributes:
        words: they have a space between them.
        strong: which of them are in bold.
    """

    words: Sequence[str]
    strong: Collection[int]


MANY = 100
"""Of more evaluations than this, each is written once."""

REPEATS = 6
"""An evaluation is written at this many consecutive steps, of which the last is its own.

TensorBoard draws a moving average, by default with a weight of 0.6 for what was before, and of few points that is far
from any of them. After six equal points 5 % of the way is left.
"""


class _EventFolder:
    """The event files of one run of TensorBoard, each (tag, step) in them once.

    Args:
        folder: made if it is not there.
        purge_step: points at this step or later are removed first.
        writes: whether anything is written or removed.
    """

    def __init__(self, folder: Path, purge_step: int | None, *, writes: bool) -> None:
        self.folder, self._writes = folder, writes
        self._writer: event_files.Writer | None = None
        self._purge: int | None = None
        self._duplicates = event_files.DuplicateFilter()
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            self.rewind(None if purge_step is None else purge_step - 1)

    @property
    def last_steps(self) -> Mapping[str, int]:
        """{tag: the step of its last point}."""
        return self._duplicates.last_steps

    def rewind(self, step: int | None) -> None:
        """Remove all points after `step` (None: none), before they are written again."""
        if not self._writes:
            return
        self.close()
        # A TensorBoard that watches has the old points in memory; the next file begins with a request to drop them.
        self._purge = None if step is None else step + 1

        def rewrite() -> None:
            self._duplicates = event_files.rewrite(self.folder, step)

        self._guarded(rewrite)

    def add(self, step: int, summary: Summary) -> None:
        """Write what has no point at this or a later step. A tag may have names from recipes and plugins in it."""
        if not self._writes:
            return
        for value in summary.value:
            value.tag = printable(value.tag)
        new = self._duplicates.drop_written(summary, step)
        if new is None:
            return

        def write() -> None:
            if self._writer is None:
                self._writer = event_files.Writer(self.folder, self._purge)
            self._writer.add(new, step)

        self._guarded(write)

    def flush(self) -> None:
        if self._writer is not None:
            self._guarded(self._writer.flush)
            self._guarded(lambda: atomic.sync(event_files.paths(self.folder)[-1]))
            self._guarded(lambda: atomic.sync_folder(self.folder))

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            self._guarded(writer.flush)

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            raise atomic.write_error(error, self.folder) from error


class Board:
    """The only writer of a run's `tb/`.

    Args:
        folder: the run's `tb/`. Event files in it are kept; duplicates are removed from them.
        purge_step: points at this step or later are removed first: the resumed step + 1.
        writes: False: everything is left out.

    Every method raises RunError if the disk is full.
    """

    def __init__(self, folder: Path, purge_step: int | None = None, *, writes: bool = True) -> None:
        self.folder, self._writes = folder, writes
        self._leading: dict[str, str] = {}
        self._densities: frozenset[str] = frozenset()
        self._root = _EventFolder(folder, purge_step, writes=writes)
        self._runs = {
            subfolder.name: _EventFolder(subfolder, purge_step, writes=writes)
            for subfolder in (event_files.subfolders(folder) if writes else ())
        }

    def rewind(self, step: int | None) -> None:
        """Remove all points after `step` (None: none), before they are written again."""
        for run in (self._root, *self._runs.values()):
            run.rewind(step)

    def scalars(self, step: int, values: Mapping[str, float], *, run: str | None = None) -> None:
        """One number per metric, each to its curve.

        Args:
            step: optimiser step.
            values: metric, as in metrics.jsonl -> number.
            run: the run of TensorBoard that they go to, instead of the one that the metric's split says; then without
                other units of a loss, whose cards have room for three curves.
        """
        together: dict[str, list[Summary.Value]] = {}
        named = {printable(metric): value for metric, value in values.items()}
        for metric, value in (add_derived(named, self._densities) if run is None else named).items():
            series = series_of(metric, self._leading)
            series = series if run is None else series._replace(run=run)
            points = summaries.scalar(series.tag, float(value))
            if series.run == TRAIN:  # one event for all, which takes less time and less space
                together.setdefault(series.run, []).extend(points.value)
                continue
            events = self._run(series.run)
            last = events.last_steps.get(series.tag, -1)
            is_one_of_many = step - last < step / MANY  # then smoothing does no harm
            first = step if is_one_of_many else max(step - REPEATS, last) + 1
            for repeated in range(first, step + 1):
                events.add(repeated, points)
        for name, points_of_run in together.items():
            self._run(name).add(step, Summary(value=points_of_run))

    def lead_with(self, scores: Mapping[str, str], densities: Collection[str] = ()) -> None:
        """Say how curves are grouped.

        Args:
            scores: task -> the score that comes first, beside its losses; all others are in a group below.
            densities: tasks whose loss is that of a density, which has no perplexity.
        """
        self._leading = {printable(task): score for task, score in scores.items()}
        self._densities = frozenset(map(printable, densities))

    @property
    def has_layout(self) -> bool:
        """Whether the custom charts are written, which TensorBoard reads once."""
        return _LAYOUT in self._root.last_steps

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """Markdown, credentials in URLs masked. For text from data or from a file use `source` or `table`."""
        self._root.add(step, summaries.text(tag, printable(scrub_urls(markdown))))

    def source(self, tag: str, text: str, step: int = 0) -> None:
        """Text as it is, in a fixed-width block: a recipe, a report."""
        lines = scrub_urls(text).replace("\t", "    ").splitlines()
        self.text(tag, "\n".join("    " + line for line in lines), step)

    def table(self, tag: str, header: Sequence[str], rows: Sequence[Sequence[object]], step: int = 0) -> None:
        """A table. Cells are shown as plain text, whatever they contain; long ones are shortened."""
        lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows[:MAX_ROWS])]
        self.text(tag, "\n".join("| " + " | ".join(line) + " |" for line in lines), step)

    def picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """(height, width, 3) uint8, kept with at most 256 colours, which is a third of the size."""
        stream = io.BytesIO()
        image = Image.fromarray(pixels)
        _few_colors(image).save(stream, "png")
        encoded = Summary.Image(
            height=image.height, width=image.width, colorspace=3, encoded_image_string=stream.getvalue()
        )
        self._root.add(step, Summary(value=[Summary.Value(tag=tag, image=encoded)]))

    def audio(self, tag: str, samples: np.ndarray, rate: int, step: int) -> None:
        """(N,) samples within -1 to 1, `rate` of them a second, kept with 16 bits each."""
        stream = io.BytesIO()
        with wave.open(stream, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(np.clip(np.rint(samples * 32767.0), -32768, 32767).astype("<i2").tobytes())
        sound = Summary.Audio(
            sample_rate=float(rate),
            num_channels=1,
            length_frames=len(samples),
            encoded_audio_string=stream.getvalue(),
            content_type="audio/wav",
        )
        self._root.add(step, Summary(value=[Summary.Value(tag=tag, audio=sound)]))

    def embedding(
        self, name: str, vectors: np.ndarray, header: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Vectors for the projector, in files beside those of the events. They replace what had this name.

        Args:
            name: shown in a list.
            vectors: (n, D).
            header: the names of the columns.
            rows: n of them, what is known about each vector.
        """
        stem = f"embedding-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
        lines = [header, *rows]
        table = "".join(
            "\t".join(" ".join(printable(str(cell)).split()) or "''" for cell in line) + "\n" for line in lines
        )
        config = ProjectorConfig()
        path = self.folder / "projector_config.pbtxt"
        if path.exists():
            text_format.Parse(path.read_text("utf-8"), config)
        kept = [embedding for embedding in config.embeddings if embedding.tensor_path != f"{stem}.bytes"]
        new = EmbeddingInfo(
            tensor_name=printable(name),
            tensor_path=f"{stem}.bytes",
            tensor_shape=list(vectors.shape),
            metadata_path=f"{stem}.tsv",
        )
        config = ProjectorConfig(embeddings=[*kept, new])
        try:
            atomic.write(self.folder / new.tensor_path, np.ascontiguousarray(vectors, dtype="<f4").tobytes())
            atomic.write(self.folder / new.metadata_path, table)
            atomic.write(path, text_format.MessageToString(config))
        except OSError as error:
            raise atomic.write_error(error, self.folder) from error

    def last_step(self, start: str) -> int:
        """The last step of any text, picture or sound whose tag begins so; -1 if there is none."""
        start = printable(start)
        return max((step for tag, step in self._root.last_steps.items() if tag.startswith(start)), default=-1)

    def histograms(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """A histogram of each tensor; values that are not finite are left out."""
        for tag, tensor in tensors.items():
            values = _sample(tensor)
            if values.size:
                self._root.add(step, summaries.histogram(tag, values, _BINS))

    def layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """The custom charts: category -> title of a chart -> regular expressions of the tags on it."""
        layout = {
            printable(category): {
                printable(title): ["Multiline", [printable(tag) for tag in tags]] for title, tags in titles.items()
            }
            for category, titles in charts.items()
        }
        self._root.add(0, summaries.custom_scalars(layout))

    def hparams(self, values: Mapping[str, Any]) -> None:
        """The run's hyperparameters, for the table that compares runs. Its scores are those of the runs' curves.

        No list of columns is written: without one, TensorBoard itself puts the options that differ first.

        Args:
            values: flat, dotted key -> value; other types than numbers, booleans and text are written as text.
        """
        _, started, _ = summaries.hparams({printable(key): _hparam(value) for key, value in values.items()}, {})
        self._root.add(0, started)

    def finish(self) -> None:
        """Say in the table of runs that this one has ended."""
        _, _, ended = summaries.hparams({}, {})
        self._root.add(0, ended)

    def flush(self) -> None:
        """Make everything durable: before a checkpoint is saved, which must not be newer than the points."""
        for run in (self._root, *self._runs.values()):
            run.flush()

    def close(self) -> None:
        """Flush and close the files. A later write begins new ones."""
        for run in (self._root, *self._runs.values()):
            run.close()

    def _run(self, name: str) -> _EventFolder:
        if name not in self._runs:
            self._runs[name] = _EventFolder(self.folder / name, None, writes=self._writes)
        return self._runs[name]


def chart_layout(
    losses: Mapping[str, str],
    leading: Mapping[str, str] | None = None,
    scores: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, dict[str, list[str]]]:
    """The custom charts for a second look: a category per task, and one for training itself.

    A task has charts of its loss, of the score that chooses, of all scores that are shares, and of each other score.

    Args:
        losses: task -> the name of its loss (`nats`, `loss`).
        leading: task -> the score that chooses its checkpoint.
        scores: task -> its scores of the first evaluation.
    """
    charts: dict[str, dict[str, list[str]]] = {}
    for task, loss in losses.items():
        of_task = (scores or {}).get(task, {})
        chosen = (leading or {}).get(task, "")
        charts[task] = {f"{loss}: train and dev": [_curve(task, loss)]}
        if chosen in of_task and chosen != loss:
            charts[task][chosen] = [_curve(task, chosen)]
        names = [name for name in of_task if name not in (*LOSSES, chosen) and not is_of_class(name)]
        names = [name for name in names if baseline_of(name) is None]
        if shares := [name for name in names if _is_share(name, of_task[name])]:
            charts[task]["shares"] = [_curve(task, name) for name in shares]
        charts[task] |= {name: [_curve(task, name)] for name in names if name not in shares}
    charts["training"] = {
        name: [f"^training/{re.escape(name)}(/|$)"]
        for name in ("learning rate", "gradient norm before clipping", "share of padding", "epoch")
    }
    charts["training"]["tokens per second"] = ["^time/tokens_per_s$"]
    return charts


def _curve(task: str, score: str) -> str:
    return f"^(learning|more scores)/{re.escape(task)}/{re.escape(score)}$"


def _is_share(score: str, value: float) -> bool:
    """Whether it is a score such as accuracy and F1, at most 1 and better if it is more: these have one axis."""
    return not lower_is_better(score) and -1.0 <= value <= 1.0


def _sample(tensor: Tensor) -> np.ndarray:
    """At most MAX_VALUES finite values of a tensor, (n,) float64, clamped to the outermost edges of the bins."""
    flat = tensor.detach().reshape(-1)
    flat = flat[:: -(-flat.numel() // MAX_VALUES) or 1].to("cpu", torch.float64)
    return np.asarray(flat[torch.isfinite(flat)].clamp(_BINS[0], _BINS[-1]).numpy())


def _few_colors(image: Image.Image) -> Image.Image:
    """The picture with a palette: by an octree, which takes a fifth of the time of other ways; white stays white."""
    with_palette = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette = np.array(with_palette.getpalette(), dtype=np.uint8).reshape(-1, 3)
    palette[(palette >= 252).all(axis=1)] = 255
    with_palette.putpalette(palette.tobytes())
    return with_palette


def _hparam(value: object) -> float | str:
    """A value as torch's writer takes it: a boolean as a word, because the writer would make a number of it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return str(value).lower() if isinstance(value, bool) else printable(scrub_urls(str(value)))


def _cell(value: object, limit: int = 200) -> str:
    """A value as text without any meaning in Markdown or HTML."""
    if isinstance(value, Marked):
        words, space = [], 2 * limit
        for number, word in enumerate(value.words):
            space -= len(word) + 1
            if space < 0:
                words.append("…")
                break
            words.append(f"<strong>{_cell(word)}</strong>" if number in value.strong else _cell(word))
        return " ".join(words)
    text = " ".join(str(value).split())
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return re.sub(r"[\\`*_\[\]|~]", lambda match: f"&#{ord(match.group())};", html.escape(text))


def _bins() -> list[float]:
    """The edges of TensorBoard's own histograms: zero, and from 1e-12 up by tenths with both signs."""
    edges = [1e-12]
    while edges[-1] < 1e20:
        edges.append(edges[-1] * 1.1)
    return [-edge for edge in reversed(edges)] + [0.0] + edges


_BINS = _bins()
