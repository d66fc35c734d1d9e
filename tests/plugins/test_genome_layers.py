"""The task `genome`: bases as numbers, its fields, strands and the input layer."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqkit_genome import alphabet, genome
from seqkit_genome.fasta import Flaw
from seqkit_genome.fields import Bases, Kmers
from seqkit_genome.layers import MiddlePositions, SequenceLayer
from seqkit_genome.options import Scan, Spelling

from seqkit import Label, Prediction
from seqkit.data.store import prepare
from seqkit.data.task_data import TaskData
from seqkit.encoders import gru
from seqkit.heads import classify
from seqkit.inference.evaluate import evaluate
from seqkit.inference.predict import predict
from seqkit.model import Model
from tests.helpers.dna import other_strand, pad_sequences, write_fasta

DNA = st.text(alphabet.LETTERS, min_size=1, max_size=80)


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
            ("AC-", "letter 3 is '-', a gap"),
            ("ACG*", r"letter 4 is '\*', the end of a protein"),
            ("ACQ", "letter 3 is 'Q', which is not a base; is this a protein"),
            ("AC GT", "letter 3 is ' '"),
            ("ACÅ", "letter 3 is 'Å'"),
            ("A" * 1500 + "7", "letter 1,501 is '7'"),
        ],
    )
    def test_what_is_no_base(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            alphabet.encode(text)

    def test_nothing_but_gaps(self) -> None:
        with pytest.raises(ValueError, match="has only gaps and no base"):
            alphabet.encode("--.", gaps="remove")


class TestFields:
    def test_bases_are_encoded_and_decoded(self) -> None:
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
        assert isinstance(layer, SequenceLayer)
        x, lengths = pad_sequences(field, texts)
        steps, counts = layer(x, lengths)
        for row, text in enumerate(texts):
            kmers = [text[i : i + k] for i in range(0, len(text) - k + 1, stride)] or ["too short"]
            assert counts[row] == len(kmers)
            ids = [2 + field.vocabulary.index(kmer) if kmer in field.vocabulary else 1 for kmer in kmers]
            torch.testing.assert_close(steps[row, : len(ids)], layer.steps.weight[ids])
            assert not steps[row, len(ids) :].any()

    def test_no_kmer_at_all(self) -> None:
        with pytest.raises(ValueError, match="training has no 3-mer at all"):
            Kmers(k=3).fit(["AC", "NNN"])

    def test_size_and_case(self) -> None:
        kept = Spelling("keep")
        assert [Bases().size, Bases(kept).size] == [4, 5]
        assert [Bases(probabilities=False).size, Bases(kept, probabilities=False).size] == [6, 11]


FIELDS: dict[str, Any] = {
    "one-hot": Bases(),
    "one-hot with case": Bases(Spelling("keep")),
    "letters": Bases(probabilities=False),
    "letters with case": Bases(Spelling("keep"), probabilities=False),
    "kmers": Kmers(k=3),
    "strided kmers": Kmers(k=4, stride=3),
    "scanned": Bases(scan=Scan(width=7)),
    "scanned, pooled": Bases(scan=Scan(width=8, filters=12, pool=3)),
    "scanned by few, in places": Bases(scan=Scan(width=4, filters=3), middle=9),
    "scanned letters": Bases(probabilities=False, scan=Scan(width=5, pool=4)),
    "scanned kmers": Kmers(k=2, scan=Scan(width=3, pool=2)),
}
TEXTS = ["ACGTNacgtRYK", "A", "GGATCCGTAAGTAC", "TTgacaATATAATGTCCAGT", "CA", "ACG"]


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
class TestLayer:
    def build(self, field: Any) -> tuple[Any, SequenceLayer]:
        torch.manual_seed(3)
        field = field.fit(TEXTS)
        layer = field.layer(10).eval()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return field, layer

    def test_padding_and_neighbours_change_nothing(self, field: Any) -> None:
        field, layer = self.build(field)
        together, lengths = layer(*pad_sequences(field, TEXTS))
        more, lengths_more = layer(*pad_sequences(field, TEXTS, extra=37))
        assert torch.equal(lengths, lengths_more)
        for row, text in enumerate(TEXTS):
            alone, (length,) = layer(*pad_sequences(field, [text]))
            assert lengths[row] == length == alone.shape[1]
            torch.testing.assert_close(together[row, :length], alone[0], rtol=0, atol=1e-6)
            torch.testing.assert_close(more[row, :length], alone[0], rtol=0, atol=1e-6)
            assert not more[row, length:].any()

    def test_what_is_behind_the_end_changes_nothing(self, field: Any) -> None:
        field, layer = self.build(field)
        x, lengths = pad_sequences(field, TEXTS, extra=5)
        steps, counts = layer(x, lengths)
        outside = torch.arange(x.shape[1]) >= lengths[:, None]
        dirty, again = layer(x.masked_fill(outside, 8), lengths)
        for row, (length, same) in enumerate(zip(counts, again, strict=True)):
            assert length == same
            torch.testing.assert_close(dirty[row, :length], steps[row, :length], rtol=0, atol=1e-6)

    def test_gradients_come_from_real_steps_only(self, field: Any) -> None:
        field, layer = self.build(field)
        x, lengths = pad_sequences(field, TEXTS, extra=11)
        (layer(x, lengths)[0] ** 2).sum().backward()
        many = [None if p.grad is None else p.grad.clone() for p in layer.parameters()]
        layer.zero_grad()
        for text in TEXTS:
            (layer(*pad_sequences(field, [text]))[0] ** 2).sum().backward()
        for one, parameter in zip(many, layer.parameters(), strict=True):
            assert one is not None
            assert parameter.grad is not None
            torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-4)

    def test_the_other_strand_is_that_of_the_text(self, field: Any) -> None:
        field, layer = self.build(field)
        x, lengths = pad_sequences(field, TEXTS)
        turned = layer.other_strand(x, lengths)
        wanted, _ = pad_sequences(field, [other_strand(text) for text in TEXTS])
        assert torch.equal(turned, wanted)
        assert torch.equal(layer.other_strand(turned, lengths), x)


class TestMiddlePositions:
    def test_threads_do_not_change_the_sum_of_gradients(self) -> None:
        """`weight[index]` adds its gradient up in whatever order threads come: no two runs were then alike."""
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            torch.manual_seed(1)
            positions, lengths = MiddlePositions(30, 64), torch.randint(40, 61, (32,))
            outer = torch.randn(32, 60, 64)
            gradients = set()
            for _ in range(20):
                positions.weight.grad = None
                (positions(lengths, 60, torch.device("cpu")) * outer).sum().backward()
                assert positions.weight.grad is not None
                gradients.add(positions.weight.grad.numpy().tobytes())
        finally:
            torch.set_num_threads(before)
        assert len(gradients) == 1


class TestScanners:
    def test_responses_equal_those_of_a_slow_reference(self) -> None:
        torch.manual_seed(0)
        field = Bases(scan=Scan(width=5, filters=3, pool=2))
        layer: Any = field.layer(3).eval()
        texts = ["ACGTTGCATTA", "GGC"]
        steps, lengths = layer(*pad_sequences(field, texts))
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
        positions = layer.places(torch.tensor([6, 3]), 6, torch.device("cpu"))[..., 0]
        assert positions.tolist() == [[1, 1, 2, 3, 4, 4], [2, 3, 4, 4, 4, 4]]


class TestStrands:
    def test_training_turns_about_half_and_only_in_training(self) -> None:
        field = Bases(strands="augment")
        layer: Any = field.layer(4)
        layer.project = torch.nn.Identity()
        x, lengths = pad_sequences(field, ["AACGT", "AC"] * 400)
        torch.manual_seed(0)
        steps, _ = layer.train()(x, lengths)
        turned, _ = layer.eval()(layer.other_strand(x, lengths), lengths)
        forward, _ = layer(x, lengths)
        is_turned = (steps == turned).all(dim=(1, 2))
        assert 330 < int(is_turned.sum()) < 470
        assert torch.equal(steps[~is_turned], forward[~is_turned])
        assert not any(field.layer(4).eval().views(x, lengths))

    def test_the_same_generator_turns_the_same(self) -> None:
        field = Bases(strands="both")
        layer: Any = field.layer(4).train()
        x, lengths = pad_sequences(field, ["AACGT"] * 50)
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
        predictions = predicted(options, texts)
        reverse = predicted(options, [other_strand(text) for text in texts])
        forward = predicted({**options, "strands": "given"}, texts)
        for one, other, alone in zip(predictions, reverse, forward, strict=True):
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
        path = write_fasta(tmp_path / "all.fa", [("ACGTTGCATTAGGACCA", "x"), ("TTGACAATAT", "y"), ("CCGTAAGTCA", "x")])
        task = genome(train=path, test=path, pattern="(?P<label>.)$", held_out=0.0, strands="average")
        stored = prepare(task, key="test", cache=tmp_path / "cache")
        model = small_model(stored.input, stored.target)
        data = TaskData("genome", task, stored.input, stored.target, stored.splits)
        outcome = evaluate(model, data, "test")
        lines = [("a", "ACGTTGCATTAGGACCA"), ("b", "TTGACAATAT"), ("c", "CCGTAAGTCA")]
        predictions = [p for _, _, p in predict(model, "genome", (task, stored.input, stored.target), lines)]
        for one, other in zip(outcome.predictions, predictions, strict=True):
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
