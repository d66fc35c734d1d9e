"""What a sentence wants, and the words that say so: the task `intent-slots`, two targets on one input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqkit import GIVEN, Count, Example, Field, NonNegative, Prediction, Share, Task, Tokens, UsageError, only_with
from seqkit.heads import Pool, serves
from seqkit.metrics import label_scores, span_f1
from seqkit.readers import FileNames, FormatName, ShareSplit, TableFormat
from seqkit_intents import sources
from seqkit_intents.fields import INTENT, SLOTS, IntentAndSlots

if TYPE_CHECKING:
    from torch import nn

    from seqkit import Head

__all__ = ["intent_slots"]

SCORES = ("slot_f1", "intent_accuracy", "intent_macro_f1", "sentence_accuracy", "mean")


@only_with("train", "dev", "test", "held_out", folder=GIVEN)
@only_with("words", "slots", "intent", "format", "separator", "encoding", folder=GIVEN)
@only_with("held_out", dev=None)
def intent_slots(
    *,
    source: Literal["atis"] = "atis",
    folder: Path | None = None,
    train: FileNames = f"train/{sources.PARALLEL}",
    dev: FileNames | None = f"valid/{sources.PARALLEL}",
    test: FileNames | None = f"test/{sources.PARALLEL}",
    held_out: Share = 0.1,
    words: str = "words",
    slots: str = "slots",
    intent: str = "intent",
    format: FormatName | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    lower: bool = False,
    digits: bool = False,
    min_count: Count = 1,
    drop: Share = 0.0,
    unseen_labels: Literal["error", "count"] = "count",
    best: Literal["mean", "slot_f1", "intent_accuracy", "sentence_accuracy"] = "mean",
) -> Task:
    """What does a sentence want (its intent), and which of its words say what exactly (slots, tagged as IOB2)?

    Sentences are read and encoded once, and both targets are predicted from one pass through the encoder.

    Scores: slot_f1 (spans, as conlleval), intent_accuracy, intent_macro_f1, sentence_accuracy (the intent and all slots
    are right), and mean, that of slot_f1 and intent_accuracy.

    Args:
        source: atis, questions about flights: 4,478 to train, 500 dev, 893 test. Test has five sentences with intents
            that train does not have.
        folder: a folder of your own files, used instead of source. `seq.in|seq.out|label` are three parallel files of
            words, tags and labels, a sentence on each line; else tables or JSON lines with the columns words, slots
            (blanks between words, or lists) and intent.
        train: the file or files of the training sentences.
        dev: those that choose the checkpoint (null: a share of train, `held_out`).
        test: those of the test (null: there are none).
        held_out: with `dev: null`, the share of train that is dev, by a hash of each sentence.
        words: in tables, the column of the words.
        slots: in tables, the column of the tags.
        intent: in tables, the column of the labels.
        format: of your tables: tsv, csv, jsonl or json (null: by the suffix).
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks.
        encoding: of your files.
        lower: lower the case first.
        digits: all digits are read as 0.
        min_count: a word seen less often in training is unknown.
        drop: share of the words that training reads as unknown, at random (word dropout).
        unseen_labels: intents and types of slots in dev or test that training does not have. count, they are scored as
            wrong, as the official splits want; error, they are refused.
        best: the dev score that chooses the checkpoint.

    Raises:
        UsageError: options that do not go together.
    """
    layout = TableFormat(format=format, separator=separator, encoding=encoding)
    reader = sources.SentenceReader(words=words, slots=slots, intent=intent, layout=layout)
    if folder is None:
        examples, about = sources.atis()
    else:
        names = {"train": train, "dev": dev, "test": test}
        examples = sources.split_files(folder, names, reader, ShareSplit(dev=held_out))
        about = {"dataset": str(folder)}

    def prepared(found: Iterable[Example]) -> Iterator[Example]:
        for example in found:
            plain = list(example.input)
            yield replace(example, input=without_digits(plain), given=" ".join(plain)) if digits else example

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        if split is not None:
            raise UsageError(f"--split: all sentences of {path} are read")
        return prepared(sources.read_other(path, labelled, reader))

    return Task(
        read=lambda split: prepared(examples.examples(split)),
        input=Tokens("words", lower=lower, min_count=min_count, drop=drop),
        target=IntentAndSlots(unseen_labels == "count"),
        head="intent-slots",
        metric=metric,
        scores=SCORES,
        best=best,
        splits=examples.splits,
        files=examples.files,
        shards=lambda split: [shard.changed(prepared) for shard in examples.parts(split)],
        parse=(lambda line: without_digits(line.split())) if digits else None,
        parse_by_words=True,
        about=about | examples.about(),
        read_file=read_file,
        suffixes=sources.SUFFIXES,
    )


def without_digits(words: Sequence[str]) -> list[str]:
    """The words with 0 for each digit."""
    return ["".join("0" if letter.isdecimal() else letter for letter in word) for word in words]


def metric(predictions: Sequence[Prediction], targets: Sequence[Any]) -> Mapping[str, float]:
    """The scores of both targets, of both together, and their mean."""
    intents = label_scores(
        [Prediction(prediction.value[INTENT]) for prediction in predictions], [target[INTENT] for target in targets]
    )
    slots = span_f1(
        [Prediction(prediction.value[SLOTS]) for prediction in predictions], [target[SLOTS] for target in targets]
    )
    pairs = list(zip(predictions, targets, strict=True))
    both = sum(prediction.value == target for prediction, target in pairs)
    return {
        "slot_f1": slots["span_f1"],
        "intent_accuracy": intents["accuracy"],
        "intent_macro_f1": intents["macro_f1"],
        "sentence_accuracy": both / max(1, len(pairs)),
        "mean": (slots["span_f1"] + intents["accuracy"]) / 2,
    }


@serves(IntentAndSlots)
def intent_slots_head(
    dim: int,
    target: Field,
    layer: nn.Module,
    /,
    *,
    pool: Pool = "max",
    dropout: Share = 0.0,
    intent_weight: NonNegative = 1.0,
    condition: bool = False,
) -> Head:
    """The label by a softmax over pooled steps, the tags by a conditional random field; both see the same steps.

    Args:
        pool: how the steps become one vector for the intent.
        dropout: share of the encoded values dropped.
        intent_weight: what the loss of the intent is multiplied by.
        condition: the scores of the tags also depend on those of the intents (what the slot gate of Goo et al. 2018,
            N18-2118, is for).
    """
    from seqkit_intents.layers import IntentAndSlotsHead

    return IntentAndSlotsHead(
        dim, target, layer, pool=pool, dropout=dropout, intent_weight=intent_weight, condition=condition
    )
