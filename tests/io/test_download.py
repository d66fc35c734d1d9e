"""Downloads from a hostile server: either the pinned file, complete, or no file and a reason."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from seqkit.errors import DataError, RunError
from seqkit.io import download
from seqkit.io.download import Dataset, File, fetch, listening
from tests.helpers.data import needs_data

BODY = bytes(range(256)) * 300
SHA256 = hashlib.sha256(BODY).hexdigest()


class Hostile(BaseHTTPRequestHandler):
    """Answers by path; remembers what was asked."""

    asked: ClassVar[list[tuple[str, str | None]]] = []
    failures: ClassVar[int] = 0

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range")))
        try:
            getattr(self, self.path.strip("/").split("/")[0].replace("-", "_"))()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send(self, body: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self) -> None:
        start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        if start == "0":
            self.send(BODY)
        else:
            first = int(start)
            self.send(BODY[first:], status=206, Content_Range=f"bytes {first}-{len(BODY) - 1}/{len(BODY)}")

    def wrong(self) -> None:
        self.send(BODY[:-1] + b"\0")

    def short(self) -> None:
        """Each answer ends after 1,000 bytes, though it promised all."""
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send(
            BODY[start : start + 1000],
            status=206 if start else 200,
            length=len(BODY) - start,
            Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}",
        )

    def breaks_once(self) -> None:
        self.short() if "Range" not in self.headers else self.good()

    def long(self) -> None:
        self.send(BODY + b"x")

    def endless(self) -> None:
        """No length, and no end."""
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(BODY)

    def slow(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        for byte in BODY[:400]:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.02)

    def silent(self) -> None:
        time.sleep(3)

    def to_file(self) -> None:
        self.send(b"", status=302, Location="file:///etc/passwd")

    def to_ftp(self) -> None:
        self.send(b"", status=301, Location="ftp://127.0.0.1/x")

    def to_data(self) -> None:
        self.send(b"", status=303, Location="data:text/plain,hello")

    def to_http(self) -> None:
        self.send(b"", status=307, Location="http://example.invalid/secret?signature=abc")

    def to_uri(self) -> None:
        self.send(b"", status=302, URI="http://example.invalid/")

    def to_good(self) -> None:
        self.send(b"", status=308, Location="/good")

    def round(self) -> None:
        self.send(b"", status=302, Location="/round")

    def nowhere(self) -> None:
        self.send(b"", status=302)

    def missing(self) -> None:
        self.send(b"not here", status=404)

    def busy(self) -> None:
        self.send(b"", status=503)

    def busy_once(self) -> None:
        self.busy() if len(self.asked) == 1 else self.good()

    def zipped(self) -> None:
        self.send(gzip.compress(BODY), Content_Encoding="gzip")

    def bomb(self) -> None:
        self.send(gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip")

    def other_part(self) -> None:
        self.send(BODY[:100], status=206, Content_Range=f"bytes 0-99/{len(BODY)}")

    def ignores_range(self) -> None:
        self.send(BODY)

    def refuses_range(self) -> None:
        self.send(b"", status=416) if "Range" in self.headers else self.good()

    def nonsense(self) -> None:
        self.wfile.write(b"\x00\x01\x02\r\n\r\n")

    def nothing(self) -> None:
        self.send(b"", status=204)

    def log_message(self, *rest: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    Hostile.asked = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    httpd.daemon_threads = True
    httpd.block_on_close = False
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("SEQKIT_TEST_LOOPBACK", "1")
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    for name in ("SEQKIT_DATA", "SEQKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "_pause", lambda attempt: None)
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "data" / "toy" / "set"


def dataset(url: str, *, path: str = "train.tsv") -> Dataset:
    return Dataset("toy/set", (File(path, url, SHA256, len(BODY)),), licence="CC0", about="a toy")


def refusal(data: Dataset, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        fetch(data, **options)
    return str(caught.value)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_good_download(server: str, folder: Path) -> None:
    lines: list[str] = []
    steps: list[tuple[int, int | None, str]] = []
    with listening(tell=lines.append, progress=lambda *step: steps.append(step)):
        assert fetch(dataset(f"{server}/good")) == folder
    assert (folder / "train.tsv").read_bytes() == BODY
    assert files_in(folder) == ["train.tsv"]
    assert lines[0].startswith("downloading toy/set: 76.8 kB to ")
    assert lines[1:] == ["toy/set: a toy", "toy/set: licence: CC0"]
    assert steps[-1] == (len(BODY), len(BODY), "downloading train.tsv")
    assert fetch(dataset(f"{server}/good")) == folder
    assert len(Hostile.asked) == 1


def test_without_a_listener_the_licence_is_told_on_stderr(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(dataset(f"{server}/good"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "licence: CC0" in err


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("wrong", "its SHA-256 is"),
        ("long", "the server sends 76,801 bytes, but the file has 76,800"),
        ("endless", "the server sends more than the 76,800 bytes"),
        ("to-file", "leads to file://, and only https is allowed"),
        ("to-ftp", "leads to ftp://127.0.0.1, and only https is allowed"),
        ("to-data", "leads to data://, and only https is allowed"),
        ("to-http", "leads to http://example.invalid, and only https is allowed"),
        ("to-uri", "leads to http://example.invalid, and only https is allowed"),
        ("round", "the server answers 302"),
        ("missing", "the server answers 404"),
        ("zipped", "the server sends it as gzip"),
        ("bomb", "the server sends it as gzip"),
        ("nothing", "the server answers 204"),
    ],
)
def test_anything_but_the_file_is_refused_at_once(server: str, folder: Path, path: str, reason: str) -> None:
    message = refusal(dataset(f"{server}/{path}"))
    assert message.startswith(f"{server}/{path}: {reason}")
    assert "secret" not in message
    assert files_in(folder) == []
    assert sum(asked.startswith(f"/{path}") for asked, _ in Hostile.asked) == (5 if path == "round" else 1)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("short", "the connection ended after 3,000 of 76,800 bytes; 3,000 of 76,800 bytes are here"),
        ("silent", "nothing came for 0 seconds"),
        ("slow", "bytes came in"),
        ("busy", "the server answers 503"),
        ("nonsense", "the connection broke"),
        ("nowhere", "the server answers 302"),
    ],
)
def test_a_broken_transfer_is_tried_again_and_then_given_up(server: str, path: str, reason: str) -> None:
    message = refusal(dataset(f"{server}/{path}"), timeout=0.2)
    assert reason in message
    assert "put its files into DIR/toy/set and set SEQKIT_DATA=DIR" in message
    assert len(Hostile.asked) == (1 if path == "nowhere" else 3)


def test_a_broken_download_continues_where_it_ended(server: str, folder: Path) -> None:
    fetch(dataset(f"{server}/breaks-once"))
    assert (folder / "train.tsv").read_bytes() == BODY
    assert Hostile.asked == [("/breaks-once", None), ("/breaks-once", "bytes=1000-")]


def test_an_error_of_the_server_may_be_temporary(server: str, folder: Path) -> None:
    fetch(dataset(f"{server}/busy-once"))
    assert files_in(folder) == ["train.tsv"]


@pytest.mark.parametrize("held", [1, 1000, len(BODY) - 1, len(BODY), len(BODY) + 5])
def test_a_partial_file_of_an_earlier_run_is_used(held: int, server: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "train.tsv.part").write_bytes((BODY + b"12345")[:held])
    fetch(dataset(f"{server}/good"))
    assert (folder / "train.tsv").read_bytes() == BODY
    assert files_in(folder) == ["train.tsv"]
    expected = {len(BODY): [], len(BODY) + 5: [("/good", None)]}.get(held, [("/good", f"bytes={held}-")])
    assert Hostile.asked == expected


def test_a_partial_file_with_another_beginning_is_noticed(server: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "train.tsv.part").write_bytes(b"x" * 1000)
    assert "its SHA-256 is" in refusal(dataset(f"{server}/good"))
    assert files_in(folder) == []
    fetch(dataset(f"{server}/good"))
    assert (folder / "train.tsv").read_bytes() == BODY


@pytest.mark.parametrize("path", ["ignores-range", "refuses-range"])
def test_a_server_that_does_not_continue_sends_the_whole_file(path: str, server: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "train.tsv.part").write_bytes(b"x" * 1000)
    fetch(dataset(f"{server}/{path}"))
    assert (folder / "train.tsv").read_bytes() == BODY


def test_another_part_than_was_asked_for_is_refused(server: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "train.tsv.part").write_bytes(BODY[:500])
    assert "another part of the file" in refusal(dataset(f"{server}/other-part"))


def test_redirects_to_the_same_kind_are_followed(server: str, folder: Path) -> None:
    fetch(dataset(f"{server}/to-good"))
    assert files_in(folder) == ["train.tsv"]


def test_http_is_for_the_tests_alone(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEQKIT_TEST_LOOPBACK")
    assert "only https is allowed" in refusal(dataset(f"{server}/good"))
    monkeypatch.setenv("SEQKIT_TEST_LOOPBACK", "1")
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    for url in (
        "http://example.invalid/x",
        secret.as_uri(),
        "ftp://127.0.0.1/x",
        "data:,x",
        "HTTP://example.invalid/",
        "//x",
    ):
        assert "only https is allowed" in refusal(dataset(url))
    assert Hostile.asked == []


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_TEST_LOOPBACK", "1")
        patch.setattr(download, "_pause", lambda attempt: None)
        message = refusal(dataset(f"http://127.0.0.1:{port}/x"))
    assert "cannot reach 127.0.0.1: " in message
    assert "put its files into" in message


def test_a_damaged_file_in_the_cache_is_fetched_again(server: str, folder: Path) -> None:
    fetch(dataset(f"{server}/good"))
    (folder / "train.tsv").write_bytes(BODY[:-1] + b"!")
    fetch(dataset(f"{server}/good"))
    assert (folder / "train.tsv").read_bytes() == BODY
    assert len(Hostile.asked) == 2


def test_only_what_is_missing_is_fetched(server: str, folder: Path) -> None:
    files = tuple(File(f"parts/{name}", f"{server}/good/{name}", SHA256, len(BODY)) for name in ("a", "b"))
    fetch(Dataset("toy/set", files[:1], licence="CC0"))
    fetch(Dataset("toy/set", files, licence="CC0"))
    assert [path for path, _ in Hostile.asked] == ["/good/a", "/good/b"]
    assert (folder / "parts" / "b").read_bytes() == BODY


def test_a_planted_link_is_not_followed(server: str, folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "train.tsv.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="cannot write"):
        fetch(dataset(f"{server}/good"))
    assert not (tmp_path / "elsewhere").exists()


# --- offline and by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline(how: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "environment":
        monkeypatch.setenv("SEQKIT_OFFLINE", "1")
    message = refusal(dataset(f"{server}/good"), offline=True if how == "argument" else None)
    assert message == (
        "toy/set: is not on this machine, and downloads are off; put its files into DIR/toy/set "
        f"and set SEQKIT_DATA=DIR (train.tsv from {server}/good)"
    )
    assert Hostile.asked == []


def test_offline_with_what_was_downloaded_before(server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_OFFLINE", "0")
    fetch(dataset(f"{server}/good"))
    assert fetch(dataset(f"{server}/good"), offline=True) == folder


def test_the_users_own_folder_comes_first(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users_folder = tmp_path / "own" / "toy" / "set"
    users_folder.mkdir(parents=True)
    (users_folder / "train.tsv").write_bytes(BODY)
    monkeypatch.setenv("SEQKIT_DATA", str(tmp_path / "own"))
    assert fetch(dataset(f"{server}/good"), offline=True) == users_folder
    (users_folder / "train.tsv").write_bytes(BODY[::-1])
    message = refusal(dataset(f"{server}/good"))
    assert message.startswith(f"{users_folder / 'train.tsv'}: is not the file that toy/set means")
    (users_folder / "train.tsv").unlink()
    assert "is missing from the folder named in SEQKIT_DATA" in refusal(dataset(f"{server}/good"))
    assert Hostile.asked == []


def test_a_folder_of_the_user_without_this_data_set(
    server: str, folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("SEQKIT_DATA", str(tmp_path / "own"))
    assert f"put its files into {tmp_path}/own/toy/set (" in refusal(dataset(f"{server}/good"), offline=True)
    assert fetch(dataset(f"{server}/good")) == folder


# --- several at once ------------------------------------------------------------------------------------------------


def _fetch_at_once(url: str, gate: Any, results: Any) -> None:
    gate.wait()
    try:
        results.put(hashlib.sha256((fetch(dataset(url)) / "train.tsv").read_bytes()).hexdigest())
    except BaseException as error:
        results.put(repr(error))


def test_one_of_many_processes_downloads(server: str, folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Event(), context.Queue()
    processes = [context.Process(target=_fetch_at_once, args=(f"{server}/good", gate, results)) for _ in range(4)]
    for process in processes:
        process.start()
    gate.set()
    assert [results.get(timeout=60) for _ in processes] == [SHA256] * 4
    for process in processes:
        process.join()
    assert len(Hostile.asked) == 1
    assert files_in(folder) == ["train.tsv"]


# --- what the code pins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\\b", "a\0b", ".."])
def test_no_path_leads_out_of_the_folder(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path inside"):
        File(path, "https://example.invalid/", SHA256, 1)
    with pytest.raises(ValueError, match="is not a path inside"):
        Dataset(path, (), licence="")


@pytest.mark.parametrize("pin", [("abc", 1), (SHA256, -1), ("", 5)])
def test_every_file_must_be_pinned(pin: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match="pinned"):
        File("a", "https://example.invalid/", *pin)


def test_a_cache_that_cannot_be_written(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match="SEQKIT_CACHE"):
        fetch(dataset(f"{server}/good"))


def test_a_full_disk_is_reported_before_the_download(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage: Callable[[Any], Any] = lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)  # type: ignore[attr-defined]  # noqa: E731
    monkeypatch.setattr(download.shutil, "disk_usage", usage)
    with pytest.raises(RunError, match=r"^disk full: .* needs 76.8 kB, 1.0 kB are free$"):
        fetch(dataset(f"{server}/good"))
    assert Hostile.asked == []


@pytest.mark.data
@needs_data
def test_the_real_data_is_found_where_it_is() -> None:
    root = os.environ["SEQKIT_DATA"]
    sha256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    real = Dataset("char_lm/tinyshakespeare", (File("input.txt", "https://example.invalid/", sha256, 1_115_394),), "")
    assert fetch(real, offline=True) == Path(root) / "char_lm/tinyshakespeare"
