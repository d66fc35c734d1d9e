"""Text to text (languages, spellings, numbers to words: whatever the pairs say): the task `translation`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seqkit import GIVEN, Count, Example, Limit, Share, Size, Task, Text, Tokens, UsageError, only_with
from seqkit.readers import FileNames, FormatName, TableFormat
from seqkit_translation import sources
from seqkit_translation.options import Kind, ScoreKind, Unit, WordTokenizer
from seqkit_translation.scores import TEXT_SCORES, TRANSLATION_SCORES, pair_scores, signature
from seqkit_translation.tokenizer import detokenize, tokenize

__all__ = ["translation"]


@only_with("input_column", "target_column", "skip_blank", folder=GIVEN)
@only_with("header", "format", "separator", "quoting", "encoding", folder=GIVEN)
@only_with("train", "dev", "test", "held_out", folder=GIVEN)
@only_with("sizes", "data_seed", "kind", source="generated", folder=None)
@only_with("held_out", dev=None)
def translation(
    *,
    source: Literal["generated", "multi30k"] = "generated",
    kind: Kind = "both",
    sizes: tuple[Count, Count, Count] = (8000, 500, 1000),
    data_seed: Size = 1,
    pair: tuple[str, str] = ("de", "en"),
    folder: Path | None = None,
    train: FileNames = "train.tsv",
    dev: FileNames | None = "dev.tsv",
    test: FileNames | None = "test.tsv",
    held_out: Share = 0.05,
    input_column: str | Count | None = None,
    target_column: str | Count | None = None,
    header: bool | None = None,
    format: FormatName | None = None,
    separator: str | None = None,
    quoting: bool | None = None,
    encoding: str = "utf-8",
    skip_blank: bool = False,
    input_unit: Unit = "characters",
    target_unit: Unit = "characters",
    tokenizer: WordTokenizer = "marked",
    lower: bool = False,
    min_count: Count = 1,
    pieces: Count = 8000,
    shared: bool = False,
    drop: Share = 0.0,
    replace_unknown: bool = True,
    max_length: Count | None = None,
    scores: ScoreKind | None = None,
    best: Literal["exact", "cer", "bleu", "chrf", "nats"] | None = None,
) -> Task:
    """What is this text in the other language (spelling, notation)? Pairs of an input and its target.

    Scores of the kind `text` are the character error rate and `exact`, the share of texts without an error. Those of
    the kind `translation` are sacrebleu's BLEU (its own tokenisation 13a) and chrF, and `exact`; they need the extra
    `text`. Either way predictions are joined to plain text and compared with the target as it was read: a target word
    that is not in the vocabulary counts as itself, never as unknown. With `lower`, scores ignore case. `cut` is the
    share of the texts that ended only because of the head's max_length.

    Args:
        source: generated, numbers to English words and dates to ISO (offline); multi30k, captions of pictures in
            English, German and French, test on Flickr 2016.
        kind: which of the generated ones: both, numbers, dates.
        sizes: how many pairs are generated for train, dev and test.
        data_seed: seed of the generated pairs; the recipe's seed has no part in it.
        pair: the languages, from and to: of multi30k, or in the names of parallel files.
        folder: a folder of your own files, used instead of source. Each split is either two parallel files (line n of
            one belongs to line n of the other), or one with both sides: a table (tsv, csv), JSON lines, a JSON array or
            Parquet. All may be compressed.
        train: file name of the training pairs. In the name of parallel files, {} is in place of the language, as in
            train.{}.gz.
        dev: file name of the pairs that choose the checkpoint. null: a share of train is held out for it.
        test: file name of the test pairs. null: there are none.
        held_out: with `dev: null`, the share of train that is dev, chosen by a hash of the input.
        input_column: the column of the input, by its number from 1 or its name, or the key in JSON lines (null: column
            1, key input).
        target_column: the column or key of the target (null: column 2, key target).
        header: whether the first line names the columns (null: it does if a column is given by name).
        format: of a file with both sides: tsv, csv, jsonl, json (an array) or parquet (null: by the suffix, or if that
            is not known by the content, which is told).
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks
            (null: a tab in tsv, a comma in csv).
        quoting: whether a field in quotation marks may hold separators and line ends (null: in csv).
        encoding: of a file with both sides.
        skip_blank: leave out pairs of which a side is blank; otherwise they are errors.
        input_unit: what a step of the input is.
        target_unit: what a step of the target is.
        tokenizer: what words are, if they are the unit. marked, punctuation is split from words, and marked if it
            followed without a space, so that the text can be joined again exactly; spaces, words are separated by white
            space.
        lower: lower the case first, on both sides.
        min_count: a symbol seen less often in training is unknown, on either side.
        pieces: about how many pieces of words are learned, for each side of that unit.
        shared: learn the pieces from both sides together, so that they are the same; both units must be pieces.
        drop: share of the input symbols that training reads as unknown.
        replace_unknown: if both units are words, replace each unknown word in a prediction by the input word with the
            most attention (Luong et al. 2015, arXiv:1410.8206). For heads that give an alignment.
        max_length: most steps of an input; a longer one is cut at its end, and counted (null: no limit).
        scores: text or translation (null: text for the generated pairs, translation for all others).
        best: the dev score that chooses the checkpoint (null: exact or bleu).

    Raises:
        UsageError: a file's name, a column or a pair that is not supported.
    """
    names = {"train": train, "dev": dev, "test": test}
    reader = sources.PairReader(
        pair=pair,
        input=input_column,
        target=target_column,
        header=header,
        skip_blank=skip_blank,
        layout=TableFormat(format=format, separator=separator, quoting=quoting, encoding=encoding),
    )
    if folder is not None:
        pairs = sources.folder(folder, names, reader, held_out)
    elif source == "generated":
        pairs = sources.generated(sizes, data_seed, kind)
    else:
        pairs = sources.multi30k(pair)
    prepare_input, prepare_target = _tokenizer(input_unit, tokenizer), _tokenizer(target_unit, tokenizer)

    def prepare(examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            x = prepare_input(example.input)
            given = None if x is example.input else example.input
            yield replace(example, input=x, target=prepare_target(example.target), given=given)

    def read(split: str) -> Iterator[Example]:
        return prepare(pairs.read(split))

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        return prepare(sources.read_other(path, split, labelled, names, reader, held_out))

    if shared and (input_unit != "pieces" or target_unit != "pieces"):
        raise UsageError("shared: true: only pieces are shared; set input_unit and target_unit to pieces")
    score_kind: ScoreKind = scores or ("text" if folder is None and source == "generated" else "translation")
    about = dict(pairs.about)
    if score_kind == "translation":
        about["scores"] = signature(lower=lower)
    both_words = input_unit == "words" and target_unit == "words"
    return Task(
        read=read,
        input=Tokens(
            input_unit,
            lower=lower,
            min_count=min_count,
            pieces=pieces,
            drop=drop,
            also=partial(_training_side, read, "target") if shared else None,
        ),
        target=Text(
            target_unit,
            lower=lower,
            min_count=min_count,
            pieces=pieces,
            also=partial(_training_side, read, "input") if shared else None,
        ),
        head="attend",
        metric=partial(pair_scores, kind=score_kind, lower=lower),
        scores=TEXT_SCORES if score_kind == "text" else TRANSLATION_SCORES,
        best=best or ("exact" if score_kind == "text" else "bleu"),
        splits=pairs.splits,
        limit=None if max_length is None else Limit(max_length, "head"),
        files=pairs.files,
        parse=None if prepare_input is _unchanged else prepare_input,
        parse_by_words=True,
        parse_target=prepare_target,
        finish=partial(detokenize, replace_unknown=replace_unknown and both_words),
        about=about,
        read_file=read_file,
        suffixes=sources.SUFFIXES,
    )


def _training_side(read: Callable[[str], Iterator[Example]], side: str) -> Iterator[Any]:
    """One side of the training pairs."""
    return (getattr(example, side) for example in read("train"))


def _tokenizer(unit: Unit, tokenizer: WordTokenizer) -> Callable[[Any], Any]:
    return tokenize if unit == "words" and tokenizer == "marked" else _unchanged


def _unchanged(text: Any) -> Any:
    return text
