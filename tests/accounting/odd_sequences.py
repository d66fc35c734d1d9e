"""Sequences as users have them: comments, blank lines, gaps, doubled names, wrapped lines, tables with headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from seqkit_genome import genome

from tests.accounting.ledger import Case, Group, Table, Unit


def genome_case(rng: Random, folder: Path) -> Case:
    """Sequences in FASTA, FASTQ, tables, or lines of UCI."""
    kind = rng.choice(("fa", "fa", "fq", "csv", "tsv", "data"))
    gaps = rng.choice(("refuse", "refuse", "remove", "unknown"))
    options: dict[str, Any] = {"gaps": gaps, "names": rng.choice(("refuse", "allow")), "unseen_labels": "count"}
    options["bad_inputs"] = rng.choice(("refuse", "quarantine"))
    division = rng.choice(("files", "held out", "folds"))
    if division == "folds":
        options |= {"folds": 3}
    elif division == "held out":
        options |= {"held_out": 0.3}
    splits = {"files": [("train",), ("dev",), ("test",)], "held out": [("train", "dev"), ("test",)]}.get(
        division, [("train", "dev", "test")]
    )
    groups = []
    for names in splits:
        group = Group(names)
        count = rng.randint(20, 30) if len(names) > 1 else rng.randint(3, 8)
        if kind in ("fa", "fq") and rng.random() < 0.3:
            options[names[0]] = folder / f"{names[0]} classes"
            groups.append(_class_files(rng, folder / f"{names[0]} classes", kind, gaps, names, count))
            continue
        classes = ("good", "bad") if kind in ("fa", "fq") else ("all",)
        files: dict[str, Path] = {}
        for label in classes:
            path = folder / f"{names[0]}-{label}.{kind}"
            writer: Callable[..., str] = {"fa": _fasta, "fq": _fastq, "data": _uci}.get(kind, _table)
            text = writer(rng, path.name, count, group, gaps)
            end = rng.choice(("\n", "\r\n"))
            path.write_bytes((b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + text.replace("\n", end).encode())
            files[label] = path
        options[names[0]] = files if len(files) > 1 else files["all"]
        groups.append(group)
    others = [(folder / "other", _class_files(rng, folder / "other", kind, gaps))]
    return Case(lambda: genome(**options), groups, options | {"kind": kind}, others=others)


def _class_files(
    rng: Random, folder: Path, kind: str, gaps: str, splits: tuple[str, ...] = (), count: int = 5
) -> Group:
    """A folder with a file for each class, and with things that are none."""
    folder.mkdir()
    group = Group(splits)
    for label in ("good", "bad"):
        writer: Callable[..., str] = {"fq": _fastq}.get(kind, _fasta)
        path = folder / f"{label}.{'fq' if kind == 'fq' else 'fa'}"
        path.write_text(writer(rng, path.name, count, group, gaps), encoding="utf-8")
    for name in rng.sample(("notes.pdf", ".DS_Store", "README", "._good.fa"), rng.choice((0, 1, 2))):
        (folder / name).write_text("ACGT", encoding="utf-8")
        group.units.append(Unit(name))
    if rng.random() < 0.3:
        (folder / "more").mkdir()
        (folder / "more" / "a.pdf").write_text("ACGT", encoding="utf-8")
        group.units.append(Unit("more/a.pdf"))
    return group


def _bases(rng: Random, gaps: str) -> str:
    letters = "ACGT" * 5 + ("-." if gaps != "refuse" and rng.random() < 0.3 else "")
    bases = "".join(rng.choice(letters) for _ in range(rng.randint(8, 30)))
    return bases if bases.strip("-.") else "ACGT"


def _odd(rng: Random, name: str, lines: list[str], group: Group, choices: tuple[str, ...]) -> None:
    while rng.random() < 0.1:
        group.units.append(Unit(f"{name}:{len(lines) + 1}"))
        lines.append(rng.choice(choices))


def _fasta(rng: Random, name: str, count: int, group: Group, gaps: str) -> str:
    lines: list[str] = []
    odd = ("", " ", "; a comment", "# a comment", "\t")
    for number in range(count):
        _odd(rng, name, lines, group, odd)
        group.units.append(Unit(f"{name}:{len(lines) + 1}"))
        lines.append(f">s{number if rng.random() < 0.97 else 0} a title")
        bases = _bases(rng, gaps)
        for start in range(0, len(bases), 12):
            if start:
                _odd(rng, name, lines, group, odd)
            lines.append(bases[start : start + 12])
    _odd(rng, name, lines, group, odd)
    return "\n".join(lines) + "\n"


def _fastq(rng: Random, name: str, count: int, group: Group, gaps: str) -> str:
    lines: list[str] = []
    for number in range(count):
        _odd(rng, name, lines, group, ("", " "))
        group.units.append(Unit(f"{name}:{len(lines) + 1}"))
        bases = _bases(rng, gaps)
        lines += [f"@s{number}", bases, "+", "I" * len(bases)]
    return "\n".join(lines) + "\n"


def _uci(rng: Random, name: str, count: int, group: Group, gaps: str) -> str:
    lines: list[str] = []
    for number in range(count):
        _odd(rng, name, lines, group, ("", " ", "\t"))
        group.units.append(Unit(f"{name}:{len(lines) + 1}"))
        lines.append(f"{rng.choice(('EI', 'IE'))}, s{number},\t {_bases(rng, gaps)}")
    group.tables[name] = Table(3)
    return "\n".join(lines) + "\n"


def _table(rng: Random, name: str, count: int, group: Group, gaps: str) -> str:
    separator = "," if name.endswith(".csv") else "\t"
    width = rng.randint(2, 4)
    lines: list[str] = []
    header: list[str] = []
    if rng.random() < 0.6:
        header = ["sequence", "class", "note", "name"][:width]
        group.units.append(Unit(f"{name}:1", header_of=name))
        lines.append(separator.join(header))
    for number in range(count):
        _odd(rng, name, lines, group, ("", " "))
        group.units.append(Unit(f"{name}:{len(lines) + 1}"))
        lines.append(separator.join([_bases(rng, gaps), rng.choice(("good", "bad")), "a note", f"s{number}"][:width]))
    group.tables[name] = Table(width, header)
    return "\n".join(lines) + "\n"
