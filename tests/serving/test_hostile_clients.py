"""Clients that mean no good: the server lives, its memory is bounded, and no answer is an unexplained 5xx."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.serving.conftest import RunningServer, start, stop

LIMIT = 1 << 20
"""Bytes of a body that the server of these tests takes (`--body 1`)."""


def request(
    body: bytes, *headers: str, path: str = "/predict", method: str = "POST", length: int | None = None
) -> bytes:
    """A request as bytes."""
    count = len(body) if length is None else length
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {count}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def predict(inputs: Any, **options: Any) -> bytes:
    return request(json.dumps({"model": "sentiment", "inputs": inputs, **options}).encode())


DEEP = b'{"model": "sentiment", "inputs": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
MANY_KEYS = json.dumps({f"key{n}": n for n in range(20_000)}).encode()
LONG_NUMBER = b'{"model": "sentiment", "inputs": [' + b"9" * 200_000 + b"]}"

BODIES: dict[str, tuple[bytes, set[int]]] = {
    "nothing": (request(b""), {400}),
    "not JSON": (request(b"hello"), {400}),
    "half of JSON": (request(b'{"inputs": ["a'), {400}),
    "bytes that are no text": (request(b"\xff\xfe\x00\x80"), {400}),
    "a BOM": (request(b'\xef\xbb\xbf{"inputs": []}'), {400}),
    "UTF-16": (request('{"model": "sentiment", "inputs": ["a"]}'.encode("utf-16")), {400}),
    "a lone surrogate": (request(b'{"model": "sentiment", "inputs": ["\\ud800"]}'), {200, 400}),
    "deep lists": (request(DEEP), {400}),
    "many keys": (request(MANY_KEYS), {400}),
    "a long number": (request(LONG_NUMBER), {200, 400}),
    "NaN": (request(b'{"model": "sentiment", "inputs": [NaN]}'), {200, 400}),
    "Infinity": (request(b'{"model": "sentiment", "inputs": [[1e999]]}'), {200, 400}),
    "a key twice": (request(b'{"model": "sentiment", "inputs": ["a"], "inputs": 3}'), {400}),
    "null": (request(b"null"), {400}),
    "a number": (request(b"17"), {400}),
    "inputs of every kind": (predict([None, True, 1, -1.5, [], {}, [[]], [{}], [None], {"a": {"b": [1]}}]), {200}),
    "lists in lists": (predict([[["a"]], [["a", "b"], ["c"]]]), {200}),
    "ragged numbers": (predict([[[1, 2], [3]]]), {200}),
    "control characters": (predict(["\x00\x1b[31m\u202e\x7f", "\r\n\r\n"]), {200}),
    "combining marks": (predict(["a" + "\u0301" * 10_000]), {200}),
    "a long word": (predict(["a" * 500_000]), {200}),
    "many words": (predict(["a " * 200_000]), {200}),
    "a class as a key": (predict([{"__class__": "x", "__reduce__": ["os.system", "id"]}]), {200}),
    "a row that names a file": (predict([{"text": "x", "file": "/etc/passwd"}]), {200}),
    "too many inputs": (predict(["a"] * 1001), {413}),
    "no inputs": (predict([]), {400}),
    "top beyond sense": (predict(["a"], top=10**30), {200}),
    "a model that is a path": (predict(["a"], model="../../etc/passwd"), {404}),
    "a model of many letters": (predict(["a"], model="x" * 500_000), {404}),
    "a task that is a path": (predict(["a"], task="/etc/passwd"), {404}),
    "a file that is a path": (predict([{"file": "/etc/passwd", "content": ""}]), {200}),
    "a file with dots": (predict([{"file": "../../x.tsv", "content": base64.b64encode(b"a\tb").decode()}]), {200}),
    "a file with a NUL": (predict([{"file": "x\x00.tsv", "content": "AAAA"}]), {200}),
    "a file of zeros": (predict([{"file": "x.parquet", "content": base64.b64encode(bytes(99_999)).decode()}]), {200}),
    "a packed bomb": (
        predict([{"file": "x.tsv", "content": base64.b64encode(gzip.compress(bytes(9 << 20))).decode()}]),
        {200},
    ),
    "a file of links": (predict([{"file": "x.json", "content": base64.b64encode(b'"\\u0000"').decode()}]), {200}),
    "generate without end": (request(b'{"model": "charlm", "length": 1000000000}', path="/generate"), {413}),
    "generate too often": (request(b'{"model": "charlm", "count": 101, "length": 1}', path="/generate"), {400}),
    "generate hot": (request(b'{"model": "charlm", "temperature": 1e308, "length": 3}', path="/generate"), {400}),
    "generate coldly": (request(b'{"model": "charlm", "temperature": 0, "length": 3}', path="/generate"), {200}),
    "a seed beyond 64 bits": (request(b'{"model": "charlm", "seed": 99999999999999999999}', path="/generate"), {400}),
    "an unknown symbol": (request('{"model": "charlm", "prompt": "日本"}'.encode(), path="/generate"), {400}),
    "a body that is too large": (request(b"x" * (LIMIT + 1)), {413}),
    "a length that lies upwards": (request(b"{}", length=10**15), {413}),
    "a negative length": (request(b"{}", length=-1), {400}),
    "two lengths": (request(b"{}", "content-length: 5"), {400}),
    "length and chunks": (request(b"0\r\n\r\n", "transfer-encoding: chunked", length=5), {400}),
    "chunks that never end in a number": (
        b"POST /predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        {400},
    ),
    "chunks that are too many": (
        b"POST /predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 40,
        {413},
    ),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), {400}),
    "an unknown method": (request(b"", method="BREW"), {400}),
    "a method too many": (request(b"", method="DELETE"), {405}),
    "GET for POST": (request(b"", method="GET"), {405}),
    "a path with dots": (request(b"", path="/../../etc/passwd", method="GET"), {404}),
    "a path with dots in code": (request(b"", path="/%2e%2e/%2e%2e/etc/passwd", method="GET"), {404}),
    "a path with a NUL": (request(b"", path="/page.js%00.html", method="GET"), {404}),
    "a path into the page's folder": (request(b"", path="/page/../app.py", method="GET"), {404}),
    "a long path": (request(b"", path="/" + "a" * 60_000, method="GET"), {404, 400}),
    "a header that is too long": (request(b"", "x: " + "a" * 100_000), {400, 431}),
    "very many headers": (request(b"", *["x: y"] * 20_000), {400, 431}),
    "another host": (b"GET /health HTTP/1.1\r\nhost: evil.example\r\n\r\n", {400}),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", {400}),
    "a header of two lines": (request(b"", "x: a\r\n b"), {400}),
    "HTTP/0.9": (b"GET /health\r\n\r\n", {400}),
    "a stream without a handshake": (request(b"", path="/stream", method="GET"), {404, 405, 426}),
}


def answer_to(server: RunningServer, data: bytes) -> tuple[int, bytes]:
    """The status and all bytes of the answer to these bytes; 0: the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has answered and closed already
        received = b""
        try:
            while chunk := connection.recv(1 << 16):
                received += chunk
        except ConnectionResetError:
            pass
    match = re.match(rb"HTTP/1\.1 (\d+)", received)
    return int(match.group(1)) if match else 0, received


