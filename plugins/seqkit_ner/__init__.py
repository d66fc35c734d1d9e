"""Entities in sentences, or any other tag a word: the tasks `ner` and `ner-text`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from seqkit import (
    GIVEN,
    Count,
    Limit,
    Next,
    Share,
    Size,
    Tags,
    Task,
    Tokens,
    Truncation,
    UsageError,
    Words,
    WordVectors,
    only_with,
)
from seqkit.metrics import tag_scores
from seqkit.readers import FileNames
from seqkit_ner import sources
from seqkit_ner.conll_reader import ConllReader, column_names
from seqkit_ner.formats import base_scheme
from seqkit_ner.options import DataSource, Form, Separator, WordTokenizer
from seqkit_ner.scores import SPAN_SCORES, TAG_SCORES, plain_scores, span_scores
from seqkit_ner.tokenizer import locate_words, split_words

__all__ = ["ner", "ner_text"]


@only_with("train", "dev", "test", "held_out", "scheme", "repair", folder=GIVEN)
@only_with("separator", "word_column", "tag_column", "comment", "format", "prefix", folder=GIVEN)
@only_with("char_dim", "char_hidden", "max_word", characters=("lstm", "conv"))
@only_with("sizes", "data_seed", source="generated", folder=None)
@only_with("tune", "unknown_as", "max_vectors", vectors=GIVEN)
@only_with("held_out", dev=None)
@only_with("feature_dim", features=GIVEN)
def ner(
    *,
    source: DataSource = "generated",
    sizes: tuple[Count, Count, Count] = (4000, 500, 1000),
    data_seed: Size = 1,
    folder: Path | None = None,
    train: FileNames = "train.conll",
    dev: FileNames | None = "dev.conll",
    test: FileNames | None = "test.conll",
    held_out: Share = 0.1,
    separator: Separator = "blanks",
    word_column: int | None = None,
    tag_column: int | None = None,
    comment: str | None = None,
    format: Form | None = None,
    prefix: str = "",
    scheme: Literal["iob1", "iob2", "bioes", "bilou", "bmes", "plain", "none"] = "iob2",
    learn: Literal["iob1", "iob2", "bioes", "plain"] = "bioes",
    repair: bool = False,
    unseen_labels: Literal["error", "count"] = "error",
    allow_unseen: bool = False,
    tokenizer: WordTokenizer = "spaces",
    lower: bool = True,
    digits: bool = True,
    min_count: Count = 1,
    drop: Share = 0.1,
    characters: Literal["none", "lstm", "conv"] = "lstm",
    char_dim: Count = 25,
    char_hidden: Count = 50,
    max_word: Count = 24,
    vectors: WordVectors | None = None,
    tune: bool | Literal["both"] = True,
    unknown_as: Literal["shape", "characters"] = "shape",
    max_vectors: Size = 100_000,
    contextual: tuple[Path, ...] = (),
    features: tuple[int, ...] = (),
    feature_dim: Count = 20,
    max_length: Count | None = None,
    truncate: Truncation = "window",
) -> Task:
    """Which words of a sentence are entities, and of which type? The types are those of the training data.

    Scores are those of conlleval: F1, precision and recall of whole spans, over all types and for each type. A span is
    correct if its type, its first word and its last word are. Predictions are in the scheme of the data.

    The model reads words and their characters. A line to predict is split by `tokenizer`, and predicted spans say which
    characters of the line they are.

    Args:
        source: generated, sentences of news from a grammar in which names are made up and one name can be a person, a
            place or a company, depending on its context (offline); ncbi-disease, diseases in abstracts of PubMed;
            wnut17, new and rare entities in tweets, comments and forums; conll2000, chunks (noun phrases, verb phrases
            and nine other types) of newspaper text.
        sizes: how many sentences are generated for train, dev and test.
        data_seed: seed of the generated sentences; the recipe's seed has no part in it.
        folder: a folder of your own CoNLL files, used instead of source (one word a line, blank lines between
            sentences, perhaps gzipped).
        train: file name of the training sentences; a pattern (`part-*.tsv`) or a list of names reads several files.
        dev: file name of the sentences that choose the checkpoint. null: a share of train is held out for it.
        test: file name of the test sentences. null: there are none.
        held_out: with `dev: null`, the share of train that is dev, chosen by a hash of the words.
        separator: what separates the columns of your files: blanks (any run of spaces and tabs), one tab, one space.
        word_column: the column of the word, counted from 1, or from the end (-1 is the last). null: 1, in CoNLL-U 2.
        tag_column: the column of the tag, likewise. null: -1, in CoNLL-U 4, the universal part of speech.
        comment: lines that begin with this are left out, unless they have the columns of a word (null: in CoNLL-U #,
            else there are no comments).
        format: of your files: columns; conllu, whose ranges of words and empty nodes are left out; parallel, two files
            named as `words|tags`; jsonl or json (an array), objects of `tokens` with `tags` or of a `text` with its
            `spans`. null: by the name (.conllu, `|`, .jsonl, .json), else columns.
        prefix: what every word of your files begins with, to be taken off (de: of de:Berlin).
        scheme: how the tags of your files mark spans: iob1, iob2 (BIO), bioes, bilou and bmes (read as bioes, in which
            predictions are), plain (the type alone), or none (each tag is a separate label, like a part of speech;
            scored by accuracy). Tags that break it are errors.
        learn: the scheme that the model learns in.
        repair: correct tags that break the scheme, as conlleval reads them.
        unseen_labels: types (with `scheme: none`, tags) in dev or test that train does not have. error, they are
            refused; count, they are counted, and scored as missed.
        allow_unseen: true means the same as `unseen_labels: count`; for recipes that were written before it.
        tokenizer: how a line of text to predict is split into words; your files are split already. spaces, by spaces
            and tabs; punctuation, also between words and punctuation.
        lower: ignore the case of words (but not of their characters).
        digits: ignore which digits a word has (but not among its characters).
        min_count: a word seen less often in training is unknown.
        drop: share of the words that training reads as unknown, at random (word dropout). There is one unknown word for
            each shape: capitals, an initial capital, digits, lower case, other.
        characters: how the characters of a word are read: a recurrence in both directions, a convolution, or not.
        char_dim: width of a character's vector.
        char_hidden: how many of the encoder's `dim` numbers are made of a word's characters; the rest are the word's
            vector.
        max_word: most characters that are read of a word; of a longer word, its beginning and its end are read.
        vectors: word vectors to start from: a text file (GloVe, word2vec or fastText; perhaps gzipped), or
            glove-6b-50d or glove-6b-100d, the first 100,000 words of GloVe 6B, from SEQKIT_DATA.
        tune: whether training changes these vectors. both: a word has a vector of each kind, side by side (Kim 2014).
        unknown_as: what an unknown word is read as. shape: the unknown word of its shape; characters: that, and a
            linear map of the vector of its characters, which `drop` trains (after Pinter et al. 2017).
        max_vectors: most words of that file that are known beside those of train.
        contextual: run or model folders of `charlm`, unit characters: one that reads forwards, one that reads
            backwards, or both. They read the whole text, and each word has a vector of what they know then, beside its
            others (contextual string embeddings; Akbik et al. 2018). They are not trained further, and are part of the
            model.
        features: further columns of CoNLL files that are read beside the word, counted as `word_column` is: `[2]`, the
            part of speech in CoNLL-2000. Files to predict need them too; text without them is refused.
        feature_dim: width of the vector of each such feature. A value that training has once at most is unknown.
        max_length: most words of a sentence (null: no limit).
        truncate: what happens to a longer one. window, all of it is read in windows whose tags are joined again; head,
            tail or both_ends, only that part is kept.

    Raises:
        UsageError: a column or a comment that no file can have; features of sentences without columns; an odd
            `char_hidden` of a recurrence.
    """
    if characters == "lstm" and char_hidden % 2:
        raise UsageError(f"char_hidden: {char_hidden} should be even, for a recurrence in both directions")
    tag_scheme = base_scheme(None if scheme == "none" else scheme)
    names = {"train": train, "dev": dev, "test": test}
    reader = ConllReader(
        separator=separator,
        word=word_column,
        tag=tag_column,
        comment=comment,
        scheme=None if scheme == "none" else scheme,
        repair=repair,
        form=format,
        prefix=prefix,
        tokenizer=tokenizer,
        features=features,
    )
    if folder is not None:
        examples = sources.folder(folder, names, reader, held_out)
    else:
        examples = sources.named(source, sizes, data_seed, features)
        tag_scheme = "iob2"
        reader = replace(reader, scheme=tag_scheme)
    locate = partial(locate_words, tokenizer=tokenizer)
    return Task(
        read=examples.read,
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
            unknown_as=unknown_as,
            max_vectors=max_vectors,
            contextual=contextual,
            features=len(features),
            feature_dim=feature_dim,
        ),
        target=Tags(
            scheme=tag_scheme,
            learn=learn if tag_scheme else None,
            allow_unseen=allow_unseen or unseen_labels == "count",
        ),
        head="crf",
        metric=tag_scores if tag_scheme is None else plain_scores if tag_scheme == "plain" else span_scores,
        scores=TAG_SCORES if tag_scheme is None else SPAN_SCORES,
        best="accuracy" if tag_scheme is None else "span_f1",
        splits=examples.splits,
        limit=None if max_length is None else Limit(max_length, truncate),
        files=examples.files,
        shards=examples.shards,
        parse=partial(_parse, tokenizer=tokenizer, features=features),
        parse_target=reader.parse_tags,
        parse_by_words=True,
        about=examples.about,
        read_file=lambda path, split, labelled: sources.read_other(path, split, labelled, names, reader, held_out),
        suffixes=sources.SUFFIXES_OF_COLUMNS if features else sources.SUFFIXES,
        locate=locate,
    )


def _parse(line: str, *, tokenizer: WordTokenizer, features: tuple[int, ...]) -> list[str]:
    """The words of a line of text.

    Raises:
        ValueError: words have features, which text does not have.
    """
    if features:
        raise ValueError(f"is text, and the model reads {column_names(features)} of CoNLL files too; give such a file")
    return split_words(line, tokenizer)


@only_with("sizes", "data_seed", source="generated")
def ner_text(
    *,
    source: DataSource = "generated",
    sizes: tuple[Count, Count, Count] = (4000, 500, 1000),
    data_seed: Size = 1,
    lower: bool = False,
    min_count: Count = 2,
    drop: Share = 0.0,
) -> Task:
    """What is the next word of these sentences? They are those of `ner` without their tags, as a second task beside it.

    Args:
        source: as for `ner`.
        sizes: how many sentences are generated for train, dev and test. The first ones are those of `ner`.
        data_seed: seed of the generated sentences; the recipe's seed has no part in it.
        lower: lower the case first.
        min_count: a word seen less often in training is unknown.
        drop: share of the words that training reads as unknown, at random.
    """
    examples = sources.named(source, sizes, data_seed)
    return Task(
        read=lambda split: (replace(example, target=None) for example in examples.read(split)),
        input=Tokens("words", lower=lower, min_count=min_count, drop=drop),
        target=Next(),
        head="language",
        best="nats",
        splits=examples.splits,
        files=examples.files,
        about=examples.about,
        read_file=lambda path, split, labelled: ConllReader().read(path, labelled=False),
        suffixes=sources.SUFFIXES,
    )
