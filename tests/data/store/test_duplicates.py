"""How many inputs of a split are inputs of train: counted as a set would, however many are compared at a time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from seqkit.data.store import duplicates
from seqkit.data.store.duplicates import DuplicateCounter


def hashes(count: int, dice: random.Random) -> list[bytes]:
    """Few of them differ, and some only in the second half or in a last byte that is zero."""
    return [bytes([dice.randrange(3)] * 8 + [dice.randrange(4)] * 7 + [dice.randrange(2)]) for _ in range(count)]


@pytest.mark.parametrize(("queries", "block"), [(1 << 20, 1 << 18), (7, 3), (1, 1)])
def test_duplicates_are_counted_as_a_set_would(
    queries: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_QUERIES", queries)
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    dice = random.Random(1)
    path = tmp_path / "seen"
    for size in (0, 1, 5, 40):
        train, dev, test = hashes(size, dice), hashes(50, dice), hashes(20, dice)
        with DuplicateCounter(path) as counter:
            counter.add(b"".join(dev))
            assert counter.take_count() is None
            for start in range(0, size, 4):
                counter.add_train(b"".join(train[start : start + 4]))
            counter.finish_train()
            for split in (dev, test, []):
                for start in range(0, len(split), 3):
                    counter.add(b"".join(split[start : start + 3]))
                assert counter.take_count() == sum(digest in set(train) for digest in split)
        assert not path.exists()


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    def learn_and_fail() -> None:
        with DuplicateCounter(tmp_path / "seen") as counter:
            counter.add_train(bytes(16))
            assert (tmp_path / "seen").exists()
            raise KeyError

    with pytest.raises(KeyError):
        learn_and_fail()
    assert list(tmp_path.iterdir()) == []
