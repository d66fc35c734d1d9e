"""The model of a stream: it advances several sessions by their new rows of input, together where that is faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from seqkit.errors import UsageError
from seqkit.inference.session import Session
from seqkit.interfaces import Batch, Encoded, Head, State
from seqkit.kernels import StackSteps
from seqkit.model import Model
from seqkit.types import Prediction

_MOST_NATIVE: Final = 32
"""Most steps of a piece that are done step by step through all layers, and not layer by layer."""


@dataclass(frozen=True, slots=True)
class Job:
    """A session and its new input rows (T, ...); None: none."""

    session: Session
    x: Tensor | None


@dataclass(frozen=True, slots=True)
class Result:
    """A session after a piece, and a prediction if it had new steps."""

    session: Session
    prediction: Prediction | None


class StreamModel:
    """A model whose layer, encoder and head carry their own state from piece to piece.

    Args:
        model: the model.
        name: of the task.
        look_ahead: see `seqkit.inference.stream.Stream`.

    Raises:
        UsageError: a part of the model needs the whole sequence.
    """

    def __init__(self, model: Model, name: str, look_ahead: int | None) -> None:
        self.encoder, self.look_ahead = model.encoder, look_ahead
        self.layer: Any = model.layer(name)
        self.head: Head = model.head(name)
        self._check()
        stepper = getattr(model.encoder, "stepper", None)
        self.stepper: tuple[StackSteps, State] | None = None if stepper is None else stepper()

    @property
    def layer_is_pointwise(self) -> bool:
        """Whether the input layer looks at one step at a time and so keeps nothing."""
        return bool(getattr(self.layer, "pointwise", False))

    def advance(self, jobs: Sequence[Job], *, end: bool) -> list[Result]:
        """Each session after its new rows, with a prediction for those that have new steps."""
        results = [Result(job.session, None) for job in jobs]
        together: dict[str, list[int]] = {}  # which sessions are encoded by one call
        steps: dict[int, Tensor] = {}
        last: dict[int, Tensor] = {}
        for number, (job, (new, kept)) in enumerate(zip(jobs, self._steps(jobs, end=end), strict=True)):
            session = replace(job.session, layer=kept)
            if self.look_ahead is not None:
                session, new, last[number] = self._read_ahead(session, new, self.look_ahead, end=end)
            results[number] = Result(session, None)
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

    def _steps(self, jobs: Sequence[Job], *, end: bool) -> list[tuple[Tensor, State]]:
        """The input layer's new steps (T', D) of each session, and what it keeps."""
        if not self.layer_is_pointwise:
            return [self.layer.advance(job.x, job.session.layer, end) for job in jobs]
        if len(jobs) == 1 and jobs[0].x is not None:
            steps, _ = self.layer(jobs[0].x[None], torch.tensor([len(jobs[0].x)]))
            return [(steps[0], ())]
        nothing = torch.zeros(0)
        out: list[tuple[Tensor, State]] = [(nothing, ()) for _ in jobs]
        filled = [number for number, job in enumerate(jobs) if job.x is not None]
        if filled:
            x, lengths = _pad([job.x for job in jobs if job.x is not None])
            steps, lengths = self.layer(x, lengths)
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
    ) -> list[Result]:
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
        predictions, kept = self.head.advance(encoded, batch, [session.head for session in sessions])
        results = []
        for row, (session, length) in enumerate(zip(sessions, lengths.tolist(), strict=True)):
            session = replace(session, encoder=states[row], head=kept[row], steps=session.steps + length)
            results.append(Result(session, predictions[row]))
        return results

    def _read_ahead(
        self, session: Session, new: Tensor, look_ahead: int, *, end: bool
    ) -> tuple[Session, Tensor, Tensor]:
        """The session after new steps (n, D), the encoded steps that are certain, and the last output of both kinds.

        Steps are encoded in chunks that depend on their position alone, not on the pieces in which they come.
        """
        encoder: Any = self.encoder
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
        if self.stepper is not None and steps <= _MOST_NATIVE:
            return "native"
        return "from the beginning" if state is None else "from a state"

    def _encode(
        self, x: Tensor, lengths: Tensor, states: Sequence[State | None], way: str
    ) -> tuple[Encoded, list[State]]:
        """Encoded steps of several sessions, and the states after them. Unless they are native, all begin, or none."""
        if way == "native":
            assert self.stepper is not None
            run, start = self.stepper
            counts = lengths.tolist()
            steps, after = run(x, counts, [start if state is None else state for state in states])
            last = torch.stack([row[count - 1] for row, count in zip(steps, counts, strict=True)])
            return Encoded(steps, lengths, last, lambda: _stacked(after)), after
        before = [state for state in states if state is not None]
        encoded = self.encoder(x, lengths, _stacked(before) if before else None)
        assert isinstance(encoded, Encoded)
        return encoded, [tuple(tensor[row].clone() for tensor in encoded.state) for row in range(len(states))]

    def _check(self) -> None:
        """Raise UsageError for a model with a part that needs the whole sequence; the message names it."""
        encoder, layer = self.encoder, self.layer
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


def _pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(T, ...) each -> (B, T, ...) padded with zeros, and lengths (B,) on the CPU."""
    lengths = torch.tensor([len(row) for row in rows])
    if len(rows) == 1:
        return rows[0][None], lengths
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True), lengths


def _stacked(states: Sequence[State]) -> State:
    """A state a session -> tensors (B, ...)."""
    return tuple(torch.stack(tensors) for tensors in zip(*states, strict=True))
