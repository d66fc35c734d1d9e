"""FASTA and FASTQ: Biopython reads the records from a stream that checks every line first.

Biopython's parsers accept anything: NUL, blanks inside of sequences, records without a sequence, proteins, one name for
two records. Here each line is checked before they see it. What makes a file unreadable (NUL, text before the first
record, a quality line that is too long, damaged gzip) is a `DataError` that says `file:line:column`. What is wrong with
a single record is kept with it as a `Flaw`, so that all flaws of a file are reported at once, or all such records are
left out.

Memory does not grow with the file, only with its longest record, and by eight bytes a record to find repeated names.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import numpy as np

from seqkit import DataError, Flaw, MissingExtra, Problem, readers
from seqkit.reading import report_left_out
from seqkit_genome.alphabet import GAPS, LETTERS, describe_invalid
from seqkit_genome.options import Gaps, Names

LONGEST: Final = 1 << 28
"""Bases of a record. A longer one is refused, because a record is read into memory whole."""
LONGEST_HEADER: Final = 1 << 16
_PROBLEMS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        title: the header without its `>` or `@`; its first word is the name.
        sequence: letters, all of them bases or allowed gaps; or what is wrong with it.
        line: the line of the header.
    """

    title: str
    sequence: str | Flaw
    line: int


def read_fasta(path: Path, *, gaps: Gaps = "refuse", names: Names = "refuse") -> Iterator[Record]:
    """The records of a FASTA file, plain or `.gz`.

    Lines may end in LF or CR LF. A byte order mark, blank lines, comments (lines that begin with `;` or `#`) and white
    space at the end of a line are skipped.

    Args:
        path: the file.
        gaps: with `refuse`, a sequence with a gap is a flaw.
        names: with `refuse`, two records with one name are an error.

    Raises:
        DataError: the file is damaged or is not FASTA.
        MissingExtra: Biopython is not installed.
    """
    parser = _parsers()[0]
    yield from _check_names(path, read_fasta, names, _records(_FastaLines(path, gaps), parser))


def read_fastq(path: Path, *, gaps: Gaps = "refuse", names: Names = "refuse") -> Iterator[Record]:
    """The records of a FASTQ file, plain or `.gz`, of four lines or wrapped; qualities are checked and left out.

    Arguments and errors are those of `read_fasta`. There are no comments: `#` and `;` are qualities.
    """
    parser = _parsers()[1]
    yield from _check_names(path, read_fastq, names, _records(_FastqLines(path, gaps), parser))


class _Reader(Protocol):
    """`read_fasta` or `read_fastq`."""

    def __call__(self, path: Path, *, gaps: Gaps = ..., names: Names = ...) -> Iterator[Record]: ...


def _parsers() -> tuple[Any, Any]:
    """Biopython's parsers of FASTA and FASTQ: from lines to tuples of title, sequence, ..."""
    try:
        from Bio.SeqIO.FastaIO import SimpleFastaParser
        from Bio.SeqIO.QualityIO import FastqGeneralIterator
    except ImportError:
        raise MissingExtra("reading FASTA and FASTQ", "genome") from None
    return SimpleFastaParser, FastqGeneralIterator


def _records(lines: _Lines, parser: Any) -> Iterator[Record]:
    try:
        for title, sequence, *_ in parser(lines):
            header = lines.headers.popleft()
            yield Record(title, header.flaw or (sequence if sequence else Flaw("has no sequence")), header.line)
    except ValueError as error:  # Biopython found what the checks of the lines did not
        reason = str(error)[:1].lower() + str(error)[1:]
        _fail(lines.path, lines.number, None, reason.rstrip("."))


@dataclass(slots=True)
class _Header:
    """A record of which at least the header has been read, and its counts so far."""

    line: int
    bases: int = 0
    qualities: int = 0
    flaw: Flaw | None = None


class _Lines:
    """The checked lines of a file, as Biopython's parsers ask for them. Long lines come in pieces."""

    end_sign: str
    """The character that ends a sequence, at the start of a line."""

    def __init__(self, path: Path, gaps: Gaps) -> None:
        self.path = path
        self.number = 0
        self.headers: deque[_Header] = deque()
        letters = LETTERS + "U" + ("" if gaps == "refuse" else GAPS)
        self._legal = (letters + letters.lower()).encode("ascii")
        self._lines = self._checked()

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def readline(self) -> str:
        return next(self._lines, "")

    def read(self, size: int = -1) -> str:
        """Biopython reads zero characters, to see whether it would get text."""
        if size != 0:
            raise NotImplementedError("lines only")
        return ""

    def _checked(self) -> Iterator[str]:
        raise NotImplementedError

    def _pieces(self) -> Iterator[tuple[bytes, int, bool]]:
        """(bytes without the line end, column of the first byte, whether a line begins here)."""
        column = 1
        for number, raw, begins in readers.pieces(self.path):
            self.number, column = number, 1 if begins else column
            body = raw.rstrip(b"\r\n")
            if b"\0" in body:
                _fail(self.path, number, column + body.index(b"\0"), "has a NUL character", "is it UTF-16, or no text?")
            yield body, column, begins
            column += len(raw)

    def _leave_out(self, kind: str, begins: bool) -> None:
        """Report a line that is passed over, once for all of its pieces."""
        if begins:
            report_left_out(kind, f"{self.path.name}:{self.number}")

    def _header(self, body: bytes) -> str:
        if b"\r" in body:
            hint = "if lines end in CR alone, convert them, e.g. with: tr '\\r' '\\n'"
            _fail(self.path, self.number, body.index(b"\r") + 1, "has a carriage return inside of a header", hint)
        if len(body) > LONGEST_HEADER:
            _fail(self.path, self.number, None, f"has a header of more than {LONGEST_HEADER:,} bytes")
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError as error:
            _fail(self.path, self.number, error.start + 1, f"byte 0x{body[error.start]:02x} is not UTF-8")
        self.headers.append(_Header(self.number, flaw=None if text[1:].split() else Flaw("has no name")))
        return text + "\n"

    def _sequence(self, body: bytes, column: int) -> str:
        record = self.headers[-1]
        body = body.rstrip()
        record.bases += len(body)
        if record.bases > LONGEST:
            reason = f"the record of line {record.line} has more than {LONGEST:,} bases"
            _fail(self.path, self.number, None, reason, "cut it into windows first")
        if body.translate(None, self._legal) and record.flaw is None:
            index = next(i for i, byte in enumerate(body) if byte not in self._legal)
            letter = body[index:].decode("utf-8", "replace")[0]
            record.flaw = Flaw(f"has in line {self.number}, column {column + index:,}, {describe_invalid(letter)}")
        # The flaw reports the character; the parser must not take it for the start of another record.
        return body.decode("ascii", "replace").replace(self.end_sign, "?") + "\n"


