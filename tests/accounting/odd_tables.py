"""Tables as users have them: headers quoted, padded and doubled, columns swapped, blank cells, comments, odd names."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from seqkit_sentiment import sentiment
from seqkit_translation import translation

from tests.accounting.ledger import Case, Group, Table, Unit

SEPARATORS = {"tsv": "\t", "csv": ",", "semicolon": ";", "bar": "|"}
COMPRESS: dict[str, Any] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
HEADERS = ("none", "plain", "quoted", "padded", "capital", "doubled")


@dataclass
class Form:
    """How the tables of a case are written."""

    kind: str
    width: int
    text: int
    label: int
    header: str
    line_end: str
    mark: bool
    compression: str
    encoding: str
    blank_lines: float
    comments: float
    blank_cells: float
    ragged: float
    layout: str

    @classmethod
    def draw(cls, rng: Random, kinds: Sequence[str]) -> Form:
        kind, width = rng.choice(kinds), rng.choice((2, 2, 3, 4, 5))
        text, label = rng.sample(range(width), 2)
        if rng.random() < 0.5:
            text, label = 0, 1
        is_plain = rng.random() < 0.7  # more than half of the cases have few faults, so that most are read to their end
        return cls(
            kind,
            width,
            text,
            label,
            rng.choice(HEADERS),
            rng.choice(("\n", "\n", "\r\n")),
            rng.random() < 0.2,
            rng.choice(("", "", "", *COMPRESS)),
            rng.choice(("utf-8", "utf-8", "utf-8", "latin-1", "utf-16")),
            rng.choice((0.0, 0.2)),
            0.0 if is_plain else rng.choice((0.0, 0.1)),
            0.0 if is_plain else rng.choice((0.0, 0.05)),
            0.0 if is_plain else rng.choice((0.0, 0.02)),
            rng.choice(("one line", "line each", "pretty")),
        )

    @property
    def suffix(self) -> str:
        return {"semicolon": ".txt", "bar": ".dat", "fasttext": ".ft", "parallel": ".txt"}.get(
            self.kind, f".{self.kind}"
        )

    @property
    def names(self) -> list[str]:
        """The header."""
        names = [f"note{column}" for column in range(self.width)]
        names[self.text], names[self.label] = "text", "label"
        if self.header == "doubled":
            names[-1] = "text"
        elif self.header in ("quoted", "padded", "capital"):
            change = {"quoted": '"{}"', "padded": " {} ", "capital": "{}"}[self.header]
            names = [change.format(name.title() if self.header == "capital" else name) for name in names]
        return names

    @property
    def has_header(self) -> bool:
        return self.header != "none" and self.kind in SEPARATORS

    @property
    def keys(self) -> list[str]:
        """The keys of an object of JSON."""
        keys = [f"note{column}" for column in range(self.width)]
        keys[self.text], keys[self.label] = "text", "label"
        return keys

    def encode(self, text: str) -> bytes:
        raw = text.encode(self.encoding)
        if self.mark and self.encoding == "utf-8":
            raw = b"\xef\xbb\xbf" + raw
        packed: bytes = COMPRESS[self.compression](raw)
        return packed


@dataclass
class Writer:
    """Writes files of a form, and lists what is in them. Each row has a number of its own."""

    rng: Random
    form: Form
    numbers: Iterator[int]

    def cells(self, number: int) -> list[str]:
        """The cells of a row: the text says which row it is, and all say which column they are in."""
        cells = [f"other c{column + 1}x" for column in range(self.form.width)]
        cells[self.form.text] = f"a film r{number}x of c{self.form.text + 1}x"
        cells[self.form.label] = f"{self.rng.choice(('good', 'bad'))} c{self.form.label + 1}x"
        if self.rng.random() < self.form.blank_cells:
            cells[self.rng.randrange(self.form.width)] = self.rng.choice(("", " "))
        if self.rng.random() < self.form.ragged and self.form.kind in (*SEPARATORS, "jsonl", "json"):
            cells = cells[:-1] if self.rng.random() < 0.5 else [*cells, "more"]
        return cells

    def write(self, path: Path, count: int) -> tuple[list[Unit], Table | None]:
        """Write a file. Returns what is in it, and its columns."""
        kind = self.form.kind
        if kind == "json":
            return self._json_array(path, count)
        if kind == "parquet":
            return self._parquet(path, count)
        lines: list[str] = []
        units: list[Unit] = []
        first_row: list[str] = []
        units_of_rows = 0
        if self.form.has_header:
            units.append(Unit(f"{path.name}:1", header_of=path.name))
            units_of_rows = 1
            lines.append(SEPARATORS[kind].join(self.form.names))
        for number in itertools.islice(self.numbers, count):
            self._odd_lines(path, lines, units)
            where = f"{path.name}:{len(lines) + 1}"
            cells = self.cells(number)
            units.append(Unit(where, header_of=path.name if kind in SEPARATORS and not units_of_rows else ""))
            units_of_rows += 1
            first_row = first_row or cells
            if kind == "jsonl":
                text = json.dumps(dict(zip(self.form.keys, cells, strict=False)), ensure_ascii=False)
            elif kind == "fasttext":
                text = f"__label__{cells[self.form.label].split(' ')[0]} {cells[self.form.text]}"
            else:
                text = self._line(cells, is_plain=units_of_rows == 1)
            lines += text.split("\n")
        self._odd_lines(path, lines, units)
        end = self.form.line_end if self.rng.random() < 0.8 or not lines[-1] else ""
        path.write_bytes(self.form.encode(self.form.line_end.join(lines) + end))
        if kind == "fasttext":
            return units, None
        return units, Table(self.form.width, self.form.keys if kind == "jsonl" else self._header() or first_row)

    def _header(self) -> list[str]:
        """The names of the columns as they are read: where quotation marks have a meaning, they are not part of it."""
        names = self.form.names if self.form.has_header else []
        return [name.strip('"') for name in names] if self.form.kind in ("csv", "semicolon") else names

    def _line(self, cells: Sequence[str], *, is_plain: bool) -> str:
        separator = SEPARATORS[self.form.kind]
        if self.form.kind in ("csv", "semicolon") and not is_plain:
            quoted = []
            for cell in cells:
                if self.rng.random() < 0.2 and not cell.startswith('"'):
                    inner = self.rng.choice(("", "", separator, '""', "\n"))
                    cell = f'"{cell}{inner}"' if cell.strip() else f'"{cell}"'
                quoted.append(cell)
            cells = quoted
        return separator.join(cells)

    def _odd_lines(self, path: Path, lines: list[str], units: list[Unit]) -> None:
        while self.rng.random() < self.form.blank_lines:
            units.append(Unit(f"{path.name}:{len(lines) + 1}"))
            lines.append(self.rng.choice(("", "", " ", "\t", "  \t")))
        if self.rng.random() < self.form.comments:
            units.append(Unit(f"{path.name}:{len(lines) + 1}"))
            lines.append(self.rng.choice(("# a comment", "# a" + SEPARATORS.get(self.form.kind, " ") + "comment")))

    def _json_array(self, path: Path, count: int) -> tuple[list[Unit], Table]:
        text, units = self.rng.choice(("[", "[\n", "\n[ ", "[\n  ")), []
        for position, number in enumerate(itertools.islice(self.numbers, count)):
            if position:
                text += {"one line": ", ", "line each": ",\n", "pretty": ",\n  "}[self.form.layout]
            before = text.rpartition("\n")[2]
            column = f":{len(before) + 1}" if before.strip() else ""
            units.append(Unit(f"{path.name}:{text.count(chr(10)) + 1}{column}"))
            row = dict(zip(self.form.keys, self.cells(number), strict=False))
            text += json.dumps(row, indent=2 if self.form.layout == "pretty" else None, ensure_ascii=False)
        path.write_bytes(self.form.encode((text + "]\n").replace("\n", self.form.line_end)))
        return units, Table(self.form.width, self.form.keys)

    def _parquet(self, path: Path, count: int) -> tuple[list[Unit], Table]:
        import pyarrow
        from pyarrow import parquet

        rows = []
        for number in itertools.islice(self.numbers, count):
            cells: list[str | None] = list(self.cells(number))
            rows.append((cells + [None] * self.form.width)[: self.form.width])
        columns = {name: [row[index] for row in rows] for index, name in enumerate(self.form.keys)}
        parquet.write_table(pyarrow.table(columns), path)
        units = [Unit(f"{path.name}:row {number}") for number in range(1, count + 1)]
        return units, Table(self.form.width, self.form.keys)


def column_options(rng: Random, form: Form, text: str, label: str) -> dict[str, Any]:
    """How the user says which columns are read, not always rightly."""
    options: dict[str, Any] = {"skip_blank": rng.random() < 0.8}
    if form.kind in ("semicolon", "bar"):
        options["separator"] = rng.choice((form.kind, SEPARATORS[form.kind]))
        if form.kind == "semicolon":
            options |= {"quoting": True}
    if form.encoding != "utf-8" and rng.random() < 0.9:
        options["encoding"] = form.encoding
    is_named = form.kind in ("jsonl", "json", "parquet")
    if form.kind in ("fasttext", "parallel") or rng.random() < 0.3:
        return options
    if is_named or (form.has_header and rng.random() < 0.5):
        names = form.keys if is_named else [name.strip('"') for name in form.names]
        columns: list[Any] = [names[form.text], names[form.label]]
        if form.header == "padded" and rng.random() < 0.5:
            columns = ["text", "label"]
    else:
        columns = [form.text + 1, form.label + 1]
        options["header"] = rng.choice((True, True, None)) if form.has_header else rng.choice((None, None, False, True))
    if rng.random() < 0.1:
        columns.reverse()
    return options | {text: columns[0], label: columns[1]}


def sentiment_case(rng: Random, folder: Path) -> Case:
    """Texts with labels in one file or in three."""
    kinds = ("tsv", "tsv", "csv", "csv", "semicolon", "bar", "jsonl", "json", "parquet", "fasttext", "parallel")
    form = Form.draw(rng, kinds)
    options = column_options(rng, form, "text", "label")
    is_divided = rng.random() < 0.4
    if is_divided:
        options |= {"dev": None, "test": None, "held_out": 0.3, "held_out_test": 0.2}
        by_group = form.width > 2 and form.kind not in ("fasttext", "parallel")
        options["split_by"] = rng.choice(("input", "label", "group") if by_group else ("input", "label"))
        if options["split_by"] == "group":
            others = [column for column in range(form.width) if column not in (form.text, form.label)]
            options["group"] = form.keys[others[0]] if form.kind in ("jsonl", "json", "parquet") else others[0] + 1
    groups, names = _write_splits(rng, form, folder, is_divided)
    tokenizer = rng.choice(("spaces", "tweets"))
    options = options | names | {"folder": folder, "tokenizer": tokenizer, "unseen_labels": "count"}
    others = [(folder / names["train"], groups[0])] if form.kind != "parallel" else []
    return Case(lambda: sentiment(**options), groups, options | {"form": form}, others=others)


def translation_case(rng: Random, folder: Path) -> Case:
    """Pairs of texts."""
    form = Form.draw(rng, ("tsv", "tsv", "csv", "csv", "semicolon", "jsonl", "json", "parquet", "parallel"))
    options = column_options(rng, form, "input_column", "target_column")
    if form.kind in ("jsonl", "json", "parquet"):
        options |= {"input_column": "text", "target_column": "label"}
    is_divided = rng.random() < 0.3
    if is_divided:
        options |= {"dev": None, "test": None, "held_out": 0.3}
    groups, names = _write_splits(rng, form, folder, is_divided, ("train", "dev") if is_divided else None, "{}")
    unit = rng.choice(("characters", "words"))
    options = options | names | {"folder": folder, "pair": ("aa", "bb"), "input_unit": unit}
    others = [(folder / names["train"], groups[0])] if form.kind != "parallel" else []
    return Case(lambda: translation(**options), groups, options | {"form": form}, others=others)


def _write_splits(
    rng: Random,
    form: Form,
    folder: Path,
    is_divided: bool,
    splits: tuple[str, ...] | None = None,
    language: str = "",
) -> tuple[list[Group], dict[str, Any]]:
    """The files of all splits, and the options that name them."""
    writer = Writer(rng, form, itertools.count(1))
    groups = (
        [Group(splits or ("train", "dev", "test"))] if is_divided else [Group((s,)) for s in ("train", "dev", "test")]
    )
    names: dict[str, Any] = {}
    for group in groups:
        split, count = group.splits[0], rng.randint(25, 40) if is_divided else rng.randint(4, 12)
        group.has_usual_header = form.has_header and form.header in ("plain", "quoted", "padded", "capital")
        if form.kind == "parallel":
            name = f"{split}{form.suffix}.{language}" if language else f"{split}.in|{split}.out"
            names[split] = name + form.compression
            files = [name.replace("{}", side) for side in ("aa", "bb")] if language else name.split("|")
            if not language:
                files = [f"{split}.in", f"{split}.out{form.compression}"]
            else:
                files = [file + form.compression for file in files]
            group.units = _write_parallel(writer, [folder / file for file in files], count)
            continue
        path = folder / f"{split}{form.suffix}{form.compression if form.kind != 'parquet' else ''}"
        names[split] = path.name
        group.units, table = writer.write(path, count)
        if table is not None:
            group.tables[path.name] = table
    return groups, names


def _write_parallel(writer: Writer, paths: Sequence[Path], count: int) -> list[Unit]:
    """Two files of which line n of one belongs to line n of the other."""
    sides: tuple[list[str], list[str]] = ([], [])
    units = []
    for number in itertools.islice(writer.numbers, count):
        while writer.rng.random() < writer.form.blank_lines / 4:
            units.append(Unit(f"{paths[0].name}:{len(sides[0]) + 1}"))
            sides[0].append(writer.rng.choice(("", " ")))
            sides[1].append("" if writer.rng.random() < 0.7 else "good")
        units.append(Unit(f"{paths[0].name}:{len(sides[0]) + 1}"))
        sides[0].append(f"a film r{number}x")
        sides[1].append(writer.rng.choice(("good", "bad")))
    if writer.rng.random() < writer.form.ragged * 5:
        sides[1].append("more")
    for path, lines in zip(paths, sides, strict=True):
        raw = (writer.form.line_end.join(lines) + writer.form.line_end).encode()
        packed = COMPRESS[writer.form.compression](raw) if path.name.endswith(writer.form.compression) else raw
        path.write_bytes(packed if writer.form.compression else raw)
    return units
