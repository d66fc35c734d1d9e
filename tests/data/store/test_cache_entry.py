"""Cache entries are complete or not there: damage, killed processes, several processes at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqkit.data.store import prepare
from seqkit.errors import RunError
from seqkit.fields import Next, Tokens
from seqkit.types import Example
from tests.helpers.reviews import entries, task


def damages(folder: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Ways to damage each file of an entry."""
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        yield f"{path.name} deleted", lambda p: p.unlink()
        if raw:
            yield f"{path.name} emptied", lambda p: p.write_bytes(b"")
            yield f"{path.name} cut", lambda p, raw=raw: p.write_bytes(raw[:-1])  # type: ignore[misc]
            flipped = bytes([*raw[:-1], raw[-1] ^ 1])
            yield f"{path.name} flipped", lambda p, raw=flipped: p.write_bytes(raw)  # type: ignore[misc]
            yield f"{path.name} zeroed", lambda p, raw=raw: p.write_bytes(b"\x07" * len(raw))  # type: ignore[misc]
        yield f"{path.name} longer", lambda p, raw=raw: p.write_bytes(raw + b"\0")  # type: ignore[misc]


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    small = task({"train": [("a b", "1")]})
    sound = prepare(small, key={}, cache=tmp_path)
    kept = tmp_path / "kept"
    shutil.copytree(sound.folder, kept)
    count = 0
    for name, damage in damages(kept):
        shutil.rmtree(sound.folder)
        shutil.copytree(kept, sound.folder)
        damage(sound.folder / name.split()[0])
        again = prepare(small, key={}, cache=tmp_path)
        assert not again.reused, name
        assert entries(tmp_path) == [sound.folder], name
        assert again.splits["train"].x[0].tolist() == sound.splits["train"].x[0].tolist()
        assert prepare(small, key={}, cache=tmp_path).reused, name
        count += 1
    assert count > 30


def test_random_damage_to_the_manifest_never_escapes(tmp_path: Path) -> None:
    sound = prepare(task(), key={}, cache=tmp_path)
    path = sound.folder / "MANIFEST.json"
    raw = path.read_bytes()
    rng = random.Random(1)
    for _ in range(20):
        position, byte = rng.randrange(len(raw)), rng.randrange(256)
        path.write_bytes(raw[:position] + bytes([byte]) + raw[position + 1 :])
        again = prepare(task(), key={}, cache=tmp_path)
        assert again.splits["test"].report == sound.splits["test"].report


def test_an_unfinished_entry_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(BaseException):
        pass

    def stop(self: Any, *rest: Any) -> None:
        raise Stopped

    for target in (
        "seqkit.data.store.cache_entry._publish",
        "seqkit.data.store.cache_entry.json.dump",
        "seqkit.data.store.preparation._Preparation._encode",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, stop)
            with pytest.raises(Stopped):
                prepare(task(), key={}, cache=tmp_path)
        assert entries(tmp_path) == []


def _prepare_slowly(cache: Path, started: Any) -> None:
    def read(split: str) -> Iterator[Example]:
        for number in range(1_000_000):
            if number == 500:
                started.set()
                time.sleep(60)
            yield Example("a", "1", f"x:{number}")

    prepare(
        replace(task({"train": []}), read=read, files=lambda split: [], input=Tokens("bytes"), target=Next()),
        key={},
        cache=cache,
    )


def test_what_a_killed_process_leaves_is_removed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_prepare_slowly, args=(tmp_path, started))
    process.start()
    assert started.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (abandoned,) = entries(tmp_path)
    fields = abandoned.name.split("-")
    other_machine = abandoned.with_name("-".join([fields[0], "another1", *fields[2:]]))
    other_machine.mkdir()
    live = abandoned.with_name("-".join([*fields[:2], str(os.getpid()), fields[3]]))
    live.mkdir()
    prepare(task(), key={}, cache=tmp_path)
    assert abandoned not in entries(tmp_path)
    assert {other_machine, live} <= set(entries(tmp_path))  # both could still be in use
    live.rmdir()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(other_machine, (two_days_ago, two_days_ago))
    prepare(task(), key={"another": 1}, cache=tmp_path)
    assert other_machine not in entries(tmp_path)
    assert len(entries(tmp_path)) == 2


def _prepare_at_once(cache: Path, gate: Any, results: Any) -> None:
    gate.wait()
    try:
        split = prepare(task(), key={}, cache=cache).splits["train"]
        results.put([split.x[i].tolist() for i in range(len(split))])
    except BaseException as error:
        results.put(repr(error))


@pytest.mark.parametrize("damaged", [False, True])
def test_many_processes_at_once(damaged: bool, tmp_path: Path) -> None:
    expected = prepare(task(), key={}, cache=tmp_path / "alone").splits["train"]
    if damaged:
        folder = prepare(task(), key={}, cache=tmp_path).folder
        (folder / "train.x.bin").write_bytes(b"")
    context = multiprocessing.get_context("spawn")
    gate, queue = context.Event(), context.Queue()
    processes = [context.Process(target=_prepare_at_once, args=(tmp_path, gate, queue)) for _ in range(5)]
    for process in processes:
        process.start()
    gate.set()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert results == [[expected.x[i].tolist() for i in range(3)]] * 5
    assert len(entries(tmp_path)) == 1
    assert prepare(task(), key={}, cache=tmp_path).reused


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"cannot write the cache .*SEQKIT_CACHE"):
        prepare(task(), key={}, cache=tmp_path)
