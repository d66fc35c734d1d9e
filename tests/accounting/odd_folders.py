"""Folders as users have them: links, hidden files, odd suffixes, folders in folders, archives, manifests, lists."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from seqkit_charlm import charlm
from seqkit_names import names
from seqkit_sentiment import sentiment
from seqkit_speech import speech

from tests.accounting.ledger import Case, Group, Table, Unit
from tests.helpers.sound import tone, wav_bytes

ODD_FILES = ("notes.pdf", "README", "a.csv", ".DS_Store", ".hidden.txt", "b.TXT", "c.mid", "Thumbs.db", "d.wav.bak")
ODD_FOLDERS = (".git", "__MACOSX", "_unknown_", "_silence_", "_background_noise_", "more")


def _links(rng: Random, folder: Path, outside: Path, write: Callable[[Path], None]) -> list[str]:
    """Links of several kinds, as paths below the folder."""
    made = []
    for kind in ("file", "inside", "outside", "nowhere"):
        if rng.random() > 0.25:
            continue
        link = folder / f"{kind}_link{'' if kind in ('inside', 'outside') else '.txt'}"
        if kind == "nowhere":
            link.symlink_to(folder / "not there")
        elif kind == "file":
            write(outside / "linked.txt")
            link.symlink_to(outside / "linked.txt")
        elif kind == "outside":
            (outside / "deep").mkdir(parents=True, exist_ok=True)
            write(outside / "deep" / "x.txt")
            link.symlink_to(outside / "deep", target_is_directory=True)
        else:
            inside = next((path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()), None)
            if inside is None:
                continue
            link.symlink_to(inside, target_is_directory=True)
        made.append(link.name)
    return made


def _walk(folder: Path) -> Iterator[str]:
    """What lies in a folder, with what lies in linked folders outside of it; a linked folder inside counts as one."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and path.is_dir() and folder.resolve() in path.resolve().parents:
            yield path.name
        elif path.is_dir():
            for name in _walk_below(path):
                yield f"{path.name}/{name}"
        else:
            yield path.name


