"""Sequences that come in pieces: after each piece, what would be predicted if the sequence ended here, and the state.

A stream holds many sessions, one for each sequence. Whatever the pieces are, the predictions are those that
`seqkit.inference.predict` makes of the part that has come: every part of a model carries its own state from piece to
piece. What more input may still change (a word that may go on, a frame whose slope needs the next frames) is computed
from a copy of the state and is called provisional.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from threading import RLock
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from seqkit.data.padding import to_tensor
from seqkit.errors import UsageError
from seqkit.fields import NextValues
from seqkit.inference import session as sessions_as_bytes
from seqkit.inference.open_sessions import OpenSessions
from seqkit.inference.session import Session
from seqkit.inference.stream_model import Job, Result, StreamModel
from seqkit.interfaces import Head, State
from seqkit.model import Model
from seqkit.types import END, START, Field, Prediction, Task

LONGEST: Final = 10_000
"""Most steps of a session whose head predicts from all steps again after each piece."""


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
        self._sessions = OpenSessions(sessions, idle, self._tell_evicted)
        self.model, self.name = model.eval(), name
        self.task, self.input, self.target = task_and_fields
        self._reads_symbols = self.target.derived and not isinstance(self.target, NextValues)
        self.look_ahead, self.on_evict = look_ahead, on_evict
        self._device, self._head = model.device, model.head(name)
        self._stream_model = StreamModel(model, name, look_ahead)
        self._check_input()
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
            self._sessions.find(id)
            answer = self._push({id: None}, end=True)[id]
            self._sessions.forget(id)
            return answer

    def close_all(self) -> dict[str, Answer]:
        """End all sessions; see `close`."""
        with self._lock:
            return {id: self.close(id) for id in self.ids}

    @property
    def ids(self) -> list[str]:
        """The ids of the open sessions, the one that was used last at the end."""
        return self._sessions.ids

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
            return sessions_as_bytes.to_bytes(self._sessions.find(id), self.fingerprint)

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
            self._sessions.make_room([id])
            self._sessions.keep(id, session)

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
            self._look_on([Result(session, None)])
            self._stream_model.advance([Job(session, rows)], end=False)
        except Exception as error:  # torch and fields raise anything for what cannot be
            raise sessions_as_bytes.refusal(f"does not fit this model ({error})", "take it again") from None

    def _check_input(self) -> None:
        """Raise UsageError for a field that needs the whole sequence."""
        if type(self.input).feed is Field.feed:
            raise UsageError(f"inputs of the kind {type(self.input).__name__} cannot be read in pieces")
        try:
            self.input.feed(None)
        except TypeError as error:
            raise UsageError(f"this model needs the whole sequence: {error}") from None

    def _tell_evicted(self, id: str) -> None:
        if self.on_evict is not None:
            self.on_evict(id, self.state(id))

    # ---- pieces

    def _push(self, pieces: Mapping[str, Any], *, end: bool) -> dict[str, Answer]:
        before = self._sessions.find_or_begin(list(pieces))
        jobs = [
            self._read(id, piece, session, end=end) for (id, piece), session in zip(pieces.items(), before, strict=True)
        ]
        results = self._stream_model.advance(jobs, end=end)
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
            self._sessions.keep(id, session)
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

    def _read(self, id: str, piece: Any, session: Session, *, end: bool) -> Job:
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
        return Job(session, None if rows is None else to_tensor(rows).to(self._device))

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

    def _look_on(self, results: Sequence[Result]) -> list[tuple[Prediction | None, int]]:
        """Each prediction as if the sequence ended here, and how many of its steps may still change."""
        answers: list[tuple[Prediction | None, int]] = [(result.prediction, 0) for result in results]
        open_ones = [number for number, result in enumerate(results) if self._has_more(result.session)]
        if not open_ones:
            return answers
        jobs = []
        for number in open_ones:
            session = results[number].session
            rows, _ = self._feed(None, session, end=True)
            jobs.append(Job(session, None if rows is None else to_tensor(rows).to(self._device)))
        for number, result in zip(open_ones, self._stream_model.advance(jobs, end=True), strict=True):
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
        if session.kept is not None or not self._stream_model.layer_is_pointwise:
            return True
        return bool(session.waiting) and len(session.waiting[0]) > 0

    def _score_end(self, results: Sequence[Result]) -> list[Result]:
        """The results of texts that have ended, with the score of the end symbol."""
        end = torch.tensor([END], device=self._device)
        scored = []
        for result, after in zip(
            results, self._stream_model.advance([Job(result.session, end) for result in results], end=True), strict=True
        ):
            prediction = after.prediction
            assert prediction is not None
            assert isinstance(prediction.confidence, list)
            prediction = replace(prediction, value=prediction.value[:-1], confidence=prediction.confidence[:-1])
            if result.prediction is not None:
                prediction = self._head.join([result.prediction, prediction])
            scored.append(replace(result, prediction=prediction))
        return scored


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
