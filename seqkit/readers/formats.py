"""Files of examples in any format: what a file is, by its name, its content or what the user says, and who reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from seqkit.errors import DataError, MissingExtra, MissingFile, Problem, UsageError, suggest
from seqkit.readers.class_folders import suffix_of
from seqkit.readers.json_lines import json_array, jsonl, objects
from seqkit.readers.line_reader import fail, kept_lines, list_names, numbered
from seqkit.readers.shards import over_shards
from seqkit.readers.tables import Column, Record, Row, examples_of, plain_rows, quoted_rows
from seqkit.reading import report_columns, report_remark
from seqkit.regular_files import open_regular
from seqkit.remote_files import is_remote, open_remote
from seqkit.types import Example, Flaw

FormatName: TypeAlias = Literal["tsv", "csv", "jsonl", "json", "parquet", "fasttext"]
"""The formats of files with an input and a target in each row."""

_SUFFIXES: Final[dict[str, FormatName]] = {
    ".tsv": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ft": "fasttext",
}
_SEPARATORS: Final = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "bar": "|"}
_FASTTEXT_SIGN: Final = "__label__"
TABLE_SUFFIXES: Final = tuple(_SUFFIXES)
"""Suffixes by which a format is known; `.gz`, `.bgz`, `.xz` or `.bz2` may follow."""


@final
@dataclass(frozen=True, kw_only=True)
class TableFormat:
    """What a file of examples looks like. Tasks have these as options.

    Attributes:
        format: tsv, csv (both are tables), jsonl (an object a line), json (an array of objects), parquet, or fasttext
            (`__label__good the text`). None: by the file's suffix; if that is not known, by its content, and told.
        separator: between the columns of a table: one character, or tab, comma, semicolon, space, bar, or blanks (any
            run of spaces and tabs). None: a tab in tsv, a comma in csv.
        quoting: whether a field in quotation marks may hold separators and line ends. None: in csv.
        encoding: of text.
    """

    format: FormatName | None = None
    separator: str | None = None
    quoting: bool | None = None
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        separator = self.separator
        if separator is None or separator in _SEPARATORS or separator == "blanks":
            return
        if len(separator) != 1 or separator in '"\r\n':
            known = ", ".join((*_SEPARATORS, "blanks"))
            raise UsageError(f"separator: {separator!r} should be one character, or one of {known}")

    def of(self, path: Path) -> FormatName:
        """The format of a file.

        Raises:
            DataError: neither the suffix nor the content says what it is.
        """
        by_suffix = _SUFFIXES.get(suffix_of(path.name))
        if self.format is not None:
            return self.format
        if by_suffix is not None:
            return by_suffix
        if self.separator is not None:
            return "csv" if self.quoting else "tsv"
        guess = _by_content(path, self.encoding)
        report_remark(f"{path.name} is read as {guess}, by its content; `format` says it for certain")
        return guess

    def of_name(self, name: str) -> FormatName | None:
        """The format of a file of this name; None: only its content can say."""
        return self.format or _SUFFIXES.get(suffix_of(name))


@over_shards
def table(
    path: Path | str,
    *,
    input: Column | None = None,
    target: Column | None = None,
    names: tuple[str, str] = ("text", "label"),
    labelled: bool = True,
    header: bool | None = None,
    skip_blank: bool = False,
    flaws: bool = False,
    layout: TableFormat | None = None,
) -> Iterator[Example]:
    """The examples of a file with an input and a target in each row, whatever its format.

    Args:
        path: the file.
        input: the column of the inputs, by name or number (from 1). None: the first column, or the first of `names`.
        target: the column of the targets. None: the second column, or the second of `names`.
        names: the keys or columns of input and target in formats that name them, if none are given.
        labelled: False: targets are not read.
        header: whether the first line of a table names the columns. None: it does if a column is given by name.
        skip_blank: leave out blank lines.
        flaws: what cannot be read is an example with a `Flaw` for its input, instead of an error.
        layout: what the file looks like; None: by its suffix or content.

    Raises:
        DataError: as the reader of the format says.
        UsageError: a column's number for a format that has names only.
        MissingExtra: Parquet without pyarrow.
    """
    path, layout = Path(path), layout or TableFormat()
    form = layout.of(path)
    if form == "fasttext":
        yield from fasttext(path, labelled=labelled, skip_blank=skip_blank, flaws=flaws, encoding=layout.encoding)
        return
    if form in ("tsv", "csv"):
        rows = _rows(path, form, layout, skip_blank, flaws)
        target_column = (2 if target is None else target) if labelled else None
        has_names = isinstance(input, str) or isinstance(target, str)
        yield from examples_of(
            path, rows, 1 if input is None else input, target_column, has_names if header is None else header, flaws
        )
        return
    for column in (input, target):
        if isinstance(column, int) and form != "parquet":
            raise UsageError(f"{path.name}: JSON has keys, not columns; give the key instead of the number {column}")
    keys: Any = {"input": input or names[0], "target": (target or names[1]) if labelled else None}
    if form == "jsonl":
        yield from jsonl(path, skip_blank=skip_blank, flaws=flaws, encoding=layout.encoding, **keys)
    elif form == "json":
        yield from json_array(path, flaws=flaws, encoding=layout.encoding, **keys)
    else:
        yield from parquet(path, **keys)


def _rows(path: Path, form: FormatName, layout: TableFormat, skip_blank: bool, flaws: bool) -> Iterator[Row]:
    """The rows of a table, tsv or csv."""
    quoting = form == "csv" if layout.quoting is None else layout.quoting
    separator = _SEPARATORS.get(layout.separator or "", layout.separator or ("\t" if form == "tsv" else ","))
    if quoting and separator == "blanks":
        raise UsageError("separator: blanks: quotation marks need a separator of one character")
    options = (skip_blank, flaws, layout.encoding)
    if quoting:
        return quoted_rows(path, separator, *options)
    return plain_rows(path, None if separator == "blanks" else separator, *options)


def records(
    path: Path | str, *, delimiter: str = ",", skip_blank: bool = False, layout: TableFormat | None = None
) -> Iterator[Record]:
    """All fields of each row of a table, the header among them, for readers of your own formats.

    Report what you do not use: see `seqkit.reading`.

    Args:
        path: the file.
        delimiter: what separates fields, one character. Between tabs, quotation marks have no special meaning.
        skip_blank: leave out lines of nothing but white space between rows.
        layout: what the file looks like, in place of `delimiter`. Objects of JSON come as rows, after a header of
            their keys: a key that an object lacks is an empty field, and a value that is not text is written as JSON.

    Raises:
        DataError: as `csv`, `tsv`, `jsonl` and `json_array`; rows may differ in length.
        UsageError: a format that is neither a table nor JSON.
    """
    path = Path(path)
    if layout is None:
        rows = plain_rows if delimiter == "\t" else quoted_rows
        yield from (Record(number, fields) for number, fields, _ in rows(path, delimiter, skip_blank, False))
        return
    form = layout.of(path)
    if form in ("tsv", "csv"):
        yield from (Record(number, fields) for number, fields, _ in _rows(path, form, layout, skip_blank, False))
        return
    if form in ("fasttext", "parquet"):
        raise UsageError(f"{path.name}: {form} is not read here; tables and JSON are")
    items = list(objects(path, is_array=form == "json", skip_blank=skip_blank, encoding=layout.encoding))
    keys = list(dict.fromkeys(key for _, item in items for key in item))
    yield Record(items[0][0][0] if items else 1, keys)
    for (number, column), item in items:
        yield Record(number, [_as_text(item.get(key)) for key in keys], column)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@over_shards
def fasttext(
    path: Path | str,
    *,
    labelled: bool = True,
    skip_blank: bool = False,
    flaws: bool = False,
    encoding: str = "utf-8",
) -> Iterator[Example]:
    """Lines of fastText: labels that begin with `__label__`, then the text. A line with several has a list of them.

    Raises:
        DataError: a line without a label, if it is to have one, or without text.
    """
    path = Path(path)
    first: list[str] = []
    for line in kept_lines(path, skip_blank=skip_blank, flaws=flaws, encoding=encoding):
        words = line.text.split(" ")
        labels = [word.removeprefix(_FASTTEXT_SIGN) for word in words if word.startswith(_FASTTEXT_SIGN)]
        text = " ".join(word for word in words if not word.startswith(_FASTTEXT_SIGN)).strip()
        id = f"{path.name}:{line.number}"
        message = line.flaw or ("" if labels or not labelled else f"has no label, which begins with {_FASTTEXT_SIGN}")
        message = message or ("" if text or not labels else "has no text after its label")
        if message:
            if not flaws:
                fail(path, line.number, None, message)
            yield Example(Flaw(message), None, id)
            continue
        first = first or [text, *labels]
        target = (labels[0] if len(labels) == 1 else labels) if labelled else None
        yield Example(text, target, id)
    report_columns(path.name, {"input": "text", "target": _FASTTEXT_SIGN}, header=False, first=first)


@over_shards
def parquet(path: Path | str, *, input: Column = "text", target: Column | None = "label") -> Iterator[Example]:
    """The rows of a Parquet file, by names or numbers of columns. Values stay as they are: text, numbers, lists.

    Raises:
        DataError: the file is not Parquet, or has no such column.
        MissingExtra: pyarrow is not installed.
    """
    path = Path(path)
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtra(f"{path.name}: Parquet", "arrow") from None
    if not is_remote(path) and not path.is_file():
        raise MissingFile(path, "file")
    number = 0
    try:
        with ParquetFile(open_remote(path) if is_remote(path) else path) as file:
            columns = [str(name) for name in file.schema_arrow.names]
            used = {"input": _column_name(path, input, columns)}
            if target is not None:
                used["target"] = _column_name(path, target, columns)
            for group in range(file.num_row_groups):
                for row in _rows_of_group(path, file, group, list(dict.fromkeys(used.values())), number):
                    number += 1
                    values = [row[name] for name in used.values()]
                    if number == 1:
                        unused = [name for name in columns if name not in used.values()]
                        report_columns(path.name, used, unused, header=True, first=values)
                    yield Example(values[0], values[1] if target is not None else None, f"{path.name}:row {number}")
    except (ArrowException, OSError) as error:
        fail(path, None, None, f"cannot be read as Parquet: {error}")
    if not number:
        fail(path, None, None, "has no rows")


def _rows_of_group(path: Path, file: Any, group: int, columns: list[str], before: int) -> Iterator[dict[str, Any]]:
    """The rows of a row group, which come after so many others.

    Raises:
        DataError: it is damaged, or a value is missing or is not text though its column says so. Row group, row and
            column are named.
    """
    from pyarrow import ArrowException

    place = f"row group {group + 1} of {file.num_row_groups}"
    done = 0
    try:
        for batch in file.iter_batches(batch_size=4096, columns=columns, row_groups=[group]):
            try:
                rows = batch.to_pylist()
            except UnicodeDecodeError:
                rows = [{name: _value(batch, name, row) for name in columns} for row in range(batch.num_rows)]
            for row in rows:
                done += 1
                for name, value in row.items():
                    if value is None or isinstance(value, Flaw):
                        message = "has no value (null)" if value is None else value.what
                        where = f"{path}:row {before + done}, column '{name}' (row {done} of {place})"
                        raise DataError(Problem(where, message))
                yield row
    except (ArrowException, OSError) as error:
        bad = [name for name in columns if not _is_readable(file, group, name)]
        where = f"{place}, column {' and '.join(map(repr, bad))}" if bad else place
        raise DataError(Problem(str(path), f"{where}: cannot be read, after {before + done:,} rows: {error}")) from None


def _value(batch: Any, column: str, row: int) -> Any:
    """A value of a batch; a `Flaw` where it is not the text that its column promises."""
    try:
        return batch.column(column)[row].as_py()
    except UnicodeDecodeError as error:
        return Flaw(f"byte 0x{error.object[error.start]:02x} is not UTF-8, at byte {error.start + 1} of the text")


def _is_readable(file: Any, group: int, column: str) -> bool:
    from pyarrow import ArrowException

    try:
        file.read_row_group(group, columns=[column])
    except (ArrowException, OSError):
        return False
    return True


def _column_name(path: Path, column: Column, columns: list[str]) -> str:
    """The name of a column of a Parquet file."""
    if isinstance(column, int):
        if not 1 <= column <= len(columns):
            fail(path, None, None, f"has {len(columns):,} columns, so there is no column {column}")
        return columns[column - 1]
    if column not in columns:
        fail(path, None, None, f"no column '{column}'", suggest(column, columns) or list_names("columns", columns))
    return column


def _by_content(path: Path, encoding: str) -> FormatName:
    """The format of a file by its first line that is not blank.

    Raises:
        DataError: it cannot be told.
    """
    if is_remote(path) or path.is_file():
        with open_remote(path) if is_remote(path) else open_regular(path) as file:
            if file.read(4) == b"PAR1":
                return "parquet"
    first = next((line for line in numbered(path, encoding=encoding) if line.text.strip()), None)
    if first is None:
        fail(path, None, None, "has nothing but blank lines")
    text = first.text.strip()
    if text.startswith(_FASTTEXT_SIGN):
        return "fasttext"
    if text == "[" or (text.startswith("[") and text[1:].lstrip().startswith("{")):
        return "json"
    if text.startswith("{"):
        try:
            if isinstance(json.loads(text), dict):
                return "jsonl"
        except ValueError:
            pass
    if "\t" in first.text:
        return "tsv"
    if "," in text:
        return "csv"
    message = "neither its name nor its content says which format it has"
    hint = f"set `format` ({', '.join(dict.fromkeys(_SUFFIXES.values()))}) or `separator`"
    raise DataError(Problem(f"{path}:{first.number}", message, hint))


def split_cell(example: Example, separator: str) -> Example:
    """An example whose target is a cell with several labels, with a list of them; blanks around them are removed.

    Raises:
        DataError: a label is empty.
    """
    target = example.target
    if isinstance(target, str):
        labels = [label.strip() for label in target.split(separator)] if target.strip() else []
        if "" in labels:
            raise DataError(Problem(example.id, f"has an empty label in {target!r}"))
        return replace(example, target=labels)
    return example
