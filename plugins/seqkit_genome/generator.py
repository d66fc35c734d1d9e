"""Windows of DNA drawn from published position weight matrices, for a task that needs no download.

`splice`: 60 bases, as in the UCI data set: is there the end of an exon (`EI`, the donor or 5' site), the start of one
(`IE`, the acceptor or 3' site) between bases 30 and 31, or neither (`N`)? Half of the windows are `N`: some have a site
elsewhere, some have in its place only the two bases that nearly all sites share, the others are random.

`promoter`: 60 to 120 bases, of either strand: `bacterial`, boxes -35 and -10 with 16 to 18 bases between them; `TATA`,
a TATA box with its surroundings; or `none`, of which some have the boxes in the wrong order or at the wrong distance.

Matrices, in percent or counts, rows A, C, G, T:

* donor (bases -3 to +6) and acceptor (-15 to +2) of human genes: M. Q. Zhang, Statistical features of human exons and
  their flanking regions, Human Molecular Genetics 7 (1998) 919, doi:10.1093/hmg/7.5.919; the form of the matrices is
  that of M. B. Shapiro and P. Senapathy, Nucleic Acids Research 15 (1987) 7155, doi:10.1093/nar/15.17.7155.
* boxes -35 and -10 of E. coli, by the distance between them: S. Lisser and H. Margalit, Compilation of E. coli mRNA
  promoter sequences, Nucleic Acids Research 21 (1993) 1507, doi:10.1093/nar/21.7.1507.
* TATA box: P. Bucher, Journal of Molecular Biology 212 (1990) 563, doi:10.1016/0022-2836(90)90223-9 (389 promoters).

All other bases are random, each as likely as the others. Of `random` only `random()` is used: its numbers are the same
in every version of Python.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeAlias, TypeVar

from seqkit_genome.options import Signal

T = TypeVar("T")

Matrix: TypeAlias = tuple[tuple[int, ...], ...]
"""Four rows, A, C, G and T: the frequency of each at each position."""

DONOR: Final[Matrix] = (
    (38, 62, 12, 0, 0, 71, 73, 11, 21),
    (31, 10, 4, 0, 0, 2, 6, 6, 10),
    (18, 12, 77, 100, 0, 24, 8, 75, 14),
    (13, 16, 7, 0, 100, 3, 13, 8, 55),
)
ACCEPTOR: Final[Matrix] = (
    (15, 14, 13, 11, 10, 10, 11, 12, 13, 11, 10, 26, 7, 100, 0, 26, 24),
    (24, 21, 20, 22, 21, 22, 25, 28, 28, 25, 22, 25, 55, 0, 0, 11, 15),
    (10, 12, 10, 9, 10, 9, 10, 10, 8, 5, 5, 15, 1, 0, 100, 50, 20),
    (51, 53, 57, 58, 59, 59, 54, 50, 51, 59, 63, 33, 37, 0, 0, 13, 41),
)
BEFORE: Final = {"EI": 3, "IE": 15}
"""Number of columns of a site's matrix that are before the junction."""
SITES: Final = {"EI": DONOR, "IE": ACCEPTOR}

MINUS_35: Final[dict[int, Matrix]] = {
    16: ((19, 4, 6, 52, 19, 60), (8, 6, 13, 17, 56, 6), (4, 12, 60, 6, 13, 15), (69, 79, 21, 25, 12, 19)),
    17: ((9, 9, 9, 56, 23, 50), (9, 5, 14, 20, 50, 13), (8, 9, 57, 11, 10, 18), (74, 77, 19, 13, 16, 19)),
    18: ((4, 6, 10, 59, 20, 57), (22, 4, 6, 12, 51, 14), (8, 6, 73, 18, 6, 16), (67, 84, 12, 12, 24, 14)),
}
MINUS_10: Final[dict[int, Matrix]] = {
    16: ((6, 75, 13, 69, 62, 6), (6, 12, 10, 12, 17, 4), (8, 0, 15, 12, 10, 6), (81, 13, 62, 8, 12, 85)),
    17: ((6, 82, 19, 53, 55, 4), (15, 5, 9, 18, 18, 9), (8, 4, 16, 17, 9, 3), (71, 9, 57, 12, 18, 84)),
    18: ((0, 71, 14, 61, 61, 12), (8, 4, 16, 12, 20, 2), (6, 8, 18, 14, 8, 2), (86, 18, 53, 14, 12, 84)),
}
TATA: Final[Matrix] = (
    (61, 16, 352, 3, 354, 268, 360, 222, 155, 56, 83, 82, 82, 68, 77),
    (145, 46, 0, 10, 0, 0, 3, 2, 44, 135, 147, 127, 118, 107, 101),
    (152, 18, 2, 2, 5, 0, 20, 44, 157, 150, 128, 128, 128, 139, 140),
    (31, 309, 35, 374, 30, 121, 6, 121, 33, 48, 31, 52, 61, 75, 71),
)

