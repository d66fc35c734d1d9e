"""WebSocket streams: a sequence comes in pieces, and each piece is answered."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from seqkit.errors import SeqkitError
from seqkit.inference.stream import Answer, Stream
from seqkit.serving.limits import Limits
from seqkit.serving.metrics import ServerMetrics
from seqkit.serving.served_model import ServedModel
from seqkit.serving.values import json_bytes, size_of
from seqkit.types import JSON

log = logging.getLogger("seqkit.serving")

POLICY, TRY_AGAIN, GOING_AWAY, INTERNAL = 1008, 1013, 1001, 1011
"""Codes with which a WebSocket is closed (RFC 6455)."""

MESSAGES = '{"steps": ...}, {"save": true}, {"restore": "<base64>"} or {"end": true}'


class StreamConnections:
    """Open streams, each a session of its own in the model's `Stream`.

    Args:
        limits: `streams`, `size`, `body`, `seconds` and `idle` are used.
        metrics: open streams are counted there.
    """

    def __init__(self, limits: Limits, metrics: ServerMetrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._numbers = itertools.count(1)
        self._open = 0

    async def refuse(self, socket: WebSocket, sentence: str, code: int = POLICY) -> None:
        """Accept, say why not, and close: a browser shows no reason of a handshake that is refused."""
        await socket.accept()
        await socket.send_text(json.dumps({"error": sentence}))
        await socket.close(code)

    async def serve(self, socket: WebSocket, model: ServedModel, task: str) -> None:
        """Answer the messages of one client until it leaves.

        `{"steps": <piece>}` gives `prediction`, `confidence`, `steps`, `first` and `provisional`. `{"save": true}`
        gives the state in base64; a later stream goes on from it if `{"restore": <state>}` is its first message.
        `{"end": true}` gives the last prediction and ends the stream. A message that cannot be used is answered with an
        `error`, and the stream goes on.
        """
        stream = model.stream(task)
        if stream is None:
            await self.refuse(socket, model.facts[task].why_no_stream)
            return
        if self._open >= self._limits.streams:
            await self.refuse(socket, "too many streams are open; try again", TRY_AGAIN)
            return
        await socket.accept()
        session = f"stream {next(self._numbers)}"
        self._open += 1
        self._metrics.streams.set(self._open)
        try:
            await self._answer_all(socket, model, stream, session)
        except WebSocketDisconnect:
            pass
        except Exception:
            log.exception("a stream failed")
            await socket.close(INTERNAL)
        finally:
            self._open -= 1
            self._metrics.streams.set(self._open)
            if session in stream.ids:
                await self._run(model, partial(stream.close, session))

    async def _answer_all(self, socket: WebSocket, model: ServedModel, stream: Stream, session: str) -> None:
        while True:
            try:
                async with asyncio.timeout(self._limits.idle):
                    text = await socket.receive_text()
            except TimeoutError:
                await socket.close(GOING_AWAY, f"no message for {self._limits.idle:g} seconds")
                return
            except KeyError:  # a binary message
                await socket.close(POLICY, "messages are JSON text")
                return
            answer = await self._answer(text, model, stream, session)
            message = json_bytes(answer).decode()
            try:
                async with asyncio.timeout(self._limits.seconds):
                    await socket.send_text(message)
            except TimeoutError:  # the client does not read its answers
                return
            if answer.get("has_ended"):
                await socket.close()
                return

    async def _answer(self, text: str, model: ServedModel, stream: Stream, session: str) -> dict[str, JSON]:
        """The answer to one message."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return {"error": f"a message is JSON: {MESSAGES}"}
        if not isinstance(message, Mapping) or len(message) != 1:
            return {"error": f"a message is one of {MESSAGES}"}
        ((kind, value),) = message.items()
        if kind == "steps" and size_of(value) > self._limits.size:
            return {"error": f"a piece may have at most {self._limits.size:,} steps"}
        try:
            if kind == "steps":
                return _answer_record(await self._run(model, partial(stream.push, session, value)))
            if kind == "save":
                state = await self._run(model, partial(stream.state, session))
                return {"saved": base64.b64encode(state).decode()}
            if kind == "restore":
                await self._run(model, partial(stream.restore, session, base64.b64decode(value, validate=True)))
                return {"restored": True}
            if kind == "end":
                if session not in stream.ids:
                    return {"has_ended": True, "steps": 0, "prediction": None}
                return _answer_record(await self._run(model, partial(stream.close, session)))
        except (SeqkitError, TypeError, ValueError) as error:
            return {"error": str(error)}
        return {"error": f"a message is one of {MESSAGES}"}

    async def _run(self, model: ServedModel, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(model.executor, call)


def _answer_record(answer: Answer) -> dict[str, JSON]:
    prediction = answer.prediction
    return {
        "prediction": None if prediction is None else prediction.value,
        "confidence": None if prediction is None else prediction.confidence,
        "steps": answer.steps,
        "first": answer.first,
        "provisional": answer.provisional,
        **({"has_ended": True} if answer.has_ended else {}),
    }
