"""The format `.sites`: genes and where their introns begin and end, one keyword a line.

    sites 1                     the format and its version; the first line
    gene G17                    a gene and its name
    bases ACGTTGCA...           some of its bases (A, C, G, T or N, in either case); one or more such lines
    donor 62                    an intron's first base, counted from 1; the intron begins with GT or GC
    acceptor 141                an intron's last base; the intron ends with AG

Blank lines and lines that begin with # are skipped. Problems are reported as `file:line:column`.
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
        name: its name.
        line: the line where it begins.
        bases: in capitals.
        donors: (the first base of an intron, counted from 1; its line in the file).
        acceptors: (the last base of an intron, its line).
    """

    name: str
    line: int
    bases: str = ""
    donors: list[tuple[int, int]] = field(default_factory=list)
    acceptors: list[tuple[int, int]] = field(default_factory=list)


def genes(path: Path) -> Iterator[Gene]:
    """The genes of a file, one after another.

    Raises:
        DataError: the file breaks the format above.
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
            _fail(path, line, word, f"'{word}' is not a keyword of this format", f"keywords: {', '.join(WORDS)}")
        if not rest:
            _fail(path, line, word, f"nothing follows '{word}'")
        if word == "gene":
            if gene is not None:
                yield _checked(path, gene)
            if rest in names:
                _fail(path, line, rest, f"the gene {rest} is repeated", f"the first is in line {names[rest]}")
            gene, names[rest] = Gene(rest, line.number), line.number
        elif gene is None:
            _fail(path, line, word, f"'{word}' before the first gene")
        elif word == "bases":
            gene.bases += _bases(path, line, rest)
        else:
            sites = gene.donors if word == "donor" else gene.acceptors
            sites.append((_position(path, line, rest), line.number))
    if gene is None:
        raise DataError(Problem(str(path), "has no gene"))
    yield _checked(path, gene)


def _check_first(path: Path, line: Line) -> None:
    word, _, version = line.text.strip().partition(" ")
    if word != "sites" or not version.strip().isdecimal():
        _fail(path, line, "", "is not a list of splice sites", f"its first line should be: sites {VERSION}")
    if int(version) > VERSION:
        _fail(
            path,
            line,
            version,
            f"version {version.strip()} of the format is newer than {VERSION}, the newest that is supported",
        )


def _bases(path: Path, line: Line, text: str) -> str:
    bases = text.upper()
    for number, base in enumerate(bases):
        if base not in "ACGTN":
            column = line.text.index(text) + number + 1
            raise DataError(
                Problem(f"{path}:{line.number}:{column}", f"{text[number]!r} is not a base: A, C, G, T or N")
            )
    return bases


def _position(path: Path, line: Line, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        _fail(path, line, text, f"{text!r} is not a position in a gene", "bases are counted from 1")
    return int(text)


def _checked(path: Path, gene: Gene) -> Gene:
    """The gene. Raises DataError if an intron cannot begin or end at one of its sites."""
    if not gene.bases:
        raise DataError(Problem(f"{path}:{gene.line}", f"the gene {gene.name} has no bases"))
    for kind, sites, ends in (("donor", gene.donors, ("GT", "GC")), ("acceptor", gene.acceptors, ("AG",))):
        for base, line in sites:
            first = base - 1 if kind == "donor" else base - 2
            letters = gene.bases[max(0, first) : first + 2]
            if base > len(gene.bases):
                reason = f"{kind} {base} is outside of the gene {gene.name}, which has {len(gene.bases)} bases"
                raise DataError(Problem(f"{path}:{line}", reason))
            if letters not in ends and "N" not in letters:
                side = "begins" if kind == "donor" else "ends"
                reason = f"{kind} {base} of {gene.name}: an intron {side} with {' or '.join(ends)}, not {letters!r}"
                raise DataError(Problem(f"{path}:{line}", reason, "is the position off by one?"))
    return gene


def _fail(path: Path, line: Line, word: str, reason: str, hint: str = "") -> NoReturn:
    """Raise a DataError that points to this word of the line."""
    column = line.text.index(word) + 1 if word else 1
    raise DataError(Problem(f"{path}:{line.number}:{column}", reason, hint))
