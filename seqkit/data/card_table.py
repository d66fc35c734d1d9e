"""A card of data in words: tables of at most 80 columns."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from seqkit.data.card import DataCard
from seqkit.data.store import SplitReport
from seqkit.reading import Columns, Counted, Reading
from seqkit.types import JSON

WIDTH: Final = 80
SHORT_CLASSES: Final = 8
"""Classes of the short table."""
MOST_CLASSES: Final = 200
"""Classes of the full one; `data.json` has all."""

_FILES_SHOWN: Final = 6
_NAME_WIDTH = 22
_CELL_WIDTH = 17


def format_card(card: DataCard, *, short: bool = False, width: int | None = WIDTH) -> list[str]:
    """The card as lines: a table with a column for each split, how it was split, and what was left out and why.

    Args:
        card: the data of a task.
        short: leave out the lengths, the columns of tables, and all but the commonest classes.
        width: characters of a line; None: each sentence is one line.
    """
    sentences = describe_reading(card, short=short)
    if width is None:
        return [*_table(card, short), *sentences]
    return [*_table(card, short), *(line for sentence in sentences for line in _wrapped(sentence, width))]


def describe_reading(card: DataCard, *, short: bool = False) -> list[str]:
    """A sentence for each split's files, each split rule, each table's columns, and all that is left out or changed.

    Args:
        card: the data of a task.
        short: leave out the names of files, and tables of which every column is used.
    """
    files = [] if short else _file_names(card)
    return [*files, *_rules(card), *_columns(card, with_unused=short), *_left_out(card), *_remarks(card)]


def format_warnings(card: DataCard, *, but_fatal: bool = False, width: int | None = WIDTH) -> list[str]:
    """The warnings as lines; with `but_fatal` without those that are errors in any case."""
    warnings = [warning for warning in card.warnings if not (but_fatal and warning.is_fatal)]
    sentences = [f"warning: {card.task}: {warning.sentence}" for warning in warnings]
    return sentences if width is None else [line for sentence in sentences for line in _wrapped(sentence, width)]


def format_examples(examples: Mapping[str, JSON]) -> list[str]:
    """The first examples of each split as lines, each cut where the line ends."""
    lines = []
    for split, rows in examples.items():
        for row in rows:
            lines.append(f"{split} {row['id']}")
            for side in ("input", "target"):
                if side in row:
                    text = row[side] if isinstance(row[side], str) else json.dumps(row[side], ensure_ascii=False)
                    lines += textwrap.wrap(
                        f"  {side:<6}  {text}", WIDTH, subsequent_indent=" " * 10, max_lines=3, placeholder=" …"
                    )
    return lines


def _table(card: DataCard, short: bool) -> Iterator[str]:
    reports = list(card.splits.values())
    yield _row(card.task, [report.split for report in reports])
    if card.files:
        yield _row("files", [_files(card, report.split) for report in reports])
    yield _row("examples", [f"{report.examples:,}" for report in reports])
    if card.windows:
        yield _row("windows", [f"{card.windows[report.split]:,}" for report in reports])
    yield _row(reports[0].unit, [f"{report.steps:,}" for report in reports])
    lengths = {"shortest": "shortest", "median": "median", "length_95": "95 % at most", "longest": "longest"}
    for attribute, name in lengths.items():
        if not short or attribute == "longest":
            yield _row(f"  {name}", [f"{getattr(report, attribute):,}" for report in reports])
    if any(report.cut_examples for report in reports):
        yield _row("  cut examples", [f"{report.cut_examples:,}" for report in reports])
    if any(report.unknown is not None for report in reports):
        yield _row("unknown", [f"{report.unknown_share:.2%}" for report in reports])
    if any(report.target_steps for report in reports):
        yield _row("target steps", [f"{report.target_steps:,}" for report in reports])
        yield _row("  unknown", [f"{report.target_unknown_share:.2%}" for report in reports])
    if any(report.seen_in_train is not None for report in reports):
        seen = [report.seen_in_train for report in reports]
        yield _row("inputs also in train", ["-" if count is None else f"{count:,}" for count in seen])
    if any(report.pairs_in_train is not None for report in reports):
        seen = [report.pairs_in_train for report in reports]
        yield _row("  with same target", ["-" if count is None else f"{count:,}" for count in seen])
    if any(report.quarantined for report in reports):
        yield _row("cannot be read", [f"{report.quarantined:,}" for report in reports])
    yield from _classes(reports, SHORT_CLASSES if short else MOST_CLASSES)


def _classes(reports: Sequence[SplitReport], most: int) -> Iterator[str]:
    """The classes, the commonest in the first split first."""
    names = {name: None for report in reports for name in report.classes}
    if not names:
        return
    ordered = sorted(names, key=lambda name: [-report.classes.get(name, 0) for report in reports])
    unit = reports[0].class_unit
    yield _row(f"classes: {len(names):,}", [unit if index == 0 else "" for index in range(len(reports))])
    for name in ordered[:most]:
        yield _row(f"  {_shown(name)}", [f"{report.classes.get(name, 0):,}" for report in reports])
    if rest := ordered[most:]:
        sums = [sum(report.classes.get(name, 0) for name in rest) for report in reports]
        yield _row(f"  {len(rest):,} more", [f"{count:,}" for count in sums])


def _files(card: DataCard, split: str) -> str:
    names = [file["name"] for file in card.files if file["split"] == split]
    return names[0] if len(names) == 1 and len(names[0]) < _CELL_WIDTH else f"{len(names):,}"


def _file_names(card: DataCard) -> Iterator[str]:
    """The files of each split whose names are not in the table; `data.json` has all of them."""
    for split in card.splits:
        names = [file["name"] for file in card.files if file["split"] == split]
        if names and _files(card, split) != names[0]:
            more = f" and {len(names) - _FILES_SHOWN:,} more" if len(names) > _FILES_SHOWN else ""
            yield f"files of {split}: {', '.join(names[:_FILES_SHOWN])}{more}"


def _rules(card: DataCard) -> Iterator[str]:
    splits: dict[str, list[str]] = {}
    for name, report in card.splits.items():
        for rule in report.reading.split_rules:
            splits.setdefault(rule, []).append(name)
    for rule, names in splits.items():
        yield f"split: {rule}" if len(names) == len(card.splits) else f"split ({', '.join(names)}): {rule}"


def _columns(card: DataCard, *, with_unused: bool) -> Iterator[str]:
    """The columns of each table; `with_unused`: only of tables with columns that are not used."""
    tables: dict[str, Columns] = {}
    for report in card.splits.values():
        tables |= report.reading.tables
    for name, table in tables.items():
        if table.unused or not with_unused:
            used = ", ".join(f"{side} {column}" for side, column in table.used.items())
            unused = f"; not used: {', '.join(map(str, table.unused))}" if table.unused else ""
            yield f"columns of {name}: {used}{unused}"


def _left_out(card: DataCard) -> Iterator[str]:
    """What was left out and what was changed, once for all splits that say the same: they are read from one file."""
    splits: dict[tuple[str, str, int, str], list[str]] = {}
    for name, report in card.splits.items():
        for verb, kinds in (("left out", report.reading.left_out), ("changed", report.reading.changed)):
            for kind, things in kinds.items():
                splits.setdefault((verb, kind, things.count, things.first), []).append(name)
    for (verb, kind, count, first), names in splits.items():
        yield _counted(f"{verb} ({', '.join(names)})", kind, Counted(count, first))
    for name, report in card.splits.items():
        for problem in report.quarantined_first:
            yield f"left out ({name}): {problem}"


def describe_left_out(reading: Reading) -> list[str]:
    """A sentence for each kind of things that were left out or changed, of data without splits."""
    left_out = [_counted("left out", kind, things) for kind, things in reading.left_out.items()]
    return left_out + [_counted("changed", kind, things) for kind, things in reading.changed.items()]


def _counted(verb: str, kind: str, things: Counted) -> str:
    where = "at" if things.count == 1 else "the first at"
    return f"{verb}: {things.count:,} x {kind}, {where} {things.first}"


def _remarks(card: DataCard) -> Iterator[str]:
    joined = Reading()
    for report in card.splits.values():
        joined.join(Reading(remarks=report.reading.remarks))
    yield from dict.fromkeys([*joined.remarks, *card.notes])


def _row(name: str, cells: Sequence[str]) -> str:
    return (f"{_cut(name):<{_NAME_WIDTH}} " + " ".join(f"{cell:>{_CELL_WIDTH}}" for cell in cells)).rstrip()


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"


def _shown(name: str) -> str:
    """A class as it is, in quotation marks if it could not be seen otherwise."""
    return name if name.isprintable() and name == name.strip() else repr(name)


def _wrapped(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(sentence, width, subsequent_indent="  ", break_on_hyphens=False)
