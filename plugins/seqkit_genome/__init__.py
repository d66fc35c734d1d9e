"""Classes of DNA and RNA: the task `genome`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from seqkit import Count, Field, Label, Limit, Prediction, Share, Size, Task, Truncation, UsageError
from seqkit.metrics import accuracy, auprc, auroc, macro_f1, mcc
from seqkit_genome import sources
from seqkit_genome.alphabet import Case, Gaps
from seqkit_genome.bases import Bases, Kmers, Scan, Spelling, Strands
from seqkit_genome.folds import Alike
from seqkit_genome.generator import Signal
from seqkit_genome.reading import Names
from seqkit_genome.sources import Format, Given, Reading

__all__ = ["genome", "scores"]

K = Annotated[int, Ge(1), Le(8)]
Folds = Annotated[int, Ge(2)]

_POSITIVE = {"enhancers": "enhancer", "enhancers-strength": "strong", "promoters": "+"}


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
    pattern: str | None = None,
    names: Names = "refuse",
    held_out: Share = 0.1,
    folds: Folds | None = None,
    fold: Size = 0,
    same_strands: bool = True,
    bad_inputs: Literal["refuse", "quarantine"] = "refuse",
    case: Case = "fold",
    gaps: Gaps = "refuse",
    steps: Literal["one-hot", "letters", "kmers"] = "one-hot",
    k: K = 3,
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
    positive: str | None = None,
    best: Literal["accuracy", "mcc", "macro_f1", "auroc", "auprc"] = "accuracy",
) -> Task:
    """Which class does a sequence of DNA or RNA belong to? The classes are those of the training data, two or more.

    Sequences are written in the fifteen letters of IUPAC; U is T. What stands for no base is an error that says where.
    FASTA and FASTQ need the extra `genome`. Scores: accuracy, mcc, macro_f1, auroc and auprc.

    Args:
        source: generated, windows drawn from published position weight matrices (offline); splice-junction and
            promoters, of UCI; enhancers, whether a sequence is an enhancer; enhancers-strength, whether an enhancer is
            a strong one.
        signal: what is generated. splice, the ends of exons; promoter, promoters of bacteria and TATA boxes on either
            strand.
        sizes: how many windows are generated for train, dev and test.
        data_seed: seed of the generated windows, and of the hash that decides about folds and what is held out.
        train: your own sequences; given, they decide instead of source. One file, or one file a class: {NAME: file}.
            A file may be gzipped.
        dev: sequences that choose the checkpoint (null: a share of train is held out for it).
        test: test sequences (null: there are none).
        format: fasta; fastq; csv; tsv; uci, lines of class, name and sequence; auto, as the file's name ends.
        sequence: of csv and tsv, the column of the sequence, by name or number from 1 (null: 1).
        label: of csv and tsv, the column of the class (null: 2).
        header: of csv and tsv, whether the first line names the columns (null: it does if a column is given by name).
        pattern: of FASTA and FASTQ, a regular expression whose group `label` is the class, looked for in the header.
        names: whether two records of a file may have one name (its header's first word).
        held_out: where dev has no file, the share of train that is dev, by a hash of the sequence, so that repeats
            stay on one side.
        folds: deal train out to so many folds for cross-validation, each with its share of every class; one sequence
            is never in two (null: 10 for splice-junction and promoters, which have no split, else none).
        fold: which of the folds is test, from 0; dev is held out of the others.
        same_strands: for folds and held_out, whether a sequence and its reverse complement are the same.
        bad_inputs: what becomes of a record with a letter that is no base, or without a sequence: errors, all of them
            told, or left out, told and counted.
        case: fold, upper and lower case are the same; keep, lower case (soft-masked repeats) is told to the model;
            mask, a lower-case letter is N.
        gaps: what `-` and `.` are, an error, nothing at all, or N.
        steps: what a step of the model is. one-hot, the probabilities of A, C, G and T; letters, a learned vector for
            each of A, C, G, T and N; kmers, a learned vector for each run of k bases seen in training.
        k: bases of a k-mer.
        stride: bases from one k-mer to the next; 1, they overlap.
        min_count: a k-mer seen less often in training is unknown.
        drop: share of the k-mers that training reads as unknown.
        scan: width of motif scanners (a convolution) in front of the recurrence; 0, there are none.
        filters: how many scanners (null: encoder.dim).
        pool: of so many consecutive answers of a scanner the strongest is kept, as one step.
        scan_dropout: share of the scanners' answers dropped.
        middle: for windows that are aligned at their middle, how many steps on either side of it have a learned vector
            for their place; 0, none.
        strands: given, sequences are read as they are; augment, training reads either strand, by chance; average,
            predictions are the mean of the probabilities over both strands (the loss stays that of the given one);
            both, both.
        max_length: most bases of a sequence (null: no limit).
        truncate: what becomes of a longer one: the head or tail or both_ends of it are kept, or all of it in windows.
        positive: of two classes, the one that auprc is about (null: that of the data set, else the second by name).
        best: the dev score that chooses the checkpoint.

    Raises:
        UsageError: options that do not go together.
    """
    how = Reading(format, sequence, label, header, _compiled(pattern), gaps, names)
    alike = Alike(data_seed, same_strands)
    own = {"train": train, "dev": dev, "test": test}
    found, about = _source(source, own, how, alike, held_out, sources.Generated(signal, sizes, data_seed))
    if isinstance(found, sources.Files):
        if folds is None and train is None and source in ("splice-junction", "promoters"):
            folds = 10
        found = _dealt(found, folds, fold, own)
    elif folds is not None:
        raise UsageError("folds: generated windows have splits of their own; set source or train")
    about |= {} if folds is None else {"folds": folds, "fold": fold}
    if train is None:
        positive = positive or _POSITIVE.get(source)
    return Task(
        read=found.read,
        input=_input(
            steps,
            Spelling(case, gaps),
            k,
            stride,
            min_count,
            drop,
            strands,
            middle,
            _scan(scan, filters, pool, scan_dropout),
        ),
        target=Label(),
        head="classify",
        metric=partial(scores, positive=positive),
        best=best,
        splits=found.splits,
        limit=None if max_length is None else Limit(max_length, truncate),
        files=found.files if isinstance(found, sources.Files) else None,
        notes=found.notes,
        bad_inputs=bad_inputs,
        about=about,
    )


def scores(
    predictions: Sequence[Prediction], targets: Sequence[str], *, positive: str | None = None
) -> dict[str, float]:
    """`accuracy`, `mcc`, `macro_f1`, `auroc` and `auprc`; the last two are means over the classes if there are three
    or more.

    Raises:
        UsageError: `positive` is none of two classes.
    """
    found = accuracy(predictions, targets) | mcc(predictions, targets) | macro_f1(predictions, targets)
    try:
        areas = auroc(predictions, targets, positive=positive) | auprc(predictions, targets, positive=positive)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return found | areas


def _source(
    name: str,
    own: Mapping[str, Given | None],
    how: Reading,
    alike: Alike,
    held_out: float,
    generated: sources.Generated,
) -> tuple[sources.Files | sources.Generated, dict[str, Any]]:
    """Where examples come from, and facts for the run folder."""
    if own["train"] is not None:
        files = {
            split: {label: str(path) for label, path in what.items()} if isinstance(what, Mapping) else str(what)
            for split, what in own.items()
            if what is not None
        }
        return sources.given(own, how, alike, held_out), {"files": files}
    if own["dev"] is not None or own["test"] is not None:
        raise UsageError("dev and test are files of your own, and so train must be; set train")
    if name == "generated":
        about = {"dataset": f"generated {generated.signal} windows", "sizes": list(generated.sizes)}
        return generated, {**about, "seed": generated.seed}
    found, dataset = sources.published(name, alike, held_out, how.gaps)
    return found, {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}


def _dealt(found: sources.Files, folds: int | None, fold: int, own: Mapping[str, Given | None]) -> sources.Files:
    """The same files, split into folds where that is asked for."""
    if folds is None:
        if fold:
            raise UsageError(f"fold: {fold} of how many? set folds")
        return found
    if own["dev"] is not None or own["test"] is not None:
        raise UsageError("folds: dev and test are dealt out of train; they can have no files of their own")
    if fold >= folds:
        raise UsageError(f"fold: {fold} is not among {folds} folds, which are counted from 0")
    return replace(found, folds=folds, fold=fold)


def _input(
    steps: str,
    spelling: Spelling,
    k: int,
    stride: int,
    min_count: int,
    drop: float,
    strands: Strands,
    middle: int,
    scan: Scan | None,
) -> Field:
    if steps != "kmers":
        return Bases(spelling, probabilities=steps == "one-hot", strands=strands, scan=scan, middle=middle)
    if spelling.case == "keep":
        raise UsageError("case: k-mers have no case; fold it, or mask lower case")
    if middle:
        raise UsageError("middle: k-mers have no places; take steps: one-hot or letters")
    return Kmers(spelling, k=k, stride=stride, min_count=min_count, drop=drop, strands=strands, scan=scan)


def _scan(width: int, filters: int | None, pool: int, dropout: float) -> Scan | None:
    if width:
        return Scan(width, filters, pool, dropout)
    if filters is not None or pool > 1 or dropout > 0:
        raise UsageError("filters, pool and scan_dropout belong to motif scanners; set scan to their width")
    return None


def _compiled(pattern: str | None) -> str | None:
    """The pattern, if it is one and says what the class is."""
    if pattern is None:
        return None
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise UsageError(f"pattern: is no regular expression: {error}") from None
    if "label" not in groups:
        raise UsageError("pattern: has no group such as (?P<label>[a-z]+) for the class")
    return pattern
