"""The public API: every name that a plugin or a program may import, listed once. Plain data; imports nothing of seqkit.

A name in `PUBLIC_NAMES` keeps its meaning. Before one is removed it moves to `DEPRECATED`: there it still works, and
for two minor releases a `DoorWarning` says what to use instead. What is not listed may change at any time.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

HOME_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "seqkit.api.model": ("Model", "load"),
    "seqkit.api.recipes": ("check",),
    "seqkit.api.results": ("Result",),
    "seqkit.api.training": ("Run", "run"),
    "seqkit.io.download": ("Dataset", "File", "fetch"),
    "seqkit.errors": (
        "DataError",
        "Interrupted",
        "MissingExtra",
        "MissingFile",
        "PluginError",
        "Problem",
        "RecipeError",
        "RunError",
        "SeqkitError",
        "UsageError",
    ),
    "seqkit.fields": (
        "Label",
        "Labels",
        "Next",
        "NextValues",
        "Scaling",
        "StepValues",
        "Tags",
        "Text",
        "Tokens",
        "Values",
        "Vectors",
        "Words",
    ),
    "seqkit.interfaces": ("Batch", "Encoded", "Encoder", "Head", "State", "mask_of"),
    "seqkit.kernels.ragged": ("real_steps",),
    "seqkit.option_conditions": ("GIVEN", "only_with"),
    "seqkit.uploads": ("read_back", "upload"),
    "seqkit.types": (
        "JSON",
        "Choice",
        "Count",
        "Example",
        "Field",
        "FileReader",
        "Flaw",
        "Limit",
        "Metric",
        "NamedVectors",
        "NonNegative",
        "Positive",
        "Prediction",
        "Probability",
        "ScoredExamples",
        "Shard",
        "Share",
        "Size",
        "Task",
        "Truncation",
        "WordVectors",
    ),
}
"""{module: the names of `seqkit` that it defines}. They are imported on first use."""

PUBLIC_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "seqkit": ("__version__", *(name for names in HOME_MODULES.values() for name in names)),
    "seqkit.readers": (
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
    ),
    "seqkit.reading": (
        "Columns",
        "Counted",
        "Reading",
        "collect_reports",
        "report_again",
        "report_changed",
        "report_columns",
        "report_left_out",
        "report_remark",
        "report_split_rule",
    ),
    "seqkit.heads": (
        "JointScores",
        "Pool",
        "Pooling",
        "Search",
        "attend",
        "classify",
        "crf",
        "ctc",
        "generate",
        "language",
        "mean_log_odds",
        "mean_log_probs",
        "regress",
        "serves",
        "tag",
    ),
    "seqkit.forecasts": (
        "Calendar",
        "calendar_features",
        "coverage",
        "crps",
        "forecast_scores",
        "naive_errors",
        "next_times",
        "parse_time",
        "regular_times",
        "seasonal_naive",
        "smape",
    ),
    "seqkit.metrics": (
        "BASELINES",
        "LOWER_IS_BETTER",
        "accuracy",
        "auprc",
        "auroc",
        "cer",
        "confusion",
        "edit_distance",
        "error_rate",
        "label_scores",
        "macro_f1",
        "mae",
        "mcc",
        "r2",
        "rmse",
        "sees_examples",
        "set_scores",
        "span_f1",
        "spans",
        "sums_by_example",
        "tag_accuracy",
        "tag_scores",
        "value_scores",
        "wer",
    ),
    "seqkit.nn": (
        "CRF",
        "Dropout",
        "GRU",
        "LSTM",
        "RNN",
        "draw_normal",
        "draw_uniform",
        "pack_padded_sequence",
        "pad_packed_sequence",
        "reverse_sequences",
        "stack_cells",
    ),
    "seqkit.spans": (
        "OUTSIDE",
        "Scheme",
        "convert",
        "fault",
        "legal",
        "mend",
        "parted",
        "spans_of",
        "tags_of",
        "type_of",
    ),
    "seqkit.testing": ("EncoderConformance", "HeadConformance", "TaskConformance"),
}
"""{public module: its names}. The module's `__all__` is the same list; a test compares the two."""


class DoorWarning(DeprecationWarning):
    """A plugin uses a name that will be removed. The command line shows it, unlike other deprecations."""


class Deprecated(NamedTuple):
    """A name that still works and will be removed.

    Attributes:
        module: the public module that it is imported from.
        name: the name itself, no longer in `PUBLIC_NAMES`.
        target: what it stands for, `module:attribute`.
        instead: what to write instead, for the warning.
        since: the minor release that warned first ("0.2").
        until: the minor release that no longer has it ("0.4"), at least two later.
    """

    module: str
    name: str
    target: str
    instead: str
    since: str
    until: str


DEPRECATED: tuple[Deprecated, ...] = ()


def deprecated_attribute(module: str, name: str) -> Any:
    """What a deprecated name stands for, after a warning. The `__getattr__` of every public module calls this.

    Raises:
        AttributeError: the module has no such name.
    """
    for deprecated in DEPRECATED:
        if (deprecated.module, deprecated.name) == (module, name):
            warn(f"{module}.{name}", deprecated.instead, until=deprecated.until, stacklevel=4)
            home, _, attribute = deprecated.target.partition(":")
            return getattr(importlib.import_module(home), attribute)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def warn(old: str, instead: str, *, until: str, stacklevel: int = 3) -> None:
    """Warn whoever called the caller that `old` will be removed in release `until`, and what to write instead."""
    message = f"{old} will be removed in seqkit {until}; use {instead}"
    warnings.warn(message, DoorWarning, stacklevel=stacklevel)


class PrivateImport(NamedTuple):
    """An import from seqkit that is not part of the public API."""

    line: int
    name: str


def private_imports(source: str) -> Iterator[PrivateImport]:
    """The imports in Python source that use something of seqkit outside the public API.

    Raises:
        SyntaxError: the source is not valid Python.
    """
    import ast

    deprecated = {(entry.module, entry.name) for entry in DEPRECATED}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            private = [alias.name for alias in node.names if _is_ours(alias.name) and alias.name not in PUBLIC_NAMES]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _is_ours(node.module or ""):
            module = node.module or ""
            allowed = {"*", *PUBLIC_NAMES.get(module, ())}
            private = [
                f"{module}.{alias.name}"
                for alias in node.names
                if alias.name not in allowed
                and f"{module}.{alias.name}" not in PUBLIC_NAMES
                and (module, alias.name) not in deprecated
            ]
        else:
            continue
        yield from (PrivateImport(node.lineno, name) for name in private)


def _is_ours(module: str) -> bool:
    return module == "seqkit" or module.startswith("seqkit.")
