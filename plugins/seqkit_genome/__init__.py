"""Classes of DNA and RNA: the task `genome`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seqkit import GIVEN, Count, Label, Limit, Share, Size, Task, Truncation, UsageError, only_with
from seqkit.readers import TableFormat
from seqkit_genome import sources
from seqkit_genome.fields import Bases, Kmers
from seqkit_genome.options import (
    Case,
    FoldCount,
    Format,
    Gaps,
    KmerLength,
    Names,
    Scan,
    Signal,
    Spelling,
    Strands,
)
from seqkit_genome.scores import class_scores
from seqkit_genome.sources import FileOrFiles, FileSource, GeneratedSource, SequenceReader
from seqkit_genome.splits import SequenceIdentity

__all__ = ["genome"]

_POSITIVE = {"enhancers": "enhancer", "enhancers-strength": "strong", "promoters": "+"}


@only_with("dev", "test", "format", "sequence", "label", "header", "pattern", "names", train=GIVEN)
@only_with("separator", "quoting", "encoding", train=GIVEN)
@only_with("sizes", "signal", source="generated", train=None)
@only_with("k", "stride", "min_count", "drop", steps="kmers")
@only_with("filters", "pool", "scan_dropout", scan=GIVEN)
def genome(
    *,
    source: Literal["generated", "splice-junction", "promoters", "enhancers", "enhancers-strength"] = "generated",
    signal: Signal = "splice",
    sizes: tuple[Count, Count, Count] = (6000, 1000, 2000),
    data_seed: Size = 1,
    train: Path | dict[str, Path] | None = None,
    dev: Path | dict[str, Path] | None = None,
    test: Path | dict[str, Path] | None = None,
    format: Format = "auto",
    sequence: str | Count | None = None,
    label: str | Count | None = None,
    header: bool | None = None,
    separator: str | None = None,
    quoting: bool | None = None,
    encoding: str = "utf-8",
    pattern: str | None = None,
    names: Names = "refuse",
    held_out: Share = 0.1,
    folds: FoldCount | None = None,
    fold: Size = 0,
    same_strands: bool = True,
    bad_inputs: Literal["refuse", "quarantine"] = "refuse",
    case: Case = "fold",
    gaps: Gaps = "refuse",
    steps: Literal["one-hot", "letters", "kmers"] = "one-hot",
    k: KmerLength = 3,
    stride: Count = 1,
    min_count: Count = 1,
    drop: Share = 0.0,
    scan: Size = 0,
    filters: Count | None = None,
    pool: Count = 1,
    scan_dropout: Share = 0.0,
    middle: Size = 0,
    strands: Strands = "given",
    max_length: Count | None = None,
    truncate: Truncation = "head",
    unseen_labels: Literal["error", "count"] = "error",
    positive: str | None = None,
    best: Literal["accuracy", "mcc", "macro_f1", "auroc", "auprc"] = "accuracy",
) -> Task:
    """Which class does a sequence of DNA or RNA belong to? The classes are those of the training data, two or more.

    Sequences are written in the fifteen letters of IUPAC; U is read as T. Any other character is an error that says
    where it is. FASTA and FASTQ need the extra `genome`. Scores: accuracy, mcc, macro_f1, auroc and auprc.

    Args:
        source: generated, windows drawn from published position weight matrices (offline); splice-junction and
            promoters, of UCI; enhancers, whether a sequence is an enhancer; enhancers-strength, whether an enhancer is
            a strong one.
        signal: what is generated. splice, the ends of exons; promoter, promoters of bacteria and TATA boxes on either
            strand.
        sizes: how many windows are generated for train, dev and test.
        data_seed: seed of the generated windows, and of the hash that chooses folds and the held-out share.
        train: your own training sequences, used instead of source. One file, one file for each class ({NAME: file}), or
            a folder with a file or folders for each class. Files may be compressed (gzip, bgz, xz, bzip2).
        dev: sequences that choose the checkpoint (null: a share of train is held out for it).
        test: test sequences (null: there are none).
        format: fasta; fastq; csv; tsv; jsonl; json, an array; parquet; uci, lines of class, name and sequence; auto, by
            the ending of the file's name.
        sequence: column or key of the sequence in tables and JSON, by name or by number from 1 (null: column 1, key
            sequence).
        label: column or key of the class (null: column 2, key label).
        header: whether the first line of csv and tsv names the columns (null: yes if a column is given by name, or
            if the first line holds no sequence, which is told).
        separator: between the columns of csv and tsv: one character, or tab, comma, semicolon, space, bar, or blanks
            (null: a comma in csv, a tab in tsv).
        quoting: whether a field in quotation marks may hold separators and line ends (null: in csv).
        encoding: of tables and JSON.
        pattern: a regular expression that finds the class in the headers of FASTA and FASTQ, by its group `label`.
        names: whether two records of a file may have the same name (the first word of the header).
        held_out: share of train that is dev, if dev has no file. A hash of the sequence chooses, so that repeats of a
            sequence are in one split.
        folds: number of folds for cross-validation, each with its share of every class. All repeats of a sequence are
            in one fold (null: 10 for splice-junction and promoters, which have no split, else none).
        fold: the fold that is test, from 0; dev is held out of the others.
        same_strands: whether a sequence and its reverse complement are the same one for folds and held_out.
        bad_inputs: what happens to records with a letter that is not a base, or without a sequence. refuse, they are
            errors, and all of them are reported; quarantine, they are left out, reported and counted.
        case: fold, upper and lower case are the same; keep, the model sees lower case (soft-masked repeats); mask, a
            lower-case letter is N.
        gaps: refuse, `-` and `.` are an error; remove, they are left out; unknown, they are N.
        steps: what a step of the model is. one-hot, the probabilities of A, C, G and T; letters, a learned vector for
            each of A, C, G, T and N; kmers, a learned vector for each run of k bases seen in training.
        k: bases of a k-mer.
        stride: bases from one k-mer to the next; with 1 they overlap.
        min_count: a k-mer seen less often in training is unknown.
        drop: share of the k-mers that training reads as unknown.
        scan: width of motif scanners (a convolution) in front of the recurrence; 0: none.
        filters: number of motif scanners (null: encoder.dim).
        pool: of this many consecutive responses of a scanner, the strongest is kept as one step.
        scan_dropout: share of the scanners' responses that training drops.
        middle: for windows that are aligned at their middle, the number of steps on either side of it that have a
            learned vector for their position; 0: none.
        strands: given, sequences are read as they are; augment, training reads either strand, at random; average,
            predictions are the mean of the probabilities over both strands (the loss stays that of the given one);
            both, augment and average.
        max_length: most bases of a sequence (null: no limit).
        truncate: what happens to a longer one. head, tail or both_ends, that part is kept; window, all of it is read
            in windows.
        unseen_labels: labels in dev or test that training does not have. error, they are refused; count, they are
            counted, and such examples are scored as wrong.
        positive: of two classes, the one that auprc is about (null: that of the data set, else the second by name).
        best: the dev score that chooses the checkpoint.

    Raises:
        UsageError: options that do not go together.
    """
    reader = SequenceReader(
        format=format,
        sequence=sequence,
        label=label,
        header=header,
        pattern=_checked_pattern(pattern),
        gaps=gaps,
        names=names,
        layout=TableFormat(separator=separator, quoting=quoting, encoding=encoding),
    )
    identity = SequenceIdentity(data_seed, same_strands)
    paths = {"train": train, "dev": dev, "test": test}
    examples: FileSource | GeneratedSource
    about: dict[str, Any]
    if train is not None:
        examples = sources.user_files(paths, reader, identity, held_out)
        about = {"files": _file_names(paths)}
    elif dev is not None or test is not None:
        raise UsageError("dev and test are your own files, so train must be too; set train")
    elif source == "generated":
        examples = GeneratedSource(signal, sizes, data_seed)
        about = {"dataset": f"generated {signal} windows", "sizes": list(sizes), "seed": data_seed}
    else:
        examples, dataset = sources.published(source, identity, held_out, gaps)
        about = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
    if isinstance(examples, FileSource):
        if folds is None and train is None and source in ("splice-junction", "promoters"):
            folds = 10
        examples = _with_folds(examples, folds, fold, paths)
    elif folds is not None:
        raise UsageError("folds: generated windows have splits already; set source or train to other data")
    if folds is not None:
        about |= {"folds": folds, "fold": fold}
    spelling, scanners = Spelling(case, gaps), _scan(scan, filters, pool, scan_dropout)
    if steps == "kmers":
        _check_kmers(case, middle)
        field: Bases | Kmers = Kmers(
            spelling, k=k, stride=stride, min_count=min_count, drop=drop, strands=strands, scan=scanners
        )
    else:
        one_hot = steps == "one-hot"
        field = Bases(spelling, probabilities=one_hot, strands=strands, scan=scanners, middle=middle)
    if train is None:
        positive = positive or _POSITIVE.get(source)
    return Task(
        read=examples.read,
        input=field,
        target=Label(allow_unseen=unseen_labels == "count"),
        head="classify",
        metric=partial(class_scores, positive=positive),
        scores=("accuracy", "mcc", "macro_f1", "auroc", "auprc"),
        best=best,
        splits=examples.splits,
        limit=None if max_length is None else Limit(max_length, truncate),
        files=examples.files if isinstance(examples, FileSource) else None,
        notes=examples.notes,
        bad_inputs=bad_inputs,
        about=about,
        read_file=lambda path, split, labelled: sources.read_other(path, split, labelled, reader),
        suffixes=tuple(sources.SUFFIXES),
    )


def _file_names(paths: Mapping[str, FileOrFiles | None]) -> dict[str, str | dict[str, str]]:
    """The user's files as text, for the run folder."""
    return {
        split: {label: str(path) for label, path in value.items()} if isinstance(value, Mapping) else str(value)
        for split, value in paths.items()
        if value is not None
    }


