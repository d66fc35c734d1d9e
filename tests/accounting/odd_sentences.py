"""Tagged sentences as users have them: comments, markers of documents, odd blank lines, further columns, ranges."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from random import Random
from typing import Any

from seqkit_ner import ner

from tests.accounting.ledger import Case, Group, Table, Unit

SEPARATORS = {"blanks": " ", "tab": "\t", "space": " "}


def ner_case(rng: Random, folder: Path) -> Case:
    """Sentences in columns, in CoNLL-U, in JSON, or in two parallel files."""
    kind = rng.choice(("columns", "columns", "columns", "conllu", "jsonl", "json", "spans", "parallel"))
    is_divided = rng.random() < 0.3
    splits = [("train", "dev")] if is_divided else [("train",), ("dev",), ("test",)]
    groups = [Group(names) for names in splits]
    numbers = itertools.count(1)
    options: dict[str, Any] = {"scheme": rng.choice(("iob2", "none")), "folder": folder, "characters": "none"}
    options["unseen_labels"] = "count"
    if is_divided:
        options |= {"dev": None, "test": None, "held_out": 0.4}
    suffix = {"columns": ".conll", "spans": ".jsonl", "parallel": ".in"}.get(kind, f".{kind}")
    is_tagged = options["scheme"] == "none" or kind == "conllu"
    if kind == "conllu":
        options["scheme"] = "none"
    form = {
        "separator": rng.choice(tuple(SEPARATORS)),
        "width": rng.randint(2, 4),
        "comment": rng.choice((None, None, "#", "# ")),
        "end": rng.choice(("\n", "\n", "\r\n")),
        "blank": rng.choice(("", "", " ", "\t")),
    }
    if kind == "columns":
        options |= {"separator": form["separator"], "comment": form["comment"]}
        if rng.random() < 0.3:
            options |= {"word_column": 1, "tag_column": rng.choice((2, -1))}
    for group in groups:
        name = f"{group.splits[0]}{suffix}"
        count = 20 if is_divided else rng.randint(3, 8)
        if kind == "columns":
            text, group.units = _columns(rng, name, count, numbers, form, is_tagged)
            group.tables[name] = Table(form["width"])
        elif kind == "conllu":
            text, group.units = _conllu(rng, name, count, numbers)
            group.tables[name] = Table(10)
        elif kind == "parallel":
            text, group.units = _parallel(rng, folder, name, count, numbers, is_tagged)
        else:
            text, group.units = _json(rng, name, count, numbers, kind, is_tagged)
            group.tables[name] = Table(3, ["text" if kind == "spans" else "tokens", "tags", "note"])
            if kind == "spans":
                group.tables[name] = Table(3, ["text", "spans", "note"])
        raw = text.replace("\n", form["end"]).encode()
        (folder / name).write_bytes((b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + raw)
        options[group.splits[0]] = f"{name}|{name}.tags" if kind == "parallel" else name
    others = [(folder / options["train"], groups[0])]
    return Case(lambda: ner(**options), groups, options | {"kind": kind} | form, others=others)


def _tag(rng: Random, is_tagged: bool, column: int) -> str:
    return rng.choice((f"Nc{column}x", f"Vc{column}x")) if is_tagged else rng.choice(("O", f"B-c{column}x"))


def _columns(
    rng: Random, name: str, count: int, numbers: Any, form: dict[str, Any], is_tagged: bool
) -> tuple[str, list[Unit]]:
    separator, width = SEPARATORS[form["separator"]], form["width"]
    lines: list[str] = []
    units: list[Unit] = []

    def add(text: str, mark: str = "", id: str = "") -> None:
        units.append(Unit(f"{name}:{len(lines) + 1}", id, (mark,) if mark else ()))
        lines.append(text)

    for _ in range(count):
        if rng.random() < 0.1:
            add(rng.choice(("-DOCSTART- -X- O O", "-DOCSTART-")))
            lines.append("")
        if form["comment"] and rng.random() < 0.3:
            add(rng.choice(("# a comment that is long enough", "# id 7")))
        start = f"{name}:{len(lines) + 1}"
        for _ in range(rng.randint(1, 4)):
            number = next(numbers)
            sign = "#" if rng.random() < 0.05 else ""
            cells = [f"{sign}wr{number}xc1x", *(f"c{column}x" for column in range(2, width + 1))]
            cells[-1] = _tag(rng, is_tagged, width)
            add(separator.join(cells), f"r{number}x", start)
            if form["comment"] and rng.random() < 0.03:
                add("# a comment inside of a sentence, long")
        lines += [form["blank"]] * rng.choice((1, 1, 1, 2))
    return "\n".join(lines) + "\n", units


def _conllu(rng: Random, name: str, count: int, numbers: Any) -> tuple[str, list[Unit]]:
    lines: list[str] = []
    units: list[Unit] = []

    def add(number: str, mark: str = "") -> None:
        units.append(Unit(f"{name}:{len(lines) + 1}", "", (mark,) if mark else ()))
        cells = [f"c{column}x" for column in range(1, 11)]
        cells[0], cells[1] = number, f"w{mark}c2x"
        cells[3] = _tag(rng, True, 4)
        lines.append("\t".join(cells))

    for sentence in range(count):
        for comment in ("# sent_id = a", "# text = a b c")[: rng.randint(0, 2)]:
            units.append(Unit(f"{name}:{len(lines) + 1}"))
            lines.append(f"{comment}{sentence}")
        for number in range(1, rng.randint(2, 5)):
            if rng.random() < 0.2:
                add(f"{number}-{number + 1}")
            add(str(number), f"r{next(numbers)}x")
            if rng.random() < 0.1:
                add(f"{number}.1")
        lines.append("")
    # The first word that is read names its sentence; which one that is, the ids do not have to say here.
    return "\n".join(lines) + "\n", units


def _parallel(
    rng: Random, folder: Path, name: str, count: int, numbers: Any, is_tagged: bool
) -> tuple[str, list[Unit]]:
    words, tags, units = [], [], []
    for _ in range(count):
        while rng.random() < 0.1:
            units.append(Unit(f"{name}:{len(words) + 1}"))
            words.append(rng.choice(("", " ")))
            tags.append("")
        size = rng.randint(1, 4)
        sentence = [f"wr{next(numbers)}x" for _ in range(size)]
        units.append(Unit(f"{name}:{len(words) + 1}"))
        words.append(" ".join(sentence))
        tags.append(" ".join(_tag(rng, is_tagged, 2) for _ in range(size)))
    (folder / f"{name}.tags").write_text("\n".join(tags) + "\n", encoding="utf-8")
    return "\n".join(words) + "\n", units


def _json(rng: Random, name: str, count: int, numbers: Any, kind: str, is_tagged: bool) -> tuple[str, list[Unit]]:
    rows: list[str] = []
    units: list[Unit] = []
    for position in range(count):
        size = rng.choice((0, 1, 1, 2, 3))
        words = [f"wr{next(numbers)}x" for _ in range(size)]
        if kind == "spans":
            row: dict[str, Any] = {"text": " ".join(words), "spans": [[0, len(words[0]), "place"]] if words else []}
        else:
            row = {"tokens": words, "tags": [_tag(rng, is_tagged, 2) for _ in words]}
        if rng.random() < 0.4 or position == 0:
            row["note"] = "not read"
        units.append(Unit(f"{name}:{position + (2 if kind == 'json' else 1)}"))
        rows.append(json.dumps(row))
    if kind == "json":
        return "[\n" + ",\n".join(rows) + "\n]\n", units
    return "\n".join(rows) + "\n", units
