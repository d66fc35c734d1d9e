"""Labels of sequences of measurements: the task `sensor`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from seqkit import GIVEN, Count, Label, Limit, NonNegative, Share, Task, Truncation, UsageError, Vectors, only_with
from seqkit.metrics import label_scores
from seqkit.readers import FileNames, FormatName, ShareSplit, SplitBy, SplitFiles, TableFormat
from seqkit_sensor import sources
from seqkit_sensor.tables import TableReader

__all__ = ["sensor"]


@only_with("train", "dev", "test", "held_out_test", "split_by", "group", folder=GIVEN)
@only_with("sequence", "time", "file", "label", "channels", "width", "format", "separator", "encoding", folder=GIVEN)
@only_with("width", sequence=None, file=None)
@only_with("held_out", dev=None)
@only_with("held_out_test", test=None)
def sensor(
    *,
    source: Literal["japanese-vowels", "basic-motions"] = "japanese-vowels",
    folder: Path | None = None,
    train: FileNames = "train.ts",
    dev: FileNames | None = None,
    test: FileNames | None = None,
    held_out: Share = 0.1,
    held_out_test: Share = 0.0,
    split_by: SplitBy = "label",
    sequence: str | None = None,
    time: str | None = None,
    file: str | None = None,
    label: str = "label",
    group: str | None = None,
    channels: tuple[str, ...] | None = None,
    width: Count = 1,
    format: FormatName | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    standardise: bool = True,
    noise: NonNegative = 0.0,
    max_length: Count | None = None,
    truncate: Truncation = "head",
    unseen_labels: Literal["error", "count"] = "error",
    best: Literal["accuracy", "macro_f1"] = "accuracy",
) -> Task:
    """Which of these labels does a sequence of measurements have? Each step is a vector, a number for each channel.

    Scores are accuracy and macro-F1 (the plain mean of every label's F1). A value that is missing or not finite is an
    error that says where it is. Channels are matched by their names, where tables with a step in each row have a
    header, in the order of the first file of train; other names are an error.

    Args:
        source: japanese-vowels, nine speakers, twelve channels, 7 to 29 steps; basic-motions, four activities, six
            channels of a watch, 100 steps. Both have no dev split, so a share of train is dev.
        folder: a folder of your own files, used instead of source: `.ts` (timeseriesclassification.com), or tables
            (.csv, .tsv, .jsonl) whose first line names the columns, plain or compressed.
        train: file name of the training sequences; a pattern (`part-*.tsv`) or a list of names reads several files.
        dev: file name of those that choose the checkpoint (null: a share of train, `held_out`).
        test: file name of the test sequences (null: a share of train, `held_out_test`).
        held_out: with `dev: null`, the share of train that is dev.
        held_out_test: with `test: null`, the share of train that is test (0: there is no test).
        split_by: how dev and test are chosen from train: label, so within each label, by exact shares; input, by a
            hash of each sequence; group, whole groups (persons, machines), which `group` names.
        sequence: of a table with a step in each row (long), the column that says which sequence it belongs to.
        time: of a table with a step in each row, the column of times (dates such as 2024-03-31 17:00, or numbers), in
            whose order the rows of a sequence must be; it is not read as a channel.
        file: of a table with a sequence in each row, the column with the name of a file that has its steps, a step a
            row, such as walks/17.csv. If neither this nor `sequence` is given, a row holds a sequence (wide). One such
            file by itself can be predicted, too.
        label: the column of the labels.
        group: the column of the groups, for `split_by: group`.
        channels: the columns of the measurements, from left to right (null: all others).
        width: of a wide table, how many numbers are one step.
        format: of your tables: tsv, csv, jsonl or json (null: by the suffix).
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks (null:
            a tab in tsv, a comma in csv).
        encoding: of your tables.
        standardise: subtract the mean of each channel and divide by its standard deviation, both of the training data.
        noise: training adds Gaussian noise with this standard deviation to each number (after `standardise`).
        max_length: most steps of a sequence (null: no limit).
        truncate: what happens to a longer one. head, tail or both_ends, that part is kept; window, all of it is read in
            windows.
        unseen_labels: labels in dev or test that training does not have. error, they are refused; count, they are
            counted, and such examples are scored as wrong.
        best: the dev score that chooses the checkpoint.

    Raises:
        UsageError: options that do not go together.
    """
    layout = TableFormat(format=format, separator=separator, encoding=encoding)
    reader = TableReader(
        sequence=sequence, time=time, file=file, label=label, group=group, channels=channels, width=width, layout=layout
    )
    if split_by == "group" and group is None:
        raise UsageError("split_by: group: name the column of the group as `group`")
    if folder is None:
        examples, about = sources.published(source, held_out)
    else:
        names = {"train": train, "dev": dev, "test": test}
        shares = ShareSplit(dev=held_out, test=held_out_test, by=split_by)
        read = partial(sources.read_file, reader=reader)
        examples = SplitFiles(folder=folder, names=names, read=read, shares=shares)
        about = {"dataset": str(folder)}
    return Task(
        read=examples.examples,
        input=Vectors(standardise=standardise, noise=noise),
        target=Label(allow_unseen=unseen_labels == "count"),
        head="classify",
        metric=label_scores,
        scores=("accuracy", "macro_f1"),
        best=best,
        splits=examples.splits,
        limit=None if max_length is None else Limit(max_length, truncate),
        # With `file`, there are more files than those that have names here.
        files=examples.files if file is None or folder is None else None,
        shards=examples.parts,
        about=about | examples.about(),
        read_file=lambda path, split, labelled: sources.read_other(path, split, labelled, reader),
        suffixes=sources.SUFFIXES,
    )