def _with_folds(
    source: FileSource, folds: int | None, fold: int, paths: Mapping[str, FileOrFiles | None]
) -> FileSource:
    """The same files, dealt out to folds if `folds` is a number.

    Raises:
        UsageError: the options about folds contradict each other.
    """
    if folds is None:
        if fold:
            raise UsageError(f"fold: {fold} needs the number of folds; set folds")
        return source
    if paths["dev"] is not None or paths["test"] is not None:
        raise UsageError("folds: dev and test are taken from train, so they cannot have files of their own")
    if fold >= folds:
        raise UsageError(f"fold: {fold} should be 0 to {folds - 1}, because there are {folds} folds")
    return replace(source, folds=folds, fold=fold)


def _check_kmers(case: str, middle: int) -> None:
    """Raises UsageError for options that k-mers do not have."""
    if case == "keep":
        raise UsageError("case: k-mers have no case; set fold or mask")
    if middle:
        raise UsageError("middle: k-mers have no positions; set steps to one-hot or letters")


def _scan(width: int, filters: int | None, pool: int, dropout: float) -> Scan | None:
    if width:
        return Scan(width=width, filters=filters, pool=pool, dropout=dropout)
    if filters is not None or pool > 1 or dropout > 0:
        raise UsageError("filters, pool and scan_dropout are options of motif scanners; set scan to their width")
    return None


def _checked_pattern(pattern: str | None) -> str | None:
    """The pattern. Raises UsageError if it is no regular expression or has no group for the class."""
    if pattern is None:
        return None
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise UsageError(f"pattern: is not a regular expression: {error}") from None
    if "label" not in groups:
        raise UsageError("pattern: needs a group for the class, such as (?P<label>[a-z]+)")
    return pattern