class _FastaLines(_Lines):
    end_sign = ">"

    def _checked(self) -> Iterator[str]:
        comment = False
        for body, column, begins in self._pieces():
            if begins:
                comment = body.startswith((b";", b"#"))
            if comment or not body.strip():
                self._leave_out("comment line (; or #)" if comment else "blank line", begins)
                continue
            if begins and body.startswith(b">"):
                yield self._header(body)
            elif not self.headers:
                hint = "is it FASTQ?" if body.startswith(b"@") else "comments begin with ; or #"
                _fail(self.path, self.number, column, "has text before the first record, which begins with >", hint)
            else:
                yield self._sequence(body, column)
        if not self.headers:
            _fail(self.path, None, None, "has no record")


class _FastqLines(_Lines):
    end_sign = "+"

    def _checked(self) -> Iterator[str]:
        state = "header"
        for body, column, begins in self._pieces():
            if begins and state == "sequence" and body.startswith(b"+"):
                state = "quality"
                yield body.decode("utf-8", "replace") + "\n"
                if not self.headers[-1].bases:
                    yield "\n"  # the quality of an empty sequence is an empty line, which may be missing
            elif not body.strip() and (state != "quality" or self._complete):
                self._leave_out("blank line", begins)
            elif state == "header" or (begins and state == "quality" and self._complete):
                if not body.startswith(b"@"):
                    reason = "a quality longer than its sequence" if self.headers else "text before the first record"
                    _fail(self.path, self.number, column, f"has {reason}", "a record begins with @")
                state = "sequence"
                yield self._header(body)
            elif state == "sequence":
                yield self._sequence(body, column)
            else:
                yield self._quality(body, column)
        if state == "header":
            _fail(self.path, None, None, "has no record")
        if state == "sequence" or not self._complete:
            _fail(self.path, self.number, None, f"the record of line {self.headers[-1].line} is cut off")

    @property
    def _complete(self) -> bool:
        record = self.headers[-1]
        return record.qualities >= record.bases

    def _quality(self, body: bytes, column: int) -> str:
        record = self.headers[-1]
        body = body.rstrip()
        record.qualities += len(body)
        if record.qualities > record.bases:
            reason = f"has {record.qualities:,} qualities for the {record.bases:,} bases of line {record.line}"
            _fail(self.path, self.number, column, reason)
        wrong = next((i for i, byte in enumerate(body) if not 33 <= byte <= 126), None)
        if wrong is not None and record.flaw is None:
            record.flaw = Flaw(
                f"has in line {self.number}, column {column + wrong:,}, a character that is not a quality"
            )
        return body.decode("ascii", "replace") + "\n"


def _check_names(path: Path, reader: _Reader, names: Names, records: Iterator[Record]) -> Iterator[Record]:
    """The same records. At their end, a DataError if two have one name and that is not allowed."""
    if names == "allow":
        yield from records
        return
    seen = array("q")
    for record in records:
        seen.append(hash(_name(record.title)))
        yield record
    hashes = np.sort(np.frombuffer(seen, dtype=np.int64)) if seen else np.zeros(0, dtype=np.int64)
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if repeated:
        _raise_repeated(path, reader, repeated)


def _raise_repeated(path: Path, reader: _Reader, hashes: set[int]) -> None:
    """Read the file again to report which names are repeated and where. Different names may have one hash by chance."""
    first: dict[str, int] = {}
    problems: list[Problem] = []
    for record in reader(path, gaps="unknown", names="allow"):
        name = _name(record.title)
        if hash(name) not in hashes:
            continue
        if name in first and name:
            problems.append(Problem(f"{path}:{record.line}", f"has the name '{name}' of line {first[name]}"))
        first.setdefault(name, record.line)
    if len(problems) > _PROBLEMS_SHOWN:
        more = Problem(str(path), f"and {len(problems) - _PROBLEMS_SHOWN:,} more")
        problems = [*problems[:_PROBLEMS_SHOWN], more]
    if problems:
        problems[0] = Problem(problems[0].where, problems[0].what, "set names: allow if that is intended")
        raise DataError(problems)


def _name(title: str) -> str:
    return title.split(maxsplit=1)[0] if title.strip() else ""


def _fail(path: Path, line: int | None, column: int | None, reason: str, hint: str = "") -> NoReturn:
    where = ":".join(str(item) for item in (path, line, column) if item is not None)
    raise DataError(Problem(where, reason, hint))
