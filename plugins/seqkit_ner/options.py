"""Types of options."""

from __future__ import annotations

from typing import Literal, TypeAlias

DataSource: TypeAlias = Literal["generated", "ncbi-disease", "wnut17", "conll2000"]
Separator: TypeAlias = Literal["blanks", "tab", "space"]
WordTokenizer: TypeAlias = Literal["spaces", "punctuation"]
DataScheme: TypeAlias = Literal["iob1", "iob2", "bioes", "bilou", "bmes", "plain"]
Form: TypeAlias = Literal["columns", "conllu", "parallel", "jsonl", "json"]
