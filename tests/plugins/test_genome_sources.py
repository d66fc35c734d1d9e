"""The task `genome`: folds, the generator, the user's files and published data."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import itertools
import lzma
import random
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from seqkit_genome import alphabet, generator, genome
from seqkit_genome.options import Signal
from seqkit_genome.sources import ENHANCERS, PROMOTERS, SPLICE, SequenceReader
from seqkit_genome.splits import Folds, SequenceIdentity

from seqkit import DataError, Example
from seqkit.data.store import prepare
from seqkit.reading import collect_reports
from tests.helpers.data import needs_data
from tests.helpers.dna import other_strand, write_fasta


class TestFolds:
    def examples(self) -> list[Example]:
        rng = random.Random(4)
        texts = ["".join(rng.choice("ACGT") for _ in range(20)) for _ in range(103)]
        rows = [(text, "ab"[i % 3 == 0]) for i, text in enumerate(texts)]
        rows += [(texts[0].lower(), "b"), (other_strand(texts[1]), "a"), (texts[2].replace("T", "U"), "a")]
        return [Example(text, label, f"x:{i}") for i, (text, label) in enumerate(rows)]

    def test_every_fold_has_its_share_of_every_class_and_no_sequence_is_in_two(self) -> None:
        examples = self.examples()
        folds = Folds.deal(examples, 10, SequenceIdentity())
        fold_of = [folds.of(example.input) for example in examples]
        assert set(Counter(fold_of[:103]).values()) <= {10, 11}
        of_a = Counter(fold for fold, example in zip(fold_of[:103], examples, strict=False) if example.target == "a")
        assert set(of_a.values()) <= {6, 7}
        assert fold_of[103:] == fold_of[:3]

    def test_notes_about_repeats_and_conflicts(self) -> None:
        examples = [*self.examples(), Example(self.examples()[0].input, "a", "x:106")]
        assert Folds.deal(examples, 10, SequenceIdentity()).notes == (
            "4 examples repeat the sequence of another; they stay in its fold",
            "1 example has another label than an earlier one of the same sequence: x:0 says b, x:106 says a",
        )

    def test_the_other_strand_is_another_sequence_by_choice(self) -> None:
        both, one = SequenceIdentity(), SequenceIdentity(strands=False)
        assert both.digest("AACG") == both.digest("cgtt") != both.digest("AACC")
        assert one.digest("AACG") != one.digest("CGTT")
        assert one.digest("AACG") == one.digest("aacg")

    def test_the_order_of_the_examples_is_irrelevant(self) -> None:
        examples = self.examples()[:103]
        assert (
            Folds.deal(examples, 7, SequenceIdentity()).fold_of
            == Folds.deal(examples[::-1], 7, SequenceIdentity()).fold_of
        )
        assert (
            Folds.deal(examples, 7, SequenceIdentity()).fold_of
            != Folds.deal(examples, 7, SequenceIdentity(seed=2)).fold_of
        )

    def test_more_folds_than_sequences(self) -> None:
        with pytest.raises(DataError, match="there are 103 different sequences, too few for 104 folds"):
            Folds.deal(self.examples(), 104, SequenceIdentity())
        assert sorted(Folds.deal(self.examples(), 103, SequenceIdentity()).fold_of.values()) == list(range(103)), (
            "leave one out"
        )

    def test_the_parts_of_a_fold(self, tmp_path: Path) -> None:
        rows = [(example.input, example.target) for example in self.examples()]
        path = write_fasta(tmp_path / "all.fa", rows)
        tests: list[str] = []
        for fold in range(5):
            task = genome(train=path, pattern="(?P<label>.)$", folds=5, fold=fold, held_out=0.2)
            parts = {split: [example.id for example in task.read(split)] for split in task.splits}
            assert sorted(itertools.chain(*parts.values())) == sorted(f"all.fa:{2 * i + 1}" for i in range(106))
            assert all(parts.values())
            keys = {s: {SequenceIdentity().digest(e.input) for e in task.read(s)} for s in task.splits}
            assert not keys["train"] & keys["test"]
            assert not keys["dev"] & (keys["train"] | keys["test"])
            tests += parts["test"]
        assert sorted(tests) == sorted(f"all.fa:{2 * i + 1}" for i in range(106)), "each is in test once"

    def test_the_task_has_the_notes(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path / "all.fa", [("ACGTACCC", "x"), ("ACGTACCC", "y"), ("GGGG", "y"), ("TTTA", "x")])
        task = genome(train=path, pattern="(?P<label>.)$", folds=2)
        assert task.notes is not None
        assert any("all.fa:1 says x, all.fa:3 says y" in note for note in task.notes())


class TestGenerator:
    @pytest.mark.parametrize("signal", ["splice", "promoter"])
    def test_the_same_windows_each_time_and_none_twice(self, signal: Signal) -> None:
        stored = {split: list(generator.windows(signal, split, 1500, seed=1)) for split in ("train", "dev", "test")}
        assert list(generator.windows(signal, "dev", 200, seed=1)) == stored["dev"][:200]
        assert list(generator.windows(signal, "dev", 200, seed=2)) != stored["dev"][:200]
        texts = [text for windows in stored.values() for text, _ in windows]
        assert len(set(texts)) == 4500

    def test_pinned(self) -> None:
        """The scores that recipes promise are of these windows."""
        assert next(generator.windows("splice", "train", 1, seed=1)) == PINNED["splice"]
        assert next(generator.windows("promoter", "train", 1, seed=1)) == PINNED["promoter"]

    @pytest.mark.parametrize("site", ["EI", "IE"])
    def test_sites_have_the_frequencies_of_their_matrix(self, site: str) -> None:
        windows = [text for text, label in generator.windows("splice", "train", 8000, seed=1) if label == site]
        start = generator.JUNCTION - generator.BEFORE[site]
        for position, column in enumerate(zip(*generator.SITES[site], strict=True)):
            counts = Counter(text[start + position] for text in windows)
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
        forward = sum("TATAAA" in text for text in windows)
        reverse = sum("TTTATA" in text for text in windows)
        assert 0.8 < forward / reverse < 1.25
        assert all(60 <= len(text) <= 120 for text in windows)


PINNED = {
    "splice": ("TTATGAACCCCTATACTACTCCGGTATGCAGTCTTTTCGGACCTGGAATGGGGAGATCCT", "N"),
    "promoter": (
        "ATATAAAAACAAGTTTTCCCTGTGACCGCAGTCATAGTGTCCAGACGCTCGAAGTGCCGGTCGCGTTGGACCAGTAAGATTGCACCCCCCACTTCCATGGTTTTACTT"
        "AAAAATA",
        "TATA",
    ),
}


class TestFiles:
    ROWS = (("ACGTACGTAA", "x"), ("GGGTTTCCCA", "y"), ("TTTTTTTACC", "x"))

    def read(self, **options: Any) -> list[tuple[Any, Any]]:
        options = {"held_out": 0.0, **options}
        return [(example.input, example.target) for example in genome(**options).read("train")]

    @pytest.mark.parametrize("name", ["x.fa", "x.fasta.gz"])
    def test_class_from_the_header(self, tmp_path: Path, name: str) -> None:
        path = write_fasta(tmp_path / name, list(self.ROWS))
        assert self.read(train=path, pattern=r"(?P<label>\w)$") == list(self.ROWS)

    def test_header_without_a_class(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path / "x.fa", [("ACGT", "x"), ("ACG", "-")])
        with pytest.raises(DataError, match=r"x\.fa:3: the pattern finds no class in the header 'r1 -'"):
            self.read(train=path, pattern=r"(?P<label>[a-z])$")

    def test_one_file_a_class(self, tmp_path: Path) -> None:
        one = write_fasta(tmp_path / "one.txt", [("ACGT", ""), ("AA", "")], ends="\r\n")
        two = write_fasta(tmp_path / "two.txt", [("CC", "")])
        examples = self.read(train={"x": one, "y": two}, format="fasta")
        assert examples == [("ACGT", "x"), ("AA", "x"), ("CC", "y")]

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
        with pytest.raises(DataError, match=r"x\.data:2: has 2 columns, but three are expected"):
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

    def test_held_out_by_hash_with_repeats_in_one_split(self, tmp_path: Path) -> None:
        rng = random.Random(1)
        texts = ["".join(rng.choice("ACGT") for _ in range(12)) for _ in range(300)]
        rows = [(text, "x") for text in texts] + [(other_strand(text).lower(), "x") for text in texts]
        task = genome(train=write_fasta(tmp_path / "x.fa", rows), pattern="(?P<label>x)", held_out=0.2)
        parts = {split: [example.input for example in task.read(split)] for split in ("train", "dev")}
        assert len(parts["train"]) + len(parts["dev"]) == 600
        assert 80 < len(parts["dev"]) < 160
        turned = {other_strand(text.upper()) for text in parts["dev"]}
        assert turned == {text.upper() for text in parts["dev"]}

    def test_bad_records_are_all_reported_or_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "x.fa"
        path.write_text(">a x\nACGT\n>b y\nAC*T\n>c y\n>d y\nGGGT\n>e y\nMKL\n")
        options: dict[str, Any] = {"train": path, "pattern": "(?P<label>.)$", "held_out": 0.0}
        with pytest.raises(DataError) as raised:
            prepare(genome(**options), key="a", cache=tmp_path / "cache")
        lines = str(raised.value).splitlines()
        assert lines[0].startswith("x.fa:3: input has in line 4, column 3, '*'")
        assert lines[1] == "x.fa:5: input has no sequence"
        assert lines[2].startswith("x.fa:8: input has in line 9, column 3, 'L'")
        kept = prepare(genome(**options, bad_inputs="quarantine"), key="b", cache=tmp_path / "cache")
        report = kept.splits["train"].report
        assert (report.examples, report.quarantined) == (2, 3)

    def test_ambiguous_bases_are_counted(self, tmp_path: Path) -> None:
        path = write_fasta(tmp_path / "x.fa", [("ACGN", "x"), ("RYAC", "y")])
        task = genome(train=path, pattern="(?P<label>.)$", held_out=0.0)
        stored = prepare(task, key="c", cache=tmp_path / "cache")
        assert stored.splits["train"].report.unknown == 3
        assert stored.splits["train"].x.data.dtype == np.uint8, "a byte a base"


@needs_data
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

    def test_every_base_can_be_read_and_ambiguous_ones_are_counted(self) -> None:
        task = genome(source="splice-junction")
        codes = [task.input.encode(example.input) for split in task.splits for example in task.read(split)]
        assert {len(sequence) for sequence in codes} == {60}
        assert sum(task.input.count_unknown(sequence) for sequence in codes) == 60

    def test_notes_about_repeats_and_the_contradiction(self) -> None:
        task = genome(source="splice-junction", same_strands=False)
        assert task.notes is not None
        repeats, contradiction = task.notes()
        assert repeats.startswith("185 examples repeat the sequence of another")
        assert contradiction.startswith("1 example has another label")
        assert contradiction.count("splice.data:") == 2

    def test_folds_do_not_share_a_sequence(self) -> None:
        seen: dict[bytes, int] = {}
        for fold in range(10):
            test = list(genome(source="splice-junction", fold=fold).read("test"))
            assert 300 < len(test) < 340
            for example in test:
                assert seen.setdefault(SequenceIdentity().digest(example.input), fold) == fold

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


class TestLimit:
    """The best possible accuracy on the generated windows, by the likelihoods of the matrices they are drawn from."""

    @staticmethod
    def ratio(window: str, site: str, junction: int) -> float:
        """Likelihood of the window with this site here, divided by that of random bases."""
        start = junction - generator.BEFORE[site]
        ratio = 1.0
        for position, column in enumerate(zip(*generator.SITES[site], strict=True), start):
            if 0 <= position < generator.WINDOW:
                ratio *= 4 * column["ACGT".index(window[position])] / sum(column)
        return ratio

    def best(self, window: str) -> str:
        shares = {site: 0.25 * self.ratio(window, site, 30) for site in ("EI", "IE")}
        elsewhere = [
            self.ratio(window, site, 30 + sign * distance)
            for site in ("EI", "IE")
            for distance in range(5, 14)
            for sign in (1, -1)
        ]
        core = 0.15 * 16 * (window[30:32] == "GT") + 0.15 * 16 * (window[28:30] == "AG")
        shares["N"] = 0.5 * (0.4 + 0.3 * sum(elsewhere) / len(elsewhere) + core)
        return max(shares, key=lambda label: shares[label])

    def test_splice(self) -> None:
        windows = list(generator.windows("splice", "test", 2000, seed=1))
        assert sum(self.best(text) == label for text, label in windows) / 2000 == 0.9345, "the recipe quotes it"


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".gz", gzip.compress),
        (".bgz", gzip.compress),
        (".xz", lzma.compress),
        (".bz2", bz2.compress),
        ("", lzma.compress),
    ],
)
@pytest.mark.parametrize(("name", "content"), [("a.fa", b">x\nACGT\n"), ("a.tsv", b"ACGT\tc\n")])
def test_compression_is_known_by_content(name: str, content: bytes, suffix: str, compress: Any, tmp_path: Path) -> None:
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(compress(content))
    (example,) = SequenceReader().read(path, "c")
    assert (str(example.input), example.target) == ("ACGT", "c")


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        ("sequence\tlabel", True),
        ("seq\tclass", True),
        ("site\tkind", True),
        ("dna\tclass", True),
        ("RNA\tclass", True),
        ("cDNA\tclass", True),
        ("GDNAA\tclass", False),
        ("TRNAC\tclass", False),
        ("ACGTN\tx", False),
        ("acgrykm\tx", False),
    ],
)
def test_a_header_is_guessed_and_told(first: str, is_header: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"{first}\nACGT\tx\n", encoding="utf-8")
    with collect_reports() as reading:
        examples = list(SequenceReader().read(path, None))
    assert [example.id for example in examples] == (["a.tsv:2"] if is_header else ["a.tsv:1", "a.tsv:2"])
    assert reading.tables["a.tsv"].header == is_header
    told = ["the first line of a.tsv is taken for a header, as it holds no sequence; `header` says it for certain"]
    assert reading.remarks == (told if is_header else [])
    assert len(list(SequenceReader().read_inputs(path))) == len(examples)
    assert len(list(SequenceReader(header=False).read(path, None))) == 2


@pytest.mark.skipif(importlib.util.find_spec("Bio") is None, reason="needs the extra `genome`")
def test_what_is_passed_over_in_fasta_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">one\nAC-GT\n\n; a comment\n# another\n>two\nA..C\n")
    reader = SequenceReader(gaps="remove")
    with collect_reports() as reading:
        assert len(list(reader.read(path, "x"))) == 2
    assert {kind: (things.count, things.first) for kind, things in reading.left_out.items()} == {
        "blank line": (1, "a.fa:3"),
        "comment line (; or #)": (2, "a.fa:4"),
        "gap in a sequence": (3, "a.fa:1"),
    }


def test_what_is_passed_over_in_tables_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.data").write_text("EI,one,ACGT\n\nIE,two,ACGT\n")
    with collect_reports() as reading:
        assert len(list(SequenceReader().read(tmp_path / "a.data", None))) == 2
    assert reading.left_out["blank line"].first == "a.data:2"
    assert reading.tables["a.data"].unused == (2,)
    (tmp_path / "a.csv").write_text("ACGT,x\nAAAA,y\n")
    with collect_reports() as reading:
        assert {example.target for example in SequenceReader().read(tmp_path / "a.csv", "EI")} == {"EI"}
    assert reading.tables["a.csv"].unused == (2,)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"dev": "a.csv", "test": "a.csv"}, "by file"),
        ({}, "0.1 of train is dev, chosen by a hash of the sequence (a sequence, its repeats and its reverse"),
        ({"test": "a.csv", "held_out": 0.25}, "by file; 0.25 of train is dev, chosen by a hash of the sequence"),
        ({"folds": 3, "fold": 1, "held_out": 0.5}, "fold 1 of 3 is test, with its share of each class; 0.5 of train"),
    ],
)
def test_the_split_rule_is_told(options: dict[str, Any], rule: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(f"{'ACGT'[n % 4] * (n + 2)},{'xy'[n % 2]}\n" for n in range(20)) + "\n")
    files = {name: tmp_path / value if name in ("dev", "test") else value for name, value in options.items()}
    task = genome(train=tmp_path / "a.csv", **files)
    for split in task.splits:
        with collect_reports() as reading:
            assert list(task.read(split))
        assert [found[: len(rule)] for found in reading.split_rules] == [rule]
        # The file is read twice to deal out folds, but what is left out counts once.
        assert reading.left_out["blank line"].count == 1


class TestFolders:
    """A folder with a file or folders for each class."""

    @staticmethod
    def examples(folder: Path, **options: Any) -> list[tuple[Any, Any, str]]:
        task = genome(train=folder, held_out=0.0, **options)
        return [(str(example.input), example.target, example.id) for example in task.read("train")]

    @pytest.mark.skipif(importlib.util.find_spec("Bio") is None, reason="needs the extra `genome`")
    def test_files_and_nested_folders(self, tmp_path: Path) -> None:
        for name, text in {
            "human/exon/a.fa": ">r\nACGT\n",
            "human/exon/b.fa": ">r\nAC\n>s\nGG\n",
            "human/intron/a.fa.gz": ">r\nTTT\n",
            "worm/exon/a.fasta": ">r\nCCC\n",
            "other.fna": ">r\nAAA\n",
        }.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        (tmp_path / "README.md").write_text("x")
        (tmp_path / "worm/.hidden.fa").write_text(">r\nA\n")
        (tmp_path / "again").symlink_to(tmp_path / "worm")
        assert self.examples(tmp_path) == [
            ("ACGT", "human/exon", "human/exon/a.fa:1"),
            ("AC", "human/exon", "human/exon/b.fa:1"),
            ("GG", "human/exon", "human/exon/b.fa:3"),
            ("TTT", "human/intron", "human/intron/a.fa.gz:1"),
            ("AAA", "other", "other.fna:1"),
            ("CCC", "worm/exon", "worm/exon/a.fasta:1"),
        ]
        (tmp_path / "again").unlink()
        with collect_reports() as reading:
            classes = [target for _, target, _ in self.examples(tmp_path)]
        assert classes == ["human/exon", "human/exon", "human/exon", "human/intron", "other", "worm/exon"]
        assert {kind: things.first for kind, things in reading.left_out.items()} == {
            "file that is not text (.md)": "README.md",
            "hidden file": "worm/.hidden.fa",
        }
        (tmp_path / "zz").symlink_to(tmp_path / "human")
        with collect_reports() as reading:
            assert len(self.examples(tmp_path)) == 6
        assert reading.left_out["folder that is a link to one that is read already"].first == "zz"

    def test_tables_without_a_class(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a/1.tsv").write_text("ACGT\nGG\n")
        (tmp_path / "a/2.txt").write_text("CC\n")
        assert self.examples(tmp_path) == [("ACGT", "a", "a/1.tsv:1"), ("GG", "a", "a/1.tsv:2")]
        assert len(self.examples(tmp_path, format="tsv")) == 3

    def test_a_folder_without_sequences(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("x")
        with pytest.raises(DataError, match="has no file of sequences; it should have a file or a folder for each"):
            self.examples(tmp_path)

    def test_the_files_are_those_that_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "train/x").mkdir(parents=True)
        (tmp_path / "train/x/1.tsv").write_text("ACGT\n")
        task = genome(train=tmp_path / "train", held_out=0.0)
        assert task.files is not None
        assert list(task.files("train")) == [tmp_path / "train/x/1.tsv"]
        assert task.read_file is not None
        others = [(example.input, example.target) for example in task.read_file(tmp_path / "train", None, True)]
        assert others == [("ACGT", "x")]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "ACGT;x\nGG;y\n", {"separator": "semicolon"}),
        ("a.txt", "ACGT  x\nGG\ty\n", {"separator": "blanks", "format": "tsv"}),
        ("a.tsv", '"ACGT"\t"x"\n"GG"\t"y"\n', {"quoting": True}),
        ("a.jsonl", '{"label": "x", "sequence": "ACGT"}\n{"label": "y", "sequence": "GG"}\n', {}),
        ("a.json", '[{"s": "ACGT", "c": "x"},\n {"s": "GG", "c": "y"}]\n', {"sequence": "s", "label": "c"}),
        ("a.csv", "seq,kind\nACGT,x\nGG,y\n", {}),
        ("a.csv", "id,seq,kind\n1,ACGT,x\n2,GG,y\n", {"sequence": 2, "label": 3}),
    ],
)
def test_tables_in_any_format(name: str, content: str, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    task = genome(train=tmp_path / name, held_out=0.0, **options)
    assert [(example.input, example.target) for example in task.read("train")] == [("ACGT", "x"), ("GG", "y")]
    assert task.read_file is not None
    others = [example.input for example in task.read_file(tmp_path / name, None, False)]
    assert others == ["ACGT", "GG"]


def test_latin_1_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("ACGT,größer\n".encode("latin-1"))
    task = genome(train=tmp_path / "a.csv", held_out=0.0, encoding="latin-1")
    assert [example.target for example in task.read("train")] == ["größer"]
    with pytest.raises(DataError, match=r"a\.csv:1:8"):
        list(genome(train=tmp_path / "a.csv", held_out=0.0).read("train"))
