"""FASTA and FASTQ: Biopython reads the records, behind a stream that has looked at every line first.

Biopython's parsers take what they are given: NUL, blanks inside of sequences, records without a sequence, proteins,
one name for two records. Here each line is checked before they see it. What makes a file unreadable (NUL, text before
the first record, a quality line that is too long, damaged gzip) is a `DataError` that says `file:line:column`. What is
wrong with a single record travels with it as a `Flaw`, so that all flaws of a file are told at once, or left out.

Memory does not grow with the file, only with its longest record, and by eight bytes a record to find repeated names.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

import numpy as np

from seqkit import DataError, MissingExtra, Problem, readers
from seqkit_genome.alphabet import GAPS, LETTERS, Gaps, fault

Names: TypeAlias = Literal["refuse", "allow"]

LONGEST: Final = 1 << 28
"""Bases of a record; a longer one is refused, because a record is read as a whole."""
LONGEST_HEADER: Final = 1 << 16
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Flaw:
    """What stands in the place of a sequence that cannot be used."""

    what: str


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        title: the header without its sign; its first word is the name.
        sequence: letters, all of them bases or gaps that are allowed; or what is wrong with it.
        line: where the header stands.
    """

    title: str
    sequence: str | Flaw
    line: int


def fasta(path: Path, *, gaps: Gaps = "refuse", names: Names = "refuse") -> Iterator[Record]:
    """The records of a FASTA file, plain or `.gz`.

    Lines may end in LF or CR LF; a byte order mark, blank lines and comments (lines that begin with `;` or `#`) are
    skipped, and so is white space at the end of a line.

    Args:
        path: the file.
        gaps: with `refuse`, a sequence with a gap is a flaw.
        names: with `refuse`, no two records may have one name.

    Raises:
        DataError: the file cannot be read for certain.
        MissingExtra: Biopython is not installed.
    """
    from_lines = _parsers()[0]
    yield from _unique(path, ">", names, _records(_FastaLines(path, gaps), from_lines))


def fastq(path: Path, *, gaps: Gaps = "refuse", names: Names = "refuse") -> Iterator[Record]:
    """The records of a FASTQ file, plain or `.gz`, of four lines or wrapped; qualities are checked and left out.

    Arguments and errors are those of `fasta`. There are no comments: `#` and `;` are qualities.
    """
    from_lines = _parsers()[1]
    yield from _unique(path, "@", names, _records(_FastqLines(path, gaps), from_lines))


def _parsers() -> tuple[Any, Any]:
    try:
        from Bio.SeqIO.FastaIO import SimpleFastaParser
        from Bio.SeqIO.QualityIO import FastqGeneralIterator
    except ImportError:
        raise MissingExtra("reading FASTA and FASTQ", "genome") from None
    return SimpleFastaParser, FastqGeneralIterator


def _records(lines: _Lines, parser: Any) -> Iterator[Record]:
    try:
        for title, sequence, *_ in parser(lines):
            begun = lines.begun.popleft()
            yield Record(title, begun.flaw or (sequence if sequence else Flaw("has no sequence")), begun.line)
    except ValueError as error:  # what Biopython finds and the lines did not tell
        what = str(error)[:1].lower() + str(error)[1:]
        _fail(lines.path, lines.number, None, what.rstrip("."))


@dataclass(slots=True)
class _Begun:
    """A record whose header has been read."""

    line: int
    bases: int = 0
    qualities: int = 0
    flaw: Flaw | None = None


class _Lines:
    """The lines of a file as Biopython's parsers ask for them, checked. Long lines come in pieces."""

    ends: str
    """The sign that ends a sequence, at the start of a line."""

    def __init__(self, path: Path, gaps: Gaps) -> None:
        self.path = path
        self.number = 0
        self.begun: deque[_Begun] = deque()
        letters = LETTERS + "U" + ("" if gaps == "refuse" else GAPS)
        self._legal = (letters + letters.lower()).encode("ascii")
        self._lines = self._checked()

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def readline(self) -> str:
        return next(self._lines, "")

    def read(self, size: int = -1) -> str:
        """Biopython asks for nothing, to see whether it would be text."""
        if size != 0:
            raise NotImplementedError("lines only")
        return ""

    def _checked(self) -> Iterator[str]:
        raise NotImplementedError

    def _pieces(self) -> Iterator[tuple[bytes, int, bool]]:
        """(text without its line end, column of its first byte, whether a line begins here), blank ones left out."""
        column = 1
        for number, raw, begins in readers.pieces(self.path):
            self.number, column = number, 1 if begins else column
            body = raw.rstrip(b"\r\n")
            if b"\0" in body:
                _fail(self.path, number, column + body.index(b"\0"), "has a NUL character", "is it UTF-16, or no text?")
            yield body, column, begins
            column += len(raw)

    def _header(self, body: bytes) -> str:
        if b"\r" in body:
            hint = "if lines end in CR alone, convert them, e.g. with: tr '\\r' '\\n'"
            _fail(self.path, self.number, body.index(b"\r") + 1, "a carriage return inside of a header", hint)
        if len(body) > LONGEST_HEADER:
            _fail(self.path, self.number, None, f"a header of more than {LONGEST_HEADER:,} bytes")
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError as error:
            _fail(self.path, self.number, error.start + 1, f"byte 0x{body[error.start]:02x} is not UTF-8")
        self.begun.append(_Begun(self.number, flaw=None if text[1:].split() else Flaw("has no name")))
        return text + "\n"

    def _sequence(self, body: bytes, column: int) -> str:
        record = self.begun[-1]
        body = body.rstrip()
        record.bases += len(body)
        if record.bases > LONGEST:
            what = f"the record of line {record.line} has more than {LONGEST:,} bases"
            _fail(self.path, self.number, None, what, "cut it into windows first")
        if body.translate(None, self._legal) and record.flaw is None:
            at = next(i for i, byte in enumerate(body) if byte not in self._legal)
            letter = body[at:].decode("utf-8", "replace")[0]
            record.flaw = Flaw(f"has in line {self.number}, column {column + at:,}, {fault(letter)}")
        # What is no letter is told by the flaw; to the parser it must not look like the sign of another record.
        return body.decode("ascii", "replace").replace(self.ends, "?") + "\n"


