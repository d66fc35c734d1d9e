"""The task `genome-bases`: positions of the splits, strands, files."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from seqkit_genome.bases import genome_bases

from seqkit import DataError, UsageError
from seqkit.testing import TaskConformance
from tests.helpers.data import needs_data


def write(path: Path, *sequences: str) -> Path:
    path.write_text("".join(f">s{number}\n{sequence}\n" for number, sequence in enumerate(sequences)))
    return path


def test_each_sequence_is_split_by_position_and_training_reads_the_other_strand_too(tmp_path: Path) -> None:
    bases = "".join(random.Random(1).choice("ACGT") for _ in range(100))
    path = write(tmp_path / "a.fa", bases.lower(), "ACGU" * 25)
    task = genome_bases(file=path, dev=0.25, test=0.2, piece=8)
    train = [example.input for example in task.read("train")]
    other = "".join({"A": "T", "C": "G", "G": "C", "T": "A"}[base] for base in reversed(bases[:60]))
    assert train == [bases[:60], other, "ACGT" * 15, "ACGT" * 15]
    dev = list(task.read("dev"))
    assert [len(example.input) for example in dev] == [8, 8, 4] * 2
    assert "".join(example.input for example in dev[:3]) == bases[60:80]
    assert dev[1].id == "a.fa:1+68"
    assert "".join(example.input for example in task.read("test"))[:20] == bases[80:]
    one = genome_bases(file=path, dev=0.25, test=0.2, both_strands=False)
    assert [example.input for example in one.read("train")] == [bases[:60], "ACGT" * 15]
    assert genome_bases(file=path, dev=0.0, test=0.0).splits == ("train",)


def test_other_files_are_scored_whole(tmp_path: Path) -> None:
    task = genome_bases(piece=3)
    assert task.read_file is not None
    path = write(tmp_path / "b.fa", "ACGTAC", "GG")
    assert [example.input for example in task.read_file(path, None, True)] == ["ACG", "TAC", "GG"]
    with pytest.raises(UsageError, match="has no splits"):
        task.read_file(path, "dev", True)


def test_mistakes_are_located(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.fa:1: has 3 bases, of which none are dev"):
        list(genome_bases(file=write(tmp_path / "a.fa", "ACG")).read("dev"))
    with pytest.raises(DataError, match=r"b\.fa:[12]"):
        list(genome_bases(file=write(tmp_path / "b.fa", "ACXG")).read("train"))


@pytest.mark.data
@needs_data
def test_published_genomes_are_as_long_as_published() -> None:
    for source, count in (("ecoli", 4_641_652), ("lambda", 48_502)):
        options: Any = {"source": source, "both_strands": False}
        task = genome_bases(**options)
        assert sum(len(example.input) for split in task.splits for example in task.read(split)) == count


def test_imports_and_calls_without_torch() -> None:
    code = "import sys, seqkit_genome.bases as b; b.genome_bases(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestConformance(TaskConformance):
    task = "genome-bases"
    encoders = ({"use": "gru", "hidden": 6},)
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def file(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        draw = random.Random(2)
        path = write(tmp_path_factory.mktemp("genome") / "a.fa", "".join(draw.choice("ACGT") for _ in range(400)))
        cls.options = {"file": path, "window": 8, "dev": 0.2, "piece": 16}
