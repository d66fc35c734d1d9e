"""Images read as sequences of rows, columns or pixels: the task `images`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from seqkit import GIVEN, Count, Label, Share, Size, Task, UsageError, only_with
from seqkit.metrics import label_scores
from seqkit.readers import FileNames, ShareSplit, SplitFiles
from seqkit_images import sources
from seqkit_images.fields import Image, Order

__all__ = ["images"]


@only_with("train", "dev", "test", "held_out_test", "width", folder=GIVEN)
@only_with("permutation", order="permuted")
@only_with("held_out", dev=None)
@only_with("held_out_test", test=None)
def images(
    *,
    source: Literal["mnist-t10k", "optdigits"] = "mnist-t10k",
    folder: Path | None = None,
    train: FileNames = "train",
    dev: FileNames | None = None,
    test: FileNames | None = None,
    held_out: Share = 0.1,
    held_out_test: Share = 0.0,
    width: Count | None = None,
    order: Order = "rows",
    permutation: Size = 0,
    shift: Size = 0,
    unseen_labels: Literal["error", "count"] = "error",
    best: Literal["accuracy", "macro_f1"] = "accuracy",
) -> Task:
    """Which of these labels does an image have? It is read as a sequence: a step is a row, a column or a pixel.

    Scores are accuracy and macro-F1 (the plain mean of every label's F1).

    Args:
        source: mnist-t10k, 10,000 handwritten digits of 28 x 28 (7,200 train, 800 dev, 2,000 test; not the official
            split, whose training file is not among these data); optdigits, 5,620 digits of 8 x 8, with the official
            test file of other writers and a share of train as dev.
        folder: a folder of your own files, used instead of source. A folder of pictures (.png and others, read as grey
            images) has a folder for each class. A table (.csv or .tsv, no header) has an image in each row, its pixels
            row by row and the label at the end. `images|labels` are two IDX files. All images have one size.
        train: the file or folder of the training images.
        dev: that of the images that choose the checkpoint (null: a share of train, `held_out`).
        test: that of the test images (null: a share of train, `held_out_test`).
        held_out: the share of train that is dev, within each label.
        held_out_test: the share of train that is test, within each label (0: there is no test).
        width: pixels in a row of the images of a table (null: they are square).
        order: what a step is. rows, from top to bottom; columns, from left to right; pixels, one by one, row by row;
            permuted, pixels in a random order that is the same for all images.
        permutation: the seed of that order.
        shift: training moves images by up to so many pixels in both directions; rows and columns only.
        unseen_labels: labels in dev or test that training does not have. error, they are refused; count, they are
            counted, and such examples are scored as wrong.
        best: the dev score that chooses the checkpoint.

    Raises:
        UsageError: options that do not go together.
    """
    if shift and order not in ("rows", "columns"):
        raise UsageError(f"shift: {shift} moves rows and columns, and the order is {order}")
    examples: SplitFiles | sources.MnistFiles = sources.MnistFiles()
    about: dict[str, Any] = {}
    if folder is not None:
        names = {"train": train, "dev": dev, "test": test}
        shares = ShareSplit(dev=held_out, test=held_out_test, by="label")
        examples, about = sources.split_files(folder, names, width, shares), {"dataset": str(folder)}
    elif source == "optdigits":
        examples, about = sources.optdigits(held_out)
    return Task(
        read=examples.examples,
        input=Image(order, shift, permutation),
        target=Label(allow_unseen=unseen_labels == "count"),
        head="classify",
        metric=label_scores,
        scores=("accuracy", "macro_f1"),
        best=best,
        splits=examples.splits,
        files=examples.files,
        about=about | examples.about(),
        read_file=lambda path, split, labelled: sources.read_other(path, split, labelled, width),
        suffixes=sources.SUFFIXES,
    )
