"""The task `music`: fields, the head, scores, the baseline, files."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from seqkit_music import music, note_scores, notes
from seqkit_music.baseline import markov_nats
from seqkit_music.fields import KEYS, LOWEST, START, Chords, NextChords, parse_steps
from seqkit_music.head import Notes
from seqkit_music.sources import read_pieces, transposed

from seqkit import Batch, DataError, Encoded, Prediction
from seqkit.testing import TaskConformance
from tests.helpers.data import needs_data

PIECE = [[60, 64], [], [60]]


class TestFields:
    def test_a_row_says_that_the_piece_begins(self) -> None:
        rows = Chords().encode(PIECE)
        assert rows.shape == (4, KEYS + 1)
        assert np.flatnonzero(rows[0]).tolist() == [START]
        assert np.flatnonzero(rows[1]).tolist() == [60 - LOWEST, 64 - LOWEST]
        assert Chords().decode(rows) == PIECE
        assert NextChords().decode(NextChords().encode(PIECE)) == PIECE

    def test_pieces_that_come_one_by_one_are_the_rows_of_all(self) -> None:
        first, kept = Chords().feed([[60, 64]])
        nothing, kept = Chords().feed([], kept)
        second, _ = Chords().feed("- 60", kept, end=True)
        assert nothing is None
        assert first is not None
        assert second is not None
        np.testing.assert_array_equal(np.concatenate([first, second]), Chords().encode(PIECE))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([[60], [20]], "step 2: pitch 20 is not one of a piano"),
            ([[109]], "step 1: pitch 109"),
            ([[60.5]], "step 1: should be a list of MIDI pitches"),
            ([60], "step 1: should be"),
            ([], "is empty"),
            ("60", "should be a list of steps"),
            (None, "should be a list of steps"),
        ],
    )
    def test_anything_else_is_refused(self, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Chords().encode(value)

    def test_a_line_of_pitches(self) -> None:
        assert parse_steps("60,64 - 60") == PIECE
        with pytest.raises(ValueError, match="step 2: 'c4' should be pitches"):
            parse_steps("60 c4")


def test_the_loss_is_the_sum_over_keys_and_real_steps() -> None:
    torch.manual_seed(0)
    head: Any = notes(5, NextChords(), torch.nn.Identity())
    assert isinstance(head, Notes)
    lengths = torch.tensor([3, 1])
    steps = torch.randn(2, 3, 5)
    y = torch.from_numpy(np.stack([NextChords().encode(PIECE), NextChords().encode([[70], [71], [72]])]))
    batch = Batch(x=torch.zeros(2, 3, KEYS + 1), lengths=lengths, y=y, y_lengths=lengths)
    total, count = head.eval().loss(Encoded(steps, lengths, steps[:, 0], tuple), batch)
    expected = 0.0
    for row, length in enumerate(lengths.tolist()):
        for step in range(length):
            for key, probability in enumerate(head.out(steps[row, step]).sigmoid().tolist()):
                expected -= math.log(probability if y[row, step, key] else 1 - probability)
    assert int(count) == 4
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    (whole, _) = head.predict(Encoded(steps, lengths, steps[:, 0], tuple), batch)
    assert len(whole.value) == len(whole.confidence) == 3


class TestNade:
    @torch.no_grad()
    def test_the_loss_is_that_of_key_after_key(self) -> None:
        torch.manual_seed(0)
        head: Any = notes(5, NextChords(), torch.nn.Identity(), nade=7)
        lengths = torch.tensor([3, 1])
        steps = torch.randn(2, 3, 5)
        pieces = [[60, 64, 108], [], [21]], [[], [50], []]
        y = torch.from_numpy(np.stack([NextChords().encode(piece) for piece in pieces]))
        batch = Batch(x=torch.zeros(2, 3, KEYS + 1), lengths=lengths, y=y, y_lengths=lengths)
        total, count = head.eval().loss(Encoded(steps, lengths, steps[:, 0], tuple), batch)
        expected = 0.0
        for row, length in enumerate(lengths.tolist()):
            for step in range(length):
                hidden = head.nade.state(steps[row, step])
                for key in range(KEYS):
                    score = head.out(steps[row, step])[key] + torch.tanh(hidden) @ head.nade.write[key]
                    probability = float(score.sigmoid())
                    expected -= math.log(probability if y[row, step, key] else 1 - probability)
                    if y[row, step, key]:
                        hidden = hidden + head.nade.read[key]
        assert int(count) == 4
        assert float(total) == pytest.approx(expected, rel=1e-5)

    @torch.no_grad()
    def test_a_key_is_predicted_given_those_predicted_below_it(self) -> None:
        torch.manual_seed(1)
        head: Any = notes(5, NextChords(), torch.nn.Identity(), nade=7, threshold=0.4).eval()
        torch.nn.init.normal_(head.out.bias, 0.0, 2.0)
        lengths, steps = torch.tensor([3, 1]), torch.randn(2, 3, 5)
        batch = Batch(x=torch.zeros(2, 3, KEYS + 1), lengths=lengths)
        encoded = Encoded(steps, lengths, steps[:, 0], tuple)
        (first, second) = head.predict(encoded, batch)
        assert len(first.value) == 3
        assert len(second.value) == 1
        for step, pitches in zip(steps[0], first.value, strict=True):
            keys = torch.zeros(1, KEYS, dtype=torch.long)
            keys[0, [pitch - LOWEST for pitch in pitches]] = 1
            logits = head.nade(step[None], head.out(step)[None], keys, len(pitches))[0]
            assert (logits.sigmoid() > 0.4).tolist() == (keys[0] == 1).tolist()


def test_accuracy_is_that_of_keys_that_sound_or_are_predicted() -> None:
    predictions = [Prediction([[60, 64], [], [61]]), Prediction([[1]])]
    assert note_scores(predictions, [PIECE, [[1, 2]]])["accuracy"] == pytest.approx((2 + 0 + 1) / (2 + 2 + 2))


def test_the_baseline_is_that_of_loops() -> None:
    draw = random.Random(1)
    train, test = (
        [[[p for p in (60, 62, 65) if draw.random() < 0.4] for _ in range(9)] for _ in range(5)] for _ in "ab"
    )
    total, steps = 0.0, 0
    for piece in test:
        for place, step in enumerate(piece):
            for key in range(LOWEST, LOWEST + KEYS):
                was = place > 0 and key in piece[place - 1]
                same = [(0, 0), *[(1, 0)]]
                for other in train:
                    for at, now in enumerate(other):
                        if (at > 0 and key in other[at - 1]) == was:
                            same.append((key in now, 1))
                on = sum(1 for is_on, _ in same if is_on)
                total -= math.log((on if key in step else len(same) - on) / len(same))
            steps += 1
    assert markov_nats(train, test) == pytest.approx(total / steps)


class TestFiles:
    def test_mistakes_are_located(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        for text, message in (
            ("[[60]]\n[[7]]\n", r"a\.jsonl:2: step 1: pitch 7"),
            ("[[60]\n", r"a\.jsonl:1: is not JSON"),
        ):
            path.write_text(text)
            with pytest.raises(DataError, match=message):
                list(read_pieces(path))
        path.write_text("[[60]]\n[[60],[]]\n")
        assert [id for id, _ in read_pieces(path)] == ["a.jsonl:2"]
        path.write_text("[]\n")
        with pytest.raises(DataError, match=r"a\.jsonl:1: has no steps"):
            list(read_pieces(path))

    def test_training_pieces_are_moved_where_there_are_keys(self, tmp_path: Path) -> None:
        assert transposed([[107], []], 1) == [[108], []]
        assert transposed([[108]], 1) is None
        for split in ("train", "dev"):
            (tmp_path / f"{split}.jsonl").write_text("[[60,107],[61]]\n")
        task = music(folder=tmp_path, transpose=2)
        assert [example.id for example in task.read("train")] == [f"train.jsonl:1{s}" for s in ("-2", "-1", "", "+1")]
        (example,) = task.read("dev")
        assert (example.input, example.target) == ([[60, 107]], [[60, 107], [61]])

    @pytest.mark.data
    @needs_data
    def test_chorales_are_as_many_as_published(self) -> None:
        task = music(compare=False)
        counts = {split: [len(example.target) for example in task.read(split)] for split in task.splits}
        assert {split: (len(c), sum(c)) for split, c in counts.items()} == {
            "train": (229, 13_807),
            "dev": (76, 4602),
            "test": (77, 4725),
        }


def test_imports_and_calls_without_torch() -> None:
    code = "import sys, seqkit_music; seqkit_music.music(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestConformance(TaskConformance):
    task = "music"
    encoders = ({"use": "gru", "hidden": 6},)
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder, draw = tmp_path_factory.mktemp("pieces"), random.Random(2)
        for split in ("train", "dev"):
            pieces = [
                [[60 + draw.randrange(9) for _ in range(draw.randrange(3))] for _ in range(draw.randint(2, 9))]
                for _ in range(12)
            ]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(piece) + "\n" for piece in pieces))
        cls.options = {"folder": folder}


class TestConformanceOfNade(TestConformance):
    head: ClassVar[Any] = {"use": "notes", "nade": 5}
