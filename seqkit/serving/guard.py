"""What every HTTP request passes: a bound on its body, a time limit, counters, and no traceback for a client."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from seqkit.serving.limits import Limits
from seqkit.serving.metrics import ServerMetrics

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("seqkit.serving")

HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
"""Sent with every answer: the page runs only what comes from this server."""


class Guard:
    """ASGI middleware around the application.

    Args:
        app: the application.
        limits: `body` and `seconds` are used.
        metrics: requests are counted there.
        paths: those that exist; others are counted as one.
    """

    def __init__(self, app: Application, limits: Limits, metrics: ServerMetrics, paths: frozenset[str]) -> None:
        self._app, self._limits, self._metrics, self._paths = app, limits, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; streams and the server's start and stop pass untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        answer: JSONResponse | None = None

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, self._bounded(scope, receive), send_counted)
        except TimeoutError:
            answer = _refusal(504, f"the request took longer than {self._limits.seconds:g} seconds")
        except Exception:
            log.exception("a request failed")
            answer = _refusal(500, "the server failed; its log says why")
        if answer is not None and not status:
            await answer(scope, receive, send_counted)
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.requests_of(path, str(status)).inc()
        self._metrics.seconds_of(path).observe(time.perf_counter() - began)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that refuses a body as soon as it is longer than the limit."""
        received = 0
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        # What is left of the body is not read: the connection cannot be used again.
        too_large = HTTPException(
            413, f"the body is larger than {self._limits.body:,} bytes", headers={"connection": "close"}
        )

        async def bounded() -> Message:
            nonlocal received
            if announced.isdigit() and int(announced[:20]) > self._limits.body:
                raise too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limits.body:
                raise too_large
            return message

        return bounded


def _refusal(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers={"connection": "close"})
