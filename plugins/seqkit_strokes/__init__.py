"""What does a pen draw? Labels of drawings that are sequences of points: the task `strokes`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from seqkit import GIVEN, Count, Label, Limit, NonNegative, Share, Task, only_with
from seqkit.metrics import label_scores
from seqkit.readers import FileNames, ShareSplit, SplitBy, SplitFiles
from seqkit_strokes import sources
from seqkit_strokes.fields import Strokes

__all__ = ["strokes"]


@only_with("train", "dev", "test", "held_out_test", "split_by", "label_folder", folder=GIVEN)
@only_with("held_out", dev=None)
@only_with("held_out_test", test=None)
def strokes(
    *,
    source: Literal["omniglot", "pendigits"] = "omniglot",
    folder: Path | None = None,
    train: FileNames = "train",
    dev: FileNames | None = None,
    test: FileNames | None = None,
    held_out: Share = 0.1,
    held_out_test: Share = 0.0,
    split_by: SplitBy = "label",
    label_folder: int = 0,
    spacing: Share = 0.0,
    distort: NonNegative = 0.0,
    noise: NonNegative = 0.0,
    warp: NonNegative = 0.0,
    shift: NonNegative = 0.0,
    max_length: Count | None = None,
    unseen_labels: Literal["error", "count"] = "error",
    y_axis: Literal["up", "down"] = "up",
    best: Literal["accuracy", "macro_f1"] = "accuracy",
) -> Task:
    """Which of these labels does a drawing have? It is read point by point, in the order in which the pen drew it.

    Drawings are moved and scaled to one size. Scores are accuracy and macro-F1 (the plain mean of every label's F1).

    Args:
        source: omniglot, 136 characters of five alphabets (drawers 1 to 13 are train, 14 and 15 dev, 16 to 20 test);
            pendigits, digits of eight points, with the official test file of other writers and a share of train as dev.
        folder: a folder of your own files, used instead of source. A folder (or .zip) of text files, one for each
            drawing, has a folder for each class; a line of such a file is a point x,y (a time may follow), or BREAK
            where the pen is lifted. JSON lines have the keys strokes ([[[x, y], ...], ...]) and label. A row of a .csv
            is one stroke, x1,y1,x2,y2,... and its label, without a header.
        train: the file or folder of the training drawings.
        dev: that of the drawings that choose the checkpoint (null: a share of train, `held_out`).
        test: that of the test drawings (null: a share of train, `held_out_test`).
        held_out: the share of train that is dev.
        held_out_test: the share of train that is test (0: there is no test).
        split_by: how these are chosen. label, within each label, by exact shares; input, by a hash of each drawing;
            group, whole drawers: what the name of a drawing's file has after its last _.
        label_folder: which folder on the way to a file names its class: 1 the uppermost, -1 the one that it lies in, 0
            all of them, joined with `/`.
        spacing: points are chosen anew, so far from each other along a stroke, as a share of the drawing's larger side
            (0: points are taken as they are).
        distort: training turns, stretches and slants drawings by random matrices; the standard deviation of their
            numbers.
        noise: training adds Gaussian noise with this standard deviation to the numbers of each point; the drawing's
            larger side is 2.
        warp: training bends drawings by random smooth deformations of the plane, which move points about so far; the
            drawing's larger side is 2.
        shift: training moves each stroke by itself, at random; the standard deviation in both directions.
        max_length: most points of a drawing, of which the first are kept (null: no limit).
        unseen_labels: labels in dev or test that training does not have. error, they are refused; count, they are
            counted, and such examples are scored as wrong.
        y_axis: which way y grows in your files, up as on paper or down as on a screen: reports show drawings.
        best: the dev score that chooses the checkpoint.
    """
    examples: SplitFiles | sources.Omniglot = sources.Omniglot()
    about: dict[str, Any] = {}
    if folder is not None:
        names = {"train": train, "dev": dev, "test": test}
        shares = ShareSplit(dev=held_out, test=held_out_test, by=split_by)
        read = partial(sources.read_file, level=label_folder)
        examples, about = SplitFiles(folder=folder, names=names, read=read, shares=shares), {"dataset": str(folder)}
    elif source == "pendigits":
        examples, about = sources.pendigits(held_out)
    return Task(
        read=examples.examples,
        input=Strokes(spacing, distort, noise, warp, shift, y_axis),
        target=Label(allow_unseen=unseen_labels == "count"),
        head="classify",
        metric=label_scores,
        scores=("accuracy", "macro_f1"),
        best=best,
        splits=examples.splits,
        limit=None if max_length is None else Limit(max_length),
        files=examples.files,
        about=about | examples.about(),
        read_file=lambda path, split, labelled: sources.read_other(path, split, labelled, label_folder),
        suffixes=sources.SUFFIXES,
    )
