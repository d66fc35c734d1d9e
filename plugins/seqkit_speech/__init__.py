"""Spoken words and strings of words: the task `speech`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from seqkit import (
    Count,
    Dataset,
    Example,
    Field,
    Label,
    Limit,
    NonNegative,
    Positive,
    Size,
    Task,
    Text,
    UsageError,
)
from seqkit.metrics import cer, label_scores, wer
from seqkit_speech import datasets, formants
from seqkit_speech.corpus import Corpus, Rule, SplitBy
from seqkit_speech.speaking import Joined, Recordings, Synthesised
from seqkit_speech.waveform import Augment, Features, Normalise, View, Waveform

__all__ = ["speech"]

Rate = Annotated[int, Ge(2_000), Le(192_000)]
Percent = Annotated[float, Ge(0.0), Le(90.0)]


def speech(
    *,
    source: Literal["synthesised", "fsdd", "speech-commands-3"] = "synthesised",
    sizes: tuple[Count, Count, Count] = (1200, 240, 480),
    path: Path | None = None,
    pattern: str | None = None,
    words: tuple[str, ...] | None = None,
    split_by: SplitBy = "auto",
    test_index: tuple[Size, Size] = (0, 4),
    dev_index: tuple[Size, Size] | None = (5, 9),
    test_speaker: str | None = None,
    dev_percent: Percent = 10.0,
    test_percent: Percent = 10.0,
    bad_files: Literal["refuse", "quarantine"] = "refuse",
    target: Literal["label", "text"] = "label",
    unit: Literal["words", "characters", "bytes", "pieces"] = "words",
    join: tuple[Count, Count] | None = None,
    joined: tuple[Count, Count, Count] = (2000, 200, 500),
    gap_ms: tuple[NonNegative, NonNegative] = (30.0, 150.0),
    rate: Rate | None = None,
    max_seconds: Positive | None = None,
    features: Features = "logmel",
    bands: Count = 40,
    coefficients: Count = 13,
    window_ms: Positive = 25.0,
    hop_ms: Positive = 10.0,
    low_hz: NonNegative = 20.0,
    deltas: Annotated[int, Ge(0), Le(2)] = 0,
    normalise: Normalise = "clip",
    filters: tuple[Count, ...] = (),
    stack: Count = 1,
    shift_ms: NonNegative = 0.0,
    speed: Annotated[float, Ge(0.0), Le(0.5)] = 0.0,
    noise_db: tuple[float, float] | None = None,
    time_masks: Size = 0,
    time_mask_ms: Positive = 100.0,
    band_masks: Size = 0,
    band_mask: Count = 8,
    best: Literal["accuracy", "macro_f1", "wer", "cer"] | None = None,
) -> Task:
    """Which word is said in a recording, or what is said in it?

    Recordings are WAV (8 to 32 bits, whole or floating-point numbers, A-law and mu-law) or FLAC of any rate and length;
    channels are averaged. A file that is empty, truncated, damaged, not what its name says, or has samples that are no
    numbers is never decoded; `bad_files` says what happens then.

    Scores: accuracy and macro-F1 of labels; wer (cer where the unit is characters) and exact of texts.

    Args:
        source: synthesised, a dozen words by the project's own formant synthesiser (offline; test has voices that train
            has not); fsdd, the Free Spoken Digit Dataset; speech-commands-3, the words bed, cat and happy of Speech
            Commands.
        sizes: how many words are synthesised for train, dev and test.
        path: your own recordings, given, it decides instead of source: a folder, a .zip, or a manifest (.csv or .tsv
            whose header has path and label, and perhaps split and speaker).
        pattern: a regular expression that the names of your files match, with the named groups label, and perhaps
            speaker, index and split (null: the folder a file lies in is its label).
        words: the labels wanted (null: all).
        split_by: what says which split a recording is in. folders, the first folder of its path (training, validation,
            testing) or the group split; column, its row in the manifest; lists, validation_list.txt and
            testing_list.txt; hash, the rule of Speech Commands, SHA-1 of the speaker, or of the file's name where
            speakers are not known; index, its index; speaker, all of test_speaker is test; auto, speaker if there is a
            test_speaker, folders or column or lists if they say it, else hash. Where nothing comes into dev,
            dev_percent of train does, by hash.
        test_index: with `index`, the first and the last index of test.
        dev_index: with `index` and `speaker`, the first and the last index of dev, of what is not test (null: by hash).
        test_speaker: with `speaker`, who is left out of train and dev.
        dev_percent: with `hash`, about how many of a hundred speakers are dev.
        test_percent: with `hash`, about how many of a hundred speakers are test.
        bad_files: refuse, they are errors, all of them named; quarantine, they are left out, named and counted.
        target: label, one of the words seen in training; text, a string of symbols (head ctc).
        unit: what a symbol of a text is.
        join: fewest and most clips of one speaker that are joined to a string of words, the target being text (null:
            each recording is an example).
        joined: how many strings are made for train, dev and test.
        gap_ms: least and most silence between two words of a string.
        rate: samples a second that everything is resampled to (null: 8000 for fsdd and synthesised words, else 16000).
        max_seconds: longer recordings are cut after this long, and counted (null: no limit).
        features: logmel, logarithms of mel bands; mfcc, their cosine transform.
        bands: mel bands.
        coefficients: of mfcc, how many.
        window_ms: length of the window of a frame.
        hop_ms: from a frame to the next.
        low_hz: where the lowest band begins; the highest ends at half of the rate.
        deltas: 1 adds the slope of each number over time, 2 the slope of the slope too.
        normalise: clip, each band has mean 0 and deviation 1 over its clip; training, mean and deviation of the
            training data; none.
        filters: convolutions of 3 frames by 3 bands in front of the recurrence, how many filters each has; each halves
            the bands ([]: none; only for logmel).
        stack: so many frames become one step.
        shift_ms: training moves a clip by up to so much, either way.
        speed: training makes a clip faster or slower, and so higher or lower, by up to this share.
        noise_db: training adds white noise; least and most ratio of the clip to it in decibels (null: none).
        time_masks: SpecAugment, blocks of frames that training hides.
        time_mask_ms: the longest of these (but at most a fifth of a clip).
        band_masks: SpecAugment, blocks of bands that training hides.
        band_mask: bands of the widest of these.
        best: the dev score that chooses the checkpoint (null: accuracy of labels, wer or cer of texts).

    Raises:
        UsageError: options that do not go together.
    """
    if join is not None and target != "text":
        raise UsageError("join makes strings of words: it needs target: text")
    for name, bounds in {"join": join, "gap_ms": gap_ms, "noise_db": noise_db, "test_index": test_index}.items():
        if bounds is not None and bounds[0] > bounds[1]:
            raise UsageError(f"{name}: {bounds[0]:g} comes after {bounds[1]:g}")
    rule = Rule(split_by, test_index, dev_index, test_speaker, dev_percent, test_percent)
    parts, about = _parts(source, sizes, path, _compiled(pattern), words, rule)
    if rate is None:
        rate = 16_000 if path is not None or source == "speech-commands-3" else 8_000
    view = View(features, bands, coefficients, window_ms, hop_ms, low_hz, deltas, normalise, filters, stack)
    augment = Augment(shift_ms, speed, noise_db, time_masks, time_mask_ms, band_masks, band_mask)
    sound = Waveform(rate, view=view, augment=augment)
    recordings = parts if join is None else Joined(parts, join, joined, gap_ms)

    def read(split: str) -> Iterator[Example]:
        return (Example(each.clip, each.label, each.id) for each in recordings.recordings(split))

    texts = target == "text"
    metric = (cer if unit == "characters" else wer) if texts else label_scores
    scores = ("cer" if unit == "characters" else "wer",) if texts else ("accuracy", "macro_f1")
    if best is not None and best not in scores:
        raise UsageError(f"best: {best} is no score of this task; it has {', '.join(scores)}")
    goal: Field = Text(unit) if texts else Label()
    return Task(
        read=read,
        input=sound,
        target=goal,
        head="ctc" if texts else "classify",
        metric=metric,
        best=best or scores[0],
        limit=None if max_seconds is None else Limit(ceil(max_seconds * 1000 / hop_ms)),
        files=recordings.files,
        bad_inputs=bad_files,
        about=about,
    )


def _parts(
    source: str,
    sizes: tuple[int, int, int],
    path: Path | None,
    pattern: str | None,
    words: tuple[str, ...] | None,
    rule: Rule,
) -> tuple[Recordings, dict[str, Any]]:
    """Where the recordings are, and facts for the run folder."""
    if path is not None:
        return Corpus(path, pattern, rule, words), {"dataset": str(path)}
    if source == "synthesised":
        unknown = [word for word in words or () if word not in formants.WORDS]
        if unknown:
            raise UsageError(
                f"words: {', '.join(unknown)} cannot be synthesised; there are: {', '.join(formants.WORDS)}"
            )
        return Synthesised(sizes, words), {"dataset": "synthesised words", "licence": "Apache-2.0"}
    known: Dataset = datasets.FSDD if source == "fsdd" else datasets.SPEECH_COMMANDS_3
    if source == "fsdd":
        pattern = pattern or datasets.FSDD_PATTERN
        rule = replace(rule, by="index") if rule.by == "auto" and rule.test_speaker is None else rule
    about = {"dataset": known.name, "licence": known.licence, "about": known.about}
    return Corpus(known, pattern, rule, words), about


def _compiled(pattern: str | None) -> str | None:
    """The pattern, if it is one and says what the label is, or what else it says is of use."""
    if pattern is None:
        return None
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise UsageError(f"pattern: is no regular expression: {error}") from None
    unknown = set(groups) - {"label", "speaker", "index", "split"}
    if unknown or not groups:
        what = f"has the group '{sorted(unknown)[0]}'" if unknown else "has no named group such as (?P<label>[a-z]+)"
        raise UsageError(f"pattern: {what}; groups that mean something are label, speaker, index and split")
    return pattern
