"""Sound and DNA in pieces: frames, slopes, convolutions, k-mers and motif scanners carry their own state."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from seqkit_genome.fields import Bases, Kmers
from seqkit_genome.options import Scan, Spelling
from seqkit_ner import ner
from seqkit_sentiment import sentiment
from seqkit_speech.fields import Waveform
from seqkit_speech.options import FrameOptions

from seqkit import Label, Tags, UsageError
from seqkit.encoders import gru, lstm
from seqkit.heads import classify, crf, tag
from seqkit.inference.stream import Stream
from tests.helpers.sound import needs_audio
from tests.helpers.streams import assert_equal, build, check_pieces, fitted, partial, pieces_of, prediction_of

LABELS = ["no", "yes"]
RATE = 2000
HOP, WINDOW = 20, 50  # samples


def sound(seconds: float = 0.6, seed: int = 1) -> np.ndarray:
    """Noise whose loudness changes, 16 bits."""
    draw = np.random.default_rng(seed)
    samples = draw.normal(size=round(RATE * seconds)) * np.linspace(100, 9000, round(RATE * seconds))
    return np.clip(samples, -32768, 32767).astype(np.int16)


FRAMES = {
    "frames": {},
    "slopes": {"deltas": 1},
    "slopes of slopes, stacked": {"deltas": 2, "stack": 3},
    "cepstra": {"features": "mfcc", "coefficients": 5, "stack": 2},
    "convolutions": {"filters": (3, 4), "stack": 2},
    "convolutions over slopes": {"filters": (2,), "deltas": 2, "normalise": "training", "stack": 4},
}


def sound_model(options: dict[str, Any], head: Any = classify, target: Any = None, encoder: Any = gru) -> Any:
    frames = FrameOptions(**{"bands": 8, "normalise": "none", **options})
    field = Waveform(RATE, frames=frames)
    target = Label() if target is None else target
    fields = fitted(field, [sound().astype(np.float32) / 32768], target, LABELS if target == Label() else [LABELS])
    return fields, build(fields, head, encoder, layers=2)


def as_floats(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / np.float32(32768)


@needs_audio
@pytest.mark.parametrize("name", list(FRAMES))
@pytest.mark.parametrize("pool", ["last", "attention"])
def test_sound_in_any_pieces_gives_the_prediction_of_the_clip(name: str, pool: Any) -> None:
    fields, model = sound_model(FRAMES[name], partial(classify, pool=pool))
    wholes = [as_floats(sound(0.5, seed)[: 1000 - 7 * seed]) for seed in range(3)]
    check_pieces(model, fields, wholes, seed=name, sizes=(0, 1, 5, HOP, 2 * HOP, 133, 500))


@needs_audio
@pytest.mark.parametrize("name", list(FRAMES))
def test_tags_of_frames_in_any_pieces(name: str) -> None:
    fields, model = sound_model(FRAMES[name], tag, Tags(), lstm)
    check_pieces(model, fields, [as_floats(sound(0.3, 4))], seed=name, sizes=(0, 1, 19, HOP, 133))


@needs_audio
@pytest.mark.parametrize("name", list(FRAMES))
def test_each_answer_is_that_for_the_sound_so_far(name: str) -> None:
    fields, model = sound_model(FRAMES[name])
    stream, clip, start = Stream(model, "t", fields), sound(), 0
    for size in (1, 30, HOP, HOP, 7, 200, 1, 0, 333):
        answer = stream.push("s", clip[start : start + size])
        start += size
        assert_equal(answer.prediction, prediction_of(model, fields, as_floats(clip[:start])))


@needs_audio
def test_raw_bytes_may_be_cut_anywhere() -> None:
    fields, model = sound_model({"stack": 2})
    raw = sound().astype("<i2").tobytes()
    stream = Stream(model, "t", fields)
    for start in range(0, len(raw), 37):
        stream.push("s", raw[start : start + 37])
    assert_equal(stream.close("s").prediction, prediction_of(model, fields, as_floats(sound())))
    stream.push("s", raw[:3])
    with pytest.raises(UsageError, match="ended inside a sample"):
        stream.push("s", sound()[:4])


@needs_audio
def test_a_normalisation_over_the_whole_clip_is_refused_by_name() -> None:
    fields, model = sound_model({"normalise": "clip"})
    with pytest.raises(UsageError, match="normalise: clip takes mean and deviation of a whole clip; train with"):
        Stream(model, "t", fields)


TWEETS = "Sooooo happyyy!!! &amp; :-) don't #go @you 3.14 \U0001f600 na\u00efve \t http://a.b/c O\u0301 ??! "


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_tokenizers_that_work_word_by_word_read_text_as_it_comes(unit: Any) -> None:
    task = sentiment(tokenizer="tweets", unit=unit)
    text = task.parse(TWEETS)
    fields = dataclasses.replace(task, limit=None), task.input.fit([text]), Label().fit(LABELS)
    model = build(fields, classify)
    for seed in range(12):
        stream = Stream(model, "t", fields)
        for piece in pieces_of(TWEETS, random.Random(seed)):
            stream.push("s", piece)
        assert_equal(stream.close("s").prediction, prediction_of(model, fields, text))


@pytest.mark.parametrize("tokenizer", ["spaces", "punctuation"])
def test_tags_of_words_in_text_as_it_comes(tokenizer: Any) -> None:
    task = ner(tokenizer=tokenizer, char_hidden=4)
    text = "Mr. O'Neil (of 3.14-land), said: e\u0301t\u00e9  \tA-B, x. "
    words = task.parse(text)
    fields = task, task.input.fit([words]), task.target.fit([["O", "B-PER", "I-PER"]])
    model = build(fields, crf)
    for seed in range(12):
        stream = Stream(model, "t", fields)
        for piece in pieces_of(text, random.Random(seed)):
            stream.push("s", piece)
        answer = stream.close("s")
        assert answer.steps == len(words)
        assert_equal(answer.prediction, prediction_of(model, fields, words))


DNA = "ACGTNNACGGTACCAGTacgtRYACCGTTGACACGTAGGGATTTACCCAGAGATACCA"
READERS: dict[str, Any] = {
    "letters": Bases(probabilities=False),
    "probabilities, case kept": Bases(Spelling(case="keep")),
    "scanned": Bases(scan=Scan(width=5, filters=6, pool=3, dropout=0.0)),
    "scanned without pooling": Bases(scan=Scan(width=4, filters=6, pool=1, dropout=0.0)),
    "k-mers": Kmers(k=3),
    "k-mers apart": Kmers(k=2, stride=5),
    "k-mers, scanned": Kmers(k=3, stride=2, scan=Scan(width=3, filters=6, pool=2, dropout=0.0)),
}


@pytest.mark.parametrize("name", list(READERS))
def test_dna_in_any_pieces_gives_the_prediction_of_the_sequence(name: str) -> None:
    fields = fitted(READERS[name], [DNA], Label(), LABELS)
    model = build(fields, partial(classify, pool="max"), gru)
    check_pieces(model, fields, [DNA, DNA[5:31], DNA[:2], DNA[7:]], seed=name, sizes=(0, 1, 1, 2, 5, 11))


@pytest.mark.parametrize("name", list(READERS))
def test_each_answer_is_that_for_the_bases_so_far(name: str) -> None:
    fields = fitted(READERS[name], [DNA], Label(), LABELS)
    model = build(fields, classify)
    stream = Stream(model, "t", fields)
    for end in range(1, 25):
        assert_equal(stream.push("s", DNA[end - 1 : end]).prediction, prediction_of(model, fields, DNA[:end]))


def test_dna_that_depends_on_its_end_is_refused_by_name() -> None:
    for field, reason in ((Bases(middle=3), "middle: where"), (Kmers(strands="both"), "strands: the other strand")):
        fields = fitted(field, [DNA], Label(), LABELS)
        with pytest.raises(UsageError, match=reason):
            Stream(build(fields, classify), "t", fields)


def test_letters_that_are_no_bases_are_told() -> None:
    fields = fitted(Bases(Spelling(gaps="remove")), [DNA], Label(), LABELS)
    stream = Stream(build(fields, classify), "t", fields)
    with pytest.raises(UsageError, match="letter 3 is 'Q', which is not a base"):
        stream.push("s", "ACQ")
    assert stream.push("s", "--").prediction is None
    assert_equal(stream.push("s", " AC-G\n").prediction, prediction_of(stream.model, fields, "ACG"))
