"""What an attack does to a folder of runs before a command reads it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqkit.runs import manifest

ESCAPE = "\x1b[2J\x1b]0;owned\x07\u202egnp\x9b31m"
"""Clears a screen, names its window, and reverses what follows."""
LONG = "n" * 100_000
DEEP = b"[" * 100_000
DEEP_OBJECTS = b'{"a":' * 100_000


# ---- what takes the place of a file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def standard_input(path: Path) -> None:
    path.symlink_to("/dev/stdin")


def unix_socket(path: Path) -> None:
    """Bound through its folder: the name of a socket has at most 107 characters."""
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{handle}/{path.name}")
    os.close(handle)


def endless_link(path: Path) -> None:
    path.symlink_to(path)


def directory(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    """A terabyte that takes no space."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


KINDS = (pipe, device, terminal, standard_input, unix_socket, endless_link, directory, sparse)
WAITING = (pipe, device, sparse)
"""Those that wait, never end, or fill the memory, if they are opened like files."""


# ---- what an attack does


Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Attack:
    """A command, what is done before, and the exit codes that are right. Names of files are those in the folder."""

    command: tuple[str, ...]
    prepare: Prepare
    codes: tuple[int, ...] = (2,)
    stdin: str = ""


def instead(name: str, make: Prepare) -> Prepare:
    """Put something else in the place of a file."""

    def prepare(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)

    return prepare


def content(name: str, data: bytes | str) -> Prepare:
    encoded = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return instead(name, lambda path: path.write_bytes(encoded))


def changed(name: str, change: Callable[[Any], object], reseal: Prepare = lambda folder: None) -> Prepare:
    """Change the value in a JSON file, and then the hashes that are of it."""

    def prepare(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        replaced = change(value)
        (folder / name).write_text(json.dumps(value if replaced is None else replaced))
        reseal(folder)

    return prepare


def both(*steps: Prepare) -> Prepare:
    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare


def nothing(folder: Path) -> None:
    pass


def expecting(folder: Path) -> None:
    """Give the recipe an expectation, without which `reproduce` refuses it."""
    path = folder / "mood.yaml"
    path.write_text(path.read_text() + "expect: {mood/test/accuracy: {at_least: 0}}\n")


CHECKPOINT = "runs/mood/checkpoints/step-00000004"


def seal_checkpoint(folder: Path) -> None:
    """Give the checkpoint's manifest the hashes of its files as they are now."""
    path = folder / CHECKPOINT
    names = [file.name for file in path.iterdir() if file.name != manifest.MANIFEST]
    entries = {name: manifest.file_entry(path / name) for name in sorted(names)}
    (path / manifest.MANIFEST).write_text(manifest.manifest_text(4, entries))


def seal_model(folder: Path, run: str = "mood") -> None:
    model = folder / f"runs/{run}/model"
    names = [path.name for path in model.iterdir() if path.name != "MANIFEST.json"]
    files = {name: hashlib.sha256((model / name).read_bytes()).hexdigest() for name in names}
    (model / "MANIFEST.json").write_text(json.dumps({"format_version": 1, "files": files}))


def seal_origin(folder: Path) -> None:
    run = folder / "runs/mood"
    origin = json.loads((run / "origin.json").read_text())
    origin["fields_sha256"] = hashlib.sha256((run / "fields.json").read_bytes()).hexdigest()
    (run / "origin.json").write_text(json.dumps(origin))


def recipe(task: str, rest: str = "encoder: {use: gru, dim: 4, hidden: 4}\ntrain: {steps: 1}\n") -> Prepare:
    return content("x.yaml", f"tasks: {{t: {task}}}\n{rest}")


def wav(samples: int = 1600) -> bytes:
    body = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 2 * samples) + bytes(
        2 * samples
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"yes/{ESCAPE}_nohash_0.wav", b"RIFF" + ESCAPE.encode())
        file.writestr("no/b_nohash_0.wav", wav())
