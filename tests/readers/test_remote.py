"""Files at an address, read from a server on this machine that fails, stalls, cuts and changes what it has."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit import DataError, UsageError, recipe, remote_files
from seqkit.data import store
from seqkit.readers import is_remote, jsonl, lines, parquet, tsv
from seqkit.remote_files import Fingerprint, fingerprint, open_remote, telling, url_of

pytest.importorskip("aiohttp", reason="needs the extra `remote`")

TEXT = "".join(f"line {n} of the file\tlabel {n % 3}\n" for n in range(9000)).encode()


class Handler(BaseHTTPRequestHandler):
    """Serves TEXT at any path; the first folder of the path says what goes wrong, and how often."""

    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(is_head=True)

    def do_GET(self) -> None:
        self.answer(is_head=False)

    def answer(self, *, is_head: bool) -> None:
        kind = self.path.split("/")[1]
        name, _, times = kind.partition("-")
        self.server.asked.append(f"{self.command} {self.path}")
        count = self.server.counts.get(kind, 0)
        is_wrong = not times or count < int(times)
        if (not is_head or name.isdigit() or name in ("headless", "moved", "loop", "unknown", "packed")) and is_wrong:
            self.server.counts[kind] = count + 1
            if name.isdigit():
                self.status(int(name))
                return
            if hasattr(self, f"do_{name}"):
                getattr(self, f"do_{name}")(is_head)
                return
        self.content(is_head)

    def status(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def content(self, is_head: bool, *, etag: str = '"1"', most: int | None = None, ranges: bool = True) -> None:
        body, code, bounds = self.server.files.get(self.path.rpartition("/")[2], TEXT), 200, ""
        size = len(body)
        asked = self.headers.get("Range") if ranges else None
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            body, code, bounds = body[int(first) : int(last) + 1], 206, f"bytes {first}-{last}/{size}"
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", etag)
        if bounds:
            self.send_header("Content-Range", bounds)
        self.end_headers()
        if not is_head:
            self.wfile.write(body[:most])

    def do_reset(self, is_head: bool) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()
        self.close_connection = True

    def do_cut(self, is_head: bool) -> None:
        self.content(is_head, most=1000)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def do_stall(self, is_head: bool) -> None:
        self.content(is_head, most=1000)
        time.sleep(1.2)
        self.close_connection = True

    def do_slow(self, is_head: bool) -> None:
        time.sleep(1.2)
        self.close_connection = True

    def do_short(self, is_head: bool) -> None:
        """Fewer bytes than the range, and a length that says so."""
        first = self.headers["Range"].removeprefix("bytes=").split("-")[0]
        self.send_response(206)
        self.send_header("Content-Length", "10")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Range", f"bytes {first}-{int(first) + 9}/{len(TEXT)}")
        self.end_headers()
        self.wfile.write(TEXT[int(first) :][:10])

    def do_unknown(self, is_head: bool) -> None:
        """No length."""
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def do_packed(self, is_head: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_changed(self, is_head: bool) -> None:
        self.content(is_head, etag='"2"')

    def do_whole(self, is_head: bool) -> None:
        """Parts are not given."""
        self.content(is_head, ranges=False)

    def do_moved(self, is_head: bool) -> None:
        self.status(302, Location="/ok/a.tsv")

    def do_loop(self, is_head: bool) -> None:
        self.status(302, Location=self.path)

    def do_headless(self, is_head: bool) -> None:
        return self.status(405) if is_head else self.content(is_head)

    def do_nothing(self, is_head: bool) -> None:
        """Closes without an answer."""
        self.close_connection = True

    def do_nonsense(self, is_head: bool) -> None:
        self.wfile.write(b"\0\1 this is not HTTP\r\n\r\n")
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.counts: dict[str, int] = {}
        self.asked: list[str] = []
        self.files: dict[str, bytes] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def path(self, kind: str, name: str = "a.tsv") -> Path:
        return Path(f"http:/127.0.0.1:{self.server_port}/{kind}/{name}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote_files, "TIMEOUT", 0.6)
    monkeypatch.setattr(remote_files, "_PAUSE", 0.01)
    monkeypatch.setattr(remote_files, "_FIRST_PART", 1 << 17)
    monkeypatch.delenv("SEQKIT_OFFLINE", raising=False)
    with Server() as started:
        threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield started
        started.shutdown()


PASSING = ["reset", "cut", "stall", "slow", "short", "nothing", "nonsense", "408", "429", "500", "502", "503", "504"]


@pytest.mark.parametrize("kind", ["ok", *(f"{kind}-2" for kind in PASSING), "whole", "moved", "headless"])
def test_what_goes_wrong_for_a_while_is_tried_again(kind: str, server: Server) -> None:
    with open_remote(server.path(kind)) as file:
        assert file.read() == TEXT
    if kind.endswith("-2"):
        assert server.counts[kind] == 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        *(
            (kind, "the connection failed|was cut|nothing came|4 times")
            for kind in ("reset", "cut", "short", "nothing")
        ),
        ("stall", r"nothing came within 0\.6 s, 4 times, at byte 0|connection failed"),
        ("500", "the server answered 500, 4 times"),
        ("404", "there is no such file"),
        ("403", r"the server does not allow it \(403\)"),
        ("418", "the server answered 418"),
        ("unknown", "does not say how many bytes it has"),
        ("packed", "comes compressed on its way"),
        ("changed", "was changed while it was read"),
        ("loop", "TooManyRedirects"),
    ],
)
def test_what_stays_wrong_is_one_sentence_with_the_address(kind: str, message: str, server: Server) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(lines(server.path(kind)))
    (problem,) = caught.value.problems
    assert problem.where.startswith(f"http://127.0.0.1:{server.server_port}/{kind}/a.tsv")


def test_a_server_that_is_not_there(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=rf"http://127\.0\.0\.1:{port}/a: the connection failed \(.*\), 4 times"):
        list(lines(Path(f"http:/127.0.0.1:{port}/a")))


def test_a_large_file_is_not_read_whole_where_there_are_no_parts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_files, "_AT_ONCE", 1000)
    with pytest.raises(DataError, match=r"gives no parts of files, and has more than 1,000 bytes"):
        list(lines(server.path("whole")))


def test_readers_read_it_like_a_local_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(TEXT)
    assert list(tsv(server.path("ok"))) == list(tsv(tmp_path / "a.tsv"))
    server.files["b.jsonl.gz"] = gzip.compress(b'{"text": "a", "label": "b"}\n{"text": 1\n')
    with pytest.raises(DataError, match=r"^http://127\.0\.0\.1:\d+/ok/b\.jsonl\.gz:2:11: "):
        list(jsonl(server.path("ok", "b.jsonl.gz")))


def test_parquet_is_read_in_parts(server: Server, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `arrow`")
    from pyarrow.parquet import write_table

    table = pyarrow.table({"text": [f"t{n}" for n in range(50)], "label": ["a", "b"] * 25, "other": [0.5] * 50})
    write_table(table, tmp_path / "a.parquet", row_group_size=10)
    server.files["a.parquet"] = (tmp_path / "a.parquet").read_bytes()
    assert list(parquet(server.path("ok", "a.parquet"))) == list(parquet(tmp_path / "a.parquet"))


@pytest.mark.parametrize("url", ["https://me:secret@host/a", "https://token@host/a", "https://host/a?sig=secret"])
def test_a_secret_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="in the environment") as caught:
        open_remote(Path(url))
    assert not any(word in str(caught.value) for word in ("secret", "token@", "sig="))


def test_which_paths_are_addresses() -> None:
    assert url_of(Path("s3://bucket/a b.tsv")) == "s3://bucket/a b.tsv"
    assert url_of(Path("/home/me") / "hf://datasets/x/y.tsv") == "hf://datasets/x/y.tsv"
    assert url_of(Path("gs://bucket") / "part-*.tsv") == "gs://bucket/part-*.tsv"
    assert not is_remote(Path("data/https.tsv"))
    assert not is_remote("C:/data/a.tsv")


RECIPE = """tasks:
  mood: {{use: sentiment, folder: "{folder}", train: {train}, dev: null, test: null}}