class _FastaLines(_Lines):
    ends = ">"

    def _checked(self) -> Iterator[str]:
        comment = False
        for body, column, begins in self._pieces():
            if begins:
                comment = body.startswith((b";", b"#"))
            if comment or not body.strip():
                continue
            if begins and body.startswith(b">"):
                yield self._header(body)
            elif not self.begun:
                hint = "is it FASTQ?" if body.startswith(b"@") else "comments begin with ; or #"
                _fail(self.path, self.number, column, "text before the first record, which begins with >", hint)
            else:
                yield self._sequence(body, column)
        if not self.begun:
            _fail(self.path, None, None, "has no record")


class _FastqLines(_Lines):
    ends = "+"

    def _checked(self) -> Iterator[str]:
        state = "header"
        for body, column, begins in self._pieces():
            if begins and state == "sequence" and body.startswith(b"+"):
                state = "quality"
                yield body.decode("utf-8", "replace") + "\n"
                if not self.begun[-1].bases:
                    yield "\n"  # the quality of an empty sequence is an empty line, which may be missing
            elif not body.strip() and (state != "quality" or self._complete):
                continue
            elif state == "header" or (begins and state == "quality" and self._complete):
                if not body.startswith(b"@"):
                    what = "a quality longer than its sequence" if self.begun else "text before the first record"
                    _fail(self.path, self.number, column, what, "a record begins with @")
                state = "sequence"
                yield self._header(body)
            elif state == "sequence":
                yield self._sequence(body, column)
            else:
                yield self._quality(body, column)
        if state == "header":
            _fail(self.path, None, None, "has no record")
        if state == "sequence" or not self._complete:
            _fail(self.path, self.number, None, f"the record of line {self.begun[-1].line} is cut off")

    @property
    def _complete(self) -> bool:
        record = self.begun[-1]
        return record.qualities >= record.bases

    def _quality(self, body: bytes, column: int) -> str:
        record = self.begun[-1]
        body = body.rstrip()
        record.qualities += len(body)
        if record.qualities > record.bases:
            what = f"{record.qualities:,} qualities for the {record.bases:,} bases of line {record.line}"
            _fail(self.path, self.number, column, what)
        wrong = next((i for i, byte in enumerate(body) if not 33 <= byte <= 126), None)
        if wrong is not None and record.flaw is None:
            record.flaw = Flaw(f"has in line {self.number}, column {column + wrong:,}, what is no quality")
        return body.decode("ascii", "replace") + "\n"


def _unique(path: Path, sign: str, names: Names, records: Iterator[Record]) -> Iterator[Record]:
    """The same records; at their end, an error if two had one name."""
    if names == "allow":
        yield from records
        return
    seen = array("q")
    for record in records:
        seen.append(hash(_name(record.title)))
        yield record
    hashes = np.sort(np.frombuffer(seen, dtype=np.int64)) if seen else np.zeros(0, dtype=np.int64)
    twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if twice:
        _tell_repeats(path, sign, twice)


def _tell_repeats(path: Path, sign: str, hashes: set[int]) -> None:
    """Read again, to say which names are repeated and where: hashes may have met by chance."""
    again = fasta if sign == ">" else fastq
    first: dict[str, int] = {}
    problems: list[Problem] = []
    for record in again(path, gaps="unknown", names="allow"):
        name = _name(record.title)
        if hash(name) not in hashes:
            continue
        if name in first and name:
            what = f"the name '{name}' is that of line {first[name]} too"
            problems.append(Problem(f"{path}:{record.line}", what))
        first.setdefault(name, record.line)
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], Problem(str(path), f"and {len(problems) - _SHOWN:,} more")]
    if problems:
        last = problems[0]
        problems[0] = Problem(last.where, last.what, "set names: allow if that is meant")
        raise DataError(problems)


def _name(title: str) -> str:
    return title.split(maxsplit=1)[0] if title.strip() else ""


def _fail(path: Path, line: int | None, column: int | None, what: str, hint: str = "") -> NoReturn:
    where = ":".join(str(part) for part in (path, line, column) if part is not None)
    raise DataError(Problem(where, what, hint))
