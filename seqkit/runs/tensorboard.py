"""What goes to TensorBoard: one writer, one folder, and each (tag, step) once, however often the run was resumed.

Tags are those of metrics.jsonl: `<task>/train/nats`, `<task>/dev/accuracy`, `lr`, `grad/norm`, `time/tokens_per_s`,
`data/padding`. Steps are optimiser steps. A step of a tag that is there already is not written again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn
from torch.utils.tensorboard import summary as _summary

from seqkit.io import atomic
from seqkit.io.redact import scrub_urls
from seqkit.optim.gradients import gradient_values
from seqkit.runs import event_files, plots

summaries: Any = _summary  # its functions carry no types

MOST_VALUES = 1_000_000
"""A histogram of more values than this is taken from every n-th of them."""

MOST_ROWS = 200
"""A table on the board has at most this many rows."""


class Board:
    """The one writer of a run's `tb/`.

    Args:
        folder: the run's `tb/`. Event files in it are kept; each (tag, step) in them occurs once.
        purge_step: what was written at this step or later is taken out of them first: the resumed step + 1.

    Every method raises RunError if the disk is full.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self.folder = folder
        self._writer: event_files.Writer | None = None
        self._purge: int | None = None
        self._once = event_files.Once()
        folder.mkdir(parents=True, exist_ok=True)
        self.rewind(None if purge_step is None else purge_step - 1)

    def rewind(self, step: int | None) -> None:
        """Forget everything after `step` (None: nothing), before it is written again."""
        self._close()
        # A TensorBoard that watches has the old points in its memory; the next file begins by telling it to drop them.
        self._purge = None if step is None else step + 1

        def again() -> None:
            self._once = event_files.rewrite(self.folder, step)

        self._guarded(again)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One number a tag."""
        for tag, value in values.items():
            self._add(step, summaries.scalar(tag, float(value)))

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """Markdown, credentials in URLs masked. For text from data or from a file use `source` or `table`."""
        self._add(step, summaries.text(tag, scrub_urls(markdown)))

    def source(self, tag: str, text: str, step: int = 0) -> None:
        """Text as it is, line by line, in a fixed-width block: a recipe, a report."""
        lines = scrub_urls(text).replace("\t", "    ").splitlines()
        self.text(tag, "\n".join("    " + line for line in lines), step)

    def table(self, tag: str, header: Sequence[str], rows: Sequence[Sequence[object]], step: int = 0) -> None:
        """A table; cells are plain text whatever they contain, and long ones are cut."""
        lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows[:MOST_ROWS])]
        self.text(tag, "\n".join("| " + " | ".join(line) + " |" for line in lines), step)

    def picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """(height, width, 3) uint8."""
        self._add(step, summaries.image(tag, pixels, dataformats="HWC"))

    def confusion(self, tag: str, labels: Sequence[str], counts: np.ndarray, step: int) -> None:
        """(C,) labels and (C, C) counts, rows true, columns predicted: see `seqkit.runs.plots.confusion`."""
        self.picture(tag, plots.confusion(labels, counts, title=f"{tag}, step {step:,}"), step)
        numbered = [(n, label) for n, label in enumerate(labels) if plots.drawable(label, n) == f"#{n}" != label]
        if numbered:
            self.table(f"{tag}/classes", ["class", "label"], [(f"#{n}", label) for n, label in numbered])

    def histograms(self, step: int, tensors: nn.Module | Mapping[str, Tensor]) -> None:
        """A histogram a tensor. A module stands for its weights and their gradients: `weights/...`, `gradients/...`."""
        named = weights_and_gradients(tensors) if isinstance(tensors, nn.Module) else tensors
        for tag, tensor in named.items():
            values = _sample(tensor)
            if values.size:
                self._add(step, summaries.histogram(tag, values, _BINS))

    def layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """The first screen: category -> title of a chart -> patterns (regular expressions) of the tags on it."""
        drawn = {
            category: {title: ["Multiline", list(tags)] for title, tags in titles.items()}
            for category, titles in charts.items()
        }
        self._add(0, summaries.custom_scalars(drawn))

    def hparams(self, values: Mapping[str, Any], metrics: Mapping[str, float], step: int | None = None) -> None:
        """The run's hyperparameters and how it ended, for the table that compares runs; in this same folder.

        Args:
            values: flat, dotted key -> value; what is not a number, boolean or text is written as text.
            metrics: flat; written as `hparam/<name>`.
            step: of the metrics; None: the last step that anything was written at.
        """
        step = max(self._once.last.values(), default=0) if step is None else step
        plain = {key: _hparam(value) for key, value in values.items()}
        finals = {f"hparam/{name}": float(value) for name, value in metrics.items()}
        for summary in summaries.hparams(plain, finals):
            self._add(step, summary)
        self.scalars(step, finals)

    def flush(self) -> None:
        """Make everything durable: before a checkpoint, which must not outlive the points that led to it."""
        if self._writer is not None:
            self._guarded(self._writer.flush)
            self._guarded(lambda: atomic.sync(event_files.paths(self.folder)[-1]))
            self._guarded(lambda: atomic.sync_folder(self.folder))

    def close(self) -> None:
        """Flush, and be done with the file. A later write begins a new one."""
        self._close()

    def _add(self, step: int, summary: Summary) -> None:
        fresh = self._once.new(summary, step)
        if fresh is None:
            return

        def write() -> None:
            if self._writer is None:
                self._writer = event_files.Writer(self.folder, self._purge)
            self._writer.add(fresh, step)

        self._guarded(write)

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            self._guarded(writer.flush)

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            raise atomic.write_error(error, self.folder) from error


def first_screen(losses: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """The charts that answer "does it learn?": a category a task, and one for the training itself.

    Args:
        losses: task -> what its loss is called (`nats`, `loss`).
    """
    charts: dict[str, dict[str, list[str]]] = {}
    for task, loss in losses.items():
        name, lost = re.escape(task), re.escape(loss)
        charts[task] = {
            f"{loss}: train and dev": [f"^{name}/(train|dev)/{lost}$"],
            "scores on dev": [f"^{name}/dev/(?!{lost}$)"],
        }
    charts["training"] = {
        "learning rate": ["^lr(/|$)"],
        "gradient norm before clipping": ["^grad/norm$"],
        "tokens per second": ["^time/tokens_per_s$"],
        "share of padding": ["^data/padding$"],
    }
    return charts


def weights_and_gradients(module: nn.Module) -> dict[str, Tensor]:
    """`weights/<name>` and, where there is one, `gradients/<name>` of each parameter, dots as slashes."""
    named: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        tag = name.replace(".", "/")
        named[f"weights/{tag}"] = parameter.detach()
        if parameter.grad is not None:
            named[f"gradients/{tag}"] = gradient_values(parameter.grad.detach())
    return named


def _sample(tensor: Tensor) -> np.ndarray:
    """At most MOST_VALUES finite values of a tensor, float64 on the CPU; beyond the last edge they count as on it."""
    flat = tensor.detach().reshape(-1)
    flat = flat[:: -(-flat.numel() // MOST_VALUES) or 1].to("cpu", torch.float64)
    return np.asarray(flat[torch.isfinite(flat)].clamp(_BINS[0], _BINS[-1]).numpy())


def _hparam(value: object) -> float | str:
    """torch's writer takes truth for a number; as a word it is read as what it is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return str(value).lower() if isinstance(value, bool) else scrub_urls(str(value))


def _cell(value: object, most: int = 200) -> str:
    """A value as table text that neither Markdown nor HTML reads anything into."""
    text = " ".join(str(value).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return re.sub(r"[\\`*_\[\]|~]", lambda found: f"&#{ord(found.group())};", html.escape(text))


def _bins() -> list[float]:
    """Edges of TensorBoard's own histograms: from 1e-12 up by tenths, both signs, and zero."""
    edges = [1e-12]
    while edges[-1] < 1e20:
        edges.append(edges[-1] * 1.1)
    return [-edge for edge in reversed(edges)] + [0.0] + edges


_BINS = _bins()
