"""The pictures of a run on TensorBoard, and when they are drawn.

Those of dev are drawn at evaluations that are the best so far, each at four times the step of the one before or later,
so that there are few however long a run is; and once for the best checkpoint, on dev and on test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqkit import analysis
from seqkit.data.task_data import TaskData
from seqkit.fields import Tokens, Words
from seqkit.fields.vocabulary import SPECIALS
from seqkit.fields.words import FIRST_WORD
from seqkit.inference.evaluate import DecodedInputs, EvaluationResult
from seqkit.inference.kept_predictions import beside_numbers
from seqkit.interfaces import Head
from seqkit.metrics import score_name
from seqkit.model import Model
from seqkit.runs import plots
from seqkit.runs.canvas import Axis
from seqkit.runs.tensorboard import Board
from seqkit.types import Drawing, Field, ScoredExamples

DRAWINGS = 6
"""Inputs for which a model draws."""
SENTENCES = 3
"""Examples with a map of attention."""
MAP_SYMBOLS = 40
"""Most symbols of an output that are shown."""
FORECASTS = 3
"""Examples whose numbers are drawn."""
CLIPS = 3
"""Clips that can be heard and seen."""
CLIP_SECONDS = 8.0
"""Of a longer clip the beginning is kept."""
VECTORS = 10_000
"""Symbols whose vectors are written for the projector, the most frequent ones."""
_COUNTED_AT_ONCE = 1 << 22
"""Symbols that are counted at a time."""
MAP_STEPS = 60
"""Attention to more input steps than this cannot be read."""


def show_lengths(board: Board, data: TaskData) -> None:
    """How long the inputs of train are, and where they are cut; nothing where all are equally long."""
    stored = data.splits["train"]
    if not len(stored) or data.task.window is not None or stored.x.offsets is None:
        return
    report = stored.report
    lengths, cut = input_lengths(data, "train"), report.cut_examples
    if np.unique(lengths).size < 2 and not cut:
        return
    histogram = analysis.length_histogram(lengths, report.limit if cut else None, longer=cut)
    title = f"{data.name}, train: lengths"
    board.picture(
        f"pictures/{data.name}/train/lengths", plots.draw_lengths(histogram, unit=unit_of(data), title=title), 0
    )


def input_lengths(data: TaskData, split: str) -> NDArray[np.int64]:
    """(n,) steps of each example's input; those of its windows are added up."""
    stored = data.splits[split]
    return np.bincount(np.asarray(stored.origin), weights=stored.x.lengths).astype(np.int64)


def unit_of(data: TaskData) -> str:
    """What a step of the input is called."""
    return data.input.unit


def draw_result(board: Board, step: int, data: TaskData, split: str, result: EvaluationResult) -> None:
    """Confusion, precision-recall and ROC curves, reliability and score by length, as far as the predictions allow."""
    predictions, targets = result.predictions, result.targets
    if not predictions:
        return
    name, group = f"{data.name}, {split}, step {step:,}", f"pictures/{data.name}/{split}"
    labels = None if data.target.ragged else getattr(data.target, "labels", None)
    matrix = analysis.find_confusion(predictions, targets, labels)
    if matrix is not None and matrix.counts.any():
        for is_share, kind in ((True, "percent"), (False, "counts")):
            board.picture(f"{group}/confusion, {kind}", plots.draw_confusion(matrix, shares=is_share, title=name), step)
    for is_roc, kind in ((False, "precision and recall"), (True, "ROC")):
        find = analysis.roc_curves if is_roc else analysis.precision_recall_curves
        if curves := find(predictions, targets):
            total = analysis.count_curves(predictions, targets)
            which = "" if total == len(curves) else f", {len(curves)} of {total} classes"
            title = f"{name}: {kind}{which}"
            board.picture(f"{group}/{kind}", plots.draw_curves(curves, roc=is_roc, title=title), step)
    if (reliability := analysis.calibration(predictions, targets)) is not None:
        board.picture(f"{group}/reliability", plots.draw_calibration(reliability, title=f"{name}: reliability"), step)
    _draw_score_by_length(board, f"{group}/score by length", step, data, split, result, name)
    _draw_pen_inputs(board, f"{group}/worst drawings", step, data, split, result, name)
    _draw_forecasts(board, f"{group}/forecasts", step, data, split, result, name)


