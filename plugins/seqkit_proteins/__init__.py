"""Which residues of a protein are in a helix, in a strand, or in neither? The task `protein-structure`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqkit import GIVEN, Count, Example, Field, Prediction, Share, Size, Task, Tokens, UsageError, only_with
from seqkit.heads import serves
from seqkit.metrics import label_scores
from seqkit.readers import FileNames, FormatName, ShareSplit, TableFormat
from seqkit_proteins import sources
from seqkit_proteins.baseline import window_scores
from seqkit_proteins.fields import UNKNOWN, Structure

if TYPE_CHECKING:
    from torch import nn

    from seqkit import Head

__all__ = ["protein_structure", "residues"]


@only_with("train", "dev", "test", "held_out", "sequence", "structure", "counted", folder=GIVEN)
@only_with("format", "separator", "encoding", folder=GIVEN)
@only_with("classes", "folds", "fold", "train_on", folder=None)
@only_with("held_out", dev=None)
def protein_structure(
    *,
    source: Literal["cb513"] = "cb513",
    classes: Literal["three", "eight"] = "three",
    folds: Count = 5,
    fold: Size = 4,
    train_on: Literal["counted", "all"] = "counted",
    folder: Path | None = None,
    train: FileNames = "train.csv",
    dev: FileNames | None = None,
    test: FileNames | None = None,
    held_out: Share = 0.1,
    sequence: str = "sequence",
    structure: str = "structure",
    counted: str | None = None,
    format: FormatName | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    compare: bool = True,
) -> Task:
    """Which structure does each residue of a protein have (helix H, strand E, other C)? The letters are those of train.

    Scores: accuracy over the residues that count (with three classes, Q3; with eight, Q8), and macro_f1. A residue
    whose structure is `-` is read, but counts neither in the loss nor in the scores. The score of naive Bayes on a
    window of 17 residues on the same test split is shown before training.

    Args:
        source: cb513, 511 domains in 432 chains (Cuff and Barton 1999). Rows of one chain are one example, whose
            residues count if they are in any of its domains.
        classes: of cb513, three (H, E, C), or the eight of DSSP.
        folds: of cb513, how many parts the chains are dealt out to, in turn.
        fold: the part that is test, from 0. Every tenth of the other chains is dev.
        train_on: of cb513, the residues of training chains that training learns from: those that count, or all, the
            others of which are outside of its domains. Dev and test have those that count.
        folder: a folder of your own tables, used instead of source, with a chain in each row.
        train: file name of the training chains; a pattern (`part-*.tsv`) or a list of names reads several files.
        dev: file name of those that choose the checkpoint (null: a share of train, `held_out`).
        test: file name of the test chains (null: there are none).
        held_out: with `dev: null`, the share of train that is dev, by a hash of each sequence.
        sequence: the column of the residues, one letter each.
        structure: the column of their structures, one letter each; `-` where it is not known.
        counted: a column of 0 and 1 for each residue, with or without blanks between them: those of 0 do not count
            (null: all count).
        format: of your tables: tsv, csv, jsonl or json (null: by the suffix).
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks.
        encoding: of your tables.
        compare: whether the baseline is computed.

    Raises:
        UsageError: there is no such fold.
    """
    if fold >= folds or folds < 2:
        raise UsageError(f"fold: should be from 0 to {folds - 1} with `folds: {folds}`, of which there are two or more")
    layout = TableFormat(format=format, separator=separator, encoding=encoding)
    columns = sources.Columns(sequence, structure, counted)
    if folder is None:
        columns = sources.Columns("input", "dssp3" if classes == "three" else "dssp8", "cb513_mask")
        layout = TableFormat()
        data: Any = sources.Chains(folds=folds, fold=fold, columns=columns, trains_on_all=train_on == "all")
        about = data.facts
    else:
        names = {"train": train, "dev": dev, "test": test}
        data = sources.own_files(folder, names, columns, layout, ShareSplit(dev=held_out))
        about = {"dataset": str(folder)} | data.about()

    def notes() -> Iterator[str]:
        if not compare or "test" not in data.splits:
            return
        scores = window_scores(data.examples("train"), data.examples("test"))
        values = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        yield f"beside the score on test, naive Bayes on a window of 17 residues: {values}"

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        if split is not None:
            raise UsageError(f"--split: all chains of {path} are read")
        return sources.read_table(path, columns, layout, labelled=labelled)

    return Task(
        read=data.examples,
        input=Tokens("characters"),
        target=Structure(),
        head="residues",
        metric=structure_scores,
        scores=("accuracy", "macro_f1"),
        best="accuracy",
        splits=data.splits,
        files=data.files,
        notes=notes,
        about=about,
        read_file=read_file,
        suffixes=sources.SUFFIXES,
    )


def structure_scores(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """Accuracy and macro-F1 over the residues whose structure is known."""
    pairs = [
        (letter, true)
        for prediction, target in zip(predictions, targets, strict=True)
        for letter, true in zip(prediction.value, target, strict=True)
        if true != UNKNOWN
    ]
    if not pairs:
        return {"accuracy": 0.0, "macro_f1": 0.0}
    scores = label_scores([Prediction(letter) for letter, _ in pairs], [true for _, true in pairs])
    return {name: scores[name] for name in ("accuracy", "macro_f1")}


@serves(Structure)
def residues(dim: int, target: Field, layer: nn.Module, /, *, dropout: Share = 0.0) -> Head:
    """A linear map and a softmax at each residue, chosen one by one.

    Args:
        dropout: share of the encoded values dropped.
    """
    from seqkit_proteins.layers import Residues

    return Residues(dim, target, dropout=dropout)
