"""The task `genome`: its options, its scores, and runs from a recipe to predictions."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from seqkit_genome import genome
from seqkit_genome.fields import Bases, Kmers
from seqkit_genome.options import Scan, Spelling
from seqkit_genome.scores import class_scores

from seqkit import Interrupted, Label, Limit, Prediction, UsageError, recipe
from seqkit.cli import main
from seqkit.experiments import run_recipe
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from tests.helpers.dna import other_strand, write_fasta


class TestScores:
    LABELS = ("a", "b", "c")

    def predictions(self, rows: list[tuple[float, ...]]) -> list[Prediction]:
        labels = self.LABELS[: len(rows[0])]
        return [
            Prediction(max(zip(row, labels, strict=True))[1], max(row), dict(zip(labels, row, strict=True)))
            for row in rows
        ]

    def test_two_classes(self) -> None:
        predictions = self.predictions([(0.9, 0.1), (0.4, 0.6), (0.3, 0.7), (0.6, 0.4)])
        scores = class_scores(predictions, ["a", "a", "b", "b"], positive="b")
        assert scores["accuracy"] == 0.5
        assert scores["mcc"] == 0.0
        assert scores["macro_f1"] == 0.5
        assert scores["auroc"] == 0.75  # of four pairs, one is the wrong way round
        assert scores["auprc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)

    def test_three_classes(self) -> None:
        rows = [(0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.2, 0.2, 0.6)]
        assert class_scores(self.predictions(rows), ["a", "b", "c"]) == dict.fromkeys(
            ("accuracy", "mcc", "macro_f1", "auroc", "auprc"), 1
        )

    def test_a_positive_class_that_is_none(self) -> None:
        with pytest.raises(UsageError, match="positive: 'z' is none of the labels 'a', 'b'"):
            class_scores(self.predictions([(0.9, 0.1), (0.4, 0.6)]), ["a", "b"], positive="z")


class TestTask:
    def test_what_it_is_by_default(self) -> None:
        task = genome()
        assert task.input == Bases()
        assert isinstance(task.target, Label)
        assert (task.head, task.best, task.splits, task.files) == (
            "classify",
            "accuracy",
            ("train", "dev", "test"),
            None,
        )

    def test_options_reach_the_field(self) -> None:
        task = genome(steps="letters", case="mask", gaps="remove", scan=9, filters=32, pool=4, scan_dropout=0.2,
                      middle=10, strands="both", max_length=50, truncate="tail")  # fmt: skip
        scan = Scan(width=9, filters=32, pool=4, dropout=0.2)
        spelling = Spelling("mask", "remove")
        assert task.input == Bases(spelling, probabilities=False, strands="both", scan=scan, middle=10)
        assert task.limit == Limit(50, "tail")
        kmers = genome(steps="kmers", k=5, stride=2, min_count=3, drop=0.1).input
        assert kmers == Kmers(k=5, stride=2, min_count=3, drop=0.1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pool": 2}, "are options of motif scanners; set scan"),
            ({"steps": "kmers", "case": "keep"}, "k-mers have no case"),
            ({"steps": "kmers", "middle": 3}, "k-mers have no positions"),
            ({"folds": 5}, "generated windows have splits already"),
            ({"source": "splice-junction", "fold": 10}, "fold: 10 should be 0 to 9, because there are 10 folds"),
            ({"source": "enhancers", "fold": 1}, "fold: 1 needs the number of folds; set folds"),
            ({"test": Path("x.fa")}, "so train must be too; set train"),
            ({"train": Path("x.fa")}, "'x.fa': the class is missing; give one file for each class"),
            ({"train": Path("x.txt")}, "'x.txt': the name does not tell the format"),
            ({"train": Path("x.csv"), "folds": 5, "test": Path("y.csv")}, "so they cannot have files of their own"),
            ({"train": {"a": Path("x.fa")}, "label": 3}, "label: 'x.fa' is FASTA and has no columns"),
            (
                {"train": Path("x.csv"), "label": "class", "header": False},
                "label: 'class' is a name, but header",
            ),
            ({"pattern": "("}, "pattern: is not a regular expression"),
            ({"pattern": "(a)"}, "pattern: needs a group for the class, such as"),
        ],
    )
    def test_options_that_do_not_go_together(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            genome(**options)

    def test_imports_and_calls_without_torch_or_biopython(self) -> None:
        code = "import sys, seqkit_genome as g; g.genome(); list(g.genome().read('dev')); "
        code += "sys.exit(any(m in sys.modules for m in ('torch', 'Bio')))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


RECIPE = """
seed: 3
tasks:
  dna:
    use: genome
    train: {{x: data/x.fa, y: data/y.fa.gz}}
    test: {{x: data/x.fa, y: data/y.fa.gz}}
    strands: both
    scan: 5
    pool: 2
    scan_dropout: 0.1