def check_alive(server: RunningServer) -> None:
    assert httpx.get(server.url + "/health", timeout=30).status_code == 200
    counts = httpx.get(server.url + "/metrics", timeout=30).text
    assert 'status="500"' not in counts, server.log.read_text()[-3000:]


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_request_is_answered_by_a_sentence(name: str, server: RunningServer) -> None:
    data, expected = BODIES[name]
    before = server.memory()
    status, received = answer_to(server, data)
    # A server that refuses early may close before its answer is read.
    assert status in expected | ({0} if len(data) > LIMIT else set()), received[:500]
    assert b"Traceback" not in received
    assert b"root:x:" not in received
    check_alive(server)
    assert server.memory() - before < 200 << 20


def test_half_closed_and_dropped_connections_do_no_harm(server: RunningServer) -> None:
    data = predict(["a wonderful film"] * 100)
    for cut in (1, 20, 60, len(data) // 2, len(data) - 1):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(data[:cut])
    for _ in range(20):  # the client leaves before its answer
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(data)
    check_alive(server)


def test_requests_that_come_at_once_are_answered_in_order(server: RunningServer) -> None:
    unread = request(b"x" * 300_000, path="/nowhere")
    data = unread + request(b"", path="/health", method="GET") + predict(["a", "b"]) + request(b"{")
    _, received = answer_to(server, data)
    assert re.findall(rb"HTTP/1\.1 (\d+)", received) == [b"404", b"200", b"200", b"400"]
    assert received.index(b'"status"') < received.index(b'"results"') < received.index(b"the body: ")


def test_headers_that_never_end_are_refused(server: RunningServer) -> None:
    for data in (b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000):
        status, _ = answer_to(server, data)
        assert status in {0, 400}
    check_alive(server)


@pytest.fixture(scope="module")
def impatient(trained: dict[str, Path]) -> Any:
    """A server with little patience: two seconds for a request."""
    running = start({"sentiment": trained["sentiment"]}, "--seconds", "2", "--body", "1")
    yield running
    assert stop(running) == 0


def test_a_slow_body_is_refused_after_the_time_limit(impatient: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=30) as connection:
        connection.sendall(request(b"{", length=1000))
        began = time.monotonic()
        received = connection.recv(4096)
        assert b"504" in received.split(b"\r\n")[0]
        assert time.monotonic() - began < 20
    check_alive(impatient)


def test_slow_headers_do_not_keep_a_connection(impatient: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        received = b"x"
        for _ in range(60):
            try:
                connection.sendall(b"a: b\r\n")
                connection.settimeout(0.5)
                received = connection.recv(10)
            except TimeoutError:
                continue
            except OSError:
                received = b""
            break
        assert received == b"", "the connection is closed"
    check_alive(impatient)


def test_a_client_that_never_reads_loses_its_connection(impatient: RunningServer) -> None:
    page = request(b"", path="/page.js", method="GET")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", impatient.port))
        connection.settimeout(1)
        with contextlib.suppress(TimeoutError):  # the server stops reading when its answers pile up
            for _ in range(200):
                connection.sendall(page * 20)
        for _ in range(120):
            time.sleep(0.25)
            try:
                connection.send(b"x")
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("the connection is still open")
    check_alive(impatient)


STREAM_MESSAGES = [
    *("", "{", "[]", "null", "17", '"x"', "{}", '{"steps": 1, "end": true}', '{"what": 1}', "[" * 100_000),
    *('{"steps": {"a": 1}}', '{"steps": 17}', '{"steps": [[[[1]]]]}', '{"steps": [null]}', '{"restore": 17}'),
    *('{"restore": "AAAA"}', '{"restore": "!"}', '{"save": true}', '{"end": 3}', '{"steps": "\\ud800"}'),
]


@pytest.mark.parametrize("model", ["sentiment", "charlm"])
def test_odd_messages_of_a_stream_are_answered(model: str, server: RunningServer) -> None:
    for message in STREAM_MESSAGES:
        with connect(f"ws://127.0.0.1:{server.port}/stream?model={model}", open_timeout=30) as socket_:
            socket_.send(message)
            answer = json.loads(socket_.recv(30))
            assert "error" in answer or "steps" in answer, message
    with connect(f"ws://127.0.0.1:{server.port}/stream?model={model}") as socket_:
        socket_.send(b"\x00\x01")
        with pytest.raises(ConnectionClosed):
            socket_.recv(30)
    with connect(f"ws://127.0.0.1:{server.port}/stream?model={model}") as socket_:
        socket_.send("x" * (LIMIT + 1))
        with pytest.raises(ConnectionClosed):
            socket_.recv(30)
    check_alive(server)


def test_streams_are_bounded_and_those_that_leave_make_room(server: RunningServer) -> None:
    address = f"ws://127.0.0.1:{server.port}/stream?model=charlm"
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(connect(address, ping_interval=None)) for _ in range(128)]
            for socket_ in sockets[:3]:
                socket_.send('{"steps": "a"}')
                assert json.loads(socket_.recv(30))["steps"] > 0
            with connect(address) as one_more:
                assert "too many streams" in json.loads(one_more.recv(30))["error"]
            for socket_ in sockets[::2]:  # gone without a word
                socket_.socket.shutdown(socket.SHUT_RDWR)
        for _ in range(100):
            if "seqkit_open_streams 0.0" in httpx.get(server.url + "/metrics").text:
                break
            time.sleep(0.1)
        else:
            pytest.fail("streams stay open")
    check_alive(server)
