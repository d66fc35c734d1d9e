"""The reader locates problems, windows are around the sites, and the task keeps seqkit's contracts."""

from __future__ import annotations

from pathlib import Path

import pytest
from seqkit import DataError, Prediction
from seqkit.testing import TaskConformance

import splice_sites as package
from splice_sites import generate, splice_sites
from splice_sites.reading import genes
from splice_sites.scores import site_scores

#        1   5    10   15   20   25
BASES = "TTCAGGTAAGTCCTTTTCCAGGATGTC"
GOOD = f"sites 1\n# a gene\ngene G1\nbases {BASES[:10].lower()}\nbases {BASES[10:]}\n\ndonor 6\nacceptor 21\n"


class TestSpliceSites(TaskConformance):
    task = "splice-sites"


class TestSpliceSitesWithOtherWindows(TaskConformance):
    task = "splice-sites"
    options = {"flank": 3, "decoys": 2}
    head = {"use": "classify", "pool": "attention"}
    encoders = ({"use": "lstm", "hidden": 8, "bidirectional": True},)


def write(folder: Path, text: str) -> Path:
    path = folder / "train.sites"
    path.write_text(text)
    return path


def test_a_gene_is_read(tmp_path: Path) -> None:
    (gene,) = genes(write(tmp_path, GOOD))
    assert (gene.name, gene.line, gene.bases) == ("G1", 3, BASES)
    assert gene.donors == [(6, 7)]
    assert gene.acceptors == [(21, 8)]


def test_windows_are_around_sites_and_decoys(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    task = splice_sites(folder=tmp_path, flank=5)
    windows = [(example.input, example.target, example.id) for example in task.read("train")]
    assert windows == [
        ("TTCAG|GTAAG", "donor", "train.sites:7"),
        ("GGTAA|GTCCT", "neither", "train.sites:3 base 10, no donor"),
        ("TCCAG|GATGT", "acceptor", "train.sites:8"),
        ("TTCAG|GTAAG", "neither", "train.sites:3 base 5, no acceptor"),
    ]
    assert [example.target for example in splice_sites(folder=tmp_path, decoys=0).read("train")] == [
        "donor",
        "acceptor",
    ]
    assert task.parse is not None
    assert task.parse("  cag|gtaagt ") == "CAG|GTAAGT"


@pytest.mark.parametrize(
    ("text", "location", "reason"),
    [
        ("", "", "is empty"),
        ("ACGT\n", ":1:1", "not a list of splice sites"),
        ("sites 2\n", ":1:7", "newer than 1"),
        ("sites 1\n", "", "has no gene"),
        ("sites 1\nbases ACGT\n", ":2:1", "before the first gene"),
        ("sites 1\n\ngene\n", ":3:1", "nothing follows 'gene'"),
        ("sites 1\ngene A\nexon 5\n", ":3:1", "'exon' is not a keyword"),
        ("sites 1\ngene A\nbases ACGXT\n", ":3:10", "'X' is not a base"),
        ("sites 1\ngene A\nbases ACG ACG\n", ":3:10", "' ' is not a base"),
        ("sites 1\ngene A\nbases AGTC\ndonor two\n", ":4:7", "'two' is not a position"),
        ("sites 1\ngene A\nbases AGTC\n  donor 0\n", ":4:9", "'0' is not a position"),
        ("sites 1\ngene A\nbases AGTC\ndonor 7\n", ":4", "outside of the gene A, which has 4 bases"),
        ("sites 1\ngene A\nbases AGTC\ndonor 3\n", ":4", "an intron begins with GT or GC, not 'TC'"),
        ("sites 1\ngene A\nbases AGTC\nacceptor 1\n", ":4", "an intron ends with AG, not 'A'"),
        ("sites 1\ngene A\ngene B\nbases ACGT\n", ":2", "the gene A has no bases"),
        ("sites 1\ngene A\nbases ACGT\ngene A\nbases ACGT\n", ":4:6", "the gene A is repeated"),
    ],
)
def test_problems_are_located(tmp_path: Path, text: str, location: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError) as raised:
        list(genes(path))
    assert str(raised.value).startswith(f"{path}{location}: ")
    assert reason in str(raised.value)


def test_the_bundled_data_are_what_the_script_writes(tmp_path: Path) -> None:
    generate.main(tmp_path)
    for split in generate.SIZES:
        assert (tmp_path / f"{split}.sites").read_bytes() == (package.BUNDLED / f"{split}.sites").read_bytes()
        read = list(genes(tmp_path / f"{split}.sites"))
        assert len(read) == generate.SIZES[split]
        assert all(len(gene.donors) == len(gene.acceptors) == 1 for gene in read)


def test_only_true_sites_count_for_the_score() -> None:
    targets = ["donor", "donor", "acceptor", "neither", "neither"]
    predictions = [Prediction(value) for value in ("donor", "neither", "donor", "neither", "acceptor")]
    scores = site_scores(predictions, targets)
    assert scores["site_f1"] == pytest.approx(2 * 1 / (3 + 3))
    assert scores["site_f1.donor"] == pytest.approx(2 * 1 / (2 + 2))
    assert scores["site_f1.acceptor"] == 0.0
    assert scores["accuracy"] == pytest.approx(2 / 5)
    assert site_scores([Prediction("neither")] * 5, targets)["site_f1"] == 0.0
