"""FASTA and FASTQ: what is read, what is refused, and how much memory it takes."""

from __future__ import annotations

import contextlib
import gzip
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqkit_genome import alphabet
from seqkit_genome.fasta import Flaw, Record, read_fasta, read_fastq

from seqkit import DataError, MissingExtra, readers

pytest.importorskip("Bio")

READERS: dict[str, Callable[..., Iterator[Record]]] = {"fasta": read_fasta, "fastq": read_fastq}


def write(folder: Path, content: bytes, name: str = "x.fa") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def sequences(path: Path, **options: object) -> list[str | Flaw]:
    return [record.sequence for record in read_fasta(path, **options)]  # type: ignore[arg-type]


# name, bytes of the file, the sequences read from it
ACCEPTED: list[tuple[str, bytes, list[str]]] = [
    ("plain", b">a\nACGT\n>b\nTTT\n", ["ACGT", "TTT"]),
    ("wrapped", b">a\nACGT\nAC\n\n>b\nTTT\n", ["ACGTAC", "TTT"]),
    ("no end of line at the end", b">a\nACGT", ["ACGT"]),
    ("CR LF", b">a\r\nACGT\r\nAC\r\n>b\r\nTT", ["ACGTAC", "TT"]),
    ("mixed line ends", b">a\r\nACGT\nAC\r\n", ["ACGTAC"]),
    ("byte order mark", b"\xef\xbb\xbf>a\nACGT\n", ["ACGT"]),
    ("byte order mark and CR LF", b"\xef\xbb\xbf>a\r\nACGT\r\n", ["ACGT"]),
    ("blank lines", b"\n\n>a\n\nACGT\n\n\nAC\n\n", ["ACGTAC"]),
    ("comment before the first record", b"; of 1985\n# and later\n>a\nACGT\n", ["ACGT"]),
    ("comments inside", b">a\nAC\n; here\nGT\n# there\n>b\nTT\n", ["ACGT", "TT"]),
    ("white space at the end of a line", b">a\nACGT  \t\nAC \n", ["ACGTAC"]),
    ("all fifteen letters", b">a\nACGTRYSWKMBDHVN\n", ["ACGTRYSWKMBDHVN"]),
    ("lower case", b">a\nacgtN\n", ["acgtN"]),
    ("RNA", b">a\nACGUu\n", ["ACGUu"]),
    ("header in UTF-8", ">a möwe\nACGT\n".encode(), ["ACGT"]),
    ("header with a sign inside", b">a > b ; c\nACGT\n", ["ACGT"]),
    ("one base", b">a\nA\n", ["A"]),
]

# name, bytes, which line the record begins at, what is wrong with it
FLAWED: list[tuple[str, bytes, int, str]] = [
    ("gap", b">a\nAC-GT\n", 1, "has in line 2, column 3, '-', a gap; set gaps: remove"),
    ("gap as a point", b">a\nACGT\nA.C\n", 1, "has in line 3, column 2, '.', a gap"),
    ("end of a protein", b">a\nACGT*\n", 1, "has in line 2, column 5, '*', the end of a protein"),
    ("protein", b">p\nMKVLAE\n", 1, "has in line 2, column 4, 'L', which is not a base; is this a protein?"),
    ("X", b">a\nACGX\n", 1, "column 4, 'X'"),
    ("digit", b">a\n1 ACGT\n", 1, "column 1, '1', which is not a base"),
    ("blank inside", b">a\nAC GT\n", 1, "column 3, ' '"),
    ("tab inside", b">a\nAC\tGT\n", 1, r"column 3, '\t'"),
    ("carriage return inside", b">a\nAC\rGT\n", 1, r"column 3, '\r'"),
    ("sign inside", b">a\nAC>GT\n", 1, "column 3, '>'"),
    ("letter beyond ASCII", ">a\nACÅGT\n".encode(), 1, "column 3, 'Å'"),
    ("byte that is no text", b">a\nAC\xffGT\n", 1, "column 3, '\ufffd'"),
    ("empty record", b">a\n>b\nACGT\n", 1, "has no sequence"),
    ("empty record at the end", b">b\nACGT\n>a\n", 3, "has no sequence"),
    ("record of a comment only", b">a\n; nothing\n>b\nAC\n", 1, "has no sequence"),
    ("no name", b">\nACGT\n", 1, "has no name"),
    ("name of blanks", b">  \nACGT\n", 1, "has no name"),
]

