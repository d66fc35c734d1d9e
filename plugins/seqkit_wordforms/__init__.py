"""Words to their pronunciation, and lemmas to their forms: the tasks `g2p` and `inflection`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from seqkit import GIVEN, Example, Share, Task, Text, Tokens, UsageError, only_with
from seqkit.readers import FileNames
from seqkit_wordforms import sources
from seqkit_wordforms.datasets import G2P, G2P_LANGUAGES, INFLECTION, INFLECTION_LANGUAGES
from seqkit_wordforms.scores import word_scores

__all__ = ["g2p", "inflection"]


@only_with("train", "dev", "test", "header", folder=GIVEN)
def g2p(
    *,
    source: Literal["sigmorphon2020"] = "sigmorphon2020",
    languages: tuple[str, ...] | None = None,
    folder: Path | None = None,
    train: FileNames = "train.tsv",
    dev: FileNames | None = "dev.tsv",
    test: FileNames | None = None,
    header: bool = False,
    drop: Share = 0.0,
) -> Task:
    """How is this word said? Its letters become phones (grapheme to phoneme), in one language or in several at once.

    A step is a letter, decomposed (NFD), so that Korean syllables are two or three steps and accents one. With
    several languages, the first step says which one it is.

    Scores: wer, the share of words with an error, and per, the edit distance in phones divided by their number, each a
    plain mean over the languages; and wer.LANGUAGE.

    Args:
        source: sigmorphon2020, words of Wiktionary, 3,600 to train, 450 dev and 450 test in each language.
        languages: which ones (null: all 15 of sigmorphon2020; of your files, one without a name). In the names of your
            files, {} stands for the language.
        folder: a folder of your own files, used instead of source: a word, a tab, and its phones with blanks between
            them, on each line.
        train: file name of the training words; a pattern (`part-*.tsv`) or a list of names reads several files.
        dev: file name of those that choose the checkpoint (null: there are none).
        test: file name of the test words (null: there are none).
        header: whether the first line of your files names the columns: word and phones, in any order; if it has other
            names, they are in this order.
        drop: share of the letters that training reads as unknown, at random.

    Raises:
        UsageError: a language that there is not.
    """
    names: dict[str, FileNames | None] = {"train": train, "dev": dev, "test": test}
    if folder is None:
        names = {split: f"{split}/{{}}_{split}.tsv.gz" for split in ("train", "dev", "test")}
        words = sources.published(G2P, names, languages or G2P_LANGUAGES, G2P_LANGUAGES, sources.G2P_COLUMNS)
    else:
        words = sources.own(folder, names, languages or (), sources.G2P_COLUMNS, header=header)
    return Task(
        read=words.examples,
        input=Tokens("words", drop=drop),
        target=Text("words"),
        head="attend",
        metric=word_scores("wer", "per", str.split, right=False),
        scores=("wer", "per", "wer.*"),
        best="min:wer",
        splits=words.splits,
        files=words.files,
        parse=partial(_parsed, words=words),
        about=words.facts,
        read_file=partial(_read_file, words=words),
        suffixes=sources.SUFFIXES,
    )


@only_with("train", "dev", "test", "header", folder=GIVEN)
def inflection(
    *,
    source: Literal["sigmorphon2020"] = "sigmorphon2020",
    languages: tuple[str, ...] | None = None,
    folder: Path | None = None,
    train: FileNames = "train.tsv",
    dev: FileNames | None = "dev.tsv",
    test: FileNames | None = None,
    header: bool = False,
    drop: Share = 0.0,
) -> Task:
    """Which form has this word with these features (`patay`, V;AGFOC;LGSPEC1: `magpapatay`)?

    The input is the features, a step each, and then the letters of the lemma. With several languages, the first step
    says which one it is.

    Scores: exact, the share of forms without an error, and cer, the edit distance in characters divided by their
    number, each a plain mean over the languages; and exact.LANGUAGE.

    Args:
        source: sigmorphon2020, forms of Wiktionary in Old English (ang), Estonian (est) and Tagalog (tgl).
        languages: which ones (null: all three of sigmorphon2020; of your files, one without a name). In the names of
            your files, {} stands for the language.
        folder: a folder of your own files, used instead of source: lemma, form and features, with tabs between them,
            on each line; features have semicolons between them.
        train: file name of the training words; a pattern (`part-*.tsv`) or a list of names reads several files.
        dev: file name of those that choose the checkpoint (null: there are none).
        test: file name of the test words (null: there are none).
        header: whether the first line of your files names the columns: lemma, form and features, in any order; if it
            has other names, they are in this order.
        drop: share of the letters and features that training reads as unknown, at random.

    Raises:
        UsageError: a language that there is not.
    """
    names: dict[str, FileNames | None] = {"train": train, "dev": dev, "test": test}
    if folder is None:
        names = {"train": "{}.trn.gz", "dev": "{}.dev.gz", "test": "{}.tst.gz"}
        known = INFLECTION_LANGUAGES
        words = sources.published(INFLECTION, names, languages or known, known, sources.INFLECTION_COLUMNS)
    else:
        words = sources.own(folder, names, languages or (), sources.INFLECTION_COLUMNS, header=header)
    return Task(
        read=words.examples,
        input=Tokens("words", drop=drop),
        target=Text("characters"),
        head="attend",
        metric=word_scores("exact", "cer", list, right=True),
        scores=("exact", "cer", "exact.*"),
        best="exact",
        splits=words.splits,
        files=words.files,
        parse=partial(_parsed, words=words),
        about=words.facts,
        read_file=partial(_read_file, words=words),
        suffixes=sources.SUFFIXES,
    )


def _parsed(line: str, words: sources.WordFiles) -> list[str]:
    """The symbols of a line to predict; with several languages, the name of one and a blank come first."""
    language = ""
    if words.languages:
        language, _, line = line.partition(" ")
        if language not in words.languages:
            first = words.languages[0]
            raise ValueError(f"should begin with its language and a blank ({first} ...): {', '.join(words.languages)}")
    return words.columns.row(line.split("\t"), language)[0]


def _read_file(path: Path, split: str | None, labelled: bool, words: sources.WordFiles) -> Iterator[Example]:
    if split is not None:
        raise UsageError(f"--split: all words of {path} are read")
    # A whole part of the name: `est` is not in test.tsv.
    language = next((name for name in words.languages if name in re.split(r"[\W_]+", path.name)), "")
    if words.languages and not language:
        known = ", ".join(words.languages)
        raise UsageError(f"{path.name}: the name of the file should have that of its language in it: {known}")
    return sources.read_words(path, words.columns, language, labelled=labelled, header=words.header)
