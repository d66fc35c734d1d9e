"""L1: a server with 32 clients, who wait for each answer: requests computed together, and each by itself."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frame import Case, Contender, Group, Prepared, Target

WORDS = [
    *("a", "the", "film", "plot", "was", "never", "truly", "wonderful", "boring", "in", "on", "and", "or", "with"),
    *("some", "great", "bad", "actors", "story", "scene"),
]
SECONDS = 300
"""After so long a server that does not start, or a round that does not end, is given up."""


_FOLDER = Path(tempfile.gettempdir()) / f"seqkit-serving-{os.getppid()}"
"""Models, trained by the contender that is first asked for one, and used by both: they have the same parent process."""

_running: subprocess.Popen[bytes] | None = None


def _model(hidden: int, layers: int, bidirectional: bool) -> Path:
    """A model folder, after one step: of the encoder only the size counts here."""
    folder = _FOLDER / f"{hidden}-{layers}-{bidirectional}"
    if folder.exists():
        return folder
    atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
    encoder = {"hidden": hidden, "layers": layers, "bidirectional": json.dumps(bidirectional)}
    settings = {f"encoder.{name}": value for name, value in encoder.items()}
    settings |= {"tasks.sentiment.sizes": [500, 50, 50], "train.steps": 1, "expect": {}}
    words = ["run", "sentiment", "--quiet", "--out", str(folder)]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    subprocess.run([sys.executable, "-m", "seqkit", *words], check=True, capture_output=True, timeout=SECONDS)
    return folder


def _stop() -> None:
    if _running is not None:
        _running.kill()
        _running.wait()


def _serve(folder: Path, options: Sequence[str]) -> int:
    """A server in place of the last one, until this process ends; returns its port."""
    global _running
    _stop()
    log = _FOLDER / f"log-{os.getpid()}-{time.monotonic_ns()}"
    with log.open("wb") as stream:
        words = [*("-m", "seqkit", "serve", str(folder), "--port", "0"), *options]
        _running = subprocess.Popen([sys.executable, *words], stderr=stream)
    began = time.monotonic()
    while not (match := re.search(r"at http://127\.0\.0\.1:(\d+)/", log.read_text())):
        if _running.poll() is not None or time.monotonic() - began > SECONDS:
            raise RuntimeError(log.read_text() or "the server does not start")
        time.sleep(0.1)
    return int(match.group(1))


atexit.register(_stop)


class _Client(asyncio.Protocol):
    """One client: a request, its answer, the next request. It shares the cores with the server, so it does little."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._requests, self._received = iter(requests), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self.done.set_result(None)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self._transport.close()
            self.done.set_exception(RuntimeError(self._received.decode("latin-1")))
            return
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        if len(body) == int(length.group(1)):
            self._received = b""
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or RuntimeError("the server has closed the connection"))


async def _all_clients(port: int, clients: int, requests: Sequence[bytes]) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        connections = [
            await loop.create_connection(lambda number=number: _Client(requests[number::clients]), "127.0.0.1", port)
            for number in range(clients)
        ]
        await asyncio.gather(*(client.done for _, client in connections))


def _request(text: str) -> bytes:
    body = json.dumps({"inputs": [text]}).encode()
    return b"POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _prepare(
    clients: int, requests: int, hidden: int, layers: int, bidirectional: bool, options: Sequence[str]
) -> Prepared:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(5, 40))) for _ in range(clients * requests)]
    port = _serve(_model(hidden, layers, bidirectional), options)

    def run() -> None:
        asyncio.run(_all_clients(port, clients, [_request(text) for text in texts]))

    return Prepared(run, notes={"tokens": sum(len(text.split()) for text in texts)})


def batched(clients: int, requests: int, hidden: int, layers: int, bidirectional: bool) -> Prepared:
    return _prepare(clients, requests, hidden, layers, bidirectional, [])


def unbatched(clients: int, requests: int, hidden: int, layers: int, bidirectional: bool) -> Prepared:
    return _prepare(clients, requests, hidden, layers, bidirectional, ["--batch", "1"])


def _case(name: str, clients: int, requests: int, hidden: int, layers: int, *, both: bool, quick: bool = False) -> Case:
    options = {
        "clients": clients,
        "requests": requests,
        "hidden": hidden,
        "layers": layers,
        "bidirectional": both,
    }
    return Case(name, options, quick=quick)


HERE = __name__
GROUP = Group(
    "serving",
    "`seqkit serve` with clients who each wait for an answer before the next request of one sentence (5 to 40 words): "
    "requests that wait are computed together, against `--batch 1`. The clients share the machine's cores with the "
    "server. One layer of 128 is the encoder of the recipe `sentiment`, in both directions that of `sentiment-sst2` "
    "and `sentiment-emotion`. There nearly all of a single sentence's time goes into calls, which a batch makes once. "
    "The larger a model, the more of that time is arithmetic, and a batch has as much of it, so batches win less and "
    "there is no target: with two layers of 256 in both directions a sentence takes about 12 ms by itself and 2.6 in a "
    "batch, of which the matrix products alone would take 1.5 on both cores at the speed that they have here, and HTTP "
    "on both sides 0.5.",
    [
        _case("32 clients, one layer of 64", 32, 20, 64, 1, both=False),
        _case("32 clients, one layer of 128", 32, 20, 128, 1, both=False, quick=True),
        _case("32 clients, one layer of 128, both directions", 32, 20, 128, 1, both=True),
        _case("32 clients, larger, one layer of 512", 32, 8, 512, 1, both=False),
        _case("32 clients, larger, 2 layers of 256, both directions", 32, 5, 256, 2, both=True),
        _case("32 clients, larger, 2 layers of 512, both directions", 32, 2, 512, 2, both=True),
        _case("1 client, one layer of 128", 1, 50, 128, 1, both=False),
    ],
    [
        Contender("batched", f"{HERE}:batched", ["fastapi", "httptools"]),
        Contender("unbatched", f"{HERE}:unbatched", ["fastapi", "httptools"]),
    ],
    [
        Target(
            "requests computed together, sizes of the recipes for sentences", "32 clients, one layer", "unbatched", 5, 8
        ),
    ],
    rounds=5,
)
