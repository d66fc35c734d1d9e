"""Labels of texts (sentiment, emotion, topic: whatever the data says): the task `sentiment`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seqkit import (
    GIVEN,
    Count,
    Example,
    Field,
    Label,
    Labels,
    Limit,
    Shard,
    Share,
    Size,
    Task,
    Tokens,
    Truncation,
    UsageError,
    Words,
    WordVectors,
    only_with,
)
from seqkit.metrics import label_scores, set_scores
from seqkit.readers import FileNames, FormatName, ShareSplit, SplitBy, TableFormat
from seqkit_sentiment import sources
from seqkit_sentiment.tweets import tokenise

__all__ = ["sentiment"]


@only_with("text", "label", "header", "format", "separator", "quoting", "encoding", folder=GIVEN)
@only_with("label_separator", "label_folder", "skip_blank", folder=GIVEN)
@only_with("train", "dev", "test", "held_out", "held_out_test", "split_by", "group", folder=GIVEN)
@only_with("sizes", "data_seed", source="generated", folder=None)
@only_with("tune", "unknown_as", "max_vectors", vectors=GIVEN)
@only_with("held_out", dev=None)
@only_with("held_out_test", test=None)
def sentiment(
    *,
    source: Literal["generated", "sst2", "tweeteval-emotion"] = "generated",
    sizes: tuple[Count, Count, Count] = (8000, 1000, 2000),
    data_seed: Size = 1,
    folder: Path | None = None,
    train: FileNames = "train.tsv",
    dev: FileNames | None = "dev.tsv",
    test: FileNames | None = "test.tsv",
    held_out: Share = 0.1,
    text: str | Count | None = None,
    label: str | Count | None = None,
    header: bool | None = None,
    format: FormatName | None = None,
    separator: str | None = None,
    quoting: bool | None = None,
    encoding: str = "utf-8",
    label_separator: str | None = None,
    label_folder: int = 1,
    held_out_test: Share = 0.0,
    split_by: SplitBy = "input",
    group: str | Count | None = None,
    skip_blank: bool = False,
    tokenizer: Literal["spaces", "tweets"] = "spaces",
    unit: Literal["words", "characters", "bytes", "pieces"] = "words",
    lower: bool = False,
    min_count: Count = 1,
    max_size: Count | None = None,
    drop: Share = 0.0,
    vectors: WordVectors | None = None,
    tune: bool | Literal["both"] = True,
    characters: Literal["none", "lstm", "conv"] = "none",
    unknown_as: Literal["shape", "characters"] = "shape",
    max_vectors: Size = 100_000,
    contextual: tuple[Path, ...] = (),
    max_length: Count | None = None,
    truncate: Truncation = "head",
    unseen_labels: Literal["error", "count"] = "error",
    best: Literal["accuracy", "macro_f1", "micro_f1"] = "accuracy",
) -> Task:
    """Which of these labels does a text have? The labels are those of the training data, two or more.

    Scores are accuracy and macro-F1 (the plain mean of every label's F1).

    Args:
        source: generated, short film reviews from a grammar with negation, contrast and distractors, where the order
            of words matters (offline); sst2, sentences of the Stanford Sentiment Treebank; tweeteval-emotion, the
            emotion of tweets.
        sizes: how many reviews are generated for train, dev and test.
        data_seed: seed of the generated reviews; the recipe's seed has no part in it.
        folder: a folder of your own files, used instead of source. A file is a table (tsv, csv), JSON lines, a JSON
            array, Parquet or in the format of fastText, and may be compressed. A folder in place of a file has a folder
            of text files for each class. `seq.in|label` are two parallel files, texts and labels.
        train: file name of the training examples; a pattern (`part-*.tsv`) or a list of names reads several files.
        dev: file name of the examples that choose the checkpoint. null: a share of train is held out for it.
        test: file name of the test examples. null: there are none.
        held_out: with `dev: null`, the share of train that is dev, chosen by a hash of the text, so that repeats of a
            text are in one split.
        text: the column of the text, by its number from 1 or its name in the header, or the key in JSON lines (null:
            column 1, key text).
        label: the column or key of the label (null: column 2, key label).
        header: whether the first line names the columns (null: it does if text or label is a name).
        format: of your files: tsv, csv, jsonl, json (an array), parquet or fasttext (null: by the suffix, or if that is
            not known by the content, which is told).
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks
            (null: a tab in tsv, a comma in csv).
        quoting: whether a field in quotation marks may hold separators and line ends (null: in csv).
        encoding: of your files.
        label_separator: between the labels of a text that has several in its cell (null: a text has one label). Then
            any of the labels can be predicted, or none.
        label_folder: in a folder of classes, which folder on the way to a file names its class: 1 the uppermost, -1
            the one that it lies in, 0 all of them, joined with `/`.
        held_out_test: with `test: null`, the share of train that is test.
        split_by: how dev and test are chosen from train: input, by a hash of each text; label, so within each label, by
            exact shares; group, whole groups (speakers, documents), which `group` names.
        group: the column or key of the group, for `split_by: group`.
        skip_blank: leave out blank lines of your files; otherwise they are errors.
        tokenizer: spaces, words are separated by white space; tweets, for tweets: lower case, HTML entities replaced,
            and punctuation, `#` and each emoji separated from the words.
        unit: what a time step is; pieces of words need the extra `text`.
        lower: lower the case first.
        min_count: a symbol seen less often in training is unknown.
        max_size: most symbols in the vocabulary, the most frequent ones; for pieces, about how many are learned (null:
            8000).
        drop: share of the symbols that training reads as unknown, at random (word dropout).
        vectors: with `unit: words`, word vectors to start from: a text file (GloVe, word2vec or fastText; perhaps
            gzipped), or glove-6b-50d or glove-6b-100d, the first 100,000 words of GloVe 6B, from SEQKIT_DATA.
        tune: whether training changes these vectors. both: a word has a vector of each kind, side by side (Kim 2014).
        characters: with vectors, how the characters of a word are read beside them: a recurrence in both directions, a
            convolution, or not.
        unknown_as: what an unknown word is read as. shape: the unknown word of its shape (all capitals, digits ...);
            characters: that, and a linear map of the vector of its characters, which `drop` trains (after Pinter et al.
            2017).
        max_vectors: most words of that file that are known beside those of train.
        contextual: run or model folders of `charlm`, unit characters: one that reads forwards, one that reads
            backwards, or both. They read the whole text, and each word has a vector of what they know then, beside its
            others (contextual string embeddings; Akbik et al. 2018). They are not trained further, and are part of the
            model.
        max_length: most steps of a text (null: no limit).
        truncate: what happens to a longer one. head, tail or both_ends, that part is kept; window, all of it is read
            in windows.
        unseen_labels: labels in dev or test that training does not have. error, they are refused; count, they are
            counted, and such examples are scored as wrong.
        best: the dev score that chooses the checkpoint.

    Raises:
        UsageError: a column, a separator or a combination of options that is not supported.
    """
    names = {"train": train, "dev": dev, "test": test}
    layout = TableFormat(format=format, separator=separator, quoting=quoting, encoding=encoding)
    reader = sources.TableReader(
        text=text,
        label=label,
        group=group,
        header=header,
        skip_blank=skip_blank,
        layout=layout,
        label_separator=label_separator,
        label_folder=label_folder,
    )
    if split_by == "group" and group is None and _is_file(folder, train):
        raise UsageError("split_by: group: name the column of the group as `group`")
    has_vectors = vectors is not None or bool(contextual)
    if has_vectors and (unit != "words" or max_size is not None):
        option = "vectors" if vectors is not None else "contextual"
        raise UsageError(f"{option} are those of words: leave unit: words and max_size: null, or leave out {option}")
    if not has_vectors and characters != "none":
        raise UsageError("characters are read beside word vectors; name some as `vectors`, or take unit: characters")
    is_multilabel = label_separator is not None
    if best == "micro_f1" and not is_multilabel:
        raise UsageError("best: micro_f1 is a score of several labels a text; set label_separator, or best: macro_f1")
    share_split = ShareSplit(dev=held_out, test=held_out_test, by=split_by, key=sources.text_of)
    if folder is not None:
        examples = sources.folder(folder, names, reader, share_split)
    elif source == "generated":
        examples = sources.generated(sizes, data_seed)
    else:
        examples = sources.sst2() if source == "sst2" else sources.tweeteval_emotion()
    parse = _tokenize if tokenizer == "tweets" else _unchanged
    prepare = partial(_tokenize_all, parse)

    def read(split: str) -> Iterator[Example]:
        return prepare(examples.read(split))

    def shards(split: str) -> list[Shard]:
        return [shard.changed(prepare) for shard in examples.shards(split)] if examples.shards is not None else []

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        return prepare(sources.read_other(path, split, labelled, names, reader, share_split))

    field: Field
    if has_vectors:
        field = Words(
            lower=lower,
            min_count=min_count,
            drop=drop,
            characters=characters,
            vectors=vectors,
            tune=tune,
            unknown_as=unknown_as,
            max_vectors=max_vectors,
            contextual=contextual,
        )
    elif unit == "pieces":
        field = Tokens(unit, lower=lower, min_count=min_count, pieces=max_size or 8000, drop=drop)
    else:
        field = Tokens(unit, lower=lower, min_count=min_count, max_size=max_size, drop=drop)
    return Task(
        read=read,
        input=field,
        target=Labels(allow_unseen=unseen_labels == "count")
        if is_multilabel
        else Label(allow_unseen=unseen_labels == "count"),
        head="classify",
        metric=set_scores if is_multilabel else label_scores,
        scores=("accuracy", "micro_f1", "macro_f1") if is_multilabel else ("accuracy", "macro_f1"),
        best=best,
        splits=examples.splits,
        limit=None if max_length is None else Limit(max_length, truncate),
        files=examples.files,
        shards=shards,
        parse=None if parse is _unchanged else parse,
        parse_by_words=True,
        about=examples.about,
        read_file=read_file,
        suffixes=sources.SUFFIXES,
    )


def _is_file(folder: Path | None, names: FileNames) -> bool:
    """Whether the training data are not a folder of classes."""
    return folder is None or not isinstance(names, str) or not sources.is_class_folder(folder / names)


def _tokenize_all(parse: Callable[[Any], Any], examples: Iterable[Example]) -> Iterator[Example]:
    """The examples with their texts tokenised; the texts are kept as they were given."""
    for example in examples:
        tokens = parse(example.input)
        yield example if tokens is example.input else replace(example, input=tokens, given=example.input)


def _unchanged(text: Any) -> Any:
    return text


def _tokenize(text: Any) -> Any:
    """A tweet's tokens. A value that is not text stays as it is: the field reports it with its position."""
    return tokenise(text) if isinstance(text, str) else text
