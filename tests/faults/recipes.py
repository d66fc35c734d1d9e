"""Tiny recipes, one per task: 60 steps in a second, with random numbers wherever a task can use them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.helpers import third_party

STEPS = 60

TEXT = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs. " * 12

_TRAIN = """
train:
  steps: 60
  batch: 4
  evaluate_every: 20
  save_every: 10
  log_every: 5
  histograms: false
"""

_TASKS = {
    "sentiment": """
seed: 3
tasks:
  sentiment: {source: generated, sizes: [60, 16, 16], drop: 0.1, head: {use: classify, pool: max, dropout: 0.1}}
encoder: {use: ENCODER, dim: 8, hidden: 16, bidirectional: true, input_dropout: 0.1}
"""
    + _TRAIN
    + """  average: 0.9
  accumulate: 2
  schedule: {use: cosine, warmup: 5}
""",
    "ner": """
seed: 4
tasks:
  ner: {source: generated, sizes: [60, 12, 12], char_dim: 4, char_hidden: 4, drop: 0.2}
encoder: {use: ENCODER, dim: 8, hidden: 8, bidirectional: true, layers: 2, dropout: 0.2}
"""
    + _TRAIN
    + """  clip: 5.0
  optimizer: {use: adam, lr: 3.0e-3}
""",
    "charlm": """
seed: 5
tasks:
  charlm: {file: FOLDER/text.txt, window: 8, piece: 100, dev: 0.1, test: 0.1}
encoder: {use: ENCODER, dim: 8, hidden: 16, dropout: 0.1, layers: 2}
"""
    + _TRAIN
    + """  patience: 50
  schedule: {use: plateau, patience: 1}
  optimizer: {use: sgd, lr: 0.1, momentum: 0.9}
""",
    "genome": """
seed: 6
tasks:
  genome: {source: generated, signal: splice, sizes: [48, 12, 12], middle: 20, scan: 5, scan_dropout: 0.1}
encoder: {use: ENCODER, dim: 8, hidden: 16, output_dropout: 0.1}
"""
    + _TRAIN
    + """  optimizer: {use: adamw, lr: 3.0e-3}
""",
    "speech": """
seed: 7
tasks:
  speech: {source: synthesised, sizes: [32, 8, 8], stack: 8, bands: 8, time_masks: 1, noise_db: [10.0, 20.0]}
encoder: {use: ENCODER, dim: 8, hidden: 16}
"""
    + _TRAIN
    + """  optimizer: {use: adamw, lr: 3.0e-3}
""",
}

_TASKS["waves"] = (
    """
seed: 8
tasks:
  waves: {use: waves}
encoder: {use: ENCODER, dim: 8, hidden: 16}
"""
    + _TRAIN
    + """  optimizer: {use: adamw, lr: 3.0e-3}
"""
)

WAVES = """
    import math
    import random

    from seqkit import Example, Label, Task, Vectors
    from seqkit.metrics import label_scores

    def waves() -> Task:
        '''Is this wave slow or fast? Inputs are real numbers, so that one of them can be NaN.'''

        def read(split):
            dice = random.Random(split)
            for number in range({"train": 48}.get(split, 12)):
                speed, start = dice.choice((0.3, 0.6)), dice.random()
                steps = [[math.sin(start + speed * t), math.cos(start + speed * t)] for t in range(dice.randint(4, 12))]
                yield Example(steps, "fast" if speed > 0.5 else "slow", f"{split}:{number}")

        return Task(
            read=read, input=Vectors(2), target=Label(), head="classify", metric=label_scores, best="accuracy"
        )
"""
"""A third-party plugin. Its recipe draws no random numbers in training, so that batches can be computed in parts."""

ENCODERS = ("rnn", "lstm", "gru")

DOMAINS = tuple(name for name in _TASKS if name != "waves")
"""Text, sentences, characters, DNA, sound."""


def available() -> tuple[str, ...]:
    """The domains that can be run on this machine: sound needs a torchaudio that loads."""
    try:
        importlib.import_module("torchaudio")
        importlib.import_module("soundfile")
    except (ImportError, OSError):
        return tuple(name for name in DOMAINS if name != "speech")
    return DOMAINS


def write(domain: str, folder: Path, encoder: str = "lstm") -> Path:
    """The recipe file of a domain in this folder, beside the data it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(TEXT)
    if domain == "waves" and not any(path.endswith("waves-site") for path in sys.path):
        site = folder / "waves-site"
        site.mkdir()
        third_party.install(site, distribution="waves", code=WAVES, entries={"seqkit.tasks": {"waves": "waves"}})
        sys.path.append(str(site))
    path = folder / f"{domain}-{encoder}.yaml"
    path.write_text(_TASKS[domain].replace("ENCODER", encoder).replace("FOLDER", str(folder)))
    return path
