"""The server as a process: models loaded, an address taken, signals heard."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import uvicorn

from seqkit.errors import UsageError
from seqkit.serving.app import Server
from seqkit.serving.http_protocol import protocol_with_deadlines
from seqkit.serving.limits import Limits
from seqkit.serving.served_model import ServedModel

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine. A page of another site that has its name point here does not get an answer."""

HEADER_BYTES = 64 << 10
"""Most bytes of a request's first line and headers."""

GRACE_SECONDS = 30
"""Requests that have come in have this long to be answered when the server is stopped."""


def run_server(
    folders: Mapping[str, Path],
    *,
    host: str,
    port: int,
    allowed_hosts: Sequence[str],
    limits: Limits,
    device: str,
    say: Callable[[str], object],
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        folders: name -> run folder, or its `model/`.
        host: address to listen at.
        port: 0: any free one.
        allowed_hosts: beside `LOCAL_HOSTS` and `host`: names of this server; `*`: any.
        limits: of requests.
        device: auto, cpu, cuda or cuda:N.
        say: gets the address once it is taken.

    Raises:
        UsageError: the address cannot be taken.
        SeqkitError: a model cannot be loaded.
    """
    listening = _listen(host, port)
    models = {
        name: ServedModel(name, folder, device=device, streams=limits.streams) for name, folder in folders.items()
    }
    hosts = ["*"] if "*" in allowed_hosts else [*LOCAL_HOSTS, host, *allowed_hosts]
    config = uvicorn.Config(
        Server(models, limits, hosts).app(),
        http=protocol_with_deadlines(limits.headers, limits.seconds, HEADER_BYTES),
        ws="websockets-sansio",
        ws_max_size=limits.body,
        limit_concurrency=limits.connections,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=GRACE_SECONDS,
        access_log=False,
        proxy_headers=False,  # nobody asks for a client's address
        log_level=logging.WARNING,
        server_header=False,
    )
    shown = f"[{host}]" if ":" in host else host
    say(f"serving {', '.join(models)} at http://{shown}:{listening.getsockname()[1]}/ (Ctrl-C ends it)")
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that ends with exit code 0 when it is asked to end; uvicorn's raises the signal once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear SIGTERM and SIGINT within the block: the first one stops gracefully, the second one at once."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    """A socket at this address.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"--host {host} --port {port}: {reason}; choose another port, or 0 for any") from None
    return listening
