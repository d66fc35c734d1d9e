"""Writes the bundled data, the same bytes on every run: `python -m splice_sites.generate FOLDER`.

A gene is an exon, an intron and an exon of random bases, with the two junctions drawn from the consensus of
S. M. Mount, A catalogue of splice junction sequences, Nucleic Acids Research 10 (1982) 459, doi:10.1093/nar/10.2.459:
(C/A)AG|GT(A/G)AGT where an intron begins and (T/C)nN(C/T)AG|G where it ends, here with n = 11. The letters GT and AG
are always there; each of the others has a probability of 0.85 (else every base is equally likely).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

DONOR, ACCEPTOR = "MAG|GTRAGT", "YYYYYYYYYYYNYAG|G"
CERTAIN = {DONOR: ("GT", 4), ACCEPTOR: ("AG", 13)}
MEANS = {"A": "A", "C": "C", "G": "G", "T": "T", "M": "AC", "R": "AG", "Y": "CT", "N": "ACGT"}
KEPT = 0.85
SIZES = {"train": 200, "dev": 40, "test": 60}
WIDTH = 60


def gene(rng: random.Random) -> tuple[str, int, int]:
    """Bases, the intron's first base and its last, counted from 1.

    Of `rng` only `random()` is used: it is the same in every version of Python.
    """
    donor, acceptor = draw(rng, DONOR), draw(rng, ACCEPTOR)
    exon, rest = random_bases(rng, 12, 40) + donor[0], random_bases(rng, 25, 60) + acceptor[0]
    intron = donor[1] + rest
    return exon + intron + acceptor[1] + random_bases(rng, 12, 40), len(exon) + 1, len(exon) + len(intron)


def draw(rng: random.Random, consensus: str) -> tuple[str, str]:
    """The bases before and after a junction."""
    letters, start = CERTAIN[consensus]
    bases = ""
    for position, letter in enumerate(consensus):
        certain = start <= position < start + len(letters)
        bases += "|" if letter == "|" else pick(rng, MEANS[letter] if certain or rng.random() < KEPT else "ACGT")
    left, _, right = bases.partition("|")
    return left, right


def random_bases(rng: random.Random, shortest: int, longest: int) -> str:
    return "".join(pick(rng, "ACGT") for _ in range(shortest + int(rng.random() * (longest - shortest + 1))))


def pick(rng: random.Random, letters: str) -> str:
    return letters[int(rng.random() * len(letters))]


def text(split: str) -> str:
    """The file of a split."""
    rng = random.Random(f"splice-sites {split}")
    lines = ["sites 1", f"# {SIZES[split]} generated genes; see splice_sites.generate"]
    for number in range(1, SIZES[split] + 1):
        bases, donor, acceptor = gene(rng)
        lines.append(f"gene {split}-{number}")
        lines += [f"bases {bases[k : k + WIDTH]}" for k in range(0, len(bases), WIDTH)]
        lines += [f"donor {donor}", f"acceptor {acceptor}"]
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in SIZES:
        (folder / f"{split}.sites").write_text(text(split), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
