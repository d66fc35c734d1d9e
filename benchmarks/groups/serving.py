"""L1: a server with 32 clients, who wait for each answer: requests computed together, and each by itself."""

from __future__ import annotations

import asyncio
import atexit
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.frame import Case, Contender, Group, Prepared, Target

WORDS = [
    *("a", "the", "film", "plot", "was", "never", "truly", "wonderful", "boring", "in", "on", "and", "or", "with"),
    *("some", "great", "bad", "actors", "story", "scene"),
]


def _model(hidden: int) -> Path:
    """A model folder: two layers in both directions, after one step."""
    folder = Path(tempfile.mkdtemp()) / "run"
    sets = [f"encoder.hidden={hidden}", "encoder.layers=2", "encoder.bidirectional=true", "train.steps=1", "expect={}"]
    words = [
        *("run", "sentiment", "--quiet", "--out", str(folder)),
        *(part for flag in sets for part in ("--set", flag)),
    ]
    subprocess.run([sys.executable, "-m", "seqkit", *words], check=True, capture_output=True)
    return folder


def _serve(folder: Path, *options: str) -> int:
    """A server until this process ends; returns its port."""
    log = folder.parent / f"log-{time.monotonic_ns()}"
    with log.open("wb") as stream:
        words = [*("-m", "seqkit", "serve", str(folder), "--port", "0"), *options]
        process = subprocess.Popen([sys.executable, *words], stderr=stream)
    atexit.register(process.kill)
    while not (match := re.search(r"at http://127\.0\.0\.1:(\d+)/", log.read_text())):
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        time.sleep(0.1)
    return int(match.group(1))


async def _client(port: int, bodies: list[bytes]) -> None:
    """One client: a request, its answer, the next request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in bodies:
        head = f"POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(answer.decode("latin-1"))
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None
        await reader.readexactly(int(length.group(1)))
    writer.close()
    await writer.wait_closed()


def _prepare(clients: int, requests: int, hidden: int, *options: str) -> Prepared:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(5, 40))) for _ in range(clients * requests)]
    bodies = [json.dumps({"inputs": [text]}).encode() for text in texts]
    port = _serve(_model(hidden), *options)

    async def all_clients() -> None:
        await asyncio.gather(*(_client(port, bodies[number::clients]) for number in range(clients)))

    def run() -> None:
        asyncio.run(all_clients())

    return Prepared(run, notes={"tokens": sum(len(text.split()) for text in texts)})


def batched(clients: int, requests: int, hidden: int) -> Prepared:
    return _prepare(clients, requests, hidden)


def unbatched(clients: int, requests: int, hidden: int) -> Prepared:
    return _prepare(clients, requests, hidden, "--batch", "1")


HERE = __name__
GROUP = Group(
    "serving",
    "`seqkit serve` with clients who each wait for an answer before the next request of one sentence (5 to 40 words; "
    "two bidirectional LSTM layers): requests that wait are computed together, against `--batch 1`. The clients share "
    "the machine's cores with the server.",
    [
        Case("32 clients, H 256", {"clients": 32, "requests": 10, "hidden": 256}, quick=True),
        Case("32 clients, H 512", {"clients": 32, "requests": 10, "hidden": 512}),
        Case("1 client, H 256", {"clients": 1, "requests": 50, "hidden": 256}),
    ],
    [Contender("batched", f"{HERE}:batched", ["fastapi"]), Contender("unbatched", f"{HERE}:unbatched", ["fastapi"])],
    [Target("32 clients, requests computed together", "32 clients", "unbatched", 5, 8)],
    rounds=5,
)
