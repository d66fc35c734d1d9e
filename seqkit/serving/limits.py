"""What a client may ask of the server, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the server. Whatever exceeds one is refused with a sentence that names it.

    Attributes:
        body: bytes of a request's body, and of a message of a stream.
        items: inputs of a request.
        size: characters, words or numbers of all inputs of a request together.
        seconds: from the request's headers to its answer; the body must arrive within this time too, and some of an
            answer must be read in any such time.
        waiting: requests that wait for the model. More are refused with status 503.
        connections: open connections, of which a quarter may be streams.
        idle: seconds without a message after which a stream is ended.
        headers: seconds within which the headers of a request must come.
        generated: symbols that a request may ask for, all texts together.
        batch_items: inputs that are computed together; 1: each request by itself.
        batch_size: characters, words or numbers that are computed together.
        batch_wait: seconds that the first request of a batch waits for others, if others have come lately.
    """

    body: int = 8 << 20
    items: int = 1_000
    size: int = 1_000_000
    seconds: float = 30.0
    waiting: int = 1_000
    connections: int = 512
    idle: float = 300.0
    headers: float = 10.0
    generated: int = 10_000
    batch_items: int = 256
    batch_size: int = 100_000
    batch_wait: float = 0.002

    @property
    def streams(self) -> int:
        """Streams that may be open at a time."""
        return max(1, self.connections // 4)