encoder: {{use: gru, dim: 8, hidden: 8, bidirectional: true}}
train: {{steps: {steps}, batch: 8, evaluate_every: 10, histograms: false, optimizer: {{use: adamw, lr: 0.01}}}}
"""


class TestRuns:
    """From a recipe to a model, as a user calls it."""

    @pytest.fixture
    def workspace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
        (tmp_path / "data").mkdir()
        rng = random.Random(8)
        for name, motif in (("x.fa", "TATAAT"), ("y.fa.gz", "GGCGCC")):
            rows = []
            for _ in range(60):
                text = "".join(rng.choice("ACGT") for _ in range(rng.randint(6, 40)))
                position = rng.randint(0, len(text))
                text = text[:position] + motif + text[position:]
                rows.append((text if rng.random() < 0.5 else other_strand(text), ""))
            write_fasta(tmp_path / "data" / name, rows)
        (tmp_path / "dna.yaml").write_text(RECIPE.format(steps=250))
        return tmp_path

    def run_recipe(self, loaded: recipe.Recipe, folder: Path, *, resume: bool = False) -> run_recipe.RunResult:
        run = (
            Run.resume(folder) if resume else Run.create("t", text=loaded.text, resolved=loaded.resolved(), out=folder)
        )
        return run_recipe.run_recipe(loaded, run, Progress(quiet=True), resume=resume)

    def test_paths_are_relative_to_the_recipe_and_the_resolved_recipe_says_the_same(self, workspace: Path) -> None:
        loaded = recipe.load(str(workspace / "dna.yaml"))
        assert loaded.tasks["dna"].options["train"] == {"x": workspace / "data/x.fa", "y": workspace / "data/y.fa.gz"}
        (workspace / "resolved.yaml").write_text(loaded.resolved())
        assert recipe.load(str(workspace / "resolved.yaml")) == loaded

    def test_it_learns_a_motif_on_either_strand_and_predicts_both_alike(self, workspace: Path) -> None:
        finished = self.run_recipe(recipe.load(str(workspace / "dna.yaml")), workspace / "run")
        assert finished.scores["dna/test/accuracy"] > 0.9
        (workspace / "new.txt").write_text("CCTATAATGC\nGCATTATAGG\nACGGCGCCTA\nacggcgccta\n")
        done = CliRunner().invoke(main, ["predict", str(workspace / "run"), str(workspace / "new.txt")])
        assert done.exit_code == 0, done.output
        first, turned, third, lower = [json.loads(line) for line in done.stdout.splitlines()]
        assert first["scores"] == turned["scores"]
        assert third["scores"] == lower["scores"]
        assert (first["prediction"], third["prediction"]) == ("x", "y")

    def test_a_line_that_is_not_a_sequence_is_reported(self, workspace: Path) -> None:
        self.run_recipe(recipe.load(str(workspace / "dna.yaml"), ["train.steps=1"]), workspace / "run")
        (workspace / "new.txt").write_text("ACGT\nMQV\n\n")
        done = CliRunner().invoke(main, ["predict", str(workspace / "run"), str(workspace / "new.txt")])
        assert done.exit_code == 1
        _, second, third = (json.loads(line) for line in done.stdout.splitlines())
        assert second["id"] == "new.txt:2"
        assert second["error"].startswith("letter 2 is 'Q', which is not a base")
        assert third == {"id": "new.txt:3", "input": "", "error": "is empty"}

    def test_an_interrupted_run_turns_the_same_strands(self, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        loaded = recipe.load(str(workspace / "dna.yaml"), ["train.steps=24"])
        self.run_recipe(loaded, workspace / "uninterrupted")

        class Stopping(Interrupts):
            looks = 0

            @property
            def requested(self) -> bool:
                Stopping.looks += 1
                return Stopping.looks >= 13

        with monkeypatch.context() as patch:
            patch.setattr(run_recipe, "Interrupts", Stopping)
            with pytest.raises(Interrupted):
                self.run_recipe(loaded, workspace / "interrupted")
        torch.manual_seed(99)
        self.run_recipe(loaded, workspace / "interrupted", resume=True)
        names = ["model.safetensors", "fields.json"]
        for name in names:
            assert (workspace / "uninterrupted/model" / name).read_bytes() == (
                workspace / "interrupted/model" / name
            ).read_bytes()

    def test_notes_are_in_the_log(self, workspace: Path) -> None:
        rows = [
            ("ACGTACCC", "x"),
            ("ACGTACCC", "y"),
            *((f"ACGT{'ACGT'[i % 4] * (i + 1)}", "xy"[i % 2]) for i in range(20)),
        ]
        write_fasta(workspace / "data/all.fa", rows)
        text = RECIPE.format(steps=1).replace("{x: data/x.fa, y: data/y.fa.gz}", "data/all.fa", 1)
        text = text.replace("    test: {x: data/x.fa, y: data/y.fa.gz}\n", "    folds: 3\n    pattern: (?P<label>.)$\n")
        (workspace / "folds.yaml").write_text(text)
        self.run_recipe(recipe.load(str(workspace / "folds.yaml")), workspace / "run")
        log = (workspace / "run" / "run.log").read_text()
        assert "all.fa:1 says x, all.fa:3 says y" in log
