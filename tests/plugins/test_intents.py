"""The task `intent-slots`: one target of two, its head, files and scores."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from seqkit_intents import intent_slots, intent_slots_head, metric, without_digits
from seqkit_intents.fields import IntentAndSlots
from seqkit_intents.layers import IntentAndSlotsHead

from seqkit import Batch, DataError, Encoded, Prediction
from seqkit.cli import main
from tests.helpers.data import needs_data

VALUES = [
    {"intent": "flight", "slots": ["O", "B-city", "I-city"]},
    {"intent": "fare", "slots": ["B-price"]},
]


def field(allow_unseen: bool = True) -> IntentAndSlots:
    return IntentAndSlots(allow_unseen).fit(VALUES)


class TestField:
    def test_tags_and_label_stand_side_by_side_at_each_step(self) -> None:
        fitted = field()
        rows = fitted.encode(VALUES[0])
        assert rows.shape == (3, 2)
        assert len(set(rows[:, 1].tolist())) == 1
        assert [fitted.decode(fitted.encode(value)) for value in VALUES] == VALUES
        assert IntentAndSlots(True).restore(json.loads(json.dumps(fitted.state()))) == fitted
        assert fitted.count_classes([fitted.encode(value) for value in VALUES])["flight"] == 1

    def test_what_is_unseen_is_refused_or_missed(self) -> None:
        value = {"intent": "meal", "slots": ["B-airline"]}
        assert field().decode(field().encode(value)) == {"intent": "<unseen>", "slots": ["B-<unseen>"]}
        with pytest.raises(ValueError, match="'meal' was not seen"):
            field(False).encode({"intent": "meal", "slots": ["B-city"]})
        with pytest.raises(ValueError, match="'airline' was not seen"):
            field(False).encode({"intent": "fare", "slots": ["B-airline"]})

    @pytest.mark.parametrize("value", [None, "flight", {"intent": "flight"}, {"intent": "flight", "slots": []}])
    def test_anything_else_is_refused(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"should be|is empty"):
            field().encode(value)


def batch_and_head(**options: Any) -> tuple[IntentAndSlotsHead, Encoded, Batch]:
    torch.manual_seed(0)
    fitted = field()
    head: Any = intent_slots_head(6, fitted, torch.nn.Identity(), **options)
    lengths = torch.tensor([3, 1])
    steps = torch.randn(2, 3, 6) * (torch.arange(3)[None, :, None] < lengths[:, None, None])
    y = torch.full((2, 3, 2), 99)
    for row, value in enumerate(VALUES):
        y[row, : lengths[row]] = torch.tensor(fitted.encode(value))
    batch = Batch(x=torch.ones(2, 3, dtype=torch.int64), lengths=lengths, y=y, y_lengths=lengths, ids=("1", "2"))
    return head.eval(), Encoded(steps, lengths, steps[:, 0], tuple), batch


class TestHead:
    @pytest.mark.parametrize("condition", [False, True])
    def test_the_loss_is_that_of_all_paths_and_all_labels(self, condition: bool) -> None:
        head, encoded, batch = batch_and_head(condition=condition, intent_weight=0.5)
        with torch.no_grad():
            intents, slots = head.logits(encoded)
        expected = 0.0
        for row, length in enumerate([3, 1]):
            label = int(batch.y[row, 0, 1])  # type: ignore[index]
            expected -= 0.5 * float(intents[row].log_softmax(0)[label])
            paths = [[]]  # type: list[list[int]]
            for _ in range(length):
                paths = [[*path, tag] for path in paths for tag in range(slots.shape[2])]
            true = batch.y[row, :length, 0].tolist()  # type: ignore[index]
            scores = {tuple(path): self.score(head, slots[row], path) for path in paths}
            expected += math.log(sum(math.exp(score) for score in scores.values())) - scores[tuple(true)]
            best = max(scores, key=scores.__getitem__)
            predicted = head.predict(encoded, batch)[row]
            assert predicted.value["slots"] == head.target.slots.decode(torch.tensor(best).numpy())
            assert predicted.confidence == pytest.approx(float(intents[row].softmax(0).max()))
        total, count = head.loss(encoded, batch)
        assert (total.item(), int(count)) == (pytest.approx(expected, rel=1e-4), 2)

    @staticmethod
    @torch.no_grad()
    def score(head: IntentAndSlotsHead, slots: torch.Tensor, path: list[int]) -> float:
        crf = head.crf
        total = float(crf.start_transitions[path[0]] + crf.end_transitions[path[-1]])
        total += sum(float(slots[step, tag]) for step, tag in enumerate(path))
        return total + sum(float(crf.transitions[a, b]) for a, b in pairwise(path))


def test_scores_by_hand() -> None:
    predictions = [
        Prediction({"intent": "flight", "slots": ["O", "B-city", "I-city"]}),
        Prediction({"intent": "flight", "slots": ["B-price"]}),
        Prediction({"intent": "fare", "slots": ["O"]}),
    ]
    targets = [*VALUES, {"intent": "fare", "slots": ["B-city"]}]
    scores = metric(predictions, targets)
    assert scores["intent_accuracy"] == pytest.approx(2 / 3)
    assert scores["slot_f1"] == pytest.approx(2 * 2 / (2 + 3))
    assert scores["sentence_accuracy"] == pytest.approx(1 / 3)
    assert scores["mean"] == pytest.approx((2 / 3 + 4 / 5) / 2)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestFiles:
    def test_parallel_files_and_tables_are_the_same_sentences(self, tmp_path: Path) -> None:
        write(tmp_path / "train/seq.in", "to new york\ncheap\n")
        write(tmp_path / "train/seq.out", "O B-city I-city\nB-price\n")
        write(tmp_path / "train/label", "flight\nfare\n")
        row = {"words": "to new york", "slots": ["O", "B-city", "I-city"], "intent": "flight"}
        write(tmp_path / "a.jsonl", json.dumps(row) + '\n{"words": "cheap", "slots": "B-price", "intent": "fare"}\n')
        tasks = [
            intent_slots(folder=tmp_path, dev=None, test=None, held_out=0.0),
            intent_slots(folder=tmp_path, train="a.jsonl", dev=None, test=None, held_out=0.0),
        ]
        first, second = ([(e.input, e.target) for e in task.read("train")] for task in tasks)
        assert first == second == [(["to", "new", "york"], VALUES[0]), (["cheap"], VALUES[1])]
        assert tasks[0].files is not None
        assert [path.name for path in tasks[0].files("train")] == ["seq.in", "seq.out", "label"]

    @pytest.mark.parametrize(
        ("words", "slots", "intents", "message"),
        [
            ("a b\n", "O\n", "x\n", r"seq\.in:1: has 2 words and 1 tags"),
            ("a\nb\n", "O\nO\n", "x\n", "different numbers of lines: seq.in 2, seq.out 2, label 1"),
            ("\n", "O\n", "x\n", r"seq\.in:1: has no words"),
        ],
    )
    def test_mistakes_say_where_they_are(
        self, tmp_path: Path, words: str, slots: str, intents: str, message: str
    ) -> None:
        for name, text in (("seq.in", words), ("seq.out", slots), ("label", intents)):
            write(tmp_path / "train" / name, text)
        with pytest.raises(DataError, match=message):
            list(intent_slots(folder=tmp_path, dev=None, test=None, held_out=0.0).read("train"))

    def test_digits(self) -> None:
        assert without_digits(["727", "b52s", "one"]) == ["000", "b00s", "one"]

    @pytest.mark.data
    @needs_data
    def test_published_counts(self) -> None:
        task = intent_slots()
        assert {split: len(list(task.read(split))) for split in task.splits} == {
            "train": 4478,
            "dev": 500,
            "test": 893,
        }


def test_imports_and_calls_without_torch() -> None:
    code = "import sys, seqkit_intents; seqkit_intents.intent_slots(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_learns_both(tmp_path: Path) -> None:
    rows = []
    for number in range(120):
        city, is_fare = ("oslo", "rome", "bern")[number % 3], number % 2
        words = f"fare to {city} {number % 5}" if is_fare else f"fly to {city}"
        tags = f"O O B-city{' B-day' if is_fare else ''}"
        rows.append(json.dumps({"words": words, "slots": tags, "intent": "fare" if is_fare else "flight"}))
    write(tmp_path / "all.jsonl", "\n".join(rows) + "\n")
    write(
        tmp_path / "own.yaml",
        "tasks:\n  intent-slots: {folder: ., train: all.jsonl, dev: all.jsonl, test: null}\n"
        "encoder: {use: lstm, dim: 16, hidden: 16, bidirectional: true}\n"
        "train: {epochs: 8, batch: 8, optimizer: {use: adamw, lr: 0.02}}\n",
    )
    done = CliRunner().invoke(main, ["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out"), "--quiet"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out/metrics.json").read_text())["intent-slots/dev/sentence_accuracy"] > 0.95
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), "--text", "fare to rome 3"])
    row = json.loads(done.stdout)
    assert row["prediction"] == {"intent": "fare", "slots": ["O", "O", "B-city", "B-day"]}
    assert row["scores"]["spans"] == [
        {"type": "city", "start": 2, "end": 3},
        {"type": "day", "start": 3, "end": 4},
    ]
