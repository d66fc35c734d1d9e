"""Text to text (languages, spellings, numbers to words: whatever the pairs say): the task `translation`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seqkit import Count, Example, Limit, Prediction, Share, Size, Task, Text, Tokens, UsageError
from seqkit_translation import sources, words
from seqkit_translation.scores import signature, text_scores, translation_scores

__all__ = ["translation"]

UNKNOWN = "<unk>"


def translation(
    *,
    source: Literal["generated", "multi30k"] = "generated",
    kind: Literal["both", "numbers", "dates"] = "both",
    sizes: tuple[Count, Count, Count] = (8000, 500, 1000),
    data_seed: Size = 1,
    pair: tuple[str, str] = ("de", "en"),
    folder: Path | None = None,
    train: str = "train.tsv",
    dev: str | None = "dev.tsv",
    test: str | None = "test.tsv",
    held_out: Share = 0.05,
    input_column: str | Count | None = None,
    target_column: str | Count | None = None,
    header: bool | None = None,
    skip_blank: bool = False,
    input_unit: Literal["words", "characters", "bytes", "pieces"] = "characters",
    target_unit: Literal["words", "characters", "bytes", "pieces"] = "characters",
    tokenizer: Literal["marked", "spaces"] = "marked",
    lower: bool = False,
    min_count: Count = 1,
    pieces: Count = 8000,
    shared: bool = False,
    drop: Share = 0.0,
    replace_unknown: bool = True,
    max_length: Count | None = None,
    scores: Literal["text", "translation"] | None = None,
    best: Literal["exact", "cer", "bleu", "chrf", "nats"] | None = None,
) -> Task:
    """What is this text in the other language (spelling, notation)? Pairs of an input and its target.

    Scores of the kind `text` are the character error rate and `exact`, the share of texts without an error. Those of
    the kind `translation` are sacrebleu's BLEU (its own tokenisation 13a) and chrF, and `exact`; they need the extra
    `text`. Either way predictions are put together to plain text first and held against the target as it was read:
    a target word that the vocabulary lacks counts as itself, never as unknown. With `lower`, cases are not told apart.
    `cut` is the share of the texts that ended only because of the head's max_length.

    Args:
        source: generated, numbers to English words and dates to ISO (offline); multi30k, captions of pictures in
            English, German and French, test on Flickr 2016.
        kind: which of the generated ones: both, numbers, dates.
        sizes: how many pairs are generated for train, dev and test.
        data_seed: seed of the generated pairs, apart from the recipe's seed.
        pair: the languages, from and to: of multi30k, or as they stand in the names of parallel files.
        folder: a folder of your own files; given, it decides instead of source. Either two parallel files a split
            (line n of one belongs to line n of the other), or one that ends in .tsv, .csv or .jsonl. All may be
            gzipped (.gz).
        train: file name of the training pairs; {} stands for the language where files are parallel, as in train.{}.gz.
        dev: file name of the pairs that choose the checkpoint. null: a share of train is held out for it.
        test: file name of the test pairs. null: there are none.
        held_out: with `dev: null`, the share of train that is dev, chosen by a hash of the input.
        input_column: the column of the input, by its number from 1 or its name, or the key in JSON lines (null: column
            1, key input).
        target_column: the column or key of the target (null: column 2, key target).
        header: whether the first line names the columns (null: it does if a column is given by name).
        skip_blank: leave out pairs of which a side is blank; otherwise they are errors.
        input_unit: what a step of the input is.
        target_unit: what a step of the target is.
        tokenizer: what words are, where they are the unit. marked, punctuation is apart, and marked where it stood
            right behind a word, so that the text can be put together again exactly; spaces, what stands between white
            space.
        lower: lower the case first, on both sides.
        min_count: a symbol seen less often in training is unknown, on either side.
        pieces: about how many pieces of words to learn, for each side of that unit.
        shared: learn the pieces from both sides together, so that they are the same; both units are pieces then.
        drop: share of the input symbols that training reads as unknown.
        replace_unknown: where words are the units and the decoder says an unknown one, put the input word there that
            it looked at most (Luong et al. 2015, arXiv:1410.8206). For heads that say where they look.
        max_length: most steps of an input; a longer one loses its end, which is counted (null: no limit).
        scores: text or translation (null: text for the generated pairs, translation for all others).
        best: the dev score that chooses the checkpoint (null: exact or bleu).

    Raises:
        UsageError: a file name or column of yours, or the pair, cannot be meant like this.
    """
    if folder is not None:
        layout = sources.Layout(pair, input_column, target_column, header, skip_blank)
        found = sources.folder(folder, {"train": train, "dev": dev, "test": test}, layout, held_out)
    elif source == "generated":
        found = sources.generated(sizes, data_seed, kind)
    else:
        found = sources.multi30k(pair)
    given, wanted = _tokens(input_unit, tokenizer), _tokens(target_unit, tokenizer)

    def read(split: str) -> Iterator[Example]:
        for example in found.read(split):
            yield replace(example, input=given(example.input), target=wanted(example.target))

    if shared and (input_unit != "pieces" or target_unit != "pieces"):
        raise UsageError("shared: true: only pieces are shared; set input_unit and target_unit to pieces")
    asked = scores or ("text" if folder is None and source == "generated" else "translation")
    about = dict(found.about)
    if asked == "translation":
        about["scores"] = signature(lower=lower)
    replaces = replace_unknown and input_unit == "words" and target_unit == "words"
    return Task(
        read=read,
        input=Tokens(
            input_unit,
            lower=lower,
            min_count=min_count,
            pieces=pieces,
            drop=drop,
            also=partial(_side, read, "target") if shared else None,
        ),
        target=Text(
            target_unit,
            lower=lower,
            min_count=min_count,
            pieces=pieces,
            also=partial(_side, read, "input") if shared else None,
        ),
        head="attend",
        metric=partial(_score, kind=asked, lower=lower),
        best=best or ("exact" if asked == "text" else "bleu"),
        splits=found.splits,
        limit=None if max_length is None else Limit(max_length, "head"),
        files=found.files,
        parse=given,
        finish=partial(finish, replaces=replaces),
        about=about,
    )


def _side(read: Callable[[str], Iterator[Example]], side: str) -> Iterator[Any]:
    """One side of the training pairs."""
    return (getattr(example, side) for example in read("train"))


def _tokens(unit: str, tokenizer: str) -> Any:
    return _marked if unit == "words" and tokenizer == "marked" else _same


def _same(text: Any) -> Any:
    return text


def _marked(text: Any) -> Any:
    """What is no text is left for the field to complain about, which knows where it stands."""
    return " ".join(words.split(text)) if isinstance(text, str) else text


def finish(given: Any, prediction: Prediction, *, replaces: bool) -> Prediction:
    """The prediction as plain text, its unknown words replaced by those of the input that they were written from."""
    scores = dict(prediction.scores or {})
    said = str(prediction.value)
    if replaces and "alignment" in scores:
        there = str(given).split()
        pairs = zip(said.split(), scores["alignment"], strict=False)
        said = " ".join(there[at] if word == UNKNOWN and at < len(there) else word for word, at in pairs)
    if "best" in scores:
        scores["best"] = [[words.join(text), share] for text, share in scores["best"]]
    return replace(prediction, value=words.join(said), scores=scores or None)


def _score(predictions: Any, targets: Any, *, kind: str, lower: bool) -> Mapping[str, float]:
    if kind == "translation":
        return translation_scores(predictions, targets, lower=lower)
    if lower:
        predictions = [replace(each, value=each.value.lower()) for each in predictions]
        targets = [target.lower() for target in targets]
    return text_scores(predictions, targets)
