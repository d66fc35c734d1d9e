"""Splits of several files: what a name stands for, and that several files give the numbers of one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from seqkit import DataError, recipe
from seqkit.cli import main
from seqkit.data import store
from seqkit.readers import each_name, is_pattern, lines, plain_names, read_shards, shard_files, shown_names, tsv
from seqkit.reading import collect_reports


def write(folder: Path, *names: str, content: str = "x\n") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def names_of(folder: Path, *names: str, **options: Any) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in shard_files(folder, names, **options)]


def test_a_pattern_stands_for_all_files_that_match_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write(tmp_path, "part-10.tsv", "part-2.tsv", "part-1.tsv", ".part-0.tsv", "other.tsv", "part-9/x")
    with collect_reports() as reading:
        assert names_of(tmp_path, "part-*") == ["part-1.tsv", "part-10.tsv", "part-2.tsv"]
    assert reading.left_out["folder that matches part-*"].first == "part-9"
    assert names_of(tmp_path, "part-?.tsv") == ["part-1.tsv", "part-2.tsv"]
    assert names_of(tmp_path, "**/x") == ["part-9/x"]


def test_a_list_keeps_its_order_and_may_have_patterns(tmp_path: Path) -> None:
    write(tmp_path, "b.tsv", "a.tsv", "c/2", "c/1")
    assert names_of(tmp_path, "b.tsv", "c/*", "a.tsv") == ["b.tsv", "c/1", "c/2", "a.tsv"]


def test_a_file_whose_own_name_has_the_signs_of_a_pattern_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, "a[1].tsv", "a1.tsv")
    assert names_of(tmp_path, "a[1].tsv") == ["a[1].tsv"]


def test_parallel_files_are_matched_side_by_side(tmp_path: Path) -> None:
    write(tmp_path, "d/in.1", "d/in.2", "d/out.1", "d/out.2")
    assert names_of(tmp_path, "d/in.*|out.*") == ["d/in.1|out.1", "d/in.2|out.2"]
    write(tmp_path, "d/in.3")
    with pytest.raises(DataError, match="match 3, 2 files, not equally many"):
        names_of(tmp_path, "d/in.*|out.*")


def test_a_folder_of_nothing_but_files_stands_for_them(tmp_path: Path) -> None:
    write(tmp_path, "parts/2.tsv.gz", "parts/1.tsv", "parts/README")
    with collect_reports() as reading:
        assert names_of(tmp_path, "parts", suffixes=(".tsv",)) == ["parts/1.tsv", "parts/2.tsv.gz"]
    assert reading.left_out["file that is not read (no suffix)"].first == "README"
    assert names_of(tmp_path, "parts") == ["parts"]
    write(tmp_path, "parts/good/1.txt")
    assert names_of(tmp_path, "parts", suffixes=(".tsv",)) == ["parts"]  # a folder for each class


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("part-*.csv",), r"part-\*\.csv: no file matches this pattern; in .* are: a/, part-1\.tsv"),
        (("b/part-*",), r"there is no folder .*/b"),
        (("none.tsv",), r"none\.tsv: there is no such file; `dev` names"),
        (("part-1.tsv", "part-*"), "part-1.tsv: is named twice for dev"),
        ((), "dev: is an empty list of files"),
    ],
)
def test_what_names_no_file_is_an_error_that_says_what_there_is(
    names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    write(tmp_path, "part-1.tsv", "a/b")
    with pytest.raises(DataError, match=message):
        shard_files(tmp_path, names, "dev")


def test_ids_and_errors_say_the_shard(tmp_path: Path) -> None:
    write(tmp_path, "a/1.tsv", "b/1.tsv", content="x\ty\nz\tu\n")
    paths = shard_files(tmp_path, "*/1.tsv")
    assert [example.id for example in read_shards(paths, tsv)] == ["a/1.tsv:1", "a/1.tsv:2", "b/1.tsv:1", "b/1.tsv:2"]
    (tmp_path / "b/1.tsv").write_bytes(b"x\ty\nz\t\xff\n")
    with pytest.raises(DataError, match=r"b/1\.tsv:2:3: byte 0xff is not UTF-8"):
        list(read_shards(paths, tsv))


def test_readers_take_patterns_by_themselves(tmp_path: Path) -> None:
    write(tmp_path, "1.txt", "2.txt")
    assert [example.id for example in lines(tmp_path / "*.txt")] == ["1.txt:1", "2.txt:1"]
    assert is_pattern("*.txt")
    assert not is_pattern("a.txt")


def test_names_for_people_and_for_json() -> None:
    assert shown_names(("a", "b")) == "a, b"
    assert each_name("a") == ("a",)
    assert each_name(None) == ()
    assert plain_names({"train": ("a", "b"), "dev": None}) == {"train": ["a", "b"], "dev": None}


@dataclass(frozen=True)
class Case:
    """The data of a task in pieces that can be divided among files, each of which begins with the header.

    Attributes:
        options: of the task; FILE stands for the names of the files of train.
        suffix: of the files.
        pieces: of text.
        header: of each file.
        packed: files are compressed.
    """

    options: str
    suffix: str
    pieces: Sequence[str]
    header: str = ""
    packed: bool = False

    def write(self, path: Path, first: int, last: int) -> None:
        content = (self.header + "".join(self.pieces[first:last])).encode()
        path.write_bytes(gzip.compress(content) if self.packed else content)


WORDS = [f"{['good', 'bad', 'fine', 'odd'][n % 4]} film {n % 7}" for n in range(60)]
OWN = "folder: ., train: FILE, dev: null, test: null"
CASES = {
    "tsv": Case(f"use: sentiment, {OWN}", "tsv", [f"{text}\t{'ab'[n % 2]}\n" for n, text in enumerate(WORDS)]),
    "csv by label": Case(
        f"use: sentiment, {OWN}, text: body, label: mood, split_by: label, held_out_test: 0.2",
        "csv",
        [f'"{text}, 1",{"ab"[n % 2]}\n' for n, text in enumerate(WORDS)],
        header="body,mood\n",
    ),
    "jsonl by group": Case(
        f"use: sentiment, {OWN}, split_by: group, group: who",
        "jsonl.gz",
        [json.dumps({"text": text, "label": "ab"[n % 2], "who": n % 9}) + "\n" for n, text in enumerate(WORDS)],
        packed=True,
    ),
    "conll": Case(
        f"use: ner, {OWN}", "conll", [f"in O\nYork{n} B-place\n\n" for n in range(60)], header="-DOCSTART- O\n\n"
    ),
    "text": Case("use: charlm, file: FILE, window: 8", "txt", [f"{text}. " for text in WORDS]),
    "pairs": Case(f"use: translation, {OWN}, held_out: 0.2", "tsv", [f"{text}\t{n}\n" for n, text in enumerate(WORDS)]),
    "sessions": Case(f"use: next-item, {OWN}", "txt", [f"a{n % 3} b{n % 5} c\n" for n in range(60)]),
    "wide table": Case(
        f"use: sensor, {OWN}, split_by: label, width: 2",
        "csv",
        [f"{'ab'[n % 2]},{n},1,2,{n % 3}\n" for n in range(60)],
        header="label,x1,y1,x2,y2\n",
    ),
    "chains": Case(
        f"use: protein-structure, {OWN}, held_out: 0.3",
        "csv",
        [f"{'AC' * (n % 5 + 1)},{'HC' * (n % 5 + 1)}\n" for n in range(60)],
        header="sequence,structure\n",
    ),
    "fasta": Case(
        "use: genome, train: {x: FILE, y: FILE2}, dev: null, held_out: 0.3",
        "fa",
        [f">{n}\n{'ACGT' * 3}{'AC' * n}\n" for n in range(60)],
    ),
    "drawings": Case(
        f"use: strokes, {OWN}, held_out: 0.3",
        "jsonl",
        [f'{{"strokes": [[[0, {n}], [1, 2]]], "label": "{"ab"[n % 2]}"}}\n' for n in range(60)],
    ),
    "words": Case(f"use: g2p, {OWN.replace('dev: null', 'dev: FILE')}", "tsv", [f"a{n}\tA {n}\n" for n in range(60)]),
    "pieces of music": Case(
        f"use: music, {OWN.replace('dev: null', 'dev: FILE')}, compare: false",
        "jsonl",
        [f"[[{40 + n}, 64], [], [60]]\n" for n in range(40)],
    ),
}


def recipes(case: Case, folder: Path) -> Iterator[str]:
    """The task over one file, over seven by a pattern, and over the same seven by a list."""
    count = len(case.pieces)
    case.write(folder / f"whole.{case.suffix}", 0, count)
    bounds = [0, *sorted(round(count * share) for share in (0.1, 0.13, 0.4, 0.5, 0.75, 0.9)), count]
    listed = [f"part-{number}.{case.suffix}" for number in range(7)]
    for name, first, last in zip(listed, bounds, bounds[1:], strict=False):
        case.write(folder / name, first, last)
    for value in (f"whole.{case.suffix}", f'"part-*.{case.suffix}"', f"[{', '.join(listed)}]"):
        if "FILE2" in case.options and value.startswith("["):
            continue  # there a class has one name
        options = case.options.replace("FILE2", value).replace("FILE", value)
        yield f"tasks:\n  it: {{{options}}}\nencoder: {{use: lstm, hidden: 4}}\n"


def prepared(text: str, folder: Path) -> store.Prepared:
    entry = recipe.parse(text.encode(), str(folder / "r.yaml")).tasks["it"]
    return store.prepare(recipe.build_task(entry), key=entry.use, cache=folder / "cache")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_several_files_are_stored_as_one_joined_file_is(case: Case, tmp_path: Path) -> None:
    joined, *others = [prepared(text, tmp_path) for text in recipes(case, tmp_path)]
    for several in others:
        assert [field.state() for field in (several.input, several.target)] == [
            field.state() for field in (joined.input, joined.target)
        ]
        assert several.splits.keys() == joined.splits.keys()
        assert several.folder != joined.folder
        for name, split in joined.splits.items():
            other = several.splits[name]
            assert list(other.ids) != list(split.ids)
            for mine, theirs in ((split.x, other.x), (split.y, other.y)):
                assert (mine is None) == (theirs is None)
                if mine is not None and theirs is not None:
                    assert np.array_equal(mine.data, theirs.data)
                    assert all(np.array_equal(mine[i], theirs[i]) for i in range(len(split)))


def weights(text: str, folder: Path, name: str) -> bytes:
    (folder / f"{name}.yaml").write_text(text)
    words = ["run", str(folder / f"{name}.yaml"), "--out", str(folder / name), "--quiet", "--offline"]
    sets = ["train.steps=3", "train.batch=4"]
    result = CliRunner().invoke(main, [*words, *(word for change in sets for word in ("--set", change))])
    assert result.exit_code == 0, result.output
    return (folder / name / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "case", [pytest.param(CASES[name], id=name, marks=() if name == "conll" else pytest.mark.slow) for name in CASES]
)
def test_several_files_train_to_the_weights_of_one(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    joined, *others = [weights(text, tmp_path, f"r{n}") for n, text in enumerate(recipes(case, tmp_path))]
    assert all(several == joined for several in others)


def test_every_shard_is_part_of_the_key(tmp_path: Path) -> None:
    _, text, _ = recipes(CASES["tsv"], tmp_path)
    before = prepared(text, tmp_path)
    assert [entry["name"] for entry in before.files if entry["split"] == "train"] == [f"part-{n}.tsv" for n in range(7)]
    assert prepared(text, tmp_path).reused
    with (tmp_path / "part-4.tsv").open("a") as file:
        file.write("good film\ta\n")
    after = prepared(text, tmp_path)
    assert not after.reused
    assert after.folder != before.folder
    (tmp_path / "part-7.tsv").write_text("bad film\tb\n")
    assert prepared(text, tmp_path).folder not in (before.folder, after.folder)
