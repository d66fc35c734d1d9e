"""Makes the data that come along: `python -m splice_sites.generate FOLDER`. The same bytes each time.

A gene is an exon, an intron and an exon of chance bases, with the two junctions drawn from the consensus of
S. M. Mount, A catalogue of splice junction sequences, Nucleic Acids Research 10 (1982) 459, doi:10.1093/nar/10.2.459:
(C/A)AG|GT(A/G)AGT where an intron begins and (T/C)nN(C/T)AG|G where it ends, here with n = 11. The letters GT and AG
are always there; each of the others with a chance of 0.85 (else any base is as likely).
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
    """Bases, the intron's first base and its last, counted from 1. Of `rng` only `random()` is used, which never
    changes between Pythons."""
    before, after = drawn(rng, DONOR), drawn(rng, ACCEPTOR)
    exon, rest = chance(rng, 12, 40) + before[0], chance(rng, 25, 60) + after[0]
    intron = before[1] + rest
    return exon + intron + after[1] + chance(rng, 12, 40), len(exon) + 1, len(exon) + len(intron)


def drawn(rng: random.Random, consensus: str) -> tuple[str, str]:
    """What stands before and behind a junction."""
    letters, at = CERTAIN[consensus]
    found = ""
    for place, letter in enumerate(consensus):
        certain = at <= place < at + len(letters)
        found += "|" if letter == "|" else pick(rng, MEANS[letter] if certain or rng.random() < KEPT else "ACGT")
    before, _, behind = found.partition("|")
    return before, behind


def chance(rng: random.Random, least: int, most: int) -> str:
    return "".join(pick(rng, "ACGT") for _ in range(least + int(rng.random() * (most - least + 1))))


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
