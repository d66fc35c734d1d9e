"""The public doors: every name that a plugin may import, listed once. Plain data; imports nothing of seqkit.

A name in `PUBLIC_NAMES` keeps its meaning. One that is to go stands in `DEPRECATED` first: it still works, warns with
`DoorWarning` for two minor releases, and says what to use instead. What is not listed may change at any time.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

HOME_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "seqkit.io.download": ("Dataset", "File", "fetch"),
    "seqkit.errors": (
        "DataError",
        "Interrupted",
        "MissingExtra",
        "PluginError",
        "Problem",
        "RecipeError",
        "RunError",
        "SeqkitError",
        "UsageError",
    ),
    "seqkit.fields": ("Label", "Labels", "Next", "Tags", "Text", "Tokens", "Values", "Vectors", "Words"),
    "seqkit.interfaces": ("Batch", "Encoded", "Encoder", "Head", "State", "mask_of"),
    "seqkit.types": (
        "JSON",
        "Choice",
        "Count",
        "Example",
        "Field",
        "Limit",
        "Metric",
        "NonNegative",
        "Positive",
        "Prediction",
        "Probability",
        "Share",
        "Size",
        "Task",
        "Truncation",
    ),
}
"""Where the names of the first door live; they are imported on first use."""

PUBLIC_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "seqkit": ("__version__", *(name for names in HOME_MODULES.values() for name in names)),
    "seqkit.readers": ("Line", "Piece", "csv", "jsonl", "lines", "numbered", "parallel", "pieces", "text", "tsv"),
    "seqkit.heads": (
        "Pool",
        "Pooling",
        "Search",
        "attend",
        "classify",
        "crf",
        "ctc",
        "generate",
        "language",
        "regress",
        "serves",
        "tag",
    ),
    "seqkit.metrics": (
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
        "set_scores",
        "span_f1",
        "spans",
        "tag_accuracy",
        "tag_scores",
        "value_scores",
        "wer",
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
"""{door: its names}. A door's `__all__` is this list; a test holds the two together."""


class DoorWarning(DeprecationWarning):
    """A plugin uses something that is to go. The command line shows it, unlike other deprecations."""


class Deprecated(NamedTuple):
    """A name that still works and is to go.

    Attributes:
        door: the module it is imported from.
        name: the name itself, no longer in `PUBLIC_NAMES`.
        target: what it stands for, `module:attribute`.
        instead: what to write instead, for the warning.
        since: the minor release that warned first ("0.2").
        until: the minor release that no longer has it ("0.4"), two later at least.
    """

    door: str
    name: str
    target: str
    instead: str
    since: str
    until: str


DEPRECATED: tuple[Deprecated, ...] = ()


def deprecated_attribute(door: str, name: str) -> Any:
    """What a deprecated name stands for, after a warning: the `__getattr__` of every door ends here.

    Raises:
        AttributeError: the door never had such a name, or has it no more.
    """
    for each in DEPRECATED:
        if (each.door, each.name) == (door, name):
            warn(f"{door}.{name}", each.instead, until=each.until, stacklevel=4)
            module, _, attribute = each.target.partition(":")
            return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module {door!r} has no attribute {name!r}")


def warn(what: str, instead: str, *, until: str, stacklevel: int = 3) -> None:
    """Tell whoever called the caller that `what` goes with release `until`, and what to write instead."""
    message = f"{what} will be gone from seqkit {until}; use {instead}"
    warnings.warn(message, DoorWarning, stacklevel=stacklevel)


class PrivateImport(NamedTuple):
    """An import of something of seqkit's that is no public door."""

    line: int
    name: str


def private_imports(source: str) -> Iterator[PrivateImport]:
    """What Python code imports of seqkit beside the public doors.

    Raises:
        SyntaxError: this is no Python.
    """
    import ast

    gone = {(each.door, each.name) for each in DEPRECATED}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names if _inside(alias.name) and alias.name not in PUBLIC_NAMES]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _inside(node.module or ""):
            door = node.module or ""
            names = [alias.name for alias in node.names]
            known = PUBLIC_NAMES.get(door, ())
            found = [
                f"{door}.{name}"
                for name in names
                if name not in known
                and f"{door}.{name}" not in PUBLIC_NAMES
                and (door, name) not in gone
                and name != "*"
            ]
        else:
            continue
        yield from (PrivateImport(node.lineno, name) for name in found)


def _inside(module: str) -> bool:
    return module == "seqkit" or module.startswith("seqkit.")
