"""The data card of a run in its report: what data.json says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from seqkit.types import JSON

_CLASSES_SHOWN: Final = 30

_ROWS: Final = (
    ("examples", "examples"),
    ("windows", "windows"),
    ("steps", "steps"),
    ("shortest", "shortest"),
    ("median", "median length"),
    ("length_95", "95 % at most"),
    ("longest", "longest"),
    ("unknown", "unknown symbols"),
    ("seen_in_train", "inputs also in train"),
    ("pairs_in_train", "inputs also in train, with the same target"),
    ("cut_examples", "examples cut to the limit"),
    ("quarantined", "examples left out, as they cannot be encoded"),
)


def data_sections(facts: JSON) -> list[dict[str, Any]]:
    """A section for each task of data.json."""
    if not isinstance(facts, Mapping):
        return []
    return [_section(str(name), card) for name, card in facts.items() if isinstance(card, Mapping)]


def _section(name: str, card: Mapping[str, Any]) -> dict[str, Any]:
    splits: dict[str, Mapping[str, Any]] = dict(card.get("splits") or {})
    rows = []
    for key, label in _ROWS:
        values = [split.get(key) for split in splits.values()]
        if any(isinstance(value, int | float) for value in values):
            unit = next((str(split.get("unit")) for split in splits.values()), "steps")
            rows.append([unit if label == "steps" else label, *map(_number, values)])
    facts = {str(key): _fact(value) for key, value in (card.get("about") or {}).items()}
    rules: dict[str, list[str]] = {}
    for split, report in splits.items():
        for rule in (report.get("reading") or {}).get("split_rules", ()):
            rules.setdefault(str(rule), []).append(split)
    about = [f"{key}: {text}" for key, text in facts.items() if text not in rules]  # which are said with their splits
    about += [
        f"split: {rule}" if len(names) == len(splits) else f"split ({', '.join(names)}): {rule}"
        for rule, names in rules.items()
    ]
    about += [str(note) for note in card.get("notes") or ()]
    files = [
        [entry.get("name"), entry.get("split"), _number(entry.get("bytes")), str(entry.get("sha256"))[:16]]
        for entry in card.get("files") or ()
    ]
    return {
        "name": name,
        "about": about,
        "warnings": [warning.get("sentence", "") for warning in card.get("warnings") or ()],
        "head": ["", *splits],
        "numbers": tuple(range(1, len(splits) + 1)),
        "rows": rows,
        "class_head": ["class", *splits],
        "classes": _classes(splits),
        "left_out": list(_left_out(splits)),
        "files": files,
    }


def _fact(value: Any) -> str:
    """A fact of the task in words: `train: a.tsv; dev: none`."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_fact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_fact, value)) or "none"
    return "none" if value is None else str(value)


def _classes(splits: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The counts of the most frequent classes in each split, and of all others together."""
    counts = [split.get("classes") or {} for split in splits.values()]
    names = list(dict.fromkeys(name for of_split in counts for name in of_split))
    names.sort(key=lambda name: -sum(of_split.get(name, 0) for of_split in counts))
    rows = [[name, *(_number(of_split.get(name, 0)) for of_split in counts)] for name in names[:_CLASSES_SHOWN]]
    if rest := names[_CLASSES_SHOWN:]:
        sums = [sum(of_split.get(name, 0) for name in rest) for of_split in counts]
        rows.append([f"{len(rest):,} others", *map(_number, sums)])
    return rows


def _left_out(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, split in splits.items():
        reading = split.get("reading") or {}
        for kind in ("left_out", "changed"):
            for reason, places in (reading.get(kind) or {}).items():
                yield f"{name}: {reason}: {_amount(places)}"
        for remark in reading.get("remarks") or ():
            yield f"{name}: {remark}"


def _amount(places: Any) -> str:
    if isinstance(places, Mapping):
        count, first = places.get("count"), places.get("first") or places.get("examples") or ()
        shown = ", ".join(map(str, list(first)[:3])) if not isinstance(first, str) else first
        return f"{_number(count)}" + (f" ({shown})" if shown else "")
    return _number(places)


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "-" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
