"""Entities in sentences, or any other tag a word: the tasks `ner` and `ner-text`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from seqkit import Count, Limit, Next, Prediction, Share, Size, Tags, Task, Tokens, Truncation, Words
from seqkit.metrics import span_f1, tag_accuracy, tag_scores
from seqkit.spans import convert
from seqkit_ner import sources
from seqkit_ner.conll import Layout, Separator

__all__ = ["ner", "ner_text"]


def ner(
    *,
    source: Literal["generated", "ncbi-disease", "wnut17"] = "generated",
    sizes: tuple[Count, Count, Count] = (4000, 500, 1000),
    data_seed: Size = 1,
    folder: Path | None = None,
    train: str = "train.conll",
    dev: str | None = "dev.conll",
    test: str | None = "test.conll",
    held_out: Share = 0.1,
    separator: Separator = "blanks",
    word_column: int = 1,
    tag_column: int = -1,
    comment: str | None = None,
    scheme: Literal["iob1", "iob2", "bioes", "plain", "none"] = "iob2",
    learn: Literal["iob1", "iob2", "bioes", "plain"] = "bioes",
    repair: bool = False,
    allow_unseen: bool = False,
    lower: bool = True,
    digits: bool = True,
    min_count: Count = 1,
    drop: Share = 0.1,
    characters: Literal["none", "lstm", "conv"] = "lstm",
    char_dim: Count = 25,
    char_hidden: Count = 50,
    max_word: Count = 24,
    vectors: Path | None = None,
    tune: bool = True,
    max_vectors: Size = 100_000,
    max_length: Count | None = None,
    truncate: Truncation = "window",
) -> Task:
    """Which words of a sentence are entities, and of which type? The types are those of the training data.

    Scores are those of conlleval: F1, precision and recall of whole spans, over all types and for each; a span counts
    if its type, its first word and its last are right. Predictions come in the scheme of the data.

    Words are read as themselves and as their characters; a line to predict is split on white space.

    Args:
        source: generated, sentences of news from a grammar in which names are made up and one name can be a person, a
            place or a company (offline; what stands around it decides); ncbi-disease, diseases in abstracts of PubMed;
            wnut17, new and rare entities in tweets, comments and forums.
        sizes: how many sentences are generated for train, dev and test.
        data_seed: seed of the generated sentences, apart from the recipe's seed.
        folder: a folder of your own CoNLL files (one word a line, blank lines between sentences, perhaps gzipped);
            given, it decides instead of source.
        train: file name of the training sentences.
        dev: file name of the sentences that choose the checkpoint. null: a share of train is held out for it.
        test: file name of the test sentences. null: there are none.
        held_out: with `dev: null`, the share of train that is dev; which ones is decided by a hash of the words.
        separator: what separates the columns of your files: blanks (any run of spaces and tabs), one tab, one space.
        word_column: the column of the word, counted from 1, or from the end (-1 is the last).
        tag_column: the column of the tag, likewise.
        comment: lines that begin with this are left out (null: there are no comments).
        scheme: how the tags of your files mark spans: iob1, iob2 (BIO), bioes, plain (the type alone), or none (each
            tag is a label of its own, as parts of speech are; scored by accuracy). Tags that break it are errors.
        learn: the scheme that the model learns in.
        repair: mend tags that break the scheme, as conlleval reads them.
        allow_unseen: a type in dev or test that train does not have is no error; its spans count as missed.
        lower: words are the same in any case (their characters are not).
        digits: words are the same whatever their digits (their characters are not).
        min_count: a word seen less often in training is unknown.
        drop: share of the words that training reads as unknown, at random (word dropout). There is an unknown word for
            each shape: capitals, an initial capital, digits, lower case, other.
        characters: how the characters of a word are read: a recurrence in both directions, a convolution, or not.
        char_dim: width of a character's vector.
        char_hidden: how many of the encoder's `dim` numbers a word's characters become; the rest are the word's own.
        max_word: the most characters that are read of a word; of a longer one its beginning and its end.
        vectors: a text file of word vectors to start from (GloVe, word2vec or fastText; perhaps gzipped).
        tune: whether these vectors are learned on.
        max_vectors: how many words of that file are known beside those of train.
        max_length: most words of a sentence (null: no limit).
        truncate: what becomes of a longer one: all of it in windows whose tags are joined again, or its head, tail or
            both_ends alone.

    Raises:
        UsageError: a column of yours cannot be meant like this.
    """
    marks = None if scheme == "none" else scheme
    if folder is not None:
        layout = Layout(separator, word_column, tag_column, comment, marks, repair)
        found = sources.folder(folder, {"train": train, "dev": dev, "test": test}, layout, held_out)
    elif source == "generated":
        found = sources.generated(sizes, data_seed)
    else:
        found = sources.published(sources.NCBI_DISEASE if source == "ncbi-disease" else sources.WNUT17)
    given = marks if folder is not None else "iob2"
    files = found.files
    if vectors is not None:
        behind = files or (lambda split: [])
        files = lambda split: [*behind(split), vectors]  # noqa: E731
    return Task(
        read=found.read,
        input=Words(
            lower=lower,
            digits=digits,
            min_count=min_count,
            drop=drop,
            characters=characters,
            char_dim=char_dim,
            char_hidden=char_hidden,
            max_word=max_word,
            vectors=vectors,
            tune=tune,
            max_vectors=max_vectors,
        ),
        target=Tags(scheme=given, learn=learn if given else None, allow_unseen=allow_unseen),
        head="crf",
        metric=tag_scores if given is None else plain_scores if given == "plain" else span_scores,
        best="accuracy" if given is None else "span_f1",
        splits=found.splits,
        limit=None if max_length is None else Limit(max_length, truncate),
        files=files,
        about=found.about,
    )


def ner_text(
    *,
    source: Literal["generated", "ncbi-disease", "wnut17"] = "generated",
    sizes: tuple[Count, Count, Count] = (4000, 500, 1000),
    data_seed: Size = 1,
    lower: bool = False,
    min_count: Count = 2,
    drop: Share = 0.0,
) -> Task:
    """What is the next word of these sentences? The sentences of `ner` without their tags, to be learned beside it.

    Args:
        source: as for `ner`.
        sizes: how many sentences are generated for train, dev and test. The first ones are those of `ner`.
        data_seed: seed of the generated sentences, apart from the recipe's seed.
        lower: lower the case first.
        min_count: a word seen less often in training is unknown.
        drop: share of the words that training reads as unknown, at random.
    """
    if source == "generated":
        found = sources.generated(sizes, data_seed)
    else:
        found = sources.published(sources.NCBI_DISEASE if source == "ncbi-disease" else sources.WNUT17)
    return Task(
        read=lambda split: (replace(example, target=None) for example in found.read(split)),
        input=Tokens("words", lower=lower, min_count=min_count, drop=drop),
        target=Next(),
        head="language",
        best="nats",
        splits=found.splits,
        files=found.files,
        about=found.about,
    )


def span_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """`span_f1` and its parts, and `accuracy` by word."""
    return {**span_f1(predictions, targets), **tag_accuracy(predictions, targets)}


def plain_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """The same for tags that are types alone: what touches and is of one type is one span."""
    said = [Prediction(_marked(prediction.value)) for prediction in predictions]
    return {**span_f1(said, [_marked(target) for target in targets]), **tag_accuracy(predictions, targets)}


def _marked(tags: Any) -> list[str]:
    return convert(tags, "plain", "iob2")
