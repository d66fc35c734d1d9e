"""Which item comes next in a session of clicks or purchases? The task `next-item`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqkit import GIVEN, Count, Example, Field, Limit, Positive, Share, Size, Task, UsageError, only_with
from seqkit.heads import serves
from seqkit.readers import FileNames, FormatName, TableFormat
from seqkit_sessions import sources
from seqkit_sessions.fields import Items, NextItems, items_of
from seqkit_sessions.scores import NAMES, Scored, baselines, metric

if TYPE_CHECKING:
    from torch import nn

    from seqkit import Head

__all__ = ["next_item"]


@only_with("train", "dev", "test", "leave_one_out", "session", "item", "user", "encoding", folder=GIVEN)
@only_with("item", "time", "format", "separator", session=GIVEN)
@only_with("user", session=None)
@only_with("held_out", dev=None)
def next_item(
    *,
    source: Literal["yoochoose-1-64", "diginetica", "beauty"] = "yoochoose-1-64",
    folder: Path | None = None,
    train: FileNames = "train.txt",
    dev: FileNames | None = None,
    test: FileNames | None = None,
    held_out: Share = 0.05,
    leave_one_out: bool = False,
    session: str | None = None,
    item: str = "item",
    time: str | None = None,
    user: bool = False,
    format: FormatName | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    scored: Scored | None = None,
    leave_out_seen: bool | None = None,
    max_length: Count | None = 50,
    compare: bool = True,
    best: Literal["recall@20", "mrr@20", "ndcg@10"] = "recall@20",
) -> Task:
    """Which item comes next, after every prefix of a session? All items of training are ranked.

    Scores: recall@20, the mean reciprocal rank within the first 20 (mrr@20), and ndcg@10. A true item that training
    does not have is a miss. The scores of the commonest items and of a Markov chain on the same test split (without
    one, on dev) are shown before training.

    Args:
        source: yoochoose-1-64, diginetica, clicks in web shops; beauty, purchases of each user. None is downloaded; the
            message says how to get it.
        folder: a folder of your own files, used instead of source: a session on each line, items with blanks between
            them, in order of time; or tables with an event in each row.
        train: file name of the training sessions, the oldest first.
        dev: file name of those that choose the checkpoint (null: the last sessions of train, `held_out`).
        test: file name of the test sessions (null: there are none).
        held_out: with `dev: null`, the share of train that is dev.
        leave_one_out: there is one file, and the last item of each session (of each user) is test, the one before it
            dev; both are predicted from all items before them.
        session: of a table with an event in each row, the column that says to which session it belongs.
        item: of such a table, the column of the items.
        time: of such a table, the column of times (dates such as 2024-03-31 17:00, or numbers), in whose order the rows
            of a session must be; equal times may follow each other (null: rows are taken to be in order of time).
        user: a line of your files begins with its user, which is no item.
        format: of your tables: tsv, csv, jsonl or json (null: by the suffix).
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks.
        encoding: of your tables.
        scored: all, every next item; last, the last one of each session only (null: last with `leave_one_out` and
            beauty, else all).
        leave_out_seen: items that a session already had are not ranked (null: true for beauty, else false). The head
            gets the same as `leave_out_seen`.
        max_length: most items of a session that are read, the last ones (null: no limit). What is cut off is not
            scored.
        compare: whether the baselines are computed.
        best: the dev score that chooses the checkpoint.

    Raises:
        UsageError: options that do not go together.
    """
    is_beauty = folder is None and source == "beauty"
    if leave_one_out and folder is not None and (dev is not None or test is not None):
        raise UsageError("leave_one_out: dev and test are items of the sessions of train, so they have no files")
    layout = TableFormat(format=format, separator=separator, encoding=encoding)
    reader = sources.SessionReader(session=session, item=item, time=time, user=user or is_beauty, layout=layout)
    if folder is None:
        data = sources.published(source, held_out)
    else:
        place = folder
        data = sources.Sessions(
            folder=lambda: place,
            names={"train": train, "dev": dev, "test": test},
            reader=reader,
            held_out=held_out,
            leave_one_out=leave_one_out,
            facts={"dataset": str(folder)},
        )
    scored = scored or ("last" if data.leave_one_out else "all")
    leave_out = is_beauty if leave_out_seen is None else leave_out_seen

    def sessions(split: str = "train") -> Iterator[list[str]]:
        for example in data.examples(split):
            items = items_of(example.input)
            yield [*items, example.target[-1]]

    def notes() -> Iterator[str]:
        split = "test" if "test" in data.splits else "dev"
        if not compare or split not in data.splits:
            return
        baseline_scores = baselines(sessions(), sessions(split), scored=scored, leave_out_seen=leave_out)
        for name, scores in baseline_scores.items():
            values = ", ".join(f"{score} {value:.4f}" for score, value in scores.items())
            yield f"beside the score on {split}, {name}: {values}"

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        if split is not None:
            raise UsageError(f"--split: all sessions of {path} are read")
        return sources.read_other(path, labelled, reader)

    return Task(
        read=data.examples,
        input=Items(sessions),
        target=NextItems(sessions),
        head={"use": "rank", "leave_out_seen": leave_out},
        metric=metric(scored),
        scores=NAMES,
        best=best,
        splits=data.splits,
        limit=None if max_length is None else Limit(max_length, "tail"),
        files=data.files,
        notes=notes,
        about=data.facts,
        read_file=read_file,
        suffixes=sources.SUFFIXES,
    )


@serves(NextItems, needs_causal=True)
def rank(
    dim: int,
    target: Field,
    layer: nn.Module,
    /,
    *,
    top: Count = 20,
    leave_out_seen: bool = False,
    negatives: Size = 0,
    power: Share = 0.75,
    dropout: Share = 0.0,
    scale: Positive | None = None,
) -> Head:
    """Rank all items at each step by a softmax over them, whose weights are the vectors of the input's items.

    Args:
        top: how many items are ranked at each step.
        leave_out_seen: items that the sequence already had are not ranked (what nobody buys twice).
        negatives: training compares the true item with so many random ones, drawn by their frequency to the power
            `power`, the same for all steps of a batch, whose scores are corrected by how often they are drawn
            (importance sampling: Bengio and Senecal 2008, doi:10.1109/TNN.2007.912312). 0: with all items (full
            softmax). Evaluation always has all.
        power: 0 draws all items equally often, 1 by their frequency.
        dropout: share of the encoded values dropped.
        scale: an item's score is the cosine between its vector and that of the step, times this, in place of their
            product and a bias for each item (Gupta et al. 2019, arXiv:1909.04276, with 16): how common an item is then
            counts less. null: the product.
    """
    from seqkit_sessions.head import Rank

    return Rank(
        dim,
        target,
        layer,
        top=top,
        leave_out_seen=leave_out_seen,
        negatives=negatives,
        power=power,
        dropout=dropout,
        scale=scale,
    )