def _walk_below(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from (f"{path.name}/{name}" for name in _walk_below(path))
        else:
            yield path.name


def class_folder_case(rng: Random, folder: Path) -> Case:
    """A folder of files of text for each class, perhaps in a zip archive."""
    numbers = itertools.count(1)
    marks: dict[Path, str] = {}

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = f"r{next(numbers)}x"
        end = rng.choice(("\n", "\r\n", ""))
        path.write_bytes((b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + f"a text {mark}{end}more{end}".encode())
        marks[path.resolve()] = mark

    is_divided = rng.random() < 0.5
    is_packed = rng.random() < 0.3
    options: dict[str, Any] = {"folder": folder, "unseen_labels": "count"}
    if is_divided:
        options |= {"dev": None, "test": None, "held_out": 0.3, "split_by": rng.choice(("input", "label", "group"))}
    options["label_folder"] = rng.choice((1, 1, 1, -1, 0))
    groups = [Group(("train", "dev"))] if is_divided else [Group((split,)) for split in ("train", "dev", "test")]
    for group in groups:
        split = group.splits[0]
        top = folder / f"{split} files" if is_packed else folder / split
        top.mkdir()
        for label in ("good", "bad", *rng.sample(ODD_FOLDERS, rng.choice((0, 0, 1, 2)))):
            for number in range(rng.randint(1, 8)):
                nested = rng.choice(("", "", "", "deep/"))
                write(top / label / f"{nested}{number}{rng.choice(('.txt', '.txt', '.md', '', '.pdf', '.text'))}")
            for name in rng.sample(ODD_FILES, rng.choice((0, 0, 1, 2))):
                write(top / label / name)
        for name in rng.sample(ODD_FILES, rng.choice((0, 0, 1))):
            write(top / name)
        if not is_packed:
            _links(rng, top, folder / f"outside {split}", write)
        paths = list(_walk(top))
        known = {path: marks.get((top / path).resolve()) for path in paths}
        group.units = [Unit(path, "", (mark,) if mark else ()) for path, mark in known.items()]
        options[split] = split
        if is_packed:
            options[split] = f"{split}.zip"
            with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
                for path in paths:
                    archive.write(top / path, path)
    return Case(lambda: sentiment(**options), groups, options, others=[(folder / options["train"], groups[0])])


def charlm_case(rng: Random, folder: Path) -> Case:
    """Running text in a folder or a file."""
    numbers = itertools.count(1)
    lines: dict[Path, list[str]] = {}

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        marks = [f"r{next(numbers)}x" for _ in range(rng.randint(3, 20))]
        end = rng.choice(("\n", "\r\n"))
        text = "".join(f"{rng.choice(('', end))}a line {mark}{end}" for mark in marks)
        path.write_bytes((b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + text.encode())
        lines[path.resolve()] = marks

    top = folder / "text"
    top.mkdir()
    for number in range(rng.randint(2, 5)):
        nested = rng.choice(("", "", "deep/", "deep/er/", ".git/"))
        write(top / f"{nested}{number}{rng.choice(('.txt', '.txt', '.txt', '.md', '.text', '.TXT', ''))}")
    write(top / "sure" / "z.txt")
    for name in rng.sample(ODD_FILES, rng.choice((0, 1, 2))):
        write(top / name)
    _links(rng, top, folder / "outside", write)
    group = Group(("train", "dev", "test"))
    group.units = [Unit(path, "", tuple(lines.get((top / path).resolve(), ()))) for path in _walk(top)]
    group.has_ids = False  # a piece of a file is called after the line that it begins on
    options = {"file": top, "unit": "words", "piece": rng.choice((50, 1000))}
    return Case(lambda: charlm(**options), [group], options, others=[(top, group)])


def names_case(rng: Random, folder: Path) -> Case:
    """A file of names for each kind."""
    top = folder / "kinds"
    top.mkdir()
    numbers = itertools.count(1)
    units: list[Unit] = []
    for kind in rng.sample(("Finnish", "Old Norse", "Élvish", "a.b"), 2):
        known: list[str] = []
        lines: list[str] = []
        for _ in range(rng.randint(20, 40)):
            chance = rng.random()
            if chance < 0.1:
                lines.append(rng.choice(("", " ", "\t")))
            elif chance < 0.2 and known:
                lines.append(rng.choice((known[0], f" {known[-1]} ")))
            else:
                known.append(f"Nar{next(numbers)}x")
                lines.append(known[-1])
            units.append(Unit(f"{kind}.txt:{len(lines)}"))
        text = rng.choice(("\n", "\r\n")).join(lines) + "\n"
        (top / f"{kind}.txt").write_bytes((b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + text.encode())
    for name in rng.sample((*ODD_FILES, "x.txt.gz"), rng.choice((0, 1, 2, 3))):
        (top / name).write_text("Anna\n", encoding="utf-8")
        units.append(Unit(name))
    for name in rng.sample(ODD_FOLDERS, rng.choice((0, 0, 1))):
        (top / name).mkdir()
        (top / name / "a.txt").write_text("Anna\n", encoding="utf-8")
        units.append(Unit(name))
    if rng.random() < 0.3:
        (top / "broken.txt").symlink_to(folder / "not there")
        units.append(Unit("broken.txt"))
    groups = [Group(("train", "dev", "test"), units)]
    return Case(lambda: names(folder=top), groups, {"folder": top}, others=[(top, groups[0])])


def speech_folder_case(rng: Random, folder: Path) -> Case:
    """Recordings in folders of their words, perhaps in folders of splits or in a zip, with lists beside them."""
    is_packed = rng.random() < 0.35
    top = folder / "clips"
    hertz = itertools.count(300, 10)
    options: dict[str, Any] = {"rate": 8000, "bands": 8, "unseen_labels": "count"}

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav_bytes(tone(next(hertz), 0.05)))

    splits = rng.choice((("",), ("",), ("train", "dev", "test"), ("training", "valid", "eval")))
    for split in splits:
        for label in ("yes", "no", *rng.sample(ODD_FOLDERS, rng.choice((0, 0, 1, 2)))):
            for number in range(rng.randint(15, 25) if len(splits) == 1 else rng.randint(1, 4)):
                name = f"s{number % 9}_nohash_{number}" if rng.random() < 0.8 else f"{number}"
                write(top / split / label / f"{name}{rng.choice(('.wav',) * 8 + ('.WAV', '.mp4', '.txt'))}")
            for name in rng.sample(ODD_FILES, rng.choice((0, 0, 1))):
                write(top / split / label / name)
    for name in rng.sample(ODD_FILES, rng.choice((0, 0, 1))):
        write(top / name)
    if not is_packed:
        _links(rng, top, folder / "outside", write)
    found = list(_walk(top))
    root = "clips.zip" if is_packed else str(top)
    units = [Unit(path, f"{root}:{path}") for path in found]
    has_lists = rng.random() < 0.4
    if rng.random() < 0.3:
        options["split_by"] = rng.choice(("hash", "lists" if has_lists else "hash", "folders" if splits[0] else "hash"))
    is_by_list = options.get("split_by", "lists" if not splits[0] else "folders") == "lists"
    recordings = [path for path in found if path.lower().endswith(".wav")]
    rng.shuffle(recordings)
    for name, chosen in (("validation_list.txt", recordings[:3]), ("testing_list.txt", recordings[3:6])):
        if has_lists:
            lines = [*chosen, *rng.sample(("", " ", f"no/{name}.wav", "./odd.wav", chosen[0]), rng.choice((0, 1, 3)))]
            (top / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            found.append(name)
            # A line is used if the recording that it names is; if the lists are not used, each is one thing.
            of_lines = [Unit(f"{name}:{number}", f"{root}:{line}") for number, line in enumerate(lines, 1)]
            units += of_lines if is_by_list else [Unit(name)]
    if rng.random() < 0.2:
        options["words"] = ("yes", "no")
    options["path"] = top
    if is_packed:
        options["path"] = folder / "clips.zip"
        with zipfile.ZipFile(options["path"], "w") as archive:
            for path in found:
                archive.write(top / path, path)
    group = Group(("train", "dev", "test"), units)
    case = Case(lambda: speech(**options), [group], options, is_stored=rng.random() < 0.2)
    if not has_lists:
        case.others = [(options["path"], group)]
    return case


def manifest_case(rng: Random, folder: Path) -> Case:
    """A table that names recordings, with or without a header."""
    if rng.random() < 0.2:
        return _json_manifest_case(rng, folder)
    suffix = rng.choice((".csv", ".tsv", ".tsv", ".lst"))
    separator = {".csv": ",", ".tsv": "\t", ".lst": "|"}[suffix]
    style = rng.choice(("plain",) * 5 + ("quoted", "padded", "capital") * 2 + ("doubled", "other"))
    header = ["path", "label", *rng.sample(("split", "speaker", "note", "id"), rng.randint(0, 3))]
    rng.shuffle(header)
    keys = list(header)
    if style == "doubled":
        header[-1] = header[0]
    change = {"quoted": '"{}"', "padded": " {} "}.get(style, "{}")
    header = [change.format(name.upper() if style == "capital" else name) for name in header]
    if style == "other":
        header[header.index("label")] = "transcript"
    file = f"manifest{suffix}"
    has_header = rng.random() < 0.8
    units = [Unit(f"{file}:1", header_of=file)] if has_header else []
    lines = [separator.join(header)] if has_header else []
    is_plain = rng.random() < 0.7
    for number in range(rng.randint(20, 40)):
        while rng.random() < 0.1:
            units.append(Unit(f"{file}:{len(lines) + 1}"))
            lines.append(rng.choice(("", " ", "\t")))
        path = f"clips/{number}.wav"
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(wav_bytes(tone(300 + number, 0.05)))
        row = {"path": path, "label": rng.choice(("yes", "no")), "split": rng.choice(("train", "valid", "test"))}
        row |= {"speaker": f"s{number % 7}", "note": "a note", "id": str(number)}
        if not is_plain and rng.random() < 0.05:
            row[rng.choice(keys)] = rng.choice(("", " "))
        cells = [f'"{row[key]}"' if suffix == ".csv" and rng.random() < 0.1 else row[key] for key in keys]
        if not is_plain and rng.random() < 0.01:
            cells.append("more")
        units.append(Unit(f"{file}:{len(lines) + 1}", f"{file}:{len(lines) + 1} ({row['path'].strip()})"))
        lines.append(separator.join(cells))
    text = rng.choice(("\n", "\r\n")).join(lines) + "\n"
    (folder / file).write_bytes((b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + text.encode())
    names_read = [name.strip('"') for name in header] if suffix == ".csv" else header
    options: dict[str, Any] = {"path": folder / file, "rate": 8000, "bands": 8}
    if suffix == ".lst":
        options["separator"] = "bar"
    if not has_header:
        options |= {"path_column": keys.index("path") + 1, "label_column": keys.index("label") + 1}
    return _manifest(rng, options, Group(("train", "dev", "test"), units, {file: Table(len(header), names_read)}))


def _json_manifest_case(rng: Random, folder: Path) -> Case:
    """Objects of JSON that name recordings, a line each or in an array; some lack a key, or have one more."""
    is_array, is_one_line = rng.random() < 0.5, rng.random() < 0.5
    file = "manifest.json" if is_array else "manifest.jsonl"
    keys: dict[str, None] = {}
    text, units = "[" if is_array else "", []
    for number in range(rng.randint(20, 40)):
        if number:
            text += (", " if is_one_line else ",\n") if is_array else "\n"
        path = f"clips/{number}.wav"
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(wav_bytes(tone(300 + number, 0.05)))
        row: dict[str, Any] = {"path": path, "label": rng.choice(("yes", "no")), "speaker": f"s{number % 7}"}
        row |= {"n": number} if rng.random() < 0.2 else {}
        before = text.rpartition("\n")[2]
        place = f"{text.count(chr(10)) + 1}" + (f":{len(before) + 1}" if before.strip() else "")
        units.append(Unit(f"{file}:{place}", f"{file}:{place} ({path})"))
        text += json.dumps(row)
        keys |= dict.fromkeys(row)
    (folder / file).write_text(text + ("]\n" if is_array else "\n"), encoding="utf-8")
    options: dict[str, Any] = {"path": folder / file, "rate": 8000, "bands": 8}
    return _manifest(rng, options, Group(("train", "dev", "test"), units, {file: Table(len(keys), list(keys))}))


def _manifest(rng: Random, options: dict[str, Any], group: Group) -> Case:
    if rng.random() < 0.2:
        options["words"] = ("yes",)
    case = Case(lambda: speech(**options), [group], options, is_stored=rng.random() < 0.2)
    case.others = [(options["path"], group)]
    return case


def transcript_case(rng: Random, folder: Path) -> Case:
    """A tree like that of LibriSpeech, whose texts are in files of their own."""
    top = folder / "libri"
    units: list[Unit] = []
    for speaker in range(rng.randint(8, 14)):
        for chapter in range(rng.randint(1, 2)):
            place = top / str(speaker) / str(chapter)
            place.mkdir(parents=True)
            lines: list[str] = []
            list_name = f"{speaker}/{chapter}/{speaker}-{chapter}.trans.txt"
            for number in range(rng.randint(1, 3)):
                name = f"{speaker}-{chapter}-{number:04}"
                (place / f"{name}.wav").write_bytes(wav_bytes(tone(300 + number, 0.05)))
                units.append(Unit(f"{speaker}/{chapter}/{name}.wav", f"{top}:{speaker}/{chapter}/{name}.wav"))
                lines.append(f"{name} A TEXT")
                if rng.random() < 0.1:
                    units.append(Unit(f"{list_name}:{len(lines) + 1}"))
                    lines.append(rng.choice(("", " ")))
            if rng.random() < 0.1:
                units.append(Unit(f"{list_name}:{len(lines) + 1}"))
                lines.append(f"{speaker}-{chapter}-9999 NOT THERE")
            end = rng.choice(("\n", "\r\n"))
            (top / list_name).write_bytes((end.join(lines) + end).encode())
            for odd in rng.sample(ODD_FILES, rng.choice((0, 0, 0, 1))):
                (place / odd).write_text("x", encoding="utf-8")
                units.append(Unit(f"{speaker}/{chapter}/{odd}"))
    options: dict[str, Any] = {"path": top, "target": "text", "rate": 8000, "bands": 8}
    return Case(lambda: speech(**options), [Group(("train", "dev", "test"), units)], options, is_stored=False)
