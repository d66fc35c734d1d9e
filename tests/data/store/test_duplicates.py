"""How many inputs of a split are inputs of train: as a set would count them, whatever is compared at once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from seqkit.data.store import duplicates
from seqkit.data.store.duplicates import Repeats


def hashes(count: int, dice: random.Random) -> list[bytes]:
    """Few of them differ, and some only in the second half or in a last byte that is zero."""
    return [bytes([dice.randrange(3)] * 8 + [dice.randrange(4)] * 7 + [dice.randrange(2)]) for _ in range(count)]


@pytest.mark.parametrize(("own", "block"), [(1 << 20, 1 << 18), (7, 3), (1, 1)])
def test_repeats_are_counted_as_a_set_would(
    own: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_OWN", own)
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    dice = random.Random(1)
    path = tmp_path / "seen"
    for size in (0, 1, 5, 40):
        train, dev, test = hashes(size, dice), hashes(50, dice), hashes(20, dice)
        with Repeats(path) as counted:
            counted.look(b"".join(dev))
            assert counted.seen() is None
            for at in range(0, size, 4):
                counted.learn(b"".join(train[at : at + 4]))
            counted.learned()
            for split in (dev, test, []):
                for at in range(0, len(split), 3):
                    counted.look(b"".join(split[at : at + 3]))
                assert counted.seen() == sum(each in set(train) for each in split)
        assert not path.exists()


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    def learn_and_fail() -> None:
        with Repeats(tmp_path / "seen") as counted:
            counted.learn(bytes(16))
            assert (tmp_path / "seen").exists()
            raise KeyError

    with pytest.raises(KeyError):
        learn_and_fail()
    assert list(tmp_path.iterdir()) == []
