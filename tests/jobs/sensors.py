"""Which class has a measurement of several sensors? Files of the UEA archive (.ts): a plugin in 60 lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seqkit import DataError, Example, Label, NonNegative, Problem, Share, Task, Vectors, readers
from seqkit.metrics import label_scores


def measurements(path: Path) -> Iterator[tuple[Example, str]]:
    """The measurements of a file, each of a group of its own.

    Raises:
        DataError: a line is not channels of equally many numbers and a label.
    """
    for line in readers.numbered(path):
        if not line.text.strip() or line.text[0] in "#@":
            continue
        *channels, label = line.text.split(":")
        try:
            columns = [[float(number) for number in channel.split(",")] for channel in channels]
            rows = [list(row) for row in zip(*columns, strict=True)]
        except ValueError as error:
            raise DataError(Problem(f"{path}:{line.number}", str(error))) from None
        yield Example(rows, label.strip(), f"{path.name}:{line.number}"), ""


def activity(
    *, folder: Path, train: str, test: str | None = None, held_out: Share = 0.2, noise: NonNegative = 0.0
) -> Task:
    """Which class has this measurement?

    Args:
        folder: where the files are.
        train: file name of the training measurements.
        test: file name of those that are tested.
        held_out: the share of train that is dev, within each class.
        noise: deviation of the noise that training adds.
    """
    files = readers.SplitFiles(
        folder=folder,
        names={"train": train, "dev": None, "test": test},
        read=measurements,
        shares=readers.ShareSplit(dev=held_out, by="label"),
    )
    return Task(
        read=files.examples,
        input=Vectors(standardise=True, noise=noise),
        target=Label(),
        head={"use": "classify", "pool": "max"},
        metric=label_scores,
        best="accuracy",
        splits=files.splits,
        files=files.files,
    )
