"""A stream answers as `predict` does, whatever the pieces are; states go on elsewhere; what cannot stream says why."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from seqkit import Label, Labels, Next, Tags, Text, Tokens, UsageError, Values, Vectors, Words
from seqkit.encoders import gru, lnlstm, none, rnn, slstm
from seqkit.errors import DataError
from seqkit.heads import attend, classify, crf, ctc, generate, language, regress, tag
from seqkit.inference.session import from_bytes, to_bytes
from seqkit.inference.stream import Stream
from seqkit.types import Field
from tests.helpers.streams import assert_equal, build, check_pieces, fitted, partial, pieces_of, prediction_of

TEXT = "To be, or not to be: that is the question.\nWhether 'tis nobler in the mind to suffer"
NUMBERS = np.random.default_rng(1).normal(size=(50, 3)).tolist()
LABELS = ["no", "perhaps", "yes"]


def numbers_to(target: Field, targets: Sequence[Any]) -> Any:
    return fitted(Vectors(3, standardise=True), [NUMBERS], target, targets)


TAGGED = ["O", "B-x", "I-x", "B-y"]
MODELS: dict[str, Any] = {
    **{
        f"classify {pool}": lambda pool=pool: (
            fields := numbers_to(Label(), LABELS),
            build(fields, partial(classify, pool=pool)),
        )
        for pool in ("last", "mean", "max", "attention")
    },
    **{
        f"classify {pool}, every step": lambda pool=pool: (
            fields := numbers_to(Label(), LABELS),
            build(fields, partial(classify, pool=pool, every_step=True), gru, layers=2, residual=True),
        )
        for pool in ("last", "mean", "max", "attention")
    },
    "highway gates": lambda: (
        fields := numbers_to(Label(), LABELS),
        build(fields, partial(classify, every_step=True), gru, layers=3, highway=True),
    ),
    "zoneout": lambda: (
        fields := numbers_to(Label(), LABELS),
        build(fields, partial(classify, every_step=True), lnlstm, layers=2, zoneout=0.3),
    ),
    "zoneout of an sLSTM": lambda: (
        fields := numbers_to(Tags(), [LABELS]),
        build(fields, tag, slstm, zoneout=0.2),
    ),
    "several labels": lambda: (
        fields := numbers_to(Labels(), [LABELS]),
        build(fields, partial(classify, pool="mean"), rnn, layer_norm=True, initial="learned"),
    ),
    "regress": lambda: (
        fields := numbers_to(Values(), [1.0, 5.0]),
        build(fields, partial(regress, pool="attention", loss="gaussian"), layers=3, dropout=0.5),
    ),
    "tag": lambda: (fields := numbers_to(Tags(), [LABELS]), build(fields, tag)),
    "tag spans": lambda: (fields := numbers_to(Tags(scheme="iob2"), [TAGGED]), build(fields, tag)),
    "crf": lambda: (fields := numbers_to(Tags(scheme="iob2"), [TAGGED]), build(fields, partial(crf, nbest=2))),
    "ctc": lambda: (fields := numbers_to(Text(), ["abc"]), build(fields, ctc)),
    "ctc beam": lambda: (fields := numbers_to(Text(), ["abc"]), build(fields, partial(ctc, search="beam", best=2))),
    "attend": lambda: (
        fields := numbers_to(Text(), ["abc"]),
        build(fields, partial(attend, max_length=6, embedding=4), gru),
    ),
    "no recurrence": lambda: (
        fields := numbers_to(Text(), ["abc"]),
        build(fields, partial(generate, max_length=6), none),
    ),
    "characters": lambda: (
        fields := fitted(Tokens("characters"), [TEXT], Next(), [], window=20),
        build(fields, language, layers=2),
    ),
    "characters in lower case, a line": lambda: (
        fields := fitted(Tokens("characters", lower=True), [TEXT], Next(), []),
        build(fields, partial(language, tied=True)),
    ),
    "bytes": lambda: (fields := fitted(Tokens("bytes"), [TEXT], Next(), []), build(fields, language)),
    "words, adaptive softmax": lambda: (
        fields := fitted(Tokens("words", lower=True), [TEXT], Next(), []),
        build(fields, partial(language, softmax="adaptive", cutoffs=(6, 10))),
    ),
    "words": lambda: (fields := fitted(Tokens("words"), [TEXT], Label(), LABELS), build(fields, classify)),
    "words with characters": lambda: (
        fields := fitted(Words(char_hidden=6, drop=0.1), [TEXT], Tags(), [LABELS]),
        build(fields, tag, gru, dim=16),
    ),
}
WHOLES: dict[type[Field], Any] = {Vectors: NUMBERS, Tokens: TEXT, Words: TEXT}


@pytest.mark.parametrize("name", list(MODELS))
def test_any_pieces_give_the_prediction_of_the_whole(name: str) -> None:
    fields, model = MODELS[name]()
    whole = WHOLES[type(fields[1])]
    check_pieces(model, fields, [whole[number * 3 :] for number in range(3)], seed=name)


@pytest.mark.parametrize("name", [name for name in MODELS if not MODELS[name]()[1].head("t").per_step])
def test_each_answer_is_what_would_be_said_if_the_sequence_ended_there(name: str) -> None:
    fields, model = MODELS[name]()
    whole = WHOLES[type(fields[1])]
    stream = Stream(model, "t", fields)
    for end in range(1, 12):
        answer = stream.push("s", whole[end - 1 : end])
        if whole[:end].strip() if isinstance(whole, str) else True:
            assert_equal(answer.prediction, prediction_of(model, fields, whole[:end]))
    assert answer.state[0].shape[-1] == model.encoder.out_dim if answer.state else True


def test_a_text_is_read_the_same_wherever_it_is_cut() -> None:
    """Accents that are code points of their own, sigmas at the end of a word, syllables of Hangul in three letters."""
    text = "Cafe\u0301 \u03a3\u039f\u03a6\u039f\u03a3, \u1112\u1161\u11ab \u03a3. O\u0302\u0323 \u0130S A\u03a3"
    for unit in ("characters", "words", "bytes"):
        for lower in (False, True):
            field = Tokens(unit, lower=lower).fit([text])
            expected = field.encode(text).tolist()
            for seed in range(40):
                ids, kept = [], None
                for piece in pieces_of(text, random.Random(seed)):
                    rows, kept = field.feed(piece, kept)
                    ids += [] if rows is None else rows.tolist()
                rows, kept = field.feed(None, kept, end=True)
                assert ids + ([] if rows is None else rows.tolist()) == expected, (unit, lower, seed)
                assert kept is None


def test_a_letter_that_may_still_get_an_accent_is_provisional() -> None:
    fields, model = MODELS["characters"]()
    stream = Stream(model, "t", fields)
    first = stream.push("s", "To ")
    assert (first.steps, first.provisional, len(first.prediction.value)) == (4, 0, 4)  # with the start symbol
    second = stream.push("s", "b")
    assert (second.steps, second.first, second.provisional) == (5, 4, 1)
    third = stream.push("s", "e ")
    assert (third.steps, third.first, third.provisional) == (7, 4, 0)
    assert_equal(third.prediction.value[0], second.prediction.value[0])


def test_a_state_that_does_not_belong_here_is_refused_in_a_sentence() -> None:
    fields, model = MODELS["words"]()
    stream = Stream(model, "t", fields)
    stream.push("s", "to be ")
    state = stream.state("s")
    other = Stream(MODELS["words with characters"]()[1], "t", MODELS["words with characters"]()[0])
    with pytest.raises(DataError, match="belongs to another model"):
        other.restore("s", state)
    for damaged in (state[:-1], state[:60] + bytes([state[60] ^ 1]) + state[61:], state + b"x"):
        with pytest.raises(DataError, match="damaged"):
            stream.restore("new", damaged)
    for nothing in (b"", b"\x80\x04", "text", None):
        with pytest.raises(DataError, match="is not the state of a stream"):
            stream.restore("new", nothing)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is open"):
        stream.restore("s", state)


def test_every_byte_of_a_state_is_checked() -> None:
    fields, model = MODELS["words"]()
    stream = Stream(model, "t", fields)
    stream.push("s", "to be or not ")
    state = stream.state("s")
    for position in range(0, len(state), 7):
        with pytest.raises(DataError):
            stream.restore("new", state[:position] + bytes([state[position] ^ 64]) + state[position + 1 :])


def test_a_state_that_was_made_on_purpose_is_refused_when_it_is_restored() -> None:
    """With a correct hash, and tensors or text that the model cannot go on from."""
    fields, model = MODELS["words with characters"]()
    stream = Stream(model, "t", fields)
    stream.push("s", "to be or")
    session = from_bytes(stream.state("s"), stream.fingerprint, device=model.device)
    assert session.encoder is not None
    for changes in (
        {"encoder": tuple(torch.zeros(3, 5) for _ in session.encoder)},
        {"encoder": ()},
        {"kept": 17},
        {"kept": {"a": []}},
        {"kept": [[], []]},
    ):
        made = to_bytes(dataclasses.replace(session, **changes), stream.fingerprint)
        with pytest.raises(DataError, match="does not fit this model"):
            stream.restore("made", made)
    for count in (-1, 0.5, None, True):
        made = to_bytes(dataclasses.replace(session, steps=count), stream.fingerprint)
        with pytest.raises(DataError, match="is no count"):
            stream.restore("made", made)
    assert stream.ids == ["s"]


def test_equal_weights_with_other_options_are_another_model() -> None:
    fields = numbers_to(Label(), LABELS)
    last, mean = (build(fields, partial(classify, pool=pool)) for pool in ("last", "mean"))
    stream = Stream(last, "t", fields)
    stream.push("s", NUMBERS[:2])
    with pytest.raises(DataError, match="another model"):
        Stream(mean, "t", fields).restore("s", stream.state("s"))


def test_sessions_are_bounded_and_idle_ones_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    fields, model = MODELS["words"]()
    now = [0.0]
    monkeypatch.setattr("seqkit.inference.open_sessions.time.monotonic", lambda: now[0])
    saved: dict[str, bytes] = {}
    stream = Stream(model, "t", fields, sessions=2, idle=60, on_evict=saved.__setitem__)
    stream.push_many({"a": "to ", "b": "be "})
    with pytest.raises(UsageError, match="2 sessions are open, and at most 2 can be"):
        stream.push("c", "or")
    now[0] = 59
    stream.push("b", "or ")
    now[0] = 61
    stream.push("c", "not ")
    assert stream.ids == ["b", "c"]
    assert list(saved) == ["a"]
    with pytest.raises(UsageError, match="'a' any more: it was ended after 60 seconds without input"):
        stream.push("a", "be")
    stream.close("c")
    stream.restore("a", saved["a"])
    assert_equal(stream.push("a", "be").prediction, prediction_of(model, fields, "to be"))


def test_a_piece_that_cannot_be_read_changes_nothing() -> None:
    fields, model = MODELS["classify mean"]()
    stream = Stream(model, "t", fields)
    stream.push_many({"a": NUMBERS[:3], "b": NUMBERS[:2]})
    before = stream.state("a"), stream.state("b")
    for wrong in ([[1.0, 2.0]], [[1.0, 2.0, float("nan")]], "text"):
        with pytest.raises(UsageError, match="session 'b': the piece "):
            stream.push_many({"a": NUMBERS[3:4], "b": wrong})
        assert (stream.state("a"), stream.state("b")) == before
    with pytest.raises(UsageError, match="there is no session 'c'"):
        stream.close("c")


def test_models_that_need_the_whole_sequence_say_why() -> None:
    fields = numbers_to(Label(), LABELS)
    with pytest.raises(UsageError, match="reads in both directions"):
        Stream(build(fields, classify, bidirectional=True), "t", fields)

    class Sums(Vectors):  # type: ignore[misc]
        feed = Field.feed

    other = fields[0], Sums(3, standardise=True).fit([NUMBERS]), fields[2]
    with pytest.raises(UsageError, match="inputs of the kind Sums cannot be read in pieces"):
        Stream(build(fields, classify), "t", other)


def test_text_that_the_task_splits_as_a_whole_is_taken_as_words_only() -> None:
    fields, model = MODELS["words"]()
    fields = dataclasses.replace(fields[0], parse=str.upper), *fields[1:]
    stream = Stream(model, "t", fields)
    with pytest.raises(UsageError, match="push lists of words"):
        stream.push("s", "to be")
    assert_equal(stream.push("s", ["To", "be,"]).prediction, prediction_of(model, fields, ["To", "be,"]))


def test_a_sequence_longer_than_the_limit_is_refused() -> None:
    from seqkit import Limit

    fields, model = MODELS["words"]()
    stream = Stream(model, "t", (dataclasses.replace(fields[0], limit=Limit(3)), *fields[1:]))
    stream.push("s", "to be or ")
    with pytest.raises(UsageError, match="at most 3 words"):
        stream.push("s", "not ")


BOTH_WAYS: dict[str, Any] = {
    "tag": lambda: (
        fields := numbers_to(Tags(), [LABELS]),
        build(fields, tag, bidirectional=True, layers=2, highway=True),
    ),
    "crf": lambda: (
        fields := numbers_to(Tags(scheme="iob2"), [TAGGED]),
        build(fields, crf, gru, bidirectional=True, layers=2, residual=True, layer_norm=True),
    ),
    "classify": lambda: (
        fields := numbers_to(Label(), LABELS),
        build(fields, classify, bidirectional=True, initial="learned"),
    ),
    "classify max": lambda: (
        fields := numbers_to(Label(), LABELS),
        build(fields, partial(classify, pool="max"), rnn, bidirectional=True, layers=2),
    ),
    "ctc": lambda: (fields := numbers_to(Text(), ["abc"]), build(fields, ctc, gru, bidirectional=True)),
    "attend": lambda: (
        fields := numbers_to(Text(), ["abc"]),
        build(fields, partial(attend, max_length=6, embedding=4), bidirectional=True),
    ),
}


@pytest.mark.parametrize("name", list(BOTH_WAYS))
def test_both_directions_are_exact_up_to_twice_the_look_ahead(name: str) -> None:
    fields, model = BOTH_WAYS[name]()
    check_pieces(model, fields, [NUMBERS[:16], NUMBERS[20:27], NUMBERS[:1]], seed=name, look_ahead=8)


@pytest.mark.parametrize("look_ahead", [0, 1, 3])
@pytest.mark.parametrize("name", list(BOTH_WAYS))
def test_the_pieces_do_not_matter_to_a_model_that_looks_ahead(name: str, look_ahead: int) -> None:
    fields, model = BOTH_WAYS[name]()
    results = []
    for seed in range(4):
        stream = Stream(model, "t", fields, look_ahead=look_ahead)
        answers = [stream.push("s", piece) for piece in pieces_of(NUMBERS[:21], random.Random(seed))]
        for answer in answers:
            waiting = answer.provisional
            assert waiting <= max(0, 2 * look_ahead - 1)
        results.append(stream.join([*answers, stream.close("s")]))
    for result in results[1:]:
        assert_equal(result, results[0])


def test_a_wide_look_ahead_comes_close_to_the_whole() -> None:
    fields, model = BOTH_WAYS["tag"]()
    expected = np.array(prediction_of(model, fields, NUMBERS).confidence)
    apart = []
    for look_ahead in (0, 4, 12):
        stream = Stream(model, "t", fields, look_ahead=look_ahead)
        answers = [stream.push("s", NUMBERS), stream.close("s")]
        joined = stream.join(answers)
        assert joined is not None
        apart.append(np.abs(np.array(joined.confidence) - expected).max())
    assert apart[0] > apart[1] > apart[2]


def test_a_look_ahead_is_for_models_of_both_directions() -> None:
    fields, model = MODELS["tag"]()
    with pytest.raises(UsageError, match="has no use for a look-ahead"):
        Stream(model, "t", fields, look_ahead=3)