# format, name, bytes, the error
REFUSED: list[tuple[str, str, bytes, str]] = [
    ("fasta", "empty file", b"", r"x\.fa: is empty"),
    ("fasta", "byte order mark alone", b"\xef\xbb\xbf", r"x\.fa: is empty"),
    ("fasta", "blank lines only", b"\n\n", r"x\.fa: has no record"),
    ("fasta", "comments only", b"; a\n", r"x\.fa: has no record"),
    ("fasta", "NUL in a sequence", b">a\nAC\0GT\n", r"x\.fa:2:3: has a NUL character"),
    ("fasta", "NUL in a header", b">a\0\nACGT\n", r"x\.fa:1:3: has a NUL character"),
    ("fasta", "UTF-16", ">a\nAC\n".encode("utf-16"), r"x\.fa:1:1: is UTF-16"),
    ("fasta", "text first", b"hello\n>a\nAC\n", r"x\.fa:1:1: has text before the first record, which begins with >"),
    ("fasta", "FASTQ", b"@a\nACGT\n+\nIIII\n", r"x\.fa:1:1: has text before the first record.*is it FASTQ\?"),
    ("fasta", "a name twice", b">a x\nAC\n>b\nGG\n>a y\nTT\n", r"x\.fa:5: has the name 'a' of line 1"),
    ("fasta", "CR alone", b">a\rACGT\r>b\rTT\r", r"x\.fa:1:3: has a carriage return inside of a header"),
    ("fasta", "header in Latin 1", b">m\xf6we\nACGT\n", r"x\.fa:1:3: byte 0xf6 is not UTF-8"),
    ("fasta", "endless header", b">" + b"a" * 70_000 + b"\nAC\n", r"x\.fa:1: has a header of more than 65,536 bytes"),
    ("fastq", "FASTA", b">a\nACGT\n", r"x\.fa:1:1: has text before the first record; a record begins with @"),
    ("fastq", "no quality", b"@a\nACGT\n", r"x\.fa:2: the record of line 1 is cut off"),
    ("fastq", "cut off", b"@a\nACGT\n+\nII\n", r"x\.fa:4: the record of line 1 is cut off"),
    ("fastq", "quality too long", b"@a\nACGT\n+\nIIIII\n", r"x\.fa:4:1: has 5 qualities for the 4 bases of line 1"),
    ("fastq", "quality goes on", b"@a\nACGT\n+\nIIII\nI\n", r"x\.fa:5:1: has a quality longer than its sequence"),
    ("fastq", "two titles", b"@a\nACGT\n+b\nIIII\n", r"x\.fa:3: sequence and quality captions differ"),
    ("fastq", "a name twice", b"@a\nAC\n+\nII\n@a\nGG\n+\nII\n", r"x\.fa:5: has the name 'a' of line 1"),
]


