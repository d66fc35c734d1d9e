"""Run folders as runs of a classifier leave them, without the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqkit.inference import kept_predictions
from seqkit.inference.kept_predictions import KeptPredictions
from seqkit.metrics import label_scores
from seqkit.runs.run_folder import Run
from seqkit.types import Prediction

RECIPE = """
seed: {seed}
device: auto
tasks:
  mood: {{use: sentiment, weight: 1.0, source: generated}}
encoder: {{use: {encoder}, dim: 8, hidden: 16}}
train: {{epochs: 2, optimizer: {{use: adamw, lr: {lr}}}}}
expect: {{mood/test/accuracy: {{at_least: 0.6}}}}
"""


def make_run(
    folder: Path,
    *,
    seed: int = 1,
    encoder: str = "lstm",
    lr: float = 0.01,
    state: str = "finished",
    dev: float = 0.5,
    reason: str | None = None,
) -> Path:
    """A run folder with numbers but without predictions."""
    text = RECIPE.format(seed=seed, encoder=encoder, lr=lr)
    run = Run.create("mood", text=text.encode(), resolved=text, out=folder)
    run.log_metrics(10, {"mood/dev/accuracy": dev - 0.1, "mood/train/loss": 0.7}, epoch=1)
    run.log_metrics(20, {"mood/dev/accuracy": dev, "mood/train/loss": 0.6}, epoch=2)
    run.write_scores({"mood/dev/accuracy": dev, "mood/test/accuracy": dev + 0.05})
    run.set_status(state, chosen_by="max:mood/dev/accuracy", best_step=20, reason=reason)  # type: ignore[arg-type]
    return folder


def give_predictions(
    folder: Path,
    is_right: np.ndarray,
    *,
    split: str = "test",
    ids: Sequence[str] | None = None,
    labels: Sequence[str] = ("good", "bad"),
    texts: Sequence[str] | None = None,
) -> None:
    """Predictions of a run that is right where `is_right` (n,) says so, and its scores."""
    n = len(is_right)
    targets = [labels[number % len(labels)] for number in range(n)]
    values = [
        target if right else labels[(labels.index(target) + 1) % len(labels)]
        for target, right in zip(targets, is_right, strict=True)
    ]
    confidence = 0.55 + 0.4 * (np.arange(n) % 10) / 10
    predictions = []
    for value, share in zip(values, confidence.tolist(), strict=True):
        rest = (1 - share) / (len(labels) - 1)
        predictions.append(Prediction(value, share, {label: share if label == value else rest for label in labels}))
    inputs = list(texts) if texts is not None else [f"text {number}" for number in range(n)]
    ids = list(ids) if ids is not None else [f"{split}.tsv:{number}" for number in range(1, n + 1)]
    steps = 1 + np.arange(n) % 20
    kept = KeptPredictions("mood", split, ids, steps, inputs, targets, predictions)
    kept_predictions.write(folder, kept)
    scores = {f"mood/{split}/{name}": value for name, value in label_scores(predictions, targets).items()}
    Run.open(folder).write_scores(scores)
