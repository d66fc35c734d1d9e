"""Readers: from files of text to examples, one at a time, each with the place where a human finds it.

What all of them do:

* bytes are read as a stream; memory does not grow with the file, only with its longest line;
* text is UTF-8, unless another encoding is asked for; a byte order mark at the start is skipped, nothing else is
  normalised;
* a line ends with LF, CR LF or the end of the file. Nothing else ends a line: not U+2028, U+0085, vertical tab, form
  feed, nor a CR inside a line. These characters are kept;
* gzip (bgz too), xz and bzip2 are decompressed; the first bytes of a file say so;
* what is passed over (blank lines, columns that are not asked for) is reported to `seqkit.reading`;
* a name with `*`, `?` or `[...]` is a pattern (`part-*.tsv`): readers of examples read all files that match, as if they
  were one (`shard_files`);
* a file that cannot be read with certainty is a `DataError` that says `file:line:column`: an empty file, a byte that is
  not UTF-8, UTF-16, a NUL, a file whose lines end in CR alone, damaged gzip. Columns count characters from 1.
"""

from typing import TYPE_CHECKING, Any

from seqkit import public_api
from seqkit.readers.cells import cell_number, column_index, separator_hint
from seqkit.readers.class_folders import folder_per_class, list_files
from seqkit.readers.formats import (
    TABLE_SUFFIXES,
    FormatName,
    TableFormat,
    fasttext,
    parquet,
    records,
    split_cell,
    table,
)
from seqkit.readers.json_lines import json_array, jsonl
from seqkit.readers.line_reader import Line, Piece, numbered, pieces
from seqkit.readers.plain_text import lines, parallel, text
from seqkit.readers.shards import (
    FileNames,
    as_shards,
    each_name,
    is_pattern,
    missing_split_file,
    plain_names,
    read_shards,
    shard_files,
    shown_names,
)
from seqkit.readers.splitting import ShareSplit, SplitBy, SplitFiles
from seqkit.readers.step_tables import TableHeader, cell_numbers, checked_rows, read_header, rows_of_sequences
from seqkit.readers.tables import Record, csv, tsv
from seqkit.readers.time_order import TimeOrder
from seqkit.remote_files import is_remote

__all__ = [
    "FileNames",
    "FormatName",
    "Line",
    "Piece",
    "Record",
    "ShareSplit",
    "SplitBy",
    "SplitFiles",
    "TABLE_SUFFIXES",
    "TableFormat",
    "TableHeader",
    "TimeOrder",
    "as_shards",
    "cell_number",
    "cell_numbers",
    "checked_rows",
    "column_index",
    "csv",
    "each_name",
    "fasttext",
    "folder_per_class",
    "is_pattern",
    "is_remote",
    "json_array",
    "jsonl",
    "lines",
    "list_files",
    "missing_split_file",
    "numbered",
    "parallel",
    "parquet",
    "pieces",
    "plain_names",
    "read_header",
    "read_shards",
    "records",
    "rows_of_sequences",
    "separator_hint",
    "shard_files",
    "shown_names",
    "split_cell",
    "table",
    "text",
    "tsv",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A deprecated name, as long as it still works."""
        return public_api.deprecated_attribute(__name__, name)
