"""Clips in tar files: read from where they lie, and each file a shard of its own."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from seqkit_speech import speech
from seqkit_speech.audio import FileAudio
from seqkit_speech.sources import Corpus
from seqkit_speech.tar_archive import TarArchive

from seqkit import DataError
from seqkit.data.store import prepare
from tests.helpers.sound import write_clips

CLIPS = [f"{split}/{word}/{n}.wav" for split in ("train", "dev", "test") for word in ("no", "yes") for n in range(3)]


def pack(path: Path, folder: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.add(folder / name, f"./{name}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The clips in a folder `in`, and in three tar files, two of them of train."""
    write_clips(tmp_path / "in", *CLIPS)
    for number, names in enumerate((CLIPS[0:2] + CLIPS[3:5], [CLIPS[2], CLIPS[5]], CLIPS[6:])):
        pack(tmp_path / f"clips-{number}.tar", tmp_path / "in", names)
    return tmp_path


def test_clips_of_tar_files_are_those_of_a_folder(folder: Path) -> None:
    packed, plain = Corpus(folder / "clips-*.tar"), Corpus(folder / "in")
    for split in ("train", "dev"):
        mine, theirs = packed.recordings(split), plain.recordings(split)
        assert sorted(recording.label for recording in mine) == sorted(recording.label for recording in theirs)
        samples = {r.clip.name: r.clip.samples(8000) for r in theirs if isinstance(r.clip, FileAudio)}
        for recording in mine:
            assert isinstance(recording.clip, FileAudio)
            assert np.array_equal(recording.clip.samples(8000), samples[recording.clip.name])
    assert [recording.id for recording in packed.recordings("train")][:2] == [
        "clips-0.tar:train/no/0.wav",
        "clips-0.tar:train/no/1.wav",
    ]
    assert packed.files("train") == [folder / f"clips-{n}.tar" for n in range(3)]


def test_each_tar_file_is_stored_by_itself(folder: Path) -> None:
    task = speech(path=folder / "clips-*.tar")
    assert task.shards is not None
    assert [shard.name for shard in task.shards("train")] == ["clips-0.tar", "clips-1.tar"]
    first = prepare(task, key={}, cache=folder / "cache")
    entries = set((folder / "cache" / "shards").iterdir())
    assert len(entries) == 2, "dev is in one file, which is no shard"
    ids = [example.id for shard in task.shards("train") for example in shard.read()]
    assert list(first.splits["train"].ids) == ids == [example.id for example in task.read("train")]
    assert prepare(speech(path=folder / "clips-*.tar"), key={}, cache=folder / "cache").reused


def test_a_folder_of_nothing_but_archives_stands_for_them(folder: Path) -> None:
    (folder / "packed").mkdir()
    for path in folder.glob("*.tar"):
        path.rename(folder / "packed" / path.name)
    assert len(Corpus(folder / "packed").recordings("train")) == 6


def link(archive: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("yes/a.wav")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive.addfile(member)


def named(*names: str) -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"RIFF"))

    return add


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (link, "is a link, a device or something else"),
        (named("../a.wav"), "leads outside"),
        (named("/a/a.wav"), "leads outside"),
        (named("yes/a.wav", "yes/A.wav"), "is repeated, or differs from another name only in case"),
        (named("yes/a:b.wav"), "a colon or a control character"),
    ],
)
def test_what_a_folder_of_recordings_would_not_have_is_refused(
    fill: Callable[[tarfile.TarFile], None], message: str, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        fill(archive)
    with pytest.raises(DataError, match=message):
        TarArchive(tmp_path / "a.tar").names()


def test_what_is_no_plain_tar_file_is_refused(folder: Path) -> None:
    archive = (folder / "clips-0.tar").read_bytes()
    (folder / "packed.tar").write_bytes(gzip.compress(archive))
    with pytest.raises(DataError, match=r"packed\.tar: is not a tar file, or .*compressed ones are not read"):
        TarArchive(folder / "packed.tar").names()
    (folder / "cut.tar").write_bytes(archive[: len(archive) // 2])
    with pytest.raises(DataError, match=r"cut\.tar"):
        TarArchive(folder / "cut.tar").names()
    (folder / "clips-9.txt").write_text("x")
    with pytest.raises(DataError, match=r"clips-9\.txt: is not an archive; a pattern is for \.zip, \.tar"):
        Corpus(folder / "clips-*").recordings("train")
    archive = TarArchive(folder / "clips-1.tar")
    name = archive.names()[0]
    (folder / "clips-1.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is cut inside of clips-1\.tar"):
        archive.read(name)