def _draw_forecasts(
    board: Board, tag: str, step: int, data: TaskData, split: str, result: EvaluationResult, name: str
) -> None:
    """Forecasts, or numbers at each step, of some examples, which are the same at each evaluation."""
    predictions, targets = result.predictions, result.targets
    numbers = analysis.examples_spread_evenly(predictions, targets, FORECASTS)
    rows = np.unique(np.asarray(data.splits[split].origin), return_index=True)[1]
    forecasts, interval = [], ""
    for place, number in enumerate(numbers):
        beside: Mapping[str, Any] = beside_numbers(data, split, int(rows[number]), predictions[number])
        true = _channels(targets[number])
        channel = place % true.shape[1]
        history, low, high = (
            _channels(beside[part])[:, channel] if part in beside else np.zeros(0)
            for part in ("history", "low", "high")
        )
        predicted = _channels(predictions[number].value)[:, channel]
        of_channel = f", channel {channel + 1} of {true.shape[1]}" if true.shape[1] > 1 else ""
        shown = result.ids[number] + of_channel
        forecasts.append(plots.Forecast(shown, true[:, channel], predicted, history, low, high))
        interval = " to ".join(f"{100 * float(level):g}" for level in beside.get("levels", ()))
    if forecasts:
        interval = f"{interval} % of the forecast" if interval else ""
        kind = "forecasts" if any(len(forecast.history) for forecast in forecasts) else "numbers"
        pixels = plots.draw_forecasts(forecasts, interval=interval, title=f"{name}: {kind}")
        board.picture(tag, pixels, step)


def _channels(value: Any) -> NDArray[np.float64]:
    """(T, C)"""
    rows = np.asarray(value, dtype=np.float64)
    return rows[:, None] if rows.ndim == 1 else rows


def _draw_pen_inputs(
    board: Board, tag: str, step: int, data: TaskData, split: str, result: EvaluationResult, name: str
) -> None:
    """The inputs of the worst examples, where a pen has drawn them."""
    if type(data.input).drawing is Field.drawing:
        return
    inputs = DecodedInputs(data, split)
    numbers = analysis.errors_first(result.predictions, result.targets)[:DRAWINGS]
    drawings = [data.input.drawing(inputs[number]) or [] for number in numbers]
    names = [f"{result.targets[n]} → {result.predictions[n].value}" for n in numbers]
    board.picture(tag, plots.draw_drawings(drawings, names, title=f"{name}: true → predicted"), step)


def _draw_score_by_length(
    board: Board, tag: str, step: int, data: TaskData, split: str, result: EvaluationResult, name: str
) -> None:
    score = score_name(data.task.best)
    if data.task.metric is None or data.splits[split].x.offsets is None:
        return
    lengths = input_lengths(data, split)
    if len(lengths) != len(result.predictions) or np.unique(lengths).size < 2:
        return
    if score not in result.scores or score in ("loss", "nats"):
        score = next((other for other in result.scores if other not in ("loss", "nats")), score)
    examples = ScoredExamples(result.ids, DecodedInputs(data, split), split)
    groups = analysis.score_by_length(
        lengths.tolist(), result.predictions, result.targets, data.task.metric, score, examples=examples
    )
    if len(groups) > 1 and any(np.isfinite(group.score) for group in groups):
        title = f"{name}: {score} by length"
        board.picture(tag, plots.draw_score_by_length(groups, score, unit=unit_of(data), title=title), step)


def draw_model(board: Board, step: int, model: Model, data: TaskData, split: str, result: EvaluationResult) -> None:
    """What a head shows of itself: what it draws, transitions of a CRF, attention for the examples that teach most."""
    from seqkit.heads.linear_chain_crf import LinearChainCRF
    from seqkit.heads.seq2seq import Seq2Seq

    head = model.head(data.name)
    if type(head).drawings is not Head.drawings and (drawn := _drawn(model, data, split)) is not None:
        pixels = plots.draw_drawings(*drawn, title=f"{data.name}, {split}, step {step:,}: drawn")
        board.picture(f"pictures/{data.name}/{split}/drawn", pixels, step)
    if isinstance(head, LinearChainCRF):
        labels = list(head.target.labels)
        if len(labels) < plots.MAX_CLASSES:
            title = f"{data.name}, step {step:,}: transitions"
            scores = head.transition_scores().numpy()
            pixels = plots.draw_scores(scores, [*labels, "(start)"], [*labels, "(end)"], title=title)
            board.picture(f"pictures/{data.name}/transitions", pixels, step)
    if isinstance(head, Seq2Seq):
        for place, number in enumerate(analysis.errors_first(result.predictions, result.targets)[:SENTENCES], start=1):
            if (shown := _attention(model, head, data, split, number)) is not None:
                title = f"{result.ids[number]}, step {step:,}"
                board.picture(
                    f"pictures/{data.name}/{split}/attention {place}", plots.draw_weights(*shown, title=title), step
                )


@torch.inference_mode()
def _drawn(model: Model, data: TaskData, split: str) -> tuple[Sequence[Drawing], list[str]] | None:
    """What the model draws for the first inputs of a split, and these inputs; None if it draws nothing."""
    stored = data.splits[split]
    rows = np.arange(min(len(stored.x), DRAWINGS))
    if not len(rows):
        return None
    was_training = model.training
    model.eval()
    batch = data.batch(split, rows).to(model.device)
    drawings = model.head(data.name).drawings(model.encode(data.name, batch))
    model.train(was_training)
    names = ["".join(map(str, data.input.decode(stored.x[int(row)]))) for row in rows]
    return None if drawings is None else (drawings, names)


