"""HTTP for uvicorn: with a bound on headers and deadlines for headers and for reading, so that clients who send byte by
byte, or never read what they are sent, do not keep connections; and with an answer for clients that half-close theirs.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HeadersTooLarge(Exception):
    """A request's first line and headers are larger than they may be."""


class DeadlineProtocol(HttpToolsProtocol):
    """A connection; `protocol_with_deadlines` sets its three limits."""

    headers_within: float
    reading_within: float
    header_bytes: int
    _deadline: asyncio.TimerHandle | None = None
    _is_half_closed = False
    _reader: asyncio.TimerHandle | None = None
    _is_in_head = True
    """Whether a first line or a header comes next, not a body."""
    _parsed = 0
    """Bytes of this request's first line and headers that the parser has passed on."""
    _unparsed = 0
    """Bytes that have come for headers that are not complete, those of the parser included."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        before, was_in_head = self.cycle, self._is_in_head
        super().data_received(data)
        if self.cycle is not before:
            self._unparsed = 0
            self._cancel_deadline()
            return
        if was_in_head and self._is_in_head:
            self._unparsed += len(data)
            if self._unparsed > self.header_bytes and not self.transport.is_closing():
                self.send_400_response("The headers are too large.")
        if self._deadline is None and (before is None or before.response_complete):
            self._expect_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._parsed = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + len(b": \r\n"))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._cancel_deadline()
        super().handle_websocket_upgrade()

    def eof_received(self) -> Any:
        """Answer a client that has closed its own direction after a whole request; else close the connection."""
        self._is_half_closed, cycle = True, self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_half_closed and self.cycle.response_complete:
            self.transport.close()
        self._watch_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._stop_watching()
        super().connection_lost(exc)

    def _count(self, size: int) -> None:
        """Raise HeadersTooLarge, which the parser passes on as an error of its own, if there is too much by now."""
        self._parsed += size
        if self._parsed > self.header_bytes:
            raise HeadersTooLarge

    def _watch_reader(self) -> None:
        """A transport that is closed waits for its reader for ever, so its buffer is looked at again later."""
        self._stop_watching()
        if waiting := self.transport.get_write_buffer_size():
            self._reader = self.loop.call_later(self.reading_within, self._check_reader, waiting)

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
        self._deadline = self.loop.call_later(self.headers_within, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def protocol_with_deadlines(headers: float, reading: float, header_bytes: int) -> type[HttpToolsProtocol]:
    """The protocol class of a server whose clients do not keep it waiting.

    Args:
        headers: seconds that they have to send the headers of a request.
        reading: seconds after which they must have read a part of an answer that waits for them.
        header_bytes: most bytes of a request's first line and headers.
    """
    limits = {"headers_within": headers, "reading_within": reading, "header_bytes": header_bytes}
    return type(DeadlineProtocol.__name__, (DeadlineProtocol,), limits)
