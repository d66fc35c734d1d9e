"""HTTP for uvicorn: with deadlines for headers and for reading, so that clients who send byte by byte, or never read
what they are sent, do not keep connections; and with an answer for clients that half-close theirs.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def protocol_with_deadlines(headers: float, reading: float) -> type[H11Protocol]:
    """The protocol class of a server whose clients do not keep it waiting.

    Args:
        headers: seconds that they have to send the headers of a request.
        reading: seconds after which they must have read a part of an answer that waits for them.
    """

    class DeadlineProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _is_half_closed = False
        _reader: asyncio.TimerHandle | None = None

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
            self._watch_reader()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reader()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_deadline()
            self._stop_watching()
            super().connection_lost(exc)

        def _watch_reader(self) -> None:
            """A transport that is closed waits for its reader for ever, so its buffer is looked at again later."""
            self._stop_watching()
            if waiting := self.transport.get_write_buffer_size():
                self._reader = self.loop.call_later(reading, self._check_reader, waiting)

        def _check_reader(self, before: int) -> None:
            if self.transport.get_write_buffer_size() >= before:
                self.transport.abort()
            else:
                self._watch_reader()

        def _stop_watching(self) -> None:
            if self._reader is not None:
                self._reader.cancel()
                self._reader = None

        def _expect_headers(self) -> None:
            self._deadline = self.loop.call_later(headers, self.transport.abort)

        def _cancel_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return DeadlineProtocol
