"""The recipes of docs/big-data.md train on the data that the page describes, and all say the same."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from seqkit import recipe
from tests.docs.test_own_data import train
from tests.helpers.pages import PAGES, blocks
from tests.helpers.sound import write_clips

ALL = blocks(PAGES["docs/big-data.md"], "yaml")
LOCAL = [text for text in ALL if "://" not in text]


def write_data(folder: Path) -> None:
    for number in range(3):
        rows = "".join(f"{'good' if n % 2 else 'bad'} film {number} {n}\t{'ab'[n % 2]}\n" for n in range(20))
        for name, text in ((f"shards/part-{number}.tsv", rows), (f"text/part-{number}.txt", rows)):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        with tarfile.open(folder / f"clips-{number}.tar", "w") as archive:
            clips = [f"{('train', 'dev', 'test')[number]}/{word}/{n}.wav" for word in ("no", "yes") for n in range(4)]
            write_clips(folder / "clips", *clips)
            for name in clips:
                archive.add(folder / "clips" / name, name)


def test_a_recipe_with_addresses_is_checked_without_a_network(tmp_path: Path) -> None:
    remote = [text for text in ALL if text not in LOCAL]
    assert len(remote) == 2
    for text in remote:
        assert "://" in recipe.parse(text.encode(), str(tmp_path / "r.yaml")).resolved()


def test_a_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    write_data(tmp_path)
    weights = []
    for number, text in enumerate(LOCAL):
        train(text, tmp_path)
        weights.append((tmp_path / "run" / "model" / "model.safetensors").read_bytes())
        (tmp_path / "run").rename(tmp_path / f"run-{number}")
    assert len(LOCAL) == 5
    assert weights[0] == weights[1] == weights[2]  # three ways to name the same files
