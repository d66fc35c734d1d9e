"""Entries of the cache with every field of the manifest changed, checksums included: made again, and never believed."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit.data.store import prepare
from seqkit.data.store.columns import checksum
from seqkit.types import JSON
from tests.helpers.reviews import entries, task

Attack = Callable[[Path, JSON], None]


def said_of(array: str, **changes: Any) -> Attack:
    """An attack that changes what the manifest says of an array."""

    def attack(folder: Path, manifest: JSON) -> None:
        manifest["splits"]["train"]["arrays"][array] |= changes

    return attack


def content_of(array: str, values: Any, dtype: str) -> Attack:
    """An attack that writes other numbers into an array, with the size and the checksum that belong to them."""

    def attack(folder: Path, manifest: JSON) -> None:
        path = folder / (f"train.{array}" if array.endswith(".offsets") else f"train.{array}.bin")
        path.write_bytes(np.array(values, dtype).tobytes())
        facts = {"bytes": path.stat().st_size, "crc32": checksum(path), "dtype": np.dtype(dtype).str}
        manifest["splits"]["train"]["arrays"][array] |= facts

    return attack


def at(*keys: str, value: Any) -> Attack:
    """An attack that sets one value of the manifest."""

    def attack(folder: Path, manifest: JSON) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return attack


def without(*keys: str) -> Attack:
    def attack(folder: Path, manifest: JSON) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return attack


def replaced(name: str, make: Callable[[Path], Any]) -> Attack:
    """An attack that puts something else in the place of a file."""

    def attack(folder: Path, manifest: JSON) -> None:
        (folder / name).unlink()
        make(folder / name)

    return attack


REPORT = ("splits", "train", "report")
ATTACKS: dict[str, Attack] = {
    **{f"x dtype {dtype!r}": said_of("x", dtype=dtype) for dtype in ("|O", "O", "|S0", "|S1", "|V0", "<U0", "<M8[s]")},
    **{f"x dtype {dtype!r}": said_of("x", dtype=dtype) for dtype in ("i4,i4", "", "nonsense", None, 7, [["a", "|O"]])},
    **{f"{name} dtype |O": said_of(name, dtype="|O") for name in ("y", "ids", "origin", "x.offsets", "ids.offsets")},
    **{
        f"x shape {shape!r}": said_of("x", shape=shape)
        for shape in ([0], [-1], [1 << 70], [1] * 40, [2.5], [True], "1", None, {}, [[1]], [1 << 31, 1 << 31])
    },
    **{f"x bytes {size!r}": said_of("x", bytes=size) for size in (-1, 0, 1 << 62, "1", None, 1.5)},
    "x crc32": said_of("x", crc32=-1),
    "x more keys": said_of("x", path="/etc/passwd"),
    "offsets negative": content_of("x.offsets", [0, -3, 5, 11], "<i8"),
    "offsets falling": content_of("x.offsets", [0, 6, 3, 11], "<i8"),
    "offsets beyond": content_of("x.offsets", [0, 3, 6, 1 << 40], "<i8"),
    "offsets not from 0": content_of("x.offsets", [1, 3, 6, 11], "<i8"),
    "offsets of nothing": content_of("x.offsets", [], "<i8"),
    "offsets with an empty row": content_of("x.offsets", [0, 3, 3, 11], "<i8"),
    "offsets of fewer rows": content_of("x.offsets", [0, 3, 11], "<i8"),
    "offsets in floats": content_of("x.offsets", [0, 3, 6, 11], "<f8"),
    "symbols beyond": content_of("x", [250] * 11, "|u1"),
    "symbols negative": content_of("x", [-5] * 11, "<i8"),
    "symbols in floats": content_of("x", [1.5] * 11, "<f4"),
    "labels beyond": content_of("y", [0, 1, 9], "<i8"),
    "labels negative": content_of("y", [0, 1, -1], "<i8"),
    "labels fewer": content_of("y", [0, 1], "<i8"),
    "ids not UTF-8": content_of("ids", [0xFF] * 33, "|u1"),
    "ids not bytes": content_of("ids", [1] * 33, "<i4"),
    "origin negative": content_of("origin", [-1, 1, 2], "<i8"),
    "origin beyond": content_of("origin", [0, 1, 3], "<i8"),
    "origin falling": content_of("origin", [0, 2, 1], "<i8"),
    "origin fewer": content_of("origin", [0, 1], "<i8"),
    "an array with a path for a name": at("splits", "train", "arrays", "../../x", value={}),
    "arrays is a list": at("splits", "train", "arrays", value=[]),
    "splits is a list": at("splits", value=[]),
    "another split": at("splits", "../../etc", value={}),
    "a split less": without("splits", "test"),
    "no targets": without("splits", "train", "arrays", "y"),
    "no key": without("key"),
    "another key": at("key", value="0" * 32),
    "input learned nothing": at("input", value=None),
    "input learned numbers": at("input", value=[1, 2]),
    "target learned no labels": at("target", value={"labels": [], "counts": []}),
    "target learned one label": at("target", value={"labels": ["0"], "counts": [1]}),
    "examples negative": at(*REPORT, "examples", value=-1),
    "examples as text": at(*REPORT, "examples", value="3"),
    "rows not counted": at(*REPORT, "rows", value=2),
    "report of other keys": at(*REPORT, "__class__", value=1),
    "classes as text": at(*REPORT, "classes", value={"0": "many"}),
    "remarks are numbers": at(*REPORT, "reading", "remarks", value=[1]),
    "left out without counts": at(*REPORT, "reading", "left_out", value={"x": {"count": "1", "first": 2}}),
    "x is a pipe": replaced("train.x.bin", os.mkfifo),
    "x is a link to a device": replaced("train.x.bin", lambda path: path.symlink_to("/dev/zero")),
    "x is a link to a file": replaced("train.x.bin", lambda path: path.symlink_to("/etc/passwd")),
    "x is a folder": replaced("train.x.bin", lambda path: path.mkdir()),
    "x may be written by all": lambda folder, manifest: (folder / "train.x.bin").chmod(0o666),
    "the folder may be written by all": lambda folder, manifest: folder.chmod(0o777),
}


def seal(folder: Path, manifest: JSON) -> None:
    text = json.dumps(manifest)
    (folder / "MANIFEST.json").write_text(json.dumps({"crc32": zlib.crc32(text.encode()), "manifest": text}))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder with one entry."""
    cache = tmp_path_factory.mktemp("cache")
    prepare(task(), key={}, cache=cache)
    return cache


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_entry_is_made_again(name: str, sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    (folder,) = entries(tmp_path)
    assert prepare(task(), key={}, cache=tmp_path).reused, "the control"
    manifest = json.loads(json.loads((folder / "MANIFEST.json").read_text())["manifest"])
    ATTACKS[name](folder, manifest)
    seal(folder, manifest)
    again = prepare(task(), key={}, cache=tmp_path)
    assert not again.reused
    assert again.splits["train"].origin.tolist() == [0, 1, 2]
    assert again.splits["train"].ids[2] == "train.tsv:3"
    assert prepare(task(), key={}, cache=tmp_path).reused


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("/dev/stdin")],
    ids=["pipe", "device", "standard input"],
)
@pytest.mark.parametrize("name", ["MANIFEST.json", ""])
def test_what_is_no_file_is_not_read(name: str, make: Callable[[Path], Any], sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    (folder,) = entries(tmp_path)
    path = folder / name if name else folder
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)
    assert not prepare(task(), key={}, cache=tmp_path).reused
    assert prepare(task(), key={}, cache=tmp_path).reused


def test_an_entry_that_others_can_write_is_made_again_and_that_is_told(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    (folder,) = entries(tmp_path)
    folder.chmod(0o775)
    notes = prepare(task(), key={}, cache=tmp_path).notes
    assert any("other users could have written to it" in note for note in notes)
    assert not folder.stat().st_mode & 0o022


def test_entries_are_sealed_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        prepare(task(), key={}, cache=tmp_path)
    finally:
        os.umask(before)
    (folder,) = entries(tmp_path)
    assert not [path for path in (folder, *folder.iterdir()) if path.stat().st_mode & 0o022]
    assert prepare(task(), key={}, cache=tmp_path).reused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_an_entry_of_another_user_is_not_used_and_not_touched(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    (folder,) = entries(tmp_path)
    for path in (folder, *folder.iterdir()):
        os.chown(path, 12345, 12345)
    entry = prepare(task(), key={}, cache=tmp_path)
    assert not entry.reused
    assert entry.folder == tmp_path / "store-0" / folder.name
    assert any("belongs to another user" in note for note in entry.notes)
    assert folder.stat().st_uid == 12345
    assert prepare(task(), key={}, cache=tmp_path).reused
