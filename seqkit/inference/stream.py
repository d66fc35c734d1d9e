"""Sequences that come in pieces: after each piece, what would be predicted if the sequence ended here, and the state.

A stream holds many sessions, one for each sequence. Whatever the pieces are, the predictions are those that
`seqkit.inference.predict` makes of the part that has come: every part of a model carries its own state from piece to
piece. What more input may still change (a word that may go on, a frame whose slope needs the next frames) is computed
from a copy of the state and is called provisional.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from threading import RLock
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from seqkit.data.padding import to_tensor
from seqkit.errors import UsageError
from seqkit.fields import NextValues
from seqkit.inference import session as sessions_as_bytes
from seqkit.inference.session import Session
from seqkit.interfaces import Batch, Encoded, Head, State
from seqkit.kernels import StackSteps
from seqkit.model import Model
from seqkit.types import END, START, Field, Prediction, Task

LONGEST: Final = 10_000
"""Most steps of a session whose head predicts from all steps again after each piece."""

_MOST_NATIVE: Final = 32
"""Most steps of a piece that are done step by step through all layers, and not layer by layer."""

_REMEMBERED: Final = 1000
"""Evicted sessions whose ids are remembered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says after a piece of a sequence.

    Attributes:
        id: of the session.
        prediction: what would be predicted if the sequence ended here. Of a head that predicts for each step (tags, the
            next symbol), the steps from `first` on only: those that are new, and those that were provisional before.
            None: there is no step yet, or none is new.
        steps: how many steps the sequence has so far.
        first: the step at which `prediction` begins; 0 if it is for the whole sequence.
        provisional: how many of the last steps may still change when more comes.
        certain: `prediction` without the provisional steps, of a head that predicts for each step; else the same.
        recurrent: the recurrent state after the steps that are certain.
        has_ended: whether the session was closed with this answer.
    """

    id: str
    prediction: Prediction | None
    steps: int
    first: int
    provisional: int
    certain: Prediction | None = None
    recurrent: State = ()
    has_ended: bool = False

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        """The recurrent state as arrays: (h,), or (h, c) of an LSTM, each (layers, H)."""
        return tuple(tensor.detach().cpu().numpy() for tensor in self.recurrent)


class Stream:
    """Sessions of one model, each a sequence that comes in pieces. Its methods may be called from several threads.

    Args:
        model: the model.
        name: of the task.
        task_and_fields: the task, and its fitted input and target fields.
        sessions: how many may be open at a time.
        look_ahead: for a model that reads in both directions: its backward direction begins so many steps after each
            chunk of as many steps, so a step is certain when twice as many have come. None: such a model is refused.
        idle: seconds without a piece after which a session is ended; None: never.
        on_evict: called with the id and the state of a session that is ended so.

    Raises:
        UsageError: a part of the model needs the whole sequence.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        task_and_fields: tuple[Task, Field, Field],
        *,
        sessions: int = 64,
        look_ahead: int | None = None,
        idle: float | None = None,
        on_evict: Callable[[str, bytes], None] | None = None,
    ) -> None:
        if sessions < 1:
            raise UsageError(f"a stream has at least one session, not {sessions}")
        self.model, self.name = model.eval(), name
        self.task, self.input, self.target = task_and_fields
        self._reads_symbols = self.target.derived and not isinstance(self.target, NextValues)
        self.most, self.look_ahead, self.idle, self.on_evict = sessions, look_ahead, idle, on_evict
        self._device = model.device
        self._layer: Any = model.layers[name]
        self._head: Head = model.head(name)
        self._check_model()
        stepper = getattr(model.encoder, "stepper", None)
        self._stepper: tuple[StackSteps, State] | None = None if stepper is None else stepper()
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the one that was used last is the last
        self._used: dict[str, float] = {}
        self._evicted: OrderedDict[str, None] = OrderedDict()
        self._lock = RLock()
        self._fingerprint: str | None = None

    def push(self, id: str, steps: Any = None) -> Answer:
        """The answer after a further piece of a sequence; a new id begins a sequence.

        Args:
            id: of the session.
            steps: the piece, of the kind that the model reads, with any number of steps, also none: text, a list of
                words, letters of DNA, rows of numbers, samples of sound.

        Raises:
            UsageError: the piece cannot be read, or there are too many sessions. Nothing has changed then.
        """
        return self.push_many({id: steps})[id]

    def push_many(self, pieces: Mapping[str, Any]) -> dict[str, Answer]:
        """The answers after further pieces of several sequences, which are computed together; see `push`."""
        with self._lock, torch.inference_mode():
            return self._push(pieces, end=False)

    def close(self, id: str) -> Answer:
        """End a session. The answer's prediction is the last one, with nothing provisional.

        Raises:
            UsageError: there is no such session.
        """
        with self._lock, torch.inference_mode():
            self._find(id)
            answer = self._push({id: None}, end=True)[id]
            self._forget(id)
            return answer

    def close_all(self) -> dict[str, Answer]:
        """End all sessions; see `close`."""
        with self._lock:
            return {id: self.close(id) for id in self.ids}

    @property
    def ids(self) -> list[str]:
        """The ids of the open sessions, the one that was used last at the end."""
        return list(self._sessions)

    def join(self, answers: Sequence[Answer]) -> Prediction | None:
        """The prediction for the whole sequence, from all answers of a session in their order."""
        parts = [answer.certain for answer in answers if answer.certain is not None]
        if not parts or not self._head.per_step:
            return parts[-1] if parts else None
        return self._head.join(parts)

    def state(self, id: str) -> bytes:
        """The state of a session: `restore` goes on from it, in another process or on another machine too.

        Raises:
            UsageError: there is no such session.
        """
        with self._lock:
            return sessions_as_bytes.to_bytes(self._find(id), self.fingerprint)

    def restore(self, id: str, state: bytes) -> None:
        """Open a session with a state that `state` returned, of this model.

        Raises:
            DataError: the state is damaged, of another model, or of a newer version of seqkit.
            UsageError: the session is open already, or there are too many.
        """
        with self._lock:
            if id in self._sessions:
                raise UsageError(f"session {id!r} is open; close it before its state is restored")
            session = sessions_as_bytes.from_bytes(state, self.fingerprint, device=self._device)
            self._try(session)
            self._end_idle([id])
            self._keep(id, session)

    @property
    def fingerprint(self) -> str:
        """A hash of all that a state depends on: weights, fitted fields, task, look-ahead."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(
                self.model, [self.name, self.input.state(), self.target.state(), self.look_ahead]
            )
        return self._fingerprint

    @torch.inference_mode()
    def _try(self, session: Session) -> None:
        """Raise DataError if the model cannot go on from a session: bytes with a correct hash may hold anything."""
        try:
            rows = to_tensor(self.input.sample(np.random.default_rng(0), 1)).to(self._device)
        except TypeError:
            rows = None  # the field cannot make any
        try:
            self._look_on([_Result(session, None)])
            self._advance([_Job(session, rows)], end=False)
        except Exception as error:  # torch and fields raise anything for what cannot be
            raise sessions_as_bytes.refusal(f"does not fit this model ({error})", "take it again") from None

    # ---- sessions

    def _find(self, id: str) -> Session:
        if id not in self._sessions:
            raise UsageError(f"there is no session {id!r}{self._why_gone(id)}")
        return self._sessions[id]

    def _why_gone(self, id: str) -> str:
        return f": it was ended after {self.idle:g} seconds without input" if id in self._evicted else ""

    def _keep(self, id: str, session: Session) -> None:
        self._sessions[id] = session
        self._sessions.move_to_end(id)
        self._used[id] = time.monotonic()
        self._evicted.pop(id, None)

    def _forget(self, id: str) -> None:
        del self._sessions[id], self._used[id]

    def _end_idle(self, ids: Sequence[str]) -> None:
        """End sessions that have been idle too long, and raise UsageError if there would be too many."""
        new = [id for id in ids if id not in self._sessions]
        if self.idle is not None:
            oldest = time.monotonic() - self.idle
            for id in [id for id, used in self._used.items() if used < oldest and id not in ids]:
                self._evict(id)
        if len(self._sessions) + len(new) > self.most:
            raise UsageError(
                f"{len(self._sessions):,} sessions are open, and at most {self.most:,} can be: close one, or open the "
                "stream with more `sessions`, or with an `idle` time after which a session is ended"
            )

    def _evict(self, id: str) -> None:
        if self.on_evict is not None:
            self.on_evict(id, self.state(id))
        self._forget(id)
        self._evicted[id] = None
        while len(self._evicted) > _REMEMBERED:
            self._evicted.popitem(last=False)

    # ---- pieces

    def _push(self, pieces: Mapping[str, Any], *, end: bool) -> dict[str, Answer]:
        for id in pieces:
            if id in self._evicted:
                why = self._why_gone(id)
                del self._evicted[id]
                raise UsageError(f"there is no session {id!r} any more{why}; push again to begin a new one")
        self._end_idle(list(pieces))
        before = [self._sessions.get(id, Session()) for id in pieces]
        jobs = [
            self._read(id, piece, session, end=end) for (id, piece), session in zip(pieces.items(), before, strict=True)
        ]
        results = self._advance(jobs, end=end)
        if end and self._reads_symbols and self.task.window is None:
            results = self._score_end(results)
        answers = self._look_on(results) if not end else [(result.prediction, 0) for result in results]
        new: dict[str, Answer] = {}
        for id, old, result, (prediction, provisional) in zip(pieces, before, results, answers, strict=True):
            session = result.session
            certain = result.prediction
            if not self._head.per_step:
                certain = prediction = session.prediction if prediction is None else prediction
                session = replace(session, prediction=prediction)
            self._keep(id, session)
            if self.task.finish is not None:
                prediction, certain = (self._finished(session.value, p) for p in (prediction, certain))
            new[id] = Answer(
                id,
                prediction,
                steps=session.steps + provisional,
                first=old.steps if self._head.per_step else 0,
                provisional=provisional,
                certain=certain,
                recurrent=session.encoder or (),
                has_ended=end,
            )
        return new

    def _read(self, id: str, piece: Any, session: Session, *, end: bool) -> _Job:
        """The rows of a piece, and the session with what the field keeps."""
        try:
            rows, kept = self._feed(piece, session, end=end)
        except (ValueError, TypeError) as error:
            raise UsageError(f"session {id!r}: the piece {error}") from None
        if self._reads_symbols and not session.has_started:
            start = np.array([START], dtype=np.int64)
            rows = start if rows is None else np.concatenate([start, rows.astype(np.int64)])
        count = 0 if rows is None else len(rows)
        limit = self.task.limit
        if limit is not None and session.rows + count > limit.max_length:
            raise UsageError(
                f"session {id!r}: the model reads at most {limit.max_length:,} {self.input.unit} of a sequence "
                f"(max_length), and these are {session.rows + count:,}; close the session"
            )
        if type(self._head).advance is Head.advance and session.steps + count > LONGEST:
            raise UsageError(
                f"session {id!r}: this model predicts from all steps again after each piece, of at most {LONGEST:,} "
                "steps; close the session"
            )
        value = session.value if self.task.finish is None else _joined(id, session.value, piece)
        session = replace(session, rows=session.rows + count, kept=kept, has_started=True, value=value)
        return _Job(session, None if rows is None else to_tensor(rows).to(self._device))

    def _finished(self, value: Any, prediction: Prediction | None) -> Prediction | None:
        """A prediction as the task shows it, given the input so far."""
        if prediction is None or self.task.finish is None:
            return prediction
        parse = self.task.parse
        return self.task.finish(parse(value) if isinstance(value, str) and parse is not None else value, prediction)

    def _feed(self, piece: Any, session: Session, *, end: bool) -> tuple[np.ndarray | None, Any]:
        """The rows that are certain now, and what is kept: by the field, and with a tokenizer also an unfinished word.

        Raises:
            ValueError: the piece cannot be read.
        """
        parse = self.task.parse
        if parse is None:
            return self.input.feed(piece, session.kept, end=end)
        rest, kept = session.kept or ("", None)
        if isinstance(piece, str) and not self.task.parse_by_words:
            raise ValueError("is text, which this task can read only as a whole; push lists of words instead")
        if piece is not None and not isinstance(piece, str):
            if rest and len(piece):
                raise ValueError(f"comes after {rest!r:.60}, which may not be a whole word; end it by a space")
        else:
            text = rest + (piece or "")
            count = len(text) if end else max(text.rfind(" "), text.rfind("\t")) + 1
            words, rest = parse(text[:count]) if text[:count].strip() else [], text[count:]
            if isinstance(words, str):
                words = words.split() if self.input.unit in ("words", "pieces") else " " * (session.rows > 0) + words
            piece = words if len(words) else None
        rows, kept = self.input.feed(piece, kept, end=end)
        return rows, None if not rest and kept is None else [rest, kept]

    def _look_on(self, results: Sequence[_Result]) -> list[tuple[Prediction | None, int]]:
        """Each prediction as if the sequence ended here, and how many of its steps may still change."""
        answers: list[tuple[Prediction | None, int]] = [(result.prediction, 0) for result in results]
        open_ones = [number for number, result in enumerate(results) if self._has_more(result.session)]
        if not open_ones:
            return answers
        jobs = []
        for number in open_ones:
            session = results[number].session
            rows, _ = self._feed(None, session, end=True)
            jobs.append(_Job(session, None if rows is None else to_tensor(rows).to(self._device)))
        for number, result in zip(open_ones, self._advance(jobs, end=True), strict=True):
            certain, more = results[number], result.session.steps - results[number].session.steps
            if result.prediction is None:
                continue
            prediction = result.prediction
            if self._head.per_step and certain.prediction is not None:
                prediction = self._head.join([certain.prediction, prediction])
            answers[number] = prediction, more
        return answers

    def _has_more(self, session: Session) -> bool:
        """Whether a session has input that is not certain yet."""
        if session.kept is not None or not getattr(self._layer, "pointwise", False):
            return True
        return bool(session.waiting) and len(session.waiting[0]) > 0

    def _score_end(self, results: Sequence[_Result]) -> list[_Result]:
        """The results of texts that have ended, with the score of the end symbol."""
        end = torch.tensor([END], device=self._device)
        scored = []
        for result, after in zip(
            results, self._advance([_Job(result.session, end) for result in results], end=True), strict=True
        ):
            prediction = after.prediction
            assert prediction is not None
            assert isinstance(prediction.confidence, list)
            prediction = replace(prediction, value=prediction.value[:-1], confidence=prediction.confidence[:-1])
            if result.prediction is not None:
                prediction = self._head.join([result.prediction, prediction])
            scored.append(replace(result, prediction=prediction))
        return scored

    # ---- the model

    def _advance(self, jobs: Sequence[_Job], *, end: bool) -> list[_Result]:
        """Each session after its new rows, with a prediction for those that have new steps."""
        results = [_Result(job.session, None) for job in jobs]
        together: dict[str, list[int]] = {}  # which sessions are encoded by one call
        steps: dict[int, Tensor] = {}
        last: dict[int, Tensor] = {}
        for number, (job, (new, kept)) in enumerate(zip(jobs, self._steps(jobs, end=end), strict=True)):
            session = replace(job.session, layer=kept)
            if self.look_ahead is not None:
                session, new, last[number] = self._read_ahead(session, new, self.look_ahead, end=end)
            results[number] = _Result(session, None)
            if len(new):
                steps[number] = new
                together.setdefault(self._way(len(new), job.session.encoder), []).append(number)
        for way, numbers in together.items():
            advanced = self._encode_and_predict(
                [results[number].session for number in numbers],
                [steps[number] for number in numbers],
                [jobs[number].x for number in numbers],
                way,
                [last[number] for number in numbers] if self.look_ahead is not None else [],
            )
            for number, result in zip(numbers, advanced, strict=True):
                results[number] = result
        return results

    def _steps(self, jobs: Sequence[_Job], *, end: bool) -> list[tuple[Tensor, State]]:
        """The input layer's new steps (T', D) of each session, and what it keeps."""
        if not getattr(self._layer, "pointwise", False):
            return [self._layer.advance(job.x, job.session.layer, end) for job in jobs]
        if len(jobs) == 1 and jobs[0].x is not None:
            steps, _ = self._layer(jobs[0].x[None], torch.tensor([len(jobs[0].x)]))
            return [(steps[0], ())]
        nothing = torch.zeros(0)
        out: list[tuple[Tensor, State]] = [(nothing, ()) for _ in jobs]
        filled = [number for number, job in enumerate(jobs) if job.x is not None]
        if filled:
            x, lengths = _pad([job.x for job in jobs if job.x is not None])
            steps, lengths = self._layer(x, lengths)
            for number, row, length in zip(filled, steps, lengths.tolist(), strict=True):
                out[number] = row[:length], ()
        return out

    def _encode_and_predict(
        self,
        sessions: Sequence[Session],
        steps: Sequence[Tensor],
        inputs: Sequence[Tensor | None],
        way: str,
        last: Sequence[Tensor],
    ) -> list[_Result]:
        """The sessions after their new steps, with predictions; `last` is for steps that were read ahead."""
        x, lengths = _pad(steps)
        states: list[State] = [session.encoder or () for session in sessions]
        if way == "ahead":
            encoded = Encoded(x, lengths, torch.stack(list(last)), lambda: _stacked(states))
        else:
            encoded, states = self._encode(x, lengths, [session.encoder for session in sessions], way)
        none = next((row[:0] for row in inputs if row is not None), x.new_zeros(0))
        rows = [none if row is None else row for row in inputs]
        batch = Batch(*_pad(rows), ids=[f"step {session.steps + 1}" for session in sessions])
        predictions, kept = self._head.advance(encoded, batch, [session.head for session in sessions])
        results = []
        for row, (session, length) in enumerate(zip(sessions, lengths.tolist(), strict=True)):
            session = replace(session, encoder=states[row], head=kept[row], steps=session.steps + length)
            results.append(_Result(session, predictions[row]))
        return results

    def _read_ahead(
        self, session: Session, new: Tensor, look_ahead: int, *, end: bool
    ) -> tuple[Session, Tensor, Tensor]:
        """The session after new steps (n, D), the encoded steps that are certain, and the last output of both kinds.

        Steps are encoded in chunks that depend on their position alone, not on the pieces in which they come.
        """
        encoder: Any = self.model.encoder
        waiting, first = (*session.waiting, None, None)[:2]
        steps = new if waiting is None else torch.cat([waiting, new])
        chunk, encoded, state = max(1, look_ahead), [], session.encoder
        while len(steps) >= chunk + look_ahead or (end and len(steps)):
            keep = min(chunk, len(steps))
            out, state = encoder.look_ahead(steps[: chunk + look_ahead], keep, state)
            steps = steps[keep:]
            encoded.append(out)
            if first is None:
                first = out[0, encoder.out_dim // 2 :].clone()
        kept = (steps.clone(),) if first is None else (steps.clone(), first)
        session = replace(session, encoder=state, waiting=kept)
        if not encoded:
            return session, steps[:0], steps[:0]
        assert first is not None
        joined = torch.cat(encoded)
        return session, joined, torch.cat([joined[-1, : encoder.out_dim // 2], first])

    def _way(self, steps: int, state: State | None) -> str:
        """How so many steps of a session are encoded: many are faster layer by layer, from a state or the beginning."""
        if self.look_ahead is not None:
            return "ahead"
        if self._stepper is not None and steps <= _MOST_NATIVE:
            return "native"
        return "from the beginning" if state is None else "from a state"

    def _encode(
        self, x: Tensor, lengths: Tensor, states: Sequence[State | None], way: str
    ) -> tuple[Encoded, list[State]]:
        """Encoded steps of several sessions, and the states after them. Unless they are native, all begin, or none."""
        if way == "native":
            assert self._stepper is not None
            run, start = self._stepper
            counts = lengths.tolist()
            steps, after = run(x, counts, [start if state is None else state for state in states])
            last = torch.stack([row[count - 1] for row, count in zip(steps, counts, strict=True)])
            return Encoded(steps, lengths, last, lambda: _stacked(after)), after
        before = [state for state in states if state is not None]
        encoded = self.model.encoder(x, lengths, _stacked(before) if before else None)
        assert isinstance(encoded, Encoded)
        return encoded, [tuple(tensor[row].clone() for tensor in encoded.state) for row in range(len(states))]

    def _check_model(self) -> None:
        """Raise UsageError for a model with a part that needs the whole sequence; the message names it."""
        encoder, layer = self.model.encoder, self._layer
        if encoder.causal and self.look_ahead is not None:
            raise UsageError("this model reads in one direction and answers at once: it has no use for a look-ahead")
        if not encoder.causal and self.look_ahead is None:
            raise UsageError(
                "this model reads in both directions, and the backward one begins at the end of a sequence: train with "
                "encoder.bidirectional: false, or give a look-ahead (--look-ahead), the steps that it waits; then "
                "answers come later and differ a little"
            )
        if not encoder.causal and not hasattr(encoder, "look_ahead"):
            raise UsageError(f"the encoder {type(encoder).__name__} needs the whole sequence and cannot look ahead")
        if self.look_ahead is not None and self.look_ahead < 0:
            raise UsageError(f"a look-ahead is a number of steps, not {self.look_ahead}")
        if type(self.input).feed is Field.feed:
            raise UsageError(f"inputs of the kind {type(self.input).__name__} cannot be read in pieces")
        try:
            self.input.feed(None)
        except TypeError as error:
            raise UsageError(f"this model needs the whole sequence: {error}") from None
        if hasattr(layer, "not_in_pieces"):
            reason: str = layer.not_in_pieces
        elif hasattr(layer, "views"):
            reason = "predictions are averaged over other views of the whole input"
        elif not getattr(layer, "pointwise", False) and not hasattr(layer, "advance"):
            reason = f"the input layer {type(layer).__name__} does not say how it reads a sequence in pieces"
        else:
            reason = ""
        if reason:
            raise UsageError(f"this model needs the whole sequence: {reason}")


@dataclass(frozen=True, slots=True)
class _Job:
    """A session and its new input rows (T, ...); None: none."""

    session: Session
    x: Tensor | None


@dataclass(frozen=True, slots=True)
class _Result:
    """A session after a piece, and a prediction if it had new steps."""

    session: Session
    prediction: Prediction | None


def _joined(id: str, before: Any, piece: Any) -> Any:
    """An input and its next piece as one text or one list. Raises UsageError for pieces of different kinds."""
    if before is None or piece is None:
        return before if piece is None else piece
    if not isinstance(piece, type(before)) or not isinstance(piece, str | list):
        raise UsageError(f"session {id!r}: all pieces should be text, or all lists; this one is another kind")
    return before + piece


def fingerprint_of(model: nn.Module, facts: Any) -> str:
    """A hash of the weights of a model, of its settings and of further facts (JSON)."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, module in model.named_modules():
        settings = [(key, value) for key, value in vars(module).items() if _is_setting(key, value)]
        digest.update(f"{name} {module.extra_repr()} {type(module).__name__} {sorted(settings)}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_setting(name: str, value: Any) -> bool:
    """Whether an attribute of a module is an option. Numbers are not: they are counters, or show in the weights."""
    if name.startswith("_") or name == "training":
        return False
    return isinstance(value, bool | str) or (is_dataclass(value) and not isinstance(value, Field))


def _pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(T, ...) each -> (B, T, ...) padded with zeros, and lengths (B,) on the CPU."""
    lengths = torch.tensor([len(row) for row in rows])
    if len(rows) == 1:
        return rows[0][None], lengths
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True), lengths


def _stacked(states: Sequence[State]) -> State:
    """A state a session -> tensors (B, ...)."""
    return tuple(torch.stack(tensors) for tensors in zip(*states, strict=True))
