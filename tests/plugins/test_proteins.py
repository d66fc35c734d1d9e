"""The task `protein-structure`: structures that do not count, tables, CB513's chains, the baseline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from seqkit_proteins import protein_structure, residues, structure_scores
from seqkit_proteins.baseline import window_scores
from seqkit_proteins.fields import Structure
from seqkit_proteins.layers import Residues
from seqkit_proteins.sources import Columns, read_table

from seqkit import Batch, DataError, Encoded, Example, Flaw, Prediction, UsageError
from seqkit.readers import TableFormat
from seqkit.testing import TaskConformance
from tests.helpers.data import needs_data

CHAINS = Columns("sequence", "structure", "counted")


class TestField:
    def test_what_is_not_known_has_a_number_of_its_own(self) -> None:
        field = Structure().fit(["HH-E", "C--"])
        assert (field.letters, field.size) == ("CEH", 3)
        assert field.encode("H-CE").tolist() == [2, -1, 0, 1]
        assert field.decode(field.encode("H-CE")) == "H-CE"
        assert field.count_classes([field.encode("H-CE"), field.encode("HH")]) == {"C": 1, "E": 1, "H": 3}
        assert Structure().restore(json.loads(json.dumps(field.state()))) == field

    def test_what_training_does_not_have_is_refused(self) -> None:
        with pytest.raises(ValueError, match="residue 2: the structure 'G' is not one of CH, or -"):
            Structure("CH").encode("CG")
        with pytest.raises(ValueError, match="no known structure"):
            Structure().fit(["--"])


def head_and_batch(y: list[list[int]], lengths: list[int]) -> tuple[Residues, Encoded, Batch]:
    torch.manual_seed(0)
    head: Any = residues(5, Structure("CEH"), torch.nn.Identity())
    counts = torch.tensor(lengths)
    steps = torch.randn(len(y), len(y[0]), 5)
    x = torch.ones(len(y), len(y[0]), dtype=torch.int64)
    batch = Batch(x=x, lengths=counts, y=torch.tensor(y), y_lengths=counts)
    return head.eval(), Encoded(steps, counts, steps[:, 0], tuple), batch


class TestHead:
    def test_the_loss_is_that_of_the_residues_that_count(self) -> None:
        head, encoded, batch = head_and_batch([[0, -1, 2], [1, 2, 2]], [3, 1])
        total, count = head.loss(encoded, batch)
        expected = 0.0
        for row, step, true in ((0, 0, 0), (0, 2, 2), (1, 0, 1)):
            expected -= float(head.out(encoded.steps[row, step]).detach().log_softmax(-1)[true])
        assert int(count) == 3
        assert float(total.detach()) == pytest.approx(expected, rel=1e-6)

    def test_a_chain_of_which_nothing_counts_has_no_loss(self) -> None:
        head, encoded, batch = head_and_batch([[-1, -1]], [2])
        total, count = head.loss(encoded, batch)
        assert (float(total.detach()), int(count)) == (0.0, 0)

    def test_a_prediction_is_a_letter_a_residue_and_pieces_are_joined(self) -> None:
        head, encoded, batch = head_and_batch([[0, 1, 2], [0, 0, 0]], [3, 2])
        whole, short = head.predict(encoded, batch)
        assert (len(whole.value), len(short.value)) == (3, 2)
        best = head.out(encoded.steps[0]).argmax(-1)
        assert whole.value == "".join("CEH"[number] for number in best.tolist())
        joined = head.stitch([Prediction("CE", [0.5, 0.6]), Prediction("H", [0.7])])
        assert (joined.value, joined.confidence) == ("CEH", [0.5, 0.6, 0.7])


def test_scores_leave_out_what_does_not_count() -> None:
    scores = structure_scores([Prediction("HHE"), Prediction("C")], ["H-C", "C"])
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert structure_scores([Prediction("H")], ["-"])["accuracy"] == 0.0


def test_the_baseline_learns_what_a_window_tells() -> None:
    """A residue is a helix exactly if the one before it is an A."""
    generator = np.random.default_rng(0)

    def examples(count: int) -> Iterator[Example]:
        for number in range(count):
            text = "".join(generator.choice(list("ABCD"), 40))
            yield Example(text, "".join("H" if b == "A" else "C" for b in "B" + text[:-1])[:39] + "-", str(number))

    scores = window_scores(examples(60), examples(20))
    assert scores["accuracy"] == 1.0
    assert 0.6 < scores["accuracy of the commonest structure"] < 0.9


class TestTables:
    def read(self, path: Path, text: str, columns: Columns = CHAINS, **options: Any) -> list[Example]:
        path.write_text(text)
        return list(read_table(path, columns, TableFormat(), **options))

    def test_marks_with_and_without_blanks(self, tmp_path: Path) -> None:
        rows = "sequence,structure,counted\nMKV,CHE,101\nMK,CC,0.0 1.0\n"
        assert [e.target for e in self.read(tmp_path / "a.csv", rows)] == ["C-E", "-C"]
        assert [e.target for e in self.read(tmp_path / "a.csv", rows, CHAINS._replace(counted=None))] == ["CHE", "CC"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("MKV,CH,111", r"a\.csv:2: has 3 residues and 2 structures"),
            ("MKV,CHH,11", r"a\.csv:2: has 3 residues and 2 marks"),
            ("MKV,CHH,1x1", r"a\.csv:2: residue 2: the mark 'x' should be 0 or 1"),
            (",CHH,111", r"a\.csv:2: has no residues"),
            ("MKV,CHH", r"a\.csv:2: has 2 columns, and the first line has 3"),
        ],
    )
    def test_mistakes_are_located(self, tmp_path: Path, row: str, message: str) -> None:
        text = f"sequence,structure,counted\n{row}\n"
        with pytest.raises(DataError, match=message):
            self.read(tmp_path / "a.csv", text)

    def test_a_missing_column_and_chains_to_predict(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.csv:1: no column 'structure'; the columns are: sequence"):
            self.read(tmp_path / "a.csv", "sequence\nMKV\n")
        plain, flawed = self.read(tmp_path / "a.csv", 'sequence\nMKV\n""\n', labelled=False)
        assert (plain.input, plain.target) == ("MKV", None)
        assert isinstance(flawed.input, Flaw)

    def test_there_are_as_many_folds_as_asked_for(self) -> None:
        with pytest.raises(UsageError, match="from 0 to 2"):
            protein_structure(folds=3, fold=3)


@pytest.mark.data
@needs_data
def test_training_may_learn_from_residues_that_do_not_count() -> None:
    for split, is_same in (("train", False), ("dev", True), ("test", True)):
        counted, everything = (
            list(protein_structure(train_on=option, compare=False).read(split)) for option in ("counted", "all")
        )
        assert (counted == everything) == is_same
        for example, complete in zip(counted, everything, strict=True):
            assert example.input == complete.input
            pairs = zip(example.target, complete.target, strict=True)
            assert all(letter in ("-", true) for letter, true in pairs)
            assert is_same or "-" not in complete.target


@pytest.mark.data
@needs_data
def test_chains_of_cb513_are_in_one_split_each_and_all_residues_count_once() -> None:
    task = protein_structure(compare=False)
    chains = {split: list(task.read(split)) for split in task.splits}
    inputs = [example.input for examples in chains.values() for example in examples]
    assert len(inputs) == len(set(inputs)) == 432
    counted = [len(e.target) - e.target.count("-") for examples in chains.values() for e in examples]
    assert sum(counted) == 83_991
    tests = [{e.input for e in protein_structure(fold=fold, compare=False).read("test")} for fold in range(5)]
    assert sum(map(len, tests)) == len(set().union(*tests)) == 432


def test_imports_and_calls_without_torch() -> None:
    code = "import sys, seqkit_proteins; seqkit_proteins.protein_structure(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestConformance(TaskConformance):
    task = "protein-structure"
    encoders = ({"use": "lstm", "hidden": 6, "bidirectional": True}, {"use": "gru", "hidden": 6})
    options: ClassVar[dict[str, Any]] = {"counted": "counted", "held_out": 0.2, "compare": False}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("chains")
        generator = np.random.default_rng(1)
        rows = ["sequence,structure,counted"]
        for _ in range(60):
            count = int(generator.integers(2, 15))
            letters = ("".join(generator.choice(list(known), count)) for known in ("ACDE", "CEH", "011"))
            rows.append(",".join(letters))
        (folder / "train.csv").write_text("\n".join(rows) + "\n")
        cls.options = {**cls.options, "folder": folder}