@torch.inference_mode()
def _attention(
    model: Model, head: Any, data: TaskData, split: str, number: int
) -> tuple[np.ndarray, Sequence[str], Sequence[str]] | None:
    """The weights (U, T) of an example, the symbols that were written, and its input steps."""
    stored = data.splits[split]
    row = int(np.searchsorted(np.asarray(stored.origin), number))
    was_training = model.training
    model.eval()
    batch = data.batch(split, np.array([row])).to(model.device)
    shown = head.attention(model.encode(data.name, batch), length=MAP_SYMBOLS)
    model.train(was_training)
    if shown is None or shown[1].shape[1] > MAP_STEPS:
        return None
    symbols, weights = shown
    steps = weights.shape[1]
    x = stored.x[row]
    names = (
        [str(data.input.decode(x[t : t + 1])) for t in range(len(x))] if len(x) == steps else list(range(1, steps + 1))
    )
    return weights.float().cpu().numpy(), symbols, [str(name) for name in names]


def show_vectors(board: Board, model: Model, data: TaskData) -> None:
    """The learned vectors of the most frequent symbols of the input, for the projector, with their counts in train.

    What occurs only once is left out: its vector has hardly been trained.
    """
    known = _symbols(data.input)
    weight = getattr(model.layers[data.name], "weight", None) if data.name in model.layers else None
    if known is None or not isinstance(weight, torch.Tensor) or weight.dim() != 2:
        return
    symbols, first = known
    x, total = data.splits["train"].x.data, first + len(symbols)
    counts = np.zeros(total, dtype=np.int64)
    for start in range(0, len(x), _COUNTED_AT_ONCE):
        ids = x[start : start + _COUNTED_AT_ONCE]
        counts += np.bincount((ids if ids.ndim == 1 else ids[:, 0]).astype(np.int64), minlength=total)[:total]
    counts = counts[first:]
    counts = counts[: max(0, len(weight) - first)]  # symbols behind the table have vectors that are not learned
    keep = np.argsort(-counts, kind="stable")[: min(VECTORS, int((counts > 1).sum()))]
    if len(keep) < 2:
        return
    vectors = weight.detach()[torch.from_numpy(keep + first).to(weight.device)].float().cpu().numpy()
    board.embedding(data.name, vectors, ["symbol", "count"], [(symbols[n], int(counts[n])) for n in keep])


def _symbols(field: Any) -> tuple[Sequence[str], int] | None:
    """The symbols of an input field, and the id of the first one; None if its steps are no symbols."""
    if isinstance(field, Tokens):
        return field.vocabulary.symbols, len(SPECIALS)
    if isinstance(field, Words) and field.words is not None:
        return field.words.symbols, FIRST_WORD
    return None


def show_clips(board: Board, step: int, data: TaskData, split: str, result: EvaluationResult) -> None:
    """The worst clips, to be heard and seen, where the input is sound."""
    rate, stored = data.input.sample_rate, data.splits[split]
    if rate is None or not result.predictions:
        return
    for place, number in enumerate(analysis.errors_first(result.predictions, result.targets)[:CLIPS], start=1):
        row = int(np.searchsorted(np.asarray(stored.origin), number))
        samples = np.asarray(data.input.decode(stored.x[row]))[: int(CLIP_SECONDS * rate)]
        tag = f"{data.name}/{split}/worst clip {place}"
        notes = [f"true: {result.targets[number]}", f"predicted: {result.predictions[number].value}"]
        seconds = len(samples) / rate
        pixels = plots.draw_map(
            spectrogram(samples, rate),
            title=result.ids[number],
            notes=[note if len(note) <= 50 else note[:49] + "…" for note in notes],
            x=Axis("seconds", 0.0, seconds),
            y=Axis("kHz", 0.0, rate / 2000),
        )
        board.picture(f"pictures/{tag}", pixels, step)
        board.audio(tag, samples, rate, step)


def spectrogram(samples: np.ndarray, rate: int, *, range_db: float = 80.0) -> np.ndarray:
    """(N,) samples -> (frequencies, frames) energies in dB, those of 25 ms each 10 ms, low frequencies first.

    What is more than `range_db` below the loudest is as if it were just that.
    """
    window, hop = max(2, rate // 40), max(1, rate // 100)
    padded = np.pad(samples.astype(np.float64), (0, max(0, window - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    energies = 10.0 * np.log10(np.maximum(power, 1e-12)).T
    return np.asarray(np.maximum(energies, energies.max() - range_db))