encoder: {{use: lstm, hidden: 4}}
"""


def prepared(text: str, folder: Path) -> store.Prepared:
    entry = recipe.parse(text.encode(), str(folder / "r.yaml")).tasks["mood"]
    return store.prepare(recipe.build_task(entry), key="mood", cache=folder / "cache")


def test_a_task_reads_it_and_the_cache_depends_on_what_the_server_says(server: Server, tmp_path: Path) -> None:
    url = str(url_of(server.path("ok")))
    loaded = recipe.parse(RECIPE.format(folder=url.removesuffix("/a.tsv"), train="a.tsv").encode(), str(tmp_path / "r"))
    assert server.asked == []  # a check contacts nobody
    assert url.removesuffix("/a.tsv") in loaded.resolved()
    text = RECIPE.format(folder=url.removesuffix("/a.tsv"), train="[a.tsv, b.tsv]")
    server.files["b.tsv"] = b"one more\tlabel 1\n"
    told: list[str] = []
    with telling(told.append):
        remote = prepared(text, tmp_path)
    assert told == [f"reading from http://127.0.0.1:{server.server_port}"]
    (tmp_path / "a.tsv").write_bytes(TEXT)
    (tmp_path / "b.tsv").write_bytes(server.files["b.tsv"])
    local = prepared(RECIPE.format(folder=tmp_path, train='"?.tsv"'), tmp_path)
    assert np.array_equal(remote.splits["train"].x.data, local.splits["train"].x.data)
    assert list(remote.splits["train"].ids) == list(local.splits["train"].ids)
    assert remote.files[0]["remote"]["url"] == url
    server.asked.clear()
    assert prepared(text, tmp_path).reused
    assert {line.partition(" ")[0] for line in server.asked} == {"HEAD"}  # nothing is read again
    server.files["b.tsv"] += b"and more\tlabel 2\n"
    assert not prepared(text, tmp_path).reused


def test_offline_nothing_is_contacted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_OFFLINE", "1")
    with pytest.raises(DataError, match="is not read, because SEQKIT_OFFLINE is set"):
        fingerprint(server.path("ok"))
    assert server.asked == []


def test_other_file_systems_have_patterns_and_notice_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.delenv("SEQKIT_OFFLINE", raising=False)
    memory = fsspec.filesystem("memory")
    for number in range(3):
        memory.pipe(f"/shards/part-{number}.txt", b"x\ny\n" * 1000)
    paths = remote_files.matches(Path("memory://shards/part-*.txt"))
    assert [url_of(path) for path in paths] == [f"memory://shards/part-{number}.txt" for number in range(3)]
    assert sum(1 for path in paths for _ in lines(path)) == 6000
    with pytest.raises(DataError, match=r"memory://shards/no-\*: no file matches this pattern"):
        remote_files.matches(Path("memory://shards/no-*"))
    before = fingerprint(paths[0])
    memory.pipe("/shards/part-0.txt", b"z\n")
    with pytest.raises(DataError, match="was changed since this run began to read it"):
        open_remote(paths[0])
    assert fingerprint(paths[0]) != before
    assert isinstance(before, Fingerprint)
    memory.rm("/shards", recursive=True)
