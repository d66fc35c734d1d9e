"""Spoken words and strings of words: the task `speech`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

from seqkit import (
    GIVEN,
    Count,
    Field,
    Label,
    Limit,
    NonNegative,
    Positive,
    Size,
    Task,
    Text,
    UsageError,
    only_with,
)
from seqkit.metrics import cer, label_scores, wer
from seqkit.readers import TableFormat
from seqkit_speech import generator, sources
from seqkit_speech.audio import SUFFIXES
from seqkit_speech.fields import Waveform
from seqkit_speech.manifest import SUFFIXES as MANIFEST_SUFFIXES
from seqkit_speech.manifest import ManifestReader
from seqkit_speech.options import (
    AugmentOptions,
    DeltaOrder,
    Features,
    FrameOptions,
    ManifestFormat,
    Normalise,
    Percent,
    SampleRate,
    SpeedChange,
    SplitBy,
    SplitOptions,
)
from seqkit_speech.sources import Corpus, JoinedStrings, Recordings, SynthesisedWords
from seqkit_speech.speakers import Speakers
from seqkit_speech.tar_archive import ARCHIVES

__all__ = ["speech"]


@only_with("train", "dev", "test", "split_column", "transcripts", "word_separator", path=GIVEN)
@only_with("sizes", source="synthesised", path=None)
@only_with("joined", "gap_ms", join=GIVEN)
@only_with("coefficients", features="mfcc")
@only_with("warp", features="logmel")
def speech(
    *,
    source: Literal["synthesised", "fsdd", "speech-commands-3"] = "synthesised",
    sizes: tuple[Count, Count, Count] = (1200, 240, 480),
    path: Path | None = None,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    path_column: str | Count = "path",
    label_column: str | Count = "label",
    speaker_column: str | Count | None = None,
    split_column: str | Count | None = None,
    header: bool | None = None,
    audio: str = "{}",
    format: ManifestFormat | None = None,
    separator: str | None = None,
    quoting: bool | None = None,
    encoding: str = "utf-8",
    pattern: str | None = None,
    transcripts: str | None = None,
    word_separator: str | None = None,
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
    rate: SampleRate | None = None,
    max_seconds: Positive | None = None,
    features: Features = "logmel",
    bands: Count = 40,
    coefficients: Count = 13,
    window_ms: Positive = 25.0,
    hop_ms: Positive = 10.0,
    low_hz: NonNegative = 20.0,
    deltas: DeltaOrder = 0,
    normalise: Normalise = "clip",
    filters: tuple[Count, ...] = (),
    stack: Count = 1,
    shift_ms: NonNegative = 0.0,
    speed: SpeedChange = 0.0,
    warp: SpeedChange = 0.0,
    noise_db: tuple[float, float] | None = None,
    time_masks: Size = 0,
    time_mask_ms: Positive = 100.0,
    band_masks: Size = 0,
    band_mask: Count = 8,
    unseen_labels: Literal["error", "count"] = "error",
    best: Literal["accuracy", "macro_f1", "wer", "cer"] | None = None,
) -> Task:
    """Which word is said in a recording, or which words?

    Recordings are WAV (8 to 32 bits, whole or floating-point numbers, A-law and mu-law), FLAC, MP3, Ogg (Vorbis, Opus),
    AIFF or NIST SPHERE of any rate and length; channels are averaged. A file is refused if it is empty, truncated,
    damaged, not what its name says, or has samples that are not finite numbers; see `bad_files`.

    Scores: accuracy and macro-F1 of labels; wer (cer where the unit is characters) and exact of texts.

    Args:
        source: synthesised, a dozen words by the project's own formant synthesiser (offline; test has voices that train
            does not have); fsdd, the Free Spoken Digit Dataset; speech-commands-3, the words bed, cat and happy of
            Speech Commands.
        sizes: how many words are synthesised for train, dev and test.
        path: your own recordings, used instead of source: a folder, a .zip or .tar, several of those (a
            pattern such as `clips-*.tar`, or a folder of nothing else), or a manifest, a table or JSON that names
            a recording in each row (.csv, .tsv, .jsonl, .json).
        train: if path is a folder with a manifest for each split, the one of train.
        dev: the manifest of dev (null: a share of train is dev).
        test: the manifest of test (null: there is no test).
        path_column: the column of a manifest with the paths, by its name in the header or its number from 1.
        label_column: that with what is said.
        speaker_column: that with the speakers (null: speaker, if the header has it).
        split_column: that with the splits (null: split, if the header has it).
        header: whether the first line of a manifest names the columns (null: unless path_column and label_column are
            numbers).
        audio: where a recording lies below the folder of its manifest; {} is what the column of the paths has, as in
            clips/{} or wavs/{}.wav.
        format: of a manifest: csv, tsv, jsonl or json (null: by its suffix).
        separator: between the columns of a manifest, one character, or tab, comma, semicolon, space, bar, or blanks
            (null: a tab in .tsv, a comma in .csv).
        quoting: whether a field of a manifest in quotation marks may hold separators and line ends (null: in .csv).
        encoding: of manifests.
        pattern: a regular expression that the names of your files match, with the named groups label, and perhaps
            speaker, index and split (null: the folder of a file is its label). One with a / is matched with the path
            below the folder or in the archive, and then with the name.
        transcripts: with `target: text`, the ending of the files beside the recordings that have their texts, such as
            txt or phn; numbers of samples in front of each line (TIMIT) are removed (null: the lines of *.trans.txt
            (LibriSpeech) if there are any, else the .txt beside a recording, else the label).
        word_separator: what stands between the words of a label in place of a blank, in a file's name such as
            0_1_1.wav (null: nothing does).
        words: the labels wanted (null: all).
        split_by: how recordings are split. folders, by the first folder of the path (training, validation, testing) or
            the group split; column, by the row in the manifest; lists, by validation_list.txt and testing_list.txt;
            hash, by the rule of Speech Commands, SHA-1 of the speaker, or of the file's name if speakers are not
            known; index, by the index; speaker, all of test_speaker is test (without one, whole speakers are dev and
            test, at least one each); auto, speaker if there is a test_speaker, folders or column or lists if they give
            the split, else hash. If nothing is dev, dev_percent of train is, by hash.
        test_index: with `index`, the first and the last index of test.
        dev_index: with `index` and `speaker`, the first and the last index of dev, of what is not test (null: by hash).
        test_speaker: with `speaker`, the speaker who is left out of train and dev.
        dev_percent: with `hash` and `speaker`, about how many of a hundred are dev.
        test_percent: with `hash` and `speaker`, about how many of a hundred are test (0: there is no test).
        bad_files: what happens to files that cannot be read. refuse, they are errors, and all of them are reported;
            quarantine, they are left out, reported and counted.
        target: label, one of the words seen in training; text, a string of symbols (head ctc).
        unit: what a symbol of a text is.
        join: fewest and most clips of one speaker that are joined to a string of words, with target: text (null: each
            recording is an example).
        joined: how many strings are made for train, dev and test.
        gap_ms: shortest and longest silence between two words of a string, in milliseconds.
        rate: samples a second that everything is resampled to (null: 8000 for fsdd and synthesised words, else 16000).
        max_seconds: longer recordings are cut after this time, and counted (null: no limit).
        features: logmel, logarithms of mel bands; mfcc, their cosine transform.
        bands: number of mel bands.
        coefficients: number of coefficients of mfcc.
        window_ms: length of a frame's window, in milliseconds.
        hop_ms: time from one frame to the next, in milliseconds.
        low_hz: lower edge of the lowest band; the highest band ends at half of the rate.
        deltas: 1 adds the slope of each number over time, 2 the slope of the slope too.
        normalise: clip, each band has mean 0 and deviation 1 over its clip; training, mean and deviation of the
            training data; none.
        filters: convolutions of 3 frames by 3 bands in front of the recurrence: the number of filters of each. Each
            convolution halves the bands ([]: none; only for logmel).
        stack: this many frames are one step.
        shift_ms: training moves a clip by up to this time in either direction, in milliseconds.
        speed: training makes a clip faster or slower, and so higher or lower, by up to this share.
        warp: training makes the voice of a clip higher or lower by up to this share, as a shorter or longer vocal tract
            would, and leaves the pace as it is (vocal tract length perturbation; Jaitly and Hinton 2013). For logmel.
        noise_db: training adds white noise: smallest and largest ratio of the clip to it in decibels (null: none).
        time_masks: number of blocks of frames that training hides (SpecAugment).
        time_mask_ms: longest of these, in milliseconds (but at most a fifth of a clip).
        band_masks: number of blocks of bands that training hides (SpecAugment).
        band_mask: bands of the widest of these.
        unseen_labels: labels in dev or test that training does not have. error, they are refused; count, they are
            counted, and such examples are scored as wrong.
        best: the dev score that chooses the checkpoint (null: accuracy of labels, wer or cer of texts).

    Raises:
        UsageError: options that do not go together.
    """
    is_text = target == "text"
    pairs = {"join": join, "gap_ms": gap_ms, "noise_db": noise_db, "test_index": test_index}
    _check_options(pairs, {"join": join, "transcripts": transcripts}, is_text)
    split_options = SplitOptions(
        split_by=split_by,
        test_index=test_index,
        dev_index=dev_index,
        test_speaker=test_speaker,
        dev_percent=dev_percent,
        test_percent=test_percent,
    )
    manifest = ManifestReader(
        path=path_column,
        label=label_column,
        speaker=speaker_column,
        split=split_column,
        header=header,
        audio=audio,
        layout=TableFormat(format=format, separator=separator, quoting=quoting, encoding=encoding),
    )
    corpus = Corpus(
        path or Path(),
        pattern,
        split_options,
        words,
        transcripts=is_text,
        ending=transcripts,
        word_separator=word_separator,
        manifest=manifest,
        manifests=_checked_manifests({"train": train, "dev": dev, "test": test}, path, split_by),
    )
    recordings, about = _source(source if path is None else None, corpus, sizes)
    if join is not None:
        recordings = JoinedStrings(source=recordings, words=join, sizes=joined, gap_ms=gap_ms)
    if rate is None:
        rate = 16_000 if path is not None or source == "speech-commands-3" else 8_000
    frames = FrameOptions(
        features=features,
        bands=bands,
        coefficients=coefficients,
        window_ms=window_ms,
        hop_ms=hop_ms,
        low_hz=low_hz,
        deltas=deltas,
        normalise=normalise,
        filters=filters,
        stack=stack,
    )
    augment = AugmentOptions(
        shift_ms=shift_ms,
        speed=speed,
        warp=warp,
        noise_db=noise_db,
        time_masks=time_masks,
        time_mask_ms=time_mask_ms,
        band_masks=band_masks,
        band_mask=band_mask,
    )
    error_rate = "cer" if unit == "characters" else "wer"
    target_field: Field = Text(unit) if is_text else Label(allow_unseen=unseen_labels == "count")
    return Task(
        read=lambda split: sources.examples_of(recordings.recordings(split)),
        input=Waveform(rate, frames=frames, augment=augment),
        target=target_field,
        head="ctc" if is_text else "classify",
        metric=({"cer": cer, "wer": wer}[error_rate]) if is_text else label_scores,
        scores=(error_rate, "exact") if is_text else ("accuracy", "macro_f1"),
        best=_checked_best(best, (error_rate,) if is_text else ("accuracy", "macro_f1")),
        splits=corpus.splits if path is not None else sources.SPLITS,
        limit=None if max_seconds is None else Limit(ceil(max_seconds * 1000 / hop_ms)),
        files=recordings.files,
        shards=recordings.shards if isinstance(recordings, Corpus) else None,
        bad_inputs=bad_files,
        about=about,
        read_file=lambda other, split, labelled: sources.read_other(other, split, labelled, corpus),
        suffixes=(*SUFFIXES, *MANIFEST_SUFFIXES, *ARCHIVES, ""),
        unit=("speaker", Speakers(recordings)),
    )


def _source(name: str | None, corpus: Corpus, sizes: tuple[int, int, int]) -> tuple[Recordings, dict[str, Any]]:
    """The recordings of a source, and facts for the run folder; None: those of the user, which `corpus` reads."""
    if name is None:
        return corpus, {"dataset": str(corpus.location)}
    if given := corpus.manifest.options_given:
        raise UsageError(f"{given[0]}: is for manifests of your own; set path")
    if name == "synthesised":
        about = {"dataset": "synthesised words", "licence": "Apache-2.0"}
        return SynthesisedWords(sizes, _checked_words(corpus.words)), about
    return _published(name, corpus.pattern, corpus.split_options, corpus.words)


def _check_options(pairs: Mapping[str, tuple[float, float] | None], for_text: Mapping[str, Any], is_text: bool) -> None:
    """Raises UsageError for a pair of bounds in the wrong order, or an option for texts where labels are predicted."""
    reasons = {"join": "strings of words need", "transcripts": "files with texts need"}
    for name, value in for_text.items():
        if value is not None and not is_text:
            raise UsageError(f"{name}: {reasons[name]} target: text")
    for name, bounds in pairs.items():
        if bounds is not None and bounds[0] > bounds[1]:
            raise UsageError(f"{name}: [{bounds[0]:g}, {bounds[1]:g}] should have the smaller number first")


def _checked_best(best: str | None, scores: tuple[str, ...]) -> str:
    """The score that chooses the checkpoint. Raises UsageError if the task does not have it."""
    if best is not None and best not in scores:
        raise UsageError(f"best: {best} is not a score of this task, which has {' and '.join(scores)}")
    return best or scores[0]


def _published(
    source: str, pattern: str | None, split_options: SplitOptions, words: tuple[str, ...] | None
) -> tuple[Corpus, dict[str, Any]]:
    """The recordings of a public data set, and facts for the run folder."""
    dataset = sources.FSDD if source == "fsdd" else sources.SPEECH_COMMANDS_3
    if source == "fsdd":
        pattern = pattern or sources.FSDD_PATTERN
        if split_options.split_by == "auto" and split_options.test_speaker is None:
            split_options = replace(split_options, split_by="index")
    about = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
    return Corpus(dataset, pattern, split_options, words), about


def _checked_words(words: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The words. Raises UsageError if the synthesiser does not have one of them."""
    unknown = [word for word in words or () if word not in generator.WORDS]
    if unknown:
        known = ", ".join(generator.WORDS)
        raise UsageError(f"words: {', '.join(unknown)} cannot be synthesised; the synthesiser has {known}")
    return words


def _checked_manifests(names: Mapping[str, str | None], path: Path | None, split_by: SplitBy) -> Mapping[str, str]:
    """The manifests of the splits that have one. Raises UsageError for options that do not go together."""
    manifests = {split: name for split, name in names.items() if name is not None}
    if manifests and "train" not in manifests:
        raise UsageError(f"{next(iter(manifests))}: a manifest of its own needs one of train; set train too")
    if manifests and path is None:
        raise UsageError("train: names a manifest in your folder; set path to the folder")
    if manifests and split_by != "auto":
        raise UsageError(f"split_by: {split_by}: manifests for each split say how recordings are split; leave it out")
    return manifests