WINDOW: Final = 60
JUNCTION: Final = 30
SHORTEST, LONGEST = 60, 120
_COMPLEMENT: Final = str.maketrans("ACGT", "TGCA")


def windows(signal: Signal, split: str, count: int, *, seed: int) -> Iterator[tuple[str, str]]:
    """`count` different windows of a split as (sequence, class), the same ones on every run.

    A shorter split is the beginning of a longer one.
    """
    rng = random.Random(f"{signal} {seed} {split}")
    return islice(_distinct(splice if signal == "splice" else promoter, rng), count)


def _distinct(draw: Callable[[random.Random], tuple[str, str]], rng: random.Random) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    while True:
        sequence, label = draw(rng)
        if sequence not in seen:
            seen.add(sequence)
            yield sequence, label


def splice(rng: random.Random) -> tuple[str, str]:
    """One window and its class."""
    window = _random_bases(rng, WINDOW)
    label = _pick(rng, ("EI", "IE", "N", "N"))
    if label != "N":
        return _with_site(rng, window, label, JUNCTION), label
    kind, site = rng.random(), _pick(rng, ("EI", "IE"))
    if kind < 0.3:
        distance = 5 + int(rng.random() * 9)
        junction = JUNCTION + distance if rng.random() < 0.5 else JUNCTION - distance
        return _with_site(rng, window, site, junction), "N"
    if kind < 0.6:
        start, core = (JUNCTION, "GT") if site == "EI" else (JUNCTION - 2, "AG")
        return window[:start] + core + window[start + 2 :], "N"
    return window, "N"


def promoter(rng: random.Random) -> tuple[str, str]:
    """One window and its class."""
    window = _random_bases(rng, SHORTEST + int(rng.random() * (LONGEST - SHORTEST + 1)))
    label = _pick(rng, ("bacterial", "TATA", "none"))
    if label == "TATA":
        inserted = _draw(rng, TATA)
    elif label == "bacterial":
        gap = _pick(rng, (16, 17, 17, 18))
        inserted = _draw(rng, MINUS_35[gap]) + _random_bases(rng, gap) + _draw(rng, MINUS_10[gap])
    else:
        kind, gap = rng.random(), _pick(rng, (16, 17, 17, 18))
        first, second = _draw(rng, MINUS_35[gap]), _draw(rng, MINUS_10[gap])
        if kind < 0.25:
            inserted = second + _random_bases(rng, gap) + first
        elif kind < 0.5:
            inserted = first + _random_bases(rng, 4 + int(rng.random() * 8)) + second
        else:
            inserted = ""
    start = int(rng.random() * (len(window) - len(inserted) + 1))
    window = window[:start] + inserted + window[start + len(inserted) :]
    return (window.translate(_COMPLEMENT)[::-1] if rng.random() < 0.5 else window), label


def _with_site(rng: random.Random, window: str, site: str, junction: int) -> str:
    """The window with a site drawn from its matrix, cut off at the ends of the window."""
    drawn, start = _draw(rng, SITES[site]), junction - BEFORE[site]
    drawn, start = drawn[max(0, -start) :], max(0, start)
    return (window[:start] + drawn + window[start + len(drawn) :])[:WINDOW]


def _draw(rng: random.Random, matrix: Matrix) -> str:
    """A sequence drawn from a matrix, each position on its own. Rounded columns add up to 99 or 101 in places."""
    return "".join(_draw_base(rng, column) for column in zip(*matrix, strict=True))


def _draw_base(rng: random.Random, weights: Sequence[int]) -> str:
    remaining = rng.random() * sum(weights)
    for base, weight in zip("ACGT", weights, strict=True):
        remaining -= weight
        if remaining < 0:
            return base
    raise AssertionError("random() is below 1")


def _random_bases(rng: random.Random, count: int) -> str:
    return "".join("ACGT"[int(rng.random() * 4)] for _ in range(count))


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]
