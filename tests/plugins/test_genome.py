"""The task `genome`: bases as numbers, strands, the input layer, folds, the generator, files of the user's."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from seqkit_genome import alphabet, generator, genome, scores
from seqkit_genome.bases import Bases, Kmers, Scan, Spelling
from seqkit_genome.folds import Alike, Folds
from seqkit_genome.front import Front, Places
from seqkit_genome.reading import Flaw
from seqkit_genome.sources import ENHANCERS, PROMOTERS, SPLICE

from seqkit import DataError, Example, Interrupted, Label, Limit, Prediction, UsageError, recipe
from seqkit.cli import main
from seqkit.data.store import prepare
from seqkit.data.task_data import TaskData
from seqkit.encoders import gru
from seqkit.experiments import run_recipe
from seqkit.heads import classify
from seqkit.inference.evaluate import evaluate
from seqkit.inference.predict import predict
from seqkit.model import Model
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run

real = pytest.mark.skipif("SEQKIT_DATA" not in os.environ, reason="SEQKIT_DATA names no folder of real data")

DNA = st.text(alphabet.LETTERS, min_size=1, max_size=80)
OTHER = str.maketrans("ACGTRYSWKMBDHVNacgt", "TGCAYRSWMKVHDBNtgca")


def other_strand(text: str) -> str:
    return text.translate(OTHER)[::-1]


class TestAlphabet:
    MEANS: ClassVar[dict[str, str]] = {
        "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
        "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
    }  # fmt: skip

    @pytest.mark.parametrize("letter", alphabet.LETTERS)
    def test_a_letter_is_the_probabilities_of_what_it_stands_for(self, letter: str) -> None:
        (code,) = alphabet.encode(letter)
        row = alphabet.PROBABILITIES[code]
        assert row.sum() == 1.0
        wanted = self.MEANS[letter]
        assert row.tolist() == pytest.approx([1 / len(wanted) if base in wanted else 0.0 for base in "ACGT"])

    @pytest.mark.parametrize("letter", alphabet.LETTERS)
    def test_its_complement_stands_for_the_complements(self, letter: str) -> None:
        (code,) = alphabet.encode(letter)
        (turned,) = alphabet.decode(np.array([alphabet.COMPLEMENT[code]]))
        assert set(self.MEANS[turned]) == {other_strand(base) for base in self.MEANS[letter]}

    @given(DNA)
    def test_reverse_complement_is_its_own_inverse(self, text: str) -> None:
        codes = alphabet.encode(text)
        assert alphabet.decode(alphabet.reverse_complement(codes)) == other_strand(text)
        np.testing.assert_array_equal(alphabet.reverse_complement(alphabet.reverse_complement(codes)), codes)

    @given(st.text("ACGTUNacgtun", min_size=1))
    def test_case(self, text: str) -> None:
        plain = text.replace("U", "T").replace("u", "t")
        assert alphabet.decode(alphabet.encode(text)) == plain.upper()
        assert alphabet.decode(alphabet.encode(text, "keep")) == plain
        assert alphabet.decode(alphabet.encode(text, "mask")) == "".join(c if c.isupper() else "N" for c in plain)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty"),
            ("AC-", "base 3 is '-', a gap"),
            ("ACG*", r"base 4 is '\*', the end of a protein"),
            ("ACQ", "base 3 is 'Q', which stands for no base; is it a protein"),
            ("AC GT", "base 3 is ' '"),
            ("ACÅ", "base 3 is 'Å'"),
            ("A" * 1500 + "7", "base 1,501 is '7'"),
        ],
    )
    def test_what_is_no_base(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            alphabet.encode(text)

    def test_nothing_but_gaps(self) -> None:
        with pytest.raises(ValueError, match="has gaps and no base"):
            alphabet.encode("--.", gaps="remove")


class TestFields:
    def test_bases_go_there_and_back(self) -> None:
        field = Bases()
        array = field.encode("acgtnRy")
        assert (array.dtype, field.decode(array)) == (np.uint8, "ACGTNRY")
        assert field.count_unknown(array) == 3
        assert field.decode(np.pad(array, (0, 4))) == "ACGTNRY", "padding is no base"

    def test_values_that_are_none(self) -> None:
        for value, message in (
            (Flaw("has no sequence"), "has no sequence"),
            (None, "missing"),
            (["A"], "should be text"),
        ):
            with pytest.raises(ValueError, match=message):
                Bases().encode(value)

    def test_kmers_of_training_are_the_vocabulary(self) -> None:
        field = Kmers(k=3).fit(["AACGT", "AANGT"])
        assert field.vocabulary == ["AAC", "ACG", "CGT"]
        assert field.size == 5
        assert field.count_unknown(field.encode("AACGTT")) == 1, "GTT"
        assert field.restore(field.state()) == field
        assert Kmers(k=3, min_count=2).fit(["AACGT", "CGTA"]).vocabulary == ["CGT"]

    def test_strided_kmers(self) -> None:
        assert Kmers(k=2, stride=2).fit(["AACGT"]).vocabulary == ["AA", "CG"]
        assert Kmers(k=3, stride=2).fit(["AACGTTA"]).vocabulary == ["AAC", "CGT", "TTA"]

    def test_both_strands_are_counted_where_both_are_read(self) -> None:
        assert Kmers(k=2, strands="augment").fit(["AAC"]).vocabulary == ["AA", "AC", "GT", "TT"]

    @pytest.mark.parametrize(("k", "stride"), [(1, 1), (3, 1), (3, 3), (4, 2), (2, 5)])
    def test_the_layer_cuts_the_kmers_that_the_field_counts(self, k: int, stride: int) -> None:
        rng = random.Random(k)
        texts = ["".join(rng.choice("ACGTN") for _ in range(length)) for length in (k, k + 1, 7, 20, 1)]
        field = Kmers(k=k, stride=stride).fit(texts)
        layer = field.layer(6).eval()
        assert isinstance(layer, Front)
        x, lengths = padded(field, texts)
        steps, counts = layer(x, lengths)
        for row, text in enumerate(texts):
            kmers = [text[i : i + k] for i in range(0, len(text) - k + 1, stride)] or ["too short"]
            assert counts[row] == len(kmers)
            ids = [2 + field.vocabulary.index(each) if each in field.vocabulary else 1 for each in kmers]
            torch.testing.assert_close(steps[row, : len(ids)], layer.steps.weight[ids])
            assert not steps[row, len(ids) :].any()

    def test_no_kmer_at_all(self) -> None:
        with pytest.raises(ValueError, match="training has no 3-mer at all"):
            Kmers(k=3).fit(["AC", "NNN"])

    def test_size_and_case(self) -> None:
        kept = Spelling("keep")
        assert [Bases().size, Bases(kept).size] == [4, 5]
        assert [Bases(probabilities=False).size, Bases(kept, probabilities=False).size] == [6, 11]


def padded(field: Any, texts: list[str], more: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    arrays = [field.encode(text).astype("int64") for text in texts]
    steps = max(map(len, arrays)) + more
    rows = [np.pad(array, (0, steps - len(array))) for array in arrays]
    return torch.from_numpy(np.stack(rows)), torch.tensor([len(array) for array in arrays])


FIELDS: dict[str, Any] = {
    "one-hot": Bases(),
    "one-hot with case": Bases(Spelling("keep")),
    "letters": Bases(probabilities=False),
    "letters with case": Bases(Spelling("keep"), probabilities=False),
    "kmers": Kmers(k=3),
    "strided kmers": Kmers(k=4, stride=3),
    "scanned": Bases(scan=Scan(7)),
    "scanned, pooled": Bases(scan=Scan(8, 12, 3)),
    "scanned by few, in places": Bases(scan=Scan(4, 3), middle=9),
    "scanned letters": Bases(probabilities=False, scan=Scan(5, None, 4)),
    "scanned kmers": Kmers(k=2, scan=Scan(3, None, 2)),
}
TEXTS = ["ACGTNacgtRYK", "A", "GGATCCGTAAGTAC", "TTgacaATATAATGTCCAGT", "CA", "ACG"]


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
class TestLayer:
    def made(self, field: Any) -> tuple[Any, Front]:
        torch.manual_seed(3)
        field = field.fit(TEXTS)
        layer = field.layer(10).eval()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return field, layer

    def test_padding_and_neighbours_change_nothing(self, field: Any) -> None:
        field, layer = self.made(field)
        together, lengths = layer(*padded(field, TEXTS))
        more, lengths_more = layer(*padded(field, TEXTS, more=37))
        assert torch.equal(lengths, lengths_more)
        for row, text in enumerate(TEXTS):
            alone, (length,) = layer(*padded(field, [text]))
            assert lengths[row] == length == alone.shape[1]
            torch.testing.assert_close(together[row, :length], alone[0], rtol=0, atol=1e-6)
            torch.testing.assert_close(more[row, :length], alone[0], rtol=0, atol=1e-6)
            assert not more[row, length:].any()

    def test_what_is_behind_the_end_changes_nothing(self, field: Any) -> None:
        field, layer = self.made(field)
        x, lengths = padded(field, TEXTS, more=5)
        steps, counts = layer(x, lengths)
        outside = torch.arange(x.shape[1]) >= lengths[:, None]
        dirty, again = layer(x.masked_fill(outside, 8), lengths)
        for row, (length, same) in enumerate(zip(counts, again, strict=True)):
            assert length == same
            torch.testing.assert_close(dirty[row, :length], steps[row, :length], rtol=0, atol=1e-6)

    def test_gradients_come_from_real_steps_only(self, field: Any) -> None:
        field, layer = self.made(field)
        x, lengths = padded(field, TEXTS, more=11)
        (layer(x, lengths)[0] ** 2).sum().backward()
        many = [None if p.grad is None else p.grad.clone() for p in layer.parameters()]
        layer.zero_grad()
        for text in TEXTS:
            (layer(*padded(field, [text]))[0] ** 2).sum().backward()
        for one, parameter in zip(many, layer.parameters(), strict=True):
            assert one is not None
            assert parameter.grad is not None
            torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-4)

    def test_the_other_strand_is_that_of_the_text(self, field: Any) -> None:
        field, layer = self.made(field)
        x, lengths = padded(field, TEXTS)
        turned = layer.other_strand(x, lengths)
        wanted, _ = padded(field, [other_strand(text) for text in TEXTS])
        assert torch.equal(turned, wanted)
        assert torch.equal(layer.other_strand(turned, lengths), x)


class TestPlaces:
    def test_threads_do_not_change_the_sum_of_gradients(self) -> None:
        """`weight[index]` adds its gradient up in whatever order threads come: no two runs were then alike."""
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            torch.manual_seed(1)
            places, lengths = Places(30, 64), torch.randint(40, 61, (32,))
            outer = torch.randn(32, 60, 64)
            found = set()
            for _ in range(20):
                places.weight.grad = None
                (places(lengths, 60, torch.device("cpu")) * outer).sum().backward()
                assert places.weight.grad is not None
                found.add(places.weight.grad.numpy().tobytes())
        finally:
            torch.set_num_threads(before)
        assert len(found) == 1


class TestScanners:
    def test_a_motif_is_found_where_it_is_by_a_slow_twin(self) -> None:
        torch.manual_seed(0)
        field = Bases(scan=Scan(5, 3, 2))
        layer: Any = field.layer(3).eval()
        texts = ["ACGTTGCATTA", "GGC"]
        steps, lengths = layer(*padded(field, texts))
        weight, bias = layer.scanners.convolution.weight, layer.scanners.convolution.bias
        for row, text in enumerate(texts):
            rows = alphabet.PROBABILITIES[field.encode(text)]
            answers = []
            for middle in range(len(text)):
                answer = bias.clone()
                for offset in range(5):
                    if 0 <= middle + offset - 2 < len(text):
                        answer = answer + weight[:, :, offset] @ torch.tensor(rows[middle + offset - 2])
                answers.append(answer.clamp(min=0))
            strongest = [torch.stack(answers[i : i + 2]).amax(dim=0) for i in range(0, len(text), 2)]
            assert lengths[row] == len(strongest) == math.ceil(len(text) / 2)
            torch.testing.assert_close(steps[row, : len(strongest)], torch.stack(strongest))

    def test_places_are_counted_from_the_middle(self) -> None:
        layer: Any = Bases(middle=2).layer(1)
        with torch.no_grad():
            layer.places.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        places = layer.places(torch.tensor([6, 3]), 6, torch.device("cpu"))[..., 0]
        assert places.tolist() == [[1, 1, 2, 3, 4, 4], [2, 3, 4, 4, 4, 4]]


class TestStrands:
    def test_training_turns_about_half_and_only_in_training(self) -> None:
        field = Bases(strands="augment")
        layer: Any = field.layer(4)
        layer.project = torch.nn.Identity()
        x, lengths = padded(field, ["AACGT", "AC"] * 400)
        torch.manual_seed(0)
        steps, _ = layer.train()(x, lengths)
        turned, _ = layer.eval()(layer.other_strand(x, lengths), lengths)
        given_, _ = layer(x, lengths)
        is_turned = (steps == turned).all(dim=(1, 2))
        assert 330 < int(is_turned.sum()) < 470
        assert torch.equal(steps[~is_turned], given_[~is_turned])
        assert not any(field.layer(4).eval().views(x, lengths))

    def test_the_same_generator_turns_the_same(self) -> None:
        field = Bases(strands="both")
        layer: Any = field.layer(4).train()
        x, lengths = padded(field, ["AACGT"] * 50)
        torch.manual_seed(5)
        first, _ = layer(x, lengths)
        state = torch.get_rng_state()
        second, _ = layer(x, lengths)
        torch.set_rng_state(state)
        assert torch.equal(layer(x, lengths)[0], second)
        assert not torch.equal(first, second)

    @pytest.mark.parametrize(
        "options",
        [
            {"strands": "average"},
            {"strands": "both", "scan": 5, "pool": 3},
            {"strands": "average", "steps": "kmers", "stride": 2},
        ],
    )
    def test_a_sequence_and_its_other_strand_are_predicted_alike(self, options: dict[str, Any]) -> None:
        texts = ["ACGTTGCATTAGGACCA", "TTGACAATATAATGTCCAGTNN", "CCGRYTAAGTCA"]
        found = predicted(options, texts)
        again = predicted(options, [other_strand(text) for text in texts])
        given_ = predicted({**options, "strands": "given"}, texts)
        for one, other, alone in zip(found, again, given_, strict=True):
            assert one == other
            assert one.scores != pytest.approx(alone.scores, abs=1e-6)

    def test_it_is_the_mean_of_both(self) -> None:
        texts = ["ACGTTGCATTAGGACCA"]
        (both,) = predicted({"strands": "average"}, texts)
        (one,) = predicted({"strands": "given"}, texts)
        (other,) = predicted({"strands": "given"}, [other_strand(text) for text in texts])
        for label in both.scores:
            assert both.scores[label] == pytest.approx((one.scores[label] + other.scores[label]) / 2, abs=1e-6)
        assert both.confidence == max(both.scores.values())

    def test_evaluation_says_what_prediction_says(self, tmp_path: Path) -> None:
        path = fasta(tmp_path / "all.fa", [("ACGTTGCATTAGGACCA", "x"), ("TTGACAATAT", "y"), ("CCGTAAGTCA", "x")])
        task = genome(train=path, test=path, pattern="(?P<label>.)$", held_out=0.0, strands="average")
        made = prepare(task, key="test", cache=tmp_path / "cache")
        model = small_model(made.input, made.target)
        data = TaskData("genome", task, made.input, made.target, made.splits)
        outcome = evaluate(model, data, "test")
        lines = [("a", "ACGTTGCATTAGGACCA"), ("b", "TTGACAATAT"), ("c", "CCGTAAGTCA")]
        said = [p for _, _, p in predict(model, "genome", (task, made.input, made.target), lines)]
        for one, other in zip(outcome.predictions, said, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-6)
        assert {"accuracy", "mcc", "macro_f1", "auroc", "auprc", "loss"} == set(outcome.scores)


def small_model(input_field: Any, target: Any) -> Model:
    torch.manual_seed(2)
    encoder = gru(8, hidden=6)
    layer = input_field.layer(8)
    return Model({"genome": layer}, encoder, {"genome": classify(6, target, layer)})


def predicted(options: dict[str, Any], texts: list[str]) -> list[Prediction]:
    task = genome(**options)
    # The vocabulary of k-mers depends on `strands`: it is to be the same here, whatever the option.
    field = task.input.fit([*texts, *map(other_strand, texts)])
    target = Label().fit(["x", "y", "z"])
    model = small_model(field, target)
    return [p for _, _, p in predict(model, "genome", (task, field, target), [("", text) for text in texts])]


def fasta(path: Path, rows: list[tuple[str, str]], ends: str = "\n") -> Path:
    text = "".join(f">r{i} {label}{ends}{sequence}{ends}" for i, (sequence, label) in enumerate(rows))
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


class TestScores:
    LABELS = ("a", "b", "c")

    def said(self, rows: list[tuple[float, ...]]) -> list[Prediction]:
        labels = self.LABELS[: len(rows[0])]
        return [
            Prediction(max(zip(row, labels, strict=True))[1], max(row), dict(zip(labels, row, strict=True)))
            for row in rows
        ]

    def test_two_classes(self) -> None:
        predictions = self.said([(0.9, 0.1), (0.4, 0.6), (0.3, 0.7), (0.6, 0.4)])
        found = scores(predictions, ["a", "a", "b", "b"], positive="b")
        assert found["accuracy"] == 0.5
        assert found["mcc"] == 0.0
        assert found["macro_f1"] == 0.5
        assert found["auroc"] == 0.75  # of four pairs, one is the wrong way round
        assert found["auprc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)

    def test_three_classes(self) -> None:
        rows = [(0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.2, 0.2, 0.6)]
        assert scores(self.said(rows), ["a", "b", "c"]) == dict.fromkeys(
            ("accuracy", "mcc", "macro_f1", "auroc", "auprc"), 1
        )

    def test_a_positive_class_that_is_none(self) -> None:
        with pytest.raises(UsageError, match="positive: 'z' is none of the labels 'a', 'b'"):
            scores(self.said([(0.9, 0.1), (0.4, 0.6)]), ["a", "b"], positive="z")


class TestFolds:
    def examples(self) -> list[Example]:
        rng = random.Random(4)
        texts = ["".join(rng.choice("ACGT") for _ in range(20)) for _ in range(103)]
        rows = [(text, "ab"[i % 3 == 0]) for i, text in enumerate(texts)]
        rows += [(texts[0].lower(), "b"), (other_strand(texts[1]), "a"), (texts[2].replace("T", "U"), "a")]
        return [Example(text, label, f"x:{i}") for i, (text, label) in enumerate(rows)]

    def test_every_fold_has_its_share_of_every_class_and_no_sequence_is_in_two(self) -> None:
        examples = self.examples()
        folds = Folds.deal(examples, 10, Alike())
        where = [folds.of(example.input) for example in examples]
        assert set(Counter(where[:103]).values()) <= {10, 11}
        of_a = Counter(fold for fold, example in zip(where[:103], examples, strict=False) if example.target == "a")
        assert set(of_a.values()) <= {6, 7}
        assert where[103:] == where[:3]

    def test_what_is_told(self) -> None:
        examples = [*self.examples(), Example(self.examples()[0].input, "a", "x:106")]
        assert Folds.deal(examples, 10, Alike()).notes == (
            "4 examples repeat the sequence of another; they stay in its fold",
            "1 examples have another label than the same sequence before: x:0 says b, x:106 says a",
        )

    def test_the_other_strand_is_another_sequence_by_choice(self) -> None:
        alike, apart = Alike(), Alike(strands=False)
        assert alike.digest("AACG") == alike.digest("cgtt") != alike.digest("AACC")
        assert apart.digest("AACG") != apart.digest("CGTT")
        assert apart.digest("AACG") == apart.digest("aacg")

    def test_the_order_of_the_examples_is_irrelevant(self) -> None:
        examples = self.examples()[:103]
        assert Folds.deal(examples, 7, Alike()).fold_of == Folds.deal(examples[::-1], 7, Alike()).fold_of
        assert Folds.deal(examples, 7, Alike()).fold_of != Folds.deal(examples, 7, Alike(seed=2)).fold_of

    def test_more_folds_than_sequences(self) -> None:
        with pytest.raises(DataError, match="there are 103 different sequences, too few for 104 folds"):
            Folds.deal(self.examples(), 104, Alike())
        assert sorted(Folds.deal(self.examples(), 103, Alike()).fold_of.values()) == list(range(103)), "leave one out"

    def test_the_parts_of_a_fold(self, tmp_path: Path) -> None:
        rows = [(example.input, example.target) for example in self.examples()]
        path = fasta(tmp_path / "all.fa", rows)
        tests: list[str] = []
        for fold in range(5):
            task = genome(train=path, pattern="(?P<label>.)$", folds=5, fold=fold, held_out=0.2)
            parts = {split: [example.id for example in task.read(split)] for split in task.splits}
            assert sorted(itertools.chain(*parts.values())) == sorted(f"all.fa:{2 * i + 1}" for i in range(106))
            assert all(parts.values())
            keys = {s: {Alike().digest(e.input) for e in task.read(s)} for s in task.splits}
            assert not keys["train"] & keys["test"]
            assert not keys["dev"] & (keys["train"] | keys["test"])
            tests += parts["test"]
        assert sorted(tests) == sorted(f"all.fa:{2 * i + 1}" for i in range(106)), "each is in test once"

    def test_notes_are_told_by_the_task(self, tmp_path: Path) -> None:
        path = fasta(tmp_path / "all.fa", [("ACGTACCC", "x"), ("ACGTACCC", "y"), ("GGGG", "y"), ("TTTA", "x")])
        task = genome(train=path, pattern="(?P<label>.)$", folds=2)
        assert task.notes is not None
        assert any("all.fa:1 says x, all.fa:3 says y" in note for note in task.notes())


class TestGenerator:
    @pytest.mark.parametrize("signal", ["splice", "promoter"])
    def test_the_same_windows_each_time_and_none_twice(self, signal: generator.Signal) -> None:
        made = {split: list(generator.windows(signal, split, 1500, seed=1)) for split in ("train", "dev", "test")}
        assert list(generator.windows(signal, "dev", 200, seed=1)) == made["dev"][:200]
        assert list(generator.windows(signal, "dev", 200, seed=2)) != made["dev"][:200]
        texts = [text for part in made.values() for text, _ in part]
        assert len(set(texts)) == 4500

    def test_pinned(self) -> None:
        """The scores that recipes promise are of these windows."""
        assert next(generator.windows("splice", "train", 1, seed=1)) == PINNED["splice"]
        assert next(generator.windows("promoter", "train", 1, seed=1)) == PINNED["promoter"]

    @pytest.mark.parametrize("site", ["EI", "IE"])
    def test_sites_have_the_frequencies_of_their_matrix(self, site: str) -> None:
        windows = [text for text, label in generator.windows("splice", "train", 8000, seed=1) if label == site]
        start = generator.JUNCTION - generator.BEFORE[site]
        for place, column in enumerate(zip(*generator.SITES[site], strict=True)):
            counts = Counter(text[start + place] for text in windows)
            for base, percent in zip("ACGT", column, strict=True):
                assert counts[base] / len(windows) == pytest.approx(percent / sum(column), abs=0.035)

    def test_matrices_are_whole(self) -> None:
        for matrix in (generator.DONOR, generator.ACCEPTOR, *generator.MINUS_10.values(), *generator.MINUS_35.values()):
            assert all(98 <= sum(column) <= 102 for column in zip(*matrix, strict=True))
        assert {sum(column) for column in zip(*generator.TATA, strict=True)} == {389}

    def test_half_of_the_windows_have_no_site(self) -> None:
        labels = Counter(label for _, label in generator.windows("splice", "train", 4000, seed=1))
        assert labels["N"] == pytest.approx(2000, abs=130)
        assert labels["EI"] == pytest.approx(1000, abs=110)

    def test_promoters_are_on_either_strand(self) -> None:
        windows = [text for text, label in generator.windows("promoter", "train", 6000, seed=1) if label == "TATA"]
        given_ = sum("TATAAA" in text for text in windows)
        turned = sum("TTTATA" in text for text in windows)
        assert 0.8 < given_ / turned < 1.25
        assert all(60 <= len(text) <= 120 for text in windows)


PINNED = {
    "splice": ("TTATGAACCCCTATACTACTCCGGTATGCAGTCTTTTCGGACCTGGAATGGGGAGATCCT", "N"),
    "promoter": (
        "ATATAAAAACAAGTTTTCCCTGTGACCGCAGTCATAGTGTCCAGACGCTCGAAGTGCCGGTCGCGTTGGACCAGTAAGATTGCACCCCCCACTTCCATGGTTTTACTT"
        "AAAAATA",
        "TATA",
    ),
}


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
        scan = Scan(9, 32, 4, 0.2)
        spelling = Spelling("mask", "remove")
        assert task.input == Bases(spelling, probabilities=False, strands="both", scan=scan, middle=10)
        assert task.limit == Limit(50, "tail")
        kmers = genome(steps="kmers", k=5, stride=2, min_count=3, drop=0.1).input
        assert kmers == Kmers(k=5, stride=2, min_count=3, drop=0.1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pool": 2}, "belong to motif scanners; set scan"),
            ({"steps": "kmers", "case": "keep"}, "k-mers have no case"),
            ({"steps": "kmers", "middle": 3}, "k-mers have no places"),
            ({"folds": 5}, "generated windows have splits of their own"),
            ({"source": "splice-junction", "fold": 10}, "fold: 10 is not among 10 folds"),
            ({"source": "enhancers", "fold": 1}, "fold: 1 of how many"),
            ({"test": Path("x.fa")}, "so train must be; set train"),
            ({"train": Path("x.fa")}, "'x.fa': where is the class"),
            ({"train": Path("x.txt")}, "'x.txt': the name does not say the format"),
            ({"train": Path("x.csv"), "folds": 5, "test": Path("y.csv")}, "they can have no files of their own"),
            ({"train": {"a": Path("x.fa")}, "label": 3}, "label: 'x.fa' is FASTA and has no columns"),
            ({"train": Path("x.csv"), "label": "class", "header": False}, "label: 'class' is a name, but header"),
            ({"pattern": "("}, "pattern: is no regular expression"),
            ({"pattern": "(a)"}, "pattern: has no group such as"),
        ],
    )
    def test_options_that_do_not_go_together(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            genome(**options)

    def test_imports_and_calls_without_torch_or_biopython(self) -> None:
        code = "import sys, seqkit_genome as g; g.genome(); list(g.genome().read('dev')); "
        code += "sys.exit(any(m in sys.modules for m in ('torch', 'Bio')))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestFiles:
    ROWS = (("ACGTACGTAA", "x"), ("GGGTTTCCCA", "y"), ("TTTTTTTACC", "x"))

    def read(self, **options: Any) -> list[tuple[Any, Any]]:
        options = {"held_out": 0.0, **options}
        return [(example.input, example.target) for example in genome(**options).read("train")]

    @pytest.mark.parametrize("name", ["x.fa", "x.fasta.gz"])
    def test_class_from_the_header(self, tmp_path: Path, name: str) -> None:
        path = fasta(tmp_path / name, list(self.ROWS))
        assert self.read(train=path, pattern=r"(?P<label>\w)$") == list(self.ROWS)

    def test_header_without_a_class(self, tmp_path: Path) -> None:
        path = fasta(tmp_path / "x.fa", [("ACGT", "x"), ("ACG", "-")])
        with pytest.raises(DataError, match=r"x\.fa:3: the pattern finds no class in the header 'r1 -'"):
            self.read(train=path, pattern=r"(?P<label>[a-z])$")

    def test_one_file_a_class(self, tmp_path: Path) -> None:
        one = fasta(tmp_path / "one.txt", [("ACGT", ""), ("AA", "")], ends="\r\n")
        two = fasta(tmp_path / "two.txt", [("CC", "")])
        found = self.read(train={"x": one, "y": two}, format="fasta")
        assert found == [("ACGT", "x"), ("AA", "x"), ("CC", "y")]

    def test_fastq(self, tmp_path: Path) -> None:
        (tmp_path / "x.fq").write_text("@r1 x\nACGT\n+\nIIII\n")
        assert self.read(train=tmp_path / "x.fq", pattern="(?P<label>.)$") == [("ACGT", "x")]

    @pytest.mark.parametrize(
        ("name", "content", "options"),
        [
            ("x.csv", "ACGT,x\nGG,y\n", {}),
            ("x.csv", "label,id,seq\nx,1,ACGT\ny,2,GG\n", {"sequence": "seq", "label": "label"}),
            ("x.tsv", "1\tx\tACGT\n2\ty\tGG\n\n", {"sequence": 3, "label": 2}),
            ("x.data", "x,  name1,\t ACGT\ny,n,  GG  \n", {}),
            ("x.txt", "x,n,ACGT\ny,n,GG\n", {"format": "uci"}),
        ],
    )
    def test_tables(self, tmp_path: Path, name: str, content: str, options: dict[str, Any]) -> None:
        (tmp_path / name).write_text(content)
        assert self.read(train=tmp_path / name, **options) == [("ACGT", "x"), ("GG", "y")]

    def test_uci_with_another_number_of_fields(self, tmp_path: Path) -> None:
        (tmp_path / "x.data").write_text("x,n,ACGT\ny,GG\n")
        with pytest.raises(DataError, match=r"x\.data:2: has 2 fields; class, name and sequence"):
            self.read(train=tmp_path / "x.data")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"absent\.csv: there is no such file; `test` names it"):
            list(genome(train=tmp_path / "x.csv", test=tmp_path / "absent.csv").read("test"))

    def test_splits(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        assert genome(train=path).splits == ("train", "dev")
        assert genome(train=path, held_out=0.0).splits == ("train",)
        assert genome(train=path, dev=path, test=path).splits == ("train", "dev", "test")
        assert genome(train=path, folds=3).splits == ("train", "dev", "test")

    def test_held_out_by_hash_with_repeats_on_one_side(self, tmp_path: Path) -> None:
        rng = random.Random(1)
        texts = ["".join(rng.choice("ACGT") for _ in range(12)) for _ in range(300)]
        rows = [(text, "x") for text in texts] + [(other_strand(text).lower(), "x") for text in texts]
        task = genome(train=fasta(tmp_path / "x.fa", rows), pattern="(?P<label>x)", held_out=0.2)
        parts = {split: [example.input for example in task.read(split)] for split in ("train", "dev")}
        assert len(parts["train"]) + len(parts["dev"]) == 600
        assert 80 < len(parts["dev"]) < 160
        turned = {other_strand(text.upper()) for text in parts["dev"]}
        assert turned == {text.upper() for text in parts["dev"]}

    def test_bad_records_are_all_told_or_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "x.fa"
        path.write_text(">a x\nACGT\n>b y\nAC*T\n>c y\n>d y\nGGGT\n>e y\nMKL\n")
        options: dict[str, Any] = {"train": path, "pattern": "(?P<label>.)$", "held_out": 0.0}
        with pytest.raises(DataError) as told:
            prepare(genome(**options), key="a", cache=tmp_path / "cache")
        lines = str(told.value).splitlines()
        assert lines[0].startswith("x.fa:3: input has in line 4, column 3, '*'")
        assert lines[1] == "x.fa:5: input has no sequence"
        assert lines[2].startswith("x.fa:8: input has in line 9, column 3, 'L'")
        kept = prepare(genome(**options, bad_inputs="quarantine"), key="b", cache=tmp_path / "cache")
        report = kept.splits["train"].report
        assert (report.examples, report.quarantined) == (2, 3)

    def test_ambiguous_bases_are_counted(self, tmp_path: Path) -> None:
        path = fasta(tmp_path / "x.fa", [("ACGN", "x"), ("RYAC", "y")])
        task = genome(train=path, pattern="(?P<label>.)$", held_out=0.0)
        made = prepare(task, key="c", cache=tmp_path / "cache")
        assert made.splits["train"].report.unknown == 3
        assert made.splits["train"].x.data.dtype == np.uint8, "a byte a base"


@real
class TestPublished:
    COUNTS: ClassVar[dict[str, dict[str, int]]] = {
        "splice-junction": {"N": 1655, "IE": 768, "EI": 767},
        "promoters": {"+": 53, "-": 53},
        "enhancers": {"enhancer": 1484, "none": 1484},
        "enhancers-strength": {"strong": 742, "weak": 742},
    }

    @pytest.mark.parametrize("source", COUNTS)
    def test_counts(self, source: Any) -> None:
        task = genome(source=source)
        parts = {split: Counter(example.target for example in task.read(split)) for split in task.splits}
        if "enhancers" in source:
            assert set(parts.pop("test").values()) == ({200} if source == "enhancers" else {100})
        assert sum(parts.values(), Counter[str]()) == self.COUNTS[source]

    def test_every_base_can_be_read_and_the_doubtful_ones_are_counted(self) -> None:
        task = genome(source="splice-junction")
        codes = [task.input.encode(example.input) for split in task.splits for example in task.read(split)]
        assert {len(each) for each in codes} == {60}
        assert sum(task.input.count_unknown(each) for each in codes) == 60

    def test_repeats_and_the_contradiction_are_told(self) -> None:
        task = genome(source="splice-junction", same_strands=False)
        assert task.notes is not None
        repeats, contradiction = task.notes()
        assert repeats.startswith("185 examples repeat the sequence of another")
        assert contradiction.startswith("1 examples have another label")
        assert contradiction.count("splice.data:") == 2

    def test_folds_do_not_share_a_sequence(self) -> None:
        seen: dict[bytes, int] = {}
        for fold in range(10):
            test = list(genome(source="splice-junction", fold=fold).read("test"))
            assert 300 < len(test) < 340
            for example in test:
                assert seen.setdefault(Alike().digest(example.input), fold) == fold

    def test_case_is_folded_in_both_parts_of_the_enhancers(self) -> None:
        task = genome(source="enhancers")
        for split in ("train", "test"):
            assert all(task.input.encode(example.input).max() < alphabet.LOWER for example in task.read(split))
        kept = genome(source="enhancers", case="keep")
        lower = [bool((kept.input.encode(e.input) >= alphabet.LOWER).any()) for e in kept.read("train")]
        assert 0 < sum(lower) < len(lower)

    def test_addresses_are_pinned(self) -> None:
        for dataset in (SPLICE, PROMOTERS, ENHANCERS):
            for file in dataset.files:
                assert file.url is not None
                assert file.url.startswith("https://raw.githubusercontent.com/")
                assert file.url.endswith(file.path)


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
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
        (tmp_path / "data").mkdir()
        rng = random.Random(8)
        for name, motif in (("x.fa", "TATAAT"), ("y.fa.gz", "GGCGCC")):
            rows = []
            for _ in range(60):
                text = "".join(rng.choice("ACGT") for _ in range(rng.randint(6, 40)))
                at = rng.randint(0, len(text))
                text = text[:at] + motif + text[at:]
                rows.append((text if rng.random() < 0.5 else other_strand(text), ""))
            fasta(tmp_path / "data" / name, rows)
        (tmp_path / "dna.yaml").write_text(RECIPE.format(steps=250))
        return tmp_path

    def carried_out(self, made: recipe.Recipe, folder: Path, *, resume: bool = False) -> run_recipe.RunResult:
        run = Run.resume(folder) if resume else Run.create("t", text=made.text, resolved=made.resolved(), out=folder)
        return run_recipe.run_recipe(made, run, Progress(quiet=True), resume=resume)

    def test_paths_are_relative_to_the_recipe_and_the_resolved_recipe_says_the_same(self, place: Path) -> None:
        made = recipe.load(str(place / "dna.yaml"))
        assert made.tasks["dna"].options["train"] == {"x": place / "data/x.fa", "y": place / "data/y.fa.gz"}
        (place / "resolved.yaml").write_text(made.resolved())
        assert recipe.load(str(place / "resolved.yaml")) == made

    def test_it_learns_a_motif_on_either_strand_and_predicts_both_alike(self, place: Path) -> None:
        finished = self.carried_out(recipe.load(str(place / "dna.yaml")), place / "run")
        assert finished.scores["dna/test/accuracy"] > 0.9
        (place / "new.txt").write_text("CCTATAATGC\nGCATTATAGG\nACGGCGCCTA\nacggcgccta\n")
        done = CliRunner().invoke(main, ["predict", str(place / "run"), str(place / "new.txt")])
        assert done.exit_code == 0, done.output
        first, turned, third, lower = [json.loads(line) for line in done.stdout.splitlines()]
        assert first["scores"] == turned["scores"]
        assert third["scores"] == lower["scores"]
        assert (first["prediction"], third["prediction"]) == ("x", "y")

    def test_a_line_that_is_no_sequence_is_told(self, place: Path) -> None:
        self.carried_out(recipe.load(str(place / "dna.yaml"), ["train.steps=1"]), place / "run")
        (place / "new.txt").write_text("ACGT\nMQV\n\n")
        done = CliRunner().invoke(main, ["predict", str(place / "run"), str(place / "new.txt")])
        assert done.exit_code == 2
        assert "new.txt:2: base 2 is 'Q', which stands for no base" in done.stderr
        assert "new.txt:3: is empty" in done.stderr

    def test_an_interrupted_run_turns_the_same_strands(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = recipe.load(str(place / "dna.yaml"), ["train.steps=24"])
        self.carried_out(made, place / "whole")

        class Stopping(Interrupts):
            looks = 0

            @property
            def requested(self) -> bool:
                Stopping.looks += 1
                return Stopping.looks >= 13

        with monkeypatch.context() as patch:
            patch.setattr(run_recipe, "Interrupts", Stopping)
            with pytest.raises(Interrupted):
                self.carried_out(made, place / "parts")
        torch.manual_seed(99)
        self.carried_out(made, place / "parts", resume=True)
        names = ["model.safetensors", "fields.json"]
        for name in names:
            assert (place / "whole/model" / name).read_bytes() == (place / "parts/model" / name).read_bytes()

    def test_notes_are_in_the_log(self, place: Path) -> None:
        rows = [
            ("ACGTACCC", "x"),
            ("ACGTACCC", "y"),
            *((f"ACGT{'ACGT'[i % 4] * (i + 1)}", "xy"[i % 2]) for i in range(20)),
        ]
        fasta(place / "data/all.fa", rows)
        text = RECIPE.format(steps=1).replace("{x: data/x.fa, y: data/y.fa.gz}", "data/all.fa", 1)
        text = text.replace("    test: {x: data/x.fa, y: data/y.fa.gz}\n", "    folds: 3\n    pattern: (?P<label>.)$\n")
        (place / "folds.yaml").write_text(text)
        self.carried_out(recipe.load(str(place / "folds.yaml")), place / "run")
        log = (place / "run" / "run.log").read_text()
        assert "all.fa:1 says x, all.fa:3 says y" in log


class TestLimit:
    """What could be known of the generated windows at best: by the likelihoods of the matrices that drew them."""

    @staticmethod
    def ratio(window: str, site: str, junction: int) -> float:
        """How much likelier the window is with this site here than by chance."""
        start = junction - generator.BEFORE[site]
        found = 1.0
        for place, column in enumerate(zip(*generator.SITES[site], strict=True), start):
            if 0 <= place < generator.WINDOW:
                found *= 4 * column["ACGT".index(window[place])] / sum(column)
        return found

    def best(self, window: str) -> str:
        shares = {site: 0.25 * self.ratio(window, site, 30) for site in ("EI", "IE")}
        elsewhere = [
            self.ratio(window, site, 30 + sign * away)
            for site in ("EI", "IE")
            for away in range(5, 14)
            for sign in (1, -1)
        ]
        core = 0.15 * 16 * (window[30:32] == "GT") + 0.15 * 16 * (window[28:30] == "AG")
        shares["N"] = 0.5 * (0.4 + 0.3 * sum(elsewhere) / len(elsewhere) + core)
        return max(shares, key=lambda label: shares[label])

    def test_splice(self) -> None:
        windows = list(generator.windows("splice", "test", 2000, seed=1))
        assert sum(self.best(text) == label for text, label in windows) / 2000 == 0.9345, "the recipe quotes it"
