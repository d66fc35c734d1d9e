"""The short recipes of docs/own-data.md read the data that the page describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqkit import recipe
from tests.helpers.pages import PAGES, blocks

FILES = {
    "all.csv": "body,mood,who\n" + "".join(f"text {n},good,speaker {n % 5}\n" for n in range(20)),
    "topics/train/sport/1.txt": "a game",
    "topics/train/sport/2.txt": "a ball",
    "topics/train/music/1.txt": "a song",
    "topics/train/music/2.txt": "a tune",
    "seq.in": "".join(f"to boston {n}\n" for n in range(40)),
    "label": "flight\n" * 40,
    "seq.out": "O B-to O\n" * 40,
    "en.conllu": "".join(f"# n = {n}\n1\tword{n}\t_\tNOUN" + "\t_" * 6 + "\n\n" for n in range(40)),
    "places.jsonl": "".join(f'{{"text": "{n} in New York.", "spans": [[6, 14, "place"]]}}\n' for n in range(10, 50)),
    "train.txt": "the text of train\n" * 50,
    "valid.txt": "the text of dev\n" * 5,
    "more/a.txt": "the text of test\n" * 5,
}
SHORT = [text for text in blocks(PAGES["docs/own-data.md"], "yaml") if "hidden: 8}" in text]


def test_there_are_such_recipes() -> None:
    assert len(SHORT) >= 6


@pytest.mark.parametrize("text", SHORT)
def test_a_short_recipe_reads_its_data(text: str, tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert len(text.splitlines()) <= 8
    loaded = recipe.parse(text.encode(), str(tmp_path / "own.yaml"))
    for entry in loaded.tasks.values():
        task = recipe.build_task(entry)
        assert {"train", "dev"} <= set(task.splits)
        for split in task.splits:
            assert list(task.read(split)), split
