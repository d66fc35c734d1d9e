"""The format `.sites`: genes and where their introns begin and end, a word a line.

    sites 1                     what it is, and its version; the first line
    gene G17                    a gene and its name
    bases ACGTTGCA...           some of its bases (A, C, G, T or N, in either case); as many such lines as it takes
    donor 62                    an intron's first base, counted from 1; the intron begins with GT or GC
    acceptor 141                an intron's last base; the intron ends with AG

Blank lines and lines that begin with # say nothing. Whatever is wrong is told as `file:line:column`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from seqkit import DataError, Problem
from seqkit.readers import Line, numbered

VERSION = 1
WORDS = ("gene", "bases", "donor", "acceptor")


@dataclass
class Gene:
    """A gene as the file has it.

    Attributes:
        name: what it is called.
        line: where it begins in the file.
        bases: in capitals.
        donors: (an intron's first base, counted from 1; the line that says so).
        acceptors: (an intron's last base, the line).
    """

    name: str
    line: int
    bases: str = ""
    donors: list[tuple[int, int]] = field(default_factory=list)
    acceptors: list[tuple[int, int]] = field(default_factory=list)


def genes(path: Path) -> Iterator[Gene]:
    """The genes of a file, one after another.

    Raises:
        DataError: the file is not what the head of this module says.
    """
    gene: Gene | None = None
    names: dict[str, int] = {}
    lines = numbered(path)
    _check_first(path, next(lines))
    for line in lines:
        word, _, rest = line.text.strip().partition(" ")
        rest = rest.strip()
        if not word or word.startswith("#"):
            continue
        if word not in WORDS:
            _fail(path, line, word, f"'{word}' begins no line of this format", f"there are: {', '.join(WORDS)}")
        if not rest:
            _fail(path, line, word, f"nothing follows '{word}'")
        if word == "gene":
            if gene is not None:
                yield _checked(path, gene)
            if rest in names:
                _fail(path, line, rest, f"the gene {rest} is given twice", f"the first is in line {names[rest]}")
            gene, names[rest] = Gene(rest, line.number), line.number
        elif gene is None:
            _fail(path, line, word, f"'{word}' before the first gene")
        elif word == "bases":
            gene.bases += _bases(path, line, rest)
        else:
            places = gene.donors if word == "donor" else gene.acceptors
            places.append((_place(path, line, rest), line.number))
    if gene is None:
        raise DataError(Problem(str(path), "has no gene"))
    yield _checked(path, gene)


def _check_first(path: Path, line: Line) -> None:
    word, _, version = line.text.strip().partition(" ")
    if word != "sites" or not version.strip().isdecimal():
        _fail(path, line, "", "is no list of splice sites", f"its first line should be: sites {VERSION}")
    if int(version) > VERSION:
        _fail(path, line, version, f"version {version.strip()} of the format is newer than {VERSION}, the newest known")


def _bases(path: Path, line: Line, text: str) -> str:
    bases = text.upper()
    for number, base in enumerate(bases):
        if base not in "ACGTN":
            column = line.text.index(text) + number + 1
            raise DataError(Problem(f"{path}:{line.number}:{column}", f"{text[number]!r} is no base: A, C, G, T or N"))
    return bases


def _place(path: Path, line: Line, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        _fail(path, line, text, f"{text!r} is no place in a gene", "bases are counted from 1")
    return int(text)


def _checked(path: Path, gene: Gene) -> Gene:
    """The gene, if its sites are where an intron can begin and end."""
    if not gene.bases:
        raise DataError(Problem(f"{path}:{gene.line}", f"the gene {gene.name} has no bases"))
    for kind, places, ends in (("donor", gene.donors, ("GT", "GC")), ("acceptor", gene.acceptors, ("AG",))):
        for at, line in places:
            first = at - 1 if kind == "donor" else at - 2
            found = gene.bases[max(0, first) : first + 2]
            if at > len(gene.bases):
                what = f"{kind} {at} is outside of the gene {gene.name}, which has {len(gene.bases)} bases"
                raise DataError(Problem(f"{path}:{line}", what))
            if found not in ends and "N" not in found:
                side = "begins" if kind == "donor" else "ends"
                what = f"{kind} {at} of {gene.name}: an intron {side} with {' or '.join(ends)}, and here is {found!r}"
                raise DataError(Problem(f"{path}:{line}", what, "a place off by one is the usual cause"))
    return gene


def _fail(path: Path, line: Line, at: str, what: str, hint: str = "") -> NoReturn:
    column = line.text.index(at) + 1 if at else 1
    raise DataError(Problem(f"{path}:{line.number}:{column}", what, hint))
