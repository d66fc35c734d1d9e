"""Which notes sound next? Several at once, predicted step by step: the task `music`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqkit import GIVEN, Example, Field, Prediction, Share, Size, Task, UsageError, only_with
from seqkit.heads import serves
from seqkit.readers import FileNames
from seqkit_music import sources
from seqkit_music.baseline import markov_nats
from seqkit_music.fields import Chords, NextChords, parse_steps

if TYPE_CHECKING:
    from torch import nn

    from seqkit import Head

__all__ = ["music", "notes"]


@only_with("train", "dev", "test", folder=GIVEN)
def music(
    *,
    source: Literal["jsb-chorales"] = "jsb-chorales",
    folder: Path | None = None,
    train: FileNames = "train.jsonl",
    dev: FileNames | None = "dev.jsonl",
    test: FileNames | None = None,
    transpose: Size = 0,
    compare: bool = True,
) -> Task:
    """Which notes sound at the next step? Each of a piano's 88 keys does or does not, at the first step too.

    Scores: nats a step, the negative log-likelihood of all keys together (which the `notes` head takes as independent,
    given what came before, unless it has `nade`), and accuracy, true positives divided by all keys that sound or are
    predicted (Boulanger-Lewandowski et al. 2012, arXiv:1206.6392). The nats of keys that depend on themselves one step
    before are shown before training.

    Args:
        source: jsb-chorales, 382 chorales of Bach in quarter notes, in the split of Boulanger-Lewandowski et al.
        folder: a folder of your own files, used instead of source: JSON lines, a piece on each, a list of steps, each a
            list of MIDI pitches (21 to 108) or of none.
        train: file name of the training pieces; a pattern (`part-*.tsv`) or a list of names reads several files.
        dev: file name of those that choose the checkpoint (null: there are none).
        test: file name of the test pieces (null: there are none).
        transpose: each training piece is also read at so many semitones up and down, where the piano has the keys.
        compare: whether the baseline is computed.
    """
    data = sources.chorales() if folder is None else sources.own(folder, {"train": train, "dev": dev, "test": test})

    def read(split: str) -> Iterator[Example]:
        for id, steps in data.pieces(split):
            for shift in range(-transpose, transpose + 1) if split == "train" else (0,):
                moved = sources.transposed(steps, shift)
                if moved is not None:
                    yield sources.example_of(f"{id}{shift:+d}" if shift else id, moved)

    def compared() -> Iterator[str]:
        if compare and "test" in data.splits:
            past, future = ([steps for _, steps in data.pieces(split)] for split in ("train", "test"))
            nats = markov_nats(past, future)
            yield f"beside the score on test, a Markov chain for each key by itself: nats {nats:.4f}"

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        if split is not None:
            raise UsageError(f"--split: all pieces of {path} are read")
        for id, steps in sources.read_pieces(path):
            yield sources.example_of(id, steps) if labelled else Example(steps, None, id)

    return Task(
        read=read,
        input=Chords(),
        target=NextChords(),
        head="notes",
        metric=note_scores,
        scores=("accuracy",),
        best="nats",
        splits=data.splits,
        files=data.files,
        parse=parse_steps,
        notes=compared,
        about=data.facts,
        read_file=read_file,
        suffixes=sources.SUFFIXES,
    )


def note_scores(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`accuracy`: of all keys that sound or are predicted at a step, the share of which both are true."""
    both, either = 0, 0
    for prediction, target in zip(predictions, targets, strict=True):
        for predicted, true in zip(prediction.value, target, strict=True):
            both += len({*predicted} & {*true})
            either += len({*predicted} | {*true})
    return {"accuracy": both / max(1, either)}


@serves(NextChords, needs_causal=True, loss_name="nats")
def notes(
    dim: int,
    target: Field,
    layer: nn.Module,
    /,
    *,
    nade: Size = 0,
    dropout: Share = 0.0,
    threshold: Share = 0.5,
) -> Head:
    """A probability for each key at each step.

    Args:
        nade: each key also depends on those below it at the same step, by a neural autoregressive density estimator
            with so many hidden units (RNN-NADE; Boulanger-Lewandowski et al. 2012, arXiv:1206.6392). A key is then
            predicted given the keys that are predicted below it. 0: given the steps before, keys are independent.
        dropout: share of the encoded values dropped.
        threshold: keys with a greater probability are predicted.
    """
    from seqkit_music.head import Notes

    return Notes(dim, target, nade=nade, dropout=dropout, threshold=threshold)
