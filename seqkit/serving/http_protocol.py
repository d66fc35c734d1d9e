"""HTTP for uvicorn: with a deadline for headers, so that clients who send them byte by byte do not keep connections,
and with an answer for clients that half-close theirs.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def protocol_with_deadline(seconds: float) -> type[H11Protocol]:
    """The protocol class of a server whose clients have this long to send the headers of a request."""

    class DeadlineProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _is_half_closed = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            is_idle = before is None or before.response_complete
            if is_idle and self._deadline is None:
                self._expect_headers()
            super().data_received(data)
            if self.cycle is not before:
                self._cancel_deadline()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._cancel_deadline()
            super().handle_websocket_upgrade(event)

        def eof_received(self) -> Any:
            """Answer a client that has closed its own direction after a whole request; else close the connection."""
            self._is_half_closed, cycle = True, self.cycle
            return cycle is not None and not cycle.more_body and not cycle.response_complete

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._is_half_closed:
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_deadline()
            super().connection_lost(exc)

        def _expect_headers(self) -> None:
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

        def _cancel_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return DeadlineProtocol
