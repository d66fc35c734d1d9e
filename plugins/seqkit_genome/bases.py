"""Language models of genomes, base by base: the task `genome-bases`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, final

from seqkit import Count, DataError, Dataset, Example, File, Flaw, Next, Problem, Share, Task, Tokens, UsageError, fetch
from seqkit.readers import shard_files
from seqkit.reading import report_split_rule
from seqkit_genome.alphabet import decode, encode, reverse_complement
from seqkit_genome.fasta import read_fasta

ECOLI: Final = Dataset(
    "genome/ecoli_k12",
    (
        File(
            "GCF_000005845.2_ASM584v2_genomic.fna.gz",
            "https://raw.githubusercontent.com/iankorf/MCB185/fc3c33ed5dacad55e15ba971178b42b08bff2825/data"
            "/GCF_000005845.2_ASM584v2_genomic.fna.gz",
            "254606e2722f64ca0906dfc1d41bceac41be72c335627c23f831b007939c8a48",
            1_424_935,
        ),
    ),
    licence="free of restrictions (RefSeq)",
    about="Escherichia coli K-12 MG1655 (NC_000913.3), 4,641,652 bases",
)
LAMBDA: Final = Dataset(
    "genome/lambda_phage",
    (File("lambda_virus.fa.gz", None, "9e9bbd2c275a3a98be4409f25044ba7d430b6a10554f1ff066ee07967a32efa9", 15_444),),
    licence="free of restrictions (RefSeq)",
    about="Enterobacteria phage lambda (NC_001416.1), 48,502 bases",
    by_hand="lambda_virus.fa of github.com/pexca/DNA_sequencing, compressed with gzip -n",
)
FilePaths: TypeAlias = Path | tuple[Path, ...]
"""A file, a pattern, or several of those."""

DATASETS: Final = {"ecoli": ECOLI, "lambda": LAMBDA}


def genome_bases(
    *,
    source: Literal["ecoli", "lambda"] = "ecoli",
    file: FilePaths | None = None,
    both_strands: bool = True,
    window: Count = 256,
    piece: Count = 20_000,
    dev: Share = 0.02,
    test: Share = 0.1,
) -> Task:
    """What is the next base of this genome? Case makes no difference, and U is read as T.

    Every sequence is split by position: its last `test` share is test, the last `dev` share of the rest is dev, and
    what remains is train. The score is the mean negative log-likelihood of a base of the strand as it is written, in
    nats; divided by 0.6931 it is in bits. Dev and test are scored in pieces, each from a zero state.

    Args:
        source: ecoli, a bacterium of 4.6 million bases; lambda, a virus of 48,502.
        file: your own FASTA, used instead of source: a file, which may be compressed with gzip, a pattern, or a list.
        both_strands: training reads the reverse complement of its bases too, which codes as well.
        window: steps through which gradients flow back in training.
        piece: bases of a piece of dev or test.
        dev: share of the bases before test that is dev.
        test: share of the bases that is test.
    """
    genome = _Genome(source if file is None else None, file, dev, test, piece, both_strands)
    dataset = DATASETS[source]
    facts = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}

    def read_file(path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        if split is not None:
            raise UsageError(f"--split: {path} has no splits; all of it is scored")
        return (part for id, bases in _sequences([path]) for part in _pieces(id, bases, 0, len(bases), piece))

    shares = {"train": 1.0, "dev": dev, "test": test}
    return Task(
        read=genome.examples,
        input=Tokens("characters", lower=True),
        target=Next(),
        head="language",
        best="nats",
        splits=tuple(split for split, share in shares.items() if share > 0.0),
        window=window,
        files=genome.files,
        about=facts if file is None else {"dataset": str(file)},
        read_file=read_file,
        suffixes=(".fa", ".fasta", ".fna"),
    )


@final
@dataclass(frozen=True)
class _Genome:
    """The sequences of some files, split by position."""

    source: str | None
    file: FilePaths | None
    dev: float
    test: float
    piece: int
    both_strands: bool

    def files(self, split: str) -> Sequence[Path]:
        if self.source is not None:
            dataset = DATASETS[self.source]
            return [fetch(dataset) / file.path for file in dataset.files]
        assert self.file is not None
        paths = [self.file] if isinstance(self.file, Path) else self.file
        return [file for path in paths for file in shard_files(path.parent, path.name, split)]

    def examples(self, split: str) -> Iterator[Example]:
        """Of train each sequence, and its reverse complement; of dev and test their pieces.

        Raises:
            DataError: a sequence has no bases in this split.
        """
        report_split_rule(f"by position: the last {self.test:.4g} is test, the last {self.dev:.4g} of the rest is dev")
        for id, bases in _sequences(self.files(split)):
            test = int(len(bases) * (1.0 - self.test))
            dev = test - int(test * self.dev)
            begin, end = {"train": (0, dev), "dev": (dev, test), "test": (test, len(bases))}[split]
            if begin == end:
                raise DataError(Problem(id, f"has {len(bases)} bases, of which none are {split}", "give more of them"))
            if split != "train":
                yield from _pieces(id, bases, begin, end, self.piece)
                continue
            yield Example(bases[begin:end], None, id)
            if self.both_strands:
                yield Example(decode(reverse_complement(encode(bases[begin:end]))), None, f"{id}:reverse")


def _sequences(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """The id and the bases of each sequence. Raises DataError if one cannot be read."""
    for path in paths:
        for record in read_fasta(path):
            if isinstance(record.sequence, Flaw):
                raise DataError(Problem(f"{path}:{record.line}", record.sequence.what))
            yield f"{path.name}:{record.line}", decode(encode(record.sequence))


def _pieces(id: str, bases: str, begin: int, end: int, size: int) -> Iterator[Example]:
    for start in range(begin, end, size):
        yield Example(bases[start : min(end, start + size)], None, f"{id}+{start}")