@pytest.mark.parametrize(("content", "wanted"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_read(tmp_path: Path, content: bytes, wanted: list[str], packed: bool) -> None:
    path = write(tmp_path, gzip.compress(content) if packed else content, "x.fa.gz" if packed else "x.fa")
    assert sequences(path) == wanted


@pytest.mark.parametrize(("content", "line", "reason"), [case[1:] for case in FLAWED], ids=[case[0] for case in FLAWED])
def test_what_is_wrong_with_a_record_is_kept_with_it(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    records = {record.line: record.sequence for record in read_fasta(write(tmp_path, content))}
    flaw = records.pop(line)
    assert isinstance(flaw, Flaw)
    assert reason in flaw.what
    assert all(isinstance(sequence, str) for sequence in records.values()), "the others are read"


@pytest.mark.parametrize(
    ("form", "content", "message"), [(c[0], *c[2:]) for c in REFUSED], ids=[f"{c[0]}, {c[1]}" for c in REFUSED]
)
def test_what_is_refused_and_where(tmp_path: Path, form: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(READERS[form](write(tmp_path, content)))


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b">a\n" + b"ACGT" * 1000 + b"\n")
    with pytest.raises(DataError, match=r"x\.fa\.gz:\d+: damaged gzip"):
        list(read_fasta(write(tmp_path, packed[:-12], "x.fa.gz")))


def test_titles_lines_and_names(tmp_path: Path) -> None:
    path = write(tmp_path, b"; c\n>chr1 first of all\nAC\nGT\n\n>chr2\nTT\n")
    assert list(read_fasta(path)) == [Record("chr1 first of all", "ACGT", 2), Record("chr2", "TT", 6)]


def test_gaps_by_choice(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nAC--G.T\n")
    assert sequences(path, gaps="remove") == sequences(path, gaps="unknown") == ["AC--G.T"]
    assert alphabet.decode(alphabet.encode("AC--G.T", gaps="remove")) == "ACGT"
    assert alphabet.decode(alphabet.encode("AC--G.T", gaps="unknown")) == "ACNNGNT"
    flaw = sequences(write(tmp_path, b">a\nAC-*\n"), gaps="remove")[0]
    assert isinstance(flaw, Flaw)
    assert "column 4, '*'" in flaw.what


def test_a_repeated_name_by_choice(tmp_path: Path) -> None:
    path = write(tmp_path, b">a x\nAC\n>a y\nTT\n")
    assert sequences(path, names="allow") == ["AC", "TT"]


def test_many_repeated_names_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nAC\n" * 40)
    with pytest.raises(DataError, match="and 19 more") as raised:
        list(read_fasta(path))
    assert len(raised.value.problems) == 21


class TestFastq:
    def test_four_lines_a_record(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"@r1 x\nACGT\n+\nIIII\n@r2\r\nNN\r\n+r2\r\n@+\r\n")
        assert list(read_fastq(path)) == [Record("r1 x", "ACGT", 1), Record("r2", "NN", 5)]

    def test_wrapped_with_signs_as_qualities(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"@r1\nACGT\nAC\n+\n@+;#\n@!\n@r2\nGG\n+\n+@\n")
        assert [record.sequence for record in read_fastq(path)] == ["ACGTAC", "GG"]

    def test_flaws(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"@r1\nAC*T\n+\nIIII\n@r2\n\n+\n\n@r3\nAC\n+\nI\x7f\n")
        bad, empty, quality = [record.sequence for record in read_fastq(path)]
        assert bad == Flaw("has in line 2, column 3, '*', the end of a protein, but DNA or RNA is expected")
        assert empty == Flaw("has no sequence")
        assert quality == Flaw("has in line 12, column 2, a character that is not a quality")

    def test_an_empty_record_at_the_end_of_the_file(self, tmp_path: Path) -> None:
        for end in (b"", b"\n"):
            path = write(tmp_path, b"@r1\nAC\n+\nII\n@r2\n\n+\n" + end)
            assert [record.sequence for record in read_fastq(path)] == ["AC", Flaw("has no sequence")]


class TestMemory:
    """Peak of the resident memory, measured in a separate process."""

    @staticmethod
    def peak(code: str, path: Path) -> tuple[float, str]:
        """(MB above what the imports take, what was printed)."""
        before = (
            "import resource, sys, Bio.SeqIO.QualityIO; from pathlib import Path; from seqkit_genome.fasta import *;"
        )
        before += "mb = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; first = mb(); "
        script = f"{before} path = Path(sys.argv[1]); {code}; print(mb() - first, bases)"
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        used, printed = done.stdout.split(maxsplit=1)
        return float(used), printed.strip()

    def test_it_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        used = []
        for records in (2_000, 40_000):
            path = tmp_path / f"{records}.fa"
            with path.open("wb") as file:
                for number in range(records):
                    file.write(b">r%d\n%b\n" % (number, b"ACGTACGTAC" * 60))
            megabytes, bases = self.peak("bases = sum(len(r.sequence) for r in read_fasta(path))", path)
            assert bases == str(600 * records)
            used.append(megabytes)
        assert used[1] < used[0] + 4, "24 MB more of file"

    @pytest.mark.slow
    def test_a_file_of_a_gigabyte(self, tmp_path: Path) -> None:
        path = tmp_path / "large.fa"
        with path.open("wb") as file:
            for number in range(1_000):
                file.write(b">chr%d\n" % number + (b"ACGT" * 20 + b"\n") * 12_500)
        assert path.stat().st_size > 1_000_000_000
        used, bases = self.peak("bases = sum(len(r.sequence) for r in read_fasta(path))", path)
        path.unlink()
        assert bases == str(10**9)
        assert used < 50

    def test_a_line_of_a_hundred_megabytes(self, tmp_path: Path) -> None:
        path = tmp_path / "line.fa"
        with path.open("wb") as file:
            file.write(b">a\n")
            for _ in range(100):
                file.write(b"ACGTN" * 200_000)
        used, bases = self.peak("bases = sum(len(r.sequence) for r in read_fasta(path))", path)
        assert bases == str(10**8)
        assert used < 400

    def test_a_flaw_far_out_on_a_long_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, b">a\n" + b"A" * 3_000_000 + b">*\n>b\nAC\n")
        flaw, other = sequences(path)
        assert isinstance(flaw, Flaw)
        assert "line 2, column 3,000,001, '>'" in flaw.what
        assert other == "AC"

    def test_a_record_that_is_too_long_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("seqkit_genome.fasta.LONGEST", 10)
        path = write(tmp_path, b">a\nACGTACGTAC\n>b\nACGTACGT\nACG\n")
        with pytest.raises(DataError, match=r"x\.fa:5: the record of line 3 has more than 10 bases"):
            list(read_fasta(path))


class TestPieces:
    """`seqkit.readers.pieces`, which the readers use."""

    def test_lines_in_pieces_are_the_file_again(self, tmp_path: Path) -> None:
        content = b"ab\r\ncdefgh\n\nx\r\nyz"
        for size in (1, 2, 3, 4, 100):
            pieces = list(readers.pieces(write(tmp_path, content), size))
            assert b"".join(piece.raw for piece in pieces) == content
            assert [piece.number for piece in pieces if piece.begins] == [1, 2, 3, 4, 5]
            assert all(not piece.raw.endswith(b"\r") for piece in pieces)

    def test_the_mark_is_skipped_at_the_start_only(self, tmp_path: Path) -> None:
        mark = b"\xef\xbb\xbf"
        lines = [piece.raw for piece in readers.pieces(write(tmp_path, mark + b"a\n" + mark + b"b\n"))]
        assert lines == [b"a\n", mark + b"b\n"]


def test_without_biopython_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Bio.SeqIO.FastaIO", None)
    with pytest.raises(MissingExtra, match=r'pip install "seqkit\[genome\]"'):
        list(read_fasta(write(tmp_path, b">a\nAC\n")))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b">a\n",
                b">b c\n",
                b"@r\n",
                b"+\n",
                b"ACGT\n",
                b"II\n",
                b"\n",
                b"; x\n",
                b"N",
                b"-",
                b"*",
                b"\r",
                b"\0",
                b"\xff",
                b" ",
                b"\xef\xbb\xbf",
            ]
        ),
        max_size=12,
    ),
    st.sampled_from(["fasta", "fastq"]),
)
def test_whatever_the_bytes_only_data_errors_leave_the_reader(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], form: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "x.fa"
    path.write_bytes(b"".join(parts))
    records: list[Record] = []
    with contextlib.suppress(DataError):
        records = list(READERS[form](path, names="allow"))
    for record in records:
        assert record.sequence
        if isinstance(record.sequence, str):
            assert set(record.sequence) <= set("ACGTN")


def test_biopython_reads_the_same(tmp_path: Path) -> None:
    """Where a file is in order, the records are those of Bio.SeqIO."""
    from Bio import SeqIO

    rng = random.Random(1)
    lines = []
    for number in range(50):
        lines.append(f">r{number} of 50")
        lines += ["".join(rng.choice(alphabet.LETTERS) for _ in range(rng.randint(1, 70))) for _ in range(3)]
    path = write(tmp_path, "\n".join(lines).encode() + b"\n")
    with path.open() as file:
        wanted = [(record.description, str(record.seq)) for record in SeqIO.parse(file, "fasta")]
    assert [(record.title, record.sequence) for record in read_fasta(path)] == wanted
    assert len(wanted) == 50


def test_hundreds_of_cases() -> None:
    """The list of what a reader of sequences meets is as long as it should be."""
    assert len(ACCEPTED) + len(FLAWED) + len(REFUSED) >= 40
    assert np.unique([case[0] for case in ACCEPTED]).size == len(ACCEPTED)
